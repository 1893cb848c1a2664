#include "inference/backend/onednn_private.h"

#include <math.h>
#include <string.h>

/* The last n of three window lengths as oneDNN counts them; minus: dilation starts at 0 there.
 */
static void window_dims(const int64_t *lengths, unsigned n, int64_t minus, dnnl_dims_t ret)
{
    for (unsigned i = 0; i < n; i++) {
        ret[i] = lengths[3 - n + i] - minus;
    }
}

/* Weights [K,C/g,...] as [g,K/g,C/g,...] when there are groups. */
static bool weights_desc(const md_tensor *weights, int64_t group, dnnl_memory_desc_t *ret)
{
    if (group == 1) {
        return md_dnnl_plain(weights, ret);
    }
    md_tensor grouped = *weights;
    grouped.n_dims = weights->n_dims + 1;
    grouped.dims[0] = group;
    grouped.dims[1] = weights->dims[0] / group;
    memcpy(grouped.dims + 2, weights->dims + 1, (weights->n_dims - 1) * sizeof(int64_t));
    return md_dnnl_plain(&grouped, ret);
}

static dnnl_memory_desc_t any_of(const dnnl_memory_desc_t *md, dnnl_data_type_t type)
{
    dnnl_memory_desc_t any;
    (void)dnnl_memory_desc_init_by_tag(&any, md->ndims, md->dims, type, dnnl_format_tag_any);
    return any;
}

/* What a convolution works on and in which numbers. With 8-bit integers
 *
 *   y = f((sum q_x q_w[k] + b[k] / (s_x s_w[k])) s_x s_w[k] + s_r q_r) / s_y
 *
 * where s_y is 1 when y is none, and q_r, the residual, is of the same type as y. */
typedef struct conv_setup {
    md_dnnl_layout x, residual;
    dnnl_memory_desc_t weights, bias, y; /* plain ones */
    dnnl_data_type_t x_type, weights_type, y_type;
    float x_scale, y_scale, residual_scale;
    float *weight_scales; /* for each output channel; NULL: no 8-bit integers */
    int64_t n_channels;
    bool has_bias;
    md_dnnl_eltwise eltwise;
} conv_setup;

/* f(x) / s as a function of x / s, for those where that is one: positive scaling changes
 * nothing but limits. */
static bool scale_eltwise(md_dnnl_eltwise *eltwise, float scale)
{
    if (eltwise->n == 0 || scale == 1.0F) {
        return true;
    }
    if (eltwise->n != 1) {
        return false;
    }
    if (eltwise->alg[0] == dnnl_eltwise_clip) {
        eltwise->alpha[0] /= scale;
        eltwise->beta[0] /= scale;
        return true;
    }
    return eltwise->alg[0] == dnnl_eltwise_relu;
}

static dnnl_status_t fill_attributes(const md_conv_params *conv, const conv_setup *at,
                                     float *scales, dnnl_post_ops_t ops,
                                     dnnl_primitive_attr_t attr)
{
    dnnl_status_t status = dnnl_success;
    if (at->weight_scales != NULL) {
        for (int64_t k = 0; k < at->n_channels; k++) {
            scales[k] = at->x_scale * at->weight_scales[k] / at->y_scale;
        }
        status = dnnl_primitive_attr_set_output_scales(attr, at->n_channels, 1 << 1, scales);
    }
    if (status == dnnl_success && conv->has_residual) {
        status = dnnl_post_ops_append_sum(ops, at->residual_scale / at->y_scale);
    }
    if (status == dnnl_success) {
        status = md_dnnl_append(ops, &at->eltwise);
    }
    return status == dnnl_success ? dnnl_primitive_attr_set_post_ops(attr, ops) : status;
}

static md_status conv_attributes(const md_conv_params *conv, const conv_setup *at,
                                 dnnl_primitive_attr_t *ret, md_error *err)
{
    dnnl_post_ops_t ops;
    MD_AUTO(md_freep) float *scales = md_malloc((size_t)at->n_channels * sizeof *scales);
    if (scales == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for scales");
    }
    MD_TRY(md_dnnl_attributes(ret, err));
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) {
        status = fill_attributes(conv, at, scales, ops, *ret);
        (void)dnnl_post_ops_destroy(ops);
    }
    if (status != dnnl_success) {
        (void)dnnl_primitive_attr_destroy(*ret);
        return md_dnnl_fail(err, status, "post-operations");
    }
    return MD_OK;
}

