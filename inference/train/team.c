#include "inference/train/team.h"

#ifdef MEDAID_HAVE_ONEDNN
#define MD_DNNL_NO_MACROS
#include "inference/backend/onednn_load.h"
#endif

#include <pthread.h>

typedef struct worker {
    struct md_team *team;
    unsigned part;
    pthread_t thread;
} worker;

struct md_team {
    unsigned n_threads, n_started;
    bool openmp;
    md_team_fn work;
    void *data;
    /* own threads: each runs one part of round number `round` */
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    unsigned round, n_busy;
    bool stop;
    worker *workers;
};

static void *serve(void *argument)
{
    const worker *self = argument;
    md_team *team = self->team;
    unsigned seen = 0;
    for (;;) {
        (void)pthread_mutex_lock(&team->lock);
        while (team->round == seen && !team->stop) {
            (void)pthread_cond_wait(&team->begin, &team->lock);
        }
        seen = team->round;
        const bool stop = team->stop;
        (void)pthread_mutex_unlock(&team->lock);
        if (stop) {
            return NULL;
        }
        team->work(team->data, self->part, team->n_threads);
        (void)pthread_mutex_lock(&team->lock);
        if (--team->n_busy == 0) {
            (void)pthread_cond_signal(&team->end);
        }
        (void)pthread_mutex_unlock(&team->lock);
    }
}

static md_status start_workers(md_team *team, md_error *err)
{
    team->workers = md_calloc(team->n_threads, sizeof *team->workers);
    if (team->workers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u threads", team->n_threads);
    }
    for (unsigned i = 1; i < team->n_threads; i++) {
        worker *w = &team->workers[i];
        w->team = team;
        w->part = i;
        const int error = pthread_create(&w->thread, NULL, serve, w);
        if (error != 0) {
            return md_fail_os(err, error, "cannot start thread %u of %u", i, team->n_threads);
        }
        team->n_started++;
    }
    return MD_OK;
}

md_status md_team_create(unsigned n_threads, bool openmp, md_team **ret_team, md_error *err)
{
    md_team *team = md_calloc(1, sizeof *team);
    if (team == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for threads");
    }
    team->n_threads = n_threads;
    team->openmp = openmp;
    (void)pthread_mutex_init(&team->lock, NULL);
    (void)pthread_cond_init(&team->begin, NULL);
    (void)pthread_cond_init(&team->end, NULL);
    const md_status status = openmp ? MD_OK : start_workers(team, err);
    if (status != MD_OK) {
        md_team_destroy(team);
        return status;
    }
    *ret_team = team;
    return MD_OK;
}

void md_team_destroy(md_team *team)
{
    if (team == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&team->lock);
    team->stop = true;
    (void)pthread_cond_broadcast(&team->begin);
    (void)pthread_mutex_unlock(&team->lock);
    for (unsigned i = 1; i <= team->n_started; i++) {
        (void)pthread_join(team->workers[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&team->end);
    (void)pthread_cond_destroy(&team->begin);
    (void)pthread_mutex_destroy(&team->lock);
    md_free(team->workers);
    md_free(team);
}

unsigned md_team_size(const md_team *team)
{
    return team->n_threads;
}

#ifdef MEDAID_HAVE_ONEDNN
/* What GNU OpenMP calls on each of its threads. It may give fewer than asked: each takes the
 * parts that are its turn. */
static void run_part(void *data)
{
    const md_team *team = data;
    const unsigned self = (unsigned)md_dnnl_table.omp_get_thread_num();
    const unsigned n = (unsigned)md_dnnl_table.omp_get_num_threads();
    for (unsigned part = self; part < team->n_threads; part += n) {
        team->work(team->data, part, team->n_threads);
    }
}
#endif

void md_team_run(md_team *team, md_team_fn work, void *data)
{
    if (team->n_threads == 1) {
        work(data, 0, 1);
        return;
    }
#ifdef MEDAID_HAVE_ONEDNN
    if (team->openmp) {
        team->work = work;
        team->data = data;
        md_dnnl_table.GOMP_parallel(run_part, team, team->n_threads, 0);
        return;
    }
#endif
    (void)pthread_mutex_lock(&team->lock);
    team->work = work;
    team->data = data;
    team->n_busy = team->n_started;
    team->round++;
    (void)pthread_cond_broadcast(&team->begin);
    (void)pthread_mutex_unlock(&team->lock);
    work(data, 0, team->n_threads);
    (void)pthread_mutex_lock(&team->lock);
    while (team->n_busy > 0) {
        (void)pthread_cond_wait(&team->end, &team->lock);
    }
    (void)pthread_mutex_unlock(&team->lock);
}
