#include "dicom/network/gate.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/pdu.h"
#include "dicom/network/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096, /* a smaller one makes simultaneous clients wait for TCP's retransmission */
    N_EVENTS = MD_GATE_MAX_PENDING + 2, /* all at once, so that the newest is among them */
    N_ACCEPTS = 64,
    N_HANDSHAKE_STEPS = 4, /* of a round; one that signs takes about a millisecond */
    FIRST_BUFFER_BYTES = 4096,
    US_PER_S = 1000000,
    PAUSE_MS = 50,
    TLS_HANDSHAKE_RECORD = 0x16, /* RFC 8446 section 5.1 */
};

/* A connection that has not asked yet; a list in the order of their deadlines. */
typedef struct pending {
    md_gate_client client; /* request grows as bytes come; tls is made with the first byte */
    bool is_secured;       /* the TLS handshake is done */
    bool is_ready;         /* it has something for its handshake */
    uint32_t events;       /* that epoll looks for */
    uint8_t header[MD_PDU_HEADER_BYTES];
    size_t used_bytes;     /* header and request */
    size_t capacity_bytes; /* of client.request */
    int64_t deadline_us;
    struct pending *older, *newer;
} pending;

typedef struct gate_state {
    const md_gate *gate;
    int epoll_fd;
    pending *oldest, *newest;
    unsigned n_pending;
    size_t buffered_bytes;
} gate_state;

static void tell(const gate_state *now, const char *event, const char *peer_address,
                 const char *detail)
{
    if (now->gate->on_event != NULL) {
        now->gate->on_event(now->gate->event_context, event, peer_address, detail);
    }
}

/* Take it out of the list and forget it; its socket and request live on elsewhere, or not. */
static void forget(gate_state *now, pending *each, bool close_it)
{
    *(each->older != NULL ? &each->older->newer : &now->oldest) = each->newer;
    *(each->newer != NULL ? &each->newer->older : &now->newest) = each->older;
    now->n_pending--;
    now->buffered_bytes -= each->capacity_bytes;
    now->buffered_bytes -= each->client.tls != NULL ? MD_GATE_TLS_BYTES : 0;
    if (close_it) {
        md_tls_session_destroy(each->client.tls);
        close(each->client.fd);
        md_free(each->client.request);
    }
    md_free(each);
}

static void turn_away_as(gate_state *now, pending *each, const char *event, const char *detail)
{
    tell(now, event, each->client.peer_address, detail);
    forget(now, each, true);
}

static void turn_away(gate_state *now, pending *each, const char *detail)
{
    turn_away_as(now, each, "connection_refused", detail);
}

static void format_address(const struct sockaddr_storage *address, char *ret_text)
{
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, address, sizeof in4);
        (void)inet_ntop(AF_INET, &in4.sin_addr, text, sizeof text);
        port = ntohs(in4.sin_port);
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        port = ntohs(in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            (void)inet_ntop(AF_INET, &in6.sin6_addr.s6_addr[12], text, sizeof text);
        } else {
            (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
        }
    }
    snprintf(ret_text, MD_PEER_ADDRESS_BYTES, "%s:%u", text, port);
}

