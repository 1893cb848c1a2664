#include "dicom/image/normalise.h"

#include <math.h>
#include <string.h>

/* Every stored value is looked up in a table that holds the result of the whole chain: the
 * chain runs at most 65536 times for an image, not once a pixel. */
typedef struct value_table {
    int32_t first; /* stored value of entry 0 */
    uint32_t n;
    float *values;
} value_table;

static value_table table_range(const md_image *image)
{
    bool is_signed = image->type == MD_PIXEL_S8 || image->type == MD_PIXEL_S16;
    value_table table = {.n = 1u << image->bits_stored};
    table.first = is_signed ? -(int32_t)(table.n / 2) : 0;
    return table;
}

static double lut_value(const md_lut *lut, double at)
{
    double index = floor(at + 0.5) - lut->first;
    if (!(index > 0)) {
        return lut->entries[0];
    }
    return index >= lut->n_entries ? lut->entries[lut->n_entries - 1]
                                   : lut->entries[(uint32_t)index];
}

static double modality_value(const md_image *image, int32_t stored)
{
    return image->modality_lut.n_entries > 0
               ? lut_value(&image->modality_lut, stored)
               : stored * image->rescale_slope + image->rescale_intercept;
}

static bool is_padding(const md_image *image, int32_t stored)
{
    return image->has_padding && stored >= image->padding_low && stored <= image->padding_high;
}

/* The least and greatest modality value of the pixels that are not padding; false when there
 * are none. A lookup table need not rise, so every stored value that occurs is asked. */
