#include "conf/conf_internal.h"

#include <string.h>

static const md_schema_choice roles[] = {
    {"viewer", MD_CONF_ROLE_VIEWER},
    {"reader", MD_CONF_ROLE_READER},
    {"admin", MD_CONF_ROLE_ADMIN},
    {NULL, 0},
};

static const char *check_digest(const char *text)
{
    bool fine = strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
    return fine ? NULL : "a SHA-256 in 64 digits of 0-9a-f, as sha256sum prints it";
}

static const md_schema_field user_fields[] = {
    {.key = "name",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_web_user, name),
     .required = true,
     .least = 1,
     .check = md_schema_check_slug,
     .example = "dr-jones",
     .help = "Who it is, in the database and the log: small letters, digits and '-'."},
    {.key = "token_sha256",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_web_user, token_sha256),
     .required = true,
     .least = 1,
     .check = check_digest,
     .example = "0000000000000000000000000000000000000000000000000000000000000000",
     .help = "The SHA-256 of the token that the user logs in with; docs/web.md makes both."},
    {.key = "role",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf_web_user, role),
     .choices = roles,
     .fallback = "viewer",
     .help = "viewer: looks; reader: also marks studies as read and judges findings; admin: "
             "also has studies analysed and sent again."},
    {.key = "patient",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf_web_user, patient),
     .fallback = "false",
     .help = "true: sees patient data and pictures; false: the study's key, findings and "
             "times alone."},
    {.key = NULL},
};
static const md_schema_field user_item = {.key = "user",
                                          .type = MD_SCHEMA_MAP,
                                          .fields = user_fields,
                                          .line_offset = offsetof(md_conf_web_user, line)};

static const md_schema_field tls_fields[] = {
    {.key = "certificate",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, web.certificate),
     .required = true,
     .least = 1,
     .example = "tls/web.crt",
     .help = "The page's certificate in PEM form, then the intermediate ones, if any."},
    {.key = "private_key",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, web.private_key),
     .required = true,
     .least = 1,
     .example = "tls/web.key",
     .help = "Its key in PEM form, without password; mode 0600."},
    {.key = NULL},
};

const md_schema_field md_conf_web_fields[] = {
    {.key = "bind",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, web.bind),
     .least = 1,
     .check = md_conf_check_address,
     .fallback = "127.0.0.1",
     .help = "The address to listen on; another one than this machine's own needs tls."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, web.port),
     .least = 0,
     .most = 65535,
     .fallback = "0",
     .help = "The TCP port; 0: no web page."},
    {.key = "tls",
     .type = MD_SCHEMA_MAP,
     .fields = tls_fields,
     .has_offset = offsetof(md_conf, web.has_tls),
     .is_off = true,
     .help = "With this key the page is served by https."},
    {.key = "users",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, web.users),
     .item = &user_item,
     .max_items = MD_CONF_MAX_WEB_USERS,
     .n_offset = offsetof(md_conf, web.n_users),
     .is_off = true,
     .help = "Who may log in."},
    {.key = NULL},
};

md_status md_conf_check_web(const char *path, const md_conf *conf, md_error *err)
{
    bool is_own = strncmp(conf->web.bind, "127.", 4) == 0 || strcmp(conf->web.bind, "::1") == 0;
    if (conf->web.port == 0) {
        return MD_OK;
    }
    if (!is_own && !conf->web.has_tls) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'web.tls': is missing, expected certificate and key, because "
            "the page is open to other machines",
            path, conf->web.line);
    }
    if (conf->web.port == conf->ae.port || conf->web.port == conf->http.port) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'web.port': got %u, the port of another listener, expected "
                       "one of its own",
                       path, conf->web.line, conf->web.port);
    }
    for (unsigned i = 0; i < conf->web.n_users; i++) {
        for (unsigned k = 0; k < i; k++) {
            const md_conf_web_user *a = &conf->web.users[i], *b = &conf->web.users[k];
            if (strcmp(a->name, b->name) == 0 ||
                strcmp(a->token_sha256, b->token_sha256) == 0) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'web.users[%u]': has the name or the token of the "
                               "one at line %u, expected its own",
                               path, a->line, i, b->line);
            }
        }
    }
    return MD_OK;
}
