/* One model before another (`after`, `role: gate` of model.yaml): what passes, what does not,
 * what the report says of it, and what is refused when it is loaded. */

#include "plugins/host/pipeline.h"
#include "tests/unit/plugins/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A film whose mean is far above one half: three quarters of it white. */
static const char *bright_film_at(unsigned place)
{
    phantom_options film;
    size_t size_bytes = 0;
    film_options(&film);
    film.seed = film.instance_number = place;
    uint8_t *bytes = film_bytes(&film, &size_bytes);
    const size_t n = (size_t)film.rows * film.columns;
    uint8_t *pixels = bytes + size_bytes - 2 * n;
    for (size_t i = n / 4; i < n; i++) {
        pixels[2 * i] = 0xff;
        pixels[2 * i + 1] = 0x0f;
    }
    const char *path = bytes_write("bright.dcm", bytes, size_bytes);
    free(bytes);
    return path;
}

static const char *bright_film(void)
{
    return bright_film_at(1);
}

static const char *dark_film_at(unsigned place)
{
    phantom_options film;
    film_options(&film);
    film.seed = film.instance_number = place;
    return film_write("dark.dcm", &film);
}

static const char *dark_film(void)
{
    return dark_film_at(1);
}

/* All of it black, so that the mean is 0. */
static const char *black_film(void)
{
    phantom_options film;
    size_t size_bytes = 0;
    film_options(&film);
    uint8_t *bytes = film_bytes(&film, &size_bytes);
    const size_t n = (size_t)2 * film.rows * film.columns;
    memset(bytes + size_bytes - n, 0, n);
    const char *path = bytes_write("black.dcm", bytes, size_bytes);
    free(bytes);
    return path;
}

