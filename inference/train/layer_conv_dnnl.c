#include "inference/train/trainer_private.h"

#include "inference/backend/onednn_load.h"

#include <string.h>

/* Convolution by oneDNN: activations channels last, as everywhere here; weights as ONNX has
 * them, and copied for each call into the order (and, of bfloat16 activations, the type) that
 * the kernel wants: for ResNet-18 at a batch of 32 that is 1% of a step, and parameters stay
 * what the optimizer, a checkpoint and another machine understand. The clamp is a pass of our
 * own: oneDNN's would turn a NaN into 0, and a training that has gone wrong would look well. */

enum {
    WEIGHT,
    BIAS,
    ALIGNMENT = 64,
    MAX_ARGS = 5,
    /* Primitives that oneDNN keeps for the next time: a full batch and the rest of an epoch
     * take turns, with up to six for each convolution. Its own 1024 would be too few for two
     * sizes of DenseNet-121, and making them anew takes seconds */
    CACHE_CAPACITY = 8192
};

struct md_dnnl_train {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* A primitive with memory objects whose addresses are set for each run. */
typedef struct bound {
    dnnl_primitive_t primitive;
    int n_args;
    dnnl_exec_arg_t args[MAX_ARGS];
} bound;

/* One of the three computations. */
typedef struct pass {
    bound run, reorder; /* reorder: of the weights before it, or of their gradient after it */
    bool reorders;
    size_t weight_bytes, scratch_bytes;
} pass;

typedef struct conv_state {
    pass forward, back_data, back_weights;
} conv_state;

/* Memory descriptions: `any` lets oneDNN choose. */
typedef struct conv_md {
    dnnl_memory_desc_t x, y, bias, plain, any, any_float;
    dnnl_dims_t stride, dilation, pad_begin, pad_end;
} conv_md;

static md_status dnnl_fail(md_error *err, dnnl_status_t status, const char *what)
{
    return status == dnnl_out_of_memory
               ? md_fail(err, MD_NOMEM, "oneDNN: no memory for %s", what)
               : md_fail(err, MD_INTERNAL, "oneDNN: status %d at %s", (int)status, what);
}

void md_dnnl_train_destroy(struct md_dnnl_train *d)
{
    if (d == NULL) {
        return;
    }
    if (d->stream != NULL) {
        (void)dnnl_stream_destroy(d->stream);
    }
    if (d->engine != NULL) {
        (void)dnnl_engine_destroy(d->engine);
    }
    md_free(d);
}

md_status md_dnnl_train_create(struct md_dnnl_train **ret, md_error *err)
{
    struct md_dnnl_train *d = md_calloc(1, sizeof *d);
    if (d == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the back end");
    }
    (void)dnnl_set_primitive_cache_capacity(CACHE_CAPACITY); /* less is only slower */
    dnnl_status_t status = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    }
    if (status != dnnl_success) {
        md_dnnl_train_destroy(d);
        return dnnl_fail(err, status, "making an engine");
    }
    *ret = d;
    return MD_OK;
}

static void bound_finish(bound *b)
{
    for (int i = 0; i < b->n_args; i++) {
        (void)dnnl_memory_destroy(b->args[i].memory);
    }
    if (b->primitive != NULL) {
        (void)dnnl_primitive_destroy(b->primitive);
    }
    memset(b, 0, sizeof *b);
}

static void pass_finish(pass *p)
{
    bound_finish(&p->run);
    bound_finish(&p->reorder);
}

static void release(md_train_layer *layer)
{
    conv_state *state = layer->state;
    if (state != NULL) {
        pass_finish(&state->forward);
        pass_finish(&state->back_data);
        pass_finish(&state->back_weights);
        md_free(state);
        layer->state = NULL;
    }
}

static dnnl_status_t add_arg(const md_trainer *t, bound *b, int arg,
                             const dnnl_memory_desc_t *md)
{
    dnnl_exec_arg_t *to = &b->args[b->n_args];
    to->arg = arg;
    const dnnl_status_t status =
        dnnl_memory_create(&to->memory, md, t->dnnl->engine, DNNL_MEMORY_NONE);
    b->n_args += status == dnnl_success ? 1 : 0;
    return status;
}

