/* A film that is learnt is the film that is served: DICOM files of a training set against the
 * same files through the host. The network of the package hands its input on, so that the 64
 * scores of a film say, bit for bit, what the 8 x 8 values were that entered it. */

#include "films.h"
#include "inference/calibrate.h"
#include "plugins/host/host.h"
#include "plugins/train/loader.h"
#include "tests/support/phantom_study.h"
#include "tests/unit/inference/onnx_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SIDE = 8,
    N_VALUES = SIDE * SIDE,
    N_FILMS = 6
};

static scene place;

static int make_scene(void **state)
{
    (void)state;
    md_error err = {0};
    assert_int_equal(md_dicom_init(&err), MD_OK);
    scene_make(&place);
    for (unsigned i = 0; i < N_FILMS; i++) {
        char name[64];
        const char *reason = "";
        size_t size_bytes = 0;
        phantom_options options;
        phantom_options_init(&options);
        options.rows = 211 + 40 * i;
        options.columns = 320 - 30 * i;
        options.seed = i + 1;
        options.photometric = i % 2 == 0 ? PHANTOM_MONOCHROME2 : PHANTOM_MONOCHROME1;
        options.age_years = 3 + i;
        options.patient_id = i < 2 ? "same" : NULL;
        uint8_t *bytes = phantom_make_file(&options, &size_bytes, &reason);
        assert_non_null(bytes);
        snprintf(name, sizeof name, "films/%s/%u", i < 3 ? "well" : "ill", i);
        scene_write(&place, name, bytes, size_bytes);
        free(bytes);
    }
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    scene_remove(&place);
    md_dicom_finish();
    return 0;
}

/* What the views of a picture come to, written out here in another way: each pixel that a view
 * puts at a place. */
static void mean_of_views(const md_test_time *t, const float *picture, float *ret_mean)
{
    static const int directions[5][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}};
    const int n_places = t->shift > 0 ? 5 : 1, n_sides = t->flip ? 2 : 1;
    const int step = (int)lroundf(t->shift * SIDE);
    for (int at = 0; at < N_VALUES; at++) {
        double sum = 0;
        for (int view = n_places * n_sides; view-- > 0;) {
            const int *direction = directions[view / n_sides];
            int x = at % SIDE - direction[0] * step, y = at / SIDE - direction[1] * step;
            x = x < 0 ? 0 : x >= SIDE ? SIDE - 1 : x;
            y = y < 0 ? 0 : y >= SIDE ? SIDE - 1 : y;
            x = view % n_sides == 1 ? SIDE - 1 - x : x;
            sum += (double)picture[y * SIDE + x];
        }
        ret_mean[at] = (float)(sum / (n_places * n_sides));
    }
}

/* A package whose network is the input itself. */
static void write_package(const md_preprocess_spec *spec, const md_test_time *test_time,
                          const char *folder)
{
    md_error err = {0};
    const int64_t in[] = {-1, 1, SIDE, SIDE}, to[] = {-1, N_VALUES};
    builder *network = calloc(1, sizeof *network);
    float numbers[N_VALUES], expected[N_VALUES];
    char name[64];
    builder_init(network, 13);
    builder_port(network, false, "image", 1, 4, in);
    builder_port(network, true, "logits", 1, 2, to);
    (void)builder_node(network, "flatten", "Flatten", (char[]){"image"}, (char[]){"logits"});
    size_t onnx_bytes = 0;
    uint8_t *onnx = builder_pack(network, &onnx_bytes);
    assert_non_null(onnx);
    for (unsigned i = 0; i < N_VALUES; i++) {
        numbers[i] = 0.25F * (float)i;
    }
    mean_of_views(test_time, numbers, expected);
    md_manifest *m = calloc(1, sizeof *m);
    *m = (md_manifest){
        .schema_version = 1,
        .id = "identity",
        .version = "1",
        .name = "n",
        .manufacturer = "m",
        .network = {.file = "model.onnx",
                    .input = "image",
                    .output = "logits",
                    .activation = MD_TARGET_SIGMOID,
                    .precision = "f32"},
        .accept = {.when_body_part_absent = 1, .when_view_absent = 1, .max_age_years = 150},
        .gate = {.min_rows = 1, .min_columns = 1, .max_aspect = 32768},
        .preprocess = *spec,
        .has_test_time = md_test_time_n_views(test_time) > 1,
        .test_time = *test_time,
        .n_findings = N_VALUES,
        .intended_use = "tests",
        .self_test = {.input = "in.f32", .expected = "out.f32"},
        .n_files = 3};
    for (unsigned i = 0; i < N_VALUES; i++) {
        md_manifest_finding *f = &m->findings[i];
        snprintf(f->spec.key, sizeof f->spec.key, "v%u", i);
        f->spec.concept = (md_code){"1", "S", "m"};
        f->spec.threshold = 0.5;
        f->classes[0] = i;
        f->n_classes = 1;
    }
    const struct {
        const char *name;
        const void *bytes;
        size_t size_bytes;
    } files[] = {{"model.onnx", onnx, onnx_bytes},
                 {"in.f32", numbers, sizeof numbers},
                 {"out.f32", expected, sizeof expected}};
    for (unsigned i = 0; i < 3; i++) {
        uint8_t digest[MD_SHA256_BYTES];
        md_sha256(files[i].bytes, files[i].size_bytes, digest);
        md_hex(digest, sizeof digest, m->files[i].sha256);
        snprintf(m->files[i].name, sizeof m->files[i].name, "%s", files[i].name);
        snprintf(name, sizeof name, "%s/p/%s", folder, files[i].name);
        scene_write(&place, name, files[i].bytes, files[i].size_bytes);
    }
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);
    assert_int_equal(md_manifest_write(m, out, &err), MD_OK);
    fclose(out);
    snprintf(name, sizeof name, "%s/p/model.yaml", folder);
    scene_write(&place, name, text, text_bytes);
    free(text);
    free(m);
    free(onnx);
    free(network);
}

