#include "daemon/worker/pool_internal.h"

#include "base/cores.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/worker/files.h"
#include "inference/share.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    MAX_ARGUMENTS = 12
};

const char *md_worker_outcome_name(md_worker_outcome outcome)
{
    static const char *const names[] = {
        [MD_WORKER_OUTCOME_ANSWERED] = "answered",   [MD_WORKER_OUTCOME_CRASHED] = "crashed",
        [MD_WORKER_OUTCOME_HUNG] = "hung",           [MD_WORKER_OUTCOME_MEMORY] = "memory",
        [MD_WORKER_OUTCOME_FORBIDDEN] = "forbidden", [MD_WORKER_OUTCOME_BROKEN] = "broken",
        [MD_WORKER_OUTCOME_CANCELLED] = "cancelled", [MD_WORKER_OUTCOME_NOT_RUN] = "not_run",
    };
    size_t index = (size_t)outcome;
    return index < sizeof names / sizeof *names ? names[index] : "unknown";
}

/* ---- between callers and slots ---- */

md_worker_entry *md_worker_pool_take(md_worker_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    md_worker_entry *entry = pool->first;
    if (entry != NULL) {
        pool->first = entry->next;
        pool->last = pool->first == NULL ? NULL : pool->last;
        entry->next = NULL;
        entry->running = true;
    }
    pthread_mutex_unlock(&pool->lock);
    return entry;
}

static void count_up(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* it fails only at 2^64 - 2 */
}

/* Under the lock, which the caller takes before it looks: the lock orders what was written to
 * the entry before what the caller reads of it, and keeps the entry until the last touch here.
 */
void md_worker_pool_done(md_worker_pool *pool, md_worker_entry *entry)
{
    pthread_mutex_lock(&pool->lock);
    entry->done = true;
    count_up(entry->done_fd);
    pthread_mutex_unlock(&pool->lock);
}

static bool is_done(md_worker_pool *pool, const md_worker_entry *entry)
{
    pthread_mutex_lock(&pool->lock);
    bool done = entry->done;
    pthread_mutex_unlock(&pool->lock);
    return done;
}

