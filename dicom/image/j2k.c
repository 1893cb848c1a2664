#include "dicom/image/j2k.h"

#include <openjpeg.h>
#include <string.h>

enum {
    MARKER_SOC = 0xff4f,
    MARKER_CAP = 0xff50,
    MARKER_SIZ = 0xff51,
    MARKER_COD = 0xff52,
    MARKER_COC = 0xff53,
    MARKER_SOT = 0xff90,
    SIZ_FIXED_BYTES = 38,
    MAX_COMPONENTS = 4,
};

/* --- header ---------------------------------------------------------------------------- */

static uint32_t read_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t read_u32(const uint8_t *p)
{
    return read_u16(p) << 16 | read_u16(p + 2);
}

/* The codestream in a JP2 file: the contents of its box "jp2c". */
static md_status find_codestream(const uint8_t *bytes, size_t size_bytes, size_t *ret_offset,
                                 md_error *err)
{
    static const uint8_t signature[] = {0, 0, 0, 12, 'j', 'P', ' ', ' '};
    if (size_bytes >= 4 && read_u16(bytes) == MARKER_SOC) {
        *ret_offset = 0;
        return MD_OK;
    }
    if (size_bytes < sizeof signature || memcmp(bytes, signature, sizeof signature) != 0) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 stream does not begin with SOC");
    }
    size_t at = 0;
    while (size_bytes - at >= 8) {
        uint32_t length = read_u32(bytes + at);
        if (memcmp(bytes + at + 4, "jp2c", 4) == 0) {
            size_t head = length == 1 ? 16 : 8;
            if (size_bytes - at < head + 4 || read_u16(bytes + at + head) != MARKER_SOC) {
                break;
            }
            *ret_offset = at + head;
            return MD_OK;
        }
        if (length < 8 || length > size_bytes - at) {
            break;
        }
        at += length;
    }
    return md_fail(err, MD_FORMAT, "JP2 file without a codestream");
}

/* How often a picture can be halved so that its sides are rounded up: its origin on the
 * stream's grid must be even each time (15444-1 B.5). */
static unsigned halvings_of_origin(uint32_t x0, uint32_t y0)
{
    uint32_t both = x0 | y0;
    return both == 0 ? MD_J2K_MAX_REDUCE : (unsigned)__builtin_ctz(both);
}

/* p is behind the marker: Lsiz Rsiz Xsiz Ysiz XOsiz YOsiz XTsiz YTsiz XTOsiz YTOsiz Csiz and
 * three bytes for each component (15444-1 A.5.1). */
static md_status read_siz(const uint8_t *p, size_t segment_bytes, md_j2k_header *header,
                          md_error *err)
{
    if (segment_bytes < SIZ_FIXED_BYTES) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 SIZ of %zu bytes", segment_bytes);
    }
    uint32_t x1 = read_u32(p + 4), y1 = read_u32(p + 8);
    uint32_t x0 = read_u32(p + 12), y0 = read_u32(p + 16);
    uint32_t tile_x = read_u32(p + 20), tile_y = read_u32(p + 24);
    uint32_t tile_x0 = read_u32(p + 28), tile_y0 = read_u32(p + 32);
    unsigned n = read_u16(p + 36);
    if (x1 <= x0 || y1 <= y0 || tile_x == 0 || tile_y == 0 || tile_x0 > x0 || tile_y0 > y0 ||
        n == 0 || segment_bytes < SIZ_FIXED_BYTES + 3 * (size_t)n) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 SIZ contradicts itself");
    }
    uint64_t across = ((uint64_t)x1 - tile_x0 + tile_x - 1) / tile_x;
    uint64_t down = ((uint64_t)y1 - tile_y0 + tile_y - 1) / tile_y;
    if (n > MAX_COMPONENTS) {
        return md_fail(err, MD_UNSUPPORTED, "JPEG 2000 stream of %u components, at most %d", n,
                       MAX_COMPONENTS);
    }
    if (across > MD_J2K_MAX_TILES || down > MD_J2K_MAX_TILES ||
        across * down > MD_J2K_MAX_TILES) {
        return md_fail(err, MD_LIMIT, "JPEG 2000 stream of more than %d tiles",
                       MD_J2K_MAX_TILES);
    }
    header->columns = x1 - x0;
    header->rows = y1 - y0;
    header->n_components = n;
    header->max_reduce = halvings_of_origin(x0, y0);
    for (unsigned c = 0; c < n; c++) {
        const uint8_t *component = p + SIZ_FIXED_BYTES + 3 * (size_t)c;
        unsigned precision = (component[0] & 0x7fu) + 1;
        bool is_signed = (component[0] & 0x80) != 0;
        if (component[1] != 1 || component[2] != 1) {
            return md_fail(err, MD_UNSUPPORTED, "JPEG 2000 stream with subsampled components");
        }
        if (precision > 16) {
            return md_fail(err, MD_UNSUPPORTED, "JPEG 2000 stream of %u bits, at most 16",
                           precision);
        }
        if (c > 0 && (precision != header->precision || is_signed != header->is_signed)) {
            return md_fail(err, MD_UNSUPPORTED, "JPEG 2000 components of different depth");
        }
        header->precision = precision;
        header->is_signed = is_signed;
    }
    return MD_OK;
}

