#ifndef MEDAID_DAEMON_PRIVILEGES_H
#define MEDAID_DAEMON_PRIVILEGES_H

/* From root to the user that the configuration names, for good. To be called while the process
 * still serves nobody; every thread that it has by then changes with it. */

#include "conf/conf.h"

/* As root and with `user`: make the storage folder, if it is not there, that user's, become the
 * user and the group without supplementary groups, make sure that there is no way back, and
 * give up gaining privileges by any program that is started later. Otherwise the last alone,
 * and for any user but root the loss of every capability; *ret_is_root tells that root goes on
 * serving although nobody asked for that with `user: root`. MD_INVALID_ARG: not root, but
 * another user than `user`; MD_NOT_FOUND: no such user or group; MD_IO: the system refused. */
md_status md_privileges_drop(const md_conf *conf, bool *ret_is_root, md_error *err)
    MD_NODISCARD;

/* The ids behind `user` and `group`. MD_NOT_FOUND. */
md_status md_privileges_find(const md_conf *conf, unsigned *ret_uid, unsigned *ret_gid,
                             md_error *err) MD_NODISCARD;

#endif
