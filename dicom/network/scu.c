#include "dicom/network/scu.h"

#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/part10.h"
#include "dicom/network/pdu.h"
#include "dicom/network/sop.h"
#include "dicom/network/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OWN_MAX_PDU_BYTES = 128 * 1024,
    REQUEST_BYTES = 64 * 1024, /* 128 contexts of at most 144 bytes, and the rest */
    LINGER_MS = 1000,
    MAX_TIMEOUT_S = 3600,
    MIN_PEER_PDU_BYTES = 32,
};

/* An association that we have opened. */
typedef struct session {
    md_wire wire;
    md_associate own;  /* what we propose */
    md_associate peer; /* what was answered */
    uint16_t message_id;
    uint8_t buffer[MD_PDU_HEADER_BYTES + OWN_MAX_PDU_BYTES];
} session;

/* A file that is to be sent. */
typedef struct outgoing {
    int fd;
    md_part10 head;
    uint64_t end_bytes;
} outgoing;

static md_status read_header(session *now, uint8_t *ret_type, uint32_t *ret_length,
                             md_error *err)
{
    uint8_t header[MD_PDU_HEADER_BYTES];
    MD_TRY(md_wire_read(&now->wire, header, sizeof header, err));
    *ret_type = header[0];
    *ret_length = md_get_be32(header + 2);
    return MD_OK;
}

/* An A-ASSOCIATE-RJ or A-ABORT instead of what was hoped for. */
static md_status read_refusal(session *now, uint8_t type, uint32_t length, md_error *err)
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

static md_status open_association(session *now, md_error *err)
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

static md_status secure(session *now, const md_peer *peer, const md_tls *tls, md_error *err)
{
    md_status status = md_wire_secure(&now->wire, tls, peer->host, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "host %s port %u", peer->host,
                               (unsigned)peer->port);
    }
    return MD_OK;
}

/* Connect with the contexts that now->own holds. */
static md_status open_session(session *now, const md_peer *peer, md_error *err)
{
    if (peer->timeout_s == 0 || peer->timeout_s > MAX_TIMEOUT_S) {
        return md_fail(err, MD_INVALID_ARG, "a time-out of %u s, not in 1..%d", peer->timeout_s,
                       MAX_TIMEOUT_S);
    }
    snprintf(now->own.called_ae, sizeof now->own.called_ae, "%s", peer->ae_title);
    snprintf(now->own.calling_ae, sizeof now->own.calling_ae, "%s", peer->own_ae_title);
    now->own.max_pdu_bytes = OWN_MAX_PDU_BYTES;
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

/* End it: with a release when all went well, with an abort when not. */
static void close_session(session *now, bool is_good)
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
    md_free(now);
}

