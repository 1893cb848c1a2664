#include "base/file.h"
#include "plugins/host/manifest.h"
#include "plugins/host/package.h"
#include "plugins/host/score.h"
#include "tests/unit/plugins/support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static md_status open_package(const char *name, const char *only_id, md_analyzer **ret_analyzer,
                              md_error *err)
{
    const md_package_options options = {.n_threads = 1, .only_id = only_id};
    char folder[128];
    snprintf(folder, sizeof folder, "%s/p", name);
    return md_package_open(scratch_path(folder), "p", &options, ret_analyzer, err);
}

static void test_good_package(void **state)
{
    (void)state;
    md_analyzer *a = NULL;
    md_error err = {0};
    if (open_package("good", NULL, &a, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(a->identity.id, "tiny");
    assert_string_equal(a->identity.version, "1.2.3");
    assert_string_equal(a->identity.intended_use, "For tests, never for people.");
    assert_non_null(strstr(a->identity.parameters,
                           "activation=softmax calibration=temperature(2) "
                           "precision=f32 backend="));
    assert_int_equal(strlen(a->identity.sha256), 64);
    assert_int_equal(a->n_findings, 2);
    assert_string_equal(a->specs[0].key, "bright");
    assert_string_equal(a->specs[0].site.value, "39607008");
    assert_true(a->specs[0].score_is_probability && a->specs[0].urgent);
    assert_true(a->specs[1].has_undetermined && a->specs[1].undetermined_high == 1.0);
    assert_int_equal(a->needs.image.accept.modality.n, 2);
    assert_int_equal(a->needs.image.accept.when_body_part_absent, 0);
    assert_int_equal(a->needs.image.accept.when_view_absent, 1);
    assert_int_equal(a->needs.image.gate.min_rows, 200);
    assert_string_equal(a->card.form, "package");
    assert_string_equal(a->card.findings, "bright (111211, DCM, Under exposed) from 0.5; dark "
                                          "(111212, DCM, Over exposed) from 0.5");
    assert_true(a->card.accuracy.there && a->card.accuracy.low == 0.8);
    assert_false(a->card.auc.there);
    assert_int_equal(a->card.n_patients, 5);
    assert_true(a->card.has_calibration_error && a->card.calibration_error == 0.01);
    print_message("# self-test difference %g, allowed %g\n", a->card.self_test_difference,
                  a->card.self_test_tolerance);
    assert_true(a->card.self_test_difference <= 0.0001);
    md_analyzer_destroy(a);
    assert_int_equal(open_package("good", "tiny", &a, &err), MD_OK);
    md_analyzer_destroy(a);
    assert_int_equal(open_package("good", "other", &a, &err), MD_CANCELLED);
}

static void test_each_broken_package_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        md_status status;
        const char *reason;
    } rows[] = {
        {"truncated", MD_FORMAT, "p: model.onnx: "},
        {"hash", MD_FORMAT, "p: model.onnx: its SHA-256 begins with"},
        {"link", MD_FORMAT, "p: model.onnx: a symbolic link, expected the file itself"},
        {"missing", MD_NOT_FOUND, "p: in.f32: no such file"},
        {"folder-file", MD_FORMAT, "p: in.f32: not a regular file"},
        {"self-test", MD_PLUGIN, "p: self-test failed: the output differs by 1"},
        {"self-test-nan", MD_PLUGIN, "value 1 of the output or of out.f32 is not finite"},
        {"self-test-short", MD_FORMAT, "p: in.f32: 16 bytes, expected 1024 float32 numbers"},
        {"self-test-long", MD_FORMAT, "p: out.f32: 12 bytes, the output has 2 float32 numbers"},
        {"escape", MD_FORMAT,
         "p/model.yaml:8: key 'network.file': got ../model.onnx, expected a file beside"},
        {"absolute", MD_FORMAT, "key 'files': got /etc/passwd, expected a file beside"},
        {"hidden", MD_FORMAT, "expected a file beside the manifest"},
        {"unlisted", MD_FORMAT, "key 'files': 'out.f32' is missing, expected its SHA-256"},
        {"short-hash", MD_FORMAT, "key 'files.in.f32': got 00, expected a SHA-256"},
        {"unknown-key", MD_FORMAT,
         "p/model.yaml:31: key 'preprocess.fitt': unknown key, expected 'fit'?"},
        {"kind", MD_FORMAT, "p/model.yaml:6: key 'kind': got sound, expected image"},
        {"id", MD_FORMAT, "key 'id': got Tiny, expected small letters"},
        {"input-name", MD_FORMAT,
         "p: model.onnx: 1 inputs, the first 'image': expected one, "
         "'picture'"},
        {"output-name", MD_NOT_FOUND, "p: model.onnx: no tensor 'scores' in the network"},
        {"features-name", MD_NOT_FOUND, "p: model.onnx: no tensor 'nothing' in the network"},
        {"size", MD_FORMAT, "input 'image' does not take float [1,1,32,64]"},
        {"channels", MD_FORMAT,
         "got 1 values of mean and 1 of std, expected one for each of 3"},
        {"two-channels", MD_FORMAT, "key 'preprocess.channels': got 2, expected 1 or 3"},
        {"std", MD_FORMAT, "key 'preprocess.std[0]': got 0"},
        {"class", MD_FORMAT, "key 'findings[0].classes': got 2, the output has 2 values"},
        {"class-all", MD_FORMAT, "key 'findings[0].classes': got all 2 classes"},
        {"class-twice", MD_FORMAT, "key 'findings[0].classes': 1 stands there twice"},
        {"no-findings", MD_FORMAT,
         "key 'findings[1].key': got 'bright', the key of findings[0]"},
        {"undetermined", MD_FORMAT, "expected [low, high] around the threshold 0.5"},
        {"undetermined-one", MD_FORMAT, "expected [low, high] around the threshold 0.5"},
        {"threshold", MD_FORMAT, "got 1.5, expected a number in 0..1"},
        {"sigmoid-sum", MD_FORMAT, "key 'findings[0].classes': got 2, expected exactly 1"},
        {"interval", MD_FORMAT, "key 'performance.accuracy': expected [value, low, high]"},
        {"age", MD_FORMAT, "key 'accepts.min_age_years': got 151, expected a number in 0..150"},
        {"age-order", MD_FORMAT, "key 'accepts': min_age_years 12 is above max_age_years 10"},
        {"same-file", MD_FORMAT, "input and expected are the same file"},
        {"precision", MD_FORMAT, "got f16, expected f32"},
        {"modality", MD_FORMAT, "key 'accepts.modality[0]': got cr, expected a code string"},
        {"no-use", MD_FORMAT, "key 'intended_use': is missing"},
        {"sop-class", MD_FORMAT, "got 1.2.x, expected a UID"},
        {"map-method", MD_FORMAT, "key 'saliency.method': got gradcam, expected grad-cam"},
        {"map-features", MD_FORMAT, "key 'saliency.features': missing, grad-cam needs"},
        {"map-steps", MD_FORMAT, "key 'saliency.steps': has no effect with grad-cam"},
        {"map-few-steps", MD_FORMAT, "key 'saliency.steps': got 4, expected"},
        {"map-noise", MD_FORMAT, "key 'saliency.noise': got 0.9, expected"},
        {"after-self", MD_FORMAT, "key 'after.model': got the model itself"},
        {"after-gate", MD_FORMAT, "key 'after': a gate comes after no other model"},
        {"gate-required", MD_FORMAT, "key 'required': has no effect with role gate"},
        {"after-when", MD_FORMAT, "key 'after.when': got sure, expected present or absent"},
        {"views", MD_FORMAT, "key 'test_time.shift': got 0.01, less than half a pixel of 32"},
        {"views-key", MD_FORMAT, "key 'test_time.flipp': unknown key, expected 'flip'?"},
        {"map-cell", MD_FORMAT, "key 'saliency.cell': got 5, expected a divisor of width 32"},
        {"map-pixels", MD_FORMAT, "key 'saliency.features': has no effect with smooth-grad"},
        {"map-ig", MD_UNSUPPORTED,
         "p: model.onnx: saliency.method integrated-gradients: node 'odd_one'"},
        {"map-deep", MD_UNSUPPORTED, "p: model.onnx: saliency.method grad-cam: "},
        {"activation-none", MD_FORMAT, "temperature needs logits"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "bad-%s", rows[i].name);
        md_analyzer *analyzer = NULL;
        md_error err = {0};
        md_status status = open_package(name, NULL, &analyzer, &err);
        if (status != rows[i].status || strstr(err.msg, rows[i].reason) == NULL ||
            strchr(err.msg, '\n') != NULL || analyzer != NULL) {
            fail_msg("%s: %s '%s'", rows[i].name, md_status_name(status), err.msg);
        }
    }
    md_analyzer *analyzer = NULL;
    md_error err = {0};
    assert_int_equal(open_package("nowhere", NULL, &analyzer, &err), MD_IO);
}

