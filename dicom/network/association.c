#include "dicom/network/association.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/incoming.h"
#include "dicom/network/pdu.h"
#include "dicom/network/sop.h"

#include <stdio.h>
#include <string.h>

enum {
    LINGER_MS = 2000,
    STOP_PATIENCE_US = 1000000,
    MIN_PEER_PDU_BYTES = 32, /* below, a command would be cut into crumbs: nobody means that */
};

/* A request to a service, from its command to its last response. */
typedef struct service_call {
    const md_scp_service *service; /* NULL: none */
    bool is_ready;                 /* all of it is there */
    bool is_running;               /* the service has it */
    bool is_too_large, is_cancelled, is_answered;
    uint8_t context_id;
    md_command command;
    uint8_t *command_bytes; /* owned: what command.attributes points into */
    uint8_t *dataset;       /* owned */
    size_t dataset_bytes, capacity_bytes;
    md_status status; /* not MD_OK: the peer is gone or out of order, see why */
    md_error why;
} service_call;

typedef struct association {
    const md_association_setup *setup;
    const md_scp_options *options;
    md_wire *wire;
    md_associate *peer; /* owned */
    md_abort abort;     /* what to say to the peer when a step below fails */
    bool released;      /* the peer has ended it properly */
    uint32_t pdu_left_bytes;
    bool in_message;        /* fragments of a message have come and its end has not */
    uint8_t *command_bytes; /* owned, MD_COMMAND_MAX_BYTES */
    size_t command_size_bytes;
    uint8_t context_id; /* of the message */
    bool have_command;  /* the command is complete, its dataset is awaited */
    md_command command;
    bool storing; /* the dataset goes to `incoming`; else to the service or thrown away */
    md_incoming incoming;
    service_call call;
    uint64_t discarded_bytes;
    unsigned n_stored, n_refused, n_echoes, n_requests;
} association;

static void tell(const association *now, const char *event, const char *detail)
{
    if (now->options->on_event != NULL) {
        now->options->on_event(now->options->context, event, now->setup->peer_address, detail);
    }
}

/* Fail with what the A-ABORT will say. */
#define fail_abort(now, abort_code, err, ...)                                                  \
    ((now)->abort = (abort_code), md_fail((err), MD_FORMAT, __VA_ARGS__))

static const char unknown_operation[] =
    "status 0x0211: an operation that its presentation context does not have";

static md_status respond(association *now, uint16_t dimse_status, md_error *err)
{
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    md_command response = now->command;
    response.field = now->command.field | MD_COMMAND_RESPONSE;
    response.dataset_type = MD_COMMAND_NO_DATASET;
    response.status = dimse_status;
    size_t n = md_command_write(&response, bytes);
    return md_wire_write_command(now->wire, now->context_id, bytes, n, now->peer->max_pdu_bytes,
                                 err);
}

static const md_context *find_context(const association *now, uint8_t id)
{
    for (unsigned i = 0; i < now->peer->n_contexts; i++) {
        const md_context *context = &now->peer->contexts[i];
        if (context->id == id && context->result == MD_CONTEXT_ACCEPTED) {
            return context;
        }
    }
    return NULL;
}

/* NULL: not one of the further titles. */
static const md_scp_title *find_title(const md_scp_options *options, const char *called_ae)
{
    for (unsigned i = 0; i < options->n_titles; i++) {
        if (strcmp(options->titles[i].ae_title, called_ae) == 0) {
            return &options->titles[i];
        }
    }
    return NULL;
}

static void begin_store(association *now, const md_context *context)
{
    md_incoming *incoming = &now->incoming;
    const md_incoming_place place = {
        .folder = now->options->spool_folder,
        .make_file = now->options->make_file,
        .context = now->options->context,
    };
    md_incoming_begin(incoming, now->setup->buffers, &place, &now->command,
                      context->transfer_syntax, now->peer->calling_ae,
                      now->options->content_key, now->options->max_object_bytes);
    incoming->wanted = &now->options->wanted;
    now->storing = true;
    md_wire_read_ahead(now->wire, incoming->buffer == NULL);
    if (strcmp(now->command.sop_class_uid, context->abstract_syntax) != 0 &&
        incoming->fd >= 0) {
        md_error why = {0};
        (void)md_fail(&why, MD_FORMAT,
                      "the command's SOP class is not that of its presentation context");
        md_incoming_refuse(incoming, MD_DIMSE_CLASS_NOT_SUPPORTED, &why);
    }
}

