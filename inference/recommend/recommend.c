#include "inference/recommend/recommend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    NEAREST_OF_ALL = 2000
};
#define NOBODY UINT32_MAX

/* Sums over what u and v have both rated, of u's ratings around his mean and v's as they are.
 * Small, because they are filled in random order. */
typedef struct overlap {
    double uv, u;
    uint32_t n;
} overlap;

/* What Pearson needs besides. */
typedef struct squares {
    double v, uu, vv;
} squares;

typedef struct neighbour {
    uint32_t user;
    float likeness, value;
} neighbour;

/* Who is to be served; borrowed. */
typedef struct subject {
    uint32_t user; /* his number, NOBODY for one who is not among them */
    const md_rating *ratings;
    uint32_t n_ratings;
    double mean, length;
    const float *features; /* scaled to length 1; NULL: none */
} subject;

struct md_recommender {
    const md_ratings *ratings; /* borrowed */
    md_recommend_options options;
    uint32_t capacity; /* users that the arrays hold */
    overlap *overlaps; /* cleared between calls */
    squares *squares;  /* the same; NULL for the cosine */
    float *likeness;   /* by ratings; 0 for who shares none */
    double *mean;      /* of the ratings of those who share one */
    float *content;    /* by features */
    uint32_t *touched, n_touched;
    neighbour *all;   /* [capacity]: candidates for the nearest of all */
    neighbour *near;  /* [n_items][2][n_neighbours]: by ratings, by features; the best first */
    float *sums;      /* [n_features] */
    float *guest;     /* [n_features]: the features of a guest */
    uint32_t *n_near; /* [n_items][2] */
};

md_recommend_options md_recommend_defaults(const md_ratings_options *shape)
{
    return (md_recommend_options){
        .likeness = MD_LIKENESS_COSINE,
        .n_neighbours = 40,
        .shrinkage = 10.0,
        .prior = 5.0,
        .min_likeness = 0.3,
        .min_support = 5,
        .accepted_from = 0.5 * ((double)shape->low + (double)shape->high),
    };
}

md_status md_recommender_create(const md_ratings *ratings, const md_recommend_options *options,
                                md_recommender **ret_recommender, md_error *err)
{
    if (options->n_neighbours == 0 || options->n_neighbours > MD_RECOMMEND_MAX_NEIGHBOURS ||
        options->min_support == 0 || options->min_support > options->n_neighbours) {
        return md_fail(err, MD_INVALID_ARG, "%u neighbours with support %u: not in 1..%d",
                       options->n_neighbours, options->min_support,
                       MD_RECOMMEND_MAX_NEIGHBOURS);
    }
    if (!(options->shrinkage >= 0.0 && options->shrinkage < 1e9) ||
        !(options->prior >= 0.0 && options->prior < 1e9) ||
        !(options->min_likeness >= 0.0 && options->min_likeness <= 1.0) ||
        !isfinite(options->accepted_from)) {
        return md_fail(err, MD_INVALID_ARG,
                       "shrinkage, prior, least likeness or acceptance out of range");
    }
    MD_AUTO(md_recommender_destroyp) md_recommender *r = md_calloc(1, sizeof *r);
    if (r == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a recommender");
    }
    r->ratings = ratings;
    r->options = *options;
    size_t n_lists = (size_t)2 * md_ratings_shape(ratings)->n_items;
    r->near = md_calloc(n_lists * options->n_neighbours, sizeof *r->near);
    r->n_near = md_calloc(n_lists, sizeof *r->n_near);
    r->sums = md_calloc((size_t)md_ratings_shape(ratings)->n_features + 1, sizeof *r->sums);
    r->guest = md_calloc((size_t)md_ratings_shape(ratings)->n_features + 1, sizeof *r->guest);
    if (r->near == NULL || r->n_near == NULL || r->sums == NULL || r->guest == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a recommender");
    }
    *ret_recommender = MD_STEAL(r);
    return MD_OK;
}

static void release_users(md_recommender *r)
{
    md_free(r->overlaps);
    md_free(r->squares);
    md_free(r->likeness);
    md_free(r->content);
    md_free(r->touched);
    md_free(r->all);
    r->overlaps = NULL;
    r->squares = NULL;
    r->likeness = r->content = NULL;
    r->touched = NULL;
    r->all = NULL;
    r->capacity = 0;
}

