#ifndef MEDAID_DAEMON_HTTP_SERVER_H
#define MEDAID_DAEMON_HTTP_SERVER_H

/* The HTTP server of the daemon: daemon/http/pages.h on a Unix socket in the storage folder
 * (mode 0600: medaid's user and root), and its open part on a TCP port of this machine when the
 * configuration names one.
 *
 * One thread a socket. A connection carries one request and lives at most 10 seconds, whatever
 * its client does; head and URL have 16 KiB; bodies are refused but that of an import. When
 * very many are open, the oldest makes room for a new one: silent clients keep nobody out. */

#include "daemon/http/pages.h"

#define MD_HTTP_SOCKET_NAME "medaid.sock"

typedef struct md_http md_http;

/* Listen and answer. The service is copied, what it points to is borrowed until the stop.
 * MD_IO: the port is taken, or the folder is not ours; MD_NOMEM. */
md_status md_http_start(const md_http_service *service, md_http **ret_http, md_error *err)
    MD_NODISCARD;
/* Show another configuration's destinations from the next answer on; where it listens stays.
 * `shared` is from md_conf_share, and is held. Any thread. */
void md_http_reload(md_http *http, const md_conf *shared);
/* Close everything and remove the socket. NULL is fine. */
void md_http_stop(md_http *http);
MD_DEFINE_DESTROYP(md_http, md_http_stop)

#endif
