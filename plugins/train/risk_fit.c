/* The fits of medaid-train risk: the grid by the inner folds, the measuring by the outer ones,
 * the model by all rows. */

#include "inference/statistics/bootstrap.h"
#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"
#include "plugins/train/risk_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void md_risk_fit_finish(md_risk_fit *fit)
{
    md_risk_destroy(fit->model);
    md_linear_finish(&fit->linear);
    md_free(fit->said);
    md_free(fit->low);
    md_free(fit->high);
    md_free(fit->parts);
    *fit = (md_risk_fit){0};
}

/* Some rows of the table, for one fit: with missing values filled for what needs that. */
typedef struct part {
    const md_risk_recipe *recipe;
    const md_risk_table *table;
    size_t n;
    size_t *rows;
    double *x, *y, *means; /* [n][p] filled by means [p], [n] */
    float *xf, *yf;        /* [n][p] with NaN, [n] */
    int8_t *kinds;
    uint32_t *groups;
    md_error *err;
} part;

static void release(part *p)
{
    md_free(p->rows);
    md_free(p->x);
    md_free(p->y);
    md_free(p->means);
    md_free(p->xf);
    md_free(p->yf);
    md_free(p->kinds);
    md_free(p->groups);
}

static bool is_binary(const md_risk_recipe *recipe)
{
    return recipe->target.yes[0] != '\0';
}

static md_status set_mean(const part *p, unsigned column)
{
    double sum = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        double v = p->table->x[p->rows[i] * p->table->n_columns + column];
        sum += isnan(v) ? 0.0 : v;
        n += isnan(v) ? 0 : 1;
    }
    if (n == 0) {
        return md_fail(p->err, MD_INVALID_ARG,
                       "%s: column '%s' has no value in a part of the rows: take it out of "
                       "features",
                       p->table->name, p->recipe->features[column].column);
    }
    p->means[column] = sum / (double)n;
    return MD_OK;
}

static md_status fill_part(part *p)
{
    const md_risk_table *t = p->table;
    for (unsigned j = 0; j < t->n_columns; j++) {
        MD_TRY(set_mean(p, j));
    }
    for (size_t i = 0; i < p->n; i++) {
        size_t row = p->rows[i];
        for (unsigned j = 0; j < t->n_columns; j++) {
            double v = t->x[row * t->n_columns + j];
            p->x[i * t->n_columns + j] = isnan(v) ? p->means[j] : v;
            bool fill = isnan(v) && p->recipe->features[j].missing == MD_RISK_RECIPE_MEAN;
            p->xf[i * t->n_columns + j] = (float)(fill ? p->means[j] : v);
        }
        p->y[i] = t->y[row];
        p->yf[i] = (float)t->y[row];
        p->kinds[i] = t->y[row] > 0.5;
        p->groups[i] = t->groups[row];
    }
    return MD_OK;
}

/* The rows whose fold is (or is not) `fold`; folds NULL: all. */
static md_status make_part(const part *from, const uint8_t *folds, unsigned fold, bool inside,
                           part *p)
{
    size_t k = from->table->n_columns, n = 0;
    *p = (part){.recipe = from->recipe, .table = from->table, .err = from->err};
    p->rows = md_calloc(from->n, sizeof *p->rows);
    p->x = md_calloc(from->n * k, sizeof *p->x);
    p->xf = md_calloc(from->n * k, sizeof *p->xf);
    p->y = md_calloc(from->n, sizeof *p->y);
    p->yf = md_calloc(from->n, sizeof *p->yf);
    p->means = md_calloc(k, sizeof *p->means);
    p->kinds = md_calloc(from->n, sizeof *p->kinds);
    p->groups = md_calloc(from->n, sizeof *p->groups);
    if (p->rows == NULL || p->x == NULL || p->xf == NULL || p->y == NULL || p->yf == NULL ||
        p->means == NULL || p->kinds == NULL || p->groups == NULL) {
        return md_fail(from->err, MD_NOMEM, "no memory for a part of the table");
    }
    for (size_t i = 0; i < from->n; i++) {
        if (folds == NULL || (folds[i] == fold) == inside) {
            p->rows[n++] = from->rows[i];
        }
    }
    p->n = n;
    return fill_part(p);
}

