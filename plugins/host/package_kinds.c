#include "plugins/host/package_kinds.h"

#include "conf/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static md_measure measure_of(const md_manifest_measure *from)
{
    return (md_measure){.there = from->n == 3,
                        .value = from->values[0],
                        .low = from->values[1],
                        .high = from->values[2]};
}

void md_package_describe(const md_manifest *m, const char *file, md_analyzer *ret_analyzer)
{
    md_model_identity *identity = &ret_analyzer->identity;
    memcpy(identity->id, m->id, sizeof identity->id);
    memcpy(identity->version, m->version, sizeof identity->version);
    memcpy(identity->name, m->name, sizeof identity->name);
    memcpy(identity->manufacturer, m->manufacturer, sizeof identity->manufacturer);
    memcpy(identity->intended_use, m->intended_use, sizeof identity->intended_use);
    snprintf(identity->sha256, sizeof identity->sha256, "%s", md_manifest_sha256(m, file));
    md_model_card *card = &ret_analyzer->card;
    card->form = "package";
    card->kind = md_analyzer_kind_name(m->kind);
    md_finding_describe(ret_analyzer->specs, m->n_findings, card->findings,
                        sizeof card->findings);
    memcpy(card->set, m->performance.set, sizeof card->set);
    card->n_images = m->performance.n_images;
    card->n_patients = m->performance.n_patients;
    card->accuracy = measure_of(&m->performance.accuracy);
    card->sensitivity = measure_of(&m->performance.sensitivity);
    card->specificity = measure_of(&m->performance.specificity);
    card->f1 = measure_of(&m->performance.f1);
    card->auc = measure_of(&m->performance.auc);
    card->has_calibration_error = m->calibration.has_error;
    card->calibration_error = m->calibration.error;
}

void md_package_calibration(const md_manifest *m, char ret_text[MD_PACKAGE_CALIBRATION_BYTES])
{
    snprintf(ret_text, MD_PACKAGE_CALIBRATION_BYTES, "none");
    if (m->calibration.method == MD_CALIBRATION_TEMPERATURE) {
        snprintf(ret_text, MD_PACKAGE_CALIBRATION_BYTES, "temperature(%g)",
                 m->calibration.temperature);
    } else if (m->calibration.method == MD_CALIBRATION_PLATT) {
        snprintf(ret_text, MD_PACKAGE_CALIBRATION_BYTES, "platt(%g,%g)", m->calibration.a,
                 m->calibration.b);
    }
}

md_status md_package_check_classes(const md_manifest *m, size_t n, md_error *err)
{
    for (unsigned i = 0; i < m->n_findings; i++) {
        const md_manifest_finding *f = &m->findings[i];
        if (m->network.activation == MD_TARGET_SOFTMAX && f->n_classes >= n) {
            return md_fail(err, MD_FORMAT,
                           "model.yaml:%u: key 'findings[%u].classes': got all %zu classes, "
                           "their sum is always 1",
                           f->line, i, n);
        }
        for (unsigned j = 0; j < f->n_classes; j++) {
            if (f->classes[j] >= n) {
                return md_fail(err, MD_FORMAT,
                               "model.yaml:%u: key 'findings[%u].classes': got %u, the output "
                               "has %zu values",
                               f->line, i, f->classes[j], n);
            }
        }
    }
    return MD_OK;
}

md_status md_package_compare(const md_manifest *m, const float *outputs, size_t n,
                             const uint8_t *expected, md_model_card *card, md_error *err)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)outputs[i] - (double)md_package_float_at(expected, i));
        if (!isfinite(difference)) {
            return md_fail(err, MD_PLUGIN,
                           "self-test failed: value %zu of the output or of %s is not finite",
                           i, m->self_test.expected);
        }
        largest = fmax(largest, difference);
    }
    double tolerance = m->self_test.tolerance;
    if (largest > tolerance) {
        return md_fail(err, MD_PLUGIN,
                       "self-test failed: the output differs by %.6g from %s, at most %g is "
                       "allowed: this machine does not compute what was measured",
                       largest, m->self_test.expected, tolerance);
    }
    card->self_test_difference = largest;
    card->self_test_tolerance = tolerance;
    return MD_OK;
}

md_status md_package_read_manifest(int folder, const char *name, md_manifest *m, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    md_status status = md_package_read_file(folder, "model.yaml", MD_SCHEMA_MAX_BYTES, &bytes,
                                            &size_bytes, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", name);
    }
    char shown[128];
    snprintf(shown, sizeof shown, "%.100s/model.yaml", name);
    return md_manifest_parse(bytes, size_bytes, shown, m, err);
}

md_status md_package_check_others(int folder, const md_manifest *m, const char *const *used,
                                  size_t n_used, md_error *err)
{
    for (unsigned i = 0; i < m->n_files; i++) {
        const char *name = m->files[i].name;
        bool is_used = false;
        for (size_t k = 0; k < n_used; k++) {
            is_used = is_used || strcmp(name, used[k]) == 0;
        }
        if (is_used) {
            continue;
        }
        MD_AUTO(md_freep) uint8_t *bytes = NULL;
        size_t size_bytes = 0;
        MD_TRY(md_package_read_listed(folder, m, name, MD_PACKAGE_MAX_FILE_BYTES, &bytes,
                                      &size_bytes, err));
    }
    return MD_OK;
}

float md_package_float_at(const uint8_t *bytes, size_t index)
{
    const uint8_t *b = bytes + 4 * index;
    uint32_t word =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}
