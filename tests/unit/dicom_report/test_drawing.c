#include "dicom/report/canvas.h"
#include "dicom/report/picture.h"
#include "dicom/report/text.h"
#include "tests/unit/dicom_report/cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_text_is_made_legal(void **state)
{
    (void)state;
    static const struct {
        const char *source, *expected;
        unsigned kind;
        size_t max_characters;
    } CASES[] = {
        {"plain", "plain", MD_TEXT_LINE, 64},
        {NULL, "", MD_TEXT_LINE, 64},
        {"  a \t b\n", "a b", MD_TEXT_LINE, 64},
        {"a\\b\\", "a/b/", MD_TEXT_LINE, 64},
        {"a\\b", "a\\b", MD_TEXT_FREE, 64},
        {"a\nb\r\nc\n", "a\r\nb\r\nc", MD_TEXT_FREE, 64},
        {"\x1b[31mred\x07", "[31mred", MD_TEXT_LINE, 64},
        {"\xc3\xa4\xe8\x82\xba", "\xc3\xa4\xe8\x82\xba", MD_TEXT_LINE, 64},
        {"\xc3\xa4\xe8\x82\xba", "??", MD_TEXT_LINE | MD_TEXT_ASCII, 64},
        {"\xff\xc3 z\xed\xa0\x80\xc0\xaf", "?? z?????", MD_TEXT_LINE, 64},
        {"\xc2\x85x", "x", MD_TEXT_LINE, 64},     /* C1 control: next line */
        {"\xe2\x80\xa8x", "x", MD_TEXT_LINE, 64}, /* line separator */
        {"\xc3\xa4\xc3\xb6\xc3\xbc", "\xc3\xa4\xc3\xb6", MD_TEXT_LINE, 2},
        {"1234567890", "123456", MD_TEXT_LINE, 6},
        {"12345678901234567890", "123456789012345", MD_TEXT_LINE, 64}, /* 16 bytes of room */
        {"12345678901234\xc3\xa4", "12345678901234", MD_TEXT_LINE, 64},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[16];
        size_t length = md_text_copy(text, sizeof text, CASES[i].max_characters, CASES[i].kind,
                                     CASES[i].source);
        assert_string_equal(text, CASES[i].expected);
        assert_int_equal(length, strlen(text));
    }
}

