#include "inference/saliency.h"

#include "inference/gradcam.h"
#include "inference/graph/cut.h"
#include "inference/train/random.h"
#include "inference/train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 8 /* inputs that go through the network together */
};

struct md_explainer {
    md_saliency_options options; /* the names are not kept */
    md_trainer *trainer;
    int64_t dims[4]; /* [1,C,H,W] of what is differentiated by */
    size_t n;        /* its elements */
    size_t n_classes;
    unsigned batch;
    float *inputs;     /* [batch, n] */
    float *logits;     /* [batch, K] */
    float *d_logits;   /* [batch, K] */
    double *d_one;     /* [K] */
    double *sum;       /* [n] */
    float *attributed; /* [n] */
};

const char *md_saliency_method_name(md_saliency_method method)
{
    switch (method) {
    case MD_SALIENCY_GRAD_CAM:
        return "grad-cam";
    case MD_SALIENCY_GRAD_CAM_PLUS_PLUS:
        return "grad-cam++";
    case MD_SALIENCY_INTEGRATED_GRADIENTS:
        return "integrated-gradients";
    case MD_SALIENCY_SMOOTH_GRAD:
        return "smooth-grad";
    }
    return "unknown";
}

void md_explainer_destroy(md_explainer *explainer)
{
    if (explainer == NULL) {
        return;
    }
    md_trainer_destroy(explainer->trainer);
    md_free(explainer->inputs);
    md_free(explainer->logits);
    md_free(explainer->d_logits);
    md_free(explainer->d_one);
    md_free(explainer->sum);
    md_free(explainer->attributed);
    md_free(explainer);
}

static md_status check_options(const md_saliency_options *o, md_error *err)
{
    switch (o->method) {
    case MD_SALIENCY_GRAD_CAM:
    case MD_SALIENCY_GRAD_CAM_PLUS_PLUS:
        return MD_OK;
    case MD_SALIENCY_INTEGRATED_GRADIENTS:
        if (o->steps < MD_SALIENCY_MIN_STEPS || o->steps > MD_SALIENCY_MAX_STEPS) {
            return md_fail(err, MD_INVALID_ARG, "%u steps, not in %d..%d", o->steps,
                           MD_SALIENCY_MIN_STEPS, MD_SALIENCY_MAX_STEPS);
        }
        break;
    case MD_SALIENCY_SMOOTH_GRAD:
        if (o->samples < MD_SALIENCY_MIN_SAMPLES || o->samples > MD_SALIENCY_MAX_SAMPLES) {
            return md_fail(err, MD_INVALID_ARG, "%u samples, not in %d..%d", o->samples,
                           MD_SALIENCY_MIN_SAMPLES, MD_SALIENCY_MAX_SAMPLES);
        }
        if (!(o->noise >= 0.01 && o->noise <= 0.5)) {
            return md_fail(err, MD_INVALID_ARG, "noise %g, not in 0.01..0.5", o->noise);
        }
        break;
    default:
        return md_fail(err, MD_INVALID_ARG, "unknown method %d", (int)o->method);
    }
    if (o->cell < 1 || o->cell > MD_SALIENCY_MAX_CELL) {
        return md_fail(err, MD_INVALID_ARG, "cells of %u pixels, not 1..%d", o->cell,
                       MD_SALIENCY_MAX_CELL);
    }
    return MD_OK;
}

static md_status make_trainer(md_explainer *e, const uint8_t *onnx, size_t size_bytes,
                              md_error *err)
{
    const md_saliency_options *o = &e->options;
    const bool features = md_saliency_uses_features(o->method);
    MD_AUTO(md_freep) uint8_t *part = NULL;
    size_t part_bytes = 0;
    MD_TRY(md_onnx_cut(onnx, size_bytes, features ? o->features : NULL, 4, o->feature_dims,
                       o->output, &part, &part_bytes, err));
    const unsigned n_inputs = o->method == MD_SALIENCY_SMOOTH_GRAD            ? o->samples
                              : o->method == MD_SALIENCY_INTEGRATED_GRADIENTS ? o->steps
                                                                              : 1;
    e->batch = n_inputs < BATCH ? n_inputs : BATCH;
    const md_trainer_options options = {.backend = o->backend,
                                        .n_threads = o->n_threads,
                                        .batch = e->batch,
                                        .loss = MD_LOSS_CROSS_ENTROPY};
    MD_TRY(md_trainer_create(part, part_bytes, &options, &e->trainer, err));
    md_trainer_input_dims(e->trainer, e->dims);
    e->dims[0] = 1;
    e->n_classes = (size_t)md_trainer_n_classes(e->trainer);
    return MD_OK;
}

