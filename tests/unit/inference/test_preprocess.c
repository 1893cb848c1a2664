/* Cropping, placement and both resize filters against a direct double-precision reading of
 * preprocess.h, on odd sizes; the quality gate on made pictures. */

#include "inference/preprocess.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

static void make_raster(md_raster *raster, uint32_t width, uint32_t height, uint32_t n_channels)
{
    uint32_t seed = width * 31 + height;
    assert_int_equal(md_raster_init(raster, width, height, n_channels, NULL), MD_OK);
    for (size_t i = 0; i < (size_t)width * height * n_channels; i++) {
        seed = seed * 1664525U + 1013904223U;
        raster->values[i] = (float)(seed >> 8) / 16777216.0F;
    }
}

static double weight(md_filter filter, double p, double i, double origin, double s)
{
    if (filter == MD_FILTER_TRIANGLE) {
        const double c = origin + (i + 0.5) * s;
        return fmax(0.0, 1.0 - fabs(p + 0.5 - c) / fmax(s, 1.0));
    }
    const double low = origin + i * s, high = origin + (i + 1.0) * s;
    return fmax(0.0, fmin(p + 1.0, high) - fmax(p, low)) / s;
}

typedef struct crop {
    uint32_t x, y, width, height;
} crop;

/* Every source pixel for every target pixel, as the header says. */
static double expected(const md_raster *r, const crop *k, const md_placement *at,
                       const md_preprocess_options *o, uint32_t c, uint32_t tx, uint32_t ty)
{
    const double sx = at->width / o->width, sy = at->height / o->height;
    const double cx = at->x + (tx + 0.5) * sx, cy = at->y + (ty + 0.5) * sy;
    double sum = 0.0, sum_x = 0.0, sum_y = 0.0;
    if (o->filter == MD_FILTER_TRIANGLE &&
        (cx < k->x || cx >= k->x + k->width || cy < k->y || cy >= k->y + k->height)) {
        return 0.0;
    }
    for (uint32_t x = k->x; x < k->x + k->width; x++) {
        sum_x += weight(o->filter, x, tx, at->x, sx);
    }
    for (uint32_t y = k->y; y < k->y + k->height; y++) {
        const double wy = weight(o->filter, y, ty, at->y, sy);
        sum_y += wy;
        for (uint32_t x = k->x; wy > 0.0 && x < k->x + k->width; x++) {
            sum += wy * weight(o->filter, x, tx, at->x, sx) *
                   (double)r->values[((size_t)c * r->height + y) * r->width + x];
        }
    }
    return o->filter == MD_FILTER_TRIANGLE ? sum / (sum_x * sum_y) : sum;
}

