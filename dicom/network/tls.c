#include "dicom/network/tls.h"

#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_PEM_BYTES = 4 * 1024 * 1024, /* the public bundle of the web's CAs has 200 KiB */
    MAX_KEY_BYTES = 64 * 1024,
    SECURITY_LEVEL = 2, /* 112 bits: RSA 2048, no SHA-1, RFC 9325 section 4.5 */
    HOST_BYTES = 256,
};

/* RFC 9325 section 4.2; DCMTK's "BCP 195 RFC 8996" profile names the same four. */
static const char tls12_suites[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
static const char tls13_suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

struct md_tls {
    SSL_CTX *context;
};

struct md_tls_session {
    SSL *ssl;
    int fd;         /* borrowed */
    bool is_at_end; /* the peer has closed the socket */
    bool is_broken; /* nothing may be sent any more */
};

/* What OpenSSL has to say; a static string. */
static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    return reason != NULL ? reason : "no reason given";
}

/* No one sits at a terminal to be asked. */
static int refuse_password(char *buffer, int size, int for_writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    (void)context;
    return -1;
}

static md_status read_pem(const char *path, uint8_t **ret_bytes, BIO **ret_bio, md_error *err)
{
    size_t n = 0;
    MD_TRY(md_file_read(path, MAX_PEM_BYTES, ret_bytes, &n, err));
    *ret_bio = BIO_new_mem_buf(*ret_bytes, (int)n);
    if (*ret_bio == NULL) {
        md_free(*ret_bytes);
        return md_fail(err, MD_NOMEM, "%s: no memory to read it", path);
    }
    return MD_OK;
}

static md_status check_dates(const X509 *certificate, const char *path, md_error *err)
{
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: the certificate is not yet valid: check the clock or wait", path);
    }
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0) {
        return md_fail(err, MD_INVALID_ARG, "%s: the certificate has expired: get a new one",
                       path);
    }
    return MD_OK;
}

static md_status add_certificates(SSL_CTX *context, BIO *bio, const char *path, X509 **ret_own,
                                  md_error *err)
{
    *ret_own = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
    if (*ret_own == NULL) {
        return md_fail(err, MD_FORMAT, "%s: there is no certificate in PEM form in it", path);
    }
    MD_TRY(check_dates(*ret_own, path, err));
    if (SSL_CTX_use_certificate(context, *ret_own) != 1) {
        return md_fail(err, MD_INVALID_ARG, "%s: the certificate cannot be used: %s", path,
                       openssl_reason());
    }
    for (;;) {
        X509 *next = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
        if (next == NULL) {
            ERR_clear_error(); /* the end of the file is one */
            return MD_OK;
        }
        if (SSL_CTX_add0_chain_cert(context, next) != 1) {
            X509_free(next);
            return md_fail(err, MD_INVALID_ARG, "%s: a certificate of the chain: %s", path,
                           openssl_reason());
        }
    }
}

/* Read the key's file, after a look at who else may. */
static md_status read_secret(const char *path, char *bytes, size_t *ret_n, md_error *err)
{
    struct stat info;
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        int os_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
        md_status status = md_fail_os(err, os_errno, "%s: the private key", path);
        if (os_errno != ENOENT) {
            return status;
        }
        if (err != NULL) {
            err->status = MD_NOT_FOUND;
        }
        return MD_NOT_FOUND;
    }
    md_status status = MD_OK;
    if (!S_ISREG(info.st_mode)) {
        status = md_fail(err, MD_INVALID_ARG, "%s: the private key is no regular file", path);
    } else if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        status = md_fail(err, MD_INVALID_ARG,
                         "%s: the private key is open to others (mode %04o): chmod 600", path,
                         (unsigned)info.st_mode & 07777U);
    }
    while (status == MD_OK && used < MAX_KEY_BYTES) {
        ssize_t n = read(fd, bytes + used, MAX_KEY_BYTES - used);
        if (n < 0 && errno != EINTR) {
            status = md_fail_os(err, errno, "%s: the private key", path);
        }
        if (n == 0) {
            break;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    *ret_n = used;
    return status;
}

static md_status use_key(SSL_CTX *context, X509 *own, const md_tls_options *options, BIO *bio,
                         md_error *err)
{
    const char *path = options->private_key;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, refuse_password, NULL);
    if (key == NULL) {
        return md_fail(err, MD_FORMAT,
                       "%s: there is no private key in PEM form without password in it", path);
    }
    md_status status = MD_OK;
    if (X509_check_private_key(own, key) != 1) {
        status = md_fail(err, MD_INVALID_ARG,
                         "%s: the private key does not belong to the certificate %s", path,
                         options->certificate);
    } else if (SSL_CTX_use_PrivateKey(context, key) != 1) {
        status = md_fail(err, MD_INVALID_ARG, "%s: the private key cannot be used: %s", path,
                         openssl_reason());
    }
    EVP_PKEY_free(key);
    return status;
}

