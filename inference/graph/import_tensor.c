#include "inference/graph/decode.h"
#include "inference/graph/node_import.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "raw_data is little-endian and is used in place");

md_status md_import_dtype(int32_t onnx_type, md_dtype *ret_dtype, md_error *err)
{
    static const struct {
        int32_t onnx;
        md_dtype ours;
    } map[] = {
        {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, MD_F32},
        {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, MD_F64},
        {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, MD_F16},
        {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, MD_BF16},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, MD_I64},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, MD_I32},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT16, MD_I16},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, MD_I8},
        {ONNX__TENSOR_PROTO__DATA_TYPE__UINT64, MD_U64},
        {ONNX__TENSOR_PROTO__DATA_TYPE__UINT32, MD_U32},
        {ONNX__TENSOR_PROTO__DATA_TYPE__UINT16, MD_U16},
        {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, MD_U8},
        {ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, MD_BOOL},
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        if (map[i].onnx == onnx_type) {
            *ret_dtype = map[i].ours;
            return MD_OK;
        }
    }
    return md_fail(err, MD_UNSUPPORTED, "element type %d of ONNX is not supported", onnx_type);
}

/* Types of one and two bytes are stored as one int32 each, uint32 as uint64, when they are not
 * raw. 16-bit floats are stored as their bits. */
static bool is_stored_wide(md_dtype dtype)
{
    return md_dtype_bytes(dtype) < 4 || dtype == MD_U32;
}

static md_status narrow(md_tensor *tensor, const void *values, md_error *err)
{
    const md_dtype dtype = tensor->dtype;
    const int64_t high = dtype == MD_I8     ? INT8_MAX
                         : dtype == MD_U8   ? UINT8_MAX
                         : dtype == MD_BOOL ? 1
                         : dtype == MD_I16  ? INT16_MAX
                         : dtype == MD_U32  ? UINT32_MAX
                                            : UINT16_MAX;
    const int64_t low = dtype == MD_I8 || dtype == MD_I16 ? -high - 1 : 0;
    for (size_t i = 0; i < tensor->n_elements; i++) {
        const int64_t value = dtype == MD_U32 ? (int64_t)((const uint64_t *)values)[i]
                                              : ((const int32_t *)values)[i];
        if (value < low || value > high) {
            return md_fail(err, MD_FORMAT, "element %zu is %lld, out of range for %s", i,
                           (long long)value, md_dtype_name(dtype));
        }
        if (dtype == MD_U32) {
            ((uint32_t *)tensor->data)[i] = (uint32_t)value;
        } else if (md_dtype_bytes(dtype) == 2) {
            ((uint16_t *)tensor->data)[i] = (uint16_t)value;
        } else {
            ((uint8_t *)tensor->data)[i] = (uint8_t)value;
        }
    }
    return MD_OK;
}

typedef struct payload {
    size_t n;
    void *values;
} payload;

/* The repeated field that holds elements of that type. */
static payload typed_payload(const Onnx__TensorProto *proto, md_dtype dtype)
{
    switch (dtype) {
    case MD_F32:
        return (payload){proto->n_float_data, proto->float_data};
    case MD_F64:
        return (payload){proto->n_double_data, proto->double_data};
    case MD_I64:
        return (payload){proto->n_int64_data, proto->int64_data};
    case MD_U64:
    case MD_U32:
        return (payload){proto->n_uint64_data, proto->uint64_data};
    case MD_I32:
    case MD_I16:
    case MD_U16:
    case MD_I8:
    case MD_U8:
    case MD_BOOL:
    case MD_F16:
    case MD_BF16:
        return (payload){proto->n_int32_data, proto->int32_data};
    }
    return (payload){0, NULL};
}

static size_t n_typed(const Onnx__TensorProto *proto)
{
    return proto->n_float_data + proto->n_double_data + proto->n_int64_data +
           proto->n_int32_data + proto->n_uint64_data + proto->n_string_data;
}

static md_status check_storage(const Onnx__TensorProto *proto, md_error *err)
{
    if (proto->segment != NULL) {
        return md_fail(err, MD_UNSUPPORTED, "segmented tensors are not supported");
    }
    if (proto->n_dims > MD_TENSOR_MAX_DIMS) {
        return md_fail(err, MD_LIMIT, "%zu dimensions, at most %d", proto->n_dims,
                       MD_TENSOR_MAX_DIMS);
    }
    if (proto->has_raw_data && proto->raw_data.len > 0 && n_typed(proto) > 0) {
        return md_fail(err, MD_FORMAT, "raw_data and typed data at once");
    }
    return MD_OK;
}

/* The elements where they are. The body of a loop is imported once for each time round, so
 * there each value has a copy: rewriting changes weights in place and discards them. */
static md_status take(md_graph *graph, int value, void *elements, md_error *err)
{
    if (graph->scope == NULL) {
        md_graph_tensor(graph, value)->data = elements;
        graph->values[value].constant = true;
        return MD_OK;
    }
    MD_TRY(md_graph_make_constant(graph, value, err));
    const md_tensor *tensor = md_graph_tensor(graph, value);
    const size_t n_bytes = tensor->n_elements * md_dtype_bytes(tensor->dtype);
    if (n_bytes > 0) {
        memcpy(tensor->data, elements, n_bytes);
    }
    return MD_OK;
}

md_status md_import_tensor(md_graph *graph, const Onnx__TensorProto *proto, const char *name,
                           int *ret_value, md_error *err)
{
    md_dtype dtype = MD_F32;
    int value = MD_GRAPH_NO_VALUE;
    void *raw = NULL;
    size_t n_raw = 0;
    MD_TRY(check_storage(proto, err));
    MD_TRY(md_decode_raw(graph, proto, &raw, &n_raw, err));
    MD_TRY(md_import_dtype(proto->data_type, &dtype, err));
    MD_TRY(md_graph_add_value(graph, name, dtype, (unsigned)proto->n_dims, proto->dims, &value,
                              err));
    md_tensor *tensor = md_graph_tensor(graph, value);
    const size_t n_bytes = tensor->n_elements * md_dtype_bytes(dtype);
    if (proto->has_raw_data && n_typed(proto) == 0) {
        if (n_raw != n_bytes) {
            return md_fail(err, MD_FORMAT, "raw_data has %zu bytes, its shape needs %zu", n_raw,
                           n_bytes);
        }
        *ret_value = value;
        return take(graph, value, raw, err);
    }
    payload typed = typed_payload(proto, dtype);
    if (typed.n != n_typed(proto)) {
        return md_fail(err, MD_FORMAT, "elements in a field of another type than %s",
                       md_dtype_name(dtype));
    }
    if (typed.n != tensor->n_elements) {
        return md_fail(err, MD_FORMAT, "%zu elements, its shape needs %zu", typed.n,
                       tensor->n_elements);
    }
    if (is_stored_wide(dtype)) {
        MD_TRY(md_graph_make_constant(graph, value, err));
        MD_TRY(narrow(md_graph_tensor(graph, value), typed.values, err));
    } else {
        MD_TRY(take(graph, value, typed.values, err));
    }
    *ret_value = value;
    return MD_OK;
}
