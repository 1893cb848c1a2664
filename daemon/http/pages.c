#include "daemon/http/pages.h"

#include "base/log.h"
#include "daemon/follow_up/follow_up_json.h"
#include "daemon/http/report_json.h"
#include "daemon/http/similar_json.h"
#include "daemon/http/study_json.h"
#include "daemon/http/worklist_json.h"
#include "daemon/steady.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char type_json[] = "application/json";
static const char type_metrics[] = "text/plain; version=0.0.4; charset=utf-8";

enum {
    OK = 200,
    BAD_REQUEST = 400,
    NOT_FOUND = 404,
    WRONG_METHOD = 405,
    CONFLICT = 409,
    TOO_LARGE = 413,
    URI_TOO_LONG = 414,
    BROKEN = 500,
    UNAVAILABLE = 503
};

enum {
    MAX_REPORT_DAYS = 36500
};

/* What is under way. */
typedef struct exchange {
    const md_http_service *service;
    const md_http_request *request;
    md_http_response *response;
} exchange;

/* Make `json` the body and let go of it; NULL stands for no memory. */
static md_status answer_json(const exchange *now, unsigned code, json_t *json, md_error *err)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    char *body = NULL;
    size_t length = text == NULL ? 0 : strlen(text);
    if (text != NULL) {
        body = md_malloc(length + 2);
    }
    if (body == NULL) {
        free(text);
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    memcpy(body, text, length);
    memcpy(body + length, "\n", 2);
    free(text);
    now->response->code = code;
    now->response->content_type = type_json;
    now->response->body = body;
    now->response->n_bytes = length + 1;
    return MD_OK;
}

static md_status answer_error(const exchange *now, unsigned code, const char *reason,
                              md_error *err)
{
    return answer_json(now, code, json_pack("{s:s}", "error", reason), err);
}

static md_status answer_failure(const exchange *now, md_status status, const md_error *why,
                                md_error *err)
{
    unsigned code = status == MD_NOT_FOUND     ? NOT_FOUND
                    : status == MD_INVALID_ARG ? CONFLICT
                    : status == MD_BUSY        ? UNAVAILABLE
                                               : BROKEN;
    return answer_error(now, code, why->msg, err);
}

/* ---- health ---- */

static md_status answer_health(const exchange *now, md_error *err)
{
    int64_t beat_ms = atomic_load(now->service->heartbeat_ms);
    bool lives = md_steady_ms() - beat_ms < MD_HTTP_LOST_BEAT_MS;
    return answer_json(now, lives ? OK : UNAVAILABLE, json_pack("{s:b}", "alive", lives), err);
}

/* The names of what keeps the daemon from taking objects; NULL: no memory. */
static json_t *list_problems(const md_http_service *service)
{
    md_store_counts counts;
    json_t *problems = json_array();
    if (md_store_count(service->store, &counts, NULL) != MD_OK) {
        json_array_append_new(problems, json_string("store_failed"));
    }
    if (md_spool_disk_low(service->spool)) {
        json_array_append_new(problems, json_string("disk_low"));
    }
    if (md_store_flag_is_set(service->store, MD_STORE_DRAINING)) {
        json_array_append_new(problems, json_string("draining"));
    }
    return problems;
}

static md_status answer_readiness(const exchange *now, md_error *err)
{
    json_t *problems = list_problems(now->service);
    bool ready = problems != NULL && json_array_size(problems) == 0;
    return answer_json(now, ready ? OK : UNAVAILABLE,
                       json_pack("{s:b, s:o}", "ready", ready, "problems", problems), err);
}

static md_status answer_metrics(const exchange *now, md_error *err)
{
    md_metrics_page page = {0};
    md_error why = {0};
    md_status status = md_http_write_metrics(now->service, &page, &why);
    if (status != MD_OK) {
        md_metrics_page_finish(&page);
        return answer_error(now, UNAVAILABLE, why.msg, err);
    }
    now->response->code = OK;
    now->response->content_type = type_metrics;
    now->response->body = page.text;
    now->response->n_bytes = page.n_bytes;
    return MD_OK;
}

/* ---- /api/v1 ---- */

static json_t *list_destinations(const md_http_service *service)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < service->conf->n_destinations; i++) {
        const md_figures *figures = md_figures_now();
        unsigned k = md_figures_destination(service->conf->destinations[i].name);
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I}", "name", service->conf->destinations[i].name,
                            "sent", (json_int_t)md_counter_get(&figures->sent[k]), "failures",
                            (json_int_t)md_counter_get(&figures->send_failures[k])));
    }
    return list;
}

