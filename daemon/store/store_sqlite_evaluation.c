#include "daemon/store/store_sqlite.h"

#include <string.h>

/* A study with several images has a finding where any of them has it. */
#define PRESENCE "CASE WHEN max(presence = 1) THEN 1 WHEN max(presence = 2) THEN 2 ELSE 0 END"

md_status md_sqlite_keep_history(md_sqlite *c, int64_t study, md_error *err)
{
    return md_sqlite_run(c,
                         "INSERT OR REPLACE INTO history"
                         " (study_key, generation, failed, arrived, stored, notified, read)"
                         " SELECT key, generation, analysis_failed, last_received, stored,"
                         " notified, read FROM study WHERE id = ? AND analysis_end > 0",
                         err, "i", study);
}

static md_status set_read(md_sqlite *c, const char *study_key, int64_t now_ms, md_error *err)
{
    int64_t id = 0;
    MD_TRY(md_sqlite_int(c, "SELECT id FROM study WHERE key = ?", &id, err, "t", study_key));
    MD_TRY(md_sqlite_reading_read(c, study_key, now_ms, err));
    return md_sqlite_run(c, "UPDATE study SET read = ? WHERE id = ? AND read = 0", err, "ii",
                         now_ms, id);
}

md_status md_sqlite_set_read(md_store *store, const char *study_key, int64_t now_ms,
                             md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = set_read(&s->writer, study_key, now_ms, err);
    if (status == MD_NOT_FOUND) {
        status = md_fail(err, MD_NOT_FOUND, "no such study");
    }
    return md_sqlite_commit(s, status, err);
}

static md_status set_verdict(md_sqlite *c, const char *study_key, const char *model_id,
                             const char *finding_key, const char *reader, bool agrees,
                             int64_t now_ms, md_error *err)
{
    int64_t presence = 0;
    md_status status =
        md_sqlite_int(c,
                      "SELECT " PRESENCE " FROM finding WHERE study_key = ?1 AND model = ?2"
                      " AND key = ?3 AND generation ="
                      " (SELECT max(generation) FROM finding WHERE study_key = ?1)"
                      " GROUP BY study_key",
                      &presence, err, "ttt", study_key, model_id, finding_key);
    if (status == MD_NOT_FOUND) {
        return md_fail(err, MD_NOT_FOUND, "the study has no such finding of that model");
    }
    MD_TRY(status);
    if (presence == MD_STORE_UNDETERMINED) {
        return md_fail(err, MD_INVALID_ARG, "the model did not decide: nothing to agree with");
    }
    return md_sqlite_run(c,
                         "INSERT OR REPLACE INTO verdict"
                         " (study_key, model, key, reader, agrees, given)"
                         " VALUES (?, ?, ?, ?, ?, ?)",
                         err, "ttttii", study_key, model_id, finding_key, reader,
                         (int64_t)agrees, now_ms);
}

md_status md_sqlite_set_verdict(md_store *store, const char *study_key, const char *model_id,
                                const char *finding_key, const char *reader, bool agrees,
                                int64_t now_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status =
        set_verdict(&s->writer, study_key, model_id, finding_key, reader, agrees, now_ms, err);
    return md_sqlite_commit(s, status, err);
}

