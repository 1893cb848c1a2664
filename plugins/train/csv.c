#include "plugins/train/csv.h"

#include "base/file.h"

#include <string.h>
#include <strings.h>

typedef struct reader {
    const char *name;
    char *at;      /* next byte to read; a zero ends */
    char *to;      /* where the next field is written: never beyond `at` */
    uint32_t line; /* of `at`, from 1 */
    md_error *err;
} reader;

/* The rest of a quoted field, behind the opening quote. */
static md_status read_quoted(reader *r)
{
    const uint32_t start = r->line;
    for (;;) {
        const char c = *r->at;
        if (c == '\0') {
            return md_fail(r->err, MD_FORMAT, "%s:%u: a quote is never closed", r->name, start);
        }
        r->at++;
        if (c == '"' && *r->at != '"') {
            break;
        }
        r->at += c == '"' ? 1 : 0;
        r->line += c == '\n' ? 1 : 0;
        *r->to++ = c;
    }
    if (*r->at != ',' && *r->at != '\n' && *r->at != '\r' && *r->at != '\0') {
        return md_fail(r->err, MD_FORMAT, "%s:%u: text behind a closing quote", r->name,
                       r->line);
    }
    return MD_OK;
}

/* One field; *ret_last when the row ends behind it. */
static md_status read_field(reader *r, const char **ret_field, bool *ret_last)
{
    char *start = r->to;
    if (*r->at == '"') {
        r->at++;
        MD_TRY(read_quoted(r));
    } else {
        while (*r->at != ',' && *r->at != '\n' && *r->at != '\0' &&
               !(r->at[0] == '\r' && r->at[1] == '\n')) {
            *r->to++ = *r->at++;
        }
    }
    if (r->to - start > MD_CSV_MAX_FIELD_BYTES) {
        return md_fail(r->err, MD_LIMIT, "%s:%u: a field of %zu bytes, expected at most %d",
                       r->name, r->line, (size_t)(r->to - start), MD_CSV_MAX_FIELD_BYTES);
    }
    r->at += r->at[0] == '\r' && (r->at[1] == '\n' || r->at[1] == '\0') ? 1 : 0;
    *ret_last = *r->at != ',';
    r->line += *r->at == '\n' ? 1 : 0;
    r->at += *r->at != '\0' ? 1 : 0;
    *r->to++ = '\0'; /* over what was read: a comma, a line end, or the zero at the end */
    *ret_field = start;
    return MD_OK;
}

static bool skip_blank_lines(reader *r)
{
    while (*r->at == '\n' || (r->at[0] == '\r' && r->at[1] == '\n')) {
        r->at += *r->at == '\r' ? 2 : 1;
        r->line++;
    }
    return *r->at != '\0';
}

static md_status read_header(reader *r, md_csv *csv)
{
    const char *names[MD_CSV_MAX_COLUMNS];
    bool last = !skip_blank_lines(r);
    if (last) {
        return md_fail(r->err, MD_FORMAT, "%s: it is empty, expected a line of column names",
                       r->name);
    }
    while (!last) {
        if (csv->n_columns == MD_CSV_MAX_COLUMNS) {
            return md_fail(r->err, MD_LIMIT, "%s:%u: more than %d columns", r->name, r->line,
                           MD_CSV_MAX_COLUMNS);
        }
        MD_TRY(read_field(r, &names[csv->n_columns], &last));
        csv->n_columns++;
    }
    csv->header = md_calloc(csv->n_columns, sizeof *csv->header);
    if (csv->header == NULL) {
        return md_fail(r->err, MD_NOMEM, "%s: no memory for its columns", r->name);
    }
    memcpy(csv->header, names, csv->n_columns * sizeof *names);
    for (unsigned i = 0; i < csv->n_columns; i++) {
        if (md_csv_column(csv, csv->header[i]) != (int)i) {
            return md_fail(r->err, MD_FORMAT, "%s: columns %d and %u have the same name",
                           r->name, md_csv_column(csv, csv->header[i]) + 1, i + 1);
        }
    }
    return MD_OK;
}