static md_status answer_status(const exchange *now, md_error *err)
{
    const md_http_service *service = now->service;
    md_store_counts counts;
    md_error why = {0};
    md_status status = md_store_count(service->store, &counts, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    json_t *studies = json_object();
    for (int i = 0; i < MD_STUDY_N_STATES; i++) {
        json_object_set_new(studies, md_study_state_name((md_study_state)i),
                            json_integer((json_int_t)counts.studies[i]));
    }
    json_t *problems = list_problems(service);
    int64_t waits_ms =
        counts.oldest_waiting_ms > 0 ? md_steady_ms() - counts.oldest_waiting_ms : 0;
    json_t *json = json_pack(
        "{s:s, s:f, s:b, s:o, s:b, s:b, s:o, s:I, s:I, s:f, s:{s:I, s:I, s:I}, s:I, s:o}",
        "version", MEDAID_VERSION, "uptime_s",
        (double)(md_steady_ms() - service->started_ms) / 1000, "ready",
        json_array_size(problems) == 0, "problems", problems, "paused",
        md_store_flag_is_set(service->store, MD_STORE_PAUSED), "draining",
        md_store_flag_is_set(service->store, MD_STORE_DRAINING), "studies", studies,
        "instances", (json_int_t)counts.n_instances, "stored_bytes",
        (json_int_t)counts.size_bytes, "queue_age_s",
        waits_ms > 0 ? (double)waits_ms / 1000 : 0.0, "outbox", "pending",
        (json_int_t)counts.outbox_pending, "dead", (json_int_t)counts.outbox_dead,
        "uncommitted", (json_int_t)counts.uncommitted, "disk_free_bytes",
        (json_int_t)md_spool_free_bytes(service->spool), "destinations",
        list_destinations(service));
    return answer_json(now, OK, json, err);
}

/* A number of the query; false when it is none or out of range. NULL leaves *ret as it is. */
static bool read_number(const char *text, int64_t least, int64_t most, int64_t *ret)
{
    if (text == NULL) {
        return true;
    }
    size_t length = strlen(text);
    if (length == 0 || length > 18 || strspn(text, "0123456789") != length) {
        return false;
    }
    int64_t value = (int64_t)strtoll(text, NULL, 10);
    if (value < least || value > most) {
        return false;
    }
    *ret = value;
    return true;
}

static bool read_state(const char *text, unsigned *ret_states)
{
    *ret_states = 0;
    for (int i = 0; text != NULL && i < MD_STUDY_N_STATES; i++) {
        if (strcmp(text, md_study_state_name((md_study_state)i)) == 0) {
            *ret_states = 1U << i;
        }
    }
    return text == NULL || *ret_states != 0;
}

static md_status answer_studies(const exchange *now, md_error *err)
{
    const md_http_request *request = now->request;
    int64_t limit = MD_HTTP_DEFAULT_PAGE;
    md_study_page page = {0};
    if (!read_state(request->state, &page.states)) {
        return answer_error(now, BAD_REQUEST, "no such state", err);
    }
    if (!read_number(request->limit, 1, MD_STORE_MAX_PAGE, &limit) ||
        !read_number(request->before, 1, INT64_MAX, &page.before_id)) {
        return answer_error(now, BAD_REQUEST, "limit is 1..1000, before a number", err);
    }
    MD_AUTO(md_freep) md_study *studies = md_calloc((size_t)limit, sizeof *studies);
    if (studies == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %lld studies", (long long)limit);
    }
    size_t n = 0;
    md_error why = {0};
    md_status status =
        md_store_studies(now->service->store, &page, (size_t)limit, studies, &n, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, md_study_json(&studies[i]));
    }
    json_t *json = json_pack("{s:o}", "studies", list);
    if (n == (size_t)limit) {
        json_object_set_new(json, "next_before", json_integer(studies[n - 1].id));
    }
    return answer_json(now, OK, json, err);
}

