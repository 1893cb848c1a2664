/* Losses, which appear in networks that were exported with them, and determinants. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"

#include <math.h>
#include <string.h>

/* log(e^x[c] / sum e^x) along axis 1 of [N,C,...], or a copy. */
static void log_likelihood(const md_call *call, size_t n_inner)
{
    const md_tensor *x = call->in[0];
    float *out = call->out[1]->data;
    const size_t n = (size_t)x->dims[1];
    if (!call->p->loss.log_softmax) {
        memcpy(out, x->data, x->n_elements * sizeof *out);
        return;
    }
    for (size_t r = 0; r < (size_t)x->dims[0] * n_inner && n > 0; r++) {
        const size_t start = r / n_inner * n * n_inner + r % n_inner;
        const float *from = (const float *)x->data + start;
        double maximum = (double)from[0], sum = 0.0;
        for (size_t i = 1; i < n; i++) {
            maximum = (double)from[i * n_inner] > maximum ? (double)from[i * n_inner] : maximum;
        }
        for (size_t i = 0; i < n; i++) {
            sum += exp((double)from[i * n_inner] - maximum);
        }
        for (size_t i = 0; i < n; i++) {
            out[start + i * n_inner] = (float)((double)from[i * n_inner] - maximum - log(sum));
        }
    }
}

/* l[n,p] = -w[t] x[n,t,p] with t = target[n,p], 0 where t is to be ignored; none: l itself,
 * sum: its sum, mean: its sum over the sum of the weights used. Outputs: the loss and the
 * logarithms of the likelihoods. */
md_status md_kernel_nll_loss(const md_call *call)
{
    const md_tensor *x = call->in[0], *target = call->in[1];
    const float *weights = call->n_in > 2 && call->in[2] != NULL ? call->in[2]->data : NULL;
    const float *logs = call->out[1]->data;
    float *loss = call->out[0]->data;
    const int64_t n = x->dims[1];
    size_t n_inner = 1;
    double sum = 0.0, weight_sum = 0.0;
    for (unsigned i = 2; i < x->n_dims; i++) {
        n_inner *= (size_t)x->dims[i];
    }
    log_likelihood(call, n_inner);
    for (size_t i = 0; i < target->n_elements; i++) {
        const int64_t t = md_element_int(target, i);
        double one = 0.0;
        if (!call->p->loss.has_ignore || t != call->p->loss.ignore) {
            if (t < 0 || t >= n) {
                return md_fail(call->err, MD_FORMAT, "class %lld not in 0..%lld", (long long)t,
                               (long long)(n - 1));
            }
            const double weight = weights == NULL ? 1.0 : (double)weights[t];
            one = -weight *
                  (double)logs[(i / n_inner * (size_t)n + (size_t)t) * n_inner + i % n_inner];
            weight_sum += weight;
        }
        sum += one;
        if (call->p->loss.reduction == 0) {
            loss[i] = (float)one;
        }
    }
    if (call->p->loss.reduction != 0) {
        loss[0] = (float)(call->p->loss.reduction == 1 ? sum / weight_sum : sum);
    }
    return MD_OK;
}

/* Determinants of [..., n, n] by elimination with the largest pivot of each column.
 * workspace: one matrix. */
md_status md_kernel_det(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const size_t n = (size_t)x->dims[x->n_dims - 1];
    double *m = call->workspace;
    for (size_t r = 0; r < call->out[0]->n_elements; r++) {
        double det = 1.0;
        for (size_t i = 0; i < n * n; i++) {
            m[i] = md_element_real(x, r * n * n + i);
        }
        for (size_t k = 0; k < n; k++) {
            size_t pivot = k;
            for (size_t i = k + 1; i < n; i++) {
                pivot = fabs(m[i * n + k]) > fabs(m[pivot * n + k]) ? i : pivot;
            }
            for (size_t j = k; j < n && pivot != k; j++) {
                const double held = m[k * n + j];
                m[k * n + j] = m[pivot * n + j];
                m[pivot * n + j] = held;
            }
            det *= pivot == k ? m[k * n + k] : -m[k * n + k];
            for (size_t i = k + 1; i < n && m[k * n + k] != 0.0; i++) {
                const double f = m[i * n + k] / m[k * n + k];
                for (size_t j = k; j < n; j++) {
                    m[i * n + j] -= f * m[k * n + j];
                }
            }
        }
        md_store_real(call->out[0], r, det);
    }
    return MD_OK;
}
