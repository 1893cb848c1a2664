#ifndef MEDAID_BASE_RASTER_H
#define MEDAID_BASE_RASTER_H

/* A picture of floats: what dicom/image hands to inference/preprocess, so that neither knows
 * the other. Planar: values[c * height * width + y * width + x], x to the right, y down. Not
 * thread-safe; independent rasters may be used in parallel.
 *
 * A grey picture may be coded: it holds for each pixel a number of 16 bits and a table of what
 * these stand for, value = table[code]. A film of 10 MB then stays as large as it is instead of
 * becoming 20 MB of floats that are read once or twice. Whoever reads by md_raster_row or
 * md_raster_at need not know. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest picture accepted anywhere, in pixels of one channel. */
#define MD_RASTER_MAX_PIXELS ((size_t)1 << 28)

typedef struct md_raster {
    uint32_t width, height;                 /* pixels, at least 1 */
    uint32_t n_channels;                    /* 1 (grey) or 3 (red, green, blue) */
    double pixel_width_mm, pixel_height_mm; /* > 0; 1 and 1 when only the ratio 1:1 is known */
    /* For a picture that was decoded smaller than it is stored, else 0: its samples lie this
     * part of a pixel left of and above the pixels' centres, and it ends this part of a pixel
     * before its last column and row do. 0 <= each < 1. */
    double shift, short_x, short_y;
    /* Likewise: how much its samples are already smoothed, the second moment of the low-pass
     * that they went through, in squares of its pixels; below 0 when that sharpens. */
    double spread;
    float *values;   /* owned, from md_malloc_aligned; NULL when coded */
    uint16_t *codes; /* owned, as long as values would be; NULL when not coded */
    float *table;    /* owned, MD_RASTER_CODES values; NULL when not coded */
} md_raster;

enum {
    MD_RASTER_CODES = 65536
};

/* Allocate the values, not cleared. MD_LIMIT beyond MD_RASTER_MAX_PIXELS, MD_INVALID_ARG for a
 * size of 0 or a channel count other than 1 and 3. The pixel size becomes 1 x 1. */
md_status md_raster_init(md_raster *raster, uint32_t width, uint32_t height,
                         uint32_t n_channels, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Turn a coded raster into one of values; any other stays as it is. MD_NOMEM. */
md_status md_raster_expand(md_raster *raster, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* n values of row y of a channel from column x on: of the raster itself, or looked up into
 * `scratch`, which has room for n. Valid until the raster or scratch changes. */
const float *md_raster_row(const md_raster *raster, uint32_t channel, uint32_t y, uint32_t x,
                           uint32_t n, float *scratch) MD_NOEXCEPT;
/* Whether there are pixels. */
static inline bool md_raster_is_filled(const md_raster *raster)
{
    return raster->values != NULL || (raster->codes != NULL && raster->table != NULL);
}
static inline float md_raster_at(const md_raster *raster, uint32_t channel, uint32_t x,
                                 uint32_t y)
{
    const size_t at = ((size_t)channel * raster->height + y) * raster->width + x;
    return raster->values != NULL ? raster->values[at] : raster->table[raster->codes[at]];
}
/* Release; a zeroed raster is fine, twice is fine. */
void md_raster_finish(md_raster *raster) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
