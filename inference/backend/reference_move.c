/* Kernels that move elements: strided copies, concatenation, padding, gathering. They see
 * elements only as 1, 2, 4 or 8 bytes. */

#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <string.h>

md_status md_kernel_copy(const md_call *call)
{
    const md_tensor *x = call->in[0];
    if (x->n_elements > 0 && x->data != call->out[0]->data) {
        memcpy(call->out[0]->data, x->data, x->n_elements * md_dtype_bytes(x->dtype));
    }
    return MD_OK;
}

/* out, row-major over walk.dims, from x at walk.offset + index * stride. */
static void strided_copy(const md_tensor *x, md_tensor *out, md_stride_walk *walk)
{
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    const uint8_t *from = x->data;
    uint8_t *to = out->data;
    if (out->n_elements == 0) {
        return;
    }
    const int64_t base = walk->offset[0];
    walk->offset[0] = 0;
    md_stride_walk_merge(walk);
    const unsigned last = walk->n_dims - 1;
    const int64_t step = walk->stride[0][last], n = walk->dims[last];
    do {
        const uint8_t *at = from + (base + walk->offset[0]) * (int64_t)n_bytes;
        if (step == 1) {
            memcpy(to, at, (size_t)n * n_bytes);
        } else if (n_bytes == 4) {
            for (int64_t i = 0; i < n; i++) {
                memcpy(to + i * 4, at + i * step * 4, 4);
            }
        } else {
            for (int64_t i = 0; i < n; i++) {
                memcpy(to + i * (int64_t)n_bytes, at + i * step * (int64_t)n_bytes, n_bytes);
            }
        }
        to += (size_t)n * n_bytes;
    } while (md_stride_walk_next(walk, 1));
}

md_status md_kernel_transpose(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_stride_walk walk = {.n_dims = x->n_dims, .n_operands = 1};
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_strides_of(x, strides);
    for (unsigned i = 0; i < x->n_dims; i++) {
        walk.dims[i] = call->out[0]->dims[i];
        walk.stride[0][i] = strides[call->p->transpose.perm[i]];
    }
    strided_copy(x, call->out[0], &walk);
    return MD_OK;
}

md_status md_kernel_slice(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_stride_walk walk = {.n_dims = x->n_dims, .n_operands = 1};
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_strides_of(x, strides);
    for (unsigned i = 0; i < x->n_dims; i++) {
        walk.dims[i] = call->out[0]->dims[i];
        walk.stride[0][i] = strides[i] * call->p->slice.step[i];
        walk.offset[0] += strides[i] * call->p->slice.start[i];
    }
    strided_copy(x, call->out[0], &walk);
    return MD_OK;
}

md_status md_kernel_expand(const md_call *call)
{
    const md_tensor *out = call->out[0];
    md_stride_walk walk = {.n_dims = out->n_dims};
    memcpy(walk.dims, out->dims, out->n_dims * sizeof *out->dims);
    md_stride_walk_broadcast(&walk, call->in[0]);
    strided_copy(call->in[0], call->out[0], &walk);
    return MD_OK;
}

md_status md_kernel_tile(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_stride_walk walk = {.n_dims = 2 * x->n_dims, .n_operands = 1};
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_strides_of(x, strides);
    for (unsigned i = 0; i < x->n_dims; i++) {
        walk.dims[2 * i] = x->dims[i] == 0 ? 0 : call->out[0]->dims[i] / x->dims[i];
        walk.dims[2 * i + 1] = x->dims[i];
        walk.stride[0][2 * i + 1] = strides[i];
    }
    strided_copy(x, call->out[0], &walk);
    return MD_OK;
}

