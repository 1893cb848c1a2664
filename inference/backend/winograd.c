#include "inference/backend/winograd.h"

#include "inference/backend/avx512.h"
#include "inference/backend/multiply512.h"

#include <string.h>

enum {
    TILE = 4,  /* results of a tile in each direction */
    PATCH = 6, /* values that they need */
    POINTS = PATCH * PATCH,
    LANES = MD_MULTIPLY_LANES,
    PANEL = MD_MULTIPLY_PANEL,
    BLOCK = MD_MULTIPLY_ROWS, /* tiles that are multiplied at once */
    GAP = 16 /* floats between points, lest all fall into the same lines of the cache */
};

static int64_t n_tile_rows(const md_winograd *s)
{
    return (s->out_h + TILE - 1) / TILE;
}

static int64_t n_tile_columns(const md_winograd *s)
{
    return (s->out_w + TILE - 1) / TILE;
}

int64_t md_winograd_n_tiles(const md_winograd *s)
{
    return s->n_images * n_tile_rows(s) * n_tile_columns(s);
}

size_t md_winograd_weight_bytes(const md_winograd *s)
{
    return (size_t)POINTS * (size_t)s->c_in * (size_t)s->c_out * sizeof(float);
}

/* Scratch memory of one part: transformed patches, their products with the weights, a
 * patch. */
static size_t patch_floats(const md_winograd *s)
{
    return POINTS * ((size_t)s->c_in * BLOCK + GAP);
}

static size_t product_floats(const md_winograd *s)
{
    return POINTS * ((size_t)s->c_out * BLOCK + GAP);
}

static size_t part_floats(const md_winograd *s)
{
    return patch_floats(s) + product_floats(s) + POINTS * (size_t)s->c_in;
}

size_t md_winograd_scratch_bytes(const md_winograd *s)
{
    return (s->n_parts * part_floats(s)) * sizeof(float) + 64;
}

/* ret = G g for the matrix G of the paper; PANEL kernels side by side. */
static void transform_weights_once(const float g[3][PANEL], float ret[PATCH][PANEL])
{
    for (unsigned k = 0; k < PANEL; k++) {
        const double a = (double)g[0][k], b = (double)g[1][k], c = (double)g[2][k];
        ret[0][k] = (float)(a / 4.0);
        ret[1][k] = (float)((a + b + c) / -6.0);
        ret[2][k] = (float)((a - b + c) / -6.0);
        ret[3][k] = (float)((a + 2.0 * b + 4.0 * c) / 24.0);
        ret[4][k] = (float)((a - 2.0 * b + 4.0 * c) / 24.0);
        ret[5][k] = (float)c;
    }
}

/* u [POINTS][c_out/PANEL][c_in][PANEL] */
void md_winograd_weights(const md_winograd *s, const float *w, float *ret_u)
{
    const size_t c_in = (size_t)s->c_in, c_out = (size_t)s->c_out;
    for (size_t panel = 0; panel < c_out; panel += PANEL) {
        for (size_t c = 0; c < c_in; c++) {
            float g[3][3][PANEL], half[3][PATCH][PANEL], u[PATCH][PANEL];
            for (size_t k = 0; k < PANEL; k++) {
                const float *kernel = w + ((panel + k) * c_in + c) * 9;
                for (unsigned i = 0; i < 9; i++) {
                    g[i % 3][i / 3][k] = kernel[i];
                }
            }
            for (unsigned q = 0; q < 3; q++) {
                transform_weights_once((const float(*)[PANEL])g[q], half[q]);
            }
            for (unsigned i = 0; i < PATCH; i++) {
                float row[3][PANEL];
                for (unsigned q = 0; q < 3; q++) {
                    memcpy(row[q], half[q][i], sizeof row[q]);
                }
                transform_weights_once((const float(*)[PANEL])row, u);
                for (unsigned j = 0; j < PATCH; j++) {
                    memcpy(ret_u + ((i * PATCH + j) * c_out * c_in) + panel * c_in + c * PANEL,
                           u[j], sizeof u[j]);
                }
            }
        }
    }
}

#if defined(__x86_64__)
bool md_winograd_is_supported(bool bf16)
{
    return md_has_avx512() && (!bf16 || __builtin_cpu_supports("avx512bf16"));
}

