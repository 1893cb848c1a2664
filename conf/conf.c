#include "conf/conf.h"

#include "base/file.h"
#include "conf/conf_internal.h"
#include "conf/schema.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const md_schema_choice rules_modes[] = {
    {"first", MD_RULES_FIRST}, {"all", MD_RULES_ALL}, {NULL, 0}};

/* Who shares the lists of a configuration. */
struct md_conf_holders {
    atomic_uint n;
};

static const md_schema_choice results_kinds[] = {
    {"sr", MD_RESULTS_SR},
    {"picture", MD_RESULTS_PICTURE},
    {"both", MD_RESULTS_BOTH},
    {NULL, 0},
};
static const md_schema_choice verifies[] = {
    {"required", MD_CONF_VERIFY_REQUIRED},
    {"optional", MD_CONF_VERIFY_OPTIONAL},
    {"none", MD_CONF_VERIFY_NONE},
    {NULL, 0},
};
static const md_schema_choice backends[] = {
    {"auto", 0}, {"onednn", 0}, {"openblas", 0}, {NULL, 0}};
static const md_schema_choice levels[] = {
    {"debug", 0}, {"info", 0}, {"warn", 0}, {"error", 0}, {NULL, 0}};
static const md_schema_choice qualifications[] = {
    {"PRODUCT", 0}, {"RESEARCH", 0}, {"SERVICE", 0}, {NULL, 0}};

const char *md_conf_check_address(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool fine =
        inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
    return fine ? NULL : "an IP address, such as 127.0.0.1, 0.0.0.0 or ::";
}

/* An address, or the first address of a network and how many of its bits count. */
static const char *check_network(const char *text)
{
    static const char expected[] =
        "an IP address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32 (bits "
        "beyond the prefix are zero)";
    unsigned char bytes[sizeof(struct in6_addr)];
    char address[64];
    size_t length = strcspn(text, "/");
    if (length >= sizeof address) {
        return expected;
    }
    memcpy(address, text, length);
    address[length] = '\0';
    bool is_v6 = strchr(address, ':') != NULL;
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, address, bytes) != 1) {
        return expected;
    }
    unsigned n_bits = is_v6 ? 128 : 32;
    unsigned n_prefix = n_bits;
    if (text[length] == '/') {
        const char *digits = text + length + 1;
        size_t n_digits = strlen(digits);
        if (n_digits == 0 || n_digits > 3 || strspn(digits, "0123456789") != n_digits) {
            return expected;
        }
        n_prefix = (unsigned)strtoul(digits, NULL, 10);
        if (n_prefix > n_bits) {
            return expected;
        }
    }
    for (unsigned i = n_prefix; i < n_bits; i++) {
        if ((bytes[i / 8] & (0x80U >> i % 8)) != 0) {
            return expected;
        }
    }
    return NULL;
}

/* Health and figures are answered to whoever asks, so only this machine may. */
static const char *check_loopback(const char *text)
{
    struct in_addr four;
    struct in6_addr six;
    bool fine = (inet_pton(AF_INET, text, &four) == 1 && ntohl(four.s_addr) >> 24 == 127) ||
                (inet_pton(AF_INET6, text, &six) == 1 &&
                 memcmp(&six, &in6addr_loopback, sizeof six) == 0);
    return fine ? NULL : "an address of this machine alone: 127.0.0.1 or ::1";
}

const char *md_conf_check_host(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";
    size_t length = strlen(text);
    bool fine = length > 0 && text[0] != '-' && strspn(text, allowed) == length;
    return fine ? NULL : "a host name or an IP address";
}

static const md_schema_field caller_fields[] = {
    {.key = "ae_title",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_caller, ae_title),
     .required = true,
     .least = 1,
     .check = md_conf_check_ae_title,
     .example = "CT01",
     .help = "How it calls itself."},
    {.key = "address",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_caller, address),
     .least = 1,
     .check = check_network,
     .example = "192.0.2.0/24",
     .help = "The address or the network that it calls from; without this key: any."},
    {.key = NULL},
};
const md_schema_field md_conf_caller_item = {
    .key = "caller", .type = MD_SCHEMA_MAP, .fields = caller_fields};

