#include "daemon/web/web_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/http/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 256,
    MAX_STREAMS = 64, /* browsers that wait for events */
    MEMORY_BYTES = 16 * 1024,
    SILENCE_S = 30,
    LOOK_EVERY_MS = 300,
    SIGN_OF_LIFE_MS = 15000,
    MAX_PEM_BYTES = 256 * 1024
};

/* A browser that waits for events. Its connection sleeps until there is one. */
typedef struct stream {
    md_web *web;
    struct MHD_Connection *connection;
    bool used, sleeps;
    uint64_t seen; /* version that it was told of */
    int64_t told_ms;
} stream;

struct md_web {
    md_http_service service;
    md_sessions *sessions;
    struct MHD_Daemon *daemon;
    uint16_t port;
    pthread_mutex_t mutex; /* streams and the configuration */
    const md_conf *conf;   /* held */
    stream streams[MAX_STREAMS];
    pthread_t ticker;
    bool has_ticker;
    atomic_bool stopping;
    char *certificate, *private_key;
};

/* What is collected of one request until its body is there. */
typedef struct arrival {
    size_t n;
    bool too_large;
    int upload_fd; /* an unnamed file that takes the body instead; -1 */
    uint64_t upload_bytes;
    char body[MD_WEB_MAX_BODY_BYTES + 1];
} arrival;

static int64_t now_ms(void)
{
    return md_clock_monotonic_us() / 1000;
}

/* ---- events ---- */

/* The next bytes of a stream; called by MHD's thread. */
static ssize_t next_event(void *context, uint64_t position, char *buffer, size_t room)
{
    stream *s = context;
    md_web *web = s->web;
    ssize_t n = 0;
    (void)position;
    pthread_mutex_lock(&web->mutex);
    /* under the mutex: who goes to sleep after the stop has woken all would sleep for ever */
    if (atomic_load(&web->stopping)) {
        pthread_mutex_unlock(&web->mutex);
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    uint64_t version = md_store_version(web->service.store);
    int64_t time_ms = now_ms();
    if (version != s->seen || s->told_ms == 0) {
        n = snprintf(buffer, room, "event: change\ndata: %llu\n\n",
                     (unsigned long long)version);
    } else if (time_ms - s->told_ms >= SIGN_OF_LIFE_MS) {
        n = snprintf(buffer, room, ": still here\n\n");
    } else {
        s->sleeps = true;
        MHD_suspend_connection(s->connection);
    }
    if (n > 0) {
        s->seen = version;
        s->told_ms = time_ms;
    }
    pthread_mutex_unlock(&web->mutex);
    return n < 0 || (size_t)n >= room ? 0 : n;
}

static void end_stream(void *context)
{
    stream *s = context;
    md_web *web = s->web;
    pthread_mutex_lock(&web->mutex);
    *s = (stream){0};
    pthread_mutex_unlock(&web->mutex);
}

static stream *begin_stream(md_web *web, struct MHD_Connection *connection)
{
    stream *found = NULL;
    pthread_mutex_lock(&web->mutex);
    for (unsigned i = 0; i < MAX_STREAMS && found == NULL; i++) {
        if (!web->streams[i].used) {
            found = &web->streams[i];
            *found = (stream){.web = web, .connection = connection, .used = true};
        }
    }
    pthread_mutex_unlock(&web->mutex);
    return found;
}

static void wake_streams(md_web *web, bool all)
{
    pthread_mutex_lock(&web->mutex);
    uint64_t version = md_store_version(web->service.store);
    int64_t time_ms = now_ms();
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        stream *s = &web->streams[i];
        if (s->used && s->sleeps &&
            (all || s->seen != version || time_ms - s->told_ms >= SIGN_OF_LIFE_MS)) {
            s->sleeps = false;
            MHD_resume_connection(s->connection);
        }
    }
    pthread_mutex_unlock(&web->mutex);
}

static void *ticker_thread(void *context)
{
    md_web *web = context;
    while (!atomic_load(&web->stopping)) {
        const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        wake_streams(web, false);
    }
    return NULL;
}

/* ---- requests ---- */

static void add_headers(struct MHD_Response *response, const md_web_answer *answer)
{
    static const char *const fixed[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
         "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cache-Control", "no-store"},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        (void)MHD_add_response_header(response, fixed[i][0], fixed[i][1]);
    }
    if (answer->content_type != NULL) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                      answer->content_type);
    }
    if (answer->cookie[0] != '\0') {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, answer->cookie);
    }
}

