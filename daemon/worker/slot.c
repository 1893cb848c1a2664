#include "daemon/worker/pool_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/metrics/figures.h"
#include "daemon/worker/files.h"
#include "daemon/worker/landlock.h"
#include "daemon/worker/object_check.h"
#include "daemon/worker/relay.h"
#include "daemon/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DEFAULT_START_MS = 120000,
    DEFAULT_PING_MS = 10000,
    PONG_MS = 15000,
    BYE_MS = 2000,
    EXIT_GRACE_MS = 1000, /* between a closed channel and the end of the process */
    WATCH_MS = 100,       /* how often memory is looked at while a worker works */
    MAX_THREADS = 1024,
    MAX_LINES = 200,     /* log lines of one phase that go to the log */
    MAX_PACKETS = 20000, /* of one phase, beside its problems; more is a flood */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 30000,
    FREE_FAILURES = 3, /* deaths in a row without waiting: one bad study's attempts */
    REFUSED_MOST = 64, /* refused system calls that are logged in one phase */
};

/* What waiting for a worker brought. */
typedef enum event {
    EVENT_PACKET,
    EVENT_GONE,    /* channel closed, or process ended */
    EVENT_BROKEN,  /* a packet that no honest worker sends, or too many; err says */
    EVENT_TIMEOUT, /* the deadline */
    EVENT_MEMORY,
    EVENT_STOP,
    EVENT_CANCEL,
} event;

static int64_t now_ms(void)
{
    return md_clock_monotonic_us() / 1000;
}

/* `doing` begins the messages, `limit_ms` is how long it may take. */
static void new_phase(md_worker_slot *slot, const char *doing, unsigned limit_ms)
{
    slot->doing = doing;
    slot->limit_ms = limit_ms;
    slot->n_packets = 0;
    slot->n_lines = 0;
}

/* ---- listening ---- */

static void log_refused_call(const md_worker_slot *slot, uint32_t number)
{
    char name[48];
    md_sandbox_call_name(number, name, sizeof name);
    md_log(MD_LOG_WARN, "worker_refused", MD_LOG_INT("worker", slot->index),
           MD_LOG_TEXT("study", slot->study_key), MD_LOG_TEXT("call", name),
           MD_LOG_INT("number", number));
}

/* Take one packet from the socket. EVENT_TIMEOUT: there was none, or it was a log line. */
static event take_packet(md_worker_slot *slot, md_worker_packet *ret_packet, md_error *err)
{
    ssize_t n = recv(slot->process.socket_fd, slot->buffer.bytes, sizeof slot->buffer.bytes,
                     MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? EVENT_TIMEOUT : EVENT_GONE;
    }
    if (n == 0) {
        return EVENT_GONE;
    }
    if ((size_t)n > sizeof slot->buffer.bytes) {
        (void)md_fail(err, MD_FORMAT, "a packet of %zd bytes", n);
        return EVENT_BROKEN;
    }
    if (++slot->n_packets > MAX_PACKETS) {
        (void)md_fail(err, MD_LIMIT, "more than %d packets", MAX_PACKETS);
        return EVENT_BROKEN;
    }
    if (md_worker_decode(&slot->buffer, (size_t)n, false, ret_packet, err) != MD_OK) {
        return EVENT_BROKEN;
    }
    if (ret_packet->kind == MD_WORKER_LOG) {
        if (slot->n_lines++ < MAX_LINES) {
            (void)md_worker_relay_log(ret_packet->log, ret_packet->log_bytes, slot->index);
        } else if (slot->n_lines == MAX_LINES + 1) {
            md_log(MD_LOG_WARN, "worker_log_flood", MD_LOG_INT("worker", slot->index),
                   MD_LOG_TEXT("study", slot->study_key));
        }
        return EVENT_TIMEOUT;
    }
    if (ret_packet->kind == MD_WORKER_REFUSED) {
        if (slot->n_lines++ < REFUSED_MOST) {
            log_refused_call(slot, ret_packet->n);
        }
        return EVENT_TIMEOUT;
    }
    return EVENT_PACKET;
}

static bool over_memory(const md_worker_slot *slot)
{
    size_t rss_bytes = 0;
    unsigned n_threads = 0;
    if (slot->pool->options.memory_mib == 0 ||
        !md_worker_process_usage(&slot->process, &rss_bytes, &n_threads)) {
        return false;
    }
    return rss_bytes >> 20 > slot->pool->options.memory_mib || n_threads > MAX_THREADS;
}

