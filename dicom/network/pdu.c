#include "dicom/network/pdu.h"

#include "dicom/network/bytes.h"
#include "dicom/network/sop.h"

#include <string.h>

enum {
    FIXED_BYTES = 68, /* version, reserved, two AE titles, 32 reserved */
    ITEM_HEADER_BYTES = 4,

    ITEM_APPLICATION_CONTEXT = 0x10,
    ITEM_CONTEXT_RQ = 0x20,
    ITEM_CONTEXT_AC = 0x21,
    ITEM_ABSTRACT_SYNTAX = 0x30,
    ITEM_TRANSFER_SYNTAX = 0x40,
    ITEM_USER_INFORMATION = 0x50,
    ITEM_MAX_LENGTH = 0x51,
    ITEM_IMPLEMENTATION_CLASS = 0x52,
    ITEM_ROLE = 0x54,
    ITEM_IMPLEMENTATION_VERSION = 0x55,
};

/* A run of items; `next` moves the front into `type`, `body` and `size_bytes`. */
typedef struct items {
    const uint8_t *bytes;
    size_t left_bytes;
    uint8_t type;
    const uint8_t *body;
    size_t size_bytes;
} items;

static md_status next_item(items *at, md_error *err)
{
    if (at->left_bytes < ITEM_HEADER_BYTES) {
        return md_fail(err, MD_FORMAT, "association item cut after %zu of %d header bytes",
                       at->left_bytes, ITEM_HEADER_BYTES);
    }
    at->type = at->bytes[0];
    at->size_bytes = md_get_be16(at->bytes + 2);
    at->body = at->bytes + ITEM_HEADER_BYTES;
    at->left_bytes -= ITEM_HEADER_BYTES;
    if (at->size_bytes > at->left_bytes) {
        return md_fail(err, MD_FORMAT, "association item 0x%02x claims %zu bytes, %zu are left",
                       (unsigned)at->type, at->size_bytes, at->left_bytes);
    }
    at->bytes = at->body + at->size_bytes;
    at->left_bytes -= at->size_bytes;
    return MD_OK;
}

/* UID length, UID, SCU role, SCP role: PS3.7 table D.3-9. A malformed one is as good as none.
 */
static void parse_role(const uint8_t *bytes, size_t size_bytes, md_associate *associate)
{
    if (size_bytes < 4 || associate->n_roles == MD_PDU_MAX_ROLES) {
        return;
    }
    size_t uid_bytes = md_get_be16(bytes);
    md_role *role = &associate->roles[associate->n_roles];
    if (uid_bytes != size_bytes - 4 ||
        !md_uid_copy(bytes + 2, uid_bytes, role->sop_class_uid)) {
        return;
    }
    role->scu = bytes[2 + uid_bytes] == 1;
    role->scp = bytes[3 + uid_bytes] == 1;
    associate->n_roles++;
}

static md_status parse_user_information(const uint8_t *bytes, size_t size_bytes,
                                        md_associate *associate, md_error *err)
{
    items at = {.bytes = bytes, .left_bytes = size_bytes};
    while (at.left_bytes > 0) {
        MD_TRY(next_item(&at, err));
        if (at.type == ITEM_MAX_LENGTH) {
            if (at.size_bytes != 4) {
                return md_fail(err, MD_FORMAT, "maximum length item of %zu bytes instead of 4",
                               at.size_bytes);
            }
            associate->max_pdu_bytes = md_get_be32(at.body);
        } else if (at.type == ITEM_IMPLEMENTATION_CLASS) {
            (void)md_uid_copy(at.body, at.size_bytes, associate->implementation_class_uid);
        } else if (at.type == ITEM_ROLE) {
            parse_role(at.body, at.size_bytes, associate);
        }
    }
    return MD_OK;
}

