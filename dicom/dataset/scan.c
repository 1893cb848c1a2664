#include "dicom/dataset/scan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define UNDEFINED_LENGTH 0xffffffffu
#define TAG_ITEM MD_TAG(0xfffe, 0xe000)
#define TAG_ITEM_END MD_TAG(0xfffe, 0xe00d)
#define TAG_SEQUENCE_END MD_TAG(0xfffe, 0xe0dd)
#define TAG_PIXEL_DATA MD_TAG(0x7fe0, 0x0010)
#define TAG_TRANSFER_SYNTAX MD_TAG(0x0002, 0x0010)

/* What a part of the walk found. */
typedef enum walk {
    WALK_OK,
    WALK_ODD,  /* not according to the standard: stop following */
    WALK_CUT,  /* the file ends too early; the error is set */
    WALK_DEEP, /* too deeply nested */
    WALK_IO,
} walk;

typedef struct element {
    uint32_t tag;
    char vr[3]; /* "" in implicit VR and for items */
    uint32_t length;
    uint64_t offset, value_offset;
} element;

typedef struct walker {
    md_scan_source *source;
    bool is_explicit, is_big_endian;
    unsigned depth;
    element cut; /* when WALK_CUT: the element that does not fit */
    bool is_cut_unclosed;
} walker;

void md_scan_source_file(md_scan_source *source, int fd, uint64_t total_bytes)
{
    source->fd = fd;
    source->bytes = NULL;
    source->total_bytes = total_bytes;
    source->window_start = 0;
    source->window_bytes = 0;
    source->os_errno = 0;
}

void md_scan_source_bytes(md_scan_source *source, const uint8_t *bytes, size_t size_bytes)
{
    md_scan_source_file(source, -1, size_bytes);
    source->bytes = bytes;
}

static bool fill_window(md_scan_source *source, uint64_t offset)
{
    size_t have = 0;
    while (have < sizeof source->window) {
        ssize_t got = pread(source->fd, source->window + have, sizeof source->window - have,
                            (off_t)(offset + have));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            source->os_errno = errno;
            return false;
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    source->window_start = offset;
    source->window_bytes = have;
    return true;
}

/* n bytes at the offset, n at most MD_SCAN_WINDOW_BYTES; NULL beyond the end or when reading
 * fails (then os_errno is set). Valid until the next call. */
static const uint8_t *peek(md_scan_source *source, uint64_t offset, size_t n)
{
    if (offset > source->total_bytes || source->total_bytes - offset < n) {
        return NULL;
    }
    if (source->bytes != NULL) {
        return source->bytes + offset;
    }
    bool inside = offset >= source->window_start &&
                  offset - source->window_start <= source->window_bytes &&
                  source->window_bytes - (offset - source->window_start) >= n;
    if (!inside) {
        if (!fill_window(source, offset) || source->window_bytes < n) {
            return NULL;
        }
    }
    return source->window + (offset - source->window_start);
}

static uint32_t read_u16(const uint8_t *p, bool is_big_endian)
{
    return is_big_endian ? ((uint32_t)p[0] << 8 | p[1]) : ((uint32_t)p[1] << 8 | p[0]);
}

static uint32_t read_u32(const uint8_t *p, bool is_big_endian)
{
    return is_big_endian ? (read_u16(p, true) << 16 | read_u16(p + 2, true))
                         : (read_u16(p + 2, false) << 16 | read_u16(p, false));
}

/* The value representations of PS3.5 6.2: 2 or 4 bytes of length; 0 for what is none. */
static unsigned vr_length_bytes(const char *vr)
{
    static const char two[][3] = {"AE", "AS", "AT", "CS", "DA", "DS", "DT",
                                  "FL", "FD", "IS", "LO", "LT", "PN", "SH",
                                  "SL", "SS", "ST", "TM", "UI", "UL", "US"};
    static const char four[][3] = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ",
                                   "SV", "UC", "UN", "UR", "UT", "UV"};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (strcmp(vr, two[i]) == 0) {
            return 2;
        }
    }
    for (size_t i = 0; i < sizeof four / sizeof *four; i++) {
        if (strcmp(vr, four[i]) == 0) {
            return 4;
        }
    }
    return 0;
}

