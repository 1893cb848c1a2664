#ifndef MEDAID_DAEMON_QUEUE_H
#define MEDAID_DAEMON_QUEUE_H

/* Studies that wait for analysis. The interface is a table of functions, so that a queue in a
 * database is a second file and not a second design; md_queue_create_memory makes the one that
 * forgets at exit, whose content the next start finds again from the store. Any thread. */

#include "daemon/assembly.h"

typedef enum md_study_state {
    MD_STUDY_COMPLETE, /* waits */
    MD_STUDY_ANALYSING,
    MD_STUDY_DONE,
    MD_STUDY_FAILED,
} md_study_state;

typedef struct md_job {
    md_complete_study study;
    unsigned attempt; /* 1 = the first */
} md_job;

typedef struct md_queue md_queue;

typedef struct md_queue_functions {
    void (*destroy)(md_queue *queue);
    md_status (*push)(md_queue *queue, const md_complete_study *study, md_error *err);
    md_status (*take)(md_queue *queue, md_job *ret_job, md_error *err);
    md_status (*finish)(md_queue *queue, const md_job *job, md_study_state state,
                        md_error *err);
    md_status (*retry)(md_queue *queue, const md_job *job, md_error *err);
    void (*close)(md_queue *queue);
    size_t (*count)(md_queue *queue, md_study_state state);
} md_queue_functions;

/* What every implementation begins with. */
struct md_queue {
    const md_queue_functions *functions;
};

md_status md_queue_create_memory(md_queue **ret_queue, md_error *err) MD_NODISCARD;

void md_queue_destroy(md_queue *queue);
MD_DEFINE_DESTROYP(md_queue, md_queue_destroy)

/* A study is complete. When it waits already, the two are one (the earlier first time, the
 * later last time, objects added); when it is being analysed, it waits until that has ended and
 * then comes again. MD_NOMEM. */
md_status md_queue_push(md_queue *queue, const md_complete_study *study, md_error *err)
    MD_NODISCARD;
/* The oldest study that waits, which is then ANALYSING; waits for one. No study is given to two
 * at a time. MD_CANCELLED: the queue is closed. */
md_status md_queue_take(md_queue *queue, md_job *ret_job, md_error *err) MD_NODISCARD;
/* The job that was taken has ended as DONE or FAILED. */
md_status md_queue_finish(md_queue *queue, const md_job *job, md_study_state state,
                          md_error *err) MD_NODISCARD;
/* The job that was taken could not be done now: it waits again, behind the others, as its next
 * attempt. */
md_status md_queue_retry(md_queue *queue, const md_job *job, md_error *err) MD_NODISCARD;
/* Let all takers go with MD_CANCELLED. What waits stays where it is. */
void md_queue_close(md_queue *queue);
/* COMPLETE and ANALYSING: how many are so; DONE and FAILED: how many became so since the start.
 */
size_t md_queue_count(md_queue *queue, md_study_state state);

#endif
