/* y = x scale + shift, and ReLU, over channels that lie side by side: the batch normalisation
 * before a convolution of DenseNet. Unlike oneDNN's it reads a view of the first channels of a
 * longer row, see onednn_concat.c. */

#include "inference/backend/avx512.h"
#include "inference/backend/onednn_private.h"

#include <math.h>
#include <string.h>

typedef struct scale_step {
    int buffers[4]; /* x, scale, shift, y */
    size_t n_rows, n_channels, x_stride;
    bool relu, x_is_bf16;
    dnnl_data_type_t y_type; /* f32, bf16, u8 */
    const void *x;
    const float *scale, *shift;
    void *y;
    const md_dnnl *d;
} scale_step;

enum {
    BLOCK = 64 /* channels at a time, so that each of the three loops is simple */
};

#define INLINE static inline __attribute__((always_inline))

INLINE float from_bf16(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, half to even; a NaN stays one. */
INLINE uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    return (uint16_t)((bits & 0x7fffffffU) > 0x7f800000U ? (bits >> 16) | 0x40U : rounded);
}

INLINE void scale_block(const scale_step *s, const void *x, size_t at, size_t first, size_t n,
                        float *restrict values)
{
    const float *restrict scale = s->scale + first, *restrict shift = s->shift + first;
    if (s->x_is_bf16) {
        const uint16_t *restrict from = (const uint16_t *)x + at;
        for (size_t c = 0; c < n; c++) {
            values[c] = from_bf16(from[c]) * scale[c] + shift[c];
        }
    } else {
        const float *restrict from = (const float *)x + at;
        for (size_t c = 0; c < n; c++) {
            values[c] = from[c] * scale[c] + shift[c];
        }
    }
    for (size_t c = 0; c < n && s->relu; c++) {
        values[c] = values[c] < 0.0F ? 0.0F : values[c];
    }
}

INLINE void store_block(const scale_step *s, size_t at, size_t n, const float *restrict values)
{
    if (s->y_type == dnnl_f32) {
        memcpy((float *)s->y + at, values, n * sizeof *values);
    } else if (s->y_type == dnnl_bf16) {
        uint16_t *restrict to = (uint16_t *)s->y + at;
        for (size_t c = 0; c < n; c++) {
            to[c] = to_bf16(values[c]);
        }
    } else { /* after ReLU: not negative */
        uint8_t *restrict to = (uint8_t *)s->y + at;
        for (size_t c = 0; c < n; c++) {
            const float limited = values[c] < 255.0F ? values[c] : 255.0F;
            to[c] = (uint8_t)lrintf(limited);
        }
    }
}

/* Rows first..last-1. The three below are this, for different processors. */
INLINE void scale_rows(const scale_step *s, size_t first, size_t last)
{
    float values[BLOCK];
    for (size_t row = first; row < last; row++) {
        for (size_t c = 0; c < s->n_channels; c += BLOCK) {
            const size_t rest = s->n_channels - c, n = rest < BLOCK ? rest : BLOCK;
            scale_block(s, s->x, row * s->x_stride + c, c, n, values);
            store_block(s, row * s->n_channels + c, n, values);
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

/* Rounded once less than scale_rows does (a fused multiply-add), otherwise the same. The last
 * channels, fewer than 16, are computed with some before them anew: the same again. */
MD_AVX512 INLINE void rows_512(const scale_step *s, size_t first, size_t last, md_lanes x_type,
                               md_lanes y_type)
{
    const size_t n = s->n_channels, x_stride = s->x_stride;
    const void *x = s->x;
    void *y = s->y;
    const float *scale = s->scale, *shift = s->shift;
    /* max(x, this): the second is taken when one is a NaN */
    const __m512 least = _mm512_set1_ps(s->relu ? 0.0F : -HUGE_VALF);
    for (size_t row = first; row < last; row++) {
        for (size_t c = 0; c < n; c += 16) {
            const size_t at = c + 16 <= n ? c : n - 16;
            const __m512 value =
                _mm512_fmadd_ps(md_load_16(x, row * x_stride + at, x_type),
                                _mm512_loadu_ps(scale + at), _mm512_loadu_ps(shift + at));
            md_store_16(y, row * n + at, y_type, _mm512_max_ps(least, value));
        }
    }
}

/* At least 16 channels. */
MD_AVX512 static void rows_avx512(const scale_step *s, size_t first, size_t last)
{
    if (!s->x_is_bf16 && s->y_type == dnnl_f32) {
        rows_512(s, first, last, MD_LANES_F32, MD_LANES_F32);
    } else if (!s->x_is_bf16) {
        rows_512(s, first, last, MD_LANES_F32, MD_LANES_U8);
    } else if (s->y_type == dnnl_bf16) {
        rows_512(s, first, last, MD_LANES_BF16, MD_LANES_BF16);
    } else {
        rows_512(s, first, last, MD_LANES_BF16, MD_LANES_U8);
    }
}
#endif

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const scale_step *s = data;
    const size_t first = s->n_rows * part / n_parts, last = s->n_rows * (part + 1) / n_parts;
#if defined(__x86_64__)
    if (s->n_channels >= 16 && md_has_avx512()) {
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

bool md_dnnl_rows(const dnnl_memory_desc_t *md, size_t *ret_stride)
{
    if (md->format_kind != dnnl_blocked || md->ndims < 3 ||
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
    md_dnnl_layout y = {.buffer = MD_PLAN_NO_BUFFER, .scale = 1.0F};
    dnnl_data_type_t type;
    float y_scale;
    if ((x->md.data_type != dnnl_f32 && x->md.data_type != dnnl_bf16) ||
        !md_dnnl_rows(&x->md, &stride) ||
        !md_dnnl_like(&x->md, x->md.ndims, out->dims, &y.md)) {
        return MD_OK;
    }
    scale_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->d = d;
    s->relu = node->p.norm.activation.function == MD_UNARY_RELU;
    s->x_is_bf16 = x->md.data_type == dnnl_bf16;
    if (s->relu && d->narrow[node->outputs[0]] &&
        md_dnnl_quantization(d, node->outputs[0], &type, &y_scale) && type == dnnl_u8) {
        y.md.data_type = dnnl_u8;
        y.scale = y_scale;
    }
    s->y_type = y.md.data_type;
    s->x_stride = stride;
    s->n_channels = (size_t)out->dims[1];
    s->n_rows = out->n_elements / s->n_channels;
    s->buffers[0] = x->buffer;
    MD_TRY(md_plan_constant(plan, scale->data, s->n_channels * sizeof(float), &s->buffers[1],
                            err));
    MD_TRY(md_plan_constant(plan, shift->data, s->n_channels * sizeof(float), &s->buffers[2],
                            err));
    for (size_t c = 0; c < s->n_channels; c++) { /* ReLU of x / s is that of x, over s */
        ((float *)plan->buffers[s->buffers[1]].data)[c] /= y.scale;
        ((float *)plan->buffers[s->buffers[2]].data)[c] /= y.scale;
    }
    MD_TRY(md_dnnl_buffer(plan, &y.md, &y.buffer, err));
    s->buffers[3] = y.buffer;
    const md_plan_step step = {
        .run = scale_run, .bind = scale_bind, .state = s, .kernel = "scale and shift"};
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, 4, err));
    *ret_done = true;
    return md_dnnl_result(d, plan, graph, node->outputs[0], &y, err);
}
