#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool_fixture.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const worker_arguments[] = {"medaid-test-worker", NULL};

void fixture_init(fixture *f, const char *name)
{
    memset(f, 0, sizeof *f);
    /* signals stay signals in a worker that carries a sanitizer */
    setenv("ASAN_OPTIONS",
           "handle_segv=0:handle_abort=0:handle_sigbus=0:detect_leaks=0:"
           "allocator_may_return_null=1",
           1);
    const char *parent = getenv("TMPDIR");
    snprintf(f->folder, sizeof f->folder, "%s/medaid-%s-XXXXXX",
             parent == NULL ? "/tmp" : parent, name);
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->log_path, sizeof f->log_path, "%s/log", f->folder);
    int fd = open(f->log_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    md_log_configure(fd, MD_LOG_INFO);
    md_conf_defaults(&f->conf);
    const char *plugins = getenv("MEDAID_TEST_PLUGINS");
    assert_non_null(plugins);
    snprintf(f->conf.plugins.paths[0], MD_CONF_TEXT_BYTES, "%s", plugins);
    f->conf.plugins.n_paths = 1;
    static char work[300];
    snprintf(work, sizeof work, "%s/work", f->folder);
    f->options = (md_worker_pool_options){.n_workers = 1,
                                          .study_timeout_ms = 60000,
                                          .memory_mib = 512,
                                          .work_folder = work,
                                          .conf = &f->conf,
                                          .program = getenv("MEDAID_TEST_WORKER"),
                                          .arguments = worker_arguments};
    assert_non_null(f->options.program);
}

void fixture_start(fixture *f)
{
    md_error err = {0};
    if (md_worker_pool_start(&f->options, &f->pool, &err) != MD_OK) {
        fail_msg("the pool does not start: %s", err.msg);
    }
}

void fixture_finish(fixture *f)
{
    char command_free_path[600];
    md_worker_pool_stop(f->pool);
    f->pool = NULL;
    for (int i = 0; i < f->n_files; i++) {
        snprintf(command_free_path, sizeof command_free_path, "%s/%d", f->folder, i);
        unlink(command_free_path);
    }
    snprintf(command_free_path, sizeof command_free_path, "%s/work", f->folder);
    rmdir(command_free_path);
    unlink(f->log_path);
    assert_int_equal(rmdir(f->folder), 0); /* nothing that we do not know of */
}

const char *fixture_file(fixture *f, hostile_deed deed)
{
    static char paths[16][300];
    char *path = paths[f->n_files % 16];
    char text[32];
    int length = snprintf(text, sizeof text, "deed %d\n", (int)deed);
    snprintf(path, sizeof paths[0], "%s/%d", f->folder, f->n_files++);
    assert_int_equal(md_file_write(path, MD_FILE_NEW, text, (size_t)length, NULL), MD_OK);
    return path;
}

md_worker_job fixture_job(const char *const *paths, size_t n_paths)
{
    return (md_worker_job){.paths = paths,
                           .n_paths = n_paths,
                           .study_key = "study-key",
                           .study_instance_uid = "1.2.3.4",
                           .cancel_fd = -1};
}

md_status fixture_run(fixture *f, hostile_deed deed, md_analysis *ret_analysis,
                      md_worker_outcome *ret_outcome, md_error *err)
{
    const char *path = fixture_file(f, deed);
    const md_worker_job job = fixture_job(&path, 1);
    return md_worker_pool_analyse(f->pool, &job, ret_analysis, ret_outcome, err);
}

void fixture_assert_serves(fixture *f)
{
    md_analysis analysis;
    md_worker_outcome outcome;
    md_error err = {0};
    md_status status = fixture_run(f, HOSTILE_NONE, &analysis, &outcome, &err);
    if (status != MD_OK) {
        fail_msg("an honest study is not served: %s", err.msg);
    }
    assert_int_equal(outcome, MD_WORKER_OUTCOME_ANSWERED);
    assert_int_equal(analysis.n_results, 1);
    assert_int_equal(analysis.results[0].status, MD_RESULT_COMPLETE);
    assert_int_equal(analysis.results[0].n_findings, 1);
    assert_true(analysis.results[0].findings[0].score == 0.25);
    assert_int_equal(analysis.n_objects, 1);
    md_analysis_finish(&analysis);
}

static char *read_log(const fixture *f)
{
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    assert_int_equal(md_file_read(f->log_path, 64 << 20, &bytes, &size_bytes, NULL), MD_OK);
    return (char *)bytes;
}

unsigned fixture_log_count(const fixture *f, const char *text)
{
    char *log = read_log(f);
    unsigned n = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++) {
        n++;
    }
    md_free(log);
    return n;
}

long fixture_log_number(const fixture *f, const char *key)
{
    char *log = read_log(f);
    long number = -1;
    for (const char *at = log; (at = strstr(at, key)) != NULL; at++) {
        number = strtol(at + strlen(key), NULL, 10);
    }
    md_free(log);
    return number;
}

int count_entries(const char *folder)
{
    DIR *listing = opendir(folder);
    if (listing == NULL) {
        return -1;
    }
    int n = -2;
    while (readdir(listing) != NULL) {
        n++;
    }
    closedir(listing);
    return n;
}
