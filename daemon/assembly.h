#ifndef MEDAID_DAEMON_ASSEMBLY_H
#define MEDAID_DAEMON_ASSEMBLY_H

/* When is a study complete? C-STORE does not tell, so it is when nothing came for the quiet
 * time and all required views are there, and at the latest when it has been open for the
 * deadline: a sender that never pauses, or a view that never comes, must not keep a study from
 * its analysis. How long, and what is required, is said by the AE titles it was sent to
 * (daemon/rules/plan.h). Studies interleave; an instance that comes later re-opens its study
 * (daemon/store/store.h). All that is known is in the store, so a restart forgets nothing. The
 * caller brings the time, in a test any time. One thread. */

#include "daemon/rules/plan.h"

/* Complete what is due at now_ms, give it its priority, and log it. *ret_n_complete studies
 * were; *ret_wait_ms is how long nothing can become due, also if more instances come: at most
 * the shortest of all times. */
md_status md_assembly_run(md_store *store, const md_policy *policy, int64_t now_ms,
                          unsigned *ret_n_complete, int64_t *ret_wait_ms, md_error *err)
    MD_NODISCARD;

#endif
