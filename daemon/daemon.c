#include "daemon/daemon.h"

#include "base/log.h"
#include "daemon/assembly.h"
#include "daemon/audit/audit.h"
#include "daemon/http/server.h"
#include "daemon/listener.h"
#include "daemon/notify.h"
#include "daemon/steady.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    STOP_GRACE_MS = 10000,
    AUDIT_GRACE_MS = 3000, /* for what the audit trail still has to send */
    SWEEP_EVERY_MS = 300000,
    SWEEP_STUDIES = 100, /* in one transaction */
    OTHER_FILES = 1536,  /* descriptors beside associations: pending clients, files */
    AFTER_ERROR_MS = 1000,
    RETRY_WAIT_MS = 1000, /* before a study is analysed a second time */
    MIB = 1024 * 1024
};

typedef struct daemon_state {
    const md_conf *conf;
    md_store *store;
    md_spool *spool;
    md_outbox *outbox;
    md_notifiers *notifiers;
    md_analyst *analyst;
    md_listener *listener;
    md_http *http;
    int stop_fd;      /* an eventfd: a signal has come */
    int64_t round_ms; /* the loop goes round so often */
    _Atomic int64_t heartbeat_ms;
    int64_t next_sweep_ms;
    size_t n_held;    /* studies that only a commitment holds back, when last looked */
    bool has_started; /* and the audit trail was told */
} daemon_state;

/* Each association needs a socket and a file; the soft limit of 1024 is for programs that use
 * select. */
static void raise_file_limit(const md_conf *conf)
{
    struct rlimit limit;
    rlim_t wanted = OTHER_FILES + 2 * (rlim_t)conf->ae.max_associations;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        md_log(MD_LOG_WARN, "few_file_descriptors", MD_LOG_INT("have", limit.rlim_cur),
               MD_LOG_INT("wanted", wanted));
    }
}

/* Complete what is due; how long nothing else can be. */
static int64_t complete_studies(daemon_state *now)
{
    const char *originals[MD_CONF_MAX_DESTINATIONS];
    md_assembly_policy policy = {
        .quiet_ms = now->conf->study.quiet_ms,
        .deadline_ms = (int64_t)now->conf->study.deadline_s * 1000,
        .originals = originals,
    };
    for (unsigned i = 0; i < now->conf->n_destinations; i++) {
        if (now->conf->destinations[i].originals == MD_ORIGINALS_BEFORE) {
            originals[policy.n_originals++] = now->conf->destinations[i].name;
        }
    }
    unsigned n_complete = 0;
    int64_t wait_ms = 0;
    md_error err = {0};
    if (md_assembly_run(now->store, &policy, md_steady_ms(), &n_complete, &wait_ms, &err) !=
        MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        wait_ms = AFTER_ERROR_MS;
    }
    if (n_complete > 0) {
        md_analyst_wake(now->analyst);
        md_outbox_wake(now->outbox);
    }
    return wait_ms;
}

/* Studies whose time is over, but that a destination has not committed itself to keep: said
 * once, when they become more. */
static void tell_held(daemon_state *now, int64_t ended_before_ms)
{
    size_t n_held = 0;
    md_error err = {0};
    if (md_store_held(now->store, ended_before_ms, &n_held, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return;
    }
    if (n_held > now->n_held) {
        md_log(MD_LOG_WARN, "studies_held", MD_LOG_INT("count", n_held),
               MD_LOG_TEXT("reason", "a destination has not committed itself to keep them"));
    }
    now->n_held = n_held;
}

/* Studies that ended long ago, or that the quota has no room for. */
static void sweep(daemon_state *now)
{
    int64_t now_ms = md_steady_ms();
    if (now_ms < now->next_sweep_ms) {
        return;
    }
    now->next_sweep_ms = now_ms + SWEEP_EVERY_MS;
    const md_retention retention = {
        .ended_before_ms = now_ms - (int64_t)now->conf->storage.keep_h * 3600000,
        .max_bytes = (uint64_t)now->conf->storage.max_gib * 1024 * MIB,
    };
    size_t n_studies = SWEEP_STUDIES;
    size_t n_removed = 0;
    while (n_studies == SWEEP_STUDIES) {
        uint64_t *files = NULL;
        size_t n_files = 0;
        md_error err = {0};
        n_studies = 0;
        if (md_store_retire(now->store, &retention, SWEEP_STUDIES, &files, &n_files, &n_studies,
                            &err) != MD_OK) {
            md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        } else {
            md_spool_remove(now->spool, files, n_files);
            md_free(files);
        }
        n_removed += n_studies;
    }
    if (n_removed > 0) {
        md_log(MD_LOG_INFO, "studies_removed", MD_LOG_INT("count", n_removed));
    }
    tell_held(now, retention.ended_before_ms);
}

/* A sign of life of the main loop, for /healthz and for systemd. */
static void beat(daemon_state *now)
{
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    (void)md_notify("WATCHDOG=1");
}

static md_status loop(daemon_state *now, md_error *err)
{
    for (;;) {
        int64_t wait_ms = complete_studies(now);
        sweep(now);
        beat(now);
        wait_ms = wait_ms > now->round_ms ? now->round_ms : wait_ms;
        struct pollfd waiting = {now->stop_fd, POLLIN, 0};
        if (poll(&waiting, 1, (int)wait_ms + 1) < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "wait for work");
        }
        if (waiting.revents != 0) {
            return MD_OK;
        }
    }
}

