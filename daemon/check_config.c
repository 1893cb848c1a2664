#include "daemon/check_config.h"

#include "daemon/destination.h"
#include "daemon/host_setup.h"
#include "daemon/http/server.h"
#include "daemon/privileges.h"
#include "dicom/network/scp.h"
#include "dicom/network/scu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    FEW_DAYS = 30,
    MIB = 1024 * 1024,
    KEY_BYTES = 64
};

typedef struct check {
    const md_conf *conf;
    bool echo;
    bool is_serving; /* a daemon with this storage folder answers */
    unsigned n_problems, n_warnings;
} check;

static void tell(check *now, bool is_problem, unsigned line, const char *key,
                 const char *format, ...) MD_PRINTF(5, 6);
static void tell(check *now, bool is_problem, unsigned line, const char *key,
                 const char *format, ...)
{
    char text[512];
    char at[16] = "";
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (line > 0) {
        snprintf(at, sizeof at, ":%u", line);
    }
    fprintf(stderr, "medaid: %s%s%s: key '%s': %s\n", is_problem ? "" : "warning: ",
            now->conf->path[0] != '\0' ? now->conf->path : "(built in)", at, key, text);
    *(is_problem ? &now->n_problems : &now->n_warnings) += 1;
}

#define problem(now, ...) tell((now), true, __VA_ARGS__)
#define warning(now, ...) tell((now), false, __VA_ARGS__)

/* ---- files ---- */

static void check_tls(check *now, const md_conf_tls *files, bool is_server, const char *key)
{
    md_error err = {0};
    md_tls *tls = NULL;
    int days = 0;
    const md_tls_options options = {
        .certificate = files->certificate,
        .private_key = files->private_key,
        .ca = files->ca,
        .verify =
            files->verify == MD_CONF_VERIFY_NONE ? MD_TLS_VERIFY_NONE : MD_TLS_VERIFY_REQUIRED,
    };
    md_status status = is_server ? md_tls_create_server(&options, &tls, &err)
                                 : md_tls_create_client(&options, &tls, &err);
    md_tls_destroy(tls);
    if (status != MD_OK) {
        problem(now, files->line, key, "%s", err.msg);
        return;
    }
    const char *paths[] = {files->certificate, files->ca};
    for (int i = 0; i < 2; i++) {
        if (paths[i][0] != '\0' && md_tls_days_left(paths[i], &days, NULL) == MD_OK &&
            days < FEW_DAYS) {
            warning(now, files->line, key, "%s: the certificate expires in %d days", paths[i],
                    days);
        }
    }
}

/* The folder, or what it will be made in. */
static void check_storage(check *now)
{
    const char *path = now->conf->storage.path;
    unsigned line = now->conf->storage.path_line;
    char existing[MD_CONF_TEXT_BYTES];
    struct stat info;
    struct statvfs space;
    unsigned uid = (unsigned)geteuid();
    unsigned gid = 0;
    snprintf(existing, sizeof existing, "%s", path);
    while (stat(existing, &info) != 0 && errno == ENOENT) {
        char *slash = strrchr(existing, '/');
        if (slash == NULL) {
            snprintf(existing, sizeof existing, ".");
        } else {
            slash[slash == existing ? 1 : 0] = '\0';
        }
    }
    bool is_there = strcmp(existing, path) == 0;
    if (stat(existing, &info) != 0) {
        problem(now, line, "storage.path", "%s: %s", existing, strerror(errno));
        return;
    }
    if (!S_ISDIR(info.st_mode)) {
        problem(now, line, "storage.path", "%s is no folder", existing);
        return;
    }
    if (now->conf->user[0] != '\0' &&
        md_privileges_find(now->conf, &uid, &gid, NULL) == MD_OK && is_there &&
        info.st_uid != uid) {
        problem(now, line, "storage.path", "%s belongs to another user than %s: chown -R it",
                path, now->conf->user);
    } else if (access(existing, W_OK | X_OK) != 0) {
        problem(now, line, "storage.path", "%s: %s", existing, strerror(errno));
    }
    if (is_there && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        warning(now, line, "storage.path",
                "%s is open to others (mode %04o), it will hold patient data: chmod 700", path,
                (unsigned)info.st_mode & 07777U);
    }
    if (statvfs(existing, &space) == 0) {
        uint64_t free_mib = (uint64_t)space.f_bavail * space.f_frsize / MIB;
        if (free_mib < now->conf->storage.min_free_mib) {
            problem(now, line, "storage.min_free_mib",
                    "%s has %llu MiB free, expected at least %u: every object would be refused",
                    existing, (unsigned long long)free_mib, now->conf->storage.min_free_mib);
        }
    }
}

