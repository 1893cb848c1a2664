#include "dicom/network/scu.h"

#include "dicom/network/part10.h"
#include "dicom/network/session.h"
#include "dicom/network/sop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is to be sent. */
typedef struct outgoing {
    int fd;
    md_part10 head;
    uint64_t end_bytes;
} outgoing;

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
static md_status write_dataset(md_session *now, const md_context *context, const outgoing *file,
                               md_error *err)
{
    size_t room = md_session_room(now);
    uint64_t at = file->head.dataset_offset_bytes;
    do {
        uint64_t left = file->end_bytes - at;
        size_t part = left < room ? (size_t)left : room;
        MD_TRY(read_file(file->fd, at, now->buffer + MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES,
                         part, err));
        MD_TRY(md_session_write_buffer(now, context->id, part, part == left, err));
        at += part;
    } while (at < file->end_bytes);
    return MD_OK;
}

/* Take over a descriptor. */
static md_status read_head(int fd, outgoing *ret_file, md_error *err)
{
    struct stat info;
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

static md_status open_file(const char *path, outgoing *ret_file, md_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int os_errno = errno;
        return os_errno == ENOENT ? md_fail(err, MD_NOT_FOUND, "no such file")
                                  : md_fail_os(err, os_errno, "open");
    }
    return read_head(fd, ret_file, err);
}

/* Without options: each object as it is stored. */
static const md_send_options as_stored;

static bool is_convertible_to(const char *transfer_syntax_uid)
{
    return strcmp(transfer_syntax_uid, MD_UID_IMPLICIT_LITTLE) == 0 ||
           strcmp(transfer_syntax_uid, MD_UID_EXPLICIT_LITTLE) == 0 ||
           strcmp(transfer_syntax_uid, MD_UID_EXPLICIT_BIG) == 0;
}

/* The nth syntax that is offered for an object; "" when that entry does not concern it, NULL
 * after the last. */
static const char *offer(const md_send_options *options, const md_part10 *head, unsigned nth)
{
    if (options->n_transfer_syntaxes == 0) {
        const char *const usual[] = {head->transfer_syntax_uid, MD_UID_EXPLICIT_LITTLE,
                                     MD_UID_IMPLICIT_LITTLE};
        unsigned n_usual = options->convert != NULL ? 3 : 1;
        return nth < n_usual ? usual[nth] : NULL;
    }
    if (nth >= options->n_transfer_syntaxes) {
        return NULL;
    }
    const char *uid = options->transfer_syntaxes[nth];
    if (strcmp(uid, MD_SYNTAX_OWN) == 0 || strcmp(uid, head->transfer_syntax_uid) == 0) {
        return head->transfer_syntax_uid;
    }
    return options->convert != NULL && is_convertible_to(uid) ? uid : "";
}

/* Propose all that is offered for the object, or nothing: *ret_full when there is no room.
 * MD_UNSUPPORTED when nothing may be offered. */
static md_status propose(md_session *now, const md_send_options *options, const md_part10 *head,
                         bool *ret_full, md_error *err)
{
    unsigned before = now->own.n_contexts;
    unsigned n_offers = 0;
    const char *uid = NULL;
    *ret_full = false;
    for (unsigned i = 0; (uid = offer(options, head, i)) != NULL; i++) {
        n_offers += uid[0] != '\0';
        if (uid[0] != '\0' && !md_session_propose(now, head->sop_class_uid, uid)) {
            now->own.n_contexts = before;
            *ret_full = true;
            return MD_OK;
        }
    }
    return n_offers > 0
               ? MD_OK
               : md_fail(err, MD_UNSUPPORTED,
                         "none of the transfer syntaxes for this peer fits the object");
}

/* The first offer that the peer has accepted. */
static const md_context *choose(const md_session *now, const md_send_options *options,
                                const md_part10 *head, uint8_t *ret_result)
{
    const char *uid = NULL;
    const md_context *context = NULL;
    *ret_result = MD_CONTEXT_USER_REFUSED;
    for (unsigned i = 0; context == NULL && (uid = offer(options, head, i)) != NULL; i++) {
        if (uid[0] != '\0') {
            context = md_session_context(now, head->sop_class_uid, uid, ret_result);
        }
    }
    return context;
}

static md_status fail_refused(const md_part10 *head, uint8_t result, md_error *err)
{
    const char *class_name = md_sop_storage_name(head->sop_class_uid);
    const char *syntax_name = md_transfer_syntax_name(head->transfer_syntax_uid);
    return md_fail(err, MD_UNSUPPORTED, "the peer does not take %s%s%s",
                   class_name != NULL ? class_name : "objects of this SOP class",
                   result == MD_CONTEXT_TRANSFER_REFUSED ? " in transfer syntax " : "",
                   result != MD_CONTEXT_TRANSFER_REFUSED ? ""
                   : syntax_name != NULL                 ? syntax_name
                                                         : "of the file");
}

/* Put the object in another transfer syntax in place of *file. */
static md_status convert(const md_send_options *options, const char *path,
                         const char *transfer_syntax_uid, outgoing *file, md_error *err)
{
    int fd = -1;
    outgoing converted;
    MD_TRY(options->convert(options->context, path, transfer_syntax_uid, &fd, err));
    MD_TRY(read_head(fd, &converted, err));
    if (strcmp(converted.head.transfer_syntax_uid, transfer_syntax_uid) != 0 ||
        strcmp(converted.head.sop_class_uid, file->head.sop_class_uid) != 0 ||
        strcmp(converted.head.sop_instance_uid, file->head.sop_instance_uid) != 0) {
        close(converted.fd);
        return md_fail(err, MD_INTERNAL, "the converted object is another one");
    }
    close(file->fd);
    *file = converted;
    return MD_OK;
}

