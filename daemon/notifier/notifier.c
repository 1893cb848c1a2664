#include "daemon/notifier/notifier.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/notifier/deliver.h"
#include "daemon/steady.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum {
    LONGEST_WAIT_MS = 30000,
    AFTER_ERROR_MS = 1000,
    LEASE_SPARE_S = 60,
    MAX_TRANSIENT = 290, /* the waits add up to about a day */
    MAX_REFUSED = 10,
    MAX_SECRET_BYTES = 4096
};

static const md_backoff backoff = {.first_ms = 1000, .most_ms = 300000};

typedef struct sender {
    md_notifiers *all;
    const md_conf_notifier *notifier;
    pthread_t thread;
    bool is_started;
    bool is_new; /* under the mutex */
} sender;

struct md_notifiers {
    md_store *store;
    md_notifiers_deliver deliver;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping;
    unsigned n;
    sender senders[MD_CONF_MAX_NOTIFIERS];
};

static md_status deliver_webhook(const md_conf_notifier *n, const md_deliver_peer *peer,
                                 const char *id, const char *body, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *secret = NULL;
    size_t secret_bytes = 0;
    if (n->secret_file[0] != '\0') {
        struct stat found;
        if (stat(n->secret_file, &found) == 0 && (found.st_mode & 077) != 0) {
            return md_fail(err, MD_IO, "%s: others can read the secret, expected mode 0600",
                           n->secret_file);
        }
        md_status status =
            md_file_read(n->secret_file, MAX_SECRET_BYTES, &secret, &secret_bytes, err);
        if (status != MD_OK || secret_bytes == 0) {
            return status == MD_OK
                       ? md_fail(err, MD_IO, "%s: the secret is empty", n->secret_file)
                       : md_error_prefix(err, MD_IO, "%s", n->secret_file);
        }
    }
    return md_deliver_webhook(peer, secret, secret_bytes, id, body, err);
}

static md_status deliver_by_kind(const md_conf_notifier *n, const char *id, const char *body,
                                 md_error *err)
{
    char address[sizeof n->host + 10];
    bool is_v6 = strchr(n->host, ':') != NULL;
    snprintf(address, sizeof address, is_v6 ? "[%s]:%u" : "%s:%u", n->host, n->port);
    const md_deliver_peer peer = {.url = n->kind == MD_CONF_NOTIFY_HL7 ? address : n->url,
                                  .ca = n->ca,
                                  .use_tls = n->use_tls,
                                  .timeout_s = n->timeout_s};
    switch (n->kind) {
    case MD_CONF_NOTIFY_HL7:
        return md_deliver_mllp(&peer, id, body, err);
    case MD_CONF_NOTIFY_MAIL:
        return md_deliver_mail(n->sendmail, n->from, n->to, n->timeout_s, body, err);
    case MD_CONF_NOTIFY_WEBHOOK:
        break;
    }
    return deliver_webhook(n, &peer, id, body, err);
}

static void log_outcome(const md_notice_row *row, md_outbox_state state, const md_error *why)
{
    if (state == MD_OUTBOX_SENT) {
        md_log(MD_LOG_INFO, "notified", MD_LOG_TEXT("notifier", row->notifier),
               MD_LOG_TEXT("study", row->study_key));
        return;
    }
    bool is_dead = state == MD_OUTBOX_DEAD;
    md_log(is_dead ? MD_LOG_ERROR : MD_LOG_WARN, is_dead ? "undelivered" : "notify_failed",
           MD_LOG_TEXT("notifier", row->notifier), MD_LOG_TEXT("study", row->study_key),
           MD_LOG_TEXT("reason", why->msg), MD_LOG_INT("attempt", row->n_attempts + 1),
           MD_LOG_TEXT("then", is_dead ? "given up until a retry" : "tried again"));
}

