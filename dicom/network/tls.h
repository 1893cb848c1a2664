#ifndef MEDAID_DICOM_NETWORK_TLS_H
#define MEDAID_DICOM_NETWORK_TLS_H

/* DICOM over TLS as PS3.15 B.12, "BCP 195 RFC 8996, 9325 TLS", describes it: TLS 1.2 with the
 * four ECDHE suites of RFC 9325 section 4.2, or TLS 1.3, which is preferred; keys of at least
 * 112 bits of strength (RSA 2048); no compression, no renegotiation, no resumption (so that
 * every connection shows its certificate). Certificates are checked against the CA file that
 * was given and no other. Not offered: revocation lists, OCSP, encrypted private keys.
 *
 * A context (md_tls) may be used by any thread at once; a session belongs to one at a time.
 * Sessions never wait: they work on a socket that does not block and say what to wait for. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a server does about its clients' certificates. A client always checks the server's. */
typedef enum md_tls_verify {
    MD_TLS_VERIFY_REQUIRED, /* no certificate of the CA, no connection */
    MD_TLS_VERIFY_OPTIONAL, /* one that is shown must be the CA's */
    MD_TLS_VERIFY_NONE,     /* none is asked for: anyone may connect */
} md_tls_verify;

/* Files in PEM form, read when the context is made. */
typedef struct md_tls_options {
    const char *certificate; /* ours, then the intermediate ones that lead to the CA */
    const char *private_key; /* not readable by group or others, not encrypted */
    const char *ca;          /* who signs the peers' certificates: one or several */
    md_tls_verify verify;    /* server */
} md_tls_options;

typedef struct md_tls md_tls;
typedef struct md_tls_session md_tls_session;

/* MD_NOT_FOUND, MD_IO: a file cannot be read; MD_FORMAT: it holds nothing of that kind;
 * MD_INVALID_ARG: others may read the key, it is not the certificate's, the certificate has
 * expired, is not yet valid or too weak. Messages name the file. A client needs all three
 * files, a server the CA unless `verify` is NONE. Caller destroys. */
md_status md_tls_create_server(const md_tls_options *options, md_tls **ret_tls, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
md_status md_tls_create_client(const md_tls_options *options, md_tls **ret_tls, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* For how many whole days the first certificate of a file is still valid; negative: expired. As
 * md_tls_create_server for a file that cannot be read or holds none. */
md_status md_tls_days_left(const char *path, int *ret_days, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Sessions that were made from it may outlive it. NULL is fine. */
void md_tls_destroy(md_tls *tls) MD_NOEXCEPT;

typedef enum md_tls_progress {
    MD_TLS_DONE,
    MD_TLS_WANTS_READ,  /* again when the socket can be read */
    MD_TLS_WANTS_WRITE, /* again when it can be written */
    MD_TLS_CLOSED,      /* the peer has closed */
    MD_TLS_FAILED,
} md_tls_progress;

/* A session over a connected socket, which is borrowed. Nothing is sent yet. A server's session
 * has no host; a client's checks that the certificate is for this host name or address (RFC
 * 6125: subject alternative names; the common name only when there is none). MD_NOMEM. */
md_status md_tls_session_create(const md_tls *tls, int fd, const char *host,
                                md_tls_session **ret_session, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* NULL is fine. The socket stays open. */
void md_tls_session_destroy(md_tls_session *session) MD_NOEXCEPT;
/* The next step of the handshake; again until MD_TLS_DONE. After CLOSED and FAILED, here and
 * below, err (status MD_NETWORK) says why and the session is only good to be destroyed. */
md_tls_progress md_tls_handshake(md_tls_session *session, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* DONE: *ret_n, between 1 and n, bytes were read or written. */
md_tls_progress md_tls_read(md_tls_session *session, void *ret_bytes, size_t n, size_t *ret_n,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;
md_tls_progress md_tls_write(md_tls_session *session, const void *bytes, size_t n,
                             size_t *ret_n, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Whether bytes have left the socket that md_tls_read has not returned yet. */
bool md_tls_has_pending(const md_tls_session *session) MD_NOEXCEPT;
/* Tell the peer that nothing more will come, as far as the socket takes it now. */
void md_tls_close(md_tls_session *session) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
