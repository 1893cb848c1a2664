#ifndef MEDAID_INFERENCE_TENSOR_H
#define MEDAID_INFERENCE_TENSOR_H

/* A dense array, row-major, the last axis fastest. Images are [N,C,H,W]. Plain data; not
 * thread-safe, independent tensors may be used in parallel. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_TENSOR_MAX_DIMS = 8
};
/* The largest tensor accepted anywhere, in elements. */
#define MD_TENSOR_MAX_ELEMENTS ((size_t)1 << 31)

typedef enum md_dtype {
    MD_F32,
    MD_F64,
    MD_I64,
    MD_I32,
    MD_I8,
    MD_U8,
    MD_BOOL,
    MD_F16,
    MD_BF16,
    MD_I16,
    MD_U16,
    MD_U32,
    MD_U64
} md_dtype;

typedef struct md_tensor {
    md_dtype dtype;
    unsigned n_dims; /* 0: a scalar */
    int64_t dims[MD_TENSOR_MAX_DIMS];
    size_t n_elements;
    void *data; /* 64-byte aligned */
    bool owned; /* finish releases data */
} md_tensor;

enum {
    MD_DTYPE_COUNT = MD_U64 + 1
};

size_t md_dtype_bytes(md_dtype dtype) MD_NOEXCEPT;
const char *md_dtype_name(md_dtype dtype) MD_NOEXCEPT;
/* Fill in everything but the data, which becomes NULL. Errors as md_tensor_init. */
md_status md_tensor_shape(md_tensor *tensor, md_dtype dtype, unsigned n_dims,
                          const int64_t *dims, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Allocate, not cleared. MD_LIMIT for negative dims or too many elements. */
md_status md_tensor_init(md_tensor *tensor, md_dtype dtype, unsigned n_dims,
                         const int64_t *dims, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Release if owned; zeroed is fine. */
void md_tensor_finish(md_tensor *tensor) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
