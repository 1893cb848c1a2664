#include "daemon/web/web_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/follow_up/follow_up_json.h"
#include "daemon/http/report_json.h"
#include "daemon/http/similar_json.h"
#include "daemon/http/worklist_json.h"
#include "daemon/rules/explain.h"
#include "daemon/steady.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OK = 200,
    NO_CONTENT = 204,
    BAD_REQUEST = 400,
    UNAUTHORISED = 401,
    FORBIDDEN = 403,
    NOT_FOUND = 404,
    WRONG_METHOD = 405,
    CONFLICT = 409,
    TOO_MANY = 429,
    BROKEN = 500,
    KEY_LENGTH = MD_STORE_KEY_BYTES - 1
};

#define COOKIE "medaid"

typedef struct exchange {
    const md_web_site *site;
    const md_web_request *request;
    md_web_answer *answer;
    md_session session; /* when logged in */
} exchange;

static md_status answer_json(exchange *now, unsigned code, json_t *json, md_error *err)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    now->answer->body = md_strdup(text);
    free(text);
    if (now->answer->body == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    now->answer->code = code;
    now->answer->content_type = "application/json";
    now->answer->n_bytes = strlen(now->answer->body);
    return MD_OK;
}

static md_status answer_error(exchange *now, unsigned code, const char *reason, md_error *err)
{
    return answer_json(now, code, json_pack("{s:s}", "error", reason), err);
}

static md_status answer_failure(exchange *now, md_status status, const md_error *why,
                                md_error *err)
{
    unsigned code = status == MD_NOT_FOUND     ? NOT_FOUND
                    : status == MD_INVALID_ARG ? CONFLICT
                                               : BROKEN;
    if (code == BROKEN) {
        md_log(MD_LOG_ERROR, "web_failed", MD_LOG_TEXT("reason", why->msg));
    }
    return answer_error(now, code, code == BROKEN ? "the daemon failed" : why->msg, err);
}

static md_status answer_nothing(exchange *now)
{
    now->answer->code = NO_CONTENT;
    now->answer->content_type = NULL;
    return MD_OK;
}

/* ---- who asks ---- */

/* The value of our cookie, in a buffer of MD_SESSION_TEXT_BYTES; "" without one. */
static void read_cookie(const char *header, char *ret_value)
{
    static const char name[] = COOKIE "=";
    ret_value[0] = '\0';
    for (const char *at = header; at != NULL && *at != '\0';) {
        at += strspn(at, " ;");
        size_t length = strcspn(at, ";");
        if (strncmp(at, name, sizeof name - 1) == 0) {
            const char *value = at + sizeof name - 1;
            size_t n = length - (sizeof name - 1);
            if (n == MD_SESSION_TEXT_BYTES - 1) {
                memcpy(ret_value, value, n);
                ret_value[n] = '\0';
            }
            return;
        }
        at += length;
    }
}

/* Browsers send Origin with each change; another host's page must not make one. */
static bool is_own_origin(const md_web_request *request)
{
    if (request->origin == NULL) {
        return true; /* no browser; the cookie and the secret still count */
    }
    const char *host = strstr(request->origin, "://");
    return host != NULL && request->host != NULL && strcmp(host + 3, request->host) == 0;
}

static bool find_session(exchange *now)
{
    char id[MD_SESSION_TEXT_BYTES];
    read_cookie(now->request->cookie, id);
    return id[0] != '\0' && md_sessions_find(now->site->sessions, now->site->service.conf, id,
                                             now->site->now_ms, &now->session);
}

static md_status answer_session(exchange *now, md_error *err)
{
    static const char *const roles[] = {"viewer", "reader", "admin"};
    return answer_json(now, OK,
                       json_pack("{s:s, s:s, s:b, s:s}", "user", now->session.user, "role",
                                 roles[now->session.role], "patient", now->session.sees_patient,
                                 "csrf", now->session.csrf),
                       err);
}

static void set_cookie(exchange *now, const char *value, int life_s)
{
    snprintf(now->answer->cookie, sizeof now->answer->cookie,
             COOKIE "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s", value, life_s,
             now->site->service.conf->web.has_tls ? "; Secure" : "");
}

