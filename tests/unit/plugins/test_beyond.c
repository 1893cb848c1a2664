/* Analyzers of kind text and risk: what they read, in which order, what is left when one of
 * them fails, and packages that are refused. */

#include "plugins/host/package.h"
#include "plugins/host/study_numbers.h"
#include "plugins/host/study_text.h"
#include "tests/unit/plugins/support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As tests/support/study_models.py has them. */
static const double asks[] = {-1e9, -2, 0, 2, 0, 3, 1, 0};
static const double says[][2] = {{9, 9},  {0, 0},  {0, 1},  {3, -3},
                                 {-1, 1}, {4, -4}, {-3, 3}, {-4, 4}};

static double share_of(const int *tokens, size_t n, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        sum += exp(asks[tokens[k]]);
    }
    return exp(asks[tokens[i]]) / sum;
}

static double score_of(const int *tokens, size_t n, int label)
{
    double z = 0;
    for (size_t i = 0; i < n; i++) {
        z += share_of(tokens, n, i) * says[tokens[i]][label];
    }
    return 1 / (1 + exp(-z));
}

static double risk_of(double bright, double urgent, double age, double rate)
{
    return 1 / (1 + exp(-(-4.0 + 2.0 * bright + 3.0 * urgent + 0.02 * age + 0.01 * rate)));
}

static const md_result *result_of(const md_analysis *a, const char *id)
{
    size_t at = 0;
    while (at < a->n_results && strcmp(a->results[at].model.id, id) != 0) {
        at++;
    }
    assert_true(at < a->n_results);
    return &a->results[at];
}

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-5)) {
        fail_msg("%.9g is not %.9g", value, expected);
    }
}