static md_status make_buffers(md_explainer *e, md_error *err)
{
    size_t n = 1, n_batch = 0, n_logits = 0;
    for (int i = 1; i < 4; i++) {
        if (e->dims[i] < 1 || !md_mul(n, (size_t)e->dims[i], &n)) {
            return md_fail(err, MD_LIMIT, "too large an input to explain");
        }
    }
    if (!md_mul(n, e->batch, &n_batch) || !md_mul(e->n_classes, e->batch, &n_logits)) {
        return md_fail(err, MD_LIMIT, "too large an input to explain");
    }
    e->n = n;
    e->inputs = md_calloc(n_batch, sizeof *e->inputs);
    e->logits = md_calloc(n_logits, sizeof *e->logits);
    e->d_logits = md_calloc(n_logits, sizeof *e->d_logits);
    e->d_one = md_calloc(e->n_classes, sizeof *e->d_one);
    e->sum = md_calloc(n, sizeof *e->sum);
    e->attributed = md_calloc(n, sizeof *e->attributed);
    if (e->inputs == NULL || e->logits == NULL || e->d_logits == NULL || e->d_one == NULL ||
        e->sum == NULL || e->attributed == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to explain %zu values", n_batch);
    }
    return MD_OK;
}

md_status md_explainer_create(const uint8_t *onnx, size_t size_bytes,
                              const md_saliency_options *options, md_explainer **ret_explainer,
                              md_error *err)
{
    MD_TRY(check_options(options, err));
    MD_AUTO(md_explainer_destroyp) md_explainer *e = md_calloc(1, sizeof *e);
    if (e == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to explain");
    }
    e->options = *options;
    MD_TRY(make_trainer(e, onnx, size_bytes, err));
    const unsigned cell = options->cell;
    if (!md_saliency_uses_features(options->method) &&
        (e->dims[2] % cell != 0 || e->dims[3] % cell != 0)) {
        return md_fail(err, MD_INVALID_ARG, "cells of %u pixels do not divide %lld x %lld",
                       cell, (long long)e->dims[3], (long long)e->dims[2]);
    }
    if (!md_saliency_uses_features(options->method) && e->dims[1] != 1 && e->dims[1] != 3) {
        return md_fail(err, MD_UNSUPPORTED, "an input of %lld channels, expected 1 or 3",
                       (long long)e->dims[1]);
    }
    MD_TRY(make_buffers(e, err));
    e->options.output = e->options.features = NULL;
    *ret_explainer = MD_STEAL(e);
    return MD_OK;
}

static md_status check_from(const md_explainer *e, const md_tensor *from, md_error *err)
{
    if (from->dtype != MD_F32 || from->n_dims != 4 ||
        memcmp(from->dims, e->dims, sizeof e->dims) != 0) {
        return md_fail(err, MD_INVALID_ARG, "not float32 [1,%lld,%lld,%lld]",
                       (long long)e->dims[1], (long long)e->dims[2], (long long)e->dims[3]);
    }
    for (size_t i = 0; i < e->n; i++) {
        if (!isfinite(((const float *)from->data)[i])) {
            return md_fail(err, MD_FORMAT, "what is to be explained holds no number at %zu", i);
        }
    }
    return MD_OK;
}

md_status md_explainer_logits(md_explainer *explainer, const md_tensor *from,
                              const float **ret_logits, size_t *ret_n, md_error *err)
{
    MD_TRY(check_from(explainer, from, err));
    MD_TRY(md_trainer_infer(explainer->trainer, from->data, 1, NULL, explainer->logits, err));
    *ret_logits = explainer->logits;
    *ret_n = explainer->n_classes;
    return MD_OK;
}

/* Input k of the method, from x. */
static void make_input(const md_explainer *e, const float *x, unsigned k, double sigma,
                       float *ret)
{
    const md_saliency_options *o = &e->options;
    const size_t plane = e->n / (size_t)e->dims[1];
    if (o->method == MD_SALIENCY_INTEGRATED_GRADIENTS) {
        const double share = ((double)k + 0.5) / (double)o->steps;
        for (size_t i = 0; i < e->n; i++) {
            const double b = (double)o->baseline[i / plane];
            ret[i] = (float)(b + share * ((double)x[i] - b));
        }
    } else if (o->method == MD_SALIENCY_SMOOTH_GRAD) {
        const md_random_key key = {.seed = o->seed, .position = k};
        md_random random;
        md_random_init(&random, &key, 0);
        for (size_t i = 0; i < e->n; i++) {
            ret[i] = (float)((double)x[i] + sigma * (double)md_random_normal(&random));
        }
    } else {
        memcpy(ret, x, e->n * sizeof *ret);
    }
}

/* Add dt/dx at the first n of e->inputs to e->sum. */
static md_status add_gradients(md_explainer *e, unsigned n, md_target target,
                               const unsigned *classes, unsigned n_classes, md_error *err)
{
    const size_t k = e->n_classes;
    const float *gradient = NULL;
    MD_TRY(md_trainer_infer(e->trainer, e->inputs, n, NULL, e->logits, err));
    for (unsigned i = 0; i < n; i++) {
        MD_TRY(md_log_odds_gradient(target, e->logits + i * k, k, classes, n_classes, e->d_one,
                                    err));
        for (size_t j = 0; j < k; j++) {
            e->d_logits[i * k + j] = (float)e->d_one[j];
        }
    }
    MD_TRY(
        md_trainer_input_gradient(e->trainer, e->inputs, n, NULL, e->d_logits, &gradient, err));
    for (unsigned i = 0; i < n; i++) {
        for (size_t j = 0; j < e->n; j++) {
            e->sum[j] += (double)gradient[i * e->n + j];
        }
    }
    return MD_OK;
}

