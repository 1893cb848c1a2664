#include "build_file.h"
#include "dicom/image/normalise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A 4 x 3 image of 12 bits; every attribute may be replaced or left out. */
typedef struct attribute {
    uint32_t tag;
    const char *vr; /* "US" takes number, others text; NULL: leave the attribute out */
    unsigned number;
    const char *text;
} attribute;

static const attribute standard[] = {
    {MD_TAG(0x28, 0x02), "US", 1, NULL},   {MD_TAG(0x28, 0x04), "CS", 0, "MONOCHROME2"},
    {MD_TAG(0x28, 0x08), "IS", 0, "1"},    {MD_TAG(0x28, 0x10), "US", 3, NULL},
    {MD_TAG(0x28, 0x11), "US", 4, NULL},   {MD_TAG(0x28, 0x100), "US", 16, NULL},
    {MD_TAG(0x28, 0x101), "US", 12, NULL}, {MD_TAG(0x28, 0x102), "US", 11, NULL},
    {MD_TAG(0x28, 0x103), "US", 0, NULL},  {MD_TAG(0x28, 0x1050), NULL, 0, NULL},
    {MD_TAG(0x28, 0x1051), NULL, 0, NULL}, {MD_TAG(0x28, 0x1056), NULL, 0, NULL},
    {MD_TAG(0x28, 0x3000), NULL, 0, NULL}, {MD_TAG(0x28, 0x3010), NULL, 0, NULL},
    {MD_TAG(0x2050, 0x20), NULL, 0, NULL},
};
enum {
    N_STANDARD = sizeof standard / sizeof *standard
};

static void put_attribute(build_file *file, const attribute *a)
{
    if (a->vr == NULL) {
        return;
    }
    if (strcmp(a->vr, "US") == 0) {
        build_us(file, a->tag, a->number);
    } else {
        build_text(file, a->tag, a->vr, a->text);
    }
}

static const attribute *changed(const attribute *changes, size_t n, uint32_t tag)
{
    for (size_t i = 0; i < n; i++) {
        if (changes[i].tag == tag) {
            return &changes[i];
        }
    }
    return NULL;
}

static void build_image(build_file *file, const attribute *changes, size_t n,
                        const uint16_t *pixels, size_t n_bytes)
{
    build_begin(file, BUILD_EXPLICIT);
    for (size_t i = 0; i < N_STANDARD; i++) {
        const attribute *change = changed(changes, n, standard[i].tag);
        put_attribute(file, change != NULL ? change : &standard[i]);
    }
    if (pixels != NULL) {
        build_element(file, MD_TAG(0x7fe0, 0x10), "OW", pixels, n_bytes);
    }
}

static const uint16_t ramp[12] = {0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 4095};

static int init(void **state)
{
    (void)state;
    md_error err;
    return md_dicom_init(&err) != MD_OK;
}

static int finish(void **state)
{
    (void)state;
    md_dicom_finish();
    return 0;
}

/* --- what is refused ------------------------------------------------------------------------
 */

