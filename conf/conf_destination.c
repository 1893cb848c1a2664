#include "conf/conf_internal.h"

#include <stdio.h>
#include <string.h>

/* The keys of a destination. */

static const md_schema_choice results_kinds[] = {
    {"sr", MD_RESULTS_SR},
    {"picture", MD_RESULTS_PICTURE},
    {"both", MD_RESULTS_BOTH},
    {"none", MD_RESULTS_NONE},
    {NULL, 0},
};
static const md_schema_choice originals_kinds[] = {
    {"no", MD_ORIGINALS_NO},
    {"after_analysis", MD_ORIGINALS_AFTER},
    {"before_analysis", MD_ORIGINALS_BEFORE},
    {NULL, 0},
};
static const md_schema_choice commitments[] = {
    {"none", MD_COMMITMENT_NONE},
    {"required", MD_COMMITMENT_REQUIRED},
    {NULL, 0},
};

/* PS3.6 table A-1. */
static const struct {
    const char *word, *uid;
} syntax_words[] = {
    {"own", MD_CONF_SYNTAX_OWN},
    {"implicit_le", "1.2.840.10008.1.2"},
    {"explicit_le", "1.2.840.10008.1.2.1"},
    {"explicit_be", "1.2.840.10008.1.2.2"},
};

static const char *uid_of_word(const char *word)
{
    for (size_t i = 0; i < sizeof syntax_words / sizeof *syntax_words; i++) {
        if (strcmp(word, syntax_words[i].word) == 0) {
            return syntax_words[i].uid;
        }
    }
    return NULL;
}

static const char *check_syntax(const char *text)
{
    bool fine = uid_of_word(text) != NULL || md_schema_check_uid(text) == NULL;
    return fine ? NULL : "own, explicit_le, implicit_le, explicit_be or a UID";
}

/* PS3.5 6.2, AE: 1..16 characters of the default repertoire without backslash and control
 * characters, spaces at the ends do not count, so they are not allowed here. */
const char *md_conf_check_ae_title(const char *text)
{
    static const char expected[] =
        "an AE title: 1..16 ASCII characters, no backslash, no space at the ends";
    size_t length = strlen(text);
    if (length == 0 || length > 16 || text[0] == ' ' || text[length - 1] == ' ') {
        return expected;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c > 0x7e || c == '\\') {
            return expected;
        }
    }
    return NULL;
}

static const md_schema_field destination_tls_fields[] = {
    TLS_OWN_FIELDS(md_conf_destination, tls),
    {.key = "ca",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_destination, tls.ca),
     .required = true,
     .least = 1,
     .example = "tls/ca.crt",
     .help = "Who signs the destination's certificate, which must be for `host`."},
    {.key = NULL},
};

static const md_schema_field syntax_item = {.key = "syntax",
                                            .type = MD_SCHEMA_TEXT,
                                            .size_bytes = MD_CONF_UID_BYTES,
                                            .least = 1,
                                            .check = check_syntax};

