#include "inference/similar/dot.h"

#include <stdatomic.h>

enum {
    LANES = 16
};

static float sum_of(const float *lanes)
{
    float sum[LANES];
    for (int i = 0; i < LANES; i++) {
        sum[i] = lanes[i];
    }
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            sum[i] += sum[i + half];
        }
    }
    return sum[0];
}

float md_dot_plain(const float *a, const float *b, size_t n)
{
    float lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lanes[i % LANES] += a[i] * b[i];
    }
    return sum_of(lanes);
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Two registers for n that is a multiple of 32, as embeddings are: one alone waits for itself.
 */
__attribute__((target("avx512f"))) static float dot_avx512(const float *a, const float *b,
                                                           size_t n)
{
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        even = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), even);
        odd = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), odd);
    }
    float lanes[LANES];
    _mm512_storeu_ps(lanes, _mm512_add_ps(even, odd));
    for (; i < n; i++) {
        lanes[i % LANES] += a[i] * b[i];
    }
    return sum_of(lanes);
}

__attribute__((target("avx2,fma"))) static float dot_avx2(const float *a, const float *b,
                                                          size_t n)
{
    __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        low = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), low);
        high = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), high);
    }
    float lanes[LANES];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
    for (; i < n; i++) {
        lanes[i % LANES] += a[i] * b[i];
    }
    return sum_of(lanes);
}
#endif

typedef float (*dot_fn)(const float *, const float *, size_t);

static dot_fn choose(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return dot_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return dot_avx2;
    }
#endif
    return md_dot_plain;
}

float md_dot(const float *a, const float *b, size_t n)
{
    static _Atomic(dot_fn) chosen;
    dot_fn dot = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (dot == NULL) {
        dot = choose();
        atomic_store_explicit(&chosen, dot, memory_order_relaxed);
    }
    return dot(a, b, n);
}