static void expect_refused(const attribute *changes, size_t n, size_t n_bytes, md_status want,
                           const char *text)
{
    build_file file = {0};
    build_image(&file, changes, n, ramp, n_bytes);
    md_dataset *dataset = build_parse(&file);
    md_error err = {0};
    md_image image;
    uint32_t n_frames = 77;
    md_status status = md_image_count_frames(dataset, &n_frames, &err);
    md_status decoded = md_image_decode(dataset, 0, &image, &err);
    if (decoded != want || strstr(err.msg, text) == NULL ||
        (status == MD_OK && n_frames == 77)) {
        fail_msg("%s: \"%s\", wanted %s with \"%s\"", md_status_name(decoded), err.msg,
                 md_status_name(want), text);
    }
    md_dataset_destroy(dataset);
    build_finish(&file);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        attribute change;
        size_t n_bytes;
        md_status want;
        const char *text;
    } rows[] = {
        {{MD_TAG(0x28, 0x10), NULL, 0, NULL}, 24, MD_FORMAT, "(0028,0010) Rows is missing"},
        {{MD_TAG(0x28, 0x10), "US", 0, NULL}, 24, MD_FORMAT, "(0028,0010) Rows 0 not in"},
        {{MD_TAG(0x28, 0x10), "LO", 0, "3"}, 24, MD_FORMAT, "(0028,0010) Rows is missing or"},
        {{MD_TAG(0x28, 0x10), "US", 65535, NULL}, 24, MD_LIMIT, "(0028,0010) Rows 65535"},
        {{MD_TAG(0x28, 0x11), NULL, 0, NULL}, 24, MD_FORMAT, "(0028,0011) Columns"},
        {{MD_TAG(0x28, 0x11), "US", 5, NULL}, 24, MD_FORMAT, "(7FE0,0010) Pixel Data has 24"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "2"}, 24, MD_FORMAT, "2 frames of 4 x 3 need 48"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "2147483647"}, 24, MD_FORMAT, "(7FE0,0010)"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "2147483648"}, 24, MD_LIMIT, "(0028,0008)"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "0"}, 24, MD_FORMAT, "(0028,0008) Number of Frames 0"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "-1"}, 24, MD_FORMAT, "(0028,0008)"},
        {{MD_TAG(0x28, 0x08), "IS", 0, "1A"}, 24, MD_FORMAT, "(0028,0008)"},
        {{MD_TAG(0x28, 0x02), "US", 2, NULL}, 24, MD_FORMAT, "(0028,0002)"},
        {{MD_TAG(0x28, 0x02), NULL, 0, NULL}, 24, MD_FORMAT, "(0028,0002)"},
        {{MD_TAG(0x28, 0x04), NULL, 0, NULL}, 24, MD_FORMAT, "(0028,0004)"},
        {{MD_TAG(0x28, 0x04), "CS", 0, "RGB"}, 24, MD_FORMAT, "(0028,0002)"},
        {{MD_TAG(0x28, 0x04), "CS", 0, "HSV"}, 24, MD_UNSUPPORTED, "HSV"},
        {{MD_TAG(0x28, 0x04), "CS", 0, "DOE^JANE"}, 24, MD_UNSUPPORTED, "is none of PS3.3"},
        {{MD_TAG(0x28, 0x04), "CS", 0, "PALETTE COLOR"}, 24, MD_FORMAT, "(0028,1101)"},
        {{MD_TAG(0x28, 0x100), "US", 32, NULL}, 24, MD_UNSUPPORTED, "(0028,0100)"},
        {{MD_TAG(0x28, 0x100), "US", 12, NULL}, 24, MD_UNSUPPORTED, "(0028,0100)"},
        {{MD_TAG(0x28, 0x100), "US", 0, NULL}, 24, MD_FORMAT, "(0028,0100)"},
        {{MD_TAG(0x28, 0x101), "US", 17, NULL}, 24, MD_FORMAT, "(0028,0101)"},
        {{MD_TAG(0x28, 0x101), "US", 0, NULL}, 24, MD_FORMAT, "(0028,0101)"},
        {{MD_TAG(0x28, 0x102), "US", 5, NULL}, 24, MD_FORMAT, "(0028,0102)"},
        {{MD_TAG(0x28, 0x102), "US", 16, NULL}, 24, MD_FORMAT, "(0028,0102)"},
        {{MD_TAG(0x28, 0x103), "US", 2, NULL}, 24, MD_FORMAT, "(0028,0103)"},
        {{MD_TAG(0x28, 0x103), NULL, 0, NULL}, 24, MD_FORMAT, "(0028,0103)"},
        {{MD_TAG(0x28, 0x02), "US", 1, NULL}, 22, MD_FORMAT, "(7FE0,0010) Pixel Data has 22"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_refused(&rows[i].change, 1, rows[i].n_bytes, rows[i].want, rows[i].text);
    }
    static const attribute huge[] = {{MD_TAG(0x28, 0x10), "US", 32768, NULL},
                                     {MD_TAG(0x28, 0x11), "US", 32768, NULL}};
    expect_refused(huge, 2, 24, MD_LIMIT, "frame of 32768 x 32768");
}

