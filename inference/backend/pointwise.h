#ifndef MEDAID_INFERENCE_BACKEND_POINTWISE_H
#define MEDAID_INFERENCE_BACKEND_POINTWISE_H

/* Convolution with 1 x 1 kernels, and the batch normalisation and ReLU before it, for AVX-512.
 * Unlike oneDNN's it needs no pass of its own for them, and each thread computes all channels
 * of its positions, so that they stay in the cache of its core from layer to layer. Any thread;
 * nothing is allocated. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y[p,k] = min(max(b[k] + sum over c of f(x[p,c]) w[k,c], low), high)
 *
 * f(x) = max(x scale[c] + shift[c], least), or x when scale is NULL. Channels lie side by side;
 * x and y are both float32 or both bfloat16, and f(x) is rounded to that. c_in is a multiple
 * of 16 (bfloat16: 32), c_out of 32. Equals md_kernel_conv after md_kernel_batch_norm within
 * 1e-6 of the largest output (float32). */
typedef struct md_pointwise {
    size_t n_rows, c_in, c_out; /* n_rows: positions of all images */
    size_t x_stride, y_stride;  /* elements from one position to the next */
    bool bf16;
    float least;     /* 0 or -INFINITY */
    float low, high; /* -INFINITY, INFINITY: no activation */
    unsigned n_parts;
} md_pointwise;

typedef struct md_pointwise_operands {
    const void *x;
    const float *scale, *shift; /* NULL: none */
    /* float32 [c_out/32][c_in][32]; bfloat16 [c_out/32][c_in/2][32][2] */
    const void *w;
    const float *bias; /* NULL: none */
    void *y;
    void *scratch;
} md_pointwise_operands;

/* Whether this processor has the instructions. */
bool md_pointwise_is_supported(bool bf16) MD_NOEXCEPT;
/* Scratch memory of all parts. */
size_t md_pointwise_scratch_bytes(const md_pointwise *s) MD_NOEXCEPT;
/* Compute one of n_parts parts; together they write all of y. Which part computes a result does
 * not change it. */
void md_pointwise_run(const md_pointwise *s, const md_pointwise_operands *o, unsigned part)
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
