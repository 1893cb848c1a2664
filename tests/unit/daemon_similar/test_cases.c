/* Similar cases over a store: found after an analysis, forgotten with their row, made again
 * when the index is lost, damaged or of another model, and never in the way. */

#include "daemon/similar/cases.h"
#include "fixture.h"

#include <dirent.h>
#include <math.h>
#include <time.h>

enum {
    N = 8
};

typedef struct world {
    fixture *f;
    md_conf conf;
    md_model_embeds model;
    md_cases *cases;
} world;

static void open_cases(world *w)
{
    const md_cases_options options = {
        .conf = &w->conf, .store = w->f->store, .models = &w->model, .n_models = 1};
    assert_ok(md_cases_open(&options, &w->cases, err));
}

static world begin(void **state)
{
    world w = {.f = *state, .model = {.embeds = {MD_EMBEDS_IMAGE, N}}};
    md_conf_defaults(&w.conf);
    snprintf(w.conf.storage.path, sizeof w.conf.storage.path, "%.250s", w.f->folder);
    snprintf(w.model.model.id, sizeof w.model.model.id, "chest");
    snprintf(w.model.model.version, sizeof w.model.model.version, "1");
    open_cases(&w);
    return w;
}

static void settle(world *w)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 60000 && !md_cases_are_settled(w->cases); i++) {
        (void)nanosleep(&pause, NULL);
    }
    assert_true(md_cases_are_settled(w->cases));
}

/* An embedding at an angle in the first two of its dimensions. */
static md_analysis analysis_at(double angle, md_embedding *one, float values[N])
{
    memset(values, 0, N * sizeof *values);
    values[0] = (float)cos(angle);
    values[1] = (float)sin(angle);
    *one = (md_embedding){.model_id = "chest", .n = N, .values = values};
    md_analysis a = {.embeddings = one, .n_embeddings = 1};
    return a;
}

static md_study analysed(world *w, unsigned n, double angle)
{
    md_claim claim;
    md_embedding one;
    float values[N];
    const md_analysis analysis = analysis_at(angle, &one, values);
    int64_t id = study_in_state(w->f->store, n, MD_STUDY_ANALYSING, &claim);
    md_store_vector *vectors = NULL;
    size_t n_vectors = 0;
    assert_ok(md_cases_vectors(w->cases, &analysis, &vectors, &n_vectors, err));
    assert_int_equal(n_vectors, w->cases != NULL ? 1 : 0);
    const md_study_outcome outcome = {.vectors = vectors, .n_vectors = n_vectors};
    assert_ok(md_store_finish(w->f->store, &claim, &outcome, 5000 + n, NULL, err));
    md_free(vectors);
    md_cases_wake(w->cases);
    return study_of(w->f->store, id);
}

static size_t near_to(world *w, const md_study *study, uint32_t k, md_near_case *near)
{
    size_t n = 99;
    settle(w);
    assert_ok(md_cases_near_study(w->cases, study->key, k, near, &n, err));
    return n;
}

