#include "base/content_tag.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/raster.h"
#include "base/steps.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sched.h>

#include <cmocka.h>

static void test_error_is_one_clean_line(void **state)
{
    (void)state;
    md_error err = {0};
    assert_int_equal(md_fail(&err, MD_FORMAT, "rows %d\nforged", 0), MD_FORMAT);
    assert_string_equal(err.msg, "rows 0?forged");
    assert_string_equal(err.where, "test_error_is_one_clean_line");
    assert_int_equal(md_error_prefix(&err, MD_FORMAT, "a.dcm"), MD_FORMAT);
    assert_string_equal(err.msg, "a.dcm: rows 0?forged");
    assert_int_equal(md_fail(NULL, MD_LIMIT, "x"), MD_LIMIT);
    assert_string_equal(md_status_name((md_status)99), "unknown");
}

static void test_error_never_cuts_a_character(void **state)
{
    (void)state;
    for (int pad = 250; pad < 256; pad++) {
        md_error err = {0};
        (void)md_fail(&err, MD_FORMAT, "%*s\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", pad, "");
        size_t length = strlen(err.msg);
        assert_true(length < MD_ERROR_MSG_BYTES);
        /* the last sequence is whole: count its continuation bytes */
        size_t start = length;
        while (start > 0 && ((unsigned char)err.msg[start - 1] & 0xc0) == 0x80) {
            start--;
        }
        size_t n_following = length - start;
        unsigned char lead = start > 0 ? (unsigned char)err.msg[start - 1] : 0;
        size_t expected = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
        assert_int_equal(n_following, expected);
    }
}

static void test_checked_arithmetic(void **state)
{
    (void)state;
    size_t result = 7;
    assert_false(md_mul(SIZE_MAX / 2, 3, &result));
    assert_false(md_add(SIZE_MAX, 1, &result));
    assert_int_equal(result, 7);
    assert_true(md_mul(6, 7, &result));
    assert_int_equal(result, 42);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    md_raster raster;
    md_memory_fail_at(1);
    assert_int_equal(md_raster_init(&raster, 4, 4, 1, NULL), MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(md_raster_init(&raster, 65535, 65535, 1, NULL), MD_LIMIT);
    assert_int_equal(md_raster_init(&raster, 0, 4, 1, NULL), MD_INVALID_ARG);
    assert_int_equal(md_raster_init(&raster, 5, 3, 3, NULL), MD_OK);
    raster.values[5 * 3 * 3 - 1] = 1.0F;
    md_raster_finish(&raster);
    md_raster_finish(&raster);
}

static void test_coded_raster(void **state)
{
    (void)state;
    float scratch[3];
    md_raster raster = {.width = 4, .height = 2, .n_channels = 1};
    assert_false(md_raster_is_filled(&raster));
    raster.codes = md_malloc_aligned(8 * sizeof *raster.codes);
    raster.table = md_calloc(MD_RASTER_CODES, sizeof *raster.table);
    assert_true(md_raster_is_filled(&raster));
    for (uint16_t i = 0; i < 8; i++) {
        raster.codes[i] = (uint16_t)(65535 - i);
        raster.table[65535 - i] = (float)i / 2;
    }
    const float *row = md_raster_row(&raster, 0, 1, 1, 3, scratch);
    assert_ptr_equal(row, scratch);
    assert_true(row[0] == 2.5F && row[1] == 3.0F && row[2] == 3.5F);
    assert_true(md_raster_at(&raster, 0, 3, 0) == 1.5F);
    md_memory_fail_at(1);
    assert_int_equal(md_raster_expand(&raster, NULL), MD_NOMEM);
    md_memory_fail_at(0);
    assert_non_null(raster.codes);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(md_raster_expand(&raster, NULL), MD_OK);
        assert_null(raster.codes);
        for (uint32_t i = 0; i < 8; i++) {
            assert_true(raster.values[i] == (float)i / 2);
        }
    }
    assert_ptr_equal(md_raster_row(&raster, 0, 1, 1, 3, scratch), raster.values + 5);
    md_raster_finish(&raster);
    assert_false(md_raster_is_filled(&raster));
}

