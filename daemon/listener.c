#include "daemon/listener.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/metrics/figures.h"
#include "daemon/rules/tags.h"
#include "daemon/steady.h"
#include "dicom/network/dimse.h"
#include "dicom/network/scp.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MIB = 1024 * 1024,
    MAX_LINES_PER_S = 20,     /* about peers that misbehave; the rest is counted */
    DIMSE_CONFLICT = 0xb000,  /* a warning: stored, but not the only one of its name */
    DIMSE_DUPLICATE = 0x0111, /* PS3.7 C.5.2, duplicate SOP instance */
};

struct md_listener {
    md_store *store;
    md_spool *spool;
    const md_scp_service *services;
    size_t n_services;
    md_scp *scp;
    uint8_t content_key[MD_CONTENT_KEY_BYTES];
    atomic_bool was_low;
    pthread_mutex_t mutex; /* for the limit of log lines */
    int64_t second;
    unsigned n_lines, n_suppressed;
};

/* Out of resources asks the sender to come again, so it stands for all that is our trouble. */
static uint16_t dimse_status_of(md_status status)
{
    return status == MD_FORMAT || status == MD_UNSUPPORTED || status == MD_INVALID_ARG
               ? MD_DIMSE_CANNOT_UNDERSTAND
               : MD_DIMSE_OUT_OF_RESOURCES;
}

static int make_file(void *context, char *ret_path, size_t path_bytes, uint64_t *ret_number,
                     int *ret_fd)
{
    const md_listener *listener = context;
    md_error err = {0};
    if (md_spool_begin(listener->spool, ret_path, path_bytes, ret_number, ret_fd, &err) ==
        MD_OK) {
        return 0;
    }
    return err.os_errno != 0 ? err.os_errno : ENAMETOOLONG;
}

static md_status accept_object(md_listener *listener, const md_scp_object *object,
                               md_spool_outcome *ret_outcome, md_error *err)
{
    char tags[MD_STORE_TAGS_BYTES];
    md_tags_write(object->wanted, object->identity, tags);
    md_spool_arrival arrival = {
        .path = object->path,
        .is_begun = true,
        .file = object->file_number,
        .fd = object->fd,
        .dataset_offset_bytes = object->dataset_offset_bytes,
        .content_tag = object->content_tag,
        .study_uid = object->study_instance_uid,
        .series_uid = object->series_instance_uid,
        .sop_instance_uid = object->sop_instance_uid,
        .sop_class_uid = object->sop_class_uid,
        .transfer_syntax_uid = object->transfer_syntax_uid,
        .source_ae = object->calling_ae,
        .called_ae = object->own_ae,
        .tags = tags,
        .received_ms = md_steady_ms(),
    };
    return md_spool_accept(listener->spool, &arrival, ret_outcome, err);
}

/* Once when it begins and once when it is over, not for each object. */
static void tell_disk(md_listener *listener, bool low)
{
    if (atomic_exchange(&listener->was_low, low) != low) {
        md_log(low ? MD_LOG_ERROR : MD_LOG_INFO, low ? "disk_low" : "disk_recovered",
               MD_LOG_INT("free_mib", md_spool_free_bytes(listener->spool) / MIB),
               MD_LOG_TEXT("then", low ? "objects are refused as out of resources"
                                       : "objects are accepted again"));
    }
}

static void count_outcome(md_spool_kind kind)
{
    md_figures *figures = md_figures_now();
    switch (kind) {
    case MD_SPOOL_STORED:
        break;
    case MD_SPOOL_SAME:
        md_counter_add(&figures->repeated, 1);
        break;
    case MD_SPOOL_CONFLICT:
        md_counter_add(&figures->conflicts, 1);
        break;
    case MD_SPOOL_REFUSED:
        md_counter_add(&figures->rejected[MD_REJECT_CONFLICT], 1);
        return;
    case MD_SPOOL_DISK_LOW:
        md_counter_add(&figures->rejected[MD_REJECT_DISK_LOW], 1);
        return;
    }
    md_counter_add(&figures->received, 1);
}

static void tell_audit(const md_scp_object *object, const md_spool_outcome *outcome)
{
    static const char actions[] = {
        [MD_SPOOL_STORED] = 'C', [MD_SPOOL_SAME] = 'R', [MD_SPOOL_CONFLICT] = 'U'};
    if (outcome->kind != MD_SPOOL_REFUSED && outcome->kind != MD_SPOOL_DISK_LOW) {
        md_audit_received(&(md_audit_object){
            .peer_address = object->peer_address,
            .calling_ae = object->calling_ae,
            .called_ae = object->called_ae,
            .study_uid = object->study_instance_uid,
            .study_key = outcome->instance.study_key,
            .patient_id = object->patient_id,
            .sop_class_uid = object->sop_class_uid,
            .action = actions[outcome->kind],
        });
    }
}

