#include "daemon/store/store_sqlite.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS "id, revision, uid, state, priority, scheduled, transaction_uid, dataset"

void md_ups_row_finish(md_ups_row *row)
{
    md_free(row->bytes);
    row->bytes = NULL;
}

/* A column of bytes, copied; NULL for none. */
static md_status copy_blob(sqlite3_stmt *row_of, int column, uint8_t **ret_bytes, size_t *ret_n,
                           md_error *err)
{
    size_t n = (size_t)sqlite3_column_bytes(row_of, column);
    const void *from = sqlite3_column_blob(row_of, column);
    *ret_bytes = NULL;
    *ret_n = n;
    if (n == 0) {
        return MD_OK;
    }
    *ret_bytes = md_malloc(n);
    if (*ret_bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a workitem of %zu bytes", n);
    }
    memcpy(*ret_bytes, from, n);
    return MD_OK;
}

static md_status read_row(sqlite3_stmt *row_of, md_ups_row *row, md_error *err)
{
    *row = (md_ups_row){.id = sqlite3_column_int64(row_of, 0),
                        .revision = sqlite3_column_int64(row_of, 1),
                        .state = sqlite3_column_int(row_of, 3),
                        .priority = sqlite3_column_int(row_of, 4),
                        .scheduled_ms = sqlite3_column_int64(row_of, 5)};
    md_sqlite_text(row_of, 2, row->uid, sizeof row->uid);
    md_sqlite_text(row_of, 6, row->transaction_uid, sizeof row->transaction_uid);
    return copy_blob(row_of, 7, &row->bytes, &row->n, err);
}

/* One row by a text; MD_NOT_FOUND. */
static md_status load(md_sqlite *c, const char *sql, const char *text, md_ups_row *ret_row,
                      md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, sql, &row_of, err, "t", text));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    md_status status =
        row ? read_row(row_of, ret_row, err) : md_fail(err, MD_NOT_FOUND, "no such workitem");
    md_sqlite_end(row_of);
    return status;
}

md_status md_sqlite_ups_find(md_store *store, const char *uid, md_ups_row *ret_row,
                             md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status =
        load(reader, "SELECT " COLUMNS " FROM ups WHERE uid = ?", uid, ret_row, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_of_study(md_sqlite *c, const char *study_key, md_ups_row *ret_row,
                               size_t *ret_n, md_error *err)
{
    int64_t n = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM ups WHERE study_key = ?1 AND study_key != ''",
                         &n, err, "t", study_key));
    *ret_n = (size_t)n;
    return n == 0 ? MD_OK
                  : load(c,
                         "SELECT " COLUMNS " FROM ups WHERE study_key = ?1 AND study_key != ''"
                         " ORDER BY id DESC LIMIT 1",
                         study_key, ret_row, err);
}

