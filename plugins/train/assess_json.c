/* An assessment as JSON: docs/evaluation.schema.json. */

#include "plugins/train/assess.h"

#include <jansson.h>
#include <math.h>

enum {
    MAX_CURVE_POINTS = 1000
};

/* NULL members show a lack of memory only when all is packed; each function passes it on. */
static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *estimate_json(const md_estimate *e)
{
    return json_pack("{s:o, s:o, s:o, s:s}", "value", real(e->value), "low", real(e->low),
                     "high", real(e->high), "interval", md_assess_method_key(e->method));
}

static json_t *tally_json(const md_tally *t)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "true_positive", (json_int_t)t->true_positive,
                     "false_positive", (json_int_t)t->false_positive, "true_negative",
                     (json_int_t)t->true_negative, "false_negative",
                     (json_int_t)t->false_negative);
}

static json_t *measures_json(const md_measures *m)
{
    json_t *all = json_object();
    for (unsigned k = 0; all != NULL && k < MD_N_MEASURES; k++) {
        if (json_object_set_new(all, md_measure_key((md_measure_kind)k),
                                estimate_json(&m->of[k])) != 0) {
            json_decref(all);
            all = NULL;
        }
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "n", (json_int_t)m->n, "n_patients",
                     (json_int_t)m->n_patients, "n_positive", (json_int_t)m->n_positive,
                     "n_negative", (json_int_t)m->n_negative, "counts", tally_json(&m->tally),
                     "measures", all);
}

static json_t *threshold_json(const md_threshold *t)
{
    if (!t->there) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "threshold", real(t->threshold), "sensitivity",
                     real(md_tally_sensitivity(&t->tally)), "specificity",
                     real(md_tally_specificity(&t->tally)), "counts", tally_json(&t->tally));
}

static json_t *fit_json(const md_assess_fit *f)
{
    if (!f->there) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:b, s:o, s:o}", "a", real(f->a), "b", real(f->b), "at_limit",
                     f->at_limit, "calibration_error_crosswise", real(f->error),
                     "brier_crosswise", real(f->brier));
}

static json_t *bins_json(const md_reliability_bin *bins)
{
    json_t *list = json_array();
    for (unsigned k = 0; list != NULL && k < MD_RELIABILITY_BINS; k++) {
        const md_reliability_bin *b = &bins[k];
        json_t *bin =
            json_pack("{s:o, s:o, s:I, s:I, s:o}", "low", real(b->low), "high", real(b->high),
                      "n", (json_int_t)b->n, "n_positive", (json_int_t)b->n_positive,
                      "mean_score", b->n > 0 ? real(b->mean_score) : json_null());
        if (json_array_append_new(list, bin) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* At most MAX_CURVE_POINTS of the curve, with both ends. */
static json_t *curve_json(const md_assess_answer *a)
{
    json_t *list = json_array();
    const size_t step = a->n_curve / MAX_CURVE_POINTS + 1;
    for (size_t i = 0; list != NULL && i < a->n_curve; i++) {
        if (i % step != 0 && i + 1 != a->n_curve) {
            continue;
        }
        const md_curve_point *p = &a->curve[i];
        json_t *point = json_pack("{s:o, s:I, s:I}", "threshold", real(p->threshold),
                                  "true_positive", (json_int_t)p->true_positive,
                                  "false_positive", (json_int_t)p->false_positive);
        if (json_array_append_new(list, point) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *groups_json(const md_assess_answer *a)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < a->n_groups; i++) {
        const md_assess_group *g = &a->groups[i];
        json_t *group =
            json_pack("{s:s, s:s, s:b, s:o}", "column", g->column, "group", g->label,
                      "too_small", g->too_small, "figures", measures_json(&g->measures));
        if (json_array_append_new(list, group) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *answer_json(const md_assess_answer *a)
{
    return json_pack(
        "{s:s, s:o, s:I, s:I, s:o, s:{s:o, s:o, s:o}, s:{s:o, s:o}, s:o, s:o, s:o}", "name",
        a->name, "threshold", real(a->threshold), "n_without_score",
        (json_int_t)a->n_without_score, "n_without_truth", (json_int_t)a->n_without_truth,
        "figures", measures_json(&a->measures), "thresholds", "youden",
        threshold_json(&a->youden), "sensitivity_95", threshold_json(&a->sensitivity_95),
        "specificity_95", threshold_json(&a->specificity_95), "calibration", "temperature",
        fit_json(&a->temperature), "platt", fit_json(&a->platt), "reliability",
        bins_json(a->bins), "roc", curve_json(a), "groups", groups_json(a));
}

static json_t *classes_json(const md_assessment *a)
{
    if (a->n_classes == 0) {
        return json_null();
    }
    json_t *names = json_array(), *table = json_array();
    for (unsigned i = 0; i < a->n_classes; i++) {
        json_t *row = json_array();
        for (unsigned k = 0; k < a->n_classes; k++) {
            (void)json_array_append_new(
                row, json_integer((json_int_t)a->confusion[i * a->n_classes + k]));
        }
        (void)json_array_append_new(names, json_string(a->classes[i]));
        (void)json_array_append_new(table, row);
    }
    if (json_array_size(names) != a->n_classes || json_array_size(table) != a->n_classes) {
        json_decref(names);
        json_decref(table);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "names", names, "confusion", table,
                     "accuracy", estimate_json(&a->class_accuracy), "balanced_accuracy",
                     estimate_json(&a->balanced_accuracy), "calibration_error",
                     estimate_json(&a->top_calibration_error));
}

md_status md_assessment_json(const md_assessment *a, json_t **ret_json, md_error *err)
{
    json_t *findings = json_array();
    for (unsigned q = 0; findings != NULL && q < a->n_answers; q++) {
        if (json_array_append_new(findings, answer_json(&a->answers[q])) != 0) {
            json_decref(findings);
            findings = NULL;
        }
    }
    json_t *json = json_pack("{s:I, s:I, s:{s:i, s:I, s:f}, s:o, s:o}", "n", (json_int_t)a->n,
                             "n_patients", (json_int_t)a->n_patients, "bootstrap", "replicates",
                             (int)a->n_bootstrap, "seed", (json_int_t)a->seed, "level", 0.95,
                             "findings", findings, "classes", classes_json(a));
    if (json == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the JSON, or a name that is not UTF-8");
    }
    *ret_json = json;
    return MD_OK;
}