/* Scores against the formulas of docs/model-package.md, written out. */
static void test_scores(void **state)
{
    (void)state;
    md_manifest *m = md_calloc(1, sizeof *m);
    assert_non_null(m);
    md_manifest_finding *f = &m->findings[0];
    const float x[] = {0.5F, -1.0F, 2.0F};
    double score = 0;
    double e[3];

    f->classes[0] = 1;
    f->classes[1] = 2;
    f->n_classes = 2;
    m->calibration.a = 1;
    for (int i = 0; i < 3; i++) {
        e[i] = exp((double)x[i]);
    }
    double plain = (e[1] + e[2]) / (e[0] + e[1] + e[2]);
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_OK);
    assert_true(fabs(score - plain) < 1e-12);

    m->calibration.method = MD_CALIBRATION_TEMPERATURE;
    m->calibration.temperature = 2.5;
    for (int i = 0; i < 3; i++) {
        e[i] = exp((double)x[i] / 2.5);
    }
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_OK);
    assert_true(fabs(score - (e[1] + e[2]) / (e[0] + e[1] + e[2])) < 1e-12);

    m->calibration.method = MD_CALIBRATION_PLATT; /* of the uncalibrated score */
    m->calibration.a = 1.7;
    m->calibration.b = -0.3;
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_OK);
    double odds = 1.7 * log(plain / (1 - plain)) - 0.3;
    assert_true(fabs(score - 1 / (1 + exp(-odds))) < 1e-12);

    const float far[] = {-3e38F, 3e38F, 3e38F}; /* no overflow, no NaN */
    assert_int_equal(md_score(m, f, far, 3, &score, NULL), MD_OK);
    assert_true(score == 1.0);
    m->calibration.a = 0;
    assert_int_equal(md_score(m, f, far, 3, &score, NULL), MD_OK);
    assert_true(fabs(score - 1 / (1 + exp(0.3))) < 1e-12);

    m->network.activation = MD_TARGET_SIGMOID;
    m->calibration.method = MD_CALIBRATION_TEMPERATURE;
    m->calibration.temperature = 0.5;
    f->n_classes = 1;
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_OK);
    assert_true(fabs(score - 1 / (1 + exp(2.0))) < 1e-12);

    m->network.activation = MD_TARGET_SCORE;
    m->calibration.method = MD_CALIBRATION_NONE;
    f->classes[0] = 0;
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_OK);
    assert_true(fabs(score - 0.5) < 1e-12);
    f->classes[0] = 1;
    assert_int_equal(md_score(m, f, x, 3, &score, NULL), MD_PLUGIN);
    const float ends[] = {0.0F, 1.0F};
    assert_int_equal(md_score(m, f, ends, 2, &score, NULL), MD_OK);
    assert_true(score == 1.0);
    md_free(m);
}

