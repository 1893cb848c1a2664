#ifndef MEDAID_DICOM_NETWORK_GATE_H
#define MEDAID_DICOM_NETWORK_GATE_H

/* The door of the SCP: one thread that accepts connections, goes through each one's TLS
 * handshake where there is TLS, and collects its whole A-ASSOCIATE-RQ without ever waiting for
 * a single client, so that only who has asked properly gets a pool thread. Silent clients,
 * HTTP, TLS on the plain port, plain associations on the TLS port and garbage end here. */

#include "dicom/network/scp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_GATE_MAX_PENDING = 1024,                    /* connections that have not asked yet */
    MD_GATE_MAX_BUFFERED_BYTES = 32 * 1024 * 1024, /* of their unfinished requests together */
    MD_GATE_TLS_BYTES = 48 * 1024, /* a TLS session counts as so much; measured 47 KiB */
    MD_PEER_ADDRESS_BYTES = 64,
};

/* A connection that has asked for an association. */
typedef struct md_gate_client {
    int fd;              /* owned */
    md_tls_session *tls; /* owned, after its handshake; NULL: plain */
    char peer_address[MD_PEER_ADDRESS_BYTES];
    uint8_t *request; /* owned: the body of the A-ASSOCIATE-RQ */
    size_t request_bytes;
} md_gate_client;

typedef struct md_gate {
    int listen_fd; /* borrowed, does not block */
    int stop_fd;   /* borrowed, readable: end */
    bool has_tls;
    /* With has_tls: asked on the gate's thread before each session is made; what it returns is
     * borrowed until the next call. */
    const md_tls *(*tls_now)(void *context);
    unsigned timeout_s;
    /* Takes over what `client` owns and returns true; false: no association is free. */
    bool (*on_client)(void *context, const md_gate_client *client);
    void (*on_event)(void *context, const char *event, const char *peer_address,
                     const char *detail); /* may be NULL */
    void *client_context, *event_context;
} md_gate;

/* Bind a socket that does not block. MD_INVALID_ARG: no address; MD_NETWORK: taken or not
 * allowed. */
md_status md_gate_bind(const char *bind_address, uint16_t port, int *ret_fd, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Listen on it. MD_NETWORK: taken meanwhile. It stays the caller's. */
md_status md_gate_listen(int fd, uint16_t *ret_port, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Serve until stop_fd becomes readable, then close what is pending. */
md_status md_gate_run(const md_gate *gate, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
