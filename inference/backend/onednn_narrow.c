/* Which values are 8-bit integers (MD_PRECISION_INT8), and how they are scaled: symmetric, one
 * scale for a tensor, from the ranges that were observed; weights have one for each output
 * channel (Jacob et al. 2018; Krishnamoorthi 2018, section 3). */

#include "inference/backend/onednn_private.h"

#include <math.h>

enum {
    /* A convolution of fewer channels is the first one: little work, and the picture's own
     * precision is worth keeping. */
    MIN_CHANNELS = 8,
    MAX_AVERAGE = 9 /* values: the mean of more is kept more exactly */
};

bool md_dnnl_is_narrow_type(dnnl_data_type_t type)
{
    return type == dnnl_u8 || type == dnnl_s8;
}

bool md_dnnl_quantization(const md_dnnl *d, int value, dnnl_data_type_t *ret_type,
                          float *ret_scale)
{
    if (d->precision != MD_PRECISION_INT8 || d->low == NULL || d->high[value] < d->low[value]) {
        return false;
    }
    const float low = d->low[value], high = d->high[value];
    const float most = low >= 0.0F ? high / 255.0F : fmaxf(-low, high) / 127.0F;
    *ret_type = low >= 0.0F ? dnnl_u8 : dnnl_s8;
    *ret_scale = most > 1e-30F ? most : 1.0F;
    return isfinite(most);
}

bool md_dnnl_is_narrow_conv(const md_dnnl *d, const md_graph *graph, const md_node *node)
{
    dnnl_data_type_t type;
    float scale;
    return node->op == MD_OP_CONV && md_node_operand(graph, node, 0)->dims[1] >= MIN_CHANNELS &&
           md_dnnl_quantization(d, node->inputs[0], &type, &scale);
}

static bool takes_narrow(const md_dnnl *d, const md_graph *graph, const md_node *node,
                         unsigned operand)
{
    if (node->op == MD_OP_POOL) {
        const md_window *w = &node->p.pool.window;
        return !node->p.pool.average ||
               w->kernel[0] * w->kernel[1] * w->kernel[2] <= MAX_AVERAGE;
    }
    /* a residual is a sum over many layers: rounding it in each would add up */
    return operand == 0 && md_dnnl_is_narrow_conv(d, graph, node);
}

md_status md_dnnl_find_narrow(md_dnnl *d, const md_graph *graph, md_error *err)
{
    d->narrow = md_pool_alloc(&d->pool, (size_t)graph->n_values * sizeof *d->narrow);
    if (d->narrow == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the back end");
    }
    for (int i = 0; i < graph->n_values; i++) {
        dnnl_data_type_t type;
        float scale;
        d->narrow[i] = !graph->values[i].kept && md_dnnl_quantization(d, i, &type, &scale);
    }
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        const md_node *node = &graph->nodes[i];
        for (unsigned j = 0; j < node->n_inputs && node->op != MD_OP_NONE; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE && !takes_narrow(d, graph, node, j)) {
                d->narrow[node->inputs[j]] = false;
            }
        }
    }
    return MD_OK;
}
