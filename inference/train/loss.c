#include "inference/train/trainer_private.h"

#include <math.h>
#include <string.h>

static md_status check_targets(const md_trainer *t, int64_t n, const float *targets,
                               const float *sample_weights, md_error *err)
{
    for (int64_t i = 0; i < n * t->n_classes; i++) {
        if (!isnan(targets[i]) && !(targets[i] >= 0.0F && targets[i] <= 1.0F)) {
            return md_fail(err, MD_INVALID_ARG, "target %g of class %lld is not in 0..1",
                           (double)targets[i], (long long)(i % t->n_classes));
        }
    }
    for (int64_t i = 0; i < n && sample_weights != NULL; i++) {
        if (!(sample_weights[i] >= 0.0F && sample_weights[i] < INFINITY)) {
            return md_fail(err, MD_INVALID_ARG, "sample weight %g is not in 0..infinity",
                           (double)sample_weights[i]);
        }
    }
    return MD_OK;
}

static double class_weight(const md_trainer *t, int64_t k)
{
    return t->class_weights == NULL ? 1.0 : (double)t->class_weights[k];
}

static bool is_known(const float *targets, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        if (isnan(targets[k])) {
            return false;
        }
    }
    return true;
}

/* The smoothed target of class k with its weight. */
static double weighted_target(const md_trainer *t, const float *targets, int64_t k)
{
    const double e = (double)t->label_smoothing;
    return class_weight(t, k) * ((1.0 - e) * (double)targets[k] + e / (double)t->n_classes);
}

/* -sum_k c_k t_k log softmax(z)_k of one image, not yet weighted; d z_j = share (softmax_j
 * sum_k c_k t_k - c_j t_j). */
static double cross_entropy(const md_trainer *t, const float *z, const float *targets,
                            double share, float *d)
{
    const int64_t n = t->n_classes;
    double most = -(double)INFINITY, total = 0.0, loss = 0.0, mass = 0.0;
    for (int64_t k = 0; k < n; k++) {
        /* a NaN has to be seen in the loss */
        most = (double)z[k] > most || isnan(z[k]) ? (double)z[k] : most;
    }
    for (int64_t k = 0; k < n; k++) {
        total += exp((double)z[k] - most);
    }
    const double log_total = log(total);
    for (int64_t k = 0; k < n; k++) {
        const double weighted = weighted_target(t, targets, k);
        loss -= weighted * ((double)z[k] - most - log_total);
        mass += weighted;
    }
    for (int64_t k = 0; k < n && d != NULL; k++) {
        const double p = exp((double)z[k] - most - log_total);
        d[k] = (float)(share * (p * mass - weighted_target(t, targets, k)));
    }
    return loss;
}

/* With u the weighted targets, U their sum, U_g their sum in group g, L the logarithm of the
 * sum of exp(z), L_g the same in group g, w the weight within groups: sum_k u_k (L - L_g(k) + w
 * (L_g(k) - z_k)) of one image, not yet weighted; d z_j = share (U softmax_j - w u_j - (1 - w)
 * U_g(j) exp(z_j - L_g(j))). Each group's sum is relative to its own largest logit, so that a
 * group far below the others has a logarithm too. */
