#ifndef MEDAID_DAEMON_WEB_WEB_H
#define MEDAID_DAEMON_WEB_WEB_H

/* The reading worklist as a web page, docs/web.md: static files that are part of the program,
 * JSON for those who are logged in, and server-sent events that tell of changes.
 *
 * What keeps it closed: every answer has a Content-Security-Policy without inline scripts and
 * foreign sources, nosniff and no-store; the session's cookie is HttpOnly and SameSite=Strict;
 * every change needs the session's other secret in a header and an Origin that is this page's;
 * JSON goes into the page as text alone. Heads have 16 KiB, bodies 4 KiB, a connection that is
 * silent for 30 seconds ends. */

#include "daemon/http/pages.h"

typedef struct md_web md_web;

/* Listen and answer on conf->web; *ret_web stays NULL when it has no port. The service is
 * copied; what it points to is borrowed until the stop, its conf is held. MD_IO, MD_NETWORK:
 * the port is taken. MD_FORMAT: the certificate is of no use. */
md_status md_web_start(const md_http_service *service, md_web **ret_web, md_error *err)
    MD_NODISCARD;
uint16_t md_web_port(const md_web *web);
/* Take the users of another configuration, from md_conf_share; who is logged in and is still
 * among them stays. */
void md_web_reload(md_web *web, const md_conf *shared);
/* NULL is fine. */
void md_web_stop(md_web *web);
MD_DEFINE_DESTROYP(md_web, md_web_stop)

#endif
