/* Import of normalisations that are made of other nodes, or span other axes than a channel. */

#include "inference/backend/kernels.h"
#include "inference/graph/node_import.h"

#include <string.h>

/* One step of a chain: the draft's parameters are cleared after it. */
static md_status binary(md_node_import *b, md_binary function, int x, int y, int output,
                        int *ret_value)
{
    const int in[2] = {x, y};
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    const md_dtype dtype = md_graph_tensor(b->graph, x)->dtype;
    MD_TRY(md_import_broadcast(b, md_graph_tensor(b->graph, x), md_graph_tensor(b->graph, y),
                               &n_dims, dims));
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.binary.function = function;
    return md_import_emit(b, MD_OP_BINARY, in, 2, output, dtype, n_dims, dims, ret_value);
}

static md_status scalar(md_node_import *b, md_dtype dtype, double number, int *ret_value)
{
    MD_TRY(md_import_constant(b, MD_IMPORT_INNER, dtype, 0, NULL, ret_value));
    md_store_real(md_graph_tensor(b->graph, *ret_value), 0, number);
    return MD_OK;
}

/* Over the axes that are set, which stay with length 1. */
static md_status reduce(md_node_import *b, md_reduce function, int x, const bool *axes,
                        int *ret_value)
{
    md_tensor shape = *md_graph_tensor(b->graph, x);
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.reduce.function = function;
    for (unsigned i = 0; i < shape.n_dims; i++) {
        b->node.p.reduce.axes[i] = axes[i];
        shape.dims[i] = axes[i] ? 1 : shape.dims[i];
    }
    return md_import_emit(b, MD_OP_REDUCE, &x, 1, MD_IMPORT_INNER, shape.dtype, shape.n_dims,
                          shape.dims, ret_value);
}

static md_status reshape(md_node_import *b, int x, unsigned n_dims, const int64_t *dims,
                         int *ret_value)
{
    memset(&b->node.p, 0, sizeof b->node.p);
    return md_import_emit(b, MD_OP_COPY, &x, 1, MD_IMPORT_INNER,
                          md_graph_tensor(b->graph, x)->dtype, n_dims, dims, ret_value);
}

/* Scale or shift, made as long as the normalised axes are. */
static md_status expand_parameter(md_node_import *b, unsigned i, unsigned axis,
                                  const md_tensor *x, int *ret_value)
{
    const md_tensor *given = md_import_in(b, i);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    md_tensor inner = {.n_dims = x->n_dims - axis};
    memcpy(inner.dims, x->dims + axis, inner.n_dims * sizeof *inner.dims);
    MD_TRY(md_import_need(b, i, MD_F32));
    MD_TRY(md_import_broadcast(b, &inner, given, &n_dims, dims));
    *ret_value = b->in[i];
    if (n_dims != inner.n_dims || memcmp(dims, inner.dims, n_dims * sizeof *dims) != 0) {
        return md_import_fail(b, MD_FORMAT, "input %u does not fit the normalised axes", i);
    }
    if (given->n_dims == n_dims && memcmp(given->dims, dims, n_dims * sizeof *dims) == 0) {
        return MD_OK;
    }
    return md_import_emit(b, MD_OP_EXPAND, &b->in[i], 1, MD_IMPORT_INNER, MD_F32, n_dims, dims,
                          ret_value);
}

/* y = (x - mean) / sqrt(var + epsilon) * scale + B over all axes from `axis` on (Ba, Kiros and
 * Hinton 2016, eq. 3); further outputs: mean and 1 / sqrt(var + epsilon). */
md_status md_import_layer_norm(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    int64_t axis, stash;
    unsigned made;
    int values[3], in[3] = {b->in[0], MD_GRAPH_NO_VALUE, MD_GRAPH_NO_VALUE};
    md_tensor shapes[3] = {x, x, x};
    MD_TRY(md_attribute_int(b, "axis", -1, &axis));
    MD_TRY(md_attribute_int(b, "stash_type", 1, &stash));
    MD_TRY(md_import_axis(b, axis, x.n_dims, &made));
    if (stash != 1 || x.n_elements == 0) {
        return md_import_fail(b, MD_UNSUPPORTED, "stash_type %lld, or an empty input",
                              (long long)stash);
    }
    for (unsigned i = 1; i < 3; i++) {
        if (md_import_in(b, i) != NULL) {
            MD_TRY(expand_parameter(b, i, made, &x, &in[i]));
        }
    }
    memset(&b->node.p, 0, sizeof b->node.p);
    MD_TRY(md_attribute_float(b, "epsilon", 1e-5F, &b->node.p.layer_norm.epsilon));
    b->node.p.layer_norm.n = 1;
    for (unsigned i = made; i < x.n_dims; i++) {
        b->node.p.layer_norm.n *= x.dims[i];
        shapes[1].dims[i] = shapes[2].dims[i] = 1;
    }
    return md_import_emit_all(b, MD_OP_LAYER_NORM, in, 3, shapes, 3, values);
}

