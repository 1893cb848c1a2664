#include "plugins/host/pipeline.h"
#include "tests/unit/plugins/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Frames, bounds, odd plugins, hostile attributes, no memory: what must not break the pipeline.
 */

/* A film with `n` copies of its frame and Number of Frames (0028,0008). */
static const char *frames_film(const char *name, phantom_options *film, unsigned n)
{
    size_t size_bytes = 0;
    uint8_t *bytes = film_bytes(film, &size_bytes);
    size_t n_pixels = (size_t)2 * film->rows * film->columns;
    static const uint8_t rows_tag[] = {0x28, 0x00, 0x10, 0x00, 'U', 'S'};
    const uint8_t *rows = memmem(bytes, size_bytes, rows_tag, sizeof rows_tag);
    assert_non_null(rows);
    size_t before = (size_t)(rows - bytes);
    size_t total = size_bytes + 12 + (n - 1) * n_pixels;
    uint8_t *more = malloc(total);
    assert_non_null(more);
    memcpy(more, bytes, before);
    char count[5];
    snprintf(count, sizeof count, "%-4u", n);
    memcpy(more + before, (const uint8_t[]){0x28, 0x00, 0x08, 0x00, 'I', 'S', 4, 0}, 8);
    memcpy(more + before + 8, count, 4);
    memcpy(more + before + 12, rows, size_bytes - before);
    uint8_t *pixels = more + size_bytes + 12 - n_pixels;
    uint32_t length = (uint32_t)(n * n_pixels);
    for (int i = 0; i < 4; i++) {
        pixels[i - 4] = (uint8_t)(length >> (8 * i));
    }
    for (unsigned f = 1; f < n; f++) {
        memcpy(pixels + f * n_pixels, pixels, n_pixels);
    }
    memset(pixels + n_pixels, 0, n > 2 ? n_pixels : 0); /* the second of many is blank */
    const char *path = bytes_write(name, more, total);
    free(more);
    free(bytes);
    return path;
}

