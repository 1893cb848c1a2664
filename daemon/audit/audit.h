#ifndef MEDAID_DAEMON_AUDIT_AUDIT_H
#define MEDAID_DAEMON_AUDIT_AUDIT_H

/* The audit trail of this process, PS3.15 A.5: Application Activity, DICOM Instances
 * Transferred, Patient Record and Security Alert, to a syslog as `audit` of the configuration
 * says. One trail a process, as there is one log.
 *
 * Nobody waits for it: messages stand in a bounded queue (MD_AUDIT_QUEUE), a thread sends them,
 * and what has no room is counted (medaid_audit_dropped_total) and logged. What was received is
 * told once for each study and association, when the association ends; what was sent, once for
 * each study and attempt that brought something to its end.
 *
 * With identifiers `hashed` study and patient stand as keyed hashes (md_store_hash): that of
 * the study is its key in the log. With `full` they are those of the dataset. Names of patients
 * are not known here. Any thread; without a start, or while audit is off, nothing happens. */

#include "conf/conf.h"
#include "daemon/store/store.h"
#include "dicom/network/scu.h"

enum {
    MD_AUDIT_QUEUE = 1024,   /* messages that wait */
    MD_AUDIT_MAX_OPEN = 512, /* studies of running associations; then the oldest is told */
};

/* Start the thread; `store` is borrowed until the stop. MD_NOMEM, MD_IO. */
md_status md_audit_start(const md_conf *conf, md_store *store, md_error *err) MD_NODISCARD;
/* Use another configuration from the next message on. */
void md_audit_reload(const md_conf *conf);
/* Tell what is open, send what waits for at most grace_ms, end. */
void md_audit_stop(unsigned grace_ms);

/* This application has started, or is about to stop. */
void md_audit_application(bool is_start);

/* One object that was taken. Borrowed for the call. */
typedef struct md_audit_object {
    const char *peer_address; /* "192.0.2.1:4711", which names its association */
    const char *calling_ae, *called_ae;
    const char *study_uid, *study_key, *patient_id, *sop_class_uid;
    char action; /* as in md_audit_transfer */
} md_audit_object;
void md_audit_received(const md_audit_object *object);
/* The association of this peer has ended. */
void md_audit_association_done(const char *peer_address);

/* Files of one study that were sent, or given up. Their identifiers are read from them. */
typedef struct md_audit_sending {
    const char *peer_ae, *peer_host, *own_ae, *study_key;
    const char *const *paths; /* n; NULL entries are passed over */
    size_t n;
    bool is_failed;
} md_audit_sending;
void md_audit_sent(const md_audit_sending *sending);

/* A reader decided what is to be done next for the patient of a study. */
typedef struct md_audit_decision_event {
    const char *reader; /* as the configuration or medaidctl names him */
    const char *study_uid, *study_key, *patient_id; /* "": not known */
    const char *action, *decision;                  /* "chest-ct", "accepted" */
} md_audit_decision_event;
void md_audit_decision(const md_audit_decision_event *event);

/* A peer was refused: by AE title, address or certificate. */
void md_audit_alert(const char *peer_address, const char *reason);

#endif
