#include "tests/unit/dicom_network/bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "daemon/assembly.h"
#include "daemon/queue.h"
#include "daemon/store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "0123456789abcdef0123456789abcdef"
#define KEY_B "ffffffffffffffffffffffffffffffff"
#define STUDY "1.2.3.4.5"

/* The wall clock runs 1,000,000 ms ahead of the monotonic one. */
static md_moment at(int64_t ms)
{
    return (md_moment){ms, ms + 1000000};
}

static void add(md_assembly *assembly, const char *key, int64_t ms)
{
    assert_int_equal(md_assembly_add(assembly, key, at(ms), NULL), MD_OK);
}

static void test_assembly_quiet_time(void **state)
{
    MD_AUTO(md_assembly_destroyp) md_assembly *assembly = NULL;
    md_complete_study study;
    (void)state;
    assert_int_equal(md_assembly_create(1000, &assembly, NULL), MD_OK);
    assert_int_equal(md_assembly_wait_ms(assembly, at(0)), -1);
    assert_false(md_assembly_take(assembly, at(0), &study));
    add(assembly, KEY_A, 5000);
    assert_int_equal(md_assembly_wait_ms(assembly, at(5000)), 1000);
    add(assembly, KEY_A, 5900);
    assert_false(md_assembly_take(assembly, at(6899), &study));
    assert_int_equal(md_assembly_wait_ms(assembly, at(6899)), 1);
    assert_true(md_assembly_take(assembly, at(6900), &study));
    assert_string_equal(study.key, KEY_A);
    assert_int_equal(study.n_objects, 2);
    assert_int_equal(study.first_received_ms, 1005000);
    assert_int_equal(study.last_received_ms, 1005900);
    assert_int_equal(study.complete_ms, 1006900);
    assert_int_equal(md_assembly_n_open(assembly), 0);
    /* a late object opens it again, on its own */
    add(assembly, KEY_A, 9000);
    assert_true(md_assembly_take(assembly, at(20000), &study));
    assert_int_equal(study.n_objects, 1);
    assert_int_equal(study.first_received_ms, 1009000);
}

static void test_assembly_interleaved(void **state)
{
    MD_AUTO(md_assembly_destroyp) md_assembly *assembly = NULL;
    md_complete_study study;
    (void)state;
    assert_int_equal(md_assembly_create(1000, &assembly, NULL), MD_OK);
    for (int64_t ms = 0; ms < 3000; ms += 100) {
        add(assembly, ms % 200 == 0 ? KEY_A : KEY_B, ms);
        assert_false(md_assembly_take(assembly, at(ms), &study));
    }
    add(assembly, KEY_A, 3500); /* so B is complete first */
    assert_int_equal(md_assembly_n_open(assembly), 2);
    assert_false(md_assembly_take(assembly, at(3899), &study));
    assert_true(md_assembly_take(assembly, at(3900), &study));
    assert_string_equal(study.key, KEY_B);
    assert_int_equal(study.n_objects, 15);
    assert_false(md_assembly_take(assembly, at(4499), &study));
    assert_true(md_assembly_take(assembly, at(4500), &study));
    assert_string_equal(study.key, KEY_A);
    assert_int_equal(study.n_objects, 16);
}

static void test_assembly_many(void **state)
{
    enum {
        N = 5000
    };
    MD_AUTO(md_assembly_destroyp) md_assembly *assembly = NULL;
    md_complete_study study;
    char key[MD_STUDY_KEY_BYTES];
    unsigned n = 0;
    (void)state;
    assert_int_equal(md_assembly_create(10, &assembly, NULL), MD_OK);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < N; i++) {
            snprintf(key, sizeof key, "%032x", i);
            add(assembly, key, round * 5 + (int)i / N);
        }
    }
    assert_int_equal(md_assembly_n_open(assembly), N);
    while (md_assembly_take(assembly, at(15), &study)) {
        snprintf(key, sizeof key, "%032x", n);
        assert_string_equal(study.key, key); /* in the order of their last object */
        assert_int_equal(study.n_objects, 2);
        n++;
    }
    assert_int_equal(n, N);
    for (size_t nth = 1; nth <= 2; nth++) {
        md_assembly *none = NULL;
        md_memory_fail_at(1);
        if (nth == 1) {
            assert_int_equal(md_assembly_create(10, &none, NULL), MD_NOMEM);
        } else {
            assert_int_equal(md_assembly_add(assembly, KEY_A, at(1), NULL), MD_NOMEM);
        }
        md_memory_fail_at(0);
    }
}

