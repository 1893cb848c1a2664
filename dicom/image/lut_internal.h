#ifndef MEDAID_DICOM_IMAGE_LUT_INTERNAL_H
#define MEDAID_DICOM_IMAGE_LUT_INTERNAL_H

/* Inside dicom/image only, C++: lookup tables out of a dataset (PS3.3 C.11.1.1, C.11.2.1.1,
 * C.7.6.3.1.5). One thread a dataset. */

#include "dicom/dataset/dataset_internal.h"
#include "dicom/image/image.h"

/* LUT Descriptor (0028,3002) and LUT Data (0028,3006) of a LUT sequence item. A descriptor of 0
 * entries means 65536. Entries of 8 bits may be packed two in a word. `is_signed`: the first
 * mapped value is signed where its VR does not say so. MD_FORMAT names the tag. */
md_status md_lut_read(DcmItem *item, bool is_signed, md_lut *ret_lut, md_error *err);

/* Red, green or blue (channel 0..2) palette, also when segmented (C.7.9.2). */
md_status md_lut_read_palette(DcmItem *dataset, unsigned channel, bool is_signed,
                              md_lut *ret_lut, md_error *err);

#endif
