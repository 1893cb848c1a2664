#include "daemon/store/store_backend.h"

#include <assert.h>
#include <string.h>

enum {
    DEFAULT_MAX_FAILURES = 3,
    DEFAULT_MAX_INTERRUPTIONS = 10,
    DEFAULT_AGEING_MS = 600000,
    DEFAULT_BUSY_TIMEOUT_MS = 10000,
    MAX_PRIORITY = 100,
    MAX_DESTINATIONS = 64,
    MAX_OBJECTS = 65536
};

static const char *const state_names[MD_STUDY_N_STATES] = {
    [MD_STUDY_RECEIVING] = "receiving", [MD_STUDY_COMPLETE] = "complete",
    [MD_STUDY_ANALYSING] = "analysing", [MD_STUDY_REPORTING] = "reporting",
    [MD_STUDY_SENDING] = "sending",     [MD_STUDY_DONE] = "done",
    [MD_STUDY_FAILED] = "failed",       [MD_STUDY_QUARANTINED] = "quarantined",
};

#define BIT(state) (1u << MD_STUDY_##state)

/* From the row to any of the bits. */
static const unsigned may_become[MD_STUDY_N_STATES] = {
    [MD_STUDY_RECEIVING] = BIT(COMPLETE) | BIT(QUARANTINED),
    [MD_STUDY_COMPLETE] = BIT(ANALYSING) | BIT(RECEIVING) | BIT(QUARANTINED),
    [MD_STUDY_ANALYSING] = BIT(REPORTING) | BIT(SENDING) | BIT(DONE) | BIT(FAILED) |
                           BIT(COMPLETE) | BIT(RECEIVING) | BIT(QUARANTINED),
    [MD_STUDY_REPORTING] = BIT(SENDING) | BIT(DONE) | BIT(FAILED) | BIT(COMPLETE) |
                           BIT(RECEIVING) | BIT(QUARANTINED),
    [MD_STUDY_SENDING] = BIT(DONE) | BIT(FAILED) | BIT(RECEIVING) | BIT(QUARANTINED),
    [MD_STUDY_DONE] = BIT(RECEIVING) | BIT(FAILED),
    [MD_STUDY_FAILED] = BIT(RECEIVING) | BIT(COMPLETE) | BIT(SENDING),
    [MD_STUDY_QUARANTINED] = BIT(COMPLETE),
};

const char *md_study_state_name(md_study_state state)
{
    return (unsigned)state < MD_STUDY_N_STATES ? state_names[state] : "unknown";
}

bool md_study_may_become(md_study_state from, md_study_state to)
{
    return (unsigned)from < MD_STUDY_N_STATES && (unsigned)to < MD_STUDY_N_STATES &&
           (may_become[from] & 1u << to) != 0;
}

int64_t md_backoff_ms(const md_backoff *backoff, unsigned n_attempts, uint32_t random)
{
    int64_t wait = backoff->first_ms < 1 ? 1 : backoff->first_ms;
    for (unsigned i = 1; i < n_attempts && wait < backoff->most_ms; i++) {
        wait *= 2;
    }
    if (wait > backoff->most_ms) {
        wait = backoff->most_ms;
    }
    return wait / 2 + (int64_t)((double)(wait - wait / 2) * (random / 4294967296.0));
}

md_status md_store_open(const md_store_options *options, md_store **ret_store, md_error *err)
{
    md_store_options filled = *options;
    if (filled.path == NULL || filled.path[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG, "the database has no path");
    }
    if (filled.max_failures == 0) {
        filled.max_failures = DEFAULT_MAX_FAILURES;
    }
    if (filled.max_interruptions == 0) {
        filled.max_interruptions = DEFAULT_MAX_INTERRUPTIONS;
    }
    if (filled.ageing_ms <= 0) {
        filled.ageing_ms = DEFAULT_AGEING_MS;
    }
    if (filled.busy_timeout_ms == 0) {
        filled.busy_timeout_ms = DEFAULT_BUSY_TIMEOUT_MS;
    }
    return md_store_sqlite_open(&filled, ret_store, err);
}

