#include "daemon/store/store_backend.h"

static md_status check_write(const md_ups_write *w, md_error *err)
{
    if (w->state < 0 || w->state > 3 || w->priority < 0 || w->priority > 2) {
        return md_fail(err, MD_INVALID_ARG, "a workitem of state %d and priority %d", w->state,
                       w->priority);
    }
    if (w->uid[0] == '\0' || w->n == 0 || w->n > MD_UPS_MAX_DATASET) {
        return md_fail(err, MD_INVALID_ARG, "a workitem without UID, or of %zu bytes", w->n);
    }
    if (w->n_sendings > MD_UPS_MAX_EVENTS || w->n_subscribers > MD_UPS_MAX_RECEIVERS) {
        return md_fail(err, MD_LIMIT, "%zu messages and %zu subscribers", w->n_sendings,
                       w->n_subscribers);
    }
    return MD_OK;
}

md_status md_store_ups_write(md_store *store, const md_ups_write *write, int64_t now_ms,
                             md_error *err)
{
    MD_TRY(check_write(write, err));
    return store->backend->ups_write(store, write, now_ms, err);
}

md_status md_store_ups_find(md_store *store, const char *uid, md_ups_row *ret_row,
                            md_error *err)
{
    return store->backend->ups_find(store, uid, ret_row, err);
}

md_status md_store_ups_of_study(md_store *store, const char *study_key, md_ups_row *ret_row,
                                size_t *ret_n, md_error *err)
{
    return store->backend->ups_of_study(store, study_key, ret_row, ret_n, err);
}

md_status md_store_ups_page(md_store *store, md_ups_cursor *cursor, size_t n_max,
                            md_ups_row *ret_rows, size_t *ret_n, md_error *err)
{
    if (n_max > MD_UPS_MAX_PAGE) {
        return md_fail(err, MD_LIMIT, "a page of %zu workitems", n_max);
    }
    return store->backend->ups_page(store, cursor, n_max, ret_rows, ret_n, err);
}

md_status md_store_ups_subscribers(md_store *store, md_ups_subscriber *ret_list, size_t *ret_n,
                                   md_error *err)
{
    return store->backend->ups_subscribers(store, ret_list, ret_n, err);
}

md_status md_store_ups_subscribe_global(md_store *store, const char *ae_title, bool locked,
                                        const uint8_t *filter, size_t n_filter, md_error *err)
{
    return store->backend->ups_subscribe_global(store, ae_title, locked, filter, n_filter, err);
}

md_status md_store_ups_subscribe(md_store *store, const char *ae_title, bool locked,
                                 const int64_t *ids, const char *const *uids,
                                 const md_ups_sending *reports, size_t n, int64_t now_ms,
                                 md_error *err)
{
    return store->backend->ups_subscribe(store, ae_title, locked, ids, uids, reports, n, now_ms,
                                         err);
}

md_status md_store_ups_unsubscribe(md_store *store, const char *ae_title, int64_t id,
                                   md_error *err)
{
    return store->backend->ups_unsubscribe(store, ae_title, id, err);
}

md_status md_store_ups_suspend(md_store *store, const char *ae_title, md_error *err)
{
    return store->backend->ups_suspend(store, ae_title, err);
}

md_status md_store_ups_n_watchers(md_store *store, int64_t id, const char *except_ae,
                                  size_t *ret_n, md_error *err)
{
    return store->backend->ups_n_watchers(store, id, except_ae, ret_n, err);
}

md_status md_store_ups_next(md_store *store, const char *receiver, int64_t now_ms,
                            md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err)
{
    return store->backend->ups_next(store, receiver, now_ms, ret_message, ret_next_ms, err);
}

md_status md_store_ups_told(md_store *store, int64_t id, md_error *err)
{
    return store->backend->ups_told(store, id, err);
}

md_status md_store_ups_not_told(md_store *store, int64_t id, int64_t next_ms, md_error *err)
{
    return store->backend->ups_not_told(store, id, next_ms, err);
}

md_status md_store_ups_expire(md_store *store, int64_t since_before_ms, size_t *ret_n,
                              md_error *err)
{
    return store->backend->ups_expire(store, since_before_ms, ret_n, err);
}

md_status md_store_ups_retire(md_store *store, int64_t ended_before_ms, size_t n_max,
                              size_t *ret_n, md_error *err)
{
    return store->backend->ups_retire(store, ended_before_ms, n_max, ret_n, err);
}
