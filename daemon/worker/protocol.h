#ifndef MEDAID_DAEMON_WORKER_PROTOCOL_H
#define MEDAID_DAEMON_WORKER_PROTOCOL_H

/* What the main process and `medaid --worker` say to each other: packets over a SOCK_SEQPACKET
 * socketpair, so that a packet is whole or not there, and one shared block of memory (a memfd
 * of fixed size that main made) for the analysis, which is too large for a packet.
 *
 *   main                          worker
 *   CONFIGURE conf           ->
 *                            <-   LOG lines (while models load, and later)
 *                            <-   MODEL identity, once for each; then READY, or START_FAILED
 *   ANALYSE or FAIL          ->
 *                            <-   PROBLEM, REFUSED, LOG, any number up to a limit
 *                            <-   PROPOSE what was found, at most once, for the report
 *   PROPOSED follow-up       ->
 *                            <-   RESULT status and size of what stands in the shared block
 *   PING                     ->
 *                            <-   PONG
 *   BYE                      ->   (ends)
 *
 * Trust goes one way. The worker believes main. Main believes nothing: a plugin may have taken
 * the worker over, so each packet and each byte of the shared block is bounded and checked, and
 * the shared block is copied before it is read, as the worker could still write to it.
 *
 * No descriptor is ever passed: the worker has what it was exec'd with (socket, shared block),
 * and reads a study from its own work folder, into which main links the files of that study
 * alone. So the system calls that carry descriptors stay forbidden in the worker, and Landlock,
 * which judges an open by its path, can admit that folder and nothing else of the storage; a
 * descriptor could not be opened a second time through /proc/self/fd, as DCMTK does. */

#include "conf/conf.h"
#include "daemon/follow_up/profile.h"
#include "plugins/host/host.h"

enum {
    MD_WORKER_SOCKET_FD = 3, /* in the worker */
    MD_WORKER_SHARED_FD = 4,
    MD_WORKER_WEIGHTS_FD = 5, /* inference/share.h; may be missing */
    MD_WORKER_PROTOCOL = 6,
    MD_WORKER_PACKET_BYTES = 128 * 1024,
    MD_WORKER_MAX_MODELS = 64,
    MD_WORKER_MISSING_BYTES = 161, /* what of a study has not come, in words */
    MD_WORKER_MAX_FILES = 65536,   /* of one study */
    MD_WORKER_MAX_OBJECTS =
        2 * MD_RESULT_MAX_INSTANCES + MD_WORKER_MAX_MODELS * MD_RESULT_MAX_FINDINGS,
    MD_WORKER_SHARED_BYTES = 256 << 20, /* of one analysis, objects and all */
};

typedef enum md_worker_kind {
    /* 1 .. : a log line is a packet that begins with '{' (see md_worker_log_line) */
    MD_WORKER_CONFIGURE = 1,
    MD_WORKER_MODEL,
    MD_WORKER_READY,
    MD_WORKER_START_FAILED,
    MD_WORKER_ANALYSE,
    MD_WORKER_FAIL,
    MD_WORKER_PROBLEM,
    MD_WORKER_REFUSED,
    MD_WORKER_RESULT,
    MD_WORKER_PROPOSE,
    MD_WORKER_PROPOSED,
    MD_WORKER_PING,
    MD_WORKER_PONG,
    MD_WORKER_BYE,
    MD_WORKER_LOG,
    MD_WORKER_N_KINDS
} md_worker_kind;