void md_store_close(md_store *store)
{
    if (store != NULL) {
        store->backend->close(store);
    }
}

md_status md_store_recover(md_store *store, int64_t now_ms, md_recovery *ret_recovery,
                           md_error *err)
{
    return store->backend->recover(store, now_ms, ret_recovery, err);
}

/* PS3.5 9.1: digits and dots, at most 64. Leading zeros are tolerated: they are common. */
static bool is_uid(const char *text)
{
    if (text == NULL) {
        return false;
    }
    size_t length = strspn(text, "0123456789.");
    return length > 0 && length < MD_STORE_UID_BYTES && text[length] == '\0';
}

static bool fits(const char *text, size_t size_bytes)
{
    return text != NULL && strnlen(text, size_bytes) < size_bytes;
}

static bool is_name(const char *text)
{
    return fits(text, MD_STORE_NAME_BYTES) && text[0] != '\0';
}

md_status md_store_add_instances(md_store *store, const md_instance_new *items, size_t n,
                                 md_instance_outcome *ret_outcomes, md_error *err)
{
    if (n == 0) {
        return MD_OK;
    }
    if (n > MD_STORE_MAX_BATCH) {
        return md_fail(err, MD_LIMIT, "%zu instances at once, at most %d", n,
                       MD_STORE_MAX_BATCH);
    }
    for (size_t i = 0; i < n; i++) {
        const md_instance_new *item = &items[i];
        if (!is_uid(item->study_uid) || !is_uid(item->series_uid) ||
            !is_uid(item->sop_instance_uid) || !is_uid(item->sop_class_uid) ||
            !is_uid(item->transfer_syntax_uid)) {
            return md_fail(err, MD_INVALID_ARG,
                           "an instance with a UID that is not digits and dots, at most %d",
                           MD_STORE_UID_BYTES - 1);
        }
        if (!fits(item->source_ae, MD_STORE_AE_BYTES)) {
            return md_fail(err, MD_INVALID_ARG, "an AE title of more than %d characters",
                           MD_STORE_AE_BYTES - 1);
        }
        if ((item->called_ae != NULL && (!fits(item->called_ae, MD_STORE_AE_BYTES) ||
                                         strchr(item->called_ae, '\\') != NULL)) ||
            (item->tags != NULL && !fits(item->tags, MD_STORE_TAGS_BYTES))) {
            return md_fail(err, MD_INVALID_ARG,
                           "a called AE title or attributes that are too long");
        }
        if (item->priority < -MAX_PRIORITY || item->priority > MAX_PRIORITY) {
            return md_fail(err, MD_INVALID_ARG, "priority %d not in -%d..%d", item->priority,
                           MAX_PRIORITY, MAX_PRIORITY);
        }
        if (item->file == 0 || item->file > INT64_MAX || item->size_bytes > INT64_MAX) {
            return md_fail(err, MD_INVALID_ARG, "a file number or size out of range");
        }
    }
    return store->backend->add_instances(store, items, n, ret_outcomes, err);
}

md_status md_store_instances(md_store *store, int64_t study, bool only_current,
                             md_instance **ret_instances, size_t *ret_n, md_error *err)
{
    return store->backend->instances(store, study, only_current, ret_instances, ret_n, err);
}

md_status md_store_tag_sets(md_store *store, int64_t study, size_t n_max, md_tag_set **ret_sets,
                            size_t *ret_n, md_error *err)
{
    return store->backend->tag_sets(store, study, n_max, ret_sets, ret_n, err);
}

md_status md_store_study(md_store *store, int64_t study, md_study *ret_study, md_error *err)
{
    return store->backend->study(store, study, NULL, ret_study, err);
}

md_status md_store_find_study(md_store *store, const char *key, md_study *ret_study,
                              md_error *err)
{
    if (!fits(key, MD_STORE_KEY_BYTES)) {
        return md_fail(err, MD_NOT_FOUND, "no such study");
    }
    return store->backend->study(store, 0, key, ret_study, err);
}

