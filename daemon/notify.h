#ifndef MEDAID_DAEMON_NOTIFY_H
#define MEDAID_DAEMON_NOTIFY_H

/* What a service tells systemd (sd_notify(3)): a datagram to the Unix socket that the variable
 * NOTIFY_SOCKET names, a path or, after '@', an abstract name. Without the variable nothing
 * happens. Any thread. */

#include "base/error.h"

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1". False: nobody was told. */
bool md_notify(const char *state);

/* How often the watchdog wants to hear from this process at least, in milliseconds; 0: there is
 * none (WATCHDOG_USEC, and WATCHDOG_PID when it is set). */
int64_t md_notify_watchdog_ms(void);

#endif
