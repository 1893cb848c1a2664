#include "daemon/daemon.h"

#include "base/log.h"

#include <string.h>

/* The analyser of the daemon: the models of plugins/host, in this process. */
typedef struct host_analyser {
    const md_conf *conf;
    md_host *host;
} host_analyser;

static void on_refused(void *context, const char *package, const md_error *reason)
{
    (void)context;
    md_log(MD_LOG_WARN, "model_refused", MD_LOG_TEXT("package", package),
           MD_LOG_TEXT("reason", reason->msg));
}

/* The reason names tags and numbers, never values; the path is made of hashes. */
static void on_problem(void *context, const char *path, const md_error *reason)
{
    const md_complete_study *study = context;
    const char *slash = strrchr(path, '/');
    md_log(MD_LOG_WARN, "object_not_analysed", MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("file", slash != NULL ? slash + 1 : path),
           MD_LOG_TEXT("reason", reason->msg));
}

/* An empty text in the configuration means: not written. */
static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static md_status analyse(void *context, const md_study_files *files,
                         const md_complete_study *study, md_analysis *ret_analysis,
                         md_error *err)
{
    const host_analyser *now = context;
    const md_conf *conf = now->conf;
    md_complete_study told = *study;
    const md_analyse_options options = {
        .want_sr = conf->results.kind != MD_RESULTS_PICTURE,
        .want_picture = conf->results.kind != MD_RESULTS_SR,
        .want_failure_sr = conf->results.write_failures,
        .report = {.institution_name = or_null(conf->results.institution),
                   .station_name = or_null(conf->results.station),
                   .triage_only = conf->results.triage_only,
                   .content_qualification = or_null(conf->results.content_qualification)},
        .on_problem = on_problem,
        .context = &told,
        .first_received_ms = study->first_received_ms,
        .last_received_ms = study->last_received_ms,
        .complete_ms = study->complete_ms,
    };
    const char **paths = md_calloc(files->n_paths + 1, sizeof *paths);
    if (paths == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the list of a study");
    }
    for (size_t i = 0; i < files->n_paths; i++) {
        paths[i] = files->paths[i];
    }
    md_status status =
        md_host_analyse(now->host, paths, files->n_paths, &options, ret_analysis, err);
    md_free(paths);
    return status;
}

md_status md_daemon_run(const md_conf *conf, md_error *err)
{
    host_analyser now = {.conf = conf};
    const char *folders[MD_CONF_MAX_PATHS];
    for (unsigned i = 0; i < conf->plugins.n_paths; i++) {
        folders[i] = conf->plugins.paths[i];
    }
    const md_host_options options = {
        .folders = folders,
        .n_folders = conf->plugins.n_paths,
        .backend = or_null(conf->engine.backend),
        .n_threads = conf->engine.n_threads,
        .on_refused = on_refused,
    };
    MD_TRY(md_host_create(&options, &now.host, err));
    for (size_t i = 0; i < md_host_n_models(now.host); i++) {
        const md_model_identity *model = md_host_model(now.host, i);
        md_log(MD_LOG_INFO, "model_loaded", MD_LOG_TEXT("model", model->id),
               MD_LOG_TEXT("version", model->version), MD_LOG_TEXT("sha256", model->sha256));
    }
    const md_analyser analyser = {&now, analyse, md_analysis_finish};
    md_status status = md_daemon_serve(conf, &analyser, err);
    md_host_destroy(now.host);
    return status;
}
