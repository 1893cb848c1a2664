#ifndef MEDAID_DAEMON_LISTENER_H
#define MEDAID_DAEMON_LISTENER_H

/* What the daemon does with an object that the network has received: make it durable, and only
 * then let it be acknowledged. And what it says about it in the log. */

#include "conf/conf.h"
#include "daemon/spool/spool.h"
#include "dicom/network/service.h"

typedef struct md_listener md_listener;

/* Start to listen on bound_fd, from md_scp_bind, which is taken over whatever comes of it; -1:
 * where `conf` says. `services` are those beside storage (service.h). The store, the spool and
 * the services are borrowed until the stop. */
md_status md_listener_start(const md_conf *conf, md_store *store, md_spool *spool, int bound_fd,
                            const md_scp_service *services, size_t n_services,
                            md_listener **ret_listener, md_error *err) MD_NODISCARD;
/* Work with another configuration from the next association on, see md_scp_change. */
md_status md_listener_reload(md_listener *listener, const md_conf *conf, md_error *err)
    MD_NODISCARD;
uint16_t md_listener_port(const md_listener *listener);
/* Accept nothing new, let running associations finish for grace_ms, end. NULL is fine. */
void md_listener_stop(md_listener *listener, unsigned grace_ms);

#endif
