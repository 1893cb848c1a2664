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

/* Weights of one axis around `at` (from the centre of pixel 0), normalised; the first pixel and
 * how many. */
static uint32_t axis(double at, double radius, uint32_t length, uint32_t *ret_first,
                     float weights[MAX_TAPS])
{
    const double low = ceil(at - radius), high = floor(at + radius);
    const double first = low > 0.0 ? low : 0.0;
    const double last = high < (double)length - 1.0 ? high : (double)length - 1.0;
    uint32_t n = 0;
    double sum = 0.0, exact[MAX_TAPS];
    for (double p = first; p <= last && n < MAX_TAPS; p += 1.0) {
        exact[n] = fmax(0.0, 1.0 - fabs(p - at) / radius);
        sum += exact[n++];
    }
    for (uint32_t i = 0; i < n; i++) {
        weights[i] = (float)(exact[i] / sum);
    }
    *ret_first = (uint32_t)first;
    return n;
}

static float general(const float *plane, uint32_t width, uint32_t height, double x, double y,
                     double radius_x, double radius_y)
{
    float wx[MAX_TAPS], wy[MAX_TAPS];
    uint32_t first_x = 0, first_y = 0;
    const uint32_t n_x = axis(x, radius_x, width, &first_x, wx);
    const uint32_t n_y = axis(y, radius_y, height, &first_y, wy);
    float sum = 0.0F;
    for (uint32_t j = 0; j < n_y; j++) {
        const float *row = plane + (size_t)(first_y + j) * width + first_x;
        float part = 0.0F;
        for (uint32_t i = 0; i < n_x; i++) {
            part += wx[i] * row[i];
        }
        sum += wy[j] * part;
    }
    return sum;
}

void md_resample(const float *plane, uint32_t width, uint32_t height, const md_affine *a,
                 uint32_t out_width, uint32_t out_height, float *to)
{
    const double most = (MAX_TAPS - 2) / 2.0;
    const double radius_x = fmin(fmax(1.0, hypot(a->xx, a->xy)), most);
    const double radius_y = fmin(fmax(1.0, hypot(a->yx, a->yy)), most);
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
                value = general(plane, width, height, x, y, radius_x, radius_y);
            }
            to[(size_t)j * out_width + i] = value;
        }
    }
}
