/* Kernels that pick or place elements by index. Indices come from the data: each is checked. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <string.h>

/* Element i of the indices, counted from the end when negative. */
static md_status read_index(const md_call *call, const md_tensor *index, size_t i, int64_t n,
                            int64_t *ret)
{
    const int64_t given = md_element_int(index, i);
    const int64_t k = given < 0 ? given + n : given;
    if (k < 0 || k >= n) {
        return md_fail(call->err, MD_FORMAT, "index %lld not in %lld..%lld", (long long)given,
                       (long long)-n, (long long)(n - 1));
    }
    *ret = k;
    return MD_OK;
}

/* Element at := op(element at, element i of from). */
static void combine(md_scatter reduction, md_tensor *y, size_t at, const md_tensor *from,
                    size_t i)
{
    switch (y->dtype) {
#define COMBINE(dtype, T, U)                                                                   \
    case dtype: {                                                                              \
        T *to = (T *)y->data + at;                                                             \
        const T value = ((const T *)from->data)[i];                                            \
        switch (reduction) {                                                                   \
        case MD_SCATTER_SET:                                                                   \
            *to = value;                                                                       \
            break;                                                                             \
        case MD_SCATTER_ADD:                                                                   \
            *to = (T)((U)*to + (U)value);                                                      \
            break;                                                                             \
        case MD_SCATTER_MUL:                                                                   \
            *to = (T)((U)*to * (U)value);                                                      \
            break;                                                                             \
        case MD_SCATTER_MAX:                                                                   \
            *to = value > *to ? value : *to;                                                   \
            break;                                                                             \
        case MD_SCATTER_MIN:                                                                   \
            *to = value < *to ? value : *to;                                                   \
            break;                                                                             \
        }                                                                                      \
        break;                                                                                 \
    }
        MD_FOR_EACH_INTEGER(COMBINE)
        MD_FOR_EACH_REAL(COMBINE)
#undef COMBINE
    case MD_BOOL: /* only set, see the import */
        ((uint8_t *)y->data)[at] = ((const uint8_t *)from->data)[i];
        break;
    case MD_F16:
    case MD_BF16:
        ((uint16_t *)y->data)[at] = ((const uint16_t *)from->data)[i];
        break;
    }
}

/* The walk over the indices: the operand is x with its indexed axis held at 0. */
static md_stride_walk elements_walk(const md_tensor *x, const md_tensor *index, unsigned axis,
                                    int64_t *ret_axis_stride)
{
    md_stride_walk walk = {.n_dims = index->n_dims, .n_operands = 1};
    int64_t strides[MD_TENSOR_MAX_DIMS];
    md_strides_of(x, strides);
    for (unsigned i = 0; i < index->n_dims; i++) {
        walk.dims[i] = index->dims[i];
        walk.stride[0][i] = i == axis ? 0 : strides[i];
    }
    *ret_axis_stride = strides[axis];
    return walk;
}

/* y[i,j,k] = x[index[i,j,k], j, k] for axis 0, and so on. */
md_status md_kernel_gather_elements(const md_call *call)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const unsigned axis = call->p->index.axis;
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    int64_t step, k = 0;
    uint8_t *to = call->out[0]->data;
    if (index->n_elements == 0) {
        return MD_OK;
    }
    md_stride_walk walk = elements_walk(x, index, axis, &step);
    size_t i = 0;
    do {
        MD_TRY(read_index(call, index, i++, x->dims[axis], &k));
        memcpy(to, (const uint8_t *)x->data + (size_t)(walk.offset[0] + k * step) * n_bytes,
               n_bytes);
        to += n_bytes;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}

/* y = x, then y[index[i,j,k], j, k] = op(y[...], updates[i,j,k]) for axis 0, and so on, in
 * row-major order of the updates. */
