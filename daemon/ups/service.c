#include "daemon/ups/service.h"

#include "base/log.h"
#include "daemon/steady.h"
#include "daemon/ups/service_internal.h"
#include "dicom/network/bytes.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void md_ups_refuse(md_ups_call *call, uint16_t status, const char *comment)
{
    call->status = status;
    snprintf(call->comment, sizeof call->comment, "%s", comment);
}

void md_ups_wake(const md_ups *ups)
{
    if (ups->wake != NULL) {
        ups->wake(ups->wake_context);
    }
}

md_status md_ups_open_item(md_ups *ups, const char *uid, md_ups_row *ret_row,
                           md_dataset **ret_item, md_error *err)
{
    md_ups_row row;
    MD_TRY(md_store_ups_find(ups->store, uid, &row, err));
    md_status status =
        md_workitem_parse(row.bytes, row.n, MD_ENCODING_EXPLICIT_LITTLE, ret_item, err);
    if (status != MD_OK) {
        md_ups_row_finish(&row);
        return md_error_prefix(err, status, "a workitem of the database");
    }
    *ret_row = row;
    return MD_OK;
}

md_ups_lock md_ups_lock_of(const md_dataset *information, const md_ups_row *row,
                           char ret_uid[MD_UID_BYTES])
{
    char text[MD_UID_BYTES + 2] = "";
    ret_uid[0] = '\0';
    if (information == NULL ||
        !md_dataset_get_text(information, MD_UPS_TAG_TRANSACTION, 0, text, sizeof text) ||
        !md_uid_copy((const uint8_t *)text, strlen(text), ret_uid)) {
        return MD_UPS_LOCK_NONE;
    }
    bool is_claimed = row->transaction_uid[0] != '\0';
    return !is_claimed || strcmp(row->transaction_uid, ret_uid) == 0 ? MD_UPS_LOCK_RIGHT
                                                                     : MD_UPS_LOCK_WRONG;
}

/* A UID for an item whose creator gave none (PS3.5 B.2). */
static void make_uid(char ret_uid[MD_UID_BYTES])
{
    uint8_t bytes[16];
    char text[33];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
        memset(bytes, 0, sizeof bytes); /* does not happen for 16 bytes; the store would refuse
                                           the second one */
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(text + 2 * i, 3, "%02x", (unsigned)bytes[i]);
    }
    const char *const parts[] = {"workitem", text};
    md_uid_derive(parts, 2, ret_uid);
}

static md_status create(md_ups_call *call, const char *uid, md_error *err)
{
    md_ups *ups = call->ups;
    md_dataset *item = call->information;
    int64_t now_ms = md_steady_ms();
    MD_TRY(md_workitem_check_new(item, ups->conf->ups.worklist_label, now_ms, &call->status,
                                 call->comment, err));
    if (call->status != MD_DIMSE_SUCCESS && call->status != MD_UPS_CREATED_MODIFIED) {
        return MD_OK;
    }
    MD_TRY(md_workitem_put(item, MD_UPS_TAG_SOP_CLASS, MD_UPS_PUSH, err));
    MD_TRY(md_workitem_put(item, MD_UPS_TAG_SOP_INSTANCE, uid, err));
    md_ups_draft draft = {
        .write = {
            .uid = uid, .state = MD_UPS_SCHEDULED, .transaction_uid = "", .study_key = ""}};
    md_status status = md_ups_draft_make(&draft, ups->store, item, err);
    if (status == MD_OK) {
        status = md_ups_draft_event(&draft, item, MD_UPS_EVENT_STATE, NULL, NULL, err);
    }
    if (status == MD_OK) {
        status = md_store_ups_write(ups->store, &draft.write, now_ms, err);
    }
    md_ups_draft_finish(&draft);
    md_ups_row row;
    if (status == MD_BUSY && md_store_ups_find(ups->store, uid, &row, NULL) == MD_OK) {
        md_ups_row_finish(&row); /* another was quicker */
        md_ups_refuse(call, MD_DIMSE_DUPLICATE_INSTANCE, "");
        return MD_OK;
    }
    return status;
}

md_status md_ups_create_item(md_ups_call *call, md_error *err)
{
    const char *uid = call->request->sop_instance_uid;
    if (call->information == NULL) {
        md_ups_refuse(call, MD_DIMSE_MISSING_ATTRIBUTE, "there is no dataset");
        return MD_OK;
    }
    if (uid[0] == '\0') {
        make_uid(call->created_uid);
        uid = call->created_uid;
    }
    md_ups_row row;
    md_status status = md_store_ups_find(call->ups->store, uid, &row, err);
    if (status == MD_OK) {
        md_ups_refuse(call,
                      md_ups_judge(MD_UPS_REQUEST_CREATE, true, (md_ups_state)row.state,
                                   MD_UPS_LOCK_NONE),
                      "");
        md_ups_row_finish(&row);
        return MD_OK;
    }
    return status == MD_NOT_FOUND ? create(call, uid, err) : status;
}

