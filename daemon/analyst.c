#include "daemon/analyst.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/destination.h"
#include "daemon/metrics/figures.h"
#include "daemon/steady.h"
#include "daemon/told.h"
#include "daemon/ups/maker.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Longer than any analysis, which has its own time limit: the threads of one program never
     * take each other for dead; a claim that outlives the program is taken back by
     * md_store_recover. */
    LEASE_MS = 24 * 3600 * 1000,
    LOOK_EVERY_MS = 500, /* for studies that wait for their next attempt */
    AFTER_ERROR_MS = 1000,
    MAX_THREADS = 64,
    MAX_DRAFTS = 8
};

static_assert(sizeof(md_stored_report) == sizeof(md_predecessor) &&
                  (int)MD_STORE_UID_BYTES == (int)MD_UID_BYTES,
              "a stored report is a predecessor");

struct md_analyst {
    const md_analyser *analyser;
    const md_conf *conf; /* held, under the mutex */
    md_policy policy;    /* what the models require; its conf is that of the task */
    md_store *store;
    md_spool *spool;
    md_outbox *outbox;
    md_notifiers *notifiers;
    md_couriers *couriers;
    md_cases *cases; /* NULL: none are kept */
    md_follow_up_engine *follow_up;
    pthread_t threads[MAX_THREADS];
    unsigned n_threads;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned n_wakes;      /* under the mutex */
    bool stopping;         /* under the mutex */
    atomic_uint n_written; /* names of files on their way into the spool */
};

/* The configuration that this thread holds for its study, from the claim to the end. */
static _Thread_local const md_conf *task_conf;

/* What another attempt may change. That no model accepts a study, or that it cannot be read,
 * will be so again. */
static bool is_worth_retrying(md_status status)
{
    return status == MD_NOMEM || status == MD_IO || status == MD_PLUGIN ||
           status == MD_TIMEOUT || status == MD_BUSY || status == MD_INTERNAL;
}

static void log_analysed(const md_study *study, const md_analysis *analysis, int64_t start_us)
{
    size_t n_failed = 0;
    for (size_t i = 0; i < analysis->n_results; i++) {
        n_failed += analysis->results[i].status == MD_RESULT_FAILED;
    }
    md_log(MD_LOG_INFO, "study_analysed", MD_LOG_TEXT("study", study->key),
           MD_LOG_INT("results", analysis->n_results), MD_LOG_INT("failed_results", n_failed),
           MD_LOG_INT("objects", analysis->n_objects),
           MD_LOG_INT("unreadable", analysis->n_unreadable),
           MD_LOG_INT("not_accepted", analysis->n_not_accepted),
           MD_LOG_INT("generation", study->generation),
           MD_LOG_INT("analysis_ms", (md_clock_monotonic_us() - start_us) / 1000),
           MD_LOG_INT("since_last_object_ms", md_steady_ms() - study->clock.last_received_ms));
}

/* The objects as the store wants them; files are in the spool and durable. */
typedef struct results {
    md_object_new *objects;
    const char **destinations; /* MD_CONF_MAX_DESTINATIONS for each object */
    size_t n;
} results;

static void results_finish(results *r)
{
    md_free(r->objects);
    md_free(r->destinations);
}

static void results_remove(md_analyst *now, const results *r)
{
    for (size_t i = 0; i < r->n; i++) {
        md_spool_remove(now->spool, &r->objects[i].file, 1);
    }
}

static bool is_wanted(const md_plan *plan, const md_object *object, unsigned destination)
{
    const char *model_id = object->model_id[0] != '\0' ? object->model_id : NULL;
    return md_plan_wants_result(task_conf, plan, model_id,
                                md_object_kind_of(object->sop_class_uid), destination);
}

