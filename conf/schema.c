#include "conf/schema.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

enum {
    PATH_BYTES = 160,
    SHOWN_BYTES = 40 /* of a wrong value, in a message */
};

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; zeroed when there is none */
    const char *name;
    unsigned depth;
    char path[PATH_BYTES]; /* "findings[0].classes" */
    md_error *err;
} reader;

static void reader_finish(reader *r)
{
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
}

static size_t line_of(yaml_mark_t mark)
{
    return mark.line + 1;
}

static md_status fail_at(reader *r, size_t line, md_status status, const char *format, ...)
    MD_PRINTF(4, 5);

/* "FILE:LINE: key 'path': message", without the key at the top level. */
static md_status fail_at(reader *r, size_t line, md_status status, const char *format, ...)
{
    char message[MD_ERROR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    line = line == 0 ? 1 : line; /* an empty file has no line, but the reader needs one */
    if (r->path[0] == '\0') {
        return md_fail(r->err, status, "%s:%zu: %s", r->name, line, message);
    }
    return md_fail(r->err, status, "%s:%zu: key '%s': %s", r->name, line, r->path, message);
}

static size_t path_push(reader *r, const char *format, ...) MD_PRINTF(2, 3);

/* Append to the path; returns the length to hand back to path_pop. A path that is too long is
 * cut: it only serves messages. */
static size_t path_push(reader *r, const char *format, ...)
{
    size_t used = strlen(r->path);
    va_list args;
    va_start(args, format);
    vsnprintf(r->path + used, sizeof r->path - used, format, args);
    va_end(args);
    return used;
}

static void path_pop(reader *r, size_t used)
{
    r->path[used] = '\0';
}

static md_status next_event(reader *r)
{
    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        yaml_parser_t *p = &r->parser;
        memset(&r->event, 0, sizeof r->event);
        if (p->error == YAML_MEMORY_ERROR) {
            return md_fail(r->err, MD_NOMEM, "%s: no memory to read it", r->name);
        }
        size_t line = line_of(p->error == YAML_READER_ERROR ? p->mark : p->problem_mark);
        const char *problem = p->problem != NULL ? p->problem : "not YAML";
        bool tab = strstr(problem, "cannot start any token") != NULL;
        return md_fail(r->err, MD_FORMAT, "%s:%zu: %s%s", r->name, line, problem,
                       tab ? " (YAML is indented with spaces, not tabs)" : "");
    }
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT) {
        anchor = e->data.alias.anchor;
    } else if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    }
    if (anchor != NULL) {
        return fail_at(r, line_of(e->start_mark), MD_FORMAT,
                       "anchors and aliases (& and *) are not accepted, write the value out");
    }
    if (tag != NULL) {
        return fail_at(r, line_of(e->start_mark), MD_FORMAT,
                       "tags (!) are not accepted, write the plain value");
    }
    return MD_OK;
}

/* What stands there, for "got ...". */
static const char *describe(const yaml_event_t *e, char text[SHOWN_BYTES + 8])
{
    switch ((int)e->type) {
    case YAML_MAPPING_START_EVENT:
        return "a map";
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_SCALAR_EVENT:
        break;
    default:
        return "nothing";
    }
    const char *value = (const char *)e->data.scalar.value;
    bool quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!quoted && value[0] == '\0') {
        return "nothing";
    }
    size_t length = strlen(value);
    int shown = (int)(length < SHOWN_BYTES ? length : SHOWN_BYTES - 3);
    while (shown > 0 && ((unsigned char)value[shown] & 0xc0) == 0x80) {
        shown--;
    }
    snprintf(text, SHOWN_BYTES + 8, "%s%.*s%s%s", quoted ? "\"" : "", shown, value,
             (size_t)shown < length ? "..." : "", quoted ? "\"" : "");
    return text;
}

/* The words of `choices` as "a, b or c". */
static void list_choices(const md_schema_choice *choices, char *text, size_t size_bytes)
{
    text[0] = '\0';
    for (const md_schema_choice *c = choices; c->word != NULL; c++) {
        size_t used = strlen(text);
        const char *joint = c == choices ? "" : c[1].word == NULL ? " or " : ", ";
        snprintf(text + used, size_bytes - used, "%s%s", joint, c->word);
    }
}