static void check(const md_raster *raster, const crop *k, const md_preprocess_options *o)
{
    md_tensor tensor;
    md_placement at;
    md_steps steps = {0};
    md_error err = {0};
    double worst = 0.0;
    if (md_preprocess(raster, o, &tensor, &at, &steps, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(tensor.n_dims, 4);
    assert_int_equal(tensor.dims[1], o->n_channels);
    assert_int_equal(tensor.dims[2], o->height);
    assert_int_equal(tensor.dims[3], o->width);
    assert_true(steps.n >= 1);
    const float *got = tensor.data;
    for (uint32_t c = 0; c < o->n_channels; c++) {
        for (uint32_t y = 0; y < o->height; y++) {
            for (uint32_t x = 0; x < o->width; x++) {
                const double value =
                    expected(raster, k, &at, o, raster->n_channels == 1 ? 0 : c, x, y);
                worst = fmax(worst, fabs((double)*got++ -
                                         (value - (double)o->mean[c]) / (double)o->std[c]));
            }
        }
    }
    if (worst > 2e-6) {
        fail_msg("%u x %u to %u x %u, filter %d, fit %d: difference %g", raster->width,
                 raster->height, o->width, o->height, (int)o->filter, (int)o->fit, worst);
    }
    md_tensor_finish(&tensor);
}

static void test_resize(void **state)
{
    (void)state;
    static const uint32_t sizes[][4] = {
        {37, 53, 16, 16}, {64, 64, 32, 32}, {7, 5, 23, 31},  {1, 1, 4, 4},     {200, 3, 9, 9},
        {3, 200, 9, 9},   {31, 31, 31, 31}, {90, 41, 13, 7}, {1030, 11, 5, 4}, {10, 10, 1, 1},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (uint32_t n_channels = 1; n_channels <= 3; n_channels += 2) {
            md_raster raster;
            make_raster(&raster, sizes[i][0], sizes[i][1], n_channels);
            raster.pixel_width_mm = 0.3;
            raster.pixel_height_mm = 0.2;
            for (int filter = 0; filter < 2; filter++) {
                for (int fit = 0; fit < 2; fit++) {
                    const md_preprocess_options o = {.filter = (md_filter)filter,
                                                     .fit = (md_fit)fit,
                                                     .width = sizes[i][2],
                                                     .height = sizes[i][3],
                                                     .n_channels = i % 2 == 0 ? 3 : n_channels,
                                                     .mean = {0.5F, 0.25F, 0.0F},
                                                     .std = {1.0F, 2.0F, 0.5F}};
                    const crop whole = {0, 0, raster.width, raster.height};
                    check(&raster, &whole, &o);
                }
            }
            md_raster_finish(&raster);
        }
    }
}

/* A raster of few values as codes: every result must have the same bits. */
static void test_coded(void **state)
{
    (void)state;
    static const uint32_t sizes[][4] = {
        {61, 97, 13, 11}, {500, 7, 9, 5}, {7, 500, 5, 9}, {33, 17, 70, 40}, {1, 1, 3, 2}};
    size_t n_compared = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int k = 0; k < 8; k++) {
            const md_preprocess_options options = {
                .crop_borders = (k & 1) != 0,
                .fit = (k & 2) != 0 ? MD_FIT_LETTERBOX : MD_FIT_STRETCH,
                .filter = (k & 4) != 0 ? MD_FILTER_AREA : MD_FILTER_TRIANGLE,
                .width = sizes[i][2],
                .height = sizes[i][3],
                .n_channels = 1,
                .std = {1}};
            md_raster plain;
            make_raster(&plain, sizes[i][0], sizes[i][1], 1);
            const size_t n = (size_t)plain.width * plain.height;
            md_raster coded = plain;
            coded.values = NULL;
            coded.codes = calloc(n, sizeof *coded.codes);
            coded.table = calloc(MD_RASTER_CODES, sizeof *coded.table);
            for (size_t p = 0; p < n; p++) {
                const bool in_border = p / plain.width < 2 || p % plain.width < 3;
                const uint16_t code =
                    in_border && n > 1 ? 40000 : (uint16_t)(plain.values[p] * 65535.0F);
                coded.codes[p] = code;
                coded.table[code] = code == 40000 ? 0.0F : plain.values[p];
            }
            for (size_t p = 0; p < n; p++) {
                plain.values[p] = coded.table[coded.codes[p]];
            }
            md_tensor a, b;
            md_placement at_a, at_b;
            md_quality qa, qb;
            assert_int_equal(md_preprocess(&plain, &options, &a, &at_a, NULL, NULL), MD_OK);
            assert_int_equal(md_preprocess(&coded, &options, &b, &at_b, NULL, NULL), MD_OK);
            assert_memory_equal(a.data, b.data, a.n_elements * sizeof(float));
            assert_memory_equal(&at_a, &at_b, sizeof at_a);
            assert_int_equal(md_quality_measure(&plain, &qa, NULL), MD_OK);
            assert_int_equal(md_quality_measure(&coded, &qb, NULL), MD_OK);
            assert_true(qa.low == qb.low && qa.high == qb.high && qa.aspect == qb.aspect &&
                        qa.border_brightness == qb.border_brightness &&
                        qa.centre_brightness == qb.centre_brightness &&
                        qa.looks_inverted == qb.looks_inverted);
            n_compared += a.n_elements;
            md_tensor_finish(&a);
            md_tensor_finish(&b);
            free(coded.codes);
            free(coded.table);
            md_raster_finish(&plain);
        }
    }
    assert_true(n_compared > 8000);
}

