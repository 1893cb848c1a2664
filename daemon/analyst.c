#include "daemon/analyst.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <string.h>

enum {
    MD_ANALYST_MAX_THREADS = 64
};

struct md_analyst {
    const md_analyser *analyser;
    md_queue *queue;
    md_store *store;
    md_outbox *outbox;
    pthread_t threads[MD_ANALYST_MAX_THREADS];
    unsigned n_threads;
};

/* What another attempt may change. That no model accepts a study, or that it cannot be read,
 * will be so again. */
static bool is_worth_retrying(md_status status)
{
    return status == MD_NOMEM || status == MD_IO || status == MD_PLUGIN ||
           status == MD_TIMEOUT || status == MD_BUSY || status == MD_INTERNAL;
}

static void log_analysed(const md_job *job, const md_analysis *analysis, int64_t start_us)
{
    size_t n_failed = 0;
    for (size_t i = 0; i < analysis->n_results; i++) {
        n_failed += analysis->results[i].status == MD_RESULT_FAILED;
    }
    md_log(
        MD_LOG_INFO, "study_analysed", MD_LOG_TEXT("study", job->study.key),
        MD_LOG_INT("results", analysis->n_results), MD_LOG_INT("failed_results", n_failed),
        MD_LOG_INT("objects", analysis->n_objects),
        MD_LOG_INT("unreadable", analysis->n_unreadable),
        MD_LOG_INT("not_accepted", analysis->n_not_accepted),
        MD_LOG_INT("analysis_ms", (md_clock_monotonic_us() - start_us) / 1000),
        MD_LOG_INT("since_last_object_ms", md_clock_wall_ms() - job->study.last_received_ms));
}

/* Analyse, then put the results; MD_OK also when there is nothing to say about the study. */
static md_status analyse(md_analyst *now, const md_job *job, const md_study_files *files,
                         md_error *err)
{
    md_analysis analysis;
    memset(&analysis, 0, sizeof analysis);
    int64_t start_us = md_clock_monotonic_us();
    md_status status =
        now->analyser->analyse(now->analyser->context, files, &job->study, &analysis, err);
    if (status == MD_NOT_FOUND) {
        md_log(MD_LOG_INFO, "study_not_accepted", MD_LOG_TEXT("study", job->study.key),
               MD_LOG_INT("images", analysis.n_not_accepted),
               MD_LOG_INT("unreadable", analysis.n_unreadable),
               MD_LOG_TEXT("reason", err->msg));
        status = MD_OK;
    } else if (status == MD_OK) {
        log_analysed(job, &analysis, start_us);
    }
    if (status == MD_OK && analysis.n_objects > 0) {
        status = md_outbox_put(now->outbox, job->study.key, analysis.objects,
                               analysis.n_objects, err);
    }
    now->analyser->finish(&analysis);
    return status;
}

/* The study is given up. What can be said of that goes out like a result. */
static void give_up(md_analyst *now, const md_job *job, const md_study_files *files,
                    const char *reason)
{
    md_analysis analysis;
    md_error err = {0};
    memset(&analysis, 0, sizeof analysis);
    if (now->analyser->fail == NULL) {
        return;
    }
    md_status status = now->analyser->fail(now->analyser->context, files, &job->study, reason,
                                           &analysis, &err);
    if (status == MD_OK && analysis.n_objects > 0) {
        status = md_outbox_put(now->outbox, job->study.key, analysis.objects,
                               analysis.n_objects, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "failure_not_written", MD_LOG_TEXT("study", job->study.key),
               MD_LOG_TEXT("reason", err.msg));
    }
    now->analyser->finish(&analysis);
}

/* One job from its list of files to its mark. *ret_again: another attempt is worth it. */
static md_status run_job(md_analyst *now, const md_job *job, bool *ret_again, md_error *err)
{
    md_study_files files = {0};
    unsigned attempt = 0;
    *ret_again = false;
    MD_TRY(md_store_list(now->store, job->study.key, &files, err));
    md_status status =
        md_store_count_attempt(now->store, job->study.key, files.mark, &attempt, err);
    if (status == MD_OK && attempt > MD_ANALYST_MAX_ATTEMPTS) {
        status = md_fail(err, MD_PLUGIN, "%d attempts ended without a result",
                         MD_ANALYST_MAX_ATTEMPTS);
    } else if (status == MD_OK) {
        status = analyse(now, job, &files, err);
        *ret_again = is_worth_retrying(status) && attempt < MD_ANALYST_MAX_ATTEMPTS;
    }
    if (!*ret_again && is_worth_retrying(status)) {
        give_up(now, job, &files, err->msg);
    }
    if (!*ret_again) {
        md_error mark_err = {0};
        if (md_store_set_mark(now->store, job->study.key, files.mark, &mark_err) != MD_OK) {
            md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("study", job->study.key),
                   MD_LOG_TEXT("reason", mark_err.msg));
        }
    }
    md_study_files_finish(&files);
    return status;
}

static void *analyst_thread(void *argument)
{
    md_analyst *now = argument;
    md_job job;
    while (md_queue_take(now->queue, &job, NULL) == MD_OK) {
        md_error err = {0};
        bool again = false;
        md_status status = run_job(now, &job, &again, &err);
        if (status != MD_OK) {
            md_log(again ? MD_LOG_WARN : MD_LOG_ERROR, "study_failed",
                   MD_LOG_TEXT("study", job.study.key),
                   MD_LOG_TEXT("status", md_status_name(status)),
                   MD_LOG_TEXT("reason", err.msg), MD_LOG_INT("attempt", job.attempt),
                   MD_LOG_TEXT("then", again ? "tried again" : "given up"));
        }
        md_status ended =
            again ? md_queue_retry(now->queue, &job, &err)
                  : md_queue_finish(now->queue, &job,
                                    status == MD_OK ? MD_STUDY_DONE : MD_STUDY_FAILED, &err);
        if (ended != MD_OK) {
            md_log(MD_LOG_ERROR, "queue_failed", MD_LOG_TEXT("study", job.study.key),
                   MD_LOG_TEXT("reason", err.msg));
        }
    }
    return NULL;
}

md_status md_analyst_start(const md_analyser *analyser, md_queue *queue, md_store *store,
                           md_outbox *outbox, md_analyst **ret_analyst, md_error *err)
{
    md_analyst *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the analyst");
    }
    now->analyser = analyser;
    now->queue = queue;
    now->store = store;
    now->outbox = outbox;
    unsigned wanted = analyser->n_parallel == 0                       ? 1
                      : analyser->n_parallel > MD_ANALYST_MAX_THREADS ? MD_ANALYST_MAX_THREADS
                                                                      : analyser->n_parallel;
    while (now->n_threads < wanted) {
        int os_errno = pthread_create(&now->threads[now->n_threads], NULL, analyst_thread, now);
        if (os_errno != 0) {
            md_queue_close(queue);
            md_analyst_stop(now);
            return md_fail_os(err, os_errno, "start an analyst's thread");
        }
        now->n_threads++;
    }
    *ret_analyst = now;
    return MD_OK;
}

void md_analyst_stop(md_analyst *analyst)
{
    if (analyst != NULL) {
        for (unsigned i = 0; i < analyst->n_threads; i++) {
            pthread_join(analyst->threads[i], NULL);
        }
        md_free(analyst);
    }
}
