#ifndef MEDAID_DAEMON_HTTP_STUDY_JSON_H
#define MEDAID_DAEMON_HTTP_STUDY_JSON_H

/* A study as JSON: key, state, clock and counts. No UID and no AE title is in it. */

#include "daemon/store/store.h"

#include <jansson.h>

/* One row of a list. NULL: no memory. Caller owns. */
json_t *md_study_json(const md_study *study);
/* With its objects and its outbox. Caller owns *ret_json. MD_NOMEM, or what the store said. */
md_status md_study_json_whole(md_store *store, const md_study *study, json_t **ret_json,
                              md_error *err) MD_NODISCARD;

/* Its "findings", those of the latest analysis, into an object. MD_NOMEM, or what the store
 * said. */
md_status md_study_json_add_findings(md_store *store, const char *study_key, json_t *json,
                                     md_error *err) MD_NODISCARD;

#endif