static md_status describe_conv(md_dnnl *d, const md_node *node, const conv_setup *at,
                               dnnl_primitive_desc_t *ret, md_error *err)
{
    const md_window *w = &node->p.conv.window;
    dnnl_dims_t strides = {0}, dilates = {0}, left = {0}, right = {0};
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr;
    const dnnl_memory_desc_t x = any_of(&at->x.md, at->x_type);
    const dnnl_memory_desc_t weights = any_of(&at->weights, at->weights_type);
    const dnnl_memory_desc_t y = any_of(&at->y, at->y_type);
    *ret = NULL;
    window_dims(w->stride, w->n_spatial, 0, strides);
    window_dims(w->dilation, w->n_spatial, 1, dilates);
    window_dims(w->pad_begin, w->n_spatial, 0, left);
    window_dims(w->pad_end, w->n_spatial, 0, right);
    for (unsigned i = 0; i < w->n_spatial; i++) {
        /* oneDNN wants pads that fit exactly; what the stride leaves over at the end is cut */
        const unsigned axis = 3 - w->n_spatial + i;
        const int64_t extent = (w->kernel[axis] - 1) * w->dilation[axis] + 1;
        right[i] = (w->out[axis] - 1) * w->stride[axis] + extent - w->in[axis] - left[i];
    }
    if (dnnl_dilated_convolution_forward_desc_init(&desc, dnnl_forward_inference,
                                                   dnnl_convolution_direct, &x, &weights,
                                                   at->has_bias ? &at->bias : NULL, &y, strides,
                                                   dilates, left, right) != dnnl_success) {
        return MD_OK;
    }
    MD_TRY(conv_attributes(&node->p.conv, at, &attr, err));
    md_status status = md_dnnl_describe(d, &desc, attr, ret, err);
    (void)dnnl_primitive_attr_destroy(attr);
    return status;
}

/* The sum is taken with what the output buffer holds before: the residual, in the output's
 * order. Its own buffer serves when nobody reads it later. */
static md_status place_residual(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, const md_dnnl_layout *y,
                                md_dnnl_layout *residual, md_error *err)
{
    const int value = node->inputs[3];
    const bool ours = d->layouts[value] != NULL && !d->layouts[value]->shared &&
                      !graph->values[value].input && plan->plain[value] == MD_PLAN_NO_BUFFER &&
                      d->last_use[value] <= (int)(node - graph->nodes) &&
                      node->inputs[0] != value;
    return md_dnnl_convert(d, plan, node, y, !ours, residual, err);
}

/* x in the order and the numbers of the convolution. */
static md_status place_source(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, const_dnnl_primitive_desc_t pd,
                              conv_setup *at, md_error *err)
{
    const md_dnnl_layout to = {.md = *dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0),
                               .scale = at->x_scale};
    const dnnl_data_type_t before = at->x.md.data_type;
    MD_TRY(md_dnnl_convert(d, plan, node, &to, false, &at->x, err));
    if (before != to.md.data_type && d->narrow[node->inputs[0]]) {
        /* its other readers want it so, too */
        return md_dnnl_result(d, plan, graph, node->inputs[0], &at->x, err);
    }
    return MD_OK;
}

static md_status add_bias(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          const conv_setup *at, int *ret_buffer, md_error *err)
{
    const md_tensor *bias = md_node_operand(graph, node, 2);
    MD_TRY(md_dnnl_constant(d, plan, bias->data, &at->bias, &at->bias, ret_buffer, err));
    float *values = plan->buffers[*ret_buffer].data;
    for (int64_t k = 0; k < at->n_channels && at->weight_scales != NULL; k++) {
        values[k] /= at->x_scale * at->weight_scales[k];
    }
    return MD_OK;
}

static md_status add_conv(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          const_dnnl_primitive_desc_t pd, conv_setup *at, md_error *err)
{
    md_dnnl_arg args[4];
    unsigned n_args = 0;
    md_dnnl_layout y = {.md = *dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0),
                        .scale = at->residual_scale};
    const dnnl_memory_desc_t weights =
        *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    int weights_buffer, bias_buffer;
    /* the residual first: quantising x anew may move it, when the two are one */
    if (node->p.conv.has_residual) {
        MD_TRY(place_residual(d, plan, graph, node, &y, &at->residual, err));
        y.buffer = at->residual.buffer;
    } else {
        MD_TRY(md_dnnl_buffer(plan, &y.md, &y.buffer, err));
    }
    MD_TRY(place_source(d, plan, graph, node, pd, at, err));
    MD_TRY(md_dnnl_constant_scaled(d, plan, md_node_operand(graph, node, 1)->data, &at->weights,
                                   &weights, at->weight_scales, at->n_channels,
                                   node->p.conv.group == 1 ? 1 : 3, &weights_buffer, err));
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_SRC, at->x.buffer, &at->x.md};
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_WEIGHTS, weights_buffer, &weights};
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_DST, y.buffer, &y.md};
    if (at->has_bias) {
        MD_TRY(add_bias(d, plan, graph, node, at, &bias_buffer, err));
        args[n_args++] = (md_dnnl_arg){DNNL_ARG_BIAS, bias_buffer, &at->bias};
    }
    MD_TRY(md_dnnl_add(d, plan, node, pd, args, n_args, err));
    y.scale = at->y_scale;
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}

