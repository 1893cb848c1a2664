#include "dicom/report/tree_internal.h"

#include <cstring>

static const char SOP_COMPREHENSIVE_3D_SR[] = "1.2.840.10008.5.1.4.1.1.88.34";
static const char SERIES_KIND[] = "sr series";

/* A Hierarchical SOP Instance Reference, PS3.3 table C.17-3b. */
static void write_evidence(md_writing &w, const DcmTag &sequence,
                           const std::vector<md_study_series> &groups, bool referenced)
{
    DcmItem *study = nullptr;
    for (const md_study_series &group : groups) {
        DcmItem *series = nullptr;
        for (const md_study_object &object : group.objects) {
            if (object.referenced != referenced) {
                continue;
            }
            if (study == nullptr) {
                study = w.append(&w.dataset, sequence);
                w.uid(study, DCM_StudyInstanceUID, w.result->study_instance_uid);
            }
            if (series == nullptr) {
                series = w.append(study, DCM_ReferencedSeriesSequence);
                w.uid(series, DCM_SeriesInstanceUID, group.uid);
            }
            md_write_reference(w, w.append(series, DCM_ReferencedSOPSequence),
                               object.instance->sop_class_uid,
                               object.instance->sop_instance_uid);
        }
    }
}

/* PS3.3 C.17.2: the device is the author. */
static void write_author(md_writing &w)
{
    const md_model_identity &m = w.result->model;
    DcmItem *author = w.append(&w.dataset, DCM_AuthorObserverSequence);
    w.text(author, DCM_InstitutionName, w.options->institution_name);
    w.empty(author, DCM_InstitutionCodeSequence);
    w.text(author, DCM_StationName, w.options->station_name, 16);
    w.text(author, DCM_ObserverType, "DEV", 16);
    w.uid(author, DCM_DeviceUID, w.device_uid);
    w.text(author, DCM_Manufacturer, m.manufacturer[0] != '\0' ? m.manufacturer : "medaid");
    w.text(author, DCM_ManufacturerModelName, m.name[0] != '\0' ? m.name : m.id);
}

/* One text of the order: from the Request Attributes Sequence, else from the dataset itself. */
static std::string order_text(DcmItem *request, DcmDataset *dataset, const DcmTagKey &tag)
{
    char text[MD_TEXT_BYTES] = "";
    if (request == nullptr || !md_item_get_text(request, tag, 0, text, sizeof text)) {
        text[0] = '\0';
        (void)md_item_get_text(dataset, tag, 0, text, sizeof text);
    }
    return text;
}

/* PS3.3 C.17.2, Referenced Request Sequence: the order that this report helps to fulfil. */
static void write_request(md_writing &w, const md_dataset *source)
{
    DcmDataset *from = md_dataset_dcmtk(source);
    DcmItem *request = nullptr;
    (void)from->findAndGetSequenceItem(DCM_RequestAttributesSequence, request);
    std::string accession = order_text(request, from, DCM_AccessionNumber);
    std::string procedure_id = order_text(request, from, DCM_RequestedProcedureID);
    if (request == nullptr && procedure_id.empty()) {
        return;
    }
    DcmItem *item = w.append(&w.dataset, DCM_ReferencedRequestSequence);
    w.uid(item, DCM_StudyInstanceUID, w.result->study_instance_uid);
    w.empty(item, DCM_ReferencedStudySequence);
    w.text(item, DCM_AccessionNumber, accession.c_str());
    w.text(item, DCM_PlacerOrderNumberImagingServiceRequest,
           order_text(request, from, DCM_PlacerOrderNumberImagingServiceRequest).c_str());
    w.text(item, DCM_FillerOrderNumberImagingServiceRequest,
           order_text(request, from, DCM_FillerOrderNumberImagingServiceRequest).c_str());
    w.text(item, DCM_RequestedProcedureID, procedure_id.c_str());
    w.text(item, DCM_RequestedProcedureDescription,
           order_text(request, from, DCM_RequestedProcedureDescription).c_str());
    md_code code = {};
    if (md_requested_procedure(source, &code)) {
        w.code(w.append(item, DCM_RequestedProcedureCodeSequence), code);
    } else {
        w.empty(item, DCM_RequestedProcedureCodeSequence);
    }
}

