#include "daemon/outbox.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/folder.h"
#include "dicom/network/scu.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_OBJECTS = 4096,      /* of one delivery */
    MAX_DELIVERIES = 100000, /* looked at in one round */
    NAME_BYTES = 128,
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 300000,
    MAX_TRANSIENT = 290, /* the pauses add up to about a day */
    MAX_REFUSED = 10,    /* about a quarter of an hour */
};

/* A delivery that has failed before; the others have no memory. */
typedef struct trouble {
    char name[NAME_BYTES];
    unsigned n_transient, n_refused;
    struct trouble *next;
} trouble;

typedef struct sender {
    struct md_outbox *outbox;
    const md_conf_destination *destination;
    char folder[PATH_MAX], undelivered[PATH_MAX];
    pthread_t thread;
    bool is_started;
    bool is_new; /* something was put; under the outbox's mutex */
    unsigned pause_ms;
    int64_t retry_us; /* monotonic: when what failed is tried again */
    trouble *troubles;
} sender;

struct md_outbox {
    const md_conf *conf;
    md_outbox_send send;
    char results[PATH_MAX]; /* without destinations */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping;
    atomic_uint counter;
    unsigned n_senders;
    sender senders[MD_CONF_MAX_DESTINATIONS];
};

static md_status send_by_scu(const md_conf_destination *destination, const char *own_ae,
                             const char *const *paths, size_t n_paths,
                             md_send_outcome *outcomes, md_error *err)
{
    md_peer peer = {.port = destination->port, .timeout_s = destination->timeout_s};
    snprintf(peer.ae_title, sizeof peer.ae_title, "%s", destination->ae_title);
    snprintf(peer.host, sizeof peer.host, "%s", destination->host);
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "%s", own_ae);
    return md_scu_send(&peer, paths, n_paths, outcomes, err);
}

static bool is_hidden(const struct dirent *entry)
{
    return entry->d_name[0] == '.';
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted; names that begin with a dot are half-written. */
static md_status list_names(const char *path, size_t max, char ***ret_names, size_t *ret_n,
                            md_error *err)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return md_fail_os(err, errno, "%s", path);
    }
    char **names = md_calloc(max, sizeof *names);
    size_t n = 0;
    md_status status =
        names == NULL ? md_fail(err, MD_NOMEM, "no memory to list %s", path) : MD_OK;
    for (struct dirent *entry = readdir(folder); status == MD_OK && entry != NULL && n < max;
         entry = readdir(folder)) {
        if (is_hidden(entry)) {
            continue;
        }
        names[n] = md_strdup(entry->d_name);
        if (names[n] == NULL) {
            status = md_fail(err, MD_NOMEM, "no memory to list %s", path);
        } else {
            n++;
        }
    }
    closedir(folder);
    if (n > 0) {
        qsort(names, n, sizeof *names, compare_names);
    }
    *ret_names = names;
    *ret_n = n;
    return status;
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; names != NULL && i < n; i++) {
        md_free(names[i]);
    }
    md_free(names);
}

static md_status join(char ret_path[PATH_MAX], const char *folder, const char *name,
                      md_error *err)
{
    int length = snprintf(ret_path, PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_MAX) {
        return md_fail(err, MD_LIMIT, "a path of more than %d bytes", PATH_MAX - 1);
    }
    return MD_OK;
}

static trouble *find_trouble(sender *to, const char *name)
{
    trouble *each = to->troubles;
    while (each != NULL && strcmp(each->name, name) != 0) {
        each = each->next;
    }
    return each;
}

static trouble *add_trouble(sender *to, const char *name)
{
    trouble *each = find_trouble(to, name);
    if (each == NULL) {
        each = md_calloc(1, sizeof *each);
        if (each != NULL) {
            snprintf(each->name, sizeof each->name, "%s", name);
            each->next = to->troubles;
            to->troubles = each;
        }
    }
    return each;
}

