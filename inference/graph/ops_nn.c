/* Import of convolution, pooling, normalisation and matrix products. */

#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

/* No axis of a window may be longer, so that no sum of them overflows. */
#define MAX_WINDOW ((int64_t)1 << 20)

/* A NaN or infinite weight makes every score meaningless: refuse it by name. */
static md_status check_finite(md_node_import *b, unsigned i)
{
    const md_tensor *tensor = md_import_in(b, i);
    if (tensor == NULL || !b->graph->values[b->in[i]].constant || tensor->dtype != MD_F32) {
        return MD_OK;
    }
    const uint32_t *bits = tensor->data;
    const uint32_t exponent = 0x7f800000U;
    uint32_t bad = 0;
    for (size_t j = 0; j < tensor->n_elements; j++) {
        bad |= (uint32_t)((bits[j] & exponent) == exponent);
    }
    return bad == 0 ? MD_OK
                    : md_import_fail(b, MD_FORMAT, "input %u ('%.64s') holds NaN or infinity",
                                     i, b->graph->values[b->in[i]].name);
}

static md_status window_list(md_node_import *b, const char *name, unsigned n, int64_t fallback,
                             int64_t least, int64_t *ret)
{
    const int64_t *values;
    size_t n_values;
    MD_TRY(md_attribute_ints(b, name, &values, &n_values));
    if (n_values != 0 && n_values != n) {
        return md_import_fail(b, MD_FORMAT, "attribute '%s' has %zu values, %u are needed",
                              name, n_values, n);
    }
    for (unsigned i = 0; i < n; i++) {
        ret[i] = n_values == 0 ? fallback : values[i];
        if (ret[i] < least || ret[i] > MAX_WINDOW) {
            return md_import_fail(b, MD_FORMAT, "attribute '%s' holds %lld, not in %lld..%lld",
                                  name, (long long)ret[i], (long long)least,
                                  (long long)MAX_WINDOW);
        }
    }
    return MD_OK;
}

enum {
    PAD_NOTSET,
    PAD_SAME_UPPER,
    PAD_SAME_LOWER,
    PAD_VALID
};
static const char *const auto_pads[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};

/* out = floor or ceil((in + pads - extent) / stride) + 1 with extent = (kernel - 1) dilation +
 * 1; SAME: out = ceil(in / stride), the odd pad at the end (upper) or the begin (lower). */
static md_status window_axis(md_node_import *b, md_window *w, unsigned i, int auto_pad,
                             bool ceil_mode)
{
    int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
    if (auto_pad == PAD_SAME_UPPER || auto_pad == PAD_SAME_LOWER) {
        w->out[i] = (w->in[i] + w->stride[i] - 1) / w->stride[i];
        int64_t total = (w->out[i] - 1) * w->stride[i] + extent - w->in[i];
        total = total < 0 ? 0 : total;
        w->pad_begin[i] = auto_pad == PAD_SAME_UPPER ? total / 2 : total - total / 2;
        w->pad_end[i] = total - w->pad_begin[i];
        return MD_OK;
    }
    if (auto_pad == PAD_VALID) {
        w->pad_begin[i] = w->pad_end[i] = 0;
    }
    int64_t room = w->in[i] + w->pad_begin[i] + w->pad_end[i] - extent;
    if (room < 0) {
        return md_import_fail(b, MD_FORMAT,
                              "a window of %lld does not fit a padded length of %lld",
                              (long long)extent, (long long)(room + extent));
    }
    w->out[i] = (room + (ceil_mode ? w->stride[i] - 1 : 0)) / w->stride[i] + 1;
    /* a window that starts beyond the data and its leading pad would see nothing */
    if (ceil_mode && (w->out[i] - 1) * w->stride[i] >= w->in[i] + w->pad_begin[i]) {
        w->out[i]--;
    }
    return MD_OK;
}

/* Move n values to the end of three, ones (or zeros) before. */
static void to_three(int64_t *values, unsigned n, int64_t fill)
{
    for (unsigned i = 3; i-- > 0;) {
        values[i] = i >= 3 - n ? values[i - (3 - n)] : fill;
    }
}

