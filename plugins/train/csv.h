#ifndef MEDAID_PLUGINS_TRAIN_CSV_H
#define MEDAID_PLUGINS_TRAIN_CSV_H

/* A table with a header line, RFC 4180: comma, optional double quotes with "" for one of them,
 * CRLF or LF, also inside quotes; a byte order mark of UTF-8 is skipped. Read whole, then asked
 * by row and column. The bytes are hostile. Any thread once read. */

#include "base/memory.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MD_CSV_MAX_BYTES ((size_t)1 << 28)
enum {
    MD_CSV_MAX_COLUMNS = 1024,
    MD_CSV_MAX_ROWS = 1 << 23,
    MD_CSV_MAX_FIELD_BYTES = 1 << 16,
    MD_CSV_NO_COLUMN = -1
};

typedef struct md_csv {
    char *bytes; /* owned; the fields are in it, each ended by a zero */
    unsigned n_columns;
    size_t n_rows;       /* without the header */
    const char **header; /* [n_columns] */
    const char **fields; /* [n_rows, n_columns] */
    uint32_t *lines;     /* [n_rows] where each row begins */
} md_csv;

/* Take over `bytes` (from md_malloc, one byte longer than size_bytes; freed on failure too).
 * `name` stands in messages. Blank lines are skipped. MD_FORMAT with line: an open quote, text
 * behind a closing quote, a zero byte, another number of fields than the header has, two
 * columns of one name; MD_LIMIT, MD_NOMEM. Caller finishes. */
md_status md_csv_parse(char *bytes, size_t size_bytes, const char *name, md_csv *ret_csv,
                       md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same from a file. MD_NOT_FOUND, MD_IO. */
md_status md_csv_read(const char *path, md_csv *ret_csv, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_csv_finish(md_csv *csv) MD_NOEXCEPT;

/* Index of a column, MD_CSV_NO_COLUMN when there is none. Names are compared without case. */
int md_csv_column(const md_csv *csv, const char *name) MD_NOEXCEPT;

/* A field as it is; "" for the column MD_CSV_NO_COLUMN. */
const char *md_csv_field(const md_csv *csv, size_t row, int column) MD_NOEXCEPT;

/* Write one field, quoted where it must be. */
void md_csv_print(const char *text, FILE *out) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
