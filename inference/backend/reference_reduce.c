/* Reductions and the softmax family. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <math.h>
#include <string.h>

/* Sums are kept in double precision. */
#define DEFINE_REDUCE(dtype, T, U)                                                             \
    static void reduce_##T(md_reduce function, const T *x, md_stride_walk *walk, T *ret)       \
    {                                                                                          \
        double sum = function == MD_REDUCE_PROD ? 1.0 : 0.0;                                   \
        T best = x[0];                                                                         \
        const unsigned last = walk->n_dims - 1;                                                \
        const int64_t step = walk->stride[0][last], n = walk->dims[last];                      \
        int64_t n_all = 0;                                                                     \
        do {                                                                                   \
            const T *at = x + walk->offset[0];                                                 \
            for (int64_t i = 0; i < n; i++) {                                                  \
                const T value = at[i * step];                                                  \
                switch (function) {                                                            \
                case MD_REDUCE_SUM:                                                            \
                case MD_REDUCE_MEAN:                                                           \
                case MD_REDUCE_LOG_SUM:                                                        \
                    sum += (double)value;                                                      \
                    break;                                                                     \
                case MD_REDUCE_MAX:                                                            \
                case MD_REDUCE_LOG_SUM_EXP: /* first pass */                                   \
                    best = value > best || value != value ? value : best;                      \
                    break;                                                                     \
                case MD_REDUCE_MIN:                                                            \
                    best = value < best || value != value ? value : best;                      \
                    break;                                                                     \
                case MD_REDUCE_PROD:                                                           \
                    sum *= (double)value;                                                      \
                    break;                                                                     \
                case MD_REDUCE_L1:                                                             \
                    sum += fabs((double)value);                                                \
                    break;                                                                     \
                case MD_REDUCE_L2:                                                             \
                case MD_REDUCE_SUM_SQUARE:                                                     \
                    sum += (double)value * (double)value;                                      \
                    break;                                                                     \
                }                                                                              \
            }                                                                                  \
            n_all += n;                                                                        \
        } while (md_stride_walk_next(walk, 1));                                                \
        switch (function) {                                                                    \
        case MD_REDUCE_MEAN:                                                                   \
            sum /= (double)n_all;                                                              \
            break;                                                                             \
        case MD_REDUCE_MAX:                                                                    \
        case MD_REDUCE_MIN:                                                                    \
        case MD_REDUCE_LOG_SUM_EXP:                                                            \
            sum = (double)best;                                                                \
            break;                                                                             \
        case MD_REDUCE_L2:                                                                     \
            sum = sqrt(sum);                                                                   \
            break;                                                                             \
        case MD_REDUCE_LOG_SUM:                                                                \
            sum = log(sum);                                                                    \
            break;                                                                             \
        case MD_REDUCE_SUM:                                                                    \
        case MD_REDUCE_PROD:                                                                   \
        case MD_REDUCE_L1:                                                                     \
        case MD_REDUCE_SUM_SQUARE:                                                             \
            break;                                                                             \
        }                                                                                      \
        *ret = (T)sum;                                                                         \
    }                                                                                          \
                                                                                               \
    /* log(sum e^x) = m + log(sum e^(x - m)), m the maximum; the walk is at its start again.   \
     */                                                                                        \
    static T log_sum_exp_##T(const T *x, md_stride_walk *walk, T maximum)                      \
    {                                                                                          \
        double sum = 0.0;                                                                      \
        if (isinf(maximum)) {                                                                  \
            return maximum;                                                                    \
        }                                                                                      \
        do {                                                                                   \
            sum += exp((double)(x[walk->offset[0]] - maximum));                                \
        } while (md_stride_walk_next(walk, 0));                                                \
        return (T)((double)maximum + log(sum));                                                \
    }

DEFINE_REDUCE(MD_F32, float, float)
DEFINE_REDUCE(MD_F64, double, double)