md_status md_j2k_read_header(const uint8_t *bytes, size_t size_bytes, md_j2k_header *ret_header,
                             md_error *err)
{
    md_j2k_header header = {0};
    MD_TRY(find_codestream(bytes, size_bytes, &header.codestream_offset, err));
    bool has_siz = false, has_cod = false, has_coc = false;
    unsigned n_levels = 0;
    size_t at = header.codestream_offset + 2;
    for (;;) {
        if (size_bytes - at < 4) {
            return md_fail(err, MD_FORMAT, "JPEG 2000 main header is cut short");
        }
        uint32_t marker = read_u16(bytes + at);
        if (marker == MARKER_SOT) {
            break;
        }
        size_t segment_bytes = read_u16(bytes + at + 2);
        const uint8_t *p = bytes + at + 2;
        if (marker < 0xff00 || segment_bytes < 2 || segment_bytes > size_bytes - at - 2) {
            return md_fail(err, MD_FORMAT, "JPEG 2000 main header is broken");
        }
        if (marker == MARKER_SIZ && !has_siz) {
            MD_TRY(read_siz(p, segment_bytes, &header, err));
            has_siz = true;
        } else if (marker == MARKER_CAP) {
            header.is_high_throughput = true;
        } else if (marker == MARKER_COD && segment_bytes >= 12) {
            header.has_transform = p[6] != 0;
            header.is_reversible = p[11] == 1;
            n_levels = has_coc ? 0 : p[7];
            has_cod = true;
        } else if (marker == MARKER_COC) {
            has_coc = true;
            n_levels = 0;
        }
        at += 2 + segment_bytes;
    }
    if (!has_siz || !has_cod) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 main header without %s",
                       has_siz ? "COD" : "SIZ");
    }
    header.max_reduce = header.max_reduce < n_levels ? header.max_reduce : n_levels;
    *ret_header = header;
    return MD_OK;
}

/* --- memory as a stream ------------------------------------------------------------------ */

typedef struct memory_stream {
    const uint8_t *bytes;
    size_t size_bytes, at;
} memory_stream;

static OPJ_SIZE_T stream_read(void *to, OPJ_SIZE_T n, void *user)
{
    memory_stream *stream = user;
    size_t left = stream->size_bytes - stream->at;
    if (left == 0) {
        return (OPJ_SIZE_T)-1;
    }
    if (n > left) {
        n = left;
    }
    memcpy(to, stream->bytes + stream->at, n);
    stream->at += n;
    return n;
}

static OPJ_OFF_T stream_skip(OPJ_OFF_T n, void *user)
{
    memory_stream *stream = user;
    if (n < 0 || stream->at == stream->size_bytes) {
        return -1;
    }
    size_t left = stream->size_bytes - stream->at;
    size_t step = (uint64_t)n < left ? (size_t)n : left;
    stream->at += step;
    return (OPJ_OFF_T)step;
}

static OPJ_BOOL stream_seek(OPJ_OFF_T offset, void *user)
{
    memory_stream *stream = user;
    if (offset < 0 || (uint64_t)offset > stream->size_bytes) {
        return OPJ_FALSE;
    }
    stream->at = (size_t)offset;
    return OPJ_TRUE;
}

/* --- decoding ---------------------------------------------------------------------------- */

typedef struct decoder {
    opj_stream_t *stream;
    opj_codec_t *codec;
    opj_image_t *picture;
} decoder;

static void decoder_finish(decoder *d)
{
    opj_image_destroy(d->picture);
    if (d->codec != NULL) {
        opj_destroy_codec(d->codec);
    }
    if (d->stream != NULL) {
        opj_stream_destroy(d->stream);
    }
}

/* OpenJPEG's texts quote numbers of the stream only; the first error is the most telling. */
static void keep_first_error(const char *text, void *user)
{
    char *kept = user;
    if (kept[0] == '\0') {
        size_t length = strcspn(text, "\n");
        if (length > 95) {
            length = 95;
        }
        memcpy(kept, text, length);
        kept[length] = '\0';
    }
}

static void ignore(const char *text, void *user)
{
    (void)text;
    (void)user;
}

