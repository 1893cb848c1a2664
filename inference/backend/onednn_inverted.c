/* An expansion, the 3 x 3 convolution of each channel behind it and the projection behind that
 * wait for each other and become one step, by inverted.h. The first is left out where there is
 * none. */

#include "inference/backend/inverted.h"
#include "inference/backend/onednn_private.h"

#include <math.h>

enum {
    EXPAND,
    DEEP,
    PROJECT,
    N_CONVS
};

typedef struct inverted_step {
    md_inverted s;
    md_inverted_operands o;
    int buffers[10];
    unsigned n_buffers;
    int x, y, scratch, weights[N_CONVS], biases[N_CONVS], residual;
    size_t x_offset, y_offset, residual_offset; /* bytes to the first position */
    unsigned phase;
    const md_dnnl *d;
} inverted_step;

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const inverted_step *s = data;
    for (unsigned i = part; i < s->s.n_parts; i += n_parts) {
        md_inverted_run(&s->s, &s->o, s->phase, i);
    }
}

static md_status inverted_run(void *state, md_error *err)
{
    (void)err;
    inverted_step *s = state;
    const unsigned n_phases = md_inverted_n_phases(&s->s);
    for (s->phase = 0; s->phase < n_phases; s->phase++) {
        md_dnnl_parallel(s->d, run_part, state);
    }
    return MD_OK;
}

static void inverted_bind(void *state, const md_plan *plan)
{
    inverted_step *s = state;
    s->o = (md_inverted_operands){
        .x = md_dnnl_address(plan, s->x, s->x_offset),
        .expand_w = md_dnnl_address(plan, s->weights[EXPAND], 0),
        .deep_w = md_dnnl_address(plan, s->weights[DEEP], 0),
        .project_w = md_dnnl_address(plan, s->weights[PROJECT], 0),
        .expand_bias = md_dnnl_address(plan, s->biases[EXPAND], 0),
        .deep_bias = md_dnnl_address(plan, s->biases[DEEP], 0),
        .project_bias = md_dnnl_address(plan, s->biases[PROJECT], 0),
        .residual = md_dnnl_address(plan, s->residual, s->residual_offset),
        .y = md_dnnl_address(plan, s->y, s->y_offset),
        .scratch = md_dnnl_address(plan, s->scratch, 0),
    };
}

/* Whether the node is a convolution of two axes with constant weights that may be part of it.
 */
static bool is_conv(const md_dnnl *d, const md_graph *graph, const md_node *node,
                    int64_t kernel)
{
    if (node->op != MD_OP_CONV) {
        return false;
    }
    const md_window *w = &node->p.conv.window;
    const md_tensor *in = md_node_operand(graph, node, 0), *out = md_node_out(graph, node, 0);
    bool fits =
        w->n_spatial == 2 && in->n_dims == 4 && out->n_elements > 0 &&
        graph->values[node->inputs[1]].constant &&
        (md_node_in(graph, node, 2) == NULL || graph->values[node->inputs[2]].constant) &&
        !md_dnnl_is_narrow_conv(d, graph, node);
    for (unsigned i = 1; i < 3; i++) {
        fits = fits && w->kernel[i] == kernel && w->dilation[i] == 1;
        fits = fits && (kernel == 3 ||
                        (w->stride[i] == 1 && w->pad_begin[i] == 0 && w->pad_end[i] == 0));
    }
    return fits;
}

/* The nodes of the step that ends with `project`; [EXPAND] NULL: there is none. False: they are
 * no such step. */
static bool describe(const md_dnnl *d, const md_graph *graph, const md_node *const convs[],
                     const md_dnnl_layout *x, md_inverted *ret)
{
    const md_node *expand = convs[EXPAND], *deep = convs[DEEP], *project = convs[PROJECT];
    if (!is_conv(d, graph, deep, 3) || !is_conv(d, graph, project, 1) ||
        (expand != NULL && !is_conv(d, graph, expand, 1)) || x->md.data_type != d->wide) {
        return false;
    }
    const md_window *w = &deep->p.conv.window;
    const md_tensor *in = md_node_operand(graph, expand == NULL ? deep : expand, 0);
    const md_tensor *out = md_node_out(graph, project, 0);
    const int64_t c_mid = md_node_out(graph, deep, 0)->dims[1];
    *ret = (md_inverted){.n_images = (size_t)out->dims[0],
                         .in_h = (size_t)w->in[1],
                         .in_w = (size_t)w->in[2],
                         .out_h = (size_t)w->out[1],
                         .out_w = (size_t)w->out[2],
                         .c_in = (size_t)in->dims[1],
                         .c_mid = (size_t)c_mid,
                         .c_out = (size_t)out->dims[1],
                         .stride = (size_t)w->stride[1],
                         .pad_top = (size_t)w->pad_begin[1],
                         .pad_left = (size_t)w->pad_begin[2],
                         .expands = expand != NULL,
                         .bf16 = d->wide == dnnl_bf16,
                         .n_parts = d->n_threads};
    for (unsigned i = 0; i < N_CONVS; i++) {
        if (convs[i] != NULL &&
            (!md_dnnl_limits(&convs[i]->p.conv.activation, &ret->low[i], &ret->high[i]) ||
             convs[i]->p.conv.group != (i == DEEP ? c_mid : 1) ||
             (convs[i]->p.conv.has_residual && i != PROJECT))) {
            return false;
        }
    }
    return w->stride[1] == w->stride[2] && w->pad_begin[1] >= 0 && w->pad_begin[2] >= 0 &&
           md_node_operand(graph, deep, 0)->dims[1] == c_mid &&
           md_dnnl_rows(&x->md, &ret->x_stride) && md_dnnl_has_avx512() &&
           md_inverted_is_supported(ret);
}

