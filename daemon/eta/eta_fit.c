/* From readings to a model of the delay. */

#include "daemon/eta/eta_internal.h"
#include "inference/statistics/bootstrap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_OF_A_KIND = 5,   /* rows that a column must tell from the others */
    LEAST_OF_A_GROUP = 50, /* residuals */
    N_TREES = 60,
    TREE_DEPTH = 6, /* so that the text fits into the database */
    TREE_LEAF = 10
};

/* A forest must be so much better before it is worth its size. */
static const double FOREST_GAIN = 0.97;
/* Against columns that follow from each other; small beside a hundred rows. */
static const double RIDGE = 1.0;

/* The studies that were read, by arrival. */
typedef struct cases {
    const md_store_reading **rows; /* owned array, borrowed rows */
    double *logs;                  /* of the delay in seconds */
    size_t n;
    char modalities[MD_ETA_MAX_MODALITIES][MD_STORE_MODALITY_BYTES];
    unsigned n_modalities;
} cases;

static void release(cases *c)
{
    md_free(c->rows);
    md_free(c->logs);
}

static double delay_s(const md_store_reading *row)
{
    return fmax(1.0, (double)(row->read_ms - row->arrived_ms) / 1000.0);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What arrived lately is in only when it was read quickly: those younger than all but a
 * twentieth of the delays are left out. */
static md_status latest_arrival(const cases *c, int64_t now_ms, int64_t *ret_ms, md_error *err)
{
    MD_AUTO(md_freep) double *sorted = md_calloc(c->n, sizeof *sorted);
    if (sorted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu delays", c->n);
    }
    memcpy(sorted, c->logs, c->n * sizeof *sorted);
    qsort(sorted, c->n, sizeof *sorted, compare);
    double long_ms = 1000.0 * exp(md_quantile(sorted, c->n, 0.95));
    *ret_ms = now_ms - (int64_t)fmin(long_ms, MD_STORE_WAITS_AT_MOST_MS);
    return MD_OK;
}

static md_status collect(const md_store_reading *rows, size_t n, int64_t now_ms, cases *c,
                         md_eta_summary *summary, md_error *err)
{
    int64_t latest_ms = 0;
    c->rows = md_calloc(n > 0 ? n : 1, sizeof *c->rows);
    c->logs = md_calloc(n > 0 ? n : 1, sizeof *c->logs);
    if (c->rows == NULL || c->logs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu readings", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i].read_ms > 0) {
            c->logs[c->n] = log(delay_s(&rows[i]));
            c->rows[c->n++] = &rows[i];
        }
    }
    if (c->n == 0) {
        return MD_OK;
    }
    MD_TRY(latest_arrival(c, now_ms, &latest_ms, err));
    size_t kept = 0;
    while (kept < c->n && c->rows[kept]->arrived_ms <= latest_ms) {
        kept++;
    }
    c->n = kept;
    for (size_t i = 0; i < n; i++) {
        summary->n_unread += rows[i].read_ms <= 0 && rows[i].arrived_ms <= latest_ms;
    }
    return MD_OK;
}

/* The commonest modalities, each at least a fiftieth of the cases; the rest is the rest. */
static void find_modalities(cases *c)
{
    while (c->n_modalities < MD_ETA_MAX_MODALITIES) {
        size_t best = 0;
        const char *found = NULL;
        for (size_t i = 0; i < c->n && i < 1000; i++) { /* a common one is among these */
            const char *name = c->rows[i * (c->n > 1000 ? c->n / 1000 : 1)]->modality;
            size_t n = 0;
            bool known = name[0] == '\0';
            for (unsigned k = 0; k < c->n_modalities && !known; k++) {
                known = strcmp(c->modalities[k], name) == 0;
            }
            if (known || (found != NULL && strcmp(found, name) == 0)) {
                continue;
            }
            for (size_t j = 0; j < c->n; j++) {
                n += strcmp(c->rows[j]->modality, name) == 0;
            }
            if (n > best) {
                best = n;
                found = name;
            }
        }
        if (found == NULL || best * 50 < c->n) {
            return;
        }
        memcpy(c->modalities[c->n_modalities++], found, MD_STORE_MODALITY_BYTES);
    }
}