static walk out_of_bytes(walker *w, const element *e)
{
    if (w->source->os_errno != 0) {
        return WALK_IO;
    }
    w->cut = *e;
    return WALK_CUT;
}

static walk read_element(walker *w, uint64_t offset, uint64_t end, element *ret)
{
    element e = {0};
    e.offset = offset;
    if (offset > end || end - offset < 8) {
        return WALK_ODD;
    }
    const uint8_t *p = peek(w->source, offset, 8);
    if (p == NULL) {
        return out_of_bytes(w, &e);
    }
    e.tag = MD_TAG(read_u16(p, w->is_big_endian), read_u16(p + 2, w->is_big_endian));
    bool is_marker = e.tag == TAG_ITEM || e.tag == TAG_ITEM_END || e.tag == TAG_SEQUENCE_END;
    if (is_marker || !w->is_explicit) {
        e.length = read_u32(p + 4, w->is_big_endian);
        e.value_offset = offset + 8;
        *ret = e;
        return WALK_OK;
    }
    memcpy(e.vr, p + 4, 2);
    unsigned length_bytes = vr_length_bytes(e.vr);
    if (length_bytes == 2) {
        e.length = read_u16(p + 6, w->is_big_endian);
        e.value_offset = offset + 8;
    } else if (length_bytes == 4) {
        p = end - offset < 12 ? NULL : peek(w->source, offset, 12);
        if (p == NULL) {
            return out_of_bytes(w, &e);
        }
        e.length = read_u32(p + 8, w->is_big_endian);
        e.value_offset = offset + 12;
    } else {
        return WALK_ODD;
    }
    *ret = e;
    return WALK_OK;
}

static walk walk_elements(walker *w, uint64_t start, uint64_t end, bool until_marker,
                          uint64_t *ret_next);

/* Items of a sequence from `start`, up to its delimiter (length undefined: `end` is the end of
 * what is around it) or to `end`. */
static walk walk_items(walker *w, const element *sequence, uint64_t end, bool is_undefined,
                       uint64_t *ret_next)
{
    if (++w->depth > MD_SCAN_MAX_DEPTH) {
        return WALK_DEEP;
    }
    uint64_t at = sequence->value_offset;
    for (;;) {
        if (at == end) {
            if (is_undefined) {
                w->is_cut_unclosed = true;
                return out_of_bytes(w, sequence);
            }
            break;
        }
        element item;
        walk found = read_element(w, at, end, &item);
        if (found != WALK_OK) {
            return found;
        }
        if (item.tag == TAG_SEQUENCE_END && is_undefined) {
            at = item.value_offset;
            break;
        }
        if (item.tag != TAG_ITEM) {
            return WALK_ODD;
        }
        if (item.length == UNDEFINED_LENGTH) {
            found = walk_elements(w, item.value_offset, end, true, &at);
        } else if (item.length > end - item.value_offset) {
            return out_of_bytes(w, &item);
        } else {
            uint64_t item_end = item.value_offset + item.length;
            found = walk_elements(w, item.value_offset, item_end, false, &at);
        }
        if (found != WALK_OK) {
            return found;
        }
    }
    w->depth--;
    *ret_next = at;
    return WALK_OK;
}

/* Fragments of encapsulated pixel data, PS3.5 A.4: raw items and a delimiter. */
static walk walk_fragments(walker *w, const element *pixels, uint64_t end, uint64_t *ret_next)
{
    uint64_t at = pixels->value_offset;
    for (;;) {
        element item;
        if (at == end) {
            w->is_cut_unclosed = true;
            return out_of_bytes(w, pixels);
        }
        walk found = read_element(w, at, end, &item);
        if (found != WALK_OK) {
            return found;
        }
        if (item.tag == TAG_SEQUENCE_END) {
            *ret_next = item.value_offset;
            return WALK_OK;
        }
        if (item.tag != TAG_ITEM || item.length == UNDEFINED_LENGTH) {
            return WALK_ODD;
        }
        if (item.length > end - item.value_offset) {
            return out_of_bytes(w, &item);
        }
        at = item.value_offset + item.length;
    }
}