static struct MHD_Response *make_response(md_web *web, struct MHD_Connection *connection,
                                          md_web_answer *answer)
{
    if (answer->is_event_stream) {
        stream *s = begin_stream(web, connection);
        if (s == NULL) {
            answer->code = MHD_HTTP_SERVICE_UNAVAILABLE;
            return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        }
        answer->content_type = "text/event-stream";
        struct MHD_Response *response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 256, next_event, s, end_stream);
        if (response == NULL) {
            end_stream(s);
        }
        return response;
    }
    if (answer->fixed != NULL) {
        /* MHD does not write to what it keeps */
        return MHD_create_response_from_buffer(
            answer->n_bytes, (void *)(uintptr_t)answer->fixed, MHD_RESPMEM_PERSISTENT);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(
        answer->n_bytes, answer->body, md_free);
    if (response == NULL) {
        md_free(answer->body);
    }
    return response;
}

static const md_conf *current_conf(md_web *web)
{
    pthread_mutex_lock(&web->mutex);
    const md_conf *conf = md_conf_hold(web->conf);
    pthread_mutex_unlock(&web->mutex);
    return conf;
}

static md_web_request request_of(struct MHD_Connection *connection, const char *url,
                                 const char *method, const arrival *body)
{
#define HEADER(name) MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name)
#define QUERY(name) MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name)
    return (md_web_request){
        .method = method,
        .path = url,
        .cookie = HEADER(MHD_HTTP_HEADER_COOKIE),
        .csrf = HEADER("Medaid-CSRF"),
        .origin = HEADER(MHD_HTTP_HEADER_ORIGIN),
        .host = HEADER(MHD_HTTP_HEADER_HOST),
        .read = QUERY("read"),
        .model = QUERY("model"),
        .finding = QUERY("finding"),
        .days = QUERY("days"),
        .source_ae = QUERY("source"),
        .called_ae = QUERY("called"),
        .generation = QUERY("generation"),
        .action = QUERY("action"),
        .body = body->body,
        .body_bytes = body->n,
        .upload_fd = body->upload_fd,
    };
}

static enum MHD_Result answer(md_web *web, struct MHD_Connection *connection, const char *url,
                              const char *method, const arrival *body)
{
    const md_conf *conf = current_conf(web);
    md_web_site site = {.service = web->service, .sessions = web->sessions, .now_ms = now_ms()};
    site.service.conf = conf;
    const md_web_request request = request_of(connection, url, method, body);
    md_web_answer made;
    md_error err = {0};
    md_status status = md_web_route(&site, &request, &made, &err);
    md_conf_drop(conf);
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "web_failed", MD_LOG_TEXT("reason", err.msg));
        return MHD_NO;
    }
    struct MHD_Response *response = make_response(web, connection, &made);
    if (response == NULL) {
        return MHD_NO;
    }
    add_headers(response, &made);
    enum MHD_Result result = MHD_queue_response(connection, made.code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned code)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

/* A file goes to a file without a name in the storage folder, not into memory; who may not send
 * one is told before its body comes. */
static enum MHD_Result begin_upload(md_web *web, struct MHD_Connection *connection,
                                    const char *url, const char *method, arrival *body)
{
    const md_conf *conf = current_conf(web);
    const md_web_site site = {
        .service = {.conf = conf}, .sessions = web->sessions, .now_ms = now_ms()};
    const md_web_request request = request_of(connection, url, method, body);
    unsigned code = md_web_refuses_upload(&site, &request);
    if (code == 0) {
        body->upload_fd = open(conf->storage.path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        code = body->upload_fd < 0 ? MHD_HTTP_INSUFFICIENT_STORAGE : 0;
    }
    md_conf_drop(conf);
    return code == 0 ? MHD_YES : refuse(connection, code);
}

static void take_part(arrival *body, const char *part, size_t n)
{
    if (body->upload_fd >= 0) {
        body->upload_bytes += n;
        body->too_large = body->too_large || body->upload_bytes > MD_WEB_MAX_UPLOAD_BYTES ||
                          write(body->upload_fd, part, n) != (ssize_t)n;
        return;
    }
    size_t room = MD_WEB_MAX_BODY_BYTES - body->n;
    size_t taken = n < room ? n : room;
    memcpy(body->body + body->n, part, taken);
    body->n += taken;
    body->too_large = body->too_large || taken < n;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *url, const char *method, const char *version,
                                  const char *part, size_t *part_bytes, void **request_context)
{
    (void)version;
    arrival *body = *request_context;
    if (body == NULL) {
        body = md_calloc(1, sizeof *body);
        *request_context = body;
        if (body == NULL) {
            return MHD_NO;
        }
        body->upload_fd = -1;
        return strcmp(url, MD_WEB_UPLOAD_PATH) == 0
                   ? begin_upload(context, connection, url, method, body)
                   : MHD_YES;
    }
    if (*part_bytes > 0) {
        if (!body->too_large) {
            take_part(body, part, *part_bytes);
        }
        *part_bytes = 0;
        return MHD_YES;
    }
    if (body->upload_fd >= 0 && lseek(body->upload_fd, 0, SEEK_SET) != 0) {
        return MHD_NO;
    }
    return body->too_large ? refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE)
                           : answer(context, connection, url, method, body);
}

