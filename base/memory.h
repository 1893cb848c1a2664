#ifndef MEDAID_BASE_MEMORY_H
#define MEDAID_BASE_MEMORY_H

/* Allocation that can be made to fail in tests, checked sizes, and automatic release.
 *
 * Every allocation of medaid's own goes through md_malloc and friends and is released with
 * md_free. Thread-safe; the failure counter is for single-threaded tests. */

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL when out of memory. size_bytes 0 gives a unique pointer. Caller frees with md_free. */
void *md_malloc(size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* Zeroed; NULL when out of memory or when n * size_bytes overflows. */
void *md_calloc(size_t n, size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* As realloc; on failure the old block stays. */
void *md_realloc(void *block, size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* 64-byte aligned, not zeroed; NULL when out of memory. Caller frees with md_free. */
void *md_malloc_aligned(size_t size_bytes) MD_NOEXCEPT MD_NODISCARD;
/* A copy that the caller frees; NULL when out of memory or text is NULL. */
char *md_strdup(const char *text) MD_NOEXCEPT MD_NODISCARD;
void md_free(void *block) MD_NOEXCEPT;

/* Let the nth allocation from now on (1 = the next) fail, once; 0 switches it off. Tests only.
 */
void md_memory_fail_at(size_t nth) MD_NOEXCEPT;
/* Allocations since the last md_memory_fail_at. Tests only. */
size_t md_memory_count(void) MD_NOEXCEPT;

/* false on overflow, and then *ret is untouched. */
static inline bool md_mul(size_t a, size_t b, size_t *ret)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *ret = product;
    return true;
}

static inline bool md_add(size_t a, size_t b, size_t *ret)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret = sum;
    return true;
}

/* MD_AUTO(f) type *p = NULL; calls f(&p) when p leaves its scope. */
#define MD_AUTO(f) __attribute__((cleanup(f)))

/* For MD_AUTO on a plain block. */
static inline void md_freep(void *pointer_to_block)
{
    md_free(*(void **)pointer_to_block);
}

/* Defines name##p, the form that MD_AUTO needs, for a destroy function. */
#define MD_DEFINE_DESTROYP(type, destroy)                                                      \
    static inline void destroy##p(type **handle)                                               \
    {                                                                                          \
        destroy(*handle);                                                                      \
    }

/* Hand the pointer over: yields p and sets it to NULL. */
#define MD_STEAL(p)                                                                            \
    __extension__({                                                                            \
        __typeof__(p) md_steal_ = (p);                                                         \
        (p) = NULL;                                                                            \
        md_steal_;                                                                             \
    })

#ifdef __cplusplus
}
#endif
#endif