static walk walk_undefined(walker *w, const element *e, uint64_t end, uint64_t *ret_next)
{
    if (strcmp(e->vr, "SQ") == 0 || (!w->is_explicit && e->tag != TAG_PIXEL_DATA)) {
        return walk_items(w, e, end, true, ret_next);
    }
    if (strcmp(e->vr, "UN") == 0) {
        /* PS3.5 6.2.2 note 4: what is inside is implicit VR little endian. */
        bool was_explicit = w->is_explicit, was_big = w->is_big_endian;
        w->is_explicit = false;
        w->is_big_endian = false;
        walk found = walk_items(w, e, end, true, ret_next);
        w->is_explicit = was_explicit;
        w->is_big_endian = was_big;
        return found;
    }
    if (e->tag == TAG_PIXEL_DATA) {
        return walk_fragments(w, e, end, ret_next);
    }
    return WALK_ODD;
}

/* A value of known length. In implicit VR and UN only the dictionary would tell whether it is a
 * sequence: whatever begins with an item is taken for one. */
static walk walk_defined(walker *w, const element *e)
{
    uint64_t end = e->value_offset + e->length, next;
    if (strcmp(e->vr, "SQ") == 0) {
        return walk_items(w, e, end, false, &next);
    }
    bool is_unknown = e->vr[0] == '\0' || strcmp(e->vr, "UN") == 0;
    if (!is_unknown || e->length < 8) {
        return WALK_OK;
    }
    const uint8_t *p = peek(w->source, e->value_offset, 4);
    if (p == NULL) {
        return out_of_bytes(w, e);
    }
    if (memcmp(p, "\xfe\xff\x00\xe0", 4) != 0) {
        return WALK_OK;
    }
    bool was_explicit = w->is_explicit, was_big = w->is_big_endian;
    w->is_explicit = false;
    w->is_big_endian = false;
    walk found = walk_items(w, e, end, false, &next);
    w->is_explicit = was_explicit;
    w->is_big_endian = was_big;
    return found == WALK_CUT ? WALK_ODD : found;
}

static walk walk_elements(walker *w, uint64_t start, uint64_t end, bool until_marker,
                          uint64_t *ret_next)
{
    uint64_t at = start;
    while (at != end) {
        element e;
        walk found = read_element(w, at, end, &e);
        if (found != WALK_OK) {
            return found;
        }
        if (e.tag == TAG_ITEM_END && until_marker) {
            *ret_next = e.value_offset;
            return WALK_OK;
        }
        if (e.tag >> 16 == 0xfffe) {
            return WALK_ODD;
        }
        if (e.length == UNDEFINED_LENGTH) {
            found = walk_undefined(w, &e, end, &at);
        } else if (e.length > end - e.value_offset) {
            return out_of_bytes(w, &e);
        } else {
            found = walk_defined(w, &e);
            at = e.value_offset + e.length;
        }
        if (found != WALK_OK) {
            return found;
        }
    }
    if (until_marker) {
        element item = {.tag = TAG_ITEM, .offset = start};
        w->is_cut_unclosed = true;
        return out_of_bytes(w, &item);
    }
    *ret_next = at;
    return WALK_OK;
}

/* Item markers in either byte order, whatever they are part of. */
static bool has_many_items(md_scan_source *source, bool *ret_has)
{
    unsigned n = 0;
    uint64_t at = 0;
    while (at + 4 <= source->total_bytes && n <= MD_SCAN_MAX_ITEMS_UNKNOWN) {
        uint64_t left = source->total_bytes - at;
        size_t take = left < MD_SCAN_WINDOW_BYTES ? (size_t)left : MD_SCAN_WINDOW_BYTES;
        const uint8_t *p = peek(source, at, take);
        if (p == NULL) {
            return false;
        }
        for (size_t i = 0; i + 4 <= take; i++) {
            if (memcmp(p + i, "\xfe\xff\x00\xe0", 4) == 0 ||
                memcmp(p + i, "\xff\xfe\xe0\x00", 4) == 0) {
                n++;
            }
        }
        at += take - 3;
    }
    *ret_has = n > MD_SCAN_MAX_ITEMS_UNKNOWN;
    return true;
}

