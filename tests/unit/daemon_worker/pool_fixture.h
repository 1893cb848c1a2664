#ifndef MEDAID_TESTS_POOL_FIXTURE_H
#define MEDAID_TESTS_POOL_FIXTURE_H

/* A pool around medaid-test-worker, its log in a file, and studies of deeds. */

#include "daemon/worker/pool.h"
#include "hostile.h"

typedef struct fixture {
    char folder[256]; /* everything lies below it */
    char log_path[300];
    md_conf conf;
    md_worker_pool_options options;
    md_worker_pool *pool;
    int n_files;
} fixture;

/* Make the folder and default options: 1 worker, 60 s, 512 MiB. The pool is not started. */
void fixture_init(fixture *f, const char *name);
void fixture_start(fixture *f);
void fixture_finish(fixture *f);

/* A file with that deed; the path is valid until the next call but 15. */
const char *fixture_file(fixture *f, hostile_deed deed);
/* A job of one file. */
md_worker_job fixture_job(const char *const *paths, size_t n_paths);

/* One attempt of one deed. */
md_status fixture_run(fixture *f, hostile_deed deed, md_analysis *ret_analysis,
                      md_worker_outcome *ret_outcome, md_error *err);
/* Assert that the pool serves an honest study. */
void fixture_assert_serves(fixture *f);

/* How often `text` is in the log. */
unsigned fixture_log_count(const fixture *f, const char *text);
/* The number after the last `key` in the log, e.g. "\"pid\":"; -1 when there is none. */
long fixture_log_number(const fixture *f, const char *key);
/* Entries of a folder without . and .., -1 when it cannot be read. */
int count_entries(const char *folder);

#endif
