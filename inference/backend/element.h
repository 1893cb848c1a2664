#ifndef MEDAID_INFERENCE_BACKEND_ELEMENT_H
#define MEDAID_INFERENCE_BACKEND_ELEMENT_H

/* Single elements of a tensor of any type, for kernels where a switch for each element does not
 * matter, and the list of types for those that are compiled once for each. */

#include "inference/half.h"
#include "inference/tensor.h"

/* X(md_dtype, C type, type of the same width in which arithmetic wraps around) */
#define MD_FOR_EACH_INTEGER(X)                                                                 \
    X(MD_I64, int64_t, uint64_t)                                                               \
    X(MD_I32, int32_t, uint32_t)                                                               \
    X(MD_I16, int16_t, uint32_t)                                                               \
    X(MD_I8, int8_t, uint32_t)                                                                 \
    X(MD_U64, uint64_t, uint64_t)                                                              \
    X(MD_U32, uint32_t, uint32_t)                                                              \
    X(MD_U16, uint16_t, uint32_t)                                                              \
    X(MD_U8, uint8_t, uint32_t)
#define MD_FOR_EACH_REAL(X)                                                                    \
    X(MD_F32, float, float)                                                                    \
    X(MD_F64, double, double)

static inline bool md_is_real(md_dtype dtype)
{
    return dtype == MD_F32 || dtype == MD_F64 || dtype == MD_F16 || dtype == MD_BF16;
}

/* Element i of an integer or boolean tensor; uint64 wraps into the negative. */
static inline int64_t md_element_int(const md_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
#define LOAD(dtype, T, U)                                                                      \
    case dtype:                                                                                \
        return (int64_t)((const T *)tensor->data)[i];
        MD_FOR_EACH_INTEGER(LOAD)
#undef LOAD
    case MD_BOOL:
        return ((const uint8_t *)tensor->data)[i] != 0;
    case MD_F32:
    case MD_F64:
    case MD_F16:
    case MD_BF16:
        break;
    }
    return 0;
}

/* Element i of any tensor; 64-bit integers are rounded. */
static inline double md_element_real(const md_tensor *tensor, size_t i)
{
    switch ((int)tensor->dtype) {
    case MD_F32:
        return (double)((const float *)tensor->data)[i];
    case MD_F64:
        return ((const double *)tensor->data)[i];
    case MD_F16:
        return (double)md_f16_to_f32(((const uint16_t *)tensor->data)[i]);
    case MD_BF16:
        return (double)md_bf16_to_f32(((const uint16_t *)tensor->data)[i]);
    case MD_U64:
        return (double)((const uint64_t *)tensor->data)[i];
    default:
        return (double)md_element_int(tensor, i);
    }
}

/* -1, 0 or 1 as element i is less than, equal to or greater than j; NaN counts as equal. */
static inline int md_element_compare(const md_tensor *tensor, size_t i, size_t j)
{
    switch (tensor->dtype) {
#define COMPARE(dtype, T, U)                                                                   \
    case dtype: {                                                                              \
        const T a = ((const T *)tensor->data)[i], b = ((const T *)tensor->data)[j];            \
        return (a > b) - (a < b);                                                              \
    }
        MD_FOR_EACH_INTEGER(COMPARE)
        MD_FOR_EACH_REAL(COMPARE)
#undef COMPARE
    case MD_BOOL:
    case MD_F16:
    case MD_BF16: {
        const double a = md_element_real(tensor, i), b = md_element_real(tensor, j);
        return (a > b) - (a < b);
    }
    }
    return 0;
}

#endif
