#ifndef MEDAID_INFERENCE_BACKEND_STRIDE_H
#define MEDAID_INFERENCE_BACKEND_STRIDE_H

/* Walks over several strided operands of one shape, for the reference kernels. */

#include "inference/tensor.h"

enum {
    MD_STRIDE_MAX_DIMS = 2 * MD_TENSOR_MAX_DIMS,
    MD_STRIDE_MAX_OPERANDS = 3
};

typedef struct md_stride_walk {
    unsigned n_dims, n_operands;
    int64_t dims[MD_STRIDE_MAX_DIMS], index[MD_STRIDE_MAX_DIMS];
    int64_t stride[MD_STRIDE_MAX_OPERANDS][MD_STRIDE_MAX_DIMS]; /* in elements */
    int64_t offset[MD_STRIDE_MAX_OPERANDS];
} md_stride_walk;

/* Strides of a row-major tensor. */
static inline void md_strides_of(const md_tensor *tensor, int64_t *ret_strides)
{
    int64_t stride = 1;
    for (unsigned i = tensor->n_dims; i-- > 0;) {
        ret_strides[i] = stride;
        stride *= tensor->dims[i];
    }
}

/* Add an operand that is broadcast to the n_dims of the walk: stride 0 on lengths of 1. */
static inline void md_stride_walk_broadcast(md_stride_walk *walk, const md_tensor *tensor)
{
    int64_t strides[MD_TENSOR_MAX_DIMS];
    unsigned missing = walk->n_dims - tensor->n_dims;
    md_strides_of(tensor, strides);
    for (unsigned i = 0; i < walk->n_dims; i++) {
        bool fixed = i < missing || tensor->dims[i - missing] == 1;
        walk->stride[walk->n_operands][i] = fixed ? 0 : strides[i - missing];
    }
    walk->n_operands++;
}

/* Join axes that all operands see as one, so that the last is as long as possible. At least one
 * axis remains. */
static inline void md_stride_walk_merge(md_stride_walk *walk)
{
    unsigned n = 0;
    for (unsigned i = 0; i < walk->n_dims; i++) {
        bool joined = n > 0;
        if (walk->dims[i] == 1) {
            continue;
        }
        for (unsigned j = 0; joined && j < walk->n_operands; j++) {
            joined = walk->stride[j][n - 1] == walk->stride[j][i] * walk->dims[i];
        }
        if (joined) {
            walk->dims[n - 1] *= walk->dims[i];
        } else {
            walk->dims[n++] = walk->dims[i];
        }
        for (unsigned j = 0; j < walk->n_operands; j++) {
            walk->stride[j][n - 1] = walk->stride[j][i];
        }
    }
    if (n == 0) {
        walk->dims[0] = 1;
        for (unsigned j = 0; j < walk->n_operands; j++) {
            walk->stride[j][0] = 0;
        }
        n = 1;
    }
    walk->n_dims = n;
}

/* The next position of all axes but the last n_inner; false after the last. */
static inline bool md_stride_walk_next(md_stride_walk *walk, unsigned n_inner)
{
    for (unsigned i = walk->n_dims - n_inner; i-- > 0;) {
        bool wrap = ++walk->index[i] == walk->dims[i];
        for (unsigned j = 0; j < walk->n_operands; j++) {
            walk->offset[j] +=
                wrap ? -walk->stride[j][i] * (walk->dims[i] - 1) : walk->stride[j][i];
        }
        if (!wrap) {
            return true;
        }
        walk->index[i] = 0;
    }
    return false;
}

#endif
