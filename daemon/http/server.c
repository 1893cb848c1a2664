#include "daemon/http/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/http/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 64,
    CROWDED = 48,             /* from here on the oldest goes when one comes */
    MEMORY_BYTES = 16 * 1024, /* of a connection: URL, head and answer's head */
    SILENCE_S = 5,
    LIFETIME_MS = 10000,
    LOOK_EVERY_MS = 200,
    BACKLOG = 128,
};

/* An open connection; only its server's thread touches it. */
typedef struct client {
    int fd; /* -1: free */
    int64_t since_ms;
    bool is_shut;
} client;

typedef struct server {
    md_http *owner;
    bool is_local;
    struct MHD_Daemon *daemon; /* owns the listening socket */
    client clients[MAX_CONNECTIONS];
    pthread_t thread;
    bool has_thread;
    atomic_bool stopping;
} server;

struct md_http {
    pthread_mutex_t mutex;
    md_http_service service; /* its conf is held, and under the mutex */
    server local, open;
    int folder_fd;
};

static int64_t now_ms(void)
{
    return md_clock_monotonic_us() / 1000;
}

/* ---- connections ---- */

/* End it: its client sees the end of the stream, and MHD the same of its client. */
static void shut(client *each)
{
    if (each->fd >= 0 && !each->is_shut) {
        (void)shutdown(each->fd, SHUT_RDWR);
        each->is_shut = true;
    }
}

static void admit(server *now, int fd)
{
    client *place = NULL;
    client *oldest = NULL;
    unsigned n_open = 0;
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        client *each = &now->clients[i];
        if (each->fd < 0) {
            place = each;
        } else if (!each->is_shut) {
            n_open++;
            oldest = oldest == NULL || each->since_ms < oldest->since_ms ? each : oldest;
        }
    }
    if (n_open >= CROWDED) {
        shut(oldest);
    }
    if (place != NULL) { /* always: MHD keeps the limit */
        *place = (client){.fd = fd, .since_ms = now_ms()};
    }
}

static void on_connection(void *context, struct MHD_Connection *connection,
                          void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    server *now = context;
    (void)socket_context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL) {
        return;
    }
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        admit(now, info->connect_fd);
        return;
    }
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        if (now->clients[i].fd == info->connect_fd) {
            now->clients[i].fd = -1;
        }
    }
}

static void end_old_ones(server *now)
{
    int64_t limit_ms = now_ms() - LIFETIME_MS;
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        if (now->clients[i].since_ms < limit_ms) {
            shut(&now->clients[i]);
        }
    }
}

/* ---- requests ---- */

static bool has_body(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *encoding = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                       MHD_HTTP_HEADER_TRANSFER_ENCODING);
    return encoding != NULL || (length != NULL && strcmp(length, "0") != 0);
}

static const char *query(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result send_response(struct MHD_Connection *connection,
                                     const md_http_response *answer)
{
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(
        answer->n_bytes, answer->body, md_free);
    if (response == NULL) {
        md_free(answer->body);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (answer->allow != NULL) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    }
    enum MHD_Result result = MHD_queue_response(connection, answer->code, response);
    MHD_destroy_response(response);
    return result;
}

/* The body of the one request that may have one. */
typedef struct arrival {
    char *bytes;
    size_t n, n_room;
    bool is_refused; /* too large, or no memory */
} arrival;

static void take_part(arrival *body, const char *part, size_t n)
{
    if (n > (size_t)MD_HTTP_MAX_BODY_BYTES - body->n) {
        body->is_refused = true;
    }
    if (!body->is_refused && body->n + n > body->n_room) {
        size_t n_room = 2 * (body->n + n);
        char *grown = md_realloc(body->bytes, n_room);
        body->is_refused = grown == NULL;
        body->bytes = grown != NULL ? grown : body->bytes;
        body->n_room = grown != NULL ? n_room : body->n_room;
    }
    if (!body->is_refused) {
        memcpy(body->bytes + body->n, part, n);
        body->n += n;
    }
}

static void on_end(void *context, struct MHD_Connection *connection, void **request_context,
                   enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    arrival *body = *request_context;
    if (body != NULL) {
        md_free(body->bytes);
        md_free(body);
    }
    *request_context = NULL;
}

/* Called first when the head is there; the answer is made at once, and no body is waited for
 * but that of the one request that may have one. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *url, const char *method, const char *version,
                                  const char *body, size_t *body_bytes, void **request_context)
{
    const server *now = context;
    arrival *arrived = *request_context;
    (void)version;
    bool takes_body = md_http_takes_body(now->is_local, method, url);
    if (takes_body && arrived == NULL) {
        *request_context = arrived = md_calloc(1, sizeof *arrived);
        return arrived != NULL ? MHD_YES : MHD_NO;
    }
    if (takes_body && *body_bytes > 0) {
        take_part(arrived, body, *body_bytes);
        *body_bytes = 0;
        return MHD_YES;
    }
    const md_http_request request = {
        .method = method,
        .path = url,
        .state = query(connection, "state"),
        .limit = query(connection, "limit"),
        .before = query(connection, "before"),
        .days = query(connection, "days"),
        .model = query(connection, "model"),
        .finding = query(connection, "finding"),
        .reader = query(connection, "reader"),
        .action = query(connection, "action"),
        .is_local = now->is_local,
        .has_body = takes_body ? arrived->is_refused : has_body(connection),
        .body = takes_body ? arrived->bytes : NULL,
        .body_bytes = takes_body ? arrived->n : 0,
    };
    md_http_response answer;
    md_error err = {0};
    pthread_mutex_lock(&now->owner->mutex);
    md_http_service service = now->owner->service;
    service.conf = md_conf_hold(service.conf);
    pthread_mutex_unlock(&now->owner->mutex);
    md_status status = md_http_answer(&service, &request, &answer, &err);
    md_conf_drop(service.conf);
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "http_failed", MD_LOG_TEXT("reason", err.msg));
        return MHD_NO; /* the connection is closed */
    }
    return send_response(connection, &answer);
}

