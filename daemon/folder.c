#include "daemon/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

md_status md_folder_sync(const char *path, md_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    int os_errno = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "%s", path);
}

md_status md_folder_empty(const char *path, md_error *err)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return md_fail_os(err, errno, "%s", path);
    }
    int os_errno = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        bool is_dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_dot && unlinkat(dirfd(folder), entry->d_name, 0) != 0 && errno != ENOENT) {
            os_errno = errno;
        }
    }
    closedir(folder);
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "empty %s", path);
}
