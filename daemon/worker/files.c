#include "daemon/worker/files.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

md_status md_worker_files_prepare(const char *folder, md_error *err)
{
    MD_TRY(md_folder_create(folder, err));
    DIR *listing = opendir(folder);
    if (listing == NULL) {
        return md_fail_os(err, errno, "a worker's folder");
    }
    int os_errno = 0;
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        bool own = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!own && unlinkat(dirfd(listing), entry->d_name, 0) != 0) {
            os_errno = errno;
        }
    }
    closedir(listing);
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "a worker's folder");
}

static int write_all(int fd, const uint8_t *bytes, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        ssize_t n = write(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        done += n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

/* 0 or an errno. */
static int copy_file(const char *from, const char *to)
{
    enum {
        CHUNK_BYTES = 1 << 18
    };
    MD_AUTO(closep) int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        return errno;
    }
    MD_AUTO(closep) int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0) {
        return errno;
    }
    MD_AUTO(md_freep) uint8_t *chunk = md_malloc(CHUNK_BYTES);
    if (chunk == NULL) {
        return ENOMEM;
    }
    for (;;) {
        ssize_t n = read(in, chunk, CHUNK_BYTES);
        if (n == 0) {
            return 0;
        }
        int os_errno = n < 0 ? errno : write_all(out, chunk, (size_t)n);
        if (os_errno != 0 && os_errno != EINTR) {
            return os_errno;
        }
    }
}

static int put_file(const char *from, const char *to)
{
    if (link(from, to) == 0) {
        return 0;
    }
    int os_errno = errno;
    /* another file system, one without links, too many links, or links forbidden to others'
     * files (fs.protected_hardlinks) */
    if (os_errno == EXDEV || os_errno == EPERM || os_errno == EMLINK ||
        os_errno == EOPNOTSUPP) {
        return copy_file(from, to);
    }
    return os_errno;
}

static bool name_of(const char *folder, size_t index, char ret_path[PATH_MAX])
{
    int length = snprintf(ret_path, PATH_MAX, "%s/%06zu", folder, index);
    return length > 0 && length < PATH_MAX;
}

md_status md_worker_files_put(const char *folder, const char *const *paths, size_t n_paths,
                              md_error *err)
{
    for (size_t i = 0; i < n_paths; i++) {
        char to[PATH_MAX];
        int os_errno = name_of(folder, i, to) ? put_file(paths[i], to) : ENAMETOOLONG;
        if (os_errno != 0) {
            md_worker_files_clear(folder, i + 1);
            return os_errno == ENOENT
                       ? md_fail(err, MD_INTERNAL, "file %zu of %zu is not there", i + 1,
                                 n_paths)
                       : md_fail_os(err, os_errno, "file %zu of %zu for a worker", i + 1,
                                    n_paths);
        }
    }
    return MD_OK;
}

void md_worker_files_clear(const char *folder, size_t n_paths)
{
    for (size_t i = 0; i < n_paths; i++) {
        char path[PATH_MAX];
        if (name_of(folder, i, path)) {
            (void)unlink(path);
        }
    }
}
