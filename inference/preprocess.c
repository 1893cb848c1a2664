#include "inference/preprocess.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    MAX_LENGTH = 8192 /* of the tensor, each axis */
};

typedef struct rectangle {
    uint32_t x, y, width, height; /* source pixels */
} rectangle;

/* The weights of one axis: target i is the sum of weights[i * stride + k] times source
 * first[i] + k over k < n[i]. */
typedef struct filter_table {
    uint32_t n_targets, stride;
    uint32_t *first, *n;
    float *weights;
    size_t n_taps; /* of all targets: the work */
} filter_table;

static void finish_table(filter_table *table)
{
    md_free(table->first);
    md_free(table->n);
    md_free(table->weights);
}

static md_status check_options(const md_raster *raster, const md_preprocess_options *options,
                               md_error *err)
{
    if (raster->width < 1 || raster->height < 1 || raster->values == NULL ||
        (raster->n_channels != 1 && raster->n_channels != 3)) {
        return md_fail(err, MD_INVALID_ARG, "raster of %u x %u with %u channels", raster->width,
                       raster->height, raster->n_channels);
    }
    /* wider than any picture of anything; keeps every quotient below finite */
    const double least_mm = 1e-6, most_mm = 1e6;
    if (!(raster->pixel_width_mm >= least_mm) || !(raster->pixel_height_mm >= least_mm) ||
        !(raster->pixel_width_mm <= most_mm) || !(raster->pixel_height_mm <= most_mm)) {
        return md_fail(err, MD_INVALID_ARG, "pixel size %g x %g mm", raster->pixel_width_mm,
                       raster->pixel_height_mm);
    }
    if (options->width < 1 || options->width > MAX_LENGTH || options->height < 1 ||
        options->height > MAX_LENGTH) {
        return md_fail(err, MD_INVALID_ARG, "tensor of %u x %u, not in 1..%d", options->width,
                       options->height, MAX_LENGTH);
    }
    if (options->n_channels != 1 && options->n_channels != 3) {
        return md_fail(err, MD_INVALID_ARG, "%u channels, not 1 or 3", options->n_channels);
    }
    const bool colour = raster->n_channels == 3 && !options->greyscale;
    if (colour && options->n_channels == 1) {
        return md_fail(err, MD_INVALID_ARG, "a colour picture for a network of one channel");
    }
    if (options->binarise > MD_BINARISE_OTSU || !isfinite(options->binarise_threshold)) {
        return md_fail(err, MD_INVALID_ARG, "unknown binarisation, or a threshold of %g",
                       (double)options->binarise_threshold);
    }
    if (options->binarise != MD_BINARISE_NONE && colour) {
        return md_fail(err, MD_INVALID_ARG, "a colour picture cannot be binarised");
    }
    if ((options->fit != MD_FIT_STRETCH && options->fit != MD_FIT_LETTERBOX) ||
        (options->filter != MD_FILTER_TRIANGLE && options->filter != MD_FILTER_AREA)) {
        return md_fail(err, MD_INVALID_ARG, "unknown fit or filter");
    }
    for (uint32_t c = 0; c < options->n_channels; c++) {
        if (!isfinite(options->mean[c]) || !(options->std[c] > 0.0F) ||
            !isfinite(options->std[c])) {
            return md_fail(err, MD_INVALID_ARG, "channel %u: mean %g, std %g", c,
                           (double)options->mean[c], (double)options->std[c]);
        }
    }
    return MD_OK;
}

static size_t n_pixels_of(const md_raster *raster)
{
    return (size_t)raster->width * raster->height;
}

/* The threshold below which a pixel is black, see the header. */
static float black_threshold(const md_raster *raster)
{
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n_pixels_of(raster) * raster->n_channels; i++) {
        const float value = raster->values[i];
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    return low + 0.04F * (high - low);
}

static bool is_dark(const md_raster *raster, float threshold, uint32_t x, uint32_t y)
{
    for (uint32_t c = 0; c < raster->n_channels; c++) {
        if (!(raster->values[c * n_pixels_of(raster) + (size_t)y * raster->width + x] <=
              threshold)) {
            return false;
        }
    }
    return true;
}

