/* HL7 v2: chapter 2 (delimiters 2.5.4, escapes 2.7, character sets 2.15.9.18 and table 0211), 7
 * (OBX). Only what is needed to read the observations. */

#include "dicom/dataset/hl7_text.h"

#include "base/utf8.h"
#include "dicom/dataset/dataset.h"
#include "dicom/dataset/text_step.h"

#include <string.h>

enum {
    MAX_FIELDS = 20,
};

typedef struct span {
    const char *at;
    size_t n;
} span;

typedef struct message {
    char field, component, repetition, escape, subcomponent;
    const char *charset; /* (0008,0005) for the same; NULL: to be found out */
    md_text_scheme scheme;
    char *text; /* the caller's */
    size_t n, size_bytes;
    bool is_cut;
} message;

/* The first such character, which is no half of another; `n` when there is none. */
static size_t find(const message *m, span s, char wanted)
{
    bool is_double = false;
    size_t i = 0;
    while (i < s.n) {
        const size_t take = md_text_step(m->scheme, s.at + i, s.n - i, &is_double);
        if (take == 1 && s.at[i] == wanted) {
            break;
        }
        i += take;
    }
    return i < s.n ? i : s.n;
}

/* The next piece up to `delimiter`; false when nothing is left. */
static bool next_piece(const message *m, span *rest, char delimiter, span *ret_piece)
{
    if (rest->at == NULL) {
        return false;
    }
    const size_t n = find(m, *rest, delimiter);
    const bool is_last = n == rest->n;
    *ret_piece = (span){rest->at, n};
    *rest = is_last ? (span){NULL, 0} : (span){rest->at + n + 1, rest->n - n - 1};
    return true;
}

static bool equals(span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.at, text, s.n) == 0;
}

/* ---- character set */

static const char *charset_of(span name)
{
    static const struct {
        const char *hl7, *dicom;
    } known[] = {
        {"ASCII", "ISO_IR 6"},
        {"ISO IR6", "ISO_IR 6"},
        {"8859/1", "ISO_IR 100"},
        {"8859/2", "ISO_IR 101"},
        {"8859/3", "ISO_IR 109"},
        {"8859/4", "ISO_IR 110"},
        {"8859/5", "ISO_IR 144"},
        {"8859/6", "ISO_IR 127"},
        {"8859/7", "ISO_IR 126"},
        {"8859/8", "ISO_IR 138"},
        {"8859/9", "ISO_IR 148"},
        {"8859/15", "ISO_IR 203"},
        {"ISO IR13", "ISO_IR 13"},
        {"ISO IR14", "ISO_IR 13"},
        {"ISO IR87", "\\ISO 2022 IR 87"},
        {"ISO IR159", "\\ISO 2022 IR 159"},
        {"KS X 1001", "\\ISO 2022 IR 149"},
        {"GB 18030-2000", "GB18030"},
        {"UNICODE UTF-8", "ISO_IR 192"},
        {"UNICODE", "ISO_IR 192"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (equals(name, known[i].hl7)) {
            return known[i].dicom;
        }
    }
    return NULL;
}

/* Escape sequences are followed wherever they can stand, as other sets may follow the first in
 * MSH-18. */
static md_text_scheme scheme_of(const char *charset)
{
    if (charset == NULL || strcmp(charset, "ISO_IR 192") == 0) {
        return MD_TEXT_SINGLE;
    }
    return strcmp(charset, "GB18030") == 0 ? MD_TEXT_GBK : MD_TEXT_ISO_2022;
}

static bool is_utf8(const char *text)
{
    while (*text != '\0') {
        const size_t n = md_utf8_length((const unsigned char *)text);
        if (n == 0) {
            return false;
        }
        text += n;
    }
    return true;
}

/* ---- values */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* \Xdd..\ : bytes. */
static size_t put_hex(span digits, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < digits.n; i += 2) {
        const int high = hex_digit(digits.at[i]), low = hex_digit(digits.at[i + 1]);
        if (high < 0 || low < 0) {
            break;
        }
        const char byte = (char)(high * 16 + low);
        to[n++] = byte == '\0' ? ' ' : byte;
    }
    return n;
}