/* The object is complete: check, hand over, answer. */
static md_status end_store(association *now, const md_context *context, md_error *err)
{
    md_identity identity;
    uint16_t dimse_status = md_incoming_finish(&now->incoming, &now->command, &identity);
    now->storing = false;
    md_wire_read_ahead(now->wire, true);
    if (dimse_status == MD_DIMSE_SUCCESS) {
        const md_scp_object object = {
            .sop_class_uid = now->command.sop_class_uid,
            .sop_instance_uid = now->command.sop_instance_uid,
            .transfer_syntax_uid = context->transfer_syntax,
            .calling_ae = now->peer->calling_ae,
            .called_ae = now->peer->called_ae,
            .peer_address = now->setup->peer_address,
            .path = now->incoming.path,
            .fd = now->incoming.fd,
            .file_number = now->incoming.file_number,
            .dataset_offset_bytes = now->incoming.dataset_offset_bytes,
            .content_tag = now->incoming.content_tag,
            .study_instance_uid = identity.study_instance_uid,
            .series_instance_uid = identity.series_instance_uid,
            .own_ae = find_title(now->options, now->peer->called_ae) != NULL
                          ? now->peer->called_ae
                          : now->options->ae_title,
            .identity = &identity,
            .wanted = &now->options->wanted,
            .patient_id = identity.patient_id,
        };
        dimse_status = now->options->on_object(now->options->context, &object);
        md_incoming_leave(&now->incoming);
        /* the callback may have waited for the disk: that is not the peer's time */
        md_wire_begin(now->wire);
    } else {
        char detail[MD_ERROR_MSG_BYTES + 32];
        snprintf(detail, sizeof detail, "status 0x%04x: %s", (unsigned)dimse_status,
                 now->incoming.why.msg);
        tell(now, "object_refused", detail);
    }
    bool is_stored = dimse_status == MD_DIMSE_SUCCESS || (dimse_status & 0xf000) == 0xb000;
    *(is_stored ? &now->n_stored : &now->n_refused) += 1;
    return respond(now, dimse_status, err);
}

static const md_service_class *find_class(const md_scp_service *service, const char *uid)
{
    for (size_t i = 0; i < service->n_classes; i++) {
        if (strcmp(service->classes[i].sop_class_uid, uid) == 0) {
            return &service->classes[i];
        }
    }
    return NULL;
}

static const md_scp_service *find_service(const md_scp_options *options, const char *uid)
{
    for (size_t i = 0; i < options->n_services; i++) {
        if (find_class(&options->services[i], uid) != NULL) {
            return &options->services[i];
        }
    }
    return NULL;
}

static bool is_service_field(uint16_t field)
{
    return field == MD_COMMAND_EVENT_REPORT_RQ || field == MD_COMMAND_GET_RQ ||
           field == MD_COMMAND_SET_RQ || field == MD_COMMAND_ACTION_RQ ||
           field == MD_COMMAND_CREATE_RQ || field == MD_COMMAND_FIND_RQ;
}

static void clear_call(service_call *call)
{
    md_free(call->command_bytes);
    md_free(call->dataset);
    memset(call, 0, sizeof *call);
}

/* now->command is for a service: keep it, and the bytes that it points into. */
static md_status begin_call(association *now, const md_scp_service *service, md_error *err)
{
    service_call *call = &now->call;
    call->command_bytes = md_malloc(now->command_size_bytes);
    if (call->command_bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a request");
    }
    memcpy(call->command_bytes, now->command_bytes, now->command_size_bytes);
    MD_TRY(md_command_parse(call->command_bytes, now->command_size_bytes, &call->command, err));
    call->service = service;
    call->context_id = now->context_id;
    call->is_ready = !call->command.has_dataset;
    return MD_OK;
}