/* Attributes that Conv and the pools share. kernel: of the weights, NULL for a pool. */
static md_status read_window(md_node_import *b, const md_tensor *x, const int64_t *kernel,
                             bool has_dilation, bool ceil_mode, md_window *ret)
{
    md_window w = {0};
    int auto_pad;
    int64_t pads[6];
    if (x->n_dims < 3 || x->n_dims > 2 + MD_GRAPH_MAX_SPATIAL) {
        return md_import_fail(b, MD_UNSUPPORTED, "input of %u dimensions, supported are 3..5",
                              x->n_dims);
    }
    unsigned n = w.n_spatial = x->n_dims - 2;
    MD_TRY(window_list(b, "kernel_shape", n, 0, 0, w.kernel));
    for (unsigned i = 0; i < n; i++) {
        if (kernel != NULL && w.kernel[i] == 0) {
            w.kernel[i] = kernel[i];
        }
        if (w.kernel[i] < 1 || w.kernel[i] > MAX_WINDOW ||
            (kernel != NULL && w.kernel[i] != kernel[i])) {
            return md_import_fail(b, MD_FORMAT, "kernel length %lld", (long long)w.kernel[i]);
        }
        w.in[i] = x->dims[2 + i];
        w.dilation[i] = 1;
        if (w.in[i] < 1) {
            return md_import_fail(b, MD_FORMAT, "input without elements");
        }
    }
    MD_TRY(window_list(b, "strides", n, 1, 1, w.stride));
    if (has_dilation) {
        MD_TRY(window_list(b, "dilations", n, 1, 1, w.dilation));
    }
    MD_TRY(window_list(b, "pads", 2 * n, 0, 0, pads));
    MD_TRY(md_attribute_choice(b, "auto_pad", auto_pads, PAD_NOTSET, &auto_pad));
    for (unsigned i = 0; i < 2 * n && auto_pad != PAD_NOTSET; i++) {
        if (pads[i] != 0) { /* ONNX forbids both, and nothing tells which was meant */
            return md_import_fail(b, MD_FORMAT, "attributes 'auto_pad' and 'pads' together");
        }
    }
    for (unsigned i = 0; i < n; i++) {
        w.pad_begin[i] = pads[i];
        w.pad_end[i] = pads[n + i];
        MD_TRY(window_axis(b, &w, i, auto_pad, ceil_mode));
    }
    to_three(w.kernel, n, 1);
    to_three(w.stride, n, 1);
    to_three(w.dilation, n, 1);
    to_three(w.pad_begin, n, 0);
    to_three(w.pad_end, n, 0);
    to_three(w.in, n, 1);
    to_three(w.out, n, 1);
    *ret = w;
    return MD_OK;
}

static md_status emit_window(md_node_import *b, md_op op, unsigned n_inputs, const md_window *w,
                             int64_t n_channels)
{
    int64_t dims[5] = {md_import_in(b, 0)->dims[0], n_channels};
    int value;
    for (unsigned i = 0; i < w->n_spatial; i++) {
        dims[2 + i] = w->out[3 - w->n_spatial + i];
    }
    return md_import_emit(b, op, b->in, n_inputs, 0, MD_F32, 2 + w->n_spatial, dims, &value);
}

static md_status check_conv_operands(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const md_tensor *weights = md_import_in(b, 1);
    for (unsigned i = 0; i < 3; i++) {
        MD_TRY(md_import_need(b, i, MD_F32));
        MD_TRY(check_finite(b, i));
    }
    if (x->n_dims < 3 || weights->n_dims != x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "input of %u and weights of %u dimensions",
                              x->n_dims, weights->n_dims);
    }
    if (x->n_elements == 0 || weights->n_elements == 0) {
        return md_import_fail(b, MD_FORMAT, "input or weights without elements");
    }
    return MD_OK;
}

