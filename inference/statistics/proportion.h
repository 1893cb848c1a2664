#ifndef MEDAID_INFERENCE_STATISTICS_PROPORTION_H
#define MEDAID_INFERENCE_STATISTICS_PROPORTION_H

/* A share with its interval, and the normal distribution. Pure; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A share with its 95% interval (E. B. Wilson, JASA 22 (1927) 209). n 0: nothing is known. */
typedef struct md_proportion {
    uint64_t n_hits, n;
    double value, low, high;
} md_proportion;

md_proportion md_proportion_of(uint64_t n_hits, uint64_t n) MD_NOEXCEPT;

/* The distribution function of the standard normal, and its inverse for 0 < p < 1 (beyond:
 * minus and plus infinity). Both to the last digits of a double. */
double md_normal_below(double z) MD_NOEXCEPT;
double md_normal_quantile(double p) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
