/* recipe.yaml: what is read, what is refused and with which words, and that the resolved recipe
 * reads back to the same. */

#include "base/file.h"
#include "plugins/train/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char head[] = "medaid_recipe: 1\n"
                           "name: chest\n"
                           "run_folder: runs/chest\n";
static const char data[] = "data:\n"
                           "  classes: [normal, bacterial, viral]\n"
                           "  folders: [films]\n";
static const char preprocess[] =
    "preprocess: {values: display, fit: stretch, width: 224, height: 160, filter: triangle, "
    "channels: 1, mean: [0.48], std: [0.24]}\n";
static const char network[] = "network: {name: resnet18}\n";
static const char training[] = "training: {epochs: 10, learning_rate: 0.1}\n";

/* Parse the sections, one of which is replaced (NULL: none). */
static md_status parse_with(const char *section, const char *text, md_recipe **ret_recipe,
                            md_error *err)
{
    char whole[8192] = "";
    const char *const sections[] = {head, data, preprocess, network, training};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        size_t used = strlen(whole);
        snprintf(whole + used, sizeof whole - used, "%s",
                 sections[i] == section ? text : sections[i]);
    }
    if (section == NULL && text != NULL) {
        size_t used = strlen(whole);
        snprintf(whole + used, sizeof whole - used, "%s", text);
    }
    return md_recipe_parse((const uint8_t *)whole, strlen(whole), "r.yaml", "/data", ret_recipe,
                           err);
}

static void test_defaults(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *r = NULL;
    assert_int_equal(parse_with(NULL, NULL, &r, &err), MD_OK);
    assert_int_equal(r->data.n_classes, 3);
    assert_string_equal(r->data.classes[2], "viral");
    assert_int_equal(r->data.task, MD_TASK_MULTI_CLASS);
    assert_int_equal(r->training.batch, 32);
    assert_true(r->training.momentum == 0.9);
    assert_true(r->network.width == 1.0 && r->network.dropout == -1.0);
    assert_false(r->package.there);
    char path[MD_RECIPE_PATH_BYTES];
    assert_int_equal(md_recipe_path(r, r->run_folder, path, &err), MD_OK);
    assert_string_equal(path, "/data/runs/chest");
    assert_int_equal(md_recipe_path(r, "/else/where", path, &err), MD_OK);
    assert_string_equal(path, "/else/where");
    md_recipe_destroy(r);
}

static void test_sizes(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *r = NULL;
    assert_int_equal(parse_with(training,
                                "training:\n  epochs: 10\n  learning_rate: 0.1\n"
                                "  sizes: [{epochs: 3, size: 80}, {epochs: 2, size: 120}]\n",
                                &r, &err),
                     MD_OK);
    const unsigned expected[][3] = {{0, 112, 80},  {2, 112, 80},  {3, 168, 120},
                                    {4, 168, 120}, {5, 224, 160}, {9, 224, 160}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        unsigned width = 0, height = 0;
        md_recipe_size_of(r, expected[i][0], &width, &height);
        assert_int_equal(width, expected[i][1]);
        assert_int_equal(height, expected[i][2]);
    }
    md_recipe_destroy(r);
}