static void forget_trouble(sender *to, const char *name)
{
    for (trouble **link = &to->troubles; *link != NULL; link = &(*link)->next) {
        if (strcmp((*link)->name, name) == 0) {
            trouble *gone = *link;
            *link = gone->next;
            md_free(gone);
            return;
        }
    }
}

/* "<time>-<counter>-<study>": the study's key is the last part. */
static const char *key_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash != NULL ? dash + 1 : name;
}

/* True when the destination itself is the trouble, so that the next delivery would meet it too:
 * no response at all, or "out of resources". */
static bool is_transient(md_status status, uint16_t dimse_status)
{
    if (dimse_status != 0xffff) {
        return dimse_status >> 8 == 0xa7;
    }
    return status == MD_NETWORK || status == MD_TIMEOUT || status == MD_BUSY ||
           status == MD_NOMEM || status == MD_IO;
}

/* Send the objects of one delivery; the stored ones are removed. *ret_n_left are not stored,
 * *ret_transient whether one of them waits for the destination. */
static md_status deliver(sender *to, const char *path, size_t *ret_n_sent, size_t *ret_n_left,
                         bool *ret_transient, md_error *err)
{
    char **names = NULL;
    size_t n = 0;
    *ret_n_sent = 0;
    *ret_n_left = 0;
    *ret_transient = true; /* what fails before the sending is not the object's fault */
    md_status status = list_names(path, MAX_OBJECTS, &names, &n, err);
    char(*files)[PATH_MAX] = md_calloc(n + 1, sizeof *files);
    const char **paths = md_calloc(n + 1, sizeof *paths);
    md_send_outcome *outcomes = md_calloc(n + 1, sizeof *outcomes);
    if (status == MD_OK && (files == NULL || paths == NULL || outcomes == NULL)) {
        status = md_fail(err, MD_NOMEM, "no memory to send results");
    }
    for (size_t i = 0; status == MD_OK && i < n; i++) {
        status = join(files[i], path, names[i], err);
        paths[i] = files[i];
    }
    if (status == MD_OK && n > 0) {
        status = to->outbox->send(to->destination, to->outbox->conf->ae.title, paths, n,
                                  outcomes, err);
        *ret_transient = false;
        for (size_t i = 0; i < n; i++) {
            if (outcomes[i].status == MD_OK) {
                *ret_n_sent += 1;
                unlink(files[i]);
            } else {
                *ret_n_left += 1;
                *ret_transient = *ret_transient ||
                                 is_transient(outcomes[i].status, outcomes[i].dimse_status);
            }
        }
    }
    free_names(names, n);
    md_free(files);
    md_free(paths);
    md_free(outcomes);
    return status;
}

/* Nobody takes it: out of the way of the others, but not thrown away. */
static void give_up(sender *to, const char *name, const md_error *why)
{
    char from[PATH_MAX], aside[PATH_MAX];
    md_error err = {0};
    bool moved = join(from, to->folder, name, &err) == MD_OK &&
                 join(aside, to->undelivered, name, &err) == MD_OK;
    if (moved && rename(from, aside) != 0) {
        (void)md_fail_os(&err, errno, "move to undelivered");
        moved = false;
    }
    md_log(MD_LOG_ERROR, "results_undelivered",
           MD_LOG_TEXT("destination", to->destination->name),
           MD_LOG_TEXT("study", key_of(name)), MD_LOG_TEXT("reason", why->msg),
           MD_LOG_TEXT("then", moved ? "moved to undelivered" : err.msg));
    if (moved) {
        forget_trouble(to, name);
    }
}

/* How a round over all deliveries ended. */
typedef enum round_result {
    ROUND_DONE,    /* nothing is left */
    ROUND_REFUSED, /* something is left that the destination does not take */
    ROUND_DOWN,    /* the destination is away or busy: nothing can be sent now */
} round_result;

