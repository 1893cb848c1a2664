#include "conf/conf_internal.h"

#include <stdio.h>
#include <string.h>

static const md_schema_choice kinds[] = {
    {"webhook", MD_CONF_NOTIFY_WEBHOOK},
    {"hl7", MD_CONF_NOTIFY_HL7},
    {"mail", MD_CONF_NOTIFY_MAIL},
    {NULL, 0},
};
static const md_schema_choice occasions[] = {
    {"urgent", MD_CONF_NOTIFY_URGENT},
    {"findings", MD_CONF_NOTIFY_FINDINGS},
    {"every", MD_CONF_NOTIFY_EVERY},
    {NULL, 0},
};
static const md_schema_choice patients[] = {
    {"none", MD_CONF_PATIENT_NONE},
    {"identifiers", MD_CONF_PATIENT_IDENTIFIERS},
    {"full", MD_CONF_PATIENT_FULL},
    {NULL, 0},
};

static const char *check_url(const char *text)
{
    static const char expected[] = "http:// or https:// and a host, without user and password";
    bool is_https = strncmp(text, "https://", 8) == 0;
    bool is_http = strncmp(text, "http://", 7) == 0;
    const char *rest = text + (is_https ? 8 : 7);
    if ((!is_http && !is_https) || rest[0] == '\0' || rest[0] == '/') {
        return expected;
    }
    for (const char *c = rest; *c != '\0'; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c > 0x7e || *c == '@') {
            return expected;
        }
    }
    return NULL;
}

/* An address of RFC 5321 as hospitals use it: nothing that could be taken for an option, a
 * second address or a header. */
static const char *check_mail_address(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+@";
    const char *at = strchr(text, '@');
    size_t length = strlen(text);
    bool fine = text[0] != '-' && text[0] != '@' && strspn(text, allowed) == length &&
                (at == NULL || (strchr(at + 1, '@') == NULL && at[1] != '\0'));
    return fine ? NULL : "one mail address, such as worklist@example.org";
}

static const char *check_program(const char *text)
{
    return text[0] == '/' ? NULL : "the path of a program, from /";
}

const md_schema_field md_conf_notifier_fields[] = {
    {.key = "name",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, name),
     .required = true,
     .least = 1,
     .check = md_schema_check_slug,
     .example = "ris",
     .help = "A name of your own for logs and rules, small letters, digits and '-'."},
    {.key = "kind",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_notifier, kind),
     .required = true,
     .choices = kinds,
     .example = "hl7",
     .help = "webhook: JSON by HTTP POST; hl7: ORU^R01 of HL7 2.5.1 over MLLP; mail: through "
             "this machine's sendmail."},
    {.key = "on",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_notifier, on),
     .choices = occasions,
     .fallback = "urgent",
     .help = "Which studies it tells of: urgent: those with an urgent finding; findings: those "
             "with any finding present; every: all, also failed ones."},
    {.key = "patient",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_notifier, patient),
     .choices = patients,
     .fallback = "none",
     .help = "Patient data that may go there. identifiers: Patient ID, Accession Number and "
             "Study Instance UID; full: also name, birth date and sex; none: the study's key "
             "of the log alone."},
    {.key = "url",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, url),
     .least = 1,
     .check = check_url,
     .example = "https://worklist.example.org/medaid",
     .is_off = true,
     .help = "webhook: where to post."},
    {.key = "secret_file",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, secret_file),
     .least = 1,
     .example = "webhook.secret",
     .is_off = true,
     .help = "webhook: a file of mode 0600 whose bytes sign what is posted (HMAC-SHA256)."},
    {.key = "host",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, host),
     .least = 1,
     .check = md_conf_check_host,
     .example = "ris.example.org",
     .is_off = true,
     .help = "hl7: the host name or address of the receiver."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_notifier, port),
     .least = 1,
     .most = 65535,
     .fallback = "2575",
     .help = "hl7: its port."},
    {.key = "tls",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf_notifier, use_tls),
     .fallback = "false",
     .help = "hl7: true: MLLP within TLS."},
    {.key = "ca",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, ca),
     .least = 1,
     .example = "tls/ca.crt",
     .is_off = true,
     .help = "webhook and hl7: who signs the receiver's certificate; without this key those "
             "that the machine trusts."},
    {.key = "facility",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, facility),
     .fallback = "",
     .help = "hl7: MSH-4, our facility."},
    {.key = "receiver",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, receiver),
     .fallback = "",
     .help = "hl7: MSH-5, the receiving application."},
    {.key = "receiver_facility",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, receiver_facility),
     .fallback = "",
     .help = "hl7: MSH-6, its facility."},
    {.key = "to",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, to),
     .least = 1,
     .check = check_mail_address,
     .example = "worklist@example.org",
     .is_off = true,
     .help = "mail: to whom."},
    {.key = "from",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, from),
     .least = 1,
     .check = check_mail_address,
     .fallback = "medaid",
     .help = "mail: from whom."},
    {.key = "sendmail",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_notifier, sendmail),
     .least = 1,
     .check = check_program,
     .fallback = "/usr/sbin/sendmail",
     .help = "mail: the program that sends it."},
    {.key = "timeout_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf_notifier, timeout_s),
     .least = 1,
     .most = 3600,
     .unit = "s",
     .fallback = "30",
     .help = "For one attempt."},
    {.key = NULL},
};

static md_status check_one(const char *path, const md_conf *conf, unsigned i, md_error *err)
{
    const md_conf_notifier *n = &conf->notifiers[i];
    const char *missing = NULL;
    switch (n->kind) {
    case MD_CONF_NOTIFY_WEBHOOK:
        missing = n->url[0] == '\0' ? "url" : NULL;
        break;
    case MD_CONF_NOTIFY_HL7:
        missing = n->host[0] == '\0' ? "host" : NULL;
        break;
    case MD_CONF_NOTIFY_MAIL:
        missing = n->to[0] == '\0' ? "to" : NULL;
        break;
    }
    if (missing != NULL) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'notifiers[%u].%s': is missing, its kind needs it", path,
                       n->line, i, missing);
    }
    if (n->kind == MD_CONF_NOTIFY_WEBHOOK && n->patient != MD_CONF_PATIENT_NONE &&
        strncmp(n->url, "https:", 6) != 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'notifiers[%u].url': patient data go by https only", path,
                       n->line, i);
    }
    for (unsigned k = 0; k < i; k++) {
        if (strcmp(n->name, conf->notifiers[k].name) == 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'notifiers[%u].name': got '%s', the name of the one at "
                           "line %u, expected a name of its own",
                           path, n->line, i, n->name, conf->notifiers[k].line);
        }
    }
    return MD_OK;
}

md_status md_conf_check_notifiers(const char *path, const md_conf *conf, md_error *err)
{
    for (unsigned i = 0; i < conf->n_notifiers; i++) {
        MD_TRY(check_one(path, conf, i, err));
    }
    return MD_OK;
}