/* Wait for a packet that is neither a log line nor a refused call, until `deadline_ms` of
 * now_ms(). A packet that is there counts more than an end of the process. */
static event wait_event(md_worker_slot *slot, int64_t deadline_ms, int cancel_fd,
                        md_worker_packet *ret_packet, md_error *err)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = slot->process.socket_fd, .events = POLLIN},
            {.fd = slot->pool->stop_fd, .events = POLLIN},
            {.fd = cancel_fd, .events = POLLIN},
            {.fd = slot->process.pidfd, .events = POLLIN},
        };
        int64_t left_ms = deadline_ms - now_ms();
        if (left_ms <= 0) {
            return EVENT_TIMEOUT;
        }
        int n = poll(fds, 4, (int)(left_ms < WATCH_MS ? left_ms : WATCH_MS));
        if (fds[1].revents != 0) {
            return EVENT_STOP;
        }
        if (fds[2].revents != 0) {
            return EVENT_CANCEL;
        }
        if (n > 0 && fds[0].revents != 0) {
            event got = take_packet(slot, ret_packet, err);
            if (got != EVENT_TIMEOUT) {
                return got;
            }
        } else if (n > 0 && fds[3].revents != 0) {
            return EVENT_GONE;
        }
        if (over_memory(slot)) {
            return EVENT_MEMORY;
        }
    }
}

/* ---- the end of a worker ---- */

/* Sort what happened, and say it in one line. */
static md_status explain(const md_worker_slot *slot, event got, const md_error *broken,
                         bool ended_itself, const md_worker_end *end,
                         md_worker_outcome *ret_outcome, md_error *err)
{
    unsigned memory_mib = slot->pool->options.memory_mib;
    struct rusage own = {0};
    (void)getrusage(RUSAGE_SELF, &own);
    /* the kernel counts main's own size at the vfork into the child's peak */
    bool was_full = memory_mib > 0 && end->max_rss_mib > own.ru_maxrss / 1024 &&
                    end->max_rss_mib >= (long)(memory_mib / 4 * 3);
    switch (got) {
    case EVENT_TIMEOUT:
        *ret_outcome = MD_WORKER_OUTCOME_HUNG;
        return md_fail(err, MD_TIMEOUT, "%s stopped: no answer within %u s", slot->doing,
                       slot->limit_ms / 1000);
    case EVENT_MEMORY:
        *ret_outcome = MD_WORKER_OUTCOME_MEMORY;
        return md_fail(err, MD_NOMEM,
                       "%s stopped: worker beyond its memory limit of %u MiB, or %d threads",
                       slot->doing, memory_mib, MAX_THREADS);
    case EVENT_STOP:
    case EVENT_CANCEL:
        *ret_outcome = MD_WORKER_OUTCOME_CANCELLED;
        return md_fail(err, MD_CANCELLED, "%s stopped: cancelled", slot->doing);
    case EVENT_BROKEN:
        *ret_outcome = MD_WORKER_OUTCOME_BROKEN;
        return md_fail(err, MD_PLUGIN, "%s stopped: worker broke the protocol: %.160s",
                       slot->doing, broken->msg);
    case EVENT_GONE:
    case EVENT_PACKET:
    default:
        break;
    }
    if (!ended_itself) {
        *ret_outcome = MD_WORKER_OUTCOME_BROKEN;
        return md_fail(err, MD_PLUGIN, "%s stopped: worker closed its channel", slot->doing);
    }
    if (end->by_signal && end->code == SIGSYS) {
        *ret_outcome = MD_WORKER_OUTCOME_FORBIDDEN;
        return md_fail(err, MD_PLUGIN, "%s stopped: worker made a forbidden system call",
                       slot->doing);
    }
    *ret_outcome = was_full ? MD_WORKER_OUTCOME_MEMORY : MD_WORKER_OUTCOME_CRASHED;
    if (end->by_signal) {
        const char *name = sigabbrev_np(end->code);
        return md_fail(err, was_full ? MD_NOMEM : MD_PLUGIN,
                       "%s stopped: worker died, signal %d (%s)%s", slot->doing, end->code,
                       name == NULL ? "?" : name,
                       was_full ? ", close to its memory limit" : "");
    }
    return md_fail(err, was_full ? MD_NOMEM : MD_PLUGIN,
                   "%s stopped: worker ended with status %d%s", slot->doing, end->code,
                   was_full ? ", close to its memory limit" : "");
}

