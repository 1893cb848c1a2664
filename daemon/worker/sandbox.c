#include "daemon/worker/sandbox.h"

#include "daemon/worker/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <seccomp.h>

enum {
    MAX_PROCESSES = 4096, /* of the user; the kernel does not count them for root */
    MAX_TOLD = 16,        /* refused calls that are told to main, for one study */
};

/* Calls without a condition. A name that this machine does not have is skipped. */
static const char *const allowed_calls[] = {
    /* memory */
    "brk", "munmap", "mprotect", "mremap", "madvise", "membarrier",
    /* threads and time */
    "futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address",
    "gettid", "getpid", "getppid", "sched_yield", "sched_getaffinity", "sched_setaffinity",
    "getcpu", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday",
    "time", "times", "exit", "exit_group", "restart_syscall", "arch_prctl",
    /* signals to itself are below */
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
    "sigaltstack",
    /* open files; opening is below */
    "read", "readv", "pread64", "preadv", "write", "writev", "lseek", "close", "close_range",
    "dup", "fstat", "newfstatat", "stat", "lstat", "statx", "fstatfs", "statfs", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd", "fadvise64",
    "readahead", "poll", "ppoll", "select", "pselect6",
    /* who and where am I */
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "uname",
    "sysinfo", "getrandom", "getrlimit", "getrusage", "capget"};

/* The kernel ends the process. */
static const char *const deadly_calls[] = {"socket",
                                           "socketpair",
                                           "connect",
                                           "bind",
                                           "listen",
                                           "accept",
                                           "accept4",
                                           "sendto",
                                           "sendmsg",
                                           "sendmmsg",
                                           "recvfrom",
                                           "recvmsg",
                                           "recvmmsg",
                                           "shutdown",
                                           "setsockopt",
                                           "execve",
                                           "execveat",
                                           "fork",
                                           "vfork",
                                           "ptrace",
                                           "process_vm_readv",
                                           "process_vm_writev",
                                           "process_madvise",
                                           "pidfd_open",
                                           "pidfd_getfd",
                                           "pidfd_send_signal",
                                           "kcmp",
                                           "tkill",
                                           "rt_sigqueueinfo",
                                           "rt_tgsigqueueinfo",
                                           "mount",
                                           "umount2",
                                           "move_mount",
                                           "open_tree",
                                           "fsopen",
                                           "pivot_root",
                                           "chroot",
                                           "setns",
                                           "unshare",
                                           "bpf",
                                           "perf_event_open",
                                           "init_module",
                                           "finit_module",
                                           "delete_module",
                                           "kexec_load",
                                           "kexec_file_load",
                                           "reboot",
                                           "add_key",
                                           "request_key",
                                           "keyctl",
                                           "io_uring_setup",
                                           "io_uring_enter",
                                           "io_uring_register",
                                           "userfaultfd",
                                           "personality",
                                           "iopl",
                                           "ioperm",
                                           "acct",
                                           "swapon",
                                           "swapoff",
                                           "settimeofday",
                                           "clock_settime",
                                           "setuid",
                                           "setgid",
                                           "setresuid",
                                           "setresgid",
                                           "setreuid",
                                           "setregid",
                                           "setfsuid",
                                           "setfsgid",
                                           "setgroups",
                                           "capset"};

/* A sanitizer looks through a pipe whether memory can be read. */
static const char *const sanitizer_calls[] = {"pipe", "pipe2"};

/* Quietly not there: the C library and OpenMP ask, and know what to do without. */
typedef struct quiet_call {
    const char *name;
    int os_errno;
} quiet_call;
static const quiet_call quiet_calls[] = {
    {"clone3", ENOSYS}, /* its flags lie in memory, where a filter cannot look; clone serves */
    {"openat2", ENOSYS},
    {"ioctl", ENOTTY},
    {"mbind", ENOSYS},
    {"get_mempolicy", ENOSYS},
    {"set_mempolicy", ENOSYS},
    {"mlock", EPERM},
    {"munlock", EPERM},
    {"sched_getscheduler", ENOSYS},
    {"sched_setscheduler", EPERM},
    {"sched_getparam", ENOSYS},
    {"sched_getattr", ENOSYS},
    {"getpriority", ENOSYS},
    {"setpriority", EPERM},
    {"memfd_create", ENOSYS},
    {"getxattr", ENOTSUP},
    {"flock", EPERM},
};

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR) {
            continue;
        }
        int result = seccomp_rule_add(filter, action, number, 0);
        if (result != 0 && result != -EDOM) {
            return result;
        }
    }
    return 0;
}

/* Opening: to read only, and nothing may be made or changed. O_PATH, O_NOFOLLOW and the like do
 * not matter. */
static int add_open(scmp_filter_ctx filter)
{
    const scmp_datum_t writes = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | O_EXCL |
                                (O_TMPFILE & ~(unsigned)O_DIRECTORY);
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, writes, O_RDONLY));
    if (result == 0) {
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, writes, O_RDONLY));
    }
    return result == -EDOM ? 0 : result;
}

/* Private memory, and shared mappings of files that cannot be written through them. */
static int add_mmap(scmp_filter_ctx filter)
{
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_SHARED | MAP_GROWSDOWN, 0));
    if (result == 0) {
        result =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0),
                             SCMP_A3(SCMP_CMP_MASKED_EQ,
                                     MAP_SHARED | MAP_GROWSDOWN | MAP_ANONYMOUS, MAP_SHARED));
    }
    return result;
}