static const md_schema_field destination_fields[] = {
    {.key = "name",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_destination, name),
     .required = true,
     .least = 1,
     .check = md_schema_check_slug,
     .example = "pacs",
     .help = "A name of your own for logs, small letters, digits and '-'; each only once."},
    {.key = "ae_title",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_destination, ae_title),
     .required = true,
     .least = 1,
     .check = md_conf_check_ae_title,
     .example = "ORTHANC",
     .help = "Its AE title."},
    {.key = "host",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_destination, host),
     .required = true,
     .least = 1,
     .check = md_conf_check_host,
     .example = "127.0.0.1",
     .help = "Its host name or address."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, port),
     .least = 1,
     .most = 65535,
     .fallback = "104",
     .example = "4242",
     .help = "Its port; default 104."},
    {.key = "timeout_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, timeout_s),
     .least = 1,
     .most = 3600,
     .unit = "s",
     .fallback = "30",
     .help = "For the connection, the association and each answer."},
    {.key = "results",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_destination, results),
     .choices = results_kinds,
     .fallback = "both",
     .help = "What this destination gets of what results.kind makes."},
    {.key = "parametric_map",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf_destination, parametric_map),
     .fallback = "false",
     .help = "true: it also gets the Parametric Maps that results.parametric_map has made. Not "
             "every PACS takes their SOP class, 1.2.840.10008.5.1.4.1.1.30."},
    {.key = "originals",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_destination, originals),
     .choices = originals_kinds,
     .fallback = "no",
     .help = "Whether it gets the received images too, bit for bit: before_analysis sends them "
             "as soon as the study is complete."},
    {.key = "transfer_syntaxes",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf_destination, transfer_syntaxes),
     .item = &syntax_item,
     .max_items = MD_CONF_MAX_SYNTAXES,
     .n_offset = offsetof(md_conf_destination, n_transfer_syntaxes),
     .example = "[own, explicit_le, implicit_le]",
     .help = "What is proposed to it, the best first: own (as the object is stored), "
             "explicit_le, implicit_le, explicit_be, or the UID of a syntax, which is proposed "
             "for objects that are stored in it. What it does not take as it is stored is "
             "decompressed or rewritten into one of the other three."},
    {.key = "retry_first_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, retry_first_s),
     .least = 1,
     .most = 3600,
     .unit = "s",
     .fallback = "1",
     .help = "The wait after a first failed attempt; it doubles each time, and its upper half "
             "is left to chance."},
    {.key = "retry_max_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, retry_max_s),
     .least = 1,
     .most = 86400,
     .unit = "s",
     .fallback = "300",
     .help = "The longest wait; not below retry_first_s."},
    {.key = "retry_for_h",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, retry_for_h),
     .least = 1,
     .most = 8760,
     .unit = "h",
     .fallback = "24",
     .help =
         "An object that could not be sent for so long is given up (\"dead\") until "
         "`medaidctl retry`; one that the destination refuses, after ten attempts already."},
    {.key = "commitment",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_destination, commitment),
     .choices = commitments,
     .fallback = "none",
     .help = "required: it must promise by Storage Commitment (PS3.4 J) to keep what it was "
             "sent; until then no local copy is removed, however old. It must know medaid's AE "
             "title, address and port for its answer."},
    {.key = "commitment_timeout_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_destination, commitment_timeout_s),
     .least = 1,
     .most = 604800,
     .unit = "s",
     .fallback = "3600",
     .help = "When its answer has not come for so long it is asked again."},
    {.key = "tls",
     .type = MD_SCHEMA_MAP,
     .fields = destination_tls_fields,
     .has_offset = offsetof(md_conf_destination, has_tls),
     .line_offset = offsetof(md_conf_destination, tls.line),
     .is_off = true,
     .help = "With this key results go to it by TLS."},
    {.key = NULL},
};
const md_schema_field md_conf_destination_item = {.key = "destination",
                                                  .type = MD_SCHEMA_MAP,
                                                  .fields = destination_fields,
                                                  .line_offset =
                                                      offsetof(md_conf_destination, line)};

md_status md_conf_check_destinations(const char *path, md_conf *conf, md_error *err)
{
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        md_conf_destination *to = &conf->destinations[i];
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(to->name, conf->destinations[j].name) == 0) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'destinations[%u].name': got '%s', the name of the "
                               "entry on line %u too, expected different names",
                               path, to->line, i, to->name, conf->destinations[j].line);
            }
        }
        if (to->retry_max_s < to->retry_first_s) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'destinations[%u].retry_max_s': got %u, expected at "
                           "least retry_first_s, %u",
                           path, to->line, i, to->retry_max_s, to->retry_first_s);
        }
        if (to->parametric_map &&
            (to->results == MD_RESULTS_NONE || !conf->results.parametric_map)) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'destinations[%u].parametric_map': got true with %s, so "
                           "it would get none",
                           path, to->line, i,
                           to->results == MD_RESULTS_NONE ? "results: none"
                                                          : "results.parametric_map: false");
        }
        if (to->results == MD_RESULTS_NONE && to->originals == MD_ORIGINALS_NO) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'destinations[%u].results': got none, expected another "
                           "kind or originals, else it gets nothing",
                           path, to->line, i);
        }
        /* words become the UIDs that they stand for */
        for (unsigned k = 0; k < to->n_transfer_syntaxes; k++) {
            const char *uid = uid_of_word(to->transfer_syntaxes[k]);
            if (uid != NULL) {
                snprintf(to->transfer_syntaxes[k], MD_CONF_UID_BYTES, "%s", uid);
            }
        }
    }
    return MD_OK;
}
