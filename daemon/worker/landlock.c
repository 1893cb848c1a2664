#include "daemon/worker/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

/* Debian 12's kernel headers end at interface version 2; later ones are numbers of the kernel's
 * stable interface and may be used when the running kernel reports the version. */
#define ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)  /* version 3 */
#define ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15) /* version 5 */
#define ACCESS_NET_BIND_TCP (UINT64_C(1) << 0)  /* version 4 */
#define ACCESS_NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0) /* version 6 */
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

/* struct landlock_ruleset_attr as version 6 has it. */
typedef struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
} ruleset_attr;

static const uint64_t read_rights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

int md_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

md_status md_landlock_create(int *ret_fd, md_error *err)
{
    int abi = md_landlock_abi();
    if (abi == 0) {
        return md_fail(err, MD_UNSUPPORTED, "this kernel has no Landlock");
    }
    ruleset_attr attr = {.handled_access_fs = (UINT64_C(1) << 13) - 1};
    size_t size_bytes = sizeof attr.handled_access_fs;
    if (abi >= 2) {
        attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    }
    if (abi >= 3) {
        attr.handled_access_fs |= ACCESS_FS_TRUNCATE;
    }
    if (abi >= 4) {
        attr.handled_access_net = ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP;
        size_bytes += sizeof attr.handled_access_net;
    }
    if (abi >= 5) {
        attr.handled_access_fs |= ACCESS_FS_IOCTL_DEV;
    }
    if (abi >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
        size_bytes += sizeof attr.scoped;
    }
    long fd = syscall(SYS_landlock_create_ruleset, &attr, size_bytes, 0);
    if (fd < 0) {
        return md_fail_os(err, errno, "landlock_create_ruleset");
    }
    *ret_fd = (int)fd;
    return MD_OK;
}

static long add_rule(int ruleset_fd, int path_fd, uint64_t rights)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = path_fd};
    return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

md_status md_landlock_admit(int ruleset_fd, const char *path, md_landlock_right right,
                            md_error *err)
{
    uint64_t rights = read_rights;
    if (right == MD_LANDLOCK_READ_EXECUTE) {
        rights |= LANDLOCK_ACCESS_FS_EXECUTE;
    } else if (right == MD_LANDLOCK_READ_WRITE) {
        rights |= LANDLOCK_ACCESS_FS_WRITE_FILE;
    }
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        int os_errno = errno;
        return os_errno == ENOENT ? md_fail(err, MD_NOT_FOUND, "%s: no such file", path)
                                  : md_fail_os(err, os_errno, "%s", path);
    }
    struct stat info;
    int os_errno = fstat(fd, &info) != 0 ? errno : 0;
    if (os_errno == 0 && !S_ISDIR(info.st_mode)) {
        rights &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR; /* refused by the kernel on a file */
    }
    if (os_errno == 0 && add_rule(ruleset_fd, fd, rights) != 0) {
        os_errno = errno;
    }
    close(fd);
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "%s: landlock_add_rule", path);
}

static md_status admit_all(int fd, const char *const *paths, size_t n, md_landlock_right right,
                           md_error *err)
{
    for (size_t i = 0; i < n; i++) {
        md_status status = md_landlock_admit(fd, paths[i], right, err);
        if (status != MD_OK && status != MD_NOT_FOUND) {
            return status;
        }
    }
    return MD_OK;
}

md_status md_landlock_admit_system(int ruleset_fd, md_error *err)
{
    static const char *const run[] = {"/usr", "/lib", "/lib64"};
    static const char *const read[] = {
        "/etc/ld.so.cache",    "/etc/localtime", "/etc/dcmtk", "/etc/ssl/openssl.cnf",
        "/proc/cpuinfo",       "/proc/meminfo",  "/proc/stat", "/proc/sys/vm/overcommit_memory",
        "/sys/devices/system", "/dev/urandom",
    };
    static const char *const both[] = {"/dev/null"};
    MD_TRY(admit_all(ruleset_fd, run, sizeof run / sizeof *run, MD_LANDLOCK_READ_EXECUTE, err));
    MD_TRY(admit_all(ruleset_fd, read, sizeof read / sizeof *read, MD_LANDLOCK_READ, err));
    return admit_all(ruleset_fd, both, sizeof both / sizeof *both, MD_LANDLOCK_READ_WRITE, err);
}

int md_landlock_enter_in_child(int ruleset_fd)
{
    /* the process keeps its number over exec, so this is the worker's own folder */
    int fd = open("/proc/self", O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        (void)add_rule(ruleset_fd, fd, read_rights);
        close(fd);
    }
    return syscall(SYS_landlock_restrict_self, ruleset_fd, 0) != 0 ? errno : 0;
}
