#include "build_file.h"
#include "dicom/image/frame.h"
#include "dicom/image/image.h"
#include "dicom/image/j2k.h"
#include "dicom/image/jpeg_header.h"
#include "dicom/image/rle.h"

#include <openjpeg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const md_layout grey16 = {.rows = 2,
                                 .columns = 3,
                                 .n_samples = 1,
                                 .n_frames = 1,
                                 .bits_allocated = 16,
                                 .bits_stored = 16,
                                 .high_bit = 15,
                                 .colour = MD_COLOUR_MONOCHROME2};

static int init(void **state)
{
    (void)state;
    md_error err;
    return md_dicom_init(&err) != MD_OK;
}

static int finish(void **state)
{
    (void)state;
    md_dicom_finish();
    return 0;
}

/* --- RLE ------------------------------------------------------------------------------------
 */

static void test_rle(void **state)
{
    (void)state;
    /* PS3.5 G: two segments at 64 and 68. High bytes: six times 1; low bytes: 0 1 2, 3 x 9. */
    uint8_t frame[80] = {2, 0, 0, 0, 64, 0, 0, 0, 66, 0, 0, 0};
    static const uint8_t high[] = {(uint8_t)(257 - 6), 1};
    static const uint8_t low[] = {2, 0, 1, 2, 128, (uint8_t)(257 - 3), 9};
    memcpy(frame + 64, high, sizeof high);
    memcpy(frame + 66, low, sizeof low);
    size_t n = 66 + sizeof low;
    static const uint16_t want[6] = {256, 257, 258, 265, 265, 265};
    md_raw_frame raw;
    md_error err;
    assert_int_equal(md_rle_decode(frame, n, &grey16, &raw, &err), MD_OK);
    assert_memory_equal(raw.samples, want, sizeof want);
    md_free(raw.samples);
    for (size_t k = 0; k < n; k++) {
        assert_int_equal(md_rle_decode(frame, k, &grey16, &raw, &err), MD_FORMAT);
    }
    for (size_t at = 0; at < n; at++) { /* any byte wrong: an answer, never a crash */
        for (unsigned value = 0; value < 256; value += 5) {
            uint8_t broken[80];
            memcpy(broken, frame, sizeof broken);
            broken[at] = (uint8_t)value;
            if (md_rle_decode(broken, n, &grey16, &raw, &err) == MD_OK) {
                md_free(raw.samples);
            }
        }
    }
    md_memory_fail_at(1);
    assert_int_equal(md_rle_decode(frame, n, &grey16, &raw, &err), MD_NOMEM);
    md_memory_fail_at(0);
}

/* --- sample form -----------------------------------------------------------------------------
 */

static void test_sample_form(void **state)
{
    (void)state;
    static const struct {
        unsigned allocated, stored, high, precision;
        bool is_signed;
        uint32_t pattern;
        int32_t want;
    } rows[] = {
        {16, 12, 11, 16, false, 0xf123, 0x123}, /* native: overlay bits are dropped */
        {16, 12, 11, 16, true, 0x0fff, -1},     {16, 12, 15, 16, true, 0xfff0, -1},
        {16, 12, 15, 16, false, 0x1230, 0x123}, {16, 16, 15, 16, true, 0x8000, -32768},
        {16, 16, 15, 12, true, 0x0800, -2048},  /* stream of 12 bits in a dataset of 16 */
        {16, 12, 15, 12, false, 0x0123, 0x123}, /* stream right-aligned although high bit 15 */
        {8, 1, 0, 8, false, 0xff, 1},           {8, 8, 7, 8, true, 0x80, -128},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_layout layout = grey16;
        layout.bits_allocated = rows[i].allocated;
        layout.bits_stored = rows[i].stored;
        layout.high_bit = rows[i].high;
        layout.is_signed = rows[i].is_signed;
        md_sample_form form = md_sample_form_of(&layout, rows[i].precision);
        assert_int_equal(md_sample_value(rows[i].pattern, &form), rows[i].want);
    }
}

