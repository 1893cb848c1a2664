/* The store of similar cases: against a plain search, over openings, cut and damaged files, and
 * its bounds. Works in the folder that the first argument names. */

#include "inference/similar/dot.h"
#include "inference/similar/similar.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

enum {
    DIMS = 24,
    N = 3000,
    K = 10,
    RECORD = 16 + 4 * DIMS
};

static char path[4096], graph[4096 + 8], graph_id[4096 + 16];
static float vectors[N][DIMS];
static uint64_t keys[N];

static float uniform(void)
{
    static uint64_t seed = 11;
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (float)(seed >> 40) / 16777216.0F - 0.5F;
}

static int fresh(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)unlink(graph);
    (void)unlink(graph_id);
    for (int i = 0; i < N; i++) {
        keys[i] = (uint64_t)i * 7919U + 3U;
        for (int j = 0; j < DIMS; j++) {
            vectors[i][j] = uniform();
        }
    }
    return 0;
}

/* exact_below 1: always by the graph; N + 1: never. */
static md_similar_options options_of(uint32_t max_vectors, uint32_t exact_below)
{
    return (md_similar_options){.path = path,
                                .n_dims = DIMS,
                                .max_vectors = max_vectors,
                                .exact_below = exact_below,
                                .n_threads = 2};
}

static md_similar *open_store(uint32_t max_vectors, uint32_t exact_below)
{
    md_similar_options options = options_of(max_vectors, exact_below);
    md_similar *s = NULL;
    md_error err = {0};
    if (md_similar_open(&options, &s, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return s;
}

static double cosine(const float *a, const float *b)
{
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (int j = 0; j < DIMS; j++) {
        ab += (double)a[j] * (double)b[j];
        aa += (double)a[j] * (double)a[j];
        bb += (double)b[j] * (double)b[j];
    }
    return ab / sqrt(aa * bb);
}

/* How many of the K nearest of all are among those found. */
static unsigned n_found(const float *query, const md_neighbour_case *cases, uint32_t n)
{
    double best[K];
    for (int i = 0; i < K; i++) {
        best[i] = -2.0;
    }
    for (int i = 0; i < N; i++) {
        double c = cosine(query, vectors[i]);
        int at = K;
        while (at > 0 && c > best[at - 1]) {
            at--;
        }
        for (int j = K - 1; j > at; j--) {
            best[j] = best[j - 1];
        }
        if (at < K) {
            best[at] = c;
        }
    }
    unsigned found = 0;
    for (uint32_t i = 0; i < n; i++) {
        found += (double)cases[i].cosine >= best[K - 1] - 1e-5;
    }
    return found;
}

static void test_dot(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 15, 16, 17, 31, 32, 33, 100, 253, 256, 1000};
    float a[1000], b[1000];
    for (int i = 0; i < 1000; i++) {
        a[i] = uniform();
        b[i] = uniform();
    }
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
        double sum = 0.0, size = 0.0;
        for (size_t i = 0; i < lengths[k]; i++) {
            sum += (double)a[i] * (double)b[i];
            size += fabs((double)a[i] * (double)b[i]);
        }
        assert_near(md_dot(a, b, lengths[k]), sum, 1e-6 * size);
        assert_near(md_dot_plain(a, b, lengths[k]), sum, 1e-6 * size);
    }
    assert_near(md_dot(a, b, 0), 0.0, 0.0);
}

static void test_search(void **state)
{
    (void)state;
    for (uint32_t exact_below = 1; exact_below <= N + 1; exact_below += N) {
        (void)fresh(NULL);
        MD_AUTO(md_similar_destroyp) md_similar *s = open_store(N, exact_below);
        assert_int_equal(md_similar_put_all(s, keys, vectors[0], N, NULL), MD_OK);
        assert_int_equal(md_similar_n(s), N);
        unsigned found = 0;
        for (int q = 0; q < 200; q++) {
            md_neighbour_case cases[K];
            uint32_t n = 0;
            float query[DIMS];
            for (int j = 0; j < DIMS; j++) {
                query[j] = 3.0F * vectors[q][j] + 0.3F * uniform();
            }
            assert_int_equal(md_similar_search(s, query, K, false, cases, &n, NULL), MD_OK);
            assert_int_equal(n, K);
            assert_int_equal(cases[0].key, keys[q]);
            assert_near(cases[0].cosine, cosine(query, vectors[q]), 1e-5);
            for (int i = 1; i < K; i++) {
                assert_true(cases[i].cosine <= cases[i - 1].cosine);
            }
            unsigned of_this = n_found(query, cases, n);
            found += of_this;
            assert_true(exact_below == 1 || of_this == K);
            assert_int_equal(md_similar_search(s, query, K, true, cases, &n, NULL), MD_OK);
            assert_int_equal(n_found(query, cases, n), K);
        }
        print_message("recall@10 %.4f\n", found / 2000.0);
        assert_true(found >= 1980);
        md_neighbour_case cases[K];
        uint32_t n = 0;
        assert_int_equal(md_similar_search_key(s, keys[5], K, cases, &n, NULL), MD_OK);
        assert_int_equal(n, K);
        for (int i = 0; i < K; i++) {
            assert_int_not_equal(cases[i].key, keys[5]);
        }
    }
}

