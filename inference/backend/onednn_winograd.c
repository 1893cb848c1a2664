/* 3 x 3 convolutions by winograd.h, with bias, residual and activation, between the layers that
 * oneDNN computes. The result goes into a concatenation's buffer when there is one for it. */

#include "inference/backend/onednn_private.h"
#include "inference/backend/winograd.h"

#include <math.h>

enum {
    /* The transformed weights are read once for some 14 tiles: fewer tiles wait for memory.
     * bfloat16's direct convolution is twice as fast, and only many tiles win against it. */
    MIN_TILES = 16,
    MIN_TILES_BF16 = 49,
    /* They are four times as large (in bf16 eight times) as plain ones. */
    MAX_WEIGHT_BYTES = 2560 << 10,
    MIN_CHANNELS = 32 /* with fewer the transformations cost more than they save */
};

typedef struct winograd_step {
    md_winograd s;
    int buffers[6]; /* x, u, y, scratch, then bias and residual when there are any */
    unsigned n_buffers;
    int bias_buffer, residual_buffer;           /* MD_PLAN_NO_BUFFER: none */
    size_t x_offset, y_offset, residual_offset; /* bytes to the first position */
    const void *x, *residual;
    const float *u, *bias;
    void *y, *scratch;
    const md_dnnl *d;
} winograd_step;

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const winograd_step *s = data;
    for (unsigned i = part; i < s->s.n_parts; i += n_parts) {
        md_winograd_run(&s->s, s->x, s->u, s->bias, s->residual, s->y, s->scratch, i);
    }
}

static md_status winograd_run(void *state, md_error *err)
{
    (void)err;
    const winograd_step *s = state;
    md_dnnl_parallel(s->d, run_part, state);
    return MD_OK;
}

static void winograd_bind(void *state, const md_plan *plan)
{
    winograd_step *s = state;
    s->x = md_dnnl_address(plan, s->buffers[0], s->x_offset);
    s->u = md_dnnl_address(plan, s->buffers[1], 0);
    s->y = md_dnnl_address(plan, s->buffers[2], s->y_offset);
    s->scratch = md_dnnl_address(plan, s->buffers[3], 0);
    s->bias = md_dnnl_address(plan, s->bias_buffer, 0);
    s->residual = md_dnnl_address(plan, s->residual_buffer, s->residual_offset);
}

static bool has_rows(const md_dnnl *d, const md_dnnl_layout *layout, int64_t *ret_stride)
{
    size_t stride;
    if (layout->md.data_type != d->wide || !md_dnnl_rows(&layout->md, &stride)) {
        return false;
    }
    *ret_stride = (int64_t)stride;
    return true;
}

static bool is_window(const md_conv_params *conv)
{
    const md_window *w = &conv->window;
    bool fits = w->n_spatial == 2 && conv->group == 1;
    for (unsigned i = 1; i < 3; i++) {
        fits = fits && w->kernel[i] == 3 && w->stride[i] == 1 && w->dilation[i] == 1;
    }
    return fits;
}

/* A rule on shapes, not on times: the same network is computed alike everywhere. Against the
 * direct convolutions of oneDNN 2.6 on Zen 5 (f32, 128 to 32 channels): 2.8 times as fast at 56
 * x 56, 2.0 at 14 x 14. */
static bool pays(const md_dnnl *d, const md_winograd *s)
{
    const int64_t n_tiles = md_winograd_n_tiles(s);
    return s->c_in % 16 == 0 && s->c_out % 32 == 0 && s->c_in >= MIN_CHANNELS &&
           n_tiles >= (d->wide == dnnl_bf16 ? MIN_TILES_BF16 : MIN_TILES) &&
           md_winograd_weight_bytes(s) <= MAX_WEIGHT_BYTES &&
           /* 36 products a tile against 9 a result; tiles at the end may be cut */
           36 * n_tiles * 5 <= 9 * s->n_images * s->out_h * s->out_w * 2;
}

