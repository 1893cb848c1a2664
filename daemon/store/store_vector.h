#ifndef MEDAID_DAEMON_STORE_STORE_VECTOR_H
#define MEDAID_DAEMON_STORE_STORE_VECTOR_H

/* The part of the store that remembers what studies look like: vectors, which a program finds
 * similar cases by (daemon/similar), and what readers said of their findings. Like findings
 * they are known by the study's key and may outlive the study. The same promises as store.h. */

#include "daemon/store/store.h"

enum {
    MD_STORE_SPACE_BYTES = 17,  /* 16 hexadecimal digits */
    MD_STORE_MAX_VECTOR = 4096, /* values of one */
    MD_STORE_MAX_VECTORS = 64   /* of one study: one of each model */
};

/* A vector of a study: only those of one space may be compared. An id is never used again, and
 * what it stands for never changes: the next analysis of the study makes another one. */
typedef struct md_store_vector {
    int64_t id;                         /* read only */
    char study_key[MD_STORE_KEY_BYTES]; /* read only */
    int generation;                     /* read only */
    int64_t found_ms;                   /* read only */
    char space[MD_STORE_SPACE_BYTES];
    char model_id[MD_STORE_NAME_BYTES]; /* of images */
    uint32_t n;                         /* 1..MD_STORE_MAX_VECTOR */
    float values[MD_STORE_MAX_VECTOR];
} md_store_vector;

/* Where ids come from, and what they stand for: without the values. */
typedef struct md_store_vector_place {
    int64_t id;
    char study_key[MD_STORE_KEY_BYTES];
    int64_t found_ms;
} md_store_vector_place;

/* All ids of a space above `after`, ascending. Caller frees with md_free; NULL when none. */
md_status md_store_vector_ids(md_store *store, const char *space, int64_t after,
                              int64_t **ret_ids, size_t *ret_n, md_error *err) MD_NODISCARD;
/* MD_NOT_FOUND: it is gone. MD_FORMAT: the row is damaged. */
md_status md_store_vector_get(md_store *store, int64_t id, md_store_vector *ret_vector,
                              md_error *err) MD_NODISCARD;
/* Whose it is. MD_NOT_FOUND: it is gone. */
md_status md_store_vector_find(md_store *store, int64_t id, md_store_vector_place *ret_place,
                               md_error *err) MD_NODISCARD;
/* The id of a study's vector in that space; MD_NOT_FOUND. */
md_status md_store_vector_of(md_store *store, const char *space, const char *study_key,
                             int64_t *ret_id, md_error *err) MD_NODISCARD;

typedef struct md_vector_retention {
    int64_t found_before_ms; /* made earlier: forgotten; 0: none */
    bool with_study;         /* those of studies that are no longer there too */
    const char *space;       /* of this space only the newest most_vectors stay; NULL: all do */
    size_t most_vectors;
} md_vector_retention;

/* Forget at most n_max vectors in one transaction; *ret_n how many, n_max: there may be more.
 * Their bytes are overwritten, and whoever writes waits for that. */
md_status md_store_vector_retire(md_store *store, const md_vector_retention *retention,
                                 size_t n_max, size_t *ret_n, md_error *err) MD_NODISCARD;

/* The latest word about a finding of a study; of several readers the last. */
typedef struct md_store_verdict {
    char model_id[MD_STORE_NAME_BYTES], key[MD_STORE_NAME_BYTES];
    bool agrees;
} md_store_verdict;

/* At most n_max into the caller's array. */
md_status md_store_verdicts(md_store *store, const char *study_key, size_t n_max,
                            md_store_verdict *ret_verdicts, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* What md_store_finish asks of the vectors of an outcome. MD_INVALID_ARG, MD_LIMIT. */
md_status md_store_vector_check(const md_store_vector *vectors, size_t n, md_error *err)
    MD_NODISCARD;

#endif
