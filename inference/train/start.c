#include "inference/train/start.h"

#include <math.h>

static const uint64_t golden = 0x9e3779b97f4a7c15U;

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014) */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* -1 <= x < 1, a multiple of 2^-52 */
static double uniform(uint64_t *state)
{
    return (double)(mix(*state += golden) >> 11) * 0x1p-52 - 1.0;
}

/* Natural logarithm of a positive normal number: ln(m 2^e) = e ln 2 + 2 artanh((m-1)/(m+1))
 * with m in sqrt(1/2)..sqrt(2), the series to 1e-17. libm's own differs between processors. */
static double natural_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent); /* exact */
    if (m < 0.70710678118654752) {
        m *= 2.0;
        exponent--;
    }
    const double s = (m - 1.0) / (m + 1.0), square = s * s;
    double sum = 0.0;
    for (int k = 21; k >= 1; k -= 2) {
        sum = sum * square + 1.0 / k;
    }
    return exponent * 0.69314718055994531 + 2.0 * s * sum;
}

/* Mean 0, variance 1: the polar method of Marsaglia and Bray (SIAM Review 6, 1964). */
static double normal(uint64_t *state)
{
    double x, y, square;
    do {
        x = uniform(state);
        y = uniform(state);
        square = x * x + y * y;
    } while (square >= 1.0 || square < 1e-300);
    return x * sqrt(-2.0 * natural_log(square) / square);
}

void md_start_draw(uint64_t seed, unsigned stream, md_start start, double fan_in,
                   double fan_out, float *ret_values, size_t n)
{
    uint64_t state = mix(mix(seed + golden) + golden * (stream + 1));
    const double deviation = sqrt(2.0 / fan_in), bound = sqrt(6.0 / (fan_in + fan_out));
    for (size_t i = 0; i < n; i++) {
        ret_values[i] = (float)(start == MD_START_HE ? deviation * normal(&state)
                                                     : bound * uniform(&state));
    }
}
