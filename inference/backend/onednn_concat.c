/* Concatenation of channels. Networks like DenseNet (Huang et al. 2017) concatenate the same
 * maps again and again with one more: [a,b], [a,b,c], ... or [[a,b],c], ... Such a chain shares
 * one buffer that has room for the last and longest; each map is written there once, and the
 * result of each concatenation is a view of the first channels. */

#include "inference/backend/onednn_private.h"

#include <string.h>

static bool is_channel_concat(const md_graph *graph, const md_node *node)
{
    const md_tensor *out = md_node_out(graph, node, 0);
    return node->op == MD_OP_CONCAT && node->p.axis.axis == 1 && out->n_dims >= 3 &&
           out->dtype == MD_F32 && out->n_elements > 0;
}

/* Whether the node's inputs are those of the chain so far and more. */
static bool extends(const md_node *node, const md_node *last)
{
    return node->inputs[0] == last->outputs[0] ||
           (node->n_inputs > last->n_inputs &&
            memcmp(node->inputs, last->inputs, last->n_inputs * sizeof *last->inputs) == 0);
}

md_status md_dnnl_find_chains(md_dnnl *d, const md_graph *graph, md_error *err)
{
    d->chains = md_pool_alloc(&d->pool, graph->n_nodes * sizeof(md_dnnl_chain *));
    /* for each value: the chain that it begins or that ends with it */
    MD_AUTO(md_freep)
    md_dnnl_chain **chain_of = md_calloc((size_t)graph->n_values, sizeof(md_dnnl_chain *));
    if (d->chains == NULL || chain_of == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the back end");
    }
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        const md_node *node = &graph->nodes[i];
        if (!is_channel_concat(graph, node)) {
            continue;
        }
        md_dnnl_chain *chain = chain_of[node->inputs[0]];
        if (chain == NULL || !extends(node, &graph->nodes[chain->last])) {
            chain = md_pool_alloc(&d->pool, sizeof *chain);
            if (chain == NULL) {
                return md_fail(err, MD_NOMEM, "no memory for the back end");
            }
            chain_of[node->inputs[0]] = chain;
        }
        chain_of[node->outputs[0]] = chain;
        chain->last = i;
        chain->n_channels = md_node_out(graph, node, 0)->dims[1];
        d->chains[i] = chain;
    }
    return MD_OK;
}

/* The channels `first`.. of the chain's buffer, as many as `dims` says. */
static bool part_of(const md_dnnl_chain *chain, const int64_t *dims, int64_t first,
                    dnnl_memory_desc_t *ret_md)
{
    dnnl_dims_t lengths = {0}, offsets = {0};
    memcpy(lengths, dims, (size_t)chain->md.ndims * sizeof *dims);
    offsets[1] = first;
    return dnnl_memory_desc_init_submemory(ret_md, &chain->md, lengths, offsets) ==
           dnnl_success;
}

/* The buffer in the order that the first operand has. False: its blocks do not allow parts. */
static md_status begin_chain(const md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, md_dnnl_chain *chain,
                             const dnnl_memory_desc_t *like, bool *ret_ok, md_error *err)
{
    const md_tensor *out = md_node_out(graph, node, 0);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    memcpy(dims, out->dims, sizeof dims);
    dims[1] = chain->n_channels;
    *ret_ok = md_dnnl_like(like, (int)out->n_dims, dims, &chain->md);
    if (md_dnnl_is_narrow_type(like->data_type)) {
        chain->md.data_type = d->wide; /* its parts have scales of their own */
    }
    chain->begun = *ret_ok;
    return *ret_ok ? md_dnnl_buffer(plan, &chain->md, &chain->buffer, err) : MD_OK;
}

/* Whether each operand begins and ends where the buffer's blocks do. */
static bool fits(const md_graph *graph, const md_node *node, const md_dnnl_chain *chain)
{
    dnnl_memory_desc_t md;
    int64_t at = 0;
    for (unsigned i = 0; i < node->n_inputs; i++) {
        const md_tensor *part = md_node_operand(graph, node, i);
        if (!part_of(chain, part->dims, at, &md)) {
            return false;
        }
        at += part->dims[1];
    }
    return part_of(chain, md_node_out(graph, node, 0)->dims, 0, &md);
}

