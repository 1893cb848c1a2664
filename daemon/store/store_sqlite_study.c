#include "daemon/store/store_sqlite.h"

#include <string.h>

#define STUDY_COLUMNS                                                                          \
    "SELECT id, key, uid, state, generation, priority, n_failures, n_interruptions,"           \
    " n_instances, n_conflicts, size_bytes, late, reason, first_received, last_received,"      \
    " complete, analysis_start, analysis_end, stored, notified, read, called FROM study "

static void read_study(sqlite3_stmt *row_of, md_study *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->id = sqlite3_column_int64(row_of, 0);
    md_sqlite_text(row_of, 1, ret->key, sizeof ret->key);
    md_sqlite_text(row_of, 2, ret->study_uid, sizeof ret->study_uid);
    ret->state = (md_study_state)sqlite3_column_int(row_of, 3);
    ret->generation = sqlite3_column_int(row_of, 4);
    ret->priority = sqlite3_column_int(row_of, 5);
    ret->n_failures = (unsigned)sqlite3_column_int(row_of, 6);
    ret->n_interruptions = (unsigned)sqlite3_column_int(row_of, 7);
    ret->n_instances = (unsigned)sqlite3_column_int(row_of, 8);
    ret->n_conflicts = (unsigned)sqlite3_column_int(row_of, 9);
    ret->size_bytes = (uint64_t)sqlite3_column_int64(row_of, 10);
    ret->late = sqlite3_column_int(row_of, 11) != 0;
    md_sqlite_text(row_of, 12, ret->reason, sizeof ret->reason);
    ret->clock.first_received_ms = sqlite3_column_int64(row_of, 13);
    ret->clock.last_received_ms = sqlite3_column_int64(row_of, 14);
    ret->clock.complete_ms = sqlite3_column_int64(row_of, 15);
    ret->clock.analysis_start_ms = sqlite3_column_int64(row_of, 16);
    ret->clock.analysis_end_ms = sqlite3_column_int64(row_of, 17);
    ret->clock.stored_ms = sqlite3_column_int64(row_of, 18);
    ret->clock.notified_ms = sqlite3_column_int64(row_of, 19);
    ret->clock.read_ms = sqlite3_column_int64(row_of, 20);
    md_sqlite_text(row_of, 21, ret->called, sizeof ret->called);
}

static md_status find_study(md_sqlite *c, int64_t id, const char *key, md_study *ret_study,
                            md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    if (key != NULL) {
        MD_TRY(md_sqlite_start(c, STUDY_COLUMNS "WHERE key = ?", &row_of, err, "t", key));
    } else {
        MD_TRY(md_sqlite_start(c, STUDY_COLUMNS "WHERE id = ?", &row_of, err, "i", id));
    }
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        read_study(row_of, ret_study);
    }
    md_sqlite_end(row_of);
    return row ? MD_OK : md_fail(err, MD_NOT_FOUND, "no such study");
}

md_status md_sqlite_load_study(md_sqlite *c, int64_t id, md_study *ret_study, md_error *err)
{
    return find_study(c, id, NULL, ret_study, err);
}

