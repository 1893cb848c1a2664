/* One recommendation among 100,000 patients x 200 actions: median and 99th percentile. Wanted:
 * p99 below 10 ms. */

#include "inference/recommend/recommend.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    N_USERS = 100000,
    N_ITEMS = 200,
    N_FEATURES = 64,
    N_RUNS = 1000
};

static uint64_t seed = 3;

static double uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static md_status measure(unsigned per_user, md_error *err)
{
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = NULL;
    MD_AUTO(md_recommender_destroyp) md_recommender *recommender = NULL;
    md_ratings_options shape = {N_ITEMS, 0.0F, 1.0F, N_FEATURES};
    md_recommend_options options = md_recommend_defaults(&shape);
    MD_TRY(md_ratings_create(&shape, &ratings, err));
    for (unsigned u = 0; u < N_USERS; u++) {
        float features[N_FEATURES];
        uint32_t user = 0;
        for (int j = 0; j < N_FEATURES; j++) {
            features[j] = uniform() < 0.2 ? (float)uniform() : 0.0F;
        }
        MD_TRY(md_ratings_add_user(ratings, features, &user, err));
        for (unsigned i = 0; i < per_user; i++) {
            /* some actions are far commoner than others */
            uint32_t item = (uint32_t)(N_ITEMS * uniform() * uniform());
            MD_TRY(md_ratings_set(ratings, user, item, uniform() < 0.6 ? 1.0F : 0.0F, err));
        }
    }
    MD_TRY(md_recommender_create(ratings, &options, &recommender, err));
    static double ms[N_RUNS];
    for (int i = 0; i < N_RUNS; i++) {
        md_recommendation items[N_ITEMS];
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        MD_TRY(md_recommend(recommender, (uint32_t)(uniform() * N_USERS), items, err));
        clock_gettime(CLOCK_MONOTONIC, &b);
        ms[i] = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    }
    qsort(ms, N_RUNS, sizeof *ms, ascending);
    printf(
        "%d patients x %d actions, %u ratings and %d features each: p50 %.2f ms, p99 %.2f ms; "
        "%.0f MiB\n",
        N_USERS, N_ITEMS, per_user, N_FEATURES, ms[N_RUNS / 2], ms[N_RUNS * 99 / 100],
        (double)md_ratings_bytes(ratings) / (1 << 20));
    return MD_OK;
}

int main(void)
{
    md_error err = {0};
    const unsigned per_user[] = {2, 5, 20};
    for (int i = 0; i < 3; i++) {
        if (measure(per_user[i], &err) != MD_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
    }
    return 0;
}
