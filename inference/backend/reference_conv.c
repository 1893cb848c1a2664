/* Convolution by im2col and sgemm, its transpose, and matrix products. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <string.h>

enum {
    COLUMN_FLOATS = 1 << 20, /* im2col works on strips of about this many floats: 4 MiB */
    MIN_STRIP = 64,          /* positions: the product packs the weights anew for each strip */
    ROW_STEP = 16,           /* output channels that are not divided among threads */
    MAX_STRIP = 1 << 12
};

#define INLINE static inline __attribute__((always_inline))

/* A convolution without a window: its input is the matrix already. */
static bool is_pointwise(const md_window *w)
{
    for (unsigned i = 0; i < 3; i++) {
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->pad_begin[i] != 0 ||
            w->pad_end[i] != 0) {
            return false;
        }
    }
    return true;
}

static int64_t volume(const int64_t *lengths)
{
    return lengths[0] * lengths[1] * lengths[2];
}

/* How the positions of one group's product are divided. */
typedef struct strips {
    int64_t n_rows, n_all, length;
    bool by_rows; /* too few positions: the threads share the output channels instead */
} strips;

static strips divide(const md_conv_params *conv, int64_t c_in, unsigned n_threads)
{
    const md_window *w = &conv->window;
    strips s = {.n_rows = c_in / conv->group * volume(w->kernel), .n_all = volume(w->out)};
    s.by_rows = n_threads > 1 && s.n_all < MIN_STRIP * (int64_t)n_threads;
    s.length = COLUMN_FLOATS / s.n_rows;
    if (is_pointwise(w)) {
        s.length = s.length > MAX_STRIP ? MAX_STRIP : s.length;
    }
    const int64_t share = (s.n_all + (int64_t)n_threads - 1) / (int64_t)n_threads;
    s.length = s.length > share ? share : s.length;
    s.length = s.length < MIN_STRIP ? MIN_STRIP : s.length;
    s.length = s.by_rows || s.length > s.n_all ? s.n_all : s.length;
    return s;
}

static bool is_depthwise(const md_conv_params *conv, int64_t c_in, int64_t c_out)
{
    return conv->group == c_in && c_out == c_in;
}

/* Output positions 0..n_out-1 whose element under the kernel, left + i step, is in 0..n_in-1.
 */
static void inside(int64_t left, int64_t step, int64_t n_in, int64_t n_out, int64_t *ret_begin,
                   int64_t *ret_end)
{
    const int64_t begin = left < 0 ? (-left + step - 1) / step : 0;
    const int64_t end = n_in > left ? (n_in - left + step - 1) / step : 0;
    *ret_end = end > n_out ? n_out : end;
    *ret_begin = begin > *ret_end ? *ret_end : begin;
}

