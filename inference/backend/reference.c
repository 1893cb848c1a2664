#include "inference/backend/kernels.h"

#include <math.h>

static const md_kernel_fn table[MD_OP_COUNT] = {
    [MD_OP_COPY] = md_kernel_copy,
    [MD_OP_CONV] = md_kernel_conv,
    [MD_OP_CONV_TRANSPOSE] = md_kernel_conv_transpose,
    [MD_OP_POOL] = md_kernel_pool,
    [MD_OP_BATCH_NORM] = md_kernel_batch_norm,
    [MD_OP_UNARY] = md_kernel_unary,
    [MD_OP_BINARY] = md_kernel_binary,
    [MD_OP_WHERE] = md_kernel_where,
    [MD_OP_GEMM] = md_kernel_gemm,
    [MD_OP_MATMUL] = md_kernel_matmul,
    [MD_OP_CONCAT] = md_kernel_concat,
    [MD_OP_TRANSPOSE] = md_kernel_transpose,
    [MD_OP_SOFTMAX] = md_kernel_softmax,
    [MD_OP_PAD] = md_kernel_pad,
    [MD_OP_RESIZE] = md_kernel_resize,
    [MD_OP_SLICE] = md_kernel_slice,
    [MD_OP_REDUCE] = md_kernel_reduce,
    [MD_OP_GATHER] = md_kernel_gather,
    [MD_OP_CAST] = md_kernel_cast,
    [MD_OP_EXPAND] = md_kernel_expand,
    [MD_OP_TILE] = md_kernel_tile,
    [MD_OP_ARG_MAX] = md_kernel_arg_max,
    [MD_OP_LRN] = md_kernel_lrn,
    [MD_OP_INSTANCE_NORM] = md_kernel_instance_norm,
};

md_kernel_fn md_kernel_for(md_op op)
{
    return table[op];
}

bool md_kernel_needs_sgemm(md_op op)
{
    return op == MD_OP_CONV || op == MD_OP_CONV_TRANSPOSE || op == MD_OP_GEMM ||
           op == MD_OP_MATMUL;
}

#define LOOP(expression)                                                                       \
    for (size_t i = 0; i < n; i++) {                                                           \
        const float x = in[i];                                                                 \
        out[i] = (expression);                                                                 \
    }                                                                                          \
    break

static float sigmoid(float x)
{
    return 1.0F / (1.0F + expf(-x));
}

static float clip(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x; /* NaN passes through */
}

void md_activate(const md_activation *activation, const float *in, float *out, size_t n)
{
    const float alpha = activation->alpha, beta = activation->beta;
    switch (activation->function) {
    case MD_UNARY_IDENTITY:
    case MD_UNARY_NOT:
        LOOP(x);
    case MD_UNARY_RELU:
        LOOP(x < 0.0F ? 0.0F : x);
    case MD_UNARY_LEAKY_RELU:
        LOOP(x < 0.0F ? alpha * x : x);
    case MD_UNARY_SIGMOID:
        LOOP(sigmoid(x));
    case MD_UNARY_TANH:
        LOOP(tanhf(x));
    case MD_UNARY_CLIP:
        LOOP(clip(x, alpha, beta));
    case MD_UNARY_HARD_SIGMOID:
        LOOP(clip(alpha * x + beta, 0.0F, 1.0F));
    case MD_UNARY_HARD_SWISH:
        LOOP(x * clip(x * (1.0F / 6.0F) + 0.5F, 0.0F, 1.0F));
    case MD_UNARY_SWISH:
        LOOP(x * sigmoid(x));
    case MD_UNARY_HEAVISIDE:
        LOOP(x > 0.0F ? 1.0F : 0.0F);
    case MD_UNARY_ELU:
        LOOP(x < 0.0F ? alpha * expm1f(x) : x);
    case MD_UNARY_SELU:
        LOOP(beta * (x < 0.0F ? alpha * expm1f(x) : x));
    case MD_UNARY_SOFTPLUS: /* log(1 + e^x) without overflow */
        LOOP((x > 0.0F ? x : 0.0F) + log1pf(expf(-fabsf(x))));
    case MD_UNARY_SOFTSIGN:
        LOOP(x / (1.0F + fabsf(x)));
    case MD_UNARY_THRESHOLDED_RELU:
        LOOP(x > alpha ? x : 0.0F);
    case MD_UNARY_ABS:
        LOOP(fabsf(x));
    case MD_UNARY_NEG:
        LOOP(-x);
    case MD_UNARY_EXP:
        LOOP(expf(x));
    case MD_UNARY_LOG:
        LOOP(logf(x));
    case MD_UNARY_SQRT:
        LOOP(sqrtf(x));
    case MD_UNARY_RECIPROCAL:
        LOOP(1.0F / x);
    case MD_UNARY_FLOOR:
        LOOP(floorf(x));
    case MD_UNARY_CEIL:
        LOOP(ceilf(x));
    case MD_UNARY_ROUND:
        LOOP(nearbyintf(x));
    case MD_UNARY_SIGN:
        LOOP((float)((x > 0.0F) - (x < 0.0F)));
    case MD_UNARY_ERF:
        LOOP(erff(x));
    case MD_UNARY_SIN:
        LOOP(sinf(x));
    case MD_UNARY_COS:
        LOOP(cosf(x));
    }
}

static int64_t integer_unary(md_unary function, int64_t x)
{
    switch ((int)function) {
    case MD_UNARY_ABS:
        return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
    case MD_UNARY_NEG:
        return (int64_t)(0 - (uint64_t)x);
    default:
        return (x > 0) - (x < 0);
    }
}

md_status md_kernel_unary(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    const md_unary function = call->p->unary.function;
    if (x->dtype == MD_F32) {
        md_activate(&call->p->unary, x->data, y->data, x->n_elements);
        return MD_OK;
    }
    for (size_t i = 0; i < x->n_elements; i++) {
        switch (x->dtype) {
        case MD_I64:
            ((int64_t *)y->data)[i] = integer_unary(function, ((const int64_t *)x->data)[i]);
            break;
        case MD_I32:
            ((int32_t *)y->data)[i] =
                (int32_t)integer_unary(function, ((const int32_t *)x->data)[i]);
            break;
        case MD_F32:
        case MD_F64:
        case MD_I8:
        case MD_U8:
        case MD_BOOL: /* Not */
            ((uint8_t *)y->data)[i] = ((const uint8_t *)x->data)[i] == 0;
            break;
        }
    }
    return MD_OK;
}
