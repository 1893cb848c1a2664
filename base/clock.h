#ifndef MEDAID_BASE_CLOCK_H
#define MEDAID_BASE_CLOCK_H

/* Clocks: wall time for what is written down, monotonic time for what is measured. Any thread.
 */

#include "base/error.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Milliseconds since 1970-01-01 UTC. */
int64_t md_clock_wall_ms(void) MD_NOEXCEPT;
/* Microseconds since an arbitrary start; never goes back. */
int64_t md_clock_monotonic_us(void) MD_NOEXCEPT;
/* CPU time of this process in microseconds. */
int64_t md_clock_cpu_us(void) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
