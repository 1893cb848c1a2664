#include "conf/conf_internal.h"

#include <string.h>

static const md_schema_choice transports[] = {
    {"off", MD_CONF_AUDIT_OFF},
    {"local", MD_CONF_AUDIT_LOCAL},
    {"udp", MD_CONF_AUDIT_UDP},
    {"tls", MD_CONF_AUDIT_TLS},
    {NULL, 0},
};
static const md_schema_choice identifiers[] = {
    {"hashed", MD_CONF_IDENTIFIERS_HASHED},
    {"full", MD_CONF_IDENTIFIERS_FULL},
    {NULL, 0},
};

/* What useradd(8) takes. */
const char *md_conf_check_user(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_-.";
    size_t length = strlen(text);
    bool fine = length > 0 && length <= 32 && text[0] != '-' && strspn(text, allowed) == length;
    return fine ? NULL : "the name of a user or group of this machine";
}

static const md_schema_field tls_fields[] = {
    TLS_OWN_FIELDS(md_conf, audit.tls),
    {.key = "ca",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, audit.tls.ca),
     .required = true,
     .least = 1,
     .example = "tls/ca.crt",
     .help = "Who signs the audit server's certificate, which must be for `host`."},
    {.key = NULL},
};

const md_schema_field md_conf_audit_fields[] = {
    {.key = "to",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, audit.to),
     .choices = transports,
     .fallback = "off",
     .help = "local: the syslog of this machine; udp: RFC 5426 to host, without protection; "
             "tls: RFC 5425 to host, with `tls` below."},
    {.key = "socket",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, audit.socket),
     .least = 1,
     .fallback = "/dev/log",
     .help = "With local: the datagram socket of the syslog daemon."},
    {.key = "host",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, audit.host),
     .least = 1,
     .check = md_conf_check_host,
     .example = "audit.example.org",
     .is_off = true,
     .help = "With udp and tls: the host name or address of the audit record repository."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, audit.port),
     .least = 0,
     .most = 65535,
     .fallback = "0",
     .help = "Its port; 0: 514 with udp, 6514 with tls."},
    {.key = "identifiers",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, audit.identifiers),
     .choices = identifiers,
     .fallback = "hashed",
     .help =
         "hashed: keyed hashes stand for Patient ID and Study Instance UID, that of the study "
         "being its key in the log. full: the identifiers themselves, as PS3.15 has it; the "
         "syslog then holds patient data."},
    {.key = "source_id",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, audit.source_id),
     .fallback = "",
     .help = "Audit Source ID; empty: the AE title."},
    {.key = "site",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, audit.site),
     .fallback = "",
     .help = "Audit Enterprise Site ID; empty: none."},
    {.key = "tls",
     .type = MD_SCHEMA_MAP,
     .fields = tls_fields,
     .has_offset = offsetof(md_conf, audit.has_tls),
     .line_offset = offsetof(md_conf, audit.tls.line),
     .is_off = true,
     .help = "With tls: our certificate and who signs the repository's."},
    {.key = NULL},
};

md_status md_conf_check_audit(const char *path, const md_conf *conf, md_error *err)
{
    bool is_remote = conf->audit.to == MD_CONF_AUDIT_UDP || conf->audit.to == MD_CONF_AUDIT_TLS;
    if (is_remote && conf->audit.host[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'audit.host': is missing, expected where the audit messages "
                       "go, or to: local",
                       path, conf->audit.line);
    }
    if (conf->audit.to == MD_CONF_AUDIT_TLS && !conf->audit.has_tls) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'audit.tls': is missing, expected certificate, key and CA "
                       "with to: tls",
                       path, conf->audit.line);
    }
    return MD_OK;
}
