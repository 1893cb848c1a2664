#include "daemon/store/store_sqlite.h"

#include <math.h>
#include <string.h>

/* Values are stored as little-endian float32, whatever the machine. */
static void put_values(const float *values, uint32_t n, uint8_t *ret_bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t word = 0;
        memcpy(&word, &values[i], sizeof word);
        for (unsigned b = 0; b < 4; b++) {
            ret_bytes[4 * (size_t)i + b] = (uint8_t)(word >> (8 * b));
        }
    }
}

static bool get_values(const uint8_t *bytes, uint32_t n, float *ret_values)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *b = bytes + 4 * (size_t)i;
        uint32_t word =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&ret_values[i], &word, sizeof word);
        if (!isfinite(ret_values[i])) {
            return false;
        }
    }
    return true;
}

md_status md_sqlite_put_vectors(md_sqlite *c, const md_study *study,
                                const md_store_vector *vectors, size_t n, int64_t now_ms,
                                md_error *err)
{
    uint8_t bytes[4 * MD_STORE_MAX_VECTOR];
    MD_TRY(md_sqlite_run(c, "DELETE FROM vector WHERE study_key = ?", err, "t", study->key));
    for (size_t i = 0; i < n; i++) {
        const md_store_vector *v = &vectors[i];
        put_values(v->values, v->n, bytes);
        MD_TRY(md_sqlite_run(c,
                             "INSERT INTO vector (space, study_key, generation, model, found,"
                             " vals) VALUES (?, ?, ?, ?, ?, ?)",
                             err, "ttitib", v->space, study->key, (int64_t)study->generation,
                             v->model_id, now_ms, bytes, 4 * (size_t)v->n));
    }
    return MD_OK;
}

/* ---- reading ---- */

static md_status append_ids(md_sqlite *c, sqlite3_stmt *row_of, int64_t **list, size_t *ret_n,
                            md_error *err)
{
    size_t n_room = 0, n = 0;
    bool row = false;
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        if (n == n_room) {
            size_t size_bytes = 0;
            n_room = n_room == 0 ? 1024 : 2 * n_room;
            int64_t *grown = md_mul(n_room, sizeof **list, &size_bytes)
                                 ? md_realloc(*list, size_bytes)
                                 : NULL;
            if (grown == NULL) {
                md_sqlite_end(row_of);
                return md_fail(err, MD_NOMEM, "no memory for a list of %zu vectors", n_room);
            }
            *list = grown;
        }
        (*list)[n++] = sqlite3_column_int64(row_of, 0);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_vector_ids(md_store *store, const char *space, int64_t after,
                               int64_t **ret_ids, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    sqlite3_stmt *row_of = NULL;
    int64_t *list = NULL;
    size_t n = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status =
        md_sqlite_start(reader, "SELECT id FROM vector WHERE space = ? AND id > ? ORDER BY id",
                        &row_of, err, "ti", space, after);
    if (status == MD_OK) {
        status = append_ids(reader, row_of, &list, &n, err);
    }
    md_sqlite_reader_done(s, reader);
    if (status != MD_OK) {
        md_free(list);
        return status;
    }
    *ret_ids = list;
    *ret_n = n;
    return MD_OK;
}

static bool read_vector(sqlite3_stmt *row_of, md_store_vector *v)
{
    const uint8_t *bytes = sqlite3_column_blob(row_of, 6);
    int size_bytes = sqlite3_column_bytes(row_of, 6);
    md_sqlite_text(row_of, 1, v->study_key, sizeof v->study_key);
    md_sqlite_text(row_of, 4, v->space, sizeof v->space);
    md_sqlite_text(row_of, 5, v->model_id, sizeof v->model_id);
    v->id = sqlite3_column_int64(row_of, 0);
    v->generation = sqlite3_column_int(row_of, 2);
    v->found_ms = sqlite3_column_int64(row_of, 3);
    v->n = (uint32_t)size_bytes / 4;
    return bytes != NULL && size_bytes % 4 == 0 && v->n >= 1 && v->n <= MD_STORE_MAX_VECTOR &&
           get_values(bytes, v->n, v->values);
}

static md_status load_vector(md_sqlite *c, int64_t id, md_store_vector *ret_vector,
                             md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c,
                           "SELECT id, study_key, generation, found, space, model, vals"
                           " FROM vector WHERE id = ?",
                           &row_of, err, "i", id));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    bool good = row && read_vector(row_of, ret_vector);
    md_sqlite_end(row_of);
    return !row    ? md_fail(err, MD_NOT_FOUND, "the vector is gone")
           : !good ? md_fail(err, MD_FORMAT, "database: vector %lld is damaged", (long long)id)
                   : MD_OK;
}