static void fill(md_raster *r, crop k, float value)
{
    for (uint32_t y = k.y; y < k.y + k.height; y++) {
        for (uint32_t x = k.x; x < k.x + k.width; x++) {
            r->values[(size_t)y * r->width + x] = value;
        }
    }
}

static void test_crop(void **state)
{
    (void)state;
    md_raster r;
    md_tensor tensor;
    md_placement at;
    md_preprocess_options o = {.crop_borders = true,
                               .width = 8,
                               .height = 8,
                               .n_channels = 1,
                               .std = {1.0F, 1.0F, 1.0F}};
    make_raster(&r, 100, 80, 1);
    for (size_t i = 0; i < 8000; i++) {
        r.values[i] = 0.5F + r.values[i] / 2.0F;
    }
    r.values[40 * 100 + 50] = 1.0F;
    fill(&r, (crop){0, 0, 100, 7}, 0.0F);
    fill(&r, (crop){0, 75, 100, 5}, 0.03F);
    fill(&r, (crop){0, 0, 11, 80}, 0.01F);
    fill(&r, (crop){97, 0, 3, 80}, 0.0F);
    r.values[2 * 100 + 60] = 0.9F; /* a letter of a marker in the border: 1 of 100 */
    const crop inner = {11, 7, 86, 68};
    check(&r, &inner, &o);
    assert_int_equal(md_preprocess(&r, &o, &tensor, &at, NULL, NULL), MD_OK);
    assert_near(at.x, 11, 0);
    assert_near(at.y, 7, 0);
    assert_near(at.width, 86, 0);
    assert_near(at.height, 68, 0);
    md_tensor_finish(&tensor);
    o.fit = MD_FIT_LETTERBOX;
    check(&r, &inner, &o);
    assert_int_equal(md_preprocess(&r, &o, &tensor, &at, NULL, NULL), MD_OK);
    assert_near(at.height, 86, 1e-12);
    assert_near(at.y, 7 - 9, 1e-12); /* 9 pixels of pad above and below */
    md_tensor_finish(&tensor);
    /* almost all black: nothing is cut */
    fill(&r, (crop){0, 0, 100, 80}, 0.0F);
    fill(&r, (crop){40, 30, 20, 15}, 1.0F);
    const crop whole = {0, 0, 100, 80};
    check(&r, &whole, &o);
    /* all the same */
    fill(&r, whole, 0.25F);
    check(&r, &whole, &o);
    md_raster_finish(&r);
}