static md_status add_key(SSL_CTX *context, X509 *own, const md_tls_options *options,
                         md_error *err)
{
    size_t n = 0;
    char *bytes = md_malloc(MAX_KEY_BYTES);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to read a private key");
    }
    md_status status = read_secret(options->private_key, bytes, &n, err);
    if (status == MD_OK) {
        BIO *bio = BIO_new_mem_buf(bytes, (int)n);
        status = bio != NULL ? use_key(context, own, options, bio, err)
                             : md_fail(err, MD_NOMEM, "no memory to read a private key");
        BIO_free(bio);
    }
    OPENSSL_cleanse(bytes, MAX_KEY_BYTES);
    md_free(bytes);
    return status;
}

static md_status add_identity(SSL_CTX *context, const md_tls_options *options, md_error *err)
{
    uint8_t *bytes = NULL;
    BIO *bio = NULL;
    X509 *own = NULL;
    if (options->certificate == NULL || options->certificate[0] == '\0' ||
        options->private_key == NULL || options->private_key[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG, "TLS needs a certificate and a private key");
    }
    MD_TRY(read_pem(options->certificate, &bytes, &bio, err));
    md_status status = add_certificates(context, bio, options->certificate, &own, err);
    if (status == MD_OK) {
        status = add_key(context, own, options, err);
    }
    X509_free(own);
    BIO_free(bio);
    md_free(bytes);
    return status;
}

/* Each certificate of the file becomes trusted. One that has expired in a bundle is no harm,
 * but one at least must be of use. */
static md_status trust(SSL_CTX *context, BIO *bio, const char *path, md_error *err)
{
    unsigned n = 0, n_valid = 0;
    md_error why = {0};
    for (;; n++) {
        X509 *each = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
        if (each == NULL) {
            ERR_clear_error();
            break;
        }
        n_valid += check_dates(each, path, &why) == MD_OK;
        bool is_added = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), each) == 1 &&
                        SSL_CTX_add_client_CA(context, each) == 1;
        X509_free(each);
        if (!is_added) {
            return md_fail(err, MD_INVALID_ARG, "%s: a certificate cannot be used: %s", path,
                           openssl_reason());
        }
    }
    if (n == 0) {
        return md_fail(err, MD_FORMAT, "%s: there is no CA certificate in PEM form in it",
                       path);
    }
    if (n_valid == 0) {
        if (err != NULL) {
            *err = why;
        }
        return why.status;
    }
    return MD_OK;
}

static md_status add_ca(SSL_CTX *context, const char *path, md_error *err)
{
    uint8_t *bytes = NULL;
    BIO *bio = NULL;
    if (path == NULL || path[0] == '\0') {
        return md_fail(err, MD_INVALID_ARG,
                       "TLS needs the CA file that peers' certificates are checked against");
    }
    MD_TRY(read_pem(path, &bytes, &bio, err));
    md_status status = trust(context, bio, path, err);
    BIO_free(bio);
    md_free(bytes);
    return status;
}

static md_status set_profile(SSL_CTX *context, md_error *err)
{
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    /* A truncated stream is found by the upper layer, which has an end of its own (PS3.8
     * release); peers that close without the alert are common and mean no harm. */
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* without "auto retry" a peer that sends nothing but key updates gives the thread back */
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS |
                                  SSL_MODE_NO_AUTO_CHAIN); /* we send what the file says */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(context, 0) != 1 ||
        SSL_CTX_set_cipher_list(context, tls12_suites) != 1 ||
        SSL_CTX_set_ciphersuites(context, tls13_suites) != 1) {
        return md_fail(err, MD_UNSUPPORTED, "OpenSSL does not offer the TLS profile: %s",
                       openssl_reason());
    }
    return MD_OK;
}

static int socket_read(BIO *bio, char *bytes, size_t n, size_t *ret_n)
{
    md_tls_session *session = BIO_get_data(bio);
    ssize_t got = recv(session->fd, bytes, n, 0);
    BIO_clear_retry_flags(bio);
    if (got > 0) {
        *ret_n = (size_t)got;
        return 1;
    }
    session->is_at_end = got == 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_read(bio);
    }
    return 0;
}

