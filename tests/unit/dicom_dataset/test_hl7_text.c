/* Texts of HL7 messages: types, escapes, character sets, and messages that are none. */

#include "dicom/dataset/hl7_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

#define MSH "MSH|^~\\&|RIS|H|PACS|H|20260101||ORU^R01|1|P|2.5.1|||||"
#define END "\r"

static md_status read_text(const char *message, char *text, size_t n, bool *cut, md_error *err)
{
    return md_hl7_report_text((const uint8_t *)message, strlen(message), text, n, cut, err);
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *message, *text;
    } rows[] = {
        {MSH END "PID|1||X||DOE^JOHN" END
                 "OBX|1|TX|18782-3^Findings^LN||No effusion.||||||F" END
                 "OBX|2|FT|19005-8^Impression^LN||Normal.\\.br\\Follow up" END,
         "No effusion.. Normal. Follow up"},
        {MSH "\n"
             "OBX|1|NM|1^Score||5\nOBX|2|CE|1^D||R05^Cough^I10\nOBX|3|ST|1||a~b^c&d\n",
         "Cough. a b c d"},
        {MSH END
         "OBX|1|TX|1||a \\F\\ b \\S\\ c \\T\\ d \\R\\ e \\E\\ f \\H\\g\\N\\ \\X41\\ \\Z9\\",
         "a | b ^ c & d ~ e \\ f g A"},
        {MSH END "OBX|1|TX|1||one\\open" END "OBX|2|TX" END "OBX|3|TX|1|||" END "ZZZ|x" END,
         "one\\open"},
        /* a field delimiter of its own, and the block of MLLP */
        {"\x0bMSH#:~\\&#RIS\rOBX#1#TX#1##a|b:c\r\x1c\r", "a|b c"},
        {MSH END, ""},
        /* no set: UTF-8 where it is that, else 8859/1; then sets that are named */
        {MSH END "OBX|1|TX|1||caf\xc3\xa9", "caf\xc3\xa9"},
        {MSH END "OBX|1|TX|1||caf\xe9", "caf\xc3\xa9"},
        {MSH "|8859/1" END "OBX|1|TX|1||\xc3\xa9", "\xc3\x83\xc2\xa9"},
        {MSH "|8859/5" END "OBX|1|TX|1||\xbb\xd5", "\xd0\x9b\xd0\xb5"},
        {MSH "|8859/15~UNICODE" END "OBX|1|TX|1||\xa4", "\xe2\x82\xac"},
        {MSH "|UNICODE UTF-8" END "OBX|1|TX|1||a\xff"
             "b",
         "a?b"},
        {MSH "|ASCII~ISO IR87" END "OBX|1|TX|1||x", "x"},
        {MSH "|ISO IR87" END "OBX|1|TX|1||\x1b$B;3\x1b(B", "\xe5\xb1\xb1"},
        {MSH "|GB 18030-2000" END "OBX|1|TX|1||\xce\xd2", "\xe6\x88\x91"},
        /* second bytes that look like delimiters: | ^ \\ */
        {MSH "|GB 18030-2000" END "OBX|1|TX|1||\x81\x7c no effusion|||F",
         "\xe4\xba\x85 no effusion"},
        {MSH "|GB 18030-2000" END "OBX|1|CWE|1||1^\x81\x5e\x81\x5c a\x81\x5c^L",
         "\xe4\xb9\x9b\xe4\xb9\x97 a\xe4\xb9\x97"},
        {MSH "|ISO IR87" END "OBX|1|TX|1||\x1b$B0|0^\x1b(B a^b|||F",
         "\xe6\xb7\xab\xe7\xb7\xaf a b"},
        {MSH "|ASCII~ISO IR87" END "OBX|1|TX|1||x \x1b$B0|\x1b(B y|||F", "x \xe6\xb7\xab y"},
        {MSH "|8859/1" END "OBX|1|TX|1||\\XE9\\", "\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        bool cut = true;
        md_error err = {0};
        if (read_text(rows[i].message, text, sizeof text, &cut, &err) != MD_OK) {
            fail_msg("row %zu: %s", i, err.msg);
        }
        if (strcmp(text, rows[i].text) != 0) {
            fail_msg("row %zu: '%s' is not '%s'", i, text, rows[i].text);
        }
        assert_false(cut);
    }
}

