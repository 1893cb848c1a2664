#ifndef MEDAID_DAEMON_ANALYST_H
#define MEDAID_DAEMON_ANALYST_H

/* Threads that take complete studies from the queue, have them analysed and put the results
 * into the outbox. How a study is analysed is behind md_analyser, so that a worker process can
 * stand there instead of a call. */

#include "daemon/outbox.h"
#include "daemon/queue.h"

enum {
    MD_ANALYST_MAX_ATTEMPTS = 3 /* also over restarts; then the study is given up */
};

/* From the paths of a study's files to its results. Called on at most n_parallel threads at a
 * time. */
typedef struct md_analyser {
    void *context;
    /* As md_host_analyse: `ret_analysis` is filled, and must be finished, whatever the status.
     */
    md_status (*analyse)(void *context, const md_study_files *files,
                         const md_complete_study *study, md_analysis *ret_analysis,
                         md_error *err);
    void (*finish)(md_analysis *analysis);
    /* The study is given up: make its failure a result, as the configuration asks. May be NULL.
     */
    md_status (*fail)(void *context, const md_study_files *files,
                      const md_complete_study *study, const char *reason,
                      md_analysis *ret_analysis, md_error *err);
    unsigned n_parallel; /* 0: 1 */
} md_analyser;

typedef struct md_analyst md_analyst;

/* Everything is borrowed until the stop. */
md_status md_analyst_start(const md_analyser *analyser, md_queue *queue, md_store *store,
                           md_outbox *outbox, md_analyst **ret_analyst, md_error *err)
    MD_NODISCARD;
/* Wait for the end of the threads: close the queue first. Destroys. NULL is fine. */
void md_analyst_stop(md_analyst *analyst);

#endif
