#ifndef MEDAID_PLUGINS_TRAIN_PICTURE_H
#define MEDAID_PLUGINS_TRAIN_PICTURE_H

/* A file becomes a raster: DICOM exactly as it does when it is served (dicom/image), PNG
 * through libpng, JPEG through libjpeg. The bytes are hostile. Any thread, after md_dicom_init;
 * messages do not name the file. */

#include "plugins/host/preprocess_spec.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest PNG or JPEG: file, sides, and pixels (six times a chest film). */
#define MD_PICTURE_MAX_BYTES ((size_t)1 << 28)
#define MD_PICTURE_MAX_PIXELS ((size_t)1 << 26)
enum {
    MD_PICTURE_MAX_SIDE = 32768
};

typedef enum md_picture_kind {
    MD_PICTURE_NONE, /* nothing that is read here */
    MD_PICTURE_DICOM,
    MD_PICTURE_PNG,
    MD_PICTURE_JPEG,
} md_picture_kind;

/* By the first bytes; MD_PICTURE_NONE too when the file cannot be opened. */
md_picture_kind md_picture_sniff(const char *path) MD_NOEXCEPT;

/* Decode. PNG and JPEG: 0 black .. 1 white (8 and 16 bits, palettes and grey of 1 to 4 bits
 * widened; transparency over black; gamma and colour profiles are not applied), values / 255 or
 * / 65535; colour whose three channels are equal everywhere is grey. A file with warnings of
 * its decoder (cut short, corrupt) is MD_FORMAT. They are display values: MD_UNSUPPORTED when
 * spec->values is physical. DICOM: the first frame, MD_UNSUPPORTED when there are several; by
 * `least`, see md_preprocess_spec_least, it may come smaller.
 * MD_UNSUPPORTED for other kinds, MD_FORMAT, MD_LIMIT, MD_IO, MD_NOMEM. Caller finishes. */
md_status md_picture_read(const char *path, const md_preprocess_spec *spec,
                          const md_image_least *least, md_raster *ret_raster, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
