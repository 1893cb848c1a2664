#include "base/raster.h"
#include "dicom/image/normalise.h"
#include "plugins/host/pipeline.h"
#include "tests/unit/plugins/support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The mean display value of a file, by the decoder alone: what the tiny network answers from.
 */
static double mean_of(const char *path)
{
    md_dataset *dataset = NULL;
    md_image image = {0};
    md_raster raster = {0};
    md_error err = {0};
    if (md_dataset_open(path, &dataset, &err) != MD_OK ||
        md_image_decode(dataset, 0, &image, &err) != MD_OK ||
        md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, NULL, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    double sum = 0;
    size_t n = (size_t)raster.width * raster.height;
    for (size_t i = 0; i < n; i++) {
        sum += (double)raster.values[i];
    }
    md_raster_finish(&raster);
    md_image_finish(&image);
    md_dataset_destroy(dataset);
    return sum / (double)n;
}

/* sigmoid(10 * (mean - 0.5) / T) with T = 2, see make_packages.py. */
static double expected_score(double mean)
{
    return 1 / (1 + exp(-10 * (mean - 0.5) / 2));
}

static void test_known_weights_give_known_findings(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    assert_int_equal(md_host_n_models(host), 1);
    assert_string_equal(md_host_model(host, 0)->id, "tiny");
    assert_null(md_host_model(host, 1));
    assert_string_equal(md_host_model_card(host, 0)->form, "package");
    phantom_options film;
    film_options(&film);
    const char *path = film_write("film.dcm", &film);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    options.want_view = true;
    if (analyse(host, &path, 1, &options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(t.n, 0);
    assert_int_equal(a.n_results, 1);
    assert_int_equal(a.n_unreadable + a.n_not_accepted, 0);
    const md_result *r = &a.results[0];
    assert_int_equal(r->status, MD_RESULT_COMPLETE);
    assert_string_equal(r->study_instance_uid, film.study_uid);
    assert_string_equal(r->model.id, "tiny");
    assert_int_equal(r->n_instances, 1);
    phantom_uids uids;
    phantom_make_uids(&film, &uids);
    assert_string_equal(r->instances[0].sop_instance_uid, uids.sop);
    assert_string_equal(r->instances[0].sop_class_uid, uids.sop_class);
    assert_string_equal(r->instances[0].series_instance_uid, uids.series);
    assert_true(r->instances[0].analysed);
    assert_int_equal(r->instances[0].frame, 0);
    assert_true(r->instances[0].steps.n >= 2); /* a window or range, and the resizing */
    assert_int_equal(r->n_findings, 2);
    double mean = mean_of(path);
    double score = expected_score(mean);
    print_message("# mean %.6f, expected score %.6f, got %.6f\n", mean, score,
                  r->findings[0].score);
    assert_true(fabs(r->findings[0].score - score) < 1e-4);
    assert_true(fabs(r->findings[0].score + r->findings[1].score - 1) < 1e-9);
    assert_string_equal(r->findings[0].key, "bright");
    assert_string_equal(r->findings[1].key, "dark");
    assert_int_equal(r->findings[0].presence,
                     score >= 0.5 ? MD_PRESENCE_PRESENT : MD_PRESENCE_ABSENT);
    assert_int_equal(r->findings[1].presence, MD_PRESENCE_UNDETERMINED);
    assert_true(r->findings[0].score_is_probability);
    assert_int_equal(r->findings[0].saliency.columns, 32);
    assert_int_equal(r->findings[0].saliency.rows, 32);
    /* the evidence for "bright" is the image itself, over its largest value; for "dark" it is
     * nowhere */
    float largest = 0;
    for (size_t i = 0; i < 32 * 32; i++) {
        float value = r->findings[0].saliency.values[i];
        assert_true(value >= 0 && value <= 1);
        largest = value > largest ? value : largest;
        assert_true(r->findings[1].saliency.values[i] == 0);
    }
    assert_true(largest == 1.0F);
    assert_string_equal(a.header.patient_id, "P1");
    assert_string_equal(a.header.modality, "DX");
    assert_true(a.view.image_bytes > 100 && a.view.overlay_bytes > 100);
    assert_true(r->findings[0].saliency.width == 320 && r->findings[0].saliency.height == 256);
    assert_int_equal(r->times.complete_ms, 3000);
    assert_true(r->times.analysis_end_ms >= r->times.analysis_start_ms &&
                r->times.analysis_start_ms > 0);
    assert_true(r->times.decode_us > 0 && r->times.normalise_us > 0 && r->times.infer_us > 0);
    const md_analysis_times *times = &a.times;
    assert_true(times->decode_us == r->times.decode_us && times->open_us > 0);
    assert_true(times->normalise_us == r->times.normalise_us);
    assert_true(times->resize_us + times->network_us + times->saliency_us == r->times.infer_us);
    assert_true(times->network_us > 0 && times->report_us > 0);
    assert_int_equal(a.n_objects, 2);
    assert_string_equal(a.objects[0].sop_class_uid, "1.2.840.10008.5.1.4.1.1.88.34");
    assert_string_equal(a.objects[1].sop_class_uid, "1.2.840.10008.5.1.4.1.1.7");
    assert_memory_equal(a.objects[0].bytes + 128, "DICM", 4);

    /* the same analysis gives the same objects */
    md_analysis again;
    assert_int_equal(analyse(host, &path, 1, &options, &again, &err), MD_OK);
    assert_string_equal(again.objects[0].sop_instance_uid, a.objects[0].sop_instance_uid);
    assert_string_equal(again.objects[1].sop_instance_uid, a.objects[1].sop_instance_uid);
    md_analysis_finish(&again);
    md_analysis_finish(&a);

    options.report.triage_only = true;
    options.want_sr = false;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_null(a.results[0].findings[0].saliency.values);
    assert_true(a.view.image != NULL && a.view.overlay == NULL);
    assert_int_equal(a.n_objects, 1);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_monochrome1_and_2_agree(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    double scores[2];
    for (int i = 0; i < 2; i++) {
        phantom_options film;
        film_options(&film);
        film.photometric = i == 0 ? PHANTOM_MONOCHROME1 : PHANTOM_MONOCHROME2;
        const char *path = film_write("mono.dcm", &film);
        told t;
        md_analyse_options options = all_options(&t);
        md_analysis a;
        md_error err;
        assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
        scores[i] = a.results[0].findings[0].score;
        bool inverted = false;
        for (unsigned k = 0; k < a.results[0].instances[0].steps.n; k++) {
            inverted |= strstr(a.results[0].instances[0].steps.text[k], "MONOCHROME1") != NULL;
        }
        assert_true(inverted == (i == 0)); /* the report says what was done */
        md_analysis_finish(&a);
    }
    print_message("# MONOCHROME1 %.9f, MONOCHROME2 %.9f\n", scores[0], scores[1]);
    assert_true(fabs(scores[0] - scores[1]) < 1e-3);
    md_host_destroy(host);
}

static void test_what_is_not_accepted_gets_no_finding(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    static const struct {
        const char *modality, *body_part, *view;
        phantom_photometric photometric;
        const char *reason;
    } rows[] = {
        {"DX", "KNEE", "AP", PHANTOM_MONOCHROME2,
         "no model accepts this: tiny: body part KNEE is not one of CHEST, THORAX"},
        {"DX", "", "AP", PHANTOM_MONOCHROME2,
         "tiny: body part (an unknown word) is not one of"},
        {"DX", "CHEST", "LL", PHANTOM_MONOCHROME2, "tiny: view LL is not one of AP, PA"},
        {"CT", "CHEST", "AP", PHANTOM_MONOCHROME2, "tiny: modality CT is not one of CR, DX"},
        {"DX", "CHEST", "AP", PHANTOM_RGB,
         "tiny: photometric interpretation RGB is not one of MONOCHROME1, MONOCHROME2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        phantom_options film;
        film_options(&film);
        film.modality = rows[i].modality;
        film.body_part = rows[i].body_part;
        film.view = rows[i].view;
        film.photometric = rows[i].photometric;
        const char *path = film_write("odd.dcm", &film);
        told t;
        md_analyse_options options = all_options(&t);
        md_analysis a;
        md_error err;
        md_status status = analyse(host, &path, 1, &options, &a, &err);
        if (status != MD_NOT_FOUND || strstr(err.msg, rows[i].reason) == NULL || t.n != 1 ||
            strcmp(t.message[0], err.msg) != 0 || strcmp(t.path[0], path) != 0) {
            fail_msg("row %zu: %s '%s'", i, md_status_name(status), err.msg);
        }
        assert_int_equal(a.n_not_accepted, 1);
        assert_int_equal(a.n_results, 0);
        assert_int_equal(a.n_objects, 0);
        md_analysis_finish(&a);
    }
    md_host_destroy(host);
}

/* Write a film whose pixels are changed by `edit`. */
static const char *edited_film(const char *name, phantom_options *film,
                               void (*edit)(uint8_t *pixels, size_t n_bytes))
{
    size_t size_bytes = 0;
    uint8_t *bytes = film_bytes(film, &size_bytes);
    size_t n = (size_t)2 * film->rows * film->columns;
    edit(bytes + size_bytes - n, n);
    const char *path = bytes_write(name, bytes, size_bytes);
    free(bytes);
    return path;
}

static void blank(uint8_t *pixels, size_t n_bytes)
{
    memset(pixels, 0, n_bytes);
}

static void test_the_gate_stops_a_blank_film(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    phantom_options film;
    film_options(&film);
    const char *path = edited_film("blank.dcm", &film, blank);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].status, MD_RESULT_FAILED);
    assert_string_equal(a.results[0].failure.value, "110531");
    assert_non_null(strstr(a.results[0].failure_text, "tiny: contrast 0.000 is below 0.05"));
    assert_int_equal(a.results[0].n_findings, 0);
    assert_false(a.results[0].instances[0].analysed);
    assert_int_equal(t.n, 1);
    assert_int_equal(a.n_objects, 1); /* the SR of the failure; no picture */
    md_analysis_finish(&a);
    options.want_failure_sr = false;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.n_objects, 0);
    md_analysis_finish(&a);

    film.rows = 199;
    path = film_write("small.dcm", &film);
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_string_equal(a.results[0].failure.value, "110531");
    assert_non_null(strstr(a.results[0].failure_text, "320 x 199 pixels"));
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_nan_is_a_failure(void **state)
{
    (void)state;
    md_host *host = host_of("nan", NULL);
    phantom_options film;
    film_options(&film);
    const char *good = film_write("film.dcm", &film);
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, &good, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].status, MD_RESULT_COMPLETE);
    assert_true(fabs(a.results[0].findings[0].score - expected_score(mean_of(good))) < 1e-4);
    md_analysis_finish(&a);
    const char *black = edited_film("black.dcm", &film, blank);
    assert_true(mean_of(black) == 0.0);
    assert_int_equal(analyse(host, &black, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].status, MD_RESULT_FAILED);
    assert_string_equal(a.results[0].failure.value, "110501");
    assert_non_null(strstr(a.results[0].failure_text, "output 0 is not a number"));
    assert_int_equal(a.results[0].n_findings, 0);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* A study with everything in it: good films out of order, a knee, a broken film, no DICOM, the
 * same file twice. */
static void test_one_file_does_not_stop_the_others(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    phantom_options film;
    film_options(&film);
    film.instance_number = 3;
    film.seed = 3;
    const char *third = film_write("m3.dcm", &film);
    film.instance_number = 1;
    film.seed = 1;
    const char *first = film_write("m1.dcm", &film);
    film.instance_number = 2;
    film.seed = 2;
    size_t size_bytes = 0;
    uint8_t *bytes = film_bytes(&film, &size_bytes);
    /* shorten the pixel data consistently: the element is whole, the image is not */
    size_t n = (size_t)2 * film.rows * film.columns;
    uint32_t half = (uint32_t)(n / 2);
    for (int i = 0; i < 4; i++) {
        bytes[size_bytes - n - 4 + (size_t)i] = (uint8_t)(half >> (8 * i));
    }
    const char *broken = bytes_write("m2.dcm", bytes, size_bytes - n / 2);
    const char *cut = bytes_write("cut.dcm", bytes, size_bytes / 2);
    free(bytes);
    film.instance_number = 4;
    film.body_part = "KNEE";
    const char *knee = film_write("m4.dcm", &film);
    const char *text = bytes_write("text.dcm", (const uint8_t *)"no DICOM at all", 15);

    const char *const paths[] = {third, knee, text, broken, first, cut, third, "/none.dcm"};
    told t;
    md_analyse_options options = all_options(&t);
    md_analysis a;
    md_error err;
    if (analyse(host, paths, 8, &options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(a.n_results, 1);
    const md_result *r = &a.results[0];
    assert_int_equal(r->status, MD_RESULT_PARTIAL);
    assert_string_equal(r->failure.value, "110521");
    assert_non_null(strstr(r->failure_text, "1 of 3 images failed, first: "));
    assert_int_equal(r->n_instances, 4); /* in order of the instance number */
    assert_true(r->instances[0].analysed && !r->instances[1].analysed);
    assert_true(r->instances[2].analysed && !r->instances[3].analysed);
    assert_int_equal(r->n_findings, 4);
    assert_int_equal(r->findings[0].instance_index, 0);
    assert_int_equal(r->findings[3].instance_index, 2);
    assert_true(fabs(r->findings[0].score - expected_score(mean_of(first))) < 1e-4);
    assert_true(fabs(r->findings[2].score - expected_score(mean_of(third))) < 1e-4);
    assert_int_equal(a.n_unreadable, 4); /* text, cut, none, broken */
    assert_int_equal(a.n_not_accepted, 1);
    assert_int_equal(a.n_objects, 3); /* one SR, two pictures */
    assert_int_equal(t.n, 6);
    for (unsigned i = 0; i < t.n; i++) {
        assert_null(strstr(t.message[i], "1.2.826")); /* no UID in a message */
        assert_null(strstr(t.message[i], "Phantom"));
    }
    md_analysis_finish(&a);

    /* the order of the paths changes nothing */
    const char *const other[] = {first, broken, third, knee};
    md_analysis b;
    assert_int_equal(analyse(host, other, 4, &options, &a, &err), MD_OK);
    const char *const reversed[] = {knee, third, broken, first};
    assert_int_equal(analyse(host, reversed, 4, &options, &b, &err), MD_OK);
    assert_int_equal(a.n_objects, b.n_objects);
    for (size_t i = 0; i < a.n_objects; i++) {
        assert_string_equal(a.objects[i].sop_instance_uid, b.objects[i].sop_instance_uid);
    }
    md_analysis_finish(&a);
    md_analysis_finish(&b);

    /* a file that tells nothing of itself may have held the finding: never "complete" */
    const char *const with_cut[] = {first, cut};
    assert_int_equal(analyse(host, with_cut, 2, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].status, MD_RESULT_PARTIAL);
    assert_string_equal(a.results[0].failure.value, "110521");
    assert_string_equal(a.results[0].failure_text, "1 files of the study could not be read");
    assert_int_equal(a.results[0].n_findings, 2);
    assert_int_equal(a.n_objects, 2);
    md_analysis_finish(&a);

    assert_int_equal(analyse(host, &text, 1, &options, &a, &err), MD_FORMAT);
    assert_int_equal(a.n_unreadable, 1);
    md_analysis_finish(&a);
    assert_int_equal(analyse(host, &broken, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.results[0].status, MD_RESULT_FAILED);
    assert_int_equal(a.n_unreadable, 1);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static void test_two_studies_are_refused(void **state)
{
    (void)state;
    md_host *host = host_of("good", NULL);
    phantom_options film;
    film_options(&film);
    const char *first = film_write("s1.dcm", &film);
    film.study_uid = "1.2.826.0.1.3680043.10.999.2";
    film.seed = 2;
    const char *second = film_write("s2.dcm", &film);
    const char *const paths[] = {first, second};
    md_analyse_options options = {0}; /* no callback, nothing wanted */
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, paths, 2, &options, &a, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "(0020,000D)"));
    assert_null(strstr(err.msg, "999"));
    md_analysis_finish(&a);
    assert_int_equal(analyse(host, paths, 1, &options, &a, &err), MD_OK);
    assert_int_equal(a.n_objects, 0);
    md_analysis_finish(&a);
    assert_int_equal(analyse(host, NULL, 0, &options, &a, &err), MD_FORMAT);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

static md_dataset *dataset_of(const md_object *object)
{
    md_dataset *dataset = NULL;
    md_error err = {0};
    if (md_dataset_parse(object->bytes, object->size_bytes, &dataset, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return dataset;
}

static void assert_text(const md_dataset *dataset, uint32_t tag, const char *expected)
{
    char text[MD_UID_BYTES];
    assert_true(md_dataset_get_text(dataset, tag, 0, text, sizeof text));
    assert_string_equal(text, expected);
}

/* The same film again, where only "second" has an earlier report: only its SR names one.
 * `before` is what the film gave without one. */
static void check_predecessors(md_host *host, const char *path, const md_analysis *before)
{
    enum {
        PREDECESSOR_DOCUMENTS = 0x0040a360,
        SECOND_SR = 2 /* of the objects: SR and picture of "first" come before it */
    };
    md_predecessor known[] = {{"third", "2.25.31", "2.25.32"},
                              {"second", "2.25.21777", "2.25.22777"},
                              {"first", "2.25.11777", ""}}; /* no series: not guessed */
    told t;
    md_analyse_options options = all_options(&t);
    options.predecessors = known;
    options.n_predecessors = sizeof known / sizeof *known;
    md_analysis a;
    md_error err;
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    assert_string_equal(a.results[0].predecessor_sop_instance_uid, "");
    assert_string_equal(a.results[1].predecessor_sop_instance_uid, "2.25.21777");
    assert_string_equal(a.results[1].predecessor_series_instance_uid, "2.25.22777");
    assert_int_equal(a.n_objects, 4);
    for (size_t i = 0; i < a.n_objects; i++) {
        const md_object *object = &a.objects[i];
        md_dataset *dataset = dataset_of(object);
        assert_int_equal(md_dataset_has(dataset, PREDECESSOR_DOCUMENTS), i == SECOND_SR);
        assert_int_equal(memmem(object->bytes, object->size_bytes, "2.25.21777", 10) != NULL,
                         i == SECOND_SR);
        assert_int_equal(memmem(object->bytes, object->size_bytes, "2.25.22777", 10) != NULL,
                         i == SECOND_SR);
        assert_null(memmem(object->bytes, object->size_bytes, "2.25.11777", 10));
        /* what it replaces is no part of its identity */
        assert_string_equal(object->sop_instance_uid, before->objects[i].sop_instance_uid);
        md_dataset_destroy(dataset);
    }
    md_analysis_finish(&a);
    /* a report never replaces itself */
    memcpy(known[1].sop_instance_uid, before->objects[SECOND_SR].sop_instance_uid,
           MD_UID_BYTES);
    assert_int_equal(analyse(host, &path, 1, &options, &a, &err), MD_OK);
    md_dataset *dataset = dataset_of(&a.objects[SECOND_SR]);
    assert_false(md_dataset_has(dataset, PREDECESSOR_DOCUMENTS));
    md_dataset_destroy(dataset);
    md_analysis_finish(&a);
}

static void test_registry(void **state)
{
    (void)state;
    const char *const folders[] = {scratch_path("two"), scratch_path("nowhere")};
    told t = {0};
    md_host_options options = {
        .folders = folders, .n_folders = 2, .on_refused = note, .context = &t};
    md_host *host = NULL;
    md_error err = {0};
    if (md_host_create(&options, &host, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_host_n_models(host), 2); /* by the names of their folders */
    assert_string_equal(md_host_model(host, 0)->id, "first");
    assert_string_equal(md_host_model(host, 1)->id, "second");
    assert_int_equal(t.n, 4);
    assert_string_equal(t.message[0], "r: the id 'first' is taken by a model that was found "
                                      "before");
    assert_string_equal(t.message[1], "s/model.yaml:1: key 'medaid_model': got 2, expected a "
                                      "whole number in 1..1");
    assert_string_equal(t.message[2], "text.so: not a shared library (no ELF header)");
    assert_non_null(strstr(t.message[3], "no such folder"));

    /* two models look at the same film: two results */
    phantom_options film;
    film_options(&film);
    const char *path = film_write("film.dcm", &film);
    told problems;
    md_analyse_options analyse_options = all_options(&problems);
    md_analysis a;
    assert_int_equal(analyse(host, &path, 1, &analyse_options, &a, &err), MD_OK);
    assert_int_equal(a.n_results, 2);
    assert_string_equal(a.results[1].model.id, "second");
    assert_int_equal(a.n_objects, 4);
    assert_string_not_equal(a.objects[0].sop_instance_uid, a.objects[2].sop_instance_uid);
    for (size_t i = 0; i < 4; i++) { /* report and picture of the one, then of the other */
        assert_string_equal(a.objects[i].model_id, i < 2 ? "first" : "second");
        md_dataset *object = dataset_of(&a.objects[i]);
        assert_text(object, 0x0020000e, a.objects[i].series_instance_uid);
        assert_false(md_dataset_has(object, 0x0040a360));
        md_dataset_destroy(object);
    }
    check_predecessors(host, path, &a);
    md_analysis_finish(&a);
    md_host_destroy(host);

    options.only_model = "second";
    assert_int_equal(md_host_create(&options, &host, &err), MD_OK);
    assert_int_equal(md_host_n_models(host), 1);
    md_host_destroy(host);
    options.only_model = "third";
    assert_int_equal(md_host_create(&options, &host, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no model 'third' in 2 folders; refused: s/model.yaml:1"));
    options.only_model = NULL;
    options.backend = "gpu";
    assert_int_equal(md_host_create(&options, &host, &err), MD_INVALID_ARG);
    options.backend = "openblas";
    const char *const itself[] = {scratch_path("good/p")}; /* a folder that is a package */
    options.folders = itself;
    options.n_folders = 1;
    assert_int_equal(md_host_create(&options, &host, &err), MD_OK);
    assert_non_null(strstr(md_host_model(host, 0)->parameters, "backend=openblas"));
    md_host_destroy(host);
    const char *const bad[] = {scratch_path("bad-hash")};
    options.folders = bad;
    options.on_refused = NULL;
    assert_int_equal(md_host_create(&options, &host, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no usable model in 1 folder; refused: p: model.onnx: its "
                                    "SHA-256"));
}

/* The example plugin beside a package: the same road for both forms. */
static void test_a_plugin_serves_too(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/plugins/example", getenv("MEDAID_BUILD_ROOT"));
    const char *const folders[] = {folder};
    const md_host_options options = {.folders = folders, .n_folders = 1};
    md_host *host = NULL;
    md_error err = {0};
    if (md_host_create(&options, &host, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    phantom_options film;
    film_options(&film);
    film.body_part = "KNEE"; /* the plugin looks at any radiograph */
    const char *path = film_write("film.dcm", &film);
    told t;
    md_analyse_options analyse_options = all_options(&t);
    md_analysis a;
    if (analyse(host, &path, 1, &analyse_options, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(a.results[0].n_findings, 1);
    assert_string_equal(a.results[0].findings[0].key, "under-exposed");
    assert_int_equal(a.results[0].findings[0].presence, MD_PRESENCE_ABSENT);
    assert_int_equal(a.n_objects, 2);
    md_analysis_finish(&a);
    md_host_destroy(host);
}

/* The shipped model: it loads, agrees with its golden output on this machine, and answers. */
static void test_the_chest_model_serves(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/plugins", getenv("MEDAID_SOURCE_ROOT"));
    const char *const folders[] = {folder};
    static const char *const backends[] = {"openblas", "auto"};
    double scores[2] = {0};
    for (int i = 0; i < 2; i++) {
        const md_host_options options = {.folders = folders,
                                         .n_folders = 1,
                                         .only_model = "chest-pneumonia",
                                         .backend = backends[i]};
        md_host *host = NULL;
        md_error err = {0};
        if (md_host_create(&options, &host, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        const md_model_card *card = md_host_model_card(host, 0);
        print_message("# %s: self-test difference %g, allowed %g\n",
                      md_host_model(host, 0)->parameters, card->self_test_difference,
                      card->self_test_tolerance);
        assert_true(card->auc.there && card->n_images > 0);
        phantom_options film;
        film_options(&film);
        film.rows = 1024;
        film.columns = 1250;
        const char *path = film_write("chest.dcm", &film);
        told t;
        md_analyse_options analyse_options = all_options(&t);
        md_analysis a;
        if (analyse(host, &path, 1, &analyse_options, &a, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(a.results[0].status, MD_RESULT_COMPLETE);
        assert_int_equal(t.n, 0);
        const md_finding *f = &a.results[0].findings[0];
        assert_string_equal(f->concept.value, "233604007");
        assert_true(f->saliency.columns > 1 && f->saliency.rows > 1);
        print_message("# phantom: score %.6f, threshold %.3f, %s\n", f->score, f->threshold,
                      md_presence_name(f->presence));
        scores[i] = f->score;
        assert_int_equal(a.n_objects, 2);
        md_analysis_finish(&a);
        film.body_part = "KNEE";
        path = film_write("knee.dcm", &film);
        assert_int_equal(analyse(host, &path, 1, &analyse_options, &a, &err), MD_NOT_FOUND);
        md_analysis_finish(&a);
        md_host_destroy(host);
    }
    assert_true(fabs(scores[0] - scores[1]) < 1e-3); /* the back ends agree */
}

static void test_failure_codes(void **state)
{
    (void)state;
    static const struct {
        md_status status;
        const char *code;
    } rows[] = {{MD_FORMAT, "110521"}, {MD_UNSUPPORTED, "110522"}, {MD_LIMIT, "110522"},
                {MD_NOMEM, "110527"},  {MD_PLUGIN, "110501"},      {MD_INTERNAL, "110501"},
                {MD_IO, "110501"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_code code;
        md_pipeline_failure_code(rows[i].status, &code);
        assert_string_equal(code.value, rows[i].code);
        assert_string_equal(code.scheme, "DCM");
        assert_true(code.meaning[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_weights_give_known_findings),
        cmocka_unit_test(test_monochrome1_and_2_agree),
        cmocka_unit_test(test_what_is_not_accepted_gets_no_finding),
        cmocka_unit_test(test_the_gate_stops_a_blank_film),
        cmocka_unit_test(test_nan_is_a_failure),
        cmocka_unit_test(test_one_file_does_not_stop_the_others),
        cmocka_unit_test(test_two_studies_are_refused),
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_a_plugin_serves_too),
        cmocka_unit_test(test_the_chest_model_serves),
        cmocka_unit_test(test_failure_codes),
    };
    return cmocka_run_group_tests(tests, scratch_start, scratch_stop);
}