/* The sub-items of a proposed presentation context. */
static md_status parse_proposal(const uint8_t *bytes, size_t size_bytes, md_context_judge judge,
                                const void *judge_context, md_context *context, md_error *err)
{
    items at = {.bytes = bytes, .left_bytes = size_bytes};
    unsigned n_abstract = 0, n_transfer = 0;
    bool abstract_is_uid = false;
    context->result = MD_CONTEXT_ABSTRACT_REFUSED;
    while (at.left_bytes > 0) {
        MD_TRY(next_item(&at, err));
        if (at.type == ITEM_ABSTRACT_SYNTAX) {
            n_abstract++;
            abstract_is_uid = md_uid_copy(at.body, at.size_bytes, context->abstract_syntax);
        } else if (at.type == ITEM_TRANSFER_SYNTAX) {
            char transfer_syntax[MD_UID_BYTES];
            bool is_uid = md_uid_copy(at.body, at.size_bytes, transfer_syntax);
            n_transfer++;
            if (context->transfer_syntax[0] != '\0' || !abstract_is_uid) {
                continue;
            }
            context->result = MD_CONTEXT_TRANSFER_REFUSED;
            if (is_uid) {
                context->result =
                    judge(judge_context, context->abstract_syntax, transfer_syntax);
            }
            if (context->result == MD_CONTEXT_ACCEPTED) {
                memcpy(context->transfer_syntax, transfer_syntax, sizeof transfer_syntax);
            }
        }
    }
    if (n_abstract != 1 || n_transfer == 0) {
        return md_fail(err, MD_FORMAT,
                       "presentation context %u has %u abstract and %u transfer syntaxes",
                       (unsigned)context->id, n_abstract, n_transfer);
    }
    return MD_OK;
}

static md_status add_context(const items *at, md_associate *associate, md_context **ret_context,
                             md_error *err)
{
    if (at->size_bytes < 4) {
        return md_fail(err, MD_FORMAT, "presentation context of %zu bytes", at->size_bytes);
    }
    if (associate->n_contexts == MD_PDU_MAX_CONTEXTS) {
        return md_fail(err, MD_FORMAT, "more than %d presentation contexts",
                       MD_PDU_MAX_CONTEXTS);
    }
    uint8_t id = at->body[0];
    if (id % 2 == 0) {
        return md_fail(err, MD_FORMAT, "presentation context id %u is not odd", (unsigned)id);
    }
    for (unsigned i = 0; i < associate->n_contexts; i++) {
        if (associate->contexts[i].id == id) {
            return md_fail(err, MD_FORMAT, "presentation context id %u twice", (unsigned)id);
        }
    }
    md_context *context = &associate->contexts[associate->n_contexts++];
    memset(context, 0, sizeof *context);
    context->id = id;
    *ret_context = context;
    return MD_OK;
}

/* The fields that RQ and AC have in common. */
static md_status parse_fixed(const uint8_t *body, size_t size_bytes, md_associate *associate,
                             md_error *err)
{
    if (size_bytes < FIXED_BYTES) {
        return md_fail(err, MD_FORMAT, "association PDU of %zu bytes, at least %d are needed",
                       size_bytes, FIXED_BYTES);
    }
    memset(associate, 0, sizeof *associate);
    md_ae_copy(body + 4, associate->called_ae);
    md_ae_copy(body + 20, associate->calling_ae);
    return MD_OK;
}

md_status md_pdu_parse_request(const uint8_t *body, size_t size_bytes, md_context_judge judge,
                               const void *judge_context, md_associate *ret_associate,
                               md_reject *ret_reject, md_error *err)
{
    MD_TRY(parse_fixed(body, size_bytes, ret_associate, err));
    items at = {.bytes = body + FIXED_BYTES, .left_bytes = size_bytes - FIXED_BYTES};
    bool application_context_known = false;
    while (at.left_bytes > 0) {
        MD_TRY(next_item(&at, err));
        if (at.type == ITEM_APPLICATION_CONTEXT) {
            char uid[MD_UID_BYTES];
            (void)md_uid_copy(at.body, at.size_bytes, uid);
            application_context_known = strcmp(uid, MD_UID_APPLICATION_CONTEXT) == 0;
        } else if (at.type == ITEM_CONTEXT_RQ) {
            md_context *context = NULL;
            MD_TRY(add_context(&at, ret_associate, &context, err));
            MD_TRY(parse_proposal(at.body + 4, at.size_bytes - 4, judge, judge_context, context,
                                  err));
        } else if (at.type == ITEM_USER_INFORMATION) {
            MD_TRY(parse_user_information(at.body, at.size_bytes, ret_associate, err));
        }
    }
    if (ret_associate->n_contexts == 0) {
        return md_fail(err, MD_FORMAT, "association request without a presentation context");
    }
    *ret_reject = MD_REJECT_NONE;
    if ((md_get_be16(body) & 1) == 0) {
        *ret_reject = MD_REJECT_PROTOCOL_VERSION;
    } else if (!application_context_known) {
        *ret_reject = MD_REJECT_APPLICATION_CONTEXT;
    }
    return MD_OK;
}