static const md_schema_field ae_tls_fields[] = {
    TLS_OWN_FIELDS(md_conf, ae.tls),
    {.key = "ca",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ae.tls.ca),
     .least = 1,
     .example = "tls/ca.crt",
     .help = "Who signs the certificates of those who call, in PEM form."},
    {.key = "verify",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, ae.tls.verify),
     .choices = verifies,
     .fallback = "required",
     .help = "required: who has no certificate of the CA is refused. optional: who shows one, "
             "must have it from the CA. none: no certificate is asked for."},
    {.key = NULL},
};
static const md_schema_field ae_fields[] = {
    {.key = "title",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ae.title),
     .least = 1,
     .fallback = "MEDAID",
     .check = md_conf_check_ae_title,
     .help = "How medaid calls itself, 1..16 characters."},
    {.key = "bind",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, ae.bind),
     .least = 1,
     .fallback = "127.0.0.1",
     .check = md_conf_check_address,
     .help =
         "The address to listen on. DICOM without TLS neither encrypts nor knows who calls, so "
         "nothing is open to the network until you say so: for a PACS on another machine give "
         "the address of the interface it reaches, or 0.0.0.0 (or ::) for all of them."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ae.port),
     .line_offset = offsetof(md_conf, ae.port_line),
     .least = 1,
     .most = 65535,
     .fallback = "11112",
     .help = "The TCP port to listen on; below 1024 only with the right to do so."},
    {.key = "max_associations",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ae.max_associations),
     .least = 1,
     .most = 1024,
     .fallback = "32",
     .help = "Associations at one time; further ones are rejected as transient, local limit "
             "exceeded."},
    {.key = "timeout_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ae.timeout_s),
     .least = 1,
     .most = 3600,
     .unit = "s",
     .fallback = "30",
     .help = "How long a peer may stay silent, during set-up and between messages."},
    {.key = "max_pdu_bytes",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ae.max_pdu_bytes),
     .least = 4096,
     .most = 131072,
     .unit = "bytes",
     .fallback = "131072",
     .help = "The largest PDU that is offered to peers."},
    {.key = "max_object_mib",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, ae.max_object_mib),
     .least = 1,
     .most = 16384,
     .unit = "MiB",
     .fallback = "2048",
     .help = "A larger object is refused while it arrives."},
    {.key = "check_called_ae",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, ae.check_called_ae),
     .fallback = "false",
     .help = "true: reject associations that call another AE title than ours."},
    {.key = "titles",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, ae.titles),
     .item = &md_conf_title_item,
     .max_items = MD_CONF_MAX_TITLES,
     .n_offset = offsetof(md_conf, ae.n_titles),
     .owned_bytes = sizeof(md_conf_title),
     .is_off = true,
     .help = "Further AE titles on the same port, each with what it does with the studies that "
             "are sent to it. A study that is sent to several gets what each of them does."},
    {.key = "allowed_callers",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, ae.allowed_callers),
     .item = &md_conf_caller_item,
     .max_items = MD_CONF_MAX_CALLERS,
     .n_offset = offsetof(md_conf, ae.n_allowed_callers),
     .is_off = true,
     .help =
         "Who may open associations; without this key or with an empty list: anyone. Others "
         "are rejected, calling AE title not recognised."},
    {.key = "tls",
     .type = MD_SCHEMA_MAP,
     .fields = ae_tls_fields,
     .has_offset = offsetof(md_conf, ae.has_tls),
     .line_offset = offsetof(md_conf, ae.tls.line),
     .is_off = true,
     .help =
         "With this key the port speaks TLS 1.2 and 1.3 and nothing else. docs/tls.md makes "
         "the files."},
    {.key = NULL},
};

static const md_schema_field path_item = {
    .key = "path", .type = MD_SCHEMA_TEXT, .size_bytes = MD_CONF_TEXT_BYTES, .least = 1};
static const md_schema_field plugins_fields[] = {
    {.key = "paths",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, plugins.paths),
     .item = &path_item,
     .max_items = MD_CONF_MAX_PATHS,
     .n_offset = offsetof(md_conf, plugins.n_paths),
     .example = "[../plugins]",
     .help =
         "Folders that hold model packages (a folder with model.yaml) and C plugins (*.so); "
         "relative ones count from this file's folder. Without this key: the folder that was "
         "installed with the program."},
    {.key = NULL},
};

static const md_schema_field engine_fields[] = {
    {.key = "backend",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, engine.backend),
     .choices = backends,
     .fallback = "auto",
     .help = "What computes the networks; auto takes oneDNN when it was built in."},
    {.key = "n_threads",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, engine.n_threads),
     .least = 0,
     .most = 1024,
     .fallback = "0",
     .help = "Threads of one analysis; 0: all cores, with --daemon divided among the workers."},
    {.key = NULL},
};