/* One delivery failed. */
static round_result take_failure(sender *to, const char *name, bool transient,
                                 const md_error *why)
{
    trouble *known = add_trouble(to, name);
    if (known == NULL) {
        return ROUND_DOWN; /* out of memory: later */
    }
    *(transient ? &known->n_transient : &known->n_refused) += 1;
    md_log(MD_LOG_WARN, "send_failed", MD_LOG_TEXT("destination", to->destination->name),
           MD_LOG_TEXT("study", key_of(name)), MD_LOG_TEXT("reason", why->msg),
           MD_LOG_INT("attempt", known->n_transient + known->n_refused));
    if (known->n_transient >= MAX_TRANSIENT || known->n_refused >= MAX_REFUSED) {
        give_up(to, name, why);
    }
    return transient ? ROUND_DOWN : ROUND_REFUSED;
}

/* Send one delivery and take note of what comes of it. */
static round_result run_delivery(sender *to, const char *name)
{
    char path[PATH_MAX];
    size_t n_sent = 0, n_left = 0;
    bool transient = true;
    md_error err = {0};
    md_status status = join(path, to->folder, name, &err);
    if (status == MD_OK) {
        status = deliver(to, path, &n_sent, &n_left, &transient, &err);
    }
    if (n_sent > 0) {
        md_log(MD_LOG_INFO, "results_sent", MD_LOG_TEXT("destination", to->destination->name),
               MD_LOG_TEXT("study", key_of(name)), MD_LOG_INT("objects", n_sent),
               MD_LOG_INT("left", n_left));
    }
    if (status != MD_OK) {
        return take_failure(to, name, transient, &err);
    }
    forget_trouble(to, name);
    (void)rmdir(path);
    return ROUND_DONE;
}

/* Try each delivery once, or each that has not failed before. */
static round_result run_round(sender *to, bool only_new)
{
    char **names = NULL;
    size_t n = 0;
    md_error err = {0};
    round_result worst = ROUND_DONE;
    if (list_names(to->folder, MAX_DELIVERIES, &names, &n, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "outbox_failed", MD_LOG_TEXT("destination", to->destination->name),
               MD_LOG_TEXT("reason", err.msg));
        worst = ROUND_DOWN;
    }
    for (size_t i = 0; i < n && worst != ROUND_DOWN; i++) {
        round_result result = ROUND_REFUSED; /* what an earlier round found */
        if (!only_new || find_trouble(to, names[i]) == NULL) {
            result = run_delivery(to, names[i]);
        }
        worst = result > worst ? result : worst;
    }
    free_names(names, n);
    if (worst == ROUND_DONE) {
        to->pause_ms = 0;
    } else if (worst == ROUND_DOWN || !only_new) {
        to->pause_ms = to->pause_ms == 0 ? FIRST_PAUSE_MS : 2 * to->pause_ms;
        to->pause_ms = to->pause_ms < LONGEST_PAUSE_MS ? to->pause_ms : LONGEST_PAUSE_MS;
        to->retry_us = md_clock_monotonic_us() + (int64_t)to->pause_ms * 1000;
    }
    return worst;
}

/* Wait for something new, unless the destination is down, and for the end of the pause. False:
 * stopping. */
static bool wait_for_work(sender *to, round_result result, bool *ret_only_new)
{
    md_outbox *outbox = to->outbox;
    const struct timespec until = {.tv_sec = to->retry_us / 1000000,
                                   .tv_nsec = to->retry_us % 1000000 * 1000};
    bool is_over = false;
    pthread_mutex_lock(&outbox->mutex);
    while (!outbox->stopping && !is_over && (result == ROUND_DOWN || !to->is_new)) {
        if (result == ROUND_DONE) {
            pthread_cond_wait(&outbox->changed, &outbox->mutex);
        } else {
            is_over =
                pthread_cond_timedwait(&outbox->changed, &outbox->mutex, &until) == ETIMEDOUT;
        }
    }
    to->is_new = false;
    *ret_only_new = result == ROUND_REFUSED && !is_over;
    bool go_on = !outbox->stopping;
    pthread_mutex_unlock(&outbox->mutex);
    return go_on;
}