md_status md_kernel_scatter_elements(const md_call *call)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const unsigned axis = call->p->index.axis;
    int64_t step, k = 0;
    MD_TRY(md_kernel_copy(call));
    if (index->n_elements == 0) {
        return MD_OK;
    }
    md_stride_walk walk = elements_walk(x, index, axis, &step);
    size_t i = 0;
    do {
        MD_TRY(read_index(call, index, i, x->dims[axis], &k));
        combine(call->p->index.reduction, call->out[0], (size_t)(walk.offset[0] + k * step),
                call->in[2], i);
        i++;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}

/* Where in x the piece of position i starts, in elements. */
static md_status piece_start(const md_call *call, unsigned n_batch, size_t i, int64_t *ret)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const unsigned length = (unsigned)index->dims[index->n_dims - 1];
    int64_t strides[MD_TENSOR_MAX_DIMS], k = 0;
    size_t n_per_batch = 1, batch_elements = 1;
    md_strides_of(x, strides);
    for (unsigned j = n_batch; j + 1 < index->n_dims; j++) {
        n_per_batch *= (size_t)index->dims[j];
    }
    for (unsigned j = n_batch; j < x->n_dims; j++) {
        batch_elements *= (size_t)x->dims[j];
    }
    int64_t at = (int64_t)(i / n_per_batch * batch_elements);
    for (unsigned j = 0; j < length; j++) {
        MD_TRY(read_index(call, index, i * length + j, x->dims[n_batch + j], &k));
        at += k * strides[n_batch + j];
    }
    *ret = at;
    return MD_OK;
}

/* Elements of one piece. */
static size_t piece_elements(const md_tensor *x, const md_tensor *index, unsigned n_batch)
{
    size_t n = 1;
    for (unsigned i = n_batch + (unsigned)index->dims[index->n_dims - 1]; i < x->n_dims; i++) {
        n *= (size_t)x->dims[i];
    }
    return n;
}

/* y[b, i...] = x[b, index[b, i...]...], pieces of the axes that the indices leave. */
md_status md_kernel_gather_nd(const md_call *call)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const unsigned n_batch = call->p->index.axis;
    const size_t n = index->n_elements / (size_t)index->dims[index->n_dims - 1];
    const size_t n_bytes = piece_elements(x, index, n_batch) * md_dtype_bytes(x->dtype);
    uint8_t *to = call->out[0]->data;
    for (size_t i = 0; i < n; i++) {
        int64_t at;
        MD_TRY(piece_start(call, n_batch, i, &at));
        if (n_bytes > 0) {
            memcpy(to, (const uint8_t *)x->data + (size_t)at * md_dtype_bytes(x->dtype),
                   n_bytes);
        }
        to += n_bytes;
    }
    return MD_OK;
}

/* y = x, then y[index[i...]...] = op(y[...], updates[i...]). */
md_status md_kernel_scatter_nd(const md_call *call)
{
    const md_tensor *x = call->in[0], *index = call->in[1];
    const size_t n = index->n_elements / (size_t)index->dims[index->n_dims - 1];
    const size_t n_piece = piece_elements(x, index, 0);
    MD_TRY(md_kernel_copy(call));
    for (size_t i = 0; i < n; i++) {
        int64_t at;
        MD_TRY(piece_start(call, 0, i, &at));
        for (size_t j = 0; j < n_piece; j++) {
            combine(call->p->index.reduction, call->out[0], (size_t)at + j, call->in[2],
                    i * n_piece + j);
        }
    }
    return MD_OK;
}

/* y = off everywhere, on where the new axis equals the index; an index outside sets nothing.
 * inputs: indices, [off, on]. */
