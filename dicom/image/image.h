#ifndef MEDAID_DICOM_IMAGE_IMAGE_H
#define MEDAID_DICOM_IMAGE_IMAGE_H

/* One frame as it was stored, with all that is needed to interpret it. Decoding undoes
 * compression and packing only; the meaning of the numbers is normalise.h's business. */

#include "base/memory.h"
#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest frame that is decoded. */
enum {
    MD_IMAGE_MAX_SIDE = 32768
};
#define MD_IMAGE_MAX_FRAME_BYTES ((size_t)1 << 30)

typedef enum md_pixel_type {
    MD_PIXEL_U8,
    MD_PIXEL_S8,
    MD_PIXEL_U16,
    MD_PIXEL_S16
} md_pixel_type;

typedef enum md_photometric {
    MD_PHOTOMETRIC_MONOCHROME1,
    MD_PHOTOMETRIC_MONOCHROME2,
    MD_PHOTOMETRIC_PALETTE,
    MD_PHOTOMETRIC_RGB, /* YBR of every kind is converted while decoding, PS3.3 C.7.6.3.1.2 */
} md_photometric;

typedef enum md_voi_function {
    MD_VOI_LINEAR,
    MD_VOI_LINEAR_EXACT,
    MD_VOI_SIGMOID
} md_voi_function;

/* A lookup table, PS3.3 C.11.1.1: entry i stands for the stored (or rescaled) value first + i;
 * values below and above take the first and last entry. */
typedef struct md_lut {
    uint32_t n_entries; /* 0: there is none */
    int32_t first;
    unsigned bits;     /* of an entry */
    uint16_t *entries; /* owned */
} md_lut;

typedef struct md_image {
    uint32_t rows, columns;
    uint32_t n_channels; /* 1 or 3, planar */
    md_pixel_type type;
    unsigned bits_stored; /* 1..16, values are already masked and sign-extended */
    void *pixels;         /* owned */
    md_photometric photometric;
    double rescale_slope, rescale_intercept; /* 1 and 0 when absent */
    md_lut modality_lut;                     /* replaces the rescale when present */
    md_lut voi_lut;
    bool has_window;
    double window_center, window_width; /* the first of several */
    md_voi_function voi_function;
    md_lut palette[3];
    bool presentation_inverse; /* Presentation LUT Shape INVERSE */
    bool has_padding;          /* stored values in padding_low..padding_high are not image */
    int32_t padding_low, padding_high;
    double pixel_width_mm, pixel_height_mm; /* 1 and 1 when only the ratio 1:1 is known */
    bool has_spacing;                       /* the two are millimetres */
    char modality[17], body_part[65], view[17], laterality[17];
    bool burned_in; /* Burned In Annotation YES */
    bool lossy;     /* Lossy Image Compression 01 or a lossy transfer syntax */
    /* Decoded at 1/2^reduce of the stored size; spacing is that of the pixels here. Sample i of
     * an axis lies where sample i 2^reduce of the stored image does. */
    unsigned reduce;
    uint32_t stored_rows, stored_columns; /* of the whole; 0 when reduce is 0 */
    double spread; /* md_raster.spread of such an image, by its wavelet; 0 when reduce is 0 */
} md_image;

/* Number of frames, at least 1. MD_FORMAT without usable Rows, Columns, Bits or Pixel Data,
 * with the tag in the message. */
md_status md_image_count_frames(const md_dataset *dataset, uint32_t *ret_n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Threads that one JPEG 2000 frame may use, for the whole program; 1 when never called, 0
 * counts as 1. Any thread. */
void md_image_set_threads(unsigned n_threads) MD_NOEXCEPT;

/* Decode frame `frame` (0-based). MD_UNSUPPORTED names the transfer syntax or photometric
 * interpretation, MD_FORMAT the broken tag or stream, MD_LIMIT the limit. Caller finishes. */
md_status md_image_decode(const md_dataset *dataset, uint32_t frame, md_image *ret_image,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* How much of an image is needed: at least so many columns and rows, and the longer of the two
 * at least so long. 0: no matter. */
typedef struct md_image_least {
    uint32_t columns, rows, longer_side;
} md_image_least;

/* Like md_image_decode, but a frame may come smaller, as long as it is at least `least`: a JPEG
 * 2000 stream holds its picture at 1/2, 1/4, ... of the size (ISO/IEC 15444-1 Annex F), and
 * only that part is decoded. image->reduce says so, the spacing is that of the larger pixels.
 *
 * A frame comes whole where means of neighbours are not of the same meaning as the pixels:
 * palette, padding, lookup tables, an image without a window (its range is that of its extreme
 * pixels), or an odd origin on the stream's grid. All zero: whole. */
md_status md_image_decode_least(const md_dataset *dataset, uint32_t frame,
                                const md_image_least *least, md_image *ret_image, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_image_finish(md_image *image) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