/* One of the three. */
typedef struct fitted {
    md_linear linear;
    md_svm svm;
    md_forest forest;
} fitted;

static void forget(fitted *f)
{
    md_linear_finish(&f->linear);
    md_svm_finish(&f->svm);
    md_forest_finish(&f->forest);
}

static md_status fit_point(const part *p, const md_risk_point *point, fitted *ret)
{
    const md_risk_recipe *recipe = p->recipe;
    unsigned k = p->table->n_columns;
    md_status status = MD_OK;
    if (recipe->model.kind == MD_RISK_LINEAR) {
        status = md_linear_fit(p->x, p->y, p->n, k, point->ridge, p->table->names, &ret->linear,
                               NULL, NULL, p->err);
    } else if (recipe->model.kind == MD_RISK_SVM) {
        md_svm_options options = md_svm_defaults();
        options.kernel = recipe->model.kernel;
        options.c = point->c;
        options.gamma = point->gamma;
        options.n_folds = recipe->model.folds;
        options.seed = recipe->seed;
        const md_svm_rows rows = {p->x, p->kinds, p->groups, p->n, k};
        status = md_svm_fit(&rows, &options, &ret->svm, p->err);
    } else {
        md_forest_options options = md_forest_defaults(is_binary(recipe));
        options.n_trees = recipe->model.trees;
        options.max_depth = point->depth;
        options.min_leaf = point->leaf;
        options.n_folds = 0;
        options.seed = recipe->seed;
        status = md_forest_fit(p->xf, p->yf, p->groups, p->n, k, p->table->names, &options,
                               &ret->forest, p->err);
    }
    return status == MD_INVALID_ARG ? md_error_prefix(p->err, status, "%s", p->table->name)
                                    : status;
}

/* s of risk.h for a row of a part. */
static double raw(const part *p, const fitted *f, size_t i)
{
    unsigned k = p->table->n_columns;
    if (p->recipe->model.kind == MD_RISK_LINEAR) {
        double s = f->linear.intercept;
        for (unsigned j = 0; j < k; j++) {
            s += f->linear.coefficients[j] * p->x[i * k + j];
        }
        return s;
    }
    return p->recipe->model.kind == MD_RISK_SVM ? md_svm_decide(&f->svm, p->x + i * k)
                                                : md_forest_predict(&f->forest, p->xf + i * k);
}

/* s of each row of the part by models that had not seen its group. */
static md_status cross(const part *p, const md_risk_point *point, uint64_t seed, double *ret_s)
{
    MD_AUTO(md_freep) uint8_t *folds = md_calloc(p->n, sizeof *folds);
    if (folds == NULL) {
        return md_fail(p->err, MD_NOMEM, "no memory for folds");
    }
    md_status status = md_folds_deal(is_binary(p->recipe) ? p->kinds : NULL, p->groups, p->n,
                                     p->recipe->model.folds, seed, folds, p->err);
    if (status != MD_OK) {
        return md_error_prefix(p->err, status, "%s", p->table->name);
    }
    for (unsigned fold = 0; fold < p->recipe->model.folds && status == MD_OK; fold++) {
        part others = {0};
        fitted f = {0};
        status = make_part(p, folds, fold, false, &others);
        if (status == MD_OK) {
            status = fit_point(&others, point, &f);
        }
        for (size_t i = 0; i < p->n && status == MD_OK; i++) {
            if (folds[i] == fold) {
                ret_s[i] = raw(p, &f, i);
            }
        }
        forget(&f);
        release(&others);
    }
    return status;
}

