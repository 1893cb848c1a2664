#include "dicom/image/image.h"

#include "dicom/image/attributes.h"
#include "dicom/image/dcmtk_codec.h"
#include "dicom/image/frame.h"
#include "dicom/image/j2k.h"
#include "dicom/image/pixel_data.h"
#include "dicom/image/rle.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

typedef enum codec {
    CODEC_NATIVE,
    CODEC_RLE,
    CODEC_DCMTK, /* JPEG and JPEG-LS */
    CODEC_J2K,
    CODEC_REFUSED,
} codec;

typedef struct syntax {
    const char *uid;
    const char *name;
    codec codec;
    bool is_lossy;
} syntax;

/* PS3.5 section 10 and annex A, as far as there are files of it. */
static const syntax syntaxes[] = {
    {"1.2.840.10008.1.2", "Implicit VR Little Endian", CODEC_NATIVE, false},
    {"1.2.840.10008.1.2.1", "Explicit VR Little Endian", CODEC_NATIVE, false},
    {"1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", CODEC_NATIVE, false},
    {"1.2.840.10008.1.2.2", "Explicit VR Big Endian", CODEC_NATIVE, false},
    {"1.2.840.10008.1.2.5", "RLE Lossless", CODEC_RLE, false},
    {"1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)", CODEC_DCMTK, true},
    {"1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 & 4)", CODEC_DCMTK, true},
    {"1.2.840.10008.1.2.4.57", "JPEG Lossless (Process 14)", CODEC_DCMTK, false},
    {"1.2.840.10008.1.2.4.70", "JPEG Lossless (Process 14 SV1)", CODEC_DCMTK, false},
    {"1.2.840.10008.1.2.4.80", "JPEG-LS Lossless", CODEC_DCMTK, false},
    {"1.2.840.10008.1.2.4.81", "JPEG-LS Near-Lossless", CODEC_DCMTK, true},
    {"1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless", CODEC_J2K, false},
    {"1.2.840.10008.1.2.4.91", "JPEG 2000", CODEC_J2K, true},
    {"1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component Lossless", CODEC_REFUSED,
     false},
    {"1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.100", "MPEG2 Main Profile", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.101", "MPEG2 High Level", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.102", "MPEG-4 AVC", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.103", "MPEG-4 AVC BD-compatible", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.107", "HEVC Main Profile", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.201", "HTJ2K Lossless", CODEC_REFUSED, false},
    {"1.2.840.10008.1.2.4.202", "HTJ2K Lossless RPCL", CODEC_REFUSED, false},
    {"1.2.840.10008.1.2.4.203", "HTJ2K", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.94", "JPIP Referenced", CODEC_REFUSED, true},
    {"1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", CODEC_REFUSED, true},
};

static atomic_uint decode_threads = 1;

void md_image_set_threads(unsigned n_threads)
{
    atomic_store(&decode_threads, n_threads == 0 ? 1 : n_threads);
}

/* Without a meta header the pixels are native: nothing else could be read. */
static md_status find_syntax(const md_dataset *dataset, const syntax **ret_syntax,
                             md_error *err)
{
    const char *uid = md_dataset_transfer_syntax(dataset);
    if (uid[0] == '\0') {
        *ret_syntax = &syntaxes[0];
        return MD_OK;
    }
    for (size_t i = 0; i < sizeof syntaxes / sizeof *syntaxes; i++) {
        if (strcmp(uid, syntaxes[i].uid) == 0) {
            if (syntaxes[i].codec == CODEC_REFUSED) {
                return md_fail(err, MD_UNSUPPORTED, "transfer syntax %s (%s) is not read", uid,
                               syntaxes[i].name);
            }
            *ret_syntax = &syntaxes[i];
            return MD_OK;
        }
    }
    bool is_uid = strspn(uid, "0123456789.") == strlen(uid);
    return md_fail(err, MD_UNSUPPORTED, "unknown transfer syntax %s", is_uid ? uid : "");
}

/* Stored bytes of one native frame; of 1-bit images the bits. */
static uint64_t native_frame_bits(const md_layout *layout)
{
    uint64_t samples = layout->colour == MD_COLOUR_YBR_FULL_422 ? 2 : layout->n_samples;
    return (uint64_t)md_layout_pixels(layout) * samples * layout->bits_allocated;
}

/* The frames that are promised must be there before any is believed. */
static md_status check_pixel_data(const md_dataset *dataset, const syntax *s,
                                  const md_layout *layout, md_error *err)
{
    bool is_encapsulated = false;
    MD_TRY(md_pixel_data_kind(dataset, &is_encapsulated, err));
    if (is_encapsulated != (s->codec != CODEC_NATIVE)) {
        return md_fail(err, MD_FORMAT,
                       "(7FE0,0010) Pixel Data is %s, transfer syntax %s says otherwise",
                       is_encapsulated ? "encapsulated" : "native", s->name);
    }
    if (is_encapsulated) {
        uint32_t n = 0;
        MD_TRY(md_pixel_data_count_fragments(dataset, &n, err));
        if (n < layout->n_frames) {
            return md_fail(
                err, MD_FORMAT,
                "(7FE0,0010) Pixel Data has %u fragments, (0028,0008) says %u frames", n,
                layout->n_frames);
        }
        return MD_OK;
    }
    uint64_t have = 0, frame_bits = native_frame_bits(layout), need = 0;
    MD_TRY(md_pixel_data_length(dataset, &have, err));
    bool overflow = __builtin_mul_overflow(frame_bits, (uint64_t)layout->n_frames, &need);
    need = need / 8 + (need % 8 != 0);
    if (overflow || need > have) {
        return md_fail(err, MD_FORMAT,
                       "(7FE0,0010) Pixel Data has %llu bytes, %u frames of %u x %u need %llu",
                       (unsigned long long)have, layout->n_frames, layout->columns,
                       layout->rows, overflow ? ~0ull : (unsigned long long)need);
    }
    return MD_OK;
}

static md_status decode_native_bits(const md_dataset *dataset, const md_layout *layout,
                                    uint32_t frame, md_image *image, md_error *err)
{
    uint64_t first_bit = native_frame_bits(layout) * frame;
    size_t n_bits = md_layout_pixels(layout);
    size_t n = ((size_t)(first_bit % 8) + n_bits + 7) / 8;
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(n);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", n);
    }
    MD_TRY(md_pixel_data_read(dataset, first_bit / 8, n, bytes, err));
    md_frame_unpack_bits(bytes, (unsigned)(first_bit % 8), image);
    return MD_OK;
}

static md_status decode_native_colour(const md_dataset *dataset, const md_layout *layout,
                                      uint64_t offset, size_t n, const md_sample_form *form,
                                      md_image *image, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc_aligned(n);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", n);
    }
    MD_TRY(md_pixel_data_read(dataset, offset, n, bytes, err));
    md_raw_frame raw = {.samples = bytes,
                        .container_bytes = layout->bits_allocated / 8,
                        .is_planar = layout->is_planar,
                        .is_ybr = layout->colour != MD_COLOUR_RGB};
    if (layout->colour != MD_COLOUR_YBR_FULL_422) {
        md_frame_unpack(&raw, layout, form, image);
        return MD_OK;
    }
    size_t n_pixels = md_layout_pixels(layout);
    MD_AUTO(md_freep) uint8_t *wide = md_malloc_aligned(3 * n_pixels);
    if (wide == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", 3 * n_pixels);
    }
    md_frame_widen_422(bytes, n_pixels, wide);
    raw.samples = wide;
    raw.is_planar = false;
    md_frame_unpack(&raw, layout, form, image);
    return MD_OK;
}

