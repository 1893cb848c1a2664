#ifndef MEDAID_DAEMON_NOTIFIER_NOTICE_INTERNAL_H
#define MEDAID_DAEMON_NOTIFIER_NOTICE_INTERNAL_H

/* Shared by the forms of a notice. */

#include "daemon/notifier/notice.h"

#include <stdio.h>
#include <time.h>

/* The parts of a time in UTC; false for no time. */
bool md_notice_utc(int64_t ms, struct tm *ret_parts);
const char *md_notice_presence(md_store_presence presence);
/* Takes over what open_memstream or json_dumps allocated. MD_NOMEM when it failed, MD_LIMIT. */
md_status md_notice_text(char *written, size_t size_bytes, bool failed, char **ret_text,
                         md_error *err) MD_NODISCARD;

#endif
