/* Reductions, softmax and casts. */

#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <math.h>
#include <string.h>

static void reduce_real(md_reduce function, const float *x, md_stride_walk *walk, float *ret)
{
    double sum = function == MD_REDUCE_PROD ? 1.0 : 0.0;
    float best = x[0];
    const unsigned last = walk->n_dims - 1;
    const int64_t step = walk->stride[0][last], n = walk->dims[last];
    int64_t n_all = 0;
    do {
        const float *at = x + walk->offset[0];
        for (int64_t i = 0; i < n; i++) {
            const float value = at[i * step];
            switch (function) {
            case MD_REDUCE_SUM:
            case MD_REDUCE_MEAN:
            case MD_REDUCE_LOG_SUM:
                sum += (double)value;
                break;
            case MD_REDUCE_MAX:
            case MD_REDUCE_LOG_SUM_EXP: /* first pass */
                best = value > best || value != value ? value : best;
                break;
            case MD_REDUCE_MIN:
                best = value < best || value != value ? value : best;
                break;
            case MD_REDUCE_PROD:
                sum *= (double)value;
                break;
            case MD_REDUCE_L1:
                sum += fabs((double)value);
                break;
            case MD_REDUCE_L2:
            case MD_REDUCE_SUM_SQUARE:
                sum += (double)value * (double)value;
                break;
            }
        }
        n_all += n;
    } while (md_stride_walk_next(walk, 1));
    switch (function) {
    case MD_REDUCE_MEAN:
        sum /= (double)n_all;
        break;
    case MD_REDUCE_MAX:
    case MD_REDUCE_MIN:
    case MD_REDUCE_LOG_SUM_EXP:
        sum = (double)best;
        break;
    case MD_REDUCE_L2:
        sum = sqrt(sum);
        break;
    case MD_REDUCE_LOG_SUM:
        sum = log(sum);
        break;
    case MD_REDUCE_SUM:
    case MD_REDUCE_PROD:
    case MD_REDUCE_L1:
    case MD_REDUCE_SUM_SQUARE:
        break;
    }
    *ret = (float)sum;
}

/* log(sum e^x) = m + log(sum e^(x - m)) with m the maximum; the walk is at its start again. */
static float log_sum_exp(const float *x, md_stride_walk *walk, float maximum)
{
    double sum = 0.0;
    if (isinf(maximum)) {
        return maximum;
    }
    do {
        sum += exp((double)(x[walk->offset[0]] - maximum));
    } while (md_stride_walk_next(walk, 0));
    return (float)((double)maximum + log(sum));
}

static int64_t integer_at(const md_tensor *x, int64_t i)
{
    return x->dtype == MD_I64 ? ((const int64_t *)x->data)[i] : ((const int32_t *)x->data)[i];
}

static void reduce_integer(md_reduce function, const md_tensor *x, int64_t start,
                           md_stride_walk *walk, md_tensor *out, size_t at)
{
    uint64_t sum = function == MD_REDUCE_PROD ? 1 : 0;
    int64_t best = integer_at(x, start);
    do {
        int64_t value = integer_at(x, start + walk->offset[0]);
        sum = function == MD_REDUCE_PROD ? sum * (uint64_t)value : sum + (uint64_t)value;
        bool better = function == MD_REDUCE_MAX ? value > best : value < best;
        best = better ? value : best;
    } while (md_stride_walk_next(walk, 0));
    if (function == MD_REDUCE_MAX || function == MD_REDUCE_MIN) {
        sum = (uint64_t)best;
    }
    if (out->dtype == MD_I64) {
        ((int64_t *)out->data)[at] = (int64_t)sum;
    } else {
        ((int32_t *)out->data)[at] = (int32_t)sum;
    }
}

/* What an empty set reduces to. */
static void reduce_nothing(md_reduce function, md_tensor *out)
{
    float value = function == MD_REDUCE_PROD   ? 1.0F
                  : function == MD_REDUCE_MAX  ? -INFINITY
                  : function == MD_REDUCE_MIN  ? INFINITY
                  : function == MD_REDUCE_MEAN ? NAN
                  : function == MD_REDUCE_LOG_SUM || function == MD_REDUCE_LOG_SUM_EXP
                      ? -INFINITY
                      : 0.0F;
    memset(out->data, 0, out->n_elements * md_dtype_bytes(out->dtype));
    for (size_t i = 0; i < out->n_elements && out->dtype == MD_F32; i++) {
        ((float *)out->data)[i] = value;
    }
}

