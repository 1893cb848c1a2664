#ifndef MEDAID_DAEMON_EVIDENCE_JSON_H
#define MEDAID_DAEMON_EVIDENCE_JSON_H

/* What stands beside the findings of a text or a risk analyzer, as JSON for --oneshot --json
 * and for the web page (docs/oneshot.schema.json, definitions text and risk). Patient data. Any
 * thread. */

#include "dicom/report/result.h"

#include <jansson.h>

/* {"content", "is_cut", "passages": [{"source", "first_byte", "n_bytes"}], "words":
 * [{"first_byte", "n_bytes", "text", "weight", "negated"}]}; json null for NULL. NULL: no
 * memory. */
json_t *md_text_evidence_json(const md_text_evidence *evidence);
/* {"value", "unit", "interval": [low, high] or null, "is_additive", "start", "sum", "terms":
 * [{"name", "unit", "state", "value" or null, "part"}]}; likewise. */
json_t *md_risk_evidence_json(const md_risk_evidence *evidence);
/* "given", "clamped", "missing". */
const char *md_term_state_name(md_term_state state);

#endif