static md_status decode_native(const md_dataset *dataset, const md_layout *layout,
                               uint32_t frame, md_image *image, md_error *err)
{
    md_sample_form form = md_sample_form_of(layout, layout->bits_allocated);
    MD_TRY(md_image_allocate(image, layout, &form, err));
    if (layout->bits_allocated == 1) {
        return decode_native_bits(dataset, layout, frame, image, err);
    }
    if (layout->colour == MD_COLOUR_YBR_RCT || layout->colour == MD_COLOUR_YBR_ICT) {
        return md_fail(err, MD_FORMAT, "(0028,0004) YBR_RCT and YBR_ICT need JPEG 2000");
    }
    if (layout->colour == MD_COLOUR_YBR_FULL_422 &&
        (layout->bits_allocated != 8 || layout->columns % 2 != 0)) {
        return md_fail(err, MD_UNSUPPORTED,
                       "(0028,0004) YBR_FULL_422 with odd columns or more than 8 bits");
    }
    size_t n = (size_t)(native_frame_bits(layout) / 8);
    uint64_t offset = (uint64_t)n * frame;
    if (layout->n_samples == 3) {
        return decode_native_colour(dataset, layout, offset, n, &form, image, err);
    }
    if (layout->bits_allocated / 8 == md_pixel_bytes(form.type)) {
        /* The common case: straight from the file into place. */
        MD_TRY(md_pixel_data_read(dataset, offset, n, image->pixels, err));
        if (layout->bits_allocated == 16) {
            md_frame_unpack_in_place(&form, image);
        } else {
            md_raw_frame raw = {.samples = image->pixels, .container_bytes = 1};
            if (form.bits < 8) {
                md_frame_unpack(&raw, layout, &form, image);
            }
        }
        return MD_OK;
    }
    return decode_native_colour(dataset, layout, offset, n, &form, image, err);
}

