/* Elementwise operators of two and three operands, with broadcasting. */

#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <math.h>
#include <string.h>

/* Wraps around, like the hardware, where C would leave it undefined. */
#define WRAP(T, U, x, op, y) ((T)((U)(x)op(U)(y)))

static int64_t power_i64(int64_t base, int64_t exponent)
{
    uint64_t result = 1, square = (uint64_t)base;
    if (exponent < 0) { /* 1 / base^n, cut towards zero */
        return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    }
    for (; exponent > 0; exponent >>= 1) {
        result *= (exponent & 1) != 0 ? square : 1;
        square *= square;
    }
    return (int64_t)result;
}

static float power_f32(float x, float y)
{
    return y == 2.0F ? x * x : powf(x, y);
}

static double power_f64(double x, double y)
{
    return pow(x, y);
}

typedef struct row {
    const void *a, *b;
    void *out;
    size_t n;
} row;

#define ROW(R, expression)                                                                     \
    for (size_t i = 0; i < r->n; i++) {                                                        \
        const type x = a[i * sa], y = b[i * sb];                                               \
        ((R *)r->out)[i] = (R)(expression);                                                    \
    }                                                                                          \
    break

#define COMPARISONS                                                                            \
    case MD_BINARY_GREATER:                                                                    \
        ROW(uint8_t, x > y);                                                                   \
    case MD_BINARY_GREATER_EQUAL:                                                              \
        ROW(uint8_t, x >= y);                                                                  \
    case MD_BINARY_LESS:                                                                       \
        ROW(uint8_t, x < y);                                                                   \
    case MD_BINARY_LESS_EQUAL:                                                                 \
        ROW(uint8_t, x <= y);                                                                  \
    case MD_BINARY_EQUAL:                                                                      \
        ROW(uint8_t, x == y);                                                                  \
    case MD_BINARY_AND:                                                                        \
        ROW(uint8_t, x != 0 && y != 0);                                                        \
    case MD_BINARY_OR:                                                                         \
        ROW(uint8_t, x != 0 || y != 0);                                                        \
    case MD_BINARY_XOR:                                                                        \
        ROW(uint8_t, (x != 0) != (y != 0));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* One row of a floating type; sa and sb, 0 or 1, are constants of the callers below. */
