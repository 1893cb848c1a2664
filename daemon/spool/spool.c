#include "daemon/spool/spool_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    READ_BYTES = 1 << 18,
    SHARD_NAME_BYTES = 16,
    FILE_NAME_BYTES = 24
};

static void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

static bool statvfs_free_bytes(void *context, uint64_t *ret_bytes)
{
    const md_spool *spool = context;
    struct statvfs info;
    if (fstatvfs(spool->data_fd, &info) != 0) {
        return false;
    }
    *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return true;
}

static char *joined(const char *folder, const char *name)
{
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = md_malloc(length);
    if (path != NULL) {
        snprintf(path, length, "%s/%s", folder, name);
    }
    return path;
}

static md_status make_folders(md_spool *spool, const char *folder, md_error *err)
{
    spool->folder = md_strdup(folder);
    spool->incoming = joined(folder, "incoming");
    spool->data = joined(folder, "data");
    if (spool->folder == NULL || spool->incoming == NULL || spool->data == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the spool");
    }
    if (strlen(spool->data) + SHARD_NAME_BYTES + FILE_NAME_BYTES > MD_SPOOL_PATH_BYTES) {
        return md_fail(err, MD_LIMIT, "the storage folder's name is too long");
    }
    MD_TRY(md_folder_create(spool->incoming, err));
    MD_TRY(md_folder_create(spool->data, err));
    spool->data_fd = open(spool->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MD_AUTO(closep) int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* data/ too: a program that was killed may have made a folder and not come to this */
    if (spool->data_fd < 0 || folder_fd < 0 || fsync(folder_fd) != 0 ||
        fsync(spool->data_fd) != 0) {
        return md_fail_os(err, errno, "%s", folder);
    }
    return MD_OK;
}

md_status md_spool_open(const md_spool_options *options, md_spool **ret_spool,
                        md_spool_scan *ret_scan, md_error *err)
{
    md_spool *opened = md_calloc(1, sizeof *opened);
    if (opened == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the spool");
    }
    opened->store = options->store;
    md_store_content_key(options->store, opened->content_key);
    opened->data_fd = -1;
    opened->low_bytes = options->low_bytes;
    opened->high_bytes = options->high_bytes > options->low_bytes
                             ? options->high_bytes
                             : options->low_bytes + options->low_bytes / 16;
    opened->free_bytes = options->free_bytes != NULL ? options->free_bytes : statvfs_free_bytes;
    opened->context = options->free_bytes != NULL ? options->context : opened;
    pthread_mutex_init(&opened->shard_lock, NULL);
    for (unsigned i = 0; i < MD_SPOOL_OPEN_FOLDERS; i++) {
        opened->shards[i].fd = -1;
    }
    md_status status = make_folders(opened, options->folder, err);
    if (status == MD_OK) {
        opened->sync_is_ready = true;
        status = md_sync_init(&opened->sync, opened->data, options->sync == MD_SPOOL_SYNC_FILES,
                              options->sync == MD_SPOOL_SYNC_AUTO, err);
    }
    MD_AUTO(md_spool_closep) md_spool *spool = opened;
    MD_TRY(status);
    MD_TRY(md_spool_compare(spool, ret_scan, err));
    (void)md_spool_disk_low(spool);
    *ret_spool = MD_STEAL(spool);
    return MD_OK;
}

void md_spool_close(md_spool *spool)
{
    if (spool == NULL) {
        return;
    }
    for (unsigned i = 0; i < MD_SPOOL_OPEN_FOLDERS; i++) {
        closep(&spool->shards[i].fd);
    }
    if (spool->sync_is_ready) {
        md_sync_finish(&spool->sync);
    }
    closep(&spool->data_fd);
    pthread_mutex_destroy(&spool->shard_lock);
    md_free(spool->folder);
    md_free(spool->incoming);
    md_free(spool->data);
    md_free(spool);
}

const char *md_spool_incoming(const md_spool *spool)
{
    return spool->incoming;
}

uint64_t md_spool_free_bytes(md_spool *spool)
{
    uint64_t n = 0;
    return spool->free_bytes(spool->context, &n) ? n : 0;
}

bool md_spool_disk_low(md_spool *spool)
{
    if (spool->low_bytes == 0) {
        return false;
    }
    uint64_t n = md_spool_free_bytes(spool);
    if (n < spool->low_bytes) {
        atomic_store(&spool->low, true);
    } else if (n >= spool->high_bytes) {
        atomic_store(&spool->low, false);
    }
    return atomic_load(&spool->low);
}

md_status md_spool_path(const md_spool *spool, uint64_t file,
                        char ret_path[MD_SPOOL_PATH_BYTES], md_error *err)
{
    int length = snprintf(ret_path, MD_SPOOL_PATH_BYTES, "%s/%012" PRIx64 "/%016" PRIx64 ".dcm",
                          spool->data, file / MD_SPOOL_FILES_A_FOLDER, file);
    return length < MD_SPOOL_PATH_BYTES
               ? MD_OK
               : md_fail(err, MD_LIMIT, "the storage folder's name is too long");
}

void md_spool_remove(md_spool *spool, const uint64_t *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char path[MD_SPOOL_PATH_BYTES];
        if (md_spool_path(spool, files[i], path, NULL) == MD_OK) {
            (void)unlink(path); /* what stays is removed at the next start */
        }
    }
}

