/* What main believes of the text or the risk that a worker sends: nothing that contradicts
 * itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "evidence_fixture.h"

#include <math.h>
#include <string.h>

static uint8_t block[1 << 18];

static const md_model_identity models[] = {{.id = "m", .version = "1", .name = "Model"},
                                           {.id = "t", .version = "2", .name = "Reader"},
                                           {.id = "r", .version = "3", .name = "Score"}};
static const md_worker_expectation expected = {
    .models = models, .n_models = 3, .study_instance_uid = TEST_STUDY_UID, .n_files = 3};

static void range_cuts_character(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[0].range = (md_text_range){1, 4};
}
static void range_ends_in_character(md_analysis *a)
{
    a->results[TEST_TEXT].text->passages[0].range.n_bytes = 1;
}
static void range_outside(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[1].range.n_bytes = 7;
}
static void range_wraps(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[1].range = (md_text_range){UINT32_MAX, 2};
}
static void range_empty(md_analysis *a)
{
    a->results[TEST_TEXT].text->passages[0].range.n_bytes = 0;
}
static void words_overlap(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[1].range = (md_text_range){4, 6};
}
static void words_turned(md_analysis *a)
{
    md_highlight *words = a->results[TEST_TEXT].text->words;
    const md_highlight first = words[0];
    words[0] = words[1];
    words[1] = first;
}
static void shares_above_one(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[0].weight = 0.5;
}
static void share_nan(md_analysis *a)
{
    a->results[TEST_TEXT].text->words[0].weight = (double)NAN;
}
static void value_nan(md_analysis *a)
{
    a->results[TEST_RISK].risk->value = (double)NAN;
}
static void part_infinite(md_analysis *a)
{
    a->results[TEST_RISK].risk->terms[1].part = -(double)INFINITY;
}
static void term_unknown_state(md_analysis *a)
{
    a->results[TEST_RISK].risk->terms[1].state = (md_term_state)3;
}
static void term_nameless(md_analysis *a)
{
    a->results[TEST_RISK].risk->terms[0].name[0] = '\0';
}
static void too_many_terms(md_analysis *a)
{
    a->results[TEST_RISK].risk->n_terms = MD_EVIDENCE_MAX_TERMS + 1;
}
static void kind_three(md_analysis *a)
{
    a->results[TEST_TEXT].kind = (md_result_kind)3;
}
static void kind_of_images(md_analysis *a)
{
    a->results[TEST_TEXT].kind = MD_RESULT_IMAGE;
}
static void kind_without_evidence(md_analysis *a)
{
    a->results[0].kind = MD_RESULT_RISK;
}
static void evidence_in_failed(md_analysis *a)
{
    a->results[TEST_RISK].status = MD_RESULT_FAILED;
    a->results[TEST_RISK].failure = (md_code){"110501", "DCM", "Equipment failure"};
    a->results[TEST_RISK].n_findings = 0;
}
static void nothing(md_analysis *a)
{
    (void)a;
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*spoil)(md_analysis *analysis);
        const char *reason; /* NULL: it is believed */
    } rows[] = {
        {"honest", nothing, NULL},
        {"range cuts", range_cuts_character, "a text or a risk that contradicts itself"},
        {"range ends in one", range_ends_in_character,
         "a text or a risk that contradicts itself"},
        {"range outside", range_outside, "a text or a risk that contradicts itself"},
        {"range wraps", range_wraps, "a text or a risk that contradicts itself"},
        {"range empty", range_empty, "a text or a risk that contradicts itself"},
        {"overlap", words_overlap, "a text or a risk that contradicts itself"},
        {"words turned", words_turned, "a text or a risk that contradicts itself"},
        {"shares above 1", shares_above_one, "a text or a risk that contradicts itself"},
        {"share NaN", share_nan, "a real number out of its range"},
        {"value NaN", value_nan, "a real number out of its range"},
        {"part infinite", part_infinite, "a real number out of its range"},
        {"term of no state", term_unknown_state, "a number out of its range"},
        {"term without name", term_nameless, "a text or a risk that contradicts itself"},
        {"257 terms", too_many_terms, "a number out of its range"},
        {"kind 3", kind_three, "a kind of result that is none"},
        {"kind of images", kind_of_images, "a text or a risk that contradicts itself"},
        {"kind without evidence", kind_without_evidence,
         "a text or a risk that contradicts itself"},
        {"evidence in FAILED", evidence_in_failed, "a text or a risk that contradicts itself"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_analysis sent = {0};
        assert_int_equal(test_analysis_make(&models[0], 0.75, 2, &sent), MD_OK);
        test_evidence_add(&models[TEST_TEXT], &sent);
        rows[i].spoil(&sent);
        size_t size_bytes = 0;
        assert_int_equal(
            md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL), MD_OK);
        md_analysis got = {0};
        md_error err = {0};
        const md_status status =
            md_worker_decode_analysis(block, size_bytes, &expected, &got, &err);
        if (status != (rows[i].reason == NULL ? MD_OK : MD_FORMAT) ||
            (rows[i].reason != NULL && strstr(err.msg, rows[i].reason) == NULL)) {
            fail_msg("%s: %s: '%s'", rows[i].name, md_status_name(status), err.msg);
        }
        assert_int_equal(got.results == NULL, rows[i].reason != NULL);
        md_analysis_finish(&got);
        md_analysis_finish(&sent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
