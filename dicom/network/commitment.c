#include "dicom/network/commitment.h"

#include "dicom/network/bytes.h"

#include <string.h>

enum {
    TAG_CLASS = 0x00081150,
    TAG_INSTANCE = 0x00081155,
    TAG_TRANSACTION = 0x00081195,
    TAG_REASON = 0x00081197,
    TAG_FAILED_SEQUENCE = 0x00081198,
    TAG_SEQUENCE = 0x00081199,
    HEADER_BYTES = 8, /* of an item, and of a UI in both encodings */
    LONG_HEADER_BYTES = 12
};
#define TAG_ITEM 0xfffee000u
#define TAG_ITEM_END 0xfffee00du
#define TAG_SEQUENCE_END 0xfffee0ddu
#define UNDEFINED 0xffffffffu

/* ---- writing ---- */

static size_t padded_length(const char *uid)
{
    size_t length = strlen(uid);
    return length + length % 2;
}

static void put_tag(uint8_t *p, uint32_t tag)
{
    md_put_le16(p, (uint16_t)(tag >> 16));
    md_put_le16(p + 2, (uint16_t)tag);
}

static uint8_t *put_uid(uint8_t *p, uint32_t tag, const char *uid, bool is_explicit)
{
    size_t length = padded_length(uid);
    put_tag(p, tag);
    if (is_explicit) {
        memcpy(p + 4, "UI", 2);
        md_put_le16(p + 6, (uint16_t)length);
    } else {
        md_put_le32(p + 4, (uint32_t)length);
    }
    memset(p + HEADER_BYTES, 0, length);
    memcpy(p + HEADER_BYTES, uid, strlen(uid));
    return p + HEADER_BYTES + length;
}

static size_t item_length(const md_commit_reference *reference)
{
    return 2 * (size_t)HEADER_BYTES + padded_length(reference->sop_class_uid) +
           padded_length(reference->sop_instance_uid);
}

static uint8_t *put_sequence_header(uint8_t *p, size_t length, bool is_explicit)
{
    put_tag(p, TAG_SEQUENCE);
    if (!is_explicit) {
        md_put_le32(p + 4, (uint32_t)length);
        return p + HEADER_BYTES;
    }
    memcpy(p + 4, "SQ\0\0", 4);
    md_put_le32(p + 8, (uint32_t)length);
    return p + LONG_HEADER_BYTES;
}

md_status md_commit_write_request(const char *transaction_uid,
                                  const md_commit_reference *references, size_t n,
                                  md_encoding encoding, uint8_t **ret_bytes,
                                  size_t *ret_size_bytes, md_error *err)
{
    bool is_explicit = encoding == MD_ENCODING_EXPLICIT_LITTLE;
    size_t sequence_bytes = 0;
    if ((!is_explicit && encoding != MD_ENCODING_IMPLICIT_LITTLE) ||
        n > MD_COMMIT_MAX_REFERENCES) {
        return md_fail(err, MD_INVALID_ARG,
                       "%zu references, or an encoding that is not written", n);
    }
    for (size_t i = 0; i < n; i++) {
        sequence_bytes += HEADER_BYTES + item_length(&references[i]);
    }
    uint8_t *bytes = md_malloc(HEADER_BYTES + padded_length(transaction_uid) +
                               LONG_HEADER_BYTES + sequence_bytes);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a request of %zu references", n);
    }
    uint8_t *p = put_uid(bytes, TAG_TRANSACTION, transaction_uid, is_explicit);
    p = put_sequence_header(p, sequence_bytes, is_explicit);
    for (size_t i = 0; i < n; i++) {
        put_tag(p, TAG_ITEM);
        md_put_le32(p + 4, (uint32_t)item_length(&references[i]));
        p = put_uid(p + HEADER_BYTES, TAG_CLASS, references[i].sop_class_uid, is_explicit);
        p = put_uid(p, TAG_INSTANCE, references[i].sop_instance_uid, is_explicit);
    }
    *ret_bytes = bytes;
    *ret_size_bytes = (size_t)(p - bytes);
    return MD_OK;
}