static void *sender_thread(void *argument)
{
    sender *to = argument;
    bool only_new = false;
    while (wait_for_work(to, run_round(to, only_new), &only_new)) {
    }
    (void)run_round(to, true);
    return NULL;
}

/* Whether a destination wants this object. SR storage classes are one branch of PS3.6. */
static bool is_wanted(md_results_kind wanted, const md_object *object)
{
    static const char sr_root[] = "1.2.840.10008.5.1.4.1.1.88.";
    bool is_sr = strncmp(object->sop_class_uid, sr_root, sizeof sr_root - 1) == 0;
    return wanted == MD_RESULTS_BOTH || is_sr == (wanted == MD_RESULTS_SR);
}

static md_status write_objects(const char *folder, md_results_kind wanted,
                               const md_object *objects, size_t n_objects, md_error *err)
{
    for (size_t i = 0; i < n_objects; i++) {
        char file[PATH_MAX], number[32];
        if (!is_wanted(wanted, &objects[i])) {
            continue;
        }
        snprintf(number, sizeof number, "%06zu.dcm", i);
        MD_TRY(join(file, folder, number, err));
        MD_TRY(md_file_write(file, MD_FILE_NEW, objects[i].bytes, objects[i].size_bytes, err));
    }
    return MD_OK;
}

/* Write the wanted objects into a hidden folder, then show it by one rename. */
static md_status put_delivery(md_outbox *outbox, const char *folder, const char *study_key,
                              md_results_kind wanted, const md_object *objects,
                              size_t n_objects, bool *ret_any, md_error *err)
{
    char name[NAME_BYTES], hidden[PATH_MAX], shown[PATH_MAX];
    *ret_any = false;
    for (size_t i = 0; i < n_objects; i++) {
        *ret_any = *ret_any || is_wanted(wanted, &objects[i]);
    }
    if (!*ret_any) {
        return MD_OK;
    }
    snprintf(name, sizeof name, ".%013llx-%08x-%s", (unsigned long long)md_clock_wall_ms(),
             atomic_fetch_add(&outbox->counter, 1), study_key);
    MD_TRY(join(hidden, folder, name, err));
    MD_TRY(join(shown, folder, name + 1, err));
    if (mkdir(hidden, 0700) != 0) {
        return md_fail_os(err, errno, "%s", hidden);
    }
    md_status status = write_objects(hidden, wanted, objects, n_objects, err);
    if (status == MD_OK && rename(hidden, shown) != 0) {
        status = md_fail_os(err, errno, "%s", shown);
    }
    if (status != MD_OK) {
        (void)!md_folder_empty(hidden, NULL);
        (void)rmdir(hidden);
        return status;
    }
    return md_folder_sync(folder, err);
}

md_status md_outbox_put(md_outbox *outbox, const char *study_key, const md_object *objects,
                        size_t n_objects, md_error *err)
{
    bool any = false;
    if (outbox->n_senders == 0) {
        return put_delivery(outbox, outbox->results, study_key, MD_RESULTS_BOTH, objects,
                            n_objects, &any, err);
    }
    for (unsigned i = 0; i < outbox->n_senders; i++) {
        sender *to = &outbox->senders[i];
        MD_TRY(put_delivery(outbox, to->folder, study_key, to->destination->results, objects,
                            n_objects, &any, err));
        if (any) {
            pthread_mutex_lock(&outbox->mutex);
            to->is_new = true;
            pthread_cond_broadcast(&outbox->changed);
            pthread_mutex_unlock(&outbox->mutex);
        }
    }
    return MD_OK;
}

/* A crash can leave a half-written delivery; its study is not marked, so it is made again. */
static md_status remove_hidden(const char *path, md_error *err)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return md_fail_os(err, errno, "%s", path);
    }
    md_status status = MD_OK;
    for (struct dirent *entry = readdir(folder); status == MD_OK && entry != NULL;
         entry = readdir(folder)) {
        char hidden[PATH_MAX];
        if (!is_hidden(entry) || strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        status = join(hidden, path, entry->d_name, err);
        if (status == MD_OK) {
            status = md_folder_empty(hidden, err);
        }
        if (status == MD_OK) {
            (void)rmdir(hidden);
        }
    }
    closedir(folder);
    return status;
}