static void test_frames_are_analysed_one_by_one(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    phantom_options film;
    film_options(&film);
    const char *path = frames_film("frames.dcm", &film, 3);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    if (analyse(host, &path, 1, &options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    const md_result *r = &a.results[0];
    assert_int_equal(r->n_instances, 3);
    assert_int_equal(r->instances[0].frame, 1);
    assert_int_equal(r->instances[2].frame, 3);
    assert_int_equal(r->status, MD_RESULT_PARTIAL); /* the blank one does not pass the gate */
    assert_string_equal(r->failure.value, "110531");
    assert_int_equal(r->n_findings, 4);
    assert_int_equal(r->findings[2].instance_index, 2);
    assert_true(r->findings[0].score == r->findings[2].score);
    assert_int_equal(a.n_objects, 3);
    assert_int_equal(a.n_unreadable, 0);
    md_analysis_finish(&a);
    path = frames_film("cine.dcm", &film, MD_HOST_MAX_FRAMES + 1);
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "17 frames, at most 16 are analysed one by one"));
    assert_int_equal(a.n_not_accepted, 1);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* More frames than a report holds findings for: the rest fails, and says so. */
static void test_a_result_is_bounded(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    enum {
        N = 3
    };
    const char *paths[N];
    for (unsigned i = 0; i < N; i++) {
        phantom_options film;
        film_options(&film);
        film.seed = i + 1;
        film.instance_number = i + 1;
        char name[32];
        snprintf(name, sizeof name, "many%u.dcm", i);
        paths[i] = frames_film(name, &film, MD_HOST_MAX_FRAMES);
    }
    told t;
    md_analyse_options options = all_options(&t);
    options.want_picture = false;
    md_analysis a;
    md_error err;
    if (analyse(host, paths, N, &options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    const md_result *r = &a.results[0];
    assert_int_equal(r->n_instances, N * MD_HOST_MAX_FRAMES);
    assert_int_equal(r->n_findings, MD_RESULT_MAX_FINDINGS);
    assert_int_equal(r->status, MD_RESULT_PARTIAL);
    bool told_why = false;
    for (unsigned i = 0; i < t.n && i < 16; i++) {
        told_why |= strstr(t.message[i], "a report holds at most 64 findings") != NULL;
    }
    assert_true(told_why);
    md_analysis_finish(&a);

    const char **far_too_many = calloc(MD_RESULT_MAX_INSTANCES + 1, sizeof *far_too_many);
    assert_non_null(far_too_many);
    for (size_t i = 0; i <= MD_RESULT_MAX_INSTANCES; i++) {
        far_too_many[i] = paths[0];
    }
    assert_int_equal(
        analyse(host, far_too_many, MD_RESULT_MAX_INSTANCES + 1, &options, &a, &err), MD_LIMIT);
    md_analysis_finish(&a);
    free(far_too_many);
    md_host_destroy(host);
}

/* A folder full of broken plugins and one that is right: that one serves, and what it
 * answers is believed only within bounds. */
static void test_odd_plugins_in_the_pipeline(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/tests/unit/plugins", getenv("MEDAID_BUILD_ROOT"));
    const char *const folders[] = {folder};
    told refused = {0};
    const md_host_options options = {
        .folders = folders, .n_folders = 1, .on_refused = note, .context = &refused};
    md_host *host = NULL;
    md_error err = {0};
    if (md_host_create(&options, &host, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(refused.n, 16); /* "newer" has the id that "answer" took */
    assert_int_equal(md_host_n_models(host), 1);
    assert_string_equal(md_host_model(host, 0)->id, "odd");
    static const struct {
        uint32_t columns;
        phantom_photometric photometric;
        md_result_status status;
        const char *code, *text;
    } rows[] = {
        {320, PHANTOM_MONOCHROME1, MD_RESULT_COMPLETE, "", ""},
        {301, PHANTOM_MONOCHROME1, MD_RESULT_FAILED, "110501",
         "odd: finding 'first': it gave no score"},
        {308, PHANTOM_MONOCHROME1, MD_RESULT_FAILED, "110531", "odd: too much noise"},
        {309, PHANTOM_MONOCHROME1, MD_RESULT_FAILED, "110501",
         "odd: the plugin failed with status 77"},
        {320, PHANTOM_RGB, MD_RESULT_FAILED, "110522", "odd: colour has no physical values"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        phantom_options film;
        film_options(&film);
        film.columns = rows[i].columns;
        film.photometric = rows[i].photometric;
        const char *path = film_write("film.dcm", &film);
        told t;
        md_analyse_options analyse_options = all_options(&t);
        md_analysis a;
        if (analyse(host, &path, 1, &analyse_options, &a, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        if (a.results[0].status != rows[i].status ||
            strcmp(a.results[0].failure.value, rows[i].code) != 0 ||
            strstr(a.results[0].failure_text, rows[i].text) == NULL) {
            fail_msg("row %zu: %s %s", i, a.results[0].failure.value,
                     a.results[0].failure_text);
        }
        bool complete = rows[i].status == MD_RESULT_COMPLETE;
        assert_int_equal(a.results[0].n_findings, complete ? 2 : 0);
        assert_int_equal(a.n_objects, complete ? 2 : 1);
        md_analysis_finish(&a);
    }
    md_host_destroy(host);
}

/* Where an element begins; explicit VR, and its tag does not occur by chance before it. */
static uint8_t *element(uint8_t *bytes, size_t size_bytes, uint16_t group, uint16_t number,
                        const char *vr)
{
    const uint8_t head[] = {(uint8_t)group,         (uint8_t)(group >> 8), (uint8_t)number,
                            (uint8_t)(number >> 8), (uint8_t)vr[0],        (uint8_t)vr[1]};
    uint8_t *at = memmem(bytes, size_bytes, head, sizeof head);
    assert_non_null(at);
    return at;
}

static void absurd_size(uint8_t *bytes, size_t size_bytes)
{
    memset(element(bytes, size_bytes, 0x0028, 0x0010, "US") + 8, 0xff, 2);
    memset(element(bytes, size_bytes, 0x0028, 0x0011, "US") + 8, 0xff, 2);
}

static void rows_zero(uint8_t *bytes, size_t size_bytes)
{
    memset(element(bytes, size_bytes, 0x0028, 0x0010, "US") + 8, 0, 2);
}

static void rows_missing(uint8_t *bytes, size_t size_bytes)
{
    element(bytes, size_bytes, 0x0028, 0x0010, "US")[2] = 0x0f;
}

static void rows_wrong_vr(uint8_t *bytes, size_t size_bytes)
{
    memcpy(element(bytes, size_bytes, 0x0028, 0x0010, "US") + 4, "LO", 2);
}

static void bits_absurd(uint8_t *bytes, size_t size_bytes)
{
    element(bytes, size_bytes, 0x0028, 0x0100, "US")[8] = 77;
}

static void study_uid_text(uint8_t *bytes, size_t size_bytes)
{
    element(bytes, size_bytes, 0x0020, 0x000d, "UI")[8] = 'x';
}

static void sop_uid_missing(uint8_t *bytes, size_t size_bytes)
{
    element(bytes, size_bytes, 0x0008, 0x0018, "UI")[2] = 0x19;
}

static void for_processing(uint8_t *bytes, size_t size_bytes)
{
    uint8_t *at = element(bytes, size_bytes, 0x0008, 0x0068, "CS");
    assert_int_equal(at[6], 16);
    memcpy(at + 8, "FOR PROCESSING  ", 16);
}

static void window_zero(uint8_t *bytes, size_t size_bytes)
{
    uint8_t *at = element(bytes, size_bytes, 0x0028, 0x1051, "DS");
    memset(at + 8, '0', at[6]);
}

/* What the network or a disc may bring, each through the whole pipeline. */
static void test_hostile_attributes(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    static const struct {
        void (*edit)(uint8_t *, size_t);
        md_status status;
        const char *code;   /* of the failure, "" for a complete result */
        const char *reason; /* in the message, or in a step */
    } rows[] = {
        {absurd_size, MD_OK, "*", "(0028,0010)"},
        {rows_zero, MD_OK, "110521", "(0028,0010)"},
        {rows_missing, MD_OK, "110521", "(0028,0010)"},
        {rows_wrong_vr, MD_OK, "110521", "(0028,0010)"},
        {bits_absurd, MD_OK, "*", "(0028,0100)"},
        {study_uid_text, MD_FORMAT, "", "Study Instance UID (0020,000D) is not a UID"},
        {sop_uid_missing, MD_FORMAT, "", "SOP Instance UID (0008,0018) is absent"},
        {for_processing, MD_NOT_FOUND, "", "the image is FOR PROCESSING"},
        {window_zero, MD_OK, "", "window"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        phantom_options film;
        film_options(&film);
        size_t size_bytes = 0;
        uint8_t *bytes = film_bytes(&film, &size_bytes);
        rows[i].edit(bytes + 132, size_bytes - 132);
        const char *path = bytes_write("hostile.dcm", bytes, size_bytes);
        free(bytes);
        told t;
        md_analyse_options options = all_options(&t);
        md_analysis a;
        md_error err;
        md_status status = analyse(host, &path, 1, &options, &a, &err);
        if (status != rows[i].status) {
            fail_msg("row %zu: %s '%s'", i, md_status_name(status), err.msg);
        }
        bool complete = status == MD_OK && rows[i].code[0] == '\0';
        const char *text = complete ? "" : t.message[0];
        for (unsigned k = 0; complete && k < a.results[0].instances[0].steps.n; k++) {
            const char *step = a.results[0].instances[0].steps.text[k];
            text = strstr(step, rows[i].reason) != NULL ? step : text;
        }
        print_message("# %zu: %s\n", i, text);
        if (strstr(text, rows[i].reason) == NULL || t.n != (complete ? 0 : 1)) {
            fail_msg("row %zu: '%s'", i, text);
        }
        assert_int_equal(a.n_unreadable + a.n_not_accepted, complete ? 0 : 1);
        if (status == MD_OK) {
            assert_int_equal(a.results[0].status,
                             complete ? MD_RESULT_COMPLETE : MD_RESULT_FAILED);
            assert_int_equal(a.results[0].n_findings, complete ? 2 : 0);
            if (rows[i].code[0] != '*') {
                assert_string_equal(a.results[0].failure.value, rows[i].code);
            }
        }
        md_analysis_finish(&a);
    }
    md_host_destroy(host);
}

/* More large films than rasters are kept for: the last picture is drawn from a second decoding
 * and must not differ. */
static void test_pictures_beyond_the_kept_rasters(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    enum {
        N = 4
    };
    const char *paths[N];
    for (unsigned i = 0; i < N; i++) {
        phantom_options film;
        film_options(&film);
        film.rows = 2048;
        film.columns = 2500; /* 20 MB each, and 64 MiB are kept */
        film.instance_number = i + 1;
        char name[32];
        snprintf(name, sizeof name, "large%u.dcm", i);
        paths[i] = film_write(name, &film);
    }
    told t;
    md_analyse_options options = all_options(&t);
    options.want_sr = false;
    md_analysis a;
    md_error err;
    if (analyse(host, paths, N, &options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(a.n_objects, N);
    /* the four films are the same picture: so must be their pixels, the end of the file */
    const md_object *first = &a.objects[0];
    const md_object *last = &a.objects[N - 1];
    size_t n_compared = 1 << 20;
    assert_true(first->size_bytes > n_compared && last->size_bytes > n_compared);
    assert_memory_equal(first->bytes + first->size_bytes - n_compared,
                        last->bytes + last->size_bytes - n_compared, n_compared);
    assert_string_not_equal(first->sop_instance_uid, last->sop_instance_uid);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_host_out_of_memory(void **state)
{
    (void)state;
    const char *const folders[] = {scratch_path("good")};
    const md_host_options options = {.folders = folders, .n_folders = 1, .n_threads = 1};
    size_t nth = 1;
    for (;; nth++) {
        md_host *host = NULL;
        md_error err = {0};
        md_memory_fail_at(nth);
        md_status status = md_host_create(&options, &host, &err);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            md_host_destroy(host);
            break;
        }
        if (status != MD_NOMEM) {
            fail_msg("allocation %zu: %s '%s'", nth, md_status_name(status), err.msg);
        }
    }
    assert_true(nth > 5);
}

/* An analysis without the nth allocation: an error, or each of its results is complete and has
 * its objects, or says why not. False: all are complete. */
static bool lacks_memory(md_host *host, size_t nth, size_t n_results, size_t n_objects)
{
    phantom_options film;
    film_options(&film);
    film.reason = "Fever and pneumonia";
    film.heart_rate = "100";
    static const char *path;
    path = nth == 1 ? film_write("film.dcm", &film) : path;
    const md_analyse_options options = {.want_sr = true, .want_picture = true};
    md_analysis a;
    md_error err;
    md_memory_fail_at(nth);
    const md_status status = analyse(host, &path, 1, &options, &a, &err);
    md_memory_fail_at(0);
    size_t n_complete = 0;
    for (size_t i = 0; status == MD_OK && i < a.n_results; i++) {
        if (a.results[i].status == MD_RESULT_COMPLETE) {
            n_complete++;
        } else { /* lost what it looked at */
            assert_string_equal(a.results[i].failure.value, "110527");
        }
    }
    if (status == MD_OK) {
        assert_int_equal(a.n_results, n_results);
        if (n_complete == n_results && a.n_objects != n_objects) {
            fail_msg("allocation %zu: %zu objects", nth, a.n_objects);
        }
    } else if (status != MD_NOMEM && status != MD_FORMAT) {
        fail_msg("allocation %zu: %s '%s'", nth, md_status_name(status), err.msg);
    }
    md_analysis_finish(&a);
    return n_complete < n_results;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        size_t n_results, n_objects;
    } rows[] = {{"good", 1, 2}, {"text", 1, 1}, {"risk", 1, 1}, {"beyond", 3, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_host *host = host_of(rows[i].folder, NULL);
        size_t nth = 1;
        while (lacks_memory(host, nth, rows[i].n_results, rows[i].n_objects)) {
            nth++;
            assert_true(nth < 10000);
        }
        assert_true(nth > 5);
        md_host_destroy(host);
    }
}

/* A report names one patient: on films of two it would be wrong about one of them. */
static void test_two_patients_are_refused(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    phantom_options film;
    film_options(&film);
    const char *first = film_write("p1.dcm", &film);
    film.seed = 2;
    film.patient_id = "P2";
    const char *second = film_write("p2.dcm", &film);
    film.seed = 3;
    film.patient_id = "";
    const char *nobody = film_write("p3.dcm", &film);
    const char *const two[] = {first, nobody, second};
    const char *const one[] = {first, nobody};
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, two, 3, &options, &a, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "(0010,0020)"));
    assert_null(strstr(err.msg, "P1"));
    assert_null(strstr(err.msg, "P2"));
    assert_int_equal(a.n_objects, 0);
    md_analysis_finish(&a);
    assert_int_equal(analyse(host, one, 2, &options, &a, &err), MD_OK);
    assert_int_equal(a.n_objects, 3);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_patients_are_refused),
        cmocka_unit_test(test_frames_are_analysed_one_by_one),
        cmocka_unit_test(test_a_result_is_bounded),
        cmocka_unit_test(test_odd_plugins_in_the_pipeline),
        cmocka_unit_test(test_hostile_attributes),
        cmocka_unit_test(test_pictures_beyond_the_kept_rasters),
        cmocka_unit_test(test_host_out_of_memory),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, scratch_start, scratch_stop);
}
