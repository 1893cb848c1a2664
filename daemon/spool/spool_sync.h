#ifndef MEDAID_DAEMON_SPOOL_SYNC_H
#define MEDAID_DAEMON_SPOOL_SYNC_H

/* Waiting for the disk together. Callers queue; up to a few of them lead, each takes all that
 * wait at that moment, syncs once for all and wakes them. Measured on ext4 over a virtual disk
 * (0.5 MB files): a flush takes 1 to 4 ms whether one or sixteen wait for it, flushes that
 * overlap are merged by the kernel, flushes one after the other are not. So: as few in a row as
 * possible (syncfs: data, names and folders in one), and several leaders at a time.
 *
 * Errors are exact: after syncfs each file is asked whether its own writing failed
 * (sync_file_range waits and reports the file's error since it was opened), and when syncfs
 * itself failed each file and folder is synced alone. */

#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
    MD_SYNC_LEADERS = 4
};

typedef struct md_sync_ticket md_sync_ticket;

typedef struct md_sync {
    pthread_mutex_t lock;
    pthread_cond_t done;
    md_sync_ticket *first, **last;
    unsigned leading;                    /* bit for each leader at work */
    int filesystem_fds[MD_SYNC_LEADERS]; /* one each: the kernel tells an error once a
                                            descriptor */
    bool by_file, may_switch;
    atomic_int_least64_t by_file_until_us;
    atomic_uint_least64_t n_waits, n_files;
} md_sync;

/* folder: on the file system to sync. md_sync_finish also after a failure. */
md_status md_sync_init(md_sync *sync, const char *folder, bool by_file, bool may_switch,
                       md_error *err) MD_NODISCARD;
void md_sync_finish(md_sync *sync);

/* Return when the content of the open file `fd` and the names in the folder `folder_fd` are on
 * disk. 0 or an errno. */
int md_sync_wait(md_sync *sync, int fd, int folder_fd);

#endif
