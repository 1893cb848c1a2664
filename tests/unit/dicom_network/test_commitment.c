/* The datasets of storage commitment, written and read, and what is no such dataset. */

#include "dicom/network/bytes.h"
#include "dicom/network/commitment.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRANSACTION "2.25.123"
#define CLASS "1.2.840.10008.5.1.4.1.1.88.34"

static const md_encoding encodings[] = {MD_ENCODING_IMPLICIT_LITTLE,
                                        MD_ENCODING_EXPLICIT_LITTLE};

/* A dataset in the making. */
typedef struct maker {
    uint8_t bytes[4096];
    size_t used;
    bool is_explicit;
} maker;

static void put_header(maker *to, uint32_t tag, const char *vr, uint32_t length)
{
    uint8_t *p = to->bytes + to->used;
    md_put_le16(p, (uint16_t)(tag >> 16));
    md_put_le16(p + 2, (uint16_t)tag);
    to->used += 8;
    if (!to->is_explicit || tag >> 16 == 0xfffe) {
        md_put_le32(p + 4, length);
        return;
    }
    memcpy(p + 4, vr, 2);
    if (strcmp(vr, "SQ") == 0 || strcmp(vr, "UN") == 0) {
        md_put_le16(p + 6, 0);
        md_put_le32(p + 8, length);
        to->used += 4;
    } else {
        md_put_le16(p + 6, (uint16_t)length);
    }
}

static void put(maker *to, uint32_t tag, const char *vr, const void *value, uint32_t length)
{
    put_header(to, tag, vr, length);
    memcpy(to->bytes + to->used, value, length);
    to->used += length;
}

static void put_uid(maker *to, uint32_t tag, const char *uid)
{
    char padded[66] = {0};
    snprintf(padded, sizeof padded, "%s", uid);
    put(to, tag, "UI", padded, (uint32_t)(strlen(uid) + strlen(uid) % 2));
}

/* What a PACS answers: one kept, one failed; sequences of undefined length, with things in it
 * that nobody asked for. */
static void make_report(maker *to, bool is_explicit)
{
    uint8_t reason[2];
    memset(to, 0, sizeof *to);
    to->is_explicit = is_explicit;
    put(to, 0x00080005, "CS", "ISO_IR 100", 10);
    put_uid(to, 0x00081195, TRANSACTION);
    put_header(to, 0x00081198, "SQ", 0xffffffff);
    put_header(to, 0xfffee000, "", 0xffffffff);
    put_uid(to, 0x00081150, CLASS);
    put_uid(to, 0x00081155, "1.2.3.2");
    md_put_le16(reason, 0x0112);
    put(to, 0x00081197, "US", reason, 2);
    put_header(to, 0xfffee00d, "", 0);
    put_header(to, 0xfffee0dd, "", 0);
    put_header(to, 0x00081199, "SQ", 0xffffffff);
    put_header(to, 0xfffee000, "", 0xffffffff);
    put_uid(to, 0x00081150, CLASS);
    put_uid(to, 0x00081155, "1.2.3.1");
    put_header(to, 0x00081199, "SQ", 0xffffffff); /* a sequence within: no reference of ours */
    put_header(to, 0xfffee000, "", 0xffffffff);
    put_uid(to, 0x00081155, "1.2.3.99");
    put_header(to, 0xfffee00d, "", 0);
    put_header(to, 0xfffee0dd, "", 0);
    put(to, 0x00880130, "SH", "TAPE", 4);
    put_header(to, 0xfffee00d, "", 0);
    put_header(to, 0xfffee000, "", 0); /* an item without a reference */
    put_header(to, 0xfffee0dd, "", 0);
}