static void refused(void *context, const char *package, const md_error *reason)
{
    (void)context;
    print_message("# %s: %s\n", package, reason->msg);
}

/* The 64 scores that the host gives a file. */
static void serve(md_host *host, const char *path, double scores[N_VALUES])
{
    md_error err = {0};
    md_analysis analysis = {0};
    const md_analyse_options options = {.on_problem = refused};
    const char *const paths[] = {path};
    if (md_host_analyse(host, paths, 1, &options, &analysis, &err) != MD_OK) {
        fail_msg("%s: %s", path, err.msg);
    }
    assert_int_equal(analysis.n_results, 1);
    assert_int_equal(analysis.results[0].n_findings, N_VALUES);
    for (unsigned i = 0; i < N_VALUES; i++) {
        scores[i] = analysis.results[0].findings[i].score;
    }
    md_analysis_finish(&analysis);
}

/* The films as the network gets them, the views of each averaged: [N_FILMS, N_VALUES]. */
static void learn(const md_training_set *set, float ret_means[N_FILMS * N_VALUES],
                  uint32_t ret_films[N_FILMS])
{
    md_error err = {0};
    md_loader *loader = NULL;
    const md_loader_options options = {
        .part = MD_PART_VALIDATION, .batch = N_FILMS, .n_threads = 2};
    static double sums[N_FILMS * N_VALUES];
    memset(sums, 0, sizeof sums);
    assert_int_equal(md_loader_create(set, &options, &loader, &err), MD_OK);
    const unsigned n_views = md_loader_n_views(loader);
    for (unsigned view = n_views; view-- > 0;) {
        md_batch b = {0};
        assert_int_equal(md_loader_begin(loader, 0, 0, 0, 0, view, &err), MD_OK);
        assert_int_equal(md_loader_next(loader, &b, &err), MD_OK);
        assert_int_equal(b.n, N_FILMS);
        memcpy(ret_films, b.indices, N_FILMS * sizeof *ret_films);
        for (unsigned k = 0; k < N_FILMS * N_VALUES; k++) {
            sums[k] += (double)b.images[k];
        }
    }
    for (unsigned k = 0; k < N_FILMS * N_VALUES; k++) {
        ret_means[k] = (float)(sums[k] / n_views);
    }
    md_loader_destroy(loader);
}

static void compare(const md_training_set *set, md_host *host)
{
    static float means[N_FILMS * N_VALUES];
    uint32_t films[N_FILMS];
    learn(set, means, films);
    for (unsigned i = 0; i < N_FILMS; i++) {
        double scores[N_VALUES];
        unsigned n_apart = 0;
        serve(host, set->films[films[i]].path, scores);
        for (unsigned k = 0; k < N_VALUES; k++) {
            /* of 64 floats no two have the same sigmoid in double */
            const double learnt = md_sigmoid((double)means[i * N_VALUES + k]);
            assert_true(learnt == scores[k]);
            n_apart += k > 0 && scores[k] != scores[0] ? 1 : 0;
        }
        assert_true(n_apart > 0);
    }
}

