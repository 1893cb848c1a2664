#include "inference/train/trainer_private.h"

#include <math.h>
#include <string.h>

/* BatchNormalization, with the addition and the clamp that follow it drawn in:
 * y = clamp(g (x - mean) / sqrt(var + epsilon) + b + residual), Ioffe and Szegedy 2015, alg. 1;
 * var is that of the batch (divided by N) in training, the running one otherwise. Gradients:
 * dz = dy where the clamp let y through, db = sum dz, dg = sum dz xh, and with the batch's
 * statistics dx = g / sd (dz - mean(dz) - xh mean(dz xh)), xh = (x - mean) / sd; with running
 * ones dx = g / sd dz. */

enum {
    SCALE,
    OFFSET,
    MEAN,
    VARIANCE
};

/* Offsets into layer->saved, in units of the number of channels. */
enum {
    SAVED_MEAN,
    SAVED_INVERSE,
    SAVED_A,
    SAVED_B,
    SAVED_K
};

/* A double array pair and float scratch for each part. */
typedef struct norm_call {
    md_trainer *t;
    const md_train_layer *layer;
    const md_train_kernels *kernels;
    size_t c, row_bytes;
    const uint8_t *x, *residual;
    uint8_t *y, *dy, *ds, *dx;
    md_write ds_write, dx_write;
    double *sums;  /* [parts][2][c] */
    float *floats; /* [parts][2 c] */
} norm_call;

static norm_call start(md_trainer *t, const md_train_layer *layer)
{
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    norm_call call = {.t = t, .layer = layer, .kernels = md_kernels_of(t, x)};
    call.c = (size_t)x->c;
    call.row_bytes = call.c * md_feature_element_bytes(x);
    call.x = x->data;
    call.y = y->data;
    call.dy = y->gradient;
    call.residual = layer->residual ? md_train_layer_in(t, layer, 1)->data : NULL;
    call.sums = t->scratch;
    call.floats = (float *)(call.sums + 2 * call.c * md_team_size(t->team));
    return call;
}

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const size_t c = (size_t)md_train_layer_in(t, layer, 0)->c;
    layer->scratch_bytes = md_team_size(t->team) * 2 * c * (sizeof(double) + sizeof(float));
    return MD_OK;
}

static void moments_part(void *data, size_t begin, size_t end, unsigned part)
{
    const norm_call *call = data;
    double *sums = call->sums + 2 * call->c * part;
    call->kernels->moments(call->x + begin * call->row_bytes, end - begin, call->c, sums,
                           sums + call->c, call->floats + 2 * call->c * part);
}

/* The parts' moments into those of the first (Chan et al. 1979). */
static void merge_moments(const norm_call *call, size_t rows)
{
    const unsigned n_parts = md_team_size(call->t->team);
    double *mean = call->sums, *m2 = call->sums + call->c;
    size_t done = md_team_begin(rows, 1, n_parts);
    for (unsigned part = 1; part < n_parts; part++) {
        const double *from = call->sums + 2 * call->c * part;
        const size_t n =
            md_team_begin(rows, part + 1, n_parts) - md_team_begin(rows, part, n_parts);
        if (n == 0) {
            continue;
        }
        const double share = (double)n / (double)(done + n);
        for (size_t c = 0; c < call->c; c++) {
            const double delta = from[c] - mean[c];
            mean[c] += delta * share;
            m2[c] += from[call->c + c] + delta * delta * (double)done * share;
        }
        done += n;
    }
}

/* The batch's mean and variance to where the layer keeps them, and the running ones along. */
static void take_batch(md_trainer *t, const md_train_layer *layer, const norm_call *call,
                       size_t rows)
{
    float *mean = t->parameters[layer->parameters[MEAN]].value;
    float *variance = t->parameters[layer->parameters[VARIANCE]].value;
    const double m = (double)t->bn_momentum, n = (double)rows;
    for (size_t c = 0; c < call->c; c++) {
        const double batch_mean = call->sums[c], m2 = call->sums[call->c + c];
        const double unbiased = m2 / (rows > 1 ? n - 1.0 : 1.0);
        layer->saved[SAVED_MEAN * call->c + c] = (float)batch_mean;
        layer->saved[SAVED_INVERSE * call->c + c] =
            (float)(1.0 / sqrt(m2 / n + (double)layer->node.p.norm.epsilon));
        mean[c] = (float)((1.0 - m) * (double)mean[c] + m * batch_mean);
        variance[c] = (float)((1.0 - m) * (double)variance[c] + m * unbiased);
    }
}

static void take_running(const md_trainer *t, const md_train_layer *layer,
                         const norm_call *call)
{
    const float *mean = md_train_layer_value(t, layer, MEAN);
    const float *variance = md_train_layer_value(t, layer, VARIANCE);
    for (size_t c = 0; c < call->c; c++) {
        layer->saved[SAVED_MEAN * call->c + c] = mean[c];
        layer->saved[SAVED_INVERSE * call->c + c] =
            (float)(1.0 / sqrt((double)variance[c] + (double)layer->node.p.norm.epsilon));
    }
}

