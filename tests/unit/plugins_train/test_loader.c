/* Batches: the same whatever the threads and the room in memory, resumable, drawn as the recipe
 * says, and without augmentation bit for bit what is served. */

#include "films.h"
#include "plugins/train/loader.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static scene place;

/* 18 ill films of 6 patients, three each; 6 films of 6 well ones. */
static int make_scene(void **state)
{
    (void)state;
    char name[64];
    scene_make(&place);
    for (unsigned i = 0; i < 18; i++) {
        snprintf(name, sizeof name, "films/ill/p%u_%u.png", i / 3, i % 3);
        scene_png(&place, name, 100 + i);
    }
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "films/well/q%u_0.png", i);
        scene_png(&place, name, 200 + i);
    }
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    scene_remove(&place);
    return 0;
}

static const char everything[] =
    "augment:\n"
    "  flip_horizontal: 0.5\n  flip_vertical: 0.3\n"
    "  histogram_swap: {probability: 0.5, low: 0.3, high: 1}\n"
    "  gamma: {probability: 0.5, low: 0.7, high: 1.4}\n"
    "  contrast: {probability: 0.5, low: 0.7, high: 1.3}\n"
    "  brightness: {probability: 0.5, low: -0.1, high: 0.1}\n"
    "  spectrum_swap: {probability: 0.5, low: 0.2, high: 1}\n"
    "  blur: {probability: 0.5, low: 0.3, high: 1.5}\n"
    "  rotation: {probability: 0.5, low: -30, high: 30}\n"
    "  scale: {probability: 0.5, low: 0.8, high: 1.2}\n"
    "  aspect: {probability: 0.5, low: 0.8, high: 1.2}\n"
    "  shear: {probability: 0.5, low: -6, high: 6}\n"
    "  shift_x: {probability: 0.5, low: -0.1, high: 0.1}\n"
    "  shift_y: {probability: 0.5, low: -0.1, high: 0.1}\n"
    "  crop: {probability: 0.5, low: 0.7, high: 1}\n"
    "  jpeg: {probability: 0.5, low: 15, high: 80}\n"
    "  noise: {probability: 0.5, low: 0, high: 0.1}\n"
    "  border: {probability: 0.5, low: -0.05, high: 0.1, grey: 0.5}\n"
    "  cutout: {probability: 0.5, low: 0.05, high: 0.2, count: 2}\n"
    "  mixup: {probability: 0.5}\n";

