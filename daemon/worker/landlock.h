#ifndef MEDAID_DAEMON_WORKER_LANDLOCK_H
#define MEDAID_DAEMON_WORKER_LANDLOCK_H

/* Landlock (kernel documentation userspace-api/landlock): which parts of the file system a
 * process and all that it becomes may still reach. The set is made in main, where memory may be
 * allocated, and entered in the child between vfork and exec with system calls alone, so that
 * every thread of the worker is inside, also those that libraries start before main() (OpenBLAS
 * does): a set entered later would hold for one thread only.
 *
 * Everything that the running kernel knows is denied (files, TCP, signals and abstract sockets
 * to the outside), then the rules admit. */

#include "base/memory.h"

typedef enum md_landlock_right {
    MD_LANDLOCK_READ,         /* read files, list folders */
    MD_LANDLOCK_READ_EXECUTE, /* also execute: programs and the dynamic loader */
    MD_LANDLOCK_READ_WRITE,   /* a file such as /dev/null */
} md_landlock_right;

/* The version of the kernel's interface, 0 when Landlock is not built in or switched off. */
int md_landlock_abi(void);

/* A set that admits nothing yet: *ret_fd, close-on-exec, the caller closes it. MD_UNSUPPORTED
 * when md_landlock_abi is 0. */
md_status md_landlock_create(int *ret_fd, md_error *err) MD_NODISCARD;
/* Admit `path` and, for a folder, all below. MD_NOT_FOUND when it does not exist. */
md_status md_landlock_admit(int ruleset_fd, const char *path, md_landlock_right right,
                            md_error *err) MD_NODISCARD;

/* Admit what every program needs: the system's libraries, what describes the processor, DCMTK's
 * dictionary, /dev/null. What of it is not there is passed over. */
md_status md_landlock_admit_system(int ruleset_fd, md_error *err) MD_NODISCARD;

/* For the child between vfork and exec; system calls only. Admit reading the child's own
 * /proc/<pid>, then enter the set, which needs PR_SET_NO_NEW_PRIVS. 0, or an errno. */
int md_landlock_enter_in_child(int ruleset_fd);

#endif
