#ifndef MEDAID_DICOM_REPORT_PICTURE_H
#define MEDAID_DICOM_REPORT_PICTURE_H

/* The pixels of the picture for people, without any DICOM. Any thread. */

#include "base/raster.h"
#include "dicom/report/canvas.h"
#include "dicom/report/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PICTURE_SIDE = 1024,    /* the longer side of the image, when it is reduced */
    MD_PICTURE_MIN_SIDE = 512, /* a smaller image is enlarged to this */
    MD_PICTURE_PANEL = 420,    /* width of the panel on its right */
    MD_PICTURE_BANNER = 36,    /* height of the banner above both */
};

/* Where things are on the picture. */
typedef struct md_picture_layout {
    uint32_t image_x, image_y, image_width, image_height;
    size_t overlay_finding; /* index, or SIZE_MAX when no overlay is drawn */
} md_picture_layout;

/* Draw the picture of instance `instance_index`. `source_columns` and `source_rows` are the
 * size of the source image, in whose pixels the saliency is placed; `display` may have another
 * size of the same image (a reduced decode). ret_layout may be NULL. Caller finishes the
 * canvas. The result has been checked with md_result_check. */
md_status md_picture_draw(const md_result *result, uint32_t instance_index,
                          const md_raster *display, uint32_t source_columns,
                          uint32_t source_rows, const md_report_options *options,
                          md_canvas *ret_canvas, md_picture_layout *ret_layout, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The value of a saliency map at a point of the source image, 0..1, 0 outside of its rectangle:
 * Catmull-Rom interpolation between the centres of its cells, limited to 0..1. */
double md_saliency_at(const md_saliency *saliency, double x, double y) MD_NOEXCEPT;

/* The colour and the opacity (0..255) of the overlay for a saliency of 0..1. */
md_colour md_saliency_colour(double value, uint8_t *ret_opacity) MD_NOEXCEPT;

/* Reduce or enlarge one channel of a filled raster: each target pixel is the mean of the source
 * area that it covers (area filter); where the target is larger, linear interpolation. */
md_status md_picture_resize(const md_raster *source, uint32_t channel, uint32_t width,
                            uint32_t height, float *target, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
