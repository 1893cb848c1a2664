#include "daemon/store/store_sqlite.h"

#include <string.h>

enum {
    LATELY_MS = 3600000,
    MOST_AHEAD = 10000 /* counted: one analysis must not pay for a list nobody reads */
};

/* The value of Modality (0008,0060) in an instance's tags, daemon/rules/tags.h. */
static void modality_of(const char *tags, char ret_modality[MD_STORE_MODALITY_BYTES])
{
    static const char key[] = "00080060=";
    const char *at =
        strncmp(tags, key, sizeof key - 1) == 0 ? tags : strstr(tags, "\n00080060=");
    ret_modality[0] = '\0';
    if (at == NULL) {
        return;
    }
    at += (*at == '\n') + sizeof key - 1;
    size_t n = strcspn(at, "\n\\");
    if (n < MD_STORE_MODALITY_BYTES &&
        strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") >= n) {
        memcpy(ret_modality, at, n);
        ret_modality[n] = '\0';
    }
}

static md_status load_modality(md_sqlite *c, int64_t study,
                               char ret_modality[MD_STORE_MODALITY_BYTES], md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    char tags[MD_STORE_TAGS_BYTES] = "";
    MD_TRY(md_sqlite_start(
        c, "SELECT tags FROM instance WHERE study = ? AND current = 1 ORDER BY id LIMIT 1",
        &row_of, err, "i", study));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        md_sqlite_text(row_of, 0, tags, sizeof tags);
    }
    md_sqlite_end(row_of);
    modality_of(tags, ret_modality);
    return MD_OK;
}

/* `read > 0` says that the index reading_read has all of these rows. */
const char *const md_sqlite_reading_lately =
    "SELECT count(*) FROM reading WHERE read > 0 AND read > ?";

md_status md_sqlite_put_reading(md_sqlite *c, const md_study *study, bool urgent,
                                int64_t now_ms, md_error *err)
{
    char modality[MD_STORE_MODALITY_BYTES];
    int64_t n_ahead = 0, n_lately = 0, arrived = study->clock.last_received_ms;
    MD_TRY(load_modality(c, study->id, modality, err));
    MD_TRY(md_sqlite_int(c,
                         "SELECT count(*) FROM (SELECT 1 FROM reading WHERE read = 0"
                         " AND arrived > ?1 AND study_key != ?5 AND (urgent > ?2"
                         " OR (urgent = ?2 AND priority > ?3)"
                         " OR (urgent = ?2 AND priority = ?3 AND arrived < ?4)) LIMIT ?6)",
                         &n_ahead, err, "iiiiti", now_ms - MD_STORE_WAITS_AT_MOST_MS,
                         (int64_t)urgent, (int64_t)study->priority, arrived, study->key,
                         (int64_t)MOST_AHEAD));
    MD_TRY(md_sqlite_int(c, md_sqlite_reading_lately, &n_lately, err, "i",
                         now_ms > LATELY_MS ? now_ms - LATELY_MS : 0));
    return md_sqlite_run(
        c,
        "INSERT INTO reading (study_key, generation, arrived, known, modality, priority, "
        "urgent,"
        " n_instances, n_ahead, n_lately) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (study_key, generation) DO UPDATE SET arrived = excluded.arrived,"
        " known = excluded.known, modality = excluded.modality, priority = excluded.priority,"
        " urgent = excluded.urgent, n_instances = excluded.n_instances,"
        " n_ahead = excluded.n_ahead, n_lately = excluded.n_lately WHERE read = 0",
        err, "tiiitiiiii", study->key, (int64_t)study->generation, arrived, now_ms, modality,
        (int64_t)study->priority, (int64_t)urgent, (int64_t)study->n_instances, n_ahead,
        n_lately);
}

md_status md_sqlite_reading_read(md_sqlite *c, const char *study_key, int64_t now_ms,
                                 md_error *err)
{
    return md_sqlite_run(c, "UPDATE reading SET read = ? WHERE study_key = ? AND read = 0", err,
                         "it", now_ms, study_key);
}

/* ---- reading ---- */

#define COLUMNS                                                                                \
    "study_key, generation, arrived, known, read, priority, urgent, n_instances, n_ahead,"     \
    " n_lately, modality"

