/* What medaid-train risk measured, as JSON, as a page and as charts. */

#include "base/file.h"
#include "inference/statistics/bootstrap.h"
#include "inference/statistics/proportion.h"
#include "inference/tabular/student.h"
#include "plugins/train/chart.h"
#include "plugins/train/page.h"
#include "plugins/train/risk_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CELL_BYTES = 160,
    N_REPLICATES = 2000,
    MAX_FIGURES = 4
};

typedef struct report {
    const md_risk_recipe *recipe;
    const md_risk_table *table;
    const md_risk_fit *fit;
    md_risk_outcome *outcome;
    md_assessment assessment; /* of a yes-or-no target */
    double *truth;            /* [n_rows] of a value, in its unit */
    char folder[2 * MD_RISK_RECIPE_PATH_BYTES];
    md_drawing *drawings[MAX_FIGURES];
    md_page_figure_of figures[MAX_FIGURES];
    unsigned n_figures;
    char (*cells)[CELL_BYTES]; /* of the tables, one after the other */
    const char **texts;
    unsigned n_cells, most_cells;
    md_page_table tables[4];
    unsigned n_tables;
    md_error *err;
} report;

static void release(report *r)
{
    md_assessment_finish(&r->assessment);
    md_free(r->truth);
    md_free(r->cells);
    md_free(r->texts);
    for (unsigned i = 0; i < r->n_figures; i++) {
        md_drawing_destroy(r->drawings[i]);
    }
}

static bool is_binary(const report *r)
{
    return r->recipe->target.yes[0] != '\0';
}

/* ---- measuring ---- */

typedef struct errors {
    const double *said, *truth;
    size_t n;
} errors;

/* Root of the mean squared error, mean absolute error, 1 - squares over those of the mean. */
static void error_measures(const void *context, const uint32_t *counts, double *ret_values)
{
    const errors *e = context;
    double n = 0.0, mean = 0.0, squares = 0.0, sizes = 0.0, spread = 0.0;
    for (size_t i = 0; i < e->n; i++) {
        double k = counts != NULL ? counts[i] : 1.0, d = e->said[i] - e->truth[i];
        n += k;
        mean += k * e->truth[i];
        squares += k * d * d;
        sizes += k * fabs(d);
    }
    mean /= n;
    for (size_t i = 0; i < e->n; i++) {
        double k = counts != NULL ? counts[i] : 1.0;
        spread += k * (e->truth[i] - mean) * (e->truth[i] - mean);
    }
    ret_values[0] = sqrt(squares / n);
    ret_values[1] = sizes / n;
    ret_values[2] = spread > 0.0 ? 1.0 - squares / spread : (double)NAN;
}

static md_status measure_value(report *r)
{
    const md_risk_table *t = r->table;
    const md_bootstrap_options options = {
        .n_replicates = N_REPLICATES, .seed = r->recipe->seed, .n_threads = 1};
    md_interval found[3];
    r->truth = md_calloc(t->n_rows, sizeof *r->truth);
    if (r->truth == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %zu rows", t->n_rows);
    }
    for (size_t i = 0; i < t->n_rows; i++) {
        r->truth[i] = r->recipe->target.log ? exp(t->y[i]) : t->y[i];
        r->outcome->n_covered +=
            r->truth[i] >= r->fit->low[i] && r->truth[i] <= r->fit->high[i] ? 1 : 0;
    }
    const errors e = {r->fit->said, r->truth, t->n_rows};
    MD_TRY(md_bootstrap(t->n_rows, t->groups, &options, error_measures, &e, 3, found, r->err));
    r->outcome->rmse = found[0].value;
    r->outcome->rmse_low = found[0].has_interval ? found[0].low : (double)NAN;
    r->outcome->rmse_high = found[0].has_interval ? found[0].high : (double)NAN;
    r->outcome->mean_error = found[1].value;
    r->outcome->r_squared = found[2].value;
    return MD_OK;
}

static md_status measure_binary(report *r)
{
    const md_risk_table *t = r->table;
    MD_AUTO(md_freep) int8_t *truths = md_calloc(t->n_rows, sizeof *truths);
    if (truths == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %zu rows", t->n_rows);
    }
    for (size_t i = 0; i < t->n_rows; i++) {
        truths[i] = t->y[i] > 0.5;
    }
    const md_assess_question question = {
        .name = r->recipe->name, .scores = r->fit->said, .truths = truths, .threshold = 0.5};
    const md_assess_input input = {.n = t->n_rows,
                                   .patients = t->groups,
                                   .questions = &question,
                                   .n_questions = 1,
                                   .n_bootstrap = N_REPLICATES,
                                   .seed = r->recipe->seed,
                                   .n_threads = 1};
    MD_TRY(md_assess(&input, &r->assessment, r->err));
    const md_estimate *of = r->assessment.answers[0].measures.of;
    r->outcome->auc = of[MD_MEASURE_AUC].value;
    r->outcome->auc_low = of[MD_MEASURE_AUC].low;
    r->outcome->auc_high = of[MD_MEASURE_AUC].high;
    r->outcome->brier = of[MD_MEASURE_BRIER].value;
    return MD_OK;
}

