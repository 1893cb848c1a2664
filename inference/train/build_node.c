#include "inference/train/build.h"

#include "inference/backend/element.h"

#include <math.h>
#include <string.h>

static md_status alias(md_build *b, const md_node *node, int feature)
{
    b->features[node->outputs[0]] = feature;
    b->net->features[feature].shared =
        b->net->features[feature].shared || b->readers[node->inputs[0]] > 1;
    return MD_OK;
}

static md_status unsupported(const md_node *node, md_error *err)
{
    return md_node_fail(err, node, MD_UNSUPPORTED, "the operator cannot be trained");
}

md_train_layer *md_build_only_reader(const md_build *b, const md_node *node, unsigned i)
{
    const int value = node->inputs[i], feature = b->features[value];
    if (feature == MD_NO_FEATURE || b->readers[value] != 1 ||
        b->net->features[feature].shared) {
        return NULL;
    }
    const int producer = b->net->features[feature].producer;
    return producer < 0 ? NULL : &b->net->layers[producer];
}

static bool is_plane(const md_window *w)
{
    return w->n_spatial == 2;
}

static md_status build_conv(md_build *b, const md_node *node, md_error *err)
{
    const md_train_layer_kind *kind = &md_train_layer_conv_blas;
    md_train_layer *layer;
    int x;
#ifdef MEDAID_HAVE_ONEDNN
    kind = b->trainer->dnnl != NULL ? &md_train_layer_conv_dnnl : kind;
#endif
    if (!is_plane(&node->p.conv.window)) {
        return md_node_fail(err, node, MD_UNSUPPORTED, "only convolutions over H and W");
    }
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    MD_TRY(md_build_layer(b, kind, node, &x, 1, node->outputs[0], &layer, err));
    MD_TRY(md_build_parameter(b, layer, node, 1, 0, MD_ROLE_WEIGHT, err));
    return md_build_parameter(b, layer, node, 2, 1, MD_ROLE_OFFSET, err);
}

static md_status build_norm(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    int x;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    MD_TRY(md_build_layer(b, &md_train_layer_norm, node, &x, 1, node->outputs[0], &layer, err));
    for (unsigned i = 0; i < 4; i++) {
        MD_TRY(md_build_parameter(b, layer, node, i + 1, i,
                                  i < 2 ? MD_ROLE_OFFSET : MD_ROLE_BUFFER, err));
    }
    layer->saved =
        md_pool_alloc(&b->net->pool, 6 * (size_t)b->net->features[x].c * sizeof *layer->saved);
    return layer->saved == NULL ? md_fail(err, MD_NOMEM, "no memory for a layer") : MD_OK;
}

bool md_build_draw_in(md_build *b, const md_node *node, const md_clamp *clamp)
{
    md_train_layer *layer = md_build_only_reader(b, node, 0);
    if (layer == NULL || layer->clamped ||
        (layer->kind != &md_train_layer_norm && layer->kind != &md_train_layer_add &&
         layer->kind != &md_train_layer_conv_blas && layer->kind != &md_train_layer_linear
#ifdef MEDAID_HAVE_ONEDNN
         && layer->kind != &md_train_layer_conv_dnnl
#endif
         )) {
        return false;
    }
    layer->clamped = true;
    layer->clamp = *clamp;
    b->features[node->outputs[0]] = layer->output;
    return true;
}

static md_status build_unary(md_build *b, const md_node *node, md_error *err)
{
    const md_activation *f = &node->p.unary;
    md_train_layer *layer;
    int x;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    switch ((int)f->function) {
    case MD_UNARY_IDENTITY:
        return alias(b, node, x);
    case MD_UNARY_RELU:
        if (md_build_draw_in(b, node, &(md_clamp){0.0F, INFINITY})) {
            return MD_OK;
        }
        break;
    case MD_UNARY_CLIP:
        if (f->alpha < f->beta && md_build_draw_in(b, node, &(md_clamp){f->alpha, f->beta})) {
            return MD_OK;
        }
        break;
    case MD_UNARY_LEAKY_RELU:
    case MD_UNARY_SIGMOID:
    case MD_UNARY_TANH:
    case MD_UNARY_HARD_SIGMOID:
    case MD_UNARY_HARD_SWISH:
    case MD_UNARY_SWISH:
    case MD_UNARY_HEAVISIDE:
        break;
    default:
        return unsupported(node, err);
    }
    return md_build_layer(b, &md_train_layer_unary, node, &x, 1, node->outputs[0], &layer, err);
}

