/* Weights in row-major order into blocks of output channels, the order of most of oneDNN's
 * convolutions in float32. Its own reorder generates code for each shape, which costs as much
 * as the copy. */

#include "inference/backend/onednn_private.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))

enum {
    SIDE = 16 /* of a square that is turned in registers */
};

bool md_dnnl_can_pack(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to)
{
    dnnl_dim_t stride = 1;
    for (int i = from->ndims; i-- > 0;) {
        if (from->format_kind != dnnl_blocked || from->format_desc.blocking.inner_nblks != 0 ||
            from->format_desc.blocking.strides[i] != stride) {
            return false;
        }
        stride *= from->dims[i];
    }
    const dnnl_blocking_desc_t *blocks = &to->format_desc.blocking;
    return __builtin_cpu_supports("avx512f") && from->data_type == dnnl_f32 &&
           to->data_type == dnnl_f32 && to->format_kind == dnnl_blocked && to->offset0 == 0 &&
           to->extra.flags == 0 && blocks->inner_nblks == 1 && blocks->inner_idxs[0] == 0 &&
           blocks->inner_blks[0] % SIDE == 0;
}

/* rows[i][j] := rows[j][i], in four rounds that swap halves of ever larger groups. */
AVX512 static inline void turn(__m512 rows[SIDE])
{
    __m512 a[SIDE], b[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        a[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        for (int j = 0; j < 2; j++) {
            const __m512d low = _mm512_castps_pd(a[i + j]),
                          high = _mm512_castps_pd(a[i + j + 2]);
            b[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            b[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for (int i = 0; i < 4; i++) { /* b[4k + i] has columns i, i+4, i+8, i+12 of rows 4k.. */
        const __m512 even = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88),
                     odd = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd),
                     even_2 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88),
                     odd_2 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(even, even_2, 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(even, even_2, 0xdd);
        rows[i + 4] = _mm512_shuffle_f32x4(odd, odd_2, 0x88);
        rows[i + 12] = _mm512_shuffle_f32x4(odd, odd_2, 0xdd);
    }
}

/* Where column j of the row-major matrix [dims[0], rest] goes. */
static size_t column_offset(const dnnl_memory_desc_t *to, dnnl_dim_t j)
{
    size_t offset = 0;
    for (int i = to->ndims; i-- > 1;) {
        offset += (size_t)(j % to->dims[i] * to->format_desc.blocking.strides[i]);
        j /= to->dims[i];
    }
    return offset;
}

AVX512 static void pack(const float *from, const dnnl_memory_desc_t *to, float *packed)
{
    const dnnl_dim_t n_rows = to->dims[0], block = to->format_desc.blocking.inner_blks[0];
    dnnl_dim_t n_columns = 1;
    for (int i = 1; i < to->ndims; i++) {
        n_columns *= to->dims[i];
    }
    for (dnnl_dim_t j = 0; j < n_columns; j += SIDE) {
        size_t offsets[SIDE];
        const int n = n_columns - j < SIDE ? (int)(n_columns - j) : SIDE;
        const __mmask16 mask = (__mmask16)((1U << n) - 1U);
        for (int k = 0; k < n; k++) {
            offsets[k] = column_offset(to, j + k);
        }
        for (dnnl_dim_t row = 0; row < to->padded_dims[0]; row += SIDE) {
            __m512 square[SIDE];
            for (int k = 0; k < SIDE; k++) {
                square[k] = row + k < n_rows
                                ? _mm512_maskz_loadu_ps(mask, from + (row + k) * n_columns + j)
                                : _mm512_setzero_ps();
            }
            turn(square);
            float *at =
                packed + row / block * to->format_desc.blocking.strides[0] + row % block;
            for (int k = 0; k < n; k++) {
                _mm512_storeu_ps(at + offsets[k], square[k]);
            }
        }
    }
}

void md_dnnl_pack(const float *from, const dnnl_memory_desc_t *to, float *packed)
{
    pack(from, to, packed);
}
#else
bool md_dnnl_can_pack(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to)
{
    (void)from;
    (void)to;
    return false;
}

void md_dnnl_pack(const float *from, const dnnl_memory_desc_t *to, float *packed)
{
    (void)from;
    (void)to;
    (void)packed;
}
#endif
