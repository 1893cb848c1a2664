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

enum {
    BLOCK = 64 /* outputs of one row at a time */
};

/* The maximum under each window of a block of one row; of NaN and a number it is NaN. */
static void widen(const float *restrict line, int64_t step, int64_t n, float *restrict best)
{
    if (step == 1) {
        for (int64_t i = 0; i < n; i++) {
            best[i] = line[i] > best[i] || line[i] != line[i] ? line[i] : best[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            const float value = line[i * step];
            best[i] = value > best[i] || value != value ? value : best[i];
        }
    }
}

static void add(const float *restrict line, int64_t step, int64_t n, double *restrict sum)
{
    for (int64_t i = 0; i < n; i++) {
        sum[i] += (double)line[i * step];
    }
}

/* Outputs first..first+n-1 of one row of one plane, window element by window element: the same
 * sums in the same order as pool_usual. */
static void pool_block(const md_pool_params *pool, const float *x, const span *s, int64_t first,
                       int64_t n, float *out)
{
    const md_window *w = &pool->window;
    const int64_t step = w->stride[2];
    double sum[BLOCK] = {0};
    for (int64_t i = 0; i < n; i++) {
        out[i] = -INFINITY;
    }
    for (int64_t z = s[0].first; z < s[0].end; z++) {
        for (int64_t y = s[1].first; y < s[1].end; y++) {
            const float *line = x + ((s[0].start + z * w->dilation[0]) * w->in[1] + s[1].start +
                                     y * w->dilation[1]) *
                                        w->in[2];
            for (int64_t k = 0; k < w->kernel[2]; k++) {
                const int64_t left =
                    first * step - w->pad_begin[2] + k * w->dilation[2]; /* of output 0 */
                const int64_t begin = left < 0 ? (-left + step - 1) / step : 0;
                int64_t end = w->in[2] > left ? (w->in[2] - left + step - 1) / step : 0;
                end = end > n ? n : end;
                if (begin < end && pool->average) {
                    add(line + left + begin * step, step, end - begin, sum + begin);
                } else if (begin < end) {
                    widen(line + left + begin * step, step, end - begin, out + begin);
                }
            }
        }
    }
    for (int64_t i = 0; i < n && pool->average; i++) {
        const span across = window_span(w, 2, first + i);
        int64_t n_seen = pool->count_include_pad ? across.n_padded : across.end - across.first;
        for (unsigned j = 0; j < 2; j++) {
            n_seen *= pool->count_include_pad ? s[j].n_padded : s[j].end - s[j].first;
        }
        out[i] = (float)(sum[i] / (double)n_seen);
    }
}

static void pool_row(const md_call *call, int64_t plane, span *s, size_t to)
{
    const md_pool_params *pool = &call->p->pool;
    const md_window *w = &pool->window;
    const md_tensor *x = call->in[0];
    const int64_t n_plane = w->in[0] * w->in[1] * w->in[2];
    int64_t *index = call->n_out > 1 ? call->out[1]->data : NULL;
    const bool usual = x->dtype == MD_F32 && index == NULL && pool->p == 0;
    if (usual && w->out[2] > 1) {
        for (int64_t ox = 0; ox < w->out[2]; ox += BLOCK) {
            const int64_t rest = w->out[2] - ox;
            pool_block(pool, (const float *)x->data + plane * n_plane, s, ox,
                       rest < BLOCK ? rest : BLOCK,
                       (float *)call->out[0]->data + to + (size_t)ox);
        }
        return;
    }
    for (int64_t ox = 0; ox < w->out[2]; ox++, to++) {
        s[2] = window_span(w, 2, ox);
        if (usual) {
            ((float *)call->out[0]->data)[to] =
                pool_usual(pool, (const float *)x->data + plane * n_plane, s);
            continue;
        }
        const pooled p = pool_window(pool, x, plane * n_plane, s);
        md_store_real(call->out[0], to, p.value);
        if (index != NULL) {
            index[to] = pool_index(pool, plane * n_plane, p.at);
        }
    }
}

static void pool_part(void *data, unsigned part, unsigned n_parts)
{
    const md_call *call = data;
    const md_window *w = &call->p->pool.window;
    const int64_t n_planes = call->in[0]->dims[0] * call->in[0]->dims[1];
    const int64_t first = md_threads_first(n_planes, 1, part, n_parts),
                  last = md_threads_first(n_planes, 1, part + 1, n_parts);
    size_t to = (size_t)(first * w->out[0] * w->out[1] * w->out[2]);
    for (int64_t plane = first; plane < last; plane++) {
        span s[3] = {{0}};
        for (int64_t oz = 0; oz < w->out[0]; oz++) {
            s[0] = window_span(w, 0, oz);
            for (int64_t oy = 0; oy < w->out[1]; oy++) {
                s[1] = window_span(w, 1, oy);
                pool_row(call, plane, s, to);
                to += (size_t)w->out[2];
            }
        }
    }
}

/* Maximum, mean or norm of x [N,C,D,H,W] under each window; and where the maxima are. */
md_status md_kernel_pool(const md_call *call)
{
    md_call shared = *call;
    md_threads_run(call->threads, pool_part, &shared);
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

static void batch_norm_part(void *data, unsigned part, unsigned n_parts)
{
    const md_call *call = data;
    const md_tensor *x = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    const md_activation *activation = &call->p->norm.activation;
    const size_t n = inner_length(x), n_channels = (size_t)x->dims[1];
    const int64_t n_rows = x->dims[0] * x->dims[1];
    const size_t last = (size_t)md_threads_first(n_rows, 1, part + 1, n_parts);
    for (size_t row = (size_t)md_threads_first(n_rows, 1, part, n_parts); row < last; row++) {
        const float *restrict from = (const float *)x->data + row * n;
        float *restrict to = (float *)call->out[0]->data + row * n;
        const float s = scale[row % n_channels], t = shift[row % n_channels];
        if (activation->function == MD_UNARY_RELU) {
            for (size_t i = 0; i < n; i++) {
                const float y = from[i] * s + t;
                to[i] = y < 0.0F ? 0.0F : y;
            }
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            to[i] = from[i] * s + t;
        }
        if (activation->function != MD_UNARY_IDENTITY) {
            md_activate(activation, to, to, n);
        }
    }
}

/* y[n,c,p] = act(x[n,c,p] scale[c] + shift[c]) */
md_status md_kernel_batch_norm(const md_call *call)
{
    md_call shared = *call;
    md_threads_run(call->threads, batch_norm_part, &shared);
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
