#ifndef MEDAID_INFERENCE_RECOMMEND_RATINGS_H
#define MEDAID_INFERENCE_RECOMMEND_RATINGS_H

/* Who rated what: a sparse matrix of users x items, with a vector of features for each user.
 * Here users are patients and items are follow-up actions; this module knows neither.
 *
 * Readers may run in parallel as long as nobody writes. Users are numbered from 0 in the order
 * in which they were added. */

#include "base/memory.h"

enum {
    MD_RATINGS_MAX_ITEMS = 4096,
    MD_RATINGS_MAX_USERS = 10000000,
    MD_RATINGS_MAX_FEATURES = 1024
};

typedef struct md_rating {
    uint32_t item;
    float value;
} md_rating;

typedef struct md_ratings md_ratings;

typedef struct md_ratings_options {
    uint32_t n_items;    /* 1..MD_RATINGS_MAX_ITEMS */
    float low, high;     /* the scale, finite, low < high */
    uint32_t n_features; /* of a user, 0..MD_RATINGS_MAX_FEATURES */
} md_ratings_options;

/* MD_INVALID_ARG for options out of range. Caller destroys. */
md_status md_ratings_create(const md_ratings_options *options, md_ratings **ret_ratings,
                            md_error *err) MD_NODISCARD;
void md_ratings_destroy(md_ratings *ratings);
MD_DEFINE_DESTROYP(md_ratings, md_ratings_destroy)

/* A user without ratings. `features` are n_features numbers, copied, or NULL: all 0, which is
 * similar to nobody. MD_INVALID_ARG when one is not finite, MD_LIMIT, MD_NOMEM. */
md_status md_ratings_add_user(md_ratings *ratings, const float *features, uint32_t *ret_user,
                              md_error *err) MD_NODISCARD;
/* Rate or rate again. MD_INVALID_ARG for an unknown user or item, and for a value that is
 * outside the scale or not a number; MD_NOMEM. On failure nothing has changed. */
md_status md_ratings_set(md_ratings *ratings, uint32_t user, uint32_t item, float value,
                         md_error *err) MD_NODISCARD;

const md_ratings_options *md_ratings_shape(const md_ratings *ratings);
uint32_t md_ratings_n_users(const md_ratings *ratings);
/* The user's ratings, ascending by item; valid until he rates again. The user must exist. */
const md_rating *md_ratings_of_user(const md_ratings *ratings, uint32_t user, uint32_t *ret_n);
/* Who rated the item: pairs of user (in the member `item`) and value, in no order; valid until
 * the next change. The item must exist. */
const md_rating *md_ratings_of_item(const md_ratings *ratings, uint32_t item, uint32_t *ret_n);
/* Mean of the user's ratings, the middle of the scale without any; and the length of his
 * ratings around it, sqrt(sum (r - mean)^2). */
double md_ratings_mean(const md_ratings *ratings, uint32_t user);
double md_ratings_length(const md_ratings *ratings, uint32_t user);
/* The user's features, scaled to length 1 (or all 0); NULL when n_features is 0. */
const float *md_ratings_features(const md_ratings *ratings, uint32_t user);
/* Bytes that all this takes. */
size_t md_ratings_bytes(const md_ratings *ratings);

#endif