/* Each group of channels of [N,C,...] as one row; then scale and shift of each channel (Wu and
 * He 2018, eq. 1). Up to opset 20 they belong to the groups. */
md_status md_import_group_norm(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    int64_t n_groups, stash;
    float epsilon;
    int value, parameter[2];
    MD_TRY(md_attribute_int(b, "num_groups", 0, &n_groups));
    MD_TRY(md_attribute_float(b, "epsilon", 1e-5F, &epsilon));
    if (b->node.opset >= 21) {
        MD_TRY(md_attribute_int(b, "stash_type", 1, &stash));
        if (stash != 1) {
            return md_import_fail(b, MD_UNSUPPORTED, "stash_type %lld", (long long)stash);
        }
    }
    if (x.n_dims < 2 || x.n_elements == 0 || n_groups < 1 || x.dims[1] % n_groups != 0) {
        return md_import_fail(b, MD_FORMAT, "%lld groups in an input of %u dimensions",
                              (long long)n_groups, x.n_dims);
    }
    const int64_t n_channels = x.dims[1], n_given = b->node.opset < 21 ? n_groups : n_channels;
    int64_t dims[MD_TENSOR_MAX_DIMS] = {n_channels, 1, 1, 1, 1, 1, 1, 1};
    for (unsigned i = 0; i < 2; i++) {
        const md_tensor *given = md_import_in(b, i + 1);
        const int64_t grouped[2] = {n_given, 1}, each[2] = {n_given, n_channels / n_given};
        MD_TRY(md_import_need(b, i + 1, MD_F32));
        if (given->n_dims != 1 || given->dims[0] != n_given) {
            return md_import_fail(b, MD_FORMAT, "input %u has %zu elements, not %lld", i + 1,
                                  given->n_elements, (long long)n_given);
        }
        MD_TRY(reshape(b, b->in[i + 1], 2, grouped, &parameter[i]));
        MD_TRY(md_import_emit(b, MD_OP_EXPAND, &parameter[i], 1, MD_IMPORT_INNER, MD_F32, 2,
                              each, &parameter[i]));
        MD_TRY(reshape(b, parameter[i], x.n_dims - 1, dims, &parameter[i]));
    }
    const int in[3] = {b->in[0], MD_GRAPH_NO_VALUE, MD_GRAPH_NO_VALUE};
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.layer_norm.epsilon = epsilon;
    b->node.p.layer_norm.n = (int64_t)x.n_elements / (x.dims[0] * n_groups);
    const md_tensor means = {.dtype = MD_F32, .n_dims = 1, .dims = {x.dims[0] * n_groups}};
    const md_tensor shapes[3] = {x, means, means};
    int values[3];
    MD_TRY(md_import_emit_inner(b, MD_OP_LAYER_NORM, in, 3, shapes, 3, values));
    MD_TRY(binary(b, MD_BINARY_MUL, values[0], parameter[0], MD_IMPORT_INNER, &value));
    return binary(b, MD_BINARY_ADD, value, parameter[1], 0, &value);
}

/* y = x / (sum |x|^p)^(1/p) along the axis, p = 1 or 2; a row of zeros stays zeros. */
md_status md_import_lp_norm(md_node_import *b)
{
    const md_dtype dtype = md_import_in(b, 0)->dtype;
    bool axes[MD_TENSOR_MAX_DIMS] = {false};
    int64_t axis, p;
    unsigned made;
    int norm, zero, one, is_zero, value;
    MD_TRY(md_attribute_int(b, "axis", -1, &axis));
    MD_TRY(md_attribute_int(b, "p", 2, &p));
    MD_TRY(md_import_axis(b, axis, md_import_in(b, 0)->n_dims, &made));
    if (p != 1 && p != 2) {
        return md_import_fail(b, MD_FORMAT, "p = %lld, not 1 or 2", (long long)p);
    }
    axes[made] = true;
    MD_TRY(reduce(b, p == 1 ? MD_REDUCE_L1 : MD_REDUCE_L2, b->in[0], axes, &norm));
    MD_TRY(scalar(b, dtype, 0.0, &zero));
    MD_TRY(scalar(b, dtype, 1.0, &one));
    const int compare[2] = {norm, zero};
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.binary.function = MD_BINARY_EQUAL;
    MD_TRY(md_import_emit_like(b, MD_OP_BINARY, compare, 2, norm, MD_IMPORT_INNER, MD_BOOL,
                               &is_zero));
    const int choose[3] = {is_zero, one, norm};
    memset(&b->node.p, 0, sizeof b->node.p);
    MD_TRY(md_import_emit_like(b, MD_OP_WHERE, choose, 3, norm, MD_IMPORT_INNER, dtype, &norm));
    return binary(b, MD_BINARY_DIV, b->in[0], norm, 0, &value);
}