/* Thousands of damaged manifests: each is read or refused with one line, nothing breaks. */
static void test_damaged_manifests(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    assert_int_equal(
        md_file_read(scratch_path("good/p/model.yaml"), 1 << 20, &bytes, &size_bytes, NULL),
        MD_OK);
    md_manifest *m = md_malloc(sizeof *m);
    uint8_t *damaged = md_malloc(size_bytes + 8);
    assert_true(m != NULL && damaged != NULL);
    uint64_t random = 88172645463325252U; /* xorshift64, Marsaglia 2003 */
    static const char special[] = "{}[],:&*!|>'\"%@`#-? \n\t\0\xff\xc3";
    unsigned n_read = 0;
    for (int i = 0; i < 4000; i++) {
        memcpy(damaged, bytes, size_bytes);
        size_t length = size_bytes;
        for (int k = 0; k <= i % 4; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            size_t at = (size_t)(random >> 8) % length;
            size_t run = 1 + (size_t)(random >> 40) % 40;
            if (random % 3 == 0) {
                damaged[at] = (uint8_t)special[(random >> 32) % (sizeof special - 1)];
            } else if (random % 3 == 1 && at + run < length) {
                memmove(damaged + at, damaged + at + run, length - at - run);
                length -= run;
            } else if (at + 2 * run < length) {
                memcpy(damaged + at + run, damaged + at, run);
            }
        }
        md_error err = {0};
        md_status status = md_manifest_parse(damaged, length, "m", m, &err);
        n_read += status == MD_OK;
        if (status != MD_OK) {
            assert_true(status == MD_FORMAT || status == MD_LIMIT);
            assert_int_equal(strncmp(err.msg, "m:", 2), 0);
            assert_null(strchr(err.msg, '\n'));
        }
    }
    print_message("# of 4000 damaged manifests %u are still manifests\n", n_read);
    md_free(m);
    md_free(damaged);
    md_free(bytes);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    size_t nth = 1;
    for (;; nth++) {
        md_analyzer *analyzer = NULL;
        md_error err = {0};
        md_memory_fail_at(nth);
        md_status status = open_package("good", NULL, &analyzer, &err);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            md_analyzer_destroy(analyzer);
            break;
        }
        if (status != MD_NOMEM) {
            fail_msg("allocation %zu: %s '%s'", nth, md_status_name(status), err.msg);
        }
    }
    assert_true(nth > 10);
}

