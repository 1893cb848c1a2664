#ifndef MEDAID_DICOM_IMAGE_DCMTK_CODEC_H
#define MEDAID_DICOM_IMAGE_DCMTK_CODEC_H

/* One frame of JPEG or JPEG-LS through the codecs of DCMTK 3.6.7. They are given a dataset of
 * our own with that frame alone, so that their search for frames, their colour conversion and
 * their trust in the real dataset stay out of it. Any thread, after md_dicom_init. */

#include "dicom/image/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `transfer_syntax` is one of the JPEG or JPEG-LS UIDs. The stream's own size and number of
 * components must be those of the layout (MD_FORMAT); its depth is believed. Caller frees
 * ret_raw->samples. */
md_status md_dcmtk_decode(const char *transfer_syntax, const uint8_t *bytes, size_t size_bytes,
                          const md_layout *layout, md_raw_frame *ret_raw, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