void md_recommender_destroy(md_recommender *r)
{
    if (r == NULL) {
        return;
    }
    release_users(r);
    md_free(r->near);
    md_free(r->n_near);
    md_free(r->sums);
    md_free(r->guest);
    md_free(r);
}

/* Have arrays for all users, all clear. */
static md_status make_room(md_recommender *r, md_error *err)
{
    uint32_t n = md_ratings_n_users(r->ratings);
    if (n <= r->capacity) {
        return MD_OK;
    }
    release_users(r);
    uint32_t capacity = n + n / 4 + 16;
    r->overlaps = md_calloc(capacity, sizeof *r->overlaps);
    bool pearson = r->options.likeness == MD_LIKENESS_PEARSON;
    r->squares = pearson ? md_calloc(capacity, sizeof *r->squares) : NULL;
    r->likeness = md_calloc(capacity, sizeof *r->likeness);
    r->all = md_calloc(capacity, sizeof *r->all);
    r->content = md_calloc(capacity, sizeof *r->content);
    r->touched = md_calloc(capacity, sizeof *r->touched);
    if (r->overlaps == NULL || (pearson && r->squares == NULL) || r->likeness == NULL ||
        r->all == NULL || r->content == NULL || r->touched == NULL) {
        release_users(r);
        return md_fail(err, MD_NOMEM, "no memory to compare %u users", n);
    }
    r->capacity = capacity;
    return MD_OK;
}

/* Sums with everybody who rated one of the subject's items. */
static void overlap_with_all(md_recommender *r, const subject *s)
{
    for (uint32_t i = 0; i < s->n_ratings; i++) {
        double ru = (double)s->ratings[i].value - s->mean;
        uint32_t n = 0;
        const md_rating *theirs = md_ratings_of_item(r->ratings, s->ratings[i].item, &n);
        for (uint32_t k = 0; k < n; k++) {
            overlap *o = &r->overlaps[theirs[k].item];
            if (o->n++ == 0) {
                r->touched[r->n_touched++] = theirs[k].item;
            }
            o->u += ru;
            o->uv += ru * (double)theirs[k].value;
        }
        for (uint32_t k = 0; r->squares != NULL && k < n; k++) {
            squares *q = &r->squares[theirs[k].item];
            double rv = theirs[k].value;
            q->v += rv;
            q->uu += ru * ru;
            q->vv += rv * rv;
        }
    }
}

/* The likeness of the header. Expanding the products loses little, since the sums are of a few
 * numbers of one scale; what is left of a difference that should be 0 is taken for 0. */
static double likeness_of(const md_recommender *r, const subject *u, uint32_t v)
{
    const overlap *o = &r->overlaps[v];
    double n = o->n, top = 0.0, bottom = 0.0;
    if (r->squares != NULL) {
        const squares *q = &r->squares[v];
        double squares_u = q->uu - o->u * o->u / n, squares_v = q->vv - q->v * q->v / n;
        bool varied = squares_u > 1e-9 * q->uu && squares_v > 1e-9 * q->vv;
        top = o->uv - o->u * q->v / n;
        bottom = varied ? sqrt(squares_u * squares_v) : 0.0;
    } else {
        top = o->uv - md_ratings_mean(r->ratings, v) * o->u;
        bottom = u->length * md_ratings_length(r->ratings, v);
    }
    if (bottom <= 0.0) {
        return 0.0;
    }
    double s = fmax(-1.0, fmin(1.0, top / bottom));
    return fabs(s) < 1e-9 ? 0.0 : s * n / (n + r->options.shrinkage);
}

/* Fill likeness, and clear the sums again. */
static void compare_ratings(md_recommender *r, const subject *s)
{
    r->n_touched = 0;
    overlap_with_all(r, s);
    for (uint32_t i = 0; i < r->n_touched; i++) {
        uint32_t v = r->touched[i];
        r->likeness[v] = (float)(v == s->user ? 0.0 : likeness_of(r, s, v));
        r->overlaps[v] = (overlap){0};
        if (r->squares != NULL) {
            r->squares[v] = (squares){0};
        }
    }
}

