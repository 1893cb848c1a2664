/* Import of elementwise operators and casts. */

#include "inference/backend/kernels.h"
#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

static md_status unary_attributes(md_node_import *b, md_activation *ret)
{
    static const char *const gelu_kinds[] = {"none", "tanh", NULL};
    float alpha = 0.0F, beta = 0.0F;
    int kind;
    switch ((int)ret->function) { /* defaults: ONNX operator reference */
    case MD_UNARY_LEAKY_RELU:
        MD_TRY(md_attribute_float(b, "alpha", 0.01F, &alpha));
        break;
    case MD_UNARY_HARD_SIGMOID:
        MD_TRY(md_attribute_float(b, "alpha", 0.2F, &alpha));
        MD_TRY(md_attribute_float(b, "beta", 0.5F, &beta));
        break;
    case MD_UNARY_SHRINK:
        MD_TRY(md_attribute_float(b, "bias", 0.0F, &alpha));
        MD_TRY(md_attribute_float(b, "lambd", 0.5F, &beta));
        break;
    case MD_UNARY_GELU:
        MD_TRY(md_attribute_choice(b, "approximate", gelu_kinds, 0, &kind));
        ret->function = kind == 0 ? MD_UNARY_GELU : MD_UNARY_GELU_TANH;
        break;
    case MD_UNARY_CELU:
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
    MD_TRY(unary_attributes(b, unary));
    return md_import_emit_like(b, MD_OP_UNARY, b->in, 1, b->in[0], 0, x->dtype, &value);
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
    MD_TRY(md_import_broadcast(b, x, y, &n_dims, dims));
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.binary.function = function;
    return md_import_emit(b, MD_OP_BINARY, in, 2, output,
                          function >= MD_BINARY_GREATER ? MD_BOOL : x->dtype, n_dims, dims,
                          ret_value);
}

md_status md_import_mod(md_node_import *b)
{
    int64_t fmod;
    int value;
    const md_dtype dtype = md_import_in(b, 0)->dtype;
    MD_TRY(md_attribute_int(b, "fmod", 0, &fmod));
    if (fmod == 0 && (dtype == MD_F32 || dtype == MD_F64)) {
        return md_import_fail(b, MD_FORMAT, "operands of type %s need fmod = 1",
                              md_dtype_name(dtype));
    }
    return emit_binary(b, fmod != 0 ? MD_BINARY_FMOD : MD_BINARY_MOD, b->in, 0, &value);
}

md_status md_import_bit_shift(md_node_import *b)
{
    static const char *const directions[] = {"LEFT", "RIGHT", NULL};
    int direction, value;
    MD_TRY(md_attribute_choice(b, "direction", directions, -1, &direction));
    if (direction < 0) {
        return md_import_fail(b, MD_FORMAT, "attribute 'direction' is missing");
    }
    return emit_binary(b, direction == 0 ? MD_BINARY_SHIFT_LEFT : MD_BINARY_SHIFT_RIGHT, b->in,
                       0, &value);
}

/* IsNaN (variant 0) and IsInf (1) */
md_status md_import_classify(md_node_import *b)
{
    int64_t positive = 1, negative = 1;
    int value;
    if (b->variant != 0) {
        MD_TRY(md_attribute_int(b, "detect_positive", 1, &positive));
        MD_TRY(md_attribute_int(b, "detect_negative", 1, &negative));
    }
    b->node.p.classify.nan = b->variant == 0;
    b->node.p.classify.positive = positive != 0;
    b->node.p.classify.negative = negative != 0;
    return md_import_emit_like(b, MD_OP_CLASSIFY, b->in, 1, b->in[0], 0, MD_BOOL, &value);
}

/* Pow alone allows operands of two types; the result has the base's. */
static md_status import_mixed_pow(md_node_import *b)
{
    md_dtype base = md_import_in(b, 0)->dtype;
    md_dtype work = base == MD_F32 || base == MD_F64 ? base : MD_F64;
    int in[2], power, value;
    if (md_import_in(b, 1)->dtype == MD_BOOL) {
        return md_import_fail(b, MD_UNSUPPORTED, "an exponent of type bool is not supported");
    }
    for (unsigned i = 0; i < 2; i++) {
        memset(&b->node.p, 0, sizeof b->node.p);
        MD_TRY(md_import_emit_like(b, MD_OP_CAST, &b->in[i], 1, b->in[i], MD_IMPORT_INNER, work,
                                   &in[i]));
    }
    if (work == base) {
        return emit_binary(b, MD_BINARY_POW, in, 0, &value);
    }
    MD_TRY(emit_binary(b, MD_BINARY_POW, in, MD_IMPORT_INNER, &power));
    return md_import_emit_like(b, MD_OP_CAST, &power, 1, power, 0, base, &value);
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
        const md_dtype dtype = md_graph_tensor(b->graph, in[0])->dtype;
        MD_TRY(md_import_constant(b, MD_IMPORT_INNER, dtype, 0, NULL, &in[1]));
        md_store_real(md_graph_tensor(b->graph, in[1]), 0, (double)b->n_in);
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
        if (x->dtype != MD_F32 && x->dtype != MD_F64) {
            return md_import_fail(b, MD_UNSUPPORTED, "operands of type %s are not supported",
                                  md_dtype_name(x->dtype));
        }
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
    return md_import_emit_like(b, MD_OP_UNARY, b->in, 1, b->in[0], 0, x->dtype, &value);
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

/* Cast (variant 0), and CastLike (1), which takes the type of its second operand. */
md_status md_import_cast(md_node_import *b)
{
    int64_t to, saturate;
    md_dtype dtype;
    md_error inner = {0};
    int value;
    if (b->node.opset >= 19) { /* of 8-bit floats alone */
        MD_TRY(md_attribute_int(b, "saturate", 1, &saturate));
    }
    if (b->variant != 0) {
        dtype = md_import_in(b, 1)->dtype;
        return dtype == md_import_in(b, 0)->dtype
                   ? md_import_alias(b, 0, b->in[0])
                   : md_import_emit_like(b, MD_OP_CAST, b->in, 1, b->in[0], 0, dtype, &value);
    }
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
    return md_import_emit_like(b, MD_OP_CAST, b->in, 1, b->in[0], 0, dtype, &value);
}
