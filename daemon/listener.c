#include "daemon/listener.h"

#include "base/clock.h"
#include "base/log.h"
#include "dicom/network/dimse.h"
#include "dicom/network/scp.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    MIB = 1024 * 1024,
    MAX_LINES_PER_S = 20, /* about peers that misbehave; the rest is counted */
    DIMSE_REPLACED = 0xb000,
};

struct md_listener {
    md_store *store;
    md_assembly *assembly;
    void (*on_object)(void *context);
    void *context;
    md_scp *scp;
    pthread_mutex_t mutex; /* for the limit of log lines */
    int64_t second;
    unsigned n_lines, n_suppressed;
};

/* Out of resources asks the sender to come again, so it stands for all that is our trouble. */
static uint16_t dimse_status_of(md_status status)
{
    return status == MD_FORMAT || status == MD_UNSUPPORTED ? MD_DIMSE_CANNOT_UNDERSTAND
                                                           : MD_DIMSE_OUT_OF_RESOURCES;
}

static uint16_t take_object(void *context, const md_scp_object *object)
{
    md_listener *listener = context;
    char key[MD_STUDY_KEY_BYTES];
    md_error err = {0};
    md_store_outcome outcome = MD_STORE_NEW;
    md_store_study_key(listener->store, object->study_instance_uid, key);
    md_status status = md_store_take(listener->store, object->path, key,
                                     object->sop_instance_uid, &outcome, &err);
    if (status == MD_OK && outcome != MD_STORE_SAME) {
        status = md_assembly_add(listener->assembly, key, md_moment_now(), &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "object_not_stored", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address), MD_LOG_TEXT("reason", err.msg));
        return dimse_status_of(status);
    }
    if (outcome == MD_STORE_REPLACED) {
        md_log(MD_LOG_WARN, "object_replaced", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address));
    } else {
        md_log(MD_LOG_DEBUG, "object_stored", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address),
               MD_LOG_INT("again", outcome == MD_STORE_SAME));
    }
    if (outcome != MD_STORE_SAME) {
        listener->on_object(listener->context);
    }
    return outcome == MD_STORE_REPLACED ? DIMSE_REPLACED : MD_DIMSE_SUCCESS;
}

/* A peer must not fill the disk with log lines. Returns how many lines were left out before
 * this one, or -1: leave it out. */
static int admit_line(md_listener *listener)
{
    int64_t second = md_clock_monotonic_us() / 1000000;
    int n_before = 0;
    pthread_mutex_lock(&listener->mutex);
    if (second != listener->second) {
        listener->second = second;
        listener->n_lines = 0;
        n_before = (int)listener->n_suppressed;
        listener->n_suppressed = 0;
    }
    if (listener->n_lines >= MAX_LINES_PER_S) {
        listener->n_suppressed++;
        n_before = -1;
    } else {
        listener->n_lines++;
    }
    pthread_mutex_unlock(&listener->mutex);
    return n_before;
}

static void take_event(void *context, const char *event, const char *peer_address,
                       const char *detail)
{
    md_listener *listener = context;
    bool is_normal = strcmp(event, "association_done") == 0;
    bool is_probe = strcmp(event, "connection_probed") == 0;
    if (is_normal || is_probe) {
        md_log(is_normal ? MD_LOG_INFO : MD_LOG_DEBUG, event, MD_LOG_TEXT("peer", peer_address),
               MD_LOG_TEXT("detail", detail));
        return;
    }
    int n_before = admit_line(listener);
    if (n_before > 0) {
        md_log(MD_LOG_WARN, "events_suppressed", MD_LOG_INT("count", n_before));
    }
    if (n_before >= 0) {
        bool is_ours =
            strcmp(event, "listener_failed") == 0 || strcmp(event, "accept_failed") == 0;
        md_log(is_ours ? MD_LOG_ERROR : MD_LOG_WARN, event, MD_LOG_TEXT("peer", peer_address),
               MD_LOG_TEXT("detail", detail));
    }
}

md_status md_listener_start(const md_conf *conf, md_store *store, md_assembly *assembly,
                            void (*on_object)(void *context), void *context,
                            md_listener **ret_listener, md_error *err)
{
    md_listener *listener = md_calloc(1, sizeof *listener);
    if (listener == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the listener");
    }
    pthread_mutex_init(&listener->mutex, NULL);
    listener->store = store;
    listener->assembly = assembly;
    listener->on_object = on_object;
    listener->context = context;
    const md_scp_options options = {
        .ae_title = conf->ae.title,
        .bind_address = conf->ae.bind[0] != '\0' ? conf->ae.bind : NULL,
        .port = conf->ae.port,
        .spool_folder = md_store_spool(store),
        .max_associations = conf->ae.max_associations,
        .association_timeout_s = conf->ae.timeout_s,
        .max_pdu_bytes = conf->ae.max_pdu_bytes,
        .max_object_bytes = (uint64_t)conf->ae.max_object_mib * MIB,
        .check_called_ae = conf->ae.check_called_ae,
        .on_object = take_object,
        .on_event = take_event,
        .context = listener,
    };
    md_status status = md_scp_start(&options, &listener->scp, err);
    if (status != MD_OK) {
        md_listener_stop(listener, 0);
        return status;
    }
    *ret_listener = listener;
    return MD_OK;
}

uint16_t md_listener_port(const md_listener *listener)
{
    return md_scp_port(listener->scp);
}

void md_listener_stop(md_listener *listener, unsigned grace_ms)
{
    if (listener != NULL) {
        md_scp_stop(listener->scp, grace_ms);
        pthread_mutex_destroy(&listener->mutex);
        md_free(listener);
    }
}
