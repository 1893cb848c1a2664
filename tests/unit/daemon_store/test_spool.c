#include "daemon/spool/spool.h"
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum {
    HEAD_BYTES = 200,
    BODY_BYTES = 5000
};

/* In place of the C library's: the next one fails while this is set. */
static atomic_bool fsync_fails;

int fsync(int fd)
{
    if (atomic_exchange(&fsync_fails, false)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

typedef struct disk {
    uint64_t n_free;
} disk;

static bool fake_free(void *context, uint64_t *ret_bytes)
{
    *ret_bytes = ((disk *)context)->n_free;
    return true;
}

static md_spool *open_spool(fixture *f, md_spool_sync sync, md_spool_scan *ret_scan)
{
    md_spool *spool = NULL;
    md_spool_scan scan;
    md_spool_options options = {.folder = f->folder, .store = f->store, .sync = sync};
    assert_ok(md_spool_open(&options, &spool, ret_scan != NULL ? ret_scan : &scan, err));
    return spool;
}

/* What the listener would have written: a head that differs each time and the content. */
static void arrive(md_spool *spool, const md_instance_new *item, unsigned content,
                   char ret_path[PATH_LENGTH])
{
    static atomic_uint counter;
    unsigned n = atomic_fetch_add(&counter, 1);
    snprintf(ret_path, PATH_LENGTH, "%s/%u.part", md_spool_incoming(spool), n);
    uint8_t bytes[HEAD_BYTES + BODY_BYTES];
    memset(bytes, (int)(n & 0xff), HEAD_BYTES);
    memset(bytes + HEAD_BYTES, (int)(content & 0xff), BODY_BYTES);
    snprintf((char *)bytes + HEAD_BYTES, 70, "%s", item->sop_instance_uid);
    int fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    close(fd);
}

static md_spool_arrival arrival_of(const md_instance_new *item, const char *path)
{
    return (md_spool_arrival){
        .path = path,
        .dataset_offset_bytes = HEAD_BYTES,
        .study_uid = item->study_uid,
        .series_uid = item->series_uid,
        .sop_instance_uid = item->sop_instance_uid,
        .sop_class_uid = item->sop_class_uid,
        .transfer_syntax_uid = item->transfer_syntax_uid,
        .source_ae = item->source_ae,
        .received_ms = item->received_ms,
    };
}

static md_spool_outcome accept_one(md_spool *spool, unsigned study, unsigned n,
                                   unsigned content)
{
    md_instance_new item = instance_of(study, n, content, 1000);
    char path[PATH_LENGTH];
    arrive(spool, &item, content, path);
    md_spool_arrival arrival = arrival_of(&item, path);
    md_spool_outcome outcome;
    assert_ok(md_spool_accept(spool, &arrival, &outcome, err));
    assert_int_equal(access(path, F_OK), -1); /* taken over */
    return outcome;
}

static unsigned count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    unsigned n = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.') {
            continue;
        }
        char path[PATH_LENGTH + 300];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        n += e->d_type == DT_DIR ? count_files(path) : 1;
    }
    closedir(dir);
    return n;
}

static unsigned count_data(const fixture *f)
{
    char path[PATH_LENGTH + 16];
    snprintf(path, sizeof path, "%s/data", f->folder);
    return count_files(path);
}

