#ifndef MEDAID_DICOM_NETWORK_WIRE_H
#define MEDAID_DICOM_NETWORK_WIRE_H

/* One TCP connection with a deadline on everything. The socket does not block, has TCP_NODELAY
 * (head and body of a PDU are not held back for 40 ms), is closed on exec and raises no
 * SIGPIPE.
 *
 * The deadline: md_wire_begin gives a message `timeout`; each received or sent byte pushes it
 * on as if the line had MD_WIRE_MIN_BYTES_PER_S, never further than `timeout` from now. So a
 * slow line is served and one byte a second is not. A wire belongs to one thread.
 *
 * With TLS the same holds: the bytes that count are those within, so that a peer cannot buy
 * time with records that carry nothing. */

#include "dicom/network/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_WIRE_BUFFER_BYTES = 64 * 1024,
    MD_WIRE_MIN_BYTES_PER_S = 16 * 1024,
};

typedef struct md_wire {
    int fd;              /* owned, -1: none */
    md_tls_session *tls; /* owned; NULL: plain */
    int64_t timeout_us, deadline_us;
    uint8_t *buffer; /* owned, MD_WIRE_BUFFER_BYTES; [begin, end) was received, not yet taken */
    size_t begin, end;
    size_t ahead_bytes; /* how much one receive may bring into the buffer */
} md_wire;

/* Options that every socket of ours has. */
md_status md_wire_prepare(int fd, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Take a connected socket over; on failure it stays the caller's. MD_NOMEM. */
md_status md_wire_init(md_wire *wire, int fd, unsigned timeout_s, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Connect to a host name or address. MD_NETWORK, MD_TIMEOUT. */
md_status md_wire_connect(md_wire *wire, const char *host, uint16_t port, unsigned timeout_s,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Speak TLS from here on, as client: the handshake, within one timeout, with a peer whose
 * certificate is for this host. On failure the wire is finished: neither plain nor secured
 * bytes may follow. MD_NETWORK, MD_TIMEOUT, MD_NOMEM. */
md_status md_wire_secure(md_wire *wire, const md_tls *tls, const char *host, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Close. A wire of fd -1 is fine. */
void md_wire_finish(md_wire *wire) MD_NOEXCEPT;
/* Before closing, so that what was written last still reaches a peer that is sending: end our
 * side, then throw away what comes until the peer ends too, for at most linger_ms. */
void md_wire_linger(md_wire *wire, unsigned linger_ms) MD_NOEXCEPT;

/* A new message: the deadline starts again. */
void md_wire_begin(md_wire *wire) MD_NOEXCEPT;
/* Wait until something can be read, or until_us (monotonic), or wake_fd (-1: none) is readable.
 * MD_TIMEOUT; MD_CANCELLED for wake_fd. */
md_status md_wire_wait(md_wire *wire, int64_t until_us, int wake_fd, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Between 1 and max_bytes bytes, valid until the next call. MD_TIMEOUT; MD_NETWORK: closed by
 * the peer or broken. */
md_status md_wire_take(md_wire *wire, size_t max_bytes, const uint8_t **ret_bytes,
                       size_t *ret_n, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Between 1 and max_bytes bytes straight to `to`, past the buffer when that is empty. Errors as
 * md_wire_take. */
md_status md_wire_take_into(md_wire *wire, uint8_t *to, size_t max_bytes, size_t *ret_n,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* While large values are taken straight to their place: let the heads between them bring little
 * else into the buffer. */
void md_wire_read_ahead(md_wire *wire, bool far) MD_NOEXCEPT;
/* Exactly n bytes. */
md_status md_wire_read(md_wire *wire, void *ret_bytes, size_t n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
md_status md_wire_write(md_wire *wire, const void *bytes, size_t n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* P-DATA-TF PDUs of at most max_pdu_bytes (0: no limit, else at least 8) that carry a command
 * or, from memory, a dataset. */
md_status md_wire_write_command(md_wire *wire, uint8_t context_id, const uint8_t *bytes,
                                size_t n, uint32_t max_pdu_bytes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
md_status md_wire_write_dataset(md_wire *wire, uint8_t context_id, const uint8_t *bytes,
                                size_t n, uint32_t max_pdu_bytes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
