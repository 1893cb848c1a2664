#ifndef MEDAID_CONF_SCHEMA_H
#define MEDAID_CONF_SCHEMA_H

/* A table says what a YAML file may hold; one loader reads every such file strictly into a
 * plain struct. The table carries type, range, default and help text of each key, so that the
 * loader, the commented example and the documentation cannot disagree.
 *
 * Strict: an unknown key, a wrong type, a value out of range, a key twice or a missing required
 * key is an error of one line, "FILE:LINE: key 'a.b': got ..., expected ...". The bytes are
 * hostile: anchors, aliases, tags and several documents are refused (so nothing can be
 * multiplied by reference), depth and size are limited, text is UTF-8 without control
 * characters. A byte order mark of UTF-8 is skipped; UTF-16 is refused.
 *
 * Scalars: integers are decimal, reals are decimal and finite, booleans are true or false, and
 * a quoted number is text. Tables are constant; any thread may load, each into its own struct.
 */

#include "base/memory.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_SCHEMA_MAX_BYTES = 1 << 20, /* of a file */
    MD_SCHEMA_MAX_DEPTH = 16,
    MD_SCHEMA_MAX_KEYS = 64, /* of one map */
};

typedef enum md_schema_type {
    MD_SCHEMA_BOOL, /* bool */
    MD_SCHEMA_INT,  /* an integer of 1, 2, 4 or 8 bytes; unsigned when `least` >= 0 */
    MD_SCHEMA_REAL, /* float or double */
    MD_SCHEMA_TEXT, /* char[size_bytes]; with `choices` one of those words */
    MD_SCHEMA_ENUM, /* an int-sized enum; the word's value from `choices` */
    MD_SCHEMA_MAP,  /* a struct, described by `fields` */
    MD_SCHEMA_LIST, /* an array of at most max_items, each as `item` says */
    MD_SCHEMA_DICT, /* free keys: an array whose elements hold the key at the offset of item[0]
                       (TEXT) and the value as item[1] says */
} md_schema_type;

typedef struct md_schema_choice {
    const char *word; /* NULL ends the list */
    int value;
} md_schema_choice;

typedef struct md_schema_field md_schema_field;
struct md_schema_field {
    const char *key; /* NULL ends a table */
    md_schema_type type;
    size_t offset;     /* from the start of the enclosing struct, see MD_SCHEMA_AT */
    size_t size_bytes; /* of the member */
    bool required;
    double least, most;   /* INT, REAL: inclusive; TEXT, LIST, DICT: least 1 forbids empty */
    const char *unit;     /* for people: "ms", "MiB"; NULL: none */
    const char *fallback; /* the default, in the words of the file; NULL: zero, or required */
    const char *example;  /* for the commented example where there is no default */
    const char *help;     /* one or two sentences for the commented example */
    bool is_off;          /* in the example the key and all below stand behind a '#' */
    const md_schema_choice *choices;
    const md_schema_field *fields; /* MAP */
    const md_schema_field *item;   /* LIST, DICT; its offset counts from the element's start */
    size_t max_items;
    size_t n_offset;    /* LIST, DICT: an unsigned that takes the count */
    size_t has_offset;  /* a bool that becomes true when the key is in the file; 0: none */
    size_t line_offset; /* an unsigned that takes the line of the value; 0: none */
    /* LIST, MAP: 0: the member is the array or the struct itself. Else it is a pointer to as
     * many elements as the file has, or to one struct, of owned_bytes each; NULL when the key
     * is not in the file. md_schema_release frees them. Such a table may contain itself; then
     * an `example` keeps the printed example from doing so too. */
    size_t owned_bytes;
    /* TEXT: NULL when fine, else what is expected ("an IP address"). May be NULL. */
    const char *(*check)(const char *text);
};

#define MD_SCHEMA_AT(type_, member_)                                                           \
    .offset = offsetof(type_, member_), .size_bytes = sizeof(((type_ *)0)->member_)

/* Write every default into `target`, which was zeroed. Lists stay empty. A default that the
 * table itself refuses is our own mistake and asserted. */
void md_schema_defaults(const md_schema_field *fields, void *target) MD_NOEXCEPT;

/* Read one YAML document over the defaults. `name` stands before the line number in messages.
 * An empty file is an empty map. `target` was zeroed and is left half written on failure, for
 * md_schema_release when the table has owned members:
 * MD_FORMAT (syntax, key, type, range), MD_LIMIT (size, depth, number of items), MD_NOMEM. */
md_status md_schema_parse(const md_schema_field *fields, const uint8_t *bytes,
                          size_t size_bytes, const char *name, void *target, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Free what the pointers of the table's owned members point to, and clear them. */
void md_schema_release(const md_schema_field *fields, void *target) MD_NOEXCEPT;

/* The commented example: every key with its help, unit, range and default. */
void md_schema_print_example(const md_schema_field *fields, FILE *out) MD_NOEXCEPT;

/* A struct as YAML that md_schema_parse reads back to the same: every key with its value. Left
 * out are keys whose has_offset says that they are not there, owned members that are NULL,
 * empty texts and lists that may not be empty, and optional maps of which every key without a
 * default is empty. Texts are quoted. MD_IO when `out` takes no more. */
md_status md_schema_write(const md_schema_field *fields, const void *target, FILE *out,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Checks that several tables need; each returns NULL or what is expected. */
const char *md_schema_check_slug(const char *text) MD_NOEXCEPT; /* [a-z0-9-], not first '-' */
const char *md_schema_check_uid(const char *text) MD_NOEXCEPT;  /* PS3.5 9.1 */

#ifdef __cplusplus
}
#endif
#endif
