#ifndef MEDAID_DAEMON_RELOAD_H
#define MEDAID_DAEMON_RELOAD_H

/* What of a configuration a running daemon can take over. Each key of the table in conf/conf.c
 * is either live, taken over by the next study, association or sending, or fixed until a
 * restart. Pure functions. */

#include "conf/conf.h"

typedef enum md_reload_kind {
    MD_RELOAD_UNKNOWN, /* our own mistake: a new key that daemon/reload.c does not know */
    MD_RELOAD_LIVE,
    MD_RELOAD_FIXED
} md_reload_kind;

/* Of a key by its path, "ae.port", "destinations". A key within a list has the kind of the
 * list.
 */
md_reload_kind md_reload_kind_of(const char *key);

/* Make of `next`, which was read anew, what may be used beside a daemon that works with
 * `before`: fixed keys go back to what they were, each told by its path. Returns how many were.
 */
unsigned md_reload_keep_fixed(const md_conf *before, md_conf *next,
                              void (*on_fixed)(void *context, const char *key), void *context);

#endif