md_status md_sqlite_vector_get(md_store *store, int64_t id, md_store_vector *ret_vector,
                               md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_vector(reader, id, ret_vector, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_place(md_sqlite *c, int64_t id, md_store_vector_place *place,
                            md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, "SELECT study_key, found FROM vector WHERE id = ?", &row_of, err,
                           "i", id));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        place->id = id;
        md_sqlite_text(row_of, 0, place->study_key, sizeof place->study_key);
        place->found_ms = sqlite3_column_int64(row_of, 1);
    }
    md_sqlite_end(row_of);
    return row ? MD_OK : md_fail(err, MD_NOT_FOUND, "the vector is gone");
}

md_status md_sqlite_vector_find(md_store *store, int64_t id, md_store_vector_place *ret_place,
                                md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_place(reader, id, ret_place, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

md_status md_sqlite_vector_of(md_store *store, const char *space, const char *study_key,
                              int64_t *ret_id, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status =
        md_sqlite_int(reader, "SELECT id FROM vector WHERE study_key = ? AND space = ?", ret_id,
                      err, "tt", study_key, space);
    md_sqlite_reader_done(s, reader);
    return status == MD_NOT_FOUND ? md_fail(err, MD_NOT_FOUND, "the study has no vector")
                                  : status;
}

/* ---- forgetting ---- */

/* One DELETE ... LIMIT, its last parameter, of what is left of *n_left. */
#define DELETE_SOME(which)                                                                     \
    "DELETE FROM vector WHERE id IN (SELECT id FROM vector WHERE " which ")"

static void take_away(md_sqlite *c, int64_t *n_left)
{
    *n_left -= sqlite3_changes(c->db);
}

static md_status retire(md_sqlite *c, const md_vector_retention *r, int64_t *n_left,
                        md_error *err)
{
    MD_TRY(md_sqlite_run(c, DELETE_SOME("found < ?1 LIMIT ?2"), err, "ii", r->found_before_ms,
                         *n_left));
    take_away(c, n_left);
    if (r->with_study) {
        MD_TRY(md_sqlite_run(c,
                             DELETE_SOME("NOT EXISTS (SELECT 1 FROM study WHERE"
                                         " study.key = vector.study_key) LIMIT ?1"),
                             err, "i", *n_left));
        take_away(c, n_left);
    }
    if (r->space != NULL) {
        /* the id of the newest of those that are too many; none: nothing is below NULL */
        MD_TRY(md_sqlite_run(c,
                             DELETE_SOME("space = ?1 AND id <= (SELECT id FROM vector WHERE"
                                         " space = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
                                         " ORDER BY id LIMIT ?3"),
                             err, "tii", r->space, (int64_t)r->most_vectors, *n_left));
        take_away(c, n_left);
    }
    return MD_OK;
}

md_status md_sqlite_vector_retire(md_store *store, const md_vector_retention *retention,
                                  size_t n_max, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    const int64_t n_most = n_max < INT64_MAX ? (int64_t)n_max : INT64_MAX;
    int64_t n_left = n_most;
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, retire(&s->writer, retention, &n_left, err), err));
    *ret_n = (size_t)(n_most - n_left);
    return MD_OK;
}

/* ---- what readers said ---- */

static md_status load_verdicts(md_sqlite *c, const char *study_key, size_t n_max,
                               md_store_verdict *list, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(
        c,
        "SELECT model, key, agrees FROM (SELECT *, row_number() OVER"
        " (PARTITION BY model, key ORDER BY given DESC, reader) AS place FROM verdict"
        " WHERE study_key = ?1) WHERE place = 1 ORDER BY model, key LIMIT ?2",
        &row_of, err, "ti", study_key, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        md_store_verdict *v = &list[n++];
        md_sqlite_text(row_of, 0, v->model_id, sizeof v->model_id);
        md_sqlite_text(row_of, 1, v->key, sizeof v->key);
        v->agrees = sqlite3_column_int(row_of, 2) != 0;
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_verdicts(md_store *store, const char *study_key, size_t n_max,
                             md_store_verdict *ret_verdicts, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_verdicts(reader, study_key, n_max, ret_verdicts, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}