static double column_of(const cases *c, size_t row, unsigned column,
                        const double x[MD_ETA_N_FIXED])
{
    return column < MD_ETA_N_FIXED ? x[column]
           : strcmp(c->rows[row]->modality, c->modalities[column - MD_ETA_N_FIXED]) == 0 ? 1.0
                                                                                         : 0.0;
}

/* A table of the first n cases, with the columns that tell enough of them apart. */
typedef struct table {
    double *x;
    float *xf, *yf;
    unsigned n_columns, columns[MD_ETA_MAX_COLUMNS];
    md_risk_card card;
} table;

static void release_table(table *t)
{
    md_free(t->x);
    md_free(t->xf);
    md_free(t->yf);
}

/* Whether at least LEAST_OF_A_KIND rows differ from the commonest value of a column. */
static bool varies(const double *x, size_t n, unsigned width, unsigned column)
{
    size_t n_other = 0, n_same = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = fabs(x[i * width + column] - x[column]) < 1e-12;
        n_same += same;
        n_other += !same;
    }
    return n_other >= LEAST_OF_A_KIND && n_same + n_other == n &&
           (n_same >= LEAST_OF_A_KIND || n_other > n / 2);
}

static md_status make_table(const cases *c, size_t n, table *t, md_error *err)
{
    unsigned width = MD_ETA_N_FIXED + c->n_modalities;
    MD_AUTO(md_freep) double *all = md_calloc(n * width, sizeof *all);
    if (all == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu cases", n);
    }
    for (size_t i = 0; i < n; i++) {
        double x[MD_ETA_N_FIXED];
        md_eta_values(c->rows[i], x);
        for (unsigned j = 0; j < width; j++) {
            all[i * width + j] = column_of(c, i, j, x);
        }
    }
    for (unsigned j = 0; j < width; j++) {
        if (varies(all, n, width, j)) {
            t->columns[t->n_columns++] = j;
        }
    }
    if (t->n_columns == 0) {
        return md_fail(err, MD_NOT_FOUND, "the %zu read studies do not differ in anything", n);
    }
    t->x = md_calloc(n * t->n_columns, sizeof *t->x);
    t->xf = md_calloc(n * t->n_columns, sizeof *t->xf);
    t->yf = md_calloc(n, sizeof *t->yf);
    if (t->x == NULL || t->xf == NULL || t->yf == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu cases", n);
    }
    for (unsigned k = 0; k < t->n_columns; k++) {
        md_risk_feature *f = &t->card.features[k];
        md_eta_name(t->columns[k], c->modalities, f);
        f->low = INFINITY;
        f->high = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            double v = all[i * width + t->columns[k]];
            t->x[i * t->n_columns + k] = v;
            t->xf[i * t->n_columns + k] = (float)v;
            f->low = fmin(f->low, v);
            f->high = fmax(f->high, v);
            f->reference += v / (double)n;
        }
        f->reference = fmin(fmax(f->reference, f->low), f->high);
    }
    for (size_t i = 0; i < n; i++) {
        t->yf[i] = (float)c->logs[i];
    }
    return MD_OK;
}

static md_status to_risk(const table *t, const md_linear *linear, const md_forest *forest,
                         md_risk_model **ret_risk, md_error *err)
{
    MD_AUTO(md_freep) char *text = NULL;
    MD_AUTO(md_freep) md_risk_card *card = md_malloc(sizeof *card);
    size_t n = 0;
    if (card == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a model of the delay");
    }
    *card = t->card;
    card->kind = linear != NULL ? MD_RISK_LINEAR : MD_RISK_FOREST;
    card->link = MD_RISK_EXP;
    card->a = 1.0;
    card->n_features = t->n_columns;
    (void)snprintf(card->name, sizeof card->name, "eta");
    (void)snprintf(card->meaning, sizeof card->meaning, "time from the last image to reading");
    (void)snprintf(card->unit, sizeof card->unit, "s");
    (void)snprintf(card->note, sizeof card->note, "fitted on the daemon's own history");
    MD_TRY(md_risk_write(&(md_risk_draft){.card = card, .linear = linear, .forest = forest},
                         &text, &n, err));
    return md_risk_parse(text, n, "eta", ret_risk, err);
}

