#ifndef MEDAID_BASE_RASTER_H
#define MEDAID_BASE_RASTER_H

/* A picture of floats: what dicom/image hands to inference/preprocess, so that neither knows
 * the other. Planar: values[c * height * width + y * width + x], x to the right, y down. Not
 * thread-safe; independent rasters may be used in parallel. */

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
    float *values; /* owned, from md_malloc_aligned */
} md_raster;

/* Allocate the values, not cleared. MD_LIMIT beyond MD_RASTER_MAX_PIXELS, MD_INVALID_ARG for a
 * size of 0 or a channel count other than 1 and 3. The pixel size becomes 1 x 1. */
md_status md_raster_init(md_raster *raster, uint32_t width, uint32_t height,
                         uint32_t n_channels, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Release; a zeroed raster is fine, twice is fine. */
void md_raster_finish(md_raster *raster) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
