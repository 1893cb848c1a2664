/* The measures of one set of rows, and the fits of a calibration. */

#include "plugins/train/assess_internal.h"

#include "inference/calibrate.h"
#include "inference/statistics/clusters.h"
#include "inference/statistics/proportion.h"

#include <math.h>
#include <string.h>

md_status md_assess_rows_init(md_assess_rows *rows, size_t n, md_error *err)
{
    *rows = (md_assess_rows){.scores = md_calloc(n + 1, sizeof *rows->scores),
                             .log_odds = md_calloc(n + 1, sizeof *rows->log_odds),
                             .truths = md_calloc(n + 1, sizeof *rows->truths),
                             .calls = md_calloc(n + 1, sizeof *rows->calls),
                             .patients = md_calloc(n + 1, sizeof *rows->patients),
                             .rows = md_calloc(n + 1, sizeof *rows->rows)};
    if (rows->scores == NULL || rows->log_odds == NULL || rows->truths == NULL ||
        rows->calls == NULL || rows->patients == NULL || rows->rows == NULL) {
        md_assess_rows_finish(rows);
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    return MD_OK;
}

void md_assess_rows_finish(md_assess_rows *rows)
{
    md_free(rows->scores);
    md_free(rows->log_odds);
    md_free(rows->truths);
    md_free(rows->calls);
    md_free(rows->patients);
    md_free(rows->rows);
    *rows = (md_assess_rows){0};
}

md_bootstrap_options md_assess_bootstrap_options(const md_assess_input *input)
{
    return (md_bootstrap_options){.n_replicates =
                                      input->n_bootstrap > 0 ? input->n_bootstrap : 2000,
                                  .seed = input->seed,
                                  .n_threads = input->n_threads,
                                  .method = MD_BOOTSTRAP_BCA};
}

md_estimate md_assess_estimate(const md_interval *interval)
{
    md_estimate e = {.value = interval->value, .low = (double)NAN, .high = (double)NAN};
    /* replicates that are all equal are no knowledge of how exact the value is */
    if (interval->has_interval && interval->low < interval->high) {
        e.low = interval->low;
        e.high = interval->high;
        e.method = MD_ASSESS_BOOTSTRAP;
    }
    return e;
}

typedef struct measure_context {
    const md_ranking *ranking;
    const md_assess_rows *rows;
} measure_context;

static md_tally tally_rows(const md_assess_rows *rows, const uint32_t *counts)
{
    md_tally t = {0};
    for (size_t i = 0; i < rows->n; i++) {
        const uint64_t n = counts != NULL ? counts[i] : 1;
        if (rows->calls[i]) {
            *(rows->truths[i] ? &t.true_positive : &t.false_positive) += n;
        } else {
            *(rows->truths[i] ? &t.false_negative : &t.true_negative) += n;
        }
    }
    return t;
}

static void measure_sample(const void *context, const uint32_t *counts, double *values)
{
    const measure_context *c = context;
    const md_assess_rows *rows = c->rows;
    const md_tally t = tally_rows(rows, counts);
    md_reliability_bin bins[MD_RELIABILITY_BINS];
    md_reliability_table(rows->scores, rows->truths, counts, rows->n, bins,
                         MD_RELIABILITY_BINS);
    values[MD_MEASURE_SENSITIVITY] = md_tally_sensitivity(&t);
    values[MD_MEASURE_SPECIFICITY] = md_tally_specificity(&t);
    values[MD_MEASURE_PRECISION] = md_tally_precision(&t);
    values[MD_MEASURE_NPV] = md_tally_negative_predictive_value(&t);
    values[MD_MEASURE_ACCURACY] = md_tally_accuracy(&t);
    values[MD_MEASURE_F1] = md_tally_f1(&t);
    values[MD_MEASURE_AUC] = md_ranking_auc(c->ranking, counts);
    values[MD_MEASURE_AVERAGE_PRECISION] = md_ranking_average_precision(c->ranking, counts);
    values[MD_MEASURE_BRIER] = md_brier_score(rows->scores, rows->truths, counts, rows->n);
    values[MD_MEASURE_CALIBRATION_ERROR] = md_calibration_error(bins, MD_RELIABILITY_BINS);
}

/* Whether a row is in the denominator of a share. */
static bool in_denominator(const md_assess_rows *rows, size_t i, md_measure_kind kind)
{
    const bool truth = rows->truths[i] == 1, called = rows->calls[i] == 1;
    switch ((int)kind) {
    case MD_MEASURE_SENSITIVITY:
        return truth;
    case MD_MEASURE_SPECIFICITY:
        return !truth;
    case MD_MEASURE_PRECISION:
        return called;
    case MD_MEASURE_NPV:
        return !called;
    default:
        return true;
    }
}

/* All replicates of a share of 0 or 1 are equal, which looks like certainty. Wilson's interval
 * for as many independent answers as there are patients says what is known. */
static void widen_certain(const md_assess_rows *rows, const md_clusters *patients,
                          md_measure_kind kind, md_estimate *estimate)
{
    if (estimate->value != 0 && estimate->value != 1) {
        return;
    }
    uint64_t n = 0;
    for (size_t k = 0; k < patients->n; k++) {
        bool counts = false;
        for (size_t i = patients->begins[k]; i < patients->begins[k + 1]; i++) {
            counts |= in_denominator(rows, patients->rows[i], kind);
        }
        n += counts;
    }
    const md_proportion p = md_proportion_of(estimate->value == 1 ? n : 0, n);
    if (n > 0) {
        estimate->low = p.low;
        estimate->high = p.high;
        estimate->method = MD_ASSESS_WILSON;
    }
}

static md_status estimate_all(const md_assess_input *input, const md_assess_rows *rows,
                              const md_ranking *ranking, const md_clusters *patients,
                              md_measures *m, md_error *err)
{
    const measure_context context = {ranking, rows};
    const md_bootstrap_options options = md_assess_bootstrap_options(input);
    md_interval intervals[MD_N_MEASURES];
    MD_TRY(md_bootstrap(rows->n, rows->patients, &options, measure_sample, &context,
                        MD_N_MEASURES, intervals, err));
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        m->of[k] = md_assess_estimate(&intervals[k]);
        if (k <= MD_MEASURE_ACCURACY) {
            widen_certain(rows, patients, (md_measure_kind)k, &m->of[k]);
        }
    }
    md_auc auc = {0};
    MD_TRY(md_auc_delong(rows->scores, rows->truths, rows->patients, rows->n, &auc, err));
    m->of[MD_MEASURE_AUC] =
        (md_estimate){.value = auc.there ? auc.value : (double)NAN,
                      .low = auc.has_interval ? auc.low : (double)NAN,
                      .high = auc.has_interval ? auc.high : (double)NAN,
                      .method = auc.has_interval ? MD_ASSESS_DELONG : MD_ASSESS_NO_INTERVAL};
    return MD_OK;
}