/* The dot product of both rows; eight sums so that it can be vectorised without reordering. */
static float dot(const float *a, const float *b, uint32_t n)
{
    float sums[8] = {0};
    uint32_t j = 0;
    for (; j + 8 <= n; j += 8) {
        for (uint32_t k = 0; k < 8; k++) {
            sums[k] += a[j + k] * b[j + k];
        }
    }
    float rest = 0.0F;
    for (; j < n; j++) {
        rest += a[j] * b[j];
    }
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest;
}

static void compare_features(md_recommender *r, const subject *s)
{
    uint32_t n_features = md_ratings_shape(r->ratings)->n_features;
    uint32_t n_users = md_ratings_n_users(r->ratings);
    for (uint32_t v = 0; v < n_users; v++) {
        float c = s->features != NULL && v != s->user
                      ? dot(s->features, md_ratings_features(r->ratings, v), n_features)
                      : 0.0F;
        r->content[v] = c > 0.0F && (double)c >= r->options.min_likeness ? c : 0.0F;
    }
}

/* Whether a is a worse neighbour than b. */
static bool worse(const neighbour *a, const neighbour *b)
{
    float x = fabsf(a->likeness), y = fabsf(b->likeness);
    return x < y || (x <= y && a->user > b->user);
}

static int best_first(const void *a, const void *b)
{
    return worse(a, b) ? 1 : -1;
}

/* Bring the `n_best` best of n to the front, in any order (Hoare, CACM 4 (1961) 321). */
static void select_best(neighbour *a, uint32_t n, uint32_t n_best)
{
    uint32_t low = 0, high = n;
    while (high - low > 1 && n_best > low && n_best < high) {
        neighbour pivot = a[low + (high - low) / 2];
        uint32_t better = low, i = low, bad = high;
        while (i < bad) { /* better than the pivot | the pivot | worse */
            bool is_worse = worse(&a[i], &pivot), is_better = worse(&pivot, &a[i]);
            neighbour swapped = a[i];
            if (is_better) {
                a[i++] = a[better];
                a[better++] = swapped;
            } else if (is_worse) {
                a[i] = a[--bad];
                a[bad] = swapped;
            } else {
                i++;
            }
        }
        if (n_best <= better) {
            high = better;
        } else if (n_best >= bad) {
            low = bad;
        } else {
            return;
        }
    }
}

/* Keep the best of all who rated the item. */
static uint32_t nearest_of_item(md_recommender *r, const float *likeness, uint32_t item,
                                neighbour *ret_near)
{
    uint32_t n_rated = 0, n = 0, k = r->options.n_neighbours;
    const md_rating *rated = md_ratings_of_item(r->ratings, item, &n_rated);
    for (uint32_t i = 0; i < n_rated; i++) {
        float s = likeness[rated[i].item];
        if (s > 0.0F || s < 0.0F) {
            r->all[n++] = (neighbour){rated[i].item, s, rated[i].value};
        }
    }
    uint32_t n_best = n < k ? n : k;
    select_best(r->all, n, n_best);
    memcpy(ret_near, r->all, n_best * sizeof *ret_near);
    qsort(ret_near, n_best, sizeof *ret_near, best_first);
    return n_best;
}

/* Find for each item the nearest who rated it: first among those who are the nearest of all,
 * which is enough for what many have rated, then, for the others, among all who rated it.
 * `which` is 0 for ratings, 1 for features. */
static void find_nearest(md_recommender *r, const float *likeness, uint32_t which)
{
    uint32_t n_users = md_ratings_n_users(r->ratings), n = 0, k = r->options.n_neighbours;
    uint32_t n_items = md_ratings_shape(r->ratings)->n_items;
    for (uint32_t v = 0; v < n_users; v++) {
        if (likeness[v] > 0.0F || likeness[v] < 0.0F) {
            r->all[n++] = (neighbour){.user = v, .likeness = likeness[v]};
        }
    }
    uint32_t n_best = n < NEAREST_OF_ALL ? n : NEAREST_OF_ALL;
    select_best(r->all, n, n_best);
    if (n_best > 0) { /* without patients there is no memory either */
        qsort(r->all, n_best, sizeof *r->all, best_first);
    }
    for (uint32_t i = 0; i < n_items; i++) {
        r->n_near[2 * i + which] = 0;
    }
    for (uint32_t b = 0; b < n_best; b++) {
        uint32_t n_ratings = 0;
        const md_rating *rated = md_ratings_of_user(r->ratings, r->all[b].user, &n_ratings);
        for (uint32_t j = 0; j < n_ratings; j++) {
            size_t at = (size_t)2 * rated[j].item + which;
            if (r->n_near[at] < k) {
                neighbour *one = &r->near[at * k + r->n_near[at]++];
                *one = r->all[b];
                one->value = rated[j].value;
            }
        }
    }
    for (uint32_t i = 0; n_best < n && i < n_items; i++) {
        size_t at = (size_t)2 * i + which;
        if (r->n_near[at] < k) {
            r->n_near[at] = nearest_of_item(r, likeness, i, &r->near[at * k]);
        }
    }
}

