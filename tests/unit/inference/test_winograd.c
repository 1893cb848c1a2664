/* Winograd convolution against the sum that it stands for, in double precision: odd sizes, all
 * margins, views, bfloat16, every number of threads. */

#include "inference/backend/winograd.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct shape {
    int64_t n, in_h, in_w, c_in, c_out, top, left, bottom, right, gap; /* gap: of the views */
    bool bias, residual, bf16;
    float low, high;
} shape;

static const shape shapes[] = {
    {1, 8, 8, 16, 32, 1, 1, 1, 1, 0, true, false, false, -INFINITY, INFINITY},
    {1, 4, 4, 16, 32, 1, 1, 1, 1, 0, false, false, false, -INFINITY, INFINITY},
    {1, 1, 1, 32, 32, 1, 1, 1, 1, 16, true, true, false, 0.0F, INFINITY},
    {3, 7, 13, 48, 64, 1, 1, 1, 1, 16, true, true, false, 0.0F, 6.0F},
    {2, 17, 9, 32, 96, 0, 0, 0, 0, 32, false, true, false, -1.0F, 1.0F},
    {1, 3, 3, 64, 32, 0, 0, 0, 0, 0, true, false, false, -INFINITY, INFINITY},
    {1, 21, 31, 32, 32, 2, 0, 3, 5, 48, true, true, false, -INFINITY, INFINITY},
    {1, 29, 30, 128, 32, 1, 1, 1, 1, 64, true, false, false, 0.0F, INFINITY},
    {2, 14, 15, 32, 64, 1, 1, 1, 1, 16, true, true, true, 0.0F, INFINITY},
    {1, 9, 10, 64, 32, 1, 0, 2, 1, 0, false, false, true, -INFINITY, INFINITY},
};

static uint32_t seed;

static float next(void)
{
    seed = seed * 1664525U + 1013904223U;
    return (float)(seed >> 8) / 8388608.0F - 1.0F;
}

static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

static float get(const void *from, int64_t i, bool bf16)
{
    uint32_t bits;
    float x = ((const float *)from)[bf16 ? 0 : i];
    if (bf16) {
        bits = (uint32_t)((const uint16_t *)from)[i] << 16;
        memcpy(&x, &bits, sizeof x);
    }
    return x;
}

static void *fill(int64_t n, bool bf16)
{
    void *made = calloc((size_t)n, 4);
    assert_non_null(made);
    for (int64_t i = 0; i < n; i++) {
        const float x = next();
        if (bf16) {
            ((uint16_t *)made)[i] = to_bf16(x);
        } else {
            ((float *)made)[i] = x;
        }
    }
    return made;
}

typedef struct operands {
    void *x, *residual, *y;
    float *w, *u, *bias;
} operands;

/* Before the limits. */
static double exact(const md_winograd *s, const operands *o, int64_t n, int64_t i, int64_t j,
                    int64_t k)
{
    double sum = o->bias == NULL ? 0.0 : (double)o->bias[k];
    for (int64_t p = 0; p < 9; p++) {
        const int64_t row = i + p / 3 - s->pad_top, column = j + p % 3 - s->pad_left;
        if (row < 0 || row >= s->in_h || column < 0 || column >= s->in_w) {
            continue;
        }
        for (int64_t c = 0; c < s->c_in; c++) {
            const int64_t at = ((n * s->in_h + row) * s->in_w + column) * s->x_stride + c;
            sum += (double)get(o->x, at, s->bf16) * (double)o->w[(k * s->c_in + c) * 9 + p];
        }
    }
    if (o->residual != NULL) {
        const int64_t at = ((n * s->out_h + i) * s->out_w + j) * s->residual_stride + k;
        sum += (double)get(o->residual, at, s->bf16);
    }
    return sum;
}

/* Largest difference over the largest sum; what is between the views stays as it was. */
static double worst(const md_winograd *s, const operands *o)
{
    double difference = 0.0, largest = 1e-30;
    const int64_t n_positions = s->n_images * s->out_h * s->out_w;
    for (int64_t at = 0; at < n_positions; at++) {
        const int64_t n = at / (s->out_h * s->out_w), i = at / s->out_w % s->out_h;
        for (int64_t k = 0; k < s->c_out; k++) {
            const double y = (double)get(o->y, at * s->y_stride + k, s->bf16);
            const double sum = exact(s, o, n, i, at % s->out_w, k);
            assert_true(isfinite(y));
            difference =
                fmax(difference, fabs(y - fmin(fmax(sum, (double)s->low), (double)s->high)));
            largest = fmax(largest, fabs(sum));
        }
        for (int64_t k = s->c_out; k < s->y_stride; k++) {
            assert_true(get(o->y, at * s->y_stride + k, s->bf16) == 7.0F);
        }
    }
    return difference / largest;
}

