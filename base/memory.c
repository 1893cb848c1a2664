#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* From here on a block is given huge pages: the kernel clears and maps 512 pages at once, which
 * costs a tenth of doing it one by one. */
enum {
    HUGE_BYTES = 2 << 20,
    MIN_HUGE_BYTES = 4 << 20
};

static atomic_size_t allocation_count;
static atomic_size_t fail_at;

static bool must_fail(void)
{
    size_t target = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (target == 0) {
        return false;
    }
    return atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed) + 1 == target;
}

void md_memory_fail_at(size_t nth)
{
    atomic_store(&allocation_count, 0);
    atomic_store(&fail_at, nth);
}

size_t md_memory_count(void)
{
    return atomic_load(&allocation_count);
}

static void *aligned(size_t size_bytes, size_t alignment)
{
    size_t rounded;
    if (!md_add(size_bytes, alignment - 1, &rounded)) {
        return NULL;
    }
    rounded -= rounded % alignment;
    return aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}

static void *huge(size_t size_bytes)
{
    void *block = aligned(size_bytes, HUGE_BYTES);
    if (block != NULL) {
        (void)madvise(block, size_bytes, MADV_HUGEPAGE); /* only a hint */
    }
    return block;
}

void *md_malloc(size_t size_bytes)
{
    if (must_fail()) {
        return NULL;
    }
    return size_bytes >= MIN_HUGE_BYTES ? huge(size_bytes)
                                        : malloc(size_bytes == 0 ? 1 : size_bytes);
}

void *md_calloc(size_t n, size_t size_bytes)
{
    if (must_fail()) {
        return NULL;
    }
    return n == 0 || size_bytes == 0 ? calloc(1, 1) : calloc(n, size_bytes);
}

void *md_realloc(void *block, size_t size_bytes)
{
    return must_fail() ? NULL : realloc(block, size_bytes == 0 ? 1 : size_bytes);
}

void *md_malloc_aligned(size_t size_bytes)
{
    enum {
        ALIGNMENT = 64
    };
    if (must_fail()) {
        return NULL;
    }
    return size_bytes >= MIN_HUGE_BYTES ? huge(size_bytes) : aligned(size_bytes, ALIGNMENT);
}

char *md_strdup(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t size_bytes = strlen(text) + 1;
    char *copy = md_malloc(size_bytes);
    if (copy != NULL) {
        memcpy(copy, text, size_bytes);
    }
    return copy;
}

void md_free(void *block)
{
    free(block);
}