static void describe_expected(const md_schema_field *f, char text[MD_ERROR_MSG_BYTES])
{
    const char *space = f->unit != NULL ? " " : "";
    const char *unit = f->unit != NULL ? f->unit : "";
    text[0] = '\0';
    switch (f->type) {
    case MD_SCHEMA_BOOL:
        snprintf(text, MD_ERROR_MSG_BYTES, "true or false");
        break;
    case MD_SCHEMA_INT:
        snprintf(text, MD_ERROR_MSG_BYTES, "a whole number in %.0f..%.0f%s%s", f->least,
                 f->most, space, unit);
        break;
    case MD_SCHEMA_REAL:
        snprintf(text, MD_ERROR_MSG_BYTES, "a number in %g..%g%s%s", f->least, f->most, space,
                 unit);
        break;
    case MD_SCHEMA_TEXT:
    case MD_SCHEMA_ENUM:
        if (f->choices != NULL) {
            list_choices(f->choices, text, MD_ERROR_MSG_BYTES);
        } else {
            snprintf(text, MD_ERROR_MSG_BYTES, "text of %s%zu bytes",
                     f->least >= 1 ? "1.." : "at most ", f->size_bytes - 1);
        }
        break;
    case MD_SCHEMA_MAP:
    case MD_SCHEMA_DICT:
        snprintf(text, MD_ERROR_MSG_BYTES, "a map of keys and values");
        break;
    case MD_SCHEMA_LIST:
        snprintf(text, MD_ERROR_MSG_BYTES, "a list of %s%zu values",
                 f->least >= 1 ? "1.." : "at most ", f->max_items);
        break;
    }
}

static md_status fail_value(reader *r, const md_schema_field *f)
{
    char expected[MD_ERROR_MSG_BYTES];
    char text[SHOWN_BYTES + 8];
    describe_expected(f, expected);
    return fail_at(r, line_of(r->event.start_mark), MD_FORMAT, "got %s, expected %s",
                   describe(&r->event, text), expected);
}

/* Decimal digits with an optional sign, no other notation. */
static bool parse_int(const char *text, const md_schema_field *f, void *member)
{
    const char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
    size_t length = strlen(digits);
    if (length == 0 || length > 18 || strspn(digits, "0123456789") != length) {
        return false;
    }
    int64_t value = strtoll(text, NULL, 10);
    if ((double)value < f->least || (double)value > f->most) {
        return false;
    }
    /* little endian or big, a copy of the right width is what an assignment would do */
    if (f->size_bytes == 1) {
        uint8_t v = (uint8_t)value;
        memcpy(member, &v, 1);
    } else if (f->size_bytes == 2) {
        uint16_t v = (uint16_t)value;
        memcpy(member, &v, 2);
    } else if (f->size_bytes == 4) {
        uint32_t v = (uint32_t)value;
        memcpy(member, &v, 4);
    } else {
        assert(f->size_bytes == 8);
        memcpy(member, &value, 8);
    }
    return true;
}

/* Always with the point as decimal separator, whatever the locale. */
static bool parse_real(const char *text, const md_schema_field *f, void *member)
{
    size_t length = strlen(text);
    if (length == 0 || length > 64 || strspn(text, "+-.0123456789eE") != length) {
        return false;
    }
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        return false;
    }
    char *end = NULL;
    double value = strtod_l(text, &end, c_locale);
    freelocale(c_locale);
    if (end != text + length || !isfinite(value) || value < f->least || value > f->most) {
        return false;
    }
    if (f->size_bytes == sizeof(float)) {
        float v = (float)value;
        memcpy(member, &v, sizeof v);
    } else {
        assert(f->size_bytes == sizeof(double));
        memcpy(member, &value, sizeof value);
    }
    return true;
}

static const md_schema_choice *find_choice(const md_schema_choice *choices, const char *word)
{
    for (const md_schema_choice *c = choices; c->word != NULL; c++) {
        if (strcmp(c->word, word) == 0) {
            return c;
        }
    }
    return NULL;
}