/* ---- tables ---- */

static void cell(report *r, const char *format, ...) MD_PRINTF(2, 3);
static void cell(report *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (r->n_cells < r->most_cells) {
        (void)vsnprintf(r->cells[r->n_cells], CELL_BYTES, format, arguments);
        r->texts[r->n_cells] = r->cells[r->n_cells];
        r->n_cells++;
    }
    va_end(arguments);
}

static void end_table(report *r, const char *title, const char *note, unsigned first,
                      unsigned n_columns)
{
    r->tables[r->n_tables++] = (md_page_table){.title = title,
                                               .note = note,
                                               .cells = r->texts + first,
                                               .n_rows = (r->n_cells - first) / n_columns - 1,
                                               .n_columns = n_columns};
}

static void table_of_errors(report *r)
{
    const md_risk_outcome *o = r->outcome;
    unsigned first = r->n_cells;
    md_proportion covered = md_proportion_of(o->n_covered, o->n_rows);
    cell(r, "Measure");
    cell(r, "Value (95%% interval)");
    cell(r, "Root of the mean squared error");
    cell(r, "%.6g (%.6g to %.6g)", o->rmse, o->rmse_low, o->rmse_high);
    cell(r, "Mean size of the error");
    cell(r, "%.6g", o->mean_error);
    cell(r, "R squared");
    cell(r, "%.4f", o->r_squared);
    cell(r, "Within their %.0f%% interval", 100.0 * r->recipe->model.confidence);
    cell(r, "%.1f%% (%.1f%% to %.1f%%)", 100.0 * covered.value, 100.0 * covered.low,
         100.0 * covered.high);
    end_table(r, "On rows not seen",
              "Each row was judged by a model whose rows and whose choice of parameters were "
              "those of the other folds.",
              first, 2);
}

static void table_of_points(report *r)
{
    const md_risk_fit *f = r->fit;
    unsigned first = r->n_cells;
    cell(r, "Parameters");
    cell(r, is_binary(r) ? "AUC" : "RMSE");
    cell(r, "Chosen");
    for (unsigned i = 0; i < f->n_points; i++) {
        const md_risk_point *p = &f->points[i];
        if (r->recipe->model.kind == MD_RISK_LINEAR) {
            cell(r, "ridge %g", p->ridge);
        } else if (r->recipe->model.kind == MD_RISK_FOREST) {
            cell(r, "depth %u, leaf %u", p->depth, p->leaf);
        } else if (p->gamma > 0.0) {
            cell(r, "c %g, gamma %g", p->c, p->gamma);
        } else {
            cell(r, "c %g", p->c);
        }
        cell(r, "%.5g", fabs(p->score));
        cell(r, i == f->best ? "yes" : "");
    }
    end_table(r, "What was tried", "By cross-validation within all rows; flattering by choice.",
              first, 3);
}

static void table_of_coefficients(report *r)
{
    const md_linear *l = &r->fit->linear;
    unsigned first = r->n_cells;
    double t95 = md_student_quantile(0.975, l->degrees);
    static const char *const heading[] = {"Feature",      "Coefficient", "Standard error",
                                          "95% interval", "t",           "p"};
    for (unsigned i = 0; i < 6; i++) {
        cell(r, "%s", heading[i]);
    }
    for (unsigned j = 0; j <= l->n_columns; j++) {
        bool last = j == l->n_columns;
        double b = last ? l->intercept : l->coefficients[j];
        double e = last ? l->intercept_error : l->errors[j], t = e > 0.0 ? b / e : 0.0;
        cell(r, "%s", last ? "(intercept)" : r->table->names[j]);
        cell(r, "%.6g", b);
        cell(r, "%.6g", e);
        cell(r, "%.6g to %.6g", b - t95 * e, b + t95 * e);
        cell(r, "%.3f", t);
        cell(r, "%.3g", 2.0 * md_student_below(-fabs(t), l->degrees));
    }
    end_table(r, "Coefficients",
              is_binary(r) ? "Of the least-squares fit to 0 and 1 that the probability is made "
                             "from. Errors and p hold for a target with equal spread "
                             "everywhere, which 0 and 1 have not: take them as a guide."
                           : "Student's t; with ridge above 0 the bias is left out.",
              first, 6);
}

