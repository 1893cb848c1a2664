#include "daemon/follow_up/follow_up.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/audit/audit.h"
#include "daemon/follow_up/follow_up_json.h"
#include "daemon/follow_up/history.h"
#include "daemon/follow_up/model.h"
#include "daemon/follow_up/rounds.h"
#include "daemon/steady.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DAY_MS = 24 * 3600 * 1000
};

struct md_follow_up_engine {
    md_store *store;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    const md_conf *conf; /* held */
    bool stopping;
    md_rounds rounds;
    /* A lock of its own, so that a question never waits for a change of the configuration. */
    pthread_mutex_t asking;
    md_follow_up_model *model; /* NULL: not read yet */
};

static const md_conf *conf_of(md_follow_up_engine *now)
{
    pthread_mutex_lock(&now->mutex);
    const md_conf *conf = md_conf_hold(now->conf);
    pthread_mutex_unlock(&now->mutex);
    return conf;
}

/* ---- the thread ---- */

static md_status add_row(void *context, const md_store_rating_row *row, md_error *err)
{
    const md_follow_up_row one = {row->patient, row->action, row->features, row->value};
    return md_follow_up_model_add(context, &one, err);
}

static md_status read_record(md_follow_up_engine *now, const md_conf *conf, md_error *err)
{
    MD_AUTO(md_follow_up_model_destroyp) md_follow_up_model *fresh = NULL;
    int64_t start_us = md_clock_monotonic_us();
    MD_TRY(md_follow_up_model_create(conf, &fresh, err));
    if (conf->follow_up.n_actions > 0) {
        MD_TRY(md_store_each_rating(now->store, add_row, fresh, err));
    }
    MD_TRY(md_follow_up_model_finish(fresh, err));
    const md_follow_up_size size = md_follow_up_model_size(fresh);
    pthread_mutex_lock(&now->asking);
    md_follow_up_model *before = now->model;
    now->model = MD_STEAL(fresh);
    pthread_mutex_unlock(&now->asking);
    md_follow_up_model_destroy(before);
    if (conf->follow_up.n_actions > 0) {
        md_log(MD_LOG_INFO, "follow_up_read", MD_LOG_INT("patients", size.n_patients),
               MD_LOG_INT("decisions", size.n_ratings), MD_LOG_INT("features", size.n_features),
               MD_LOG_INT("bytes", size.bytes),
               MD_LOG_INT("ms", (md_clock_monotonic_us() - start_us) / 1000));
    }
    return MD_OK;
}

static md_status retire(md_follow_up_engine *now, const md_conf *conf, bool *ret_changed,
                        md_error *err)
{
    size_t n = 0;
    MD_TRY(md_store_ratings_retire(
        now->store, md_steady_ms() - (int64_t)conf->follow_up.keep_days * DAY_MS, &n, err));
    if (n > 0) {
        md_log(MD_LOG_INFO, "decisions_forgotten", MD_LOG_INT("count", n));
        *ret_changed = true;
    }
    return MD_OK;
}

/* Until something has changed and its time has come, or time_ms. The mutex is held. */
static void wait_until(md_follow_up_engine *now, int64_t time_ms)
{
    const struct timespec until = {.tv_sec = time_ms / 1000,
                                   .tv_nsec = time_ms % 1000 * 1000000};
    (void)pthread_cond_timedwait(&now->changed, &now->mutex, &until);
}

static int64_t now_ms(void)
{
    return md_clock_monotonic_us() / 1000;
}

/* One round of the thread's work. False: it failed. */
static bool work(md_follow_up_engine *now, const md_conf *conf, bool is_stale,
                 bool wants_retire)
{
    md_error err = {0};
    md_status status = MD_OK;
    if (wants_retire) {
        status = retire(now, conf, &is_stale, &err);
    }
    if (status == MD_OK && is_stale) {
        status = read_record(now, conf, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "follow_up_failed", MD_LOG_TEXT("reason", err.msg),
               MD_LOG_TEXT("then", "the earlier record stays, it is read again"));
    }
    return status == MD_OK;
}