static const md_schema_field workers_fields[] = {
    {.key = "count",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, workers.count),
     .least = 1,
     .most = 64,
     .fallback = "2",
     .help = "How many studies are analysed at one time. With one alone a study that hangs "
             "keeps the others waiting for its time limit."},
    {.key = "study_timeout_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, workers.study_timeout_s),
     .least = 1,
     .most = 86400,
     .unit = "s",
     .fallback = "300",
     .help =
         "One attempt at one study may take so long, then its worker is killed. After three "
         "attempts the study is given up with a reason."},
    {.key = "memory_mib",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, workers.memory_mib),
     .least = 256,
     .most = 1048576,
     .unit = "MiB",
     .fallback = "2048",
     .help = "The most memory of one worker."},
    {.key = "recycle_after",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, workers.recycle_after),
     .least = 0,
     .most = 1000000,
     .fallback = "1000",
     .help =
         "A worker is replaced by a fresh one after so many studies, against what models may "
         "leak; 0: never."},
    {.key = NULL},
};

static const md_schema_field results_fields[] = {
    {.key = "kind",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, results.kind),
     .choices = results_kinds,
     .fallback = "both",
     .help = "What is made of an analysis: the structured report for machines, the picture for "
             "people, or both."},
    {.key = "parametric_map",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, results.parametric_map),
     .fallback = "false",
     .help = "true: also write where the network looked as numbers, a Parametric Map (float32) "
             "of each finding that is not absent. Destinations get them whose own key "
             "parametric_map says so."},
    {.key = "triage_only",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, results.triage_only),
     .fallback = "false",
     .help =
         "true: no overlay and no localisation of any kind, for sites where the product only "
         "sorts the worklist."},
    {.key = "write_failures",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, results.write_failures),
     .fallback = "false",
     .help =
         "true: also write a report that says that an analysis failed and why. Some PACS show "
         "every report to readers, so it is off until asked for."},
    {.key = "institution",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, results.institution),
     .fallback = "",
     .help = "Institution Name of the device in what is written; empty: none."},
    {.key = "station",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, results.station),
     .fallback = "",
     .help = "Station Name (at most 16 characters); empty: none."},
    {.key = "content_qualification",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, results.content_qualification),
     .choices = qualifications,
     .fallback = "RESEARCH",
     .help = "Content Qualification (0018,9004) of what is written."},
    {.key = NULL},
};

static const md_schema_field storage_fields[] = {
    {.key = "path",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, storage.path),
     .line_offset = offsetof(md_conf, storage.path_line),
     .least = 1,
     .fallback = "/var/lib/medaid",
     .help = "Where received objects and results wait; a relative path counts from this file's "
             "folder. It holds patient data: only medaid's user may read it."},
    {.key = "min_free_mib",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, storage.min_free_mib),
     .least = 0,
     .most = 1048576,
     .unit = "MiB",
     .fallback = "1024",
     .help = "With less free space than this, objects are refused as out of resources (A700) "
             "until there is more again; what is left is for results and the database."},
    {.key = "keep_h",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, storage.keep_h),
     .least = 1,
     .most = 87600,
     .unit = "h",
     .fallback = "24",
     .help = "How long studies that have ended are kept, for late objects and for questions."},
    {.key = "max_gib",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, storage.max_gib),
     .least = 0,
     .most = 1048576,
     .unit = "GiB",
     .fallback = "0",
     .help = "When all studies together are larger, those that ended first go earlier; 0: no "
             "such limit."},
    {.key = NULL},
};

static const md_schema_field http_fields[] = {
    {.key = "bind",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, http.bind),
     .least = 1,
     .fallback = "127.0.0.1",
     .check = check_loopback,
     .help = "The address to listen on; only of this machine. What is to be read from another "
             "one goes through a proxy that knows who asks."},
    {.key = "port",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, http.port),
     .least = 0,
     .most = 65535,
     .fallback = "0",
     .help = "The TCP port; 0: none. medaidctl does not need it, it uses the socket "
             "medaid.sock in storage.path."},
    {.key = NULL},
};

