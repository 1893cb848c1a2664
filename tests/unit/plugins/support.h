#ifndef MEDAID_TESTS_UNIT_PLUGINS_SUPPORT_H
#define MEDAID_TESTS_UNIT_PLUGINS_SUPPORT_H

/* A scratch folder with the packages of make_packages.py, and phantom films in it. */

#include "plugins/host/host.h"
#include "tests/support/phantom_study.h"

/* Fixtures for a group: make the folder, run the script, start DICOM; and undo. */
int scratch_start(void **state);
int scratch_stop(void **state);

/* "<scratch>/<name>", in one of a few static buffers. */
const char *scratch_path(const char *name);

/* A small film, 320 x 256, of a fixed study; change what the test needs, then write it. */
void film_options(phantom_options *options);
/* Write the film; returns its path. */
const char *film_write(const char *name, const phantom_options *options);
/* The same from bytes that were changed. */
const char *bytes_write(const char *name, const uint8_t *bytes, size_t size_bytes);
/* Make the bytes of a film; the pixels are the last 2 * rows * columns. free() them. */
uint8_t *film_bytes(const phantom_options *options, size_t *ret_size_bytes);

/* What a callback was told. */
typedef struct told {
    unsigned n;
    char path[16][256];
    char message[16][MD_ERROR_MSG_BYTES];
    md_status status[16];
} told;

/* For on_problem and on_refused; the context is a told. */
void note(void *context, const char *path, const md_error *reason);

/* A host of one folder below the scratch folder; fails the test when there is none. */
md_host *host_of(const char *folder, const char *only_model);
/* Everything is wanted, and told to *t, which is cleared. */
md_analyse_options all_options(told *t);
/* md_host_analyse with err cleared. */
md_status analyse(md_host *host, const char *const *paths, size_t n,
                  const md_analyse_options *options, md_analysis *analysis, md_error *err);

#endif
