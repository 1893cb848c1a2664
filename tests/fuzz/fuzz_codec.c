/* One compressed frame of any bytes through one decoder: FUZZ_CODEC is 1 for JPEG 2000, 2 for
 * RLE, 3 for JPEG and 4 for JPEG-LS. The first four bytes say what the dataset would: flags,
 * columns, rows, bits. For JPEG 2000 and JPEG the stream's own size is taken instead, so that
 * the fuzzer need not guess it. For libFuzzer, and for mutate.c under plain meson test. */

#include "fuzz_dicom.h"

#include "dicom/image/dcmtk_codec.h"
#include "dicom/image/j2k.h"
#include "dicom/image/jpeg_header.h"
#include "dicom/image/rle.h"

enum {
    HEAD_BYTES = 4,
    MAX_PIXELS = 1 << 18
};

static md_layout layout_of(const uint8_t *head)
{
    unsigned bits_allocated = (head[0] & 2) != 0 ? 16 : 8;
    md_layout layout = {.columns = head[1] + 1u,
                        .rows = head[2] + 1u,
                        .n_samples = (head[0] & 1) != 0 ? 3 : 1,
                        .n_frames = 1,
                        .bits_allocated = bits_allocated,
                        .bits_stored = head[3] % bits_allocated + 1,
                        .is_signed = (head[0] & 4) != 0,
                        .is_planar = (head[0] & 8) != 0};
    layout.high_bit = layout.bits_stored - 1;
    layout.colour = layout.n_samples == 1 ? MD_COLOUR_MONOCHROME2
                    : (head[0] & 16) != 0 ? MD_COLOUR_YBR_FULL
                                          : MD_COLOUR_RGB;
    return layout;
}

static void take_size(md_layout *layout, uint32_t columns, uint32_t rows)
{
    layout->columns = columns;
    layout->rows = rows;
}

static void try_j2k(const uint8_t *bytes, size_t size_bytes, md_layout *layout, unsigned reduce)
{
    md_j2k_header header;
    md_image image = {0};
    md_error err;
    if (md_j2k_read_header(bytes, size_bytes, &header, &err) != MD_OK) {
        return;
    }
    take_size(layout, header.columns, header.rows);
    if ((uint64_t)layout->columns * layout->rows <= MAX_PIXELS &&
        md_j2k_decode(bytes, size_bytes, layout, reduce, 1, &image, &err) == MD_OK) {
        md_image_finish(&image);
    }
}

static void try_jpeg(const uint8_t *bytes, size_t size_bytes, md_layout *layout,
                     bool is_jpeg_ls)
{
    static const char *const syntaxes[] = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
                                           "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"};
    md_jpeg_header header;
    md_raw_frame raw = {0};
    md_error err;
    if (md_dicom_init(&err) != MD_OK ||
        md_jpeg_read_header(bytes, size_bytes, &header, &err) != MD_OK) {
        return;
    }
    take_size(layout, header.columns, header.rows);
    const char *syntax = is_jpeg_ls                ? "1.2.840.10008.1.2.4.80"
                         : header.process == 0     ? syntaxes[0]
                         : header.process == 1     ? syntaxes[1]
                         : layout->bits_stored % 2 ? syntaxes[2]
                                                   : syntaxes[3];
    if (layout->columns > 0 && layout->rows > 0 &&
        (uint64_t)layout->columns * layout->rows <= MAX_PIXELS &&
        md_dcmtk_decode(syntax, bytes, size_bytes, layout, &raw, &err) == MD_OK) {
        md_free(raw.samples);
    }
}

static void try_rle(const uint8_t *bytes, size_t size_bytes, const md_layout *layout)
{
    md_raw_frame raw = {0};
    md_error err;
    if (md_rle_decode(bytes, size_bytes, layout, &raw, &err) == MD_OK) {
        md_free(raw.samples);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    if (size_bytes <= HEAD_BYTES) {
        return 0;
    }
    md_layout layout = layout_of(bytes);
    unsigned reduce = bytes[0] >> 5 & 3;
    bytes += HEAD_BYTES;
    size_bytes -= HEAD_BYTES;
    switch (FUZZ_CODEC) {
    case 1:
        try_j2k(bytes, size_bytes, &layout, reduce);
        break;
    case 2:
        try_rle(bytes, size_bytes, &layout);
        break;
    case 3:
        try_jpeg(bytes, size_bytes, &layout, false);
        break;
    default:
        try_jpeg(bytes, size_bytes, &layout, true);
        break;
    }
    return 0;
}
