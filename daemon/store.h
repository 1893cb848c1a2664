#ifndef MEDAID_DAEMON_STORE_H
#define MEDAID_DAEMON_STORE_H

/* Received objects on disk. Below the storage path:
 *
 *   lock                  held by the running daemon
 *   key                   32 random bytes, made once
 *   spool/                objects while they arrive; emptied at the start
 *   incoming/<study>/<instance>.dcm              what is analysed
 *   incoming/<study>/<instance>-<n>.superseded   an earlier version of an instance
 *   incoming/<study>/analysed                    a mark: what was there when it was analysed
 *   incoming/<study>/attempts                    a mark and how often it has been tried
 *
 * <study> and <instance> are keyed hashes of the UIDs, so that neither a name on disk nor a
 * line of the log tells a UID, and no peer can choose a path. Any thread, except open and
 * close. */

#include "dicom/dataset/dataset.h"

enum {
    MD_STUDY_KEY_BYTES = 33, /* 32 hexadecimal digits and the zero */
    MD_STORE_MARK_BYTES = 65,
    MD_STORE_MAX_OBJECTS = 65536, /* of one study */
};

typedef struct md_store md_store;

/* Create what is not there, take the lock and empty the spool. MD_BUSY: another daemon has this
 * path. MD_IO. Caller closes. */
md_status md_store_open(const char *path, md_store **ret_store, md_error *err) MD_NODISCARD;
void md_store_close(md_store *store);
MD_DEFINE_DESTROYP(md_store, md_store_close)

/* The folder where objects arrive; valid until close. */
const char *md_store_spool(const md_store *store);
/* The storage path; valid until close. */
const char *md_store_path(const md_store *store);
/* The name of a study in paths and log lines. */
void md_store_study_key(const md_store *store, const char *study_instance_uid,
                        char ret_key[MD_STUDY_KEY_BYTES]);

typedef enum md_store_outcome {
    MD_STORE_NEW,      /* was not there */
    MD_STORE_SAME,     /* was there with the same dataset: nothing to do, file removed */
    MD_STORE_REPLACED, /* was there with another dataset, which is kept beside it */
} md_store_outcome;

/* Move a finished file from the spool to its study. After MD_OK it survives a power cut. On
 * failure the file is removed. MD_IO with os_errno, MD_LIMIT. */
md_status md_store_take(md_store *store, const char *path, const char *study_key,
                        const char *sop_instance_uid, md_store_outcome *ret_outcome,
                        md_error *err) MD_NODISCARD;

/* The objects of a study, sorted by name. */
typedef struct md_study_files {
    char **paths; /* owned */
    size_t n_paths;
    int64_t first_ms, last_ms;      /* wall clock of their arrival */
    char mark[MD_STORE_MARK_BYTES]; /* changes when an object comes or is replaced */
} md_study_files;
md_status md_store_list(md_store *store, const char *study_key, md_study_files *ret_files,
                        md_error *err) MD_NODISCARD;
void md_study_files_finish(md_study_files *files);

/* Write down that the study needs no more work as long as its mark stays this one. */
md_status md_store_set_mark(md_store *store, const char *study_key, const char *mark,
                            md_error *err) MD_NODISCARD;

/* Count one more attempt to analyse the study as it is now, before it begins: one that ends the
 * process is counted too, and the next start will not try for ever. 1 = the first. */
md_status md_store_count_attempt(md_store *store, const char *study_key, const char *mark,
                                 unsigned *ret_attempt, md_error *err) MD_NODISCARD;

/* Call back for each study that has objects which its mark does not cover. */
typedef void (*md_store_visit)(void *context, const char *study_key,
                               const md_study_files *files);
md_status md_store_find_unfinished(md_store *store, md_store_visit visit, void *context,
                                   md_error *err) MD_NODISCARD;
/* Remove studies that are finished and were marked before this wall clock time. */
md_status md_store_sweep(md_store *store, int64_t before_ms, unsigned *ret_n_removed,
                         md_error *err) MD_NODISCARD;

#endif
