#ifndef MEDAID_DICOM_IMAGE_TRANSCODE_H
#define MEDAID_DICOM_IMAGE_TRANSCODE_H

/* A dataset in another, uncompressed transfer syntax, for a peer that does not take the one
 * that it is stored in. What it says stays as it is: the attributes, and the values of the
 * pixels, bit for bit when the compression was lossless.
 *
 * Compressed pixels are decoded as image.h decodes them: colour that is coded as luminance and
 * colour differences becomes RGB, pixel by pixel, and the attributes that say how pixels lie
 * (0028,0004), (0028,0006), (0028,0100), (0028,0101), (0028,0102) follow. A lossy syntax leaves
 * (0028,2110) "01". An icon (0088,0200) that is compressed too is left out: it is optional.
 * Whole datasets are held in memory. Parses hostile bytes: for a process with a sandbox. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether md_transcode writes this syntax: implicit VR little endian, explicit VR little and
 * big endian. */
bool md_transcode_writes(const char *transfer_syntax_uid) MD_NOEXCEPT;

/* Read the file and write its dataset, without the file's head, to `fd` from its position on.
 * MD_UNSUPPORTED, MD_FORMAT, MD_LIMIT as md_dataset_open and md_image_decode say; MD_IO when fd
 * takes no more. */
md_status md_transcode(const char *path, const char *transfer_syntax_uid, int fd, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
