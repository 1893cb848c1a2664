#ifndef MEDAID_INFERENCE_GRAPH_POOL_H
#define MEDAID_INFERENCE_GRAPH_POOL_H

/* Many small blocks with one lifetime: everything that belongs to a graph or a plan. Blocks are
 * zeroed and 64-byte aligned when they are large, 16-byte aligned otherwise. One thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_pool {
    struct md_pool_chunk *chunks;
} md_pool;

/* NULL when out of memory. Valid until md_pool_finish. */
void *md_pool_alloc(md_pool *pool, size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* As md_pool_alloc, but aligned to 64 bytes and not zeroed: for tensor data. */
void *md_pool_data(md_pool *pool, size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* A copy of the text; NULL when out of memory. */
const char *md_pool_text(md_pool *pool, const char *text) MD_NOEXCEPT MD_NODISCARD;
/* Release all blocks; zeroed is fine. */
void md_pool_finish(md_pool *pool) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