/* Deliveries for a destination that the configuration no longer has are not sent; say so. */
static void tell_orphans(const md_outbox *outbox, const char *path)
{
    char **names = NULL;
    size_t n = 0;
    if (list_names(path, MAX_DELIVERIES, &names, &n, NULL) == MD_OK) {
        for (size_t i = 0; i < n; i++) {
            bool is_known = false;
            for (unsigned k = 0; k < outbox->n_senders; k++) {
                is_known =
                    is_known || strcmp(names[i], outbox->senders[k].destination->name) == 0;
            }
            if (!is_known) {
                md_log(MD_LOG_WARN, "outbox_without_destination",
                       MD_LOG_TEXT("destination", names[i]));
            }
        }
    }
    free_names(names, n);
}

static md_status prepare(md_outbox *outbox, const char *path, md_error *err)
{
    char parent[PATH_MAX];
    MD_TRY(join(outbox->results, path, "results", err));
    if (outbox->n_senders == 0) {
        MD_TRY(md_folder_create(outbox->results, err));
        MD_TRY(remove_hidden(outbox->results, err));
    }
    for (unsigned i = 0; i < outbox->n_senders; i++) {
        sender *to = &outbox->senders[i];
        to->outbox = outbox;
        to->destination = &outbox->conf->destinations[i];
        MD_TRY(join(parent, path, "outbox", err));
        MD_TRY(join(to->folder, parent, to->destination->name, err));
        MD_TRY(join(parent, path, "undelivered", err));
        MD_TRY(join(to->undelivered, parent, to->destination->name, err));
        MD_TRY(md_folder_create(to->folder, err));
        MD_TRY(md_folder_create(to->undelivered, err));
        MD_TRY(remove_hidden(to->folder, err));
    }
    MD_TRY(join(parent, path, "outbox", err));
    if (access(parent, F_OK) == 0) {
        tell_orphans(outbox, parent);
    }
    return MD_OK;
}

md_status md_outbox_start(const md_conf *conf, const md_store *store, md_outbox_send send,
                          md_outbox **ret_outbox, md_error *err)
{
    md_outbox *outbox = md_calloc(1, sizeof *outbox);
    if (outbox == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the outbox");
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&outbox->mutex, NULL);
    pthread_cond_init(&outbox->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    outbox->conf = conf;
    outbox->send = send != NULL ? send : send_by_scu;
    outbox->n_senders = conf->n_destinations;
    md_status status = prepare(outbox, md_store_path(store), err);
    for (unsigned i = 0; i < outbox->n_senders && status == MD_OK; i++) {
        int os_errno = pthread_create(&outbox->senders[i].thread, NULL, sender_thread,
                                      &outbox->senders[i]);
        outbox->senders[i].is_started = os_errno == 0;
        if (os_errno != 0) {
            status = md_fail_os(err, os_errno, "start a sender");
        }
    }
    if (status != MD_OK) {
        md_outbox_stop(outbox);
        return status;
    }
    *ret_outbox = outbox;
    return MD_OK;
}

void md_outbox_stop(md_outbox *outbox)
{
    if (outbox == NULL) {
        return;
    }
    pthread_mutex_lock(&outbox->mutex);
    outbox->stopping = true;
    pthread_cond_broadcast(&outbox->changed);
    pthread_mutex_unlock(&outbox->mutex);
    for (unsigned i = 0; i < outbox->n_senders; i++) {
        sender *to = &outbox->senders[i];
        if (to->is_started) {
            pthread_join(to->thread, NULL);
        }
        while (to->troubles != NULL) {
            forget_trouble(to, to->troubles->name);
        }
    }
    pthread_cond_destroy(&outbox->changed);
    pthread_mutex_destroy(&outbox->mutex);
    md_free(outbox);
}
