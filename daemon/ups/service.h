#ifndef MEDAID_DAEMON_UPS_SERVICE_H
#define MEDAID_DAEMON_UPS_SERVICE_H

/* medaid as manager of workitems: the SCP of UPS Push, Pull, Watch and Query (PS3.4 annex CC)
 * over the store. What it does to which request is dicom/network/ups; here each change is one
 * transaction with the reports that it calls for. Any thread. */

#include "conf/conf.h"
#include "daemon/store/store_ups.h"
#include "dicom/network/service.h"

typedef struct md_ups {
    const md_conf *conf; /* borrowed, like the store */
    md_store *store;
    void (*wake)(void *context); /* there may be something to tell; NULL: nobody tells */
    void *wake_context;
} md_ups;

/* The service for the SCP; `ups` is borrowed by it. */
md_scp_service md_ups_scp_service(md_ups *ups);

#endif
