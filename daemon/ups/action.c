#include "daemon/ups/service_internal.h"

#include "daemon/steady.h"

#include <stdio.h>
#include <string.h>

/* N-ACTION: state, cancellation and subscriptions. */

enum {
    PAGE = 50
};

/* Write the item in its new state, with a report of each state it went through. */
static md_status save(md_ups_call *call, const md_ups_row *row, md_dataset *item,
                      md_ups_state state, const char *transaction_uid, unsigned event,
                      md_error *err)
{
    bool passes_through = row->state == MD_UPS_SCHEDULED && state == MD_UPS_CANCELED;
    md_ups_draft draft = {.write = {.id = row->id,
                                    .revision = row->revision,
                                    .uid = row->uid,
                                    .state = (int)state,
                                    .transaction_uid = transaction_uid,
                                    .study_key = ""}};
    md_status status = MD_OK;
    if (passes_through) {
        status =
            md_workitem_put(item, MD_UPS_TAG_STATE, md_ups_state_name(MD_UPS_IN_PROGRESS), err);
        if (status == MD_OK) {
            status = md_ups_draft_event(&draft, item, MD_UPS_EVENT_STATE, NULL, NULL, err);
        }
    }
    if (status == MD_OK) {
        status = md_ups_draft_make(&draft, call->ups->store, item, err);
    }
    if (status == MD_OK) {
        status = md_ups_draft_event(&draft, item, event, call->information,
                                    call->request->calling_ae, err);
    }
    if (status == MD_OK) {
        status = md_store_ups_write(call->ups->store, &draft.write, md_steady_ms(), err);
    }
    md_ups_draft_finish(&draft);
    return status;
}

