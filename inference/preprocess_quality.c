/* The quality gate's measurements.
 *
 * Percentiles and medians are read from histograms of BINS equal bins between the least and the
 * largest value, over a grid of at most about 2^19 pixels (every k-th row and column), so they
 * are exact to 1/4096 of the range; the gate asks for no more.
 *
 * looks_inverted. On a frontal chest film the air outside the body and in the lungs is dark,
 * the mediastinum and spine between the lungs are bright, whatever the patient has. Two facts
 * are compared, each relative to the contrast, so that the window does not matter: a = mean of
 * the mediastinum (rows 30..65%, columns 42..58%) minus the mean of the lung fields (same rows,
 * columns 18..36% and 64..82%); b = median of the inner half minus the median of the left and
 * right margins (5% each). A film is called inverted only when both are wrong at once: a <
 * -0.03 contrast and b < -0.05 contrast. One alone is wrong on real films (a white lung, a
 * bright margin); a wrong alarm refuses a patient's film, so the rule is deliberately slow to
 * speak.
 *
 * Measured on the data set of the first shipped model (Kermany et al., paediatric AP films; its
 * 5,216 training images at 224x224 and 100 of them at their original resolution), each as it is
 * and inverted (1 - x):
 *                               called inverted
 *                               as it is         inverted
 *   5,216 images, 224 x 224     0                 5,200 (99.7%)
 *     100 images, original      0                100 (100%)
 * tests/unit/inference/check_preprocess.py repeats the second line. */

#include "inference/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BINS = 4096,
    GRID_PIXELS = 1 << 19
};

typedef struct histogram {
    uint32_t counts[BINS];
    size_t n;
} histogram;

typedef struct survey {
    float low, high;
    histogram all, frame, sides, centre;
    double sum_middle, sum_lungs;
    size_t n_middle, n_lungs;
} survey;

/* The value below which the share q lies: the middle of the bin of that rank. */
static double quantile(const survey *s, const histogram *h, double q)
{
    size_t rank = (size_t)(q * (double)(h->n - 1)), seen = 0;
    unsigned bin = 0;
    for (; bin < BINS - 1; bin++) {
        seen += h->counts[bin];
        if (seen > rank) {
            break;
        }
    }
    if (s->high <= s->low) {
        return (double)s->low;
    }
    return (double)s->low + ((double)bin + 0.5) / BINS * ((double)s->high - (double)s->low);
}

static void count(histogram *h, unsigned bin)
{
    h->counts[bin]++;
    h->n++;
}

/* Whether position i of n lies in [from, to) hundredths. */
static bool within(uint32_t i, uint32_t n, unsigned from, unsigned to)
{
    const uint64_t at = (uint64_t)i * 100;
    return at >= (uint64_t)n * from && at < (uint64_t)n * to;
}

/* Where a column or row lies; the same for all pixels of it. */
enum {
    EDGE = 1,   /* the outer 5% */
    INNER = 2,  /* the inner half */
    MIDDLE = 4, /* of a column: mediastinum */
    LUNG = 8,   /* of a column: lung fields; of a row: the height of both */
};

static unsigned column_zone(uint32_t x, uint32_t n)
{
    return (within(x, n, 0, 5) || within(x, n, 95, 100) ? EDGE : 0u) |
           (within(x, n, 25, 75) ? INNER : 0u) | (within(x, n, 42, 58) ? MIDDLE : 0u) |
           (within(x, n, 18, 36) || within(x, n, 64, 82) ? LUNG : 0u);
}

static unsigned row_zone(uint32_t y, uint32_t n)
{
    return (within(y, n, 0, 5) || within(y, n, 95, 100) ? EDGE : 0u) |
           (within(y, n, 25, 75) ? INNER : 0u) | (within(y, n, 30, 65) ? LUNG : 0u);
}

