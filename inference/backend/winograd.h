#ifndef MEDAID_INFERENCE_BACKEND_WINOGRAD_H
#define MEDAID_INFERENCE_BACKEND_WINOGRAD_H

/* Convolution with 3 x 3 kernels of stride 1 by F(4x4, 3x3) of Lavin and Gray, "Fast algorithms
 * for convolutional neural networks" (CVPR 2016): 36 multiplications for 16 results instead of
 * 144. Needs AVX-512. The result differs from a direct sum by rounding (about 1e-6 of the
 * largest output). A value that is not finite spoils all 4 x 4 results of its tiles. Any
 * thread; nothing is allocated. */

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y[n,i,j,k] = min(max(b[k] + r[n,i,j,k] + sum over p, q in 0..2 and c of
 *              x[n, i+p-pad_top, j+q-pad_left, c] w[k,c,p,q], low), high)
 *
 * with x 0 outside. Channels lie side by side: x [n_images, in_h, in_w, c_in] and y, r
 * [n_images, out_h, out_w, c_out], all float32 or all bfloat16. The positions of each have one
 * distance, so that y may be some channels of a longer row. c_in is a multiple of 16, c_out of
 * 32. Equals md_kernel_conv within 1e-5 of the largest output (float32). */
typedef struct md_winograd {
    int64_t n_images, in_h, in_w, c_in, out_h, out_w, c_out, pad_top, pad_left;
    int64_t x_stride, y_stride, residual_stride; /* elements from one position to the next */
    bool bf16;
    float low, high; /* -INFINITY, INFINITY: no activation */
    unsigned n_parts;
} md_winograd;

/* Whether this processor has the instructions. */
bool md_winograd_is_supported(bool bf16) MD_NOEXCEPT;
int64_t md_winograd_n_tiles(const md_winograd *s) MD_NOEXCEPT;

/* Transformed weights: 36 c_in c_out floats, from w [c_out, c_in, 3, 3]. */
size_t md_winograd_weight_bytes(const md_winograd *s) MD_NOEXCEPT;
void md_winograd_weights(const md_winograd *s, const float *w, float *ret_u) MD_NOEXCEPT;

/* Scratch memory of all parts. */
size_t md_winograd_scratch_bytes(const md_winograd *s) MD_NOEXCEPT;

/* Compute one of n_parts parts; together they write all of y. bias and residual may be NULL,
 * and residual may be y. Which part computes a result does not change it. */
void md_winograd_run(const md_winograd *s, const void *x, const float *u, const float *bias,
                     const void *residual, void *y, void *scratch, unsigned part) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
