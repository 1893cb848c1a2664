/* Compiled once for each instruction set (meson.build), with MD_TRAIN_ISA its name and
 * MD_TRAIN_SUFFIX the end of the table's name. Vectors are GNU C's, 16 floats; on a processor
 * with shorter registers they become several. */

#include "inference/train/kernels_tables.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum {
    BLOCK = 16,
    ROWS = 12 /* of `product` at a time: 24 sums, two columns and a factor fill the registers */
};

typedef float vector_f __attribute__((vector_size(BLOCK * 4)));
typedef int32_t vector_i __attribute__((vector_size(BLOCK * 4)));

static inline vector_f load(const float *from)
{
    vector_f v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, vector_f v)
{
    memcpy(to, &v, sizeof v);
}

/* The first n < BLOCK elements. */
static inline vector_f load_part(const float *from, size_t n)
{
    float list[BLOCK] = {0};
    memcpy(list, from, n * sizeof *list);
    return load(list);
}

static inline void store_part(float *to, vector_f v, size_t n)
{
    float list[BLOCK];
    store(list, v);
    memcpy(to, list, n * sizeof *list);
}

static inline vector_f fetch(const float *from, size_t n)
{
    return n >= BLOCK ? load(from) : load_part(from, n);
}

static inline void put(float *to, vector_f v, size_t n)
{
    if (n >= BLOCK) {
        store(to, v);
    } else {
        store_part(to, v, n);
    }
}

static inline vector_f all(float x)
{
    return (vector_f){0} + x;
}

static inline vector_f choose(vector_i mask, vector_f yes, vector_f no)
{
    return (vector_f)((mask & (vector_i)yes) | (~mask & (vector_i)no));
}

static inline float sum_of(vector_f v)
{
    float list[BLOCK];
    store(list, v);
    for (size_t half = BLOCK / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            list[i] += list[i + half];
        }
    }
    return list[0];
}

/* e^x = 2^n e^r with |r| <= ln(2) / 2, e^r by its Taylor series to r^7 (remainder 5e-9). NaN
 * stays NaN; beyond +-87 the value stays at that of 87. */
static inline vector_f exponential(vector_f x)
{
    const vector_f magic = all(12582912.0F); /* 1.5 2^23: rounds to an integer */
    x = choose(x > all(87.0F), all(87.0F), x);
    x = choose(x < all(-87.0F), all(-87.0F), x);
    const vector_f shifted = x * 1.44269504F + magic;
    const vector_f n = shifted - magic;
    const vector_f r = (x - n * 0.693145752F) - n * 1.42860677e-6F;
    vector_f p = r * (1.0F / 5040.0F) + 1.0F / 720.0F;
    p = p * r + 1.0F / 120.0F;
    p = p * r + 1.0F / 24.0F;
    p = p * r + 1.0F / 6.0F;
    p = p * r + 0.5F;
    p = p * r * r + r + 1.0F;
    const vector_i exponent = ((vector_i)shifted - (vector_i)magic) << 23;
    return choose(x != x, x, (vector_f)((vector_i)p + exponent));
}

static inline vector_f logistic(vector_f x)
{
    return 1.0F / (1.0F + exponential(-x));
}

/* Near 0 the continued fraction x / (1 + x^2 / (3 + x^2 / (5 + x^2 / (7 + x^2 / 9)))), whose
 * remainder below 0.7 is 1e-9; elsewhere 1 - 2 / (e^2x + 1). */
static inline vector_f hyperbolic_tangent(vector_f x)
{
    const vector_f z = x * x;
    /* the fraction with its denominators multiplied out */
    const vector_f above = ((z + 105.0F) * z + 945.0F) * x;
    const vector_f below = (15.0F * z + 420.0F) * z + 945.0F;
    const vector_f far = 1.0F - 2.0F / (exponential(x + x) + 1.0F);
    return choose(z < all(0.49F), above / below, far);
}

/* erf(x) = sign(x) (1 - t exp(-x^2 + p(t))), t = 1 / (1 + |x| / 2): the Chebyshev fit of the
 * complementary function, 1.2e-7 of it (Press et al., Numerical Recipes in C, 1992, 6.2). */