/* One packet, taken apart. Members that the kind does not use are zero. */
typedef struct md_worker_packet {
    md_worker_kind kind;
    uint64_t job; /* ANALYSE, FAIL; repeated in PROBLEM, RESULT, PROPOSE, PROPOSED. PING, PONG:
                     a number */
    uint32_t n;   /* CONFIGURE: protocol; READY: models; ANALYSE, FAIL: files; PROBLEM: index
                     of the file; REFUSED: number of the system call */
    uint64_t bytes;                /* RESULT: used bytes of the shared block */
    md_status status;              /* START_FAILED, PROBLEM, RESULT */
    char text[MD_ERROR_MSG_BYTES]; /* its message; FAIL: why the study failed */
    int64_t first_received_ms, last_received_ms, complete_ms; /* ANALYSE, FAIL */
    md_predecessor predecessors[MD_HOST_MAX_PREDECESSORS];    /* ANALYSE, FAIL */
    uint32_t n_predecessors;
    uint64_t revision;       /* ANALYSE, FAIL */
    md_model_identity model; /* MODEL */
    md_required required;    /* MODEL: of a study */
    md_embeds embeds;        /* MODEL */
    bool some_models;        /* ANALYSE: as in md_analyse_options, like what follows */
    char models[MD_WORKER_MAX_MODELS][MD_KEY_BYTES];
    uint32_t n_models;
    char missing[MD_WORKER_MISSING_BYTES];                 /* "": nothing */
    char patient_id[MD_TEXT_BYTES], issuer[MD_TEXT_BYTES]; /* PROPOSE */
    md_features features;                                  /* PROPOSE */
    md_follow_up follow_up;                                /* PROPOSED */
    const md_conf *conf; /* CONFIGURE: borrowed from the packet's bytes or the caller */
    const char *log;     /* LOG: the line, log_bytes long, borrowed from the packet's bytes */
    size_t log_bytes;
} md_worker_packet;

/* Room for one packet. */
typedef struct md_worker_buffer {
    _Alignas(16) uint8_t bytes[MD_WORKER_PACKET_BYTES];
} md_worker_buffer;

/* Put a packet into bytes; MD_LIMIT when it does not fit. */
md_status md_worker_encode(const md_worker_packet *packet, md_worker_buffer *buffer,
                           size_t *ret_size, md_error *err) MD_NODISCARD;
/* Take a packet apart. MD_FORMAT says which rule it breaks. `ret_packet` borrows from `buffer`.
 * CONFIGURE is only accepted from main: a worker passes true for `from_main`, main passes
 * false. */
md_status md_worker_decode(const md_worker_buffer *buffer, size_t size_bytes, bool from_main,
                           md_worker_packet *ret_packet, md_error *err) MD_NODISCARD;

/* Send one packet. Main never waits: MD_BUSY when the worker does not read. The worker waits,
 * and uses write, as send is forbidden there. MD_NETWORK when the other side is gone. */
md_status md_worker_send(int fd, bool from_main, const md_worker_packet *packet,
                         md_worker_buffer *buffer, md_error *err) MD_NODISCARD;

/* The analysis as bytes, into the shared block. Saliency stays behind: main has no use for it,
 * the objects show it. MD_LIMIT when the block is too small. */
md_status md_worker_encode_analysis(const md_analysis *analysis, uint8_t *block,
                                    size_t capacity_bytes, size_t *ret_size, md_error *err)
    MD_NODISCARD;

/* What main knows and the worker's word must agree with. */
typedef struct md_worker_expectation {
    const md_model_identity *models; /* as announced with MODEL */
    const md_embeds *embeds;         /* likewise, of each; NULL: none leaves anything */
    size_t n_models;
    const char *study_instance_uid; /* "" or NULL: not known */
    size_t n_files;
    bool host_may_speak; /* a FAILED result in the name of medaid itself is allowed */
} md_worker_expectation;

/* Read and check every byte. MD_OK: `ret_analysis` is whole and the caller finishes it, and
 * every string is clean UTF-8 that ends, every number finite and in its range, every UID one,
 * every index inside, every result one of an announced model and of the expected study, every
 * embedding one that its model announced, of a model of the results and of length 1, every
 * object a Part 10 file by its first bytes, of a class that medaid writes and of the model of
 * one of the results. MD_FORMAT says which rule is broken, MD_NOMEM; then there is nothing to
 * finish. */
md_status md_worker_decode_analysis(const uint8_t *block, size_t size_bytes,
                                    const md_worker_expectation *expected,
                                    md_analysis *ret_analysis, md_error *err) MD_NODISCARD;

/* The identity under which medaid itself says that an analysis failed, when it is not known
 * which of several models was at work. */
void md_worker_host_identity(md_model_identity *ret_identity);

#endif