/* Store a scalar; false when it does not fit the field. */
static bool store_scalar(const md_schema_field *f, const char *text, bool quoted, void *member)
{
    if (quoted &&
        (f->type == MD_SCHEMA_BOOL || f->type == MD_SCHEMA_INT || f->type == MD_SCHEMA_REAL)) {
        return false;
    }
    size_t length = strlen(text);
    switch (f->type) {
    case MD_SCHEMA_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return false;
        }
        *(bool *)member = text[0] == 't';
        return true;
    case MD_SCHEMA_INT:
        return parse_int(text, f, member);
    case MD_SCHEMA_REAL:
        return parse_real(text, f, member);
    case MD_SCHEMA_ENUM: {
        const md_schema_choice *c = find_choice(f->choices, text);
        if (c == NULL) {
            return false;
        }
        assert(f->size_bytes == sizeof c->value);
        memcpy(member, &c->value, sizeof c->value);
        return true;
    }
    case MD_SCHEMA_TEXT:
        if (length >= f->size_bytes || (length == 0 && (!quoted || f->least >= 1)) ||
            (f->choices != NULL && find_choice(f->choices, text) == NULL)) {
            return false;
        }
        memset(member, 0, f->size_bytes);
        memcpy(member, text, length);
        return true;
    case MD_SCHEMA_MAP:
    case MD_SCHEMA_LIST:
    case MD_SCHEMA_DICT:
        break;
    }
    return false;
}

/* Text is one line of printable UTF-8; a block scalar's line ends become spaces. libyaml has
 * checked that it is UTF-8. */
static bool tidy_text(yaml_event_t *e)
{
    char *value = (char *)e->data.scalar.value;
    size_t length = e->data.scalar.length;
    bool block = e->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ||
                 e->data.scalar.style == YAML_FOLDED_SCALAR_STYLE;
    while (block && length > 0 && value[length - 1] == '\n') {
        length--;
    }
    value[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c == '\n' && block) {
            value[i] = ' ';
        } else if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)value[i + 1] < 0xa0)) {
            return false;
        }
    }
    return true;
}

static md_status read_value(reader *r, const md_schema_field *f, char *base);

static md_status read_scalar(reader *r, const md_schema_field *f, char *base)
{
    yaml_event_t *e = &r->event;
    if (e->type != YAML_SCALAR_EVENT) {
        return fail_value(r, f);
    }
    if (!tidy_text(e)) {
        return fail_at(r, line_of(e->start_mark), MD_FORMAT,
                       "the text has control characters or several lines");
    }
    const char *text = (const char *)e->data.scalar.value;
    bool quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!store_scalar(f, text, quoted, base + f->offset)) {
        return fail_value(r, f);
    }
    const char *expected = f->check != NULL ? f->check(text) : NULL;
    if (expected != NULL) {
        char shown[SHOWN_BYTES + 8];
        return fail_at(r, line_of(e->start_mark), MD_FORMAT, "got %s, expected %s",
                       describe(e, shown), expected);
    }
    return MD_OK;
}

/* Edits that turn a into b: insert, drop, replace, swap of neighbours (optimal string
 * alignment); SIZE_MAX for texts longer than a key ever is. */
static size_t edit_distance(const char *a, const char *b)
{
    enum {
        LONGEST = 40
    };
    size_t n_a = strlen(a);
    size_t n_b = strlen(b);
    if (n_a > LONGEST || n_b > LONGEST) {
        return SIZE_MAX;
    }
    size_t cost[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= n_a; i++) {
        for (size_t j = 0; j <= n_b; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            size_t best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (cost[i - 1][j] + 1 < best) {
                best = cost[i - 1][j] + 1;
            }
            if (cost[i][j - 1] + 1 < best) {
                best = cost[i][j - 1] + 1;
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                cost[i - 2][j - 2] + 1 < best) {
                best = cost[i - 2][j - 2] + 1;
            }
            cost[i][j] = best;
        }
    }
    return cost[n_a][n_b];
}

/* The key that was probably meant: at most a third of its letters away, or, when one is the
 * beginning of the other ("quiet" for "quiet_ms"), that one. NULL when nothing is near. */
static const char *nearest_key(const md_schema_field *fields, const char *key)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    size_t length = strlen(key);
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        size_t distance = edit_distance(key, f->key);
        if (strcasecmp(f->key, key) == 0) {
            distance = 0;
        } else if (length >= 3 && strncasecmp(f->key, key, length) == 0 && distance > 1) {
            distance = 1;
        }
        if (distance < best_distance && distance <= 1 + strlen(f->key) / 4) {
            best = f->key;
            best_distance = distance;
        }
    }
    return best;
}