/* Bytes of the dataset; false: they are not kept any more. */
static bool add_to_call(service_call *call, const uint8_t *bytes, size_t n)
{
    if (n > MD_SERVICE_MAX_DATASET_BYTES - call->dataset_bytes) {
        call->is_too_large = true;
    }
    size_t needed = call->dataset_bytes + n;
    if (!call->is_too_large && needed > call->capacity_bytes) {
        size_t capacity = needed < MD_SERVICE_MAX_DATASET_BYTES / 2
                              ? 2 * needed
                              : (size_t)MD_SERVICE_MAX_DATASET_BYTES;
        uint8_t *grown = md_realloc(call->dataset, capacity);
        call->is_too_large = grown == NULL;
        call->dataset = grown != NULL ? grown : call->dataset;
        call->capacity_bytes = grown != NULL ? capacity : call->capacity_bytes;
    }
    if (call->is_too_large) {
        return false;
    }
    memcpy(call->dataset + call->dataset_bytes, bytes, n);
    call->dataset_bytes += n;
    return true;
}

/* A command set is complete. */
static md_status take_command(association *now, const md_context *context, md_error *err)
{
    now->abort = MD_ABORT_USER;
    MD_TRY(md_command_parse(now->command_bytes, now->command_size_bytes, &now->command, err));
    if (now->command.field == MD_COMMAND_CANCEL_RQ) {
        /* for a request that is answered already it comes too late, which is no fault */
        if (now->call.service != NULL &&
            now->command.message_id == now->call.command.message_id) {
            now->call.is_cancelled = true;
        }
        if (now->command.has_dataset) {
            return fail_abort(now, MD_ABORT_USER, err, "a C-CANCEL with a dataset");
        }
        return MD_OK;
    }
    if (now->call.service != NULL) {
        return fail_abort(now, MD_ABORT_USER, err,
                          "a request before the last one was answered");
    }
    if ((now->command.field & MD_COMMAND_RESPONSE) != 0) {
        return fail_abort(now, MD_ABORT_USER, err, "the peer sent a response to no request");
    }
    const md_scp_service *service = find_service(now->options, context->abstract_syntax);
    if (service != NULL && is_service_field(now->command.field)) {
        now->have_command = now->command.has_dataset;
        now->discarded_bytes = 0;
        return begin_call(now, service, err);
    }
    if (now->command.has_dataset) {
        now->have_command = true;
        now->discarded_bytes = 0;
        if (now->command.field == MD_COMMAND_STORE_RQ && service == NULL) {
            begin_store(now, context);
        }
        return MD_OK;
    }
    if (now->command.field == MD_COMMAND_ECHO_RQ) {
        now->n_echoes++;
        return respond(now, MD_DIMSE_SUCCESS, err);
    }
    bool is_store = now->command.field == MD_COMMAND_STORE_RQ && service == NULL;
    tell(now, "object_refused",
         is_store ? "status 0x0212: a C-STORE request without a dataset" : unknown_operation);
    now->n_refused++;
    return respond(now, is_store ? MD_DIMSE_MISTYPED : MD_DIMSE_UNRECOGNISED_OPERATION, err);
}

/* The last fragment of the dataset has come. */
static md_status take_dataset(association *now, const md_context *context, md_error *err)
{
    now->have_command = false;
    if (now->call.service != NULL) {
        now->call.is_ready = true;
        return MD_OK;
    }
    if (now->storing) {
        return end_store(now, context, err);
    }
    tell(now, "object_refused", unknown_operation);
    now->n_refused++;
    return respond(now, MD_DIMSE_UNRECOGNISED_OPERATION, err);
}

static md_status add_fragment(association *now, bool is_command, const uint8_t *bytes, size_t n,
                              md_error *err)
{
    if (is_command) {
        if (n > MD_COMMAND_MAX_BYTES - now->command_size_bytes) {
            return fail_abort(now, MD_ABORT_USER, err, "a command set of more than %d bytes",
                              MD_COMMAND_MAX_BYTES);
        }
        memcpy(now->command_bytes + now->command_size_bytes, bytes, n);
        now->command_size_bytes += n;
        return MD_OK;
    }
    if (now->storing) {
        md_incoming_add(&now->incoming, bytes, n);
    }
    if (now->call.service != NULL && add_to_call(&now->call, bytes, n)) {
        return MD_OK;
    }
    if (!now->storing || now->incoming.fd < 0) {
        /* a refused object is read to its end so that the association lives on, within reason
         */
        now->discarded_bytes += n;
        if (now->discarded_bytes > now->options->max_object_bytes) {
            return fail_abort(now, MD_ABORT_USER, err,
                              "a refused object goes on for more than %llu bytes",
                              (unsigned long long)now->options->max_object_bytes);
        }
    }
    return MD_OK;
}