static md_complete_study study_of(const char *key, int64_t first_ms, unsigned n)
{
    md_complete_study study = {.n_objects = n,
                               .first_received_ms = first_ms,
                               .last_received_ms = first_ms + 10,
                               .complete_ms = first_ms + 20};
    snprintf(study.key, sizeof study.key, "%s", key);
    return study;
}

static void test_queue_order_and_merge(void **state)
{
    MD_AUTO(md_queue_destroyp) md_queue *queue = NULL;
    md_job job, other;
    (void)state;
    assert_int_equal(md_queue_create_memory(&queue, NULL), MD_OK);
    md_complete_study a = study_of(KEY_A, 100, 1), b = study_of(KEY_B, 200, 2);
    md_complete_study a_again = study_of(KEY_A, 300, 4);
    assert_int_equal(md_queue_push(queue, &a, NULL), MD_OK);
    assert_int_equal(md_queue_push(queue, &b, NULL), MD_OK);
    assert_int_equal(md_queue_push(queue, &a_again, NULL), MD_OK);
    assert_int_equal(md_queue_count(queue, MD_STUDY_COMPLETE), 2);
    assert_int_equal(md_queue_take(queue, &job, NULL), MD_OK);
    assert_string_equal(job.study.key, KEY_A);
    assert_int_equal(job.study.n_objects, 5);
    assert_int_equal(job.study.first_received_ms, 100);
    assert_int_equal(job.study.last_received_ms, 310);
    assert_int_equal(job.attempt, 1);
    assert_int_equal(md_queue_count(queue, MD_STUDY_ANALYSING), 1);
    /* pushed while it is taken: not given to a second one, but again afterwards */
    assert_int_equal(md_queue_push(queue, &a_again, NULL), MD_OK);
    assert_int_equal(md_queue_push(queue, &a_again, NULL), MD_OK);
    assert_int_equal(md_queue_take(queue, &other, NULL), MD_OK);
    assert_string_equal(other.study.key, KEY_B);
    assert_int_equal(md_queue_count(queue, MD_STUDY_COMPLETE), 0);
    assert_int_equal(md_queue_finish(queue, &job, MD_STUDY_DONE, NULL), MD_OK);
    assert_int_equal(md_queue_count(queue, MD_STUDY_COMPLETE), 1);
    assert_int_equal(md_queue_take(queue, &job, NULL), MD_OK);
    assert_string_equal(job.study.key, KEY_A);
    assert_int_equal(job.study.n_objects, 8);
    assert_int_equal(md_queue_finish(queue, &job, MD_STUDY_FAILED, NULL), MD_OK);
    assert_int_equal(md_queue_finish(queue, &job, MD_STUDY_FAILED, NULL), MD_INTERNAL);
    assert_int_equal(md_queue_retry(queue, &other, NULL), MD_OK);
    assert_int_equal(md_queue_take(queue, &other, NULL), MD_OK);
    assert_int_equal(other.attempt, 2);
    assert_int_equal(md_queue_finish(queue, &other, MD_STUDY_DONE, NULL), MD_OK);
    assert_int_equal(md_queue_count(queue, MD_STUDY_DONE), 2);
    assert_int_equal(md_queue_count(queue, MD_STUDY_FAILED), 1);
    assert_int_equal(md_queue_count(queue, MD_STUDY_ANALYSING), 0);
}

/* A failed one does not stand in the way of the others. */
static void test_queue_retry_goes_behind(void **state)
{
    MD_AUTO(md_queue_destroyp) md_queue *queue = NULL;
    md_job job;
    (void)state;
    assert_int_equal(md_queue_create_memory(&queue, NULL), MD_OK);
    md_complete_study a = study_of(KEY_A, 100, 1), b = study_of(KEY_B, 200, 2);
    assert_int_equal(md_queue_push(queue, &a, NULL), MD_OK);
    assert_int_equal(md_queue_push(queue, &b, NULL), MD_OK);
    assert_int_equal(md_queue_take(queue, &job, NULL), MD_OK);
    assert_int_equal(md_queue_retry(queue, &job, NULL), MD_OK);
    assert_int_equal(md_queue_take(queue, &job, NULL), MD_OK);
    assert_string_equal(job.study.key, KEY_B);
    md_memory_fail_at(1);
    md_complete_study c = study_of("c", 100, 1);
    assert_int_equal(md_queue_push(queue, &c, NULL), MD_NOMEM);
    md_memory_fail_at(0);
}