static md_status fail_unknown_key(reader *r, const md_schema_field *fields)
{
    char shown[SHOWN_BYTES + 8];
    char known[MD_ERROR_MSG_BYTES] = "";
    const char *key = describe(&r->event, shown);
    const char *near = r->event.type == YAML_SCALAR_EVENT
                           ? nearest_key(fields, (const char *)r->event.data.scalar.value)
                           : NULL;
    if (near == NULL) {
        for (const md_schema_field *f = fields; f->key != NULL; f++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", f->key);
        }
    }
    size_t used = path_push(r, "%s%s", r->path[0] == '\0' ? "" : ".", key);
    md_status status = near != NULL ? fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                                              "unknown key, expected '%s'?", near)
                                    : fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                                              "unknown key, expected one of: %s", known);
    path_pop(r, used);
    return status;
}

/* Index of the key that the current event names; SIZE_MAX when the table has none. */
static size_t find_key(const md_schema_field *fields, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT) {
        return SIZE_MAX;
    }
    const char *key = (const char *)e->data.scalar.value;
    for (size_t i = 0; fields[i].key != NULL; i++) {
        if (strlen(key) == e->data.scalar.length && strcmp(fields[i].key, key) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

static md_status check_required(reader *r, const md_schema_field *fields, const size_t *lines,
                                size_t map_line)
{
    for (size_t i = 0; fields[i].key != NULL; i++) {
        if (fields[i].required && lines[i] == 0) {
            char expected[MD_ERROR_MSG_BYTES];
            describe_expected(&fields[i], expected);
            path_push(r, "%s%s", r->path[0] == '\0' ? "" : ".", fields[i].key);
            return fail_at(r, map_line, MD_FORMAT, "is missing, expected %s", expected);
        }
    }
    return MD_OK;
}

/* The current event is the start of the map. */
static md_status read_map(reader *r, const md_schema_field *fields, char *base)
{
    size_t lines[MD_SCHEMA_MAX_KEYS] = {0}; /* where each key stood; 0: not seen */
    size_t map_line = line_of(r->event.start_mark);
    for (;;) {
        MD_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        size_t index = find_key(fields, &r->event);
        if (index == SIZE_MAX) {
            return fail_unknown_key(r, fields);
        }
        assert(index < MD_SCHEMA_MAX_KEYS);
        const md_schema_field *f = &fields[index];
        size_t used = path_push(r, "%s%s", r->path[0] == '\0' ? "" : ".", f->key);
        size_t line = line_of(r->event.start_mark);
        if (lines[index] != 0) {
            return fail_at(r, line, MD_FORMAT,
                           "stands here a second time, expected once (line %zu)", lines[index]);
        }
        lines[index] = line;
        MD_TRY(next_event(r));
        MD_TRY(read_value(r, f, base));
        if (f->has_offset != 0) {
            *(bool *)(base + f->has_offset) = true;
        }
        path_pop(r, used);
    }
    return check_required(r, fields, lines, map_line);
}

/* Room for element n of an owned list, zeroed. */
static md_status grow_list(reader *r, const md_schema_field *f, char *base, size_t n)
{
    void **member = (void *)(base + f->offset);
    size_t size_bytes = 0;
    if ((n & (n - 1)) != 0) {
        return MD_OK; /* it grows at powers of two */
    }
    size_t n_room = n == 0 ? 1 : 2 * n;
    void *grown =
        md_mul(n_room, f->owned_bytes, &size_bytes) ? md_realloc(*member, size_bytes) : NULL;
    if (grown == NULL) {
        return md_fail(r->err, MD_NOMEM, "%s: no memory for %zu values", r->name, n_room);
    }
    memset((char *)grown + n * f->owned_bytes, 0, (n_room - n) * f->owned_bytes);
    *member = grown;
    return MD_OK;
}

static md_status read_list(reader *r, const md_schema_field *f, char *base)
{
    size_t n = 0;
    bool owned = f->owned_bytes > 0;
    size_t stride = owned ? f->owned_bytes : f->size_bytes / f->max_items;
    size_t list_line = line_of(r->event.start_mark);
    for (;; n++) {
        MD_TRY(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) {
            break;
        }
        if (n == f->max_items) {
            return fail_at(r, line_of(r->event.start_mark), MD_LIMIT,
                           "more than %zu values, expected at most so many", f->max_items);
        }
        size_t used = path_push(r, "[%zu]", n);
        if (owned) {
            MD_TRY(grow_list(r, f, base, n));
            *(unsigned *)(base + f->n_offset) = (unsigned)n + 1; /* for the release */
        }
        char *first = owned ? *(char **)(void *)(base + f->offset) : base + f->offset;
        char *element = first + n * stride;
        if (f->item->type == MD_SCHEMA_MAP) {
            md_schema_defaults(f->item->fields, element + f->item->offset);
        }
        MD_TRY(read_value(r, f->item, element));
        path_pop(r, used);
    }
    if (n == 0 && f->least >= 1) {
        return fail_at(r, list_line, MD_FORMAT, "got an empty list, expected at least 1 value");
    }
    *(unsigned *)(base + f->n_offset) = (unsigned)n;
    return MD_OK;
}

static md_status read_dict(reader *r, const md_schema_field *f, char *base)
{
    size_t n = 0;
    size_t stride = f->size_bytes / f->max_items;
    size_t dict_line = line_of(r->event.start_mark);
    for (;; n++) {
        MD_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        if (n == f->max_items) {
            return fail_at(r, line_of(r->event.start_mark), MD_LIMIT,
                           "more than %zu keys, expected at most so many", f->max_items);
        }
        char *element = base + f->offset + n * stride;
        MD_TRY(read_scalar(r, &f->item[0], element));
        const char *key = element + f->item[0].offset;
        size_t used = path_push(r, ".%s", key);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(base + f->offset + i * stride + f->item[0].offset, key) == 0) {
                return fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                               "stands here a second time, expected once");
            }
        }
        MD_TRY(next_event(r));
        MD_TRY(read_value(r, &f->item[1], element));
        path_pop(r, used);
    }
    if (n == 0 && f->least >= 1) {
        return fail_at(r, dict_line, MD_FORMAT, "got an empty map, expected at least 1 key");
    }
    *(unsigned *)(base + f->n_offset) = (unsigned)n;
    return MD_OK;
}

