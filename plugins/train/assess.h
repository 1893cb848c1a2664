#ifndef MEDAID_PLUGINS_TRAIN_ASSESS_H
#define MEDAID_PLUGINS_TRAIN_ASSESS_H

/* From scores and truths to every figure that an evaluation states, with 95% intervals. Knows
 * neither files nor networks: the fit loop, `medaid-train evaluate` and the audit of stored
 * reports all come here. Pure but for threads of its own; any thread. */

#include "inference/statistics/delong.h"
#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_ASSESS_MAX_QUESTIONS = 64,
    MD_ASSESS_MAX_CLASSES = 64,
    MD_ASSESS_MAX_COLUMNS = 16,
    MD_ASSESS_MAX_GROUPS = 64,  /* of one column */
    MD_ASSESS_LEAST_CASES = 10, /* with and without the finding, or a group is too small */
    MD_ASSESS_NAME_BYTES = 65,
    MD_ASSESS_HISTOGRAM_BINS = 40
};

/* A yes-or-no question that the model answers by a score: a class against the rest, a label, a
 * finding. */
typedef struct md_assess_question {
    const char *name;
    const double *scores; /* [n] 0..1; NaN: no score, the row is left out and counted */
    const int8_t *truths; /* [n] 1, 0; -1: not known, the row is left out */
    double threshold; /* positive from here on; NaN with `calls`: it is not the same for all */
    const int8_t *calls; /* [n] what was decided, 1 or 0; NULL: by the threshold */
    /* [n] before any calibration, for the fits; NULL: log(score / (1 - score)), for scores of
     * exactly 0 and 1 that of 2^-24 and 1 - 2^-24. */
    const double *log_odds;
} md_assess_question;

/* What is known of each row beside its label. */
typedef struct md_assess_column {
    const char *name;          /* "sex" */
    const char *const *labels; /* [n_labels] "female", "male" */
    unsigned n_labels;
    const uint32_t *rows; /* [n] label number; at least n_labels: not known */
} md_assess_column;

typedef struct md_assess_input {
    size_t n;                 /* films or studies */
    const uint32_t *patients; /* [n]; NULL: each row is a patient of its own */
    const md_assess_question *questions;
    unsigned n_questions;
    /* One of several classes; n_classes 0: none. Rows with a truth beyond are left out. */
    const char *const *classes;
    unsigned n_classes;
    const uint32_t *truth, *said; /* [n] class numbers */
    const double *confidence;     /* [n] probability of the class said; NULL: none */
    const md_assess_column *columns;
    unsigned n_columns;
    unsigned n_bootstrap; /* 0: 2000 */
    uint64_t seed;
    unsigned n_threads; /* 0: all cores */
} md_assess_input;

typedef enum md_assess_method {
    MD_ASSESS_NO_INTERVAL, /* not defined, or nothing varies */
    MD_ASSESS_BOOTSTRAP,   /* by patient, bias-corrected and accelerated */
    MD_ASSESS_DELONG,      /* for areas under ROC curves, patients as clusters */
    MD_ASSESS_WILSON,      /* shares of exactly 0 or 1, with the number of patients */
} md_assess_method;

/* NaN value: not defined for these rows. */
typedef struct md_estimate {
    double value, low, high;
    md_assess_method method;
} md_estimate;

typedef enum md_measure_kind {
    MD_MEASURE_SENSITIVITY, /* recall */
    MD_MEASURE_SPECIFICITY,
    MD_MEASURE_PRECISION, /* positive predictive value */
    MD_MEASURE_NPV,
    MD_MEASURE_ACCURACY,
    MD_MEASURE_F1,
    MD_MEASURE_AUC,
    MD_MEASURE_AVERAGE_PRECISION,
    MD_MEASURE_BRIER,
    MD_MEASURE_CALIBRATION_ERROR, /* 15 bins of equal width */
} md_measure_kind;
enum {
    MD_N_MEASURES = MD_MEASURE_CALIBRATION_ERROR + 1
};
/* "sensitivity", ... as in the JSON; and for people, "Sensitivity (recall)". */
const char *md_measure_key(md_measure_kind kind) MD_NOEXCEPT;
const char *md_measure_name(md_measure_kind kind) MD_NOEXCEPT;
/* "none", "bootstrap", "delong", "wilson". */
const char *md_assess_method_key(md_assess_method method) MD_NOEXCEPT;

