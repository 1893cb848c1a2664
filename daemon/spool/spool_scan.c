#include "daemon/spool/spool_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void closedirp(DIR **dir)
{
    if (*dir != NULL) {
        closedir(*dir);
    }
}

/* A number as we write it: exactly n_digits small hexadecimal digits, then `ending`. */
static bool parse_name(const char *name, unsigned n_digits, const char *ending,
                       uint64_t *ret_number)
{
    size_t length = strspn(name, "0123456789abcdef");
    if (length != n_digits || strcmp(name + length, ending) != 0) {
        return false;
    }
    *ret_number = strtoull(name, NULL, 16);
    return true;
}

static int compare_file(const void *key, const void *element)
{
    uint64_t a = *(const uint64_t *)key;
    uint64_t b = ((const md_store_file *)element)->file;
    return a < b ? -1 : a > b;
}

typedef struct scan_state {
    md_spool *spool;
    const md_store_file *rows;
    bool *present;
    size_t n_rows;
    uint64_t highest;
    md_spool_scan *scan;
} scan_state;

static md_status scan_file(scan_state *s, int folder_fd, const char *name, uint64_t shard,
                           md_error *err)
{
    uint64_t number = 0;
    if (!parse_name(name, 16, ".dcm", &number) || number / MD_SPOOL_FILES_A_FOLDER != shard) {
        s->scan->n_foreign++;
        return MD_OK;
    }
    s->highest = number > s->highest ? number : s->highest;
    const md_store_file *row =
        s->n_rows == 0 ? NULL
                       : bsearch(&number, s->rows, s->n_rows, sizeof *s->rows, compare_file);
    if (row == NULL) {
        if (unlinkat(folder_fd, name, 0) != 0 && errno != ENOENT) {
            return md_fail_os(err, errno, "a file that was never acknowledged");
        }
        s->scan->n_removed++;
        return MD_OK;
    }
    struct stat info;
    if (fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
        (uint64_t)info.st_size == row->size_bytes) {
        s->present[row - s->rows] = true;
        s->scan->n_files++;
    }
    return MD_OK;
}

static md_status scan_shard(scan_state *s, const char *name, md_error *err)
{
    uint64_t shard = 0;
    if (!parse_name(name, 12, "", &shard)) {
        s->scan->n_foreign++;
        return MD_OK;
    }
    int fd = openat(s->spool->data_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return md_fail_os(err, errno, "a folder of data/");
    }
    MD_AUTO(closedirp) DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int os_errno = errno;
        close(fd);
        return md_fail_os(err, os_errno, "a folder of data/");
    }
    bool empty = true;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.') {
            continue;
        }
        empty = false;
        MD_TRY(scan_file(s, fd, e->d_name, shard, err));
    }
    if (empty) {
        (void)unlinkat(s->spool->data_fd, name, AT_REMOVEDIR);
    }
    return MD_OK;
}

static md_status empty_incoming(md_spool *spool, md_spool_scan *scan, md_error *err)
{
    MD_AUTO(closedirp) DIR *dir = opendir(spool->incoming);
    if (dir == NULL) {
        return md_fail_os(err, errno, "%s", spool->incoming);
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.' && unlinkat(dirfd(dir), e->d_name, 0) == 0) {
            scan->n_removed++;
        }
    }
    return MD_OK;
}

/* Rows without their file. A study that has ended is left as it is: its result stands. */
static md_status judge_missing(scan_state *s, md_error *err)
{
    int64_t last_study = 0;
    for (size_t i = 0; i < s->n_rows; i++) {
        if (s->present[i]) {
            continue;
        }
        s->scan->n_missing++;
        if (s->rows[i].study == last_study) {
            continue;
        }
        last_study = s->rows[i].study;
        md_status status = md_store_quarantine(
            s->spool->store, last_study, "a file of the study is missing or was cut", err);
        if (status == MD_OK) {
            s->scan->n_quarantined++;
        } else if (status != MD_INVALID_ARG) {
            return status;
        }
    }
    return MD_OK;
}

md_status md_spool_compare(md_spool *spool, md_spool_scan *ret_scan, md_error *err)
{
    md_spool_scan scan = {0};
    MD_AUTO(md_freep) md_store_file *rows = NULL;
    size_t n_rows = 0;
    MD_TRY(md_store_files(spool->store, &rows, &n_rows, err));
    MD_AUTO(md_freep) bool *present = md_calloc(n_rows + 1, sizeof *present);
    if (present == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to compare %zu files", n_rows);
    }
    scan_state s = {.spool = spool,
                    .rows = rows,
                    .present = present,
                    .n_rows = n_rows,
                    .highest = n_rows > 0 ? rows[n_rows - 1].file : 0,
                    .scan = &scan};
    MD_TRY(empty_incoming(spool, &scan, err));
    MD_AUTO(closedirp) DIR *dir = opendir(spool->data);
    if (dir == NULL) {
        return md_fail_os(err, errno, "%s", spool->data);
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            MD_TRY(scan_shard(&s, e->d_name, err));
        }
    }
    MD_TRY(judge_missing(&s, err));
    atomic_store(&spool->next_file, s.highest + 1);
    *ret_scan = scan;
    return MD_OK;
}
