#include "inference/train/trainer_private.h"

/* y = clamp(alpha x op(W) + beta b), x [n,K_in], W [K_in,K_out] or transposed, always float.
 * dx = alpha dy op(W)^T; dW = alpha x^T dy; db = beta sum over images of dy. */

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

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    const bool transposed = layer->node.p.gemm.transpose_b;
    const int64_t k = x->c, m = y->c;
    const float *bias = md_train_layer_value(t, layer, BIAS);
    const float beta = layer->node.p.gemm.beta;
    float *out = y->data;
    for (int64_t i = 0; i < t->n * m; i++) {
        out[i] = bias == NULL ? 0.0F : beta * bias[i % m];
    }
    t->api->sgemm(false, transposed, t->n, m, k, layer->node.p.gemm.alpha, x->data, k,
                  md_train_layer_value(t, layer, WEIGHT), transposed ? k : m, 1.0F, out, m);
    if (layer->clamped) {
        t->kernels[0]->clamp(out, out, (size_t)(t->n * m), &layer->clamp);
    }
    return MD_OK;
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    const bool transposed = layer->node.p.gemm.transpose_b;
    const int64_t k = x->c, m = y->c;
    const float alpha = layer->node.p.gemm.alpha;
    md_mask_gradient(t, layer);
    const float *dy = y->gradient;
    if (md_wants_parameter(t, layer, WEIGHT)) {
        float *dw = md_parameter_gradient(t, layer, WEIGHT);
        if (transposed) {
            t->api->sgemm(true, false, m, k, t->n, alpha, dy, m, x->data, k, 0.0F, dw, k);
        } else {
            t->api->sgemm(true, false, k, m, t->n, alpha, x->data, k, dy, m, 0.0F, dw, m);
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
        t->api->sgemm(false, !transposed, t->n, k, m, alpha, dy, m,
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
