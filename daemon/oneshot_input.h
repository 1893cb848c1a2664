#ifndef MEDAID_DAEMON_ONESHOT_INPUT_H
#define MEDAID_DAEMON_ONESHOT_INPUT_H

/* From the paths of the command line to studies: walks folders, opens DICOMDIRs, groups the
 * files by Study Instance UID in the order in which they were found. Single-threaded. */

#include "dicom/dataset/dataset.h"

enum {
    MD_INPUT_MAX_FILES = 1000000,
    MD_INPUT_MAX_DEPTH = 32, /* of folders below a given one */
};

typedef struct md_input_study {
    char study_instance_uid[MD_UID_BYTES];
    char key[17]; /* of the log and of file names: the start of SHA-256 of the UID */
    char **paths; /* owned */
    size_t n_paths, capacity;
} md_input_study;

typedef struct md_input {
    md_input_study *studies; /* owned */
    size_t n_studies, capacity;
    size_t n_files;      /* that were looked at */
    size_t n_unreadable; /* named on the command line or by a DICOMDIR, or DICOM by their looks,
                            but unreadable */
    size_t n_skipped;    /* in a folder and not DICOM */
} md_input;

typedef struct md_input_options {
    /* One call for each unreadable file. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    /* Called as files are read; may be NULL. */
    void (*on_progress)(void *context, size_t n_files);
    void *context;
} md_input_options;

/* Collect. MD_NOMEM, MD_LIMIT; unreadable files are told and counted, not an error. The caller
 * finishes `ret_input` in any case. */
md_status md_input_collect(const char *const *paths, size_t n_paths,
                           const md_input_options *options, md_input *ret_input, md_error *err)
    MD_NODISCARD;
void md_input_finish(md_input *input);

#endif
