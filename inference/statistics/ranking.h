#ifndef MEDAID_INFERENCE_STATISTICS_RANKING_H
#define MEDAID_INFERENCE_STATISTICS_RANKING_H

/* How well scores tell two kinds of rows apart: counts at a threshold, the ROC and the
 * precision-recall curve, thresholds by rule. A row is called positive when its score is at
 * least the threshold. What is not defined (a class that is missing, an empty denominator) is
 * NaN, never a number that looks fine.
 *
 * `counts` says how often each row stands in the sample (bootstrap.h), by the caller's row
 * numbers; NULL: once each.
 *
 * A ranking does not change after init: any number of threads may ask it. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of one question, more than any hospital has films. */
#define MD_STATISTICS_MAX_ROWS ((size_t)1 << 26)

typedef struct md_ranking {
    size_t n, n_positive, n_negative;
    double *scores;  /* owned; falling */
    uint32_t *rows;  /* owned; the caller's row number of each */
    uint8_t *truths; /* owned; 1: positive */
} md_ranking;

/* MD_INVALID_ARG when n is 0, a score is NaN or a truth is neither 0 nor 1 (the message names
 * the row), MD_LIMIT, MD_NOMEM. Equal scores keep the order of the rows. */
md_status md_ranking_init(const double *scores, const int8_t *truths, size_t n,
                          md_ranking *ret_ranking, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine, twice is fine. */
void md_ranking_finish(md_ranking *ranking) MD_NOEXCEPT;

typedef struct md_tally {
    uint64_t true_positive, false_positive, true_negative, false_negative;
} md_tally;

md_tally md_ranking_tally(const md_ranking *ranking, double threshold, const uint32_t *counts)
    MD_NOEXCEPT;

/* NaN when the denominator is 0. */
double md_tally_accuracy(const md_tally *tally) MD_NOEXCEPT;
double md_tally_sensitivity(const md_tally *tally) MD_NOEXCEPT; /* recall */
double md_tally_specificity(const md_tally *tally) MD_NOEXCEPT;
double md_tally_precision(const md_tally *tally) MD_NOEXCEPT; /* positive predictive value */
double md_tally_negative_predictive_value(const md_tally *tally) MD_NOEXCEPT;
double md_tally_f1(const md_tally *tally) MD_NOEXCEPT; /* 2 tp / (2 tp + fp + fn) */

/* The area under the ROC curve: the chance that a positive scores higher than a negative, ties
 * counting half (Mann and Whitney). NaN without both kinds. */
double md_ranking_auc(const md_ranking *ranking, const uint32_t *counts) MD_NOEXCEPT;
/* Average precision: the sum over falling thresholds of (recall - recall before) * precision,
 * rows of equal score entering together; as scikit-learn's average_precision_score. NaN without
 * a positive. */
double md_ranking_average_precision(const md_ranking *ranking, const uint32_t *counts)
    MD_NOEXCEPT;

/* A point for each different score, from the highest on, and before them the one where nothing
 * is positive (threshold infinity). */
typedef struct md_curve_point {
    double threshold;
    uint64_t true_positive, false_positive;
} md_curve_point;
/* MD_NOMEM. Caller frees. Sensitivity is true_positive / n_positive, 1 - specificity
 * false_positive / n_negative. */
md_status md_ranking_curve(const md_ranking *ranking, md_curve_point **ret_points,
                           size_t *ret_n, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* A threshold by rule. It lies halfway between two scores of the sample, so that a rounding of
 * the network's sums does not move a row over it. `there` false: no threshold does it (one kind
 * is missing, only calling nothing positive would, or none is better than a blind guess). */
typedef struct md_threshold {
    bool there;
    double threshold;
    md_tally tally;
} md_threshold;

/* The largest sensitivity + specificity - 1 (W. J. Youden, Cancer 3 (1950) 32); of several the
 * highest threshold. */
md_threshold md_threshold_youden(const md_ranking *ranking) MD_NOEXCEPT;
/* The highest threshold with at least that sensitivity. */
md_threshold md_threshold_for_sensitivity(const md_ranking *ranking, double least) MD_NOEXCEPT;
/* The lowest threshold with at least that specificity and one true positive. */
md_threshold md_threshold_for_specificity(const md_ranking *ranking, double least) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
