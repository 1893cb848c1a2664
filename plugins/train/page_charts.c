/* From an assessment to its charts. */

#include "base/file.h"
#include "inference/statistics/proportion.h"
#include "plugins/train/page_internal.h"

#include <math.h>
#include <stdio.h>

typedef struct curve_arrays {
    double *x[MD_CHART_MAX_LINES], *y[MD_CHART_MAX_LINES]; /* owned */
    char names[MD_CHART_MAX_LINES][160];
    md_chart_unit_curve curves[MD_CHART_MAX_LINES];
    unsigned n;
} curve_arrays;

static void curve_arrays_finish(curve_arrays *arrays)
{
    for (unsigned k = 0; k < MD_CHART_MAX_LINES; k++) {
        md_free(arrays->x[k]);
        md_free(arrays->y[k]);
    }
}

/* Room for one more curve; false when six are there, or *status says why. */
static md_status add_curve(curve_arrays *arrays, size_t n, md_error *err)
{
    const unsigned k = arrays->n;
    arrays->x[k] = md_calloc(n + 1, sizeof(double));
    arrays->y[k] = md_calloc(n + 1, sizeof(double));
    if (arrays->x[k] == NULL || arrays->y[k] == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a curve of %zu points", n);
    }
    arrays->curves[k] = (md_chart_unit_curve){arrays->names[k], arrays->x[k], arrays->y[k], n,
                                              (double)NAN,      (double)NAN};
    arrays->n++;
    return MD_OK;
}

static void name_curve(char *text, size_t size, const md_assess_answer *answer,
                       const char *word, const md_estimate *e)
{
    int n = snprintf(text, size, "%s, %s %.3f", answer->name, word, e->value);
    if (e->method != MD_ASSESS_NO_INTERVAL && n > 0 && (size_t)n < size) {
        (void)snprintf(text + n, size - (size_t)n, " (%.3f to %.3f)", e->low, e->high);
    }
}

md_status md_page_roc(const md_assessment *a, md_drawing **ret_drawing, md_error *err)
{
    MD_AUTO(curve_arrays_finish) curve_arrays arrays = {0};
    for (unsigned q = 0; q < a->n_answers && arrays.n < MD_CHART_MAX_LINES; q++) {
        const md_assess_answer *answer = &a->answers[q];
        const md_measures *m = &answer->measures;
        if (isnan(m->of[MD_MEASURE_AUC].value)) {
            continue;
        }
        const unsigned k = arrays.n;
        MD_TRY(add_curve(&arrays, answer->n_curve, err));
        for (size_t i = 0; i < answer->n_curve; i++) {
            arrays.x[k][i] = (double)answer->curve[i].false_positive / (double)m->n_negative;
            arrays.y[k][i] = (double)answer->curve[i].true_positive / (double)m->n_positive;
        }
        arrays.curves[k].point_x = 1 - md_tally_specificity(&m->tally);
        arrays.curves[k].point_y = md_tally_sensitivity(&m->tally);
        name_curve(arrays.names[k], sizeof arrays.names[k], answer, "AUC",
                   &m->of[MD_MEASURE_AUC]);
    }
    return md_chart_roc("ROC curve", arrays.curves, arrays.n, ret_drawing, err);
}

md_status md_page_precision_recall(const md_assessment *a, md_drawing **ret_drawing,
                                   md_error *err)
{
    MD_AUTO(curve_arrays_finish) curve_arrays arrays = {0};
    double prevalence = (double)NAN;
    for (unsigned q = 0; q < a->n_answers && arrays.n < MD_CHART_MAX_LINES; q++) {
        const md_assess_answer *answer = &a->answers[q];
        const md_measures *m = &answer->measures;
        if (m->n_positive == 0) {
            continue;
        }
        const unsigned k = arrays.n;
        MD_TRY(add_curve(&arrays, answer->n_curve - 1, err));
        for (size_t i = 1; i < answer->n_curve; i++) { /* without the point where none is */
            const double hits = (double)answer->curve[i].true_positive;
            arrays.x[k][i - 1] = hits / (double)m->n_positive;
            arrays.y[k][i - 1] = hits / (hits + (double)answer->curve[i].false_positive);
        }
        arrays.curves[k].point_x = md_tally_sensitivity(&m->tally);
        arrays.curves[k].point_y = md_tally_precision(&m->tally);
        name_curve(arrays.names[k], sizeof arrays.names[k], answer, "average precision",
                   &m->of[MD_MEASURE_AVERAGE_PRECISION]);
        prevalence = (double)m->n_positive / (double)m->n;
    }
    return md_chart_precision_recall("Precision and recall", arrays.curves, arrays.n,
                                     prevalence, ret_drawing, err);
}

