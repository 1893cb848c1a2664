/* Reports are read back as they were written; what is not ours, or damaged, is refused. */

#include "dicom/report/read.h"
#include "tests/unit/dicom_report/cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char film_path[4096];

static void write_case(const char *name, test_case *c, md_object *object)
{
    const char *paths[] = {film_path};
    md_error err = {0};
    assert_true(case_make(c, name, paths, 1));
    if (md_report_write_sr(&c->result, c->sources, &c->options, object, &err) != MD_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
}

static md_status read_bytes(const uint8_t *bytes, size_t n, md_reading *r, md_error *err)
{
    md_dataset *dataset = NULL;
    md_status status = md_dataset_parse(bytes, n, &dataset, err);
    if (status == MD_OK) {
        status = md_report_read(dataset, r, err);
    }
    md_dataset_destroy(dataset);
    return status;
}

static void compare(const char *name, const md_result *result, const md_reading *r)
{
    assert_string_equal(r->study_instance_uid, result->study_instance_uid);
    assert_string_equal(r->model_id, result->model.id);
    assert_string_equal(r->model_version, result->model.version);
    assert_string_equal(r->model_sha256, result->model.sha256);
    assert_int_equal(r->is_complete, result->status == MD_RESULT_COMPLETE);
    assert_int_equal(r->has_failure, result->status != MD_RESULT_COMPLETE);
    if (r->n_findings != result->n_findings) {
        fail_msg("%s: %zu findings of %zu", name, r->n_findings, result->n_findings);
    }
    for (size_t i = 0; i < r->n_findings; i++) {
        const md_reported_finding *got = &r->findings[i];
        const md_finding *want = &result->findings[i];
        assert_string_equal(got->key, want->key);
        assert_string_equal(got->concept.value, want->concept.value);
        assert_string_equal(got->concept.scheme, want->concept.scheme);
        assert_int_equal(got->presence, want->presence);
        assert_int_equal(got->score_is_probability, want->score_is_probability);
        assert_true(fabs(got->score - want->score) < 1e-6);
        assert_true(fabs(got->threshold - want->threshold) < 1e-6);
    }
}

static void test_back(void **state)
{
    (void)state;
    size_t n_findings = 0, n_failures = 0;
    for (const char *const *name = CASE_NAMES; *name != NULL; name++) {
        test_case c;
        md_object object = {0};
        md_reading r = {0};
        md_error err = {0};
        write_case(*name, &c, &object);
        if (read_bytes(object.bytes, object.size_bytes, &r, &err) != MD_OK) {
            fail_msg("%s: %s", *name, err.msg);
        }
        compare(*name, &c.result, &r);
        assert_string_equal(r.sop_instance_uid, object.sop_instance_uid);
        n_findings += r.n_findings;
        n_failures += r.has_failure;
        md_reading_finish(&r);
        md_reading_finish(&r);
        md_object_finish(&object);
        case_finish(&c);
    }
    assert_true(n_findings > 5 && n_failures > 0);
}

static void test_not_ours(void **state)
{
    (void)state;
    md_dataset *film = NULL;
    md_reading r = {0};
    md_error err = {0};
    assert_int_equal(md_dataset_open(film_path, &film, &err), MD_OK);
    assert_int_equal(md_report_read(film, &r, &err), MD_UNSUPPORTED);
    assert_string_equal(err.msg, "no Comprehensive 3D SR");
    md_dataset_destroy(film);
}

/* `from` becomes `to` of the same length, everywhere. */
static unsigned replace(md_object *object, const char *from, const char *to)
{
    const size_t n = strlen(from);
    unsigned n_replaced = 0;
    assert_int_equal(n, strlen(to));
    for (size_t i = 0; i + n <= object->size_bytes; i++) {
        if (memcmp(object->bytes + i, from, n) == 0) {
            memcpy(object->bytes + i, to, n);
            n_replaced++;
        }
    }
    return n_replaced;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        md_status status;
        const char *message;
    } rows[] = {
        {"126000", "126999", MD_UNSUPPORTED, "did not write"},
        {"126010", "126999", MD_FORMAT, "no Imaging Measurements"},
        {"121071", "121999", MD_FORMAT, "neither a finding nor a failure"},
        {"122411", "122999", MD_FORMAT, "lacks tracking identifier, score, threshold"},
        {"112039", "112999", MD_FORMAT, "lacks tracking identifier, score, threshold"},
        {"121015", "121999", MD_FORMAT, "Device Observer Model Name"},
        {"122411", "122157", MD_FORMAT, "several scores"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_case c;
        md_object object = {0};
        md_reading r = {0};
        md_error err = {0};
        write_case("positive", &c, &object);
        if (replace(&object, rows[i].from, rows[i].to) == 0) {
            fail_msg("nothing to replace: %s", rows[i].from);
        }
        const md_status status = read_bytes(object.bytes, object.size_bytes, &r, &err);
        if (status != rows[i].status || strstr(err.msg, rows[i].message) == NULL) {
            fail_msg("%s: %s: %s", rows[i].from, md_status_name(status), err.msg);
        }
        md_object_finish(&object);
        case_finish(&c);
    }
}

/* Damaged bytes give an answer or an error, and what is answered is within its bounds. */
static void test_damaged(void **state)
{
    (void)state;
    test_case c;
    md_object object = {0};
    write_case("positive", &c, &object);
    uint64_t random = 1;
    unsigned n_read = 0, n_refused = 0;
    uint8_t *bytes = malloc(object.size_bytes);
    assert_non_null(bytes);
    for (unsigned round = 0; round < 400; round++) {
        memcpy(bytes, object.bytes, object.size_bytes);
        for (unsigned k = 0; k < 1 + round % 4; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[(random >> 20) % object.size_bytes] ^= (uint8_t)(1u << (random >> 60) % 8);
        }
        md_reading r = {0};
        md_error err = {0};
        const size_t n =
            round % 5 == 0 ? (random >> 16) % object.size_bytes : object.size_bytes;
        if (read_bytes(bytes, n, &r, &err) == MD_OK) {
            n_read++;
            for (size_t i = 0; i < r.n_findings; i++) {
                assert_true(r.findings[i].score >= 0 && r.findings[i].score <= 1);
                assert_true(r.findings[i].threshold >= 0 && r.findings[i].threshold <= 1);
                assert_true(r.findings[i].key[0] != '\0');
            }
        } else {
            n_refused++;
            assert_true(err.msg[0] != '\0');
        }
        md_reading_finish(&r);
    }
    assert_true(n_read > 20 && n_refused > 20);
    free(bytes);
    md_object_finish(&object);
    case_finish(&c);
}

int main(int argc, char **argv)
{
    if (argc != 2 || md_dicom_init(NULL) != MD_OK) {
        return 2;
    }
    snprintf(film_path, sizeof film_path, "%s", argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_back),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damaged),
    };
    const int failed = cmocka_run_group_tests_name("read", tests, NULL, NULL);
    md_dicom_finish();
    return failed;
}