static md_status place_parts(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, md_dnnl_chain *chain, md_error *err)
{
    int64_t at = 0;
    for (unsigned i = 0; i < node->n_inputs; i++) {
        const md_tensor *part = md_node_operand(graph, node, i);
        const int64_t end = at + part->dims[1];
        if (end > chain->n_placed) {
            md_dnnl_layout from, to = {.buffer = chain->buffer, .scale = 1.0F};
            bool usable;
            MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[i], &usable, &from, err));
            if (!usable || !part_of(chain, part->dims, at, &to.md)) {
                return md_fail(err, MD_INTERNAL, "a part of no layout");
            }
            if (from.buffer != to.buffer || !dnnl_memory_desc_equal(&from.md, &to.md)) {
                MD_TRY(md_dnnl_copy(d, plan, node, &from, &to, err));
            }
            chain->n_placed = end;
        }
        at = end;
    }
    return MD_OK;
}

/* The first concatenation that has the value, and before how many channels of others; NULL:
 * none, or its own node comes first. */
static const md_node *joined_in(const md_dnnl *d, const md_graph *graph, const md_node *node,
                                int64_t *ret_first)
{
    const int value = node->outputs[0];
    for (const md_node *to = node + 1; to < graph->nodes + graph->n_nodes; to++) {
        *ret_first = 0;
        for (unsigned i = 0; i < to->n_inputs && d->chains[to - graph->nodes] != NULL; i++) {
            if (to->inputs[i] == value) {
                return to;
            }
            *ret_first += md_node_operand(graph, to, i)->dims[1];
        }
    }
    return NULL;
}

md_status md_dnnl_place_in_chain(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, md_dnnl_layout *layout, bool *ret_found,
                                 md_error *err)
{
    int64_t first;
    size_t stride;
    bool ok = true;
    *ret_found = false;
    const md_node *to = joined_in(d, graph, node, &first);
    if (to == NULL || first == 0) {
        return MD_OK; /* the first part decides the order, it has none yet */
    }
    md_dnnl_chain *chain = d->chains[to - graph->nodes];
    const md_dnnl_layout *begin = d->layouts[to->inputs[0]];
    if (!chain->begun) {
        if (begin == NULL) {
            return MD_OK;
        }
        MD_TRY(begin_chain(d, plan, graph, to, chain, &begin->md, &ok, err));
    }
    dnnl_memory_desc_t md;
    if (!ok || !fits(graph, to, chain) || first < chain->n_placed ||
        chain->md.data_type != d->wide ||
        !part_of(chain, md_node_out(graph, node, 0)->dims, first, &md) ||
        !md_dnnl_rows(&md, &stride)) {
        return MD_OK;
    }
    layout->md = md;
    layout->buffer = chain->buffer;
    layout->shared = true;
    *ret_found = true;
    return MD_OK;
}

md_status md_dnnl_emit_concat(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, bool *ret_done, md_error *err)
{
    md_dnnl_chain *chain = d->chains[node - graph->nodes];
    md_dnnl_layout x, y = {.shared = true, .scale = 1.0F};
    bool usable = true, blocked = false;
    for (unsigned i = 0; i < node->n_inputs; i++) {
        blocked = blocked || d->layouts[node->inputs[i]] != NULL;
        usable = usable && md_node_operand(graph, node, i)->n_elements > 0;
    }
    if (chain == NULL || !blocked || !usable) {
        return MD_OK;
    }
    if (!chain->begun) {
        MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[0], &usable, &x, err));
        if (usable) {
            MD_TRY(begin_chain(d, plan, graph, node, chain, &x.md, &usable, err));
        }
    }
    if (!usable || !fits(graph, node, chain)) {
        return MD_OK;
    }
    MD_TRY(place_parts(d, plan, graph, node, chain, err));
    y.buffer = chain->buffer;
    (void)part_of(chain, md_node_out(graph, node, 0)->dims, 0, &y.md);
    MD_TRY(md_dnnl_result(d, plan, graph, node->outputs[0], &y, err));
    *ret_done = true;
    return MD_OK;
}
