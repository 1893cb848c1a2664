/* What studies look like: kept beyond the study, replaced by the next analysis, forgotten. */

#include "daemon/store/store_vector.h"
#include "fixture.h"

#include <math.h>
#include <sqlite3.h>

#define SPACE "0123456789abcdef"
#define OTHER "fedcba9876543210"

static md_store_vector vector_in(const char *space, float first)
{
    md_store_vector v = {.n = 3, .values = {first, -2.5F, 1e-30F}};
    snprintf(v.space, sizeof v.space, "%s", space);
    snprintf(v.model_id, sizeof v.model_id, "model");
    return v;
}

/* Study n is analysed and leaves these vectors. */
static md_study analysed(md_store *store, unsigned n, const md_store_vector *vectors,
                         size_t n_vectors, const char *failed, int64_t now_ms)
{
    md_claim claim;
    int64_t id = study_in_state(store, n, MD_STUDY_ANALYSING, &claim);
    const md_study_outcome outcome = {
        .vectors = vectors, .n_vectors = n_vectors, .failed = failed};
    assert_ok(md_store_finish(store, &claim, &outcome, now_ms, NULL, err));
    return study_of(store, id);
}

static size_t ids_in(md_store *store, const char *space, int64_t after, int64_t ids[8])
{
    int64_t *list = NULL;
    size_t n = 0;
    assert_ok(md_store_vector_ids(store, space, after, &list, &n, err));
    assert_true(n <= 8);
    memcpy(ids, list, n * sizeof *ids);
    md_free(list);
    return n;
}

static void test_kept(void **state)
{
    fixture *f = *state;
    int64_t ids[8] = {0}, later[8] = {0};
    static md_store_vector both[2], got;
    both[0] = vector_in(SPACE, 1.0F);
    both[1] = vector_in(OTHER, 2.0F);
    md_study one = analysed(f->store, 1, both, 2, NULL, 5000);
    md_study two = analysed(f->store, 2, both, 1, NULL, 6000);
    analysed(f->store, 3, NULL, 0, NULL, 7000);
    fixture_reopen(f);
    assert_int_equal(ids_in(f->store, SPACE, 0, ids), 2);
    assert_true(ids[0] < ids[1]);
    assert_int_equal(ids_in(f->store, SPACE, ids[0], later), 1);
    assert_int_equal(later[0], ids[1]);
    assert_ok(md_store_vector_get(f->store, ids[0], &got, err));
    assert_string_equal(got.study_key, one.key);
    assert_string_equal(got.space, SPACE);
    assert_string_equal(got.model_id, "model");
    assert_int_equal(got.found_ms, 5000);
    assert_int_equal(got.n, 3);
    assert_memory_equal(got.values, both[0].values, 3 * sizeof(float));
    md_store_vector_place place;
    assert_ok(md_store_vector_find(f->store, ids[1], &place, err));
    assert_string_equal(place.study_key, two.key);
    int64_t id = 0;
    assert_ok(md_store_vector_of(f->store, SPACE, two.key, &id, err));
    assert_int_equal(id, ids[1]);
    assert_int_equal(md_store_vector_of(f->store, OTHER, two.key, &id, NULL), MD_NOT_FOUND);
    assert_int_equal(md_store_vector_get(f->store, 999, &got, NULL), MD_NOT_FOUND);
    assert_int_equal(md_store_vector_find(f->store, 999, &place, NULL), MD_NOT_FOUND);
}

