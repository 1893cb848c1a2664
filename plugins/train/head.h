#ifndef MEDAID_PLUGINS_TRAIN_HEAD_H
#define MEDAID_PLUGINS_TRAIN_HEAD_H

/* A new finding from few labelled films: what a model package's network makes of each film up
 * to its last layer, and a linear support vector machine on that (inference/tabular/svm.h),
 * written as a model package that serves as it is. docs/few-shot.md.
 *
 *   logit(x) = w . e(x) + c, the machine's decision; score = sigmoid(a logit + b), Platt's
 *
 * The cost of errors is chosen by cross-validation by patient; figures are those of films of
 * other patients: of a part of the table, or else of an outer cross-validation in which
 * everything, the choice of the cost too, is done again without the left-out patients; but the
 * threshold, where none is given, is then chosen on the same scores that it is measured on, and
 * card and report say so. One thread at a time, after md_dicom_init. */

#include "plugins/train/assess.h"
#include "plugins/train/evaluate.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_HEAD_LEAST_PATIENTS = 5, /* with the finding, and without */
    MD_HEAD_MAX_FILMS = 20000,
    MD_HEAD_MAX_SIZES = 16,
    MD_HEAD_MAX_DRAWS = 200
};

typedef struct md_head_options {
    const char *package; /* whose network is used */
    /* A table (.csv) as md_evaluate_options.data has it, with a column for `finding`; with a
     * column `part` the films of "train" are learnt from, those of "validation" only measured;
     * no patient may be in both.
     * Or a folder: films below its sub-folder `finding` have it, those below others have not.
     */
    const char *data;
    const char *out;       /* must not exist; appears whole or not at all; NULL: no package */
    const char *finding;   /* the new finding's key */
    md_code concept, site; /* site "": none */
    bool urgent;
    double threshold; /* NaN: the largest sensitivity + specificity in cross-validation */
    const char *id, *version, *name, *manufacturer; /* NULL: made from the finding */
    const char *about; /* the films, in words, for model card and manifest; NULL */
    /* How the area under the ROC curve grows: `n_draws` times so many films, one of each
     * patient, half of them with the finding, drawn from those to learn from, measured on those
     * of part "validation". n_sizes 0: not asked for. */
    unsigned sizes[MD_HEAD_MAX_SIZES], n_sizes, n_draws;
    const char *charts;  /* existing folder for curve.svg and curve.png; NULL: none */
    const char *backend; /* as md_backend_named */
    unsigned n_threads;
    uint64_t seed;
    /* A film that cannot be read, is not accepted or does not pass the gate: left out. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    md_set_progress on_progress;
    void *context;
} md_head_options;

/* A point of the curve: over the draws. */
typedef struct md_head_point {
    unsigned n_films; /* asked for; 0: not enough of one kind */
    double mean, deviation;
    double low, high; /* 95% interval of the mean over draws, by Student's t */
    double least, most;
} md_head_point;

typedef struct md_head_report {
    size_t n_films, n_patients, n_positive; /* learnt from */
    size_t n_left_out;
    bool threshold_on_same; /* chosen on the films that were measured: on others less */
    size_t n_held;          /* films that were only measured; 0: cross-validation */
    unsigned n_values;      /* of the embedding */
    double c;
    md_assessment assessment; /* one question */
    md_head_point points[MD_HEAD_MAX_SIZES];
    unsigned n_points;
    double embed_s, fit_s, export_s;
} md_head_report;

/* MD_INVALID_ARG (names and codes, `out` exists, too few films or patients of a kind, a patient
 * in train and validation, a curve without films to measure), MD_UNSUPPORTED (the network has
 * no last linear layer, or one that reads too many numbers), MD_PLUGIN (the package would not
 * serve, or does not give what was fitted), and errors of reading. The caller finishes the
 * report. */
md_status md_head_run(const md_head_options *options, md_head_report *ret_report, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_head_report_finish(md_head_report *report) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
