#include "engine.h"

#include "hostile.h"
#include "plugins/sdk/medaid_plugin.h"

#include "base/file.h"
#include "base/log.h"
#include "dicom/network/part10.h"
#include "dicom/network/sop.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *library;
    const medaid_plugin *plugin;
    void *instance;
    medaid_host host;
    char error[256];
    md_model_identity model;
} loaded;

static void plugin_log(const medaid_host *host, int32_t level, const char *text)
{
    (void)host;
    md_log(level < MEDAID_LOG_WARN ? MD_LOG_INFO : MD_LOG_WARN, "plugin_log",
           MD_LOG_TEXT("text", text));
}

static void plugin_error(const medaid_host *host, const char *text)
{
    (void)host;
    snprintf(loaded.error, sizeof loaded.error, "%s", text);
}

static md_status load(void *context, const md_conf *conf, md_analyse_options *ret_options,
                      md_error *err)
{
    (void)context;
    char path[MD_CONF_TEXT_BYTES + 16];
    snprintf(path, sizeof path, "%s/hostile.so", conf->plugins.paths[0]);
    loaded.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (loaded.library == NULL) {
        return md_fail(err, MD_NOT_FOUND, "no plugin");
    }
    void *symbol = dlsym(loaded.library, "medaid_plugin_entry");
    const medaid_plugin *(*entry)(uint32_t);
    memcpy(&entry, &symbol, sizeof entry);
    loaded.plugin = entry(MEDAID_ABI(MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR));
    loaded.host = (medaid_host){.struct_bytes = sizeof loaded.host,
                                .abi = MEDAID_ABI(MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR),
                                .version = "0.1.0",
                                .log = plugin_log,
                                .set_error = plugin_error};
    if (loaded.plugin == NULL ||
        loaded.plugin->create(&loaded.host, ".", &loaded.instance) != MEDAID_OK) {
        return md_fail(err, MD_PLUGIN, "the plugin does not load");
    }
    const medaid_descriptor *d = loaded.plugin->descriptor;
    snprintf(loaded.model.id, sizeof loaded.model.id, "%s", d->id);
    snprintf(loaded.model.version, sizeof loaded.model.version, "%s", d->version);
    snprintf(loaded.model.name, sizeof loaded.model.name, "%s", d->name);
    *ret_options = (md_analyse_options){.want_sr = true};
    return MD_OK;
}

static size_t n_models(void *context)
{
    (void)context;
    return 1;
}

static const md_model_identity *model(void *context, size_t index)
{
    (void)context;
    return index == 0 ? &loaded.model : NULL;
}

static size_t put_element(uint8_t *to, unsigned group, unsigned element, const char *vr,
                          const char *value)
{
    size_t length = strlen(value), padded = length + length % 2;
    const uint8_t header[8] = {(uint8_t)group,          (uint8_t)(group >> 8), (uint8_t)element,
                               (uint8_t)(element >> 8), (uint8_t)vr[0],        (uint8_t)vr[1],
                               (uint8_t)padded,         (uint8_t)(padded >> 8)};
    memcpy(to, header, sizeof header);
    memset(to + sizeof header, 0, padded);
    memcpy(to + sizeof header, value, length);
    return sizeof header + padded;
}

static md_status add_object(md_analysis *analysis)
{
    enum {
        OBJECT_BYTES = 4096
    };
    const char *const parts[] = {"test", "object"};
    md_object *object = md_calloc(1, sizeof *object);
    uint8_t *bytes = md_calloc(1, OBJECT_BYTES);
    if (object == NULL || bytes == NULL) {
        md_free(object);
        md_free(bytes);
        return MD_NOMEM;
    }
    snprintf(object->sop_class_uid, MD_UID_BYTES, "1.2.840.10008.5.1.4.1.1.88.34");
    md_uid_derive(parts, 2, object->sop_instance_uid);
    memcpy(object->series_instance_uid, object->sop_instance_uid, MD_UID_BYTES);
    memcpy(object->model_id, analysis->results[0].model.id, MD_KEY_BYTES);
    md_part10 head = {.transfer_syntax_uid = MD_UID_EXPLICIT_LITTLE};
    memcpy(head.sop_class_uid, object->sop_class_uid, MD_UID_BYTES);
    memcpy(head.sop_instance_uid, object->sop_instance_uid, MD_UID_BYTES);
    size_t used = md_part10_write(&head, "", bytes);
    used += put_element(bytes + used, 0x0008, 0x0016, "UI", object->sop_class_uid);
    used += put_element(bytes + used, 0x0008, 0x0018, "UI", object->sop_instance_uid);
    used += put_element(bytes + used, 0x0020, 0x000d, "UI", TEST_STUDY_UID);
    used += put_element(bytes + used, 0x0020, 0x000e, "UI", object->sop_instance_uid);
    object->bytes = bytes;
    object->size_bytes = used;
    analysis->objects = object;
    analysis->n_objects = 1;
    return MD_OK;
}

static md_status make_result(const md_model_identity *identity, size_t n_instances,
                             md_result *result)
{
    result->instances = md_calloc(n_instances, sizeof *result->instances);
    if (result->instances == NULL) {
        return MD_NOMEM;
    }
    result->n_instances = n_instances;
    result->model = *identity;
    snprintf(result->study_instance_uid, MD_UID_BYTES, TEST_STUDY_UID);
    for (size_t i = 0; i < n_instances; i++) {
        md_instance_ref *instance = &result->instances[i];
        snprintf(instance->sop_class_uid, MD_UID_BYTES, "1.2.840.10008.5.1.4.1.1.1.1");
        snprintf(instance->sop_instance_uid, MD_UID_BYTES, "1.2.3.4.5.%zu", i + 1);
        snprintf(instance->series_instance_uid, MD_UID_BYTES, "1.2.3.4.5");
        instance->analysed = true;
        md_steps_add(&instance->steps, "inverted MONOCHROME1");
    }
    return MD_OK;
}

