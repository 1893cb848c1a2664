#include "plugins/train/assess.h"

#include "inference/statistics/clusters.h"
#include "plugins/train/assess_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *md_measure_key(md_measure_kind kind)
{
    static const char *const keys[MD_N_MEASURES] = {"sensitivity", "specificity",
                                                    "precision",   "negative_predictive_value",
                                                    "accuracy",    "f1",
                                                    "auc",         "average_precision",
                                                    "brier",       "calibration_error"};
    return keys[kind];
}

const char *md_measure_name(md_measure_kind kind)
{
    static const char *const names[MD_N_MEASURES] = {"Sensitivity (recall)",
                                                     "Specificity",
                                                     "Positive predictive value (precision)",
                                                     "Negative predictive value",
                                                     "Accuracy",
                                                     "F1",
                                                     "Area under the ROC curve (AUC)",
                                                     "Average precision",
                                                     "Brier score",
                                                     "Calibration error"};
    return names[kind];
}

const char *md_assess_method_key(md_assess_method method)
{
    static const char *const keys[] = {"none", "bootstrap", "delong", "wilson"};
    return keys[method];
}

static md_status check_input(const md_assess_input *in, md_error *err)
{
    if (in->n == 0) {
        return md_fail(err, MD_INVALID_ARG, "nothing to measure on: no rows");
    }
    if (in->n > MD_STATISTICS_MAX_ROWS || in->n_questions > MD_ASSESS_MAX_QUESTIONS ||
        in->n_classes > MD_ASSESS_MAX_CLASSES || in->n_columns > MD_ASSESS_MAX_COLUMNS) {
        return md_fail(err, MD_LIMIT,
                       "%zu rows, %u findings, %u classes, %u columns: at most %zu, %d, %d, %d",
                       in->n, in->n_questions, in->n_classes, in->n_columns,
                       MD_STATISTICS_MAX_ROWS, MD_ASSESS_MAX_QUESTIONS, MD_ASSESS_MAX_CLASSES,
                       MD_ASSESS_MAX_COLUMNS);
    }
    for (unsigned c = 0; c < in->n_columns; c++) {
        if (in->columns[c].n_labels > MD_ASSESS_MAX_GROUPS) {
            return md_fail(err, MD_LIMIT, "column '%s' has %u groups, at most %d",
                           in->columns[c].name, in->columns[c].n_labels, MD_ASSESS_MAX_GROUPS);
        }
    }
    for (unsigned q = 0; q < in->n_questions; q++) {
        const md_assess_question *question = &in->questions[q];
        for (size_t i = 0; i < in->n; i++) {
            const double s = question->scores[i];
            if (!isnan(s) && !(s >= 0 && s <= 1)) {
                return md_fail(err, MD_INVALID_ARG, "'%s', row %zu: score %g is not in 0..1",
                               question->name, i, s);
            }
        }
    }
    return MD_OK;
}

static uint32_t patient_of(const md_assess_input *in, size_t row)
{
    return in->patients != NULL ? in->patients[row] : (uint32_t)row;
}

static double log_odds_of(const md_assess_question *question, size_t row)
{
    static const double least = 0x1p-24;
    if (question->log_odds != NULL) {
        return question->log_odds[row];
    }
    const double s = fmin(fmax(question->scores[row], least), 1 - least);
    return log(s / (1 - s));
}

static void collect_rows(const md_assess_input *in, const md_assess_question *question,
                         md_assess_answer *answer, md_assess_rows *rows)
{
    for (size_t i = 0; i < in->n; i++) {
        const bool scored = !isnan(question->scores[i]);
        const bool known = question->truths[i] == 0 || question->truths[i] == 1;
        answer->n_without_truth += !known;
        answer->n_without_score += known && !scored;
        if (scored && known) {
            const size_t at = rows->n++;
            rows->scores[at] = question->scores[i];
            rows->log_odds[at] = log_odds_of(question, i);
            rows->truths[at] = question->truths[i];
            rows->calls[at] = question->calls != NULL
                                  ? question->calls[i] == 1
                                  : question->scores[i] >= question->threshold;
            rows->patients[at] = patient_of(in, i);
            rows->rows[at] = (uint32_t)i;
        }
    }
}

/* The rows of one group; `part` has room for all. */
static void collect_group(const md_assess_column *column, unsigned label,
                          const md_assess_rows *all, md_assess_rows *part)
{
    part->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (column->rows[all->rows[i]] == label) {
            const size_t at = part->n++;
            part->scores[at] = all->scores[i];
            part->truths[at] = all->truths[i];
            part->calls[at] = all->calls[i];
            part->patients[at] = all->patients[i];
        }
    }
}

