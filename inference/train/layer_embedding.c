#include "inference/train/trainer_private.h"

#include <string.h>

/* Rows of a table [V,C] for the tokens, and a table [T,C] that is added by their number in the
 * text. Padding has no row, so that token 0 gets no gradient. */

enum {
    TABLE
};

typedef struct call {
    const md_train_kernels *kernels;
    const md_texts *texts;
    const int32_t *rows; /* of the table, for each token */
    const float *table, *x;
    float *y;
    size_t width;
    md_write write;
} call;

static void take_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t r = begin; r < end; r++) {
        memcpy(c->y + r * c->width, c->table + (size_t)c->texts->ids[r] * c->width,
               c->width * sizeof *c->y);
    }
}

static md_status embedding_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    call c = {.texts = &t->texts,
              .table = md_train_layer_value(t, layer, TABLE),
              .y = y->data,
              .width = (size_t)y->c};
    md_over_rows(t, t->texts.n_rows, take_rows, &c);
    return MD_OK;
}

/* Which rows of the table's gradient the last backward wrote. */
typedef struct touched {
    size_t n;
    int32_t ids[];
} touched;

static md_status embedding_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    if (layer->state == NULL) {
        const size_t n = (size_t)(t->batch * t->texts.length);
        touched *list = md_calloc(1, sizeof *list + n * sizeof *list->ids);
        if (list == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu tokens", n);
        }
        layer->state = list;
    }
    return MD_OK;
}

static void embedding_release(md_train_layer *layer)
{
    md_free(layer->state);
}

/* Columns begin..end of every token's row, so that no two threads add to the same element. */
static void scatter_columns(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t r = 0; r < c->texts->n_rows; r++) {
        float *restrict to = c->y + (size_t)c->rows[r] * c->width;
        const float *restrict from = c->x + r * c->width;
        for (size_t i = begin; i < end; i++) {
            to[i] += from[i];
        }
    }
}

static md_status embedding_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    touched *list = layer->state;
    if (!md_wants_parameter(t, layer, TABLE)) {
        return MD_OK;
    }
    float *gradient = md_parameter_gradient(t, layer, TABLE);
    call c = {.texts = &t->texts,
              .rows = t->texts.ids,
              .x = y->gradient,
              .y = gradient,
              .width = (size_t)y->c};
    const size_t row_bytes = c.width * sizeof *gradient;
    if (t->shared_gradient != NULL) { /* another layer may have written to all of it */
        memset(gradient, 0, (size_t)t->texts.n_tokens * row_bytes);
    } else { /* only what the last batch touched is not 0 */
        for (size_t i = 0; i < list->n; i++) {
            memset(gradient + (size_t)list->ids[i] * c.width, 0, row_bytes);
        }
    }
    md_over_rows(t, c.width, scatter_columns, &c);
    memcpy(list->ids, t->texts.ids, t->texts.n_rows * sizeof *list->ids);
    list->n = t->texts.n_rows;
    md_parameter_done(t, layer, TABLE);
    return MD_OK;
}

const md_train_layer_kind md_train_layer_embedding = {.name = "embedding",
                                                      .prepare = embedding_prepare,
                                                      .forward = embedding_forward,
                                                      .backward = embedding_backward,
                                                      .release = embedding_release};

static void add_positions(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t r = begin; r < end; r++) {
        const float *position = c->table + (size_t)c->texts->times[r] * c->width;
        for (size_t i = 0; i < c->width; i++) {
            c->y[r * c->width + i] = c->x[r * c->width + i] + position[i];
        }
    }
}

static md_status position_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    call c = {.texts = &t->texts,
              .table = md_train_layer_value(t, layer, TABLE),
              .x = md_train_layer_in(t, layer, 0)->data,
              .y = y->data,
              .width = (size_t)y->c};
    md_over_rows(t, t->texts.n_rows, add_positions, &c);
    return MD_OK;
}

static void copy_gradient(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->width;
    c->kernels->copy(c->x + at, c->y + at, c->write, (end - begin) * c->width);
}

static md_status position_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    const md_feature *y = md_train_layer_out(t, layer);
    call c = {.kernels = md_kernels_of(t, y),
              .texts = &t->texts,
              .rows = t->texts.times,
              .x = y->gradient,
              .width = (size_t)y->c};
    if (md_wants_parameter(t, layer, TABLE)) {
        c.y = md_parameter_gradient(t, layer, TABLE);
        memset(c.y, 0, (size_t)t->texts.length * c.width * sizeof *c.y);
        md_over_rows(t, c.width, scatter_columns, &c);
        md_parameter_done(t, layer, TABLE);
    }
    if (md_wants_gradient(t, x)) {
        c.y = x->gradient;
        c.write = md_gradient_write(x);
        md_over_rows(t, t->texts.n_rows, copy_gradient, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_position = {
    .name = "position", .forward = position_forward, .backward = position_backward};
