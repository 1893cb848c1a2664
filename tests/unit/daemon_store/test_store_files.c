/* The database as a file: versions, damage, a full disk, and many threads. */

#include "daemon/store/store_sqlite.h"
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *const two_steps[] = {
    "CREATE TABLE first (a INTEGER); INSERT INTO first VALUES (41);",
    "ALTER TABLE first ADD COLUMN b INTEGER NOT NULL DEFAULT 1; UPDATE first SET a = a + b;",
};
static const char *const broken_step[] = {
    "CREATE TABLE first (a INTEGER); INSERT INTO first VALUES (41);",
    "ALTER TABLE first ADD COLUMN b INTEGER; UPDATE nowhere SET a = 1;",
};

static void test_an_older_version_is_brought_up(void **state)
{
    fixture *f = *state;
    char path[PATH_LENGTH + 16];
    snprintf(path, sizeof path, "%s/other.db", f->folder);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_ok(md_sqlite_migrate(db, two_steps, 1, err));
    md_error why = {0};
    /* a step that fails leaves the version and the data as they were */
    assert_int_equal(md_sqlite_migrate(db, broken_step, 2, &why), MD_INTERNAL);
    assert_non_null(strstr(why.msg, "bringing it to version 2"));
    assert_int_equal(text_number(path, "PRAGMA user_version"), 1);
    assert_int_equal(text_number(path, "SELECT count(*) FROM pragma_table_info('first')"), 1);
    assert_ok(md_sqlite_migrate(db, two_steps, 2, err));
    assert_ok(md_sqlite_migrate(db, two_steps, 2, err));
    assert_int_equal(text_number(path, "PRAGMA user_version"), 2);
    assert_int_equal(text_number(path, "SELECT a FROM first"), 42);
    sqlite3_close(db);
}

/* A database of version 2 with a row in each of its tables: all of them are there after all the
 * steps since, and this medaid goes on with them. */
static void test_version_2_is_brought_up(void **state)
{
    fixture *f = *state;
    static const char rows[] =
        "INSERT INTO meta VALUES ('paused', 1);"
        "INSERT INTO study (id, key, uid, state, priority, n_instances, size_bytes,"
        " first_received, last_received, ended)"
        " VALUES (7, 'k7', '1.2.7', 4, 3, 1, 1000, 11, 12, 0),"
        " (8, 'k8', '1.2.8', 0, 0, 1, 500, 13, 14, 0);"
        "INSERT INTO instance VALUES"
        " (70, 7, '1.2.7.1', '1.2.3', '1.2.7.2', '1.2.1', 'OLD', zeroblob(32), 1, 1000, 11, 1),"
        " (80, 8, '1.2.8.1', '1.2.3', '1.2.8.2', '1.2.1', 'OLD', zeroblob(32), 2, 500, 13, 1);"
        "INSERT INTO object VALUES"
        " (71, 7, 1, 'sr', '1.2.7.3', '1.2.4', 3, 10, 15, 'model', '1.2.7.4'),"
        " (72, 7, 1, 'picture', '1.2.7.5', '1.2.4', 4, 10, 16, 'model', '1.2.7.6');"
        "INSERT INTO outbox VALUES (90, 7, 71, 1, 'pacs', 0, 2, 20, 999, 5, 300),"
        " (91, 7, 72, 1, 'pacs', 1, 1, 20, 0, 6, 0);";
    md_store_close(f->store);
    f->store = NULL;
    assert_int_equal(unlink(f->database), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
    for (int version = 1; version <= 2; version++) {
        assert_ok(md_sqlite_migrate(db, md_sqlite_schema, version, err));
    }
    assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
    for (int version = 3; version <= md_sqlite_schema_version; version++) {
        assert_ok(md_sqlite_migrate(db, md_sqlite_schema, version, err)); /* in order */
        assert_int_equal(text_number(f->database, "PRAGMA user_version"), version);
        assert_int_equal(text_number(f->database, "SELECT count(*) FROM study"), 2);
        assert_int_equal(text_number(f->database, "SELECT count(*) FROM instance"), 2);
        assert_int_equal(text_number(f->database, "SELECT count(*) FROM object"), 2);
        assert_int_equal(text_number(f->database, "SELECT count(*) FROM outbox"), 2);
    }
    sqlite3_close(db);
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM pragma_foreign_key_check"),
                     0);
    assert_int_equal(text_number(f->database, "SELECT since FROM outbox WHERE id = 90"), 15);
    fixture_open(f);
    md_recovery recovery;
    assert_ok(md_store_recover(f->store, 1000, &recovery, err));
    assert_int_equal(recovery.n_sending, 1);
    assert_true(md_store_flag_is_set(f->store, MD_STORE_PAUSED));
    assert_int_equal(study_of(f->store, 7).priority, 3);
    assert_int_equal(study_of(f->store, 8).state, MD_STUDY_RECEIVING);

    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", 1000, 1000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(row.id, 90);
    assert_int_equal(row.file, 3);
    assert_int_equal(row.n_attempts, 2);
    md_outbox_result result = {.id = row.id, .token = row.token, .state = MD_OUTBOX_SENT};
    md_study_state now;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 7000, &now, err));
    assert_int_equal(now, MD_STUDY_DONE);

    /* sent again: no tag of today equals one of then, so that both are kept */
    md_instance_new item = instance_of(8, 1, 0, 8000);
    item.file = 50;
    item.study_uid = "1.2.8";
    item.sop_instance_uid = "1.2.8.1";
    md_instance_outcome outcome;
    assert_ok(md_store_add_instances(f->store, &item, 1, &outcome, err));
    assert_int_equal(outcome.kind, MD_INSTANCE_CONFLICT);
    assert_int_equal(outcome.study, 8);
}