static void *taker(void *argument)
{
    md_queue *queue = argument;
    uintptr_t n = 0;
    md_job job;
    while (md_queue_take(queue, &job, NULL) == MD_OK) {
        n++;
        if (md_queue_finish(queue, &job, MD_STUDY_DONE, NULL) != MD_OK) {
            abort();
        }
    }
    return (void *)n;
}

static void test_queue_threads(void **state)
{
    enum {
        N_THREADS = 4,
        N_STUDIES = 500
    };
    MD_AUTO(md_queue_destroyp) md_queue *queue = NULL;
    pthread_t threads[N_THREADS];
    uintptr_t n = 0;
    (void)state;
    assert_int_equal(md_queue_create_memory(&queue, NULL), MD_OK);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, taker, queue), 0);
    }
    for (unsigned i = 0; i < N_STUDIES; i++) {
        char key[MD_STUDY_KEY_BYTES];
        snprintf(key, sizeof key, "%032x", i);
        md_complete_study study = study_of(key, 1, 1);
        assert_int_equal(md_queue_push(queue, &study, NULL), MD_OK);
    }
    while (md_queue_count(queue, MD_STUDY_DONE) < N_STUDIES) {
        usleep(1000);
    }
    md_queue_close(queue);
    for (int i = 0; i < N_THREADS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        n += (uintptr_t)result;
    }
    assert_int_equal(n, N_STUDIES);
}

/* A storage path that is gone afterwards. */
static void make_storage(char ret_path[64])
{
    test_folder_make(ret_path);
}

static void remove_storage(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(pclose(pipe), 0);
}

/* A received object in the spool. */
static void receive(md_store *store, const char *instance, size_t n_pixel_bytes,
                    const char *source, char ret_path[256])
{
    static unsigned counter;
    test_dataset dataset;
    snprintf(ret_path, 256, "%s/%u.dcm", md_store_spool(store), counter++);
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, n_pixel_bytes + 4096);
    test_dataset_fill(&dataset, TEST_CT_CLASS, instance, STUDY, n_pixel_bytes);
    test_dataset_save(&dataset, ret_path, TEST_CT_CLASS, instance, MD_UID_EXPLICIT_LITTLE);
    if (source != NULL) {
        /* another head: what is compared is the dataset */
        FILE *file = fopen(ret_path, "r+b");
        assert_non_null(file);
        fputs(source, file);
        fclose(file);
    }
    test_dataset_finish(&dataset);
}