static md_status open_store(daemon_state *now, md_error *err)
{
    static const md_conflict_policy conflicts[] = {
        [MD_CONF_CONFLICT_LAST] = MD_CONFLICT_USE_LAST,
        [MD_CONF_CONFLICT_FIRST] = MD_CONFLICT_USE_FIRST,
        [MD_CONF_CONFLICT_REFUSE] = MD_CONFLICT_REFUSE,
    };
    const md_conf *conf = now->conf;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/medaid.db", conf->storage.path);
    MD_TRY(md_folder_create(conf->storage.path, err));
    const md_store_options options = {
        .path = path,
        .conflict = conflicts[conf->study.conflict],
        .late = conf->study.reopen_late ? MD_LATE_REOPEN : MD_LATE_KEEP,
        .max_failures = MD_ANALYST_MAX_ATTEMPTS,
        .max_interruptions = MD_ANALYST_MAX_INTERRUPTIONS,
        .retry_wait_ms = RETRY_WAIT_MS,
    };
    MD_TRY(md_store_open(&options, &now->store, err));
    md_recovery recovery;
    MD_TRY(md_store_recover(now->store, md_steady_ms(), &recovery, err));
    const md_spool_options spool_options = {
        .folder = conf->storage.path,
        .store = now->store,
        .low_bytes = (uint64_t)conf->storage.min_free_mib * MIB,
    };
    md_spool_scan scan;
    MD_TRY(md_spool_open(&spool_options, &now->spool, &scan, err));
    md_log(scan.n_missing > 0 ? MD_LOG_ERROR : MD_LOG_INFO, "storage_opened",
           MD_LOG_INT("files", scan.n_files), MD_LOG_INT("removed", scan.n_removed),
           MD_LOG_INT("missing", scan.n_missing),
           MD_LOG_INT("analysed_again", recovery.n_requeued),
           MD_LOG_INT("sending", recovery.n_sending),
           MD_LOG_INT("quarantined", recovery.n_quarantined + scan.n_quarantined));
    return MD_OK;
}

/* An operator has changed something in the store. */
static void look_again(void *context)
{
    daemon_state *now = context;
    md_analyst_wake(now->analyst);
    md_outbox_wake(now->outbox);
    md_notifiers_wake(now->notifiers);
}

static md_status start_http(daemon_state *now, md_error *err)
{
    const md_http_service service = {
        .conf = now->conf,
        .store = now->store,
        .spool = now->spool,
        .started_ms = md_steady_ms(),
        .heartbeat_ms = &now->heartbeat_ms,
        .on_change = look_again,
        .context = now,
    };
    int64_t watchdog_ms = md_notify_watchdog_ms();
    now->round_ms = MD_HTTP_HEARTBEAT_MS;
    if (watchdog_ms > 0 && watchdog_ms / 3 < now->round_ms) {
        now->round_ms = watchdog_ms / 3;
    }
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    return md_http_start(&service, &now->http, err);
}

