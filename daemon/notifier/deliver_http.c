#include "daemon/notifier/deliver.h"

#include "base/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
    MAC_BYTES = 32
};

static void handle_done(CURL **handle)
{
    curl_easy_cleanup(*handle);
}

static void list_done(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

md_status md_deliver_init(md_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return md_fail(err, MD_INTERNAL, "libcurl does not start");
    }
    return MD_OK;
}

/* libcurl's own words name hosts and certificates of the configuration, nothing of the text. */
static md_status judge_curl(CURLcode code, md_error *err)
{
    switch ((int)code) {
    case CURLE_OK:
        return MD_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return md_fail(err, MD_TIMEOUT, "no answer in time");
    case CURLE_OUT_OF_MEMORY:
        return md_fail(err, MD_NOMEM, "no memory to notify");
    default:
        return md_fail(err, MD_NETWORK, "%s", curl_easy_strerror(code));
    }
}

static md_status open_handle(const md_deliver_peer *peer, const char *url, CURL **ret_handle,
                             md_error *err)
{
    CURL *handle = curl_easy_init();
    if (handle == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to notify");
    }
    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT, (long)peer->timeout_s);
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_PROXY, ""); /* not by a variable of the environment */
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (peer->ca[0] != '\0') {
        curl_easy_setopt(handle, CURLOPT_CAINFO, peer->ca);
        curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
    }
    *ret_handle = handle;
    return MD_OK;
}

/* ---------------------------------------------------------------------------- webhook */

/* The answer's body is of no interest; one without end is cut off. */
static size_t drop_answer(char *bytes, size_t one, size_t n, void *context)
{
    (void)bytes;
    size_t *got = context;
    *got += n;
    return *got > MD_DELIVER_MAX_ANSWER_BYTES ? 0 : one * n;
}

static md_status add_header(struct curl_slist **list, const char *name, const char *value,
                            md_error *err)
{
    char line[256];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to notify");
    }
    *list = longer;
    return MD_OK;
}

static md_status sign(const uint8_t *secret, size_t secret_bytes, const char *timestamp,
                      const char *body, char *ret_text, md_error *err)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_bytes = 0;
    size_t n = strlen(timestamp) + 1 + strlen(body) + 1;
    MD_AUTO(md_freep) char *text = md_malloc(n);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to notify");
    }
    int length = snprintf(text, n, "%s.%s", timestamp, body);
    if (HMAC(EVP_sha256(), secret, (int)secret_bytes, (const uint8_t *)text, (size_t)length,
             mac, &mac_bytes) == NULL ||
        mac_bytes != MAC_BYTES) {
        return md_fail(err, MD_INTERNAL, "HMAC-SHA256 failed");
    }
    char *to = ret_text + snprintf(ret_text, 8, "sha256=");
    for (unsigned i = 0; i < MAC_BYTES; i++) {
        to += snprintf(to, 3, "%02x", mac[i]);
    }
    return MD_OK;
}

static md_status make_headers(const uint8_t *secret, size_t secret_bytes, const char *id,
                              const char *body, struct curl_slist **list, md_error *err)
{
    char timestamp[24], signature[8 + 2 * MAC_BYTES];
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(md_clock_wall_ms() / 1000));
    MD_TRY(add_header(list, "Content-Type", "application/json", err));
    MD_TRY(add_header(list, "Expect", "", err));
    MD_TRY(add_header(list, "Medaid-Delivery", id, err));
    MD_TRY(add_header(list, "Medaid-Timestamp", timestamp, err));
    if (secret_bytes > 0) {
        MD_TRY(sign(secret, secret_bytes, timestamp, body, signature, err));
        MD_TRY(add_header(list, "Medaid-Signature", signature, err));
    }
    return MD_OK;
}

md_status md_deliver_webhook(const md_deliver_peer *peer, const uint8_t *secret,
                             size_t secret_bytes, const char *id, const char *body,
                             md_error *err)
{
    MD_AUTO(handle_done) CURL *handle = NULL;
    MD_AUTO(list_done) struct curl_slist *headers = NULL;
    size_t answer_bytes = 0;
    MD_TRY(open_handle(peer, peer->url, &handle, err));
    MD_TRY(make_headers(secret, secret_bytes, id, body, &headers, err));
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, drop_answer);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer_bytes);
    CURLcode code = curl_easy_perform(handle);
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_WRITE_ERROR && status != 0) {
        code = CURLE_OK; /* it answered; we did not want to hear more */
    }
    MD_TRY(judge_curl(code, err));
    if (status >= 200 && status < 300) {
        return MD_OK;
    }
    bool again = status == 408 || status == 425 || status == 429 || status >= 500;
    return md_fail(err, again ? MD_BUSY : MD_UNSUPPORTED, "HTTP status %ld", status);
}

/* ------------------------------------------------------------------------------- MLLP */

typedef struct conversation {
    CURL *handle;
    curl_socket_t socket;
    int64_t until_us;
} conversation;

static md_status wait_for(const conversation *c, short events, md_error *err)
{
    int64_t left_ms = (c->until_us - md_clock_monotonic_us()) / 1000;
    struct pollfd one = {.fd = c->socket, .events = events};
    if (left_ms <= 0) {
        return md_fail(err, MD_TIMEOUT, "no acknowledgement in time");
    }
    int ready = poll(&one, 1, left_ms > 3600000 ? 3600000 : (int)left_ms);
    if (ready < 0 && errno != EINTR) {
        return md_fail_os(err, errno, "waiting for the peer");
    }
    return MD_OK; /* at the deadline the next round tells */
}

