/* Import of elementwise operators, reductions, softmax and casts. */

#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

/* One output of the operand's own shape. */
static md_status emit_like(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                           int like, int output, md_dtype dtype, int *ret_value)
{
    md_tensor shape = *md_graph_tensor(b->graph, like);
    return md_import_emit(b, op, inputs, n_inputs, output, dtype, shape.n_dims, shape.dims,
                          ret_value);
}

static md_status unary_attributes(md_node_import *b, md_activation *ret)
{
    float alpha = 0.0F, beta = 0.0F;
    switch ((int)ret->function) { /* defaults: ONNX operator reference */
    case MD_UNARY_LEAKY_RELU:
        MD_TRY(md_attribute_float(b, "alpha", 0.01F, &alpha));
        break;
    case MD_UNARY_HARD_SIGMOID:
        MD_TRY(md_attribute_float(b, "alpha", 0.2F, &alpha));
        MD_TRY(md_attribute_float(b, "beta", 0.5F, &beta));
        break;
    case MD_UNARY_ELU:
    case MD_UNARY_THRESHOLDED_RELU:
        MD_TRY(md_attribute_float(b, "alpha", 1.0F, &alpha));
        break;
    case MD_UNARY_SELU:
        MD_TRY(md_attribute_float(b, "alpha", 1.67326319217681884765625F, &alpha));
        MD_TRY(md_attribute_float(b, "gamma", 1.05070102214813232421875F, &beta));
        break;
    default:
        break;
    }
    ret->alpha = alpha;
    ret->beta = beta;
    return MD_OK;
}

md_status md_import_unary(md_node_import *b)
{
    md_activation *unary = &b->node.p.unary;
    const md_tensor *x = md_import_in(b, 0);
    int value;
    unary->function = (md_unary)b->variant;
    bool integers = unary->function == MD_UNARY_ABS || unary->function == MD_UNARY_NEG ||
                    unary->function == MD_UNARY_SIGN;
    if (unary->function == MD_UNARY_NOT) {
        MD_TRY(md_import_need(b, 0, MD_BOOL));
    } else if (!integers || (x->dtype != MD_I64 && x->dtype != MD_I32)) {
        MD_TRY(md_import_need(b, 0, MD_F32));
    }
    MD_TRY(unary_attributes(b, unary));
    return emit_like(b, MD_OP_UNARY, b->in, 1, b->in[0], 0, x->dtype, &value);
}

/* Up to opset 6 the second operand's axes were placed by the attribute `axis`: write them out
 * as a shape with trailing ones. */
static md_status place_old_broadcast(md_node_import *b, const int *in, int *ret_in)
{
    const md_tensor *x = md_graph_tensor(b->graph, in[0]);
    const md_tensor *y = md_graph_tensor(b->graph, in[1]);
    int64_t broadcast, axis;
    *ret_in = in[1];
    if (b->node.opset >= 7) {
        return MD_OK;
    }
    MD_TRY(md_attribute_int(b, "broadcast", 0, &broadcast));
    MD_TRY(md_attribute_int(b, "axis", -1, &axis));
    if (broadcast == 0 || axis == -1 || y->n_elements == 1) {
        return MD_OK;
    }
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned start;
    MD_TRY(md_import_axis(b, axis, x->n_dims, &start));
    if (start + y->n_dims > x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "axis %lld leaves no room for %u dimensions",
                              (long long)axis, y->n_dims);
    }
    unsigned n_dims = x->n_dims - start;
    for (unsigned i = 0; i < n_dims; i++) {
        dims[i] = i < y->n_dims ? y->dims[i] : 1;
    }
    return md_import_emit(b, MD_OP_COPY, &in[1], 1, MD_IMPORT_INNER, y->dtype, n_dims, dims,
                          ret_in);
}

static md_status emit_binary(md_node_import *b, md_binary function, const int *in, int output,
                             int *ret_value)
{
    const md_tensor *x = md_graph_tensor(b->graph, in[0]);
    const md_tensor *y = md_graph_tensor(b->graph, in[1]);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    if (x->dtype != y->dtype) {
        return md_import_fail(b, MD_FORMAT, "operands are %s and %s", md_dtype_name(x->dtype),
                              md_dtype_name(y->dtype));
    }
    bool logic = function >= MD_BINARY_AND;
    if (logic != (x->dtype == MD_BOOL) &&
        !(x->dtype == MD_BOOL && function == MD_BINARY_EQUAL)) {
        return md_import_fail(b, MD_UNSUPPORTED, "operands of type %s are not supported",
                              md_dtype_name(x->dtype));
    }
    if (function == MD_BINARY_PRELU && x->dtype != MD_F32) {
        return md_import_fail(b, MD_UNSUPPORTED, "operands of type %s are not supported",
                              md_dtype_name(x->dtype));
    }
    MD_TRY(md_import_broadcast(b, x, y, &n_dims, dims));
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.binary.function = function;
    return md_import_emit(b, MD_OP_BINARY, in, 2, output,
                          function >= MD_BINARY_GREATER ? MD_BOOL : x->dtype, n_dims, dims,
                          ret_value);
}

