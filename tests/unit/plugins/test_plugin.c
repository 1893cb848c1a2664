#include "plugins/host/plugin.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char *built(const char *name, char path[4096])
{
    const char *root = getenv("MEDAID_BUILD_ROOT");
    assert_non_null(root);
    snprintf(path, 4096, "%s/%s", root, name);
    return path;
}

static md_status open_built(const char *name, md_analyzer **ret_analyzer, md_error *err)
{
    char path[4096];
    const char *slash = strrchr(name, '/');
    return md_plugin_open(built(name, path), slash != NULL ? slash + 1 : name, NULL,
                          ret_analyzer, err);
}

static void test_each_broken_plugin_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        md_status status;
        const char *reason;
    } rows[] = {
        {"version", MD_UNSUPPORTED,
         "version.so: it is built for plugin ABI 2.0, this medaid has 1.0: build it anew"},
        {"null", MD_UNSUPPORTED, "it does not serve a host of plugin ABI 1.0"},
        {"magic", MD_PLUGIN, "its entry has magic 0x00000001, expected 0x4d414450"},
        {"size", MD_PLUGIN, "its entry has 24 bytes, expected at least"},
        {"missing", MD_PLUGIN, "create, destroy, self_test or analyse is missing"},
        {"no-entry", MD_PLUGIN, "it does not export medaid_plugin_entry"},
        {"self-test", MD_PLUGIN,
         "self-test failed with status 1: 0.7 is not 0.8?{\"forged\":1}?"},
        {"create", MD_PLUGIN, "create failed with status 1: no reason given"},
        {"descriptor", MD_PLUGIN, "the descriptor is missing or too short"},
        {"id", MD_PLUGIN, "id '../odd': expected small letters"},
        {"text", MD_PLUGIN, "the descriptor's finding concept is not 1..128 bytes of UTF-8"},
        {"kind", MD_UNSUPPORTED, "kind 99 is not served, expected 1 (image)"},
        {"twice", MD_PLUGIN, "finding key 'first' is declared twice"},
        {"threshold", MD_PLUGIN, "finding 'first': threshold and undetermined range"},
        {"many", MD_PLUGIN, "the descriptor has 65 findings"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "tests/unit/plugins/%s.so", rows[i].name);
        md_analyzer *analyzer = NULL;
        md_error err = {0};
        md_status status = open_built(name, &analyzer, &err);
        if (status != rows[i].status || strstr(err.msg, rows[i].reason) == NULL ||
            strchr(err.msg, '\n') != NULL || analyzer != NULL) {
            fail_msg("%s: %s '%s'", rows[i].name, md_status_name(status), err.msg);
        }
    }
}

static void test_what_is_no_library(void **state)
{
    (void)state;
    char path[] = "/tmp/medaid-plugin-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    assert_int_equal(md_plugin_open(path, "x.so", NULL, &analyzer, &err), MD_FORMAT);
    assert_string_equal(err.msg, "x.so: not a shared library (no ELF header)");
    char text[128] = "#!/bin/sh\n";
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    assert_int_equal(md_plugin_open(path, "x.so", NULL, &analyzer, &err), MD_FORMAT);
    /* the magic alone does not make a library */
    assert_int_equal(pwrite(fd, "\177ELF", 4, 0), 4);
    assert_int_equal(md_plugin_open(path, "x.so", NULL, &analyzer, &err), MD_PLUGIN);
    assert_non_null(strstr(err.msg, "x.so: cannot be loaded: "));
    close(fd);
    unlink(path);
    assert_int_equal(md_plugin_open(path, "x.so", NULL, &analyzer, &err), MD_NOT_FOUND);
    assert_int_equal(md_plugin_open("/tmp", "x.so", NULL, &analyzer, &err), MD_INVALID_ARG);
}

static md_status ask(md_analyzer *analyzer, uint32_t width, uint32_t height, float low,
                     float high, bool want_saliency, md_finding *findings, md_error *err)
{
    md_raster raster = {0};
    assert_int_equal(md_raster_init(&raster, width, height, 1, NULL), MD_OK);
    for (size_t i = 0; i < (size_t)width * height; i++) {
        raster.values[i] = low + (high - low) * (float)(i % width) / (float)(width - 1);
    }
    md_accept_facts facts = {.age_years = -1};
    const md_image_input input = {.values = &raster,
                                  .facts = &facts,
                                  .frame = 1,
                                  .n_frames = 1,
                                  .want_saliency = want_saliency};
    md_steps steps = {0};
    md_status status = analyzer->ops->analyse_image(analyzer, &input, findings, &steps, err);
    md_raster_finish(&raster);
    return status;
}