static void take_row(sqlite3_stmt *row_of, md_store_reading *ret)
{
    *ret = (md_store_reading){
        .generation = sqlite3_column_int(row_of, 1),
        .arrived_ms = sqlite3_column_int64(row_of, 2),
        .known_ms = sqlite3_column_int64(row_of, 3),
        .read_ms = sqlite3_column_int64(row_of, 4),
        .priority = sqlite3_column_int(row_of, 5),
        .urgent = sqlite3_column_int(row_of, 6) != 0,
        .n_instances = (unsigned)sqlite3_column_int64(row_of, 7),
        .n_ahead = (unsigned)sqlite3_column_int64(row_of, 8),
        .n_lately = (unsigned)sqlite3_column_int64(row_of, 9),
    };
    md_sqlite_text(row_of, 0, ret->study_key, sizeof ret->study_key);
    md_sqlite_text(row_of, 10, ret->modality, sizeof ret->modality);
}

static md_status load_rows(md_sqlite *c, int64_t since_ms, size_t n_max, md_store_reading *rows,
                           size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t n = 0;
    MD_TRY(md_sqlite_start(c,
                           "SELECT " COLUMNS " FROM reading WHERE arrived >= ?"
                           " ORDER BY arrived DESC, study_key LIMIT ?",
                           &row_of, err, "ii", since_ms, (int64_t)n_max));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && n < n_max) {
        take_row(row_of, &rows[n++]);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    for (size_t i = 0; i < n / 2; i++) { /* the newest were kept; wanted oldest first */
        md_store_reading kept = rows[i];
        rows[i] = rows[n - 1 - i];
        rows[n - 1 - i] = kept;
    }
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_readings(md_store *store, int64_t since_ms, size_t n_max,
                             md_store_reading **ret_rows, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t n_there = 0;
    size_t n = 0;
    MD_AUTO(md_freep) md_store_reading *rows = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(reader, "SELECT count(*) FROM reading WHERE arrived >= ?",
                                     &n_there, err, "i", since_ms);
    size_t room = (uint64_t)n_there < n_max ? (size_t)n_there : n_max;
    if (status == MD_OK && room > 0) {
        rows = md_calloc(room, sizeof *rows);
        status = rows == NULL ? md_fail(err, MD_NOMEM, "no memory for %zu readings", room)
                              : load_rows(reader, since_ms, room, rows, &n, err);
    }
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_rows = n > 0 ? MD_STEAL(rows) : NULL;
    *ret_n = n;
    return MD_OK;
}

static md_status load_one(md_sqlite *c, const char *study_key, md_store_reading *ret_reading,
                          md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c,
                           "SELECT " COLUMNS " FROM reading WHERE study_key = ?"
                           " ORDER BY generation DESC LIMIT 1",
                           &row_of, err, "t", study_key));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        take_row(row_of, ret_reading);
    }
    md_sqlite_end(row_of);
    return row ? MD_OK : md_fail(err, MD_NOT_FOUND, "the study has not begun to wait");
}

md_status md_sqlite_reading_of(md_store *store, const char *study_key,
                               md_store_reading *ret_reading, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_one(reader, study_key, ret_reading, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

md_status md_sqlite_reading_retire(md_store *store, int64_t arrived_before_ms, size_t *ret_n,
                                   md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_run(&s->writer, "DELETE FROM reading WHERE arrived < ?", err,
                                     "i", arrived_before_ms);
    size_t n = (size_t)sqlite3_changes(s->writer.db);
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_put_estimate(md_store *store, const char *text, size_t n_bytes,
                                 md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status =
        md_sqlite_run(&s->writer, "INSERT OR REPLACE INTO estimate (id, model) VALUES (1, ?)",
                      err, "b", (const uint8_t *)text, n_bytes);
    return md_sqlite_commit(s, status, err);
}

static md_status load_estimate(md_sqlite *c, char **ret_text, size_t *ret_n, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, "SELECT model FROM estimate WHERE id = 1", &row_of, err, ""));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    const void *bytes = row ? sqlite3_column_blob(row_of, 0) : NULL;
    size_t n = bytes != NULL ? (size_t)sqlite3_column_bytes(row_of, 0) : 0;
    bool fits = n > 0 && n <= MD_STORE_MAX_ESTIMATE_BYTES;
    char *copy = fits ? md_malloc(n + 1) : NULL;
    if (copy != NULL) {
        memcpy(copy, bytes, n);
        copy[n] = '\0';
    }
    md_sqlite_end(row_of);
    if (!fits) {
        return md_fail(err, MD_NOT_FOUND, "there is no estimate yet");
    }
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an estimate of %zu bytes", n);
    }
    *ret_text = copy;
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_estimate(md_store *store, char **ret_text, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_estimate(reader, ret_text, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}