md_status md_explainer_gradient(md_explainer *explainer, const md_tensor *from,
                                md_target target, const unsigned *classes, unsigned n_classes,
                                const float **ret_values, md_error *err)
{
    md_explainer *e = explainer;
    const md_saliency_options *o = &e->options;
    MD_TRY(check_from(e, from, err));
    const float *x = from->data;
    float low = x[0], high = x[0];
    for (size_t i = 0; i < e->n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        e->sum[i] = 0.0;
    }
    const double sigma = o->noise * ((double)high - (double)low);
    const unsigned n_inputs = o->method == MD_SALIENCY_SMOOTH_GRAD            ? o->samples
                              : o->method == MD_SALIENCY_INTEGRATED_GRADIENTS ? o->steps
                                                                              : 1;
    for (unsigned first = 0; first < n_inputs; first += e->batch) {
        const unsigned n = n_inputs - first < e->batch ? n_inputs - first : e->batch;
        for (unsigned i = 0; i < n; i++) {
            make_input(e, x, first + i, sigma, e->inputs + i * e->n);
        }
        MD_TRY(add_gradients(e, n, target, classes, n_classes, err));
    }
    const size_t plane = e->n / (size_t)e->dims[1];
    for (size_t i = 0; i < e->n; i++) {
        double value = e->sum[i] / (double)n_inputs;
        if (o->method == MD_SALIENCY_INTEGRATED_GRADIENTS) {
            value *= (double)x[i] - (double)o->baseline[i / plane];
        }
        if (!isfinite(value)) {
            return md_fail(err, MD_FORMAT, "a gradient of the network is not a number");
        }
        e->attributed[i] = (float)value;
    }
    *ret_values = e->attributed;
    return MD_OK;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* 0..1, where 1 is the 99th percentile, or the largest value when that is 0. */
static md_status normalise(float *values, size_t n, md_error *err)
{
    MD_AUTO(md_freep) float *sorted = md_malloc(n * sizeof *sorted);
    if (sorted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a map of %zu values", n);
    }
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_floats);
    /* the least value that at least 99 of 100 are not above */
    float top = sorted[(99 * n + 99) / 100 - 1];
    top = top > 0.0F ? top : sorted[n - 1];
    for (size_t i = 0; i < n; i++) {
        values[i] = top > 0.0F ? fminf(values[i] / top, 1.0F) : 0.0F;
    }
    return MD_OK;
}

/* One value for each cell x cell pixels: what all of them and all channels have together. */
static md_status add_cells(const md_explainer *e, const float *values, float **ret_values,
                           uint32_t *ret_rows, uint32_t *ret_columns, md_error *err)
{
    const size_t cell = e->options.cell;
    const size_t height = (size_t)e->dims[2], width = (size_t)e->dims[3];
    const size_t rows = height / cell, columns = width / cell;
    const bool absolute = e->options.method == MD_SALIENCY_SMOOTH_GRAD;
    MD_AUTO(md_freep) float *map = md_calloc(rows * columns, sizeof *map);
    if (map == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a map of %zu values", rows * columns);
    }
    for (size_t at = 0; at < rows * columns; at++) {
        const size_t top = at / columns * cell, left = at % columns * cell;
        double sum = 0.0;
        for (size_t c = 0; c < (size_t)e->dims[1]; c++) {
            for (size_t y = top; y < top + cell; y++) {
                const float *row = values + (c * height + y) * width;
                for (size_t x = left; x < left + cell; x++) {
                    sum += absolute ? fabs((double)row[x]) : (double)row[x];
                }
            }
        }
        map[at] = sum > 0.0 ? (float)sum : 0.0F;
    }
    MD_TRY(normalise(map, rows * columns, err));
    *ret_values = MD_STEAL(map);
    *ret_rows = (uint32_t)rows;
    *ret_columns = (uint32_t)columns;
    return MD_OK;
}

md_status md_explainer_map(md_explainer *explainer, const md_tensor *from, md_target target,
                           const unsigned *classes, unsigned n_classes, float **ret_values,
                           uint32_t *ret_rows, uint32_t *ret_columns, md_error *err)
{
    const float *values = NULL;
    MD_TRY(md_explainer_gradient(explainer, from, target, classes, n_classes, &values, err));
    switch (explainer->options.method) {
    case MD_SALIENCY_GRAD_CAM:
        return md_cam_map(MD_CAM_GRAD, from, values, ret_values, ret_rows, ret_columns, err);
    case MD_SALIENCY_GRAD_CAM_PLUS_PLUS:
        return md_cam_map(MD_CAM_GRAD_PLUS_PLUS, from, values, ret_values, ret_rows,
                          ret_columns, err);
    case MD_SALIENCY_INTEGRATED_GRADIENTS:
    case MD_SALIENCY_SMOOTH_GRAD:
        break;
    }
    return add_cells(explainer, values, ret_values, ret_rows, ret_columns, err);
}
