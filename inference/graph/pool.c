#include "inference/graph/pool.h"

#include <string.h>

enum {
    ALIGNMENT = 64,
    CHUNK_BYTES = 16384
};

struct md_pool_chunk {
    struct md_pool_chunk *next;
    size_t used_bytes, size_bytes;
    /* the blocks follow at the next multiple of ALIGNMENT */
};

static struct md_pool_chunk *chunk_create(md_pool *pool, size_t size_bytes)
{
    size_t total;
    if (!md_add(size_bytes, ALIGNMENT, &total)) {
        return NULL;
    }
    struct md_pool_chunk *chunk = md_malloc_aligned(total);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->size_bytes = size_bytes;
    chunk->used_bytes = 0;
    /* A full chunk goes behind the first, so that the first keeps its free space. */
    if (pool->chunks != NULL && size_bytes != CHUNK_BYTES) {
        chunk->next = pool->chunks->next;
        pool->chunks->next = chunk;
    } else {
        chunk->next = pool->chunks;
        pool->chunks = chunk;
    }
    return chunk;
}

static void *chunk_take(struct md_pool_chunk *chunk, size_t size_bytes)
{
    void *block = (char *)chunk + ALIGNMENT + chunk->used_bytes;
    chunk->used_bytes += size_bytes;
    return block;
}

void *md_pool_data(md_pool *pool, size_t size_bytes)
{
    struct md_pool_chunk *chunk = chunk_create(pool, size_bytes == 0 ? 1 : size_bytes);
    return chunk == NULL ? NULL : chunk_take(chunk, size_bytes);
}

void *md_pool_alloc(md_pool *pool, size_t size_bytes)
{
    size_t rounded;
    if (!md_add(size_bytes, 15, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)15;
    void *block;
    if (rounded > CHUNK_BYTES / 4) {
        block = md_pool_data(pool, rounded);
    } else {
        struct md_pool_chunk *chunk = pool->chunks;
        if (chunk == NULL || chunk->size_bytes - chunk->used_bytes < rounded) {
            chunk = chunk_create(pool, CHUNK_BYTES);
        }
        block = chunk == NULL ? NULL : chunk_take(chunk, rounded);
    }
    if (block != NULL) {
        memset(block, 0, rounded);
    }
    return block;
}

const char *md_pool_text(md_pool *pool, const char *text)
{
    const size_t n_bytes = strlen(text) + 1;
    char *copy = md_pool_alloc(pool, n_bytes);
    return copy == NULL ? NULL : memcpy(copy, text, n_bytes);
}

void md_pool_finish(md_pool *pool)
{
    while (pool->chunks != NULL) {
        struct md_pool_chunk *next = pool->chunks->next;
        md_free(pool->chunks);
        pool->chunks = next;
    }
}
