#ifndef MEDAID_DAEMON_ASSEMBLY_H
#define MEDAID_DAEMON_ASSEMBLY_H

/* When is a study complete? C-STORE does not tell, so it is when nothing came for the quiet
 * time, and at the latest when it has been open for the deadline: a sender that never pauses
 * must not keep a study from its analysis. Studies interleave; an instance that comes later
 * re-opens its study (daemon/store/store.h). All that is known is in the store, so a restart
 * forgets nothing. The caller brings the time, in a test any time. One thread. */

#include "daemon/store/store.h"

typedef struct md_assembly_policy {
    int64_t quiet_ms;
    int64_t deadline_ms; /* 0: none */
    /* Destinations that get the received images as soon as a study is complete. */
    const char *const *originals;
    size_t n_originals;
} md_assembly_policy;

/* Complete what is due at now_ms and log it. *ret_n_complete studies were; *ret_wait_ms is how
 * long nothing can become due, also if more instances come: at most the shorter of the two
 * times. */
md_status md_assembly_run(md_store *store, const md_assembly_policy *policy, int64_t now_ms,
                          unsigned *ret_n_complete, int64_t *ret_wait_ms, md_error *err)
    MD_NODISCARD;

#endif
