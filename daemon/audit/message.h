#ifndef MEDAID_DAEMON_AUDIT_MESSAGE_H
#define MEDAID_DAEMON_AUDIT_MESSAGE_H

/* The text of an audit message: the XML of PS3.15 A.5.1 (derived from RFC 3881) within the
 * syslog message of RFC 5424, as PS3.15 A.6 and A.7 ask. Pure functions, any thread.
 *
 * Every text from outside is escaped; control characters and bytes that are no UTF-8 become
 * '?'. */

#include "base/memory.h"

enum {
    MD_AUDIT_MAX_BYTES = 16 * 1024, /* of a message; PS3.15 A.6 has receivers take 32 KiB */
    MD_AUDIT_MAX_CLASSES = 32,      /* that one message tells apart */
    MD_AUDIT_UID_BYTES = 65,
};

/* Who reports; the same in every message of a program. */
typedef struct md_audit_source {
    const char *source_id, *site; /* Audit Source ID, Audit Enterprise Site ID ("": none) */
    const char *ae_title;
    const char *host; /* of this machine, for the syslog header and as access point */
    long pid;
} md_audit_source;

/* A.5.3.1 Application Activity. */
typedef struct md_audit_application_event {
    bool is_start; /* else stop */
} md_audit_application_event;

typedef struct md_audit_class {
    char sop_class_uid[MD_AUDIT_UID_BYTES];
    unsigned n_instances;
} md_audit_class;

/* A.5.3.7 DICOM Instances Transferred, of one study. */
typedef struct md_audit_transfer {
    bool is_sent; /* from us, else to us */
    /* What the receiver made of it: 'C' it was new there, 'R' it was there already or is not
     * known to us, 'U' it changed what was there. */
    char action;
    bool is_failed;                           /* not stored */
    const char *peer_ae_title, *peer_host;    /* the host: a name or an address */
    const char *own_ae_title;                 /* by which we took part */
    const char *study, *study_name, *patient; /* identifiers; the name: for people */
    const md_audit_class *classes;
    unsigned n_classes;
} md_audit_transfer;

/* A.5.3.14 Patient Record: a reader's decision on what to do next. */
typedef struct md_audit_record {
    const char *user;
    const char *study, *patient; /* as in md_audit_transfer */
    const char *action, *decision;
} md_audit_record;

/* A.5.3.11 Security Alert, (110126, DCM, "Node Authentication"), minor failure: it was refused.
 */
typedef struct md_audit_alert_event {
    const char *peer_host;
    const char *reason;
} md_audit_alert_event;

/* Write the whole syslog message, without framing, of at most MD_AUDIT_MAX_BYTES - 1 bytes and
 * a zero; wall_ms is the time of the event. Returns the length; 0: no room for it. */
size_t md_audit_write_application(const md_audit_source *source, int64_t wall_ms,
                                  const md_audit_application_event *event,
                                  char ret_text[MD_AUDIT_MAX_BYTES]);
size_t md_audit_write_transfer(const md_audit_source *source, int64_t wall_ms,
                               const md_audit_transfer *transfer,
                               char ret_text[MD_AUDIT_MAX_BYTES]);
size_t md_audit_write_record(const md_audit_source *source, int64_t wall_ms,
                             const md_audit_record *record, char ret_text[MD_AUDIT_MAX_BYTES]);
size_t md_audit_write_alert(const md_audit_source *source, int64_t wall_ms,
                            const md_audit_alert_event *event,
                            char ret_text[MD_AUDIT_MAX_BYTES]);

#endif