static md_status read_struct(reader *r, const md_schema_field *f, char *base)
{
    if (f->owned_bytes == 0) {
        return read_map(r, f->fields, base + f->offset);
    }
    void *made = md_calloc(1, f->owned_bytes);
    if (made == NULL) {
        return md_fail(r->err, MD_NOMEM, "%s: no memory for its values", r->name);
    }
    *(void **)(void *)(base + f->offset) = made;
    md_schema_defaults(f->fields, made);
    return read_map(r, f->fields, made);
}

static md_status read_value(reader *r, const md_schema_field *f, char *base)
{
    if (f->line_offset != 0) {
        *(unsigned *)(base + f->line_offset) = (unsigned)line_of(r->event.start_mark);
    }
    bool map = f->type == MD_SCHEMA_MAP || f->type == MD_SCHEMA_DICT;
    if (!map && f->type != MD_SCHEMA_LIST) {
        return read_scalar(r, f, base);
    }
    if (r->event.type != (map ? YAML_MAPPING_START_EVENT : YAML_SEQUENCE_START_EVENT)) {
        return fail_value(r, f);
    }
    if (++r->depth > MD_SCHEMA_MAX_DEPTH) {
        return fail_at(r, line_of(r->event.start_mark), MD_LIMIT, "nested deeper than %d",
                       MD_SCHEMA_MAX_DEPTH);
    }
    md_status status = f->type == MD_SCHEMA_MAP    ? read_struct(r, f, base)
                       : f->type == MD_SCHEMA_LIST ? read_list(r, f, base)
                                                   : read_dict(r, f, base);
    r->depth--;
    return status;
}

void md_schema_defaults(const md_schema_field *fields, void *target)
{
    char *base = target;
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        if (f->type == MD_SCHEMA_MAP && f->owned_bytes == 0) {
            md_schema_defaults(f->fields, base + f->offset);
        } else if (f->fallback != NULL) {
            bool text = f->type == MD_SCHEMA_TEXT;
            bool stored = store_scalar(f, f->fallback, text, base + f->offset);
            assert(stored && (f->check == NULL || f->check(f->fallback) == NULL));
            (void)stored;
        }
    }
}