static md_status measure_groups(const md_assess_input *in, const md_assess_rows *all,
                                md_assess_answer *answer, md_error *err)
{
    size_t n_groups = 0;
    for (unsigned c = 0; c < in->n_columns; c++) {
        n_groups += in->columns[c].n_labels;
    }
    MD_AUTO(md_assess_rows_finish) md_assess_rows part = {0};
    MD_TRY(md_assess_rows_init(&part, all->n, err));
    answer->groups = md_calloc(n_groups + 1, sizeof *answer->groups);
    if (answer->groups == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu groups", n_groups);
    }
    for (unsigned c = 0; c < in->n_columns; c++) {
        const md_assess_column *column = &in->columns[c];
        for (unsigned l = 0; l < column->n_labels; l++) {
            collect_group(column, l, all, &part);
            if (part.n == 0) {
                continue;
            }
            md_assess_group *group = &answer->groups[answer->n_groups++];
            (void)snprintf(group->column, sizeof group->column, "%s", column->name);
            (void)snprintf(group->label, sizeof group->label, "%s", column->labels[l]);
            size_t n_positive = 0;
            for (size_t i = 0; i < part.n; i++) {
                n_positive += part.truths[i] == 1;
            }
            group->too_small = n_positive < MD_ASSESS_LEAST_CASES ||
                               part.n - n_positive < MD_ASSESS_LEAST_CASES;
            MD_TRY(md_assess_measure(in, &part, group->too_small, &group->measures, err));
        }
    }
    return MD_OK;
}

static md_status answer_question(const md_assess_input *in, const md_assess_question *question,
                                 md_assess_answer *answer, md_error *err)
{
    (void)snprintf(answer->name, sizeof answer->name, "%s", question->name);
    answer->threshold = question->threshold;
    MD_AUTO(md_assess_rows_finish) md_assess_rows rows = {0};
    MD_TRY(md_assess_rows_init(&rows, in->n, err));
    collect_rows(in, question, answer, &rows);
    MD_TRY(md_assess_measure(in, &rows, false, &answer->measures, err));
    if (rows.n == 0) {
        return MD_OK;
    }
    MD_AUTO(md_ranking_finish) md_ranking ranking = {0};
    MD_TRY(md_ranking_init(rows.scores, rows.truths, rows.n, &ranking, err));
    MD_TRY(md_ranking_curve(&ranking, &answer->curve, &answer->n_curve, err));
    answer->youden = md_threshold_youden(&ranking);
    answer->sensitivity_95 = md_threshold_for_sensitivity(&ranking, 0.95);
    answer->specificity_95 = md_threshold_for_specificity(&ranking, 0.95);
    md_reliability_table(rows.scores, rows.truths, NULL, rows.n, answer->bins,
                         MD_RELIABILITY_BINS);
    for (size_t i = 0; i < rows.n; i++) {
        const unsigned bin = (unsigned)(rows.scores[i] * MD_ASSESS_HISTOGRAM_BINS);
        answer
            ->histogram[rows.truths[i]]
                       [bin < MD_ASSESS_HISTOGRAM_BINS ? bin : MD_ASSESS_HISTOGRAM_BINS - 1]++;
    }
    MD_TRY(md_assess_fits(&rows, &answer->temperature, &answer->platt, err));
    return measure_groups(in, &rows, answer, err);
}

/* Rows of the table of classes. */
typedef struct class_rows {
    size_t n;
    unsigned n_classes;
    uint32_t *truth, *said, *patients; /* owned, as all */
    double *confidence;
    int8_t *right;
    bool has_confidence;
} class_rows;

static void class_rows_finish(class_rows *rows)
{
    md_free(rows->truth);
    md_free(rows->said);
    md_free(rows->patients);
    md_free(rows->confidence);
    md_free(rows->right);
}

enum {
    CLASS_ACCURACY,
    CLASS_BALANCED,
    CLASS_ERROR,
    N_CLASS_VALUES
};

static void measure_classes(const void *context, const uint32_t *counts, double *values)
{
    const class_rows *rows = context;
    double n[MD_ASSESS_MAX_CLASSES] = {0}, hits[MD_ASSESS_MAX_CLASSES] = {0};
    for (size_t i = 0; i < rows->n; i++) {
        n[rows->truth[i]] += counts[i];
        hits[rows->truth[i]] += rows->right[i] ? counts[i] : 0;
    }
    double all = 0, right = 0, recalls = 0, n_there = 0;
    for (unsigned k = 0; k < rows->n_classes; k++) {
        all += n[k];
        right += hits[k];
        recalls += n[k] > 0 ? hits[k] / n[k] : 0;
        n_there += n[k] > 0;
    }
    values[CLASS_ACCURACY] = all > 0 ? right / all : (double)NAN;
    values[CLASS_BALANCED] = n_there > 0 ? recalls / n_there : (double)NAN;
    values[CLASS_ERROR] = (double)NAN;
    if (rows->has_confidence) {
        md_reliability_bin bins[MD_RELIABILITY_BINS];
        md_reliability_table(rows->confidence, rows->right, counts, rows->n, bins,
                             MD_RELIABILITY_BINS);
        values[CLASS_ERROR] = md_calibration_error(bins, MD_RELIABILITY_BINS);
    }
}

