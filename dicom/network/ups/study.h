#ifndef MEDAID_DICOM_NETWORK_UPS_STUDY_H
#define MEDAID_DICOM_NETWORK_UPS_STUDY_H

/* The workitem that asks somebody to read a study: (110005, DCM, "Interpretation"), with the
 * images and medaid's reports as its input. */

#include "dicom/network/ups/workitem.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_workitem_input {
    const char *sop_class_uid, *sop_instance_uid, *series_instance_uid;
} md_workitem_input;

/* Texts are UTF-8; "": not known, where nothing else is said. All borrowed. */
typedef struct md_workitem_study {
    const char *sop_instance_uid; /* of the workitem */
    const char *study_instance_uid;
    const char *patient_name, *patient_id, *issuer_of_patient_id, *birth_date, *sex;
    const char *accession_number, *study_description;
    md_ups_priority priority;
    const char *worklist_label;      /* not "" */
    const char *label;               /* Procedure Step Label, not "" */
    const char *comment;             /* for the reader */
    const char *retrieve_ae;         /* where the inputs can be had */
    const md_workitem_input *inputs; /* those of a series follow each other */
    size_t n_inputs;
    int64_t scheduled_ms, now_ms;
} md_workitem_study;

/* The dataset of a new item, which md_workitem_check_new would accept. Caller destroys. */
md_status md_workitem_of_study(const md_workitem_study *study, md_dataset **ret_item,
                               md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The changes to an item that is there: inputs, comment, readiness, modification time, and the
 * priority while nobody has claimed it. What else somebody has set stays. */
md_status md_workitem_renew_study(md_dataset *item, const md_workitem_study *study,
                                  bool is_claimed, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The dataset of an N-SET that tells another manager of the same. Caller destroys. */
md_status md_workitem_study_changes(const md_workitem_study *study, md_dataset **ret_changes,
                                    md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
