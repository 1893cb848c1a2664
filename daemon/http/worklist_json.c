#include "daemon/http/worklist_json.h"

#include "daemon/http/study_json.h"

#include <string.h>

/* The header is JSON that the daemon itself wrote; what does not read as that is left out. */
static md_status add_header(md_store *store, int64_t study, json_t *json, md_error *err)
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

static md_status row_json(md_store *store, const md_study *study, bool with_patient,
                          json_t *json, md_error *err)
{
    MD_TRY(md_study_json_add_findings(store, study->key, json, err));
    MD_TRY(add_destinations(store, study->id, json, err));
    return with_patient ? add_header(store, study->id, json, err) : MD_OK;
}

md_status md_worklist_json(md_store *store, bool read, bool with_patient, json_t **ret_json,
                           md_error *err)
{
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
                             : row_json(store, &studies[i], with_patient, row, err);
        json_array_append_new(list, row);
    }
    if (status != MD_OK) {
        json_decref(list);
        return status;
    }
    *ret_json = json_pack("{s:o}", "studies", list);
    return *ret_json == NULL ? md_fail(err, MD_NOMEM, "no memory for a worklist") : MD_OK;
}

md_status md_worklist_study_json(md_store *store, const md_study *study, bool with_patient,
                                 json_t **ret_json, md_error *err)
{
    json_t *json = NULL;
    MD_TRY(md_study_json_whole(store, study, &json, err));
    md_status status = row_json(store, study, with_patient, json, err);
    if (status != MD_OK) {
        json_decref(json);
        return status;
    }
    *ret_json = json;
    return MD_OK;
}
