#include "daemon/store/store_sqlite.h"

#include <string.h>

md_status md_sqlite_put_view(md_sqlite *c, int64_t study, const md_study_view *view,
                             md_error *err)
{
    return md_sqlite_run(c,
                         "INSERT OR REPLACE INTO view (study, header, image, overlay)"
                         " VALUES (?, ?, ?, ?)",
                         err, "itbb", study, view->header != NULL ? view->header : "{}",
                         view->image, view->image_bytes, view->overlay, view->overlay_bytes);
}

static md_status load_part(md_sqlite *c, int64_t study, md_view_part part, uint8_t **ret_bytes,
                           size_t *ret_n, md_error *err)
{
    static const char *const queries[] = {
        [MD_VIEW_HEADER] = "SELECT CAST(header AS BLOB) FROM view WHERE study = ?",
        [MD_VIEW_IMAGE] = "SELECT image FROM view WHERE study = ?",
        [MD_VIEW_OVERLAY] = "SELECT overlay FROM view WHERE study = ?",
    };
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, queries[part], &row_of, err, "i", study));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    const void *bytes = row ? sqlite3_column_blob(row_of, 0) : NULL;
    size_t n = bytes != NULL ? (size_t)sqlite3_column_bytes(row_of, 0) : 0;
    uint8_t *copy = n > 0 ? md_malloc(n + 1) : NULL;
    if (copy != NULL) {
        memcpy(copy, bytes, n);
        copy[n] = 0;
    }
    md_sqlite_end(row_of);
    if (n == 0) {
        return md_fail(err, MD_NOT_FOUND, "there is no picture of the study");
    }
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a picture of %zu bytes", n);
    }
    *ret_bytes = copy;
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_view(md_store *store, int64_t study, md_view_part part, uint8_t **ret_bytes,
                         size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_part(reader, study, part, ret_bytes, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}