static const md_schema_field eta_fields[] = {
    {.key = "enabled",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, eta.enabled),
     .fallback = "true",
     .help = "Fit and show it. What it learns from is kept in the database either way, without "
             "patient data."},
    {.key = "least_studies",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, eta.least_studies),
     .least = 100,
     .most = 20000,
     .fallback = "200",
     .help = "So many studies must have been read before anything is said."},
    {.key = "history_days",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, eta.history_days),
     .least = 7,
     .most = 730,
     .unit = "d",
     .fallback = "90",
     .help = "So far back it looks; of more than 20000 read studies the newest count."},
    {.key = "refit_h",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, eta.refit_h),
     .least = 1,
     .most = 168,
     .unit = "h",
     .fallback = "6",
     .help = "So often it is fitted anew, in the background."},
    {.key = NULL},
};

static const md_schema_field log_fields[] = {
    {.key = "level",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf, log.level),
     .choices = levels,
     .fallback = "info",
     .help = "The least level that is written."},
    {.key = NULL},
};

static const md_schema_field notifier_item = {.key = "notifier",
                                              .type = MD_SCHEMA_MAP,
                                              .fields = md_conf_notifier_fields,
                                              .line_offset = offsetof(md_conf_notifier, line)};

const md_schema_field *md_conf_fields(void)
{
    static const md_schema_field fields[] = {
        {.key = "ae",
         .type = MD_SCHEMA_MAP,
         .fields = ae_fields,
         .help = "The DICOM listener: C-ECHO and C-STORE."},
        {.key = "destinations",
         .type = MD_SCHEMA_LIST,
         MD_SCHEMA_AT(md_conf, destinations),
         .item = &md_conf_destination_item,
         .max_items = MD_CONF_MAX_DESTINATIONS,
         .n_offset = offsetof(md_conf, n_destinations),
         .help =
             "Where results go by C-STORE; none: they stay in storage.path. The entry here is "
             "an Orthanc with its usual port on the same machine: put your PACS in its place."},
        {.key = "notifiers",
         .type = MD_SCHEMA_LIST,
         MD_SCHEMA_AT(md_conf, notifiers),
         .item = &notifier_item,
         .max_items = MD_CONF_MAX_NOTIFIERS,
         .n_offset = offsetof(md_conf, n_notifiers),
         .is_off = true,
         .help = "Who is told when a study was analysed; tried for about a day. See "
                 "docs/notifications.md."},
        {.key = "study",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_study_fields,
         .help = "When a study is analysed."},
        {.key = "rules_mode",
         .type = MD_SCHEMA_ENUM,
         MD_SCHEMA_AT(md_conf, rules_mode),
         .choices = rules_modes,
         .fallback = "first",
         .help = "first: the first rule that matches decides; all: all that match add up."},
        {.key = "rules",
         .type = MD_SCHEMA_LIST,
         MD_SCHEMA_AT(md_conf, rules),
         .item = &md_conf_rule_item,
         .max_items = MD_RULES_MAX,
         .n_offset = offsetof(md_conf, n_rules),
         .owned_bytes = sizeof(md_rule),
         .is_off = true,
         .help = "What is done with which study, see docs/rules.md: rules on the images alone "
                 "when a study is complete, all of them when it is analysed. medaid "
                 "--explain-rules FILE shows which one matches and why the others do not."},
        {.key = "plugins",
         .type = MD_SCHEMA_MAP,
         .fields = plugins_fields,
         .help = "The models that serve."},
        {.key = "engine",
         .type = MD_SCHEMA_MAP,
         .fields = engine_fields,
         .help = "The network engine."},
        {.key = "workers",
         .type = MD_SCHEMA_MAP,
         .fields = workers_fields,
         .help = "The processes of the daemon that analyse, each locked into a sandbox: no "
                 "network, no other program, no file but those of its study."},
        {.key = "results",
         .type = MD_SCHEMA_MAP,
         .fields = results_fields,
         .help = "What is written."},
        {.key = "storage",
         .type = MD_SCHEMA_MAP,
         .fields = storage_fields,
         .help = "The daemon's own data."},
        {.key = "http",
         .type = MD_SCHEMA_MAP,
         .fields = http_fields,
         .line_offset = offsetof(md_conf, http.line),
         .help = "Health and figures over HTTP: /healthz, /readyz and, for Prometheus, "
                 "/metrics. No patient data is in them."},
        {.key = "web",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_web_fields,
         .line_offset = offsetof(md_conf, web.line),
         .help = "The reading worklist as a web page, docs/web.md."},
        {.key = "log",
         .type = MD_SCHEMA_MAP,
         .fields = log_fields,
         .help = "The log: one JSON object a line, on standard error, without patient data."},
        {.key = "audit",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_audit_fields,
         .line_offset = offsetof(md_conf, audit.line),
         .help =
             "Audit messages as PS3.15 A.5 defines them, by syslog: start and stop, studies "
             "received and sent, callers and certificates that were refused."},
        {.key = "ups",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_ups_fields,
         .line_offset = offsetof(md_conf, ups.line),
         .help =
             "The reading worklist by DICOM's Unified Procedure Step service (docs/ups.md): "
             "medaid keeps a workitem for each analysed study."},
        {.key = "follow_up",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_follow_up_fields,
         .line_offset = offsetof(md_conf, follow_up.line),
         .help = "What to do next, proposed from what readers decided for similar patients "
                 "(docs/follow-up.md). It proposes and never acts."},
        {.key = "eta",
         .type = MD_SCHEMA_MAP,
         .fields = eta_fields,
         .help = "When each open study will have been read (docs/eta.md), by a regression over "
                 "the daemon's own history; shown on the worklist."},
        {.key = "similar",
         .type = MD_SCHEMA_MAP,
         .fields = md_conf_similar_fields,
         .help = "Similar cases: what each analysed study looks like is kept, so that those "
                 "which resemble it can be shown, docs/similar.md."},
        {.key = "user",
         .type = MD_SCHEMA_TEXT,
         MD_SCHEMA_AT(md_conf, user),
         .least = 1,
         .line_offset = offsetof(md_conf, user_line),
         .check = md_conf_check_user,
         .example = "medaid",
         .is_off = true,
         .help =
             "When root starts the daemon, it becomes this user for good as soon as the port "
             "is bound. The storage folder, this file and the TLS files must be readable for "
             "it. Not needed with medaid.service, which never starts it as root."},
        {.key = "group",
         .type = MD_SCHEMA_TEXT,
         MD_SCHEMA_AT(md_conf, group),
         .least = 1,
         .check = md_conf_check_user,
         .example = "medaid",
         .is_off = true,
         .help = "And this group; without this key: the user's own."},
        {.key = NULL},
    };
    return fields;
}

