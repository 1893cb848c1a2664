#ifndef MEDAID_DICOM_IMAGE_J2K_H
#define MEDAID_DICOM_IMAGE_J2K_H

/* JPEG 2000 Part 1 (ISO/IEC 15444-1) through OpenJPEG, from memory: a bare codestream, as PS3.5
 * A.4.4 wants it, or one in a JP2 file, as some writers do. Any thread. */

#include "dicom/image/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /* 32768 x 32768 in tiles of 256; OpenJPEG allocates for each tile before it reads any. */
    MD_J2K_MAX_TILES = 16384,
    MD_J2K_MAX_REDUCE = 32,
};

/* SIZ and COD of the main header. */
typedef struct md_j2k_header {
    uint32_t columns, rows;
    unsigned n_components, precision;
    bool is_signed;
    bool is_reversible;      /* 5-3 wavelet: may be lossless */
    bool has_transform;      /* multiple component transform: the decoder gives RGB */
    bool is_high_throughput; /* Part 15, which OpenJPEG 2.5.0 cannot read */
    /* How often the picture can be halved: the decompositions of COD, or fewer when a COC or a
     * tile's own COD could say otherwise, or the origin is odd at that size. */
    unsigned max_reduce;
    size_t codestream_offset;
} md_j2k_header;

/* Read and check the main header, without OpenJPEG: it allocates by what the header claims.
 * MD_FORMAT, MD_UNSUPPORTED for subsampled components or more than 16 bits, MD_LIMIT. */
md_status md_j2k_read_header(const uint8_t *bytes, size_t size_bytes, md_j2k_header *ret_header,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Decode at 1/2^reduce of the size, rounded up (0: full size), straight into image->pixels,
 * which this function allocates. Depth is the stream's; sign is the dataset's, the bit pattern
 * is kept. n_threads 1 or more. MD_FORMAT when the stream is broken, cut short or of another
 * size than the layout. */
md_status md_j2k_decode(const uint8_t *bytes, size_t size_bytes, const md_layout *layout,
                        unsigned reduce, unsigned n_threads, md_image *image, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