static void *engine_thread(void *context)
{
    md_follow_up_engine *now = context;
    pthread_mutex_lock(&now->mutex);
    while (!now->stopping) {
        const md_round round = md_rounds_begin(&now->rounds, now_ms());
        if (!round.reads && !round.retires) {
            wait_until(now, md_rounds_next_ms(&now->rounds));
            continue;
        }
        const md_conf *conf = md_conf_hold(now->conf);
        pthread_mutex_unlock(&now->mutex);
        bool is_good = work(now, conf, round.reads, round.retires);
        const int64_t refresh_ms = (int64_t)conf->follow_up.refresh_s * 1000;
        md_conf_drop(conf);
        pthread_mutex_lock(&now->mutex);
        md_rounds_end(&now->rounds, &round, is_good, refresh_ms, now_ms());
    }
    pthread_mutex_unlock(&now->mutex);
    return NULL;
}

md_status md_follow_up_start(const md_conf *shared, md_store *store,
                             md_follow_up_engine **ret_engine, md_error *err)
{
    md_follow_up_engine *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for follow-up");
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&now->mutex, NULL);
    pthread_mutex_init(&now->asking, NULL);
    pthread_cond_init(&now->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    now->store = store;
    now->conf = md_conf_hold(shared);
    now->rounds.is_stale = true;
    int os_errno = pthread_create(&now->thread, NULL, engine_thread, now);
    now->has_thread = os_errno == 0;
    if (!now->has_thread) {
        md_follow_up_stop(now);
        return md_fail_os(err, os_errno, "start the thread of follow-up");
    }
    *ret_engine = now;
    return MD_OK;
}

static void tell_stale(md_follow_up_engine *now)
{
    pthread_mutex_lock(&now->mutex);
    now->rounds.is_stale = true;
    pthread_cond_broadcast(&now->changed);
    pthread_mutex_unlock(&now->mutex);
}

void md_follow_up_reload(md_follow_up_engine *now, const md_conf *shared)
{
    if (now == NULL) {
        return;
    }
    pthread_mutex_lock(&now->mutex);
    const md_conf *before = now->conf;
    now->conf = md_conf_hold(shared);
    now->rounds.is_stale = now->rounds.has_other_conf = true;
    pthread_cond_broadcast(&now->changed);
    pthread_mutex_unlock(&now->mutex);
    md_conf_drop(before);
}

void md_follow_up_stop(md_follow_up_engine *now)
{
    if (now == NULL) {
        return;
    }
    pthread_mutex_lock(&now->mutex);
    now->stopping = true;
    pthread_cond_broadcast(&now->changed);
    pthread_mutex_unlock(&now->mutex);
    if (now->has_thread) {
        pthread_join(now->thread, NULL);
    }
    md_follow_up_model_destroy(now->model);
    pthread_mutex_destroy(&now->mutex);
    pthread_mutex_destroy(&now->asking);
    pthread_cond_destroy(&now->changed);
    md_conf_drop(now->conf);
    md_free(now);
}

/* ---- questions ---- */

static void hash_patient(const md_follow_up_engine *now, const char *study_uid,
                         const char *patient_id, const char *issuer,
                         char ret_key[MD_STORE_KEY_BYTES])
{
    char text[MD_HISTORY_PATIENT_BYTES];
    if (patient_id[0] != '\0') {
        md_history_patient(patient_id, issuer, text);
    } else {
        snprintf(text, sizeof text, "patient of study %s", study_uid);
    }
    md_store_hash(now->store, text, ret_key);
}

/* Nothing is proposed, and why. */
static void abstain(const md_conf *conf, const char *why, md_follow_up *ret_follow_up)
{
    *ret_follow_up = (md_follow_up){.there = true,
                                    .n_actions = conf->follow_up.n_actions,
                                    .min_support = conf->follow_up.min_support};
    snprintf(ret_follow_up->why_none, sizeof ret_follow_up->why_none, "%s", why);
}

