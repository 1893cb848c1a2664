/* The table of medaid-train risk: from CSV to numbers, and what cannot be learnt from. */

#include "plugins/train/csv.h"
#include "plugins/train/risk_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct reader {
    const md_risk_recipe *recipe;
    const md_csv *csv;
    md_risk_table *table;
    md_error *err;
} reader;

void md_risk_table_finish(md_risk_table *table)
{
    md_free(table->x);
    md_free(table->y);
    md_free(table->groups);
    md_free(table->lines);
    md_free(table->names);
    *table = (md_risk_table){0};
}

static bool is_empty(const char *text)
{
    return text[0] == '\0' || strcasecmp(text, "NA") == 0 || strcasecmp(text, "NaN") == 0;
}

/* A number, or NaN where there is none. */
static md_status number_of(reader *r, size_t row, int column, double *ret)
{
    const char *text = md_csv_field(r->csv, row, column);
    char *end = NULL;
    if (is_empty(text)) {
        *ret = (double)NAN;
        return MD_OK;
    }
    double value = strtod(text, &end);
    end += strspn(end, " ");
    if (end == text || *end != '\0' || !isfinite(value) || fabs(value) > 1e15) {
        return md_fail(r->err, MD_INVALID_ARG, "%s:%u: column '%s' is not a number",
                       r->table->name, r->csv->lines[row], r->csv->header[column]);
    }
    *ret = value;
    return MD_OK;
}

static md_status column_of(reader *r, const char *name, unsigned line, int *ret_column)
{
    *ret_column = md_csv_column(r->csv, name);
    if (*ret_column == MD_CSV_NO_COLUMN) {
        return md_fail(r->err, MD_INVALID_ARG, "%s:%u: the table %s has no column '%s'",
                       r->recipe->file, line, r->table->name, name);
    }
    return MD_OK;
}

static md_status take_target(reader *r, size_t row, int column, double *ret_y)
{
    const md_risk_recipe *recipe = r->recipe;
    const char *text = md_csv_field(r->csv, row, column);
    if (is_empty(text)) {
        *ret_y = (double)NAN;
        return recipe->target.skip_missing
                   ? MD_OK
                   : md_fail(r->err, MD_INVALID_ARG,
                             "%s:%u: column '%s', the target, is empty: take the row out, or "
                             "say target.skip_missing: true",
                             r->table->name, r->csv->lines[row], r->csv->header[column]);
    }
    if (recipe->target.yes[0] != '\0') {
        *ret_y = strcmp(text, recipe->target.yes) == 0 ? 1.0 : 0.0;
        return MD_OK;
    }
    MD_TRY(number_of(r, row, column, ret_y));
    if (recipe->target.log && !(*ret_y > 0.0)) {
        return md_fail(r->err, MD_INVALID_ARG,
                       "%s:%u: column '%s', the target, is not above 0: it has no logarithm",
                       r->table->name, r->csv->lines[row], r->csv->header[column]);
    }
    *ret_y = recipe->target.log ? log(*ret_y) : *ret_y;
    return MD_OK;
}

static md_status take_feature(reader *r, size_t row, int column,
                              const md_risk_recipe_feature *f, double *ret_x)
{
    const char *text = md_csv_field(r->csv, row, column);
    const uint32_t line = r->csv->lines[row];
    if (f->yes[0] != '\0' && !is_empty(text)) {
        *ret_x = strcmp(text, f->yes) == 0 ? 1.0 : 0.0;
        return MD_OK;
    }
    MD_TRY(number_of(r, row, column, ret_x));
    if (isnan(*ret_x) && f->missing == MD_RISK_RECIPE_REFUSE) {
        return md_fail(r->err, MD_INVALID_ARG,
                       "%s:%u: column '%s' is empty: take the row out, or say missing: mean",
                       r->table->name, line, f->column);
    }
    if ((f->has_low && *ret_x < f->low) || (f->has_high && *ret_x > f->high)) {
        return md_fail(r->err, MD_INVALID_ARG,
                       "%s:%u: column '%s' is beyond the low or high of the recipe",
                       r->table->name, line, f->column);
    }
    return MD_OK;
}

