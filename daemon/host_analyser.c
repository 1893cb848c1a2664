#include "daemon/daemon.h"

#include "base/log.h"
#include "daemon/host_setup.h"

#include <string.h>

/* The analyser of the daemon: the models of plugins/host, in this process. */
typedef struct host_analyser {
    const md_conf *conf;
    md_host *host;
} host_analyser;

/* The reason names tags and numbers, never values; the path is made of hashes. */
static void on_problem(void *context, const char *path, const md_error *reason)
{
    const md_complete_study *study = context;
    const char *slash = strrchr(path, '/');
    md_log(MD_LOG_WARN, "object_not_analysed", MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("file", slash != NULL ? slash + 1 : path),
           MD_LOG_TEXT("reason", reason->msg));
}

static md_status analyse(void *context, const md_study_files *files,
                         const md_complete_study *study, md_analysis *ret_analysis,
                         md_error *err)
{
    const host_analyser *now = context;
    md_complete_study told = *study;
    md_analyse_options options = md_analyse_options_from(now->conf);
    options.on_problem = on_problem;
    options.context = &told;
    options.first_received_ms = study->first_received_ms;
    options.last_received_ms = study->last_received_ms;
    options.complete_ms = study->complete_ms;
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
    MD_TRY(md_host_setup(conf, NULL, NULL, NULL, &now.host, err));
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