md_status md_assess_measure(const md_assess_input *input, const md_assess_rows *rows,
                            bool too_small, md_measures *ret_measures, md_error *err)
{
    md_measures m = {.n = rows->n};
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        m.of[k] = (md_estimate){(double)NAN, (double)NAN, (double)NAN, MD_ASSESS_NO_INTERVAL};
    }
    if (rows->n > 0) {
        MD_AUTO(md_clusters_finish) md_clusters patients = {0};
        MD_AUTO(md_ranking_finish) md_ranking ranking = {0};
        MD_TRY(md_clusters_init(rows->patients, rows->n, &patients, err));
        MD_TRY(md_ranking_init(rows->scores, rows->truths, rows->n, &ranking, err));
        m.n_patients = patients.n;
        m.n_positive = ranking.n_positive;
        m.n_negative = ranking.n_negative;
        m.tally = tally_rows(rows, NULL);
        if (!too_small) {
            MD_TRY(estimate_all(input, rows, &ranking, &patients, &m, err));
        }
    }
    *ret_measures = m;
    return MD_OK;
}

typedef enum fit_kind {
    FIT_TEMPERATURE,
    FIT_PLATT
} fit_kind;

/* Fit on those rows whose half is not `left_out` (2: all). */
static bool fit_rows(const md_assess_rows *rows, const uint8_t *halves, unsigned left_out,
                     fit_kind kind, double *x, int8_t *t, md_assess_fit *fit)
{
    size_t n = 0, n_positive = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (halves[i] != left_out) {
            x[n] = rows->log_odds[i];
            t[n] = rows->truths[i];
            n_positive += rows->truths[i] == 1;
            n++;
        }
    }
    if (n_positive == 0 || n_positive == n) {
        return false;
    }
    if (kind == FIT_PLATT) {
        md_platt_fit platt = {0};
        if (md_fit_platt(x, t, n, &platt, NULL) != MD_OK) {
            return false;
        }
        fit->a = platt.a;
        fit->b = platt.b;
        return true;
    }
    md_temperature temperature = {0};
    if (md_fit_temperature_binary(x, t, n, &temperature, NULL) != MD_OK) {
        return false;
    }
    fit->a = 1 / temperature.temperature;
    fit->b = 0;
    fit->at_limit = temperature.at_limit;
    return true;
}