/* How long there is nothing to do; 0: there may be more. */
static int64_t deliver_next(sender *to)
{
    md_notice_row row;
    MD_AUTO(md_freep) char *body = NULL;
    md_error err = {0};
    /* Only one thread sends for a notifier, so the lease guards nothing but what the store
     * could not write down: such a text must not wait long. */
    int64_t lease_ms = ((int64_t)2 * to->notifier->timeout_s + LEASE_SPARE_S) * 1000;
    md_status status = md_store_notice_claim(to->all->store, to->notifier->name, md_steady_ms(),
                                             lease_ms, &row, &body, &err);
    if (status == MD_NOT_FOUND) {
        int64_t next_ms = INT64_MAX, now_ms = md_steady_ms();
        if (md_store_notice_next_ms(to->all->store, to->notifier->name, &next_ms, NULL) !=
            MD_OK) {
            return AFTER_ERROR_MS;
        }
        int64_t wait_ms =
            next_ms > now_ms + LONGEST_WAIT_MS ? LONGEST_WAIT_MS : next_ms - now_ms;
        return wait_ms < 1 ? 1 : wait_ms;
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return AFTER_ERROR_MS;
    }
    char id[32];
    md_notifiers_delivery_id(row.study_key, row.generation, id);
    status = to->all->deliver(to->notifier, id, body, &err);
    unsigned n_attempts = row.n_attempts + 1;
    unsigned most = status == MD_UNSUPPORTED ? MAX_REFUSED : MAX_TRANSIENT;
    md_outbox_state state = status == MD_OK      ? MD_OUTBOX_SENT
                            : n_attempts >= most ? MD_OUTBOX_DEAD
                                                 : MD_OUTBOX_PENDING;
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) {
        random = (uint32_t)md_clock_monotonic_us();
    }
    log_outcome(&row, state, &err);
    int64_t now_ms = md_steady_ms();
    int64_t wait_ms = status == MD_OK ? 0 : md_backoff_ms(&backoff, n_attempts, random);
    md_error store_err = {0};
    md_status written =
        md_store_notice_finish(to->all->store, &row, state, now_ms + wait_ms,
                               status == MD_OK ? "" : err.msg, now_ms, &store_err);
    if (written == MD_CANCELLED) {
        return 0; /* a later analysis came meanwhile: its text is the next */
    }
    if (written != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", store_err.msg));
        return AFTER_ERROR_MS;
    }
    /* a receiver that is down would answer the next text alike */
    return status == MD_OK || status == MD_UNSUPPORTED ? 0 : wait_ms;
}

static bool wait_for_work(sender *to, int64_t wait_ms)
{
    md_notifiers *all = to->all;
    int64_t until_us = md_clock_monotonic_us() + wait_ms * 1000;
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    int over = 0;
    pthread_mutex_lock(&all->mutex);
    while (wait_ms > 0 && !all->stopping && over != ETIMEDOUT && !to->is_new) {
        over = pthread_cond_timedwait(&all->changed, &all->mutex, &until);
    }
    to->is_new = false;
    bool go_on = !all->stopping;
    pthread_mutex_unlock(&all->mutex);
    return go_on;
}

static void *sender_thread(void *argument)
{
    sender *to = argument;
    int64_t wait_ms = 0;
    while (wait_for_work(to, wait_ms)) {
        wait_ms = deliver_next(to);
    }
    return NULL;
}

md_status md_notifiers_start(const md_conf *conf, md_store *store, md_notifiers_deliver deliver,
                             md_notifiers **ret_notifiers, md_error *err)
{
    md_notifiers *all = md_calloc(1, sizeof *all);
    if (all == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the notifiers");
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    all->store = store;
    all->deliver = deliver != NULL ? deliver : deliver_by_kind;
    md_status status = conf->n_notifiers > 0 ? md_deliver_init(err) : MD_OK;
    for (unsigned i = 0; i < conf->n_notifiers && status == MD_OK; i++) {
        sender *to = &all->senders[all->n++];
        to->all = all;
        to->notifier = &conf->notifiers[i];
        int os_errno = pthread_create(&to->thread, NULL, sender_thread, to);
        to->is_started = os_errno == 0;
        if (os_errno != 0) {
            status = md_fail_os(err, os_errno, "start a notifier");
        }
    }
    if (status != MD_OK) {
        md_notifiers_stop(all);
        return status;
    }
    *ret_notifiers = all;
    return MD_OK;
}

void md_notifiers_wake(md_notifiers *all)
{
    if (all == NULL) {
        return;
    }
    pthread_mutex_lock(&all->mutex);
    for (unsigned i = 0; i < all->n; i++) {
        all->senders[i].is_new = true;
    }
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->mutex);
}

void md_notifiers_stop(md_notifiers *all)
{
    if (all == NULL) {
        return;
    }
    pthread_mutex_lock(&all->mutex);
    all->stopping = true;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->mutex);
    for (unsigned i = 0; i < all->n; i++) {
        if (all->senders[i].is_started) {
            pthread_join(all->senders[i].thread, NULL);
        }
    }
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->mutex);
    md_free(all);
}
