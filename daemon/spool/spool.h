#ifndef MEDAID_DAEMON_SPOOL_SPOOL_H
#define MEDAID_DAEMON_SPOOL_SPOOL_H

/* The files of the daemon, and the one call that makes a received object safe: md_spool_accept
 * returns only when the bytes, the file's name and the database row are on disk. Concurrent
 * callers share the waiting (see spool_sync.h and the group commit of the store).
 *
 * Names come from a counter alone. A received object is written where it stays: a file without
 * a row was never acknowledged and is removed at start; a row without its file puts its study
 * into quarantine, and when the same object comes again its row takes that file.
 *
 * The order of things, and what a power cut after each step leaves:
 *   1. md_spool_begin makes the file, its bytes come: a file without a row, removed at start
 *   2. md_spool_accept waits for bytes and name (syncfs): the same
 *   3. it commits the row and waits for that: all is there; the sender was told nothing, sends
 *      again, and the same bytes are known
 *   4. the sender is told 0x0000: all is there
 *
 *   FOLDER/incoming/   what is being written for a moment; emptied at start
 *   FOLDER/data/XXXXXXXXXXXX/NNNNNNNNNNNNNNNN.dcm   4096 files a folder, hexadecimal numbers
 *
 * Any thread may call any function between open and close. Everything is 0600 and 0700. */

#include "daemon/store/store.h"

enum {
    MD_SPOOL_PATH_BYTES = 4096
};

typedef struct md_spool md_spool;

typedef enum md_spool_sync {
    MD_SPOOL_SYNC_AUTO,  /* FILESYSTEM; FILES for a while when that is slow, see below */
    MD_SPOOL_SYNC_FILES, /* fdatasync of each file by its own caller, then the folder once */
    MD_SPOOL_SYNC_FILESYSTEM /* syncfs for all that wait: one flush of the disk for data and
                                names. Also waits for what other programs wrote to this file
                                system. */
} md_spool_sync;

typedef struct md_spool_options {
    const char *folder; /* exists or is made */
    md_store *store;    /* recovered already; outlives the spool */
    md_spool_sync sync;
    uint64_t low_bytes;  /* less free space than this: arrivals are refused; what is left is for
                            results and the database */
    uint64_t high_bytes; /* and accepted again from here; 0: low_bytes and a sixteenth */
    /* Where the free space is asked for; NULL: statvfs of the folder. For tests. */
    bool (*free_bytes)(void *context, uint64_t *ret_bytes);
    void *context;
} md_spool_options;

typedef struct md_spool_scan {
    uint64_t n_files;       /* with their row */
    uint64_t n_removed;     /* never acknowledged, or left over */
    uint64_t n_foreign;     /* files that medaid did not name: left alone */
    uint64_t n_missing;     /* rows whose file is gone or has another size */
    uint64_t n_quarantined; /* studies that therefore cannot be analysed */
} md_spool_scan;

/* Make the folders, compare files and rows, and find the next number. Caller closes. */
md_status md_spool_open(const md_spool_options *options, md_spool **ret_spool,
                        md_spool_scan *ret_scan, md_error *err) MD_NODISCARD;
/* NULL is fine. No other call may be running. */
void md_spool_close(md_spool *spool);
MD_DEFINE_DESTROYP(md_spool, md_spool_close)

/* Where objects are written while they arrive: same file system, so that a rename is enough.
 * Valid until close. */
const char *md_spool_incoming(const md_spool *spool);

/* True below the watermark, with hysteresis; for the listener to refuse early, and /readyz. */
bool md_spool_disk_low(md_spool *spool);
uint64_t md_spool_free_bytes(md_spool *spool);

typedef struct md_spool_arrival {
    const char
        *path;     /* a complete file in md_spool_incoming, or of md_spool_begin; not synced */
    bool is_begun; /* by md_spool_begin, which gave the number and the descriptor; that stays
                  the caller's */
    uint64_t file;
    int fd;
    uint64_t dataset_offset_bytes; /* where the dataset begins: what is before it is our own and
                                      does not count as content */
    const char *study_uid, *series_uid, *sop_instance_uid, *sop_class_uid;
    const char *transfer_syntax_uid, *source_ae;
    const char *called_ae, *tags; /* as in md_instance_new; may be NULL */
    int64_t received_ms;
    int priority;
    const uint8_t *content_tag; /* of the dataset, under md_store_content_key, if the caller
                                   knows it; NULL: read and computed */
} md_spool_arrival;

typedef enum md_spool_kind {
    MD_SPOOL_STORED,
    MD_SPOOL_SAME,     /* was here already, with the same bytes: success */
    MD_SPOOL_CONFLICT, /* other bytes under the same UID; both are kept: a warning */
    MD_SPOOL_REFUSED,  /* other bytes under the same UID; not kept */
    MD_SPOOL_DISK_LOW  /* out of resources; come back later */
} md_spool_kind;

typedef struct md_spool_outcome {
    md_spool_kind kind;
    md_instance_outcome instance; /* not for DISK_LOW */
} md_spool_outcome;

/* Make the file that an object is written to while it arrives, at the place where it stays:
 * 0600, open for reading and writing. Who gives the object up unlinks the path. MD_IO;
 * MD_LIMIT: the path is longer than path_bytes. */
md_status md_spool_begin(md_spool *spool, char *ret_path, size_t path_bytes, uint64_t *ret_file,
                         int *ret_fd, md_error *err) MD_NODISCARD;

/* Take over a received file, whatever the outcome: it is moved or removed. MD_INVALID_ARG for
 * UIDs of a wrong form, MD_IO when the disk failed: then nothing was acknowledged and nothing
 * may be. */
md_status md_spool_accept(md_spool *spool, const md_spool_arrival *arrival,
                          md_spool_outcome *ret_outcome, md_error *err) MD_NODISCARD;

/* Results: take over a finished file of incoming/ and make it durable; *ret_file is its number
 * for md_store_finish. Uses the reserve below the watermark. */
md_status md_spool_keep(md_spool *spool, const char *path, uint64_t *ret_file,
                        uint64_t *ret_size_bytes, md_error *err) MD_NODISCARD;

/* Where a file is. MD_LIMIT when the folder's name is too long. */
md_status md_spool_path(const md_spool *spool, uint64_t file,
                        char ret_path[MD_SPOOL_PATH_BYTES], md_error *err) MD_NODISCARD;
/* Remove files whose rows are gone. One that is not there is fine. */
void md_spool_remove(md_spool *spool, const uint64_t *files, size_t n);

/* For tests and the bench: how many times the disk was waited for, and for how many files. */
typedef struct md_spool_figures {
    uint64_t n_waits, n_files;
} md_spool_figures;
md_spool_figures md_spool_count(md_spool *spool);

#endif