/* A number for each different text of the group's column, by sorting. */
typedef struct named_row {
    const char *text;
    size_t row;
} named_row;

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const named_row *)a)->text, ((const named_row *)b)->text);
}

static md_status number_groups(reader *r, int column, const size_t *rows)
{
    md_risk_table *t = r->table;
    if (column == MD_CSV_NO_COLUMN) {
        for (size_t i = 0; i < t->n_rows; i++) {
            t->groups[i] = (uint32_t)i;
        }
        t->n_groups = t->n_rows;
        return MD_OK;
    }
    MD_AUTO(md_freep) named_row *named = md_calloc(t->n_rows, sizeof *named);
    if (named == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %zu groups", t->n_rows);
    }
    for (size_t i = 0; i < t->n_rows; i++) {
        named[i] = (named_row){md_csv_field(r->csv, rows[i], column), i};
        if (named[i].text[0] == '\0') {
            return md_fail(r->err, MD_INVALID_ARG, "%s:%u: column '%s', the group, is empty",
                           t->name, t->lines[i], r->csv->header[column]);
        }
    }
    qsort(named, t->n_rows, sizeof *named, compare_named);
    for (size_t i = 0; i < t->n_rows; i++) {
        t->n_groups += i == 0 || strcmp(named[i].text, named[i - 1].text) != 0 ? 1 : 0;
        t->groups[named[i].row] = (uint32_t)t->n_groups;
    }
    return MD_OK;
}

static md_status fill(reader *r, const int *columns, int target, int group)
{
    md_risk_table *t = r->table;
    MD_AUTO(md_freep) size_t *rows = md_calloc(r->csv->n_rows, sizeof *rows);
    if (rows == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %zu rows", r->csv->n_rows);
    }
    for (size_t i = 0; i < r->csv->n_rows; i++) {
        double y = 0.0;
        MD_TRY(take_target(r, i, target, &y));
        if (isnan(y)) {
            t->n_skipped++;
            continue;
        }
        for (unsigned j = 0; j < t->n_columns; j++) {
            MD_TRY(take_feature(r, i, columns[j], &r->recipe->features[j],
                                &t->x[t->n_rows * t->n_columns + j]));
        }
        t->y[t->n_rows] = y;
        t->lines[t->n_rows] = r->csv->lines[i];
        rows[t->n_rows++] = i;
    }
    return number_groups(r, group, rows);
}

