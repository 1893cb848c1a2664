#include "inference/gradcam.h"

#include <math.h>

static md_status check_features(const md_tensor *features, md_error *err)
{
    if (features->dtype != MD_F32 || features->n_dims != 4 || features->dims[0] != 1 ||
        features->n_elements == 0) {
        return md_fail(err, MD_INVALID_ARG, "the features are not float32 [1,C,h,w]");
    }
    return MD_OK;
}

static double plane_sum(const float *plane, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)plane[i];
    }
    return sum;
}

/* One summand of Grad-CAM++'s weight. */
static double plus_plus(double gradient, double sum)
{
    const double divisor = 2.0 + gradient * sum;
    return gradient > 0.0 && divisor != 0.0 ? gradient / divisor : 0.0;
}

/* map = max(0, sum_c w_c A_c) over its largest value. */
static md_status weigh(const md_tensor *features, const double *weights, float **ret_values,
                       uint32_t *ret_rows, uint32_t *ret_columns, md_error *err)
{
    const size_t n_channels = (size_t)features->dims[1];
    const size_t n = features->n_elements / n_channels;
    MD_AUTO(md_freep) double *map = md_calloc(n, sizeof *map);
    MD_AUTO(md_freep) float *values = md_calloc(n, sizeof *values);
    if (map == NULL || values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a map of %zu values", n);
    }
    for (size_t c = 0; c < n_channels; c++) {
        const float *plane = (const float *)features->data + c * n;
        for (size_t i = 0; i < n; i++) {
            map[i] += weights[c] * (double)plane[i];
        }
    }
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(map[i])) {
            return md_fail(err, MD_FORMAT,
                           "a feature or weight of the network is not a number");
        }
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

md_status md_cam_map(md_cam_rule rule, const md_tensor *features, const float *gradient,
                     float **ret_values, uint32_t *ret_rows, uint32_t *ret_columns,
                     md_error *err)
{
    MD_TRY(check_features(features, err));
    const size_t n_channels = (size_t)features->dims[1];
    const size_t n = features->n_elements / n_channels;
    MD_AUTO(md_freep) double *weights = md_calloc(n_channels, sizeof *weights);
    if (weights == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu channels", n_channels);
    }
    for (size_t c = 0; c < n_channels; c++) {
        const float *g = gradient + c * n;
        const double sum = plane_sum((const float *)features->data + c * n, n);
        for (size_t i = 0; i < n; i++) {
            weights[c] +=
                rule == MD_CAM_GRAD ? (double)g[i] / (double)n : plus_plus((double)g[i], sum);
        }
        /* a gradient that is not a number is lost where it is compared */
        if (!isfinite(plane_sum(g, n))) {
            return md_fail(err, MD_FORMAT, "a gradient of the network is not a number");
        }
    }
    return weigh(features, weights, ret_values, ret_rows, ret_columns, err);
}

md_status md_gradcam(md_cam_rule rule, const md_tensor *features, const md_tensor *weights,
                     const float *logits, md_target target, const unsigned *classes,
                     unsigned n_classes, float **ret_values, uint32_t *ret_rows,
                     uint32_t *ret_columns, md_error *err)
{
    MD_TRY(check_features(features, err));
    if (weights->dtype != MD_F32 || weights->n_dims != 2 ||
        weights->dims[1] != features->dims[1] || weights->n_elements == 0) {
        return md_fail(err, MD_INVALID_ARG, "the weights are not float32 [K,%lld]",
                       (long long)features->dims[1]);
    }
    const size_t n_outputs = (size_t)weights->dims[0], n_channels = (size_t)weights->dims[1];
    const size_t n = features->n_elements / n_channels;
    MD_AUTO(md_freep) double *gradient = md_calloc(n_outputs, sizeof *gradient);
    MD_AUTO(md_freep) double *of_channel = md_calloc(n_channels, sizeof *of_channel);
    if (gradient == NULL || of_channel == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu channels", n_channels);
    }
    MD_TRY(md_log_odds_gradient(target, logits, n_outputs, classes, n_classes, gradient, err));
    for (size_t c = 0; c < n_channels; c++) {
        double g = 0.0;
        for (size_t k = 0; k < n_outputs; k++) {
            g += gradient[k] * (double)((const float *)weights->data)[k * n_channels + c];
        }
        g /= (double)n;
        if (!isfinite(g)) {
            return md_fail(err, MD_FORMAT, "a weight of the network is not a number");
        }
        const float *plane = (const float *)features->data + c * n;
        of_channel[c] = rule == MD_CAM_GRAD ? g : (double)n * plus_plus(g, plane_sum(plane, n));
    }
    return weigh(features, of_channel, ret_values, ret_rows, ret_columns, err);
}
