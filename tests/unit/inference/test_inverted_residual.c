/* The inverted residual as one step against the three convolutions that it stands for, in
 * double precision: strides, pads, odd sizes, with and without expansion and residual, views,
 * several images, bfloat16, every number of threads and both ways to share the work. */

#include "inference/backend/inverted.h"
#include "inference/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct shape {
    size_t n_images, in_h, in_w, out_h, out_w, c_in, c_mid, c_out, stride, pad, gap;
    bool expands, residual, bf16;
} shape;

static const shape shapes[] = {
    {1, 8, 8, 8, 8, 8, 16, 8, 1, 1, 0, true, false, false},
    {1, 7, 7, 7, 7, 16, 96, 32, 1, 1, 8, true, true, false},
    {2, 9, 11, 9, 11, 24, 48, 24, 1, 1, 0, true, true, false},
    {1, 14, 14, 7, 7, 32, 64, 40, 2, 1, 16, true, false, false},
    {1, 15, 13, 7, 6, 24, 80, 16, 2, 0, 0, true, false, false},
    {1, 40, 21, 40, 21, 32, 32, 16, 1, 1, 8, false, false, false},
    {2, 33, 56, 17, 28, 16, 48, 8, 2, 1, 0, true, false, false},
    {1, 56, 100, 56, 100, 24, 160, 24, 1, 1, 0, true, true, false}, /* bands */
    {1, 3, 3, 1, 1, 8, 16, 8, 1, 0, 0, true, false, false},
    {1, 14, 14, 14, 14, 24, 144, 24, 1, 1, 8, true, true, true},
    {1, 56, 57, 28, 29, 16, 96, 24, 2, 1, 0, true, false, true},
    {1, 40, 21, 40, 21, 32, 32, 16, 1, 1, 0, false, false, true},
};

static uint32_t seed;

static float next(void)
{
    seed = seed * 1664525U + 1013904223U;
    return (float)(seed >> 8) / 8388608.0F - 1.0F;
}

