#ifndef MEDAID_PLUGINS_HOST_HOST_H
#define MEDAID_PLUGINS_HOST_HOST_H

/* Finds, checks, chooses and runs the analyzers (model packages and C plugins), and turns a
 * study's files into results and DICOM objects. The same code serves `medaid --oneshot` and the
 * daemon.
 *
 * A host belongs to one thread at a time. */

#include "dicom/report/report.h"
#include "dicom/report/result.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_host md_host;

typedef struct md_host_options {
    const char *const
        *folders; /* each holds packages (a folder with model.yaml) and plugins (*.so) */
    size_t n_folders;
    const char *backend;    /* "auto", "onednn", "openblas"; NULL: auto */
    unsigned n_threads;     /* 0: all cores */
    const char *only_model; /* NULL: all; else load just this id */
    /* Called for each package or plugin that is refused, with the reason ("chest/model.yaml:12:
     * ..."). May be NULL. The others serve. */
    void (*on_refused)(void *context, const char *package, const md_error *reason);
    void *context;
} md_host_options;

/* Load everything. MD_NOT_FOUND when nothing usable was found or `only_model` is not there;
 * md_dicom_init must have been called. Caller destroys. */
md_status md_host_create(const md_host_options *options, md_host **ret_host, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_host_destroy(md_host *host) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_host, md_host_destroy)

size_t md_host_n_models(const md_host *host) MD_NOEXCEPT;
/* Identity of model `index`, valid until destroy. */
const md_model_identity *md_host_model(const md_host *host, size_t index) MD_NOEXCEPT;

typedef struct md_analyse_options {
    bool want_sr, want_picture;
    bool want_failure_sr; /* an SR also for a FAILED result */
    md_report_options report;
    /* Files that cannot be read, frames that no model accepts, failing frames: one call each,
     * the rest goes on. `path` as the caller gave it. May be NULL. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    void *context;
    int64_t first_received_ms, last_received_ms, complete_ms; /* for the clock; 0: unknown */
} md_analyse_options;

/* Everything that one study gave: one result for each model that accepted at least one of its
 * images. */
typedef struct md_analysis {
    md_result *results; /* owned */
    size_t n_results;
    md_object *objects; /* owned; SRs and pictures of all results */
    size_t n_objects;
    size_t n_unreadable;   /* files that could not be read as DICOM images */
    size_t n_not_accepted; /* readable images that no model accepts */
} md_analysis;
void md_analysis_finish(md_analysis *analysis) MD_NOEXCEPT;

/* Analyse the files of one study (all with the same Study Instance UID; MD_INVALID_ARG
 * otherwise). MD_OK: at least one model gave a result, which may be FAILED. MD_NOT_FOUND: no
 * model accepts any image, err says why. MD_FORMAT: no file could be read. `analysis` is filled
 * (counts) in each of these cases and must be finished by the caller. */
md_status md_host_analyse(md_host *host, const char *const *paths, size_t n_paths,
                          const md_analyse_options *options, md_analysis *ret_analysis,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
