#ifndef MEDAID_INFERENCE_GRAPH_WORK_H
#define MEDAID_INFERENCE_GRAPH_WORK_H

/* Work of start-up that can wait: code is generated and weights are packed on other threads
 * while the plan goes on. Jobs come in groups; those of one group run one after the other, on
 * one thread. One thread adds and finishes. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_work md_work;

enum {
    MD_WORK_MAX_THREADS = 4
};

/* Run the job. A job is always run once, also after another has failed: it may own memory. */
typedef md_status (*md_work_fn)(void *data, md_error *err);

/* With up to n_threads - 1 threads beside the caller's; when none can be started, or n_threads
 * is 1, each group runs as it ends. Caller destroys. */
md_status md_work_create(unsigned n_threads, md_work **ret_work, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Waits for all jobs. NULL is fine. */
void md_work_destroy(md_work *work) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_work, md_work_destroy)

/* Append a job to the open group; data is borrowed until it has run. After MD_NOMEM it will
 * not run. */
md_status md_work_add(md_work *work, md_work_fn run, void *data, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The group has all its jobs; the next one opens. When many wait, this runs one itself. */
void md_work_end_group(md_work *work) MD_NOEXCEPT;
/* Wait until all jobs have run; the error of the first that failed. Nothing may be added
 * afterwards. */
md_status md_work_finish(md_work *work, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
