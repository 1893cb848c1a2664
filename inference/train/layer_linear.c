#include "inference/train/trainer_private.h"

/* y = clamp(alpha x op(W) + beta b), x [n,K_in], W [K_in,K_out] or transposed, always float; n
 * images or tokens.
 * dx = alpha dy op(W)^T; dW = alpha x^T dy; db = beta sum over the rows of dy. */

enum {
    WEIGHT,
    BIAS
};

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = md_team_size(t->team) * (size_t)md_train_layer_out(t, layer)->c *
                           (sizeof(double) + sizeof(float)); /* of md_sum_over_rows */
    return MD_OK;
}

/* Begin with the bias. */
typedef struct start_call {
    const float *bias;
    float beta, *y;
    size_t width;
} start_call;

static void start_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const start_call *c = data;
    for (size_t r = begin; r < end; r++) {
        float *y = c->y + r * c->width;
        for (size_t i = 0; i < c->width; i++) {
            y[i] = c->bias == NULL ? 0.0F : c->beta * c->bias[i];
        }
    }
}

typedef struct clamp_call {
    const md_train_kernels *kernels;
    const md_clamp *clamp;
    float *y;
    size_t width;
} clamp_call;

static void clamp_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const clamp_call *c = data;
    c->kernels->clamp(c->y + begin * c->width, c->y + begin * c->width,
                      (end - begin) * c->width, c->clamp);
}

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    const bool transposed = layer->node.p.gemm.transpose_b;
    const int64_t k = x->c, m = y->c;
    const size_t n = md_feature_rows(t, y);
    start_call call = {md_train_layer_value(t, layer, BIAS), layer->node.p.gemm.beta, y->data,
                       (size_t)m};
    md_over_rows(t, n, start_rows, &call);
    md_train_gemm(t, false, transposed, (int64_t)n, m, k, layer->node.p.gemm.alpha, x->data, k,
                  md_train_layer_value(t, layer, WEIGHT), transposed ? k : m, 1.0F, y->data, m);
    if (layer->clamped) {
        clamp_call clamp = {t->kernels[0], &layer->clamp, y->data, (size_t)m};
        md_over_rows(t, n, clamp_rows, &clamp);
    }
    return MD_OK;
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    const bool transposed = layer->node.p.gemm.transpose_b;
    const int64_t k = x->c, m = y->c, n = (int64_t)md_feature_rows(t, y);
    const float alpha = layer->node.p.gemm.alpha;
    md_mask_gradient(t, layer);
    const float *dy = y->gradient;
    if (md_wants_parameter(t, layer, WEIGHT)) {
        float *dw = md_parameter_gradient(t, layer, WEIGHT);
        if (transposed) {
            md_train_gemm(t, true, false, m, k, n, alpha, dy, m, x->data, k, 0.0F, dw, k);
        } else {
            md_train_gemm(t, true, false, k, m, n, alpha, x->data, k, dy, m, 0.0F, dw, m);
        }
        md_parameter_done(t, layer, WEIGHT);
    }
    if (md_wants_parameter(t, layer, BIAS)) {
        float *db = md_parameter_gradient(t, layer, BIAS);
        md_sum_over_rows(t, y, dy, NULL, db);
        for (int64_t i = 0; i < m; i++) {
            db[i] *= layer->node.p.gemm.beta;
        }
        md_parameter_done(t, layer, BIAS);
    }
    if (md_wants_gradient(t, x)) {
        const bool add = md_gradient_write(x) == MD_WRITE_ADD;
        md_train_gemm(t, false, !transposed, n, k, m, alpha, dy, m,
                      md_train_layer_value(t, layer, WEIGHT), transposed ? k : m,
                      add ? 1.0F : 0.0F, x->gradient, k);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_linear = {.name = "linear",
                                                   .needs_inputs = true,
                                                   .prepare = prepare,
                                                   .forward = forward,
                                                   .backward = backward};