/* Room for a fit. */
typedef struct fit_space {
    double *x, *scores; /* owned, as all */
    int8_t *t;
    uint8_t *halves;
} fit_space;

static void fit_space_finish(fit_space *space)
{
    md_free(space->x);
    md_free(space->scores);
    md_free(space->t);
    md_free(space->halves);
}

static void fit_one(const md_assess_rows *rows, fit_space *space, fit_kind kind,
                    md_assess_fit *ret_fit)
{
    md_assess_fit fit = {0};
    for (unsigned half = 0; half < 2; half++) {
        if (!fit_rows(rows, space->halves, half, kind, space->x, space->t, &fit)) {
            return;
        }
        for (size_t i = 0; i < rows->n; i++) {
            if (space->halves[i] == half) {
                space->scores[i] = md_sigmoid(fit.a * rows->log_odds[i] + fit.b);
            }
        }
    }
    if (!fit_rows(rows, space->halves, 2, kind, space->x, space->t, &fit)) {
        return;
    }
    md_reliability_bin bins[MD_RELIABILITY_BINS];
    md_reliability_table(space->scores, rows->truths, NULL, rows->n, bins, MD_RELIABILITY_BINS);
    fit.error = md_calibration_error(bins, MD_RELIABILITY_BINS);
    fit.brier = md_brier_score(space->scores, rows->truths, NULL, rows->n);
    fit.there = true;
    *ret_fit = fit;
}

md_status md_assess_fits(const md_assess_rows *rows, md_assess_fit *ret_temperature,
                         md_assess_fit *ret_platt, md_error *err)
{
    *ret_temperature = *ret_platt = (md_assess_fit){0};
    if (rows->n == 0) {
        return MD_OK;
    }
    MD_AUTO(md_clusters_finish) md_clusters patients = {0};
    MD_TRY(md_clusters_init(rows->patients, rows->n, &patients, err));
    MD_AUTO(fit_space_finish)
    fit_space space = {.x = md_calloc(rows->n, sizeof *space.x),
                       .scores = md_calloc(rows->n, sizeof *space.scores),
                       .t = md_calloc(rows->n, sizeof *space.t),
                       .halves = md_calloc(rows->n, sizeof *space.halves)};
    if (space.x == NULL || space.scores == NULL || space.t == NULL || space.halves == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", rows->n);
    }
    for (size_t k = 0; k < patients.n; k++) {
        for (size_t i = patients.begins[k]; i < patients.begins[k + 1]; i++) {
            space.halves[patients.rows[i]] = (uint8_t)(k % 2);
        }
    }
    fit_one(rows, &space, FIT_TEMPERATURE, ret_temperature);
    fit_one(rows, &space, FIT_PLATT, ret_platt);
    return MD_OK;
}
