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

#endif
