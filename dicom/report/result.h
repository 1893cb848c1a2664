#ifndef MEDAID_DICOM_REPORT_RESULT_H
#define MEDAID_DICOM_REPORT_RESULT_H

/* What an analysis says: coded findings, or a coded failure, for one study and one model. Plain
 * data. plugins/host makes and bounds it; dicom/report writes exactly what stands here; daemon/
 * stores it. All text is UTF-8 without control characters. */

#include "base/memory.h"
#include "base/steps.h"
#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CODE_VALUE_BYTES = 65, /* SH is 16 characters; longer ones go to Long Code Value */
    MD_CODE_SCHEME_BYTES = 17,
    MD_CODE_MEANING_BYTES = 129,
    MD_KEY_BYTES = 65,
    MD_RESULT_MAX_FINDINGS = 64,
    MD_RESULT_MAX_INSTANCES = 4096,
};

/* A coded concept, PS3.16 section 8. An empty value means "none". */
typedef struct md_code {
    char value[MD_CODE_VALUE_BYTES];
    char scheme[MD_CODE_SCHEME_BYTES];
    char meaning[MD_CODE_MEANING_BYTES];
} md_code;

typedef enum md_presence {
    MD_PRESENCE_ABSENT,
    MD_PRESENCE_PRESENT,
    MD_PRESENCE_UNDETERMINED,
} md_presence;

/* What kind of quantity a saliency map shows, PS3.16 CID 7180. */
typedef enum md_map_kind {
    MD_MAP_SALIENCY,           /* (130404, DCM): of the input's pixels, or of a way not known */
    MD_MAP_GRADIENT_ACTIVATION /* (130403, DCM): activations weighted by gradients */
} md_map_kind;

enum {
    MD_MAP_METHOD_BYTES = 65
};

/* Where a network looked: values in 0..1, row-major, covering the rectangle (x, y, width,
 * height) of the source image in pixels of that image, which may be cut at its borders (a
 * letterboxed input). */
typedef struct md_saliency {
    uint32_t columns, rows;
    float *values; /* owned by the result */
    double x, y, width, height;
    md_map_kind kind;
    char method[MD_MAP_METHOD_BYTES]; /* for people: "Grad-CAM++ of features"; "": not known */
} md_saliency;

typedef struct md_finding {
    char key[MD_KEY_BYTES]; /* the manifest's name for it: "pneumonia" */
    md_code concept;
    md_code site;       /* optional */
    md_code laterality; /* optional, CID 244 */
    md_presence presence;
    double score; /* 0..1 */
    double threshold;
    bool score_is_probability; /* calibrated: only then may a report call it a probability */
    bool urgent;               /* the manifest's flag, and the finding is present */
    uint32_t instance_index;   /* into md_result.instances: the image it was found in */
    md_saliency saliency;      /* values NULL when there is none */
} md_finding;

typedef struct md_model_identity {
    char id[MD_KEY_BYTES];
    char version[17];
    char name[MD_KEY_BYTES];
    char manufacturer[MD_KEY_BYTES];
    char sha256[65];      /* of the network or library file, hexadecimal */
    char parameters[257]; /* for Algorithm Parameters: calibration, precision, backend */
    char intended_use[1025];
} md_model_identity;

/* One image that the analysis saw. */
typedef struct md_instance_ref {
    char sop_class_uid[MD_UID_BYTES];
    char sop_instance_uid[MD_UID_BYTES];
    char series_instance_uid[MD_UID_BYTES];
    uint32_t frame; /* 1-based; 0: the whole object */
    bool analysed;  /* false: in the study, but not accepted by the model */
    md_steps steps; /* normalisation, in order */
} md_instance_ref;

typedef enum md_result_status {
    MD_RESULT_COMPLETE, /* every accepted image was analysed */
    MD_RESULT_PARTIAL,  /* some failed: `failure` says why, findings stand for the rest */
    MD_RESULT_FAILED,   /* none: `failure` says why, no findings */
} md_result_status;

typedef struct md_clock_times {
    int64_t first_received_ms, last_received_ms, complete_ms; /* wall clock; 0: unknown */
    int64_t analysis_start_ms, analysis_end_ms;
    int64_t decode_us, normalise_us, infer_us; /* durations */
} md_clock_times;

typedef struct md_result {
    char study_instance_uid[MD_UID_BYTES];
    md_model_identity model;
    md_result_status status;
    md_code failure; /* when not COMPLETE, e.g. (110531, DCM, ...) */
    char failure_text[MD_ERROR_MSG_BYTES];
    md_instance_ref *instances; /* owned; at least one */
    size_t n_instances;
    md_finding *findings; /* owned; in the manifest's order */
    size_t n_findings;
    char predecessor_sop_instance_uid[MD_UID_BYTES]; /* an earlier report that this one
                                                        replaces; "" */
    /* Its series; "": that of this report, which is right while the model stays the same. */
    char predecessor_series_instance_uid[MD_UID_BYTES];
    uint64_t
        revision; /* of the images' bytes, when other bytes of one of them are known: part of
                     the objects' UIDs, as they are then not the same analysis; else 0 */
    md_clock_times times;
} md_result;

/* Check what the types cannot say: counts, indices, scores and thresholds in 0..1, codes that
 * DICOM can hold, UIDs of digits and dots, findings only where there are any, a coded reason
 * for every failure. MD_INVALID_ARG names the finding or instance by its number and never
 * repeats a text. */
md_status md_result_check(const md_result *result, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Release what the result owns; a zeroed one is fine. */
void md_result_finish(md_result *result) MD_NOEXCEPT;

/* "absent", "present", "undetermined". */
const char *md_presence_name(md_presence presence) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
