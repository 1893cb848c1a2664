#include "dicom/network/callers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct network {
    int family;
    unsigned char bytes[sizeof(struct in6_addr)];
    unsigned n_bits; /* of the prefix */
} network;

static bool parse_address(const char *text, network *ret_network)
{
    memset(ret_network, 0, sizeof *ret_network);
    ret_network->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    ret_network->n_bits = ret_network->family == AF_INET6 ? 128 : 32;
    return inet_pton(ret_network->family, text, ret_network->bytes) == 1;
}

static bool bits_beyond_are_zero(const network *of)
{
    unsigned n_all = of->family == AF_INET6 ? 128 : 32;
    for (unsigned i = of->n_bits; i < n_all; i++) {
        if ((of->bytes[i / 8] & (0x80U >> i % 8)) != 0) {
            return false;
        }
    }
    return true;
}

static bool parse_network(const char *text, network *ret_network)
{
    char address[MD_CALLER_ADDRESS_BYTES];
    size_t n = strcspn(text, "/");
    if (n >= sizeof address) {
        return false;
    }
    memcpy(address, text, n);
    address[n] = '\0';
    if (!parse_address(address, ret_network)) {
        return false;
    }
    if (text[n] == '/') {
        const char *digits = text + n + 1;
        size_t n_digits = strlen(digits);
        if (n_digits == 0 || n_digits > 3 || strspn(digits, "0123456789") != n_digits) {
            return false;
        }
        unsigned long n_bits = strtoul(digits, NULL, 10);
        if (n_bits > ret_network->n_bits) {
            return false;
        }
        ret_network->n_bits = (unsigned)n_bits;
    }
    return bits_beyond_are_zero(ret_network);
}

md_status md_caller_check(const md_caller *caller, md_error *err)
{
    network parsed;
    if (caller->ae_title[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG, "an allowed caller without AE title");
    }
    if (caller->address[0] != '\0' && !parse_network(caller->address, &parsed)) {
        return md_fail(err, MD_INVALID_ARG,
                       "address %s of allowed caller %s: expected an IP address or a network "
                       "such as 192.0.2.0/24",
                       caller->address, caller->ae_title);
    }
    return MD_OK;
}

static bool is_within(const network *peer, const network *of)
{
    if (peer->family != of->family) {
        return false;
    }
    for (unsigned i = 0; i < of->n_bits; i++) {
        if (((peer->bytes[i / 8] ^ of->bytes[i / 8]) & (0x80U >> i % 8)) != 0) {
            return false;
        }
    }
    return true;
}

const char *md_callers_refusal(const md_caller *callers, unsigned n_callers,
                               const char *ae_title, const char *peer_address)
{
    char address[MD_CALLER_ADDRESS_BYTES] = "";
    network peer;
    bool is_known = false;
    const char *port = strrchr(peer_address, ':');
    size_t n = port != NULL ? (size_t)(port - peer_address) : strlen(peer_address);
    if (n < sizeof address) {
        memcpy(address, peer_address, n);
    }
    bool have_peer = parse_address(address, &peer);
    for (unsigned i = 0; i < n_callers; i++) {
        network allowed;
        if (strcmp(callers[i].ae_title, ae_title) != 0) {
            continue;
        }
        is_known = true;
        if (callers[i].address[0] == '\0' ||
            (have_peer && parse_network(callers[i].address, &allowed) &&
             is_within(&peer, &allowed))) {
            return NULL;
        }
    }
    if (n_callers == 0) {
        return NULL;
    }
    return is_known ? "the calling AE title is allowed, but not from this address"
                    : "calling AE title not recognised";
}
