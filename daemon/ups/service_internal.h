#ifndef MEDAID_DAEMON_UPS_SERVICE_INTERNAL_H
#define MEDAID_DAEMON_UPS_SERVICE_INTERNAL_H

/* What the files of the UPS service share. */

#include "daemon/ups/draft.h"
#include "daemon/ups/service.h"
#include "dicom/network/dimse.h"

enum {
    MD_UPS_TRIES = 8 /* of a change, when others change the same item */
};

/* A request and what is to be answered. */
typedef struct md_ups_call {
    md_ups *ups;
    const md_dimse_request *request;
    md_dimse_responder *responder;
    md_dataset *information; /* the request's dataset; NULL: none */
    uint16_t status;
    char comment[MD_WORKITEM_COMMENT_BYTES];
    char created_uid[MD_UID_BYTES]; /* of an N-CREATE without UID */
    md_dataset *answer;             /* owned, NULL: none */
} md_ups_call;

/* Each sets call->status, and fails only for what is our own trouble. md_ups_find_items sends
 * the pending responses. */
md_status md_ups_create_item(md_ups_call *call, md_error *err) MD_NODISCARD;
md_status md_ups_set_item(md_ups_call *call, md_error *err) MD_NODISCARD;
md_status md_ups_get_item(md_ups_call *call, md_error *err) MD_NODISCARD;
md_status md_ups_find_items(md_ups_call *call, md_error *err) MD_NODISCARD;
md_status md_ups_act(md_ups_call *call, md_error *err) MD_NODISCARD;

/* The item of the request. MD_NOT_FOUND. Finish the row, destroy the item. */
md_status md_ups_open_item(md_ups *ups, const char *uid, md_ups_row *ret_row,
                           md_dataset **ret_item, md_error *err) MD_NODISCARD;
/* How the Transaction UID in `information` stands to the row's. */
md_ups_lock md_ups_lock_of(const md_dataset *information, const md_ups_row *row,
                           char ret_uid[MD_UID_BYTES]);
void md_ups_refuse(md_ups_call *call, uint16_t status, const char *comment);
void md_ups_wake(const md_ups *ups);

#endif
