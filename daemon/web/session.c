#include "daemon/web/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    SECRET_BYTES = 32,
    MINUTE_MS = 60000
};

typedef struct entry {
    bool used;
    int64_t since_ms;
    char token_sha256[MD_SESSION_TEXT_BYTES]; /* what the user showed */
    md_session session;
} entry;

struct md_sessions {
    pthread_mutex_t mutex;
    entry entries[MD_SESSION_MAX];
    int64_t minute; /* of the failures */
    unsigned n_failures;
};

static void to_text(const uint8_t bytes[SECRET_BYTES], char ret_text[MD_SESSION_TEXT_BYTES])
{
    for (unsigned i = 0; i < SECRET_BYTES; i++) {
        snprintf(ret_text + (size_t)2 * i, 3, "%02x", bytes[i]);
    }
}

/* Of two texts that both have their full length; the rest of a shorter one counts too. */
static bool same_secret(const char *a, const char *b)
{
    char left[MD_SESSION_TEXT_BYTES] = "", right[MD_SESSION_TEXT_BYTES] = "";
    snprintf(left, sizeof left, "%s", a);
    snprintf(right, sizeof right, "%s", b);
    return strlen(a) == MD_SESSION_TEXT_BYTES - 1 &&
           CRYPTO_memcmp(left, right, sizeof left) == 0;
}

md_status md_sessions_create(md_sessions **ret_sessions, md_error *err)
{
    md_sessions *sessions = md_calloc(1, sizeof *sessions);
    if (sessions == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for sessions");
    }
    pthread_mutex_init(&sessions->mutex, NULL);
    *ret_sessions = sessions;
    return MD_OK;
}

void md_sessions_destroy(md_sessions *sessions)
{
    if (sessions != NULL) {
        pthread_mutex_destroy(&sessions->mutex);
        OPENSSL_cleanse(sessions, sizeof *sessions);
        md_free(sessions);
    }
}

/* The user whose token this is; NULL. All are compared, so that time does not tell which. */
static const md_conf_web_user *find_user(const md_conf *conf, const char *token)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char text[MD_SESSION_TEXT_BYTES];
    unsigned n = 0;
    const md_conf_web_user *found = NULL;
    if (EVP_Digest(token, strlen(token), digest, &n, EVP_sha256(), NULL) != 1 ||
        n != SECRET_BYTES) {
        return NULL;
    }
    to_text(digest, text);
    for (unsigned i = 0; i < conf->web.n_users; i++) {
        if (same_secret(conf->web.users[i].token_sha256, text)) {
            found = &conf->web.users[i];
        }
    }
    return found;
}

static bool may_try(md_sessions *sessions, int64_t now_ms)
{
    if (now_ms / MINUTE_MS != sessions->minute) {
        sessions->minute = now_ms / MINUTE_MS;
        sessions->n_failures = 0;
    }
    return sessions->n_failures < MD_SESSION_MAX_FAILURES;
}

static entry *make_room(md_sessions *sessions)
{
    entry *oldest = &sessions->entries[0];
    for (unsigned i = 0; i < MD_SESSION_MAX; i++) {
        entry *each = &sessions->entries[i];
        if (!each->used) {
            return each;
        }
        oldest = each->since_ms < oldest->since_ms ? each : oldest;
    }
    return oldest;
}

static md_status begin(md_sessions *sessions, const md_conf_web_user *user, int64_t now_ms,
                       md_session *ret_session, md_error *err)
{
    uint8_t id[SECRET_BYTES], csrf[SECRET_BYTES];
    if (RAND_bytes(id, sizeof id) != 1 || RAND_bytes(csrf, sizeof csrf) != 1) {
        return md_fail(err, MD_INTERNAL, "no random numbers for a session");
    }
    entry *place = make_room(sessions);
    *place = (entry){.used = true,
                     .since_ms = now_ms,
                     .session = {.role = user->role, .sees_patient = user->patient}};
    to_text(id, place->session.id);
    to_text(csrf, place->session.csrf);
    snprintf(place->session.user, sizeof place->session.user, "%s", user->name);
    snprintf(place->token_sha256, sizeof place->token_sha256, "%s", user->token_sha256);
    *ret_session = place->session;
    return MD_OK;
}

md_status md_sessions_login(md_sessions *sessions, const md_conf *conf, const char *token,
                            int64_t now_ms, md_session *ret_session, md_error *err)
{
    pthread_mutex_lock(&sessions->mutex);
    md_status status = MD_OK;
    if (!may_try(sessions, now_ms)) {
        status = md_fail(err, MD_BUSY, "too many wrong tokens, try again in a minute");
    } else {
        const md_conf_web_user *user = find_user(conf, token);
        sessions->n_failures += user == NULL;
        status = user == NULL ? md_fail(err, MD_NOT_FOUND, "nobody has this token")
                              : begin(sessions, user, now_ms, ret_session, err);
    }
    pthread_mutex_unlock(&sessions->mutex);
    return status;
}

/* Take what the configuration now allows; false: it no longer knows the user or the token. */
static bool is_still_user(const md_conf *conf, entry *each)
{
    for (unsigned i = 0; i < conf->web.n_users; i++) {
        const md_conf_web_user *user = &conf->web.users[i];
        if (strcmp(user->name, each->session.user) == 0 &&
            strcmp(user->token_sha256, each->token_sha256) == 0) {
            each->session.role = user->role;
            each->session.sees_patient = user->patient;
            return true;
        }
    }
    return false;
}

bool md_sessions_find(md_sessions *sessions, const md_conf *conf, const char *id,
                      int64_t now_ms, md_session *ret_session)
{
    bool found = false;
    pthread_mutex_lock(&sessions->mutex);
    for (unsigned i = 0; i < MD_SESSION_MAX; i++) {
        entry *each = &sessions->entries[i];
        if (each->used && now_ms - each->since_ms >= (int64_t)MD_SESSION_LIFE_S * 1000) {
            *each = (entry){0};
        }
        if (each->used && same_secret(each->session.id, id)) {
            found = is_still_user(conf, each);
            if (found) {
                *ret_session = each->session;
            } else {
                *each = (entry){0};
            }
        }
    }
    pthread_mutex_unlock(&sessions->mutex);
    return found;
}

void md_sessions_end(md_sessions *sessions, const char *id)
{
    pthread_mutex_lock(&sessions->mutex);
    for (unsigned i = 0; i < MD_SESSION_MAX; i++) {
        if (sessions->entries[i].used && same_secret(sessions->entries[i].session.id, id)) {
            sessions->entries[i] = (entry){0};
        }
    }
    pthread_mutex_unlock(&sessions->mutex);
}

bool md_session_csrf_is(const md_session *session, const char *text)
{
    return text != NULL && same_secret(session->csrf, text);
}