static void test_sha256(void **state)
{
    (void)state;
    uint8_t digest[MD_SHA256_BYTES];
    char hex[MD_SHA256_HEX_BYTES];
    md_sha256("abc", 3, digest); /* FIPS 180-4, example B.1 */
    md_hex(digest, sizeof digest, hex);
    assert_string_equal(hex,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/medaid-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[128];
    snprintf(path, sizeof path, "%s/a/b", folder);
    assert_int_equal(md_folder_create(path, NULL), MD_OK);
    assert_int_equal(md_folder_create(path, NULL), MD_OK);
    snprintf(path, sizeof path, "%s/a/b/file", folder);
    md_error err = {0};
    assert_int_equal(md_file_write(path, MD_FILE_NEW, "one", 3, &err), MD_OK);
    assert_int_equal(md_file_write(path, MD_FILE_NEW, "two", 3, &err), MD_BUSY);
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    assert_int_equal(md_file_read(path, 2, &bytes, &size_bytes, &err), MD_LIMIT);
    assert_int_equal(md_file_read(path, 3, &bytes, &size_bytes, &err), MD_OK);
    assert_memory_equal(bytes, "one", 4);
    md_free(bytes);
    assert_int_equal(md_file_write(path, MD_FILE_REPLACE, "three", 5, &err), MD_OK);
    assert_int_equal(md_file_read(path, 100, &bytes, &size_bytes, &err), MD_OK);
    assert_int_equal(size_bytes, 5);
    md_free(bytes);
    assert_int_equal(md_file_read(folder, 100, &bytes, &size_bytes, &err), MD_INVALID_ARG);
    unlink(path);
    assert_int_equal(md_file_read(path, 100, &bytes, &size_bytes, &err), MD_NOT_FOUND);
    snprintf(path, sizeof path, "%s/a/b", folder);
    assert_int_equal(rmdir(path), 0); /* no temporary file was left behind */
    snprintf(path, sizeof path, "%s/a", folder);
    rmdir(path);
    rmdir(folder);
}

static void test_log_lines(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    md_log_configure(ends[1], MD_LOG_INFO);
    md_log(MD_LOG_DEBUG, "hidden");
    char line[5000];
    assert_true(read(ends[0], line, sizeof line) < 0);
    md_log(MD_LOG_WARN, "test_event", MD_LOG_TEXT("text", "a\"b\n\xff\xc3\xa4"),
           MD_LOG_INT("n", -3), MD_LOG_REAL("x", 0.5));
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, "\"level\":\"warn\",\"event\":\"test_event\","
                                 "\"text\":\"a\\\"b\\u000a?\xc3\xa4\",\"n\":-3,\"x\":0.5}\n"));
    char *longer = malloc(10000);
    memset(longer, 'x', 9999);
    longer[9999] = '\0';
    md_log(MD_LOG_INFO, "long", MD_LOG_TEXT("first", "kept"), MD_LOG_TEXT("text", longer),
           MD_LOG_INT("after", 1));
    free(longer);
    n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0 && n <= 4096);
    line[n] = '\0';
    assert_non_null(strstr(line, "\"first\":\"kept\""));
    assert_string_equal(line + n - 3, "\"}\n");
    md_log_configure(STDERR_FILENO, MD_LOG_INFO);
    close(ends[0]);
    close(ends[1]);
}

/* RFC 8439 2.5.2; and the same in two pieces. */
static void test_content_tag(void **state)
{
    static const uint8_t key[MD_CONTENT_KEY_BYTES] = {
        0x85, 0xd6, 0xbe, 0x78, 0x57, 0x55, 0x6d, 0x33, 0x7f, 0x44, 0x52,
        0xfe, 0x42, 0xd5, 0x06, 0xa8, 0x01, 0x03, 0x80, 0x8a, 0xfb, 0x0d,
        0xb2, 0xfd, 0x4a, 0xbf, 0xf6, 0xaf, 0x41, 0x49, 0xf5, 0x1b};
    static const uint8_t expected[MD_CONTENT_TAG_BYTES] = {0xa8, 0x06, 0x1d, 0xc1, 0x30, 0x51,
                                                           0x36, 0xc6, 0xc2, 0x2b, 0x8b, 0xaf,
                                                           0x0c, 0x01, 0x27, 0xa9};
    static const char text[] = "Cryptographic Forum Research Group";
    (void)state;
    for (size_t first = 0; first < sizeof text; first++) {
        MD_AUTO(md_content_tag_destroyp) md_content_tag *tag = NULL;
        uint8_t got[MD_CONTENT_TAG_BYTES];
        assert_int_equal(md_content_tag_create(key, &tag, NULL), MD_OK);
        assert_true(md_content_tag_add(tag, text, first));
        assert_true(md_content_tag_add(tag, text + first, sizeof text - 1 - first));
        assert_true(md_content_tag_end(tag, got));
        assert_memory_equal(got, expected, sizeof expected);
    }
}

static void test_steps_are_bounded(void **state)
{
    (void)state;
    md_steps steps = {0};
    for (int i = 0; i < 2 * MD_STEPS_MAX; i++) {
        md_steps_add(&steps, "step %d", i);
    }
    assert_int_equal(steps.n, MD_STEPS_MAX);
    assert_string_equal(steps.text[0], "step 0");
    assert_string_equal(steps.text[MD_STEPS_MAX - 1], "(further steps left out)");
}

static void test_cores(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(md_cores(), CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(md_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cores),
        cmocka_unit_test(test_error_is_one_clean_line),
        cmocka_unit_test(test_error_never_cuts_a_character),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_coded_raster),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_content_tag),
        cmocka_unit_test(test_steps_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