static double grouped_cross_entropy(const md_trainer *t, const float *z, const float *targets,
                                    double share, float *d)
{
    const int64_t n = t->n_classes;
    const double w = (double)t->within_weight;
    double *most = t->group_sums, *sum = most + n, *mass = sum + n, *log_sum = mass + n;
    double all_most = -(double)INFINITY, all_sum = 0.0, all_mass = 0.0, loss = 0.0;
    for (int64_t g = 0; g < n; g++) {
        most[g] = -(double)INFINITY;
        sum[g] = mass[g] = 0.0;
    }
    for (int64_t k = 0; k < n; k++) {
        double *m = &most[t->groups[k]];
        /* a NaN has to be seen in the loss */
        *m = (double)z[k] > *m || isnan(z[k]) ? (double)z[k] : *m;
    }
    for (int64_t k = 0; k < n; k++) {
        const unsigned g = t->groups[k];
        sum[g] += exp((double)z[k] - most[g]);
        mass[g] += weighted_target(t, targets, k);
        all_most = most[g] > all_most || isnan(most[g]) ? most[g] : all_most;
    }
    for (int64_t g = 0; g < n; g++) {
        log_sum[g] = sum[g] == 0.0 ? 0.0 : most[g] + log(sum[g]); /* 0: nobody is in it */
        all_sum += sum[g] == 0.0 ? 0.0 : exp(log_sum[g] - all_most);
        all_mass += mass[g];
    }
    const double log_all = all_most + log(all_sum);
    for (int64_t k = 0; k < n; k++) {
        const unsigned g = t->groups[k];
        const double u = weighted_target(t, targets, k);
        loss += u * (log_all - log_sum[g] + w * (log_sum[g] - (double)z[k]));
        if (d != NULL) {
            d[k] = (float)(share * (all_mass * exp((double)z[k] - log_all) - w * u -
                                    (1.0 - w) * mass[g] * exp((double)z[k] - log_sum[g])));
        }
    }
    return loss;
}

/* c (softplus(z) - t z); d z = share c (sigmoid(z) - t). */
static double binary(const md_trainer *t, int64_t k, double z, double target, double share,
                     float *d)
{
    const double e = (double)t->label_smoothing, c = class_weight(t, k);
    const double smooth = (1.0 - e) * target + 0.5 * e;
    const double softplus = (z > 0.0 ? z : 0.0) + log1p(exp(-fabs(z)));
    if (d != NULL) {
        *d = (float)(share * c * (1.0 / (1.0 + exp(-z)) - smooth));
    }
    return c * (softplus - smooth * z);
}

/* What the loss is divided by. */
static double known_weight(const md_trainer *t, int64_t n, const float *targets,
                           const float *sample_weights)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double s = sample_weights == NULL ? 1.0 : (double)sample_weights[i];
        const float *row = targets + i * t->n_classes;
        if (t->loss == MD_LOSS_CROSS_ENTROPY) {
            total += is_known(row, t->n_classes) ? s : 0.0;
            continue;
        }
        for (int64_t k = 0; k < t->n_classes; k++) {
            total += isnan(row[k]) ? 0.0 : s;
        }
    }
    return total;
}

md_status md_loss_compute(const md_trainer *t, const float *logits, int64_t n,
                          const float *targets, const float *sample_weights, double *ret_loss,
                          float *d_logits, md_error *err)
{
    const int64_t n_classes = t->n_classes;
    MD_TRY(check_targets(t, n, targets, sample_weights, err));
    const double total = known_weight(t, n, targets, sample_weights);
    double loss = 0.0;
    if (d_logits != NULL) {
        memset(d_logits, 0, (size_t)(n * n_classes) * sizeof *d_logits);
    }
    for (int64_t i = 0; i < n && total > 0.0; i++) {
        const double s = (sample_weights == NULL ? 1.0 : (double)sample_weights[i]) / total;
        const float *z = logits + i * n_classes, *row = targets + i * n_classes;
        float *d = d_logits == NULL ? NULL : d_logits + i * n_classes;
        if (s == 0.0) { /* also when its logits are no numbers */
            continue;
        }
        if (t->loss == MD_LOSS_CROSS_ENTROPY) {
            if (is_known(row, n_classes)) {
                loss += s * (t->groups == NULL ? cross_entropy(t, z, row, s, d)
                                               : grouped_cross_entropy(t, z, row, s, d));
            }
            continue;
        }
        for (int64_t k = 0; k < n_classes; k++) {
            if (!isnan(row[k])) {
                loss +=
                    s * binary(t, k, (double)z[k], (double)row[k], s, d == NULL ? NULL : &d[k]);
            }
        }
    }
    *ret_loss = loss;
    return MD_OK;
}