/* addresses in the order of the arguments */
static md_status bound_run(const md_trainer *t, bound *b, void *const *addresses, md_error *err)
{
    for (int i = 0; i < b->n_args; i++) {
        (void)dnnl_memory_set_data_handle(b->args[i].memory, addresses[i]);
    }
    const dnnl_status_t status =
        dnnl_primitive_execute(b->primitive, t->dnnl->stream, b->n_args, b->args);
    return status == dnnl_success ? MD_OK : dnnl_fail(err, status, "running a primitive");
}

static dnnl_status_t make_reorder(const md_trainer *t, pass *p, const dnnl_memory_desc_t *from,
                                  const dnnl_memory_desc_t *to)
{
    dnnl_primitive_desc_t pd;
    if (dnnl_memory_desc_equal(from, to)) {
        return dnnl_success;
    }
    p->reorders = true;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, from, t->dnnl->engine, to,
                                                              t->dnnl->engine, NULL);
    if (status != dnnl_success) {
        return status;
    }
    status = dnnl_primitive_create(&p->reorder.primitive, pd);
    (void)dnnl_primitive_desc_destroy(pd);
    if (status == dnnl_success) {
        status = add_arg(t, &p->reorder, DNNL_ARG_FROM, from);
    }
    return status == dnnl_success ? add_arg(t, &p->reorder, DNNL_ARG_TO, to) : status;
}

/* What a pass works on, in the order of its arguments. */
typedef struct pass_args {
    int arg[MAX_ARGS - 1];
    const dnnl_memory_desc_t *md[MAX_ARGS - 1];
    int n;
} pass_args;

static dnnl_status_t finish_pass(const md_trainer *t, pass *p, const_dnnl_primitive_desc_t pd,
                                 const pass_args *args)
{
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    dnnl_status_t status = dnnl_primitive_create(&p->run.primitive, pd);
    for (int i = 0; i < args->n && status == dnnl_success; i++) {
        status = add_arg(t, &p->run, args->arg[i], args->md[i]);
    }
    return status == dnnl_success ? add_arg(t, &p->run, DNNL_ARG_SCRATCHPAD, scratch) : status;
}

/* oneDNN has a plain loop for what it has no kernel for: a thousand times slower than ours. */
static bool is_plain_loop(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           name != NULL && strncmp(name, "ref", 3) == 0;
}

static dnnl_status_t describe(const md_trainer *t, const dnnl_convolution_desc_t *desc,
                              const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *ret)
{
    dnnl_primitive_attr_t attr;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status != dnnl_success) {
        return status;
    }
    status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(ret, desc, attr, t->dnnl->engine, hint);
    }
    (void)dnnl_primitive_attr_destroy(attr);
    if (status == dnnl_success && is_plain_loop(*ret) &&
        desc->src_desc.data_type != dnnl_bf16 && desc->diff_src_desc.data_type != dnnl_bf16) {
        (void)dnnl_primitive_desc_destroy(*ret);
        *ret = NULL;
        return dnnl_unimplemented;
    }
    return status;
}

static dnnl_status_t describe_memory(const md_trainer *t, const md_train_layer *layer,
                                     conv_md *ret)
{
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    const md_conv_params *p = &layer->node.p.conv;
    const md_window *w = &p->window;
    const dnnl_data_type_t type = x->bf16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_dims_t xs = {t->n, x->c, x->h, x->w}, ys = {t->n, y->c, y->h, y->w};
    const dnnl_dims_t grouped = {p->group, y->c / p->group, x->c / p->group, w->kernel[1],
                                 w->kernel[2]};
    const dnnl_dims_t bias = {y->c};
    const int first = p->group > 1 ? 0 : 1, n = 5 - first;
    for (int i = 0; i < 2; i++) {
        ret->stride[i] = w->stride[i + 1];
        ret->dilation[i] = w->dilation[i + 1] - 1;
        ret->pad_begin[i] = w->pad_begin[i + 1];
        ret->pad_end[i] = w->pad_end[i + 1];
    }
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(&ret->x, 4, xs, type, dnnl_nhwc);
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&ret->y, 4, ys, type, dnnl_nhwc);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&ret->bias, 1, bias, dnnl_f32, dnnl_a);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&ret->plain, n, grouped + first, dnnl_f32,
                                              n == 5 ? dnnl_abcde : dnnl_abcd);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&ret->any, n, grouped + first, type,
                                              dnnl_format_tag_any);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&ret->any_float, n, grouped + first, dnnl_f32,
                                              dnnl_format_tag_any);
    }
    return status;
}

