#include "plugins/host/package_kinds.h"

#include "inference/tabular/risk.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A risk package: a model of named numbers behind inference/tabular/risk.h. */
typedef struct risk_package {
    md_analyzer base;
    md_manifest *manifest;
    md_risk_model *model;
    md_finding_spec spec;
    const char **names; /* of the model's features, [n_features] */
    md_risk_attribute attributes[MD_RISK_MAX_ATTRIBUTES];
    md_risk_part *parts; /* [n_features], of the last run */
} risk_package;

static_assert((int)MD_EVIDENCE_MAX_TERMS >= (int)MD_RISK_MAX_FEATURES &&
                  (int)MD_EVIDENCE_NAME_BYTES >= (int)MD_RISK_NAME_BYTES &&
                  (int)MD_EVIDENCE_UNIT_BYTES >= (int)MD_RISK_UNIT_BYTES,
              "a result holds what a risk model says");

static void destroy(md_analyzer *analyzer)
{
    risk_package *self = (risk_package *)(void *)analyzer;
    md_risk_destroy(self->model);
    md_free(self->manifest);
    md_free(self->names);
    md_free(self->parts);
    md_free(self);
}

static void destroyp(risk_package **self)
{
    if (*self != NULL) {
        destroy(&(*self)->base);
    }
}

/* A score is its own; a value is placed in the manifest's range and cut at its ends. */
static double score_of(const risk_package *self, double value)
{
    if (md_risk_describe(self->model)->is_score) {
        return value;
    }
    const double *range = self->manifest->risk.range;
    return fmin(fmax((value - range[0]) / (range[1] - range[0]), 0.0), 1.0);
}

/* "1" is UCUM's word for none: people need not read it. */
static void copy_unit(const char *unit, char ret_unit[MD_EVIDENCE_UNIT_BYTES])
{
    snprintf(ret_unit, MD_EVIDENCE_UNIT_BYTES, "%s", strcmp(unit, "1") == 0 ? "" : unit);
}

static md_risk_term term_of(const md_risk_feature *feature, const md_risk_part *part)
{
    md_risk_term term = {.part = part->part};
    snprintf(term.name, sizeof term.name, "%s", feature->name);
    copy_unit(feature->unit, term.unit);
    term.state = part->state == MD_RISK_GIVEN     ? MD_TERM_GIVEN
                 : part->state == MD_RISK_CLAMPED ? MD_TERM_CLAMPED
                                                  : MD_TERM_MISSING;
    term.has_value = isfinite(part->value) != 0;
    term.value = term.has_value ? part->value : 0;
    return term;
}

static md_status assess(md_analyzer *analyzer, const double *values, md_risk_evidence *evidence,
                        md_finding *findings, md_error *err)
{
    risk_package *self = (risk_package *)(void *)analyzer;
    const md_risk_card *card = md_risk_describe(self->model);
    md_risk_answer answer = {0};
    md_error inner = {0};
    md_status status = md_risk_run(self->model, values, &answer, self->parts, &inner);
    if (status == MD_INVALID_ARG) { /* a number that it cannot do without */
        return md_fail(err, MD_NOT_FOUND, "%s", inner.msg);
    }
    if (status != MD_OK) {
        return md_fail(err, status, "%s", inner.msg);
    }
    evidence->terms = md_calloc(card->n_features, sizeof *evidence->terms);
    if (evidence->terms == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u terms", card->n_features);
    }
    evidence->n_terms = card->n_features;
    evidence->n_missing = answer.n_missing;
    for (unsigned i = 0; i < card->n_features; i++) {
        evidence->terms[i] = term_of(&card->features[i], &self->parts[i]);
    }
    evidence->value = answer.value;
    evidence->has_interval = answer.has_interval;
    evidence->low = answer.has_interval ? answer.low : 0;
    evidence->high = answer.has_interval ? answer.high : 0;
    evidence->is_additive = answer.additive;
    evidence->start = answer.start;
    evidence->sum = answer.sum;
    copy_unit(card->unit, evidence->unit);
    return md_finding_judge(&self->spec, score_of(self, answer.value), &findings[0], err);
}

static const md_analyzer_ops ops = {.assess = assess, .destroy = destroy};

static md_status load_model(risk_package *self, int folder, md_error *err)
{
    const md_manifest *m = self->manifest;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_package_read_listed(folder, m, m->network.file, MD_RISK_MAX_BYTES, &bytes,
                                  &size_bytes, err));
    MD_TRY(md_risk_parse(bytes, size_bytes, m->network.file, &self->model, err));
    const md_risk_card *card = md_risk_describe(self->model);
    if (!card->is_score && m->risk.n_range == 0) {
        return md_fail(err, MD_FORMAT,
                       "model.yaml:%u: key 'risk.range': missing, %s answers with a value and "
                       "not with a score: expected the values that are the scores 0 and 1",
                       m->risk.line, m->network.file);
    }
    if (card->is_score && m->risk.n_range != 0) {
        return md_fail(
            err, MD_FORMAT,
            "model.yaml:%u: key 'risk.range': has no effect, %s answers with a score",
            m->risk.line, m->network.file);
    }
    self->names = md_calloc(card->n_features, sizeof *self->names);
    self->parts = md_calloc(card->n_features, sizeof *self->parts);
    if (self->names == NULL || self->parts == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u features", card->n_features);
    }
    for (unsigned i = 0; i < card->n_features; i++) {
        self->names[i] = card->features[i].name;
    }
    self->spec.score_is_probability = card->is_score && card->is_probability;
    return MD_OK;
}