md_status md_import_conv_shape(md_node_import *b, const md_tensor *x, const md_tensor *weights,
                               int64_t *ret_dims)
{
    md_conv_params *conv = &b->node.p.conv;
    if (x->n_dims < 3 || weights->n_dims != x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "input of %u and weights of %u dimensions",
                              x->n_dims, weights->n_dims);
    }
    if (x->n_elements == 0 || weights->n_elements == 0) {
        return md_import_fail(b, MD_FORMAT, "input or weights without elements");
    }
    MD_TRY(md_attribute_int(b, "group", 1, &conv->group));
    int64_t n_out = weights->dims[0];
    if (conv->group < 1 || conv->group > x->dims[1] || x->dims[1] % conv->group != 0 ||
        n_out % conv->group != 0 || weights->dims[1] != x->dims[1] / conv->group) {
        return md_import_fail(b, MD_FORMAT,
                              "%lld channels in %lld groups with weights of %lld x %lld",
                              (long long)x->dims[1], (long long)conv->group, (long long)n_out,
                              (long long)weights->dims[1]);
    }
    MD_TRY(read_window(b, x, weights->dims + 2, true, false, &conv->window));
    ret_dims[0] = x->dims[0];
    ret_dims[1] = n_out;
    for (unsigned i = 2; i < x->n_dims && i < 5; i++) {
        ret_dims[i] = conv->window.out[3 - conv->window.n_spatial + i - 2];
    }
    return MD_OK;
}

md_status md_import_conv(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    const md_tensor *bias = md_import_in(b, 2);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    int value;
    MD_TRY(check_conv_operands(b));
    MD_TRY(md_import_conv_shape(b, &x, md_import_in(b, 1), dims));
    if (bias != NULL && (bias->n_dims != 1 || bias->dims[0] != dims[1])) {
        return md_import_fail(b, MD_FORMAT, "bias of %zu elements for %lld channels",
                              bias->n_elements, (long long)dims[1]);
    }
    return md_import_emit(b, MD_OP_CONV, b->in, bias != NULL ? 3 : 2, 0, MD_F32, x.n_dims, dims,
                          &value);
}

/* out = stride (in - 1) + output_padding + extent - pads; with output_shape the pads follow
 * from it (ONNX, ConvTranspose). */
static md_status transposed_axis(md_node_import *b, md_window *w, unsigned i, int64_t extra,
                                 int64_t wanted, int auto_pad)
{
    int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
    int64_t full = w->stride[i] * (w->in[i] - 1) + extra + extent;
    if (wanted == 0 && (auto_pad == PAD_SAME_UPPER || auto_pad == PAD_SAME_LOWER)) {
        wanted = w->in[i] * w->stride[i];
    }
    if (wanted > 0) {
        int64_t total = full - wanted < 0 ? 0 : full - wanted;
        w->pad_begin[i] = auto_pad == PAD_SAME_UPPER ? total / 2 : total - total / 2;
        w->pad_end[i] = total - w->pad_begin[i];
        w->out[i] = wanted;
    } else {
        w->out[i] = full - w->pad_begin[i] - w->pad_end[i];
    }
    return w->out[i] >= 1 ? MD_OK : md_import_fail(b, MD_FORMAT, "an output without elements");
}

md_status md_import_conv_transpose(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const md_tensor *weights = md_import_in(b, 1);
    const md_tensor *bias = md_import_in(b, 2);
    md_conv_params *conv = &b->node.p.conv;
    md_window *w = &conv->window;
    int auto_pad;
    int64_t extra[3], wanted[3];
    MD_TRY(check_conv_operands(b));
    MD_TRY(md_attribute_int(b, "group", 1, &conv->group));
    if (conv->group < 1 || conv->group > x->dims[1] || x->dims[1] % conv->group != 0 ||
        weights->dims[0] != x->dims[1]) {
        return md_import_fail(b, MD_FORMAT, "%lld channels in %lld groups, weights for %lld",
                              (long long)x->dims[1], (long long)conv->group,
                              (long long)weights->dims[0]);
    }
    int64_t n_out = weights->dims[1] * conv->group;
    if (bias != NULL && (bias->n_dims != 1 || bias->dims[0] != n_out)) {
        return md_import_fail(b, MD_FORMAT, "bias of %zu elements for %lld channels",
                              bias->n_elements, (long long)n_out);
    }
    /* reads the common attributes; a transposed window never fails to fit, so pretend room */
    md_tensor roomy = *x;
    for (unsigned i = 2; i < x->n_dims && i < 5; i++) {
        roomy.dims[i] = (int64_t)1 << 45;
    }
    MD_TRY(read_window(b, &roomy, weights->dims + 2, true, false, w));
    unsigned n = w->n_spatial;
    MD_TRY(md_attribute_choice(b, "auto_pad", auto_pads, PAD_NOTSET, &auto_pad));
    MD_TRY(window_list(b, "output_padding", n, 0, 0, extra));
    MD_TRY(window_list(b, "output_shape", n, 0, 0, wanted));
    for (unsigned i = 0; i < n; i++) {
        unsigned at = 3 - n + i;
        w->in[at] = x->dims[2 + i];
        MD_TRY(transposed_axis(b, w, at, extra[i], wanted[i], auto_pad));
    }
    return emit_window(b, MD_OP_CONV_TRANSPOSE, bias != NULL ? 3 : 2, w, n_out);
}