/* The larger the better. */
static md_status judge(const part *p, const double *s, double *ret_score)
{
    if (is_binary(p->recipe)) {
        md_ranking ranking = {0};
        MD_TRY(md_ranking_init(s, p->kinds, p->n, &ranking, p->err));
        *ret_score = md_ranking_auc(&ranking, NULL);
        md_ranking_finish(&ranking);
        return MD_OK;
    }
    double squares = 0.0;
    for (size_t i = 0; i < p->n; i++) {
        squares += (s[i] - p->y[i]) * (s[i] - p->y[i]);
    }
    *ret_score = -sqrt(squares / (double)p->n);
    return MD_OK;
}

static unsigned make_grid(const md_risk_recipe *r, md_risk_point *points)
{
    unsigned n = 0;
    if (r->model.kind == MD_RISK_LINEAR) {
        for (unsigned i = 0; i < r->model.n_ridge; i++) {
            points[n++] = (md_risk_point){.ridge = r->model.ridge[i]};
        }
    } else if (r->model.kind == MD_RISK_SVM) {
        unsigned n_gamma = r->model.kernel == MD_SVM_RBF ? r->model.n_gamma : 1;
        for (unsigned i = 0; i < r->model.n_c * n_gamma; i++) {
            points[n++] = (md_risk_point){
                .c = r->model.c[i / n_gamma],
                .gamma = r->model.kernel == MD_SVM_RBF ? r->model.gamma[i % n_gamma] : 0.0};
        }
    } else {
        for (unsigned i = 0; i < r->model.n_depth * r->model.n_leaf; i++) {
            points[n++] = (md_risk_point){.depth = r->model.depth[i / r->model.n_leaf],
                                          .leaf = r->model.leaf[i % r->model.n_leaf]};
        }
    }
    return n;
}

/* The best point of the grid by folds within the part; of equal ones the first. ret_s: its s of
 * each row, for what is fitted on it. */
static md_status choose(const part *p, md_risk_point *points, unsigned n_points,
                        unsigned *ret_best, double *ret_s)
{
    MD_AUTO(md_freep) double *s = md_calloc(p->n, sizeof *s);
    if (s == NULL) {
        return md_fail(p->err, MD_NOMEM, "no memory to try %u points", n_points);
    }
    unsigned best = 0;
    for (unsigned i = 0; i < n_points; i++) {
        MD_TRY(cross(p, &points[i], p->recipe->seed + 1, s));
        MD_TRY(judge(p, s, &points[i].score));
        if (i == 0 || points[i].score > points[best].score) {
            best = i;
            memcpy(ret_s, s, p->n * sizeof *s);
        }
    }
    *ret_best = best;
    return MD_OK;
}

