#include "daemon/daemon.h"

#include "base/log.h"
#include "daemon/host_setup.h"
#include "daemon/worker/pool.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The analyser of the daemon: a pool of worker processes. Nothing of a study but its bytes on
 * disk is touched in this process. */

typedef struct worker_analyser {
    const md_conf *conf;
    md_worker_pool *pool; /* NULL before the start */
} worker_analyser;

/* The reason names tags and numbers, never values; the path is made of hashes. */
static void on_problem(void *context, const char *path, const md_error *reason)
{
    const md_study *study = context;
    const char *slash = strrchr(path, '/');
    /* that no model wants an image is normal; a study of thousands would fill the log */
    md_log(reason->status == MD_NOT_FOUND ? MD_LOG_DEBUG : MD_LOG_WARN, "object_not_analysed",
           MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("file", slash != NULL ? slash + 1 : path),
           MD_LOG_TEXT("reason", reason->msg));
}

static void propose(void *context, const char *patient_id, const char *issuer,
                    const md_features *features, md_follow_up *ret_follow_up)
{
    const md_study_task *task = context;
    md_follow_up_propose_for(task->follow_up, task->study->study_uid, patient_id, issuer,
                             features, ret_follow_up);
}

/* One attempt at a study, or, with a reason, its failure. */
static md_status run(md_worker_pool *pool, const md_study_task *task, const char *reason,
                     md_analysis *ret_analysis, md_error *err)
{
    md_study told = *task->study;
    md_study_task asked = *task;
    const md_worker_job job = {
        .paths = task->paths,
        .n_paths = task->n_paths,
        .study_key = told.key,
        .study_instance_uid = told.study_uid,
        .cancel_fd = -1,
        .first_received_ms = told.clock.first_received_ms,
        .last_received_ms = told.clock.last_received_ms,
        .complete_ms = told.clock.complete_ms,
        .predecessors = task->predecessors,
        .n_predecessors = task->n_predecessors,
        .revision = task->revision,
        .some_models = task->plan->some_models,
        .models = task->plan->models,
        .n_models = task->plan->n_models,
        .missing = task->plan->missing[0] != '\0' ? task->plan->missing : NULL,
        .on_problem = reason == NULL ? on_problem : NULL,
        .context = &told,
        .propose = propose,
        .propose_context = &asked,
    };
    md_worker_outcome outcome;
    md_status status =
        reason == NULL ? md_worker_pool_analyse(pool, &job, ret_analysis, &outcome, err)
                       : md_worker_pool_fail(pool, &job, reason, ret_analysis, &outcome, err);
    /* A full disk is not the study's fault; a worker may not say that of itself. */
    if (outcome == MD_WORKER_OUTCOME_NOT_RUN) {
        return status == MD_IO ? MD_BUSY : status;
    }
    return status == MD_BUSY ? MD_PLUGIN : status;
}

static md_status analyse(void *context, const md_study_task *task, md_analysis *ret_analysis,
                         md_error *err)
{
    return run(((const worker_analyser *)context)->pool, task, NULL, ret_analysis, err);
}

static md_status fail(void *context, const md_study_task *task, const char *reason,
                      md_analysis *ret_analysis, md_error *err)
{
    return run(((const worker_analyser *)context)->pool, task, reason, ret_analysis, err);
}

static md_status start_pool(const md_conf *conf, md_worker_pool **ret_pool, md_error *err)
{
    char work_folder[PATH_MAX];
    snprintf(work_folder, sizeof work_folder, "%s/workers", conf->storage.path);
    static const char *plugin_folders[2]; /* what holds without plugins.paths */
    plugin_folders[0] = conf->plugins.n_paths == 0 ? md_host_default_folder() : NULL;
    return md_worker_pool_start(
        &(md_worker_pool_options){.n_workers = conf->workers.count,
                                  .study_timeout_ms = conf->workers.study_timeout_s * 1000,
                                  .memory_mib = conf->workers.memory_mib,
                                  .recycle_after = conf->workers.recycle_after,
                                  .work_folder = work_folder,
                                  .conf = conf,
                                  .read_folders = plugin_folders},
        ret_pool, err);
}

/* Not before the storage is locked: the pool empties the workers' folders, which would pull the
 * files from under the workers of another daemon. */
static md_status start(void *context, md_error *err)
{
    worker_analyser *now = context;
    MD_TRY(start_pool(now->conf, &now->pool, err));
    for (size_t i = 0; i < md_worker_pool_n_models(now->pool); i++) {
        const md_model_identity *model = md_worker_pool_model(now->pool, i);
        md_log(MD_LOG_INFO, "model_loaded", MD_LOG_TEXT("model", model->id),
               MD_LOG_TEXT("version", model->version), MD_LOG_TEXT("sha256", model->sha256));
    }
    return MD_OK;
}

static size_t required(void *context, md_model_required *ret_models, size_t n_max)
{
    const worker_analyser *now = context;
    size_t n = 0;
    for (size_t i = 0; i < md_worker_pool_n_models(now->pool) && n < n_max; i++) {
        const md_required *of = md_worker_pool_required(now->pool, i);
        if (of->n_views > 0 || of->count > 0) {
            ret_models[n].required = *of;
            memcpy(ret_models[n++].model_id, md_worker_pool_model(now->pool, i)->id,
                   MD_KEY_BYTES);
        }
    }
    return n;
}

static size_t embeds(void *context, md_model_embeds *ret_models, size_t n_max)
{
    const worker_analyser *now = context;
    size_t n = 0;
    for (; n < md_worker_pool_n_models(now->pool) && n < n_max; n++) {
        ret_models[n].model = *md_worker_pool_model(now->pool, n);
        ret_models[n].embeds = md_worker_pool_embeds(now->pool, n);
    }
    return n;
}

md_status md_daemon_run(const md_conf *conf, md_error *err)
{
    worker_analyser now = {.conf = conf};
    const md_analyser analyser = {.context = &now,
                                  .start = start,
                                  .analyse = analyse,
                                  .finish = md_analysis_finish,
                                  .fail = fail,
                                  .required = required,
                                  .embeds = embeds,
                                  .n_parallel = conf->workers.count};
    md_status status = md_daemon_serve(conf, &analyser, err);
    md_worker_pool_stop(now.pool);
    return status;
}