md_status md_store_studies(md_store *store, const md_study_page *page, size_t n_max,
                           md_study *ret_studies, size_t *ret_n, md_error *err)
{
    if (n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_LIMIT, "a page of %zu studies, at most %d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->studies(store, page, n_max, ret_studies, ret_n, err);
}

md_status md_store_complete(md_store *store, const md_study *study, int64_t now_ms,
                            md_error *err)
{
    return store->backend->complete(store, study, now_ms, err);
}

md_status md_store_claim(md_store *store, const char *owner, int64_t now_ms, int64_t lease_ms,
                         md_claim *ret_claim, md_study *ret_study, md_error *err)
{
    if (!is_name(owner) || lease_ms <= 0) {
        return md_fail(err, MD_INVALID_ARG, "a lease needs an owner and a length above 0 ms");
    }
    return store->backend->claim(store, owner, now_ms, lease_ms, ret_claim, ret_study, err);
}

md_status md_store_renew(md_store *store, const md_claim *claim, int64_t now_ms,
                         int64_t lease_ms, md_error *err)
{
    return store->backend->renew(store, claim, now_ms, lease_ms, err);
}

md_status md_store_report(md_store *store, const md_claim *claim, int64_t now_ms, md_error *err)
{
    return store->backend->report(store, claim, now_ms, err);
}

md_status md_store_attempt_failed(md_store *store, const md_claim *claim, const char *reason,
                                  int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    return store->backend->attempt_failed(store, claim, reason, now_ms, ret_state, err);
}

md_status md_store_release(md_store *store, const md_claim *claim, md_error *err)
{
    return store->backend->release(store, claim, err);
}

static md_status check_objects(const md_object_new *objects, size_t n, md_error *err)
{
    if (n > MAX_OBJECTS) {
        return md_fail(err, MD_INVALID_ARG, "%zu objects of one study, at most %d", n,
                       MAX_OBJECTS);
    }
    for (size_t i = 0; i < n; i++) {
        const md_object_new *object = &objects[i];
        bool good = is_name(object->kind) && is_uid(object->sop_instance_uid) &&
                    is_uid(object->sop_class_uid) && object->file != 0 &&
                    object->file <= INT64_MAX && object->size_bytes <= INT64_MAX &&
                    object->n_destinations <= MAX_DESTINATIONS;
        good = good &&
               (object->model_id == NULL || fits(object->model_id, MD_STORE_NAME_BYTES)) &&
               (object->series_instance_uid == NULL || object->series_instance_uid[0] == '\0' ||
                is_uid(object->series_instance_uid));
        for (size_t k = 0; good && k < object->n_destinations; k++) {
            good = is_name(object->destinations[k]);
        }
        if (!good) {
            return md_fail(err, MD_INVALID_ARG,
                           "object %zu lacks a kind, a UID, a file or a destination's name", i);
        }
    }
    return MD_OK;
}

static md_status check_notices(const md_notice_new *notices, size_t n, md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const md_notice_new *notice = &notices[i];
        if (notice->notifier == NULL || notice->notifier[0] == '\0' || notice->body == NULL) {
            return md_fail(err, MD_INVALID_ARG, "notice %zu lacks a notifier or a text", i);
        }
    }
    return MD_OK;
}

md_status md_store_add_notices(md_store *store, int64_t study, const md_notice_new *notices,
                               size_t n, int64_t now_ms, md_error *err)
{
    MD_TRY(check_notices(notices, n, err));
    return store->backend->add_notices(store, study, notices, n, now_ms, err);
}

md_status md_store_replace_file(md_store *store, uint64_t before, uint64_t file,
                                uint64_t size_bytes, md_error *err)
{
    return store->backend->replace_file(store, before, file, size_bytes, err);
}

