#ifndef MEDAID_DICOM_REPORT_READ_H
#define MEDAID_DICOM_REPORT_READ_H

/* A stored report is read back: what docs/sr.md says that medaid writes, and nothing else. The
 * dataset may come from any PACS and is hostile: what is missing, doubled or out of range is
 * refused with the content item's name and never believed. Any thread, one dataset a thread. */

#include "dicom/dataset/dataset.h"
#include "dicom/report/result.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_READING_MAX_FINDINGS = 4096, /* measurement groups of a report */
    MD_READING_MAX_ITEMS = 65536,   /* content items looked at */
};

typedef struct md_reported_finding {
    char key[MD_KEY_BYTES]; /* Tracking Identifier */
    md_code concept;
    md_presence presence;
    double score; /* 0..1; a Probability in percent comes as a share */
    double threshold;
    bool score_is_probability;
} md_reported_finding;

/* Identifiers here are patient data: never in a message or an output. */
typedef struct md_reading {
    char study_instance_uid[MD_UID_BYTES], sop_instance_uid[MD_UID_BYTES];
    char predecessor_sop_instance_uid[MD_UID_BYTES]; /* "" */
    char accession_number[65];                       /* (0008,0050) */
    char patient_id[MD_TEXT_BYTES];                  /* (0010,0020) */
    char sex[17];                                    /* (0010,0040) */
    double age_years;          /* (0010,1010), or the birth date; NaN: not known */
    char content_datetime[32]; /* (0008,0023) and (0008,0033), to be compared as text */
    char model_id[MD_KEY_BYTES], model_version[17], model_sha256[65];
    bool is_complete;              /* Completion Flag */
    bool has_failure;              /* a group that says what failed */
    md_reported_finding *findings; /* owned */
    size_t n_findings;
} md_reading;

/* MD_UNSUPPORTED when it is no Comprehensive 3D SR, or none that medaid wrote (root concept,
 * Manufacturer); MD_FORMAT when it says so of itself but is not what medaid writes; MD_LIMIT,
 * MD_NOMEM. Caller finishes. */
md_status md_report_read(const md_dataset *dataset, md_reading *ret_reading, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine. */
void md_reading_finish(md_reading *reading) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
