#include "inference/train/trainer_private.h"

#include <string.h>

/* Convolution as products of matrices, channels last, one image at a time and the images shared
 * among the threads. With columns X [P, R] (P output positions, R = kernel elements times the
 * group's channels), weights as W [R, K] and y [P, K]:
 *   y = X W + b,  dX = dy W^T (added up into dx),  dW = sum over images X^T dy,  db = sum dy.
 * A depthwise convolution goes element by element instead. Float alone. */

enum {
    WEIGHT,
    BIAS
};

/* Columns that are made at a time, in floats. */
#define STRIP_FLOATS ((int64_t)1 << 18)

typedef struct conv_shape {
    const md_window *w;
    int64_t groups, c_in, c_out; /* channels of all groups */
    int64_t gc_in, gc_out;       /* of one */
    int64_t n_kernel, rows;      /* kernel elements; R */
    int64_t n_in, n_out, strip;  /* positions */
    bool depthwise, pointwise;
} conv_shape;

typedef struct conv_call {
    md_trainer *t;
    const md_train_layer *layer;
    conv_shape s;
    const float *x, *dy, *bias;
    float *y, *dx;
    md_write write;
    float *weights; /* [groups][R][K], or [kernel][c] of a depthwise one */
    float *parts;   /* for each thread: columns, and a gradient in the order of weights */
    size_t n_columns, n_weights;
} conv_call;

static conv_shape shape_of(const md_trainer *t, const md_train_layer *layer)
{
    const md_conv_params *p = &layer->node.p.conv;
    const md_window *w = &p->window;
    conv_shape s = {.w = w, .groups = p->group};
    s.c_in = md_train_layer_in(t, layer, 0)->c;
    s.c_out = md_train_layer_out(t, layer)->c;
    s.gc_in = s.c_in / s.groups;
    s.gc_out = s.c_out / s.groups;
    s.n_kernel = w->kernel[1] * w->kernel[2];
    s.rows = s.n_kernel * s.gc_in;
    s.n_in = w->in[1] * w->in[2];
    s.n_out = w->out[1] * w->out[2];
    s.depthwise = s.gc_in == 1 && s.gc_out == 1 && s.groups > 1;
    s.pointwise = s.n_kernel == 1 && w->stride[1] == 1 && w->stride[2] == 1 &&
                  w->pad_begin[1] == 0 && w->pad_begin[2] == 0 && w->pad_end[1] == 0 &&
                  w->pad_end[2] == 0;
    s.strip = STRIP_FLOATS / s.rows;
    s.strip = s.strip < 64 ? 64 : s.strip;
    s.strip = s.strip > s.n_out ? s.n_out : s.strip;
    return s;
}

static size_t column_floats(const conv_shape *s)
{
    return s->depthwise || s->pointwise ? 0 : (size_t)(s->strip * s->rows);
}

static size_t weight_floats(const conv_shape *s)
{
    return (size_t)(s->rows * s->c_out);
}

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const conv_shape s = shape_of(t, layer);
    const size_t n_threads = md_team_size(t->team);
    const size_t sums = n_threads * (size_t)s.c_out * (sizeof(double) + sizeof(float));
    const size_t parts =
        (weight_floats(&s) + n_threads * (column_floats(&s) + weight_floats(&s))) *
        sizeof(float);
    layer->scratch_bytes = sums > parts ? sums : parts;
    return MD_OK;
}

/* From OIHW to the order of the products; the same loop brings a gradient back. */
static void order_weights(const conv_shape *s, const float *from, float *to, bool back)
{
    for (int64_t o = 0; o < s->c_out; o++) {
        const int64_t g = o / s->gc_out, column = o % s->gc_out;
        for (int64_t i = 0; i < s->gc_in; i++) {
            for (int64_t k = 0; k < s->n_kernel; k++) {
                const int64_t plain = (o * s->gc_in + i) * s->n_kernel + k;
                const int64_t ordered =
                    s->depthwise ? k * s->c_out + o
                                 : (g * s->rows + k * s->gc_in + i) * s->gc_out + column;
                if (back) {
                    to[plain] = from[ordered];
                } else {
                    to[ordered] = from[plain];
                }
            }
        }
    }
}

static conv_call start(md_trainer *t, const md_train_layer *layer)
{
    conv_call c = {.t = t, .layer = layer, .s = shape_of(t, layer)};
    c.x = md_train_layer_in(t, layer, 0)->data;
    c.y = md_train_layer_out(t, layer)->data;
    c.dy = md_train_layer_out(t, layer)->gradient;
    c.bias = md_train_layer_value(t, layer, BIAS);
    c.n_columns = column_floats(&c.s);
    c.n_weights = weight_floats(&c.s);
    c.weights = t->scratch;
    c.parts = c.weights + c.n_weights;
    order_weights(&c.s, md_train_layer_value(t, layer, WEIGHT), c.weights, false);
    return c;
}

