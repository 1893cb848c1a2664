#ifndef MEDAID_INFERENCE_BACKEND_AVX512_H
#define MEDAID_INFERENCE_BACKEND_AVX512_H

/* Sixteen numbers at once, for the kernels that are compiled for AVX-512 whatever the rest is
 * compiled for. Callers ask md_has_avx512 first. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define MD_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define MD_ALWAYS_INLINE static inline __attribute__((always_inline))

/* What memory holds; all are computed with as float32. */
typedef enum md_lanes {
    MD_LANES_F32,
    MD_LANES_BF16,
    MD_LANES_U8,
    MD_LANES_S8
} md_lanes;

MD_ALWAYS_INLINE bool md_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

MD_AVX512 MD_ALWAYS_INLINE __m512 md_load_16(const void *x, size_t at, md_lanes type)
{
    if (type == MD_LANES_F32) {
        return _mm512_loadu_ps((const float *)x + at);
    }
    if (type == MD_LANES_BF16) {
        const __m256i halves =
            _mm256_loadu_si256((const __m256i_u *)(const void *)((const uint16_t *)x + at));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }
    const __m128i bytes =
        _mm_loadu_si128((const __m128i_u *)(const void *)((const uint8_t *)x + at));
    return _mm512_cvtepi32_ps(type == MD_LANES_U8 ? _mm512_cvtepu8_epi32(bytes)
                                                  : _mm512_cvtepi8_epi32(bytes));
}

/* To the nearest, half to even; less than 2^-126 becomes 0. The processor must have
 * avx512_bf16. In assembler, lest every caller be compiled for it. */
MD_AVX512 MD_ALWAYS_INLINE __m256i md_to_bf16(__m512 value)
{
    __m256i rounded;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(value));
    return rounded;
}

/* bfloat16: see md_to_bf16. Integers: to the nearest, half to even, cut to their range, a NaN
 * to its end. */
MD_AVX512 MD_ALWAYS_INLINE void md_store_16(void *y, size_t at, md_lanes type, __m512 value)
{
    if (type == MD_LANES_F32) {
        _mm512_storeu_ps((float *)y + at, value);
    } else if (type == MD_LANES_BF16) {
        _mm256_storeu_si256((__m256i_u *)(void *)((uint16_t *)y + at), md_to_bf16(value));
    } else if (type == MD_LANES_U8) {
        const __m512 limited = _mm512_max_ps(_mm512_setzero_ps(), value);
        _mm_storeu_si128((__m128i_u *)(void *)((uint8_t *)y + at),
                         _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(limited)));
    } else {
        /* as float32, since 2^31 and more are the smallest integer */
        const __m512 limited = _mm512_min_ps(_mm512_set1_ps(127.0F), value);
        _mm_storeu_si128((__m128i_u *)(void *)((uint8_t *)y + at),
                         _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(limited)));
    }
}

#endif
#endif
