#include "tests/support/phantom_study.h"
#include "tests/unit/dicom_report/cases.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char film_path[4096];

static void make(test_case *c, const char *name)
{
    const char *paths[] = {film_path};
    assert_true(case_make(c, name, paths, 1));
}

static void write_sr(test_case *c, md_object *object)
{
    md_error err = {0};
    if (md_report_write_sr(&c->result, c->sources, &c->options, object, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

static md_dataset *parse(const uint8_t *bytes, size_t size_bytes)
{
    md_error err = {0};
    md_dataset *dataset = NULL;
    if (md_dataset_parse(bytes, size_bytes, &dataset, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return dataset;
}

/* ------------------------------------------------------------------ what is refused */

typedef void (*spoil)(md_result *r);

static void no_study(md_result *r)
{
    r->study_instance_uid[0] = '\0';
}
static void bad_uid(md_result *r)
{
    strcpy(r->instances[0].sop_instance_uid, "1.2.x");
}
static void endless_uid(md_result *r)
{
    memset(r->instances[0].series_instance_uid, '1', MD_UID_BYTES);
}
static void no_instances(md_result *r)
{
    r->n_instances = 0;
}
static void many_findings(md_result *r)
{
    r->n_findings = MD_RESULT_MAX_FINDINGS + 1;
}
static void no_findings(md_result *r)
{
    r->n_findings = 0;
}
static void failed_with_findings(md_result *r)
{
    r->status = MD_RESULT_FAILED;
    strcpy(r->failure.value, "110501");
    strcpy(r->failure.scheme, "DCM");
    strcpy(r->failure.meaning, "Equipment failure");
}
static void partial_without_reason(md_result *r)
{
    r->status = MD_RESULT_PARTIAL;
}
static void bad_status(md_result *r)
{
    r->status = (md_result_status)7;
}
static void score_nan(md_result *r)
{
    r->findings[0].score = (double)NAN;
}
static void score_two(md_result *r)
{
    r->findings[0].score = 2;
}
static void threshold_below(md_result *r)
{
    r->findings[1].threshold = -0.1;
}
static void bad_presence(md_result *r)
{
    r->findings[0].presence = (md_presence)3;
}
static void bad_index(md_result *r)
{
    r->findings[0].instance_index = 1;
}
static void code_with_backslash(md_result *r)
{
    strcpy(r->findings[0].concept.value, "23\\36");
}
static void code_without_meaning(md_result *r)
{
    r->findings[0].concept.meaning[0] = '\0';
}
static void code_without_end(md_result *r)
{
    memset(r->findings[0].concept.scheme, 'S', sizeof r->findings[0].concept.scheme);
}
static void site_without_scheme(md_result *r)
{
    r->findings[0].site.scheme[0] = '\0';
}
static void no_model(md_result *r)
{
    r->model.version[0] = '\0';
}
static void saliency_nan(md_result *r)
{
    r->findings[0].saliency.values[3] = NAN;
}
static void saliency_nowhere(md_result *r)
{
    r->findings[0].saliency.width = 0;
}
static void bad_predecessor(md_result *r)
{
    strcpy(r->predecessor_sop_instance_uid, "one");
}

static void name_without_end(md_result *r)
{
    memset(r->model.name, 'n', sizeof r->model.name);
}
static void step_without_end(md_result *r)
{
    memset(r->instances[0].steps.text[1], 's', MD_STEP_BYTES);
}
static void too_many_steps(md_result *r)
{
    r->instances[0].steps.n = MD_STEPS_MAX + 1;
}
static void foreign_code(md_result *r)
{
    strcpy(r->findings[0].concept.value, "\xc3\xa4");
}

static void test_impossible_results_are_refused(void **state)
{
    (void)state;
    static const spoil SPOILS[] = {
        no_study,
        bad_uid,
        endless_uid,
        no_instances,
        many_findings,
        no_findings,
        failed_with_findings,
        partial_without_reason,
        bad_status,
        score_nan,
        score_two,
        threshold_below,
        bad_presence,
        bad_index,
        code_with_backslash,
        code_without_meaning,
        code_without_end,
        site_without_scheme,
        no_model,
        saliency_nan,
        saliency_nowhere,
        name_without_end,
        step_without_end,
        too_many_steps,
        foreign_code,
        bad_predecessor,
    };
    for (size_t i = 0; i < sizeof SPOILS / sizeof *SPOILS; i++) {
        test_case c;
        make(&c, "positive");
        size_t n_findings = c.result.n_findings, n_instances = c.result.n_instances;
        SPOILS[i](&c.result);
        md_error err = {0};
        md_object object = {0};
        assert_int_equal(md_report_write_sr(&c.result, c.sources, &c.options, &object, &err),
                         MD_INVALID_ARG);
        assert_true(err.msg[0] != '\0');
        assert_null(object.bytes);
        assert_int_equal(md_report_write_picture(&c.result, 0, c.sources[0], &c.display,
                                                 &c.options, &object, &err),
                         MD_INVALID_ARG);
        c.result.n_findings = n_findings;
        c.result.n_instances = n_instances;
        case_finish(&c);
    }
    test_case c;
    md_object object = {0};
    make(&c, "positive");
    assert_int_equal(md_report_write_sr(&c.result, NULL, NULL, &object, NULL), MD_INVALID_ARG);
    assert_int_equal(
        md_report_write_picture(&c.result, 1, c.sources[0], &c.display, NULL, &object, NULL),
        MD_INVALID_ARG);
    assert_int_equal(
        md_report_write_picture(&c.result, 0, NULL, &c.display, NULL, &object, NULL),
        MD_INVALID_ARG);
    /* and without options all is written */
    assert_int_equal(md_report_write_sr(&c.result, c.sources, NULL, &object, NULL), MD_OK);
    md_object_finish(&object);
    md_object_finish(&object);
    case_finish(&c);
}

/* ------------------------------------------------------------------ memory */

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        test_case c;
        make(&c, "positive");
        md_status status = MD_NOMEM;
        size_t n = 0;
        while (status != MD_OK) {
            md_error err = {0};
            md_object object = {0};
            md_memory_fail_at(++n);
            status = kind == 0
                         ? md_report_write_sr(&c.result, c.sources, &c.options, &object, &err)
                         : md_report_write_picture(&c.result, 0, c.sources[0], &c.display,
                                                   &c.options, &object, &err);
            md_memory_fail_at(0);
            assert_true(status == MD_OK || (status == MD_NOMEM && object.bytes == NULL));
            assert_true(n < 100);
            md_object_finish(&object);
        }
        assert_true(n > 1); /* at least one failure was tried */
        case_finish(&c);
    }
}

/* ------------------------------------------------------------------ identity */

static void change_order(md_result *r)
{
    md_instance_ref first = r->instances[0];
    r->instances[0] = r->instances[1];
    r->instances[1] = first;
}
static void change_score(md_result *r)
{
    r->findings[0].score = 0.9;
}
static void change_version(md_result *r)
{
    strcpy(r->model.version, "1.2.1");
}
static void change_hash(md_result *r)
{
    r->model.sha256[0] = 'f';
}
static void change_model(md_result *r)
{
    strcpy(r->model.id, "other");
}
static void change_study(md_result *r)
{
    strcpy(r->study_instance_uid, "1.2.3");
}
static void change_input(md_result *r)
{
    strcpy(r->instances[1].sop_instance_uid, "1.2.3");
}
static void change_frame(md_result *r)
{
    r->instances[1].frame = 2;
}
static void change_threshold(md_result *r)
{
    r->findings[0].threshold = 0.51;
}
static void change_calibration(md_result *r)
{
    r->findings[0].score_is_probability = false;
}
static void change_status(md_result *r)
{
    failed_with_findings(r);
    r->status = MD_RESULT_PARTIAL;
}

static void test_identity(void **state)
{
    (void)state;
    static const struct {
        spoil change;
        bool same_object, same_series;
    } CASES[] = {
        {NULL, true, true},
        {change_order, true, true},
        {change_score, true, true},
        {change_version, false, false},
        {change_hash, false, false},
        {change_model, false, false},
        {change_study, false, false},
        {change_input, false, true},
        {change_frame, false, true},
        {change_threshold, false, true},
        {change_calibration, false, true},
        {change_status, false, true},
    };
    char object_uid[2][MD_UID_BYTES] = {{0}}, series_uid[2][MD_UID_BYTES] = {{0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *paths[] = {film_path, film_path};
        test_case c;
        assert_true(case_make(&c, "positive", paths, 2));
        strcpy(c.result.instances[1].sop_instance_uid, "1.2.840.1");
        if (CASES[i].change != NULL) {
            CASES[i].change(&c.result);
        }
        for (int kind = 0; kind < 2; kind++) {
            md_object object = {0};
            md_error err = {0};
            md_status status =
                kind == 0 ? md_report_write_sr(&c.result, c.sources, &c.options, &object, &err)
                          : md_report_write_picture(&c.result, CASES[i].change == change_order,
                                                    c.sources[0], &c.display, &c.options,
                                                    &object, &err);
            assert_int_equal(status, MD_OK);
            md_dataset *written = parse(object.bytes, object.size_bytes);
            char series[MD_UID_BYTES];
            assert_true(
                md_dataset_get_text(written, MD_TAG(0x20, 0x0e), 0, series, sizeof series));
            if (i == 0) {
                strcpy(object_uid[kind], object.sop_instance_uid);
                strcpy(series_uid[kind], series);
                assert_int_equal(strncmp(object.sop_instance_uid, "2.25.", 5), 0);
            }
            bool same_object = strcmp(object_uid[kind], object.sop_instance_uid) == 0;
            bool same_series = strcmp(series_uid[kind], series) == 0;
            if (same_object != CASES[i].same_object || same_series != CASES[i].same_series) {
                fail_msg("row %zu, kind %d: same object %d, same series %d", i, kind,
                         same_object, same_series);
            }
            md_dataset_destroy(written);
            md_object_finish(&object);
        }
        case_finish(&c);
    }
    assert_string_not_equal(object_uid[0], object_uid[1]);
    assert_string_not_equal(series_uid[0], series_uid[1]);
}

static void test_repetition_gives_the_same_bytes(void **state)
{
    (void)state;
    test_case c;
    make(&c, "mixed");
    md_object first = {0}, second = {0};
    write_sr(&c, &first);
    write_sr(&c, &second);
    assert_int_equal(first.size_bytes, second.size_bytes);
    assert_memory_equal(first.bytes, second.bytes, first.size_bytes);
    md_object_finish(&first);
    md_object_finish(&second);
    case_finish(&c);
}

static void test_a_report_does_not_replace_itself(void **state)
{
    (void)state;
    test_case c;
    make(&c, "positive");
    md_object object = {0};
    write_sr(&c, &object);
    strcpy(c.result.predecessor_sop_instance_uid, object.sop_instance_uid);
    md_object again = {0};
    write_sr(&c, &again);
    assert_int_equal(object.size_bytes, again.size_bytes);
    assert_memory_equal(object.bytes, again.bytes, object.size_bytes);
    md_object_finish(&object);
    md_object_finish(&again);
    case_finish(&c);
}

/* What a risk goes by is no image: other numbers make another document, the same ones the same.
 */
static void test_another_risk_is_another_report(void **state)
{
    (void)state;
    static const struct {
        double value;
        md_term_state state;
        bool same;
    } rows[] = {{3.0, MD_TERM_GIVEN, true},
                {3.00001, MD_TERM_GIVEN, false},
                {3.0, MD_TERM_CLAMPED, false},
                {3.0, MD_TERM_MISSING, false},
                {3.0, MD_TERM_GIVEN, true}};
    char first_uid[MD_UID_BYTES] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_case c;
        make(&c, "risk");
        c.result.risk->terms[2].value = rows[i].value;
        c.result.risk->terms[2].state = rows[i].state;
        c.result.times.infer_us = (int64_t)i;
        md_object object = {0};
        write_sr(&c, &object);
        if (i == 0) {
            strcpy(first_uid, object.sop_instance_uid);
        }
        assert_int_equal(strcmp(first_uid, object.sop_instance_uid) == 0, rows[i].same);
        md_object_finish(&object);
        case_finish(&c);
    }
}

/* The same images with other bytes: another document in the same series, or a PACS would keep
 * the first one. */
static void test_another_revision_is_another_report(void **state)
{
    (void)state;
    test_case c;
    make(&c, "positive");
    md_object first = {0};
    md_object second = {0};
    md_object picture = {0};
    md_object other_picture = {0};
    write_sr(&c, &first);
    assert_int_equal(md_report_write_picture(&c.result, 0, c.sources[0], &c.display, &c.options,
                                             &picture, NULL),
                     MD_OK);
    c.result.revision = 7;
    write_sr(&c, &second);
    assert_int_equal(md_report_write_picture(&c.result, 0, c.sources[0], &c.display, &c.options,
                                             &other_picture, NULL),
                     MD_OK);
    assert_string_not_equal(first.sop_instance_uid, second.sop_instance_uid);
    assert_string_equal(first.series_instance_uid, second.series_instance_uid);
    assert_string_not_equal(picture.sop_instance_uid, other_picture.sop_instance_uid);
    md_object_finish(&first);
    md_object_finish(&second);
    md_object_finish(&picture);
    md_object_finish(&other_picture);
    case_finish(&c);
}

/* As much as a result may hold: the longest texts in every finding, all instances. */
/* Other proposals make another document, none leave it as it was; triage makes none. */
static void test_follow_up(void **state)
{
    (void)state;
    test_case plain, c;
    md_object without = {0}, with = {0}, other = {0};
    make(&plain, "positive");
    make(&c, "follow-up");
    write_sr(&plain, &without);
    write_sr(&c, &with);
    assert_string_not_equal(without.sop_instance_uid, with.sop_instance_uid);
    assert_string_equal(without.series_instance_uid, with.series_instance_uid);
    c.follow_up.proposals[1].n_similar++;
    write_sr(&c, &other);
    assert_string_not_equal(other.sop_instance_uid, with.sop_instance_uid);
    md_object_finish(&other);
    c.follow_up.n_proposals = 0;
    write_sr(&c, &other);
    assert_int_equal(other.size_bytes, without.size_bytes);
    assert_memory_equal(other.bytes, without.bytes, other.size_bytes);
    md_object_finish(&other);
    md_object_finish(&without);
    plain.options.triage_only = c.options.triage_only = true;
    c.follow_up.n_proposals = 2;
    write_sr(&plain, &without);
    write_sr(&c, &other);
    assert_int_equal(other.size_bytes, without.size_bytes);
    assert_memory_equal(other.bytes, without.bytes, other.size_bytes);
    assert_string_equal(md_follow_up_basis_name(MD_FOLLOW_UP_BOTH), "both");
    assert_string_equal(md_follow_up_basis_name((md_follow_up_basis)7), "unknown");
    md_object_finish(&other);
    md_object_finish(&with);
    md_object_finish(&without);
    case_finish(&plain);
    case_finish(&c);
}

static void test_the_largest_result(void **state)
{
    (void)state;
    test_case c;
    make(&c, "long");
    md_result *r = &c.result;
    md_finding *findings = md_calloc(MD_RESULT_MAX_FINDINGS, sizeof *findings);
    md_instance_ref *instances = md_calloc(MD_RESULT_MAX_INSTANCES, sizeof *instances);
    const md_dataset **sources = calloc(MD_RESULT_MAX_INSTANCES, sizeof *sources);
    assert_true(findings != NULL && instances != NULL && sources != NULL);
    for (size_t i = 0; i < MD_RESULT_MAX_FINDINGS; i++) {
        findings[i] = r->findings[0];
        findings[i].saliency.values = NULL;
        findings[i].score_is_probability = i % 2 == 0;
        memset(findings[i].site.meaning, 'W', sizeof findings[i].site.meaning - 1);
        memset(findings[i].laterality.meaning, 'W', sizeof findings[i].laterality.meaning - 1);
        findings[i].instance_index = (uint32_t)(i * 64);
    }
    for (size_t i = 0; i < MD_RESULT_MAX_INSTANCES; i++) {
        instances[i] = r->instances[0];
        snprintf(instances[i].sop_instance_uid, MD_UID_BYTES, "2.25.%zu", i + 1);
        snprintf(instances[i].series_instance_uid, MD_UID_BYTES, "2.25.7%zu", i % 50);
        sources[i] = c.sources[0];
    }
    findings[0].saliency = r->findings[0].saliency;
    md_free(r->findings);
    md_free(r->instances);
    r->findings = findings;
    r->n_findings = MD_RESULT_MAX_FINDINGS;
    r->instances = instances;
    r->n_instances = MD_RESULT_MAX_INSTANCES;
    md_object object = {0};
    md_error err = {0};
    assert_int_equal(md_report_write_sr(r, sources, &c.options, &object, &err), MD_OK);
    print_message("# the largest report has %zu bytes\n", object.size_bytes);
    md_dataset_destroy(parse(object.bytes, object.size_bytes));
    md_object_finish(&object);
    assert_int_equal(
        md_report_write_picture(r, 0, c.sources[0], &c.display, &c.options, &object, &err),
        MD_OK);
    print_message("# the largest picture has %zu bytes\n", object.size_bytes);
    md_object_finish(&object);
    free(sources);
    case_finish(&c);
}

typedef struct thread_work {
    pthread_t thread;
    const md_object *expected; /* report, picture */
    bool same;
} thread_work;

static void *write_often(void *context)
{
    thread_work *work = context;
    const char *paths[] = {film_path};
    test_case c;
    work->same = case_make(&c, "positive", paths, 1);
    for (int round = 0; work->same && round < 10; round++) {
        md_object object = {0};
        work->same =
            md_report_write_sr(&c.result, c.sources, &c.options, &object, NULL) == MD_OK &&
            object.size_bytes == work->expected[0].size_bytes &&
            memcmp(object.bytes, work->expected[0].bytes, object.size_bytes) == 0;
        md_object_finish(&object);
        work->same = work->same &&
                     md_report_write_picture(&c.result, 0, c.sources[0], &c.display, &c.options,
                                             &object, NULL) == MD_OK &&
                     object.size_bytes == work->expected[1].size_bytes &&
                     memcmp(object.bytes, work->expected[1].bytes, object.size_bytes) == 0;
        md_object_finish(&object);
    }
    case_finish(&c);
    return NULL;
}

static void test_threads_write_side_by_side(void **state)
{
    (void)state;
    test_case c;
    make(&c, "positive");
    md_object expected[2] = {{.bytes = NULL}, {.bytes = NULL}};
    write_sr(&c, &expected[0]);
    assert_int_equal(md_report_write_picture(&c.result, 0, c.sources[0], &c.display, &c.options,
                                             &expected[1], NULL),
                     MD_OK);
    thread_work works[4];
    for (int i = 0; i < 4; i++) {
        works[i] = (thread_work){.expected = expected};
        assert_int_equal(pthread_create(&works[i].thread, NULL, write_often, &works[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(works[i].thread, NULL);
        assert_true(works[i].same);
    }
    md_object_finish(&expected[0]);
    md_object_finish(&expected[1]);
    case_finish(&c);
}

/* ------------------------------------------------------------------ hostile sources */

/* Write the report of a phantom with these options; the caller parses and releases. */
static md_dataset *report_of(const phantom_options *options, md_object *object)
{
    const char *reason = NULL;
    size_t size_bytes = 0;
    uint8_t *bytes = phantom_make_file(options, &size_bytes, &reason);
    assert_non_null(bytes);
    md_dataset *source = parse(bytes, size_bytes);
    free(bytes);
    test_case c;
    make(&c, "foreign");
    const md_dataset *sources[] = {source};
    md_error err = {0};
    if (md_report_write_sr(&c.result, sources, &c.options, object, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    case_finish(&c);
    md_dataset_destroy(source);
    return parse(object->bytes, object->size_bytes);
}

static bool contains(const md_object *object, const char *bytes, size_t n)
{
    for (size_t i = 0; i + n <= object->size_bytes; i++) {
        if (memcmp(object->bytes + i, bytes, n) == 0) {
            return true;
        }
    }
    return false;
}

static void test_undecodable_names_stay_as_they_are(void **state)
{
    (void)state;
    phantom_options options;
    phantom_options_init(&options);
    options.rows = options.columns = 64;
    options.patient_name = "M\xfcller^J\xf6rg"; /* says UTF-8, is Latin-1 */
    md_object object = {0};
    md_dataset *report = report_of(&options, &object);
    assert_true(contains(&object, "M\xfcller^J\xf6rg", 11));
    /* our own words are ASCII then */
    assert_true(contains(&object, "Lungenentz?ndung ??", 19));
    assert_false(contains(&object, "Lungenentz\xc3\xbc", 12));
    md_dataset_destroy(report);
    md_object_finish(&object);
    options.patient_name = "M\xc3\xbcller^J\xc3\xb6rg";
    options.charset = PHANTOM_CHARSET_LATIN1;
    report = report_of(&options, &object);
    assert_true(contains(&object, "M\xc3\xbcller^J\xc3\xb6rg", 13));
    assert_true(contains(&object, "Lungenentz\xc3\xbcndung \xe8\x82\xba", 20));
    char charset[20];
    assert_true(md_dataset_get_text(report, MD_TAG(8, 5), 0, charset, sizeof charset));
    assert_string_equal(charset, "ISO_IR 192");
    md_dataset_destroy(report);
    md_object_finish(&object);
}

static void test_control_characters_of_a_name_are_dropped(void **state)
{
    (void)state;
    phantom_options options;
    phantom_options_init(&options);
    options.rows = options.columns = 64;
    options.patient_name = "Ev\x01il\x1b[31m\n^Name";
    md_object object = {0};
    md_dataset *report = report_of(&options, &object);
    char name[64];
    assert_true(md_dataset_get_text(report, MD_TAG(0x10, 0x10), 0, name, sizeof name));
    for (const char *p = name; *p != '\0'; p++) {
        assert_true((unsigned char)*p >= 0x20);
    }
    md_dataset_destroy(report);
    md_object_finish(&object);
}

/* Change bytes of a film's header at random: whatever can be read as a dataset must give an
 * object or an error, and nothing else. Also a test for the sanitizers. */
static void test_damaged_sources(void **state)
{
    (void)state;
    phantom_options options;
    phantom_options_init(&options);
    options.rows = options.columns = 64;
    options.with_request = 1;
    options.patient_name = "M\xc3\xbcller^J\xc3\xb6rg";
    const char *reason = NULL;
    size_t size_bytes = 0;
    uint8_t *bytes = phantom_make_file(&options, &size_bytes, &reason);
    assert_non_null(bytes);
    size_t header = size_bytes - 64 * 64 * 2;
    uint8_t *damaged = malloc(size_bytes);
    test_case c;
    make(&c, "foreign");
    uint64_t random = 20260115;
    size_t n_read = 0, n_written = 0;
    for (int round = 0; round < 600; round++) {
        memcpy(damaged, bytes, size_bytes);
        for (unsigned k = 0; k <= phantom_random(&random) % 4; k++) {
            size_t place = 132 + phantom_random(&random) % (header - 132);
            damaged[place] = (uint8_t)phantom_random(&random);
        }
        md_dataset *source = NULL;
        if (md_dataset_parse(damaged, size_bytes, &source, NULL) != MD_OK) {
            continue;
        }
        n_read++;
        const md_dataset *sources[] = {source};
        md_object object = {0};
        md_error err = {0};
        if (md_report_write_sr(&c.result, sources, &c.options, &object, &err) == MD_OK) {
            n_written++;
            md_dataset_destroy(parse(object.bytes, object.size_bytes));
        } else {
            assert_true(err.msg[0] != '\0');
        }
        md_object_finish(&object);
        if (round % 10 == 0 && md_report_write_picture(&c.result, 0, source, &c.display,
                                                       &c.options, &object, &err) == MD_OK) {
            assert_true(object.size_bytes > 100000);
        }
        md_object_finish(&object);
        md_dataset_destroy(source);
    }
    print_message("# %zu of 600 damaged films could be read, %zu reported\n", n_read,
                  n_written);
    assert_true(n_read > 150 && n_written > 150);
    free(damaged);
    free(bytes);
    case_finish(&c);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(md_presence_name(MD_PRESENCE_ABSENT), "absent");
    assert_string_equal(md_presence_name(MD_PRESENCE_PRESENT), "present");
    assert_string_equal(md_presence_name(MD_PRESENCE_UNDETERMINED), "undetermined");
    assert_string_equal(md_presence_name((md_presence)9), "unknown");
    md_result empty = {0};
    md_result_finish(&empty);
    md_result_finish(NULL);
    md_object_finish(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_impossible_results_are_refused),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_repetition_gives_the_same_bytes),
        cmocka_unit_test(test_a_report_does_not_replace_itself),
        cmocka_unit_test(test_another_risk_is_another_report),
        cmocka_unit_test(test_another_revision_is_another_report),
        cmocka_unit_test(test_follow_up),
        cmocka_unit_test(test_the_largest_result),
        cmocka_unit_test(test_threads_write_side_by_side),
        cmocka_unit_test(test_undecodable_names_stay_as_they_are),
        cmocka_unit_test(test_control_characters_of_a_name_are_dropped),
        cmocka_unit_test(test_damaged_sources),
        cmocka_unit_test(test_names),
    };
    if (argc != 2 || md_dicom_init(NULL) != MD_OK) {
        fprintf(stderr, "usage: test-report FILM.dcm\n");
        return 1;
    }
    snprintf(film_path, sizeof film_path, "%s", argv[1]);
    int failed = cmocka_run_group_tests_name("dicom_report", tests, NULL, NULL);
    md_dicom_finish();
    return failed;
}
