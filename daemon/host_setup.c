#include "daemon/host_setup.h"

#include "base/cores.h"
#include "base/log.h"
#include "dicom/image/image.h"

static void log_refused(void *context, const char *package, const md_error *reason)
{
    (void)context;
    md_log(MD_LOG_WARN, "model_refused", MD_LOG_TEXT("package", package),
           MD_LOG_TEXT("status", md_status_name(reason->status)),
           MD_LOG_TEXT("reason", reason->msg));
}

/* Also where the caller has words of its own for what is refused: nothing is wrong with it. */
static void log_float32(void *context, const char *package, const md_error *reason)
{
    (void)context;
    md_log(MD_LOG_WARN, "precision_refused", MD_LOG_TEXT("package", package),
           MD_LOG_TEXT("used", "f32"), MD_LOG_TEXT("reason", reason->msg));
}

const char *md_host_default_folder(void)
{
    return MEDAID_PLUGIN_DIR;
}

md_status md_host_setup(const md_conf *conf, const char *only_model, bool embeds,
                        md_on_refused *on_refused, void *context, md_host **ret_host,
                        md_error *err)
{
    const char *folders[MD_CONF_MAX_PATHS] = {md_host_default_folder()};
    for (unsigned i = 0; i < conf->plugins.n_paths; i++) {
        folders[i] = conf->plugins.paths[i];
    }
    const md_host_options options = {
        .folders = folders,
        .n_folders = conf->plugins.n_paths == 0 ? 1 : conf->plugins.n_paths,
        .backend = conf->engine.backend,
        .n_threads = conf->engine.n_threads,
        .only_model = only_model,
        .embeds = embeds,
        .on_refused = on_refused == NULL ? log_refused : on_refused,
        .on_float32 = log_float32,
        .context = context,
    };
    md_image_set_threads(conf->engine.n_threads > 0 ? conf->engine.n_threads : md_cores());
    return md_host_create(&options, ret_host, err);
}

static const char *text_or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

md_analyse_options md_analyse_options_from(const md_conf *conf)
{
    return (md_analyse_options){
        .want_sr = conf->results.kind != MD_RESULTS_PICTURE,
        .want_picture = conf->results.kind != MD_RESULTS_SR,
        .want_map = conf->results.parametric_map,
        .want_failure_sr = conf->results.write_failures,
        .report =
            {
                .institution_name = text_or_null(conf->results.institution),
                .station_name = text_or_null(conf->results.station),
                .triage_only = conf->results.triage_only,
                .content_qualification = text_or_null(conf->results.content_qualification),
            },
    };
}
