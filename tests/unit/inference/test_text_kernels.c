/* The kernels of text networks, each table that this processor can run, against plain loops in
 * double: whole blocks of rows and what is left of them, whole panels of columns and parts. */

#include "inference/train/kernels_tables.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

enum {
    MAX_TABLES = 3,
    MAX_ROWS = 25,
    MAX_COLUMNS = 51,
    MAX_K = 37
};

static const size_t widths[] = {5, 32, 33, 51};

enum {
    N_WIDTHS = sizeof widths / sizeof *widths
};

static uint32_t seed;

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525U + 1013904223U;
        x[i] = (float)(seed >> 8) * 0x1p-23F - 1.0F;
    }
}

static unsigned tables(const md_text_kernels *ret[MAX_TABLES])
{
    unsigned n = 0;
    ret[n++] = &md_text_table_plain;
#ifdef MD_TRAIN_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        ret[n++] = &md_text_table_avx2;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        ret[n++] = &md_text_table_avx512;
    }
#endif
    return n;
}

/* The one that training takes is among them, and the last. */
static void test_tables(void **state)
{
    (void)state;
    const md_text_kernels *list[MAX_TABLES];
    const unsigned n = tables(list);
    for (unsigned i = 0; i < n; i++) {
        print_message("# %s\n", list[i]->name);
    }
    assert_ptr_equal(md_text_kernels_get(), list[n - 1]);
}

/* y [rows,n] += x [rows,k] b, x and y parts of wider rows. */
static void check_product(const md_text_kernels *kernels, bool transposed, size_t rows,
                          size_t k, size_t n)
{
    enum {
        GAP = 3
    };
    static float x[MAX_ROWS * (MAX_K + GAP)], b[(MAX_K + GAP) * (MAX_COLUMNS + GAP)];
    static float y[MAX_ROWS * (MAX_COLUMNS + GAP)], before[MAX_ROWS * (MAX_COLUMNS + GAP)];
    static float packed[MAX_K * 2 * MD_TEXT_PANEL];
    const size_t ldx = k + GAP, ldb = (transposed ? k : n) + GAP, ldy = n + GAP;
    assert_true(md_text_packed_floats(k, n) <= sizeof packed / sizeof *packed);
    fill(x, sizeof x / sizeof *x);
    fill(b, sizeof b / sizeof *b);
    fill(y, sizeof y / sizeof *y);
    memcpy(before, y, sizeof y);
    kernels->pack(transposed, b, ldb, k, n, packed);
    kernels->product(x, ldx, packed, rows, k, n, y, ldy);
    for (size_t r = 0; r < MAX_ROWS; r++) {
        for (size_t j = 0; j < ldy; j++) {
            const size_t at = r * ldy + j;
            if (r >= rows || j >= n) {
                assert_true(y[at] == before[at]); /* nobody writes beside the result */
                continue;
            }
            double sum = (double)before[at];
            for (size_t i = 0; i < k; i++) {
                sum += (double)x[r * ldx + i] *
                       (double)(transposed ? b[j * ldb + i] : b[i * ldb + j]);
            }
            assert_near(y[at], sum, 5e-6);
        }
    }
}

static void test_product(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 4, 11, 12, 13, 25}, depths[] = {1, 7, 37};
    const md_text_kernels *list[MAX_TABLES];
    const unsigned n_tables = tables(list);
    for (unsigned t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows * N_WIDTHS; i++) {
            for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
                check_product(list[t], false, rows[i / N_WIDTHS], depths[d],
                              widths[i % N_WIDTHS]);
                check_product(list[t], true, rows[i / N_WIDTHS], depths[d],
                              widths[i % N_WIDTHS]);
            }
        }
    }
}

static double curve_of(md_curve curve, double x)
{
    switch (curve) {
    case MD_CURVE_TANH:
        return tanh(x);
    case MD_CURVE_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    case MD_CURVE_GELU:
        break;
    }
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}

static double slope_of(md_curve curve, double x)
{
    const double y = curve_of(curve, x);
    switch (curve) {
    case MD_CURVE_TANH:
        return 1.0 - y * y;
    case MD_CURVE_SIGMOID:
        return y * (1.0 - y);
    case MD_CURVE_GELU:
        break;
    }
    return 0.5 * (1.0 + erf(x / sqrt(2.0))) + x * exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
}

static void check_curve(const md_text_kernels *kernels, md_curve curve, float scale, size_t n)
{
    float x[MAX_COLUMNS], y[MAX_COLUMNS + 1], dy[MAX_COLUMNS], dx[MAX_COLUMNS + 1];
    float before[MAX_COLUMNS + 1];
    fill(x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] *= scale;
    }
    fill(dy, n);
    fill(dx, n + 1);
    memcpy(before, dx, (n + 1) * sizeof *dx);
    y[n] = 42.0F;
    kernels->curve(curve, x, y, n);
    kernels->curve_back(curve, x, y, dy, dx, 1, n);
    assert_true(y[n] == 42.0F && dx[n] == before[n]);
    for (size_t i = 0; i < n; i++) {
        const double wanted = slope_of(curve, (double)x[i]) * (double)dy[i];
        const double most = fmax(1.0, fabs((double)x[i]));
        assert_near(y[i], curve_of(curve, (double)x[i]), 1e-6 * most);
        assert_near(dx[i], (double)before[i] + wanted, 2e-6);
    }
    kernels->curve_back(curve, x, y, dy, dx, 0, n);
    for (size_t i = 0; i < n; i++) {
        assert_near(dx[i], slope_of(curve, (double)x[i]) * (double)dy[i], 2e-6);
    }
}

