#include "daemon/ups/courier.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/steady.h"
#include "dicom/network/dimse.h"
#include "dicom/network/dimse_client.h"
#include "dicom/network/ups/workitem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MAX_COURIERS = MD_CONF_MAX_UPS_SUBSCRIBERS + 1,
    FIRST_WAIT_MS = 2000,
    MOST_WAIT_MS = 300000,
    AFTER_ERROR_MS = 1000,
    IDLE_MS = 2000, /* an association is kept so long for what may follow */
};

typedef struct courier {
    md_couriers *all;
    const md_conf_ups_peer *peer;
    bool is_manager;
    pthread_t thread;
    md_dimse_client *client; /* NULL: no association */
} courier;

struct md_couriers {
    const md_conf *conf;
    md_store *store;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned n_wakes; /* under the mutex */
    bool stopping;    /* under the mutex */
    courier each[MAX_COURIERS];
    unsigned n, n_started;
};

static md_status open_client(courier *now, md_error *err)
{
    static const md_client_class to_subscriber[] = {{MD_UPS_EVENT, true}};
    static const md_client_class to_manager[] = {{MD_UPS_PUSH, false}, {MD_UPS_PULL, false}};
    const md_conf_ups_peer *from = now->peer;
    const md_tls_options tls = {.certificate = from->tls.certificate,
                                .private_key = from->tls.private_key,
                                .ca = from->tls.ca,
                                .verify = MD_TLS_VERIFY_REQUIRED};
    md_peer peer = {
        .port = from->port, .timeout_s = from->timeout_s, .tls = from->has_tls ? &tls : NULL};
    snprintf(peer.ae_title, sizeof peer.ae_title, "%s", from->ae_title);
    snprintf(peer.host, sizeof peer.host, "%s", from->host);
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "%s", now->all->conf->ae.title);
    return now->is_manager ? md_dimse_client_open(&peer, to_manager, 2, &now->client, err)
                           : md_dimse_client_open(&peer, to_subscriber, 1, &now->client, err);
}

static void close_client(courier *now)
{
    md_dimse_client_close(now->client);
    now->client = NULL;
}

/* Send it and get the answer. */
static md_status call(courier *now, const md_ups_outgoing *message, uint16_t *ret_status,
                      md_error *err)
{
    md_dimse_call what = {.sop_class_uid = MD_UPS_PUSH, .sop_instance_uid = message->uid};
    switch (message->message) {
    case MD_UPS_MESSAGE_EVENT:
        what.field = MD_COMMAND_EVENT_REPORT_RQ;
        what.abstract_syntax = MD_UPS_EVENT;
        what.has_number = true;
        what.number = (uint16_t)message->type;
        break;
    case MD_UPS_MESSAGE_CREATE:
        what.field = MD_COMMAND_CREATE_RQ;
        what.abstract_syntax = MD_UPS_PUSH;
        break;
    case MD_UPS_MESSAGE_SET:
        what.field = MD_COMMAND_SET_RQ;
        what.abstract_syntax = MD_UPS_PULL;
        break;
    }
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    md_encoding encoding = MD_ENCODING_EXPLICIT_LITTLE;
    md_dimse_reply reply;
    MD_TRY(md_dimse_client_encoding(now->client, what.abstract_syntax, &encoding, err));
    MD_TRY(md_workitem_parse(message->bytes, message->n, MD_ENCODING_EXPLICIT_LITTLE, &dataset,
                             err));
    if (message->message == MD_UPS_MESSAGE_CREATE) {
        /* whose they are says the command */
        (void)md_workitem_remove(dataset, MD_UPS_TAG_SOP_CLASS);
        (void)md_workitem_remove(dataset, MD_UPS_TAG_SOP_INSTANCE);
        MD_TRY(md_workitem_put(dataset, MD_UPS_TAG_TRANSACTION, "", err));
    }
    MD_TRY(md_workitem_encode(dataset, encoding, &bytes, &what.dataset_bytes, err));
    what.dataset = bytes;
    MD_TRY(md_dimse_client_call(now->client, &what, NULL, NULL, &reply, err));
    *ret_status = reply.status;
    return MD_OK;
}

