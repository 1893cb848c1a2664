#include "daemon/audit/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/audit/message.h"
#include "daemon/audit/syslog.h"
#include "daemon/metrics/figures.h"
#include "dicom/network/identity.h"
#include "dicom/network/part10.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    HOST_BYTES = 256,
    PEER_BYTES = 80,
    FIRST_WAIT_MS = 100, /* after a failure, doubled each time */
    MOST_WAIT_MS = 30000,
    DROP_LINE_MS = 60000,                     /* between two lines about dropped messages */
    FILE_CHECK_MAX_BYTES = 256 * 1024 * 1024, /* of an inflated dataset of our own */
};

/* What an association has brought of one study so far. */
typedef struct open_transfer {
    struct open_transfer *next; /* newer */
    char peer_address[PEER_BYTES];
    char calling_ae[MD_AE_BYTES], called_ae[MD_AE_BYTES];
    char study_uid[MD_UID_BYTES], study_key[MD_STORE_KEY_BYTES];
    char patient_id[MD_IDENTITY_TEXT_BYTES];
    char action;
    unsigned n_classes;
    md_audit_class classes[MD_AUDIT_MAX_CLASSES];
} open_transfer;

typedef struct message {
    char *text;
    size_t n;
} message;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool is_running, is_stopping;
    int64_t stop_until_us;
    const md_conf *conf; /* held */
    unsigned n_reloads;  /* of conf */
    md_store *store;
    char host[HOST_BYTES];
    message queue[MD_AUDIT_QUEUE];
    unsigned first, n_queued;
    uint64_t n_dropped; /* since the last line about them */
    int64_t next_drop_line_us;
    open_transfer *oldest, **newest;
    unsigned n_open;
} trail = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the queue; the mutex is held ---- */

static bool is_on(void)
{
    return trail.is_running && trail.conf->audit.to != MD_CONF_AUDIT_OFF;
}

static void drop(void)
{
    int64_t now_us = md_clock_monotonic_us();
    md_counter_add(&md_figures_now()->audit_dropped, 1);
    trail.n_dropped++;
    if (now_us >= trail.next_drop_line_us) {
        md_log(MD_LOG_ERROR, "audit_dropped", MD_LOG_INT("messages", trail.n_dropped),
               MD_LOG_TEXT("reason", "the audit queue is full, or there is no memory"));
        trail.n_dropped = 0;
        trail.next_drop_line_us = now_us + DROP_LINE_MS * 1000LL;
    }
}

static void enqueue(const char *text, size_t n)
{
    char *copy = n > 0 && trail.n_queued < MD_AUDIT_QUEUE ? md_malloc(n + 1) : NULL;
    if (copy == NULL) {
        drop();
        return;
    }
    memcpy(copy, text, n + 1);
    trail.queue[(trail.first + trail.n_queued) % MD_AUDIT_QUEUE] = (message){copy, n};
    trail.n_queued++;
    pthread_cond_broadcast(&trail.changed);
}

static md_audit_source source_now(void)
{
    const md_conf *conf = trail.conf;
    return (md_audit_source){
        .source_id = conf->audit.source_id[0] != '\0' ? conf->audit.source_id : conf->ae.title,
        .site = conf->audit.site,
        .ae_title = conf->ae.title,
        .host = trail.host,
        .pid = (long)getpid(),
    };
}

/* ---- what the messages say; the mutex is held ---- */

/* "[2001:db8::1]" never stands there: the port follows the last colon. */
static void host_of(const char *peer_address, char ret_host[PEER_BYTES])
{
    const char *colon = strrchr(peer_address, ':');
    int n = colon != NULL ? (int)(colon - peer_address) : (int)strlen(peer_address);
    snprintf(ret_host, PEER_BYTES, "%.*s", n, peer_address);
}

static void count_class(md_audit_class *classes, unsigned *n_classes, const char *uid)
{
    unsigned i = 0;
    while (i < *n_classes && strcmp(classes[i].sop_class_uid, uid) != 0) {
        i++;
    }
    if (i == *n_classes && i < MD_AUDIT_MAX_CLASSES) {
        snprintf(classes[i].sop_class_uid, MD_AUDIT_UID_BYTES, "%s", uid);
        classes[i].n_instances = 0;
        ++*n_classes;
    }
    if (i < MD_AUDIT_MAX_CLASSES) {
        classes[i].n_instances++;
    }
}

static bool is_full(void)
{
    return trail.conf->audit.identifiers == MD_CONF_IDENTIFIERS_FULL;
}

