#ifndef MEDAID_DAEMON_UPS_COURIER_H
#define MEDAID_DAEMON_UPS_COURIER_H

/* Tells other AEs of workitems what the store has queued for them: event reports to
 * subscribers, each over an association that medaid opens as SCP of the UPS Event class, and
 * N-CREATE and N-SET to another manager. One thread for each of them, so that one that does not
 * answer holds up nobody else. */

#include "conf/conf.h"
#include "daemon/store/store_ups.h"

typedef struct md_couriers md_couriers;

/* Everything is borrowed until the stop. */
md_status md_couriers_start(const md_conf *conf, md_store *store, md_couriers **ret_couriers,
                            md_error *err) MD_NODISCARD;
/* There may be something to tell. Any thread; NULL is fine. */
void md_couriers_wake(md_couriers *couriers);
/* Let each finish what it sends. What waits stays in the store. NULL is fine. */
void md_couriers_stop(md_couriers *couriers);

#endif
