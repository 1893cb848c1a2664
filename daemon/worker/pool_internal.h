#ifndef MEDAID_DAEMON_WORKER_POOL_INTERNAL_H
#define MEDAID_DAEMON_WORKER_POOL_INTERNAL_H

/* What pool.c (the queue of jobs) and slot.c (one thread for each worker) share. */

#include "daemon/worker/pool.h"
#include "daemon/worker/process.h"

#include <pthread.h>

enum {
    MD_WORKER_MAX_WORKERS = 64,
    MD_WORKER_PATH_BYTES = 512
};

/* One call of md_worker_pool_analyse or _fail; lives on the caller's stack. */
typedef struct md_worker_entry {
    const md_worker_job *job;
    const char *fail_reason; /* NULL: analyse */
    md_analysis analysis;
    md_follow_up follow_up; /* what was answered to PROPOSE */
    bool proposed;
    md_status status;
    md_worker_outcome outcome;
    md_error err;
    int done_fd;  /* an eventfd, written when all of the above stands */
    bool done;    /* the same; under the pool's lock */
    bool running; /* taken by a slot; under the pool's lock */
    struct md_worker_entry *next;
} md_worker_entry;

/* A worker and what its thread knows; only that thread touches it. */
typedef struct md_worker_slot {
    md_worker_pool *pool;
    unsigned index;
    char folder[MD_WORKER_PATH_BYTES];
    pthread_t thread;
    bool has_thread;
    md_worker_process process;
    md_model_identity *models; /* as this worker announced them */
    md_required *required;     /* of each */
    md_embeds embeds[MD_WORKER_MAX_MODELS];
    size_t n_models;
    unsigned n_served;     /* studies of this process */
    unsigned n_failures;   /* deaths and failed starts in a row */
    const char *doing;     /* "start", "analysis", "idling" */
    unsigned limit_ms;     /* for that */
    bool reported;         /* its first start, to the pool */
    unsigned n_packets;    /* that this phase (start, study, idle) brought */
    unsigned n_lines;      /* log lines of this phase */
    uint64_t n_jobs;       /* numbers jobs and pings */
    const char *study_key; /* of the running study, for the log; "" */
    md_worker_buffer buffer;
} md_worker_slot;

struct md_worker_pool {
    /* constant after the start */
    md_worker_pool_options options;
    md_conf conf;
    char *work_folder, *program;
    char **arguments, **read_folders;
    unsigned n_arguments;
    int weights_fd; /* inference/share.h; 0: none, then each worker has its own */
    int jobs_fd;    /* an eventfd as semaphore: one count for each queued job */
    int folder_fd;  /* holds the lock on the work folder */
    int stop_fd;    /* an eventfd, readable from md_worker_pool_stop on */
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    md_worker_entry *first, *last; /* queued */
    unsigned n_callers;
    unsigned n_ready, n_failed; /* slots that came up, or failed to, the first time */
    md_error start_error;
    md_model_identity *models; /* of the first worker that came up */
    md_required *required;
    md_embeds embeds[MD_WORKER_MAX_MODELS];
    size_t n_models;
    bool stopping;
    md_worker_slot *slots;
};

/* The thread of a slot. */
void *md_worker_slot_main(void *slot);

/* Called by slots. */
md_worker_entry *md_worker_pool_take(md_worker_pool *pool);
void md_worker_pool_done(md_worker_pool *pool, md_worker_entry *entry);
/* First start of a slot: `err` NULL when it went well. */
void md_worker_pool_report_start(md_worker_pool *pool, md_worker_slot *slot,
                                 const md_error *err);

#endif
