#include "dicom/network/identity.h"

#include "dicom/network/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
    WINDOW_BYTES = 4096,
    UNDEFINED = 0xffffffffU,
    TAG_ITEM = 0xfffee000U,
    TAG_ITEM_END = 0xfffee00dU,
    TAG_SEQUENCE_END = 0xfffee0ddU,
    TAG_PIXEL_DATA = 0x7fe00010U,
};

/* The dataset's bytes in order: out of the file, or inflated out of it. */
typedef struct source {
    int fd;
    const md_identity_part *parts; /* two, or NULL */
    uint64_t file_at, file_end;
    bool deflated, stream_ended;
    z_stream inflater;
    uint64_t max_bytes;
    uint64_t position; /* of window[begin] in the dataset */
    size_t begin, end;
    uint8_t window[WINDOW_BYTES];
    uint8_t compressed[WINDOW_BYTES];
} source;

/* Up to n bytes that are in memory, if those at file_at are. */
static size_t read_parts(source *from, uint8_t *to, size_t n)
{
    for (unsigned i = 0; from->parts != NULL && i < 2; i++) {
        const md_identity_part *part = &from->parts[i];
        if (from->file_at >= part->file_at && from->file_at - part->file_at < part->n) {
            size_t at = (size_t)(from->file_at - part->file_at);
            size_t have = part->n - at < n ? part->n - at : n;
            memcpy(to, part->bytes + at, have);
            return have;
        }
    }
    return 0;
}

static md_status read_file(source *from, uint8_t *to, size_t capacity, size_t *ret_n,
                           md_error *err)
{
    uint64_t left = from->file_end - from->file_at;
    size_t wanted = left < capacity ? (size_t)left : capacity;
    *ret_n = read_parts(from, to, wanted);
    from->file_at += *ret_n;
    while (wanted > 0 && *ret_n == 0) {
        ssize_t n = pread(from->fd, to, wanted, (off_t)from->file_at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? md_fail_os(err, errno, "read back the object")
                         : md_fail(err, MD_IO, "the object's file has become shorter");
        }
        from->file_at += (uint64_t)n;
        *ret_n = (size_t)n;
    }
    return MD_OK;
}

static md_status inflate_more(source *from, uint8_t *to, size_t capacity, size_t *ret_n,
                              md_error *err)
{
    z_stream *z = &from->inflater;
    z->next_out = to;
    z->avail_out = (unsigned)capacity;
    while (z->avail_out == capacity && !from->stream_ended) {
        if (z->avail_in == 0) {
            size_t n = 0;
            MD_TRY(read_file(from, from->compressed, sizeof from->compressed, &n, err));
            if (n == 0) {
                return md_fail(err, MD_FORMAT, "the deflated dataset is cut short");
            }
            z->next_in = from->compressed;
            z->avail_in = (unsigned)n;
        }
        int result = inflate(z, Z_NO_FLUSH);
        if (result == Z_STREAM_END) {
            from->stream_ended = true;
        } else if (result != Z_OK) {
            return result == Z_MEM_ERROR
                       ? md_fail(err, MD_NOMEM, "no memory to inflate the dataset")
                       : md_fail(err, MD_FORMAT, "the deflated dataset is broken");
        }
    }
    *ret_n = capacity - z->avail_out;
    if (from->position + (from->end - from->begin) + *ret_n > from->max_bytes) {
        return md_fail(err, MD_LIMIT, "the deflated dataset is longer than %llu bytes",
                       (unsigned long long)from->max_bytes);
    }
    return MD_OK;
}

/* Have at least n bytes in the window, or as many as there are until the end. */
static md_status fill(source *from, size_t n, md_error *err)
{
    if (from->end - from->begin >= n) {
        return MD_OK;
    }
    memmove(from->window, from->window + from->begin, from->end - from->begin);
    from->end -= from->begin;
    from->begin = 0;
    while (from->end < n) {
        size_t more = 0;
        uint8_t *to = from->window + from->end;
        size_t capacity = WINDOW_BYTES - from->end;
        MD_TRY(from->deflated ? inflate_more(from, to, capacity, &more, err)
                              : read_file(from, to, capacity, &more, err));
        if (more == 0) {
            break;
        }
        from->end += more;
    }
    return MD_OK;
}

static void advance(source *from, size_t n)
{
    from->begin += n;
    from->position += n;
}

