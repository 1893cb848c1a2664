/* A model of the delay as text, and back. */

#include "daemon/eta/eta_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of a summary and their names in the text. */
static const struct {
    const char *key;
    size_t offset;
    bool is_size; /* size_t; else int64_t */
} whole[] = {
    {"fitted_ms", offsetof(md_eta_summary, fitted_ms), false},
    {"from_ms", offsetof(md_eta_summary, from_ms), false},
    {"to_ms", offsetof(md_eta_summary, to_ms), false},
    {"cases", offsetof(md_eta_summary, n_cases), true},
    {"unread", offsetof(md_eta_summary, n_unread), true},
    {"checked", offsetof(md_eta_summary, n_checked), true},
    {"covered", offsetof(md_eta_summary, n_covered), true},
};
static const struct {
    const char *key;
    size_t offset;
} real[] = {
    {"linear_error", offsetof(md_eta_summary, linear_error)},
    {"forest_error", offsetof(md_eta_summary, forest_error)},
    {"median_error", offsetof(md_eta_summary, median_error)},
};

md_status md_eta_write(const md_eta_model *model, char **ret_text, size_t *ret_n, md_error *err)
{
    /* it stands in this text as a string, and is parsed by its own parser */
    MD_AUTO(md_freep) char *inner = NULL;
    size_t n_inner = 0;
    MD_TRY(md_risk_text(model->risk, &inner, &n_inner, err));
    json_t *root = json_object(), *list = json_array(), *bounds = json_array();
    json_object_set_new(root, "medaid_eta", json_integer(1));
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        const char *at = (const char *)&model->summary + whole[i].offset;
        json_int_t value = 0;
        if (whole[i].is_size) {
            size_t v = 0;
            memcpy(&v, at, sizeof v);
            value = (json_int_t)v;
        } else {
            int64_t v = 0;
            memcpy(&v, at, sizeof v);
            value = v;
        }
        json_object_set_new(root, whole[i].key, json_integer(value));
    }
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        double v = 0.0;
        memcpy(&v, (const char *)&model->summary + real[i].offset, sizeof v);
        if (isfinite(v)) {
            json_object_set_new(root, real[i].key, json_real(v));
        }
    }
    for (unsigned k = 0; k < model->n_groups * MD_ETA_N_QUANTILES; k++) {
        json_array_append_new(
            list, json_real(model->quantiles[k / MD_ETA_N_QUANTILES][k % MD_ETA_N_QUANTILES]));
    }
    for (unsigned g = 0; g + 1 < model->n_groups; g++) {
        json_array_append_new(bounds, json_real(model->bounds[g]));
    }
    json_object_set_new(root, "residuals", list);
    json_object_set_new(root, "bounds", bounds);
    json_object_set_new(root, "model", json_string(inner));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    char *own = text != NULL ? md_strdup(text) : NULL;
    free(text);
    if (own == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write an estimate");
    }
    *ret_n = strlen(own);
    *ret_text = own;
    return MD_OK;
}

static bool take_summary(const json_t *root, md_eta_summary *s)
{
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        const json_t *value = json_object_get(root, whole[i].key);
        char *at = (char *)s + whole[i].offset;
        int64_t v = json_integer_value(value);
        if (!json_is_integer(value) || v < 0) {
            return false;
        }
        size_t n = (size_t)v;
        if (whole[i].is_size) {
            memcpy(at, &n, sizeof n);
        } else {
            memcpy(at, &v, sizeof v);
        }
    }
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        const json_t *value = json_object_get(root, real[i].key);
        double v = json_is_number(value) ? json_number_value(value) : (double)NAN;
        memcpy((char *)s + real[i].offset, &v, sizeof v);
    }
    return s->n_covered <= s->n_checked && s->n_checked <= s->n_cases;
}

/* n rising numbers of no absurd size. */
static bool take_rising(const json_t *list, size_t from, size_t n, double *ret_numbers)
{
    for (size_t k = 0; k < n; k++) {
        const json_t *value = json_array_get(list, from + k);
        ret_numbers[k] = json_number_value(value);
        if (!json_is_number(value) || fabs(ret_numbers[k]) > 100.0 ||
            (k > 0 && ret_numbers[k] < ret_numbers[k - 1])) {
            return false;
        }
    }
    return true;
}

static bool take_quantiles(const json_t *root, md_eta_model *model)
{
    const json_t *list = json_object_get(root, "residuals");
    const json_t *bounds = json_object_get(root, "bounds");
    size_t n_groups = json_array_size(list) / MD_ETA_N_QUANTILES;
    bool good = json_array_size(list) == n_groups * MD_ETA_N_QUANTILES && n_groups >= 1 &&
                n_groups <= MD_ETA_MAX_GROUPS && json_is_array(bounds) &&
                json_array_size(bounds) == n_groups - 1 &&
                take_rising(bounds, 0, n_groups - 1, model->bounds);
    for (size_t g = 0; g < n_groups && good; g++) {
        good =
            take_rising(list, g * MD_ETA_N_QUANTILES, MD_ETA_N_QUANTILES, model->quantiles[g]);
    }
    model->n_groups = (unsigned)n_groups;
    return good;
}

static md_status take(const json_t *root, md_eta_model *model, md_error *err)
{
    const json_t *inner = json_object_get(root, "model");
    if (json_integer_value(json_object_get(root, "medaid_eta")) != 1 ||
        !take_summary(root, &model->summary) || !take_quantiles(root, model) ||
        !json_is_string(inner)) {
        return md_fail(err, MD_FORMAT, "the stored estimate is not whole");
    }
    MD_TRY(md_risk_parse(json_string_value(inner), json_string_length(inner), "estimate",
                         &model->risk, err));
    const md_risk_card *card = md_risk_describe(model->risk);
    if (card->link != MD_RISK_EXP) {
        return md_fail(err, MD_FORMAT, "the stored estimate is of no logarithm");
    }
    model->summary.is_forest = card->kind == MD_RISK_FOREST;
    return MD_OK;
}

md_status md_eta_parse(const char *text, size_t n, md_eta_model **ret_model, md_error *err)
{
    if (n > MD_STORE_MAX_ESTIMATE_BYTES) {
        return md_fail(err, MD_LIMIT, "an estimate of %zu bytes", n);
    }
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    md_eta_model *model = root != NULL ? md_calloc(1, sizeof *model) : NULL;
    if (root == NULL || model == NULL) {
        json_decref(root);
        return root == NULL ? md_fail(err, MD_FORMAT, "the stored estimate is no JSON")
                            : md_fail(err, MD_NOMEM, "no memory for an estimate");
    }
    md_status status = take(root, model, err);
    json_decref(root);
    if (status != MD_OK) {
        md_eta_model_destroy(model);
        return status;
    }
    *ret_model = model;
    return MD_OK;
}
