#include "conf/conf_internal.h"

#include <string.h>

/* The keys of `ups`. A peer's keys stand twice, once for an element of a list and once for the
 * manager within the whole. */
#define PEER_TLS_FIELDS(type_, at)                                                             \
    TLS_OWN_FIELDS(type_, at.tls),                                                             \
        {.key = "ca",                                                                          \
         .type = MD_SCHEMA_TEXT,                                                               \
         MD_SCHEMA_AT(type_, at.tls.ca),                                                       \
         .required = true,                                                                     \
         .least = 1,                                                                           \
         .example = "tls/ca.crt",                                                              \
         .help = "Who signs its certificate, which must be for `host`."},                      \
    {                                                                                          \
        .key = NULL                                                                            \
    }

#define PEER_FIELDS(type_, at, tls_fields_, ae_, host_)                                        \
    {.key = "ae_title",                                                                        \
     .type = MD_SCHEMA_TEXT,                                                                   \
     MD_SCHEMA_AT(type_, at.ae_title),                                                         \
     .required = true,                                                                         \
     .least = 1,                                                                               \
     .check = md_conf_check_ae_title,                                                          \
     .example = ae_,                                                                           \
     .help = "Its AE title."},                                                                 \
        {.key = "host",                                                                        \
         .type = MD_SCHEMA_TEXT,                                                               \
         MD_SCHEMA_AT(type_, at.host),                                                         \
         .required = true,                                                                     \
         .least = 1,                                                                           \
         .check = md_conf_check_host,                                                          \
         .example = host_,                                                                     \
         .help = "Its host name or address."},                                                 \
        {.key = "port",                                                                        \
         .type = MD_SCHEMA_INT,                                                                \
         MD_SCHEMA_AT(type_, at.port),                                                         \
         .least = 1,                                                                           \
         .most = 65535,                                                                        \
         .fallback = "104",                                                                    \
         .help = "Its port."},                                                                 \
        {.key = "timeout_s",                                                                   \
         .type = MD_SCHEMA_INT,                                                                \
         MD_SCHEMA_AT(type_, at.timeout_s),                                                    \
         .least = 1,                                                                           \
         .most = 3600,                                                                         \
         .unit = "s",                                                                          \
         .fallback = "30",                                                                     \
         .help = "For the connection, the association and each answer."},                      \
        {.key = "tls",                                                                         \
         .type = MD_SCHEMA_MAP,                                                                \
         .fields = tls_fields_,                                                                \
         .has_offset = offsetof(type_, at.has_tls),                                            \
         .line_offset = offsetof(type_, at.tls.line),                                          \
         .is_off = true,                                                                       \
         .help = "With this key it is called by TLS."},                                        \
    {                                                                                          \
        .key = NULL                                                                            \
    }

/* So that the macros can say at.member in both cases. */
typedef struct subscriber {
    md_conf_ups_peer at;
} subscriber;

static const md_schema_field subscriber_tls_fields[] = {PEER_TLS_FIELDS(subscriber, at)};
static const md_schema_field subscriber_fields[] = {
    PEER_FIELDS(subscriber, at, subscriber_tls_fields, "READER", "10.0.0.7")};
static const md_schema_field subscriber_item = {.key = "subscriber",
                                                .type = MD_SCHEMA_MAP,
                                                .size_bytes = sizeof(subscriber),
                                                .fields = subscriber_fields,
                                                .line_offset = offsetof(subscriber, at.line)};
static const md_schema_field manager_tls_fields[] = {PEER_TLS_FIELDS(md_conf, ups.manager)};
static const md_schema_field manager_fields[] = {
    PEER_FIELDS(md_conf, ups.manager, manager_tls_fields, "RIS", "10.0.0.8")};

static const char *check_label(const char *text)
{
    size_t n = strlen(text);
    bool has_backslash = strchr(text, '\\') != NULL;
    return n > 0 && n <= 64 && !has_backslash ? NULL : "1..64 characters without backslash";
}

const md_schema_field md_conf_ups_fields[] = {
    {.key = "enabled",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, ups.enabled),
     .fallback = "false",
     .help =
         "true: be a manager of workitems on the port of `ae` (UPS Push, Pull, Watch, Event "
         "and Query), and make one for each analysed study. They hold patient data and are "
         "kept in the database; who may call sees them all, see ae.allowed_callers."},
    {.key = "worklist_label",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ups.worklist_label),
     .least = 1,
     .check = check_label,
     .fallback = "READING",
     .help = "Worklist Label (0074,1202) of these workitems, and of those that others create "
             "without one."},
    {.key = "procedure_label",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ups.procedure_label),
     .least = 1,
     .check = check_label,
     .fallback = "Interpretation after AI triage",
     .help = "Procedure Step Label (0074,1204) of these workitems."},
    {.key = "retrieve_ae_title",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ups.retrieve_ae_title),
     .check = md_conf_check_ae_title,
     .example = "PACS",
     .is_off = true,
     .help = "Where readers get the images and medaid's report; without this key: the first of "
             "`destinations`."},
    {.key = "keep_h",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ups.keep_h),
     .least = 1,
     .most = 87600,
     .unit = "h",
     .fallback = "168",
     .help = "How long completed and canceled workitems are kept; those that a subscriber has "
             "locked stay longer."},
    {.key = "max_responses",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ups.max_responses),
     .least = 0,
     .most = 1000000,
     .fallback = "0",
     .help = "A query with more matches ends with A700 after so many; 0: no limit."},
    {.key = "retry_for_h",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ups.retry_for_h),
     .least = 1,
     .most = 8760,
     .unit = "h",
     .fallback = "24",
     .help = "How long an event report or a message to the manager is tried again before it is "
             "dropped, with a line in the log."},
    {.key = "subscribers",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, ups.subscribers),
     .item = &subscriber_item,
     .max_items = MD_CONF_MAX_UPS_SUBSCRIBERS,
     .n_offset = offsetof(md_conf, ups.n_subscribers),
     .is_off = true,
     .help = "Where to call the AEs that may subscribe to workitems."},
    {.key = "manager",
     .type = MD_SCHEMA_MAP,
     .fields = manager_fields,
     .has_offset = offsetof(md_conf, ups.has_manager),
     .line_offset = offsetof(md_conf, ups.manager.line),
     .is_off = true,
     .help = "Another manager of workitems that is to have medaid's too, by N-CREATE, and by "
             "N-SET when a late image changes one."},
    {.key = NULL},
};

md_status md_conf_check_ups(const char *path, const md_conf *conf, md_error *err)
{
    for (unsigned i = 0; i < conf->ups.n_subscribers; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(conf->ups.subscribers[i].ae_title, conf->ups.subscribers[k].ae_title) ==
                0) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'ups.subscribers': got the AE title '%s' twice, "
                               "expected each only once",
                               path, conf->ups.subscribers[i].line,
                               conf->ups.subscribers[i].ae_title);
            }
        }
    }
    for (unsigned i = 0; i < conf->ups.n_subscribers; i++) {
        if (strcmp(conf->ups.subscribers[i].ae_title, conf->ups.manager.ae_title) == 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'ups.manager.ae_title': got '%s', a subscriber too, "
                           "expected another",
                           path, conf->ups.manager.line, conf->ups.manager.ae_title);
        }
    }
    if (!conf->ups.enabled && (conf->ups.n_subscribers > 0 || conf->ups.has_manager)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'ups.enabled': is false, expected true, because there are "
                       "subscribers or a manager",
                       path, conf->ups.line);
    }
    return MD_OK;
}