/* The nearest of the vector, which must be the key's. */
static void assert_nearest(md_similar *s, const float *vector, uint64_t key)
{
    md_neighbour_case one;
    uint32_t n = 0;
    assert_int_equal(md_similar_search(s, vector, 1, false, &one, &n, NULL), MD_OK);
    assert_int_equal(n, 1);
    assert_int_equal(one.key, key);
}

static void test_changes(void **state)
{
    (void)state;
    for (uint32_t exact_below = 1; exact_below <= N + 1; exact_below += N) {
        (void)fresh(NULL);
        md_similar *s = open_store(N, exact_below);
        assert_int_equal(md_similar_put_all(s, keys, vectors[0], 100, NULL), MD_OK);
        assert_int_equal(md_similar_put(s, keys[7], vectors[200], NULL), MD_OK); /* replaced */
        assert_int_equal(md_similar_remove(s, keys[9], NULL), MD_OK);
        assert_int_equal(md_similar_remove(s, keys[9], NULL), MD_NOT_FOUND);
        for (int opening = 0; opening < 2; opening++) {
            assert_int_equal(md_similar_n(s), 99);
            assert_nearest(s, vectors[200], keys[7]);
            assert_nearest(s, vectors[8], keys[8]);
            md_neighbour_case cases[200];
            uint32_t n = 0;
            assert_int_equal(md_similar_search(s, vectors[9], 200, false, cases, &n, NULL),
                             MD_OK);
            assert_int_equal(n, 99);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_not_equal(cases[i].key, keys[9]);
                assert_true(cases[i].key != keys[7] || cases[i].cosine < 0.99F);
            }
            md_similar_destroy(s);
            s = open_store(N, exact_below);
        }
        /* most of the file is of no use: it is written anew, and holds the same */
        for (int round = 0; round < 3; round++) {
            assert_int_equal(md_similar_put_all(s, keys, vectors[300], 90, NULL), MD_OK);
        }
        md_similar_destroy(s);
        struct stat before, after;
        assert_int_equal(stat(path, &before), 0);
        s = open_store(N, exact_below);
        assert_int_equal(stat(path, &after), 0);
        assert_true(before.st_size > 350 * RECORD && after.st_size == 32 + 100 * RECORD);
        assert_int_equal(md_similar_n(s), 100); /* the removed one came back */
        assert_nearest(s, vectors[345], keys[45]);
        assert_nearest(s, vectors[95], keys[95]);
        assert_int_equal(md_similar_put(s, keys[45], vectors[400], NULL), MD_OK);
        assert_nearest(s, vectors[400], keys[45]);
        md_similar_destroy(s);
    }
}

static void flip(const char *file, long at)
{
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_not_equal(fputc(byte ^ 0x55, f), EOF);
    assert_int_equal(fclose(f), 0);
}

static void test_damage(void **state)
{
    (void)state;
    md_similar *s = open_store(N, 1);
    assert_int_equal(md_similar_put_all(s, keys, vectors[0], 50, NULL), MD_OK);
    md_similar_destroy(s);
    /* a crash at each byte of the last record */
    for (long cut = 0; cut < RECORD; cut += 5) {
        assert_int_equal(truncate(path, 32 + 49 * RECORD + cut), 0);
        s = open_store(N, 1);
        assert_int_equal(md_similar_opened(s)->dropped_bytes, cut);
        assert_int_equal(md_similar_n(s), 49);
        assert_int_equal(md_similar_put(s, keys[49], vectors[49], NULL), MD_OK);
        md_similar_destroy(s);
    }
    /* a bit of a vector, and of a key: those are left out */
    flip(path, 32 + 3 * RECORD + 20);
    flip(path, 32 + 8 * RECORD + 1);
    s = open_store(N, 1);
    assert_int_equal(md_similar_opened(s)->n_damaged, 2);
    assert_int_equal(md_similar_n(s), 48);
    assert_nearest(s, vectors[4], keys[4]);
    md_similar_destroy(s);
    /* a deed that is none: nothing behind it can be found */
    flip(path, 32 + 20 * RECORD + 8);
    s = open_store(N, 1);
    assert_int_equal(md_similar_n(s), 18);
    assert_true(md_similar_opened(s)->dropped_bytes > 0);
    md_similar_destroy(s);

    md_similar_options options = options_of(N, 1);
    md_error err = {0};
    options.n_dims = DIMS + 1;
    assert_int_equal(md_similar_open(&options, &s, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "24 dimensions, not of 25"));
    options = options_of(5, 1);
    assert_int_equal(md_similar_open(&options, &s, NULL), MD_LIMIT);
    flip(path, 2);
    options = options_of(N, 1);
    assert_int_equal(md_similar_open(&options, &s, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "not a store"));
}