/* The worker is of no use any more: end it, say why in the log and to the caller. */
static md_status bury(md_worker_slot *slot, event got, const md_error *broken,
                      md_worker_outcome *ret_outcome, md_error *err)
{
    bool ended_itself = false;
    if (got == EVENT_GONE) {
        struct pollfd fd = {.fd = slot->process.pidfd, .events = POLLIN};
        ended_itself = poll(&fd, 1, EXIT_GRACE_MS) > 0;
    }
    md_worker_end end;
    pid_t pid = slot->process.pid;
    md_worker_process_end(&slot->process, &end);
    md_error reason = {0};
    md_status status = explain(slot, got, broken, ended_itself, &end, ret_outcome, &reason);
    if (*ret_outcome != MD_WORKER_OUTCOME_CANCELLED) {
        slot->n_failures++;
    }
    md_log(*ret_outcome == MD_WORKER_OUTCOME_CANCELLED ? MD_LOG_INFO : MD_LOG_ERROR,
           ended_itself ? "worker_died" : "worker_killed", MD_LOG_INT("worker", slot->index),
           MD_LOG_INT("pid", pid), MD_LOG_TEXT("study", slot->study_key),
           MD_LOG_TEXT("outcome", md_worker_outcome_name(*ret_outcome)),
           MD_LOG_INT("signal", end.by_signal ? end.code : 0),
           MD_LOG_INT("exit", end.by_signal ? 0 : end.code),
           MD_LOG_INT("max_rss_mib", end.max_rss_mib), MD_LOG_TEXT("reason", reason.msg));
    if (err != NULL) {
        *err = reason;
    }
    return status;
}

/* Ask it to go, and wait a little. */
static void dismiss(md_worker_slot *slot)
{
    if (slot->process.pid > 0) {
        md_worker_packet bye = {.kind = MD_WORKER_BYE};
        if (md_worker_send(slot->process.socket_fd, true, &bye, &slot->buffer, NULL) == MD_OK) {
            struct pollfd fd = {.fd = slot->process.pidfd, .events = POLLIN};
            (void)poll(&fd, 1, BYE_MS);
        }
        md_worker_process_end(&slot->process, NULL);
    }
}

/* ---- the start of a worker ---- */

/* What a worker may reach: the system's libraries, what describes the processor, the plugins'
 * folders and its own work folder. */
static md_status make_ruleset(const md_worker_slot *slot, int fd, md_error *err)
{
    const md_worker_pool *pool = slot->pool;
    MD_TRY(md_landlock_admit_system(fd, err));
    MD_TRY(md_landlock_admit(fd, pool->program, MD_LANDLOCK_READ_EXECUTE, err));
    MD_TRY(md_landlock_admit(fd, slot->folder, MD_LANDLOCK_READ, err));
    for (unsigned i = 0; i < pool->conf.plugins.n_paths; i++) {
        md_status status =
            md_landlock_admit(fd, pool->conf.plugins.paths[i], MD_LANDLOCK_READ, err);
        if (status != MD_OK && status != MD_NOT_FOUND) {
            return status;
        }
    }
    for (char **path = pool->read_folders; path != NULL && *path != NULL; path++) {
        MD_TRY(md_landlock_admit(fd, *path, MD_LANDLOCK_READ, err));
    }
    return MD_OK;
}

static md_status start_process(md_worker_slot *slot, md_error *err)
{
    const md_worker_pool *pool = slot->pool;
    const char *arguments[16] = {0};
    for (unsigned i = 0; i < pool->n_arguments; i++) {
        arguments[i] = pool->arguments[i];
    }
    arguments[pool->n_arguments] = slot->folder;
    int ruleset_fd = -1;
    md_status status = MD_OK;
    if (md_landlock_abi() > 0) {
        status = md_landlock_create(&ruleset_fd, err);
        if (status == MD_OK) {
            status = make_ruleset(slot, ruleset_fd, err);
        }
    }
    if (status == MD_OK) {
        status = md_worker_process_start(
            &(md_worker_start_options){.program = pool->program,
                                       .arguments = arguments,
                                       .memory_mib = pool->options.memory_mib,
                                       .ruleset_fd = ruleset_fd,
                                       .weights_fd = pool->weights_fd,
                                       .keep_stderr = pool->options.keep_stderr},
            &slot->process, err);
    }
    if (ruleset_fd >= 0) {
        close(ruleset_fd);
    }
    return status;
}

