#include "dicom/network/wire.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/pdu.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    US_PER_S = 1000000,
    US_PER_MS = 1000,
    NEAR_BYTES = 128, /* of reading ahead: a few heads */
};

md_status md_wire_prepare(int fd, md_error *err)
{
    int on = 1, flags = fcntl(fd, F_GETFL), descriptor_flags = fcntl(fd, F_GETFD);
    if (flags < 0 || descriptor_flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, descriptor_flags | FD_CLOEXEC) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0) {
        return md_fail_os(err, errno, "socket options");
    }
    return MD_OK;
}

md_status md_wire_init(md_wire *wire, int fd, unsigned timeout_s, md_error *err)
{
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
    wire->timeout_us = (int64_t)timeout_s * US_PER_S;
    MD_TRY(md_wire_prepare(fd, err));
    wire->buffer = md_malloc(MD_WIRE_BUFFER_BYTES);
    if (wire->buffer == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a connection");
    }
    wire->fd = fd;
    wire->ahead_bytes = MD_WIRE_BUFFER_BYTES;
    md_wire_begin(wire);
    return MD_OK;
}

void md_wire_finish(md_wire *wire)
{
    md_tls_session_destroy(wire->tls);
    wire->tls = NULL;
    if (wire->fd >= 0) {
        close(wire->fd);
    }
    wire->fd = -1;
    md_free(wire->buffer);
    wire->buffer = NULL;
}

void md_wire_begin(md_wire *wire)
{
    wire->deadline_us = md_clock_monotonic_us() + wire->timeout_us;
}

/* n bytes have passed: the deadline moves on. */
static void credit(md_wire *wire, size_t n)
{
    int64_t latest = md_clock_monotonic_us() + wire->timeout_us;
    wire->deadline_us += (int64_t)n * US_PER_S / MD_WIRE_MIN_BYTES_PER_S;
    if (wire->deadline_us > latest) {
        wire->deadline_us = latest;
    }
}

static md_status wait_for(int fd, short events, int64_t until_us, int wake_fd, md_error *err)
{
    for (;;) {
        struct pollfd waiting[2] = {{fd, events, 0}, {wake_fd, POLLIN, 0}};
        int64_t left_us = until_us - md_clock_monotonic_us();
        int64_t left_ms = left_us <= 0 ? 0 : (left_us + US_PER_MS - 1) / US_PER_MS;
        int n = poll(waiting, 2, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (n < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "wait for the network");
        }
        if (n > 0 && waiting[0].revents != 0) {
            return MD_OK; /* an error or a hang-up shows at the read or write that follows */
        }
        if (n > 0 && waiting[1].revents != 0) {
            return md_fail(err, MD_CANCELLED, "stopping");
        }
        if (n == 0 && left_us <= 0) {
            return md_fail(err, MD_TIMEOUT, "the peer did not answer in time");
        }
    }
}

md_status md_wire_wait(md_wire *wire, int64_t until_us, int wake_fd, md_error *err)
{
    if (wire->begin < wire->end || (wire->tls != NULL && md_tls_has_pending(wire->tls))) {
        return MD_OK;
    }
    return wait_for(wire->fd, POLLIN, until_us, wake_fd, err);
}

static md_status fail_network(int os_errno, const char *action, md_error *err)
{
    (void)md_fail_os(err, os_errno, "%s", action);
    if (err != NULL) {
        err->status = MD_NETWORK;
    }
    return MD_NETWORK;
}

/* A TLS call could not go on: wait for what it wants, or pass its error on. */
static md_status wait_for_tls(const md_wire *wire, md_tls_progress progress, md_error *err)
{
    if (progress == MD_TLS_CLOSED || progress == MD_TLS_FAILED) {
        return MD_NETWORK;
    }
    short events = progress == MD_TLS_WANTS_WRITE ? POLLOUT : POLLIN;
    return wait_for(wire->fd, events, wire->deadline_us, -1, err);
}