/* The nodes of the step that begins with `node`. */
static bool find_nodes(const md_graph *graph, const md_node *node, const md_node *convs[])
{
    convs[EXPAND] = NULL;
    convs[DEEP] = node;
    if (node->p.conv.group == 1) {
        convs[EXPAND] = node;
        convs[DEEP] = md_dnnl_only_reader(graph, node->outputs[0], node);
        if (convs[DEEP] == NULL || convs[DEEP]->op != MD_OP_CONV ||
            convs[DEEP]->inputs[0] != node->outputs[0]) {
            return false;
        }
    }
    convs[PROJECT] = md_dnnl_only_reader(graph, convs[DEEP]->outputs[0], convs[DEEP]);
    return convs[PROJECT] != NULL && convs[PROJECT]->op == MD_OP_CONV &&
           convs[PROJECT]->inputs[0] == convs[DEEP]->outputs[0];
}

/* The bias, zeros where there is none, and zeros after it up to a multiple of 16. */
static md_status add_bias(md_plan *plan, const md_graph *graph, const md_node *node,
                          size_t n_channels, int *ret_buffer, md_error *err)
{
    const md_tensor *bias = md_node_in(graph, node, 2);
    MD_TRY(md_plan_constant(plan, NULL, (n_channels + 15) / 16 * 16 * sizeof(float), ret_buffer,
                            err));
    float *values = plan->buffers[*ret_buffer].data;
    for (size_t i = 0; i < (n_channels + 15) / 16 * 16; i++) {
        values[i] = bias == NULL || i >= n_channels ? 0.0F : ((const float *)bias->data)[i];
    }
    return MD_OK;
}

/* A job: weights in the order of the kernel. */
typedef struct pack_job {
    const float *w;
    size_t n_out, n_in;
    bool bf16;
    void *packed;
} pack_job;

static md_status run_pack(void *data, md_error *err)
{
    (void)err;
    const pack_job *job = data;
    md_inverted_pack(job->w, job->n_out, job->n_in, job->bf16, job->packed);
    return MD_OK;
}

static md_status add_weights(md_plan *plan, const md_graph *graph, const md_node *node,
                             size_t n_out, size_t n_in, bool bf16, int *ret_buffer,
                             md_error *err)
{
    MD_TRY(md_plan_constant(plan, NULL, md_inverted_packed_bytes(n_out, n_in, bf16), ret_buffer,
                            err));
    pack_job *job = md_pool_alloc(&plan->pool, sizeof *job);
    if (job == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to pack weights");
    }
    *job = (pack_job){md_node_operand(graph, node, 1)->data, n_out, n_in, bf16,
                      plan->buffers[*ret_buffer].data};
    return md_work_add(plan->work, run_pack, job, err);
}

/* [c_mid,1,3,3] as [9][c_mid]; few enough to be moved at once. */
static md_status add_deep(md_plan *plan, const md_graph *graph, const md_node *node,
                          size_t c_mid, int *ret_buffer, md_error *err)
{
    const float *w = md_node_operand(graph, node, 1)->data;
    MD_TRY(md_plan_constant(plan, NULL, 9 * c_mid * sizeof(float), ret_buffer, err));
    float *to = plan->buffers[*ret_buffer].data;
    for (size_t c = 0; c < c_mid; c++) {
        for (size_t i = 0; i < 9; i++) {
            to[i * c_mid + c] = w[c * 9 + i];
        }
    }
    return MD_OK;
}

