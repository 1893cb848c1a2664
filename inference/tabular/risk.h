#ifndef MEDAID_INFERENCE_TABULAR_RISK_H
#define MEDAID_INFERENCE_TABULAR_RISK_H

/* A model of a row of named numbers: findings, what a text says, age and sex, the clock of the
 * study; to a score in 0..1 or a value with a unit, and what each number added to it.
 *
 * One file, JSON (docs/risk-model.md), made by `medaid-train risk` or written by hand; hostile
 * until it is checked. It states for each feature its unit, its range, its reference (the mean
 * of the rows that it was made from) and what happens when it is missing. Before the model sees
 * it a value beyond its range is brought to the end of the range, and the part says so.
 *
 *   linear  s = intercept + sum_j b_j x_j
 *   svm     s = the decision of svm.h
 *   forest  s = the mean over the trees, forest.h
 *
 *   value = s                      link "identity": a value, or a score, kept in 0..1
 *         = 1 / (1 + exp(-(a s + b)))   "logistic": a probability
 *         = exp(s)                 "exp": the model was made of logarithms
 *
 * Contributions are differences of s (logistic: of a s + b, the log-odds), so that
 * start + sum of parts = sum. Linear: b_j (x_j - reference_j). Linear SVM: the same of its
 * normal. Forest: Shapley values over the paths of the trees (S. Lundberg et al., Nature
 * Machine Intelligence 2 (2020) 56, "tree_path_dependent"), as XGBoost's pred_contribs. An SVM
 * with the RBF kernel is no sum of its columns: its part is what s loses when this feature
 * alone is put to its reference, and `additive` is false.
 *
 * An opened model is immutable: any thread may run it. A run allocates nothing. */

#include "inference/tabular/forest.h"
#include "inference/tabular/linear.h"
#include "inference/tabular/svm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_RISK_FILE "risk.json" /* in a package */
#define MD_RISK_MAX_BYTES ((size_t)8 << 20)
enum {
    MD_RISK_MAX_FEATURES = 256,
    MD_RISK_MAX_NODES = 200000,
    MD_RISK_NAME_BYTES = 130,
    MD_RISK_UNIT_BYTES = 33,
    MD_RISK_TEXT_BYTES = 257,
    MD_RISK_NOTE_BYTES = 1025
};

/* The names that the host fills (any other is a number that somebody else brings; the host
 * leaves what it does not know missing):
 *
 *   finding.KEY                 score of the finding, 0..1: the highest of the study's images;
 *                               KEY as in the manifest, or MODEL/KEY for that of one model
 *   text.LABEL                  score of a text analyzer's output, 0..1 (e.g. text.urgency)
 *   patient.age_years           PatientAge, or StudyDate - PatientBirthDate
 *   patient.sex_female          1 female, 0 male, missing for any other
 *   patient.weight_kg, patient.size_m
 *   study.hours_since_acquisition   AcquisitionDateTime (or date and time of acquisition,
 *                               content, study) to now
 *   study.hour, study.weekday   of that acquisition; 0..23.99, 0 Monday..6 Sunday
 *   study.n_images
 *   lab.NAME, vital.NAME        a number from HL7 (OBX) or the dataset, in the feature's unit
 */
#define MD_RISK_FINDING_PREFIX "finding."
#define MD_RISK_TEXT_PREFIX "text."

typedef enum md_risk_kind {
    MD_RISK_LINEAR,
    MD_RISK_SVM,
    MD_RISK_FOREST
} md_risk_kind;

typedef enum md_risk_link {
    MD_RISK_IDENTITY,
    MD_RISK_LOGISTIC,
    MD_RISK_EXP
} md_risk_link;

/* What a missing value (NaN) becomes. */
typedef enum md_risk_missing {
    MD_RISK_MISSING_REFUSE, /* no answer without it */
    MD_RISK_MISSING_FILL,   /* `fill`, and the part says so */
    MD_RISK_MISSING_LEARNT  /* forest: the way that it learnt for missing values */
} md_risk_missing;