static void test_wrong_options(void **state)
{
    (void)state;
    static const md_preprocess_options good = {
        .width = 8, .height = 8, .n_channels = 1, .std = {1.0F, 1.0F, 1.0F}};
    md_raster grey, colour;
    md_tensor t;
    md_placement at;
    make_raster(&grey, 9, 9, 1);
    make_raster(&colour, 9, 9, 3);
    md_preprocess_options o = good;
    assert_int_equal(md_preprocess(&colour, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o.width = 0;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o = good;
    o.height = 1000000;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o = good;
    o.std[0] = 0.0F;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o.std[0] = NAN;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o = good;
    o.n_channels = 2;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    o = good;
    grey.pixel_width_mm = 0.0;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    grey.pixel_width_mm = 1e300;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    grey.pixel_width_mm = (double)NAN;
    assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_INVALID_ARG);
    /* the ends of what is allowed: a sliver of a picture in a large pad */
    o.fit = MD_FIT_LETTERBOX;
    for (int i = 0; i < 4; i++) {
        grey.pixel_width_mm = i % 2 == 0 ? 1e-6 : 1e6;
        grey.pixel_height_mm = i % 2 == 0 ? 1e6 : 1e-6;
        o.filter = i < 2 ? MD_FILTER_TRIANGLE : MD_FILTER_AREA;
        assert_int_equal(md_preprocess(&grey, &o, &t, &at, NULL, NULL), MD_OK);
        for (size_t j = 0; j < t.n_elements; j++) {
            assert_true(isfinite(((const float *)t.data)[j]));
        }
        md_tensor_finish(&t);
    }
    o = good;
    grey.pixel_width_mm = grey.pixel_height_mm = 1.0;
    md_status status = MD_NOMEM;
    for (size_t nth = 1; status != MD_OK; nth++) {
        md_memory_fail_at(nth);
        status = md_preprocess(&grey, &o, &t, &at, NULL, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || (status == MD_NOMEM && nth < 100));
    }
    md_tensor_finish(&t);
    md_raster_finish(&grey);
    md_raster_finish(&colour);
}

static void test_quality(void **state)
{
    (void)state;
    md_raster r;
    md_quality q;
    md_error err = {0};
    assert_int_equal(md_raster_init(&r, 1000, 500, 1, NULL), MD_OK);
    /* a ramp from 0 to 1 over the columns: percentiles are known */
    for (uint32_t y = 0; y < 500; y++) {
        for (uint32_t x = 0; x < 1000; x++) {
            r.values[y * 1000 + x] = (float)x / 999.0F;
        }
    }
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_OK);
    assert_near(q.low, 0.05, 2e-3);
    assert_near(q.high, 0.95, 2e-3);
    assert_near(q.contrast, 0.9, 2e-3);
    assert_near(q.aspect, 2.0, 1e-12);
    assert_near(q.centre_brightness, 0.5, 2e-3);
    assert_false(q.looks_inverted);
    r.pixel_height_mm = 4.0;
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_OK);
    assert_near(q.aspect, 2.0, 1e-12);
    /* a flat picture has no contrast and no orientation */
    for (size_t i = 0; i < 500000; i++) {
        r.values[i] = 0.25F;
    }
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_OK);
    assert_near(q.contrast, 0.0, 1e-12);
    assert_near(q.border_brightness, 0.25, 1e-7);
    assert_false(q.looks_inverted);
    r.values[0] = NAN;
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_FORMAT);
    md_raster_finish(&r);
    assert_int_equal(md_raster_init(&r, 1, 1, 1, NULL), MD_OK);
    r.values[0] = 1.0F;
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_OK);
    assert_near(q.aspect, 1.0, 1e-12);
    md_raster_finish(&r);
    assert_int_equal(md_raster_init(&r, 4, 4, 3, NULL), MD_OK);
    assert_int_equal(md_quality_measure(&r, &q, &err), MD_INVALID_ARG);
    md_raster_finish(&r);
}

/* A plane, value 2 x + 3 y at the centre of pixel (x, y), gives nearly the same tensor when
 * only each fourth sample is there: with few samples under the triangle their mean is up to 0.1
 * of a pixel beside its middle, which is 1 here. Taken for the pixels' centres they would
 * be 7.5 off. */