static md_store_outcome take(md_store *store, const char *path, const char *key,
                             const char *instance)
{
    md_store_outcome outcome = MD_STORE_NEW;
    md_error err = {0};
    if (md_store_take(store, path, key, instance, &outcome, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_not_equal(access(path, F_OK), 0);
    return outcome;
}

static size_t count_objects(md_store *store, const char *key)
{
    md_study_files files = {0};
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    size_t n = files.n_paths;
    md_study_files_finish(&files);
    return n;
}

static void test_store_objects(void **state)
{
    char path[64], file[256], key[MD_STUDY_KEY_BYTES], other_key[MD_STUDY_KEY_BYTES];
    MD_AUTO(md_store_closep) md_store *store = NULL;
    md_study_files files = {0};
    (void)state;
    make_storage(path);
    assert_int_equal(md_store_open(path, &store, NULL), MD_OK);
    md_store_study_key(store, STUDY, key);
    md_store_study_key(store, "1.2.3.4.6", other_key);
    assert_int_equal(strlen(key), 32);
    assert_string_not_equal(key, other_key);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_NOT_FOUND);
    receive(store, "1.2.3.1", 200000, NULL, file);
    assert_int_equal(take(store, file, key, "1.2.3.1"), MD_STORE_NEW);
    receive(store, "1.2.3.2", 1000, NULL, file);
    assert_int_equal(take(store, file, key, "1.2.3.2"), MD_STORE_NEW);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    assert_int_equal(files.n_paths, 2);
    for (size_t i = 0; i < files.n_paths; i++) {
        assert_null(strstr(files.paths[i], "1.2.3")); /* no UID in a name */
    }
    char mark[MD_STORE_MARK_BYTES];
    memcpy(mark, files.mark, sizeof mark);
    md_study_files_finish(&files);
    /* the same again, from another sender: stored once */
    receive(store, "1.2.3.1", 200000, "other head", file);
    assert_int_equal(take(store, file, key, "1.2.3.1"), MD_STORE_SAME);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    assert_string_equal(files.mark, mark);
    md_study_files_finish(&files);
    /* another version: both are kept, the new one counts, and the study has changed */
    receive(store, "1.2.3.1", 199998, NULL, file);
    assert_int_equal(take(store, file, key, "1.2.3.1"), MD_STORE_REPLACED);
    receive(store, "1.2.3.1", 199996, NULL, file);
    assert_int_equal(take(store, file, key, "1.2.3.1"), MD_STORE_REPLACED);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    assert_int_equal(files.n_paths, 2);
    assert_string_not_equal(files.mark, mark);
    md_study_files_finish(&files);
    char folder[128];
    snprintf(folder, sizeof folder, "%s/incoming/%s", path, key);
    assert_int_equal(test_folder_count(folder), 4);
    assert_int_equal(test_folder_count(md_store_spool(store)), 0);
    remove_storage(path);
}

static void *store_same(void *argument)
{
    md_store *store = argument;
    char key[MD_STUDY_KEY_BYTES];
    uintptr_t n_new = 0;
    md_store_study_key(store, STUDY, key);
    for (int i = 0; i < 25; i++) {
        char instance[32], path[256];
        static atomic_uint counter;
        test_dataset dataset;
        snprintf(instance, sizeof instance, "1.2.3.%d", i);
        snprintf(path, sizeof path, "%s/same-%u.dcm", md_store_spool(store),
                 atomic_fetch_add(&counter, 1));
        test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 8192);
        test_dataset_fill(&dataset, TEST_CT_CLASS, instance, STUDY, 3000);
        test_dataset_save(&dataset, path, TEST_CT_CLASS, instance, MD_UID_EXPLICIT_LITTLE);
        test_dataset_finish(&dataset);
        n_new += take(store, path, key, instance) == MD_STORE_NEW;
    }
    return (void *)n_new;
}

/* The same objects over several associations at once. */
static void test_store_race(void **state)
{
    enum {
        N = 6
    };
    char path[64], key[MD_STUDY_KEY_BYTES];
    MD_AUTO(md_store_closep) md_store *store = NULL;
    pthread_t threads[N];
    uintptr_t n_new = 0;
    (void)state;
    make_storage(path);
    assert_int_equal(md_store_open(path, &store, NULL), MD_OK);
    for (int i = 0; i < N; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, store_same, store), 0);
    }
    for (int i = 0; i < N; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        n_new += (uintptr_t)result;
    }
    assert_int_equal(n_new, 25);
    md_store_study_key(store, STUDY, key);
    assert_int_equal(count_objects(store, key), 25);
    remove_storage(path);
}

static void count_visit(void *context, const char *study_key, const md_study_files *files)
{
    unsigned *n = context;
    assert_int_equal(strlen(study_key), 32);
    *n += (unsigned)files->n_paths;
}

static unsigned count_unfinished(md_store *store)
{
    unsigned n = 0;
    assert_int_equal(md_store_find_unfinished(store, count_visit, &n, NULL), MD_OK);
    return n;
}

