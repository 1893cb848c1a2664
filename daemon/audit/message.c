#include "daemon/audit/message.h"

#include "base/utf8.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    FACILITY = 10, /* security/authorization, PS3.15 A.6 */
    SEVERITY_NOTICE = 5,
    SEVERITY_WARNING = 4,
    OUTCOME_SUCCESS = 0,
    OUTCOME_MINOR_FAILURE = 4,
};

/* What is being written; `full` once something did not fit. */
typedef struct writer {
    char *text;
    size_t used;
    bool full;
} writer;

static void put_bytes(writer *to, const char *bytes, size_t n)
{
    if (to->full || n >= MD_AUDIT_MAX_BYTES - to->used) {
        to->full = true;
        return;
    }
    memcpy(to->text + to->used, bytes, n);
    to->used += n;
    to->text[to->used] = '\0';
}

static void put(writer *to, const char *text)
{
    put_bytes(to, text, strlen(text));
}

static void put_format(writer *to, const char *format, ...) MD_PRINTF(2, 3);
static void put_format(writer *to, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= sizeof text) {
        to->full = true;
        return;
    }
    put_bytes(to, text, (size_t)n);
}

/* XML 1.0 2.2: no control characters but tab and line ends, not U+FFFE and U+FFFF. */
static bool is_xml(const unsigned char *text, size_t n)
{
    return n > 0 && text[0] >= 0x20 && text[0] != 0x7f &&
           !(n == 3 && text[0] == 0xef && text[1] == 0xbf && text[2] >= 0xbe);
}

static void put_escaped(writer *to, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != 0;) {
        size_t n = md_utf8_length(p);
        char sequence[4];
        if (!is_xml(p, n)) {
            put(to, "?");
            n = n == 0 ? 1 : n;
        } else if (*p == '&') {
            put(to, "&amp;");
        } else if (*p == '<') {
            put(to, "&lt;");
        } else if (*p == '>') {
            put(to, "&gt;");
        } else if (*p == '"') {
            put(to, "&quot;");
        } else {
            memcpy(sequence, p, n);
            put_bytes(to, sequence, n);
        }
        p += n;
    }
}

/* name="value" */
static void put_attribute(writer *to, const char *name, const char *value)
{
    put_format(to, " %s=\"", name);
    put_escaped(to, value);
    put(to, "\"");
}

/* RFC 4648 section 4; ParticipantObjectDetail holds nothing else. */
static void put_base64(writer *to, const char *text)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)text;
    for (size_t left = strlen(text); left > 0;) {
        size_t n = left < 3 ? left : 3;
        unsigned bits = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) |
                        (n > 2 ? (unsigned)p[2] : 0);
        const char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                              n > 1 ? digits[bits >> 6 & 63] : '=',
                              n > 2 ? digits[bits & 63] : '='};
        put_bytes(to, four, 4);
        p += n;
        left -= n;
    }
}

static void put_code(writer *to, const char *element, const char *code, const char *scheme,
                     const char *meaning)
{
    put_format(to, "<%s csd-code=\"%s\" codeSystemName=\"%s\" originalText=\"%s\"/>", element,
               code, scheme, meaning);
}