/* The next analysis replaces it under another id; one that fails leaves it. */
static void test_replaced(void **state)
{
    fixture *f = *state;
    static md_store_vector v;
    v = vector_in(SPACE, 1.0F);
    int64_t first[8], second[8], third[8];
    md_study study = analysed(f->store, 1, &v, 1, NULL, 5000);
    assert_int_equal(ids_in(f->store, SPACE, 0, first), 1);
    add(f->store, 1, 9, 9, 6000);
    md_claim claim;
    md_study now = study_of(f->store, study.id);
    for (int round = 0; round < 2; round++) {
        assert_ok(md_store_complete(f->store, &now, 7000, err));
        assert_ok(md_store_claim(f->store, "w", 8000, 60000, &claim, &now, err));
        const md_study_outcome failed = {.failed = "it cannot be read"};
        const md_study_outcome good = {.vectors = &v, .n_vectors = 1};
        assert_ok(
            md_store_finish(f->store, &claim, round == 0 ? &failed : &good, 9000, NULL, err));
        assert_int_equal(ids_in(f->store, SPACE, 0, round == 0 ? second : third), 1);
        add(f->store, 1, 10 + (unsigned)round, 10, 9500);
        now = study_of(f->store, study.id);
    }
    assert_int_equal(second[0], first[0]);
    assert_true(third[0] > first[0]);
}

static void retire_studies(md_store *store)
{
    const md_retention all = {.ended_before_ms = INT64_MAX};
    uint64_t *files = NULL;
    size_t n_files = 0, n_studies = 0;
    assert_ok(md_store_retire(store, &all, 10, &files, &n_files, &n_studies, err));
    assert_true(n_studies > 0);
    md_free(files);
}