static void add_client(gate_state *now, int fd, const struct sockaddr_storage *address)
{
    if (now->n_pending >= MD_GATE_MAX_PENDING) {
        turn_away(now, now->oldest, "too many connections that ask for nothing");
    }
    pending *each = md_calloc(1, sizeof *each);
    if (each == NULL) {
        close(fd);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = each};
    if (md_wire_prepare(fd, NULL) != MD_OK ||
        epoll_ctl(now->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        md_free(each);
        return;
    }
    each->client.fd = fd;
    each->events = EPOLLIN;
    format_address(address, each->client.peer_address);
    each->deadline_us = md_clock_monotonic_us() + (int64_t)now->gate->timeout_s * US_PER_S;
    each->older = now->newest;
    *(now->newest != NULL ? &now->newest->newer : &now->oldest) = each;
    now->newest = each;
    now->n_pending++;
}

static void accept_clients(gate_state *now)
{
    for (int i = 0; i < N_ACCEPTS; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        memset(&address, 0, sizeof address);
        int fd = accept4(now->gate->listen_fd, (struct sockaddr *)&address, &size,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            add_client(now, fd, &address);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            tell(now, "accept_failed", "", "no free file descriptor or memory");
            if (now->oldest != NULL) {
                turn_away(now, now->oldest, "its file descriptor is needed");
            }
            usleep(PAUSE_MS * 1000);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED) {
            return; /* EAGAIN; network errors of the new socket are the client's */
        }
    }
}

/* What a first byte that is no A-ASSOCIATE-RQ says about the client. */
static const char *guess_protocol(const uint8_t *bytes, size_t n)
{
    static const char *const methods[] = {"GET ", "HEAD", "POST", "PUT ", "DELE",
                                          "OPTI", "CONN", "PATC", "PRI "};
    if (n >= 2 && bytes[0] == TLS_HANDSHAKE_RECORD && bytes[1] == 3) {
        return "a TLS hello on the port without TLS";
    }
    for (size_t i = 0; n >= 4 && i < sizeof methods / sizeof methods[0]; i++) {
        if (memcmp(bytes, methods[i], 4) == 0) {
            return "an HTTP request on the DICOM port";
        }
    }
    return "not DICOM";
}

/* Answer and close; the answer is so short that the socket's buffer has room for it. */
static void answer_and_turn_away(gate_state *now, pending *each,
                                 const uint8_t bytes[MD_PDU_SHORT_BYTES], const char *event,
                                 const char *detail)
{
    if (each->client.tls != NULL) {
        size_t n = 0;
        if (md_tls_write(each->client.tls, bytes, MD_PDU_SHORT_BYTES, &n, NULL) ==
            MD_TLS_DONE) {
            md_tls_close(each->client.tls);
        }
    } else {
        (void)!send(each->client.fd, bytes, MD_PDU_SHORT_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    tell(now, event, each->client.peer_address, detail);
    forget(now, each, true);
}

static void abort_client(gate_state *now, pending *each, md_abort abort, const char *detail)
{
    uint8_t bytes[MD_PDU_SHORT_BYTES];
    md_pdu_write_abort(abort, bytes);
    answer_and_turn_away(now, each, bytes, "connection_refused", detail);
}

/* The whole request is there. */
static void hand_over(gate_state *now, pending *each)
{
    (void)epoll_ctl(now->epoll_fd, EPOLL_CTL_DEL, each->client.fd, NULL);
    if (now->gate->on_client(now->gate->client_context, &each->client)) {
        forget(now, each, false);
        return;
    }
    uint8_t bytes[MD_PDU_SHORT_BYTES];
    md_pdu_write_reject(MD_REJECT_LOCAL_LIMIT, bytes);
    answer_and_turn_away(now, each, bytes, "association_rejected",
                         "local limit exceeded: all associations are in use");
}

/* Check the header when it is complete, and make room for what comes next. False: turned away.
 */
static bool make_room(gate_state *now, pending *each)
{
    if (each->used_bytes > 0 && each->header[0] != MD_PDU_ASSOCIATE_RQ) {
        if (each->used_bytes < 4) {
            return true; /* wait for enough to say what it is */
        }
        abort_client(now, each, MD_ABORT_UNRECOGNISED_PDU,
                     guess_protocol(each->header, each->used_bytes));
        return false;
    }
    if (each->used_bytes < MD_PDU_HEADER_BYTES) {
        return true;
    }
    uint32_t length = md_get_be32(each->header + 2);
    if (length == 0 || length > MD_PDU_ASSOCIATE_MAX_BYTES) {
        char detail[96];
        snprintf(detail, sizeof detail, "an association request that claims %lu bytes",
                 (unsigned long)length);
        abort_client(now, each, MD_ABORT_INVALID_PARAMETER, detail);
        return false;
    }
    each->client.request_bytes = length;
    size_t have = each->used_bytes - MD_PDU_HEADER_BYTES;
    if (have < each->capacity_bytes || have == length) {
        return true;
    }
    size_t capacity = each->capacity_bytes == 0 ? FIRST_BUFFER_BYTES : 2 * each->capacity_bytes;
    capacity = capacity < length ? capacity : length;
    size_t more = capacity - each->capacity_bytes;
    while (now->buffered_bytes + more > MD_GATE_MAX_BUFFERED_BYTES && now->oldest != each) {
        turn_away(now, now->oldest, "too many unfinished association requests");
    }
    uint8_t *request = md_realloc(each->client.request, capacity);
    if (request == NULL) {
        turn_away(now, each, "no memory for its association request");
        return false;
    }
    each->client.request = request;
    each->capacity_bytes = capacity;
    now->buffered_bytes += more;
    return true;
}

/* Have epoll look for what the client's TLS wants next. */
static void watch_for(gate_state *now, pending *each, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = each};
    if (events != each->events &&
        epoll_ctl(now->epoll_fd, EPOLL_CTL_MOD, each->client.fd, &event) == 0) {
        each->events = events;
    }
}

static void close_quietly(gate_state *now, pending *each)
{
    bool is_silent = each->used_bytes == 0;
    tell(now, is_silent ? "connection_probed" : "connection_refused", each->client.peer_address,
         is_silent ? "closed without a word" : "closed within its association request");
    forget(now, each, true);
}

/* The first byte on the TLS port: only a TLS hello gets a session. False: turned away, or it is
 * not there after all. */
static bool begin_tls(gate_state *now, pending *each)
{
    uint8_t first[4] = {0};
    md_error err = {0};
    ssize_t n = recv(each->client.fd, first, sizeof first, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n <= 0) {
        close_quietly(now, each);
        return false;
    }
    if (first[0] == MD_PDU_ASSOCIATE_RQ) {
        uint8_t bytes[MD_PDU_SHORT_BYTES];
        md_pdu_write_abort(MD_ABORT_UNSPECIFIED, bytes);
        answer_and_turn_away(now, each, bytes, "tls_failed",
                             "an association without TLS on the port with TLS");
        return false;
    }
    if (first[0] != TLS_HANDSHAKE_RECORD) {
        turn_away(now, each, guess_protocol(first, (size_t)n));
        return false;
    }
    while (now->buffered_bytes + MD_GATE_TLS_BYTES > MD_GATE_MAX_BUFFERED_BYTES &&
           now->oldest != each) {
        turn_away(now, now->oldest, "too many unfinished TLS handshakes");
    }
    if (md_tls_session_create(now->gate->tls_now(now->gate->client_context), each->client.fd,
                              NULL, &each->client.tls, &err) != MD_OK) {
        turn_away(now, each, err.msg);
        return false;
    }
    now->buffered_bytes += MD_GATE_TLS_BYTES;
    return true;
}

/* One step of the handshake. False: it is not done yet, or the client is turned away. */
static bool secure(gate_state *now, pending *each)
{
    md_error err = {0};
    if (each->client.tls == NULL && !begin_tls(now, each)) {
        return false;
    }
    switch (md_tls_handshake(each->client.tls, &err)) {
    case MD_TLS_DONE:
        each->is_secured = true;
        watch_for(now, each, EPOLLIN);
        return true;
    case MD_TLS_WANTS_READ:
        watch_for(now, each, EPOLLIN);
        return false;
    case MD_TLS_WANTS_WRITE:
        watch_for(now, each, EPOLLOUT);
        return false;
    case MD_TLS_CLOSED:
        turn_away(now, each, "closed within the TLS handshake");
        return false;
    case MD_TLS_FAILED:
        break;
    }
    turn_away_as(now, each, "tls_failed", err.msg);
    return false;
}

/* Some bytes; false: none now, or the client is gone. */
static bool receive(gate_state *now, pending *each, uint8_t *to, size_t wanted, size_t *ret_n)
{
    if (each->client.tls != NULL) {
        md_error err = {0};
        md_tls_progress progress = md_tls_read(each->client.tls, to, wanted, ret_n, &err);
        if (progress == MD_TLS_CLOSED) {
            close_quietly(now, each);
        } else if (progress == MD_TLS_FAILED) {
            turn_away(now, each, err.msg);
        } else if (progress != MD_TLS_DONE) {
            watch_for(now, each, progress == MD_TLS_WANTS_WRITE ? EPOLLOUT : EPOLLIN);
        }
        return progress == MD_TLS_DONE;
    }
    ssize_t n = 0;
    do {
        n = recv(each->client.fd, to, wanted, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        close_quietly(now, each);
        return false;
    }
    *ret_n = (size_t)n;
    return true;
}

/* Read what is there, but nothing beyond the request. */
static void read_client(gate_state *now, pending *each)
{
    if (now->gate->has_tls && !each->is_secured && !secure(now, each)) {
        return;
    }
    for (;;) {
        uint8_t *to = each->header + each->used_bytes;
        size_t wanted = MD_PDU_HEADER_BYTES - each->used_bytes;
        size_t n = 0;
        if (each->used_bytes >= MD_PDU_HEADER_BYTES) {
            size_t have = each->used_bytes - MD_PDU_HEADER_BYTES;
            to = each->client.request + have;
            wanted = each->capacity_bytes - have;
        }
        if (!receive(now, each, to, wanted, &n)) {
            return;
        }
        each->used_bytes += n;
        if (!make_room(now, each)) {
            return;
        }
        if (each->used_bytes >= MD_PDU_HEADER_BYTES &&
            each->used_bytes - MD_PDU_HEADER_BYTES == each->client.request_bytes) {
            hand_over(now, each);
            return;
        }
    }
}

/* Close those whose time is over; returns how long epoll may wait. */
static int expire(gate_state *now)
{
    while (now->oldest != NULL) {
        int64_t left_us = now->oldest->deadline_us - md_clock_monotonic_us();
        if (left_us > 0) {
            int64_t left_ms = left_us / 1000 + 1;
            return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
        }
        char detail[96];
        bool in_handshake = now->gate->has_tls && !now->oldest->is_secured;
        snprintf(detail, sizeof detail, "no %s within %u s (%zu bytes came)",
                 in_handshake ? "TLS handshake" : "association request", now->gate->timeout_s,
                 now->oldest->used_bytes);
        turn_away(now, now->oldest, detail);
    }
    return -1;
}

static md_status watch(gate_state *now, int fd, md_error *err)
{
    /* the addresses of these two fields tell the events apart from clients */
    const int *which = fd == now->gate->stop_fd ? &now->gate->stop_fd : &now->gate->listen_fd;
    struct epoll_event event = {.events = EPOLLIN};
    memcpy(&event.data.ptr, &which, sizeof which);
    if (epoll_ctl(now->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return md_fail_os(err, errno, "watch the listening socket");
    }
    return MD_OK;
}

/* True while an event of this round still belongs to a live client: one event's work may turn
 * others away. */
static bool is_pending(const gate_state *now, const void *candidate)
{
    for (const pending *each = now->newest; each != NULL; each = each->older) {
        if (each == candidate) {
            return true;
        }
    }
    return false;
}

/* Go on with a few handshakes, the newest first: in a flood of those that ask for our signature
 * and then stay away, who comes now does not wait behind all that came before. The others are
 * still readable and thus in the next round. */
static void step_handshakes(gate_state *now)
{
    for (int i = 0; i < N_HANDSHAKE_STEPS; i++) {
        pending *each = now->newest;
        while (each != NULL && !each->is_ready) {
            each = each->older;
        }
        if (each == NULL) {
            return;
        }
        each->is_ready = false;
        read_client(now, each);
    }
}

static md_status loop(gate_state *now, md_error *err)
{
    MD_TRY(watch(now, now->gate->listen_fd, err));
    MD_TRY(watch(now, now->gate->stop_fd, err));
    for (;;) {
        struct epoll_event events[N_EVENTS];
        bool accepting = false;
        int n = epoll_wait(now->epoll_fd, events, N_EVENTS, expire(now));
        if (n < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "wait for connections");
        }
        for (int i = 0; i < n; i++) {
            void *which = events[i].data.ptr;
            if (which == (const void *)&now->gate->stop_fd) {
                return MD_OK;
            }
            if (which == (const void *)&now->gate->listen_fd) {
                accepting = true;
            } else if (is_pending(now, which)) {
                pending *each = which;
                if (now->gate->has_tls && !each->is_secured) {
                    each->is_ready = true;
                } else {
                    read_client(now, each);
                }
            }
        }
        step_handshakes(now);
        /* last, so that a new client cannot be taken for an old one of this round */
        if (accepting) {
            accept_clients(now);
        }
    }
}

md_status md_gate_run(const md_gate *gate, md_error *err)
{
    gate_state now = {.gate = gate};
    now.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (now.epoll_fd < 0) {
        return md_fail_os(err, errno, "epoll");
    }
    md_status status = loop(&now, err);
    while (now.oldest != NULL) {
        forget(&now, now.oldest, true);
    }
    close(now.epoll_fd);
    return status;
}

static md_status bind_at(const struct addrinfo *address, int *ret_fd, md_error *err)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return md_fail_os(err, errno, "open a socket");
    }
    int on = 1, off = 0;
    bool good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (address->ai_family == AF_INET6) {
        good = good && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    }
    good = good && bind(fd, address->ai_addr, address->ai_addrlen) == 0;
    if (!good) {
        int os_errno = errno;
        close(fd);
        (void)md_fail_os(err, os_errno, "bind");
        if (err != NULL) {
            err->status = MD_NETWORK;
        }
        return MD_NETWORK;
    }
    *ret_fd = fd;
    return MD_OK;
}

md_status md_gate_bind(const char *bind_address, uint16_t port, int *ret_fd, md_error *err)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | AI_PASSIVE};
    struct addrinfo *addresses = NULL;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int result = getaddrinfo(bind_address, service, &hints, &addresses);
    if (result != 0) {
        return md_fail(err, MD_INVALID_ARG, "bind address %s: %s",
                       bind_address == NULL ? "(all)" : bind_address, gai_strerror(result));
    }
    md_status status = MD_NETWORK;
    /* for "all" the IPv6 socket serves both families; only without IPv6 the other is tried */
    for (int pass = 0; pass < 2 && status != MD_OK; pass++) {
        for (struct addrinfo *at = addresses; at != NULL && status != MD_OK; at = at->ai_next) {
            if ((at->ai_family == AF_INET6) == (pass == 0)) {
                status = bind_at(at, ret_fd, err);
            }
        }
    }
    freeaddrinfo(addresses);
    return status == MD_OK ? MD_OK : md_error_prefix(err, status, "port %u", (unsigned)port);
}

md_status md_gate_listen(int fd, uint16_t *ret_port, md_error *err)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    memset(&bound, 0, sizeof bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) {
        return md_fail_os(err, errno, "the listening socket");
    }
    struct sockaddr_in in4; /* the port is at the same place in both families */
    memcpy(&in4, &bound, sizeof in4);
    *ret_port = ntohs(in4.sin_port);
    if (listen(fd, BACKLOG) != 0) {
        (void)md_fail_os(err, errno, "listen");
        if (err != NULL) {
            err->status = MD_NETWORK;
        }
        return md_error_prefix(err, MD_NETWORK, "port %u", (unsigned)*ret_port);
    }
    return MD_OK;
}
