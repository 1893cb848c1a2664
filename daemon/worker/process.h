#ifndef MEDAID_DAEMON_WORKER_PROCESS_H
#define MEDAID_DAEMON_WORKER_PROCESS_H

/* One worker process, seen from main: started with the two descriptors it needs and nothing
 * else, watched through a pidfd, ended and reaped by the one who started it. Nobody else in the
 * process may wait for it.
 *
 * The kernel kills the worker when the thread that started it ends (PR_SET_PDEATHSIG), so that
 * no worker outlives a killed main process: the starting thread must live as long as the
 * worker. One thread at a time. */

#include "base/memory.h"

#include <sys/types.h>

typedef struct md_worker_process {
    pid_t pid; /* 0: not running */
    int pidfd, socket_fd, shared_fd;
} md_worker_process;

#define MD_WORKER_PROCESS_NONE                                                                 \
    {                                                                                          \
        .pidfd = -1, .socket_fd = -1, .shared_fd = -1                                          \
    }

typedef struct md_worker_start_options {
    const char *program;          /* "/proc/self/exe" or a path */
    const char *const *arguments; /* argv, NULL ends it */
    unsigned memory_mib;          /* 0: no limit */
    int ruleset_fd;               /* Landlock, -1: none */
    /* Instead of the block for results: a file that becomes the worker's MD_WORKER_SHARED_FD,
     * and how much may be written to it. It stays the caller's. 0: none. */
    int output_fd;
    uint64_t output_bytes;
    int weights_fd;   /* becomes MD_WORKER_WEIGHTS_FD; it stays the caller's. 0: none */
    bool keep_stderr; /* for finding errors: the worker's standard error is main's. Otherwise it
                         is /dev/null: a plugin may print what it likes, patients' data too */
} md_worker_start_options;

/* Start. MD_IO says which step failed; then nothing is left behind. */
md_status md_worker_process_start(const md_worker_start_options *options,
                                  md_worker_process *ret_process, md_error *err) MD_NODISCARD;

/* How it ended. */
typedef struct md_worker_end {
    bool by_signal;
    int code;         /* signal or exit status */
    long max_rss_mib; /* the most memory that it ever held */
} md_worker_end;
/* SIGKILL when it still runs, reap, close all. Nothing happens when it is not running, and then
 * ret_end is zeroed. ret_end may be NULL. */
void md_worker_process_end(md_worker_process *process, md_worker_end *ret_end);

/* Resident memory and number of threads of a running worker; false when it is gone. */
bool md_worker_process_usage(const md_worker_process *process, size_t *ret_rss_bytes,
                             unsigned *ret_n_threads);

#endif