/* Pow alone allows operands of two types; the result has the base's. */
static md_status import_mixed_pow(md_node_import *b)
{
    md_dtype base = md_import_in(b, 0)->dtype;
    md_dtype work = base == MD_F32 || base == MD_F64 ? base : MD_F64;
    int in[2], power, value;
    if (base == MD_BOOL || md_import_in(b, 1)->dtype == MD_BOOL) {
        return md_import_fail(b, MD_UNSUPPORTED, "operands of type bool are not supported");
    }
    for (unsigned i = 0; i < 2; i++) {
        memset(&b->node.p, 0, sizeof b->node.p);
        MD_TRY(emit_like(b, MD_OP_CAST, &b->in[i], 1, b->in[i], MD_IMPORT_INNER, work, &in[i]));
    }
    if (work == base) {
        return emit_binary(b, MD_BINARY_POW, in, 0, &value);
    }
    MD_TRY(emit_binary(b, MD_BINARY_POW, in, MD_IMPORT_INNER, &power));
    return emit_like(b, MD_OP_CAST, &power, 1, power, 0, base, &value);
}

md_status md_import_binary(md_node_import *b)
{
    md_binary function = (md_binary)b->variant;
    int in[2] = {b->in[0], b->in[1]};
    int value;
    if (function == MD_BINARY_POW && md_import_in(b, 0)->dtype != md_import_in(b, 1)->dtype) {
        return import_mixed_pow(b);
    }
    if (function == MD_BINARY_PRELU) {
        const md_tensor *x = md_import_in(b, 0);
        const md_tensor *slope = md_import_in(b, 1);
        /* up to opset 6 a slope of [C] belongs to axis 1 */
        if (b->node.opset < 7 && slope->n_dims == 1 && slope->n_elements > 1 && x->n_dims > 1) {
            int64_t dims[MD_TENSOR_MAX_DIMS] = {slope->dims[0], 1, 1, 1, 1, 1, 1, 1};
            MD_TRY(md_import_emit(b, MD_OP_COPY, &b->in[1], 1, MD_IMPORT_INNER, slope->dtype,
                                  x->n_dims - 1, dims, &in[1]));
        }
        return emit_binary(b, function, in, 0, &value);
    }
    MD_TRY(place_old_broadcast(b, b->in, &in[1]));
    return emit_binary(b, function, in, 0, &value);
}

/* Sum, Max, Min and Mean of any number of operands: a chain of binary nodes. */
md_status md_import_variadic(md_node_import *b)
{
    bool mean = b->variant < 0;
    md_binary function = mean ? MD_BINARY_ADD : (md_binary)b->variant;
    int in[2] = {b->in[0], 0};
    for (unsigned i = 0; i < b->n_in; i++) {
        if (b->in[i] == MD_GRAPH_NO_VALUE) {
            return md_import_fail(b, MD_FORMAT, "input %u is missing", i);
        }
    }
    for (unsigned i = 1; i < b->n_in; i++) {
        in[1] = b->in[i];
        int output = i + 1 < b->n_in || mean ? MD_IMPORT_INNER : 0;
        MD_TRY(emit_binary(b, function, in, output, &in[0]));
    }
    if (b->n_in == 1) {
        return md_import_alias(b, 0, in[0]);
    }
    if (mean) {
        int value;
        MD_TRY(md_import_need(b, 0, MD_F32));
        MD_TRY(md_import_constant(b, MD_IMPORT_INNER, MD_F32, 0, NULL, &in[1]));
        *(float *)md_graph_tensor(b->graph, in[1])->data = (float)b->n_in;
        return emit_binary(b, MD_BINARY_DIV, in, 0, &value);
    }
    return MD_OK;
}

static md_status clip_by_operands(md_node_import *b)
{
    int in[2] = {b->in[0], 0};
    bool has_low = md_import_in(b, 1) != NULL, has_high = md_import_in(b, 2) != NULL;
    if (has_low) {
        in[1] = b->in[1];
        MD_TRY(emit_binary(b, MD_BINARY_MAX, in, has_high ? MD_IMPORT_INNER : 0, &in[0]));
    }
    if (has_high) {
        in[1] = b->in[2];
        MD_TRY(emit_binary(b, MD_BINARY_MIN, in, 0, &in[0]));
    }
    return has_low || has_high ? MD_OK : md_import_alias(b, 0, in[0]);
}