static void test_a_newer_version_is_refused(void **state)
{
    fixture *f = *state;
    md_store_close(f->store);
    f->store = NULL;
    text_number(f->database, "PRAGMA user_version = 99");
    md_error err = {0};
    assert_int_equal(md_store_open(&f->options, &f->store, &err), MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 99"));
    assert_non_null(strstr(err.msg, "newer medaid"));
    assert_int_equal(text_number(f->database, "PRAGMA user_version"), 99);
}

static void test_a_database_of_somebody_else_is_refused(void **state)
{
    fixture *f = *state;
    char path[PATH_LENGTH + 16];
    snprintf(path, sizeof path, "%s/other.db", f->folder);
    text_number(path, "CREATE TABLE theirs (a)");
    md_store_options options = {.path = path};
    md_store *store = NULL;
    md_error err = {0};
    assert_int_equal(md_store_open(&options, &store, &err), MD_FORMAT);
    assert_string_equal(err.msg, "the database was not made by medaid");
}

static void damage(const char *path, off_t offset, size_t n)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pwrite(fd, "\xa5", 1, offset + (off_t)i), 1);
    }
    close(fd);
}

static void test_a_damaged_file_is_told(void **state)
{
    fixture *f = *state;
    for (unsigned i = 0; i < 50; i++) {
        add(f->store, i, 1, 0, 1000);
    }
    md_store_close(f->store);
    f->store = NULL;
    struct stat info;
    assert_int_equal(stat(f->database, &info), 0);
    /* pages beyond the schema's: found by the check at start */
    damage(f->database, 8 * 4096, (size_t)info.st_size - 8 * 4096);
    md_error err = {0};
    md_status status = md_store_open(&f->options, &f->store, &err);
    if (status == MD_OK) {
        md_recovery recovery;
        status = md_store_recover(f->store, 0, &recovery, &err);
    }
    assert_int_equal(status, MD_FORMAT);
    assert_non_null(strstr(err.msg, "restore a backup"));
    md_store_close(f->store);
    f->store = NULL;
    damage(f->database, 0, 100);
    assert_int_equal(md_store_open(&f->options, &f->store, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "not a database"));
}

/* Writes beyond a file size limit fail as on a full disk. What was acknowledged before stays,
 * what is refused leaves nothing, and it works again when there is room. In a child of its own,
 * as the limit is the process's. */
static int run_full_disk(fixture *f)
{
    signal(SIGXFSZ, SIG_IGN);
    unsigned n_added = 0;
    for (; n_added < 20; n_added++) {
        add(f->store, n_added, 1, 0, 1000);
    }
    char wal[PATH_LENGTH + 32];
    snprintf(wal, sizeof wal, "%s-wal", f->database);
    struct stat info;
    assert_int_equal(stat(wal, &info), 0);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    struct rlimit small = {.rlim_cur = (rlim_t)info.st_size + 9000, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    unsigned n_refused = 0;
    for (unsigned i = 0; i < 40; i++) {
        md_instance_new item = instance_of(100 + i, 1, 0, 1000);
        md_instance_outcome outcome;
        md_error err = {0};
        md_status status = md_store_add_instances(f->store, &item, 1, &outcome, &err);
        if (status == MD_OK) {
            n_added++;
        } else {
            assert_true(status == MD_LIMIT || status == MD_IO);
            assert_non_null(strstr(err.msg, "database: "));
            n_refused++;
        }
    }
    assert_true(n_refused > 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    add(f->store, 999, 1, 0, 1000);
    n_added++;
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.n_instances, n_added);
    fixture_reopen(f);
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.n_instances, n_added);
    return 0;
}

