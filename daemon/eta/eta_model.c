#include "daemon/eta/eta_model.h"

#include "daemon/eta/eta_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void md_eta_model_destroy(md_eta_model *model)
{
    if (model != NULL) {
        md_risk_destroy(model->risk);
        md_free(model);
    }
}

const md_eta_summary *md_eta_describe(const md_eta_model *model)
{
    return &model->summary;
}

static const struct {
    const char *name, *unit, *meaning;
} fixed[MD_ETA_N_FIXED] = {
    {"study.hour_sin", "1", "sine of the hour of arrival, one turn a day"},
    {"study.hour_cos", "1", "cosine of the hour of arrival, one turn a day"},
    {"study.hour_sin2", "1", "the same, two turns a day"},
    {"study.hour_cos2", "1", "the same, two turns a day"},
    {"study.saturday", "1", "it arrived on a Saturday"},
    {"study.sunday", "1", "it arrived on a Sunday"},
    {"study.priority", "1", "its priority"},
    {"study.urgent", "1", "it has an urgent finding"},
    {"study.log_images", "1", "log(1 + its images)"},
    {"list.log_ahead", "1", "log(1 + unread studies before it on the worklist)"},
    {"list.log_lately", "1", "log(1 + studies read in the hour before)"},
};

void md_eta_name(unsigned column, const char (*modalities)[MD_STORE_MODALITY_BYTES],
                 md_risk_feature *ret_feature)
{
    md_risk_feature *f = ret_feature;
    *f = (md_risk_feature){.missing = MD_RISK_MISSING_REFUSE};
    if (column < MD_ETA_N_FIXED) {
        (void)snprintf(f->name, sizeof f->name, "%s", fixed[column].name);
        (void)snprintf(f->unit, sizeof f->unit, "%s", fixed[column].unit);
        (void)snprintf(f->meaning, sizeof f->meaning, "%s", fixed[column].meaning);
        return;
    }
    const char *modality = modalities[column - MD_ETA_N_FIXED];
    (void)snprintf(f->name, sizeof f->name, MD_ETA_MODALITY_PREFIX "%s", modality);
    (void)snprintf(f->unit, sizeof f->unit, "1");
    (void)snprintf(f->meaning, sizeof f->meaning, "its modality is %s", modality);
}

void md_eta_values(const md_store_reading *row, double ret_x[MD_ETA_N_FIXED])
{
    time_t seconds = (time_t)(row->arrived_ms / 1000);
    struct tm local = {0};
    (void)localtime_r(&seconds, &local);
    double turn = 2.0 * M_PI * (local.tm_hour + local.tm_min / 60.0) / 24.0;
    const double x[MD_ETA_N_FIXED] = {
        sin(turn),
        cos(turn),
        sin(2.0 * turn),
        cos(2.0 * turn),
        local.tm_wday == 6 ? 1.0 : 0.0,
        local.tm_wday == 0 ? 1.0 : 0.0,
        row->priority,
        row->urgent ? 1.0 : 0.0,
        log1p(row->n_instances),
        log1p(row->n_ahead),
        log1p(row->n_lately),
    };
    memcpy(ret_x, x, sizeof x);
}

/* The value of a feature of the model, by its name. */
static double value_of(const char *name, const md_store_reading *row,
                       const double x[MD_ETA_N_FIXED])
{
    const size_t n_prefix = sizeof MD_ETA_MODALITY_PREFIX - 1;
    if (strncmp(name, MD_ETA_MODALITY_PREFIX, n_prefix) == 0) {
        return strcmp(name + n_prefix, row->modality) == 0 ? 1.0 : 0.0;
    }
    for (unsigned j = 0; j < MD_ETA_N_FIXED; j++) {
        if (strcmp(name, fixed[j].name) == 0) {
            return x[j];
        }
    }
    return (double)NAN;
}

md_status md_eta_log_delay(const md_risk_model *risk, const md_store_reading *row,
                           double *ret_log, md_error *err)
{
    const md_risk_card *card = md_risk_describe(risk);
    double x[MD_ETA_N_FIXED], values[MD_RISK_MAX_FEATURES];
    md_risk_answer answer = {0};
    md_eta_values(row, x);
    for (unsigned j = 0; j < card->n_features; j++) {
        values[j] = value_of(card->features[j].name, row, x);
    }
    MD_TRY(md_risk_run(risk, values, &answer, NULL, err));
    *ret_log = answer.sum;
    return MD_OK;
}

/* Between two quantiles by their distance. */
static double quantile_of(const double *quantiles, double q)
{
    double at = fmin(fmax(q, 0.0), 1.0) * (MD_ETA_N_QUANTILES - 1);
    unsigned i = (unsigned)at;
    if (i >= MD_ETA_N_QUANTILES - 1) {
        return quantiles[MD_ETA_N_QUANTILES - 1];
    }
    return quantiles[i] + (at - i) * (quantiles[i + 1] - quantiles[i]);
}

/* The share of the residuals below r. */
static double share_below(const double *quantiles, double r)
{
    if (!(r > quantiles[0])) {
        return 0.0;
    }
    for (unsigned i = 0; i + 1 < MD_ETA_N_QUANTILES; i++) {
        if (r < quantiles[i + 1]) {
            double width = quantiles[i + 1] - quantiles[i];
            double within = width > 0.0 ? (r - quantiles[i]) / width : 1.0;
            return (i + within) / (MD_ETA_N_QUANTILES - 1);
        }
    }
    return 1.0;
}

const double *md_eta_quantiles(const md_eta_model *model, double m)
{
    unsigned group = 0;
    while (group + 1 < model->n_groups && m >= model->bounds[group]) {
        group++;
    }
    return model->quantiles[group];
}

md_status md_eta_ask(const md_eta_model *model, const md_store_reading *row, int64_t now_ms,
                     md_eta_estimate *ret_estimate, md_error *err)
{
    static const double LONGEST_S = 1e9;
    double m = 0.0;
    MD_TRY(md_eta_log_delay(model->risk, row, &m, err));
    const double *quantiles = md_eta_quantiles(model, m);
    double waited_s = fmax(0.0, (double)(now_ms - row->arrived_ms) / 1000.0);
    double gone = waited_s > 0.0 ? share_below(quantiles, log(waited_s) - m) : 0.0;
    double tail = (1.0 - MD_ETA_CONFIDENCE) / 2.0;
    int64_t at[3];
    const double wanted[3] = {tail, 0.5, 1.0 - tail};
    for (unsigned i = 0; i < 3; i++) {
        double q = gone + wanted[i] * (1.0 - gone);
        double s = fmin(exp(m + quantile_of(quantiles, q)), LONGEST_S);
        at[i] = row->arrived_ms + (int64_t)(1000.0 * fmax(s, waited_s));
    }
    *ret_estimate = (md_eta_estimate){
        .is_overdue = gone > 0.99, .at_ms = at[1], .low_ms = at[0], .high_ms = at[2]};
    return MD_OK;
}
