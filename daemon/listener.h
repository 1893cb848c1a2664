#ifndef MEDAID_DAEMON_LISTENER_H
#define MEDAID_DAEMON_LISTENER_H

/* What the daemon does with an object that the network has received: store it, then tell the
 * assembly, and only then let it be acknowledged. And what it says about it in the log. */

#include "conf/conf.h"
#include "daemon/assembly.h"
#include "daemon/store.h"

typedef struct md_listener md_listener;

/* Start to listen where `conf` says. Everything is borrowed until the stop. `on_object` is
 * called, on any thread, after an object has opened or prolonged a study. */
md_status md_listener_start(const md_conf *conf, md_store *store, md_assembly *assembly,
                            void (*on_object)(void *context), void *context,
                            md_listener **ret_listener, md_error *err) MD_NODISCARD;
uint16_t md_listener_port(const md_listener *listener);
/* Accept nothing new, let running associations finish for grace_ms, end. NULL is fine. */
void md_listener_stop(md_listener *listener, unsigned grace_ms);

#endif
