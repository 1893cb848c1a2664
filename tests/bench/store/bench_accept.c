/* How many objects (of 0.5 MB) a second become durable: md_spool_accept against the plain way
 * of one fdatasync, rename, folder fsync and database commit for each. Rounds alternate, so
 * that both meet the same disk. usage: bench_accept FOLDER [objects a round [rounds [bytes]]]
 */

#include "base/clock.h"
#include "daemon/spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

enum {
    DEFAULT_OBJECT_BYTES = 512 * 1024,
    WRITE_BYTES = 128 * 1024,
    MAX_THREADS = 16,
    MAX_ROUNDS = 15,
    PATH_LENGTH = 600,
    N_WAYS = 3
};

static const char *const way_names[N_WAYS] = {"plain", "spool, files", "spool, file system"};

typedef struct bench {
    const char *folder;
    md_store *stores[N_WAYS];
    md_spool *spools[N_WAYS];
    sqlite3 *plain;
    pthread_mutex_t plain_lock;
    int plain_fd;
    uint8_t *bytes;
    size_t object_bytes;
    unsigned way, n_threads, n_each, serial;
} bench;

typedef struct job {
    bench *b;
    unsigned number;
} job;

static void die(const char *what, const md_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err != NULL ? err->msg : strerror(errno));
    exit(1);
}

static void write_object(const bench *b, const char *path, unsigned serial)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, &serial, sizeof serial) != sizeof serial) {
        die(path, NULL);
    }
    for (size_t done = 0; done < b->object_bytes;) {
        size_t n = b->object_bytes - done < WRITE_BYTES ? b->object_bytes - done : WRITE_BYTES;
        if (write(fd, b->bytes + done, n) != (ssize_t)n) {
            die(path, NULL);
        }
        done += n;
    }
    close(fd);
}

static void accept_plain(bench *b, const char *path, unsigned serial)
{
    char kept[PATH_LENGTH + 20];
    snprintf(kept, sizeof kept, "%s/plain/%08u.dcm", b->folder, serial);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fdatasync(fd) != 0 || rename(path, kept) != 0 || fsync(b->plain_fd) != 0) {
        die("plain", NULL);
    }
    close(fd);
    char sql[128];
    snprintf(sql, sizeof sql, "INSERT INTO instance VALUES (%u, '1.2.3.4.%u', 'x')", serial,
             serial);
    pthread_mutex_lock(&b->plain_lock);
    if (sqlite3_exec(b->plain, sql, NULL, NULL, NULL) != SQLITE_OK) {
        die(sqlite3_errmsg(b->plain), NULL);
    }
    pthread_mutex_unlock(&b->plain_lock);
}

static void accept_spool(bench *b, const char *path, unsigned serial, unsigned study)
{
    char uid[64];
    char study_uid[64];
    snprintf(uid, sizeof uid, "1.2.3.4.%u", serial);
    snprintf(study_uid, sizeof study_uid, "1.2.3.5.%u", study);
    md_spool_arrival arrival = {.path = path,
                                .study_uid = study_uid,
                                .series_uid = study_uid,
                                .sop_instance_uid = uid,
                                .sop_class_uid = "1.2.840.10008.5.1.4.1.1.2",
                                .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                                .source_ae = "BENCH",
                                .received_ms = md_clock_wall_ms()};
    md_spool_outcome outcome;
    md_error err = {0};
    if (md_spool_accept(b->spools[b->way], &arrival, &outcome, &err) != MD_OK ||
        outcome.kind != MD_SPOOL_STORED) {
        die("accept", &err);
    }
}

static void *run_thread(void *argument)
{
    job *j = argument;
    bench *b = j->b;
    for (unsigned i = 0; i < b->n_each; i++) {
        unsigned serial = b->serial + j->number * b->n_each + i;
        char path[PATH_LENGTH];
        snprintf(path, sizeof path, "%s/%08u.part",
                 b->way == 0 ? b->folder : md_spool_incoming(b->spools[b->way]), serial);
        write_object(b, path, serial);
        if (b->way == 0) {
            accept_plain(b, path, serial);
        } else {
            accept_spool(b, path, serial, b->serial + j->number);
        }
    }
    return NULL;
}

