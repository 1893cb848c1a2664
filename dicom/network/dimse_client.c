#include "dicom/network/dimse_client.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/session.h"

#include <stdio.h>
#include <string.h>

struct md_dimse_client {
    md_session *session;
    bool is_bad; /* within a message, or the peer is gone */
    md_client_event on_event;
    void *event_context;
    /* the message that came last */
    md_command command;
    uint8_t context_id;
    uint8_t *command_bytes; /* owned, MD_COMMAND_MAX_BYTES */
    uint8_t *dataset;       /* owned */
    size_t dataset_bytes, capacity_bytes;
};

md_status md_dimse_client_open(const md_peer *peer, const md_client_class *classes,
                               size_t n_classes, md_dimse_client **ret_client, md_error *err)
{
    if (n_classes == 0 || n_classes > MD_CLIENT_MAX_CLASSES) {
        return md_fail(err, MD_INVALID_ARG, "%zu SOP classes, not in 1..%d", n_classes,
                       MD_CLIENT_MAX_CLASSES);
    }
    MD_AUTO(md_dimse_client_closep) md_dimse_client *client = md_calloc(1, sizeof *client);
    if (client == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    client->is_bad = true; /* until it is open */
    client->command_bytes = md_malloc(MD_COMMAND_MAX_BYTES);
    if (client->command_bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    MD_TRY(md_session_create(&client->session, err));
    md_associate *own = &client->session->own;
    for (size_t i = 0; i < n_classes; i++) {
        const char *uid = classes[i].sop_class_uid;
        (void)md_session_propose(client->session, uid, MD_UID_EXPLICIT_LITTLE);
        (void)md_session_propose(client->session, uid, MD_UID_IMPLICIT_LITTLE);
        if (classes[i].as_scp && own->n_roles < MD_PDU_MAX_ROLES) {
            md_role *role = &own->roles[own->n_roles++];
            *role = (md_role){.scu = false, .scp = true};
            snprintf(role->sop_class_uid, sizeof role->sop_class_uid, "%s", uid);
        }
    }
    MD_TRY(md_session_open(client->session, peer, err));
    client->is_bad = false;
    *ret_client = MD_STEAL(client);
    return MD_OK;
}

void md_dimse_client_close(md_dimse_client *client)
{
    if (client != NULL) {
        if (client->session != NULL) {
            md_session_close(client->session, !client->is_bad);
        }
        md_free(client->command_bytes);
        md_free(client->dataset);
        md_free(client);
    }
}

/* The context of a class in either syntax. */
static const md_context *find_context(const md_dimse_client *client, const char *uid)
{
    uint8_t result = 0;
    const md_context *context =
        md_session_context(client->session, uid, MD_UID_EXPLICIT_LITTLE, &result);
    if (context == NULL) {
        context = md_session_context(client->session, uid, MD_UID_IMPLICIT_LITTLE, &result);
    }
    return context;
}

md_status md_dimse_client_encoding(const md_dimse_client *client, const char *sop_class_uid,
                                   md_encoding *ret_encoding, md_error *err)
{
    const md_context *context = find_context(client, sop_class_uid);
    if (context == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "the peer does not take SOP class %s",
                       sop_class_uid);
    }
    *ret_encoding = md_transfer_syntax_encoding(context->transfer_syntax);
    return MD_OK;
}

/* The encoding of an own context, by its id; *ret_uid is its class. */
static bool find_own(const md_dimse_client *client, uint8_t id, const char **ret_uid,
                     md_encoding *ret_encoding)
{
    const md_associate *own = &client->session->own;
    for (unsigned i = 0; i < own->n_contexts; i++) {
        if (own->contexts[i].id == id) {
            *ret_uid = own->contexts[i].abstract_syntax;
            *ret_encoding = md_transfer_syntax_encoding(own->contexts[i].transfer_syntax);
            return true;
        }
    }
    return false;
}

static md_status make_room(md_dimse_client *client, size_t n, md_error *err)
{
    if (n > MD_SESSION_MAX_MESSAGE_BYTES - client->dataset_bytes) {
        return md_fail(err, MD_LIMIT, "the peer's dataset is larger than %d bytes",
                       MD_SESSION_MAX_MESSAGE_BYTES);
    }
    size_t needed = client->dataset_bytes + n;
    if (needed > client->capacity_bytes) {
        size_t capacity = needed < MD_SESSION_MAX_MESSAGE_BYTES / 2
                              ? 2 * needed
                              : (size_t)MD_SESSION_MAX_MESSAGE_BYTES;
        uint8_t *grown = md_realloc(client->dataset, capacity);
        if (grown == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the peer's dataset");
        }
        client->dataset = grown;
        client->capacity_bytes = capacity;
    }
    return MD_OK;
}

/* Where a message stands. */
typedef struct progress {
    bool has_begun, have_command, is_done;
    size_t command_bytes;
} progress;

/* One data value of a message; the PDU has pdu_bytes left. */
static md_status read_pdv(md_dimse_client *client, progress *at, uint32_t *pdu_bytes,
                          md_error *err)
{
    md_wire *wire = &client->session->wire;
    uint8_t header[MD_PDV_HEADER_BYTES];
    if (*pdu_bytes < sizeof header || at->is_done) {
        return md_fail(err, MD_NETWORK, "the peer's data PDU has %lu bytes too many",
                       (unsigned long)*pdu_bytes);
    }
    MD_TRY(md_wire_read(wire, header, sizeof header, err));
    *pdu_bytes -= (uint32_t)sizeof header;
    uint32_t length = md_get_be32(header);
    bool is_command = (header[5] & MD_PDV_COMMAND) != 0;
    if (length < 2 || length - 2 > *pdu_bytes || is_command == at->have_command ||
        (at->has_begun && header[4] != client->context_id)) {
        return md_fail(err, MD_NETWORK, "the peer's message is malformed");
    }
    at->has_begun = true;
    client->context_id = header[4];
    size_t n = length - 2;
    *pdu_bytes -= (uint32_t)n;
    if (is_command) {
        if (n > MD_COMMAND_MAX_BYTES - at->command_bytes) {
            return md_fail(err, MD_NETWORK, "the peer's command is larger than %d bytes",
                           MD_COMMAND_MAX_BYTES);
        }
        MD_TRY(md_wire_read(wire, client->command_bytes + at->command_bytes, n, err));
        at->command_bytes += n;
    } else {
        MD_TRY(make_room(client, n, err));
        if (n > 0) {
            MD_TRY(md_wire_read(wire, client->dataset + client->dataset_bytes, n, err));
        }
        client->dataset_bytes += n;
    }
    if ((header[5] & MD_PDV_LAST) == 0) {
        return MD_OK;
    }
    if (!is_command) {
        at->is_done = true;
        return MD_OK;
    }
    md_status status =
        md_command_parse(client->command_bytes, at->command_bytes, &client->command, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "the peer's message");
    }
    at->have_command = true;
    at->is_done = !client->command.has_dataset;
    return MD_OK;
}

