/* The store of similar cases: bench-similar FOLDER [N [build|ask|recall]], by default 1,000,000
 * vectors of 256 and all three steps:
 *
 *   build   puts the vectors and writes the graph, prints the time it takes
 *   ask     opens the store, prints the time of that, p50, p95 and p99 of 2,000 queries, memory
 *   recall  recall@10 of 300 queries against the exact search
 *
 * One step alone leaves the files for the next; all three remove them. Wanted: recall 0.98, p99
 * below 5 ms.
 *
 * The vectors are as embeddings are: around 2,000 centres, on 40 of the 256 directions, with
 * noise of 0.2 in all of them. Queries are new draws from the same, none is in the store.
 */

#include "inference/similar/similar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    DIMS = 256,
    LATENT = 40,
    CENTRES = 2000,
    K = 10,
    QUERIES = 2000,
    EXACT_QUERIES = 300,
    BATCH = 10000
};

static uint64_t seed = 1;

static float uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (float)(seed >> 40) / 16777216.0F - 0.5F;
}

static float mixing[LATENT][DIMS], centres[CENTRES][LATENT];

static void draw(float *ret_vector)
{
    const float *centre = centres[(size_t)((uniform() + 0.5F) * CENTRES)];
    memset(ret_vector, 0, DIMS * sizeof *ret_vector);
    for (int i = 0; i < LATENT; i++) {
        float z = centre[i] + 0.5F * (uniform() + uniform() + uniform());
        for (int j = 0; j < DIMS; j++) {
            ret_vector[j] += z * mixing[i][j];
        }
    }
    for (int j = 0; j < DIMS; j++) {
        ret_vector[j] += 0.2F * uniform();
    }
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static md_status build(md_similar *s, uint32_t n, md_error *err)
{
    MD_AUTO(md_freep) float *vectors = md_calloc((size_t)BATCH * DIMS, sizeof *vectors);
    MD_AUTO(md_freep) uint64_t *keys = md_calloc(BATCH, sizeof *keys);
    if (vectors == NULL || keys == NULL) {
        return MD_NOMEM;
    }
    double begin = now_s();
    for (uint32_t done = 0; done < n;) {
        uint32_t now = n - done < BATCH ? n - done : BATCH;
        for (uint32_t i = 0; i < now; i++) {
            keys[i] = done + i;
            draw(vectors + (size_t)i * DIMS);
        }
        MD_TRY(md_similar_put_all(s, keys, vectors, now, err));
        done += now;
        if (done % 100000 == 0) {
            printf("%u vectors after %.0f s\n", done, now_s() - begin);
            (void)fflush(stdout);
        }
    }
    return MD_OK;
}

static md_status ask(md_similar *s, md_error *err)
{
    static double ms[QUERIES];
    for (int q = 0; q < QUERIES; q++) {
        float query[DIMS];
        md_neighbour_case near[K];
        uint32_t n_near = 0;
        draw(query);
        double begin = now_s();
        MD_TRY(md_similar_search(s, query, K, false, near, &n_near, err));
        ms[q] = 1e3 * (now_s() - begin);
    }
    qsort(ms, QUERIES, sizeof *ms, ascending);
    printf(
        "%u vectors of %d: p50 %.2f ms, p95 %.2f ms, p99 %.2f ms, longest %.2f ms, %.0f MiB\n",
        md_similar_n(s), DIMS, ms[QUERIES / 2], ms[QUERIES * 95 / 100], ms[QUERIES * 99 / 100],
        ms[QUERIES - 1], (double)md_similar_bytes(s) / (1 << 20));
    return MD_OK;
}

static md_status recall(md_similar *s, md_error *err)
{
    uint32_t found = 0, wanted = 0;
    double spent = 0.0;
    for (int q = 0; q < EXACT_QUERIES; q++) {
        float query[DIMS];
        md_neighbour_case near[K], all[K];
        uint32_t n_near = 0, n_all = 0;
        draw(query);
        MD_TRY(md_similar_search(s, query, K, false, near, &n_near, err));
        double begin = now_s();
        MD_TRY(md_similar_search(s, query, K, true, all, &n_all, err));
        spent += now_s() - begin;
        wanted += n_all;
        for (uint32_t i = 0; i < n_all; i++) {
            for (uint32_t j = 0; j < n_near; j++) {
                found += all[i].key == near[j].key;
            }
        }
    }
    printf("recall@%d of %d queries %.4f, exactly %.1f ms a query\n", K, EXACT_QUERIES,
           (double)found / wanted, 1e3 * spent / EXACT_QUERIES);
    return MD_OK;
}

static void remove_files(const char *path)
{
    const char *const ends[] = {"", ".graph", ".graph.id"};
    char file[4096 + 16];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(file, sizeof file, "%s%s", path, ends[i]);
        (void)unlink(file);
    }
}

/* One step, with an opening of its own. */
static md_status run(const md_similar_options *options, const char *step, md_error *err)
{
    MD_AUTO(md_similar_destroyp) md_similar *s = NULL;
    double begin = now_s();
    seed = strcmp(step, "build") == 0 ? 2 : strcmp(step, "ask") == 0 ? 3 : 4;
    MD_TRY(md_similar_open(options, &s, err));
    if (strcmp(step, "build") == 0) {
        MD_TRY(build(s, options->max_vectors, err));
        begin = now_s();
        MD_TRY(md_similar_save(s, err));
        printf("graph saved in %.1f s\n", now_s() - begin);
        return MD_OK;
    }
    printf("store opened in %.1f s (graph built again: %s)\n", now_s() - begin,
           md_similar_opened(s)->graph_built ? "yes" : "no");
    return strcmp(step, "ask") == 0 ? ask(s, err) : recall(s, err);
}

int main(int argc, char **argv)
{
    static const char *const steps[] = {"build", "ask", "recall"};
    if (argc < 2) {
        return 2;
    }
    char path[4096];
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
    const char *only = argc > 3 ? argv[3] : NULL;
    (void)snprintf(path, sizeof path, "%.4000s/bench-similar", argv[1]);
    for (int i = 0; i < LATENT * DIMS; i++) {
        mixing[i / DIMS][i % DIMS] = uniform();
    }
    for (int i = 0; i < CENTRES * LATENT; i++) {
        centres[i / LATENT][i % LATENT] = 2.0F * uniform();
    }
    md_similar_options options = {
        .path = path, .n_dims = DIMS, .max_vectors = n, .exact_below = 1, .n_threads = 1};
    md_status status = MD_OK;
    md_error err = {0};
    for (int i = 0; i < 3 && status == MD_OK; i++) {
        if (only != NULL && strcmp(only, steps[i]) != 0) {
            continue;
        }
        if (i == 0) {
            remove_files(path);
        }
        status = run(&options, steps[i], &err);
        (void)fflush(stdout);
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
    }
    if (only == NULL) {
        remove_files(path);
    }
    return status != MD_OK;
}