static md_status grow(reader *r, md_csv *csv, size_t *n_room)
{
    if (csv->n_rows < *n_room) {
        return MD_OK;
    }
    if (csv->n_rows == MD_CSV_MAX_ROWS) {
        return md_fail(r->err, MD_LIMIT, "%s: more than %d rows", r->name, MD_CSV_MAX_ROWS);
    }
    const size_t n = *n_room == 0 ? 256 : 2 * *n_room;
    const char **fields = md_realloc(csv->fields, n * csv->n_columns * sizeof *fields);
    csv->fields = fields != NULL ? fields : csv->fields;
    uint32_t *lines = md_realloc(csv->lines, n * sizeof *lines);
    csv->lines = lines != NULL ? lines : csv->lines;
    if (fields == NULL || lines == NULL) {
        return md_fail(r->err, MD_NOMEM, "%s: no memory for %zu rows", r->name, n);
    }
    *n_room = n;
    return MD_OK;
}

static md_status read_row(reader *r, md_csv *csv)
{
    const uint32_t line = r->line;
    const char **row = csv->fields + csv->n_rows * csv->n_columns;
    const char *extra = NULL;
    bool last = false;
    unsigned n = 0;
    for (; !last; n++) {
        MD_TRY(read_field(r, n < csv->n_columns ? &row[n] : &extra, &last));
    }
    if (n != csv->n_columns) {
        return md_fail(r->err, MD_FORMAT, "%s:%u: %u fields, expected %u as in the first line",
                       r->name, line, n, csv->n_columns);
    }
    csv->lines[csv->n_rows++] = line;
    return MD_OK;
}

static md_status read_all(reader *r, md_csv *csv)
{
    size_t n_room = 0;
    MD_TRY(read_header(r, csv));
    while (skip_blank_lines(r)) {
        MD_TRY(grow(r, csv, &n_room));
        MD_TRY(read_row(r, csv));
    }
    return MD_OK;
}

md_status md_csv_parse(char *bytes, size_t size_bytes, const char *name, md_csv *ret_csv,
                       md_error *err)
{
    md_csv csv = {.bytes = bytes};
    const bool has_mark = size_bytes >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0;
    reader r = {
        .name = name, .at = bytes + (has_mark ? 3 : 0), .to = bytes, .line = 1, .err = err};
    md_status status = MD_OK;
    if (size_bytes > MD_CSV_MAX_BYTES) {
        status = md_fail(err, MD_LIMIT, "%s: %zu bytes, at most %zu are read", name, size_bytes,
                         MD_CSV_MAX_BYTES);
    } else if (memchr(bytes, '\0', size_bytes) != NULL) {
        status = md_fail(err, MD_FORMAT, "%s: it holds a zero byte, expected UTF-8 text", name);
    } else {
        bytes[size_bytes] = '\0';
        status = read_all(&r, &csv);
    }
    if (status != MD_OK) {
        md_csv_finish(&csv);
        return status;
    }
    *ret_csv = csv;
    return MD_OK;
}

md_status md_csv_read(const char *path, md_csv *ret_csv, md_error *err)
{
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_CSV_MAX_BYTES, &bytes, &size_bytes, err));
    return md_csv_parse((char *)bytes, size_bytes, path, ret_csv, err);
}

void md_csv_finish(md_csv *csv)
{
    md_free(csv->header);
    md_free(csv->fields);
    md_free(csv->lines);
    md_free(csv->bytes);
    *csv = (md_csv){0};
}

int md_csv_column(const md_csv *csv, const char *name)
{
    for (unsigned i = 0; i < csv->n_columns; i++) {
        if (strcasecmp(csv->header[i], name) == 0) {
            return (int)i;
        }
    }
    return MD_CSV_NO_COLUMN;
}

const char *md_csv_field(const md_csv *csv, size_t row, int column)
{
    return column < 0 ? "" : csv->fields[row * csv->n_columns + (size_t)column];
}

void md_csv_print(const char *text, FILE *out)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            fputc('"', out);
        }
        fputc(*text, out);
    }
    fputc('"', out);
}