static float get(const void *from, size_t i, bool bf16)
{
    return bf16 ? md_bf16_to_f32(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

static void set(void *to, size_t i, bool bf16, float x)
{
    if (bf16) {
        ((uint16_t *)to)[i] = md_f32_to_bf16(x);
    } else {
        ((float *)to)[i] = x;
    }
}

static void *fill(size_t n, bool bf16, float scale)
{
    void *made = calloc(n, 4);
    assert_non_null(made);
    for (size_t i = 0; i < n; i++) {
        set(made, i, bf16, scale * next());
    }
    return made;
}

static double rounded(double x, bool bf16)
{
    return bf16 ? (double)md_bf16_to_f32(md_f32_to_bf16((float)x)) : x;
}

static double limited(const md_inverted *s, unsigned which, double x)
{
    return fmin(fmax(x, (double)s->low[which]), (double)s->high[which]);
}

/* What is computed with, weights row-major. */
typedef struct data {
    void *x, *residual, *y;
    float *expand_w, *deep_w, *project_w, *expand_bias, *deep_bias, *project_bias;
} data;

/* One channel of e of a position, or 0 outside. */
static double many(const md_inverted *s, const data *o, size_t image, ptrdiff_t i, ptrdiff_t j,
                   size_t c)
{
    if (i < 0 || j < 0 || (size_t)i >= s->in_h || (size_t)j >= s->in_w) {
        return 0.0;
    }
    const size_t at = ((image * s->in_h + (size_t)i) * s->in_w + (size_t)j) * s->x_stride;
    if (!s->expands) {
        return (double)get(o->x, at + c, s->bf16);
    }
    double sum = (double)o->expand_bias[c];
    for (size_t k = 0; k < s->c_in; k++) {
        sum += (double)get(o->x, at + k, s->bf16) *
               rounded((double)o->expand_w[c * s->c_in + k], s->bf16);
    }
    return limited(s, 0, sum);
}

/* All of y, before the last limits, into `to` [positions][c_out]. */
static void exact(const md_inverted *s, const data *o, double *to)
{
    const size_t in_each = s->in_h * s->in_w;
    double *e = calloc(in_each * s->c_mid, sizeof *e), *d = calloc(s->c_mid, sizeof *d);
    assert_true(e != NULL && d != NULL);
    for (size_t image = 0, at = 0; image < s->n_images; image++) {
        for (size_t i = 0; i < in_each * s->c_mid; i++) {
            const size_t p = i / s->c_mid;
            e[i] = many(s, o, image, (ptrdiff_t)(p / s->in_w), (ptrdiff_t)(p % s->in_w),
                        i % s->c_mid);
        }
        for (size_t p = 0; p < s->out_h * s->out_w; p++, at++) {
            for (size_t c = 0; c < s->c_mid; c++) {
                d[c] = (double)o->deep_bias[c];
                for (size_t t = 0; t < 9; t++) {
                    const size_t i = p / s->out_w * s->stride + t / 3 - s->pad_top;
                    const size_t j = p % s->out_w * s->stride + t % 3 - s->pad_left;
                    if (i < s->in_h && j < s->in_w) { /* -1 is large */
                        d[c] += e[(i * s->in_w + j) * s->c_mid + c] *
                                (double)o->deep_w[t * s->c_mid + c];
                    }
                }
                d[c] = rounded(limited(s, 1, d[c]), s->bf16);
            }
            for (size_t k = 0; k < s->c_out; k++) {
                double sum = (double)o->project_bias[k];
                for (size_t c = 0; c < s->c_mid; c++) {
                    sum += d[c] * rounded((double)o->project_w[k * s->c_mid + c], s->bf16);
                }
                if (o->residual != NULL) {
                    sum += (double)get(o->residual, at * s->residual_stride + k, s->bf16);
                }
                to[at * s->c_out + k] = sum;
            }
        }
    }
    free(e);
    free(d);
}

static double worst(const md_inverted *s, const data *o)
{
    const size_t n = s->n_images * s->out_h * s->out_w;
    double difference = 0.0, largest = 1e-30, *sums = calloc(n * s->c_out, sizeof *sums);
    assert_non_null(sums);
    exact(s, o, sums);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->y_stride; k++) {
            const float y = get(o->y, i * s->y_stride + k, s->bf16);
            if (k >= s->c_out) { /* between the views */
                assert_true(y == 7.0F);
                continue;
            }
            const double sum = sums[i * s->c_out + k];
            assert_true(isfinite(y));
            difference = fmax(difference, fabs((double)y - limited(s, 2, sum)));
            largest = fmax(largest, fabs(sum));
        }
    }
    free(sums);
    return difference / largest;
}

static void run(const md_inverted *s, const data *o)
{
    const size_t n_expand = md_inverted_packed_bytes(s->c_mid, s->c_in, s->bf16);
    const size_t n_project = md_inverted_packed_bytes(s->c_out, s->c_mid, s->bf16);
    const size_t n_scratch = md_inverted_scratch_bytes(s);
    void *expand_w = malloc(n_expand), *project_w = malloc(n_project);
    void *scratch = malloc(n_scratch);
    assert_true(expand_w != NULL && project_w != NULL && scratch != NULL);
    memset(scratch, 0xff, n_scratch); /* nothing is assumed of it */
    md_inverted_pack(o->expand_w, s->c_mid, s->c_in, s->bf16, expand_w);
    md_inverted_pack(o->project_w, s->c_out, s->c_mid, s->bf16, project_w);
    const md_inverted_operands operands = {.x = o->x,
                                           .expand_w = s->expands ? expand_w : NULL,
                                           .project_w = project_w,
                                           .deep_w = o->deep_w,
                                           .expand_bias = o->expand_bias,
                                           .deep_bias = o->deep_bias,
                                           .project_bias = o->project_bias,
                                           .residual = o->residual,
                                           .y = o->y,
                                           .scratch = scratch};
    for (size_t i = 0; i < s->n_images * s->out_h * s->out_w * s->y_stride; i++) {
        set(o->y, i, s->bf16, 7.0F);
    }
    for (unsigned phase = 0; phase < md_inverted_n_phases(s); phase++) {
        for (unsigned part = s->n_parts; part-- > 0;) {
            md_inverted_run(s, &operands, phase, part);
        }
    }
    free(expand_w);
    free(project_w);
    free(scratch);
}