/* One question over some rows. */
typedef struct md_measures {
    size_t n, n_patients, n_positive, n_negative;
    md_tally tally;
    md_estimate of[MD_N_MEASURES];
} md_measures;

typedef struct md_assess_group {
    char column[MD_ASSESS_NAME_BYTES], label[MD_ASSESS_NAME_BYTES];
    /* Fewer than MD_ASSESS_LEAST_CASES with or without the finding: measures are NaN, the
     * counts stand. */
    bool too_small;
    md_measures measures;
} md_assess_group;

/* A calibration fitted on these rows, and what it is worth on patients that it did not see:
 * fitted on each half of the patients, measured on the other. */
typedef struct md_assess_fit {
    bool there;          /* both kinds of rows and finite log-odds in both halves */
    double a, b;         /* of sigmoid(a x + b); for the temperature a = 1 / T, b = 0 */
    double error, brier; /* crosswise */
    bool at_limit;       /* see md_temperature */
} md_assess_fit;

typedef struct md_assess_answer {
    char name[MD_ASSESS_NAME_BYTES];
    double threshold; /* NaN: differs from row to row */
    size_t n_without_score, n_without_truth;
    md_measures measures;
    md_threshold youden, sensitivity_95, specificity_95;
    md_assess_fit temperature, platt;
    md_reliability_bin bins[MD_RELIABILITY_BINS];
    uint64_t histogram[2][MD_ASSESS_HISTOGRAM_BINS]; /* [truth] */
    md_curve_point *curve;                           /* owned */
    size_t n_curve;
    md_assess_group *groups; /* owned */
    size_t n_groups;
} md_assess_answer;

typedef struct md_assessment {
    size_t n, n_patients;
    unsigned n_bootstrap;
    uint64_t seed;
    md_assess_answer *answers; /* owned, [n_answers] */
    unsigned n_answers;
    unsigned n_classes; /* 0: none */
    char classes[MD_ASSESS_MAX_CLASSES][MD_ASSESS_NAME_BYTES];
    uint64_t *confusion; /* owned; [truth * n_classes + said] */
    md_estimate class_accuracy, balanced_accuracy, top_calibration_error;
} md_assessment;

/* MD_INVALID_ARG (no rows, a score outside of 0..1, both named), MD_LIMIT, MD_NOMEM. A question
 * without any usable row is answered with NaN. Caller finishes. */
md_status md_assess(const md_assess_input *input, md_assessment *ret_assessment, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine. */
void md_assessment_finish(md_assessment *assessment) MD_NOEXCEPT;

/* What a classifier of classes gives: each class against the rest as a question with threshold
 * `thresholds[k]` (NULL: 0.5), and for multi-class sets the table of the classes. probabilities
 * and targets are [n, n_classes] (targets 0, 1 or NaN: not known; a multi-class row has exactly
 * one 1); log_odds [n, n_classes] or NULL. Other members of `more` (patients, columns,
 * bootstrap, seed, threads) are taken over. */
typedef struct md_assess_classes_input {
    const char *const *classes;
    unsigned n_classes;
    bool multi_label;
    const float *probabilities, *targets;
    const double *log_odds;
    const double *thresholds;
} md_assess_classes_input;
md_status md_assess_classes(const md_assess_classes_input *classes, const md_assess_input *more,
                            md_assessment *ret_assessment, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The assessment as JSON (jansson), docs/evaluation.schema.json; NaN is null. The caller has
 * the reference. MD_NOMEM. */
struct json_t;
md_status md_assessment_json(const md_assessment *assessment, struct json_t **ret_json,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