md_status md_store_finish(md_store *store, const md_claim *claim,
                          const md_study_outcome *outcome, int64_t now_ms,
                          md_study_state *ret_state, md_error *err)
{
    MD_TRY(check_objects(outcome->objects, outcome->n_objects, err));
    if (outcome->failed != NULL && outcome->failed[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG, "a failure needs a reason");
    }
    for (size_t i = 0; i < outcome->n_findings; i++) {
        const md_store_finding *f = &outcome->findings[i];
        if (f->model_id[0] == '\0' || f->key[0] == '\0' || !(f->score >= 0 && f->score <= 1)) {
            return md_fail(err, MD_INVALID_ARG, "finding %zu lacks a model, a key or a score",
                           i);
        }
    }
    MD_TRY(check_notices(outcome->notices, outcome->n_notices, err));
    MD_TRY(md_store_vector_check(outcome->vectors, outcome->n_vectors, err));
    MD_TRY(md_store_follow_up_check(outcome->follow_up, err));
    return store->backend->finish(store, claim, outcome, now_ms, ret_state, err);
}

md_status md_store_notice_claim(md_store *store, const char *notifier, int64_t now_ms,
                                int64_t lease_ms, md_notice_row *ret_row, char **ret_body,
                                md_error *err)
{
    return store->backend->notice_claim(store, notifier, now_ms, lease_ms, ret_row, ret_body,
                                        err);
}

md_status md_store_notice_finish(md_store *store, const md_notice_row *row,
                                 md_outbox_state state, int64_t next_attempt_ms,
                                 const char *reason, int64_t now_ms, md_error *err)
{
    return store->backend->notice_finish(store, row, state, next_attempt_ms, reason, now_ms,
                                         err);
}

md_status md_store_notice_next_ms(md_store *store, const char *notifier, int64_t *ret_ms,
                                  md_error *err)
{
    return store->backend->notice_next_ms(store, notifier, ret_ms, err);
}

md_status md_store_notices(md_store *store, const char *study_key, size_t n_max,
                           md_notice_row *ret_rows, size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG, "a page of %zu rows, expected 1..%d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->notices(store, study_key, n_max, ret_rows, ret_n, err);
}

md_status md_store_notice_retry(md_store *store, const char *study_key, int64_t now_ms,
                                size_t *ret_n, md_error *err)
{
    return store->backend->notice_retry(store, study_key, now_ms, ret_n, err);
}

md_status md_store_findings(md_store *store, const char *study_key,
                            md_store_finding **ret_findings, size_t *ret_n, md_error *err)
{
    return store->backend->findings(store, study_key, ret_findings, ret_n, err);
}

md_status md_store_add_objects(md_store *store, int64_t study, const md_object_new *objects,
                               size_t n, int64_t now_ms, md_error *err)
{
    MD_TRY(check_objects(objects, n, err));
    return store->backend->add_objects(store, study, objects, n, now_ms, err);
}

md_status md_store_add_originals(md_store *store, int64_t study,
                                 const char *const *destinations, size_t n, int64_t now_ms,
                                 md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (n > MAX_DESTINATIONS || !is_name(destinations[i])) {
            return md_fail(err, MD_INVALID_ARG, "originals need 1..%d destinations with names",
                           MAX_DESTINATIONS);
        }
    }
    return n == 0 ? MD_OK
                  : store->backend->add_originals(store, study, destinations, n, now_ms, err);
}

md_status md_store_set_notified(md_store *store, int64_t study, int64_t now_ms, md_error *err)
{
    return store->backend->set_notified(store, study, now_ms, err);
}

md_status md_store_objects(md_store *store, int64_t study, md_stored_object **ret_objects,
                           size_t *ret_n, md_error *err)
{
    return store->backend->objects(store, study, ret_objects, ret_n, err);
}

