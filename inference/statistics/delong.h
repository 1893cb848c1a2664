#ifndef MEDAID_INFERENCE_STATISTICS_DELONG_H
#define MEDAID_INFERENCE_STATISTICS_DELONG_H

/* Areas under ROC curves with their variance, without assuming a distribution: E. R. DeLong,
 * D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988) 837, by the mid-ranks of X. Sun and
 * W. Xu, IEEE Signal Processing Letters 21 (2014) 1389: O(n log n). Rows of one patient are not
 * independent; with `patients` the variance is that of N. A. Obuchowski, Biometrics 53 (1997)
 * 567, eq. 2 to 4, for clustered data, which is DeLong's when each patient has one row.
 * Pure; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_auc {
    bool there;        /* both kinds are there */
    bool has_interval; /* at least two patients of each kind, and the area is not 0 or 1 */
    size_t n_positive, n_negative;
    double value, variance;
    /* 95%: of the log-odds of the area, which stays inside 0..1; and the plain one, value +-
     * 1.96 standard errors, cut at 0 and 1. */
    double low, high, plain_low, plain_high;
} md_auc;

/* Truths are 0 or 1; `patients` (any numbers; equal: the same) NULL: each row is a patient.
 * MD_INVALID_ARG as md_ranking_init, MD_LIMIT, MD_NOMEM. One kind missing is no error. */
md_status md_auc_delong(const double *scores, const int8_t *truths, const uint32_t *patients,
                        size_t n, md_auc *ret_auc, md_error *err) MD_NOEXCEPT MD_NODISCARD;

typedef struct md_auc_difference {
    bool there, has_interval; /* no interval when the variance is 0 */
    md_auc first, second;
    double difference; /* first - second */
    double variance, covariance;
    double low, high; /* 95%, plain */
    double z, p;      /* of no difference, two-sided */
} md_auc_difference;

/* Two scores of the same rows. Errors as above. */
md_status md_auc_compare(const double *first, const double *second, const int8_t *truths,
                         const uint32_t *patients, size_t n, md_auc_difference *ret_difference,
                         md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