static md_status start(daemon_state *now, const md_analyser *analyser, md_error *err)
{
    const md_conf *conf = now->conf;
    raise_file_limit(conf);
    MD_TRY(open_store(now, err));
    MD_TRY(md_audit_start(conf, now->store, err));
    if (analyser->start != NULL) {
        MD_TRY(analyser->start(analyser->context, err));
    }
    MD_TRY(md_outbox_start(conf, now->store, now->spool, NULL, &now->outbox, err));
    MD_TRY(md_notifiers_start(conf, now->store, NULL, &now->notifiers, err));
    return md_listener_start(conf, now->store, now->spool, &now->listener, err);
}

/* In the order in which data moves, so that each stage can still hand on what it holds. */
static void stop(daemon_state *now)
{
    md_http_stop(now->http);
    md_listener_stop(now->listener, STOP_GRACE_MS);
    md_analyst_stop(now->analyst);
    md_outbox_stop(now->outbox);
    md_notifiers_stop(now->notifiers);
    if (now->has_started) {
        md_audit_application(false);
    }
    md_audit_stop(AUDIT_GRACE_MS);
    md_spool_close(now->spool);
    md_store_close(now->store);
}

/* One line with what the store holds. */
static void log_state(const daemon_state *now, const char *event)
{
    md_store_counts counts;
    if (md_store_count(now->store, &counts, NULL) == MD_OK) {
        md_log(MD_LOG_INFO, event, MD_LOG_TEXT("ae_title", now->conf->ae.title),
               MD_LOG_TEXT("bind", now->conf->ae.bind),
               MD_LOG_INT("port", md_listener_port(now->listener)),
               MD_LOG_INT("destinations", now->conf->n_destinations),
               MD_LOG_INT("receiving", counts.studies[MD_STUDY_RECEIVING]),
               MD_LOG_INT("waiting", counts.studies[MD_STUDY_COMPLETE]),
               MD_LOG_INT("sending", counts.studies[MD_STUDY_SENDING]),
               MD_LOG_INT("quarantined", counts.studies[MD_STUDY_QUARANTINED]),
               MD_LOG_INT("undelivered", counts.outbox_dead),
               MD_LOG_INT("paused", md_store_flag_is_set(now->store, MD_STORE_PAUSED)),
               MD_LOG_INT("draining", md_store_flag_is_set(now->store, MD_STORE_DRAINING)));
    }
}

static md_status serve(const md_conf *conf, const md_analyser *analyser, int stop_fd,
                       md_error *err)
{
    daemon_state now = {.conf = conf, .stop_fd = stop_fd};
    md_status status = start(&now, analyser, err);
    if (status == MD_OK) {
        /* Said before the first study is touched, so that the log shows what was when one of
         * those that wait ends the program. */
        log_state(&now, "daemon_started");
        status = md_analyst_start(analyser, conf, now.store, now.spool, now.outbox,
                                  now.notifiers, &now.analyst, err);
    }
    if (status == MD_OK) {
        status = start_http(&now, err);
    }
    if (status == MD_OK) {
        md_audit_application(true);
        now.has_started = true;
        (void)md_notify("READY=1");
        status = loop(&now, err);
        (void)md_notify("STOPPING=1");
        log_state(&now, "daemon_stopping");
    }
    stop(&now);
    return status;
}

/* The eventfd that the signal handler writes; -1: no daemon runs. */
static atomic_int stop_event_fd = -1;

/* A handler and not a blocked signal with signalfd: OpenBLAS starts threads before main, which
 * block nothing, and any thread may be the one that gets the signal. */
static void on_signal(int number)
{
    const uint64_t one = 1;
    int kept = errno;
    (void)number;
    (void)!write(atomic_load(&stop_event_fd), &one, sizeof one);
    errno = kept;
}

md_status md_daemon_serve(const md_conf *conf, const md_analyser *analyser, md_error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction before_term, before_int;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return md_fail_os(err, errno, "eventfd");
    }
    atomic_store(&stop_event_fd, fd);
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, &before_term);
    (void)sigaction(SIGINT, &action, &before_int);
    md_status status = serve(conf, analyser, fd, err);
    (void)sigaction(SIGTERM, &before_term, NULL);
    (void)sigaction(SIGINT, &before_int, NULL);
    atomic_store(&stop_event_fd, -1);
    close(fd);
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "daemon_stopped");
    }
    return status;
}
