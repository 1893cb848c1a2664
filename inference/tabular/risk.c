#include "inference/tabular/risk.h"

#include "inference/tabular/risk_internal.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

md_status md_risk_open(const char *path, md_risk_model **ret_model, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_RISK_MAX_BYTES, &bytes, &size_bytes, err));
    const char *slash = strrchr(path, '/');
    return md_risk_parse(bytes, size_bytes, slash != NULL ? slash + 1 : path, ret_model, err);
}

void md_risk_destroy(md_risk_model *model)
{
    if (model != NULL) {
        md_linear_finish(&model->linear);
        md_svm_finish(&model->svm);
        md_forest_finish(&model->forest);
        md_free(model);
    }
}

const md_risk_card *md_risk_describe(const md_risk_model *model)
{
    return &model->card;
}

unsigned md_risk_find(const md_risk_model *model, const char *feature)
{
    unsigned i = 0;
    while (i < model->card.n_features && strcmp(model->card.features[i].name, feature) != 0) {
        i++;
    }
    return i;
}

const double *md_risk_importance(const md_risk_model *model)
{
    return model->forest.importance;
}

/* What the model sees of each feature. */
static md_status take_values(const md_risk_card *card, const double *values, double *ret_x,
                             md_risk_part *ret_parts, md_risk_answer *answer, md_error *err)
{
    for (unsigned j = 0; j < card->n_features; j++) {
        const md_risk_feature *f = &card->features[j];
        md_risk_state state = MD_RISK_GIVEN;
        double x = values[j];
        if (isinf(x)) {
            return md_fail(err, MD_INVALID_ARG, "%s is infinite", f->name);
        }
        if (isnan(x)) {
            if (f->missing == MD_RISK_MISSING_REFUSE) {
                return md_fail(err, MD_INVALID_ARG,
                               "%s is missing, and this model gives no answer without it",
                               f->name);
            }
            bool learnt = f->missing == MD_RISK_MISSING_LEARNT;
            state = learnt ? MD_RISK_LEARNT : MD_RISK_FILLED;
            x = learnt ? (double)NAN : f->fill;
            answer->n_missing++;
        } else if (x < f->low || x > f->high) {
            state = MD_RISK_CLAMPED;
            x = x < f->low ? f->low : f->high;
            answer->n_clamped++;
        }
        ret_x[j] = x;
        ret_parts[j] = (md_risk_part){.state = state, .value = x};
    }
    return MD_OK;
}

static double run_linear(const md_risk_model *model, const double *x, md_risk_part *parts,
                         double *ret_start)
{
    const md_linear *linear = &model->linear;
    double sum = linear->intercept, start = linear->intercept;
    for (unsigned j = 0; j < linear->n_columns; j++) {
        double reference = model->card.features[j].reference;
        sum += linear->coefficients[j] * x[j];
        start += linear->coefficients[j] * reference;
        parts[j].part = linear->coefficients[j] * (x[j] - reference);
    }
    *ret_start = start;
    return sum;
}

/* z of svm.h. */
static double scaled(const md_svm *svm, unsigned column, double x)
{
    return (x - svm->means[column]) * svm->scales[column];
}

static double run_svm(const md_risk_model *model, const double *x, md_risk_part *parts,
                      double *ret_start)
{
    const md_svm *svm = &model->svm;
    unsigned p = svm->n_columns;
    double sum = md_svm_decide(svm, x), z[MD_RISK_MAX_FEATURES], zero[MD_RISK_MAX_FEATURES];
    double reference[MD_RISK_MAX_FEATURES];
    for (unsigned j = 0; j < p; j++) {
        reference[j] = model->card.features[j].reference;
        z[j] = scaled(svm, j, x[j]);
        zero[j] = scaled(svm, j, reference[j]);
    }
    *ret_start = md_svm_decide(svm, reference);
    for (unsigned i = 0; i < svm->n_vectors; i++) {
        const double *vector = svm->vectors + (size_t)i * p;
        double far = 0.0;
        for (unsigned j = 0; svm->kernel == MD_SVM_RBF && j < p; j++) {
            far += (vector[j] - z[j]) * (vector[j] - z[j]);
        }
        double whole = svm->weights[i] * exp(-svm->gamma * far);
        for (unsigned j = 0; j < p; j++) {
            if (svm->kernel == MD_SVM_LINEAR) {
                parts[j].part += svm->weights[i] * vector[j] * (z[j] - zero[j]);
            } else if (fabs(z[j] - zero[j]) > 0.0) {
                double d = vector[j] - z[j], at = vector[j] - zero[j];
                parts[j].part +=
                    whole - svm->weights[i] * exp(-svm->gamma * (far - d * d + at * at));
            }
        }
    }
    return sum;
}

