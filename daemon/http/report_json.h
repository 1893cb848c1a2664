#ifndef MEDAID_DAEMON_HTTP_REPORT_JSON_H
#define MEDAID_DAEMON_HTTP_REPORT_JSON_H

/* What `medaidctl report` shows, as JSON: counts, times and shares, of nobody in particular. */

#include "daemon/store/store.h"

#include <jansson.h>

/* Of the studies that arrived since then. Caller owns *ret_json. MD_NOMEM, or what the store
 * said. */
md_status md_report_json(md_store *store, int64_t since_ms, json_t **ret_json, md_error *err)
    MD_NODISCARD;

#endif
