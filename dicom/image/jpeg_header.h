#ifndef MEDAID_DICOM_IMAGE_JPEG_HEADER_H
#define MEDAID_DICOM_IMAGE_JPEG_HEADER_H

/* The markers in front of the entropy-coded data of JPEG (ISO/IEC 10918-1 annex B) and JPEG-LS
 * (14495-1 annex C): what DCMTK must be told or does not check. Any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_jpeg_header {
    unsigned process; /* n of SOFn: 0, 1 lossy, 3 lossless; 55 JPEG-LS */
    unsigned precision;
    uint32_t columns, rows;
    unsigned n_components;
    uint8_t component_ids[4];
    bool has_jfif;
    bool has_adobe;
    unsigned adobe_transform; /* 0 RGB, 1 YCbCr, 2 YCCK */
} md_jpeg_header;

/* MD_FORMAT when there is no frame header before the first scan, MD_UNSUPPORTED for more than 4
 * components or more than 16 bits. */
md_status md_jpeg_read_header(const uint8_t *bytes, size_t size_bytes,
                              md_jpeg_header *ret_header, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
