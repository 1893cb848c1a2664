#include "daemon/audit/syslog.h"

#include "dicom/network/wire.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    TIMEOUT_S = 5,
    UDP_PORT = 514,  /* RFC 5426 section 3.3 */
    TLS_PORT = 6514, /* RFC 5425 section 4.1 */
};

struct md_syslog {
    md_conf_audit_to to;
    char socket_path[sizeof((struct sockaddr_un *)0)->sun_path];
    char host[256];
    uint16_t port;
    md_conf_tls files;
    int fd;       /* of a datagram socket; -1: closed */
    md_wire wire; /* of TLS; fd -1: closed */
};

md_status md_syslog_create(const md_conf *conf, md_syslog **ret_syslog, md_error *err)
{
    if (conf->audit.to == MD_CONF_AUDIT_OFF) {
        return md_fail(err, MD_INVALID_ARG, "audit is off");
    }
    md_syslog *made = md_calloc(1, sizeof *made);
    if (made == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the audit trail");
    }
    made->to = conf->audit.to;
    snprintf(made->socket_path, sizeof made->socket_path, "%s", conf->audit.socket);
    snprintf(made->host, sizeof made->host, "%s", conf->audit.host);
    made->port = conf->audit.port != 0                 ? conf->audit.port
                 : conf->audit.to == MD_CONF_AUDIT_TLS ? TLS_PORT
                                                       : UDP_PORT;
    made->files = conf->audit.tls;
    made->fd = -1;
    made->wire.fd = -1;
    *ret_syslog = made;
    return MD_OK;
}

static void close_all(md_syslog *syslog)
{
    if (syslog->fd >= 0) {
        close(syslog->fd);
        syslog->fd = -1;
    }
    if (syslog->wire.tls != NULL) {
        md_tls_close(syslog->wire.tls);
    }
    md_wire_finish(&syslog->wire);
    syslog->wire = (md_wire){.fd = -1};
}

void md_syslog_destroy(md_syslog *syslog)
{
    if (syslog != NULL) {
        close_all(syslog);
        md_free(syslog);
    }
}

static md_status open_local(md_syslog *syslog, md_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", syslog->socket_path);
    syslog->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (syslog->fd < 0) {
        return md_fail_os(err, errno, "open a socket");
    }
    if (connect(syslog->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        return md_fail_os(err, errno, "audit.socket %s", syslog->socket_path);
    }
    return MD_OK;
}

static md_status open_udp(md_syslog *syslog, md_error *err)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    snprintf(service, sizeof service, "%u", (unsigned)syslog->port);
    int result = getaddrinfo(syslog->host, service, &hints, &addresses);
    if (result != 0) {
        return md_fail(err, MD_NETWORK, "audit.host %s: %s", syslog->host,
                       gai_strerror(result));
    }
    int os_errno = 0;
    for (struct addrinfo *at = addresses; at != NULL && syslog->fd < 0; at = at->ai_next) {
        syslog->fd =
            socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
        os_errno = errno;
        if (syslog->fd >= 0 && connect(syslog->fd, at->ai_addr, at->ai_addrlen) != 0) {
            os_errno = errno;
            close(syslog->fd);
            syslog->fd = -1;
        }
    }
    freeaddrinfo(addresses);
    return syslog->fd >= 0 ? MD_OK : md_fail_os(err, os_errno, "audit.host %s", syslog->host);
}

static md_status send_datagram(md_syslog *syslog, const char *text, size_t n, md_error *err)
{
    if (syslog->fd < 0) {
        MD_TRY(syslog->to == MD_CONF_AUDIT_LOCAL ? open_local(syslog, err)
                                                 : open_udp(syslog, err));
    }
    ssize_t sent = send(syslog->fd, text, n, MSG_NOSIGNAL);
    if (sent < 0 && syslog->to == MD_CONF_AUDIT_UDP && errno == ECONNREFUSED) {
        /* about an earlier datagram: nobody listened then */
        sent = send(syslog->fd, text, n, MSG_NOSIGNAL);
    }
    if (sent >= 0) {
        return MD_OK;
    }
    int os_errno = errno;
    if (os_errno == EMSGSIZE) {
        return md_fail(err, MD_LIMIT, "an audit message of %zu bytes", n);
    }
    if (os_errno == EAGAIN || os_errno == ENOBUFS) {
        return md_fail(err, MD_BUSY, "the syslog is behind");
    }
    return md_fail_os(err, os_errno, "send an audit message");
}

/* The peer sends nothing but its end. */
static bool has_ended(const md_syslog *syslog)
{
    struct pollfd at = {.fd = syslog->wire.fd, .events = POLLRDHUP};
    return poll(&at, 1, 0) > 0 && (at.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static md_status open_tls(md_syslog *syslog, md_error *err)
{
    const md_tls_options options = {.certificate = syslog->files.certificate,
                                    .private_key = syslog->files.private_key,
                                    .ca = syslog->files.ca};
    md_tls *tls = NULL;
    MD_TRY(md_tls_create_client(&options, &tls, err));
    md_wire wire = {.fd = -1};
    md_status status = md_wire_connect(&wire, syslog->host, syslog->port, TIMEOUT_S, err);
    if (status == MD_OK) {
        status = md_wire_secure(&wire, tls, syslog->host, err);
    }
    md_tls_destroy(tls);
    if (status == MD_OK) {
        syslog->wire = wire;
    }
    return status;
}

static md_status send_tls(md_syslog *syslog, const char *text, size_t n, md_error *err)
{
    char length[24];
    if (syslog->wire.fd >= 0 && has_ended(syslog)) {
        close_all(syslog);
    }
    if (syslog->wire.fd < 0) {
        MD_TRY(open_tls(syslog, err));
    }
    int digits = snprintf(length, sizeof length, "%zu ", n);
    md_wire_begin(&syslog->wire);
    MD_TRY(md_wire_write(&syslog->wire, length, (size_t)digits, err));
    return md_wire_write(&syslog->wire, text, n, err);
}

md_status md_syslog_send(md_syslog *syslog, const char *text, size_t n, md_error *err)
{
    md_status status = syslog->to == MD_CONF_AUDIT_TLS ? send_tls(syslog, text, n, err)
                                                       : send_datagram(syslog, text, n, err);
    if (status != MD_OK && status != MD_LIMIT && status != MD_BUSY) {
        close_all(syslog);
    }
    return status;
}
