#include "daemon/eta/eta.h"
#include "daemon/http/pages.h"
#include "daemon/http/server.h"
#include "daemon/steady.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STUDY_UID "1.2.840.99999.777.1"

/* A real store and spool, and what the pages said of a change. */
typedef struct fixture {
    char folder[64];
    md_conf conf;
    md_store *store;
    md_spool *spool;
    _Atomic int64_t heartbeat_ms;
    md_http_service service;
    uint64_t free_bytes;
    unsigned n_changes;
    int64_t study;
    char key[MD_STORE_KEY_BYTES];
} fixture;

static bool free_bytes(void *context, uint64_t *ret_bytes)
{
    *ret_bytes = ((fixture *)context)->free_bytes;
    return true;
}

static void count_change(void *context)
{
    ((fixture *)context)->n_changes++;
}

/* One instance, without a file: the pages never look at files. */
static void add_study(fixture *now, const char *uid, uint64_t file)
{
    char sop_uid[80];
    md_instance_outcome outcome;
    snprintf(sop_uid, sizeof sop_uid, "%s.1.1", uid);
    md_instance_new item = {.study_uid = uid,
                            .series_uid = "1.2.3.4",
                            .sop_instance_uid = sop_uid,
                            .sop_class_uid = "1.2.840.10008.5.1.4.1.1.1.1",
                            .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                            .source_ae = "SECRETMODALITY",
                            .file = file,
                            .size_bytes = 100,
                            .received_ms = md_steady_ms()};
    assert_int_equal(md_store_add_instances(now->store, &item, 1, &outcome, NULL), MD_OK);
    now->study = outcome.study;
    memcpy(now->key, outcome.study_key, sizeof now->key);
}

