/* Measures of classifiers against published examples and values worked out by hand. */

#include "inference/statistics/bootstrap.h"
#include "inference/statistics/delong.h"
#include "inference/statistics/proportion.h"
#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_about(a, b) assert_true(fabs((a) - (b)) < 5e-5)
#define assert_exact(a, b) assert_true(fabs((a) - (b)) <= 1e-12 * fmax(1, fabs((double)(b))))

static void test_proportions(void **state)
{
    (void)state;
    /* E. B. Wilson 1927; 81 of 263 is the example of R. G. Newcombe, Stat. Med. 17 (1998) 857
     */
    md_proportion p = md_proportion_of(81, 263);
    assert_about(p.value, 0.30798);
    assert_about(p.low, 0.25529);
    assert_about(p.high, 0.36621);
    p = md_proportion_of(0, 20);
    assert_true(p.low == 0);
    assert_about(p.high, 0.16113);
    p = md_proportion_of(29, 29);
    assert_true(p.high == 1 && p.value == 1);
    assert_about(p.low, 0.88303);
    assert_int_equal(md_proportion_of(0, 0).n, 0);
}

static void test_normal(void **state)
{
    (void)state;
    assert_exact(md_normal_quantile(0.975), 1.959963984540054);
    assert_exact(md_normal_quantile(0.025), -1.959963984540054);
    assert_true(md_normal_quantile(0.5) == 0 || fabs(md_normal_quantile(0.5)) < 1e-15);
    assert_true(isinf(md_normal_quantile(0)) && md_normal_quantile(0) < 0);
    assert_true(isinf(md_normal_quantile(1)) && md_normal_quantile(1) > 0);
    assert_true(isinf(md_normal_quantile(NAN)));
    for (double z = -8; z < 5; z += 0.37) {
        assert_true(fabs(md_normal_quantile(md_normal_below(z)) - z) < 1e-9);
    }
}

static md_ranking ranking_of(const double *scores, const int8_t *truths, size_t n)
{
    md_ranking r = {0};
    assert_int_equal(md_ranking_init(scores, truths, n, &r, NULL), MD_OK);
    return r;
}

/* The example of scikit-learn's documentation: AUC 0.75, average precision 0.83. */
static void test_small_curve(void **state)
{
    (void)state;
    const double scores[] = {0.1, 0.4, 0.35, 0.8};
    const int8_t truths[] = {0, 0, 1, 1};
    md_ranking r = ranking_of(scores, truths, 4);
    assert_exact(md_ranking_auc(&r, NULL), 0.75);
    assert_exact(md_ranking_average_precision(&r, NULL), 0.5 * 1 + 0.5 * 2 / 3);
    md_curve_point *points = NULL;
    size_t n = 0;
    assert_int_equal(md_ranking_curve(&r, &points, &n, NULL), MD_OK);
    assert_int_equal(n, 5);
    assert_true(isinf(points[0].threshold) && points[0].true_positive == 0);
    assert_true(points[1].threshold == 0.8 && points[1].true_positive == 1);
    assert_true(points[2].threshold == 0.4 && points[2].false_positive == 1);
    assert_true(points[4].true_positive == 2 && points[4].false_positive == 2);
    md_free(points);
    /* a row that counts twice is the same as two rows */
    const uint32_t counts[] = {1, 0, 2, 1};
    assert_exact(md_ranking_auc(&r, counts), 1.0);
    md_tally t = md_ranking_tally(&r, 0.36, counts);
    assert_true(t.true_positive == 1 && t.false_negative == 2 && t.true_negative == 1 &&
                t.false_positive == 0);
    md_ranking_finish(&r);
    md_ranking_finish(&r);
}

static void test_tally(void **state)
{
    (void)state;
    const md_tally t = {
        .true_positive = 8, .false_positive = 2, .true_negative = 85, .false_negative = 5};
    assert_exact(md_tally_accuracy(&t), 0.93);
    assert_exact(md_tally_sensitivity(&t), 8.0 / 13);
    assert_exact(md_tally_specificity(&t), 85.0 / 87);
    assert_exact(md_tally_precision(&t), 0.8);
    assert_exact(md_tally_negative_predictive_value(&t), 85.0 / 90);
    assert_exact(md_tally_f1(&t), 16.0 / 23);
    const md_tally none = {.true_negative = 3};
    assert_true(isnan(md_tally_sensitivity(&none)) && isnan(md_tally_precision(&none)) &&
                isnan(md_tally_f1(&none)));
    assert_exact(md_tally_specificity(&none), 1);
    const md_tally nothing = {0};
    assert_true(isnan(md_tally_accuracy(&nothing)));
}