static void count_pixel(survey *s, float value, unsigned column, unsigned row, float scale)
{
    const unsigned bin = (unsigned)((value - s->low) * scale);
    const unsigned kept = bin < BINS ? bin : BINS - 1;
    count(&s->all, kept);
    if ((column & EDGE) != 0) {
        count(&s->sides, kept);
    }
    if (((column | row) & EDGE) != 0) {
        count(&s->frame, kept);
    }
    if ((column & row & INNER) != 0) {
        count(&s->centre, kept);
    }
    if ((row & LUNG) != 0) {
        if ((column & MIDDLE) != 0) {
            s->sum_middle += (double)value;
            s->n_middle++;
        } else if ((column & LUNG) != 0) {
            s->sum_lungs += (double)value;
            s->n_lungs++;
        }
    }
}

static md_status find_range(survey *s, const md_raster *raster, uint32_t step, md_error *err)
{
    s->low = INFINITY;
    s->high = -INFINITY;
    for (uint32_t y = 0; y < raster->height; y += step) {
        for (uint32_t x = 0; x < raster->width; x += step) {
            const float value = md_raster_at(raster, 0, x, y);
            if (!isfinite(value)) {
                return md_fail(err, MD_FORMAT, "the picture holds NaN or infinity");
            }
            s->low = value < s->low ? value : s->low;
            s->high = value > s->high ? value : s->high;
        }
    }
    return MD_OK;
}

static bool looks_inverted(const survey *s, double contrast)
{
    if (s->n_middle == 0 || s->n_lungs == 0 || s->sides.n == 0 || s->centre.n == 0) {
        return false; /* too small to tell */
    }
    const double a = s->sum_middle / (double)s->n_middle - s->sum_lungs / (double)s->n_lungs;
    const double b = quantile(s, &s->centre, 0.5) - quantile(s, &s->sides, 0.5);
    return contrast > 0.0 && a < -0.03 * contrast && b < -0.05 * contrast;
}

md_status md_quality_measure(const md_raster *raster, md_quality *ret_quality, md_error *err)
{
    if (raster->width < 1 || raster->height < 1 || !md_raster_is_filled(raster) ||
        raster->n_channels != 1) {
        return md_fail(err, MD_INVALID_ARG, "raster of %u x %u with %u channels, 1 is needed",
                       raster->width, raster->height, raster->n_channels);
    }
    MD_AUTO(md_freep) survey *s = md_calloc(1, sizeof *s);
    MD_AUTO(md_freep) uint8_t *zones = md_malloc(raster->width);
    if (s == NULL || zones == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to measure the picture");
    }
    const double n = (double)raster->width * raster->height;
    const uint32_t step = n <= GRID_PIXELS ? 1 : (uint32_t)ceil(sqrt(n / GRID_PIXELS));
    MD_TRY(find_range(s, raster, step, err));
    const float scale = s->high > s->low ? (float)BINS / (s->high - s->low) : 0.0F;
    for (uint32_t x = 0; x < raster->width; x++) {
        zones[x] = (uint8_t)column_zone(x, raster->width);
    }
    for (uint32_t y = 0; y < raster->height; y += step) {
        const unsigned row = row_zone(y, raster->height);
        for (uint32_t x = 0; x < raster->width; x += step) {
            count_pixel(s, md_raster_at(raster, 0, x, y), zones[x], row, scale);
        }
    }
    const double width_mm = raster->width * raster->pixel_width_mm;
    const double height_mm = raster->height * raster->pixel_height_mm;
    md_quality q = {.low = quantile(s, &s->all, 0.05), .high = quantile(s, &s->all, 0.95)};
    q.contrast = q.high - q.low;
    q.aspect = fmax(width_mm, height_mm) / fmin(width_mm, height_mm);
    q.border_brightness = s->frame.n > 0 ? quantile(s, &s->frame, 0.5) : 0.0;
    q.centre_brightness = s->centre.n > 0 ? quantile(s, &s->centre, 0.5) : 0.0;
    q.looks_inverted = looks_inverted(s, q.contrast);
    *ret_quality = q;
    return MD_OK;
}