static md_status keep_object(md_analyst *now, const md_plan *plan, const md_object *object,
                             md_object_new *ret_new, const char **destinations, md_error *err)
{
    char path[MD_SPOOL_PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/result-%u.part", md_spool_incoming(now->spool),
                          atomic_fetch_add(&now->n_written, 1));
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "the storage folder's name is too long");
    }
    MD_TRY(md_file_write(path, MD_FILE_REPLACE, object->bytes, object->size_bytes, err));
    MD_TRY(md_spool_keep(now->spool, path, &ret_new->file, &ret_new->size_bytes, err));
    ret_new->kind = md_object_kind_name(md_object_kind_of(object->sop_class_uid));
    ret_new->sop_instance_uid = object->sop_instance_uid;
    ret_new->sop_class_uid = object->sop_class_uid;
    ret_new->model_id = object->model_id;
    ret_new->series_instance_uid = object->series_instance_uid;
    ret_new->destinations = destinations;
    for (unsigned i = 0; i < task_conf->n_destinations; i++) {
        if (is_wanted(plan, object, i)) {
            destinations[ret_new->n_destinations++] = task_conf->destinations[i].name;
        }
    }
    return MD_OK;
}

static md_status keep_results(md_analyst *now, const md_plan *plan, const md_analysis *analysis,
                              results *r, md_error *err)
{
    size_t n_names = 0;
    if (!md_mul(analysis->n_objects + 1, MD_CONF_MAX_DESTINATIONS, &n_names)) {
        return md_fail(err, MD_LIMIT, "%zu results", analysis->n_objects);
    }
    r->objects = md_calloc(analysis->n_objects + 1, sizeof *r->objects);
    r->destinations = md_calloc(n_names, sizeof *r->destinations);
    if (r->objects == NULL || r->destinations == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu results", analysis->n_objects);
    }
    for (size_t i = 0; i < analysis->n_objects; i++) {
        MD_TRY(keep_object(now, plan, &analysis->objects[i], &r->objects[i],
                           r->destinations + i * MD_CONF_MAX_DESTINATIONS, err));
        r->n = i + 1;
    }
    return MD_OK;
}

/* For sites without a PACS. The objects are safe in the spool; this is for people, so that a
 * failure costs a line in the log and nothing else. */
static void link_results(md_analyst *now, const md_study *study, const results *r)
{
    char folder[PATH_MAX];
    char to[PATH_MAX + 32];
    char from[MD_SPOOL_PATH_BYTES];
    md_error err = {0};
    snprintf(folder, sizeof folder, "%s/results/%s-%d", task_conf->storage.path, study->key,
             study->generation);
    md_status status = md_folder_create(folder, &err);
    for (size_t i = 0; i < r->n && status == MD_OK; i++) {
        snprintf(to, sizeof to, "%s/%06zu.dcm", folder, i);
        status = md_spool_path(now->spool, r->objects[i].file, from, &err);
        if (status == MD_OK && link(from, to) != 0 && errno != EEXIST) {
            status = md_fail_os(&err, errno, "%s", folder);
        }
    }
    if (status != MD_OK) {
        md_log(MD_LOG_WARN, "results_not_linked", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg));
    }
}

/* The received images for the destinations that want them at this time. Those that a
 * destination has are not sent again. */
static md_status add_originals(md_analyst *now, int64_t study, const md_plan *plan,
                               md_conf_originals when, md_error *err)
{
    const char *names[MD_CONF_MAX_DESTINATIONS];
    size_t n = 0;
    for (unsigned i = 0; i < task_conf->n_destinations; i++) {
        if (md_plan_wants_originals(task_conf, plan, when, i)) {
            names[n++] = task_conf->destinations[i].name;
        }
    }
    return md_store_add_originals(now->store, study, names, n, md_steady_ms(), err);
}

static md_ups_priority priority_of(int priority)
{
    return priority >= MD_CONF_PRIORITY_HIGH     ? MD_UPS_HIGH
           : priority >= MD_CONF_PRIORITY_MEDIUM ? MD_UPS_MEDIUM
                                                 : MD_UPS_LOW;
}

/* The end of the analysis, with the workitem that it calls for. When somebody changed that item
 * at the same moment, it is drafted again. */
static md_status finish_study(md_analyst *now, const md_claim *claim, const md_study *study,
                              const md_plan *plan, const md_analysis *analysis,
                              md_study_outcome *outcome, md_study_state *ret_state,
                              md_error *err)
{
    const md_ups_result result = {
        .study = study,
        .analysis = analysis,
        .failed = outcome->failed,
        .priority = plan->ups && plan->has_rule_priority
                        ? priority_of(plan->priority)
                        : md_ups_priority_of(analysis, outcome->failed),
        .worklist_label = plan->ups_label,
        .objects = outcome->objects,
        .n_objects = outcome->n_objects,
        .now_ms = md_steady_ms(),
    };
    md_status status = MD_BUSY;
    for (int i = 0; i < MAX_DRAFTS && status == MD_BUSY; i++) {
        md_ups_draft *draft = NULL;
        MD_TRY(md_ups_make(task_conf, now->store, &result, &draft, err));
        outcome->workitem = draft != NULL ? &draft->write : NULL;
        status = md_store_finish(now->store, claim, outcome, md_steady_ms(), ret_state, err);
        md_ups_made_destroy(draft);
    }
    outcome->workitem = NULL;
    if (status == MD_OK) {
        md_couriers_wake(now->couriers);
    }
    return status;
}