static void gather_line(const float *restrict line, int64_t step, int64_t n,
                        float *restrict row)
{
    if (step == 1) {
        memcpy(row, line, (size_t)n * sizeof *row);
    } else if (step == 2) {
        for (int64_t i = 0; i < n; i++) {
            row[i] = line[2 * i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            row[i] = line[i * step];
        }
    }
}

/* The same for outputs that lie as the inputs do, which are a shifted copy but for the edges.
 */
static void gather_shifted(const md_window *w, const float *x, int64_t left, int64_t up,
                           int64_t first, int64_t n, float *row)
{
    const int64_t width = w->out[2], height = w->out[1], last = first + n;
    int64_t begin, end, top, bottom;
    inside(left, 1, width, width, &begin, &end);
    inside(up, 1, height, height, &top, &bottom);
    /* what is copied, in output positions: from the first inner element to the last */
    int64_t from = top * width + begin, to = (bottom - 1) * width + end;
    from = from < first ? first : from;
    to = to > last ? last : to;
    if (begin >= end || top >= bottom || from >= to) {
        memset(row, 0, (size_t)n * sizeof *row);
        return;
    }
    memset(row, 0, (size_t)(from - first) * sizeof *row);
    memcpy(row + (from - first), x + from + up * width + left,
           (size_t)(to - from) * sizeof *row);
    memset(row + (to - first), 0, (size_t)(last - to) * sizeof *row);
    /* the end of each line, and the begin of the next, came from a neighbour's line */
    for (int64_t line = from / width - 1; begin > 0 || end < width; line++) {
        int64_t a = line * width + end, b = (line + 1) * width + begin;
        if (a >= to) {
            break;
        }
        a = a < from ? from : a;
        b = b > to ? to : b;
        for (; a < b; a++) {
            row[a - first] = 0.0F;
        }
    }
}

/* Fill row[0..n) with the input under one kernel element for the output positions first..
 * of one channel; positions in the padding are 0. */
static void gather_row(const md_window *w, const float *x, const int64_t *at, int64_t first,
                       int64_t n, float *row)
{
    const int64_t ow = w->out[2], left = at[2] * w->dilation[2] - w->pad_begin[2];
    int64_t x_out = first % ow, y_out = first / ow % w->out[1], z_out = first / ow / w->out[1];
    int64_t begin, end;
    if (w->stride[1] == 1 && w->stride[2] == 1 && w->in[2] == ow && w->in[1] == w->out[1] &&
        w->in[0] == 1 && w->out[0] == 1 && w->kernel[0] == 1 && w->pad_begin[0] == 0) {
        gather_shifted(w, x, left, at[1] * w->dilation[1] - w->pad_begin[1], first, n, row);
        return;
    }
    inside(left, w->stride[2], w->in[2], ow, &begin, &end);
    while (n > 0) {
        const int64_t stop = ow - x_out < n ? ow : x_out + n, run = stop - x_out;
        const int64_t z = z_out * w->stride[0] - w->pad_begin[0] + at[0] * w->dilation[0];
        const int64_t y = y_out * w->stride[1] - w->pad_begin[1] + at[1] * w->dilation[1];
        int64_t from = begin > x_out ? begin : x_out, to = end < stop ? end : stop;
        if (z < 0 || z >= w->in[0] || y < 0 || y >= w->in[1] || from >= to) {
            memset(row, 0, (size_t)run * sizeof *row);
        } else {
            const float *line = x + (z * w->in[1] + y) * w->in[2] + left + from * w->stride[2];
            memset(row, 0, (size_t)(from - x_out) * sizeof *row);
            gather_line(line, w->stride[2], to - from, row + (from - x_out));
            memset(row + (to - x_out), 0, (size_t)(stop - to) * sizeof *row);
        }
        row += run;
        n -= run;
        x_out = 0;
        if (++y_out == w->out[1]) {
            y_out = 0;
            z_out++;
        }
    }
}

/* Channels first..last-1 of columns [n_channels * kernel volume, n] of the output positions
 * at..at + n. */
static void im2col(const md_window *w, const float *x, int64_t first, int64_t last, int64_t at,
                   int64_t n, float *columns)
{
    columns += first * volume(w->kernel) * n;
    for (int64_t c = first; c < last; c++) {
        int64_t k[3];
        for (k[0] = 0; k[0] < w->kernel[0]; k[0]++) {
            for (k[1] = 0; k[1] < w->kernel[1]; k[1]++) {
                for (k[2] = 0; k[2] < w->kernel[2]; k[2]++) {
                    gather_row(w, x + c * volume(w->in), k, at, n, columns);
                    columns += n;
                }
            }
        }
    }
}

/* to[i] += weight * line[i * step] */
INLINE void add_line(const float *restrict line, int64_t step, float weight, int64_t n,
                     float *restrict to)
{
    if (step == 1) {
        for (int64_t i = 0; i < n; i++) {
            to[i] += weight * line[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            to[i] += weight * line[i * step];
        }
    }
}

/* to[i] = sum of weights[k] * lines[k / 3][i * step + k % 3], in that order: what nine times
 * add_line would give, without the eight stores between. */
INLINE void add_nine(const float *const *lines, int64_t step, const float *w, int64_t n,
                     float *restrict to)
{
    const float *restrict a = lines[0], *restrict b = lines[1], *restrict c = lines[2];
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6],
                w7 = w[7], w8 = w[8];
    if (step == 1) {
        for (int64_t i = 0; i < n; i++) {
            to[i] = w0 * a[i] + w1 * a[i + 1] + w2 * a[i + 2] + w3 * b[i] + w4 * b[i + 1] +
                    w5 * b[i + 2] + w6 * c[i] + w7 * c[i + 1] + w8 * c[i + 2];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            const int64_t j = i * step;
            to[i] = w0 * a[j] + w1 * a[j + 1] + w2 * a[j + 2] + w3 * b[j] + w4 * b[j + 1] +
                    w5 * b[j + 2] + w6 * c[j] + w7 * c[j + 1] + w8 * c[j + 2];
        }
    }
}

/* One row of one plane. */
INLINE void depthwise_row(const md_window *w, int64_t oz, int64_t oy, const float *x,
                          const float *weight, float *out)
{
    memset(out, 0, (size_t)w->out[2] * sizeof *out);
    for (int64_t kz = 0; kz < w->kernel[0]; kz++) {
        const int64_t z = oz * w->stride[0] - w->pad_begin[0] + kz * w->dilation[0];
        for (int64_t ky = 0; ky < w->kernel[1]; ky++, weight += w->kernel[2]) {
            const int64_t y = oy * w->stride[1] - w->pad_begin[1] + ky * w->dilation[1];
            if (z < 0 || z >= w->in[0] || y < 0 || y >= w->in[1]) {
                continue;
            }
            const float *line = x + (z * w->in[1] + y) * w->in[2];
            for (int64_t kx = 0; kx < w->kernel[2]; kx++) {
                const int64_t left = kx * w->dilation[2] - w->pad_begin[2];
                int64_t begin, end;
                inside(left, w->stride[2], w->in[2], w->out[2], &begin, &end);
                if (begin < end) {
                    add_line(line + left + begin * w->stride[2], w->stride[2], weight[kx],
                             end - begin, out + begin);
                }
            }
        }
    }
}

/* A 3 x 3 window on one plane: the usual one. */
static bool is_three(const md_window *w)
{
    return w->kernel[0] == 1 && w->in[0] == 1 && w->out[0] == 1 && w->pad_begin[0] == 0 &&
           w->kernel[1] == 3 && w->kernel[2] == 3 && w->dilation[1] == 1 && w->dilation[2] == 1;
}

/* Rows and columns of the input, with padding, that its windows see. */
static int64_t extent(const md_window *w, unsigned axis)
{
    return (w->out[axis] - 1) * w->stride[axis] + 3;
}

/* One plane. The two below are this, for different processors: no product is fused with its
 * sum, so that both compute the same. padded: room for the plane with its padding, so that no
 * window has an edge. */
INLINE void depthwise(const md_window *w, const float *x, const float *weights, float *padded,
                      float *out)
{
    const int64_t ow = w->out[2], width = extent(w, 2), left = w->pad_begin[2];
    if (!is_three(w)) {
        for (int64_t row = 0; row < w->out[0] * w->out[1]; row++) {
            depthwise_row(w, row / w->out[1], row % w->out[1], x, weights, out + row * ow);
        }
        return;
    }
    const int64_t n = w->in[2] < width - left ? w->in[2] : width - left;
    for (int64_t row = 0; row < extent(w, 1); row++) {
        const int64_t y = row - w->pad_begin[1];
        float *to = padded + row * width;
        if (y < 0 || y >= w->in[1] || n <= 0) {
            memset(to, 0, (size_t)width * sizeof *to);
        } else {
            memset(to, 0, (size_t)left * sizeof *to);
            memcpy(to + left, x + y * w->in[2], (size_t)n * sizeof *to);
            memset(to + left + n, 0, (size_t)(width - left - n) * sizeof *to);
        }
    }
    for (int64_t oy = 0; oy < w->out[1]; oy++) {
        const float *top = padded + oy * w->stride[1] * width;
        const float *const lines[] = {top, top + width, top + 2 * width};
        add_nine(lines, w->stride[2], weights, ow, out + oy * ow);
    }
}

typedef void (*depthwise_fn)(const md_window *w, const float *x, const float *weights,
                             float *padded, float *out);

static void depthwise_any(const md_window *w, const float *x, const float *weights,
                          float *padded, float *out)
{
    depthwise(w, x, weights, padded, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void depthwise_avx2(const md_window *w, const float *x,
                                                           const float *weights, float *padded,
                                                           float *out)
{
    depthwise(w, x, weights, padded, out);
}
#endif

static depthwise_fn choose_depthwise(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        return depthwise_avx2;
    }
#endif
    return depthwise_any;
}

size_t md_conv_workspace(const md_conv_params *conv, int64_t c_in, int64_t c_out,
                         unsigned n_threads)
{
    const md_window *w = &conv->window;
    if (is_depthwise(conv, c_in, c_out)) {
        return is_three(w)
                   ? (size_t)extent(w, 1) * (size_t)extent(w, 2) * n_threads * sizeof(float)
                   : 0;
    }
    if (is_pointwise(w)) {
        return 0;
    }
    const strips s = divide(conv, c_in, n_threads);
    return (size_t)s.n_rows * (size_t)s.length * (s.by_rows ? 1 : n_threads) * sizeof(float);
}

/* The convolution of one image, or of one group of its channels. */
typedef struct conv_job {
    const md_call *call;
    strips s;
    const float *x, *weights, *bias, *residual; /* bias, residual NULL: none */
    int64_t c_in, c_out;
    float *out;
} conv_job;

/* Bias, residual and activation on channels first..last-1, positions at..at + n. */
static void finish_output(const conv_job *j, int64_t first, int64_t last, int64_t at, int64_t n)
{
    const md_activation *activation = &j->call->p->conv.activation;
    for (int64_t c = first; c < last; c++) {
        float *restrict to = j->out + c * j->s.n_all + at;
        const float shift = j->bias == NULL ? 0.0F : j->bias[c];
        if (j->residual != NULL) {
            const float *restrict add = j->residual + c * j->s.n_all + at;
            for (int64_t i = 0; i < n; i++) {
                to[i] = to[i] + shift + add[i];
            }
        } else if (j->bias != NULL) {
            for (int64_t i = 0; i < n; i++) {
                to[i] += shift;
            }
        }
        if (activation->function != MD_UNARY_IDENTITY) {
            md_activate(activation, to, to, (size_t)n);
        }
    }
}

static void depthwise_part(void *data, unsigned part, unsigned n_parts)
{
    const conv_job *j = data;
    const md_window *w = &j->call->p->conv.window;
    const depthwise_fn plane = choose_depthwise();
    float *padded =
        is_three(w) ? (float *)j->call->workspace + (int64_t)part * extent(w, 1) * extent(w, 2)
                    : NULL;
    const int64_t last = md_threads_first(j->c_out, 1, part + 1, n_parts);
    for (int64_t c = md_threads_first(j->c_out, 1, part, n_parts); c < last; c++) {
        plane(w, j->x + c * volume(w->in), j->weights + c * volume(w->kernel), padded,
              j->out + c * j->s.n_all);
        finish_output(j, c, c + 1, 0, j->s.n_all);
    }
}

/* out [c_out, positions] = weights [c_out, rows] columns [rows, positions], strip by strip. */
static void strips_part(void *data, unsigned part, unsigned n_parts)
{
    const conv_job *j = data;
    const md_window *w = &j->call->p->conv.window;
    const strips *s = &j->s;
    const bool pointwise = is_pointwise(w);
    float *columns =
        pointwise ? NULL : (float *)j->call->workspace + (int64_t)part * s->n_rows * s->length;
    const int64_t last = md_threads_first(s->n_all, s->length, part + 1, n_parts);
    for (int64_t at = md_threads_first(s->n_all, s->length, part, n_parts); at < last;
         at += s->length) {
        const int64_t n = s->n_all - at < s->length ? s->n_all - at : s->length;
        if (!pointwise) {
            im2col(w, j->x, 0, j->c_in, at, n, columns);
        }
        j->call->sgemm(false, false, j->c_out, n, s->n_rows, 1.0F, j->weights, s->n_rows,
                       pointwise ? j->x + at : columns, pointwise ? s->n_all : n, 0.0F,
                       j->out + at, s->n_all);
        finish_output(j, 0, j->c_out, at, n);
    }
}

static void columns_part(void *data, unsigned part, unsigned n_parts)
{
    const conv_job *j = data;
    im2col(&j->call->p->conv.window, j->x, md_threads_first(j->c_in, 1, part, n_parts),
           md_threads_first(j->c_in, 1, part + 1, n_parts), 0, j->s.n_all, j->call->workspace);
}

static void rows_part(void *data, unsigned part, unsigned n_parts)
{
    const conv_job *j = data;
    const strips *s = &j->s;
    const int64_t first = md_threads_first(j->c_out, ROW_STEP, part, n_parts),
                  last = md_threads_first(j->c_out, ROW_STEP, part + 1, n_parts);
    if (first < last) {
        j->call->sgemm(false, false, last - first, s->n_all, s->n_rows, 1.0F,
                       j->weights + first * s->n_rows, s->n_rows,
                       is_pointwise(&j->call->p->conv.window) ? j->x : j->call->workspace,
                       s->n_all, 0.0F, j->out + first * s->n_all, s->n_all);
        finish_output(j, first, last, 0, s->n_all);
    }
}

static void convolve(conv_job *j)
{
    md_threads *threads = j->call->threads;
    if (!j->s.by_rows) {
        md_threads_run(threads, strips_part, j);
        return;
    }
    if (!is_pointwise(&j->call->p->conv.window)) {
        md_threads_run(threads, columns_part, j);
    }
    md_threads_run(threads, rows_part, j);
}

static const float *optional_input(const md_call *call, unsigned i)
{
    return i < call->n_in && call->in[i] != NULL ? call->in[i]->data : NULL;
}

/* y[n,k,p] = act(b[k] + r[n,k,p] + sum_{c,q} x[n, c, p stride - pad + q dilation] w[k,c,q]),
 * with x [N,C,D,H,W], w [K,C/group,kd,kh,kw]; inputs x, w, b or none, r or none. */
md_status md_kernel_conv(const md_call *call)
{
    const md_conv_params *conv = &call->p->conv;
    const md_tensor *x = call->in[0], *weights = call->in[1], *y = call->out[0];
    const int64_t c_in = x->dims[1], c_out = y->dims[1];
    const int64_t n_in = volume(conv->window.in), n_out = volume(conv->window.out);
    const bool separate = is_depthwise(conv, c_in, c_out);
    const int64_t group = separate ? 1 : conv->group;
    const int64_t n_weights = (int64_t)weights->n_elements / group;
    const float *bias = optional_input(call, 2), *residual = optional_input(call, 3);
    const strips s = divide(conv, c_in, md_threads_count(call->threads));
    if (y->n_elements == 0) {
        return MD_OK;
    }
    for (int64_t n = 0; n < x->dims[0]; n++) {
        for (int64_t g = 0; g < group; g++) {
            const int64_t first = g * (c_out / group), at = (n * c_out + first) * n_out;
            conv_job j = {.call = call,
                          .s = s,
                          .x = (const float *)x->data + (n * c_in + g * (c_in / group)) * n_in,
                          .weights = (const float *)weights->data + g * n_weights,
                          .bias = bias == NULL ? NULL : bias + first,
                          .residual = residual == NULL ? NULL : residual + at,
                          .c_in = c_in / group,
                          .c_out = c_out / group,
                          .out = (float *)y->data + at};
            if (separate) {
                md_threads_run(call->threads, depthwise_part, &j);
            } else {
                convolve(&j);
            }
        }
    }
    return MD_OK;
}

/* Add one row of columns back: the reverse of gather_row. Window in and out are those of the
 * transposed convolution, so its input positions are the columns' positions. */
static void scatter_row(const md_window *w, const float *row, const int64_t *at, float *out)
{
    for (int64_t z_in = 0; z_in < w->in[0]; z_in++) {
        int64_t z = z_in * w->stride[0] - w->pad_begin[0] + at[0] * w->dilation[0];
        for (int64_t y_in = 0; y_in < w->in[1]; y_in++) {
            int64_t y = y_in * w->stride[1] - w->pad_begin[1] + at[1] * w->dilation[1];
            const float *from = row + (z_in * w->in[1] + y_in) * w->in[2];
            if (z < 0 || z >= w->out[0] || y < 0 || y >= w->out[1]) {
                continue;
            }
            float *line = out + (z * w->out[1] + y) * w->out[2];
            for (int64_t x_in = 0; x_in < w->in[2]; x_in++) {
                int64_t column = x_in * w->stride[2] - w->pad_begin[2] + at[2] * w->dilation[2];
                if (column >= 0 && column < w->out[2]) {
                    line[column] += from[x_in];
                }
            }
        }
    }
}

/* The gradient of a convolution with respect to its input: y[n,k,p] = b[k] + sum over c, i, q
 * with p = i stride - pad + q dilation of x[n,c,i] w[c,k,q]; w [C,K/group,kd,kh,kw]. workspace:
 * columns [K/group * kernel volume, input positions]. */
md_status md_kernel_conv_transpose(const md_call *call)
{
    const md_conv_params *conv = &call->p->conv;
    const md_window *w = &conv->window;
    const md_tensor *x = call->in[0], *y = call->out[0];
    const int64_t c_in = x->dims[1] / conv->group, c_out = y->dims[1] / conv->group;
    const int64_t n_in = volume(w->in), n_out = volume(w->out);
    const int64_t n_rows = c_out * volume(w->kernel);
    float *columns = call->workspace;
    memset(y->data, 0, y->n_elements * sizeof(float));
    for (int64_t n = 0; n < x->dims[0]; n++) {
        for (int64_t g = 0; g < conv->group; g++) {
            const float *from = (const float *)x->data + (n * conv->group + g) * c_in * n_in;
            const float *weights = (const float *)call->in[1]->data + g * c_in * n_rows;
            float *to = (float *)y->data + (n * conv->group + g) * c_out * n_out;
            call->sgemm(true, false, n_rows, n_in, c_in, 1.0F, weights, n_rows, from, n_in,
                        0.0F, columns, n_in);
            const float *row = columns;
            for (int64_t c = 0; c < c_out; c++) {
                int64_t at[3];
                for (at[0] = 0; at[0] < w->kernel[0]; at[0]++) {
                    for (at[1] = 0; at[1] < w->kernel[1]; at[1]++) {
                        for (at[2] = 0; at[2] < w->kernel[2]; at[2]++) {
                            scatter_row(w, row, at, to + c * n_out);
                            row += n_in;
                        }
                    }
                }
            }
        }
        const conv_job finish = {.call = call,
                                 .s.n_all = n_out,
                                 .bias = optional_input(call, 2),
                                 .out = (float *)y->data + n * y->dims[1] * n_out};
        finish_output(&finish, 0, y->dims[1], 0, n_out);
    }
    return MD_OK;
}

/* Y [m,n] = act(alpha op(A) op(B) + beta C), C broadcast to [m,n]. */
md_status md_kernel_gemm(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    const bool ta = call->p->gemm.transpose_a, tb = call->p->gemm.transpose_b;
    const int64_t m = y->dims[0], n = y->dims[1], k = a->dims[ta ? 0 : 1];
    const float beta = call->p->gemm.beta;
    float *out = y->data;
    if (y->n_elements == 0) {
        return MD_OK;
    }
    memset(out, 0, y->n_elements * sizeof *out);
    if (call->n_in > 2 && call->in[2] != NULL && beta != 0.0F) {
        md_stride_walk walk = {.n_dims = 2, .dims = {m, n}};
        const float *c = call->in[2]->data;
        md_stride_walk_broadcast(&walk, call->in[2]);
        for (int64_t i = 0; i < m * n; i++) {
            out[i] = beta * c[walk.offset[0]];
            (void)md_stride_walk_next(&walk, 0);
        }
    }
    if (k > 0) {
        call->sgemm(ta, tb, m, n, k, call->p->gemm.alpha, a->data, a->dims[1], b->data,
                    b->dims[1], 1.0F, out, n);
    }
    if (call->p->gemm.activation.function != MD_UNARY_IDENTITY) {
        md_activate(&call->p->gemm.activation, out, out, y->n_elements);
    }
    return MD_OK;
}

/* C [m,n] = A [m,k] B [k,n] of other types than float32; integers wrap around. */
static void typed_product(md_dtype dtype, const void *a, const void *b, void *c, int64_t m,
                          int64_t n, int64_t k)
{
    switch ((int)dtype) {
#define PRODUCT(dtype, T, U)                                                                   \
    case dtype: {                                                                              \
        const T *x = a, *y = b;                                                                \
        T *z = c;                                                                              \
        memset(z, 0, (size_t)(m * n) * sizeof *z);                                             \
        for (int64_t i = 0; i < m; i++) {                                                      \
            for (int64_t l = 0; l < k; l++) {                                                  \
                for (int64_t j = 0; j < n; j++) {                                              \
                    z[i * n + j] = (T)((U)z[i * n + j] + (U)x[i * k + l] * (U)y[l * n + j]);   \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
        break;                                                                                 \
    }
        MD_FOR_EACH_INTEGER(PRODUCT)
        MD_FOR_EACH_REAL(PRODUCT)
#undef PRODUCT
    default:
        break;
    }
}

/* Y[..., m, n] = A[..., m, k] B[..., k, n], the leading axes broadcast. */
md_status md_kernel_matmul(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    const int64_t m = y->dims[y->n_dims - 2], n = y->dims[y->n_dims - 1];
    const int64_t k = a->dims[a->n_dims - 1];
    const size_t n_bytes = md_dtype_bytes(y->dtype);
    uint8_t *out = y->data;
    if (y->n_elements == 0) {
        return MD_OK;
    }
    if (k == 0) {
        memset(out, 0, y->n_elements * n_bytes);
        return MD_OK;
    }
    md_tensor a_batch = *a, b_batch = *b;
    a_batch.n_dims -= 2;
    b_batch.n_dims -= 2;
    md_stride_walk walk = {.n_dims = y->n_dims - 2};
    memcpy(walk.dims, y->dims, sizeof y->dims);
    md_stride_walk_broadcast(&walk, &a_batch);
    md_stride_walk_broadcast(&walk, &b_batch);
    do {
        const uint8_t *x =
            (const uint8_t *)a->data + (size_t)(walk.offset[0] * m * k) * n_bytes;
        const uint8_t *z =
            (const uint8_t *)b->data + (size_t)(walk.offset[1] * k * n) * n_bytes;
        if (y->dtype == MD_F32) {
            call->sgemm(false, false, m, n, k, 1.0F, (const void *)x, k, (const void *)z, n,
                        0.0F, (void *)out, n);
        } else {
            typed_product(y->dtype, x, z, out, m, n, k);
        }
        out += (size_t)(m * n) * n_bytes;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}
