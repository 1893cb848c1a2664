/* Conversion between element types. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"

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

static uint64_t to_unsigned(double value)
{
    return !(value > 0.0) ? 0 : value >= 0x1p64 ? UINT64_MAX : (uint64_t)value;
}

void md_store_real(md_tensor *y, size_t i, double value)
{
    switch (y->dtype) {
    case MD_F32:
        ((float *)y->data)[i] = (float)value;
        break;
    case MD_F64:
        ((double *)y->data)[i] = value;
        break;
    case MD_F16:
        ((uint16_t *)y->data)[i] = md_f16_from_f64(value);
        break;
    case MD_BF16:
        ((uint16_t *)y->data)[i] = md_bf16_from_f64(value);
        break;
    case MD_I64:
        ((int64_t *)y->data)[i] = to_integer(value, INT64_MIN, INT64_MAX);
        break;
    case MD_I32:
        ((int32_t *)y->data)[i] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX);
        break;
    case MD_I16:
        ((int16_t *)y->data)[i] = (int16_t)to_integer(value, INT16_MIN, INT16_MAX);
        break;
    case MD_I8:
        ((int8_t *)y->data)[i] = (int8_t)to_integer(value, INT8_MIN, INT8_MAX);
        break;
    case MD_U64:
        ((uint64_t *)y->data)[i] = to_unsigned(value);
        break;
    case MD_U32:
        ((uint32_t *)y->data)[i] = (uint32_t)to_integer(value, 0, UINT32_MAX);
        break;
    case MD_U16:
        ((uint16_t *)y->data)[i] = (uint16_t)to_integer(value, 0, UINT16_MAX);
        break;
    case MD_U8:
        ((uint8_t *)y->data)[i] = (uint8_t)to_integer(value, 0, UINT8_MAX);
        break;
    case MD_BOOL:
        ((uint8_t *)y->data)[i] = value != 0.0;
        break;
    }
}

void md_store_int(md_tensor *y, size_t i, int64_t value)
{
    switch (y->dtype) {
#define STORE(dtype, T, U)                                                                     \
    case dtype:                                                                                \
        ((T *)y->data)[i] = (T)value;                                                          \
        break;
        MD_FOR_EACH_INTEGER(STORE)
#undef STORE
    case MD_BOOL:
        ((uint8_t *)y->data)[i] = value != 0;
        break;
    case MD_F32: /* from the integer itself: by way of a double it would be rounded twice */
        ((float *)y->data)[i] = (float)value;
        break;
    case MD_F64:
    case MD_F16:
    case MD_BF16:
        md_store_real(y, i, (double)value);
        break;
    }
}

/* Integers wrap around into a narrower type, as C and numpy do; reals are cut to its range. */
md_status md_kernel_cast(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    const size_t n = x->n_elements;
    if (x->dtype == MD_I64 && y->dtype == MD_F32) {
        for (size_t i = 0; i < n; i++) {
            ((float *)y->data)[i] = (float)((const int64_t *)x->data)[i];
        }
    } else if (x->dtype == MD_F16 && y->dtype == MD_F32) {
        for (size_t i = 0; i < n; i++) {
            ((float *)y->data)[i] = md_f16_to_f32(((const uint16_t *)x->data)[i]);
        }
    } else if ((x->dtype == MD_BOOL || x->dtype == MD_U8) && y->dtype == MD_F32) {
        const bool truth = x->dtype == MD_BOOL;
        for (size_t i = 0; i < n; i++) {
            const uint8_t value = ((const uint8_t *)x->data)[i];
            ((float *)y->data)[i] = truth ? (float)(value != 0) : (float)value;
        }
    } else if (md_is_real(x->dtype) || (x->dtype == MD_U64 && md_is_real(y->dtype))) {
        for (size_t i = 0; i < n; i++) {
            md_store_real(y, i, md_element_real(x, i));
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            md_store_int(y, i, md_element_int(x, i));
        }
    }
    return MD_OK;
}