/* What the rules say now that the findings are there. */
typedef struct conclusion {
    const md_analyst *now;
    const md_study_task *task;
    md_plan *plan;
    md_told_rules rules; /* for md_told_make */
} conclusion;

static void conclude(void *context, const md_told *told)
{
    const conclusion *with = context;
    const md_analyst *now = with->now;
    const md_study_task *task = with->task;
    md_plan *plan = with->plan;
    const md_policy policy = {task_conf, now->policy.models, now->policy.n_models};
    const md_rule_facts facts = {.sets = task->sets,
                                 .n_sets = task->n_sets,
                                 .called = task->study->called,
                                 .findings = told->findings,
                                 .n_findings = told->n_findings,
                                 .complete_ms = task->study->clock.complete_ms};
    md_plan_conclude(&policy, &facts, plan);
    for (unsigned i = 0; i < plan->n_rules; i++) {
        md_log(MD_LOG_INFO, "rule_matched", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("rule", plan->rules[i]->name));
    }
}

static bool notifies(const void *context, const char *notifier)
{
    return md_plan_notifies(((const conclusion *)context)->plan, notifier);
}

/* What the study looks like, for similar cases. A result goes its way without. */
static void find_vectors(const md_analyst *now, const md_study *study,
                         const md_analysis *analysis, md_store_vector **ret_vectors,
                         size_t *ret_n)
{
    md_error err = {0};
    md_status status = md_cases_vectors(now->cases, analysis, ret_vectors, ret_n, &err);
    if (status == MD_OK) {
        status = md_store_vector_check(*ret_vectors, *ret_n, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_WARN, "similar_failed", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg), MD_LOG_TEXT("then", "the study is left out"));
        *ret_n = 0;
    }
}

/* What to do next, unless it was asked for the report already. A study without it is as good as
 * one with it: NULL. */
static md_follow_up_kept *propose(md_analyst *now, const md_study *study,
                                  const md_analysis *analysis)
{
    md_error err = {0};
    md_follow_up follow_up = analysis->follow_up;
    if (analysis->n_results == 0) {
        return NULL; /* nobody knows whose study it is */
    }
    if (!follow_up.there) {
        md_follow_up_propose(now->follow_up, study->study_uid, analysis, &follow_up);
    }
    md_follow_up_kept *kept = md_calloc(1, sizeof *kept);
    md_status status = kept == NULL ? md_fail(&err, MD_NOMEM, "no memory for proposals")
                                    : md_follow_up_keep(now->follow_up, study->study_uid,
                                                        analysis, &follow_up, kept, &err);
    if (status != MD_OK && status != MD_NOT_FOUND) {
        md_log(MD_LOG_ERROR, "follow_up_failed", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg), MD_LOG_TEXT("then", "nothing is proposed"));
    }
    if (status != MD_OK) {
        md_free(kept);
        kept = NULL;
    }
    return kept;
}

/* Why the study has failed: every result failed, or every one of its images, whatever a text or
 * a risk analyzer says beside them. NULL: it has not. */
static const char *failure_of(const md_analysis *analysis)
{
    const md_result *first = NULL;
    size_t n_failed = 0, n_images = 0, n_failed_images = 0;
    for (size_t i = 0; i < analysis->n_results; i++) {
        const md_result *result = &analysis->results[i];
        const bool is_image = result->kind == MD_RESULT_IMAGE;
        const bool is_failed = result->status == MD_RESULT_FAILED;
        if (is_failed && (first == NULL || (is_image && n_failed_images == 0))) {
            first = result;
        }
        n_failed += is_failed;
        n_images += is_image;
        n_failed_images += is_image && is_failed;
    }
    if (n_failed < analysis->n_results && (n_images == 0 || n_failed_images < n_images)) {
        return NULL;
    }
    return first == NULL                    ? NULL
           : first->failure_text[0] != '\0' ? first->failure_text
                                            : "no model came to a result";
}