/* One presentation data value, PS3.8 9.3.5.1; its first byte is the next in the PDU. */
static md_status take_pdv(association *now, md_error *err)
{
    uint8_t header[MD_PDV_HEADER_BYTES];
    if (now->pdu_left_bytes < sizeof header) {
        return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                          "%lu bytes at the end of a data PDU",
                          (unsigned long)now->pdu_left_bytes);
    }
    MD_TRY(md_wire_read(now->wire, header, sizeof header, err));
    now->pdu_left_bytes -= (uint32_t)sizeof header;
    uint32_t length = md_get_be32(header);
    if (length < 2 || length - 2 > now->pdu_left_bytes) {
        return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                          "a data value claims %lu bytes, its PDU has %lu",
                          (unsigned long)length, (unsigned long)now->pdu_left_bytes + 2);
    }
    bool is_command = (header[5] & MD_PDV_COMMAND) != 0;
    bool is_last = (header[5] & MD_PDV_LAST) != 0;
    const md_context *context = find_context(now, header[4]);
    if (context == NULL) {
        return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                          "data for presentation context %u, which is not accepted",
                          (unsigned)header[4]);
    }
    if (now->in_message && header[4] != now->context_id) {
        return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                          "a message changes its presentation context");
    }
    if (is_command == now->have_command) {
        return fail_abort(now, MD_ABORT_UNEXPECTED_PDU, err, "%s",
                          is_command ? "a command where a dataset must come"
                                     : "a dataset without a command");
    }
    now->in_message = true;
    now->context_id = header[4];
    for (uint32_t left = length - 2; left > 0;) {
        const uint8_t *bytes = NULL;
        uint8_t *to = NULL;
        size_t n = left;
        if (!is_command && now->storing && md_incoming_room(&now->incoming, &to, &n)) {
            MD_TRY(md_wire_take_into(now->wire, to, n < left ? n : left, &n, err));
            md_incoming_advance(&now->incoming, n);
        } else {
            MD_TRY(md_wire_take(now->wire, left, &bytes, &n, err));
            MD_TRY(add_fragment(now, is_command, bytes, n, err));
        }
        left -= (uint32_t)n;
        now->pdu_left_bytes -= (uint32_t)n;
    }
    if (!is_last) {
        return MD_OK;
    }
    md_status status =
        is_command ? take_command(now, context, err) : take_dataset(now, context, err);
    if (is_command) {
        now->command_size_bytes = 0;
    }
    now->in_message = now->have_command;
    return status;
}

static md_status take_data_pdu(association *now, md_error *err)
{
    while (now->pdu_left_bytes > 0) {
        MD_TRY(take_pdv(now, err));
    }
    return MD_OK;
}

/* Between two messages: wait for the next byte, but not for ever and less when stopping. */
static md_status wait_for_message(association *now, md_error *err)
{
    md_wire *wire = now->wire;
    md_status status = md_wire_wait(wire, md_clock_monotonic_us() + wire->timeout_us,
                                    now->setup->stop_fd, err);
    if (status == MD_CANCELLED) {
        status = md_wire_wait(wire, md_clock_monotonic_us() + STOP_PATIENCE_US, -1, err);
        if (status == MD_TIMEOUT) {
            return md_fail(err, MD_CANCELLED, "medaid is stopping");
        }
    }
    md_wire_begin(wire);
    return status;
}

static md_status take_pdu(association *now, md_error *err);

struct md_dimse_responder {
    association *now;
};