/* The next n bytes (at most WINDOW_BYTES), valid until the next call; steps over them. */
static md_status take(source *from, size_t n, const uint8_t **ret_bytes, md_error *err)
{
    MD_TRY(fill(from, n, err));
    if (from->end - from->begin < n) {
        return md_fail(err, MD_FORMAT, "the dataset is cut short at byte %llu",
                       (unsigned long long)(from->position + (from->end - from->begin)));
    }
    *ret_bytes = from->window + from->begin;
    advance(from, n);
    return MD_OK;
}

static md_status skip(source *from, uint32_t tag, uint32_t length, md_error *err)
{
    uint64_t left = length;
    while (left > 0) {
        size_t have = from->end - from->begin;
        if (have > 0) {
            size_t step = left < have ? (size_t)left : have;
            advance(from, step);
            left -= step;
        } else if (!from->deflated && left <= from->file_end - from->file_at) {
            from->file_at += left;
            from->position += left;
            left = 0;
        } else {
            if (from->deflated) {
                MD_TRY(fill(from, 1, err));
            }
            if (from->begin == from->end) {
                return md_fail(err, MD_FORMAT,
                               "element (%04x,%04x) claims %lu bytes, the dataset is cut short",
                               (unsigned)(tag >> 16), (unsigned)(tag & 0xffff),
                               (unsigned long)length);
            }
        }
    }
    return MD_OK;
}

typedef enum level_kind {
    LEVEL_DATASET,
    LEVEL_SEQUENCE,  /* of undefined length: items or its delimiter come next */
    LEVEL_ITEM,      /* of undefined length: elements or its delimiter */
    LEVEL_FRAGMENTS, /* encapsulated pixel data: items of defined length */
} level_kind;

typedef struct level {
    level_kind kind;
    bool implicit, big;
    uint32_t sequence; /* wanted, and this is it or its first item; 0: not so */
    unsigned n_items;  /* of a wanted one: begun */
} level;

typedef struct walk {
    source from;
    unsigned depth;
    level levels[2 * MD_IDENTITY_MAX_DEPTH + 1];
    const md_wanted *wanted; /* or NULL */
    md_identity found;
} walk;

static uint16_t get16(bool big, const uint8_t *p)
{
    return big ? md_get_be16(p) : md_get_le16(p);
}

static uint32_t get32(bool big, const uint8_t *p)
{
    return big ? md_get_be32(p) : md_get_le32(p);
}

static md_status push(walk *at, level_kind kind, bool implicit, bool big, md_error *err)
{
    if (at->depth + 1 >= sizeof at->levels / sizeof at->levels[0]) {
        return md_fail(err, MD_LIMIT, "sequences are nested more than %d deep",
                       MD_IDENTITY_MAX_DEPTH);
    }
    at->depth++;
    at->levels[at->depth] = (level){.kind = kind, .implicit = implicit, .big = big};
    return MD_OK;
}

/* True for the VRs whose length has 2 bytes (PS3.5 table 7.1-2); all others, also ones that are
 * not invented yet, have 2 reserved and 4 length bytes. */
static bool is_short_vr(const uint8_t vr[2])
{
    static const char names[] = "AEASATCSDADSDTFLFDISLOLTPNSHSLSSSTTMUIULUS";
    for (size_t i = 0; i + 1 < sizeof names; i += 2) {
        if (vr[0] == (uint8_t)names[i] && vr[1] == (uint8_t)names[i + 1]) {
            return true;
        }
    }
    return false;
}

/* Where the value of `tag` goes at the top level; NULL when it is of no interest. */
static char *identity_field(md_identity *identity, uint32_t tag)
{
    switch (tag) {
    case MD_TAG(0x0008, 0x0016):
        return identity->sop_class_uid;
    case MD_TAG(0x0008, 0x0018):
        return identity->sop_instance_uid;
    case MD_TAG(0x0020, 0x000d):
        return identity->study_instance_uid;
    case MD_TAG(0x0020, 0x000e):
        return identity->series_instance_uid;
    default:
        return NULL;
    }
}

static md_status take_uid(walk *at, uint32_t tag, uint32_t length, char *field, md_error *err)
{
    unsigned group = (unsigned)(tag >> 16), element = (unsigned)(tag & 0xffff);
    const uint8_t *bytes = NULL;
    if (length > MD_UID_BYTES + 1) {
        return md_fail(err, MD_FORMAT, "(%04x,%04x) has %lu bytes, a UID has at most 64", group,
                       element, (unsigned long)length);
    }
    if (field[0] != '\0') {
        return md_fail(err, MD_FORMAT, "(%04x,%04x) is there twice", group, element);
    }
    MD_TRY(take(&at->from, length, &bytes, err));
    if (!md_uid_copy(bytes, length, field)) {
        return md_fail(err, MD_FORMAT, "(%04x,%04x) is empty or no UID", group, element);
    }
    return MD_OK;
}

