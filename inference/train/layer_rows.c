#include "inference/train/trainer_private.h"

#include <string.h>

/* Layers that treat each token's row by itself: layer normalisation (Ba, Kiros and Hinton 2016,
 * eq. 3) and smooth activations. */

enum {
    SCALE,
    SHIFT
};

typedef struct norm_call {
    const md_text_kernels *kernels;
    const float *x, *scale, *shift, *dy;
    float *y, *saved, *dx;
    float *d_scale, *d_shift; /* one row for each thread, d_scale NULL: none */
    float epsilon;
    size_t width;
    int add;
} norm_call;

static norm_call start_norm(const md_trainer *t, const md_train_layer *layer)
{
    const md_feature *y = md_train_layer_out(t, layer);
    return (norm_call){.kernels = t->text_kernels,
                       .x = md_train_layer_in(t, layer, 0)->data,
                       .scale = md_train_layer_value(t, layer, SCALE),
                       .shift = md_train_layer_value(t, layer, SHIFT),
                       .y = y->data,
                       .dy = y->gradient,
                       .saved = layer->kept,
                       .epsilon = layer->node.p.layer_norm.epsilon,
                       .width = (size_t)y->c};
}

static md_status norm_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = 2 * (size_t)md_team_size(t->team) *
                           (size_t)md_train_layer_out(t, layer)->c * sizeof(float);
    return MD_OK;
}

static void norm_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const norm_call *c = data;
    for (size_t r = begin; r < end; r++) {
        c->kernels->layer_norm(c->x + r * c->width, c->scale, c->shift, c->epsilon,
                               c->y + r * c->width, c->saved + 2 * r, c->width);
    }
}

static md_status norm_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    norm_call c = start_norm(t, layer);
    md_over_rows(t, md_feature_rows(t, md_train_layer_out(t, layer)), norm_rows, &c);
    return MD_OK;
}

static void norm_rows_back(void *data, size_t begin, size_t end, unsigned part)
{
    const norm_call *c = data;
    float *d_scale = c->d_scale == NULL ? NULL : c->d_scale + part * c->width;
    float *d_shift = c->d_shift == NULL ? NULL : c->d_shift + part * c->width;
    for (size_t r = begin; r < end; r++) {
        c->kernels->layer_norm_back(
            c->x + r * c->width, c->scale, c->saved + 2 * r, c->dy + r * c->width,
            c->dx == NULL ? NULL : c->dx + r * c->width, c->add, d_scale, d_shift, c->width);
    }
}

static void add_parts(md_trainer *t, md_train_layer *layer, unsigned slot, const float *parts,
                      size_t width)
{
    float *gradient = md_parameter_gradient(t, layer, slot);
    memcpy(gradient, parts, width * sizeof *gradient);
    for (unsigned part = 1; part < md_team_size(t->team); part++) {
        t->text_kernels->axpy(1.0F, parts + part * width, gradient, width);
    }
    md_parameter_done(t, layer, slot);
}

static md_status norm_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    norm_call c = start_norm(t, layer);
    const size_t n_parts = md_team_size(t->team) * c.width;
    float *parts = t->scratch;
    memset(parts, 0, 2 * n_parts * sizeof *parts);
    c.d_scale = md_wants_parameter(t, layer, SCALE) ? parts : NULL;
    c.d_shift = md_wants_parameter(t, layer, SHIFT) ? parts + n_parts : NULL;
    if (md_wants_gradient(t, x)) {
        c.dx = x->gradient;
        c.add = md_gradient_write(x) == MD_WRITE_ADD;
    }
    md_over_rows(t, md_feature_rows(t, x), norm_rows_back, &c);
    if (c.d_scale != NULL) {
        add_parts(t, layer, SCALE, c.d_scale, c.width);
    }
    if (c.d_shift != NULL) {
        add_parts(t, layer, SHIFT, c.d_shift, c.width);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_layer_norm = {.name = "layer normalisation",
                                                       .needs_inputs = true,
                                                       .prepare = norm_prepare,
                                                       .forward = norm_forward,
                                                       .backward = norm_backward};

typedef struct curve_call {
    const md_text_kernels *kernels;
    md_curve curve;
    const float *x, *y, *dy;
    float *to;
    int add;
} curve_call;

static md_curve curve_of(const md_train_layer *layer)
{
    switch ((int)layer->node.p.unary.function) {
    case MD_UNARY_TANH:
        return MD_CURVE_TANH;
    case MD_UNARY_SIGMOID:
        return MD_CURVE_SIGMOID;
    default:
        return MD_CURVE_GELU;
    }
}

static void curve_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const curve_call *c = data;
    c->kernels->curve(c->curve, c->x + begin, c->to + begin, end - begin);
}

static md_status curve_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    curve_call c = {.kernels = t->text_kernels,
                    .curve = curve_of(layer),
                    .x = md_train_layer_in(t, layer, 0)->data,
                    .to = y->data};
    md_over_rows(t, md_feature_rows(t, y) * (size_t)y->c, curve_part, &c);
    return MD_OK;
}

static void curve_part_back(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const curve_call *c = data;
    c->kernels->curve_back(c->curve, c->x + begin, c->y + begin, c->dy + begin, c->to + begin,
                           c->add, end - begin);
}

static md_status curve_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    const md_feature *y = md_train_layer_out(t, layer);
    if (md_wants_gradient(t, x)) {
        curve_call c = {.kernels = t->text_kernels,
                        .curve = curve_of(layer),
                        .x = x->data,
                        .y = y->data,
                        .dy = y->gradient,
                        .to = x->gradient,
                        .add = md_gradient_write(x) == MD_WRITE_ADD};
        md_over_rows(t, md_feature_rows(t, y) * (size_t)y->c, curve_part_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_curve = {.name = "activation",
                                                  .needs_inputs = true,
                                                  .needs_output = true,
                                                  .forward = curve_forward,
                                                  .backward = curve_backward};