static void describe(const part *p, md_risk_card *card)
{
    const md_risk_recipe *r = p->recipe;
    bool binary = is_binary(r);
    *card = (md_risk_card){.kind = r->model.kind,
                           .link = r->target.log ? MD_RISK_EXP : MD_RISK_IDENTITY,
                           .a = 1.0,
                           .is_score = binary,
                           .is_probability = binary,
                           .n_features = p->table->n_columns};
    (void)snprintf(card->name, sizeof card->name, "%s", r->name);
    (void)snprintf(card->meaning, sizeof card->meaning, "%s", r->meaning);
    (void)snprintf(card->unit, sizeof card->unit, "%s", binary ? "1" : r->target.unit);
    (void)snprintf(card->note, sizeof card->note, "%s", r->note);
    for (unsigned j = 0; j < card->n_features; j++) {
        const md_risk_recipe_feature *of = &r->features[j];
        md_risk_feature *f = &card->features[j];
        (void)snprintf(f->name, sizeof f->name, "%s", of->name);
        (void)snprintf(f->unit, sizeof f->unit, "%s", of->unit);
        (void)snprintf(f->meaning, sizeof f->meaning, "%s", of->meaning);
        double low = (double)INFINITY, high = -(double)INFINITY;
        for (size_t i = 0; i < p->n; i++) {
            double v = p->table->x[p->rows[i] * card->n_features + j];
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
        f->low = of->has_low ? of->low : low;
        f->high = of->has_high ? of->high : high;
        f->reference = f->fill = fmin(fmax(p->means[j], f->low), f->high);
        f->missing = of->missing == MD_RISK_RECIPE_REFUSE ? MD_RISK_MISSING_REFUSE
                     : of->missing == MD_RISK_RECIPE_AUTO && r->model.kind == MD_RISK_FOREST
                         ? MD_RISK_MISSING_LEARNT
                         : MD_RISK_MISSING_FILL;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What turns s into the answer, from s of rows that were not seen. */
static md_status set_link(const part *p, const double *s, md_risk_card *card)
{
    const md_risk_recipe *r = p->recipe;
    if (is_binary(r) && r->model.kind != MD_RISK_SVM) { /* which fits its own */
        md_platt_fit platt = {0};
        MD_TRY(md_fit_platt(s, p->kinds, p->n, &platt, p->err));
        card->link = MD_RISK_LOGISTIC;
        card->a = platt.a;
        card->b = platt.b;
    } else if (!is_binary(r)) {
        card->confidence = r->model.confidence;
        if (r->model.kind == MD_RISK_FOREST) {
            MD_AUTO(md_freep) double *residuals = md_calloc(p->n, sizeof *residuals);
            if (residuals == NULL) {
                return md_fail(p->err, MD_NOMEM, "no memory for residuals");
            }
            for (size_t i = 0; i < p->n; i++) {
                residuals[i] = p->y[i] - s[i];
            }
            qsort(residuals, p->n, sizeof *residuals, compare);
            double tail = (1.0 - card->confidence) / 2.0;
            card->residual_low = md_quantile(residuals, p->n, tail);
            card->residual_high = md_quantile(residuals, p->n, 1.0 - tail);
        }
    }
    return MD_OK;
}

/* Choose and fit on the part. ret_linear may be NULL. */
static md_status make_model(const part *p, md_risk_point *points, unsigned n_points,
                            unsigned *ret_best, md_risk_model **ret_model,
                            md_linear *ret_linear)
{
    MD_AUTO(md_freep) double *s = md_calloc(p->n, sizeof *s);
    MD_AUTO(md_freep) md_risk_card *card = md_malloc(sizeof *card);
    MD_AUTO(md_freep) char *text = NULL;
    size_t n_text = 0;
    fitted f = {0};
    if (s == NULL || card == NULL) {
        return md_fail(p->err, MD_NOMEM, "no memory for a model");
    }
    describe(p, card);
    MD_TRY(choose(p, points, n_points, ret_best, s));
    MD_TRY(set_link(p, s, card));
    md_status status = fit_point(p, &points[*ret_best], &f);
    bool is_linear = card->kind == MD_RISK_LINEAR;
    if (status == MD_OK && card->kind == MD_RISK_SVM) {
        card->link = MD_RISK_LOGISTIC;
        card->a = f.svm.a;
        card->b = f.svm.b;
    }
    if (status == MD_OK) {
        for (unsigned j = 0; is_linear && j < card->n_features; j++) {
            /* one and the same number, so that a missing value adds nothing at all */
            card->features[j].reference = card->features[j].fill = f.linear.means[j];
        }
        const md_risk_draft draft = {.card = card,
                                     .linear = is_linear ? &f.linear : NULL,
                                     .svm = card->kind == MD_RISK_SVM ? &f.svm : NULL,
                                     .forest = card->kind == MD_RISK_FOREST ? &f.forest : NULL};
        status = md_risk_write(&draft, &text, &n_text, p->err);
    }
    if (status == MD_OK) {
        status = md_risk_parse(text, n_text, MD_RISK_FILE, ret_model, p->err);
    }
    if (status == MD_OK && ret_linear != NULL) {
        *ret_linear = f.linear;
        f.linear = (md_linear){0};
    }
    forget(&f);
    return status;
}

static md_status ask(const part *all, const md_risk_model *model, size_t row, md_risk_fit *fit)
{
    md_risk_answer answer = {0};
    const double *x = all->table->x + row * all->table->n_columns;
    MD_TRY(md_risk_run(model, x, &answer, NULL, all->err));
    fit->said[row] = answer.value;
    fit->low[row] = answer.has_interval ? answer.low : (double)NAN;
    fit->high[row] = answer.has_interval ? answer.high : (double)NAN;
    return MD_OK;
}

/* Each row by a model whose rows and whose choices were those of the other folds. */
static md_status measure(const part *all, FILE *progress, md_risk_fit *fit)
{
    const md_risk_recipe *r = all->recipe;
    MD_AUTO(md_freep) uint8_t *folds = md_calloc(all->n, sizeof *folds);
    if (folds == NULL) {
        return md_fail(all->err, MD_NOMEM, "no memory for folds");
    }
    md_status status = md_folds_deal(is_binary(r) ? all->kinds : NULL, all->groups, all->n,
                                     r->model.folds, r->seed, folds, all->err);
    if (status != MD_OK) {
        return md_error_prefix(all->err, status, "%s", all->table->name);
    }
    for (unsigned fold = 0; fold < r->model.folds && status == MD_OK; fold++) {
        part others = {0};
        md_risk_model *model = NULL;
        md_risk_point points[MD_RISK_RECIPE_MAX_POINTS];
        unsigned n_points = make_grid(r, points), best = 0;
        status = make_part(all, folds, fold, false, &others);
        if (status == MD_OK) {
            status = make_model(&others, points, n_points, &best, &model, NULL);
        }
        for (size_t i = 0; i < all->n && status == MD_OK; i++) {
            status = folds[i] == fold ? ask(all, model, i, fit) : MD_OK;
        }
        md_risk_destroy(model);
        release(&others);
        if (progress != NULL && status == MD_OK) {
            fprintf(progress, "fold %u of %u measured\n", fold + 1, r->model.folds);
            (void)fflush(progress);
        }
    }
    return status;
}

static md_status sum_parts(const part *all, md_risk_fit *fit)
{
    md_risk_part parts[MD_RISK_MAX_FEATURES];
    for (size_t i = 0; i < all->n; i++) {
        md_risk_answer answer = {0};
        MD_TRY(md_risk_run(fit->model, all->table->x + i * all->table->n_columns, &answer,
                           parts, all->err));
        for (unsigned j = 0; j < all->table->n_columns; j++) {
            fit->parts[j] += fabs(parts[j].part) / (double)all->n;
        }
    }
    return MD_OK;
}

static md_status run(const part *all, FILE *progress, md_risk_fit *fit)
{
    MD_TRY(measure(all, progress, fit));
    fit->n_points = make_grid(all->recipe, fit->points);
    MD_TRY(make_model(all, fit->points, fit->n_points, &fit->best, &fit->model, &fit->linear));
    return sum_parts(all, fit);
}

md_status md_risk_fit_table(const md_risk_recipe *recipe, const md_risk_table *table,
                            FILE *progress, md_risk_fit *ret_fit, md_error *err)
{
    part start = {.recipe = recipe, .table = table, .n = table->n_rows, .err = err}, all = {0};
    md_risk_fit fit = {0};
    start.rows = md_calloc(table->n_rows, sizeof *start.rows);
    fit.said = md_calloc(table->n_rows, sizeof *fit.said);
    fit.low = md_calloc(table->n_rows, sizeof *fit.low);
    fit.high = md_calloc(table->n_rows, sizeof *fit.high);
    fit.parts = md_calloc(table->n_columns, sizeof *fit.parts);
    md_status status = MD_OK;
    if (start.rows == NULL || fit.said == NULL || fit.low == NULL || fit.high == NULL ||
        fit.parts == NULL) {
        status = md_fail(err, MD_NOMEM, "no memory for %zu rows", table->n_rows);
    }
    for (size_t i = 0; i < table->n_rows && status == MD_OK; i++) {
        start.rows[i] = i;
    }
    if (status == MD_OK) {
        status = make_part(&start, NULL, 0, true, &all);
    }
    if (status == MD_OK) {
        status = run(&all, progress, &fit);
    }
    release(&start);
    release(&all);
    if (status != MD_OK) {
        md_risk_fit_finish(&fit);
        return status;
    }
    *ret_fit = fit;
    return MD_OK;
}
