/* The pool itself: many callers, recycling, killed workers, attempts, cancelling, stopping,
 * what does not start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool_fixture.h"

#include "base/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static fixture f;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, "pool");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

typedef struct heard {
    unsigned n;
    char path[300];
    md_error reason;
} heard;

static void hear(void *context, const char *path, const md_error *reason)
{
    heard *h = context;
    h->n++;
    snprintf(h->path, sizeof h->path, "%s", path);
    h->reason = *reason;
}

static void test_models_and_problems(void **state)
{
    (void)state;
    fixture_start(&f);
    assert_int_equal(md_worker_pool_n_models(f.pool), 1);
    assert_string_equal(md_worker_pool_model(f.pool, 0)->id, "hostile");
    assert_null(md_worker_pool_model(f.pool, 1));
    heard h = {0};
    const char *paths[] = {fixture_file(&f, HOSTILE_NONE), f.log_path};
    md_worker_job job = fixture_job(paths, 2);
    job.on_problem = hear;
    job.context = &h;
    md_analysis analysis;
    md_worker_outcome outcome;
    md_error err = {0};
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err), MD_OK);
    assert_int_equal(analysis.n_unreadable, 1);
    assert_int_equal(h.n, 1);
    assert_string_equal(h.path, f.log_path); /* as the caller gave it */
    assert_int_equal(h.reason.status, MD_FORMAT);
    md_analysis_finish(&analysis);
    /* nothing readable at all: the worker's own status and words */
    job.paths = paths + 1;
    job.n_paths = 1;
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err),
                     MD_FORMAT);
    assert_int_equal(outcome, MD_WORKER_OUTCOME_ANSWERED);
    assert_string_equal(err.msg, "no file of 1 could be read");
    assert_int_equal(analysis.n_unreadable, 1);
    md_analysis_finish(&analysis);
    /* a file that is not there is a failure, not a study that no model is for */
    const char *missing = "/nonexistent/file";
    job.paths = &missing;
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err),
                     MD_INTERNAL);
    assert_int_equal(outcome, MD_WORKER_OUTCOME_NOT_RUN);
    /* results of another study than the one that was given */
    paths[0] = fixture_file(&f, HOSTILE_NONE);
    job = fixture_job(paths, 1);
    job.study_instance_uid = "1.2.3.5";
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err),
                     MD_PLUGIN);
    assert_int_equal(outcome, MD_WORKER_OUTCOME_BROKEN);
    assert_non_null(strstr(err.msg, "a result of another study"));
    fixture_assert_serves(&f);
}

typedef struct asked {
    unsigned n;
    char patient_id[80];
    md_features features;
} asked;

static void propose(void *context, const char *patient_id, const char *issuer,
                    const md_features *features, md_follow_up *ret_follow_up)
{
    asked *a = context;
    a->n++;
    snprintf(a->patient_id, sizeof a->patient_id, "%s%s", patient_id, issuer);
    a->features = *features;
    ret_follow_up->there = true;
    ret_follow_up->n_proposals = 1;
    ret_follow_up->n_patients = 77;
    snprintf(ret_follow_up->proposals[0].key, MD_KEY_BYTES, "chest-ct");
}

/* The worker asks before it writes the report, once; what main answered is what main keeps. */
static void test_proposals(void **state)
{
    (void)state;
    f.conf.follow_up.in_report = true;
    fixture_start(&f);
    asked a = {0};
    const char *paths[] = {fixture_file(&f, HOSTILE_NONE), fixture_file(&f, HOSTILE_NONE)};
    md_worker_job job = fixture_job(paths, 1);
    job.propose = propose;
    job.propose_context = &a;
    md_analysis analysis;
    md_worker_outcome outcome;
    md_error err = {0};
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err), MD_OK);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.patient_id, "P-TEST");
    assert_int_equal(a.features.n, 1);
    assert_string_equal(a.features.items[0].name, MD_FEATURE_NOTHING);
    assert_string_equal(analysis.results[0].failure_text, "told chest-ct");
    assert_true(analysis.follow_up.there);
    assert_int_equal(analysis.follow_up.n_patients, 77);
    md_analysis_finish(&analysis);
    /* nobody to ask: an answer all the same */
    job.propose = NULL;
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err), MD_OK);
    assert_false(analysis.follow_up.there);
    assert_string_equal(analysis.results[0].failure_text, "told ");
    md_analysis_finish(&analysis);
    /* asked a second time: no honest worker */
    job.propose = propose;
    job.n_paths = 2;
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err),
                     MD_PLUGIN);
    assert_int_equal(outcome, MD_WORKER_OUTCOME_BROKEN);
    assert_non_null(strstr(err.msg, "a question that was not to be asked"));
    assert_int_equal(a.n, 2);
    md_analysis_finish(&analysis);
    job.n_paths = 1; /* the next worker is a good one */
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err), MD_OK);
    md_analysis_finish(&analysis);
}

