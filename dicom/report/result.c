#include "dicom/report/result.h"

#include "dicom/report/report.h"

#include <math.h>
#include <string.h>

void md_result_finish(md_result *result)
{
    if (result == NULL) {
        return;
    }
    for (size_t i = 0; result->findings != NULL && i < result->n_findings; i++) {
        md_free(result->findings[i].saliency.values);
    }
    md_free(result->findings);
    md_free(result->instances);
    if (result->text != NULL) {
        md_free(result->text->text);
    }
    md_free(result->text);
    if (result->risk != NULL) {
        md_free(result->risk->terms);
    }
    md_free(result->risk);
    memset(result, 0, sizeof *result);
}

void md_object_finish(md_object *object)
{
    if (object != NULL) {
        md_free(object->bytes);
        memset(object, 0, sizeof *object);
    }
}

/* SR storage classes are one branch of PS3.6. */
md_object_kind md_object_kind_of(const char *sop_class_uid)
{
    static const char sr_root[] = "1.2.840.10008.5.1.4.1.1.88.";
    if (strncmp(sop_class_uid, sr_root, sizeof sr_root - 1) == 0) {
        return MD_OBJECT_SR;
    }
    return strcmp(sop_class_uid, "1.2.840.10008.5.1.4.1.1.30") == 0 ? MD_OBJECT_MAP
                                                                    : MD_OBJECT_PICTURE;
}

const char *md_object_kind_name(md_object_kind kind)
{
    return kind == MD_OBJECT_SR ? "sr" : kind == MD_OBJECT_MAP ? "map" : "picture";
}

bool md_report_has_map(const md_result *result, size_t finding_index,
                       const md_report_options *options)
{
    if (finding_index >= result->n_findings || (options != NULL && options->triage_only)) {
        return false;
    }
    const md_finding *f = &result->findings[finding_index];
    return f->saliency.values != NULL && f->presence != MD_PRESENCE_ABSENT;
}

const char *md_result_kind_name(md_result_kind kind)
{
    return kind == MD_RESULT_TEXT ? "text" : kind == MD_RESULT_RISK ? "risk" : "image";
}

const char *md_presence_name(md_presence presence)
{
    switch (presence) {
    case MD_PRESENCE_ABSENT:
        return "absent";
    case MD_PRESENCE_PRESENT:
        return "present";
    case MD_PRESENCE_UNDETERMINED:
        return "undetermined";
    default:
        return "unknown";
    }
}

/* PS3.5 section 9.1, without the rule about leading zeros: real studies break that one, and
 * their UIDs are carried as they are. */
static bool is_uid(const char *text)
{
    size_t length = strnlen(text, MD_UID_BYTES);
    return length > 0 && length < MD_UID_BYTES && strspn(text, "0123456789.") == length;
}

/* A code or scheme is an identifier: it is never repaired, only refused. */
static bool is_identifier(const char *text, size_t size_bytes)
{
    size_t length = strnlen(text, size_bytes);
    if (length == 0 || length == size_bytes || text[0] == ' ' || text[length - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '\\' || c >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* Text for people may be anything that ends: it is made legal where it is written. */
static bool is_text(const char *text, size_t size_bytes)
{
    return memchr(text, '\0', size_bytes) != NULL;
}

static bool is_code(const md_code *code)
{
    return is_identifier(code->value, sizeof code->value) &&
           is_identifier(code->scheme, MD_CODE_SCHEME_BYTES) && code->meaning[0] != '\0' &&
           is_text(code->meaning, sizeof code->meaning);
}

static bool is_code_or_none(const md_code *code)
{
    return code->value[0] == '\0' || is_code(code);
}

static bool is_share(double value)
{
    return isfinite(value) && value >= 0 && value <= 1;
}

static md_status check_model(const md_model_identity *m, md_error *err)
{
    if (!is_identifier(m->id, sizeof m->id) || m->version[0] == '\0' ||
        !is_text(m->version, sizeof m->version) ||
        !is_identifier(m->sha256, sizeof m->sha256)) {
        return md_fail(err, MD_INVALID_ARG, "the model lacks an id, a version or a hash");
    }
    if (!is_text(m->name, sizeof m->name) ||
        !is_text(m->manufacturer, sizeof m->manufacturer) ||
        !is_text(m->parameters, sizeof m->parameters) ||
        !is_text(m->intended_use, sizeof m->intended_use)) {
        return md_fail(err, MD_INVALID_ARG, "a text of the model does not end");
    }
    return MD_OK;
}

static bool are_steps(const md_steps *steps)
{
    bool end = steps->n <= MD_STEPS_MAX;
    for (unsigned i = 0; end && i < steps->n; i++) {
        end = is_text(steps->text[i], sizeof steps->text[i]);
    }
    return end;
}

static md_status check_saliency(const md_saliency *s, size_t i, md_error *err)
{
    if (s->values == NULL) {
        return MD_OK;
    }
    if (s->columns == 0 || s->rows == 0 || s->columns > 4096 || s->rows > 4096) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: saliency of %u x %u, not 1..4096", i,
                       s->columns, s->rows);
    }
    if (!isfinite(s->x) || !isfinite(s->y) || !isfinite(s->width) || !isfinite(s->height) ||
        s->width <= 0 || s->height <= 0) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: saliency covers no rectangle", i);
    }
    if ((s->kind != MD_MAP_SALIENCY && s->kind != MD_MAP_GRADIENT_ACTIVATION) ||
        !is_text(s->method, sizeof s->method)) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: saliency of kind %d", i,
                       (int)s->kind);
    }
    size_t n = (size_t)s->columns * s->rows;
    for (size_t k = 0; k < n; k++) {
        if (!(s->values[k] >= 0.0F && s->values[k] <= 1.0F)) {
            return md_fail(err, MD_INVALID_ARG, "finding %zu: saliency not in 0..1", i);
        }
    }
    return MD_OK;
}