/* A model of the first n cases. MD_UNSUPPORTED: its library is not installed. */
static md_status fit_one(const cases *c, size_t n, bool is_forest, md_risk_model **ret_risk,
                         md_error *err)
{
    table t = {0};
    md_linear linear = {0};
    md_forest forest = {0};
    md_status status = make_table(c, n, &t, err);
    if (status == MD_OK && !is_forest) {
        status =
            md_linear_fit(t.x, c->logs, n, t.n_columns, RIDGE, NULL, &linear, NULL, NULL, err);
    }
    if (status == MD_OK && is_forest) {
        md_forest_options options = md_forest_defaults(false);
        options.n_trees = N_TREES;
        options.max_depth = TREE_DEPTH;
        options.min_leaf = TREE_LEAF;
        options.n_folds = 0;
        status = md_forest_fit(t.xf, t.yf, NULL, n, t.n_columns, NULL, &options, &forest, err);
    }
    if (status == MD_OK) {
        for (unsigned k = 0; k < t.n_columns && !is_forest; k++) {
            t.card.features[k].reference =
                fmin(fmax(linear.means[k], t.card.features[k].low), t.card.features[k].high);
        }
        status =
            to_risk(&t, is_forest ? NULL : &linear, is_forest ? &forest : NULL, ret_risk, err);
    }
    md_linear_finish(&linear);
    md_forest_finish(&forest);
    release_table(&t);
    return status;
}

/* What a model said of a later case, and what is wrong with it. */
typedef struct judged {
    double said, residual;
} judged;

/* The cases from..to by a model of those before; *ret_sum grows by the size of what is wrong.
 */
static md_status judge_part(const cases *c, size_t from, size_t to, bool is_forest,
                            judged *ret_judged, double *ret_sum, md_error *err)
{
    MD_AUTO(md_risk_destroyp) md_risk_model *risk = NULL;
    MD_TRY(fit_one(c, from, is_forest, &risk, err));
    for (size_t i = from; i < to; i++) {
        double m = 0.0;
        MD_TRY(md_eta_log_delay(risk, c->rows[i], &m, err));
        ret_judged[i - from] = (judged){m, c->logs[i] - m};
        *ret_sum += fabs(c->logs[i] - m);
    }
    return MD_OK;
}

/* Of the second half, each quarter by a model of all before it. */
static md_status judge(const cases *c, bool is_forest, judged *ret_judged, double *ret_error,
                       md_error *err)
{
    size_t half = c->n / 2, three = c->n - c->n / 4;
    double sum = 0.0;
    MD_TRY(judge_part(c, half, three, is_forest, ret_judged, &sum, err));
    MD_TRY(judge_part(c, three, c->n, is_forest, ret_judged + (three - half), &sum, err));
    *ret_error = sum / (double)(c->n - half);
    return MD_OK;
}

/* Saying the median of all before. */
static md_status judge_median(const cases *c, double *ret_error, md_error *err)
{
    size_t half = c->n / 2, three = c->n - c->n / 4;
    double sum = 0.0;
    MD_AUTO(md_freep) double *sorted = md_calloc(c->n, sizeof *sorted);
    if (sorted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu delays", c->n);
    }
    for (unsigned part = 0; part < 2; part++) {
        size_t from = part == 0 ? half : three, to = part == 0 ? three : c->n;
        memcpy(sorted, c->logs, from * sizeof *sorted);
        qsort(sorted, from, sizeof *sorted, compare);
        double median = md_quantile(sorted, from, 0.5);
        for (size_t i = from; i < to; i++) {
            sum += fabs(c->logs[i] - median);
        }
    }
    *ret_error = sum / (double)(c->n - half);
    return MD_OK;
}

static int compare_said(const void *a, const void *b)
{
    double x = ((const judged *)a)->said, y = ((const judged *)b)->said;
    return (x > y) - (x < y);
}

/* The quantiles of the residuals in groups of equal numbers by what was said; `all` is sorted.
 */
