#ifndef MEDAID_DAEMON_FOLDER_H
#define MEDAID_DAEMON_FOLDER_H

/* The few things that the store and the outbox do with folders. Any thread. */

#include "base/memory.h"

/* fsync: the names in it survive a power cut. */
md_status md_folder_sync(const char *path, md_error *err) MD_NODISCARD;
/* Remove all files in it, one level; the folder stays. */
md_status md_folder_empty(const char *path, md_error *err) MD_NODISCARD;

#endif