static md_status send_all(const conversation *c, const char *bytes, size_t n, md_error *err)
{
    while (n > 0) {
        size_t sent = 0;
        CURLcode code = curl_easy_send(c->handle, bytes, n, &sent);
        if (code == CURLE_AGAIN) {
            MD_TRY(wait_for(c, POLLOUT, err));
            continue;
        }
        MD_TRY(judge_curl(code, err));
        bytes += sent;
        n -= sent;
    }
    return MD_OK;
}

/* The block from 0x0b to 0x1c 0x0d; what stands before it is skipped. */
static md_status read_block(const conversation *c, char *buffer, const char **ret_bytes,
                            size_t *ret_n, md_error *err)
{
    size_t have = 0;
    while (have < MD_DELIVER_MAX_ANSWER_BYTES) {
        size_t got = 0;
        CURLcode code =
            curl_easy_recv(c->handle, buffer + have, MD_DELIVER_MAX_ANSWER_BYTES - have, &got);
        if (code == CURLE_AGAIN) {
            MD_TRY(wait_for(c, POLLIN, err));
            continue;
        }
        MD_TRY(judge_curl(code, err));
        if (got == 0) {
            return md_fail(err, MD_NETWORK, "the peer closed before its acknowledgement");
        }
        have += got;
        const char *begin = memchr(buffer, 0x0b, have);
        const char *end = begin == NULL
                              ? NULL
                              : memmem(begin, have - (size_t)(begin - buffer), "\x1c\x0d", 2);
        if (end != NULL) {
            *ret_bytes = begin + 1;
            *ret_n = (size_t)(end - begin - 1);
            return MD_OK;
        }
    }
    return md_fail(err, MD_UNSUPPORTED, "an acknowledgement of more than %d bytes",
                   MD_DELIVER_MAX_ANSWER_BYTES);
}

md_status md_deliver_mllp(const md_deliver_peer *peer, const char *control_id, const char *body,
                          md_error *err)
{
    char url[320];
    /* libcurl makes the connection, and TLS on it, and leaves the talking to us */
    snprintf(url, sizeof url, "%s://%s", peer->use_tls ? "https" : "http", peer->url);
    MD_AUTO(handle_done) CURL *handle = NULL;
    MD_TRY(open_handle(peer, url, &handle, err));
    curl_easy_setopt(handle, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(handle, CURLOPT_SSL_ENABLE_ALPN, 0L);
    conversation c = {.handle = handle,
                      .until_us = md_clock_monotonic_us() + (int64_t)peer->timeout_s * 1000000};
    MD_TRY(judge_curl(curl_easy_perform(handle), err));
    MD_TRY(judge_curl(curl_easy_getinfo(handle, CURLINFO_ACTIVESOCKET, &c.socket), err));
    MD_AUTO(md_freep) char *buffer = md_malloc(MD_DELIVER_MAX_ANSWER_BYTES);
    const char *ack = NULL;
    size_t ack_bytes = 0;
    if (buffer == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to notify");
    }
    MD_TRY(send_all(&c, "\x0b", 1, err));
    MD_TRY(send_all(&c, body, strlen(body), err));
    MD_TRY(send_all(&c, "\x1c\x0d", 2, err));
    MD_TRY(read_block(&c, buffer, &ack, &ack_bytes, err));
    return md_deliver_judge_ack(ack, ack_bytes, control_id, err);
}

/* The text between two separators, from `*at` on. */
static size_t next_field(const char **at, const char *end, char separator)
{
    const char *from = *at;
    const char *stop = memchr(from, separator, (size_t)(end - from));
    stop = stop == NULL ? end : stop;
    *at = stop < end ? stop + 1 : end;
    return (size_t)(stop - from);
}

md_status md_deliver_judge_ack(const char *bytes, size_t size_bytes, const char *control_id,
                               md_error *err)
{
    const char *end = bytes + size_bytes;
    if (size_bytes < 8 || memcmp(bytes, "MSH", 3) != 0) {
        return md_fail(err, MD_NETWORK, "the answer is no HL7 message");
    }
    char separator = bytes[3];
    for (const char *at = bytes; at < end;) {
        const char *segment = at;
        size_t n = next_field(&at, end, '\r');
        if (n < 6 || memcmp(segment, "MSA", 3) != 0 || segment[3] != separator) {
            continue;
        }
        const char *field = segment + 4, *stop = segment + n;
        const char *code = field;
        size_t code_bytes = next_field(&field, stop, separator);
        const char *id = field;
        size_t id_bytes = next_field(&field, stop, separator);
        if (code_bytes != 2 || id_bytes != strlen(control_id) ||
            memcmp(id, control_id, id_bytes) != 0) {
            return md_fail(err, MD_NETWORK, "the acknowledgement is for another message");
        }
        if (memcmp(code, "AA", 2) == 0 || memcmp(code, "CA", 2) == 0) {
            return MD_OK;
        }
        bool is_known = strchr("AC", code[0]) != NULL && strchr("ER", code[1]) != NULL;
        return md_fail(err, MD_UNSUPPORTED, "the peer answered %.2s", is_known ? code : "??");
    }
    return md_fail(err, MD_NETWORK, "the answer has no MSA segment");
}
