#ifndef MEDAID_DICOM_NETWORK_SESSION_H
#define MEDAID_DICOM_NETWORK_SESSION_H

/* Inside dicom/network: an association that we have opened, as the SCUs use it. Create, propose
 * contexts, open, exchange messages, close. One thread at a time. */

#include "dicom/network/dimse.h"
#include "dicom/network/pdu.h"
#include "dicom/network/scu.h"
#include "dicom/network/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_SESSION_MAX_PDU_BYTES = 128 * 1024,          /* that we take */
    MD_SESSION_MAX_MESSAGE_BYTES = 4 * 1024 * 1024, /* a dataset that a peer sends us */
};

typedef struct md_session {
    md_wire wire;
    md_associate own;  /* what we propose */
    md_associate peer; /* what was answered */
    uint16_t message_id;
    uint8_t buffer[MD_PDU_HEADER_BYTES + MD_SESSION_MAX_PDU_BYTES];
} md_session;

/* Caller closes. */
md_status md_session_create(md_session **ret_session, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Propose the pair unless that is done already. False: no room for a further context. */
bool md_session_propose(md_session *session, const char *sop_class_uid,
                        const char *transfer_syntax_uid) MD_NOEXCEPT;
/* Connect with what was proposed. On failure the session is only good for its close. */
md_status md_session_open(md_session *session, const md_peer *peer, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* End the association, with a release when all went well, with an abort when not; then destroy.
 */
void md_session_close(md_session *session, bool is_good) MD_NOEXCEPT;
/* The same, but the session can be used for another association, with new contexts. */
void md_session_end(md_session *session, bool is_good) MD_NOEXCEPT;

/* The context that the peer accepted for a pair, or NULL and *ret_result why not. */
const md_context *md_session_context(const md_session *session, const char *sop_class_uid,
                                     const char *transfer_syntax_uid, uint8_t *ret_result)
    MD_NOEXCEPT;

/* Write a command. What its dataset is made of is the caller's to write. */
md_status md_session_write_command(md_session *session, uint8_t context_id,
                                   const md_command *command, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Write a dataset from memory. */
md_status md_session_write_dataset(md_session *session, uint8_t context_id,
                                   const uint8_t *bytes, size_t n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Bytes of a dataset that fit into one PDU for this peer; even (PS3.8 annex F). */
size_t md_session_room(const md_session *session) MD_NOEXCEPT;
/* Write one PDU whose `n` bytes of dataset lie in session->buffer behind the two headers. */
md_status md_session_write_buffer(md_session *session, uint8_t context_id, size_t n,
                                  bool is_last, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Read the header of a P-DATA-TF PDU: *ret_length bytes of it follow. MD_NETWORK, MD_BUSY for
 * anything else. */
md_status md_session_read_data_header(md_session *session, uint32_t *ret_length, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Wait for a command that comes without a dataset and is the response to `request`. */
md_status md_session_read_response(md_session *session, const md_command *request,
                                   uint16_t *ret_status, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
