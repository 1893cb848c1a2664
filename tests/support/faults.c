/* A library for LD_PRELOAD that makes writing fail as a bad or full disk does, steered while
 * the program runs. $MEDAID_FAULTS names a file of `struct control` (tests/support/faults.py
 * writes it), which is mapped when the program starts; without it nothing is changed. A call on
 * a file (not on a socket, pipe or terminal) fails with the given chance. */

/* Programs call the names with 64, libraries some without: both are meant here. */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(default)

struct control {
    _Atomic uint32_t write_ppm;  /* of 1,000,000 calls of write, pwrite, writev */
    _Atomic uint32_t sync_ppm;   /* fsync, fdatasync, syncfs */
    _Atomic uint32_t rename_ppm; /* rename, renameat, link */
    _Atomic uint32_t error;      /* the errno of all of them */
    _Atomic uint32_t n_failed;   /* calls that were made to fail */
    _Atomic uint64_t free_bytes; /* what statvfs says is free; 0: the truth */
};

static struct control *now;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("MEDAID_FAULTS");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    now = map == MAP_FAILED ? NULL : map;
}

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        abort();
    }
    return found;
}

/* xorshift64*, one state for each thread */
static uint32_t random_ppm(void)
{
    static _Atomic uint64_t seed = 0x9e3779b97f4a7c15;
    static _Thread_local uint64_t state;
    if (state == 0) {
        state = atomic_fetch_add(&seed, 0x9e3779b97f4a7c15) ^ ((uint64_t)getpid() << 20);
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717u) >> 33) % 1000000;
}

static bool must_fail(const _Atomic uint32_t *ppm)
{
    if (now == NULL || atomic_load(ppm) == 0 || random_ppm() >= atomic_load(ppm)) {
        return false;
    }
    atomic_fetch_add(&now->n_failed, 1);
    errno = (int)atomic_load(&now->error);
    return true;
}

static bool is_file(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

static bool write_fails(int fd)
{
    /* standard error is the log, which a test reads */
    return now != NULL && fd != STDERR_FILENO && fd != STDOUT_FILENO && is_file(fd) &&
           must_fail(&now->write_ppm);
}

static bool fails(size_t offset)
{
    return now != NULL && must_fail((_Atomic uint32_t *)((char *)now + offset));
}

#define SYNC_FAILS fails(offsetof(struct control, sync_ppm))
#define RENAME_FAILS fails(offsetof(struct control, rename_ppm))

#define WRAP(type, name, parameters, arguments, condition)                                     \
    type name parameters                                                                       \
    {                                                                                          \
        static type(*original) parameters;                                                     \
        if (original == NULL) {                                                                \
            original = (type(*) parameters)next(#name);                                        \
        }                                                                                      \
        return (condition) ? -1 : original arguments;                                          \
    }

WRAP(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n), write_fails(fd))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, n, at),
     write_fails(fd))
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t n, off64_t at), (fd, bytes, n, at),
     write_fails(fd))
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n),
     write_fails(fd))
WRAP(int, fsync, (int fd), (fd), SYNC_FAILS)
WRAP(int, fdatasync, (int fd), (fd), SYNC_FAILS)
WRAP(int, syncfs, (int fd), (fd), SYNC_FAILS)
WRAP(int, rename, (const char *from, const char *to), (from, to), RENAME_FAILS)
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to),
     RENAME_FAILS)
WRAP(int, link, (const char *from, const char *to), (from, to), RENAME_FAILS)

#define WRAP_STATVFS(name, from_type, about_type)                                              \
    int name(from_type from, about_type *about)                                                \
    {                                                                                          \
        static int (*original)(from_type, about_type *);                                       \
        if (original == NULL) {                                                                \
            original = (int (*)(from_type, about_type *))next(#name);                          \
        }                                                                                      \
        int result = original(from, about);                                                    \
        uint64_t free_bytes = now == NULL ? 0 : atomic_load(&now->free_bytes);                 \
        if (result == 0 && free_bytes != 0) {                                                  \
            about->f_bavail = about->f_bfree = free_bytes / about->f_frsize;                   \
        }                                                                                      \
        return result;                                                                         \
    }

WRAP_STATVFS(statvfs, const char *, struct statvfs)
WRAP_STATVFS(statvfs64, const char *, struct statvfs64)
WRAP_STATVFS(fstatvfs, int, struct statvfs)
WRAP_STATVFS(fstatvfs64, int, struct statvfs64)
