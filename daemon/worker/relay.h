#ifndef MEDAID_DAEMON_WORKER_RELAY_H
#define MEDAID_DAEMON_WORKER_RELAY_H

/* A worker's log lines (md_log writes them to the socket, one a packet) go into main's log. The
 * line is hostile: it is read as JSON, known parts are taken, bounded and written anew. */

#include "base/log.h"

#include <stddef.h>

/* Write the line with "worker": worker_index added; a line that is none is dropped. false then.
 */
bool md_worker_relay_log(const char *line, size_t size_bytes, unsigned worker_index);

#endif