/* A running daemon holds its ports, and is no problem for a check before a reload. */
static bool is_serving(const md_conf *conf)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int folder = open(conf->storage.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder,
             MD_HTTP_SOCKET_NAME);
    bool answers = folder >= 0 && fd >= 0 &&
                   connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) {
        close(fd);
    }
    if (folder >= 0) {
        close(folder);
    }
    return answers;
}

/* ---- network ---- */

static void check_port(check *now, unsigned line, const char *key, const char *bind_address,
                       uint16_t port)
{
    md_error err = {0};
    int fd = -1;
    if (now->is_serving || port == 0) {
        return;
    }
    md_status status = md_scp_bind(bind_address, port, &fd, &err);
    if (status == MD_OK && listen(fd, 1) != 0) {
        status = md_fail_os(&err, errno, "port %u: listen", (unsigned)port);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (status != MD_OK && err.os_errno == EACCES) {
        warning(now, line, key,
                "%s: not allowed to this user, so whether it is free is unknown", err.msg);
    } else if (status != MD_OK) {
        problem(now, line, key, "%s", err.msg);
    }
}

/* Whether the name leads to an address of this machine; *ret_fine: to any. */
static bool resolve(const char *host, bool *ret_fine, const char **ret_reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    bool is_own = false;
    int result = getaddrinfo(host, NULL, &hints, &addresses);
    *ret_fine = result == 0;
    *ret_reason = gai_strerror(result);
    for (struct addrinfo *at = result == 0 ? addresses : NULL; at != NULL; at = at->ai_next) {
        /* only an own address can be bound */
        int fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        is_own = is_own || (fd >= 0 && bind(fd, at->ai_addr, at->ai_addrlen) == 0);
        if (fd >= 0) {
            close(fd);
        }
    }
    if (result == 0) {
        freeaddrinfo(addresses);
    }
    return is_own;
}

static void check_destination(check *now, unsigned i)
{
    const md_conf *conf = now->conf;
    const md_conf_destination *to = &conf->destinations[i];
    char key[KEY_BYTES];
    bool is_fine = false;
    const char *reason = NULL;
    snprintf(key, sizeof key, "destinations[%u].host", i);
    bool is_own = resolve(to->host, &is_fine, &reason);
    if (!is_fine) {
        problem(now, to->line, key, "%s: %s", to->host, reason);
    } else if (is_own && to->port == conf->ae.port) {
        problem(now, to->line, key, "%s port %u is medaid itself", to->host,
                (unsigned)to->port);
    }
    for (unsigned k = 0; k < i; k++) {
        const md_conf_destination *other = &conf->destinations[k];
        if (strcmp(other->ae_title, to->ae_title) == 0 && other->port == to->port &&
            strcmp(other->host, to->host) == 0) {
            warning(now, to->line, key,
                    "AE title, host and port are those of '%s' too: it gets everything twice",
                    other->name);
        }
    }
    if (to->has_tls) {
        snprintf(key, sizeof key, "destinations[%u].tls", i);
        check_tls(now, &to->tls, false, key);
    }
    if (now->echo && is_fine) {
        md_peer peer = {0};
        md_tls_options tls;
        md_error err = {0};
        md_destination_peer(conf, to, &peer, &tls);
        if (md_scu_echo(&peer, &err) != MD_OK) {
            snprintf(key, sizeof key, "destinations[%u]", i);
            problem(now, to->line, key, "C-ECHO to %s: %s", to->name, err.msg);
        } else {
            printf("C-ECHO to %s: good\n", to->name);
        }
    }
}

static void check_audit(check *now)
{
    const md_conf *conf = now->conf;
    bool is_fine = false;
    const char *reason = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    switch (conf->audit.to) {
    case MD_CONF_AUDIT_OFF:
        return;
    case MD_CONF_AUDIT_LOCAL: {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        snprintf(address.sun_path, sizeof address.sun_path, "%s", conf->audit.socket);
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
            problem(now, conf->audit.line, "audit.socket", "%s: %s", conf->audit.socket,
                    strerror(errno));
        }
        close(fd);
        return;
    }
    case MD_CONF_AUDIT_TLS:
        check_tls(now, &conf->audit.tls, false, "audit.tls");
        break;
    case MD_CONF_AUDIT_UDP:
        break;
    }
    (void)resolve(conf->audit.host, &is_fine, &reason);
    if (!is_fine) {
        problem(now, conf->audit.line, "audit.host", "%s: %s", conf->audit.host, reason);
    }
}

static void check_user(check *now)
{
    const md_conf *conf = now->conf;
    unsigned uid = 0;
    unsigned gid = 0;
    md_error err = {0};
    if (conf->user[0] != '\0' && md_privileges_find(conf, &uid, &gid, &err) != MD_OK) {
        problem(now, conf->user_line, "user", "%s", err.msg);
    }
}

/* ---- models ---- */