/* Threads, but no processes; signals to itself (abort), but to nobody else. */
static int add_processes(scmp_filter_ctx filter)
{
    const scmp_datum_t own = (scmp_datum_t)getpid();
    const struct {
        uint32_t action;
        int call;
        struct scmp_arg_cmp condition;
    } rules[] = {
        {SCMP_ACT_ALLOW, SCMP_SYS(clone),
         SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)},
        {SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)},
        {SCMP_ACT_ALLOW, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, own)},
        {SCMP_ACT_KILL_PROCESS, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_NE, own)},
        {SCMP_ACT_ALLOW, SCMP_SYS(kill), SCMP_A0(SCMP_CMP_EQ, own)},
        {SCMP_ACT_KILL_PROCESS, SCMP_SYS(kill), SCMP_A0(SCMP_CMP_NE, own)},
        /* asking for limits, not setting them */
        {SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0)},
        {SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFD)},
        {SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_SETFD)},
        {SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFL)},
        {SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_ADD_SEALS)},
        {SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_DUPFD_CLOEXEC)},
        {SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)},
        {SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_GET_NAME)},
        {SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_GET_DUMPABLE)},
        {SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, 0x53564d41)}, /* PR_SET_VMA */
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        int result =
            seccomp_rule_add(filter, rules[i].action, rules[i].call, 1, rules[i].condition);
        if (result != 0 && result != -EDOM) {
            return result;
        }
    }
    return 0;
}

static int add_rules(scmp_filter_ctx filter)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    /* foreign system call tables (32 bit on a 64-bit kernel) */
    if (result == 0) {
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    }
    if (result == 0) {
        result = add_names(filter, SCMP_ACT_ALLOW, allowed_calls,
                           sizeof allowed_calls / sizeof *allowed_calls);
    }
    if (result == 0) {
        result = add_names(filter, SCMP_ACT_KILL_PROCESS, deadly_calls,
                           sizeof deadly_calls / sizeof *deadly_calls);
    }
    if (result == 0 && md_sandbox_is_sanitized()) {
        result = add_names(filter, SCMP_ACT_ALLOW, sanitizer_calls,
                           sizeof sanitizer_calls / sizeof *sanitizer_calls);
    }
    for (size_t i = 0; result == 0 && i < sizeof quiet_calls / sizeof *quiet_calls; i++) {
        result = add_names(filter, SCMP_ACT_ERRNO((uint32_t)quiet_calls[i].os_errno),
                           &quiet_calls[i].name, 1);
    }
    if (result == 0) {
        result = add_open(filter);
    }
    if (result == 0) {
        result = add_mmap(filter);
    }
    return result == 0 ? add_processes(filter) : result;
}

/* ---- a refused call ---- */

static int told_fd = -1;
static int n_told;

static void set_call_result(ucontext_t *context, long value)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = value;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long long)value;
#else
#error "the sandbox knows x86_64 and aarch64"
#endif
}

/* Runs in the thread that made the call; async-signal-safe. A plugin may take this handler
 * away: then the kernel ends the process, and the call is not done either way. */
static void on_refused(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    int saved = errno;
    if (told_fd >= 0 && __atomic_fetch_add(&n_told, 1, __ATOMIC_RELAXED) < MAX_TOLD) {
        uint32_t number = (uint32_t)info->si_syscall;
        const uint8_t packet[5] = {MD_WORKER_REFUSED, (uint8_t)number, (uint8_t)(number >> 8),
                                   (uint8_t)(number >> 16), (uint8_t)(number >> 24)};
        ssize_t written = write(told_fd, packet, sizeof packet);
        (void)written;
    }
    set_call_result(context, -EPERM);
    errno = saved;
}

void md_sandbox_new_study(void)
{
    __atomic_store_n(&n_told, 0, __ATOMIC_RELAXED);
}

md_status md_sandbox_enter(int report_fd, md_error *err)
{
    told_fd = report_fd;
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        sigaction(SIGSYS, &action, NULL) != 0) {
        return md_fail_os(err, errno, "the worker's sandbox");
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    if (filter == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the system call filter");
    }
    int result = add_rules(filter);
    if (result == 0) {
        result = seccomp_load(filter);
    }
    seccomp_release(filter);
    return result == 0 ? MD_OK : md_fail_os(err, -result, "the system call filter");
}

static int limit(int resource, rlim_t value)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0) {
        return errno;
    }
    const rlim_t bounded = value < now.rlim_max ? value : now.rlim_max;
    const struct rlimit wanted = {.rlim_cur = bounded, .rlim_max = bounded};
    return setrlimit((__rlimit_resource_t)resource, &wanted) != 0 ? errno : 0;
}

int md_sandbox_limit_in_child(const md_sandbox_limits *limits)
{
    int result = limit(RLIMIT_CORE, 0);
    result = result == 0 ? limit(RLIMIT_MSGQUEUE, 0) : result;
    result = result == 0 ? limit(RLIMIT_NOFILE, limits->n_files) : result;
    result = result == 0 ? limit(RLIMIT_NPROC, MAX_PROCESSES) : result;
    if (result == 0 && !limits->may_write) {
        result = limit(RLIMIT_FSIZE, limits->file_bytes);
    }
    if (result == 0 && limits->memory_bytes > 0 && !md_sandbox_is_sanitized()) {
        result = limit(RLIMIT_DATA, limits->memory_bytes);
    }
    /* A worker of root: exec gives back what is in the bounding set, so it is emptied. Another
     * user may not and need not: it has no capability to lose. */
    for (unsigned long capability = 0; capability < 64; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            break;
        }
    }
    if (result == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        result = errno;
    }
    return result;
}

bool md_sandbox_is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

void md_sandbox_call_name(uint32_t number, char *ret_name, size_t size_bytes)
{
    char *name = number > INT32_MAX
                     ? NULL
                     : seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)number);
    snprintf(ret_name, size_bytes, "%s", name == NULL ? "unknown" : name);
    free(name);
}
