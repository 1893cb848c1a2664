#include "inference/tensor.h"

#include <string.h>

size_t md_dtype_bytes(md_dtype dtype)
{
    switch (dtype) {
    case MD_F64:
    case MD_I64:
    case MD_U64:
        return 8;
    case MD_F32:
    case MD_I32:
    case MD_U32:
        return 4;
    case MD_F16:
    case MD_BF16:
    case MD_I16:
    case MD_U16:
        return 2;
    case MD_I8:
    case MD_U8:
    case MD_BOOL:
        return 1;
    }
    return 0;
}

const char *md_dtype_name(md_dtype dtype)
{
    static const char *const names[] = {"float32", "float64", "int64",   "int32",    "int8",
                                        "uint8",   "bool",    "float16", "bfloat16", "int16",
                                        "uint16",  "uint32",  "uint64"};
    return (unsigned)dtype < sizeof names / sizeof *names ? names[dtype] : "unknown";
}

md_status md_tensor_shape(md_tensor *tensor, md_dtype dtype, unsigned n_dims,
                          const int64_t *dims, md_error *err)
{
    if (n_dims > MD_TENSOR_MAX_DIMS) {
        return md_fail(err, MD_LIMIT, "tensor of %u dimensions, at most %d", n_dims,
                       MD_TENSOR_MAX_DIMS);
    }
    if (md_dtype_bytes(dtype) == 0) {
        return md_fail(err, MD_INVALID_ARG, "unknown element type %d", (int)dtype);
    }
    size_t n_elements = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        if (dims[i] < 0 || (uint64_t)dims[i] > MD_TENSOR_MAX_ELEMENTS ||
            !md_mul(n_elements, (size_t)dims[i], &n_elements) ||
            n_elements > MD_TENSOR_MAX_ELEMENTS) {
            return md_fail(err, MD_LIMIT, "tensor too large: dimension %u is %lld", i,
                           (long long)dims[i]);
        }
    }
    memset(tensor, 0, sizeof *tensor);
    tensor->dtype = dtype;
    tensor->n_dims = n_dims;
    if (n_dims > 0) {
        memcpy(tensor->dims, dims, n_dims * sizeof *dims);
    }
    tensor->n_elements = n_elements;
    return MD_OK;
}

md_status md_tensor_init(md_tensor *tensor, md_dtype dtype, unsigned n_dims,
                         const int64_t *dims, md_error *err)
{
    md_tensor made = {0};
    MD_TRY(md_tensor_shape(&made, dtype, n_dims, dims, err));
    size_t size_bytes = made.n_elements * md_dtype_bytes(dtype);
    made.data = md_malloc_aligned(size_bytes);
    if (made.data == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a tensor of %zu bytes", size_bytes);
    }
    made.owned = true;
    *tensor = made;
    return MD_OK;
}

void md_tensor_finish(md_tensor *tensor)
{
    if (tensor->owned) {
        md_free(tensor->data);
    }
    memset(tensor, 0, sizeof *tensor);
}
