/* Elementwise operators and batch normalisation on oneDNN. */

#include "inference/backend/onednn_private.h"

#include <float.h>
#include <string.h>

bool md_dnnl_eltwise_of(const md_activation *a, md_dnnl_eltwise *ret)
{
    *ret = (md_dnnl_eltwise){.n = 1};
    switch ((int)a->function) {
    case MD_UNARY_IDENTITY:
        ret->n = 0;
        return true;
    case MD_UNARY_RELU:
        ret->alg[0] = dnnl_eltwise_relu;
        return true;
    case MD_UNARY_LEAKY_RELU:
        ret->alg[0] = dnnl_eltwise_relu;
        ret->alpha[0] = a->alpha;
        return true;
    case MD_UNARY_SIGMOID:
        ret->alg[0] = dnnl_eltwise_logistic;
        return true;
    case MD_UNARY_TANH:
        ret->alg[0] = dnnl_eltwise_tanh;
        return true;
    case MD_UNARY_CLIP:
        ret->alg[0] = dnnl_eltwise_clip;
        ret->alpha[0] = a->alpha < -FLT_MAX ? -FLT_MAX : a->alpha;
        ret->beta[0] = a->beta > FLT_MAX ? FLT_MAX : a->beta;
        return a->alpha <= a->beta;
    case MD_UNARY_HARD_SIGMOID:
        ret->n = 2;
        ret->alg[0] = dnnl_eltwise_linear;
        ret->alpha[0] = a->alpha;
        ret->beta[0] = a->beta;
        ret->alg[1] = dnnl_eltwise_clip;
        ret->beta[1] = 1.0F;
        return true;
    case MD_UNARY_HARD_SWISH:
        ret->alg[0] = dnnl_eltwise_hardswish;
        return true;
    case MD_UNARY_SWISH:
        ret->alg[0] = dnnl_eltwise_swish;
        ret->alpha[0] = 1.0F;
        return true;
    case MD_UNARY_ELU:
        ret->alg[0] = dnnl_eltwise_elu;
        ret->alpha[0] = a->alpha;
        return true;
    case MD_UNARY_ABS:
        ret->alg[0] = dnnl_eltwise_abs;
        return true;
    default:
        /* the rest is rare, or less exact there (exp, log, softplus) */
        return false;
    }
}

dnnl_status_t md_dnnl_append(dnnl_post_ops_t ops, const md_dnnl_eltwise *eltwise)
{
    dnnl_status_t status = dnnl_success;
    for (unsigned i = 0; i < eltwise->n && status == dnnl_success; i++) {
        status = dnnl_post_ops_append_eltwise(ops, 1.0F, eltwise->alg[i], eltwise->alpha[i],
                                              eltwise->beta[i]);
    }
    return status;
}

static bool is_padded(const dnnl_memory_desc_t *md)
{
    for (int i = 0; i < md->ndims; i++) {
        if (md->dims[i] != md->padded_dims[i]) {
            return true;
        }
    }
    return md->format_kind != dnnl_blocked;
}

/* An activation of our own over a buffer in any order that holds nothing but the elements. */
typedef struct raw_step {
    md_activation activation;
    int buffers[2];
    size_t n;
    const float *x;
    float *y;
} raw_step;

static md_status raw_run(void *state, md_error *err)
{
    (void)err;
    const raw_step *s = state;
    md_activate(&s->activation, s->x, s->y, s->n);
    return MD_OK;
}

static void raw_bind(void *state, const md_plan *plan)
{
    raw_step *s = state;
    s->x = plan->buffers[s->buffers[0]].data;
    s->y = plan->buffers[s->buffers[1]].data;
}

static md_status add_raw(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                         const md_dnnl_layout *x, md_error *err)
{
    md_dnnl_layout y = *x;
    raw_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    MD_TRY(md_dnnl_buffer(plan, &y.md, &y.buffer, err));
    s->activation = node->p.unary;
    s->n = md_node_operand(graph, node, 0)->n_elements;
    s->buffers[0] = x->buffer;
    s->buffers[1] = y.buffer;
    const md_plan_step step = {
        .run = raw_run, .bind = raw_bind, .state = s, .kernel = "reference"};
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, 2, err));
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}

