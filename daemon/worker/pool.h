#ifndef MEDAID_DAEMON_WORKER_POOL_H
#define MEDAID_DAEMON_WORKER_POOL_H

/* A pool of worker processes that analyse studies: warm between studies, watched, and replaced
 * when one dies, hangs, takes too much memory, breaks the protocol, or has served its number of
 * studies. What goes wrong in a worker costs one attempt of one study and nothing else: the
 * next study is served, and main stays as it was.
 *
 * One thread of the pool for each worker starts it, waits for it and talks to it. All functions
 * may be called from any thread; md_worker_pool_analyse blocks its caller and may be called by
 * many at once.
 *
 * The log holds worker_started, worker_start_failed, worker_died, worker_killed,
 * worker_recycled, worker_refused (a system call) and what workers log themselves; a study
 * appears by the key that the caller gives. */

#include "conf/conf.h"
#include "daemon/worker/protocol.h"

typedef struct md_worker_pool md_worker_pool;

typedef struct md_worker_pool_options {
    unsigned n_workers;        /* 1..64 */
    unsigned study_timeout_ms; /* one attempt of one study */
    unsigned start_timeout_ms; /* loading and self-test; 0: 120000 */
    unsigned memory_mib;       /* of one worker; 0: no limit */
    unsigned recycle_after;    /* studies; 0: never */
    unsigned ping_ms;          /* an idle worker is asked so often; 0: 10000 */
    /* Folder of the pool alone, on the file system of the studies' files, so that they can be
     * linked and need not be copied. Made when it is not there; what lies in the workers' own
     * folders below it is removed. MD_BUSY when another pool uses it. */
    const char *work_folder;
    const md_conf *conf; /* for the workers; copied without the destinations */
    /* NULL: this very program with "--worker FOLDER". Else an executable that gets these
     * arguments (NULL ends them) and then the folder. */
    const char *program;
    const char *const *arguments;
    const char *const
        *read_folders; /* more folders that workers may read, NULL ends; or NULL */
    bool keep_stderr;  /* see process.h; also by MEDAID_WORKER_STDERR=1 */
} md_worker_pool_options;

/* Start the workers and wait until one is ready. The error of loading when none gets ready
 * (MD_NOT_FOUND: no model), MD_TIMEOUT, MD_IO. Caller stops. */
md_status md_worker_pool_start(const md_worker_pool_options *options, md_worker_pool **ret_pool,
                               md_error *err) MD_NODISCARD;
/* End the running analyses (they return MD_CANCELLED) and the workers, wait for both, release
 * all. NULL is fine. To let analyses end by themselves, wait for them first. */
void md_worker_pool_stop(md_worker_pool *pool);
MD_DEFINE_DESTROYP(md_worker_pool, md_worker_pool_stop)

/* The models that the first worker announced; valid until the pool is stopped. */
size_t md_worker_pool_n_models(const md_worker_pool *pool);
const md_model_identity *md_worker_pool_model(const md_worker_pool *pool, size_t index);
/* What a study must hold before that model looks at it, as in md_host_model_required. */
const md_required *md_worker_pool_required(const md_worker_pool *pool, size_t index);

/* What that model leaves of a study, as in md_host_model_embeds. */
md_embeds md_worker_pool_embeds(const md_worker_pool *pool, size_t index);

typedef struct md_worker_job {
    const char *const *paths; /* the files of one study */
    size_t n_paths;
    const char *study_key;          /* for the log: a keyed hash or a counter, no UID */
    const char *study_instance_uid; /* results of another one are refused; NULL: not known */
    int cancel_fd; /* readable: give up (an eventfd, a pipe); -1: never. Not read from */
    int64_t first_received_ms, last_received_ms, complete_ms; /* for the clock; 0: unknown */
    const md_predecessor *predecessors;                       /* as in md_analyse_options */
    size_t n_predecessors;
    uint64_t revision;                  /* as in md_result */
    bool some_models;                   /* as in md_analyse_options, like the next three */
    const char (*models)[MD_KEY_BYTES]; /* what does not fit is left out: at most */
    size_t n_models;                    /* MD_WORKER_MAX_MODELS */
    const char *missing;
    /* As md_analyse_options.on_problem. Called by a thread of the pool while the caller waits.
     * At most n_paths + 64 times. May be NULL. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    void *context;
    /* What to do next, for the report, from what the worker says it found; called by a thread
     * of the pool, which it must not hold up. What it answers is md_analysis.follow_up. May be
     * NULL: nothing. */
    void (*propose)(void *context, const char *patient_id, const char *issuer,
                    const md_features *features, md_follow_up *ret_follow_up);
    void *propose_context;
} md_worker_job;

/* How an attempt went, seen from the worker. */
typedef enum md_worker_outcome {
    MD_WORKER_OUTCOME_ANSWERED,  /* the worker gave its answer: see the status */
    MD_WORKER_OUTCOME_CRASHED,   /* it died */
    MD_WORKER_OUTCOME_HUNG,      /* it was killed at the time limit */
    MD_WORKER_OUTCOME_MEMORY,    /* it met its memory limit */
    MD_WORKER_OUTCOME_FORBIDDEN, /* the kernel ended it for a deadly system call */
    MD_WORKER_OUTCOME_BROKEN,    /* it said what no honest worker says, or closed its channel */
    MD_WORKER_OUTCOME_CANCELLED, /* by the caller or by md_worker_pool_stop */
    MD_WORKER_OUTCOME_NOT_RUN,   /* the files could not be given to a worker */
} md_worker_outcome;

/* "answered", "crashed", ... */
const char *md_worker_outcome_name(md_worker_outcome outcome);

/* One attempt. Statuses as md_host_analyse when the worker answered; MD_PLUGIN (crashed,
 * forbidden, broken), MD_TIMEOUT (hung), MD_NOMEM (memory), MD_CANCELLED, MD_IO otherwise, with
 * a message that begins "analysis stopped: ". `ret_analysis` is always set and finished by the
 * caller. Its results carry no saliency. */
md_status md_worker_pool_analyse(md_worker_pool *pool, const md_worker_job *job,
                                 md_analysis *ret_analysis, md_worker_outcome *ret_outcome,
                                 md_error *err) MD_NODISCARD;

/* The failure of a study that came to no end, made by a worker without running a model: one
 * FAILED result with the reason (110501, DCM, "Equipment failure"), and an SR when the
 * configuration asks for failures to be written. `reason` is one line. */
md_status md_worker_pool_fail(md_worker_pool *pool, const md_worker_job *job,
                              const char *reason, md_analysis *ret_analysis,
                              md_worker_outcome *ret_outcome, md_error *err) MD_NODISCARD;

/* Attempts until a worker answers, at most n_attempts; then md_worker_pool_fail with the reason
 * of the last one. MD_OK with a FAILED result in that case, and ret_outcome says what the last
 * attempt was. When not even the failure can be written: the status of the last attempt. */
md_status md_worker_pool_analyse_attempts(md_worker_pool *pool, const md_worker_job *job,
                                          unsigned n_attempts, md_analysis *ret_analysis,
                                          md_worker_outcome *ret_outcome, md_error *err)
    MD_NODISCARD;

#endif