/* Results on disk, then the study and its outbox in one transaction. A failure of every model
 * is the failure of the study; its report goes out all the same. */
static md_status hand_on(md_analyst *now, const md_claim *claim, const md_study_task *task,
                         const md_analysis *analysis, const char *failed, bool *ret_ours,
                         md_error *err)
{
    const md_study *study = task->study;
    results r = {0};
    failed = failed != NULL ? failed : failure_of(analysis);
    md_study_state state = MD_STUDY_SENDING;
    md_told told = {0};
    md_plan plan = *task->plan;
    conclusion with = {.now = now, .task = task, .plan = &plan};
    with.rules = (md_told_rules){conclude, notifies, &with};
    MD_TRY(md_told_make(task_conf, study, analysis, failed, md_steady_ms(), &with.rules, &told,
                        err));
    MD_AUTO(md_freep) md_store_vector *vectors = NULL;
    size_t n_vectors = 0;
    find_vectors(now, study, analysis, &vectors, &n_vectors);
    md_status status = md_store_report(now->store, claim, md_steady_ms(), err);
    if (status == MD_OK) {
        status = keep_results(now, &plan, analysis, &r, err);
    }
    if (status == MD_OK) {
        status = add_originals(now, study->id, &plan, MD_ORIGINALS_AFTER, err);
    }
    md_follow_up_kept *kept = status == MD_OK ? propose(now, study, analysis) : NULL;
    if (status == MD_OK) {
        md_study_outcome outcome = {.objects = r.objects,
                                    .n_objects = r.n,
                                    .findings = told.findings,
                                    .n_findings = told.n_findings,
                                    .notices = told.notices.items,
                                    .n_notices = told.notices.n,
                                    .view = {.header = told.header,
                                             .image = analysis->view.image,
                                             .overlay = analysis->view.overlay,
                                             .image_bytes = analysis->view.image_bytes,
                                             .overlay_bytes = analysis->view.overlay_bytes},
                                    .vectors = vectors,
                                    .n_vectors = n_vectors,
                                    .follow_up = kept != NULL ? &kept->row : NULL,
                                    .failed = failed};
        status = finish_study(now, claim, study, &plan, analysis, &outcome, &state, err);
    }
    *ret_ours =
        status == MD_IO || status == MD_LIMIT || status == MD_BUSY || status == MD_NOMEM;
    if (status != MD_OK && status != MD_IO) {
        results_remove(now,
                       &r); /* after MD_IO the rows may be there: the next start compares */
    } else if (status == MD_OK && state == MD_STUDY_SENDING) {
        md_outbox_wake(now->outbox);
    }
    if (status == MD_OK && told.notices.n > 0) {
        md_notifiers_wake(now->notifiers);
    }
    if (status == MD_OK && study->generation > 1) {
        md_cases_forget(now->cases); /* the vector of the analysis before is gone */
    } else if (status == MD_OK) {
        md_cases_wake(now->cases);
    }
    if (kept != NULL) {
        md_follow_up_kept_finish(kept);
        md_free(kept);
    }
    md_told_finish(&told);
    if (status == MD_OK && task_conf->n_destinations == 0 && r.n > 0) {
        link_results(now, study, &r);
    }
    results_finish(&r);
    return status;
}

/* Who wants to hear of every study hears of one that was given up. */
static void tell_failure(md_analyst *now, const md_study *study, const char *reason)
{
    const md_analysis nothing = {0};
    md_told told = {0};
    md_error err = {0};
    md_status status =
        md_told_make(task_conf, study, &nothing, reason, md_steady_ms(), NULL, &told, &err);
    if (status == MD_OK && told.notices.n > 0) {
        status = md_store_add_notices(now->store, study->id, told.notices.items, told.notices.n,
                                      md_steady_ms(), &err);
        md_notifiers_wake(now->notifiers);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "failure_not_told", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg));
    }
    md_told_finish(&told);
}

