#ifndef MEDAID_DICOM_REPORT_RESULT_H
#define MEDAID_DICOM_REPORT_RESULT_H

/* What an analysis says: coded findings, or a coded failure, for one study and one model: of
 * its images, of the texts of its order, or of everything that is known of it. Plain data.
 * plugins/host makes and bounds it; dicom/report writes exactly what stands here; daemon/
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
    MD_EVIDENCE_TEXT_BYTES = 16384, /* of the texts of a study, all together */
    MD_EVIDENCE_MAX_PASSAGES = 16,
    MD_EVIDENCE_MAX_WORDS = 64,  /* that are highlighted */
    MD_EVIDENCE_MAX_TERMS = 256, /* inputs of a risk analyzer */
    MD_EVIDENCE_NAME_BYTES = 130,
    MD_EVIDENCE_UNIT_BYTES = 33,
};

/* Which kind of analyzer speaks, and so what stands beside the findings. */
typedef enum md_result_kind {
    MD_RESULT_IMAGE,
    MD_RESULT_TEXT, /* `text` */
    MD_RESULT_RISK  /* `risk` */
} md_result_kind;

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
    uint32_t instance_index;   /* into md_result.instances: the image it was found in, or the
                                  first object that held a text; of a risk 0 */
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

/* A stretch of a text, in bytes; it begins and ends between characters. */
typedef struct md_text_range {
    uint32_t first_byte, n_bytes;
} md_text_range;

/* What one attribute said. */
typedef struct md_text_passage {
    char source[MD_EVIDENCE_NAME_BYTES]; /* for people: "Reason for Study (0032,1030)" */
    md_text_range range;
} md_text_passage;

/* A word and its share of the network's attention, 0..1; all words of a text share 1. */
typedef struct md_highlight {
    md_text_range range;
    double weight;
    bool negated; /* it stands behind a "no" or the like */
} md_highlight;

/* What a text analyzer read, and the words that it looked at most. Patient data: for people who
 * may see the study, never for a log. */
typedef struct md_text_evidence {
    char *text;  /* owned; passages with ". " between them */
    bool is_cut; /* there was more than MD_EVIDENCE_TEXT_BYTES, or than the network reads */
    md_text_passage passages[MD_EVIDENCE_MAX_PASSAGES];
    unsigned n_passages;
    md_highlight words[MD_EVIDENCE_MAX_WORDS]; /* in the text's order, none over another */
    unsigned n_words;
} md_text_evidence;

typedef enum md_term_state {
    MD_TERM_GIVEN,
    MD_TERM_CLAMPED, /* it lay beyond the model's range and was brought to its end */
    MD_TERM_MISSING  /* nobody knew it; `value` is what the model took instead */
} md_term_state;

/* One input of a risk analyzer. */
typedef struct md_risk_term {
    char name[MD_EVIDENCE_NAME_BYTES]; /* the model's name for it: "finding.pneumonia" */
    char unit[MD_EVIDENCE_UNIT_BYTES]; /* "": none */
    md_term_state state;
    bool has_value; /* false: missing, and the model has a way of its own for that */
    double value;
    double part; /* what it added to `sum` */
} md_risk_term;

/* How a risk analyzer came to its answer. */
typedef struct md_risk_evidence {
    double value; /* the model's own answer; the finding's score is made from it */
    char unit[MD_EVIDENCE_UNIT_BYTES]; /* of it; "": none */
    bool has_interval;
    double low, high;  /* of the value */
    bool is_additive;  /* start + all parts = sum; else parts are what each alone makes out */
    double start, sum; /* before the model's link: log-odds where the value is a probability */
    md_risk_term *terms; /* owned; in the model's order */
    unsigned n_terms, n_missing;
} md_risk_evidence;

/* One image that the analysis saw. */
typedef struct md_instance_ref {
    char sop_class_uid[MD_UID_BYTES];
    char sop_instance_uid[MD_UID_BYTES];
    char series_instance_uid[MD_UID_BYTES];
    uint32_t frame; /* 1-based; 0: the whole object */
    bool analysed;  /* its pixels; false: not accepted by the model, or not what it looks at */
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
    md_result_kind kind;
    md_text_evidence *text; /* owned; NULL unless a text analyzer came to an answer */
    md_risk_evidence *risk; /* owned; NULL unless a risk analyzer did */
} md_result;

/* Check what the types cannot say: counts, indices, scores and thresholds in 0..1, codes that
 * DICOM can hold, UIDs of digits and dots, findings only where there are any, a coded reason
 * for every failure. MD_INVALID_ARG names the finding or instance by its number and never
 * repeats a text. */
md_status md_result_check(const md_result *result, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The part of it that concerns kind, `text` and `risk`, with `status`: they are there exactly
 * when such an analyzer came to an answer, stretches of text lie in it and between characters,
 * words one after the other with shares of 1, numbers are finite. */
md_status md_result_check_evidence(const md_result *result, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Release what the result owns; a zeroed one is fine. */
void md_result_finish(md_result *result) MD_NOEXCEPT;

/* "image", "text", "risk". */
const char *md_result_kind_name(md_result_kind kind) MD_NOEXCEPT;

/* "absent", "present", "undetermined". */
const char *md_presence_name(md_presence presence) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
