#include "plugins/train/picture.h"

#include "base/file.h"
#include "dicom/dataset/dataset.h"
#include "dicom/image/image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>

#include <jerror.h>
#include <png.h>

enum {
    MAX_SCANS = 200 /* of a progressive JPEG: each costs a pass over the picture */
};

static md_picture_kind kind_of(const uint8_t *bytes, size_t n)
{
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff};
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0) {
        return MD_PICTURE_PNG;
    }
    if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0) {
        return MD_PICTURE_JPEG;
    }
    return MD_PICTURE_NONE;
}

md_picture_kind md_picture_sniff(const char *path)
{
    uint8_t start[8];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return MD_PICTURE_NONE;
    }
    const ssize_t n = read(fd, start, sizeof start);
    close(fd);
    const md_picture_kind kind = n > 0 ? kind_of(start, (size_t)n) : MD_PICTURE_NONE;
    if (kind == MD_PICTURE_NONE && n > 0 && md_dataset_sniff(path)) {
        return MD_PICTURE_DICOM;
    }
    return kind;
}

static md_status check_size(size_t width, size_t height, md_error *err)
{
    size_t n = 0;
    if (width < 1 || height < 1 || width > MD_PICTURE_MAX_SIDE ||
        height > MD_PICTURE_MAX_SIDE || !md_mul(width, height, &n) ||
        n > MD_PICTURE_MAX_PIXELS) {
        return md_fail(err, MD_LIMIT,
                       "a picture of %zu x %zu, expected 1..%d each and %zu pixels", width,
                       height, MD_PICTURE_MAX_SIDE, MD_PICTURE_MAX_PIXELS);
    }
    return MD_OK;
}

/* Interleaved samples of 1 or 3 channels, 8 or 16 bits, to a raster; grey when all three are
 * the same everywhere. */
static md_status make_raster(const void *samples, unsigned n_channels, bool wide,
                             uint32_t width, uint32_t height, md_raster *ret_raster,
                             md_error *err)
{
    const uint8_t *bytes = samples;
    const uint16_t *words = samples;
    const size_t n = (size_t)width * height;
    bool colour = false;
    for (size_t i = 0; n_channels == 3 && i < n * 3 && !colour; i += 3) {
        colour = wide ? words[i] != words[i + 1] || words[i] != words[i + 2]
                      : bytes[i] != bytes[i + 1] || bytes[i] != bytes[i + 2];
    }
    md_raster raster = {0};
    MD_TRY(md_raster_init(&raster, width, height, colour ? 3 : 1, err));
    for (unsigned c = 0; c < raster.n_channels; c++) {
        float *to = raster.values + c * n;
        if (wide) {
            for (size_t i = 0; i < n; i++) {
                to[i] = (float)words[i * n_channels + c] / 65535.0F;
            }
        } else {
            for (size_t i = 0; i < n; i++) {
                to[i] = (float)bytes[i * n_channels + c] / 255.0F;
            }
        }
    }
    *ret_raster = raster;
    return MD_OK;
}

/* ---- PNG */

typedef struct png_source {
    const uint8_t *bytes;
    size_t n_left;
    png_structp png;
    png_infop info;
    uint8_t *samples;
    png_bytep *rows;
    char message[96];
    bool no_memory;
} png_source;

static void png_take(png_structp png, png_bytep to, size_t n)
{
    png_source *s = png_get_io_ptr(png);
    if (n > s->n_left) {
        png_error(png, "cut short");
    }
    memcpy(to, s->bytes, n);
    s->bytes += n;
    s->n_left -= n;
}

static void png_complain(png_structp png, png_const_charp text)
{
    png_source *s = png_get_error_ptr(png);
    snprintf(s->message, sizeof s->message, "%s", text);
    png_longjmp(png, 1);
}

static void png_keep_quiet(png_structp png, png_const_charp text)
{
    (void)png, (void)text; /* warnings are about what is not pixels */
}

/* Alpha over black: 16 bits, native order. */
static void flatten(uint16_t *samples, size_t n, unsigned n_channels)
{
    const unsigned n_colours = n_channels - 1;
    for (size_t i = 0; i < n; i++) {
        const uint32_t alpha = samples[i * n_channels + n_colours];
        for (unsigned c = 0; c < n_colours; c++) {
            const uint32_t value = samples[i * n_channels + c];
            samples[i * n_colours + c] = (uint16_t)((value * alpha + 32767) / 65535);
        }
    }
}