static int set_up(void **state)
{
    fixture *now = md_calloc(1, sizeof *now);
    char path[96];
    md_recovery recovery;
    md_spool_scan scan;
    snprintf(now->folder, sizeof now->folder, "/tmp/medaid-pages-XXXXXX");
    if (mkdtemp(now->folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/medaid.db", now->folder);
    md_conf_defaults(&now->conf);
    snprintf(now->conf.storage.path, sizeof now->conf.storage.path, "%s", now->folder);
    now->conf.n_destinations = 1;
    snprintf(now->conf.destinations[0].name, sizeof now->conf.destinations[0].name, "pacs");
    now->free_bytes = 1 << 30;
    assert_int_equal(md_store_open(&(md_store_options){.path = path}, &now->store, NULL),
                     MD_OK);
    assert_int_equal(md_store_recover(now->store, md_steady_ms(), &recovery, NULL), MD_OK);
    const md_spool_options options = {.folder = now->folder,
                                      .store = now->store,
                                      .low_bytes = 1 << 20,
                                      .free_bytes = free_bytes,
                                      .context = now};
    assert_int_equal(md_spool_open(&options, &now->spool, &scan, NULL), MD_OK);
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    now->service = (md_http_service){.conf = &now->conf,
                                     .store = now->store,
                                     .spool = now->spool,
                                     .started_ms = md_steady_ms(),
                                     .heartbeat_ms = &now->heartbeat_ms,
                                     .on_change = count_change,
                                     .context = now};
    *state = now;
    return 0;
}

static int tear_down(void **state)
{
    fixture *now = *state;
    static const char *const names[] = {"medaid.db",      "medaid.db-wal", "medaid.db-shm",
                                        "medaid.db.lock", "incoming",      "data"};
    char path[128];
    md_spool_close(now->spool);
    md_store_close(now->store);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", now->folder, names[i]);
        (void)remove(path);
    }
    (void)rmdir(now->folder);
    md_free(now);
    return 0;
}

/* Ask on the Unix socket; the code. *ret_text is the caller's when it is not NULL. */
static unsigned ask(const fixture *now, const char *method, const char *path, char **ret_text)
{
    const md_http_request request = {.method = method, .path = path, .is_local = true};
    md_http_response response;
    md_error err = {0};
    if (md_http_answer(&now->service, &request, &response, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_non_null(response.body);
    assert_int_equal(strlen(response.body), response.n_bytes);
    assert_null(strstr(response.body, STUDY_UID));
    assert_null(strstr(response.body, "SECRET"));
    assert_true((response.code == 405) == (response.allow != NULL));
    if (ret_text != NULL) {
        *ret_text = response.body;
    } else {
        md_free(response.body);
    }
    return response.code;
}

static json_t *ask_json(const fixture *now, const char *method, const char *path,
                        unsigned expected)
{
    char *text = NULL;
    unsigned code = ask(now, method, path, &text);
    if (code != expected) {
        fail_msg("%s %s: %u %s", method, path, code, text);
    }
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    md_free(text);
    return json;
}

static unsigned ask_study(const fixture *now, const char *method, const char *key,
                          const char *action)
{
    char path[128];
    snprintf(path, sizeof path, "/api/v1/study/%s%s", key, action);
    return ask(now, method, path, NULL);
}

static void test_routes(void **state)
{
    fixture *now = *state;
    static const struct {
        const char *method, *path;
        bool is_local;
        unsigned code;
    } rows[] = {
        {"GET", "/healthz", false, 200},
        {"HEAD", "/healthz", false, 200},
        {"GET", "/readyz", false, 200},
        {"GET", "/metrics", false, 200},
        {"POST", "/metrics", false, 405},
        {"DELETE", "/metrics", true, 405},
        {"", "/metrics", true, 405},
        {"GET", "/api/v1/status", false, 404},
        {"POST", "/api/v1/drain", false, 404},
        {"GET", "/api/v1/study/0123456789abcdef", false, 404},
        {"GET", "/api/v1/status", true, 200},
        {"GET", "/api/v1/studies", true, 200},
        {"GET", "/api/v1/drain", true, 405},
        {"POST", "/api/v1/status", true, 405},
        {"GET", "/api/v1/study/0123456789abcdef", true, 404},
        {"GET", "/api/v1/study/0123456789ABCDEF", true, 404},
        {"GET", "/api/v1/study/0123456789abcde", true, 404},
        {"GET", "/api/v1/study/0123456789abcdef0", true, 404},
        {"GET", "/api/v1/study/0123456789abcdef/", true, 404},
        {"GET", "/api/v1/study/0123456789abcdef/retry", true, 405},
        {"POST", "/api/v1/study/0123456789abcdef", true, 405},
        {"POST", "/api/v1/study/", true, 404},
        {"GET", "", true, 404},
        {"GET", "*", true, 404},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const md_http_request request = {
            .method = rows[i].method, .path = rows[i].path, .is_local = rows[i].is_local};
        md_http_response response;
        assert_int_equal(md_http_answer(&now->service, &request, &response, NULL), MD_OK);
        if (response.code != rows[i].code) {
            fail_msg("%s %s: %u, expected %u", rows[i].method, rows[i].path, response.code,
                     rows[i].code);
        }
        md_free(response.body);
    }
    char *text = NULL; /* a mistyped key is about a study, not about a page */
    assert_int_equal(ask(now, "GET", "/api/v1/study/0123", &text), 404);
    assert_non_null(strstr(text, "no such study"));
    md_free(text);
    assert_int_equal(now->n_changes, 0);
}

static void test_limits(void **state)
{
    fixture *now = *state;
    char path[1000];
    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(ask(now, "GET", path, NULL), 414);
    md_http_response response;
    const md_http_request body = {
        .method = "POST", .path = "/api/v1/drain", .is_local = true, .has_body = true};
    assert_int_equal(md_http_answer(&now->service, &body, &response, NULL), MD_OK);
    assert_int_equal(response.code, 413);
    md_free(response.body);
    assert_false(md_store_flag_is_set(now->store, MD_STORE_DRAINING));
    static const struct {
        const char *state, *limit, *before;
        unsigned code;
    } rows[] = {
        {"done", NULL, NULL, 200},   {"asleep", NULL, NULL, 400},
        {"", NULL, NULL, 400},       {NULL, "1", NULL, 200},
        {NULL, "1000", NULL, 200},   {NULL, "1001", NULL, 400},
        {NULL, "0", NULL, 400},      {NULL, "-1", NULL, 400},
        {NULL, "1e2", NULL, 400},    {NULL, "", NULL, 400},
        {NULL, NULL, "0", 400},      {NULL, NULL, "99999999999999999999999999", 400},
        {NULL, NULL, "123456", 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const md_http_request request = {.method = "GET",
                                         .path = "/api/v1/studies",
                                         .state = rows[i].state,
                                         .limit = rows[i].limit,
                                         .before = rows[i].before,
                                         .is_local = true};
        assert_int_equal(md_http_answer(&now->service, &request, &response, NULL), MD_OK);
        assert_int_equal(response.code, rows[i].code);
        md_free(response.body);
    }
}

static void test_health(void **state)
{
    fixture *now = *state;
    atomic_store(&now->heartbeat_ms, md_steady_ms() - MD_HTTP_LOST_BEAT_MS - 1);
    assert_int_equal(ask(now, "GET", "/healthz", NULL), 503);
    atomic_store(&now->heartbeat_ms, md_steady_ms());
    assert_int_equal(ask(now, "GET", "/healthz", NULL), 200);
    now->free_bytes = 1000;
    json_t *json = ask_json(now, "GET", "/readyz", 503);
    assert_string_equal(json_string_value(json_array_get(json_object_get(json, "problems"), 0)),
                        "disk_low");
    json_decref(json);
    now->free_bytes = 1 << 30;
}

static void test_steering(void **state)
{
    fixture *now = *state;
    add_study(now, STUDY_UID, 1);
    json_t *json = ask_json(now, "GET", "/api/v1/status", 200);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(json, "studies"), "receiving")), 1);
    json_decref(json);
    assert_int_equal(ask_study(now, "POST", now->key, "/retry"), 409); /* it has not failed */
    assert_int_equal(now->n_changes, 0);
    assert_int_equal(ask_study(now, "POST", now->key, "/quarantine"), 200);
    assert_int_equal(now->n_changes, 1);
    md_study study;
    assert_int_equal(md_store_study(now->store, now->study, &study, NULL), MD_OK);
    assert_int_equal(study.state, MD_STUDY_QUARANTINED);
    char path[128];
    snprintf(path, sizeof path, "/api/v1/study/%s", now->key);
    json = ask_json(now, "GET", path, 200);
    assert_string_equal(json_string_value(json_object_get(json, "state")), "quarantined");
    assert_string_equal(json_string_value(json_object_get(json, "reason")), "by the operator");
    assert_int_equal(json_array_size(json_object_get(json, "outbox")), 0);
    assert_true(json_is_null(json_object_get(json_object_get(json, "clock"), "stored")));
    json_decref(json);
    assert_int_equal(ask_study(now, "POST", now->key, "/retry"), 200);
    assert_int_equal(md_store_study(now->store, now->study, &study, NULL), MD_OK);
    assert_int_equal(study.state, MD_STUDY_COMPLETE);

    assert_int_equal(ask(now, "POST", "/api/v1/pause", NULL), 200);
    assert_int_equal(ask(now, "POST", "/api/v1/drain", NULL), 200);
    assert_true(md_store_flag_is_set(now->store, MD_STORE_PAUSED));
    assert_true(md_store_flag_is_set(now->store, MD_STORE_DRAINING));
    assert_int_equal(ask(now, "GET", "/readyz", NULL), 503);
    assert_int_equal(ask(now, "POST", "/api/v1/resume", NULL), 200);
    assert_false(md_store_flag_is_set(now->store, MD_STORE_PAUSED));
    assert_false(md_store_flag_is_set(now->store, MD_STORE_DRAINING));
    assert_int_equal(now->n_changes, 5);
}

/* Without estimates there is no word of them; without history it says so. */
static void test_worklist(void **state)
{
    fixture *now = *state;
    char *text = NULL;
    md_study study;
    const md_eta_options options = {.least_studies = 200, .history_days = 90};
    add_study(now, STUDY_UID, 77);
    assert_int_equal(md_store_study(now->store, now->study, &study, NULL), MD_OK);
    assert_int_equal(md_store_complete(now->store, &study, md_steady_ms(), NULL), MD_OK);
    assert_int_equal(ask(now, "GET", "/api/v1/worklist", &text), 200);
    assert_non_null(strstr(text, now->key));
    assert_null(strstr(text, "eta"));
    md_free(text);
    assert_int_equal(md_eta_start(&options, now->store, &now->service.eta, NULL), MD_OK);
    assert_int_equal(md_eta_refit(now->service.eta, md_steady_ms(), NULL), MD_NOT_FOUND);
    assert_int_equal(ask(now, "GET", "/api/v1/worklist", &text), 200);
    assert_non_null(strstr(text, "\"eta\":null"));
    assert_non_null(strstr(text, "{\"none\":\"0 studies were read so far, 200 are needed\"}"));
    md_free(text);
    assert_int_equal(ask(now, "POST", "/api/v1/worklist", NULL), 405);
    md_eta_stop(now->service.eta);
    now->service.eta = NULL;
}

static void test_pages_of_studies(void **state)
{
    fixture *now = *state;
    enum {
        N = 25
    };
    for (uint64_t i = 0; i < N; i++) {
        char uid[64];
        snprintf(uid, sizeof uid, "1.2.840.99999.888.%u", (unsigned)i);
        add_study(now, uid, 100 + i);
    }
    char before[32] = "";
    char seen[N + 1][MD_STORE_KEY_BYTES];
    unsigned n_seen = 0;
    bool more = true;
    while (more) {
        const md_http_request request = {.method = "GET",
                                         .path = "/api/v1/studies",
                                         .state = "receiving",
                                         .limit = "10",
                                         .before = before[0] == '\0' ? NULL : before,
                                         .is_local = true};
        md_http_response response;
        assert_int_equal(md_http_answer(&now->service, &request, &response, NULL), MD_OK);
        json_t *json = json_loads(response.body, 0, NULL);
        md_free(response.body);
        const json_t *list = json_object_get(json, "studies");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *key =
                json_string_value(json_object_get(json_array_get(list, i), "study"));
            for (unsigned k = 0; k < n_seen; k++) {
                assert_string_not_equal(key, seen[k]);
            }
            assert_true(n_seen < N);
            snprintf(seen[n_seen++], MD_STORE_KEY_BYTES, "%s", key);
        }
        const json_t *next = json_object_get(json, "next_before");
        more = next != NULL;
        snprintf(before, sizeof before, "%lld", (long long)json_integer_value(next));
        json_decref(json);
    }
    assert_int_equal(n_seen, N);
    assert_string_equal(seen[0], now->key); /* the newest first */
}