md_status md_sqlite_ups_of_study(md_store *store, const char *study_key, md_ups_row *ret_row,
                                 size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_of_study(reader, study_key, ret_row, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status queue_one(md_sqlite *c, const char *receiver, const char *uid,
                           const md_ups_sending *what, int64_t now_ms, md_error *err)
{
    return md_sqlite_run(c,
                         "INSERT INTO ups_queue (receiver, uid, message, type, dataset, since,"
                         " next_attempt) VALUES (?, ?, ?, ?, ?, ?, ?)",
                         err, "ttiibii", receiver, uid, (int64_t)what->message,
                         (int64_t)what->type, what->bytes, what->n, now_ms, now_ms);
}

static md_status queue(md_sqlite *c, int64_t id, const char *uid, const md_ups_sending *what,
                       int64_t now_ms, md_error *err)
{
    if (what->receiver != NULL) {
        return queue_one(c, what->receiver, uid, what, now_ms, err);
    }
    return md_sqlite_run(c,
                         "INSERT INTO ups_queue (receiver, uid, message, type, dataset, since,"
                         " next_attempt) SELECT ae, ?, ?, ?, ?, ?, ? FROM ups_subscription"
                         " WHERE ups = ?",
                         err, "tiibiii", uid, (int64_t)what->message, (int64_t)what->type,
                         what->bytes, what->n, now_ms, now_ms, id);
}

static md_status insert(md_sqlite *c, const md_ups_write *w, int64_t *ret_id, md_error *err)
{
    int64_t n = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM ups WHERE uid = ?", &n, err, "t", w->uid));
    if (n > 0) {
        return md_fail(err, MD_BUSY, "the workitem's UID is in use");
    }
    MD_TRY(
        md_sqlite_run(c,
                      "INSERT INTO ups (uid, study_key, state, priority, scheduled, worklist,"
                      " patient, study, transaction_uid, dataset)"
                      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                      err, "ttiiittttb", w->uid, w->study_key, (int64_t)w->state,
                      (int64_t)w->priority, w->scheduled_ms, w->worklist, w->patient_id,
                      w->study_uid, w->transaction_uid, w->bytes, w->n));
    *ret_id = sqlite3_last_insert_rowid(c->db);
    for (size_t i = 0; i < w->n_subscribers; i++) {
        MD_TRY(md_sqlite_run(c,
                             "INSERT INTO ups_subscription (ups, ae, locked) VALUES (?, ?, ?)",
                             err, "iti", *ret_id, w->subscribers[i], (int64_t)w->locks[i]));
    }
    return MD_OK;
}

static md_status update(md_sqlite *c, const md_ups_write *w, int64_t now_ms, md_error *err)
{
    int64_t revision = -1;
    md_status status =
        md_sqlite_int(c, "SELECT revision FROM ups WHERE id = ?", &revision, err, "i", w->id);
    if (status == MD_NOT_FOUND || (status == MD_OK && revision != w->revision)) {
        return md_fail(err, MD_BUSY, "the workitem was changed meanwhile");
    }
    MD_TRY(status);
    bool has_ended = (1U << (unsigned)w->state & MD_UPS_FINAL_STATES) != 0;
    if ((1U << (unsigned)w->state & MD_UPS_READ_STATES) != 0) {
        MD_TRY(md_sqlite_run(c,
                             "UPDATE reading SET read = ? WHERE read = 0 AND study_key ="
                             " (SELECT study_key FROM ups WHERE id = ?)",
                             err, "ii", now_ms, w->id));
    }
    return md_sqlite_run(c,
                         "UPDATE ups SET revision = revision + 1, state = ?, priority = ?,"
                         " scheduled = ?, worklist = ?, patient = ?, study = ?,"
                         " transaction_uid = ?, dataset = ?, ended = iif(ended = 0, ?, ended)"
                         " WHERE id = ?",
                         err, "iiittttbii", (int64_t)w->state, (int64_t)w->priority,
                         w->scheduled_ms, w->worklist, w->patient_id, w->study_uid,
                         w->transaction_uid, w->bytes, w->n, has_ended ? now_ms : 0, w->id);
}

md_status md_sqlite_put_ups(md_sqlite *c, const md_ups_write *w, int64_t now_ms, md_error *err)
{
    int64_t id = w->id;
    MD_TRY(id == 0 ? insert(c, w, &id, err) : update(c, w, now_ms, err));
    for (size_t i = 0; i < w->n_sendings; i++) {
        MD_TRY(queue(c, id, w->uid, &w->sendings[i], now_ms, err));
    }
    return MD_OK;
}

md_status md_sqlite_ups_write(md_store *store, const md_ups_write *write, int64_t now_ms,
                              md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, md_sqlite_put_ups(&s->writer, write, now_ms, err), err);
}

/* The part of each query below that says what is wanted and where the last page ended: ?1
 * states, ?2 priorities, ?3 worklist, ?4 to ?6 the place, ?7 the number, ?8 what the index is
 * for. */
#define PAGE(before)                                                                           \
    "SELECT " COLUMNS " FROM ups WHERE " before                                                \
    " AND (?1 >> state) & 1 AND (?2 >> priority) & 1 AND (?3 = '' OR worklist = ?3)"           \
    " AND (priority, scheduled, id) > (?4, ?5, ?6) ORDER BY priority, scheduled, id LIMIT ?7"

static md_status start_page(md_sqlite *c, const md_ups_cursor *cursor, size_t n_max,
                            sqlite3_stmt **ret_row_of, md_error *err)
{
    int64_t states = cursor->states != 0 ? cursor->states : 15;
    int64_t priorities = cursor->priorities != 0 ? cursor->priorities : 7;
    int64_t priority = cursor->has_begun ? cursor->priority : -1;
    int64_t scheduled = cursor->has_begun ? cursor->scheduled_ms : INT64_MIN;
    int64_t id = cursor->has_begun ? cursor->id : 0;
    const char *sql = PAGE("?8 = ''"), *key = "";
    if (cursor->study_uid[0] != '\0') {
        sql = PAGE("study = ?8");
        key = cursor->study_uid;
    } else if (cursor->patient_id[0] != '\0') {
        sql = PAGE("patient = ?8");
        key = cursor->patient_id;
    } else if ((states & ~MD_UPS_OPEN_STATES) == 0) {
        sql = PAGE("?8 = '' AND state < 2");
    }
    return md_sqlite_start(c, sql, ret_row_of, err, "iitiiiit", states, priorities,
                           cursor->worklist, priority, scheduled, id, (int64_t)n_max, key);
}

static md_status load_page(md_sqlite *c, const md_ups_cursor *cursor, size_t n_max,
                           md_ups_row *rows, size_t *n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(start_page(c, cursor, n_max, &row_of, err));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && *n < n_max) {
        md_status status = read_row(row_of, &rows[*n], err);
        if (status != MD_OK) {
            md_sqlite_end(row_of);
            return status;
        }
        (*n)++;
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

md_status md_sqlite_ups_page(md_store *store, md_ups_cursor *cursor, size_t n_max,
                             md_ups_row *ret_rows, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    size_t n = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_page(reader, cursor, n_max, ret_rows, &n, err);
    md_sqlite_reader_done(s, reader);
    if (status != MD_OK) {
        for (size_t i = 0; i < n; i++) {
            md_ups_row_finish(&ret_rows[i]);
        }
        return status;
    }
    if (n > 0) {
        cursor->has_begun = true;
        cursor->priority = ret_rows[n - 1].priority;
        cursor->scheduled_ms = ret_rows[n - 1].scheduled_ms;
        cursor->id = ret_rows[n - 1].id;
    }
    *ret_n = n;
    return MD_OK;
}

static md_status load_subscribers(md_sqlite *c, md_ups_subscriber *list, size_t *n,
                                  md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, "SELECT ae, locked, filter FROM ups_global ORDER BY ae LIMIT ?",
                           &row_of, err, "i", (int64_t)MD_UPS_MAX_RECEIVERS));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && *n < MD_UPS_MAX_RECEIVERS) {
        md_ups_subscriber *each = &list[*n];
        md_sqlite_text(row_of, 0, each->ae_title, sizeof each->ae_title);
        each->locked = sqlite3_column_int(row_of, 1) != 0;
        md_status status = copy_blob(row_of, 2, &each->filter, &each->n_filter, err);
        if (status != MD_OK) {
            md_sqlite_end(row_of);
            return status;
        }
        (*n)++;
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

md_status md_sqlite_ups_subscribers(md_store *store, md_ups_subscriber *ret_list, size_t *ret_n,
                                    md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    size_t n = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_subscribers(reader, ret_list, &n, err);
    md_sqlite_reader_done(s, reader);
    if (status != MD_OK) {
        for (size_t i = 0; i < n; i++) {
            md_free(ret_list[i].filter);
        }
        return status;
    }
    *ret_n = n;
    return MD_OK;
}

static md_status subscribe_global(md_sqlite *c, const char *ae_title, bool locked,
                                  const uint8_t *filter, size_t n_filter, md_error *err)
{
    int64_t n = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM ups_global WHERE ae != ?", &n, err, "t",
                         ae_title));
    if (n >= MD_UPS_MAX_RECEIVERS) {
        return md_fail(err, MD_LIMIT, "%d AEs have subscribed to all workitems",
                       MD_UPS_MAX_RECEIVERS);
    }
    return md_sqlite_run(c,
                         "INSERT INTO ups_global (ae, locked, filter) VALUES (?1, ?2, ?3)"
                         " ON CONFLICT (ae) DO UPDATE SET locked = ?2, filter = ?3",
                         err, "tib", ae_title, (int64_t)locked, filter, n_filter);
}

