#ifndef MEDAID_DAEMON_WEB_WEB_INTERNAL_H
#define MEDAID_DAEMON_WEB_WEB_INTERNAL_H

/* The parts of the web page's server. */

#include "daemon/web/session.h"
#include "daemon/web/web.h"

enum {
    MD_WEB_MAX_BODY_BYTES = 4096,
    MD_WEB_MAX_UPLOAD_BYTES = 256 << 20
};

/* The one request that sends a file. */
#define MD_WEB_UPLOAD_PATH "/api/v1/explain-rules"

typedef struct md_web_request {
    const char *method, *path;
    const char *cookie, *csrf, *origin, *host; /* headers; NULL: not sent */
    const char *read, *model, *finding, *days, *generation, *action; /* of the query */
    const char *body;                                                /* ends with a zero byte */
    size_t body_bytes;
    int upload_fd;                     /* a file that was sent, from its first byte; -1 */
    const char *source_ae, *called_ae; /* of the query, for the rules */
} md_web_request;

typedef struct md_web_answer {
    unsigned code;
    const char *content_type; /* static */
    const char *fixed;        /* a static body of n_bytes, or NULL */
    char *body;               /* else this one; freed with md_free; may be NULL */
    size_t n_bytes;
    char cookie[256];     /* for Set-Cookie; "": none */
    bool is_event_stream; /* the connection stays open for events instead */
} md_web_answer;

typedef struct md_web_site {
    md_http_service service; /* conf: of this request */
    md_sessions *sessions;
    int64_t now_ms; /* monotonic */
} md_web_site;

/* Answer a request. MD_NOMEM; every other trouble is an answer. Any thread. */
md_status md_web_route(const md_web_site *site, const md_web_request *request,
                       md_web_answer *ret_answer, md_error *err) MD_NODISCARD;

/* Whether a request that is about to send a file may do so: 0, or the code that refuses it. */
unsigned md_web_refuses_upload(const md_web_site *site, const md_web_request *request);

/* A file of the page by its path ("/", "/app.js"); NULL: no such file. Written by embed.py. */
typedef struct md_web_file {
    const char *path, *content_type;
    const unsigned char *bytes;
    size_t n_bytes;
} md_web_file;
extern const md_web_file md_web_files[];
extern const size_t md_web_n_files;

#endif