static md_status build_step(md_build *b, const md_node *node, int x, float threshold,
                            md_error *err)
{
    md_node step = *node;
    md_train_layer *layer;
    step.p.unary = (md_activation){MD_UNARY_HEAVISIDE, threshold, 0.0F};
    return md_build_layer(b, &md_train_layer_unary, &step, &x, 1, node->outputs[0], &layer,
                          err);
}

bool md_build_scalar(const md_build *b, int value, float *ret)
{
    const md_value *v = &b->graph.values[value];
    if (!v->constant || v->tensor.n_elements != 1 || !md_is_real(v->tensor.dtype)) {
        return false;
    }
    *ret = (float)md_element_real(&v->tensor, 0);
    return true;
}

/* x > threshold: waits for the Cast or Where that makes numbers of it. */
static md_status build_greater(md_build *b, const md_node *node, md_error *err)
{
    float threshold;
    int x;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    if (!md_build_scalar(b, node->inputs[1], &threshold)) {
        return unsupported(node, err);
    }
    b->steps[node->outputs[0]] = x;
    b->thresholds[node->outputs[0]] = threshold;
    return MD_OK;
}

static md_status build_cast(md_build *b, const md_node *node, md_error *err)
{
    const int from = node->inputs[0];
    if (b->steps[from] == MD_NO_FEATURE) {
        return unsupported(node, err);
    }
    return build_step(b, node, b->steps[from], b->thresholds[from], err);
}

static md_status build_where(md_build *b, const md_node *node, md_error *err)
{
    const int from = node->inputs[0];
    float high, low;
    if (b->steps[from] == MD_NO_FEATURE || !md_build_scalar(b, node->inputs[1], &high) ||
        !md_build_scalar(b, node->inputs[2], &low) || high != 1.0F || low != 0.0F) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "only the step function Where(x > t, 1, 0) can be trained");
    }
    return build_step(b, node, b->steps[from], b->thresholds[from], err);
}

/* Whether a constant has one element for each channel of the feature, in the place where
 * broadcasting puts it. */
static bool is_for_channels(const md_tensor *constant, const md_tensor *x)
{
    const int64_t c = x->dims[1];
    const unsigned channel_axis = x->n_dims - 2; /* counted from the last */
    if ((int64_t)constant->n_elements != c || constant->n_dims > x->n_dims ||
        constant->n_dims <= channel_axis) {
        return false;
    }
    for (unsigned i = 0; i < constant->n_dims; i++) {
        const int64_t length = constant->dims[constant->n_dims - 1 - i];
        if (length != (i == channel_axis ? c : 1)) {
            return false;
        }
    }
    return true;
}

/* A feature and a constant: constant(1) of the node's operands. */
static md_status build_with_constant(md_build *b, const md_node *node, unsigned constant,
                                     md_error *err)
{
    const md_binary f = node->p.binary.function;
    const int value = node->inputs[constant];
    const md_tensor *x = md_node_operand(&b->graph, node, 1 - constant);
    md_train_layer *layer;
    float s = 0.0F;
    int feature;
    MD_TRY(md_build_feature(b, node, 1 - constant, &feature, err));
    const bool for_channels = is_for_channels(md_graph_tensor(&b->graph, value), x);
    const bool scalar =
        !(for_channels && b->uses[value].initializer) && md_build_scalar(b, value, &s);
    if (f != MD_BINARY_ADD && f != MD_BINARY_MUL &&
        !(scalar && constant == 1 && (f == MD_BINARY_SUB || f == MD_BINARY_DIV))) {
        return unsupported(node, err);
    }
    if (scalar && md_node_out(&b->graph, node, 0)->n_elements != x->n_elements) {
        return unsupported(node, err);
    }
    if (!scalar && !for_channels) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "the constant has neither one element nor one for each channel");
    }
    MD_TRY(md_build_layer(b, &md_train_layer_scale, node, &feature, 1, node->outputs[0], &layer,
                          err));
    layer->scalar = s;
    if (scalar) {
        layer->scalar = f == MD_BINARY_SUB ? -s : f == MD_BINARY_DIV ? 1.0F / s : s;
        layer->node.p.binary.function = f == MD_BINARY_SUB   ? MD_BINARY_ADD
                                        : f == MD_BINARY_DIV ? MD_BINARY_MUL
                                                             : f;
        return MD_OK;
    }
    return md_build_parameter(b, layer, node, constant, f == MD_BINARY_MUL ? 0 : 1,
                              MD_ROLE_OFFSET, err);
}