void md_follow_up_propose_for(md_follow_up_engine *now, const char *study_uid,
                              const char *patient_id, const char *issuer,
                              const md_features *features, md_follow_up *ret_follow_up)
{
    *ret_follow_up = (md_follow_up){0};
    if (now == NULL) {
        return;
    }
    const md_conf *conf = conf_of(now);
    if (conf->follow_up.n_actions == 0) {
        md_conf_drop(conf);
        return;
    }
    char patient[MD_STORE_KEY_BYTES];
    md_error err = {0};
    struct timespec until;
    hash_patient(now, study_uid, patient_id, issuer, patient);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += MD_FOLLOW_UP_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    if (pthread_mutex_clocklock(&now->asking, CLOCK_MONOTONIC, &until) != 0) {
        abstain(conf, "too many studies ask at the same time", ret_follow_up);
    } else {
        md_status status = MD_OK;
        if (now->model == NULL) {
            abstain(conf, "the record of decisions is still being read", ret_follow_up);
        } else {
            status = md_follow_up_model_ask(now->model, patient, features, ret_follow_up, &err);
        }
        pthread_mutex_unlock(&now->asking);
        if (status != MD_OK) {
            md_log(MD_LOG_ERROR, "follow_up_failed", MD_LOG_TEXT("reason", err.msg),
                   MD_LOG_TEXT("then", "nothing is proposed for a study"));
            abstain(conf, "there is no memory to compare patients", ret_follow_up);
        }
    }
    md_conf_drop(conf);
}

void md_follow_up_propose(md_follow_up_engine *now, const char *study_uid,
                          const md_analysis *analysis, md_follow_up *ret_follow_up)
{
    md_features features;
    md_features_of(analysis, &features);
    md_follow_up_propose_for(now, study_uid, analysis->header.patient_id,
                             analysis->header.issuer_of_patient_id, &features, ret_follow_up);
}

md_status md_follow_up_keep(md_follow_up_engine *now, const char *study_uid,
                            const md_analysis *analysis, const md_follow_up *follow_up,
                            md_follow_up_kept *ret_kept, md_error *err)
{
    if (now == NULL || !follow_up->there) {
        return md_fail(err, MD_NOT_FOUND, "the configuration has no follow_up.actions");
    }
    md_features features;
    char *text = md_follow_up_json_text(follow_up);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for proposals");
    }
    memset(ret_kept, 0, sizeof *ret_kept);
    md_features_of(analysis, &features);
    md_features_write(&features, ret_kept->features);
    hash_patient(now, study_uid, analysis->header.patient_id,
                 analysis->header.issuer_of_patient_id, ret_kept->patient);
    ret_kept->proposals = text;
    ret_kept->row =
        (md_store_follow_up_new){ret_kept->patient, ret_kept->features, ret_kept->proposals};
    return MD_OK;
}

void md_follow_up_kept_finish(md_follow_up_kept *kept)
{
    free(kept->proposals);
    kept->proposals = NULL;
}

/* ---- decisions ---- */

static bool has_action(const md_conf *conf, const char *key)
{
    unsigned i = 0;
    while (i < conf->follow_up.n_actions && strcmp(conf->follow_up.actions[i].key, key) != 0) {
        i++;
    }
    return i < conf->follow_up.n_actions;
}

/* The trail's messages name the patient when the configuration wants that; he is in the view.
 */
static void tell_audit(const md_follow_up_engine *now, const md_study *study,
                       const char *reader, const char *action, const char *decision)
{
    MD_AUTO(md_freep) uint8_t *text = NULL;
    size_t n = 0;
    json_t *header = NULL;
    if (md_store_view(now->store, study->id, MD_VIEW_HEADER, &text, &n, NULL) == MD_OK) {
        header = json_loadb((const char *)text, n, 0, NULL);
    }
    const char *patient_id = json_string_value(json_object_get(header, "patient_id"));
    md_audit_decision(
        &(md_audit_decision_event){.reader = reader,
                                   .study_uid = study->study_uid,
                                   .study_key = study->key,
                                   .patient_id = patient_id != NULL ? patient_id : "",
                                   .action = action,
                                   .decision = decision});
    json_decref(header);
}

const char *md_follow_up_word_name(md_follow_up_word word)
{
    static const char *const names[] = {"declined", "accepted", "withdrawn"};
    return names[word];
}

md_status md_follow_up_decide(md_follow_up_engine *now, const md_study *study,
                              const char *action, const char *reader, md_follow_up_word word,
                              md_error *err)
{
    const md_conf *conf = now == NULL ? NULL : conf_of(now);
    bool is_known = conf != NULL && action != NULL && has_action(conf, action);
    md_conf_drop(conf);
    if (!is_known) {
        return md_fail(err, MD_INVALID_ARG, "the action is none of follow_up.actions");
    }
    if (word == MD_FOLLOW_UP_WITHDRAW) {
        MD_TRY(md_store_unrate(now->store, study->key, action, reader, err));
    } else {
        MD_TRY(md_store_rate(now->store, study->key, action, reader,
                             word == MD_FOLLOW_UP_ACCEPT ? 1.0 : 0.0, md_steady_ms(), err));
    }
    tell_stale(now);
    tell_audit(now, study, reader, action, md_follow_up_word_name(word));
    return MD_OK;
}

