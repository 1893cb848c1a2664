#ifndef MEDAID_DAEMON_HTTP_SIMILAR_JSON_H
#define MEDAID_DAEMON_HTTP_SIMILAR_JSON_H

/* The cases that resemble a study as JSON, with what became of them. */

#include "daemon/similar/cases.h"

#include <jansson.h>

/* {"study": KEY, "cases": [{"study", "cosine", "distance", "analysed", "kept", "state", "read",
 * "findings": [{"model", "key", "meaning", "presence", "score", "is_probability", "urgent",
 * "verdict"}], "patient"}]}, the nearest first. One finding of each kind: of several images the
 * one that is present, else undetermined, with the highest score. verdict: what a reader says,
 * "present" or "absent"; null: nobody did. kept: the study is there to be looked at; only then
 * state and read, and, with `with_patient`, patient. Caller owns *ret_json. Errors as
 * md_cases_near_study, or what the store said. */
md_status md_similar_json(md_cases *cases, md_store *store, const char *study_key, uint32_t k,
                          bool with_patient, json_t **ret_json, md_error *err) MD_NODISCARD;

#endif