static inline vector_f error_function(vector_f x)
{
    static const float fit[] = {0.17087277F, -0.82215223F, 1.48851587F, -1.13520398F,
                                0.27886807F, -0.18628806F, 0.09678418F, 0.37409196F,
                                1.00002368F, -1.26551223F};
    const vector_f positive = choose(x < all(0.0F), -x, x);
    const vector_f t = 1.0F / (1.0F + 0.5F * positive);
    vector_f p = all(fit[0]);
    for (size_t i = 1; i < sizeof fit / sizeof *fit; i++) {
        p = p * t + fit[i];
    }
    const vector_f y = 1.0F - t * exponential(p - positive * positive);
    return choose(x < all(0.0F), -y, y);
}

static inline vector_f curve_of(md_curve curve, vector_f x)
{
    switch (curve) {
    case MD_CURVE_TANH:
        return hyperbolic_tangent(x);
    case MD_CURVE_SIGMOID:
        return logistic(x);
    case MD_CURVE_GELU:
        break;
    }
    return 0.5F * x * (1.0F + error_function(x * 0.707106781F));
}

static inline vector_f slope_of(md_curve curve, vector_f x, vector_f y)
{
    switch (curve) {
    case MD_CURVE_TANH:
        return 1.0F - y * y;
    case MD_CURVE_SIGMOID:
        return y * (1.0F - y);
    case MD_CURVE_GELU:
        break;
    }
    const vector_f density = 0.398942280F * exponential(-0.5F * x * x);
    return 0.5F * (1.0F + error_function(x * 0.707106781F)) + x * density;
}

static void curve(md_curve f, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        put(y + i, curve_of(f, fetch(x + i, n - i)), n - i);
    }
}

static void curve_back(md_curve f, const float *x, const float *y, const float *dy, float *dx,
                       int add, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        vector_f d = slope_of(f, fetch(x + i, left), fetch(y + i, left)) * fetch(dy + i, left);
        d = add ? fetch(dx + i, left) + d : d;
        put(dx + i, d, left);
    }
}

static void lstm(float *gates, const float *previous_c, float *c, float *h, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        float *at = gates + i;
        const vector_f in = logistic(fetch(at, left));
        const vector_f out = logistic(fetch(at + n, left));
        const vector_f forget = logistic(fetch(at + 2 * n, left));
        const vector_f cell = hyperbolic_tangent(fetch(at + 3 * n, left));
        vector_f state = in * cell;
        if (previous_c != NULL) {
            state += forget * fetch(previous_c + i, left);
        }
        put(at, in, left);
        put(at + n, out, left);
        put(at + 2 * n, forget, left);
        put(at + 3 * n, cell, left);
        put(c + i, state, left);
        put(h + i, out * hyperbolic_tangent(state), left);
    }
}

static void lstm_back(float *gates, const float *previous_c, const float *c, const float *dh,
                      float *dc, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        float *at = gates + i;
        const vector_f in = fetch(at, left), out = fetch(at + n, left);
        const vector_f forget = fetch(at + 2 * n, left), cell = fetch(at + 3 * n, left);
        const vector_f d = fetch(dh + i, left);
        const vector_f squashed = hyperbolic_tangent(fetch(c + i, left));
        const vector_f total = fetch(dc + i, left) + d * out * (1.0F - squashed * squashed);
        const vector_f before = previous_c == NULL ? all(0.0F) : fetch(previous_c + i, left);
        put(at, total * cell * in * (1.0F - in), left);
        put(at + n, d * squashed * out * (1.0F - out), left);
        put(at + 2 * n, total * before * forget * (1.0F - forget), left);
        put(at + 3 * n, total * in * (1.0F - cell * cell), left);
        put(dc + i, total * forget, left);
    }
}

