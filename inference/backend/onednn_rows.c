/* Copies between orders whose channels lie side by side: into and out of a longer row, into and
 * out of 8-bit integers. oneDNN does all of them, one element after the other when types
 * differ. */

#include "inference/backend/avx512.h"
#include "inference/backend/onednn_private.h"

#include <math.h>
#include <string.h>

void *md_dnnl_address(const md_plan *plan, int buffer, size_t offset)
{
    return buffer == MD_PLAN_NO_BUFFER ? NULL : (uint8_t *)plan->buffers[buffer].data + offset;
}

size_t md_dnnl_offset_bytes(const md_dnnl_layout *layout)
{
    return (size_t)layout->md.offset0 * (layout->md.data_type == dnnl_bf16 ? 2 : 4);
}

bool md_dnnl_limits(const md_activation *activation, float *ret_low, float *ret_high)
{
    *ret_low = -INFINITY;
    *ret_high = INFINITY;
    switch ((int)activation->function) {
    case MD_UNARY_IDENTITY:
        return true;
    case MD_UNARY_RELU:
        *ret_low = 0.0F;
        return true;
    case MD_UNARY_CLIP:
        *ret_low = activation->alpha;
        *ret_high = activation->beta;
        return activation->alpha <= activation->beta;
    default:
        return false;
    }
}

md_status md_dnnl_rows_result(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, md_dnnl_layout *ret_y, md_error *err)
{
    bool found;
    const int64_t *out = md_node_out(graph, node, 0)->dims;
    const dnnl_dims_t dims = {out[0], out[1], out[2], out[3]};
    *ret_y = (md_dnnl_layout){.scale = 1.0F};
    if (dnnl_memory_desc_init_by_tag(&ret_y->md, 4, dims, d->wide, dnnl_nhwc) != dnnl_success) {
        return md_fail(err, MD_INTERNAL, "oneDNN: no layout for a result");
    }
    MD_TRY(md_dnnl_place_in_chain(d, plan, graph, node, ret_y, &found, err));
    return found ? MD_OK : md_dnnl_buffer(plan, &ret_y->md, &ret_y->buffer, err);
}

bool md_dnnl_has_avx512(void)
{
#if defined(__x86_64__)
    const unsigned avx512 = dnnl_cpu_isa_avx512_core;
    return ((unsigned)dnnl_get_effective_cpu_isa() & avx512) == avx512 && md_has_avx512();
#else
    return false;
#endif
}

#if defined(__x86_64__)
typedef struct rows_step {
    int buffers[2]; /* x, y */
    md_lanes x_type, y_type;
    size_t x_offset, y_offset; /* bytes */
    size_t n_rows, n_channels, x_stride, y_stride;
    float factor;
    bool planes; /* x is [n_images][COLOURS][n_rows / n_images] */
    size_t n_images;
    const void *x;
    void *y;
    const md_dnnl *d;
} rows_step;

enum {
    COLOURS = 3
};

/* Rows first..last-1. The last channels, fewer than 16, are copied with some before them. */
MD_AVX512 MD_ALWAYS_INLINE void copy_rows(const rows_step *s, size_t first, size_t last,
                                          md_lanes x_type, md_lanes y_type)
{
    const size_t n = s->n_channels, x_stride = s->x_stride, y_stride = s->y_stride;
    const void *x = s->x;
    void *y = s->y;
    const __m512 factor = _mm512_set1_ps(s->factor);
    for (size_t row = first; row < last; row++) {
        for (size_t c = 0; c < n; c += 16) {
            const size_t at = c + 16 <= n ? c : n - 16;
            const __m512 value = md_load_16(x, row * x_stride + at, x_type);
            md_store_16(y, row * y_stride + at, y_type, _mm512_mul_ps(value, factor));
        }
    }
}

MD_AVX512 MD_ALWAYS_INLINE void copy_from(const rows_step *s, size_t first, size_t last,
                                          md_lanes x_type)
{
    switch (s->y_type) {
    case MD_LANES_F32:
        copy_rows(s, first, last, x_type, MD_LANES_F32);
        return;
    case MD_LANES_BF16:
        copy_rows(s, first, last, x_type, MD_LANES_BF16);
        return;
    case MD_LANES_U8:
        copy_rows(s, first, last, x_type, MD_LANES_U8);
        return;
    case MD_LANES_S8:
        copy_rows(s, first, last, x_type, MD_LANES_S8);
        return;
    }
}

MD_AVX512 static void copy_any(const rows_step *s, size_t first, size_t last)
{
    switch (s->x_type) {
    case MD_LANES_F32:
        copy_from(s, first, last, MD_LANES_F32);
        return;
    case MD_LANES_BF16:
        copy_from(s, first, last, MD_LANES_BF16);
        return;
    case MD_LANES_U8:
        copy_from(s, first, last, MD_LANES_U8);
        return;
    case MD_LANES_S8:
        copy_from(s, first, last, MD_LANES_S8);
        return;
    }
}

/* Of three vectors a, b, c the elements a0 b0 c0 a1 b1 ... from the 16 `part`-th on: the places
 * in (a, b) where it is no element of c, and those in (that, c). */
static const int32_t from_a_b[COLOURS][16] = {
    {0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5},
    {21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26},
    {0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0},
};
static const int32_t from_it_c[COLOURS][16] = {
    {0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15},
    {0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15},
    {26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31},
};