/* Everything between setjmp and its use may jump; the source keeps what must be freed. */
static md_status png_decode(png_source *s, md_raster *ret_raster, md_error *err)
{
    if (setjmp(png_jmpbuf(s->png)) != 0) {
        return s->no_memory ? md_fail(err, MD_NOMEM, "no memory for a PNG picture")
                            : md_fail(err, MD_FORMAT, "broken PNG: %s", s->message);
    }
    png_set_user_limits(s->png, MD_PICTURE_MAX_SIDE, MD_PICTURE_MAX_SIDE);
    png_set_chunk_malloc_max(s->png, 8000000);
    png_set_crc_action(s->png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
    png_set_read_fn(s->png, s, png_take);
    png_read_info(s->png, s->info);
    const uint32_t width = png_get_image_width(s->png, s->info);
    const uint32_t height = png_get_image_height(s->png, s->info);
    MD_TRY(check_size(width, height, err));
    png_set_expand(s->png);
    const bool has_alpha = (png_get_color_type(s->png, s->info) & PNG_COLOR_MASK_ALPHA) != 0 ||
                           png_get_valid(s->png, s->info, PNG_INFO_tRNS) != 0;
    if (has_alpha) {
        png_set_expand_16(s->png);
    }
    png_set_swap(s->png);
    (void)png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
    const unsigned n_channels = png_get_channels(s->png, s->info);
    const bool wide = png_get_bit_depth(s->png, s->info) == 16;
    const size_t row_bytes = (size_t)width * n_channels * (wide ? 2 : 1);
    if (row_bytes != png_get_rowbytes(s->png, s->info)) {
        return md_fail(err, MD_UNSUPPORTED, "a PNG with %u channels of %u bits", n_channels,
                       png_get_bit_depth(s->png, s->info));
    }
    s->samples = md_malloc(row_bytes * height);
    s->rows = md_calloc(height, sizeof *s->rows);
    if (s->samples == NULL || s->rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a PNG picture");
    }
    for (uint32_t y = 0; y < height; y++) {
        s->rows[y] = s->samples + y * row_bytes;
    }
    png_read_image(s->png, s->rows);
    png_read_end(s->png, NULL);
    const bool alpha = n_channels == 2 || n_channels == 4;
    if (alpha) {
        flatten((uint16_t *)(void *)s->samples, (size_t)width * height, n_channels);
    }
    return make_raster(s->samples, alpha ? n_channels - 1 : n_channels, wide, width, height,
                       ret_raster, err);
}

static png_voidp png_take_memory(png_structp png, png_alloc_size_t n)
{
    png_source *s = png_get_mem_ptr(png);
    void *block = md_malloc(n);
    s->no_memory = s->no_memory || block == NULL;
    return block;
}

static void png_give_memory(png_structp png, png_voidp block)
{
    (void)png;
    md_free(block);
}

static md_status read_png(const uint8_t *bytes, size_t n, md_raster *ret_raster, md_error *err)
{
    png_source s = {.bytes = bytes, .n_left = n};
    s.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &s, png_complain, png_keep_quiet,
                                     &s, png_take_memory, png_give_memory);
    s.info = s.png != NULL ? png_create_info_struct(s.png) : NULL;
    md_status status = s.info != NULL ? png_decode(&s, ret_raster, err)
                                      : md_fail(err, MD_NOMEM, "no memory for a PNG picture");
    png_destroy_read_struct(&s.png, &s.info, NULL);
    md_free(s.samples);
    md_free(s.rows);
    return status;
}

/* ---- JPEG */

typedef struct jpeg_source {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
    uint8_t *samples;
    bool too_many_scans;
} jpeg_source;

static void jpeg_stop(j_common_ptr jpeg)
{
    jpeg_source *s = jpeg->client_data;
    s->errors.format_message(jpeg, s->message);
    longjmp(s->back, 1);
}

/* libjpeg fills what is missing with grey and goes on. Not here: a film that is cut short must
 * not be learnt. What comes before a marker or is said about colour does no harm. */
static void jpeg_complain(j_common_ptr jpeg, int level)
{
    const int code = jpeg->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM &&
        code != JWRN_JFIF_MAJOR) {
        jpeg_stop(jpeg);
    }
}

static void jpeg_keep_quiet(j_common_ptr jpeg)
{
    (void)jpeg;
}

static void jpeg_count_scans(j_common_ptr jpeg)
{
    jpeg_source *s = jpeg->client_data;
    if (s->jpeg.input_scan_number > MAX_SCANS) {
        s->too_many_scans = true;
        longjmp(s->back, 1);
    }
}