/* At least 98 of 100 pixels of the line are black. */
static bool is_black_row(const md_raster *raster, float threshold, uint32_t y)
{
    size_t n = 0;
    for (uint32_t x = 0; x < raster->width; x++) {
        n += is_dark(raster, threshold, x, y) ? 1 : 0;
    }
    return n * 100 >= (size_t)raster->width * 98;
}

static bool is_black_column(const md_raster *raster, float threshold, uint32_t x,
                            const rectangle *rows)
{
    size_t n = 0;
    for (uint32_t y = rows->y; y < rows->y + rows->height; y++) {
        n += is_dark(raster, threshold, x, y) ? 1 : 0;
    }
    return n * 100 >= (size_t)rows->height * 98;
}

static rectangle crop_of(const md_raster *raster)
{
    const rectangle whole = {0, 0, raster->width, raster->height};
    const float threshold = black_threshold(raster);
    rectangle r = whole;
    while (r.height > 1 && is_black_row(raster, threshold, r.y)) {
        r.y++;
        r.height--;
    }
    while (r.height > 1 && is_black_row(raster, threshold, r.y + r.height - 1)) {
        r.height--;
    }
    while (r.width > 1 && is_black_column(raster, threshold, r.x, &r)) {
        r.x++;
        r.width--;
    }
    while (r.width > 1 && is_black_column(raster, threshold, r.x + r.width - 1, &r)) {
        r.width--;
    }
    return (uint64_t)r.width * 4 < whole.width || (uint64_t)r.height * 4 < whole.height ? whole
                                                                                        : r;
}

static md_placement place(const md_raster *raster, const rectangle *crop,
                          const md_preprocess_options *options)
{
    const bool to_right = crop->x + crop->width == raster->width;
    const bool to_bottom = crop->y + crop->height == raster->height;
    const double width = crop->width - (to_right ? raster->short_x : 0);
    const double height = crop->height - (to_bottom ? raster->short_y : 0);
    md_placement p = {crop->x, crop->y, width, height};
    if (options->fit == MD_FIT_LETTERBOX) {
        const double width_mm = width * raster->pixel_width_mm;
        const double height_mm = height * raster->pixel_height_mm;
        /* mm for each pixel of the tensor: the longer side fills it */
        const double mm = fmax(width_mm / options->width, height_mm / options->height);
        p.width = options->width * mm / raster->pixel_width_mm;
        p.height = options->height * mm / raster->pixel_height_mm;
        p.x -= (p.width - width) / 2.0;
        p.y -= (p.height - height) / 2.0;
    }
    return p;
}

/* Weight of source pixel p for the target that covers [low, high), see the header. */
static double weight_of(md_filter filter, double p, double low, double high, double support)
{
    if (filter == MD_FILTER_TRIANGLE) {
        return fmax(0.0, 1.0 - fabs(p + 0.5 - (low + high) / 2.0) / support);
    }
    return fmax(0.0, fmin(p + 1.0, high) - fmax(p, low)) / (high - low);
}

/* Source pixels start..start + length count; the target axis covers [origin, origin + extent).
 */
