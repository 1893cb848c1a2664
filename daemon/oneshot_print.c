#include "daemon/oneshot_print.h"

#include "daemon/evidence_json.h"
#include "dicom/network/sop.h"
#include "dicom/report/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define SHOWN_WEIGHT 0.02 /* of all attention: a word with less is not marked */

static const char *result_status_name(md_result_status status)
{
    static const char *const names[] = {"complete", "partial", "failed"};
    return names[status];
}

static const char *exit_code_name(md_exit_code code)
{
    static const char *const names[] = {
        [MD_EXIT_OK] = "analysed",
        [MD_EXIT_INTERNAL] = "internal_error",
        [MD_EXIT_USAGE] = "usage",
        [MD_EXIT_UNREADABLE] = "unreadable",
        [MD_EXIT_NO_MODEL] = "no_model",
        [MD_EXIT_ANALYSIS] = "analysis_failed",
        [MD_EXIT_SENDING] = "sending_failed",
        [MD_EXIT_WRITING] = "writing_failed",
    };
    return names[code];
}

/* ---- for people ---- */

static size_t count_analysed(const md_result *result)
{
    size_t n = 0;
    for (size_t i = 0; i < result->n_instances; i++) {
        n += result->instances[i].analysed ? 1 : 0;
    }
    return n;
}

/* Of a study's objects those that are images: reports and the like are listed with them. */
static size_t count_images(const md_result *result)
{
    size_t n = 0;
    for (size_t i = 0; i < result->n_instances; i++) {
        const md_instance_ref *each = &result->instances[i];
        const char *name = md_sop_storage_name(each->sop_class_uid);
        n += each->analysed || name == NULL || strstr(name, "Image") != NULL ? 1 : 0;
    }
    return n;
}

static void print_findings(FILE *out, const md_result *result)
{
    if (result->n_findings == 0) {
        return;
    }
    fprintf(out, "    %-28s %-13s %9s %10s\n", "finding", "presence", "score", "threshold");
    for (size_t i = 0; i < result->n_findings; i++) {
        const md_finding *finding = &result->findings[i];
        char score[MD_SCORE_BYTES], threshold[MD_SCORE_BYTES];
        md_text_score(finding->score, finding->threshold, finding->score_is_probability, score,
                      threshold);
        fprintf(out, "    %-28s %-13s %9s %10s", finding->concept.meaning,
                md_presence_name(finding->presence), score, threshold);
        if (count_analysed(result) > 1) {
            fprintf(out, "   image %u", finding->instance_index + 1);
        }
        fputs(finding->urgent ? "   URGENT\n" : "\n", out);
    }
}

static void print_steps(FILE *out, const md_result *result)
{
    for (size_t i = 0; i < result->n_instances; i++) {
        const md_steps *steps = &result->instances[i].steps;
        if (steps->n == 0) {
            continue;
        }
        fprintf(out, "    image %zu: ", i + 1);
        for (unsigned k = 0; k < steps->n; k++) {
            fprintf(out, "%s%s", k == 0 ? "" : "; ", steps->text[k]);
        }
        fputc('\n', out);
    }
}

/* The text with the words that counted in brackets: "[fever:0.31] for two days". */
static void print_text(FILE *out, const md_text_evidence *e)
{
    for (unsigned i = 0; i < e->n_passages; i++) {
        const md_text_range *p = &e->passages[i].range;
        const uint32_t end = p->first_byte + p->n_bytes;
        uint32_t at = p->first_byte;
        fprintf(out, "    %s: ", e->passages[i].source);
        for (unsigned k = 0; k < e->n_words; k++) {
            const md_highlight *w = &e->words[k];
            const uint32_t after = w->range.first_byte + w->range.n_bytes;
            if (w->weight < SHOWN_WEIGHT || w->range.first_byte < at || after > end) {
                continue;
            }
            fprintf(out, "%.*s[%s%.*s:%.2f]", (int)(w->range.first_byte - at), e->text + at,
                    w->negated ? "not " : "", (int)w->range.n_bytes,
                    e->text + w->range.first_byte, w->weight);
            at = after;
        }
        fprintf(out, "%.*s\n", (int)(end - at), e->text + at);
    }
    if (e->is_cut) {
        fputs("    the text is longer than what was read\n", out);
    }
}

static int compare_terms(const void *a, const void *b)
{
    const double x = fabs((*(const md_risk_term *const *)a)->part);
    const double y = fabs((*(const md_risk_term *const *)b)->part);
    return (x < y) - (x > y);
}