/* What stands between two escape characters; never longer than it was with them. */
static size_t put_escape(const message *m, span e, char *to)
{
    const struct {
        char letter, plain;
    } delimiters[] = {{'F', m->field},
                      {'S', m->component},
                      {'R', m->repetition},
                      {'E', m->escape},
                      {'T', m->subcomponent}};
    for (size_t i = 0; e.n == 1 && i < sizeof delimiters / sizeof *delimiters; i++) {
        if (e.at[0] == delimiters[i].letter) {
            to[0] = delimiters[i].plain;
            return 1;
        }
    }
    if (e.n > 0 && e.at[0] == 'X') {
        return put_hex((span){e.at + 1, e.n - 1}, to);
    }
    if (e.n > 1 && e.at[0] == '.') {
        to[0] = '\n'; /* formatted text: a line break, a blank line, an indent, the middle */
        return 1;
    }
    return 0; /* highlighting, a local one, or a change of the set, which ESC says itself */
}

/* Escapes undone, components with a blank between, repetitions as lines. `to` has room for s.n.
 */
static size_t unescape(const message *m, span s, char *to)
{
    size_t n = 0;
    bool is_double = false;
    for (size_t i = 0; i < s.n;) {
        const char c = s.at[i];
        const size_t take = md_text_step(m->scheme, s.at + i, s.n - i, &is_double);
        if (take > 1) {
            for (const size_t end = i + take; i < end && i < s.n; i++) {
                to[n++] = s.at[i];
            }
            continue;
        }
        i++;
        if (c == m->escape) {
            const span behind = {s.at + i, s.n - i};
            const size_t length = find(m, behind, m->escape);
            if (length < behind.n) {
                n += put_escape(m, (span){behind.at, length}, to + n);
                i += length + 1;
                continue;
            }
        }
        to[n++] = c == m->component || c == m->subcomponent ? ' '
                  : c == m->repetition                      ? '\n'
                                                            : c;
    }
    return n;
}

static void append(message *m, const char *text)
{
    const char *const joint = m->n > 0 ? ". " : "";
    const size_t n_joint = strlen(joint);
    size_t n = strlen(text);
    if (n == 0) {
        return;
    }
    if (n_joint + n >= m->size_bytes - m->n) {
        const size_t room = m->size_bytes - m->n - 1;
        m->is_cut = true;
        n = room > n_joint ? room - n_joint : 0;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) {
            n--; /* between two characters */
        }
        if (n == 0) {
            return;
        }
    }
    memcpy(m->text + m->n, joint, n_joint);
    memcpy(m->text + m->n + n_joint, text, n);
    m->n += n_joint + n;
    m->text[m->n] = '\0';
}

static md_status add_value(message *m, span value, md_error *err)
{
    const size_t room = 4 * value.n + 4; /* no character of these sets becomes longer */
    MD_AUTO(md_freep) char *plain = md_malloc(value.n + 1);
    MD_AUTO(md_freep) char *utf8 = md_malloc(room);
    if (plain == NULL || utf8 == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes of text", room);
    }
    const size_t n = unescape(m, value, plain);
    plain[n] = '\0';
    const char *charset = m->charset != NULL ? m->charset
                          : is_utf8(plain)   ? "ISO_IR 192"
                                             : "ISO_IR 100";
    md_text_convert((const uint8_t *)plain, n, "UT", charset, utf8, room);
    append(m, utf8);
    return MD_OK;
}

/* Fields of a segment, its name first. */
static unsigned split_fields(const message *m, span segment, span fields[MAX_FIELDS])
{
    unsigned n = 0;
    while (n < MAX_FIELDS && next_piece(m, &segment, m->field, &fields[n])) {
        n++;
    }
    return n;
}