/* 8-bit integers: symmetric scales of the weights, one for each output channel. */
static md_status quantise_weights(const md_graph *graph, const md_node *node, conv_setup *at,
                                  md_error *err)
{
    const md_tensor *weights = md_node_operand(graph, node, 1);
    const size_t n = weights->n_elements / (size_t)at->n_channels;
    const float *w = weights->data;
    at->weight_scales = md_malloc((size_t)at->n_channels * sizeof(float));
    if (at->weight_scales == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for scales");
    }
    for (int64_t k = 0; k < at->n_channels; k++) {
        float most = 0.0F;
        for (size_t i = 0; i < n; i++) {
            most = fmaxf(most, fabsf(w[(size_t)k * n + i]));
        }
        at->weight_scales[k] = most > 1e-30F ? most / 127.0F : 1.0F;
    }
    return MD_OK;
}

/* In which numbers the node computes. */
static md_status choose_numbers(const md_dnnl *d, const md_graph *graph, const md_node *node,
                                conv_setup *at, md_error *err)
{
    at->x_type = at->weights_type = at->y_type = d->wide;
    at->x_scale = at->y_scale = at->residual_scale = 1.0F;
    if (!md_dnnl_is_narrow_conv(d, graph, node)) {
        return MD_OK;
    }
    (void)md_dnnl_quantization(d, node->inputs[0], &at->x_type, &at->x_scale);
    at->weights_type = dnnl_s8;
    MD_TRY(quantise_weights(graph, node, at, err));
    dnnl_data_type_t type, residual_type = dnnl_data_type_undef;
    float scale, residual_scale = 1.0F;
    if (!d->narrow[node->outputs[0]] ||
        !md_dnnl_quantization(d, node->outputs[0], &type, &scale)) {
        return MD_OK;
    }
    if (node->p.conv.has_residual) {
        const int value = node->inputs[3];
        if (!md_dnnl_quantization(d, value, &residual_type, &residual_scale) ||
            residual_type != type) {
            return MD_OK; /* the sum would read it as the output's type */
        }
    }
    md_dnnl_eltwise scaled = at->eltwise;
    if (scale_eltwise(&scaled, scale)) {
        at->y_type = type;
        at->y_scale = scale;
        at->eltwise = scaled;
        at->residual_scale = residual_scale;
    }
    return MD_OK;
}

static md_status emit_conv(md_dnnl *d, md_plan *plan, const md_graph *graph,
                           const md_node *node, conv_setup *at, bool *ret_done, md_error *err)
{
    dnnl_primitive_desc_t pd;
    MD_TRY(choose_numbers(d, graph, node, at, err));
    MD_TRY(describe_conv(d, node, at, &pd, err));
    if (pd == NULL) {
        return MD_OK;
    }
    md_status status = add_conv(d, plan, graph, node, pd, at, err);
    (void)dnnl_primitive_desc_destroy(pd);
    *ret_done = status == MD_OK;
    return status;
}

const md_node *md_dnnl_only_reader(const md_graph *graph, int value, const md_node *after)
{
    const md_node *reader = NULL;
    if (graph->values[value].kept) {
        return NULL;
    }
    for (const md_node *node = after + 1; node < graph->nodes + graph->n_nodes; node++) {
        for (unsigned i = 0; i < node->n_inputs && node->op != MD_OP_NONE; i++) {
            if (node->inputs[i] == value) {
                if (reader != NULL) {
                    return NULL;
                }
                reader = node;
            }
        }
    }
    return reader;
}

