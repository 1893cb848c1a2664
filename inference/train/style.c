#include "inference/train/augment_internal.h"

#include <math.h>
#include <string.h>

#include <kiss_fftr.h>

enum {
    SHADING_CYCLES = 4, /* along the shorter side: what is slower is anatomy, not sharpness */
    SMOOTH = 2,         /* bins on each side of the running mean */
};
#define BINS_PER_CYCLE 224.0F /* bin = frequency in cycles per pixel times this */
#define MOST_GAIN 1.5F

void md_tone_apply(const float curve[MD_STYLE_LEVELS], const float *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        float at = from[i] * (float)(MD_STYLE_LEVELS - 1);
        at = at > 0.0F ? at : 0.0F;
        at = at < (float)(MD_STYLE_LEVELS - 1) ? at : (float)(MD_STYLE_LEVELS - 1);
        int32_t level = (int32_t)at;
        level = level < MD_STYLE_LEVELS - 2 ? level : MD_STYLE_LEVELS - 2;
        const float low = curve[level], high = curve[level + 1];
        to[i] = low + (high - low) * (at - (float)level);
    }
}

void md_tone_of_styles(const md_style *own, const md_style *other,
                       float ret_curve[MD_STYLE_LEVELS])
{
    size_t above = 1; /* the first level of `other` that has no less below it */
    for (size_t i = 0; i < MD_STYLE_LEVELS; i++) {
        const float share = own->cumulative[i];
        while (above < MD_STYLE_LEVELS - 1 && other->cumulative[above] < share) {
            above++;
        }
        const float low = other->cumulative[above - 1], high = other->cumulative[above];
        const float part = high - low > 1e-6F ? (share - low) / (high - low) : 0.0F;
        const float inside = part < 0.0F ? 0.0F : part > 1.0F ? 1.0F : part;
        ret_curve[i] = ((float)(above - 1) + inside) / (float)(MD_STYLE_LEVELS - 1);
    }
}

struct md_spectrum {
    uint32_t width, height, n_columns; /* width / 2 + 1 frequencies a row */
    kiss_fftr_cfg row_to, row_from;
    kiss_fft_cfg column_to, column_from;
    kiss_fft_cpx *by_row;    /* [height, n_columns] */
    kiss_fft_cpx *by_column; /* [n_columns, height] */
    kiss_fft_cpx *column;    /* [height] */
    uint8_t *bin;            /* [n_columns, height] */
    bool *is_slow;           /* [n_columns, height] */
};

void md_spectrum_destroy(md_spectrum *s)
{
    if (s == NULL) {
        return;
    }
    kiss_fft_free(s->row_to);
    kiss_fft_free(s->row_from);
    kiss_fft_free(s->column_to);
    kiss_fft_free(s->column_from);
    md_free(s->by_row);
    md_free(s->by_column);
    md_free(s->column);
    md_free(s->bin);
    md_free(s->is_slow);
    md_free(s);
}

md_status md_spectrum_create(uint32_t width, uint32_t height, md_spectrum **ret_spectrum,
                             md_error *err)
{
    md_spectrum *s = md_calloc(1, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a spectrum");
    }
    const size_t n_columns = width / 2 + 1, n = n_columns * height;
    s->width = width;
    s->height = height;
    s->n_columns = (uint32_t)n_columns;
    s->row_to = kiss_fftr_alloc((int)width, 0, NULL, NULL);
    s->row_from = kiss_fftr_alloc((int)width, 1, NULL, NULL);
    s->column_to = kiss_fft_alloc((int)height, 0, NULL, NULL);
    s->column_from = kiss_fft_alloc((int)height, 1, NULL, NULL);
    s->by_row = md_malloc_aligned(n * sizeof *s->by_row);
    s->by_column = md_malloc_aligned(n * sizeof *s->by_column);
    s->column = md_malloc_aligned(height * sizeof *s->column);
    s->bin = md_malloc(n);
    s->is_slow = md_malloc(n * sizeof *s->is_slow);
    if (s->row_to == NULL || s->row_from == NULL || s->column_to == NULL ||
        s->column_from == NULL || s->by_row == NULL || s->by_column == NULL ||
        s->column == NULL || s->bin == NULL || s->is_slow == NULL) {
        md_spectrum_destroy(s);
        return md_fail(err, MD_NOMEM, "no memory for a spectrum");
    }
    const uint32_t shorter = width < height ? width : height;
    for (uint32_t x = 0; x < s->n_columns; x++) {
        for (uint32_t y = 0; y < height; y++) {
            const double fx = (double)x / width;
            const double fy = (double)(y <= height / 2 ? y : height - y) / height;
            const double f = hypot(fx, fy); /* cycles per pixel */
            const long bin = lround(f * (double)BINS_PER_CYCLE);
            const size_t at = (size_t)x * height + y;
            s->bin[at] = (uint8_t)(bin < MD_STYLE_BINS - 1 ? bin : MD_STYLE_BINS - 1);
            s->is_slow[at] = lround(f * shorter) < SHADING_CYCLES;
        }
    }
    *ret_spectrum = s;
    return MD_OK;
}