static float *part_columns(const conv_call *c, unsigned part)
{
    return c->parts + (c->n_columns + c->n_weights) * part;
}

/* Columns of the output positions first..first+n of one group: copied out of the image, or
 * added into it. */
static void move_columns(const conv_shape *s, float *image, int64_t group, int64_t first,
                         int64_t n, float *columns, bool back)
{
    const md_window *w = s->w;
    const size_t n_bytes = (size_t)s->gc_in * sizeof(float);
    for (int64_t p = first; p < first + n; p++) {
        const int64_t top = p / w->out[2] * w->stride[1] - w->pad_begin[1];
        const int64_t left = p % w->out[2] * w->stride[2] - w->pad_begin[2];
        for (int64_t ky = 0; ky < w->kernel[1]; ky++) {
            for (int64_t kx = 0; kx < w->kernel[2]; kx++, columns += s->gc_in) {
                const int64_t iy = top + ky * w->dilation[1];
                const int64_t ix = left + kx * w->dilation[2];
                const bool inside = iy >= 0 && iy < w->in[1] && ix >= 0 && ix < w->in[2];
                float *at =
                    inside ? image + (iy * w->in[2] + ix) * s->c_in + group * s->gc_in : NULL;
                if (!back && inside) {
                    memcpy(columns, at, n_bytes);
                } else if (!back) {
                    memset(columns, 0, n_bytes);
                }
                for (int64_t i = 0; i < s->gc_in && back && inside; i++) {
                    at[i] += columns[i];
                }
            }
        }
    }
}

/* The input row under one kernel element of a depthwise convolution; -1: in the padding. */
static int64_t depthwise_row(const md_window *w, int64_t oy, int64_t ox, int64_t k)
{
    const int64_t iy = oy * w->stride[1] - w->pad_begin[1] + k / w->kernel[2] * w->dilation[1];
    const int64_t ix = ox * w->stride[2] - w->pad_begin[2] + k % w->kernel[2] * w->dilation[2];
    return iy >= 0 && iy < w->in[1] && ix >= 0 && ix < w->in[2] ? iy * w->in[2] + ix : -1;
}

typedef enum direction {
    FORWARD,
    BACK_DATA,
    BACK_WEIGHTS
} direction;

/* One image: y += x w, dx += dy w or dw += x dy for each channel. */
static void depthwise(const conv_shape *s, direction d, const float *x, const float *dy,
                      const float *weights, float *to)
{
    const int64_t n = s->c_out;
    for (int64_t p = 0; p < s->n_out; p++) {
        for (int64_t k = 0; k < s->n_kernel; k++) {
            const int64_t row = depthwise_row(s->w, p / s->w->out[2], p % s->w->out[2], k);
            if (row < 0) {
                continue;
            }
            const float *a = d == BACK_DATA ? dy + p * n : x + row * n;
            const float *b = d == BACK_WEIGHTS ? dy + p * n : weights + k * n;
            float *restrict out = to + (d == FORWARD     ? p * n
                                        : d == BACK_DATA ? row * n
                                                         : k * n);
            for (int64_t i = 0; i < n; i++) {
                out[i] += a[i] * b[i];
            }
        }
    }
}

static void forward_image(const conv_call *c, size_t image, unsigned part)
{
    const conv_shape *s = &c->s;
    const float *x = c->x + image * (size_t)(s->n_in * s->c_in);
    float *y = c->y + image * (size_t)(s->n_out * s->c_out);
    for (int64_t p = 0; p < s->n_out; p++) {
        for (int64_t o = 0; o < s->c_out; o++) {
            y[p * s->c_out + o] = c->bias == NULL ? 0.0F : c->bias[o];
        }
    }
    if (s->depthwise) {
        depthwise(s, FORWARD, x, NULL, c->weights, y);
        return;
    }
    float *columns = part_columns(c, part);
    for (int64_t g = 0; g < s->groups; g++) {
        for (int64_t first = 0; first < s->n_out; first += s->strip) {
            const int64_t n = s->n_out - first < s->strip ? s->n_out - first : s->strip;
            const float *a = x + first * s->c_in + g * s->gc_in;
            if (!s->pointwise) {
                /* only read there */
                move_columns(s, (float *)(uintptr_t)x, g, first, n, columns, false);
                a = columns;
            }
            c->t->api->sgemm(false, false, n, s->gc_out, s->rows, 1.0F, a,
                             s->pointwise ? s->c_in : s->rows,
                             c->weights + g * s->rows * s->gc_out, s->gc_out, 1.0F,
                             y + first * s->c_out + g * s->gc_out, s->c_out);
        }
    }
}