/* *ret_pd is what the other two passes take as a hint. */
static dnnl_status_t make_forward(const md_trainer *t, const conv_md *m, bool has_bias, pass *p,
                                  dnnl_primitive_desc_t *ret_pd)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, &m->x, &m->any,
        has_bias ? &m->bias : NULL, &m->y, m->stride, m->dilation, m->pad_begin, m->pad_end);
    if (status == dnnl_success) {
        status = describe(t, &desc, NULL, ret_pd);
    }
    if (status != dnnl_success) {
        return status;
    }
    const dnnl_memory_desc_t *w =
        dnnl_primitive_desc_query_md(*ret_pd, dnnl_query_weights_md, 0);
    p->weight_bytes = dnnl_memory_desc_get_size(w);
    const pass_args args = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
                            {&m->x, w, &m->y, &m->bias},
                            has_bias ? 4 : 3};
    status = finish_pass(t, p, *ret_pd, &args);
    return status == dnnl_success ? make_reorder(t, p, &m->plain, w) : status;
}

static dnnl_status_t make_back_data(const md_trainer *t, const conv_md *m,
                                    const_dnnl_primitive_desc_t hint, pass *p)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, &m->x, &m->any, &m->y, m->stride, m->dilation,
        m->pad_begin, m->pad_end);
    if (status == dnnl_success) {
        status = describe(t, &desc, hint, &pd);
    }
    if (status != dnnl_success) {
        return status;
    }
    const dnnl_memory_desc_t *w = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    p->weight_bytes = dnnl_memory_desc_get_size(w);
    const pass_args args = {
        {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC}, {&m->y, w, &m->x}, 3};
    status = finish_pass(t, p, pd, &args);
    if (status == dnnl_success) {
        status = make_reorder(t, p, &m->plain, w);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    return status;
}

static dnnl_status_t make_back_weights(const md_trainer *t, const conv_md *m, bool has_bias,
                                       const_dnnl_primitive_desc_t hint, pass *p)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_status_t status = dnnl_dilated_convolution_backward_weights_desc_init(
        &desc, dnnl_convolution_direct, &m->x, &m->any_float, has_bias ? &m->bias : NULL, &m->y,
        m->stride, m->dilation, m->pad_begin, m->pad_end);
    if (status == dnnl_success) {
        status = describe(t, &desc, hint, &pd);
    }
    if (status != dnnl_success) {
        return status;
    }
    const dnnl_memory_desc_t *w =
        dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
    p->weight_bytes = dnnl_memory_desc_get_size(w);
    const pass_args args = {
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS},
        {&m->x, &m->y, w, &m->bias},
        has_bias ? 4 : 3};
    status = finish_pass(t, p, pd, &args);
    if (status == dnnl_success) {
        status = make_reorder(t, p, w, &m->plain);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    return status;
}