static md_status collect_classes(const md_assess_input *in, class_rows *rows, md_assessment *a,
                                 md_error *err)
{
    rows->n_classes = in->n_classes;
    rows->has_confidence = in->confidence != NULL;
    rows->truth = md_calloc(in->n, sizeof *rows->truth);
    rows->said = md_calloc(in->n, sizeof *rows->said);
    rows->patients = md_calloc(in->n, sizeof *rows->patients);
    rows->confidence = md_calloc(in->n, sizeof *rows->confidence);
    rows->right = md_calloc(in->n, sizeof *rows->right);
    a->confusion = md_calloc((size_t)in->n_classes * in->n_classes, sizeof *a->confusion);
    if (rows->truth == NULL || rows->said == NULL || rows->patients == NULL ||
        rows->confidence == NULL || rows->right == NULL || a->confusion == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", in->n);
    }
    for (size_t i = 0; i < in->n; i++) {
        if (in->truth[i] >= in->n_classes || in->said[i] >= in->n_classes) {
            continue;
        }
        const double confidence = in->confidence != NULL ? in->confidence[i] : 0;
        if (!(confidence >= 0 && confidence <= 1)) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: probability %g is not in 0..1", i,
                           confidence);
        }
        const size_t at = rows->n++;
        rows->truth[at] = in->truth[i];
        rows->said[at] = in->said[i];
        rows->patients[at] = patient_of(in, i);
        rows->confidence[at] = confidence;
        rows->right[at] = in->truth[i] == in->said[i];
        a->confusion[in->truth[i] * in->n_classes + in->said[i]]++;
    }
    return MD_OK;
}

static md_status assess_table(const md_assess_input *in, md_assessment *a, md_error *err)
{
    MD_AUTO(class_rows_finish) class_rows rows = {0};
    MD_TRY(collect_classes(in, &rows, a, err));
    a->n_classes = in->n_classes;
    for (unsigned k = 0; k < in->n_classes; k++) {
        (void)snprintf(a->classes[k], sizeof a->classes[k], "%s", in->classes[k]);
    }
    if (rows.n == 0) {
        return MD_OK;
    }
    const md_bootstrap_options options = md_assess_bootstrap_options(in);
    md_interval intervals[N_CLASS_VALUES];
    MD_TRY(md_bootstrap(rows.n, rows.patients, &options, measure_classes, &rows, N_CLASS_VALUES,
                        intervals, err));
    a->class_accuracy = md_assess_estimate(&intervals[CLASS_ACCURACY]);
    a->balanced_accuracy = md_assess_estimate(&intervals[CLASS_BALANCED]);
    a->top_calibration_error = md_assess_estimate(&intervals[CLASS_ERROR]);
    return MD_OK;
}

static md_status assess(const md_assess_input *in, md_assessment *a, md_error *err)
{
    const md_estimate none = {(double)NAN, (double)NAN, (double)NAN, MD_ASSESS_NO_INTERVAL};
    MD_TRY(check_input(in, err));
    MD_AUTO(md_clusters_finish) md_clusters patients = {0};
    MD_TRY(md_clusters_init(in->patients, in->n, &patients, err));
    a->n = in->n;
    a->n_patients = patients.n;
    a->n_bootstrap = md_assess_bootstrap_options(in).n_replicates;
    a->seed = in->seed;
    a->class_accuracy = a->balanced_accuracy = a->top_calibration_error = none;
    a->answers = md_calloc(in->n_questions + 1u, sizeof *a->answers);
    if (a->answers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u findings", in->n_questions);
    }
    for (; a->n_answers < in->n_questions; a->n_answers++) {
        md_assess_answer *answer = &a->answers[a->n_answers];
        const md_status status = answer_question(in, &in->questions[a->n_answers], answer, err);
        if (status != MD_OK) {
            a->n_answers++; /* half an answer is to be released, too */
            return status;
        }
    }
    return in->n_classes > 0 ? assess_table(in, a, err) : MD_OK;
}

