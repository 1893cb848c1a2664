/* Sampling an image at positions that the data gives: GridSample and RoiAlign. */

#include "inference/backend/kernels.h"

#include <math.h>

/* One axis of the image. */
typedef struct side {
    int64_t n;
    double low, high; /* its borders: the outer pixels' centres, or half a pixel beyond */
} side;

static double reflect(const side *s, double x)
{
    const double range = s->high - s->low;
    const double beyond = x < s->low ? s->low - x : x - s->high;
    if (beyond <= 0.0) {
        return x;
    }
    if (!(range > 0.0)) {
        return s->low;
    }
    const double n = floor(beyond / range), rest = beyond - n * range;
    const bool even = fmod(n, 2.0) == 0.0;
    return even == (x < s->low) ? s->low + rest : s->high - rest;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* The pixel at a whole position, -1 for one that counts as 0. */
static int64_t pixel_at(const md_op_params *p, const side *s, double x)
{
    if (p->grid.padding == MD_SAMPLE_REFLECTION) {
        x = floor(clamp(reflect(s, x), 0.0, (double)(s->n - 1)));
    } else if (p->grid.padding == MD_SAMPLE_BORDER) {
        x = clamp(x, 0.0, (double)(s->n - 1));
    }
    return x >= 0.0 && x <= (double)(s->n - 1) ? (int64_t)x : -1;
}

typedef struct sample {
    unsigned n;
    int64_t at[4];
    double weight[4];
} sample;

/* Keys' cubic convolution with a = -3/4. */
static double cubic(double x)
{
    const double a = -0.75, d = fabs(x);
    return d <= 1.0  ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
           : d < 2.0 ? ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
                     : 0.0;
}

/* Pixels and weights of one axis at the normalised position g: -1 and 1 are the borders. */
static sample sample_axis(const md_op_params *p, const side *s, double g)
{
    sample t = {0};
    double x = p->grid.align_corners ? (g + 1.0) / 2.0 * (double)(s->n - 1)
                                     : ((g + 1.0) * (double)s->n - 1.0) / 2.0;
    if (!isfinite(x)) { /* nowhere */
        x = p->grid.padding == MD_SAMPLE_ZEROS ? -10.0 : 0.0;
    }
    if (p->grid.mode == MD_RESIZE_NEAREST) {
        x = nearbyint(x);
    }
    /* a cubic kernel in a border sees the pixels around it, of which pixel_at clamps each */
    if ((x < s->low || x > s->high) &&
        !(p->grid.mode == MD_RESIZE_CUBIC && p->grid.padding == MD_SAMPLE_BORDER)) {
        x = p->grid.padding == MD_SAMPLE_BORDER       ? clamp(x, 0.0, (double)(s->n - 1))
            : p->grid.padding == MD_SAMPLE_REFLECTION ? reflect(s, x)
                                                      : x;
    }
    if (p->grid.mode == MD_RESIZE_NEAREST) {
        t.n = 1;
        t.at[0] = pixel_at(p, s, x);
        t.weight[0] = 1.0;
        return t;
    }
    const double base = floor(x), fraction = x - base;
    t.n = p->grid.mode == MD_RESIZE_LINEAR ? 2 : 4;
    for (unsigned k = 0; k < t.n; k++) {
        const double offset = (double)k - (t.n == 4 ? 1.0 : 0.0);
        t.at[k] = pixel_at(p, s, base + offset);
        t.weight[k] =
            t.n == 4 ? cubic(offset - fraction) : (k == 0 ? 1.0 - fraction : fraction);
    }
    return t;
}

/* y[n,c,p] = x[n,c] at grid[n,p], whose last axis holds the position, x first. */
md_status md_kernel_grid_sample(const md_call *call)
{
    const md_op_params *p = call->p;
    const md_tensor *x = call->in[0], *y = call->out[0];
    const unsigned n_axes = x->n_dims - 2;
    const float *grid = call->in[1]->data;
    side sides[3] = {{1, 0.0, 0.0}, {1, 0.0, 0.0}, {1, 0.0, 0.0}}; /* depth, height, width */
    size_t n_out = 1, n_in = 1;
    for (unsigned i = 0; i < n_axes; i++) {
        side *s = &sides[3 - n_axes + i];
        s->n = x->dims[2 + i];
        s->low = p->grid.align_corners ? 0.0 : -0.5;
        s->high = p->grid.align_corners ? (double)(s->n - 1) : (double)s->n - 0.5;
        n_in *= (size_t)s->n;
        n_out *= (size_t)y->dims[2 + i];
    }
    for (size_t i = 0; i < (size_t)x->dims[0] * n_out; i++) {
        sample t[3] = {{1, {0}, {1.0}}, {1, {0}, {1.0}}, {1, {0}, {1.0}}};
        for (unsigned j = 0; j < n_axes; j++) {
            t[2 - j] = sample_axis(p, &sides[2 - j], (double)grid[i * n_axes + j]);
        }
        for (size_t c = 0; c < (size_t)x->dims[1]; c++) {
            const size_t plane = i / n_out * (size_t)x->dims[1] + c;
            const float *from = (const float *)x->data + plane * n_in;
            double sum = 0.0;
            for (unsigned k = 0; k < t[0].n * t[1].n * t[2].n; k++) {
                const unsigned k2 = k % t[2].n, k1 = k / t[2].n % t[1].n,
                               k0 = k / t[2].n / t[1].n;
                const int64_t z = t[0].at[k0], row = t[1].at[k1], column = t[2].at[k2];
                if (z >= 0 && row >= 0 && column >= 0) {
                    sum += t[0].weight[k0] * t[1].weight[k1] * t[2].weight[k2] *
                           (double)from[(z * sides[1].n + row) * sides[2].n + column];
                }
            }
            ((float *)y->data)[plane * n_out + i % n_out] = (float)sum;
        }
    }
    return MD_OK;
}

/* The image at (y, x), linear between pixels; 0 more than a pixel outside. */
static double bilinear(const float *image, int64_t height, int64_t width, double y, double x)
{
    if (!(y >= -1.0 && y <= (double)height && x >= -1.0 && x <= (double)width)) {
        return 0.0;
    }
    y = clamp(y, 0.0, (double)(height - 1));
    x = clamp(x, 0.0, (double)(width - 1));
    const int64_t y0 = (int64_t)y, x0 = (int64_t)x;
    const int64_t y1 = y0 + 1 < height ? y0 + 1 : y0, x1 = x0 + 1 < width ? x0 + 1 : x0;
    const double fy = y - (double)y0, fx = x - (double)x0;
    return (1.0 - fy) * ((1.0 - fx) * (double)image[y0 * width + x0] +
                         fx * (double)image[y0 * width + x1]) +
           fy * ((1.0 - fx) * (double)image[y1 * width + x0] +
                 fx * (double)image[y1 * width + x1]);
}

enum {
    MAX_SAMPLES = 4096 /* along one axis of one bin: the regions come from the data */
};

typedef struct bins {
    double start, length; /* of the region and of one bin, in pixels */
    int64_t n_samples;
} bins;

/* In float32: how many samples a region has depends on the last bit, and that is what torch and
 * ONNX Runtime count in. */
static md_status make_bins(const md_call *call, float low, float high, int64_t n, bins *ret)
{
    const float shift = call->p->roi.half_pixel ? 0.5F : 0.0F, scale = call->p->roi.scale;
    const float start = low * scale - shift;
    float length = (high * scale - shift) - start;
    if (!call->p->roi.half_pixel && length < 1.0F) {
        length = 1.0F;
    }
    ret->start = (double)start;
    ret->length = (double)(length / (float)n);
    const double samples = call->p->roi.sampling_ratio > 0 ? (double)call->p->roi.sampling_ratio
                                                           : ceil(ret->length);
    if (!(samples <= MAX_SAMPLES) || !isfinite(start)) {
        return md_fail(call->err, MD_FORMAT, "a region from %g to %g", (double)low,
                       (double)high);
    }
    ret->n_samples = samples > 0.0 ? (int64_t)samples : 0;
    return MD_OK;
}

/* Mean of samples in each bin of each region (He et al. 2017, section 3). inputs x [N,C,H,W],
 * regions [R,4] as x1, y1, x2, y2, and the image of each. */
md_status md_kernel_roi_align(const md_call *call)
{
    const md_tensor *x = call->in[0], *y = call->out[0], *batch = call->in[2];
    const int64_t height = x->dims[2], width = x->dims[3];
    float *to = y->data;
    for (int64_t r = 0; r < y->dims[0]; r++) {
        const float *roi = (const float *)call->in[1]->data + r * 4;
        const int64_t image = batch->dtype == MD_I64 ? ((const int64_t *)batch->data)[r]
                                                     : ((const int32_t *)batch->data)[r];
        bins v, h;
        if (image < 0 || image >= x->dims[0]) {
            return md_fail(call->err, MD_FORMAT, "image %lld of %lld", (long long)image,
                           (long long)x->dims[0]);
        }
        MD_TRY(make_bins(call, roi[1], roi[3], y->dims[2], &v));
        MD_TRY(make_bins(call, roi[0], roi[2], y->dims[3], &h));
        const double n = (double)(v.n_samples * h.n_samples);
        for (int64_t i = 0; i < x->dims[1] * y->dims[2] * y->dims[3]; i++) {
            const int64_t column = i % y->dims[3], row = i / y->dims[3] % y->dims[2];
            const int64_t plane = image * x->dims[1] + i / y->dims[3] / y->dims[2];
            double sum = 0.0;
            for (int64_t k = 0; k < v.n_samples * h.n_samples; k++) {
                const double sy = ((double)(k / h.n_samples) + 0.5) / (double)v.n_samples;
                const double sx = ((double)(k % h.n_samples) + 0.5) / (double)h.n_samples;
                sum += bilinear((const float *)x->data + plane * height * width, height, width,
                                v.start + ((double)row + sy) * v.length,
                                h.start + ((double)column + sx) * h.length);
            }
            *to++ = (float)(n > 0.0 ? sum / n : 0.0);
        }
    }
    return MD_OK;
}