/* The study is in quarantine. What can be said of that goes out like a result. */
static void give_up(md_analyst *now, const md_study_task *task, const char *reason)
{
    md_analysis analysis;
    results r = {0};
    md_error err = {0};
    tell_failure(now, task->study, reason);
    if (add_originals(now, task->study->id, task->plan, MD_ORIGINALS_AFTER, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "originals_not_sent", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("reason", err.msg));
    }
    md_outbox_wake(now->outbox);
    if (now->analyser->fail == NULL) {
        return;
    }
    memset(&analysis, 0, sizeof analysis);
    md_status status =
        now->analyser->fail(now->analyser->context, task, reason, &analysis, &err);
    if (status == MD_OK && analysis.n_objects > 0) {
        status = keep_results(now, task->plan, &analysis, &r, &err);
        if (status == MD_OK) {
            status = md_store_add_objects(now->store, task->study->id, r.objects, r.n,
                                          md_steady_ms(), &err);
        }
        if (status != MD_OK) {
            results_remove(now, &r);
        } else if (task_conf->n_destinations == 0) {
            link_results(now, task->study, &r);
        }
        md_outbox_wake(now->outbox);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "failure_not_written", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("reason", err.msg));
    }
    results_finish(&r);
    now->analyser->finish(&analysis);
}

/* For the figures: what the models called present. */
static void count_positives(const md_analysis *analysis)
{
    for (size_t i = 0; i < analysis->n_results; i++) {
        const md_result *result = &analysis->results[i];
        for (size_t k = 0; k < result->n_findings; k++) {
            if (result->findings[k].presence == MD_PRESENCE_PRESENT) {
                md_figures_positive(result->model.id, result->findings[k].key);
            }
        }
    }
}

/* Analyse and hand on. MD_OK also when there is nothing to say about the study. */
static md_status analyse(md_analyst *now, const md_claim *claim, const md_study_task *task,
                         bool *ret_ours, md_error *err)
{
    md_analysis analysis;
    memset(&analysis, 0, sizeof analysis);
    int64_t start_us = md_clock_monotonic_us();
    md_status status = now->analyser->analyse(now->analyser->context, task, &analysis, err);
    md_histogram_add(&md_figures_now()->analysis, (md_clock_monotonic_us() - start_us) / 1000);
    if (status != MD_OK && status != MD_NOT_FOUND && status != MD_CANCELLED &&
        status != MD_BUSY) {
        md_counter_add(&md_figures_now()->analyses_failed, 1);
    }
    if (status == MD_BUSY) {
        *ret_ours = true; /* it was not begun: no attempt */
    } else if (status == MD_NOT_FOUND) {
        md_log(MD_LOG_INFO, "study_not_accepted", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_INT("images", analysis.n_not_accepted),
               MD_LOG_INT("unreadable", analysis.n_unreadable),
               MD_LOG_TEXT("reason", err->msg));
        status = hand_on(now, claim, task, &analysis, NULL, ret_ours, err);
    } else if (status == MD_OK) {
        log_analysed(task->study, &analysis, start_us);
        status = hand_on(now, claim, task, &analysis, NULL, ret_ours, err);
        if (status == MD_OK) {
            count_positives(&analysis);
        }
    } else if (!is_worth_retrying(status)) {
        md_log(MD_LOG_ERROR, "study_failed", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("status", md_status_name(status)), MD_LOG_TEXT("reason", err->msg),
               MD_LOG_TEXT("then", "given up"));
        char reason[MD_ERROR_MSG_BYTES];
        memcpy(reason, err->msg, sizeof reason);
        status = hand_on(now, claim, task, &analysis, reason[0] != '\0' ? reason : "it failed",
                         ret_ours, err);
    }
    now->analyser->finish(&analysis);
    return status;
}

/* A study that no model is to look at, or that lacks what is required of it. */
static md_status pass_by(md_analyst *now, const md_claim *claim, const md_study_task *task,
                         bool *ret_ours, md_error *err)
{
    md_analysis analysis;
    memset(&analysis, 0, sizeof analysis);
    if (!task->plan->analyse) {
        md_log(MD_LOG_INFO, "study_not_analysed", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("reason", "the AE title or a rule says so"));
        return hand_on(now, claim, task, &analysis, NULL, ret_ours, err);
    }
    char reason[MD_ERROR_MSG_BYTES];
    md_error unwritten = {0};
    snprintf(reason, sizeof reason, "the study lacks %s", task->plan->missing);
    md_log(MD_LOG_ERROR, "study_failed", MD_LOG_TEXT("study", task->study->key),
           MD_LOG_TEXT("reason", reason), MD_LOG_TEXT("then", "given up"));
    md_status status =
        now->analyser->fail == NULL
            ? MD_OK
            : now->analyser->fail(now->analyser->context, task, reason, &analysis, &unwritten);
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "failure_not_written", MD_LOG_TEXT("study", task->study->key),
               MD_LOG_TEXT("reason", unwritten.msg));
    }
    status = hand_on(now, claim, task, &analysis, reason, ret_ours, err);
    now->analyser->finish(&analysis);
    return status;
}