static void on_end(void *context, struct MHD_Connection *connection, void **request_context,
                   enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    arrival *body = *request_context;
    if (body != NULL && body->upload_fd >= 0) {
        close(body->upload_fd);
    }
    md_free(body);
    *request_context = NULL;
}

/* ---- start and stop ---- */

static md_status read_pem(const char *path, char **ret_text, md_error *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    md_status status = md_file_read(path, MAX_PEM_BYTES, &bytes, &n, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "web.tls: %s", path);
    }
    *ret_text = md_malloc(n + 1);
    if (*ret_text != NULL) {
        memcpy(*ret_text, bytes, n);
        (*ret_text)[n] = '\0';
    }
    md_free(bytes);
    return *ret_text == NULL ? md_fail(err, MD_NOMEM, "no memory for a certificate") : MD_OK;
}

static md_status start_daemon(md_web *web, md_error *err)
{
    int fd = -1;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, NULL},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, NULL},
                                   {MHD_OPTION_HTTPS_PRIORITIES, 0, NULL},
                                   {MHD_OPTION_END, 0, NULL}};
    static char priorities[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
    if (web->conf->web.has_tls) {
        MD_TRY(read_pem(web->conf->web.certificate, &web->certificate, err));
        MD_TRY(read_pem(web->conf->web.private_key, &web->private_key, err));
        flags |= MHD_USE_TLS;
        tls[0].ptr_value = web->certificate;
        tls[1].ptr_value = web->private_key;
        tls[2].ptr_value = priorities;
    } else {
        tls[0].option = MHD_OPTION_END;
    }
    MD_TRY(md_http_listen("web", web->conf->web.bind, web->conf->web.port, &fd, err));
    web->port = web->conf->web.port;
    web->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, web, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS / 4,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, web, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (web->daemon == NULL) {
        close(fd);
        return md_fail(err, MD_FORMAT, "web: the server does not start%s",
                       web->conf->web.has_tls ? ": certificate and key must fit" : "");
    }
    int os_errno = pthread_create(&web->ticker, NULL, ticker_thread, web);
    web->has_ticker = os_errno == 0;
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "web: start a thread");
}

md_status md_web_start(const md_http_service *service, md_web **ret_web, md_error *err)
{
    if (service->conf->web.port == 0) {
        return MD_OK;
    }
    md_web *web = md_calloc(1, sizeof *web);
    if (web == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the web page");
    }
    pthread_mutex_init(&web->mutex, NULL);
    web->service = *service;
    web->service.conf = NULL;
    md_status status = md_conf_share(service->conf, &web->conf, err);
    if (status == MD_OK) {
        status = md_sessions_create(&web->sessions, err);
    }
    if (status == MD_OK) {
        status = start_daemon(web, err);
    }
    if (status != MD_OK) {
        md_web_stop(web);
        return status;
    }
    *ret_web = web;
    return MD_OK;
}

uint16_t md_web_port(const md_web *web)
{
    return web->port;
}

void md_web_reload(md_web *web, const md_conf *shared)
{
    if (web == NULL) {
        return;
    }
    pthread_mutex_lock(&web->mutex);
    const md_conf *before = web->conf;
    web->conf = md_conf_hold(shared);
    pthread_mutex_unlock(&web->mutex);
    md_conf_drop(before);
}

void md_web_stop(md_web *web)
{
    if (web == NULL) {
        return;
    }
    atomic_store(&web->stopping, true);
    if (web->has_ticker) {
        pthread_join(web->ticker, NULL);
    }
    if (web->daemon != NULL) {
        wake_streams(web, true); /* MHD cannot end those that sleep */
        MHD_stop_daemon(web->daemon);
    }
    md_sessions_destroy(web->sessions);
    md_conf_drop(web->conf);
    md_free(web->certificate);
    md_free(web->private_key);
    pthread_mutex_destroy(&web->mutex);
    md_free(web);
}
