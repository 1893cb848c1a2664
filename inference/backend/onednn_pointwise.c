/* A batch normalisation that only a 1 x 1 convolution reads waits for it and becomes part of
 * it, by pointwise.h. Without one oneDNN's convolutions are as quick or quicker. */

#include "inference/backend/onednn_private.h"
#include "inference/backend/pointwise.h"

#include <math.h>

enum {
    MIN_CHANNELS = 32
};

typedef struct pointwise_step {
    md_pointwise s;
    md_pointwise_operands o;
    int x, y, scratch, w;
    int scale, shift;
    int bias; /* MD_PLAN_NO_BUFFER: none */
    size_t x_offset, y_offset;
    const md_dnnl *d;
} pointwise_step;

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const pointwise_step *s = data;
    for (unsigned i = part; i < s->s.n_parts; i += n_parts) {
        md_pointwise_run(&s->s, &s->o, i);
    }
}

static md_status pointwise_run(void *state, md_error *err)
{
    (void)err;
    const pointwise_step *s = state;
    md_dnnl_parallel(s->d, run_part, state);
    return MD_OK;
}

static void pointwise_bind(void *state, const md_plan *plan)
{
    pointwise_step *s = state;
    s->o = (md_pointwise_operands){
        .x = md_dnnl_address(plan, s->x, s->x_offset),
        .scale = md_dnnl_address(plan, s->scale, 0),
        .shift = md_dnnl_address(plan, s->shift, 0),
        .w = md_dnnl_address(plan, s->w, 0),
        .bias = md_dnnl_address(plan, s->bias, 0),
        .y = md_dnnl_address(plan, s->y, s->y_offset),
        .scratch = md_dnnl_address(plan, s->scratch, 0),
    };
}

static bool is_window(const md_conv_params *conv)
{
    const md_window *w = &conv->window;
    bool fits = w->n_spatial == 2 && conv->group == 1 && !conv->has_residual;
    for (unsigned i = 0; i < 3; i++) {
        fits = fits && w->kernel[i] == 1 && w->stride[i] == 1 && w->pad_begin[i] == 0 &&
               w->pad_end[i] == 0;
    }
    return fits;
}

static bool describe(const md_dnnl *d, const md_graph *graph, const md_node *node,
                     const md_node *norm, const md_dnnl_layout *x, md_pointwise *ret)
{
    const md_conv_params *conv = &node->p.conv;
    const md_tensor *in = md_node_operand(graph, node, 0), *out = md_node_out(graph, node, 0);
    *ret = (md_pointwise){
        .bf16 = d->wide == dnnl_bf16,
        .least = norm->p.norm.activation.function == MD_UNARY_RELU ? 0.0F : -INFINITY,
        .n_parts = d->n_threads};
    if (!is_window(conv) || in->n_dims != 4 || out->n_elements == 0 ||
        !graph->values[node->inputs[1]].constant ||
        (md_node_in(graph, node, 2) != NULL && !graph->values[node->inputs[2]].constant) ||
        md_dnnl_is_narrow_conv(d, graph, node) ||
        !md_dnnl_limits(&conv->activation, &ret->low, &ret->high) ||
        x->md.data_type != d->wide || !md_dnnl_rows(&x->md, &ret->x_stride)) {
        return false;
    }
    ret->c_in = (size_t)in->dims[1];
    ret->c_out = (size_t)out->dims[1];
    ret->n_rows = out->n_elements / ret->c_out;
    return ret->c_in % (ret->bf16 ? 32 : 16) == 0 && ret->c_out % 32 == 0 &&
           ret->c_in >= MIN_CHANNELS && md_dnnl_has_avx512() &&
           md_pointwise_is_supported(ret->bf16);
}

bool md_dnnl_defer_norm(md_dnnl *d, const md_graph *graph, const md_node *norm,
                        const md_dnnl_layout *x)
{
    const int value = norm->outputs[0];
    const md_node *conv = md_dnnl_only_reader(graph, value, norm);
    md_pointwise described;
    if (conv == NULL || conv->op != MD_OP_CONV || conv->inputs[0] != value ||
        !describe(d, graph, conv, norm, x, &described)) {
        return false;
    }
    d->waiting[value] = norm;
    return true;
}

static md_status add_weights(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, pointwise_step *s, md_error *err)
{
    const md_tensor *weights = md_node_operand(graph, node, 1);
    const md_tensor *bias = md_node_in(graph, node, 2);
    dnnl_memory_desc_t from, to;
    const dnnl_dims_t dims = {(dnnl_dim_t)s->s.c_out, (dnnl_dim_t)s->s.c_in, 1, 1};
    /* [c_out/32][c_in][32] and [c_out/32][c_in/2][32][2] */
    if (!md_dnnl_plain(weights, &from) ||
        dnnl_memory_desc_init_by_tag(&to, 4, dims, d->wide,
                                     s->s.bf16 ? dnnl_AcdB16b32a2b : dnnl_Acdb32a) !=
            dnnl_success) {
        return md_fail(err, MD_INTERNAL, "oneDNN: no layout for weights");
    }
    MD_TRY(md_dnnl_constant(d, plan, weights->data, &from, &to, &s->w, err));
    return bias == NULL ? MD_OK
                        : md_plan_constant(plan, bias->data, bias->n_elements * sizeof(float),
                                           &s->bias, err);
}

static md_status add_norm(md_plan *plan, const md_graph *graph, const md_node *norm,
                          pointwise_step *s, md_error *err)
{
    const md_tensor *scale = md_node_operand(graph, norm, 1);
    const md_tensor *shift = md_node_operand(graph, norm, 2);
    MD_TRY(
        md_plan_constant(plan, scale->data, scale->n_elements * sizeof(float), &s->scale, err));
    return md_plan_constant(plan, shift->data, shift->n_elements * sizeof(float), &s->shift,
                            err);
}

static md_status add_step(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          pointwise_step *s, md_error *err)
{
    md_dnnl_layout y;
    MD_TRY(md_dnnl_scratch(d, plan, md_pointwise_scratch_bytes(&s->s), &s->scratch, err));
    MD_TRY(md_dnnl_rows_result(d, plan, graph, node, &y, err));
    s->y = y.buffer;
    s->y_offset = md_dnnl_offset_bytes(&y);
    (void)md_dnnl_rows(&y.md, &s->s.y_stride);
    const int buffers[] = {s->x, s->y, s->scratch, s->w, s->scale, s->shift, s->bias};
    const unsigned n = s->bias == MD_PLAN_NO_BUFFER ? 6 : 7;
    const md_plan_step step = {.run = pointwise_run,
                               .bind = pointwise_bind,
                               .state = s,
                               .kernel = "norm and 1x1:avx512_core"};
    MD_TRY(md_plan_add_step(plan, &step, node, buffers, n, err));
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}

md_status md_dnnl_emit_pointwise(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, const md_node *norm,
                                 const md_dnnl_layout *x, bool *ret_done, md_error *err)
{
    md_pointwise described;
    *ret_done = false;
    if (!describe(d, graph, node, norm, x, &described)) {
        return MD_OK;
    }
    pointwise_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->s = described;
    s->d = d;
    s->bias = MD_PLAN_NO_BUFFER;
    s->x = x->buffer;
    s->x_offset = md_dnnl_offset_bytes(x);
    MD_TRY(add_weights(d, plan, graph, node, s, err));
    MD_TRY(add_norm(plan, graph, norm, s, err));
    *ret_done = true;
    return add_step(d, plan, graph, node, s, err);
}
