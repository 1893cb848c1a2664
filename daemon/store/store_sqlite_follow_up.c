#include "daemon/store/store_sqlite.h"

#include <string.h>

md_status md_sqlite_put_follow_up(md_sqlite *c, const md_study *study,
                                  const md_store_follow_up_new *follow_up, md_error *err)
{
    if (follow_up == NULL) {
        return MD_OK;
    }
    MD_TRY(md_sqlite_run(c,
                         "INSERT OR REPLACE INTO follow_up"
                         " (study, generation, patient, features, proposals)"
                         " VALUES (?, ?, ?, ?, ?)",
                         err, "iittt", study->id, (int64_t)study->generation,
                         follow_up->patient, follow_up->features, follow_up->proposals));
    /* decided on before a late image came: the decision is about what is known now */
    return md_sqlite_run(c,
                         "UPDATE profile SET features = ? WHERE patient = ? AND study_key = ?",
                         err, "ttt", follow_up->features, follow_up->patient, study->key);
}

static md_status copy_text(sqlite3_stmt *row_of, int column, char **ret_text, md_error *err)
{
    const char *text = (const char *)sqlite3_column_text(row_of, column);
    *ret_text = md_strdup(text != NULL ? text : "");
    return *ret_text == NULL ? md_fail(err, MD_NOMEM, "no memory for proposals") : MD_OK;
}

static md_status load(md_sqlite *c, const char *study_key, md_store_follow_up *ret,
                      md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c,
                           "SELECT f.patient, f.generation, f.proposals FROM follow_up f"
                           " JOIN study s ON s.id = f.study WHERE s.key = ?",
                           &row_of, err, "t", study_key));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    md_status status = MD_OK;
    if (row) {
        md_sqlite_text(row_of, 0, ret->patient, sizeof ret->patient);
        ret->generation = sqlite3_column_int(row_of, 1);
        status = copy_text(row_of, 2, &ret->proposals, err);
    }
    md_sqlite_end(row_of);
    return row ? status
               : md_fail(err, MD_NOT_FOUND,
                         "the study is not there, or was not analysed since there are actions");
}

md_status md_sqlite_follow_up_of(md_store *store, const char *study_key,
                                 md_store_follow_up *ret_follow_up, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    md_store_follow_up found = {0};
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load(reader, study_key, &found, err);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_follow_up = found;
    return MD_OK;
}

/* ---- decisions ---- */

static md_status patient_of(md_sqlite *c, const char *study_key,
                            char ret_patient[MD_STORE_KEY_BYTES], md_error *err)
{
    md_store_follow_up found = {0};
    MD_TRY(load(c, study_key, &found, err));
    memcpy(ret_patient, found.patient, MD_STORE_KEY_BYTES);
    md_store_follow_up_finish(&found);
    return MD_OK;
}

static md_status rate(md_sqlite *c, const char *study_key, const char *action,
                      const char *reader, double value, int64_t now_ms, md_error *err)
{
    char patient[MD_STORE_KEY_BYTES];
    MD_TRY(patient_of(c, study_key, patient, err));
    MD_TRY(md_sqlite_run(c,
                         "INSERT OR REPLACE INTO rating"
                         " (patient, action, reader, study_key, value, given)"
                         " VALUES (?, ?, ?, ?, ?, ?)",
                         err, "ttttri", patient, action, reader, study_key, value, now_ms));
    return md_sqlite_run(c,
                         "INSERT OR REPLACE INTO profile (patient, study_key, features)"
                         " SELECT f.patient, s.key, f.features FROM follow_up f"
                         " JOIN study s ON s.id = f.study WHERE s.key = ?",
                         err, "t", study_key);
}

md_status md_sqlite_rate(md_store *store, const char *study_key, const char *action,
                         const char *reader, double value, int64_t now_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = rate(&s->writer, study_key, action, reader, value, now_ms, err);
    return md_sqlite_commit(s, status, err);
}

/* A patient without a decision is not known. */
static md_status drop_profiles(md_sqlite *c, md_error *err)
{
    return md_sqlite_run(c,
                         "DELETE FROM profile WHERE NOT EXISTS"
                         " (SELECT 1 FROM rating WHERE rating.patient = profile.patient)",
                         err, "");
}

static md_status unrate(md_sqlite *c, const char *study_key, const char *action,
                        const char *reader, md_error *err)
{
    char patient[MD_STORE_KEY_BYTES];
    int64_t n = 0;
    MD_TRY(patient_of(c, study_key, patient, err));
    MD_TRY(md_sqlite_int(c,
                         "SELECT count(*) FROM rating WHERE patient = ? AND action = ?"
                         " AND reader = ?",
                         &n, err, "ttt", patient, action, reader));
    if (n == 0) {
        return md_fail(err, MD_NOT_FOUND, "this reader has not decided on that");
    }
    MD_TRY(md_sqlite_run(c,
                         "DELETE FROM rating WHERE patient = ? AND action = ? AND reader = ?",
                         err, "ttt", patient, action, reader));
    return md_sqlite_run(c,
                         "DELETE FROM profile WHERE patient = ?1 AND NOT EXISTS"
                         " (SELECT 1 FROM rating WHERE patient = ?1)",
                         err, "t", patient);
}

md_status md_sqlite_unrate(md_store *store, const char *study_key, const char *action,
                           const char *reader, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, unrate(&s->writer, study_key, action, reader, err), err);
}

