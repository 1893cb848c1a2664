/* Pooling and normalisation. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"

#include <math.h>
#include <string.h>

typedef struct span {
    int64_t start;      /* of the window, in the input; may be negative */
    int64_t first, end; /* kernel positions that lie in the input */
    int64_t n_padded;   /* those that lie in input or padding, for the mean */
} span;

static span window_span(const md_window *w, unsigned axis, int64_t out)
{
    const int64_t step = w->dilation[axis], n = w->in[axis];
    span s = {.start = out * w->stride[axis] - w->pad_begin[axis]};
    s.first = s.start < 0 ? (-s.start + step - 1) / step : 0;
    s.end = n > s.start ? (n - s.start + step - 1) / step : 0;
    s.end = s.end > w->kernel[axis] ? w->kernel[axis] : s.end;
    const int64_t limit = n + w->pad_end[axis];
    s.n_padded = limit > s.start ? (limit - s.start + step - 1) / step : 0;
    s.n_padded = s.n_padded > w->kernel[axis] ? w->kernel[axis] : s.n_padded;
    return s;
}

/* The maximum or the mean of what the window sees of one plane of float32, the usual case. */
static float pool_usual(const md_pool_params *pool, const float *x, const span *s)
{
    const md_window *w = &pool->window;
    float best = -INFINITY;
    double sum = 0.0;
    for (int64_t z = s[0].first; z < s[0].end; z++) {
        for (int64_t y = s[1].first; y < s[1].end; y++) {
            const float *line = x + ((s[0].start + z * w->dilation[0]) * w->in[1] + s[1].start +
                                     y * w->dilation[1]) *
                                        w->in[2];
            for (int64_t i = s[2].first; i < s[2].end; i++) {
                const float value = line[s[2].start + i * w->dilation[2]];
                sum += (double)value;
                best = value > best || value != value ? value : best;
            }
        }
    }
    if (!pool->average) {
        return best;
    }
    int64_t n = 1;
    for (unsigned i = 0; i < 3; i++) {
        n *= pool->count_include_pad ? s[i].n_padded : s[i].end - s[i].first;
    }
    return (float)(sum / (double)n);
}

typedef struct pooled {
    double value;
    int64_t at; /* of a maximum, in its plane */
} pooled;

/* The maximum and where it is, or the p-norm, of elements of any type. */
static pooled pool_window(const md_pool_params *pool, const md_tensor *x, int64_t plane,
                          const span *s)
{
    const md_window *w = &pool->window;
    pooled best = {-(double)INFINITY, 0};
    double sum = 0.0;
    for (int64_t z = s[0].first; z < s[0].end; z++) {
        for (int64_t y = s[1].first; y < s[1].end; y++) {
            const int64_t line = ((s[0].start + z * w->dilation[0]) * w->in[1] + s[1].start +
                                  y * w->dilation[1]) *
                                     w->in[2] +
                                 s[2].start;
            for (int64_t i = s[2].first; i < s[2].end; i++) {
                const int64_t at = line + i * w->dilation[2];
                const double value = md_element_real(x, (size_t)(plane + at));
                sum += pool->p > 0 ? pow(fabs(value), (double)pool->p) : 0.0;
                best = value > best.value || value != value ? (pooled){value, at} : best;
            }
        }
    }
    if (pool->p > 0) {
        best.value = pow(sum, 1.0 / (double)pool->p);
    }
    return best;
}

/* The index of a maximum counts in the whole of x, the last axis fastest or, column-major, the
 * first of the plane. */
static int64_t pool_index(const md_pool_params *pool, int64_t plane, int64_t at)
{
    const md_window *w = &pool->window;
    if (!pool->column_major) {
        return plane + at;
    }
    const int64_t column = at % w->in[2], row = at / w->in[2] % w->in[1];
    const int64_t slice = at / w->in[2] / w->in[1];
    return plane + (column * w->in[1] + row) * w->in[0] + slice;
}

/* Maximum, mean or norm of x [N,C,D,H,W] under each window; and where the maxima are. */
md_status md_kernel_pool(const md_call *call)
{
    const md_pool_params *pool = &call->p->pool;
    const md_window *w = &pool->window;
    const md_tensor *x = call->in[0];
    const int64_t n_planes = x->dims[0] * x->dims[1], n_plane = w->in[0] * w->in[1] * w->in[2];
    int64_t *index = call->n_out > 1 ? call->out[1]->data : NULL;
    const bool usual = x->dtype == MD_F32 && index == NULL && pool->p == 0;
    size_t to = 0;
    for (int64_t plane = 0; plane < n_planes; plane++) {
        span s[3];
        for (int64_t oz = 0; oz < w->out[0]; oz++) {
            s[0] = window_span(w, 0, oz);
            for (int64_t oy = 0; oy < w->out[1]; oy++) {
                s[1] = window_span(w, 1, oy);
                for (int64_t ox = 0; ox < w->out[2]; ox++) {
                    s[2] = window_span(w, 2, ox);
                    if (usual) {
                        ((float *)call->out[0]->data)[to++] =
                            pool_usual(pool, (const float *)x->data + plane * n_plane, s);
                        continue;
                    }
                    const pooled p = pool_window(pool, x, plane * n_plane, s);
                    md_store_real(call->out[0], to, p.value);
                    if (index != NULL) {
                        index[to] = pool_index(pool, plane * n_plane, p.at);
                    }
                    to++;
                }
            }
        }
    }
    return MD_OK;
}