/* Of B^T d the elements 1 and 2, 3 and 4, 0 or 5 (d is then what follows the first or second):
 * each needs some of d only. */
MD_AVX512 MD_ALWAYS_INLINE void transform_1_2(__m512 d1, __m512 d2, __m512 d3, __m512 d4,
                                              __m512 ret[2])
{
    const __m512 four = _mm512_set1_ps(4.0F);
    const __m512 even = _mm512_fnmadd_ps(four, d2, d4), odd = _mm512_fnmadd_ps(four, d1, d3);
    ret[0] = _mm512_add_ps(even, odd);
    ret[1] = _mm512_sub_ps(even, odd);
}

MD_AVX512 MD_ALWAYS_INLINE void transform_3_4(__m512 d1, __m512 d2, __m512 d3, __m512 d4,
                                              __m512 ret[2])
{
    const __m512 two = _mm512_set1_ps(2.0F);
    const __m512 even = _mm512_sub_ps(d4, d2), odd = _mm512_sub_ps(d3, d1);
    ret[0] = _mm512_fmadd_ps(two, odd, even);
    ret[1] = _mm512_fnmadd_ps(two, odd, even);
}

MD_AVX512 MD_ALWAYS_INLINE __m512 transform_0_5(__m512 a, __m512 b, __m512 c)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(4.0F), a,
                           _mm512_fnmadd_ps(_mm512_set1_ps(5.0F), b, c));
}

MD_AVX512 MD_ALWAYS_INLINE void transform_row(const __m512 d[PATCH], float *v,
                                              size_t point_floats)
{
    __m512 t[2];
    _mm512_storeu_ps(v, transform_0_5(d[0], d[2], d[4]));
    transform_1_2(d[1], d[2], d[3], d[4], t);
    _mm512_storeu_ps(v + point_floats, t[0]);
    _mm512_storeu_ps(v + 2 * point_floats, t[1]);
    transform_3_4(d[1], d[2], d[3], d[4], t);
    _mm512_storeu_ps(v + 3 * point_floats, t[0]);
    _mm512_storeu_ps(v + 4 * point_floats, t[1]);
    _mm512_storeu_ps(v + 5 * point_floats, transform_0_5(d[1], d[3], d[5]));
}

/* ret = A^T m */
MD_AVX512 MD_ALWAYS_INLINE void transform_products_once(const __m512 m[PATCH], __m512 ret[TILE])
{
    const __m512 two = _mm512_set1_ps(2.0F), four = _mm512_set1_ps(4.0F);
    const __m512 eight = _mm512_set1_ps(8.0F);
    const __m512 a = _mm512_add_ps(m[1], m[2]), b = _mm512_sub_ps(m[1], m[2]);
    const __m512 c = _mm512_add_ps(m[3], m[4]), e = _mm512_sub_ps(m[3], m[4]);
    ret[0] = _mm512_add_ps(_mm512_add_ps(m[0], a), c);
    ret[1] = _mm512_fmadd_ps(two, e, b);
    ret[2] = _mm512_fmadd_ps(four, c, a);
    ret[3] = _mm512_add_ps(_mm512_fmadd_ps(eight, e, b), m[5]);
}

/* Where a tile is. */
typedef struct tile_place {
    int64_t image, row, column; /* of its first result */
} tile_place;

static tile_place place_of(const md_winograd *s, int64_t tile)
{
    const int64_t columns = n_tile_columns(s), each = n_tile_rows(s) * columns;
    return (tile_place){tile / each, tile % each / columns * TILE, tile % columns * TILE};
}

/* The six by six positions that a tile needs. */
typedef struct patch {
    const uint8_t *x;
    size_t row_bytes, position_bytes;
} patch;

MD_AVX512 MD_ALWAYS_INLINE __m512 value_at(const patch *p, size_t i, size_t j, size_t c,
                                           md_lanes type)
{
    return md_load_16(p->x + i * p->row_bytes + j * p->position_bytes, c, type);
}

/* V = B^T d B. v [POINTS][c_in/LANES][BLOCK][LANES] with GAP after each point, from the tile's
 * first element on. Rows are made in an order in which few registers are needed. */
