#include "daemon/store/store_backend.h"

#include <math.h>
#include <string.h>

static bool is_space(const char *text)
{
    return strlen(text) == MD_STORE_SPACE_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == MD_STORE_SPACE_BYTES - 1;
}

md_status md_store_vector_check(const md_store_vector *vectors, size_t n, md_error *err)
{
    if (n > MD_STORE_MAX_VECTORS) {
        return md_fail(err, MD_LIMIT, "%zu vectors of one study", n);
    }
    for (size_t i = 0; i < n; i++) {
        const md_store_vector *v = &vectors[i];
        if (!is_space(v->space) || v->model_id[0] == '\0' || v->n == 0 ||
            v->n > MD_STORE_MAX_VECTOR) {
            return md_fail(err, MD_INVALID_ARG, "a vector without space or of %u values", v->n);
        }
        for (uint32_t j = 0; j < v->n; j++) {
            if (!isfinite(v->values[j])) {
                return md_fail(err, MD_INVALID_ARG, "value %u of a vector is not a number", j);
            }
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(vectors[k].space, v->space) == 0) {
                return md_fail(err, MD_INVALID_ARG, "two vectors of one space");
            }
        }
    }
    return MD_OK;
}

md_status md_store_vector_ids(md_store *store, const char *space, int64_t after,
                              int64_t **ret_ids, size_t *ret_n, md_error *err)
{
    return store->backend->vector_ids(store, space, after, ret_ids, ret_n, err);
}

md_status md_store_vector_get(md_store *store, int64_t id, md_store_vector *ret_vector,
                              md_error *err)
{
    return store->backend->vector_get(store, id, ret_vector, err);
}

md_status md_store_vector_find(md_store *store, int64_t id, md_store_vector_place *ret_place,
                               md_error *err)
{
    return store->backend->vector_find(store, id, ret_place, err);
}

md_status md_store_vector_of(md_store *store, const char *space, const char *study_key,
                             int64_t *ret_id, md_error *err)
{
    return store->backend->vector_of(store, space, study_key, ret_id, err);
}

md_status md_store_vector_retire(md_store *store, const md_vector_retention *retention,
                                 size_t n_max, size_t *ret_n, md_error *err)
{
    return store->backend->vector_retire(store, retention, n_max, ret_n, err);
}

md_status md_store_verdicts(md_store *store, const char *study_key, size_t n_max,
                            md_store_verdict *ret_verdicts, size_t *ret_n, md_error *err)
{
    return store->backend->verdicts(store, study_key, n_max, ret_verdicts, ret_n, err);
}