/* Attributes that only some pools of some opsets have. */
static md_status pool_attributes(md_node_import *b, md_pool_params *pool, bool *ret_ceil_mode,
                                 bool *ret_dilation)
{
    int64_t ceil_mode = 0, count_pad = 0, storage_order = 0;
    const int opset = b->node.opset;
    *ret_dilation = b->variant == MD_POOL_MAX || opset >= (b->variant == MD_POOL_LP ? 18 : 19);
    if (b->variant != MD_POOL_LP || opset >= 18) {
        MD_TRY(md_attribute_int(b, "ceil_mode", 0, &ceil_mode));
    }
    if (b->variant == MD_POOL_AVERAGE) {
        MD_TRY(md_attribute_int(b, "count_include_pad", 0, &count_pad));
    } else if (b->variant == MD_POOL_MAX) {
        MD_TRY(md_attribute_int(b, "storage_order", 0, &storage_order));
    } else {
        MD_TRY(md_attribute_int(b, "p", 2, &pool->p));
        if (pool->p < 1 || pool->p > MAX_WINDOW) {
            return md_import_fail(b, MD_FORMAT, "p = %lld", (long long)pool->p);
        }
    }
    pool->average = b->variant == MD_POOL_AVERAGE;
    pool->count_include_pad = count_pad != 0;
    pool->column_major = storage_order != 0;
    *ret_ceil_mode = ceil_mode != 0;
    return MD_OK;
}

md_status md_import_pool(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    md_pool_params *pool = &b->node.p.pool;
    const md_window *w = &pool->window;
    bool ceil_mode = false, has_dilation = false;
    MD_TRY(pool_attributes(b, pool, &ceil_mode, &has_dilation));
    MD_TRY(read_window(b, &x, NULL, has_dilation, ceil_mode, &pool->window));
    for (unsigned i = 0; i < 3; i++) {
        /* a window inside the padding alone would have no maximum and no mean */
        int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (w->pad_begin[i] >= extent || w->pad_end[i] >= extent) {
            return md_import_fail(b, MD_FORMAT, "padding %lld and %lld for a window of %lld",
                                  (long long)w->pad_begin[i], (long long)w->pad_end[i],
                                  (long long)extent);
        }
    }
    if (x.dtype == MD_F32 && md_import_output_name(b, 1) == NULL) {
        return emit_window(b, MD_OP_POOL, 1, w, x.dims[1]);
    }
    md_tensor shapes[2] = {x, x};
    int values[2];
    for (unsigned i = 0; i < w->n_spatial; i++) {
        shapes[0].dims[2 + i] = shapes[1].dims[2 + i] = w->out[3 - w->n_spatial + i];
    }
    shapes[1].dtype = MD_I64;
    return md_import_emit_all(b, MD_OP_POOL, b->in, 1, shapes, 2, values);
}

