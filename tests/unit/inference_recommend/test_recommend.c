/* The recommender against a plain double loop over all users, its bounds, and a cohort whose
 * structure is known: there it must find what was held back more often than popularity and
 * chance do. */

#include "inference/recommend/recommend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

enum {
    N_USERS = 150,
    N_ITEMS = 12,
    N_FEATURES = 11
};

static uint64_t seed = 5;

static double uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double given[N_USERS][N_ITEMS], about[N_USERS][N_FEATURES]; /* NAN: not rated */

static md_ratings *some_ratings(void)
{
    md_ratings *ratings = NULL;
    md_ratings_options shape = {N_ITEMS, 1.0F, 5.0F, N_FEATURES};
    assert_int_equal(md_ratings_create(&shape, &ratings, NULL), MD_OK);
    for (uint32_t u = 0; u < N_USERS; u++) {
        float features[N_FEATURES];
        for (int j = 0; j < N_FEATURES; j++) {
            features[j] = uniform() < 0.5 ? 0.0F : (float)(uniform() - 0.3);
            about[u][j] = (double)features[j];
        }
        uint32_t user = 0;
        assert_int_equal(md_ratings_add_user(ratings, features, &user, NULL), MD_OK);
        assert_int_equal(user, u);
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            given[u][i] = NAN;
            if (uniform() < 0.4) {
                given[u][i] = 1.0 + floor(5.0 * uniform());
                assert_int_equal(md_ratings_set(ratings, u, i, (float)given[u][i], NULL),
                                 MD_OK);
            }
        }
    }
    return ratings;
}

static double mean_of(int u)
{
    double sum = 0.0, n = 0.0;
    for (int i = 0; i < N_ITEMS; i++) {
        if (!isnan(given[u][i])) {
            sum += given[u][i];
            n++;
        }
    }
    return n > 0.0 ? sum / n : 3.0;
}

/* The formulas of the header, written down once more without any of its shortcuts. */
static double likeness(int u, int v, const md_recommend_options *o)
{
    double n = 0.0, mu = 0.0, mv = 0.0, top = 0.0, uu = 0.0, vv = 0.0;
    for (int i = 0; i < N_ITEMS; i++) {
        if (!isnan(given[u][i]) && !isnan(given[v][i])) {
            mu += given[u][i];
            mv += given[v][i];
            n++;
        }
    }
    if (n <= 0.0) {
        return 0.0;
    }
    bool pearson = o->likeness == MD_LIKENESS_PEARSON;
    mu = pearson ? mu / n : mean_of(u);
    mv = pearson ? mv / n : mean_of(v);
    for (int i = 0; i < N_ITEMS; i++) {
        bool both = !isnan(given[u][i]) && !isnan(given[v][i]);
        top += both ? (given[u][i] - mu) * (given[v][i] - mv) : 0.0;
        uu += !isnan(given[u][i]) && (both || !pearson) ? pow(given[u][i] - mu, 2) : 0.0;
        vv += !isnan(given[v][i]) && (both || !pearson) ? pow(given[v][i] - mv, 2) : 0.0;
    }
    double s = uu > 1e-9 && vv > 1e-9 ? top / sqrt(uu * vv) : 0.0;
    return fabs(s) < 1e-9 ? 0.0 : s * n / (n + o->shrinkage);
}

static double content(int u, int v)
{
    double top = 0.0, uu = 0.0, vv = 0.0;
    for (int j = 0; j < N_FEATURES; j++) {
        top += about[u][j] * about[v][j];
        uu += about[u][j] * about[u][j];
        vv += about[v][j] * about[v][j];
    }
    return uu > 0.0 && vv > 0.0 ? top / sqrt(uu * vv) : 0.0;
}

