#include "inference/train/augment_internal.h"

#include <math.h>
#include <string.h>

void md_blur(float *plane, uint32_t width, uint32_t height, float sigma, float *scratch)
{
    float weights[MD_BLUR_MAX_RADIUS + 1];
    const int radius =
        sigma * 3.0F < MD_BLUR_MAX_RADIUS ? (int)ceilf(sigma * 3.0F) : MD_BLUR_MAX_RADIUS;
    double sum = 0.0;
    if (!(sigma > 0.0F) || radius < 1) {
        return;
    }
    for (int i = 0; i <= radius; i++) {
        const double z = i / (double)sigma;
        weights[i] = (float)exp(-0.5 * z * z);
        sum += (i == 0 ? 1.0 : 2.0) * (double)weights[i];
    }
    for (int i = 0; i <= radius; i++) {
        weights[i] = (float)((double)weights[i] / sum);
    }
    /* down the columns, a row at a time */
    const int last = (int)height - 1;
    for (int y = 0; y <= last; y++) {
        float *restrict to = scratch + (size_t)y * width;
        const float *middle = plane + (size_t)y * width;
        for (uint32_t x = 0; x < width; x++) {
            to[x] = weights[0] * middle[x];
        }
        for (int i = 1; i <= radius; i++) {
            const float w = weights[i];
            const float *above = plane + (size_t)(y - i > 0 ? y - i : 0) * width;
            const float *below = plane + (size_t)(y + i < last ? y + i : last) * width;
            for (uint32_t x = 0; x < width; x++) {
                to[x] += w * (above[x] + below[x]);
            }
        }
    }
    /* along the rows, with the edges repeated on a strip of its own */
    float strip[MD_AUGMENT_MAX_SIDE + 2 * MD_BLUR_MAX_RADIUS];
    for (uint32_t y = 0; y < height; y++) {
        const float *row = scratch + (size_t)y * width;
        float *restrict to = plane + (size_t)y * width;
        memcpy(strip + radius, row, width * sizeof *strip);
        for (int i = 0; i < radius; i++) {
            strip[i] = row[0];
            strip[(size_t)radius + width + (size_t)i] = row[width - 1];
        }
        const float *middle = strip + radius;
        for (uint32_t x = 0; x < width; x++) {
            to[x] = weights[0] * middle[x];
        }
        for (int i = 1; i <= radius; i++) {
            const float w = weights[i];
            for (uint32_t x = 0; x < width; x++) {
                to[x] += w * (middle[(int)x - i] + middle[(int)x + i]);
            }
        }
    }
}

/* ITU-T T.81 table K.1, luminance. */
static const uint8_t luminance[64] = {
    16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
    14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
    18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};

/* to = left right, 8 x 8 */
static inline void product(const float left[64], const float right[64], float to[64])
{
    for (int i = 0; i < 8; i++) {
        float row[8] = {0};
        for (int k = 0; k < 8; k++) {
            for (int j = 0; j < 8; j++) {
                row[j] += left[8 * i + k] * right[8 * k + j];
            }
        }
        memcpy(to + 8 * i, row, sizeof row);
    }
}

/* The orthonormal DCT-II of 8 values as a matrix, and its transpose. */
static void make_dct(float forward[64], float backward[64])
{
    for (int k = 0; k < 8; k++) {
        for (int n = 0; n < 8; n++) {
            const double scale = k == 0 ? 0.35355339059327379 : 0.5;
            const double value = scale * cos((2 * n + 1) * k * 3.141592653589793 / 16.0);
            forward[8 * k + n] = (float)value;
            backward[8 * n + k] = (float)value;
        }
    }
}

static void quantise_block(float block[64], const float steps[64], const float shares[64],
                           const float forward[64], const float backward[64])
{
    float a[64], b[64];
    product(forward, block, a);
    product(a, backward, b);
    for (int i = 0; i < 64; i++) {
        /* to the nearest whole number: what is below half a unit in the last place is lost */
        const float big = 12582912.0F;
        b[i] = ((b[i] * shares[i] + big) - big) * steps[i];
    }
    product(backward, b, a);
    product(a, forward, block);
}

void md_quantise_dct(float *plane, uint32_t width, uint32_t height, float quality)
{
    float forward[64], backward[64], steps[64], shares[64], block[64];
    const float scale = quality < 50.0F ? 5000.0F / quality : 200.0F - 2.0F * quality;
    make_dct(forward, backward);
    for (int i = 0; i < 64; i++) {
        const float step = floorf(((float)luminance[i] * scale + 50.0F) / 100.0F);
        steps[i] = step < 1.0F ? 1.0F : step > 255.0F ? 255.0F : step;
        shares[i] = 1.0F / steps[i];
    }
    for (uint32_t y = 0; y < height; y += 8) {
        for (uint32_t x = 0; x < width; x += 8) {
            for (uint32_t i = 0; i < 8; i++) {
                const float *row =
                    plane + (size_t)(y + i < height ? y + i : height - 1) * width;
                for (uint32_t j = 0; j < 8; j++) {
                    block[8 * i + j] = row[x + j < width ? x + j : width - 1] * 255.0F - 128.0F;
                }
            }
            quantise_block(block, steps, shares, forward, backward);
            for (uint32_t i = 0; i < 8 && y + i < height; i++) {
                float *row = plane + (size_t)(y + i) * width;
                for (uint32_t j = 0; j < 8 && x + j < width; j++) {
                    const float v = (block[8 * i + j] + 128.0F) / 255.0F;
                    row[x + j] = v < 0.0F ? 0.0F : v > 1.0F ? 1.0F : v;
                }
            }
        }
    }
}

static uint32_t inside(double at, uint32_t length)
{
    const double rounded = floor(at + 0.5);
    return rounded <= 0.0 ? 0 : rounded >= (double)length ? length : (uint32_t)rounded;
}

void md_paint(float *plane, uint32_t width, uint32_t height, double x0, double x1, double y0,
              double y1, float value)
{
    const uint32_t left = inside(x0, width), right = inside(x1, width);
    const uint32_t top = inside(y0, height), bottom = inside(y1, height);
    for (uint32_t y = top; y < bottom; y++) {
        for (uint32_t x = left; x < right; x++) {
            plane[(size_t)y * width + x] = value;
        }
    }
}