/* One result of integers; it wraps around into the type. */
static int64_t reduce_integer(md_reduce function, const md_tensor *x, int64_t start,
                              md_stride_walk *walk)
{
    const bool is_u64 = x->dtype == MD_U64;
    uint64_t sum = function == MD_REDUCE_PROD ? 1 : 0;
    int64_t best = md_element_int(x, (size_t)start);
    do {
        const int64_t value = md_element_int(x, (size_t)(start + walk->offset[0]));
        const uint64_t bits = (uint64_t)value;
        const bool greater = is_u64 ? bits > (uint64_t)best : value > best;
        switch ((int)function) {
        case MD_REDUCE_PROD:
            sum *= bits;
            break;
        case MD_REDUCE_L1:
            sum += value < 0 && !is_u64 ? 0 - bits : bits;
            break;
        case MD_REDUCE_SUM_SQUARE:
            sum += bits * bits;
            break;
        case MD_REDUCE_MAX:
            best = greater ? value : best;
            break;
        case MD_REDUCE_MIN:
            best = greater ? best : value;
            break;
        default:
            sum += bits;
            break;
        }
    } while (md_stride_walk_next(walk, 0));
    return function == MD_REDUCE_MAX || function == MD_REDUCE_MIN ? best : (int64_t)sum;
}

/* What an empty set reduces to; for integers the ends of the type stand for infinity. */
static void reduce_nothing(md_reduce function, md_tensor *out)
{
    double value = function == MD_REDUCE_PROD   ? 1.0
                   : function == MD_REDUCE_MAX  ? -(double)INFINITY
                   : function == MD_REDUCE_MIN  ? (double)INFINITY
                   : function == MD_REDUCE_MEAN ? (double)NAN
                   : function == MD_REDUCE_LOG_SUM || function == MD_REDUCE_LOG_SUM_EXP
                       ? -(double)INFINITY
                       : 0.0;
    if (out->dtype == MD_BOOL && function == MD_REDUCE_MAX) {
        value = 0.0;
    }
    for (size_t i = 0; i < out->n_elements; i++) {
        md_store_real(out, i, value);
    }
}

static void reduce_one(const md_call *call, int64_t start, md_stride_walk *walk, size_t at)
{
    const md_reduce function = call->p->reduce.function;
    const md_tensor *x = call->in[0];
    md_tensor *out = call->out[0];
    const bool twice = function == MD_REDUCE_LOG_SUM_EXP;
    const md_stride_walk fresh = *walk;
    if (x->dtype == MD_F32) {
        const float *from = (const float *)x->data + start;
        float *to = (float *)out->data + at;
        reduce_float(function, from, walk, to);
        *walk = fresh;
        *to = twice ? log_sum_exp_float(from, walk, *to) : *to;
    } else if (x->dtype == MD_F64) {
        const double *from = (const double *)x->data + start;
        double *to = (double *)out->data + at;
        reduce_double(function, from, walk, to);
        *walk = fresh;
        *to = twice ? log_sum_exp_double(from, walk, *to) : *to;
    } else {
        md_store_int(out, at, reduce_integer(function, x, start, walk));
    }
    *walk = fresh;
}

md_status md_kernel_reduce(const md_call *call)
{
    const md_tensor *x = call->in[0];
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_stride_walk kept = {.n_operands = 1}, gone = {.n_operands = 1};
    md_strides_of(x, strides);
    if (call->out[0]->n_elements == 0) {
        return MD_OK;
    }
    if (x->n_elements == 0) {
        reduce_nothing(call->p->reduce.function, call->out[0]);
        return MD_OK;
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        md_stride_walk *walk = call->p->reduce.axes[i] ? &gone : &kept;
        walk->dims[walk->n_dims] = x->dims[i];
        walk->stride[0][walk->n_dims++] = strides[i];
    }
    md_stride_walk_merge(&gone);
    size_t at = 0;
    do {
        reduce_one(call, kept.offset[0], &gone, at++);
    } while (md_stride_walk_next(&kept, 0));
    return MD_OK;
}

