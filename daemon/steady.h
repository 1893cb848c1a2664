#ifndef MEDAID_DAEMON_STEADY_H
#define MEDAID_DAEMON_STEADY_H

/* Milliseconds since 1970 UTC that never jump: the wall clock of the first call, moved on by
 * the monotonic clock. Quiet times, leases and retries are counted by it, so that setting the
 * clock of the machine neither completes a study early nor holds the outbox back. Any thread.
 */

#include <stdint.h>

int64_t md_steady_ms(void);

#endif