md_status md_sqlite_study(md_store *store, int64_t id, const char *key, md_study *ret_study,
                          md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = find_study(reader, id, key, ret_study, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

/* One state alone is looked up by the index, which keeps the daemon's frequent questions cheap
 * however many studies are done. */
static md_status start_page(md_sqlite *c, const md_study_page *page, int64_t n_max,
                            sqlite3_stmt **ret_rows, md_error *err)
{
    int64_t states = page->states == 0 ? (1 << MD_STUDY_N_STATES) - 1 : (int64_t)page->states;
    int64_t below = page->before_id == 0 ? INT64_MAX : page->before_id;
    if (__builtin_popcountll((unsigned long long)states) == 1) {
        int64_t state = __builtin_ctzll((unsigned long long)states);
        if (page->oldest_first) {
            return md_sqlite_start(c,
                                   STUDY_COLUMNS "WHERE state = ? AND id > ?"
                                                 " ORDER BY +id LIMIT ?",
                                   ret_rows, err, "iii", state, page->after_id, n_max);
        }
        return md_sqlite_start(c,
                               STUDY_COLUMNS "WHERE state = ? AND id < ?"
                                             " ORDER BY +id DESC LIMIT ?",
                               ret_rows, err, "iii", state, below, n_max);
    }
    if (page->oldest_first) {
        return md_sqlite_start(c,
                               STUDY_COLUMNS "WHERE (1 << state) & ? AND id > ?"
                                             " ORDER BY id LIMIT ?",
                               ret_rows, err, "iii", states, page->after_id, n_max);
    }
    return md_sqlite_start(c,
                           STUDY_COLUMNS "WHERE (1 << state) & ? AND id < ?"
                                         " ORDER BY id DESC LIMIT ?",
                           ret_rows, err, "iii", states, below, n_max);
}

static md_status load_page(md_sqlite *c, const md_study_page *page, size_t n_max,
                           md_study *ret_studies, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    MD_TRY(start_page(c, page, (int64_t)n_max, &row_of, err));
    size_t n = 0;
    bool row = false;
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        read_study(row_of, &ret_studies[n++]);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_studies(md_store *store, const md_study_page *page, size_t n_max,
                            md_study *ret_studies, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_page(reader, page, n_max, ret_studies, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_worklist(md_sqlite *c, bool read, size_t n_max, md_study *ret_studies,
                               size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    if (read) {
        MD_TRY(md_sqlite_start(c, STUDY_COLUMNS "WHERE read > 0 ORDER BY read DESC, id LIMIT ?",
                               &row_of, err, "i", (int64_t)n_max));
    } else {
        MD_TRY(md_sqlite_start(
            c,
            /* one that a late image opened again stays, with what was found before */
            STUDY_COLUMNS "WHERE (state != 0 OR generation > 1) AND read = 0 ORDER BY EXISTS"
                          " (SELECT 1 FROM finding f WHERE f.study_key = study.key AND f.urgent"
                          "  AND f.generation = (SELECT max(generation) FROM finding"
                          "   WHERE study_key = study.key)) DESC,"
                          " priority DESC, last_received, id LIMIT ?",
            &row_of, err, "i", (int64_t)n_max));
    }
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        read_study(row_of, &ret_studies[n++]);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_worklist(md_store *store, bool read, size_t n_max, md_study *ret_studies,
                             size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_worklist(reader, read, n_max, ret_studies, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

uint64_t md_sqlite_version(const md_store *store)
{
    return atomic_load(&((const md_store_sqlite *)store)->version);
}

md_status md_sqlite_set_state(md_sqlite *c, int64_t study, md_study_state from,
                              md_study_state to, md_error *err)
{
    if (!md_study_may_become(from, to)) {
        return md_fail(err, MD_INTERNAL, "a study cannot go from %s to %s",
                       md_study_state_name(from), md_study_state_name(to));
    }
    MD_TRY(md_sqlite_run(c, "UPDATE study SET state = ? WHERE id = ? AND state = ?", err, "iii",
                         (int64_t)to, study, (int64_t)from));
    return sqlite3_changes(c->db) == 1 ? MD_OK
                                       : md_fail(err, MD_CANCELLED, "the study is no longer %s",
                                                 md_study_state_name(from));
}

/* The order of the queue. Called after complete and priority are set. */
static md_status set_rank(md_store_sqlite *s, int64_t study, md_error *err)
{
    return md_sqlite_run(&s->writer,
                         "UPDATE study SET rank = complete - priority * ? WHERE id = ?", err,
                         "ii", s->options.ageing_ms, study);
}

md_status md_sqlite_reopen(md_store_sqlite *s, const md_study *study, md_study_state to,
                           int64_t received_ms, int64_t now_ms, md_error *err)
{
    md_sqlite *c = &s->writer;
    MD_TRY(md_sqlite_set_state(c, study->id, study->state, to, err));
    MD_TRY(md_sqlite_keep_history(c, study->id, err));
    MD_TRY(md_sqlite_reading_read(c, study->key, -1, err)); /* the next one is what waits */
    MD_TRY(md_sqlite_run(c,
                         "UPDATE study SET generation = generation + 1, late = 0, read = 0,"
                         " n_failures = 0, n_interruptions = 0, analysis_failed = 0,"
                         " reason = '', not_before = 0, owner = '', lease_until = 0,"
                         " token = token + 1, first_received = ?, complete = ?,"
                         " analysis_start = 0, analysis_end = 0, stored = 0, notified = 0,"
                         " ended = 0 WHERE id = ?",
                         err, "iii", received_ms, to == MD_STUDY_COMPLETE ? now_ms : (int64_t)0,
                         study->id));
    return set_rank(s, study->id, err);
}

static md_status complete(md_store_sqlite *s, const md_study *seen, int64_t now_ms,
                          md_error *err)
{
    md_study study;
    MD_TRY(md_sqlite_load_study(&s->writer, seen->id, &study, err));
    if (study.state != MD_STUDY_RECEIVING || study.n_instances != seen->n_instances ||
        study.n_conflicts != seen->n_conflicts) {
        return md_fail(err, MD_BUSY, "the study is %s and has changed meanwhile",
                       md_study_state_name(study.state));
    }
    MD_TRY(
        md_sqlite_set_state(&s->writer, study.id, MD_STUDY_RECEIVING, MD_STUDY_COMPLETE, err));
    MD_TRY(md_sqlite_run(&s->writer, "UPDATE study SET complete = ? WHERE id = ?", err, "ii",
                         now_ms, study.id));
    MD_TRY(md_sqlite_put_reading(&s->writer, &study, false, now_ms, err));
    return set_rank(s, study.id, err);
}

md_status md_sqlite_complete(md_store *store, const md_study *study, int64_t now_ms,
                             md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, complete(s, study, now_ms, err), err);
}

static md_status to_quarantine(md_store_sqlite *s, const md_study *study, const char *reason,
                               md_error *err)
{
    MD_TRY(md_sqlite_set_state(&s->writer, study->id, study->state, MD_STUDY_QUARANTINED, err));
    return md_sqlite_run(&s->writer,
                         "UPDATE study SET reason = substr(?, 1, 160), token = token + 1,"
                         " owner = '', lease_until = 0 WHERE id = ?",
                         err, "ti", reason, study->id);
}

/* Count one failure of a study under analysis and decide whether there is another attempt. */
static md_status count_failure(md_store_sqlite *s, const md_study *study, const char *reason,
                               int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    md_sqlite *c = &s->writer;
    unsigned n_failures = study->n_failures + 1;
    MD_TRY(md_sqlite_run(c, "UPDATE study SET n_failures = ? WHERE id = ?", err, "ii",
                         (int64_t)n_failures, study->id));
    if (n_failures >= s->options.max_failures) {
        char text[MD_STORE_REASON_BYTES];
        snprintf(text, sizeof text, "%u failed attempts, the last: %s", n_failures, reason);
        *ret_state = MD_STUDY_QUARANTINED;
        return to_quarantine(s, study, text, err);
    }
    md_backoff wait = {s->options.retry_wait_ms, s->options.retry_wait_ms * 1024, 0};
    int64_t wait_ms =
        s->options.retry_wait_ms <= 0 ? 0 : md_backoff_ms(&wait, n_failures, UINT32_MAX);
    *ret_state = MD_STUDY_COMPLETE;
    MD_TRY(md_sqlite_set_state(c, study->id, study->state, MD_STUDY_COMPLETE, err));
    return md_sqlite_run(c,
                         "UPDATE study SET token = token + 1, owner = '', lease_until = 0,"
                         " not_before = ? WHERE id = ?",
                         err, "ii", now_ms + wait_ms, study->id);
}

/* Studies whose worker did not come back in time. */
static md_status expire_leases(md_store_sqlite *s, int64_t now_ms, md_error *err)
{
    for (;;) {
        int64_t id = 0;
        md_status status = md_sqlite_int(&s->writer,
                                         "SELECT id FROM study WHERE state IN (2, 3) AND"
                                         " lease_until <= ? LIMIT 1",
                                         &id, err, "i", now_ms);
        if (status == MD_NOT_FOUND) {
            return MD_OK;
        }
        MD_TRY(status);
        md_study study;
        md_study_state state;
        MD_TRY(md_sqlite_load_study(&s->writer, id, &study, err));
        MD_TRY(
            count_failure(s, &study, "the worker did not answer in time", now_ms, &state, err));
    }
}

static md_status claim(md_store_sqlite *s, const char *owner, int64_t now_ms, int64_t lease_ms,
                       md_claim *ret_claim, md_study *ret_study, bool *ret_found, md_error *err)
{
    md_sqlite *c = &s->writer;
    MD_TRY(expire_leases(s, now_ms, err));
    int64_t id = 0;
    md_status status = MD_NOT_FOUND;
    if (!atomic_load(&s->flags[MD_STORE_PAUSED])) {
        status = md_sqlite_int(c,
                               "SELECT id FROM study WHERE state = 1 AND not_before <= ?"
                               " ORDER BY rank, id LIMIT 1",
                               &id, err, "i", now_ms);
    }
    *ret_found = status == MD_OK;
    if (status == MD_NOT_FOUND) {
        return MD_OK; /* commit: leases may have ended */
    }
    MD_TRY(status);
    MD_TRY(md_sqlite_set_state(c, id, MD_STUDY_COMPLETE, MD_STUDY_ANALYSING, err));
    MD_TRY(md_sqlite_run(c,
                         "UPDATE study SET owner = ?, lease_until = ?, token = token + 1,"
                         " analysis_start = ? WHERE id = ?",
                         err, "tiii", owner, now_ms + lease_ms, now_ms, id));
    ret_claim->study = id;
    MD_TRY(md_sqlite_int(c, "SELECT token FROM study WHERE id = ?", &ret_claim->token, err, "i",
                         id));
    return md_sqlite_load_study(c, id, ret_study, err);
}

/* Cheap and without the writer: workers ask often, and mostly in vain. */
static md_status may_find_work(md_store_sqlite *s, int64_t now_ms, bool *ret_work,
                               md_error *err)
{
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    int64_t found = 0;
    md_status status = md_sqlite_int(
        reader,
        "SELECT EXISTS (SELECT 1 FROM study WHERE state = 1 AND not_before <= ?1) OR"
        " EXISTS (SELECT 1 FROM study WHERE state IN (2, 3) AND lease_until <= ?1)",
        &found, err, "i", now_ms);
    md_sqlite_reader_done(s, reader);
    *ret_work = found != 0;
    return status;
}

md_status md_sqlite_claim(md_store *store, const char *owner, int64_t now_ms, int64_t lease_ms,
                          md_claim *ret_claim, md_study *ret_study, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_claim got = {0};
    md_study study = {0};
    bool found = false;
    MD_TRY(may_find_work(s, now_ms, &found, err));
    if (found) {
        MD_TRY(md_sqlite_begin(s, err));
        MD_TRY(md_sqlite_commit(s, claim(s, owner, now_ms, lease_ms, &got, &study, &found, err),
                                err));
    }
    if (!found) {
        return md_fail(err, MD_NOT_FOUND, "no study waits for analysis");
    }
    *ret_claim = got;
    *ret_study = study;
    return MD_OK;
}

/* The study of a claim that still holds. A lease that ended but that nobody took yet holds too:
 * the work is done, throwing it away would help no one. */
static md_status held(md_store_sqlite *s, const md_claim *claimed, md_study *ret_study,
                      md_error *err)
{
    int64_t token = 0;
    md_status status = md_sqlite_int(&s->writer, "SELECT token FROM study WHERE id = ?", &token,
                                     err, "i", claimed->study);
    if (status == MD_NOT_FOUND || (status == MD_OK && token != claimed->token)) {
        return md_fail(err, MD_CANCELLED, "the study was taken back");
    }
    MD_TRY(status);
    MD_TRY(md_sqlite_load_study(&s->writer, claimed->study, ret_study, err));
    if (ret_study->state != MD_STUDY_ANALYSING && ret_study->state != MD_STUDY_REPORTING) {
        return md_fail(err, MD_CANCELLED, "the study is %s",
                       md_study_state_name(ret_study->state));
    }
    return MD_OK;
}

static md_status renew(md_store_sqlite *s, const md_claim *claimed, int64_t until_ms,
                       md_error *err)
{
    md_study study;
    MD_TRY(held(s, claimed, &study, err));
    return md_sqlite_run(&s->writer, "UPDATE study SET lease_until = ? WHERE id = ?", err, "ii",
                         until_ms, study.id);
}

md_status md_sqlite_renew(md_store *store, const md_claim *claimed, int64_t now_ms,
                          int64_t lease_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, renew(s, claimed, now_ms + lease_ms, err), err);
}

static md_status report(md_store_sqlite *s, const md_claim *claimed, int64_t now_ms,
                        md_error *err)
{
    md_study study;
    MD_TRY(held(s, claimed, &study, err));
    if (study.state == MD_STUDY_REPORTING) {
        return MD_OK;
    }
    MD_TRY(
        md_sqlite_set_state(&s->writer, study.id, MD_STUDY_ANALYSING, MD_STUDY_REPORTING, err));
    return md_sqlite_run(&s->writer, "UPDATE study SET analysis_end = ? WHERE id = ?", err,
                         "ii", now_ms, study.id);
}

md_status md_sqlite_report(md_store *store, const md_claim *claimed, int64_t now_ms,
                           md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, report(s, claimed, now_ms, err), err);
}

md_status md_sqlite_attempt_failed(md_store *store, const md_claim *claimed, const char *reason,
                                   int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study study;
    md_study_state state = MD_STUDY_COMPLETE;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = held(s, claimed, &study, err);
    if (status == MD_OK) {
        status = count_failure(s, &study, reason, now_ms, &state, err);
    }
    MD_TRY(md_sqlite_commit(s, status, err));
    if (ret_state != NULL) {
        *ret_state = state;
    }
    return MD_OK;
}

md_status md_sqlite_release(md_store *store, const md_claim *claimed, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study study;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = held(s, claimed, &study, err);
    if (status == MD_OK) {
        status = md_sqlite_set_state(&s->writer, study.id, study.state, MD_STUDY_COMPLETE, err);
    }
    if (status == MD_OK) {
        status = md_sqlite_run(&s->writer,
                               "UPDATE study SET token = token + 1, owner = '',"
                               " lease_until = 0 WHERE id = ?",
                               err, "i", study.id);
    }
    return md_sqlite_commit(s, status, err);
}

static md_status finish(md_store_sqlite *s, const md_claim *claimed,
                        const md_study_outcome *outcome, int64_t now_ms,
                        md_study_state *ret_state, md_error *err)
{
    md_sqlite *c = &s->writer;
    md_study study;
    const char *failed = outcome->failed;
    MD_TRY(held(s, claimed, &study, err));
    MD_TRY(md_sqlite_put_objects(c, study.id, study.generation, outcome->objects,
                                 outcome->n_objects, now_ms, err));
    MD_TRY(
        md_sqlite_put_findings(c, &study, outcome->findings, outcome->n_findings, now_ms, err));
    MD_TRY(md_sqlite_put_notices(c, &study, outcome->notices, outcome->n_notices,
                                 failed == NULL, now_ms, err));
    MD_TRY(md_sqlite_put_view(c, study.id, &outcome->view, err));
    if (failed == NULL) { /* else those of the analysis before stay, as its findings do */
        MD_TRY(md_sqlite_put_follow_up(c, &study, outcome->follow_up, err));
        MD_TRY(md_sqlite_put_vectors(c, &study, outcome->vectors, outcome->n_vectors, now_ms,
                                     err));
    }
    if (outcome->workitem != NULL) {
        MD_TRY(md_sqlite_put_ups(c, outcome->workitem, now_ms, err));
    }
    bool urgent = false;
    for (size_t i = 0; i < outcome->n_findings; i++) {
        urgent = urgent || outcome->findings[i].urgent;
    }
    MD_TRY(md_sqlite_put_reading(c, &study, urgent, now_ms, err));
    MD_TRY(md_sqlite_set_state(c, study.id, study.state, MD_STUDY_SENDING, err));
    MD_TRY(md_sqlite_run(c,
                         "UPDATE study SET analysis_end = iif(analysis_end = 0, ?, "
                         "analysis_end),"
                         " analysis_failed = ?, reason = substr(?, 1, 160), owner = '',"
                         " lease_until = 0, token = token + 1 WHERE id = ?",
                         err, "iiti", now_ms, (int64_t)(failed != NULL),
                         failed != NULL ? failed : "", study.id));
    return md_sqlite_end_sending(s, study.id, now_ms, ret_state, err);
}

md_status md_sqlite_finish(md_store *store, const md_claim *claimed,
                           const md_study_outcome *outcome, int64_t now_ms,
                           md_study_state *ret_state, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study_state state = MD_STUDY_SENDING;
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, finish(s, claimed, outcome, now_ms, &state, err), err));
    if (ret_state != NULL) {
        *ret_state = state;
    }
    return MD_OK;
}

/* A change of one study by an operator or the daemon, as a transaction. */
typedef md_status study_change(md_store_sqlite *s, const md_study *study, const char *text,
                               int64_t number, md_study_state *ret_state, md_error *err);

static md_status change(md_store *store, int64_t id, study_change *how, const char *text,
                        int64_t number, md_study_state *ret_state, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study study;
    md_study_state state = MD_STUDY_RECEIVING;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_load_study(&s->writer, id, &study, err);
    if (status == MD_OK) {
        status = how(s, &study, text, number, &state, err);
    }
    MD_TRY(md_sqlite_commit(s, status, err));
    if (ret_state != NULL) {
        *ret_state = state;
    }
    return MD_OK;
}

static md_status change_notified(md_store_sqlite *s, const md_study *study, const char *text,
                                 int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    (void)text;
    (void)ret_state;
    return md_sqlite_run(&s->writer, "UPDATE study SET notified = ? WHERE id = ?", err, "ii",
                         now_ms, study->id);
}

md_status md_sqlite_set_notified(md_store *store, int64_t study, int64_t now_ms, md_error *err)
{
    return change(store, study, change_notified, NULL, now_ms, NULL, err);
}

static md_status change_priority(md_store_sqlite *s, const md_study *study, const char *text,
                                 int64_t priority, md_study_state *ret_state, md_error *err)
{
    (void)text;
    (void)ret_state;
    MD_TRY(md_sqlite_run(&s->writer, "UPDATE study SET priority = ? WHERE id = ?", err, "ii",
                         priority, study->id));
    return set_rank(s, study->id, err);
}

md_status md_sqlite_set_priority(md_store *store, int64_t study, int priority, md_error *err)
{
    return change(store, study, change_priority, NULL, priority, NULL, err);
}

/* How many sendings of the study's present results were given up. */
static md_status count_dead(md_store_sqlite *s, int64_t study, int64_t *ret_n, md_error *err)
{
    return md_sqlite_int(&s->writer,
                         "SELECT count(*) FROM outbox o JOIN study s ON s.id = o.study"
                         " WHERE s.id = ? AND s.analysis_failed = 0 AND o.state = 2 AND"
                         " o.generation = s.generation",
                         ret_n, err, "i", study);
}

static md_status change_retry(md_store_sqlite *s, const md_study *study, const char *text,
                              int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    (void)text;
    int64_t n_unsent = 0;
    if (study->state == MD_STUDY_FAILED || study->state == MD_STUDY_SENDING) {
        MD_TRY(count_dead(s, study->id, &n_unsent, err));
    }
    bool is_sending = study->state == MD_STUDY_SENDING && n_unsent > 0;
    if (study->state != MD_STUDY_FAILED && study->state != MD_STUDY_QUARANTINED &&
        !is_sending) {
        return md_fail(err, MD_INVALID_ARG,
                       "the study is %s; only failed and quarantined ones, and those of which "
                       "something was given up, can be retried",
                       md_study_state_name(study->state));
    }
    if (n_unsent == 0) {
        *ret_state = MD_STUDY_COMPLETE;
        return md_sqlite_reopen(s, study, MD_STUDY_COMPLETE, study->clock.first_received_ms,
                                now_ms, err);
    }
    *ret_state = MD_STUDY_SENDING;
    if (!is_sending) {
        MD_TRY(
            md_sqlite_set_state(&s->writer, study->id, MD_STUDY_FAILED, MD_STUDY_SENDING, err));
        MD_TRY(md_sqlite_run(&s->writer, "UPDATE study SET reason = '', ended = 0 WHERE id = ?",
                             err, "i", study->id));
    }
    return md_sqlite_run(&s->writer,
                         "UPDATE outbox SET state = 0, n_attempts = 0, n_uncommitted = 0,"
                         " committed = 0, since = ?1, next_attempt = ?1, lease_until = 0"
                         " WHERE study = ?2 AND state = 2 AND generation = ?3",
                         err, "iii", now_ms, study->id, (int64_t)study->generation);
}

md_status md_sqlite_retry(md_store *store, int64_t study, int64_t now_ms,
                          md_study_state *ret_state, md_error *err)
{
    return change(store, study, change_retry, NULL, now_ms, ret_state, err);
}

static md_status change_quarantine(md_store_sqlite *s, const md_study *study,
                                   const char *reason, int64_t number,
                                   md_study_state *ret_state, md_error *err)
{
    (void)number;
    (void)ret_state;
    if (!md_study_may_become(study->state, MD_STUDY_QUARANTINED)) {
        return md_fail(err, MD_INVALID_ARG, "the study is %s and stays so",
                       md_study_state_name(study->state));
    }
    MD_TRY(md_sqlite_run(&s->writer,
                         "UPDATE outbox SET state = 2, lease_until = 0 WHERE study = ? AND"
                         " state = 0",
                         err, "i", study->id));
    return to_quarantine(s, study, reason, err);
}

md_status md_sqlite_quarantine(md_store *store, int64_t study, const char *reason,
                               md_error *err)
{
    return change(store, study, change_quarantine, reason, 0, NULL, err);
}

/* One study that was under way when the program ended. */
static md_status requeue(md_store_sqlite *s, int64_t id, md_recovery *recovery, md_error *err)
{
    md_sqlite *c = &s->writer;
    md_study study;
    MD_TRY(md_sqlite_load_study(c, id, &study, err));
    unsigned n = study.n_interruptions + 1;
    MD_TRY(md_sqlite_run(c, "UPDATE study SET n_interruptions = ? WHERE id = ?", err, "ii",
                         (int64_t)n, id));
    if (n >= s->options.max_interruptions) {
        char text[MD_STORE_REASON_BYTES];
        snprintf(text, sizeof text, "the program ended %u times while it was analysed", n);
        recovery->n_quarantined++;
        return to_quarantine(s, &study, text, err);
    }
    recovery->n_requeued++;
    MD_TRY(md_sqlite_set_state(c, id, study.state, MD_STUDY_COMPLETE, err));
    return md_sqlite_run(c,
                         "UPDATE study SET token = token + 1, owner = '', lease_until = 0"
                         " WHERE id = ?",
                         err, "i", id);
}

static md_status recover(md_store_sqlite *s, int64_t now_ms, md_recovery *recovery,
                         md_error *err)
{
    md_sqlite *c = &s->writer;
    for (;;) {
        int64_t id = 0;
        md_status status = md_sqlite_int(
            c, "SELECT id FROM study WHERE state IN (2, 3) LIMIT 1", &id, err, "");
        if (status == MD_NOT_FOUND) {
            break;
        }
        MD_TRY(status);
        MD_TRY(requeue(s, id, recovery, err));
    }
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET lease_until = 0, token = token + 1 WHERE state = 0"
                         " AND lease_until > 0",
                         err, ""));
    MD_TRY(md_sqlite_run(c,
                         "UPDATE notice SET lease_until = 0, token = token + 1 WHERE state = 0"
                         " AND lease_until > 0",
                         err, ""));
    MD_TRY(md_sqlite_commitment_recover(c, err));
    int64_t after = 0;
    for (;;) {
        int64_t id = 0;
        md_status status =
            md_sqlite_int(c, "SELECT id FROM study WHERE state = 4 AND id > ? ORDER BY id", &id,
                          err, "i", after);
        if (status == MD_NOT_FOUND) {
            return MD_OK;
        }
        MD_TRY(status);
        md_study_state state;
        MD_TRY(md_sqlite_end_sending(s, id, now_ms, &state, err));
        recovery->n_sending += state == MD_STUDY_SENDING;
        after = id;
    }
}

static md_status check_database(md_store_sqlite *s, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(&s->writer, "PRAGMA quick_check(1)", &row_of, err, ""));
    MD_TRY(md_sqlite_step(&s->writer, row_of, &row, err));
    char text[8] = "";
    if (row) {
        md_sqlite_text(row_of, 0, text, sizeof text);
    }
    md_sqlite_end(row_of);
    return strcmp(text, "ok") == 0 ? MD_OK
                                   : md_sqlite_fail(err, SQLITE_CORRUPT, "its check at start");
}

md_status md_sqlite_recover(md_store *store, int64_t now_ms, md_recovery *ret_recovery,
                            md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_recovery recovery = {0};
    pthread_mutex_lock(&s->write_lock);
    md_status status = check_database(s, err);
    pthread_mutex_unlock(&s->write_lock);
    MD_TRY(status);
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, recover(s, now_ms, &recovery, err), err));
    *ret_recovery = recovery;
    return MD_OK;
}
