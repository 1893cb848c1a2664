#ifndef MEDAID_DAEMON_ANALYST_H
#define MEDAID_DAEMON_ANALYST_H

/* Threads that claim complete studies from the store, have them analysed, make the results
 * durable and hand them to the outbox. How a study is analysed is behind md_analyser, so that a
 * worker process can stand there instead of a call. Without a destination results are also
 * linked below the storage path, for people to fetch: results/<study>-<generation>/<n>.dcm. */

#include "daemon/follow_up/follow_up.h"
#include "daemon/notifier/notifier.h"
#include "daemon/outbox.h"
#include "daemon/rules/plan.h"
#include "daemon/similar/cases.h"
#include "daemon/ups/courier.h"

enum {
    MD_ANALYST_MAX_ATTEMPTS = 3,      /* that failed; then the study goes into quarantine */
    MD_ANALYST_MAX_INTERRUPTIONS = 25 /* the same for ends of the program during the analysis */
};

/* A study to analyse; valid during the call. */
typedef struct md_study_task {
    const md_study *study;
    const char *const *paths; /* of its current instances, in order of arrival */
    size_t n_paths;
    const md_predecessor *predecessors; /* as in md_analyse_options */
    size_t n_predecessors;
    uint64_t revision;      /* as in md_result */
    const md_tag_set *sets; /* what is known of the instances */
    size_t n_sets;
    const md_plan *plan;            /* which models may look, and what is missing */
    md_follow_up_engine *follow_up; /* who is asked what to do next; NULL: nobody */
} md_study_task;

/* From a study's files to its results. Called on at most n_parallel threads at a time. */
typedef struct md_analyser {
    void *context;
    /* Called once, when the storage is locked for this daemon and before anything listens. May
     * be NULL. */
    md_status (*start)(void *context, md_error *err);
    /* As md_host_analyse: `ret_analysis` is filled, and must be finished, whatever the status.
     * MD_BUSY: it could not even be begun, for a reason outside of the study; it is tried again
     * and no attempt is counted. */
    md_status (*analyse)(void *context, const md_study_task *task, md_analysis *ret_analysis,
                         md_error *err);
    void (*finish)(md_analysis *analysis);
    /* The study is given up: make its failure a result, as the configuration asks. May be NULL.
     */
    md_status (*fail)(void *context, const md_study_task *task, const char *reason,
                      md_analysis *ret_analysis, md_error *err);
    unsigned n_parallel; /* 0: 1 */
    /* What the models require of a study, those that require something, up to n_max; after the
     * start. May be NULL: nothing. */
    size_t (*required)(void *context, md_model_required *ret_models, size_t n_max);
    /* The models and what each leaves of a study for similar cases, up to n_max; after the
     * start. May be NULL: nothing. */
    size_t (*embeds)(void *context, md_model_embeds *ret_models, size_t n_max);
} md_analyser;

typedef struct md_analyst md_analyst;

/* Everything is borrowed until the stop; cases NULL: none are kept, follow_up NULL: nothing is
 * proposed. */
md_status md_analyst_start(const md_analyser *analyser, const md_policy *policy,
                           md_store *store, md_spool *spool, md_outbox *outbox,
                           md_notifiers *notifiers, md_couriers *couriers, md_cases *cases,
                           md_follow_up_engine *follow_up, md_analyst **ret_analyst,
                           md_error *err) MD_NODISCARD;
/* Hand the results of studies that are claimed from now on to other destinations. `shared` is
 * from md_conf_share, and is held. Any thread. */
void md_analyst_reload(md_analyst *analyst, const md_conf *shared);
/* A study may be complete: look now. Any thread. */
void md_analyst_wake(md_analyst *analyst);
/* Let it finish what it does, and end the threads. What waits stays in the store. NULL is fine.
 */
void md_analyst_stop(md_analyst *analyst);

#endif