/* A whole message into client->command and client->dataset. */
static md_status read_message(md_dimse_client *client, md_error *err)
{
    progress at = {0};
    client->dataset_bytes = 0;
    md_wire_begin(&client->session->wire);
    while (!at.is_done) {
        uint32_t length = 0;
        MD_TRY(md_session_read_data_header(client->session, &length, err));
        while (length > 0) {
            MD_TRY(read_pdv(client, &at, &length, err));
        }
    }
    return MD_OK;
}

/* The peer asks something of us: answer. */
static md_status answer_request(md_dimse_client *client, md_error *err)
{
    const char *uid = NULL;
    md_encoding encoding = MD_ENCODING_IMPLICIT_LITTLE;
    const md_command *command = &client->command;
    if ((command->field & MD_COMMAND_RESPONSE) != 0 ||
        !find_own(client, client->context_id, &uid, &encoding)) {
        return md_fail(err, MD_NETWORK, "the peer sent a message that nobody awaits");
    }
    const md_dimse_request request = {
        .field = command->field,
        .message_id = command->message_id,
        .abstract_syntax = uid,
        .sop_class_uid = command->sop_class_uid,
        .sop_instance_uid = command->sop_instance_uid,
        .has_number = command->has_number,
        .number = command->number,
        .has_dataset = command->has_dataset,
        .dataset = command->has_dataset ? client->dataset : NULL,
        .dataset_bytes = client->dataset_bytes,
        .encoding = encoding,
        .peer_is_scp = true,
        .calling_ae = "",
        .called_ae = "",
        .peer_address = "",
    };
    md_command response = *command;
    response.field |= MD_COMMAND_RESPONSE;
    response.dataset_type = MD_COMMAND_NO_DATASET;
    response.comment[0] = '\0';
    response.status = MD_DIMSE_UNRECOGNISED_OPERATION;
    if (command->field == MD_COMMAND_EVENT_REPORT_RQ && client->on_event != NULL) {
        response.status = client->on_event(client->event_context, &request);
    }
    return md_session_write_command(client->session, client->context_id, &response, err);
}

