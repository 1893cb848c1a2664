#include "daemon/store/store_sqlite.h"

#include <string.h>

static md_status count_all(md_sqlite *c, md_store_counts *ret, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c,
                           "SELECT state, count(*), sum(n_instances + n_conflicts),"
                           " sum(size_bytes) FROM study GROUP BY state",
                           &row_of, err, ""));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        int state = sqlite3_column_int(row_of, 0);
        if (state >= 0 && state < MD_STUDY_N_STATES) {
            ret->studies[state] = (uint64_t)sqlite3_column_int64(row_of, 1);
        }
        ret->n_instances += (uint64_t)sqlite3_column_int64(row_of, 2);
        ret->size_bytes += (uint64_t)sqlite3_column_int64(row_of, 3);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    int64_t value = 0;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM outbox WHERE state = 0", &value, err, ""));
    ret->outbox_pending = (uint64_t)value;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM outbox WHERE state = 2", &value, err, ""));
    ret->outbox_dead = (uint64_t)value;
    MD_TRY(md_sqlite_int(c, "SELECT count(*) FROM outbox WHERE committed IN (1, 2)", &value,
                         err, ""));
    ret->uncommitted = (uint64_t)value;
    return md_sqlite_int(c, "SELECT ifnull(min(complete), 0) FROM study WHERE state = 1",
                         &ret->oldest_waiting_ms, err, "");
}

md_status md_sqlite_count(md_store *store, md_store_counts *ret_counts, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_store_counts counts = {0};
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = count_all(reader, &counts, err);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_counts = counts;
    return MD_OK;
}

typedef struct file_list {
    md_store_file *files;
    size_t n, n_room;
} file_list;

/* Append the rows (file, size, study) of a statement. */
static md_status append_files(md_sqlite *c, sqlite3_stmt *row_of, file_list *list,
                              md_error *err)
{
    bool row = false;
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        if (list->n == list->n_room) {
            size_t n_room = list->n_room == 0 ? 256 : 2 * list->n_room;
            size_t size_bytes;
            void *grown = md_mul(n_room, sizeof *list->files, &size_bytes)
                              ? md_realloc(list->files, size_bytes)
                              : NULL;
            if (grown == NULL) {
                md_sqlite_end(row_of);
                return md_fail(err, MD_NOMEM, "no memory for a list of %zu files", n_room);
            }
            list->files = grown;
            list->n_room = n_room;
        }
        list->files[list->n++] = (md_store_file){
            .file = (uint64_t)sqlite3_column_int64(row_of, 0),
            .size_bytes = (uint64_t)sqlite3_column_int64(row_of, 1),
            .study = sqlite3_column_int64(row_of, 2),
        };
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

md_status md_sqlite_files(md_store *store, md_store_file **ret_files, size_t *ret_n,
                          md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    file_list list = {0};
    sqlite3_stmt *row_of = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_start(reader,
                                       "SELECT file, size_bytes, study FROM instance UNION ALL"
                                       " SELECT file, size_bytes, study FROM object ORDER BY 1",
                                       &row_of, err, "");
    if (status == MD_OK) {
        status = append_files(reader, row_of, &list, err);
    }
    md_sqlite_reader_done(s, reader);
    if (status != MD_OK) {
        md_free(list.files);
        return status;
    }
    *ret_files = list.files;
    *ret_n = list.n;
    return MD_OK;
}

/* The oldest ended study that nothing waits for: no sending, no commitment. */
static md_status oldest_ended(md_sqlite *c, int64_t before_ms, int64_t *ret_study,
                              md_error *err)
{
    return md_sqlite_int(
        c,
        "SELECT id FROM study WHERE state IN (5, 6) AND ended < ? AND"
        " NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.study = study.id AND"
        "  (outbox.state = 0 OR outbox.committed IN (1, 2))) ORDER BY ended, id LIMIT 1",
        ret_study, err, "i", before_ms);
}

static md_status retire(md_store_sqlite *s, const md_retention *retention, size_t n_max,
                        file_list *list, size_t *ret_n_studies, md_error *err)
{
    md_sqlite *c = &s->writer;
    int64_t total = 0;
    if (retention->max_bytes > 0) {
        MD_TRY(md_sqlite_int(c,
                             "SELECT ifnull((SELECT sum(size_bytes) FROM study), 0) +"
                             " ifnull((SELECT sum(size_bytes) FROM object), 0)",
                             &total, err, ""));
    }
    for (size_t n = 0; n < n_max; n++) {
        bool over = retention->max_bytes > 0 && (uint64_t)total > retention->max_bytes;
        int64_t id = 0;
        md_status status =
            oldest_ended(c, over ? INT64_MAX : retention->ended_before_ms, &id, err);
        if (status == MD_NOT_FOUND) {
            return MD_OK;
        }
        MD_TRY(status);
        size_t first = list->n;
        sqlite3_stmt *row_of = NULL;
        MD_TRY(md_sqlite_start(c,
                               "SELECT file, size_bytes, study FROM instance WHERE study = ?1"
                               " UNION ALL"
                               " SELECT file, size_bytes, study FROM object WHERE study = ?1",
                               &row_of, err, "i", id));
        MD_TRY(append_files(c, row_of, list, err));
        for (size_t i = first; i < list->n; i++) {
            total -= (int64_t)list->files[i].size_bytes;
        }
        MD_TRY(md_sqlite_keep_history(c, id, err));
        MD_TRY(md_sqlite_run(c,
                             "UPDATE reading SET read = -1 WHERE read = 0 AND study_key ="
                             " (SELECT key FROM study WHERE id = ?)",
                             err, "i", id));
        MD_TRY(md_sqlite_run(c, "DELETE FROM study WHERE id = ?", err, "i", id));
        *ret_n_studies = n + 1;
    }
    return MD_OK;
}

md_status md_sqlite_retire(md_store *store, const md_retention *retention, size_t n_max,
                           uint64_t **ret_files, size_t *ret_n_files, size_t *ret_n_studies,
                           md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    file_list list = {0};
    size_t n_studies = 0;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = retire(s, retention, n_max, &list, &n_studies, err);
    uint64_t *files = NULL;
    if (status == MD_OK && list.n > 0) {
        files = md_calloc(list.n, sizeof *files);
        if (files == NULL) {
            status = md_fail(err, MD_NOMEM, "no memory for a list of %zu files", list.n);
        }
        for (size_t i = 0; files != NULL && i < list.n; i++) {
            files[i] = list.files[i].file;
        }
    }
    status = md_sqlite_commit(s, status, err);
    md_free(list.files);
    if (status != MD_OK) {
        md_free(files);
        return status;
    }
    *ret_files = files;
    *ret_n_files = list.n;
    *ret_n_studies = n_studies;
    return MD_OK;
}