static void test_refused_syntax(void **state)
{
    (void)state;
    static const struct {
        const char *syntax, *text;
        md_status want;
    } rows[] = {
        {"1.2.840.10008.1.2.4.92", "Part 2", MD_UNSUPPORTED},
        {"1.2.840.10008.1.2.4.93", "Part 2", MD_UNSUPPORTED},
        {"1.2.840.10008.1.2.4.201", "HTJ2K", MD_UNSUPPORTED},
        {"1.2.840.10008.1.2.4.103", "MPEG-4", MD_UNSUPPORTED},
        {"1.2.3.4", "unknown transfer syntax 1.2.3.4", MD_UNSUPPORTED},
        {"1.2.840.10008.1.2.4.50", "is native, transfer syntax JPEG", MD_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_begin(&file, rows[i].syntax);
        for (size_t k = 0; k < N_STANDARD; k++) {
            put_attribute(&file, &standard[k]);
        }
        build_element(&file, MD_TAG(0x7fe0, 0x10), "OW", ramp, sizeof ramp);
        md_dataset *dataset = NULL;
        md_image image;
        md_error err = {0};
        if (md_dataset_parse(file.bytes, file.size_bytes, &dataset, &err) == MD_OK) {
            assert_int_equal(md_image_decode(dataset, 0, &image, &err), rows[i].want);
            if (strstr(err.msg, rows[i].text) == NULL) {
                fail_msg("\"%s\", wanted \"%s\"", err.msg, rows[i].text);
            }
            md_dataset_destroy(dataset);
        }
        build_finish(&file);
    }
}

/* DCMTK 3.6.7 does not know these syntaxes; the message must all the same be the right one. */
static void test_refused_encapsulated(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, "1.2.840.10008.1.2.4.201");
    for (size_t k = 0; k < N_STANDARD; k++) {
        put_attribute(&file, &standard[k]);
    }
    build_header(&file, MD_TAG(0x7fe0, 0x10), "OB", 0xffffffff);
    build_marker(&file, BUILD_ITEM, 0);
    build_marker(&file, BUILD_ITEM, 4);
    build_raw(&file, "\xff\x4f\xff\x51", 4);
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    md_dataset *dataset = build_parse(&file);
    md_image image;
    md_error err = {0};
    assert_int_equal(md_image_decode(dataset, 0, &image, &err), MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "1.2.840.10008.1.2.4.201 (HTJ2K Lossless) is not read"));
    md_dataset_destroy(dataset);
    build_finish(&file);
}

static void test_no_pixels(void **state)
{
    (void)state;
    build_file file = {0};
    build_image(&file, NULL, 0, NULL, 0);
    md_dataset *dataset = build_parse(&file);
    uint32_t n;
    md_error err = {0};
    assert_int_equal(md_image_count_frames(dataset, &n, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "(7FE0,0010) Pixel Data is missing"));
    md_dataset_destroy(dataset);
    build_text(&file, MD_TAG(0x7fe0, 0x10), "LO", "not pixels at all ..... ");
    dataset = build_parse(&file);
    assert_int_equal(md_image_count_frames(dataset, &n, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "(7FE0,0010)"));
    md_dataset_destroy(dataset);
    build_finish(&file);
}