static md_status judge(walker *w, walk found, md_scan *scan, md_error *err)
{
    switch (found) {
    case WALK_OK:
        return MD_OK;
    case WALK_IO:
        return md_fail_os(err, w->source->os_errno, "cannot read");
    case WALK_DEEP:
        return md_fail(err, MD_LIMIT, "sequences nested more than %d levels deep",
                       MD_SCAN_MAX_DEPTH);
    case WALK_CUT:
        if (w->is_cut_unclosed) {
            return md_fail(err, MD_FORMAT,
                           "cut short: (%04X,%04X) at offset %llu is not closed before the "
                           "file ends at %llu",
                           w->cut.tag >> 16, w->cut.tag & 0xffff,
                           (unsigned long long)w->cut.offset,
                           (unsigned long long)w->source->total_bytes);
        }
        return md_fail(err, MD_FORMAT,
                       "cut short: (%04X,%04X) at offset %llu needs %lu bytes, beyond the end "
                       "at %llu",
                       w->cut.tag >> 16, w->cut.tag & 0xffff, (unsigned long long)w->cut.offset,
                       (unsigned long)w->cut.length,
                       (unsigned long long)w->source->total_bytes);
    case WALK_ODD:
        break;
    }
    bool has_many = false;
    if (!has_many_items(w->source, &has_many)) {
        return md_fail_os(err, w->source->os_errno, "cannot read");
    }
    if (has_many) {
        return md_fail(err, MD_FORMAT, "broken structure with more than %d sequence items",
                       MD_SCAN_MAX_ITEMS_UNKNOWN);
    }
    scan->is_odd = true;
    return MD_OK;
}

/* An element that may open a dataset; groups 0002, 0004 and 0008 are the lowest in use. */
static bool is_first_element(md_scan_source *source, uint64_t offset, md_scan *scan)
{
    const uint8_t *p = peek(source, offset, 8);
    if (p == NULL) {
        return false;
    }
    char vr[3] = {(char)p[4], (char)p[5], '\0'};
    bool has_vr = vr_length_bytes(vr) != 0;
    uint32_t little = read_u16(p, false), big = read_u16(p, true);
    bool is_little = little == 2 || little == 4 || little == 8;
    if (is_little && has_vr) {
        scan->is_explicit = true;
        scan->is_big_endian = false;
        return true;
    }
    if (has_vr && (big == 2 || big == 4 || big == 8)) {
        scan->is_explicit = true;
        scan->is_big_endian = true;
        return true;
    }
    scan->is_explicit = false;
    scan->is_big_endian = false;
    /* Implicit: no VR to know it by, so the first value must be short as all are that can come
     * first. */
    uint32_t length = read_u32(p + 4, false);
    return is_little && read_u16(p + 2, false) <= 0x0020 && length <= 1024 &&
           length <= source->total_bytes - offset - 8;
}

static bool is_explicit_element(md_scan_source *source, uint64_t offset)
{
    const uint8_t *p = peek(source, offset, 8);
    char vr[3] = {0};
    if (p != NULL) {
        memcpy(vr, p + 4, 2);
    }
    /* Two letters: an unknown VR is for DCMTK to judge. */
    return vr[0] >= 'A' && vr[0] <= 'Z' && vr[1] >= 'A' && vr[1] <= 'Z';
}

static bool has_preamble(md_scan_source *source)
{
    const uint8_t *p = peek(source, 128, 4);
    return p != NULL && memcmp(p, "DICM", 4) == 0;
}

bool md_scan_sniff(md_scan_source *source)
{
    md_scan scan = {0};
    return has_preamble(source) || is_first_element(source, 0, &scan);
}

static void keep_transfer_syntax(md_scan_source *source, const element *e, md_scan *scan)
{
    const uint8_t *p =
        e->length < MD_UID_BYTES ? peek(source, e->value_offset, e->length) : NULL;
    if (p == NULL) {
        return;
    }
    size_t length = e->length;
    while (length > 0 && (p[length - 1] == '\0' || p[length - 1] == ' ')) {
        length--;
    }
    memcpy(scan->transfer_syntax, p, length);
    scan->transfer_syntax[length] = '\0';
}

