#ifndef MEDAID_DAEMON_DAEMON_H
#define MEDAID_DAEMON_DAEMON_H

/* medaid --daemon: listen, store, assemble, analyse, send. */

#include "conf/conf.h"
#include "daemon/analyst.h"

/* Run with the models that the configuration names until SIGTERM or SIGINT; then finish running
 * associations and the analysis in progress, and return MD_OK. SIGHUP reads the configuration's
 * file again (daemon/reload.h); nothing that runs is interrupted, and a file that is wrong
 * changes nothing. As root it becomes `user` once the port is bound (daemon/privileges.h). What
 * is not finished is found again at the next start. md_dicom_init must have been called and
 * md_log configured. One at a time in a process; its handlers for the three signals stand from
 * the start to the return. */
md_status md_daemon_run(const md_conf *conf, md_error *err) MD_NODISCARD;

/* The same around another analyser. */
md_status md_daemon_serve(const md_conf *conf, const md_analyser *analyser, md_error *err)
    MD_NODISCARD;

#endif