static md_status take_patient_id(walk *at, uint32_t tag, uint32_t length, md_error *err)
{
    const uint8_t *bytes = NULL;
    char *id = at->found.patient_id;
    size_t n = length < MD_IDENTITY_TEXT_BYTES - 1 ? length : MD_IDENTITY_TEXT_BYTES - 1;
    MD_TRY(take(&at->from, n, &bytes, err));
    while (n > 0 && (bytes[n - 1] == ' ' || bytes[n - 1] == '\0')) {
        n--;
    }
    while (n > 0 && *bytes == ' ') {
        bytes++;
        n--;
    }
    memcpy(id, bytes, n);
    id[n] = '\0';
    return length < MD_IDENTITY_TEXT_BYTES
               ? MD_OK
               : skip(&at->from, tag, length - (MD_IDENTITY_TEXT_BYTES - 1), err);
}

/* Where a wanted value goes; NULL when it is not wanted, or was there before. */
static md_wanted_value *wanted_value(walk *at, uint32_t sequence, uint32_t tag)
{
    if (sequence == 0 && tag == MD_TAG(0x0008, 0x0005)) {
        return at->found.charset.is_there ? NULL : &at->found.charset;
    }
    for (unsigned i = 0; at->wanted != NULL && i < at->wanted->n; i++) {
        if (at->wanted->tags[i].sequence == sequence && at->wanted->tags[i].tag == tag) {
            return at->found.values[i].is_there ? NULL : &at->found.values[i];
        }
    }
    return NULL;
}

static bool is_wanted_sequence(const walk *at, uint32_t tag)
{
    for (unsigned i = 0; at->wanted != NULL && i < at->wanted->n; i++) {
        if (at->wanted->tags[i].sequence == tag) {
            return true;
        }
    }
    return false;
}

static void keep_value(md_wanted_value *value, const uint8_t *bytes, size_t n, const char *vr,
                       bool big)
{
    value->is_there = true;
    value->is_big_endian = big;
    memcpy(value->vr, vr, sizeof value->vr);
    value->n_bytes = (uint16_t)(n < sizeof value->bytes ? n : sizeof value->bytes);
    memcpy(value->bytes, bytes, value->n_bytes);
}

/* Look at the elements of an item in memory. What is odd ends the look: the walk steps over the
 * whole all the same. */
static void peek_item(walk *at, uint32_t sequence, const uint8_t *bytes, size_t n,
                      const level *in)
{
    size_t i = 0;
    while (n - i >= 8) {
        const uint8_t *p = bytes + i;
        uint32_t tag = MD_TAG(get16(in->big, p), get16(in->big, p + 2));
        char vr[3] = "";
        size_t head = 8;
        uint32_t length = get32(in->big, p + 4);
        if (!in->implicit) {
            vr[0] = (char)p[4];
            vr[1] = (char)p[5];
            length = get16(in->big, p + 6);
            if (!is_short_vr(p + 4)) {
                head = 12;
                length = n - i >= 12 ? get32(in->big, p + 8) : UNDEFINED;
            }
        }
        if (tag >> 16 == 0xfffe || length == UNDEFINED || length > n - i - head) {
            return;
        }
        md_wanted_value *value = wanted_value(at, sequence, tag);
        if (value != NULL) {
            keep_value(value, p + head, length, vr, in->big);
        }
        i += head + length;
    }
}

/* The value of a sequence lies ahead: look at its first item, as far as the window goes. */
static md_status peek_sequence(walk *at, uint32_t sequence, uint32_t length, const level *in,
                               md_error *err)
{
    size_t n = length < WINDOW_BYTES ? length : WINDOW_BYTES;
    MD_TRY(fill(&at->from, n, err));
    size_t have = at->from.end - at->from.begin;
    const uint8_t *bytes = at->from.window + at->from.begin;
    n = n < have ? n : have;
    if (n < 8 || MD_TAG(get16(in->big, bytes), get16(in->big, bytes + 2)) != TAG_ITEM) {
        return MD_OK;
    }
    uint32_t item_bytes = get32(in->big, bytes + 4);
    peek_item(at, sequence, bytes + 8, item_bytes < n - 8 ? item_bytes : n - 8, in);
    return MD_OK;
}

