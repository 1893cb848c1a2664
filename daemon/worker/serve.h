#ifndef MEDAID_DAEMON_WORKER_SERVE_H
#define MEDAID_DAEMON_WORKER_SERVE_H

/* The loop of a worker process: configure, load, then one study after the other until main says
 * BYE or is gone. What analyses is behind a table of functions, so that tests can put hostile
 * engines in. One thread. */

#include "daemon/worker/protocol.h"

typedef struct md_worker_engine {
    /* Load and self-test what `conf` names, and say what is to be written for a study (borrowed
     * from conf). MD_NOT_FOUND: nothing usable. */
    md_status (*load)(void *context, const md_conf *conf, md_analyse_options *ret_options,
                      md_error *err);
    size_t (*n_models)(void *context);
    const md_model_identity *(*model)(void *context, size_t index);
    /* As md_host_model_required; NULL: no model requires anything. */
    const md_required *(*required)(void *context, size_t index);
    /* As md_host_model_embeds; NULL: no model leaves an embedding. */
    md_embeds (*embeds)(void *context, size_t index);
    /* As md_host_analyse. */
    md_status (*analyse)(void *context, const char *const *paths, size_t n_paths,
                         const md_analyse_options *options, md_analysis *ret_analysis,
                         md_error *err);
    /* Make a FAILED result for the study, with an SR when options->want_failure_sr, without
     * running any model: it was analysed too often without coming to an end. */
    md_status (*fail)(void *context, const char *const *paths, size_t n_paths,
                      const char *reason, const md_analyse_options *options,
                      md_analysis *ret_analysis, md_error *err);
    void (*unload)(void *context);
    void *context;
} md_worker_engine;

/* Serve on the socket and shared block that main gave. `work_folder` holds the files of the
 * running study, 000000 and on. `sandbox` false only in tests. Returns an exit status: 0 after
 * BYE or when main is gone, 1 otherwise. */
int md_worker_serve(const md_worker_engine *engine, int socket_fd, int shared_fd,
                    const char *work_folder, bool sandbox);

#endif