/* One try; *ret_n stays 0 when it was in vain and waited for the next. */
static md_status try_receive(md_wire *wire, uint8_t *to, size_t capacity, size_t *ret_n,
                             md_error *err)
{
    if (wire->tls != NULL) {
        md_tls_progress progress = md_tls_read(wire->tls, to, capacity, ret_n, err);
        return progress == MD_TLS_DONE ? MD_OK : wait_for_tls(wire, progress, err);
    }
    ssize_t n = recv(wire->fd, to, capacity, 0);
    if (n == 0) {
        return md_fail(err, MD_NETWORK, "the peer closed the connection");
    }
    if (n < 0 && errno == EAGAIN) {
        return wait_for(wire->fd, POLLIN, wire->deadline_us, -1, err);
    }
    if (n < 0 && errno != EINTR) {
        return fail_network(errno, "receive from the peer", err);
    }
    *ret_n = n > 0 ? (size_t)n : 0;
    return MD_OK;
}

static md_status receive(md_wire *wire, uint8_t *to, size_t capacity, size_t *ret_n,
                         md_error *err)
{
    size_t n = 0;
    while (n == 0) {
        MD_TRY(try_receive(wire, to, capacity, &n, err));
    }
    *ret_n = n;
    credit(wire, n);
    return MD_OK;
}

void md_wire_read_ahead(md_wire *wire, bool far)
{
    wire->ahead_bytes = far ? MD_WIRE_BUFFER_BYTES : NEAR_BYTES;
}

md_status md_wire_take(md_wire *wire, size_t max_bytes, const uint8_t **ret_bytes,
                       size_t *ret_n, md_error *err)
{
    if (wire->begin == wire->end) {
        wire->begin = 0;
        wire->end = 0;
        MD_TRY(receive(wire, wire->buffer, wire->ahead_bytes, &wire->end, err));
    }
    size_t have = wire->end - wire->begin;
    size_t n = have < max_bytes ? have : max_bytes;
    *ret_bytes = wire->buffer + wire->begin;
    *ret_n = n;
    wire->begin += n;
    return MD_OK;
}

md_status md_wire_take_into(md_wire *wire, uint8_t *to, size_t max_bytes, size_t *ret_n,
                            md_error *err)
{
    if (wire->begin == wire->end && max_bytes > wire->ahead_bytes) {
        return receive(wire, to, max_bytes, ret_n, err);
    }
    const uint8_t *bytes = NULL;
    size_t n = 0;
    MD_TRY(md_wire_take(wire, max_bytes, &bytes, &n, err));
    memcpy(to, bytes, n);
    *ret_n = n;
    return MD_OK;
}

md_status md_wire_read(md_wire *wire, void *ret_bytes, size_t n, md_error *err)
{
    uint8_t *to = ret_bytes;
    while (n > 0) {
        const uint8_t *bytes = NULL;
        size_t got = 0;
        MD_TRY(md_wire_take(wire, n, &bytes, &got, err));
        memcpy(to, bytes, got);
        to += got;
        n -= got;
    }
    return MD_OK;
}

/* As try_receive. */
static md_status try_send(md_wire *wire, const uint8_t *from, size_t n, size_t *ret_n,
                          md_error *err)
{
    if (wire->tls != NULL) {
        md_tls_progress progress = md_tls_write(wire->tls, from, n, ret_n, err);
        return progress == MD_TLS_DONE ? MD_OK : wait_for_tls(wire, progress, err);
    }
    ssize_t sent = send(wire->fd, from, n, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
        return wait_for(wire->fd, POLLOUT, wire->deadline_us, -1, err);
    }
    if (sent < 0 && errno != EINTR) {
        return fail_network(errno, "send to the peer", err);
    }
    *ret_n = sent > 0 ? (size_t)sent : 0;
    return MD_OK;
}

md_status md_wire_write(md_wire *wire, const void *bytes, size_t n, md_error *err)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        size_t sent = 0;
        MD_TRY(try_send(wire, from, n, &sent, err));
        from += sent;
        n -= sent;
        credit(wire, sent);
    }
    return MD_OK;
}

/* Head and body of a PDU go out in one write. */
enum {
    PDV_BODY_BYTES = 16 * 1024
};