static void forward_images(void *data, size_t begin, size_t end, unsigned part)
{
    const conv_call *c = data;
    const size_t n = (size_t)(c->s.n_out * c->s.c_out);
    for (size_t i = begin; i < end; i++) {
        forward_image(c, i, part);
        if (c->layer->clamped) {
            c->t->kernels[0]->clamp(c->y + i * n, c->y + i * n, n, &c->layer->clamp);
        }
    }
}

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    conv_call c = start(t, layer);
    md_over_rows(t, (size_t)t->n, forward_images, &c);
    return MD_OK;
}

static void weights_image(const conv_call *c, size_t image, unsigned part)
{
    const conv_shape *s = &c->s;
    const float *x = c->x + image * (size_t)(s->n_in * s->c_in);
    const float *dy = c->dy + image * (size_t)(s->n_out * s->c_out);
    float *columns = part_columns(c, part), *dw = columns + c->n_columns;
    if (s->depthwise) {
        depthwise(s, BACK_WEIGHTS, x, dy, NULL, dw);
        return;
    }
    for (int64_t g = 0; g < s->groups; g++) {
        for (int64_t first = 0; first < s->n_out; first += s->strip) {
            const int64_t n = s->n_out - first < s->strip ? s->n_out - first : s->strip;
            const float *a = x + first * s->c_in + g * s->gc_in;
            if (!s->pointwise) {
                move_columns(s, (float *)(uintptr_t)x, g, first, n, columns, false);
                a = columns;
            }
            c->t->api->sgemm(true, false, s->rows, s->gc_out, n, 1.0F, a,
                             s->pointwise ? s->c_in : s->rows,
                             dy + first * s->c_out + g * s->gc_out, s->c_out, 1.0F,
                             dw + g * s->rows * s->gc_out, s->gc_out);
        }
    }
}

static void weights_images(void *data, size_t begin, size_t end, unsigned part)
{
    const conv_call *c = data;
    float *dw = part_columns(c, part) + c->n_columns;
    memset(dw, 0, c->n_weights * sizeof *dw);
    for (size_t i = begin; i < end; i++) {
        weights_image(c, i, part);
    }
}

static void data_image(const conv_call *c, size_t image, unsigned part)
{
    const conv_shape *s = &c->s;
    const float *dy = c->dy + image * (size_t)(s->n_out * s->c_out);
    float *dx = c->dx + image * (size_t)(s->n_in * s->c_in);
    float *columns = part_columns(c, part);
    if (c->write == MD_WRITE_SET) {
        memset(dx, 0, (size_t)(s->n_in * s->c_in) * sizeof *dx);
    }
    if (s->depthwise) {
        depthwise(s, BACK_DATA, NULL, dy, c->weights, dx);
        return;
    }
    for (int64_t g = 0; g < s->groups; g++) {
        for (int64_t first = 0; first < s->n_out; first += s->strip) {
            const int64_t n = s->n_out - first < s->strip ? s->n_out - first : s->strip;
            float *to = s->pointwise ? dx + first * s->c_in + g * s->gc_in : columns;
            c->t->api->sgemm(false, true, n, s->rows, s->gc_out, 1.0F,
                             dy + first * s->c_out + g * s->gc_out, s->c_out,
                             c->weights + g * s->rows * s->gc_out, s->gc_out,
                             s->pointwise ? 1.0F : 0.0F, to, s->pointwise ? s->c_in : s->rows);
            if (!s->pointwise) {
                move_columns(s, dx, g, first, n, columns, true);
            }
        }
    }
}

static void data_images(void *data, size_t begin, size_t end, unsigned part)
{
    const conv_call *c = data;
    for (size_t i = begin; i < end; i++) {
        data_image(c, i, part);
    }
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    md_mask_gradient(t, layer);
    if (md_wants_parameter(t, layer, BIAS)) {
        md_sum_over_rows(t, y, y->gradient, NULL, md_parameter_gradient(t, layer, BIAS));
        md_parameter_done(t, layer, BIAS);
    }
    conv_call c = start(t, layer);
    if (md_wants_parameter(t, layer, WEIGHT)) {
        md_over_rows(t, (size_t)t->n, weights_images, &c);
        float *sum = part_columns(&c, 0) + c.n_columns;
        for (unsigned part = 1; part < md_team_size(t->team); part++) {
            const float *other = part_columns(&c, part) + c.n_columns;
            for (size_t i = 0; i < c.n_weights; i++) {
                sum[i] += other[i];
            }
        }
        order_weights(&c.s, sum, md_parameter_gradient(t, layer, WEIGHT), true);
        md_parameter_done(t, layer, WEIGHT);
    }
    if (md_wants_gradient(t, x)) {
        c.dx = x->gradient;
        c.write = md_gradient_write(x);
        md_over_rows(t, (size_t)t->n, data_images, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_conv_blas = {.name = "convolution",
                                                      .needs_inputs = true,
                                                      .prepare = prepare,
                                                      .forward = forward,
                                                      .backward = backward};
