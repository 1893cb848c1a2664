#include "inference/gradcam.h"

#include <math.h>

static md_status check_shapes(const md_tensor *features, const md_tensor *weights,
                              md_target target, md_error *err)
{
    if (features->dtype != MD_F32 || features->n_dims != 4 || features->dims[0] != 1 ||
        features->n_elements == 0) {
        return md_fail(err, MD_INVALID_ARG, "the features are not float32 [1,C,h,w]");
    }
    if (weights->dtype != MD_F32 || weights->n_dims != 2 ||
        weights->dims[1] != features->dims[1] || weights->n_elements == 0) {
        return md_fail(err, MD_INVALID_ARG, "the weights are not float32 [K,%lld]",
                       (long long)features->dims[1]);
    }
    if (target != MD_TARGET_SOFTMAX && target != MD_TARGET_SIGMOID) {
        return md_fail(err, MD_INVALID_ARG, "no gradient for target %d", (int)target);
    }
    return MD_OK;
}

static bool contains(const unsigned *classes, unsigned n_classes, size_t k)
{
    for (unsigned i = 0; i < n_classes; i++) {
        if (classes[i] == k) {
            return true;
        }
    }
    return false;
}

/* dt/dz of a softmax target: a softmax inside the set, minus one outside. */
static void softmax_gradient(const float *z, size_t n, const unsigned *classes,
                             unsigned n_classes, double *ret)
{
    double largest[2] = {-HUGE_VAL, -HUGE_VAL}, sum[2] = {0.0, 0.0};
    for (size_t k = 0; k < n; k++) {
        const int in = contains(classes, n_classes, k) ? 1 : 0;
        largest[in] = fmax(largest[in], (double)z[k]);
    }
    for (size_t k = 0; k < n; k++) {
        const int in = contains(classes, n_classes, k) ? 1 : 0;
        ret[k] = exp((double)z[k] - largest[in]);
        sum[in] += ret[k];
    }
    for (size_t k = 0; k < n; k++) {
        const int in = contains(classes, n_classes, k) ? 1 : 0;
        ret[k] = in == 1 ? ret[k] / sum[1] : -ret[k] / sum[0];
    }
}

/* map = sum_c alpha_c A_c; false when it is not finite. */
static bool add_channels(const md_tensor *features, const md_tensor *weights,
                         const double *gradient, double *map)
{
    const size_t n_classes = (size_t)weights->dims[0], n_channels = (size_t)weights->dims[1];
    const size_t n = features->n_elements / n_channels;
    bool finite = true;
    for (size_t c = 0; c < n_channels; c++) {
        const float *plane = (const float *)features->data + c * n;
        double alpha = 0.0;
        for (size_t k = 0; k < n_classes; k++) {
            alpha += gradient[k] * (double)((const float *)weights->data)[k * n_channels + c];
        }
        alpha /= (double)n;
        for (size_t i = 0; i < n; i++) {
            map[i] += alpha * (double)plane[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(map[i]);
    }
    return finite;
}

md_status md_gradcam(const md_tensor *features, const md_tensor *weights, const float *logits,
                     md_target target, const unsigned *classes, unsigned n_classes,
                     float **ret_values, uint32_t *ret_rows, uint32_t *ret_columns,
                     md_error *err)
{
    double unused;
    MD_TRY(check_shapes(features, weights, target, err));
    const size_t n_outputs = (size_t)weights->dims[0];
    MD_TRY(md_log_odds(target, logits, n_outputs, classes, n_classes, 1.0, &unused, err));
    const size_t n = (size_t)features->dims[2] * (size_t)features->dims[3];
    MD_AUTO(md_freep) double *gradient = md_calloc(n_outputs, sizeof *gradient);
    MD_AUTO(md_freep) double *map = md_calloc(n, sizeof *map);
    MD_AUTO(md_freep) float *values = md_calloc(n, sizeof *values);
    if (gradient == NULL || map == NULL || values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a map of %zu values", n);
    }
    if (target == MD_TARGET_SOFTMAX) {
        softmax_gradient(logits, n_outputs, classes, n_classes, gradient);
    } else {
        gradient[classes[0]] = 1.0;
    }
    if (!add_channels(features, weights, gradient, map)) {
        return md_fail(err, MD_FORMAT, "a feature or weight of the network is not a number");
    }
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, map[i]);
    }
    for (size_t i = 0; i < n && largest > 0.0; i++) {
        values[i] = map[i] > 0.0 ? (float)(map[i] / largest) : 0.0F;
    }
    *ret_values = MD_STEAL(values);
    *ret_rows = (uint32_t)features->dims[2];
    *ret_columns = (uint32_t)features->dims[3];
    return MD_OK;
}
