#include "daemon/told.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const md_store_presence presence_of[] = {
    [MD_PRESENCE_ABSENT] = MD_STORE_ABSENT,
    [MD_PRESENCE_PRESENT] = MD_STORE_PRESENT,
    [MD_PRESENCE_UNDETERMINED] = MD_STORE_UNDETERMINED,
};

static void copy_finding(const md_result *result, const md_finding *from, md_store_finding *to)
{
    const md_instance_ref *image = &result->instances[from->instance_index];
    *to = (md_store_finding){.frame = image->frame,
                             .presence = presence_of[from->presence],
                             .score = from->score,
                             .threshold = from->threshold,
                             .is_probability = from->score_is_probability,
                             .urgent = from->urgent};
    snprintf(to->model_id, sizeof to->model_id, "%s", result->model.id);
    snprintf(to->model_version, sizeof to->model_version, "%s", result->model.version);
    snprintf(to->key, sizeof to->key, "%s", from->key);
    snprintf(to->code, sizeof to->code, "%s", from->concept.value);
    snprintf(to->scheme, sizeof to->scheme, "%s", from->concept.scheme);
    snprintf(to->meaning, sizeof to->meaning, "%s", from->concept.meaning);
    snprintf(to->sop_instance_uid, sizeof to->sop_instance_uid, "%s", image->sop_instance_uid);
}

static md_status list_findings(const md_analysis *analysis, md_told *told, md_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < analysis->n_results; i++) {
        n += analysis->results[i].n_findings;
    }
    told->findings = md_calloc(n + 1, sizeof *told->findings);
    if (told->findings == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu findings", n);
    }
    for (size_t i = 0; i < analysis->n_results; i++) {
        const md_result *result = &analysis->results[i];
        for (size_t k = 0; k < result->n_findings; k++) {
            copy_finding(result, &result->findings[k], &told->findings[told->n_findings++]);
        }
    }
    return MD_OK;
}

/* Copy a text of the header, or leave it out when it does not fit: half an identifier is
 * another patient's. */
static void copy_whole(const char *from, char *to, size_t size_bytes)
{
    size_t length = strlen(from);
    if (length < size_bytes) {
        memcpy(to, from, length + 1);
    }
}

static md_status make_notices(const md_conf *conf, const md_study *study,
                              const md_analysis *analysis, const char *failed, int64_t now_ms,
                              const md_told_rules *rules, md_told *told, md_error *err)
{
    const md_study_header *h = &analysis->header;
    md_notice notice = {.study_key = study->key,
                        .generation = study->generation,
                        .failed = failed,
                        .received_ms = study->clock.last_received_ms,
                        .analysed_ms = now_ms,
                        .findings = told->findings,
                        .n_findings = told->n_findings};
    for (size_t i = 0; i < told->n_findings; i++) {
        if (told->findings[i].urgent) {
            notice.priority = MD_NOTICE_URGENT;
        }
    }
    copy_whole(h->patient_id, notice.patient_id, sizeof notice.patient_id);
    copy_whole(h->patient_name, notice.patient_name, sizeof notice.patient_name);
    copy_whole(h->birth_date, notice.birth_date, sizeof notice.birth_date);
    copy_whole(h->sex, notice.sex, sizeof notice.sex);
    copy_whole(h->accession_number, notice.accession_number, sizeof notice.accession_number);
    copy_whole(study->study_uid, notice.study_instance_uid, sizeof notice.study_instance_uid);
    if (rules != NULL) {
        notice.is_named = rules->notifies;
        notice.context = rules->context;
    }
    return md_notifiers_make(conf, &notice, &told->notices, err);
}

/* What the worklist shows of patient and study, to those who may see it. */
static md_status make_header(const md_study_header *h, md_told *told, md_error *err)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "patient_name", h->patient_name,
        "patient_id", h->patient_id, "birth_date", h->birth_date, "sex", h->sex,
        "accession_number", h->accession_number, "study_date", h->study_date, "study_time",
        h->study_time, "study_description", h->study_description, "modality", h->modality);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    told->header = md_strdup(text);
    free(text);
    return told->header == NULL ? md_fail(err, MD_NOMEM, "no memory for a worklist entry")
                                : MD_OK;
}

md_status md_told_make(const md_conf *conf, const md_study *study, const md_analysis *analysis,
                       const char *failed, int64_t now_ms, const md_told_rules *rules,
                       md_told *ret_told, md_error *err)
{
    md_told told = {0};
    md_status status = list_findings(analysis, &told, err);
    if (status == MD_OK) {
        status = make_header(&analysis->header, &told, err);
    }
    if (status == MD_OK && rules != NULL) {
        rules->conclude(rules->context, &told);
    }
    if (status == MD_OK && conf->n_notifiers > 0) {
        status = make_notices(conf, study, analysis, failed, now_ms, rules, &told, err);
    }
    if (status != MD_OK) {
        md_told_finish(&told);
        return status;
    }
    *ret_told = told;
    return MD_OK;
}

void md_told_finish(md_told *told)
{
    md_free(told->findings);
    md_notice_list_finish(&told->notices);
    md_free(told->header);
    *told = (md_told){0};
}
