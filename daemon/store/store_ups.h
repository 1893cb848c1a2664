#ifndef MEDAID_DAEMON_STORE_STORE_UPS_H
#define MEDAID_DAEMON_STORE_STORE_UPS_H

/* The part of the store that holds the workitems of the UPS service (PS3.4 annex CC), who has
 * subscribed to them, and what is still to be told to whom. The same promises as in store.h. A
 * dataset is bytes here, which hold patient data; beside it stand the values that the list is
 * ordered and searched by. What they mean is dicom/network/ups/ups.h: state 0..3 is SCHEDULED,
 * IN PROGRESS, COMPLETED, CANCELED, priority 0..2 is HIGH, MEDIUM, LOW. */

#include "daemon/store/store.h"

enum {
    MD_UPS_MAX_PAGE = 100,        /* rows of one page: their datasets are in memory */
    MD_UPS_MAX_EVENTS = 8,        /* of one change */
    MD_UPS_MAX_RECEIVERS = 64,    /* AEs that subscribe globally */
    MD_UPS_TEXT_BYTES = 257,      /* worklist label, Patient ID */
    MD_UPS_MAX_DATASET = 1 << 20, /* bytes */
    MD_UPS_FINAL_STATES = 4 | 8,  /* bits 1 << state */
    MD_UPS_OPEN_STATES = 1 | 2,
    MD_UPS_READ_STATES = 4, /* completed: its study was read */
};

/* What goes to another AE. Each kind is a message of its own in the end. */
typedef enum md_ups_message {
    MD_UPS_MESSAGE_EVENT,  /* N-EVENT-REPORT to a subscriber; `type` is the event type */
    MD_UPS_MESSAGE_CREATE, /* N-CREATE to the manager */
    MD_UPS_MESSAGE_SET,    /* N-SET to the manager */
} md_ups_message;

typedef struct md_ups_sending {
    md_ups_message message;
    unsigned type;
    const char *receiver; /* an AE title; NULL: every subscriber of the item */
    const uint8_t *bytes;
    size_t n;
} md_ups_sending;

/* A new or changed workitem. */
typedef struct md_ups_write {
    int64_t id;       /* 0: new */
    int64_t revision; /* the one that was read; of a new one 0 */
    const char *uid;  /* of a new one; it never changes */
    int state, priority;
    int64_t scheduled_ms;
    const char *worklist, *patient_id, *study_uid;
    const char *transaction_uid; /* "": nobody has claimed it */
    const char *study_key;       /* of a new one that medaid made: the study's; "" else */
    const uint8_t *bytes;
    size_t n;
    /* Who is subscribed to a new one at once: with a lock when its bit is set. */
    const char *const *subscribers;
    const bool *locks;
    size_t n_subscribers;
    const md_ups_sending *sendings;
    size_t n_sendings;
} md_ups_write;

typedef struct md_ups_row {
    int64_t id, revision;
    char uid[MD_STORE_UID_BYTES];
    int state, priority;
    int64_t scheduled_ms;
    char transaction_uid[MD_STORE_UID_BYTES];
    uint8_t *bytes; /* owned by the row */
    size_t n;
} md_ups_row;
void md_ups_row_finish(md_ups_row *row);

/* Create or change, queue the messages, all or nothing. MD_BUSY: the item was changed since it
 * was read, or its UID has come into use: read again. */
md_status md_store_ups_write(md_store *store, const md_ups_write *write, int64_t now_ms,
                             md_error *err) MD_NODISCARD;
/* MD_NOT_FOUND. Caller finishes the row. */
md_status md_store_ups_find(md_store *store, const char *uid, md_ups_row *ret_row,
                            md_error *err) MD_NODISCARD;
/* The newest item that medaid made for a study. *ret_n: how many there are; 0: no row. */
md_status md_store_ups_of_study(md_store *store, const char *study_key, md_ups_row *ret_row,
                                size_t *ret_n, md_error *err) MD_NODISCARD;

