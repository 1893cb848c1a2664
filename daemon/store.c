#include "daemon/store.h"

#include "base/file.h"
#include "daemon/folder.h"
#include "dicom/network/part10.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KEY_BYTES = 32,
    KEY_DIGEST_BYTES = 16, /* of SHA-256, in names */
    COMPARE_BYTES = 64 * 1024,
    MAX_VERSIONS = 1000,
    MAX_ATTEMPTS = 1000000, /* counted no further */
};

#define MARK_NAME "analysed"
#define GONE_PREFIX "gone-" /* a study's folder that is being removed */

struct md_store {
    char path[PATH_MAX];
    char spool[PATH_MAX];
    char incoming[PATH_MAX];
    int lock_fd;
    uint8_t key[KEY_BYTES];
    /* Read: a study's folder stays where it is. Write: folders may go. */
    pthread_rwlock_t folders;
    pthread_mutex_t versions; /* one replacement at a time */
};

static void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

/* snprintf into a path; MD_LIMIT when it is too long. */
static md_status MD_PRINTF(3, 4)
    make_path(char ret_path[PATH_MAX], md_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(ret_path, PATH_MAX, format, args);
    va_end(args);
    if (length < 0 || length >= PATH_MAX) {
        return md_fail(err, MD_LIMIT, "a path of more than %d bytes", PATH_MAX - 1);
    }
    return MD_OK;
}

/* The key is made once and never changes: names on disk depend on it. */
static md_status load_key(md_store *store, md_error *err)
{
    char path[PATH_MAX];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    MD_TRY(make_path(path, err, "%s/key", store->path));
    if (access(path, F_OK) != 0) {
        uint8_t fresh[KEY_BYTES];
        if (getrandom(fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh) {
            return md_fail_os(err, errno, "random bytes for %s", path);
        }
        MD_TRY(md_file_write(path, MD_FILE_NEW, fresh, sizeof fresh, err));
    }
    MD_TRY(md_file_read(path, KEY_BYTES, &bytes, &n, err));
    if (n != KEY_BYTES) {
        return md_fail(err, MD_FORMAT, "%s: %zu bytes instead of %d", path, n, KEY_BYTES);
    }
    memcpy(store->key, bytes, KEY_BYTES);
    return MD_OK;
}

static md_status remove_gone(const char *path, md_error *err)
{
    MD_TRY(md_folder_empty(path, err));
    return rmdir(path) == 0 ? MD_OK : md_fail_os(err, errno, "%s", path);
}

/* What a crash left of a removal. */
static md_status finish_removals(md_store *store, md_error *err)
{
    DIR *folder = opendir(store->incoming);
    if (folder == NULL) {
        return md_fail_os(err, errno, "%s", store->incoming);
    }
    md_status status = MD_OK;
    for (struct dirent *entry = readdir(folder); status == MD_OK && entry != NULL;
         entry = readdir(folder)) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, GONE_PREFIX, strlen(GONE_PREFIX)) == 0) {
            status = make_path(path, err, "%s/%s", store->incoming, entry->d_name);
            status = status == MD_OK ? remove_gone(path, err) : status;
        }
    }
    closedir(folder);
    return status;
}

static md_status prepare(md_store *store, const char *path, md_error *err)
{
    char lock[PATH_MAX];
    MD_TRY(make_path(store->path, err, "%s", path));
    MD_TRY(make_path(store->spool, err, "%s/spool", path));
    MD_TRY(make_path(store->incoming, err, "%s/incoming", path));
    MD_TRY(make_path(lock, err, "%s/lock", path));
    MD_TRY(md_folder_create(store->spool, err));
    MD_TRY(md_folder_create(store->incoming, err));
    store->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) {
        return md_fail_os(err, errno, "%s", lock);
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int os_errno = errno;
        return os_errno == EWOULDBLOCK
                   ? md_fail(err, MD_BUSY, "%s: another medaid uses this storage path", path)
                   : md_fail_os(err, os_errno, "%s", lock);
    }
    MD_TRY(load_key(store, err));
    MD_TRY(finish_removals(store, err));
    return md_folder_empty(store->spool, err);
}

