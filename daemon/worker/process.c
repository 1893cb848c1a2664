#include "daemon/worker/process.h"

#include "daemon/worker/landlock.h"
#include "daemon/worker/protocol.h"
#include "daemon/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    N_FILES = 1024,
    MAX_ENVIRONMENT = 128,
    NICENESS = 5,
    EXIT_NOT_STARTED = 127,
    FIRST_HIGH_FD = 16,
};

/* Variables that a worker may see: what steers the libraries, nothing of the service manager
 * and no secret that somebody put into main's environment. */
static bool may_pass(const char *variable)
{
    static const char *const prefixes[] = {
        "LANG=",
        "LC_",
        "TZ=",
        "LD_LIBRARY_PATH=",
        "DCMDICTPATH=",
        "OMP_",
        "GOMP_",
        "OPENBLAS_",
        "GOTO_NUM_THREADS=",
        "DNNL_",
        "ONEDNN_",
        "MALLOC_",
        "GLIBC_TUNABLES=",
        "ASAN_OPTIONS=",
        "UBSAN_OPTIONS=",
        "TSAN_OPTIONS=",
        "MEDAID_",
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void choose_environment(char *chosen[MAX_ENVIRONMENT])
{
    size_t n = 0;
    for (char **variable = environ; *variable != NULL && n < MAX_ENVIRONMENT - 1; variable++) {
        if (may_pass(*variable)) {
            chosen[n++] = *variable;
        }
    }
    chosen[n] = NULL;
}

/* All that the child needs, ready before vfork: the child shares main's memory and may only
 * make system calls. */
typedef struct child_plan {
    const char *program;
    char *const *arguments;
    char *const *environment;
    int socket_fd, shared_fd, null_fd, ruleset_fd,
        weights_fd; /* all above FIRST_HIGH_FD, or -1 */
    md_sandbox_limits limits;
    bool keep_stderr;
    pid_t parent;
    volatile int failed_errno;
} child_plan;

static void write_oom_score(void)
{
    /* when the machine runs out of memory, a worker goes before the main process */
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "500", 3);
        (void)written;
        close(fd);
    }
}

static int prepare_child(const child_plan *plan)
{
    sigset_t none;
    sigemptyset(&none);
    if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return errno;
    }
    if (getppid() != plan->parent) {
        return ESRCH; /* main died before the line above */
    }
    (void)setpriority(PRIO_PROCESS, 0, NICENESS);
    write_oom_score();
    if (dup2(plan->null_fd, 0) < 0 || dup2(plan->null_fd, 1) < 0 ||
        (!plan->keep_stderr && dup2(plan->null_fd, 2) < 0) ||
        dup2(plan->socket_fd, MD_WORKER_SOCKET_FD) < 0 ||
        dup2(plan->shared_fd, MD_WORKER_SHARED_FD) < 0 ||
        (plan->weights_fd >= 0 && dup2(plan->weights_fd, MD_WORKER_WEIGHTS_FD) < 0)) {
        return errno;
    }
    int result = md_sandbox_limit_in_child(&plan->limits);
    if (result == 0 && plan->ruleset_fd >= 0) {
        result = md_landlock_enter_in_child(plan->ruleset_fd);
    }
    const unsigned first_unused =
        (plan->weights_fd >= 0 ? MD_WORKER_WEIGHTS_FD : MD_WORKER_SHARED_FD) + 1;
    if (result == 0 && close_range(first_unused, ~0U, 0) != 0) {
        result = errno;
    }
    if (result == 0 && sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        result = errno;
    }
    return result;
}

/* A function of its own: a vfork child may not return from the function that called vfork, and
 * what it writes is visible in main. */
static __attribute__((noinline)) pid_t start_child(child_plan *plan)
{
    pid_t pid = vfork();
    if (pid != 0) {
        return pid;
    }
    int result = prepare_child(plan);
    if (result == 0) {
        execve(plan->program, plan->arguments, plan->environment);
        result = errno;
    }
    plan->failed_errno = result;
    _exit(EXIT_NOT_STARTED);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static int raise_fd(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_HIGH_FD);
    int os_errno = errno;
    close(fd);
    errno = os_errno;
    return high;
}

/* The block that carries results: of fixed size, so that the worker can neither grow it nor cut
 * it away under main's reading. */
static int make_shared(void)
{
    int fd = memfd_create("medaid-result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (ftruncate(fd, MD_WORKER_SHARED_BYTES) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)) {
        int os_errno = errno;
        close(fd);
        errno = os_errno;
        return -1;
    }
    return fd;
}

static md_status open_channels(const md_worker_start_options *options,
                               md_worker_process *process, child_plan *plan, md_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return md_fail_os(err, errno, "a worker's socket");
    }
    process->socket_fd = pair[0];
    plan->socket_fd = raise_fd(pair[1]);
    process->shared_fd = options->output_fd > 0 ? -1 : make_shared();
    int shared_fd = options->output_fd > 0 ? options->output_fd : process->shared_fd;
    if (shared_fd >= 0) {
        plan->shared_fd = fcntl(shared_fd, F_DUPFD_CLOEXEC, FIRST_HIGH_FD);
    }
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0) {
        plan->null_fd = raise_fd(null_fd);
    }
    if (plan->socket_fd < 0 || plan->shared_fd < 0 || plan->null_fd < 0) {
        return md_fail_os(err, errno, "a worker's descriptors");
    }
    return MD_OK;
}

