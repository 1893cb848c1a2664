#ifndef MEDAID_DICOM_IMAGE_RLE_H
#define MEDAID_DICOM_IMAGE_RLE_H

/* RLE Lossless, PS3.5 annex G: each byte plane of each sample is a PackBits segment, the most
 * significant byte first. Any thread. */

#include "dicom/image/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One frame. The result is planar, in native byte order. MD_FORMAT when the segments do not fit
 * the layout or give too few bytes; too many are cut off, as every decoder does. Caller frees
 * ret_raw->samples. */
md_status md_rle_decode(const uint8_t *bytes, size_t size_bytes, const md_layout *layout,
                        md_raw_frame *ret_raw, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
