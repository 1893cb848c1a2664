#include "daemon/daemon.h"

#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/assembly.h"
#include "daemon/audit/audit.h"
#include "daemon/commitment.h"
#include "daemon/eta/eta.h"
#include "daemon/http/server.h"
#include "daemon/listener.h"
#include "daemon/notify.h"
#include "daemon/privileges.h"
#include "daemon/reload.h"
#include "daemon/steady.h"
#include "daemon/ups/courier.h"
#include "daemon/ups/maker.h"
#include "daemon/ups/service.h"
#include "daemon/web/web.h"
#include "dicom/network/scp.h"

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
    const md_conf *conf;       /* held; another one after a reload */
    const md_conf *first_conf; /* held; what does not change with a reload borrows it */
    md_policy policy;
    md_model_required *required; /* owned */
    md_store *store;
    md_spool *spool;
    md_outbox *outbox;
    md_notifiers *notifiers;
    md_couriers *couriers; /* NULL: no workitems */
    md_ups ups;
    md_cases *cases; /* NULL: none are kept */
    md_follow_up_engine *follow_up;
    md_analyst *analyst;
    md_listener *listener;
    md_eta *eta; /* NULL: no estimates */
    md_http *http;
    md_web *web;
    md_commitment_sink sink;
    md_scp_service services[2]; /* of the listener, beside storage */
    int bound_fd;               /* the port's socket until the listener has it; -1 */
    int signal_fd;              /* an eventfd: a signal has come */
    int64_t round_ms;           /* the loop goes round so often */
    _Atomic int64_t heartbeat_ms;
    int64_t next_sweep_ms;
    size_t n_held;    /* studies that only a commitment holds back, when last looked */
    bool has_started; /* and the audit trail was told */
} daemon_state;

/* What the signal handler leaves: the eventfd that it writes (-1: no daemon runs), and why. */
static atomic_int signal_event_fd = -1;
static atomic_bool stop_wanted, reload_wanted;

/* A handler and not a blocked signal with signalfd: OpenBLAS starts threads before main, which
 * block nothing, and any thread may be the one that gets the signal. */
