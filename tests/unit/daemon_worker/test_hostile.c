/* Each deed of the hostile plugin: the study fails with the right reason (or the deed is
 * refused and the study goes on), the pool serves the next study, and nothing is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool_fixture.h"

#include "daemon/worker/landlock.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fixture calm;  /* a generous time limit */
static fixture brisk; /* a short one, for what never ends */

typedef struct row {
    const char *name;
    hostile_deed deed;
    md_worker_outcome outcome;
    const char *reason; /* part of the message, or of the log when the study is answered */
    double score;       /* when answered with a complete result; -1: a FAILED result */
} row;

static const row rows[] = {
    {"segfault", HOSTILE_SEGFAULT, MD_WORKER_OUTCOME_CRASHED, "worker died, signal 11", 0},
    {"abort", HOSTILE_ABORT, MD_WORKER_OUTCOME_CRASHED, "worker died, signal 6", 0},
    {"stack overflow", HOSTILE_STACK, MD_WORKER_OUTCOME_CRASHED, "worker died, signal 11", 0},
    {"exit in the middle", HOSTILE_EXIT, MD_WORKER_OUTCOME_CRASHED,
     "worker ended with status 0", 0},
    {"allocates without end", HOSTILE_ALLOCATE, MD_WORKER_OUTCOME_MEMORY, "memory limit", 0},
    {"shared memory without end", HOSTILE_ALLOCATE_SHARED, MD_WORKER_OUTCOME_CRASHED,
     "worker died, signal 11", 0},
    {"threads without end", HOSTILE_THREAD_BOMB, MD_WORKER_OUTCOME_MEMORY, "threads", 0},
    {"socket", HOSTILE_SOCKET, MD_WORKER_OUTCOME_FORBIDDEN, "forbidden system call", 0},
    {"fork", HOSTILE_FORK, MD_WORKER_OUTCOME_FORBIDDEN, "forbidden system call", 0},
    {"exec", HOSTILE_EXEC, MD_WORKER_OUTCOME_FORBIDDEN, "forbidden system call", 0},
    {"kills its parent", HOSTILE_KILL_PARENT, MD_WORKER_OUTCOME_FORBIDDEN,
     "forbidden system call", 0},
    {"kills everybody", HOSTILE_KILL_ALL, MD_WORKER_OUTCOME_FORBIDDEN, "forbidden system call",
     0},
    {"ptrace", HOSTILE_PTRACE, MD_WORKER_OUTCOME_FORBIDDEN, "forbidden system call", 0},
    {"takes the handler away", HOSTILE_HANDLER, MD_WORKER_OUTCOME_FORBIDDEN,
     "forbidden system call", 0},
    {"reads /etc/passwd", HOSTILE_READ_FILE, MD_WORKER_OUTCOME_ANSWERED, NULL, 0},
    {"reads its parent", HOSTILE_READ_PARENT, MD_WORKER_OUTCOME_ANSWERED, NULL, 0},
    {"writes a file", HOSTILE_WRITE_FILE, MD_WORKER_OUTCOME_ANSWERED, "\"call\":\"openat\"", 0},
    {"removes files", HOSTILE_REMOVE_FILE, MD_WORKER_OUTCOME_ANSWERED, "\"call\":\"unlink\"",
     0},
    {"a thread is allowed", HOSTILE_THREAD, MD_WORKER_OUTCOME_ANSWERED, NULL, 0},
    {"generated code is allowed", HOSTILE_JIT, MD_WORKER_OUTCOME_ANSWERED, NULL, 0},
    {"score 2", HOSTILE_SCORE_TWO, MD_WORKER_OUTCOME_ANSWERED, NULL, -1},
    {"score NaN", HOSTILE_SCORE_NAN, MD_WORKER_OUTCOME_ANSWERED, NULL, -1},
    {"bad state", HOSTILE_BAD_STATE, MD_WORKER_OUTCOME_ANSWERED, NULL, -1},
    {"map too large", HOSTILE_MAP_TOO_LARGE, MD_WORKER_OUTCOME_ANSWERED, NULL, -1},
    {"endless error text", HOSTILE_LONG_ERROR, MD_WORKER_OUTCOME_ANSWERED, NULL, -1},
    {"closes all descriptors", HOSTILE_CLOSE_ALL, MD_WORKER_OUTCOME_CRASHED,
     "worker ended with status 1", 0},
    {"floods its output", HOSTILE_FLOOD_OUTPUT, MD_WORKER_OUTCOME_ANSWERED, NULL, 0.25},
    {"floods the log", HOSTILE_FLOOD_LOG, MD_WORKER_OUTCOME_BROKEN, "more than 20000 packets",
     0},
    {"forges packets", HOSTILE_FORGE_GARBAGE, MD_WORKER_OUTCOME_BROKEN, "broke the protocol",
     0},
    {"forges a result", HOSTILE_FORGE_RESULT, MD_WORKER_OUTCOME_BROKEN, "broke the protocol",
     0},
    {"forges log lines", HOSTILE_FORGE_LOG, MD_WORKER_OUTCOME_ANSWERED,
     "\"event\":\"hostile_line\",\"text\":\"a\\u000ab\",\"worker\":0}", 0.25},
};

static const row endless_rows[] = {
    {"loops", HOSTILE_LOOP, MD_WORKER_OUTCOME_HUNG, "no answer within 5 s", 0},
    {"loops with signals blocked", HOSTILE_DEAF_LOOP, MD_WORKER_OUTCOME_HUNG,
     "no answer within 5 s", 0},
};

