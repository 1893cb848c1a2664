#ifndef MEDAID_INFERENCE_BACKEND_INVERTED_H
#define MEDAID_INFERENCE_BACKEND_INVERTED_H

/* The inverted residual of MobileNetV2 (Sandler et al., CVPR 2018) as one step, for AVX-512: a
 * 1 x 1 convolution to many channels, a 3 x 3 convolution of each of them, a 1 x 1 convolution
 * to few. The many channels live in the cache, a few rows at a time, and never in memory. Any
 * thread; nothing is allocated. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* e[i,j,c] = min(max(be[c] + sum over k of x[i,j,k] we[c,k], low[0]), high[0])
 * d[i,j,c] = min(max(bd[c] + sum over p, q in 0..2 of e[s i + p - pad_top, s j + q - pad_left,
 * c] wd[p,q,c], low[1]), high[1]) y[i,j,k] = min(max(bp[k] + r[i,j,k] + sum over c of d[i,j,c]
 * wp[k,c], low[2]), high[2])
 *
 * for each image, with e 0 outside; without expansion e is x. Channels lie side by side; x, y
 * and r are all float32 or all bfloat16. With bfloat16 x, we, d and wp are rounded to it, e and
 * all sums are float32. project_bias has zeros up to a multiple of 16. c_in and c_out are
 * multiples of 8, c_mid of 16; stride is 1 or 2, pads are 0 or 1, and the windows reach at most
 * one position past x. Equals md_kernel_conv, three times, within 2e-6 of the largest output
 * (float32). */
typedef struct md_inverted {
    size_t n_images, in_h, in_w, out_h, out_w, c_in, c_mid, c_out;
    size_t stride, pad_top, pad_left;
    size_t x_stride, y_stride, residual_stride; /* elements from one position to the next */
    bool expands;                               /* false: c_mid is c_in */
    bool bf16;
    float low[3], high[3]; /* -INFINITY, INFINITY: no activation */
    unsigned n_parts;
} md_inverted;

typedef struct md_inverted_operands {
    const void *x;
    const void *expand_w, *project_w; /* of md_inverted_pack; expand_w NULL: no expansion */
    const float *deep_w;              /* [9][c_mid] */
    const float *expand_bias, *deep_bias, *project_bias;
    const void *residual; /* NULL: none; not where y is */
    void *y;
    void *scratch;
} md_inverted_operands;

/* Whether this processor has the instructions, and the shape is one of those above. */
bool md_inverted_is_supported(const md_inverted *s) MD_NOEXCEPT;

/* w [n_out][n_in] in the order of the kernel, float32 or bfloat16: blocks of 32 outputs, the
 * last of 16 when that is enough; in each [n_in][outputs], bfloat16 [n_in/2][outputs][2]. */
size_t md_inverted_packed_bytes(size_t n_out, size_t n_in, bool bf16) MD_NOEXCEPT;
void md_inverted_pack(const float *w, size_t n_out, size_t n_in, bool bf16, void *ret_packed)
    MD_NOEXCEPT;

/* Scratch memory of all parts. */
size_t md_inverted_scratch_bytes(const md_inverted *s) MD_NOEXCEPT;
/* With few rows for each part they share the many channels first, and the positions in a second
 * phase, which begins when all parts of the first are done. */
unsigned md_inverted_n_phases(const md_inverted *s) MD_NOEXCEPT;
/* Compute one of n_parts parts of a phase; together they write all of y. The number of parts
 * does not change a result. */
void md_inverted_run(const md_inverted *s, const md_inverted_operands *o, unsigned phase,
                     unsigned part) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
