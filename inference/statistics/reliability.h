#ifndef MEDAID_INFERENCE_STATISTICS_RELIABILITY_H
#define MEDAID_INFERENCE_STATISTICS_RELIABILITY_H

/* Whether a score can be read as a probability, and what makes it one. Scores are in 0..1,
 * truths 0 or 1; `counts` as in ranking.h. Pure; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_RELIABILITY_BINS = 15, /* of the calibration error that manifests state */
    MD_RELIABILITY_MAX_BINS = 100,
    MD_FIT_MAX_CLASSES = 4096
};

/* MD_INVALID_ARG naming the row when a score is NaN or not in 0..1, or a truth neither 0 nor 1;
 * also for no rows. The functions below take what was checked. */
md_status md_reliability_check(const double *scores, const int8_t *truths, size_t n,
                               md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Scores in [low, high), the last bin with its end. */
typedef struct md_reliability_bin {
    double low, high;
    uint64_t n, n_positive;
    double mean_score; /* 0 when n is 0 */
} md_reliability_bin;
/* Bins of equal width over 0..1; n_bins 1..MD_RELIABILITY_MAX_BINS is asserted. */
void md_reliability_table(const double *scores, const int8_t *truths, const uint32_t *counts,
                          size_t n, md_reliability_bin *ret_bins, unsigned n_bins) MD_NOEXCEPT;
/* Expected calibration error: the mean over the rows of |mean score - share of positives| of
 * their bin (M. P. Naeini et al., AAAI 2015; C. Guo et al., ICML 2017, eq. 3). NaN for no rows.
 */
double md_calibration_error(const md_reliability_bin *bins, unsigned n_bins) MD_NOEXCEPT;
/* Mean of (score - truth)^2 (G. W. Brier 1950). NaN for no rows. */
double md_brier_score(const double *scores, const int8_t *truths, const uint32_t *counts,
                      size_t n) MD_NOEXCEPT;
/* Mean of -log of the probability given to what is true, which counts as at least 1e-15. */
double md_log_loss(const double *scores, const int8_t *truths, const uint32_t *counts, size_t n)
    MD_NOEXCEPT;

/* The temperature T that makes the mean log loss of softmax(logits / T) least (Guo 2017, 4.2);
 * the loss is convex in 1/T, found by Newton's method within a bracket. */
typedef struct md_temperature {
    double temperature;
    /* The least loss lies beyond 0.01..100, and `temperature` is that end: the scores separate
     * the classes without an error, or tell nothing. */
    bool at_limit;
} md_temperature;
/* logits [n, n_classes], labels below n_classes (MD_INVALID_ARG, as for NaN and infinity). */
md_status md_fit_temperature(const float *logits, const uint32_t *labels, size_t n,
                             unsigned n_classes, md_temperature *ret_temperature, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The same for sigmoid(log_odds / T). */
md_status md_fit_temperature_binary(const double *log_odds, const int8_t *truths, size_t n,
                                    md_temperature *ret_temperature, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* sigmoid(a * log_odds + b), as inference/calibrate.h and the manifest have it. */
typedef struct md_platt_fit {
    double a, b;
    unsigned n_iterations;
} md_platt_fit;
/* J. Platt 1999 with his softened targets, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), by the Newton
 * method with backtracking of H.-T. Lin, C.-J. Lin, R. C. Weng, Machine Learning 68 (2007) 267,
 * algorithm 1 (whose A and B have the other sign). Both kinds must be there. MD_INVALID_ARG,
 * also for a log-odds that is not finite. */
md_status md_fit_platt(const double *log_odds, const int8_t *truths, size_t n,
                       md_platt_fit *ret_fit, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
