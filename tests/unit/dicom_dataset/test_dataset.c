#include "base/log.h"
#include "build_file.h"
#include "dicom/dataset/dicomdir.h"
#include "dicom/dataset/inflate.h"
#include "dicom/dataset/scan.h"
#include "dicom/report/result.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME MD_TAG(0x0010, 0x0010)
#define CHARSET MD_TAG(0x0008, 0x0005)
#define DESCRIPTION MD_TAG(0x0008, 0x103e)

/* --- files on disk --------------------------------------------------------------------- */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    md_error err;
    if (md_dicom_init(&err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    snprintf(folder, sizeof folder, "/tmp/medaid-test-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static int remove_folder(void **state)
{
    (void)state;
    md_dicom_finish();
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *put(const char *name, const void *bytes, size_t size_bytes)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size_bytes), (ssize_t)size_bytes);
    close(fd);
    return path;
}

static void build_small(build_file *file)
{
    static uint8_t pixels[20000];
    build_begin(file, BUILD_EXPLICIT);
    build_text(file, MD_TAG(8, 0x16), "UI", "1.2.840.10008.5.1.4.1.1.1.1");
    build_text(file, NAME, "PN", "Marker^Name");
    build_us(file, MD_TAG(0x28, 0x10), 100);
    build_element(file, MD_TAG(0x7fe0, 0x10), "OW", pixels, sizeof pixels);
}

static void expect_bytes(const uint8_t *bytes, size_t size_bytes, md_status want,
                         const char *text)
{
    md_error err = {0};
    md_dataset *dataset = NULL;
    md_status status = md_dataset_parse(bytes, size_bytes, &dataset, &err);
    if (status != want || (text != NULL && strstr(err.msg, text) == NULL)) {
        fail_msg("%s: %s, wanted %s with \"%s\"", md_status_name(status), err.msg,
                 md_status_name(want), text);
    }
    md_dataset_destroy(dataset);
    status = md_dataset_open(put("bytes", bytes, size_bytes), &dataset, &err);
    if (status != want || (text != NULL && strstr(err.msg, text) == NULL)) {
        fail_msg("file: %s: %s, wanted %s with \"%s\"", md_status_name(status), err.msg,
                 md_status_name(want), text);
    }
    if (status == MD_OK) {
        md_dataset_destroy(dataset);
    }
}

static void test_open_and_parse(void **state)
{
    (void)state;
    build_file file = {0};
    build_small(&file);
    expect_bytes(file.bytes, file.size_bytes, MD_OK, NULL);
    expect_bytes(file.bytes + 132, file.size_bytes - 132, MD_OK, NULL); /* no preamble */
    md_dataset *dataset = build_parse(&file);
    char text[MD_TEXT_BYTES];
    assert_true(md_dataset_get_text(dataset, NAME, 0, text, sizeof text));
    assert_string_equal(text, "Marker^Name");
    assert_false(md_dataset_get_text(dataset, NAME, 1, text, sizeof text));
    assert_string_equal(text, "");
    assert_true(md_dataset_has(dataset, MD_TAG(0x7fe0, 0x10)));
    assert_false(md_dataset_has(dataset, MD_TAG(0x7fe0, 0x11)));
    assert_string_equal(md_dataset_transfer_syntax(dataset), BUILD_EXPLICIT);
    md_dataset_destroy(dataset);
    build_finish(&file);
}

/* Every length: an error that says so, never a crash, and never a success. */
static void test_cut_short(void **state)
{
    (void)state;
    build_file file = {0};
    build_small(&file);
    md_error err;
    size_t boundaries = 0;
    for (size_t n = 0; n < file.size_bytes; n += n < 400 ? 1 : 997) {
        md_dataset *dataset = NULL;
        if (md_dataset_parse(file.bytes, n, &dataset, &err) == MD_OK) {
            boundaries++; /* the cut is between two elements */
            md_dataset_destroy(dataset);
            dataset = NULL;
        } else {
            assert_int_equal(err.status, MD_FORMAT);
        }
        if (md_dataset_open(put("cut", file.bytes, n), &dataset, &err) == MD_OK) {
            md_dataset_destroy(dataset);
        } else {
            assert_int_equal(err.status, MD_FORMAT);
        }
    }
    assert_int_equal(boundaries, 3);
    expect_bytes(file.bytes, file.size_bytes - 1, MD_FORMAT,
                 "cut short: (7FE0,0010) at offset");
    expect_bytes(file.bytes, 132, MD_FORMAT, "cut short");
    build_finish(&file);
}

static void test_not_dicom(void **state)
{
    (void)state;
    static const char text[] = "This is a text file that is rather longer than its own header.";
    static uint8_t zeros[4000];
    expect_bytes((const uint8_t *)text, sizeof text, MD_FORMAT, "not DICOM");
    expect_bytes(zeros, sizeof zeros, MD_FORMAT, "not DICOM");
    expect_bytes(zeros, 0, MD_FORMAT, "not DICOM");
    build_file implicit = {0};
    build_begin(&implicit, BUILD_EXPLICIT);
    build_marker(&implicit, MD_TAG(8, 0x60), 2); /* no VR */
    build_raw(&implicit, "DX", 2);
    expect_bytes(implicit.bytes, implicit.size_bytes, MD_FORMAT, "not in explicit VR");
    build_finish(&implicit);
    assert_false(md_dataset_sniff(put("text", text, sizeof text)));
    assert_false(md_dataset_sniff(folder));
    assert_false(md_dataset_sniff("/tmp/medaid-no-such-file"));
    build_file file = {0};
    build_small(&file);
    assert_true(md_dataset_sniff(put("dicom", file.bytes, file.size_bytes)));
    build_finish(&file);
    md_error err;
    md_dataset *dataset = NULL;
    assert_int_equal(md_dataset_open(folder, &dataset, &err), MD_INVALID_ARG);
    assert_int_equal(md_dataset_open("/tmp/medaid-no-such-file", &dataset, &err), MD_NOT_FOUND);
    char fifo[128];
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(md_dataset_open(fifo, &dataset, &err), MD_INVALID_ARG);
}

/* DCMTK's parser calls itself for each level and dies of 10,000. */
static void test_nesting(void **state)
{
    (void)state;
    static const struct {
        unsigned depth;
        bool is_known_length;
        md_status want;
    } rows[] = {{10, false, MD_OK},    {10, true, MD_OK},    {64, false, MD_OK},
                {65, false, MD_LIMIT}, {65, true, MD_LIMIT}, {50000, false, MD_LIMIT},
                {2000, true, MD_LIMIT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_begin(&file, BUILD_EXPLICIT);
        for (unsigned k = 0; k < rows[i].depth; k++) {
            uint32_t inside = 20 * (rows[i].depth - k) - 12;
            bool is_known = rows[i].is_known_length;
            build_header(&file, MD_TAG(0x40, 0xa730), "SQ", is_known ? inside : 0xffffffff);
            build_marker(&file, BUILD_ITEM, is_known ? inside - 8 : 0xffffffff);
        }
        for (unsigned k = 0; k < rows[i].depth && !rows[i].is_known_length; k++) {
            build_marker(&file, BUILD_ITEM_END, 0);
            build_marker(&file, BUILD_SEQUENCE_END, 0);
        }
        expect_bytes(file.bytes, file.size_bytes, rows[i].want, NULL);
        build_finish(&file);
    }
}

/* The same where the structure is broken in front of the nesting, so that the walk stops. */
static void test_nesting_behind_garbage(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, MD_TAG(8, 0x08), "CS", "ORIGINAL");
    build_header(&file, MD_TAG(8, 0x16), "Z9", 0);
    for (unsigned k = 0; k < 50000; k++) {
        build_header(&file, MD_TAG(0x40, 0xa730), "SQ", 0xffffffff);
        build_marker(&file, BUILD_ITEM, 0xffffffff);
    }
    expect_bytes(file.bytes, file.size_bytes, MD_FORMAT, "broken structure");
    build_finish(&file);
}

/* An element that claims 4 GB behind something odd: refused without such an allocation (the
 * sanitizer's limit would end the test), and without the claim it is read. */
static void test_odd_structure(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        build_file file = {0};
        build_begin(&file, BUILD_EXPLICIT);
        build_text(&file, MD_TAG(8, 0x60), "CS", "DX");
        build_header(&file, MD_TAG(9, 0x1001), "Z9", 0); /* no such VR: 2 bytes of length */
        build_header(&file, MD_TAG(9, 0x1002), "OB", k == 0 ? 6000 : 0xfffffff0);
        static const uint8_t value[6000];
        build_raw(&file, value, sizeof value);
        expect_bytes(file.bytes, file.size_bytes, k == 0 ? MD_OK : MD_FORMAT,
                     k == 0 ? NULL : "cut short");
        build_finish(&file);
    }
}

