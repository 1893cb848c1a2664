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

enum {
    LANES = 8
};

/* The weights of one axis: target i is the sum of weights[i * stride + k] times source
 * first[i] + k over k < n[i]; further ones are 0. */
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
    if (raster->width < 1 || raster->height < 1 || !md_raster_is_filled(raster) ||
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

/* The threshold below which a pixel is black, see the header. */
static float black_threshold(const md_raster *raster, float *scratch)
{
    float low = INFINITY, high = -INFINITY;
    for (uint32_t c = 0; c < raster->n_channels; c++) {
        for (uint32_t y = 0; y < raster->height; y++) {
            const float *row = md_raster_row(raster, c, y, 0, raster->width, scratch);
            for (uint32_t x = 0; x < raster->width; x++) {
                low = row[x] < low ? row[x] : low;
                high = row[x] > high ? row[x] : high;
            }
        }
    }
    return low + 0.04F * (high - low);
}

static bool is_dark(const md_raster *raster, float threshold, uint32_t x, uint32_t y)
{
    for (uint32_t c = 0; c < raster->n_channels; c++) {
        if (!(md_raster_at(raster, c, x, y) <= threshold)) {
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

static rectangle crop_of(const md_raster *raster, float *scratch)
{
    const rectangle whole = {0, 0, raster->width, raster->height};
    const float threshold = black_threshold(raster, scratch);
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
 * Samples that a decoder has smoothed by `spread` get so much less of it by the triangle, whose
 * second moment is support^2 / 6: the whole picture would get the same from both. */
static md_status make_table(filter_table *table, md_filter filter, uint32_t n_targets,
                            double origin, double extent, double spread, uint32_t start,
                            uint32_t length, md_error *err)
{
    const double scale = extent / n_targets;
    const double support = sqrt(fmax(fmax(scale, 1.0) * fmax(scale, 1.0) - 6.0 * spread, 1.0));
    const double reach = filter == MD_FILTER_TRIANGLE ? support : scale / 2.0;
    const double last = (double)start + (double)length - 1.0;
    table->n_targets = n_targets;
    table->stride = 2.0 * reach + 3.0 < length ? (uint32_t)(2.0 * reach) + 3 : length;
    table->stride += (LANES - table->stride % LANES) % LANES; /* whole groups, see filter_row */
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

/* Rows of floats, one at a time: of a raster's channel from column `x` on, or of a plain matrix
 * of which `plain` is row `first`. */
typedef struct row_source {
    const md_raster *raster; /* NULL: plain */
    const float *plain;
    float *scratch; /* width values, for a raster */
    uint32_t channel, x, first, width;
} row_source;

static const float *row_of(const row_source *s, uint32_t y)
{
    return s->raster != NULL
               ? md_raster_row(s->raster, s->channel, y, s->x, s->width, s->scratch)
               : s->plain + (size_t)(y - s->first) * s->width;
}

#define INLINE static inline __attribute__((always_inline))

INLINE void add_row(float weight, const float *restrict row, size_t n, float *restrict to)
{
    for (size_t j = 0; j < n; j++) {
        to[j] += weight * row[j];
    }
}

/* target [n_targets, width] from n_rows rows of the source, each of which is looked at once,
 * and only when a target needs it. The sums of a target grow in the order of the rows. */
INLINE void filter_rows_as(const filter_table *table, const row_source *source,
                           uint32_t first_row, uint32_t n_rows, float *target)
{
    const size_t width = source->width;
    uint32_t low = 0; /* the targets before it are done */
    memset(target, 0, table->n_targets * width * sizeof *target);
    for (uint32_t y = first_row; y - first_row < n_rows; y++) {
        const float *row = NULL;
        while (low < table->n_targets && table->first[low] + table->n[low] <= y) {
            low++;
        }
        for (uint32_t i = low; i < table->n_targets && table->first[i] <= y; i++) {
            const uint32_t k = y - table->first[i];
            if (k < table->n[i]) {
                row = row == NULL ? row_of(source, y) : row;
                add_row(table->weights[(size_t)i * table->stride + k], row, width,
                        target + i * width);
            }
        }
    }
}

/* Eight floats at any address. */
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));

/* to [n_targets] of one row of `width` values, which begins at source pixel `origin`. Eight
 * sums at once, because the order of additions is fixed in C and one sum alone would not use
 * the vector unit. Weights are zero behind the last, so a group of eight may go beyond it, but
 * not beyond the row. */
INLINE void filter_row_as(const filter_table *table, const float *row, uint32_t width,
                          uint32_t origin, float *to)
{
    for (uint32_t i = 0; i < table->n_targets; i++) {
        const float *weights = table->weights + (size_t)i * table->stride;
        const uint32_t first = table->first[i] - origin, n = table->n[i];
        const float *from = row + first;
        lanes sums = {0};
        uint32_t k = 0;
        for (; k < n && first + k + LANES <= width; k += LANES) {
            sums += *(const lanes *)(weights + k) * *(const lanes *)(from + k);
        }
        for (; k < n; k++) {
            sums[k % LANES] += weights[k] * from[k];
        }
        to[i] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
}

/* The same products and sums in the same order on every processor, so the same results. */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static void filter_rows_avx2(const filter_table *table, const row_source *source,
                                  uint32_t first_row, uint32_t n_rows, float *target)
{
    filter_rows_as(table, source, first_row, n_rows, target);
}

AVX2 static void filter_row_avx2(const filter_table *table, const float *row, uint32_t width,
                                 uint32_t origin, float *to)
{
    filter_row_as(table, row, width, origin, to);
}
#endif

static void filter_rows(const filter_table *table, const row_source *source, uint32_t first_row,
                        uint32_t n_rows, float *target)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        filter_rows_avx2(table, source, first_row, n_rows, target);
        return;
    }
#endif
    filter_rows_as(table, source, first_row, n_rows, target);
}

static void filter_row(const filter_table *table, const float *row, uint32_t width,
                       uint32_t origin, float *to)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        filter_row_avx2(table, row, width, origin, to);
        return;
    }
#endif
    filter_row_as(table, row, width, origin, to);
}

/* target [n_rows, n_targets]; the source's rows begin at source pixel `origin`. */
static void filter_columns(const filter_table *table, const row_source *source,
                           uint32_t first_row, uint32_t n_rows, uint32_t origin, float *target)
{
    for (uint32_t y = 0; y < n_rows; y++) {
        filter_row(table, row_of(source, first_row + y), source->width, origin,
                   target + (size_t)y * table->n_targets);
    }
}

/* One channel to [height, width] of the tensor. Of the two orders, the one with fewer products;
 * rows first when they are equal, because that pass streams. */
static md_status resize(const md_raster *raster, uint32_t channel, const rectangle *crop,
                        float *scratch, const filter_table *columns, const filter_table *rows,
                        float *target, md_error *err)
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
    const row_source whole = {.raster = raster,
                              .scratch = scratch,
                              .channel = channel,
                              .x = crop->x,
                              .width = crop->width};
    if (vertical) {
        const row_source half = {.plain = between, .width = crop->width};
        filter_rows(rows, &whole, crop->y, crop->height, between);
        filter_columns(columns, &half, 0, rows->n_targets, crop->x, target);
    } else {
        const row_source half = {
            .plain = between, .first = crop->y, .width = columns->n_targets};
        filter_columns(columns, &whole, crop->y, crop->height, crop->x, between);
        filter_rows(rows, &half, crop->y, crop->height, target);
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
    const size_t n = (size_t)raster->width * raster->height;
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
    MD_AUTO(md_freep) float *scratch = md_malloc_aligned(raster->width * sizeof *scratch);
    if (scratch == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to resize");
    }
    const rectangle crop = options->crop_borders ? crop_of(raster, scratch) : whole;
    const md_placement placement = place(raster, &crop, options);
    const int64_t dims[4] = {1, n_channels, options->height, options->width};
    const size_t n = (size_t)options->width * options->height;
    filter_table columns = {0}, rows = {0};
    md_tensor tensor = {0};
    md_status status =
        make_table(&columns, options->filter, options->width, placement.x + raster->shift,
                   placement.width, raster->spread, crop.x, crop.width, err);
    if (status == MD_OK) {
        status =
            make_table(&rows, options->filter, options->height, placement.y + raster->shift,
                       placement.height, raster->spread, crop.y, crop.height, err);
    }
    if (status == MD_OK) {
        status = md_tensor_init(&tensor, MD_F32, 4, dims, err);
    }
    for (uint32_t c = 0; c < raster->n_channels && status == MD_OK; c++) {
        status = resize(raster, c, &crop, scratch, &columns, &rows,
                        (float *)tensor.data + c * n, err);
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