/* An addition becomes part of the normalisation that makes one of its operands, where the other
 * one is there by then. */
static bool draw_residual(md_build *b, const md_node *node)
{
    for (unsigned i = 0; i < 2; i++) {
        md_train_layer *layer = md_build_only_reader(b, node, i);
        const int other = b->features[node->inputs[1 - i]];
        if (layer != NULL && layer->kind == &md_train_layer_norm && !layer->clamped &&
            !layer->residual && node->inputs[0] != node->inputs[1] &&
            b->net->features[other].producer < (int)layer->index &&
            b->net->features[other].bf16 == b->net->features[layer->output].bf16) {
            layer->residual = true;
            layer->inputs[layer->n_inputs++] = other;
            b->features[node->outputs[0]] = layer->output;
            return true;
        }
    }
    return false;
}

static md_status build_binary(md_build *b, const md_node *node, md_error *err)
{
    const md_binary f = node->p.binary.function;
    md_train_layer *layer;
    int in[2];
    if (f == MD_BINARY_GREATER) {
        return build_greater(b, node, err);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (b->graph.values[node->inputs[i]].constant) {
            return build_with_constant(b, node, i, err);
        }
    }
    if (f != MD_BINARY_ADD && f != MD_BINARY_MUL) {
        return unsupported(node, err);
    }
    MD_TRY(md_build_feature(b, node, 0, &in[0], err));
    MD_TRY(md_build_feature(b, node, 1, &in[1], err));
    const md_feature *x = &b->net->features[in[0]], *y = &b->net->features[in[1]];
    if (x->n_per_image < y->n_per_image) {
        const int swap = in[0];
        in[0] = in[1];
        in[1] = swap;
        x = &b->net->features[in[0]];
        y = &b->net->features[in[1]];
    }
    const bool equal = x->c == y->c && x->h == y->h && x->w == y->w;
    const md_tensor *out = md_node_out(&b->graph, node, 0);
    if (out->n_elements != x->n_per_image * (size_t)b->net->batch) {
        return unsupported(node, err);
    }
    if (equal && f == MD_BINARY_ADD && draw_residual(b, node)) {
        return MD_OK;
    }
    const bool gate = !equal && f == MD_BINARY_MUL && x->c == y->c && y->h * y->w == 1;
    if (!equal && !gate) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "operands of %lld x %lld x %lld and %lld x %lld x %lld",
                            (long long)x->c, (long long)x->h, (long long)x->w, (long long)y->c,
                            (long long)y->h, (long long)y->w);
    }
    MD_TRY(md_build_as(b, node, gate ? false : x->bf16, &in[1], err));
    const md_train_layer_kind *kind = gate                 ? &md_train_layer_gate
                                      : f == MD_BINARY_ADD ? &md_train_layer_add
                                                           : &md_train_layer_multiply;
    return md_build_layer(b, kind, node, in, 2, node->outputs[0], &layer, err);
}

static md_status build_pool(md_build *b, const md_node *node, md_error *err)
{
    const md_pool_params *pool = &node->p.pool;
    const md_window *w = &pool->window;
    const md_train_layer_kind *kind =
        pool->average ? &md_train_layer_mean_pool : &md_train_layer_max_pool;
    md_train_layer *layer;
    int x;
    if (!is_plane(w) || pool->p > 0 || node->n_outputs > 1) {
        return unsupported(node, err);
    }
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    if (pool->average && w->out[1] == 1 && w->out[2] == 1 && w->kernel[1] == w->in[1] &&
        w->kernel[2] == w->in[2] && w->dilation[1] == 1 && w->dilation[2] == 1 &&
        w->pad_begin[1] == 0 && w->pad_begin[2] == 0) {
        kind = &md_train_layer_global_mean;
    } else if (w->kernel[1] * w->kernel[2] > MD_TRAIN_MAX_WINDOW) {
        return md_node_fail(
            err, node, MD_UNSUPPORTED, "a window of %lld x %lld, at most %d elements",
            (long long)w->kernel[1], (long long)w->kernel[2], MD_TRAIN_MAX_WINDOW);
    }
    MD_TRY(md_build_layer(b, kind, node, &x, 1, node->outputs[0], &layer, err));
    if (kind == &md_train_layer_max_pool) {
        layer->kept_bytes = b->net->features[layer->output].n_per_image;
    }
    return MD_OK;
}

