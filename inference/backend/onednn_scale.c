/* y = x scale + shift, and ReLU, over channels that lie side by side: the batch normalisation
 * before a convolution of DenseNet. Unlike oneDNN's it reads a view of the first channels of a
 * longer row, see onednn_concat.c. */

#include "inference/backend/onednn_private.h"

typedef struct scale_step {
    int buffers[4]; /* x, scale, shift, y */
    size_t n_rows, n_channels, x_stride;
    bool relu;
    const float *x, *scale, *shift;
    float *y;
    const md_dnnl *d;
} scale_step;

/* Rows first..last-1. The three below are this, for different processors. */
static inline __attribute__((always_inline)) void scale_rows(const scale_step *s, size_t first,
                                                             size_t last)
{
    const size_t n = s->n_channels;
    const float *restrict scale = s->scale, *restrict shift = s->shift;
    for (size_t row = first; row < last; row++) {
        const float *restrict x = s->x + row * s->x_stride;
        float *restrict y = s->y + row * n;
        if (s->relu) {
            for (size_t c = 0; c < n; c++) {
                const float value = x[c] * scale[c] + shift[c];
                y[c] = value < 0.0F ? 0.0F : value;
            }
        } else {
            for (size_t c = 0; c < n; c++) {
                y[c] = x[c] * scale[c] + shift[c];
            }
        }
    }
}

static void rows_any(const scale_step *s, size_t first, size_t last)
{
    scale_rows(s, first, last);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void rows_avx2(const scale_step *s, size_t first,
                                                      size_t last)
{
    scale_rows(s, first, last);
}

__attribute__((target("avx512f,prefer-vector-width=512"))) static void
rows_avx512(const scale_step *s, size_t first, size_t last)
{
    scale_rows(s, first, last);
}
#endif

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const scale_step *s = data;
    const size_t first = s->n_rows * part / n_parts, last = s->n_rows * (part + 1) / n_parts;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        rows_avx512(s, first, last);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        rows_avx2(s, first, last);
        return;
    }
#endif
    rows_any(s, first, last);
}

static md_status scale_run(void *state, md_error *err)
{
    (void)err;
    const scale_step *s = state;
    md_dnnl_parallel(s->d, run_part, state);
    return MD_OK;
}

static void scale_bind(void *state, const md_plan *plan)
{
    scale_step *s = state;
    s->x = plan->buffers[s->buffers[0]].data;
    s->scale = plan->buffers[s->buffers[1]].data;
    s->shift = plan->buffers[s->buffers[2]].data;
    s->y = plan->buffers[s->buffers[3]].data;
}

/* Rows of channels with one distance between all of them; *ret_stride: that distance. */
static bool is_rows(const dnnl_memory_desc_t *md, size_t *ret_stride)
{
    if (md->format_kind != dnnl_blocked || md->ndims < 3 || md->offset0 != 0 ||
        md->format_desc.blocking.inner_nblks != 0 || md->format_desc.blocking.strides[1] != 1) {
        return false;
    }
    const dnnl_dim_t *strides = md->format_desc.blocking.strides;
    dnnl_dim_t expected = strides[md->ndims - 1];
    *ret_stride = (size_t)expected;
    for (int i = md->ndims; i-- > 0;) {
        if (i == 1) {
            continue;
        }
        if (md->dims[i] != 1 && strides[i] != expected) {
            return false;
        }
        expected *= md->dims[i];
    }
    return true;
}

md_status md_dnnl_emit_scale(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, const md_dnnl_layout *x, bool *ret_done,
                             md_error *err)
{
    const md_tensor *out = md_node_out(graph, node, 0);
    const md_tensor *scale = md_node_operand(graph, node, 1);
    const md_tensor *shift = md_node_operand(graph, node, 2);
    size_t stride;
    md_dnnl_layout y = {.buffer = MD_PLAN_NO_BUFFER};
    if (!is_rows(&x->md, &stride) || !md_dnnl_like(&x->md, x->md.ndims, out->dims, &y.md)) {
        return MD_OK;
    }
    scale_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->d = d;
    s->relu = node->p.norm.activation.function == MD_UNARY_RELU;
    s->x_stride = stride;
    s->n_channels = (size_t)out->dims[1];
    s->n_rows = out->n_elements / s->n_channels;
    s->buffers[0] = x->buffer;
    MD_TRY(md_plan_constant(plan, scale->data, s->n_channels * sizeof(float), &s->buffers[1],
                            err));
    MD_TRY(md_plan_constant(plan, shift->data, s->n_channels * sizeof(float), &s->buffers[2],
                            err));
    MD_TRY(md_dnnl_buffer(plan, &y.md, &y.buffer, err));
    s->buffers[3] = y.buffer;
    const md_plan_step step = {
        .run = scale_run, .bind = scale_bind, .state = s, .kernel = "scale and shift"};
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, 4, err));
    *ret_done = true;
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}