md_status md_dnnl_emit_conv(md_dnnl *d, md_plan *plan, const md_graph *graph,
                            const md_node *node, bool *ret_done, md_error *err)
{
    conv_setup at = {.has_bias = md_node_in(graph, node, 2) != NULL};
    bool usable, residual_usable = true;
    if (!graph->values[node->inputs[1]].constant ||
        (at.has_bias && !graph->values[node->inputs[2]].constant) ||
        !md_dnnl_eltwise_of(&node->p.conv.activation, &at.eltwise)) {
        return MD_OK;
    }
    const md_node *norm = d->waiting[node->inputs[0]];
    if (norm != NULL && norm->op == MD_OP_CONV) {
        *ret_done = true;
        return md_dnnl_join_inverted(d, plan, graph, node, err);
    }
    MD_TRY(md_dnnl_source(d, plan, graph, norm == NULL ? node->inputs[0] : norm->inputs[0],
                          &usable, &at.x, err));
    if (norm != NULL) {
        MD_TRY(md_dnnl_emit_pointwise(d, plan, graph, node, norm, &at.x, ret_done, err));
        return *ret_done ? MD_OK : md_fail(err, MD_INTERNAL, "a batch normalisation waits");
    }
    if (usable) {
        MD_TRY(md_dnnl_begin_inverted(d, plan, graph, node, &at.x, ret_done, err));
        if (*ret_done) {
            return MD_OK;
        }
    }
    if (node->p.conv.has_residual) {
        MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[3], &residual_usable, &at.residual,
                              err));
    }
    if (!usable || !residual_usable || !md_dnnl_plain(md_node_out(graph, node, 0), &at.y) ||
        !weights_desc(md_node_operand(graph, node, 1), node->p.conv.group, &at.weights) ||
        (at.has_bias && !md_dnnl_plain(md_node_operand(graph, node, 2), &at.bias))) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_emit_winograd(d, plan, graph, node, &at.x, &at.residual, ret_done, err));
    if (*ret_done) {
        return MD_OK;
    }
    at.n_channels = md_node_operand(graph, node, 1)->dims[0];
    md_status status = emit_conv(d, plan, graph, node, &at, ret_done, err);
    md_free(at.weight_scales);
    return status;
}

/* Pooling lives here because it shares the window. */
md_status md_dnnl_emit_pool(md_dnnl *d, md_plan *plan, const md_graph *graph,
                            const md_node *node, bool *ret_done, md_error *err)
{
    const md_pool_params *pool = &node->p.pool;
    const md_window *w = &pool->window;
    dnnl_dims_t strides = {0}, kernel = {0}, dilates = {0}, left = {0}, right = {0};
    md_dnnl_layout x, y;
    bool usable;
    if (node->n_outputs > 1 || pool->p > 0) {
        return MD_OK; /* indices of maxima, or an Lp pool */
    }
    window_dims(w->stride, w->n_spatial, 0, strides);
    window_dims(w->kernel, w->n_spatial, 0, kernel);
    window_dims(w->dilation, w->n_spatial, 1, dilates);
    window_dims(w->pad_begin, w->n_spatial, 0, left);
    for (unsigned i = 0; i < w->n_spatial; i++) {
        const unsigned axis = 3 - w->n_spatial + i;
        right[i] =
            (w->out[axis] - 1) * w->stride[axis] + w->kernel[axis] - w->in[axis] - left[i];
        /* oneDNN computes dilated windows slowly, and counts the overhang of ceil_mode into
         * the mean, where ONNX does not */
        if (dilates[i] != 0 ||
            (pool->average && pool->count_include_pad && right[i] > w->pad_end[axis])) {
            return MD_OK;
        }
    }
    MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[0], &usable, &x, err));
    if (!usable || !md_dnnl_plain(md_node_out(graph, node, 0), &y.md)) {
        return MD_OK;
    }
    /* the largest of integers, or the mean of a few, keeps their scale */
    if (x.shared || !md_dnnl_is_narrow_type(x.md.data_type) || !d->narrow[node->inputs[0]]) {
        MD_TRY(md_dnnl_dense(d, plan, graph, node, node->inputs[0], &x, err));
    }
    dnnl_pooling_v2_desc_t desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    const dnnl_memory_desc_t any = any_of(&y.md, x.md.data_type);
    if (dnnl_pooling_v2_forward_desc_init(
            &desc, dnnl_forward_inference,
            !pool->average            ? dnnl_pooling_max
            : pool->count_include_pad ? dnnl_pooling_avg_include_padding
                                      : dnnl_pooling_avg_exclude_padding,
            &x.md, &any, strides, kernel, dilates, left, right) != dnnl_success) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_attributes(&attr, err));
    md_status status = md_dnnl_describe(d, &desc, attr, &pd, err);
    (void)dnnl_primitive_attr_destroy(attr);
    if (status != MD_OK || pd == NULL) {
        return status;
    }
    y.md = *dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    y.scale = x.scale;
    y.shared = false;
    status = md_dnnl_buffer(plan, &y.md, &y.buffer, err);
    if (status == MD_OK) {
        const md_dnnl_arg args[] = {{DNNL_ARG_SRC, x.buffer, &x.md},
                                    {DNNL_ARG_DST, y.buffer, &y.md}};
        status = md_dnnl_add(d, plan, node, pd, args, 2, err);
    }
    if (status == MD_OK) {
        status = md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
        *ret_done = status == MD_OK;
    }
    (void)dnnl_primitive_desc_destroy(pd);
    return status;
}