static md_status jpeg_decode(jpeg_source *s, const uint8_t *bytes, size_t n,
                             md_raster *ret_raster, md_error *err)
{
    if (setjmp(s->back) != 0) {
        if (s->too_many_scans) {
            return md_fail(err, MD_LIMIT, "a JPEG of more than %d scans", MAX_SCANS);
        }
        return s->errors.msg_code == JERR_OUT_OF_MEMORY
                   ? md_fail(err, MD_NOMEM, "no memory for a JPEG picture")
                   : md_fail(err, MD_FORMAT, "broken JPEG: %s", s->message);
    }
    jpeg_create_decompress(&s->jpeg);
    s->jpeg.client_data = s;
    s->jpeg.progress = &s->progress;
    jpeg_mem_src(&s->jpeg, bytes, n);
    (void)jpeg_read_header(&s->jpeg, TRUE);
    MD_TRY(check_size(s->jpeg.image_width, s->jpeg.image_height, err));
    const J_COLOR_SPACE space = s->jpeg.jpeg_color_space;
    if (space != JCS_GRAYSCALE && space != JCS_YCbCr && space != JCS_RGB) {
        return md_fail(err, MD_UNSUPPORTED, "a JPEG of %d colour components, expected 1 or 3",
                       s->jpeg.num_components);
    }
    s->jpeg.out_color_space = space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    (void)jpeg_start_decompress(&s->jpeg);
    const size_t row_bytes = (size_t)s->jpeg.output_width * (unsigned)s->jpeg.output_components;
    s->samples = md_malloc(row_bytes * s->jpeg.output_height);
    if (s->samples == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a JPEG picture");
    }
    while (s->jpeg.output_scanline < s->jpeg.output_height) {
        JSAMPROW row = s->samples + s->jpeg.output_scanline * row_bytes;
        (void)jpeg_read_scanlines(&s->jpeg, &row, 1);
    }
    (void)jpeg_finish_decompress(&s->jpeg);
    return make_raster(s->samples, (unsigned)s->jpeg.output_components, false,
                       s->jpeg.output_width, s->jpeg.output_height, ret_raster, err);
}

static md_status read_jpeg(const uint8_t *bytes, size_t n, md_raster *ret_raster, md_error *err)
{
    jpeg_source *s = md_calloc(1, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a JPEG picture");
    }
    s->jpeg.err = jpeg_std_error(&s->errors);
    s->jpeg.client_data = s;
    s->errors.error_exit = jpeg_stop;
    s->errors.emit_message = jpeg_complain;
    s->errors.output_message = jpeg_keep_quiet;
    s->progress.progress_monitor = jpeg_count_scans;
    md_status status = jpeg_decode(s, bytes, n, ret_raster, err);
    jpeg_destroy_decompress(&s->jpeg);
    md_free(s->samples);
    md_free(s);
    return status;
}

/* ---- DICOM */

static md_status read_dicom(const char *path, const md_preprocess_spec *spec,
                            const md_image_least *least, md_raster *ret_raster, md_error *err)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    MD_TRY(md_dataset_open(path, &dataset, err));
    uint32_t n_frames = 0;
    MD_TRY(md_image_count_frames(dataset, &n_frames, err));
    if (n_frames != 1) {
        return md_fail(err, MD_UNSUPPORTED, "%u frames, expected one", n_frames);
    }
    md_image image = {0};
    MD_TRY(md_image_decode_least(dataset, 0, least, &image, err));
    md_status status = md_image_normalise(&image, spec->values, ret_raster, NULL, err);
    md_image_finish(&image);
    return status;
}

md_status md_picture_read(const char *path, const md_preprocess_spec *spec,
                          const md_image_least *least, md_raster *ret_raster, md_error *err)
{
    const md_picture_kind kind = md_picture_sniff(path);
    if (kind == MD_PICTURE_DICOM) {
        return read_dicom(path, spec, least, ret_raster, err);
    }
    if (spec->values == MD_VALUES_PHYSICAL && kind != MD_PICTURE_NONE) {
        return md_fail(err, MD_UNSUPPORTED,
                       "PNG and JPEG have no physical values, expected DICOM");
    }
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    md_status status = md_file_read(path, MD_PICTURE_MAX_BYTES, &bytes, &n, err);
    if (status != MD_OK) {
        /* the caller names the file */
        if (status == MD_NOMEM) {
            return md_fail(err, MD_NOMEM, "no memory for a file");
        }
        return err != NULL && err->os_errno != 0
                   ? md_fail_os(err, err->os_errno, "it cannot be read")
                   : md_fail(err, status, "it is no regular file of at most %zu bytes",
                             MD_PICTURE_MAX_BYTES);
    }
    switch (kind) {
    case MD_PICTURE_PNG:
        return read_png(bytes, n, ret_raster, err);
    case MD_PICTURE_JPEG:
        return read_jpeg(bytes, n, ret_raster, err);
    case MD_PICTURE_NONE:
    case MD_PICTURE_DICOM:
    default:
        return md_fail(err, MD_FORMAT, n == 0 ? "an empty file" : "no DICOM, PNG or JPEG");
    }
}