/* Contributions, the largest first. */
static void print_risk(FILE *out, const md_risk_evidence *e)
{
    const md_risk_term *terms[MD_EVIDENCE_MAX_TERMS];
    fprintf(out, "    value %.4g%s%s", e->value, e->unit[0] != '\0' ? " " : "", e->unit);
    if (e->has_interval) {
        fprintf(out, ", interval %.4g to %.4g", e->low, e->high);
    }
    fputc('\n', out);
    if (e->n_terms > 0 && e->is_additive) {
        fprintf(out,
                "    contributions, before the model's link function, from %.4g to %.4g:\n",
                e->start, e->sum);
    } else if (e->n_terms > 0) {
        fputs("    what each input alone makes out; they do not add up:\n", out);
    }
    for (unsigned i = 0; i < e->n_terms; i++) {
        terms[i] = &e->terms[i];
    }
    qsort(terms, e->n_terms, sizeof *terms, compare_terms);
    for (unsigned i = 0; i < e->n_terms; i++) {
        const md_risk_term *t = terms[i];
        char value[32] = "-";
        if (t->has_value) {
            snprintf(value, sizeof value, "%.4g", t->value);
        }
        fprintf(out, "    %+9.3f  %-32s %10s %-8s%s\n", t->part, t->name, value, t->unit,
                t->state == MD_TERM_MISSING   ? " not known"
                : t->state == MD_TERM_CLAMPED ? " beyond the model's range"
                                              : "");
    }
}

static void print_result(FILE *out, const md_result *result)
{
    fprintf(out, "  %s %s: %s", result->model.name, result->model.version,
            result_status_name(result->status));
    if (result->kind == MD_RESULT_IMAGE) {
        fprintf(out, ", %zu of %zu images analysed", count_analysed(result),
                count_images(result));
    }
    fputc('\n', out);
    if (result->status != MD_RESULT_COMPLETE) {
        fprintf(out, "    reason: %s (%s)\n", result->failure_text, result->failure.meaning);
    }
    print_findings(out, result);
    print_steps(out, result);
    if (result->text != NULL) {
        print_text(out, result->text);
    }
    if (result->risk != NULL) {
        print_risk(out, result->risk);
    }
    const md_clock_times *times = &result->times;
    if (result->kind != MD_RESULT_IMAGE) {
        fprintf(out, "    time: %.2f ms\n", (double)times->infer_us / 1e3);
        return;
    }
    fprintf(out, "    time: decode %.1f ms, normalise %.1f ms, network %.1f ms\n",
            (double)times->decode_us / 1e3, (double)times->normalise_us / 1e3,
            (double)times->infer_us / 1e3);
}

void md_print_table(FILE *out, const md_study_outcome *outcome)
{
    const md_analysis *analysis = outcome->analysis;
    fprintf(out, "Study %s", outcome->key);
    if (outcome->exit_code != MD_EXIT_OK) {
        fprintf(out, ": %s: %s", exit_code_name(outcome->exit_code), outcome->reason);
    }
    fputc('\n', out);
    for (size_t i = 0; i < analysis->n_results; i++) {
        print_result(out, &analysis->results[i]);
    }
    for (size_t i = 0; i < analysis->n_objects; i++) {
        if (outcome->written[i] != NULL) {
            static const char *const names[] = {"report", "picture", "map"};
            fprintf(out, "  %-8s %s\n",
                    names[md_object_kind_of(analysis->objects[i].sop_class_uid)],
                    outcome->written[i]);
        }
    }
    if (outcome->sent_to != NULL) {
        fprintf(out, "  sent     %zu of %zu objects to %s\n", outcome->n_sent,
                analysis->n_objects, outcome->sent_to);
    }
    fprintf(out, "  total    %.1f ms\n", (double)outcome->total_us / 1e3);
}

/* ---- for programs ---- */

/* File names are bytes, JSON is UTF-8: what is none becomes U+FFFD. */
static json_t *text_json(const char *text)
{
    size_t length = strlen(text);
    char *fixed = md_malloc(3 * length + 1);
    if (fixed == NULL) {
        return NULL;
    }
    size_t n = 0;
    for (const char *p = text, *start = text; *p != '\0'; start = p) {
        (void)md_text_next(&p);
        bool is_wrong = (unsigned char)*start >= 0x80 && p == start + 1;
        size_t n_bytes = is_wrong ? 3 : (size_t)(p - start);
        memcpy(fixed + n, is_wrong ? "\xef\xbf\xbd" : start, n_bytes);
        n += n_bytes;
    }
    json_t *json = json_stringn(fixed, n);
    md_free(fixed);
    return json;
}

/* "" becomes null. */
static json_t *text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : text_json(text);
}

