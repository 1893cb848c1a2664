/* kill -9 at a random moment, a hundred times: what was acknowledged is there, the database is
 * whole, and what was under way goes on. The child takes objects in on several threads, runs
 * studies through to their end on another, and reports each acknowledgement through a pipe. */

#include "daemon/spool/spool.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum {
    N_KILLS = 100,
    N_TAKERS = 4,
    MAX_ACKNOWLEDGED = 1 << 16,
    A_STUDY = 5, /* instances of one */
    BYTES = 3000
};

typedef struct acknowledgement {
    uint32_t study, instance;
} acknowledgement;

typedef struct taker {
    md_store *store;
    md_spool *spool;
    unsigned round, number;
    int pipe_fd;
} taker;

static void *run_taker(void *argument)
{
    taker *t = argument;
    for (unsigned i = 0;; i++) {
        unsigned study = (t->round * N_TAKERS + t->number) * 100 + i / A_STUDY;
        md_instance_new item = instance_of(study, i % A_STUDY, 0, 1000);
        char path[PATH_LENGTH];
        snprintf(path, sizeof path, "%s/%u-%u.part", md_spool_incoming(t->spool), t->number, i);
        uint8_t bytes[BYTES];
        memset(bytes, (int)(i & 0xff), sizeof bytes);
        /* every second one is written at its place, as the listener does it */
        bool is_begun = i % 2 == 1;
        uint64_t file = 0;
        int fd = -1;
        if (is_begun) {
            if (md_spool_begin(t->spool, path, sizeof path, &file, &fd, NULL) != MD_OK) {
                _exit(3);
            }
        } else {
            fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        }
        if (fd < 0 || write(fd, bytes, sizeof bytes) != sizeof bytes) {
            _exit(3);
        }
        md_spool_arrival arrival = {.path = path,
                                    .is_begun = is_begun,
                                    .file = file,
                                    .fd = fd,
                                    .study_uid = item.study_uid,
                                    .series_uid = item.series_uid,
                                    .sop_instance_uid = item.sop_instance_uid,
                                    .sop_class_uid = item.sop_class_uid,
                                    .transfer_syntax_uid = item.transfer_syntax_uid,
                                    .source_ae = item.source_ae,
                                    .received_ms = 1000};
        md_spool_outcome outcome;
        md_error err = {0};
        if (md_spool_accept(t->spool, &arrival, &outcome, &err) != MD_OK ||
            outcome.kind != MD_SPOOL_STORED) {
            fprintf(stderr, "accept: %d %s\n", (int)outcome.kind, err.msg);
            _exit(4);
        }
        close(fd);
        acknowledgement told = {study, i % A_STUDY};
        if (write(t->pipe_fd, &told, sizeof told) != sizeof told) {
            _exit(5);
        }
    }
    return NULL;
}

/* What the daemon does with a study, all of it, once. False: there was nothing to do. */
static bool advance(md_store *store, md_spool *spool, bool all)
{
    bool worked = false;
    static md_study list[100];
    size_t n = 0;
    md_study_page page = {.states = 1u << MD_STUDY_RECEIVING, .oldest_first = true};
    assert_ok(md_store_studies(store, &page, 100, list, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (all || list[i].n_instances == A_STUDY) {
            md_status status = md_store_complete(store, &list[i], 2000, NULL);
            assert_true(status == MD_OK || status == MD_BUSY);
            worked = true;
        }
    }
    md_claim claim;
    md_study study;
    if (md_store_claim(store, "worker", 3000, 1000000, &claim, &study, NULL) == MD_OK) {
        worked = true;
        const char *to[] = {"pacs"};
        char uid[MD_STORE_UID_BYTES];
        char path[PATH_LENGTH];
        snprintf(uid, sizeof uid, "2.25.%lld.%d", (long long)study.id, study.generation);
        snprintf(path, sizeof path, "%s/result.part", md_spool_incoming(spool));
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fprintf(out, "%s", uid);
        fclose(out);
        md_object_new object = {"sr", uid, "1.2", "model", "1.2.6", 0, 0, to, 1};
        assert_ok(md_spool_keep(spool, path, &object.file, &object.size_bytes, err));
        if (md_store_report(store, &claim, 3000, NULL) == MD_OK) {
            md_status status = md_store_finish(
                store, &claim, &(md_study_outcome){.objects = &object, .n_objects = 1}, 3000,
                NULL, NULL);
            assert_true(status == MD_OK || status == MD_CANCELLED);
        }
    }
    md_outbox_row row;
    assert_ok(md_store_outbox_claim(store, "pacs", 4000, 1000, 1, &row, &n, err));
    if (n == 1) {
        worked = true;
        md_outbox_result result = {.id = row.id, .token = row.token, .state = MD_OUTBOX_SENT};
        assert_ok(md_store_outbox_finish(store, &result, 1, 5000, NULL, err));
    }
    return worked;
}

static void run_child(fixture *f, unsigned round, int pipe_fd)
{
    md_recovery recovery;
    md_spool_scan scan;
    md_spool *spool = NULL;
    fixture_open(f);
    assert_ok(md_store_recover(f->store, 9000, &recovery, err));
    md_spool_options options = {.folder = f->folder, .store = f->store};
    assert_ok(md_spool_open(&options, &spool, &scan, err));
    pthread_t threads[N_TAKERS];
    taker takers[N_TAKERS];
    for (unsigned i = 0; i < N_TAKERS; i++) {
        takers[i] = (taker){f->store, spool, round, i, pipe_fd};
        pthread_create(&threads[i], NULL, run_taker, &takers[i]);
    }
    for (;;) {
        if (!advance(f->store, spool, false)) {
            usleep(1000);
        }
    }
}

static void sleep_random_ms(unsigned *seed, int most_ms)
{
    *seed = *seed * 1664525u + 1013904223u;
    usleep((useconds_t)(((uint64_t)*seed >> 8) % ((unsigned)most_ms * 1000)));
}

/* Each acknowledged instance has its row and its file of the right size. */
static void check_acknowledged(fixture *f, md_spool *spool, const acknowledgement *told,
                               size_t n_told)
{
    for (size_t i = 0; i < n_told; i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "SELECT file FROM instance WHERE uid = '%s'",
                 uid_of("3", told[i].study * 10000 + told[i].instance));
        int64_t file = text_number(f->database, sql);
        if (file < 0) {
            fail_msg("acknowledged instance %u of study %u has no row", told[i].instance,
                     told[i].study);
        }
        char path[MD_SPOOL_PATH_BYTES];
        struct stat info;
        assert_ok(md_spool_path(spool, (uint64_t)file, path, err));
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, BYTES);
    }
}