static void cuts(void **state)
{
    (void)state;
    static const char message[] = MSH END "OBX|1|TX|1||abc" END "OBX|2|TX|1||\xc3\xa9\xc3\xa9";
    static const struct {
        size_t room;
        const char *text;
    } rows[] = {{1, ""},
                {3, "ab"},
                {4, "abc"},
                {6, "abc"},
                {7, "abc"},
                {8, "abc. \xc3\xa9"},
                {9, "abc. \xc3\xa9"},
                {10, "abc. \xc3\xa9\xc3\xa9"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[16];
        bool cut = false;
        assert_int_equal(read_text(message, text, rows[i].room, &cut, NULL), MD_OK);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(cut, rows[i].room < 10);
    }
}

static void not_messages(void **state)
{
    (void)state;
    static const char *const rows[] = {"",         "MSH",        "MSH|^~\\",   "PID|1",
                                       "MSH|||||", "MSH|^~\\^|", "MSHA^~\\&A", "MSH|^~ &|"};
    char text[16];
    bool cut = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(read_text(rows[i], text, sizeof text, &cut, NULL), MD_FORMAT);
    }
    static const uint8_t zero[] = MSH END "OBX|1|TX|1||a\0b";
    md_error err = {0};
    assert_int_equal(md_hl7_report_text(zero, sizeof zero - 1, text, sizeof text, &cut, &err),
                     MD_FORMAT);
    assert_string_equal(err.msg, "the message holds a zero byte");
    uint8_t *large = malloc(MD_HL7_MAX_BYTES + 1);
    assert_non_null(large);
    memset(large, '\r', MD_HL7_MAX_BYTES + 1);
    assert_int_equal(
        md_hl7_report_text(large, MD_HL7_MAX_BYTES + 1, text, sizeof text, &cut, NULL),
        MD_LIMIT);
    assert_int_equal(md_hl7_report_text(large, MD_HL7_MAX_BYTES, text, sizeof text, &cut, NULL),
                     MD_FORMAT);
    free(large);
}

static uint64_t seed = 7;
static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

/* Whatever was damaged: an error, or UTF-8 without control characters that fits. */
static void damaged(void **state)
{
    (void)state;
    static const char good[] =
        MSH "|8859/1" END "OBX|1|FT|18782-3&GDT^F^LN||A\\.br\\b \\XE9C3\\ \xe9~x^y" END
            "OBX|2|CE|1||R05^Cough^I10" END;
    static const char special[] = "|^~\\&\r\n\x1b$.XMSHOBX";
    for (int round = 0; round < 20000; round++) {
        char bytes[sizeof good], text[64];
        size_t n = sizeof good - 1;
        memcpy(bytes, good, n);
        for (unsigned k = draw(6) + 1; k > 0; k--) {
            bytes[draw((uint32_t)n)] =
                draw(2) == 0 ? (char)draw(256) : special[draw(sizeof special - 1)];
        }
        n -= draw(4) == 0 ? draw((uint32_t)n) : 0;
        const size_t room = 1 + draw(sizeof text);
        bool cut = false;
        if (md_hl7_report_text((const uint8_t *)bytes, n, text, room, &cut, NULL) != MD_OK) {
            continue;
        }
        assert_true(strlen(text) < room);
        for (const char *at = text; *at != '\0';) {
            const size_t length = md_utf8_length((const unsigned char *)at);
            assert_true(length > 0 && (unsigned char)*at >= ' ');
            at += length;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(cuts),
        cmocka_unit_test(not_messages),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
