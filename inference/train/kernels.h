#ifndef MEDAID_INFERENCE_TRAIN_KERNELS_H
#define MEDAID_INFERENCE_TRAIN_KERNELS_H

/* The loops of training that no library does as we need them, once for each instruction set
 * (kernels.c) and element type. Activations are channels-last: an image is `rows` positions of
 * `width` channels each. Elements are float or bfloat16 (then stored as uint16_t, rounded to
 * nearest even); sums are taken in float over a few kilobytes and in double beyond. Every
 * function works on what it is given on the calling thread; parts of an array may be done in
 * parallel. */

#include "inference/graph/graph.h"

enum {
    MD_TRAIN_MAX_WINDOW = 254 /* elements of a pool's window: their number is a byte */
};

/* What a kernel adds to instead of setting. */
typedef enum md_write {
    MD_WRITE_SET,
    MD_WRITE_ADD
} md_write;

/* min(max(v, low), high) after a layer, (-INFINITY, INFINITY) for none; its derivative is 1
 * where low < y < high. */
typedef struct md_clamp {
    float low, high;
} md_clamp;

typedef struct md_train_kernels {
    const char *name;
    /* mean[c] and m2[c] = sum (x - mean)^2 over the rows. sums: 2 width floats of scratch */
    void (*moments)(const void *x, size_t rows, size_t width, double *mean, double *m2,
                    float *sums);
    /* y = clamp(a[c] x + b[c] (+ residual)); y == x is fine */
    void (*normalize)(const void *x, const void *residual, void *y, size_t rows, size_t width,
                      const float *a, const float *b, const md_clamp *clamp);
    /* dz = dy where the clamp let y through, else 0; sum[c] += dz, sum_x[c] += dz (x -
     * mean[c]). dz == dy is fine; residual_gradient NULL or what dz is added to or set in.
     * sums: 2 width floats of scratch */
    void (*norm_sums)(const void *x, const void *y, const void *dy, void *dz,
                      void *residual_gradient, md_write residual_write, size_t rows,
                      size_t width, const float *mean, const md_clamp *clamp, double *sum,
                      double *sum_x, float *sums);
    /* dx = a[c] dz + b[c] (x - mean[c]) + k[c] */
    void (*norm_data)(const void *x, const void *dz, void *dx, md_write write, size_t rows,
                      size_t width, const float *a, const float *b, const float *mean,
                      const float *k);
    /* dy = 0 where the clamp did not let y through */
    void (*mask)(const void *y, void *dy, size_t n, const md_clamp *clamp);
    /* y = clamp(x); y == x is fine */
    void (*clamp)(const void *x, void *y, size_t n, const md_clamp *clamp);
    /* dx = dy */
    void (*copy)(const void *dy, void *dx, md_write write, size_t n);
    void (*add)(const void *a, const void *b, void *y, size_t n);
    void (*multiply)(const void *a, const void *b, void *y, md_write write, size_t n);
    void (*activate)(const md_activation *activation, const void *x, void *y, size_t n);
    /* dx = f'(x) dy */
    void (*activate_back)(const md_activation *activation, const void *x, const void *dy,
                          void *dx, md_write write, size_t n);
    /* y = x s[c] + t[c]; either NULL: none */
    void (*scale_rows)(const void *x, const float *s, const float *t, void *y, md_write write,
                       size_t rows, size_t width);
    /* sum[c] += sum over rows of x, or of x w; sums: width floats of scratch */
    void (*sum_rows)(const void *x, const void *w, size_t rows, size_t width, double *sum,
                     float *sums);
    /* One image. index[out position, channel]: which element of the window was the first
     * largest */
    void (*max_pool)(const md_window *w, size_t width, const void *x, void *y, uint8_t *index);
    void (*max_pool_back)(const md_window *w, size_t width, const void *dy,
                          const uint8_t *index, void *dx, md_write write);
    void (*mean_pool)(const md_window *w, bool count_pad, size_t width, const void *x, void *y,
                      float *line);
    void (*mean_pool_back)(const md_window *w, bool count_pad, size_t width, const void *dy,
                           void *dx, md_write write, float *line);
    /* planes [width][rows] of floats to rows, and back */
    void (*from_planes)(const float *planes, void *x, md_write write, size_t rows,
                        size_t width);
    void (*to_planes)(const void *x, float *planes, md_write write, size_t rows, size_t width);
    /* float to the kernels' element type and back */
    void (*narrow)(const float *x, void *y, md_write write, size_t n);
    void (*widen)(const void *x, float *y, md_write write, size_t n);
    /* `width` columns of rows that are `from_width` and `to_width` long */
    void (*columns)(const void *x, size_t from_width, void *y, size_t to_width, md_write write,
                    size_t rows, size_t width);
    /* y = x scale where a hash of (seed, first + i) is at least `threshold`, else 0 */
    void (*drop)(const void *x, void *y, md_write write, size_t n, uint64_t seed,
                 uint64_t first, uint32_t threshold, float scale);
} md_train_kernels;

/* For this processor: of float, or of bfloat16. */
const md_train_kernels *md_train_kernels_for(bool bf16);

#endif