md_status md_kernel_concat(const md_call *call)
{
    md_tensor *out = call->out[0];
    const unsigned axis = call->p->axis.axis;
    size_t n_outer = 1, row_bytes = md_dtype_bytes(out->dtype), at = 0;
    for (unsigned i = 0; i < out->n_dims; i++) {
        n_outer *= i < axis ? (size_t)out->dims[i] : 1;
        row_bytes *= i >= axis ? (size_t)out->dims[i] : 1;
    }
    for (unsigned j = 0; j < call->n_in; j++) {
        const md_tensor *x = call->in[j];
        if (x->n_elements == 0) {
            continue;
        }
        const size_t n_bytes = x->n_elements / n_outer * md_dtype_bytes(x->dtype);
        for (size_t i = 0; i < n_outer; i++) {
            memcpy((uint8_t *)out->data + i * row_bytes + at,
                   (const uint8_t *)x->data + i * n_bytes, n_bytes);
        }
        at += n_bytes;
    }
    return MD_OK;
}

md_status md_kernel_gather(const md_call *call)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const unsigned axis = call->p->axis.axis;
    size_t n_outer = 1, inner_bytes = md_dtype_bytes(x->dtype);
    const int64_t n = x->dims[axis];
    uint8_t *to = call->out[0]->data;
    for (unsigned i = 0; i < x->n_dims; i++) {
        n_outer *= i < axis ? (size_t)x->dims[i] : 1;
        inner_bytes *= i > axis ? (size_t)x->dims[i] : 1;
    }
    for (size_t i = 0; i < n_outer; i++) {
        for (size_t j = 0; j < index->n_elements; j++) {
            int64_t k = index->dtype == MD_I64 ? ((const int64_t *)index->data)[j]
                                               : ((const int32_t *)index->data)[j];
            k = k < 0 ? k + n : k;
            if (k < 0 || k >= n) {
                return md_fail(call->err, MD_FORMAT, "index %lld not in 0..%lld", (long long)k,
                               (long long)(n - 1));
            }
            if (inner_bytes > 0) {
                memcpy(to, (const uint8_t *)x->data + (i * (size_t)n + (size_t)k) * inner_bytes,
                       inner_bytes);
            }
            to += inner_bytes;
        }
    }
    return MD_OK;
}

/* The source index of position i along an axis of n, -1 for the constant. */
static int64_t pad_source(md_pad_mode mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n) {
        return i;
    }
    switch (mode) {
    case MD_PAD_REFLECT: /* without repeating the edge */
        return i < 0 ? -i : 2 * (n - 1) - i;
    case MD_PAD_EDGE:
        return i < 0 ? 0 : n - 1;
    case MD_PAD_WRAP:
        return (i % n + n) % n;
    case MD_PAD_CONSTANT:
        break;
    }
    return -1;
}

/* workspace: for each axis the source offset of each output position, or -1. */
md_status md_kernel_pad(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *out = call->out[0];
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    int64_t strides[MD_TENSOR_MAX_DIMS];
    int64_t *maps[MD_TENSOR_MAX_DIMS];
    int64_t *free_map = call->workspace;
    uint64_t element = 0;
    md_tensor one = {.dtype = x->dtype, .n_elements = 1, .data = &element};
    md_store_real(&one, 0, call->p->pad.value);
    md_strides_of(x, strides);
    if (out->n_elements == 0) {
        return MD_OK;
    }
    for (unsigned i = 0; i < out->n_dims; i++) {
        maps[i] = free_map;
        for (int64_t j = 0; j < out->dims[i]; j++) {
            int64_t source =
                pad_source(call->p->pad.mode, j - call->p->pad.begin[i], x->dims[i]);
            *free_map++ = source < 0 ? -1 : source * strides[i];
        }
    }
    int64_t index[MD_TENSOR_MAX_DIMS] = {0};
    uint8_t *to = out->data;
    for (size_t k = 0; k < out->n_elements; k++) {
        int64_t offset = 0;
        for (unsigned i = 0; i < out->n_dims && offset >= 0; i++) {
            offset = maps[i][index[i]] < 0 ? -1 : offset + maps[i][index[i]];
        }
        memcpy(to,
               offset < 0 ? (const uint8_t *)&element
                          : (const uint8_t *)x->data + (size_t)offset * n_bytes,
               n_bytes);
        to += n_bytes;
        for (unsigned i = out->n_dims; i-- > 0;) {
            if (++index[i] < out->dims[i]) {
                break;
            }
            index[i] = 0;
        }
    }
    return MD_OK;
}