/* One message part in as many PDUs as it needs; `flags` is MD_PDV_COMMAND or 0. */
static md_status write_part(md_wire *wire, uint8_t context_id, unsigned flags,
                            const uint8_t *bytes, size_t n, uint32_t max_pdu_bytes,
                            md_error *err)
{
    uint8_t pdu[MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES + PDV_BODY_BYTES];
    size_t room = PDV_BODY_BYTES;
    if (max_pdu_bytes != 0 && max_pdu_bytes < room + MD_PDV_HEADER_BYTES) {
        room = max_pdu_bytes - MD_PDV_HEADER_BYTES;
    }
    room -= room % 2; /* fragments are of even length: PS3.8 annex F */
    do {
        size_t part = n < room ? n : room;
        pdu[0] = MD_PDU_DATA;
        pdu[1] = 0;
        md_put_be32(pdu + 2, (uint32_t)(part + MD_PDV_HEADER_BYTES));
        md_put_be32(pdu + 6, (uint32_t)(part + 2));
        pdu[10] = context_id;
        pdu[11] = (uint8_t)(flags | (part == n ? MD_PDV_LAST : 0));
        memcpy(pdu + 12, bytes, part);
        MD_TRY(md_wire_write(wire, pdu, part + 12, err));
        bytes += part;
        n -= part;
    } while (n > 0);
    return MD_OK;
}

md_status md_wire_write_command(md_wire *wire, uint8_t context_id, const uint8_t *bytes,
                                size_t n, uint32_t max_pdu_bytes, md_error *err)
{
    return write_part(wire, context_id, MD_PDV_COMMAND, bytes, n, max_pdu_bytes, err);
}

md_status md_wire_write_dataset(md_wire *wire, uint8_t context_id, const uint8_t *bytes,
                                size_t n, uint32_t max_pdu_bytes, md_error *err)
{
    return write_part(wire, context_id, 0, bytes, n, max_pdu_bytes, err);
}

void md_wire_linger(md_wire *wire, unsigned linger_ms)
{
    int64_t until_us = md_clock_monotonic_us() + (int64_t)linger_ms * US_PER_MS;
    if (wire->tls != NULL) {
        md_tls_close(wire->tls);
    }
    if (wire->fd >= 0 && shutdown(wire->fd, SHUT_WR) == 0) {
        while (md_clock_monotonic_us() < until_us &&
               wait_for(wire->fd, POLLIN, until_us, -1, NULL) == MD_OK) {
            ssize_t n = recv(wire->fd, wire->buffer, MD_WIRE_BUFFER_BYTES, 0);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                break;
            }
        }
    }
}

/* Connect one address; the socket is returned only when it works. */
static md_status connect_address(const struct addrinfo *address, int64_t deadline_us,
                                 int *ret_fd, md_error *err)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->ai_protocol);
    if (fd < 0) {
        return md_fail_os(err, errno, "open a socket");
    }
    int os_errno = 0;
    md_status status = MD_OK;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        os_errno = errno;
    }
    if (os_errno == EINPROGRESS || os_errno == EINTR) {
        socklen_t size = sizeof os_errno;
        status = wait_for(fd, POLLOUT, deadline_us, -1, err);
        if (status == MD_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &os_errno, &size) != 0) {
            os_errno = errno;
        }
    }
    if (status == MD_OK && os_errno != 0) {
        (void)md_fail_os(err, os_errno, "connect");
        status = MD_NETWORK;
        if (err != NULL) {
            err->status = status;
        }
    }
    if (status != MD_OK) {
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return MD_OK;
}

md_status md_wire_connect(md_wire *wire, const char *host, uint16_t port, unsigned timeout_s,
                          md_error *err)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int result = getaddrinfo(host, service, &hints, &addresses);
    if (result != 0) {
        return md_fail(err, MD_NETWORK, "host %s: %s", host, gai_strerror(result));
    }
    int64_t deadline_us = md_clock_monotonic_us() + (int64_t)timeout_s * US_PER_S;
    md_status status = MD_NETWORK;
    int fd = -1;
    for (struct addrinfo *each = addresses; each != NULL; each = each->ai_next) {
        status = connect_address(each, deadline_us, &fd, err);
        if (status == MD_OK || status == MD_TIMEOUT) {
            break;
        }
    }
    freeaddrinfo(addresses);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "host %s port %u", host, (unsigned)port);
    }
    status = md_wire_init(wire, fd, timeout_s, err);
    if (status != MD_OK) {
        close(fd);
    }
    return status;
}

md_status md_wire_secure(md_wire *wire, const md_tls *tls, const char *host, md_error *err)
{
    md_status status = md_tls_session_create(tls, wire->fd, host, &wire->tls, err);
    md_wire_begin(wire);
    while (status == MD_OK) {
        md_tls_progress progress = md_tls_handshake(wire->tls, err);
        if (progress == MD_TLS_DONE) {
            return MD_OK;
        }
        status = wait_for_tls(wire, progress, err);
    }
    md_wire_finish(wire);
    return status;
}
