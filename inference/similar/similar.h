#ifndef MEDAID_INFERENCE_SIMILAR_SIMILAR_H
#define MEDAID_INFERENCE_SIMILAR_SIMILAR_H

/* Which earlier cases look like this one: a store of embeddings that finds the nearest by the
 * cosine of their angle. Exactly below MD_SIMILAR_EXACT_BELOW vectors; from there on by a graph
 * (hnsw.h), which misses a few of the nearest (recall in docs/similar.md).
 *
 * The file of vectors is what lasts: records are only appended, each with a checksum, and what
 * a crash has cut off at its end is dropped when it is opened. The graph is kept beside it and
 * built again when it is lost, damaged or of other vectors; it grows from the first vector on
 * where max_vectors allows for more than are compared exactly. Keys are the caller's numbers.
 *
 * Thread-safe: searches run side by side, a change waits for them. One process at a time has
 * the file open (MD_BUSY). */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_SIMILAR_EXACT_BELOW 100000U
enum {
    MD_SIMILAR_MAX_DIMS = 4096,
    MD_SIMILAR_MAX_NEIGHBOURS = 1000,
    MD_SIMILAR_MAX_VECTORS = 20000000
};

typedef struct md_similar md_similar;

typedef struct md_similar_options {
    const char *path; /* the file; the graph is path with ".graph" */
    uint32_t n_dims;  /* 1..MD_SIMILAR_MAX_DIMS */
    /* 1..MD_SIMILAR_MAX_VECTORS; those that were replaced or removed count until an opening
     * that finds more than half of the file so writes it anew. */
    uint32_t max_vectors;
    uint32_t exact_below; /* 0: MD_SIMILAR_EXACT_BELOW */
    unsigned n_threads;   /* that build a lost graph, >= 1 */
    /* An opening that finds anything replaced or removed writes the file anew: what was removed
     * is then gone from the disk, and a graph is built again. */
    bool tidy;
} md_similar_options;

/* Open or make. MD_FORMAT when the file is no such store or of other dimensions, MD_BUSY,
 * MD_LIMIT, MD_IO, MD_NOMEM. Caller destroys, which does not save the graph. */
md_status md_similar_open(const md_similar_options *options, md_similar **ret_similar,
                          md_error *err) MD_NODISCARD;
void md_similar_destroy(md_similar *similar);
MD_DEFINE_DESTROYP(md_similar, md_similar_destroy)

/* What the opening met. */
typedef struct md_similar_opening {
    uint64_t dropped_bytes; /* of a record at the end that was not whole */
    uint64_t n_damaged;     /* records inside whose checksum is wrong: left out */
    bool graph_built;       /* because it was lost, damaged or of other vectors */
} md_similar_opening;
const md_similar_opening *md_similar_opened(const md_similar *similar);

/* Put a vector [n_dims] under the key, replacing an older one, on disk before it returns
 * (fdatasync). It is scaled to length 1. MD_INVALID_ARG when a value is not finite or all are
 * 0, MD_LIMIT when full, MD_IO, MD_NOMEM. On failure the store holds what it held. */
md_status md_similar_put(md_similar *similar, uint64_t key, const float *vector, md_error *err)
    MD_NODISCARD;
/* The same for many at once, with one sync: keys [n], vectors [n][n_dims]. On failure some of
 * the first may be there. */
md_status md_similar_put_all(md_similar *similar, const uint64_t *keys, const float *vectors,
                             uint32_t n, md_error *err) MD_NODISCARD;
/* MD_NOT_FOUND, MD_IO. */
md_status md_similar_remove(md_similar *similar, uint64_t key, md_error *err) MD_NODISCARD;

typedef struct md_neighbour_case {
    uint64_t key;
    float cosine; /* 1: the same direction */
} md_neighbour_case;

/* The k (1..MD_SIMILAR_MAX_NEIGHBOURS) nearest, the nearest first, at most as many as there
 * are. `exactly`: compare with all, whatever their number. Of equal ones the older first when
 * exact. MD_INVALID_ARG as for put. */
md_status md_similar_search(md_similar *similar, const float *vector, uint32_t k, bool exactly,
                            md_neighbour_case *ret_cases, uint32_t *ret_n, md_error *err)
    MD_NODISCARD;
/* Of a case that is in the store, without itself. MD_NOT_FOUND. */
md_status md_similar_search_key(md_similar *similar, uint64_t key, uint32_t k,
                                md_neighbour_case *ret_cases, uint32_t *ret_n, md_error *err)
    MD_NODISCARD;

uint32_t md_similar_n(md_similar *similar);
/* The keys of all cases, ascending. Caller frees *ret_keys with md_free; NULL when there are
 * none. MD_NOMEM. */
md_status md_similar_keys(md_similar *similar, uint64_t **ret_keys, size_t *ret_n,
                          md_error *err) MD_NODISCARD;
/* Memory of vectors and graph. */
size_t md_similar_bytes(md_similar *similar);
/* Write the graph, so that the next opening need not build it; nothing below exact_below.
 * MD_IO. */
md_status md_similar_save(md_similar *similar, md_error *err) MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
