#include "daemon/worker/serve.h"

#include "base/log.h"
#include "daemon/worker/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    NAME_BYTES = 16
};

typedef struct server {
    const md_worker_engine *engine;
    int socket_fd;
    const char *work_folder;
    uint8_t *shared;
    md_conf conf;
    md_analyse_options options;
    md_worker_buffer buffer;
    uint64_t job;       /* the running one */
    const char **paths; /* of the running one */
    size_t n_paths;
} server;

/* False when main is gone or says something that only a main process of another version says.
 */
static bool receive(server *s, md_worker_packet *ret_packet)
{
    ssize_t n;
    do {
        n = read(s->socket_fd, s->buffer.bytes, sizeof s->buffer.bytes);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return false;
    }
    md_error err = {0};
    if (md_worker_decode(&s->buffer, (size_t)n, true, ret_packet, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "worker_bad_request", MD_LOG_TEXT("reason", err.msg));
        return false;
    }
    return true;
}

static bool tell(server *s, const md_worker_packet *packet)
{
    return md_worker_send(s->socket_fd, false, packet, &s->buffer, NULL) == MD_OK;
}

static md_log_level level_of(const char *name)
{
    for (md_log_level level = MD_LOG_DEBUG; level <= MD_LOG_ERROR; level++) {
        static const char *const names[] = {"debug", "info", "warn", "error"};
        if (strcmp(name, names[level]) == 0) {
            return level;
        }
    }
    return MD_LOG_INFO;
}

static bool tell_models(server *s)
{
    size_t n = s->engine->n_models(s->engine->context);
    bool fine = n <= MD_WORKER_MAX_MODELS;
    for (size_t i = 0; fine && i < n; i++) {
        md_worker_packet packet = {.kind = MD_WORKER_MODEL};
        packet.model = *s->engine->model(s->engine->context, i);
        if (s->engine->required != NULL) {
            packet.required = *s->engine->required(s->engine->context, i);
        }
        if (s->engine->embeds != NULL) {
            packet.embeds = s->engine->embeds(s->engine->context, i);
        }
        fine = tell(s, &packet);
    }
    return fine && tell(s, &(md_worker_packet){.kind = MD_WORKER_READY, .n = (uint32_t)n});
}

/* A service manager signals the whole group when it stops medaid, and main lets studies end:
 * only main ends a worker. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
}

/* Everything before the first study. The filter stands before the first plugin is loaded. */
static bool start(server *s, int shared_fd, bool sandbox)
{
    md_worker_packet packet;
    s->shared =
        mmap(NULL, MD_WORKER_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
    close(shared_fd);
    if (s->shared == MAP_FAILED) {
        s->shared = NULL;
        return false;
    }
    if (!receive(s, &packet) || packet.kind != MD_WORKER_CONFIGURE) {
        return false;
    }
    s->conf = *packet.conf;
    md_log_configure(s->socket_fd, level_of(s->conf.log.level));
    md_error err = {0};
    md_status status = sandbox ? md_sandbox_enter(s->socket_fd, &err) : MD_OK;
    if (status == MD_OK) {
        status = s->engine->load(s->engine->context, &s->conf, &s->options, &err);
        if (sandbox) {
            close(MD_WORKER_WEIGHTS_FD); /* whether it was given or not */
        }
    }
    if (status != MD_OK) {
        packet = (md_worker_packet){.kind = MD_WORKER_START_FAILED, .status = status};
        memcpy(packet.text, err.msg, sizeof packet.text);
        (void)tell(s, &packet);
        return false;
    }
    return tell_models(s);
}

/* Which file of the study a path of ours is; the name is its number. */
static uint32_t index_of(const server *s, const char *path)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    unsigned long index = slash == NULL ? 0 : strtoul(slash + 1, NULL, 10);
    return index < s->n_paths ? (uint32_t)index : 0;
}

static void on_problem(void *context, const char *path, const md_error *reason)
{
    server *s = context;
    md_worker_packet packet = {.kind = MD_WORKER_PROBLEM,
                               .job = s->job,
                               .n = index_of(s, path),
                               .status = reason->status};
    memcpy(packet.text, reason->msg, sizeof packet.text);
    (void)tell(s, &packet);
}

/* Ask main what to do next, before the report is written. No answer is no proposal. */
static void propose(void *context, const md_analysis *analysis, md_follow_up *ret_follow_up)
{
    server *s = context;
    MD_AUTO(md_freep) md_worker_packet *packet = md_calloc(1, sizeof *packet);
    if (packet == NULL) {
        return;
    }
    packet->kind = MD_WORKER_PROPOSE;
    packet->job = s->job;
    memcpy(packet->patient_id, analysis->header.patient_id, sizeof packet->patient_id);
    memcpy(packet->issuer, analysis->header.issuer_of_patient_id, sizeof packet->issuer);
    md_features_of(analysis, &packet->features);
    if (tell(s, packet) && receive(s, packet) && packet->kind == MD_WORKER_PROPOSED &&
        packet->job == s->job) {
        *ret_follow_up = packet->follow_up;
    }
}

