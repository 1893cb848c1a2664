#ifndef MEDAID_DAEMON_HTTP_PAGES_H
#define MEDAID_DAEMON_HTTP_PAGES_H

/* What is answered to an HTTP request, without any network:
 *
 *   GET  /healthz                      the program lives: its main loop went round lately
 *   GET  /readyz                       it takes objects: store, disk, not draining
 *   GET  /metrics                      for Prometheus
 * and on the Unix socket alone:
 *   GET  /api/v1/status                counts, flags, destinations
 *   GET  /api/v1/studies               ?state=NAME&limit=1..1000&before=N, newest first
 *   GET  /api/v1/worklist              unread studies in reading order, when they will be read
 *   GET  /api/v1/study/KEY             one study: clock, objects, outbox
 *   GET  /api/v1/study/KEY/similar     ?limit=1..100, those that resemble it; also of a study
 *                                      that is gone, as long as its case is kept
 *   POST /api/v1/study/KEY/retry       failed or quarantined: again
 *   POST /api/v1/study/KEY/quarantine  not to be analysed or sent any more
 *   POST /api/v1/study/KEY/accept, decline, withdraw   ?action=&reader=: what to do next
 *   POST /api/v1/study/KEY/forget      all decisions for its patient
 *   POST /api/v1/follow-up             a history of decisions as the body, a CSV
 *   POST /api/v1/pause, resume, drain  no new analyses; all as usual; no new objects either
 *
 * An answer names a study by its key and holds no UID, AE title or other data of a patient.
 * Everything of a request is hostile and limited before it is looked at. Any thread. */

#include "conf/conf.h"
#include "daemon/follow_up/follow_up.h"
#include "daemon/metrics/figures.h"
#include "daemon/similar/cases.h"
#include "daemon/spool/spool.h"

enum {
    MD_HTTP_MAX_PATH_BYTES = 256,
    MD_HTTP_HEARTBEAT_MS = 10000,  /* the main loop goes round so often */
    MD_HTTP_LOST_BEAT_MS = 120000, /* and counts as dead after so long without */
    MD_HTTP_DEFAULT_PAGE = 100,    /* studies */
    MD_HTTP_MAX_BODY_BYTES = 64 * 1024 * 1024,
};

/* What the pages are about; borrowed. */
typedef struct md_http_service {
    const md_conf *conf;
    md_store *store;
    md_spool *spool;
    md_cases *cases;               /* NULL: none are kept */
    int64_t started_ms;            /* md_steady_ms of the start */
    struct md_eta *eta;            /* daemon/eta/eta.h; NULL: no estimates */
    _Atomic int64_t *heartbeat_ms; /* md_steady_ms of the main loop's last round */
    /* The queue or the outbox has changed: look at once. */
    void (*on_change)(void *context);
    /* A person has read the study: its workitem is to be completed. NULL: there are none. */
    md_status (*on_read)(void *context, const char *study_key, md_error *err);
    void *context;
    md_follow_up_engine *follow_up; /* NULL: there is none */
} md_http_service;

/* md_store_set_read, and what follows from it. */
md_status md_http_mark_read(const md_http_service *service, const char *study_key,
                            md_error *err) MD_NODISCARD;

/* What an operator's retry means: notices that were given up, and the study when it had failed.
 * *ret_state is its state after it. Those who look for work are woken. MD_INVALID_ARG: there is
 * nothing to retry. */
md_status md_http_retry(const md_http_service *service, const md_study *study,
                        md_study_state *ret_state, md_error *err) MD_NODISCARD;

typedef struct md_http_request {
    const char *method, *path;          /* the path without the query */
    const char *state, *limit, *before; /* of the query; NULL: not given */
    const char *days, *model, *finding, *reader, *action;
    bool is_local;    /* came over the Unix socket */
    bool has_body;    /* with one that is not asked for */
    const char *body; /* of the one request that has one; NULL: none came */
    size_t body_bytes;
} md_http_request;

typedef struct md_http_response {
    unsigned code;
    const char *content_type; /* static */
    const char *allow;        /* the value of Allow with 405; NULL */
    char *body;               /* caller frees with md_free; never NULL after a success */
    size_t n_bytes;
} md_http_response;

/* Whether a request may have a body: a local one that imports. Known before the body comes. */
bool md_http_takes_body(bool is_local, const char *method, const char *path);

/* Answer. Fails only with MD_NOMEM; every other trouble is an answer of its own. */
md_status md_http_answer(const md_http_service *service, const md_http_request *request,
                         md_http_response *ret_response, md_error *err) MD_NODISCARD;

/* The text of /metrics. MD_NOMEM, MD_LIMIT, or what the store said. Caller finishes the page.
 */
md_status md_http_write_metrics(const md_http_service *service, md_metrics_page *page,
                                md_error *err) MD_NODISCARD;

#endif