static void test_metrics_page(void **state)
{
    fixture *now = *state;
    char *text = NULL;
    md_counter_add(&md_figures_now()->rejected[MD_REJECT_DISK_LOW], 7);
    md_counter_add(&md_figures_now()->send_failures[0], 3);
    assert_int_equal(ask(now, "GET", "/metrics", &text), 200);
    static const char *const expected[] = {
        "\nmedaid_objects_rejected_total{reason=\"disk_low\"} 7\n",
        "\nmedaid_objects_rejected_total{reason=\"draining\"} 0\n",
        "\nmedaid_send_failures_total{destination=\"pacs\"} 3\n",
        "\n# TYPE medaid_time_to_notification_seconds histogram\n",
        "\nmedaid_time_to_notification_seconds_count 0\n",
        "\nmedaid_studies{state=\"quarantined\"} 0\n",
        "\nmedaid_disk_free_bytes 1073741824\n",
        "\nmedaid_queue_age_seconds 0\n",
        "\nmedaid_worker_restarts_total 0\n",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (strstr(text, expected[i]) == NULL) {
            fail_msg("not in /metrics: %s", expected[i]);
        }
    }
    md_free(text);
}

/* Each allocation of ours fails once: an error or an answer, never half a page. */
static void test_no_memory(void **state)
{
    fixture *now = *state;
    static const char *const paths[] = {"/metrics", "/api/v1/status", "/api/v1/studies"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const md_http_request request = {.method = "GET", .path = paths[i], .is_local = true};
        md_status status = MD_NOMEM;
        unsigned code = 0;
        for (size_t nth = 1; nth < 100 && (status != MD_OK || code != 200); nth++) {
            md_http_response response = {0};
            md_memory_fail_at(nth);
            status = md_http_answer(&now->service, &request, &response, NULL);
            md_memory_fail_at(0);
            assert_true(status == MD_OK || status == MD_NOMEM);
            code = response.code;
            if (status == MD_OK) {
                assert_int_equal(strlen(response.body), response.n_bytes);
                md_free(response.body);
            }
        }
        assert_int_equal(code, 200);
    }
}

/* A second server on the port is told so, and leaves nothing behind. */
static void test_port_taken(void **state)
{
    fixture *now = *state;
    md_http *first = NULL;
    md_http *second = NULL;
    md_error err = {0};
    md_status status = MD_IO;
    for (uint16_t port = 20000; port < 30000 && status != MD_OK; port = (uint16_t)(port + 97)) {
        now->conf.http.port = port;
        status = md_http_start(&now->service, &first, NULL);
    }
    assert_int_equal(status, MD_OK);
    assert_int_equal(md_http_start(&now->service, &second, &err), MD_IO);
    assert_non_null(strstr(err.msg, "http: listen on 127.0.0.1 port"));
    assert_null(second);
    md_http_stop(first);
    md_http_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_health, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_steering, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_worklist, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages_of_studies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metrics_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_port_taken, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