static dnnl_status_t make_passes(const md_trainer *t, const md_train_layer *layer,
                                 conv_state *state)
{
    const bool has_bias = layer->parameters[BIAS] != MD_NO_PARAMETER;
    conv_md m;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t status = describe_memory(t, layer, &m);
    if (status == dnnl_success) {
        status = make_forward(t, &m, has_bias, &state->forward, &hint);
    }
    if (status == dnnl_success) {
        status = make_back_data(t, &m, hint, &state->back_data);
    }
    if (status == dnnl_success) {
        status = make_back_weights(t, &m, has_bias, hint, &state->back_weights);
    }
    if (hint != NULL) {
        (void)dnnl_primitive_desc_destroy(hint);
    }
    return status;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t pass_bytes(const pass *p)
{
    return aligned(p->weight_bytes) + aligned(p->scratch_bytes);
}

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    release(layer);
    conv_state *state = md_calloc(1, sizeof *state);
    if (state == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a convolution");
    }
    layer->state = state;
    const dnnl_status_t status = make_passes(t, layer, state);
    const md_feature *x = md_train_layer_in(t, layer, 0);
    if (status == dnnl_unimplemented && !x->bf16) { /* the same features, so ours can do it */
        release(layer);
        layer->kind = &md_train_layer_conv_blas;
        return layer->kind->prepare(t, layer, err);
    }
    if (status == dnnl_unimplemented) {
        return md_fail(err, MD_UNSUPPORTED, "oneDNN has no such convolution in bfloat16");
    }
    if (status != dnnl_success) {
        return dnnl_fail(err, status, "describing a convolution");
    }
    const size_t gradient = (size_t)t->n * x->n_per_image * md_feature_element_bytes(x);
    const size_t aside =
        (t->parameters[layer->parameters[WEIGHT]].n + (size_t)md_train_layer_out(t, layer)->c) *
        sizeof(float);
    const size_t sizes[] = {pass_bytes(&state->forward),
                            pass_bytes(&state->back_data) + gradient,
                            pass_bytes(&state->back_weights) + aside};
    layer->scratch_bytes = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        layer->scratch_bytes =
            sizes[i] > layer->scratch_bytes ? sizes[i] : layer->scratch_bytes;
    }
    return MD_OK;
}

/* A value as oneDNN takes it: its handles are not const. */
static void *mutable_value(const md_trainer *t, const md_train_layer *layer, unsigned i)
{
    return (void *)(uintptr_t)md_train_layer_value(t, layer, i);
}

/* The weights in the pass's order: themselves, or a copy at the start of the scratch memory. */
static md_status pass_weights(md_trainer *t, const md_train_layer *layer, pass *p, void **ret,
                              md_error *err)
{
    *ret = mutable_value(t, layer, WEIGHT);
    if (!p->reorders) {
        return MD_OK;
    }
    void *const addresses[] = {*ret, t->scratch};
    *ret = t->scratch;
    return bound_run(t, &p->reorder, addresses, err);
}

static void *pass_scratch(const md_trainer *t, const pass *p)
{
    return (uint8_t *)t->scratch + aligned(p->weight_bytes);
}

typedef struct clamp_call {
    const md_train_kernels *kernels;
    uint8_t *y;
    size_t element_bytes;
    const md_clamp *clamp;
} clamp_call;

static void clamp_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const clamp_call *c = data;
    uint8_t *y = c->y + begin * c->element_bytes;
    c->kernels->clamp(y, y, end - begin, c->clamp);
}

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    conv_state *state = layer->state;
    const md_feature *y = md_train_layer_out(t, layer);
    void *weights;
    MD_TRY(pass_weights(t, layer, &state->forward, &weights, err));
    void *const with_bias[] = {md_train_layer_in(t, layer, 0)->data, weights, y->data,
                               mutable_value(t, layer, BIAS), pass_scratch(t, &state->forward)};
    void *const without[] = {with_bias[0], with_bias[1], with_bias[2], with_bias[4]};
    const bool has_bias = layer->parameters[BIAS] != MD_NO_PARAMETER;
    MD_TRY(bound_run(t, &state->forward.run, has_bias ? with_bias : without, err));
    if (layer->clamped) {
        clamp_call c = {md_kernels_of(t, y), y->data, md_feature_element_bytes(y),
                        &layer->clamp};
        md_over_rows(t, (size_t)t->n * y->n_per_image, clamp_part, &c);
    }
    return MD_OK;
}

