#include "daemon/spool/spool_sync.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
    /* Somebody else fills this file system: leave syncfs alone for a while. */
    SLOW_US = 1000000,
    AVOID_US = 30000000
};

struct md_sync_ticket {
    int fd, folder_fd;
    int os_errno;
    bool file_is_synced; /* by its own caller */
    bool done;
    md_sync_ticket *next;
};

md_status md_sync_init(md_sync *sync, const char *folder, bool by_file, bool may_switch,
                       md_error *err)
{
    memset(sync, 0, sizeof *sync);
    pthread_mutex_init(&sync->lock, NULL);
    pthread_cond_init(&sync->done, NULL);
    sync->last = &sync->first;
    sync->by_file = by_file;
    sync->may_switch = may_switch;
    for (unsigned i = 0; i < MD_SYNC_LEADERS; i++) {
        sync->filesystem_fds[i] = -1;
    }
    for (unsigned i = 0; i < MD_SYNC_LEADERS; i++) {
        sync->filesystem_fds[i] = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sync->filesystem_fds[i] < 0) {
            return md_fail_os(err, errno, "%s", folder);
        }
    }
    return MD_OK;
}

void md_sync_finish(md_sync *sync)
{
    for (unsigned i = 0; i < MD_SYNC_LEADERS; i++) {
        if (sync->filesystem_fds[i] >= 0) {
            close(sync->filesystem_fds[i]);
            sync->filesystem_fds[i] = -1;
        }
    }
    pthread_mutex_destroy(&sync->lock);
    pthread_cond_destroy(&sync->done);
}

static int result_of(int returned)
{
    return returned == 0 ? 0 : errno;
}

static void sync_each(md_sync_ticket *first)
{
    for (md_sync_ticket *t = first; t != NULL; t = t->next) {
        if (!t->file_is_synced) {
            t->os_errno = result_of(fdatasync(t->fd));
        }
        /* Files that came together are mostly in one folder: one sync serves them all. */
        bool known = false;
        for (md_sync_ticket *e = first; e != t && !known && t->os_errno == 0; e = e->next) {
            known = e->folder_fd == t->folder_fd && e->os_errno == 0;
        }
        if (!known && t->os_errno == 0) {
            t->os_errno = result_of(fsync(t->folder_fd));
        }
    }
}

static void sync_filesystem(md_sync *sync, int filesystem_fd, md_sync_ticket *first)
{
    int64_t start_us = md_clock_monotonic_us();
    int failed = syncfs(filesystem_fd);
    int64_t end_us = md_clock_monotonic_us();
    if (sync->may_switch && end_us - start_us > SLOW_US) {
        atomic_store(&sync->by_file_until_us, end_us + AVOID_US);
    }
    if (failed != 0) {
        sync_each(first);
        return;
    }
    for (md_sync_ticket *t = first; t != NULL; t = t->next) {
        t->os_errno = result_of(sync_file_range(t->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE));
    }
}

static bool goes_by_file(md_sync *sync)
{
    return sync->by_file ||
           (sync->may_switch && md_clock_monotonic_us() < atomic_load(&sync->by_file_until_us));
}

/* Called with the lock, returns with it. */
static void lead(md_sync *sync, unsigned leader, bool by_file)
{
    md_sync_ticket *first = sync->first;
    sync->first = NULL;
    sync->last = &sync->first;
    sync->leading |= 1u << leader;
    pthread_mutex_unlock(&sync->lock);
    atomic_fetch_add(&sync->n_waits, 1);
    if (by_file) {
        sync_each(first);
    } else {
        sync_filesystem(sync, sync->filesystem_fds[leader], first);
    }
    pthread_mutex_lock(&sync->lock);
    sync->leading &= ~(1u << leader);
    for (md_sync_ticket *t = first; t != NULL;) {
        md_sync_ticket *next = t->next; /* its caller may return once done is seen */
        t->done = true;
        t = next;
    }
    pthread_cond_broadcast(&sync->done);
}

int md_sync_wait(md_sync *sync, int fd, int folder_fd)
{
    md_sync_ticket ticket = {.fd = fd, .folder_fd = folder_fd};
    bool by_file = goes_by_file(sync);
    if (by_file) {
        ticket.os_errno = result_of(fdatasync(fd));
        if (ticket.os_errno != 0) {
            return ticket.os_errno;
        }
        ticket.file_is_synced = true;
    }
    atomic_fetch_add(&sync->n_files, 1);
    pthread_mutex_lock(&sync->lock);
    *sync->last = &ticket;
    sync->last = &ticket.next;
    while (!ticket.done) {
        unsigned leader = (unsigned)__builtin_ctz(~sync->leading);
        if (sync->first != NULL && leader < MD_SYNC_LEADERS) {
            lead(sync, leader, by_file);
        } else {
            pthread_cond_wait(&sync->done, &sync->lock);
        }
    }
    pthread_mutex_unlock(&sync->lock);
    return ticket.os_errno;
}