/* Describe, add one input and one output of the same layout, and note the result. */
static md_status add_same(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                          const_dnnl_op_desc_t desc, const md_dnnl_arg *more, unsigned n_more,
                          const md_dnnl_layout *x, bool *ret_done, md_error *err)
{
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    md_dnnl_arg args[8] = {{DNNL_ARG_SRC, x->buffer, &x->md}};
    md_dnnl_layout y = {.md = x->md, .scale = 1.0F};
    MD_TRY(md_dnnl_attributes(&attr, err));
    md_status status = md_dnnl_describe(d, desc, attr, &pd, err);
    (void)dnnl_primitive_attr_destroy(attr);
    if (status != MD_OK || pd == NULL) {
        return status;
    }
    status = md_dnnl_buffer(plan, &y.md, &y.buffer, err);
    if (status == MD_OK) {
        args[1] = (md_dnnl_arg){DNNL_ARG_DST, y.buffer, &y.md};
        memcpy(args + 2, more, n_more * sizeof *more);
        status = md_dnnl_add(d, plan, node, pd, args, 2 + n_more, err);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    if (status == MD_OK) {
        status = md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
    }
    *ret_done = status == MD_OK;
    return status;
}

md_status md_dnnl_emit_unary(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, bool *ret_done, md_error *err)
{
    md_dnnl_layout x;
    md_dnnl_eltwise eltwise;
    dnnl_eltwise_desc_t desc;
    bool usable;
    MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[0], &usable, &x, err));
    if (!usable) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_dense(d, plan, graph, node, node->inputs[0], &x, err));
    if (!md_dnnl_eltwise_of(&node->p.unary, &eltwise) || eltwise.n != 1) {
        if (d->layouts[node->inputs[0]] == NULL || is_padded(&x.md) ||
            x.md.data_type != dnnl_f32) {
            return MD_OK;
        }
        *ret_done = true;
        return add_raw(d, plan, graph, node, &x, err);
    }
    if (dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_inference, eltwise.alg[0], &x.md,
                                       eltwise.alpha[0], eltwise.beta[0]) != dnnl_success) {
        return MD_OK;
    }
    const md_dnnl_arg none = {0, 0, NULL};
    return add_same(d, plan, graph, node, &desc, &none, 0, &x, ret_done, err);
}

static bool binary_algorithm(md_binary function, dnnl_alg_kind_t *ret)
{
    switch ((int)function) {
    case MD_BINARY_ADD:
        *ret = dnnl_binary_add;
        return true;
    case MD_BINARY_SUB:
        *ret = dnnl_binary_sub;
        return true;
    case MD_BINARY_MUL:
        *ret = dnnl_binary_mul;
        return true;
    case MD_BINARY_DIV:
        *ret = dnnl_binary_div;
        return true;
    default: /* Max and Min treat NaN otherwise there */
        return false;
    }
}

/* The second operand with leading ones, in the order of the first. False: not for oneDNN. */
static bool match_operand(const md_tensor *full, const dnnl_memory_desc_t *full_md,
                          const md_tensor *other, md_tensor *ret_padded,
                          dnnl_memory_desc_t *ret_md)
{
    const unsigned missing = full->n_dims - other->n_dims;
    *ret_padded = *other;
    ret_padded->n_dims = full->n_dims;
    for (unsigned i = 0; i < full->n_dims; i++) {
        ret_padded->dims[i] = i < missing ? 1 : other->dims[i - missing];
    }
    return md_dnnl_like(full_md, (int)full->n_dims, ret_padded->dims, ret_md);
}

static bool same_dims(const md_tensor *a, const md_tensor *b)
{
    return a->n_dims == b->n_dims && memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims) == 0;
}

/* Both operands in one order, that of the operand with the result's shape. */
static md_status binary_operands(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, unsigned full, md_dnnl_layout *ret,
                                 bool *ret_usable, md_error *err)
{
    const md_tensor *shape = md_node_operand(graph, node, full);
    const md_tensor *other = md_node_operand(graph, node, 1 - full);
    md_tensor padded;
    dnnl_memory_desc_t md;
    bool usable[2];
    *ret_usable = false;
    for (unsigned i = 0; i < 2; i++) {
        MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[i], &usable[i], &ret[i], err));
        if (!usable[i]) {
            return MD_OK;
        }
        MD_TRY(md_dnnl_dense(d, plan, graph, node, node->inputs[i], &ret[i], err));
    }
    md_dnnl_layout *second = &ret[1 - full];
    if (!match_operand(shape, &ret[full].md, other, &padded, &md)) {
        return MD_OK;
    }
    if (other->n_dims != shape->n_dims) {
        /* leading ones are a view of row-major data only */
        if (plan->plain[node->inputs[1 - full]] == MD_PLAN_NO_BUFFER ||
            !md_dnnl_plain(&padded, &second->md)) {
            return MD_OK;
        }
        second->buffer = plan->plain[node->inputs[1 - full]];
    }
    *ret_usable = true;
    return md_dnnl_reorder(d, plan, node, &md, false, second, err);
}

