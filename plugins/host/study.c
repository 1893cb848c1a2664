#include "plugins/host/study.h"

#include "conf/schema.h"
#include "dicom/image/image.h"

#include <stdlib.h>
#include <string.h>

/* 64 characters (PS3.5 6.2), of up to four bytes, and room for those that are too long. */
#define MD_PATIENT_ID_BYTES 512

static const uint32_t PATIENT_ID = MD_TAG(0x0010, 0x0020);
static const uint32_t ROWS = MD_TAG(0x0028, 0x0010);
static const uint32_t COLUMNS = MD_TAG(0x0028, 0x0011);
static const uint32_t PIXEL_DATA = MD_TAG(0x7fe0, 0x0010);

void md_study_finish(md_study *study)
{
    for (size_t i = 0; i < study->n; i++) {
        md_dataset_destroy(study->files[i].dataset);
    }
    md_free(study->files);
    study->files = NULL;
    study->n = 0;
}

/* An identifying UID: required, and well formed, because it goes into what is written. */
static md_status read_uid(const md_dataset *dataset, uint32_t tag, const char *what,
                          char uid[MD_UID_BYTES], md_error *err)
{
    char text[MD_UID_BYTES + 8];
    if (!md_dataset_get_text(dataset, tag, 0, text, sizeof text)) {
        return md_fail(err, MD_FORMAT, "%s (%04X,%04X) is absent", what, tag >> 16,
                       tag & 0xffffU);
    }
    /* Leading zeros in a component are wrong, but written by real devices: they pass. */
    size_t length = strlen(text);
    if (length >= MD_UID_BYTES || strspn(text, "0123456789.") != length) {
        return md_fail(err, MD_FORMAT, "%s (%04X,%04X) is not a UID", what, tag >> 16,
                       tag & 0xffffU);
    }
    memcpy(uid, text, length + 1);
    return MD_OK;
}

static md_status identify(md_study_file *file, md_error *err)
{
    MD_TRY(read_uid(file->dataset, MD_TAG(0x0020, 0x000d), "Study Instance UID",
                    file->study_uid, err));
    MD_TRY(read_uid(file->dataset, MD_TAG(0x0020, 0x000e), "Series Instance UID",
                    file->series_uid, err));
    MD_TRY(read_uid(file->dataset, MD_TAG(0x0008, 0x0018), "SOP Instance UID", file->sop_uid,
                    err));
    char sop_class[MD_UID_BYTES];
    MD_TRY(read_uid(file->dataset, MD_TAG(0x0008, 0x0016), "SOP Class UID", sop_class, err));
    if (!md_dataset_get_int(file->dataset, MD_TAG(0x0020, 0x0013), 0, &file->number)) {
        file->number = INT64_MAX;
    }
    md_accept_facts_read(file->dataset, &file->facts);
    file->is_image = md_dataset_has(file->dataset, ROWS) ||
                     md_dataset_has(file->dataset, COLUMNS) ||
                     md_dataset_has(file->dataset, PIXEL_DATA);
    if (file->is_image &&
        md_image_count_frames(file->dataset, &file->n_frames, &file->broken) != MD_OK) {
        file->n_frames = 0;
    }
    return MD_OK;
}

static void leave_out(md_study *study, const md_analyse_options *options, const char *path,
                      const md_error *reason)
{
    if (study->first_problem.status == MD_OK) {
        study->first_problem = *reason;
    }
    md_study_problem(options, path, reason);
}