static void test_graph_file(void **state)
{
    (void)state;
    md_similar *s = open_store(N, 1);
    assert_int_equal(md_similar_put_all(s, keys, vectors[0], 500, NULL), MD_OK);
    assert_int_equal(md_similar_remove(s, keys[2], NULL), MD_OK);
    assert_int_equal(md_similar_save(s, NULL), MD_OK);
    md_similar_destroy(s);
    s = open_store(N, 1);
    assert_false(md_similar_opened(s)->graph_built);
    assert_nearest(s, vectors[77], keys[77]);
    assert_int_equal(md_similar_n(s), 499);
    /* grows on, and is then of other vectors than the file's */
    assert_int_equal(md_similar_put(s, keys[600], vectors[600], NULL), MD_OK);
    assert_nearest(s, vectors[600], keys[600]);
    md_similar_destroy(s);
    s = open_store(N, 1);
    assert_true(md_similar_opened(s)->graph_built);
    assert_nearest(s, vectors[600], keys[600]);
    assert_int_equal(md_similar_save(s, NULL), MD_OK);
    md_similar_destroy(s);
    flip(graph, 5000);
    s = open_store(N, 1);
    assert_true(md_similar_opened(s)->graph_built);
    assert_nearest(s, vectors[77], keys[77]);
    assert_int_equal(md_similar_save(s, NULL), MD_OK);
    md_similar_destroy(s);
    assert_int_equal(truncate(graph_id, 9), 0);
    s = open_store(N, 1);
    assert_true(md_similar_opened(s)->graph_built);
    md_similar_destroy(s);
    assert_int_equal(unlink(graph), 0);
    s = open_store(N, 1);
    assert_true(md_similar_opened(s)->graph_built);
    md_similar_destroy(s);
}

static void test_bounds(void **state)
{
    (void)state;
    md_similar *s = NULL, *other = NULL;
    md_similar_options options = options_of(0, 1);
    assert_int_equal(md_similar_open(&options, &s, NULL), MD_INVALID_ARG);
    options = options_of(N, 1);
    options.n_dims = MD_SIMILAR_MAX_DIMS + 1;
    assert_int_equal(md_similar_open(&options, &s, NULL), MD_INVALID_ARG);
    options = options_of(N, 1);
    options.path = "/nowhere/at/all";
    assert_int_equal(md_similar_open(&options, &s, NULL), MD_IO);
    s = open_store(3, 1);
    options = options_of(3, 1);
    assert_int_equal(md_similar_open(&options, &other, NULL), MD_BUSY);
    md_neighbour_case cases[K];
    uint32_t n = 9;
    assert_int_equal(md_similar_search(s, vectors[0], K, false, cases, &n, NULL), MD_OK);
    assert_int_equal(n, 0);
    float bad[DIMS] = {0};
    md_error err = {0};
    assert_int_equal(md_similar_put(s, 1, bad, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "no direction"));
    bad[3] = NAN;
    assert_int_equal(md_similar_put(s, 1, bad, NULL), MD_INVALID_ARG);
    assert_int_equal(md_similar_search(s, bad, 1, false, cases, &n, NULL), MD_INVALID_ARG);
    assert_int_equal(md_similar_search(s, vectors[0], 0, false, cases, &n, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_similar_search_key(s, 1, 1, cases, &n, NULL), MD_NOT_FOUND);
    /* the first three are kept */
    assert_int_equal(md_similar_put_all(s, keys, vectors[0], 5, &err), MD_LIMIT);
    assert_non_null(strstr(err.msg, "full: 3 vectors"));
    assert_int_equal(md_similar_n(s), 3);
    assert_nearest(s, vectors[2], keys[2]);
    md_similar_destroy(s);
    s = open_store(3, 1);
    assert_int_equal(md_similar_n(s), 3);
    assert_true(md_similar_bytes(s) > sizeof vectors[0]);
    md_similar_destroy(s);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_status status = MD_NOMEM;
    size_t nth = 0;
    while (status != MD_OK) {
        (void)fresh(NULL);
        md_similar_options options = options_of(N, N + 1);
        md_similar *s = NULL;
        md_memory_fail_at(++nth);
        status = md_similar_open(&options, &s, NULL);
        if (status == MD_OK) {
            status = md_similar_put_all(s, keys, vectors[0], 20, NULL);
        }
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_similar_destroy(s);
    }
    assert_true(nth > 5);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    (void)snprintf(path, sizeof path, "%.4000s/cases", argv[1]);
    (void)snprintf(graph, sizeof graph, "%s.graph", path);
    (void)snprintf(graph_id, sizeof graph_id, "%s.graph.id", path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_dot, fresh),
        cmocka_unit_test_setup(test_search, fresh),
        cmocka_unit_test_setup(test_changes, fresh),
        cmocka_unit_test_setup(test_damage, fresh),
        cmocka_unit_test_setup(test_graph_file, fresh),
        cmocka_unit_test_setup(test_bounds, fresh),
        cmocka_unit_test_setup(test_out_of_memory, fresh),
    };
    return cmocka_run_group_tests_name("similar", tests, NULL, NULL);
}