static void forward_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const norm_call *call = data;
    const float *saved = call->layer->saved;
    const size_t at = begin * call->row_bytes;
    call->kernels->normalize(call->x + at, call->residual == NULL ? NULL : call->residual + at,
                             call->y + at, end - begin, call->c, saved + SAVED_A * call->c,
                             saved + SAVED_B * call->c, &call->layer->clamp);
}

static bool uses_batch(const md_trainer *t, const md_train_layer *layer)
{
    return t->training && !layer->running;
}

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    norm_call call = start(t, layer);
    const size_t rows = md_feature_rows(t, md_train_layer_in(t, layer, 0));
    if (uses_batch(t, layer)) {
        md_over_rows(t, rows, moments_part, &call);
        merge_moments(&call, rows);
        take_batch(t, layer, &call, rows);
    } else {
        take_running(t, layer, &call);
    }
    const float *g = md_train_layer_value(t, layer, SCALE),
                *b = md_train_layer_value(t, layer, OFFSET);
    float *saved = layer->saved;
    for (size_t c = 0; c < call.c; c++) {
        const double a = (double)g[c] * (double)saved[SAVED_INVERSE * call.c + c];
        saved[SAVED_A * call.c + c] = (float)a;
        saved[SAVED_B * call.c + c] =
            (float)((double)b[c] - (double)saved[SAVED_MEAN * call.c + c] * a);
    }
    md_over_rows(t, rows, forward_part, &call);
    return MD_OK;
}

static void sums_part(void *data, size_t begin, size_t end, unsigned part)
{
    const norm_call *call = data;
    const size_t at = begin * call->row_bytes;
    double *sums = call->sums + 2 * call->c * part;
    memset(sums, 0, 2 * call->c * sizeof *sums);
    call->kernels->norm_sums(call->x + at, call->layer->clamped ? call->y + at : NULL,
                             call->dy + at, call->dy + at,
                             call->ds == NULL ? NULL : call->ds + at, call->ds_write,
                             end - begin, call->c, call->layer->saved, &call->layer->clamp,
                             sums, sums + call->c, call->floats + 2 * call->c * part);
}

static void data_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const norm_call *call = data;
    const float *saved = call->layer->saved;
    const size_t at = begin * call->row_bytes;
    call->kernels->norm_data(call->x + at, call->dy + at, call->dx + at, call->dx_write,
                             end - begin, call->c, saved + SAVED_A * call->c,
                             saved + SAVED_B * call->c, saved, saved + SAVED_K * call->c);
}

/* The sums to the gradients of scale and offset, and to the factors of dx. */
static void finish_sums(md_trainer *t, const md_train_layer *layer, const norm_call *call,
                        size_t rows)
{
    const bool batch = uses_batch(t, layer);
    float *saved = layer->saved;
    const size_t n = call->c;
    float *dg =
        md_wants_parameter(t, layer, SCALE) ? md_parameter_gradient(t, layer, SCALE) : NULL;
    for (size_t c = 0; c < n; c++) {
        const double inverse = (double)saved[SAVED_INVERSE * n + c];
        const double a = (double)saved[SAVED_A * n + c], sum_x = call->sums[n + c];
        if (dg != NULL) {
            dg[c] = (float)(sum_x * inverse);
        }
        saved[SAVED_B * n + c] =
            batch ? (float)(-a * inverse * inverse * sum_x / (double)rows) : 0.0F;
        saved[SAVED_K * n + c] = batch ? (float)(-a * call->sums[c] / (double)rows) : 0.0F;
    }
    if (dg != NULL) {
        md_parameter_done(t, layer, SCALE);
    }
    if (md_wants_parameter(t, layer, OFFSET)) {
        float *db = md_parameter_gradient(t, layer, OFFSET);
        for (size_t c = 0; c < n; c++) {
            db[c] = (float)call->sums[c];
        }
        md_parameter_done(t, layer, OFFSET);
    }
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    norm_call call = start(t, layer);
    md_feature *x = md_train_layer_in(t, layer, 0);
    const size_t rows = md_feature_rows(t, x);
    if (layer->residual && md_wants_gradient(t, md_train_layer_in(t, layer, 1))) {
        call.ds = md_train_layer_in(t, layer, 1)->gradient;
        call.ds_write = md_gradient_write(md_train_layer_in(t, layer, 1));
    }
    md_over_rows(t, rows, sums_part, &call);
    for (unsigned part = 1; part < md_team_size(t->team); part++) {
        for (size_t c = 0; c < 2 * call.c; c++) {
            call.sums[c] += call.sums[2 * call.c * part + c];
        }
    }
    finish_sums(t, layer, &call, rows);
    if (md_wants_gradient(t, x)) {
        call.dx = x->gradient;
        call.dx_write = md_gradient_write(x);
        md_over_rows(t, rows, data_part, &call);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_norm = {
    .name = "normalisation",
    .needs_inputs = true,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
