/* Batch normalisation, ReLU and 1 x 1 convolution in one, against the sum that it stands for,
 * in double precision: views, few and many rows, bfloat16, every number of threads. */

#include "inference/backend/pointwise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct shape {
    size_t n_rows, c_in, c_out, gap; /* gap: of the views */
    bool norm, bias, bf16;
    float least, low, high;
} shape;

static const shape shapes[] = {
    {1, 16, 32, 0, false, false, false, 0.0F, -INFINITY, INFINITY},
    {13, 48, 32, 16, true, true, false, 0.0F, 0.0F, INFINITY},
    {49, 128, 128, 64, true, true, false, 0.0F, -INFINITY, INFINITY},
    {64, 32, 96, 0, true, false, false, -INFINITY, -1.0F, 1.0F},
    {65, 64, 64, 32, true, true, false, 0.0F, 0.0F, 6.0F},
    {331, 64, 32, 32, true, true, false, 0.0F, 0.0F, INFINITY},
    {120, 4096, 32, 0, true, true, false, 0.0F, -INFINITY, INFINITY}, /* one strip at a time */
    {49, 64, 64, 32, true, true, true, 0.0F, 0.0F, INFINITY},
    {150, 96, 32, 32, true, false, true, -INFINITY, -INFINITY, INFINITY},
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

static float from_bf16(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float get(const void *from, size_t i, bool bf16)
{
    return bf16 ? from_bf16(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

static void set(void *to, size_t i, bool bf16, float x)
{
    if (bf16) {
        ((uint16_t *)to)[i] = to_bf16(x);
    } else {
        ((float *)to)[i] = x;
    }
}

static void *fill(size_t n, bool bf16)
{
    void *made = calloc(n, 4);
    assert_non_null(made);
    for (size_t i = 0; i < n; i++) {
        set(made, i, bf16, next());
    }
    return made;
}

/* w [c_out][c_in] in the order of the kernel. */
static void *pack(const md_pointwise *s, const void *w)
{
    void *packed = calloc(s->c_in * s->c_out, 4);
    assert_non_null(packed);
    for (size_t k = 0; k < s->c_out; k++) {
        for (size_t c = 0; c < s->c_in; c++) {
            const size_t panel = k / 32 * s->c_in * 32, column = k % 32;
            const size_t at =
                s->bf16 ? panel + c / 2 * 64 + 2 * column + c % 2 : panel + c * 32 + column;
            set(packed, at, s->bf16, get(w, k * s->c_in + c, s->bf16));
        }
    }
    return packed;
}

/* Before the limits. */
static double exact(const md_pointwise *s, const md_pointwise_operands *o, const void *w,
                    size_t row, size_t k)
{
    double sum = o->bias == NULL ? 0.0 : (double)o->bias[k];
    for (size_t c = 0; c < s->c_in; c++) {
        float x = get(o->x, row * s->x_stride + c, s->bf16);
        if (o->scale != NULL) {
            x = fmaxf(fmaf(x, o->scale[c], o->shift[c]), s->least);
        }
        x = s->bf16 ? from_bf16(to_bf16(x)) : x;
        sum += (double)x * (double)get(w, k * s->c_in + c, s->bf16);
    }
    return sum;
}

static double worst(const md_pointwise *s, const md_pointwise_operands *o, const void *w)
{
    double difference = 0.0, largest = 1e-30;
    for (size_t row = 0; row < s->n_rows; row++) {
        for (size_t k = 0; k < s->c_out; k++) {
            const double y = (double)get(o->y, row * s->y_stride + k, s->bf16);
            const double sum = exact(s, o, w, row, k);
            assert_true(isfinite(y));
            difference =
                fmax(difference, fabs(y - fmin(fmax(sum, (double)s->low), (double)s->high)));
            largest = fmax(largest, fabs(sum));
        }
        for (size_t k = s->c_out; k < s->y_stride; k++) { /* between the views */
            assert_true(get(o->y, row * s->y_stride + k, s->bf16) == 7.0F);
        }
    }
    return difference / largest;
}

static void run(const md_pointwise *s, md_pointwise_operands *o)
{
    o->scratch = malloc(md_pointwise_scratch_bytes(s));
    assert_non_null(o->scratch);
    memset(o->scratch, 0xff, md_pointwise_scratch_bytes(s)); /* nothing is assumed of it */
    for (size_t i = 0; i < s->n_rows * s->y_stride; i++) {
        set(o->y, i, s->bf16, 7.0F);
    }
    for (unsigned part = s->n_parts; part-- > 0;) {
        md_pointwise_run(s, o, part);
    }
    free(o->scratch);
}

static void check(const shape *at)
{
    md_pointwise s = {.n_rows = at->n_rows,
                      .c_in = at->c_in,
                      .c_out = at->c_out,
                      .x_stride = at->c_in + at->gap,
                      .y_stride = at->c_out + at->gap,
                      .bf16 = at->bf16,
                      .least = at->least,
                      .low = at->low,
                      .high = at->high};
    const size_t n_bytes = s.n_rows * s.y_stride * (s.bf16 ? 2 : 4);
    seed = 1;
    void *x = fill(s.n_rows * s.x_stride, s.bf16), *w = fill(s.c_out * s.c_in, s.bf16);
    float *scale = fill(s.c_in, false), *shift = fill(s.c_in, false);
    float *bias = fill(s.c_out, false);
    void *packed = pack(&s, w), *first = malloc(n_bytes);
    void *y = calloc(s.n_rows * s.y_stride, sizeof(float));
    assert_true(first != NULL && y != NULL);
    md_pointwise_operands o = {.x = x,
                               .scale = at->norm ? scale : NULL,
                               .shift = at->norm ? shift : NULL,
                               .w = packed,
                               .bias = at->bias ? bias : NULL,
                               .y = y};
    for (s.n_parts = 1; s.n_parts <= 5; s.n_parts++) {
        run(&s, &o);
        if (s.n_parts == 1) {
            const double difference = worst(&s, &o, w);
            memcpy(first, y, n_bytes);
            print_message("# %zu rows, %zu to %zu%s: relative difference %.2g\n", s.n_rows,
                          s.c_in, s.c_out, s.bf16 ? ", bf16" : "", difference);
            /* bf16: its last bit, once, of the result */
            assert_true(difference <= (s.bf16 ? 1.0 / 256.0 : 2e-6));
        }
        assert_memory_equal(first, y, n_bytes); /* to the last bit */
    }
    free(x);
    free(w);
    free(scale);
    free(shift);
    free(bias);
    free(packed);
    free(first);
    free(y);
}

static void test_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!md_pointwise_is_supported(shapes[i].bf16)) {
            print_message("# this processor cannot compute shape %zu\n", i);
            continue;
        }
        check(&shapes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
