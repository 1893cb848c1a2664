#include "daemon/store/store_backend.h"

md_status md_store_readings(md_store *store, int64_t since_ms, size_t n_max,
                            md_store_reading **ret_rows, size_t *ret_n, md_error *err)
{
    if (n_max == 0 || n_max > MD_STORE_MAX_READINGS) {
        return md_fail(err, MD_LIMIT, "%zu readings, not 1..%d", n_max, MD_STORE_MAX_READINGS);
    }
    return store->backend->readings(store, since_ms, n_max, ret_rows, ret_n, err);
}

md_status md_store_reading_of(md_store *store, const char *study_key,
                              md_store_reading *ret_reading, md_error *err)
{
    return store->backend->reading_of(store, study_key, ret_reading, err);
}

md_status md_store_reading_retire(md_store *store, int64_t arrived_before_ms, size_t *ret_n,
                                  md_error *err)
{
    return store->backend->reading_retire(store, arrived_before_ms, ret_n, err);
}

md_status md_store_put_estimate(md_store *store, const char *text, size_t n_bytes,
                                md_error *err)
{
    if (n_bytes == 0 || n_bytes > MD_STORE_MAX_ESTIMATE_BYTES) {
        return md_fail(err, MD_LIMIT, "an estimate of %zu bytes, not 1..%d", n_bytes,
                       MD_STORE_MAX_ESTIMATE_BYTES);
    }
    return store->backend->put_estimate(store, text, n_bytes, err);
}

md_status md_store_estimate(md_store *store, char **ret_text, size_t *ret_n, md_error *err)
{
    return store->backend->estimate(store, ret_text, ret_n, err);
}