/* y = (x - mean) / (sqrt(mean of (x - mean)^2) + 1e-9): ONNX's definition as a function. */
md_status md_import_mvn(md_node_import *b)
{
    static const int64_t usual[] = {0, 2, 3};
    const md_tensor x = *md_import_in(b, 0);
    bool axes[MD_TENSOR_MAX_DIMS] = {false};
    const int64_t *list;
    size_t n;
    int mean, centered, square, spread, epsilon, value;
    MD_TRY(md_attribute_ints(b, "axes", &list, &n));
    if (list == NULL) {
        list = usual;
        n = sizeof usual / sizeof *usual;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned axis;
        MD_TRY(md_import_axis(b, list[i], x.n_dims, &axis));
        axes[axis] = true;
    }
    MD_TRY(reduce(b, MD_REDUCE_MEAN, b->in[0], axes, &mean));
    MD_TRY(binary(b, MD_BINARY_SUB, b->in[0], mean, MD_IMPORT_INNER, &centered));
    MD_TRY(binary(b, MD_BINARY_MUL, centered, centered, MD_IMPORT_INNER, &square));
    MD_TRY(reduce(b, MD_REDUCE_MEAN, square, axes, &spread));
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.unary.function = MD_UNARY_SQRT;
    MD_TRY(md_import_emit_like(b, MD_OP_UNARY, &spread, 1, spread, MD_IMPORT_INNER, x.dtype,
                               &spread));
    MD_TRY(scalar(b, x.dtype, 1e-9, &epsilon));
    MD_TRY(binary(b, MD_BINARY_ADD, spread, epsilon, MD_IMPORT_INNER, &spread));
    return binary(b, MD_BINARY_DIV, centered, spread, 0, &value);
}

md_status md_import_det(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    int value;
    if (x.n_dims < 2 || x.dims[x.n_dims - 1] != x.dims[x.n_dims - 2]) {
        return md_import_fail(b, MD_FORMAT, "not a square matrix");
    }
    return md_import_emit(b, MD_OP_DET, b->in, 1, 0, x.dtype, x.n_dims - 2, x.dims, &value);
}

/* The negative log likelihood -w[t] x[n,t,...] of the targets t [N,...], x [N,C,...];
 * SoftmaxCrossEntropyLoss (variant 1) takes scores, and gives their logarithms as output 1. */
md_status md_import_nll_loss(md_node_import *b)
{
    static const char *const reductions[] = {"none", "mean", "sum", NULL};
    const md_tensor x = *md_import_in(b, 0), *target = md_import_in(b, 1);
    const md_tensor *weight = md_import_in(b, 2);
    const Onnx__AttributeProto *a;
    int values[2];
    md_tensor shapes[2] = {x, x};
    MD_TRY(
        md_attribute_find(b, "ignore_index", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &a));
    MD_TRY(md_attribute_choice(b, "reduction", reductions, 1, &b->node.p.loss.reduction));
    b->node.p.loss.has_ignore = a != NULL;
    b->node.p.loss.ignore = a != NULL ? a->i : 0;
    b->node.p.loss.log_softmax = b->variant != 0;
    bool same = x.n_dims >= 2 && target->n_dims + 1 == x.n_dims &&
                (target->dtype == MD_I64 || target->dtype == MD_I32);
    for (unsigned i = 0; same && i < target->n_dims; i++) {
        shapes[0].dims[i] = target->dims[i];
        same = target->dims[i] == x.dims[i == 0 ? 0 : i + 1];
    }
    if (!same || (weight != NULL && (weight->n_dims != 1 || weight->dims[0] != x.dims[1] ||
                                     weight->dtype != MD_F32))) {
        return md_import_fail(b, MD_FORMAT, "scores, targets and weights do not fit");
    }
    shapes[0].n_dims = b->node.p.loss.reduction == 0 ? target->n_dims : 0;
    return md_import_emit_all(b, MD_OP_NLL_LOSS, b->in, b->n_in, shapes, 2, values);
}
