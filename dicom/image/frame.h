#ifndef MEDAID_DICOM_IMAGE_FRAME_H
#define MEDAID_DICOM_IMAGE_FRAME_H

/* Inside dicom/image only: how a frame lies in the dataset, what a codec gives back, and how
 * that becomes the pixels of an md_image. Any thread. */

#include "dicom/image/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Photometric Interpretation as it is written, PS3.3 C.7.6.3.1.2. */
typedef enum md_colour {
    MD_COLOUR_MONOCHROME1,
    MD_COLOUR_MONOCHROME2,
    MD_COLOUR_PALETTE,
    MD_COLOUR_RGB,
    MD_COLOUR_YBR_FULL,
    MD_COLOUR_YBR_FULL_422,
    MD_COLOUR_YBR_RCT,
    MD_COLOUR_YBR_ICT,
} md_colour;

/* Image Pixel module, checked: sides 1..MD_IMAGE_MAX_SIDE, 1 or 3 samples, 1, 8 or 16 bits
 * allocated, bits_stored <= high_bit + 1 <= bits_allocated. */
typedef struct md_layout {
    uint32_t rows, columns, n_samples, n_frames;
    unsigned bits_allocated, bits_stored, high_bit;
    bool is_signed, is_planar;
    md_colour colour;
} md_layout;

/* Samples as they come out of a codec or out of the file. */
typedef struct md_raw_frame {
    void *samples;            /* owned; aligned for its container */
    unsigned container_bytes; /* 1 or 2, native byte order */
    unsigned precision;       /* bits that mean something, from the stream; right-aligned */
    bool is_planar;           /* samples of one channel together, else those of one pixel */
    bool is_ybr;              /* luminance and colour differences, to be made RGB */
} md_raw_frame;

/* Pixels of one channel. */
static inline size_t md_layout_pixels(const md_layout *layout)
{
    return (size_t)layout->rows * layout->columns;
}

/* What the values of a frame look like after unpacking: from which bit, how many, and the type
 * that holds them. A compressed stream knows its own depth, and that is believed: `precision`
 * bits, right-aligned, unless the stream carries the whole container of left-aligned samples.
 * Sign is the dataset's: streams often call signed data unsigned. `precision` is bits_allocated
 * for native pixels. */
typedef struct md_sample_form {
    unsigned shift, bits;
    bool is_signed;
    md_pixel_type type;
} md_sample_form;
md_sample_form md_sample_form_of(const md_layout *layout, unsigned precision) MD_NOEXCEPT;
size_t md_pixel_bytes(md_pixel_type type) MD_NOEXCEPT;

/* One value: `bits` bits from bit `shift` on, sign-extended when signed. */
static inline int32_t md_sample_value(uint32_t pattern, const md_sample_form *form)
{
    uint32_t mask = (1u << form->bits) - 1u;
    uint32_t sign = form->is_signed ? 1u << (form->bits - 1u) : 0u;
    uint32_t value = (pattern >> form->shift) & mask;
    return (int32_t)((value ^ sign) - sign);
}

/* Allocate image->pixels for the form and set type, bits_stored, rows, columns, n_channels. */
md_status md_image_allocate(md_image *image, const md_layout *layout,
                            const md_sample_form *form, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Raw samples to planar pixels of an allocated image; YBR becomes RGB (PS3.3 C.7.6.3.1.2). */
void md_frame_unpack(const md_raw_frame *raw, const md_layout *layout,
                     const md_sample_form *form, md_image *image) MD_NOEXCEPT;
/* Three unsigned channels of luminance and colour differences to RGB, in place. */
void md_frame_ybr_to_rgb(md_image *image) MD_NOEXCEPT;
/* Unpack in place: 16-bit samples of one channel that are already in image->pixels. */
void md_frame_unpack_in_place(const md_sample_form *form, md_image *image) MD_NOEXCEPT;
/* Bits of a 1-bit frame, least significant first (PS3.5 8.1.1), from bit `first` (0..7) on. */
void md_frame_unpack_bits(const uint8_t *bytes, unsigned first, md_image *image) MD_NOEXCEPT;
/* YBR_FULL_422: Y Y Cb Cr for two pixels, to one Y Cb Cr for each; `n_pixels` is even. */
void md_frame_widen_422(const uint8_t *pairs, size_t n_pixels, uint8_t *ret_triples)
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
