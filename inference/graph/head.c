#include "inference/graph/head.h"

#include <string.h>

static const md_node *producer(const md_graph *graph, int value)
{
    for (unsigned i = graph->n_nodes; i-- > 0;) {
        const md_node *node = &graph->nodes[i];
        for (unsigned j = 0; j < node->n_outputs && node->op != MD_OP_NONE; j++) {
            if (node->outputs[j] == value) {
                return node;
            }
        }
    }
    return NULL;
}

/* Step over adding a constant that is the same for all images. */
static int skip_bias(const md_graph *graph, int value)
{
    const md_node *node = producer(graph, value);
    if (node == NULL || node->op != MD_OP_BINARY || node->p.binary.function != MD_BINARY_ADD) {
        return value;
    }
    for (unsigned i = 0; i < 2; i++) {
        const md_value *bias = &graph->values[node->inputs[i]];
        const md_tensor *rest = md_node_operand(graph, node, 1 - i);
        const md_tensor *out = md_graph_tensor(graph, value);
        if (bias->constant && rest->n_dims == out->n_dims &&
            memcmp(rest->dims, out->dims, out->n_dims * sizeof *out->dims) == 0) {
            return node->inputs[1 - i];
        }
    }
    return value;
}

/* Mean over all positions of a [N,C,h,w] value; ReduceMean over them was imported as a pool. */
static bool is_global_mean(const md_graph *graph, const md_node *node)
{
    const md_tensor *x = md_node_operand(graph, node, 0);
    if (x->n_dims != 4 || node->op != MD_OP_POOL || !node->p.pool.average) {
        return false;
    }
    const md_window *w = &node->p.pool.window;
    for (unsigned i = 0; i < 3; i++) {
        if (w->kernel[i] != w->in[i] || w->out[i] != 1 || w->pad_begin[i] != 0 ||
            w->pad_end[i] != 0) {
            return false;
        }
    }
    return true;
}

/* The features behind a [N,C] value, or none. */
static int pooled_from(const md_graph *graph, int value)
{
    const md_tensor *flat = md_graph_tensor(graph, value);
    const md_node *node = producer(graph, value);
    while (node != NULL && node->op == MD_OP_COPY) {
        node = producer(graph, node->inputs[0]);
    }
    if (node == NULL || !is_global_mean(graph, node)) {
        return MD_GRAPH_NO_VALUE;
    }
    const md_tensor *x = md_node_operand(graph, node, 0);
    return x->dims[0] == flat->dims[0] && x->dims[1] == flat->dims[1] ? node->inputs[0]
                                                                      : MD_GRAPH_NO_VALUE;
}

/* The Gemm or MatMul with constant weights that makes `output`, or NULL. */
static const md_node *linear_before(const md_graph *graph, int output)
{
    const md_node *node = producer(graph, skip_bias(graph, output));
    if (node == NULL || (node->op != MD_OP_GEMM && node->op != MD_OP_MATMUL)) {
        return NULL;
    }
    const bool gemm = node->op == MD_OP_GEMM;
    const md_value *weights = &graph->values[node->inputs[1]];
    const md_tensor *x = md_node_operand(graph, node, 0), *c = md_node_in(graph, node, 2);
    return !weights->constant || weights->tensor.n_dims != 2 || x->n_dims != 2 ||
                   (gemm && (node->p.gemm.transpose_a ||
                             (c != NULL && !graph->values[node->inputs[2]].constant)))
               ? NULL
               : node;
}

int md_head_input(const md_graph *graph, int output)
{
    const md_node *last = producer(graph, output);
    if (last != NULL &&
        (last->op == MD_OP_SOFTMAX ||
         (last->op == MD_OP_UNARY && last->p.unary.function == MD_UNARY_SIGMOID))) {
        output = last->inputs[0];
    }
    const md_node *node = linear_before(graph, output);
    return node == NULL ? MD_GRAPH_NO_VALUE : node->inputs[0];
}

md_status md_head_find(const md_graph *graph, int output, md_pool *pool, md_head *ret_head,
                       md_error *err)
{
    ret_head->features = MD_GRAPH_NO_VALUE;
    const md_node *node = linear_before(graph, output);
    if (node == NULL) {
        return MD_OK;
    }
    const bool gemm = node->op == MD_OP_GEMM;
    const md_value *weights = &graph->values[node->inputs[1]];
    const int features = pooled_from(graph, node->inputs[0]);
    if (features == MD_GRAPH_NO_VALUE || !graph->values[features].kept) {
        return MD_OK; /* nobody can read the features, and the weights may be many */
    }
    const bool transposed = gemm && node->p.gemm.transpose_b; /* stored as [K,C] */
    const float alpha = gemm ? node->p.gemm.alpha : 1.0F;
    const int64_t n_classes = weights->tensor.dims[transposed ? 0 : 1];
    const int64_t n_channels = weights->tensor.dims[transposed ? 1 : 0];
    const int64_t dims[2] = {n_classes, n_channels};
    const float *from = weights->tensor.data;
    MD_TRY(md_tensor_shape(&ret_head->weights, MD_F32, 2, dims, err));
    float *to = md_pool_data(pool, ret_head->weights.n_elements * sizeof *to);
    if (to == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the head's weights");
    }
    for (int64_t k = 0; k < n_classes; k++) {
        for (int64_t i = 0; i < n_channels; i++) {
            to[k * n_channels + i] =
                alpha * from[transposed ? k * n_channels + i : i * n_classes + k];
        }
    }
    ret_head->weights.data = to;
    ret_head->features = features;
    return MD_OK;
}
