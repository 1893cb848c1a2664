#ifndef MEDAID_INFERENCE_TRAIN_KERNELS_TEXT_H
#define MEDAID_INFERENCE_TRAIN_KERNELS_TEXT_H

/* The loops of text networks that no library does as we need them, once for each instruction
 * set (kernels_text.c). All of float; every function works on what it is given on the calling
 * thread. exp, tanh and the logistic function are polynomials of our own, within 3e-7 of the
 * largest value they can have. */

#include <stddef.h>

enum {
    MD_TEXT_PANEL = 32 /* columns of a packed matrix that lie together */
};

/* Floats of a packed matrix [k,n]. */
static inline size_t md_text_packed_floats(size_t k, size_t n)
{
    return (n + MD_TEXT_PANEL - 1) / MD_TEXT_PANEL * MD_TEXT_PANEL * k;
}

typedef enum md_curve {
    MD_CURVE_TANH,
    MD_CURVE_SIGMOID,
    MD_CURVE_GELU /* x/2 (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel 2016) */
} md_curve;

/* One step of a recurrent layer for one sequence, n hidden units. Gates as ONNX orders them;
 * previous NULL: the state before was 0. */
typedef struct md_text_kernels {
    const char *name;
    /* y[i] = f(x[i]); y == x is fine */
    void (*curve)(md_curve curve, const float *x, float *y, size_t n);
    /* dx = f'(x) dy, dx == dy is fine; add: dx += */
    void (*curve_back)(md_curve curve, const float *x, const float *y, const float *dy,
                       float *dx, int add, size_t n);
    /* gates [i,o,f,g] before the activations: afterwards what they are; c = f c' + i g,
     * h = o tanh(c) */
    void (*lstm)(float *gates, const float *previous_c, float *c, float *h, size_t n);
    /* gates become their gradients; dh of this step, dc of the later one, which becomes that of
     * the step before */
    void (*lstm_back)(float *gates, const float *previous_c, const float *c, const float *dh,
                      float *dc, size_t n);
    /* gates [z,r,q,m]: q = R h' + b of the candidate, m its part of the input;
     * h = (1 - z) tanh(m + r q) + z h' */
    void (*gru)(float *gates, const float *previous_h, float *h, size_t n);
    /* gates become their gradients, dh that of h' by way of z */
    void (*gru_back)(float *gates, const float *previous_h, float *dh, size_t n);
    /* h = tanh(gates); gates = dh (1 - h^2) */
    void (*rnn)(const float *gates, float *h, size_t n);
    void (*rnn_back)(float *gates, const float *h, const float *dh, size_t n);
    /* A matrix b [k,n] of leading dimension ldb (or its transpose [n,k]) for `product` */
    void (*pack)(int transposed, const float *b, size_t ldb, size_t k, size_t n,
                 float *ret_packed);
    /* y [rows,n] += x [rows,k] b */
    void (*product)(const float *x, size_t ldx, const float *packed, size_t rows, size_t k,
                    size_t n, float *y, size_t ldy);
    /* y = (x - mean) / sqrt(variance + epsilon) scale + shift over a row of n; saved[2]: mean
     * and 1 / deviation. scale, shift: NULL for none */
    void (*layer_norm)(const float *x, const float *scale, const float *shift, float epsilon,
                       float *y, float *saved, size_t n);
    /* dx (add: +=) of a row; d_scale += dy xhat, d_shift += dy where not NULL */
    void (*layer_norm_back)(const float *x, const float *scale, const float *saved,
                            const float *dy, float *dx, int add, float *d_scale, float *d_shift,
                            size_t n);
    /* x = exp(scale x - m) / sum; n >= 1 */
    void (*softmax)(float *x, float scale, size_t n);
    /* d = scale p (d - sum p d): back through softmax(scale x) */
    void (*softmax_back)(const float *p, float *d, float scale, size_t n);
    float (*dot)(const float *x, const float *y, size_t n);
    /* y += a x */
    void (*axpy)(float a, const float *x, float *y, size_t n);
} md_text_kernels;

/* For this processor. */
const md_text_kernels *md_text_kernels_get(void);

#endif
