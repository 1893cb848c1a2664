#include "daemon/store/store_backend.h"

#include <string.h>

static bool is_hash(const char *text)
{
    return text != NULL && strnlen(text, MD_STORE_KEY_BYTES) == MD_STORE_KEY_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == MD_STORE_KEY_BYTES - 1;
}

static bool is_name(const char *text)
{
    return text != NULL && text[0] != '\0' &&
           strnlen(text, MD_STORE_NAME_BYTES) < MD_STORE_NAME_BYTES;
}

static bool is_value(double value)
{
    return value >= 0.0 && value <= 1.0;
}

static bool fits(const char *text, size_t size_bytes)
{
    return strnlen(text, size_bytes) < size_bytes;
}

md_status md_store_follow_up_check(const md_store_follow_up_new *follow_up, md_error *err)
{
    if (follow_up == NULL) {
        return MD_OK;
    }
    if (!is_hash(follow_up->patient)) {
        return md_fail(err, MD_INVALID_ARG, "a patient without a hash");
    }
    if (!fits(follow_up->features, MD_STORE_MAX_PROFILE_BYTES) ||
        !fits(follow_up->proposals, MD_STORE_MAX_PROPOSALS_BYTES)) {
        return md_fail(err, MD_LIMIT, "proposals of more than %d bytes",
                       MD_STORE_MAX_PROPOSALS_BYTES - 1);
    }
    return MD_OK;
}

void md_store_follow_up_finish(md_store_follow_up *follow_up)
{
    md_free(follow_up->proposals);
    *follow_up = (md_store_follow_up){0};
}

md_status md_store_follow_up_of(md_store *store, const char *study_key,
                                md_store_follow_up *ret_follow_up, md_error *err)
{
    return store->backend->follow_up_of(store, study_key, ret_follow_up, err);
}

md_status md_store_rate(md_store *store, const char *study_key, const char *action,
                        const char *reader, double value, int64_t now_ms, md_error *err)
{
    if (!is_name(action) || !is_name(reader)) {
        return md_fail(err, MD_INVALID_ARG, "a decision needs an action and a reader");
    }
    if (!is_value(value)) {
        return md_fail(err, MD_INVALID_ARG, "a decision of %g is outside the scale 0..1",
                       value);
    }
    return store->backend->rate(store, study_key, action, reader, value, now_ms, err);
}

md_status md_store_unrate(md_store *store, const char *study_key, const char *action,
                          const char *reader, md_error *err)
{
    if (!is_name(action) || !is_name(reader)) {
        return md_fail(err, MD_INVALID_ARG, "a decision needs an action and a reader");
    }
    return store->backend->unrate(store, study_key, action, reader, err);
}

md_status md_store_ratings_of(md_store *store, const char *study_key, size_t n_max,
                              md_store_rating *ret_ratings, size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_PAGE) {
        return md_fail(err, MD_INVALID_ARG, "%zu decisions at once", n_max);
    }
    return store->backend->ratings_of(store, study_key, n_max, ret_ratings, ret_n, err);
}

md_status md_store_rating_import(md_store *store, const md_store_rating_new *rows, size_t n,
                                 md_error *err)
{
    if (n > MD_STORE_MAX_BATCH) {
        return md_fail(err, MD_LIMIT, "%zu decisions at once, at most %d", n,
                       MD_STORE_MAX_BATCH);
    }
    for (size_t i = 0; i < n; i++) {
        const md_store_rating_new *row = &rows[i];
        bool is_good = is_hash(row->patient) &&
                       (row->forget ||
                        (is_name(row->action) && is_name(row->reader) && is_value(row->value)));
        if (!is_good) {
            return md_fail(err, MD_INVALID_ARG, "decision %zu lacks a name or a value", i);
        }
        if (row->features != NULL && !fits(row->features, MD_STORE_MAX_PROFILE_BYTES)) {
            return md_fail(err, MD_LIMIT, "decision %zu: features of more than %d bytes", i,
                           MD_STORE_MAX_PROFILE_BYTES - 1);
        }
    }
    return n == 0 ? MD_OK : store->backend->rating_import(store, rows, n, err);
}

md_status md_store_each_rating(md_store *store,
                               md_status (*visit)(void *context, const md_store_rating_row *row,
                                                  md_error *err),
                               void *context, md_error *err)
{
    return store->backend->each_rating(store, visit, context, err);
}

md_status md_store_ratings_retire(md_store *store, int64_t given_before_ms, size_t *ret_n,
                                  md_error *err)
{
    return store->backend->ratings_retire(store, given_before_ms, ret_n, err);
}

md_status md_store_ratings_forget(md_store *store, const char *study_key, size_t *ret_n,
                                  md_error *err)
{
    return store->backend->ratings_forget(store, study_key, ret_n, err);
}
