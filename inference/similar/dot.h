#ifndef MEDAID_INFERENCE_SIMILAR_DOT_H
#define MEDAID_INFERENCE_SIMILAR_DOT_H

/* Inner products of float vectors. Pure; any thread. */

#include "base/error.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* sum_i a_i b_i, summed in 16 lanes whatever the processor is, so that all give the same bits
 * except for fused multiplication; relative to |a||b| within n * 2^-24. */
float md_dot(const float *a, const float *b, size_t n) MD_NOEXCEPT;
/* The same in plain C, to compare with. */
float md_dot_plain(const float *a, const float *b, size_t n) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
