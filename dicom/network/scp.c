#include "dicom/network/scp.h"

#include "base/clock.h"
#include "dicom/network/association.h"
#include "dicom/network/buffers.h"
#include "dicom/network/gate.h"
#include "dicom/network/wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_ASSOCIATIONS = 4096,
    MIN_PDU_BYTES = 4096,
    MAX_PDU_BYTES = 16 * 1024 * 1024,
    MAX_TIMEOUT_S = 3600,
    SPOOL_PATH_BYTES = 960,    /* the longest folder below which an object's name still fits */
    STACK_BYTES = 1024 * 1024, /* the callback runs on it; untouched pages cost nothing */
};

/* What an association works with from its start to its end. */
typedef struct settings {
    md_scp_options options; /* texts point to the copies below */
    char ae_title[MD_AE_BYTES];
    char spool_folder[SPOOL_PATH_BYTES];
    md_caller *callers; /* of all titles */
    unsigned n_users; /* under the SCP's mutex: associations, and the SCP while it is current */
} settings;

struct md_scp {
    md_scp_options options; /* as they were at the start, without what settings hold */
    md_tls *tls;            /* of the gate's thread */
    md_gate gate;
    int listen_fd, stop_fd;
    uint16_t port;
    md_buffers buffers;
    pthread_t gate_thread;

    pthread_mutex_t mutex; /* for all that follows */
    settings *current;
    md_tls *next_tls;    /* to be used from now on; NULL: no other */
    pthread_cond_t work; /* there is a client, or quit */
    pthread_cond_t rest; /* an association has ended */
    bool ending;         /* the grace is over: associations are cut */
    bool quit;
    unsigned n_active;    /* associations: waiting for a thread or with one */
    unsigned n_idle;      /* threads without an association, also those about to start */
    unsigned n_threads;   /* started */
    pthread_t *threads;   /* max_associations */
    int *sockets;         /* of thread i's association, -1: none */
    md_gate_client *line; /* clients that wait for a thread: a ring of max_associations */
    unsigned first, n_waiting;
};

typedef struct thread_start {
    md_scp *scp;
    unsigned index;
} thread_start;

static void settings_destroy(settings *made)
{
    if (made != NULL) {
        md_free(made->callers);
        md_free(made);
    }
}

/* One user less; the mutex is held. */
static void settings_drop(settings *used)
{
    if (used != NULL && --used->n_users == 0) {
        settings_destroy(used);
    }
}

static md_status check_callers(const md_caller *callers, unsigned n, md_error *err)
{
    for (unsigned i = 0; i < n; i++) {
        MD_TRY(md_caller_check(&callers[i], err));
    }
    return MD_OK;
}

/* A copy at *room, which moves on. */
static const md_caller *copy_callers(const md_caller *from, unsigned n, md_caller **room)
{
    const md_caller *copy = *room;
    for (unsigned i = 0; i < n; i++) {
        *(*room)++ = from[i];
    }
    return copy;
}

/* Our own copies. */
static md_status settings_create(const md_scp_options *options, settings **ret_settings,
                                 md_error *err)
{
    unsigned n = options->n_allowed_callers + 1;
    if (options->n_titles > MD_SCP_MAX_TITLES) {
        return md_fail(err, MD_INVALID_ARG, "%u further AE titles, at most %d",
                       options->n_titles, MD_SCP_MAX_TITLES);
    }
    MD_TRY(check_callers(options->allowed_callers, options->n_allowed_callers, err));
    for (unsigned i = 0; i < options->n_titles; i++) {
        const md_scp_title *title = &options->titles[i];
        MD_TRY(check_callers(title->allowed_callers, title->n_allowed_callers, err));
        n += title->n_allowed_callers;
    }
    settings *made = md_calloc(1, sizeof *made);
    md_caller *callers = md_calloc(n, sizeof *callers);
    if (made == NULL || callers == NULL) {
        md_free(callers);
        md_free(made);
        return md_fail(err, MD_NOMEM, "no memory for %u allowed callers", n);
    }
    made->options = *options;
    made->callers = callers;
    made->options.allowed_callers =
        copy_callers(options->allowed_callers, options->n_allowed_callers, &callers);
    for (unsigned i = 0; i < options->n_titles; i++) {
        made->options.titles[i].allowed_callers = copy_callers(
            options->titles[i].allowed_callers, options->titles[i].n_allowed_callers, &callers);
    }
    snprintf(made->ae_title, sizeof made->ae_title, "%s", options->ae_title);
    snprintf(made->spool_folder, sizeof made->spool_folder, "%s", options->spool_folder);
    made->options.ae_title = made->ae_title;
    made->options.spool_folder = made->spool_folder;
    made->options.bind_address = NULL; /* these two are not used after the start */
    made->options.tls = NULL;
    made->n_users = 1;
    *ret_settings = made;
    return MD_OK;
}