/* An attribute for a number that the model does not ask for is a slip of the pen. */
static md_status find_attributes(risk_package *self, md_error *err)
{
    const md_manifest *m = self->manifest;
    for (unsigned i = 0; i < m->risk.n_attributes; i++) {
        md_risk_attribute *attribute = &self->attributes[i];
        memcpy(attribute->name, m->risk.attributes[i].name, sizeof attribute->name);
        attribute->tag = md_manifest_tag(m->risk.attributes[i].attribute);
        if (md_risk_find(self->model, attribute->name) ==
            md_risk_describe(self->model)->n_features) {
            return md_fail(err, MD_FORMAT,
                           "model.yaml:%u: key 'risk.attributes.%s': %s has no such feature",
                           m->risk.line, attribute->name, m->network.file);
        }
    }
    return MD_OK;
}

/* A known row must give the known answer. NaN is missing. */
static md_status self_test(risk_package *self, int folder, md_error *err)
{
    const md_manifest *m = self->manifest;
    const unsigned n = md_risk_describe(self->model)->n_features;
    MD_AUTO(md_freep) uint8_t *row = NULL;
    MD_AUTO(md_freep) uint8_t *expected = NULL;
    MD_AUTO(md_freep) double *values = md_calloc(n, sizeof *values);
    size_t row_bytes = 0, expected_bytes = 0;
    if (values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u features", n);
    }
    MD_TRY(md_package_read_listed(folder, m, m->self_test.input, MD_PACKAGE_MAX_FILE_BYTES,
                                  &row, &row_bytes, err));
    MD_TRY(md_package_read_listed(folder, m, m->self_test.expected, MD_PACKAGE_MAX_FILE_BYTES,
                                  &expected, &expected_bytes, err));
    if (row_bytes != 4 * (size_t)n || expected_bytes != 4) {
        return md_fail(err, MD_FORMAT,
                       "%s and %s: %zu and %zu bytes, expected %u float32 numbers and one",
                       m->self_test.input, m->self_test.expected, row_bytes, expected_bytes, n);
    }
    for (unsigned i = 0; i < n; i++) {
        values[i] = (double)md_package_float_at(row, i);
    }
    md_risk_answer answer = {0};
    md_status status = md_risk_run(self->model, values, &answer, self->parts, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status == MD_NOMEM ? MD_NOMEM : MD_PLUGIN,
                               "self-test failed: %s", m->self_test.input);
    }
    const float value = (float)answer.value;
    return md_package_compare(m, &value, 1, expected, &self->base.card, err);
}

static void describe(risk_package *self)
{
    static const char *const kinds[] = {"linear", "svm", "forest"};
    static const char *const links[] = {"identity", "logistic", "exp"};
    const md_manifest *m = self->manifest;
    const md_risk_card *card = md_risk_describe(self->model);
    md_package_describe(m, m->network.file, &self->base);
    snprintf(self->base.identity.parameters, sizeof self->base.identity.parameters,
             "model=%s link=%s features=%u least_known=%u", kinds[card->kind],
             links[card->link], card->n_features, m->risk.least_known);
    md_accept_describe(&m->accept, self->base.card.accepts, sizeof self->base.card.accepts);
    md_risk_needs *needs = &self->base.needs.risk;
    needs->accept = m->accept;
    needs->names = self->names;
    needs->n_names = card->n_features;
    needs->least_known = m->risk.least_known;
    needs->attributes = self->attributes;
    needs->n_attributes = m->risk.n_attributes;
}

md_status md_package_open_risk(int folder, const char *name, md_manifest **manifest,
                               md_analyzer **ret_analyzer, md_error *err)
{
    MD_AUTO(destroyp) risk_package *self = md_calloc(1, sizeof *self);
    if (self == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory", name);
    }
    self->manifest = *manifest;
    *manifest = NULL;
    const md_manifest *m = self->manifest;
    self->spec = m->findings[0].spec;
    self->base.ops = &ops;
    self->base.kind = MD_ANALYZER_RISK;
    self->base.specs = &self->spec;
    self->base.n_findings = 1;
    const char *const used[] = {m->network.file, m->self_test.input, m->self_test.expected};
    md_status status =
        md_package_check_others(folder, m, used, sizeof used / sizeof *used, err);
    if (status == MD_OK) {
        status = load_model(self, folder, err);
    }
    if (status == MD_OK) {
        status = find_attributes(self, err);
    }
    if (status == MD_OK) {
        status = self_test(self, folder, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", name);
    }
    describe(self);
    *ret_analyzer = &MD_STEAL(self)->base;
    return MD_OK;
}