/* --- JPEG header -----------------------------------------------------------------------------
 */

static void test_jpeg_header(void **state)
{
    (void)state;
    static const uint8_t stream[] = {
        0xff, 0xd8, 0xff, 0xee, 0,    14,   'A',  'd', 'o',  'b', 'e',  0,    100, 0,
        0,    0,    0,    1,    0xff, 0xff, 0xc0, 0,   17,   8,   0,    2,    0,   3,
        3,    'R',  0x11, 0,    'G',  0x11, 0,    'B', 0x11, 0,   0xff, 0xda, 0,   12};
    md_jpeg_header header;
    md_error err;
    assert_int_equal(md_jpeg_read_header(stream, sizeof stream, &header, &err), MD_OK);
    assert_int_equal(header.process, 0);
    assert_int_equal(header.precision, 8);
    assert_int_equal(header.rows, 2);
    assert_int_equal(header.columns, 3);
    assert_int_equal(header.n_components, 3);
    assert_true(header.has_adobe && header.adobe_transform == 1);
    for (size_t n = 0; n < sizeof stream - 2; n++) {
        assert_int_equal(md_jpeg_read_header(stream, n, &header, &err), MD_FORMAT);
    }
}

/* --- JPEG 2000 -------------------------------------------------------------------------------
 */

typedef struct block {
    uint8_t *bytes;
    size_t size_bytes, room, at;
} block;

static OPJ_SIZE_T write_block(void *from, OPJ_SIZE_T n, void *user)
{
    block *b = user;
    if (b->at + n > b->room) {
        return (OPJ_SIZE_T)-1;
    }
    memcpy(b->bytes + b->at, from, n);
    b->at += n;
    b->size_bytes = b->at > b->size_bytes ? b->at : b->size_bytes;
    return n;
}

static OPJ_OFF_T skip_block(OPJ_OFF_T n, void *user)
{
    ((block *)user)->at += (size_t)n;
    return n;
}

static OPJ_BOOL seek_block(OPJ_OFF_T n, void *user)
{
    ((block *)user)->at = (size_t)n;
    return OPJ_TRUE;
}

enum {
    J2K_SIDE = 40
};

static int32_t sample_at(size_t i)
{
    return (int32_t)((i * 37 + i / J2K_SIDE * 11) % 4096);
}