md_spool_figures md_spool_count(md_spool *spool)
{
    return (md_spool_figures){.n_waits = atomic_load(&spool->sync.n_waits),
                              .n_files = atomic_load(&spool->sync.n_files)};
}

/* Open data/NUMBER, made and made durable when it is new. */
static int open_shard_folder(md_spool *spool, uint64_t number, int *ret_fd)
{
    char name[SHARD_NAME_BYTES];
    snprintf(name, sizeof name, "%012" PRIx64, number);
    bool made = mkdirat(spool->data_fd, name, 0700) == 0;
    if (!made && errno != EEXIST) {
        return errno;
    }
    if (made && fsync(spool->data_fd) != 0) {
        /* found there the next time, it would pass for one that is durable */
        int os_errno = errno;
        (void)unlinkat(spool->data_fd, name, AT_REMOVEDIR);
        return os_errno;
    }
    int fd = openat(spool->data_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno;
    }
    *ret_fd = fd;
    return 0;
}

/* The folder for a number, shared by those who use it now. Numbers rise, so that one or two
 * folders are in use at a time; MD_SPOOL_OPEN_FOLDERS is more than can be without a very slow
 * caller, for whom a descriptor of its own is opened. *ret_shard NULL: that case, close
 * *ret_fd. */
static int take_shard(md_spool *spool, uint64_t number, md_spool_shard **ret_shard, int *ret_fd)
{
    pthread_mutex_lock(&spool->shard_lock);
    md_spool_shard *found = NULL;
    md_spool_shard *idle = NULL;
    for (unsigned i = 0; i < MD_SPOOL_OPEN_FOLDERS; i++) {
        md_spool_shard *shard = &spool->shards[i];
        if (shard->fd >= 0 && shard->number == number) {
            found = shard;
        } else if (shard->n_users == 0 && (idle == NULL || shard->fd < 0)) {
            idle = shard;
        }
    }
    int os_errno = 0;
    if (found == NULL && idle != NULL) {
        closep(&idle->fd);
        idle->fd = -1;
        idle->number = number;
        os_errno = open_shard_folder(spool, number, &idle->fd);
        found = os_errno == 0 ? idle : NULL;
    } else if (found == NULL) {
        os_errno = open_shard_folder(spool, number, ret_fd);
    }
    if (found != NULL) {
        found->n_users++;
        *ret_fd = found->fd;
    }
    *ret_shard = found;
    pthread_mutex_unlock(&spool->shard_lock);
    return os_errno;
}

static void give_shard(md_spool *spool, md_spool_shard *shard, int fd)
{
    if (shard == NULL) {
        closep(&fd);
        return;
    }
    pthread_mutex_lock(&spool->shard_lock);
    shard->n_users--;
    pthread_mutex_unlock(&spool->shard_lock);
}

static int tag_file(const md_spool *spool, int fd, uint64_t offset_bytes,
                    uint8_t ret_tag[MD_CONTENT_TAG_BYTES])
{
    MD_AUTO(md_freep) uint8_t *buffer = md_malloc(READ_BYTES);
    MD_AUTO(md_content_tag_destroyp) md_content_tag *tag = NULL;
    if (buffer == NULL || md_content_tag_create(spool->content_key, &tag, NULL) != MD_OK) {
        return ENOMEM;
    }
    off_t position = (off_t)offset_bytes;
    for (;;) {
        ssize_t n = pread(fd, buffer, READ_BYTES, position);
        if (n == 0) {
            return md_content_tag_end(tag, ret_tag) ? 0 : ENOMEM;
        }
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        if (n > 0 && !md_content_tag_add(tag, buffer, (size_t)n)) {
            return ENOMEM;
        }
        position += n > 0 ? n : 0;
    }
}

static md_status look_at_arrival(int fd, uint64_t *ret_size_bytes, md_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return md_fail_os(err, errno, "a received file");
    }
    if (!S_ISREG(info.st_mode)) {
        return md_fail(err, MD_INVALID_ARG, "a received file is no regular file");
    }
    *ret_size_bytes = (uint64_t)info.st_size;
    return MD_OK;
}