/* The value of an element lies ahead: keep it if it is wanted. Nothing is stepped over. */
static md_status peek_value(walk *at, uint32_t tag, uint32_t length, const char *vr,
                            const level *in, md_error *err)
{
    uint32_t sequence = in->sequence;
    if (at->depth != 0 && sequence == 0) {
        return MD_OK;
    }
    if (at->depth == 0 && is_wanted_sequence(at, tag)) {
        return peek_sequence(at, tag, length, in, err);
    }
    md_wanted_value *value = wanted_value(at, sequence, tag);
    if (value != NULL) {
        size_t n = length < sizeof value->bytes ? length : sizeof value->bytes;
        MD_TRY(fill(&at->from, n, err));
        size_t have = at->from.end - at->from.begin;
        keep_value(value, at->from.window + at->from.begin, n < have ? n : have, vr, in->big);
    }
    return MD_OK;
}

/* One element of a dataset or item; its tag is read, what follows is not. */
static md_status walk_element(walk *at, uint32_t tag, md_error *err)
{
    const level now = at->levels[at->depth];
    const uint8_t *p = NULL;
    uint32_t length = 0;
    bool implicit_inside = now.implicit, is_ob_or_ow = false;
    bool may_be_undefined = now.implicit;
    char vr_text[3] = "";
    MD_TRY(take(&at->from, 4, &p, err));
    if (now.implicit) {
        length = get32(now.big, p);
    } else {
        const uint8_t vr[2] = {p[0], p[1]};
        memcpy(vr_text, vr, sizeof vr);
        if (vr[0] < 'A' || vr[0] > 'Z' || vr[1] < 'A' || vr[1] > 'Z') {
            return md_fail(err, MD_FORMAT, "element (%04x,%04x) at byte %llu has no VR",
                           (unsigned)(tag >> 16), (unsigned)(tag & 0xffff),
                           (unsigned long long)(at->from.position - 8));
        }
        length = get16(now.big, p + 2);
        if (!is_short_vr(vr)) {
            MD_TRY(take(&at->from, 4, &p, err));
            length = get32(now.big, p);
            is_ob_or_ow = vr[0] == 'O' && (vr[1] == 'B' || vr[1] == 'W');
            implicit_inside = vr[0] == 'U' && vr[1] == 'N';
            may_be_undefined = implicit_inside || (vr[0] == 'S' && vr[1] == 'Q');
        }
    }
    if (length == UNDEFINED && tag == TAG_PIXEL_DATA && (is_ob_or_ow || now.implicit)) {
        return push(at, LEVEL_FRAGMENTS, now.implicit, now.big, err);
    }
    if (length == UNDEFINED && may_be_undefined) {
        /* UN of undefined length holds implicit little endian, whatever is around: PS3.5 6.2.2
         */
        bool is_un = implicit_inside && !now.implicit;
        MD_TRY(push(at, LEVEL_SEQUENCE, implicit_inside, now.big && !is_un, err));
        if (at->depth == 1 && is_wanted_sequence(at, tag)) {
            at->levels[at->depth].sequence = tag;
        }
        return MD_OK;
    }
    if (length == UNDEFINED) {
        return md_fail(err, MD_FORMAT,
                       "element (%04x,%04x) has undefined length, but is no sequence",
                       (unsigned)(tag >> 16), (unsigned)(tag & 0xffff));
    }
    MD_TRY(peek_value(at, tag, length, vr_text, &now, err));
    if (at->depth == 0 && tag == MD_TAG(0x0010, 0x0020)) {
        return take_patient_id(at, tag, length, err);
    }
    char *field = at->depth == 0 ? identity_field(&at->found, tag) : NULL;
    return field != NULL ? take_uid(at, tag, length, field, err)
                         : skip(&at->from, tag, length, err);
}