/* A film with these texts, and what the packages of a folder say of it. */
static void analyse_film(const char *folder, phantom_options *film, told *t, md_analysis *a)
{
    md_host *host = host_of(folder, NULL);
    const char *path = film_write("order.dcm", film);
    md_analyse_options options = all_options(t);
    md_error err;
    options.want_failure_sr = true;
    const md_status status = analyse(host, &path, 1, &options, a, &err);
    md_host_destroy(host);
    if (status != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

static void check_words(const md_text_evidence *e, const int *tokens, size_t n)
{
    static const char *const words[] = {"Fever", "and", "pneumonia"};
    double sum = 0;
    assert_int_equal(e->n_words, 3);
    for (unsigned i = 0; i < e->n_words; i++) {
        const md_text_range *range = &e->words[i].range;
        assert_int_equal(range->n_bytes, strlen(words[i]));
        assert_memory_equal(e->text + range->first_byte, words[i], range->n_bytes);
        sum += e->words[i].weight;
    }
    close_to(sum, 1.0);
    close_to(e->words[2].weight, share_of(tokens, n, 2));
}

static void test_images_then_texts_then_risk(void **state)
{
    (void)state;
    phantom_options film;
    film_options(&film);
    film.reason = "Fever and pneumonia";
    film.heart_rate = "100";
    told t;
    md_analysis a;
    analyse_film("beyond", &film, &t, &a);
    assert_int_equal(t.n, 0);
    assert_int_equal(a.n_results, 3);
    assert_string_equal(a.results[0].model.id, "tiny");
    assert_string_equal(a.results[1].model.id, "tiny-text");
    assert_string_equal(a.results[2].model.id, "tiny-risk");
    const md_result *text = &a.results[1], *risk = &a.results[2];
    assert_true(text->kind == MD_RESULT_TEXT && risk->kind == MD_RESULT_RISK);
    assert_int_equal(text->status, MD_RESULT_COMPLETE);
    /* the study's description is read too, and its words are not in the vocabulary */
    assert_int_equal(text->text->n_passages, 2);
    assert_string_equal(text->text->passages[0].source, "Reason for Study (0032,1030)");
    assert_string_equal(text->text->text, "Fever and pneumonia. CHEST radiograph");
    const int tokens[] = {3, 1, 5, 1, 1};
    close_to(text->findings[0].score, score_of(tokens, 5, 0));
    close_to(text->findings[1].score, score_of(tokens, 5, 1));
    assert_true(text->findings[0].urgent);
    assert_false(text->instances[0].analysed);

    assert_int_equal(risk->status, MD_RESULT_COMPLETE);
    assert_int_equal(risk->n_findings, 1);
    const double bright = a.results[0].findings[0].score, urgent = text->findings[0].score;
    close_to(risk->findings[0].score, risk_of(bright, urgent, 4, 100));
    assert_int_equal(risk->risk->n_terms, 4);
    assert_int_equal(risk->risk->n_missing, 0);
    assert_string_equal(risk->risk->terms[1].name, "text.urgent");
    close_to(risk->risk->terms[1].value, urgent);
    close_to(risk->risk->terms[1].part, 3 * (urgent - 0.5));
    double sum = risk->risk->start;
    for (unsigned i = 0; i < risk->risk->n_terms; i++) {
        sum += risk->risk->terms[i].part;
    }
    assert_true(risk->risk->is_additive);
    close_to(sum, risk->risk->sum);
    /* three reports, and a picture of the film alone */
    size_t n_reports = 0;
    for (size_t i = 0; i < a.n_objects; i++) {
        n_reports += md_object_kind_of(a.objects[i].sop_class_uid) == MD_OBJECT_SR;
    }
    assert_int_equal(n_reports, 3);
    assert_int_equal(a.n_objects, 4);
    for (size_t i = 0; i < a.n_results; i++) {
        md_error err = {0};
        if (md_result_check(&a.results[i], &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
    }
    md_analysis_finish(&a);
}

/* Reports are read, but not those that medaid wrote: its words are not somebody else's. */
static void test_reports_of_others_are_read(void **state)
{
    (void)state;
    phantom_options film;
    film_options(&film);
    film.reason = "fever";
    told t;
    md_analysis a, b;
    md_error err;
    analyse_film("beyond", &film, &t, &a);
    const md_object *report = &a.objects[0];
    assert_int_equal(md_object_kind_of(report->sop_class_uid), MD_OBJECT_SR);
    md_host *host = host_of("text", NULL);
    md_analyse_options options = all_options(&t);
    for (int own = 1; own >= 0; own--) {
        for (size_t at = 0; !own && at + 6 <= report->size_bytes; at++) {
            if (memcmp(report->bytes + at, "medaid", 6) == 0) { /* Manufacturer among them */
                memcpy(report->bytes + at, "others", 6);
            }
        }
        const char *const paths[] = {
            film_write("order.dcm", &film),
            bytes_write("report.dcm", report->bytes, report->size_bytes)};
        assert_int_equal(analyse(host, paths, 2, &options, &b, &err), MD_OK);
        const md_text_evidence *e = b.results[0].text;
        assert_int_equal(e->n_passages, own ? 2 : 3);
        assert_int_equal(strstr(e->text, "not for diagnosis") == NULL, own);
        md_analysis_finish(&b);
    }
    md_host_destroy(host);
    md_analysis_finish(&a);
}

static void test_words_are_places_in_the_text(void **state)
{
    (void)state;
    md_host *host = host_of("text", NULL);
    phantom_options film;
    film_options(&film);
    film.body_part = "";
    film.history = "Fever and pneumonia";
    film.modality = "CR";
    const char *path = film_write("words.dcm", &film);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    const md_text_evidence *e = a.results[0].text;
    /* "Plain radiograph" follows: unknown words are read, with little attention */
    const int tokens[] = {3, 1, 5, 1, 1};
    md_text_evidence first = *e;
    assert_int_equal(e->n_words, 5);
    first.n_words = 3;
    double rest = e->words[3].weight + e->words[4].weight;
    first.words[0].weight += rest; /* so that the three make up the whole */
    check_words(&first, tokens, 5);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_what_is_missing_is_named(void **state)
{
    (void)state;
    phantom_options film;
    film_options(&film);
    film.heart_rate = "none"; /* no number */
    film.reason = "---";      /* no word: only the description is left */
    told t;
    md_analysis a;
    analyse_film("beyond", &film, &t, &a);
    const md_result *risk = result_of(&a, "tiny-risk");
    assert_int_equal(risk->risk->n_missing, 1);
    assert_int_equal(risk->risk->terms[3].state, MD_TERM_MISSING);
    close_to(risk->risk->terms[3].value, 80);
    md_analysis_finish(&a);
}

static void test_a_failing_reader_costs_only_itself(void **state)
{
    (void)state;
    phantom_options film;
    film_options(&film);
    film.reason = "fever"; /* whose weights are NaN */
    told t;
    md_analysis a;
    analyse_film("nan-text", &film, &t, &a);
    assert_int_equal(t.n, 1);
    assert_non_null(strstr(t.message[0], "tiny-text: "));
    assert_null(strstr(t.message[0], "fever"));
    assert_int_equal(a.n_results, 3);
    assert_int_equal(result_of(&a, "tiny")->status, MD_RESULT_COMPLETE);
    const md_result *text = result_of(&a, "tiny-text"), *risk = result_of(&a, "tiny-risk");
    assert_int_equal(text->status, MD_RESULT_FAILED);
    assert_string_not_equal(text->failure.value, "");
    assert_int_equal(text->n_findings, 0);
    assert_null(text->text);
    assert_int_equal(risk->status, MD_RESULT_COMPLETE);
    assert_int_equal(risk->risk->terms[1].state, MD_TERM_MISSING);
    assert_int_equal(a.n_objects, 4); /* also the report of the failure */
    md_analysis_finish(&a);
}

static void test_too_little_is_no_score(void **state)
{
    (void)state;
    md_host *host = host_of("risk", NULL);
    phantom_options film;
    film_options(&film);
    film.age_years = 4;
    const char *path = film_write("alone.dcm", &film);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    /* the age alone is one number, two are wanted, and nobody else spoke */
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_NOT_FOUND);
    assert_int_equal(a.n_results, 0);
    md_analysis_finish(&a);
    film.heart_rate = "300"; /* beyond the model's range */
    path = film_write("alone.dcm", &film);
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].risk->terms[3].state, MD_TERM_CLAMPED);
    assert_int_equal(a.results[0].risk->n_missing, 2);
    close_to(a.results[0].findings[0].score, risk_of(0.5, 0.5, 4, 250));
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_texts_of_any_kind(void **state)
{
    (void)state;
    static char longest[50001];
    for (size_t i = 0; i + 1 < sizeof longest; i++) {
        longest[i] = i % 7 == 6 ? ' ' : "fever\xc3\xa9"[i % 7];
    }
    static const char *const texts[] = {
        longest,
        "\x01\x02\x1b(B\x7f\xff\xfe fever",
        "<script>alert(1)</script> fever",
        "\xc3\xa9l\xc3\xa9vation, fever",
        "fever \xe2\x80\xae reveF",
        "no fever. No pneumonia",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        phantom_options film;
        film_options(&film);
        film.reason = texts[i];
        film.history = texts[i]; /* said twice */
        told t;
        md_analysis a;
        analyse_film("beyond", &film, &t, &a);
        assert_int_equal(result_of(&a, "tiny")->status, MD_RESULT_COMPLETE);
        const md_result *text = result_of(&a, "tiny-text");
        assert_int_equal(text->status, MD_RESULT_COMPLETE);
        assert_true(strlen(text->text->text) <= MD_EVIDENCE_TEXT_BYTES);
        assert_int_equal(text->text->is_cut, i == 0);
        md_error err = {0};
        if (md_result_check(text, &err) != MD_OK) {
            fail_msg("%zu: %s", i, err.msg);
        }
        assert_true(text->text->n_passages <= 2);
        md_analysis_finish(&a);
    }
}

static void test_broken_packages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reason;
        md_status status;
    } rows[] = {
        {"text-attribute", "p/model.yaml:12: key 'text.attributes[0]': got PatientName",
         MD_FORMAT},
        {"text-twice", "key 'text.attributes': 'StudyDescription' stands there twice",
         MD_FORMAT},
        {"text-no-attribute", "key 'text.attributes': got an empty list", MD_FORMAT},
        {"text-preprocess", "p/model.yaml:15: key 'preprocess': unknown key", MD_FORMAT},
        {"text-vocabulary", "key 'text.vocabulary': the network's file", MD_FORMAT},
        {"text-output", "p: network: no output other", MD_FORMAT},
        {"text-kind", "p/model.yaml:6: key 'kind': got sound, expected image", MD_FORMAT},
        {"text-self-test", "p: self-test failed: the output differs", MD_PLUGIN},
        {"text-words", "p: vocabulary: ", MD_FORMAT},
        {"risk-two", "key 'findings': got 2, expected 1", MD_FORMAT},
        {"risk-range", "model.yaml:8: key 'risk.range': has no effect", MD_FORMAT},
        {"risk-tag", "got \"heart rate\", expected an attribute of the dataset", MD_FORMAT},
        {"risk-feature",
         "key 'risk.attributes.vital.heart_beat': risk.json has no such feature", MD_FORMAT},
        {"risk-network", "p/model.yaml:7: key 'network': unknown key", MD_FORMAT},
        {"risk-self-test", "p: self-test failed: the output differs", MD_PLUGIN},
        {"risk-json", "p: risk.json", MD_FORMAT},
        {"risk-value", "key 'risk.range': missing, risk.json answers with a value", MD_FORMAT},
    };
    unsigned n_wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const md_package_options options = {.any_kind = true};
        char folder[128];
        snprintf(folder, sizeof folder, "bad-%s/p", rows[i].name);
        md_analyzer *analyzer = NULL;
        md_error err = {0};
        md_status status =
            md_package_open(scratch_path(folder), "p", &options, &analyzer, &err);
        if (status != rows[i].status || strstr(err.msg, rows[i].reason) == NULL ||
            strchr(err.msg, '\n') != NULL || analyzer != NULL) {
            print_error("%s: %s '%s'\n", rows[i].name, md_status_name(status), err.msg);
            n_wrong++;
        }
    }
    assert_int_equal(n_wrong, 0);
    /* who works with images takes no other package */
    const md_package_options images = {0};
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    assert_int_equal(md_package_open(scratch_path("text/p"), "p", &images, &analyzer, &err),
                     MD_UNSUPPORTED);
    assert_string_equal(err.msg, "p: a package of kind text, expected image");
}