/* From CONFIGURE to READY. */
static md_status greet(md_worker_slot *slot, event *ret_event, md_error *err)
{
    int64_t deadline_ms = now_ms() + slot->limit_ms;
    md_worker_packet packet = {
        .kind = MD_WORKER_CONFIGURE, .n = MD_WORKER_PROTOCOL, .conf = &slot->pool->conf};
    *ret_event = EVENT_BROKEN;
    MD_TRY(md_worker_send(slot->process.socket_fd, true, &packet, &slot->buffer, err));
    slot->n_models = 0;
    for (;;) {
        *ret_event = wait_event(slot, deadline_ms, -1, &packet, err);
        if (*ret_event != EVENT_PACKET) {
            return md_fail(err, *ret_event == EVENT_STOP ? MD_CANCELLED : MD_PLUGIN,
                           "worker did not start");
        }
        if (packet.kind == MD_WORKER_MODEL && slot->n_models < MD_WORKER_MAX_MODELS) {
            slot->required[slot->n_models] = packet.required;
            slot->embeds[slot->n_models] = packet.embeds;
            slot->models[slot->n_models++] = packet.model;
        } else if (packet.kind == MD_WORKER_READY && packet.n == slot->n_models &&
                   packet.n > 0) {
            return MD_OK;
        } else if (packet.kind == MD_WORKER_START_FAILED) {
            return md_fail(err, packet.status, "%s", packet.text);
        } else {
            *ret_event = EVENT_BROKEN;
            return md_fail(err, MD_FORMAT, "packet of kind %d while it starts",
                           (int)packet.kind);
        }
    }
}

static bool start_worker(md_worker_slot *slot)
{
    md_error err = {0};
    int64_t begun_ms = now_ms();
    unsigned limit_ms = slot->pool->options.start_timeout_ms;
    new_phase(slot, "start", limit_ms == 0 ? DEFAULT_START_MS : limit_ms);
    md_status status = md_worker_files_prepare(slot->folder, &err);
    if (status == MD_OK) {
        status = start_process(slot, &err);
    }
    pid_t pid = slot->process.pid;
    if (status == MD_OK) {
        event got = EVENT_PACKET;
        status = greet(slot, &got, &err);
        if (status != MD_OK && got != EVENT_PACKET) {
            md_worker_outcome outcome;
            md_error broken = err;
            status = bury(slot, got, &broken, &outcome, &err);
            slot->n_failures--; /* counted once, below */
        } else if (status != MD_OK) {
            md_worker_process_end(&slot->process, NULL);
        }
    }
    if (status != MD_OK) {
        slot->n_failures++;
        /* stopped because another worker has failed: that one has said why */
        md_log(status == MD_CANCELLED ? MD_LOG_DEBUG : MD_LOG_ERROR, "worker_start_failed",
               MD_LOG_INT("worker", slot->index), MD_LOG_TEXT("status", md_status_name(status)),
               MD_LOG_TEXT("reason", err.msg));
        md_worker_pool_report_start(slot->pool, slot, &err);
        return false;
    }
    slot->n_served = 0;
    if (slot->reported) {
        md_counter_add(&md_figures_now()->worker_restarts, 1);
    }
    md_log(MD_LOG_INFO, "worker_started", MD_LOG_INT("worker", slot->index),
           MD_LOG_INT("pid", pid), MD_LOG_INT("models", slot->n_models),
           MD_LOG_INT("landlock", md_landlock_abi()), MD_LOG_INT("ms", now_ms() - begun_ms));
    md_worker_pool_report_start(slot->pool, slot, NULL);
    return true;
}

/* ---- a study ---- */

static md_status receive_analysis(md_worker_slot *slot, const md_worker_entry *entry,
                                  size_t size_bytes, md_analysis *ret_analysis, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *copy = md_malloc(size_bytes);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an analysis of %zu bytes", size_bytes);
    }
    for (size_t done = 0; done < size_bytes;) {
        ssize_t n = pread(slot->process.shared_fd, copy + done, size_bytes - done, (off_t)done);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return md_fail_os(err, errno, "the shared block");
        }
        done += n < 0 ? 0 : (size_t)n;
    }
    const md_worker_expectation expected = {
        .models = slot->models,
        .embeds = slot->embeds,
        .n_models = slot->n_models,
        .study_instance_uid = entry->job->study_instance_uid,
        .n_files = entry->job->n_paths,
        .host_may_speak = entry->fail_reason != NULL,
    };
    MD_TRY(md_worker_decode_analysis(copy, size_bytes, &expected, ret_analysis, err));
    return md_worker_check_objects(ret_analysis, err);
}

