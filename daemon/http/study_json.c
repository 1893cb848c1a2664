#include "daemon/http/study_json.h"

#include "daemon/time_json.h"

static json_t *clock_json(const md_study_clock *clock)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "first_received",
        md_time_json(clock->first_received_ms), "last_received",
        md_time_json(clock->last_received_ms), "complete", md_time_json(clock->complete_ms),
        "analysis_start", md_time_json(clock->analysis_start_ms), "analysis_end",
        md_time_json(clock->analysis_end_ms), "stored", md_time_json(clock->stored_ms),
        "notified", md_time_json(clock->notified_ms), "read", md_time_json(clock->read_ms));
}

json_t *md_study_json(const md_study *study)
{
    json_t *to_notification =
        study->clock.stored_ms > 0
            ? json_real((double)(study->clock.stored_ms - study->clock.last_received_ms) / 1000)
            : json_null();
    return json_pack(
        "{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o, s:o}", "study",
        study->key, "state", md_study_state_name(study->state), "generation", study->generation,
        "priority", study->priority, "instances", (json_int_t)study->n_instances, "conflicts",
        (json_int_t)study->n_conflicts, "bytes", (json_int_t)study->size_bytes,
        "failed_attempts", (json_int_t)study->n_failures, "interruptions",
        (json_int_t)study->n_interruptions, "late", study->late, "reason", study->reason,
        "time_to_notification_s", to_notification, "clock", clock_json(&study->clock));
}

static const char *outbox_state_name(md_outbox_state state)
{
    return state == MD_OUTBOX_SENT ? "sent" : state == MD_OUTBOX_DEAD ? "dead" : "pending";
}

static const char *commitment_name(md_commitment_state state)
{
    static const char *const names[] = {"none", "wanted", "asked", "given"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static md_status add_outbox(md_store *store, int64_t study, json_t *json, md_error *err)
{
    MD_AUTO(md_freep) md_outbox_row *rows = md_calloc(MD_STORE_MAX_PAGE, sizeof *rows);
    size_t n = 0;
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an outbox");
    }
    MD_TRY(md_store_outbox_rows(store, study, MD_OUTBOX_PENDING, 0, MD_STORE_MAX_PAGE, rows, &n,
                                err));
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const md_outbox_row *row = &rows[i];
        bool waits = row->state == MD_OUTBOX_PENDING;
        json_t *status =
            row->last_status < 0 ? json_null() : json_integer((json_int_t)row->last_status);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o}",
                                              "destination", row->destination, "kind",
                                              row->kind, "state", outbox_state_name(row->state),
                                              "commitment", commitment_name(row->committed),
                                              "attempts", (json_int_t)row->n_attempts,
                                              "last_dimse_status", status, "next_attempt",
                                              md_time_json(waits ? row->next_attempt_ms : 0)));
    }
    json_object_set_new(json, "outbox", list);
    return MD_OK;
}

static md_status add_objects(md_store *store, int64_t study, json_t *json, md_error *err)
{
    md_stored_object *read = NULL;
    size_t n = 0;
    MD_TRY(md_store_objects(store, study, &read, &n, err));
    MD_AUTO(md_freep) md_stored_object *objects = read;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_pack("{s:s, s:i, s:I, s:o}", "kind", objects[i].kind,
                                              "generation", objects[i].generation, "bytes",
                                              (json_int_t)objects[i].size_bytes, "created",
                                              md_time_json(objects[i].created_ms)));
    }
    json_object_set_new(json, "objects", list);
    return MD_OK;
}

static json_t *finding_json(const md_store_finding *f)
{
    static const char *const names[] = {"absent", "present", "undetermined"};
    json_t *concept = json_pack("{s:s, s:s, s:s}", "code", f->code, "scheme", f->scheme,
                                "meaning", f->meaning);
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:f, s:f, s:b, s:b, s:i}", "model", f->model_id,
                     "version", f->model_version, "key", f->key, "concept", concept, "presence",
                     names[f->presence], "score", f->score, "threshold", f->threshold,
                     "is_probability", f->is_probability, "urgent", f->urgent, "generation",
                     f->generation);
}

md_status md_study_json_add_findings(md_store *store, const char *study_key, json_t *json,
                                     md_error *err)
{
    md_store_finding *read = NULL;
    size_t n = 0;
    MD_TRY(md_store_findings(store, study_key, &read, &n, err));
    MD_AUTO(md_freep) md_store_finding *findings = read;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, finding_json(&findings[i]));
    }
    json_object_set_new(json, "findings", list);
    return MD_OK;
}

static md_status add_notices(md_store *store, const char *study_key, json_t *json,
                             md_error *err)
{
    MD_AUTO(md_freep) md_notice_row *rows = md_calloc(MD_STORE_MAX_PAGE, sizeof *rows);
    size_t n = 0;
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for notices");
    }
    MD_TRY(md_store_notices(store, study_key, MD_STORE_MAX_PAGE, rows, &n, err));
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const md_notice_row *row = &rows[i];
        bool waits = row->state == MD_OUTBOX_PENDING;
        json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:I, s:s, s:o}", "notifier",
                                              row->notifier, "generation", row->generation,
                                              "state", outbox_state_name(row->state),
                                              "attempts", (json_int_t)row->n_attempts, "reason",
                                              row->reason, "next_attempt",
                                              md_time_json(waits ? row->next_attempt_ms : 0)));
    }
    json_object_set_new(json, "notices", list);
    return MD_OK;
}

md_status md_study_json_whole(md_store *store, const md_study *study, json_t **ret_json,
                              md_error *err)
{
    json_t *json = md_study_json(study);
    if (json == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a study");
    }
    md_status status = add_objects(store, study->id, json, err);
    if (status == MD_OK) {
        status = add_outbox(store, study->id, json, err);
    }
    if (status == MD_OK) {
        status = md_study_json_add_findings(store, study->key, json, err);
    }
    if (status == MD_OK) {
        status = add_notices(store, study->key, json, err);
    }
    if (status != MD_OK) {
        json_decref(json);
        return status;
    }
    *ret_json = json;
    return MD_OK;
}
