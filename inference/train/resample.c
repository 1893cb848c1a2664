#include "inference/train/augment_internal.h"

#include <math.h>

/* Bilinear, away from the edges of the film and with both radii 1, see md_resample. */
static inline float bilinear(const float *plane, uint32_t width, float x, float y)
{
    /* x and y count from the centre of pixel 0 and are at least 0 here */
    const int32_t left = (int32_t)x, top = (int32_t)y;
    const float fx = x - (float)left, fy = y - (float)top;
    const float *a = plane + (size_t)top * width + (size_t)left, *b = a + width;
    const float upper = a[0] + (a[1] - a[0]) * fx;
    const float lower = b[0] + (b[1] - b[0]) * fx;
    return upper + (lower - upper) * fy;
}

enum {
    MAX_TAPS = 64 /* of one axis: a film shrunk 31 times */
};

/* One axis of a triangle: its half width, one over it, and the last pixel. */
typedef struct triangle {
    double radius;
    float inverse;
    int32_t last;
} triangle;

/* Weights around `at` (from the centre of pixel 0, which lies at most half a pixel outside),
 * not normalised; the first pixel, how many, and their sum. */
static inline int32_t axis(const triangle *t, double at, int32_t *ret_first,
                           float weights[MAX_TAPS], float *ret_sum)
{
    const double low = at - t->radius;
    int32_t first = (int32_t)low; /* towards 0: of what is negative already the next above */
    int32_t last = (int32_t)(at + t->radius);
    first += (double)first < low ? 1 : 0;
    first = first > 0 ? first : 0;
    last = last < t->last ? last : t->last;
    const float offset = (float)((double)first - at);
    const int32_t n = last - first + 1;
    float sum = 0.0F;
    for (int32_t i = 0; i < n; i++) {
        const float w = 1.0F - fabsf(offset + (float)i) * t->inverse;
        weights[i] = w > 0.0F ? w : 0.0F;
        sum += weights[i];
    }
    *ret_first = first;
    *ret_sum = sum;
    return n;
}

static float general(const float *plane, uint32_t width, double x, double y, const triangle *tx,
                     const triangle *ty)
{
    float wx[MAX_TAPS], wy[MAX_TAPS], sum_x = 0.0F, sum_y = 0.0F;
    int32_t first_x = 0, first_y = 0;
    const int32_t n_x = axis(tx, x, &first_x, wx, &sum_x);
    const int32_t n_y = axis(ty, y, &first_y, wy, &sum_y);
    float sum = 0.0F;
    for (int32_t j = 0; j < n_y; j++) {
        const float *row = plane + (size_t)(first_y + j) * width + first_x;
        float part = 0.0F;
        for (int32_t i = 0; i < n_x; i++) {
            part += wx[i] * row[i];
        }
        sum += wy[j] * part;
    }
    return sum / (sum_x * sum_y);
}

void md_resample(const float *plane, uint32_t width, uint32_t height, const md_affine *a,
                 uint32_t out_width, uint32_t out_height, float *to)
{
    const double most = (MAX_TAPS - 2) / 2.0;
    const double radius_x = fmin(fmax(1.0, hypot(a->xx, a->xy)), most);
    const double radius_y = fmin(fmax(1.0, hypot(a->yx, a->yy)), most);
    const triangle tx = {radius_x, (float)(1.0 / radius_x), (int32_t)width - 1};
    const triangle ty = {radius_y, (float)(1.0 / radius_y), (int32_t)height - 1};
    const bool is_bilinear = radius_x < 1.0 + 1e-9 && radius_y < 1.0 + 1e-9;
    const float right = (float)width - 1.0F, bottom = (float)height - 1.0F;
    for (uint32_t j = 0; j < out_height; j++) {
        const double row_x = a->xy * (j + 0.5) + a->x0 - 0.5;
        const double row_y = a->yy * (j + 0.5) + a->y0 - 0.5;
        for (uint32_t i = 0; i < out_width; i++) {
            const double x = a->xx * (i + 0.5) + row_x, y = a->yx * (i + 0.5) + row_y;
            float value = 0.0F;
            if (is_bilinear && (float)x >= 0.0F && (float)y >= 0.0F && (float)x < right &&
                (float)y < bottom) {
                value = bilinear(plane, width, (float)x, (float)y);
            } else if (x >= -0.5 && y >= -0.5 && x < width - 0.5 && y < height - 0.5) {
                value = general(plane, width, x, y, &tx, &ty);
            }
            to[(size_t)j * out_width + i] = value;
        }
    }
}
