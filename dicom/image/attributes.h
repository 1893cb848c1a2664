#ifndef MEDAID_DICOM_IMAGE_ATTRIBUTES_H
#define MEDAID_DICOM_IMAGE_ATTRIBUTES_H

/* Inside dicom/image only: the attributes that say what pixels mean. One thread a dataset. */

#include "dicom/image/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows, Columns, Samples per Pixel, Bits, Photometric Interpretation, Number of Frames (PS3.3
 * C.7.6.3, C.7.6.6). MD_FORMAT names the tag that is missing or wrong, MD_UNSUPPORTED what is
 * not read, MD_LIMIT. */
md_status md_attributes_read_layout(const md_dataset *dataset, md_layout *ret_layout,
                                    md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The rest of md_image, bar the pixels: rescale, lookup tables, window, padding, spacing and
 * the words. For enhanced multi-frame objects those of frame `frame` or the shared ones (PS3.3
 * C.7.6.16) stand before the top level's. On failure the caller still finishes the image. */
md_status md_attributes_read(const md_dataset *dataset, const md_layout *layout, uint32_t frame,
                             md_image *image, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