md_status md_store_open(const char *path, md_store **ret_store, md_error *err)
{
    md_store *store = md_calloc(1, sizeof *store);
    if (store == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the store");
    }
    store->lock_fd = -1;
    pthread_rwlock_init(&store->folders, NULL);
    pthread_mutex_init(&store->versions, NULL);
    md_status status = prepare(store, path, err);
    if (status != MD_OK) {
        md_store_close(store);
        return status;
    }
    *ret_store = store;
    return MD_OK;
}

void md_store_close(md_store *store)
{
    if (store == NULL) {
        return;
    }
    closep(&store->lock_fd); /* gives the lock back */
    pthread_rwlock_destroy(&store->folders);
    pthread_mutex_destroy(&store->versions);
    md_free(store);
}

const char *md_store_spool(const md_store *store)
{
    return store->spool;
}

const char *md_store_path(const md_store *store)
{
    return store->path;
}

void md_store_study_key(const md_store *store, const char *study_instance_uid,
                        char ret_key[MD_STUDY_KEY_BYTES])
{
    uint8_t input[KEY_BYTES + MD_UID_BYTES], digest[MD_SHA256_BYTES];
    size_t n = strnlen(study_instance_uid, MD_UID_BYTES - 1);
    memcpy(input, store->key, KEY_BYTES);
    memcpy(input + KEY_BYTES, study_instance_uid, n);
    md_sha256(input, KEY_BYTES + n, digest);
    md_hex(digest, KEY_DIGEST_BYTES, ret_key);
}

/* The next n bytes of a file from its dataset on; fewer only at the end. */
static md_status read_dataset(int fd, uint64_t at, uint8_t *ret_bytes, size_t *ret_n,
                              md_error *err)
{
    size_t done = 0;
    while (done < COMPARE_BYTES) {
        ssize_t n = pread(fd, ret_bytes + done, COMPARE_BYTES - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return md_fail_os(err, errno, "compare two versions of an object");
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    *ret_n = done;
    return MD_OK;
}

/* Whether two files have the same dataset in the same transfer syntax; their heads may differ
 * in who sent them. */
static md_status is_same_dataset(const char *a, const char *b, bool *ret_same, md_error *err)
{
    MD_AUTO(closep) int fd_a = open(a, O_RDONLY | O_CLOEXEC);
    MD_AUTO(closep) int fd_b = open(b, O_RDONLY | O_CLOEXEC);
    if (fd_a < 0 || fd_b < 0) {
        return md_fail_os(err, errno, "compare two versions of an object");
    }
    md_part10 head_a, head_b;
    MD_TRY(md_part10_read(fd_a, &head_a, err));
    MD_TRY(md_part10_read(fd_b, &head_b, err));
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(2 * COMPARE_BYTES);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to compare two versions of an object");
    }
    bool same = strcmp(head_a.transfer_syntax_uid, head_b.transfer_syntax_uid) == 0;
    for (uint64_t at = 0; same; at += COMPARE_BYTES) {
        size_t n_a = 0, n_b = 0;
        MD_TRY(read_dataset(fd_a, head_a.dataset_offset_bytes + at, bytes, &n_a, err));
        MD_TRY(read_dataset(fd_b, head_b.dataset_offset_bytes + at, bytes + COMPARE_BYTES, &n_b,
                            err));
        same = n_a == n_b && memcmp(bytes, bytes + COMPARE_BYTES, n_a) == 0;
        if (n_a < COMPARE_BYTES) {
            break;
        }
    }
    *ret_same = same;
    return MD_OK;
}

/* The instance is there already: compare, and put the new version in the old one's place. */
static md_status take_again(md_store *store, const char *path, const char *folder,
                            const char *name, md_store_outcome *ret_outcome, md_error *err)
{
    char target[PATH_MAX], aside[PATH_MAX];
    bool same = false;
    MD_TRY(make_path(target, err, "%s/%s.dcm", folder, name));
    pthread_mutex_lock(&store->versions);
    md_status status = is_same_dataset(path, target, &same, err);
    bool is_linked = false;
    for (unsigned i = 1; status == MD_OK && !same && !is_linked; i++) {
        status = make_path(aside, err, "%s/%s-%u.superseded", folder, name, i);
        if (status == MD_OK && i > MAX_VERSIONS) {
            status =
                md_fail(err, MD_LIMIT, "an object came in more than %d versions", MAX_VERSIONS);
        }
        is_linked = status == MD_OK && link(target, aside) == 0;
        if (status == MD_OK && !is_linked && errno != EEXIST) {
            status = md_fail_os(err, errno, "keep an earlier version of an object");
        }
    }
    if (is_linked && rename(path, target) != 0) {
        status = md_fail_os(err, errno, "replace an object");
    }
    pthread_mutex_unlock(&store->versions);
    if (status == MD_OK && same) {
        unlink(path);
    }
    *ret_outcome = same ? MD_STORE_SAME : MD_STORE_REPLACED;
    return status;
}

/* The bytes are safe under the spool's name; give them their own. Folders stay meanwhile. */
static md_status place(md_store *store, const char *path, const char *study_key,
                       const char *name, md_store_outcome *ret_outcome, md_error *err)
{
    char folder[PATH_MAX], target[PATH_MAX];
    MD_TRY(make_path(folder, err, "%s/%s", store->incoming, study_key));
    MD_TRY(make_path(target, err, "%s/%s.dcm", folder, name));
    if (mkdir(folder, 0700) == 0) {
        MD_TRY(md_folder_sync(store->incoming, err));
    } else if (errno != EEXIST) {
        return md_fail_os(err, errno, "make a study's folder");
    }
    *ret_outcome = MD_STORE_NEW;
    if (link(path, target) == 0) {
        unlink(path);
    } else if (errno == EEXIST) {
        MD_TRY(take_again(store, path, folder, name, ret_outcome, err));
    } else {
        return md_fail_os(err, errno, "store an object");
    }
    /* also for the same again: the one who stored it may not have synced yet */
    return md_folder_sync(folder, err);
}

static md_status sync_file(const char *path, md_error *err)
{
    MD_AUTO(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) != 0) {
        return md_fail_os(err, errno, "sync an object");
    }
    return MD_OK;
}