static md_status answer_login(exchange *now, md_error *err)
{
    md_error why = {0};
    json_t *json = json_loadb(now->request->body, now->request->body_bytes, 0, NULL);
    const char *token = json_string_value(json_object_get(json, "token"));
    md_status status = MD_INVALID_ARG;
    if (token != NULL && is_own_origin(now->request)) {
        status = md_sessions_login(now->site->sessions, now->site->service.conf, token,
                                   now->site->now_ms, &now->session, &why);
    }
    json_decref(json);
    if (status == MD_OK) {
        md_log(MD_LOG_INFO, "web_login", MD_LOG_TEXT("user", now->session.user));
        set_cookie(now, now->session.id, MD_SESSION_LIFE_S);
        return answer_session(now, err);
    }
    if (status == MD_NOT_FOUND || status == MD_BUSY) {
        md_log(MD_LOG_WARN, "web_login_refused", MD_LOG_TEXT("reason", why.msg));
        return answer_error(now, status == MD_BUSY ? TOO_MANY : UNAUTHORISED, why.msg, err);
    }
    return answer_error(now, BAD_REQUEST, "a token is needed", err);
}

static md_status answer_logout(exchange *now)
{
    md_sessions_end(now->site->sessions, now->session.id);
    set_cookie(now, "", 0);
    return answer_nothing(now);
}

/* ---- what is shown ---- */