/* Flatten and Reshape that keep the batch: to [N,K], in the order of the planes. */
static md_status build_copy(md_build *b, const md_node *node, md_error *err)
{
    const md_tensor *y = md_node_out(&b->graph, node, 0);
    md_train_layer *layer;
    int x;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    const md_feature *f = &b->net->features[x];
    const int64_t c = y->n_dims > 1 ? y->dims[1] : 0;
    if ((y->n_dims != 2 && y->n_dims != 4) || y->dims[0] != b->net->batch) {
        return unsupported(node, err);
    }
    if (f->h * f->w == 1 && c == f->c) {
        return alias(b, node, x);
    }
    if (c != (int64_t)f->n_per_image) {
        return unsupported(node, err);
    }
    return md_build_layer(b, &md_train_layer_flatten, node, &x, 1, node->outputs[0], &layer,
                          err);
}

static md_status build_concat(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    int in[MD_GRAPH_MAX_IO];
    if (node->p.axis.axis != 1) {
        return md_node_fail(err, node, MD_UNSUPPORTED, "only channels can be joined");
    }
    for (unsigned i = 0; i < node->n_inputs; i++) {
        MD_TRY(md_build_feature(b, node, i, &in[i], err));
        MD_TRY(md_build_as(b, node, b->net->features[in[0]].bf16, &in[i], err));
    }
    return md_build_layer(b, &md_train_layer_concat, node, in, node->n_inputs, node->outputs[0],
                          &layer, err);
}

/* Gemm and MatMul of a feature [N,K] with a weight. */
static md_status build_linear(md_build *b, const md_node *node, md_error *err)
{
    const bool gemm = node->op == MD_OP_GEMM;
    md_node made = *node;
    md_train_layer *layer;
    int x;
    if (!gemm) {
        memset(&made.p, 0, sizeof made.p);
        made.p.gemm.alpha = made.p.gemm.beta = 1.0F;
    }
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    const md_tensor *y = md_node_out(&b->graph, node, 0);
    const md_tensor *weight = md_node_operand(&b->graph, node, 1);
    if (made.p.gemm.transpose_a || y->n_dims != 2 || weight->n_dims != 2 ||
        b->net->features[x].h * b->net->features[x].w != 1) {
        return unsupported(node, err);
    }
    const md_tensor *bias = gemm ? md_node_in(&b->graph, node, 2) : NULL;
    if (bias != NULL && (int64_t)bias->n_elements != y->dims[1]) {
        return md_node_fail(err, node, MD_UNSUPPORTED, "a bias of %zu elements for %lld",
                            bias->n_elements, (long long)y->dims[1]);
    }
    MD_TRY(md_build_as(b, node, false, &x, err));
    MD_TRY(
        md_build_layer(b, &md_train_layer_linear, &made, &x, 1, node->outputs[0], &layer, err));
    MD_TRY(md_build_parameter(b, layer, node, 1, 0, MD_ROLE_WEIGHT, err));
    return gemm ? md_build_parameter(b, layer, node, 2, 1, MD_ROLE_OFFSET, err) : MD_OK;
}

md_status md_build_node(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    int x;
    switch ((int)node->op) {
    case MD_OP_CONV:
        return build_conv(b, node, err);
    case MD_OP_BATCH_NORM:
        return build_norm(b, node, err);
    case MD_OP_UNARY:
        return build_unary(b, node, err);
    case MD_OP_BINARY:
        return build_binary(b, node, err);
    case MD_OP_CAST:
        return build_cast(b, node, err);
    case MD_OP_WHERE:
        return build_where(b, node, err);
    case MD_OP_POOL:
        return build_pool(b, node, err);
    case MD_OP_COPY:
        return build_copy(b, node, err);
    case MD_OP_CONCAT:
        return build_concat(b, node, err);
    case MD_OP_GEMM:
    case MD_OP_MATMUL:
        return build_linear(b, node, err);
    case MD_OP_DROPOUT:
        MD_TRY(md_build_feature(b, node, 0, &x, err));
        return node->p.dropout.ratio > 0.0F
                   ? md_build_layer(b, &md_train_layer_dropout, node, &x, 1, node->outputs[0],
                                    &layer, err)
                   : alias(b, node, x);
    default:
        return unsupported(node, err);
    }
}