static long own_rss_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void assert_nothing_written(const fixture *f)
{
    glob_t found;
    assert_int_equal(glob("/tmp/medaid-hostile-*", 0, NULL, &found), GLOB_NOMATCH);
    struct stat info;
    assert_int_not_equal(stat("/dev/shm/medaid-hostile", &info), 0);
    char folder[400];
    snprintf(folder, sizeof folder, "%s/work/0", f->folder);
    assert_int_equal(count_entries(folder), 0);
}

static void assert_answer(const fixture *f, const row *r, const md_analysis *analysis)
{
    assert_int_equal(analysis->n_results, 1);
    const md_result *result = &analysis->results[0];
    if (r->score < 0) {
        assert_int_equal(result->status, MD_RESULT_FAILED);
        assert_int_equal(result->n_findings, 0);
    } else {
        assert_int_equal(result->status, MD_RESULT_COMPLETE);
        if (result->findings[0].score != r->score) {
            fail_msg("%s: score %g, expected %g", r->name, result->findings[0].score, r->score);
        }
    }
    if (r->reason != NULL && fixture_log_count(f, r->reason) == 0) {
        fail_msg("%s: the log does not hold '%s'", r->name, r->reason);
    }
}

static void run_row(fixture *f, const row *r)
{
    md_analysis analysis;
    md_worker_outcome outcome;
    md_error err = {0};
    int n_fds = count_entries("/proc/self/fd");
    md_status status = fixture_run(f, r->deed, &analysis, &outcome, &err);
    if (outcome != r->outcome) {
        fail_msg("%s: %s, expected %s: %s", r->name, md_worker_outcome_name(outcome),
                 md_worker_outcome_name(r->outcome), err.msg);
    }
    if (outcome == MD_WORKER_OUTCOME_ANSWERED) {
        assert_int_equal(status, MD_OK);
        assert_answer(f, r, &analysis);
    } else {
        assert_int_not_equal(status, MD_OK);
        assert_int_equal(analysis.n_results, 0);
        if (strstr(err.msg, r->reason) == NULL ||
            strstr(err.msg, "analysis stopped: ") == NULL) {
            fail_msg("%s: '%s', expected '%s'", r->name, err.msg, r->reason);
        }
    }
    md_analysis_finish(&analysis);
    fixture_assert_serves(f);
    assert_nothing_written(f);
    /* A worker's start holds some for a moment, before or after: what stays is a leak. */
    int n_left = count_entries("/proc/self/fd");
    for (int i = 0; i < 500 && n_left > n_fds; i++) {
        usleep(20000);
        n_left = count_entries("/proc/self/fd");
    }
    if (n_left > n_fds) {
        fail_msg("%s: %d descriptors before, %d after", r->name, n_fds, n_left);
    }
    print_message("# %s: %s: %s\n", r->name, md_worker_outcome_name(outcome), err.msg);
}

/* The worker that a deed killed left its reason in the log, with the study's key and no UID. */
static void assert_log(void)
{
    assert_true(fixture_log_count(&calm, "\"event\":\"worker_died\"") > 0);
    assert_true(fixture_log_count(&calm, "\"study\":\"study-key\"") > 0);
    assert_int_equal(fixture_log_count(&calm, "1.2.3.4"), 0);
    assert_true(fixture_log_count(&calm, "\"event\":\"worker_log_flood\"") > 0);
    assert_true(fixture_log_count(&calm, "\"text\":\"flood\"") <= 200);
}

static void test_deeds(void **state)
{
    (void)state;
    fixture_assert_serves(&calm);
    long before_kib = own_rss_kib();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool needs_landlock =
            rows[i].deed == HOSTILE_READ_FILE || rows[i].deed == HOSTILE_READ_PARENT;
        if (needs_landlock && md_landlock_abi() == 0) {
            print_message("# %s: not shown, this kernel has no Landlock\n", rows[i].name);
            continue;
        }
        run_row(&calm, &rows[i]);
    }
    /* main's memory: no deed leaves anything. A sanitizer keeps freed memory on purpose. */
    long growth_kib = own_rss_kib() - before_kib;
    print_message("# main grew by %ld KiB over %zu deeds\n", growth_kib,
                  sizeof rows / sizeof *rows);
#ifndef __SANITIZE_ADDRESS__
    assert_true(growth_kib < 8192);
#endif
    assert_log();
}

static void test_endless(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof endless_rows / sizeof *endless_rows; i++) {
        run_row(&brisk, &endless_rows[i]);
    }
    assert_int_equal(fixture_log_count(&brisk, "\"event\":\"worker_killed\""),
                     sizeof endless_rows / sizeof *endless_rows);
}

static int start_calm(void **state)
{
    (void)state;
    fixture_init(&calm, "deeds");
    fixture_start(&calm);
    return 0;
}

static int finish_calm(void **state)
{
    (void)state;
    fixture_finish(&calm);
    return 0;
}

static int start_brisk(void **state)
{
    (void)state;
    fixture_init(&brisk, "endless");
    brisk.options.study_timeout_ms = 5000;
    fixture_start(&brisk);
    return 0;
}

static int finish_brisk(void **state)
{
    (void)state;
    fixture_finish(&brisk);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deeds, start_calm, finish_calm),
        cmocka_unit_test_setup_teardown(test_endless, start_brisk, finish_brisk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