static md_status check_finding(const md_result *result, size_t i, md_error *err)
{
    const md_finding *f = &result->findings[i];
    if (!is_code(&f->concept) || !is_code_or_none(&f->site) ||
        !is_code_or_none(&f->laterality)) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: a code is incomplete or illegal", i);
    }
    if (!is_identifier(f->key, sizeof f->key)) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: no usable key", i);
    }
    if (f->presence != MD_PRESENCE_ABSENT && f->presence != MD_PRESENCE_PRESENT &&
        f->presence != MD_PRESENCE_UNDETERMINED) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: presence %d", i, (int)f->presence);
    }
    if (!is_share(f->score) || !is_share(f->threshold)) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: score or threshold not in 0..1", i);
    }
    if (f->instance_index >= result->n_instances) {
        return md_fail(err, MD_INVALID_ARG, "finding %zu: instance %u of %zu", i,
                       f->instance_index, result->n_instances);
    }
    return check_saliency(&f->saliency, i, err);
}

/* A byte that begins a character, or the end. */
static bool is_between(const char *text, size_t at)
{
    return ((unsigned char)text[at] & 0xc0) != 0x80;
}

static bool is_range(const char *text, size_t length, const md_text_range *range)
{
    return range->n_bytes > 0 && range->first_byte <= length &&
           range->n_bytes <= length - range->first_byte &&
           is_between(text, range->first_byte) &&
           is_between(text, (size_t)range->first_byte + range->n_bytes);
}

static md_status check_text(const md_text_evidence *t, md_error *err)
{
    if (t->text == NULL ||
        strnlen(t->text, MD_EVIDENCE_TEXT_BYTES + 1) > MD_EVIDENCE_TEXT_BYTES ||
        t->n_passages > MD_EVIDENCE_MAX_PASSAGES || t->n_words > MD_EVIDENCE_MAX_WORDS) {
        return md_fail(err, MD_INVALID_ARG,
                       "a text of more than %d bytes, %d passages or %d words",
                       MD_EVIDENCE_TEXT_BYTES, MD_EVIDENCE_MAX_PASSAGES, MD_EVIDENCE_MAX_WORDS);
    }
    const size_t length = strlen(t->text);
    uint32_t end = 0;
    double sum = 0;
    for (unsigned i = 0; i < t->n_passages; i++) {
        const md_text_passage *p = &t->passages[i];
        if (!is_range(t->text, length, &p->range) || !is_text(p->source, sizeof p->source)) {
            return md_fail(err, MD_INVALID_ARG, "passage %u is not in the text", i);
        }
    }
    for (unsigned i = 0; i < t->n_words; i++) {
        const md_highlight *w = &t->words[i];
        if (!is_range(t->text, length, &w->range) || w->range.first_byte < end) {
            return md_fail(err, MD_INVALID_ARG,
                           "word %u is not in the text, or not after the one before", i);
        }
        end = w->range.first_byte + w->range.n_bytes;
        sum += w->weight;
        if (!is_share(w->weight) || sum > 1.001) {
            return md_fail(err, MD_INVALID_ARG, "word %u: weights are not shares of 1", i);
        }
    }
    return MD_OK;
}