static void gru(float *gates, const float *previous_h, float *h, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        float *at = gates + i;
        const vector_f z = logistic(fetch(at, left)), r = logistic(fetch(at + n, left));
        const vector_f q = fetch(at + 2 * n, left);
        const vector_f m = hyperbolic_tangent(fetch(at + 3 * n, left) + r * q);
        vector_f state = (1.0F - z) * m;
        if (previous_h != NULL) {
            state += z * fetch(previous_h + i, left);
        }
        put(at, z, left);
        put(at + n, r, left);
        put(at + 3 * n, m, left);
        put(h + i, state, left);
    }
}

static void gru_back(float *gates, const float *previous_h, float *dh, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        float *at = gates + i;
        const vector_f z = fetch(at, left), r = fetch(at + n, left);
        const vector_f q = fetch(at + 2 * n, left), m = fetch(at + 3 * n, left);
        const vector_f before = previous_h == NULL ? all(0.0F) : fetch(previous_h + i, left);
        const vector_f d = fetch(dh + i, left);
        const vector_f dm = d * (1.0F - z) * (1.0F - m * m);
        put(at, d * (before - m) * z * (1.0F - z), left);
        put(at + n, dm * q * r * (1.0F - r), left);
        put(at + 2 * n, dm * r, left);
        put(at + 3 * n, dm, left);
        put(dh + i, d * z, left);
    }
}

static void rnn(const float *gates, float *h, size_t n)
{
    curve(MD_CURVE_TANH, gates, h, n);
}

static void rnn_back(float *gates, const float *h, const float *dh, size_t n)
{
    curve_back(MD_CURVE_TANH, h, h, dh, gates, 0, n);
}

/* Panels of MD_TEXT_PANEL columns, k rows each, 0 beyond the last column. */
static void pack(int transposed, const float *b, size_t ldb, size_t k, size_t n,
                 float *ret_packed)
{
    for (size_t first = 0; first < n; first += MD_TEXT_PANEL) {
        const size_t width = n - first < MD_TEXT_PANEL ? n - first : MD_TEXT_PANEL;
        for (size_t i = 0; i < k; i++, ret_packed += MD_TEXT_PANEL) {
            for (size_t j = 0; j < MD_TEXT_PANEL; j++) {
                ret_packed[j] = j >= width   ? 0.0F
                                : transposed ? b[(first + j) * ldb + i]
                                             : b[i * ldb + first + j];
            }
        }
    }
}

/* rows <= ROWS, known when compiled, times one panel. */
static inline __attribute__((always_inline)) void block(const size_t rows, const float *x,
                                                        size_t ldx, const float *panel,
                                                        size_t k, float *y, size_t ldy,
                                                        size_t width)
{
    vector_f sums[ROWS][2];
    for (size_t r = 0; r < rows; r++) {
        sums[r][0] = sums[r][1] = all(0.0F);
    }
    for (size_t i = 0; i < k; i++, panel += MD_TEXT_PANEL) {
        const vector_f left = load(panel), right = load(panel + BLOCK);
        for (size_t r = 0; r < rows; r++) {
            const vector_f factor = all(x[r * ldx + i]);
            sums[r][0] += factor * left;
            sums[r][1] += factor * right;
        }
    }
    for (size_t r = 0; r < rows; r++, y += ldy) {
        const size_t first = width < BLOCK ? width : BLOCK;
        put(y, fetch(y, first) + sums[r][0], first);
        if (width > BLOCK) {
            put(y + BLOCK, fetch(y + BLOCK, width - BLOCK) + sums[r][1], width - BLOCK);
        }
    }
}

static void product(const float *x, size_t ldx, const float *packed, size_t rows, size_t k,
                    size_t n, float *y, size_t ldy)
{
    for (size_t first = 0; first < n; first += MD_TEXT_PANEL) {
        const size_t width = n - first < MD_TEXT_PANEL ? n - first : MD_TEXT_PANEL;
        const float *panel = packed + first * k;
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS) {
            block(ROWS, x + r * ldx, ldx, panel, k, y + r * ldy + first, ldy, width);
        }
        for (; r + 4 <= rows; r += 4) {
            block(4, x + r * ldx, ldx, panel, k, y + r * ldy + first, ldy, width);
        }
        for (; r < rows; r++) {
            block(1, x + r * ldx, ldx, panel, k, y + r * ldy + first, ldy, width);
        }
    }
}

