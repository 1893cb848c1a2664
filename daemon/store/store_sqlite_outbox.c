#include "daemon/store/store_sqlite.h"

#include <string.h>

/* An object is known by its UID, which is derived from what it was made of: the second time it
 * is the same object, and the file that is kept is the one that may have been sent already. Its
 * model and series, which the UID is made of too, may not have been known the first time. */
static md_status put_object(md_sqlite *c, int64_t study, int generation,
                            const md_object_new *object, int64_t now_ms, int64_t *ret_id,
                            md_error *err)
{
    MD_TRY(md_sqlite_run(c,
                         "INSERT INTO object (study, generation, kind, uid, class, model,"
                         " series, file, size_bytes, created)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                         " ON CONFLICT (study, uid) DO UPDATE SET"
                         " generation = excluded.generation,"
                         " model = iif(model = '', excluded.model, model),"
                         " series = iif(series = '', excluded.series, series)",
                         err, "iitttttiii", study, (int64_t)generation, object->kind,
                         object->sop_instance_uid, object->sop_class_uid,
                         object->model_id != NULL ? object->model_id : "",
                         object->series_instance_uid != NULL ? object->series_instance_uid : "",
                         (int64_t)object->file, (int64_t)object->size_bytes, now_ms));
    return md_sqlite_int(c, "SELECT id FROM object WHERE study = ? AND uid = ?", ret_id, err,
                         "it", study, object->sop_instance_uid);
}

/* What is wanted a second time: a row that was given up is tried again, another stays as it is.
 */
#define REVIVE                                                                                 \
    " generation = excluded.generation,"                                                       \
    " n_attempts = iif(state = 2, 0, n_attempts),"                                             \
    " n_uncommitted = iif(state = 2, 0, n_uncommitted),"                                       \
    " committed = iif(state = 2, 0, committed),"                                               \
    " since = iif(state = 2, excluded.since, since),"                                          \
    " next_attempt = iif(state = 2, excluded.next_attempt, next_attempt),"                     \
    " state = iif(state = 2, 0, state)"

md_status md_sqlite_put_objects(md_sqlite *c, int64_t study, int generation,
                                const md_object_new *objects, size_t n, int64_t now_ms,
                                md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;
        MD_TRY(put_object(c, study, generation, &objects[i], now_ms, &id, err));
        for (size_t k = 0; k < objects[i].n_destinations; k++) {
            MD_TRY(md_sqlite_run(
                c,
                "INSERT INTO outbox (study, object, generation, destination, state, since,"
                " next_attempt) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5)"
                " ON CONFLICT (object, destination) DO UPDATE SET" REVIVE,
                err, "iiiti", study, id, (int64_t)generation, objects[i].destinations[k],
                now_ms));
        }
    }
    return MD_OK;
}

md_status md_sqlite_add_objects(md_store *store, int64_t study_id, const md_object_new *objects,
                                size_t n, int64_t now_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study study;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_load_study(&s->writer, study_id, &study, err);
    if (status == MD_OK && study.state != MD_STUDY_QUARANTINED) {
        status = md_fail(err, MD_CANCELLED, "the study is %s, not quarantined",
                         md_study_state_name(study.state));
    }
    if (status == MD_OK) {
        status = md_sqlite_put_objects(&s->writer, study.id, study.generation, objects, n,
                                       now_ms, err);
    }
    return md_sqlite_commit(s, status, err);
}

md_status md_sqlite_add_originals(md_store *store, int64_t study,
                                  const char *const *destinations, size_t n, int64_t now_ms,
                                  md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_status status = MD_OK;
    MD_TRY(md_sqlite_begin(s, err));
    for (size_t i = 0; i < n && status == MD_OK; i++) {
        status = md_sqlite_run(
            &s->writer,
            "INSERT INTO outbox (study, instance, generation, destination, state, since,"
            " next_attempt) SELECT i.study, i.id, s.generation, ?2, 0, ?3, ?3 FROM instance i"
            " JOIN study s ON s.id = i.study WHERE i.study = ?1 AND i.current = 1"
            " ON CONFLICT (instance, destination) DO UPDATE SET" REVIVE,
            err, "iti", study, destinations[i], now_ms);
    }
    return md_sqlite_commit(s, status, err);
}

