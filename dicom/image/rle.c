#include "dicom/image/rle.h"

#include <string.h>

enum {
    HEADER_BYTES = 64,
    MAX_SEGMENTS = 15
};

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* Expand one segment into every `step`-th byte. False when it ends before n bytes are out. */
static bool expand(const uint8_t *from, size_t from_bytes, uint8_t *to, size_t step, size_t n)
{
    size_t at = 0, done = 0;
    while (done < n) {
        if (at >= from_bytes) {
            return false;
        }
        unsigned control = from[at++];
        size_t count = control < 128 ? control + 1u : 257u - control;
        if (control == 128) {
            continue; /* no operation */
        }
        size_t room = n - done < count ? n - done : count;
        if (control < 128) {
            if (from_bytes - at < room) {
                return false;
            }
            for (size_t i = 0; i < room; i++) {
                to[(done + i) * step] = from[at + i];
            }
            at += count;
        } else {
            if (at >= from_bytes) {
                return false;
            }
            for (size_t i = 0; i < room; i++) {
                to[(done + i) * step] = from[at];
            }
            at++;
        }
        done += room;
    }
    return true;
}

md_status md_rle_decode(const uint8_t *bytes, size_t size_bytes, const md_layout *layout,
                        md_raw_frame *ret_raw, md_error *err)
{
    if (size_bytes < HEADER_BYTES) {
        return md_fail(err, MD_FORMAT, "RLE frame of %zu bytes has no header of %d", size_bytes,
                       HEADER_BYTES);
    }
    uint32_t sample_bytes = layout->bits_allocated / 8;
    uint32_t n_segments = read_u32(bytes);
    if (n_segments != layout->n_samples * sample_bytes || n_segments > MAX_SEGMENTS) {
        return md_fail(err, MD_FORMAT,
                       "RLE frame of %u segments, %u samples of %u bits need %u", n_segments,
                       layout->n_samples, layout->bits_allocated,
                       layout->n_samples * sample_bytes);
    }
    size_t n = md_layout_pixels(layout);
    MD_AUTO(md_freep) uint8_t *samples = md_malloc_aligned(n * n_segments);
    if (samples == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    for (uint32_t k = 0; k < n_segments; k++) {
        size_t start = read_u32(bytes + 4 + 4 * (size_t)k);
        size_t end = k + 1 < n_segments ? read_u32(bytes + 8 + 4 * (size_t)k) : size_bytes;
        if (start < HEADER_BYTES || start > end || end > size_bytes) {
            return md_fail(err, MD_FORMAT, "RLE segment %u lies outside its frame", k + 1);
        }
        size_t channel = k / sample_bytes;
        size_t byte = sample_bytes - 1 - k % sample_bytes; /* little endian host */
        uint8_t *to = samples + channel * n * sample_bytes + byte;
        if (!expand(bytes + start, end - start, to, sample_bytes, n)) {
            return md_fail(err, MD_FORMAT, "RLE segment %u ends before %zu bytes are out",
                           k + 1, n);
        }
    }
    *ret_raw = (md_raw_frame){.container_bytes = sample_bytes,
                              .precision = layout->bits_allocated,
                              .is_planar = true};
    ret_raw->samples = MD_STEAL(samples);
    return MD_OK;
}