md_status md_store_predecessors(md_store *store, int64_t study, size_t n_max,
                                md_stored_report *ret_reports, size_t *ret_n, md_error *err)
{
    if (n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG, "%zu reports at once, at most %d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->predecessors(store, study, n_max, ret_reports, ret_n, err);
}

md_status md_store_outbox_claim(md_store *store, const char *destination, int64_t now_ms,
                                int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                                size_t *ret_n, md_error *err)
{
    if (!is_name(destination) || lease_ms <= 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG,
                       "the outbox needs a destination, a lease and at most %d rows",
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->outbox_claim(store, destination, now_ms, lease_ms, n_max, ret_rows,
                                        ret_n, err);
}

md_status md_store_outbox_finish(md_store *store, const md_outbox_result *results, size_t n,
                                 int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)results[i].state > MD_OUTBOX_DEAD) {
            return md_fail(err, MD_INVALID_ARG, "a row of the outbox has no state %d",
                           (int)results[i].state);
        }
    }
    return store->backend->outbox_finish(store, results, n, now_ms, ret_state, err);
}

md_status md_store_outbox_rows(md_store *store, int64_t study, md_outbox_state state,
                               int64_t after_id, size_t n_max, md_outbox_row *ret_rows,
                               size_t *ret_n, md_error *err)
{
    if (n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_LIMIT, "a page of %zu rows, at most %d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->outbox_rows(store, study, state, after_id, n_max, ret_rows, ret_n,
                                       err);
}

md_status md_store_outbox_next_ms(md_store *store, const char *destination, int64_t *ret_ms,
                                  md_error *err)
{
    return store->backend->outbox_next_ms(store, destination, ret_ms, err);
}

md_status md_store_retry(md_store *store, int64_t study, int64_t now_ms,
                         md_study_state *ret_state, md_error *err)
{
    return store->backend->retry(store, study, now_ms, ret_state, err);
}

md_status md_store_quarantine(md_store *store, int64_t study, const char *reason, md_error *err)
{
    return store->backend->quarantine(store, study, reason, err);
}

md_status md_store_set_priority(md_store *store, int64_t study, int priority, md_error *err)
{
    if (priority < -MAX_PRIORITY || priority > MAX_PRIORITY) {
        return md_fail(err, MD_INVALID_ARG, "priority %d not in -%d..%d", priority,
                       MAX_PRIORITY, MAX_PRIORITY);
    }
    return store->backend->set_priority(store, study, priority, err);
}

md_status md_store_set_flag(md_store *store, md_store_flag flag, bool on, md_error *err)
{
    return store->backend->set_flag(store, flag, on, err);
}

void md_store_content_key(md_store *store, uint8_t ret_key[MD_CONTENT_KEY_BYTES])
{
    store->backend->content_key(store, ret_key);
}

bool md_store_flag_is_set(md_store *store, md_store_flag flag)
{
    return store->backend->flag_is_set(store, flag);
}

md_status md_store_count(md_store *store, md_store_counts *ret_counts, md_error *err)
{
    return store->backend->count(store, ret_counts, err);
}

md_status md_store_retire(md_store *store, const md_retention *retention, size_t n_max,
                          uint64_t **ret_files, size_t *ret_n_files, size_t *ret_n_studies,
                          md_error *err)
{
    return store->backend->retire(store, retention, n_max, ret_files, ret_n_files,
                                  ret_n_studies, err);
}

md_status md_store_files(md_store *store, md_store_file **ret_files, size_t *ret_n,
                         md_error *err)
{
    return store->backend->files(store, ret_files, ret_n, err);
}

void md_store_hash(md_store *store, const char *text, char ret_key[MD_STORE_KEY_BYTES])
{
    store->backend->hash(store, text, ret_key);
}

/* ---- commitment ---- */

