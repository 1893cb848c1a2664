#include "daemon/notifier/notice.h"

#include "daemon/notifier/notice_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool md_notice_utc(int64_t ms, struct tm *ret_parts)
{
    time_t seconds = (time_t)(ms / 1000);
    return ms > 0 && gmtime_r(&seconds, ret_parts) != NULL;
}

const char *md_notice_presence(md_store_presence presence)
{
    static const char *const names[] = {
        [MD_STORE_ABSENT] = "absent",
        [MD_STORE_PRESENT] = "present",
        [MD_STORE_UNDETERMINED] = "undetermined",
    };
    return names[presence];
}

/* A stream that was written into memory becomes text of ours. */
md_status md_notice_text(char *written, size_t size_bytes, bool failed, char **ret_text,
                         md_error *err)
{
    if (failed || size_bytes > MD_NOTICE_MAX_BYTES) {
        free(written);
        return failed ? md_fail(err, MD_NOMEM, "no memory for a notification")
                      : md_fail(err, MD_LIMIT, "a notification of %zu bytes, at most %d",
                                size_bytes, MD_NOTICE_MAX_BYTES);
    }
    char *text = md_strdup(written);
    free(written);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a notification");
    }
    *ret_text = text;
    return MD_OK;
}

/* ------------------------------------------------------------------------------- JSON */

static json_t *time_json(int64_t ms)
{
    char text[32];
    struct tm parts;
    if (!md_notice_utc(ms, &parts) ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        return json_null();
    }
    return json_string(text);
}

static json_t *finding_json(const md_store_finding *f)
{
    return json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s}, s:s, s:f, s:f, s:b, s:b}", "model",
                     f->model_id, "model_version", f->model_version, "key", f->key, "concept",
                     "code", f->code, "scheme", f->scheme, "meaning", f->meaning, "presence",
                     md_notice_presence(f->presence), "score", f->score, "threshold",
                     f->threshold, "is_probability", f->is_probability, "urgent", f->urgent);
}

static void add_text(json_t *object, const char *key, const char *text)
{
    if (text[0] != '\0') {
        json_object_set_new(object, key, json_string(text));
    }
}

static json_t *patient_json(const md_notice *notice)
{
    json_t *patient = json_object();
    add_text(patient, "id", notice->patient_id);
    add_text(patient, "name", notice->patient_name);
    add_text(patient, "birth_date", notice->birth_date);
    add_text(patient, "sex", notice->sex);
    return patient;
}

md_status md_notice_json(const md_notice *notice, char **ret_text, md_error *err)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < notice->n_findings; i++) {
        json_array_append_new(findings, finding_json(&notice->findings[i]));
    }
    json_t *json =
        json_pack("{s:s, s:s, s:i, s:s, s:s, s:o, s:o, s:o}", "event", "study_analysed",
                  "study", notice->study_key, "generation", notice->generation, "status",
                  notice->failed == NULL ? "analysed" : "failed", "priority",
                  notice->priority == MD_NOTICE_URGENT ? "urgent" : "routine", "last_received",
                  time_json(notice->received_ms), "analysed", time_json(notice->analysed_ms),
                  "findings", findings);
    if (json == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a notification");
    }
    if (notice->failed != NULL) {
        json_object_set_new(json, "reason", json_string(notice->failed));
    }
    if (notice->n_left_out > 0) {
        json_object_set_new(json, "findings_left_out",
                            json_integer((json_int_t)notice->n_left_out));
    }
    add_text(json, "accession_number", notice->accession_number);
    add_text(json, "study_instance_uid", notice->study_instance_uid);
    if (notice->patient_id[0] != '\0' || notice->patient_name[0] != '\0') {
        json_object_set_new(json, "patient", patient_json(notice));
    }
    char *written = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return md_notice_text(written, written == NULL ? 0 : strlen(written), written == NULL,
                          ret_text, err);
}

/* ------------------------------------------------------------------------------- mail */

static void mail_body(FILE *out, const md_notice *notice)
{
    char when[40] = "";
    struct tm parts;
    if (md_notice_utc(notice->analysed_ms, &parts)) {
        (void)strftime(when, sizeof when, ", analysed %Y-%m-%d %H:%M:%S UTC", &parts);
    }
    fprintf(out, "Study %s%s.\n", notice->study_key, when);
    if (notice->accession_number[0] != '\0') {
        fprintf(out, "Accession Number: %s\n", notice->accession_number);
    }
    if (notice->patient_id[0] != '\0') {
        fprintf(out, "Patient ID: %s\n", notice->patient_id);
    }
    if (notice->patient_name[0] != '\0') {
        fprintf(out, "Patient: %s\n", notice->patient_name);
    }
    if (notice->failed != NULL) {
        fprintf(out, "\nThe analysis failed: %s\n", notice->failed);
    }
    for (size_t i = 0; i < notice->n_findings; i++) {
        const md_store_finding *f = &notice->findings[i];
        fprintf(out, "\n%s: %s (%s %.3f, threshold %.3f; %s %s)\n", f->meaning,
                md_notice_presence(f->presence), f->is_probability ? "probability" : "score",
                f->score, f->threshold, f->model_id, f->model_version);
    }
    if (notice->n_left_out > 0) {
        fprintf(out, "\n%zu more findings are in the DICOM report alone.\n",
                notice->n_left_out);
    }
    fputs("\nMade by software, not read by a person. Not for diagnosis.\n", out);
}

md_status md_notice_mail(const md_notice *notice, const char *from, const char *to,
                         char **ret_text, md_error *err)
{
    char *written = NULL, when[48];
    struct tm parts;
    size_t size_bytes = 0;
    FILE *out = open_memstream(&written, &size_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a notification");
    }
    fprintf(out, "From: %s\nTo: %s\nSubject: medaid: %s study %s\n", from, to,
            notice->failed != NULL                 ? "failed"
            : notice->priority == MD_NOTICE_URGENT ? "urgent"
                                                   : "analysed",
            notice->study_key);
    if (md_notice_utc(notice->analysed_ms, &parts) &&
        strftime(when, sizeof when, "%a, %d %b %Y %H:%M:%S +0000", &parts) > 0) {
        fprintf(out, "Date: %s\n", when);
    }
    fputs("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
          "Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n",
          out);
    mail_body(out, notice);
    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    return md_notice_text(written, size_bytes, failed, ret_text, err);
}