static void write_document(md_writing &w, const md_dataset *source,
                           const std::vector<md_study_series> &groups)
{
    const md_result *result = w.result;
    DcmDataset *d = &w.dataset;
    w.text(d, DCM_InstanceNumber, "1");
    bool complete = result->status == MD_RESULT_COMPLETE;
    w.text(d, DCM_CompletionFlag, complete ? "COMPLETE" : "PARTIAL", 16);
    if (!complete) {
        w.text(d, DCM_CompletionFlagDescription, result->failure.meaning);
    }
    w.text(d, DCM_VerificationFlag, "UNVERIFIED", 16);
    w.text(d, DCM_PreliminaryFlag, "PRELIMINARY", 16);
    w.empty(d, DCM_ReferencedPerformedProcedureStepSequence);
    w.code(w.append(d, DCM_PerformedProcedureCodeSequence), md_procedure_reported(source));
    write_author(w);
    write_request(w, source);
    write_evidence(w, DCM_CurrentRequestedProcedureEvidenceSequence, groups, true);
    write_evidence(w, DCM_PertinentOtherEvidenceSequence, groups, false);
    OFString own_uid; /* an analysis repeated gives the same object, which replaces nothing */
    (void)d->findAndGetOFString(DCM_SOPInstanceUID, own_uid);
    if (result->predecessor_sop_instance_uid[0] != '\0' &&
        own_uid != result->predecessor_sop_instance_uid) {
        std::string series_uid = result->predecessor_series_instance_uid;
        DcmItem *study = w.append(d, DCM_PredecessorDocumentsSequence);
        w.uid(study, DCM_StudyInstanceUID, result->study_instance_uid);
        DcmItem *series = w.append(study, DCM_ReferencedSeriesSequence);
        w.uid(series, DCM_SeriesInstanceUID,
              series_uid.empty() ? md_series_uid(result, SERIES_KIND) : series_uid);
        md_write_reference(w, w.append(series, DCM_ReferencedSOPSequence),
                           SOP_COMPREHENSIVE_3D_SR, result->predecessor_sop_instance_uid);
    }
}

/* Proposals depend on what was decided for others until now: with other ones it is another
 * document. */
static std::string kind_of(const md_writing &w)
{
    std::string kind = w.options->triage_only ? "triage sr" : "sr";
    for (uint32_t i = 0; md_has_follow_up(w) && i < w.options->follow_up->n_proposals; i++) {
        const md_follow_up_proposal &p = w.options->follow_up->proposals[i];
        char text[1024];
        md_follow_up_sentence(&p, text, sizeof text);
        kind += std::string("; ") + p.action.scheme + " " + p.action.value + " " + text;
    }
    return kind;
}

static md_status write_sr(const md_result *result, const md_dataset *const *sources,
                          const md_report_options *options, md_object *ret_object,
                          md_error *err)
{
    md_writing w(result, options);
    std::vector<md_study_series> groups = md_group_objects(result, sources);
    md_write_study(w, sources[0]);
    md_write_series(w, SOP_COMPREHENSIVE_3D_SR, md_object_uid(result, kind_of(w).c_str()),
                    md_series_uid(result, SERIES_KIND), "SR", "9901",
                    "AI result - not for diagnosis");
    write_document(w, sources[0], groups);
    MD_TRY(md_write_tree(w, sources, groups, err));
    return md_write_finish(w, ret_object, err);
}

md_status md_report_write_sr(const md_result *result, const md_dataset *const *sources,
                             const md_report_options *options, md_object *ret_object,
                             md_error *err) noexcept
{
    static const md_report_options NONE = {};
    MD_TRY(md_result_check(result, err));
    if (sources == nullptr || sources[0] == nullptr) {
        return md_fail(err, MD_INVALID_ARG, "no source dataset to take the patient from");
    }
    return md_guard(err, __func__, [&] {
        return write_sr(result, sources, options != nullptr ? options : &NONE, ret_object, err);
    });
}
