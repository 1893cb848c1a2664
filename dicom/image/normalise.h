#ifndef MEDAID_DICOM_IMAGE_NORMALISE_H
#define MEDAID_DICOM_IMAGE_NORMALISE_H

/* Stored values to physical or display values: a pure function of the image. What comes out is
 * a raster for inference/preprocess or for a picture. Any thread. */

#include "base/raster.h"
#include "base/steps.h"
#include "dicom/image/image.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_normalise_values {
    MD_VALUES_DISPLAY,  /* modality, VOI, photometric, presentation: 0 = black .. 1 = white */
    MD_VALUES_PHYSICAL, /* modality LUT or rescale only (Hounsfield, optical density, ...) */
} md_normalise_values;

/* Display values: modality LUT or rescale (PS3.3 C.11.1), then VOI LUT or window (C.11.2) or,
 * with neither, the full range of the pixels that are not padding; then inversion for
 * MONOCHROME1 or Presentation LUT Shape INVERSE (not twice). Padding becomes black. Colour
 * gives 3 channels without any VOI. A window width that is not allowed (linear: < 1, others: <=
 * 0) is ignored with a step that says so. Each thing done is added to `steps` (NULL allowed).
 * Caller finishes the raster. */
md_status md_image_normalise(const md_image *image, md_normalise_values values,
                             md_raster *ret_raster, md_steps *steps, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The same for an image that is not needed any more: a grey one of 16-bit pixels gives these to
 * a coded raster (base/raster.h), and image->pixels becomes NULL. All others are as above.
 * After an error the image is as it was. */
md_status md_image_normalise_taking(md_image *image, md_normalise_values values,
                                    md_raster *ret_raster, md_steps *steps, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