static md_status open_decoder(decoder *d, memory_stream *memory, unsigned reduce,
                              unsigned n_threads, char *ret_text, md_error *err)
{
    d->stream = opj_stream_create(1 << 20, OPJ_TRUE);
    d->codec = opj_create_decompress(OPJ_CODEC_J2K);
    if (d->stream == NULL || d->codec == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    opj_stream_set_read_function(d->stream, stream_read);
    opj_stream_set_skip_function(d->stream, stream_skip);
    opj_stream_set_seek_function(d->stream, stream_seek);
    opj_stream_set_user_data(d->stream, memory, NULL);
    opj_stream_set_user_data_length(d->stream, memory->size_bytes);
    opj_set_error_handler(d->codec, keep_first_error, ret_text);
    opj_set_warning_handler(d->codec, ignore, NULL);
    opj_set_info_handler(d->codec, ignore, NULL);
    opj_dparameters_t parameters;
    opj_set_default_decoder_parameters(&parameters);
    parameters.cp_reduce = reduce;
    if (!opj_setup_decoder(d->codec, &parameters)) {
        return md_fail(err, MD_INTERNAL, "OpenJPEG refuses its parameters");
    }
    /* A stream that ends early must not pass as a picture with grey in the missing part. */
    opj_decoder_set_strict_mode(d->codec, OPJ_TRUE);
    if (n_threads > 1) {
        opj_codec_set_threads(d->codec, (int)n_threads);
    }
    return MD_OK;
}

static md_status check_components(const opj_image_t *picture, const md_layout *layout,
                                  unsigned reduce, md_error *err)
{
    uint64_t round = ((uint64_t)1 << reduce) - 1;
    uint32_t columns = (uint32_t)((layout->columns + round) >> reduce);
    uint32_t rows = (uint32_t)((layout->rows + round) >> reduce);
    for (uint32_t c = 0; c < layout->n_samples; c++) {
        const opj_image_comp_t *component = &picture->comps[c];
        /* With an odd origin the reduced size may be one less or more; it is refused. */
        if (component->data == NULL || component->w != columns || component->h != rows) {
            return md_fail(err, MD_FORMAT, "JPEG 2000 component %u is %u x %u, not %u x %u", c,
                           component->w, component->h, columns, rows);
        }
    }
    return MD_OK;
}

static void copy_component(const opj_image_comp_t *component, size_t n,
                           const md_sample_form *form, void *to)
{
    const OPJ_INT32 *from = component->data;
    uint8_t *small = to;
    uint16_t *large = to;
    if (md_pixel_bytes(form->type) == 1) {
        for (size_t i = 0; i < n; i++) {
            small[i] = (uint8_t)md_sample_value((uint32_t)from[i], form);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            large[i] = (uint16_t)md_sample_value((uint32_t)from[i], form);
        }
    }
}

static md_status decode_picture(decoder *d, const md_layout *layout, unsigned reduce,
                                const char *text, md_error *err)
{
    if (!opj_read_header(d->stream, d->codec, &d->picture)) {
        return md_fail(err, MD_FORMAT, "broken JPEG 2000 header: %s", text);
    }
    if (d->picture->numcomps < layout->n_samples) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 stream of %u components, (0028,0002) says %u",
                       d->picture->numcomps, layout->n_samples);
    }
    if (!opj_decode(d->codec, d->stream, d->picture)) {
        return md_fail(err, MD_FORMAT, "broken JPEG 2000 stream: %s", text);
    }
    return check_components(d->picture, layout, reduce, err);
}

md_status md_j2k_decode(const uint8_t *bytes, size_t size_bytes, const md_layout *layout,
                        unsigned reduce, unsigned n_threads, md_image *image, md_error *err)
{
    md_j2k_header header;
    MD_TRY(md_j2k_read_header(bytes, size_bytes, &header, err));
    if (header.is_high_throughput) {
        return md_fail(err, MD_UNSUPPORTED, "high-throughput JPEG 2000 (Part 15)");
    }
    if (header.columns != layout->columns || header.rows != layout->rows) {
        return md_fail(err, MD_FORMAT,
                       "JPEG 2000 stream of %u x %u, (0028,0011) x (0028,0010) say %u x %u",
                       header.columns, header.rows, layout->columns, layout->rows);
    }
    if (header.n_components < layout->n_samples) {
        return md_fail(err, MD_FORMAT, "JPEG 2000 stream of %u components, (0028,0002) says %u",
                       header.n_components, layout->n_samples);
    }
    memory_stream memory = {.bytes = bytes + header.codestream_offset,
                            .size_bytes = size_bytes - header.codestream_offset};
    decoder d = {0};
    char text[96] = "";
    md_status status = open_decoder(&d, &memory, reduce, n_threads, text, err);
    if (status == MD_OK) {
        status = decode_picture(&d, layout, reduce, text, err);
    }
    if (status == MD_OK) {
        md_layout reduced = *layout;
        reduced.columns = d.picture->comps[0].w;
        reduced.rows = d.picture->comps[0].h;
        md_sample_form form = md_sample_form_of(layout, header.precision);
        status = md_image_allocate(image, &reduced, &form, err);
        size_t n = md_layout_pixels(&reduced);
        for (uint32_t c = 0; status == MD_OK && c < layout->n_samples; c++) {
            uint8_t *to = (uint8_t *)image->pixels + c * n * md_pixel_bytes(form.type);
            copy_component(&d.picture->comps[c], n, &form, to);
        }
    }
    decoder_finish(&d);
    return status;
}
