#ifndef MEDAID_INFERENCE_HALF_H
#define MEDAID_INFERENCE_HALF_H

/* The 16-bit floating types: IEEE 754 binary16 and bfloat16 (the upper half of a binary32).
 * Rounding is to nearest, ties to even; too large becomes infinity, NaN stays NaN. */

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float md_bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float md_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000U) << 16;
    const uint32_t exponent = half >> 10 & 0x1fU, fraction = half & 0x3ffU;
    if (exponent == 0x1fU) {
        return md_bits_to_f32(sign | 0x7f800000U | fraction << 13);
    }
    if (exponent == 0) { /* zero and subnormal: fraction 2^-24 */
        const float magnitude = (float)fraction * 0x1p-24F;
        return sign != 0 ? -magnitude : magnitude;
    }
    return md_bits_to_f32(sign | (exponent + 112U) << 23 | fraction << 13);
}

/* From a double, so that a float64 is rounded once. */
static inline uint16_t md_f16_from_f64(double value)
{
    const uint16_t sign = signbit(value) ? 0x8000U : 0U;
    const double magnitude = fabs(value);
    int exponent;
    if (isnan(value)) {
        return (uint16_t)(sign | 0x7e00U);
    }
    if (magnitude >= 65520.0) { /* half way between the largest and what would come next */
        return (uint16_t)(sign | 0x7c00U);
    }
    (void)frexp(magnitude, &exponent);
    const int quantum = exponent - 11 < -24 ? -24 : exponent - 11;
    const double n = nearbyint(ldexp(magnitude, -quantum)); /* 0..2048 steps of 2^quantum */
    return (uint16_t)(sign | (((unsigned)(quantum + 24) << 10) + (unsigned)n));
}

static inline float md_bf16_to_f32(uint16_t half)
{
    return md_bits_to_f32((uint32_t)half << 16);
}

/* The same as md_bf16_from_f64 for a float, without a call or a branch. */
static inline uint16_t md_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
    const uint32_t nan = bits >> 16 | 0x40U;
    return (uint16_t)((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded);
}

/* Rounded to its 8 bits in double precision, so that what float32 makes of it is exact. */
static inline uint16_t md_bf16_from_f64(double value)
{
    float rounded = (float)value;
    uint32_t bits;
    int exponent;
    if (isfinite(value) && value != 0.0) {
        (void)frexp(value, &exponent);
        const int quantum = exponent - 8 < -133 ? -133 : exponent - 8;
        rounded = (float)ldexp(nearbyint(ldexp(value, -quantum)), quantum);
    }
    memcpy(&bits, &rounded, sizeof bits);
    return (uint16_t)(bits >> 16 | (isnan(value) ? 0x40U : 0U));
}

#endif
