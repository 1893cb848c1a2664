#ifndef MEDAID_DAEMON_CHECK_CONFIG_H
#define MEDAID_DAEMON_CHECK_CONFIG_H

/* medaid --check-config: all that can be said about a configuration before it serves, in one
 * run. */

#include "conf/conf.h"
#include "daemon/exit_code.h"

/* Look at the models and their self-tests, ports, the storage folder, TLS files and how long
 * they are valid, names, the audit trail, user and group; with `echo` also ask every
 * destination for a C-ECHO. Problems and warnings go to standard error, one line each with
 * file, line and key, a summary to standard output. MD_EXIT_OK: nothing, or warnings;
 * MD_EXIT_USAGE: problems; MD_EXIT_NO_MODEL: no model serves. `model` NULL: all. */
md_exit_code md_check_config(const md_conf *conf, const char *model, bool echo);

#endif
