#include "inference/train/trainer_private.h"

#include <string.h>

/* Pools, image by image, and the layers that only move elements. */

typedef struct call {
    const md_train_kernels *kernels;
    const md_pool_params *pool;
    const uint8_t *x;
    uint8_t *y, *index;
    size_t x_bytes, y_bytes, index_bytes; /* of one image */
    size_t width, rows;
    md_write write;
    double *sums;  /* [parts][width] */
    float *floats; /* [parts][width] */
} call;

static call start(md_trainer *t, const md_train_layer *layer)
{
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    call c = {.kernels = md_kernels_of(t, x),
              .pool = &layer->node.p.pool,
              .x = x->data,
              .y = y->data,
              .index = layer->kept,
              .x_bytes = x->n_per_image * md_feature_element_bytes(x),
              .y_bytes = y->n_per_image * md_feature_element_bytes(y),
              .index_bytes = layer->kept_bytes,
              .width = (size_t)x->c,
              .rows = (size_t)(x->h * x->w),
              .write = MD_WRITE_SET};
    c.sums = t->scratch;
    c.floats = (float *)(c.sums + c.width * md_team_size(t->team));
    return c;
}

/* From the output's gradient to the input's; false: it is not wanted. */
static bool start_back(md_trainer *t, const md_train_layer *layer, call *c)
{
    md_feature *x = md_train_layer_in(t, layer, 0);
    if (!md_wants_gradient(t, x)) {
        return false;
    }
    *c = start(t, layer);
    c->x = md_train_layer_out(t, layer)->gradient;
    c->y = x->gradient;
    c->write = md_gradient_write(x);
    const size_t swap = c->x_bytes;
    c->x_bytes = c->y_bytes;
    c->y_bytes = swap;
    return true;
}

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = md_team_size(t->team) * (size_t)md_train_layer_in(t, layer, 0)->c *
                           (sizeof(double) + sizeof(float));
    return MD_OK;
}

static void max_images(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->max_pool(&c->pool->window, c->width, c->x + i * c->x_bytes,
                             c->y + i * c->y_bytes, c->index + i * c->index_bytes);
    }
}

static md_status max_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    md_over_rows(t, (size_t)t->n, max_images, &c);
    return MD_OK;
}

static void max_images_back(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->max_pool_back(&c->pool->window, c->width, c->x + i * c->x_bytes,
                                  c->index + i * c->index_bytes, c->y + i * c->y_bytes,
                                  c->write);
    }
}

static md_status max_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c;
    if (start_back(t, layer, &c)) {
        md_over_rows(t, (size_t)t->n, max_images_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_max_pool = {
    .name = "maximum", .prepare = prepare, .forward = max_forward, .backward = max_backward};

static void mean_images(void *data, size_t begin, size_t end, unsigned part)
{
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->mean_pool(&c->pool->window, c->pool->count_include_pad, c->width,
                              c->x + i * c->x_bytes, c->y + i * c->y_bytes,
                              c->floats + c->width * part);
    }
}

static md_status mean_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    md_over_rows(t, (size_t)t->n, mean_images, &c);
    return MD_OK;
}

static void mean_images_back(void *data, size_t begin, size_t end, unsigned part)
{
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->mean_pool_back(&c->pool->window, c->pool->count_include_pad, c->width,
                                   c->x + i * c->x_bytes, c->y + i * c->y_bytes, c->write,
                                   c->floats + c->width * part);
    }
}