static void tell_refused(void *context, const char *package, const md_error *reason)
{
    check *now = context;
    fprintf(stderr, "medaid: %s is not used: %s\n", package, reason->msg);
    now->n_problems++;
}

static bool serves(const md_host *host, const char *id)
{
    for (size_t i = 0; i < md_host_n_models(host); i++) {
        if (strcmp(md_host_model(host, i)->id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* A title that names no model that serves has its studies stored and never analysed. */
static void check_titles(check *now, const md_host *host)
{
    for (unsigned i = 0; i < now->conf->ae.n_titles; i++) {
        const md_conf_title *title = &now->conf->ae.titles[i];
        char key[KEY_BYTES];
        snprintf(key, sizeof key, "ae.titles[%u].models", i);
        for (unsigned k = 0; k < title->n_models; k++) {
            if (!serves(host, title->models[k])) {
                problem(now, title->line, key, "'%s' is not the id of a model that serves",
                        title->models[k]);
            }
        }
    }
}

/* The models that a rule lets run, and those whose findings it asks for. */
static void check_rule_models(check *now, const md_host *host, const md_rule *rule,
                              const md_rule_condition *c)
{
    const md_rule_finding *lists[4] = {NULL};
    unsigned n[4] = {0};
    if (c == NULL) {
        return;
    }
    if (c->findings != NULL) {
        lists[0] = c->findings->any_of;
        n[0] = c->findings->n_any_of;
        lists[1] = c->findings->all_of;
        n[1] = c->findings->n_all_of;
        lists[2] = c->findings->none_of;
        n[2] = c->findings->n_none_of;
    }
    lists[3] = c->finding;
    n[3] = c->finding != NULL;
    for (size_t i = 0; i < 4; i++) {
        for (unsigned k = 0; k < n[i]; k++) {
            if (lists[i][k].model[0] != '\0' && !serves(host, lists[i][k].model)) {
                problem(now, rule->line, "rules",
                        "rule '%s': '%s' is not the id of a model "
                        "that serves",
                        rule->name, lists[i][k].model);
            }
        }
    }
    for (unsigned i = 0; i < c->n_all; i++) {
        check_rule_models(now, host, rule, &c->all[i]);
    }
    for (unsigned i = 0; i < c->n_any; i++) {
        check_rule_models(now, host, rule, &c->any[i]);
    }
    check_rule_models(now, host, rule, c->not_this);
}

static void check_rules(check *now, const md_host *host)
{
    for (unsigned i = 0; i < now->conf->n_rules; i++) {
        const md_rule *rule = &now->conf->rules[i];
        for (unsigned k = 0; k < rule->then.n_models; k++) {
            if (!serves(host, rule->then.models[k])) {
                problem(now, rule->line, "rules",
                        "rule '%s': '%s' is not the id of a model "
                        "that serves",
                        rule->name, rule->then.models[k]);
            }
        }
        check_rule_models(now, host, rule, rule->when);
    }
}

md_exit_code md_check_config(const md_conf *conf, const char *model, bool echo)
{
    check now = {.conf = conf, .echo = echo, .is_serving = is_serving(conf)};
    md_error err = {0};
    MD_AUTO(md_host_destroyp) md_host *host = NULL;
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status = md_host_setup(conf, model, false, tell_refused, &now, &host, &err);
    }
    unsigned n_refused = now.n_problems;
    if (status != MD_OK) {
        fprintf(stderr, "medaid: %s\n", err.msg);
        now.n_problems++;
    }
    if (host != NULL) {
        check_titles(&now, host);
        check_rules(&now, host);
    }
    check_user(&now);
    check_port(&now, conf->ae.port_line, "ae.port",
               conf->ae.bind[0] != '\0' ? conf->ae.bind : NULL, conf->ae.port);
    check_port(&now, conf->http.line, "http.port", conf->http.bind, conf->http.port);
    check_storage(&now);
    if (conf->ae.has_tls) {
        check_tls(&now, &conf->ae.tls, true, "ae.tls");
    }
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        check_destination(&now, i);
    }
    check_audit(&now);
    printf("configuration %s: %s, AE title %s on %s port %u, %zu models serve, %u refused, "
           "%u destinations, %u problems, %u warnings\n",
           conf->path[0] == '\0' ? "(built in)" : conf->path,
           now.n_problems == 0 ? "good" : "not good", conf->ae.title, conf->ae.bind,
           (unsigned)conf->ae.port, host != NULL ? md_host_n_models(host) : 0, n_refused,
           conf->n_destinations, now.n_problems, now.n_warnings);
    if (status != MD_OK) {
        return status == MD_NOT_FOUND ? MD_EXIT_NO_MODEL : MD_EXIT_INTERNAL;
    }
    return now.n_problems == 0 ? MD_EXIT_OK : MD_EXIT_USAGE;
}