/* The patient as the configuration lets him be told; `key` holds his hash. */
static const char *patient_as_told(const char *patient_id, char key[MD_STORE_KEY_BYTES])
{
    char marked[MD_IDENTITY_TEXT_BYTES + 8];
    /* marked, so that no patient has the hash of a study */
    snprintf(marked, sizeof marked, "patient %s", patient_id);
    md_store_hash(trail.store, marked, key);
    return patient_id[0] == '\0' ? "none" : is_full() ? patient_id : key;
}

/* Fill in who it is about, as the configuration allows, and queue. */
static void write_transfer(md_audit_transfer *transfer, const char *study_uid,
                           const char *study_key, const char *patient_id)
{
    char text[MD_AUDIT_MAX_BYTES];
    char patient_key[MD_STORE_KEY_BYTES];
    const md_audit_source source = source_now();
    transfer->study = is_full() ? study_uid : study_key;
    transfer->study_name = study_key;
    transfer->patient = patient_as_told(patient_id, patient_key);
    enqueue(text, md_audit_write_transfer(&source, md_clock_wall_ms(), transfer, text));
}

static void close_transfer(open_transfer *open)
{
    char host[PEER_BYTES];
    host_of(open->peer_address, host);
    md_audit_transfer transfer = {
        .action = open->action,
        .peer_ae_title = open->calling_ae,
        .peer_host = host,
        .own_ae_title = open->called_ae,
        .classes = open->classes,
        .n_classes = open->n_classes,
    };
    if (is_on()) {
        write_transfer(&transfer, open->study_uid, open->study_key, open->patient_id);
    }
    md_free(open);
}

/* Those of one peer, or with NULL all. */
static void close_transfers(const char *peer_address)
{
    open_transfer **at = &trail.oldest;
    while (*at != NULL) {
        open_transfer *open = *at;
        if (peer_address != NULL && strcmp(open->peer_address, peer_address) != 0) {
            at = &open->next;
            continue;
        }
        *at = open->next;
        trail.n_open--;
        close_transfer(open);
    }
    trail.newest = at;
}

static open_transfer *find_open(const md_audit_object *object)
{
    for (open_transfer *open = trail.oldest; open != NULL; open = open->next) {
        if (open->action == object->action && strcmp(open->study_key, object->study_key) == 0 &&
            strcmp(open->peer_address, object->peer_address) == 0) {
            return open;
        }
    }
    return NULL;
}

static open_transfer *add_open(const md_audit_object *object)
{
    if (trail.n_open >= MD_AUDIT_MAX_OPEN) {
        open_transfer *oldest = trail.oldest;
        trail.oldest = oldest->next;
        trail.n_open--;
        close_transfer(oldest);
    }
    open_transfer *open = md_calloc(1, sizeof *open);
    if (open == NULL) {
        return NULL;
    }
    snprintf(open->peer_address, sizeof open->peer_address, "%s", object->peer_address);
    snprintf(open->calling_ae, sizeof open->calling_ae, "%s", object->calling_ae);
    snprintf(open->called_ae, sizeof open->called_ae, "%s", object->called_ae);
    snprintf(open->study_uid, sizeof open->study_uid, "%s", object->study_uid);
    snprintf(open->study_key, sizeof open->study_key, "%s", object->study_key);
    snprintf(open->patient_id, sizeof open->patient_id, "%s", object->patient_id);
    open->action = object->action;
    if (trail.oldest == NULL) {
        trail.newest = &trail.oldest;
    }
    *trail.newest = open;
    trail.newest = &open->next;
    trail.n_open++;
    return open;
}

/* ---- the thread ---- */

/* Wait for a message, a change or until_us. The mutex is held. */
static void wait_until(int64_t until_us)
{
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&trail.changed, &trail.mutex, &until);
}

static bool time_is_over(void)
{
    return trail.is_stopping && md_clock_monotonic_us() >= trail.stop_until_us;
}

/* The sender for the configuration as it is now; NULL: audit is off, or no memory. */
static md_syslog *make_sender(void)
{
    md_syslog *made = NULL;
    md_error err = {0};
    return md_syslog_create(trail.conf, &made, &err) == MD_OK ? made : NULL;
}

/* Take the first message out of the queue. */
static void take_first(void)
{
    md_free(trail.queue[trail.first].text);
    trail.first = (trail.first + 1) % MD_AUDIT_QUEUE;
    trail.n_queued--;
}

static void tell_failure(const md_error *err, bool *is_failing)
{
    if (!*is_failing) {
        md_log(MD_LOG_ERROR, "audit_failed", MD_LOG_TEXT("reason", err->msg),
               MD_LOG_TEXT("then", "tried again"));
    }
    *is_failing = true;
}

