#ifndef MEDAID_CONF_CONF_SHARED_H
#define MEDAID_CONF_CONF_SHARED_H

/* Snapshots of a configuration for threads that work with it while a new one is read: never
 * changed, counted, gone with its last holder. A thread holds the snapshot for one piece of
 * work (a study, an association, a round) and so sees one configuration from its start to its
 * end. Any thread. */

#include "conf/conf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A copy with one holder, the caller; it is given back with md_conf_drop. MD_NOMEM. */
md_status md_conf_share(const md_conf *conf, const md_conf **ret_shared, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* One more holder of a snapshot. Returns it. */
const md_conf *md_conf_hold(const md_conf *shared) MD_NOEXCEPT;
/* One holder less. NULL is fine. */
void md_conf_drop(const md_conf *shared) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(const md_conf, md_conf_drop)

#ifdef __cplusplus
}
#endif
#endif
