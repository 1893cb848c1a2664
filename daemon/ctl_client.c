#include "daemon/ctl_client.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MAX_ANSWER_BYTES = 16 * 1024 * 1024,
    FIRST_ROOM = 64 * 1024,
    TIMEOUT_MS = 30000,
    LONG_TIMEOUT_MS = 600000, /* for what is sent with a body */
    REQUEST_BYTES = 1024
};

/* Connect through the folder's descriptor: a socket's own name holds 107 bytes only. */
static md_status connect_to(const char *path, int *ret_fd, md_error *err)
{
    const char *slash = strrchr(path, '/');
    char folder[4096] = ".";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (slash != NULL) {
        int length = slash == path ? 1 : (int)(slash - path);
        snprintf(folder, sizeof folder, "%.*s", length, path);
    }
    int folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) {
        return md_fail_os(err, errno, "%s", folder);
    }
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
                          folder_fd, slash == NULL ? path : slash + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    md_status status = MD_OK;
    if (length < 0 || (size_t)length >= sizeof address.sun_path) {
        status = md_fail(err, MD_INVALID_ARG, "the socket's name is too long");
    } else if (fd < 0) {
        status = md_fail_os(err, errno, "a socket");
    } else if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        bool is_absent = errno == ENOENT || errno == ECONNREFUSED;
        status = is_absent ? md_fail(err, MD_NETWORK, "%s: no medaid --daemon answers", path)
                           : md_fail_os(err, errno, "%s", path);
    }
    close(folder_fd);
    if (status != MD_OK && fd >= 0) {
        close(fd);
    } else {
        *ret_fd = fd;
    }
    return status;
}

static md_status wait_for(int fd, short events, int64_t until_ms, md_error *err)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    int64_t left_ms = until_ms - md_clock_monotonic_us() / 1000;
    if (left_ms <= 0 || poll(&waiting, 1, (int)left_ms) == 0) {
        return md_fail(err, MD_TIMEOUT, "no answer in time");
    }
    return MD_OK;
}

/* All that comes until the end of the stream, with a zero after it. */
static md_status read_all(int fd, int64_t until_ms, char **ret_text, size_t *ret_n,
                          md_error *err)
{
    size_t n_room = FIRST_ROOM;
    size_t n = 0;
    MD_AUTO(md_freep) char *text = md_malloc(n_room);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    for (;;) {
        MD_TRY(wait_for(fd, POLLIN, until_ms, err));
        ssize_t got = recv(fd, text + n, n_room - n - 1, MSG_DONTWAIT);
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR && errno != EAGAIN) {
            return md_fail_os(err, errno, "read the answer");
        }
        n += got > 0 ? (size_t)got : 0;
        if (n + 1 == n_room) {
            char *grown = n_room < MAX_ANSWER_BYTES ? md_realloc(text, 2 * n_room) : NULL;
            if (grown == NULL) {
                return md_fail(err, MD_LIMIT, "an answer of more than %zu bytes", n);
            }
            text = grown;
            n_room *= 2;
        }
    }
    text[n] = '\0';
    *ret_text = MD_STEAL(text);
    *ret_n = n;
    return MD_OK;
}

/* "HTTP/1.1 200 OK", fields, an empty line, the body. */
static md_status parse(const char *text, size_t n, md_ctl_answer *ret_answer, md_error *err)
{
    static const char version[] = "HTTP/1.";
    const char *body = strstr(text, "\r\n\r\n");
    size_t version_length = sizeof version - 1;
    if (strncmp(text, version, version_length) != 0 || body == NULL ||
        text[version_length + 1] != ' ') {
        return md_fail(err, MD_FORMAT, "what answers is not medaid");
    }
    const char *digits = text + version_length + 2;
    if (strspn(digits, "0123456789") != 3) {
        return md_fail(err, MD_FORMAT, "what answers is not medaid");
    }
    body += 4;
    size_t n_bytes = n - (size_t)(body - text);
    char *copy = md_malloc(n_bytes + 1);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    memcpy(copy, body, n_bytes + 1);
    ret_answer->code = (unsigned)strtoul(digits, NULL, 10);
    ret_answer->body = copy;
    ret_answer->n_bytes = n_bytes;
    return MD_OK;
}

/* The body; a daemon that refuses it closes before its end, and has answered. */
static md_status send_all(int fd, const uint8_t *bytes, size_t n, int64_t until_ms,
                          md_error *err)
{
    while (n > 0) {
        MD_TRY(wait_for(fd, POLLOUT, until_ms, err));
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return MD_OK;
        }
        if (sent < 0 && errno != EINTR && errno != EAGAIN) {
            return md_fail_os(err, errno, "send the table");
        }
        bytes += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return MD_OK;
}

static md_status exchange(int fd, const char *method, const char *target, const uint8_t *bytes,
                          size_t n_bytes, md_ctl_answer *ret_answer, md_error *err)
{
    char request[REQUEST_BYTES];
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: medaid\r\nConnection: close\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          method, target, n_bytes);
    if (length < 0 || (size_t)length >= sizeof request) {
        return md_fail(err, MD_LIMIT, "a request of %d bytes", length);
    }
    int64_t until_ms =
        md_clock_monotonic_us() / 1000 + (n_bytes > 0 ? LONG_TIMEOUT_MS : TIMEOUT_MS);
    if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        return md_fail_os(err, errno, "send the request");
    }
    MD_TRY(send_all(fd, bytes, n_bytes, until_ms, err));
    MD_AUTO(md_freep) char *text = NULL;
    size_t n = 0;
    MD_TRY(read_all(fd, until_ms, &text, &n, err));
    return parse(text, n, ret_answer, err);
}

static md_status ask(const char *socket_path, const char *method, const char *target,
                     const void *bytes, size_t n_bytes, md_ctl_answer *ret_answer,
                     md_error *err)
{
    int fd = -1;
    MD_TRY(connect_to(socket_path, &fd, err));
    md_status status = exchange(fd, method, target, bytes, n_bytes, ret_answer, err);
    close(fd);
    return status;
}

md_status md_ctl_request(const char *socket_path, const char *method, const char *target,
                         md_ctl_answer *ret_answer, md_error *err)
{
    return ask(socket_path, method, target, NULL, 0, ret_answer, err);
}

md_status md_ctl_send(const char *socket_path, const char *target, const void *bytes,
                      size_t n_bytes, md_ctl_answer *ret_answer, md_error *err)
{
    return ask(socket_path, "POST", target, bytes, n_bytes, ret_answer, err);
}