/* Send the first message without the mutex; how long to wait before the next. */
static int64_t send_first(md_syslog *sender, int64_t wait_ms, bool *is_failing)
{
    md_error err = {0};
    const message first = trail.queue[trail.first];
    pthread_mutex_unlock(&trail.mutex);
    md_status status = sender != NULL ? md_syslog_send(sender, first.text, first.n, &err)
                                      : md_fail(&err, MD_NOMEM, "no memory to send it");
    pthread_mutex_lock(&trail.mutex);
    if (status != MD_OK && status != MD_LIMIT) {
        tell_failure(&err, is_failing);
        wait_ms *= 2;
        return wait_ms == 0 ? FIRST_WAIT_MS : wait_ms > MOST_WAIT_MS ? MOST_WAIT_MS : wait_ms;
    }
    if (status == MD_LIMIT) {
        md_log(MD_LOG_ERROR, "audit_message_refused", MD_LOG_TEXT("reason", err.msg));
        md_counter_add(&md_figures_now()->audit_dropped, 1);
    } else {
        md_counter_add(&md_figures_now()->audit_sent, 1);
        if (*is_failing) {
            md_log(MD_LOG_INFO, "audit_recovered", MD_LOG_INT("waiting", trail.n_queued - 1));
        }
        *is_failing = false;
    }
    take_first();
    return 0;
}

static void *audit_thread(void *unused)
{
    (void)unused;
    int64_t wait_ms = 0;
    bool is_failing = false;
    pthread_mutex_lock(&trail.mutex);
    unsigned seen = trail.n_reloads;
    md_syslog *sender = make_sender();
    while (!time_is_over() && !(trail.is_stopping && trail.n_queued == 0)) {
        if (seen != trail.n_reloads) {
            seen = trail.n_reloads;
            md_syslog_destroy(sender);
            sender = make_sender();
            wait_ms = 0;
        }
        while (trail.conf->audit.to == MD_CONF_AUDIT_OFF && trail.n_queued > 0) {
            md_counter_add(&md_figures_now()->audit_dropped, 1);
            take_first();
        }
        if (trail.n_queued == 0) {
            if (trail.is_stopping) {
                break;
            }
            pthread_cond_wait(&trail.changed, &trail.mutex);
            continue;
        }
        wait_ms = send_first(sender, wait_ms, &is_failing);
        int64_t until_us = md_clock_monotonic_us() + wait_ms * 1000;
        while (wait_ms > 0 && md_clock_monotonic_us() < until_us && seen == trail.n_reloads &&
               !time_is_over()) {
            bool is_last = trail.is_stopping && trail.stop_until_us < until_us;
            wait_until(is_last ? trail.stop_until_us : until_us);
        }
    }
    pthread_mutex_unlock(&trail.mutex);
    md_syslog_destroy(sender);
    return NULL;
}

/* ---- for others ---- */

md_status md_audit_start(const md_conf *conf, md_store *store, md_error *err)
{
    pthread_condattr_t monotonic;
    MD_TRY(md_conf_share(conf, &trail.conf, err));
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&trail.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    trail.store = store;
    trail.newest = &trail.oldest;
    trail.is_stopping = false;
    if (gethostname(trail.host, sizeof trail.host) != 0) {
        trail.host[0] = '\0';
    }
    trail.host[sizeof trail.host - 1] = '\0';
    int os_errno = pthread_create(&trail.thread, NULL, audit_thread, NULL);
    if (os_errno != 0) {
        pthread_cond_destroy(&trail.changed);
        md_conf_drop(trail.conf);
        trail.conf = NULL;
        return md_fail_os(err, os_errno, "start the thread of the audit trail");
    }
    pthread_mutex_lock(&trail.mutex);
    trail.is_running = true;
    pthread_mutex_unlock(&trail.mutex);
    return MD_OK;
}

void md_audit_reload(const md_conf *conf)
{
    const md_conf *shared = NULL;
    md_error err = {0};
    if (md_conf_share(conf, &shared, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "audit_failed", MD_LOG_TEXT("reason", err.msg),
               MD_LOG_TEXT("then", "the earlier configuration stays"));
        return;
    }
    pthread_mutex_lock(&trail.mutex);
    if (trail.is_running) {
        const md_conf *before = trail.conf;
        trail.conf = shared;
        shared = before;
        trail.n_reloads++;
        pthread_cond_broadcast(&trail.changed);
    }
    pthread_mutex_unlock(&trail.mutex);
    md_conf_drop(shared);
}