static md_status make_table(filter_table *table, md_filter filter, uint32_t n_targets,
                            double origin, double extent, uint32_t start, uint32_t length,
                            md_error *err)
{
    const double scale = extent / n_targets;
    const double support = fmax(scale, 1.0);
    const double reach = filter == MD_FILTER_TRIANGLE ? support : scale / 2.0;
    const double last = (double)start + (double)length - 1.0;
    table->n_targets = n_targets;
    table->stride = 2.0 * reach + 3.0 < length ? (uint32_t)(2.0 * reach) + 3 : length;
    table->first = md_calloc(n_targets, sizeof *table->first);
    table->n = md_calloc(n_targets, sizeof *table->n);
    table->weights = md_calloc((size_t)n_targets * table->stride, sizeof *table->weights);
    if (table->first == NULL || table->n == NULL || table->weights == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to resize");
    }
    for (uint32_t i = 0; i < n_targets; i++) {
        const double low = origin + i * scale, high = origin + (i + 1) * scale;
        const double centre = (low + high) / 2.0;
        float *weights = table->weights + (size_t)i * table->stride;
        table->first[i] = start;
        if (filter == MD_FILTER_TRIANGLE && (centre < (double)start || centre >= last + 1.0)) {
            continue; /* outside the picture: the pad */
        }
        const double from = fmax((double)start, floor(centre - reach - 0.5));
        double sum = 0.0;
        uint32_t n = 0;
        for (double p = from; p <= last && p <= centre + reach && n < table->stride; p += 1.0) {
            const double weight = weight_of(filter, p, low, high, support);
            if (weight <= 0.0 && n == 0) {
                continue; /* starts with the first that counts */
            }
            table->first[i] = n == 0 ? (uint32_t)p : table->first[i];
            weights[n++] = (float)weight;
            sum += weight;
        }
        for (uint32_t k = 0; k < n && filter == MD_FILTER_TRIANGLE; k++) {
            weights[k] =
                (float)(weight_of(filter, (double)(table->first[i] + k), low, high, support) /
                        sum);
        }
        table->n[i] = n;
        table->n_taps += n;
    }
    return MD_OK;
}

enum {
    STRIP = 1024 /* columns at once: the strip of the target row stays in the first cache */
};

/* target [n_targets, width] from source rows of `pitch` values. */
static void filter_rows(const filter_table *table, const float *source, size_t pitch,
                        size_t width, float *target)
{
    for (size_t x = 0; x < width; x += STRIP) {
        const size_t n = width - x < STRIP ? width - x : STRIP;
        for (uint32_t i = 0; i < table->n_targets; i++) {
            float *restrict to = target + (size_t)i * width + x;
            const float *weights = table->weights + (size_t)i * table->stride;
            const float *from = source + (size_t)table->first[i] * pitch + x;
            memset(to, 0, n * sizeof *to);
            for (uint32_t k = 0; k < table->n[i]; k++) {
                const float weight = weights[k];
                const float *restrict row = from + k * pitch;
                for (size_t j = 0; j < n; j++) {
                    to[j] += weight * row[j];
                }
            }
        }
    }
}

/* target [height, n_targets] from rows of `pitch` values. Eight sums at once, because the order
 * of additions is fixed in C and one sum alone would not use the vector unit. */
static void filter_columns(const filter_table *table, const float *source, size_t pitch,
                           size_t height, float *target)
{
    for (size_t y = 0; y < height; y++) {
        for (uint32_t i = 0; i < table->n_targets; i++) {
            const float *weights = table->weights + (size_t)i * table->stride;
            const float *from = source + y * pitch + table->first[i];
            const uint32_t n = table->n[i];
            float sums[8] = {0};
            uint32_t k = 0;
            for (; k + 8 <= n; k += 8) {
                for (uint32_t j = 0; j < 8; j++) {
                    sums[j] += weights[k + j] * from[k + j];
                }
            }
            for (; k < n; k++) {
                sums[k % 8] += weights[k] * from[k];
            }
            target[y * table->n_targets + i] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                                               ((sums[4] + sums[5]) + (sums[6] + sums[7]));
        }
    }
}

/* One channel to [height, width] of the tensor. Of the two orders, the one with fewer products;
 * rows first when they are equal, because that pass streams. */
static md_status resize(const md_raster *raster, const rectangle *crop, const float *values,
                        const filter_table *columns, const filter_table *rows, float *target,
                        md_error *err)
{
    const size_t rows_first = rows->n_taps * crop->width + columns->n_taps * rows->n_targets;
    const size_t columns_first =
        columns->n_taps * crop->height + rows->n_taps * columns->n_targets;
    const bool vertical = rows_first <= columns_first;
    const size_t n = vertical ? (size_t)rows->n_targets * crop->width
                              : (size_t)columns->n_targets * crop->height;
    MD_AUTO(md_freep) float *between = md_malloc_aligned(n * sizeof *between);
    if (between == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to resize");
    }
    /* the tables count source pixels of the whole picture, `between` those of the crop alone */
    if (vertical) {
        filter_rows(rows, values + crop->x, raster->width, crop->width, between);
        filter_columns(columns, between - crop->x, crop->width, rows->n_targets, target);
    } else {
        filter_columns(columns, values + (size_t)crop->y * raster->width, raster->width,
                       crop->height, between);
        filter_rows(rows, between - (size_t)crop->y * columns->n_targets, columns->n_targets,
                    columns->n_targets, target);
    }
    return MD_OK;
}

