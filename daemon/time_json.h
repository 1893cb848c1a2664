#ifndef MEDAID_DAEMON_TIME_JSON_H
#define MEDAID_DAEMON_TIME_JSON_H

/* Times as JSON, everywhere the same. */

#include <jansson.h>
#include <stdint.h>

/* RFC 3339 with milliseconds; null for 0: not yet. Caller owns; NULL: no memory. */
json_t *md_time_json(int64_t ms);

#endif
