#ifndef MEDAID_DAEMON_WORKER_FILES_H
#define MEDAID_DAEMON_WORKER_FILES_H

/* The work folder of one worker: it holds, under the names 000000 and on, the files of the
 * study that the worker analyses, and nothing else of the storage. Files are linked, which
 * costs microseconds and no space; across file systems they are copied. One thread for one
 * folder. */

#include "base/memory.h"

/* Make the folder (mode 0700) when it is not there, and empty it. MD_IO. */
md_status md_worker_files_prepare(const char *folder, md_error *err) MD_NODISCARD;
/* Link or copy `paths` into the empty folder. MD_IO when the disk does not let us, MD_INTERNAL
 * for a file that is not there: they name its number, not its path, and the folder is empty
 * again. Never MD_NOT_FOUND, which would mean that no model is for the study. */
md_status md_worker_files_put(const char *folder, const char *const *paths, size_t n_paths,
                              md_error *err) MD_NODISCARD;
/* Empty it of n files. */
void md_worker_files_clear(const char *folder, size_t n_paths);

#endif