md_status md_dimse_respond(md_dimse_responder *responder, const md_dimse_answer *answer,
                           md_error *err)
{
    association *now = responder->now;
    service_call *call = &now->call;
    if (call->status != MD_OK) {
        return md_fail(err, call->status, "%s", call->why.msg);
    }
    if (call->is_answered) {
        return md_fail(err, MD_INVALID_ARG, "the request has its last response already");
    }
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    bool has_dataset = answer->dataset != NULL;
    md_command response = call->command;
    response.field = call->command.field | MD_COMMAND_RESPONSE;
    response.dataset_type = has_dataset ? 0 : MD_COMMAND_NO_DATASET;
    response.status = answer->status;
    if (answer->sop_instance_uid != NULL) {
        snprintf(response.sop_instance_uid, sizeof response.sop_instance_uid, "%s",
                 answer->sop_instance_uid);
    }
    snprintf(response.comment, sizeof response.comment, "%s",
             answer->comment != NULL ? answer->comment : "");
    call->is_answered =
        answer->status != MD_DIMSE_PENDING && answer->status != MD_DIMSE_PENDING_UNMATCHED;
    md_wire_begin(now->wire);
    call->status = md_wire_write_command(now->wire, call->context_id, bytes,
                                         md_command_write(&response, bytes),
                                         now->peer->max_pdu_bytes, &call->why);
    if (call->status == MD_OK && has_dataset) {
        call->status =
            md_wire_write_dataset(now->wire, call->context_id, answer->dataset,
                                  answer->dataset_bytes, now->peer->max_pdu_bytes, &call->why);
    }
    return call->status == MD_OK ? MD_OK : md_fail(err, call->status, "%s", call->why.msg);
}

bool md_dimse_is_cancelled(md_dimse_responder *responder)
{
    association *now = responder->now;
    service_call *call = &now->call;
    while (call->status == MD_OK && !call->is_cancelled && !now->released &&
           md_wire_wait(now->wire, 0, -1, NULL) == MD_OK) {
        call->status = take_pdu(now, &call->why);
    }
    return call->status != MD_OK || call->is_cancelled || now->released;
}

/* Have the service answer the request that is complete. */
static md_status serve_call(association *now, md_error *err)
{
    service_call *call = &now->call;
    const md_context *context = find_context(now, call->context_id);
    const md_command *command = &call->command;
    md_dimse_responder responder = {now};
    bool peer_is_scp = false;
    for (unsigned i = 0; i < now->peer->n_roles; i++) {
        const md_role *role = &now->peer->roles[i];
        peer_is_scp |= role->scp && strcmp(role->sop_class_uid, context->abstract_syntax) == 0;
    }
    const md_dimse_request request = {
        .field = command->field,
        .message_id = command->message_id,
        .abstract_syntax = context->abstract_syntax,
        .sop_class_uid = command->sop_class_uid,
        .sop_instance_uid = command->sop_instance_uid,
        .has_number = command->has_number,
        .number = command->number,
        .attributes = command->attributes,
        .n_attributes = command->n_attributes,
        .has_dataset = command->has_dataset,
        .dataset = call->dataset,
        .dataset_bytes = call->dataset_bytes,
        .encoding = md_transfer_syntax_encoding(context->transfer_syntax),
        .peer_is_scp = peer_is_scp,
        .calling_ae = now->peer->calling_ae,
        .called_ae = now->peer->called_ae,
        .peer_address = now->setup->peer_address,
    };
    call->is_running = true;
    now->n_requests++;
    if (!call->is_too_large) {
        call->service->on_request(call->service->context, &request, &responder);
    }
    if (call->status == MD_OK && !call->is_answered) {
        const md_dimse_answer answer = {.status = call->is_too_large
                                                      ? MD_DIMSE_RESOURCE_LIMITATION
                                                      : MD_DIMSE_PROCESSING_FAILURE};
        (void)!md_dimse_respond(&responder, &answer, NULL);
    }
    /* the service may have waited for the disk: that is not the peer's time */
    md_wire_begin(now->wire);
    md_status status = call->status;
    if (status != MD_OK) {
        status = md_fail(err, status, "%s", call->why.msg);
    }
    clear_call(call);
    return status;
}