/* ---- reading ---- */

typedef struct cursor {
    const uint8_t *at, *end;
    bool is_explicit;
} cursor;

typedef struct element {
    uint32_t tag, length;
    bool is_sequence;    /* by its VR, or by its undefined length */
    bool holds_implicit; /* a UN of undefined length, PS3.5 6.2.2 note 4 */
} element;

/* What is being read. */
typedef enum place {
    AT_ROOT,
    IN_KEPT,   /* an item of the Referenced SOP Sequence */
    IN_FAILED, /* of the Failed SOP Sequence */
    ELSEWHERE
} place;

static md_status read_header(cursor *c, element *ret_element, md_error *err)
{
    if (c->end - c->at < HEADER_BYTES) {
        return md_fail(err, MD_FORMAT, "the report is cut within an element");
    }
    const uint8_t *p = c->at;
    element e = {.tag = (uint32_t)md_get_le16(p) << 16 | md_get_le16(p + 2)};
    bool is_delimiter = e.tag >> 16 == 0xfffe;
    size_t n = HEADER_BYTES;
    if (c->is_explicit && !is_delimiter) {
        static const char longs[] = "OB OD OF OL OV OW SQ SV UC UN UR UT UV ";
        char vr[4] = {(char)p[4], (char)p[5], ' ', '\0'};
        bool is_long = p[4] >= 'A' && p[4] <= 'Z' && strstr(longs, vr) != NULL;
        n = is_long ? LONG_HEADER_BYTES : HEADER_BYTES;
        if (c->end - c->at < (ptrdiff_t)n) {
            return md_fail(err, MD_FORMAT, "the report is cut within an element");
        }
        e.length = is_long ? md_get_le32(p + 8) : md_get_le16(p + 6);
        e.is_sequence = memcmp(p + 4, "SQ", 2) == 0 || (is_long && e.length == UNDEFINED);
        e.holds_implicit = memcmp(p + 4, "UN", 2) == 0;
    } else {
        e.length = md_get_le32(p + 4);
        e.is_sequence = !is_delimiter && (e.length == UNDEFINED || e.tag == TAG_SEQUENCE ||
                                          e.tag == TAG_FAILED_SEQUENCE);
    }
    c->at += n;
    if (e.length != UNDEFINED && e.length > (size_t)(c->end - c->at)) {
        return md_fail(err, MD_FORMAT, "(%04x,%04x) of the report claims %lu bytes",
                       (unsigned)(e.tag >> 16), (unsigned)(e.tag & 0xffff),
                       (unsigned long)e.length);
    }
    *ret_element = e;
    return MD_OK;
}

/* The bytes of an element's value, and the cursor behind them. */
static cursor value_of(cursor *c, const element *e)
{
    cursor inside = {c->at, e->length == UNDEFINED ? c->end : c->at + e->length,
                     c->is_explicit && !e->holds_implicit};
    return inside;
}

static md_status add_reference(md_commit_report *report, const md_commit_reference *reference,
                               size_t *n_room, md_error *err)
{
    if (reference->sop_instance_uid[0] == '\0') {
        return MD_OK;
    }
    if (report->n == MD_COMMIT_MAX_REFERENCES) {
        return md_fail(err, MD_LIMIT, "the report has more than %d references",
                       MD_COMMIT_MAX_REFERENCES);
    }
    if (report->n == *n_room) {
        size_t room = *n_room == 0 ? 64 : 2 * *n_room;
        md_commit_reference *grown = md_realloc(report->references, room * sizeof *grown);
        if (grown == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a report of %zu references", room);
        }
        report->references = grown;
        *n_room = room;
    }
    report->references[report->n++] = *reference;
    return MD_OK;
}

typedef struct reading {
    md_commit_report *report;
    size_t n_room;
} reading;

static md_status read_elements(reading *now, cursor *c, place where, unsigned depth,
                               md_commit_reference *item, md_error *err);