static double run_round(bench *b)
{
    pthread_t threads[MAX_THREADS];
    job jobs[MAX_THREADS];
    int64_t start_us = md_clock_monotonic_us();
    for (unsigned i = 0; i < b->n_threads; i++) {
        jobs[i] = (job){b, i};
        if (pthread_create(&threads[i], NULL, run_thread, &jobs[i]) != 0) {
            die("pthread_create", NULL);
        }
    }
    for (unsigned i = 0; i < b->n_threads; i++) {
        pthread_join(threads[i], NULL);
    }
    int64_t end_us = md_clock_monotonic_us();
    b->serial += b->n_threads * b->n_each;
    return b->n_threads * b->n_each * 1e6 / (double)(end_us - start_us);
}

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void set_up(bench *b)
{
    char path[PATH_LENGTH];
    md_error err = {0};
    snprintf(path, sizeof path, "%s/plain", b->folder);
    if (md_folder_create(path, &err) != MD_OK) {
        die("folder", &err);
    }
    b->plain_fd = open(path, O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof path, "%s/plain.db", b->folder);
    if (sqlite3_open(path, &b->plain) != SQLITE_OK ||
        sqlite3_exec(b->plain,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "CREATE TABLE instance (id INTEGER PRIMARY KEY, uid UNIQUE, x)",
                     NULL, NULL, NULL) != SQLITE_OK) {
        die("sqlite", NULL);
    }
    static const md_spool_sync syncs[N_WAYS] = {MD_SPOOL_SYNC_AUTO, MD_SPOOL_SYNC_FILES,
                                                MD_SPOOL_SYNC_FILESYSTEM};
    for (unsigned way = 1; way < N_WAYS; way++) {
        char folder[PATH_LENGTH];
        char database[PATH_LENGTH + 16];
        snprintf(folder, sizeof folder, "%s/%u", b->folder, way);
        snprintf(database, sizeof database, "%s/medaid.db", folder);
        md_store_options store_options = {.path = database};
        if (md_folder_create(folder, &err) != MD_OK ||
            md_store_open(&store_options, &b->stores[way], &err) != MD_OK) {
            die("store", &err);
        }
        md_spool_scan scan;
        md_spool_options options = {
            .folder = folder, .store = b->stores[way], .sync = syncs[way]};
        if (md_spool_open(&options, &b->spools[way], &scan, &err) != MD_OK) {
            die("spool", &err);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_accept FOLDER [objects a round [rounds [bytes]]]\n");
        return 2;
    }
    unsigned n_objects = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 320;
    unsigned n_rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 5;
    n_rounds = n_rounds < 1 ? 1 : n_rounds > MAX_ROUNDS ? MAX_ROUNDS : n_rounds;
    bench b = {.folder = argv[1], .plain_lock = PTHREAD_MUTEX_INITIALIZER, .serial = 1};
    b.object_bytes = argc > 4 ? strtoul(argv[4], NULL, 10) : DEFAULT_OBJECT_BYTES;
    b.bytes = malloc(b.object_bytes);
    if (b.bytes == NULL) {
        die("malloc", NULL);
    }
    for (size_t i = 0; i < b.object_bytes; i++) {
        b.bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    set_up(&b);
    printf("threads  %-14s %-14s %-20s ratio of the better\n", way_names[0], way_names[1],
           way_names[2]);
    static const unsigned threads[] = {1, 4, 8, 16};
    for (unsigned t = 0; t < 4; t++) {
        double rates[N_WAYS][MAX_ROUNDS];
        b.n_threads = threads[t];
        b.n_each = n_objects / threads[t];
        for (unsigned round = 0; round < n_rounds; round++) {
            for (b.way = 0; b.way < N_WAYS; b.way++) {
                rates[b.way][round] = run_round(&b);
            }
        }
        double median[N_WAYS];
        for (unsigned way = 0; way < N_WAYS; way++) {
            qsort(rates[way], n_rounds, sizeof rates[way][0], compare_rates);
            median[way] = rates[way][n_rounds / 2];
        }
        double better = median[1] > median[2] ? median[1] : median[2];
        printf("%7u  %-14.0f %-14.0f %-20.0f %.2f\n", threads[t], median[0], median[1],
               median[2], better / median[0]);
        fflush(stdout);
    }
    for (unsigned way = 1; way < N_WAYS; way++) {
        md_spool_figures figures = md_spool_count(b.spools[way]);
        printf("%s: %.2f files a wait\n", way_names[way],
               (double)figures.n_files / (double)figures.n_waits);
        md_spool_close(b.spools[way]);
        md_store_close(b.stores[way]);
    }
    sqlite3_close(b.plain);
    free(b.bytes);
    return 0;
}