/* One PDU of the established association. */
static md_status take_pdu(association *now, md_error *err)
{
    uint8_t header[MD_PDU_HEADER_BYTES];
    uint8_t rest[MD_PDU_SHORT_BYTES - MD_PDU_HEADER_BYTES];
    if (!now->in_message) {
        MD_TRY(wait_for_message(now, err));
    }
    MD_TRY(md_wire_read(now->wire, header, sizeof header, err));
    uint32_t length = md_get_be32(header + 2);
    switch (header[0]) {
    case MD_PDU_DATA:
        if (length > now->options->max_pdu_bytes) {
            return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                              "a data PDU claims %lu bytes, %u were agreed",
                              (unsigned long)length, now->options->max_pdu_bytes);
        }
        if (length < MD_PDV_HEADER_BYTES) {
            return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err, "a data PDU of %lu bytes",
                              (unsigned long)length);
        }
        now->pdu_left_bytes = length;
        MD_TRY(take_data_pdu(now, err));
        /* within a call, this was a C-CANCEL */
        return now->call.is_ready && !now->call.is_running ? serve_call(now, err) : MD_OK;
    case MD_PDU_RELEASE_RQ:
    case MD_PDU_ABORT:
        if (length != sizeof rest) {
            return fail_abort(now, MD_ABORT_INVALID_PARAMETER, err,
                              "a release or abort PDU of %lu bytes", (unsigned long)length);
        }
        MD_TRY(md_wire_read(now->wire, rest, sizeof rest, err));
        now->released = true;
        if (header[0] == MD_PDU_ABORT) {
            return md_fail(err, MD_NETWORK, "the peer aborted (source %u, reason %u)",
                           (unsigned)rest[2], (unsigned)rest[3]);
        }
        if (now->in_message) {
            return md_fail(err, MD_NETWORK, "the peer released in the middle of a message");
        }
        return MD_OK;
    case MD_PDU_ASSOCIATE_RQ:
    case MD_PDU_ASSOCIATE_AC:
    case MD_PDU_ASSOCIATE_RJ:
    case MD_PDU_RELEASE_RP:
        return fail_abort(now, MD_ABORT_UNEXPECTED_PDU, err,
                          "PDU type %u within an association", (unsigned)header[0]);
    default:
        return fail_abort(now, MD_ABORT_UNRECOGNISED_PDU, err, "PDU type 0x%02x is unknown",
                          (unsigned)header[0]);
    }
}

static uint8_t judge(const void *judge_context, const char *abstract_syntax,
                     const char *transfer_syntax)
{
    if (find_service(judge_context, abstract_syntax) == NULL) {
        return md_sop_judge(abstract_syntax, transfer_syntax);
    }
    bool is_plain = strcmp(transfer_syntax, MD_UID_IMPLICIT_LITTLE) == 0 ||
                    strcmp(transfer_syntax, MD_UID_EXPLICIT_LITTLE) == 0;
    return is_plain ? MD_CONTEXT_ACCEPTED : MD_CONTEXT_TRANSFER_REFUSED;
}

/* Keep of the proposed roles those of services, as far as they go; what is not answered has the
 * default roles. */
static void settle_roles(association *now)
{
    unsigned n = 0;
    for (unsigned i = 0; i < now->peer->n_roles; i++) {
        md_role role = now->peer->roles[i];
        const md_scp_service *service = find_service(now->options, role.sop_class_uid);
        if (service != NULL) {
            const md_service_class *class = find_class(service, role.sop_class_uid);
            role.scp = role.scp && class != NULL && class->peer_may_be_scp;
            now->peer->roles[n++] = role;
        }
    }
    now->peer->n_roles = n;
}