/* The ramp of the self-test, in 0..1, as a film of the network's own size. */
static void ask_map(const char *name, unsigned finding, md_saliency *ret_map)
{
    md_analyzer *a = NULL;
    md_error err = {0};
    md_raster raster = {0};
    md_finding findings[2];
    memset(findings, 0, sizeof findings);
    md_steps steps = {0};
    if (open_package(name, NULL, &a, &err) != MD_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
    assert_int_equal(md_raster_init(&raster, 32, 32, 1, NULL), MD_OK);
    for (int i = 0; i < 32 * 32; i++) {
        raster.values[i] = (float)i / 1023.0F;
    }
    const md_accept_facts facts = {0};
    const md_image_input input = {
        .values = &raster, .facts = &facts, .frame = 1, .n_frames = 1, .want_saliency = true};
    if (a->ops->analyse_image(a, &input, findings, &steps, &err) != MD_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
    *ret_map = findings[finding].saliency;
    assert_non_null(ret_map->values);
    assert_true(ret_map->width == 32.0 && ret_map->height == 32.0);
    md_free(findings[1 - finding].saliency.values);
    md_raster_finish(&raster);
    md_analyzer_destroy(a);
}

/* The network is linear in the image x: t = 10 (mean x - 0.5), so every map is known. */
static void test_maps(void **state)
{
    (void)state;
    static const struct {
        const char *name, *method;
        md_map_kind kind;
        uint32_t side;
    } rows[] = {
        {"good", "Grad-CAM of features", MD_MAP_GRADIENT_ACTIVATION, 32},
        {"map-pp", "Grad-CAM++ of features", MD_MAP_GRADIENT_ACTIVATION, 32},
        {"map-deep", "Grad-CAM of conv", MD_MAP_GRADIENT_ACTIVATION, 32},
        {"map-deep-pp", "Grad-CAM++ of conv", MD_MAP_GRADIENT_ACTIVATION, 32},
        {"map-ig", "integrated gradients, 8 steps from black, cells of 8", MD_MAP_SALIENCY, 4},
        {"map-ig-mean", "integrated gradients, 32 steps from mean, cells of 4", MD_MAP_SALIENCY,
         8},
        {"map-sg", "SmoothGrad, 4 samples, noise 0.2, seed 7, cells of 1", MD_MAP_SALIENCY, 32},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        md_saliency map = {0};
        ask_map(rows[r].name, 0, &map);
        assert_string_equal(map.method, rows[r].method);
        assert_int_equal(map.kind, rows[r].kind);
        assert_int_equal(map.rows, rows[r].side);
        assert_int_equal(map.columns, rows[r].side);
        const uint32_t cell = 32 / rows[r].side;
        for (uint32_t i = 0; i < map.rows * map.columns; i++) {
            /* a cell's mean of the ramp, over that of the last one; below 1 when that is cut */
            const double y = i / map.columns, x = i % map.columns, half = (cell - 1) / 2.0;
            const double mean = ((y * cell + half) * 32 + x * cell + half) / 1023.0;
            const double last = ((31 - half) * 32 + 31 - half) / 1023.0;
            double expected = mean / last;
            if (strcmp(rows[r].name, "map-sg") == 0) {
                /* the share of 4 noisy inputs above the ReLU's 0, which far above it is all */
                expected = i > 900 ? 1.0 : round((double)map.values[i] * 4.0) / 4.0;
            }
            if (fabs((double)map.values[i] - expected) > 2e-5) {
                fail_msg("%s: %u: %g, expected %g", rows[r].name, i, (double)map.values[i],
                         expected);
            }
        }
        assert_true(map.values[map.rows * map.columns - 1] == 1.0F);
        md_free(map.values);
        if (strcmp(rows[r].name, "map-sg") == 0) {
            continue; /* of the other finding the same */
        }
        ask_map(rows[r].name, 1, &map);
        for (uint32_t i = 0; i < map.rows * map.columns; i++) {
            /* what speaks for "dark" is the darkness of feature 1, which has no weight */
            assert_true(map.values[i] == 0.0F);
        }
        md_free(map.values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_package),
        cmocka_unit_test(test_each_broken_package_is_refused),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_damaged_manifests),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, scratch_start, scratch_stop);
}