static void test_numbers_become_decimal_strings(void **state)
{
    (void)state;
    static const struct {
        double value;
        unsigned decimals;
        const char *expected;
    } CASES[] = {
        {97.3123, 4, "97.3123"},
        {50, 6, "50"},
        {0, 6, "0"},
        {0.1, 0, "0"},
        {0.05, 1, "0.1"},
        {1e-7, 6, "0"},
        {-1e-7, 6, "0"},
        {-2.5, 1, "-2.5"},
        {999999999, 9, "999999999"},
        {100, 6, "100"},
        {0.9999996, 6, "1"},
        {12345678.123456789, 9, "12345678.123457"},
        {10.10, 2, "10.1"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[17];
        md_text_decimal(CASES[i].value, CASES[i].decimals, text);
        assert_string_equal(text, CASES[i].expected);
        assert_true(strlen(text) <= 16);
    }
}

static void test_scores_keep_apart_what_differs(void **state)
{
    (void)state;
    static const struct {
        double score, threshold;
        bool is_probability;
        const char *expected, *expected_threshold;
    } CASES[] = {
        {0.9731234, 0.5, true, "97.3 %", "50 %"}, {0.49996, 0.5, true, "49.996 %", "50 %"},
        {0.9999, 0.5, true, "99.99 %", "50 %"},   {1, 0.5, true, "100 %", "50 %"},
        {0.00001, 0.5, true, "0.001 %", "50 %"},  {0, 0.5, true, "0 %", "50 %"},
        {0.5, 0.5, true, "50 %", "50 %"},         {0.9731234, 0.5, false, "0.973", "0.5"},
        {0.50001, 0.5, false, "0.50001", "0.5"},  {0.99999, 0.7, false, "0.99999", "0.7"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char score[MD_SCORE_BYTES], threshold[MD_SCORE_BYTES];
        md_text_score(CASES[i].score, CASES[i].threshold, CASES[i].is_probability, score,
                      threshold);
        assert_string_equal(score, CASES[i].expected);
        assert_string_equal(threshold, CASES[i].expected_threshold);
    }
}

static unsigned red_at(const md_canvas *canvas, uint32_t x, uint32_t y)
{
    return canvas->rgb[((size_t)y * canvas->width + x) * 3];
}

static void test_canvas_clips_and_blends(void **state)
{
    (void)state;
    md_canvas canvas = {0};
    md_colour red = {200, 0, 0};
    assert_int_equal(md_canvas_init(&canvas, 0, 4, NULL), MD_LIMIT);
    assert_int_equal(md_canvas_init(&canvas, MD_CANVAS_MAX_SIDE + 1, 4, NULL), MD_LIMIT);
    md_memory_fail_at(1);
    assert_int_equal(md_canvas_init(&canvas, 8, 4, NULL), MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(md_canvas_init(&canvas, 8, 4, NULL), MD_OK);
    md_canvas_fill(&canvas, -5, -5, 7, 7, red);
    assert_int_equal(red_at(&canvas, 1, 1), 200);
    assert_int_equal(red_at(&canvas, 2, 1), 0);
    md_canvas_fill(&canvas, 7, 3, 100, 100, red);
    assert_int_equal(red_at(&canvas, 7, 3), 200);
    md_canvas_blend(&canvas, 4, 0, red, 128);
    assert_int_equal(red_at(&canvas, 4, 0), 100);
    md_canvas_blend(&canvas, -1, 0, red, 255);
    md_canvas_blend(&canvas, 0, 4, red, 255);
    md_canvas_text(&canvas, -3, -8, MD_FONT_TITLE, red, "W\xc3\x84\xff");
    md_canvas_text(&canvas, 1000000, 1000000, MD_FONT_TITLE, red, "W");
    md_canvas_finish(&canvas);
    md_canvas_finish(&canvas);
}

static void test_text_is_drawn_and_wrapped(void **state)
{
    (void)state;
    md_colour white = {255, 255, 255};
    int64_t width = md_canvas_text_width(MD_FONT_TEXT, "Pneumonia");
    assert_true(width > 60 && width < 130);
    assert_int_equal(md_canvas_text_width(MD_FONT_TEXT, ""), 0);
    assert_int_equal(md_canvas_text_width(MD_FONT_TEXT, "\xc3\xbc"),
                     md_canvas_text_width(MD_FONT_TEXT, "u"));
    assert_int_equal(md_canvas_text_width(MD_FONT_TEXT, "\xe8\x82\xba"),
                     md_canvas_text_width(MD_FONT_TEXT, "?"));
    int64_t line = md_canvas_line_height(MD_FONT_TEXT);
    assert_int_equal(md_canvas_text_box(NULL, 0, 0, width, MD_FONT_TEXT, white, "Pneumonia"),
                     line);
    assert_int_equal(
        md_canvas_text_box(NULL, 0, 0, width, MD_FONT_TEXT, white, "Pneumonia left"), 2 * line);
    assert_int_equal(md_canvas_text_box(NULL, 0, 0, 1, MD_FONT_TEXT, white, "abc"), 3 * line);
    assert_int_equal(md_canvas_text_box(NULL, 0, 0, width, MD_FONT_TEXT, white, "   "), 0);
    md_canvas canvas = {0};
    assert_int_equal(md_canvas_init(&canvas, 200, 60, NULL), MD_OK);
    int64_t end = md_canvas_text(&canvas, 10, 5, MD_FONT_TEXT, white, "Pneumonia");
    assert_int_equal(end, 10 + width);
    size_t inside = 0, outside = 0;
    for (uint32_t y = 0; y < 60; y++) {
        for (uint32_t x = 0; x < 200; x++) {
            bool in_box = x >= 9 && x < end + 1 && y >= 5 && y < 5 + line;
            *(in_box ? &inside : &outside) += red_at(&canvas, x, y) > 0;
        }
    }
    assert_true(inside > 200);
    assert_int_equal(outside, 0);
    md_canvas_finish(&canvas);
}

/* The area filter as it is defined, pixel by pixel. */
static double area_mean(const float *source, uint32_t w, uint32_t h, double x0, double x1,
                        double y0, double y1)
{
    double sum = 0, total = 0;
    for (uint32_t y = 0; y < h; y++) {
        double down = fmin(y1, y + 1.0) - fmax(y0, y);
        for (uint32_t x = 0; x < w && down > 0; x++) {
            double across = fmin(x1, x + 1.0) - fmax(x0, x);
            if (across > 0) {
                sum += across * down * (double)source[y * w + x];
                total += across * down;
            }
        }
    }
    return sum / total;
}

static void test_reduction_is_an_area_mean(void **state)
{
    (void)state;
    static const uint32_t SIZES[][4] = {
        {37, 23, 11, 7}, {64, 48, 16, 12}, {19, 5, 19, 5}, {100, 3, 17, 3}, {5, 400, 2, 33}};
    double worst = 0;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        uint32_t w = SIZES[i][0], h = SIZES[i][1], tw = SIZES[i][2], th = SIZES[i][3];
        float *source = calloc((size_t)w * h, sizeof *source);
        float *target = calloc((size_t)tw * th, sizeof *target);
        for (size_t k = 0; k < (size_t)w * h; k++) {
            source[k] = (float)((k * 7919) % 1000) / 1000.0F;
        }
        const md_raster raster = {.width = w, .height = h, .n_channels = 1, .values = source};
        assert_int_equal(md_picture_resize(&raster, 0, tw, th, target, NULL), MD_OK);
        double sx = (double)w / tw, sy = (double)h / th;
        for (uint32_t y = 0; y < th; y++) {
            for (uint32_t x = 0; x < tw; x++) {
                double expected =
                    area_mean(source, w, h, x * sx, (x + 1) * sx, y * sy, (y + 1) * sy);
                worst = fmax(worst, fabs(expected - (double)target[y * tw + x]));
            }
        }
        free(source);
        free(target);
    }
    print_message("# area filter: largest difference %.2e\n", worst);
    assert_true(worst < 1e-5);
}

static void test_enlargement_keeps_the_range(void **state)
{
    (void)state;
    float source[4] = {0, 1, 1, 0}, target[36];
    const md_raster raster = {.width = 2, .height = 2, .n_channels = 1, .values = source};
    assert_int_equal(md_picture_resize(&raster, 0, 6, 6, target, NULL), MD_OK);
    assert_true(target[0] == 0.0F && target[5] == 1.0F && target[35] == 0.0F);
    for (int i = 0; i < 36; i++) {
        assert_true(target[i] >= 0.0F && target[i] <= 1.0F);
    }
    md_memory_fail_at(1);
    assert_int_equal(md_picture_resize(&raster, 0, 6, 6, target, NULL), MD_NOMEM);
    md_memory_fail_at(0);
}

static void test_saliency_is_placed(void **state)
{
    (void)state;
    float values[12] = {0, 0.1F, 0.2F, 0.3F, 0.4F, 0.9F, 0.6F, 0.5F, 0, 0, 1, 0};
    md_saliency s = {.columns = 4,
                     .rows = 3,
                     .values = values,
                     .x = -10,
                     .y = 20,
                     .width = 80,
                     .height = 60};
    for (uint32_t r = 0; r < 3; r++) {
        for (uint32_t c = 0; c < 4; c++) { /* at the centre of a cell stands its value */
            double at = md_saliency_at(&s, -10 + 20 * (c + 0.5), 20 + 20 * (r + 0.5));
            assert_true(fabs(at - (double)values[r * 4 + c]) < 1e-6);
        }
    }
    assert_true(md_saliency_at(&s, -11, 50) == 0.0 && md_saliency_at(&s, 71, 50) == 0.0);
    assert_true(md_saliency_at(&s, 30, 19) == 0.0 && md_saliency_at(&s, 30, 81) == 0.0);
    assert_true(md_saliency_at(&s, (double)NAN, 50) == 0.0);
    uint8_t opacity = 1;
    (void)md_saliency_colour(0.1, &opacity);
    assert_int_equal(opacity, 0);
    uint8_t strongest = 0;
    (void)md_saliency_colour(1.0, &strongest);
    assert_true(strongest > 60 && strongest < 160); /* the film shows through */
}

/* True when the words stand somewhere on the picture exactly as the canvas draws them there. */
static bool shows(const md_canvas *canvas, md_font font, md_colour colour, md_colour ground,
                  const char *words)
{
    md_canvas sample = {0};
    int64_t width = md_canvas_text_width(font, words), height = md_canvas_line_height(font);
    if (md_canvas_init(&sample, (uint32_t)width, (uint32_t)height, NULL) != MD_OK) {
        return false;
    }
    md_canvas_fill(&sample, 0, 0, width, height, ground);
    md_canvas_text(&sample, 0, 0, font, colour, words);
    bool found = false;
    for (uint32_t y = 0; !found && y + sample.height <= canvas->height; y++) {
        for (uint32_t x = 0; !found && x + sample.width <= canvas->width; x++) {
            bool same = true;
            for (uint32_t row = 0; same && row < sample.height; row++) {
                same = memcmp(canvas->rgb + ((size_t)(y + row) * canvas->width + x) * 3,
                              sample.rgb + (size_t)row * sample.width * 3,
                              (size_t)(sample.width - 1) * 3) == 0;
            }
            found = same;
        }
    }
    md_canvas_finish(&sample);
    return found;
}

static const md_colour WHITE = {0xff, 0xff, 0xff}, PANEL = {0x16, 0x18, 0x1c};
static const md_colour RED = {0xff, 0x70, 0x60}, BLUE = {0x9f, 0xc4, 0xe8};
static const md_colour AMBER = {0xf4, 0xb5, 0x3c}, DARK = {0x10, 0x10, 0x10};

static char film_path[4096];

static bool draw_case(const char *name, test_case *c, md_canvas *canvas,
                      md_picture_layout *layout)
{
    const char *paths[] = {film_path, film_path};
    md_error err = {0};
    if (!case_make(c, name, paths, strcmp(name, "mixed") == 0 ? 2 : 1)) {
        return false;
    }
    return md_picture_draw(&c->result, 0, &c->display, c->display.width, c->display.height,
                           &c->options, canvas, layout, &err) == MD_OK;
}

static void test_picture_says_what_the_result_says(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        md_font font;
        const md_colour *colour, *ground;
        const char *words;
        bool expected;
    } CASES[] = {
        {"positive", MD_FONT_TITLE, &DARK, &AMBER, "AI result, not for diagnosis", true},
        {"positive", MD_FONT_BOLD, &WHITE, &PANEL, "Chest pneumonia classifier", true},
        {"positive", MD_FONT_BOLD, &WHITE, &PANEL, "Pneumonia", true},
        {"positive", MD_FONT_BOLD, &RED, &PANEL, "PRESENT - URGENT", true},
        {"positive", MD_FONT_BOLD, &BLUE, &PANEL, "ABSENT", true},
        {"positive", MD_FONT_TEXT, &WHITE, &PANEL, "Probability 97.3 %, threshold 50 %", true},
        {"positive", MD_FONT_BOLD, &AMBER, &PANEL, "UNDETERMINED", false},
        {"negative", MD_FONT_BOLD, &BLUE, &PANEL, "ABSENT", true},
        {"negative", MD_FONT_BOLD, &RED, &PANEL, "PRESENT", false},
        {"mixed", MD_FONT_BOLD, &AMBER, &PANEL, "UNDETERMINED", true},
        {"uncalibrated", MD_FONT_TEXT, &WHITE, &PANEL, "Score 0.973, threshold 0.5", true},
        {"uncalibrated", MD_FONT_TEXT, &WHITE, &PANEL, "Probability", false},
        {"failed", MD_FONT_BOLD, &AMBER, &PANEL, "ANALYSIS FAILED", true},
        {"failed", MD_FONT_TEXT, &WHITE, &PANEL, "Equipment failure", true},
        {"failed", MD_FONT_BOLD, &BLUE, &PANEL, "ABSENT", false},
        {"partial", MD_FONT_BOLD, &AMBER, &PANEL, "ANALYSIS INCOMPLETE", true},
        {"triage", MD_FONT_TITLE, &DARK, &AMBER,
         "AI result, not for diagnosis: for prioritization only", true},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        test_case c;
        md_canvas canvas = {0};
        assert_true(draw_case(CASES[i].name, &c, &canvas, NULL));
        bool found =
            shows(&canvas, CASES[i].font, *CASES[i].colour, *CASES[i].ground, CASES[i].words);
        if (found != CASES[i].expected) {
            fail_msg("%s: \"%s\" %s", CASES[i].name, CASES[i].words,
                     found ? "is there" : "is missing");
        }
        md_canvas_finish(&canvas);
        case_finish(&c);
    }
}

/* Compare the picture with overlay to the one without: every pixel of the image must be the
 * film, blended with the colour of the map at that place. */
static void test_overlay_is_only_where_the_map_is(void **state)
{
    (void)state;
    test_case with, without;
    md_canvas shown = {0}, bare = {0};
    md_picture_layout at = {0}, none = {0};
    assert_true(draw_case("positive", &with, &shown, &at));
    assert_true(draw_case("triage", &without, &bare, &none));
    assert_int_equal(at.overlay_finding, 0);
    assert_true(none.overlay_finding == SIZE_MAX);
    assert_int_equal(shown.width, bare.width);
    const md_saliency *s = &with.result.findings[0].saliency;
    size_t n_changed = 0, n_contour = 0, n_wrong = 0;
    for (uint32_t y = 0; y < at.image_height; y++) {
        for (uint32_t x = 0; x < at.image_width; x++) {
            size_t place = ((size_t)(y + at.image_y) * shown.width + x + at.image_x) * 3;
            const uint8_t *before = bare.rgb + place, *after = shown.rgb + place;
            double value = md_saliency_at(s, (x + 0.5) * with.display.width / at.image_width,
                                          (y + 0.5) * with.display.height / at.image_height);
            uint8_t opacity = 0;
            md_colour colour = md_saliency_colour(value, &opacity);
            int expected = (before[0] * (255 - opacity) + colour.red * opacity + 127) / 255;
            bool same = abs(after[0] - expected) <= 2;
            bool near_contour = fabs(value - 0.5) < 0.02;
            n_contour += !same && near_contour;
            n_wrong += !same && !near_contour;
            n_changed += memcmp(before, after, 3) != 0;
            if (value < 0.19) {
                assert_memory_equal(before, after, 3);
            }
        }
    }
    print_message("# overlay: %zu pixels changed, %zu on the contour\n", n_changed, n_contour);
    assert_int_equal(n_wrong, 0);
    assert_true(n_changed > 1000 && n_contour > 100);
    md_canvas_finish(&shown);
    md_canvas_finish(&bare);
    case_finish(&with);
    case_finish(&without);
}

static void test_shape_follows_millimetres(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        double pixel_width, pixel_height;
        uint32_t expected_width, expected_height;
    } CASES[] = {
        {2500, 2048, 0.14, 0.14, 1024, 839}, {100, 100, 1, 1, 512, 512},
        {600, 600, 1, 2, 300, 600},          {4000, 10, 1, 1, 1024, 16},
        {800, 400, 0.5, 1, 800, 800},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        test_case c;
        md_canvas canvas = {0};
        md_picture_layout at = {0};
        const char *paths[] = {film_path};
        assert_true(case_make(&c, "negative", paths, 1));
        md_raster film = {0};
        assert_int_equal(md_raster_init(&film, CASES[i].width, CASES[i].height, 3, NULL),
                         MD_OK);
        memset(film.values, 0, sizeof(float) * 3 * (size_t)CASES[i].width * CASES[i].height);
        film.pixel_width_mm = CASES[i].pixel_width;
        film.pixel_height_mm = CASES[i].pixel_height;
        assert_int_equal(md_picture_draw(&c.result, 0, &film, CASES[i].width, CASES[i].height,
                                         &c.options, &canvas, &at, NULL),
                         MD_OK);
        assert_int_equal(at.image_width, CASES[i].expected_width);
        assert_int_equal(at.image_height, CASES[i].expected_height);
        md_canvas_finish(&canvas);
        film.pixel_width_mm = 0;
        assert_int_equal(
            md_picture_draw(&c.result, 0, &film, 1, 1, &c.options, &canvas, &at, NULL),
            MD_INVALID_ARG);
        md_raster_finish(&film);
        case_finish(&c);
    }
}