/* A large study, and one whose file lies on another file system, where it cannot be linked. */
static void test_large_and_far(void **state)
{
    (void)state;
    enum {
        N = 3000
    };
    static const char *paths[N];
    fixture_start(&f);
    paths[0] = fixture_file(&f, HOSTILE_NONE);
    for (size_t i = 1; i < N; i++) {
        paths[i] = paths[0];
    }
    md_worker_job job = fixture_job(paths, N);
    md_analysis analysis;
    md_worker_outcome outcome;
    md_error err = {0};
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err), MD_OK);
    assert_int_equal(analysis.results[0].n_instances, N);
    md_analysis_finish(&analysis);
    char far[64];
    snprintf(far, sizeof far, "/dev/shm/medaid-far-%d", (int)getpid());
    struct stat here, there;
    assert_int_equal(md_file_write(far, MD_FILE_NEW, "deed 0\n", 7, NULL), MD_OK);
    assert_int_equal(stat(far, &there), 0);
    assert_int_equal(stat(f.folder, &here), 0);
    print_message("# %s file system\n", here.st_dev == there.st_dev ? "the same" : "another");
    paths[0] = far;
    job.n_paths = 1;
    md_status status = md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, &err);
    unlink(far);
    assert_int_equal(status, MD_OK);
    md_analysis_finish(&analysis);
    char folder[400];
    snprintf(folder, sizeof folder, "%s/work/0", f.folder);
    assert_int_equal(count_entries(folder), 0);
}

static void test_recycle(void **state)
{
    (void)state;
    f.options.recycle_after = 2;
    fixture_start(&f);
    for (int i = 0; i < 5; i++) {
        fixture_assert_serves(&f);
    }
    assert_int_equal(fixture_log_count(&f, "\"event\":\"worker_recycled\""), 2);
    assert_int_equal(fixture_log_count(&f, "\"event\":\"worker_died\""), 0);
    assert_int_equal(fixture_log_count(&f, "\"event\":\"worker_killed\""), 0);
}

static void test_ping(void **state)
{
    (void)state;
    f.options.ping_ms = 20;
    fixture_start(&f);
    usleep(300000);
    fixture_assert_serves(&f);
    assert_int_equal(fixture_log_count(&f, "\"event\":\"worker_killed\""), 0);
    /* an idle worker that dies is replaced, and no study pays for it */
    assert_int_equal(kill((pid_t)fixture_log_number(&f, "\"pid\":"), SIGKILL), 0);
    while (fixture_log_count(&f, "\"event\":\"worker_died\"") < 1) {
        usleep(1000);
    }
    fixture_assert_serves(&f);
    while (fixture_log_count(&f, "\"event\":\"worker_started\"") < 2) {
        usleep(10000);
    }
    assert_int_equal(fixture_log_count(&f, "\"event\":\"attempt_failed\""), 0);
}

typedef struct call {
    hostile_deed deed;
    const char *path;
    unsigned n_attempts;
    int cancel_fd;
    md_status status;
    md_worker_outcome outcome;
    md_error err;
    md_analysis analysis;
} call;

static void *run_call(void *context)
{
    call *c = context;
    md_worker_job job = fixture_job(&c->path, 1);
    job.cancel_fd = c->cancel_fd;
    c->status = md_worker_pool_analyse_attempts(f.pool, &job, c->n_attempts, &c->analysis,
                                                &c->outcome, &c->err);
    return NULL;
}

static pthread_t start_call(call *c, hostile_deed deed)
{
    pthread_t thread;
    memset(c, 0, sizeof *c);
    c->deed = deed;
    c->path = fixture_file(&f, deed);
    c->n_attempts = 3;
    c->cancel_fd = -1;
    assert_int_equal(pthread_create(&thread, NULL, run_call, c), 0);
    return thread;
}

/* Good and bad studies at once, more callers than workers. */
static void test_many(void **state)
{
    (void)state;
    enum {
        N = 12
    };
    f.options.n_workers = 2;
    fixture_start(&f);
    static const hostile_deed deeds[] = {HOSTILE_NONE, HOSTILE_SEGFAULT, HOSTILE_NONE,
                                         HOSTILE_SOCKET};
    pthread_t threads[N];
    static call calls[N];
    for (int i = 0; i < N; i++) {
        threads[i] = start_call(&calls[i], deeds[i % 4]);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        call *c = &calls[i];
        assert_int_equal(c->status, MD_OK);
        assert_int_equal(c->analysis.n_results, 1);
        const md_result *result = &c->analysis.results[0];
        if (c->deed == HOSTILE_NONE) {
            assert_int_equal(c->outcome, MD_WORKER_OUTCOME_ANSWERED);
            assert_int_equal(result->status, MD_RESULT_COMPLETE);
        } else {
            /* three attempts, then a coded failure that says why */
            assert_int_equal(c->outcome, c->deed == HOSTILE_SOCKET ? MD_WORKER_OUTCOME_FORBIDDEN
                                                                   : MD_WORKER_OUTCOME_CRASHED);
            assert_int_equal(result->status, MD_RESULT_FAILED);
            assert_string_equal(result->failure.value, "110501");
            assert_non_null(strstr(result->failure_text, c->deed == HOSTILE_SOCKET
                                                             ? "forbidden system call"
                                                             : "signal 11"));
        }
        md_analysis_finish(&c->analysis);
    }
    assert_int_equal(fixture_log_count(&f, "\"event\":\"attempt_failed\""), 6 * 3);
    fixture_assert_serves(&f);
}