static json_t *code_json(const md_code *code)
{
    if (code->value[0] == '\0') {
        return json_null();
    }
    return json_pack("{s:s,s:s,s:s}", "code", code->value, "scheme", code->scheme, "meaning",
                     code->meaning);
}

static json_t *finding_json(const md_finding *finding)
{
    return json_pack("{s:s,s:o,s:o,s:o,s:s,s:f,s:f,s:b,s:b,s:i}", "key", finding->key,
                     "concept", code_json(&finding->concept), "site", code_json(&finding->site),
                     "laterality", code_json(&finding->laterality), "presence",
                     md_presence_name(finding->presence), "score", finding->score, "threshold",
                     finding->threshold, "score_is_probability",
                     (int)finding->score_is_probability, "urgent", (int)finding->urgent,
                     "instance", (int)finding->instance_index);
}

static json_t *instance_json(const md_instance_ref *instance)
{
    json_t *steps = json_array();
    for (unsigned i = 0; i < instance->steps.n; i++) {
        json_array_append_new(steps, json_string(instance->steps.text[i]));
    }
    return json_pack("{s:s,s:s,s:s,s:i,s:b,s:o}", "sop_class_uid", instance->sop_class_uid,
                     "sop_instance_uid", instance->sop_instance_uid, "series_instance_uid",
                     instance->series_instance_uid, "frame", (int)instance->frame, "analysed",
                     (int)instance->analysed, "steps", steps);
}

static json_t *result_json(const md_result *result)
{
    json_t *findings = json_array();
    json_t *instances = json_array();
    for (size_t i = 0; i < result->n_findings; i++) {
        json_array_append_new(findings, finding_json(&result->findings[i]));
    }
    for (size_t i = 0; i < result->n_instances; i++) {
        json_array_append_new(instances, instance_json(&result->instances[i]));
    }
    const md_model_identity *model = &result->model;
    const md_clock_times *times = &result->times;
    return json_pack(
        "{s:{s:s,s:s,s:s,s:s,s:s},s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:{s:f,s:f,s:f}}", "model",
        "id", model->id, "version", model->version, "name", model->name, "sha256",
        model->sha256, "parameters", model->parameters, "kind",
        md_result_kind_name(result->kind), "status", result_status_name(result->status),
        "failure", code_json(&result->failure), "failure_text",
        text_or_null(result->failure_text), "findings", findings, "instances", instances,
        "text", md_text_evidence_json(result->text), "risk",
        md_risk_evidence_json(result->risk), "times_ms", "decode",
        (double)times->decode_us / 1e3, "normalise", (double)times->normalise_us / 1e3,
        "network", (double)times->infer_us / 1e3);
}

static json_t *objects_json(const md_study_outcome *outcome)
{
    json_t *objects = json_array();
    for (size_t i = 0; i < outcome->analysis->n_objects; i++) {
        const md_object *object = &outcome->analysis->objects[i];
        json_array_append_new(objects,
                              json_pack("{s:s,s:s,s:o}", "sop_class_uid", object->sop_class_uid,
                                        "sop_instance_uid", object->sop_instance_uid, "path",
                                        text_or_null(outcome->written[i])));
    }
    return objects;
}

md_status md_print_json(FILE *out, const md_study_outcome *outcome, md_error *err)
{
    const md_analysis *analysis = outcome->analysis;
    json_t *results = json_array();
    for (size_t i = 0; i < analysis->n_results; i++) {
        json_array_append_new(results, result_json(&analysis->results[i]));
    }
    json_t *sent = outcome->sent_to == NULL
                       ? json_null()
                       : json_pack("{s:o,s:i}", "to", text_json(outcome->sent_to), "stored",
                                   (int)outcome->n_sent);
    json_t *study = json_pack(
        "{s:s,s:s,s:s,s:i,s:o,s:o,s:o,s:o,s:i,s:i,s:f}", "study", outcome->key,
        "study_instance_uid", outcome->study_instance_uid, "status",
        exit_code_name(outcome->exit_code), "exit_code", (int)outcome->exit_code, "reason",
        text_or_null(outcome->reason), "results", results, "objects", objects_json(outcome),
        "sent", sent, "unreadable", (int)analysis->n_unreadable, "not_accepted",
        (int)analysis->n_not_accepted, "total_ms", (double)outcome->total_us / 1e3);
    if (study != NULL && outcome->timing != NULL &&
        json_object_set_new(study, "timing_ms", md_stage_times_json(outcome->timing)) != 0) {
        json_decref(study);
        study = NULL;
    }
    char *line =
        study == NULL ? NULL : json_dumps(study, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(study);
    if (line == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the JSON of a study");
    }
    fputs(line, out);
    fputc('\n', out);
    free(line);
    return MD_OK;
}