md_status md_import_clip(md_node_import *b)
{
    float low = -INFINITY, high = INFINITY;
    const md_tensor *x = md_import_in(b, 0);
    int value;
    if (b->node.opset < 11) {
        if (b->n_in > 1) {
            return md_import_fail(b, MD_FORMAT, "%u inputs, 1 is expected", b->n_in);
        }
        MD_TRY(md_import_need(b, 0, MD_F32));
        MD_TRY(md_attribute_float(b, "min", low, &low));
        MD_TRY(md_attribute_float(b, "max", high, &high));
    } else {
        bool fixed = x->dtype == MD_F32;
        for (unsigned i = 1; i < b->n_in; i++) {
            if (b->in[i] != MD_GRAPH_NO_VALUE) {
                const md_value *bound = &b->graph->values[b->in[i]];
                fixed = fixed && bound->constant && bound->tensor.dtype == MD_F32;
            }
        }
        if (!fixed) {
            return clip_by_operands(b);
        }
        double given;
        bool present;
        MD_TRY(md_import_scalar(b, 1, &present, &given));
        low = present ? (float)given : low;
        MD_TRY(md_import_scalar(b, 2, &present, &given));
        high = present ? (float)given : high;
    }
    b->node.p.unary = (md_activation){MD_UNARY_CLIP, low, high};
    return emit_like(b, MD_OP_UNARY, b->in, 1, b->in[0], 0, MD_F32, &value);
}

md_status md_import_where(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 1);
    const md_tensor *y = md_import_in(b, 2);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    int value;
    MD_TRY(md_import_need(b, 0, MD_BOOL));
    if (x->dtype != y->dtype) {
        return md_import_fail(b, MD_FORMAT, "operands are %s and %s", md_dtype_name(x->dtype),
                              md_dtype_name(y->dtype));
    }
    MD_TRY(md_import_broadcast(b, x, y, &n_dims, dims));
    md_tensor both = {.n_dims = n_dims};
    memcpy(both.dims, dims, sizeof dims);
    MD_TRY(md_import_broadcast(b, &both, md_import_in(b, 0), &n_dims, dims));
    return md_import_emit(b, MD_OP_WHERE, b->in, 3, 0, x->dtype, n_dims, dims, &value);
}

/* The mean over all positions of [N,C,...] is a global average pool: back ends have it, in
 * their own layout. */
static bool is_spatial_mean(const md_node_import *b, const md_tensor *x)
{
    const bool *axes = b->node.p.reduce.axes;
    if ((md_reduce)b->variant != MD_REDUCE_MEAN || x->n_dims < 3 ||
        x->n_dims > 2 + MD_GRAPH_MAX_SPATIAL || axes[0] || axes[1] || x->n_elements == 0 ||
        b->graph->values[b->in[0]].constant) {
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
    bool integers =
        (md_reduce)b->variant == MD_REDUCE_SUM || (md_reduce)b->variant == MD_REDUCE_MAX ||
        (md_reduce)b->variant == MD_REDUCE_MIN || (md_reduce)b->variant == MD_REDUCE_PROD;
    if (!integers || (x->dtype != MD_I64 && x->dtype != MD_I32)) {
        MD_TRY(md_import_need(b, 0, MD_F32));
    }
    MD_TRY(md_attribute_int(b, "keepdims", 1, &keep));
    if ((md_reduce)b->variant == MD_REDUCE_SUM && b->node.opset >= 13) {
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
    MD_TRY(md_import_need(b, 0, MD_F32));
    MD_TRY(md_attribute_int(b, "axis", 0, &axis));
    MD_TRY(md_attribute_int(b, "keepdims", 1, &keep));
    MD_TRY(md_attribute_int(b, "select_last_index", 0, &last));
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

/* Up to opset 12 all axes from `axis` on are one; from 13 on it is that axis alone. */
md_status md_import_softmax(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    bool old = b->node.opset < 13;
    int64_t axis;
    unsigned made;
    int value;
    MD_TRY(md_import_need(b, 0, MD_F32));
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
    b->node.p.softmax.log = b->variant != 0;
    return emit_like(b, MD_OP_SOFTMAX, b->in, 1, b->in[0], 0, MD_F32, &value);
}

md_status md_import_cast(md_node_import *b)
{
    int64_t to;
    md_dtype dtype;
    md_error inner = {0};
    int value;
    MD_TRY(md_attribute_int(b, "to", 0, &to));
    if (to < 0 || to > INT32_MAX) {
        return md_import_fail(b, MD_FORMAT, "cast to type %lld", (long long)to);
    }
    if (md_import_dtype((int32_t)to, &dtype, &inner) != MD_OK) {
        return md_import_fail(b, MD_UNSUPPORTED, "%s", inner.msg);
    }
    if (dtype == md_import_in(b, 0)->dtype) {
        return md_import_alias(b, 0, b->in[0]);
    }
    return emit_like(b, MD_OP_CAST, b->in, 1, b->in[0], 0, dtype, &value);
}
