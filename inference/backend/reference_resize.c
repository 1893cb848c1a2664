/* Resize, one axis after the other: all of ONNX's interpolations are products of
 * one-dimensional ones. */

#include "inference/backend/kernels.h"

#include <math.h>
#include <string.h>

typedef struct axis {
    const md_resize_params *p;
    double scale, roi_start, roi_end;
    int64_t n_in, n_out;
} axis;

/* The position of output element i in the input (ONNX, Resize,
 * coordinate_transformation_mode). */
static double source_position(const axis *a, int64_t i)
{
    /* ONNX's own reference takes the length before it is cut to a whole number */
    const double x = (double)i, n_in = (double)a->n_in, n_out = n_in * a->scale;
    switch (a->p->coordinate) {
    case MD_COORD_HALF_PIXEL:
        return (x + 0.5) / a->scale - 0.5;
    case MD_COORD_PYTORCH_HALF_PIXEL:
        return a->n_out > 1 ? (x + 0.5) / a->scale - 0.5 : 0.0;
    case MD_COORD_ALIGN_CORNERS:
        return a->n_out > 1 && n_out > 1.0 ? x * (n_in - 1.0) / (n_out - 1.0) : 0.0;
    case MD_COORD_ASYMMETRIC:
        return x / a->scale;
    case MD_COORD_TF_HALF_PIXEL_FOR_NN:
        return (x + 0.5) / a->scale;
    case MD_COORD_TF_CROP_AND_RESIZE:
        return a->n_out > 1
                   ? a->roi_start * (n_in - 1.0) + x * (a->roi_end - a->roi_start) *
                                                       (n_in - 1.0) / ((double)a->n_out - 1.0)
                   : 0.5 * (a->roi_start + a->roi_end) * (n_in - 1.0);
    case MD_COORD_HALF_PIXEL_SYMMETRIC: /* what the cut of the length lost, on both sides */
        return n_in / 2.0 * (1.0 - (double)a->n_out / n_out) + (x + 0.5) / a->scale - 0.5;
    }
    return 0.0;
}

static double nearest_position(const axis *a, double x)
{
    switch (a->p->nearest) {
    case MD_NEAREST_ROUND_PREFER_FLOOR:
        return ceil(x - 0.5);
    case MD_NEAREST_ROUND_PREFER_CEIL:
        return floor(x + 0.5);
    case MD_NEAREST_FLOOR:
        return floor(x);
    case MD_NEAREST_CEIL:
        return ceil(x);
    }
    return 0.0;
}

typedef struct taps {
    unsigned n;
    int64_t at[4];
    double weight[4];
    bool outside; /* the extrapolation value instead */
} taps;