md_status md_pdu_parse_accept(const uint8_t *body, size_t size_bytes,
                              md_associate *ret_associate, md_error *err)
{
    MD_TRY(parse_fixed(body, size_bytes, ret_associate, err));
    items at = {.bytes = body + FIXED_BYTES, .left_bytes = size_bytes - FIXED_BYTES};
    while (at.left_bytes > 0) {
        MD_TRY(next_item(&at, err));
        if (at.type == ITEM_USER_INFORMATION) {
            MD_TRY(parse_user_information(at.body, at.size_bytes, ret_associate, err));
        }
        if (at.type != ITEM_CONTEXT_AC) {
            continue;
        }
        md_context *context = NULL;
        MD_TRY(add_context(&at, ret_associate, &context, err));
        context->result = at.body[2];
        items inner = {.bytes = at.body + 4, .left_bytes = at.size_bytes - 4};
        while (inner.left_bytes > 0) {
            MD_TRY(next_item(&inner, err));
            if (inner.type == ITEM_TRANSFER_SYNTAX && context->result == MD_CONTEXT_ACCEPTED &&
                !md_uid_copy(inner.body, inner.size_bytes, context->transfer_syntax)) {
                return md_fail(err, MD_FORMAT,
                               "the peer accepts context %u with a transfer syntax that is no "
                               "UID",
                               (unsigned)context->id);
            }
        }
    }
    return MD_OK;
}

/* Appends; once something did not fit, nothing more is written and `used` is of no use. */
typedef struct writer {
    uint8_t *bytes;
    size_t capacity, used;
    bool full;
} writer;

static void put(writer *out, const void *bytes, size_t n)
{
    if (out->full || n > out->capacity - out->used) {
        out->full = true;
        return;
    }
    memcpy(out->bytes + out->used, bytes, n);
    out->used += n;
}

static void put_be16(writer *out, uint16_t value)
{
    uint8_t bytes[2];
    md_put_be16(bytes, value);
    put(out, bytes, sizeof bytes);
}

/* Begin an item whose length end_item fills in; returns where it starts. */
static size_t begin_item(writer *out, uint8_t type)
{
    size_t start = out->used;
    const uint8_t header[ITEM_HEADER_BYTES] = {type, 0, 0, 0};
    put(out, header, sizeof header);
    return start;
}

static void end_item(writer *out, size_t start)
{
    if (!out->full) {
        md_put_be16(out->bytes + start + 2, (uint16_t)(out->used - start - ITEM_HEADER_BYTES));
    }
}

static void put_text_item(writer *out, uint8_t type, const char *text)
{
    size_t start = begin_item(out, type);
    put(out, text, strlen(text));
    end_item(out, start);
}

static void put_role(writer *out, const md_role *role)
{
    const uint8_t roles[2] = {role->scu, role->scp};
    size_t start = begin_item(out, ITEM_ROLE);
    put_be16(out, (uint16_t)strlen(role->sop_class_uid));
    put(out, role->sop_class_uid, strlen(role->sop_class_uid));
    put(out, roles, sizeof roles);
    end_item(out, start);
}

static void put_user_information(writer *out, const md_associate *associate,
                                 uint32_t max_pdu_bytes)
{
    size_t start = begin_item(out, ITEM_USER_INFORMATION);
    uint8_t length[4];
    md_put_be32(length, max_pdu_bytes);
    size_t inner = begin_item(out, ITEM_MAX_LENGTH);
    put(out, length, sizeof length);
    end_item(out, inner);
    put_text_item(out, ITEM_IMPLEMENTATION_CLASS, MD_IMPLEMENTATION_CLASS_UID);
    for (unsigned i = 0; i < associate->n_roles; i++) {
        put_role(out, &associate->roles[i]);
    }
    put_text_item(out, ITEM_IMPLEMENTATION_VERSION, MD_IMPLEMENTATION_VERSION);
    end_item(out, start);
}

static size_t finish_pdu(writer *out)
{
    if (out->full) {
        return 0;
    }
    md_put_be32(out->bytes + 2, (uint32_t)(out->used - MD_PDU_HEADER_BYTES));
    return out->used;
}