MD_AVX512 MD_ALWAYS_INLINE void transform_patch(const patch *p, size_t c_in, float *v,
                                                md_lanes type)
{
    const size_t point_floats = c_in * BLOCK + GAP, row_floats = PATCH * point_floats;
    for (size_t c = 0; c < c_in; c += LANES, v += BLOCK * LANES) {
        __m512 row[2][PATCH], t[2];
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++) {
            row[0][j] = transform_0_5(value_at(p, 0, j, c, type), value_at(p, 2, j, c, type),
                                      value_at(p, 4, j, c, type));
        }
        transform_row(row[0], v, point_floats);
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++) {
            transform_1_2(value_at(p, 1, j, c, type), value_at(p, 2, j, c, type),
                          value_at(p, 3, j, c, type), value_at(p, 4, j, c, type), t);
            row[0][j] = t[0];
            row[1][j] = t[1];
        }
        transform_row(row[0], v + row_floats, point_floats);
        transform_row(row[1], v + 2 * row_floats, point_floats);
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++) {
            transform_3_4(value_at(p, 1, j, c, type), value_at(p, 2, j, c, type),
                          value_at(p, 3, j, c, type), value_at(p, 4, j, c, type), t);
            row[0][j] = t[0];
            row[1][j] = t[1];
        }
        transform_row(row[0], v + 3 * row_floats, point_floats);
        transform_row(row[1], v + 4 * row_floats, point_floats);
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++) {
            row[0][j] = transform_0_5(value_at(p, 1, j, c, type), value_at(p, 3, j, c, type),
                                      value_at(p, 5, j, c, type));
        }
        transform_row(row[0], v + 5 * row_floats, point_floats);
    }
}

/* Where the patch is; with a margin it is a copy. */
MD_ALWAYS_INLINE patch patch_of(const md_winograd *s, const void *x, tile_place at,
                                uint8_t *copy)
{
    const size_t size = s->bf16 ? 2 : 4, c_bytes = (size_t)s->c_in * size;
    const size_t position_bytes = (size_t)s->x_stride * size;
    const size_t row_bytes = (size_t)s->in_w * position_bytes;
    const int64_t row = at.row - s->pad_top, column = at.column - s->pad_left;
    const uint8_t *image = (const uint8_t *)x + (size_t)(at.image * s->in_h) * row_bytes;
    if (row >= 0 && row + PATCH <= s->in_h && column >= 0 && column + PATCH <= s->in_w) {
        return (patch){image + (size_t)row * row_bytes + (size_t)column * position_bytes,
                       row_bytes, position_bytes};
    }
    uint8_t *to = copy;
    for (int64_t i = row; i < row + PATCH; i++) {
        for (int64_t j = column; j < column + PATCH; j++, to += c_bytes) {
            if (i >= 0 && i < s->in_h && j >= 0 && j < s->in_w) {
                memcpy(to, image + (size_t)i * row_bytes + (size_t)j * position_bytes, c_bytes);
            } else {
                memset(to, 0, c_bytes);
            }
        }
    }
    return (patch){copy, PATCH * c_bytes, c_bytes};
}

typedef struct outputs {
    const float *bias;
    const void *residual;
    void *y;
} outputs;