md_status md_follow_up_forget(md_follow_up_engine *now, const md_study *study, size_t *ret_n,
                              md_error *err)
{
    if (now == NULL) {
        return md_fail(err, MD_INVALID_ARG, "there is no follow-up");
    }
    MD_TRY(md_store_ratings_forget(now->store, study->key, ret_n, err));
    tell_stale(now);
    tell_audit(now, study, "operator", "all", "forgotten");
    return MD_OK;
}

/* ---- import ---- */

/* Rows that go into one transaction, with the texts that they point to. */
typedef struct batch {
    md_store_rating_new rows[MD_STORE_MAX_BATCH];
    char patients[MD_STORE_MAX_BATCH][MD_STORE_KEY_BYTES];
    char *features[MD_STORE_MAX_BATCH];
    size_t n;
} batch;

static md_status flush(md_follow_up_engine *now, batch *b, md_error *err)
{
    md_status status = md_store_rating_import(now->store, b->rows, b->n, err);
    for (size_t i = 0; i < b->n; i++) {
        md_free(b->features[i]);
        b->features[i] = NULL;
    }
    b->n = 0;
    return status;
}

static md_status add_to_batch(md_follow_up_engine *now, batch *b,
                              const md_history_decision *one, md_error *err)
{
    char text[MD_FEATURES_TEXT_BYTES];
    md_features_write(&one->features, text);
    b->features[b->n] = one->has_features ? md_strdup(text) : NULL;
    if (one->has_features && b->features[b->n] == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an import");
    }
    hash_patient(now, "", one->patient_id, one->issuer, b->patients[b->n]);
    b->rows[b->n] = (md_store_rating_new){.patient = b->patients[b->n],
                                          .action = one->action,
                                          .reader = one->reader,
                                          .features = b->features[b->n],
                                          .value = one->value,
                                          .given_ms = one->given_ms,
                                          .forget = one->forget};
    b->n++;
    return MD_OK;
}

static md_status import(md_follow_up_engine *now, const md_history *history, batch *b,
                        md_follow_up_import_outcome *outcome, md_error *err)
{
    for (size_t i = 0; i < md_history_n(history); i++) {
        md_history_decision one;
        md_history_row(history, i, &one);
        MD_TRY(add_to_batch(now, b, &one, err));
        outcome->n_forgotten += one.forget;
        outcome->n_decisions += !one.forget;
        if (b->n == MD_STORE_MAX_BATCH) {
            MD_TRY(flush(now, b, err));
        }
    }
    return flush(now, b, err);
}

md_status md_follow_up_import(md_follow_up_engine *now, char *bytes, size_t size_bytes,
                              const char *name, md_follow_up_import_outcome *ret_outcome,
                              md_error *err)
{
    MD_AUTO(md_history_closep) md_history *history = NULL;
    MD_AUTO(md_freep) batch *b = md_calloc(1, sizeof *b);
    if (now == NULL || b == NULL) {
        md_free(bytes);
        return now == NULL ? md_fail(err, MD_INVALID_ARG, "there is no follow-up")
                           : md_fail(err, MD_NOMEM, "no memory for an import");
    }
    const md_conf *conf = conf_of(now);
    md_status status =
        md_history_open(bytes, size_bytes, name, conf, md_steady_ms(), &history, err);
    md_conf_drop(conf);
    MD_TRY(status);
    md_follow_up_import_outcome outcome = {0};
    status = import(now, history, b, &outcome, err);
    for (size_t i = 0; i < MD_STORE_MAX_BATCH; i++) {
        md_free(b->features[i]); /* of a batch that failed halfway */
    }
    tell_stale(now);
    MD_TRY(status);
    md_log(MD_LOG_INFO, "decisions_imported", MD_LOG_INT("count", outcome.n_decisions),
           MD_LOG_INT("forgotten", outcome.n_forgotten));
    *ret_outcome = outcome;
    return MD_OK;
}