static void free_paths(server *s)
{
    for (size_t i = 0; s->paths != NULL && i < s->n_paths; i++) {
        char *path;
        memcpy(&path, &s->paths[i], sizeof path);
        md_free(path);
    }
    md_free(s->paths);
    s->paths = NULL;
    s->n_paths = 0;
}

static md_status make_paths(server *s, size_t n, md_error *err)
{
    size_t size_bytes = strlen(s->work_folder) + NAME_BYTES;
    s->paths = md_calloc(n, sizeof *s->paths);
    for (size_t i = 0; s->paths != NULL && i < n; i++) {
        char *path = md_malloc(size_bytes);
        if (path == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the names of %zu files", n);
        }
        snprintf(path, size_bytes, "%s/%06zu", s->work_folder, i);
        s->paths[i] = path;
        s->n_paths = i + 1;
    }
    return s->paths != NULL ? MD_OK
                            : md_fail(err, MD_NOMEM, "no memory for the names of %zu files", n);
}

static md_status run_engine(server *s, const md_worker_packet *request, md_analysis *analysis,
                            md_error *err)
{
    md_analyse_options options = s->options;
    options.on_problem = on_problem;
    options.context = s;
    options.propose = s->conf.follow_up.in_report ? propose : NULL;
    options.propose_context = s;
    options.first_received_ms = request->first_received_ms;
    options.last_received_ms = request->last_received_ms;
    options.complete_ms = request->complete_ms;
    options.predecessors = request->predecessors;
    options.n_predecessors = request->n_predecessors;
    options.revision = request->revision;
    options.some_models = request->some_models;
    options.models = request->models;
    options.n_models = request->n_models;
    options.missing = request->missing[0] != '\0' ? request->missing : NULL;
    const md_worker_engine *engine = s->engine;
    return request->kind == MD_WORKER_FAIL
               ? engine->fail(engine->context, s->paths, s->n_paths, request->text, &options,
                              analysis, err)
               : engine->analyse(engine->context, s->paths, s->n_paths, &options, analysis,
                                 err);
}

/* A status other than MD_OK carries counts alone: what was made before the error is nothing
 * that anybody may use. */
static void keep_counts(md_analysis *analysis)
{
    const md_analysis counts = {.n_unreadable = analysis->n_unreadable,
                                .n_not_accepted = analysis->n_not_accepted};
    md_analysis_finish(analysis);
    *analysis = counts;
}

static bool run_job(server *s, const md_worker_packet *request)
{
    md_error err = {0};
    md_analysis analysis = {0};
    size_t n_bytes = 0;
    s->job = request->job;
    md_sandbox_new_study();
    md_status status = make_paths(s, request->n, &err);
    if (status == MD_OK) {
        status = run_engine(s, request, &analysis, &err);
        if (status != MD_OK) {
            keep_counts(&analysis);
        }
        md_error full = {0};
        md_status fits = md_worker_encode_analysis(&analysis, s->shared, MD_WORKER_SHARED_BYTES,
                                                   &n_bytes, &full);
        if (fits != MD_OK) {
            status = fits;
            err = full;
            n_bytes = 0;
        }
    }
    md_analysis_finish(&analysis);
    free_paths(s);
    md_worker_packet answer = {
        .kind = MD_WORKER_RESULT, .job = request->job, .status = status, .bytes = n_bytes};
    if (status != MD_OK) {
        memcpy(answer.text, err.msg, sizeof answer.text);
    }
    return tell(s, &answer);
}

/* True: an orderly end. */
static bool serve(server *s)
{
    md_worker_packet packet;
    while (receive(s, &packet)) {
        bool fine = false;
        if (packet.kind == MD_WORKER_ANALYSE || packet.kind == MD_WORKER_FAIL) {
            fine = run_job(s, &packet);
        } else if (packet.kind == MD_WORKER_PING) {
            fine = tell(s, &(md_worker_packet){.kind = MD_WORKER_PONG, .job = packet.job});
        } else if (packet.kind == MD_WORKER_BYE) {
            return true;
        }
        if (!fine) {
            return false;
        }
    }
    return true;
}

int md_worker_serve(const md_worker_engine *engine, int socket_fd, int shared_fd,
                    const char *work_folder, bool sandbox)
{
    server *s = md_calloc(1, sizeof *s);
    if (s == NULL) {
        return EXIT_FAILED;
    }
    s->engine = engine;
    s->socket_fd = socket_fd;
    s->work_folder = work_folder;
    if (sandbox) {
        ignore_signals();
    }
    bool fine = start(s, shared_fd, sandbox) && serve(s);
    engine->unload(engine->context);
    if (s->shared != NULL) {
        munmap(s->shared, MD_WORKER_SHARED_BYTES);
    }
    md_free(s);
    return fine ? EXIT_FINE : EXIT_FAILED;
}