/* The context that the peer accepted for a pair, or NULL and *ret_result why not. */
static const md_context *find_context(const session *now, const char *sop_class_uid,
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
static bool propose(session *now, const char *sop_class_uid, const char *transfer_syntax_uid)
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

static md_status read_response_pdu(session *now, uint32_t pdu_bytes, uint8_t *command,
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

/* Wait for the response to `request`. */
static md_status read_response(session *now, const md_command *request, uint16_t *ret_status,
                               md_error *err)
{
    md_command response;
    size_t used = 0;
    bool is_last = false;
    md_wire_begin(&now->wire);
    while (!is_last) {
        uint8_t type = 0;
        uint32_t length = 0;
        MD_TRY(read_header(now, &type, &length, err));
        if (type != MD_PDU_DATA) {
            return read_refusal(now, type, length, err);
        }
        if (length == 0 || length > OWN_MAX_PDU_BYTES) {
            return md_fail(err, MD_NETWORK, "the peer's data PDU claims %lu bytes",
                           (unsigned long)length);
        }
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

static md_status write_request(session *now, uint8_t context_id, const md_command *request,
                               md_error *err)
{
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    size_t n = md_command_write(request, bytes);
    md_wire_begin(&now->wire);
    return md_wire_write_command(&now->wire, context_id, bytes, n, now->peer.max_pdu_bytes,
                                 err);
}

/* Fill the buffer from the file; all n bytes or an error. */
static md_status read_file(int fd, uint64_t at, uint8_t *to, size_t n, md_error *err)
{
    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? md_fail_os(err, errno, "read the object")
                           : md_fail(err, MD_IO, "the file has become shorter");
        }
        to += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return MD_OK;
}

/* The dataset as PDUs of the size that the peer takes, each written whole with its header. */
static md_status write_dataset(session *now, const md_context *context, const outgoing *file,
                               md_error *err)
{
    size_t room = OWN_MAX_PDU_BYTES - MD_PDV_HEADER_BYTES;
    if (now->peer.max_pdu_bytes != 0 && now->peer.max_pdu_bytes < OWN_MAX_PDU_BYTES) {
        room = now->peer.max_pdu_bytes - MD_PDV_HEADER_BYTES;
    }
    room -= room % 2; /* fragments are of even length: PS3.8 annex F */
    uint64_t at = file->head.dataset_offset_bytes;
    do {
        uint64_t left = file->end_bytes - at;
        size_t part = left < room ? (size_t)left : room;
        uint8_t *pdu = now->buffer;
        pdu[0] = MD_PDU_DATA;
        pdu[1] = 0;
        md_put_be32(pdu + 2, (uint32_t)(part + MD_PDV_HEADER_BYTES));
        md_put_be32(pdu + 6, (uint32_t)(part + 2));
        pdu[10] = context->id;
        pdu[11] = (uint8_t)(part == left ? MD_PDV_LAST : 0);
        MD_TRY(read_file(file->fd, at, pdu + MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES, part,
                         err));
        MD_TRY(md_wire_write(&now->wire, pdu, MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES + part,
                             err));
        at += part;
    } while (at < file->end_bytes);
    return MD_OK;
}

/* Send one object. MD_UNSUPPORTED and MD_FORMAT leave the association usable; *ret_dead tells
 * when it is not. */
static md_status store(session *now, const outgoing *file, md_send_outcome *outcome,
                       bool *ret_dead, md_error *err)
{
    uint8_t result = 0;
    const md_part10 *head = &file->head;
    const md_context *context =
        find_context(now, head->sop_class_uid, head->transfer_syntax_uid, &result);
    if (context == NULL) {
        const char *class_name = md_sop_storage_name(head->sop_class_uid);
        const char *syntax_name = md_transfer_syntax_name(head->transfer_syntax_uid);
        return md_fail(err, MD_UNSUPPORTED, "the peer does not take %s%s%s",
                       class_name != NULL ? class_name : "objects of this SOP class",
                       result == MD_CONTEXT_TRANSFER_REFUSED ? " in transfer syntax " : "",
                       result != MD_CONTEXT_TRANSFER_REFUSED ? ""
                       : syntax_name != NULL                 ? syntax_name
                                                             : "of the file");
    }
    md_command request = {
        .field = MD_COMMAND_STORE_RQ, .message_id = ++now->message_id, .dataset_type = 0};
    memcpy(request.sop_class_uid, head->sop_class_uid, sizeof request.sop_class_uid);
    memcpy(request.sop_instance_uid, head->sop_instance_uid, sizeof request.sop_instance_uid);
    *ret_dead = true; /* whatever fails from here on leaves the peer within a message */
    MD_TRY(write_request(now, context->id, &request, err));
    MD_TRY(write_dataset(now, context, file, err));
    MD_TRY(read_response(now, &request, &outcome->dimse_status, err));
    *ret_dead = false;
    uint16_t status = outcome->dimse_status;
    if (status != MD_DIMSE_SUCCESS && (status & 0xf000) != 0xb000) {
        return md_fail(err, status >> 8 == 0xa7 ? MD_BUSY : MD_NETWORK,
                       "the peer refuses the object with status 0x%04x", (unsigned)status);
    }
    return MD_OK;
}

static md_status open_file(const char *path, outgoing *ret_file, md_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int os_errno = errno;
        return os_errno == ENOENT ? md_fail(err, MD_NOT_FOUND, "no such file")
                                  : md_fail_os(err, os_errno, "open");
    }
    md_status status = MD_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = md_fail(err, MD_INVALID_ARG, "not a regular file");
    }
    if (status == MD_OK) {
        status = md_part10_read(fd, &ret_file->head, err);
    }
    if (status == MD_OK && ret_file->head.dataset_offset_bytes >= (uint64_t)info.st_size) {
        status = md_fail(err, MD_FORMAT, "the file has no dataset");
    }
    if (status != MD_OK) {
        close(fd);
        return status;
    }
    ret_file->fd = fd;
    ret_file->end_bytes = (uint64_t)info.st_size;
    return MD_OK;
}

/* Keep the first error of a call; later ones are told by their outcome alone. */
static md_status keep_first(md_status status, const md_error *why, const char *path,
                            md_status *first, md_error *err)
{
    if (status != MD_OK && *first == MD_OK) {
        *first = status;
        if (err != NULL) {
            *err = *why;
            if (path != NULL) {
                (void)md_error_prefix(err, status, "%s", path);
            }
        }
    }
    return status;
}

/* Read the heads of all files and propose their contexts; files are closed again, so that a
 * study of thousands does not need as many descriptors. */
static void prepare(session *now, const char *const *paths, size_t n_paths,
                    md_send_outcome *outcomes, md_status *first, md_error *err)
{
    for (size_t i = 0; i < n_paths; i++) {
        outgoing file;
        md_error why = {0};
        outcomes[i] = (md_send_outcome){MD_OK, MD_DIMSE_NO_RESPONSE};
        md_status status = open_file(paths[i], &file, &why);
        if (status == MD_OK) {
            close(file.fd);
            if (!propose(now, file.head.sop_class_uid, file.head.transfer_syntax_uid)) {
                status = md_fail(&why, MD_LIMIT,
                                 "more than %d pairs of SOP class and transfer syntax in one "
                                 "call",
                                 MD_PDU_MAX_CONTEXTS);
            }
        }
        outcomes[i].status = keep_first(status, &why, paths[i], first, err);
    }
}

static bool store_all(session *now, const char *const *paths, size_t n_paths,
                      md_send_outcome *outcomes, md_status *first, md_error *err)
{
    bool is_dead = false;
    for (size_t i = 0; i < n_paths; i++) {
        outgoing file;
        md_error why = {0};
        if (outcomes[i].status != MD_OK) {
            continue;
        }
        if (is_dead) {
            outcomes[i].status = MD_NETWORK;
            continue;
        }
        md_status status = open_file(paths[i], &file, &why);
        if (status == MD_OK) {
            status = store(now, &file, &outcomes[i], &is_dead, &why);
            close(file.fd);
        }
        outcomes[i].status = keep_first(status, &why, paths[i], first, err);
    }
    return !is_dead;
}

static md_status create_session(session **ret_session, md_error *err)
{
    session *now = md_calloc(1, sizeof *now);
    if (now == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an association");
    }
    now->wire.fd = -1;
    *ret_session = now;
    return MD_OK;
}

md_status md_scu_send(const md_peer *peer, const char *const *paths, size_t n_paths,
                      md_send_outcome *outcomes, md_error *err)
{
    session *now = NULL;
    md_error why = {0};
    md_status first = MD_OK;
    MD_TRY(create_session(&now, err));
    prepare(now, paths, n_paths, outcomes, &first, err);
    bool is_good = false;
    if (now->own.n_contexts > 0) {
        md_status status = open_session(now, peer, &why);
        if (status == MD_OK) {
            is_good = store_all(now, paths, n_paths, outcomes, &first, err);
        }
        for (size_t i = 0; status != MD_OK && i < n_paths; i++) {
            if (outcomes[i].status == MD_OK) {
                outcomes[i].status = keep_first(status, &why, NULL, &first, err);
            }
        }
    }
    close_session(now, is_good);
    return first;
}

md_status md_scu_echo(const md_peer *peer, md_error *err)
{
    session *now = NULL;
    uint8_t result = 0;
    uint16_t dimse_status = MD_DIMSE_NO_RESPONSE;
    MD_TRY(create_session(&now, err));
    (void)propose(now, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE);
    md_status status = open_session(now, peer, err);
    uint8_t context_id = 0;
    if (status == MD_OK) {
        const md_context *context =
            find_context(now, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE, &result);
        if (context != NULL) {
            context_id = context->id;
        } else {
            status = md_fail(err, MD_UNSUPPORTED, "the peer does not take C-ECHO");
        }
    }
    md_command request = {.field = MD_COMMAND_ECHO_RQ,
                          .message_id = 1,
                          .dataset_type = MD_COMMAND_NO_DATASET,
                          .sop_class_uid = MD_UID_VERIFICATION};
    if (status == MD_OK) {
        status = write_request(now, context_id, &request, err);
    }
    if (status == MD_OK) {
        status = read_response(now, &request, &dimse_status, err);
    }
    if (status == MD_OK && dimse_status != MD_DIMSE_SUCCESS) {
        status = md_fail(err, MD_NETWORK, "the peer answers C-ECHO with status 0x%04x",
                         (unsigned)dimse_status);
    }
    close_session(now, status == MD_OK || status == MD_UNSUPPORTED);
    return status;
}