void md_audit_stop(unsigned grace_ms)
{
    pthread_mutex_lock(&trail.mutex);
    bool was_running = trail.is_running;
    if (was_running) {
        close_transfers(NULL);
        trail.is_running = false;
        trail.is_stopping = true;
        trail.stop_until_us = md_clock_monotonic_us() + (int64_t)grace_ms * 1000;
        pthread_cond_broadcast(&trail.changed);
    }
    pthread_mutex_unlock(&trail.mutex);
    if (!was_running) {
        return;
    }
    pthread_join(trail.thread, NULL);
    if (trail.n_queued > 0) {
        md_log(MD_LOG_ERROR, "audit_dropped", MD_LOG_INT("messages", trail.n_queued),
               MD_LOG_TEXT("reason", "not sent before the end"));
    }
    while (trail.n_queued > 0) {
        take_first();
    }
    while (trail.oldest != NULL) {
        open_transfer *open = trail.oldest;
        trail.oldest = open->next;
        md_free(open);
    }
    trail.n_open = 0;
    pthread_cond_destroy(&trail.changed);
    md_conf_drop(trail.conf);
    trail.conf = NULL;
}

void md_audit_application(bool is_start)
{
    char text[MD_AUDIT_MAX_BYTES];
    pthread_mutex_lock(&trail.mutex);
    if (is_on()) {
        const md_audit_source source = source_now();
        const md_audit_application_event event = {.is_start = is_start};
        enqueue(text, md_audit_write_application(&source, md_clock_wall_ms(), &event, text));
    }
    pthread_mutex_unlock(&trail.mutex);
}

void md_audit_received(const md_audit_object *object)
{
    pthread_mutex_lock(&trail.mutex);
    if (is_on()) {
        open_transfer *open = find_open(object);
        open = open != NULL ? open : add_open(object);
        if (open != NULL) {
            count_class(open->classes, &open->n_classes, object->sop_class_uid);
        } else {
            drop();
        }
    }
    pthread_mutex_unlock(&trail.mutex);
}

void md_audit_association_done(const char *peer_address)
{
    pthread_mutex_lock(&trail.mutex);
    close_transfers(peer_address);
    pthread_mutex_unlock(&trail.mutex);
}

/* Who a file of our own is. */
static bool read_identity(const char *path, md_identity *ret_identity)
{
    md_part10 head;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    bool good = md_part10_read(fd, &head, NULL) == MD_OK &&
                md_identity_read(fd, head.dataset_offset_bytes,
                                 md_transfer_syntax_encoding(head.transfer_syntax_uid),
                                 FILE_CHECK_MAX_BYTES, ret_identity, NULL) == MD_OK;
    close(fd);
    return good;
}

void md_audit_sent(const md_audit_sending *sending)
{
    md_audit_class classes[MD_AUDIT_MAX_CLASSES];
    md_identity identity = {0};
    unsigned n_classes = 0;
    pthread_mutex_lock(&trail.mutex);
    bool wanted = is_on();
    pthread_mutex_unlock(&trail.mutex);
    for (size_t i = 0; wanted && i < sending->n; i++) {
        if (sending->paths[i] != NULL && read_identity(sending->paths[i], &identity)) {
            count_class(classes, &n_classes, identity.sop_class_uid);
        }
    }
    if (n_classes == 0) {
        return;
    }
    md_audit_transfer transfer = {
        .is_sent = true,
        .action = 'R',
        .is_failed = sending->is_failed,
        .peer_ae_title = sending->peer_ae,
        .peer_host = sending->peer_host,
        .own_ae_title = sending->own_ae,
        .classes = classes,
        .n_classes = n_classes,
    };
    pthread_mutex_lock(&trail.mutex);
    if (is_on()) {
        write_transfer(&transfer, identity.study_instance_uid, sending->study_key,
                       identity.patient_id);
    }
    pthread_mutex_unlock(&trail.mutex);
}

void md_audit_alert(const char *peer_address, const char *reason)
{
    char text[MD_AUDIT_MAX_BYTES];
    char host[PEER_BYTES];
    host_of(peer_address, host);
    pthread_mutex_lock(&trail.mutex);
    if (is_on()) {
        const md_audit_source source = source_now();
        const md_audit_alert_event event = {.peer_host = host, .reason = reason};
        enqueue(text, md_audit_write_alert(&source, md_clock_wall_ms(), &event, text));
    }
    pthread_mutex_unlock(&trail.mutex);
}

void md_audit_decision(const md_audit_decision_event *event)
{
    char text[MD_AUDIT_MAX_BYTES];
    char key[MD_STORE_KEY_BYTES];
    pthread_mutex_lock(&trail.mutex);
    if (is_on()) {
        const md_audit_source source = source_now();
        const md_audit_record record = {
            .user = event->reader,
            .study = is_full() ? event->study_uid : event->study_key,
            .patient = patient_as_told(event->patient_id, key),
            .action = event->action,
            .decision = event->decision,
        };
        enqueue(text, md_audit_write_record(&source, md_clock_wall_ms(), &record, text));
    }
    pthread_mutex_unlock(&trail.mutex);
}