/* The reverse of MaxPool: each value at the position that Indices gives, 0 elsewhere. */
md_status md_import_max_unpool(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0), *index = md_import_in(b, 1);
    const int64_t *wanted;
    size_t n_wanted;
    int64_t kernel[3], stride[3], pads[6], dims[MD_TENSOR_MAX_DIMS];
    int value;
    if (x->n_dims < 3 || x->n_dims > 2 + MD_GRAPH_MAX_SPATIAL || index->dtype != MD_I64 ||
        index->n_dims != x->n_dims ||
        memcmp(index->dims, x->dims, x->n_dims * sizeof *x->dims) != 0) {
        return md_import_fail(b, MD_FORMAT, "values and indices do not fit");
    }
    const unsigned n = x->n_dims - 2;
    MD_TRY(window_list(b, "kernel_shape", n, 0, 1, kernel));
    MD_TRY(window_list(b, "strides", n, 1, 1, stride));
    MD_TRY(window_list(b, "pads", 2 * n, 0, 0, pads));
    MD_TRY(md_import_ints(b, 2, &wanted, &n_wanted));
    memcpy(dims, x->dims, sizeof dims);
    for (unsigned i = 0; i < n; i++) {
        dims[2 + i] = (x->dims[2 + i] - 1) * stride[i] - pads[i] - pads[n + i] + kernel[i];
    }
    md_tensor counted;
    md_error inner = {0};
    if (md_tensor_shape(&counted, MD_F32, x->n_dims, dims, &inner) != MD_OK) {
        return md_import_fail(b, MD_FORMAT, "%s", inner.msg);
    }
    memcpy(b->node.p.unpool.dims, dims, sizeof dims);
    if (wanted != NULL) {
        if (n_wanted != x->n_dims || wanted[0] != dims[0] || wanted[1] != dims[1]) {
            return md_import_fail(b, MD_FORMAT, "output_shape has %zu values", n_wanted);
        }
        memcpy(dims + 2, wanted + 2, n * sizeof *dims);
    }
    return md_import_emit(b, MD_OP_MAX_UNPOOL, b->in, 2, 0, MD_F32, x->n_dims, dims, &value);
}

md_status md_import_global_pool(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    md_pool_params *pool = &b->node.p.pool;
    md_window w = {0};
    if (b->variant == MD_POOL_LP) {
        MD_TRY(md_attribute_int(b, "p", 2, &pool->p));
        if (pool->p < 1 || pool->p > MAX_WINDOW) {
            return md_import_fail(b, MD_FORMAT, "p = %lld", (long long)pool->p);
        }
    }
    if (x->n_dims < 3 || x->n_dims > 2 + MD_GRAPH_MAX_SPATIAL) {
        return md_import_fail(b, MD_UNSUPPORTED, "input of %u dimensions, supported are 3..5",
                              x->n_dims);
    }
    w.n_spatial = x->n_dims - 2;
    for (unsigned i = 0; i < 3; i++) {
        unsigned first = 3 - w.n_spatial;
        w.kernel[i] = w.in[i] = i < first ? 1 : x->dims[2 + i - first];
        w.stride[i] = w.dilation[i] = w.out[i] = 1;
        if (w.in[i] < 1) {
            return md_import_fail(b, MD_FORMAT, "input without elements");
        }
    }
    pool->window = w;
    pool->average = b->variant == MD_POOL_AVERAGE;
    return emit_window(b, MD_OP_POOL, 1, &w, x->dims[1]);
}

static md_status batch_norm_attributes(md_node_import *b, float *ret_epsilon)
{
    float momentum;
    int64_t spatial, training, is_test;
    MD_TRY(md_attribute_float(b, "epsilon", 1e-5F, ret_epsilon));
    MD_TRY(md_attribute_float(b, "momentum", 0.9F, &momentum));
    if (b->node.opset < 9) {
        MD_TRY(md_attribute_int(b, "spatial", 1, &spatial));
        if (spatial != 1) {
            return md_import_fail(b, MD_UNSUPPORTED, "attribute 'spatial' = %lld",
                                  (long long)spatial);
        }
    }
    if (b->node.opset < 7) {
        MD_TRY(md_attribute_int(b, "is_test", 0, &is_test));
        if (is_test == 0) {
            return md_import_fail(b, MD_UNSUPPORTED, "training mode is not supported");
        }
    }
    if (b->node.opset >= 14) {
        MD_TRY(md_attribute_int(b, "training_mode", 0, &training));
        if (training != 0) {
            return md_import_fail(b, MD_UNSUPPORTED, "training mode is not supported");
        }
    }
    return MD_OK;
}

