#include "daemon/http/worklist_json.h"

#include "daemon/http/study_json.h"
#include "daemon/time_json.h"

#include <math.h>
#include <string.h>

/* The header is JSON that the daemon itself wrote; what does not read as that is left out. */
md_status md_worklist_json_add_patient(md_store *store, int64_t study, json_t *json,
                                       md_error *err)
{
    MD_AUTO(md_freep) uint8_t *text = NULL;
    size_t n = 0;
    md_status status = md_store_view(store, study, MD_VIEW_HEADER, &text, &n, err);
    if (status == MD_OK) {
        json_t *header = json_loadb((const char *)text, n, 0, NULL);
        if (json_is_object(header)) {
            json_object_set(json, "patient", header);
        }
        json_decref(header);
    }
    return status == MD_NOT_FOUND ? MD_OK : status;
}

/* "pacs": {"sent": 2, "pending": 1, "dead": 0} */
static md_status add_destinations(md_store *store, int64_t study, json_t *json, md_error *err)
{
    static const char *const names[] = {"pending", "sent", "dead"};
    MD_AUTO(md_freep) md_outbox_row *rows = md_calloc(MD_STORE_MAX_PAGE, sizeof *rows);
    size_t n = 0;
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an outbox");
    }
    MD_TRY(md_store_outbox_rows(store, study, MD_OUTBOX_PENDING, 0, MD_STORE_MAX_PAGE, rows, &n,
                                err));
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_object_get(all, rows[i].destination);
        if (one == NULL) {
            one = json_pack("{s:i, s:i, s:i}", "sent", 0, "pending", 0, "dead", 0);
            json_object_set_new(all, rows[i].destination, one);
        }
        const char *name = names[rows[i].state];
        json_object_set_new(one, name,
                            json_integer(json_integer_value(json_object_get(one, name)) + 1));
    }
    json_object_set_new(json, "destinations", all);
    return MD_OK;
}

/* What a list is made of. */
typedef struct source {
    md_store *store;
    md_eta *eta; /* NULL: no estimates */
    int64_t now_ms;
    bool with_patient;
} source;

/* "eta": {"at": ..., "low": ..., "high": ..., "overdue": false}; null: none is known */
static md_status add_eta(const source *from, const md_study *study, json_t *json, md_error *err)
{
    md_eta_estimate e = {0};
    if (from->eta == NULL || study->clock.read_ms > 0) {
        return MD_OK;
    }
    md_status status = md_eta_of(from->eta, study->key, from->now_ms, &e, err);
    if (status == MD_NOT_FOUND || status == MD_INVALID_ARG) {
        json_object_set_new(json, "eta", json_null());
        return MD_OK;
    }
    MD_TRY(status);
    json_object_set_new(json, "eta",
                        json_pack("{s:o, s:o, s:o, s:b}", "at", md_time_json(e.at_ms), "low",
                                  md_time_json(e.low_ms), "high", md_time_json(e.high_ms),
                                  "overdue", e.is_overdue));
    return MD_OK;
}

static json_t *error_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Where the estimates of a list come from, or why there are none. */
static json_t *eta_json(md_eta *eta)
{
    md_eta_summary s = {0};
    char reason[MD_ETA_REASON_BYTES];
    if (!md_eta_tell(eta, &s, reason)) {
        return json_pack("{s:s}", "none", reason);
    }
    return json_pack("{s:f, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}",
                     "confidence", MD_ETA_CONFIDENCE, "model",
                     s.is_forest ? "forest" : "linear", "studies", (json_int_t)s.n_cases,
                     "unread", (json_int_t)s.n_unread, "from", md_time_json(s.from_ms), "to",
                     md_time_json(s.to_ms), "fitted", md_time_json(s.fitted_ms), "linear_error",
                     error_json(s.linear_error), "forest_error", error_json(s.forest_error),
                     "median_error", error_json(s.median_error), "checked",
                     (json_int_t)s.n_checked, "covered", (json_int_t)s.n_covered);
}

static md_status row_json(const source *from, const md_study *study, json_t *json,
                          md_error *err)
{
    MD_TRY(md_study_json_add_findings(from->store, study->key, json, err));
    MD_TRY(add_destinations(from->store, study->id, json, err));
    MD_TRY(add_eta(from, study, json, err));
    return from->with_patient ? md_worklist_json_add_patient(from->store, study->id, json, err)
                              : MD_OK;
}

md_status md_worklist_json(md_store *store, md_eta *eta, int64_t now_ms, bool read,
                           bool with_patient, json_t **ret_json, md_error *err)
{
    const source from = {store, eta, now_ms, with_patient};
    MD_AUTO(md_freep) md_study *studies = md_calloc(MD_WORKLIST_ROWS, sizeof *studies);
    size_t n = 0;
    if (studies == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a worklist");
    }
    MD_TRY(md_store_worklist(store, read, MD_WORKLIST_ROWS, studies, &n, err));
    json_t *list = json_array();
    md_status status = MD_OK;
    for (size_t i = 0; i < n && status == MD_OK; i++) {
        json_t *row = md_study_json(&studies[i]);
        status = row == NULL ? md_fail(err, MD_NOMEM, "no memory for a worklist")
                             : row_json(&from, &studies[i], row, err);
        json_array_append_new(list, row);
    }
    if (status != MD_OK) {
        json_decref(list);
        return status;
    }
    json_t *whole = json_pack("{s:o}", "studies", list);
    if (whole != NULL && eta != NULL && !read) {
        json_object_set_new(whole, "eta", eta_json(eta));
    }
    *ret_json = whole;
    return whole == NULL ? md_fail(err, MD_NOMEM, "no memory for a worklist") : MD_OK;
}

md_status md_worklist_study_json(md_store *store, md_eta *eta, int64_t now_ms,
                                 const md_study *study, bool with_patient, json_t **ret_json,
                                 md_error *err)
{
    const source from = {store, eta, now_ms, with_patient};
    json_t *json = NULL;
    MD_TRY(md_study_json_whole(store, study, &json, err));
    md_status status = row_json(&from, study, json, err);
    if (status != MD_OK) {
        json_decref(json);
        return status;
    }
    *ret_json = json;
    return MD_OK;
}
