/* The small picture of the worklist, read back with libpng. */

#include "plugins/host/view.h"

#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Pixels of a PNG in this format; the caller frees. */
static uint8_t *decode(const uint8_t *bytes, size_t n, unsigned format, png_image *png)
{
    *png = (png_image){.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_memory(png, bytes, n));
    assert_int_equal(png->format, format);
    uint8_t *pixels = malloc(PNG_IMAGE_SIZE(*png));
    assert_true(png_image_finish_read(png, NULL, pixels, 0, NULL));
    return pixels;
}

static md_raster raster(uint32_t width, uint32_t height, uint32_t n_channels, float value)
{
    md_raster r = {0};
    assert_int_equal(md_raster_init(&r, width, height, n_channels, NULL), MD_OK);
    for (size_t i = 0; i < (size_t)width * height * n_channels; i++) {
        r.values[i] = value;
    }
    return r;
}

static void test_image(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        double pixel_height_mm;
        uint32_t want_width, want_height;
    } rows[] = {
        {2048, 2500, 1, 262, 320}, {640, 320, 1, 320, 160}, {100, 50, 1, 100, 50},
        {1, 1, 1, 1, 1},           {640, 320, 4, 160, 320}, /* tall pixels */
        {5000, 1, 1, 320, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_raster r = raster(rows[i].width, rows[i].height, 1, 0.5F);
        md_view view = {0};
        png_image png;
        r.pixel_height_mm = rows[i].pixel_height_mm;
        r.values[0] = -7; /* beyond black */
        assert_int_equal(md_view_make(&r, NULL, rows[i].width, rows[i].height, &view, NULL),
                         MD_OK);
        uint8_t *pixels = decode(view.image, view.image_bytes, PNG_FORMAT_GRAY, &png);
        if (png.width != rows[i].want_width || png.height != rows[i].want_height) {
            fail_msg("row %zu: %u x %u", i, png.width, png.height);
        }
        if (png.width * png.height > 1) {
            assert_int_equal(pixels[png.width * png.height - 1], 128);
        }
        assert_null(view.overlay);
        free(pixels);
        md_view_finish(&view);
        md_raster_finish(&r);
    }
}

static void test_colour(void **state)
{
    (void)state;
    md_raster r = raster(8, 4, 3, 0);
    md_view view = {0};
    png_image png;
    for (size_t i = 0; i < 8 * 4; i++) {
        r.values[i] = 1; /* the red plane */
    }
    assert_int_equal(md_view_make(&r, NULL, 8, 4, &view, NULL), MD_OK);
    uint8_t *pixels = decode(view.image, view.image_bytes, PNG_FORMAT_RGB, &png);
    assert_int_equal(pixels[0], 255);
    assert_int_equal(pixels[1], 0);
    free(pixels);
    md_view_finish(&view);
    md_raster_finish(&r);
}

/* A map over the right half of a source that was decoded at half its size. */
static void test_overlay(void **state)
{
    (void)state;
    md_raster r = raster(100, 100, 1, 0.5F);
    float ones[4] = {1, 1, 1, 1};
    const md_saliency map = {
        .columns = 2, .rows = 2, .values = ones, .x = 100, .y = 0, .width = 100, .height = 200};
    md_view view = {0};
    png_image png;
    assert_int_equal(md_view_make(&r, &map, 200, 200, &view, NULL), MD_OK);
    uint8_t *pixels = decode(view.overlay, view.overlay_bytes, PNG_FORMAT_RGBA, &png);
    assert_int_equal(png.width, 100);
    assert_int_equal(png.height, 100);
    assert_int_equal(pixels[(50 * 100 + 25) * 4 + 3], 0);
    assert_true(pixels[(50 * 100 + 75) * 4 + 3] > 100);
    free(pixels);
    md_view_finish(&view);
    for (size_t nth = 1; nth <= 4; nth++) {
        md_memory_fail_at(nth);
        assert_int_equal(md_view_make(&r, &map, 200, 200, &view, NULL), MD_NOMEM);
        assert_null(view.image);
    }
    md_memory_fail_at(0);
    md_raster_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_overlay),
    };
    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