/* Whether there is no more to do: it was taken, or never will be. */
static bool is_settled(md_ups_message message, uint16_t status)
{
    if (status == MD_DIMSE_SUCCESS || status == MD_UPS_OPTIONAL_UNSUPPORTED ||
        (status & 0xf000) == 0xb000 || status >> 8 == 0x01) {
        return true; /* 01xx: the peer has understood, and will say the same again */
    }
    if (message == MD_UPS_MESSAGE_SET) {
        /* somebody has it in hand, or has finished, or it is gone */
        return status == MD_UPS_NO_LONGER_UPDATED || status == MD_UPS_WRONG_TRANSACTION ||
               status == MD_UPS_NOT_IN_PROGRESS || status == MD_UPS_UNKNOWN_INSTANCE;
    }
    return message == MD_UPS_MESSAGE_EVENT;
}

static const char *message_name(md_ups_message message)
{
    static const char *const names[] = {
        [MD_UPS_MESSAGE_EVENT] = "N-EVENT-REPORT",
        [MD_UPS_MESSAGE_CREATE] = "N-CREATE",
        [MD_UPS_MESSAGE_SET] = "N-SET",
    };
    return names[message];
}

/* Put it off, or give it up when it is too old. Returns how long to wait. */
static int64_t put_off(courier *now, const md_ups_outgoing *message, const md_error *why)
{
    int64_t now_ms = md_steady_ms();
    int64_t for_ms = (int64_t)now->all->conf->ups.retry_for_h * 3600000;
    bool give_up = now_ms - message->since_ms >= for_ms;
    const md_backoff backoff = {.first_ms = FIRST_WAIT_MS, .most_ms = MOST_WAIT_MS};
    int64_t wait_ms = md_backoff_ms(&backoff, message->n_attempts + 1,
                                    (uint32_t)md_clock_monotonic_us() * 2654435761U);
    md_error err = {0};
    md_log(give_up ? MD_LOG_ERROR : MD_LOG_WARN, "workitem_not_told",
           MD_LOG_TEXT("ae_title", now->peer->ae_title),
           MD_LOG_TEXT("operation", message_name(message->message)),
           MD_LOG_INT("attempt", message->n_attempts + 1), MD_LOG_TEXT("reason", why->msg),
           MD_LOG_TEXT("then", give_up ? "dropped" : "tried again"));
    md_status status =
        give_up ? md_store_ups_told(now->all->store, message->id, &err)
                : md_store_ups_not_told(now->all->store, message->id, now_ms + wait_ms, &err);
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return AFTER_ERROR_MS;
    }
    return give_up ? 0 : wait_ms;
}