static void test_a_full_disk(void **state)
{
    run_full_disk(*state);
}

typedef struct adder {
    md_store *store;
    unsigned number;
    unsigned n_stored;
} adder;

enum {
    N_THREADS = 16,
    N_ADDS = 200
};

/* Each thread adds to a study of its own and, every fourth time, to one that all share;
 * instances of the shared one are sent by two threads at once: only one of them stores it. */
static void *run_adder(void *argument)
{
    adder *a = argument;
    for (unsigned i = 0; i < N_ADDS; i++) {
        bool shared = i % 4 == 3;
        md_instance_new item = shared
                                   ? instance_of(500, a->number / 2 * N_ADDS + i, 0, 1000 + i)
                                   : instance_of(a->number, i, 0, 1000 + i);
        md_instance_outcome outcome;
        if (md_store_add_instances(a->store, &item, 1, &outcome, NULL) == MD_OK) {
            a->n_stored += outcome.kind == MD_INSTANCE_STORED;
        }
    }
    return NULL;
}

static void test_many_threads_add(void **state)
{
    fixture *f = *state;
    pthread_t threads[N_THREADS];
    adder adders[N_THREADS];
    for (unsigned i = 0; i < N_THREADS; i++) {
        adders[i] = (adder){f->store, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_adder, &adders[i]), 0);
    }
    unsigned n_stored = 0;
    for (unsigned i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        n_stored += adders[i].n_stored;
    }
    unsigned expected = N_THREADS * N_ADDS * 3 / 4 + N_THREADS / 2 * N_ADDS / 4;
    assert_int_equal(n_stored, expected);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.n_instances, expected);
    assert_int_equal(counts.studies[MD_STUDY_RECEIVING], N_THREADS + 1);
    md_store_close(f->store);
    f->store = NULL;
    assert_int_equal(text_number(f->database, "SELECT integrity_check = 'ok' FROM"
                                              " pragma_integrity_check"),
                     1);
}

/* Workers that race for studies: each is claimed once. */
typedef struct worker {
    md_store *store;
    unsigned n_claimed;
    int64_t claimed[256];
} worker;

static void *run_worker(void *argument)
{
    worker *w = argument;
    md_claim claim;
    md_study study;
    while (w->n_claimed < 256 &&
           md_store_claim(w->store, "w", 3000, 1000000, &claim, &study, NULL) == MD_OK) {
        w->claimed[w->n_claimed++] = claim.study;
        if (md_store_report(w->store, &claim, 4000, NULL) != MD_OK ||
            md_store_finish(w->store, &claim, &(md_study_outcome){0}, 5000, NULL, NULL) !=
                MD_OK) {
            return NULL;
        }
    }
    return NULL;
}

static void test_many_workers_claim(void **state)
{
    fixture *f = *state;
    enum {
        N_STUDIES = 60,
        N_WORKERS = 6
    };
    for (unsigned i = 0; i < N_STUDIES; i++) {
        study_in_state(f->store, i, MD_STUDY_COMPLETE, NULL);
    }
    pthread_t threads[N_WORKERS];
    static worker workers[N_WORKERS];
    for (unsigned i = 0; i < N_WORKERS; i++) {
        workers[i].store = f->store;
        workers[i].n_claimed = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    }
    bool seen[N_STUDIES + 1] = {false};
    for (unsigned i = 0; i < N_WORKERS; i++) {
        pthread_join(threads[i], NULL);
        for (unsigned k = 0; k < workers[i].n_claimed; k++) {
            int64_t id = workers[i].claimed[k];
            assert_true(id >= 1 && id <= N_STUDIES);
            assert_false(seen[id]);
            seen[id] = true;
        }
    }
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.studies[MD_STUDY_DONE], N_STUDIES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_older_version_is_brought_up),
        TEST(test_version_2_is_brought_up),
        TEST(test_a_newer_version_is_refused),
        TEST(test_a_database_of_somebody_else_is_refused),
        TEST(test_a_damaged_file_is_told),
        TEST(test_a_full_disk),
        TEST(test_many_threads_add),
        TEST(test_many_workers_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
