#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

static void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

md_status md_file_read(const char *path, size_t max_bytes, uint8_t **ret_bytes,
                       size_t *ret_size, md_error *err)
{
    MD_AUTO(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int os_errno = errno;
        if (os_errno == ENOENT) {
            return md_fail(err, MD_NOT_FOUND, "%s: no such file", path);
        }
        return md_fail_os(err, os_errno, "%s", path);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return md_fail(err, MD_INVALID_ARG, "%s: not a regular file", path);
    }
    if ((uint64_t)info.st_size > max_bytes) {
        return md_fail(err, MD_LIMIT, "%s: %lld bytes, at most %zu are read", path,
                       (long long)info.st_size, max_bytes);
    }
    size_t size_bytes = (size_t)info.st_size;
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(size_bytes + 1);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory for %zu bytes", path, size_bytes);
    }
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t n = read(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return md_fail_os(err, errno, "%s", path);
        }
        if (n == 0) {
            break; /* the file shrank meanwhile: what is there counts */
        }
        done += (size_t)n;
    }
    bytes[done] = 0;
    *ret_bytes = MD_STEAL(bytes);
    *ret_size = done;
    return MD_OK;
}

static int write_all(int fd, const uint8_t *bytes, size_t size_bytes)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t n = write(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        done += (size_t)n;
    }
    return fdatasync(fd) == 0 ? 0 : errno;
}

static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    MD_AUTO(closep) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

md_status md_file_write(const char *path, md_file_mode mode, const void *bytes,
                        size_t size_bytes, md_error *err)
{
    static atomic_uint counter;
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld.%u.part", path, (long)getpid(),
                          atomic_fetch_add(&counter, 1));
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return md_fail(err, MD_LIMIT, "a path of more than %d bytes", PATH_MAX - 32);
    }
    MD_AUTO(closep) int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    int os_errno = write_all(fd, bytes, size_bytes);
    if (os_errno == 0 && mode == MD_FILE_NEW) {
        os_errno = link(temporary, path) == 0 ? 0 : errno;
    } else if (os_errno == 0) {
        os_errno = rename(temporary, path) == 0 ? 0 : errno;
    }
    if (os_errno != 0 || mode == MD_FILE_NEW) {
        unlink(temporary);
    }
    if (os_errno == EEXIST) {
        return md_fail(err, MD_BUSY, "%s: exists already and is not overwritten", path);
    }
    if (os_errno == 0) {
        os_errno = sync_folder_of(path);
    }
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "%s", path);
}

md_status md_folder_create(const char *path, md_error *err)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial) {
        return md_fail(err, MD_INVALID_ARG, "a folder name of %zu bytes", length);
    }
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') {
            continue;
        }
        char kept = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0700) != 0 && errno != EEXIST) {
            return md_fail_os(err, errno, "%s", partial);
        }
        partial[i] = kept;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return md_fail(err, MD_IO, "%s: is not a folder", path);
    }
    return MD_OK;
}

void md_sha256(const void *bytes, size_t size_bytes, uint8_t ret_digest[MD_SHA256_BYTES])
{
    unsigned length = 0;
    if (EVP_Digest(bytes, size_bytes, ret_digest, &length, EVP_sha256(), NULL) != 1) {
        abort(); /* the library has no SHA-256 or no memory: nothing here can go on safely */
    }
}

void md_hex(const uint8_t *bytes, size_t n, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret_text[2 * i] = digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_text[2 * n] = '\0';
}