static md_status find_range(const md_image *image, const value_table *range, double *ret_low,
                            double *ret_high, bool *ret_found, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *seen = md_calloc(range->n, 1);
    if (seen == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    size_t n = (size_t)image->rows * image->columns;
    for (size_t i = 0; i < n; i++) {
        int32_t value = image->type == MD_PIXEL_U8    ? ((const uint8_t *)image->pixels)[i]
                        : image->type == MD_PIXEL_S8  ? ((const int8_t *)image->pixels)[i]
                        : image->type == MD_PIXEL_U16 ? ((const uint16_t *)image->pixels)[i]
                                                      : ((const int16_t *)image->pixels)[i];
        seen[value - range->first] = 1;
    }
    *ret_low = HUGE_VAL;
    *ret_high = -HUGE_VAL;
    *ret_found = false;
    for (uint32_t i = 0; i < range->n; i++) {
        int32_t value = range->first + (int32_t)i;
        if (seen[i] == 0 || is_padding(image, value)) {
            continue;
        }
        double x = modality_value(image, value);
        *ret_low = fmin(*ret_low, x);
        *ret_high = fmax(*ret_high, x);
        *ret_found = true;
    }
    return MD_OK;
}

/* --- VOI ---------------------------------------------------------------------------------- */

typedef enum voi_kind {
    VOI_LUT,
    VOI_WINDOW,
    VOI_RANGE,  /* neither: black is `low`, white is `high` */
    VOI_NOTHING /* a flat image, or all padding */
} voi_kind;

typedef struct voi {
    voi_kind kind;
    md_voi_function function;
    double center, width; /* VOI_WINDOW */
    double low, high;     /* VOI_RANGE */
    const md_lut *lut;    /* VOI_LUT */
} voi;

/* PS3.3 C.11.2.1.2 and C.11.2.1.3, scaled to 0..1. */
static double window_value(const voi *v, double x)
{
    double c = v->center, w = v->width;
    switch (v->function) {
    case MD_VOI_LINEAR:
        if (x <= c - 0.5 - (w - 1) / 2) {
            return 0;
        }
        return x > c - 0.5 + (w - 1) / 2 ? 1 : (x - (c - 0.5)) / (w - 1) + 0.5;
    case MD_VOI_LINEAR_EXACT:
        if (x <= c - w / 2) {
            return 0;
        }
        return x > c + w / 2 ? 1 : (x - c) / w + 0.5;
    case MD_VOI_SIGMOID:
        return 1 / (1 + exp(-4 * (x - c) / w));
    }
    return 0;
}

static double voi_value(const voi *v, double x)
{
    switch (v->kind) {
    case VOI_LUT:
        return lut_value(v->lut, x) / (double)((1u << v->lut->bits) - 1u);
    case VOI_WINDOW:
        return window_value(v, x);
    case VOI_RANGE:
        return (x - v->low) / (v->high - v->low);
    case VOI_NOTHING:
        break;
    }
    return 0;
}

static const char *function_name(md_voi_function function)
{
    switch (function) {
    case MD_VOI_LINEAR:
        return "linear";
    case MD_VOI_LINEAR_EXACT:
        return "linear exact";
    case MD_VOI_SIGMOID:
        return "sigmoid";
    }
    return "?";
}

static bool is_window_allowed(const md_image *image)
{
    double width = image->window_width;
    return isfinite(width) && isfinite(image->window_center) &&
           (image->voi_function == MD_VOI_LINEAR ? width >= 1 : width > 0);
}

static md_status choose_voi(const md_image *image, const value_table *range, voi *ret_voi,
                            md_steps *steps, md_error *err)
{
    voi v = {.kind = VOI_NOTHING, .function = image->voi_function};
    if (image->voi_lut.n_entries > 0) {
        v.kind = VOI_LUT;
        v.lut = &image->voi_lut;
        md_steps_add(steps, "VOI LUT, %u entries of %u bits", image->voi_lut.n_entries,
                     image->voi_lut.bits);
        *ret_voi = v;
        return MD_OK;
    }
    if (image->has_window && is_window_allowed(image)) {
        v.kind = VOI_WINDOW;
        v.center = image->window_center;
        v.width = image->window_width;
        md_steps_add(steps, "window %g/%g, %s", v.center, v.width, function_name(v.function));
        *ret_voi = v;
        return MD_OK;
    }
    if (image->has_window) {
        md_steps_add(steps, "window width %g is not allowed: ignored", image->window_width);
    }
    bool found = false;
    MD_TRY(find_range(image, range, &v.low, &v.high, &found, err));
    if (found && v.high > v.low) {
        v.kind = VOI_RANGE;
        md_steps_add(steps, "no window: range of the pixels %g..%g", v.low, v.high);
    } else {
        md_steps_add(steps, found ? "flat image: black" : "all padding: black");
    }
    *ret_voi = v;
    return MD_OK;
}

/* --- the chain for each kind of image --------------------------------------------------------
 */

static void add_modality_step(const md_image *image, md_steps *steps)
{
    if (image->modality_lut.n_entries > 0) {
        md_steps_add(steps, "modality LUT, %u entries of %u bits",
                     image->modality_lut.n_entries, image->modality_lut.bits);
    } else if (image->rescale_slope != 1 || image->rescale_intercept != 0) {
        md_steps_add(steps, "rescale %g x + %g", image->rescale_slope,
                     image->rescale_intercept);
    }
}

static void fill_physical(const md_image *image, value_table *table, md_steps *steps)
{
    add_modality_step(image, steps);
    for (uint32_t i = 0; i < table->n; i++) {
        table->values[i] = (float)modality_value(image, table->first + (int32_t)i);
    }
}

static md_status fill_display(const md_image *image, value_table *table, md_steps *steps,
                              md_error *err)
{
    voi v;
    add_modality_step(image, steps);
    MD_TRY(choose_voi(image, table, &v, steps, err));
    bool is_mono1 = image->photometric == MD_PHOTOMETRIC_MONOCHROME1;
    bool is_inverse = v.kind != VOI_NOTHING && (is_mono1 || image->presentation_inverse);
    for (uint32_t i = 0; i < table->n; i++) {
        int32_t stored = table->first + (int32_t)i;
        double shown = voi_value(&v, modality_value(image, stored));
        shown = is_inverse ? 1 - shown : shown;
        shown = is_padding(image, stored) ? 0 : shown;
        table->values[i] = (float)fmin(fmax(shown, 0), 1);
    }
    if (is_inverse) {
        md_steps_add(steps, is_mono1 ? "inverted MONOCHROME1"
                                     : "inverted, Presentation LUT Shape INVERSE");
    }
    if (image->has_padding) {
        md_steps_add(steps, "padding %d..%d black", image->padding_low, image->padding_high);
    }
    return MD_OK;
}

static void look_up(const md_image *image, size_t channel, const value_table *table, float *to)
{
    size_t n = (size_t)image->rows * image->columns;
    const float *values = table->values - table->first; /* of stored 0 */
    const void *pixels = image->pixels;
    switch (image->type) {
    case MD_PIXEL_U8:
        for (size_t i = 0; i < n; i++) {
            to[i] = values[((const uint8_t *)pixels + channel * n)[i]];
        }
        break;
    case MD_PIXEL_S8:
        for (size_t i = 0; i < n; i++) {
            to[i] = values[((const int8_t *)pixels + channel * n)[i]];
        }
        break;
    case MD_PIXEL_U16:
        for (size_t i = 0; i < n; i++) {
            to[i] = values[((const uint16_t *)pixels + channel * n)[i]];
        }
        break;
    case MD_PIXEL_S16:
        for (size_t i = 0; i < n; i++) {
            to[i] = values[((const int16_t *)pixels + channel * n)[i]];
        }
        break;
    }
}

static md_status fill_grey(const md_image *image, md_normalise_values values,
                           value_table *table, md_steps *steps, md_error *err)
{
    if (values == MD_VALUES_PHYSICAL) {
        fill_physical(image, table, steps);
        return MD_OK;
    }
    return fill_display(image, table, steps, err);
}

static md_status normalise_grey(const md_image *image, md_normalise_values values,
                                value_table *table, md_raster *raster, md_steps *steps,
                                md_error *err)
{
    MD_TRY(fill_grey(image, values, table, steps, err));
    look_up(image, 0, table, raster->values);
    return MD_OK;
}

static void normalise_palette(const md_image *image, value_table *table, md_raster *raster,
                              md_steps *steps)
{
    size_t n = (size_t)image->rows * image->columns;
    for (size_t c = 0; c < 3; c++) {
        const md_lut *lut = &image->palette[c];
        double white = (double)((1u << lut->bits) - 1u);
        for (uint32_t i = 0; i < table->n; i++) {
            double entry = lut_value(lut, table->first + (int32_t)i);
            table->values[i] = (float)(entry / white);
        }
        look_up(image, 0, table, raster->values + c * n);
    }
    md_steps_add(steps, "palette of %u entries", image->palette[0].n_entries);
}

static void normalise_colour(const md_image *image, value_table *table, md_raster *raster,
                             md_steps *steps)
{
    size_t n = (size_t)image->rows * image->columns;
    for (uint32_t i = 0; i < table->n; i++) {
        table->values[i] = (float)i / (float)(table->n - 1);
    }
    for (size_t c = 0; c < 3; c++) {
        look_up(image, c, table, raster->values + c * n);
    }
    md_steps_add(steps, "colour, %u bits", image->bits_stored);
}

/* The pixels' size and where they lie. */
static void place_raster(const md_image *image, md_raster *raster)
{
    raster->pixel_width_mm = image->pixel_width_mm;
    raster->pixel_height_mm = image->pixel_height_mm;
    if (image->reduce > 0) {
        double side = (double)(1u << image->reduce);
        raster->shift = 0.5 - 0.5 / side;
        raster->spread = image->spread;
        raster->short_x = image->columns - image->stored_columns / side;
        raster->short_y = image->rows - image->stored_rows / side;
    }
}

md_status md_image_normalise(const md_image *image, md_normalise_values values,
                             md_raster *ret_raster, md_steps *steps, md_error *err)
{
    md_steps unwanted = {0};
    steps = steps == NULL ? &unwanted : steps;
    bool is_palette = image->photometric == MD_PHOTOMETRIC_PALETTE;
    bool is_colour = image->photometric == MD_PHOTOMETRIC_RGB;
    if (values == MD_VALUES_PHYSICAL && (is_palette || is_colour)) {
        return md_fail(err, MD_UNSUPPORTED, "colour has no physical values");
    }
    value_table table = table_range(image);
    MD_AUTO(md_freep) float *entries = md_malloc_aligned(table.n * sizeof *entries);
    if (entries == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    table.values = entries;
    md_raster raster = {0};
    uint32_t n_channels = is_palette || is_colour ? 3 : 1;
    MD_TRY(md_raster_init(&raster, image->columns, image->rows, n_channels, err));
    place_raster(image, &raster);
    md_status status = MD_OK;
    if (is_palette) {
        normalise_palette(image, &table, &raster, steps);
    } else if (is_colour) {
        normalise_colour(image, &table, &raster, steps);
    } else {
        status = normalise_grey(image, values, &table, &raster, steps, err);
    }
    if (status != MD_OK) {
        md_raster_finish(&raster);
        return status;
    }
    *ret_raster = raster;
    return MD_OK;
}

md_status md_image_normalise_taking(md_image *image, md_normalise_values values,
                                    md_raster *ret_raster, md_steps *steps, md_error *err)
{
    const bool is_grey = image->photometric == MD_PHOTOMETRIC_MONOCHROME1 ||
                         image->photometric == MD_PHOTOMETRIC_MONOCHROME2;
    if (!is_grey || (image->type != MD_PIXEL_U16 && image->type != MD_PIXEL_S16)) {
        return md_image_normalise(image, values, ret_raster, steps, err);
    }
    if ((size_t)image->columns * image->rows > MD_RASTER_MAX_PIXELS) {
        return md_fail(err, MD_LIMIT, "raster %ux%u is larger than %zu pixels", image->columns,
                       image->rows, MD_RASTER_MAX_PIXELS);
    }
    md_steps unwanted = {0};
    value_table table = table_range(image);
    MD_AUTO(md_freep) float *entries = md_calloc(MD_RASTER_CODES, sizeof *entries);
    if (entries == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    table.values = entries;
    MD_TRY(fill_grey(image, values, &table, steps == NULL ? &unwanted : steps, err));
    if (table.first < 0) { /* a negative value is coded by its bit pattern */
        const size_t n_negative = table.n / 2, n_bytes = n_negative * sizeof *entries;
        float *lowest = entries + MD_RASTER_CODES - n_negative;
        MD_AUTO(md_freep) float *positive = md_malloc(n_bytes);
        if (positive == NULL) {
            return md_fail(err, MD_NOMEM, "out of memory");
        }
        memcpy(positive, entries + n_negative, n_bytes);
        memmove(lowest, entries, n_bytes);
        memcpy(entries, positive, n_bytes);
    }
    md_raster raster = {.width = image->columns,
                        .height = image->rows,
                        .n_channels = 1,
                        .codes = image->pixels,
                        .table = MD_STEAL(entries)};
    image->pixels = NULL;
    place_raster(image, &raster);
    *ret_raster = raster;
    return MD_OK;
}