/* Lookup tables that lie: each an error that names its tag. */
static void test_lut_descriptors(void **state)
{
    (void)state;
    static const struct {
        uint16_t descriptor[3];
        unsigned n_values;
        size_t data_bytes;
        const char *text; /* NULL: good */
    } rows[] = {
        {{4, 0, 16}, 3, 8, NULL},          {{4, 0, 8}, 3, 4, NULL},
        {{4, 0, 8}, 3, 8, NULL},           {{0, 0, 16}, 3, 8, "says 65536 entries"},
        {{5, 0, 16}, 3, 8, "5 entries"},   {{4, 0, 0}, 3, 8, "0 bits"},
        {{4, 0, 17}, 3, 8, "17 bits"},     {{4, 0, 65535}, 3, 8, "65535 bits"},
        {{4, 0, 16}, 2, 8, "(0028,3002)"}, {{4, 0, 16}, 3, 0, "(0028,3006)"},
        {{9, 0, 8}, 3, 8, "9 entries"},
    };
    static const uint8_t data[8] = {1, 0, 2, 0, 3, 0, 4, 0};
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        size_t k = i / 2;
        build_file file = {0};
        build_begin(&file, BUILD_EXPLICIT);
        for (size_t s = 0; s < N_STANDARD; s++) {
            put_attribute(&file, &standard[s]);
        }
        build_header(&file, MD_TAG(0x28, i % 2 == 0 ? 0x3000 : 0x3010), "SQ", 0xffffffff);
        build_marker(&file, BUILD_ITEM, 0xffffffff);
        build_element(&file, MD_TAG(0x28, 0x3002), "US", rows[k].descriptor,
                      2 * (size_t)rows[k].n_values);
        build_element(&file, MD_TAG(0x28, 0x3006), "OW", data, rows[k].data_bytes);
        build_marker(&file, BUILD_ITEM_END, 0);
        build_marker(&file, BUILD_SEQUENCE_END, 0);
        build_element(&file, MD_TAG(0x7fe0, 0x10), "OW", ramp, sizeof ramp);
        md_dataset *dataset = build_parse(&file);
        md_image image = {0};
        md_error err = {0};
        md_status status = md_image_decode(dataset, 0, &image, &err);
        if (rows[k].text == NULL) {
            assert_int_equal(status, MD_OK);
            const md_lut *lut = i % 2 == 0 ? &image.modality_lut : &image.voi_lut;
            assert_int_equal(lut->n_entries, 4);
            assert_int_equal(lut->entries[1], rows[k].data_bytes == 4 ? 0 : 2);
            md_image_finish(&image);
        } else if (status != MD_FORMAT || strstr(err.msg, rows[k].text) == NULL) {
            fail_msg("row %zu: %s: %s", k, md_status_name(status), err.msg);
        }
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

/* The first value of a VOI LUT is signed only where modality values can be below zero. */
static void test_voi_lut_first_value(void **state)
{
    (void)state;
    static const uint16_t descriptor[3] = {4, 40000, 16}, data[4] = {1, 2, 3, 4};
    static const struct {
        unsigned is_signed;
        const char *slope, *intercept;
        int32_t first;
    } rows[] = {
        {0, "1", "0", 40000},      {0, "1", "-1", -25536},     {0, "-1", "65535", 40000},
        {0, "-1", "0", -25536},    {1, "1", "0", -25536},      {1, "1", "32768", 40000},
        {1, "-1", "32767", 40000}, {1, "-1", "32766", -25536}, {1, "1", "32767", -25536},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        const attribute changes[] = {{MD_TAG(0x28, 0x101), "US", 16, NULL},
                                     {MD_TAG(0x28, 0x102), "US", 15, NULL},
                                     {MD_TAG(0x28, 0x103), "US", rows[i].is_signed, NULL}};
        build_image(&file, changes, 3, NULL, 0);
        build_text(&file, MD_TAG(0x28, 0x1052), "DS", rows[i].intercept);
        build_text(&file, MD_TAG(0x28, 0x1053), "DS", rows[i].slope);
        build_header(&file, MD_TAG(0x28, 0x3010), "SQ", 0xffffffff);
        build_marker(&file, BUILD_ITEM, 0xffffffff);
        build_element(&file, MD_TAG(0x28, 0x3002), "US", descriptor, sizeof descriptor);
        build_element(&file, MD_TAG(0x28, 0x3006), "OW", data, sizeof data);
        build_marker(&file, BUILD_ITEM_END, 0);
        build_marker(&file, BUILD_SEQUENCE_END, 0);
        build_element(&file, MD_TAG(0x7fe0, 0x10), "OW", ramp, sizeof ramp);
        md_dataset *dataset = build_parse(&file);
        md_image image = {0};
        md_error err = {0};
        if (md_image_decode(dataset, 0, &image, &err) != MD_OK ||
            image.voi_lut.first != rows[i].first) {
            fail_msg("row %zu: first %d, not %d; %s", i, image.voi_lut.first, rows[i].first,
                     err.msg);
        }
        md_image_finish(&image);
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

/* --- meaning --------------------------------------------------------------------------------
 */

static md_image decode(const attribute *changes, size_t n)
{
    build_file file = {0};
    build_image(&file, changes, n, ramp, sizeof ramp);
    md_dataset *dataset = build_parse(&file);
    md_image image = {0};
    md_error err = {0};
    if (md_image_decode(dataset, 0, &image, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_image_decode(dataset, 1, &image, &err), MD_INVALID_ARG);
    md_dataset_destroy(dataset);
    build_finish(&file);
    return image;
}

static void test_zero_window_width_is_ignored(void **state)
{
    (void)state;
    static const attribute window[] = {{MD_TAG(0x28, 0x1050), "DS", 0, "100"},
                                       {MD_TAG(0x28, 0x1051), "DS", 0, "0"}};
    md_image image = decode(window, 2);
    md_raster raster = {0};
    md_steps steps = {0};
    md_error err;
    assert_int_equal(md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, &steps, &err),
                     MD_OK);
    assert_string_equal(steps.text[0], "window width 0 is not allowed: ignored");
    assert_string_equal(steps.text[1], "no window: range of the pixels 0..4095");
    for (size_t i = 0; i < 12; i++) {
        assert_true(fabs((double)raster.values[i] - ramp[i] / 4095.0) < 1e-6);
    }
    md_raster_finish(&raster);
    md_image_finish(&image);
}

static void test_inversion_happens_once(void **state)
{
    (void)state;
    static const struct {
        const char *photometric, *shape;
        bool is_inverted;
    } rows[] = {
        {"MONOCHROME2", NULL, false},      {"MONOCHROME2", "IDENTITY", false},
        {"MONOCHROME2", "INVERSE", true},  {"MONOCHROME1", NULL, true},
        {"MONOCHROME1", "IDENTITY", true}, {"MONOCHROME1", "INVERSE", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const attribute changes[] = {
            {MD_TAG(0x28, 0x04), "CS", 0, rows[i].photometric},
            {MD_TAG(0x2050, 0x20), rows[i].shape == NULL ? NULL : "CS", 0, rows[i].shape}};
        md_image image = decode(changes, 2);
        md_raster raster = {0};
        md_error err;
        assert_int_equal(md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, NULL, &err),
                         MD_OK);
        assert_true(raster.values[0] == (rows[i].is_inverted ? 1.0f : 0.0f));
        assert_true(raster.values[11] == (rows[i].is_inverted ? 0.0f : 1.0f));
        md_raster_finish(&raster);
        md_image_finish(&image);
    }
}

static void test_flat_and_padding_are_black(void **state)
{
    (void)state;
    uint8_t flat[6] = {7, 7, 7, 7, 7, 7};
    md_image image = {.rows = 2,
                      .columns = 3,
                      .n_channels = 1,
                      .type = MD_PIXEL_U8,
                      .bits_stored = 8,
                      .pixels = flat,
                      .photometric = MD_PHOTOMETRIC_MONOCHROME1,
                      .rescale_slope = 1,
                      .pixel_width_mm = 1,
                      .pixel_height_mm = 1};
    for (int k = 0; k < 2; k++) {
        md_raster raster = {0};
        md_steps steps = {0};
        md_error err;
        assert_int_equal(md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, &steps, &err),
                         MD_OK);
        for (size_t i = 0; i < 6; i++) {
            assert_true(raster.values[i] == 0.0f);
        }
        assert_string_equal(steps.text[0], k == 0 ? "flat image: black" : "all padding: black");
        md_raster_finish(&raster);
        image.has_padding = true;
        image.padding_low = 0;
        image.padding_high = 7;
    }
}

/* Only what pixels hold makes the range: neither entries between them nor padding. */
static void test_range_is_of_the_pixels(void **state)
{
    (void)state;
    uint8_t pixels[3] = {0, 2, 3};
    uint16_t entries[4] = {10, 200, 100, 20};
    md_image image = {.rows = 1,
                      .columns = 3,
                      .n_channels = 1,
                      .type = MD_PIXEL_U8,
                      .bits_stored = 8,
                      .pixels = pixels,
                      .photometric = MD_PHOTOMETRIC_MONOCHROME2,
                      .modality_lut = {.n_entries = 4, .bits = 8, .entries = entries},
                      .padding_low = 2,
                      .padding_high = 2,
                      .pixel_width_mm = 1,
                      .pixel_height_mm = 1};
    for (int k = 0; k < 2; k++) {
        image.has_padding = k == 1;
        md_raster raster = {0};
        md_steps steps = {0};
        md_error err;
        assert_int_equal(md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, &steps, &err),
                         MD_OK);
        assert_string_equal(steps.text[1], k == 0 ? "no window: range of the pixels 10..100"
                                                  : "no window: range of the pixels 10..20");
        assert_true(raster.values[0] == 0.0f);
        assert_true(raster.values[1] == (k == 0 ? 1.0f : 0.0f));
        assert_true(fabs((double)raster.values[2] - (k == 0 ? 10 / 90.0 : 1)) < 1e-6);
        md_raster_finish(&raster);
    }
}

/* Every pixel type, as values and as codes: the same numbers and the same steps. */
static void test_coded_raster(void **state)
{
    (void)state;
    enum {
        N = 257
    };
    static const struct {
        md_pixel_type type;
        unsigned bits;
        bool is_coded;
    } types[] = {{MD_PIXEL_U8, 8, false},  {MD_PIXEL_S8, 7, false},  {MD_PIXEL_U16, 16, true},
                 {MD_PIXEL_U16, 12, true}, {MD_PIXEL_S16, 16, true}, {MD_PIXEL_S16, 10, true}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (int k = 0; k < 16; k++) {
            const bool is_signed =
                types[t].type == MD_PIXEL_S8 || types[t].type == MD_PIXEL_S16;
            const int32_t n_values = 1 << types[t].bits, first = is_signed ? -n_values / 2 : 0;
            uint16_t *pixels = md_calloc(N, sizeof *pixels);
            for (int32_t i = 0; i < N; i++) {
                const int32_t value =
                    first + (int32_t)((int64_t)i * 7919 % N * (n_values - 1) / (N - 1));
                if (types[t].type == MD_PIXEL_U8 || types[t].type == MD_PIXEL_S8) {
                    ((uint8_t *)pixels)[i] = (uint8_t)value;
                } else {
                    pixels[i] = (uint16_t)value;
                }
            }
            md_image image = {.rows = 1,
                              .columns = N,
                              .n_channels = 1,
                              .type = types[t].type,
                              .bits_stored = types[t].bits,
                              .pixels = pixels,
                              .photometric = (k & 1) != 0 ? MD_PHOTOMETRIC_MONOCHROME1
                                                          : MD_PHOTOMETRIC_MONOCHROME2,
                              .rescale_slope = 1.5,
                              .rescale_intercept = -100,
                              .has_window = (k & 2) != 0,
                              .window_center = 30,
                              .window_width = 90,
                              .voi_function = (k & 4) != 0 ? MD_VOI_SIGMOID : MD_VOI_LINEAR,
                              .has_padding = (k & 8) != 0,
                              .padding_low = first,
                              .padding_high = first + 3,
                              .reduce = 1,
                              .stored_rows = 2,
                              .stored_columns = 2 * N - 1,
                              .pixel_width_mm = 0.5,
                              .pixel_height_mm = 0.25};
            const md_normalise_values values =
                k % 3 == 2 ? MD_VALUES_PHYSICAL : MD_VALUES_DISPLAY;
            md_raster plain = {0}, coded = {0};
            md_steps plain_steps = {0}, coded_steps = {0};
            assert_int_equal(md_image_normalise(&image, values, &plain, &plain_steps, NULL),
                             MD_OK);
            assert_int_equal(
                md_image_normalise_taking(&image, values, &coded, &coded_steps, NULL), MD_OK);
            assert_true((coded.codes != NULL) == types[t].is_coded);
            assert_true((image.pixels == NULL) == types[t].is_coded);
            for (uint32_t x = 0; x < N; x++) {
                assert_true(md_raster_at(&plain, 0, x, 0) == md_raster_at(&coded, 0, x, 0));
            }
            assert_true(plain.shift == coded.shift && plain.short_x == coded.short_x &&
                        plain.pixel_height_mm == coded.pixel_height_mm);
            assert_memory_equal(&plain_steps, &coded_steps, sizeof plain_steps);
            md_raster_finish(&plain);
            md_raster_finish(&coded);
            md_image_finish(&image);
        }
    }
}

static void test_no_physical_colour(void **state)
{
    (void)state;
    uint8_t pixels[3] = {0, 128, 255};
    md_image image = {.rows = 1,
                      .columns = 1,
                      .n_channels = 3,
                      .type = MD_PIXEL_U8,
                      .bits_stored = 8,
                      .pixels = pixels,
                      .photometric = MD_PHOTOMETRIC_RGB,
                      .pixel_width_mm = 1,
                      .pixel_height_mm = 1};
    md_raster raster = {0};
    md_error err;
    assert_int_equal(md_image_normalise(&image, MD_VALUES_PHYSICAL, &raster, NULL, &err),
                     MD_UNSUPPORTED);
    assert_int_equal(md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, NULL, &err), MD_OK);
    assert_int_equal(raster.n_channels, 3);
    assert_true(raster.values[0] == 0.0f && raster.values[2] == 1.0f);
    md_raster_finish(&raster);
}