/* What may come in a sequence or between pixel data fragments. */
static md_status walk_item(walk *at, uint32_t tag, md_error *err)
{
    const level now = at->levels[at->depth];
    bool is_first = now.sequence != 0 && at->levels[at->depth].n_items++ == 0;
    const uint8_t *p = NULL;
    MD_TRY(take(&at->from, 4, &p, err));
    uint32_t length = get32(now.big, p);
    if (tag == TAG_SEQUENCE_END) {
        at->depth--;
        return MD_OK;
    }
    if (tag != TAG_ITEM) {
        return md_fail(err, MD_FORMAT, "(%04x,%04x) where an item must be",
                       (unsigned)(tag >> 16), (unsigned)(tag & 0xffff));
    }
    if (length != UNDEFINED) {
        if (is_first) {
            size_t n = length < WINDOW_BYTES ? length : WINDOW_BYTES;
            MD_TRY(fill(&at->from, n, err));
            size_t have = at->from.end - at->from.begin;
            peek_item(at, now.sequence, at->from.window + at->from.begin, n < have ? n : have,
                      &now);
        }
        return skip(&at->from, tag, length, err);
    }
    if (now.kind == LEVEL_FRAGMENTS) {
        return md_fail(err, MD_FORMAT, "a pixel data fragment of undefined length");
    }
    MD_TRY(push(at, LEVEL_ITEM, now.implicit, now.big, err));
    at->levels[at->depth].sequence = is_first ? now.sequence : 0;
    return MD_OK;
}

static md_status walk_all(walk *at, md_error *err)
{
    for (;;) {
        const level now = at->levels[at->depth];
        const uint8_t *p = NULL;
        MD_TRY(fill(&at->from, 4, err));
        if (now.kind == LEVEL_DATASET && at->from.begin == at->from.end) {
            return MD_OK;
        }
        MD_TRY(take(&at->from, 4, &p, err));
        uint32_t tag = MD_TAG(get16(now.big, p), get16(now.big, p + 2));
        if (now.kind == LEVEL_SEQUENCE || now.kind == LEVEL_FRAGMENTS) {
            MD_TRY(walk_item(at, tag, err));
        } else if (now.kind == LEVEL_ITEM && tag == TAG_ITEM_END) {
            MD_TRY(take(&at->from, 4, &p, err));
            at->depth--;
        } else if (tag >> 16 == 0xfffe) {
            return md_fail(err, MD_FORMAT, "(%04x,%04x) at byte %llu belongs to no sequence",
                           (unsigned)(tag >> 16), (unsigned)(tag & 0xffff),
                           (unsigned long long)(at->from.position - 4));
        } else {
            MD_TRY(walk_element(at, tag, err));
        }
    }
}

static md_status check_complete(const md_identity *identity, md_error *err)
{
    if (identity->sop_class_uid[0] == '\0' || identity->sop_instance_uid[0] == '\0') {
        return md_fail(err, MD_FORMAT, "the dataset has no SOP Class or Instance UID");
    }
    if (identity->study_instance_uid[0] == '\0' || identity->series_instance_uid[0] == '\0') {
        return md_fail(err, MD_FORMAT, "the dataset has no Study or Series Instance UID");
    }
    return MD_OK;
}

md_status md_identity_read(int fd, uint64_t offset_bytes, md_encoding encoding,
                           uint64_t max_inflated_bytes, md_identity *ret_identity,
                           md_error *err)
{
    return md_identity_read_parts(fd, offset_bytes, NULL, encoding, max_inflated_bytes, NULL,
                                  ret_identity, err);
}

md_status md_identity_read_parts(int fd, uint64_t offset_bytes, const md_identity_part parts[2],
                                 md_encoding encoding, uint64_t max_inflated_bytes,
                                 const md_wanted *wanted, md_identity *ret_identity,
                                 md_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return md_fail_os(err, errno, "the object's file");
    }
    if ((uint64_t)info.st_size < offset_bytes) {
        return md_fail(err, MD_FORMAT, "the file ends before its dataset");
    }
    walk at;
    memset(&at, 0, sizeof at);
    at.from.fd = fd;
    at.from.parts = parts;
    at.wanted = wanted;
    at.from.file_at = offset_bytes;
    at.from.file_end = (uint64_t)info.st_size;
    at.from.max_bytes = max_inflated_bytes;
    at.from.deflated = encoding == MD_ENCODING_DEFLATED;
    at.levels[0].kind = LEVEL_DATASET;
    at.levels[0].implicit = encoding == MD_ENCODING_IMPLICIT_LITTLE;
    at.levels[0].big = encoding == MD_ENCODING_EXPLICIT_BIG;
    /* raw deflate, PS3.5 A.5: no zlib header */
    if (at.from.deflated && inflateInit2(&at.from.inflater, -MAX_WBITS) != Z_OK) {
        return md_fail(err, MD_NOMEM, "no memory to inflate the dataset");
    }
    md_status status = walk_all(&at, err);
    if (at.from.deflated) {
        (void)inflateEnd(&at.from.inflater);
    }
    if (status == MD_OK) {
        status = check_complete(&at.found, err);
    }
    if (status == MD_OK) {
        *ret_identity = at.found;
    }
    return status;
}
