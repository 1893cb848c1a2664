/* The store of similar cases: bench-similar FOLDER [N], by default 1,000,000 vectors of 256.
 * Prints how long it builds, recall@10 of 1,000 queries against the exact search, p50 and p99
 * of a query, and memory. Wanted: recall 0.98, p99 below 5 ms.
 *
 * The vectors are as embeddings are: around 2,000 centres, on about 40 of the 256 directions.
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
    QUERIES = 1000,
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

static md_status measure(md_similar *s, md_error *err)
{
    static double ms[QUERIES], exact_ms[QUERIES];
    uint32_t found = 0, wanted = 0;
    for (int q = 0; q < QUERIES; q++) {
        float query[DIMS];
        md_neighbour_case near[K], all[K];
        uint32_t n_near = 0, n_all = 0;
        draw(query);
        double begin = now_s();
        MD_TRY(md_similar_search(s, query, K, false, near, &n_near, err));
        ms[q] = 1e3 * (now_s() - begin);
        begin = now_s();
        MD_TRY(md_similar_search(s, query, K, true, all, &n_all, err));
        exact_ms[q] = 1e3 * (now_s() - begin);
        wanted += n_all;
        for (uint32_t i = 0; i < n_all; i++) {
            for (uint32_t j = 0; j < n_near; j++) {
                found += all[i].key == near[j].key;
            }
        }
    }
    qsort(ms, QUERIES, sizeof *ms, ascending);
    qsort(exact_ms, QUERIES, sizeof *ms, ascending);
    printf("%u vectors of %d: recall@%d %.4f, p50 %.2f ms, p99 %.2f ms, exactly p50 %.1f ms, "
           "%.0f MiB\n",
           md_similar_n(s), DIMS, K, (double)found / wanted, ms[QUERIES / 2],
           ms[QUERIES * 99 / 100], exact_ms[QUERIES / 2],
           (double)md_similar_bytes(s) / (1 << 20));
    return MD_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    char path[4096], file[4096 + 16];
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
    (void)snprintf(path, sizeof path, "%.4000s/bench-similar", argv[1]);
    for (int i = 0; i < LATENT * DIMS; i++) {
        mixing[i / DIMS][i % DIMS] = uniform();
    }
    for (int i = 0; i < CENTRES * LATENT; i++) {
        centres[i / LATENT][i % LATENT] = 2.0F * uniform();
    }
    (void)unlink(path);
    md_similar_options options = {
        .path = path, .n_dims = DIMS, .max_vectors = n, .exact_below = 1, .n_threads = 2};
    md_similar *s = NULL;
    md_error err = {0};
    md_status status = md_similar_open(&options, &s, &err);
    status = status == MD_OK ? build(s, n, &err) : status;
    status = status == MD_OK ? measure(s, &err) : status;
    double begin = now_s();
    status = status == MD_OK ? md_similar_save(s, &err) : status;
    double saved = now_s();
    md_similar_destroy(s);
    s = NULL;
    status = status == MD_OK ? md_similar_open(&options, &s, &err) : status;
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
    } else {
        printf("graph saved in %.1f s, store opened in %.1f s (graph built again: %s)\n",
               saved - begin, now_s() - saved,
               md_similar_opened(s)->graph_built ? "yes" : "no");
    }
    md_similar_destroy(s);
    (void)unlink(path);
    const char *const others[] = {".graph", ".graph.id"};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(file, sizeof file, "%s%s", path, others[i]);
        (void)unlink(file);
    }
    return status != MD_OK;
}