static md_status load_history(md_sqlite *c, int64_t since_ms, size_t n_max,
                              md_study_history *rows, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(
        c,
        "WITH every (study_key, generation, is_old, failed, arrived, stored, notified, read) AS"
        " (SELECT key, generation, 0, analysis_failed, last_received, stored, notified, read"
        "   FROM study WHERE analysis_end > 0 AND last_received >= ?1"
        "  UNION ALL SELECT study_key, generation, 1, failed, arrived, stored, notified, read"
        "   FROM history WHERE arrived >= ?1),"
        " latest AS (SELECT *, row_number() OVER"
        "   (PARTITION BY study_key ORDER BY is_old, generation DESC) AS place FROM every)"
        " SELECT arrived, stored, notified, read, failed, EXISTS (SELECT 1 FROM finding f"
        "   WHERE f.study_key = latest.study_key AND f.generation = latest.generation"
        "   AND f.urgent = 1)"
        " FROM latest WHERE place = 1 ORDER BY arrived DESC LIMIT ?2",
        &row_of, err, "ii", since_ms, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        rows[n++] = (md_study_history){.arrived_ms = sqlite3_column_int64(row_of, 0),
                                       .stored_ms = sqlite3_column_int64(row_of, 1),
                                       .notified_ms = sqlite3_column_int64(row_of, 2),
                                       .read_ms = sqlite3_column_int64(row_of, 3),
                                       .failed = sqlite3_column_int(row_of, 4) != 0,
                                       .urgent = sqlite3_column_int(row_of, 5) != 0};
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

/* The newest were kept; they are wanted oldest first. */
static void turn_round(md_study_history *rows, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        md_study_history kept = rows[i];
        rows[i] = rows[n - 1 - i];
        rows[n - 1 - i] = kept;
    }
}

md_status md_sqlite_history(md_store *store, int64_t since_ms, size_t n_max,
                            md_study_history **ret_rows, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    size_t n = 0;
    MD_AUTO(md_freep) md_study_history *rows = md_calloc(n_max, sizeof *rows);
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu studies", n_max);
    }
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_history(reader, since_ms, n_max, rows, &n, err);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    turn_round(rows, n);
    *ret_rows = MD_STEAL(rows);
    *ret_n = n;
    return MD_OK;
}

static md_status load_tally(md_sqlite *c, int64_t since_ms, size_t n_max,
                            md_finding_tally *rows, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(
        c,
        "WITH latest AS (SELECT study_key, max(generation) AS generation FROM finding"
        "   GROUP BY study_key),"
        " answer AS (SELECT study_key, model, key, max(meaning) AS meaning, " PRESENCE
        "   AS presence FROM finding JOIN latest USING (study_key, generation)"
        "   WHERE found >= ?1 GROUP BY study_key, model, key),"
        " word AS (SELECT study_key, model, key, agrees FROM (SELECT *, row_number() OVER"
        "   (PARTITION BY study_key, model, key ORDER BY given DESC, reader) AS place"
        "   FROM verdict) WHERE place = 1)"
        " SELECT model, key, max(meaning), sum(presence = 1), sum(presence = 0),"
        " sum(presence = 2), ifnull(sum(presence = 1 AND agrees = 1), 0),"
        " ifnull(sum(presence = 1 AND agrees = 0), 0),"
        " ifnull(sum(presence = 0 AND agrees = 1), 0),"
        " ifnull(sum(presence = 0 AND agrees = 0), 0)"
        " FROM answer LEFT JOIN word USING (study_key, model, key)"
        " GROUP BY model, key ORDER BY model, key LIMIT ?2",
        &row_of, err, "ii", since_ms, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        md_finding_tally *t = &rows[n++];
        uint64_t *const counts[] = {
            &t->n_present,        &t->n_absent,        &t->n_undetermined,  &t->n_true_positive,
            &t->n_false_positive, &t->n_true_negative, &t->n_false_negative};
        md_sqlite_text(row_of, 0, t->model_id, sizeof t->model_id);
        md_sqlite_text(row_of, 1, t->key, sizeof t->key);
        md_sqlite_text(row_of, 2, t->meaning, sizeof t->meaning);
        for (int i = 0; i < (int)(sizeof counts / sizeof *counts); i++) {
            *counts[i] = (uint64_t)sqlite3_column_int64(row_of, 3 + i);
        }
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_finding_tally(md_store *store, int64_t since_ms, size_t n_max,
                                  md_finding_tally **ret_rows, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_AUTO(md_freep) md_finding_tally *rows = md_calloc(n_max, sizeof *rows);
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n_max);
    }
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_tally(reader, since_ms, n_max, rows, ret_n, err);
    md_sqlite_reader_done(s, reader);
    if (status == MD_OK) {
        *ret_rows = MD_STEAL(rows);
    }
    return status;
}