static block encode_j2k(unsigned origin)
{
    opj_image_cmptparm_t component = {
        .dx = 1, .dy = 1, .w = J2K_SIDE, .h = J2K_SIDE, .prec = 12};
    opj_image_t *picture = opj_image_create(1, &component, OPJ_CLRSPC_GRAY);
    picture->x0 = picture->y0 = origin;
    picture->x1 = picture->y1 = origin + J2K_SIDE;
    for (size_t i = 0; i < J2K_SIDE * J2K_SIDE; i++) {
        picture->comps[0].data[i] = sample_at(i);
    }
    opj_cparameters_t parameters;
    opj_set_default_encoder_parameters(&parameters);
    parameters.cp_disto_alloc = 1;
    parameters.tcp_numlayers = 1;
    parameters.numresolution = 3;
    block b = {.room = 1 << 16};
    b.bytes = calloc(1, b.room);
    opj_codec_t *codec = opj_create_compress(OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(1 << 16, OPJ_FALSE);
    opj_stream_set_write_function(stream, write_block);
    opj_stream_set_skip_function(stream, skip_block);
    opj_stream_set_seek_function(stream, seek_block);
    opj_stream_set_user_data(stream, &b, NULL);
    assert_true(opj_setup_encoder(codec, &parameters, picture));
    assert_true(opj_start_compress(codec, picture, stream));
    assert_true(opj_encode(codec, stream));
    assert_true(opj_end_compress(codec, stream));
    opj_stream_destroy(stream);
    opj_destroy_codec(codec);
    opj_image_destroy(picture);
    return b;
}

static md_layout j2k_layout(void)
{
    md_layout layout = grey16;
    layout.rows = layout.columns = J2K_SIDE;
    layout.bits_stored = 12;
    layout.high_bit = 11;
    return layout;
}

static void test_j2k(void **state)
{
    (void)state;
    block b = encode_j2k(0);
    md_layout layout = j2k_layout();
    md_error err = {0};
    for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
        md_image image = {0};
        assert_int_equal(
            md_j2k_decode(b.bytes, b.size_bytes, &layout, 0, n_threads, &image, &err), MD_OK);
        assert_int_equal(image.type, MD_PIXEL_U16);
        for (size_t i = 0; i < J2K_SIDE * J2K_SIDE; i++) {
            assert_int_equal(((uint16_t *)image.pixels)[i], sample_at(i));
        }
        md_image_finish(&image);
    }
    md_image half = {0};
    assert_int_equal(md_j2k_decode(b.bytes, b.size_bytes, &layout, 1, 1, &half, &err), MD_OK);
    assert_int_equal(half.rows, J2K_SIDE / 2);
    assert_int_equal(half.columns, J2K_SIDE / 2);
    md_image_finish(&half);
    md_image image = {0};
    assert_int_equal(md_j2k_decode(b.bytes, b.size_bytes, &layout, 5, 1, &image, &err),
                     MD_FORMAT); /* there are 3 resolutions */
    layout.columns++;
    assert_int_equal(md_j2k_decode(b.bytes, b.size_bytes, &layout, 0, 1, &image, &err),
                     MD_FORMAT);
    assert_non_null(strstr(err.msg, "(0028,0011)"));
    layout = j2k_layout();
    layout.n_samples = 3;
    assert_int_equal(md_j2k_decode(b.bytes, b.size_bytes, &layout, 0, 1, &image, &err),
                     MD_FORMAT);
    md_memory_fail_at(1);
    layout.n_samples = 1;
    assert_int_equal(md_j2k_decode(b.bytes, b.size_bytes, &layout, 0, 1, &image, &err),
                     MD_NOMEM);
    md_memory_fail_at(0);
    free(b.bytes);
}

typedef struct least_case {
    md_image_least least;
    const char *window;  /* NULL: none */
    const char *padding; /* NULL: none */
    unsigned origin;     /* of the picture on the stream's grid */
    unsigned want;       /* the image is 1/2^want */
} least_case;

static void build_j2k(build_file *file, const least_case *c)
{
    block b = encode_j2k(c->origin);
    build_begin(file, "1.2.840.10008.1.2.4.90");
    build_us(file, MD_TAG(0x28, 0x02), 1);
    build_text(file, MD_TAG(0x28, 0x04), "CS", "MONOCHROME2");
    build_us(file, MD_TAG(0x28, 0x10), J2K_SIDE);
    build_us(file, MD_TAG(0x28, 0x11), J2K_SIDE);
    build_text(file, MD_TAG(0x28, 0x30), "DS", "0.5\\0.25");
    build_us(file, MD_TAG(0x28, 0x100), 16);
    build_us(file, MD_TAG(0x28, 0x101), 12);
    build_us(file, MD_TAG(0x28, 0x102), 11);
    build_us(file, MD_TAG(0x28, 0x103), 0);
    if (c->padding != NULL) {
        build_us(file, MD_TAG(0x28, 0x120), 0);
    }
    if (c->window != NULL) {
        build_text(file, MD_TAG(0x28, 0x1050), "DS", "2048");
        build_text(file, MD_TAG(0x28, 0x1051), "DS", c->window);
    }
    build_header(file, MD_TAG(0x7fe0, 0x10), "OB", 0xffffffff);
    build_marker(file, BUILD_ITEM, 0);
    build_marker(file, BUILD_ITEM, (uint32_t)(b.size_bytes + b.size_bytes % 2));
    build_raw(file, b.bytes, b.size_bytes + b.size_bytes % 2);
    build_marker(file, BUILD_SEQUENCE_END, 0);
    free(b.bytes);
}