static void test_store_marks_and_restart(void **state)
{
    char path[64], file[256], key[MD_STUDY_KEY_BYTES], again[MD_STUDY_KEY_BYTES];
    md_store *store = NULL, *second = NULL;
    md_study_files files = {0};
    md_error err = {0};
    unsigned attempt = 0, n_removed = 0;
    (void)state;
    make_storage(path);
    assert_int_equal(md_store_open(path, &store, NULL), MD_OK);
    md_store_study_key(store, STUDY, key);
    receive(store, "1.2.3.1", 1000, NULL, file);
    take(store, file, key, "1.2.3.1");
    assert_int_equal(count_unfinished(store), 1);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    for (unsigned i = 1; i <= 4; i++) {
        assert_int_equal(md_store_count_attempt(store, key, files.mark, &attempt, NULL), MD_OK);
        assert_int_equal(attempt, i);
    }
    /* only one daemon at a time */
    assert_int_equal(md_store_open(path, &second, &err), MD_BUSY);
    receive(store, "1.2.3.2", 1000, NULL, file); /* received, never acknowledged */
    md_store_close(store);
    assert_int_equal(md_store_open(path, &store, NULL), MD_OK);
    assert_int_equal(test_folder_count(md_store_spool(store)), 0);
    md_store_study_key(store, STUDY, again);
    assert_string_equal(again, key);
    assert_int_equal(count_unfinished(store), 1);
    assert_int_equal(md_store_count_attempt(store, key, files.mark, &attempt, NULL), MD_OK);
    assert_int_equal(attempt, 5);
    /* not analysed: not swept, however old */
    int64_t later_ms = md_clock_wall_ms() + 1000000;
    assert_int_equal(md_store_sweep(store, later_ms, &n_removed, NULL), MD_OK);
    assert_int_equal(n_removed, 0);
    assert_int_equal(md_store_set_mark(store, key, files.mark, NULL), MD_OK);
    assert_int_equal(count_unfinished(store), 0);
    assert_int_equal(md_store_sweep(store, md_clock_wall_ms() - 60000, &n_removed, NULL),
                     MD_OK);
    assert_int_equal(n_removed, 0);
    /* a late object: open again, and the attempts begin anew */
    receive(store, "1.2.3.2", 1000, NULL, file);
    take(store, file, key, "1.2.3.2");
    assert_int_equal(count_unfinished(store), 2);
    md_study_files_finish(&files);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_OK);
    assert_int_equal(md_store_count_attempt(store, key, files.mark, &attempt, NULL), MD_OK);
    assert_int_equal(attempt, 1);
    assert_int_equal(md_store_set_mark(store, key, files.mark, NULL), MD_OK);
    assert_int_equal(md_store_sweep(store, later_ms, &n_removed, NULL), MD_OK);
    assert_int_equal(n_removed, 1);
    md_study_files_finish(&files);
    assert_int_equal(md_store_list(store, key, &files, NULL), MD_NOT_FOUND);
    md_store_close(store);
    /* a broken key would give every study a new name: refused */
    char key_path[128];
    snprintf(key_path, sizeof key_path, "%s/key", path);
    assert_int_equal(truncate(key_path, 5), 0);
    assert_int_equal(md_store_open(path, &store, &err), MD_FORMAT);
    assert_int_equal(md_store_open("/proc/nonexistent", &store, &err), MD_IO);
    remove_storage(path);
}

static void test_store_modes(void **state)
{
    char path[64], name[128], file[256], key[MD_STUDY_KEY_BYTES];
    MD_AUTO(md_store_closep) md_store *store = NULL;
    struct stat info;
    md_study_files files = {0};
    (void)state;
    make_storage(path);
    assert_int_equal(md_store_open(path, &store, NULL), MD_OK);
    md_store_study_key(store, STUDY, key);
    receive(store, "1.2.3.1", 1000, NULL, file);
    take(store, file, key, "1.2.3.1");
    static const char *const names[] = {"key", "lock"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/%s", path, names[i]);
        assert_int_equal(stat(name, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
    }
    snprintf(name, sizeof name, "%s/incoming/%s", path, key);
    assert_int_equal(stat(name, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    for (size_t nth = 1;; nth++) {
        md_memory_fail_at(nth);
        md_status status = md_store_list(store, key, &files, NULL);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            assert_true(nth > 2);
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    md_study_files_finish(&files);
    remove_storage(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assembly_quiet_time),
        cmocka_unit_test(test_assembly_interleaved),
        cmocka_unit_test(test_assembly_many),
        cmocka_unit_test(test_queue_order_and_merge),
        cmocka_unit_test(test_queue_retry_goes_behind),
        cmocka_unit_test(test_queue_threads),
        cmocka_unit_test(test_store_objects),
        cmocka_unit_test(test_store_race),
        cmocka_unit_test(test_store_marks_and_restart),
        cmocka_unit_test(test_store_modes),
    };
    return cmocka_run_group_tests_name("daemon_parts", tests, NULL, NULL);
}
