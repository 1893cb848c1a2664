#include "inference/calibrate.h"

#include <math.h>
#include <stdint.h>

static bool contains(const unsigned *classes, unsigned n_classes, size_t k)
{
    for (unsigned i = 0; i < n_classes; i++) {
        if (classes[i] == k) {
            return true;
        }
    }
    return false;
}

static md_status check(md_target target, const float *outputs, size_t n,
                       const unsigned *classes, unsigned n_classes, double temperature,
                       md_error *err)
{
    if (n < 1 || n > MD_CALIBRATE_MAX_CLASSES) {
        return md_fail(err, MD_INVALID_ARG, "%zu outputs, not in 1..%d", n,
                       MD_CALIBRATE_MAX_CLASSES);
    }
    if (!(temperature > 0.0) || !isfinite(temperature)) {
        return md_fail(err, MD_INVALID_ARG, "temperature %g is not above 0", temperature);
    }
    for (size_t k = 0; k < n; k++) {
        if (!isfinite(outputs[k])) {
            return md_fail(err, MD_FORMAT, "output %zu of the network is not a number", k);
        }
    }
    for (unsigned i = 0; i < n_classes; i++) {
        if (classes[i] >= n || contains(classes, i, classes[i])) {
            return md_fail(err, MD_INVALID_ARG, "class %u is given twice or not in 0..%zu",
                           classes[i], n - 1);
        }
    }
    if (n_classes < 1 || (target == MD_TARGET_SOFTMAX ? n_classes >= n : n_classes != 1)) {
        return md_fail(err, MD_INVALID_ARG, "%u classes of %zu for one finding", n_classes, n);
    }
    return MD_OK;
}

/* log(sum of e^(z / t)) inside or outside the set; neither is empty. */
static double log_sum(const float *z, size_t n, const unsigned *classes, unsigned n_classes,
                      bool inside, double t)
{
    double largest = -HUGE_VAL, sum = 0.0;
    for (size_t k = 0; k < n; k++) {
        if (contains(classes, n_classes, k) == inside) {
            largest = fmax(largest, (double)z[k] / t);
        }
    }
    for (size_t k = 0; k < n; k++) {
        if (contains(classes, n_classes, k) == inside) {
            sum += exp((double)z[k] / t - largest);
        }
    }
    return largest + log(sum);
}

md_status md_log_odds(md_target target, const float *outputs, size_t n, const unsigned *classes,
                      unsigned n_classes, double temperature, double *ret_log_odds,
                      md_error *err)
{
    MD_TRY(check(target, outputs, n, classes, n_classes, temperature, err));
    const double first = (double)outputs[classes[0]];
    switch (target) {
    case MD_TARGET_SOFTMAX: /* p / (1 - p) = sum inside / sum outside */
        *ret_log_odds = log_sum(outputs, n, classes, n_classes, true, temperature) -
                        log_sum(outputs, n, classes, n_classes, false, temperature);
        return MD_OK;
    case MD_TARGET_SIGMOID:
        *ret_log_odds = first / temperature;
        return MD_OK;
    case MD_TARGET_SCORE:
        if (!(first >= 0.0 && first <= 1.0)) {
            return md_fail(err, MD_FORMAT, "the network's score %g is not in 0..1", first);
        }
        *ret_log_odds = log(first) - log1p(-first);
        return MD_OK;
    }
    return md_fail(err, MD_INVALID_ARG, "unknown target %d", (int)target);
}

/* A softmax inside the set, minus one outside. */
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

md_status md_log_odds_gradient(md_target target, const float *outputs, size_t n,
                               const unsigned *classes, unsigned n_classes,
                               double *ret_gradient, md_error *err)
{
    MD_TRY(check(target, outputs, n, classes, n_classes, 1.0, err));
    if (target != MD_TARGET_SOFTMAX && target != MD_TARGET_SIGMOID) {
        return md_fail(err, MD_INVALID_ARG, "no gradient for target %d", (int)target);
    }
    if (target == MD_TARGET_SOFTMAX) {
        softmax_gradient(outputs, n, classes, n_classes, ret_gradient);
        return MD_OK;
    }
    for (size_t k = 0; k < n; k++) {
        ret_gradient[k] = k == classes[0] ? 1.0 : 0.0;
    }
    return MD_OK;
}

double md_sigmoid(double log_odds)
{
    if (log_odds >= 0.0) {
        return 1.0 / (1.0 + exp(-log_odds));
    }
    const double e = exp(log_odds);
    return e / (1.0 + e);
}

md_status md_platt(double log_odds, double a, double b, double *ret_score, md_error *err)
{
    if (isnan(log_odds) || !isfinite(a) || !isfinite(b)) {
        return md_fail(err, MD_INVALID_ARG, "log-odds %g with a = %g and b = %g", log_odds, a,
                       b);
    }
    *ret_score = md_sigmoid(a == 0.0 ? b : a * log_odds + b);
    return MD_OK;
}
