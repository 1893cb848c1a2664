#ifndef MEDAID_PLUGINS_HOST_ANALYZER_H
#define MEDAID_PLUGINS_HOST_ANALYZER_H

/* What the host sees of a model, whatever its form: a package (package.h) and a C plugin
 * (plugin.h) both fill this struct and its few functions.
 *
 * The kind says what an analyzer eats: the frames of images, the texts of a study, or the
 * numbers that are known of it, which are the scores of the other two among others. Each kind
 * has its `needs` in the union and its function in md_analyzer_ops; registry, manifest,
 * findings and results are the same for all. A C plugin is always of kind image.
 *
 * An analyzer belongs to one thread at a time. */

#include "base/raster.h"
#include "conf/required.h"
#include "dicom/image/normalise.h"
#include "dicom/report/result.h"
#include "plugins/host/accept.h"
#include "plugins/host/gate.h"
#include "plugins/host/host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_analyzer_kind {
    MD_ANALYZER_IMAGE,
    MD_ANALYZER_TEXT, /* once for a study: what its order says */
    MD_ANALYZER_RISK  /* once for a study, after the others */
} md_analyzer_kind;

/* "image", "text", "risk". */
const char *md_analyzer_kind_name(md_analyzer_kind kind) MD_NOEXCEPT;

/* A finding as its maker declares it. */
typedef struct md_finding_spec {
    char key[MD_KEY_BYTES];
    md_code concept;
    md_code site; /* value "": none */
    double threshold;
    bool has_undetermined;
    double undetermined_low, undetermined_high; /* low <= threshold <= high */
    bool score_is_probability;
    bool urgent;
} md_finding_spec;

/* Set key, codes, threshold, score, presence and urgency of `ret_finding` (the rest stays).
 * Presence: undetermined when low <= score <= high of the band, else present when score >=
 * threshold, else absent. MD_PLUGIN when the score is not a number in 0..1. */
