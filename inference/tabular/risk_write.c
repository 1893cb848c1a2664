/* The file of a risk model, made from one that was fitted. */

#include "inference/tabular/risk_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *numbers(const double *values, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_real(values[i]));
    }
    return list;
}

static json_t *feature_json(const md_risk_feature *f)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(f->name));
    json_object_set_new(object, "unit", json_string(f->unit));
    if (f->meaning[0] != '\0') {
        json_object_set_new(object, "meaning", json_string(f->meaning));
    }
    json_object_set_new(object, "low", json_real(f->low));
    json_object_set_new(object, "high", json_real(f->high));
    json_object_set_new(object, "reference", json_real(f->reference));
    json_object_set_new(object, "missing",
                        f->missing == MD_RISK_MISSING_FILL     ? json_real(f->fill)
                        : f->missing == MD_RISK_MISSING_LEARNT ? json_string("learnt")
                                                               : json_string("refuse"));
    return object;
}

static json_t *linear_json(const md_linear *l)
{
    size_t p = l->n_columns;
    json_t *object = json_object();
    json_object_set_new(object, "intercept", json_real(l->intercept));
    json_object_set_new(object, "coefficients", numbers(l->coefficients, p));
    if (l->covariance != NULL) {
        json_object_set_new(object, "errors", numbers(l->errors, p));
        json_object_set_new(object, "intercept_error", json_real(l->intercept_error));
        json_object_set_new(object, "covariance", numbers(l->covariance, p * p));
        json_object_set_new(object, "degrees", json_real(l->degrees));
        json_object_set_new(object, "variance", json_real(l->variance));
        json_object_set_new(object, "rows", json_integer((json_int_t)l->n_rows));
        json_object_set_new(object, "ridge", json_real(l->ridge));
        json_object_set_new(object, "r_squared", json_real(l->r_squared));
    }
    return object;
}

static json_t *svm_json(const md_svm *svm)
{
    size_t p = svm->n_columns, n = svm->n_vectors;
    json_t *object = json_object();
    json_object_set_new(object, "kernel",
                        json_string(svm->kernel == MD_SVM_RBF ? "rbf" : "linear"));
    json_object_set_new(object, "gamma", json_real(svm->gamma));
    json_object_set_new(object, "rho", json_real(svm->rho));
    json_object_set_new(object, "means", numbers(svm->means, p));
    json_object_set_new(object, "scales", numbers(svm->scales, p));
    json_object_set_new(object, "vectors", numbers(svm->vectors, n * p));
    json_object_set_new(object, "weights", numbers(svm->weights, n));
    return object;
}

static json_t *forest_json(const md_forest *f)
{
    static const char *const keys[] = {"column",    "left",  "right", "missing_left",
                                       "threshold", "value", "cover"};
    json_t *object = json_object(), *roots = json_array();
    json_object_set_new(object, "base", json_real(f->base));
    json_object_set_new(object, "importance", numbers(f->importance, f->n_columns));
    for (unsigned i = 0; i < f->n_trees; i++) {
        json_array_append_new(roots, json_integer(f->roots[i]));
    }
    json_object_set_new(object, "roots", roots);
    json_t *lists[7];
    for (unsigned k = 0; k < 7; k++) {
        lists[k] = json_array();
        json_object_set_new(object, keys[k], lists[k]);
    }
    for (uint32_t i = 0; i < f->n_nodes; i++) {
        const md_forest_node *node = &f->nodes[i];
        bool is_leaf = node->column < 0;
        json_array_append_new(lists[0], json_integer(node->column));
        json_array_append_new(lists[1], json_integer(is_leaf ? 0 : node->left));
        json_array_append_new(lists[2], json_integer(is_leaf ? 0 : node->right));
        json_array_append_new(lists[3], json_integer(!is_leaf && node->missing_left));
        json_array_append_new(lists[4], json_real(is_leaf ? 0.0 : (double)node->threshold));
        /* what inner nodes have follows from their leaves */
        json_array_append_new(lists[5], json_real(is_leaf ? node->value : 0.0));
        json_array_append_new(lists[6], json_real(is_leaf ? (double)node->cover : 0.0));
    }
    return object;
}

static json_t *model_json(const md_risk_draft *draft)
{
    const md_risk_card *card = draft->card;
    json_t *root = json_object(), *features = json_array();
    json_object_set_new(root, "medaid_risk", json_integer(1));
    json_object_set_new(root, "name", json_string(card->name));
    json_object_set_new(root, "meaning", json_string(card->meaning));
    json_object_set_new(root, "unit", json_string(card->unit));
    json_object_set_new(root, "note", json_string(card->note));
    json_object_set_new(root, "answer",
                        json_string(card->is_probability ? "probability"
                                    : card->is_score     ? "score"
                                                         : "value"));
    json_object_set_new(root, "kind", json_string(md_risk_kind_words[card->kind]));
    json_object_set_new(root, "link", json_string(md_risk_link_words[card->link]));
    if (card->link == MD_RISK_LOGISTIC) {
        json_object_set_new(root, "a", json_real(card->a));
        json_object_set_new(root, "b", json_real(card->b));
    }
    if (card->confidence > 0.0) {
        json_t *interval = json_object();
        json_object_set_new(interval, "confidence", json_real(card->confidence));
        if (draft->linear == NULL || draft->linear->covariance == NULL) {
            json_object_set_new(interval, "low", json_real(card->residual_low));
            json_object_set_new(interval, "high", json_real(card->residual_high));
        }
        json_object_set_new(root, "interval", interval);
    }
    for (unsigned i = 0; i < card->n_features; i++) {
        json_array_append_new(features, feature_json(&card->features[i]));
    }
    json_object_set_new(root, "features", features);
    if (draft->linear != NULL) {
        json_object_set_new(root, "linear", linear_json(draft->linear));
    }
    if (draft->svm != NULL) {
        json_object_set_new(root, "svm", svm_json(draft->svm));
    }
    if (draft->forest != NULL) {
        json_object_set_new(root, "forest", forest_json(draft->forest));
    }
    return root;
}

md_status md_risk_write(const md_risk_draft *draft, char **ret_text, size_t *ret_size,
                        md_error *err)
{
    json_t *root = model_json(draft);
    /* a linear one is also read by people */
    size_t layout = draft->linear != NULL ? JSON_INDENT(1) : JSON_COMPACT;
    char *text = json_dumps(root, layout | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write a risk model");
    }
    MD_AUTO(md_risk_destroyp) md_risk_model *again = NULL;
    md_status status = md_risk_parse(text, strlen(text), MD_RISK_FILE, &again, err);
    char *own = status == MD_OK ? md_strdup(text) : NULL;
    free(text);
    if (status != MD_OK) {
        return status == MD_NOMEM || status == MD_LIMIT
                   ? status
                   : md_error_prefix(err, MD_INVALID_ARG, "it would not be read");
    }
    if (own == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write a risk model");
    }
    *ret_size = strlen(own);
    *ret_text = own;
    return MD_OK;
}

md_status md_risk_text(const md_risk_model *model, char **ret_text, size_t *ret_size,
                       md_error *err)
{
    const md_risk_draft draft = {
        .card = &model->card,
        .linear = model->card.kind == MD_RISK_LINEAR ? &model->linear : NULL,
        .svm = model->card.kind == MD_RISK_SVM ? &model->svm : NULL,
        .forest = model->card.kind == MD_RISK_FOREST ? &model->forest : NULL,
    };
    return md_risk_write(&draft, ret_text, ret_size, err);
}
