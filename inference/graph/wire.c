#include "inference/graph/wire.h"

typedef struct frame {
    const ProtobufCMessageDescriptor *descriptor;
    const uint8_t *end;
} frame;

typedef struct walk {
    const uint8_t *at;
    frame stack[MD_WIRE_MAX_DEPTH];
    unsigned depth;
    size_t n_fields;
    md_error *err;
} walk;

/* Encoding of base-128 numbers: protobuf.dev/programming-guides/encoding. */
static md_status read_varint(walk *w, uint64_t *ret)
{
    const uint8_t *end = w->stack[w->depth - 1].end;
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (w->at >= end) {
            return md_fail(w->err, MD_FORMAT, "truncated: a number ends beyond its message");
        }
        uint8_t byte = *w->at++;
        if (shift < 64) {
            value |= (uint64_t)(byte & 0x7f) << shift;
        }
        if (byte < 0x80) {
            *ret = value;
            return MD_OK;
        }
    }
    return md_fail(w->err, MD_FORMAT, "a number of more than 10 bytes");
}

static md_status skip(walk *w, uint64_t n_bytes)
{
    const uint8_t *end = w->stack[w->depth - 1].end;
    if (n_bytes > (uint64_t)(end - w->at)) {
        return md_fail(w->err, MD_FORMAT, "truncated: a field of %llu bytes where %zu are left",
                       (unsigned long long)n_bytes, (size_t)(end - w->at));
    }
    w->at += n_bytes;
    return MD_OK;
}

static md_status push(walk *w, const ProtobufCMessageDescriptor *descriptor, uint64_t n_bytes)
{
    const uint8_t *start = w->at;
    MD_TRY(skip(w, n_bytes));
    if (w->depth == MD_WIRE_MAX_DEPTH) {
        return md_fail(w->err, MD_LIMIT, "messages nested deeper than %d", MD_WIRE_MAX_DEPTH);
    }
    w->stack[w->depth].descriptor = descriptor;
    w->stack[w->depth].end = w->at;
    w->depth++;
    w->at = start;
    return MD_OK;
}

static md_status read_field(walk *w)
{
    uint64_t key = 0, n_bytes = 0;
    const ProtobufCMessageDescriptor *descriptor = w->stack[w->depth - 1].descriptor;
    if (++w->n_fields > MD_WIRE_MAX_FIELDS) {
        return md_fail(w->err, MD_LIMIT, "more than %d fields", MD_WIRE_MAX_FIELDS);
    }
    MD_TRY(read_varint(w, &key));
    uint64_t number = key >> 3;
    if (number == 0 || number > 0x1fffffff) {
        return md_fail(w->err, MD_FORMAT, "field number %llu", (unsigned long long)number);
    }
    switch (key & 7) {
    case 0:
        return read_varint(w, &n_bytes);
    case 1:
        return skip(w, 8);
    case 5:
        return skip(w, 4);
    case 2:
        break;
    default:
        return md_fail(w->err, MD_FORMAT, "field %llu has wire type %u",
                       (unsigned long long)number, (unsigned)(key & 7));
    }
    MD_TRY(read_varint(w, &n_bytes));
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(descriptor, (unsigned)number);
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return push(w, field->descriptor, n_bytes);
    }
    return skip(w, n_bytes);
}

md_status md_wire_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                        size_t size_bytes, md_error *err)
{
    walk w = {.at = bytes, .depth = 1, .err = err};
    w.stack[0].descriptor = descriptor;
    w.stack[0].end = bytes + size_bytes;
    while (w.depth > 0) {
        if (w.at == w.stack[w.depth - 1].end) {
            w.depth--;
        } else {
            MD_TRY(read_field(&w));
        }
    }
    return MD_OK;
}