static void test_kill_9(void **state)
{
    fixture *f = *state;
    md_store_close(f->store);
    f->store = NULL;
    static acknowledgement told[MAX_ACKNOWLEDGED];
    size_t n_all = 0;
    unsigned seed = 20260131;
    unsigned n_requeued = 0;
    uint64_t n_removed = 0;
    for (unsigned round = 0; round < N_KILLS; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(fds[0]);
            run_child(f, round, fds[1]);
            _exit(2);
        }
        close(fds[1]);
        /* from before the first acknowledgement to well after */
        struct pollfd wait_for = {.fd = fds[0], .events = POLLIN};
        if (round % 4 != 0) {
            poll(&wait_for, 1, 20000);
        }
        sleep_random_ms(&seed, 60);
        assert_int_equal(kill(child, SIGKILL), 0);
        int how = 0;
        assert_int_equal(waitpid(child, &how, 0), child);
        if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) {
            fail_msg("the child ended by itself: %x", (unsigned)how);
        }
        size_t n_round = n_all;
        while (n_all < MAX_ACKNOWLEDGED &&
               read(fds[0], &told[n_all], sizeof told[n_all]) == sizeof told[n_all]) {
            n_all++;
        }
        close(fds[0]);
        fixture_open(f);
        md_recovery recovery;
        md_spool_scan scan;
        md_spool *spool = NULL;
        assert_ok(md_store_recover(f->store, 9000, &recovery, err));
        n_requeued += recovery.n_requeued;
        md_spool_options options = {.folder = f->folder, .store = f->store};
        assert_ok(md_spool_open(&options, &spool, &scan, err));
        n_removed += scan.n_removed;
        assert_int_equal(scan.n_missing, 0);
        check_acknowledged(f, spool, told + n_round, n_all - n_round);
        md_store_counts counts;
        assert_ok(md_store_count(f->store, &counts, err));
        assert_int_equal(counts.studies[MD_STUDY_ANALYSING], 0);
        assert_int_equal(counts.studies[MD_STUDY_REPORTING], 0);
        assert_int_equal(counts.studies[MD_STUDY_FAILED], 0);
        md_spool_close(spool);
        md_store_close(f->store);
        f->store = NULL;
    }
    assert_int_equal(text_number(f->database, "SELECT integrity_check = 'ok' FROM"
                                              " pragma_integrity_check"),
                     1);
    assert_true(n_all > 0);
    /* to the end: every study is done, none was lost */
    fixture_open(f);
    md_recovery recovery;
    assert_ok(md_store_recover(f->store, 9000, &recovery, err));
    md_spool *spool = NULL;
    md_spool_scan scan;
    md_spool_options options = {.folder = f->folder, .store = f->store};
    assert_ok(md_spool_open(&options, &spool, &scan, err));
    assert_int_equal(scan.n_missing, 0);
    while (advance(f->store, spool, true)) {
    }
    md_spool_close(spool);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    for (int s = 0; s < MD_STUDY_N_STATES; s++) {
        if (s != MD_STUDY_DONE) {
            assert_int_equal(counts.studies[s], 0);
        }
    }
    assert_true(counts.n_instances >= n_all);
    print_message("# %d kills: %zu acknowledged, %llu kept, %u studies taken up again, "
                  "%llu files without acknowledgement removed\n",
                  N_KILLS, n_all, (unsigned long long)counts.n_instances, n_requeued,
                  (unsigned long long)n_removed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_9, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
