#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "evidence_fixture.h"

static md_text_evidence *text_of(void)
{
    md_text_evidence *e = md_calloc(1, sizeof *e);
    assert_non_null(e);
    e->text = md_strdup("\xc3\x9c"
                        "bel, kein Fieber");
    assert_non_null(e->text);
    e->is_cut = true;
    e->n_passages = 1;
    e->passages[0] = (md_text_passage){"Reason for Study (0032,1030)", {0, 18}};
    e->n_words = 2;
    e->words[0] = (md_highlight){.range = {0, 5}, .weight = 0.25};
    e->words[1] = (md_highlight){.range = {12, 6}, .weight = 0.75, .negated = true};
    return e;
}

static md_risk_evidence *risk_of(void)
{
    md_risk_evidence *e = md_calloc(1, sizeof *e);
    assert_non_null(e);
    *e = (md_risk_evidence){.value = 42.5,
                            .unit = "min",
                            .has_interval = true,
                            .low = 40,
                            .high = 45.5,
                            .is_additive = true,
                            .start = -1,
                            .sum = 1.5,
                            .n_terms = 2,
                            .n_missing = 1,
                            .terms = md_calloc(MD_EVIDENCE_MAX_TERMS + 1, sizeof *e->terms)};
    assert_non_null(e->terms);
    e->terms[0] = (md_risk_term){
        .name = "patient.age_years", .unit = "a", .has_value = true, .value = 4, .part = 3};
    e->terms[1] = (md_risk_term){.name = "text.urgent", .state = MD_TERM_MISSING, .part = -0.5};
    return e;
}

void test_evidence_add(const md_model_identity *models, md_analysis *analysis)
{
    md_result *results = md_calloc(3, sizeof *results);
    assert_non_null(results);
    results[0] = analysis->results[0];
    md_free(analysis->results);
    analysis->results = results;
    for (int i = TEST_TEXT; i <= TEST_RISK; i++) {
        md_analysis other = {0};
        assert_int_equal(test_analysis_make(&models[i - 1], 0.25, 1, &other), MD_OK);
        results[analysis->n_results++] = other.results[0];
        md_free(other.results);
        other.results = NULL;
        other.n_results = 0;
        md_analysis_finish(&other);
        results[i].kind = i == TEST_TEXT ? MD_RESULT_TEXT : MD_RESULT_RISK;
        results[i].instances[0].analysed = false;
    }
    results[TEST_TEXT].text = text_of();
    results[TEST_RISK].risk = risk_of();
}

void test_evidence_compare(const md_result *got)
{
    md_text_evidence *text = text_of();
    const md_text_evidence *t = got[TEST_TEXT].text;
    assert_int_equal(got[0].kind, MD_RESULT_IMAGE);
    assert_int_equal(got[TEST_TEXT].kind, MD_RESULT_TEXT);
    assert_true(got[0].text == NULL && got[0].risk == NULL && got[TEST_TEXT].risk == NULL);
    assert_string_equal(t->text, text->text);
    assert_int_equal(t->is_cut, text->is_cut);
    assert_int_equal(t->n_passages, 1);
    assert_string_equal(t->passages[0].source, text->passages[0].source);
    assert_int_equal(t->passages[0].range.n_bytes, 18);
    assert_int_equal(t->n_words, 2);
    for (unsigned i = 0; i < t->n_words; i++) {
        assert_int_equal(t->words[i].range.first_byte, text->words[i].range.first_byte);
        assert_int_equal(t->words[i].range.n_bytes, text->words[i].range.n_bytes);
        assert_true(t->words[i].weight == text->words[i].weight);
        assert_int_equal(t->words[i].negated, text->words[i].negated);
    }
    md_free(text->text);
    md_free(text);
    md_risk_evidence *risk = risk_of();
    const md_risk_evidence *r = got[TEST_RISK].risk;
    assert_int_equal(got[TEST_RISK].kind, MD_RESULT_RISK);
    assert_null(got[TEST_RISK].text);
    assert_string_equal(r->unit, "min");
    assert_true(r->has_interval && r->is_additive);
    assert_true(r->value == risk->value && r->low == risk->low && r->high == risk->high &&
                r->start == risk->start && r->sum == risk->sum);
    assert_int_equal(r->n_terms, 2);
    assert_int_equal(r->n_missing, 1);
    for (unsigned i = 0; i < r->n_terms; i++) {
        assert_string_equal(r->terms[i].name, risk->terms[i].name);
        assert_string_equal(r->terms[i].unit, risk->terms[i].unit);
        assert_int_equal(r->terms[i].state, risk->terms[i].state);
        assert_int_equal(r->terms[i].has_value, risk->terms[i].has_value);
        assert_true(r->terms[i].value == risk->terms[i].value);
        assert_true(r->terms[i].part == risk->terms[i].part);
    }
    md_free(risk->terms);
    md_free(risk);
}