static void run(const md_winograd *s, const operands *o)
{
    const int64_t n = s->n_images * s->out_h * s->out_w * s->y_stride;
    void *scratch = malloc(md_winograd_scratch_bytes(s)); /* not zeroed: nothing is assumed */
    assert_non_null(scratch);
    memset(scratch, 0xff, md_winograd_scratch_bytes(s));
    for (int64_t i = 0; i < n; i++) {
        if (s->bf16) {
            ((uint16_t *)o->y)[i] = to_bf16(7.0F);
        } else {
            ((float *)o->y)[i] = 7.0F;
        }
    }
    for (unsigned part = s->n_parts; part-- > 0;) {
        md_winograd_run(s, o->x, o->u, o->bias, o->residual, o->y, scratch, part);
    }
    free(scratch);
}

static void check(const shape *at)
{
    md_winograd s = {.n_images = at->n,
                     .in_h = at->in_h,
                     .in_w = at->in_w,
                     .c_in = at->c_in,
                     .out_h = at->in_h + at->top + at->bottom - 2,
                     .out_w = at->in_w + at->left + at->right - 2,
                     .c_out = at->c_out,
                     .pad_top = at->top,
                     .pad_left = at->left,
                     .x_stride = at->c_in + at->gap,
                     .y_stride = at->c_out + at->gap,
                     .residual_stride = at->c_out + 2 * at->gap,
                     .bf16 = at->bf16,
                     .low = at->low,
                     .high = at->high,
                     .n_parts = 1};
    const int64_t n_out = s.n_images * s.out_h * s.out_w;
    seed = 1;
    operands o = {.x = fill(s.n_images * s.in_h * s.in_w * s.x_stride, s.bf16),
                  .residual = at->residual ? fill(n_out * s.residual_stride, s.bf16) : NULL,
                  .y = calloc((size_t)(n_out * s.y_stride), sizeof(float)),
                  .w = fill(s.c_out * s.c_in * 9, false),
                  .u = malloc(md_winograd_weight_bytes(&s)),
                  .bias = at->bias ? fill(s.c_out, false) : NULL};
    void *first = malloc((size_t)(n_out * s.y_stride) * sizeof(float));
    const size_t n_bytes = (size_t)(n_out * s.y_stride) * (s.bf16 ? 2 : 4);
    assert_true(o.y != NULL && o.u != NULL && first != NULL);
    md_winograd_weights(&s, o.w, o.u);
    for (unsigned n_parts = 1; n_parts <= 5; n_parts++) {
        s.n_parts = n_parts;
        run(&s, &o);
        if (n_parts == 1) {
            memcpy(first, o.y, n_bytes);
            const double difference = worst(&s, &o);
            print_message("# %lld x %lld, %lld to %lld%s: relative difference %.2g\n",
                          (long long)s.in_h, (long long)s.in_w, (long long)s.c_in,
                          (long long)s.c_out, s.bf16 ? ", bf16" : "", difference);
            /* bf16: its last bit, once, of the result */
            assert_true(difference <= (s.bf16 ? 1.0 / 256.0 : 1e-5));
        }
        assert_memory_equal(first, o.y, n_bytes); /* to the last bit */
    }
    free(first);
    free(o.x);
    free(o.residual);
    free(o.y);
    free(o.w);
    free(o.u);
    free(o.bias);
}

static void test_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!md_winograd_is_supported(shapes[i].bf16)) {
            print_message("# this processor cannot compute shape %zu\n", i);
            continue;
        }
        check(&shapes[i]);
    }
}

/* The residual may be what the result replaces; a NaN is never taken for a number. */
static void test_in_place_and_nan(void **state)
{
    (void)state;
    enum {
        C = 32,
        N = 12 * 12 * C
    };
    if (!md_winograd_is_supported(false)) {
        print_message("# this processor has no AVX-512\n");
        return;
    }
    const md_winograd s = {1, 12, 12, C, 12, 12, C, 1, 1, C, C, C, false, 0.0F, INFINITY, 1};
    seed = 2;
    float *x = fill(N, false), *w = fill(C * C * 9, false), *y = fill(N, false);
    float *kept = malloc(N * sizeof *kept), *u = malloc(md_winograd_weight_bytes(&s));
    void *scratch = malloc(md_winograd_scratch_bytes(&s));
    assert_true(kept != NULL && u != NULL && scratch != NULL);
    memcpy(kept, y, N * sizeof *kept);
    md_winograd_weights(&s, w, u);
    md_winograd_run(&s, x, u, NULL, y, y, scratch, 0);
    const operands o = {x, kept, y, w, u, NULL};
    assert_true(worst(&s, &o) <= 1e-5);
    x[(5 * 12 + 5) * C + 3] = NAN;
    md_winograd_run(&s, x, u, NULL, kept, y, scratch, 0);
    for (int i = 4; i < 7; i++) {
        for (int j = 4; j < 7; j++) {
            assert_true(isnan(y[(i * 12 + j) * C]));
        }
    }
    free(x);
    free(w);
    free(y);
    free(kept);
    free(u);
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_in_place_and_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