static void test_strange_values_are_drawn_black_or_white(void **state)
{
    (void)state;
    test_case c;
    md_canvas canvas = {0};
    md_picture_layout at = {0};
    const char *paths[] = {film_path};
    assert_true(case_make(&c, "negative", paths, 1));
    size_t n = (size_t)c.display.width * c.display.height;
    for (size_t i = 0; i < n; i++) {
        c.display.values[i] = i % 2 == 0 ? NAN : INFINITY;
    }
    assert_int_equal(
        md_picture_draw(&c.result, 0, &c.display, 7, 7, &c.options, &canvas, &at, NULL), MD_OK);
    md_canvas_finish(&canvas);
    case_finish(&c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_made_legal),
        cmocka_unit_test(test_numbers_become_decimal_strings),
        cmocka_unit_test(test_scores_keep_apart_what_differs),
        cmocka_unit_test(test_canvas_clips_and_blends),
        cmocka_unit_test(test_text_is_drawn_and_wrapped),
        cmocka_unit_test(test_reduction_is_an_area_mean),
        cmocka_unit_test(test_enlargement_keeps_the_range),
        cmocka_unit_test(test_saliency_is_placed),
        cmocka_unit_test(test_picture_says_what_the_result_says),
        cmocka_unit_test(test_overlay_is_only_where_the_map_is),
        cmocka_unit_test(test_shape_follows_millimetres),
        cmocka_unit_test(test_strange_values_are_drawn_black_or_white),
    };
    if (argc != 2 || md_dicom_init(NULL) != MD_OK) {
        fprintf(stderr, "usage: test-report-drawing FILM.dcm\n");
        return 1;
    }
    snprintf(film_path, sizeof film_path, "%s", argv[1]);
    int failed = cmocka_run_group_tests_name("dicom_report drawing", tests, NULL, NULL);
    md_dicom_finish();
    return failed;
}
