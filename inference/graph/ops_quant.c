/* Import of quantisation and of products of quantised tensors. */

#include "inference/graph/node_import.h"

#include <string.h>

static md_status need_one(md_node_import *b, unsigned i)
{
    const md_tensor *x = md_import_in(b, i);
    return x == NULL || x->n_elements == 1
               ? MD_OK
               : md_import_fail(b, MD_UNSUPPORTED,
                                "input %u has %zu elements, only one is supported", i,
                                x->n_elements);
}

/* Scale (input 1) and zero point (2) of x: one, one for each index of the axis, or (opset 21)
 * one for each block along it. */
static md_status read_quant(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0), *scale = md_import_in(b, 1);
    const md_tensor *zero = md_import_in(b, 2);
    md_quant_params *quant = &b->node.p.quant;
    int64_t axis = 1;
    MD_TRY(md_import_need(b, 1, MD_F32));
    if (b->node.opset >= 13) {
        MD_TRY(md_attribute_int(b, "axis", 1, &axis));
    }
    if (b->node.opset >= 21) {
        MD_TRY(md_attribute_int(b, "block_size", 0, &quant->block));
    }
    if (zero != NULL &&
        (zero->n_dims != scale->n_dims ||
         memcmp(zero->dims, scale->dims, scale->n_dims * sizeof *scale->dims))) {
        return md_import_fail(b, MD_FORMAT, "scale and zero point of different shapes");
    }
    if (scale->n_elements == 1 && quant->block == 0) {
        return MD_OK;
    }
    MD_TRY(md_import_axis(b, axis, x->n_dims, &quant->axis));
    bool fits = quant->block >= 0 && scale->n_elements > 0;
    if (quant->block == 0) {
        fits = fits && scale->n_dims == 1 && scale->dims[0] == x->dims[quant->axis];
    } else {
        fits = fits && scale->n_dims == x->n_dims;
        for (unsigned i = 0; fits && i < x->n_dims; i++) {
            const int64_t n = x->dims[i];
            fits = scale->dims[i] ==
                   (i == quant->axis ? n / quant->block + (n % quant->block != 0) : n);
        }
    }
    return fits ? MD_OK
                : md_import_fail(b, MD_FORMAT, "%zu scales do not fit the input's axis %u",
                                 scale->n_elements, quant->axis);
}

md_status md_import_quantize(md_node_import *b)
{
    const md_tensor *zero = md_import_in(b, 2);
    md_dtype dtype = zero == NULL ? MD_U8 : zero->dtype;
    int64_t type = 0, saturate;
    md_error inner = {0};
    int value;
    if (b->node.opset >= 19) { /* of 8-bit floats alone */
        MD_TRY(md_attribute_int(b, "saturate", 1, &saturate));
    }
    if (b->node.opset >= 21) {
        MD_TRY(md_attribute_int(b, "output_dtype", 0, &type));
        md_dtype given = dtype;
        if (type < 0 || type > INT32_MAX ||
            (type != 0 && md_import_dtype((int32_t)type, &given, &inner) != MD_OK) ||
            (type != 0 && zero != NULL && given != dtype)) {
            return md_import_fail(b, MD_UNSUPPORTED, "output_dtype %lld", (long long)type);
        }
        dtype = given;
    }
    if (dtype != MD_U8 && dtype != MD_I8 &&
        !(b->node.opset >= 21 && (dtype == MD_I16 || dtype == MD_U16))) {
        return md_import_fail(b, MD_UNSUPPORTED, "quantising to %s", md_dtype_name(dtype));
    }
    MD_TRY(read_quant(b));
    return md_import_emit_like(b, MD_OP_QUANTIZE, b->in, b->n_in, b->in[0], 0, dtype, &value);
}

md_status md_import_dequantize(md_node_import *b)
{
    int value;
    MD_TRY(md_import_need(b, 2, md_import_in(b, 0)->dtype));
    MD_TRY(read_quant(b));
    return md_import_emit_like(b, MD_OP_DEQUANTIZE, b->in, b->n_in, b->in[0], 0, MD_F32,
                               &value);
}

md_status md_import_dynamic_quantize(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    const md_tensor shapes[3] = {{.dtype = MD_U8,
                                  .n_dims = x.n_dims,
                                  .dims = {x.dims[0], x.dims[1], x.dims[2], x.dims[3],
                                           x.dims[4], x.dims[5], x.dims[6], x.dims[7]}},
                                 {.dtype = MD_F32},
                                 {.dtype = MD_U8}};
    int values[3];
    return md_import_emit_all(b, MD_OP_DYNAMIC_QUANTIZE, b->in, 1, shapes, 3, values);
}

static bool is_byte(const md_tensor *x)
{
    return x->dtype == MD_U8 || x->dtype == MD_I8;
}

/* What the integer products share: operands a and b of 8 bits, a zero point each (or none). */
static md_status check_bytes(md_node_import *b, int a_at, int b_at, int a_zero, int b_zero)
{
    const int operands[2] = {a_at, b_at}, zeros[2] = {a_zero, b_zero};
    for (unsigned i = 0; i < 2; i++) {
        const md_tensor *x = md_graph_tensor(b->graph, operands[i]);
        if (!is_byte(x)) {
            return md_import_fail(b, MD_UNSUPPORTED, "operands of type %s are not supported",
                                  md_dtype_name(x->dtype));
        }
        if (zeros[i] != MD_GRAPH_NO_VALUE &&
            md_graph_tensor(b->graph, zeros[i])->dtype != x->dtype) {
            return md_import_fail(b, MD_FORMAT, "a zero point of another type");
        }
    }
    return MD_OK;
}

/* An operand that may be left out. */
static int optional(const md_node_import *b, unsigned i)
{
    return i < b->n_in ? b->in[i] : MD_GRAPH_NO_VALUE;
}

