#include "plugins/host/package_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void md_package_closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

md_status md_package_read_file(int folder, const char *name, size_t max_bytes,
                               uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    MD_AUTO(md_package_closep)
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int os_errno = errno;
        if (os_errno == ENOENT) {
            return md_fail(err, MD_NOT_FOUND, "%s: no such file", name);
        }
        if (os_errno == ELOOP) {
            return md_fail(err, MD_FORMAT, "%s: a symbolic link, expected the file itself",
                           name);
        }
        return md_fail_os(err, os_errno, "%s", name);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return md_fail_os(err, errno, "%s", name);
    }
    if (!S_ISREG(info.st_mode)) {
        return md_fail(err, MD_FORMAT, "%s: not a regular file", name);
    }
    if ((uint64_t)info.st_size > max_bytes) {
        return md_fail(err, MD_LIMIT, "%s: %lld bytes, at most %zu are read", name,
                       (long long)info.st_size, max_bytes);
    }
    size_t size_bytes = (size_t)info.st_size;
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(size_bytes);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory for %zu bytes", name, size_bytes);
    }
    for (size_t done = 0; done < size_bytes;) {
        ssize_t n = read(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return md_fail_os(err, errno, "%s", name);
        }
        if (n == 0) {
            return md_fail(err, MD_IO, "%s: became shorter while it was read", name);
        }
        done += (size_t)n;
    }
    *ret_bytes = MD_STEAL(bytes);
    *ret_size = size_bytes;
    return MD_OK;
}

md_status md_package_read_listed(int folder, const md_manifest *m, const char *name,
                                 size_t max_bytes, uint8_t **ret_bytes, size_t *ret_size,
                                 md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_package_read_file(folder, name, max_bytes, &bytes, &size_bytes, err));
    uint8_t digest[MD_SHA256_BYTES];
    char hex[MD_SHA256_HEX_BYTES];
    md_sha256(bytes, size_bytes, digest);
    md_hex(digest, sizeof digest, hex);
    const char *expected = md_manifest_sha256(m, name);
    if (expected == NULL || strcmp(hex, expected) != 0) {
        return md_fail(err, MD_FORMAT,
                       "%s: its SHA-256 begins with %.16s, model.yaml says %.16s: the file is "
                       "not the one that was measured",
                       name, hex, expected != NULL ? expected : "nothing");
    }
    *ret_bytes = MD_STEAL(bytes);
    *ret_size = size_bytes;
    return MD_OK;
}