static md_status answer_worklist(exchange *now, md_error *err)
{
    md_error why = {0};
    json_t *json = NULL;
    bool read = now->request->read != NULL && strcmp(now->request->read, "1") == 0;
    const md_http_service *service = &now->site->service;
    md_status status = md_worklist_json(service->store, service->eta, md_steady_ms(), read,
                                        now->session.sees_patient, &json, &why);
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

static md_status answer_report(exchange *now, md_error *err)
{
    md_error why = {0};
    json_t *json = NULL;
    int64_t days = now->request->days == NULL ? 0 : strtoll(now->request->days, NULL, 10);
    int64_t since_ms =
        days >= 1 && days <= 36500 ? md_steady_ms() - days * 24 * 3600 * 1000 : 0;
    md_status status = md_report_json(now->site->service.store, since_ms, &json, &why);
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

static md_status answer_study(exchange *now, const md_study *study, md_error *err)
{
    md_error why = {0};
    json_t *json = NULL;
    const md_http_service *service = &now->site->service;
    md_status status = md_worklist_study_json(service->store, service->eta, md_steady_ms(),
                                              study, now->session.sees_patient, &json, &why);
    if (status == MD_OK) {
        status = md_follow_up_json_add(service->conf, service->store, study->key, json, &why);
        json = status == MD_OK ? json : (json_decref(json), NULL);
    }
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

/* No more of another study is said than on its own page. */
static md_status answer_similar(exchange *now, const md_study *study, md_error *err)
{
    const md_http_service *service = &now->site->service;
    md_error why = {0};
    json_t *json = NULL;
    md_status status = md_similar_json(service->cases, service->store, study->key,
                                       service->conf->similar.n_nearest,
                                       now->session.sees_patient, &json, &why);
    if (status == MD_NOT_FOUND || status == MD_BUSY) { /* nothing is wrong with the page */
        json = json_pack("{s:s, s:[], s:s}", "study", study->key, "cases", "reason", why.msg);
        status = MD_OK;
    }
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

static md_status answer_picture(exchange *now, const md_study *study, md_view_part part,
                                md_error *err)
{
    md_error why = {0};
    uint8_t *bytes = NULL;
    size_t n = 0;
    if (!now->session.sees_patient) {
        return answer_error(now, FORBIDDEN, "pictures are for those who may see patient data",
                            err);
    }
    md_status status =
        md_store_view(now->site->service.store, study->id, part, &bytes, &n, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    now->answer->code = OK;
    now->answer->content_type = "image/png";
    now->answer->body = (char *)bytes;
    now->answer->n_bytes = n;
    return MD_OK;
}

/* ---- what is changed ---- */

static const struct {
    const char *path;
    md_follow_up_word word;
} decisions[] = {{"/accept", MD_FOLLOW_UP_ACCEPT},
                 {"/decline", MD_FOLLOW_UP_DECLINE},
                 {"/withdraw", MD_FOLLOW_UP_WITHDRAW}};

static md_status change(exchange *now, const md_study *study, const char *action, md_error *err)
{
    md_store *store = now->site->service.store;
    const md_web_request *request = now->request;
    bool agree = strcmp(action, "/agree") == 0;
    if (agree || strcmp(action, "/disagree") == 0) {
        return md_store_set_verdict(store, study->key, request->model, request->finding,
                                    now->session.user, agree, md_steady_ms(), err);
    }
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++) {
        if (strcmp(action, decisions[i].path) == 0) {
            return md_follow_up_decide(now->site->service.follow_up, study, request->action,
                                       now->session.user, decisions[i].word, err);
        }
    }
    if (strcmp(action, "/read") == 0) {
        return md_http_mark_read(&now->site->service, study->key, err);
    }
    md_study_state state;
    return md_http_retry(&now->site->service, study, &state, err);
}

static bool is_change(const char *action)
{
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++) {
        if (strcmp(action, decisions[i].path) == 0) {
            return true;
        }
    }
    return strcmp(action, "/agree") == 0 || strcmp(action, "/disagree") == 0 ||
           strcmp(action, "/read") == 0 || strcmp(action, "/retry") == 0;
}

/* The page says which analysis its reader saw: nobody has read, or judges, a later one. */
static bool was_analysed_again(const md_web_request *request, const md_study *study)
{
    return request->generation != NULL &&
           strtol(request->generation, NULL, 10) != study->generation;
}

static md_status answer_change(exchange *now, const md_study *study, const char *action,
                               md_error *err)
{
    md_conf_role needed =
        strcmp(action, "/retry") == 0 ? MD_CONF_ROLE_ADMIN : MD_CONF_ROLE_READER;
    md_error why = {0};
    if (now->session.role < needed) {
        return answer_error(now, FORBIDDEN, "your role does not allow it", err);
    }
    if (was_analysed_again(now->request, study)) {
        return answer_error(now, CONFLICT, "the study was analysed again, look at it again",
                            err);
    }
    md_status status = change(now, study, action, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    md_log(MD_LOG_INFO, "study_steered", MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("by", now->session.user), MD_LOG_TEXT("action", action + 1));
    return answer_nothing(now);
}

/* `rest` is what follows /api/v1/study/. */
static md_status route_study(exchange *now, const char *rest, bool is_post, md_error *err)
{
    md_study study;
    md_error why = {0};
    char key[MD_STORE_KEY_BYTES];
    const char *action = rest + strnlen(rest, KEY_LENGTH);
    if (strspn(rest, "0123456789abcdef") != KEY_LENGTH) {
        return answer_error(now, NOT_FOUND, "no such study", err);
    }
    if (is_post != is_change(action)) {
        return answer_error(now, is_post ? NOT_FOUND : WRONG_METHOD, "no such action", err);
    }
    memcpy(key, rest, KEY_LENGTH);
    key[KEY_LENGTH] = '\0';
    md_status status = md_store_find_study(now->site->service.store, key, &study, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    if (is_post) {
        return answer_change(now, &study, action, err);
    }
    if (strcmp(action, "/image") == 0 || strcmp(action, "/overlay") == 0) {
        return answer_picture(
            now, &study, strcmp(action, "/image") == 0 ? MD_VIEW_IMAGE : MD_VIEW_OVERLAY, err);
    }
    if (strcmp(action, "/similar") == 0) {
        return answer_similar(now, &study, err);
    }
    return action[0] == '\0' ? answer_study(now, &study, err)
                             : answer_error(now, NOT_FOUND, "no such page", err);
}

static md_status route_get(exchange *now, const char *path, md_error *err)
{
    static const char study_root[] = "/api/v1/study/";
    if (strcmp(path, "/api/v1/session") == 0) {
        return answer_session(now, err);
    }
    if (strcmp(path, "/api/v1/worklist") == 0) {
        return answer_worklist(now, err);
    }
    if (strcmp(path, "/api/v1/report") == 0) {
        return answer_report(now, err);
    }
    if (strcmp(path, "/api/v1/events") == 0) {
        now->answer->code = OK;
        now->answer->is_event_stream = true;
        return MD_OK;
    }
    if (strncmp(path, study_root, sizeof study_root - 1) == 0) {
        return route_study(now, path + sizeof study_root - 1, false, err);
    }
    return answer_error(now, NOT_FOUND, "no such page", err);
}

/* Which rule matches a file that the user has dropped on the page, and why each other does not.
 * The answer quotes its values, to the user who has the file; they go to no log. */
static md_status answer_rules(exchange *now, md_error *err)
{
    const md_web_request *request = now->request;
    const md_conf *conf = now->site->service.conf;
    const md_explain_sender sender = {
        .source_ae = request->source_ae != NULL ? request->source_ae : "",
        .called_ae = request->called_ae != NULL ? request->called_ae : conf->ae.title,
        .complete_ms = md_clock_wall_ms()};
    md_error why = {0};
    if (request->upload_fd < 0) {
        return answer_error(now, BAD_REQUEST, "a DICOM file is needed", err);
    }
    MD_AUTO(md_freep) md_tag_set *set = md_calloc(1, sizeof *set);
    if (set == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to look at a file");
    }
    if (md_explain_read(conf, request->upload_fd, &sender, set, &why) != MD_OK) {
        return answer_error(now, BAD_REQUEST, why.msg, err);
    }
    char *text = md_explain_json(conf, set, 1, &sender);
    now->answer->body = md_strdup(text);
    free(text);
    if (now->answer->body == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    now->answer->code = OK;
    now->answer->content_type = "application/json";
    now->answer->n_bytes = strlen(now->answer->body);
    return MD_OK;
}

unsigned md_web_refuses_upload(const md_web_site *site, const md_web_request *request)
{
    exchange now = {.site = site, .request = request};
    if (strcmp(request->method, "POST") != 0) {
        return WRONG_METHOD;
    }
    if (!find_session(&now)) {
        return UNAUTHORISED;
    }
    bool fine = md_session_csrf_is(&now.session, request->csrf) && is_own_origin(request) &&
                now.session.sees_patient;
    return fine ? 0 : FORBIDDEN;
}

static md_status route_post(exchange *now, const char *path, md_error *err)
{
    static const char study_root[] = "/api/v1/study/";
    if (!md_session_csrf_is(&now->session, now->request->csrf) ||
        !is_own_origin(now->request)) {
        return answer_error(now, FORBIDDEN, "the request does not come from this page", err);
    }
    if (strcmp(path, "/logout") == 0) {
        return answer_logout(now);
    }
    if (strcmp(path, MD_WEB_UPLOAD_PATH) == 0) {
        return answer_rules(now, err);
    }
    if (strncmp(path, study_root, sizeof study_root - 1) == 0) {
        return route_study(now, path + sizeof study_root - 1, true, err);
    }
    return answer_error(now, NOT_FOUND, "no such page", err);
}

static bool answer_file(exchange *now, const char *path)
{
    for (size_t i = 0; i < md_web_n_files; i++) {
        if (strcmp(path, md_web_files[i].path) == 0) {
            now->answer->code = OK;
            now->answer->content_type = md_web_files[i].content_type;
            now->answer->fixed = (const char *)md_web_files[i].bytes;
            now->answer->n_bytes = md_web_files[i].n_bytes;
            return true;
        }
    }
    return false;
}

md_status md_web_route(const md_web_site *site, const md_web_request *request,
                       md_web_answer *ret_answer, md_error *err)
{
    *ret_answer = (md_web_answer){0};
    exchange now = {.site = site, .request = request, .answer = ret_answer};
    bool is_get = strcmp(request->method, "GET") == 0;
    if (!is_get && strcmp(request->method, "POST") != 0) {
        return answer_error(&now, WRONG_METHOD, "GET or POST", err);
    }
    if (is_get && answer_file(&now, request->path)) {
        return MD_OK;
    }
    if (!is_get && strcmp(request->path, "/login") == 0) {
        return answer_login(&now, err);
    }
    if (!find_session(&now)) {
        return answer_error(&now, UNAUTHORISED, "log in first", err);
    }
    return is_get ? route_get(&now, request->path, err) : route_post(&now, request->path, err);
}