/* RFC 3339 with milliseconds, UTC. */
static void format_time(int64_t wall_ms, char ret_text[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc = {0};
    char whole[24] = "";
    gmtime_r(&seconds, &utc);
    (void)strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(ret_text, 32, "%s.%03dZ", whole, (int)(wall_ms % 1000));
}

/* RFC 5424 section 6: a name in the header is printable US-ASCII. */
static void put_header_name(writer *to, const char *name)
{
    size_t before = to->used;
    for (const char *p = name; *p != '\0' && p - name < 255; p++) {
        if (*p > ' ' && *p <= '~') {
            put_bytes(to, p, 1);
        }
    }
    if (to->used == before) {
        put(to, "-");
    }
}

static void begin(writer *to, const md_audit_source *source, int64_t wall_ms, int outcome)
{
    char when[32];
    format_time(wall_ms, when);
    put_format(to, "<%d>1 %s ",
               FACILITY * 8 + (outcome == OUTCOME_SUCCESS ? SEVERITY_NOTICE : SEVERITY_WARNING),
               when);
    put_header_name(to, source->host);
    /* MSGID and "no structured data"; then the byte order mark that says UTF-8 */
    put_format(to, " medaid %ld DICOM+RFC3881 - \xef\xbb\xbf", source->pid);
    put(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
}

static void begin_event(writer *to, char action, int64_t wall_ms, int outcome, const char *code,
                        const char *meaning)
{
    char when[32];
    format_time(wall_ms, when);
    put_format(to,
               "<EventIdentification EventActionCode=\"%c\" EventDateTime=\"%s\""
               " EventOutcomeIndicator=\"%d\">",
               action, when, outcome);
    put_code(to, "EventID", code, "DCM", meaning);
}

typedef struct participant {
    const char *user_id, *ae_title, *name; /* NULL: none */
    bool is_requestor;
    const char *role, *role_meaning; /* NULL: none */
    const char *host;
} participant;

static void put_participant(writer *to, const participant *who)
{
    struct in6_addr address;
    put(to, "<ActiveParticipant");
    put_attribute(to, "UserID", who->user_id);
    if (who->ae_title != NULL) {
        put(to, " AlternativeUserID=\"AETITLES=");
        put_escaped(to, who->ae_title);
        put(to, "\"");
    }
    if (who->name != NULL) {
        put_attribute(to, "UserName", who->name);
    }
    put_attribute(to, "UserIsRequestor", who->is_requestor ? "true" : "false");
    if (who->host[0] != '\0') {
        bool is_address = inet_pton(AF_INET, who->host, &address) == 1 ||
                          inet_pton(AF_INET6, who->host, &address) == 1;
        put_attribute(to, "NetworkAccessPointID", who->host);
        put_attribute(to, "NetworkAccessPointTypeCode", is_address ? "2" : "1");
    }
    put(to, ">");
    if (who->role != NULL) {
        put_code(to, "RoleIDCode", who->role, "DCM", who->role_meaning);
    }
    put(to, "</ActiveParticipant>");
}

/* medaid itself: its user ID is the number of its process, as in the syslog's header. */
static void put_own(writer *to, const md_audit_source *source, const char *ae_title,
                    bool is_requestor, const char *role, const char *role_meaning)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", source->pid);
    put_participant(to, &(participant){.user_id = pid,
                                       .ae_title = ae_title,
                                       .name = "medaid",
                                       .is_requestor = is_requestor,
                                       .role = role,
                                       .role_meaning = role_meaning,
                                       .host = source->host});
}

static void put_source(writer *to, const md_audit_source *source)
{
    put(to, "<AuditSourceIdentification");
    if (source->site[0] != '\0') {
        put_attribute(to, "AuditEnterpriseSiteID", source->site);
    }
    put_attribute(to, "AuditSourceID", source->source_id);
    /* application server process */
    put(to, "><AuditSourceTypeCode csd-code=\"4\"/></AuditSourceIdentification>");
}

static size_t end(writer *to)
{
    put(to, "</AuditMessage>");
    return to->full ? 0 : to->used;
}

size_t md_audit_write_application(const md_audit_source *source, int64_t wall_ms,
                                  const md_audit_application_event *event,
                                  char ret_text[MD_AUDIT_MAX_BYTES])
{
    writer to = {.text = ret_text};
    begin(&to, source, wall_ms, OUTCOME_SUCCESS);
    begin_event(&to, 'E', wall_ms, OUTCOME_SUCCESS, "110100", "Application Activity");
    put_code(&to, "EventTypeCode", event->is_start ? "110120" : "110121", "DCM",
             event->is_start ? "Application Start" : "Application Stop");
    put(&to, "</EventIdentification>");
    put_own(&to, source, source->ae_title, false, "110150", "Application");
    put_source(&to, source);
    return end(&to);
}

static void put_peer(writer *to, const md_audit_transfer *transfer)
{
    bool is_source = !transfer->is_sent;
    put_participant(
        to, &(participant){.user_id = transfer->peer_ae_title,
                           .ae_title = transfer->peer_ae_title,
                           .is_requestor = is_source,
                           .role = is_source ? "110153" : "110152",
                           .role_meaning = is_source ? "Source Role ID" : "Destination Role ID",
                           .host = transfer->peer_host});
}

static void put_study(writer *to, const md_audit_transfer *transfer)
{
    put(to, "<ParticipantObjectIdentification");
    put_attribute(to, "ParticipantObjectID", transfer->study);
    put(to, " ParticipantObjectTypeCode=\"2\" ParticipantObjectTypeCodeRole=\"3\"");
    /* import, or export */
    put_attribute(to, "ParticipantObjectDataLifeCycle", transfer->is_sent ? "10" : "2");
    put(to, ">");
    put_code(to, "ParticipantObjectIDTypeCode", "110180", "DCM", "Study Instance UID");
    put(to, "<ParticipantObjectName>");
    put_escaped(to, transfer->study_name);
    put(to, "</ParticipantObjectName><ParticipantObjectDescription>");
    for (unsigned i = 0; i < transfer->n_classes; i++) {
        put(to, "<SOPClass");
        put_attribute(to, "UID", transfer->classes[i].sop_class_uid);
        put_format(to, " NumberOfInstances=\"%u\"/>", transfer->classes[i].n_instances);
    }
    put(to, "</ParticipantObjectDescription></ParticipantObjectIdentification>");
}

/* Its element stays open, for details. */
static void begin_patient(writer *to, const char *patient)
{
    put(to, "<ParticipantObjectIdentification");
    put_attribute(to, "ParticipantObjectID", patient);
    put(to, " ParticipantObjectTypeCode=\"1\" ParticipantObjectTypeCodeRole=\"1\">");
    put_code(to, "ParticipantObjectIDTypeCode", "2", "RFC-3881", "Patient Number");
    put(to, "<ParticipantObjectName>");
    put_escaped(to, patient);
    put(to, "</ParticipantObjectName>");
}

static void end_patient(writer *to)
{
    put(to, "</ParticipantObjectIdentification>");
}

static void put_detail(writer *to, const char *type, const char *value)
{
    put(to, "<ParticipantObjectDetail");
    put_attribute(to, "type", type);
    put(to, " value=\"");
    put_base64(to, value);
    put(to, "\"/>");
}

size_t md_audit_write_transfer(const md_audit_source *source, int64_t wall_ms,
                               const md_audit_transfer *transfer,
                               char ret_text[MD_AUDIT_MAX_BYTES])
{
    writer to = {.text = ret_text};
    int outcome = transfer->is_failed ? OUTCOME_MINOR_FAILURE : OUTCOME_SUCCESS;
    begin(&to, source, wall_ms, outcome);
    begin_event(&to, transfer->action, wall_ms, outcome, "110104",
                "DICOM Instances Transferred");
    put(&to, "</EventIdentification>");
    if (!transfer->is_sent) {
        put_peer(&to, transfer);
    }
    put_own(&to, source, transfer->own_ae_title, transfer->is_sent,
            transfer->is_sent ? "110153" : "110152",
            transfer->is_sent ? "Source Role ID" : "Destination Role ID");
    if (transfer->is_sent) {
        put_peer(&to, transfer);
    }
    put_source(&to, source);
    put_study(&to, transfer);
    begin_patient(&to, transfer->patient);
    end_patient(&to);
    return end(&to);
}

size_t md_audit_write_record(const md_audit_source *source, int64_t wall_ms,
                             const md_audit_record *record, char ret_text[MD_AUDIT_MAX_BYTES])
{
    writer to = {.text = ret_text};
    begin(&to, source, wall_ms, OUTCOME_SUCCESS);
    begin_event(&to, 'U', wall_ms, OUTCOME_SUCCESS, "110110", "Patient Record");
    put(&to, "</EventIdentification>");
    put_participant(&to,
                    &(participant){.user_id = record->user, .is_requestor = true, .host = ""});
    put_own(&to, source, source->ae_title, false, "110150", "Application");
    put_source(&to, source);
    begin_patient(&to, record->patient);
    put_detail(&to, "Study", record->study);
    put_detail(&to, "Follow-up action", record->action);
    put_detail(&to, "Follow-up decision", record->decision);
    end_patient(&to);
    return end(&to);
}

size_t md_audit_write_alert(const md_audit_source *source, int64_t wall_ms,
                            const md_audit_alert_event *event,
                            char ret_text[MD_AUDIT_MAX_BYTES])
{
    writer to = {.text = ret_text};
    begin(&to, source, wall_ms, OUTCOME_MINOR_FAILURE);
    begin_event(&to, 'E', wall_ms, OUTCOME_MINOR_FAILURE, "110113", "Security Alert");
    put_code(&to, "EventTypeCode", "110126", "DCM", "Node Authentication");
    put(&to, "<EventOutcomeDescription>");
    put_escaped(&to, event->reason);
    put(&to, "</EventOutcomeDescription></EventIdentification>");
    put_own(&to, source, source->ae_title, false, NULL, NULL);
    put_participant(&to, &(participant){.user_id = event->peer_host, .host = event->peer_host});
    put_source(&to, source);
    put(&to, "<ParticipantObjectIdentification");
    put_attribute(&to, "ParticipantObjectID", event->peer_host);
    put(&to, " ParticipantObjectTypeCode=\"2\" ParticipantObjectTypeCodeRole=\"13\">");
    put_code(&to, "ParticipantObjectIDTypeCode", "110182", "DCM", "Node ID");
    put(&to, "<ParticipantObjectName>");
    put_escaped(&to, event->peer_host);
    put(&to, "</ParticipantObjectName>");
    put(&to, "<ParticipantObjectDetail type=\"Alert Description\" value=\"");
    put_base64(&to, event->reason);
    put(&to, "\"/></ParticipantObjectIdentification>");
    return end(&to);
}