static float dot(const float *x, const float *y, size_t n)
{
    vector_f sum = all(0.0F);
    for (size_t i = 0; i < n; i += BLOCK) {
        sum += fetch(x + i, n - i) * fetch(y + i, n - i);
    }
    return sum_of(sum);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

static void layer_norm(const float *x, const float *scale, const float *shift, float epsilon,
                       float *y, float *saved, size_t n)
{
    vector_f sum = all(0.0F), squares = all(0.0F);
    for (size_t i = 0; i < n; i += BLOCK) {
        sum += fetch(x + i, n - i);
    }
    const float mean = sum_of(sum) / (float)n;
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK) {
        const vector_f v = load(x + i) - mean;
        squares += v * v;
    }
    float square = sum_of(squares);
    for (size_t i = n / BLOCK * BLOCK; i < n; i++) {
        square += (x[i] - mean) * (x[i] - mean);
    }
    const float inverse = 1.0F / sqrtf(square / (float)n + epsilon);
    saved[0] = mean;
    saved[1] = inverse;
    for (size_t i = 0; i < n; i++) {
        const float v = (x[i] - mean) * inverse;
        y[i] = (scale == NULL ? v : v * scale[i]) + (shift == NULL ? 0.0F : shift[i]);
    }
}

/* With g = dy scale and v the normalised x: dx = inverse (g - mean(g) - v mean(g v)). */
static void layer_norm_back(const float *x, const float *scale, const float *saved,
                            const float *dy, float *dx, int add, float *d_scale, float *d_shift,
                            size_t n)
{
    const float mean = saved[0], inverse = saved[1];
    vector_f sum = all(0.0F), sum_v = all(0.0F);
    for (size_t i = 0; i < n; i += BLOCK) {
        vector_f g = fetch(dy + i, n - i);
        g = scale == NULL ? g : g * fetch(scale + i, n - i);
        sum += g;
        sum_v += g * (fetch(x + i, n - i) - mean); /* g is 0 beyond the end */
    }
    const float a = sum_of(sum) / (float)n, b = sum_of(sum_v) * inverse / (float)n;
    for (size_t i = 0; i < n; i++) {
        const float v = (x[i] - mean) * inverse, g = scale == NULL ? dy[i] : dy[i] * scale[i];
        if (d_scale != NULL) {
            d_scale[i] += dy[i] * v;
        }
        if (d_shift != NULL) {
            d_shift[i] += dy[i];
        }
        if (dx != NULL) {
            const float d = inverse * (g - a - v * b);
            dx[i] = add ? dx[i] + d : d;
        }
    }
}

static void softmax(float *x, float scale, size_t n)
{
    float most = scale * x[0];
    for (size_t i = 1; i < n; i++) {
        most = scale * x[i] > most ? scale * x[i] : most;
    }
    vector_f sum = all(0.0F);
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t left = n - i;
        put(x + i, exponential(scale * fetch(x + i, left) - most), left);
        sum += fetch(x + i, left); /* 0 beyond the end */
    }
    const float share = 1.0F / sum_of(sum);
    for (size_t i = 0; i < n; i++) {
        x[i] *= share;
    }
}

static void softmax_back(const float *p, float *d, float scale, size_t n)
{
    const float sum = dot(p, d, n);
    for (size_t i = 0; i < n; i++) {
        d[i] = scale * p[i] * (d[i] - sum);
    }
}

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

const md_text_kernels JOIN(md_text_table, MD_TRAIN_SUFFIX) = {
    .name = MD_TRAIN_ISA,
    .curve = curve,
    .curve_back = curve_back,
    .lstm = lstm,
    .lstm_back = lstm_back,
    .gru = gru,
    .gru_back = gru_back,
    .rnn = rnn,
    .rnn_back = rnn_back,
    .pack = pack,
    .product = product,
    .layer_norm = layer_norm,
    .layer_norm_back = layer_norm_back,
    .softmax = softmax,
    .softmax_back = softmax_back,
    .dot = dot,
    .axpy = axpy,
};
