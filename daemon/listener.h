#ifndef MEDAID_DAEMON_LISTENER_H
#define MEDAID_DAEMON_LISTENER_H

/* What the daemon does with an object that the network has received: make it durable, and only
 * then let it be acknowledged. And what it says about it in the log. */

#include "conf/conf.h"
#include "daemon/spool/spool.h"

typedef struct md_listener md_listener;

/* Start to listen where `conf` says. Everything is borrowed until the stop. */
md_status md_listener_start(const md_conf *conf, md_store *store, md_spool *spool,
                            md_listener **ret_listener, md_error *err) MD_NODISCARD;
uint16_t md_listener_port(const md_listener *listener);
/* Accept nothing new, let running associations finish for grace_ms, end. NULL is fine. */
void md_listener_stop(md_listener *listener, unsigned grace_ms);

#endif
