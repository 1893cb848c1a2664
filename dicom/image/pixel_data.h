#ifndef MEDAID_DICOM_IMAGE_PIXEL_DATA_H
#define MEDAID_DICOM_IMAGE_PIXEL_DATA_H

/* Inside dicom/image only: the bytes of one frame out of Pixel Data (7FE0,0010). One thread a
 * dataset. */

#include "dicom/image/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether Pixel Data is encapsulated in fragments; MD_FORMAT when there is none or its VR is
 * wrong. */
md_status md_pixel_data_kind(const md_dataset *dataset, bool *ret_is_encapsulated,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Bytes of native Pixel Data. */
md_status md_pixel_data_length(const md_dataset *dataset, uint64_t *ret_bytes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* n bytes of native Pixel Data from `offset` on, as if it were little endian. */
md_status md_pixel_data_read(const md_dataset *dataset, uint64_t offset, size_t n, void *ret_to,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Fragments of encapsulated Pixel Data, without the offset table. */
md_status md_pixel_data_count_fragments(const md_dataset *dataset, uint32_t *ret_n,
                                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The compressed bytes of one frame. */
typedef struct md_compressed_frame {
    const uint8_t *bytes;
    size_t size_bytes;
    uint8_t *owned; /* several fragments joined, or NULL */
    void *fragment; /* one fragment that lies in the dataset, or NULL */
} md_compressed_frame;
/* Release them: what lies in a file is not kept in memory frame after frame. */
void md_compressed_frame_finish(md_compressed_frame *frame) MD_NOEXCEPT;

/* Which fragments those are is told by the Basic Offset Table (PS3.5 A.4), else by one fragment
 * a frame, else by the fragments that begin with the start-of-image bytes `soi`. Caller
 * finishes the frame before the dataset. */
md_status md_pixel_data_frame(const md_dataset *dataset, uint32_t frame, uint32_t n_frames,
                              const uint8_t soi[2], md_compressed_frame *ret_frame,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
