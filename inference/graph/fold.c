#include "inference/backend/kernels.h"
#include "inference/graph/node_import.h"

/* Beyond this many elements a constant result is computed in each run instead: folding is for
 * shapes, scales and small tables, and must not let a small file ask for much work. */
#define MAX_FOLDED_ELEMENTS ((size_t)1 << 24)
/* Of all nodes together: an unrolled loop is many nodes. */
#define MAX_ALL_ELEMENTS ((size_t)1 << 30)

enum {
    MAX_IO = 16
};

static bool worth_folding(const md_graph *graph, const md_node *node)
{
    static const md_op heavy[] = {MD_OP_POOL, MD_OP_LRN,         MD_OP_CONV_INTEGER,
                                  MD_OP_NMS,  MD_OP_GRID_SAMPLE, MD_OP_MATMUL_INTEGER,
                                  MD_OP_DET,  MD_OP_ROI_ALIGN};
    for (size_t i = 0; i < sizeof heavy / sizeof *heavy; i++) {
        if (node->op == heavy[i]) {
            return false;
        }
    }
    /* in a graph for training neither is what its kernel computes */
    if (graph->training && (node->op == MD_OP_BATCH_NORM || node->op == MD_OP_DROPOUT)) {
        return false;
    }
    if (md_kernel_needs_sgemm(node->op) || node->n_inputs > MAX_IO ||
        node->n_outputs > MAX_IO) {
        return false;
    }
    size_t n = 0;
    for (unsigned i = 0; i < node->n_outputs; i++) {
        n += md_node_out(graph, node, i)->n_elements;
    }
    for (unsigned i = 0; i < node->n_inputs; i++) {
        const md_tensor *tensor = md_node_in(graph, node, i);
        n += tensor == NULL ? 0 : tensor->n_elements;
    }
    return n <= MAX_FOLDED_ELEMENTS && n <= MAX_ALL_ELEMENTS - graph->n_folded;
}

md_status md_graph_fold(md_graph *graph, const md_node *node, bool *ret_done, md_error *err)
{
    *ret_done = false;
    if (!worth_folding(graph, node)) {
        return MD_OK;
    }
    for (unsigned i = 0; i < node->n_inputs; i++) {
        const md_tensor *tensor = md_node_in(graph, node, i);
        graph->n_folded += tensor == NULL ? 0 : tensor->n_elements;
    }
    for (unsigned i = 0; i < node->n_outputs; i++) {
        graph->n_folded += md_node_out(graph, node, i)->n_elements;
    }
    const md_tensor *in[MAX_IO];
    md_tensor *out[MAX_IO];
    size_t n_bytes;
    md_error inner = {0};
    for (unsigned i = 0; i < node->n_inputs; i++) {
        in[i] = md_node_in(graph, node, i);
    }
    md_status status = md_kernel_workspace(graph, node, 1, &n_bytes, &inner);
    MD_AUTO(md_freep) void *workspace = NULL;
    if (status == MD_OK && n_bytes > 0) {
        workspace = md_malloc_aligned(n_bytes);
        if (workspace == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu bytes", n_bytes);
        }
    }
    for (unsigned i = 0; i < node->n_outputs && status == MD_OK; i++) {
        status = md_graph_make_constant(graph, node->outputs[i], &inner);
        out[i] = md_node_out(graph, node, i);
    }
    md_call call = {&node->p,  node->n_inputs, node->n_outputs, in,  out,
                    workspace, NULL,           &inner,          NULL};
    if (status == MD_OK) {
        status = md_kernel_for(node->op)(&call);
    }
    if (status != MD_OK) {
        return md_node_fail(err, node, status, "%s", inner.msg);
    }
    *ret_done = true;
    return MD_OK;
}