static void test_an_object_is_kept_as_it_came(void **state)
{
    fixture *f = *state;
    for (md_spool_sync sync = MD_SPOOL_SYNC_AUTO; sync <= MD_SPOOL_SYNC_FILESYSTEM; sync++) {
        MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, sync, NULL);
        md_spool_outcome outcome = accept_one(spool, sync, 1, 5);
        assert_int_equal(outcome.kind, MD_SPOOL_STORED);
        md_instance *list = NULL;
        size_t n = 0;
        assert_ok(md_store_instances(f->store, outcome.instance.study, true, &list, &n, err));
        assert_int_equal(n, 1);
        char path[MD_SPOOL_PATH_BYTES];
        assert_ok(md_spool_path(spool, list[0].file, path, err));
        MD_AUTO(md_freep) uint8_t *bytes = NULL;
        size_t size_bytes = 0;
        assert_ok(md_file_read(path, 1 << 20, &bytes, &size_bytes, err));
        assert_int_equal(size_bytes, HEAD_BYTES + BODY_BYTES);
        assert_int_equal(list[0].size_bytes, size_bytes);
        uint8_t key[MD_CONTENT_KEY_BYTES];
        uint8_t expected[MD_CONTENT_TAG_BYTES];
        MD_AUTO(md_content_tag_destroyp) md_content_tag *tag = NULL;
        md_store_content_key(f->store, key);
        assert_ok(md_content_tag_create(key, &tag, err));
        assert_true(md_content_tag_add(tag, bytes + HEAD_BYTES, BODY_BYTES));
        assert_true(md_content_tag_end(tag, expected));
        assert_memory_equal(expected, list[0].content_tag, sizeof expected);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        assert_null(strstr(path + strlen(f->folder), "1.2.3")); /* no UID in a name */
        md_free(list);
    }
}

static void test_the_same_again_and_a_conflict(void **state)
{
    fixture *f = *state;
    MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
    assert_int_equal(accept_one(spool, 1, 1, 5).kind, MD_SPOOL_STORED);
    assert_int_equal(accept_one(spool, 1, 1, 5).kind, MD_SPOOL_SAME);
    assert_int_equal(count_data(f), 1);
    assert_int_equal(accept_one(spool, 1, 1, 6).kind, MD_SPOOL_CONFLICT);
    assert_int_equal(count_data(f), 2);
}

static void test_refused_conflict_leaves_no_file(void **state)
{
    fixture *f = *state;
    f->options.conflict = MD_CONFLICT_REFUSE;
    fixture_reopen(f);
    MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
    assert_int_equal(accept_one(spool, 1, 1, 5).kind, MD_SPOOL_STORED);
    assert_int_equal(accept_one(spool, 1, 1, 6).kind, MD_SPOOL_REFUSED);
    assert_int_equal(count_data(f), 1);
}

static void test_bad_arrivals(void **state)
{
    fixture *f = *state;
    MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
    md_instance_new item = instance_of(1, 1, 0, 1000);
    char path[PATH_LENGTH];
    arrive(spool, &item, 0, path);
    item.study_uid = "not a uid";
    md_spool_arrival arrival = arrival_of(&item, path);
    md_spool_outcome outcome;
    assert_int_equal(md_spool_accept(spool, &arrival, &outcome, NULL), MD_INVALID_ARG);
    assert_int_equal(md_spool_accept(spool, &arrival, &outcome, NULL), MD_IO); /* is gone */
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(md_spool_accept(spool, &arrival, &outcome, NULL), MD_IO);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(md_spool_accept(spool, &arrival, &outcome, NULL), MD_INVALID_ARG);
    assert_int_equal(count_data(f), 0);
    assert_int_equal(count_files(md_spool_incoming(spool)), 0);
}

static void test_the_watermark(void **state)
{
    fixture *f = *state;
    disk d = {.n_free = 1000};
    md_spool_options options = {.folder = f->folder,
                                .store = f->store,
                                .low_bytes = 100,
                                .high_bytes = 200,
                                .free_bytes = fake_free,
                                .context = &d};
    md_spool_scan scan;
    MD_AUTO(md_spool_closep) md_spool *spool = NULL;
    assert_ok(md_spool_open(&options, &spool, &scan, err));
    static const struct {
        uint64_t n_free;
        bool low;
    } cases[] = {{1000, false}, {100, false}, {99, true},   {150, true}, {199, true},
                 {200, false},  {150, false}, {101, false}, {0, true},   {201, false}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        d.n_free = cases[i].n_free;
        md_spool_outcome outcome = accept_one(spool, 1, i, 0);
        assert_int_equal(outcome.kind, cases[i].low ? MD_SPOOL_DISK_LOW : MD_SPOOL_STORED);
        assert_int_equal(md_spool_disk_low(spool), cases[i].low);
    }
    /* the reserve is for results */
    d.n_free = 50;
    md_instance_new item = instance_of(1, 99, 0, 0);
    char path[PATH_LENGTH];
    arrive(spool, &item, 0, path);
    uint64_t file = 0;
    uint64_t size_bytes = 0;
    assert_ok(md_spool_keep(spool, path, &file, &size_bytes, err));
    char kept[MD_SPOOL_PATH_BYTES];
    assert_ok(md_spool_path(spool, file, kept, err));
    assert_int_equal(access(kept, R_OK), 0);
    assert_int_equal(size_bytes, HEAD_BYTES + BODY_BYTES);
    md_spool_remove(spool, &file, 1);
    assert_int_equal(access(kept, R_OK), -1);
    md_spool_remove(spool, &file, 1);
}

