#include "daemon/store/store_sqlite.h"

static md_status put_finding(md_sqlite *c, const md_study *study, const md_store_finding *f,
                             int64_t now_ms, md_error *err)
{
    return md_sqlite_run(c,
                         "INSERT INTO finding (study_key, generation, model, model_version,"
                         " key, code, scheme, meaning, instance, frame, presence, score,"
                         " threshold, is_probability, urgent, found)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                         err,
                         "tittttttt"
                         "iirriii",
                         study->key, (int64_t)study->generation, f->model_id, f->model_version,
                         f->key, f->code, f->scheme, f->meaning, f->sop_instance_uid,
                         (int64_t)f->frame, (int64_t)f->presence, f->score, f->threshold,
                         (int64_t)f->is_probability, (int64_t)f->urgent, now_ms);
}

md_status md_sqlite_put_findings(md_sqlite *c, const md_study *study,
                                 const md_store_finding *findings, size_t n, int64_t now_ms,
                                 md_error *err)
{
    MD_TRY(md_sqlite_run(c, "DELETE FROM finding WHERE study_key = ? AND generation = ?", err,
                         "ti", study->key, (int64_t)study->generation));
    for (size_t i = 0; i < n; i++) {
        MD_TRY(put_finding(c, study, &findings[i], now_ms, err));
    }
    return MD_OK;
}

static md_store_finding read_finding(sqlite3_stmt *row)
{
    md_store_finding f = {.generation = sqlite3_column_int(row, 1),
                          .frame = (uint32_t)sqlite3_column_int64(row, 9),
                          .presence = (md_store_presence)sqlite3_column_int(row, 10),
                          .score = sqlite3_column_double(row, 11),
                          .threshold = sqlite3_column_double(row, 12),
                          .is_probability = sqlite3_column_int(row, 13) != 0,
                          .urgent = sqlite3_column_int(row, 14) != 0};
    md_sqlite_text(row, 0, f.study_key, sizeof f.study_key);
    md_sqlite_text(row, 2, f.model_id, sizeof f.model_id);
    md_sqlite_text(row, 3, f.model_version, sizeof f.model_version);
    md_sqlite_text(row, 4, f.key, sizeof f.key);
    md_sqlite_text(row, 5, f.code, sizeof f.code);
    md_sqlite_text(row, 6, f.scheme, sizeof f.scheme);
    md_sqlite_text(row, 7, f.meaning, sizeof f.meaning);
    md_sqlite_text(row, 8, f.sop_instance_uid, sizeof f.sop_instance_uid);
    return f;
}

#define LATEST                                                                                 \
    " FROM finding WHERE study_key = ?1 AND generation ="                                      \
    " (SELECT max(generation) FROM finding WHERE study_key = ?1)"

static md_status load_findings(md_sqlite *c, const char *study_key,
                               md_store_finding **ret_findings, size_t *ret_n, md_error *err)
{
    int64_t n_rows = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*)" LATEST, &n_rows, err, "t", study_key));
    MD_AUTO(md_freep) md_store_finding *list = md_calloc((size_t)n_rows + 1, sizeof *list);
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %lld findings", (long long)n_rows);
    }
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(
        c,
        "SELECT study_key, generation, model, model_version, key, code, scheme, meaning,"
        " instance, frame, presence, score, threshold, is_probability, urgent" LATEST
        " ORDER BY id LIMIT ?2",
        &row_of, err, "ti", study_key, n_rows));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        list[n++] = read_finding(row_of);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_findings = n > 0 ? MD_STEAL(list) : NULL;
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_findings(md_store *store, const char *study_key,
                             md_store_finding **ret_findings, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_findings(reader, study_key, ret_findings, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}
