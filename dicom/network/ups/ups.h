#ifndef MEDAID_DICOM_NETWORK_UPS_UPS_H
#define MEDAID_DICOM_NETWORK_UPS_UPS_H

/* The Unified Procedure Step service class of PS3.4 annex CC: its UIDs, its numbers, and its
 * state machine as a pure function. Any thread. */

#include "base/error.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MD_UPS_PUSH "1.2.840.10008.5.1.4.34.6.1"
#define MD_UPS_WATCH "1.2.840.10008.5.1.4.34.6.2"
#define MD_UPS_PULL "1.2.840.10008.5.1.4.34.6.3"
#define MD_UPS_EVENT "1.2.840.10008.5.1.4.34.6.4"
#define MD_UPS_QUERY "1.2.840.10008.5.1.4.34.6.5"
/* Well-known instances to subscribe to: all workitems, and all that match a filter. */
#define MD_UPS_GLOBAL "1.2.840.10008.5.1.4.34.5"
#define MD_UPS_FILTERED "1.2.840.10008.5.1.4.34.5.1"

enum {
    /* Action types, PS3.4 table CC.2-1 */
    MD_UPS_ACTION_CHANGE_STATE = 1,
    MD_UPS_ACTION_REQUEST_CANCEL = 2,
    MD_UPS_ACTION_SUBSCRIBE = 3,
    MD_UPS_ACTION_UNSUBSCRIBE = 4,
    MD_UPS_ACTION_SUSPEND_GLOBAL = 5,

    /* Event types, CC.2.4 */
    MD_UPS_EVENT_STATE = 1,
    MD_UPS_EVENT_CANCEL_REQUESTED = 2,
    MD_UPS_EVENT_PROGRESS = 3,
    MD_UPS_EVENT_SCP_STATUS = 4,
    MD_UPS_EVENT_ASSIGNED = 5,

    /* Statuses, tables CC.2.1-2 to CC.2.8-2 */
    MD_UPS_OPTIONAL_UNSUPPORTED = 0x0001,
    MD_UPS_CREATED_MODIFIED = 0xb300,
    MD_UPS_LOCK_NOT_GRANTED = 0xb301,
    MD_UPS_ALREADY_CANCELED = 0xb304,
    MD_UPS_COERCED = 0xb305,
    MD_UPS_ALREADY_COMPLETED = 0xb306,
    MD_UPS_NO_LONGER_UPDATED = 0xc300,
    MD_UPS_WRONG_TRANSACTION = 0xc301,
    MD_UPS_ALREADY_IN_PROGRESS = 0xc302,
    MD_UPS_SCHEDULED_ONLY_BY_CREATE = 0xc303,
    MD_UPS_NOT_FINAL = 0xc304,
    MD_UPS_UNKNOWN_INSTANCE = 0xc307,
    MD_UPS_UNKNOWN_RECEIVER = 0xc308,
    MD_UPS_NOT_SCHEDULED = 0xc309, /* the state of an N-CREATE */
    MD_UPS_NOT_IN_PROGRESS = 0xc310,
    MD_UPS_IS_COMPLETED = 0xc311, /* of a request to cancel */
    MD_UPS_NO_CONTACT = 0xc312,   /* the performer cannot be contacted */
    MD_UPS_WILL_NOT_CANCEL = 0xc313,
    MD_UPS_ACTION_NOT_APPROPRIATE = 0xc314,
    MD_UPS_NO_EVENT_REPORTS = 0xc315,
};

typedef enum md_ups_state {
    MD_UPS_SCHEDULED,
    MD_UPS_IN_PROGRESS,
    MD_UPS_COMPLETED,
    MD_UPS_CANCELED,
    MD_UPS_N_STATES
} md_ups_state;

typedef enum md_ups_priority {
    MD_UPS_HIGH,
    MD_UPS_MEDIUM,
    MD_UPS_LOW,
    MD_UPS_N_PRIORITIES
} md_ups_priority;

/* "IN PROGRESS", "HIGH", as in (0074,1000) and (0074,1200). Static. */
const char *md_ups_state_name(md_ups_state state) MD_NOEXCEPT;
const char *md_ups_priority_name(md_ups_priority priority) MD_NOEXCEPT;
bool md_ups_state_parse(const char *name, md_ups_state *ret_state) MD_NOEXCEPT;
bool md_ups_priority_parse(const char *name, md_ups_priority *ret_priority) MD_NOEXCEPT;

/* What is asked of an instance: the rows of PS3.4 table CC.1.1-2, and N-SET (CC.2.6.3). */
typedef enum md_ups_request {
    MD_UPS_REQUEST_CREATE,
    MD_UPS_REQUEST_IN_PROGRESS,
    MD_UPS_REQUEST_SCHEDULED,
    MD_UPS_REQUEST_COMPLETED,
    MD_UPS_REQUEST_CANCELED,
    MD_UPS_REQUEST_CANCEL, /* action type 2 */
    MD_UPS_REQUEST_SET,
    MD_UPS_N_REQUESTS
} md_ups_request;

/* How the Transaction UID of a request stands to the instance. */
typedef enum md_ups_lock {
    MD_UPS_LOCK_NONE,  /* there is none in the request, or what is there is no UID */
    MD_UPS_LOCK_WRONG, /* the instance has another */
    /* that of the instance; or a UID, and the instance has none because nobody claimed it */
    MD_UPS_LOCK_RIGHT,
} md_ups_lock;

/* The status of the table's cell; 0: do it. `exists` false: the column "null", and `state` is
 * not looked at. The request to cancel has more to it when the instance is IN PROGRESS: whether
 * its performer can be reached is not in the table. */
uint16_t md_ups_judge(md_ups_request request, bool exists, md_ups_state state, md_ups_lock lock)
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
