#ifndef MEDAID_DAEMON_CTL_CLIENT_H
#define MEDAID_DAEMON_CTL_CLIENT_H

/* One HTTP request over the daemon's Unix socket: as much of HTTP/1.1 as medaidctl needs. The
 * answer is limited in size and time, though it comes from our own daemon. One thread. */

#include "base/memory.h"

typedef struct md_ctl_answer {
    unsigned code;
    char *body; /* zero at its end; caller frees with md_free */
    size_t n_bytes;
} md_ctl_answer;

/* MD_NETWORK: no daemon there, MD_TIMEOUT, MD_FORMAT: not HTTP, MD_LIMIT: too long an answer,
 * MD_NOMEM, MD_INVALID_ARG: the socket's folder cannot be used. */
md_status md_ctl_request(const char *socket_path, const char *method, const char *target,
                         md_ctl_answer *ret_answer, md_error *err) MD_NODISCARD;
/* POST with a body; the daemon may take ten minutes over it. */
md_status md_ctl_send(const char *socket_path, const char *target, const void *bytes,
                      size_t n_bytes, md_ctl_answer *ret_answer, md_error *err) MD_NODISCARD;

#endif