/* Apply the changes to the item that was read. */
static md_status set(md_ups_call *call, const md_ups_row *row, md_dataset *item, md_error *err)
{
    char uid[MD_UID_BYTES];
    unsigned events = 0;
    int64_t now_ms = md_steady_ms();
    md_ups_refuse(call,
                  md_ups_judge(MD_UPS_REQUEST_SET, true, (md_ups_state)row->state,
                               md_ups_lock_of(call->information, row, uid)),
                  "");
    if (call->status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    MD_TRY(md_workitem_apply(item, call->information, now_ms, &call->status, &events,
                             call->comment, err));
    if (call->status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    md_ups_draft draft = {.write = {.id = row->id,
                                    .revision = row->revision,
                                    .uid = row->uid,
                                    .state = row->state,
                                    .transaction_uid = row->transaction_uid,
                                    .study_key = ""}};
    md_status status = md_ups_draft_make(&draft, call->ups->store, item, err);
    for (unsigned event = MD_UPS_EVENT_STATE; event <= MD_UPS_EVENT_ASSIGNED && status == MD_OK;
         event++) {
        if ((events & 1U << event) != 0) {
            status = md_ups_draft_event(&draft, item, event, NULL, NULL, err);
        }
    }
    if (status == MD_OK) {
        status = md_store_ups_write(call->ups->store, &draft.write, now_ms, err);
    }
    md_ups_draft_finish(&draft);
    if (status == MD_LIMIT) {
        md_ups_refuse(call, MD_DIMSE_RESOURCE_LIMITATION,
                      "the workitem would become too large");
        return MD_OK;
    }
    return status;
}

md_status md_ups_set_item(md_ups_call *call, md_error *err)
{
    if (call->information == NULL) {
        md_ups_refuse(call, MD_DIMSE_MISSING_ATTRIBUTE, "there is no dataset");
        return MD_OK;
    }
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
        status = set(call, &row, item, err);
        md_ups_row_finish(&row);
    }
    return status;
}

md_status md_ups_get_item(md_ups_call *call, md_error *err)
{
    const md_dimse_request *request = call->request;
    md_ups_row row;
    MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
    bool all = false;
    md_status status = md_ups_open_item(call->ups, request->sop_instance_uid, &row, &item, err);
    if (status == MD_NOT_FOUND) {
        md_ups_refuse(call, MD_UPS_UNKNOWN_INSTANCE, "");
        return MD_OK;
    }
    MD_TRY(status);
    md_ups_row_finish(&row);
    MD_AUTO(md_freep) uint32_t *tags = md_calloc(request->n_attributes + 1, sizeof *tags);
    if (tags == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu tags", request->n_attributes);
    }
    for (size_t i = 0; i < request->n_attributes; i++) {
        const uint8_t *at = request->attributes + 4 * i;
        tags[i] = MD_TAG(md_get_le16(at), md_get_le16(at + 2));
    }
    MD_TRY(md_workitem_select(item, tags, request->n_attributes, &call->answer, &all, err));
    call->status = all ? MD_DIMSE_SUCCESS : MD_UPS_OPTIONAL_UNSUPPORTED;
    return MD_OK;
}

/* Which operations go with which class: PS3.4 table CC.3-1. */
static bool is_offered(const md_dimse_request *request)
{
    const char *class = request->abstract_syntax;
    bool is_push = strcmp(class, MD_UPS_PUSH) == 0, is_pull = strcmp(class, MD_UPS_PULL) == 0;
    bool is_watch = strcmp(class, MD_UPS_WATCH) == 0;
    bool is_query = strcmp(class, MD_UPS_QUERY) == 0;
    switch (request->field) {
    case MD_COMMAND_CREATE_RQ:
        return is_push;
    case MD_COMMAND_SET_RQ:
        return is_pull;
    case MD_COMMAND_GET_RQ:
        return is_push || is_pull || is_watch || is_query;
    case MD_COMMAND_FIND_RQ:
        return is_pull || is_watch || is_query;
    case MD_COMMAND_ACTION_RQ:
        return is_push || is_pull || is_watch;
    default:
        return false;
    }
}

static bool is_ups_class(const char *uid)
{
    static const char *const classes[] = {MD_UPS_PUSH, MD_UPS_WATCH, MD_UPS_PULL, MD_UPS_QUERY};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strcmp(uid, classes[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* MD_OK: call->status says what to answer. */
static md_status dispatch(md_ups_call *call, md_error *err)
{
    const md_dimse_request *request = call->request;
    if (!is_offered(request)) {
        md_ups_refuse(call, MD_DIMSE_UNRECOGNISED_OPERATION, "not in this SOP class");
        return MD_OK;
    }
    if (!is_ups_class(request->sop_class_uid)) {
        md_ups_refuse(call, MD_DIMSE_CLASS_INSTANCE_CONFLICT, "workitems are of UPS Push");
        return MD_OK;
    }
    if (request->has_dataset) {
        md_status status = md_workitem_parse(request->dataset, request->dataset_bytes,
                                             request->encoding, &call->information, err);
        if (status == MD_FORMAT || status == MD_LIMIT) {
            bool is_find = request->field == MD_COMMAND_FIND_RQ;
            md_ups_refuse(call,
                          status == MD_LIMIT ? MD_DIMSE_RESOURCE_LIMITATION
                          : is_find          ? MD_DIMSE_CANNOT_UNDERSTAND
                                             : MD_DIMSE_INVALID_ATTRIBUTE_VALUE,
                          "the dataset cannot be read");
            return MD_OK;
        }
        MD_TRY(status);
    }
    switch (request->field) {
    case MD_COMMAND_CREATE_RQ:
        return md_ups_create_item(call, err);
    case MD_COMMAND_SET_RQ:
        return md_ups_set_item(call, err);
    case MD_COMMAND_GET_RQ:
        return md_ups_get_item(call, err);
    case MD_COMMAND_FIND_RQ:
        return md_ups_find_items(call, err);
    default:
        return md_ups_act(call, err);
    }
}

static const char *operation_name(uint16_t field)
{
    switch (field) {
    case MD_COMMAND_CREATE_RQ:
        return "N-CREATE";
    case MD_COMMAND_SET_RQ:
        return "N-SET";
    case MD_COMMAND_GET_RQ:
        return "N-GET";
    case MD_COMMAND_FIND_RQ:
        return "C-FIND";
    case MD_COMMAND_ACTION_RQ:
        return "N-ACTION";
    default:
        return "N-EVENT-REPORT";
    }
}

static void on_request(void *context, const md_dimse_request *request,
                       md_dimse_responder *responder)
{
    md_ups_call call = {.ups = context, .request = request, .responder = responder};
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    md_error err = {0};
    md_status status = dispatch(&call, &err);
    if (status == MD_OK && call.answer != NULL) {
        status = md_workitem_encode(call.answer, request->encoding, &bytes, &n, &err);
    }
    if (status != MD_OK && status != MD_NETWORK && status != MD_TIMEOUT) {
        md_log(MD_LOG_ERROR, "workitem_failed",
               MD_LOG_TEXT("operation", operation_name(request->field)),
               MD_LOG_TEXT("peer", request->peer_address), MD_LOG_TEXT("reason", err.msg));
    }
    if (status != MD_OK) {
        call.status = status == MD_LIMIT || status == MD_NOMEM || status == MD_BUSY
                          ? MD_DIMSE_RESOURCE_LIMITATION
                          : MD_DIMSE_PROCESSING_FAILURE;
    }
    const md_dimse_answer answer = {
        .status = call.status,
        .comment = status == MD_OK && call.comment[0] != '\0' ? call.comment : NULL,
        .sop_instance_uid = call.created_uid[0] != '\0' ? call.created_uid : NULL,
        .dataset = bytes,
        .dataset_bytes = n,
    };
    if (md_dimse_respond(responder, &answer, &err) != MD_OK) {
        status = MD_NETWORK; /* the association's own line says it */
    }
    if (request->field != MD_COMMAND_GET_RQ && request->field != MD_COMMAND_FIND_RQ) {
        md_log(MD_LOG_INFO, "workitem_request",
               MD_LOG_TEXT("operation", operation_name(request->field)),
               MD_LOG_INT("type", request->has_number ? request->number : 0),
               MD_LOG_INT("status", call.status), MD_LOG_TEXT("peer", request->peer_address));
        md_ups_wake(call.ups);
    }
    md_dataset_destroy(call.information);
    md_dataset_destroy(call.answer);
}

md_scp_service md_ups_scp_service(md_ups *ups)
{
    static const md_service_class classes[] = {{MD_UPS_PUSH, false},
                                               {MD_UPS_WATCH, false},
                                               {MD_UPS_PULL, false},
                                               {MD_UPS_QUERY, false}};
    return (md_scp_service){.classes = classes,
                            .n_classes = sizeof classes / sizeof *classes,
                            .on_request = on_request,
                            .context = ups};
}