/* A transfer syntax that is none: what the walk finds by looking is what DCMTK must read by, or
 * the walk would vouch for other elements than DCMTK sees. */
static void test_one_encoding_for_both(void **state)
{
    (void)state;
    static const char *const syntaxes[] = {
        "1.2.840.10008.1.2.2                                                 ", "", "1.2.3",
        "\0"
        "1.2.840.10008.1.2.2"};
    for (size_t i = 0; i < sizeof syntaxes / sizeof *syntaxes; i++) {
        build_file file = {0};
        build_begin(&file, syntaxes[i]);
        build_text(&file, MD_TAG(8, 0x60), "CS", "DX");
        expect_bytes(file.bytes, file.size_bytes, MD_OK, NULL);
        md_dataset *dataset = build_parse(&file);
        char text[17];
        assert_true(md_dataset_get_text(dataset, MD_TAG(8, 0x60), 0, text, sizeof text));
        assert_string_equal(text, "DX");
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

static void test_unclosed(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, "1.2.840.10008.1.2.4.90");
    build_us(&file, MD_TAG(0x28, 0x10), 1);
    build_header(&file, MD_TAG(0x7fe0, 0x10), "OB", 0xffffffff);
    build_marker(&file, BUILD_ITEM, 0);
    expect_bytes(file.bytes, file.size_bytes, MD_FORMAT, "is not closed");
    build_marker(&file, BUILD_ITEM, 4);
    build_raw(&file, "abcd", 4);
    expect_bytes(file.bytes, file.size_bytes, MD_FORMAT, "is not closed");
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    expect_bytes(file.bytes, file.size_bytes, MD_OK, NULL);
    build_finish(&file);
}

/* --- values ---------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, MD_TAG(0x18, 0x50), "DS", " 1.5e1 ");
    build_text(&file, MD_TAG(0x18, 0x1164), "DS", "0.139\\-2\\nan\\1,5\\inf\\+3\\x");
    build_text(&file, MD_TAG(0x20, 0x13), "IS", "-12");
    build_us(&file, MD_TAG(0x28, 0x10), 65535);
    build_text(&file, MD_TAG(0x28, 0x11), "LO", "512"); /* wrong VR */
    double real = 7;
    int64_t integer = 7;
    md_dataset *dataset = build_parse(&file);
    assert_true(md_dataset_get_real(dataset, MD_TAG(0x18, 0x50), 0, &real));
    assert_true(real == 15);
    assert_false(md_dataset_get_real(dataset, MD_TAG(0x18, 0x50), 1, &real));
    static const double want[] = {0.139, -2, 0, 0, 0, 3, 0};
    static const bool good[] = {true, true, false, false, false, true, false};
    for (unsigned i = 0; i < 7; i++) {
        real = 7;
        assert_int_equal(md_dataset_get_real(dataset, MD_TAG(0x18, 0x1164), i, &real), good[i]);
        assert_true(real == (good[i] ? want[i] : 7));
    }
    assert_true(md_dataset_get_int(dataset, MD_TAG(0x20, 0x13), 0, &integer));
    assert_int_equal(integer, -12);
    assert_true(md_dataset_get_int(dataset, MD_TAG(0x28, 0x10), 0, &integer));
    assert_int_equal(integer, 65535);
    assert_false(md_dataset_get_int(dataset, MD_TAG(0x28, 0x11), 0, &integer));
    assert_false(md_dataset_get_int(dataset, MD_TAG(0x18, 0x1164), 0, &integer));
    md_dataset_destroy(dataset);
    build_finish(&file);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *charset, *vr, *bytes;
        unsigned index;
        const char *want;
    } rows[] = {
        {"", "LO", "plain ", 0, "plain"},
        {"", "LO", "a\\b\\ c ", 2, "c"},
        {"", "LO", "caf\xe9", 0, "caf?"},
        {"", "LO", "tab\tbell\ax\x1b", 0, "tab bellx"},
        {"ISO_IR 100", "LO", "caf\xe9", 0, "caf\u00e9"},
        {"ISO 2022 IR 100", "LO", "caf\xe9", 0, "caf\u00e9"}, /* a frequent mistake */
        {"ISO_IR 203", "LO", "\xa4", 0, "\u20ac"},
        {"ISO_IR 166", "LO", "\xa1", 0, "\u0e01"},
        {"ISO_IR 192", "LO", "\xe7\x8e\x8b\xff!", 0, "\u738b?!"},
        {"ISO_IR 192", "LO", "\xc0\xaf\xed\xa0\x80.", 0, "?."}, /* overlong, surrogate */
        {"ISO_IR 13", "SH", "\xd4\xcf", 0, "\uff94\uff8f"},
        {"ISO_IR 13", "LO", "a\\\xd4", 1, "\uff94"},
        {"GB18030", "PN", "\xcd\xf5^\xd0\xa1", 0, "\u738b^\u5c0f"},
        /* 0x5C is the second byte of these: no separator */
        {"GB18030", "LO", "\x81\x5c\\b", 1, "b"},
        {"GBK", "LO", "\x81\x5c", 0, "\u4e57"},
        {"\\ISO 2022 IR 87", "LO", "\x1b$B;3\x1b(B\\b", 0, "\u5c71"},
        {"\\ISO 2022 IR 87", "LO", "\x1b$B!\\\x1b(B\\b", 0, "\uff0b"},
        {"\\ISO 2022 IR 87", "LO", "\x1b$B!\\\x1b(B\\b", 1, "b"},
        {"\\ISO 2022 IR 159", "LO", "\x1b$(D0!\x1b(B", 0, "\u4e02"},
        {"\\ISO 2022 IR 149", "PN", "\x1b$)C\xb1\xe8^\xc8\xf1", 0, "\uae40^\ud76c"},
        {"\\ISO 2022 IR 58", "LO", "\x1b$)A\xcd\xf5", 0, "\u738b"},
        {"\\ISO 2022 IR 144", "LO", "\x1b-L\xbb", 0, "\u041b"},
        {"no such set", "LO", "a\xe9", 0, "a?"},
        {"ISO_IR 100", "CS", "caf\xe9", 0, "caf?"}, /* CS is ASCII whatever the set */
        {"ISO_IR 100", "LT", "a\\b\r\n\xe9", 0, "a\\b \u00e9"},
        {"ISO_IR 192", "PN", "Wang^=\xe7\x8e\x8b^=", 0, "Wang^=\u738b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_begin(&file, BUILD_EXPLICIT);
        build_text(&file, CHARSET, "CS", rows[i].charset);
        build_text(&file, DESCRIPTION, rows[i].vr, rows[i].bytes);
        md_dataset *dataset = build_parse(&file);
        char text[64];
        md_dataset_get_text(dataset, DESCRIPTION, rows[i].index, text, sizeof text);
        if (strcmp(text, rows[i].want) != 0) {
            fail_msg("row %zu: \"%s\", wanted \"%s\"", i, text, rows[i].want);
        }
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

static void test_text_is_cut_between_characters(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, CHARSET, "CS", "ISO_IR 192");
    build_text(&file, DESCRIPTION, "LO", "ab\xe7\x8e\x8b");
    md_dataset *dataset = build_parse(&file);
    char text[6];
    assert_true(md_dataset_get_text(dataset, DESCRIPTION, 0, text, 5));
    assert_string_equal(text, "ab");
    assert_true(md_dataset_get_text(dataset, DESCRIPTION, 0, text, 6));
    assert_string_equal(text, "ab\u738b");
    assert_false(md_dataset_get_text(dataset, DESCRIPTION, 0, text, 1));
    assert_false(md_dataset_get_text(dataset, DESCRIPTION, 0, text, 0));
    md_dataset_destroy(dataset);
    build_finish(&file);
}

/* An item of a sequence, with one text. */
static void add_item(build_file *file, uint32_t tag, const char *vr, const char *text)
{
    build_marker(file, BUILD_ITEM, 0xffffffff);
    build_text(file, tag, vr, text);
    build_marker(file, BUILD_ITEM_END, 0);
}

static void test_order_text(void **state)
{
    (void)state;
    const uint32_t reason = MD_TAG(0x40, 0x1002), request = MD_TAG(0x40, 0x275);
    static const struct {
        const char *own, *items[2]; /* NULL: none */
        size_t room;
        const char *text;
        bool is_cut;
    } rows[] = {
        {"Fever", {"Cough"}, 64, "Fever", false},
        {"\xc3\x9c"
         "bel",
         {"\xc3\x9c"
          "bel"},
         64,
         "\xc3\x9c"
         "bel",
         false},
        {"\\Fever", {"Cough"}, 64, "Fever", false},
        {"Fever\\\\Pain", {NULL}, 64, "Fever. Pain", false},
        {"\\ \\", {"Cough"}, 64, "Cough", false},
        {NULL, {"Cough", "Fall\\\\Pain"}, 64, "Cough. Fall. Pain", false},
        {NULL, {NULL}, 64, "", false},
        {"Fever", {"Cough"}, 5, "Feve", true},
        {"Fe\xc3\x9c", {"Cough"}, 4, "Fe", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        build_file file = {0};
        build_begin(&file, BUILD_EXPLICIT);
        build_text(&file, MD_TAG(8, 5), "CS", "ISO_IR 192");
        build_header(&file, request, "SQ", 0xffffffff);
        for (unsigned k = 0; k < 2 && rows[i].items[k] != NULL; k++) {
            add_item(&file, reason, "LO", rows[i].items[k]);
        }
        build_marker(&file, BUILD_SEQUENCE_END, 0);
        if (rows[i].own != NULL) {
            build_text(&file, reason, "LO", rows[i].own);
        }
        md_dataset *dataset = build_parse(&file);
        char text[64];
        bool is_cut = !rows[i].is_cut;
        const bool any =
            md_dataset_get_order_text(dataset, reason, text, rows[i].room, &is_cut);
        if (strcmp(text, rows[i].text) != 0 || any != (rows[i].text[0] != '\0') ||
            is_cut != rows[i].is_cut) {
            fail_msg("row %zu: '%s', expected '%s'", i, text, rows[i].text);
        }
        md_dataset_destroy(dataset);
        build_finish(&file);
    }
}

static void begin_content(build_file *file, const char *type)
{
    build_marker(file, BUILD_ITEM, 0xffffffff);
    build_text(file, MD_TAG(0x40, 0xa040), "CS", type);
}

/* Only TEXT items, in the order of the document, also those in others; no item of a request. */
static void test_report_text(void **state)
{
    (void)state;
    const uint32_t value = MD_TAG(0x40, 0xa160), content = MD_TAG(0x40, 0xa730);
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, MD_TAG(8, 5), "CS", "ISO_IR 192");
    build_header(&file, content, "SQ", 0xffffffff);
    begin_content(&file, "TEXT");
    build_text(&file, value, "UT",
               "\xc3\x9c"
               "bel");
    build_marker(&file, BUILD_ITEM_END, 0);
    begin_content(&file, "CONTAINER");
    build_header(&file, content, "SQ", 0xffffffff);
    begin_content(&file, "NUM");
    build_text(&file, value, "UT", "not read");
    build_marker(&file, BUILD_ITEM_END, 0);
    begin_content(&file, "TEXT");
    build_text(&file, value, "UT", " No effusion\r\nat all ");
    build_marker(&file, BUILD_ITEM_END, 0);
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    build_marker(&file, BUILD_ITEM_END, 0);
    begin_content(&file, "TEXT");
    build_text(&file, value, "UT", "");
    build_marker(&file, BUILD_ITEM_END, 0);
    begin_content(&file, "TEXT");
    build_text(&file, value, "UT", "Normal\\none");
    build_marker(&file, BUILD_ITEM_END, 0);
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    md_dataset *dataset = build_parse(&file);
    char text[64];
    bool is_cut = true;
    assert_true(md_dataset_get_report_text(dataset, text, sizeof text, &is_cut));
    assert_string_equal(text, "\xc3\x9c"
                              "bel. No effusion at all. Normal\\none");
    assert_false(is_cut);
    assert_true(md_dataset_get_report_text(dataset, text, 8, &is_cut));
    assert_string_equal(text, "\xc3\x9c"
                              "bel. ");
    assert_true(is_cut);
    md_dataset_destroy(dataset);
    build_finish(&file);
}

/* An image is no report. */
static void test_no_report_text(void **state)
{
    (void)state;
    build_file file = {0};
    build_small(&file);
    md_dataset *dataset = build_parse(&file);
    char text[16];
    bool is_cut = true;
    assert_false(md_dataset_get_report_text(dataset, text, sizeof text, &is_cut));
    assert_string_equal(text, "");
    assert_false(is_cut);
    md_dataset_destroy(dataset);
    build_finish(&file);
}

static void test_code(void **state)
{
    (void)state;
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_header(&file, MD_TAG(8, 0x2218), "SQ", 0xffffffff);
    build_marker(&file, BUILD_ITEM, 0xffffffff);
    build_text(&file, MD_TAG(8, 0x100), "SH", "51185008");
    build_text(&file, MD_TAG(8, 0x102), "SH", "SCT");
    build_text(&file, MD_TAG(8, 0x104), "LO", "Chest");
    build_marker(&file, BUILD_ITEM_END, 0);
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    build_header(&file, MD_TAG(8, 0x2228), "SQ", 0);
    md_dataset *dataset = build_parse(&file);
    md_code code;
    assert_true(md_dataset_get_code(dataset, MD_TAG(8, 0x2218), &code));
    assert_string_equal(code.value, "51185008");
    assert_string_equal(code.scheme, "SCT");
    assert_string_equal(code.meaning, "Chest");
    assert_false(md_dataset_get_code(dataset, MD_TAG(8, 0x2228), &code));
    assert_false(md_dataset_get_code(dataset, MD_TAG(8, 0x2229), &code));
    md_dataset_destroy(dataset);
    build_finish(&file);
}

static void test_uid(void **state)
{
    (void)state;
    /* python: from hashlib import sha256; d = bytearray(sha256(b"a\0bc\0").digest()[:16]);
     * d[6] = d[6] & 15 | 128; d[8] = d[8] & 63 | 128; int.from_bytes(d, "big") */
    const char *const parts[] = {"a", "bc"}, *const other[] = {"ab", "c"};
    char uid[MD_UID_BYTES], again[MD_UID_BYTES];
    md_uid_derive(parts, 2, uid);
    assert_string_equal(uid, "2.25.226598865671695726289998254811964492549");
    md_uid_derive(parts, 2, again);
    assert_string_equal(uid, again);
    md_uid_derive(other, 2, again);
    assert_string_not_equal(uid, again);
    md_uid_derive(NULL, 0, again);
    assert_true(strlen(again) < MD_UID_BYTES && strncmp(again, "2.25.", 5) == 0);
}

/* DCMTK quotes values in its messages; none of it may reach the log. */
static void test_log_has_no_values(void **state)
{
    (void)state;
    char path[128], log[8192] = "";
    snprintf(path, sizeof path, "%s/log", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    md_log_configure(fd, MD_LOG_DEBUG);
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_text(&file, MD_TAG(8, 0x16), "UI", "ZEBRAMARKER");
    build_text(&file, MD_TAG(0x20, 0x13), "IS", "ZEBRAMARKER");
    build_header(&file, NAME, "Z9", 0x2020);
    build_raw(&file, "ZEBRAMARKER", 11);
    md_error err = {0};
    md_dataset *dataset = NULL;
    for (int k = 0; k < 100; k++) { /* only the 1st, 2nd, 4th ... message is counted out */
        assert_int_equal(md_dataset_parse(file.bytes, file.size_bytes, &dataset, &err),
                         MD_FORMAT);
        assert_null(strstr(err.msg, "ZEBRA"));
    }
    build_finish(&file);
    md_log_configure(2, MD_LOG_DEBUG);
    assert_true(pread(fd, log, sizeof log - 1, 0) > 0); /* something was logged */
    assert_non_null(strstr(log, "dcmtk_messages"));
    assert_null(strstr(log, "ZEBRA"));
    close(fd);
}

/* --- deflate --------------------------------------------------------------------------- */

static void test_inflate(void **state)
{
    (void)state;
    /* zlib.compressobj(9, zlib.DEFLATED, -15) of b"hello hello hello" */
    static const uint8_t packed[] = {0xcb, 0x48, 0xcd, 0xc9, 0xc9,
                                     0x57, 0xc8, 0x40, 0x90, 0x00};
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    md_error err;
    assert_int_equal(md_inflate(packed, sizeof packed, &bytes, &size_bytes, &err), MD_OK);
    assert_int_equal(size_bytes, 17);
    assert_memory_equal(bytes, "hello hello hello", 17);
    md_free(bytes);
    for (size_t n = 0; n < sizeof packed - 1; n++) {
        assert_int_equal(md_inflate(packed, n, &bytes, &size_bytes, &err), MD_FORMAT);
    }
    assert_int_equal(md_inflate((const uint8_t *)"\xff\xff", 2, &bytes, &size_bytes, &err),
                     MD_FORMAT);
    size_t n = 0;
    do {
        md_memory_fail_at(++n);
    } while (md_inflate(packed, sizeof packed, &bytes, &size_bytes, &err) == MD_NOMEM);
    md_memory_fail_at(0);
    assert_true(n > 1);
    md_free(bytes);
}

/* --- DICOMDIR -------------------------------------------------------------------------- */

static void add_record(build_file *file, const char *type, const char *file_id)
{
    static const uint8_t in_use[2] = {0xff, 0xff};
    build_marker(file, BUILD_ITEM, 0xffffffff);
    build_element(file, MD_TAG(4, 0x1410), "US", in_use, 2);
    build_text(file, MD_TAG(4, 0x1430), "CS", type);
    if (file_id != NULL) {
        build_text(file, MD_TAG(4, 0x1500), "CS", file_id);
    }
    build_marker(file, BUILD_ITEM_END, 0);
}

static void test_dicomdir(void **state)
{
    (void)state;
    char path[256], inside[256];
    snprintf(path, sizeof path, "%s/disc", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/disc/images", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    put("outside", "x", 1);
    put("disc/images/im1.;1", "x", 1);
    put("disc/IM2", "x", 1);
    snprintf(inside, sizeof inside, "%s/disc/LINK", folder);
    assert_int_equal(symlink("../outside", inside), 0);
    build_file file = {0};
    build_begin(&file, BUILD_EXPLICIT);
    build_header(&file, MD_TAG(4, 0x1220), "SQ", 0xffffffff);
    add_record(&file, "PATIENT", NULL);
    add_record(&file, "IMAGE", "IMAGES\\IM1");
    add_record(&file, "IMAGE", "IM2");
    add_record(&file, "IMAGE", "IM2");
    add_record(&file, "IMAGE", "IM3");
    add_record(&file, "IMAGE", "..\\outside");
    add_record(&file, "IMAGE", "/etc/passwd");
    add_record(&file, "IMAGE", "LINK");
    add_record(&file, "IMAGE", "IMAGES");
    build_marker(&file, BUILD_SEQUENCE_END, 0);
    const char *dicomdir_path = put("disc/DICOMDIR", file.bytes, file.size_bytes);
    md_error err;
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    assert_int_equal(md_dataset_open(dicomdir_path, &dataset, &err), MD_OK);
    assert_true(md_dataset_is_dicomdir(dataset));
    md_dicomdir list;
    assert_int_equal(md_dicomdir_read(dataset, dicomdir_path, &list, &err), MD_OK);
    assert_int_equal(list.n_paths, 2);
    assert_non_null(strstr(list.paths[0], "disc/images/im1.;1"));
    assert_non_null(strstr(list.paths[1], "disc/IM2"));
    assert_int_equal(list.n_missing, 2);
    assert_int_equal(list.n_rejected, 3);
    md_dicomdir_finish(&list);
    for (size_t n = 1; n <= 3; n++) {
        md_memory_fail_at(n);
        assert_int_equal(md_dicomdir_read(dataset, dicomdir_path, &list, &err), MD_NOMEM);
    }
    md_memory_fail_at(0);
    build_finish(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_parse),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_not_dicom),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_nesting_behind_garbage),
        cmocka_unit_test(test_odd_structure),
        cmocka_unit_test(test_one_encoding_for_both),
        cmocka_unit_test(test_unclosed),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_is_cut_between_characters),
        cmocka_unit_test(test_order_text),
        cmocka_unit_test(test_report_text),
        cmocka_unit_test(test_no_report_text),
        cmocka_unit_test(test_code),
        cmocka_unit_test(test_uid),
        cmocka_unit_test(test_log_has_no_values),
        cmocka_unit_test(test_inflate),
        cmocka_unit_test(test_dicomdir),
    };
    return cmocka_run_group_tests_name("dicom_dataset", tests, make_folder, remove_folder);
}