md_status md_page_histogram(const md_assess_answer *answer, const char *units,
                            md_drawing **ret_drawing, md_error *err)
{
    char title[160], without[160], with[160];
    (void)snprintf(title, sizeof title, "Scores for %s", answer->name);
    (void)snprintf(without, sizeof without, "%s without it (n = %zu)", units,
                   answer->measures.n_negative);
    (void)snprintf(with, sizeof with, "%s with it (n = %zu)", units,
                   answer->measures.n_positive);
    const char *names[2] = {without, with};
    const uint64_t *counts[2] = {answer->histogram[0], answer->histogram[1]};
    return md_chart_histogram(title, names, counts, MD_ASSESS_HISTOGRAM_BINS, answer->threshold,
                              ret_drawing, err);
}

md_status md_page_reliability(const md_assess_answer *answer, md_drawing **ret_drawing,
                              md_error *err)
{
    md_chart_bin bins[MD_RELIABILITY_BINS];
    for (unsigned k = 0; k < MD_RELIABILITY_BINS; k++) {
        const md_reliability_bin *b = &answer->bins[k];
        const md_proportion p = md_proportion_of(b->n_positive, b->n);
        bins[k] = (md_chart_bin){b->low,  b->high, (size_t)b->n, b->mean_score,
                                 p.value, p.low,   p.high};
    }
    char title[160];
    (void)snprintf(title, sizeof title, "Calibration of %s", answer->name);
    return md_chart_reliability(title, bins, MD_RELIABILITY_BINS, ret_drawing, err);
}

md_status md_page_confusion(const md_assessment *a, const char *units, md_drawing **ret_drawing,
                            md_error *err)
{
    const char *names[MD_ASSESS_MAX_CLASSES];
    for (unsigned k = 0; k < a->n_classes; k++) {
        names[k] = a->classes[k];
    }
    char title[160];
    (void)snprintf(title, sizeof title, "Truth and answer, %zu %s", a->n, units);
    return md_chart_confusion(title, names, a->n_classes, a->confusion, ret_drawing, err);
}

/* A name that may be part of a file's name. */
static void file_name(const char *kind, const char *name, bool several, char *text, size_t size)
{
    int n = snprintf(text, size, "%s%s%s", kind, several ? "-" : "", several ? name : "");
    for (int i = 0; i < n && (size_t)i < size && text[i] != '\0'; i++) {
        const char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-')) {
            text[i] = '_';
        }
    }
}

static md_status write_one(md_status made, md_drawing *drawing, const char *folder,
                           const char *name, md_error *err)
{
    MD_AUTO(md_drawing_destroyp) md_drawing *d = drawing;
    MD_TRY(made);
    return md_drawing_write(d, folder, name, err);
}

md_status md_page_write_charts(const md_assessment *a, const char *folder, md_error *err)
{
    md_drawing *d = NULL;
    md_status made = MD_OK;
    if (a->n_classes > 0 && a->n_classes <= MD_CHART_MAX_CLASSES) {
        made = md_page_confusion(a, "rows", &d, err);
        MD_TRY(write_one(made, MD_STEAL(d), folder, "confusion", err));
    }
    made = md_page_roc(a, &d, err);
    MD_TRY(write_one(made, MD_STEAL(d), folder, "roc", err));
    made = md_page_precision_recall(a, &d, err);
    MD_TRY(write_one(made, MD_STEAL(d), folder, "precision-recall", err));
    for (unsigned q = 0; q < a->n_answers; q++) {
        char name[128];
        file_name("histogram", a->answers[q].name, a->n_answers > 1, name, sizeof name);
        made = md_page_histogram(&a->answers[q], "rows", &d, err);
        MD_TRY(write_one(made, MD_STEAL(d), folder, name, err));
        file_name("reliability", a->answers[q].name, a->n_answers > 1, name, sizeof name);
        made = md_page_reliability(&a->answers[q], &d, err);
        MD_TRY(write_one(made, MD_STEAL(d), folder, name, err));
    }
    return MD_OK;
}