/* y = (x - mean) / sqrt(var + epsilon) * scale + B becomes y = x * s + t with s and t of [C],
 * computed in double precision (Ioffe and Szegedy 2015, alg. 2). */
md_status md_import_batch_norm(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    float epsilon;
    int value, made[3] = {b->in[0]};
    for (unsigned i = 0; i < 5; i++) {
        MD_TRY(md_import_need(b, i, MD_F32));
        MD_TRY(check_finite(b, i));
    }
    MD_TRY(batch_norm_attributes(b, &epsilon));
    if (x->n_dims < 2) {
        return md_import_fail(b, MD_FORMAT, "input of %u dimensions", x->n_dims);
    }
    int64_t n = x->dims[1];
    const float *list[5];
    for (unsigned i = 1; i < 5; i++) {
        const md_tensor *parameter = md_import_in(b, i);
        if (parameter->n_dims != 1 || parameter->dims[0] != n) {
            return md_import_fail(b, MD_FORMAT, "input %u has %zu elements for %lld channels",
                                  i, parameter->n_elements, (long long)n);
        }
        if (!b->graph->values[b->in[i]].constant) {
            return md_import_fail(b, MD_UNSUPPORTED, "input %u is not constant", i);
        }
        list[i] = parameter->data;
    }
    md_tensor shape = *x;
    if (b->graph->training) {
        for (int64_t c = 0; c < n; c++) {
            if (!((double)list[4][c] + (double)epsilon > 0.0)) {
                return md_import_fail(b, MD_FORMAT, "variance %g of channel %lld",
                                      (double)list[4][c], (long long)c);
            }
        }
        b->node.p.norm.epsilon = epsilon;
        return md_import_emit(b, MD_OP_BATCH_NORM, b->in, 5, 0, MD_F32, shape.n_dims,
                              shape.dims, &value);
    }
    MD_TRY(md_import_constant(b, MD_IMPORT_INNER, MD_F32, 1, &n, &made[1]));
    MD_TRY(md_import_constant(b, MD_IMPORT_INNER, MD_F32, 1, &n, &made[2]));
    float *scale = md_graph_tensor(b->graph, made[1])->data;
    float *shift = md_graph_tensor(b->graph, made[2])->data;
    for (int64_t c = 0; c < n; c++) {
        double spread = (double)list[4][c] + (double)epsilon;
        if (!(spread > 0.0)) {
            return md_import_fail(b, MD_FORMAT, "variance %g of channel %lld",
                                  (double)list[4][c], (long long)c);
        }
        double s = (double)list[1][c] / sqrt(spread);
        scale[c] = (float)s;
        shift[c] = (float)((double)list[2][c] - (double)list[3][c] * s);
    }
    return md_import_emit(b, MD_OP_BATCH_NORM, made, 3, 0, MD_F32, shape.n_dims, shape.dims,
                          &value);
}

md_status md_import_instance_norm(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    int value;
    for (unsigned i = 0; i < 3; i++) {
        MD_TRY(md_import_need(b, i, MD_F32));
    }
    MD_TRY(md_attribute_float(b, "epsilon", 1e-5F, &b->node.p.norm.epsilon));
    if (x.n_dims < 3 || x.n_elements == 0) {
        return md_import_fail(b, MD_FORMAT, "input of %u dimensions", x.n_dims);
    }
    for (unsigned i = 1; i < 3; i++) {
        const md_tensor *parameter = md_import_in(b, i);
        if (parameter->n_dims != 1 || parameter->dims[0] != x.dims[1]) {
            return md_import_fail(b, MD_FORMAT, "input %u has %zu elements for %lld channels",
                                  i, parameter->n_elements, (long long)x.dims[1]);
        }
    }
    return md_import_emit(b, MD_OP_INSTANCE_NORM, b->in, 3, 0, MD_F32, x.n_dims, x.dims,
                          &value);
}

