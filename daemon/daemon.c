#include "daemon/daemon.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/listener.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    STOP_GRACE_MS = 10000,
    SWEEP_EVERY_MS = 300000,
    KEEP_MS = 24 * 3600 * 1000, /* received objects of finished studies, for late ones */
    OTHER_FILES = 1536,         /* descriptors beside associations: pending clients, files */
};

typedef struct daemon_state {
    const md_conf *conf;
    md_store *store;
    md_assembly *assembly;
    md_queue *queue;
    md_outbox *outbox;
    md_analyst *analyst;
    md_listener *listener;
    int stop_fd, wake_fd;  /* eventfds: a signal has come; look again */
    int64_t next_sweep_ms; /* monotonic */
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

/* From the listener's threads: the next completion may be earlier than the loop thinks. */
static void wake(void *context)
{
    const daemon_state *now = context;
    const uint64_t one = 1;
    (void)!write(now->wake_fd, &one, sizeof one);
}

static void take_unfinished(void *context, const char *study_key, const md_study_files *files)
{
    daemon_state *now = context;
    md_error err = {0};
    const md_moment seen = {md_clock_monotonic_us() / 1000, files->last_ms};
    md_log(MD_LOG_INFO, "study_found", MD_LOG_TEXT("study", study_key),
           MD_LOG_INT("objects", files->n_paths));
    if (md_assembly_add(now->assembly, study_key, seen, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "study_not_opened", MD_LOG_TEXT("study", study_key),
               MD_LOG_TEXT("reason", err.msg));
    }
}

static void queue_complete(daemon_state *now)
{
    md_complete_study study;
    while (md_assembly_take(now->assembly, md_moment_now(), &study)) {
        md_error err = {0};
        md_log(MD_LOG_INFO, "study_complete", MD_LOG_TEXT("study", study.key),
               MD_LOG_INT("objects", study.n_objects),
               MD_LOG_INT("receiving_ms", study.last_received_ms - study.first_received_ms));
        if (md_queue_push(now->queue, &study, &err) != MD_OK) {
            /* its objects are on disk: the next start finds it */
            md_log(MD_LOG_ERROR, "queue_failed", MD_LOG_TEXT("study", study.key),
                   MD_LOG_TEXT("reason", err.msg));
        }
    }
}

static void sweep(daemon_state *now)
{
    unsigned n_removed = 0;
    md_error err = {0};
    int64_t now_ms = md_clock_monotonic_us() / 1000;
    if (now_ms < now->next_sweep_ms) {
        return;
    }
    now->next_sweep_ms = now_ms + SWEEP_EVERY_MS;
    if (md_store_sweep(now->store, md_clock_wall_ms() - KEEP_MS, &n_removed, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
    }
    if (n_removed > 0) {
        md_log(MD_LOG_INFO, "studies_removed", MD_LOG_INT("count", n_removed));
    }
}

static md_status loop(daemon_state *now, md_error *err)
{
    for (;;) {
        queue_complete(now);
        sweep(now);
        int64_t wait_ms = md_assembly_wait_ms(now->assembly, md_moment_now());
        if (wait_ms < 0 || wait_ms > SWEEP_EVERY_MS) {
            wait_ms = SWEEP_EVERY_MS;
        }
        struct pollfd waiting[2] = {{now->stop_fd, POLLIN, 0}, {now->wake_fd, POLLIN, 0}};
        if (poll(waiting, 2, (int)wait_ms + 1) < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "wait for work");
        }
        if (waiting[0].revents != 0) {
            return MD_OK;
        }
        if (waiting[1].revents != 0) {
            uint64_t n = 0;
            (void)!read(now->wake_fd, &n, sizeof n);
        }
    }
}

static md_status start(daemon_state *now, const md_analyser *analyser, md_error *err)
{
    const md_conf *conf = now->conf;
    now->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (now->wake_fd < 0) {
        return md_fail_os(err, errno, "eventfd");
    }
    raise_file_limit(conf);
    MD_TRY(md_store_open(conf->storage.path, &now->store, err));
    MD_TRY(md_assembly_create(conf->study.quiet_ms, &now->assembly, err));
    MD_TRY(md_queue_create_memory(&now->queue, err));
    MD_TRY(md_store_find_unfinished(now->store, take_unfinished, now, err));
    MD_TRY(md_outbox_start(conf, now->store, NULL, &now->outbox, err));
    MD_TRY(md_analyst_start(analyser, now->queue, now->store, now->outbox, &now->analyst, err));
    return md_listener_start(conf, now->store, now->assembly, wake, now, &now->listener, err);
}

/* In the order in which data moves, so that each stage can still hand on what it holds. */
static void stop(daemon_state *now)
{
    md_listener_stop(now->listener, STOP_GRACE_MS);
    if (now->queue != NULL) {
        md_queue_close(now->queue);
    }
    md_analyst_stop(now->analyst);
    md_outbox_stop(now->outbox);
    md_queue_destroy(now->queue);
    md_assembly_destroy(now->assembly);
    md_store_close(now->store);
    if (now->wake_fd >= 0) {
        close(now->wake_fd);
    }
}

static md_status serve(const md_conf *conf, const md_analyser *analyser, int stop_fd,
                       md_error *err)
{
    daemon_state now = {.conf = conf, .stop_fd = stop_fd, .wake_fd = -1};
    md_status status = start(&now, analyser, err);
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "daemon_started", MD_LOG_TEXT("ae_title", conf->ae.title),
               MD_LOG_TEXT("bind", conf->ae.bind),
               MD_LOG_INT("port", md_listener_port(now.listener)),
               MD_LOG_INT("destinations", conf->n_destinations),
               MD_LOG_INT("unfinished_studies", md_assembly_n_open(now.assembly)));
        status = loop(&now, err);
        md_log(MD_LOG_INFO, "daemon_stopping",
               MD_LOG_INT("open_studies", md_assembly_n_open(now.assembly)),
               MD_LOG_INT("waiting_studies", md_queue_count(now.queue, MD_STUDY_COMPLETE)));
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