static md_status set_quantiles(judged *all, size_t n, md_eta_model *model, md_error *err)
{
    MD_AUTO(md_freep) double *residuals = md_calloc(n, sizeof *residuals);
    if (residuals == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu residuals", n);
    }
    qsort(all, n, sizeof *all, compare_said);
    size_t n_groups = n / LEAST_OF_A_GROUP;
    model->n_groups = n_groups < 1                   ? 1
                      : n_groups > MD_ETA_MAX_GROUPS ? MD_ETA_MAX_GROUPS
                                                     : (unsigned)n_groups;
    for (unsigned g = 0; g < model->n_groups; g++) {
        size_t from = n * g / model->n_groups, to = n * (g + 1) / model->n_groups;
        for (size_t i = from; i < to; i++) {
            residuals[i - from] = all[i].residual;
        }
        qsort(residuals, to - from, sizeof *residuals, compare);
        for (unsigned k = 0; k < MD_ETA_N_QUANTILES; k++) {
            model->quantiles[g][k] =
                md_quantile(residuals, to - from, k / (MD_ETA_N_QUANTILES - 1.0));
        }
        if (g > 0) {
            model->bounds[g - 1] = all[from].said;
        }
    }
    return MD_OK;
}

/* The last quarter within the intervals of the quarter before, then the intervals of both. */
static md_status finish_model(const cases *c, judged *all, md_eta_model *model, md_error *err)
{
    size_t half = c->n / 2, n = c->n - half, n_first = c->n - c->n / 4 - half;
    const unsigned low =
        (unsigned)lround((1.0 - MD_ETA_CONFIDENCE) / 2.0 * (MD_ETA_N_QUANTILES - 1));
    MD_TRY(set_quantiles(all, n_first, model, err));
    for (size_t i = n_first; i < n; i++) {
        const double *quantiles = md_eta_quantiles(model, all[i].said);
        model->summary.n_checked++;
        model->summary.n_covered += all[i].residual >= quantiles[low] &&
                                    all[i].residual <= quantiles[MD_ETA_N_QUANTILES - 1 - low];
    }
    MD_TRY(set_quantiles(all, n, model, err));
    return fit_one(c, c->n, model->summary.is_forest, &model->risk, err);
}

static md_status fit(const cases *c, md_eta_model *model, md_error *err)
{
    md_eta_summary *s = &model->summary;
    size_t n = c->n - c->n / 2;
    MD_AUTO(md_freep) judged *linear = md_calloc(n, sizeof *linear);
    MD_AUTO(md_freep) judged *forest = md_calloc(n, sizeof *forest);
    if (linear == NULL || forest == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu residuals", n);
    }
    s->n_cases = c->n;
    s->from_ms = c->rows[0]->arrived_ms;
    s->to_ms = c->rows[c->n - 1]->arrived_ms;
    MD_TRY(judge_median(c, &s->median_error, err));
    MD_TRY(judge(c, false, linear, &s->linear_error, err));
    md_status status = judge(c, true, forest, &s->forest_error, err);
    if (status == MD_UNSUPPORTED) { /* no XGBoost: the linear one it is */
        s->forest_error = (double)NAN;
        status = MD_OK;
    }
    MD_TRY(status);
    s->is_forest = s->forest_error < FOREST_GAIN * s->linear_error;
    return finish_model(c, s->is_forest ? forest : linear, model, err);
}

md_status md_eta_fit(const md_store_reading *rows, size_t n, size_t least, int64_t now_ms,
                     md_eta_model **ret_model, md_error *err)
{
    cases c = {0};
    md_eta_model *model = md_calloc(1, sizeof *model);
    if (model == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a model of the delay");
    }
    model->summary.fitted_ms = now_ms;
    size_t skipped = n > MD_ETA_MOST_CASES ? n - MD_ETA_MOST_CASES : 0;
    md_status status = collect(rows + skipped, n - skipped, now_ms, &c, &model->summary, err);
    if (status == MD_OK && (c.n < least || c.n < 4 * MD_ETA_MAX_COLUMNS)) {
        size_t wanted = least > 4 * MD_ETA_MAX_COLUMNS ? least : 4 * MD_ETA_MAX_COLUMNS;
        status = md_fail(err, MD_NOT_FOUND, "%zu studies were read so far, %zu are needed", c.n,
                         wanted);
    }
    if (status == MD_OK) {
        find_modalities(&c);
        status = fit(&c, model, err);
    }
    release(&c);
    if (status != MD_OK) {
        md_eta_model_destroy(model);
        return status;
    }
    *ret_model = model;
    return MD_OK;
}