/* The plan, and the sets that it is made from: md_free *ret_sets. */
static md_status make_plan(md_analyst *now, const md_study *study, md_plan *ret_plan,
                           md_tag_set **ret_sets, size_t *ret_n_sets, md_error *err)
{
    const md_policy policy = {task_conf, now->policy.models, now->policy.n_models};
    MD_TRY(
        md_store_tag_sets(now->store, study->id, MD_PLAN_MAX_SETS, ret_sets, ret_n_sets, err));
    const md_rule_facts facts = {.sets = *ret_sets,
                                 .n_sets = *ret_n_sets,
                                 .called = study->called,
                                 .complete_ms = study->clock.complete_ms};
    md_plan_make(&policy, &facts, ret_plan);
    return MD_OK;
}

/* Which bytes the instances have, in whatever order they came; not 0. */
static uint64_t revision_of(const md_instance *instances, size_t n)
{
    uint64_t revision = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t text[MD_STORE_UID_BYTES + MD_CONTENT_TAG_BYTES];
        uint8_t digest[MD_SHA256_BYTES];
        uint64_t part = 0;
        memcpy(text, instances[i].sop_instance_uid, MD_STORE_UID_BYTES);
        memcpy(text + MD_STORE_UID_BYTES, instances[i].content_tag, MD_CONTENT_TAG_BYTES);
        md_sha256(text, sizeof text, digest);
        memcpy(&part, digest, sizeof part);
        revision ^= part;
    }
    return revision | 1;
}

/* Where the files of the study are: one block of text, and pointers into it. And their
 * revision: a film that came again with other pixels makes another report, or the PACS, which
 * has one of this UID, would keep what was said of the first. */
static md_status list_paths(md_analyst *now, const md_study *study, char **ret_text,
                            const char ***ret_paths, size_t *ret_n, uint64_t *ret_revision,
                            md_error *err)
{
    md_instance *list = NULL;
    size_t n = 0;
    MD_TRY(md_store_instances(now->store, study->id, true, &list, &n, err));
    MD_AUTO(md_freep) md_instance *instances = list;
    char longest[MD_SPOOL_PATH_BYTES];
    MD_TRY(md_spool_path(now->spool, UINT64_MAX, longest, err));
    size_t step = strlen(longest) + 1;
    size_t size_bytes = 0;
    if (!md_mul(n + 1, step, &size_bytes)) {
        return md_fail(err, MD_LIMIT, "a study of %zu instances", n);
    }
    MD_AUTO(md_freep) char *text = md_malloc(size_bytes);
    MD_AUTO(md_freep) const char **paths = md_calloc(n + 1, sizeof *paths);
    if (text == NULL || paths == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a study of %zu instances", n);
    }
    for (size_t i = 0; i < n; i++) {
        MD_TRY(md_spool_path(now->spool, instances[i].file, longest, err));
        snprintf(text + i * step, step, "%s", longest);
        paths[i] = text + i * step;
    }
    *ret_text = MD_STEAL(text);
    *ret_paths = MD_STEAL(paths);
    *ret_n = n;
    *ret_revision = study->n_conflicts > 0 ? revision_of(instances, n) : 0;
    return MD_OK;
}