md_status md_kernel_one_hot(const md_call *call)
{
    const md_tensor *index = call->in[0];
    md_tensor *y = call->out[0];
    const size_t n_bytes = md_dtype_bytes(y->dtype);
    const unsigned axis = call->p->axis.axis;
    const int64_t depth = y->dims[axis];
    const uint8_t *off = call->in[1]->data, *on = off + n_bytes;
    size_t n_inner = 1;
    for (unsigned i = axis + 1; i < y->n_dims; i++) {
        n_inner *= (size_t)y->dims[i];
    }
    for (size_t i = 0; i < y->n_elements; i++) {
        memcpy((uint8_t *)y->data + i * n_bytes, off, n_bytes);
    }
    for (size_t i = 0; i < index->n_elements; i++) {
        /* the indices may be floats too */
        const double given = md_element_real(index, i);
        const double k = given < 0.0 ? given + (double)depth : given;
        if (k >= 0.0 && k < (double)depth) {
            const size_t at = (i / n_inner * (size_t)depth + (size_t)k) * n_inner + i % n_inner;
            memcpy((uint8_t *)y->data + at * n_bytes, on, n_bytes);
        }
    }
    return MD_OK;
}

/* The first length[b] steps of each batch in reverse order. */
md_status md_kernel_reverse_sequence(const md_call *call)
{
    const md_tensor *x = call->in[0], *lengths = call->in[1];
    const unsigned batch = call->p->reverse.batch_axis, time = call->p->reverse.time_axis;
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    int64_t strides[MD_TENSOR_MAX_DIMS], index[MD_TENSOR_MAX_DIMS] = {0};
    md_strides_of(x, strides);
    for (size_t i = 0; i < lengths->n_elements; i++) {
        const int64_t length = md_element_int(lengths, i);
        if (length < 0 || length > x->dims[time]) {
            return md_fail(call->err, MD_FORMAT, "a sequence of %lld steps in %lld",
                           (long long)length, (long long)x->dims[time]);
        }
    }
    for (size_t i = 0; i < x->n_elements; i++) {
        const int64_t length = md_element_int(lengths, (size_t)index[batch]), t = index[time];
        const int64_t shift = t < length ? (length - 1 - t) - t : 0;
        memcpy((uint8_t *)call->out[0]->data + i * n_bytes,
               (const uint8_t *)x->data +
                   (size_t)((int64_t)i + shift * strides[time]) * n_bytes,
               n_bytes);
        for (unsigned j = x->n_dims; j-- > 0;) {
            if (++index[j] < x->dims[j]) {
                break;
            }
            index[j] = 0;
        }
    }
    return MD_OK;
}

/* Upper: y[i,j] = x[i,j] where j >= i + k; lower: where j <= i + k; 0 elsewhere. */
md_status md_kernel_trilu(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    const int64_t n_rows = x->dims[x->n_dims - 2], n = x->dims[x->n_dims - 1];
    uint8_t *to = call->out[0]->data;
    for (size_t i = 0; i < x->n_elements; i++) {
        const int64_t column = (int64_t)i % n, row = (int64_t)i / n % n_rows;
        const int64_t edge = row + call->p->trilu.k;
        if (call->p->trilu.upper ? column >= edge : column <= edge) {
            memcpy(to, (const uint8_t *)x->data + i * n_bytes, n_bytes);
        } else {
            memset(to, 0, n_bytes);
        }
        to += n_bytes;
    }
    return MD_OK;
}

/* y[..., i, ...] = x[..., i, ..., i, ...]: axes first < second of one length, the first stays.
 */
md_status md_kernel_diagonal(const md_call *call)
{
    const md_tensor *x = call->in[0], *y = call->out[0];
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    md_stride_walk walk = {.n_operands = 1};
    int64_t strides[MD_TENSOR_MAX_DIMS];
    uint8_t *to = y->data;
    md_strides_of(x, strides);
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (i != call->p->diagonal.second) {
            walk.dims[walk.n_dims] = x->dims[i];
            walk.stride[0][walk.n_dims++] =
                strides[i] +
                (i == call->p->diagonal.first ? strides[call->p->diagonal.second] : 0);
        }
    }
    if (y->n_elements == 0) {
        return MD_OK;
    }
    do {
        memcpy(to, (const uint8_t *)x->data + (size_t)walk.offset[0] * n_bytes, n_bytes);
        to += n_bytes;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}
