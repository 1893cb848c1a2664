#ifndef MEDAID_INFERENCE_TRAIN_START_H
#define MEDAID_INFERENCE_TRAIN_START_H

/* What weights start as: random numbers that are the same on every machine, because they are
 * made with integers and IEEE sums, products, quotients and roots alone. Pure; any thread. */

#include "base/memory.h"

typedef enum md_start {
    MD_START_HE,     /* normal, variance 2 / fan-in (He et al. 2015, eq. 10) */
    MD_START_GLOROT, /* uniform, +-sqrt(6 / (fan-in + fan-out)) (Glorot, Bengio 2010, eq. 16) */
} md_start;

/* values[0..n) from the stream of that number under the seed. */
void md_start_draw(uint64_t seed, unsigned stream, md_start start, double fan_in,
                   double fan_out, float *ret_values, size_t n) MD_NOEXCEPT;

#endif