/* 16 positions from at on, of three planes that are n apart. */
MD_AVX512 MD_ALWAYS_INLINE void join_16(const float *x, size_t n, void *y, size_t at,
                                        md_lanes y_type)
{
    const __m512 a = _mm512_loadu_ps(x + at), b = _mm512_loadu_ps(x + n + at);
    const __m512 c = _mm512_loadu_ps(x + 2 * n + at);
    for (size_t i = 0; i < COLOURS; i++) {
        const __m512 ab = _mm512_permutex2var_ps(a, _mm512_loadu_si512(from_a_b[i]), b);
        md_store_16(y, COLOURS * at + 16 * i, y_type,
                    _mm512_permutex2var_ps(ab, _mm512_loadu_si512(from_it_c[i]), c));
    }
}

/* Groups first..last-1 of 16 positions. */
MD_AVX512 static void join_planes(const rows_step *s, size_t first, size_t last)
{
    const size_t n = s->n_rows / s->n_images, bytes = s->y_type == MD_LANES_F32 ? 4 : 2;
    for (size_t group = first; group < last; group++) {
        const size_t image = group * 16 / n, at = group * 16 % n;
        const float *x = (const float *)s->x + image * n * COLOURS;
        void *y = (uint8_t *)s->y + image * n * COLOURS * bytes;
        if (s->y_type == MD_LANES_F32) {
            join_16(x, n, y, at, MD_LANES_F32);
        } else {
            join_16(x, n, y, at, MD_LANES_BF16);
        }
    }
}

static void run_part(void *data, unsigned part, unsigned n_parts)
{
    const rows_step *s = data;
    if (s->planes) {
        const size_t n_groups = s->n_rows / 16;
        join_planes(s, n_groups * part / n_parts, n_groups * (part + 1) / n_parts);
        return;
    }
    copy_any(s, s->n_rows * part / n_parts, s->n_rows * (part + 1) / n_parts);
}

static md_status rows_run(void *state, md_error *err)
{
    enum {
        /* elements: to call another thread takes as long as to copy some ten thousand */
        MIN_SHARED = 16384
    };
    const rows_step *s = state;
    (void)err;
    if (s->n_rows * s->n_channels < MIN_SHARED) {
        run_part(state, 0, 1);
    } else {
        md_dnnl_parallel(s->d, run_part, state);
    }
    return MD_OK;
}

static void rows_bind(void *state, const md_plan *plan)
{
    rows_step *s = state;
    s->x = (const uint8_t *)plan->buffers[s->buffers[0]].data + s->x_offset;
    s->y = (uint8_t *)plan->buffers[s->buffers[1]].data + s->y_offset;
}

static bool lanes_of(dnnl_data_type_t type, md_lanes *ret, size_t *ret_bytes)
{
    *ret_bytes = 1;
    switch ((int)type) {
    case dnnl_f32:
        *ret = MD_LANES_F32;
        *ret_bytes = 4;
        return true;
    case dnnl_bf16:
        *ret = MD_LANES_BF16;
        *ret_bytes = 2;
        return true;
    case dnnl_u8:
        *ret = MD_LANES_U8;
        return true;
    case dnnl_s8:
        *ret = MD_LANES_S8;
        return true;
    default:
        return false;
    }
}

/* Row-major float32 [N,3,H,W], H W a multiple of 16. */
static bool is_planes(const dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_t plain;
    return md->ndims == 4 && md->dims[1] == COLOURS && md->dims[2] * md->dims[3] % 16 == 0 &&
           dnnl_memory_desc_init_by_tag(&plain, 4, md->dims, dnnl_f32, dnnl_nchw) ==
               dnnl_success &&
           dnnl_memory_desc_equal(md, &plain);
}

static bool describe(const md_dnnl_layout *from, const md_dnnl_layout *to, rows_step *s)
{
    const int n_dims = from->md.ndims;
    size_t x_bytes, y_bytes;
    if (n_dims != to->md.ndims ||
        memcmp(from->md.dims, to->md.dims, (size_t)n_dims * sizeof *to->md.dims) != 0 ||
        !md_dnnl_rows(&to->md, &s->y_stride) ||
        !lanes_of(from->md.data_type, &s->x_type, &x_bytes) ||
        !lanes_of(to->md.data_type, &s->y_type, &y_bytes)) {
        return false;
    }
    s->x_offset = (size_t)from->md.offset0 * x_bytes;
    s->y_offset = (size_t)to->md.offset0 * y_bytes;
    s->n_images = (size_t)from->md.dims[0];
    s->n_channels = (size_t)from->md.dims[1];
    s->n_rows = 1;
    for (int i = 0; i < n_dims; i++) {
        s->n_rows *= i == 1 ? 1 : (size_t)from->md.dims[i];
    }
    s->factor = from->scale / to->scale;
    s->buffers[0] = from->buffer;
    s->buffers[1] = to->buffer;
    s->planes = s->y_stride == COLOURS && y_bytes > 1 && is_planes(&from->md);
    return (s->planes || (s->n_channels >= 16 && md_dnnl_rows(&from->md, &s->x_stride))) &&
           md_dnnl_has_avx512();
}

md_status md_dnnl_emit_rows(md_dnnl *d, md_plan *plan, const md_node *node,
                            const md_dnnl_layout *from, const md_dnnl_layout *to,
                            bool *ret_done, md_error *err)
{
    rows_step described = {.d = d};
    *ret_done = false;
    if (!describe(from, to, &described)) {
        return MD_OK;
    }
    rows_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    *s = described;
    *ret_done = true;
    const md_plan_step step = {
        .run = rows_run, .bind = rows_bind, .state = s, .kernel = "copy rows"};
    return md_plan_add_step(plan, &step, node, s->buffers, 2, err);
}
#else
md_status md_dnnl_emit_rows(md_dnnl *d, md_plan *plan, const md_node *node,
                            const md_dnnl_layout *from, const md_dnnl_layout *to,
                            bool *ret_done, md_error *err)
{
    (void)d, (void)plan, (void)node, (void)from, (void)to, (void)err;
    *ret_done = false;
    return MD_OK;
}
#endif