static void check(const shape *at)
{
    md_inverted s = {.n_images = at->n_images,
                     .in_h = at->in_h,
                     .in_w = at->in_w,
                     .out_h = at->out_h,
                     .out_w = at->out_w,
                     .c_in = at->c_in,
                     .c_mid = at->c_mid,
                     .c_out = at->c_out,
                     .stride = at->stride,
                     .pad_top = at->pad,
                     .pad_left = at->pad,
                     .x_stride = at->c_in + at->gap,
                     .y_stride = at->c_out + at->gap,
                     .residual_stride = at->c_out + 2 * at->gap,
                     .expands = at->expands,
                     .bf16 = at->bf16,
                     .low = {0.0F, 0.0F, -INFINITY},
                     .high = {6.0F, INFINITY, at->residual ? INFINITY : 3.0F}};
    const size_t n_in = s.n_images * s.in_h * s.in_w, n_out = s.n_images * s.out_h * s.out_w;
    const size_t n_bytes = n_out * s.y_stride * (s.bf16 ? 2 : 4);
    /* the last bias may be read up to a multiple of 16 */
    seed = 1;
    data o = {.x = fill(n_in * s.x_stride, s.bf16, 1.0F),
              .residual = at->residual ? fill(n_out * s.residual_stride, s.bf16, 1.0F) : NULL,
              .y = calloc(n_out * s.y_stride, 4),
              .expand_w = fill(s.c_mid * s.c_in, false, 1.0F),
              .deep_w = fill(s.c_mid * 9, false, 0.5F),
              .project_w = fill(s.c_out * s.c_mid, false, 0.2F),
              .expand_bias = fill(s.c_mid, false, 1.0F),
              .deep_bias = fill(s.c_mid, false, 1.0F),
              .project_bias = fill((s.c_out + 15) / 16 * 16, false, 1.0F)};
    void *first = malloc(n_bytes);
    assert_true(o.y != NULL && first != NULL);
    unsigned n_phases = 0;
    for (s.n_parts = 1; s.n_parts <= 5; s.n_parts++) {
        assert_true(md_inverted_is_supported(&s));
        run(&s, &o);
        n_phases += md_inverted_n_phases(&s);
        if (s.n_parts == 1) {
            const double difference = worst(&s, &o);
            memcpy(first, o.y, n_bytes);
            print_message("# %zu x %zu, %zu to %zu to %zu%s: relative difference %.2g\n",
                          s.in_h, s.in_w, s.c_in, s.c_mid, s.c_out, s.bf16 ? ", bf16" : "",
                          difference);
            /* bf16: its last bit of the result, and of some in between that rounded otherwise
             */
            assert_true(difference <= (s.bf16 ? 1.0 / 128.0 : 2e-6));
        }
        assert_memory_equal(first, o.y, n_bytes); /* to the last bit */
    }
    assert_true(n_phases > 5 || s.n_images * s.out_h >= 5 * 14);
    void *const made[] = {o.x,         o.residual,    o.y,         o.expand_w,     o.deep_w,
                          o.project_w, o.expand_bias, o.deep_bias, o.project_bias, first};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        free(made[i]);
    }
}

static void test_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const md_inverted s = {
            1, 3, 3, 1, 1, 8, 16, 8, 1, 0, 0, 8, 8, 8, true, shapes[i].bf16, {0}, {0}, 1};
        if (!md_inverted_is_supported(&s)) {
            print_message("# this processor cannot compute shape %zu\n", i);
            continue;
        }
        check(&shapes[i]);
    }
}

/* Shapes that the kernel is not made for. */
static void test_refused(void **state)
{
    (void)state;
    const md_inverted good = {1, 8, 8, 8, 8,    8,     16,  8,   1, 1,
                              1, 8, 8, 8, true, false, {0}, {0}, 1};
    md_inverted bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i] = good;
    }
    bad[0].c_in = 12;
    bad[1].c_mid = 24;
    bad[2].c_out = 4;
    bad[3].stride = 3;
    bad[4].pad_top = 2;
    bad[5].out_h = 10; /* two rows past x */
    bad[6].out_w = 10;
    bad[7].expands = false; /* 8 channels are not 16 */
    for (size_t i = 0; i < 8; i++) {
        assert_false(md_inverted_is_supported(&bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
