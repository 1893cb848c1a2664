#include "dicom/image/frame.h"

#include <math.h>
#include <string.h>

md_sample_form md_sample_form_of(const md_layout *layout, unsigned precision)
{
    md_sample_form form = {.is_signed = layout->is_signed};
    bool is_left_aligned = layout->high_bit + 1 > layout->bits_stored;
    if (precision >= layout->bits_allocated ||
        (is_left_aligned && precision > layout->high_bit)) {
        form.shift = layout->high_bit + 1 - layout->bits_stored;
        form.bits = layout->bits_stored;
    } else {
        form.bits = precision;
    }
    if (form.bits <= 8) {
        form.type = form.is_signed ? MD_PIXEL_S8 : MD_PIXEL_U8;
    } else {
        form.type = form.is_signed ? MD_PIXEL_S16 : MD_PIXEL_U16;
    }
    return form;
}

size_t md_pixel_bytes(md_pixel_type type)
{
    return type == MD_PIXEL_U8 || type == MD_PIXEL_S8 ? 1 : 2;
}

md_status md_image_allocate(md_image *image, const md_layout *layout,
                            const md_sample_form *form, md_error *err)
{
    size_t n = 0;
    bool fits = md_mul(md_layout_pixels(layout), layout->n_samples, &n) &&
                md_mul(n, md_pixel_bytes(form->type), &n);
    if (!fits || n > MD_IMAGE_MAX_FRAME_BYTES) {
        return md_fail(err, MD_LIMIT, "frame of %u x %u x %u samples, at most %zu bytes",
                       layout->columns, layout->rows, layout->n_samples,
                       MD_IMAGE_MAX_FRAME_BYTES);
    }
    void *pixels = md_malloc_aligned(n);
    if (pixels == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", n);
    }
    image->pixels = pixels;
    image->rows = layout->rows;
    image->columns = layout->columns;
    image->n_channels = layout->n_samples;
    image->type = form->type;
    image->bits_stored = form->bits;
    return MD_OK;
}

static void unpack_u8(const uint8_t *from, size_t step, size_t n, const md_sample_form *form,
                      uint8_t *to)
{
    if (form->bits == 8 && step == 1) {
        memcpy(to, from, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)md_sample_value(from[i * step], form);
    }
}

static void unpack_u16_to_u8(const uint16_t *from, size_t step, size_t n,
                             const md_sample_form *form, uint8_t *to)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)md_sample_value(from[i * step], form);
    }
}

static void unpack_u16(const uint16_t *from, size_t step, size_t n, const md_sample_form *form,
                       uint16_t *to)
{
    if (form->bits == 16) {
        for (size_t i = 0; i < n; i++) {
            to[i] = from[i * step];
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint16_t)md_sample_value(from[i * step], form);
    }
}

void md_frame_unpack_in_place(const md_sample_form *form, md_image *image)
{
    size_t n = (size_t)image->rows * image->columns * image->n_channels;
    if (form->bits < 16) {
        unpack_u16(image->pixels, 1, n, form, image->pixels);
    }
}

static int32_t clamp(double value, int32_t greatest)
{
    double rounded = floor(value + 0.5);
    return rounded < 0 ? 0 : rounded > greatest ? greatest : (int32_t)rounded;
}

/* R = Y + 1.402 Cr', G = Y - 0.344136 Cb' - 0.714136 Cr', B = Y + 1.772 Cb' with the
 * differences about their middle: the inverse of PS3.3 C.7.6.3.1.2, YBR_FULL. */
void md_frame_ybr_to_rgb(md_image *image)
{
    size_t n = (size_t)image->rows * image->columns;
    int32_t greatest = (int32_t)((1u << image->bits_stored) - 1u);
    double middle = (double)(1u << (image->bits_stored - 1u));
    bool is_small = md_pixel_bytes(image->type) == 1;
    uint8_t *small = image->pixels;
    uint16_t *large = image->pixels;
    for (size_t i = 0; i < n; i++) {
        double y = is_small ? small[i] : large[i];
        double cb = (is_small ? small[n + i] : large[n + i]) - middle;
        double cr = (is_small ? small[2 * n + i] : large[2 * n + i]) - middle;
        int32_t rgb[3] = {
            clamp(y + 1.402 * cr, greatest),
            clamp(y - 0.114 * 1.772 / 0.587 * cb - 0.299 * 1.402 / 0.587 * cr, greatest),
            clamp(y + 1.772 * cb, greatest),
        };
        for (size_t c = 0; c < 3; c++) {
            if (is_small) {
                small[c * n + i] = (uint8_t)rgb[c];
            } else {
                large[c * n + i] = (uint16_t)rgb[c];
            }
        }
    }
}

void md_frame_unpack(const md_raw_frame *raw, const md_layout *layout,
                     const md_sample_form *form, md_image *image)
{
    size_t n = md_layout_pixels(layout);
    size_t step = raw->is_planar ? 1 : layout->n_samples;
    for (size_t c = 0; c < layout->n_samples; c++) {
        size_t first = raw->is_planar ? c * n : c;
        if (raw->container_bytes == 1) {
            unpack_u8((const uint8_t *)raw->samples + first, step, n, form,
                      (uint8_t *)image->pixels + c * n);
        } else if (md_pixel_bytes(form->type) == 1) {
            unpack_u16_to_u8((const uint16_t *)raw->samples + first, step, n, form,
                             (uint8_t *)image->pixels + c * n);
        } else {
            unpack_u16((const uint16_t *)raw->samples + first, step, n, form,
                       (uint16_t *)image->pixels + c * n);
        }
    }
    if (raw->is_ybr && layout->n_samples == 3) {
        md_frame_ybr_to_rgb(image);
    }
}

void md_frame_unpack_bits(const uint8_t *bytes, unsigned first, md_image *image)
{
    uint8_t *to = image->pixels;
    size_t n = (size_t)image->rows * image->columns;
    for (size_t i = 0; i < n; i++) {
        size_t bit = first + i;
        to[i] = (bytes[bit / 8] >> (bit % 8)) & 1;
    }
}

void md_frame_widen_422(const uint8_t *pairs, size_t n_pixels, uint8_t *ret_triples)
{
    for (size_t i = 0; i < n_pixels; i += 2) {
        const uint8_t *from = pairs + 2 * i;
        uint8_t *to = ret_triples + 3 * i;
        to[0] = from[0];
        to[3] = from[1];
        to[1] = to[4] = from[2];
        to[2] = to[5] = from[3];
    }
}

void md_image_finish(md_image *image)
{
    md_free(image->pixels);
    md_free(image->modality_lut.entries);
    md_free(image->voi_lut.entries);
    for (size_t c = 0; c < 3; c++) {
        md_free(image->palette[c].entries);
    }
    memset(image, 0, sizeof *image);
}
