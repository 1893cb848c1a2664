/* Elementwise functions of one operand. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"

#include <math.h>

#define LOOP(expression)                                                                       \
    for (size_t i = 0; i < n; i++) {                                                           \
        const type x = in[i];                                                                  \
        out[i] = (type)(expression);                                                           \
    }                                                                                          \
    break

/* F(exp) is exp for double and expf for float. The
 * functions are written out in graph.h. */
#define DEFINE_ACTIVATE(T, name, F)                                                            \
    static T name##_sigmoid(T x)                                                               \
    {                                                                                          \
        return 1 / (1 + F(exp)(-x));                                                           \
    }                                                                                          \
    static T name##_clip(T x, T low, T high)                                                   \
    {                                                                                          \
        x = x < low ? low : x;                                                                 \
        return x > high ? high : x; /* NaN passes through */                                   \
    }                                                                                          \
    /* log(1 + e^x) without overflow */                                                        \
    static T name##_softplus(T x)                                                              \
    {                                                                                          \
        return (x > 0 ? x : 0) + F(log1p)(F(exp)(-F(fabs)(x)));                                \
    }                                                                                          \
    static T name##_gelu(T x)                                                                  \
    {                                                                                          \
        return x * (T)0.5 * (1 + F(erf)(x * (T)0.70710678118654752440));                       \
    }                                                                                          \
    static T name##_gelu_tanh(T x)                                                             \
    {                                                                                          \
        return x * (T)0.5 *                                                                    \
               (1 + F(tanh)((T)0.79788456080286535588 * (x + (T)0.044715 * x * x * x)));       \
    }                                                                                          \
    static T name##_shrink(T x, T bias, T lambda)                                              \
    {                                                                                          \
        return x < -lambda ? x + bias : x > lambda ? x - bias : 0;                             \
    }                                                                                          \
    static void name(md_unary function, T alpha, T beta, const T *in, T *out, size_t n)        \
    {                                                                                          \
        typedef T type;                                                                        \
        switch (function) {                                                                    \
        case MD_UNARY_IDENTITY:                                                                \
        case MD_UNARY_NOT:                                                                     \
        case MD_UNARY_BIT_NOT:                                                                 \
            LOOP(x);                                                                           \
        case MD_UNARY_RELU:                                                                    \
            LOOP(x < 0 ? 0 : x);                                                               \
        case MD_UNARY_LEAKY_RELU:                                                              \
            LOOP(x < 0 ? alpha * x : x);                                                       \
        case MD_UNARY_SIGMOID:                                                                 \
            LOOP(name##_sigmoid(x));                                                           \
        case MD_UNARY_TANH:                                                                    \
            LOOP(F(tanh)(x));                                                                  \
        case MD_UNARY_CLIP:                                                                    \
            LOOP(name##_clip(x, alpha, beta));                                                 \
        case MD_UNARY_HARD_SIGMOID:                                                            \
            LOOP(name##_clip(alpha *x + beta, 0, 1));                                          \
        case MD_UNARY_HARD_SWISH:                                                              \
            LOOP(x *name##_clip(x *((T)1 / (T)6) + (T)0.5, 0, 1));                             \
        case MD_UNARY_SWISH:                                                                   \
            LOOP(x *name##_sigmoid(x));                                                        \
        case MD_UNARY_HEAVISIDE:                                                               \
            LOOP(x > 0 ? 1 : 0);                                                               \
        case MD_UNARY_ELU:                                                                     \
            LOOP(x < 0 ? alpha * F(expm1)(x) : x);                                             \
        case MD_UNARY_CELU:                                                                    \
            LOOP(x < 0 ? alpha * F(expm1)(x / alpha) : x);                                     \
        case MD_UNARY_SELU:                                                                    \
            LOOP(beta *(x < 0 ? alpha * F(expm1)(x) : x));                                     \
        case MD_UNARY_SOFTPLUS:                                                                \
            LOOP(name##_softplus(x));                                                          \
        case MD_UNARY_MISH:                                                                    \
            LOOP(x *F(tanh)(name##_softplus(x)));                                              \
        case MD_UNARY_GELU:                                                                    \
            LOOP(name##_gelu(x));                                                              \
        case MD_UNARY_GELU_TANH:                                                               \
            LOOP(name##_gelu_tanh(x));                                                         \
        case MD_UNARY_SOFTSIGN:                                                                \
            LOOP(x / (1 + F(fabs)(x)));                                                        \
        case MD_UNARY_THRESHOLDED_RELU:                                                        \
            LOOP(x > alpha ? x : 0);                                                           \
        case MD_UNARY_SHRINK:                                                                  \
            LOOP(name##_shrink(x, alpha, beta));                                               \
        case MD_UNARY_ABS:                                                                     \
            LOOP(F(fabs)(x));                                                                  \
        case MD_UNARY_NEG:                                                                     \
            LOOP(-x);                                                                          \
        case MD_UNARY_EXP:                                                                     \
            LOOP(F(exp)(x));                                                                   \
        case MD_UNARY_LOG:                                                                     \
            LOOP(F(log)(x));                                                                   \
        case MD_UNARY_SQRT:                                                                    \
            LOOP(F(sqrt)(x));                                                                  \
        case MD_UNARY_RECIPROCAL:                                                              \
            LOOP(1 / x);                                                                       \
        case MD_UNARY_FLOOR:                                                                   \
            LOOP(F(floor)(x));                                                                 \
        case MD_UNARY_CEIL:                                                                    \
            LOOP(F(ceil)(x));                                                                  \
        case MD_UNARY_ROUND:                                                                   \
            LOOP(F(nearbyint)(x));                                                             \
        case MD_UNARY_SIGN:                                                                    \
            LOOP((x > 0) - (x < 0));                                                           \
        case MD_UNARY_ERF:                                                                     \
            LOOP(F(erf)(x));                                                                   \
        case MD_UNARY_SIN:                                                                     \
            LOOP(F(sin)(x));                                                                   \
        case MD_UNARY_COS:                                                                     \
            LOOP(F(cos)(x));                                                                   \
        case MD_UNARY_TAN:                                                                     \
            LOOP(F(tan)(x));                                                                   \
        case MD_UNARY_ASIN:                                                                    \
            LOOP(F(asin)(x));                                                                  \
        case MD_UNARY_ACOS:                                                                    \
            LOOP(F(acos)(x));                                                                  \
        case MD_UNARY_ATAN:                                                                    \
            LOOP(F(atan)(x));                                                                  \
        case MD_UNARY_SINH:                                                                    \
            LOOP(F(sinh)(x));                                                                  \
        case MD_UNARY_COSH:                                                                    \
            LOOP(F(cosh)(x));                                                                  \
        case MD_UNARY_ASINH:                                                                   \
            LOOP(F(asinh)(x));                                                                 \
        case MD_UNARY_ACOSH:                                                                   \
            LOOP(F(acosh)(x));                                                                 \
        case MD_UNARY_ATANH:                                                                   \
            LOOP(F(atanh)(x));                                                                 \
        }                                                                                      \
    }

#define OF_FLOAT(fn) fn##f
#define OF_DOUBLE(fn) fn
DEFINE_ACTIVATE(float, activate_f32, OF_FLOAT)
DEFINE_ACTIVATE(double, activate_f64, OF_DOUBLE)

void md_activate(const md_activation *activation, const float *in, float *out, size_t n)
{
    activate_f32(activation->function, activation->alpha, activation->beta, in, out, n);
}

/* 64 bits are wide enough for all: the result wraps around into the type. */
static int64_t integer_unary(md_unary function, int64_t x, const md_activation *p)
{
    switch ((int)function) {
    case MD_UNARY_ABS:
        return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
    case MD_UNARY_NEG:
        return (int64_t)(0 - (uint64_t)x);
    case MD_UNARY_RELU:
        return x < 0 ? 0 : x;
    case MD_UNARY_BIT_NOT:
        return ~x;
    case MD_UNARY_NOT:
        return x == 0;
    case MD_UNARY_SIGN:
        return (x > 0) - (x < 0);
    default:
        (void)p;
        return x;
    }
}

md_status md_kernel_unary(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    const md_activation *p = &call->p->unary;
    if (x->dtype == MD_F32) {
        md_activate(p, x->data, y->data, x->n_elements);
        return MD_OK;
    }
    if (x->dtype == MD_F64) {
        activate_f64(p->function, (double)p->alpha, (double)p->beta, x->data, y->data,
                     x->n_elements);
        return MD_OK;
    }
    for (size_t i = 0; i < x->n_elements; i++) {
        int64_t value = md_element_int(x, i);
        if (x->dtype == MD_U64 && p->function != MD_UNARY_BIT_NOT) {
            /* nothing is negative */
            value = p->function == MD_UNARY_SIGN ? value != 0 : value;
        } else {
            value = integer_unary(p->function, value, p);
        }
        md_store_int(y, i, value);
    }
    return MD_OK;
}

/* IsNaN, IsInf */
md_status md_kernel_classify(const md_call *call)
{
    const md_tensor *x = call->in[0];
    uint8_t *y = call->out[0]->data;
    for (size_t i = 0; i < x->n_elements; i++) {
        const double value = md_element_real(x, i);
        const bool wanted =
            value > 0.0 ? call->p->classify.positive : call->p->classify.negative;
        y[i] = 0;
        if (call->p->classify.nan ? isnan(value) : isinf(value) && wanted) {
            y[i] = 1;
        }
    }
    return MD_OK;
}
