#ifndef MEDAID_INFERENCE_BACKEND_THREADS_H
#define MEDAID_INFERENCE_BACKEND_THREADS_H

/* Threads on which the reference kernels share their work. They wait as those of oneDNN do: by
 * spinning for some 50 microseconds, then asleep. One thread at a time may hand out work. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_threads md_threads;

/* n_threads >= 1 counts the caller's. Fewer when the system gives no more. Caller destroys. */
md_status md_threads_create(unsigned n_threads, md_threads **ret_threads, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_threads_destroy(md_threads *threads) MD_NOEXCEPT;

/* How many there are; NULL: one. */
unsigned md_threads_count(const md_threads *threads) MD_NOEXCEPT;

/* Call work(data, part, n_parts) for each part, one on each thread, and return when all are
 * done. Which part is which depends on n_parts alone, so results do not change from run to
 * run. */
typedef void (*md_threads_fn)(void *data, unsigned part, unsigned n_parts);
void md_threads_run(md_threads *threads, md_threads_fn work, void *data) MD_NOEXCEPT;

/* Where the part begins of n things that are handed out in multiples of `step`. */
static inline int64_t md_threads_first(int64_t n, int64_t step, unsigned part, unsigned n_parts)
{
    const int64_t n_steps = (n + step - 1) / step;
    const int64_t first = n_steps * part / n_parts * step;
    return first < n ? first : n;
}

#ifdef __cplusplus
}
#endif
#endif