static void *server_thread(void *argument)
{
    server *now = argument;
    while (!atomic_load(&now->stopping)) {
        if (MHD_run_wait(now->daemon, LOOK_EVERY_MS) != MHD_YES) {
            const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
            (void)nanosleep(&pause, NULL);
        }
        end_old_ones(now);
    }
    return NULL;
}

/* ---- sockets ---- */

static md_status listen_here(int fd, const struct sockaddr *address, socklen_t n_bytes,
                             const char *name, md_error *err)
{
    if (bind(fd, address, n_bytes) != 0 || listen(fd, BACKLOG) != 0) {
        return md_fail_os(err, errno, "http: listen on %s", name);
    }
    return MD_OK;
}

/* The name of a socket is short, a folder's may be long: it is named by its descriptor. The
 * mode is set before the bind, so that there is no moment at which others may connect. */
static md_status open_local(md_http *http, int *ret_fd, md_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *folder = http->service.conf->storage.path;
    http->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (http->folder_fd < 0) {
        return md_fail_os(err, errno, "http: %s", folder);
    }
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" MD_HTTP_SOCKET_NAME,
             http->folder_fd);
    /* what an earlier run left; the lock of the store says that no other one is alive */
    (void)unlinkat(http->folder_fd, MD_HTTP_SOCKET_NAME, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return md_fail_os(err, errno, "http: a socket");
    }
    md_status status = MD_OK;
    if (fchmod(fd, 0600) != 0) {
        status = md_fail_os(err, errno, "http: the mode of a socket");
    } else {
        status = listen_here(fd, (const struct sockaddr *)&address, sizeof address,
                             MD_HTTP_SOCKET_NAME " in the storage folder", err);
    }
    if (status != MD_OK) {
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return MD_OK;
}

/* Takes the descriptor over, also when it fails. */
static md_status start_server(server *now, int listen_fd, md_error *err)
{
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        now->clients[i].fd = -1;
    }
    now->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, now, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, on_connection, now,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_END);
    if (now->daemon == NULL) {
        close(listen_fd);
        return md_fail(err, MD_IO, "http: the server does not start");
    }
    int os_errno = pthread_create(&now->thread, NULL, server_thread, now);
    now->has_thread = os_errno == 0;
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "http: start a thread");
}

static void stop_server(server *now)
{
    atomic_store(&now->stopping, true);
    if (now->has_thread) {
        pthread_join(now->thread, NULL);
    }
    if (now->daemon != NULL) {
        MHD_stop_daemon(now->daemon);
    }
}

static md_status start_all(md_http *http, md_error *err)
{
    int fd = -1;
    MD_TRY(open_local(http, &fd, err));
    MD_TRY(start_server(&http->local, fd, err));
    if (http->service.conf->http.port == 0) {
        return MD_OK;
    }
    const md_conf *conf = http->service.conf;
    MD_TRY(md_http_listen("http", conf->http.bind, conf->http.port, &fd, err));
    return start_server(&http->open, fd, err);
}

md_status md_http_start(const md_http_service *service, md_http **ret_http, md_error *err)
{
    md_http *http = md_calloc(1, sizeof *http);
    if (http == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the HTTP server");
    }
    pthread_mutex_init(&http->mutex, NULL);
    http->service = *service;
    http->service.conf = NULL;
    http->folder_fd = -1;
    http->local.owner = http;
    http->local.is_local = true;
    http->open.owner = http;
    md_status status = md_conf_share(service->conf, &http->service.conf, err);
    if (status == MD_OK) {
        status = start_all(http, err);
    }
    if (status != MD_OK) {
        md_http_stop(http);
        return status;
    }
    *ret_http = http;
    return MD_OK;
}

void md_http_reload(md_http *http, const md_conf *shared)
{
    pthread_mutex_lock(&http->mutex);
    const md_conf *before = http->service.conf;
    http->service.conf = md_conf_hold(shared);
    pthread_mutex_unlock(&http->mutex);
    md_conf_drop(before);
}

void md_http_stop(md_http *http)
{
    if (http == NULL) {
        return;
    }
    stop_server(&http->open);
    if (http->folder_fd >= 0) {
        (void)unlinkat(http->folder_fd, MD_HTTP_SOCKET_NAME, 0);
        close(http->folder_fd);
    }
    stop_server(&http->local);
    md_conf_drop(http->service.conf);
    pthread_mutex_destroy(&http->mutex);
    md_free(http);
}