static md_status change_state(md_ups_call *call, const md_ups_row *row, md_dataset *item,
                              md_error *err)
{
    static const md_ups_request requests[] = {
        [MD_UPS_SCHEDULED] = MD_UPS_REQUEST_SCHEDULED,
        [MD_UPS_IN_PROGRESS] = MD_UPS_REQUEST_IN_PROGRESS,
        [MD_UPS_COMPLETED] = MD_UPS_REQUEST_COMPLETED,
        [MD_UPS_CANCELED] = MD_UPS_REQUEST_CANCELED,
    };
    char text[17] = "", uid[MD_UID_BYTES];
    md_ups_state wanted;
    if (call->information == NULL ||
        !md_dataset_get_text(call->information, MD_UPS_TAG_STATE, 0, text, sizeof text) ||
        !md_ups_state_parse(text, &wanted)) {
        md_ups_refuse(call, MD_DIMSE_INVALID_ARGUMENT, "(0074,1000) is no state");
        return MD_OK;
    }
    md_ups_lock lock = md_ups_lock_of(call->information, row, uid);
    md_ups_refuse(call, md_ups_judge(requests[wanted], true, (md_ups_state)row->state, lock),
                  "");
    if (call->status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    if (wanted != MD_UPS_IN_PROGRESS && !md_workitem_is_final(item, wanted, call->comment)) {
        call->status = MD_UPS_NOT_FINAL;
        return MD_OK;
    }
    MD_TRY(md_workitem_put(item, MD_UPS_TAG_STATE, text, err));
    return save(call, row, item, wanted, uid, MD_UPS_EVENT_STATE, err);
}

static md_status request_cancel(md_ups_call *call, const md_ups_row *row, md_dataset *item,
                                md_error *err)
{
    md_ups_state state = (md_ups_state)row->state;
    size_t n_watchers = 0;
    md_ups_refuse(call, md_ups_judge(MD_UPS_REQUEST_CANCEL, true, state, MD_UPS_LOCK_NONE), "");
    if (call->status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    if (state == MD_UPS_SCHEDULED) {
        MD_TRY(md_workitem_fill_canceled(item, call->information, md_steady_ms(), err));
        return save(call, row, item, MD_UPS_CANCELED, row->transaction_uid, MD_UPS_EVENT_STATE,
                    err);
    }
    MD_TRY(md_store_ups_n_watchers(call->ups->store, row->id, call->request->calling_ae,
                                   &n_watchers, err));
    if (n_watchers == 0) {
        md_ups_refuse(call, MD_UPS_NO_CONTACT, "nobody else has subscribed to the workitem");
        return MD_OK;
    }
    return save(call, row, item, state, row->transaction_uid, MD_UPS_EVENT_CANCEL_REQUESTED,
                err);
}

/* An action on one item; again when somebody else was quicker. */
static md_status act_on_item(md_ups_call *call,
                             md_status (*action)(md_ups_call *call, const md_ups_row *row,
                                                 md_dataset *item, md_error *err),
                             md_error *err)
{
    md_status status = MD_BUSY;
    for (int i = 0; i < MD_UPS_TRIES && status == MD_BUSY; i++) {
        md_ups_row row;
        MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
        status = md_ups_open_item(call->ups, call->request->sop_instance_uid, &row, &item, err);
        if (status == MD_NOT_FOUND) {
            md_ups_refuse(call, MD_UPS_UNKNOWN_INSTANCE, "");
            return MD_OK;
        }
        MD_TRY(status);
        status = action(call, &row, item, err);
        md_ups_row_finish(&row);
    }
    return status;
}

/* ---- subscriptions ---- */

typedef struct subscription {
    char receiver[MD_AE_BYTES];
    bool locked;
} subscription;

static bool is_known(const md_conf *conf, const char *ae_title)
{
    for (unsigned i = 0; i < conf->ups.n_subscribers; i++) {
        if (strcmp(conf->ups.subscribers[i].ae_title, ae_title) == 0) {
            return true;
        }
    }
    return false;
}

/* The action information; false: call->status says what is wrong with it. */
static bool read_subscription(md_ups_call *call, bool with_lock, subscription *ret)
{
    char lock[17] = "";
    if (call->information == NULL ||
        !md_dataset_get_text(call->information, MD_UPS_TAG_RECEIVER, 0, ret->receiver,
                             sizeof ret->receiver)) {
        md_ups_refuse(call, MD_DIMSE_INVALID_ARGUMENT, "(0074,1234) is missing");
        return false;
    }
    if (!with_lock) {
        return true;
    }
    (void)md_dataset_get_text(call->information, MD_UPS_TAG_DELETION_LOCK, 0, lock,
                              sizeof lock);
    ret->locked = strcmp(lock, "TRUE") == 0;
    if (!ret->locked && strcmp(lock, "FALSE") != 0) {
        md_ups_refuse(call, MD_DIMSE_INVALID_ARGUMENT, "(0074,1230) is not TRUE or FALSE");
        return false;
    }
    if (call->ups->conf->ups.n_subscribers == 0) {
        md_ups_refuse(call, MD_UPS_NO_EVENT_REPORTS, "");
        return false;
    }
    if (!is_known(call->ups->conf, ret->receiver)) {
        md_ups_refuse(call, MD_UPS_UNKNOWN_RECEIVER, "");
        return false;
    }
    return true;
}

/* Rows that are to be subscribed together; those whose bytes are set get a report. */
typedef struct batch {
    int64_t ids[PAGE];
    const char *uids[PAGE];
    md_ups_sending reports[PAGE];
    uint8_t *bytes[PAGE];
    size_t n;
} batch;

static void batch_finish(batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        md_free(b->bytes[i]);
    }
    b->n = 0;
}

/* Each AE learns at once how an item stands (CC.2.3.3). */
static md_status batch_add(batch *b, const md_ups_row *row, const md_dataset *item,
                           bool with_report, md_error *err)
{
    size_t i = b->n;
    MD_AUTO(md_dataset_destroyp) md_dataset *report = NULL;
    b->ids[i] = row->id;
    b->uids[i] = row->uid;
    b->bytes[i] = NULL;
    b->reports[i] =
        (md_ups_sending){.message = MD_UPS_MESSAGE_EVENT, .type = MD_UPS_EVENT_STATE};
    if (with_report) {
        MD_TRY(md_workitem_event(item, MD_UPS_EVENT_STATE, NULL, NULL, &report, err));
        MD_TRY(md_workitem_encode(report, MD_ENCODING_EXPLICIT_LITTLE, &b->bytes[i],
                                  &b->reports[i].n, err));
        b->reports[i].bytes = b->bytes[i];
    }
    b->n++;
    return MD_OK;
}

static md_status subscribe_item(md_ups_call *call, const md_ups_row *row, md_dataset *item,
                                md_error *err)
{
    subscription wanted;
    batch b = {.n = 0};
    if (!read_subscription(call, true, &wanted)) {
        return MD_OK;
    }
    md_status status = batch_add(&b, row, item, true, err);
    if (status == MD_OK) {
        status = md_store_ups_subscribe(call->ups->store, wanted.receiver, wanted.locked, b.ids,
                                        b.uids, b.reports, b.n, md_steady_ms(), err);
    }
    batch_finish(&b);
    return status;
}

/* One page of the list. */
static md_status subscribe_page(md_ups_call *call, const subscription *wanted,
                                const md_dataset *filter, const md_ups_row *rows, size_t n,
                                md_error *err)
{
    batch b = {.n = 0};
    md_status status = MD_OK;
    for (size_t i = 0; i < n && status == MD_OK; i++) {
        MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
        bool is_open = (1U << (unsigned)rows[i].state & MD_UPS_OPEN_STATES) != 0;
        status = md_workitem_parse(rows[i].bytes, rows[i].n, MD_ENCODING_EXPLICIT_LITTLE, &item,
                                   err);
        if (status == MD_OK && (filter == NULL || md_workitem_matches(item, filter))) {
            status = batch_add(&b, &rows[i], item, is_open, err);
        }
    }
    if (status == MD_OK && b.n > 0) {
        status = md_store_ups_subscribe(call->ups->store, wanted->receiver, wanted->locked,
                                        b.ids, b.uids, b.reports, b.n, md_steady_ms(), err);
    }
    batch_finish(&b);
    return status;
}

/* All that is there. What has ended changes no more, so only a lock has a use for it. */
static md_status subscribe_all(md_ups_call *call, const subscription *wanted,
                               const md_dataset *filter, md_error *err)
{
    md_ups_cursor cursor = {.states = wanted->locked ? 0 : MD_UPS_OPEN_STATES};
    md_ups_row rows[PAGE];
    size_t n = PAGE;
    while (n == PAGE) {
        MD_TRY(md_store_ups_page(call->ups->store, &cursor, PAGE, rows, &n, err));
        md_status status = subscribe_page(call, wanted, filter, rows, n, err);
        for (size_t i = 0; i < n; i++) {
            md_ups_row_finish(&rows[i]);
        }
        MD_TRY(status);
    }
    return MD_OK;
}

static md_status subscribe_globally(md_ups_call *call, bool is_filtered, md_error *err)
{
    subscription wanted;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    if (!read_subscription(call, true, &wanted)) {
        return MD_OK;
    }
    (void)md_workitem_remove(call->information, MD_UPS_TAG_RECEIVER);
    (void)md_workitem_remove(call->information, MD_UPS_TAG_DELETION_LOCK);
    if (is_filtered) {
        MD_TRY(md_workitem_encode(call->information, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &n,
                                  err));
    }
    md_status status = md_store_ups_subscribe_global(call->ups->store, wanted.receiver,
                                                     wanted.locked, bytes, n, err);
    if (status == MD_LIMIT) {
        md_ups_refuse(call, MD_DIMSE_RESOURCE_LIMITATION, "there are too many subscribers");
        return MD_OK;
    }
    MD_TRY(status);
    return subscribe_all(call, &wanted, is_filtered ? call->information : NULL, err);
}

static md_status unsubscribe_item(md_ups_call *call, const md_ups_row *row, md_dataset *item,
                                  md_error *err)
{
    subscription wanted;
    (void)item;
    return read_subscription(call, false, &wanted)
               ? md_store_ups_unsubscribe(call->ups->store, wanted.receiver, row->id, err)
               : MD_OK;
}

static md_status leave_globally(md_ups_call *call, bool only_suspend, md_error *err)
{
    subscription wanted;
    if (!read_subscription(call, false, &wanted)) {
        return MD_OK;
    }
    return only_suspend ? md_store_ups_suspend(call->ups->store, wanted.receiver, err)
                        : md_store_ups_unsubscribe(call->ups->store, wanted.receiver, 0, err);
}

/* Which actions go with which class: PS3.4 table CC.3-1. */
static bool is_action_offered(const md_dimse_request *request)
{
    const char *class = request->abstract_syntax;
    if (!request->has_number) {
        return false;
    }
    switch (request->number) {
    case MD_UPS_ACTION_CHANGE_STATE:
        return strcmp(class, MD_UPS_PULL) == 0;
    case MD_UPS_ACTION_REQUEST_CANCEL:
        return strcmp(class, MD_UPS_PUSH) == 0 || strcmp(class, MD_UPS_WATCH) == 0;
    case MD_UPS_ACTION_SUBSCRIBE:
    case MD_UPS_ACTION_UNSUBSCRIBE:
    case MD_UPS_ACTION_SUSPEND_GLOBAL:
        return strcmp(class, MD_UPS_WATCH) == 0;
    default:
        return false;
    }
}

md_status md_ups_act(md_ups_call *call, md_error *err)
{
    const char *uid = call->request->sop_instance_uid;
    bool is_filtered = strcmp(uid, MD_UPS_FILTERED) == 0;
    bool is_global = is_filtered || strcmp(uid, MD_UPS_GLOBAL) == 0;
    if (!is_action_offered(call->request)) {
        md_ups_refuse(call, MD_DIMSE_NO_SUCH_ACTION, "not in this SOP class");
        return MD_OK;
    }
    unsigned action = call->request->number;
    bool is_for_items =
        action == MD_UPS_ACTION_CHANGE_STATE || action == MD_UPS_ACTION_REQUEST_CANCEL;
    if (is_global ? is_for_items : action == MD_UPS_ACTION_SUSPEND_GLOBAL) {
        md_ups_refuse(call, MD_UPS_ACTION_NOT_APPROPRIATE, "");
        return MD_OK;
    }
    switch (action) {
    case MD_UPS_ACTION_CHANGE_STATE:
        return act_on_item(call, change_state, err);
    case MD_UPS_ACTION_REQUEST_CANCEL:
        return act_on_item(call, request_cancel, err);
    case MD_UPS_ACTION_SUBSCRIBE:
        return is_global ? subscribe_globally(call, is_filtered, err)
                         : act_on_item(call, subscribe_item, err);
    case MD_UPS_ACTION_UNSUBSCRIBE:
        return is_global ? leave_globally(call, false, err)
                         : act_on_item(call, unsubscribe_item, err);
    default:
        return leave_globally(call, true, err);
    }
}