/* What the reports of this study replace. */
static md_status list_predecessors(md_analyst *now, const md_study *study,
                                   md_predecessor *ret_list, size_t *ret_n, md_error *err)
{
    MD_AUTO(md_freep)
    md_stored_report *found = md_calloc(MD_HOST_MAX_PREDECESSORS, sizeof *found);
    if (found == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the earlier reports");
    }
    size_t n = 0;
    MD_TRY(
        md_store_predecessors(now->store, study->id, MD_HOST_MAX_PREDECESSORS, found, &n, err));
    for (size_t i = 0; i < n; i++) {
        memcpy(ret_list[i].model_id, found[i].model_id, MD_KEY_BYTES);
        memcpy(ret_list[i].sop_instance_uid, found[i].sop_instance_uid, MD_UID_BYTES);
        memcpy(ret_list[i].series_instance_uid, found[i].series_instance_uid, MD_UID_BYTES);
    }
    *ret_n = n;
    return MD_OK;
}

/* Wait so long, or until there is something new since *seen. False: stopping. */
static bool wait_for_work(md_analyst *now, int64_t most_ms, unsigned *seen)
{
    int64_t until_us = md_clock_monotonic_us() + most_ms * 1000;
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    int over = 0;
    pthread_mutex_lock(&now->mutex);
    while (!now->stopping && now->n_wakes == *seen && most_ms > 0 && over != ETIMEDOUT) {
        over = pthread_cond_timedwait(&now->changed, &now->mutex, &until);
    }
    *seen = now->n_wakes;
    bool go_on = !now->stopping;
    pthread_mutex_unlock(&now->mutex);
    return go_on;
}

/* Give the study back uncounted. When the store does not even take that, again until it does: a
 * claim that nobody works on would keep its study until the next start. */
static void give_back(md_analyst *now, const md_claim *claim, const md_study *study,
                      const md_error *why)
{
    md_status status = MD_IO;
    md_error err = *why;
    do {
        md_log(MD_LOG_ERROR, "storage_failed", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg), MD_LOG_TEXT("then", "tried again"));
        pthread_mutex_lock(&now->mutex);
        unsigned seen = now->n_wakes;
        pthread_mutex_unlock(&now->mutex);
        if (!wait_for_work(now, AFTER_ERROR_MS, &seen)) {
            return;
        }
        status = md_store_release(now->store, claim, &err);
    } while (status != MD_OK && status != MD_CANCELLED);
}

/* Count a failed attempt. *ret_state is what becomes of the study. */
static md_status count_attempt(md_analyst *now, const md_claim *claim, const md_study *study,
                               md_status failed, const md_error *why, md_study_state *ret_state,
                               md_error *err)
{
    MD_TRY(
        md_store_attempt_failed(now->store, claim, why->msg, md_steady_ms(), ret_state, err));
    bool again = *ret_state == MD_STUDY_COMPLETE;
    md_log(again ? MD_LOG_WARN : MD_LOG_ERROR, "study_failed", MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("status", md_status_name(failed)), MD_LOG_TEXT("reason", why->msg),
           MD_LOG_INT("attempt", study->n_failures + 1),
           MD_LOG_TEXT("then", again ? "tried again" : "given up"));
    return MD_OK;
}

static void run_study(md_analyst *now, const md_claim *claim, const md_study *study)
{
    MD_AUTO(md_freep) char *text = NULL;
    MD_AUTO(md_freep) const char **paths = NULL;
    md_predecessor predecessors[MD_HOST_MAX_PREDECESSORS];
    MD_AUTO(md_freep) md_tag_set *sets = NULL;
    md_plan plan = {0};
    md_study_task task = {.study = study,
                          .predecessors = predecessors,
                          .plan = &plan,
                          .follow_up = now->follow_up};
    md_error err = {0};
    md_error store_err = {0};
    bool ours = true;
    md_status status =
        list_paths(now, study, &text, &paths, &task.n_paths, &task.revision, &err);
    task.paths = paths;
    if (status == MD_OK) {
        status = make_plan(now, study, &plan, &sets, &task.n_sets, &err);
        task.sets = sets;
    }
    if (status == MD_OK) {
        /* usually done when the study was completed; not if the program ended in between */
        status = add_originals(now, study->id, &plan, MD_ORIGINALS_BEFORE, &err);
    }
    if (status == MD_OK) {
        status = list_predecessors(now, study, predecessors, &task.n_predecessors, &err);
    }
    if (status == MD_OK) {
        bool passes = !plan.analyse || (plan.missing[0] != '\0' && plan.fail_missing);
        ours = false;
        status = passes ? pass_by(now, claim, &task, &ours, &err)
                        : analyse(now, claim, &task, &ours, &err);
    }
    if (status == MD_OK) {
        return;
    }
    md_study_state state = MD_STUDY_ANALYSING;
    if (status != MD_CANCELLED && !ours) {
        md_status counted = count_attempt(now, claim, study, status, &err, &state, &store_err);
        ours = counted != MD_OK;
        err = ours ? store_err : err;
        status = counted == MD_CANCELLED ? MD_CANCELLED : status;
    }
    if (status == MD_CANCELLED) {
        md_log(MD_LOG_INFO, "analysis_void", MD_LOG_TEXT("study", study->key),
               MD_LOG_TEXT("reason", err.msg));
    } else if (ours) {
        give_back(now, claim, study, &err);
    } else if (state == MD_STUDY_QUARANTINED) {
        give_up(now, &task, err.msg);
    }
}

