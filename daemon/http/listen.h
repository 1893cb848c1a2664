#ifndef MEDAID_DAEMON_HTTP_LISTEN_H
#define MEDAID_DAEMON_HTTP_LISTEN_H

#include "base/error.h"

#include <stdint.h>

/* A socket that listens on an IP address and port, close-on-exec and non-blocking; the caller
 * closes it. `what` begins the messages. MD_IO: the port is taken; MD_INVALID_ARG. */
md_status md_http_listen(const char *what, const char *address, uint16_t port, int *ret_fd,
                         md_error *err) MD_NODISCARD;

#endif