/* The threshold of Otsu, see the header; INFINITY for a picture of one value. */
static float otsu_threshold(const float *values, size_t n)
{
    enum {
        N_CLASSES = 256
    };
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    if (!(high > low)) {
        return INFINITY;
    }
    const double width = ((double)high - (double)low) / N_CLASSES;
    size_t counts[N_CLASSES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double at = ((double)values[i] - (double)low) / width;
        counts[at < N_CLASSES - 1 ? (size_t)at : N_CLASSES - 1]++;
    }
    double total = 0.0;
    for (size_t k = 0; k < N_CLASSES; k++) {
        total += (double)k * (double)counts[k];
    }
    double below = 0.0, n_below = 0.0, best = -1.0;
    size_t best_class = 0;
    for (size_t k = 0; k < N_CLASSES - 1; k++) {
        below += (double)k * (double)counts[k];
        n_below += (double)counts[k];
        const double n_above = (double)n - n_below;
        if (n_below <= 0.0 || n_above <= 0.0) {
            continue;
        }
        const double apart = below / n_below - (total - below) / n_above;
        const double variance = n_below * n_above * apart * apart;
        if (variance > best) {
            best = variance;
            best_class = k;
        }
    }
    return (float)((double)low + width * (double)(best_class + 1));
}

void md_preprocess_finish(const float *planes, uint32_t n_planes, size_t n,
                          const md_preprocess_options *options, float *ret_values)
{
    assert(n_planes == 1 || n_planes == options->n_channels);
    if (options->binarise != MD_BINARISE_NONE) {
        assert(n_planes == 1);
        const float threshold = options->binarise == MD_BINARISE_FIXED
                                    ? options->binarise_threshold
                                    : otsu_threshold(planes, n);
        for (size_t i = 0; i < n; i++) {
            ret_values[i] = planes[i] >= threshold ? 1.0F : 0.0F;
        }
        planes = ret_values;
    }
    /* the last first: grey is repeated from channel 0, which is scaled last */
    for (uint32_t c = options->n_channels; c-- > 0;) {
        const float *from = n_planes == 1 ? planes : planes + c * n;
        const float mean = options->mean[c], std = options->std[c];
        float *to = ret_values + c * n;
        for (size_t i = 0; i < n; i++) {
            to[i] = (from[i] - mean) / std;
        }
    }
}

static void describe(const md_raster *raster, const rectangle *crop,
                     const md_preprocess_options *options, md_steps *steps)
{
    if (steps == NULL) {
        return;
    }
    if (crop->width != raster->width || crop->height != raster->height) {
        md_steps_add(steps, "cropped black borders: %ux%u at %u,%u", crop->width, crop->height,
                     crop->x, crop->y);
    }
    md_steps_add(steps, "resized %ux%u to %ux%u, %s, %s", crop->width, crop->height,
                 options->width, options->height,
                 options->filter == MD_FILTER_TRIANGLE ? "triangle" : "area",
                 options->fit == MD_FIT_STRETCH ? "stretched" : "letterboxed");
}

/* A grey copy of a colour raster. */
static md_status make_grey(const md_raster *raster, md_raster *ret_grey, md_error *err)
{
    md_raster grey = {0};
    MD_TRY(md_raster_init(&grey, raster->width, raster->height, 1, err));
    const size_t n = n_pixels_of(raster);
    const float *red = raster->values, *green = red + n, *blue = green + n;
    for (size_t i = 0; i < n; i++) {
        grey.values[i] = 0.299F * red[i] + 0.587F * green[i] + 0.114F * blue[i];
    }
    float *values = grey.values;
    grey = *raster;
    grey.n_channels = 1;
    grey.values = values;
    *ret_grey = grey;
    return MD_OK;
}