md_status md_import_lrn(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    int value;
    MD_TRY(md_import_need(b, 0, MD_F32));
    MD_TRY(md_attribute_float(b, "alpha", 1e-4F, &b->node.p.lrn.alpha));
    MD_TRY(md_attribute_float(b, "beta", 0.75F, &b->node.p.lrn.beta));
    MD_TRY(md_attribute_float(b, "bias", 1.0F, &b->node.p.lrn.bias));
    MD_TRY(md_attribute_int(b, "size", 0, &b->node.p.lrn.size));
    if (x.n_dims < 2 || b->node.p.lrn.size < 1 || b->node.p.lrn.size > MAX_WINDOW) {
        return md_import_fail(b, MD_FORMAT, "size %lld over an input of %u dimensions",
                              (long long)b->node.p.lrn.size, x.n_dims);
    }
    return md_import_emit(b, MD_OP_LRN, b->in, 1, 0, MD_F32, x.n_dims, x.dims, &value);
}

md_status md_import_gemm(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const md_tensor *y = md_import_in(b, 1);
    const md_tensor *c = md_import_in(b, 2);
    int64_t transpose_a, transpose_b, broadcast;
    int value;
    for (unsigned i = 0; i < 3; i++) {
        MD_TRY(md_import_need(b, i, MD_F32));
        MD_TRY(check_finite(b, i));
    }
    MD_TRY(md_attribute_int(b, "transA", 0, &transpose_a));
    MD_TRY(md_attribute_int(b, "transB", 0, &transpose_b));
    MD_TRY(md_attribute_float(b, "alpha", 1.0F, &b->node.p.gemm.alpha));
    MD_TRY(md_attribute_float(b, "beta", 1.0F, &b->node.p.gemm.beta));
    if (b->node.opset < 7) { /* only said whether C may be smaller than the product */
        MD_TRY(md_attribute_int(b, "broadcast", 0, &broadcast));
    }
    b->node.p.gemm.transpose_a = transpose_a != 0;
    b->node.p.gemm.transpose_b = transpose_b != 0;
    if (x->n_dims != 2 || y->n_dims != 2) {
        return md_import_fail(b, MD_FORMAT, "operands of %u and %u dimensions", x->n_dims,
                              y->n_dims);
    }
    int64_t k = x->dims[transpose_a != 0 ? 0 : 1];
    int64_t dims[MD_TENSOR_MAX_DIMS] = {x->dims[transpose_a != 0 ? 1 : 0],
                                        y->dims[transpose_b != 0 ? 0 : 1]};
    if (k != y->dims[transpose_b != 0 ? 1 : 0]) {
        return md_import_fail(b, MD_FORMAT, "inner lengths %lld and %lld differ", (long long)k,
                              (long long)y->dims[transpose_b != 0 ? 1 : 0]);
    }
    if (c != NULL) {
        md_tensor product = {.n_dims = 2, .dims = {dims[0], dims[1]}};
        int64_t both[MD_TENSOR_MAX_DIMS];
        unsigned n_both;
        MD_TRY(md_import_broadcast(b, &product, c, &n_both, both));
        if (n_both != 2 || both[0] != dims[0] || both[1] != dims[1]) {
            return md_import_fail(b, MD_FORMAT, "C does not broadcast to %lld x %lld",
                                  (long long)dims[0], (long long)dims[1]);
        }
    }
    return md_import_emit(b, MD_OP_GEMM, b->in, c != NULL ? 3 : 2, 0, MD_F32, 2, dims, &value);
}

/* As numpy's matmul: a vector is a row on the left, a column on the right, and its axis is
 * gone from the result. */