md_status md_store_commitment_begin(md_store *store, const char *destination,
                                    const char *transaction_uid, int64_t now_ms,
                                    int64_t expires_ms, size_t n_max,
                                    md_commitment_request *ret_request,
                                    md_commitment_item *ret_items, md_error *err)
{
    if (!is_name(destination) || !is_uid(transaction_uid) || expires_ms <= now_ms ||
        n_max == 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG,
                       "a commitment needs a destination, a UID, an end and 1..%d objects",
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->commitment_begin(store, destination, transaction_uid, now_ms,
                                            expires_ms, n_max, ret_request, ret_items, err);
}

md_status md_store_commitment_asked(md_store *store, int64_t request, int64_t now_ms,
                                    md_error *err)
{
    return store->backend->commitment_asked(store, request, now_ms, err);
}

md_status md_store_commitment_close(md_store *store, int64_t request, int64_t next_ms,
                                    int64_t give_up_since_ms, int64_t now_ms,
                                    size_t *ret_n_dead, md_error *err)
{
    return store->backend->commitment_close(store, request, next_ms, give_up_since_ms, now_ms,
                                            ret_n_dead, err);
}

md_status md_store_commitment_expired(md_store *store, const char *destination, int64_t now_ms,
                                      int64_t *ret_request, md_error *err)
{
    return store->backend->commitment_expired(store, destination, now_ms, ret_request, err);
}

md_status md_store_commitment_report(md_store *store, const char *transaction_uid,
                                     const md_commitment_item *items, size_t n,
                                     const md_commitment_policy *policy, int64_t now_ms,
                                     md_commitment_outcome *ret_outcome, md_error *err)
{
    if (!is_uid(transaction_uid)) {
        return md_fail(err, MD_INVALID_ARG, "the report has no transaction UID");
    }
    return store->backend->commitment_report(store, transaction_uid, items, n, policy, now_ms,
                                             ret_outcome, err);
}

md_status md_store_commitment_next_ms(md_store *store, const char *destination, int64_t now_ms,
                                      int64_t *ret_ms, md_error *err)
{
    return store->backend->commitment_next_ms(store, destination, now_ms, ret_ms, err);
}

md_status md_store_commitment_waive(md_store *store, const char *destination, size_t *ret_n,
                                    md_error *err)
{
    return store->backend->commitment_waive(store, destination, ret_n, err);
}

md_status md_store_held(md_store *store, int64_t ended_before_ms, size_t *ret_n, md_error *err)
{
    return store->backend->held(store, ended_before_ms, ret_n, err);
}

md_status md_store_set_read(md_store *store, const char *study_key, int64_t now_ms,
                            md_error *err)
{
    return store->backend->set_read(store, study_key, now_ms, err);
}

md_status md_store_set_verdict(md_store *store, const char *study_key, const char *model_id,
                               const char *finding_key, const char *reader, bool agrees,
                               int64_t now_ms, md_error *err)
{
    if (!is_name(model_id) || !is_name(finding_key) || !is_name(reader)) {
        return md_fail(err, MD_INVALID_ARG,
                       "a verdict needs a model, a finding and a reader of 1..%d bytes",
                       MD_STORE_NAME_BYTES - 1);
    }
    return store->backend->set_verdict(store, study_key, model_id, finding_key, reader, agrees,
                                       now_ms, err);
}

md_status md_store_history(md_store *store, int64_t since_ms, size_t n_max,
                           md_study_history **ret_rows, size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_HISTORY) {
        return md_fail(err, MD_INVALID_ARG, "a history of %zu studies, expected 1..%d", n_max,
                       MD_STORE_MAX_HISTORY);
    }
    return store->backend->history(store, since_ms, n_max, ret_rows, ret_n, err);
}

md_status md_store_finding_tally(md_store *store, int64_t since_ms, size_t n_max,
                                 md_finding_tally **ret_rows, size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG, "a page of %zu rows, expected 1..%d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->finding_tally(store, since_ms, n_max, ret_rows, ret_n, err);
}

md_status md_store_view(md_store *store, int64_t study, md_view_part part, uint8_t **ret_bytes,
                        size_t *ret_n, md_error *err)
{
    return store->backend->view(store, study, part, ret_bytes, ret_n, err);
}

md_status md_store_worklist(md_store *store, bool read, size_t n_max, md_study *ret_studies,
                            size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG, "a page of %zu studies, expected 1..%d", n_max,
                       MD_STORE_MAX_PAGE);
    }
    return store->backend->worklist(store, read, n_max, ret_studies, ret_n, err);
}

uint64_t md_store_version(const md_store *store)
{
    return store->backend->version(store);
}