void md_conf_defaults(md_conf *conf)
{
    memset(conf, 0, sizeof *conf);
    md_schema_defaults(md_conf_fields(), conf);
}

/* Put the folder of the file before a relative path. */
static md_status resolve(const char *file, const char *key, char *text, md_error *err)
{
    const char *slash = strrchr(file, '/');
    if (text[0] == '/' || text[0] == '\0' || slash == NULL) {
        return MD_OK;
    }
    char whole[PATH_MAX];
    int length = snprintf(whole, sizeof whole, "%.*s/%s", (int)(slash - file), file, text);
    if (length < 0 || length >= MD_CONF_TEXT_BYTES) {
        return md_fail(err, MD_LIMIT,
                       "%s: key '%s': with the file's folder before it the path "
                       "has %d bytes, expected at most %d",
                       file, key, length, MD_CONF_TEXT_BYTES - 1);
    }
    memcpy(text, whole, (size_t)length + 1);
    return MD_OK;
}

static md_status resolve_tls(const char *file, const char *where, md_conf_tls *tls,
                             md_error *err)
{
    char key[64];
    snprintf(key, sizeof key, "%s.certificate", where);
    MD_TRY(resolve(file, key, tls->certificate, err));
    snprintf(key, sizeof key, "%s.private_key", where);
    MD_TRY(resolve(file, key, tls->private_key, err));
    snprintf(key, sizeof key, "%s.ca", where);
    return resolve(file, key, tls->ca, err);
}

static md_status check_tls(const char *path, md_conf *conf, md_error *err)
{
    const md_conf_tls *own = &conf->ae.tls;
    if (conf->ae.has_tls && own->verify != MD_CONF_VERIFY_NONE && own->ca[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'ae.tls.ca': is missing, expected the CA file, or verify: "
                       "none",
                       path, own->line);
    }
    if (conf->ae.has_tls && own->verify == MD_CONF_VERIFY_NONE && own->ca[0] != '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'ae.tls.ca': got a CA file, expected none, because with "
                       "verify: none nothing is checked",
                       path, own->line);
    }
    MD_TRY(resolve_tls(path, "ae.tls", &conf->ae.tls, err));
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        char where[40];
        snprintf(where, sizeof where, "destinations[%u].tls", i);
        MD_TRY(resolve_tls(path, where, &conf->destinations[i].tls, err));
    }
    return MD_OK;
}