static void table_of_importance(report *r)
{
    const double *importance = md_risk_importance(r->fit->model);
    unsigned first = r->n_cells;
    cell(r, "Feature");
    cell(r, "Mean size of its contribution");
    cell(r, importance != NULL ? "Share of the splits' gain" : "");
    for (unsigned j = 0; j < r->table->n_columns; j++) {
        cell(r, "%s", r->table->names[j]);
        cell(r, "%.5g", r->fit->parts[j]);
        if (importance != NULL) {
            cell(r, "%.4f", importance[j]);
        } else {
            cell(r, "%s", "");
        }
    }
    end_table(r, "Importance",
              "How much each feature moves the answer, on average over the rows; on the scale "
              "of the sum that the answer is made from.",
              first, 3);
}

static md_status make_tables(report *r)
{
    r->most_cells = 64 + 3 * r->fit->n_points + 12 * (r->table->n_columns + 2);
    r->cells = md_calloc(r->most_cells, sizeof *r->cells);
    r->texts = md_calloc(r->most_cells, sizeof *r->texts);
    if (r->cells == NULL || r->texts == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for the report's tables");
    }
    if (!is_binary(r)) {
        table_of_errors(r);
    }
    table_of_points(r);
    if (r->recipe->model.kind == MD_RISK_LINEAR) {
        table_of_coefficients(r);
    }
    table_of_importance(r);
    return MD_OK;
}

/* ---- charts ---- */