md_status md_sqlite_forward_late(md_sqlite *c, int64_t study, int64_t now_ms, md_error *err)
{
    return md_sqlite_run(
        c,
        "INSERT INTO outbox (study, instance, generation, destination, state, since,"
        " next_attempt) SELECT i.study, i.id, s.generation, d.destination, 0, ?2, ?2 FROM"
        " (SELECT DISTINCT destination FROM outbox WHERE study = ?1 AND instance IS NOT NULL) d"
        " JOIN instance i ON i.study = ?1 AND i.current = 1 JOIN study s ON s.id = i.study"
        " WHERE true ON CONFLICT (instance, destination) DO NOTHING",
        err, "ii", study, now_ms);
}

static md_status load_objects(md_sqlite *c, int64_t study, md_stored_object **ret_objects,
                              size_t *ret_n, md_error *err)
{
    int64_t n_rows = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM object WHERE study = ?", &n_rows, err, "i",
                         study));
    MD_AUTO(md_freep) md_stored_object *list = md_calloc((size_t)n_rows + 1, sizeof *list);
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %lld objects", (long long)n_rows);
    }
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(
        c,
        "SELECT id, study, generation, kind, uid, class, file, size_bytes,"
        " created, model, series FROM object WHERE study = ? ORDER BY generation, id LIMIT"
        " ?",
        &row_of, err, "ii", study, n_rows));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    size_t n = 0;
    while (row) {
        md_stored_object *o = &list[n++];
        o->id = sqlite3_column_int64(row_of, 0);
        o->study = sqlite3_column_int64(row_of, 1);
        o->generation = sqlite3_column_int(row_of, 2);
        md_sqlite_text(row_of, 3, o->kind, sizeof o->kind);
        md_sqlite_text(row_of, 4, o->sop_instance_uid, sizeof o->sop_instance_uid);
        md_sqlite_text(row_of, 5, o->sop_class_uid, sizeof o->sop_class_uid);
        o->file = (uint64_t)sqlite3_column_int64(row_of, 6);
        o->size_bytes = (uint64_t)sqlite3_column_int64(row_of, 7);
        o->created_ms = sqlite3_column_int64(row_of, 8);
        md_sqlite_text(row_of, 9, o->model_id, sizeof o->model_id);
        md_sqlite_text(row_of, 10, o->series_instance_uid, sizeof o->series_instance_uid);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_objects = n > 0 ? MD_STEAL(list) : NULL;
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_objects(md_store *store, int64_t study, md_stored_object **ret_objects,
                            size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_objects(reader, study, ret_objects, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_predecessors(md_sqlite *c, int64_t study, size_t n_max,
                                   md_stored_report *ret_reports, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    /* the series is looked at after the newest is chosen: an older report in its place would
     * be a false predecessor */
    MD_TRY(md_sqlite_start(
        c,
        "SELECT model, uid, series FROM"
        " (SELECT o.id, o.generation, o.model, o.uid, o.series, row_number() OVER"
        "   (PARTITION BY o.model ORDER BY o.generation DESC, o.id DESC) AS place"
        "  FROM object o JOIN study s ON s.id = o.study"
        "  WHERE o.study = ? AND o.kind = 'sr' AND o.model != '' AND"
        "   o.generation < s.generation AND"
        "   (EXISTS (SELECT 1 FROM outbox WHERE object = o.id AND state = 1) OR"
        "    NOT EXISTS (SELECT 1 FROM outbox WHERE object = o.id)))"
        " WHERE place = 1 AND series != '' ORDER BY generation DESC, id DESC LIMIT ?",
        &row_of, err, "ii", study, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        md_stored_report *r = &ret_reports[n++];
        md_sqlite_text(row_of, 0, r->model_id, sizeof r->model_id);
        md_sqlite_text(row_of, 1, r->sop_instance_uid, sizeof r->sop_instance_uid);
        md_sqlite_text(row_of, 2, r->series_instance_uid, sizeof r->series_instance_uid);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_predecessors(md_store *store, int64_t study, size_t n_max,
                                 md_stored_report *ret_reports, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_predecessors(reader, study, n_max, ret_reports, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

#define ROW_COLUMNS                                                                            \
    "SELECT o.id, o.study, ifnull(o.object, 0), s.key, o.destination,"                         \
    " ifnull(b.kind, 'original'), ifnull(b.file, i.file), o.state, o.n_attempts,"              \
    " o.next_attempt, o.last_status, o.token, o.since, o.committed,"                           \
    " ifnull(b.uid, i.uid), ifnull(b.class, i.class) FROM outbox o"                            \
    " JOIN study s ON s.id = o.study LEFT JOIN object b ON b.id = o.object"                    \
    " LEFT JOIN instance i ON i.id = o.instance "

static md_status collect_rows(md_sqlite *c, sqlite3_stmt *row_of, size_t n_max,
                              md_outbox_row *ret_rows, size_t *ret_n, md_error *err)
{
    size_t n = 0;
    bool row = false;
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        md_outbox_row *r = &ret_rows[n++];
        memset(r, 0, sizeof *r);
        r->id = sqlite3_column_int64(row_of, 0);
        r->study = sqlite3_column_int64(row_of, 1);
        r->object = sqlite3_column_int64(row_of, 2);
        md_sqlite_text(row_of, 3, r->study_key, sizeof r->study_key);
        md_sqlite_text(row_of, 4, r->destination, sizeof r->destination);
        md_sqlite_text(row_of, 5, r->kind, sizeof r->kind);
        r->file = (uint64_t)sqlite3_column_int64(row_of, 6);
        r->state = (md_outbox_state)sqlite3_column_int(row_of, 7);
        r->n_attempts = (unsigned)sqlite3_column_int(row_of, 8);
        r->next_attempt_ms = sqlite3_column_int64(row_of, 9);
        r->last_status = sqlite3_column_int(row_of, 10);
        r->token = sqlite3_column_int64(row_of, 11);
        r->since_ms = sqlite3_column_int64(row_of, 12);
        r->committed = (md_commitment_state)sqlite3_column_int(row_of, 13);
        md_sqlite_text(row_of, 14, r->sop_instance_uid, sizeof r->sop_instance_uid);
        md_sqlite_text(row_of, 15, r->sop_class_uid, sizeof r->sop_class_uid);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

/* Results before originals: somebody waits for them. */
static md_status first_due(md_sqlite *c, const char *destination, int64_t now_ms,
                           int64_t *ret_study, md_error *err)
{
    md_status status = MD_NOT_FOUND;
    for (int64_t original = 0; original < 2 && status == MD_NOT_FOUND; original++) {
        status = md_sqlite_int(c,
                               "SELECT study FROM outbox WHERE destination = ?1 AND state = 0"
                               " AND (instance IS NOT NULL) = ?3 AND next_attempt <= ?2 AND"
                               " lease_until <= ?2 ORDER BY next_attempt, id LIMIT 1",
                               ret_study, err, "tii", destination, now_ms, original);
    }
    return status;
}

static md_status lease_rows(md_sqlite *c, const char *destination, int64_t now_ms,
                            int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                            size_t *ret_n, md_error *err)
{
    int64_t study = 0;
    md_status status = first_due(c, destination, now_ms, &study, err);
    *ret_n = 0;
    if (status == MD_NOT_FOUND) {
        return MD_OK;
    }
    MD_TRY(status);
    sqlite3_stmt *row_of = NULL;
    MD_TRY(md_sqlite_start(c,
                           ROW_COLUMNS "WHERE o.study = ?1 AND o.destination = ?2 AND"
                                       " o.state = 0 AND o.next_attempt <= ?3 AND"
                                       " o.lease_until <= ?3"
                                       " ORDER BY o.instance IS NOT NULL, o.id LIMIT ?4",
                           &row_of, err, "itii", study, destination, now_ms, (int64_t)n_max));
    MD_TRY(collect_rows(c, row_of, n_max, ret_rows, ret_n, err));
    for (size_t i = 0; i < *ret_n; i++) {
        MD_TRY(md_sqlite_run(c,
                             "UPDATE outbox SET lease_until = ?, token = token + 1"
                             " WHERE id = ?",
                             err, "ii", now_ms + lease_ms, ret_rows[i].id));
        ret_rows[i].token++;
    }
    return MD_OK;
}

md_status md_sqlite_outbox_claim(md_store *store, const char *destination, int64_t now_ms,
                                 int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                                 size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t study = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = first_due(reader, destination, now_ms, &study, err);
    md_sqlite_reader_done(s, reader);
    if (status == MD_NOT_FOUND) {
        *ret_n = 0;
        return MD_OK;
    }
    MD_TRY(status);
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s, lease_rows(&s->writer, destination, now_ms, lease_ms, n_max, ret_rows, ret_n, err),
        err);
}

static md_status count_rows(md_sqlite *c, const md_study *study, const char *sql,
                            int64_t *ret_n, md_error *err)
{
    return md_sqlite_int(c, sql, ret_n, err, "ii", study->id, (int64_t)study->generation);
}

/* The results of this generation have arrived everywhere: that is when they can be read,
 * however long the originals still take. */
static md_status note_stored(md_sqlite *c, const md_study *study, int64_t now_ms, md_error *err)
{
    int64_t n_open = 0;
    int64_t n_sent = 0;
    if (study->state != MD_STUDY_SENDING || study->clock.stored_ms != 0) {
        return MD_OK;
    }
    MD_TRY(count_rows(c, study,
                      "SELECT count(*) FROM outbox WHERE study = ? AND state != 1 AND"
                      " generation = ? AND object IS NOT NULL",
                      &n_open, err));
    MD_TRY(count_rows(c, study,
                      "SELECT count(*) FROM outbox WHERE study = ? AND state = 1 AND"
                      " generation = ? AND object IS NOT NULL",
                      &n_sent, err));
    return n_open > 0 || n_sent == 0
               ? MD_OK
               : md_sqlite_run(c, "UPDATE study SET stored = ? WHERE id = ?", err, "ii", now_ms,
                               study->id);
}

md_status md_sqlite_end_sending(md_store_sqlite *s, int64_t id, int64_t now_ms,
                                md_study_state *ret_state, md_error *err)
{
    md_sqlite *c = &s->writer;
    md_study study;
    int64_t n_pending = 0;
    int64_t n_dead = 0;
    int64_t n_sent = 0;
    int64_t analysis_failed = 0;
    MD_TRY(md_sqlite_load_study(c, id, &study, err));
    *ret_state = study.state;
    MD_TRY(note_stored(c, &study, now_ms, err));
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM outbox WHERE study = ? AND state = 0",
                         &n_pending, err, "i", id));
    bool is_done = study.state == MD_STUDY_DONE; /* and sent again what was not committed */
    if ((study.state != MD_STUDY_SENDING && !is_done) || n_pending > 0) {
        return MD_OK;
    }
    MD_TRY(count_rows(c, &study,
                      "SELECT count(*) FROM outbox WHERE study = ? AND state = 2 AND"
                      " generation = ?",
                      &n_dead, err));
    MD_TRY(count_rows(c, &study,
                      "SELECT count(*) FROM outbox WHERE study = ? AND state = 1 AND"
                      " generation = ?",
                      &n_sent, err));
    if (is_done && n_dead == 0) {
        return MD_OK;
    }
    MD_TRY(md_sqlite_int(c, "SELECT analysis_failed FROM study WHERE id = ?", &analysis_failed,
                         err, "i", id));
    md_study_state to = n_dead > 0 || analysis_failed != 0 ? MD_STUDY_FAILED : MD_STUDY_DONE;
    MD_TRY(md_sqlite_set_state(c, id, study.state, to, err));
    char reason[MD_STORE_REASON_BYTES];
    snprintf(reason, sizeof reason, "%lld of %lld transfers were given up", (long long)n_dead,
             (long long)(n_dead + n_sent));
    MD_TRY(
        md_sqlite_run(c,
                      "UPDATE study SET ended = ?, reason = iif(reason = '' AND ?, ?, reason)"
                      " WHERE id = ?",
                      err, "iiti", now_ms, n_dead, reason, id));
    *ret_state = to;
    if (study.late && s->options.late == MD_LATE_REOPEN) {
        study.state = to;
        *ret_state = MD_STUDY_RECEIVING;
        return md_sqlite_reopen(s, &study, MD_STUDY_RECEIVING, study.clock.last_received_ms,
                                now_ms, err);
    }
    return MD_OK;
}

static md_status finish_row(md_store_sqlite *s, const md_outbox_result *result, int64_t now_ms,
                            md_error *err)
{
    int64_t over = result->state != MD_OUTBOX_PENDING;
    return md_sqlite_run(&s->writer,
                         "UPDATE outbox SET state = ?1, n_attempts = n_attempts + 1,"
                         " next_attempt = ?2, last_status = ?3, lease_until = 0,"
                         " token = token + 1, committed = iif(?6, ?7, committed),"
                         " commitment = iif(?6, 0, commitment),"
                         " next_commitment = iif(?6, ?8, next_commitment),"
                         " since = iif(?6, ?8, since) WHERE id = ?4 AND"
                         " ((token = ?5 AND state = 0) OR (?1 = 1 AND state != 1))",
                         err, "iiiiiiii", (int64_t)result->state, result->next_attempt_ms,
                         (int64_t)result->dimse_status, result->id, result->token, over,
                         (int64_t)(over && result->wants_commitment), now_ms);
}

/* The study of a row; 0: it was retired meanwhile. */
static md_status study_of_row(md_sqlite *c, int64_t row, int64_t *ret_study, md_error *err)
{
    *ret_study = 0;
    md_status status =
        md_sqlite_int(c, "SELECT study FROM outbox WHERE id = ?", ret_study, err, "i", row);
    return status == MD_NOT_FOUND ? MD_OK : status;
}

static md_status finish_rows(md_store_sqlite *s, const md_outbox_result *results, size_t n,
                             int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    int64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t study = 0;
        MD_TRY(finish_row(s, &results[i], now_ms, err));
        MD_TRY(study_of_row(&s->writer, results[i].id, &study, err));
        if (before != 0 && study != before) {
            MD_TRY(md_sqlite_end_sending(s, before, now_ms, ret_state, err));
        }
        before = study;
    }
    return before == 0 ? MD_OK : md_sqlite_end_sending(s, before, now_ms, ret_state, err);
}

md_status md_sqlite_outbox_finish(md_store *store, const md_outbox_result *results, size_t n,
                                  int64_t now_ms, md_study_state *ret_state, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study_state state = MD_STUDY_SENDING;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = finish_rows(s, results, n, now_ms, &state, err);
    MD_TRY(md_sqlite_commit(s, status, err));
    if (ret_state != NULL) {
        *ret_state = state;
    }
    return MD_OK;
}

md_status md_sqlite_outbox_rows(md_store *store, int64_t study, md_outbox_state state,
                                int64_t after_id, size_t n_max, md_outbox_row *ret_rows,
                                size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    sqlite3_stmt *row_of = NULL;
    md_status status;
    if (study != 0) {
        status = md_sqlite_start(reader,
                                 ROW_COLUMNS "WHERE o.study = ? AND o.id > ?"
                                             " ORDER BY o.id LIMIT ?",
                                 &row_of, err, "iii", study, after_id, (int64_t)n_max);
    } else {
        status = md_sqlite_start(reader,
                                 ROW_COLUMNS "WHERE o.state = ? AND o.id > ?"
                                             " ORDER BY o.id LIMIT ?",
                                 &row_of, err, "iii", (int64_t)state, after_id, (int64_t)n_max);
    }
    if (status == MD_OK) {
        status = collect_rows(reader, row_of, n_max, ret_rows, ret_n, err);
    }
    md_sqlite_reader_done(s, reader);
    return status;
}

md_status md_sqlite_outbox_next_ms(md_store *store, const char *destination, int64_t *ret_ms,
                                   md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t next = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(
        reader,
        "SELECT ifnull(min(max(next_attempt, lease_until)), 9223372036854775807) FROM outbox"
        " WHERE destination = ? AND state = 0",
        &next, err, "t", destination);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_ms = next;
    return MD_OK;
}
