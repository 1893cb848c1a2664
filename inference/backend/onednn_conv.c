#include "inference/backend/onednn_private.h"

#include <string.h>

/* The last n of three window lengths as oneDNN counts them; minus: dilation starts at 0 there.
 */
static void window_dims(const int64_t *lengths, unsigned n, int64_t minus, dnnl_dims_t ret)
{
    for (unsigned i = 0; i < n; i++) {
        ret[i] = lengths[3 - n + i] - minus;
    }
}

static md_status conv_attributes(const md_conv_params *conv, const md_dnnl_eltwise *eltwise,
                                 dnnl_primitive_attr_t *ret, md_error *err)
{
    dnnl_post_ops_t ops;
    MD_TRY(md_dnnl_attributes(ret, err));
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) {
        if (conv->has_residual) {
            status = dnnl_post_ops_append_sum(ops, 1.0F);
        }
        if (status == dnnl_success) {
            status = md_dnnl_append(ops, eltwise);
        }
        if (status == dnnl_success) {
            status = dnnl_primitive_attr_set_post_ops(*ret, ops);
        }
        (void)dnnl_post_ops_destroy(ops);
    }
    if (status != dnnl_success) {
        (void)dnnl_primitive_attr_destroy(*ret);
        return md_dnnl_fail(err, status, "post-operations");
    }
    return MD_OK;
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

static dnnl_memory_desc_t any_of(const dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_t any;
    (void)dnnl_memory_desc_init_by_tag(&any, md->ndims, md->dims, dnnl_f32,
                                       dnnl_format_tag_any);
    return any;
}

typedef struct conv_layouts {
    md_dnnl_layout x, residual;
    dnnl_memory_desc_t weights, bias, y; /* plain ones */
    bool has_bias;
} conv_layouts;

static md_status describe_conv(md_dnnl *d, const md_node *node, const conv_layouts *at,
                               const md_dnnl_eltwise *eltwise, dnnl_primitive_desc_t *ret,
                               md_error *err)
{
    const md_window *w = &node->p.conv.window;
    dnnl_dims_t strides = {0}, dilates = {0}, left = {0}, right = {0};
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr;
    const dnnl_memory_desc_t x = any_of(&at->x.md), weights = any_of(&at->weights);
    const dnnl_memory_desc_t y = any_of(&at->y);
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
    MD_TRY(conv_attributes(&node->p.conv, eltwise, &attr, err));
    md_status status = md_dnnl_describe(d, &desc, attr, ret, err);
    (void)dnnl_primitive_attr_destroy(attr);
    return status;
}

/* The sum is taken with what the output buffer holds before: the residual, in the output's
 * order. Its own buffer serves when nobody reads it later. */
static md_status place_residual(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, const dnnl_memory_desc_t *y,
                                md_dnnl_layout *residual, md_error *err)
{
    const int value = node->inputs[3];
    const bool ours = d->layouts[value] != NULL && !d->layouts[value]->shared &&
                      !graph->values[value].input && plan->plain[value] == MD_PLAN_NO_BUFFER &&
                      d->last_use[value] <= (int)(node - graph->nodes) &&
                      node->inputs[0] != value;
    return md_dnnl_reorder(d, plan, node, y, !ours, residual, err);
}

static md_status add_conv(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          const_dnnl_primitive_desc_t pd, conv_layouts *at, md_error *err)
{
    md_dnnl_arg args[4];
    unsigned n_args = 0;
    md_dnnl_layout y = {.md = *dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0)};
    const dnnl_memory_desc_t weights =
        *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    int weights_buffer, bias_buffer;
    MD_TRY(md_dnnl_reorder(d, plan, node,
                           dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0), false,
                           &at->x, err));
    MD_TRY(md_dnnl_constant(d, plan, md_node_operand(graph, node, 1)->data, &at->weights,
                            &weights, &weights_buffer, err));
    if (node->p.conv.has_residual) {
        MD_TRY(place_residual(d, plan, graph, node, &y.md, &at->residual, err));
        y.buffer = at->residual.buffer;
    } else {
        MD_TRY(md_dnnl_buffer(plan, &y.md, &y.buffer, err));
    }
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_SRC, at->x.buffer, &at->x.md};
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_WEIGHTS, weights_buffer, &weights};
    args[n_args++] = (md_dnnl_arg){DNNL_ARG_DST, y.buffer, &y.md};
    if (at->has_bias) {
        MD_TRY(md_dnnl_constant(d, plan, md_node_operand(graph, node, 2)->data, &at->bias,
                                &at->bias, &bias_buffer, err));
        args[n_args++] = (md_dnnl_arg){DNNL_ARG_BIAS, bias_buffer, &at->bias};
    }
    MD_TRY(md_dnnl_add(d, plan, node, pd, args, n_args, err));
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}

md_status md_dnnl_emit_conv(md_dnnl *d, md_plan *plan, const md_graph *graph,
                            const md_node *node, bool *ret_done, md_error *err)
{
    conv_layouts at;
    md_dnnl_eltwise eltwise;
    dnnl_primitive_desc_t pd;
    bool usable, residual_usable = true;
    at.has_bias = md_node_in(graph, node, 2) != NULL;
    if (!graph->values[node->inputs[1]].constant ||
        (at.has_bias && !graph->values[node->inputs[2]].constant) ||
        !md_dnnl_eltwise_of(&node->p.conv.activation, &eltwise)) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[0], &usable, &at.x, err));
    if (node->p.conv.has_residual) {
        MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[3], &residual_usable, &at.residual,
                              err));
    }
    if (!usable || !residual_usable || !md_dnnl_plain(md_node_out(graph, node, 0), &at.y) ||
        !weights_desc(md_node_operand(graph, node, 1), node->p.conv.group, &at.weights) ||
        (at.has_bias && !md_dnnl_plain(md_node_operand(graph, node, 2), &at.bias))) {
        return MD_OK;
    }
    MD_TRY(describe_conv(d, node, &at, &eltwise, &pd, err));
    if (pd == NULL) {
        return MD_OK;
    }
    md_status status = add_conv(d, plan, graph, node, pd, &at, err);
    (void)dnnl_primitive_desc_destroy(pd);
    *ret_done = status == MD_OK;
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
    MD_TRY(md_dnnl_dense(d, plan, graph, node, node->inputs[0], &x, err));
    dnnl_pooling_v2_desc_t desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    const dnnl_memory_desc_t any = any_of(&y.md);
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
