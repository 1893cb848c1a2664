#include "inference/graph/work.h"

#include <pthread.h>

enum {
    MAX_WAITING = 4 /* groups for each thread: what waits holds memory */
};

typedef struct job {
    md_work_fn run;
    void *data;
    bool last; /* of its group */
} job;

struct md_work {
    pthread_mutex_t lock; /* guards all below but the threads */
    pthread_cond_t changed;
    job *jobs;
    size_t n_jobs, capacity;
    size_t n_ready, n_taken; /* of whole groups */
    unsigned n_waiting;      /* groups that nobody took yet */
    bool ended;
    md_status status;
    md_error err;
    pthread_t threads[MD_WORK_MAX_THREADS];
    unsigned n_threads;
};

/* Run the next whole group, if there is one. The lock is held, and not while a job runs. */
static bool run_group(md_work *work)
{
    if (work->n_taken == work->n_ready) {
        return false;
    }
    size_t at = work->n_taken;
    work->n_waiting--;
    while (!work->jobs[work->n_taken++].last) {
    }
    for (const size_t end = work->n_taken; at < end; at++) {
        const job now = work->jobs[at];
        md_error err = {0};
        (void)pthread_mutex_unlock(&work->lock);
        const md_status status = now.run(now.data, &err);
        (void)pthread_mutex_lock(&work->lock);
        if (status != MD_OK && work->status == MD_OK) {
            work->status = status;
            work->err = err;
        }
    }
    return true;
}

static void *help(void *data)
{
    md_work *work = data;
    (void)pthread_mutex_lock(&work->lock);
    for (;;) {
        if (!run_group(work)) {
            if (work->ended) {
                break;
            }
            (void)pthread_cond_wait(&work->changed, &work->lock);
        }
    }
    (void)pthread_mutex_unlock(&work->lock);
    return NULL;
}

md_status md_work_create(unsigned n_threads, md_work **ret_work, md_error *err)
{
    md_work *work = md_calloc(1, sizeof *work);
    if (work == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the work of start-up");
    }
    (void)pthread_mutex_init(&work->lock, NULL);
    (void)pthread_cond_init(&work->changed, NULL);
    while (work->n_threads + 1 < n_threads && work->n_threads + 1 < MD_WORK_MAX_THREADS &&
           pthread_create(&work->threads[work->n_threads], NULL, help, work) == 0) {
        work->n_threads++;
    }
    *ret_work = work;
    return MD_OK;
}

static void end(md_work *work)
{
    md_work_end_group(work); /* what a failure left open */
    (void)pthread_mutex_lock(&work->lock);
    work->ended = true;
    (void)pthread_cond_broadcast(&work->changed);
    while (run_group(work)) {
    }
    (void)pthread_mutex_unlock(&work->lock);
    for (; work->n_threads > 0; work->n_threads--) {
        (void)pthread_join(work->threads[work->n_threads - 1], NULL);
    }
}

void md_work_destroy(md_work *work)
{
    if (work == NULL) {
        return;
    }
    end(work);
    (void)pthread_cond_destroy(&work->changed);
    (void)pthread_mutex_destroy(&work->lock);
    md_free(work->jobs);
    md_free(work);
}

md_status md_work_add(md_work *work, md_work_fn run, void *data, md_error *err)
{
    md_status status = MD_OK;
    (void)pthread_mutex_lock(&work->lock);
    if (work->n_jobs == work->capacity) {
        const size_t capacity = work->capacity == 0 ? 256 : 2 * work->capacity;
        job *grown = md_realloc(work->jobs, capacity * sizeof *grown);
        if (grown == NULL) {
            status = md_fail(err, MD_NOMEM, "no memory for the work of start-up");
        } else {
            work->jobs = grown;
            work->capacity = capacity;
        }
    }
    if (status == MD_OK) {
        work->jobs[work->n_jobs++] = (job){run, data, false};
    }
    (void)pthread_mutex_unlock(&work->lock);
    return status;
}

void md_work_end_group(md_work *work)
{
    (void)pthread_mutex_lock(&work->lock);
    if (work->n_ready < work->n_jobs) {
        work->jobs[work->n_jobs - 1].last = true;
        work->n_ready = work->n_jobs;
        work->n_waiting++;
        (void)pthread_cond_signal(&work->changed);
        if (work->n_waiting > MAX_WAITING * work->n_threads) {
            (void)run_group(work);
        }
    }
    (void)pthread_mutex_unlock(&work->lock);
}

md_status md_work_finish(md_work *work, md_error *err)
{
    end(work);
    if (work->status != MD_OK && err != NULL) {
        *err = work->err;
    }
    return work->status;
}
