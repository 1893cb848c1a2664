#ifndef MEDAID_DAEMON_WEB_SESSION_H
#define MEDAID_DAEMON_WEB_SESSION_H

/* Who is logged in at the reading worklist. A person shows a token, whose SHA-256 the
 * configuration knows, and gets a session: 256 random bits in a cookie that scripts cannot
 * read, and another 256 that the page sends back with each change, so that no other site can
 * make one in a reader's name. In memory only: a restart logs everybody out. Any thread. */

#include "conf/conf.h"

enum {
    MD_SESSION_TEXT_BYTES = 65, /* 64 hexadecimal digits */
    MD_SESSION_MAX = 256,
    MD_SESSION_LIFE_S = 12 * 3600,
    MD_SESSION_MAX_FAILURES = 20 /* in a minute, from everybody; then no login for its rest */
};

typedef struct md_sessions md_sessions;

typedef struct md_session {
    char id[MD_SESSION_TEXT_BYTES];
    char csrf[MD_SESSION_TEXT_BYTES];
    char user[65];
    md_conf_role role;
    bool sees_patient;
} md_session;

/* `now_ms` of all calls is a monotonic clock of the caller's. */
md_status md_sessions_create(md_sessions **ret_sessions, md_error *err) MD_NODISCARD;
void md_sessions_destroy(md_sessions *sessions);

/* MD_NOT_FOUND: no user has this token. MD_BUSY: too many wrong ones. The oldest session makes
 * room. Comparing takes the same time for any token. */
md_status md_sessions_login(md_sessions *sessions, const md_conf *conf, const char *token,
                            int64_t now_ms, md_session *ret_session, md_error *err)
    MD_NODISCARD;
/* The session of a cookie's value, with the role that `conf` now gives its user; false: there
 * is none, it is over, or the user or the token is no longer in `conf`. */
bool md_sessions_find(md_sessions *sessions, const md_conf *conf, const char *id,
                      int64_t now_ms, md_session *ret_session);
void md_sessions_end(md_sessions *sessions, const char *id);
/* Whether a text is the session's other secret; NULL is none. */
bool md_session_csrf_is(const md_session *session, const char *text);

#endif
