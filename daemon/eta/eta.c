#include "daemon/eta/eta.h"

#include "base/log.h"
#include "daemon/steady.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    DAY_MS = 86400000,
    WITHOUT_MODEL_MS = 600000 /* while there is too little history, look so often */
};

struct md_eta {
    md_eta_options options;
    md_store *store;
    pthread_t thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t stop;
    bool stopping, is_started;
    pthread_rwlock_t lock; /* of what follows */
    md_eta_model *model;
    char reason[MD_ETA_REASON_BYTES];
};

static void set_reason(md_eta *eta, const char *reason)
{
    pthread_rwlock_wrlock(&eta->lock);
    (void)snprintf(eta->reason, sizeof eta->reason, "%s", reason);
    pthread_rwlock_unlock(&eta->lock);
}

static void use(md_eta *eta, md_eta_model *model)
{
    pthread_rwlock_wrlock(&eta->lock);
    md_eta_model *before = eta->model;
    eta->model = model;
    pthread_rwlock_unlock(&eta->lock);
    md_eta_model_destroy(before);
}

static md_status fit_and_keep(md_eta *eta, int64_t now_ms, md_eta_model **ret_model,
                              md_error *err)
{
    MD_AUTO(md_freep) md_store_reading *rows = NULL;
    MD_AUTO(md_freep) char *text = NULL;
    MD_AUTO(md_eta_model_destroyp) md_eta_model *model = NULL;
    size_t n = 0, n_text = 0;
    int64_t since_ms = now_ms - (int64_t)eta->options.history_days * DAY_MS;
    MD_TRY(md_store_readings(eta->store, since_ms, MD_STORE_MAX_READINGS, &rows, &n, err));
    MD_TRY(md_eta_fit(rows, n, eta->options.least_studies, now_ms, &model, err));
    MD_TRY(md_eta_write(model, &text, &n_text, err));
    MD_TRY(md_store_put_estimate(eta->store, text, n_text, err));
    *ret_model = MD_STEAL(model);
    return MD_OK;
}

md_status md_eta_refit(md_eta *eta, int64_t now_ms, md_error *err)
{
    md_eta_model *model = NULL;
    md_error why = {0};
    md_status status = fit_and_keep(eta, now_ms, &model, &why);
    if (status != MD_OK) {
        set_reason(eta, why.msg);
        return md_fail(err, status, "%s", why.msg);
    }
    const md_eta_summary *s = md_eta_describe(model);
    md_log(MD_LOG_INFO, "eta_fitted", MD_LOG_INT("studies", s->n_cases),
           MD_LOG_INT("unread", s->n_unread), MD_LOG_INT("forest", s->is_forest),
           MD_LOG_INT("checked", s->n_checked), MD_LOG_INT("covered", s->n_covered));
    use(eta, model);
    return MD_OK;
}

/* How long until the next fit. */
static int64_t fit_when_due(md_eta *eta)
{
    md_eta_summary s = {0};
    char reason[MD_ETA_REASON_BYTES];
    md_error err = {0};
    int64_t now_ms = md_steady_ms();
    bool has_model = md_eta_tell(eta, &s, reason);
    /* a model of the future is one of a clock that was set back: make it anew */
    int64_t age_ms = now_ms - s.fitted_ms;
    if (has_model && age_ms >= 0 && age_ms < eta->options.refit_ms) {
        return eta->options.refit_ms - age_ms;
    }
    md_status status = md_eta_refit(eta, now_ms, &err);
    if (status != MD_OK && status != MD_NOT_FOUND) {
        md_log(MD_LOG_WARN, "eta_failed", MD_LOG_TEXT("reason", err.msg));
    }
    bool wait_long = status == MD_OK || WITHOUT_MODEL_MS > eta->options.refit_ms;
    return wait_long ? eta->options.refit_ms : WITHOUT_MODEL_MS;
}