static uint16_t answer_of(const md_scp_object *object, const md_spool_outcome *outcome)
{
    const char *key = outcome->instance.study_key;
    count_outcome(outcome->kind);
    switch (outcome->kind) {
    case MD_SPOOL_STORED:
    case MD_SPOOL_SAME:
        md_log(MD_LOG_DEBUG, "object_stored", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address),
               MD_LOG_INT("again", outcome->kind == MD_SPOOL_SAME));
        if (outcome->instance.reopened) {
            md_log(MD_LOG_INFO, "study_reopened", MD_LOG_TEXT("study", key));
        }
        return MD_DIMSE_SUCCESS;
    case MD_SPOOL_CONFLICT:
        md_log(MD_LOG_WARN, "object_conflict", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address), MD_LOG_TEXT("then", "both kept"));
        return DIMSE_CONFLICT;
    case MD_SPOOL_REFUSED:
        md_log(MD_LOG_WARN, "object_conflict", MD_LOG_TEXT("study", key),
               MD_LOG_TEXT("peer", object->peer_address), MD_LOG_TEXT("then", "refused"));
        return DIMSE_DUPLICATE;
    case MD_SPOOL_DISK_LOW:
        break;
    }
    return MD_DIMSE_OUT_OF_RESOURCES;
}

static uint16_t take_object(void *context, const md_scp_object *object)
{
    md_listener *listener = context;
    md_error err = {0};
    md_spool_outcome outcome = {.kind = MD_SPOOL_DISK_LOW};
    if (md_store_flag_is_set(listener->store, MD_STORE_DRAINING)) {
        (void)unlink(object->path);
        md_counter_add(&md_figures_now()->rejected[MD_REJECT_DRAINING], 1);
        return MD_DIMSE_OUT_OF_RESOURCES;
    }
    md_status status = accept_object(listener, object, &outcome, &err);
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "object_not_stored", MD_LOG_TEXT("peer", object->peer_address),
               MD_LOG_TEXT("reason", err.msg));
        uint16_t answer = dimse_status_of(status);
        md_reject_reason reason =
            answer == MD_DIMSE_CANNOT_UNDERSTAND ? MD_REJECT_UNREADABLE : MD_REJECT_INTERNAL;
        md_counter_add(&md_figures_now()->rejected[reason], 1);
        return answer;
    }
    tell_disk(listener, outcome.kind == MD_SPOOL_DISK_LOW);
    tell_audit(object, &outcome);
    return answer_of(object, &outcome);
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
    if (is_normal) {
        md_audit_association_done(peer_address);
    }
    if (is_normal || is_probe) {
        md_log(is_normal ? MD_LOG_INFO : MD_LOG_DEBUG, event, MD_LOG_TEXT("peer", peer_address),
               MD_LOG_TEXT("detail", detail));
        return;
    }
    md_counter_add(&md_figures_now()->connection_problems, 1);
    int n_before = admit_line(listener);
    if (n_before > 0) {
        md_log(MD_LOG_WARN, "events_suppressed", MD_LOG_INT("count", n_before));
    }
    bool is_alert = strcmp(event, "caller_rejected") == 0 || strcmp(event, "tls_failed") == 0;
    if (n_before >= 0 && is_alert) {
        md_audit_alert(peer_address, detail);
    }
    if (n_before >= 0) {
        bool is_ours =
            strcmp(event, "listener_failed") == 0 || strcmp(event, "accept_failed") == 0;
        md_log(is_ours ? MD_LOG_ERROR : MD_LOG_WARN, event, MD_LOG_TEXT("peer", peer_address),
               MD_LOG_TEXT("detail", detail));
    }
}

static md_tls_verify verify_of(md_conf_verify verify)
{
    switch (verify) {
    case MD_CONF_VERIFY_OPTIONAL:
        return MD_TLS_VERIFY_OPTIONAL;
    case MD_CONF_VERIFY_NONE:
        return MD_TLS_VERIFY_NONE;
    case MD_CONF_VERIFY_REQUIRED:
        break;
    }
    return MD_TLS_VERIFY_REQUIRED;
}