/* Crop and resize to n_channels planes, of which those of the raster are filled. */
static md_status make_planes(const md_raster *raster, const md_preprocess_options *options,
                             uint32_t n_channels, md_tensor *ret_tensor,
                             md_placement *ret_placement, md_steps *steps, md_error *err)
{
    const rectangle whole = {0, 0, raster->width, raster->height};
    const rectangle crop = options->crop_borders ? crop_of(raster) : whole;
    const md_placement placement = place(raster, &crop, options);
    const int64_t dims[4] = {1, n_channels, options->height, options->width};
    const size_t n = (size_t)options->width * options->height;
    filter_table columns = {0}, rows = {0};
    md_tensor tensor = {0};
    md_status status =
        make_table(&columns, options->filter, options->width, placement.x + raster->shift,
                   placement.width, crop.x, crop.width, err);
    if (status == MD_OK) {
        status =
            make_table(&rows, options->filter, options->height, placement.y + raster->shift,
                       placement.height, crop.y, crop.height, err);
    }
    if (status == MD_OK) {
        status = md_tensor_init(&tensor, MD_F32, 4, dims, err);
    }
    for (uint32_t c = 0; c < raster->n_channels && status == MD_OK; c++) {
        status = resize(raster, &crop, raster->values + c * n_pixels_of(raster), &columns,
                        &rows, (float *)tensor.data + c * n, err);
    }
    finish_table(&columns);
    finish_table(&rows);
    if (status != MD_OK) {
        md_tensor_finish(&tensor);
        return status;
    }
    describe(raster, &crop, options, steps);
    *ret_tensor = tensor;
    *ret_placement = placement;
    return MD_OK;
}

/* n_channels 0: as many as there are. */
static md_status make_tensor(const md_raster *raster, const md_preprocess_options *options,
                             uint32_t n_channels, uint32_t *ret_n_planes, md_tensor *ret_tensor,
                             md_placement *ret_placement, md_steps *steps, md_error *err)
{
    MD_TRY(check_options(raster, options, err));
    md_raster grey = {0};
    if (options->greyscale && raster->n_channels == 3) {
        MD_TRY(make_grey(raster, &grey, err));
        if (steps != NULL) {
            md_steps_add(steps, "colour to grey");
        }
        raster = &grey;
    }
    *ret_n_planes = raster->n_channels;
    md_status status =
        make_planes(raster, options, n_channels > 0 ? n_channels : raster->n_channels,
                    ret_tensor, ret_placement, steps, err);
    md_raster_finish(&grey);
    return status;
}

md_status md_preprocess_resize(const md_raster *raster, const md_preprocess_options *options,
                               md_tensor *ret_tensor, md_placement *ret_placement,
                               md_steps *steps, md_error *err)
{
    uint32_t n_planes = 0;
    return make_tensor(raster, options, 0, &n_planes, ret_tensor, ret_placement, steps, err);
}

md_status md_preprocess(const md_raster *raster, const md_preprocess_options *options,
                        md_tensor *ret_tensor, md_placement *ret_placement, md_steps *steps,
                        md_error *err)
{
    uint32_t n_planes = 0;
    MD_TRY(make_tensor(raster, options, options->n_channels, &n_planes, ret_tensor,
                       ret_placement, steps, err));
    const size_t n = (size_t)options->width * options->height;
    md_preprocess_finish(ret_tensor->data, n_planes, n, options, ret_tensor->data);
    if (steps != NULL && options->binarise != MD_BINARISE_NONE) {
        md_steps_add(steps, "binarised, %s",
                     options->binarise == MD_BINARISE_FIXED ? "fixed threshold" : "Otsu");
    }
    if (steps != NULL && n_planes == 1 && options->n_channels == 3) {
        md_steps_add(steps, "repeated grey to 3 channels");
    }
    return MD_OK;
}