static md_status check_columns(reader *r)
{
    const md_risk_table *t = r->table;
    for (unsigned j = 0; j < t->n_columns; j++) {
        double low = (double)INFINITY, high = -(double)INFINITY;
        for (size_t i = 0; i < t->n_rows; i++) {
            double v = t->x[i * t->n_columns + j];
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
        bool none = !isfinite(low);
        /* to a forest it can tell something that a value is missing */
        if (none || !(high > low)) {
            return md_fail(
                r->err, MD_INVALID_ARG, "%s: column '%s' %s: take it out of features", t->name,
                r->recipe->features[j].column, none ? "has no value at all" : "is constant");
        }
    }
    return MD_OK;
}

static md_status check_target(reader *r)
{
    const md_risk_table *t = r->table;
    unsigned folds = r->recipe->model.folds;
    size_t n[2] = {0}, last[2] = {0};
    double low = (double)INFINITY, high = -(double)INFINITY;
    for (size_t i = 0; i < t->n_rows; i++) {
        unsigned kind = t->y[i] > 0.5;
        n[kind]++;
        last[kind] = i;
        low = fmin(low, t->y[i]);
        high = fmax(high, t->y[i]);
    }
    if (t->n_groups < 2 * (size_t)folds) {
        return md_fail(r->err, MD_INVALID_ARG,
                       "%s: %zu rows of %zu groups are too few for %u folds within %u folds: "
                       "%u groups are needed",
                       t->name, t->n_rows, t->n_groups, folds, folds, 2 * folds);
    }
    for (unsigned k = 0; r->recipe->target.yes[0] != '\0' && k < 2; k++) {
        if (n[k] < 2 * (size_t)folds) {
            char where[48] = "";
            if (n[k] == 1) {
                (void)snprintf(where, sizeof where, " (line %u)", t->lines[last[k]]);
            }
            return md_fail(
                r->err, MD_INVALID_ARG,
                "%s: column '%s': %zu of %zu rows%s %s target.yes, %u are needed for "
                "%u folds within %u folds",
                t->name, r->recipe->target.column, n[k], t->n_rows, where,
                k == 1 ? "are" : "are not", 2 * folds, folds, folds);
        }
    }
    if (!(high > low)) {
        return md_fail(r->err, MD_INVALID_ARG, "%s: column '%s', the target, is constant",
                       t->name, r->recipe->target.column);
    }
    return MD_OK;
}

static md_status allocate(reader *r)
{
    md_risk_table *t = r->table;
    size_t n = r->csv->n_rows, cells = 0, bytes = 0;
    if (n == 0 || n > MD_RISK_RECIPE_MAX_ROWS || !md_mul(n, t->n_columns, &cells) ||
        !md_mul(cells, sizeof *t->x, &bytes)) {
        return md_fail(r->err, MD_LIMIT, "%s: %zu rows, expected 1..%d", t->name, n,
                       MD_RISK_RECIPE_MAX_ROWS);
    }
    t->x = md_malloc(bytes);
    t->y = md_calloc(n, sizeof *t->y);
    t->groups = md_calloc(n, sizeof *t->groups);
    t->lines = md_calloc(n, sizeof *t->lines);
    t->names = md_calloc(t->n_columns, sizeof *t->names);
    if (t->x == NULL || t->y == NULL || t->groups == NULL || t->lines == NULL ||
        t->names == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for a table of %zu rows", n);
    }
    return MD_OK;
}

static md_status read_all(reader *r)
{
    const md_risk_recipe *recipe = r->recipe;
    int columns[MD_RISK_MAX_FEATURES], target = 0, group = MD_CSV_NO_COLUMN;
    r->table->n_columns = recipe->n_features;
    MD_TRY(allocate(r));
    MD_TRY(column_of(r, recipe->target.column, recipe->target.line, &target));
    if (recipe->group[0] != '\0') {
        MD_TRY(column_of(r, recipe->group, 1, &group));
    }
    for (unsigned j = 0; j < recipe->n_features; j++) {
        MD_TRY(column_of(r, recipe->features[j].column, recipe->features[j].line, &columns[j]));
        r->table->names[j] = recipe->features[j].name;
    }
    MD_TRY(fill(r, columns, target, group));
    MD_TRY(check_target(r));
    return check_columns(r);
}

md_status md_risk_table_read(const md_risk_recipe *recipe, md_risk_table *ret_table,
                             md_error *err)
{
    char path[2 * MD_RISK_RECIPE_PATH_BYTES];
    bool whole = recipe->table[0] == '/';
    (void)snprintf(path, sizeof path, "%s%s%s", whole ? "" : recipe->folder, whole ? "" : "/",
                   recipe->table);
    md_csv csv = {0};
    md_risk_table table = {0};
    const char *slash = strrchr(recipe->table, '/');
    (void)snprintf(table.name, sizeof table.name, "%.128s",
                   slash != NULL ? slash + 1 : recipe->table);
    MD_TRY(md_csv_read(path, &csv, err));
    reader r = {recipe, &csv, &table, err};
    md_status status = read_all(&r);
    md_csv_finish(&csv);
    if (status != MD_OK) {
        md_risk_table_finish(&table);
        return status;
    }
    *ret_table = table;
    return MD_OK;
}