static void test_found(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    size_t n = 0;
    md_study first = analysed(&w, 1, 0.0), close = analysed(&w, 2, 0.1);
    md_study far = analysed(&w, 3, 1.5);
    assert_int_equal(near_to(&w, &first, 5, near), 2);
    assert_string_equal(near[0].study_key, close.key);
    assert_true(fabs(near[0].cosine - cos(0.1)) < 1e-5);
    assert_true(fabs(near[0].cosine + near[0].distance - 1.0) < 1e-12);
    assert_int_equal(near[0].found_ms, 5002);
    assert_string_equal(near[1].study_key, far.key);
    assert_int_equal(near_to(&w, &first, 1, near), 1);
    assert_int_equal(md_cases_n(w.cases), 3);

    /* one that is not in the store yet, and a second look at one that is */
    md_embedding one;
    float values[N];
    const md_analysis fresh = analysis_at(1.4, &one, values);
    assert_ok(md_cases_near_analysis(w.cases, "0000000000000000", &fresh, 1, near, &n, err));
    assert_string_equal(near[0].study_key, far.key);
    assert_ok(md_cases_near_analysis(w.cases, far.key, &fresh, 1, near, &n, err));
    assert_string_equal(near[0].study_key, close.key);
    const md_analysis nothing = {0};
    assert_int_equal(md_cases_near_analysis(w.cases, "x", &nothing, 1, near, &n, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(md_cases_near_study(w.cases, "ffffffffffffffff", 1, near, &n, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(md_cases_near_study(w.cases, first.key, 0, near, &n, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(
        md_cases_near_study(w.cases, first.key, MD_CASES_MAX_NEAR + 1, near, &n, NULL),
        MD_INVALID_ARG);
    md_cases_close(w.cases);
}

static void forget_before(world *w, int64_t ms)
{
    size_t n = 0;
    const md_vector_retention before = {.found_before_ms = ms};
    assert_ok(md_store_vector_retire(w->f->store, &before, 100, &n, err));
    assert_true(n > 0);
}

/* Bytes of the files of the indices; *ret_n how many files. */
static size_t index_bytes(const world *w, int *ret_n)
{
    char path[1024];
    size_t n_bytes = 0;
    *ret_n = 0;
    snprintf(path, sizeof path, "%s/similar", w->f->folder);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct stat info;
        snprintf(path, sizeof path, "%s/similar/%s", w->f->folder, entry->d_name);
        if (entry->d_name[0] != '.' && stat(path, &info) == 0) {
            n_bytes += (size_t)info.st_size;
            (*ret_n)++;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return n_bytes;
}

static void test_forgotten(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    int n_files = 0;
    analysed(&w, 1, 0.0);
    analysed(&w, 2, 0.1);
    md_study third = analysed(&w, 3, 0.2), fourth = analysed(&w, 4, 0.3);
    settle(&w);
    const size_t before = index_bytes(&w, &n_files);
    forget_before(&w, 5003); /* gone from the store: not found, whatever the index says */
    assert_int_equal(near_to(&w, &third, 5, near), 1);
    md_cases_forget(w.cases);
    settle(&w);
    assert_int_equal(md_cases_n(w.cases), 2);
    assert_int_equal(near_to(&w, &third, 5, near), 1);
    assert_string_equal(near[0].study_key, fourth.key);
    md_cases_close(w.cases);
    open_cases(&w); /* and the next start takes their numbers off the disk */
    settle(&w);
    assert_true(index_bytes(&w, &n_files) < before);
    assert_int_equal(near_to(&w, &third, 5, near), 1);
    md_cases_close(w.cases);
}

static void index_path(const world *w, char ret_path[1024])
{
    snprintf(ret_path, 1024, "%s/similar", w->f->folder);
    DIR *folder = opendir(ret_path);
    assert_non_null(folder);
    const struct dirent *entry;
    bool found = false;
    while ((entry = readdir(folder)) != NULL) {
        if (strstr(entry->d_name, ".vectors") != NULL) {
            snprintf(ret_path, 1024, "%s/similar/%s", w->f->folder, entry->d_name);
            found = true;
        }
    }
    closedir(folder);
    assert_true(found);
}

/* Lost, cut at many places, overwritten: all cases are found again. */
static void test_damaged_index(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    char path[1024];
    md_study first = analysed(&w, 1, 0.0);
    for (unsigned i = 2; i <= 6; i++) {
        analysed(&w, i, 0.1 * i);
    }
    settle(&w);
    index_path(&w, path);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    for (int round = 0; round < 24; round++) {
        md_cases_close(w.cases);
        if (round == 0) {
            assert_int_equal(unlink(path), 0);
        } else if (round < 12) {
            assert_int_equal(truncate(path, info.st_size * round / 12), 0);
        } else {
            FILE *file = fopen(path, "r+b");
            assert_non_null(file);
            assert_int_equal(fseek(file, info.st_size * (round - 12) / 12, SEEK_SET), 0);
            assert_int_equal(fwrite("not what it was", 1, 15, file), 15);
            assert_int_equal(fclose(file), 0);
        }
        open_cases(&w);
        assert_int_equal(near_to(&w, &first, 8, near), 5);
        assert_int_equal(md_cases_n(w.cases), 6);
        assert_true(near[0].cosine > near[4].cosine);
    }
    md_cases_close(w.cases);
}

/* A row that is damaged costs itself. */
static void test_damaged_row(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    md_study first = analysed(&w, 1, 0.0);
    analysed(&w, 2, 0.1);
    analysed(&w, 3, 0.2);
    settle(&w);
    md_cases_close(w.cases);
    char path[1024], sql[256];
    index_path(&w, path);
    assert_int_equal(unlink(path), 0);
    snprintf(sql, sizeof sql,
             "UPDATE vector SET vals = x'0000c07f' WHERE id = (SELECT max(id) FROM vector);"
             "SELECT count(*) FROM vector");
    (void)text_number(w.f->database, sql);
    open_cases(&w);
    assert_int_equal(near_to(&w, &first, 8, near), 1);
    md_cases_close(w.cases);
}

/* Another version of the model: another index; nothing old is compared with it, and the old
 * index goes. Back again: the old cases are back. */
static void test_another_version(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    size_t n = 0;
    int n_files = 0;
    md_study first = analysed(&w, 1, 0.0);
    analysed(&w, 2, 0.1);
    settle(&w);
    md_cases_close(w.cases);
    snprintf(w.model.model.version, sizeof w.model.model.version, "2");
    open_cases(&w);
    md_study third = analysed(&w, 3, 0.2);
    assert_int_equal(near_to(&w, &third, 5, near), 0);
    assert_int_equal(md_cases_near_study(w.cases, first.key, 5, near, &n, NULL), MD_NOT_FOUND);
    (void)index_bytes(&w, &n_files);
    assert_int_equal(n_files, 1);
    md_cases_close(w.cases);
    snprintf(w.model.model.version, sizeof w.model.model.version, "1");
    open_cases(&w);
    assert_int_equal(near_to(&w, &first, 5, near), 1);
    md_cases_close(w.cases);
}

static void test_off(void **state)
{
    world w = begin(state);
    md_near_case near[8];
    size_t n = 0;
    int n_files = 0;
    md_study first = analysed(&w, 1, 0.0);
    settle(&w);
    md_cases_close(w.cases);
    w.conf.similar.enabled = false;
    open_cases(&w);
    assert_null(w.cases);
    (void)index_bytes(&w, &n_files);
    assert_int_equal(n_files, 0);
    analysed(&w, 2, 0.1); /* leaves nothing */
    assert_int_equal(md_cases_near_study(w.cases, first.key, 5, near, &n, NULL), MD_NOT_FOUND);
    md_cases_forget(w.cases);
    assert_int_equal(md_cases_n(w.cases), 0);
    assert_true(md_cases_are_settled(w.cases));
    md_cases_close(w.cases);
    w.conf.similar.enabled = true;
    w.model.embeds = (md_embeds){0}; /* no model leaves anything */
    open_cases(&w);
    assert_null(w.cases);
}

/* The newest stay, in the store too; and room that replaced ones take is got back. */
static void test_limit(void **state)
{
    world w = begin(state);
    md_cases_close(w.cases);
    w.conf.similar.max_cases = 3;
    open_cases(&w);
    md_near_case near[8];
    for (unsigned i = 1; i <= 4; i++) {
        analysed(&w, i, 0.1 * i);
        settle(&w);
    }
    md_study last = analysed(&w, 5, 0.5);
    assert_int_equal(near_to(&w, &last, 8, near), 2);
    assert_int_equal(text_number(w.f->database, "SELECT count(*) FROM vector"), 3);
    md_cases_close(w.cases);
}

/* A folder that cannot be written: the daemon goes on without. */
static void test_no_folder(void **state)
{
    world w = begin(state);
    md_cases_close(w.cases);
    w.cases = NULL;
    snprintf(w.conf.storage.path, sizeof w.conf.storage.path, "%.250s", w.f->database);
    const md_cases_options options = {
        .conf = &w.conf, .store = w.f->store, .models = &w.model, .n_models = 1};
    assert_int_not_equal(md_cases_open(&options, &w.cases, NULL), MD_OK);
    assert_null(w.cases);
}

/* By a graph of neighbours instead. */
static void test_graph(void **state)
{
    world w = begin(state);
    md_cases_close(w.cases);
    w.conf.similar.index = MD_CONF_INDEX_GRAPH;
    open_cases(&w);
    md_near_case near[8];
    md_study first = analysed(&w, 1, 0.0);
    for (unsigned i = 2; i <= 40; i++) {
        analysed(&w, i, 0.03 * i);
    }
    for (int round = 0; round < 2; round++) {
        assert_int_equal(near_to(&w, &first, 5, near), 5);
        assert_true(fabs(near[0].cosine - cos(0.06)) < 1e-5);
        md_cases_close(w.cases);
        open_cases(&w);
    }
    md_cases_close(w.cases);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_found),       TEST(test_forgotten),       TEST(test_damaged_index),
        TEST(test_damaged_row), TEST(test_another_version), TEST(test_off),
        TEST(test_limit),       TEST(test_no_folder),       TEST(test_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