static md_status mean_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c;
    if (start_back(t, layer, &c)) {
        md_over_rows(t, (size_t)t->n, mean_images_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_mean_pool = {
    .name = "mean", .prepare = prepare, .forward = mean_forward, .backward = mean_backward};

/* The mean over all positions, always float. */
static void global_images(void *data, size_t begin, size_t end, unsigned part)
{
    const call *c = data;
    double *sums = c->sums + c->width * part;
    for (size_t i = begin; i < end; i++) {
        float *y = (float *)(void *)(c->y + i * c->y_bytes);
        memset(sums, 0, c->width * sizeof *sums);
        c->kernels->sum_rows(c->x + i * c->x_bytes, NULL, c->rows, c->width, sums,
                             c->floats + c->width * part);
        for (size_t j = 0; j < c->width; j++) {
            y[j] = (float)(sums[j] / (double)c->rows);
        }
    }
}

static md_status global_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    md_over_rows(t, (size_t)t->n, global_images, &c);
    return MD_OK;
}

static void global_images_back(void *data, size_t begin, size_t end, unsigned part)
{
    const call *c = data;
    float *line = c->floats + c->width * part;
    const float share = 1.0F / (float)c->rows;
    const size_t row_bytes = c->y_bytes / c->rows;
    for (size_t i = begin; i < end; i++) {
        const float *dy = (const float *)(const void *)(c->x + i * c->x_bytes);
        for (size_t j = 0; j < c->width; j++) {
            line[j] = dy[j] * share;
        }
        for (size_t r = 0; r < c->rows; r++) {
            c->kernels->narrow(line, c->y + i * c->y_bytes + r * row_bytes, c->write, c->width);
        }
    }
}

static md_status global_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c;
    if (start_back(t, layer, &c)) {
        md_over_rows(t, (size_t)t->n, global_images_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_global_mean = {.name = "global mean",
                                                        .prepare = prepare,
                                                        .forward = global_forward,
                                                        .backward = global_backward};

/* Channels last to planes one after another, as [N,K] means it; always float. */
static void flatten_images(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->to_planes(c->x + i * c->x_bytes, (float *)(void *)(c->y + i * c->y_bytes),
                              c->write, c->rows, c->width);
    }
}

static md_status flatten_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    md_over_rows(t, (size_t)t->n, flatten_images, &c);
    return MD_OK;
}

static void flatten_images_back(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t i = begin; i < end; i++) {
        c->kernels->from_planes((const float *)(const void *)(c->x + i * c->x_bytes),
                                c->y + i * c->y_bytes, c->write, c->rows, c->width);
    }
}

static md_status flatten_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c;
    if (start_back(t, layer, &c)) {
        md_over_rows(t, (size_t)t->n, flatten_images_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_flatten = {.name = "flatten",
                                                    .prepare = prepare,
                                                    .forward = flatten_forward,
                                                    .backward = flatten_backward};

/* Channels of several features beside each other. */
typedef struct join_call {
    const md_train_kernels *kernels;
    const uint8_t *x;
    uint8_t *y;
    size_t from_width, to_width, width, element_bytes;
    md_write write;
} join_call;

static void join_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const join_call *c = data;
    c->kernels->columns(c->x + begin * c->from_width * c->element_bytes, c->from_width,
                        c->y + begin * c->to_width * c->element_bytes, c->to_width, c->write,
                        end - begin, c->width);
}

static md_status concat_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    size_t done = 0;
    for (unsigned i = 0; i < layer->n_inputs; i++) {
        const md_feature *x = md_train_layer_in(t, layer, i);
        join_call c = {.kernels = md_kernels_of(t, x),
                       .x = x->data,
                       .y = (uint8_t *)y->data + done * md_feature_element_bytes(y),
                       .from_width = (size_t)x->c,
                       .to_width = (size_t)y->c,
                       .width = (size_t)x->c,
                       .element_bytes = md_feature_element_bytes(x),
                       .write = MD_WRITE_SET};
        md_over_rows(t, md_feature_rows(t, x), join_rows, &c);
        done += (size_t)x->c;
    }
    return MD_OK;
}

static md_status concat_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    size_t done = 0;
    for (unsigned i = 0; i < layer->n_inputs; i++) {
        md_feature *x = md_train_layer_in(t, layer, i);
        if (md_wants_gradient(t, x)) {
            join_call c = {.kernels = md_kernels_of(t, x),
                           .x = (const uint8_t *)y->gradient +
                                done * md_feature_element_bytes(y),
                           .y = x->gradient,
                           .from_width = (size_t)y->c,
                           .to_width = (size_t)x->c,
                           .width = (size_t)x->c,
                           .element_bytes = md_feature_element_bytes(x),
                           .write = md_gradient_write(x)};
            md_over_rows(t, md_feature_rows(t, x), join_rows, &c);
        }
        done += (size_t)x->c;
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_concat = {
    .name = "concatenation", .forward = concat_forward, .backward = concat_backward};
