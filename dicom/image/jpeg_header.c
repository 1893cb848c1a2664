#include "dicom/image/jpeg_header.h"

#include <string.h>

enum {
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_APP0 = 0xe0,
    MARKER_APP14 = 0xee,
    MARKER_SOF55 = 0xf7,
    MAX_COMPONENTS = 4,
};

static uint32_t read_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

/* SOF0..15 are C0..CF without DHT, JPG and DAC. */
static bool is_frame(unsigned marker)
{
    return (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
            marker != 0xcc) ||
           marker == MARKER_SOF55;
}

/* p is behind the length: P Y X Nf and three bytes for each component. */
static md_status read_frame(unsigned marker, const uint8_t *p, size_t n, md_jpeg_header *header,
                            md_error *err)
{
    if (n < 6 || n < 6 + 3 * (size_t)p[5]) {
        return md_fail(err, MD_FORMAT, "JPEG frame header is cut short");
    }
    header->process = marker == MARKER_SOF55 ? 55 : marker - 0xc0;
    header->precision = p[0];
    header->rows = read_u16(p + 1);
    header->columns = read_u16(p + 3);
    header->n_components = p[5];
    if (header->n_components == 0 || header->n_components > MAX_COMPONENTS ||
        header->precision < 2 || header->precision > 16) {
        return md_fail(err, MD_UNSUPPORTED, "JPEG stream of %u components of %u bits",
                       header->n_components, header->precision);
    }
    for (size_t c = 0; c < header->n_components; c++) {
        header->component_ids[c] = p[6 + 3 * c];
    }
    return MD_OK;
}

static void read_application(unsigned marker, const uint8_t *p, size_t n,
                             md_jpeg_header *header)
{
    if (marker == MARKER_APP0 && n >= 5 && memcmp(p, "JFIF", 5) == 0) {
        header->has_jfif = true;
    }
    if (marker == MARKER_APP14 && n >= 12 && memcmp(p, "Adobe", 5) == 0) {
        header->has_adobe = true;
        header->adobe_transform = p[11];
    }
}

md_status md_jpeg_read_header(const uint8_t *bytes, size_t size_bytes,
                              md_jpeg_header *ret_header, md_error *err)
{
    if (size_bytes < 2 || bytes[0] != 0xff || bytes[1] != MARKER_SOI) {
        return md_fail(err, MD_FORMAT, "JPEG stream does not begin with SOI");
    }
    md_jpeg_header header = {0};
    bool has_frame = false;
    size_t at = 2;
    for (;;) {
        if (at + 2 > size_bytes || bytes[at] != 0xff) {
            return md_fail(err, MD_FORMAT, "broken JPEG header at byte %zu", at);
        }
        unsigned marker = bytes[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == MARKER_SOS) {
            break;
        }
        if (marker == MARKER_SOI || marker == MARKER_EOI || marker < 0xc0 ||
            size_bytes - at < 4) {
            return md_fail(err, MD_FORMAT, "broken JPEG header at byte %zu", at);
        }
        size_t length = read_u16(bytes + at + 2);
        if (length < 2 || length > size_bytes - at - 2) {
            return md_fail(err, MD_FORMAT, "JPEG segment at byte %zu is cut short", at);
        }
        const uint8_t *p = bytes + at + 4;
        if (is_frame(marker)) {
            if (has_frame) {
                return md_fail(err, MD_FORMAT, "JPEG stream with two frame headers");
            }
            MD_TRY(read_frame(marker, p, length - 2, &header, err));
            has_frame = true;
        } else {
            read_application(marker, p, length - 2, &header);
        }
        at += 2 + length;
    }
    if (!has_frame) {
        return md_fail(err, MD_FORMAT, "JPEG stream without a frame header");
    }
    *ret_header = header;
    return MD_OK;
}
