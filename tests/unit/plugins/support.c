#include "tests/unit/plugins/support.h"

#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

static char scratch[64];

static int run(const char *const *arguments)
{
    pid_t pid;
    int code = 0;
    if (posix_spawn(&pid, arguments[0], NULL, NULL, (char *const *)(uintptr_t)arguments,
                    environ) != 0 ||
        waitpid(pid, &code, 0) != pid) {
        return -1;
    }
    return WIFEXITED(code) && WEXITSTATUS(code) == 0 ? 0 : -1;
}

int scratch_start(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/medaid-plugins-XXXXXX");
    const char *root = getenv("MEDAID_SOURCE_ROOT");
    if (root == NULL || mkdtemp(scratch) == NULL) {
        return -1;
    }
    char script[4096];
    snprintf(script, sizeof script, "%s/tests/unit/plugins/make_packages.py", root);
    const char *const arguments[] = {"/usr/bin/python3", script, scratch, NULL};
    if (run(arguments) != 0) {
        fprintf(stderr, "make_packages.py failed\n");
        return -1;
    }
    md_error err = {0};
    if (md_dicom_init(&err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    return 0;
}

int scratch_stop(void **state)
{
    (void)state;
    md_dicom_finish();
    const char *const arguments[] = {"/bin/rm", "-r", scratch, NULL};
    return run(arguments);
}

const char *scratch_path(const char *name)
{
    static char paths[16][256];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

void film_options(phantom_options *options)
{
    phantom_options_init(options);
    options->rows = 256;
    options->columns = 320;
    options->study_uid = "1.2.826.0.1.3680043.10.999.1";
    options->series_uid = "1.2.826.0.1.3680043.10.999.1.1";
    options->patient_id = "P1"; /* of every seed: the films of a study are of one patient */
}

uint8_t *film_bytes(const phantom_options *options, size_t *ret_size_bytes)
{
    const char *reason = NULL;
    uint8_t *bytes = phantom_make_file(options, ret_size_bytes, &reason);
    if (bytes == NULL) {
        fail_msg("%s", reason);
    }
    return bytes;
}

const char *bytes_write(const char *name, const uint8_t *bytes, size_t size_bytes)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb"); /* not md_file_write: nothing here must survive a crash */
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size_bytes, file), size_bytes);
    assert_int_equal(fclose(file), 0);
    return path;
}

const char *film_write(const char *name, const phantom_options *options)
{
    size_t size_bytes = 0;
    uint8_t *bytes = film_bytes(options, &size_bytes);
    const char *path = bytes_write(name, bytes, size_bytes);
    free(bytes);
    return path;
}

void note(void *context, const char *path, const md_error *reason)
{
    told *t = context;
    if (t->n < 16) {
        snprintf(t->path[t->n], sizeof t->path[0], "%s", path);
        snprintf(t->message[t->n], sizeof t->message[0], "%s", reason->msg);
        t->status[t->n] = reason->status;
    }
    t->n++;
}

md_host *host_of(const char *folder, const char *only_model)
{
    const char *const folders[] = {scratch_path(folder)};
    const md_host_options options = {
        .folders = folders, .n_folders = 1, .n_threads = 1, .only_model = only_model};
    md_host *host = NULL;
    md_error err = {0};
    if (md_host_create(&options, &host, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return host;
}

md_analyse_options all_options(told *t)
{
    memset(t, 0, sizeof *t);
    return (md_analyse_options){.want_sr = true,
                                .want_picture = true,
                                .want_failure_sr = true,
                                .on_problem = note,
                                .context = t,
                                .first_received_ms = 1000,
                                .last_received_ms = 2000,
                                .complete_ms = 3000};
}

md_status analyse(md_host *host, const char *const *paths, size_t n,
                  const md_analyse_options *options, md_analysis *analysis, md_error *err)
{
    memset(err, 0, sizeof *err);
    return md_host_analyse(host, paths, n, options, analysis, err);
}
