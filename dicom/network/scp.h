#ifndef MEDAID_DICOM_NETWORK_SCP_H
#define MEDAID_DICOM_NETWORK_SCP_H

/* Storage and Verification SCP, and whatever service is plugged in (service.h): the protocol
 * only, PS3.8 and PS3.7, over TCP or TLS. What happens to an object is the caller's policy,
 * told by a callback. The listener owns an accept loop and a bounded pool of threads; a client
 * that stays silent, lies or sends garbage costs only itself.
 *
 * Taken are all storage classes of PS3.6 in every transfer syntax that medaid reads (sop.h); of
 * the proposed syntaxes the first of these. Not offered: asynchronous operations, roles,
 * extended negotiation, user identity.
 *
 * Before the callback sees an object it is whole (its element headers lead exactly to its end),
 * its SOP class and instance are those of the command, and it has a study and a series. Else it
 * is refused with 0xC000 (cannot be understood), 0xA900 (is not what the command says), 0xA700
 * (too large, or the disk is full), 0x0117, 0x0120 or 0x0122, its file is removed, and the
 * association goes on. */

#include "dicom/network/callers.h"
#include "dicom/network/identity.h"
#include "dicom/network/service.h"
#include "dicom/network/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_scp md_scp;

/* A received object. Pointers are valid during the callback. */
typedef struct md_scp_object {
    const char *sop_class_uid, *sop_instance_uid; /* of the command */
    const char *transfer_syntax_uid;
    const char *calling_ae, *called_ae, *peer_address;
    const char *path; /* a finished Part 10 file where objects are written: bytes of the dataset
                         as they came; the callback moves or deletes it */
    int fd;           /* the same, open for reading and writing; stays the caller's */
    uint64_t file_number;          /* what make_file said */
    uint64_t dataset_offset_bytes; /* in the file: what is before it is our own */
    const uint8_t *content_tag;    /* of the dataset; without content_key: nothing */
    const char *study_instance_uid, *series_instance_uid;
    const char
        *own_ae; /* called_ae if it is one of the titles, else the ae_title of the options */
    const md_identity *identity; /* with the values of `wanted` */
    const md_wanted *wanted;     /* of the options */
    const char *patient_id;      /* as in md_identity, for the audit trail alone */
} md_scp_object;

/* A further AE title, with its own callers. */
typedef struct md_scp_title {
    char ae_title[MD_AE_BYTES];
    const md_caller *allowed_callers; /* none: those of the options */
    unsigned n_allowed_callers;
} md_scp_title;

enum {
    MD_SCP_MAX_TITLES = 16
};

typedef struct md_scp_options {
    const char *ae_title;
    const char *bind_address; /* NULL: all */
    uint16_t port;            /* 0: any free one, md_scp_port tells */
    /* A socket from md_scp_bind, with has_bound_fd, instead of these two; owned from the start
     * on, also when that fails. */
    bool has_bound_fd;
    int bound_fd;
    const char *spool_folder; /* where objects are written while they arrive, unless: */
    /* Make the file for an object: new, 0600, open for reading and writing, at an absolute path
     * of less than path_bytes. Returns 0 or an errno. Called on a pool thread, several at once.
     * NULL: files in spool_folder, with numbers that say nothing. */
    int (*make_file)(void *context, char *ret_path, size_t path_bytes, uint64_t *ret_number,
                     int *ret_fd);
    unsigned max_associations; /* beyond: rejected as transient, local limit exceeded */
    /* For the A-ASSOCIATE-RQ, for the pause between two messages, and for each message: there
     * the time is extended while at least 16 KiB/s arrive. 1..3600. */
    unsigned association_timeout_s;
    unsigned max_pdu_bytes;
    uint64_t max_object_bytes;
    const uint8_t *content_key; /* for the tags of objects, see base/content_tag.h; borrowed
                                   until the stop. NULL: none are computed */
    bool check_called_ae;       /* reject another called AE title than these */
    md_scp_title titles[MD_SCP_MAX_TITLES];
    unsigned n_titles;
    md_wanted wanted; /* what is read of each object beside its UIDs */
    /* Others are rejected: permanent, service user, calling AE title not recognised. None: all
     * may call. */
    const md_caller *allowed_callers;
    unsigned n_allowed_callers;
    const md_tls_options *tls; /* NULL: plain. The files are read at the start */
    /* Borrowed, with all they point to, until md_scp_stop. */
    const md_scp_service *services;
    size_t n_services;
    /* Called on a pool thread, several at once. Returns the DIMSE status of the C-STORE-RSP; it
     * is sent only after the return. PS3.7 C, PS3.4 B.2.3. */
    uint16_t (*on_object)(void *context, const md_scp_object *object);
    /* One line for the log: event name, peer address ("192.0.2.1:4711"), detail without patient
     * data. Called on the accept and the pool threads. May be NULL. Events: connection_refused,
     * connection_probed (closed without a word), tls_failed (no handshake, or an association
     * without one), caller_rejected (by AE title or address), association_rejected,
     * association_aborted, association_done (the last one of every established association),
     * object_refused, accept_failed, listener_failed. */
    void (*on_event)(void *context, const char *event, const char *peer_address,
                     const char *detail);
    void *context;
} md_scp_options;

/* Bind a socket to an address (NULL: all) and a port (0: any free one), for a start with fewer
 * privileges. Nobody can connect yet. MD_INVALID_ARG: no address; MD_NETWORK: taken or not
 * allowed. The caller closes it, or gives it to md_scp_start. */
md_status md_scp_bind(const char *bind_address, uint16_t port, int *ret_fd, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Bind, listen and start the threads. The options are copied, content_key is not. MD_NETWORK
 * when the port is taken; MD_INVALID_ARG for a caller's address that is none; what
 * md_tls_create_server says. */
md_status md_scp_start(const md_scp_options *options, md_scp **ret_scp, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Work with other options from the next association on; those that run keep theirs. Taken over:
 * AE title, allowed callers, check_called_ae, sizes, time-out, and with TLS the files, which
 * are read now. The rest, and whether there is TLS, stays as it was. On failure, as in
 * md_scp_start, all stays. Any thread, one at a time. */
md_status md_scp_change(md_scp *scp, const md_scp_options *options, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
uint16_t md_scp_port(const md_scp *scp) MD_NOEXCEPT;
/* Stop accepting, let running associations finish for at most grace_ms, end the rest, join all
 * threads and destroy. NULL is fine. */
void md_scp_stop(md_scp *scp, unsigned grace_ms) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