/* SIGKILL of a worker in the middle of a study: the second attempt gives the result. */
static void test_killed_worker(void **state)
{
    (void)state;
    fixture_start(&f);
    call c;
    long pid = fixture_log_number(&f, "\"pid\":");
    assert_true(pid > 1);
    pthread_t thread = start_call(&c, HOSTILE_SLOW);
    char folder[400];
    snprintf(folder, sizeof folder, "%s/work/0", f.folder);
    while (count_entries(folder) != 1) {
        usleep(1000);
    }
    usleep(100000);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(c.status, MD_OK);
    assert_int_equal(c.outcome, MD_WORKER_OUTCOME_ANSWERED);
    assert_int_equal(c.analysis.results[0].status, MD_RESULT_COMPLETE);
    md_analysis_finish(&c.analysis);
    assert_int_equal(fixture_log_count(&f, "worker died, signal 9 (KILL)"), 2);
    assert_int_equal(fixture_log_count(&f, "\"event\":\"attempt_failed\""), 1);
}

static void test_cancel(void **state)
{
    (void)state;
    fixture_start(&f);
    call running, queued;
    pthread_t first = start_call(&running, HOSTILE_LOOP);
    char folder[400];
    snprintf(folder, sizeof folder, "%s/work/0", f.folder);
    while (count_entries(folder) != 1) {
        usleep(1000);
    }
    int cancel_fd = eventfd(0, EFD_CLOEXEC);
    memset(&queued, 0, sizeof queued);
    queued.path = fixture_file(&f, HOSTILE_NONE);
    queued.n_attempts = 3;
    queued.cancel_fd = cancel_fd;
    pthread_t second;
    assert_int_equal(pthread_create(&second, NULL, run_call, &queued), 0);
    usleep(20000);
    const uint64_t one = 1;
    assert_int_equal(write(cancel_fd, &one, sizeof one), sizeof one);
    pthread_join(second, NULL); /* withdrawn while the other still runs */
    assert_int_equal(queued.status, MD_CANCELLED);
    assert_int_equal(queued.outcome, MD_WORKER_OUTCOME_CANCELLED);
    /* a running one is ended by the stop of the pool */
    md_worker_pool_stop(f.pool);
    f.pool = NULL;
    pthread_join(first, NULL);
    assert_int_equal(running.status, MD_CANCELLED);
    assert_int_equal(running.outcome, MD_WORKER_OUTCOME_CANCELLED);
    close(cancel_fd);
}

static void test_cancel_running(void **state)
{
    (void)state;
    fixture_start(&f);
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    const char *path = fixture_file(&f, HOSTILE_LOOP);
    md_worker_job job = fixture_job(&path, 1);
    job.cancel_fd = cancel_fd;
    md_analysis analysis;
    md_worker_outcome outcome;
    assert_int_equal(md_worker_pool_analyse(f.pool, &job, &analysis, &outcome, NULL),
                     MD_CANCELLED);
    close(cancel_fd);
    fixture_assert_serves(&f);
}

static void test_second_pool(void **state)
{
    (void)state;
    fixture_start(&f);
    md_worker_pool *second = NULL;
    md_error err = {0};
    assert_int_equal(md_worker_pool_start(&f.options, &second, &err), MD_BUSY);
    assert_non_null(strstr(err.msg, "in use by another medaid"));
    fixture_assert_serves(&f);
}

static void test_does_not_start(void **state)
{
    (void)state;
    md_error err = {0};
    /* no model */
    fixture broken = f;
    snprintf(broken.conf.plugins.paths[0], MD_CONF_TEXT_BYTES, "%s", f.folder);
    broken.options.conf = &broken.conf;
    assert_int_equal(md_worker_pool_start(&broken.options, &broken.pool, &err), MD_NOT_FOUND);
    assert_string_equal(err.msg, "no plugin");
    /* a program that ends at once */
    static const char *const arguments[] = {"medaid-test-worker", "no-start", NULL};
    broken.options.arguments = arguments;
    assert_int_equal(md_worker_pool_start(&broken.options, &broken.pool, &err), MD_PLUGIN);
    assert_string_equal(err.msg, "start stopped: worker ended with status 3");
    /* a program that is not there */
    broken.options.program = "/nonexistent/program";
    assert_int_equal(md_worker_pool_start(&broken.options, &broken.pool, &err), MD_NOT_FOUND);
    broken.options.n_workers = 0;
    assert_int_equal(md_worker_pool_start(&broken.options, &broken.pool, &err), MD_INVALID_ARG);
    rmdir(f.options.work_folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_models_and_problems, setup, teardown),
        cmocka_unit_test_setup_teardown(test_proposals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_and_far, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recycle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_running, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_does_not_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