/* The items of a sequence, to its end or its delimiter. */
static md_status read_items(reading *now, cursor *c, place where, unsigned depth, md_error *err)
{
    if (depth > MD_COMMIT_MAX_DEPTH) {
        return md_fail(err, MD_LIMIT, "the report is nested deeper than %d",
                       MD_COMMIT_MAX_DEPTH);
    }
    while (c->at < c->end) {
        element e = {0};
        md_commit_reference item = {.failed = where == IN_FAILED};
        MD_TRY(read_header(c, &e, err));
        if (e.tag == TAG_SEQUENCE_END) {
            return MD_OK;
        }
        if (e.tag != TAG_ITEM) {
            return md_fail(err, MD_FORMAT, "(%04x,%04x) of the report where an item must be",
                           (unsigned)(e.tag >> 16), (unsigned)(e.tag & 0xffff));
        }
        cursor inside = value_of(c, &e);
        MD_TRY(read_elements(now, &inside, where, depth, &item, err));
        c->at = e.length == UNDEFINED ? inside.at : c->at + e.length;
        if (where != ELSEWHERE) {
            MD_TRY(add_reference(now->report, &item, &now->n_room, err));
        }
    }
    return MD_OK;
}

static void take_value(reading *now, const cursor *c, const element *e, place where,
                       md_commit_reference *item)
{
    bool in_item = where == IN_KEPT || where == IN_FAILED;
    if (where == AT_ROOT && e->tag == TAG_TRANSACTION) {
        (void)md_uid_copy(c->at, e->length, now->report->transaction_uid);
    } else if (in_item && e->tag == TAG_CLASS) {
        (void)md_uid_copy(c->at, e->length, item->sop_class_uid);
    } else if (in_item && e->tag == TAG_INSTANCE) {
        (void)md_uid_copy(c->at, e->length, item->sop_instance_uid);
    } else if (in_item && e->tag == TAG_REASON && e->length == 2) {
        item->failure_reason = md_get_le16(c->at);
    }
}

/* Elements to the end, or to the delimiter of their item. */
static md_status read_elements(reading *now, cursor *c, place where, unsigned depth,
                               md_commit_reference *item, md_error *err)
{
    while (c->at < c->end) {
        element e = {0};
        MD_TRY(read_header(c, &e, err));
        if (e.tag == TAG_ITEM_END) {
            return MD_OK;
        }
        if (!e.is_sequence) {
            if (e.length == UNDEFINED) {
                return md_fail(err, MD_FORMAT, "(%04x,%04x) of the report has no length",
                               (unsigned)(e.tag >> 16), (unsigned)(e.tag & 0xffff));
            }
            take_value(now, c, &e, where, item);
            c->at += e.length;
            continue;
        }
        place inner = where != AT_ROOT               ? ELSEWHERE
                      : e.tag == TAG_SEQUENCE        ? IN_KEPT
                      : e.tag == TAG_FAILED_SEQUENCE ? IN_FAILED
                                                     : ELSEWHERE;
        cursor inside = value_of(c, &e);
        MD_TRY(read_items(now, &inside, inner, depth + 1, err));
        c->at = e.length == UNDEFINED ? inside.at : c->at + e.length;
    }
    return MD_OK;
}

md_status md_commit_read_report(const uint8_t *bytes, size_t size_bytes, md_encoding encoding,
                                md_commit_report *ret_report, md_error *err)
{
    md_commit_report report = {0};
    reading now = {.report = &report};
    cursor c = {bytes, bytes + size_bytes, encoding == MD_ENCODING_EXPLICIT_LITTLE};
    md_status status = read_elements(&now, &c, AT_ROOT, 0, NULL, err);
    if (status == MD_OK && report.transaction_uid[0] == '\0') {
        status = md_fail(err, MD_FORMAT, "the report has no transaction UID");
    }
    if (status != MD_OK) {
        md_commit_report_finish(&report);
        return status;
    }
    *ret_report = report;
    return MD_OK;
}

void md_commit_report_finish(md_commit_report *report)
{
    md_free(report->references);
    report->references = NULL;
    report->n = 0;
}