static void test_the_image_package_serves_beside_broken_ones(void **state)
{
    (void)state;
    phantom_options film;
    film_options(&film);
    film.reason = "fever";
    told refused = {0};
    const char *folder = scratch_path("half");
    const md_host_options options = {
        .folders = &folder, .n_folders = 1, .on_refused = note, .context = &refused};
    md_host *host = NULL;
    md_error err = {0};
    assert_int_equal(md_host_create(&options, &host, &err), MD_OK);
    assert_int_equal(md_host_n_models(host), 1);
    assert_int_equal(refused.n, 2);
    assert_non_null(strstr(refused.message[0], "model.yaml:"));
    assert_non_null(strstr(refused.message[1], "r/model.yaml:15: key 'findings[0].threshold'"));
    const char *path = film_write("half.dcm", &film);
    told t;
    md_analyse_options with = all_options(&t);
    md_analysis a;
    assert_int_equal(analyse(host, &path, 1, &with, &a, &err), MD_OK);
    assert_int_equal(a.n_results, 1);
    assert_int_equal(a.results[0].status, MD_RESULT_COMPLETE);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_moments(void **state)
{
    (void)state;
    static const struct {
        const char *date, *time, *zone;
        bool good;
        int64_t ms;
        double hour;
        unsigned weekday;
    } rows[] = {
        {"20261124", "153045.5", "+0000", true, 1795534245000, 15.5125, 1},
        {"20261124", "1530", "+0130", true, 1795528800000, 15.5, 1},
        {"20261124", "15", "-0500", true, 1795550400000, 15.0, 1},
        {"19700104", "000000", "+0000", true, 259200000, 0.0, 6},
        {"20260230", "120000", "+0000", false, 0, 0, 0},
        {"20261324", "120000", "+0000", false, 0, 0, 0},
        {"2026112", "120000", "+0000", false, 0, 0, 0},
        {"20261124", "240000", "+0000", false, 0, 0, 0},
        {"20261124", "1x0000", "+0000", false, 0, 0, 0},
        {"20261124", "", "+0000", false, 0, 0, 0},
        {"", "", "", false, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ms = 0;
        double hour = 0;
        unsigned weekday = 0;
        const bool good =
            md_study_moment(rows[i].date, rows[i].time, rows[i].zone, &ms, &hour, &weekday);
        assert_int_equal(good, rows[i].good);
        if (good) {
            assert_int_equal(ms, rows[i].ms);
            close_to(hour, rows[i].hour);
            assert_int_equal(weekday, rows[i].weekday);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_then_texts_then_risk),
        cmocka_unit_test(test_reports_of_others_are_read),
        cmocka_unit_test(test_words_are_places_in_the_text),
        cmocka_unit_test(test_what_is_missing_is_named),
        cmocka_unit_test(test_a_failing_reader_costs_only_itself),
        cmocka_unit_test(test_too_little_is_no_score),
        cmocka_unit_test(test_texts_of_any_kind),
        cmocka_unit_test(test_broken_packages_are_refused),
        cmocka_unit_test(test_the_image_package_serves_beside_broken_ones),
        cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, scratch_start, scratch_stop);
}
