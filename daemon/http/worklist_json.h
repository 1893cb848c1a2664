#ifndef MEDAID_DAEMON_HTTP_WORKLIST_JSON_H
#define MEDAID_DAEMON_HTTP_WORKLIST_JSON_H

/* The reading worklist as JSON. */

#include "daemon/eta/eta.h"

#include <jansson.h>

enum {
    MD_WORKLIST_ROWS = 200
};

/* The first MD_WORKLIST_ROWS studies in the order of md_store_worklist: each with its findings,
 * the state of each destination and, with `with_patient`, patient and study. Unread ones have
 * an "eta" seen from now_ms, an object or null, and the list says what it comes from; `eta`
 * NULL: neither is there. Caller owns *ret_json. MD_NOMEM, or what the store said. */
md_status md_worklist_json(md_store *store, md_eta *eta, int64_t now_ms, bool read,
                           bool with_patient, json_t **ret_json, md_error *err) MD_NODISCARD;
/* Patient and study as "patient" into an object, if the store has them. What the store said. */
md_status md_worklist_json_add_patient(md_store *store, int64_t study, json_t *json,
                                       md_error *err) MD_NODISCARD;
/* One study like a row, and with all of md_study_json_whole. */
md_status md_worklist_study_json(md_store *store, md_eta *eta, int64_t now_ms,
                                 const md_study *study, bool with_patient, json_t **ret_json,
                                 md_error *err) MD_NODISCARD;

#endif