static void on_signal(int number)
{
    const uint64_t one = 1;
    int kept = errno;
    atomic_store(number == SIGHUP ? &reload_wanted : &stop_wanted, true);
    (void)!write(atomic_load(&signal_event_fd), &one, sizeof one);
    errno = kept;
}

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
    now->policy.conf = now->conf;
    unsigned n_complete = 0;
    int64_t wait_ms = 0;
    md_error err = {0};
    if (md_assembly_run(now->store, &now->policy, md_steady_ms(), &n_complete, &wait_ms,
                        &err) != MD_OK) {
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

/* Workitems that ended long ago, and what nobody could be told in all that time: also to AEs
 * that are no longer configured. */
static void sweep_workitems(daemon_state *now, int64_t now_ms)
{
    size_t n = SWEEP_STUDIES, n_removed = 0, n_dropped = 0;
    md_error err = {0};
    md_status status = MD_OK;
    while (n == SWEEP_STUDIES && status == MD_OK) {
        status = md_store_ups_retire(
            now->store, now_ms - (int64_t)now->conf->ups.keep_h * 3600000, n, &n, &err);
        n_removed += status == MD_OK ? n : 0;
    }
    if (status == MD_OK) {
        status = md_store_ups_expire(now->store,
                                     now_ms - 2 * (int64_t)now->conf->ups.retry_for_h * 3600000,
                                     &n_dropped, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
    }
    if (n_removed > 0 || n_dropped > 0) {
        md_log(MD_LOG_INFO, "workitems_removed", MD_LOG_INT("count", n_removed),
               MD_LOG_INT("messages_dropped", n_dropped));
    }
}

/* How long studies waited for their reader, also when nothing is estimated from it. */
static void sweep_readings(daemon_state *now, int64_t now_ms)
{
    size_t n = 0;
    md_error err = {0};
    if (md_store_reading_retire(now->store,
                                now_ms - (int64_t)now->conf->eta.history_days * 86400000, &n,
                                &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
    }
}

/* What studies looked like that were analysed long ago, also when no more of it is kept. */
static void sweep_vectors(daemon_state *now, int64_t now_ms)
{
    const int64_t keep_d = now->conf->similar.keep_d;
    const md_vector_retention retention = {
        .found_before_ms = keep_d > 0 ? now_ms - keep_d * 86400000 : 0,
        .with_study = keep_d == 0,
    };
    size_t n = SWEEP_STUDIES, n_removed = 0;
    md_error err = {0};
    md_status status = MD_OK;
    while (n == SWEEP_STUDIES && status == MD_OK) {
        status = md_store_vector_retire(now->store, &retention, n, &n, &err);
        n_removed += status == MD_OK ? n : 0;
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
    }
    if (n_removed > 0) {
        md_log(MD_LOG_INFO, "cases_removed", MD_LOG_INT("count", n_removed));
        md_cases_forget(now->cases);
    }
}

/* Studies that ended long ago, or that the quota has no room for. */
static void sweep(daemon_state *now)
{
    int64_t now_ms = md_steady_ms();
    if (now_ms < now->next_sweep_ms) {
        return;
    }
    now->next_sweep_ms = now_ms + SWEEP_EVERY_MS;
    sweep_workitems(now, now_ms);
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
    sweep_vectors(now, now_ms);
    sweep_readings(now, now_ms);
    tell_held(now, retention.ended_before_ms);
}

/* A sign of life of the main loop, for /healthz and for systemd. */
static void beat(daemon_state *now)
{
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    (void)md_notify("WATCHDOG=1");
}

static void tell_fixed(void *context, const char *key)
{
    (void)context;
    md_log(MD_LOG_WARN, "reload_needs_restart", MD_LOG_TEXT("key", key),
           MD_LOG_TEXT("then", "the earlier value stays until a restart"));
}

/* Give everybody the new configuration; the listener first, because it alone may refuse it. */
static md_status use_conf(daemon_state *now, const md_conf *next, md_error *err)
{
    MD_TRY(md_listener_reload(now->listener, next, err));
    const md_conf *before = now->conf;
    now->conf = md_conf_hold(next);
    md_conf_drop(before);
    md_error why = {0};
    if (md_outbox_reload(now->outbox, next, &why) != MD_OK) {
        md_log(MD_LOG_ERROR, "reload_incomplete", MD_LOG_TEXT("reason", why.msg),
               MD_LOG_TEXT("then", "a destination waits for the next reload"));
    }
    md_follow_up_reload(now->follow_up, next);
    md_analyst_reload(now->analyst, next);
    md_http_reload(now->http, next);
    md_web_reload(now->web, next);
    md_audit_reload(next);
    md_log_set_level(md_log_level_of(next->log.level));
    return MD_OK;
}

static md_status load_conf(const daemon_state *now, const md_conf **ret_next,
                           unsigned *ret_n_fixed, md_error *err)
{
    if (now->conf->path[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG, "it was started without --config");
    }
    MD_AUTO(md_freep) md_conf *next = md_calloc(1, sizeof *next);
    if (next == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the configuration");
    }
    MD_TRY(md_conf_load(now->conf->path, next, err));
    *ret_n_fixed = md_reload_keep_fixed(now->conf, next, tell_fixed, NULL);
    md_status status = md_conf_share(next, ret_next, err);
    md_conf_finish(next);
    return status;
}

/* SIGHUP. Associations, analyses and sendings that run end with the configuration that they
 * began with. */
static void reload(daemon_state *now)
{
    const md_conf *next = NULL;
    unsigned n_fixed = 0;
    md_error err = {0};
    md_status status = load_conf(now, &next, &n_fixed, &err);
    if (status == MD_OK) {
        status = use_conf(now, next, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "reload_failed", MD_LOG_TEXT("reason", err.msg),
               MD_LOG_TEXT("then", "the earlier configuration stays"));
    } else {
        md_log(MD_LOG_INFO, "configuration_reloaded",
               MD_LOG_INT("destinations", next->n_destinations),
               MD_LOG_INT("need_restart", n_fixed));
    }
    md_conf_drop(next);
}

static md_status loop(daemon_state *now, md_error *err)
{
    for (;;) {
        int64_t wait_ms = complete_studies(now);
        sweep(now);
        beat(now);
        wait_ms = wait_ms > now->round_ms ? now->round_ms : wait_ms;
        struct pollfd waiting = {now->signal_fd, POLLIN, 0};
        if (poll(&waiting, 1, (int)wait_ms + 1) < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "wait for work");
        }
        uint64_t n_signals = 0;
        (void)!read(now->signal_fd, &n_signals, sizeof n_signals);
        if (atomic_load(&stop_wanted)) {
            return MD_OK;
        }
        if (atomic_exchange(&reload_wanted, false)) {
            reload(now);
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
        .ageing_ms = (int64_t)conf->study.overtake_s * 1000 / MD_CONF_PRIORITY_HIGH,
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
    md_couriers_wake(now->couriers);
}

/* Read on medaid's own page or by medaidctl. */
static md_status complete_workitem(void *context, const char *study_key, md_error *err)
{
    daemon_state *now = context;
    md_status status =
        md_ups_complete_study(now->first_conf, now->store, study_key, md_steady_ms(), err);
    md_couriers_wake(now->couriers);
    return status;
}

static md_status start_eta(daemon_state *now, md_error *err)
{
    const md_conf *conf = now->first_conf;
    const md_eta_options options = {
        .least_studies = conf->eta.least_studies,
        .history_days = conf->eta.history_days,
        .refit_ms = (int64_t)conf->eta.refit_h * 3600000,
    };
    return conf->eta.enabled ? md_eta_start(&options, now->store, &now->eta, err) : MD_OK;
}

static md_status start_http(daemon_state *now, md_error *err)
{
    MD_TRY(start_eta(now, err));
    const md_http_service service = {
        .conf = now->conf,
        .store = now->store,
        .spool = now->spool,
        .cases = now->cases,
        .started_ms = md_steady_ms(),
        .eta = now->eta,
        .heartbeat_ms = &now->heartbeat_ms,
        .on_change = look_again,
        .on_read = now->first_conf->ups.enabled ? complete_workitem : NULL,
        .follow_up = now->follow_up,
        .context = now,
    };
    int64_t watchdog_ms = md_notify_watchdog_ms();
    now->round_ms = MD_HTTP_HEARTBEAT_MS;
    if (watchdog_ms > 0 && watchdog_ms / 3 < now->round_ms) {
        now->round_ms = watchdog_ms / 3;
    }
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    MD_TRY(md_web_start(&service, &now->web, err));
    return md_http_start(&service, &now->http, err);
}

/* The port while there is the right to it; then that right is given up, before anything from
 * outside is looked at. */
static md_status bind_and_drop(daemon_state *now, md_error *err)
{
    const md_conf *conf = now->conf;
    bool is_root = false;
    MD_TRY(md_scp_bind(conf->ae.bind[0] != '\0' ? conf->ae.bind : NULL, conf->ae.port,
                       &now->bound_fd, err));
    MD_TRY(md_privileges_drop(conf, &is_root, err));
    if (is_root) {
        md_log(MD_LOG_WARN, "running_as_root",
               MD_LOG_TEXT("then", "set `user`, or start it as another user"));
    }
    return MD_OK;
}

/* A report of a destination says that objects have to go there once more. */
static void send_again(void *context)
{
    daemon_state *now = context;
    md_outbox_wake(now->outbox);
}

static void wake_couriers(void *context)
{
    md_couriers_wake(((const daemon_state *)context)->couriers);
}

/* What studies are judged by: the configuration, and what the models require. */
static md_status make_policy(daemon_state *now, const md_analyser *analyser, md_error *err)
{
    now->policy.conf = now->conf;
    if (analyser->required == NULL) {
        return MD_OK;
    }
    now->required = md_calloc(MD_CONF_MAX_NAMES, sizeof *now->required);
    if (now->required == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for what models require");
    }
    now->policy.n_models =
        analyser->required(analyser->context, now->required, MD_CONF_MAX_NAMES);
    now->policy.models = now->required;
    return MD_OK;
}

/* Without similar cases the daemon serves all the same. */
static md_status open_cases(daemon_state *now, const md_analyser *analyser, md_error *err)
{
    MD_AUTO(md_freep) md_model_embeds *models = md_calloc(MD_CONF_MAX_NAMES, sizeof *models);
    if (models == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for what models leave of a study");
    }
    const md_cases_options options = {
        .conf = now->conf,
        .store = now->store,
        .models = models,
        .n_models = analyser->embeds != NULL
                        ? analyser->embeds(analyser->context, models, MD_CONF_MAX_NAMES)
                        : 0,
    };
    md_error why = {0};
    if (md_cases_open(&options, &now->cases, &why) != MD_OK) {
        md_log(MD_LOG_ERROR, "similar_failed", MD_LOG_TEXT("reason", why.msg),
               MD_LOG_TEXT("then", "no similar cases until a restart"));
    }
    return MD_OK;
}

static md_status start(daemon_state *now, const md_analyser *analyser, md_error *err)
{
    const md_conf *conf = now->conf;
    raise_file_limit(conf);
    MD_TRY(bind_and_drop(now, err));
    MD_TRY(open_store(now, err));
    MD_TRY(md_audit_start(conf, now->store, err));
    if (analyser->start != NULL) {
        MD_TRY(analyser->start(analyser->context, err));
    }
    MD_TRY(make_policy(now, analyser, err));
    MD_TRY(open_cases(now, analyser, err));
    MD_TRY(md_follow_up_start(now->conf, now->store, &now->follow_up, err));
    MD_TRY(md_outbox_start(conf, now->store, now->spool, NULL, &now->outbox, err));
    MD_TRY(md_notifiers_start(now->first_conf, now->store, NULL, &now->notifiers, err));
    now->ups = (md_ups){now->first_conf, now->store, wake_couriers, now};
    if (now->first_conf->ups.enabled) {
        /* workitems are datasets that this process reads itself; DCMTK's words go to the log */
        MD_TRY(md_dicom_init(err));
        MD_TRY(md_couriers_start(now->first_conf, now->store, &now->couriers, err));
    }
    int bound_fd = now->bound_fd;
    now->bound_fd = -1;
    now->sink = (md_commitment_sink){now->store, send_again, now};
    now->services[0] =
        (md_scp_service){&md_commitment_class, 1, md_commitment_serve, &now->sink};
    now->services[1] = md_ups_scp_service(&now->ups);
    size_t n_services = now->first_conf->ups.enabled ? 2 : 1;
    return md_listener_start(conf, now->store, now->spool, bound_fd, now->services, n_services,
                             &now->listener, err);
}

/* In the order in which data moves, so that each stage can still hand on what it holds. */
static void stop(daemon_state *now)
{
    md_web_stop(now->web);
    md_http_stop(now->http);
    md_eta_stop(now->eta);
    md_listener_stop(now->listener, STOP_GRACE_MS);
    md_analyst_stop(now->analyst);
    md_follow_up_stop(now->follow_up);
    md_outbox_stop(now->outbox);
    md_notifiers_stop(now->notifiers);
    md_couriers_stop(now->couriers);
    if (now->has_started) {
        md_audit_application(false);
    }
    md_audit_stop(AUDIT_GRACE_MS);
    md_cases_close(now->cases);
    md_spool_close(now->spool);
    md_store_close(now->store);
    if (now->bound_fd >= 0) {
        close(now->bound_fd);
    }
    md_conf_drop(now->conf);
    md_conf_drop(now->first_conf);
    md_free(now->required);
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

static md_status serve(const md_conf *conf, const md_analyser *analyser, int signal_fd,
                       md_error *err)
{
    daemon_state now = {.signal_fd = signal_fd, .bound_fd = -1};
    MD_TRY(md_conf_share(conf, &now.conf, err));
    now.first_conf = md_conf_hold(now.conf);
    md_status status = start(&now, analyser, err);
    if (status == MD_OK) {
        /* Said before the first study is touched, so that the log shows what was when one of
         * those that wait ends the program. */
        log_state(&now, "daemon_started");
        status = md_analyst_start(analyser, &now.policy, now.store, now.spool, now.outbox,
                                  now.notifiers, now.couriers, now.cases, now.follow_up,
                                  &now.analyst, err);
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

md_status md_daemon_serve(const md_conf *conf, const md_analyser *analyser, md_error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction before_term, before_int, before_hup;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return md_fail_os(err, errno, "eventfd");
    }
    atomic_store(&stop_wanted, false);
    atomic_store(&reload_wanted, false);
    atomic_store(&signal_event_fd, fd);
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, &before_term);
    (void)sigaction(SIGINT, &action, &before_int);
    (void)sigaction(SIGHUP, &action, &before_hup);
    md_status status = serve(conf, analyser, fd, err);
    (void)sigaction(SIGTERM, &before_term, NULL);
    (void)sigaction(SIGINT, &before_int, NULL);
    (void)sigaction(SIGHUP, &before_hup, NULL);
    atomic_store(&signal_event_fd, -1);
    close(fd);
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "daemon_stopped");
    }
    return status;
}