static md_status answer_study(const exchange *now, const md_study *study, md_error *err)
{
    json_t *json = NULL;
    md_error why = {0};
    md_status status = md_study_json_whole(now->service->store, study, &json, &why);
    if (status == MD_OK) {
        status = md_follow_up_json_add(now->service->conf, now->service->store, study->key,
                                       json, &why);
        json = status == MD_OK ? json : (json_decref(json), NULL);
    }
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

static void tell_change(const md_http_service *service)
{
    if (service->on_change != NULL) {
        service->on_change(service->context);
    }
}

md_status md_http_retry(const md_http_service *service, const md_study *study,
                        md_study_state *ret_state, md_error *err)
{
    md_study_state state = study->state;
    size_t n_notices = 0;
    MD_TRY(md_store_notice_retry(service->store, study->key, md_steady_ms(), &n_notices, err));
    md_status status = md_store_retry(service->store, study->id, md_steady_ms(), &state, err);
    if (status != MD_OK && (status != MD_INVALID_ARG || n_notices == 0)) {
        return status;
    }
    /* otherwise the study is well, only telling of it was not */
    tell_change(service);
    *ret_state = state;
    return MD_OK;
}

static md_status change_study(const exchange *now, const md_study *study, bool retry,
                              md_error *err)
{
    md_study_state state = MD_STUDY_QUARANTINED;
    md_error why = {0};
    md_status status = MD_OK;
    if (retry) {
        status = md_http_retry(now->service, study, &state, &why);
    } else {
        status = md_store_quarantine(now->service->store, study->id, "by the operator", &why);
        tell_change(now->service);
    }
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    md_log(MD_LOG_WARN, "study_steered", MD_LOG_TEXT("study", study->key),
           MD_LOG_TEXT("by", "the operator"), MD_LOG_TEXT("state", md_study_state_name(state)));
    return answer_json(
        now, OK,
        json_pack("{s:s, s:s}", "study", study->key, "state", md_study_state_name(state)), err);
}

/* The last `days` days; without them, everything. */
static md_status answer_report(const exchange *now, md_error *err)
{
    int64_t days = 0;
    json_t *json = NULL;
    md_error why = {0};
    if (!read_number(now->request->days, 1, MAX_REPORT_DAYS, &days)) {
        return answer_error(now, BAD_REQUEST, "days is 1..36500", err);
    }
    int64_t since_ms = days == 0 ? 0 : md_steady_ms() - days * 86400000;
    md_status status = md_report_json(now->service->store, since_ms, &json, &why);
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

/* As the page has it, without anything of a patient. */
static md_status answer_worklist(const exchange *now, md_error *err)
{
    json_t *json = NULL;
    md_error why = {0};
    md_status status = md_worklist_json(now->service->store, now->service->eta, md_steady_ms(),
                                        false, false, &json, &why);
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

typedef enum study_action {
    ACTION_SHOW,
    ACTION_SIMILAR,
    ACTION_RETRY,
    ACTION_QUARANTINE,
    ACTION_READ,
    ACTION_AGREE,
    ACTION_DISAGREE,
    ACTION_DECLINE,
    ACTION_ACCEPT,
    ACTION_WITHDRAW,
    ACTION_FORGET,
    N_ACTIONS
} study_action;

md_status md_http_mark_read(const md_http_service *service, const char *study_key,
                            md_error *err)
{
    MD_TRY(md_store_set_read(service->store, study_key, md_steady_ms(), err));
    return service->on_read != NULL ? service->on_read(service->context, study_key, err)
                                    : MD_OK;
}

/* A decision on what to do next, or the end of all for this patient. */
static md_status take_decision(const exchange *now, const md_study *study, study_action action,
                               md_error *err)
{
    md_follow_up_engine *follow_up = now->service->follow_up;
    const md_http_request *request = now->request;
    const md_follow_up_word word = (md_follow_up_word)(action - ACTION_DECLINE);
    md_error why = {0};
    size_t n = 0;
    md_status status = action == ACTION_FORGET
                           ? md_follow_up_forget(follow_up, study, &n, &why)
                           : md_follow_up_decide(follow_up, study, request->action,
                                                 request->reader, word, &why);
    if (status == MD_INVALID_ARG) {
        return answer_error(now, BAD_REQUEST, why.msg, err);
    }
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    if (action == ACTION_FORGET) {
        return answer_json(
            now, OK, json_pack("{s:s, s:I}", "study", study->key, "forgotten", (json_int_t)n),
            err);
    }
    return answer_json(now, OK,
                       json_pack("{s:s, s:s, s:s}", "study", study->key, "action",
                                 request->action, "decision", md_follow_up_word_name(word)),
                       err);
}

/* A reader's word on a study; who says so is taken as it is told, over the socket that only
 * medaid's own user can open. */
static md_status take_word(const exchange *now, const md_study *study, study_action action,
                           md_error *err)
{
    const md_http_request *request = now->request;
    md_store *store = now->service->store;
    md_error why = {0};
    md_status status = action == ACTION_READ
                           ? md_http_mark_read(now->service, study->key, &why)
                           : md_store_set_verdict(store, study->key, request->model,
                                                  request->finding, request->reader,
                                                  action == ACTION_AGREE, md_steady_ms(), &why);
    if (status == MD_INVALID_ARG) {
        return answer_error(now, BAD_REQUEST, why.msg, err);
    }
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    return answer_json(now, OK,
                       json_pack("{s:s, s:s}", "study", study->key, "state",
                                 md_study_state_name(study->state)),
                       err);
}

static md_status answer_similar(const exchange *now, const char *study_key, md_error *err)
{
    const md_http_service *service = now->service;
    int64_t k = service->conf->similar.n_nearest;
    json_t *json = NULL;
    md_error why = {0};
    if (!read_number(now->request->limit, 1, MD_CASES_MAX_NEAR, &k)) {
        return answer_error(now, BAD_REQUEST, "limit is 1..100", err);
    }
    md_status status = md_similar_json(service->cases, service->store, study_key, (uint32_t)k,
                                       false, &json, &why);
    return status == MD_OK ? answer_json(now, OK, json, err)
                           : answer_failure(now, status, &why, err);
}

/* `rest` is what follows /api/v1/study/. */
static md_status route_study(const exchange *now, const char *rest, bool is_post, md_error *err)
{
    enum {
        KEY_LENGTH = MD_STORE_KEY_BYTES - 1
    };
    static const char *const names[N_ACTIONS] = {
        "",          "/similar", "/retry",  "/quarantine", "/read",  "/agree",
        "/disagree", "/decline", "/accept", "/withdraw",   "/forget"};
    const char *name = rest + strnlen(rest, KEY_LENGTH);
    study_action action = ACTION_SHOW;
    while (action < N_ACTIONS && strcmp(name, names[action]) != 0) {
        action++;
    }
    if (strspn(rest, "0123456789abcdef") != KEY_LENGTH || action == N_ACTIONS) {
        return answer_error(now, NOT_FOUND, "no such study, a key has 16 digits of 0-9a-f",
                            err);
    }
    if (is_post != (action > ACTION_SIMILAR)) {
        now->response->allow = is_post ? "GET, HEAD" : "POST";
        return answer_error(now, WRONG_METHOD, "another method is needed here", err);
    }
    char key[MD_STORE_KEY_BYTES];
    memcpy(key, rest, KEY_LENGTH);
    key[KEY_LENGTH] = '\0';
    if (action == ACTION_SIMILAR) {
        return answer_similar(now, key, err);
    }
    md_study study;
    md_error why = {0};
    md_status status = md_store_find_study(now->service->store, key, &study, &why);
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    if (action == ACTION_SHOW) {
        return answer_study(now, &study, err);
    }
    if (action == ACTION_RETRY || action == ACTION_QUARANTINE) {
        return change_study(now, &study, action == ACTION_RETRY, err);
    }
    if (action >= ACTION_DECLINE) {
        return take_decision(now, &study, action, err);
    }
    return take_word(now, &study, action, err);
}

static const char import_path[] = "/api/v1/follow-up";

bool md_http_takes_body(bool is_local, const char *method, const char *path)
{
    return is_local && strcmp(method, "POST") == 0 && strcmp(path, import_path) == 0;
}

static md_status answer_import(const exchange *now, md_error *err)
{
    md_follow_up_import_outcome outcome = {0};
    md_error why = {0};
    size_t n = now->request->body_bytes;
    if (now->request->body == NULL) {
        return answer_error(now, BAD_REQUEST, "a table of decisions is needed", err);
    }
    char *table = md_malloc(n + 1); /* it is taken apart in place */
    if (table == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a table of %zu bytes", n);
    }
    memcpy(table, now->request->body, n);
    md_status status =
        md_follow_up_import(now->service->follow_up, table, n, "history", &outcome, &why);
    if (status == MD_FORMAT || status == MD_INVALID_ARG || status == MD_LIMIT) {
        return answer_error(now, BAD_REQUEST, why.msg, err);
    }
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    return answer_json(now, OK,
                       json_pack("{s:I, s:I}", "decisions", (json_int_t)outcome.n_decisions,
                                 "forgotten", (json_int_t)outcome.n_forgotten),
                       err);
}

static md_status set_flags(const exchange *now, bool paused, bool draining, md_error *err)
{
    md_store *store = now->service->store;
    md_error why = {0};
    md_status status = md_store_set_flag(store, MD_STORE_PAUSED, paused, &why);
    if (status == MD_OK) {
        status = md_store_set_flag(store, MD_STORE_DRAINING, draining, &why);
    }
    if (status != MD_OK) {
        return answer_failure(now, status, &why, err);
    }
    md_log(MD_LOG_WARN, "daemon_steered", MD_LOG_TEXT("by", "the operator"),
           MD_LOG_INT("paused", paused), MD_LOG_INT("draining", draining));
    tell_change(now->service);
    return answer_json(now, OK, json_pack("{s:b, s:b}", "paused", paused, "draining", draining),
                       err);
}

/* pause and drain leave each other alone; resume ends both. */
static md_status answer_pause(const exchange *now, md_error *err)
{
    return set_flags(now, true, md_store_flag_is_set(now->service->store, MD_STORE_DRAINING),
                     err);
}

static md_status answer_drain(const exchange *now, md_error *err)
{
    return set_flags(now, md_store_flag_is_set(now->service->store, MD_STORE_PAUSED), true,
                     err);
}

static md_status answer_resume(const exchange *now, md_error *err)
{
    return set_flags(now, false, false, err);
}

/* ---- routes ---- */

typedef struct route {
    const char *path;
    bool is_post;
    md_status (*answer)(const exchange *now, md_error *err);
} route;

static const route open_routes[] = {
    {"/healthz", false, answer_health},
    {"/readyz", false, answer_readiness},
    {"/metrics", false, answer_metrics},
    {NULL, false, NULL},
};
static const route local_routes[] = {
    {"/api/v1/status", false, answer_status},
    {"/api/v1/studies", false, answer_studies},
    {"/api/v1/report", false, answer_report},
    {"/api/v1/worklist", false, answer_worklist},
    {import_path, true, answer_import},
    {"/api/v1/pause", true, answer_pause},
    {"/api/v1/drain", true, answer_drain},
    {"/api/v1/resume", true, answer_resume},
    {NULL, false, NULL},
};

static const route *find_route(const route *routes, const char *path)
{
    while (routes->path != NULL && strcmp(routes->path, path) != 0) {
        routes++;
    }
    return routes->path == NULL ? NULL : routes;
}

md_status md_http_answer(const md_http_service *service, const md_http_request *request,
                         md_http_response *ret_response, md_error *err)
{
    static const char study_root[] = "/api/v1/study/";
    *ret_response = (md_http_response){.content_type = type_json};
    const exchange now = {service, request, ret_response};
    if (strnlen(request->path, MD_HTTP_MAX_PATH_BYTES) == MD_HTTP_MAX_PATH_BYTES) {
        return answer_error(&now, URI_TOO_LONG, "the path is too long", err);
    }
    if (request->has_body) {
        return answer_error(
            &now, TOO_LARGE,
            md_http_takes_body(request->is_local, request->method, request->path)
                ? "the table is too large, at most 64 MiB"
                : "no request has a body",
            err);
    }
    bool is_post = strcmp(request->method, "POST") == 0;
    if (!is_post && strcmp(request->method, "GET") != 0 &&
        strcmp(request->method, "HEAD") != 0) {
        ret_response->allow = "GET, HEAD, POST";
        return answer_error(&now, WRONG_METHOD, "another method is needed here", err);
    }
    if (request->is_local && strncmp(request->path, study_root, sizeof study_root - 1) == 0) {
        return route_study(&now, request->path + sizeof study_root - 1, is_post, err);
    }
    const route *to = find_route(open_routes, request->path);
    if (to == NULL && request->is_local) {
        to = find_route(local_routes, request->path);
    }
    if (to == NULL) {
        return answer_error(&now, NOT_FOUND, "no such page", err);
    }
    if (to->is_post != is_post) {
        ret_response->allow = to->is_post ? "POST" : "GET, HEAD";
        return answer_error(&now, WRONG_METHOD, "another method is needed here", err);
    }
    return to->answer(&now, err);
}