/* OpenSSL's own socket BIO would raise SIGPIPE when the peer is gone. */
static int socket_write(BIO *bio, const char *bytes, size_t n, size_t *ret_n)
{
    md_tls_session *session = BIO_get_data(bio);
    ssize_t sent = send(session->fd, bytes, n, MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (sent >= 0) {
        *ret_n = (size_t)sent;
        return 1;
    }
    if (errno == EAGAIN || errno == EINTR) {
        BIO_set_retry_write(bio);
    }
    return 0;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    const md_tls_session *session = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF) {
        return session->is_at_end;
    }
    return command == BIO_CTRL_FLUSH;
}

/* One for the process: OpenSSL has numbers for about a hundred. */
static CRYPTO_ONCE socket_once = CRYPTO_ONCE_STATIC_INIT;
static BIO_METHOD *socket_method;

static void make_socket_method(void)
{
    socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (socket_method != NULL && (BIO_meth_set_read_ex(socket_method, socket_read) != 1 ||
                                  BIO_meth_set_write_ex(socket_method, socket_write) != 1 ||
                                  BIO_meth_set_ctrl(socket_method, socket_control) != 1)) {
        BIO_meth_free(socket_method);
        socket_method = NULL;
    }
}

static md_status create(const md_tls_options *options, const SSL_METHOD *method, bool needs_ca,
                        md_tls **ret_tls, md_error *err)
{
    md_tls *tls = md_calloc(1, sizeof *tls);
    if (tls == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for TLS");
    }
    ERR_clear_error();
    tls->context = SSL_CTX_new(method);
    if (tls->context == NULL || CRYPTO_THREAD_run_once(&socket_once, make_socket_method) != 1 ||
        socket_method == NULL) {
        md_tls_destroy(tls);
        return md_fail(err, MD_NOMEM, "no memory for TLS");
    }
    md_status status = set_profile(tls->context, err);
    if (status == MD_OK) {
        status = add_identity(tls->context, options, err);
    }
    if (status == MD_OK && needs_ca) {
        status = add_ca(tls->context, options->ca, err);
    }
    if (status != MD_OK) {
        ERR_clear_error();
        md_tls_destroy(tls);
        return status;
    }
    *ret_tls = tls;
    return MD_OK;
}

md_status md_tls_create_server(const md_tls_options *options, md_tls **ret_tls, md_error *err)
{
    md_tls *tls = NULL;
    bool asks = options->verify != MD_TLS_VERIFY_NONE;
    MD_TRY(create(options, TLS_server_method(), asks, &tls, err));
    int mode = SSL_VERIFY_NONE;
    if (options->verify == MD_TLS_VERIFY_OPTIONAL) {
        mode = SSL_VERIFY_PEER;
    } else if (options->verify == MD_TLS_VERIFY_REQUIRED) {
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(tls->context, mode, NULL);
    *ret_tls = tls;
    return MD_OK;
}

md_status md_tls_create_client(const md_tls_options *options, md_tls **ret_tls, md_error *err)
{
    md_tls *tls = NULL;
    MD_TRY(create(options, TLS_client_method(), true, &tls, err));
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    *ret_tls = tls;
    return MD_OK;
}

md_status md_tls_days_left(const char *path, int *ret_days, md_error *err)
{
    uint8_t *bytes = NULL;
    BIO *bio = NULL;
    int days = 0;
    int seconds = 0;
    MD_TRY(read_pem(path, &bytes, &bio, err));
    X509 *first = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
    bool good =
        first != NULL && ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(first)) == 1;
    X509_free(first);
    BIO_free(bio);
    md_free(bytes);
    ERR_clear_error();
    if (!good) {
        return md_fail(err, MD_FORMAT, "%s: there is no certificate in PEM form in it", path);
    }
    *ret_days = days > 0 || seconds >= 0 ? days : days - 1;
    return MD_OK;
}

void md_tls_destroy(md_tls *tls)
{
    if (tls != NULL) {
        SSL_CTX_free(tls->context);
        md_free(tls);
    }
}

/* The certificate must be for this host; a name is also told to the server, which may have
 * several certificates. */