static void test_forgotten(void **state)
{
    fixture *f = *state;
    static md_store_vector v;
    v = vector_in(SPACE, 1.0F);
    for (unsigned i = 1; i <= 4; i++) {
        analysed(f->store, i, &v, 1, NULL, 1000 * i);
    }
    int64_t ids[8];
    size_t n = 99;
    const md_vector_retention none = {0}, newest = {.space = SPACE, .most_vectors = 3};
    assert_ok(md_store_vector_retire(f->store, &none, 100, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_vector_retire(f->store, &newest, 100, &n, err));
    assert_int_equal(n, 1);
    assert_ok(md_store_vector_retire(f->store, &newest, 100, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_vector_retire(f->store, &(md_vector_retention){.found_before_ms = 3000},
                                     100, &n, err));
    assert_int_equal(n, 1); /* that of 2000; the one of 1000 went before */
    assert_int_equal(ids_in(f->store, SPACE, 0, ids), 2);
    retire_studies(f->store);
    assert_int_equal(ids_in(f->store, SPACE, 0, ids), 2); /* they outlive their studies */
    assert_ok(md_store_vector_retire(f->store, &(md_vector_retention){.with_study = true}, 100,
                                     &n, err));
    assert_int_equal(n, 2);
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM vector"), 0);
}

static void test_refused(void **state)
{
    fixture *f = *state;
    static md_store_vector v[2];
    const struct {
        const char *space, *model;
        uint32_t n;
        float value;
    } rows[] = {
        {"0123456789abcde", "m", 1, 1},
        {"0123456789abcdeg", "m", 1, 1},
        {SPACE, "", 1, 1},
        {SPACE, "m", 0, 1},
        {SPACE, "m", MD_STORE_MAX_VECTOR + 1, 1},
        {SPACE, "m", 1, NAN},
        {SPACE, "m", 1, INFINITY},
    };
    md_claim claim;
    study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        v[0] = (md_store_vector){.n = rows[i].n, .values = {rows[i].value}};
        snprintf(v[0].space, sizeof v[0].space, "%s", rows[i].space);
        snprintf(v[0].model_id, sizeof v[0].model_id, "%s", rows[i].model);
        const md_study_outcome outcome = {.vectors = v, .n_vectors = 1};
        assert_int_equal(md_store_finish(f->store, &claim, &outcome, 5000, NULL, NULL),
                         MD_INVALID_ARG);
    }
    v[0] = v[1] = vector_in(SPACE, 1.0F);
    const md_study_outcome twice = {.vectors = v, .n_vectors = 2};
    assert_int_equal(md_store_finish(f->store, &claim, &twice, 5000, NULL, NULL),
                     MD_INVALID_ARG);
}

/* Whatever stands in the row, what is read is bounded and finite, or refused. */
static void test_damaged(void **state)
{
    fixture *f = *state;
    static const char *const blobs[] = {"x''",  "x'0000803f00'",   "x'0000c07f'",
                                        "NULL", "zeroblob(16388)", "'text'"};
    static md_store_vector v, got;
    int64_t ids[8];
    v = vector_in(SPACE, 1.0F);
    analysed(f->store, 1, &v, 1, NULL, 5000);
    assert_int_equal(ids_in(f->store, SPACE, 0, ids), 1);
    for (size_t i = 0; i < sizeof blobs / sizeof *blobs; i++) {
        char sql[128];
        sqlite3 *db = NULL;
        snprintf(sql, sizeof sql, "UPDATE vector SET vals = ifnull(%s, x'')", blobs[i]);
        assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        md_status status = md_store_vector_get(f->store, ids[0], &got, NULL);
        if (i == 5) { /* four bytes are one value, whatever they say */
            assert_int_equal(status, MD_OK);
            assert_int_equal(got.n, 1);
        } else {
            assert_int_equal(status, MD_FORMAT);
        }
    }
}

static void test_verdicts(void **state)
{
    fixture *f = *state;
    md_store_finding finding = {.presence = MD_STORE_PRESENT, .score = 0.5};
    snprintf(finding.model_id, sizeof finding.model_id, "model");
    snprintf(finding.key, sizeof finding.key, "pneumonia");
    md_claim claim;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    const md_study_outcome outcome = {.findings = &finding, .n_findings = 1};
    assert_ok(md_store_finish(f->store, &claim, &outcome, 5000, NULL, err));
    md_study study = study_of(f->store, id);
    md_store_verdict list[4];
    size_t n = 9;
    assert_ok(md_store_verdicts(f->store, study.key, 4, list, &n, err));
    assert_int_equal(n, 0);
    assert_ok(
        md_store_set_verdict(f->store, study.key, "model", "pneumonia", "a", true, 100, err));
    assert_ok(
        md_store_set_verdict(f->store, study.key, "model", "pneumonia", "b", false, 200, err));
    assert_ok(md_store_verdicts(f->store, study.key, 4, list, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(list[0].key, "pneumonia");
    assert_false(list[0].agrees); /* the later reader's */
    assert_ok(md_store_verdicts(f->store, study.key, 0, list, &n, err));
    assert_int_equal(n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* In parts, each a transaction, whatever the reason is: the oldest first, and never more than
 * was asked for. */
static void test_forgotten_in_parts(void **state)
{
    fixture *f = *state;
    static md_store_vector v;
    const md_vector_retention reasons[] = {
        {.space = SPACE, .most_vectors = 5},
        {.found_before_ms = 4001},
        {.found_before_ms = 5001, .with_study = true, .space = SPACE, .most_vectors = 1},
    };
    const size_t n_gone[] = {3, 1, 3};
    int64_t ids[8];
    size_t n_left = 8;
    v = vector_in(SPACE, 1.0F);
    for (unsigned i = 1; i <= n_left; i++) {
        analysed(f->store, i, &v, 1, NULL, 1000 * i);
    }
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        size_t n = 2, n_all = 0;
        while (n == 2) {
            assert_ok(md_store_vector_retire(f->store, &reasons[i], 2, &n, err));
            assert_true(n <= 2);
            n_all += n;
            assert_int_equal(ids_in(f->store, SPACE, 0, ids), n_left - n_all);
            assert_true(n == 0 || ids[0] == (int64_t)(8 - n_left + n_all + 1));
        }
        assert_int_equal(n_all, n_gone[i]);
        n_left -= n_all;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_kept),      TEST(test_replaced),
        TEST(test_forgotten), TEST(test_forgotten_in_parts),
        TEST(test_refused),   TEST(test_damaged),
        TEST(test_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
