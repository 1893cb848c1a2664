#include "dicom/network/scu.h"

#include <string.h>

/* Copy n characters into a field of `capacity` bytes; false when they do not fit. */
static bool copy(const char *text, size_t n, char *ret_field, size_t capacity)
{
    if (n >= capacity) {
        return false;
    }
    memcpy(ret_field, text, n);
    ret_field[n] = '\0';
    return true;
}

static md_status parse_ae(const char *text, size_t n, md_peer *peer, md_error *err)
{
    if (n == 0 || n >= sizeof peer->ae_title) {
        return md_fail(err, MD_INVALID_ARG,
                       "AE@HOST:PORT: the AE title has %zu characters, 1 to 16 are allowed", n);
    }
    bool is_blank = true;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e || text[i] == '\\') {
            return md_fail(err, MD_INVALID_ARG,
                           "AE@HOST:PORT: an AE title has printable ASCII without backslash");
        }
        is_blank = is_blank && text[i] == ' ';
    }
    if (is_blank || !copy(text, n, peer->ae_title, sizeof peer->ae_title)) {
        return md_fail(err, MD_INVALID_ARG, "AE@HOST:PORT: the AE title is blank");
    }
    return MD_OK;
}

static md_status parse_port(const char *text, md_peer *peer, md_error *err)
{
    unsigned port = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n && n <= 5; i++) {
        if (text[i] < '0' || text[i] > '9') {
            port = 0;
            break;
        }
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    if (port == 0 || port > UINT16_MAX) {
        return md_fail(err, MD_INVALID_ARG, "AE@HOST:PORT: the port must be in 1..65535");
    }
    peer->port = (uint16_t)port;
    return MD_OK;
}

md_status md_peer_parse(const char *text, md_peer *ret_peer, md_error *err)
{
    md_peer peer = *ret_peer;
    /* an AE title may hold '@', a host may not */
    const char *at = strrchr(text, '@');
    if (at == NULL) {
        return md_fail(err, MD_INVALID_ARG, "AE@HOST:PORT: there is no '@'");
    }
    MD_TRY(parse_ae(text, (size_t)(at - text), &peer, err));
    const char *host = at + 1;
    const char *host_end = strrchr(host, ':');
    const char *port = host_end != NULL ? host_end + 1 : "";
    if (host[0] == '[') {
        const char *bracket = strchr(host, ']');
        if (bracket == NULL || bracket[1] != ':') {
            return md_fail(err, MD_INVALID_ARG, "AE@[IPv6]:PORT: no ']:' after the address");
        }
        host++;
        host_end = bracket;
        port = bracket + 2;
    } else if (host_end == NULL) {
        return md_fail(err, MD_INVALID_ARG, "AE@HOST:PORT: there is no ':' before the port");
    } else if (memchr(host, ':', (size_t)(host_end - host)) != NULL) {
        return md_fail(err, MD_INVALID_ARG, "an IPv6 address needs brackets: AE@[IPv6]:PORT");
    }
    size_t n = (size_t)(host_end - host);
    for (size_t i = 0; i < n; i++) {
        if (host[i] <= 0x20 || host[i] > 0x7e) {
            return md_fail(err, MD_INVALID_ARG,
                           "AE@HOST:PORT: the host has a character that "
                           "no host name has");
        }
    }
    if (n == 0 || !copy(host, n, peer.host, sizeof peer.host)) {
        return md_fail(err, MD_INVALID_ARG,
                       "AE@HOST:PORT: the host has %zu characters, 1 to 255 are allowed", n);
    }
    MD_TRY(parse_port(port, &peer, err));
    *ret_peer = peer;
    return MD_OK;
}
