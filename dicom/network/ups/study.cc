#include "dicom/network/ups/study.h"

#include "dicom/network/ups/workitem_internal.h"

#include <cstring>
#include <memory>

namespace
{

struct Destroy {
    void operator()(md_dataset *dataset) const
    {
        md_dataset_destroy(dataset);
    }
};
using Owned = std::unique_ptr<md_dataset, Destroy>;

constexpr uint32_t tag_inputs = MD_TAG(0x0040, 0x4021);

/* Type 2 attributes that medaid knows nothing of. */
const uint32_t empty_ones[] = {
    MD_UPS_TAG_TRANSACTION, MD_TAG(0x0008, 0x1080), /* Admitting Diagnoses Description */
    MD_TAG(0x0008, 0x1084),                         /* Admitting Diagnoses Code Sequence */
    MD_TAG(0x0010, 0x1002),                         /* Other Patient IDs Sequence */
    MD_TAG(0x0038, 0x0010),                         /* Admission ID */
    MD_TAG(0x0038, 0x0014),                         /* Issuer of Admission ID Sequence */
    MD_TAG(0x0040, 0x4025),                         /* Scheduled Station Name Code Sequence */
    MD_TAG(0x0040, 0x4026),                         /* Scheduled Station Class Code Sequence */
    MD_TAG(0x0040, 0x4027), /* Scheduled Station Geographic Location Code Sequence */
    MD_TAG(0x0074, 0x1002), /* Procedure Step Progress Information Sequence */
    MD_TAG(0x0074, 0x1210), /* Scheduled Processing Parameters Sequence */
    MD_TAG(0x0074, 0x1216), /* Unified Procedure Step Performed Procedure Sequence */
};

/* Type 2 of an item of the Referenced Request Sequence, PS3.3 table C.30.4-1. */
const uint32_t empty_of_request[] = {
    MD_TAG(0x0008, 0x0051), /* Issuer of Accession Number Sequence */
    MD_TAG(0x0032, 0x1064), /* Requested Procedure Code Sequence */
    MD_TAG(0x0040, 0x0026), /* Order Placer Identifier Sequence */
    MD_TAG(0x0040, 0x0027), /* Order Filler Identifier Sequence */
    MD_TAG(0x0040, 0x1001), /* Requested Procedure ID */
    MD_TAG(0x0040, 0x2016), /* Placer Order Number */
    MD_TAG(0x0040, 0x2017), /* Filler Order Number */
};

DcmItem *append_item(DcmItem *to, uint32_t sequence)
{
    DcmItem *item = nullptr;
    if (to->findOrCreateSequenceItem(DcmTag(md_ups_key(sequence)), item, -2).bad()) {
        throw std::bad_alloc();
    }
    return item;
}

/* The Referenced Instances and Access Macro, PS3.3 table 10-3b: one item for each series. */
void put_inputs(DcmItem *to, const md_workitem_study *study)
{
    DcmItem *series = nullptr;
    const char *uid = "";
    if (to->insertEmptyElement(DcmTag(md_ups_key(tag_inputs))).bad()) {
        throw std::bad_alloc();
    }
    for (size_t i = 0; i < study->n_inputs; i++) {
        const md_workitem_input *input = &study->inputs[i];
        if (series == nullptr || strcmp(uid, input->series_instance_uid) != 0) {
            uid = input->series_instance_uid;
            series = append_item(to, tag_inputs);
            md_ups_put(series, MD_TAG(0x0040, 0xe020), "DICOM");
            md_ups_put(series, MD_UPS_TAG_STUDY, study->study_instance_uid);
            md_ups_put(series, MD_TAG(0x0020, 0x000e), uid);
            if (study->retrieve_ae[0] != '\0') {
                md_ups_put(append_item(series, MD_TAG(0x0040, 0xe021)), MD_TAG(0x0008, 0x0054),
                           study->retrieve_ae);
            }
        }
        DcmItem *reference = append_item(series, MD_TAG(0x0008, 0x1199));
        md_ups_put(reference, MD_TAG(0x0008, 0x1150), input->sop_class_uid);
        md_ups_put(reference, MD_TAG(0x0008, 0x1155), input->sop_instance_uid);
    }
}

void put_time(DcmItem *to, uint32_t tag, int64_t at_ms)
{
    char text[MD_WORKITEM_DATETIME_BYTES];
    md_workitem_datetime(at_ms, text);
    md_ups_put(to, tag, text);
}

/* What an analysis can change. */
void put_changes(DcmItem *to, const md_workitem_study *study, bool with_priority)
{
    if (with_priority) {
        md_ups_put(to, MD_UPS_TAG_PRIORITY, md_ups_priority_name(study->priority));
    }
    md_ups_put(to, MD_TAG(0x0040, 0x0400), study->comment);
    md_ups_put(to, MD_UPS_TAG_READINESS, "READY");
    put_inputs(to, study);
}

void put_request(DcmItem *to, const md_workitem_study *study)
{
    if (to->insertEmptyElement(DcmTag(md_ups_key(MD_TAG(0x0040, 0xa370)))).bad()) {
        throw std::bad_alloc();
    }
    if (study->accession_number[0] == '\0') {
        return; /* no order is known */
    }
    DcmItem *request = append_item(to, MD_TAG(0x0040, 0xa370));
    md_ups_put(request, MD_UPS_TAG_STUDY, study->study_instance_uid);
    md_ups_put(request, MD_TAG(0x0008, 0x0050), study->accession_number);
    md_ups_put(request, MD_TAG(0x0032, 0x1060), study->study_description);
    for (const uint32_t tag : empty_of_request) {
        if (request->insertEmptyElement(DcmTag(md_ups_key(tag))).bad()) {
            throw std::bad_alloc();
        }
    }
}

void put_workitem_code(DcmItem *to)
{
    DcmItem *code = append_item(to, MD_TAG(0x0040, 0x4018)); /* CID 9231 */
    md_ups_put(code, MD_TAG(0x0008, 0x0100), "110005");
    md_ups_put(code, MD_TAG(0x0008, 0x0102), "DCM");
    md_ups_put(code, MD_TAG(0x0008, 0x0104), "Interpretation");
}

md_status of_study(const md_workitem_study *study, md_dataset **ret_item, md_error *err)
{
    md_dataset *made = nullptr;
    MD_TRY(md_workitem_create(&made, err));
    Owned item(made);
    DcmDataset *to = md_dataset_dcmtk(made);
    for (const uint32_t tag : empty_ones) {
        if (to->insertEmptyElement(DcmTag(md_ups_key(tag))).bad()) {
            throw std::bad_alloc();
        }
    }
    md_ups_put(to, MD_UPS_TAG_SOP_CLASS, MD_UPS_PUSH);
    md_ups_put(to, MD_UPS_TAG_SOP_INSTANCE, study->sop_instance_uid);
    md_ups_put(to, MD_TAG(0x0010, 0x0010), study->patient_name);
    md_ups_put(to, MD_UPS_TAG_PATIENT_ID, study->patient_id);
    if (study->issuer_of_patient_id[0] != '\0') {
        md_ups_put(to, MD_TAG(0x0010, 0x0021), study->issuer_of_patient_id);
    }
    md_ups_put(to, MD_TAG(0x0010, 0x0030), study->birth_date);
    md_ups_put(to, MD_TAG(0x0010, 0x0040), study->sex);
    md_ups_put(to, MD_UPS_TAG_STUDY, study->study_instance_uid);
    md_ups_put(to, MD_UPS_TAG_STATE, "SCHEDULED");
    md_ups_put(to, MD_UPS_TAG_WORKLIST, study->worklist_label);
    md_ups_put(to, MD_UPS_TAG_LABEL, study->label);
    put_time(to, MD_UPS_TAG_START, study->scheduled_ms);
    put_time(to, MD_UPS_TAG_MODIFIED, study->now_ms);
    put_workitem_code(to);
    put_request(to, study);
    put_changes(to, study, true);
    *ret_item = item.release();
    return MD_OK;
}

} // namespace

md_status md_workitem_of_study(const md_workitem_study *study, md_dataset **ret_item,
                               md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return of_study(study, ret_item, err); });
}

md_status md_workitem_renew_study(md_dataset *item, const md_workitem_study *study,
                                  bool is_claimed, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        put_changes(md_dataset_dcmtk(item), study, !is_claimed);
        put_time(md_dataset_dcmtk(item), MD_UPS_TAG_MODIFIED, study->now_ms);
        return MD_OK;
    });
}

md_status md_workitem_study_changes(const md_workitem_study *study, md_dataset **ret_changes,
                                    md_error *err) noexcept
{
    return md_guard(err, __func__, [&]() -> md_status {
        md_dataset *made = nullptr;
        MD_TRY(md_workitem_create(&made, err));
        Owned changes(made);
        put_changes(md_dataset_dcmtk(made), study, true);
        *ret_changes = changes.release();
        return MD_OK;
    });
}
