#include "inference/backend/threads.h"

#include <pthread.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    MAX_HELPERS = 63,
    SPINS = 2000 /* some 50 us */
};

struct md_threads {
    unsigned n_helpers;
    pthread_t ids[MAX_HELPERS];
    md_threads_fn work;
    void *data;
    atomic_uint n_started; /* threads that know their number */
    atomic_uint round;     /* changes when there is work, or the end */
    atomic_uint n_busy, n_sleeping;
    atomic_bool ended;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

/* The next round after `seen`. */
static unsigned await_round(md_threads *t, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&t->round) != seen) {
            return atomic_load(&t->round);
        }
        pause_briefly();
    }
    (void)pthread_mutex_lock(&t->lock);
    (void)atomic_fetch_add(&t->n_sleeping, 1);
    while (atomic_load(&t->round) == seen) {
        (void)pthread_cond_wait(&t->wake, &t->lock);
    }
    (void)atomic_fetch_sub(&t->n_sleeping, 1);
    (void)pthread_mutex_unlock(&t->lock);
    return atomic_load(&t->round);
}

static void *help(void *data)
{
    md_threads *t = data;
    const unsigned part = atomic_fetch_add(&t->n_started, 1) + 1;
    for (unsigned seen = 0;;) {
        seen = await_round(t, seen);
        if (atomic_load(&t->ended)) {
            return NULL;
        }
        t->work(t->data, part, t->n_helpers + 1);
        if (atomic_fetch_sub(&t->n_busy, 1) == 1) {
            (void)pthread_mutex_lock(&t->lock);
            (void)pthread_cond_signal(&t->done);
            (void)pthread_mutex_unlock(&t->lock);
        }
    }
}

static void next_round(md_threads *t)
{
    (void)atomic_fetch_add(&t->round, 1);
    if (atomic_load(&t->n_sleeping) > 0) {
        (void)pthread_mutex_lock(&t->lock);
        (void)pthread_cond_broadcast(&t->wake);
        (void)pthread_mutex_unlock(&t->lock);
    }
}

md_status md_threads_create(unsigned n_threads, md_threads **ret_threads, md_error *err)
{
    md_threads *t = md_calloc(1, sizeof *t);
    if (t == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for threads");
    }
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->wake, NULL);
    (void)pthread_cond_init(&t->done, NULL);
    while (t->n_helpers + 1 < n_threads && t->n_helpers < MAX_HELPERS &&
           pthread_create(&t->ids[t->n_helpers], NULL, help, t) == 0) {
        t->n_helpers++;
    }
    *ret_threads = t;
    return MD_OK;
}

void md_threads_destroy(md_threads *t)
{
    if (t == NULL) {
        return;
    }
    atomic_store(&t->ended, true);
    next_round(t);
    for (unsigned i = 0; i < t->n_helpers; i++) {
        (void)pthread_join(t->ids[i], NULL);
    }
    (void)pthread_cond_destroy(&t->done);
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->lock);
    md_free(t);
}

unsigned md_threads_count(const md_threads *t)
{
    return t == NULL ? 1 : t->n_helpers + 1;
}

void md_threads_run(md_threads *t, md_threads_fn work, void *data)
{
    if (t == NULL || t->n_helpers == 0) {
        work(data, 0, 1);
        return;
    }
    t->work = work;
    t->data = data;
    atomic_store(&t->n_busy, t->n_helpers);
    next_round(t);
    work(data, 0, t->n_helpers + 1);
    for (int i = 0; i < SPINS && atomic_load(&t->n_busy) > 0; i++) {
        pause_briefly();
    }
    if (atomic_load(&t->n_busy) > 0) {
        (void)pthread_mutex_lock(&t->lock);
        while (atomic_load(&t->n_busy) > 0) {
            (void)pthread_cond_wait(&t->done, &t->lock);
        }
        (void)pthread_mutex_unlock(&t->lock);
    }
}