#define DEFINE_REAL(T, name)                                                                   \
    ALWAYS_INLINE void name##_row(md_binary function, const row *r, size_t sa, size_t sb)      \
    {                                                                                          \
        typedef T type;                                                                        \
        const type *a = r->a, *b = r->b;                                                       \
        switch (function) {                                                                    \
        case MD_BINARY_ADD:                                                                    \
            ROW(type, x + y);                                                                  \
        case MD_BINARY_SUB:                                                                    \
            ROW(type, x - y);                                                                  \
        case MD_BINARY_MUL:                                                                    \
            ROW(type, x *y);                                                                   \
        case MD_BINARY_DIV:                                                                    \
            ROW(type, x / y);                                                                  \
        case MD_BINARY_MIN: /* NaN wins, as in numpy */                                        \
            ROW(type, x < y || x != x ? x : y);                                                \
        case MD_BINARY_MAX:                                                                    \
            ROW(type, x > y || x != x ? x : y);                                                \
        case MD_BINARY_POW:                                                                    \
            ROW(type, power_##name(x, y));                                                     \
        case MD_BINARY_PRELU:                                                                  \
            ROW(type, x < 0 ? x * y : x);                                                      \
        case MD_BINARY_FMOD:                                                                   \
            ROW(type, fmod((double)x, (double)y));                                             \
        case MD_BINARY_MOD:                                                                    \
        case MD_BINARY_SHIFT_LEFT:                                                             \
        case MD_BINARY_SHIFT_RIGHT:                                                            \
        case MD_BINARY_BIT_AND:                                                                \
        case MD_BINARY_BIT_OR:                                                                 \
        case MD_BINARY_BIT_XOR:                                                                \
            break;                                                                             \
            COMPARISONS                                                                        \
        }                                                                                      \
    }

#define BELOW_0(x) ((x) < 0)
#define NEVER(x) ((void)(x), false)

/* y is not 0; the smallest by -1 has no remainder, and C leaves it undefined. */
#define DEFINE_INTEGER(T, U, name, NEGATIVE)                                                   \
    ALWAYS_INLINE T remainder_##name(T x, T y)                                                 \
    {                                                                                          \
        return (T)(NEGATIVE(y) && y == (T)-1 ? 0 : x % y);                                     \
    }                                                                                          \
    ALWAYS_INLINE T modulo_##name(T x, T y)                                                    \
    {                                                                                          \
        const T r = remainder_##name(x, y);                                                    \
        return r != 0 && NEGATIVE(r) != NEGATIVE(y) ? (T)(r + y) : r;                          \
    }                                                                                          \
    ALWAYS_INLINE void name##_row(md_binary function, const row *r, size_t sa, size_t sb)      \
    {                                                                                          \
        typedef T type;                                                                        \
        const type *a = r->a, *b = r->b;                                                       \
        switch (function) {                                                                    \
        case MD_BINARY_ADD:                                                                    \
            ROW(type, WRAP(T, U, x, +, y));                                                    \
        case MD_BINARY_SUB:                                                                    \
            ROW(type, WRAP(T, U, x, -, y));                                                    \
        case MD_BINARY_MUL:                                                                    \
            ROW(type, WRAP(T, U, x, *, y));                                                    \
        case MD_BINARY_DIV: /* of the smallest by -1: wraps as its negation does */            \
            ROW(type, NEGATIVE(y) && y == (T)-1 ? WRAP(T, U, 0, -, x) : x / y);                \
        case MD_BINARY_MIN:                                                                    \
            ROW(type, x < y ? x : y);                                                          \
        case MD_BINARY_MAX:                                                                    \
            ROW(type, x > y ? x : y);                                                          \
        case MD_BINARY_POW:                                                                    \
            ROW(type, power_i64((int64_t)x, (int64_t)y));                                      \
        case MD_BINARY_PRELU:                                                                  \
            ROW(type, NEGATIVE(x) ? WRAP(T, U, x, *, y) : x);                                  \
        case MD_BINARY_MOD:                                                                    \
            ROW(type, modulo_##name(x, y));                                                    \
        case MD_BINARY_FMOD:                                                                   \
            ROW(type, remainder_##name(x, y));                                                 \
        case MD_BINARY_SHIFT_LEFT: /* by the width or more: nothing is left */                 \
            ROW(type, (U)y < 8 * sizeof(T) ? (U)x << (U)y : 0);                                \
        case MD_BINARY_SHIFT_RIGHT:                                                            \
            ROW(type, (U)y < 8 * sizeof(T) ? (U)x >> (U)y : 0);                                \
        case MD_BINARY_BIT_AND:                                                                \
            ROW(type, (U)x &(U)y);                                                             \
        case MD_BINARY_BIT_OR:                                                                 \
            ROW(type, (U)x | (U)y);                                                            \
        case MD_BINARY_BIT_XOR:                                                                \
            ROW(type, (U)x ^ (U)y);                                                            \
            COMPARISONS                                                                        \
        }                                                                                      \
    }

#define DEFINE_ROWS(name)                                                                      \
    static void name##_rows(md_binary function, const row *r, int64_t sa, int64_t sb)          \
    {                                                                                          \
        if (sa == 0) {                                                                         \
            name##_row(function, r, 0, sb == 0 ? 0 : 1);                                       \
        } else if (sb == 0) {                                                                  \
            name##_row(function, r, 1, 0);                                                     \
        } else {                                                                               \
            name##_row(function, r, 1, 1);                                                     \
        }                                                                                      \
    }

DEFINE_REAL(float, f32)
DEFINE_REAL(double, f64)
DEFINE_INTEGER(int64_t, uint64_t, i64, BELOW_0)
DEFINE_INTEGER(int32_t, uint32_t, i32, BELOW_0)
DEFINE_INTEGER(int8_t, uint32_t, i8, BELOW_0)
DEFINE_INTEGER(uint8_t, uint32_t, u8, NEVER)
DEFINE_INTEGER(int16_t, uint32_t, i16, BELOW_0)
DEFINE_INTEGER(uint16_t, uint32_t, u16, NEVER)
DEFINE_INTEGER(uint32_t, uint32_t, u32, NEVER)
DEFINE_INTEGER(uint64_t, uint64_t, u64, NEVER)
DEFINE_ROWS(f32)
DEFINE_ROWS(f64)
DEFINE_ROWS(i64)
DEFINE_ROWS(i32)
DEFINE_ROWS(i8)
DEFINE_ROWS(u8)
DEFINE_ROWS(i16)
DEFINE_ROWS(u16)
DEFINE_ROWS(u32)
DEFINE_ROWS(u64)

static void (*const rows_of[])(md_binary, const row *, int64_t, int64_t) = {
    [MD_F32] = f32_rows, [MD_F64] = f64_rows, [MD_I64] = i64_rows, [MD_I32] = i32_rows,
    [MD_I8] = i8_rows,   [MD_U8] = u8_rows,   [MD_BOOL] = u8_rows, [MD_I16] = i16_rows,
    [MD_U16] = u16_rows, [MD_U32] = u32_rows, [MD_U64] = u64_rows,
};

static bool has_zero(const md_tensor *tensor)
{
    const uint8_t zero[8] = {0};
    size_t n_bytes = md_dtype_bytes(tensor->dtype);
    for (size_t i = 0; i < tensor->n_elements; i++) {
        if (memcmp((const uint8_t *)tensor->data + i * n_bytes, zero, n_bytes) == 0) {
            return true;
        }
    }
    return false;
}

md_status md_kernel_binary(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1];
    md_tensor *out = call->out[0];
    const md_binary function = call->p->binary.function;
    if (out->n_elements == 0) {
        return MD_OK;
    }
    const bool divides =
        function == MD_BINARY_DIV || function == MD_BINARY_MOD || function == MD_BINARY_FMOD;
    if (divides && a->dtype != MD_F32 && a->dtype != MD_F64 && has_zero(b)) {
        return md_fail(call->err, MD_FORMAT, "division of an integer by 0");
    }
    md_stride_walk walk = {.n_dims = out->n_dims};
    memcpy(walk.dims, out->dims, out->n_dims * sizeof *out->dims);
    md_stride_walk_broadcast(&walk, a);
    md_stride_walk_broadcast(&walk, b);
    md_stride_walk_merge(&walk);
    const unsigned last = walk.n_dims - 1;
    const size_t in_bytes = md_dtype_bytes(a->dtype), out_bytes = md_dtype_bytes(out->dtype);
    row r = {.out = out->data, .n = (size_t)walk.dims[last]};
    do {
        r.a = (const uint8_t *)a->data + (size_t)walk.offset[0] * in_bytes;
        r.b = (const uint8_t *)b->data + (size_t)walk.offset[1] * in_bytes;
        rows_of[a->dtype](function, &r, walk.stride[0][last], walk.stride[1][last]);
        r.out = (uint8_t *)r.out + r.n * out_bytes;
    } while (md_stride_walk_next(&walk, 1));
    if (call->p->binary.activation.function != MD_UNARY_IDENTITY) {
        md_activate(&call->p->binary.activation, out->data, out->data, out->n_elements);
    }
    return MD_OK;
}

md_status md_kernel_where(const md_call *call)
{
    md_tensor *out = call->out[0];
    const size_t n_bytes = md_dtype_bytes(out->dtype);
    uint8_t *to = out->data;
    if (out->n_elements == 0) {
        return MD_OK;
    }
    md_stride_walk walk = {.n_dims = out->n_dims};
    memcpy(walk.dims, out->dims, out->n_dims * sizeof *out->dims);
    for (unsigned i = 0; i < 3; i++) {
        md_stride_walk_broadcast(&walk, call->in[i]);
    }
    do {
        bool first = ((const uint8_t *)call->in[0]->data)[walk.offset[0]] != 0;
        const md_tensor *from = call->in[first ? 1 : 2];
        memcpy(to, (const uint8_t *)from->data + (size_t)walk.offset[first ? 1 : 2] * n_bytes,
               n_bytes);
        to += n_bytes;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}
