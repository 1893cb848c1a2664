#include "plugins/host/study_text.h"

#include "dicom/report/report.h"
#include "plugins/host/text.h"

#include <string.h>

static const struct {
    uint32_t tag; /* 0: not one attribute */
    const char *name;
} attributes[MD_STUDY_TEXT_N] = {
    [MD_STUDY_TEXT_REASON_FOR_STUDY] = {MD_TAG(0x0032, 0x1030), "Reason for Study (0032,1030)"},
    [MD_STUDY_TEXT_REASON_FOR_PROCEDURE] = {MD_TAG(0x0040, 0x1002),
                                            "Reason for the Requested Procedure (0040,1002)"},
    [MD_STUDY_TEXT_REQUESTED_PROCEDURE] = {MD_TAG(0x0032, 0x1060),
                                           "Requested Procedure Description (0032,1060)"},
    [MD_STUDY_TEXT_STUDY_DESCRIPTION] = {MD_TAG(0x0008, 0x1030),
                                         "Study Description (0008,1030)"},
    [MD_STUDY_TEXT_ADMITTING_DIAGNOSES] = {MD_TAG(0x0008, 0x1080),
                                           "Admitting Diagnoses Description (0008,1080)"},
    [MD_STUDY_TEXT_PATIENT_HISTORY] = {MD_TAG(0x0010, 0x21b0),
                                       "Additional Patient History (0010,21B0)"},
    [MD_STUDY_TEXT_PROCEDURE_COMMENTS] = {MD_TAG(0x0040, 0x1400),
                                          "Requested Procedure Comments (0040,1400)"},
    [MD_STUDY_TEXT_REQUEST_COMMENTS] = {MD_TAG(0x0040, 0x2400),
                                        "Imaging Service Request Comments (0040,2400)"},
    [MD_STUDY_TEXT_REPORT] = {0, "Text of a structured report"},
};
static const char joint[] = ". ";

const char *md_study_text_name(md_study_text attribute)
{
    return (unsigned)attribute < MD_STUDY_TEXT_N ? attributes[attribute].name : "unknown";
}

void md_study_text_destroy(md_text_evidence *evidence)
{
    if (evidence != NULL) {
        md_free(evidence->text);
        md_free(evidence);
    }
}

/* Its words would come back as somebody else's. */
static bool is_own_report(const md_dataset *dataset)
{
    char text[MD_TEXT_BYTES];
    return md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0070), 0, text, sizeof text) &&
           strcmp(text, "medaid") == 0;
}

static bool read_one(const md_study_file *file, md_study_text attribute, char *buffer,
                     size_t size_bytes, bool *ret_cut)
{
    if (attribute != MD_STUDY_TEXT_REPORT) {
        return md_dataset_get_order_text(file->dataset, attributes[attribute].tag, buffer,
                                         size_bytes, ret_cut);
    }
    return md_object_kind_of(file->facts.sop_class) == MD_OBJECT_SR &&
           !is_own_report(file->dataset) &&
           md_dataset_get_report_text(file->dataset, buffer, size_bytes, ret_cut);
}

static bool is_said(const md_text_evidence *e, const char *text, size_t length)
{
    for (unsigned i = 0; i < e->n_passages; i++) {
        const md_text_range *range = &e->passages[i].range;
        if (range->n_bytes == length &&
            memcmp(e->text + range->first_byte, text, length) == 0) {
            return true;
        }
    }
    return false;
}

/* `clean` has no control characters. What does not fit is left out. */
static void add_passage(md_text_evidence *e, md_study_text attribute, const char *clean)
{
    size_t length = strlen(clean);
    const size_t used = strlen(e->text);
    const size_t before = used > 0 ? sizeof joint - 1 : 0;
    if (length == 0 || is_said(e, clean, length)) {
        return;
    }
    if (e->n_passages == MD_EVIDENCE_MAX_PASSAGES || used + before >= MD_EVIDENCE_TEXT_BYTES) {
        e->is_cut = true;
        return;
    }
    const size_t room = MD_EVIDENCE_TEXT_BYTES - used - before;
    if (length > room) {
        for (length = room; length > 0 && ((unsigned char)clean[length] & 0xc0) == 0x80;) {
            length--;
        }
        e->is_cut = true;
    }
    if (length == 0) {
        return;
    }
    memcpy(e->text + used, joint, before);
    memcpy(e->text + used + before, clean, length);
    e->text[used + before + length] = '\0';
    md_text_passage *passage = &e->passages[e->n_passages++];
    memcpy(passage->source, attributes[attribute].name, strlen(attributes[attribute].name) + 1);
    passage->range =
        (md_text_range){.first_byte = (uint32_t)(used + before), .n_bytes = (uint32_t)length};
}

md_status md_study_text_collect(const md_study *study, const md_text_needs *needs,
                                md_text_evidence **ret_evidence, size_t *ret_file,
                                md_error *err)
{
    enum {
        ROOM = MD_EVIDENCE_TEXT_BYTES + 1
    };
    MD_AUTO(md_study_text_destroyp) md_text_evidence *e = md_calloc(1, sizeof *e);
    MD_AUTO(md_freep) char *raw = md_malloc(ROOM);
    MD_AUTO(md_freep) char *clean = md_malloc(ROOM);
    if (e != NULL) {
        e->text = md_calloc(1, ROOM);
    }
    if (e == NULL || raw == NULL || clean == NULL || e->text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the texts of a study");
    }
    *ret_file = 0;
    for (unsigned i = 0; i < needs->n_attributes; i++) {
        for (size_t k = 0; k < study->n; k++) {
            bool is_cut = false;
            if (!read_one(&study->files[k], needs->attributes[i], raw, ROOM, &is_cut)) {
                continue;
            }
            md_text_clean(raw, clean, ROOM);
            if (e->n_passages == 0) {
                *ret_file = k;
            }
            add_passage(e, needs->attributes[i], clean);
            e->is_cut = e->is_cut || is_cut;
        }
    }
    *ret_evidence = e->n_passages > 0 ? MD_STEAL(e) : NULL;
    return MD_OK;
}