md_status md_assess(const md_assess_input *input, md_assessment *ret_assessment, md_error *err)
{
    md_assessment a = {0};
    const md_status status = assess(input, &a, err);
    if (status != MD_OK) {
        md_assessment_finish(&a);
        return status;
    }
    *ret_assessment = a;
    return MD_OK;
}

void md_assessment_finish(md_assessment *a)
{
    for (unsigned q = 0; q < a->n_answers; q++) {
        md_free(a->answers[q].curve);
        md_free(a->answers[q].groups);
    }
    md_free(a->answers);
    md_free(a->confusion);
    *a = (md_assessment){0};
}

/* The arrays that stand for a classifier's output. */
typedef struct class_arrays {
    double *scores, *confidence; /* owned, as all */
    double *log_odds;            /* [n_classes][n]; NULL: not given */
    int8_t *truths;
    uint32_t *truth, *said;
    md_assess_question *questions;
} class_arrays;

static void class_arrays_finish(class_arrays *arrays)
{
    md_free(arrays->scores);
    md_free(arrays->confidence);
    md_free(arrays->log_odds);
    md_free(arrays->truths);
    md_free(arrays->truth);
    md_free(arrays->said);
    md_free(arrays->questions);
}

static void fill_class_row(const md_assess_classes_input *classes, size_t n, size_t i,
                           class_arrays *arrays)
{
    const unsigned n_classes = classes->n_classes;
    const float *p = classes->probabilities + i * n_classes;
    const float *t = classes->targets + i * n_classes;
    unsigned best = 0;
    arrays->truth[i] = UINT32_MAX;
    for (unsigned k = 0; k < n_classes; k++) {
        arrays->scores[k * n + i] = (double)p[k];
        arrays->truths[k * n + i] = isnan(t[k]) ? -1 : (int8_t)(t[k] >= 0.5f);
        if (arrays->log_odds != NULL) {
            arrays->log_odds[k * n + i] = classes->log_odds[i * n_classes + k];
        }
        best = p[k] > p[best] ? k : best;
        if (t[k] >= 0.5f) {
            arrays->truth[i] = k;
        }
    }
    /* a row without an answer is in no table */
    arrays->said[i] = isnan(p[best]) ? UINT32_MAX : best;
    arrays->confidence[i] = isnan(p[best]) ? 0 : (double)p[best];
}

md_status md_assess_classes(const md_assess_classes_input *classes, const md_assess_input *more,
                            md_assessment *ret_assessment, md_error *err)
{
    const unsigned n_classes = classes->n_classes;
    size_t n_values = 0;
    if (n_classes < 1 || n_classes > MD_ASSESS_MAX_CLASSES ||
        !md_mul(more->n, n_classes, &n_values)) {
        return md_fail(err, MD_LIMIT, "%u classes, 1 to %d are assessed", n_classes,
                       MD_ASSESS_MAX_CLASSES);
    }
    MD_AUTO(class_arrays_finish)
    class_arrays arrays = {
        .scores = md_calloc(n_values + 1, sizeof *arrays.scores),
        .confidence = md_calloc(more->n + 1, sizeof *arrays.confidence),
        .log_odds = classes->log_odds != NULL ? md_calloc(n_values + 1, sizeof(double)) : NULL,
        .truths = md_calloc(n_values + 1, sizeof *arrays.truths),
        .truth = md_calloc(more->n + 1, sizeof *arrays.truth),
        .said = md_calloc(more->n + 1, sizeof *arrays.said),
        .questions = md_calloc(n_classes, sizeof *arrays.questions)};
    if (arrays.scores == NULL || arrays.confidence == NULL || arrays.truths == NULL ||
        arrays.truth == NULL || arrays.said == NULL || arrays.questions == NULL ||
        (classes->log_odds != NULL && arrays.log_odds == NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", more->n);
    }
    for (size_t i = 0; i < more->n; i++) {
        fill_class_row(classes, more->n, i, &arrays);
    }
    for (unsigned k = 0; k < n_classes; k++) {
        arrays.questions[k] = (md_assess_question){
            .name = classes->classes[k],
            .scores = arrays.scores + k * more->n,
            .truths = arrays.truths + k * more->n,
            .threshold = classes->thresholds != NULL ? classes->thresholds[k] : 0.5,
            .log_odds = arrays.log_odds != NULL ? arrays.log_odds + k * more->n : NULL};
    }
    md_assess_input in = *more;
    in.questions = arrays.questions;
    in.n_questions = n_classes;
    in.classes = classes->classes;
    in.n_classes = classes->multi_label ? 0 : n_classes;
    in.truth = arrays.truth;
    in.said = arrays.said;
    in.confidence = arrays.confidence;
    return md_assess(&in, ret_assessment, err);
}
