#ifndef MEDAID_INFERENCE_SIMILAR_HNSW_H
#define MEDAID_INFERENCE_SIMILAR_HNSW_H

/* The graph of near neighbours of Y. A. Malkov, D. A. Yashunin, IEEE TPAMI 42 (2020) 824, by
 * hnswlib. It knows vectors by their slots and asks its owner for them, so that they are in
 * memory once. Searches may run side by side; nothing else beside anything. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_hnsw md_hnsw;

/* Of slot `slot`, length n_dims, the same as long as the graph lives. */
typedef const float *(*md_hnsw_vector_fn)(const void *owner, uint32_t slot);

typedef struct md_hnsw_options {
    md_hnsw_vector_fn vector;
    const void *owner;
    uint32_t n_dims;
    uint32_t capacity;  /* slots are below it */
    uint32_t n_links;   /* of a slot, M of the paper */
    uint32_t ef_build;  /* how widely a new one's neighbours are searched */
    uint32_t ef_search; /* how widely a query looks; at least k anyway */
} md_hnsw_options;

/* MD_NOMEM. Caller destroys. */
md_status md_hnsw_create(const md_hnsw_options *options, md_hnsw **ret_hnsw, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The graph of a file that md_hnsw_save wrote, of which the caller knows that it is whole: the
 * file itself is believed. MD_FORMAT when it does not fit the options, MD_NOMEM. */
md_status md_hnsw_load(const md_hnsw_options *options, const char *path, uint32_t n_slots,
                       md_hnsw **ret_hnsw, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_hnsw_destroy(md_hnsw *hnsw) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_hnsw, md_hnsw_destroy)

/* The slot's vector must be there. Several threads may add at once (the graph then depends on
 * their order). */
md_status md_hnsw_add(md_hnsw *hnsw, uint32_t slot, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* It is not found any more. */
md_status md_hnsw_remove(md_hnsw *hnsw, uint32_t slot, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* At most k slots with the largest inner products, the largest first. */
md_status md_hnsw_search(const md_hnsw *hnsw, const float *query, uint32_t k,
                         uint32_t *ret_slots, float *ret_products, uint32_t *ret_n,
                         md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* MD_IO. */
md_status md_hnsw_save(md_hnsw *hnsw, const char *path, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Bytes of the graph without the vectors. */
size_t md_hnsw_bytes(const md_hnsw *hnsw) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