md_status md_import_matmul(md_node_import *b)
{
    md_tensor in[2] = {*md_import_in(b, 0), *md_import_in(b, 1)}, x, y;
    int operands[2] = {b->in[0], b->in[1]}, value;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims;
    if (in[0].dtype != in[1].dtype || in[0].n_dims < 1 || in[1].n_dims < 1) {
        return md_import_fail(b, MD_FORMAT, "operands of %u and %u dimensions, %s and %s",
                              in[0].n_dims, in[1].n_dims, md_dtype_name(in[0].dtype),
                              md_dtype_name(in[1].dtype));
    }
    for (unsigned i = 0; i < 2; i++) {
        MD_TRY(check_finite(b, i));
        if (in[i].n_dims == 1) {
            in[i].n_dims = 2;
            in[i].dims[1 - i] = in[i].dims[0];
            in[i].dims[i] = 1;
            MD_TRY(md_import_emit(b, MD_OP_COPY, &b->in[i], 1, MD_IMPORT_INNER, in[i].dtype, 2,
                                  in[i].dims, &operands[i]));
        }
    }
    x = in[0];
    y = in[1];
    int64_t m = x.dims[x.n_dims - 2], k = x.dims[x.n_dims - 1];
    int64_t n = y.dims[y.n_dims - 1];
    if (k != y.dims[y.n_dims - 2]) {
        return md_import_fail(b, MD_FORMAT, "inner lengths %lld and %lld differ", (long long)k,
                              (long long)y.dims[y.n_dims - 2]);
    }
    x.n_dims -= 2;
    y.n_dims -= 2;
    MD_TRY(md_import_broadcast(b, &x, &y, &n_dims, dims));
    dims[n_dims++] = m;
    dims[n_dims++] = n;
    const bool row = md_import_in(b, 0)->n_dims == 1, column = md_import_in(b, 1)->n_dims == 1;
    MD_TRY(md_import_emit(b, MD_OP_MATMUL, operands, 2, row || column ? MD_IMPORT_INNER : 0,
                          x.dtype, n_dims, dims, &value));
    if (!row && !column) {
        return MD_OK;
    }
    if (row && !column) {
        dims[n_dims - 2] = n;
    }
    n_dims -= (row ? 1U : 0U) + (column ? 1U : 0U);
    return md_import_emit(b, MD_OP_COPY, &value, 1, 0, x.dtype, n_dims, dims, &value);
}

/* At inference the output is the input, and nothing was dropped. */
md_status md_import_dropout(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    float ratio = 0.5F;
    int64_t seed, is_test;
    int mask, value;
    if (b->node.opset < 12) {
        MD_TRY(md_attribute_float(b, "ratio", 0.5F, &ratio));
        if (b->node.opset < 7) {
            MD_TRY(md_attribute_int(b, "is_test", 0, &is_test));
            if (is_test == 0) {
                return md_import_fail(b, MD_UNSUPPORTED, "training mode is not supported");
            }
        }
    } else {
        bool present;
        double training = 0.0;
        MD_TRY(md_attribute_int(b, "seed", 0, &seed));
        MD_TRY(md_import_scalar(b, 2, &present, &training));
        if (present && training != 0.0 && !b->graph->training) {
            return md_import_fail(b, MD_UNSUPPORTED, "training mode is not supported");
        }
    }
    if (b->graph->training && x.dtype == MD_F32) {
        bool present;
        double given = 0.5;
        if (b->node.opset >= 12) {
            MD_TRY(md_import_scalar(b, 1, &present, &given));
            ratio = (float)given;
        }
        if (!(ratio >= 0.0F && ratio < 1.0F)) {
            return md_import_fail(b, MD_FORMAT, "ratio %g is not in 0..1", (double)ratio);
        }
        b->node.p.dropout.ratio = ratio;
        return md_import_emit(b, MD_OP_DROPOUT, b->in, 1, 0, MD_F32, x.n_dims, x.dims, &value);
    }
    if (md_import_output_name(b, 1) != NULL) {
        if (b->node.opset < 10) {
            return md_import_fail(b, MD_UNSUPPORTED, "the mask is not supported");
        }
        MD_TRY(md_import_constant(b, 1, MD_BOOL, x.n_dims, x.dims, &mask));
        memset(md_graph_tensor(b->graph, mask)->data, 1,
               md_graph_tensor(b->graph, mask)->n_elements);
    }
    return md_import_alias(b, 0, b->in[0]);
}