md_status md_sqlite_ups_subscribe_global(md_store *store, const char *ae_title, bool locked,
                                         const uint8_t *filter, size_t n_filter, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s, subscribe_global(&s->writer, ae_title, locked, filter, n_filter, err), err);
}

static md_status subscribe(md_sqlite *c, const char *ae_title, bool locked, const int64_t *ids,
                           const char *const *uids, const md_ups_sending *reports, size_t n,
                           int64_t now_ms, md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        /* an item may have gone since it was read */
        MD_TRY(md_sqlite_run(c,
                             "INSERT INTO ups_subscription (ups, ae, locked)"
                             " SELECT id, ?1, ?2 FROM ups WHERE id = ?3"
                             " ON CONFLICT (ups, ae) DO UPDATE SET locked = ?2",
                             err, "tii", ae_title, (int64_t)locked, ids[i]));
        if (reports[i].bytes != NULL) {
            MD_TRY(queue_one(c, ae_title, uids[i], &reports[i], now_ms, err));
        }
    }
    return MD_OK;
}

md_status md_sqlite_ups_subscribe(md_store *store, const char *ae_title, bool locked,
                                  const int64_t *ids, const char *const *uids,
                                  const md_ups_sending *reports, size_t n, int64_t now_ms,
                                  md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s, subscribe(&s->writer, ae_title, locked, ids, uids, reports, n, now_ms, err), err);
}