/* The results of one tile, m points at its first product. */
MD_AVX512 MD_ALWAYS_INLINE void finish_tile(const md_winograd *s, tile_place at, const float *m,
                                            const outputs *to, md_lanes type)
{
    const size_t point_floats = (size_t)s->c_out * BLOCK + GAP;
    const __m512 low = _mm512_set1_ps(s->low), high = _mm512_set1_ps(s->high);
    const int64_t first = (at.image * s->out_h + at.row) * s->out_w + at.column;
    const int64_t rows = s->out_h - at.row < TILE ? s->out_h - at.row : TILE;
    const int64_t columns = s->out_w - at.column < TILE ? s->out_w - at.column : TILE;
    for (size_t k = 0; k < (size_t)s->c_out; k += LANES) {
        __m512 half[TILE][PATCH], d[PATCH], t[TILE];
        const __m512 bias =
            to->bias == NULL ? _mm512_setzero_ps() : _mm512_loadu_ps(to->bias + k);
#pragma GCC unroll 6
        for (unsigned j = 0; j < PATCH; j++) {
#pragma GCC unroll 6
            for (unsigned i = 0; i < PATCH; i++) {
                d[i] = _mm512_loadu_ps(m + (i * PATCH + j) * point_floats + k);
            }
            transform_products_once(d, t);
#pragma GCC unroll 4
            for (unsigned i = 0; i < TILE; i++) {
                half[i][j] = t[i];
            }
        }
        for (unsigned i = 0; i < rows; i++) {
            const size_t position = (size_t)(first + i * s->out_w);
            transform_products_once(half[i], t);
            for (unsigned j = 0; j < columns; j++) {
                __m512 y = _mm512_add_ps(t[j], bias);
                if (to->residual != NULL) {
                    y = _mm512_add_ps(
                        y, md_load_16(to->residual,
                                      (position + j) * (size_t)s->residual_stride + k, type));
                }
                /* max(x, y): the second when one is a NaN */
                y = _mm512_min_ps(high, _mm512_max_ps(low, y));
                md_store_16(to->y, (position + j) * (size_t)s->y_stride + k, type, y);
            }
        }
    }
}

/* Tiles first..last-1, at most BLOCK. */
MD_AVX512 MD_ALWAYS_INLINE void run_block(const md_winograd *s, const void *x, const float *u,
                                          const outputs *to, float *v, int64_t first,
                                          int64_t last, md_lanes type)
{
    const size_t c_in = (size_t)s->c_in, c_out = (size_t)s->c_out;
    float *m = v + patch_floats(s);
    uint8_t *copy = (uint8_t *)(m + product_floats(s));
    const unsigned rows = (unsigned)(last - first);
    for (int64_t tile = first; tile < last; tile++) {
        const patch p = patch_of(s, x, place_of(s, tile), copy);
        transform_patch(&p, c_in, v + (size_t)(tile - first) * LANES, type);
    }
    for (size_t point = 0; point < POINTS; point++) {
        for (size_t k = 0; k < c_out; k += PANEL) {
            md_multiply_f32(v + point * (c_in * BLOCK + GAP),
                            u + point * c_in * c_out + k * c_in, c_in / LANES,
                            m + point * (c_out * BLOCK + GAP) + k, c_out, rows);
        }
    }
    for (int64_t tile = first; tile < last; tile++) {
        finish_tile(s, place_of(s, tile), m + (size_t)(tile - first) * c_out, to, type);
    }
}

MD_AVX512 static void run_f32(const md_winograd *s, const void *x, const float *u,
                              const outputs *to, float *v, int64_t first, int64_t last)
{
    run_block(s, x, u, to, v, first, last, MD_LANES_F32);
}

MD_AVX512 static void run_bf16(const md_winograd *s, const void *x, const float *u,
                               const outputs *to, float *v, int64_t first, int64_t last)
{
    run_block(s, x, u, to, v, first, last, MD_LANES_BF16);
}

void md_winograd_run(const md_winograd *s, const void *x, const float *u, const float *bias,
                     const void *residual, void *y, void *scratch, unsigned part)
{
    const outputs to = {bias, residual, y};
    const int64_t n_tiles = md_winograd_n_tiles(s), n_parts = s->n_parts;
    /* as many blocks for each part, and tiles for each block */
    const int64_t n_each = (n_tiles + BLOCK * n_parts - 1) / (BLOCK * n_parts);
    const int64_t n_blocks = n_each * n_parts;
    float *v = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63) + part * part_floats(s);
    for (int64_t block = part * n_each; block < (part + 1) * n_each; block++) {
        const int64_t first = n_tiles * block / n_blocks;
        const int64_t last = n_tiles * (block + 1) / n_blocks;
        if (first < last) {
            (s->bf16 ? run_bf16 : run_f32)(s, x, u, &to, v, first, last);
        }
    }
}
#else
bool md_winograd_is_supported(bool bf16)
{
    (void)bf16;
    return false;
}

void md_winograd_run(const md_winograd *s, const void *x, const float *u, const float *bias,
                     const void *residual, void *y, void *scratch, unsigned part)
{
    (void)s, (void)x, (void)u, (void)bias, (void)residual, (void)y, (void)scratch, (void)part;
}
#endif
