#ifndef MEDAID_DICOM_NETWORK_PDU_H
#define MEDAID_DICOM_NETWORK_PDU_H

/* The association PDUs of PS3.8 section 9.3 as bytes and back. Pure functions over memory: no
 * sockets, no allocation. Parsers take hostile bytes. Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PDU_ASSOCIATE_RQ = 1,
    MD_PDU_ASSOCIATE_AC = 2,
    MD_PDU_ASSOCIATE_RJ = 3,
    MD_PDU_DATA = 4,
    MD_PDU_RELEASE_RQ = 5,
    MD_PDU_RELEASE_RP = 6,
    MD_PDU_ABORT = 7,

    MD_PDU_HEADER_BYTES = 6,
    MD_PDV_HEADER_BYTES = 6, /* length, context id, message control header */
    MD_PDU_SHORT_BYTES = 10, /* every reject, release and abort, with its header */
    MD_PDU_MAX_CONTEXTS = 128,
    MD_PDU_MAX_ROLES = 32, /* kept; further ones are read as not negotiated */
    /* 128 contexts of 40 transfer syntaxes each need 180 KiB */
    MD_PDU_ASSOCIATE_MAX_BYTES = 256 * 1024,

    MD_PDV_COMMAND = 1, /* message control header, PS3.8 E.2 */
    MD_PDV_LAST = 2,
};

/* A-ASSOCIATE-RJ, PS3.8 table 9-21: result << 16 | source << 8 | reason. */
typedef enum md_reject {
    MD_REJECT_NONE = 0,
    MD_REJECT_APPLICATION_CONTEXT = 0x010102,
    MD_REJECT_CALLING_AE = 0x010103,
    MD_REJECT_CALLED_AE = 0x010107,
    MD_REJECT_PROTOCOL_VERSION = 0x010202,
    MD_REJECT_LOCAL_LIMIT = 0x020302,
} md_reject;

/* A-ABORT, PS3.8 table 9-26: source << 8 | reason. */
typedef enum md_abort {
    MD_ABORT_USER = 0x0000,
    MD_ABORT_UNSPECIFIED = 0x0200,
    MD_ABORT_UNRECOGNISED_PDU = 0x0201,
    MD_ABORT_UNEXPECTED_PDU = 0x0202,
    MD_ABORT_INVALID_PARAMETER = 0x0206,
} md_abort;

typedef struct md_context {
    uint8_t id;                         /* odd */
    uint8_t result;                     /* MD_CONTEXT_* */
    char abstract_syntax[MD_UID_BYTES]; /* "" in an A-ASSOCIATE-AC */
    /* The accepted one; in an A-ASSOCIATE-RQ to be written the one that is proposed. "" when
     * refused. */
    char transfer_syntax[MD_UID_BYTES];
} md_context;

/* SCP/SCU role selection, PS3.7 D.3.3.4: which roles the requestor of the association may take.
 * Without one it is the SCU. */
typedef struct md_role {
    char sop_class_uid[MD_UID_BYTES];
    bool scu, scp;
} md_role;

typedef struct md_associate {
    char called_ae[MD_AE_BYTES], calling_ae[MD_AE_BYTES];
    uint32_t max_pdu_bytes; /* what the peer takes; 0: no limit */
    char implementation_class_uid[MD_UID_BYTES];
    unsigned n_contexts;
    md_context contexts[MD_PDU_MAX_CONTEXTS];
    unsigned n_roles;
    md_role roles[MD_PDU_MAX_ROLES];
} md_associate;

/* One of MD_CONTEXT_* for a proposed pair. */
typedef uint8_t (*md_context_judge)(const void *judge_context, const char *abstract_syntax,
                                    const char *transfer_syntax);

/* The body (after the header) of an A-ASSOCIATE-RQ. Each context gets the first of its transfer
 * syntaxes that `judge` accepts, else the last refusal. *ret_reject names why the request as a
 * whole must be refused, MD_REJECT_NONE when not. Of the user information, roles are kept as
 * they are proposed. Unknown items and everything else in it (asynchronous window, extended
 * negotiation, user identity) is skipped, which PS3.7 D.3 defines as "not supported".
 * MD_FORMAT: it is no A-ASSOCIATE-RQ. */
md_status md_pdu_parse_request(const uint8_t *body, size_t size_bytes, md_context_judge judge,
                               const void *judge_context, md_associate *ret_associate,
                               md_reject *ret_reject, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The body of an A-ASSOCIATE-AC; contexts hold id, result and transfer syntax, roles what the
 * acceptor has answered. */
md_status md_pdu_parse_accept(const uint8_t *body, size_t size_bytes,
                              md_associate *ret_associate, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Write the whole PDU, header included, for what is in `associate`; max_pdu_bytes is then what
 * we take. Returns its length, 0 when `capacity` is too small. */
size_t md_pdu_write_request(const md_associate *associate, uint8_t *ret_bytes, size_t capacity)
    MD_NOEXCEPT;
/* The AE titles of the request come back as they were (PS3.8 table 9-17), hence `request_body`,
 * of at least 68 bytes. */
size_t md_pdu_write_accept(const md_associate *associate, uint32_t own_max_pdu_bytes,
                           const uint8_t *request_body, uint8_t *ret_bytes, size_t capacity)
    MD_NOEXCEPT;
void md_pdu_write_reject(md_reject reject, uint8_t ret_bytes[MD_PDU_SHORT_BYTES]) MD_NOEXCEPT;
void md_pdu_write_abort(md_abort abort, uint8_t ret_bytes[MD_PDU_SHORT_BYTES]) MD_NOEXCEPT;
/* MD_PDU_RELEASE_RQ or MD_PDU_RELEASE_RP. */
void md_pdu_write_release(uint8_t type, uint8_t ret_bytes[MD_PDU_SHORT_BYTES]) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
