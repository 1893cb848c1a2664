#ifndef MEDAID_DAEMON_WORKER_SANDBOX_H
#define MEDAID_DAEMON_WORKER_SANDBOX_H

/* What a worker may still ask the kernel for. Entered in the worker before it loads the first
 * plugin, so that no line of a plugin ever runs outside.
 *
 * Three answers to a system call:
 *   allowed   computing, memory, threads, reading files (Landlock says which), the socket to
 *             main by read and write.
 *   refused   everything that is not named, opening a file to write, changing the file system:
 *             the call gives EPERM, main is told its number ("worker_refused" in the log) and
 * the work goes on, because a library may try such a thing in good faith, and a report that is
 * lost for it would be the greater harm. deadly    network, another program or process, looking
 * into or signalling other processes, kernel interfaces: nothing that analyses an image does it
 * in good faith. The kernel ends the worker with SIGSYS, the study's attempt fails with that
 * reason.
 *
 * Allowed on purpose: memory that is written and then executed (mprotect PROT_EXEC), which
 * oneDNN's code generator needs; and clone with CLONE_THREAD, for OpenMP and OpenBLAS. Shared
 * writable memory is refused, as RLIMIT_DATA does not count it. */

#include "base/memory.h"

/* Switch core dumps off, forbid new privileges, and enter the filter with all threads of the
 * process. `report_fd`: the socket to main; a refused call is told there as an
 * MD_WORKER_REFUSED packet, -1: not told. */
md_status md_sandbox_enter(int report_fd, md_error *err) MD_NODISCARD;

/* Tell main about refused calls again: only the first ones of a study are told. */
void md_sandbox_new_study(void);

/* Limits and rights that hold from the exec on; for the child between vfork and exec, system
 * calls only. 0, or an errno. `memory_bytes` 0: no limit. */
typedef struct md_sandbox_limits {
    uint64_t memory_bytes; /* RLIMIT_DATA: the heap and private writable mappings */
    unsigned n_files;      /* RLIMIT_NOFILE */
    bool may_write;        /* false: RLIMIT_FSIZE file_bytes */
    uint64_t file_bytes;
} md_sandbox_limits;
int md_sandbox_limit_in_child(const md_sandbox_limits *limits);

/* True when this build carries a sanitizer whose shadow memory forbids RLIMIT_DATA. Then the
 * pool's own watch over the resident memory is the only memory limit. */
bool md_sandbox_is_sanitized(void);

/* "socket" for a number, "unknown" when there is no such call. Any thread. */
void md_sandbox_call_name(uint32_t number, char *ret_name, size_t size_bytes);

#endif