static void *eta_thread(void *context)
{
    md_eta *eta = context;
    pthread_mutex_lock(&eta->mutex);
    while (!eta->stopping) {
        pthread_mutex_unlock(&eta->mutex);
        int64_t wait_ms = fit_when_due(eta);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(wait_ms / 1000) + 1;
        pthread_mutex_lock(&eta->mutex);
        while (!eta->stopping &&
               pthread_cond_timedwait(&eta->stop, &eta->mutex, &until) != ETIMEDOUT) {
        }
    }
    pthread_mutex_unlock(&eta->mutex);
    return NULL;
}

/* One that cannot be read is made anew: it is only an estimate. */
static void load_kept(md_eta *eta)
{
    MD_AUTO(md_freep) char *text = NULL;
    size_t n = 0;
    md_eta_model *model = NULL;
    md_error err = {0};
    md_status status = md_store_estimate(eta->store, &text, &n, &err);
    if (status == MD_OK) {
        status = md_eta_parse(text, n, &model, &err);
    }
    if (status == MD_OK) {
        use(eta, model);
    } else if (status != MD_NOT_FOUND) {
        md_log(MD_LOG_WARN, "eta_failed", MD_LOG_TEXT("reason", err.msg));
    }
}

md_status md_eta_start(const md_eta_options *options, md_store *store, md_eta **ret_eta,
                       md_error *err)
{
    md_eta *eta = md_calloc(1, sizeof *eta);
    if (eta == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for estimates");
    }
    eta->options = *options;
    eta->store = store;
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&eta->stop, &steady);
    pthread_condattr_destroy(&steady);
    pthread_mutex_init(&eta->mutex, NULL);
    pthread_rwlock_init(&eta->lock, NULL);
    set_reason(eta, "the first fit is under way");
    load_kept(eta);
    int os_errno =
        options->refit_ms > 0 ? pthread_create(&eta->thread, NULL, eta_thread, eta) : 0;
    eta->is_started = os_errno == 0 && options->refit_ms > 0;
    if (os_errno != 0) {
        md_eta_stop(eta);
        return md_fail_os(err, os_errno, "start the thread of estimates");
    }
    *ret_eta = eta;
    return MD_OK;
}

void md_eta_stop(md_eta *eta)
{
    if (eta == NULL) {
        return;
    }
    pthread_mutex_lock(&eta->mutex);
    eta->stopping = true;
    pthread_cond_broadcast(&eta->stop);
    pthread_mutex_unlock(&eta->mutex);
    if (eta->is_started) {
        pthread_join(eta->thread, NULL);
    }
    md_eta_model_destroy(eta->model);
    pthread_rwlock_destroy(&eta->lock);
    pthread_cond_destroy(&eta->stop);
    pthread_mutex_destroy(&eta->mutex);
    md_free(eta);
}

bool md_eta_tell(md_eta *eta, md_eta_summary *ret_summary, char ret_reason[MD_ETA_REASON_BYTES])
{
    pthread_rwlock_rdlock(&eta->lock);
    bool has_model = eta->model != NULL;
    if (has_model) {
        *ret_summary = *md_eta_describe(eta->model);
    }
    memcpy(ret_reason, eta->reason, sizeof eta->reason);
    pthread_rwlock_unlock(&eta->lock);
    return has_model;
}

md_status md_eta_of(md_eta *eta, const char *study_key, int64_t now_ms,
                    md_eta_estimate *ret_estimate, md_error *err)
{
    md_store_reading row;
    MD_TRY(md_store_reading_of(eta->store, study_key, &row, err));
    if (row.read_ms != 0) {
        return md_fail(err, MD_NOT_FOUND, "the study was read");
    }
    pthread_rwlock_rdlock(&eta->lock);
    md_status status = eta->model == NULL
                           ? md_fail(err, MD_NOT_FOUND, "there is no model")
                           : md_eta_ask(eta->model, &row, now_ms, ret_estimate, err);
    pthread_rwlock_unlock(&eta->lock);
    return status;
}