/* Answer the request; *ret_established is false when it was refused properly. */
static md_status negotiate(association *now, bool *ret_established, md_error *err)
{
    md_reject reject = MD_REJECT_NONE;
    const md_association_setup *setup = now->setup;
    now->abort = MD_ABORT_INVALID_PARAMETER;
    MD_TRY(md_pdu_parse_request(setup->request, setup->request_bytes, judge, now->options,
                                now->peer, &reject, err));
    if (now->peer->max_pdu_bytes != 0 && now->peer->max_pdu_bytes < MIN_PEER_PDU_BYTES) {
        return md_fail(err, MD_FORMAT, "the peer takes PDUs of %lu bytes only",
                       (unsigned long)now->peer->max_pdu_bytes);
    }
    const md_scp_title *title = find_title(now->options, now->peer->called_ae);
    if (reject == MD_REJECT_NONE && now->options->check_called_ae && title == NULL &&
        strcmp(now->peer->called_ae, now->options->ae_title) != 0) {
        reject = MD_REJECT_CALLED_AE;
    }
    bool has_own_callers = title != NULL && title->n_allowed_callers > 0;
    const char *refusal = md_callers_refusal(
        has_own_callers ? title->allowed_callers : now->options->allowed_callers,
        has_own_callers ? title->n_allowed_callers : now->options->n_allowed_callers,
        now->peer->calling_ae, setup->peer_address);
    if (reject == MD_REJECT_NONE && refusal != NULL) {
        reject = MD_REJECT_CALLING_AE;
    }
    *ret_established = reject == MD_REJECT_NONE;
    if (reject != MD_REJECT_NONE) {
        uint8_t bytes[MD_PDU_SHORT_BYTES];
        md_pdu_write_reject(reject, bytes);
        bool is_caller = reject == MD_REJECT_CALLING_AE || reject == MD_REJECT_CALLED_AE;
        tell(now, is_caller ? "caller_rejected" : "association_rejected",
             reject == MD_REJECT_CALLING_AE  ? refusal
             : reject == MD_REJECT_CALLED_AE ? "called AE title not recognised"
             : reject == MD_REJECT_APPLICATION_CONTEXT
                 ? "application context name not supported"
                 : "protocol version not supported");
        return md_wire_write(now->wire, bytes, sizeof bytes, err);
    }
    enum {
        ACCEPT_BYTES = 16 * 1024 /* 128 contexts of 76 bytes, 32 roles of 72, and the rest */
    };
    uint8_t *accept = md_malloc(ACCEPT_BYTES);
    if (accept == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    settle_roles(now);
    size_t n = md_pdu_write_accept(now->peer, now->options->max_pdu_bytes, setup->request,
                                   accept, ACCEPT_BYTES);
    md_status status = md_wire_write(now->wire, accept, n, err);
    md_free(accept);
    return status;
}

static md_status run(association *now, bool *ret_established, md_error *err)
{
    now->peer = md_malloc(sizeof *now->peer);
    now->command_bytes = md_malloc(MD_COMMAND_MAX_BYTES);
    if (now->peer == NULL || now->command_bytes == NULL) {
        now->abort = MD_ABORT_UNSPECIFIED;
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    MD_TRY(negotiate(now, ret_established, err));
    if (!*ret_established) {
        return MD_OK;
    }
    now->abort = MD_ABORT_USER;
    while (!now->released) {
        MD_TRY(take_pdu(now, err));
    }
    uint8_t bytes[MD_PDU_SHORT_BYTES];
    md_pdu_write_release(MD_PDU_RELEASE_RP, bytes);
    return md_wire_write(now->wire, bytes, sizeof bytes, err);
}

void md_association_serve(const md_association_setup *setup, md_wire *wire)
{
    association now;
    memset(&now, 0, sizeof now);
    now.setup = setup;
    now.options = setup->options;
    now.wire = wire;
    now.incoming.fd = -1;
    bool established = false;
    md_error err = {0};
    md_status status = run(&now, &established, &err);
    md_incoming_drop(&now.incoming);
    if (status != MD_OK && !now.released && status != MD_NETWORK) {
        uint8_t bytes[MD_PDU_SHORT_BYTES];
        md_pdu_write_abort(now.abort, bytes);
        wire->timeout_us = 0; /* a peer that takes nothing is not waited for */
        md_wire_begin(wire);
        (void)!md_wire_write(wire, bytes, sizeof bytes, NULL);
    }
    if (status != MD_OK) {
        tell(&now, "association_aborted", err.msg);
    }
    if (established) {
        char detail[96];
        snprintf(detail, sizeof detail,
                 "%u objects stored, %u refused, %u echoes, %u other requests", now.n_stored,
                 now.n_refused, now.n_echoes, now.n_requests);
        tell(&now, "association_done", detail);
    }
    clear_call(&now.call);
    md_free(now.peer);
    md_free(now.command_bytes);
    md_wire_linger(wire, LINGER_MS);
}