/* The sums of x and w, as int32; in: x, w, zero points of both, bias. */
static md_status emit_conv(md_node_import *b, const int *in, int output, int *ret_value)
{
    const md_tensor x = *md_graph_tensor(b->graph, in[0]);
    const md_tensor w = *md_graph_tensor(b->graph, in[1]);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    MD_TRY(check_bytes(b, in[0], in[1], in[2], in[3]));
    MD_TRY(md_import_conv_shape(b, &x, &w, dims));
    for (unsigned i = 2; i < 5; i++) {
        const md_tensor *extra =
            in[i] == MD_GRAPH_NO_VALUE ? NULL : md_graph_tensor(b->graph, in[i]);
        if (extra != NULL && (extra->n_elements != 1 || i == 4) &&
            (i == 2 || extra->n_dims != 1 || extra->dims[0] != dims[1])) {
            return md_import_fail(b, MD_FORMAT, "%zu elements for %lld channels",
                                  extra->n_elements, (long long)dims[1]);
        }
    }
    return md_import_emit(b, MD_OP_CONV_INTEGER, in, 5, output, MD_I32, x.n_dims, dims,
                          ret_value);
}

md_status md_import_conv_integer(md_node_import *b)
{
    const int in[5] = {b->in[0], b->in[1], optional(b, 2), optional(b, 3), MD_GRAPH_NO_VALUE};
    int value;
    return emit_conv(b, in, 0, &value);
}

/* The sums rounded into y's type: y = round(sum a_scale b_scale / y_scale) + y_zero; b_scale
 * may have one element for each index of the axis. */
static md_status emit_requantize(md_node_import *b, int sums, unsigned a_scale,
                                 unsigned b_scale, unsigned y_scale, unsigned axis)
{
    const md_tensor *zero = md_import_in(b, y_scale + 1), *scale = md_import_in(b, b_scale);
    const int64_t n = md_graph_tensor(b->graph, sums)->dims[axis];
    const int in[5] = {sums, b->in[a_scale], b->in[b_scale], b->in[y_scale],
                       b->in[y_scale + 1]};
    int value;
    MD_TRY(need_one(b, a_scale));
    MD_TRY(need_one(b, y_scale));
    MD_TRY(need_one(b, y_scale + 1));
    MD_TRY(md_import_need(b, a_scale, MD_F32));
    MD_TRY(md_import_need(b, b_scale, MD_F32));
    MD_TRY(md_import_need(b, y_scale, MD_F32));
    if (!is_byte(zero) ||
        (scale->n_elements != 1 && (scale->n_dims != 1 || scale->dims[0] != n))) {
        return md_import_fail(b, MD_FORMAT, "%zu scales for %lld channels, output of type %s",
                              scale->n_elements, (long long)n, md_dtype_name(zero->dtype));
    }
    memset(&b->node.p, 0, sizeof b->node.p);
    b->node.p.quant.axis = axis;
    return md_import_emit_like(b, MD_OP_REQUANTIZE, in, 5, sums, 0, zero->dtype, &value);
}

md_status md_import_qlinear_conv(md_node_import *b)
{
    const int in[5] = {b->in[0], b->in[3], b->in[2], b->in[5], optional(b, 8)};
    int sums;
    MD_TRY(md_import_need(b, 8, MD_I32));
    MD_TRY(emit_conv(b, in, MD_IMPORT_INNER, &sums));
    return emit_requantize(b, sums, 1, 4, 6, 1);
}

/* in: a, b, zero points of both; b's may have one element for each column, a's for each row. */
static md_status emit_matmul(md_node_import *b, const int *in, int output, int *ret_value)
{
    md_tensor x = *md_graph_tensor(b->graph, in[0]), y = *md_graph_tensor(b->graph, in[1]);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    MD_TRY(check_bytes(b, in[0], in[1], in[2], in[3]));
    if (x.n_dims < 2 || y.n_dims < 2 || x.dims[x.n_dims - 1] != y.dims[y.n_dims - 2]) {
        return md_import_fail(b, MD_FORMAT, "operands of %u and %u dimensions do not fit",
                              x.n_dims, y.n_dims);
    }
    const int64_t m = x.dims[x.n_dims - 2], n = y.dims[y.n_dims - 1];
    for (unsigned i = 2; i < 4; i++) {
        const md_tensor *zero =
            in[i] == MD_GRAPH_NO_VALUE ? NULL : md_graph_tensor(b->graph, in[i]);
        if (zero != NULL && zero->n_elements != 1 &&
            (zero->n_dims != 1 || zero->dims[0] != (i == 2 ? m : n))) {
            return md_import_fail(b, MD_UNSUPPORTED, "%zu zero points", zero->n_elements);
        }
    }
    x.n_dims -= 2;
    y.n_dims -= 2;
    MD_TRY(md_import_broadcast(b, &x, &y, &n_dims, dims));
    dims[n_dims++] = m;
    dims[n_dims++] = n;
    return md_import_emit(b, MD_OP_MATMUL_INTEGER, in, 4, output, MD_I32, n_dims, dims,
                          ret_value);
}

md_status md_import_matmul_integer(md_node_import *b)
{
    const int in[4] = {b->in[0], b->in[1], optional(b, 2), optional(b, 3)};
    int value;
    return emit_matmul(b, in, 0, &value);
}

md_status md_import_qlinear_matmul(md_node_import *b)
{
    const int in[4] = {b->in[0], b->in[3], b->in[2], b->in[5]};
    int sums;
    MD_TRY(emit_matmul(b, in, MD_IMPORT_INNER, &sums));
    return emit_requantize(b, sums, 1, 4, 6, md_graph_tensor(b->graph, sums)->n_dims - 1);
}