static md_status add_figure(report *r, const char *file, const char *heading, const char *note,
                            const md_chart_points *points)
{
    md_drawing *d = NULL;
    MD_TRY(md_chart_scatter(points, &d, r->err));
    r->drawings[r->n_figures] = d;
    r->figures[r->n_figures++] = (md_page_figure_of){heading, note, d};
    return md_drawing_write(d, r->folder, file, r->err);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static md_status draw_residuals(report *r)
{
    size_t n = r->table->n_rows;
    bool log_scale = r->recipe->target.log;
    MD_AUTO(md_freep) double *said = md_calloc(n, sizeof *said);
    MD_AUTO(md_freep) double *left = md_calloc(n, sizeof *left);
    MD_AUTO(md_freep) double *normal = md_calloc(n, sizeof *normal);
    if (said == NULL || left == NULL || normal == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for residuals");
    }
    for (size_t i = 0; i < n; i++) {
        said[i] = log_scale ? log(r->fit->said[i]) : r->fit->said[i];
        left[i] = r->table->y[i] - said[i];
        normal[i] = md_normal_quantile(((double)i + 0.5) / (double)n);
    }
    const char *scale = log_scale ? "log of the value said" : "value said";
    MD_TRY(
        add_figure(r, "observed", "Said and true", "On the dotted line both are equal.",
                   &(md_chart_points){"Said and true",
                                      "Points: the value said and the true "
                                      "one of each row.",
                                      scale, log_scale ? "log of the true value" : "true value",
                                      said, r->table->y, n, true, false}));
    MD_TRY(add_figure(
        r, "residuals", "Residuals",
        "True minus said. A bend says that something is missing, a funnel that the interval is "
        "too narrow at one end and too wide at the other.",
        &(md_chart_points){"Residuals", "Points: the residual of each row over the value said.",
                           scale, "residual", said, left, n, false, true}));
    qsort(left, n, sizeof *left, compare);
    return add_figure(
        r, "quantiles", "Residuals against the normal distribution",
        "On a straight line they are normal, as Student's intervals of a linear model assume.",
        &(md_chart_points){"Residuals against the normal distribution",
                           "Points: sorted residuals over the quantiles of the normal "
                           "distribution.",
                           "normal quantile", "residual", normal, left, n, false, true});
}

/* ---- writing ---- */

static md_status write_text(report *r, const char *name, const char *text, size_t n)
{
    char path[2 * MD_RISK_RECIPE_PATH_BYTES + 64];
    (void)snprintf(path, sizeof path, "%s/%s", r->folder, name);
    return md_file_write(path, MD_FILE_REPLACE, text, n, r->err);
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static md_status write_json(report *r)
{
    const md_risk_outcome *o = r->outcome;
    json_t *json =
        json_pack("{s:i, s:s, s:I, s:I, s:I, s:s}", "schema", 1, "name", r->recipe->name,
                  "rows", (json_int_t)o->n_rows, "groups", (json_int_t)o->n_groups, "skipped",
                  (json_int_t)o->n_skipped, "answer", is_binary(r) ? "probability" : "value");
    if (is_binary(r)) {
        json_t *assessment = NULL;
        MD_TRY(md_assessment_json(&r->assessment, &assessment, r->err));
        json_object_set_new(json, "assessment", assessment);
    } else {
        json_object_set_new(json, "rmse", number(o->rmse));
        json_object_set_new(json, "rmse_low", number(o->rmse_low));
        json_object_set_new(json, "rmse_high", number(o->rmse_high));
        json_object_set_new(json, "mean_error", number(o->mean_error));
        json_object_set_new(json, "r_squared", number(o->r_squared));
        json_object_set_new(json, "covered", json_integer((json_int_t)o->n_covered));
    }
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (text == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for measured.json");
    }
    md_status status = write_text(r, "measured.json", text, strlen(text));
    free(text);
    return status;
}

static md_status write_page(report *r)
{
    static const char *const kinds[] = {"linear (docs/linear-regression.md)",
                                        "support vector machine (docs/svm.md)",
                                        "random forest (docs/random-forest.md)"};
    char rows[96], title[192], use[MD_RISK_NOTE_BYTES + MD_RISK_TEXT_BYTES + 8];
    (void)snprintf(title, sizeof title, "Risk model %s", r->recipe->name);
    (void)snprintf(use, sizeof use, "%s\n\n%s", r->recipe->meaning, r->recipe->note);
    (void)snprintf(rows, sizeof rows, "%zu of %zu groups, %zu left out without a target",
                   r->table->n_rows, r->table->n_groups, r->table->n_skipped);
    const md_page_fact facts[] = {
        {"Model", kinds[r->recipe->model.kind]}, {"Table", r->table->name}, {"Rows", rows}};
    static const char *const limits[] = {
        "It knows the table and nothing else. A feature that goes with the target in this "
        "table "
        "need not cause it, nor go with it elsewhere.",
        "Contributions say what moved this answer, not what would change the patient."};
    const md_page page = {.title = title,
                          .intended_use = use,
                          .units = "rows",
                          .measured_on = "each by a model of the other folds",
                          .facts = facts,
                          .n_facts = 3,
                          .assessment = is_binary(r) ? &r->assessment : NULL,
                          .limits = limits,
                          .n_limits = 2,
                          .tables = r->tables,
                          .n_tables = r->n_tables,
                          .figures = r->figures,
                          .n_figures = r->n_figures};
    return md_page_write(&page, r->folder, "report", r->err);
}

static md_status write_all(report *r)
{
    MD_AUTO(md_freep) char *text = NULL;
    size_t n = 0;
    MD_TRY(is_binary(r) ? measure_binary(r) : measure_value(r));
    MD_TRY(make_tables(r));
    MD_TRY(md_folder_create(r->folder, r->err));
    MD_TRY(is_binary(r) ? md_page_write_charts(&r->assessment, r->folder, r->err)
                        : draw_residuals(r));
    MD_TRY(write_json(r));
    MD_TRY(write_page(r));
    MD_TRY(md_risk_text(r->fit->model, &text, &n, r->err));
    return write_text(r, MD_RISK_FILE, text, n);
}

md_status md_risk_report(const md_risk_recipe *recipe, const md_risk_table *table,
                         const md_risk_fit *fit, md_risk_outcome *ret_outcome, md_error *err)
{
    md_risk_outcome outcome = {.n_rows = table->n_rows,
                               .n_groups = table->n_groups,
                               .n_skipped = table->n_skipped,
                               .auc = (double)NAN,
                               .brier = (double)NAN,
                               .rmse = (double)NAN};
    report r = {.recipe = recipe, .table = table, .fit = fit, .outcome = &outcome, .err = err};
    bool whole = recipe->run_folder[0] == '/';
    (void)snprintf(r.folder, sizeof r.folder, "%s%s%s", whole ? "" : recipe->folder,
                   whole ? "" : "/", recipe->run_folder);
    md_status status = write_all(&r);
    release(&r);
    if (status == MD_OK) {
        *ret_outcome = outcome;
    }
    return status;
}

md_status md_risk_train(const char *recipe_path, FILE *progress, md_risk_outcome *ret_outcome,
                        md_error *err)
{
    MD_AUTO(md_risk_recipe_destroyp) md_risk_recipe *recipe = NULL;
    md_risk_table table = {0};
    md_risk_fit fit = {0};
    MD_TRY(md_risk_recipe_read(recipe_path, &recipe, err));
    md_status status = md_risk_table_read(recipe, &table, err);
    if (status == MD_OK) {
        status = md_risk_fit_table(recipe, &table, progress, &fit, err);
    }
    if (status == MD_OK) {
        status = md_risk_report(recipe, &table, &fit, ret_outcome, err);
    }
    md_risk_fit_finish(&fit);
    md_risk_table_finish(&table);
    return status;
}