md_status md_dnnl_emit_binary(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, bool *ret_done, md_error *err)
{
    const md_tensor *out = md_node_out(graph, node, 0);
    dnnl_alg_kind_t algorithm;
    md_dnnl_layout in[2];
    md_dnnl_eltwise eltwise;
    bool usable;
    /* row-major on both sides, or small: our own loops need no generated code */
    if ((d->layouts[node->inputs[0]] == NULL && d->layouts[node->inputs[1]] == NULL) ||
        !binary_algorithm(node->p.binary.function, &algorithm) ||
        !md_dnnl_eltwise_of(&node->p.binary.activation, &eltwise)) {
        return MD_OK;
    }
    const unsigned full = same_dims(md_node_operand(graph, node, 0), out) ? 0 : 1;
    const bool turns =
        node->p.binary.function == MD_BINARY_ADD || node->p.binary.function == MD_BINARY_MUL;
    if (!same_dims(md_node_operand(graph, node, full), out) || (full == 1 && !turns)) {
        return MD_OK;
    }
    MD_TRY(binary_operands(d, plan, graph, node, full, in, &usable, err));
    if (!usable) {
        return MD_OK;
    }
    const md_dnnl_layout *x = &in[full], *second = &in[1 - full];
    dnnl_binary_desc_t desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_post_ops_t ops = NULL;
    md_dnnl_layout y = {.md = x->md, .scale = 1.0F};
    if (dnnl_binary_desc_init(&desc, algorithm, &x->md, &second->md, &y.md) != dnnl_success) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_attributes(&attr, err));
    md_status status = MD_OK;
    if (dnnl_post_ops_create(&ops) != dnnl_success ||
        md_dnnl_append(ops, &eltwise) != dnnl_success ||
        dnnl_primitive_attr_set_post_ops(attr, ops) != dnnl_success) {
        status = md_dnnl_fail(err, dnnl_out_of_memory, "post-operations");
    }
    (void)dnnl_post_ops_destroy(ops);
    if (status == MD_OK) {
        status = md_dnnl_describe(d, &desc, attr, &pd, err);
    }
    (void)dnnl_primitive_attr_destroy(attr);
    if (status != MD_OK || pd == NULL) {
        return status;
    }
    status = md_dnnl_buffer(plan, &y.md, &y.buffer, err);
    if (status == MD_OK) {
        const md_dnnl_arg args[] = {{DNNL_ARG_SRC_0, x->buffer, &x->md},
                                    {DNNL_ARG_SRC_1, second->buffer, &second->md},
                                    {DNNL_ARG_DST, y.buffer, &y.md}};
        status = md_dnnl_add(d, plan, node, pd, args, 3, err);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    if (status == MD_OK) {
        status = md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
    }
    *ret_done = status == MD_OK;
    return status;
}

/* y = x scale + shift: a batch normalisation of mean 0 and variance 1. */
static md_status emit_norm(md_dnnl *d, md_plan *plan, const md_graph *graph,
                           const md_node *node, bool may_wait, bool *ret_done, md_error *err)
{
    md_dnnl_layout x;
    bool usable;
    dnnl_batch_normalization_desc_t desc;
    dnnl_memory_desc_t md;
    int buffers[4];
    const md_unary function = node->p.norm.activation.function;
    const md_tensor *scale = md_node_operand(graph, node, 1);
    const md_tensor *shift = md_node_operand(graph, node, 2);
    if (function != MD_UNARY_IDENTITY && function != MD_UNARY_RELU) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_source(d, plan, graph, node->inputs[0], &usable, &x, err));
    if (!usable || !md_dnnl_plain(scale, &md)) {
        return MD_OK;
    }
    if (may_wait && md_dnnl_defer_norm(d, graph, node, &x)) {
        *ret_done = true;
        return MD_OK;
    }
    MD_TRY(md_dnnl_emit_scale(d, plan, graph, node, &x, ret_done, err));
    if (*ret_done) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_dense(d, plan, graph, node, node->inputs[0], &x, err));
    if (dnnl_batch_normalization_forward_desc_init(
            &desc, dnnl_forward_inference, &x.md, 0.0F,
            (unsigned)dnnl_use_global_stats | (unsigned)dnnl_use_scale |
                (unsigned)dnnl_use_shift |
                (function == MD_UNARY_RELU ? (unsigned)dnnl_fuse_norm_relu : 0U)) !=
        dnnl_success) {
        return MD_OK;
    }
    const size_t n_bytes = scale->n_elements * sizeof(float);
    MD_TRY(md_plan_constant(plan, scale->data, n_bytes, &buffers[0], err));
    MD_TRY(md_plan_constant(plan, shift->data, n_bytes, &buffers[1], err));
    MD_TRY(md_plan_constant(plan, NULL, n_bytes, &buffers[2], err));
    MD_TRY(md_plan_constant(plan, NULL, n_bytes, &buffers[3], err));
    for (size_t i = 0; i < scale->n_elements; i++) {
        ((float *)plan->buffers[buffers[2]].data)[i] = 0.0F;
        ((float *)plan->buffers[buffers[3]].data)[i] = 1.0F;
    }
    const md_dnnl_arg more[] = {{DNNL_ARG_SCALE, buffers[0], &md},
                                {DNNL_ARG_SHIFT, buffers[1], &md},
                                {DNNL_ARG_MEAN, buffers[2], &md},
                                {DNNL_ARG_VARIANCE, buffers[3], &md}};
    return add_same(d, plan, graph, node, &desc, more, 4, &x, ret_done, err);
}

md_status md_dnnl_emit_batch_norm(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                  const md_node *node, bool *ret_done, md_error *err)
{
    return emit_norm(d, plan, graph, node, true, ret_done, err);
}
