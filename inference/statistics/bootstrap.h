#ifndef MEDAID_INFERENCE_STATISTICS_BOOTSTRAP_H
#define MEDAID_INFERENCE_STATISTICS_BOOTSTRAP_H

/* Intervals by drawing patients with replacement, all rows of a patient together (the cluster
 * bootstrap: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997, 3.8).
 * Replicate b is drawn from (seed, b) alone, so the answer does not depend on the number of
 * threads. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_BOOTSTRAP_MAX_REPLICATES = 1000000,
    MD_BOOTSTRAP_MAX_VALUES = 256,
    MD_BOOTSTRAP_MAX_THREADS = 64
};

typedef enum md_bootstrap_method {
    /* Bias-corrected and accelerated, B. Efron, JASA 82 (1987) 171; the acceleration by leaving
     * out one patient at a time. Where the correction does not exist (no replicate below the
     * value, or all) it is the next. */
    MD_BOOTSTRAP_BCA,
    MD_BOOTSTRAP_PERCENTILE,
} md_bootstrap_method;

typedef struct md_bootstrap_options {
    unsigned n_replicates; /* 1..MD_BOOTSTRAP_MAX_REPLICATES; 2000 are usual */
    uint64_t seed;
    unsigned n_threads; /* 0: all cores */
    double level;       /* 0: 0.95 */
    md_bootstrap_method method;
} md_bootstrap_options;

/* Fill n_values numbers for a sample in which row i stands counts[i] times (0 or more). NaN:
 * not defined for it. Called from several threads at once with the same context. */
typedef void (*md_statistic)(const void *context, const uint32_t *counts, double *ret_values);

typedef struct md_interval {
    double value; /* of the sample itself; NaN: not defined */
    /* False when the value is not defined, there are fewer than 2 patients, or the value is not
     * defined in more than a tenth of the replicates. */
    bool has_interval;
    double low, high;
    unsigned n_undefined; /* replicates without a value, which were left out */
} md_interval;

/* `patients` as md_clusters_init. Threads that cannot be started are done without.
 * MD_INVALID_ARG for options out of range, MD_LIMIT, MD_NOMEM. */
md_status md_bootstrap(size_t n_rows, const uint32_t *patients,
                       const md_bootstrap_options *options, md_statistic statistic,
                       const void *context, unsigned n_values, md_interval *ret_intervals,
                       md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The quantile q of n sorted values, between two of them by their distance (type 7 of R. J.
 * Hyndman, Y. Fan, The American Statistician 50 (1996) 361; numpy's default). n at least 1. */
double md_quantile(const double *sorted, size_t n, double q) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