md_status md_finding_judge(const md_finding_spec *spec, double score, md_finding *ret_finding,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* "key (code, scheme, meaning) from threshold; ...", cut with "..." when there is no room. */
void md_finding_describe(const md_finding_spec *specs, unsigned n_specs, char *ret_text,
                         size_t size_bytes) MD_NOEXCEPT;

/* The model looks at a frame only when another one's finding about it is as it should be. */
typedef struct md_after {
    unsigned line;            /* of the manifest */
    char model[MD_KEY_BYTES]; /* "": it comes after none */
    char finding[MD_KEY_BYTES];
    md_presence when;      /* present or absent; undetermined is neither */
    size_t gate;           /* number of the model in its registry (registry.h) */
    unsigned gate_finding; /* and of the finding among its specs */
} md_after;

/* What an image analyzer needs of an image. */
typedef struct md_image_needs {
    md_accept accept;
    md_gate gate;
    md_normalise_values values;
    bool plain;           /* values only as an array of floats, not a coded raster */
    md_image_least least; /* a smaller decode is as good; all zero: it wants the whole image */
} md_image_needs;

/* An attribute that says why a study was made, or what another read in it. */
typedef enum md_study_text {
    MD_STUDY_TEXT_REASON_FOR_STUDY,     /* (0032,1030) */
    MD_STUDY_TEXT_REASON_FOR_PROCEDURE, /* (0040,1002) */
    MD_STUDY_TEXT_REQUESTED_PROCEDURE,  /* (0032,1060) */
    MD_STUDY_TEXT_STUDY_DESCRIPTION,    /* (0008,1030) */
    MD_STUDY_TEXT_ADMITTING_DIAGNOSES,  /* (0008,1080) */
    MD_STUDY_TEXT_PATIENT_HISTORY,      /* (0010,21B0) */
    MD_STUDY_TEXT_PROCEDURE_COMMENTS,   /* (0040,1400) */
    MD_STUDY_TEXT_REQUEST_COMMENTS,     /* (0040,2400) */
    MD_STUDY_TEXT_REPORT,               /* the TEXT items of structured reports */
    MD_STUDY_TEXT_N
} md_study_text;

/* What a text analyzer reads, in this order; those that are there stand one after the other. */
typedef struct md_text_needs {
    md_accept accept; /* a study is read when one of its objects is accepted */
    md_study_text attributes[MD_EVIDENCE_MAX_PASSAGES];
    unsigned n_attributes;
} md_text_needs;

enum {
    MD_RISK_MAX_ATTRIBUTES = 32
};

/* A number of the dataset that a risk analyzer takes in under a name of its own. */
typedef struct md_risk_attribute {
    char name[MD_EVIDENCE_NAME_BYTES];
    uint32_t tag;
} md_risk_attribute;

/* What a risk analyzer wants to know, by the names of inference/tabular/risk.h. */
typedef struct md_risk_needs {
    md_accept accept;         /* as above */
    const char *const *names; /* owned by the analyzer */
    unsigned n_names;
    unsigned least_known;                /* below so many known numbers there is no answer */
    const md_risk_attribute *attributes; /* owned by the analyzer */
    unsigned n_attributes;
} md_risk_needs;

/* One frame. */
typedef struct md_image_input {
    const md_raster *values; /* display or physical, as needs.values says */
    const md_accept_facts *facts;
    bool has_spacing;
    uint32_t frame, n_frames; /* frame is 1-based */
    bool want_saliency;
} md_image_input;

typedef struct md_analyzer md_analyzer;

typedef struct md_analyzer_ops {
    /* Fill findings[0 .. n_findings-1], which come zeroed; saliency values are allocated with
     * md_malloc and belong to the findings even when the call fails. `steps` gets what was done
     * to the image. Scores were judged with md_finding_judge. instance_index is the caller's.
     * MD_PLUGIN when the answer is not usable (NaN, out of range), MD_UNSUPPORTED when this
     * image cannot be judged; the message says why. */
    md_status (*analyse_image)(md_analyzer *self, const md_image_input *input,
                               md_finding *findings, md_steps *steps, md_error *err);
    /* What the last call of the above left: embeds.n numbers, borrowed until the next call.
     * NULL when embeds.n is 0. */
    const float *(*embedding)(const md_analyzer *self);
    /* Kind text: judge evidence->text, UTF-8 of at most MD_EVIDENCE_TEXT_BYTES, which is not
     * empty; fill its words and is_cut, and the findings as above. MD_NOT_FOUND when there is
     * no word in it. */
    md_status (*analyse_text)(md_analyzer *self, md_text_evidence *evidence,
                              md_finding *findings, md_error *err);
    /* Kind risk: from needs.risk.n_names values, NaN for missing. Fills all of `evidence`,
     * which comes zeroed; its terms are allocated and belong to it even when the call fails.
     * MD_NOT_FOUND when a number is missing that the model cannot do without. */
    md_status (*assess)(md_analyzer *self, const double *values, md_risk_evidence *evidence,
                        md_finding *findings, md_error *err);
    void (*destroy)(md_analyzer *self);
} md_analyzer_ops;

/* What of its calls so far was not the network itself, microseconds. */
typedef struct md_analyzer_times {
    int64_t resize_us, saliency_us;
} md_analyzer_times;

struct md_analyzer {
    const md_analyzer_ops *ops;
    md_analyzer_kind kind;
    md_model_identity identity;
    md_model_card card;
    md_after after;
    bool is_gate; /* it answers for models that come after it and gives no result of its own */
    md_required required;   /* of a study; nothing: no views and count 0 */
    md_finding_spec *specs; /* owned by the analyzer */
    unsigned n_findings;
    md_embeds embeds;
    md_analyzer_times spent;
    union {
        md_image_needs image; /* MD_ANALYZER_IMAGE */
        md_text_needs text;
        md_risk_needs risk;
    } needs;
};

static inline void md_analyzer_destroy(md_analyzer *analyzer)
{
    if (analyzer != NULL) {
        analyzer->ops->destroy(analyzer);
    }
}
MD_DEFINE_DESTROYP(md_analyzer, md_analyzer_destroy)

#ifdef __cplusplus
}
#endif
#endif