md_status md_kernel_reduce(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *out = call->out[0];
    const md_reduce function = call->p->reduce.function;
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_stride_walk kept = {.n_operands = 1}, gone = {.n_operands = 1};
    md_strides_of(x, strides);
    if (out->n_elements == 0) {
        return MD_OK;
    }
    if (x->n_elements == 0) {
        reduce_nothing(function, out);
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
        const int64_t start = kept.offset[0];
        if (x->dtype != MD_F32) {
            reduce_integer(function, x, start, &gone, out, at);
        } else {
            float *to = (float *)out->data + at;
            reduce_real(function, (const float *)x->data + start, &gone, to);
            gone.index[gone.n_dims - 1] = 0;
            gone.offset[0] = 0;
            if (function == MD_REDUCE_LOG_SUM_EXP) {
                *to = log_sum_exp((const float *)x->data + start, &gone, *to);
            }
        }
        at++;
    } while (md_stride_walk_next(&kept, 0));
    return MD_OK;
}

/* y_i = e^(x_i - max) / sum_j e^(x_j - max), or its logarithm. */
md_status md_kernel_softmax(const md_call *call)
{
    const int64_t n = call->p->softmax.n, n_inner = call->p->softmax.n_inner;
    if (n == 0) {
        return MD_OK;
    }
    for (int64_t row = 0; row < call->p->softmax.n_outer * n_inner; row++) {
        const int64_t start = row / n_inner * n * n_inner + row % n_inner;
        const float *x = (const float *)call->in[0]->data + start;
        float *y = (float *)call->out[0]->data + start;
        float maximum = x[0];
        double sum = 0.0;
        for (int64_t i = 1; i < n; i++) {
            maximum = x[i * n_inner] > maximum ? x[i * n_inner] : maximum;
        }
        for (int64_t i = 0; i < n; i++) {
            float e = expf(x[i * n_inner] - maximum);
            sum += (double)e;
            y[i * n_inner] = call->p->softmax.log ? x[i * n_inner] - maximum : e;
        }
        const float scale = (float)(1.0 / sum), shift = (float)log(sum);
        for (int64_t i = 0; i < n; i++) {
            y[i * n_inner] =
                call->p->softmax.log ? y[i * n_inner] - shift : y[i * n_inner] * scale;
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
        const float *at = (const float *)x->data + row / n_inner * n * n_inner + row % n_inner;
        int64_t best = 0;
        for (int64_t i = 1; i < n; i++) {
            const float value = at[i * n_inner], so_far = at[best * n_inner];
            bool better = call->p->arg_max.minimum ? value < so_far : value > so_far;
            best = better || (call->p->arg_max.last && !(value < so_far) && !(value > so_far))
                       ? i
                       : best;
        }
        out[row] = best;
    }
    return MD_OK;
}

/* Cut towards zero; beyond the range, its nearest end; NaN becomes 0. */
static int64_t to_integer(double value, int64_t low, int64_t high)
{
    if (value != value) {
        return 0;
    }
    if (value <= (double)low) {
        return low;
    }
    return value >= (double)high ? high : (int64_t)value;
}

md_status md_kernel_cast(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    const bool from_real = x->dtype == MD_F32 || x->dtype == MD_F64;
    for (size_t i = 0; i < x->n_elements; i++) {
        double real = 0.0;
        int64_t whole = 0;
        switch (x->dtype) {
        case MD_F32:
            real = (double)((const float *)x->data)[i];
            break;
        case MD_F64:
            real = ((const double *)x->data)[i];
            break;
        case MD_I64:
            whole = ((const int64_t *)x->data)[i];
            break;
        case MD_I32:
            whole = ((const int32_t *)x->data)[i];
            break;
        case MD_I8:
            whole = ((const int8_t *)x->data)[i];
            break;
        case MD_U8:
            whole = ((const uint8_t *)x->data)[i];
            break;
        case MD_BOOL:
            whole = ((const uint8_t *)x->data)[i] != 0;
            break;
        }
        switch (y->dtype) {
        case MD_F32:
            ((float *)y->data)[i] = from_real ? (float)real : (float)whole;
            break;
        case MD_F64:
            ((double *)y->data)[i] = from_real ? real : (double)whole;
            break;
        case MD_I64:
            ((int64_t *)y->data)[i] =
                from_real ? to_integer(real, INT64_MIN, INT64_MAX) : whole;
            break;
        case MD_I32:
            ((int32_t *)y->data)[i] =
                (int32_t)(from_real ? to_integer(real, INT32_MIN, INT32_MAX) : whole);
            break;
        case MD_I8:
            ((int8_t *)y->data)[i] = (int8_t)(from_real ? to_integer(real, -128, 127) : whole);
            break;
        case MD_U8:
            ((uint8_t *)y->data)[i] = (uint8_t)(from_real ? to_integer(real, 0, 255) : whole);
            break;
        case MD_BOOL:
            ((uint8_t *)y->data)[i] = from_real ? real != 0.0 : whole != 0;
            break;
        }
    }
    return MD_OK;
}