typedef struct md_risk_feature {
    char name[MD_RISK_NAME_BYTES]; /* letters, digits, '.', '_', '-', '/' */
    char unit[MD_RISK_UNIT_BYTES]; /* UCUM where there is one; "1": a share or a score */
    char meaning[MD_RISK_TEXT_BYTES];
    double low, high; /* range */
    double reference; /* within the range */
    md_risk_missing missing;
    double fill; /* within the range; FILL only */
} md_risk_feature;

/* What the file says of itself. */
typedef struct md_risk_card {
    md_risk_kind kind;
    md_risk_link link;
    double a, b;                      /* logistic; else 1, 0 */
    char name[MD_RISK_NAME_BYTES];    /* "triage" */
    char meaning[MD_RISK_TEXT_BYTES]; /* of the answer */
    char unit[MD_RISK_UNIT_BYTES];    /* of the answer */
    bool is_score;                    /* in 0..1; false: a value in `unit` */
    bool is_probability;              /* of a score: it was fitted and checked as one */
    char note[MD_RISK_NOTE_BYTES];    /* where it comes from, what it is not for */
    unsigned n_features;
    md_risk_feature features[MD_RISK_MAX_FEATURES];
    /* Intervals of the value: 0 none. Linear with a covariance: Student's t at this confidence.
     * Else the quantiles of truth - s over rows not seen, which the file states: low <= high.
     * Scores have none. */
    double confidence, residual_low, residual_high;
} md_risk_card;

typedef struct md_risk_model md_risk_model;

/* Read and check. `name` stands in messages ("risk/risk.json"). MD_FORMAT naming the key,
 * MD_LIMIT, MD_NOMEM. Caller destroys. */
md_status md_risk_parse(const void *bytes, size_t size_bytes, const char *name,
                        md_risk_model **ret_model, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same from a file. MD_NOT_FOUND, MD_IO. */
md_status md_risk_open(const char *path, md_risk_model **ret_model, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_risk_destroy(md_risk_model *model) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_risk_model, md_risk_destroy)

/* Valid until the model is destroyed. */
const md_risk_card *md_risk_describe(const md_risk_model *model) MD_NOEXCEPT;
/* n_features when there is none of this name. */
unsigned md_risk_find(const md_risk_model *model, const char *feature) MD_NOEXCEPT;
/* Share of the whole of each feature, for reports; forests only, else NULL. [n_features] */
const double *md_risk_importance(const md_risk_model *model) MD_NOEXCEPT;

typedef enum md_risk_state {
    MD_RISK_GIVEN,
    MD_RISK_CLAMPED, /* it lay beyond its range */
    MD_RISK_FILLED,  /* it was missing */
    MD_RISK_LEARNT   /* it was missing, and the forest knows its way */
} md_risk_state;

typedef struct md_risk_part {
    md_risk_state state;
    double value; /* that the model saw; NaN with LEARNT */
    double part;
} md_risk_part;

typedef struct md_risk_answer {
    double value;      /* 0..1 of a score */
    bool has_interval; /* of one such row, at the card's confidence */
    double low, high;
    bool additive; /* start + sum of all parts = sum */
    double start, sum;
    unsigned n_missing, n_clamped;
} md_risk_answer;

/* values [n_features], NaN for missing; ret_parts [n_features] or NULL. MD_INVALID_ARG, naming
 * the feature: one that may not be missing is, or one is infinite. MD_LIMIT: the answer or its
 * interval is no number. */
md_status md_risk_run(const md_risk_model *model, const double *values,
                      md_risk_answer *ret_answer, md_risk_part *ret_parts, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* What a model is written from; one of the three is there, as the card's kind says. Borrowed.
 */
typedef struct md_risk_draft {
    const md_risk_card *card;
    const md_linear *linear; /* without covariance (NULL): no interval of its own */
    const md_svm *svm;
    const md_forest *forest;
} md_risk_draft;

/* The file as text, checked by reading it back. MD_INVALID_ARG when it would not be read,
 * MD_LIMIT, MD_NOMEM. Caller frees. */
md_status md_risk_write(const md_risk_draft *draft, char **ret_text, size_t *ret_size,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same of an opened model. */
md_status md_risk_text(const md_risk_model *model, char **ret_text, size_t *ret_size,
                       md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