/* The one result of "second" about a film. */
static const md_result *look(md_host *host, const char *path, size_t n_results, told *t,
                             md_analysis *a)
{
    md_error err = {0};
    md_analyse_options options = all_options(t);
    options.want_failure_sr = true;
    if (analyse(host, &path, 1, &options, a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(a->n_results, n_results);
    for (size_t i = 0; i < n_results; i++) {
        if (strcmp(a->results[i].model.id, "second") == 0) {
            return &a->results[i];
        }
    }
    fail_msg("no result of the model that comes after");
    return NULL;
}

static bool has_step(const md_result *r, const char *words)
{
    for (unsigned i = 0; i < r->instances[0].steps.n; i++) {
        if (strncmp(r->instances[0].steps.text[i], words, strlen(words)) == 0) {
            return true;
        }
    }
    return false;
}

static void check_refused(const md_result *r, const told *t, const char *words)
{
    assert_int_equal(r->status, MD_RESULT_FAILED);
    assert_int_equal(r->n_findings, 0);
    assert_false(r->instances[0].analysed);
    assert_string_equal(r->failure.value, "110531");
    if (strstr(r->failure_text, words) == NULL || t->n != 1 ||
        strstr(t->message[0], words) == NULL) {
        fail_msg("'%s', expected '%s'", r->failure_text, words);
    }
}

static void test_gate(void **state)
{
    (void)state;
    const char *const paths[] = {dark_film(), bright_film()};
    for (int absent = 0; absent < 2; absent++) {
        md_host *host = host_of(absent ? "gated-absent" : "gated", NULL);
        for (int bright = 0; bright < 2; bright++) {
            told t;
            md_analysis a;
            const md_result *r = look(host, paths[bright], 1, &t, &a); /* the gate has none */
            if (bright == absent) {
                check_refused(r, &t,
                              bright ? "second: first finds bright in it (score 0."
                                     : "second: first does not find bright in it (score 0.");
                assert_int_equal(a.n_objects, 1); /* the report of the failure */
            } else {
                assert_int_equal(r->status, MD_RESULT_COMPLETE);
                assert_int_equal(r->n_findings, 2);
                assert_int_equal(t.n, 0);
                assert_true(has_step(r, "first: bright 0."));
                assert_non_null(r->findings[0].saliency.values);
            }
            assert_true(a.times.network_us > 0);
            md_analysis_finish(&a);
        }
        const md_model_card *card = md_host_model_card(host, 0);
        assert_string_equal(card->after,
                            absent ? "first finds no bright" : "first finds bright");
        assert_false(card->is_gate);
        assert_true(md_host_model_card(host, 1)->is_gate);
        md_host_destroy(host);
    }
}

/* A model that reports may be asked before another one too; its own answer is used. */
static void test_both_report(void **state)
{
    (void)state;
    md_host *host = host_of("chained", NULL);
    told t;
    md_analysis a;
    const md_result *r = look(host, bright_film(), 2, &t, &a);
    assert_int_equal(r->status, MD_RESULT_COMPLETE);
    assert_true(has_step(r, "first: bright 0."));
    md_analysis_finish(&a);
    r = look(host, dark_film(), 2, &t, &a);
    check_refused(r, &t, "first does not find bright");
    assert_int_equal(a.results[0].status + a.results[1].status,
                     MD_RESULT_FAILED + MD_RESULT_COMPLETE);
    md_analysis_finish(&a);
    md_host_destroy(host);
    /* alone, the other one gives no result, and it is asked all the same */
    host = host_of("chained", "second");
    assert_int_equal(md_host_n_models(host), 2);
    r = look(host, dark_film(), 1, &t, &a);
    check_refused(r, &t, "first does not find bright");
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* Each film is judged by what the gate says of that film, whichever comes first. */
static void test_two_films(void **state)
{
    (void)state;
    static const char *const folders[] = {"gated", "chained"};
    for (unsigned row = 0; row < 4; row++) {
        const size_t bright = row % 2, n_results = row / 2 + 1;
        md_host *host = host_of(folders[row / 2], NULL);
        const char *const paths[] = {bright_film_at((unsigned)bright + 1),
                                     dark_film_at(2 - (unsigned)bright)};
        told t;
        md_analysis a;
        md_error err = {0};
        md_analyse_options options = all_options(&t);
        if (analyse(host, paths, 2, &options, &a, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(a.n_results, n_results);
        const md_result *r = &a.results[0];
        r = strcmp(r->model.id, "second") == 0 ? r : &a.results[1];
        assert_string_equal(r->model.id, "second");
        assert_int_equal(r->status, MD_RESULT_PARTIAL);
        assert_string_equal(r->failure.value, "110531");
        assert_non_null(strstr(r->failure_text, "1 of 2 images failed, first: second: first "
                                                "does not find bright in it"));
        assert_int_equal(r->n_instances, 2);
        assert_true(r->instances[bright].analysed);
        assert_false(r->instances[1 - bright].analysed);
        assert_int_equal(r->n_findings, 2);
        for (size_t i = 0; i < r->n_findings; i++) {
            assert_int_equal(r->findings[i].instance_index, bright);
        }
        assert_true(r->findings[0].score > 0.5);
        assert_int_equal(t.n, 1);
        assert_string_equal(t.path[0], paths[1]);
        md_analysis_finish(&a);
        md_host_destroy(host);
    }
}

/* Neither a gate that is not sure nor one that gives no number lets anything through, also not
 * a model that wants a finding to be absent. */
static void test_gate_that_does_not_know(void **state)
{
    (void)state;
    const char *const paths[] = {dark_film(), bright_film()};
    told t;
    md_analysis a;
    md_host *host = host_of("gated-unsure", NULL);
    for (int i = 0; i < 2; i++) {
        const md_result *r = look(host, paths[i], 1, &t, &a);
        check_refused(r, &t, "second: first is not sure of dark in it (score 0.");
        md_analysis_finish(&a);
    }
    md_host_destroy(host);
    host = host_of("gated-nan", NULL);
    const md_result *r = look(host, black_film(), 1, &t, &a);
    assert_int_equal(r->status, MD_RESULT_FAILED);
    assert_int_equal(r->n_findings, 0);
    assert_false(r->instances[0].analysed);
    assert_string_equal(r->failure.value, "110501");
    if (strncmp(r->failure_text, "second: first (asked before): ", 30) != 0) {
        fail_msg("'%s'", r->failure_text);
    }
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* With another gate it is another algorithm: its report says so, and is another one. */
static void test_another_gate(void **state)
{
    (void)state;
    static const char *const folders[] = {"gated", "gated-newer", "gated"};
    const char *path = bright_film();
    char uids[3][MD_UID_BYTES];
    for (int i = 0; i < 3; i++) {
        md_host *host = host_of(folders[i], NULL);
        char words[160];
        snprintf(words, sizeof words, " after=first@1.2.%d:%s", i == 1 ? 4 : 3,
                 md_host_model(host, 1)->sha256);
        const char *parameters = md_host_model(host, 0)->parameters;
        const char *at = strstr(parameters, " after=");
        if (at == NULL || strcmp(at, words) != 0) {
            fail_msg("'%s' does not end with '%s'", parameters, words);
        }
        assert_null(strstr(md_host_model(host, 1)->parameters, " after="));
        told t;
        md_analysis a;
        (void)look(host, path, 1, &t, &a);
        snprintf(uids[i], sizeof uids[i], "%s", a.objects[0].sop_instance_uid);
        md_analysis_finish(&a);
        md_host_destroy(host);
    }
    assert_string_not_equal(uids[0], uids[1]);
    assert_string_equal(uids[0], uids[2]);
}

/* Rules decide who reports, not what is asked before. */
static void test_rules(void **state)
{
    (void)state;
    static const char models[1][MD_KEY_BYTES] = {"second"};
    md_host *host = host_of("chained", NULL);
    const char *path = dark_film();
    told t;
    md_analysis a;
    md_error err = {0};
    md_analyse_options options = all_options(&t);
    options.some_models = true;
    options.models = models;
    options.n_models = 1;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.n_results, 1);
    check_refused(&a.results[0], &t, "first does not find bright");
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* A gate that does not look at such a film lets nothing through. */
static void test_gate_does_not_look(void **state)
{
    (void)state;
    md_host *host = host_of("gated-narrow", NULL);
    told t;
    md_analysis a;
    const md_result *r = look(host, bright_film(), 1, &t, &a);
    check_refused(r, &t, "second: first (asked before): modality DX is not CR");
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_loading(void **state)
{
    (void)state;
    const struct {
        const char *folder;
        size_t n_models;
        const char *words[2];
    } rows[] = {
        {"gate-missing", 1, {"second: comes after 'first', which is not loaded: add it", NULL}},
        {"gated-finding", 1, {"second: comes after 'first', which has no finding 'bleak'"}},
        {"gate-loop",
         0,
         {"first: comes after 'second', which comes after a model itself",
          "second: comes after 'first', which is not loaded"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const folders[] = {scratch_path(rows[i].folder)};
        told t = {0};
        const md_host_options options = {
            .folders = folders, .n_folders = 1, .on_refused = note, .context = &t};
        md_host *host = NULL;
        md_error err = {0};
        const md_status status = md_host_create(&options, &host, &err);
        assert_int_equal(status, rows[i].n_models > 0 ? MD_OK : MD_NOT_FOUND);
        for (unsigned k = 0; k < 2 && rows[i].words[k] != NULL; k++) {
            if (t.n <= k ||
                strncmp(t.message[k], rows[i].words[k], strlen(rows[i].words[k])) != 0) {
                fail_msg("%s: %u '%s', expected '%s'", rows[i].folder, t.n, t.message[k],
                         rows[i].words[k]);
            }
        }
        if (host != NULL) {
            assert_int_equal(md_host_n_models(host), rows[i].n_models);
        }
        md_host_destroy(host);
    }
}

static void test_gates_alone(void **state)
{
    (void)state;
    md_host *host = host_of("gate-alone", NULL);
    const char *path = dark_film();
    told t;
    md_analysis a;
    md_error err = {0};
    md_analyse_options options = all_options(&t);
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "asked for others alone"));
    md_analysis_finish(&a);
    md_host_destroy(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate),         cmocka_unit_test(test_both_report),
        cmocka_unit_test(test_rules),        cmocka_unit_test(test_gate_does_not_look),
        cmocka_unit_test(test_loading),      cmocka_unit_test(test_gates_alone),
        cmocka_unit_test(test_two_films),    cmocka_unit_test(test_gate_that_does_not_know),
        cmocka_unit_test(test_another_gate),
    };
    return cmocka_run_group_tests(tests, scratch_start, scratch_stop);
}