static bool is_ybr_full(const md_layout *layout)
{
    return layout->colour == MD_COLOUR_YBR_FULL || layout->colour == MD_COLOUR_YBR_FULL_422;
}

static uint32_t halved(uint32_t side, unsigned reduce)
{
    return (uint32_t)(((uint64_t)side + (UINT64_C(1) << reduce) - 1) >> reduce);
}

/* Whether means of neighbouring stored values mean the same as means of what is shown. The
 * picture's range, when there is no window, is set by single pixels, which a mean hides. */
static bool may_reduce(const md_image *image, const md_layout *layout)
{
    return layout->n_samples == 1 && image->photometric != MD_PHOTOMETRIC_PALETTE &&
           !image->has_padding && image->modality_lut.n_entries == 0 &&
           image->voi_lut.n_entries == 0 && image->has_window && image->window_width >= 1;
}

static unsigned choose_reduce(const md_image *image, const md_layout *layout,
                              const md_image_least *least, unsigned max_reduce)
{
    if ((least->columns == 0 && least->rows == 0 && least->longer_side == 0) ||
        !may_reduce(image, layout)) {
        return 0;
    }
    unsigned reduce = 0;
    for (unsigned r = 1; r <= max_reduce && r < 16; r++) {
        uint32_t columns = halved(layout->columns, r), rows = halved(layout->rows, r);
        uint32_t longer = columns > rows ? columns : rows;
        if (columns < least->columns || rows < least->rows || longer < least->longer_side) {
            break;
        }
        reduce = r;
    }
    return reduce;
}

/* The second moment of the low-pass analysis filter (15444-1 annex F; 5-3: -1/8 2/8 6/8 2/8
 * -1/8; 9-7: .6029, .2669, -.0782, -.0169, .0267 from the middle), in squares of the pixels it
 * reads. `reduce` of them one after another add up to (4^reduce - 1) / 3 of it, in squares of
 * stored pixels, of which one pixel of the smaller image has 4^reduce. */
static double spread_of(const md_j2k_header *header, unsigned reduce)
{
    const double one = header->is_reversible ? -0.5 : 0.46035;
    return one * (1.0 - ldexp(1.0, -2 * (int)reduce)) / 3.0;
}

static md_status decode_j2k(const md_compressed_frame *compressed, const md_layout *layout,
                            const md_image_least *least, md_image *image, md_error *err)
{
    md_j2k_header header;
    MD_TRY(md_j2k_read_header(compressed->bytes, compressed->size_bytes, &header, err));
    unsigned n_threads = atomic_load(&decode_threads);
    unsigned reduce = choose_reduce(image, layout, least, header.max_reduce);
    if (reduce > 0) {
        md_status status = md_j2k_decode(compressed->bytes, compressed->size_bytes, layout,
                                         reduce, n_threads, image, err);
        if (status == MD_OK) {
            image->reduce = reduce;
            image->stored_columns = layout->columns;
            image->stored_rows = layout->rows;
            image->spread = spread_of(&header, reduce);
            image->pixel_width_mm *= (double)(1u << reduce);
            image->pixel_height_mm *= (double)(1u << reduce);
            return MD_OK;
        }
        /* A tile may have fewer levels than the main header says: then the whole. */
        md_free(image->pixels);
        image->pixels = NULL;
    }
    return md_j2k_decode(compressed->bytes, compressed->size_bytes, layout, 0, n_threads, image,
                         err);
}

