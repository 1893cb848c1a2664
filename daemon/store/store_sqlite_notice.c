#include "daemon/store/store_sqlite.h"

#include <stdio.h>
#include <string.h>

/* A delivered text is only kept so that people can see that it went. */
#define KEEP_SENT_MS ((int64_t)30 * 24 * 3600 * 1000)

#define SUPERSEDED "'a later analysis takes its place'"
#define CURRENT " AND reason != " SUPERSEDED

#define COLUMNS                                                                                \
    "id, token, notifier, study_key, generation, state, n_attempts, created, next_attempt,"    \
    " reason"

static void read_row(sqlite3_stmt *row_of, md_notice_row *row)
{
    *row = (md_notice_row){.id = sqlite3_column_int64(row_of, 0),
                           .token = sqlite3_column_int64(row_of, 1),
                           .generation = sqlite3_column_int(row_of, 4),
                           .state = (md_outbox_state)sqlite3_column_int(row_of, 5),
                           .n_attempts = (unsigned)sqlite3_column_int(row_of, 6),
                           .created_ms = sqlite3_column_int64(row_of, 7),
                           .next_attempt_ms = sqlite3_column_int64(row_of, 8)};
    md_sqlite_text(row_of, 2, row->notifier, sizeof row->notifier);
    md_sqlite_text(row_of, 3, row->study_key, sizeof row->study_key);
    md_sqlite_text(row_of, 9, row->reason, sizeof row->reason);
}

md_status md_sqlite_put_notices(md_sqlite *c, const md_study *study,
                                const md_notice_new *notices, size_t n, bool supersedes,
                                int64_t now_ms, md_error *err)
{
    if (n > 0) {
        MD_TRY(md_sqlite_run(c, "DELETE FROM notice WHERE state = 1 AND created < ?", err, "i",
                             now_ms - KEEP_SENT_MS));
    }
    for (size_t i = 0; i < n; i++) {
        /* the same analysis again (after a crash) has told already */
        MD_TRY(md_sqlite_run(c,
                             "INSERT INTO notice (study_key, generation, notifier, body, state,"
                             " created, next_attempt) VALUES (?, ?, ?, ?, 0, ?, ?)"
                             " ON CONFLICT DO NOTHING",
                             err, "tittii", study->key, (int64_t)study->generation,
                             notices[i].notifier, notices[i].body, now_ms, now_ms));
        if (!supersedes) {
            continue;
        }
        /* or who was down would hear of the old result after the new one */
        MD_TRY(md_sqlite_run(
            c,
            "UPDATE notice SET state = 2, lease_until = 0,"
            " reason = " SUPERSEDED " WHERE study_key = ? AND notifier = ? AND generation < ?"
            " AND state = 0",
            err, "tti", study->key, notices[i].notifier, (int64_t)study->generation));
    }
    return MD_OK;
}

md_status md_sqlite_add_notices(md_store *store, int64_t study_id, const md_notice_new *notices,
                                size_t n, int64_t now_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_study study;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_load_study(&s->writer, study_id, &study, err);
    if (status == MD_OK) {
        status = md_sqlite_put_notices(&s->writer, &study, notices, n, false, now_ms, err);
    }
    return md_sqlite_commit(s, status, err);
}

/* The claimed row and its text. */
static md_status load_claimed(md_sqlite *c, int64_t id, md_notice_row *ret_row, char **ret_body,
                              md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, "SELECT " COLUMNS ", body FROM notice WHERE id = ?", &row_of, err,
                           "i", id));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (!row) {
        md_sqlite_end(row_of);
        return md_fail(err, MD_INTERNAL, "a claimed notice is gone");
    }
    read_row(row_of, ret_row);
    *ret_body = md_strdup((const char *)sqlite3_column_text(row_of, 10));
    md_sqlite_end(row_of);
    return *ret_body == NULL ? md_fail(err, MD_NOMEM, "no memory for a notification") : MD_OK;
}