static void test_ties(void **state)
{
    (void)state;
    const double same[] = {0.5, 0.5, 0.5, 0.5, 0.5};
    const int8_t truths[] = {0, 1, 0, 1, 1};
    md_ranking r = ranking_of(same, truths, 5);
    assert_exact(md_ranking_auc(&r, NULL), 0.5);
    assert_exact(md_ranking_average_precision(&r, NULL), 0.6);
    assert_false(md_threshold_youden(&r).there);
    assert_false(md_threshold_for_specificity(&r, 0.9).there);
    const md_threshold all = md_threshold_for_sensitivity(&r, 0.9);
    assert_true(all.there && all.threshold == 0.5 && all.tally.false_positive == 2);
    md_ranking_finish(&r);
    md_auc auc;
    assert_int_equal(md_auc_delong(same, truths, NULL, 5, &auc, NULL), MD_OK);
    assert_true(auc.there && auc.value == 0.5 && auc.variance == 0 && !auc.has_interval);
}

static void test_one_kind(void **state)
{
    (void)state;
    const double scores[] = {0.1, 0.9};
    const int8_t negative[] = {0, 0};
    md_ranking r = ranking_of(scores, negative, 2);
    assert_true(isnan(md_ranking_auc(&r, NULL)));
    assert_true(isnan(md_ranking_average_precision(&r, NULL)));
    assert_false(md_threshold_youden(&r).there);
    assert_false(md_threshold_for_sensitivity(&r, 0.5).there);
    md_ranking_finish(&r);
    md_auc auc;
    assert_int_equal(md_auc_delong(scores, negative, NULL, 2, &auc, NULL), MD_OK);
    assert_true(!auc.there && !auc.has_interval && isnan(auc.value));
    md_auc_difference d;
    assert_int_equal(md_auc_compare(scores, scores, negative, NULL, 2, &d, NULL), MD_OK);
    assert_true(!d.there && !d.has_interval && isnan(d.difference));
    /* one row */
    const int8_t positive[] = {1};
    r = ranking_of(scores, positive, 1);
    assert_true(isnan(md_ranking_auc(&r, NULL)));
    assert_exact(md_ranking_average_precision(&r, NULL), 1);
    md_ranking_finish(&r);
    md_platt_fit fit;
    md_error err = {0};
    assert_int_equal(md_fit_platt(scores, negative, 2, &fit, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "0 rows with and 2 without"));
}