static md_status decode_compressed(const md_dataset *dataset, const syntax *s,
                                   const md_layout *layout, uint32_t frame,
                                   const md_image_least *least, md_image *image, md_error *err)
{
    static const uint8_t jpeg_start[2] = {0xff, 0xd8}, j2k_start[2] = {0xff, 0x4f};
    md_compressed_frame compressed = {0};
    md_raw_frame raw = {0};
    MD_TRY(md_pixel_data_frame(dataset, frame, layout->n_frames,
                               s->codec == CODEC_J2K ? j2k_start : jpeg_start, &compressed,
                               err));
    md_status status = MD_OK;
    switch (s->codec) {
    case CODEC_RLE:
        status = md_rle_decode(compressed.bytes, compressed.size_bytes, layout, &raw, err);
        raw.is_ybr = is_ybr_full(layout);
        break;
    case CODEC_DCMTK:
        status =
            md_dcmtk_decode(s->uid, compressed.bytes, compressed.size_bytes, layout, &raw, err);
        break;
    case CODEC_J2K:
        status = decode_j2k(&compressed, layout, least, image, err);
        /* OpenJPEG has undone RCT and ICT; anything else is what the dataset says. */
        if (status == MD_OK && is_ybr_full(layout)) {
            md_frame_ybr_to_rgb(image);
        }
        break;
    case CODEC_NATIVE:
    case CODEC_REFUSED:
        status = md_fail(err, MD_INTERNAL, "no codec for %s", s->name);
        break;
    }
    if (status == MD_OK && raw.samples != NULL) {
        md_sample_form form = md_sample_form_of(layout, raw.precision);
        status = md_image_allocate(image, layout, &form, err);
        if (status == MD_OK) {
            md_frame_unpack(&raw, layout, &form, image);
        }
    }
    md_free(raw.samples);
    md_compressed_frame_finish(&compressed);
    return status;
}

/* What only some codecs can carry. */
static md_status check_codec(const syntax *s, const md_layout *layout, md_error *err)
{
    if (s->codec != CODEC_NATIVE && layout->bits_allocated == 1) {
        return md_fail(err, MD_UNSUPPORTED, "(0028,0100) 1 bit allocated in %s", s->name);
    }
    if (s->codec == CODEC_RLE && layout->colour == MD_COLOUR_YBR_FULL_422) {
        return md_fail(err, MD_UNSUPPORTED, "(0028,0004) YBR_FULL_422 in %s", s->name);
    }
    return MD_OK;
}

static md_status read_layout(const md_dataset *dataset, md_layout *ret_layout,
                             const syntax **ret_syntax, md_error *err)
{
    bool is_encapsulated = false;
    /* First of all, so that a report or a plan is told to be no image. */
    MD_TRY(md_pixel_data_kind(dataset, &is_encapsulated, err));
    MD_TRY(find_syntax(dataset, ret_syntax, err));
    MD_TRY(md_attributes_read_layout(dataset, ret_layout, err));
    MD_TRY(check_codec(*ret_syntax, ret_layout, err));
    return check_pixel_data(dataset, *ret_syntax, ret_layout, err);
}

md_status md_image_count_frames(const md_dataset *dataset, uint32_t *ret_n, md_error *err)
{
    md_layout layout;
    const syntax *s = NULL;
    MD_TRY(read_layout(dataset, &layout, &s, err));
    *ret_n = layout.n_frames;
    return MD_OK;
}

md_status md_image_decode(const md_dataset *dataset, uint32_t frame, md_image *ret_image,
                          md_error *err)
{
    return md_image_decode_least(dataset, frame, &(md_image_least){0}, ret_image, err);
}

md_status md_image_decode_least(const md_dataset *dataset, uint32_t frame,
                                const md_image_least *least, md_image *ret_image, md_error *err)
{
    md_layout layout;
    const syntax *s = NULL;
    MD_TRY(read_layout(dataset, &layout, &s, err));
    if (frame >= layout.n_frames) {
        return md_fail(err, MD_INVALID_ARG, "frame %u of %u", frame, layout.n_frames);
    }
    md_image image = {0};
    md_status status = md_attributes_read(dataset, &layout, frame, &image, err);
    if (status == MD_OK && s->codec == CODEC_NATIVE) {
        status = decode_native(dataset, &layout, frame, &image, err);
    } else if (status == MD_OK) {
        status = decode_compressed(dataset, s, &layout, frame, least, &image, err);
    }
    if (status != MD_OK) {
        md_image_finish(&image);
        return status;
    }
    image.lossy = image.lossy || s->is_lossy;
    *ret_image = image;
    return MD_OK;
}