/* Returns how long to wait before the next. */
static int64_t deliver(courier *now, const md_ups_outgoing *message)
{
    uint16_t answer = MD_DIMSE_NO_RESPONSE;
    md_error err = {0};
    md_status status = now->client == NULL ? open_client(now, &err) : MD_OK;
    if (status == MD_OK) {
        status = call(now, message, &answer, &err);
    }
    if (status == MD_OK && !is_settled(message->message, answer)) {
        status = md_fail(&err, MD_BUSY, "it answers with status 0x%04x", (unsigned)answer);
    }
    if (status != MD_OK) {
        close_client(now);
        return put_off(now, message, &err);
    }
    if (answer != MD_DIMSE_SUCCESS) {
        md_log(MD_LOG_WARN, "workitem_answer", MD_LOG_TEXT("ae_title", now->peer->ae_title),
               MD_LOG_TEXT("operation", message_name(message->message)),
               MD_LOG_INT("status", answer));
    }
    if (md_store_ups_told(now->all->store, message->id, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return AFTER_ERROR_MS;
    }
    return 0;
}

/* Wait so long, or until there is something new since *seen. False: stopping. */
static bool wait_for_work(md_couriers *all, int64_t most_ms, unsigned *seen)
{
    int64_t until_us = md_clock_monotonic_us() + most_ms * 1000;
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    int over = 0;
    pthread_mutex_lock(&all->mutex);
    while (!all->stopping && all->n_wakes == *seen && most_ms > 0 && over != ETIMEDOUT) {
        over = pthread_cond_timedwait(&all->changed, &all->mutex, &until);
    }
    *seen = all->n_wakes;
    bool go_on = !all->stopping;
    pthread_mutex_unlock(&all->mutex);
    return go_on;
}

/* One message, if one is due. Returns how long nothing else can be. */
static int64_t work(courier *now)
{
    md_ups_outgoing message;
    md_error err = {0};
    int64_t next_ms = INT64_MAX;
    md_status status = md_store_ups_next(now->all->store, now->peer->ae_title, md_steady_ms(),
                                         &message, &next_ms, &err);
    if (status == MD_OK) {
        int64_t wait_ms = deliver(now, &message);
        md_free(message.bytes);
        return wait_ms;
    }
    if (status != MD_NOT_FOUND) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return AFTER_ERROR_MS;
    }
    int64_t left_ms = next_ms == INT64_MAX ? MOST_WAIT_MS : next_ms - md_steady_ms();
    return left_ms > 1 ? left_ms : 1;
}

static void *courier_thread(void *argument)
{
    courier *now = argument;
    int64_t wait_ms = 0;
    unsigned seen = 0;
    for (;;) {
        int64_t first_ms = now->client != NULL && wait_ms > IDLE_MS ? IDLE_MS : wait_ms;
        if (!wait_for_work(now->all, first_ms, &seen)) {
            break;
        }
        wait_ms = work(now);
        if (wait_ms > 0 && first_ms == IDLE_MS) {
            close_client(now); /* nothing came in all that time */
        }
    }
    close_client(now);
    return NULL;
}

md_status md_couriers_start(const md_conf *conf, md_store *store, md_couriers **ret_couriers,
                            md_error *err)
{
    md_couriers *all = md_calloc(1, sizeof *all);
    if (all == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the reports of workitems");
    }
    all->conf = conf;
    all->store = store;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i < conf->ups.n_subscribers; i++) {
        all->each[all->n++] = (courier){.all = all, .peer = &conf->ups.subscribers[i]};
    }
    if (conf->ups.has_manager) {
        all->each[all->n++] =
            (courier){.all = all, .peer = &conf->ups.manager, .is_manager = true};
    }
    for (unsigned i = 0; i < all->n; i++) {
        int os_errno =
            pthread_create(&all->each[i].thread, NULL, courier_thread, &all->each[i]);
        if (os_errno != 0) {
            md_couriers_stop(all);
            return md_fail_os(err, os_errno, "start a thread");
        }
        all->n_started++;
    }
    *ret_couriers = all;
    return MD_OK;
}

void md_couriers_wake(md_couriers *couriers)
{
    if (couriers != NULL) {
        pthread_mutex_lock(&couriers->mutex);
        couriers->n_wakes++;
        pthread_cond_broadcast(&couriers->changed);
        pthread_mutex_unlock(&couriers->mutex);
    }
}

void md_couriers_stop(md_couriers *couriers)
{
    if (couriers == NULL) {
        return;
    }
    pthread_mutex_lock(&couriers->mutex);
    couriers->stopping = true;
    pthread_cond_broadcast(&couriers->changed);
    pthread_mutex_unlock(&couriers->mutex);
    for (unsigned i = 0; i < couriers->n_started; i++) {
        pthread_join(couriers->each[i].thread, NULL);
    }
    pthread_cond_destroy(&couriers->changed);
    pthread_mutex_destroy(&couriers->mutex);
    md_free(couriers);
}