static double clamp_to_scale(const md_recommender *r, double score)
{
    const md_ratings_options *shape = md_ratings_shape(r->ratings);
    return fmax((double)shape->low, fmin((double)shape->high, score));
}

/* In what the neighbours are like the subject. */
static void find_reasons(md_recommender *r, const subject *s, const neighbour *near, uint32_t n,
                         md_recommendation *item)
{
    const float *mine = s->features;
    uint32_t n_features = mine == NULL ? 0 : md_ratings_shape(r->ratings)->n_features;
    float *sums = r->sums;
    memset(sums, 0, n_features * sizeof *sums);
    for (uint32_t i = 0; i < n; i++) {
        const float *theirs = md_ratings_features(r->ratings, near[i].user);
        for (uint32_t j = 0; j < n_features; j++) {
            sums[j] += theirs[j];
        }
    }
    for (uint32_t j = 0; j < n_features; j++) {
        float weight = mine[j] * sums[j] / (float)n;
        uint32_t at = item->n_reasons;
        while (at > 0 && item->reason_weight[at - 1] < weight) {
            at--;
        }
        if (!(weight > 0.0F) || at == MD_RECOMMEND_MAX_REASONS) {
            continue;
        }
        uint32_t kept =
            item->n_reasons < MD_RECOMMEND_MAX_REASONS ? item->n_reasons : item->n_reasons - 1;
        for (uint32_t i = kept; i > at; i--) {
            item->reason[i] = item->reason[i - 1];
            item->reason_weight[i] = item->reason_weight[i - 1];
        }
        item->reason[at] = j;
        item->reason_weight[at] = weight;
        item->n_reasons = kept + 1;
    }
}

static void score_item(md_recommender *r, const subject *s, md_recommendation *item)
{
    uint32_t k = r->options.n_neighbours;
    size_t at = (size_t)2 * item->item;
    neighbour *by_rating = r->near + at * k, *by_content = by_rating + k;
    uint32_t n_rating = r->n_near[at], n_content = r->n_near[at + 1];
    for (uint32_t i = 0; i < s->n_ratings; i++) {
        item->rated = item->rated || s->ratings[i].item == item->item;
    }
    /* those who are unlike the subject count in the score, but it does not stand on them */
    uint32_t n_alike = 0;
    for (uint32_t i = 0; i < n_rating; i++) {
        n_alike += by_rating[i].likeness > 0.0F;
    }
    bool collaborative = n_alike >= r->options.min_support;
    bool content = n_content >= r->options.min_support;
    if (!collaborative && !content) {
        return;
    }
    double p = 0.0, q = 0.0, weights = 0.0;
    for (uint32_t i = 0; i < n_rating; i++) {
        p += (double)by_rating[i].likeness *
             ((double)by_rating[i].value - md_ratings_mean(r->ratings, by_rating[i].user));
        weights += fabs((double)by_rating[i].likeness);
    }
    p = collaborative ? s->mean + p / weights : 0.0;
    weights = 0.0;
    for (uint32_t i = 0; i < n_content; i++) {
        q += (double)by_content[i].likeness * (double)by_content[i].value;
        weights += (double)by_content[i].likeness;
    }
    q = content ? q / weights : 0.0;
    double own = collaborative ? s->n_ratings : 0.0, prior = content ? r->options.prior : 0.0;
    if (own + prior <= 0.0) {
        prior = 1.0; /* content alone, with a prior of 0 */
    }
    item->score = clamp_to_scale(r, (own * p + prior * q) / (own + prior));
    item->basis = !content || (collaborative && r->options.prior <= 0.0)
                      ? MD_BASIS_COLLABORATIVE
                      : (collaborative ? MD_BASIS_HYBRID : MD_BASIS_CONTENT);

    /* the similar ones behind it, each once */
    neighbour *all = by_rating;
    uint32_t n = 0;
    for (uint32_t i = 0; item->basis != MD_BASIS_CONTENT && i < n_rating; i++) {
        if (by_rating[i].likeness > 0.0F) {
            all[n++] = by_rating[i];
        }
    }
    for (uint32_t i = 0; item->basis != MD_BASIS_COLLABORATIVE && i < n_content; i++) {
        bool twice = false;
        for (uint32_t j = 0; j < n && !twice; j++) {
            twice = all[j].user == by_content[i].user;
        }
        if (!twice) {
            all[n++] = by_content[i]; /* never beyond by_content[i] itself */
        }
    }
    item->n_similar = n;
    for (uint32_t i = 0; i < n; i++) {
        item->n_accepted += (double)all[i].value >= r->options.accepted_from;
    }
    find_reasons(r, s, all, n, item);
}