static md_status check_risk(const md_risk_evidence *r, md_error *err)
{
    if (!isfinite(r->value) || !isfinite(r->low) || !isfinite(r->high) || !isfinite(r->start) ||
        !isfinite(r->sum) || r->n_terms > MD_EVIDENCE_MAX_TERMS ||
        (r->n_terms > 0 && r->terms == NULL) || r->n_missing > r->n_terms ||
        !is_text(r->unit, sizeof r->unit)) {
        return md_fail(err, MD_INVALID_ARG, "a risk that is no number, or of %u terms",
                       r->n_terms);
    }
    for (unsigned i = 0; i < r->n_terms; i++) {
        const md_risk_term *t = &r->terms[i];
        if (!isfinite(t->value) || !isfinite(t->part) ||
            !is_identifier(t->name, sizeof t->name) || !is_text(t->unit, sizeof t->unit)) {
            return md_fail(err, MD_INVALID_ARG, "term %u: no name, or no number", i);
        }
    }
    return MD_OK;
}

md_status md_result_check_evidence(const md_result *result, md_error *err)
{
    const bool text = result->kind == MD_RESULT_TEXT, risk = result->kind == MD_RESULT_RISK;
    const bool answered = result->status != MD_RESULT_FAILED;
    if ((result->text != NULL) != (text && answered) ||
        (result->risk != NULL) != (risk && answered)) {
        return md_fail(err, MD_INVALID_ARG, "a result of kind %d without what it is made of",
                       (int)result->kind);
    }
    if (result->text != NULL) {
        return check_text(result->text, err);
    }
    return result->risk != NULL ? check_risk(result->risk, err) : MD_OK;
}

md_status md_result_check(const md_result *result, md_error *err)
{
    if (!is_uid(result->study_instance_uid)) {
        return md_fail(err, MD_INVALID_ARG, "the study has no usable Study Instance UID");
    }
    if (result->n_instances == 0 || result->n_instances > MD_RESULT_MAX_INSTANCES ||
        result->n_findings > MD_RESULT_MAX_FINDINGS) {
        return md_fail(err, MD_INVALID_ARG, "%zu instances and %zu findings, at most %d and %d",
                       result->n_instances, result->n_findings, MD_RESULT_MAX_INSTANCES,
                       MD_RESULT_MAX_FINDINGS);
    }
    MD_TRY(check_model(&result->model, err));
    for (size_t i = 0; i < result->n_instances; i++) {
        const md_instance_ref *r = &result->instances[i];
        if (!is_uid(r->sop_class_uid) || !is_uid(r->sop_instance_uid) ||
            !is_uid(r->series_instance_uid)) {
            return md_fail(err, MD_INVALID_ARG, "instance %zu lacks a usable UID", i);
        }
        if (!are_steps(&r->steps)) {
            return md_fail(err, MD_INVALID_ARG, "instance %zu: a step does not end", i);
        }
    }
    const char *before = result->predecessor_sop_instance_uid;
    const char *before_series = result->predecessor_series_instance_uid;
    if ((before[0] != '\0' && !is_uid(before)) ||
        (before_series[0] != '\0' && !is_uid(before_series))) {
        return md_fail(err, MD_INVALID_ARG, "the predecessor's UID is not one");
    }
    switch (result->status) {
    case MD_RESULT_COMPLETE:
        if (result->n_findings == 0) {
            return md_fail(err, MD_INVALID_ARG, "a complete result without any finding");
        }
        break;
    case MD_RESULT_PARTIAL:
        break;
    case MD_RESULT_FAILED:
        if (result->n_findings != 0) {
            return md_fail(err, MD_INVALID_ARG, "a failed result with findings");
        }
        break;
    default:
        return md_fail(err, MD_INVALID_ARG, "result status %d", (int)result->status);
    }
    if (result->status != MD_RESULT_COMPLETE &&
        (!is_code(&result->failure) ||
         !is_text(result->failure_text, sizeof result->failure_text))) {
        return md_fail(err, MD_INVALID_ARG, "a failure without a coded reason");
    }
    for (size_t i = 0; i < result->n_findings; i++) {
        MD_TRY(check_finding(result, i, err));
    }
    return md_result_check_evidence(result, err);
}
