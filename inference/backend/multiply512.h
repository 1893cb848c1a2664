#ifndef MEDAID_INFERENCE_BACKEND_MULTIPLY512_H
#define MEDAID_INFERENCE_BACKEND_MULTIPLY512_H

/* The innermost product of the convolutions of our own, for AVX-512 (see avx512.h): some rows
 * times a panel of 32 columns, with all sums in registers. Any thread. */

#include <stddef.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_MULTIPLY_LANES = 16, /* 32-bit elements of a register */
    MD_MULTIPLY_ROWS = 14,  /* at most: 28 sums fill the registers */
    MD_MULTIPLY_PANEL = 32  /* columns */
};

/* m[i][j] = sum over k of v[i][k] u[k][j], i < rows <= MD_MULTIPLY_ROWS, j < MD_MULTIPLY_PANEL.
 *
 *   v [n_groups][MD_MULTIPLY_ROWS][16]  groups of k, rows, k in the group
 *   u [n_groups * 16][MD_MULTIPLY_PANEL]
 *   m [rows][m_stride]
 *
 * The sum is taken in the order of k, whatever rows is. */
void md_multiply_f32(const float *v, const float *u, size_t n_groups, float *m, size_t m_stride,
                     unsigned rows) MD_NOEXCEPT;
/* The same of pairs of bfloat16: k counts pairs, v and u have two neighbours of k in each
 * element, low half first. Needs AVX512_BF16. */
void md_multiply_bf16(const void *v, const void *u, size_t n_groups, float *m, size_t m_stride,
                      unsigned rows) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