/* Send one object. MD_UNSUPPORTED and MD_FORMAT leave the association usable; *ret_dead tells
 * when it is not. */
static md_status store(md_session *now, const md_send_options *options, const char *path,
                       outgoing *file, md_send_outcome *outcome, bool *ret_dead, md_error *err)
{
    uint8_t result = 0;
    const md_context *context = choose(now, options, &file->head, &result);
    if (context == NULL) {
        return fail_refused(&file->head, result, err);
    }
    if (strcmp(context->transfer_syntax, file->head.transfer_syntax_uid) != 0) {
        MD_TRY(convert(options, path, context->transfer_syntax, file, err));
        outcome->converted = true;
    }
    md_command request = {
        .field = MD_COMMAND_STORE_RQ, .message_id = ++now->message_id, .dataset_type = 0};
    memcpy(request.sop_class_uid, file->head.sop_class_uid, sizeof request.sop_class_uid);
    memcpy(request.sop_instance_uid, file->head.sop_instance_uid,
           sizeof request.sop_instance_uid);
    *ret_dead = true; /* whatever fails from here on leaves the peer within a message */
    MD_TRY(md_session_write_command(now, context->id, &request, err));
    MD_TRY(write_dataset(now, context, file, err));
    MD_TRY(md_session_read_response(now, &request, &outcome->dimse_status, err));
    *ret_dead = false;
    uint16_t status = outcome->dimse_status;
    if (status != MD_DIMSE_SUCCESS && (status & 0xf000) != 0xb000) {
        return md_fail(err, status >> 8 == 0xa7 ? MD_BUSY : MD_NETWORK,
                       "the peer refuses the object with status 0x%04x", (unsigned)status);
    }
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

/* A call of md_scu_send. */
typedef struct sending {
    md_session *session;
    const md_send_options *options;
    const char *const *paths;
    size_t n_paths;
    md_send_outcome *outcomes;
    md_status first;
    md_error *err;
} sending;

/* Read the heads of files from `begin` on and propose their contexts, as many as one
 * association can have; files are closed again, so that a study of thousands does not need as
 * many descriptors. Returns the end of what fits. */
static size_t prepare(sending *call, size_t begin)
{
    for (size_t i = begin; i < call->n_paths; i++) {
        outgoing file;
        md_error why = {0};
        bool is_full = false;
        md_status status = open_file(call->paths[i], &file, &why);
        if (status == MD_OK) {
            close(file.fd);
            status = propose(call->session, call->options, &file.head, &is_full, &why);
        }
        if (is_full) {
            return i;
        }
        call->outcomes[i] = (md_send_outcome){.dimse_status = MD_DIMSE_NO_RESPONSE};
        call->outcomes[i].status =
            keep_first(status, &why, call->paths[i], &call->first, call->err);
    }
    return call->n_paths;
}

/* Send what was prepared. False: the association is dead. */
static bool store_all(sending *call, size_t begin, size_t end)
{
    bool is_dead = false;
    for (size_t i = begin; i < end; i++) {
        outgoing file;
        md_error why = {0};
        if (call->outcomes[i].status != MD_OK) {
            continue;
        }
        if (is_dead) {
            call->outcomes[i].status = MD_NETWORK;
            continue;
        }
        md_status status = open_file(call->paths[i], &file, &why);
        if (status == MD_OK) {
            status = store(call->session, call->options, call->paths[i], &file,
                           &call->outcomes[i], &is_dead, &why);
            close(file.fd);
        }
        call->outcomes[i].status =
            keep_first(status, &why, call->paths[i], &call->first, call->err);
    }
    return !is_dead;
}

md_status md_scu_send(const md_peer *peer, const md_send_options *options,
                      const char *const *paths, size_t n_paths, md_send_outcome *outcomes,
                      md_error *err)
{
    sending call = {.options = options != NULL ? options : &as_stored,
                    .paths = paths,
                    .n_paths = n_paths,
                    .outcomes = outcomes,
                    .err = err};
    md_error why = {0};
    md_status status = MD_OK;
    MD_TRY(md_session_create(&call.session, err));
    for (size_t begin = 0; begin < n_paths;) {
        bool is_good = false;
        size_t end = prepare(&call, begin);
        if (call.session->own.n_contexts > 0 && status == MD_OK) {
            status = md_session_open(call.session, peer, &why);
            is_good = status == MD_OK && store_all(&call, begin, end);
        }
        for (size_t i = begin; status != MD_OK && i < end; i++) {
            /* not tried again for the next association: the first error holds for all */
            if (outcomes[i].status == MD_OK) {
                outcomes[i].status = keep_first(status, &why, NULL, &call.first, err);
            }
        }
        md_session_end(call.session, is_good);
        begin = end;
    }
    md_session_close(call.session, true);
    return call.first;
}

md_status md_scu_echo(const md_peer *peer, md_error *err)
{
    md_session *now = NULL;
    uint8_t result = 0;
    uint16_t dimse_status = MD_DIMSE_NO_RESPONSE;
    MD_TRY(md_session_create(&now, err));
    (void)md_session_propose(now, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE);
    md_status status = md_session_open(now, peer, err);
    uint8_t context_id = 0;
    if (status == MD_OK) {
        const md_context *context =
            md_session_context(now, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE, &result);
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
        status = md_session_write_command(now, context_id, &request, err);
    }
    if (status == MD_OK) {
        status = md_session_read_response(now, &request, &dimse_status, err);
    }
    if (status == MD_OK && dimse_status != MD_DIMSE_SUCCESS) {
        status = md_fail(err, MD_NETWORK, "the peer answers C-ECHO with status 0x%04x",
                         (unsigned)dimse_status);
    }
    md_session_close(now, status == MD_OK || status == MD_UNSUPPORTED);
    return status;
}
