#include "daemon/ups/maker.h"

#include "dicom/network/ups/study.h"

#include <stdio.h>
#include <string.h>

/* The texts of a new item stand behind the draft, which points to them. */
typedef struct made {
    md_ups_draft draft;
    md_ups_row row; /* of the item that is changed */
    char uid[MD_UID_BYTES];
} made;

enum {
    COMMENT_BYTES = 2048,
    MAX_TRIES = 8, /* when a workstation changes the item at the same moment */
};

md_ups_priority md_ups_priority_of(const md_analysis *analysis, const char *failed)
{
    md_ups_priority priority = failed != NULL ? MD_UPS_MEDIUM : MD_UPS_LOW;
    for (size_t i = 0; i < analysis->n_results; i++) {
        const md_result *result = &analysis->results[i];
        if (result->status != MD_RESULT_COMPLETE) {
            priority = MD_UPS_MEDIUM;
        }
        for (size_t k = 0; k < result->n_findings; k++) {
            if (result->findings[k].presence == MD_PRESENCE_PRESENT) {
                return MD_UPS_HIGH;
            }
            if (result->findings[k].presence == MD_PRESENCE_UNDETERMINED) {
                priority = MD_UPS_MEDIUM;
            }
        }
    }
    return priority;
}

/* What the models say, for who opens the list. */
static void write_comment(const md_ups_result *from, char comment[COMMENT_BYTES])
{
    size_t used = (size_t)snprintf(comment, COMMENT_BYTES, "AI triage, not for diagnosis.%s%s",
                                   from->failed != NULL ? " Analysis failed: " : "",
                                   from->failed != NULL ? from->failed : "");
    for (size_t i = 0; i < from->analysis->n_results; i++) {
        const md_result *result = &from->analysis->results[i];
        for (size_t k = 0; k < result->n_findings && used < COMMENT_BYTES - 1; k++) {
            const md_finding *f = &result->findings[k];
            int n = snprintf(comment + used, COMMENT_BYTES - used,
                             " %s %s: %s %s, score %.2f, threshold %.2f.", result->model.id,
                             result->model.version, f->concept.meaning,
                             md_presence_name(f->presence), f->score, f->threshold);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    if (used >= COMMENT_BYTES) {
        /* cut: whole characters, and nothing that looks like a whole sentence */
        size_t end = COMMENT_BYTES - 4;
        while (end > 0 && ((unsigned char)comment[end] & 0xc0) == 0x80) {
            end--;
        }
        memcpy(comment + end, "...", 4);
    }
}

/* Images first, each once though it has many frames; then what medaid made of them. */
static size_t list_inputs(const md_ups_result *from, bool with_images,
                          md_workitem_input *inputs)
{
    size_t n = 0;
    const md_result *result =
        with_images && from->analysis->n_results > 0 ? &from->analysis->results[0] : NULL;
    for (size_t i = 0; result != NULL && i < result->n_instances; i++) {
        const md_instance_ref *image = &result->instances[i];
        if (n == 0 || strcmp(inputs[n - 1].sop_instance_uid, image->sop_instance_uid) != 0) {
            inputs[n++] =
                (md_workitem_input){.sop_class_uid = image->sop_class_uid,
                                    .sop_instance_uid = image->sop_instance_uid,
                                    .series_instance_uid = image->series_instance_uid};
        }
    }
    for (size_t i = 0; i < from->n_objects; i++) {
        inputs[n++] =
            (md_workitem_input){.sop_class_uid = from->objects[i].sop_class_uid,
                                .sop_instance_uid = from->objects[i].sop_instance_uid,
                                .series_instance_uid = from->objects[i].series_instance_uid};
    }
    return n;
}

static const char *retrieve_ae_of(const md_conf *conf)
{
    const char *own = conf->ups.retrieve_ae_title;
    return own[0] != '\0' || conf->n_destinations == 0 ? own : conf->destinations[0].ae_title;
}

/* A new item, or the one that is there with what has changed. */
static md_status fill(made *m, md_store *store, const md_conf *conf,
                      const md_workitem_study *what, md_error *err)
{
    md_ups_write *write = &m->draft.write;
    MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
    MD_AUTO(md_dataset_destroyp) md_dataset *changes = NULL;
    const char *manager = conf->ups.manager.ae_title;
    if (write->id == 0) {
        MD_TRY(md_workitem_of_study(what, &item, err));
    } else {
        MD_TRY(
            md_workitem_parse(m->row.bytes, m->row.n, MD_ENCODING_EXPLICIT_LITTLE, &item, err));
        MD_TRY(md_workitem_renew_study(item, what, m->row.state != MD_UPS_SCHEDULED, err));
    }
    MD_TRY(md_ups_draft_make(&m->draft, store, item, err));
    MD_TRY(md_ups_draft_event(&m->draft, item, MD_UPS_EVENT_STATE, NULL, NULL, err));
    if (!conf->ups.has_manager) {
        return MD_OK;
    }
    if (write->id == 0) {
        return md_ups_draft_message(&m->draft, MD_UPS_MESSAGE_CREATE, manager, item, err);
    }
    MD_TRY(md_workitem_study_changes(what, &changes, err));
    return md_ups_draft_message(&m->draft, MD_UPS_MESSAGE_SET, manager, changes, err);
}

/* The nth item of a study. Earlier ones may have been forgotten, so that the count says too
 * little. */
static md_status derive_uid(md_store *store, const char *study_uid, size_t n,
                            char ret_uid[MD_UID_BYTES], md_error *err)
{
    for (;; n++) {
        char number[24];
        md_ups_row row;
        snprintf(number, sizeof number, "%zu", n);
        const char *const parts[] = {"workitem", study_uid, number};
        md_uid_derive(parts, 3, ret_uid);
        md_status status = md_store_ups_find(store, ret_uid, &row, err);
        if (status != MD_OK) {
            return status == MD_NOT_FOUND ? MD_OK : status;
        }
        md_ups_row_finish(&row);
    }
}

static md_status make(const md_conf *conf, md_store *store, const md_ups_result *from,
                      bool with_images, made *m, md_error *err)
{
    const md_study_header *header = &from->analysis->header;
    const char *study_uid = from->study->study_uid;
    char comment[COMMENT_BYTES];
    size_t n_images =
        from->analysis->n_results > 0 ? from->analysis->results[0].n_instances : 0;
    size_t n_items = 0;
    MD_AUTO(md_freep)
    md_workitem_input *inputs = md_calloc(n_images + from->n_objects + 1, sizeof *inputs);
    if (inputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a workitem of %zu images", n_images);
    }
    MD_TRY(md_store_ups_of_study(store, from->study->key, &m->row, &n_items, err));
    bool is_open = n_items > 0 && (1U << (unsigned)m->row.state & MD_UPS_OPEN_STATES) != 0;
    MD_TRY(derive_uid(store, study_uid, n_items, m->uid, err));
    write_comment(from, comment);
    const md_workitem_study what = {
        .sop_instance_uid = is_open ? m->row.uid : m->uid,
        .study_instance_uid = study_uid,
        .patient_name = header->patient_name,
        .patient_id = header->patient_id,
        .issuer_of_patient_id = header->issuer_of_patient_id,
        .birth_date = header->birth_date,
        .sex = header->sex,
        .accession_number = header->accession_number,
        .study_description = header->study_description,
        .priority = from->priority,
        .worklist_label =
            from->worklist_label != NULL ? from->worklist_label : conf->ups.worklist_label,
        .label = conf->ups.procedure_label,
        .comment = comment,
        .retrieve_ae = retrieve_ae_of(conf),
        .inputs = inputs,
        .n_inputs = list_inputs(from, with_images, inputs),
        .scheduled_ms = from->now_ms,
        .now_ms = from->now_ms,
    };
    m->draft.write = (md_ups_write){
        .id = is_open ? m->row.id : 0,
        .revision = is_open ? m->row.revision : 0,
        .uid = what.sop_instance_uid,
        .state = is_open ? m->row.state : MD_UPS_SCHEDULED,
        .transaction_uid = is_open ? m->row.transaction_uid : "",
        .study_key = from->study->key,
    };
    return fill(m, store, conf, &what, err);
}

md_status md_ups_make(const md_conf *conf, md_store *store, const md_ups_result *result,
                      md_ups_draft **ret_draft, md_error *err)
{
    *ret_draft = NULL;
    if (!conf->ups.enabled || result->analysis->n_results == 0) {
        return MD_OK;
    }
    md_status status = MD_LIMIT;
    /* A study of too many images to name is on the list all the same: its UID finds them. */
    for (int with_images = 1; with_images >= 0 && status == MD_LIMIT; with_images--) {
        made *m = md_calloc(1, sizeof *m);
        if (m == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a workitem");
        }
        status = make(conf, store, result, with_images != 0, m, err);
        if (status == MD_OK) {
            *ret_draft = &m->draft;
        } else {
            md_ups_made_destroy(&m->draft);
        }
    }
    return status;
}

void md_ups_made_destroy(md_ups_draft *draft)
{
    if (draft != NULL) {
        made *m = (made *)draft; /* its first member */
        md_ups_draft_finish(&m->draft);
        md_ups_row_finish(&m->row);
        md_free(m);
    }
}

/* Complete the item that was read, by way of IN PROGRESS as for anybody else. */
static md_status complete(const md_conf *conf, md_store *store, const md_ups_row *row,
                          int64_t now_ms, md_error *err)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
    md_ups_draft draft = {.write = {.id = row->id,
                                    .revision = row->revision,
                                    .uid = row->uid,
                                    .state = MD_UPS_COMPLETED,
                                    .transaction_uid = "",
                                    .study_key = ""}};
    MD_TRY(md_workitem_parse(row->bytes, row->n, MD_ENCODING_EXPLICIT_LITTLE, &item, err));
    MD_TRY(md_workitem_fill_completed(item, conf->ae.title, now_ms, err));
    MD_TRY(md_workitem_put(item, MD_UPS_TAG_STATE, md_ups_state_name(MD_UPS_IN_PROGRESS), err));
    md_status status = md_ups_draft_event(&draft, item, MD_UPS_EVENT_STATE, NULL, NULL, err);
    if (status == MD_OK) {
        status = md_ups_draft_make(&draft, store, item, err);
    }
    if (status == MD_OK) {
        status = md_ups_draft_event(&draft, item, MD_UPS_EVENT_STATE, NULL, NULL, err);
    }
    if (status == MD_OK) {
        status = md_store_ups_write(store, &draft.write, now_ms, err);
    }
    md_ups_draft_finish(&draft);
    return status;
}

md_status md_ups_complete_study(const md_conf *conf, md_store *store, const char *study_key,
                                int64_t now_ms, md_error *err)
{
    md_status status = MD_BUSY;
    for (int i = 0; i < MAX_TRIES && status == MD_BUSY; i++) {
        md_ups_row row = {0};
        size_t n = 0;
        MD_TRY(md_store_ups_of_study(store, study_key, &row, &n, err));
        status = n > 0 && row.state == MD_UPS_SCHEDULED
                     ? complete(conf, store, &row, now_ms, err)
                     : MD_OK;
        md_ups_row_finish(&row);
    }
    return status;
}
