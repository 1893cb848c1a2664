#include "inference/backend/pointwise.h"

#include "inference/backend/avx512.h"
#include "inference/backend/multiply512.h"

enum {
    LANES = MD_MULTIPLY_LANES,
    ROWS = MD_MULTIPLY_ROWS,
    PANEL = MD_MULTIPLY_PANEL,
    MAX_STRIPS = 8,               /* of ROWS rows, that are packed at once */
    MAX_PACKED_BYTES = 192 << 10, /* of them: they share the second-level cache with a panel */
    /* With few positions the weights are most of what is read: parts then take panels of
     * output channels, and not rows. */
    MAX_ROWS_BY_PANEL = 64
};

static size_t strip_bytes(const md_pointwise *s)
{
    return ROWS * s->c_in * (s->bf16 ? 2 : 4);
}

static size_t n_strips(const md_pointwise *s)
{
    const size_t n = MAX_PACKED_BYTES / strip_bytes(s);
    return n < 1 ? 1 : n > MAX_STRIPS ? MAX_STRIPS : n;
}

static size_t part_bytes(const md_pointwise *s)
{
    return n_strips(s) * strip_bytes(s) + ROWS * PANEL * sizeof(float);
}

size_t md_pointwise_scratch_bytes(const md_pointwise *s)
{
    return s->n_parts * part_bytes(s) + 64;
}

#if defined(__x86_64__)
bool md_pointwise_is_supported(bool bf16)
{
    return md_has_avx512() && (!bf16 || __builtin_cpu_supports("avx512bf16"));
}

/* f(x) of some rows: packed [groups of 64 bytes][ROWS][64 bytes]. */
MD_AVX512 MD_ALWAYS_INLINE void pack_rows(const md_pointwise *s, const md_pointwise_operands *o,
                                          size_t first, size_t n, void *packed, md_lanes type)
{
    const size_t group = type == MD_LANES_F32 ? LANES : 2 * LANES;
    const __m512 least = _mm512_set1_ps(s->least);
    for (size_t c = 0; c < s->c_in; c += LANES) {
        const size_t to = c / group * group * ROWS + c % group;
        __m512 scale = _mm512_set1_ps(1.0F), shift = _mm512_setzero_ps();
        if (o->scale != NULL) {
            scale = _mm512_loadu_ps(o->scale + c);
            shift = _mm512_loadu_ps(o->shift + c);
        }
        for (size_t row = 0; row < n; row++) {
            __m512 x = md_load_16(o->x, (first + row) * s->x_stride + c, type);
            if (o->scale != NULL) {
                /* max(x, y): the second when one is a NaN */
                x = _mm512_max_ps(least, _mm512_fmadd_ps(x, scale, shift));
            }
            md_store_16(packed, to + row * group, type, x);
        }
    }
}

/* Bias and activation of the sums of some rows and one panel. */
MD_AVX512 MD_ALWAYS_INLINE void finish_rows(const md_pointwise *s,
                                            const md_pointwise_operands *o, const float *sums,
                                            size_t first, size_t n, size_t k, md_lanes type)
{
    const __m512 low = _mm512_set1_ps(s->low), high = _mm512_set1_ps(s->high);
    for (size_t half = 0; half < PANEL; half += LANES) {
        const __m512 bias =
            o->bias == NULL ? _mm512_setzero_ps() : _mm512_loadu_ps(o->bias + k + half);
        for (size_t row = 0; row < n; row++) {
            const size_t at = first + row;
            __m512 y = _mm512_add_ps(_mm512_loadu_ps(sums + row * PANEL + half), bias);
            y = _mm512_min_ps(high, _mm512_max_ps(low, y));
            md_store_16(o->y, at * s->y_stride + k + half, type, y);
        }
    }
}

/* Rows first..last-1, as many as are packed at once, and channels from..to-1. */
MD_AVX512 MD_ALWAYS_INLINE void run_block(const md_pointwise *s, const md_pointwise_operands *o,
                                          size_t first, size_t last, size_t from, size_t to,
                                          uint8_t *packed, md_lanes type)
{
    const size_t n = last - first, n_here = (n + ROWS - 1) / ROWS;
    const size_t size = type == MD_LANES_F32 ? 4 : 2;
    const size_t n_groups = s->c_in * size / 64;
    float *sums = (float *)(void *)(packed + n_strips(s) * strip_bytes(s));
    for (size_t i = 0; i < n_here; i++) {
        const size_t at = first + n * i / n_here, end = first + n * (i + 1) / n_here;
        pack_rows(s, o, at, end - at, packed + i * strip_bytes(s), type);
    }
    for (size_t k = from; k < to; k += PANEL) {
        const uint8_t *w = (const uint8_t *)o->w + k * s->c_in * size;
        for (size_t i = 0; i < n_here; i++) {
            const size_t at = first + n * i / n_here, end = first + n * (i + 1) / n_here;
            const void *v = packed + i * strip_bytes(s);
            const unsigned rows = (unsigned)(end - at);
            if (type == MD_LANES_F32) {
                md_multiply_f32(v, (const void *)w, n_groups, sums, PANEL, rows);
            } else {
                md_multiply_bf16(v, w, n_groups, sums, PANEL, rows);
            }
            finish_rows(s, o, sums, at, rows, k, type);
        }
    }
}

MD_AVX512 static void run_f32(const md_pointwise *s, const md_pointwise_operands *o,
                              size_t first, size_t last, size_t from, size_t to,
                              uint8_t *packed)
{
    run_block(s, o, first, last, from, to, packed, MD_LANES_F32);
}

MD_AVX512 static void run_bf16(const md_pointwise *s, const md_pointwise_operands *o,
                               size_t first, size_t last, size_t from, size_t to,
                               uint8_t *packed)
{
    run_block(s, o, first, last, from, to, packed, MD_LANES_BF16);
}

void md_pointwise_run(const md_pointwise *s, const md_pointwise_operands *o, unsigned part)
{
    size_t first = 0, last = s->n_rows, from = 0, to = s->c_out;
    const size_t n_panels = s->c_out / PANEL, n_parts = s->n_parts;
    if (s->n_rows <= MAX_ROWS_BY_PANEL && n_panels >= n_parts) {
        from = n_panels * part / n_parts * PANEL;
        to = n_panels * (part + 1) / n_parts * PANEL;
    } else {
        first = s->n_rows * part / n_parts;
        last = s->n_rows * (part + 1) / n_parts;
    }
    const size_t n = last - first, most = n_strips(s) * ROWS;
    const size_t n_blocks = (n + most - 1) / most;
    uint8_t *packed =
        (uint8_t *)(((uintptr_t)o->scratch + 63) & ~(uintptr_t)63) + part * part_bytes(s);
    for (size_t block = 0; block < n_blocks; block++) {
        (s->bf16 ? run_bf16 : run_f32)(s, o, first + n * block / n_blocks,
                                       first + n * (block + 1) / n_blocks, from, to, packed);
    }
}
#else
bool md_pointwise_is_supported(bool bf16)
{
    (void)bf16;
    return false;
}

void md_pointwise_run(const md_pointwise *s, const md_pointwise_operands *o, unsigned part)
{
    (void)s, (void)o, (void)part;
}
#endif
