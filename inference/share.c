#include "inference/share.h"

#include "inference/network_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL
};

md_status md_share_create(int *ret_fd, md_error *err)
{
    int fd = memfd_create("medaid-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)MD_SHARE_MAX_BYTES) != 0) {
        const int os_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
        return md_fail_os(err, os_errno, "memory for shared weights");
    }
    *ret_fd = fd;
    return MD_OK;
}

static size_t whole_pages(size_t n_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n_bytes + page - 1) / page * page;
}

static bool is_sealed(int fd)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS;
}

/* What is done with one chunk and its place in the file. */
typedef md_status chunk_fn(const md_share *share, md_plan_chunk *chunk, size_t n_bytes,
                           size_t offset, size_t *ret_done, md_error *err);

static md_status for_each(md_network *const *networks, unsigned n_networks,
                          const md_share *share, chunk_fn *work, size_t *ret_done,
                          md_error *err)
{
    size_t offset = 0;
    for (unsigned i = 0; i < n_networks; i++) {
        for (md_plan_chunk *c = md_network_plan(networks[i])->chunks; c != NULL; c = c->next) {
            const size_t n_bytes = whole_pages(c->n_used);
            if (n_bytes > MD_SHARE_MAX_BYTES - offset) {
                return MD_OK; /* the rest stays private */
            }
            if (n_bytes > 0) {
                MD_TRY(work(share, c, n_bytes, offset, ret_done, err));
            }
            offset += n_bytes;
        }
    }
    return MD_OK;
}

/* By a mapping: a limit of the size of written files, as workers have one, is not for it. */
static md_status write_chunk(const md_share *share, md_plan_chunk *chunk, size_t n_bytes,
                             size_t offset, size_t *ret_done, md_error *err)
{
    (void)ret_done;
    (void)err;
    memcpy(share->writable + offset, chunk->data, n_bytes);
    return MD_OK;
}

static md_status map_chunk(const md_share *share, md_plan_chunk *chunk, size_t n_bytes,
                           size_t offset, size_t *ret_done, md_error *err)
{
    void *from = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, share->fd, (off_t)offset);
    if (from == MAP_FAILED) {
        return md_fail_os(err, errno, "reading shared weights");
    }
    /* sealed: it stays as it is compared */
    const bool same = memcmp(from, chunk->data, n_bytes) == 0;
    if (same && mremap(from, n_bytes, n_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, chunk->data) ==
                    MAP_FAILED) {
        return md_fail_os(err, errno, "mapping shared weights");
    }
    if (!same) {
        (void)munmap(from, n_bytes);
    }
    *ret_done += same ? n_bytes : 0;
    return MD_OK;
}

/* The lock is the process's, and ends with it. */
static md_status lock(int fd, short type, md_error *err)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    while (fcntl(fd, F_SETLKW, &whole) != 0) {
        if (errno != EINTR) {
            return md_fail_os(err, errno, "locking shared weights");
        }
    }
    return MD_OK;
}

md_status md_share_begin(int fd, md_share *ret_share, md_error *err)
{
    struct stat info;
    *ret_share = (md_share){0};
    if (fstat(fd, &info) != 0 || (size_t)info.st_size != MD_SHARE_MAX_BYTES) {
        return md_fail(err, MD_INVALID_ARG, "not a file for shared weights");
    }
    if (!is_sealed(fd)) {
        MD_TRY(lock(fd, F_WRLCK, err));
        if (is_sealed(fd)) {
            MD_TRY(lock(fd, F_UNLCK, err));
        } else {
            void *writable =
                mmap(NULL, MD_SHARE_MAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (writable == MAP_FAILED) {
                const int os_errno = errno;
                (void)lock(fd, F_UNLCK, NULL);
                return md_fail_os(err, os_errno, "writing shared weights");
            }
            ret_share->writable = writable;
        }
    }
    ret_share->fd = fd;
    return MD_OK;
}

static md_status fill(md_network *const *networks, unsigned n_networks, md_share *share,
                      md_error *err)
{
    size_t unused = 0;
    if (share->writable == NULL) {
        return MD_OK;
    }
    md_status status = for_each(networks, n_networks, share, write_chunk, &unused, err);
    (void)munmap(share->writable, MD_SHARE_MAX_BYTES); /* or it could not be sealed */
    share->writable = NULL;
    MD_TRY(status);
    return fcntl(share->fd, F_ADD_SEALS, SEALS) == 0
               ? MD_OK
               : md_fail_os(err, errno, "sealing shared weights");
}

md_status md_network_share(md_network *const *networks, unsigned n_networks, md_share *share,
                           size_t *ret_shared_bytes, md_error *err)
{
    size_t done = 0;
    if (share->fd > 0) {
        MD_TRY(fill(networks, n_networks, share, err));
        MD_TRY(for_each(networks, n_networks, share, map_chunk, &done, err));
    }
    *ret_shared_bytes = done;
    return MD_OK;
}