static void touch(const char *folder, const char *name)
{
    char path[PATH_LENGTH + 300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void test_start_compares_files_and_rows(void **state)
{
    fixture *f = *state;
    md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
    int64_t studies[4];
    for (unsigned i = 0; i < 4; i++) {
        studies[i] = accept_one(spool, i, 1, 0).instance.study;
    }
    char paths[4][MD_SPOOL_PATH_BYTES];
    uint64_t highest = 0;
    for (unsigned i = 0; i < 4; i++) {
        md_instance *list = NULL;
        size_t n = 0;
        assert_ok(md_store_instances(f->store, studies[i], true, &list, &n, err));
        assert_ok(md_spool_path(spool, list[0].file, paths[i], err));
        highest = list[0].file > highest ? list[0].file : highest;
        md_free(list);
    }
    char folder[MD_SPOOL_PATH_BYTES];
    memcpy(folder, paths[0], sizeof folder);
    *strrchr(folder, '/') = '\0';
    touch(folder, "0000000000000ff0.dcm"); /* renamed, never acknowledged */
    touch(folder, "notes.txt");
    touch(md_spool_incoming(spool), "7.part");
    md_spool_close(spool);
    assert_int_equal(unlink(paths[1]), 0);
    assert_int_equal(truncate(paths[2], 100), 0);
    md_spool_scan scan;
    spool = open_spool(f, MD_SPOOL_SYNC_AUTO, &scan);
    assert_int_equal(scan.n_files, 2);
    assert_int_equal(scan.n_removed, 2);
    assert_int_equal(scan.n_foreign, 1);
    assert_int_equal(scan.n_missing, 2);
    assert_int_equal(scan.n_quarantined, 2);
    assert_int_equal(study_of(f->store, studies[0]).state, MD_STUDY_RECEIVING);
    for (unsigned i = 1; i < 3; i++) {
        md_study study = study_of(f->store, studies[i]);
        assert_int_equal(study.state, MD_STUDY_QUARANTINED);
        assert_string_equal(study.reason, "a file of the study is missing or was cut");
    }
    /* numbers that were seen on disk are not given again */
    md_spool_outcome outcome = accept_one(spool, 9, 1, 0);
    md_instance *list = NULL;
    size_t n = 0;
    assert_ok(md_store_instances(f->store, outcome.instance.study, true, &list, &n, err));
    assert_true(list[0].file > 0xff0 && list[0].file > highest);
    md_free(list);
    md_spool_close(spool);
}

/* What is acknowledged a second time is there, even when the file of the first time is not. */
static void test_a_lost_file_comes_again(void **state)
{
    fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        md_spool_scan scan;
        md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
        int64_t study = accept_one(spool, i, 1, 5).instance.study;
        (void)accept_one(spool, i, 2, 5);
        md_instance *list = NULL;
        size_t n = 0;
        assert_ok(md_store_instances(f->store, study, true, &list, &n, err));
        char path[MD_SPOOL_PATH_BYTES];
        assert_ok(md_spool_path(spool, list[0].file, path, err));
        uint64_t lost = list[0].file;
        md_free(list);
        md_spool_close(spool);
        assert_int_equal(i == 0 ? unlink(path) : truncate(path, 100), 0);
        spool = open_spool(f, MD_SPOOL_SYNC_AUTO, &scan);
        assert_int_equal(scan.n_missing, 1);
        assert_int_equal(scan.n_quarantined, 1);

        for (unsigned k = 0; k < 2; k++) { /* the second time it is there */
            assert_int_equal(accept_one(spool, i, 1, 5).kind, MD_SPOOL_SAME);
            assert_int_equal(count_data(f), 2 * i + 2);
        }
        assert_ok(md_store_instances(f->store, study, true, &list, &n, err));
        assert_int_equal(n, 2);
        assert_int_not_equal(list[0].file, lost);
        assert_ok(md_spool_path(spool, list[0].file, path, err));
        md_free(list);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, HEAD_BYTES + BODY_BYTES);
        md_study after = study_of(f->store, study);
        assert_int_equal(after.n_instances, 2);
        assert_int_equal(after.size_bytes, 2 * (HEAD_BYTES + BODY_BYTES));
        assert_ok(md_store_retry(f->store, study, 2000, NULL, err));
        md_spool_close(spool);
        spool = open_spool(f, MD_SPOOL_SYNC_AUTO, &scan);
        assert_int_equal(scan.n_files, 2 * i + 2);
        assert_int_equal(scan.n_missing + scan.n_removed, 0);
        assert_int_equal(study_of(f->store, study).state, MD_STUDY_COMPLETE);
        md_spool_close(spool);
    }
    uint64_t size_bytes = 1;
    assert_int_equal(md_store_replace_file(f->store, 999999, 1000000, size_bytes, NULL),
                     MD_CANCELLED);
}