/* Row r of a tensor seen as [n_outer, n, n_inner]: where it starts. */
static int64_t row_start(int64_t r, int64_t n, int64_t n_inner)
{
    return r / n_inner * n * n_inner + r % n_inner;
}

/* y_i = e^(x_i - max) / sum_j e^(x_j - max), or its logarithm, or 1 at the first maximum. */
#define DEFINE_SOFTMAX(T, F)                                                                   \
    static void softmax_##T(const md_op_params *p, const T *x, T *y)                           \
    {                                                                                          \
        const int64_t n = p->softmax.n, step = p->softmax.n_inner;                             \
        T maximum = x[0];                                                                      \
        int64_t best = 0;                                                                      \
        double sum = 0.0;                                                                      \
        for (int64_t i = 1; i < n; i++) {                                                      \
            best = x[i * step] > maximum ? i : best;                                           \
            maximum = x[i * step] > maximum ? x[i * step] : maximum;                           \
        }                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const T e =                                                                        \
                p->softmax.kind == MD_SOFTMAX_HARD ? 0 : F(exp)(x[i * step] - maximum);        \
            sum += (double)e;                                                                  \
            y[i * step] = p->softmax.kind == MD_SOFTMAX_LOG ? x[i * step] - maximum : e;       \
        }                                                                                      \
        if (p->softmax.kind == MD_SOFTMAX_HARD) {                                              \
            y[best * step] = 1;                                                                \
            return;                                                                            \
        }                                                                                      \
        const T scale = (T)(1.0 / sum), shift = (T)log(sum);                                   \
        for (int64_t i = 0; i < n; i++) {                                                      \
            y[i * step] =                                                                      \
                p->softmax.kind == MD_SOFTMAX_LOG ? y[i * step] - shift : y[i * step] * scale; \
        }                                                                                      \
    }
#define OF_FLOAT(fn) fn##f
#define OF_DOUBLE(fn) fn
DEFINE_SOFTMAX(float, OF_FLOAT)
DEFINE_SOFTMAX(double, OF_DOUBLE)

md_status md_kernel_softmax(const md_call *call)
{
    const int64_t n = call->p->softmax.n, n_inner = call->p->softmax.n_inner;
    const md_tensor *x = call->in[0];
    if (n == 0) {
        return MD_OK;
    }
    for (int64_t row = 0; row < call->p->softmax.n_outer * n_inner; row++) {
        const int64_t start = row_start(row, n, n_inner);
        if (x->dtype == MD_F64) {
            softmax_double(call->p, (const double *)x->data + start,
                           (double *)call->out[0]->data + start);
        } else {
            softmax_float(call->p, (const float *)x->data + start,
                          (float *)call->out[0]->data + start);
        }
    }
    return MD_OK;
}

md_status md_kernel_arg_max(const md_call *call)
{
    const md_tensor *x = call->in[0];
    int64_t *out = call->out[0]->data;
    const unsigned axis = call->p->arg_max.axis;
    int64_t n_inner = 1, n_outer = 1;
    const int64_t n = x->dims[axis];
    for (unsigned i = 0; i < x->n_dims; i++) {
        n_outer *= i < axis ? x->dims[i] : 1;
        n_inner *= i > axis ? x->dims[i] : 1;
    }
    for (int64_t row = 0; row < n_outer * n_inner; row++) {
        const int64_t start = row_start(row, n, n_inner);
        int64_t best = 0;
        for (int64_t i = 1; i < n; i++) {
            const int order = md_element_compare(x, (size_t)(start + i * n_inner),
                                                 (size_t)(start + best * n_inner));
            const bool better = call->p->arg_max.minimum ? order < 0 : order > 0;
            best = better || (call->p->arg_max.last && order == 0) ? i : best;
        }
        out[row] = best;
    }
    return MD_OK;
}
