#include "dicom/network/session.h"

#include "dicom/network/bytes.h"
#include "dicom/network/sop.h"

#include <stdio.h>
#include <string.h>

enum {
    REQUEST_BYTES = 64 * 1024, /* 128 contexts of at most 144 bytes, and the rest */
    LINGER_MS = 1000,
    MAX_TIMEOUT_S = 3600,
    MIN_PEER_PDU_BYTES = 32,
};

static md_status read_header(md_session *now, uint8_t *ret_type, uint32_t *ret_length,
                             md_error *err)
{
    uint8_t header[MD_PDU_HEADER_BYTES];
    MD_TRY(md_wire_read(&now->wire, header, sizeof header, err));
    *ret_type = header[0];
    *ret_length = md_get_be32(header + 2);
    return MD_OK;
}

/* An A-ASSOCIATE-RJ or A-ABORT instead of what was hoped for. */
static md_status read_refusal(md_session *now, uint8_t type, uint32_t length, md_error *err)
{
    uint8_t rest[MD_PDU_SHORT_BYTES - MD_PDU_HEADER_BYTES];
    bool is_refusal = type == MD_PDU_ASSOCIATE_RJ || type == MD_PDU_ABORT;
    if (!is_refusal || length != sizeof rest) {
        return md_fail(err, MD_NETWORK, "the peer answers with PDU type 0x%02x of %lu bytes",
                       (unsigned)type, (unsigned long)length);
    }
    MD_TRY(md_wire_read(&now->wire, rest, sizeof rest, err));
    if (type == MD_PDU_ABORT) {
        return md_fail(err, MD_NETWORK, "the peer aborted (source %u, reason %u)",
                       (unsigned)rest[2], (unsigned)rest[3]);
    }
    const char *why = "";
    switch ((md_reject)((unsigned)rest[1] << 16 | (unsigned)rest[2] << 8 | rest[3])) {
    case MD_REJECT_CALLED_AE:
        why = ": it does not know the AE title that we call";
        break;
    case MD_REJECT_LOCAL_LIMIT:
        why = ": it has too many associations";
        break;
    case MD_REJECT_CALLING_AE:
        why = ": it does not know our AE title";
        break;
    case MD_REJECT_APPLICATION_CONTEXT:
    case MD_REJECT_PROTOCOL_VERSION:
    case MD_REJECT_NONE:
    default:
        break;
    }
    return md_fail(err, rest[1] == 2 ? MD_BUSY : MD_NETWORK,
                   "the peer rejects the association (result %u, source %u, reason %u)%s",
                   (unsigned)rest[1], (unsigned)rest[2], (unsigned)rest[3], why);
}

static md_status open_association(md_session *now, md_error *err)
{
    uint8_t type = 0;
    uint32_t length = 0;
    size_t n = md_pdu_write_request(&now->own, now->buffer, REQUEST_BYTES);
    md_wire_begin(&now->wire);
    MD_TRY(md_wire_write(&now->wire, now->buffer, n, err));
    MD_TRY(read_header(now, &type, &length, err));
    if (type != MD_PDU_ASSOCIATE_AC) {
        return read_refusal(now, type, length, err);
    }
    if (length > sizeof now->buffer) {
        return md_fail(err, MD_NETWORK, "an association answer that claims %lu bytes",
                       (unsigned long)length);
    }
    MD_TRY(md_wire_read(&now->wire, now->buffer, length, err));
    MD_TRY(md_pdu_parse_accept(now->buffer, length, &now->peer, err));
    if (now->peer.max_pdu_bytes != 0 && now->peer.max_pdu_bytes < MIN_PEER_PDU_BYTES) {
        return md_fail(err, MD_NETWORK, "the peer takes PDUs of %lu bytes only",
                       (unsigned long)now->peer.max_pdu_bytes);
    }
    return MD_OK;
}

static md_status secure(md_session *now, const md_peer *peer, const md_tls *tls, md_error *err)
{
    md_status status = md_wire_secure(&now->wire, tls, peer->host, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "host %s port %u", peer->host,
                               (unsigned)peer->port);
    }
    return MD_OK;
}

