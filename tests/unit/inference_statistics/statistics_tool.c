/* statistics-tool THRESHOLD [bca|percentile]: rows "score truth patient second-score" on
 * standard input; every figure as a line "name value" on standard output. For
 * check_statistics.py. */

#include "inference/statistics/bootstrap.h"
#include "inference/statistics/delong.h"
#include "inference/statistics/proportion.h"
#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ROWS = 20000
};
static double scores[MAX_ROWS], seconds[MAX_ROWS], odds[MAX_ROWS];
static int8_t truths[MAX_ROWS];
static uint32_t patients[MAX_ROWS], labels[MAX_ROWS];
static float logits[2 * MAX_ROWS];
static size_t n;

static void say(const char *name, double value)
{
    printf("%s %.17g\n", name, value);
}

static void check(md_status status, const md_error *err)
{
    if (status != MD_OK) {
        printf("error %s\n", err->msg);
        exit(1);
    }
}

static void tell_ranking(const md_ranking *r, double threshold)
{
    const md_tally t = md_ranking_tally(r, threshold, NULL);
    say("accuracy", md_tally_accuracy(&t));
    say("precision", md_tally_precision(&t));
    say("recall", md_tally_sensitivity(&t));
    say("specificity", md_tally_specificity(&t));
    say("f1", md_tally_f1(&t));
    say("auc", md_ranking_auc(r, NULL));
    say("average_precision", md_ranking_average_precision(r, NULL));
    const md_threshold youden = md_threshold_youden(r);
    say("youden", youden.there ? md_tally_sensitivity(&youden.tally) +
                                     md_tally_specificity(&youden.tally) - 1
                               : (double)NAN);
    const md_threshold sensitive = md_threshold_for_sensitivity(r, 0.9);
    say("specificity_at_sensitivity_90", md_tally_specificity(&sensitive.tally));
    const md_threshold specific = md_threshold_for_specificity(r, 0.9);
    say("sensitivity_at_specificity_90",
        specific.there ? md_tally_sensitivity(&specific.tally) : 0);
    md_curve_point *points = NULL;
    size_t n_points = 0;
    md_error err = {0};
    check(md_ranking_curve(r, &points, &n_points, &err), &err);
    for (size_t i = 0; i < n_points; i++) {
        printf("point %.17g %llu %llu\n", points[i].threshold,
               (unsigned long long)points[i].true_positive,
               (unsigned long long)points[i].false_positive);
    }
    md_free(points);
}

static void tell_calibration(void)
{
    md_error err = {0};
    md_reliability_bin bins[MD_RELIABILITY_BINS];
    check(md_reliability_check(scores, truths, n, &err), &err);
    md_reliability_table(scores, truths, NULL, n, bins, MD_RELIABILITY_BINS);
    say("ece", md_calibration_error(bins, MD_RELIABILITY_BINS));
    say("brier", md_brier_score(scores, truths, NULL, n));
    say("log_loss", md_log_loss(scores, truths, NULL, n));
    for (size_t i = 0; i < n; i++) {
        odds[i] = log(scores[i] / (1 - scores[i]));
        logits[2 * i] = 0;
        logits[2 * i + 1] = (float)odds[i];
        labels[i] = (uint32_t)truths[i];
    }
    md_temperature t = {0};
    check(md_fit_temperature_binary(odds, truths, n, &t, &err), &err);
    say("temperature", t.temperature);
    check(md_fit_temperature(logits, labels, n, 2, &t, &err), &err);
    say("temperature_softmax", t.temperature);
    md_platt_fit platt = {0};
    check(md_fit_platt(odds, truths, n, &platt, &err), &err);
    say("platt_a", platt.a);
    say("platt_b", platt.b);
}

static void tell_delong(void)
{
    md_error err = {0};
    md_auc auc = {0};
    check(md_auc_delong(scores, truths, NULL, n, &auc, &err), &err);
    say("delong_variance", auc.variance);
    check(md_auc_delong(scores, truths, patients, n, &auc, &err), &err);
    say("clustered_variance", auc.variance);
    md_auc_difference d = {0};
    check(md_auc_compare(scores, seconds, truths, NULL, n, &d, &err), &err);
    say("difference", d.difference);
    say("difference_variance", d.variance);
    say("difference_p", d.p);
}

/* Value 0: accuracy at 0.5; 1: the mean score. */
static void figures(const void *context, const uint32_t *counts, double *ret_values)
{
    const md_ranking *r = context;
    const md_tally t = md_ranking_tally(r, 0.5, counts);
    ret_values[0] = md_tally_accuracy(&t);
    double sum = 0, weight = 0;
    for (size_t i = 0; i < n; i++) {
        sum += counts[i] * scores[i];
        weight += counts[i];
    }
    ret_values[1] = sum / weight;
}

static void tell_bootstrap(const md_ranking *r, bool bca)
{
    const md_bootstrap_options options = {.n_replicates = 20000,
                                          .seed = 7,
                                          .method =
                                              bca ? MD_BOOTSTRAP_BCA : MD_BOOTSTRAP_PERCENTILE};
    md_interval intervals[2];
    md_error err = {0};
    check(md_bootstrap(n, patients, &options, figures, r, 2, intervals, &err), &err);
    say("bootstrap_accuracy_low", intervals[0].low);
    say("bootstrap_accuracy_high", intervals[0].high);
    say("bootstrap_mean_low", intervals[1].low);
    say("bootstrap_mean_high", intervals[1].high);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: statistics-tool THRESHOLD bca|percentile\n", stderr);
        return 2;
    }
    int truth = 0;
    while (n < MAX_ROWS &&
           scanf("%lf %d %u %lf", &scores[n], &truth, &patients[n], &seconds[n]) == 4) {
        truths[n++] = (int8_t)truth;
    }
    md_error err = {0};
    md_ranking ranking = {0};
    check(md_ranking_init(scores, truths, n, &ranking, &err), &err);
    tell_ranking(&ranking, strtod(argv[1], NULL));
    tell_calibration();
    tell_delong();
    tell_bootstrap(&ranking, strcmp(argv[2], "bca") == 0);
    for (int k = 1; k < 8; k++) {
        printf("normal %d %.17g %.17g\n", k, md_normal_below(k - 4.0),
               md_normal_quantile(k / 1e3));
    }
    const md_proportion p = md_proportion_of(n / 3, n);
    say("wilson_low", p.low);
    say("wilson_high", p.high);
    md_ranking_finish(&ranking);
    return 0;
}