/* Open it and start to write it out, so that the disk works while we compute. */
static md_status open_arrival(const char *path, int *ret_fd, uint64_t *ret_size_bytes,
                              md_error *err)
{
    MD_AUTO(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return md_fail_os(err, errno, "a received file");
    }
    MD_TRY(look_at_arrival(fd, ret_size_bytes, err));
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    *ret_fd = fd;
    fd = -1;
    return MD_OK;
}

static void make_name(uint64_t file, char ret_name[FILE_NAME_BYTES])
{
    snprintf(ret_name, FILE_NAME_BYTES, "%016" PRIx64 ".dcm", file);
}

md_status md_spool_begin(md_spool *spool, char *ret_path, size_t path_bytes, uint64_t *ret_file,
                         int *ret_fd, md_error *err)
{
    char path[MD_SPOOL_PATH_BYTES];
    char name[FILE_NAME_BYTES];
    uint64_t file = atomic_fetch_add(&spool->next_file, 1);
    MD_TRY(md_spool_path(spool, file, path, err));
    if (strlen(path) >= path_bytes) {
        return md_fail(err, MD_LIMIT, "the storage folder's name is too long");
    }
    md_spool_shard *shard = NULL;
    int folder_fd = -1;
    int os_errno = take_shard(spool, file / MD_SPOOL_FILES_A_FOLDER, &shard, &folder_fd);
    if (os_errno != 0) {
        return md_fail_os(err, os_errno, "a folder for received objects");
    }
    make_name(file, name);
    int fd = openat(folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    os_errno = errno;
    give_shard(spool, shard, folder_fd);
    if (fd < 0) {
        return md_fail_os(err, os_errno, "a file for a received object");
    }
    memcpy(ret_path, path, strlen(path) + 1);
    *ret_file = file;
    *ret_fd = fd;
    return MD_OK;
}

/* Have the file in its place, to where it is moved unless from_path is NULL, and wait until
 * content and name are on disk. On failure it is gone from both places. */
static int place_file(md_spool *spool, const char *from_path, int fd, uint64_t file)
{
    md_spool_shard *shard = NULL;
    int folder_fd = -1;
    int os_errno = take_shard(spool, file / MD_SPOOL_FILES_A_FOLDER, &shard, &folder_fd);
    if (os_errno != 0) {
        if (from_path != NULL) {
            (void)unlink(from_path);
        }
        md_spool_remove(spool, &file, 1);
        return os_errno;
    }
    char name[FILE_NAME_BYTES];
    make_name(file, name);
    /* The order of rename and sync does not matter for safety, as the row comes after both;
     * this way one flush carries both. */
    if (from_path != NULL && renameat(AT_FDCWD, from_path, folder_fd, name) != 0) {
        os_errno = errno;
        (void)unlink(from_path);
    } else {
        os_errno = md_sync_wait(&spool->sync, fd, folder_fd);
        if (os_errno != 0) {
            (void)unlinkat(folder_fd, name, 0);
        }
    }
    give_shard(spool, shard, folder_fd);
    return os_errno;
}

static bool means_full(int os_errno)
{
    return os_errno == ENOSPC || os_errno == EDQUOT;
}

static bool is_whole(const md_spool *spool, uint64_t file, uint64_t size_bytes)
{
    char path[MD_SPOOL_PATH_BYTES];
    struct stat info;
    return md_spool_path(spool, file, path, NULL) == MD_OK && lstat(path, &info) == 0 &&
           S_ISREG(info.st_mode) && (uint64_t)info.st_size == size_bytes;
}

/* An instance that is known: its file may have been lost since, and then the one that has just
 * come takes its place. *ret_kept: it is needed, or may be. */
static md_status keep_if_lost(md_spool *spool, const md_instance_outcome *known, uint64_t file,
                              uint64_t size_bytes, bool *ret_kept, md_error *err)
{
    *ret_kept = false;
    if (is_whole(spool, known->file, known->size_bytes)) {
        return MD_OK;
    }
    md_status status = md_store_replace_file(spool->store, known->file, file, size_bytes, err);
    if (status == MD_CANCELLED) {
        return MD_OK; /* somebody else was quicker, or the study was retired at this moment */
    }
    *ret_kept = status == MD_OK || status == MD_IO;
    if (status == MD_OK) {
        md_spool_remove(spool, &known->file, 1); /* what may be left of it */
    }
    return status;
}

static md_status add_row(md_spool *spool, const md_spool_arrival *arrival, uint64_t file,
                         uint64_t size_bytes, const uint8_t *content_tag,
                         md_spool_outcome *ret_outcome, md_error *err)
{
    static const md_spool_kind kinds[] = {
        [MD_INSTANCE_STORED] = MD_SPOOL_STORED,
        [MD_INSTANCE_SAME] = MD_SPOOL_SAME,
        [MD_INSTANCE_CONFLICT] = MD_SPOOL_CONFLICT,
        [MD_INSTANCE_REFUSED] = MD_SPOOL_REFUSED,
    };
    md_instance_new item = {
        .study_uid = arrival->study_uid,
        .series_uid = arrival->series_uid,
        .sop_instance_uid = arrival->sop_instance_uid,
        .sop_class_uid = arrival->sop_class_uid,
        .transfer_syntax_uid = arrival->transfer_syntax_uid,
        .source_ae = arrival->source_ae,
        .called_ae = arrival->called_ae,
        .tags = arrival->tags,
        .file = file,
        .size_bytes = size_bytes,
        .received_ms = arrival->received_ms,
        .priority = arrival->priority,
    };
    memcpy(item.content_tag, content_tag, sizeof item.content_tag);
    md_error why = {0};
    md_status status =
        md_store_add_instances(spool->store, &item, 1, &ret_outcome->instance, &why);
    if (status == MD_OK) {
        ret_outcome->kind = kinds[ret_outcome->instance.kind];
    }
    /* After an I/O error nobody knows whether the row will be there after a restart: the file
     * stays for that case, and is removed at the next start if the row is not. */
    bool kept =
        status == MD_IO || (status == MD_OK && (ret_outcome->kind == MD_SPOOL_STORED ||
                                                ret_outcome->kind == MD_SPOOL_CONFLICT));
    if (status == MD_OK && ret_outcome->kind == MD_SPOOL_SAME) {
        status = keep_if_lost(spool, &ret_outcome->instance, file, size_bytes, &kept, &why);
    }
    if (!kept) {
        md_spool_remove(spool, &file, 1);
    }
    if (status == MD_LIMIT) {
        ret_outcome->kind = MD_SPOOL_DISK_LOW;
        return MD_OK;
    }
    if (status != MD_OK && err != NULL) {
        *err = why;
    }
    return status;
}

md_status md_spool_accept(md_spool *spool, const md_spool_arrival *arrival,
                          md_spool_outcome *ret_outcome, md_error *err)
{
    MD_AUTO(closep) int own_fd = -1;
    md_spool_outcome outcome = {0};
    uint64_t size_bytes = 0;
    if (md_spool_disk_low(spool)) {
        (void)unlink(arrival->path);
        ret_outcome->kind = MD_SPOOL_DISK_LOW;
        return MD_OK;
    }
    md_status status = arrival->is_begun
                           ? look_at_arrival(arrival->fd, &size_bytes, err)
                           : open_arrival(arrival->path, &own_fd, &size_bytes, err);
    int fd = arrival->is_begun ? arrival->fd : own_fd;
    uint8_t tag[MD_CONTENT_TAG_BYTES];
    if (status == MD_OK && arrival->content_tag != NULL) {
        memcpy(tag, arrival->content_tag, sizeof tag);
    } else if (status == MD_OK) {
        int os_errno = tag_file(spool, fd, arrival->dataset_offset_bytes, tag);
        status = os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "reading a received file");
    }
    if (status != MD_OK) {
        (void)unlink(arrival->path);
        return status;
    }
    uint64_t file = arrival->is_begun ? arrival->file : atomic_fetch_add(&spool->next_file, 1);
    int os_errno = place_file(spool, arrival->is_begun ? NULL : arrival->path, fd, file);
    if (means_full(os_errno)) {
        ret_outcome->kind = MD_SPOOL_DISK_LOW;
        return MD_OK;
    }
    if (os_errno != 0) {
        return md_fail_os(err, os_errno, "making a received file durable");
    }
    MD_TRY(add_row(spool, arrival, file, size_bytes, tag, &outcome, err));
    *ret_outcome = outcome;
    return MD_OK;
}

md_status md_spool_keep(md_spool *spool, const char *path, uint64_t *ret_file,
                        uint64_t *ret_size_bytes, md_error *err)
{
    MD_AUTO(closep) int fd = -1;
    uint64_t size_bytes = 0;
    md_status status = open_arrival(path, &fd, &size_bytes, err);
    if (status != MD_OK) {
        (void)unlink(path);
        return status;
    }
    uint64_t file = atomic_fetch_add(&spool->next_file, 1);
    int os_errno = place_file(spool, path, fd, file);
    if (os_errno != 0) {
        return md_fail_os(err, os_errno, "making a result durable");
    }
    *ret_file = file;
    *ret_size_bytes = size_bytes;
    return MD_OK;
}
