#include "inference/recommend/ratings.h"

#include <math.h>
#include <string.h>

/* A growing array of ratings. */
typedef struct list {
    md_rating *entries;
    uint32_t n, capacity;
} list;

typedef struct spread {
    double mean, length;
} spread;

struct md_ratings {
    md_ratings_options shape;
    uint32_t n_users, capacity;
    list *by_user;   /* of the user, ascending by item */
    spread *spreads; /* of the user's ratings */
    list *by_item;   /* [n_items], .item is the user */
    float *features;
    size_t bytes;
};

md_status md_ratings_create(const md_ratings_options *options, md_ratings **ret_ratings,
                            md_error *err)
{
    if (options->n_items == 0 || options->n_items > MD_RATINGS_MAX_ITEMS ||
        options->n_features > MD_RATINGS_MAX_FEATURES) {
        return md_fail(err, MD_INVALID_ARG, "%u items or %u features out of range",
                       options->n_items, options->n_features);
    }
    if (!isfinite(options->low) || !isfinite(options->high) || options->low >= options->high) {
        return md_fail(err, MD_INVALID_ARG, "the scale of ratings is empty");
    }
    MD_AUTO(md_ratings_destroyp) md_ratings *ratings = md_calloc(1, sizeof *ratings);
    if (ratings == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for ratings");
    }
    ratings->shape = *options;
    ratings->by_item = md_calloc(options->n_items, sizeof *ratings->by_item);
    if (ratings->by_item == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for ratings");
    }
    ratings->bytes = sizeof *ratings + options->n_items * sizeof *ratings->by_item;
    *ret_ratings = MD_STEAL(ratings);
    return MD_OK;
}

void md_ratings_destroy(md_ratings *ratings)
{
    if (ratings == NULL) {
        return;
    }
    for (uint32_t u = 0; u < ratings->n_users; u++) {
        md_free(ratings->by_user[u].entries);
    }
    for (uint32_t i = 0; ratings->by_item != NULL && i < ratings->shape.n_items; i++) {
        md_free(ratings->by_item[i].entries);
    }
    md_free(ratings->by_user);
    md_free(ratings->spreads);
    md_free(ratings->by_item);
    md_free(ratings->features);
    md_free(ratings);
}

static md_status grow_users(md_ratings *ratings, md_error *err)
{
    uint32_t capacity = ratings->capacity == 0 ? 64 : 2 * ratings->capacity;
    size_t row_bytes = ratings->shape.n_features * sizeof *ratings->features;
    list *by_user = md_realloc(ratings->by_user, capacity * sizeof *by_user);
    if (by_user == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u users", capacity);
    }
    ratings->by_user = by_user;
    spread *spreads = md_realloc(ratings->spreads, capacity * sizeof *spreads);
    if (spreads == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u users", capacity);
    }
    ratings->spreads = spreads;
    float *features = md_realloc(ratings->features, capacity * row_bytes);
    if (features == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u users", capacity);
    }
    ratings->features = features;
    ratings->bytes +=
        (capacity - ratings->capacity) * (sizeof *by_user + sizeof *spreads + row_bytes);
    ratings->capacity = capacity;
    return MD_OK;
}

md_status md_ratings_add_user(md_ratings *ratings, const float *features, uint32_t *ret_user,
                              md_error *err)
{
    uint32_t n_features = ratings->shape.n_features;
    double squares = 0.0;
    for (uint32_t j = 0; features != NULL && j < n_features; j++) {
        if (!isfinite(features[j])) {
            return md_fail(err, MD_INVALID_ARG, "feature %u of a user is not a number", j);
        }
        squares += (double)features[j] * (double)features[j];
    }
    if (ratings->n_users == MD_RATINGS_MAX_USERS) {
        return md_fail(err, MD_LIMIT, "more than %d users", MD_RATINGS_MAX_USERS);
    }
    if (ratings->n_users == ratings->capacity) {
        MD_TRY(grow_users(ratings, err));
    }
    uint32_t user = ratings->n_users++;
    ratings->by_user[user] = (list){0};
    ratings->spreads[user] =
        (spread){.mean = 0.5 * ((double)ratings->shape.low + (double)ratings->shape.high)};
    float *row = ratings->features + (size_t)user * n_features;
    double scale = squares > 0.0 ? 1.0 / sqrt(squares) : 0.0;
    for (uint32_t j = 0; j < n_features; j++) {
        row[j] = features != NULL ? (float)((double)features[j] * scale) : 0.0F;
    }
    *ret_user = user;
    return MD_OK;
}

