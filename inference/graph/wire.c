#include "inference/graph/wire.h"

#include <string.h>

typedef struct frame {
    const ProtobufCMessageDescriptor *descriptor;
    const uint8_t *end;
} frame;

typedef struct walk {
    const uint8_t *at;
    uint64_t number;        /* of the field read last */
    unsigned type;          /* its wire type */
    const uint8_t *payload; /* of type 2: where it begins */
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
    w->number = number;
    w->type = (unsigned)(key & 7);
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
    w->payload = w->at;
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

enum {
    LENGTH_BYTES = 5, /* of a length that is written before it is known */
    CUT_BYTES = 2 + 8 + 1 + LENGTH_BYTES
};

typedef struct cutter {
    walk w;
    const md_wire_rule *rule;
    uint8_t *to; /* NULL: count only */
    size_t n_written, n_cuts;
    md_wire_cut *cuts;
    size_t length_at[MD_WIRE_MAX_DEPTH]; /* where each open message's length belongs */
    bool seen[MD_WIRE_MAX_DEPTH];        /* the rule's field, in each open message */
    size_t cut[MD_WIRE_MAX_DEPTH];       /* what is cut out of each: index + 1; 0: nothing */
} cutter;

static void put(cutter *c, const uint8_t *bytes, size_t n)
{
    if (c->to != NULL && n > 0) {
        memcpy(c->to + c->n_written, bytes, n);
    }
    c->n_written += n;
}

/* A number in five bytes, however small. */
static void long_varint(uint64_t value, uint8_t *ret)
{
    for (unsigned i = 0; i < LENGTH_BYTES; i++) {
        ret[i] = (uint8_t)((value >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80U : 0U));
    }
}

static void close_message(cutter *c)
{
    const unsigned at = --c->w.depth;
    if (c->cut[at] > 0) {
        const uint64_t index = c->cut[at] - 1;
        uint8_t bytes[CUT_BYTES] = {(uint8_t)(c->rule->field << 3 | 2U), 8};
        for (unsigned i = 0; i < 8; i++) {
            bytes[2 + i] = (uint8_t)(index >> (8 * i));
        }
        bytes[10] = (uint8_t)(c->rule->mark_field << 3);
        long_varint(c->rule->mark, bytes + 11);
        put(c, bytes, sizeof bytes);
    }
    if (at > 0 && c->to != NULL) {
        const size_t start = c->length_at[at];
        long_varint(c->n_written - start - LENGTH_BYTES, c->to + start);
    }
}

static void open_message(cutter *c, const uint8_t *start)
{
    const uint8_t zeros[LENGTH_BYTES] = {0};
    const uint8_t *end = start;
    while ((*end++ & 0x80) != 0) {
    }
    put(c, start, (size_t)(end - start));
    const unsigned at = c->w.depth - 1;
    c->length_at[at] = c->n_written;
    c->seen[at] = false;
    c->cut[at] = 0;
    put(c, zeros, sizeof zeros);
}

static md_status copy_field(cutter *c, const uint8_t *bytes, const uint8_t *start)
{
    const unsigned at = c->w.depth - 1;
    const size_t n_payload = c->w.type == 2 ? (size_t)(c->w.at - c->w.payload) : 0;
    const bool inside = c->w.stack[at].descriptor == c->rule->message;
    if (inside && c->w.number == c->rule->mark_field &&
        (c->w.type != 0 || c->w.at - start != 2 || start[1] >= c->rule->mark)) {
        return md_fail(c->w.err, MD_FORMAT, "field %u of a %s is out of range",
                       c->rule->mark_field, c->rule->message->short_name);
    }
    if (!inside || c->w.number != c->rule->field) {
        put(c, start, (size_t)(c->w.at - start));
        return MD_OK;
    }
    if (c->seen[at]) {
        return md_fail(c->w.err, MD_FORMAT, "field %u of a %s is there twice", c->rule->field,
                       c->rule->message->short_name);
    }
    c->seen[at] = true;
    if (n_payload < c->rule->least_bytes) {
        put(c, start, (size_t)(c->w.at - start));
        return MD_OK;
    }
    if (c->cuts != NULL) {
        c->cuts[c->n_cuts] = (md_wire_cut){(size_t)(c->w.payload - bytes), n_payload};
    }
    c->cut[at] = ++c->n_cuts;
    return MD_OK;
}

static md_status cut(cutter *c, const ProtobufCMessageDescriptor *descriptor,
                     const uint8_t *bytes, size_t size_bytes, md_error *err)
{
    c->w = (walk){.at = bytes, .depth = 1, .err = err};
    c->w.stack[0] = (frame){descriptor, bytes + size_bytes};
    c->n_written = c->n_cuts = 0;
    c->seen[0] = false;
    c->cut[0] = 0;
    while (c->w.depth > 0) {
        const unsigned depth = c->w.depth;
        const uint8_t *start = c->w.at;
        if (start == c->w.stack[depth - 1].end) {
            close_message(c);
            continue;
        }
        MD_TRY(read_field(&c->w));
        if (c->w.depth > depth) {
            open_message(c, start);
        } else {
            MD_TRY(copy_field(c, bytes, start));
        }
    }
    return MD_OK;
}

md_status md_wire_split(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                        size_t size_bytes, const md_wire_rule *rule, uint8_t **ret_small,
                        size_t *ret_small_bytes, md_wire_cut **ret_cuts, size_t *ret_n_cuts,
                        md_error *err)
{
    cutter c = {.rule = rule};
    MD_TRY(cut(&c, descriptor, bytes, size_bytes, err));
    MD_AUTO(md_freep) uint8_t *small = md_malloc(c.n_written);
    MD_AUTO(md_freep) md_wire_cut *cuts = md_calloc(c.n_cuts, sizeof *cuts);
    if (small == NULL || cuts == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes", c.n_written);
    }
    c.to = small;
    c.cuts = cuts;
    MD_TRY(cut(&c, descriptor, bytes, size_bytes, err));
    *ret_small = MD_STEAL(small);
    *ret_small_bytes = c.n_written;
    *ret_cuts = MD_STEAL(cuts);
    *ret_n_cuts = c.n_cuts;
    return MD_OK;
}
