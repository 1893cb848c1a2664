#ifndef MEDAID_DAEMON_UPS_DRAFT_H
#define MEDAID_DAEMON_UPS_DRAFT_H

/* A change of a workitem on its way into the store: its dataset as bytes, the values that the
 * list is searched by, and whom it is told. One thread at a time. */

#include "daemon/store/store_ups.h"
#include "dicom/network/ups/workitem.h"

/* Zero it, set write.id, revision, uid, state, transaction_uid and study_key, then make. The
 * texts that those point to must outlive it. */
typedef struct md_ups_draft {
    md_ups_write write;
    uint8_t *bytes; /* owned, like all below */
    char worklist[MD_UPS_TEXT_BYTES], patient_id[MD_UPS_TEXT_BYTES];
    char study_uid[MD_STORE_UID_BYTES];
    md_ups_subscriber global[MD_UPS_MAX_RECEIVERS];
    size_t n_global;
    const char *subscribers[MD_UPS_MAX_RECEIVERS];
    bool locks[MD_UPS_MAX_RECEIVERS];
    md_ups_sending sendings[MD_UPS_MAX_EVENTS];
    uint8_t *sending_bytes[MD_UPS_MAX_EVENTS];
} md_ups_draft;

/* The dataset as it is to be kept; its Procedure Step State is set to write.state. A new one
 * (id 0) gets the global subscribers whose filter it matches. */
md_status md_ups_draft_make(md_ups_draft *draft, md_store *store, md_dataset *item,
                            md_error *err) MD_NODISCARD;
/* Tell the subscribers; `request` and `requester` as in md_workitem_event. */
md_status md_ups_draft_event(md_ups_draft *draft, const md_dataset *item, unsigned event,
                             const md_dataset *request, const char *requester, md_error *err)
    MD_NODISCARD;
/* Tell one AE. */
md_status md_ups_draft_message(md_ups_draft *draft, md_ups_message message,
                               const char *receiver, const md_dataset *dataset, md_error *err)
    MD_NODISCARD;
void md_ups_draft_finish(md_ups_draft *draft);

/* The scheduled start of an item; what is no date counts as `fallback_ms`. */
int64_t md_ups_scheduled_ms(const md_dataset *item, int64_t fallback_ms);

#endif
