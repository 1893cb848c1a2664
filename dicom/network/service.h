#ifndef MEDAID_DICOM_NETWORK_SERVICE_H
#define MEDAID_DICOM_NETWORK_SERVICE_H

/* What the SCP offers beside storage and verification: the DIMSE-N operations, N-EVENT-REPORT
 * and C-FIND of PS3.7. The protocol is here; what a request means is the service's business.
 *
 * A request comes whole, its dataset in memory as the bytes that came and not looked at: they
 * are hostile. The service answers with one response, or for C-FIND with any number of pending
 * ones before it, on the same thread and before it returns. One that returns without its final
 * response has it sent as 0x0110. */

#include "dicom/network/sop.h"

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /* A dataset that is longer is read to its end and answered with 0x0213. */
    MD_SERVICE_MAX_DATASET_BYTES = 4 * 1024 * 1024,
};

/* A request. Pointers are valid until on_request returns. */
typedef struct md_dimse_request {
    uint16_t field; /* MD_COMMAND_*_RQ, dimse.h */
    uint16_t message_id;
    const char *abstract_syntax;  /* of the presentation context */
    const char *sop_class_uid;    /* affected or requested one of the command; "": none */
    const char *sop_instance_uid; /* likewise; "": none */
    bool has_number;
    uint16_t number;           /* event type or action type */
    const uint8_t *attributes; /* of an N-GET: little endian group and element, 4 bytes each */
    size_t n_attributes;
    bool has_dataset;
    const uint8_t *dataset;
    size_t dataset_bytes;
    md_encoding encoding; /* implicit or explicit little endian, of request and answers */
    bool peer_is_scp;     /* role selection let the peer be the SCP of this class */
    const char *calling_ae, *called_ae, *peer_address;
} md_dimse_request;

typedef struct md_dimse_answer {
    uint16_t status;              /* MD_DIMSE_* or what the service's table says */
    const char *sop_instance_uid; /* NULL: that of the request */
    const char *comment;          /* (0000,0902), at most 64 characters; NULL: none */
    const uint8_t *dataset;       /* in the request's encoding; NULL: none */
    size_t dataset_bytes;
} md_dimse_answer;

typedef struct md_dimse_responder md_dimse_responder;

/* Send a response. Pending ones (0xFF00, 0xFF01) may be followed by others; the first other one
 * is the last. MD_NETWORK, MD_TIMEOUT: the peer is gone, whatever else is sent fails likewise.
 * MD_INVALID_ARG: after the last response. */
md_status md_dimse_respond(md_dimse_responder *responder, const md_dimse_answer *answer,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Whether the peer has sent C-CANCEL for this request, or has gone, so that further pending
 * responses are of no use. Looks at what has arrived, does not wait. After C-CANCEL the final
 * status is MD_DIMSE_CANCELLED. */
bool md_dimse_is_cancelled(md_dimse_responder *responder) MD_NOEXCEPT;

typedef struct md_service_class {
    const char *sop_class_uid;
    /* The peer may open the association as SCP of the class, by role selection (PS3.7 D.3.3.4):
     * it then sends N-EVENT-REPORT over it. */
    bool peer_may_be_scp;
} md_service_class;

/* Contexts of these classes are accepted in implicit and explicit VR little endian. */
typedef struct md_scp_service {
    const md_service_class *classes;
    size_t n_classes;
    /* On a pool thread, several at once. `field` is one of N-EVENT-REPORT, N-GET, N-SET,
     * N-ACTION, N-CREATE and C-FIND; all others are refused with 0x0211 before. */
    void (*on_request)(void *context, const md_dimse_request *request,
                       md_dimse_responder *responder);
    void *context;
} md_scp_service;

#ifdef __cplusplus
}
#endif
#endif