/* A new folder of which nobody knows whether it is on disk is not used, now or later. */
static void test_a_folder_that_is_not_durable(void **state)
{
    fixture *f = *state;
    char path[PATH_LENGTH];
    char data[PATH_LENGTH + 16];
    snprintf(data, sizeof data, "%s/data", f->folder);
    MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, MD_SPOOL_SYNC_FILES, NULL);
    md_instance_new item = instance_of(1, 1, 0, 1000);
    md_spool_arrival arrival = arrival_of(&item, path);
    atomic_store(&fsync_fails, true);
    assert_int_equal(md_spool_begin(spool, path, sizeof path, &arrival.file, &arrival.fd, NULL),
                     MD_IO);
    assert_false(atomic_load(&fsync_fails));
    assert_int_equal(rmdir(data), 0); /* it is empty */
    assert_int_equal(mkdir(data, 0700), 0);
    md_spool_close(MD_STEAL(spool));
    spool = open_spool(f, MD_SPOOL_SYNC_FILES, NULL);
    assert_int_equal(accept_one(spool, 1, 1, 5).kind, MD_SPOOL_STORED);
}

/* An object written at the place where it stays, as far as the listener gets before each step.
 */
static md_spool_arrival begin_one(md_spool *spool, const md_instance_new *item,
                                  unsigned content, char ret_path[PATH_LENGTH])
{
    md_spool_arrival arrival = arrival_of(item, ret_path);
    assert_ok(md_spool_begin(spool, ret_path, PATH_LENGTH, &arrival.file, &arrival.fd, err));
    arrival.is_begun = true;
    uint8_t bytes[HEAD_BYTES + BODY_BYTES];
    memset(bytes, (int)(content & 0xff), sizeof bytes);
    assert_int_equal(write(arrival.fd, bytes, sizeof bytes), sizeof bytes);
    return arrival;
}