static void copy_callers(const md_conf_caller *from, unsigned n, md_caller **room)
{
    for (unsigned i = 0; i < n; i++) {
        md_caller *to = (*room)++;
        static_assert(sizeof to->ae_title >= sizeof from->ae_title, "there is room");
        static_assert(sizeof to->address >= sizeof from->address, "there is room");
        memcpy(to->ae_title, from[i].ae_title, sizeof from->ae_title);
        memcpy(to->address, from[i].address, sizeof from->address);
    }
}

static_assert((int)MD_SCP_MAX_TITLES >= (int)MD_CONF_MAX_TITLES, "each AE title has its place");

/* Who may call: in general at the start of *ret_callers, then those of each title. */
static md_status list_callers(const md_conf *conf, md_caller **ret_callers,
                              md_scp_title ret_titles[MD_SCP_MAX_TITLES], md_error *err)
{
    size_t n = conf->ae.n_allowed_callers + 1;
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        n += conf->ae.titles[i].n_allowed_callers;
    }
    md_caller *callers = md_calloc(n, sizeof *callers);
    if (callers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu allowed callers", n);
    }
    md_caller *room = callers;
    copy_callers(conf->ae.allowed_callers, conf->ae.n_allowed_callers, &room);
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        const md_conf_title *title = &conf->ae.titles[i];
        snprintf(ret_titles[i].ae_title, sizeof ret_titles[i].ae_title, "%s", title->title);
        ret_titles[i].allowed_callers = room;
        ret_titles[i].n_allowed_callers = title->n_allowed_callers;
        copy_callers(title->allowed_callers, title->n_allowed_callers, &room);
    }
    *ret_callers = callers;
    return MD_OK;
}

/* Start with what the configuration says, or change what runs. */
static md_status with_options(md_listener *listener, const md_conf *conf, int bound_fd,
                              md_error *err)
{
    const md_tls_options tls = {
        .certificate = conf->ae.tls.certificate,
        .private_key = conf->ae.tls.private_key,
        .ca = conf->ae.tls.ca,
        .verify = verify_of(conf->ae.tls.verify),
    };
    MD_AUTO(md_freep) md_caller *callers = NULL;
    md_scp_title titles[MD_SCP_MAX_TITLES] = {0};
    md_status status = list_callers(conf, &callers, titles, err);
    if (status != MD_OK) {
        if (bound_fd >= 0) {
            close(bound_fd);
        }
        return status;
    }
    md_scp_options options = {
        .ae_title = conf->ae.title,
        .bind_address = conf->ae.bind[0] != '\0' ? conf->ae.bind : NULL,
        .port = conf->ae.port,
        .has_bound_fd = bound_fd >= 0,
        .bound_fd = bound_fd,
        .spool_folder = md_spool_incoming(listener->spool),
        .max_associations = conf->ae.max_associations,
        .association_timeout_s = conf->ae.timeout_s,
        .max_pdu_bytes = conf->ae.max_pdu_bytes,
        .max_object_bytes = (uint64_t)conf->ae.max_object_mib * MIB,
        .check_called_ae = conf->ae.check_called_ae,
        .allowed_callers = callers,
        .n_allowed_callers = conf->ae.n_allowed_callers,
        .n_titles = conf->ae.n_titles,
        .tls = conf->ae.has_tls ? &tls : NULL,
        .content_key = listener->content_key,
        .services = listener->services,
        .n_services = listener->n_services,
        .make_file = make_file,
        .on_object = take_object,
        .on_event = take_event,
        .context = listener,
    };
    memcpy(options.titles, titles, sizeof titles);
    md_tags_wanted(conf, &options.wanted);
    return listener->scp != NULL ? md_scp_change(listener->scp, &options, err)
                                 : md_scp_start(&options, &listener->scp, err);
}

md_status md_listener_start(const md_conf *conf, md_store *store, md_spool *spool, int bound_fd,
                            const md_scp_service *services, size_t n_services,
                            md_listener **ret_listener, md_error *err)
{
    md_listener *listener = md_calloc(1, sizeof *listener);
    if (listener == NULL) {
        if (bound_fd >= 0) {
            close(bound_fd);
        }
        return md_fail(err, MD_NOMEM, "no memory for the listener");
    }
    pthread_mutex_init(&listener->mutex, NULL);
    listener->store = store;
    listener->spool = spool;
    listener->services = services;
    listener->n_services = n_services;
    md_store_content_key(store, listener->content_key);
    md_status status = with_options(listener, conf, bound_fd, err);
    if (status != MD_OK) {
        md_listener_stop(listener, 0);
        return status;
    }
    *ret_listener = listener;
    return MD_OK;
}

md_status md_listener_reload(md_listener *listener, const md_conf *conf, md_error *err)
{
    return with_options(listener, conf, -1, err);
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