static void *analyst_thread(void *argument)
{
    md_analyst *now = argument;
    int64_t wait_ms = 0;
    unsigned seen = 0;
    while (wait_for_work(now, wait_ms, &seen)) {
        md_claim claim;
        md_study study;
        md_error err = {0};
        md_status status = md_store_claim(now->store, "analyst", md_steady_ms(), LEASE_MS,
                                          &claim, &study, &err);
        wait_ms = status == MD_OK ? 0 : LOOK_EVERY_MS;
        if (status == MD_OK) {
            pthread_mutex_lock(&now->mutex);
            task_conf = md_conf_hold(now->conf);
            pthread_mutex_unlock(&now->mutex);
            run_study(now, &claim, &study);
            md_conf_drop(task_conf);
            task_conf = NULL;
        } else if (status != MD_NOT_FOUND) {
            md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
            wait_ms = AFTER_ERROR_MS;
        }
    }
    return NULL;
}

md_status md_analyst_start(const md_analyser *analyser, const md_policy *policy,
                           md_store *store, md_spool *spool, md_outbox *outbox,
                           md_notifiers *notifiers, md_couriers *couriers, md_cases *cases,
                           md_follow_up_engine *follow_up, md_analyst **ret_analyst,
                           md_error *err)
{
    md_analyst *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the analyst");
    }
    now->analyser = analyser;
    now->policy = *policy;
    md_status status = md_conf_share(policy->conf, &now->conf, err);
    if (status != MD_OK) {
        md_free(now);
        return status;
    }
    now->store = store;
    now->spool = spool;
    now->outbox = outbox;
    now->notifiers = notifiers;
    now->couriers = couriers;
    now->cases = cases;
    now->follow_up = follow_up;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&now->mutex, NULL);
    pthread_cond_init(&now->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    unsigned wanted = analyser->n_parallel == 0            ? 1
                      : analyser->n_parallel > MAX_THREADS ? MAX_THREADS
                                                           : analyser->n_parallel;
    while (now->n_threads < wanted) {
        int os_errno = pthread_create(&now->threads[now->n_threads], NULL, analyst_thread, now);
        if (os_errno != 0) {
            md_analyst_stop(now);
            return md_fail_os(err, os_errno, "start an analyst's thread");
        }
        now->n_threads++;
    }
    *ret_analyst = now;
    return MD_OK;
}

void md_analyst_reload(md_analyst *analyst, const md_conf *shared)
{
    pthread_mutex_lock(&analyst->mutex);
    const md_conf *before = analyst->conf;
    analyst->conf = md_conf_hold(shared);
    pthread_mutex_unlock(&analyst->mutex);
    md_conf_drop(before);
}

void md_analyst_wake(md_analyst *analyst)
{
    pthread_mutex_lock(&analyst->mutex);
    analyst->n_wakes++;
    pthread_cond_broadcast(&analyst->changed);
    pthread_mutex_unlock(&analyst->mutex);
}

void md_analyst_stop(md_analyst *analyst)
{
    if (analyst == NULL) {
        return;
    }
    pthread_mutex_lock(&analyst->mutex);
    analyst->stopping = true;
    pthread_cond_broadcast(&analyst->changed);
    pthread_mutex_unlock(&analyst->mutex);
    for (unsigned i = 0; i < analyst->n_threads; i++) {
        pthread_join(analyst->threads[i], NULL);
    }
    pthread_mutex_destroy(&analyst->mutex);
    pthread_cond_destroy(&analyst->changed);
    md_conf_drop(analyst->conf);
    md_free(analyst);
}