void md_worker_pool_report_start(md_worker_pool *pool, md_worker_slot *slot,
                                 const md_error *err)
{
    pthread_mutex_lock(&pool->lock);
    if (err == NULL && pool->n_models == 0) {
        memcpy(pool->models, slot->models, slot->n_models * sizeof *slot->models);
        memcpy(pool->required, slot->required, slot->n_models * sizeof *slot->required);
        memcpy(pool->embeds, slot->embeds, sizeof pool->embeds);
        pool->n_models = slot->n_models;
    }
    if (!slot->reported) {
        slot->reported = true;
        if (err == NULL) {
            pool->n_ready++;
        } else {
            pool->n_failed++;
            pool->start_error = *err;
        }
    }
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

/* Take an entry out of the queue again; false when a slot has it. */
static bool withdraw(md_worker_pool *pool, md_worker_entry *entry)
{
    pthread_mutex_lock(&pool->lock);
    bool queued = false;
    md_worker_entry *before = NULL;
    for (md_worker_entry *e = pool->first; e != NULL && !queued; e = e->next) {
        if (e == entry) {
            queued = true;
            if (before == NULL) {
                pool->first = e->next;
            } else {
                before->next = e->next;
            }
            pool->last = pool->last == e ? before : pool->last;
        } else {
            before = e;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

static bool enqueue(md_worker_pool *pool, md_worker_entry *entry)
{
    pthread_mutex_lock(&pool->lock);
    bool open = !pool->stopping;
    if (open) {
        if (pool->last == NULL) {
            pool->first = entry;
        } else {
            pool->last->next = entry;
        }
        pool->last = entry;
        pool->n_callers++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (open) {
        count_up(pool->jobs_fd);
    }
    return open;
}

static void set_cancelled(md_worker_entry *entry)
{
    entry->outcome = MD_WORKER_OUTCOME_CANCELLED;
    entry->status = md_fail(&entry->err, MD_CANCELLED, "analysis stopped: cancelled");
}

/* Until the entry is done. A queued one is withdrawn when the caller cancels or the pool stops;
 * a running one is left to its slot, which listens to both too. */
static void await(md_worker_pool *pool, md_worker_entry *entry)
{
    bool may_withdraw = true;
    for (;;) {
        struct pollfd fds[] = {
            {.fd = entry->done_fd, .events = POLLIN},
            {.fd = may_withdraw ? pool->stop_fd : -1, .events = POLLIN},
            {.fd = may_withdraw ? entry->job->cancel_fd : -1, .events = POLLIN},
        };
        (void)poll(fds, 3, -1);
        if (is_done(pool, entry)) {
            return;
        }
        if (fds[1].revents != 0 || fds[2].revents != 0) {
            if (withdraw(pool, entry)) {
                set_cancelled(entry);
                return;
            }
            may_withdraw = false;
        }
    }
}

static md_status run(md_worker_pool *pool, const md_worker_job *job, const char *fail_reason,
                     md_analysis *ret_analysis, md_worker_outcome *ret_outcome, md_error *err)
{
    memset(ret_analysis, 0, sizeof *ret_analysis);
    *ret_outcome = MD_WORKER_OUTCOME_NOT_RUN;
    if (job->n_paths == 0 || job->n_paths > MD_WORKER_MAX_FILES) {
        return md_fail(err, MD_LIMIT, "a study of %zu files, expected 1..%d", job->n_paths,
                       MD_WORKER_MAX_FILES);
    }
    md_worker_entry entry = {
        .job = job, .fail_reason = fail_reason, .done_fd = eventfd(0, EFD_CLOEXEC)};
    if (entry.done_fd < 0) {
        return md_fail_os(err, errno, "no descriptor to wait for an analysis");
    }
    if (enqueue(pool, &entry)) {
        await(pool, &entry);
        pthread_mutex_lock(&pool->lock);
        pool->n_callers--;
        pthread_cond_broadcast(&pool->changed);
        pthread_mutex_unlock(&pool->lock);
    } else {
        set_cancelled(&entry);
    }
    close(entry.done_fd);
    *ret_analysis = entry.analysis;
    *ret_outcome = entry.outcome;
    if (err != NULL && entry.status != MD_OK) {
        *err = entry.err;
    }
    return entry.status;
}

md_status md_worker_pool_analyse(md_worker_pool *pool, const md_worker_job *job,
                                 md_analysis *ret_analysis, md_worker_outcome *ret_outcome,
                                 md_error *err)
{
    return run(pool, job, NULL, ret_analysis, ret_outcome, err);
}

md_status md_worker_pool_fail(md_worker_pool *pool, const md_worker_job *job,
                              const char *reason, md_analysis *ret_analysis,
                              md_worker_outcome *ret_outcome, md_error *err)
{
    return run(pool, job, reason, ret_analysis, ret_outcome, err);
}

/* Worth another worker: the study may have met another study's damage. */
static bool is_attempt(md_worker_outcome outcome)
{
    return outcome != MD_WORKER_OUTCOME_ANSWERED && outcome != MD_WORKER_OUTCOME_CANCELLED &&
           outcome != MD_WORKER_OUTCOME_NOT_RUN;
}

md_status md_worker_pool_analyse_attempts(md_worker_pool *pool, const md_worker_job *job,
                                          unsigned n_attempts, md_analysis *ret_analysis,
                                          md_worker_outcome *ret_outcome, md_error *err)
{
    md_error last = {0};
    md_status status = MD_INTERNAL;
    for (unsigned attempt = 1; attempt <= n_attempts; attempt++) {
        status = md_worker_pool_analyse(pool, job, ret_analysis, ret_outcome, &last);
        if (!is_attempt(*ret_outcome)) {
            break;
        }
        md_log(MD_LOG_WARN, "attempt_failed",
               MD_LOG_TEXT("study", job->study_key == NULL ? "" : job->study_key),
               MD_LOG_INT("attempt", attempt), MD_LOG_INT("of", n_attempts),
               MD_LOG_TEXT("outcome", md_worker_outcome_name(*ret_outcome)),
               MD_LOG_TEXT("reason", last.msg));
        if (attempt < n_attempts) {
            md_analysis_finish(ret_analysis);
        }
    }
    if (is_attempt(*ret_outcome)) {
        md_worker_outcome outcome;
        md_analysis_finish(ret_analysis);
        if (md_worker_pool_fail(pool, job, last.msg, ret_analysis, &outcome, NULL) == MD_OK) {
            return MD_OK;
        }
    }
    if (err != NULL && status != MD_OK) {
        *err = last;
    }
    return status;
}

size_t md_worker_pool_n_models(const md_worker_pool *pool)
{
    return pool->n_models;
}

const md_model_identity *md_worker_pool_model(const md_worker_pool *pool, size_t index)
{
    return index < pool->n_models ? &pool->models[index] : NULL;
}

const md_required *md_worker_pool_required(const md_worker_pool *pool, size_t index)
{
    return index < pool->n_models ? &pool->required[index] : NULL;
}

md_embeds md_worker_pool_embeds(const md_worker_pool *pool, size_t index)
{
    return index < pool->n_models ? pool->embeds[index] : (md_embeds){0};
}

/* ---- start and stop ---- */

static void free_list(char **list)
{
    for (char **text = list; text != NULL && *text != NULL; text++) {
        md_free(*text);
    }
    md_free(list);
}

static void release(md_worker_pool *pool)
{
    if (pool->weights_fd > 0) {
        close(pool->weights_fd);
    }
    if (pool->jobs_fd >= 0) {
        close(pool->jobs_fd);
    }
    if (pool->stop_fd >= 0) {
        close(pool->stop_fd);
    }
    if (pool->folder_fd >= 0) {
        close(pool->folder_fd);
    }
    for (unsigned i = 0; pool->slots != NULL && i < pool->options.n_workers; i++) {
        md_free(pool->slots[i].models);
        md_free(pool->slots[i].required);
        if (pool->slots[i].folder[0] != '\0') {
            (void)rmdir(pool->slots[i].folder);
        }
    }
    md_free(pool->slots);
    md_free(pool->models);
    md_free(pool->required);
    md_free(pool->work_folder);
    md_free(pool->program);
    free_list(pool->arguments);
    free_list(pool->read_folders);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->changed);
    md_free(pool);
}

void md_worker_pool_stop(md_worker_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->lock);
    if (pool->stop_fd >= 0) {
        count_up(pool->stop_fd);
    }
    for (unsigned i = 0; pool->slots != NULL && i < pool->options.n_workers; i++) {
        if (pool->slots[i].has_thread) {
            pthread_join(pool->slots[i].thread, NULL);
        }
    }
    pthread_mutex_lock(&pool->lock);
    while (pool->n_callers > 0) {
        pthread_cond_wait(&pool->changed, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    release(pool);
}

/* Copy a list that NULL ends; `*ret_list` NULL for a NULL list. */
static bool copy_list(const char *const *list, char ***ret_list, unsigned *ret_n)
{
    unsigned n = 0;
    while (list != NULL && list[n] != NULL) {
        n++;
    }
    *ret_n = n;
    *ret_list = list == NULL ? NULL : md_calloc(n + 1, sizeof **ret_list);
    if (list != NULL && *ret_list == NULL) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        (*ret_list)[i] = md_strdup(list[i]);
        if ((*ret_list)[i] == NULL) {
            return false;
        }
    }
    return true;
}

/* What the workers are told: no destinations, and a fair share of the cores each. */
static void copy_conf(md_worker_pool *pool, const md_conf *conf)
{
    pool->conf = *conf;
    memset(pool->conf.destinations, 0, sizeof pool->conf.destinations);
    pool->conf.n_destinations = 0;
    /* pointers mean nothing in another process */
    pool->conf.ae.titles = NULL;
    pool->conf.ae.n_titles = 0;
    pool->conf.study.required = NULL;
    pool->conf.study.n_required = 0;
    pool->conf.rules = NULL;
    pool->conf.n_rules = 0;
    pool->conf.follow_up.actions = NULL;
    pool->conf.follow_up.n_actions = 0;
    pool->conf.holders = NULL;
    if (pool->conf.engine.n_threads == 0) {
        /* all workers together have no more threads than there are cores */
        const unsigned share = md_cores() / pool->options.n_workers;
        pool->conf.engine.n_threads = share == 0 ? 1 : share;
    }
}

static md_status fill(md_worker_pool *pool, const md_worker_pool_options *options,
                      md_error *err)
{
    static const char *const own_arguments[] = {"medaid", "--worker", NULL};
    const char *keep = getenv("MEDAID_WORKER_STDERR");
    pool->options = *options;
    pool->options.keep_stderr |= keep != NULL && strcmp(keep, "1") == 0;
    copy_conf(pool, options->conf);
    unsigned n_folders;
    pool->work_folder = md_strdup(options->work_folder);
    pool->program = md_strdup(options->program == NULL ? "/proc/self/exe" : options->program);
    pool->slots = md_calloc(options->n_workers, sizeof *pool->slots);
    pool->models = md_calloc(MD_WORKER_MAX_MODELS, sizeof *pool->models);
    pool->required = md_calloc(MD_WORKER_MAX_MODELS, sizeof *pool->required);
    bool fine = copy_list(options->program == NULL ? own_arguments : options->arguments,
                          &pool->arguments, &pool->n_arguments) &&
                copy_list(options->read_folders, &pool->read_folders, &n_folders) &&
                pool->work_folder != NULL && pool->program != NULL && pool->slots != NULL &&
                pool->models != NULL && pool->required != NULL;
    for (unsigned i = 0; fine && i < options->n_workers; i++) {
        md_worker_slot *slot = &pool->slots[i];
        *slot = (md_worker_slot){.pool = pool,
                                 .index = i,
                                 .process = MD_WORKER_PROCESS_NONE,
                                 .study_key = "",
                                 .doing = "start"};
        slot->models = md_calloc(MD_WORKER_MAX_MODELS, sizeof *slot->models);
        slot->required = md_calloc(MD_WORKER_MAX_MODELS, sizeof *slot->required);
        fine = slot->models != NULL && slot->required != NULL;
    }
    if (!fine) {
        return md_fail(err, MD_NOMEM, "no memory for %u workers", options->n_workers);
    }
    if (md_share_create(&pool->weights_fd, NULL) != MD_OK) {
        pool->weights_fd = 0; /* it only costs memory */
    }
    pool->jobs_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    pool->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->jobs_fd < 0 || pool->stop_fd < 0) {
        return md_fail_os(err, errno, "no descriptors for the workers");
    }
    return MD_OK;
}

/* Two pools on one folder would take each other's files away. The lock goes with the process.
 */
static md_status lock_folder(md_worker_pool *pool, md_error *err)
{
    pool->folder_fd = open(pool->work_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pool->folder_fd < 0) {
        return md_fail_os(err, errno, "%s", pool->work_folder);
    }
    if (flock(pool->folder_fd, LOCK_EX | LOCK_NB) != 0) {
        int os_errno = errno;
        return os_errno == EWOULDBLOCK
                   ? md_fail(err, MD_BUSY, "%s: in use by another medaid", pool->work_folder)
                   : md_fail_os(err, os_errno, "%s", pool->work_folder);
    }
    return MD_OK;
}

static md_status make_folders(md_worker_pool *pool, md_error *err)
{
    MD_TRY(md_folder_create(pool->work_folder, err));
    MD_TRY(lock_folder(pool, err));
    for (unsigned i = 0; i < pool->options.n_workers; i++) {
        md_worker_slot *slot = &pool->slots[i];
        int length = snprintf(slot->folder, sizeof slot->folder, "%s/%u", pool->work_folder, i);
        if (length < 0 || (size_t)length >= sizeof slot->folder) {
            slot->folder[0] = '\0';
            return md_fail(err, MD_LIMIT, "the workers' folder has more than %zu characters",
                           sizeof slot->folder - 8);
        }
        MD_TRY(md_worker_files_prepare(slot->folder, err));
    }
    return MD_OK;
}

/* With all signals blocked: they are for the threads of the program. */
static md_status create_threads(md_worker_pool *pool, md_error *err)
{
    sigset_t all, before;
    md_status status = MD_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < pool->options.n_workers; i++) {
        md_worker_slot *slot = &pool->slots[i];
        int result = pthread_create(&slot->thread, NULL, md_worker_slot_main, slot);
        if (result != 0) {
            status = md_fail_os(err, result, "no thread for worker %u", i);
            break;
        }
        slot->has_thread = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static md_status start_threads(md_worker_pool *pool, md_error *err)
{
    MD_TRY(create_threads(pool, err));
    pthread_mutex_lock(&pool->lock);
    while (pool->n_ready == 0 && pool->n_failed < pool->options.n_workers) {
        pthread_cond_wait(&pool->changed, &pool->lock);
    }
    md_status status = MD_OK;
    if (pool->n_ready == 0) {
        status = pool->start_error.status;
        if (err != NULL) {
            *err = pool->start_error;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

md_status md_worker_pool_start(const md_worker_pool_options *options, md_worker_pool **ret_pool,
                               md_error *err)
{
    if (options->n_workers == 0 || options->n_workers > MD_WORKER_MAX_WORKERS ||
        options->study_timeout_ms == 0 || options->work_folder == NULL ||
        options->conf == NULL) {
        return md_fail(err, MD_INVALID_ARG,
                       "%u workers, time limit %u ms, expected 1..%d and 1", options->n_workers,
                       options->study_timeout_ms, MD_WORKER_MAX_WORKERS);
    }
    md_worker_pool *pool = md_calloc(1, sizeof *pool);
    if (pool == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the workers");
    }
    pool->jobs_fd = -1;
    pool->stop_fd = -1;
    pool->folder_fd = -1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    md_status status = fill(pool, options, err);
    if (status == MD_OK && pool->n_arguments > MAX_ARGUMENTS) {
        status = md_fail(err, MD_LIMIT, "%u arguments for a worker, at most %d",
                         pool->n_arguments, MAX_ARGUMENTS);
    }
    if (status == MD_OK) {
        status = make_folders(pool, err);
    }
    if (status == MD_OK) {
        status = start_threads(pool, err);
    }
    if (status != MD_OK) {
        md_worker_pool_stop(pool);
        return status;
    }
    *ret_pool = pool;
    return MD_OK;
}