static void test_refused(void **state)
{
    (void)state;
    const double bad[] = {0.1, NAN};
    const double wide[] = {0.1, 1.5};
    const double infinite[] = {0.1, INFINITY};
    const int8_t truths[] = {0, 1}, odd[] = {0, 2};
    md_ranking r = {0};
    md_error err = {0};
    assert_int_equal(md_ranking_init(bad, truths, 2, &r, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "row 1: the score is not a number");
    assert_int_equal(md_ranking_init(wide, odd, 2, &r, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "row 1: the truth is 2, not 0 or 1");
    assert_int_equal(md_ranking_init(bad, truths, 0, &r, NULL), MD_INVALID_ARG);
    assert_int_equal(md_ranking_init(bad, truths, MD_STATISTICS_MAX_ROWS + 1, &r, NULL),
                     MD_LIMIT);
    md_auc auc;
    assert_int_equal(md_auc_delong(bad, truths, NULL, 2, &auc, NULL), MD_INVALID_ARG);
    assert_int_equal(md_auc_delong(bad, truths, NULL, 0, &auc, NULL), MD_INVALID_ARG);
    assert_int_equal(md_reliability_check(bad, truths, 2, NULL), MD_INVALID_ARG);
    assert_int_equal(md_reliability_check(wide, truths, 2, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "row 1: score 1.5 is not in 0..1");
    assert_int_equal(md_reliability_check(wide, odd, 1, NULL), MD_OK);
    md_temperature t;
    md_platt_fit fit;
    assert_int_equal(md_fit_temperature_binary(infinite, truths, 2, &t, NULL), MD_INVALID_ARG);
    assert_int_equal(md_fit_platt(infinite, truths, 2, &fit, NULL), MD_INVALID_ARG);
    assert_int_equal(md_fit_platt(wide, odd, 2, &fit, NULL), MD_INVALID_ARG);
    const float logits[] = {0, 1, 2, NAN};
    const uint32_t labels[] = {0, 1}, beyond[] = {0, 2};
    assert_int_equal(md_fit_temperature(logits, labels, 2, 2, &t, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "row 1: output 1 is not a finite number");
    assert_int_equal(md_fit_temperature(logits, beyond, 2, 2, &t, NULL), MD_INVALID_ARG);
    assert_int_equal(md_fit_temperature(logits, labels, 2, 1, &t, NULL), MD_INVALID_ARG);
}

/* DeLong, DeLong, Clarke-Pearson 1988, the ovarian cancer data: albumin, total protein, K-G
 * score, and whether the patient could be operated on. */
static const double DELONG[][4] = {
    {3.0, 5.8, 10, 0}, {3.2, 6.3, 5, 1}, {3.9, 6.8, 3, 1}, {2.8, 4.8, 6, 0}, {3.2, 5.8, 3, 1},
    {0.9, 4.0, 5, 0},  {2.5, 5.7, 8, 0}, {1.6, 5.6, 5, 1}, {3.8, 5.7, 5, 1}, {3.7, 6.7, 6, 1},
    {3.2, 5.4, 4, 1},  {3.8, 6.6, 6, 1}, {4.1, 6.6, 5, 1}, {3.6, 5.7, 5, 1}, {4.3, 7.0, 4, 1},
    {3.6, 6.7, 4, 0},  {2.3, 4.4, 6, 1}, {4.2, 7.6, 4, 0}, {4.0, 6.6, 6, 0}, {3.5, 5.8, 6, 1},
    {3.8, 6.8, 7, 1},  {3.0, 4.7, 8, 0}, {4.5, 7.4, 5, 1}, {3.7, 7.4, 5, 1}, {3.1, 6.6, 6, 1},
    {4.1, 8.2, 6, 1},  {4.3, 7.0, 5, 1}, {4.3, 6.5, 4, 1}, {3.2, 5.1, 5, 1}, {2.6, 4.7, 6, 1},
    {3.3, 6.8, 6, 0},  {1.7, 4.0, 7, 0}, {3.7, 6.1, 5, 1}, {3.3, 6.3, 7, 1}, {4.2, 7.7, 6, 1},
    {3.5, 6.2, 5, 1},  {2.9, 5.7, 9, 0}, {2.1, 4.8, 7, 1}, {2.8, 6.2, 8, 0}, {4.0, 7.0, 7, 1},
    {3.3, 5.7, 6, 1},  {3.7, 6.9, 5, 1}, {3.6, 6.6, 5, 1},
};
enum {
    N_DELONG = sizeof DELONG / sizeof DELONG[0]
};

static void test_delong(void **state)
{
    (void)state;
    double albumin[N_DELONG], protein[N_DELONG], score[N_DELONG];
    int8_t operable[N_DELONG];
    for (size_t i = 0; i < N_DELONG; i++) {
        albumin[i] = DELONG[i][0];
        protein[i] = DELONG[i][1];
        score[i] = 10 - DELONG[i][2];
        operable[i] = (int8_t)DELONG[i][3];
    }
    md_auc_difference d;
    assert_int_equal(md_auc_compare(albumin, score, operable, NULL, N_DELONG, &d, NULL), MD_OK);
    assert_about(d.first.value, 0.7366);
    assert_about(sqrt(d.first.variance), 0.0927);
    assert_about(d.first.plain_low, 0.5549);
    assert_about(d.first.plain_high, 0.9182);
    assert_true(d.first.low > 0.5 && d.first.low < 0.7366 && d.first.high < 0.9182);
    assert_about(d.second.value, 0.7258);
    assert_about(sqrt(d.second.variance), 0.1028);
    assert_about(d.difference, 0.0108);
    assert_about(sqrt(d.variance), 0.0953);
    assert_about(d.low, -0.1761);
    assert_about(d.high, 0.1976);
    assert_true(d.has_interval && d.p > 0.90 && d.p < 0.92);
    assert_int_equal(md_auc_compare(protein, score, operable, NULL, N_DELONG, &d, NULL), MD_OK);
    assert_about(d.first.value, 0.6478);
    assert_about(sqrt(d.first.variance), 0.1000);
    assert_about(d.difference, -0.0780);
    assert_about(sqrt(d.variance), 0.1046);
    /* the same score twice differs by nothing, and nothing is said of it */
    assert_int_equal(md_auc_compare(score, score, operable, NULL, N_DELONG, &d, NULL), MD_OK);
    assert_true(d.there && d.difference == 0 && !d.has_interval);
}

/* A patient whose rows stand twice brings no new knowledge: the clustered variance is that of
 * the rows standing once, but for nothing (Obuchowski's factors count patients). */
static void test_clusters(void **state)
{
    (void)state;
    double once[N_DELONG], twice[2 * N_DELONG];
    int8_t truths[N_DELONG], truths_twice[2 * N_DELONG];
    uint32_t patients[2 * N_DELONG];
    for (size_t i = 0; i < N_DELONG; i++) {
        once[i] = twice[2 * i] = twice[2 * i + 1] = DELONG[i][0];
        truths[i] = truths_twice[2 * i] = truths_twice[2 * i + 1] = (int8_t)DELONG[i][3];
        patients[2 * i] = patients[2 * i + 1] = (uint32_t)(1000000 - 7 * i);
    }
    md_auc a, b, naive;
    assert_int_equal(md_auc_delong(once, truths, NULL, N_DELONG, &a, NULL), MD_OK);
    assert_int_equal(md_auc_delong(twice, truths_twice, patients, 2 * N_DELONG, &b, NULL),
                     MD_OK);
    assert_int_equal(md_auc_delong(twice, truths_twice, NULL, 2 * N_DELONG, &naive, NULL),
                     MD_OK);
    assert_exact(a.value, b.value);
    assert_exact(a.variance, b.variance);
    assert_true(naive.variance < 0.6 * a.variance);
    /* no error at all has no standard error */
    const double apart[] = {0.1, 0.2, 0.8, 0.9};
    const int8_t kinds[] = {0, 0, 1, 1};
    assert_int_equal(md_auc_delong(apart, kinds, NULL, 4, &a, NULL), MD_OK);
    assert_true(a.there && a.value == 1 && !a.has_interval);
}

static void test_thresholds(void **state)
{
    (void)state;
    const double scores[] = {0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2};
    const int8_t truths[] = {1, 1, 0, 1, 0, 1, 0, 0};
    md_ranking r = ranking_of(scores, truths, 8);
    md_threshold t = md_threshold_youden(&r); /* 2/4 - 0, 3/4 - 1/4: the higher threshold */
    assert_true(t.there && t.tally.true_positive == 2 && t.tally.false_positive == 0);
    assert_exact(t.threshold, 0.75);
    t = md_threshold_for_sensitivity(&r, 0.75);
    assert_true(t.tally.true_positive == 3 && t.tally.false_positive == 1);
    assert_exact(t.threshold, 0.55);
    t = md_threshold_for_sensitivity(&r, 1);
    assert_exact(t.threshold, 0.35);
    t = md_threshold_for_specificity(&r, 0.75);
    assert_true(t.tally.true_positive == 3 && t.tally.false_positive == 1);
    t = md_threshold_for_specificity(&r, 1);
    assert_exact(t.threshold, 0.75);
    md_ranking_finish(&r);
    /* the highest score is wrong: full specificity only without any positive */
    const int8_t wrong[] = {0, 1, 1, 1, 0, 1, 0, 0};
    r = ranking_of(scores, wrong, 8);
    assert_false(md_threshold_for_specificity(&r, 1).there);
    md_ranking_finish(&r);
    /* neighbouring numbers have no middle */
    const double close[] = {0.5, nextafter(0.5, 0)};
    const int8_t kinds[] = {1, 0};
    r = ranking_of(close, kinds, 2);
    t = md_threshold_youden(&r);
    assert_true(t.there && t.threshold == 0.5 && t.tally.false_positive == 0);
    md_ranking_finish(&r);
}

static void test_reliability(void **state)
{
    (void)state;
    const double scores[] = {0.05, 0.05, 0.95, 0.95, 1.0, 0.5};
    const int8_t truths[] = {0, 1, 1, 1, 1, 0};
    md_reliability_bin bins[10];
    md_reliability_table(scores, truths, NULL, 6, bins, 10);
    assert_true(bins[0].n == 2 && bins[0].n_positive == 1 && bins[5].n == 1);
    assert_true(bins[9].n == 3 && bins[9].n_positive == 3);
    assert_exact(bins[9].mean_score, 2.9 / 3);
    assert_exact(md_calibration_error(bins, 10), (0.9 + 0.1 + 0.5) / 6);
    assert_exact(md_brier_score(scores, truths, NULL, 6),
                 (0.0025 + 0.9025 + 0.0025 + 0.0025 + 0 + 0.25) / 6);
    assert_exact(md_log_loss(scores, truths, NULL, 1), -log(0.95));
    const double sure[] = {0};
    const int8_t yes[] = {1};
    assert_exact(md_log_loss(sure, yes, NULL, 1), -log(1e-15));
    assert_true(isnan(md_brier_score(scores, truths, NULL, 0)));
    const uint32_t none[] = {0, 0, 0, 0, 0, 0};
    md_reliability_table(scores, truths, none, 6, bins, 10);
    assert_true(isnan(md_calibration_error(bins, 10)));
    assert_true(isnan(md_log_loss(scores, truths, none, 6)));
}

static void test_fits(void **state)
{
    (void)state;
    /* three of four right at log-odds +-c: the temperature makes them log 3 */
    const double odds[] = {2, 2, 2, 2, -2, -2, -2, -2};
    const int8_t truths[] = {1, 1, 1, 0, 0, 0, 0, 1};
    md_temperature t;
    assert_int_equal(md_fit_temperature_binary(odds, truths, 8, &t, NULL), MD_OK);
    assert_false(t.at_limit);
    assert_exact(t.temperature, 2 / log(3));
    float logits[16];
    uint32_t labels[8];
    for (size_t i = 0; i < 8; i++) {
        logits[2 * i] = 5; /* a shift of all outputs means nothing */
        logits[2 * i + 1] = 5 + (float)odds[i];
        labels[i] = (uint32_t)truths[i];
    }
    assert_int_equal(md_fit_temperature(logits, labels, 8, 2, &t, NULL), MD_OK);
    assert_exact(t.temperature, 2 / log(3));
    /* without an error, and upside down */
    const int8_t right[] = {1, 1, 1, 1, 0, 0, 0, 0}, wrong[] = {0, 0, 0, 0, 1, 1, 1, 1};
    assert_int_equal(md_fit_temperature_binary(odds, right, 8, &t, NULL), MD_OK);
    assert_true(t.at_limit && t.temperature == 0.01);
    assert_int_equal(md_fit_temperature_binary(odds, wrong, 8, &t, NULL), MD_OK);
    assert_true(t.at_limit && t.temperature == 100);
    /* Platt's targets here are 5/6 and 1/6 */
    md_platt_fit fit;
    assert_int_equal(md_fit_platt(odds, right, 8, &fit, NULL), MD_OK);
    assert_true(fabs(fit.a - log(5) / 2) < 1e-6 && fabs(fit.b) < 1e-6);
    assert_int_equal(md_fit_platt(odds, wrong, 8, &fit, NULL), MD_OK);
    assert_true(fabs(fit.a + log(5) / 2) < 1e-6);
    /* one score for all: only the offset tells */
    const double flat[] = {0, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(md_fit_platt(flat, right, 8, &fit, NULL), MD_OK);
    assert_true(isfinite(fit.a) && fabs(fit.b) < 1e-6);
}

typedef struct mean_rows {
    const double *values;
    size_t n;
} mean_rows;

static void mean_statistic(const void *context, const uint32_t *counts, double *ret_values)
{
    const mean_rows *rows = context;
    double sum = 0, n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        sum += counts[i] * rows->values[i];
        n += counts[i];
    }
    ret_values[0] = sum / n;
    ret_values[1] = counts[0] > 0 ? (double)NAN : 1; /* not defined in two of three samples */
}

static void test_bootstrap(void **state)
{
    (void)state;
    enum {
        N = 400
    };
    double values[N];
    uint32_t pairs[N], one[N];
    for (uint32_t i = 0; i < N; i++) {
        values[i] = (double)(i / 2 * 7919 % 200) / 200; /* both of a pair are equal */
        pairs[i] = i / 2;
        one[i] = 3;
    }
    const mean_rows rows = {values, N};
    md_bootstrap_options options = {.n_replicates = 4000, .seed = 5, .n_threads = 1};
    md_interval a[2], b[2];
    assert_int_equal(md_bootstrap(N, pairs, &options, mean_statistic, &rows, 2, a, NULL),
                     MD_OK);
    /* the standard error of 200 independent values of variance 1/12 */
    const double half = 1.96 * sqrt(1.0 / 12 / 200);
    assert_true(a[0].has_interval && fabs(a[0].value - 0.4975) < 1e-9);
    assert_true(fabs(a[0].low - (0.4975 - half)) < 0.1 * half);
    assert_true(fabs(a[0].high - (0.4975 + half)) < 0.1 * half);
    assert_true(!a[1].has_interval && isnan(a[1].value) && a[1].n_undefined > 2000);
    for (unsigned n = 2; n < 8; n += 3) {
        options.n_threads = n;
        assert_int_equal(md_bootstrap(N, pairs, &options, mean_statistic, &rows, 2, b, NULL),
                         MD_OK);
        assert_true(a[0].low == b[0].low && a[0].high == b[0].high);
        assert_int_equal(a[1].n_undefined, b[1].n_undefined);
    }
    /* rows taken for independent promise too much */
    assert_int_equal(md_bootstrap(N, NULL, &options, mean_statistic, &rows, 2, b, NULL), MD_OK);
    assert_true(b[0].high - b[0].low < 0.8 * (a[0].high - a[0].low));
    /* another seed, another method */
    options.seed = 6;
    options.method = MD_BOOTSTRAP_PERCENTILE;
    assert_int_equal(md_bootstrap(N, pairs, &options, mean_statistic, &rows, 2, b, NULL),
                     MD_OK);
    assert_true(b[0].low != a[0].low && fabs(b[0].low - a[0].low) < 0.1 * half);
    /* one patient has no spread */
    assert_int_equal(md_bootstrap(N, one, &options, mean_statistic, &rows, 2, b, NULL), MD_OK);
    assert_false(b[0].has_interval);
    const md_bootstrap_options bad[] = {{0},
                                        {.n_replicates = MD_BOOTSTRAP_MAX_REPLICATES + 1},
                                        {.n_replicates = 9, .level = 1},
                                        {.n_replicates = 9, .level = NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(md_bootstrap(N, NULL, &bad[i], mean_statistic, &rows, 2, b, NULL),
                         MD_INVALID_ARG);
    }
    assert_int_equal(md_bootstrap(0, NULL, &options, mean_statistic, &rows, 2, b, NULL),
                     MD_INVALID_ARG);
}

static void test_quantile(void **state)
{
    (void)state;
    const double sorted[] = {1, 2, 4, 8};
    assert_exact(md_quantile(sorted, 4, 0), 1);
    assert_exact(md_quantile(sorted, 4, 0.5), 3);
    assert_exact(md_quantile(sorted, 4, 0.9), 6.8);
    assert_exact(md_quantile(sorted, 4, 1), 8);
    assert_exact(md_quantile(sorted, 1, 0.3), 1);
}

/* Every allocation fails once. */
static void test_no_memory(void **state)
{
    (void)state;
    const double scores[] = {0.1, 0.4, 0.35, 0.8};
    const int8_t truths[] = {0, 0, 1, 1};
    const mean_rows rows = {scores, 4};
    const md_bootstrap_options options = {.n_replicates = 10, .n_threads = 2};
    unsigned n_failed = 0;
    for (size_t nth = 1;; nth++) {
        md_memory_fail_at(nth);
        md_ranking r = {0};
        md_auc_difference d;
        md_interval intervals[2];
        md_status status = md_ranking_init(scores, truths, 4, &r, NULL);
        if (status == MD_OK) {
            md_curve_point *points = NULL;
            size_t n = 0;
            status = md_ranking_curve(&r, &points, &n, NULL);
            md_free(points);
            md_ranking_finish(&r);
        }
        if (status == MD_OK) {
            status = md_auc_compare(scores, scores, truths, NULL, 4, &d, NULL);
        }
        if (status == MD_OK) {
            status = md_bootstrap(4, NULL, &options, mean_statistic, &rows, 2, intervals, NULL);
        }
        md_memory_fail_at(0);
        if (status == MD_OK) {
            break;
        }
        assert_int_equal(status, MD_NOMEM);
        n_failed++;
    }
    assert_true(n_failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proportions), cmocka_unit_test(test_normal),
        cmocka_unit_test(test_small_curve), cmocka_unit_test(test_tally),
        cmocka_unit_test(test_ties),        cmocka_unit_test(test_one_kind),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_delong),
        cmocka_unit_test(test_clusters),    cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_reliability), cmocka_unit_test(test_fits),
        cmocka_unit_test(test_bootstrap),   cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
