#ifndef MEDAID_DAEMON_FOLLOW_UP_HISTORY_H
#define MEDAID_DAEMON_FOLLOW_UP_HISTORY_H

/* A site's earlier decisions as a table (CSV, RFC 4180), so that it starts with what it has:
 *
 *   patient,issuer,action,rating,reader,date,SCT:233604007,none
 *   4711,,chest-ct,1,dr-jones,2025-03-01,0.9,
 *
 * patient is the Patient ID (0010,0020), issuer (optional) its issuer, action a key of
 * follow_up.actions, rating a number from 0 (declined) to 1 (accepted) or `forget`: then action
 * is empty and all that was known of the patient is forgotten. reader (optional, "import") and
 * date (optional, YYYY-MM-DD, today) say who and when. Every other column is a finding by its
 * code, or `none` for "nothing was found": 0 or empty: not there, up to 1.
 *
 * The bytes are hostile and are patient data: messages name line and column and quote nothing.
 * Any thread once open. */

#include "conf/conf.h"
#include "daemon/follow_up/profile.h"

enum {
    MD_HISTORY_MAX_BYTES = 64 * 1024 * 1024,
    MD_HISTORY_PATIENT_BYTES = 2 * MD_TEXT_BYTES + 16,
};

typedef struct md_history md_history;

typedef struct md_history_decision {
    const char *patient_id, *issuer; /* patient data; the issuer may be "" */
    const char *action, *reader;
    double value;
    int64_t given_ms;
    bool forget;
    bool has_features; /* the table says something of findings in this row */
    md_features features;
} md_history_decision;

/* Take over `bytes` (from md_malloc, one byte longer than size_bytes, freed on failure too) and
 * check every row. `name` stands in messages, now_ms (wall clock) is when a row without a date
 * was decided. MD_FORMAT with the line: a column or a value that is none, a rating outside the
 * scale, an action that the configuration does not have, a day to come. MD_LIMIT, MD_NOMEM.
 * Caller closes. `conf` is borrowed. */
md_status md_history_open(char *bytes, size_t size_bytes, const char *name, const md_conf *conf,
                          int64_t now_ms, md_history **ret_history, md_error *err) MD_NODISCARD;
/* The same from a file of at most MD_HISTORY_MAX_BYTES. MD_NOT_FOUND, MD_IO. */
md_status md_history_read(const char *path, const md_conf *conf, int64_t now_ms,
                          md_history **ret_history, md_error *err) MD_NODISCARD;
void md_history_close(md_history *history);
MD_DEFINE_DESTROYP(md_history, md_history_close)

size_t md_history_n(const md_history *history);
/* Row 0.. in the order of the file; what it points to is valid until the close. */
void md_history_row(const md_history *history, size_t row, md_history_decision *ret_decision);

/* Who a patient is, as text to be hashed: never store or show it. */
void md_history_patient(const char *patient_id, const char *issuer,
                        char ret_text[MD_HISTORY_PATIENT_BYTES]);

#endif