enum {
    TILE = 16 /* a cache line of complex numbers a row, twice */
};

static void transpose(const kiss_fft_cpx *from, size_t rows, size_t columns, kiss_fft_cpx *to)
{
    for (size_t y = 0; y < rows; y += TILE) {
        for (size_t x = 0; x < columns; x += TILE) {
            const size_t y_end = y + TILE < rows ? y + TILE : rows;
            const size_t x_end = x + TILE < columns ? x + TILE : columns;
            for (size_t j = x; j < x_end; j++) {
                for (size_t i = y; i < y_end; i++) {
                    to[j * rows + i] = from[i * columns + j];
                }
            }
        }
    }
}

/* The plane's frequencies, by column. */
static void forward(md_spectrum *s, const float *plane)
{
    for (uint32_t y = 0; y < s->height; y++) {
        kiss_fftr(s->row_to, plane + (size_t)y * s->width,
                  s->by_row + (size_t)y * s->n_columns);
    }
    transpose(s->by_row, s->height, s->n_columns, s->by_column);
    for (uint32_t x = 0; x < s->n_columns; x++) {
        kiss_fft_cpx *column = s->by_column + (size_t)x * s->height;
        kiss_fft(s->column_to, column, s->column);
        memcpy(column, s->column, s->height * sizeof *column);
    }
}

/* Back, without the factor 1 / (width height). */
static void backward(md_spectrum *s, float *plane)
{
    for (uint32_t x = 0; x < s->n_columns; x++) {
        kiss_fft_cpx *column = s->by_column + (size_t)x * s->height;
        kiss_fft(s->column_from, column, s->column);
        memcpy(column, s->column, s->height * sizeof *column);
    }
    transpose(s->by_column, s->n_columns, s->height, s->by_row);
    for (uint32_t y = 0; y < s->height; y++) {
        kiss_fftri(s->row_from, s->by_row + (size_t)y * s->n_columns,
                   plane + (size_t)y * s->width);
    }
}

/* Radii that a small film does not have take the value of the nearest below. */
static void fill_gaps(float logs[MD_STYLE_BINS], const double counts[MD_STYLE_BINS])
{
    for (size_t i = 1; i < MD_STYLE_BINS; i++) {
        if (counts[i] <= 0.0) {
            logs[i] = logs[i - 1];
        }
    }
}

void md_spectrum_measure(md_spectrum *s, const float *plane, float ret[MD_STYLE_BINS])
{
    double sums[MD_STYLE_BINS] = {0}, counts[MD_STYLE_BINS] = {0};
    float logs[MD_STYLE_BINS];
    forward(s, plane);
    const size_t n = (size_t)s->n_columns * s->height;
    /* amplitudes as of a film of 224 x 224, so that the floor below means the same */
    const double scale = 224.0 * 224.0 / ((double)s->width * s->height);
    for (size_t i = 0; i < n; i++) {
        const double re = (double)s->by_column[i].r, im = (double)s->by_column[i].i;
        sums[s->bin[i]] += re * re + im * im;
        counts[s->bin[i]] += 1.0;
    }
    for (size_t i = 0; i < MD_STYLE_BINS; i++) {
        const double mean = counts[i] > 0.0 ? sums[i] / counts[i] * scale : 0.0;
        logs[i] = (float)(0.5 * log(mean + 1e-6));
    }
    fill_gaps(logs, counts);
    for (int i = 0; i < MD_STYLE_BINS; i++) {
        const int first = i > SMOOTH ? i - SMOOTH : 0;
        const int last = i + SMOOTH < MD_STYLE_BINS ? i + SMOOTH : MD_STYLE_BINS - 1;
        float sum = 0.0F;
        for (int k = first; k <= last; k++) {
            sum += logs[k];
        }
        ret[i] = sum / (float)(last - first + 1);
    }
}

void md_spectrum_swap(md_spectrum *s, const float own[MD_STYLE_BINS],
                      const float other[MD_STYLE_BINS], float strength, float *plane)
{
    float gains[MD_STYLE_BINS];
    const float unit = 1.0F / ((float)s->width * (float)s->height);
    for (size_t i = 0; i < MD_STYLE_BINS; i++) {
        const float g = strength * (other[i] - own[i]);
        gains[i] = unit * expf(g < -MOST_GAIN ? -MOST_GAIN : g > MOST_GAIN ? MOST_GAIN : g);
    }
    forward(s, plane);
    const size_t n = (size_t)s->n_columns * s->height;
    for (size_t i = 0; i < n; i++) {
        const float gain = s->is_slow[i] ? unit : gains[s->bin[i]];
        s->by_column[i].r *= gain;
        s->by_column[i].i *= gain;
    }
    backward(s, plane);
    for (size_t i = 0; i < (size_t)s->width * s->height; i++) {
        const float v = plane[i] > 0.0F ? plane[i] : 0.0F;
        plane[i] = v < 1.0F ? v : 1.0F;
    }
}
