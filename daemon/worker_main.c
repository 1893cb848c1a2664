#include "daemon/worker_main.h"

#include "daemon/host_setup.h"
#include "daemon/worker/serve.h"
#include "inference/share.h"
#include "plugins/host/study.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct host_engine {
    md_host *host;
    md_share share;
} host_engine;

static md_status load(void *context, const md_conf *conf, md_analyse_options *ret_options,
                      md_error *err)
{
    host_engine *now = context;
    *ret_options = md_analyse_options_from(conf);
    ret_options->want_view = true; /* for the worklist */
    MD_TRY(md_dicom_init(err));
    MD_TRY(md_host_setup(conf, NULL, conf->similar.enabled, NULL, NULL, &now->host, err));
    size_t n_bytes = 0;
    /* without it the worker serves as well, with weights of its own */
    md_status shared = md_host_share_weights(now->host, &now->share, &n_bytes, NULL);
    (void)shared;
    return MD_OK;
}

static size_t n_models(void *context)
{
    const host_engine *now = context;
    return md_host_n_models(now->host);
}

static const md_model_identity *model(void *context, size_t index)
{
    const host_engine *now = context;
    return md_host_model(now->host, index);
}

static const md_required *required(void *context, size_t index)
{
    return md_host_model_required(((const host_engine *)context)->host, index);
}

static md_embeds embeds(void *context, size_t index)
{
    return md_host_model_embeds(((const host_engine *)context)->host, index);
}

static md_status analyse(void *context, const char *const *paths, size_t n_paths,
                         const md_analyse_options *options, md_analysis *ret_analysis,
                         md_error *err)
{
    const host_engine *now = context;
    return md_host_analyse(now->host, paths, n_paths, options, ret_analysis, err);
}

/* Who failed is only known when there is one model; else medaid speaks for itself. */
static void choose_identity(const host_engine *now, md_model_identity *ret_identity)
{
    size_t n = 0, only = 0;
    for (size_t i = 0; i < md_host_n_models(now->host); i++) {
        if (!md_host_model_card(now->host, i)->is_gate) {
            only = i;
            n++;
        }
    }
    if (n == 1) {
        *ret_identity = *md_host_model(now->host, only);
    } else {
        md_worker_host_identity(ret_identity);
    }
}

static md_status fill_failure(const host_engine *now, const md_study *study, const char *reason,
                              const md_analyse_options *options, md_result *result,
                              md_error *err)
{
    result->instances = md_calloc(study->n, sizeof *result->instances);
    if (result->instances == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the failure of a study");
    }
    result->n_instances = study->n;
    for (size_t i = 0; i < study->n; i++) {
        const md_study_file *file = &study->files[i];
        md_instance_ref *instance = &result->instances[i];
        memcpy(instance->sop_class_uid, file->facts.sop_class, MD_UID_BYTES);
        memcpy(instance->sop_instance_uid, file->sop_uid, MD_UID_BYTES);
        memcpy(instance->series_instance_uid, file->series_uid, MD_UID_BYTES);
    }
    memcpy(result->study_instance_uid, study->files[0].study_uid, MD_UID_BYTES);
    choose_identity(now, &result->model);
    result->status = MD_RESULT_FAILED;
    result->failure = (md_code){"110501", "DCM", "Equipment failure"}; /* PS3.16 CID 9301 */
    snprintf(result->failure_text, sizeof result->failure_text, "%s", reason);
    result->times.first_received_ms = options->first_received_ms;
    result->times.last_received_ms = options->last_received_ms;
    result->times.complete_ms = options->complete_ms;
    md_host_set_predecessor(options, result);
    return MD_OK;
}

static md_status write_failure(const md_study *study, const md_analyse_options *options,
                               md_analysis *analysis, md_error *err)
{
    MD_AUTO(md_freep) const md_dataset **sources = md_calloc(study->n, sizeof *sources);
    analysis->objects = md_calloc(1, sizeof *analysis->objects);
    if (sources == NULL || analysis->objects == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the failure of a study");
    }
    for (size_t i = 0; i < study->n; i++) {
        sources[i] = study->files[i].dataset;
    }
    MD_TRY(md_report_write_sr(analysis->results, sources, &options->report, analysis->objects,
                              err));
    analysis->n_objects = 1;
    return MD_OK;
}

static md_status fail(void *context, const char *const *paths, size_t n_paths,
                      const char *reason, const md_analyse_options *options,
                      md_analysis *ret_analysis, md_error *err)
{
    const host_engine *now = context;
    md_study study;
    md_status status = md_study_open(paths, n_paths, options, &study, err);
    ret_analysis->n_unreadable = study.n_unreadable;
    if (status == MD_OK) {
        ret_analysis->results = md_calloc(1, sizeof *ret_analysis->results);
        ret_analysis->n_results = ret_analysis->results == NULL ? 0 : 1;
        status = ret_analysis->results == NULL
                     ? md_fail(err, MD_NOMEM, "no memory for the failure of a study")
                     : fill_failure(now, &study, reason, options, ret_analysis->results, err);
    }
    if (status == MD_OK && options->want_failure_sr) {
        status = write_failure(&study, options, ret_analysis, err);
    }
    md_study_finish(&study);
    return status;
}

static void unload(void *context)
{
    host_engine *now = context;
    md_host_destroy(now->host);
    now->host = NULL;
}

_Noreturn void md_worker_main(const char *work_folder)
{
    host_engine now = {0};
    const md_worker_engine engine = {load,    n_models, model,  required, embeds,
                                     analyse, fail,     unload, &now};
    if (fcntl(MD_WORKER_SOCKET_FD, F_GETFD) < 0 || fcntl(MD_WORKER_SHARED_FD, F_GETFD) < 0) {
        fputs("medaid: --worker is for the daemon alone\n", stderr);
        _exit(2);
    }
    (void)!md_share_begin(MD_WORKER_WEIGHTS_FD, &now.share, NULL);
    /* _exit: no handler of a library that a plugin brought along runs any more */
    _exit(
        md_worker_serve(&engine, MD_WORKER_SOCKET_FD, MD_WORKER_SHARED_FD, work_folder, true));
}