/* False: the worker broke a rule, err says which. */
static bool take_result(md_worker_slot *slot, md_worker_entry *entry,
                        const md_worker_packet *packet, md_error *err)
{
    md_status status = MD_OK;
    if (packet->bytes > 0) {
        status = receive_analysis(slot, entry, (size_t)packet->bytes, &entry->analysis, err);
    }
    if (status == MD_NOMEM || status == MD_IO) {
        md_analysis_finish(&entry->analysis);
        memset(&entry->analysis, 0, sizeof entry->analysis);
        entry->status = status; /* main's own trouble, not the worker's */
        entry->err = *err;
        entry->outcome = MD_WORKER_OUTCOME_NOT_RUN;
        return true;
    }
    bool has_result = entry->analysis.n_results > 0;
    if (status == MD_OK && has_result != (packet->status == MD_OK)) {
        status = md_fail(err, MD_FORMAT, "a status that does not agree with the results");
    }
    if (status != MD_OK) {
        md_analysis_finish(&entry->analysis);
        memset(&entry->analysis, 0, sizeof entry->analysis);
        return false;
    }
    entry->analysis.follow_up = entry->follow_up;
    entry->status = packet->status;
    entry->outcome =
        packet->status == MD_NOMEM ? MD_WORKER_OUTCOME_MEMORY : MD_WORKER_OUTCOME_ANSWERED;
    if (packet->status != MD_OK) {
        (void)md_fail(&entry->err, packet->status, "%s",
                      packet->text[0] == '\0' ? "no reason given" : packet->text);
    }
    return true;
}

static bool take_problem(const md_worker_entry *entry, const md_worker_packet *packet,
                         size_t *n_problems, md_error *err)
{
    enum {
        SPARE = 64
    };
    const md_worker_job *job = entry->job;
    if (packet->n >= job->n_paths || ++*n_problems > job->n_paths + SPARE) {
        (void)md_fail(err, MD_FORMAT, "a problem of no file, or too many");
        return false;
    }
    if (job->on_problem != NULL) {
        md_error reason = {0};
        (void)md_fail(&reason, packet->status, "%s", packet->text);
        job->on_problem(job->context, job->paths[packet->n], &reason);
    }
    return true;
}

/* A report is about to be written: answer what to do next. False: the worker may not ask now,
 * or does not listen. */
static bool answer_proposal(md_worker_slot *slot, md_worker_entry *entry,
                            md_worker_packet *packet, md_error *err)
{
    const md_worker_job *job = entry->job;
    if (entry->proposed || entry->fail_reason != NULL) {
        (void)md_fail(err, MD_FORMAT, "a question that was not to be asked");
        return false;
    }
    entry->proposed = true;
    if (job->propose != NULL) {
        job->propose(job->propose_context, packet->patient_id, packet->issuer,
                     &packet->features, &entry->follow_up);
    }
    packet->kind = MD_WORKER_PROPOSED;
    packet->follow_up = entry->follow_up;
    return md_worker_send(slot->process.socket_fd, true, packet, &slot->buffer, err) == MD_OK;
}

/* From the request to the result. EVENT_PACKET: entry holds the answer. */
static event converse(md_worker_slot *slot, md_worker_entry *entry, uint64_t number,
                      md_error *err)
{
    int64_t deadline_ms = now_ms() + slot->limit_ms;
    size_t n_problems = 0;
    for (;;) {
        md_worker_packet packet;
        event got = wait_event(slot, deadline_ms, entry->job->cancel_fd, &packet, err);
        if (got != EVENT_PACKET) {
            return got;
        }
        bool fine = packet.job == number;
        if (fine && packet.kind == MD_WORKER_PROBLEM) {
            slot->n_packets--; /* they have their own limit */
            fine = take_problem(entry, &packet, &n_problems, err);
        } else if (fine && packet.kind == MD_WORKER_PROPOSE) {
            fine = answer_proposal(slot, entry, &packet, err);
        } else if (fine && packet.kind == MD_WORKER_RESULT) {
            return take_result(slot, entry, &packet, err) ? EVENT_PACKET : EVENT_BROKEN;
        } else {
            (void)md_fail(err, MD_FORMAT, "packet of kind %d while it analyses",
                          (int)packet.kind);
            fine = false;
        }
        if (!fine) {
            return EVENT_BROKEN;
        }
    }
}