static bool expect_host(SSL *ssl, const char *host)
{
    char address[HOST_BYTES];
    unsigned char bytes[sizeof(struct in6_addr)];
    size_t n = strcspn(host, "%"); /* no certificate knows our interfaces: fe80::1%eth0 */
    if (n >= sizeof address) {
        return false;
    }
    memcpy(address, host, n);
    address[n] = '\0';
    if (inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address) == 1;
    }
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

md_status md_tls_session_create(const md_tls *tls, int fd, const char *host,
                                md_tls_session **ret_session, md_error *err)
{
    md_tls_session *session = md_calloc(1, sizeof *session);
    if (session == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a TLS connection");
    }
    session->fd = fd;
    session->ssl = SSL_new(tls->context);
    BIO *bio = session->ssl != NULL ? BIO_new(socket_method) : NULL;
    if (bio == NULL) {
        md_tls_session_destroy(session);
        ERR_clear_error();
        return md_fail(err, MD_NOMEM, "no memory for a TLS connection");
    }
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio); /* owns it now */
    if (host == NULL) {
        SSL_set_accept_state(session->ssl);
    } else {
        SSL_set_connect_state(session->ssl);
        if (!expect_host(session->ssl, host)) {
            md_tls_session_destroy(session);
            ERR_clear_error();
            return md_fail(err, MD_INVALID_ARG, "TLS: host %s is no host name", host);
        }
    }
    *ret_session = session;
    return MD_OK;
}

void md_tls_session_destroy(md_tls_session *session)
{
    if (session != NULL) {
        SSL_free(session->ssl);
        md_free(session);
    }
}

static void explain(const md_tls_session *session, int os_errno, md_error *err)
{
    unsigned long code = ERR_peek_error();
    long verdict = SSL_get_verify_result(session->ssl);
    if (code == 0) {
        (void)md_fail_os(err, os_errno != 0 ? os_errno : ECONNRESET, "TLS");
        if (err != NULL) {
            err->status = MD_NETWORK;
        }
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
               ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        (void)md_fail(err, MD_NETWORK, "TLS: the peer's certificate is not accepted: %s",
                      X509_verify_cert_error_string(verdict));
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
               ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET) {
        (void)md_fail(err, MD_NETWORK, "TLS: the peer refuses: %s", openssl_reason());
    } else {
        (void)md_fail(err, MD_NETWORK, "TLS: %s", openssl_reason());
    }
}

/* What the result of a call means; os_errno is what it left behind. */
static md_tls_progress judge(md_tls_session *session, int result, int os_errno, md_error *err)
{
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_NONE:
        return MD_TLS_DONE;
    case SSL_ERROR_WANT_READ:
        return MD_TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return MD_TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        (void)md_fail(err, MD_NETWORK, "the peer closed the connection");
        return MD_TLS_CLOSED;
    default:
        session->is_broken = true;
        explain(session, os_errno, err);
        ERR_clear_error();
        return MD_TLS_FAILED;
    }
}

md_tls_progress md_tls_handshake(md_tls_session *session, md_error *err)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(session->ssl);
    return judge(session, result, errno, err);
}

md_tls_progress md_tls_read(md_tls_session *session, void *ret_bytes, size_t n, size_t *ret_n,
                            md_error *err)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(session->ssl, ret_bytes, n, ret_n);
    return judge(session, result, errno, err);
}

md_tls_progress md_tls_write(md_tls_session *session, const void *bytes, size_t n,
                             size_t *ret_n, md_error *err)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_write_ex(session->ssl, bytes, n, ret_n);
    int os_errno = errno;
    if (result != 1 && SSL_get_error(session->ssl, result) == SSL_ERROR_SYSCALL) {
        /* a peer that refuses our certificate does so after our handshake (TLS 1.3) and closes:
         * its alert, which says why, may have come all the same */
        char unused;
        size_t n_unused = 0;
        result = SSL_read_ex(session->ssl, &unused, sizeof unused, &n_unused);
        if (result == 1 || SSL_get_error(session->ssl, result) != SSL_ERROR_SSL) {
            ERR_clear_error();
        }
        session->is_broken = true;
        explain(session, os_errno, err);
        ERR_clear_error();
        return MD_TLS_FAILED;
    }
    return judge(session, result, os_errno, err);
}

bool md_tls_has_pending(const md_tls_session *session)
{
    return SSL_has_pending(session->ssl) == 1;
}

void md_tls_close(md_tls_session *session)
{
    if (!session->is_broken && SSL_is_init_finished(session->ssl)) {
        (void)SSL_shutdown(session->ssl);
        ERR_clear_error();
        session->is_broken = true;
    }
}
