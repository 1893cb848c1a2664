/* Which films are explained, and what is known of them. */

#include "base/file.h"
#include "plugins/train/csv.h"
#include "plugins/train/explain_internal.h"
#include "plugins/train/picture.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static md_status add_film(md_explaining *x, const char *path, md_explain_film **ret_film,
                          md_error *err)
{
    if (x->n_films == MD_EXPLAIN_MAX_FILMS) {
        return md_fail(err, MD_LIMIT, "more than %d films", MD_EXPLAIN_MAX_FILMS);
    }
    md_explain_film *film = &x->films[x->n_films];
    film->path = md_strdup(path);
    if (film->path == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the list of films");
    }
    x->n_films++;
    *ret_film = film;
    return MD_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static md_status list_folder(md_explaining *x, md_error *err)
{
    char *const roots[] = {(char *)(uintptr_t)x->options->data, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    md_status status = walk == NULL ? md_fail_os(err, errno, "%s", x->options->data) : MD_OK;
    FTSENT *entry;
    while (status == MD_OK && (entry = fts_read(walk)) != NULL) {
        md_explain_film *film = NULL;
        if (entry->fts_info == FTS_F &&
            md_picture_sniff(entry->fts_accpath) != MD_PICTURE_NONE) {
            status = add_film(x, entry->fts_path, &film, err);
        } else if (entry->fts_level == 0 &&
                   (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR)) {
            status = md_fail_os(err, entry->fts_errno, "%s", x->options->data);
        }
    }
    if (walk != NULL) {
        (void)fts_close(walk);
    }
    return status;
}

static bool real_of(const char *text, double *ret)
{
    char *end = NULL;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*ret) && fabs(*ret) <= 1e6;
}

/* The rectangle of a row; *ret_there false when its four fields are empty. */
static md_status read_region(const md_csv *csv, size_t row, const int columns[4],
                             const char *name, md_map_region *ret_region, bool *ret_there,
                             md_error *err)
{
    double v[4];
    unsigned n_empty = 0, n_read = 0;
    for (int i = 0; i < 4; i++) {
        const char *text = md_csv_field(csv, row, columns[i]);
        n_empty += text[0] == '\0' ? 1 : 0;
        n_read += text[0] != '\0' && real_of(text, &v[i]) ? 1 : 0;
    }
    *ret_there = n_empty < 4;
    if (n_empty == 4) {
        return MD_OK;
    }
    if (n_read < 4 || v[2] <= 0.0 || v[3] <= 0.0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: expected x, y, width and height in pixels, or none of them",
                       name, csv->lines[row]);
    }
    *ret_region = (md_map_region){v[0], v[1], v[2], v[3]};
    return MD_OK;
}

static md_status add_region(md_explain_film *film, const md_map_region *region, md_error *err)
{
    md_map_region *more = md_calloc(film->n_regions + 1, sizeof *more);
    if (more == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the regions");
    }
    if (film->n_regions > 0) {
        memcpy(more, film->regions, film->n_regions * sizeof *more);
    }
    more[film->n_regions++] = *region;
    md_free(film->regions);
    film->regions = more;
    return MD_OK;
}

static md_explain_film *find_film(md_explaining *x, const char *path)
{
    for (size_t i = 0; i < x->n_films; i++) {
        if (strcmp(x->films[i].path, path) == 0) {
            return &x->films[i];
        }
    }
    return NULL;
}

static md_status list_rows(md_explaining *x, const md_csv *csv, md_error *err)
{
    const char *name = x->options->data;
    const char *slash = strrchr(name, '/');
    const int folder_length = slash == NULL ? 0 : (int)(slash - name) + 1;
    const int file = md_csv_column(csv, "file");
    const int columns[4] = {md_csv_column(csv, "x"), md_csv_column(csv, "y"),
                            md_csv_column(csv, "width"), md_csv_column(csv, "height")};
    if (file == MD_CSV_NO_COLUMN) {
        return md_fail(err, MD_FORMAT, "%s:1: expected a column 'file'", name);
    }
    for (size_t row = 0; row < csv->n_rows; row++) {
        char path[PATH_MAX];
        const char *text = md_csv_field(csv, row, file);
        const int length =
            text[0] == '/' ? snprintf(path, sizeof path, "%s", text)
                           : snprintf(path, sizeof path, "%.*s%s", folder_length, name, text);
        if (text[0] == '\0' || length < 0 || (size_t)length >= sizeof path) {
            return md_fail(err, MD_FORMAT, "%s:%u: no usable file name", name, csv->lines[row]);
        }
        md_explain_film *film = find_film(x, path);
        md_map_region region;
        bool there = false;
        if (film == NULL) {
            MD_TRY(add_film(x, path, &film, err));
        }
        MD_TRY(read_region(csv, row, columns, name, &region, &there, err));
        if (there) {
            MD_TRY(add_region(film, &region, err));
        }
    }
    return MD_OK;
}

md_status md_explain_list(md_explaining *x, md_error *err)
{
    const char *data = x->options->data;
    const size_t length = strlen(data);
    x->films = md_calloc(MD_EXPLAIN_MAX_FILMS, sizeof *x->films);
    if (x->films == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the list of films");
    }
    if (length > 4 && strcmp(data + length - 4, ".csv") == 0) {
        md_csv csv = {0};
        MD_TRY(md_csv_read(data, &csv, err));
        md_status status = list_rows(x, &csv, err);
        md_csv_finish(&csv);
        MD_TRY(status);
    } else {
        MD_TRY(list_folder(x, err));
    }
    return x->n_films > 0 ? MD_OK : md_fail(err, MD_NOT_FOUND, "%s: no film", data);
}

md_status md_explain_read(const md_explaining *x, const md_explain_film *film,
                          md_raster *ret_raster, md_error *err)
{
    const md_image_least whole = {0};
    return md_picture_read(film->path, &x->manifest->preprocess, &whole, ret_raster, err);
}