md_status md_sqlite_notice_claim(md_store *store, const char *notifier, int64_t now_ms,
                                 int64_t lease_ms, md_notice_row *ret_row, char **ret_body,
                                 md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *c = &s->writer;
    int64_t id = 0;
    char *body = NULL;
    md_notice_row row;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_int(c,
                                     "SELECT id FROM notice WHERE notifier = ? AND state = 0"
                                     " AND next_attempt <= ?2 AND lease_until <= ?2"
                                     " ORDER BY next_attempt, id LIMIT 1",
                                     &id, err, "ti", notifier, now_ms);
    if (status == MD_OK) {
        status = md_sqlite_run(c,
                               "UPDATE notice SET lease_until = ?, token = token + 1"
                               " WHERE id = ?",
                               err, "ii", now_ms + lease_ms, id);
    }
    if (status == MD_OK) {
        status = load_claimed(c, id, &row, &body, err);
    }
    status = md_sqlite_commit(s, status, err);
    if (status != MD_OK) {
        md_free(body);
        return status;
    }
    *ret_row = row;
    *ret_body = body;
    return MD_OK;
}

static md_status finish(md_sqlite *c, const md_notice_row *row, md_outbox_state state,
                        int64_t next_attempt_ms, const char *reason, int64_t now_ms,
                        md_error *err)
{
    int64_t token = 0;
    MD_TRY(md_sqlite_int(c, "SELECT token FROM notice WHERE id = ? AND state = 0", &token, err,
                         "i", row->id));
    if (token != row->token) {
        return md_fail(err, MD_CANCELLED, "another sender has the notice");
    }
    MD_TRY(md_sqlite_run(c,
                         "UPDATE notice SET state = ?, n_attempts = n_attempts + 1,"
                         " next_attempt = ?, lease_until = 0, token = token + 1,"
                         " reason = substr(?, 1, 160) WHERE id = ?",
                         err, "iiti", (int64_t)state, next_attempt_ms, reason, row->id));
    if (state != MD_OUTBOX_SENT) {
        return MD_OK;
    }
    return md_sqlite_run(c,
                         "UPDATE study SET notified = ? WHERE key = ? AND generation = ?"
                         " AND notified = 0",
                         err, "iti", now_ms, row->study_key, (int64_t)row->generation);
}

md_status md_sqlite_notice_finish(md_store *store, const md_notice_row *row,
                                  md_outbox_state state, int64_t next_attempt_ms,
                                  const char *reason, int64_t now_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = finish(&s->writer, row, state, next_attempt_ms, reason, now_ms, err);
    if (status == MD_NOT_FOUND) {
        status = md_fail(err, MD_CANCELLED, "the notice is no longer pending");
    }
    return md_sqlite_commit(s, status, err);
}

md_status md_sqlite_notice_next_ms(md_store *store, const char *notifier, int64_t *ret_ms,
                                   md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(reader,
                                     "SELECT ifnull(min(max(next_attempt, lease_until)), ?)"
                                     " FROM notice WHERE notifier = ? AND state = 0",
                                     ret_ms, err, "it", INT64_MAX, notifier);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_notices(md_sqlite *c, const char *study_key, size_t n_max,
                              md_notice_row *ret_rows, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(c,
                           "SELECT " COLUMNS " FROM notice WHERE study_key = ?"
                           " ORDER BY id DESC LIMIT ?",
                           &row_of, err, "ti", study_key, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        read_row(row_of, &ret_rows[n++]);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_notices(md_store *store, const char *study_key, size_t n_max,
                            md_notice_row *ret_rows, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_notices(reader, study_key, n_max, ret_rows, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

md_status md_sqlite_notice_retry(md_store *store, const char *study_key, int64_t now_ms,
                                 size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *c = &s->writer;
    int64_t n = 0;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_int(
        c, "SELECT count(*) FROM notice WHERE study_key = ? AND state = 2" CURRENT, &n, err,
        "t", study_key);
    if (status == MD_OK) {
        status = md_sqlite_run(c,
                               "UPDATE notice SET state = 0, n_attempts = 0, next_attempt = ?,"
                               " lease_until = 0 WHERE study_key = ? AND state = 2" CURRENT,
                               err, "it", now_ms, study_key);
    }
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_n = (size_t)n;
    return MD_OK;
}
