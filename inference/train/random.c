#include "inference/train/random.h"

#include <math.h>
#include <string.h>

/* Philox4x32-10: multipliers and Weyl constants of table 2 of the paper. */
#define M0 0xD2511F53U
#define M1 0xCD9E8D57U
#define W0 0x9E3779B9U
#define W1 0xBB67AE85U
enum {
    N_ROUNDS = 10
};

static void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t block[4])
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < N_ROUNDS; i++) {
        const uint64_t left = (uint64_t)M0 * a, right = (uint64_t)M1 * c;
        a = (uint32_t)(right >> 32) ^ b ^ k0;
        b = (uint32_t)right;
        c = (uint32_t)(left >> 32) ^ d ^ k1;
        d = (uint32_t)left;
        k0 += W0;
        k1 += W1;
    }
    block[0] = a;
    block[1] = b;
    block[2] = c;
    block[3] = d;
}

void md_random_init(md_random *random, const md_random_key *key, uint32_t stream)
{
    *random = (md_random){.key = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)},
                          .counter = {0, stream, key->position, key->epoch}};
}

uint32_t md_random_bits(md_random *random)
{
    if (random->n_left == 0) {
        philox(random->key, random->counter, random->block);
        random->counter[0]++;
        random->n_left = 4;
    }
    return random->block[4 - random->n_left--];
}

float md_random_uniform(md_random *random)
{
    return (float)(md_random_bits(random) >> 8) * 0x1p-24F;
}

uint32_t md_random_below(md_random *random, uint32_t n)
{
    uint64_t product = (uint64_t)md_random_bits(random) * n;
    if ((uint32_t)product < n) {
        const uint32_t least = (0U - n) % n;
        while ((uint32_t)product < least) {
            product = (uint64_t)md_random_bits(random) * n;
        }
    }
    return (uint32_t)(product >> 32);
}

static double uniform53(md_random *random)
{
    const uint64_t high = md_random_bits(random), low = md_random_bits(random);
    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

static double normal53(md_random *random)
{
    const double radius = sqrt(-2.0 * log(1.0 - uniform53(random)));
    return radius * cos(6.283185307179586 * uniform53(random));
}

float md_random_normal(md_random *random)
{
    return (float)normal53(random);
}

double md_random_gamma(md_random *random, double alpha)
{
    /* below 1: Gamma(alpha + 1) U^(1/alpha) */
    const double boost = alpha < 1.0 ? pow(1.0 - uniform53(random), 1.0 / alpha) : 1.0;
    const double d = (alpha < 1.0 ? alpha + 1.0 : alpha) - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        const double x = normal53(random), t = 1.0 + c * x;
        const double v = t * t * t;
        const double u = 1.0 - uniform53(random);
        if (v > 0.0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) {
            return d * v * boost;
        }
    }
}

double md_random_beta(md_random *random, double a, double b)
{
    const double x = md_random_gamma(random, a), y = md_random_gamma(random, b);
    return x + y > 0.0 ? x / (x + y) : 0.5;
}

void md_random_shuffle(md_random *random, uint32_t *values, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const uint32_t j = md_random_below(random, (uint32_t)i);
        const uint32_t value = values[i - 1];
        values[i - 1] = values[j];
        values[j] = value;
    }
}

enum {
    LANES = 64 /* Philox blocks at once, so that the loops become vectors */
};

/* Blocks first..first + LANES of a stream: out[k][i] is word k of block i. */
static void philox_many(const md_random *random, uint32_t first, uint32_t out[4][LANES])
{
    uint32_t *restrict a = out[0], *restrict b = out[1], *restrict c = out[2],
                       *restrict d = out[3];
    for (uint32_t i = 0; i < LANES; i++) {
        a[i] = first + i;
        b[i] = random->counter[1];
        c[i] = random->counter[2];
        d[i] = random->counter[3];
    }
    uint32_t k0 = random->key[0], k1 = random->key[1];
    for (int round = 0; round < N_ROUNDS; round++) {
        for (uint32_t i = 0; i < LANES; i++) {
            const uint64_t left = (uint64_t)M0 * a[i], right = (uint64_t)M1 * c[i];
            const uint32_t new_a = (uint32_t)(right >> 32) ^ b[i] ^ k0;
            const uint32_t new_c = (uint32_t)(left >> 32) ^ d[i] ^ k1;
            a[i] = new_a;
            b[i] = (uint32_t)right;
            c[i] = new_c;
            d[i] = (uint32_t)left;
        }
        k0 += W0;
        k1 += W1;
    }
}

/* ln(x) for normal x > 0 to 1e-7: the exponent, and the series of 2 atanh((m - 1) / (m + 1))
 * for a mantissa in sqrt(1/2)..sqrt(2). */
static inline float quick_log(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t shifted = bits - 0x3f3504f3U; /* sqrt(1/2) */
    const int32_t exponent = (int32_t)shifted >> 23;
    const uint32_t mantissa_bits = (shifted & 0x7fffffU) + 0x3f3504f3U;
    float m;
    memcpy(&m, &mantissa_bits, sizeof m);
    const float t = (m - 1.0F) / (m + 1.0F), q = t * t;
    const float series =
        2.0F + q * (0.6666667F + q * (0.4F + q * (0.2857143F + q * 0.2222222F)));
    return (float)exponent * 0.69314718F + t * series;
}

/* sin(pi x) for |x| <= 1/2 to 1e-7: Taylor's series. */
static inline float quick_sin_pi(float x)
{
    const float y = x * 3.14159265F, q = y * y;
    return y * (1.0F +
                q * (-1.0F / 6 + q * (1.0F / 120 + q * (-1.0F / 5040 +
                                                        q * (1.0F / 362880 - q / 39916800)))));
}

/* Two normal values from two words, by Box and Muller. */
static inline void box_muller(uint32_t first, uint32_t second, float *x, float *y)
{
    const float u = ((float)(first >> 8) + 0.5F) * 0x1p-24F;
    const float turn = (float)(int32_t)second * 0x1p-31F; /* angle / pi, -1..1 */
    const float radius = sqrtf(-2.0F * quick_log(u));
    /* cos(pi t) = sin(pi (1/2 - |t|)); sin(pi t) by folding t into -1/2..1/2 */
    const float size = fabsf(turn);
    const float folded = size > 0.5F ? 1.0F - size : size;
    *x = radius * quick_sin_pi(0.5F - size);
    *y = radius * quick_sin_pi(turn < 0.0F ? -folded : folded);
}

void md_random_fill_normal(md_random *random, float *values, size_t n)
{
    uint32_t words[4][LANES];
    float made[4][LANES];
    random->n_left = 0; /* whole blocks only */
    for (size_t at = 0; at < n; at += 4 * LANES) {
        philox_many(random, random->counter[0], words);
        random->counter[0] += LANES;
        for (int i = 0; i < LANES; i++) {
            box_muller(words[0][i], words[1][i], &made[0][i], &made[1][i]);
        }
        for (int i = 0; i < LANES; i++) {
            box_muller(words[2][i], words[3][i], &made[2][i], &made[3][i]);
        }
        const size_t n_now = n - at < 4 * LANES ? n - at : 4 * LANES;
        memcpy(values + at, made, n_now * sizeof *values);
    }
}