static void test_curve(void **state)
{
    (void)state;
    static const float scales[] = {0.1F, 1.0F, 6.0F, 90.0F}; /* far out they are flat */
    const md_text_kernels *list[MAX_TABLES];
    const unsigned n_tables = tables(list);
    for (unsigned t = 0; t < n_tables; t++) {
        for (int curve = MD_CURVE_TANH; curve <= MD_CURVE_GELU; curve++) {
            for (size_t i = 0; i < 4 * N_WIDTHS; i++) {
                check_curve(list[t], (md_curve)curve, scales[i % 4], widths[i / 4]);
            }
        }
    }
}

/* scale and shift NULL: none. */
static void check_layer_norm(const md_text_kernels *kernels, bool with, size_t n)
{
    const float epsilon = 1e-5F;
    float x[MAX_COLUMNS], y[MAX_COLUMNS], scale[MAX_COLUMNS], shift[MAX_COLUMNS];
    float dy[MAX_COLUMNS], dx[MAX_COLUMNS], old[MAX_COLUMNS], saved[2];
    float d_scale[MAX_COLUMNS] = {0}, d_shift[MAX_COLUMNS] = {0};
    double mean = 0.0, square = 0.0, sum = 0.0, sum_v = 0.0;
    fill(x, n);
    fill(scale, n);
    fill(shift, n);
    fill(dy, n);
    fill(old, n);
    memcpy(dx, old, n * sizeof *dx);
    for (size_t i = 0; i < n; i++) {
        x[i] += 3.0F; /* the mean matters */
        mean += (double)x[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        square += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
    }
    const double inverse = 1.0 / sqrt(square + (double)epsilon);
    kernels->layer_norm(x, with ? scale : NULL, with ? shift : NULL, epsilon, y, saved, n);
    kernels->layer_norm_back(x, with ? scale : NULL, saved, dy, dx, 1, with ? d_scale : NULL,
                             with ? d_shift : NULL, n);
    for (size_t i = 0; i < n; i++) {
        const double g = (double)dy[i] * (with ? (double)scale[i] : 1.0);
        sum += g / (double)n;
        sum_v += g * ((double)x[i] - mean) * inverse / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double v = ((double)x[i] - mean) * inverse;
        const double g = (double)dy[i] * (with ? (double)scale[i] : 1.0);
        assert_near(y[i], with ? v * (double)scale[i] + (double)shift[i] : v, 5e-6);
        assert_near(dx[i], (double)old[i] + inverse * (g - sum - v * sum_v), 1e-5);
        assert_near(d_scale[i], with ? (double)dy[i] * v : 0.0, 5e-6);
        assert_near(d_shift[i], with ? (double)dy[i] : 0.0, 1e-6);
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    const md_text_kernels *list[MAX_TABLES];
    const unsigned n_tables = tables(list);
    for (unsigned t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < N_WIDTHS; i++) {
            check_layer_norm(list[t], false, widths[i]);
            check_layer_norm(list[t], true, widths[i]);
        }
    }
}

static void check_softmax(const md_text_kernels *kernels, float scale, size_t n)
{
    float x[MAX_COLUMNS], p[MAX_COLUMNS], d[MAX_COLUMNS], back[MAX_COLUMNS];
    double most = -1e30, total = 0.0, sum = 0.0;
    fill(x, n);
    fill(d, n);
    x[n / 2] = 300.0F / scale; /* e^300 is no float: the largest is taken off */
    x[n - 1] = 299.0F / scale;
    memcpy(p, x, n * sizeof *p);
    memcpy(back, d, n * sizeof *back);
    kernels->softmax(p, scale, n);
    kernels->softmax_back(p, back, scale, n);
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, (double)(scale * x[i]));
    }
    for (size_t i = 0; i < n; i++) {
        total += exp((double)(scale * x[i]) - most);
        sum += (double)p[i] * (double)d[i];
    }
    for (size_t i = 0; i < n; i++) {
        assert_near(p[i], exp((double)(scale * x[i]) - most) / total, 1e-6);
        assert_near(back[i], (double)scale * (double)p[i] * ((double)d[i] - sum), 2e-6);
    }
}

/* Near each other, so that every element has a share. */
static void check_even_softmax(const md_text_kernels *kernels, size_t n)
{
    float p[MAX_COLUMNS];
    double wanted[MAX_COLUMNS], total = 0.0;
    fill(p, n);
    for (size_t i = 0; i < n; i++) {
        wanted[i] = exp(0.5 * (double)p[i]);
        total += wanted[i];
    }
    kernels->softmax(p, 0.5F, n);
    for (size_t i = 0; i < n; i++) {
        assert_near(p[i], wanted[i] / total, 1e-6);
    }
}

static void test_softmax(void **state)
{
    (void)state;
    const md_text_kernels *list[MAX_TABLES];
    const unsigned n_tables = tables(list);
    for (unsigned t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < N_WIDTHS; i++) {
            check_softmax(list[t], 0.25F, widths[i]);
            check_softmax(list[t], 1.0F, widths[i]);
            check_even_softmax(list[t], widths[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),  cmocka_unit_test(test_product),
        cmocka_unit_test(test_curve),   cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_softmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