static void test_attributes(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, MD_TAG(0x08, 0x60), "CS", "DX");
    build_text(&file, MD_TAG(0x18, 0x15), "CS", "CHEST");
    build_text(&file, MD_TAG(0x18, 0x1164), "DS", "0.2\\0.1");
    build_text(&file, MD_TAG(0x18, 0x5101), "CS", "PA");
    build_text(&file, MD_TAG(0x20, 0x62), "CS", "U");
    for (size_t i = 0; i < N_STANDARD; i++) {
        put_attribute(&file, &standard[i]);
    }
    build_us(&file, MD_TAG(0x28, 0x120), 4095);
    build_text(&file, MD_TAG(0x28, 0x301), "CS", "YES");
    build_text(&file, MD_TAG(0x28, 0x1052), "DS", "-1024");
    build_text(&file, MD_TAG(0x28, 0x1053), "DS", "2");
    build_text(&file, MD_TAG(0x28, 0x2110), "CS", "01");
    build_element(&file, MD_TAG(0x7fe0, 0x10), "OW", ramp, sizeof ramp);
    md_dataset *dataset = build_parse(&file);
    md_image image = {0};
    md_error err;
    assert_int_equal(md_image_decode(dataset, 0, &image, &err), MD_OK);
    assert_string_equal(image.modality, "DX");
    assert_string_equal(image.body_part, "CHEST");
    assert_string_equal(image.view, "PA");
    assert_string_equal(image.laterality, "U");
    assert_true(image.has_spacing && image.pixel_height_mm == 0.2 &&
                image.pixel_width_mm == 0.1);
    assert_true(image.burned_in && image.lossy);
    assert_true(image.rescale_slope == 2 && image.rescale_intercept == -1024);
    assert_true(image.has_padding && image.padding_low == 4095 && image.padding_high == 4095);
    assert_int_equal(image.type, MD_PIXEL_U16);
    assert_memory_equal(image.pixels, ramp, sizeof ramp);
    md_image_finish(&image);
    md_image_finish(&image);
    md_dataset_destroy(dataset);
    build_finish(&file);
}