static md_status load_ratings(md_sqlite *c, const char *study_key, size_t n_max,
                              md_store_rating *list, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(c,
                           "SELECT r.patient, r.study_key, r.action, r.reader, r.value, r.given"
                           " FROM rating r JOIN follow_up f ON f.patient = r.patient"
                           " JOIN study s ON s.id = f.study WHERE s.key = ?"
                           " ORDER BY r.action, r.given, r.reader LIMIT ?",
                           &row_of, err, "ti", study_key, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        md_store_rating *r = &list[n++];
        md_sqlite_text(row_of, 0, r->patient, sizeof r->patient);
        md_sqlite_text(row_of, 1, r->study_key, sizeof r->study_key);
        md_sqlite_text(row_of, 2, r->action, sizeof r->action);
        md_sqlite_text(row_of, 3, r->reader, sizeof r->reader);
        r->value = sqlite3_column_double(row_of, 4);
        r->given_ms = sqlite3_column_int64(row_of, 5);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_ratings_of(md_store *store, const char *study_key, size_t n_max,
                               md_store_rating *ret_ratings, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_ratings(reader, study_key, n_max, ret_ratings, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

/* ---- the whole record ---- */

static md_status forget(md_sqlite *c, const char *patient, md_error *err)
{
    MD_TRY(md_sqlite_run(c, "DELETE FROM rating WHERE patient = ?", err, "t", patient));
    return md_sqlite_run(c, "DELETE FROM profile WHERE patient = ?", err, "t", patient);
}

static md_status import_row(md_sqlite *c, const md_store_rating_new *row, md_error *err)
{
    if (row->forget) {
        return forget(c, row->patient, err);
    }
    MD_TRY(md_sqlite_run(c,
                         "INSERT INTO rating (patient, action, reader, study_key, value, given)"
                         " VALUES (?, ?, ?, '', ?, ?)"
                         " ON CONFLICT (patient, action, reader) DO UPDATE"
                         " SET value = excluded.value, given = excluded.given, study_key = ''"
                         " WHERE excluded.given >= rating.given",
                         err, "tttri", row->patient, row->action, row->reader, row->value,
                         row->given_ms));
    /* what this daemon found itself counts for more than what a table says */
    return row->features == NULL
               ? MD_OK
               : md_sqlite_run(c,
                               "INSERT INTO profile (patient, study_key, features)"
                               " VALUES (?, '', ?) ON CONFLICT (patient) DO UPDATE"
                               " SET features = excluded.features WHERE study_key = ''",
                               err, "tt", row->patient, row->features);
}

md_status md_sqlite_rating_import(md_store *store, const md_store_rating_new *rows, size_t n,
                                  md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_status status = MD_OK;
    MD_TRY(md_sqlite_begin(s, err));
    for (size_t i = 0; i < n && status == MD_OK; i++) {
        status = import_row(&s->writer, &rows[i], err);
    }
    return md_sqlite_commit(s, status, err);
}

static const char *text_at(sqlite3_stmt *row_of, int column)
{
    const char *text = (const char *)sqlite3_column_text(row_of, column);
    return text != NULL ? text : "";
}

static md_status visit_all(md_sqlite *c,
                           md_status (*visit)(void *context, const md_store_rating_row *row,
                                              md_error *err),
                           void *context, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c,
                           "SELECT r.patient, r.action, p.features, p.study_key, r.value"
                           " FROM rating r LEFT JOIN profile p ON p.patient = r.patient"
                           " ORDER BY r.patient, r.action, r.given, r.reader",
                           &row_of, err, ""));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        const md_store_rating_row one = {.patient = text_at(row_of, 0),
                                         .action = text_at(row_of, 1),
                                         .features = text_at(row_of, 2),
                                         .study_key = text_at(row_of, 3),
                                         .value = sqlite3_column_double(row_of, 4)};
        md_status status = visit(context, &one, err);
        if (status != MD_OK) {
            md_sqlite_end(row_of);
            return status;
        }
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

md_status md_sqlite_each_rating(md_store *store,
                                md_status (*visit)(void *context,
                                                   const md_store_rating_row *row,
                                                   md_error *err),
                                void *context, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = visit_all(reader, visit, context, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status retire(md_sqlite *c, int64_t given_before_ms, int64_t *ret_n, md_error *err)
{
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM rating WHERE given < ?", ret_n, err, "i",
                         given_before_ms));
    if (*ret_n == 0) {
        return MD_OK;
    }
    MD_TRY(md_sqlite_run(c, "DELETE FROM rating WHERE given < ?", err, "i", given_before_ms));
    return drop_profiles(c, err);
}

md_status md_sqlite_ratings_retire(md_store *store, int64_t given_before_ms, size_t *ret_n,
                                   md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    int64_t n = 0;
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, retire(&s->writer, given_before_ms, &n, err), err));
    *ret_n = (size_t)n;
    return MD_OK;
}

static md_status forget_patient(md_sqlite *c, const char *study_key, int64_t *ret_n,
                                md_error *err)
{
    char patient[MD_STORE_KEY_BYTES];
    MD_TRY(patient_of(c, study_key, patient, err));
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM rating WHERE patient = ?", ret_n, err, "t",
                         patient));
    return forget(c, patient, err);
}

md_status md_sqlite_ratings_forget(md_store *store, const char *study_key, size_t *ret_n,
                                   md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    int64_t n = 0;
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, forget_patient(&s->writer, study_key, &n, err), err));
    *ret_n = (size_t)n;
    return MD_OK;
}