static double run_forest(const md_risk_model *model, const double *x, md_risk_part *parts,
                         double *ret_start)
{
    float values[MD_RISK_MAX_FEATURES];
    double shares[MD_RISK_MAX_FEATURES];
    unsigned p = model->card.n_features;
    for (unsigned j = 0; j < p; j++) {
        values[j] = (float)x[j];
    }
    md_forest_shapley(&model->forest, values, shares);
    for (unsigned j = 0; j < p; j++) {
        parts[j].part = shares[j];
    }
    *ret_start = model->forest.start;
    return md_forest_predict(&model->forest, values);
}

static double through_link(const md_risk_card *card, double s)
{
    double value = s;
    if (card->link == MD_RISK_LOGISTIC) {
        value = 1.0 / (1.0 + exp(-s)); /* s is a s + b by now */
    } else if (card->link == MD_RISK_EXP) {
        value = exp(s);
    }
    return card->is_score ? fmin(1.0, fmax(0.0, value)) : value;
}

static md_status add_interval(const md_risk_model *model, const double *x,
                              md_risk_answer *answer, md_error *err)
{
    const md_risk_card *card = &model->card;
    if (!(card->confidence > 0.0)) {
        return MD_OK;
    }
    double low = answer->sum + card->residual_low, high = answer->sum + card->residual_high;
    if (card->kind == MD_RISK_LINEAR && model->linear.covariance != NULL) {
        md_linear_prediction prediction = {0};
        MD_TRY(md_linear_predict(&model->linear, x, card->confidence, &prediction, err));
        low = prediction.low;
        high = prediction.high;
    }
    answer->has_interval = true;
    answer->low = through_link(card, low);
    answer->high = through_link(card, high);
    bool fine = isfinite(answer->low) && isfinite(answer->high) && answer->low <= answer->high;
    return fine ? MD_OK : md_fail(err, MD_LIMIT, "the interval is beyond what a number holds");
}

md_status md_risk_run(const md_risk_model *model, const double *values,
                      md_risk_answer *ret_answer, md_risk_part *ret_parts, md_error *err)
{
    const md_risk_card *card = &model->card;
    md_risk_part parts[MD_RISK_MAX_FEATURES];
    double x[MD_RISK_MAX_FEATURES], s = 0.0, start = 0.0;
    md_risk_answer answer = {.additive = true};
    MD_TRY(take_values(card, values, x, parts, &answer, err));
    switch (card->kind) {
    case MD_RISK_LINEAR:
        s = run_linear(model, x, parts, &start);
        break;
    case MD_RISK_SVM:
        s = run_svm(model, x, parts, &start);
        answer.additive = model->svm.kernel == MD_SVM_LINEAR;
        break;
    case MD_RISK_FOREST:
        s = run_forest(model, x, parts, &start);
        break;
    }
    answer.sum = card->a * s + card->b;
    answer.start = card->a * start + card->b;
    for (unsigned j = 0; j < card->n_features; j++) {
        parts[j].part *= card->a;
    }
    answer.value = through_link(card, answer.sum);
    if (!isfinite(answer.value)) {
        return md_fail(err, MD_LIMIT, "the answer is beyond what a number holds");
    }
    MD_TRY(add_interval(model, x, &answer, err));
    if (ret_parts != NULL) {
        memcpy(ret_parts, parts, card->n_features * sizeof *parts);
    }
    *ret_answer = answer;
    return MD_OK;
}