/* One primitive makes the gradients of weights and bias. Where one of them may not go to its
 * place at once (it is frozen, or another layer has written there) it goes to `aside`. */
static float *gradient_place(md_trainer *t, const md_train_layer *layer, unsigned i,
                             float *aside)
{
    return md_wants_parameter(t, layer, i) && !t->wrote[layer->parameters[i]]
               ? md_parameter_gradient(t, layer, i)
               : aside;
}

static void gradient_done(md_trainer *t, const md_train_layer *layer, unsigned i,
                          const float *made)
{
    if (md_wants_parameter(t, layer, i)) {
        const int p = layer->parameters[i];
        if (t->wrote[p]) {
            t->kernels[0]->copy(made, t->parameters[p].gradient, MD_WRITE_ADD,
                                t->parameters[p].n);
        }
        t->wrote[p] = true;
    }
}

static md_status back_weights(md_trainer *t, md_train_layer *layer, md_error *err)
{
    pass *p = &((conv_state *)layer->state)->back_weights;
    const bool has_bias = layer->parameters[BIAS] != MD_NO_PARAMETER;
    float *aside = (float *)(void *)((uint8_t *)t->scratch + pass_bytes(p));
    float *dw = gradient_place(t, layer, WEIGHT, aside);
    aside += t->parameters[layer->parameters[WEIGHT]].n;
    float *db = has_bias ? gradient_place(t, layer, BIAS, aside) : NULL;
    void *made = p->reorders ? t->scratch : dw;
    void *const with_bias[] = {md_train_layer_in(t, layer, 0)->data,
                               md_train_layer_out(t, layer)->gradient, made, db,
                               pass_scratch(t, p)};
    void *const without[] = {with_bias[0], with_bias[1], with_bias[2], with_bias[4]};
    MD_TRY(bound_run(t, &p->run, has_bias ? with_bias : without, err));
    if (p->reorders) {
        void *const addresses[] = {t->scratch, dw};
        MD_TRY(bound_run(t, &p->reorder, addresses, err));
    }
    gradient_done(t, layer, WEIGHT, dw);
    if (has_bias) {
        gradient_done(t, layer, BIAS, db);
    }
    return MD_OK;
}

typedef struct add_call {
    const md_train_kernels *kernels;
    const uint8_t *from;
    uint8_t *to;
    size_t element_bytes;
} add_call;

static void add_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const add_call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->copy(c->from + at, c->to + at, MD_WRITE_ADD, end - begin);
}

static md_status back_data(md_trainer *t, md_train_layer *layer, md_error *err)
{
    pass *p = &((conv_state *)layer->state)->back_data;
    md_feature *x = md_train_layer_in(t, layer, 0);
    const bool add = md_gradient_write(x) == MD_WRITE_ADD;
    void *weights, *dx = x->gradient;
    MD_TRY(pass_weights(t, layer, p, &weights, err));
    if (add) {
        dx = (uint8_t *)t->scratch + pass_bytes(p);
    }
    void *const addresses[] = {md_train_layer_out(t, layer)->gradient, weights, dx,
                               pass_scratch(t, p)};
    MD_TRY(bound_run(t, &p->run, addresses, err));
    if (add) {
        add_call c = {md_kernels_of(t, x), dx, x->gradient, md_feature_element_bytes(x)};
        md_over_rows(t, (size_t)t->n * x->n_per_image, add_part, &c);
    }
    return MD_OK;
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    md_mask_gradient(t, layer);
    if (md_wants_parameter(t, layer, WEIGHT) || md_wants_parameter(t, layer, BIAS)) {
        MD_TRY(back_weights(t, layer, err));
    }
    return md_wants_gradient(t, md_train_layer_in(t, layer, 0)) ? back_data(t, layer, err)
                                                                : MD_OK;
}

const md_train_layer_kind md_train_layer_conv_dnnl = {.name = "convolution",
                                                      .needs_inputs = true,
                                                      .prepare = prepare,
                                                      .forward = forward,
                                                      .backward = backward,
                                                      .release = release};