/* Connect with the contexts that now->own holds. */
md_status md_session_open(md_session *now, const md_peer *peer, md_error *err)
{
    if (peer->timeout_s == 0 || peer->timeout_s > MAX_TIMEOUT_S) {
        return md_fail(err, MD_INVALID_ARG, "a time-out of %u s, not in 1..%d", peer->timeout_s,
                       MAX_TIMEOUT_S);
    }
    snprintf(now->own.called_ae, sizeof now->own.called_ae, "%s", peer->ae_title);
    snprintf(now->own.calling_ae, sizeof now->own.calling_ae, "%s", peer->own_ae_title);
    now->own.max_pdu_bytes = MD_SESSION_MAX_PDU_BYTES;
    md_tls *tls = NULL;
    if (peer->tls != NULL && md_tls_create_client(peer->tls, &tls, err) != MD_OK) {
        if (err != NULL) {
            err->status = MD_IO;
        }
        return MD_IO;
    }
    md_status status =
        md_wire_connect(&now->wire, peer->host, peer->port, peer->timeout_s, err);
    if (status == MD_OK && tls != NULL) {
        status = secure(now, peer, tls, err);
    }
    md_tls_destroy(tls);
    return status == MD_OK ? open_association(now, err) : status;
}

void md_session_end(md_session *now, bool is_good)
{
    if (now->wire.fd >= 0) {
        uint8_t bytes[MD_PDU_SHORT_BYTES];
        if (is_good) {
            md_pdu_write_release(MD_PDU_RELEASE_RQ, bytes);
        } else {
            md_pdu_write_abort(MD_ABORT_USER, bytes);
        }
        md_wire_begin(&now->wire);
        if (md_wire_write(&now->wire, bytes, sizeof bytes, NULL) == MD_OK && is_good) {
            /* the release response; whether it comes does not change what was stored */
            (void)!md_wire_read(&now->wire, bytes, sizeof bytes, NULL);
        }
        md_wire_linger(&now->wire, is_good ? 0 : LINGER_MS);
    }
    md_wire_finish(&now->wire);
    memset(&now->wire, 0, sizeof now->wire);
    now->wire.fd = -1;
    now->own.n_contexts = 0;
    now->own.n_roles = 0;
    now->peer.n_contexts = 0;
}

void md_session_close(md_session *now, bool is_good)
{
    md_session_end(now, is_good);
    md_free(now);
}

/* The context that the peer accepted for a pair, or NULL and *ret_result why not. */
const md_context *md_session_context(const md_session *now, const char *sop_class_uid,
                                     const char *transfer_syntax_uid, uint8_t *ret_result)
{
    *ret_result = MD_CONTEXT_USER_REFUSED;
    for (unsigned i = 0; i < now->own.n_contexts; i++) {
        const md_context *own = &now->own.contexts[i];
        if (strcmp(own->abstract_syntax, sop_class_uid) != 0 ||
            strcmp(own->transfer_syntax, transfer_syntax_uid) != 0) {
            continue;
        }
        for (unsigned k = 0; k < now->peer.n_contexts; k++) {
            const md_context *answer = &now->peer.contexts[k];
            if (answer->id != own->id) {
                continue;
            }
            *ret_result = answer->result;
            bool is_same = strcmp(answer->transfer_syntax, own->transfer_syntax) == 0;
            return answer->result == MD_CONTEXT_ACCEPTED && is_same ? own : NULL;
        }
    }
    return NULL;
}

/* Add the pair unless it is there. False: no room. */
bool md_session_propose(md_session *now, const char *sop_class_uid,
                        const char *transfer_syntax_uid)
{
    for (unsigned i = 0; i < now->own.n_contexts; i++) {
        if (strcmp(now->own.contexts[i].abstract_syntax, sop_class_uid) == 0 &&
            strcmp(now->own.contexts[i].transfer_syntax, transfer_syntax_uid) == 0) {
            return true;
        }
    }
    if (now->own.n_contexts == MD_PDU_MAX_CONTEXTS) {
        return false;
    }
    md_context *context = &now->own.contexts[now->own.n_contexts];
    context->id = (uint8_t)(2 * now->own.n_contexts + 1);
    snprintf(context->abstract_syntax, sizeof context->abstract_syntax, "%s", sop_class_uid);
    snprintf(context->transfer_syntax, sizeof context->transfer_syntax, "%s",
             transfer_syntax_uid);
    now->own.n_contexts++;
    return true;
}