static md_status read_observation(message *m, span segment, md_error *err)
{
    span fields[MAX_FIELDS];
    if (split_fields(m, segment, fields) < 6 || !equals(fields[0], "OBX")) {
        return MD_OK;
    }
    const span type = fields[2];
    span value = fields[5];
    if (equals(type, "CE") || equals(type, "CWE")) {
        span code;
        span rest = value;
        if (!next_piece(m, &rest, m->component, &code) ||
            !next_piece(m, &rest, m->component, &value)) {
            return MD_OK;
        }
    } else if (!equals(type, "TX") && !equals(type, "FT") && !equals(type, "ST")) {
        return MD_OK;
    }
    return add_value(m, value, err);
}

static md_status read_header(message *m, span segment, md_error *err)
{
    if (segment.n < 8 || memcmp(segment.at, "MSH", 3) != 0) {
        return md_fail(err, MD_FORMAT, "the message does not begin with MSH and delimiters");
    }
    m->field = segment.at[3];
    m->component = segment.at[4];
    m->repetition = segment.at[5];
    m->escape = segment.at[6];
    m->subcomponent = segment.at[7] == m->field ? '&' : segment.at[7];
    const char all[] = {m->field, m->component, m->repetition, m->escape, m->subcomponent};
    for (size_t i = 0; i < sizeof all; i++) {
        const char c = all[i];
        const bool is_letter =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (c <= ' ' || c == 0x7f || is_letter || memchr(all, c, i) != NULL) {
            return md_fail(err, MD_FORMAT, "delimiter %zu of MSH is none, or there twice",
                           i + 1);
        }
    }
    span fields[MAX_FIELDS];
    const unsigned n = split_fields(m, segment, fields);
    if (n > 17 && fields[17].n > 0) { /* MSH-1 is the delimiter: MSH-18 is the 17th behind it */
        span first;
        span rest = fields[17];
        (void)next_piece(m, &rest, m->repetition, &first);
        m->charset = charset_of(first);
        m->scheme = scheme_of(m->charset);
    }
    return MD_OK;
}

static bool next_segment(span *rest, span *ret_segment)
{
    while (rest->n > 0 && (rest->at[0] == '\r' || rest->at[0] == '\n')) {
        rest->at++;
        rest->n--;
    }
    if (rest->n == 0) {
        return false;
    }
    size_t n = 0;
    while (n < rest->n && rest->at[n] != '\r' && rest->at[n] != '\n') {
        n++;
    }
    *ret_segment = (span){rest->at, n};
    rest->at += n;
    rest->n -= n;
    return true;
}

static md_status read_message(message *m, span rest, md_error *err)
{
    span segment = {"", 0};
    if (memchr(rest.at, 0, rest.n) != NULL) {
        return md_fail(err, MD_FORMAT, "the message holds a zero byte");
    }
    /* the block of MLLP (0B ... 1C 0D) may still be around it */
    while (rest.n > 0 && rest.at[0] == 0x0b) {
        rest.at++;
        rest.n--;
    }
    (void)next_segment(&rest, &segment);
    MD_TRY(read_header(m, segment, err));
    while (!m->is_cut && next_segment(&rest, &segment)) {
        MD_TRY(read_observation(m, segment, err));
    }
    return MD_OK;
}

md_status md_hl7_report_text(const uint8_t *bytes, size_t n_bytes, char *ret_text,
                             size_t size_bytes, bool *ret_cut, md_error *err)
{
    if (n_bytes > MD_HL7_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "a message of %zu bytes, at most %zu are read", n_bytes,
                       MD_HL7_MAX_BYTES);
    }
    message m = {.text = ret_text, .size_bytes = size_bytes};
    ret_text[0] = '\0';
    MD_TRY(read_message(&m, (span){(const char *)bytes, n_bytes}, err));
    *ret_cut = m.is_cut;
    return MD_OK;
}