static void test_smaller_decode(void **state)
{
    (void)state;
    enum {
        SIDE = 99,
        FOURTH = 25,
        TARGET = 11
    };
    md_raster whole, fourth;
    assert_int_equal(md_raster_init(&whole, SIDE, SIDE, 1, NULL), MD_OK);
    assert_int_equal(md_raster_init(&fourth, FOURTH, FOURTH, 1, NULL), MD_OK);
    for (uint32_t y = 0; y < SIDE; y++) {
        for (uint32_t x = 0; x < SIDE; x++) {
            whole.values[y * SIDE + x] = (float)(2 * x + 3 * y);
            if (x % 4 == 0 && y % 4 == 0) {
                fourth.values[y / 4 * FOURTH + x / 4] = (float)(2 * x + 3 * y);
            }
        }
    }
    fourth.pixel_width_mm = fourth.pixel_height_mm = 4.0;
    fourth.shift = 0.375;                   /* 0.5 - 0.5 / 4 */
    fourth.short_x = fourth.short_y = 0.25; /* 25 - 99 / 4 */
    for (int fit = MD_FIT_STRETCH; fit <= MD_FIT_LETTERBOX; fit++) {
        const md_preprocess_options options = {
            .fit = (md_fit)fit, .width = TARGET, .height = TARGET, .n_channels = 1, .std = {1}};
        md_tensor a, b;
        md_placement at, small;
        md_error err;
        assert_int_equal(md_preprocess(&whole, &options, &a, &at, NULL, &err), MD_OK);
        assert_int_equal(md_preprocess(&fourth, &options, &b, &small, NULL, &err), MD_OK);
        assert_near(small.width * 4, at.width, 1e-9);
        assert_near(small.x * 4, at.x, 1e-9);
        for (uint32_t y = 2; y < TARGET - 2; y++) {
            for (uint32_t x = 2; x < TARGET - 2; x++) {
                const float *in_whole = a.data, *in_fourth = b.data;
                assert_near(in_whole[y * TARGET + x], in_fourth[y * TARGET + x], 1.2);
            }
        }
        md_tensor_finish(&a);
        md_tensor_finish(&b);
    }
    md_raster_finish(&whole);
    md_raster_finish(&fourth);
}

/* A row of waves, made half as long by the low-pass of the 5-3 wavelet (15444-1 F): known how
 * much that sharpens, the tensor is that of the whole, not known it is not. */
static void test_spread(void **state)
{
    (void)state;
    enum {
        SIDE = 960,
        HALF = SIDE / 2,
        TARGET = 192
    };
    static const double low_pass[] = {-0.125, 0.25, 0.75, 0.25, -0.125};
    md_raster whole, half;
    assert_int_equal(md_raster_init(&whole, SIDE, 1, 1, NULL), MD_OK);
    assert_int_equal(md_raster_init(&half, HALF, 1, 1, NULL), MD_OK);
    for (int x = 0; x < SIDE; x++) {
        whole.values[x] = (float)cos(x * 0.25);
    }
    for (int x = 0; x < HALF; x++) {
        double sum = 0;
        for (int k = -2; k <= 2; k++) {
            sum += low_pass[k + 2] * cos((2 * x + k) * 0.25);
        }
        half.values[x] = (float)sum;
    }
    half.shift = 0.25;
    double off[2] = {0, 0};
    for (int known = 0; known < 2; known++) {
        half.spread = known ? -0.125 : 0.0; /* -1/2 (1 - 1/4) / 3 */
        const md_preprocess_options options = {
            .fit = MD_FIT_STRETCH, .width = TARGET, .height = 1, .n_channels = 1, .std = {1}};
        md_tensor a, b;
        md_placement at;
        md_error err;
        assert_int_equal(md_preprocess(&whole, &options, &a, &at, NULL, &err), MD_OK);
        assert_int_equal(md_preprocess(&half, &options, &b, &at, NULL, &err), MD_OK);
        const float *in_whole = a.data, *in_half = b.data;
        for (int x = 4; x < TARGET - 4; x++) {
            off[known] += fabs((double)in_whole[x] - (double)in_half[x]) / (TARGET - 8);
        }
        md_tensor_finish(&a);
        md_tensor_finish(&b);
    }
    print_message("# mean difference %.5f, not known %.5f\n", off[1], off[0]);
    assert_true(off[1] < 0.6 * off[0] && off[0] > 0.005);
    md_raster_finish(&whole);
    md_raster_finish(&half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize),         cmocka_unit_test(test_coded),
        cmocka_unit_test(test_crop),           cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_smaller_decode), cmocka_unit_test(test_spread),
        cmocka_unit_test(test_quality),
    };
    return cmocka_run_group_tests_name("preprocess", tests, NULL, NULL);
}