/* Sum over the k nearest that rated the item; `*ret_n` of them are alike. */
static double nearest_mean(int u, int item, const md_recommend_options *o, bool by_content,
                           uint32_t *ret_n)
{
    double s[N_USERS], top = 0.0, bottom = 0.0;
    for (int v = 0; v < N_USERS; v++) {
        s[v] = 0.0;
        if (v != u && !isnan(given[v][item])) {
            s[v] = by_content ? content(u, v) : likeness(u, v, o);
            s[v] = by_content && s[v] < o->min_likeness ? 0.0 : s[v];
        }
    }
    *ret_n = 0;
    for (uint32_t n = 0; n < o->n_neighbours; n++) {
        int best = 0;
        for (int v = 1; v < N_USERS; v++) {
            /* float, as in the module: what is equal there is equal here */
            best = fabsf((float)s[v]) > fabsf((float)s[best]) ? v : best;
        }
        if (!(fabs(s[best]) > 0.0)) {
            break;
        }
        top += s[best] * (given[best][item] - (by_content ? 0.0 : mean_of(best)));
        bottom += fabs(s[best]);
        *ret_n += s[best] > 0.0;
        s[best] = 0.0;
    }
    return bottom > 0.0 ? top / bottom : 0.0;
}

static double expected(int u, int item, const md_recommend_options *o,
                       md_recommend_basis *basis)
{
    uint32_t n_rating = 0, n_content = 0;
    double p = mean_of(u) + nearest_mean(u, item, o, false, &n_rating);
    double q = nearest_mean(u, item, o, true, &n_content), n_own = 0.0;
    for (int i = 0; i < N_ITEMS; i++) {
        n_own += !isnan(given[u][i]);
    }
    bool a = n_rating >= o->min_support, b = n_content >= o->min_support;
    *basis = a && b ? MD_BASIS_HYBRID
             : a    ? MD_BASIS_COLLABORATIVE
             : b    ? MD_BASIS_CONTENT
                    : MD_BASIS_NONE;
    double score = a && b ? (n_own * p + o->prior * q) / (n_own + o->prior)
                   : a    ? p
                   : b    ? q
                          : 0.0;
    return *basis == MD_BASIS_NONE ? 0.0 : fmax(1.0, fmin(5.0, score));
}

static void compare_all(const md_recommend_options *options, md_recommend_basis more_of)
{
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = some_ratings();
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    assert_int_equal(md_recommender_create(ratings, options, &r, NULL), MD_OK);
    unsigned n_of_basis[4] = {0};
    for (int u = 0; u < N_USERS; u++) {
        md_recommendation items[N_ITEMS];
        assert_int_equal(md_recommend(r, (uint32_t)u, items, NULL), MD_OK);
        for (int i = 0; i < N_ITEMS; i++) {
            md_recommend_basis basis = MD_BASIS_NONE;
            double score = expected(u, (int)items[i].item, options, &basis);
            n_of_basis[basis]++;
            assert_int_equal(items[i].basis, basis);
            assert_near(items[i].score, score, 2e-5);
            assert_int_equal(items[i].rated, !isnan(given[u][items[i].item]));
            if (i > 0 && basis != MD_BASIS_NONE) {
                assert_true(items[i - 1].score >= items[i].score);
            }
            if (basis != MD_BASIS_NONE) {
                assert_true(items[i].n_similar >= options->min_support);
                assert_true(items[i].n_accepted <= items[i].n_similar);
            }
        }
    }
    print_message("abstains %u, collaborative %u, content %u, hybrid %u\n", n_of_basis[0],
                  n_of_basis[1], n_of_basis[2], n_of_basis[3]);
    assert_true(n_of_basis[more_of] > 100);
}

static void test_reference(void **state)
{
    (void)state;
    md_recommend_options options = {.n_neighbours = 10,
                                    .shrinkage = 3.0,
                                    .prior = 4.0,
                                    .min_likeness = 0.2,
                                    .min_support = 4,
                                    .accepted_from = 4.0};
    compare_all(&options, MD_BASIS_HYBRID);
    options.likeness = MD_LIKENESS_PEARSON;
    compare_all(&options, MD_BASIS_HYBRID);
    options.min_support = 10;
    options.min_likeness = 0.8;
    compare_all(&options, MD_BASIS_NONE);
}