/* Make room for one more. */
static bool reserve(md_ratings *ratings, list *l)
{
    if (l->n < l->capacity) {
        return true;
    }
    uint32_t capacity = l->capacity == 0 ? 4 : l->capacity + l->capacity / 2;
    md_rating *entries = md_realloc(l->entries, capacity * sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    ratings->bytes += (capacity - l->capacity) * sizeof *entries;
    l->entries = entries;
    l->capacity = capacity;
    return true;
}

/* Where the item is, or would be, in the user's list. */
static uint32_t place_of(const list *l, uint32_t item)
{
    uint32_t low = 0, high = l->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->entries[middle].item < item) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static spread spread_of(const list *l)
{
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < l->n; i++) {
        sum += (double)l->entries[i].value;
    }
    double mean = sum / l->n;
    for (uint32_t i = 0; i < l->n; i++) {
        double d = (double)l->entries[i].value - mean;
        squares += d * d;
    }
    return (spread){mean, sqrt(squares)};
}

md_status md_ratings_set(md_ratings *ratings, uint32_t user, uint32_t item, float value,
                         md_error *err)
{
    if (user >= ratings->n_users || item >= ratings->shape.n_items) {
        return md_fail(err, MD_INVALID_ARG, "no user %u or no item %u", user, item);
    }
    if (!(value >= ratings->shape.low && value <= ratings->shape.high)) {
        return md_fail(err, MD_INVALID_ARG, "rating %g is outside the scale %g..%g",
                       (double)value, (double)ratings->shape.low, (double)ratings->shape.high);
    }
    list *mine = &ratings->by_user[user], *theirs = &ratings->by_item[item];
    uint32_t at = place_of(mine, item);
    if (at < mine->n && mine->entries[at].item == item) {
        mine->entries[at].value = value;
        for (uint32_t i = 0; i < theirs->n; i++) {
            if (theirs->entries[i].item == user) {
                theirs->entries[i].value = value;
                break;
            }
        }
        ratings->spreads[user] = spread_of(mine);
        return MD_OK;
    }
    if (!reserve(ratings, mine) || !reserve(ratings, theirs)) {
        return md_fail(err, MD_NOMEM, "no memory for a rating");
    }
    memmove(mine->entries + at + 1, mine->entries + at, (mine->n - at) * sizeof *mine->entries);
    mine->entries[at] = (md_rating){item, value};
    mine->n++;
    theirs->entries[theirs->n++] = (md_rating){user, value};
    ratings->spreads[user] = spread_of(mine);
    return MD_OK;
}

const md_ratings_options *md_ratings_shape(const md_ratings *ratings)
{
    return &ratings->shape;
}

uint32_t md_ratings_n_users(const md_ratings *ratings)
{
    return ratings->n_users;
}

const md_rating *md_ratings_of_user(const md_ratings *ratings, uint32_t user, uint32_t *ret_n)
{
    *ret_n = ratings->by_user[user].n;
    return ratings->by_user[user].entries;
}

const md_rating *md_ratings_of_item(const md_ratings *ratings, uint32_t item, uint32_t *ret_n)
{
    *ret_n = ratings->by_item[item].n;
    return ratings->by_item[item].entries;
}

double md_ratings_mean(const md_ratings *ratings, uint32_t user)
{
    return ratings->spreads[user].mean;
}

double md_ratings_length(const md_ratings *ratings, uint32_t user)
{
    return ratings->spreads[user].length;
}

const float *md_ratings_features(const md_ratings *ratings, uint32_t user)
{
    return ratings->shape.n_features > 0
               ? ratings->features + (size_t)user * ratings->shape.n_features
               : NULL;
}

size_t md_ratings_bytes(const md_ratings *ratings)
{
    return ratings->bytes;
}