/* True when the request reached a living worker; an idle one may have died unseen, which is not
 * the study's fault. */
static bool send_request(md_worker_slot *slot, const md_worker_packet *request)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        struct pollfd fd = {.fd = slot->process.pidfd, .events = POLLIN};
        if (slot->process.pid > 0 && poll(&fd, 1, 0) == 0 &&
            md_worker_send(slot->process.socket_fd, true, request, &slot->buffer, NULL) ==
                MD_OK) {
            return true;
        }
        md_worker_outcome outcome;
        if (slot->process.pid > 0) {
            (void)bury(slot, EVENT_GONE, NULL, &outcome, NULL);
        }
        if (attempt == 0 && !start_worker(slot)) {
            return false;
        }
    }
    return false;
}

/* Give the pages of the shared block back to the machine. */
static void clear_shared(const md_worker_slot *slot)
{
    (void)fallocate(slot->process.shared_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    MD_WORKER_SHARED_BYTES);
}

static void run_entry(md_worker_slot *slot, md_worker_entry *entry)
{
    const md_worker_job *job = entry->job;
    slot->study_key = job->study_key == NULL ? "" : job->study_key;
    entry->outcome = MD_WORKER_OUTCOME_NOT_RUN;
    entry->status = md_worker_files_put(slot->folder, job->paths, job->n_paths, &entry->err);
    if (entry->status == MD_OK) {
        md_worker_packet request = {
            .kind = entry->fail_reason == NULL ? MD_WORKER_ANALYSE : MD_WORKER_FAIL,
            .job = ++slot->n_jobs,
            .n = (uint32_t)job->n_paths,
            .first_received_ms = job->first_received_ms,
            .last_received_ms = job->last_received_ms,
            .complete_ms = job->complete_ms,
            .revision = job->revision,
        };
        for (size_t i = 0; i < job->n_predecessors && i < MD_HOST_MAX_PREDECESSORS; i++) {
            request.predecessors[request.n_predecessors++] = job->predecessors[i];
        }
        request.some_models = job->some_models;
        for (size_t i = 0; i < job->n_models && i < MD_WORKER_MAX_MODELS; i++) {
            memcpy(request.models[request.n_models++], job->models[i], MD_KEY_BYTES);
        }
        snprintf(request.missing, sizeof request.missing, "%s",
                 job->missing != NULL ? job->missing : "");
        snprintf(request.text, sizeof request.text, "%s",
                 entry->fail_reason == NULL ? "" : entry->fail_reason);
        md_error broken = {0};
        bool sent = send_request(slot, &request);
        new_phase(slot, "analysis", slot->pool->options.study_timeout_ms);
        if (!sent) {
            entry->status =
                md_fail(&entry->err, MD_PLUGIN, "analysis stopped: no worker can be started");
        } else {
            event got = converse(slot, entry, request.job, &broken);
            if (got != EVENT_PACKET) {
                entry->status = bury(slot, got, &broken, &entry->outcome, &entry->err);
            } else {
                slot->n_failures = 0;
                slot->n_served++;
                clear_shared(slot);
            }
        }
    }
    md_worker_files_clear(slot->folder, job->n_paths);
    slot->study_key = "";
}

/* After a study: is this worker still the one we want? */
static void recycle_if_due(md_worker_slot *slot, md_worker_outcome outcome)
{
    const md_worker_pool_options *options = &slot->pool->options;
    if (slot->process.pid == 0) {
        return;
    }
    size_t rss_bytes = 0;
    unsigned n_threads = 0;
    bool full = md_worker_process_usage(&slot->process, &rss_bytes, &n_threads) &&
                options->memory_mib > 0 && rss_bytes >> 20 > options->memory_mib / 5 * 4;
    bool old = options->recycle_after > 0 && slot->n_served >= options->recycle_after;
    if (old || full || outcome == MD_WORKER_OUTCOME_MEMORY) {
        md_log(MD_LOG_INFO, "worker_recycled", MD_LOG_INT("worker", slot->index),
               MD_LOG_INT("studies", slot->n_served), MD_LOG_INT("rss_mib", rss_bytes >> 20),
               MD_LOG_TEXT("why", old ? "served its number of studies" : "memory"));
        dismiss(slot);
    }
}

