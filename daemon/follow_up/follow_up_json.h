#ifndef MEDAID_DAEMON_FOLLOW_UP_FOLLOW_UP_JSON_H
#define MEDAID_DAEMON_FOLLOW_UP_FOLLOW_UP_JSON_H

/* Proposals as JSON, as HTTP, web page and --oneshot show them (docs/follow-up.md). */

#include "conf/conf.h"
#include "daemon/store/store_follow_up.h"
#include "dicom/report/follow_up.h"

#include <jansson.h>

/* NULL: no memory. Caller owns. */
json_t *md_follow_up_json(const md_follow_up *follow_up);
/* The same as text; NULL: no memory. Caller frees with free. */
char *md_follow_up_json_text(const md_follow_up *follow_up);

/* "follow_up" of a study into an object: what was proposed, by which analysis, all decisions
 * for its patient, and the actions that may be decided on. Left out for a study that has none.
 * MD_NOMEM, or what the store said. */
md_status md_follow_up_json_add(const md_conf *conf, md_store *store, const char *study_key,
                                json_t *json, md_error *err) MD_NODISCARD;

#endif