/* y = 0, then y[index] = x. The index counts in a shape that may be another than y's. */
md_status md_kernel_max_unpool(const md_call *call)
{
    const md_tensor *x = call->in[0], *y = call->out[0];
    const int64_t *counted = call->p->unpool.dims;
    memset(y->data, 0, y->n_elements * sizeof(float));
    for (size_t i = 0; i < x->n_elements; i++) {
        const int64_t given = ((const int64_t *)call->in[1]->data)[i];
        int64_t rest = given, at = 0, stride = 1;
        bool inside = given >= 0;
        for (unsigned j = y->n_dims; j-- > 0 && inside;) {
            inside = counted[j] > 0 && rest % counted[j] < y->dims[j];
            at += inside ? rest % counted[j] * stride : 0;
            rest /= inside ? counted[j] : 1;
            stride *= y->dims[j];
        }
        if (!inside || rest != 0) {
            return md_fail(call->err, MD_FORMAT, "index %lld lies outside the result",
                           (long long)given);
        }
        ((float *)y->data)[at] = ((const float *)x->data)[i];
    }
    return MD_OK;
}

static size_t inner_length(const md_tensor *x)
{
    size_t n = 1;
    for (unsigned i = 2; i < x->n_dims; i++) {
        n *= (size_t)x->dims[i];
    }
    return n;
}

/* y[n,c,p] = act(x[n,c,p] scale[c] + shift[c]) */
md_status md_kernel_batch_norm(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    const size_t n = inner_length(x), n_channels = (size_t)x->dims[1];
    for (size_t row = 0; row < (size_t)x->dims[0] * n_channels; row++) {
        const float *from = (const float *)x->data + row * n;
        float *to = (float *)call->out[0]->data + row * n;
        const float s = scale[row % n_channels], t = shift[row % n_channels];
        for (size_t i = 0; i < n; i++) {
            to[i] = from[i] * s + t;
        }
        if (call->p->norm.activation.function != MD_UNARY_IDENTITY) {
            md_activate(&call->p->norm.activation, to, to, n);
        }
    }
    return MD_OK;
}

/* y = (x - mean) / sqrt(var + epsilon) * scale + shift with mean and variance of each plane. */
md_status md_kernel_instance_norm(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    const size_t n = inner_length(x), n_channels = (size_t)x->dims[1];
    for (size_t row = 0; row < (size_t)x->dims[0] * n_channels; row++) {
        const float *from = (const float *)x->data + row * n;
        float *to = (float *)call->out[0]->data + row * n;
        double mean = 0.0, spread = 0.0;
        for (size_t i = 0; i < n; i++) {
            mean += (double)from[i];
        }
        mean /= (double)n;
        for (size_t i = 0; i < n; i++) {
            spread += ((double)from[i] - mean) * ((double)from[i] - mean);
        }
        spread /= (double)n;
        const double s =
            (double)scale[row % n_channels] / sqrt(spread + (double)call->p->norm.epsilon);
        for (size_t i = 0; i < n; i++) {
            to[i] = (float)(((double)from[i] - mean) * s + (double)shift[row % n_channels]);
        }
    }
    return MD_OK;
}

/* y[c] = x[c] / (bias + alpha/size * sum of x^2 over the channels c - floor((size-1)/2) ..
 * c + ceil((size-1)/2)) ^ beta */
md_status md_kernel_lrn(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const int64_t n_channels = x->dims[1], size = call->p->lrn.size;
    const size_t n = inner_length(x);
    for (int64_t row = 0; row < x->dims[0] * n_channels; row++) {
        const int64_t c = row % n_channels;
        int64_t low = c - (size - 1) / 2, high = c + size / 2;
        low = low < 0 ? 0 : low;
        high = high >= n_channels ? n_channels - 1 : high;
        const float *image = (const float *)x->data + (size_t)(row - c) * n;
        float *to = (float *)call->out[0]->data + (size_t)row * n;
        for (size_t i = 0; i < n; i++) {
            double sum = 0.0;
            for (int64_t k = low; k <= high; k++) {
                const double value = (double)image[(size_t)k * n + i];
                sum += value * value;
            }
            const double base =
                (double)call->p->lrn.bias + (double)call->p->lrn.alpha / (double)size * sum;
            to[i] = (float)((double)image[(size_t)c * n + i] /
                            pow(base, (double)call->p->lrn.beta));
        }
    }
    return MD_OK;
}

/* Rows of n: y = (x - mean) / sqrt(var + epsilon) * scale + shift, the parameters as long as a
 * row, or absent. Outputs y, the means, and 1 / sqrt(var + epsilon). */
md_status md_kernel_layer_norm(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const size_t n = (size_t)call->p->layer_norm.n;
    const float *scale = call->in[1] == NULL ? NULL : call->in[1]->data;
    const float *shift = call->in[2] == NULL ? NULL : call->in[2]->data;
    for (size_t row = 0; row < x->n_elements / n; row++) {
        const float *from = (const float *)x->data + row * n;
        float *to = (float *)call->out[0]->data + row * n;
        double mean = 0.0, spread = 0.0;
        for (size_t i = 0; i < n; i++) {
            mean += (double)from[i];
        }
        mean /= (double)n;
        for (size_t i = 0; i < n; i++) {
            spread += ((double)from[i] - mean) * ((double)from[i] - mean);
        }
        const double s = 1.0 / sqrt(spread / (double)n + (double)call->p->layer_norm.epsilon);
        for (size_t i = 0; i < n; i++) {
            const float normal = (float)(((double)from[i] - mean) * s);
            to[i] =
                normal * (scale == NULL ? 1.0F : scale[i]) + (shift == NULL ? 0.0F : shift[i]);
        }
        ((float *)call->out[1]->data)[row] = (float)mean;
        ((float *)call->out[2]->data)[row] = (float)s;
    }
    return MD_OK;
}
