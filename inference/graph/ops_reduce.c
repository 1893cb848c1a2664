/* Import of reductions, the softmax family, sorting and running sums. */

#include "inference/graph/node_import.h"

#include <string.h>

/* The mean over all positions of [N,C,...] is a global average pool: back ends have it, in
 * their own layout. */
static bool is_spatial_mean(const md_node_import *b, const md_tensor *x)
{
    const bool *axes = b->node.p.reduce.axes;
    if ((md_reduce)b->variant != MD_REDUCE_MEAN || x->n_dims < 3 ||
        x->n_dims > 2 + MD_GRAPH_MAX_SPATIAL || axes[0] || axes[1] || x->n_elements == 0 ||
        x->dtype != MD_F32 || b->graph->values[b->in[0]].constant) {
        return false;
    }
    for (unsigned i = 2; i < x->n_dims; i++) {
        if (!axes[i]) {
            return false;
        }
    }
    return true;
}

static md_status emit_spatial_mean(md_node_import *b, bool keep)
{
    const md_tensor x = *md_import_in(b, 0);
    const int64_t dims[MD_TENSOR_MAX_DIMS] = {x.dims[0], x.dims[1], 1, 1, 1};
    md_window *w = &b->node.p.pool.window;
    int value;
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.pool.average = true;
    w->n_spatial = x.n_dims - 2;
    for (unsigned i = 0; i < 3; i++) {
        const unsigned first = 3 - w->n_spatial;
        w->kernel[i] = w->in[i] = i < first ? 1 : x.dims[2 + i - first];
        w->stride[i] = w->dilation[i] = w->out[i] = 1;
    }
    MD_TRY(md_import_emit(b, MD_OP_POOL, b->in, 1, keep ? 0 : MD_IMPORT_INNER, MD_F32, x.n_dims,
                          dims, &value));
    return keep ? MD_OK : md_import_emit(b, MD_OP_COPY, &value, 1, 0, MD_F32, 2, dims, &value);
}

md_status md_import_reduce(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    int64_t keep, noop = 0;
    const int64_t *axes;
    size_t n_axes;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims = 0;
    int value;
    MD_TRY(md_attribute_int(b, "keepdims", 1, &keep));
    if (b->node.opset >= ((md_reduce)b->variant == MD_REDUCE_SUM ? 13 : 18)) {
        MD_TRY(md_import_ints(b, 1, &axes, &n_axes));
        MD_TRY(md_attribute_int(b, "noop_with_empty_axes", 0, &noop));
    } else {
        if (b->n_in > 1) {
            return md_import_fail(b, MD_FORMAT, "%u inputs, 1 is expected", b->n_in);
        }
        MD_TRY(md_attribute_ints(b, "axes", &axes, &n_axes));
    }
    if (n_axes == 0 && noop != 0) {
        return md_import_alias(b, 0, b->in[0]);
    }
    if (x->dtype == MD_BOOL &&
        (b->node.opset < 20 ||
         ((md_reduce)b->variant != MD_REDUCE_MAX && (md_reduce)b->variant != MD_REDUCE_MIN))) {
        return md_import_fail(b, MD_UNSUPPORTED, "operands of type bool are not supported");
    }
    b->node.p.reduce.function = (md_reduce)b->variant;
    bool *reduced = b->node.p.reduce.axes;
    for (unsigned i = 0; i < x->n_dims; i++) {
        reduced[i] = n_axes == 0;
    }
    for (size_t i = 0; i < n_axes; i++) {
        unsigned axis;
        MD_TRY(md_import_axis(b, axes[i], x->n_dims, &axis));
        reduced[axis] = true;
    }
    if (is_spatial_mean(b, x)) {
        return emit_spatial_mean(b, keep != 0);
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (!reduced[i] || keep != 0) {
            dims[n_dims++] = reduced[i] ? 1 : x->dims[i];
        }
    }
    return md_import_emit(b, MD_OP_REDUCE, b->in, 1, 0, x->dtype, n_dims, dims, &value);
}

md_status md_import_arg_max(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    int64_t axis, keep, last;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims = 0, made;
    int value;
    MD_TRY(md_attribute_int(b, "axis", 0, &axis));
    MD_TRY(md_attribute_int(b, "keepdims", 1, &keep));
    last = 0;
    if (b->node.opset >= 12) {
        MD_TRY(md_attribute_int(b, "select_last_index", 0, &last));
    }
    MD_TRY(md_import_axis(b, axis, x->n_dims, &made));
    if (x->dims[made] == 0) {
        return md_import_fail(b, MD_FORMAT, "axis %u has no element", made);
    }
    b->node.p.arg_max.axis = made;
    b->node.p.arg_max.minimum = b->variant != 0;
    b->node.p.arg_max.last = last != 0;
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (i != made || keep != 0) {
            dims[n_dims++] = i == made ? 1 : x->dims[i];
        }
    }
    return md_import_emit(b, MD_OP_ARG_MAX, b->in, 1, 0, MD_I64, n_dims, dims, &value);
}

/* Softmax, LogSoftmax and Hardmax. Up to opset 12 all axes from `axis` on are one; from 13 on
 * it is that axis alone. */
md_status md_import_softmax(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    bool old = b->node.opset < 13;
    int64_t axis;
    unsigned made;
    int value;
    MD_TRY(md_attribute_int(b, "axis", old ? 1 : -1, &axis));
    if (old && axis == (int64_t)x->n_dims) {
        return md_import_fail(b, MD_UNSUPPORTED, "axis %lld after the last dimension",
                              (long long)axis);
    }
    MD_TRY(md_import_axis(b, axis, x->n_dims, &made));
    int64_t n_outer = 1, n = 1, n_inner = 1;
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (i < made) {
            n_outer *= x->dims[i];
        } else if (i == made || old) {
            n *= x->dims[i];
        } else {
            n_inner *= x->dims[i];
        }
    }
    b->node.p.softmax.n_outer = n_outer;
    b->node.p.softmax.n = n;
    b->node.p.softmax.n_inner = n_inner;
    b->node.p.softmax.kind = (md_softmax)b->variant;
    return md_import_emit_like(b, MD_OP_SOFTMAX, b->in, 1, b->in[0], 0, x->dtype, &value);
}