/* Every allocation of ours fails once: MD_NOMEM, and nothing leaks (the sanitizer looks). */
static void test_out_of_memory(void **state)
{
    (void)state;
    build_file file = {0};
    build_image(&file, NULL, 0, ramp, sizeof ramp);
    md_dataset *dataset = build_parse(&file);
    md_error err;
    for (size_t n = 1;; n++) {
        md_image image = {0};
        md_raster raster = {0};
        md_memory_fail_at(n);
        md_status status = md_image_decode(dataset, 0, &image, &err);
        if (status == MD_OK) {
            status = md_image_normalise_taking(&image, MD_VALUES_DISPLAY, &raster, NULL, &err);
        }
        md_memory_fail_at(0);
        md_raster_finish(&raster);
        md_image_finish(&image);
        if (status == MD_OK) {
            assert_true(n > 3);
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    md_dataset_destroy(dataset);
    build_finish(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_syntax),
        cmocka_unit_test(test_refused_encapsulated),
        cmocka_unit_test(test_no_pixels),
        cmocka_unit_test(test_lut_descriptors),
        cmocka_unit_test(test_voi_lut_first_value),
        cmocka_unit_test(test_zero_window_width_is_ignored),
        cmocka_unit_test(test_inversion_happens_once),
        cmocka_unit_test(test_flat_and_padding_are_black),
        cmocka_unit_test(test_range_is_of_the_pixels),
        cmocka_unit_test(test_coded_raster),
        cmocka_unit_test(test_no_physical_colour),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("dicom_image", tests, init, finish);
}