/* When the node comes: its weights may be given back when it is done. */
static md_status add_constants(md_plan *plan, const md_graph *graph, const md_node *node,
                               inverted_step *s, unsigned which, md_error *err)
{
    const md_inverted *n = &s->s;
    const size_t n_out = which == PROJECT ? n->c_out : n->c_mid;
    const size_t n_in = which == PROJECT ? n->c_mid : n->c_in;
    MD_TRY(add_bias(plan, graph, node, n_out, &s->biases[which], err));
    return which == DEEP
               ? add_deep(plan, graph, node, n->c_mid, &s->weights[which], err)
               : add_weights(plan, graph, node, n_out, n_in, n->bf16, &s->weights[which], err);
}

md_status md_dnnl_begin_inverted(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, const md_dnnl_layout *x, bool *ret_done,
                                 md_error *err)
{
    const md_node *convs[N_CONVS];
    md_inverted described;
    *ret_done = false;
    if (!find_nodes(graph, node, convs) || !describe(d, graph, convs, x, &described)) {
        return MD_OK;
    }
    inverted_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    *s = (inverted_step){.s = described,
                         .d = d,
                         .x = x->buffer,
                         .x_offset = md_dnnl_offset_bytes(x),
                         .weights = {MD_PLAN_NO_BUFFER},
                         .biases = {MD_PLAN_NO_BUFFER}};
    /* x is read by the last of them: nobody may write over it before */
    int *last_use = &d->last_use[node->inputs[0]];
    const int last = (int)(convs[PROJECT] - graph->nodes);
    *last_use = *last_use < last ? last : *last_use;
    d->waiting[convs[DEEP]->outputs[0]] = convs[DEEP];
    d->inverted[convs[DEEP]->outputs[0]] = s;
    if (convs[EXPAND] != NULL) {
        d->waiting[node->outputs[0]] = node;
        d->inverted[node->outputs[0]] = s;
    }
    *ret_done = true;
    return add_constants(plan, graph, node, s, convs[EXPAND] == NULL ? DEEP : EXPAND, err);
}

static void use(inverted_step *s, int buffer)
{
    if (buffer != MD_PLAN_NO_BUFFER) {
        s->buffers[s->n_buffers++] = buffer;
    }
}

static md_status add_residual(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, inverted_step *s, md_error *err)
{
    md_dnnl_layout residual;
    bool usable;
    s->residual = MD_PLAN_NO_BUFFER;
    if (!node->p.conv.has_residual) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[3], &usable, &residual, err));
    size_t stride;
    if (!usable || residual.md.data_type != d->wide || !md_dnnl_rows(&residual.md, &stride)) {
        dnnl_memory_desc_t md = residual.md;
        if (!usable || dnnl_memory_desc_init_by_tag(&md, 4, residual.md.dims, d->wide,
                                                    dnnl_nhwc) != dnnl_success) {
            return md_fail(err, MD_INTERNAL, "a residual without a layout");
        }
        MD_TRY(md_dnnl_reorder(d, plan, node, &md, false, &residual, err));
        (void)md_dnnl_rows(&residual.md, &stride);
    }
    s->residual = residual.buffer;
    s->residual_offset = md_dnnl_offset_bytes(&residual);
    s->s.residual_stride = stride;
    return MD_OK;
}

static md_status add_step(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          inverted_step *s, md_error *err)
{
    md_dnnl_layout y;
    MD_TRY(md_dnnl_scratch(d, plan, md_inverted_scratch_bytes(&s->s), &s->scratch, err));
    MD_TRY(md_dnnl_rows_result(d, plan, graph, node, &y, err));
    s->y = y.buffer;
    s->y_offset = md_dnnl_offset_bytes(&y);
    (void)md_dnnl_rows(&y.md, &s->s.y_stride);
    const int buffers[] = {s->x, s->y, s->scratch, s->residual};
    for (unsigned i = 0; i < 4; i++) {
        use(s, buffers[i]);
    }
    for (unsigned i = 0; i < N_CONVS; i++) {
        use(s, s->weights[i]);
        use(s, s->biases[i]);
    }
    const md_plan_step step = {.run = inverted_run,
                               .bind = inverted_bind,
                               .state = s,
                               .kernel = s->s.expands ? "1x1, deep 3x3 and 1x1:avx512_core"
                                                      : "deep 3x3 and 1x1:avx512_core"};
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, s->n_buffers, err));
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}

md_status md_dnnl_join_inverted(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, md_error *err)
{
    inverted_step *s = d->inverted[node->inputs[0]];
    if (d->inverted[node->outputs[0]] == s) {
        return add_constants(plan, graph, node, s, DEEP, err);
    }
    MD_TRY(add_constants(plan, graph, node, s, PROJECT, err));
    MD_TRY(add_residual(d, plan, graph, node, s, err));
    return add_step(d, plan, graph, node, s, err);
}