/* What one key alone cannot show. */
static md_status check_whole(const char *path, md_conf *conf, md_error *err)
{
    MD_TRY(md_conf_check_destinations(path, conf, err));
    MD_TRY(md_conf_check_titles(path, conf, err));
    MD_TRY(md_conf_check_rules(path, conf, err));
    if (conf->http.port == conf->ae.port) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'http.port': got %u, the port of 'ae.port' too, expected "
                       "another",
                       path, conf->http.line, conf->http.port);
    }
    MD_TRY(check_tls(path, conf, err));
    MD_TRY(md_conf_check_audit(path, conf, err));
    MD_TRY(md_conf_check_ups(path, conf, err));
    MD_TRY(md_conf_check_follow_up(path, conf, err));
    MD_TRY(resolve_tls(path, "ups.manager.tls", &conf->ups.manager.tls, err));
    for (unsigned i = 0; i < conf->ups.n_subscribers; i++) {
        MD_TRY(resolve_tls(path, "ups.subscribers.tls", &conf->ups.subscribers[i].tls, err));
    }
    MD_TRY(md_conf_check_notifiers(path, conf, err));
    MD_TRY(md_conf_check_web(path, conf, err));
    MD_TRY(resolve(path, "web.tls.certificate", conf->web.certificate, err));
    MD_TRY(resolve(path, "web.tls.private_key", conf->web.private_key, err));
    for (unsigned i = 0; i < conf->n_notifiers; i++) {
        MD_TRY(resolve(path, "notifiers.secret_file", conf->notifiers[i].secret_file, err));
        MD_TRY(resolve(path, "notifiers.ca", conf->notifiers[i].ca, err));
    }
    MD_TRY(resolve(path, "audit.socket", conf->audit.socket, err));
    MD_TRY(resolve_tls(path, "audit.tls", &conf->audit.tls, err));
    if (conf->group[0] != '\0' && conf->user[0] == '\0') {
        return md_fail(err, MD_FORMAT, "%s: key 'group': is of no use without 'user'", path);
    }
    for (unsigned i = 0; i < conf->plugins.n_paths; i++) {
        MD_TRY(resolve(path, "plugins.paths", conf->plugins.paths[i], err));
    }
    return resolve(path, "storage.path", conf->storage.path, err);
}

md_status md_conf_load(const char *path, md_conf *ret_conf, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_SCHEMA_MAX_BYTES, &bytes, &size_bytes, err));
    MD_AUTO(md_freep) md_conf *conf = md_calloc(1, sizeof *conf);
    struct md_conf_holders *holders = md_malloc(sizeof *holders);
    if (conf == NULL || holders == NULL) {
        md_free(holders);
        return md_fail(err, MD_NOMEM, "%s: no memory to read it", path);
    }
    atomic_init(&holders->n, 1);
    md_status status = md_schema_parse(md_conf_fields(), bytes, size_bytes, path, conf, err);
    conf->holders = holders;
    if (status == MD_OK) {
        status = check_whole(path, conf, err);
    }
    if (status == MD_OK && strlen(path) >= sizeof conf->path) {
        status = md_fail(err, MD_LIMIT, "%s: a path of more than %zu bytes", path,
                         sizeof conf->path - 1);
    }
    bool has_lists =
        conf->ae.n_titles + conf->study.n_required + conf->n_rules + conf->follow_up.n_actions >
        0;
    if (status != MD_OK || !has_lists) {
        md_conf_finish(conf); /* without lists nobody has to */
    }
    if (status != MD_OK) {
        return status;
    }
    snprintf(conf->path, sizeof conf->path, "%s", path);
    *ret_conf = *conf;
    return MD_OK;
}

void md_conf_hold_lists(const md_conf *conf)
{
    if (conf->holders != NULL) {
        atomic_fetch_add_explicit(&conf->holders->n, 1, memory_order_relaxed);
    }
}

void md_conf_finish(md_conf *conf)
{
    if (conf->holders != NULL &&
        atomic_fetch_sub_explicit(&conf->holders->n, 1, memory_order_acq_rel) == 1) {
        md_schema_release(md_conf_fields(), conf);
        md_free(conf->holders);
    }
    conf->holders = NULL;
}