static md_status unsubscribe(md_sqlite *c, const char *ae_title, int64_t id, md_error *err)
{
    if (id != 0) {
        return md_sqlite_run(c, "DELETE FROM ups_subscription WHERE ae = ? AND ups = ?", err,
                             "ti", ae_title, id);
    }
    MD_TRY(md_sqlite_run(c, "DELETE FROM ups_global WHERE ae = ?", err, "t", ae_title));
    return md_sqlite_run(c, "DELETE FROM ups_subscription WHERE ae = ?", err, "t", ae_title);
}

md_status md_sqlite_ups_unsubscribe(md_store *store, const char *ae_title, int64_t id,
                                    md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, unsubscribe(&s->writer, ae_title, id, err), err);
}

md_status md_sqlite_ups_suspend(md_store *store, const char *ae_title, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s, md_sqlite_run(&s->writer, "DELETE FROM ups_global WHERE ae = ?", err, "t", ae_title),
        err);
}

md_status md_sqlite_ups_n_watchers(md_store *store, int64_t id, const char *except_ae,
                                   size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t n = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status =
        md_sqlite_int(reader, "SELECT count(*) FROM ups_subscription WHERE ups = ? AND ae != ?",
                      &n, err, "it", id, except_ae);
    md_sqlite_reader_done(s, reader);
    *ret_n = (size_t)n;
    return status;
}

static md_status load_next(md_sqlite *c, const char *receiver, int64_t now_ms,
                           md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    *ret_next_ms = INT64_MAX;
    MD_TRY(
        md_sqlite_start(c,
                        "SELECT id, receiver, uid, message, type, n_attempts, since, dataset,"
                        " next_attempt FROM ups_queue WHERE receiver = ? ORDER BY id LIMIT 1",
                        &row_of, err, "t", receiver));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        *ret_next_ms = sqlite3_column_int64(row_of, 8);
    }
    if (*ret_next_ms > now_ms) {
        md_sqlite_end(row_of);
        return md_fail(err, MD_NOT_FOUND, "nothing is to be told");
    }
    *ret_message = (md_ups_outgoing){
        .id = sqlite3_column_int64(row_of, 0),
        .message = (md_ups_message)sqlite3_column_int(row_of, 3),
        .type = (unsigned)sqlite3_column_int(row_of, 4),
        .n_attempts = (unsigned)sqlite3_column_int(row_of, 5),
        .since_ms = sqlite3_column_int64(row_of, 6),
    };
    md_sqlite_text(row_of, 1, ret_message->receiver, sizeof ret_message->receiver);
    md_sqlite_text(row_of, 2, ret_message->uid, sizeof ret_message->uid);
    md_status status = copy_blob(row_of, 7, &ret_message->bytes, &ret_message->n, err);
    md_sqlite_end(row_of);
    return status;
}

md_status md_sqlite_ups_next(md_store *store, const char *receiver, int64_t now_ms,
                             md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_next(reader, receiver, now_ms, ret_message, ret_next_ms, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

md_status md_sqlite_ups_told(md_store *store, int64_t id, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s, md_sqlite_run(&s->writer, "DELETE FROM ups_queue WHERE id = ?", err, "i", id), err);
}

md_status md_sqlite_ups_not_told(md_store *store, int64_t id, int64_t next_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(
        s,
        md_sqlite_run(&s->writer,
                      "UPDATE ups_queue SET n_attempts = n_attempts + 1, next_attempt = ?"
                      " WHERE id = ?",
                      err, "ii", next_ms, id),
        err);
}

md_status md_sqlite_ups_retire(md_store *store, int64_t ended_before_ms, size_t n_max,
                               size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_run(
        &s->writer,
        "DELETE FROM ups WHERE id IN (SELECT id FROM ups u WHERE ended > 0 AND ended < ?"
        " AND NOT EXISTS (SELECT 1 FROM ups_subscription WHERE ups = u.id AND locked != 0)"
        " ORDER BY ended LIMIT ?)",
        err, "ii", ended_before_ms, (int64_t)n_max);
    size_t n = status == MD_OK ? (size_t)sqlite3_changes(s->writer.db) : 0;
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_ups_expire(md_store *store, int64_t since_before_ms, size_t *ret_n,
                               md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_run(&s->writer, "DELETE FROM ups_queue WHERE since < ?", err,
                                     "i", since_before_ms);
    size_t n = status == MD_OK ? (size_t)sqlite3_changes(s->writer.db) : 0;
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_n = n;
    return MD_OK;
}
