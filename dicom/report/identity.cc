#include "dicom/report/write_internal.h"

#include <algorithm>
#include <cstdio>

/* Everything that a UID is made of is put before the hash as a list of texts; each list starts
 * with the scheme's own name, so that a change of the scheme changes every UID. */
static std::string derive(const std::vector<std::string> &parts)
{
    std::vector<const char *> pointers;
    pointers.reserve(parts.size());
    for (const std::string &part : parts) {
        pointers.push_back(part.c_str());
    }
    char uid[MD_UID_BYTES];
    md_uid_derive(pointers.data(), pointers.size(), uid);
    return uid;
}

static std::vector<std::string> start(const md_result *result, const char *kind)
{
    return {"medaid-1", kind, result->study_instance_uid, result->model.id};
}

static void add_model(std::vector<std::string> &parts, const md_model_identity &model)
{
    parts.emplace_back(model.version);
    parts.emplace_back(model.sha256);
}

std::string md_object_uid(const md_result *result, const char *kind)
{
    std::vector<std::string> parts = start(result, kind);
    add_model(parts, result->model);
    /* A failure and the success that follows it are two documents, and so are the answers of
     * two settings of one network. */
    parts.push_back(std::to_string(result->status));
    parts.emplace_back(result->status == MD_RESULT_COMPLETE ? "" : result->failure.value);
    parts.emplace_back(result->model.parameters);
    for (size_t i = 0; i < result->n_findings; i++) {
        char threshold[17];
        md_text_decimal(result->findings[i].threshold, 9, threshold);
        parts.push_back(std::string(result->findings[i].key) + ">=" + threshold +
                        (result->findings[i].score_is_probability ? " probability" : ""));
    }
    std::vector<std::string> inputs;
    inputs.reserve(result->n_instances);
    for (size_t i = 0; i < result->n_instances; i++) {
        inputs.push_back(std::string(result->instances[i].sop_instance_uid) + "#" +
                         std::to_string(result->instances[i].frame));
    }
    std::sort(inputs.begin(), inputs.end());
    parts.insert(parts.end(), inputs.begin(), inputs.end());
    /* images and texts give the same answer each time, but what a risk goes by comes from other
     * analyzers and from the hour: another input is another document */
    for (unsigned i = 0; result->risk != nullptr && i < result->risk->n_terms; i++) {
        const md_risk_term &term = result->risk->terms[i];
        char text[48];
        (void)snprintf(text, sizeof text, "=%d:%.9g", static_cast<int>(term.state), term.value);
        parts.push_back(std::string(term.name) + text);
    }
    if (result->revision != 0) {
        parts.push_back("revision " + std::to_string(result->revision));
    }
    return derive(parts);
}

std::string md_series_uid(const md_result *result, const char *kind)
{
    std::vector<std::string> parts = start(result, kind);
    add_model(parts, result->model);
    return derive(parts);
}

std::string md_device_uid(const md_result *result)
{
    std::vector<std::string> parts = {"medaid-1", "device", result->model.id};
    add_model(parts, result->model);
    return derive(parts);
}

std::string md_tracking_uid(const md_result *result, const char *key,
                            const md_instance_ref *instance)
{
    std::vector<std::string> parts = start(result, "tracking");
    parts.emplace_back(key);
    if (instance != nullptr) {
        parts.emplace_back(instance->sop_instance_uid);
        parts.push_back(std::to_string(instance->frame));
    }
    return derive(parts);
}