static void test_refusals(void **state)
{
    (void)state;
    const struct {
        const char *section, *text, *message;
    } rows[] = {
        {head, "medaid_recipe: 2\nname: a\nrun_folder: b\n", "r.yaml:1: key 'medaid_recipe'"},
        {training, "training: {epochs: 10, learning_rat: 0.1}\n",
         "r.yaml:9: key 'training.learning_rat': unknown key, expected 'learning_rate'?"},
        {training, "training: {epochs: 10}\n", "key 'training.learning_rate': is missing"},
        {training, "training: {epochs: 10, learning_rate: 0.1, momentum: 1.5}\n",
         "r.yaml:9: key 'training.momentum': got 1.5, expected a number in 0..0.9999"},
        {training, "training: {epochs: 10, learning_rate: 0.1, shares: [0.5, 0.5, 0]}\n",
         "key 'training.shares': got 3 values, expected 0 with this sampler"},
        {training, "training: {epochs: 1, learning_rate: 1, sampler: shares, shares: [1, 0]}\n",
         "key 'training.shares': got 2 values, expected 3 with sampler shares"},
        {training,
         "training: {epochs: 1, learning_rate: 1, sampler: shares, shares: [1, 0.5, 0]}\n",
         "key 'training.shares': they add up to 1.5, expected 1"},
        {training, "training: {epochs: 1, learning_rate: 1, class_weights: given}\n",
         "key 'training.weights': got 0 values, expected 3"},
        {training, "training: {epochs: 1, learning_rate: 1, loss: {groups: [a, b]}}\n",
         "r.yaml:9: key 'training.loss.groups': got 2 values, expected one for each of the 3"},
        {training, "training: {epochs: 1, learning_rate: 1, loss: {within: 0.5}}\n",
         "key 'training.loss.groups': got 0 values"},
        {training, "training: {epochs: 1, learning_rate: 1, loss: {groups: [a, a, a]}}\n",
         "key 'training.loss.groups': got 1 groups of 3 classes, expected at least 2"},
        {training, "training: {epochs: 1, learning_rate: 1, loss: {groups: [a, b, c]}}\n",
         "key 'training.loss.groups': got 3 groups of 3 classes"},
        {training,
         "training: {epochs: 1, learning_rate: 1, loss: {groups: [a, b, b], within: -1}}\n",
         "key 'training.loss.within': got -1, expected a number in 0..10"},
        {training, "training: {epochs: 5, learning_rate: 1, warmup_epochs: 5}\n",
         "key 'training.warmup_epochs': got 5, expected fewer than the 5 epochs"},
        {training, "training: {epochs: 5, learning_rate: 1, optimizer: adam, nesterov: true}\n",
         "key 'training.nesterov'"},
        {data, "data: {classes: [a], folders: [f]}\n",
         "key 'data.classes': got 1, expected at least 2"},
        {data, "data: {classes: [a, b, a], folders: [f]}\n",
         "key 'data.classes': 'a' stands there twice"},
        {data, "data: {classes: [a, b], folders: []}\n", "key 'data.folders': got an empty"},
        {data,
         "data:\n  classes: [a, b]\n  folders: [f]\n  label_patterns:\n"
         "    - {class: a, file: x}\n    - {class: c, file: y}\n",
         "r.yaml:9: key 'data.label_patterns[1].class': got 'c'"},
        {data,
         "data:\n  classes: [a, b]\n  folders: [f]\n  label_patterns: [{class: a, file: "
         "'(x'}]\n",
         "r.yaml:7: key 'data.label_patterns.file': at character 2:"},
        {data, "data: {classes: [a, b], folders: [f], patient_pattern: '*'}\n",
         "key 'data.patient_pattern': at character"},
        {data, "data: {classes: [a, b], folders: [f], split: {train: 0.5, validation: 0.4}}\n",
         "key 'data.split': the shares add up to 0.9"},
        {data,
         "data: {classes: [a, b], folders: [f], table: t.csv, label_patterns: [{class: a, "
         "file: "
         "x}]}\n",
         "key 'data': label_patterns beside a table"},
        {network, "network: {name: resnet18, file: x.onnx}\n",
         "key 'network': got 2 of name, file and layers"},
        {network, "network: {width: 2}\n", "key 'network': got 0 of name, file and layers"},
        {network, "network: {name: resnet18, freeze: [stem]}\n", "key 'network.freeze'"},
        {NULL, "augment: {rotation: {low: 10, high: -10}}\n",
         "r.yaml:10: key 'augment.rotation': low 10 is above high -10"},
        {NULL, "augment: {gamma: {low: 0, high: 2}}\n",
         "key 'augment.gamma.low': got 0, expected a number in 0.1..10"},
        {NULL, "augment: {rotatoin: {low: 10, high: -10}}\n", "expected 'rotation'?"},
        {NULL, "evaluation: {age_bands: [10, 5]}\n", "key 'evaluation.age_bands'"},
        {NULL, "evaluation: {test_time: {shift: 0.3}}\n",
         "key 'evaluation.test_time.shift': got 0.3, expected a number in 0..0.25"},
        {NULL, "evaluation: {test_time: {shift: 0.003}}\n",
         "r.yaml:10: key 'evaluation.test_time.shift': got 0.003, less than half a pixel of "
         "160"},
        {preprocess,
         "preprocess: {values: display, fit: stretch, width: 224, height: 224, filter: "
         "triangle, channels: 1, mean: [0, 0], std: [1]}\n",
         "key 'preprocess': got 2 values of mean"},
        {NULL,
         "export:\n  id: x\n  version: 1.0.0\n  name: X\n  manufacturer: m\n  accepts: {}\n"
         "  intended_use: u\n  findings:\n"
         "    - {key: p, concept: {code: '1', scheme: S, meaning: m}, classes: [3]}\n",
         "r.yaml:18: key 'export.findings[0].classes': got 3, expected 0..2"},
        {NULL,
         "export:\n  id: x\n  version: 1.0.0\n  name: X\n  manufacturer: m\n  accepts: {}\n"
         "  intended_use: u\n  saliency: {method: grad-cam++, steps: 9}\n  findings:\n"
         "    - {key: p, concept: {code: '1', scheme: S, meaning: m}, classes: [1]}\n",
         "r.yaml:17: key 'export.saliency.steps': has no effect with grad-cam++"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_error err = {0};
        md_recipe *r = NULL;
        md_status status = parse_with(rows[i].section, rows[i].text, &r, &err);
        if (status != MD_FORMAT || strstr(err.msg, rows[i].message) == NULL) {
            fail_msg("row %zu: %d '%s', expected '%s'", i, (int)status, err.msg,
                     rows[i].message);
        }
    }
}

static const char everything[] =
    "medaid_recipe: 1\n"
    "name: chest\n"
    "seed: 20261124\n"
    "run_folder: /runs/chest\n"
    "threads: 2\n"
    "data:\n"
    "  classes: [normal, bacterial, viral]\n"
    "  folders: [/films, other films]\n"
    "  label_patterns:\n"
    "    - {class: normal, file: ^NORMAL/}\n"
    "    - {class: bacterial, file: \"_bacteria\\\\d \\\"\"}\n"
    "  unlabelled: skip\n"
    "  patient_pattern: (person[0-9]+)\n"
    "  split: {train: 0.7, validation: 0.2, test: 0.1, file: s.csv}\n"
    "  max_unreadable: 0.1\n"
    "preprocess: {values: display, greyscale: true, fit: letterbox, width: 224, height: 224, "
    "filter: area, channels: 3, binarise: otsu, mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 1e-3]}\n"
    "augment:\n"
    "  flip_horizontal: 0.5\n"
    "  rotation: {probability: 0.7, low: -10, high: 10}\n"
    "  cutout: {low: 0.1, high: 0.2, count: 3}\n"
    "  mixup: {probability: 0.4}\n"
    "network:\n"
    "  layers:\n"
    "    - {conv: 32, kernel: 3, stride: 2}\n"
    "    - batch_norm: true\n"
    "    - activation: hard-swish\n"
    "    - residual:\n"
    "        - {conv: 32, padding: 1}\n"
    "        - dense: [{conv: 8}]\n"
    "    - max_pool: 2\n"
    "    - fully_connected: 3\n"
    "training: {epochs: 40, learning_rate: 0.08, loss: {groups: [no, yes, yes], within: 0.4}, "
    "weight_decay: 5e-4, average: 0.998, sampler: "
    "shares, shares: [0.42, 0.33, 0.25], sizes: [{epochs: 30, size: 176}], schedule: "
    "one-cycle}\n"
    "evaluation: {test_time: {flip: true, shift: 0.02}, age_bands: [1, 5, 18]}\n"
    "export:\n"
    "  id: chest-pneumonia\n"
    "  version: 2.0.0\n"
    "  name: Chest\n"
    "  manufacturer: medaid\n"
    "  accepts: {modality: [CR, DX], max_age_years: 18}\n"
    "  quality: {min_contrast: 0.15}\n"
    "  findings:\n"
    "    - key: pneumonia\n"
    "      concept: {code: \"233604007\", scheme: SCT, meaning: Pneumonia}\n"
    "      classes: [1, 2]\n"
    "      undetermined: [0.4, 0.6]\n"
    "      urgent: true\n"
    "  training: {data: \"Kermany et al.: \\\\x\", seed: \"1\"}\n"
    "  intended_use: Research.\n";

/* Written, read and written again, it is the same text. */
static void test_round_trip(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *r = NULL, *again = NULL;
    char *text = NULL, *text_again = NULL;
    if (md_recipe_parse((const uint8_t *)everything, strlen(everything), "r.yaml", "/data", &r,
                        &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_recipe_write(r, &text, &err), MD_OK);
    if (md_recipe_parse((const uint8_t *)text, strlen(text), "w.yaml", "/elsewhere", &again,
                        &err) != MD_OK) {
        fail_msg("%s\n%s", err.msg, text);
    }
    assert_int_equal(md_recipe_write(again, &text_again, &err), MD_OK);
    assert_string_equal(text, text_again);
    assert_string_equal(again->data.folders[1], "/data/other films");
    assert_string_equal(again->data.split.file, "/data/s.csv");
    assert_string_equal(again->data.label_patterns[1].file, "_bacteria\\d \"");
    assert_true(again->training.shares[0] == 0.42F && again->preprocess.std[2] == 1e-3F);
    unsigned groups[MD_RECIPE_MAX_CLASSES];
    md_recipe_groups(again, groups);
    assert_true(again->training.loss.within == 0.4 && again->training.loss.n_groups == 3);
    assert_true(groups[0] == 0 && groups[1] == 1 && groups[2] == 1);
    assert_memory_equal(&again->augment, &r->augment, sizeof r->augment);
    assert_int_equal(again->network.n_layers, 6);
    assert_int_equal(again->network.yaml_layers[3].residual[1].dense[0].conv, 8);
    assert_true(again->package.there);
    assert_true(again->package.manifest.findings[0].spec.has_undetermined);
    assert_string_equal(again->package.manifest.training[0].text, "Kermany et al.: \\x");
    assert_int_equal(again->package.manifest.gate.min_rows, 1);
    assert_non_null(strstr(text, "max_unreadable: 0.1\n"));
    assert_null(strstr(text, "brightness"));
    md_free(text);
    md_free(text_again);
    md_recipe_destroy(r);
    md_recipe_destroy(again);
}

/* The export reads the resolved recipe alone: how to calibrate and where to cut, and the shares
 * of the split, are still in it when nothing else of their sections was named. */
static void test_evaluation_stays(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *r = NULL, *again = NULL;
    char *text = NULL;
    static const char sections[] =
        "evaluation: {calibration: platt, threshold: youden, test_time: {flip: true}}\n";
    assert_int_equal(parse_with(NULL, sections, &r, &err), MD_OK);
    r->data.split.validation = 0.25;
    r->data.split.train = 0.75;
    assert_int_equal(md_recipe_write(r, &text, &err), MD_OK);
    if (md_recipe_parse((const uint8_t *)text, strlen(text), "w.yaml", "/elsewhere", &again,
                        &err) != MD_OK) {
        fail_msg("%s\n%s", err.msg, text);
    }
    assert_int_equal(again->evaluation.calibration, r->evaluation.calibration);
    assert_int_equal(again->evaluation.threshold, r->evaluation.threshold);
    assert_true(again->evaluation.test_time.flip);
    assert_true(again->data.split.validation == 0.25);
    assert_string_equal(again->data.split.file, "");
    md_free(text);
    md_recipe_destroy(r);
    md_recipe_destroy(again);
}

/* No allocation that fails leaks or is taken for success. */
static void test_no_memory(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        md_error err = {0};
        md_recipe *r = NULL;
        md_memory_fail_at(n);
        md_status status = md_recipe_parse((const uint8_t *)everything, strlen(everything),
                                           "r.yaml", "/data", &r, &err);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            md_recipe_destroy(r);
            assert_true(n > 3);
            return;
        }
        assert_int_equal(status, MD_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),         cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_evaluation_stays), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
