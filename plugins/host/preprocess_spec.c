#include "plugins/host/preprocess_spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const md_schema_choice values_choices[] = {
    {"display", MD_VALUES_DISPLAY}, {"physical", MD_VALUES_PHYSICAL}, {NULL, 0}};
static const md_schema_choice fits[] = {
    {"stretch", MD_FIT_STRETCH}, {"letterbox", MD_FIT_LETTERBOX}, {NULL, 0}};
static const md_schema_choice filters[] = {
    {"triangle", MD_FILTER_TRIANGLE}, {"area", MD_FILTER_AREA}, {NULL, 0}};
static const md_schema_choice binarise_choices[] = {{"none", MD_BINARISE_NONE},
                                                    {"fixed", MD_BINARISE_FIXED},
                                                    {"otsu", MD_BINARISE_OTSU},
                                                    {NULL, 0}};
static const md_schema_field mean_item = {.key = "mean",
                                          .type = MD_SCHEMA_REAL,
                                          .size_bytes = sizeof(float),
                                          .least = -1e6,
                                          .most = 1e6};
static const md_schema_field std_item = {.key = "std",
                                         .type = MD_SCHEMA_REAL,
                                         .size_bytes = sizeof(float),
                                         .least = 1e-6,
                                         .most = 1e6};

#define AT(member_) MD_SCHEMA_AT(md_preprocess_spec, member_)
#define COUNT(member_) .n_offset = offsetof(md_preprocess_spec, member_)
/* clang-format off */
const md_schema_field md_preprocess_spec_fields[] = {
    {.key = "values", .type = MD_SCHEMA_ENUM, AT(values), .required = true,
     .choices = values_choices},
    {.key = "greyscale", .type = MD_SCHEMA_BOOL, AT(greyscale), .fallback = "false"},
    {.key = "crop_borders", .type = MD_SCHEMA_BOOL, AT(crop_borders), .fallback = "false"},
    {.key = "fit", .type = MD_SCHEMA_ENUM, AT(fit), .required = true, .choices = fits},
    {.key = "width", .type = MD_SCHEMA_INT, AT(width), .required = true, .least = 8,
     .most = 4096, .unit = "pixels"},
    {.key = "height", .type = MD_SCHEMA_INT, AT(height), .required = true, .least = 8,
     .most = 4096, .unit = "pixels"},
    {.key = "filter", .type = MD_SCHEMA_ENUM, AT(filter), .required = true,
     .choices = filters},
    {.key = "channels", .type = MD_SCHEMA_INT, AT(n_channels), .required = true, .least = 1,
     .most = 3},
    {.key = "binarise", .type = MD_SCHEMA_ENUM, AT(binarise), .fallback = "none",
     .choices = binarise_choices},
    {.key = "binarise_threshold", .type = MD_SCHEMA_REAL, AT(binarise_threshold),
     .fallback = "0.5", .least = -1e6, .most = 1e6},
    {.key = "mean", .type = MD_SCHEMA_LIST, AT(mean), .required = true, .least = 1,
     .item = &mean_item, .max_items = 3, COUNT(n_mean)},
    {.key = "std", .type = MD_SCHEMA_LIST, AT(std), .required = true, .least = 1,
     .item = &std_item, .max_items = 3, COUNT(n_std)},
    {.key = NULL},
};

const md_schema_field md_test_time_fields[] = {
    {.key = "flip", .type = MD_SCHEMA_BOOL, MD_SCHEMA_AT(md_test_time, flip),
     .fallback = "false"},
    {.key = "shift", .type = MD_SCHEMA_REAL, MD_SCHEMA_AT(md_test_time, shift), .least = 0,
     .most = 0.25, .fallback = "0"},
    {.key = NULL},
};
/* clang-format on */

md_status md_test_time_check(const md_test_time *test_time, const md_preprocess_spec *spec,
                             const char *name, unsigned line, const char *key, md_error *err)
{
    const unsigned shorter = spec->width < spec->height ? spec->width : spec->height;
    if (test_time->shift > 0 && lroundf(test_time->shift * (float)shorter) < 1) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key '%s.shift': got %g, less than half a pixel of %u; expected 0 "
            "or at least %.2g",
            name, line, key, (double)test_time->shift, shorter, 1.0 / shorter);
    }
    return MD_OK;
}

md_status md_preprocess_spec_check(const md_preprocess_spec *spec, const char *name,
                                   md_error *err)
{
    const unsigned n = spec->n_channels;
    if (n == 2) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'preprocess.channels': got 2, expected 1 or 3", name,
                       spec->line);
    }
    if (spec->n_mean != n || spec->n_std != n) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'preprocess': got %u values of mean and %u of std, expected "
                       "one for each of %u channels",
                       name, spec->line, spec->n_mean, spec->n_std, n);
    }
    return MD_OK;
}

void md_test_time_describe(const md_test_time *test_time,
                           char ret_text[MD_TEST_TIME_TEXT_BYTES])
{
    const bool shift = test_time->shift > 0;
    char text[24] = "";
    if (shift) {
        snprintf(text, sizeof text, "shift(%g)", (double)test_time->shift);
    }
    snprintf(ret_text, MD_TEST_TIME_TEXT_BYTES, "%s%s%s%s",
             test_time->flip || shift ? " test_time=" : "", test_time->flip ? "flip" : "",
             test_time->flip && shift ? "+" : "", text);
}

void md_preprocess_spec_options(const md_preprocess_spec *spec,
                                md_preprocess_options *ret_options)
{
    *ret_options = (md_preprocess_options){
        .greyscale = spec->greyscale,
        .crop_borders = spec->crop_borders,
        .fit = spec->fit,
        .filter = spec->filter,
        .width = spec->width,
        .height = spec->height,
        .n_channels = spec->n_channels,
        .binarise = spec->binarise,
        .binarise_threshold = spec->binarise_threshold,
    };
    memcpy(ret_options->mean, spec->mean, sizeof spec->mean);
    memcpy(ret_options->std, spec->std, sizeof spec->std);
}

/* A smaller decode keeps at least so many pixels for each of the network's, so that the filter
 * still has neighbours to weigh: with 1, scores of real films moved by up to 0.036, with 2 by
 * at most 0.0033 (tests/e2e, 100 films, the shipped chest model). */
enum {
    SMALLER_BY = 2
};

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

void md_preprocess_spec_least(const md_preprocess_spec *spec, uint32_t min_columns,
                              uint32_t min_rows, md_image_least *ret_least)
{
    *ret_least = (md_image_least){0};
    /* What a border leaves of the image is not known before it is decoded. */
    if (!spec->crop_borders) {
        ret_least->columns = larger(spec->width * SMALLER_BY, min_columns);
        ret_least->rows = larger(spec->height * SMALLER_BY, min_rows);
    }
}
