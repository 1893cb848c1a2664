#include "inference/backend/multiply512.h"

#include "inference/backend/avx512.h"

#if defined(__x86_64__)
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

enum {
    LANES = MD_MULTIPLY_LANES,
    ROWS = MD_MULTIPLY_ROWS,
    PANEL = MD_MULTIPLY_PANEL
};

/* Both kernels are this text: the compiler keeps sum[][] in registers only where it knows how
 * many rows there are. broadcast(i): element i of v in all lanes; add(sum, a, b): sum + a b. */
#define MULTIPLY(rows, vector, broadcast, load, add)                                           \
    __m512 sum[ROWS][2];                                                                       \
    _Pragma("GCC unroll 14") for (unsigned i = 0; i < (rows); i++)                             \
    {                                                                                          \
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();                                           \
    }                                                                                          \
    for (size_t group = 0; group < n_groups; group++, v += ROWS * LANES) {                     \
        _Pragma("GCC unroll 2") for (size_t lane = 0; lane < LANES; lane++, u += PANEL)        \
        {                                                                                      \
            const vector left = load(u), right = load(u + LANES);                              \
            _Pragma("GCC unroll 14") for (unsigned i = 0; i < (rows); i++)                     \
            {                                                                                  \
                const vector value = broadcast(v[i * LANES + lane]);                           \
                sum[i][0] = add(sum[i][0], value, left);                                       \
                sum[i][1] = add(sum[i][1], value, right);                                      \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    _Pragma("GCC unroll 14") for (unsigned i = 0; i < (rows); i++)                             \
    {                                                                                          \
        _mm512_storeu_ps(m + i * m_stride, sum[i][0]);                                         \
        _mm512_storeu_ps(m + i * m_stride + LANES, sum[i][1]);                                 \
    }

#define ADD_F32(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define LOAD_PAIRS(u) ((__m512bh)_mm512_loadu_si512(u))
#define BROADCAST_PAIR(x) ((__m512bh)_mm512_set1_epi32(x))

MD_AVX512 MD_ALWAYS_INLINE void rows_f32(const float *v, const float *u, size_t n_groups,
                                         float *m, size_t m_stride, const unsigned rows){
    MULTIPLY(rows, __m512, _mm512_set1_ps, _mm512_loadu_ps, ADD_F32)}

AVX512_BF16 MD_ALWAYS_INLINE void rows_bf16(const int32_t *v, const int32_t *u, size_t n_groups,
                                            float *m, size_t m_stride, const unsigned rows){
    MULTIPLY(rows, __m512bh, BROADCAST_PAIR, LOAD_PAIRS, _mm512_dpbf16_ps)}

#define CASE(function, n)                                                                      \
    case n:                                                                                    \
        function(v, u, n_groups, m, m_stride, n);                                              \
        return;
#define CASES(function)                                                                        \
    CASE(function, 1)                                                                          \
    CASE(function, 2)                                                                          \
    CASE(function, 3)                                                                          \
    CASE(function, 4)                                                                          \
    CASE(function, 5)                                                                          \
    CASE(function, 6)                                                                          \
    CASE(function, 7)                                                                          \
    CASE(function, 8)                                                                          \
    CASE(function, 9)                                                                          \
    CASE(function, 10)                                                                         \
    CASE(function, 11)                                                                         \
    CASE(function, 12)                                                                         \
    CASE(function, 13)                                                                         \
    CASE(function, 14)

MD_AVX512 void md_multiply_f32(const float *v, const float *u, size_t n_groups, float *m,
                               size_t m_stride, unsigned rows)
{
    switch (rows) {
        CASES(rows_f32)
    default:
        return;
    }
}

AVX512_BF16 static void multiply_bf16(const int32_t *v, const int32_t *u, size_t n_groups,
                                      float *m, size_t m_stride, unsigned rows)
{
    switch (rows) {
        CASES(rows_bf16)
    default:
        return;
    }
}

void md_multiply_bf16(const void *v, const void *u, size_t n_groups, float *m, size_t m_stride,
                      unsigned rows)
{
    multiply_bf16(v, u, n_groups, m, m_stride, rows);
}
#endif
