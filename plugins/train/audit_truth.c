/* The truth file of an audit. Messages name lines and columns, never what stands there. */

#include "plugins/train/audit_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int8_t md_truth_label(const char *text)
{
    static const char *const words[2][5] = {{"0", "no", "false", "absent", "negative"},
                                            {"1", "yes", "true", "present", "positive"}};
    for (int8_t k = 0; k < 2; k++) {
        for (unsigned w = 0; w < 5; w++) {
            if (strcasecmp(text, words[k][w]) == 0) {
                return k;
            }
        }
    }
    return -1;
}

static bool is_unknown(const char *text)
{
    return text[0] == '\0' || strcmp(text, "?") == 0 || strcasecmp(text, "unknown") == 0;
}

bool md_truth_age(const char *text, double *ret_years)
{
    char *end = NULL;
    *ret_years = (double)NAN;
    if (is_unknown(text)) {
        return true;
    }
    const double years = strtod(text, &end);
    if (end == text || *end != '\0' || !(years >= 0 && years <= 150)) {
        return false;
    }
    *ret_years = years;
    return true;
}

static md_status find_columns(md_truth *t, const char *path, md_error *err)
{
    static const char *const known[] = {"study", "accession", "patient",      "sex",
                                        "age",   "view",      "manufacturer", NULL};
    const int study = md_csv_column(&t->csv, "study");
    const int accession = md_csv_column(&t->csv, "accession");
    if ((study == MD_CSV_NO_COLUMN) == (accession == MD_CSV_NO_COLUMN)) {
        return md_fail(err, MD_FORMAT,
                       "%s:1: one of the columns 'study' (Study Instance UID) and 'accession' "
                       "must be there",
                       path);
    }
    t->by_accession = study == MD_CSV_NO_COLUMN;
    t->key = t->by_accession ? accession : study;
    t->patient = md_csv_column(&t->csv, "patient");
    t->sex = md_csv_column(&t->csv, "sex");
    t->age = md_csv_column(&t->csv, "age");
    t->view = md_csv_column(&t->csv, "view");
    t->manufacturer = md_csv_column(&t->csv, "manufacturer");
    for (unsigned c = 0; c < t->csv.n_columns; c++) {
        bool is_known = false;
        for (unsigned k = 0; known[k] != NULL; k++) {
            is_known = is_known || strcasecmp(t->csv.header[c], known[k]) == 0;
        }
        if (is_known) {
            continue;
        }
        if (t->n_findings == MD_ASSESS_MAX_QUESTIONS) {
            return md_fail(err, MD_LIMIT, "%s:1: more than %d findings", path,
                           MD_ASSESS_MAX_QUESTIONS);
        }
        t->findings[t->n_findings++] = (int)c;
    }
    if (t->n_findings == 0) {
        return md_fail(err, MD_FORMAT, "%s:1: no column names a finding", path);
    }
    return MD_OK;
}

static md_status check_fields(const md_truth *t, const char *path, md_error *err)
{
    for (size_t row = 0; row < t->csv.n_rows; row++) {
        const unsigned line = t->csv.lines[row];
        double years = 0;
        if (md_csv_field(&t->csv, row, t->key)[0] == '\0') {
            return md_fail(err, MD_FORMAT, "%s:%u: no %s", path, line,
                           t->by_accession ? "accession number" : "study");
        }
        if (!md_truth_age(md_csv_field(&t->csv, row, t->age), &years)) {
            return md_fail(err, MD_FORMAT, "%s:%u: the age is not a number of years (0 to 150)",
                           path, line);
        }
        for (unsigned f = 0; f < t->n_findings; f++) {
            const char *text = md_csv_field(&t->csv, row, t->findings[f]);
            if (md_truth_label(text) < 0 && !is_unknown(text)) {
                return md_fail(
                    err, MD_FORMAT,
                    "%s:%u: column %d is none of 1, yes, true, present, positive, 0, "
                    "no, false, absent, negative, ? and empty",
                    path, line, t->findings[f] + 1);
            }
        }
    }
    return MD_OK;
}

typedef struct keyed_row {
    const char *key;
    unsigned line;
} keyed_row;

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const keyed_row *)a)->key, ((const keyed_row *)b)->key);
}

static md_status check_twice(const md_truth *t, const char *path, md_error *err)
{
    MD_AUTO(md_freep) keyed_row *rows = md_calloc(t->csv.n_rows + 1, sizeof *rows);
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", t->csv.n_rows);
    }
    for (size_t row = 0; row < t->csv.n_rows; row++) {
        rows[row] = (keyed_row){md_csv_field(&t->csv, row, t->key), t->csv.lines[row]};
    }
    qsort(rows, t->csv.n_rows, sizeof *rows, compare_keys);
    for (size_t i = 1; i < t->csv.n_rows; i++) {
        if (strcmp(rows[i - 1].key, rows[i].key) == 0) {
            const unsigned a = rows[i - 1].line, b = rows[i].line;
            return md_fail(err, MD_FORMAT, "%s:%u: the same study as in line %u", path,
                           a > b ? a : b, a > b ? b : a);
        }
    }
    return MD_OK;
}

static md_status check_truth(md_truth *t, const char *path, md_error *err)
{
    MD_TRY(find_columns(t, path, err));
    if (t->csv.n_rows == 0) {
        return md_fail(err, MD_FORMAT, "%s: no row below the header", path);
    }
    MD_TRY(check_fields(t, path, err));
    return check_twice(t, path, err);
}

md_status md_truth_read(const char *path, md_truth *ret_truth, md_error *err)
{
    md_truth t = {0};
    MD_TRY(md_csv_read(path, &t.csv, err));
    const md_status status = check_truth(&t, path, err);
    if (status != MD_OK) {
        md_truth_finish(&t);
        return status;
    }
    *ret_truth = t;
    return MD_OK;
}

void md_truth_finish(md_truth *truth)
{
    md_csv_finish(&truth->csv);
}