/* The program ends between any two steps of md_spool_begin, md_spool_accept and the answer. */
static void test_an_end_after_each_step(void **state)
{
    fixture *f = *state;
    md_spool *spool = open_spool(f, MD_SPOOL_SYNC_AUTO, NULL);
    char path[PATH_LENGTH];
    md_instance_new item = instance_of(1, 1, 0, 1000);
    md_spool_scan scan;

    /* 1: bytes have come, with and without being on disk: nobody was told, nothing stays */
    for (int synced = 0; synced < 2; synced++) {
        md_spool_arrival arrival = begin_one(spool, &item, 7, path);
        struct stat info;
        assert_int_equal(fstat(arrival.fd, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        assert_true(synced == 0 || fsync(arrival.fd) == 0);
        close(arrival.fd);
        md_spool_close(spool);
        spool = open_spool(f, MD_SPOOL_SYNC_AUTO, &scan);
        assert_int_equal(scan.n_removed, 1);
        assert_int_equal(scan.n_files + scan.n_missing, 0);
        assert_int_equal(count_data(f), 0);
    }

    /* 2: the row is there, the answer was not sent: it comes again and is known */
    md_spool_arrival arrival = begin_one(spool, &item, 7, path);
    md_spool_outcome outcome;
    assert_ok(md_spool_accept(spool, &arrival, &outcome, err));
    assert_int_equal(outcome.kind, MD_SPOOL_STORED);
    assert_int_equal(fcntl(arrival.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC); /* still open */
    close(arrival.fd);
    md_spool_close(spool);
    spool = open_spool(f, MD_SPOOL_SYNC_AUTO, &scan);
    assert_int_equal(scan.n_files, 1);
    assert_int_equal(scan.n_removed + scan.n_missing, 0);
    assert_int_equal(access(path, F_OK), 0);
    arrival = begin_one(spool, &item, 7, path);
    assert_ok(md_spool_accept(spool, &arrival, &outcome, err));
    assert_int_equal(outcome.kind, MD_SPOOL_SAME);
    close(arrival.fd);
    assert_int_equal(access(path, F_OK), -1);

    /* an object that is given up on the way, beside one that is not */
    md_instance_new other = instance_of(1, 2, 0, 1000);
    char given_up[PATH_LENGTH];
    md_spool_arrival lost = begin_one(spool, &item, 9, given_up);
    arrival = begin_one(spool, &other, 8, path);
    assert_int_not_equal(lost.file, arrival.file);
    assert_int_equal(unlink(given_up), 0);
    close(lost.fd);
    assert_ok(md_spool_accept(spool, &arrival, &outcome, err));
    close(arrival.fd);
    assert_int_equal(count_data(f), 2);
    char small[8];
    assert_int_equal(md_spool_begin(spool, small, sizeof small, &lost.file, &lost.fd, NULL),
                     MD_LIMIT);
    assert_int_equal(count_data(f), 2);
    md_spool_close(spool);
}

typedef struct sender {
    md_spool *spool;
    unsigned number;
    unsigned n_stored, n_same;
} sender;

enum {
    N_SENDERS = 16,
    N_OBJECTS = 40
};

static void *run_sender(void *argument)
{
    sender *s = argument;
    for (unsigned i = 0; i < N_OBJECTS; i++) {
        /* pairs of threads send the same objects */
        md_instance_new item = instance_of(s->number / 2, i, 1, 1000);
        char path[PATH_LENGTH];
        arrive(s->spool, &item, 1, path);
        md_spool_arrival arrival = arrival_of(&item, path);
        md_spool_outcome outcome;
        if (md_spool_accept(s->spool, &arrival, &outcome, NULL) == MD_OK) {
            s->n_stored += outcome.kind == MD_SPOOL_STORED;
            s->n_same += outcome.kind == MD_SPOOL_SAME;
        }
    }
    return NULL;
}

static void test_many_senders(void **state)
{
    fixture *f = *state;
    for (md_spool_sync sync = MD_SPOOL_SYNC_FILES; sync <= MD_SPOOL_SYNC_FILESYSTEM; sync++) {
        MD_AUTO(md_spool_closep) md_spool *spool = open_spool(f, sync, NULL);
        pthread_t threads[N_SENDERS];
        sender senders[N_SENDERS];
        for (unsigned i = 0; i < N_SENDERS; i++) {
            senders[i] = (sender){.spool = spool, .number = sync * 100 + i};
            assert_int_equal(pthread_create(&threads[i], NULL, run_sender, &senders[i]), 0);
        }
        unsigned n_stored = 0;
        unsigned n_same = 0;
        for (unsigned i = 0; i < N_SENDERS; i++) {
            pthread_join(threads[i], NULL);
            n_stored += senders[i].n_stored;
            n_same += senders[i].n_same;
        }
        assert_int_equal(n_stored, N_SENDERS * N_OBJECTS / 2);
        assert_int_equal(n_same, N_SENDERS * N_OBJECTS / 2);
        assert_int_equal(count_data(f), (unsigned)sync * N_SENDERS * N_OBJECTS / 2);
        md_spool_figures figures = md_spool_count(spool);
        assert_int_equal(figures.n_files, N_SENDERS * N_OBJECTS);
        assert_true(figures.n_waits < figures.n_files); /* they did share */
    }
}

/* A real full disk: a tmpfs of 8 MiB, where the test may mount one. Refused as out of
 * resources, nothing left behind, and taken again as soon as there is room. */
static void test_a_full_disk(void **state)
{
    fixture *f = *state;
    char folder[PATH_LENGTH + 16];
    snprintf(folder, sizeof folder, "%s/small", f->folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    if (mount("tmpfs", folder, "tmpfs", 0, "size=8m,mode=0700") != 0) {
        assert_int_equal(errno, EPERM);
        skip();
    }
    md_store_close(f->store);
    char database[PATH_LENGTH + 32];
    snprintf(database, sizeof database, "%s/medaid.db", folder);
    f->options.path = database;
    fixture_open(f);
    md_spool_scan scan;
    md_spool *spool = NULL;
    md_spool_options options = {.folder = folder, .store = f->store};
    assert_ok(md_spool_open(&options, &spool, &scan, err));
    unsigned n_stored = 0;
    unsigned n_refused = 0;
    int filler = -1;
    char path[PATH_LENGTH];
    for (unsigned i = 0; i < 60; i++) {
        if (i == 30) { /* now the disk is full but for a page or two */
            char name[PATH_LENGTH + 32];
            snprintf(name, sizeof name, "%s/filler", folder);
            filler = open(name, O_WRONLY | O_CREAT, 0600);
            static const char zeros[4096];
            while (write(filler, zeros, sizeof zeros) > 0) {
            }
            close(filler);
        }
        if (i == 50) {
            char name[PATH_LENGTH + 32];
            snprintf(name, sizeof name, "%s/filler", folder);
            assert_int_equal(unlink(name), 0);
        }
        md_instance_new item = instance_of(i, 1, 0, 1000);
        snprintf(path, sizeof path, "%s/%u.part", md_spool_incoming(spool), i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0 || errno == ENOSPC);
        close(fd);
        md_spool_arrival arrival = arrival_of(&item, path);
        arrival.dataset_offset_bytes = 0;
        md_spool_outcome outcome;
        md_error err = {0};
        md_status status = md_spool_accept(spool, &arrival, &outcome, &err);
        if (status == MD_OK && outcome.kind == MD_SPOOL_STORED) {
            n_stored++;
        } else {
            assert_true(status == MD_IO || outcome.kind == MD_SPOOL_DISK_LOW);
            n_refused++;
            assert_true(i >= 30 && i < 50);
        }
    }
    assert_true(n_refused > 0);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.n_instances, n_stored);
    md_spool_close(spool);
    md_store_close(f->store);
    f->store = NULL;
    fixture_open(f);
    options.store = f->store;
    assert_ok(md_spool_open(&options, &spool, &scan, err));
    assert_int_equal(scan.n_files, n_stored);
    assert_int_equal(scan.n_missing, 0);
    md_spool_close(spool);
    md_store_close(f->store);
    f->store = NULL;
    assert_int_equal(umount(folder), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_object_is_kept_as_it_came),
        TEST(test_the_same_again_and_a_conflict),
        TEST(test_refused_conflict_leaves_no_file),
        TEST(test_bad_arrivals),
        TEST(test_the_watermark),
        TEST(test_start_compares_files_and_rows),
        TEST(test_a_lost_file_comes_again),
        TEST(test_a_folder_that_is_not_durable),
        TEST(test_an_end_after_each_step),
        TEST(test_many_senders),
        TEST(test_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