/* ---- the thread ---- */

/* Something from an idle worker, or its end. */
static void look_at_idle(md_worker_slot *slot)
{
    md_worker_packet packet;
    md_error err = {0};
    event got = take_packet(slot, &packet, &err);
    if (got == EVENT_PACKET) {
        got = EVENT_BROKEN;
        (void)md_fail(&err, MD_FORMAT, "packet of kind %d while it is idle", (int)packet.kind);
    }
    if (got != EVENT_TIMEOUT) {
        md_worker_outcome outcome;
        (void)bury(slot, got, &err, &outcome, NULL);
    }
}

static void ping(md_worker_slot *slot)
{
    md_worker_packet packet = {.kind = MD_WORKER_PING, .job = ++slot->n_jobs};
    md_error err = {0};
    event got = EVENT_GONE;
    new_phase(slot, "idling", PONG_MS);
    if (md_worker_send(slot->process.socket_fd, true, &packet, &slot->buffer, &err) == MD_OK) {
        got = wait_event(slot, now_ms() + PONG_MS, -1, &packet, &err);
        if (got == EVENT_PACKET &&
            (packet.kind != MD_WORKER_PONG || packet.job != slot->n_jobs)) {
            got = EVENT_BROKEN;
            (void)md_fail(&err, MD_FORMAT, "packet of kind %d for a ping", (int)packet.kind);
        }
    }
    if (got == EVENT_PACKET && over_memory(slot)) {
        got = EVENT_MEMORY;
    }
    if (got != EVENT_PACKET && got != EVENT_STOP) {
        md_worker_outcome outcome;
        (void)bury(slot, got, &err, &outcome, NULL);
    }
}

static void work_or_wait(md_worker_slot *slot)
{
    const md_worker_pool *pool = slot->pool;
    struct pollfd fds[] = {
        {.fd = pool->stop_fd, .events = POLLIN},
        {.fd = pool->jobs_fd, .events = POLLIN},
        {.fd = slot->process.socket_fd, .events = POLLIN},
        {.fd = slot->process.pidfd, .events = POLLIN},
    };
    unsigned ping_ms = pool->options.ping_ms == 0 ? DEFAULT_PING_MS : pool->options.ping_ms;
    int n = poll(fds, 4, (int)ping_ms);
    uint64_t count = 0;
    if (n == 0) {
        ping(slot);
    } else if (n > 0 && fds[0].revents != 0) {
        return;
    } else if (n > 0 && (fds[2].revents != 0 || fds[3].revents != 0)) {
        look_at_idle(slot);
    } else if (n > 0 && read(pool->jobs_fd, &count, sizeof count) == sizeof count) {
        md_worker_entry *entry = md_worker_pool_take(slot->pool);
        if (entry != NULL) {
            run_entry(slot, entry);
            md_worker_outcome outcome = entry->outcome;
            md_worker_pool_done(slot->pool, entry);
            recycle_if_due(slot, outcome);
        }
    }
}

/* Wait before the next start; false when the pool stops. */
static bool wait_backoff(const md_worker_slot *slot)
{
    int delay_ms = 0;
    if (slot->n_failures > FREE_FAILURES) {
        unsigned doublings = slot->n_failures - FREE_FAILURES - 1;
        delay_ms = doublings > 8 ? BACKOFF_MOST_MS : BACKOFF_FIRST_MS << doublings;
    }
    struct pollfd fd = {.fd = slot->pool->stop_fd, .events = POLLIN};
    int n;
    do {
        n = poll(&fd, 1, delay_ms);
    } while (n < 0 && errno == EINTR);
    return n == 0;
}

void *md_worker_slot_main(void *context)
{
    md_worker_slot *slot = context;
    while (wait_backoff(slot)) {
        if (slot->process.pid == 0 && !start_worker(slot)) {
            continue;
        }
        struct pollfd fd = {.fd = slot->pool->stop_fd, .events = POLLIN};
        while (slot->process.pid > 0 && poll(&fd, 1, 0) == 0) {
            work_or_wait(slot);
        }
    }
    dismiss(slot);
    return NULL;
}