static void test_same_values(void **state)
{
    (void)state;
    static const char table[] = "file,label,part\n"
                                "well/0,well,validation\nwell/1,well,validation\n"
                                "well/2,well,validation\nill/3,ill,validation\n"
                                "ill/4,ill,validation\nill/5,ill,validation\n";
    scene_write(&place, "t.csv", table, strlen(table));
    static const md_preprocess_spec specs[] = {
        {.fit = MD_FIT_STRETCH, .filter = MD_FILTER_TRIANGLE},
        {.fit = MD_FIT_LETTERBOX, .filter = MD_FILTER_AREA, .crop_borders = true},
        {.fit = MD_FIT_STRETCH, .filter = MD_FILTER_AREA, .binarise = MD_BINARISE_OTSU},
        {.fit = MD_FIT_LETTERBOX,
         .filter = MD_FILTER_TRIANGLE,
         .binarise = MD_BINARISE_FIXED,
         .binarise_threshold = 0.3F},
        {.fit = MD_FIT_STRETCH, .filter = MD_FILTER_TRIANGLE, .values = MD_VALUES_PHYSICAL},
    };
    /* views beside them; 0.125 of 8 pixels is one */
    static const md_test_time views[] = {
        {0}, {.flip = true}, {.flip = true, .shift = 0.125F}, {.shift = 0.25F}, {.flip = true}};
    for (unsigned i = 0; i < sizeof specs / sizeof *specs; i++) {
        md_error err = {0};
        char folder[16], path[128];
        md_training_set *set = NULL;
        md_host *host = NULL;
        md_recipe *recipe = scene_recipe(&place, "[well, ill]", "  table: t.csv\n", "");
        recipe->preprocess = specs[i];
        recipe->preprocess.width = SIDE;
        recipe->preprocess.height = SIDE;
        recipe->preprocess.n_channels = 1;
        recipe->preprocess.n_mean = 1;
        recipe->preprocess.n_std = 1;
        recipe->evaluation.test_time = views[i];
        const bool physical = specs[i].values == MD_VALUES_PHYSICAL;
        recipe->preprocess.mean[0] = physical ? 1900.0F : 0.48F;
        recipe->preprocess.std[0] = physical ? 750.0F : 0.24F;
        if (md_training_set_read(recipe, 2, NULL, NULL, &set, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        snprintf(folder, sizeof folder, "packages%u", i);
        snprintf(path, sizeof path, "%s/%s", place.folder, folder);
        write_package(&recipe->preprocess, &views[i], folder);
        const char *const folders[] = {path};
        const md_host_options options = {
            .folders = folders, .n_folders = 1, .n_threads = 1, .on_refused = refused};
        if (md_host_create(&options, &host, &err) != MD_OK) {
            fail_msg("%s", err.msg);
        }
        compare(set, host);
        md_host_destroy(host);
        md_training_set_destroy(set);
        md_recipe_destroy(recipe);
    }
}

/* What DICOM files say of themselves. */
static void test_attributes(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    md_recipe *recipe =
        scene_recipe(&place, "[well, ill]", "  split: {train: 0.5, validation: 0.5}\n", "");
    if (md_training_set_read(recipe, 1, NULL, NULL, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_films, N_FILMS);
    assert_int_equal(set->n_patients, N_FILMS - 1);
    for (size_t i = 0; i < set->n_films; i++) {
        const md_film *film = &set->films[i];
        const unsigned number = (unsigned)(film->name[strlen(film->name) - 1] - '0');
        assert_int_equal(film->kind, MD_PICTURE_DICOM);
        assert_true(film->age_years == (float)(3 + number));
        assert_string_equal(film->view, "AP");
        assert_true(film->sex == 'M' || film->sex == 'F' || film->sex == 'O');
        assert_int_equal(strlen(film->patient_name), 25); /* p and 24 hexadecimal digits */
        assert_null(strstr(film->patient_name, "same"));
        assert_null(strstr(film->patient_name, "PHANTOM"));
    }
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_values),
        cmocka_unit_test(test_attributes),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