/* A walk over the list: by priority, then scheduled start, then creation. */
typedef struct md_ups_cursor {
    unsigned states;     /* bits 1 << state; 0: all */
    unsigned priorities; /* bits 1 << priority; 0: all */
    char worklist[MD_UPS_TEXT_BYTES], patient_id[MD_UPS_TEXT_BYTES]; /* "": all */
    char study_uid[MD_STORE_UID_BYTES];                              /* "": all */
    /* where the last page ended; zeroed for the first */
    bool has_begun;
    int priority;
    int64_t scheduled_ms, id;
} md_ups_cursor;

/* The next n_max (<= MD_UPS_MAX_PAGE) rows into the caller's array, each to be finished; the
 * cursor moves behind them. *ret_n 0: the end. */
md_status md_store_ups_page(md_store *store, md_ups_cursor *cursor, size_t n_max,
                            md_ups_row *ret_rows, size_t *ret_n, md_error *err) MD_NODISCARD;

/* ---- subscriptions, PS3.4 CC.2.3 ---- */

typedef struct md_ups_subscriber {
    char ae_title[MD_STORE_AE_BYTES];
    bool locked;
    uint8_t *filter; /* owned; NULL: to all items */
    size_t n_filter;
} md_ups_subscriber;

/* Who has a global subscription, at most MD_UPS_MAX_RECEIVERS into the caller's array; md_free
 * each filter. */
md_status md_store_ups_subscribers(md_store *store, md_ups_subscriber *ret_list, size_t *ret_n,
                                   md_error *err) MD_NODISCARD;
/* Make the AE a global subscriber; `filter` NULL: of all. MD_LIMIT: too many. Items that are
 * there are subscribed by md_store_ups_subscribe. */
md_status md_store_ups_subscribe_global(md_store *store, const char *ae_title, bool locked,
                                        const uint8_t *filter, size_t n_filter, md_error *err)
    MD_NODISCARD;
/* Subscribe to these items, in place of an earlier subscription, and queue report[i] (bytes
 * NULL: none) for the AE. */
md_status md_store_ups_subscribe(md_store *store, const char *ae_title, bool locked,
                                 const int64_t *ids, const char *const *uids,
                                 const md_ups_sending *reports, size_t n, int64_t now_ms,
                                 md_error *err) MD_NODISCARD;
/* End it for one item; id 0: for all, and the global one. */
md_status md_store_ups_unsubscribe(md_store *store, const char *ae_title, int64_t id,
                                   md_error *err) MD_NODISCARD;
/* End the global one only: no further items. */
md_status md_store_ups_suspend(md_store *store, const char *ae_title, md_error *err)
    MD_NODISCARD;
/* How many subscribers an item has beside this AE. */
md_status md_store_ups_n_watchers(md_store *store, int64_t id, const char *except_ae,
                                  size_t *ret_n, md_error *err) MD_NODISCARD;

/* ---- what is to be told ---- */

typedef struct md_ups_outgoing {
    int64_t id;
    char receiver[MD_STORE_AE_BYTES];
    char uid[MD_STORE_UID_BYTES];
    md_ups_message message;
    unsigned type, n_attempts;
    int64_t since_ms;
    uint8_t *bytes; /* owned */
    size_t n;
} md_ups_outgoing;

/* The oldest message for a receiver when it is due: they go in order, so that one that fails
 * holds up those behind it. MD_NOT_FOUND: none is due; *ret_next_ms is when (INT64_MAX: nothing
 * waits). Caller frees the bytes. One thread sends to a receiver. */
md_status md_store_ups_next(md_store *store, const char *receiver, int64_t now_ms,
                            md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err)
    MD_NODISCARD;
/* It was taken, or given up. */
md_status md_store_ups_told(md_store *store, int64_t id, md_error *err) MD_NODISCARD;
/* It was not: again at next_ms, and nothing for its receiver before that. */
md_status md_store_ups_not_told(md_store *store, int64_t id, int64_t next_ms, md_error *err)
    MD_NODISCARD;

/* Forget messages from before, to whomever. */
md_status md_store_ups_expire(md_store *store, int64_t since_before_ms, size_t *ret_n,
                              md_error *err) MD_NODISCARD;
/* Forget up to n_max items that ended before and that no subscriber has locked. */
md_status md_store_ups_retire(md_store *store, int64_t ended_before_ms, size_t n_max,
                              size_t *ret_n, md_error *err) MD_NODISCARD;

#endif