md_status md_store_take(md_store *store, const char *path, const char *study_key,
                        const char *sop_instance_uid, md_store_outcome *ret_outcome,
                        md_error *err)
{
    char name[MD_STUDY_KEY_BYTES];
    md_store_study_key(store, sop_instance_uid, name);
    md_status status = sync_file(path, err);
    if (status == MD_OK) {
        pthread_rwlock_rdlock(&store->folders);
        status = place(store, path, study_key, name, ret_outcome, err);
        pthread_rwlock_unlock(&store->folders);
    }
    if (status != MD_OK) {
        unlink(path);
    }
    return status;
}

void md_study_files_finish(md_study_files *files)
{
    for (size_t i = 0; i < files->n_paths; i++) {
        md_free(files->paths[i]);
    }
    md_free(files->paths);
    memset(files, 0, sizeof *files);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), n_suffix = strlen(suffix);
    return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static md_status add_path(md_study_files *files, size_t *capacity, const char *folder,
                          const char *name, md_error *err)
{
    char path[PATH_MAX];
    MD_TRY(make_path(path, err, "%s/%s", folder, name));
    if (files->n_paths == MD_STORE_MAX_OBJECTS) {
        return md_fail(err, MD_LIMIT, "a study of more than %d objects", MD_STORE_MAX_OBJECTS);
    }
    if (files->n_paths == *capacity) {
        size_t more = *capacity == 0 ? 16 : 2 * *capacity;
        char **paths = md_realloc(files->paths, more * sizeof *paths);
        if (paths == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the list of a study");
        }
        files->paths = paths;
        *capacity = more;
    }
    files->paths[files->n_paths] = md_strdup(path);
    if (files->paths[files->n_paths] == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the list of a study");
    }
    files->n_paths++;
    return MD_OK;
}