/* A smaller picture only where it is large enough and its values mean the same. */
static void test_least(void **state)
{
    (void)state;
    static const least_case rows[] = {
        {{20, 20, 0}, "4096", NULL, 0, 1},  {{10, 10, 0}, "4096", NULL, 0, 2},
        {{1, 1, 0}, "4096", NULL, 0, 2}, /* the stream has two decompositions */
        {{21, 10, 0}, "4096", NULL, 0, 0},  {{10, 21, 0}, "4096", NULL, 0, 0},
        {{10, 10, 11}, "4096", NULL, 0, 1}, {{0, 0, 20}, "4096", NULL, 0, 1},
        {{0, 0, 0}, "4096", NULL, 0, 0},    {{10, 10, 0}, NULL, NULL, 0, 0},
        {{10, 10, 0}, "0", NULL, 0, 0},     {{10, 10, 0}, "4096", "yes", 0, 0},
        {{10, 10, 0}, "4096", NULL, 1, 0},  {{10, 10, 0}, "4096", NULL, 2, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_j2k(&file, &rows[i]);
        md_dataset *dataset = build_parse(&file);
        md_image image = {0};
        md_error err = {0};
        if (md_image_decode_least(dataset, 0, &rows[i].least, &image, &err) != MD_OK ||
            image.reduce != rows[i].want) {
            fail_msg("row %zu: reduced %u times, wanted %u: %s", i, image.reduce, rows[i].want,
                     err.msg);
        }
        assert_int_equal(image.columns, J2K_SIDE >> image.reduce);
        assert_int_equal(image.rows, J2K_SIDE >> image.reduce);
        assert_true(image.pixel_width_mm == 0.25 * (1 << image.reduce));
        assert_true(image.pixel_height_mm == 0.5 * (1 << image.reduce));
        assert_int_equal(image.stored_columns, image.reduce > 0 ? J2K_SIDE : 0);
        md_image_finish(&image);
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

/* Cut anywhere it must be refused: half a picture is not a picture. */
static void test_j2k_cut_short(void **state)
{
    (void)state;
    block b = encode_j2k(0);
    md_layout layout = j2k_layout();
    for (size_t n = 0; n + 2 < b.size_bytes; n += n < 200 ? 1 : 53) { /* the last two are EOC */
        md_image image = {0};
        md_error err = {0};
        md_status status = md_j2k_decode(b.bytes, n, &layout, 0, 1, &image, &err);
        if (status != MD_FORMAT) {
            fail_msg("%zu of %zu bytes: %s", n, b.size_bytes, md_status_name(status));
        }
    }
    free(b.bytes);
}

/* Wrong bytes: an answer of any kind, no crash, no endless loop, no giant allocation. */
static void test_j2k_broken(void **state)
{
    (void)state;
    block b = encode_j2k(0);
    md_layout layout = j2k_layout();
    uint32_t random = 1;
    for (unsigned k = 0; k < 600; k++) {
        random = random * 1664525u + 1013904223u;
        size_t at = k < 200 ? k % 120 : random % b.size_bytes;
        uint8_t old = b.bytes[at];
        b.bytes[at] = (uint8_t)(random >> 24);
        md_image image = {0};
        md_error err;
        if (md_j2k_decode(b.bytes, b.size_bytes, &layout, 0, 1, &image, &err) == MD_OK) {
            md_image_finish(&image);
        }
        b.bytes[at] = old;
    }
    free(b.bytes);
}

static void test_j2k_header_limits(void **state)
{
    (void)state;
    block b = encode_j2k(0);
    static const struct {
        size_t at; /* in the stream: SOC, SIZ, Lsiz, Rsiz, Xsiz at 8, ... XTsiz at 24 */
        uint8_t value;
        md_status want;
    } rows[] = {
        {8, 0xff, MD_LIMIT},      /* 4 billion columns in tiles of 40 */
        {11, 0, MD_FORMAT},       /* no columns */
        {27, 0, MD_FORMAT},       /* tiles of no width */
        {41, 0, MD_FORMAT},       /* no components */
        {40, 0x40, MD_FORMAT},    /* 16385 components in a SIZ of one */
        {42, 31, MD_UNSUPPORTED}, /* 32 bits */
        {43, 2, MD_UNSUPPORTED},  /* subsampled */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t old = b.bytes[rows[i].at];
        md_j2k_header header;
        md_error err;
        b.bytes[rows[i].at] = rows[i].value;
        assert_int_equal(md_j2k_read_header(b.bytes, b.size_bytes, &header, &err),
                         rows[i].want);
        b.bytes[rows[i].at] = old;
    }
    md_j2k_header header;
    md_error err;
    assert_int_equal(md_j2k_read_header(b.bytes, b.size_bytes, &header, &err), MD_OK);
    assert_true(header.is_reversible && !header.has_transform && header.precision == 12);
    free(b.bytes);
}

/* --- fragments -------------------------------------------------------------------------------
 */

static void build_encapsulated(build_file *file, const char *frames)
{
    build_begin(file, "1.2.840.10008.1.2.5");
    build_us(file, MD_TAG(0x28, 0x02), 1);
    build_text(file, MD_TAG(0x28, 0x04), "CS", "MONOCHROME2");
    build_text(file, MD_TAG(0x28, 0x08), "IS", frames);
    build_us(file, MD_TAG(0x28, 0x10), 1);
    build_us(file, MD_TAG(0x28, 0x11), 2);
    build_us(file, MD_TAG(0x28, 0x100), 8);
    build_us(file, MD_TAG(0x28, 0x101), 8);
    build_us(file, MD_TAG(0x28, 0x102), 7);
    build_us(file, MD_TAG(0x28, 0x103), 0);
    build_header(file, MD_TAG(0x7fe0, 0x10), "OB", 0xffffffff);
}

static void add_rle(build_file *file, uint8_t value)
{
    uint8_t frame[66] = {1, 0, 0, 0, 64, 0, 0, 0};
    frame[64] = 255; /* the next byte twice */
    frame[65] = value;
    build_marker(file, BUILD_ITEM, sizeof frame);
    build_raw(file, frame, sizeof frame);
}

static void test_offset_tables(void **state)
{
    (void)state;
    static const struct {
        uint32_t offsets[2];
        uint32_t table_bytes;
        unsigned n_fragments; /* of which the third is empty */
        md_status want;
        const char *text;
    } rows[] = {
        {{0, 0}, 0, 2, MD_OK, ""},
        {{0, 74}, 8, 3, MD_OK, ""},
        {{0, 75}, 8, 3, MD_FORMAT, "does not point at fragments"},
        {{74, 0}, 8, 3, MD_FORMAT, "does not rise from 0"},
        {{0, 0xffffffff}, 8, 3, MD_FORMAT, "does not point at fragments"},
        {{0, 74}, 4, 3, MD_FORMAT, "1 entries"},
        {{0, 0}, 0, 3, MD_FORMAT, "without an offset table"},
        {{0, 0}, 0, 1, MD_FORMAT, "1 fragments, (0028,0008) says 2 frames"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_encapsulated(&file, "2");
        build_marker(&file, BUILD_ITEM, rows[i].table_bytes);
        build_raw(&file, rows[i].offsets, rows[i].table_bytes);
        add_rle(&file, 10);
        if (rows[i].n_fragments > 1) {
            add_rle(&file, 20);
        }
        if (rows[i].n_fragments > 2) {
            build_marker(&file, BUILD_ITEM, 0);
        }
        build_marker(&file, BUILD_SEQUENCE_END, 0);
        md_dataset *dataset = build_parse(&file);
        for (uint32_t frame = 0; frame < 2; frame++) {
            md_image image = {0};
            md_error err = {0};
            md_status status = md_image_decode(dataset, frame, &image, &err);
            if (status != rows[i].want || strstr(err.msg, rows[i].text) == NULL) {
                fail_msg("row %zu: %s: %s", i, md_status_name(status), err.msg);
            }
            if (status == MD_OK) {
                assert_int_equal(((uint8_t *)image.pixels)[1], 10 * (frame + 1));
                md_image_finish(&image);
            }
        }
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

/* Fragments are dropped from memory after use and read again when asked for again. */
static void test_frames_from_a_file(void **state)
{
    (void)state;
    build_file file = {0};
    build_encapsulated(&file, "2");
    build_marker(&file, BUILD_ITEM, 0);
    for (uint8_t k = 1; k <= 2; k++) {
        uint8_t frame[8000] = {
            [0] = 1, [4] = 64, [64] = 255}; /* longer than what is read at once */
        frame[65] = k;
        build_marker(&file, BUILD_ITEM, sizeof frame);
        build_raw(&file, frame, sizeof frame);
    }
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    char path[] = "/tmp/medaid-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.bytes, file.size_bytes), (ssize_t)file.size_bytes);
    close(fd);
    md_dataset *dataset = NULL;
    md_error err;
    assert_int_equal(md_dataset_open(path, &dataset, &err), MD_OK);
    static const uint32_t order[] = {0, 1, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        md_image image = {0};
        assert_int_equal(md_image_decode(dataset, order[i], &image, &err), MD_OK);
        assert_int_equal(((uint8_t *)image.pixels)[1], order[i] + 1);
        md_image_finish(&image);
    }
    md_dataset_destroy(dataset);
    unlink(path);
    build_finish(&file);
}

/* Fragments joined, decoded, unpacked and coloured: each allocation fails once. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const uint16_t descriptor[3] = {4, 0, 16}, entries[4] = {0, 1, 2, 3};
    build_file file = {0};
    build_begin(&file, "1.2.840.10008.1.2.5");
    build_us(&file, MD_TAG(0x28, 0x02), 1);
    build_text(&file, MD_TAG(0x28, 0x04), "CS", "PALETTE COLOR");
    build_us(&file, MD_TAG(0x28, 0x10), 1);
    build_us(&file, MD_TAG(0x28, 0x11), 2);
    build_us(&file, MD_TAG(0x28, 0x100), 8);
    build_us(&file, MD_TAG(0x28, 0x101), 8);
    build_us(&file, MD_TAG(0x28, 0x103), 0);
    for (uint32_t c = 0; c < 3; c++) {
        build_element(&file, MD_TAG(0x28, 0x1101 + c), "US", descriptor, sizeof descriptor);
    }
    for (uint32_t c = 0; c < 3; c++) {
        build_element(&file, MD_TAG(0x28, 0x1201 + c), "OW", entries, sizeof entries);
    }
    build_header(&file, MD_TAG(0x7fe0, 0x10), "OB", 0xffffffff);
    build_marker(&file, BUILD_ITEM, 0);
    static const uint8_t frame[66] = {[0] = 1, [4] = 64, [64] = 255, [65] = 3};
    build_marker(&file, BUILD_ITEM, 30);
    build_raw(&file, frame, 30);
    build_marker(&file, BUILD_ITEM, 36);
    build_raw(&file, frame + 30, 36);
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    md_dataset *dataset = build_parse(&file);
    for (size_t n = 1;; n++) {
        md_image image = {0};
        md_error err;
        md_memory_fail_at(n);
        md_status status = md_image_decode(dataset, 0, &image, &err);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            assert_int_equal(((uint8_t *)image.pixels)[1], 3);
            assert_int_equal(image.palette[2].entries[3], 3);
            assert_true(n > 5);
            md_image_finish(&image);
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    md_dataset_destroy(dataset);
    build_finish(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rle),
        cmocka_unit_test(test_sample_form),
        cmocka_unit_test(test_jpeg_header),
        cmocka_unit_test(test_j2k),
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_j2k_cut_short),
        cmocka_unit_test(test_j2k_broken),
        cmocka_unit_test(test_j2k_header_limits),
        cmocka_unit_test(test_offset_tables),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_frames_from_a_file),
    };
    return cmocka_run_group_tests_name("dicom_codecs", tests, init, finish);
}