static md_training_set *read_set(const md_recipe *recipe)
{
    md_error err = {0};
    md_training_set *set = NULL;
    if (md_training_set_read(recipe, 2, NULL, NULL, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return set;
}

static md_loader *make_loader(const md_training_set *set, md_part part, bool training,
                              unsigned batch, unsigned n_threads)
{
    md_error err = {0};
    md_loader *loader = NULL;
    const md_loader_options options = {
        .part = part, .training = training, .batch = batch, .n_threads = n_threads};
    if (md_loader_create(set, &options, &loader, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return loader;
}

static md_batch next(md_loader *loader)
{
    md_error err = {0};
    md_batch batch = {0};
    if (md_loader_next(loader, &batch, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return batch;
}

/* A digest of what stands in steps first.. of an epoch. */
static void digest_of(md_loader *loader, unsigned epoch, uint64_t first, unsigned side,
                      unsigned view, uint8_t digests[][MD_SHA256_BYTES])
{
    md_error err = {0};
    assert_int_equal(md_loader_begin(loader, epoch, first, side, side, view, &err), MD_OK);
    for (uint64_t step = first;; step++) {
        const md_batch b = next(loader);
        if (b.n == 0) {
            assert_int_equal(step, md_loader_n_steps(loader));
            break;
        }
        assert_int_equal(b.step, step);
        uint8_t parts[3][MD_SHA256_BYTES];
        md_sha256(b.images, (size_t)b.n * b.n_channels * b.height * b.width * sizeof(float),
                  parts[0]);
        md_sha256(b.targets, (size_t)b.n * b.n_classes * sizeof(float), parts[1]);
        md_sha256(b.indices, b.n * sizeof *b.indices, parts[2]);
        md_sha256(parts, sizeof parts, digests[step]);
    }
}

enum {
    N_STEPS = 16
};

static void test_deterministic(void **state)
{
    (void)state;
    uint8_t expected[2][N_STEPS][MD_SHA256_BYTES] = {{{0}}};
    const unsigned threads[] = {1, 2, 4, 4};
    for (size_t i = 0; i < 4; i++) {
        /* the last without room in memory: every film is read again from its file */
        char more[160];
        snprintf(more, sizeof more,
                 "  patient_pattern: \"([pq][0-9])\"\n  split: {train: 1, validation: 0}\n"
                 "  cache_mib: %u\n",
                 i == 3 ? 0 : 64);
        md_recipe *recipe = scene_recipe(&place, "[well, ill]", more, everything);
        md_training_set *set = read_set(recipe);
        md_loader *loader = make_loader(set, MD_PART_TRAIN, true, 5, threads[i]);
        assert_int_equal(md_loader_n_steps(loader), 4);
        uint8_t got[2][N_STEPS][MD_SHA256_BYTES] = {{{0}}};
        digest_of(loader, 0, 0, 0, 0, got[0]);
        digest_of(loader, 1, 0, 24, 0, got[1]);
        if (i == 0) {
            memcpy(expected, got, sizeof got);
            assert_memory_not_equal(got[0][0], got[0][1], MD_SHA256_BYTES);
            assert_memory_not_equal(got[0][0], got[1][0], MD_SHA256_BYTES);
        }
        assert_memory_equal(got, expected, sizeof got);
        /* from the middle of an epoch, after another one */
        uint8_t resumed[N_STEPS][MD_SHA256_BYTES] = {{0}};
        digest_of(loader, 1, 2, 24, 0, resumed);
        assert_memory_equal(resumed[2], expected[1][2], 2 * MD_SHA256_BYTES);
        md_loader_destroy(loader);
        md_training_set_destroy(set);
        md_recipe_destroy(recipe);
    }
}

/* Validation: each film once, in order, and exactly md_preprocess of its file. */
static void test_as_served(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                     "  patient_pattern: \"([pq][0-9])\"\n"
                                     "  split: {train: 0.5, validation: 0.5}\n",
                                     everything);
    /* another size than the files have, so that values are no multiples of 1/255 */
    recipe->preprocess.width = 20;
    recipe->preprocess.height = 28;
    md_training_set *set = read_set(recipe);
    md_loader *loader = make_loader(set, MD_PART_VALIDATION, false, 5, 2);
    assert_int_equal(md_loader_begin(loader, 3, 0, 0, 0, 0, &err), MD_OK);
    size_t n_seen = 0;
    uint32_t last = 0;
    for (md_batch b = next(loader); b.n > 0; b = next(loader)) {
        assert_true(b.n == 5 || b.step + 1 == md_loader_n_steps(loader));
        for (unsigned i = 0; i < b.n; i++) {
            const uint32_t film = b.indices[i];
            md_raster raster = {0};
            md_tensor tensor = {0};
            md_placement placement;
            md_image_least whole = {0};
            assert_true(n_seen == 0 || film > last);
            last = film;
            n_seen++;
            assert_int_equal(set->films[film].part, MD_PART_VALIDATION);
            assert_int_equal(md_picture_read(set->films[film].path, &recipe->preprocess, &whole,
                                             &raster, &err),
                             MD_OK);
            assert_int_equal(
                md_preprocess(&raster, &set->options, &tensor, &placement, NULL, &err), MD_OK);
            assert_memory_equal(b.images + (size_t)i * 20 * 28, tensor.data,
                                20 * 28 * sizeof(float));
            assert_memory_equal(b.targets + i * 2, set->labels + film * 2, 2 * sizeof(float));
            md_raster_finish(&raster);
            md_tensor_finish(&tensor);
        }
    }
    assert_int_equal(n_seen, md_loader_n_films(loader));
    md_loader_destroy(loader);
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

/* How often each film comes in an epoch. */
static void count(const md_training_set *set, unsigned epoch, unsigned batch, unsigned *times,
                  double *ret_ill)
{
    md_error err = {0};
    unsigned n = 0, n_ill = 0;
    md_loader *loader = make_loader(set, MD_PART_TRAIN, true, batch, 1);
    assert_int_equal(md_loader_begin(loader, epoch, 0, 0, 0, 0, &err), MD_OK);
    for (md_batch b = next(loader); b.n > 0; b = next(loader)) {
        for (unsigned i = 0; i < b.n; i++, n++) {
            times[b.indices[i]]++;
            n_ill += md_training_set_class(set, b.indices[i]) == 1 ? 1 : 0;
        }
    }
    assert_int_equal(n, md_loader_n_films(loader));
    *ret_ill = (double)n_ill / n;
    md_loader_destroy(loader);
}

static void test_samplers(void **state)
{
    (void)state;
    const struct {
        const char *training;
        double ill;           /* share */
        unsigned least, most; /* times of one film */
    } rows[] = {
        {"", 0.75, 1, 1},
        {", sampler: balanced", 0.5, 0, 2},
        {", sampler: shares, shares: [0.9, 0.1]", 0.1, 0, 4},
        {", patient_root: true", 6 * 1.7320508 / (6 * 1.7320508 + 6), 0, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char training[256];
        snprintf(training, sizeof training,
                 "training: {epochs: 2, learning_rate: 0.1, batch: 4%s}\n", rows[i].training);
        md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                         "  patient_pattern: \"([pq][0-9])\"\n"
                                         "  split: {train: 1, validation: 0}\n",
                                         training);
        md_training_set *set = read_set(recipe);
        double sum = 0;
        unsigned times[24] = {0};
        for (unsigned epoch = 0; epoch < 20; epoch++) {
            double ill = 0;
            unsigned now[24] = {0};
            count(set, epoch, 4, now, &ill);
            assert_true(fabs(ill - rows[i].ill) <= 1.0 / 24 + 1e-9);
            sum += ill / 20;
            for (unsigned k = 0; k < 24; k++) {
                assert_in_range(now[k], rows[i].least, rows[i].most);
                times[k] += now[k];
            }
        }
        assert_true(fabs(sum - rows[i].ill) < 0.02);
        for (unsigned k = 0; k < 24; k++) {
            assert_true(times[k] >= 1 || rows[i].ill < 0.2); /* none is never seen */
        }
        md_training_set_destroy(set);
        md_recipe_destroy(recipe);
    }
}

/* Mixed films are between two films, and so are their labels. */
static void test_mixup(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *recipe =
        scene_recipe(&place, "[well, ill]", "  split: {train: 1, validation: 0}\n",
                     "augment: {mixup: {alpha: 1}}\n");
    md_training_set *set = read_set(recipe);
    md_loader *loader = make_loader(set, MD_PART_TRAIN, true, 8, 2);
    unsigned n_mixed = 0;
    assert_int_equal(md_loader_begin(loader, 0, 0, 0, 0, 0, &err), MD_OK);
    for (md_batch b = next(loader); b.n > 0; b = next(loader)) {
        const size_t n = (size_t)b.height * b.width;
        float film[FILM_SIDE * FILM_SIDE], partner[FILM_SIDE * FILM_SIDE];
        for (unsigned i = 0; i < b.n; i++) {
            uint32_t n_planes = 0;
            assert_true(fabsf(b.targets[2 * i] + b.targets[2 * i + 1] - 1.0F) < 1e-6F);
            assert_int_equal(md_training_set_picture(set, b.indices[i], film, &n_planes, &err),
                             MD_OK);
            md_preprocess_finish(film, 1, n, &set->options, film);
            /* some film of the batch explains the rest with one share for all pixels */
            bool explained = false;
            for (unsigned j = 0; j < b.n && !explained; j++) {
                double up = 0, down = 0, worst = 0;
                assert_int_equal(
                    md_training_set_picture(set, b.indices[j], partner, &n_planes, &err),
                    MD_OK);
                md_preprocess_finish(partner, 1, n, &set->options, partner);
                for (size_t k = 0; k < n; k++) {
                    const double d = (double)film[k] - (double)partner[k];
                    up += ((double)b.images[i * n + k] - (double)partner[k]) * d;
                    down += d * d;
                }
                const double share = down > 0 ? up / down : 0;
                for (size_t k = 0; k < n; k++) {
                    worst = fmax(worst, fabs(share * (double)film[k] +
                                             (1 - share) * (double)partner[k] -
                                             (double)b.images[i * n + k]));
                }
                explained = j != i && worst < 1e-4 && share > -1e-6 && share < 1 + 1e-6;
            }
            assert_true(explained);
            n_mixed++;
        }
    }
    assert_int_equal(n_mixed, 24);
    md_loader_destroy(loader);
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

/* Mirrored and moved views of test-time augmentation. */
static void test_views(void **state)
{
    (void)state;
    md_error err = {0};
    md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                     "  patient_pattern: \"([pq][0-9])\"\n"
                                     "  split: {train: 0.5, validation: 0.5}\n",
                                     "evaluation: {test_time: {flip: true, shift: 0.0625}}\n");
    md_training_set *set = read_set(recipe);
    md_loader *loader = make_loader(set, MD_PART_VALIDATION, false, 100, 2);
    assert_int_equal(md_loader_n_views(loader), 10);
    float plain[FILM_SIDE * FILM_SIDE];
    const int moves[5][2] = {{0, 0}, {-2, 0}, {2, 0}, {0, -2}, {0, 2}};
    for (unsigned view = 0; view < 10; view++) {
        assert_int_equal(md_loader_begin(loader, 0, 0, 0, 0, view, &err), MD_OK);
        const md_batch b = next(loader);
        if (view == 0) {
            memcpy(plain, b.images, sizeof plain);
        }
        const int dx = moves[view / 2][0], dy = moves[view / 2][1];
        for (int y = 0; y < FILM_SIDE; y++) {
            for (int x = 0; x < FILM_SIDE; x++) {
                const int sx = x - dx < 0 ? 0 : x - dx > 31 ? 31 : x - dx;
                const int sy = y - dy < 0 ? 0 : y - dy > 31 ? 31 : y - dy;
                const int at = view % 2 == 1 ? 31 - sx : sx;
                assert_true(b.images[y * 32 + x] == plain[sy * 32 + at]);
            }
        }
    }
    assert_int_equal(md_loader_begin(loader, 0, 0, 0, 0, 10, &err), MD_INVALID_ARG);
    md_loader_destroy(loader);
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

/* A film that vanishes while the training runs is an error of its step, with its name. */
static void test_vanished(void **state)
{
    (void)state;
    md_error err = {0};
    md_batch batch = {0};
    char path[128];
    md_recipe *recipe = scene_recipe(
        &place, "[well, ill]", "  split: {train: 1, validation: 0}\n  cache_mib: 0\n", "");
    md_training_set *set = read_set(recipe);
    md_loader *loader = make_loader(set, MD_PART_TRAIN, false, 24, 2);
    snprintf(path, sizeof path, "%s/films/ill/p3_1.png", place.folder);
    assert_int_equal(remove(path), 0);
    assert_int_equal(md_loader_begin(loader, 0, 0, 0, 0, 0, &err), MD_OK);
    assert_int_not_equal(md_loader_next(loader, &batch, &err), MD_OK);
    assert_non_null(strstr(err.msg, "ill/p3_1.png: "));
    md_loader_destroy(loader);
    scene_png(&place, "films/ill/p3_1.png", 110); /* as it was, for the teardown's sake */
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

/* No allocation that fails leaks, crashes or is taken for a broken film. */
static void test_no_memory(void **state)
{
    (void)state;
    md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                     "  patient_pattern: \"([pq][0-9])\"\n"
                                     "  split: {train: 1, validation: 0}\n"
                                     "  near_duplicates: 0.9\n",
                                     everything);
    size_t n = 1;
    for (bool done = false; !done; n += 1 + n / 40) {
        md_error err = {0};
        md_training_set *set = NULL;
        md_loader *loader = NULL;
        md_batch batch = {0};
        const md_loader_options options = {
            .part = MD_PART_TRAIN, .training = true, .batch = 8, .n_threads = 1};
        md_memory_fail_at(n);
        md_status status = md_training_set_read(recipe, 1, NULL, NULL, &set, &err);
        if (status == MD_OK) {
            status = md_loader_create(set, &options, &loader, &err);
        }
        if (status == MD_OK) {
            status = md_loader_begin(loader, 0, 0, 0, 0, 0, &err);
        }
        for (unsigned i = 0; i < 3 && status == MD_OK; i++) {
            status = md_loader_next(loader, &batch, &err);
        }
        md_loader_destroy(loader);
        md_memory_fail_at(0);
        md_training_set_destroy(set);
        if (status != MD_OK && status != MD_NOMEM) {
            fail_msg("allocation %zu: %d %s", n, (int)status, err.msg);
        }
        done = status == MD_OK;
    }
    print_message("# up to allocation %zu\n", n);
    assert_true(n > 100);
    md_recipe_destroy(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_as_served),
        cmocka_unit_test(test_samplers),      cmocka_unit_test(test_mixup),
        cmocka_unit_test(test_views),         cmocka_unit_test(test_vanished),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}