static void test_request(void **state)
{
    static const md_commit_reference references[] = {
        {.sop_class_uid = CLASS, .sop_instance_uid = "1.2.3.1"},
        {.sop_class_uid = "1.2", .sop_instance_uid = "1.2.3.45"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint8_t *bytes = NULL;
        size_t n = 0;
        md_error err = {0};
        md_commit_report report;
        assert_int_equal(
            md_commit_write_request(TRANSACTION, references, 2, encodings[i], &bytes, &n, &err),
            MD_OK);
        assert_int_equal(n % 2, 0);
        /* an N-ACTION's dataset reads like a report without failures */
        assert_int_equal(md_commit_read_report(bytes, n, encodings[i], &report, &err), MD_OK);
        assert_string_equal(report.transaction_uid, TRANSACTION);
        assert_int_equal(report.n, 2);
        for (size_t k = 0; k < 2; k++) {
            assert_string_equal(report.references[k].sop_class_uid,
                                references[k].sop_class_uid);
            assert_string_equal(report.references[k].sop_instance_uid,
                                references[k].sop_instance_uid);
            assert_false(report.references[k].failed);
        }
        md_commit_report_finish(&report);
        /* read as the other encoding it is no dataset */
        assert_int_not_equal(md_commit_read_report(bytes, n, encodings[1 - i], &report, &err),
                             MD_OK);
        md_free(bytes);
    }
    uint8_t *bytes = NULL;
    size_t n = 0;
    assert_int_equal(md_commit_write_request(TRANSACTION, references, 2,
                                             MD_ENCODING_EXPLICIT_BIG, &bytes, &n, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_commit_write_request(TRANSACTION, references,
                                             MD_COMMIT_MAX_REFERENCES + 1, encodings[0], &bytes,
                                             &n, NULL),
                     MD_INVALID_ARG);
    md_memory_fail_at(1);
    assert_int_equal(
        md_commit_write_request(TRANSACTION, references, 2, encodings[0], &bytes, &n, NULL),
        MD_NOMEM);
    md_memory_fail_at(0);
}

static void test_report(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        maker made;
        md_error err = {0};
        md_commit_report report;
        make_report(&made, i == 1);
        if (md_commit_read_report(made.bytes, made.used, encodings[i], &report, &err) !=
            MD_OK) {
            fail_msg("%s", err.msg);
        }
        assert_string_equal(report.transaction_uid, TRANSACTION);
        assert_int_equal(report.n, 2);
        assert_true(report.references[0].failed);
        assert_int_equal(report.references[0].failure_reason, 0x0112);
        assert_string_equal(report.references[0].sop_instance_uid, "1.2.3.2");
        assert_false(report.references[1].failed);
        assert_string_equal(report.references[1].sop_instance_uid, "1.2.3.1");
        assert_string_equal(report.references[1].sop_class_uid, CLASS);
        md_commit_report_finish(&report);
        md_memory_fail_at(1);
        assert_int_equal(
            md_commit_read_report(made.bytes, made.used, encodings[i], &report, NULL),
            MD_NOMEM);
        md_memory_fail_at(0);
    }
}

/* Cut anywhere, or with any byte changed: an answer, never more than that. */
static void test_hostile_reports(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        maker made;
        make_report(&made, i == 1);
        for (size_t n = 0; n < made.used; n++) {
            /* the heap's end is where the bytes end, so that a sanitizer sees a step too far */
            uint8_t *cut = malloc(n + 1);
            md_commit_report report;
            memcpy(cut, made.bytes, n);
            uint8_t *exact = realloc(cut, n > 0 ? n : 1);
            if (md_commit_read_report(exact, n, encodings[i], &report, NULL) == MD_OK) {
                md_commit_report_finish(&report);
            }
            free(exact);
        }
        for (size_t at = 0; at < made.used; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                md_commit_report report;
                made.bytes[at] ^= (uint8_t)(1U << bit);
                if (md_commit_read_report(made.bytes, made.used, encodings[i], &report, NULL) ==
                    MD_OK) {
                    md_commit_report_finish(&report);
                }
                made.bytes[at] ^= (uint8_t)(1U << bit);
            }
        }
    }
}

static void test_refused_reports(void **state)
{
    maker made = {.is_explicit = true};
    md_commit_report report;
    md_error err = {0};
    (void)state;
    assert_int_equal(md_commit_read_report(made.bytes, 0, encodings[1], &report, &err),
                     MD_FORMAT);
    assert_non_null(strstr(err.msg, "no transaction UID"));
    /* nested without end */
    put_uid(&made, 0x00081195, TRANSACTION);
    for (unsigned i = 0; i < 20; i++) {
        put_header(&made, 0x00081199, "SQ", 0xffffffff);
        put_header(&made, 0xfffee000, "", 0xffffffff);
    }
    assert_int_equal(md_commit_read_report(made.bytes, made.used, encodings[1], &report, &err),
                     MD_LIMIT);
    assert_non_null(strstr(err.msg, "nested deeper"));
    /* more references than anybody asked for */
    size_t item = 8 + 16, n = MD_COMMIT_MAX_REFERENCES + 1;
    size_t size_bytes = 16 + 12 + n * item;
    uint8_t *many = calloc(size_bytes, 1);
    maker head = {.is_explicit = true};
    put_uid(&head, 0x00081195, TRANSACTION);
    put_header(&head, 0x00081199, "SQ", (uint32_t)(n * item));
    memcpy(many, head.bytes, head.used);
    assert_int_equal(head.used, 28);
    maker one = {.is_explicit = true};
    put_header(&one, 0xfffee000, "", 16);
    put_uid(&one, 0x00081155, "1.2.3.4");
    assert_int_equal(one.used, item);
    for (size_t i = 0; i < n; i++) {
        memcpy(many + head.used + i * item, one.bytes, item);
    }
    assert_int_equal(md_commit_read_report(many, size_bytes, encodings[1], &report, &err),
                     MD_LIMIT);
    free(many);
    /* an element where an item must be */
    maker wrong = {.is_explicit = true};
    put_uid(&wrong, 0x00081195, TRANSACTION);
    put_header(&wrong, 0x00081199, "SQ", 16);
    put_uid(&wrong, 0x00081155, "1.2.3.4");
    assert_int_equal(
        md_commit_read_report(wrong.bytes, wrong.used, encodings[1], &report, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "where an item must be"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_hostile_reports),
        cmocka_unit_test(test_refused_reports),
    };
    return cmocka_run_group_tests_name("dicom_network_commitment", tests, NULL, NULL);
}
