#ifndef MEDAID_PLUGINS_HOST_PIPELINE_INTERNAL_H
#define MEDAID_PLUGINS_HOST_PIPELINE_INTERNAL_H

/* The state of one analysis, shared by pipeline.c (the study, its images, the objects) and
 * pipeline_study.c (texts and risks). One thread. */

#include "base/raster.h"
#include "plugins/host/pipeline.h"
#include "plugins/host/study.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One frame, or one whole object that is only listed. */
typedef struct md_unit {
    md_study_file *file;
    uint32_t frame;    /* 1-based; 0: the object has one frame, or is not decoded */
    md_raster display; /* not filled: not made or not kept */
} md_unit;

/* The state of one model's result while it grows. */
typedef struct md_tally {
    md_result *result;           /* into the analysis; NULL: the model accepted nothing */
    size_t n_accepted, n_failed; /* frames; of text and risk 1, and 0 or 1 */
    md_code code;
    char text[MD_ERROR_MSG_BYTES]; /* of the first failure */
    float *sum;                    /* owned; of the embeddings, each of length 1; or NULL */
} md_tally;

typedef struct md_run {
    md_registry *registry;
    const md_analyse_options *options;
    md_analysis *analysis;
    md_study study;
    md_unit *units;
    size_t n_units;
    uint64_t offered; /* a bit for each text and risk analyzer that accepts the study */
    size_t kept_bytes;
    double view_rank; /* of the image that the view shows; below 0: there is none yet */
    md_tally tallies[MD_REGISTRY_MAX_MODELS];
} md_run;

/* An empty result for model m that lists every image of the study; its tally points to it.
 * MD_NOMEM; then there is no such result. */
md_status md_pipeline_begin(md_run *r, size_t m, int64_t start_ms, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Whether options let the model look. */
bool md_pipeline_may_run(const md_analyse_options *options, const char *model_id) MD_NOEXCEPT;

/* Which text and risk analyzers accept the study: fills r->offered. */
void md_pipeline_offer(md_run *r) MD_NOEXCEPT;
/* Ask them, texts first, and put what they say into results and tallies. An analyzer that
 * fails leaves a failed tally; one that has nothing to go by leaves none. MD_NOMEM only, when
 * there is no room for a result. */
md_status md_pipeline_beyond_images(md_run *r, int64_t start_ms, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