/* Five users of one kind, worked out by hand. */
static void test_by_hand(void **state)
{
    (void)state;
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = NULL;
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    md_ratings_options shape = {3, 0.0F, 1.0F, 2};
    assert_int_equal(md_ratings_create(&shape, &ratings, NULL), MD_OK);
    float features[2] = {3.0F, 4.0F};
    uint32_t user = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(md_ratings_add_user(ratings, features, &user, NULL), MD_OK);
    }
    assert_int_equal(md_ratings_add_user(ratings, NULL, &user, NULL), MD_OK);
    /* user 0: 1, 0, -; users 1 and 2: 1, 0, 1 (mean 2/3); user 3: nothing at all */
    const float rated[3][3] = {{1, 0, -1}, {1, 0, 1}, {1, 0, 1}};
    for (uint32_t u = 0; u < 3; u++) {
        for (uint32_t i = 0; i < 3; i++) {
            if (rated[u][i] >= 0.0F) {
                assert_int_equal(md_ratings_set(ratings, u, i, rated[u][i], NULL), MD_OK);
            }
        }
    }
    md_recommend_options options = {.n_neighbours = 5,
                                    .prior = 2.0,
                                    .min_likeness = 0.5,
                                    .min_support = 2,
                                    .accepted_from = 0.5};
    assert_int_equal(md_recommender_create(ratings, &options, &r, NULL), MD_OK);
    md_recommendation items[3];
    assert_int_equal(md_recommend(r, 0, items, NULL), MD_OK);
    /* by ratings 1/2 + 1/3 = 5/6, by features 1; together (2 * 5/6 + 2 * 1) / 4. Item 0 was
     * accepted by both, so it has the same score; the smaller number comes first. */
    assert_int_equal(items[0].item, 0);
    assert_int_equal(items[1].item, 2);
    assert_near(items[1].score, 11.0 / 12.0, 1e-6);
    assert_int_equal(items[1].basis, MD_BASIS_HYBRID);
    assert_int_equal(items[1].n_similar, 2);
    assert_int_equal(items[1].n_accepted, 2);
    assert_int_equal(items[1].n_reasons, 2);
    assert_int_equal(items[1].reason[0], 1);
    assert_near(items[1].reason_weight[0], 0.64, 1e-6);
    assert_near(items[1].reason_weight[1], 0.36, 1e-6);
    assert_int_equal(items[2].n_accepted, 0);
    /* nobody is like user 3 */
    assert_int_equal(md_recommend(r, 3, items, NULL), MD_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(items[i].basis, MD_BASIS_NONE);
        assert_int_equal(items[i].item, i);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    md_ratings *ratings = NULL;
    const md_ratings_options bad[] = {
        {0, 0, 1, 0},        {MD_RATINGS_MAX_ITEMS + 1, 0, 1, 0},
        {3, 1, 1, 0},        {3, NAN, 1, 0},
        {3, 0, INFINITY, 0}, {3, 0, 1, MD_RATINGS_MAX_FEATURES + 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(md_ratings_create(&bad[i], &ratings, NULL), MD_INVALID_ARG);
    }
    md_ratings_options shape = {2, 0.0F, 1.0F, 2};
    assert_int_equal(md_ratings_create(&shape, &ratings, NULL), MD_OK);
    uint32_t user = 9;
    float features[2] = {1.0F, NAN};
    md_error err = {0};
    assert_int_equal(md_ratings_add_user(ratings, features, &user, &err), MD_INVALID_ARG);
    assert_int_equal(user, 9);
    assert_int_equal(md_ratings_add_user(ratings, NULL, &user, NULL), MD_OK);
    const float outside[] = {-0.01F, 1.01F, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(md_ratings_set(ratings, 0, 0, outside[i], &err), MD_INVALID_ARG);
        assert_non_null(strstr(err.msg, "outside the scale 0..1"));
    }
    assert_int_equal(md_ratings_set(ratings, 1, 0, 1.0F, NULL), MD_INVALID_ARG);
    assert_int_equal(md_ratings_set(ratings, 0, 2, 1.0F, NULL), MD_INVALID_ARG);
    assert_near(md_ratings_mean(ratings, 0), 0.5, 1e-9);
    assert_int_equal(md_ratings_set(ratings, 0, 1, 1.0F, NULL), MD_OK);
    assert_int_equal(md_ratings_set(ratings, 0, 1, 0.25F, NULL), MD_OK); /* rated again */
    uint32_t n = 0;
    assert_near(md_ratings_of_item(ratings, 1, &n)[0].value, 0.25, 1e-9);
    assert_int_equal(n, 1);
    assert_near(md_ratings_mean(ratings, 0), 0.25, 1e-9);

    md_recommend_options good = md_recommend_defaults(&shape), o = good;
    md_recommender *r = NULL;
    o.n_neighbours = 0;
    assert_int_equal(md_recommender_create(ratings, &o, &r, NULL), MD_INVALID_ARG);
    o = good;
    o.min_support = o.n_neighbours + 1;
    assert_int_equal(md_recommender_create(ratings, &o, &r, NULL), MD_INVALID_ARG);
    o = good;
    o.shrinkage = NAN;
    assert_int_equal(md_recommender_create(ratings, &o, &r, NULL), MD_INVALID_ARG);
    assert_int_equal(md_recommender_create(ratings, &good, &r, NULL), MD_OK);
    md_recommendation items[2];
    assert_int_equal(md_recommend(r, 1, items, NULL), MD_INVALID_ARG);
    assert_int_equal(md_recommend(r, 0, items, NULL), MD_OK);
    md_recommender_destroy(r);
    md_ratings_destroy(ratings);
}

/* One who is not among the users is served as if he were; one who is, with other features. */
static void test_guest(void **state)
{
    (void)state;
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = some_ratings();
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    md_recommend_options options = md_recommend_defaults(md_ratings_shape(ratings));
    assert_int_equal(md_recommender_create(ratings, &options, &r, NULL), MD_OK);
    float features[N_FEATURES];
    md_recommendation as_guest[N_ITEMS], as_user[N_ITEMS];
    for (uint32_t u = 0; u < 20; u++) {
        for (int j = 0; j < N_FEATURES; j++) {
            features[j] = (float)about[u][j];
        }
        md_recommend_for guest = {features, true, u};
        assert_int_equal(md_recommend_guest(r, &guest, as_guest, NULL), MD_OK);
        assert_int_equal(md_recommend(r, u, as_user, NULL), MD_OK);
        assert_memory_equal(as_guest, as_user, sizeof as_user);
    }
    for (int j = 0; j < N_FEATURES; j++) {
        features[j] = j % 2 == 0 ? 1.5F : 0.0F;
    }
    md_recommend_for guest = {.features = features};
    assert_int_equal(md_recommend_guest(r, &guest, as_guest, NULL), MD_OK);
    assert_int_equal(md_ratings_n_users(ratings), N_USERS);
    uint32_t user = 0;
    assert_int_equal(md_ratings_add_user(ratings, features, &user, NULL), MD_OK);
    assert_int_equal(md_recommend(r, user, as_user, NULL), MD_OK);
    assert_memory_equal(as_guest, as_user, sizeof as_user);
    assert_int_equal(as_guest[0].basis, MD_BASIS_CONTENT);
    /* nothing known: it abstains from all */
    guest = (md_recommend_for){0};
    assert_int_equal(md_recommend_guest(r, &guest, as_guest, NULL), MD_OK);
    for (int i = 0; i < N_ITEMS; i++) {
        assert_int_equal(as_guest[i].basis, MD_BASIS_NONE);
    }
    features[3] = NAN;
    guest.features = features;
    assert_int_equal(md_recommend_guest(r, &guest, as_guest, NULL), MD_INVALID_ARG);
    guest = (md_recommend_for){NULL, true, 5000};
    assert_int_equal(md_recommend_guest(r, &guest, as_guest, NULL), MD_INVALID_ARG);
}

/* Who is unlike the user moves the score and is not told as similar. */
static void test_unlike(void **state)
{
    (void)state;
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = NULL;
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    md_ratings_options shape = {3, 0.0F, 1.0F, 0};
    assert_int_equal(md_ratings_create(&shape, &ratings, NULL), MD_OK);
    /* the user: 1, 0; three like him, who declined item 2; three unlike him, who accepted it */
    for (uint32_t u = 0; u < 7; u++) {
        uint32_t user = 0;
        bool is_like = u < 4;
        assert_int_equal(md_ratings_add_user(ratings, NULL, &user, NULL), MD_OK);
        assert_int_equal(md_ratings_set(ratings, u, 0, is_like ? 1 : 0, NULL), MD_OK);
        assert_int_equal(md_ratings_set(ratings, u, 1, is_like ? 0 : 1, NULL), MD_OK);
        if (u > 0) {
            assert_int_equal(md_ratings_set(ratings, u, 2, is_like ? 0 : 1, NULL), MD_OK);
        }
    }
    md_recommend_options options = md_recommend_defaults(&shape);
    options.min_support = 3;
    assert_int_equal(md_recommender_create(ratings, &options, &r, NULL), MD_OK);
    md_recommendation items[3];
    assert_int_equal(md_recommend(r, 0, items, NULL), MD_OK);
    for (int i = 0; i < 3; i++) {
        if (items[i].item == 2) {
            assert_int_equal(items[i].basis, MD_BASIS_COLLABORATIVE);
            assert_int_equal(items[i].n_similar, 3);
            assert_int_equal(items[i].n_accepted, 0);
            assert_near(items[i].score, 0.5 - 1.0 / 3.0, 1e-6);
        }
    }
    md_recommender_destroy(MD_STEAL(r));
    options.min_support = 4;
    assert_int_equal(md_recommender_create(ratings, &options, &r, NULL), MD_OK);
    assert_int_equal(md_recommend(r, 0, items, NULL), MD_OK);
    assert_int_equal(items[0].basis, MD_BASIS_NONE);
}

static md_status build(md_recommendation *items)
{
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = NULL;
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    md_ratings_options shape = {2, 0.0F, 1.0F, 1};
    md_recommend_options options = md_recommend_defaults(&shape);
    MD_TRY(md_ratings_create(&shape, &ratings, NULL));
    float feature = 1.0F;
    for (int i = 0; i < 70; i++) {
        uint32_t user = 0;
        MD_TRY(md_ratings_add_user(ratings, &feature, &user, NULL));
        MD_TRY(md_ratings_set(ratings, user, 0, 1.0F, NULL));
    }
    MD_TRY(md_recommender_create(ratings, &options, &r, NULL));
    return md_recommend(r, 0, items, NULL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_recommendation items[2];
    size_t nth = 0;
    md_status status = MD_NOMEM;
    while (status != MD_OK) {
        md_memory_fail_at(++nth);
        status = build(items);
        assert_true(status == MD_OK || status == MD_NOMEM);
    }
    md_memory_fail_at(0);
    assert_true(nth > 70);
}

/* Patients of four kinds; each kind accepts its own three of twelve actions and seldom others,
 * and some accept much or little whatever it is. The features tell the kind, with noise. */
enum {
    COHORT = 1200,
    KINDS = 4,
    TESTED = 300,
    AT = 3
};

typedef struct figures {
    double hit, ndcg;
} figures;

/* Of one ranking, whose best AT items are proposed: was the held-back accepted item among them,
 * and how far up (NDCG with one relevant item: 1 / log2(place + 1), Jarvelin & Kekalainen
 * 2002). */
static figures judge(const uint32_t *ranked, uint32_t held)
{
    for (int place = 0; place < AT; place++) {
        if (ranked[place] == held) {
            return (figures){1.0, 1.0 / log2(place + 2.0)};
        }
    }
    return (figures){0};
}

/* Mean and 95% interval by the normal approximation of paired differences. */
static void interval(const double *d, int n, double *ret_mean, double *ret_low)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) {
        sum += d[i];
        squares += d[i] * d[i];
    }
    double mean = sum / n, sd = sqrt((squares - sum * mean) / (n - 1));
    *ret_mean = mean;
    *ret_low = mean - 1.96 * sd / sqrt(n);
}

