#include "daemon/queue.h"

#include <pthread.h>
#include <string.h>

/* A study that waits or is analysed: a list in order of arrival. The lists are short, so a
 * search by key from one end is all that is needed. */
typedef struct entry {
    md_job job;
    bool is_taken;
    bool comes_again; /* pushed while taken; `again` is then the study */
    md_complete_study again;
    struct entry *next;
} entry;

typedef struct memory_queue {
    md_queue base; /* first: a pointer to it is a pointer to this */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool closed;
    entry *first;
    entry **end; /* where the next one is appended */
    size_t n_waiting, n_taken, n_done, n_failed;
} memory_queue;

static memory_queue *own(md_queue *queue)
{
    return (memory_queue *)queue;
}

static void destroy(md_queue *queue)
{
    memory_queue *now = own(queue);
    while (now->first != NULL) {
        entry *each = now->first;
        now->first = each->next;
        md_free(each);
    }
    pthread_cond_destroy(&now->changed);
    pthread_mutex_destroy(&now->mutex);
    md_free(now);
}

static entry *find(memory_queue *now, const char *key)
{
    entry *each = now->first;
    while (each != NULL && strcmp(each->job.study.key, key) != 0) {
        each = each->next;
    }
    return each;
}

static void append(memory_queue *now, entry *each)
{
    each->next = NULL;
    *now->end = each;
    now->end = &each->next;
}

static void unhook(memory_queue *now, entry *each)
{
    entry **link = &now->first;
    while (*link != each) {
        link = &(*link)->next;
    }
    *link = each->next;
    if (each->next == NULL) {
        now->end = link;
    }
}

/* Both are the same study. */
static void merge(md_complete_study *into, const md_complete_study *more)
{
    into->n_objects += more->n_objects;
    if (more->first_received_ms < into->first_received_ms) {
        into->first_received_ms = more->first_received_ms;
    }
    if (more->last_received_ms > into->last_received_ms) {
        into->last_received_ms = more->last_received_ms;
    }
    into->complete_ms = more->complete_ms;
}

static md_status push_held(memory_queue *now, const md_complete_study *study, md_error *err)
{
    entry *each = find(now, study->key);
    if (each != NULL && each->is_taken && !each->comes_again) {
        each->comes_again = true;
        each->again = *study;
        return MD_OK;
    }
    if (each != NULL) {
        merge(each->is_taken ? &each->again : &each->job.study, study);
        return MD_OK;
    }
    each = md_calloc(1, sizeof *each);
    if (each == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for one more study in the queue");
    }
    each->job.study = *study;
    each->job.attempt = 1;
    append(now, each);
    now->n_waiting++;
    pthread_cond_signal(&now->changed);
    return MD_OK;
}

static md_status push(md_queue *queue, const md_complete_study *study, md_error *err)
{
    memory_queue *now = own(queue);
    pthread_mutex_lock(&now->mutex);
    md_status status = push_held(now, study, err);
    pthread_mutex_unlock(&now->mutex);
    return status;
}

static md_status take(md_queue *queue, md_job *ret_job, md_error *err)
{
    memory_queue *now = own(queue);
    md_status status = MD_OK;
    pthread_mutex_lock(&now->mutex);
    while (!now->closed && now->n_waiting == 0) {
        pthread_cond_wait(&now->changed, &now->mutex);
    }
    if (now->closed) {
        status = md_fail(err, MD_CANCELLED, "the queue is closed");
    } else {
        entry *each = now->first;
        while (each->is_taken) {
            each = each->next;
        }
        each->is_taken = true;
        now->n_waiting--;
        now->n_taken++;
        *ret_job = each->job;
    }
    pthread_mutex_unlock(&now->mutex);
    return status;
}

/* The taken entry waits again, at the end. */
static void requeue(memory_queue *now, entry *each)
{
    each->is_taken = false;
    unhook(now, each);
    append(now, each);
    now->n_taken--;
    now->n_waiting++;
    pthread_cond_signal(&now->changed);
}

static md_status end_held(memory_queue *now, const md_job *job, bool is_retry,
                          md_study_state state, md_error *err)
{
    entry *each = find(now, job->study.key);
    if (each == NULL || !each->is_taken) {
        return md_fail(err, MD_INTERNAL, "a job ends that nobody has taken");
    }
    bool comes_again = each->comes_again;
    each->comes_again = false;
    if (is_retry) {
        each->job.attempt++;
        if (comes_again) {
            merge(&each->job.study, &each->again);
        }
        requeue(now, each);
        return MD_OK;
    }
    *(state == MD_STUDY_DONE ? &now->n_done : &now->n_failed) += 1;
    if (comes_again) {
        each->job.study = each->again;
        each->job.attempt = 1;
        requeue(now, each);
        return MD_OK;
    }
    unhook(now, each);
    md_free(each);
    now->n_taken--;
    return MD_OK;
}

static md_status finish(md_queue *queue, const md_job *job, md_study_state state, md_error *err)
{
    memory_queue *now = own(queue);
    pthread_mutex_lock(&now->mutex);
    md_status status = end_held(now, job, false, state, err);
    pthread_mutex_unlock(&now->mutex);
    return status;
}

static md_status retry(md_queue *queue, const md_job *job, md_error *err)
{
    memory_queue *now = own(queue);
    pthread_mutex_lock(&now->mutex);
    md_status status = end_held(now, job, true, MD_STUDY_COMPLETE, err);
    pthread_mutex_unlock(&now->mutex);
    return status;
}

static void close_queue(md_queue *queue)
{
    memory_queue *now = own(queue);
    pthread_mutex_lock(&now->mutex);
    now->closed = true;
    pthread_cond_broadcast(&now->changed);
    pthread_mutex_unlock(&now->mutex);
}

static size_t count(md_queue *queue, md_study_state state)
{
    memory_queue *now = own(queue);
    pthread_mutex_lock(&now->mutex);
    size_t n = 0;
    switch (state) {
    case MD_STUDY_COMPLETE:
        n = now->n_waiting;
        break;
    case MD_STUDY_ANALYSING:
        n = now->n_taken;
        break;
    case MD_STUDY_DONE:
        n = now->n_done;
        break;
    case MD_STUDY_FAILED:
        n = now->n_failed;
        break;
    }
    pthread_mutex_unlock(&now->mutex);
    return n;
}

md_status md_queue_create_memory(md_queue **ret_queue, md_error *err)
{
    static const md_queue_functions functions = {destroy, push,        take, finish,
                                                 retry,   close_queue, count};
    memory_queue *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the queue");
    }
    now->base.functions = &functions;
    now->end = &now->first;
    pthread_mutex_init(&now->mutex, NULL);
    pthread_cond_init(&now->changed, NULL);
    *ret_queue = &now->base;
    return MD_OK;
}