static void test_the_example_is_true(void **state)
{
    (void)state;
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    if (open_built("plugins/example/film_exposure.so", &analyzer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(analyzer->identity.id, "film-exposure");
    assert_string_equal(analyzer->card.form, "plugin");
    assert_int_equal(strlen(analyzer->identity.sha256), 64);
    assert_int_equal(analyzer->n_findings, 1);
    assert_int_equal(analyzer->needs.image.accept.modality.n, 3);
    md_finding finding = {0};
    /* a ramp 0..1: a quarter is light */
    assert_int_equal(ask(analyzer, 400, 10, 0.0F, 1.0F, true, &finding, &err), MD_OK);
    assert_true(fabs(finding.score - 0.25) < 0.003);
    assert_int_equal(finding.presence, MD_PRESENCE_ABSENT);
    assert_false(finding.score_is_probability);
    assert_null(finding.saliency.values);
    finding = (md_finding){0};
    assert_int_equal(ask(analyzer, 400, 10, 0.6F, 1.0F, true, &finding, &err), MD_OK);
    assert_true(fabs(finding.score - 0.625) < 0.005);
    assert_int_equal(finding.presence, MD_PRESENCE_PRESENT);
    assert_string_equal(finding.concept.value, "111211");
    md_analyzer_destroy(analyzer);
}

static void forget(md_finding findings[2])
{
    md_free(findings[0].saliency.values);
    md_free(findings[1].saliency.values);
    memset(findings, 0, 2 * sizeof *findings);
}

static void test_answers_are_checked(void **state)
{
    (void)state;
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    if (open_built("tests/unit/plugins/answer.so", &analyzer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(analyzer->needs.image.values, MD_VALUES_PHYSICAL);
    md_finding findings[2] = {0};
    assert_int_equal(ask(analyzer, 300, 20, 0, 1, true, findings, &err), MD_OK);
    assert_string_equal(findings[0].key, "first");
    assert_true(findings[0].score == 0.75 && findings[0].score_is_probability);
    assert_int_equal(findings[0].presence, MD_PRESENCE_PRESENT);
    assert_true(findings[0].urgent);
    assert_int_equal(findings[0].saliency.columns, 3);
    assert_int_equal(findings[0].saliency.rows, 2);
    assert_true(findings[0].saliency.values[5] == 1.0F);
    assert_true(findings[0].saliency.width == 300 && findings[0].saliency.height == 20);
    assert_int_equal(findings[1].presence, MD_PRESENCE_UNDETERMINED);
    assert_string_equal(findings[1].laterality.value, "7771000");
    assert_string_equal(findings[1].site.value, "39607008");
    forget(findings);
    assert_int_equal(ask(analyzer, 300, 20, 0, 1, false, findings, &err), MD_OK);
    assert_null(findings[0].saliency.values);
    forget(findings);
    assert_int_equal(ask(analyzer, 310, 20, 0, 1, false, findings, &err), MD_OK);
    assert_int_equal(findings[0].presence, MD_PRESENCE_UNDETERMINED);
    assert_false(findings[0].urgent);
    forget(findings);
    assert_int_equal(ask(analyzer, 311, 20, 0, 1, false, findings, &err), MD_OK);
    forget(findings);

    static const struct {
        uint32_t columns;
        md_status status;
        const char *reason;
    } rows[] = {
        {301, MD_PLUGIN, "finding 'first': it gave no score"},
        {302, MD_PLUGIN, "finding 'second': the score 1.5 is not a number in 0..1"},
        {303, MD_PLUGIN, "finding 'second': the score -inf is not"},
        {304, MD_PLUGIN, "finding 'first': a saliency map of 65 x 2, at most 64 x 64"},
        {305, MD_PLUGIN, "finding 'first': a saliency value that is not in 0..1"},
        {306, MD_PLUGIN, "finding 'second': laterality 9 is not known"},
        {307, MD_PLUGIN, "finding 'second': state -1 is not known"},
        {308, MD_UNSUPPORTED, "too much noise"},
        {309, MD_PLUGIN, "the plugin failed with status 77: no reason given"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_status status = ask(analyzer, rows[i].columns, 20, 0, 1, true, findings, &err);
        forget(findings);
        if (status != rows[i].status || strstr(err.msg, rows[i].reason) == NULL) {
            fail_msg("row %zu: %s '%s'", i, md_status_name(status), err.msg);
        }
    }
    md_analyzer_destroy(analyzer);
}

/* A plugin of a later minor version has longer structs: we read what we know. */
static void test_a_newer_minor_version_serves(void **state)
{
    (void)state;
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    if (open_built("tests/unit/plugins/newer.so", &analyzer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(analyzer->identity.parameters, "form=plugin abi=1.7");
    assert_int_equal(analyzer->n_findings, 2);
    assert_string_equal(analyzer->specs[1].key, "newest");
    assert_true(analyzer->specs[1].threshold == 0.25);
    md_finding findings[2] = {0};
    assert_int_equal(ask(analyzer, 300, 20, 0, 1, false, findings, &err), MD_OK);
    assert_string_equal(findings[1].key, "newest");
    assert_int_equal(findings[1].presence, MD_PRESENCE_PRESENT);
    md_analyzer_destroy(analyzer);
}

static void test_only_the_one_asked_for(void **state)
{
    (void)state;
    char path[4096];
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    assert_int_equal(md_plugin_open(built("plugins/example/film_exposure.so", path), "x",
                                    "another", &analyzer, &err),
                     MD_CANCELLED);
    assert_null(analyzer);
    assert_int_equal(md_plugin_open(path, "x", "film-exposure", &analyzer, &err), MD_OK);
    md_analyzer_destroy(analyzer);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char path[4096];
    built("plugins/example/film_exposure.so", path);
    size_t nth = 1;
    for (;; nth++) {
        md_analyzer *analyzer = NULL;
        md_memory_fail_at(nth);
        md_status status = md_plugin_open(path, "x", NULL, &analyzer, NULL);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            md_analyzer_destroy(analyzer);
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    assert_true(nth > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_broken_plugin_is_refused),
        cmocka_unit_test(test_what_is_no_library),
        cmocka_unit_test(test_the_example_is_true),
        cmocka_unit_test(test_answers_are_checked),
        cmocka_unit_test(test_a_newer_minor_version_serves),
        cmocka_unit_test(test_only_the_one_asked_for),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