static int64_t clamp(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Cubic convolution (Keys 1981, eq. 4 with a in place of -1/2). */
static void cubic_weights(double t, double a, double *w)
{
    w[0] = ((a * (t + 1.0) - 5.0 * a) * (t + 1.0) + 8.0 * a) * (t + 1.0) - 4.0 * a;
    w[1] = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    w[2] = ((a + 2.0) * (1.0 - t) - (a + 3.0)) * (1.0 - t) * (1.0 - t) + 1.0;
    w[3] = ((a * (2.0 - t) - 5.0 * a) * (2.0 - t) + 8.0 * a) * (2.0 - t) - 4.0 * a;
}

static taps taps_of(const axis *a, int64_t i)
{
    taps t = {0};
    double x = source_position(a, i);
    if (a->p->mode == MD_RESIZE_NEAREST) {
        /* which of two pixels is nearest may hang on the last bit of a scale in float32: what
         * is a whole number or a half up to its rounding is taken for one, as others do */
        const double half = nearbyint(2.0 * x) / 2.0;
        x = fabs(x - half) <= 1e-6 * (1.0 + fabs(x)) ? half : x;
    }
    if (a->p->coordinate == MD_COORD_TF_CROP_AND_RESIZE) {
        t.outside = !(x >= 0.0 && x <= (double)(a->n_in - 1));
        if (t.outside) {
            return t;
        }
    }
    /* far outside all modes see the edge; this keeps the conversion to int64 defined */
    const double reach = (double)a->n_in + 4.0;
    x = !(x > -4.0) ? -4.0 : x > reach ? reach : x;
    if (a->p->mode == MD_RESIZE_NEAREST) {
        t.n = 1;
        t.at[0] = clamp((int64_t)nearest_position(a, x), a->n_in);
        t.weight[0] = 1.0;
        return t;
    }
    const double base = floor(x);
    const double fraction = x - base;
    double sum = 0.0;
    if (a->p->mode == MD_RESIZE_LINEAR) {
        t.n = 2;
        t.weight[0] = 1.0 - fraction;
        t.weight[1] = fraction;
    } else {
        t.n = 4;
        cubic_weights(fraction, (double)a->p->cubic_a, t.weight);
    }
    for (unsigned k = 0; k < t.n; k++) {
        int64_t at = (int64_t)base + (int64_t)k - (t.n == 4 ? 1 : 0);
        if (a->p->exclude_outside && (at < 0 || at >= a->n_in)) {
            t.weight[k] = 0.0;
        }
        t.at[k] = clamp(at, a->n_in);
        sum += t.weight[k];
    }
    for (unsigned k = 0; k < t.n && a->p->exclude_outside && sum != 0.0; k++) {
        t.weight[k] /= sum;
    }
    return t;
}

/* The interpolation kernel at distance x: a triangle, or cubic convolution. */
static double filter(const axis *a, double x)
{
    const double d = fabs(x), c = (double)a->p->cubic_a;
    if (a->p->mode == MD_RESIZE_LINEAR) {
        return d < 1.0 ? 1.0 - d : 0.0;
    }
    return d <= 1.0  ? ((c + 2.0) * d - (c + 3.0)) * d * d + 1.0
           : d < 2.0 ? ((c * d - 5.0 * c) * d + 8.0 * c) * d - 4.0 * c
                     : 0.0;
}

typedef struct reach {
    int64_t first, last; /* input elements with a weight */
    bool outside;
} reach;

/* Antialiasing when the image gets smaller: the kernel is as much wider. weights [n_in]. */
static reach wide_taps(const axis *a, int64_t i, double *weights)
{
    const double x = source_position(a, i), scale = a->scale < 1.0 ? a->scale : 1.0;
    const double half = (a->p->mode == MD_RESIZE_LINEAR ? 1.0 : 2.0) / scale;
    const double last = (double)(a->n_in - 1);
    reach r = {a->n_in, -1, false};
    double sum = 0.0;
    if (a->p->coordinate == MD_COORD_TF_CROP_AND_RESIZE && !(x >= 0.0 && x <= last)) {
        r.outside = true;
        return r;
    }
    memset(weights, 0, (size_t)a->n_in * sizeof *weights);
    for (double at = ceil(x - half); at <= floor(x + half); at += 1.0) {
        if (a->p->exclude_outside && (at < 0.0 || at > last)) {
            continue;
        }
        const int64_t k = at < 0.0 ? 0 : at > last ? a->n_in - 1 : (int64_t)at;
        const double w = filter(a, (at - x) * scale);
        weights[k] += w;
        sum += w;
        r.first = k < r.first ? k : r.first;
        r.last = k > r.last ? k : r.last;
    }
    for (int64_t k = r.first; k <= r.last && sum != 0.0; k++) {
        weights[k] /= sum;
    }
    return r;
}

/* One output row [n_inner] as a weighted sum of input rows. */
static void weighted_sum(const float *from, const int64_t *at, const double *weights, int64_t n,
                         int64_t n_inner, float *to)
{
    for (int64_t j = 0; j < n_inner; j++) {
        double sum = 0.0;
        for (int64_t k = 0; k < n; k++) {
            sum += weights[k] * (double)from[(at == NULL ? k : at[k]) * n_inner + j];
        }
        to[j] = (float)sum;
    }
}

/* x [n_outer, n_in, n_inner] to y [n_outer, n_out, n_inner]; weights: room for n_in. */
static void resize_axis(const axis *a, const float *x, int64_t n_outer, int64_t n_inner,
                        float *y, double *weights)
{
    for (int64_t i = 0; i < a->n_out; i++) {
        const taps t = taps_of(a, i);
        const reach wide = a->p->antialias ? wide_taps(a, i, weights) : (reach){0};
        for (int64_t outer = 0; outer < n_outer; outer++) {
            float *to = y + (outer * a->n_out + i) * n_inner;
            const float *from = x + outer * a->n_in * n_inner;
            if (t.outside || wide.outside) {
                for (int64_t j = 0; j < n_inner; j++) {
                    to[j] = a->p->extrapolation;
                }
            } else if (a->p->antialias) {
                weighted_sum(from + wide.first * n_inner, NULL, weights + wide.first,
                             wide.last - wide.first + 1, n_inner, to);
            } else if (t.n == 1) {
                memcpy(to, from + t.at[0] * n_inner, (size_t)n_inner * sizeof *to);
            } else {
                weighted_sum(from, t.at, t.weight, t.n, n_inner, to);
            }
        }
    }
}

/* workspace: two buffers that alternate, each as large as the largest stage can be; weights of
 * the longest input axis. */
md_status md_kernel_resize(const md_call *call)
{
    const md_resize_params *p = &call->p->resize;
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    int64_t dims[MD_TENSOR_MAX_DIMS];
    size_t largest = 1;
    for (unsigned i = 0; i < x->n_dims; i++) {
        dims[i] = x->dims[i];
        largest *= (size_t)(y->dims[i] > x->dims[i] ? y->dims[i] : x->dims[i]);
    }
    const float *from = x->data;
    float *spare[2] = {call->workspace, (float *)call->workspace + largest};
    double *weights = (double *)call->workspace + largest;
    unsigned n_stages = 0;
    for (unsigned i = 0; i < x->n_dims; i++) {
        const axis a = {p, p->scale[i], p->roi_start[i], p->roi_end[i], x->dims[i], y->dims[i]};
        int64_t n_outer = 1, n_inner = 1;
        bool whole = p->coordinate != MD_COORD_TF_CROP_AND_RESIZE ||
                     (p->roi_start[i] == 0.0 && p->roi_end[i] == 1.0);
        if (a.n_in == a.n_out && a.scale == 1.0 && whole) {
            continue;
        }
        for (unsigned j = 0; j < x->n_dims; j++) {
            n_outer *= j < i ? dims[j] : 1;
            n_inner *= j > i ? dims[j] : 1;
        }
        float *to = spare[n_stages++ % 2];
        resize_axis(&a, from, n_outer, n_inner, to, weights);
        dims[i] = a.n_out;
        from = to;
    }
    memcpy(y->data, from, y->n_elements * sizeof(float));
    return MD_OK;
}