/* The group 0002, always explicit VR little endian (PS3.10 7.1). */
static walk walk_meta(walker *w, uint64_t start, md_scan *scan)
{
    uint64_t at = start;
    for (;;) {
        const uint8_t *p = peek(w->source, at, 2);
        if (p == NULL || read_u16(p, false) != 2) {
            break;
        }
        element e;
        walk found = read_element(w, at, w->source->total_bytes, &e);
        if (found != WALK_OK) {
            return found;
        }
        if (e.length == UNDEFINED_LENGTH) {
            return WALK_ODD;
        }
        if (e.length > w->source->total_bytes - e.value_offset) {
            return out_of_bytes(w, &e);
        }
        if (e.tag == TAG_TRANSFER_SYNTAX) {
            if (scan->transfer_syntax[0] != '\0') {
                return WALK_ODD; /* which of the two DCMTK would take is not for us to guess */
            }
            keep_transfer_syntax(w->source, &e, scan);
        }
        at = e.value_offset + e.length;
        scan->has_meta = true;
    }
    scan->dataset_offset = at;
    return WALK_OK;
}

/* False when the encoding must be found by inspection: a private or missing syntax. */
static bool encoding_of_syntax(md_scan *scan)
{
    const char *uid = scan->transfer_syntax;
    scan->is_explicit = true;
    scan->is_big_endian = false;
    if (strcmp(uid, "1.2.840.10008.1.2") == 0) {
        scan->is_explicit = false;
        return true;
    }
    if (strcmp(uid, "1.2.840.10008.1.2.2") == 0) {
        scan->is_big_endian = true;
        return true;
    }
    if (strcmp(uid, "1.2.840.10008.1.2.1.99") == 0) {
        scan->is_deflated = true;
        return true;
    }
    return strncmp(uid, "1.2.840.10008.1.2.", 18) == 0;
}

md_status md_scan_file(md_scan_source *source, md_scan *ret_scan, md_error *err)
{
    md_scan scan = {0};
    bool preamble = has_preamble(source);
    bool is_known = preamble || is_first_element(source, 0, &scan);
    if (source->os_errno != 0) {
        return md_fail_os(err, source->os_errno, "cannot read");
    }
    if (!is_known) {
        return md_fail(err, MD_FORMAT, "not DICOM: neither a DICM prefix nor a dataset");
    }
    walker w = {.source = source, .is_explicit = true};
    walk found = walk_meta(&w, preamble ? 132 : 0, &scan);
    if (found == WALK_ODD) {
        return md_fail(err, MD_FORMAT, "broken meta header (group 0002)");
    }
    MD_TRY(judge(&w, found, &scan, err));
    if (scan.dataset_offset == source->total_bytes) {
        return md_fail(err, MD_FORMAT, "cut short: no dataset after the meta header");
    }
    scan.is_inspected = !encoding_of_syntax(&scan);
    if (scan.is_inspected) {
        scan.is_odd = !is_first_element(source, scan.dataset_offset, &scan);
    } else if (scan.is_explicit && !scan.is_deflated &&
               !is_explicit_element(source, scan.dataset_offset)) {
        return md_fail(err, MD_FORMAT,
                       "the dataset is not in explicit VR, which its transfer syntax promises");
    }
    if (!scan.is_deflated) {
        MD_TRY(md_scan_dataset(source, &scan, err));
    }
    *ret_scan = scan;
    return MD_OK;
}

md_status md_scan_dataset(md_scan_source *source, md_scan *scan, md_error *err)
{
    walker w = {.source = source,
                .is_explicit = scan->is_explicit,
                .is_big_endian = scan->is_big_endian};
    uint64_t next;
    walk found = scan->is_odd ? WALK_ODD
                              : walk_elements(&w, scan->dataset_offset, source->total_bytes,
                                              false, &next);
    return judge(&w, found, scan, err);
}
