#ifndef MEDAID_DICOM_NETWORK_DIMSE_CLIENT_H
#define MEDAID_DICOM_NETWORK_DIMSE_CLIENT_H

/* SCU of the DIMSE-N operations, C-FIND and, with role selection, N-EVENT-REPORT: an
 * association that stays open for several requests, one at a time. What the peer sends is
 * hostile. A client belongs to one thread. */

#include "dicom/network/scu.h"
#include "dicom/network/service.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_dimse_client md_dimse_client;

enum {
    MD_CLIENT_MAX_CLASSES = 32
};

typedef struct md_client_class {
    const char *sop_class_uid;
    /* Propose to be the SCP as well (PS3.7 D.3.3.4): to send N-EVENT-REPORT. */
    bool as_scp;
} md_client_class;

/* Open an association that proposes each class in explicit and in implicit VR little endian.
 * It is fine when the peer refuses some: the request tells. MD_NETWORK, MD_TIMEOUT, MD_BUSY
 * (the peer has too many associations), MD_INVALID_ARG: too many classes. Caller closes. */
md_status md_dimse_client_open(const md_peer *peer, const md_client_class *classes,
                               size_t n_classes, md_dimse_client **ret_client, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Release, or abort when a request has failed on the way. NULL is fine. */
void md_dimse_client_close(md_dimse_client *client) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_dimse_client, md_dimse_client_close)

/* How a dataset of this class must be encoded for this peer. MD_UNSUPPORTED: it refuses the
 * class. */
md_status md_dimse_client_encoding(const md_dimse_client *client, const char *sop_class_uid,
                                   md_encoding *ret_encoding, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

typedef struct md_dimse_call {
    uint16_t field;               /* MD_COMMAND_*_RQ, dimse.h */
    const char *abstract_syntax;  /* which context */
    const char *sop_class_uid;    /* of the command; NULL: the abstract syntax */
    const char *sop_instance_uid; /* NULL: none */
    bool has_number;
    uint16_t number; /* event type or action type */
    const uint32_t
        *attributes; /* N-GET: MD_TAG; at most MD_COMMAND_MAX_ATTRIBUTES. None: all */
    size_t n_attributes;
    const uint8_t *dataset; /* in the class's encoding; NULL: none */
    size_t dataset_bytes;
} md_dimse_call;

/* A response. The dataset is valid until the next call or, of a pending one, until the callback
 * returns. */
typedef struct md_dimse_reply {
    uint16_t status;
    char sop_instance_uid[MD_UID_BYTES]; /* "": none */
    char comment[65];                    /* (0000,0902) as ASCII: the peer's, not for a log */
    const uint8_t *dataset;              /* NULL: none */
    size_t dataset_bytes;
    md_encoding encoding;
} md_dimse_reply;

/* Send a request and wait for its last response, each within the peer's time-out. on_pending
 * (NULL: they are dropped) gets those of C-FIND before it and returns whether to go on; false
 * sends C-CANCEL once. MD_OK with any status that the peer answers: the caller judges it.
 * MD_UNSUPPORTED: the peer refuses the class, the client is good for others. Else the client is
 * only good for its close. */
md_status md_dimse_client_call(md_dimse_client *client, const md_dimse_call *call,
                               bool (*on_pending)(void *context, const md_dimse_reply *reply),
                               void *context, md_dimse_reply *ret_reply, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The peer is SCP and reports an event over an association that we have opened: wait at most
 * timeout_ms for a request of it. on_request returns the status to answer with; in `request`
 * the AE titles are "". MD_TIMEOUT when none came, and the client is still good. A request that
 * comes while md_dimse_client_call waits for a response is handled when
 * md_dimse_client_on_event has set a callback, else answered 0x0211. */
typedef uint16_t (*md_client_event)(void *context, const md_dimse_request *request);
void md_dimse_client_on_event(md_dimse_client *client, md_client_event on_event, void *context)
    MD_NOEXCEPT;
md_status md_dimse_client_wait_event(md_dimse_client *client, unsigned timeout_ms,
                                     md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
