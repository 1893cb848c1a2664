#include "inference/saliency_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 11
};

static md_status check_finite(const float *values, size_t n, md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return md_fail(err, MD_FORMAT, "value %zu of the map is not a number", i);
        }
    }
    return MD_OK;
}

typedef struct place {
    float value;
    size_t index;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

/* Ranks 1..n, those of equal values their mean. */
static void rank(const float *values, size_t n, place *places, double *ret_ranks)
{
    for (size_t i = 0; i < n; i++) {
        places[i] = (place){values[i], i};
    }
    qsort(places, n, sizeof *places, compare_places);
    for (size_t first = 0; first < n;) {
        size_t end = first;
        while (end < n && places[end].value == places[first].value) {
            end++;
        }
        for (size_t i = first; i < end; i++) {
            ret_ranks[places[i].index] = (double)(first + end + 1) / 2.0;
        }
        first = end;
    }
}

md_status md_map_rank_correlation(const float *a, const float *b, size_t n,
                                  double *ret_correlation, md_error *err)
{
    MD_TRY(check_finite(a, n, err));
    MD_TRY(check_finite(b, n, err));
    MD_AUTO(md_freep) place *places = md_calloc(n, sizeof *places);
    MD_AUTO(md_freep) double *x = md_calloc(n, sizeof *x);
    MD_AUTO(md_freep) double *y = md_calloc(n, sizeof *y);
    if (places == NULL || x == NULL || y == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to compare %zu values", n);
    }
    rank(a, n, places, x);
    rank(b, n, places, y);
    const double mean = (double)(n + 1) / 2.0;
    double xx = 0.0, yy = 0.0, xy = 0.0;
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
        xy += (x[i] - mean) * (y[i] - mean);
    }
    *ret_correlation = xx > 0.0 && yy > 0.0 ? xy / sqrt(xx * yy) : (double)NAN;
    return MD_OK;
}

static double similarity_at(const float *a, const float *b, uint32_t columns,
                            const double *window)
{
    double ma = 0.0, mb = 0.0, aa = 0.0, bb = 0.0, ab = 0.0;
    for (int y = 0; y < WINDOW; y++) {
        for (int x = 0; x < WINDOW; x++) {
            const double w = window[y] * window[x];
            const double p = (double)a[(size_t)y * columns + (size_t)x];
            const double q = (double)b[(size_t)y * columns + (size_t)x];
            ma += w * p;
            mb += w * q;
            aa += w * p * p;
            bb += w * q * q;
            ab += w * p * q;
        }
    }
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    return (2.0 * ma * mb + c1) * (2.0 * (ab - ma * mb) + c2) /
           ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2));
}

md_status md_map_similarity(const float *a, const float *b, uint32_t rows, uint32_t columns,
                            double *ret_similarity, md_error *err)
{
    if (rows < WINDOW || columns < WINDOW || rows > MD_MAP_CHECK_MAX_SIDE ||
        columns > MD_MAP_CHECK_MAX_SIDE) {
        return md_fail(err, MD_INVALID_ARG, "maps of %u x %u, sides not in %d..%d", columns,
                       rows, WINDOW, MD_MAP_CHECK_MAX_SIDE);
    }
    MD_TRY(check_finite(a, (size_t)rows * columns, err));
    MD_TRY(check_finite(b, (size_t)rows * columns, err));
    double window[WINDOW], total = 0.0, sum = 0.0;
    for (int i = 0; i < WINDOW; i++) {
        const double d = i - WINDOW / 2;
        window[i] = exp(-d * d / (2.0 * 1.5 * 1.5));
        total += window[i];
    }
    for (int i = 0; i < WINDOW; i++) {
        window[i] /= total;
    }
    const size_t n_y = rows - WINDOW + 1, n_x = columns - WINDOW + 1;
    for (size_t y = 0; y < n_y; y++) {
        for (size_t x = 0; x < n_x; x++) {
            const size_t at = y * columns + x;
            sum += similarity_at(a + at, b + at, columns, window);
        }
    }
    *ret_similarity = sum / (double)(n_y * n_x);
    return MD_OK;
}

/* How far a point is outside of a rectangle; 0 inside. */
static double outside(const md_map_region *r, double x, double y)
{
    const double dx = fmax(0.0, fmax(r->x - x, x - (r->x + r->width)));
    const double dy = fmax(0.0, fmax(r->y - y, y - (r->y + r->height)));
    return hypot(dx, dy);
}

static double least_outside(const md_map_region *regions, size_t n, double x, double y)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        least = fmin(least, outside(&regions[i], x, y));
    }
    return least;
}

md_status md_map_pointing(const float *values, uint32_t rows, uint32_t columns,
                          double film_width, double film_height, const md_map_region *regions,
                          size_t n_regions, double tolerance, md_pointing *ret_pointing,
                          md_error *err)
{
    if (n_regions == 0 || rows == 0 || columns == 0 || !(film_width > 0.0) ||
        !(film_height > 0.0)) {
        return md_fail(err, MD_INVALID_ARG, "no region, or an empty map");
    }
    MD_TRY(check_finite(values, (size_t)rows * columns, err));
    double sum = 0.0, within = 0.0, largest = -1.0, distance = 0.0;
    size_t n_within = 0;
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t column = 0; column < columns; column++) {
            const double value = (double)values[(size_t)row * columns + column];
            const double x = (column + 0.5) * film_width / columns;
            const double y = (row + 0.5) * film_height / rows;
            const double d = least_outside(regions, n_regions, x, y);
            if (value < 0.0) {
                return md_fail(err, MD_FORMAT, "a value of the map is below 0");
            }
            sum += value;
            within += d == 0.0 ? value : 0.0;
            n_within += d == 0.0 ? 1 : 0;
            if (value > largest) {
                largest = value;
                distance = d;
            }
        }
    }
    *ret_pointing = (md_pointing){.hit = largest > 0.0 && distance <= tolerance,
                                  .energy = sum > 0.0 ? within / sum : (double)NAN,
                                  .area = (double)n_within / ((double)rows * (double)columns)};
    return MD_OK;
}
