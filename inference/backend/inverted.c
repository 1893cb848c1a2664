#include "inference/backend/inverted.h"

#include "inference/backend/avx512.h"
#include "inference/half.h"

#include <string.h>

enum {
    LANES = 16,
    ROWS = 14,  /* positions that are multiplied at once: 28 sums fill the registers */
    PANEL = 32, /* of the many channels, and of results */
    AHEAD = 24, /* products: how far weights are fetched before they are needed */
    RUN = 7,    /* neighbouring results of the 3 x 3 convolution */
    /* What a band of rows needs: of one panel in the first-level cache, of all in the second.
     */
    MAX_PANEL_BYTES = 48 << 10,
    MAX_DEEP_BYTES = 256 << 10,
    MIN_ROWS = 14 /* of a part: each computes two rows of its neighbours' again */
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

size_t md_inverted_packed_bytes(size_t n_out, size_t n_in, bool bf16)
{
    return round_up(n_out, LANES) * n_in * (bf16 ? 2 : 4);
}

void md_inverted_pack(const float *w, size_t n_out, size_t n_in, bool bf16, void *ret_packed)
{
    const size_t n_padded = round_up(n_out, LANES);
    for (size_t k = 0; k < n_padded; k++) {
        const size_t first = k / PANEL * PANEL, column = k - first;
        const size_t width = n_padded - first < PANEL ? LANES : PANEL;
        for (size_t c = 0; c < n_in; c++) {
            const float value = k < n_out ? w[k * n_in + c] : 0.0F;
            if (bf16) {
                ((uint16_t *)
                     ret_packed)[first * n_in + c / 2 * 2 * width + 2 * column + c % 2] =
                    md_f32_to_bf16(value);
            } else {
                ((float *)ret_packed)[first * n_in + c * width + column] = value;
            }
        }
    }
}

/* How the rows of a part are cut, and what lies where in its scratch memory. */
typedef struct layout {
    bool two_phases;
    size_t n_band;  /* rows of results that are computed before they are multiplied */
    size_t n_slots; /* rows of e that these need */
    bool one_band;  /* then all panels take turns in one place */
    size_t n_panels;
    size_t packed_bytes, e_bytes, d_bytes; /* of a part; two phases: d of all */
} layout;

static size_t element_bytes(const md_inverted *s)
{
    return s->bf16 ? 2 : 4;
}

static size_t row_floats(const md_inverted *s)
{
    return (s->in_w + 2) * PANEL;
}

static size_t strips_bytes(const md_inverted *s, size_t n_positions, size_t n_channels)
{
    return round_up(n_positions, ROWS) * round_up(n_channels, LANES) * element_bytes(s);
}

static layout layout_of(const md_inverted *s)
{
    layout l = {.n_panels = (s->c_mid + PANEL - 1) / PANEL};
    const size_t n_rows = s->n_images * s->out_h;
    l.two_phases = s->n_parts > 1 && n_rows / s->n_parts < MIN_ROWS;
    size_t n_band = s->out_h;
    if (!l.two_phases) {
        const size_t by_panel = MAX_PANEL_BYTES / (row_floats(s) * sizeof(float));
        const size_t by_deep = MAX_DEEP_BYTES / (s->out_w * s->c_mid * element_bytes(s));
        const size_t fitting = by_panel < 3 + s->stride ? 1 : (by_panel - 3) / s->stride + 1;
        n_band = fitting < by_deep ? fitting : by_deep;
        n_band = n_band < 1 ? 1 : n_band > s->out_h ? s->out_h : n_band;
        const size_t n_bands = (s->out_h + n_band - 1) / n_band; /* alike */
        n_band = (s->out_h + n_bands - 1) / n_bands;
    }
    l.n_band = n_band;
    l.one_band = n_band == s->out_h;
    l.n_slots = (n_band - 1) * s->stride + 3;
    const size_t n_windows = l.one_band ? 1 : l.n_panels;
    l.packed_bytes = strips_bytes(s, l.n_slots * s->in_w, s->c_in);
    l.e_bytes = (n_windows * l.n_slots + 1) * row_floats(s) * sizeof(float);
    l.d_bytes = strips_bytes(s, (l.two_phases ? n_rows : n_band) * s->out_w, s->c_mid);
    return l;
}

size_t md_inverted_scratch_bytes(const md_inverted *s)
{
    const layout l = layout_of(s);
    const size_t each = l.packed_bytes + l.e_bytes + (l.two_phases ? 0 : l.d_bytes);
    return s->n_parts * each + (l.two_phases ? l.d_bytes : 0) + 64;
}

unsigned md_inverted_n_phases(const md_inverted *s)
{
    return layout_of(s).two_phases ? 2 : 1;
}

#if defined(__x86_64__)
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

bool md_inverted_is_supported(const md_inverted *s)
{
    const bool reaches = (s->out_h - 1) * s->stride + 3 <= s->in_h + s->pad_top + 1 &&
                         (s->out_w - 1) * s->stride + 3 <= s->in_w + s->pad_left + 1;
    return md_has_avx512() && (!s->bf16 || __builtin_cpu_supports("avx512bf16")) &&
           s->n_images > 0 && s->in_h > 0 && s->in_w > 0 && s->out_h > 0 && s->out_w > 0 &&
           s->c_in % 8 == 0 && s->c_out % 8 == 0 && s->c_mid % LANES == 0 && s->c_in > 0 &&
           s->c_mid > 0 && s->c_out > 0 && (s->stride == 1 || s->stride == 2) &&
           s->pad_top <= 1 && s->pad_left <= 1 && reaches &&
           (s->expands || s->c_in == s->c_mid);
}

/* Where the products of some rows go. */
typedef struct target {
    void *y[ROWS];
    const void *residual[ROWS]; /* all or none */
    __mmask16 last;             /* of the last 16 columns: those that there are */
    float low, high;
    bool adds, bf16; /* bf16: what y and the residual are */
} target;

MD_AVX512 MD_ALWAYS_INLINE __m512 load_some(const void *x, size_t at, __mmask16 mask, bool bf16)
{
    if (!bf16) {
        return _mm512_maskz_loadu_ps(mask, (const float *)x + at);
    }
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)x + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

MD_AVX512 MD_ALWAYS_INLINE void store_some(void *y, size_t at, __mmask16 mask, bool bf16,
                                           __m512 value)
{
    if (mask == 0xffff) {
        md_store_16(y, at, bf16 ? MD_LANES_BF16 : MD_LANES_F32, value);
    } else if (bf16) {
        _mm256_mask_storeu_epi16((uint16_t *)y + at, mask, md_to_bf16(value));
    } else {
        _mm512_mask_storeu_ps((float *)y + at, mask, value);
    }
}

/* Adds the residual, limits and stores the sums. */
MD_AVX512 MD_ALWAYS_INLINE void finish(const target *to, __m512 sum[ROWS][2],
                                       const unsigned rows, const unsigned columns,
                                       const bool adds, const bool bf16)
{
    const __m512 low = _mm512_set1_ps(to->low), high = _mm512_set1_ps(to->high);
    const __mmask16 last = to->last;
#pragma GCC unroll 14
    for (unsigned i = 0; i < rows; i++) {
        void *y = to->y[i];
#pragma GCC unroll 2
        for (unsigned j = 0; j < columns; j++) {
            const __mmask16 mask = j + 1 == columns ? last : (__mmask16)0xffff;
            if (adds) {
                sum[i][j] = _mm512_add_ps(
                    sum[i][j], load_some(to->residual[i], (size_t)j * LANES, mask, bf16));
            }
            /* max(x, y): the second when one is a NaN */
            store_some(y, (size_t)j * LANES, mask, bf16,
                       _mm512_min_ps(high, _mm512_max_ps(low, sum[i][j])));
        }
    }
}

/* Some rows times a panel of 16 or 32 columns, with all sums in registers: v [groups of
 * 16][ROWS][16], u [n][columns], bfloat16 in pairs. Both kernels are this text: the compiler
 * keeps sum[][] in registers only where it knows how many there are. */
#define MULTIPLY(rows, columns, vector, broadcast, load, add)                                  \
    __m512 sum[ROWS][2];                                                                       \
    _Pragma("GCC unroll 14") for (unsigned i = 0; i < (rows); i++)                             \
    {                                                                                          \
        _Pragma("GCC unroll 2") for (unsigned j = 0; j < (columns); j++)                       \
        {                                                                                      \
            sum[i][j] = _mm512_loadu_ps(bias + (j)*LANES);                                     \
        }                                                                                      \
    }                                                                                          \
    for (size_t done = 0; done < n; done += step, v += ROWS * step) {                          \
        const size_t n_here = n - done < step ? n - done : step;                               \
        for (size_t lane = 0; lane < n_here; lane++, u += (columns)*LANES) {                   \
            vector w[2];                                                                       \
            _mm_prefetch((const char *)(u + AHEAD * (columns)*LANES), _MM_HINT_T0);            \
            _mm_prefetch((const char *)(u + (AHEAD * (columns) + (columns)-1) * LANES),        \
                         _MM_HINT_T0);                                                         \
            _Pragma("GCC unroll 2") for (unsigned j = 0; j < (columns); j++)                   \
            {                                                                                  \
                w[j] = load(u + (j)*LANES);                                                    \
            }                                                                                  \
            _Pragma("GCC unroll 14") for (unsigned i = 0; i < (rows); i++)                     \
            {                                                                                  \
                const vector value = broadcast(v[i * step + lane]);                            \
                _Pragma("GCC unroll 2") for (unsigned j = 0; j < (columns); j++)               \
                {                                                                              \
                    sum[i][j] = add(sum[i][j], value, w[j]);                                   \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    if (to->adds) {                                                                            \
        finish(to, sum, rows, columns, true, to->bf16);                                        \
    } else if (to->bf16) {                                                                     \
        finish(to, sum, rows, columns, false, true);                                           \
    } else {                                                                                   \
        finish(to, sum, rows, columns, false, false);                                          \
    }

#define ADD_F32(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define LOAD_PAIRS(u) ((__m512bh)_mm512_loadu_si512(u))
#define BROADCAST_PAIR(x) ((__m512bh)_mm512_set1_epi32(x))

MD_AVX512 MD_ALWAYS_INLINE void rows_f32(const float *v, const float *u, size_t n,
                                         const float *bias, const target *to,
                                         const unsigned rows, const unsigned columns)
{
    const size_t step = LANES;
    MULTIPLY(rows, columns, __m512, _mm512_set1_ps, _mm512_loadu_ps, ADD_F32)
}

/* n is that of pairs. */
AVX512_BF16 MD_ALWAYS_INLINE void rows_bf16(const int32_t *v, const int32_t *u, size_t n,
                                            const float *bias, const target *to,
                                            const unsigned rows, const unsigned columns)
{
    const size_t step = LANES / 2;
    MULTIPLY(rows, columns, __m512bh, BROADCAST_PAIR, LOAD_PAIRS, _mm512_dpbf16_ps)
}

#define CASE(function, n, columns)                                                             \
    case n:                                                                                    \
        function(v, u, n_in, bias, to, n, columns);                                            \
        return;
#define CASES(function, columns)                                                               \
    switch (rows) {                                                                            \
        CASE(function, 1, columns)                                                             \
        CASE(function, 2, columns)                                                             \
        CASE(function, 3, columns)                                                             \
        CASE(function, 4, columns)                                                             \
        CASE(function, 5, columns)                                                             \
        CASE(function, 6, columns)                                                             \
        CASE(function, 7, columns)                                                             \
        CASE(function, 8, columns)                                                             \
        CASE(function, 9, columns)                                                             \
        CASE(function, 10, columns)                                                            \
        CASE(function, 11, columns)                                                            \
        CASE(function, 12, columns)                                                            \
        CASE(function, 13, columns)                                                            \
        CASE(function, 14, columns)                                                            \
    default:                                                                                   \
        return;                                                                                \
    }

MD_AVX512 static void multiply_f32(const float *v, const float *u, size_t n_in,
                                   const float *bias, const target *to, unsigned rows,
                                   unsigned columns)
{
    if (columns == 2) {
        CASES(rows_f32, 2)
    }
    CASES(rows_f32, 1)
}

AVX512_BF16 static void multiply_bf16(const int32_t *v, const int32_t *u, size_t n_in,
                                      const float *bias, const target *to, unsigned rows,
                                      unsigned columns)
{
    if (columns == 2) {
        CASES(rows_bf16, 2)
    }
    CASES(rows_bf16, 1)
}

/* Strip `strip` of v times outputs first..first+31 of packed weights; to->last is set here. */
static void multiply(const md_inverted *s, const uint8_t *v, size_t n_in, const void *w,
                     const float *bias, size_t n_out, size_t first, target *to, unsigned rows)
{
    const size_t left = n_out - first;
    const unsigned columns = left <= LANES ? 1 : 2;
    const size_t in_last = left >= PANEL ? LANES : (left - 1) % LANES + 1;
    const uint8_t *u = (const uint8_t *)w + first * n_in * element_bytes(s);
    to->last = (__mmask16)((1U << in_last) - 1U);
    if (s->bf16) {
        multiply_bf16((const void *)v, (const void *)u, n_in / 2, bias + first, to, rows,
                      columns);
    } else {
        multiply_f32((const void *)v, (const void *)u, n_in, bias + first, to, rows, columns);
    }
}

/* What a part works with. */
typedef struct work {
    const md_inverted *s;
    const md_inverted_operands *o;
    layout l;
    uint8_t *packed, *d;
    float *e, *zeros; /* zeros: a row */
} work;

/* Row i of e in the window of a panel; outside the picture zeros. */
static float *row_of(const work *w, size_t panel, ptrdiff_t i)
{
    if (i < 0 || (size_t)i >= w->s->in_h) {
        return w->zeros;
    }
    const size_t window = w->l.one_band ? 0 : panel * w->l.n_slots;
    return w->e + (window + (size_t)i % w->l.n_slots) * row_floats(w->s);
}

static size_t panel_width(const md_inverted *s, size_t panel)
{
    return s->c_mid - panel * PANEL < PANEL ? LANES : PANEL;
}

static const uint8_t *x_at(const work *w, size_t image, size_t row)
{
    const md_inverted *s = w->s;
    return (const uint8_t *)w->o->x +
           (image * s->in_h + row) * s->in_w * s->x_stride * element_bytes(s);
}

/* Rows of x in strips: [strip][groups of 16][ROWS][16], zeros after c_in. */
MD_AVX512 static void pack_x(const work *w, size_t image, size_t first, size_t last)
{
    const md_inverted *s = w->s;
    const uint8_t *x = x_at(w, image, first);
    const size_t n = (last - first) * s->in_w, size = element_bytes(s);
    const size_t strip_elements = ROWS * round_up(s->c_in, LANES);
    uint8_t *strip = w->packed;
    for (size_t i = 0, row = 0; i < n; i++, row++) {
        if (row == ROWS) {
            row = 0;
            strip += strip_elements * size;
        }
        const uint8_t *from = x + i * s->x_stride * size;
        uint8_t *to = strip + row * LANES * size;
        for (size_t c = 0; c < s->c_in; c += LANES) {
            const __mmask16 mask = s->c_in - c >= LANES ? 0xffff : 0xff;
            if (s->bf16) {
                _mm256_storeu_si256((__m256i_u *)(void *)(to + c * ROWS * 2),
                                    _mm256_maskz_loadu_epi16(mask, from + c * 2));
            } else {
                _mm512_storeu_ps((float *)(void *)(to + c * ROWS * 4),
                                 _mm512_maskz_loadu_ps(mask, from + c * 4));
            }
        }
    }
}

/* Rows first..last-1 of a panel of e. */
static void expand(const work *w, size_t panel, size_t first, size_t last)
{
    const md_inverted *s = w->s;
    const size_t n = (last - first) * s->in_w, width = panel_width(s, panel);
    const size_t strip_bytes = strips_bytes(s, ROWS, s->c_in);
    target to = {.low = s->low[0], .high = s->high[0]};
    float *at = row_of(w, panel, (ptrdiff_t)first) + width;
    size_t row = first, column = 0;
    for (size_t i = 0; i < n; i += ROWS) {
        const unsigned rows = (unsigned)(n - i < ROWS ? n - i : ROWS);
        for (unsigned j = 0; j < rows; j++) {
            to.y[j] = at;
            at += width;
            if (++column == s->in_w) {
                column = 0;
                at = row_of(w, panel, (ptrdiff_t)++row) + width;
            }
        }
        multiply(s, w->packed + i / ROWS * strip_bytes, s->c_in, w->o->expand_w,
                 w->o->expand_bias, s->c_mid, panel * PANEL, &to, rows);
    }
}

/* The same when e is x. */
MD_AVX512 static void copy_x(const work *w, size_t image, size_t panel, size_t first,
                             size_t last)
{
    const md_inverted *s = w->s;
    const size_t width = panel_width(s, panel);
    const md_lanes type = s->bf16 ? MD_LANES_BF16 : MD_LANES_F32;
    for (size_t row = first; row < last; row++) {
        float *to = row_of(w, panel, (ptrdiff_t)row) + width;
        const uint8_t *from = x_at(w, image, row);
        for (size_t i = 0; i < s->in_w; i++) {
            for (size_t c = 0; c < width; c += LANES) {
                _mm512_storeu_ps(to + i * width + c,
                                 md_load_16(from, i * s->x_stride + panel * PANEL + c, type));
            }
        }
    }
}

/* The margins left and right of a panel's window. */
MD_AVX512 static void clear_margins(const work *w, size_t panel)
{
    const size_t width = panel_width(w->s, panel);
    for (size_t i = 0; i < w->l.n_slots && i < w->s->in_h; i++) {
        float *row = row_of(w, panel, (ptrdiff_t)i);
        memset(row, 0, width * sizeof *row);
        memset(row + (w->s->in_w + 1) * width, 0, width * sizeof *row);
    }
}

/* n neighbouring results of 16 channels, from three rows. */
MD_AVX512 MD_ALWAYS_INLINE void deep_run(const float *const rows[3], const size_t width,
                                         const size_t stride, const unsigned n,
                                         const __m512 w[9], __m512 bias, __m512 ret[RUN])
{
#pragma GCC unroll 7
    for (unsigned i = 0; i < n; i++) {
        ret[i] = bias;
    }
#pragma GCC unroll 3
    for (unsigned p = 0; p < 3; p++) {
#pragma GCC unroll 15
        for (unsigned j = 0; j < (n - 1) * stride + 3; j++) {
            const __m512 x = _mm512_loadu_ps(rows[p] + j * width);
#pragma GCC unroll 3
            for (unsigned q = 0; q < 3; q++) {
                if (j >= q && (j - q) % stride == 0 && (j - q) / stride < n) {
                    ret[(j - q) / stride] =
                        _mm512_fmadd_ps(x, w[p * 3 + q], ret[(j - q) / stride]);
                }
            }
        }
    }
}

/* Rows first..last-1 of the results of 16 channels of a panel, the first at `position` of d. */
MD_AVX512 MD_ALWAYS_INLINE void deep_rows(const work *w, size_t panel, size_t half,
                                          const size_t width, const size_t stride, size_t first,
                                          size_t last, size_t position, const md_lanes type)
{
    const md_inverted *s = w->s;
    const size_t c = panel * PANEL + half, strip_elements = ROWS * s->c_mid;
    const __m512 low = _mm512_set1_ps(s->low[1]), high = _mm512_set1_ps(s->high[1]);
    const __m512 bias = _mm512_loadu_ps(w->o->deep_bias + c);
    __m512 weights[9], sums[RUN];
#pragma GCC unroll 9
    for (unsigned i = 0; i < 9; i++) {
        weights[i] = _mm512_loadu_ps(w->o->deep_w + i * s->c_mid + c);
    }
    size_t row = position % ROWS,
           to = position / ROWS * strip_elements + c * ROWS + row * LANES;
    for (size_t i = first; i < last; i++) {
        const ptrdiff_t top = (ptrdiff_t)(i * stride) - (ptrdiff_t)s->pad_top;
        const float *from[3];
        for (int p = 0; p < 3; p++) {
            from[p] = row_of(w, panel, top + p) + (1 - s->pad_left) * width + half;
        }
        for (size_t j = 0; j < s->out_w;) {
            unsigned n = 1;
            if (s->out_w - j >= RUN && ROWS - row >= RUN) {
                n = RUN;
                deep_run(from, width, stride, RUN, weights, bias, sums);
            } else {
                deep_run(from, width, stride, 1, weights, bias, sums);
            }
#pragma GCC unroll 7
            for (unsigned k = 0; k < RUN; k++) {
                if (k < n) {
                    md_store_16(w->d, to + k * LANES, type,
                                _mm512_min_ps(high, _mm512_max_ps(low, sums[k])));
                }
            }
            j += n;
            row += n;
            to += n * LANES;
            for (unsigned p = 0; p < 3; p++) {
                from[p] += n * stride * width;
            }
            if (row == ROWS) {
                row = 0;
                to += strip_elements - ROWS * LANES;
            }
        }
    }
}

#define DEEP_ROWS(width, stride)                                                               \
    if (s->bf16) {                                                                             \
        deep_rows(w, panel, half, width, stride, first, last, position, MD_LANES_BF16);        \
    } else {                                                                                   \
        deep_rows(w, panel, half, width, stride, first, last, position, MD_LANES_F32);         \
    }

/* The same of all channels of the panel. */
MD_AVX512 static void deepen(const work *w, size_t panel, size_t first, size_t last,
                             size_t position)
{
    const md_inverted *s = w->s;
    const size_t width = panel_width(s, panel);
    for (size_t half = 0; half < width; half += LANES) {
        if (width == PANEL && s->stride == 1) {
            DEEP_ROWS(PANEL, 1)
        } else if (width == PANEL) {
            DEEP_ROWS(PANEL, 2)
        } else if (s->stride == 1) {
            DEEP_ROWS(LANES, 1)
        } else {
            DEEP_ROWS(LANES, 2)
        }
    }
}

/* Strips first..last-1 of d, the first of them at a position of y; n_positions: where d ends.
 */
static void project(const work *w, size_t first, size_t last, size_t n_positions,
                    size_t position)
{
    const md_inverted *s = w->s;
    const md_inverted_operands *o = w->o;
    const size_t size = element_bytes(s), strip_bytes = strips_bytes(s, ROWS, s->c_mid);
    target to = {
        .low = s->low[2], .high = s->high[2], .adds = o->residual != NULL, .bf16 = s->bf16};
    for (size_t k = 0; k < s->c_out; k += PANEL) {
        for (size_t strip = first; strip < last; strip++) {
            const size_t left = n_positions - strip * ROWS;
            const unsigned rows = (unsigned)(left < ROWS ? left : ROWS);
            const size_t at = position + strip * ROWS;
            uint8_t *y = (uint8_t *)o->y + (at * s->y_stride + k) * size;
            const uint8_t *residual = o->residual;
            residual += to.adds ? (at * s->residual_stride + k) * size : 0;
            for (unsigned i = 0; i < rows; i++) {
                to.y[i] = y + i * s->y_stride * size;
                to.residual[i] = to.adds ? residual + i * s->residual_stride * size : NULL;
            }
            multiply(s, w->d + strip * strip_bytes, s->c_mid, o->project_w, o->project_bias,
                     s->c_out, k, &to, rows);
        }
    }
}

/* Rows first..last-1 of an image's results, panels from..to-1, the first row at `position` of
 * d; rows of e from `have` on are not there yet. Returns that of the next band. */
static size_t run_band(const work *w, size_t image, size_t first, size_t last, size_t from,
                       size_t to, size_t position, size_t have)
{
    const md_inverted *s = w->s;
    const size_t top = first * s->stride < s->pad_top ? 0 : first * s->stride - s->pad_top;
    size_t end = (last - 1) * s->stride + 3 - s->pad_top;
    end = end > s->in_h ? s->in_h : end;
    const size_t begin = have < top ? top : have;
    if (s->expands && begin < end) {
        pack_x(w, image, begin, end);
    }
    for (size_t panel = from; panel < to; panel++) {
        if (have == 0 && (!w->l.one_band || panel == from || panel_width(s, panel) < PANEL)) {
            clear_margins(w, panel);
        }
        if (s->expands && begin < end) {
            expand(w, panel, begin, end);
        } else if (begin < end) {
            copy_x(w, image, panel, begin, end);
        }
        deepen(w, panel, first, last, position);
    }
    return end;
}

/* Rows of results first..last-1 of all images. */
static void run_rows(const work *w, size_t first, size_t last)
{
    const md_inverted *s = w->s;
    while (first < last) {
        const size_t image = first / s->out_h;
        const size_t end = last < (image + 1) * s->out_h ? last : (image + 1) * s->out_h;
        const size_t n = end - first, n_bands = (n + w->l.n_band - 1) / w->l.n_band;
        size_t have = 0;
        for (size_t i = 0; i < n_bands; i++) {
            const size_t at = first + n * i / n_bands, after = first + n * (i + 1) / n_bands;
            const size_t n_positions = (after - at) * s->out_w;
            have = run_band(w, image, at - image * s->out_h, after - image * s->out_h, 0,
                            w->l.n_panels, 0, have);
            project(w, 0, (n_positions + ROWS - 1) / ROWS, n_positions, at * s->out_w);
        }
        first = end;
    }
}

void md_inverted_run(const md_inverted *s, const md_inverted_operands *o, unsigned phase,
                     unsigned part)
{
    work w = {.s = s, .o = o, .l = layout_of(s)};
    const size_t n_rows = s->n_images * s->out_h, n_parts = s->n_parts;
    const size_t each = w.l.packed_bytes + w.l.e_bytes + (w.l.two_phases ? 0 : w.l.d_bytes);
    uint8_t *scratch = (uint8_t *)(((uintptr_t)o->scratch + 63) & ~(uintptr_t)63);
    w.packed = scratch + part * each;
    w.e = (float *)(void *)(w.packed + w.l.packed_bytes);
    w.d = w.l.two_phases ? scratch + n_parts * each : w.packed + w.l.packed_bytes + w.l.e_bytes;
    w.zeros = w.e + w.l.e_bytes / sizeof(float) - row_floats(s);
    memset(w.zeros, 0, row_floats(s) * sizeof(float));
    if (!w.l.two_phases) {
        run_rows(&w, n_rows * part / n_parts, n_rows * (part + 1) / n_parts);
    } else if (phase == 0) {
        const size_t from = w.l.n_panels * part / n_parts;
        const size_t to = w.l.n_panels * (part + 1) / n_parts;
        for (size_t image = 0; image < s->n_images && from < to; image++) {
            (void)run_band(&w, image, 0, s->out_h, from, to, image * s->out_h * s->out_w, 0);
        }
    } else {
        const size_t n_positions = n_rows * s->out_w,
                     n_strips = (n_positions + ROWS - 1) / ROWS;
        project(&w, n_strips * part / n_parts, n_strips * (part + 1) / n_parts, n_positions, 0);
    }
}
#else
bool md_inverted_is_supported(const md_inverted *s)
{
    (void)s;
    return false;
}

void md_inverted_run(const md_inverted *s, const md_inverted_operands *o, unsigned phase,
                     unsigned part)
{
    (void)s, (void)o, (void)phase, (void)part;
}
#endif