static bool describe(const md_dnnl *d, const md_graph *graph, const md_node *node,
                     const md_dnnl_layout *x, const md_dnnl_layout *residual, md_winograd *ret)
{
    const md_conv_params *conv = &node->p.conv;
    const md_window *w = &conv->window;
    const md_tensor *in = md_node_operand(graph, node, 0), *out = md_node_out(graph, node, 0);
    *ret = (md_winograd){.n_images = out->dims[0],
                         .in_h = w->in[1],
                         .in_w = w->in[2],
                         .out_h = w->out[1],
                         .out_w = w->out[2],
                         .pad_top = w->pad_begin[1],
                         .pad_left = w->pad_begin[2],
                         .bf16 = d->wide == dnnl_bf16,
                         .n_parts = d->n_threads};
    if (!is_window(conv) || in->n_dims != 4 || md_dnnl_is_narrow_conv(d, graph, node) ||
        !md_dnnl_limits(&conv->activation, &ret->low, &ret->high) ||
        !has_rows(d, x, &ret->x_stride) ||
        (conv->has_residual && !has_rows(d, residual, &ret->residual_stride))) {
        return false;
    }
    ret->c_in = in->dims[1];
    ret->c_out = out->dims[1];
    return pays(d, ret) && md_dnnl_has_avx512() && md_winograd_is_supported(ret->bf16);
}

/* A job: the weights, transformed. */
typedef struct weights_job {
    const md_winograd *s;
    const float *w;
    float *u;
} weights_job;

static md_status run_weights(void *data, md_error *err)
{
    (void)err;
    const weights_job *job = data;
    md_winograd_weights(job->s, job->w, job->u);
    return MD_OK;
}

static md_status add_constants(md_plan *plan, const md_graph *graph, const md_node *node,
                               winograd_step *s, md_error *err)
{
    const md_tensor *bias = md_node_in(graph, node, 2);
    s->bias_buffer = MD_PLAN_NO_BUFFER;
    MD_TRY(md_plan_constant(plan, NULL, md_winograd_weight_bytes(&s->s), &s->buffers[1], err));
    weights_job *job = md_pool_alloc(&plan->pool, sizeof *job);
    if (job == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to pack weights");
    }
    *job = (weights_job){&s->s, md_node_operand(graph, node, 1)->data,
                         plan->buffers[s->buffers[1]].data};
    MD_TRY(md_work_add(plan->work, run_weights, job, err));
    if (bias == NULL) {
        return MD_OK;
    }
    MD_TRY(md_plan_constant(plan, bias->data, bias->n_elements * sizeof(float), &s->bias_buffer,
                            err));
    s->buffers[s->n_buffers++] = s->bias_buffer;
    return MD_OK;
}

md_status md_dnnl_emit_winograd(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, const md_dnnl_layout *x,
                                const md_dnnl_layout *residual, bool *ret_done, md_error *err)
{
    md_winograd described;
    md_dnnl_layout y;
    *ret_done = false;
    if (!describe(d, graph, node, x, residual, &described)) {
        return MD_OK;
    }
    winograd_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->s = described;
    s->d = d;
    s->n_buffers = 4;
    s->buffers[0] = x->buffer;
    s->x_offset = md_dnnl_offset_bytes(x);
    s->residual_buffer = MD_PLAN_NO_BUFFER;
    MD_TRY(add_constants(plan, graph, node, s, err));
    MD_TRY(md_dnnl_scratch(d, plan, md_winograd_scratch_bytes(&s->s), &s->buffers[3], err));
    if (node->p.conv.has_residual) {
        s->residual_buffer = s->buffers[s->n_buffers++] = residual->buffer;
        s->residual_offset = md_dnnl_offset_bytes(residual);
    }
    MD_TRY(md_dnnl_rows_result(d, plan, graph, node, &y, err));
    s->buffers[2] = y.buffer;
    s->y_offset = md_dnnl_offset_bytes(&y);
    (void)has_rows(d, &y, &s->s.y_stride);
    const md_plan_step step = {.run = winograd_run,
                               .bind = winograd_bind,
                               .state = s,
                               .kernel = "winograd:avx512_core"};
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, s->n_buffers, err));
    *ret_done = true;
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}