void md_schema_release(const md_schema_field *fields, void *target)
{
    char *base = target;
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        bool owned = f->owned_bytes > 0;
        bool list = f->type == MD_SCHEMA_LIST;
        const md_schema_field *inside = f->type == MD_SCHEMA_MAP ? f->fields
                                        : list                   ? f->item->fields
                                                                 : NULL;
        char *first = owned ? *(char **)(void *)(base + f->offset) : base + f->offset;
        if (first == NULL) {
            continue;
        }
        size_t n = list ? *(unsigned *)(void *)(base + f->n_offset) : 1;
        size_t stride = owned ? f->owned_bytes : list ? f->size_bytes / f->max_items : 0;
        for (size_t i = 0; i < n && inside != NULL; i++) {
            char *element = first + i * stride;
            md_schema_release(inside, list ? element + f->item->offset : element);
        }
        if (owned) {
            md_free(first);
            *(void **)(void *)(base + f->offset) = NULL;
            if (list) {
                *(unsigned *)(void *)(base + f->n_offset) = 0;
            }
        }
    }
}

static md_status read_document(reader *r, const md_schema_field *fields, void *target)
{
    MD_TRY(next_event(r)); /* stream start */
    MD_TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) {
        const size_t none[MD_SCHEMA_MAX_KEYS] = {0};
        return check_required(r, fields, none, 1);
    }
    if (r->event.type == YAML_DOCUMENT_START_EVENT &&
        r->event.data.document_start.tag_directives.start !=
            r->event.data.document_start.tag_directives.end) {
        return fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                       "%%TAG directives are not accepted");
    }
    MD_TRY(next_event(r));
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        char text[SHOWN_BYTES + 8];
        return fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                       "got %s, expected a map of keys and values", describe(&r->event, text));
    }
    r->depth = 1;
    MD_TRY(read_map(r, fields, target));
    MD_TRY(next_event(r)); /* document end */
    MD_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT) {
        return fail_at(r, line_of(r->event.start_mark), MD_FORMAT,
                       "a second document (---) begins here, expected one");
    }
    return MD_OK;
}

md_status md_schema_parse(const md_schema_field *fields, const uint8_t *bytes,
                          size_t size_bytes, const char *name, void *target, md_error *err)
{
    if (size_bytes > MD_SCHEMA_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "%s: %zu bytes, at most %d are read", name, size_bytes,
                       MD_SCHEMA_MAX_BYTES);
    }
    static const uint8_t bom[] = {0xef, 0xbb, 0xbf};
    if (size_bytes >= sizeof bom && memcmp(bytes, bom, sizeof bom) == 0) {
        bytes += sizeof bom;
        size_bytes -= sizeof bom;
    }
    size_t line = 1;
    for (size_t i = 0; i < size_bytes; i++) {
        if (bytes[i] == 0) {
            return md_fail(err, MD_FORMAT, "%s:%zu: a zero byte, expected UTF-8 text", name,
                           line);
        }
        line += bytes[i] == '\n';
    }
    md_schema_defaults(fields, target);
    reader r = {.name = name, .err = err};
    if (!yaml_parser_initialize(&r.parser)) {
        return md_fail(err, MD_NOMEM, "%s: no memory to read it", name);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, bytes, size_bytes);
    md_status status = read_document(&r, fields, target);
    reader_finish(&r);
    return status;
}

const char *md_schema_check_slug(const char *text)
{
    size_t length = strlen(text);
    bool fine = length > 0 && text[0] != '-' &&
                strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
    return fine ? NULL : "small letters, digits and '-', not '-' first";
}

const char *md_schema_check_uid(const char *text)
{
    static const char expected[] =
        "a UID: at most 64 digits and points, as in 1.2.840.10008.1.1";
    size_t length = strlen(text);
    if (length == 0 || length > 64 || strspn(text, "0123456789.") != length) {
        return expected;
    }
    for (const char *part = text; part != NULL;) {
        const char *point = strchr(part, '.');
        size_t n = point != NULL ? (size_t)(point - part) : strlen(part);
        if (n == 0 || (n > 1 && part[0] == '0')) {
            return expected;
        }
        part = point != NULL ? point + 1 : NULL;
    }
    return NULL;
}