/* The child gets main's memory until it execs: no handler of main may run in it. */
static pid_t start_with_signals_blocked(child_plan *plan)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = start_child(plan);
    int os_errno = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = os_errno;
    return pid;
}

static md_status start(const md_worker_start_options *options, child_plan *plan,
                       md_worker_process *process, md_error *err)
{
    MD_TRY(open_channels(options, process, plan, err));
    if (options->ruleset_fd >= 0) {
        plan->ruleset_fd = fcntl(options->ruleset_fd, F_DUPFD_CLOEXEC, FIRST_HIGH_FD);
        if (plan->ruleset_fd < 0) {
            return md_fail_os(err, errno, "a worker's descriptors");
        }
    }
    if (options->weights_fd > 0) {
        plan->weights_fd = fcntl(options->weights_fd, F_DUPFD_CLOEXEC, FIRST_HIGH_FD);
        if (plan->weights_fd < 0) {
            return md_fail_os(err, errno, "a worker's descriptors");
        }
    }
    pid_t pid = start_with_signals_blocked(plan);
    if (pid < 0) {
        return md_fail_os(err, errno, "no process for a worker");
    }
    process->pid = pid;
    if (plan->failed_errno != 0) {
        return md_fail_os(err, plan->failed_errno, "%s: a worker did not start", plan->program);
    }
    process->pidfd = pidfd_open(pid, 0);
    if (process->pidfd < 0) {
        return md_fail_os(err, errno, "pidfd_open");
    }
    (void)fcntl(process->pidfd, F_SETFD, FD_CLOEXEC);
    return MD_OK;
}

md_status md_worker_process_start(const md_worker_start_options *options,
                                  md_worker_process *ret_process, md_error *err)
{
    char *environment[MAX_ENVIRONMENT];
    choose_environment(environment);
    const char *const *borrowed = options->arguments;
    char *const *arguments;
    memcpy(&arguments, &borrowed, sizeof arguments); /* execve's type, it does not write */
    child_plan plan = {
        .program = options->program,
        .arguments = arguments,
        .environment = environment,
        .socket_fd = -1,
        .shared_fd = -1,
        .null_fd = -1,
        .ruleset_fd = -1,
        .weights_fd = -1,
        .limits = {.memory_bytes = (uint64_t)options->memory_mib << 20,
                   .n_files = N_FILES,
                   .may_write = options->keep_stderr,
                   .file_bytes = options->output_fd > 0 ? options->output_bytes : 0},
        .keep_stderr = options->keep_stderr,
        .parent = getpid(),
    };
    md_worker_process process = MD_WORKER_PROCESS_NONE;
    md_status status = start(options, &plan, &process, err);
    close_fd(&plan.socket_fd);
    close_fd(&plan.shared_fd);
    close_fd(&plan.null_fd);
    close_fd(&plan.ruleset_fd);
    close_fd(&plan.weights_fd);
    if (status != MD_OK) {
        md_worker_process_end(&process, NULL);
        return status;
    }
    *ret_process = process;
    return MD_OK;
}

void md_worker_process_end(md_worker_process *process, md_worker_end *ret_end)
{
    md_worker_end end = {0};
    if (process->pid > 0) {
        int wait_status = 0;
        struct rusage usage = {0};
        /* not reaped yet, so the number is still this child's */
        (void)kill(process->pid, SIGKILL);
        pid_t reaped;
        do {
            reaped = wait4(process->pid, &wait_status, 0, &usage);
        } while (reaped < 0 && errno == EINTR);
        if (reaped == process->pid) {
            end.by_signal = WIFSIGNALED(wait_status);
            end.code = end.by_signal ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
            end.max_rss_mib = usage.ru_maxrss / 1024;
        }
    }
    process->pid = 0;
    close_fd(&process->pidfd);
    close_fd(&process->socket_fd);
    close_fd(&process->shared_fd);
    if (ret_end != NULL) {
        *ret_end = end;
    }
}

bool md_worker_process_usage(const md_worker_process *process, size_t *ret_rss_bytes,
                             unsigned *ret_n_threads)
{
    char path[40];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    /* proc(5): the second field is the name in brackets, which may hold anything; then field 3
     * is the state, 20 the number of threads, 24 the resident pages */
    const char *at = strrchr(text, ')');
    unsigned long threads = 0, pages = 0;
    for (int field = 3; at != NULL && field <= 24; field++) {
        at = strchr(at + 1, ' ');
        if (at != NULL && field == 20) {
            threads = strtoul(at, NULL, 10);
        } else if (at != NULL && field == 24) {
            pages = strtoul(at, NULL, 10);
        }
    }
    if (at == NULL) {
        return false;
    }
    *ret_rss_bytes = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    *ret_n_threads = (unsigned)threads;
    return true;
}