static void serve(md_scp *scp, settings *mine, unsigned index, md_gate_client *client)
{
    md_wire wire;
    md_error err = {0};
    if (md_wire_init(&wire, client->fd, mine->options.association_timeout_s, &err) != MD_OK) {
        md_tls_session_destroy(client->tls);
        close(client->fd);
        md_free(client->request);
        if (scp->options.on_event != NULL) {
            scp->options.on_event(scp->options.context, "association_aborted",
                                  client->peer_address, err.msg);
        }
        return;
    }
    wire.tls = client->tls;
    const md_association_setup setup = {
        .options = &mine->options,
        .buffers = &scp->buffers,
        .stop_fd = scp->stop_fd,
        .peer_address = client->peer_address,
        .request = client->request,
        .request_bytes = client->request_bytes,
    };
    pthread_mutex_lock(&scp->mutex);
    scp->sockets[index] = wire.fd;
    if (scp->ending) {
        (void)shutdown(wire.fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&scp->mutex);
    md_association_serve(&setup, &wire);
    pthread_mutex_lock(&scp->mutex);
    scp->sockets[index] = -1; /* before the number can belong to another file */
    pthread_mutex_unlock(&scp->mutex);
    md_wire_finish(&wire);
    md_free(client->request);
}

static void *pool_thread(void *argument)
{
    thread_start start = *(thread_start *)argument;
    md_free(argument);
    md_scp *scp = start.scp;
    pthread_mutex_lock(&scp->mutex);
    for (;;) {
        while (scp->n_waiting == 0 && !scp->quit) {
            pthread_cond_wait(&scp->work, &scp->mutex);
        }
        if (scp->n_waiting == 0) {
            break;
        }
        scp->n_idle--;
        md_gate_client client = scp->line[scp->first];
        scp->first = (scp->first + 1) % scp->options.max_associations;
        scp->n_waiting--;
        settings *mine = scp->current;
        mine->n_users++;
        pthread_mutex_unlock(&scp->mutex);
        serve(scp, mine, start.index, &client);
        pthread_mutex_lock(&scp->mutex);
        settings_drop(mine);
        scp->n_active--;
        scp->n_idle++;
        pthread_cond_signal(&scp->rest);
    }
    pthread_mutex_unlock(&scp->mutex);
    return NULL;
}

/* Start one more thread; the mutex is held. */
static bool add_thread(md_scp *scp)
{
    thread_start *start = md_malloc(sizeof *start);
    pthread_attr_t attributes;
    if (start == NULL || pthread_attr_init(&attributes) != 0) {
        md_free(start);
        return false;
    }
    *start = (thread_start){scp, scp->n_threads};
    bool started =
        pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
        pthread_create(&scp->threads[scp->n_threads], &attributes, pool_thread, start) == 0;
    (void)pthread_attr_destroy(&attributes);
    if (started) {
        scp->n_threads++;
        scp->n_idle++;
    } else {
        md_free(start);
    }
    return started;
}

/* From the gate: one more association, if there is room. */
static bool take_client(void *context, const md_gate_client *client)
{
    md_scp *scp = context;
    bool taken = false;
    pthread_mutex_lock(&scp->mutex);
    if (scp->n_active < scp->options.max_associations) {
        /* n_idle <= n_waiting makes n_threads = n_idle + busy <= n_active < max_associations:
         * there is room for one more, and whoever waits gets a thread at once */
        bool has_thread = scp->n_idle > scp->n_waiting || add_thread(scp);
        if (has_thread || scp->n_threads > 0) {
            unsigned last = (scp->first + scp->n_waiting) % scp->options.max_associations;
            scp->line[last] = *client;
            scp->n_waiting++;
            scp->n_active++;
            pthread_cond_signal(&scp->work);
            taken = true;
        }
    }
    pthread_mutex_unlock(&scp->mutex);
    return taken;
}

static void *gate_thread(void *argument)
{
    md_scp *scp = argument;
    md_error err = {0};
    if (md_gate_run(&scp->gate, &err) != MD_OK && scp->options.on_event != NULL) {
        scp->options.on_event(scp->options.context, "listener_failed", "", err.msg);
    }
    return NULL;
}

static md_status check_options(const md_scp_options *options, md_error *err)
{
    struct stat info;
    if (options->ae_title == NULL || options->spool_folder == NULL ||
        options->on_object == NULL) {
        return md_fail(err, MD_INVALID_ARG, "AE title, spool folder and callback are needed");
    }
    size_t ae_length = strlen(options->ae_title);
    if (ae_length == 0 || ae_length >= MD_AE_BYTES) {
        return md_fail(err, MD_INVALID_ARG, "an AE title has 1 to 16 characters, not %zu",
                       ae_length);
    }
    if (options->max_associations == 0 || options->max_associations > MAX_ASSOCIATIONS) {
        return md_fail(err, MD_INVALID_ARG, "%u associations, not in 1..%d",
                       options->max_associations, MAX_ASSOCIATIONS);
    }
    if (options->max_pdu_bytes < MIN_PDU_BYTES || options->max_pdu_bytes > MAX_PDU_BYTES) {
        return md_fail(err, MD_INVALID_ARG, "PDUs of %u bytes, not in %d..%d",
                       options->max_pdu_bytes, MIN_PDU_BYTES, MAX_PDU_BYTES);
    }
    if (options->association_timeout_s == 0 || options->association_timeout_s > MAX_TIMEOUT_S) {
        return md_fail(err, MD_INVALID_ARG, "a time-out of %u s, not in 1..%d",
                       options->association_timeout_s, MAX_TIMEOUT_S);
    }
    if (options->max_object_bytes == 0) {
        return md_fail(err, MD_INVALID_ARG, "objects of 0 bytes at most");
    }
    for (size_t i = 0; i < options->n_services; i++) {
        if (options->services[i].on_request == NULL) {
            return md_fail(err, MD_INVALID_ARG, "a service without a callback");
        }
    }
    if (strlen(options->spool_folder) >= SPOOL_PATH_BYTES) {
        return md_fail(err, MD_INVALID_ARG, "the spool folder's name is longer than %d bytes",
                       SPOOL_PATH_BYTES - 1);
    }
    if (stat(options->spool_folder, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return md_fail(err, MD_INVALID_ARG, "%s: is no folder", options->spool_folder);
    }
    return MD_OK;
}

/* For the gate, on its thread. */
static const md_tls *tls_now(void *context)
{
    md_scp *scp = context;
    pthread_mutex_lock(&scp->mutex);
    md_tls *next = scp->next_tls;
    scp->next_tls = NULL;
    pthread_mutex_unlock(&scp->mutex);
    if (next != NULL) {
        md_tls_destroy(scp->tls);
        scp->tls = next;
    }
    return scp->tls;
}

/* Memory and descriptors, none of them started. A failure is undone by release. */
static md_status prepare(md_scp *scp, const md_scp_options *options, md_error *err)
{
    unsigned n = options->max_associations;
    scp->listen_fd = options->has_bound_fd ? options->bound_fd : -1;
    scp->stop_fd = -1;
    scp->options = *options;
    scp->options.ae_title = NULL; /* these are read in settings, or not after the start */
    scp->options.spool_folder = NULL;
    scp->options.bind_address = NULL;
    scp->options.allowed_callers = NULL;
    scp->options.tls = NULL;
    scp->threads = md_calloc(n, sizeof *scp->threads);
    scp->sockets = md_calloc(n, sizeof *scp->sockets);
    scp->line = md_calloc(n, sizeof *scp->line);
    if (scp->threads == NULL || scp->sockets == NULL || scp->line == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u associations", n);
    }
    for (unsigned i = 0; i < n; i++) {
        scp->sockets[i] = -1;
    }
    MD_TRY(settings_create(options, &scp->current, err));
    if (options->tls != NULL) {
        MD_TRY(md_tls_create_server(options->tls, &scp->tls, err));
    }
    scp->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (scp->stop_fd < 0) {
        return md_fail_os(err, errno, "eventfd");
    }
    if (scp->listen_fd < 0) {
        MD_TRY(md_gate_bind(options->bind_address, options->port, &scp->listen_fd, err));
    }
    MD_TRY(md_gate_listen(scp->listen_fd, &scp->port, err));
    scp->gate = (md_gate){
        .listen_fd = scp->listen_fd,
        .stop_fd = scp->stop_fd,
        .has_tls = scp->tls != NULL,
        .tls_now = tls_now,
        .timeout_s = options->association_timeout_s,
        .on_client = take_client,
        .client_context = scp,
        .on_event = options->on_event,
        .event_context = options->context,
    };
    return MD_OK;
}

static void release(md_scp *scp)
{
    if (scp->listen_fd >= 0) {
        close(scp->listen_fd);
    }
    if (scp->stop_fd >= 0) {
        close(scp->stop_fd);
    }
    pthread_cond_destroy(&scp->work);
    pthread_cond_destroy(&scp->rest);
    pthread_mutex_destroy(&scp->mutex);
    md_buffers_finish(&scp->buffers);
    md_tls_destroy(scp->tls);
    md_tls_destroy(scp->next_tls);
    settings_destroy(scp->current);
    md_free(scp->threads);
    md_free(scp->sockets);
    md_free(scp->line);
    md_free(scp);
}

md_status md_scp_bind(const char *bind_address, uint16_t port, int *ret_fd, md_error *err)
{
    return md_gate_bind(bind_address, port, ret_fd, err);
}

md_status md_scp_start(const md_scp_options *options, md_scp **ret_scp, md_error *err)
{
    md_status good = check_options(options, err);
    md_scp *scp = good == MD_OK ? md_calloc(1, sizeof *scp) : NULL;
    if (scp == NULL && options->has_bound_fd) {
        close(options->bound_fd);
    }
    if (good != MD_OK) {
        return good;
    }
    if (scp == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the listener");
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&scp->mutex, NULL);
    md_buffers_init(&scp->buffers);
    pthread_cond_init(&scp->work, NULL);
    pthread_cond_init(&scp->rest, &monotonic);
    pthread_condattr_destroy(&monotonic);
    md_status status = prepare(scp, options, err);
    if (status == MD_OK) {
        int os_errno = pthread_create(&scp->gate_thread, NULL, gate_thread, scp);
        if (os_errno != 0) {
            status = md_fail_os(err, os_errno, "start the listener's thread");
        }
    }
    if (status != MD_OK) {
        release(scp);
        return status;
    }
    *ret_scp = scp;
    return MD_OK;
}

md_status md_scp_change(md_scp *scp, const md_scp_options *options, md_error *err)
{
    settings *made = NULL;
    md_tls *tls = NULL;
    MD_TRY(check_options(options, err));
    MD_TRY(settings_create(options, &made, err));
    if (scp->gate.has_tls && options->tls != NULL) {
        md_status status = md_tls_create_server(options->tls, &tls, err);
        if (status != MD_OK) {
            settings_destroy(made);
            return status;
        }
    }
    made->options.max_associations = scp->options.max_associations;
    pthread_mutex_lock(&scp->mutex);
    settings *before = scp->current;
    scp->current = made;
    settings_drop(before);
    if (tls != NULL) {
        md_tls *unused = scp->next_tls;
        scp->next_tls = tls;
        tls = unused;
    }
    pthread_mutex_unlock(&scp->mutex);
    md_tls_destroy(tls);
    return MD_OK;
}

uint16_t md_scp_port(const md_scp *scp)
{
    return scp->port;
}

/* Wait until no association runs, at most until the deadline. The mutex is held. */
static void wait_for_rest(md_scp *scp, const struct timespec *deadline)
{
    while (scp->n_active > 0) {
        if (deadline == NULL) {
            pthread_cond_wait(&scp->rest, &scp->mutex);
        } else if (pthread_cond_timedwait(&scp->rest, &scp->mutex, deadline) == ETIMEDOUT) {
            return;
        }
    }
}

void md_scp_stop(md_scp *scp, unsigned grace_ms)
{
    if (scp == NULL) {
        return;
    }
    const uint64_t one = 1;
    struct timespec deadline = {0};
    (void)!write(scp->stop_fd, &one, sizeof one);
    pthread_join(scp->gate_thread, NULL);
    /* who has connected and was not accepted must not wait for the grace to end */
    close(scp->listen_fd);
    scp->listen_fd = -1;
    int64_t until_us = md_clock_monotonic_us() + (int64_t)grace_ms * 1000;
    deadline.tv_sec = until_us / 1000000;
    deadline.tv_nsec = until_us % 1000000 * 1000;
    pthread_mutex_lock(&scp->mutex);
    wait_for_rest(scp, &deadline);
    scp->ending = true;
    for (unsigned i = 0; i < scp->n_threads; i++) {
        if (scp->sockets[i] >= 0) {
            (void)shutdown(scp->sockets[i], SHUT_RDWR);
        }
    }
    wait_for_rest(scp, NULL);
    scp->quit = true;
    pthread_cond_broadcast(&scp->work);
    unsigned n_threads = scp->n_threads;
    pthread_mutex_unlock(&scp->mutex);
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(scp->threads[i], NULL);
    }
    release(scp);
}
