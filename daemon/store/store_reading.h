#ifndef MEDAID_DAEMON_STORE_STORE_READING_H
#define MEDAID_DAEMON_STORE_STORE_READING_H

/* The part of the store that remembers how long studies waited for their reader, and what was
 * known of them when they began to wait (daemon/eta). A row begins when a study is complete and
 * is written anew when its analysis ends; it is known by the study's key, holds no patient data
 * and outlives the study. The same promises as store.h.
 *
 * A study is read when a person says so: on the worklist's page, by `medaidctl read`, or by
 * completing the workitem of the study (docs/ups.md); the first of them counts. */

#include "daemon/store/store.h"

enum {
    MD_STORE_MODALITY_BYTES = 17,
    MD_STORE_MAX_READINGS = 100000,
    MD_STORE_MAX_ESTIMATE_BYTES = 1000000, /* the database takes no larger value */
    /* What was not read in so long does not count as waiting before another one. */
    MD_STORE_WAITS_AT_MOST_MS = 7 * 86400000
};

typedef struct md_store_reading {
    char study_key[MD_STORE_KEY_BYTES];
    int generation;
    int64_t arrived_ms; /* last image received */
    int64_t known_ms;   /* when the row was written: complete, or the end of the analysis */
    int64_t read_ms;    /* 0: not yet; -1: it was deleted unread */
    int priority;
    bool urgent; /* at least one urgent finding, in the order of the worklist */
    unsigned n_instances;
    unsigned n_ahead;  /* unread ones before it on the worklist at known_ms */
    unsigned n_lately; /* studies read in the hour before known_ms */
    char modality[MD_STORE_MODALITY_BYTES]; /* of its first image; "": not known */
} md_store_reading;

/* Those that arrived since then, by arrival, the newest at most n_max <= MD_STORE_MAX_READINGS.
 * Caller frees with md_free; NULL when there are none. */
md_status md_store_readings(md_store *store, int64_t since_ms, size_t n_max,
                            md_store_reading **ret_rows, size_t *ret_n, md_error *err)
    MD_NODISCARD;
/* The latest of a study; MD_NOT_FOUND. */
md_status md_store_reading_of(md_store *store, const char *study_key,
                              md_store_reading *ret_reading, md_error *err) MD_NODISCARD;
/* Forget those that arrived earlier. *ret_n how many. */
md_status md_store_reading_retire(md_store *store, int64_t arrived_before_ms, size_t *ret_n,
                                  md_error *err) MD_NODISCARD;

/* The one text that the estimate is made by, in place of the one before. MD_LIMIT. */
md_status md_store_put_estimate(md_store *store, const char *text, size_t n_bytes,
                                md_error *err) MD_NODISCARD;
/* MD_NOT_FOUND: none yet. Caller frees; a zero byte is behind it. */
md_status md_store_estimate(md_store *store, char **ret_text, size_t *ret_n, md_error *err)
    MD_NODISCARD;

#endif
