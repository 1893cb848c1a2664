#ifndef MEDAID_DAEMON_SPOOL_INTERNAL_H
#define MEDAID_DAEMON_SPOOL_INTERNAL_H

/* What spool.c and spool_scan.c share. */

#include "daemon/spool/spool.h"
#include "daemon/spool/spool_sync.h"

enum {
    MD_SPOOL_FILES_A_FOLDER = 4096,
    MD_SPOOL_OPEN_FOLDERS = 4
};

/* A folder of data/ held open for renames and syncs; at most one caller opens it. */
typedef struct md_spool_shard {
    uint64_t number;
    int fd; /* -1: free */
    unsigned n_users;
} md_spool_shard;

struct md_spool {
    md_store *store;
    char *folder, *incoming, *data;
    int data_fd;
    md_sync sync;
    bool sync_is_ready;
    uint64_t low_bytes, high_bytes;
    bool (*free_bytes)(void *context, uint64_t *ret_bytes);
    void *context;
    atomic_bool low;
    atomic_uint_least64_t next_file;
    uint8_t content_key[MD_CONTENT_KEY_BYTES];
    pthread_mutex_t shard_lock;
    md_spool_shard shards[MD_SPOOL_OPEN_FOLDERS];
};

/* Compare data/ with the rows; sets next_file. */
md_status md_spool_compare(md_spool *spool, md_spool_scan *ret_scan, md_error *err)
    MD_NODISCARD;

#endif