/* `share` of a tested user's other ratings are known; 0: a new patient. */
static void judge_cohort(double share, const char *name)
{
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = NULL;
    MD_AUTO(md_recommender_destroyp) md_recommender *r = NULL;
    md_ratings_options shape = {N_ITEMS, 0.0F, 1.0F, KINDS + 2};
    md_recommend_options options = md_recommend_defaults(&shape);
    assert_int_equal(md_ratings_create(&shape, &ratings, NULL), MD_OK);
    uint32_t held[COHORT];
    bool rated[COHORT][N_ITEMS] = {0};
    double accepted[N_ITEMS] = {0};
    seed = 77;
    for (uint32_t u = 0; u < COHORT; u++) {
        uint32_t kind = (uint32_t)(uniform() * KINDS), user = 0;
        float features[KINDS + 2];
        for (uint32_t j = 0; j < KINDS + 2; j++) {
            features[j] = (float)(uniform() + (j == kind ? 0.7 : 0.0));
        }
        assert_int_equal(md_ratings_add_user(ratings, features, &user, NULL), MD_OK);
        double lenient = 0.3 * uniform() - 0.15;
        bool yes[N_ITEMS];
        uint32_t n_yes = 0;
        held[u] = N_ITEMS;
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            yes[i] = uniform() < (i / (N_ITEMS / KINDS) == kind ? 0.8 : 0.15) + lenient;
            if (u < TESTED && yes[i] && uniform() * ++n_yes < 1.0) {
                held[u] = i; /* one of the accepted, each as likely */
            }
        }
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            if (i != held[u] && uniform() < (u < TESTED ? share : 0.6)) {
                rated[u][i] = true;
                accepted[i] += u >= TESTED && yes[i];
                assert_int_equal(md_ratings_set(ratings, u, i, yes[i], NULL), MD_OK);
            }
        }
    }
    assert_int_equal(md_recommender_create(ratings, &options, &r, NULL), MD_OK);
    static double by_popular[2][TESTED], by_chance[2][TESTED];
    double hits = 0.0;
    int n = 0;
    for (uint32_t u = 0; u < TESTED; u++) {
        md_recommendation items[N_ITEMS];
        assert_int_equal(md_recommend(r, u, items, NULL), MD_OK);
        uint32_t ours[N_ITEMS + AT], popular[N_ITEMS + AT], chance[N_ITEMS + AT], left = 0;
        memset(ours, 0xff, sizeof ours);
        memset(popular, 0xff, sizeof popular);
        memset(chance, 0xff, sizeof chance);
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            if (!items[i].rated && items[i].basis != MD_BASIS_NONE) {
                ours[left++] = items[i].item;
            }
        }
        left = 0;
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            if (rated[u][i]) {
                continue;
            }
            uint32_t at = left++;
            while (at > 0 && accepted[popular[at - 1]] < accepted[i]) {
                popular[at] = popular[at - 1];
                at--;
            }
            popular[at] = i;
            chance[left - 1] = i;
        }
        for (uint32_t i = 0; i < left; i++) {
            uint32_t j = i + (uint32_t)(uniform() * (left - i)), swapped = chance[i];
            chance[i] = chance[j];
            chance[j] = swapped;
        }
        if (held[u] == N_ITEMS) {
            continue;
        }
        figures a = judge(ours, held[u]), b = judge(popular, held[u]),
                c = judge(chance, held[u]);
        by_popular[0][n] = a.hit - b.hit;
        by_popular[1][n] = a.ndcg - b.ndcg;
        by_chance[0][n] = a.hit - c.hit;
        by_chance[1][n] = a.ndcg - c.ndcg;
        hits += a.hit;
        n++;
    }
    assert_true(n > TESTED / 2);
    for (int k = 0; k < 2; k++) {
        double mean = 0.0, low = 0.0, mean_chance = 0.0, low_chance = 0.0;
        interval(by_popular[k], n, &mean, &low);
        interval(by_chance[k], n, &mean_chance, &low_chance);
        print_message(
            "%s: %s@%d above popularity %.3f (95%%: from %.3f), above chance %.3f (from "
            "%.3f); hit rate %.3f, n %d\n",
            name, k == 0 ? "hit rate" : "NDCG", AT, mean, low, mean_chance, low_chance,
            hits / n, n);
        assert_true(low > 0.0);
        assert_true(low_chance > 0.0);
    }
}

static void test_cohort(void **state)
{
    (void)state;
    judge_cohort(0.6, "known patients");
    judge_cohort(0.2, "few ratings");
    judge_cohort(0.0, "new patients");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_bounds),    cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_guest),     cmocka_unit_test(test_unlike),
        cmocka_unit_test(test_cohort),
    };
    return cmocka_run_group_tests_name("recommend", tests, NULL, NULL);
}
