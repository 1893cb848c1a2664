#ifndef MEDAID_DICOM_NETWORK_SCP_H
#define MEDAID_DICOM_NETWORK_SCP_H

/* Storage and Verification SCP: the protocol only. What happens to an object is the caller's
 * policy, told by a callback. The listener owns an accept loop and a bounded pool of threads; a
 * client that stays silent, lies or sends garbage costs only itself. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_scp md_scp;

/* A received object. Pointers are valid during the callback. */
typedef struct md_scp_object {
    const char *sop_class_uid, *sop_instance_uid; /* of the command */
    const char *transfer_syntax_uid;
    const char *calling_ae, *called_ae, *peer_address;
    const char *path; /* a finished Part 10 file in spool_folder: bytes of the dataset as they
                         came; the callback moves or deletes it */
    const char *study_instance_uid, *series_instance_uid;
} md_scp_object;

typedef struct md_scp_options {
    const char *ae_title;
    const char *bind_address;       /* NULL: all */
    uint16_t port;                  /* 0: any free one, md_scp_port tells */
    const char *spool_folder;       /* where objects are written while they arrive */
    unsigned max_associations;      /* beyond: rejected as transient, local limit exceeded */
    unsigned association_timeout_s; /* for the A-ASSOCIATE-RQ and for each DIMSE message */
    unsigned max_pdu_bytes;
    uint64_t max_object_bytes;
    bool check_called_ae; /* reject another called AE title */
    /* Called on a pool thread, several at once. Returns the DIMSE status of the C-STORE-RSP; it
     * is sent only after the return. PS3.7 C, PS3.4 B.2.3. */
    uint16_t (*on_object)(void *context, const md_scp_object *object);
    /* One line for the log: event name, peer address, detail without patient data. May be NULL.
     */
    void (*on_event)(void *context, const char *event, const char *peer_address,
                     const char *detail);
    void *context;
} md_scp_options;

/* Bind, listen and start the threads. The options are copied. MD_NETWORK when the port is
 * taken. */
md_status md_scp_start(const md_scp_options *options, md_scp **ret_scp, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
uint16_t md_scp_port(const md_scp *scp) MD_NOEXCEPT;
/* Stop accepting, let running associations finish for at most grace_ms, end the rest, join all
 * threads and destroy. NULL is fine. */
void md_scp_stop(md_scp *scp, unsigned grace_ms) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