static void put_ae(writer *out, const char *title)
{
    char padded[MD_AE_BYTES - 1];
    memset(padded, ' ', sizeof padded);
    memcpy(padded, title, strnlen(title, sizeof padded));
    put(out, padded, sizeof padded);
}

size_t md_pdu_write_request(const md_associate *associate, uint8_t *ret_bytes, size_t capacity)
{
    static const uint8_t header[MD_PDU_HEADER_BYTES + 4] = {
        MD_PDU_ASSOCIATE_RQ, 0, 0, 0, 0, 0, 0, 1, 0, 0};
    static const uint8_t reserved[32];
    writer out = {.bytes = ret_bytes, .capacity = capacity};
    put(&out, header, sizeof header);
    put_ae(&out, associate->called_ae);
    put_ae(&out, associate->calling_ae);
    put(&out, reserved, sizeof reserved);
    put_text_item(&out, ITEM_APPLICATION_CONTEXT, MD_UID_APPLICATION_CONTEXT);
    for (unsigned i = 0; i < associate->n_contexts; i++) {
        const md_context *context = &associate->contexts[i];
        const uint8_t fixed[4] = {context->id, 0, 0, 0};
        size_t start = begin_item(&out, ITEM_CONTEXT_RQ);
        put(&out, fixed, sizeof fixed);
        put_text_item(&out, ITEM_ABSTRACT_SYNTAX, context->abstract_syntax);
        put_text_item(&out, ITEM_TRANSFER_SYNTAX, context->transfer_syntax);
        end_item(&out, start);
    }
    put_user_information(&out, associate, associate->max_pdu_bytes);
    return finish_pdu(&out);
}

size_t md_pdu_write_accept(const md_associate *associate, uint32_t own_max_pdu_bytes,
                           const uint8_t *request_body, uint8_t *ret_bytes, size_t capacity)
{
    static const uint8_t header[MD_PDU_HEADER_BYTES] = {MD_PDU_ASSOCIATE_AC, 0, 0, 0, 0, 0};
    writer out = {.bytes = ret_bytes, .capacity = capacity};
    put(&out, header, sizeof header);
    put_be16(&out, 1);
    put_be16(&out, 0);
    put(&out, request_body + 4, FIXED_BYTES - 4);
    put_text_item(&out, ITEM_APPLICATION_CONTEXT, MD_UID_APPLICATION_CONTEXT);
    for (unsigned i = 0; i < associate->n_contexts; i++) {
        const md_context *context = &associate->contexts[i];
        const uint8_t fixed[4] = {context->id, 0, context->result, 0};
        bool accepted = context->result == MD_CONTEXT_ACCEPTED;
        size_t start = begin_item(&out, ITEM_CONTEXT_AC);
        put(&out, fixed, sizeof fixed);
        /* of a refused context it means nothing, but some peers insist that it is there */
        put_text_item(&out, ITEM_TRANSFER_SYNTAX,
                      accepted ? context->transfer_syntax : MD_UID_IMPLICIT_LITTLE);
        end_item(&out, start);
    }
    put_user_information(&out, associate, own_max_pdu_bytes);
    return finish_pdu(&out);
}

static void write_short(uint8_t type, uint8_t result, uint8_t source, uint8_t reason,
                        uint8_t ret_bytes[MD_PDU_SHORT_BYTES])
{
    const uint8_t bytes[MD_PDU_SHORT_BYTES] = {type, 0, 0, 0, 0, 4, 0, result, source, reason};
    memcpy(ret_bytes, bytes, sizeof bytes);
}

void md_pdu_write_reject(md_reject reject, uint8_t ret_bytes[MD_PDU_SHORT_BYTES])
{
    write_short(MD_PDU_ASSOCIATE_RJ, (uint8_t)(reject >> 16), (uint8_t)(reject >> 8),
                (uint8_t)reject, ret_bytes);
}

void md_pdu_write_abort(md_abort abort, uint8_t ret_bytes[MD_PDU_SHORT_BYTES])
{
    write_short(MD_PDU_ABORT, 0, (uint8_t)(abort >> 8), (uint8_t)abort, ret_bytes);
}

void md_pdu_write_release(uint8_t type, uint8_t ret_bytes[MD_PDU_SHORT_BYTES])
{
    write_short(type, 0, 0, 0, ret_bytes);
}