static const md_code failure = {"110501", "DCM", "Equipment failure"};

md_status test_analysis_make(const md_model_identity *identity, double score,
                             size_t n_instances, md_analysis *ret_analysis)
{
    md_result *result = md_calloc(1, sizeof *result);
    if (result == NULL) {
        return MD_NOMEM;
    }
    ret_analysis->results = result;
    ret_analysis->n_results = 1;
    MD_TRY(make_result(identity, n_instances, result));
    if (!isfinite(score) || score < 0.0 || score > 1.0) {
        result->status = MD_RESULT_FAILED;
        result->failure = failure;
        return add_object(ret_analysis);
    }
    result->findings = md_calloc(1, sizeof *result->findings);
    if (result->findings == NULL) {
        return MD_NOMEM;
    }
    result->n_findings = 1;
    result->findings[0] =
        (md_finding){.key = "deed",
                     .concept = {"309529002", "SCT", "Mass of lung"},
                     .presence = score >= 0.5 ? MD_PRESENCE_PRESENT : MD_PRESENCE_ABSENT,
                     .score = score,
                     .threshold = 0.5};
    return add_object(ret_analysis);
}

static bool read_deed(const char *path, unsigned *ret_deed)
{
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    if (md_file_read(path, 1 << 20, &bytes, &size_bytes, NULL) != MD_OK) {
        return false;
    }
    bool fine = sscanf((const char *)bytes, "deed %u", ret_deed) == 1;
    md_free(bytes);
    return fine;
}

static medaid_status run_plugin(unsigned deed, medaid_answer *answer)
{
    static float values[8];
    float saliency[MEDAID_MAX_SALIENCY_SIDE * MEDAID_MAX_SALIENCY_SIDE];
    const medaid_image image = {.struct_bytes = sizeof image,
                                .rows = HOSTILE_ROWS + deed,
                                .columns = 8,
                                .n_channels = 1,
                                .values = values,
                                .modality = "DX",
                                .body_part = "",
                                .view = "",
                                .laterality = ""};
    answer->score = (double)NAN;
    answer->saliency = saliency;
    medaid_answers answers = {.struct_bytes = sizeof answers,
                              .n_answers = 1,
                              .answer_bytes = sizeof *answer,
                              .answers = answer};
    return loaded.plugin->analyse(loaded.instance, &image, &answers);
}

static md_status analyse(void *context, const char *const *paths, size_t n_paths,
                         const md_analyse_options *options, md_analysis *ret_analysis,
                         md_error *err)
{
    (void)context;
    double score = -1.0;
    size_t n_read = 0;
    for (size_t i = 0; i < n_paths; i++) {
        unsigned deed = 0;
        if (!read_deed(paths[i], &deed)) {
            md_error reason = {0};
            (void)md_fail(&reason, MD_FORMAT, "not a deed");
            options->on_problem(options->context, paths[i], &reason);
            ret_analysis->n_unreadable++;
            continue;
        }
        n_read++;
        loaded.error[0] = '\0';
        medaid_answer answer = {0};
        medaid_status status = run_plugin(deed, &answer);
        bool fine = status == MEDAID_OK && answer.state <= 1 && answer.state >= 0 &&
                    answer.saliency_columns <= MEDAID_MAX_SALIENCY_SIDE;
        score = fine ? answer.score : -1.0;
    }
    if (n_read == 0) {
        return md_fail(err, MD_FORMAT, "no file of %zu could be read", n_paths);
    }
    MD_TRY(test_analysis_make(&loaded.model, score, n_read, ret_analysis));
    /* once for each file, where an honest worker asks once for a study */
    for (size_t i = 0; options->propose != NULL && i < n_read; i++) {
        snprintf(ret_analysis->header.patient_id, sizeof ret_analysis->header.patient_id,
                 "P-TEST");
        options->propose(options->propose_context, ret_analysis, &ret_analysis->follow_up);
        snprintf(ret_analysis->results[0].failure_text, MD_ERROR_MSG_BYTES, "told %s",
                 ret_analysis->follow_up.proposals[0].key);
    }
    if (loaded.error[0] != '\0') {
        snprintf(ret_analysis->results[0].failure_text, MD_ERROR_MSG_BYTES, "%s", loaded.error);
    }
    return MD_OK;
}

static md_status fail(void *context, const char *const *paths, size_t n_paths,
                      const char *reason, const md_analyse_options *options,
                      md_analysis *ret_analysis, md_error *err)
{
    (void)context;
    (void)paths;
    (void)options;
    (void)err;
    md_model_identity host;
    md_worker_host_identity(&host);
    MD_TRY(test_analysis_make(&host, -1.0, n_paths, ret_analysis));
    snprintf(ret_analysis->results[0].failure_text, MD_ERROR_MSG_BYTES, "%s", reason);
    return MD_OK;
}

static void unload(void *context)
{
    (void)context;
    if (loaded.library != NULL) {
        loaded.plugin->destroy(loaded.instance);
        dlclose(loaded.library);
    }
    memset(&loaded, 0, sizeof loaded);
}

md_worker_engine test_engine(void)
{
    return (md_worker_engine){.load = load,
                              .n_models = n_models,
                              .model = model,
                              .analyse = analyse,
                              .fail = fail,
                              .unload = unload};
}