static md_status send_call(md_dimse_client *client, const md_context *context,
                           const md_dimse_call *call, md_command *ret_request, md_error *err)
{
    uint8_t attributes[4 * MD_COMMAND_MAX_ATTRIBUTES];
    md_command request = {.field = call->field,
                          .message_id = ++client->session->message_id,
                          .dataset_type = call->dataset != NULL ? 0 : MD_COMMAND_NO_DATASET,
                          .has_number = call->has_number,
                          .number = call->number,
                          .attributes = attributes,
                          .n_attributes = call->n_attributes};
    snprintf(request.sop_class_uid, sizeof request.sop_class_uid, "%s",
             call->sop_class_uid != NULL ? call->sop_class_uid : call->abstract_syntax);
    snprintf(request.sop_instance_uid, sizeof request.sop_instance_uid, "%s",
             call->sop_instance_uid != NULL ? call->sop_instance_uid : "");
    for (size_t i = 0; i < call->n_attributes; i++) {
        md_put_le16(attributes + 4 * i, (uint16_t)(call->attributes[i] >> 16));
        md_put_le16(attributes + 4 * i + 2, (uint16_t)call->attributes[i]);
    }
    *ret_request = request;
    ret_request->attributes = NULL;
    ret_request->n_attributes = 0;
    MD_TRY(md_session_write_command(client->session, context->id, &request, err));
    if (call->dataset == NULL) {
        return MD_OK;
    }
    return md_session_write_dataset(client->session, context->id, call->dataset,
                                    call->dataset_bytes, err);
}

static md_status cancel(md_dimse_client *client, uint8_t context_id, const md_command *request,
                        md_error *err)
{
    const md_command cancel = {.field = MD_COMMAND_CANCEL_RQ,
                               .message_id = request->message_id,
                               .dataset_type = MD_COMMAND_NO_DATASET};
    return md_session_write_command(client->session, context_id, &cancel, err);
}

/* Read until the response to `request` that is in client->command. */
static md_status read_reply(md_dimse_client *client, const md_context *context,
                            const md_command *request, md_dimse_reply *ret_reply, md_error *err)
{
    for (;;) {
        MD_TRY(read_message(client, err));
        if ((client->command.field & MD_COMMAND_RESPONSE) != 0) {
            break;
        }
        MD_TRY(answer_request(client, err));
    }
    const md_command *response = &client->command;
    if (response->field != (request->field | MD_COMMAND_RESPONSE) ||
        response->message_id != request->message_id || client->context_id != context->id) {
        return md_fail(err, MD_NETWORK, "the peer's response is not to our request");
    }
    *ret_reply = (md_dimse_reply){
        .status = response->status,
        .dataset = response->has_dataset && client->dataset_bytes > 0 ? client->dataset : NULL,
        .dataset_bytes = client->dataset_bytes,
        .encoding = md_transfer_syntax_encoding(context->transfer_syntax),
    };
    memcpy(ret_reply->sop_instance_uid, response->sop_instance_uid, MD_UID_BYTES);
    memcpy(ret_reply->comment, response->comment, sizeof ret_reply->comment);
    return MD_OK;
}

md_status md_dimse_client_call(md_dimse_client *client, const md_dimse_call *call,
                               bool (*on_pending)(void *context, const md_dimse_reply *reply),
                               void *pending_context, md_dimse_reply *ret_reply, md_error *err)
{
    if (client->is_bad || call->n_attributes > MD_COMMAND_MAX_ATTRIBUTES) {
        return md_fail(err, MD_INVALID_ARG,
                       client->is_bad ? "the association has failed before"
                                      : "too many attributes");
    }
    const md_context *context = find_context(client, call->abstract_syntax);
    if (context == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "the peer does not take SOP class %s",
                       call->abstract_syntax);
    }
    md_command request;
    md_dimse_reply reply;
    bool is_cancelled = false;
    client->is_bad = true;
    MD_TRY(send_call(client, context, call, &request, err));
    for (;;) {
        MD_TRY(read_reply(client, context, &request, &reply, err));
        if (reply.status != MD_DIMSE_PENDING && reply.status != MD_DIMSE_PENDING_UNMATCHED) {
            break;
        }
        if (!is_cancelled && on_pending != NULL && !on_pending(pending_context, &reply)) {
            is_cancelled = true;
            MD_TRY(cancel(client, context->id, &request, err));
        }
    }
    client->is_bad = false;
    *ret_reply = reply;
    return MD_OK;
}

void md_dimse_client_on_event(md_dimse_client *client, md_client_event on_event, void *context)
{
    client->on_event = on_event;
    client->event_context = context;
}

md_status md_dimse_client_wait_event(md_dimse_client *client, unsigned timeout_ms,
                                     md_error *err)
{
    if (client->is_bad) {
        return md_fail(err, MD_INVALID_ARG, "the association has failed before");
    }
    int64_t until_us = md_clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    MD_TRY(md_wire_wait(&client->session->wire, until_us, -1, err));
    client->is_bad = true;
    MD_TRY(read_message(client, err));
    MD_TRY(answer_request(client, err));
    client->is_bad = false;
    return MD_OK;
}