static int better_first(const void *x, const void *y)
{
    const md_recommendation *a = x, *b = y;
    bool knows_a = a->basis != MD_BASIS_NONE, knows_b = b->basis != MD_BASIS_NONE;
    if (knows_a != knows_b) {
        return knows_a ? -1 : 1;
    }
    if (a->score < b->score || a->score > b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return a->item < b->item ? -1 : a->item > b->item;
}

static md_status serve(md_recommender *r, const subject *s, md_recommendation *ret_items,
                       md_error *err)
{
    uint32_t n_items = md_ratings_shape(r->ratings)->n_items;
    MD_TRY(make_room(r, err));
    compare_ratings(r, s);
    compare_features(r, s);
    find_nearest(r, r->likeness, 0);
    find_nearest(r, r->content, 1);
    for (uint32_t i = 0; i < n_items; i++) {
        ret_items[i] = (md_recommendation){.item = i};
        score_item(r, s, &ret_items[i]);
    }
    for (uint32_t i = 0; i < r->n_touched; i++) {
        r->likeness[r->touched[i]] = 0.0F;
    }
    qsort(ret_items, n_items, sizeof *ret_items, better_first);
    return MD_OK;
}

/* One of the users, with the features on record. */
static subject subject_of(const md_ratings *ratings, uint32_t user)
{
    subject s = {.user = user,
                 .mean = md_ratings_mean(ratings, user),
                 .length = md_ratings_length(ratings, user),
                 .features = md_ratings_features(ratings, user)};
    s.ratings = md_ratings_of_user(ratings, user, &s.n_ratings);
    return s;
}

md_status md_recommend(md_recommender *r, uint32_t user, md_recommendation *ret_items,
                       md_error *err)
{
    if (user >= md_ratings_n_users(r->ratings)) {
        return md_fail(err, MD_INVALID_ARG, "no user %u", user);
    }
    const subject s = subject_of(r->ratings, user);
    return serve(r, &s, ret_items, err);
}

md_status md_recommend_guest(md_recommender *r, const md_recommend_for *guest,
                             md_recommendation *ret_items, md_error *err)
{
    const md_ratings_options *shape = md_ratings_shape(r->ratings);
    double length_2 = 0.0;
    subject s = {.user = NOBODY, .mean = 0.5 * ((double)shape->low + (double)shape->high)};
    if (guest->is_user && guest->user >= md_ratings_n_users(r->ratings)) {
        return md_fail(err, MD_INVALID_ARG, "no user %u", guest->user);
    }
    for (uint32_t j = 0; guest->features != NULL && j < shape->n_features; j++) {
        if (!isfinite(guest->features[j])) {
            return md_fail(err, MD_INVALID_ARG, "feature %u of a user is not a number", j);
        }
        length_2 += (double)guest->features[j] * (double)guest->features[j];
    }
    if (guest->is_user) {
        s = subject_of(r->ratings, guest->user);
    }
    double scale = length_2 > 0.0 ? 1.0 / sqrt(length_2) : 0.0;
    for (uint32_t j = 0; j < shape->n_features; j++) {
        r->guest[j] =
            guest->features != NULL ? (float)((double)guest->features[j] * scale) : 0.0F;
    }
    s.features = shape->n_features > 0 ? r->guest : NULL;
    return serve(r, &s, ret_items, err);
}