static md_status read_response_pdu(md_session *now, uint32_t pdu_bytes, uint8_t *command,
                                   size_t *used, bool *is_last, md_error *err)
{
    while (pdu_bytes > 0) {
        uint8_t header[MD_PDV_HEADER_BYTES];
        if (pdu_bytes < sizeof header) {
            return md_fail(err, MD_NETWORK, "the peer's data PDU has %lu bytes too many",
                           (unsigned long)pdu_bytes);
        }
        MD_TRY(md_wire_read(&now->wire, header, sizeof header, err));
        pdu_bytes -= (uint32_t)sizeof header;
        uint32_t length = md_get_be32(header);
        bool is_command = (header[5] & MD_PDV_COMMAND) != 0;
        if (length < 2 || length - 2 > pdu_bytes || !is_command || *is_last ||
            length - 2 > MD_COMMAND_MAX_BYTES - *used) {
            return md_fail(err, MD_NETWORK, "the peer's response is malformed");
        }
        MD_TRY(md_wire_read(&now->wire, command + *used, length - 2, err));
        *used += length - 2;
        pdu_bytes -= length - 2;
        *is_last = (header[5] & MD_PDV_LAST) != 0;
    }
    return MD_OK;
}

md_status md_session_read_data_header(md_session *now, uint32_t *ret_length, md_error *err)
{
    uint8_t type = 0;
    uint32_t length = 0;
    MD_TRY(read_header(now, &type, &length, err));
    if (type != MD_PDU_DATA) {
        return read_refusal(now, type, length, err);
    }
    if (length == 0 || length > MD_SESSION_MAX_PDU_BYTES) {
        return md_fail(err, MD_NETWORK, "the peer's data PDU claims %lu bytes",
                       (unsigned long)length);
    }
    *ret_length = length;
    return MD_OK;
}

/* Wait for the response to `request`. */
md_status md_session_read_response(md_session *now, const md_command *request,
                                   uint16_t *ret_status, md_error *err)
{
    md_command response;
    size_t used = 0;
    bool is_last = false;
    md_wire_begin(&now->wire);
    while (!is_last) {
        uint32_t length = 0;
        MD_TRY(md_session_read_data_header(now, &length, err));
        MD_TRY(read_response_pdu(now, length, now->buffer, &used, &is_last, err));
    }
    md_status status = md_command_parse(now->buffer, used, &response, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "the peer's response");
    }
    if (response.field != (request->field | MD_COMMAND_RESPONSE) ||
        response.message_id != request->message_id || response.has_dataset) {
        return md_fail(err, MD_NETWORK, "the peer's response is not to our request");
    }
    *ret_status = response.status;
    return MD_OK;
}

md_status md_session_write_command(md_session *now, uint8_t context_id,
                                   const md_command *command, md_error *err)
{
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    size_t n = md_command_write(command, bytes);
    md_wire_begin(&now->wire);
    return md_wire_write_command(&now->wire, context_id, bytes, n, now->peer.max_pdu_bytes,
                                 err);
}

md_status md_session_create(md_session **ret_session, md_error *err)
{
    md_session *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    now->wire.fd = -1;
    *ret_session = now;
    return MD_OK;
}

size_t md_session_room(const md_session *now)
{
    size_t room = MD_SESSION_MAX_PDU_BYTES - MD_PDV_HEADER_BYTES;
    if (now->peer.max_pdu_bytes != 0 && now->peer.max_pdu_bytes < MD_SESSION_MAX_PDU_BYTES) {
        room = now->peer.max_pdu_bytes - MD_PDV_HEADER_BYTES;
    }
    return room - room % 2;
}

md_status md_session_write_buffer(md_session *now, uint8_t context_id, size_t n, bool is_last,
                                  md_error *err)
{
    uint8_t *pdu = now->buffer;
    pdu[0] = MD_PDU_DATA;
    pdu[1] = 0;
    md_put_be32(pdu + 2, (uint32_t)(n + MD_PDV_HEADER_BYTES));
    md_put_be32(pdu + 6, (uint32_t)(n + 2));
    pdu[10] = context_id;
    pdu[11] = (uint8_t)(is_last ? MD_PDV_LAST : 0);
    return md_wire_write(&now->wire, pdu, MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES + n, err);
}

md_status md_session_write_dataset(md_session *now, uint8_t context_id, const uint8_t *bytes,
                                   size_t n, md_error *err)
{
    size_t room = md_session_room(now);
    size_t at = 0;
    do {
        size_t part = n - at < room ? n - at : room;
        memcpy(now->buffer + MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES, bytes + at, part);
        MD_TRY(md_session_write_buffer(now, context_id, part, at + part == n, err));
        at += part;
    } while (at < n);
    return MD_OK;
}
