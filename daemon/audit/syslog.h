#ifndef MEDAID_DAEMON_AUDIT_SYSLOG_H
#define MEDAID_DAEMON_AUDIT_SYSLOG_H

/* The way of a finished message to a syslog: the datagram socket of this machine, UDP (RFC
 * 5426) or TLS (RFC 5425: the length, a space, the message). One thread a sender.
 *
 * No syslog transport acknowledges. What a TLS peer has not read when it dies is lost; a
 * connection that it has closed is noticed before the next message and made anew. */

#include "conf/conf.h"

typedef struct md_syslog md_syslog;

/* Where `conf->audit` says, which is copied. Nothing is opened yet. MD_NOMEM; MD_INVALID_ARG:
 * audit is off. Caller destroys. */
md_status md_syslog_create(const md_conf *conf, md_syslog **ret_syslog, md_error *err)
    MD_NODISCARD;
void md_syslog_destroy(md_syslog *syslog);
/* Open what is not open and send; waits at most about 5 s. MD_LIMIT: the message can never be
 * sent this way; MD_NETWORK, MD_IO, MD_TIMEOUT, MD_BUSY (the local syslog is behind) or what
 * md_tls_create_client says: later perhaps. */
md_status md_syslog_send(md_syslog *syslog, const char *text, size_t n, md_error *err)
    MD_NODISCARD;

#endif