static int compare_identity(const void *a, const void *b)
{
    const md_study_file *x = a;
    const md_study_file *y = b;
    int order = strcmp(x->sop_uid, y->sop_uid);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int compare_order(const void *a, const void *b)
{
    const md_study_file *x = a;
    const md_study_file *y = b;
    int order = strcmp(x->series_uid, y->series_uid);
    if (order == 0) {
        order = (x->number > y->number) - (x->number < y->number);
    }
    return order != 0 ? order : strcmp(x->sop_uid, y->sop_uid);
}

/* The same object under two names counts once: the earlier path stays. */
static void drop_duplicates(md_study *study, const md_analyse_options *options)
{
    qsort(study->files, study->n, sizeof *study->files, compare_identity);
    size_t n = 0;
    for (size_t i = 0; i < study->n; i++) {
        md_study_file *file = &study->files[i];
        if (n > 0 && strcmp(study->files[n - 1].sop_uid, file->sop_uid) == 0) {
            md_error reason = {0};
            (void)md_fail(&reason, MD_INVALID_ARG,
                          "the same SOP Instance UID as another file of the call, left out");
            leave_out(study, options, file->path, &reason);
            md_dataset_destroy(file->dataset);
            continue;
        }
        if (n != i) {
            study->files[n] = *file;
        }
        n++;
    }
    study->n = n;
    qsort(study->files, study->n, sizeof *study->files, compare_order);
}

/* One study is of one patient (PS3.3 A.1.2). Where the files disagree, which happens when a
 * film was sent under a wrong name, a report on all of them would tell one patient of the
 * other. Names are no help here: the same one is spelt in many ways. */
static md_status check_one_study(const md_study *study, md_error *err)
{
    char patient[MD_PATIENT_ID_BYTES] = "";
    for (size_t i = 0; i < study->n; i++) {
        char id[MD_PATIENT_ID_BYTES] = "";
        if (strcmp(study->files[i].study_uid, study->files[0].study_uid) != 0) {
            return md_fail(err, MD_INVALID_ARG,
                           "the files belong to different studies (Study Instance UID "
                           "(0020,000D) differs)");
        }
        (void)md_dataset_get_text(study->files[i].dataset, PATIENT_ID, 0, id, sizeof id);
        if (id[0] != '\0' && patient[0] != '\0' && strcmp(id, patient) != 0) {
            return md_fail(err, MD_INVALID_ARG,
                           "the files of the study name different patients (Patient ID "
                           "(0010,0020) differs)");
        }
        if (id[0] != '\0') {
            memcpy(patient, id, sizeof patient);
        }
    }
    return MD_OK;
}

md_status md_study_open(const char *const *paths, size_t n_paths,
                        const md_analyse_options *options, md_study *ret_study, md_error *err)
{
    md_study *study = ret_study;
    memset(study, 0, sizeof *study);
    if (n_paths > MD_RESULT_MAX_INSTANCES) {
        return md_fail(err, MD_LIMIT,
                       "%zu files in one study, at most %d are analysed together", n_paths,
                       MD_RESULT_MAX_INSTANCES);
    }
    study->files = md_calloc(n_paths, sizeof *study->files);
    if (study->files == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu files", n_paths);
    }
    for (size_t i = 0; i < n_paths; i++) {
        md_study_file *file = &study->files[study->n];
        *file = (md_study_file){.path = paths[i], .index = i};
        md_error reason = {0};
        md_status status = md_dataset_open(paths[i], &file->dataset, &reason);
        if (status == MD_OK) {
            status = identify(file, &reason);
        }
        if (status == MD_OK) {
            study->n++;
            continue;
        }
        md_dataset_destroy(file->dataset);
        if (status == MD_NOMEM) {
            return md_fail(err, MD_NOMEM, "%s", reason.msg);
        }
        study->n_unreadable++;
        leave_out(study, options, paths[i], &reason);
    }
    if (study->n == 0) {
        return md_fail(err, MD_FORMAT, "none of %zu files can be read%s%s", n_paths,
                       n_paths > 0 ? ": " : "", study->first_problem.msg);
    }
    MD_TRY(check_one_study(study, err));
    drop_duplicates(study, options);
    return MD_OK;
}

void md_study_read_header(const md_dataset *dataset, md_study_header *ret_header)
{
    md_study_header *h = ret_header;
    const struct {
        uint32_t tag;
        char *text;
        size_t size_bytes;
    } rows[] = {
        {MD_TAG(0x0010, 0x0010), h->patient_name, sizeof h->patient_name},
        {MD_TAG(0x0010, 0x0020), h->patient_id, sizeof h->patient_id},
        {MD_TAG(0x0010, 0x0021), h->issuer_of_patient_id, sizeof h->issuer_of_patient_id},
        {MD_TAG(0x0010, 0x0030), h->birth_date, sizeof h->birth_date},
        {MD_TAG(0x0010, 0x0040), h->sex, sizeof h->sex},
        {MD_TAG(0x0008, 0x0050), h->accession_number, sizeof h->accession_number},
        {MD_TAG(0x0020, 0x0010), h->study_id, sizeof h->study_id},
        {MD_TAG(0x0008, 0x0020), h->study_date, sizeof h->study_date},
        {MD_TAG(0x0008, 0x0030), h->study_time, sizeof h->study_time},
        {MD_TAG(0x0008, 0x1030), h->study_description, sizeof h->study_description},
        {MD_TAG(0x0008, 0x0090), h->referring_physician, sizeof h->referring_physician},
        {MD_TAG(0x0008, 0x0060), h->modality, sizeof h->modality},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!md_dataset_get_text(dataset, rows[i].tag, 0, rows[i].text, rows[i].size_bytes)) {
            rows[i].text[0] = '\0';
        }
    }
}