static md_status list_folder(DIR *folder, const char *path, md_study_files *files,
                             md_error *err)
{
    size_t capacity = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (has_suffix(entry->d_name, ".dcm")) {
            MD_TRY(add_path(files, &capacity, path, entry->d_name, err));
        }
    }
    return MD_OK;
}

/* The mark: a hash over name, size and time of each object. */
static md_status compute_mark(md_study_files *files, md_error *err)
{
    uint8_t state[MD_SHA256_BYTES] = {0};
    for (size_t i = 0; i < files->n_paths; i++) {
        struct stat info;
        char line[PATH_MAX + 128];
        uint8_t input[MD_SHA256_BYTES + sizeof line];
        if (stat(files->paths[i], &info) != 0) {
            return md_fail_os(err, errno, "look at an object");
        }
        int64_t ms = (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000;
        files->first_ms = i == 0 || ms < files->first_ms ? ms : files->first_ms;
        files->last_ms = i == 0 || ms > files->last_ms ? ms : files->last_ms;
        int n = snprintf(line, sizeof line, "%s %lld %lld.%09ld",
                         strrchr(files->paths[i], '/') + 1, (long long)info.st_size,
                         (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
        memcpy(input, state, sizeof state);
        memcpy(input + sizeof state, line, (size_t)n);
        md_sha256(input, sizeof state + (size_t)n, state);
    }
    md_hex(state, sizeof state, files->mark);
    return MD_OK;
}

/* Folders stay meanwhile. */
static md_status list(md_store *store, const char *study_key, md_study_files *ret_files,
                      md_error *err)
{
    char path[PATH_MAX];
    md_study_files files = {0};
    MD_TRY(make_path(path, err, "%s/%s", store->incoming, study_key));
    DIR *folder = opendir(path);
    if (folder == NULL) {
        int os_errno = errno;
        return os_errno == ENOENT ? md_fail(err, MD_NOT_FOUND, "the study is not there")
                                  : md_fail_os(err, os_errno, "list a study");
    }
    md_status status = list_folder(folder, path, &files, err);
    closedir(folder);
    if (status == MD_OK && files.n_paths > 0) {
        qsort(files.paths, files.n_paths, sizeof *files.paths, compare_paths);
        status = compute_mark(&files, err);
    }
    if (status != MD_OK) {
        md_study_files_finish(&files);
        return status;
    }
    *ret_files = files;
    return MD_OK;
}

md_status md_store_list(md_store *store, const char *study_key, md_study_files *ret_files,
                        md_error *err)
{
    pthread_rwlock_rdlock(&store->folders);
    md_status status = list(store, study_key, ret_files, err);
    pthread_rwlock_unlock(&store->folders);
    return status;
}

md_status md_store_set_mark(md_store *store, const char *study_key, const char *mark,
                            md_error *err)
{
    char path[PATH_MAX];
    MD_TRY(make_path(path, err, "%s/%s/" MARK_NAME, store->incoming, study_key));
    return md_file_write(path, MD_FILE_REPLACE, mark, strlen(mark), err);
}

md_status md_store_count_attempt(md_store *store, const char *study_key, const char *mark,
                                 unsigned *ret_attempt, md_error *err)
{
    enum {
        LINE_BYTES = MD_STORE_MARK_BYTES + 16
    };
    char path[PATH_MAX], line[LINE_BYTES];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    unsigned long before = 0;
    MD_TRY(make_path(path, err, "%s/%s/attempts", store->incoming, study_key));
    md_status status = md_file_read(path, LINE_BYTES, &bytes, &n, err);
    if (status == MD_OK && strncmp((const char *)bytes, mark, strlen(mark)) == 0) {
        before = strtoul((const char *)bytes + strlen(mark), NULL, 10);
    }
    *ret_attempt = before < MAX_ATTEMPTS ? (unsigned)before + 1 : MAX_ATTEMPTS;
    snprintf(line, sizeof line, "%s %u\n", mark, *ret_attempt);
    return md_file_write(path, MD_FILE_REPLACE, line, strlen(line), err);
}

/* True when the study's mark covers `files`; *ret_marked_ms is when it was set. */
static bool is_marked(const md_store *store, const char *study_key, const md_study_files *files,
                      int64_t *ret_marked_ms)
{
    char path[PATH_MAX];
    struct stat info;
    MD_AUTO(md_freep) uint8_t *mark = NULL;
    size_t n = 0;
    if (make_path(path, NULL, "%s/%s/" MARK_NAME, store->incoming, study_key) != MD_OK ||
        stat(path, &info) != 0 ||
        md_file_read(path, MD_STORE_MARK_BYTES, &mark, &n, NULL) != MD_OK) {
        return false;
    }
    *ret_marked_ms = (int64_t)info.st_mtim.tv_sec * 1000;
    return strcmp((const char *)mark, files->mark) == 0;
}

/* Call `visit` for each study's folder; stops at the first error. */
static md_status for_each_study(md_store *store,
                                md_status (*each)(md_store *store, const char *study_key,
                                                  void *context, md_error *err),
                                void *context, md_error *err)
{
    DIR *folder = opendir(store->incoming);
    md_status status = MD_OK;
    if (folder == NULL) {
        return md_fail_os(err, errno, "%s", store->incoming);
    }
    for (struct dirent *entry = readdir(folder); entry != NULL && status == MD_OK;
         entry = readdir(folder)) {
        if (strlen(entry->d_name) == MD_STUDY_KEY_BYTES - 1) {
            status = each(store, entry->d_name, context, err);
        }
    }
    closedir(folder);
    return status;
}

typedef struct visit_context {
    md_store_visit visit;
    void *context;
} visit_context;

static md_status visit_unfinished(md_store *store, const char *study_key, void *context,
                                  md_error *err)
{
    const visit_context *now = context;
    md_study_files files = {0};
    int64_t marked_ms = 0;
    MD_TRY(list(store, study_key, &files, err));
    if (files.n_paths > 0 && !is_marked(store, study_key, &files, &marked_ms)) {
        now->visit(now->context, study_key, &files);
    }
    md_study_files_finish(&files);
    return MD_OK;
}

md_status md_store_find_unfinished(md_store *store, md_store_visit visit, void *context,
                                   md_error *err)
{
    visit_context now = {visit, context};
    pthread_rwlock_rdlock(&store->folders);
    md_status status = for_each_study(store, visit_unfinished, &now, err);
    pthread_rwlock_unlock(&store->folders);
    return status;
}

typedef struct sweep_context {
    int64_t before_ms;
    unsigned n_removed;
} sweep_context;

static md_status sweep_study(md_store *store, const char *study_key, void *context,
                             md_error *err)
{
    sweep_context *now = context;
    md_study_files files = {0};
    char path[PATH_MAX], gone[PATH_MAX];
    int64_t marked_ms = 0;
    MD_TRY(make_path(path, err, "%s/%s", store->incoming, study_key));
    MD_TRY(make_path(gone, err, "%s/" GONE_PREFIX "%s", store->incoming, study_key));
    /* no object can come into the folder while it is looked at and removed */
    pthread_rwlock_wrlock(&store->folders);
    md_status status = list(store, study_key, &files, err);
    if (status == MD_OK) {
        bool is_old = files.n_paths > 0 && is_marked(store, study_key, &files, &marked_ms) &&
                      marked_ms < now->before_ms;
        /* out of sight at once, so that an end in between leaves no half study */
        if (is_old && rename(path, gone) != 0) {
            status = md_fail_os(err, errno, "remove an old study");
        } else if (is_old) {
            status = remove_gone(gone, err);
            now->n_removed++;
        }
    }
    pthread_rwlock_unlock(&store->folders);
    md_study_files_finish(&files);
    return status;
}

md_status md_store_sweep(md_store *store, int64_t before_ms, unsigned *ret_n_removed,
                         md_error *err)
{
    sweep_context now = {.before_ms = before_ms};
    md_status status = for_each_study(store, sweep_study, &now, err);
    *ret_n_removed = now.n_removed;
    return status;
}
