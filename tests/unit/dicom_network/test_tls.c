#include "tls_bench.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/gate.h"
#include "dicom/network/pdu.h"
#include "dicom/network/scu.h"
#include "dicom/network/wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_own_peers(void **state)
{
    enum {
        N = 3
    };
    test_scp scp;
    char objects[64], paths[N][128];
    const char *list[N];
    md_send_outcome outcomes[N];
    md_error err = {0};
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    test_folder_make(objects);
    for (unsigned i = 0; i < N; i++) {
        test_make_file(objects, i, 2000000 * i, paths[i]);
        list[i] = paths[i];
    }
    md_peer peer = test_tls_peer(scp.port, &client);
    assert_tls_echo(scp.port, &client);
    if (md_scu_send(&peer, NULL, list, N, outcomes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(scp.n_objects, N);
    assert_int_equal(scp.n_refused_connections, 0);
    /* by name: the certificate has it too */
    snprintf(peer.host, sizeof peer.host, "localhost");
    assert_int_equal(md_scu_echo(&peer, &err), MD_OK);
    test_folder_remove(objects);
    test_scp_stop(&scp);
}

static void test_dcmtk_client(void **state)
{
    test_scp scp;
    char objects[64], path[128];
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca"),
                   expired = test_tls_options("expired", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    test_folder_make(objects);
    test_make_file(objects, 1, 1000000, path);
    const char *const echo[] = {"echoscu",          "+tls",   client.private_key,
                                client.certificate, "+cf",    client.ca,
                                "127.0.0.1",        scp.port, NULL};
    assert_int_equal(test_run(echo), 0);
    const char *const store[] = {"storescu", "+tls",    client.private_key, client.certificate,
                                 "+cf",      client.ca, "127.0.0.1",        scp.port,
                                 path,       NULL};
    assert_int_equal(test_run(store), 0);
    assert_int_equal(scp.n_objects, 1);
    const char *const bad[] = {"echoscu",           "+tls",   expired.private_key,
                               expired.certificate, "+cf",    expired.ca,
                               "127.0.0.1",         scp.port, NULL};
    assert_int_not_equal(test_run(bad), 0);
    test_wait_for_event(&scp, "certificate has expired");
    test_folder_remove(objects);
    test_scp_stop(&scp);
}

static void test_dcmtk_server(void **state)
{
    char port[8], received[64], objects[64], path[128];
    md_send_outcome outcome;
    md_error err = {0};
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_free_port(port);
    test_folder_make(received);
    test_folder_make(objects);
    test_make_file(objects, 1, 1000000, path);
    const char *const storescp[] = {"storescp",
                                    "-aet",
                                    "MEDAID",
                                    "+tls",
                                    server.private_key,
                                    server.certificate,
                                    "+cf",
                                    server.ca,
                                    "-od",
                                    received,
                                    port,
                                    NULL};
    pid_t pid = test_spawn(storescp);
    md_peer peer = test_tls_peer(port, &client);
    for (int i = 0; i < 600 && md_scu_echo(&peer, &err) != MD_OK; i++) {
        usleep(50000);
    }
    const char *list[] = {path};
    md_status status = md_scu_send(&peer, NULL, list, 1, &outcome, &err);
    /* and without TLS it is not to be had */
    peer.tls = NULL;
    peer.timeout_s = 2;
    md_status plain = md_scu_echo(&peer, NULL);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    if (status != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_not_equal(plain, MD_OK);
    assert_int_equal(test_folder_count(received), 1);
    test_folder_remove(received);
    test_folder_remove(objects);
}

/* Who must not be let in, and whom our own client must not trust. */
static void test_certificates(void **state)
{
    test_scp scp;
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca"),
                   stranger = test_tls_options("stranger", "ca"),
                   other = test_tls_options("client", "other-ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    assert_no_tls_echo(scp.port, &stranger, MD_NETWORK, "TLS: the peer refuses: ");
    test_wait_for_event(&scp,
                        "the peer's certificate is not accepted: unable to get local issuer");
    assert_no_tls_echo(scp.port, &other, MD_NETWORK,
                       "the peer's certificate is not accepted: unable to get local issuer");
    test_wait_for_event(&scp, "the peer refuses: tlsv1 alert unknown ca");
    assert_tls_echo(scp.port, &client);
    test_scp_stop(&scp);

    md_tls_options elsewhere = test_tls_options("elsewhere", "ca");
    test_tls_start(&scp, &elsewhere, 20);
    assert_no_tls_echo(scp.port, &client, MD_NETWORK, "not accepted: IP address mismatch");
    md_peer peer = test_tls_peer(scp.port, &client);
    md_error err = {0};
    snprintf(peer.host, sizeof peer.host, "localhost");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, "ostname mismatch"));
    test_scp_stop(&scp);
    /* what is wrong with our own files shows before anything is sent */
    md_tls_options expired = test_tls_options("expired", "ca");
    assert_no_tls_echo("1", &expired, MD_IO, "the certificate has expired");
}

/* A client of our own making, with what others leave out or insist on. */
static SSL *raw_client(const test_scp *scp, SSL_CTX *context, int *ret_fd, int *ret_result)
{
    SSL *ssl = SSL_new(context);
    assert_non_null(ssl);
    *ret_fd = test_connect(scp);
    assert_int_equal(SSL_set_fd(ssl, *ret_fd), 1);
    *ret_result = SSL_connect(ssl);
    return ssl;
}

static bool ask_association(SSL *ssl)
{
    static md_associate request;
    uint8_t bytes[4096];
    memset(&request, 0, sizeof request);
    snprintf(request.called_ae, sizeof request.called_ae, "MEDAID");
    snprintf(request.calling_ae, sizeof request.calling_ae, "RAW");
    request.max_pdu_bytes = 16384;
    request.n_contexts = 1;
    request.contexts[0].id = 1;
    snprintf(request.contexts[0].abstract_syntax, MD_UID_BYTES, "%s", MD_UID_VERIFICATION);
    snprintf(request.contexts[0].transfer_syntax, MD_UID_BYTES, "%s", MD_UID_IMPLICIT_LITTLE);
    size_t n = md_pdu_write_request(&request, bytes, sizeof bytes);
    /* in records of one byte for the first ones: no record is a PDU */
    for (size_t i = 0; i < n; i++) {
        int part = i < 20 ? 1 : (int)(n - i);
        if (SSL_write(ssl, bytes + i, part) != part) {
            return false;
        }
        i += (size_t)part - 1;
    }
    return SSL_read(ssl, bytes, sizeof bytes) > 0 && bytes[0] == MD_PDU_ASSOCIATE_AC;
}

/* Whether an association request over it is accepted. OpenSSL's own sockets raise SIGPIPE when
 * the peer has closed, so it is held back here, and only here: ours must not raise any. */
static bool raw_associate(SSL *ssl)
{
    sigset_t pipe, before;
    const struct timespec now = {0, 0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &pipe, &before), 0);
    bool good = ask_association(ssl);
    (void)sigtimedwait(&pipe, NULL, &now);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    return good;
}

static void finish_raw(SSL *ssl, int fd)
{
    SSL_free(ssl);
    close(fd);
    ERR_clear_error();
}

static SSL_CTX *raw_context(const char *certificate, int version)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    if (version < TLS1_2_VERSION) {
        SSL_CTX_set_security_level(context, 0);
        assert_int_equal(SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0"), 1);
    }
    assert_int_equal(SSL_CTX_set_min_proto_version(context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
    if (certificate != NULL) {
        assert_int_equal(SSL_CTX_use_certificate_file(
                             context, test_tls_file(certificate, ".crt"), SSL_FILETYPE_PEM),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(
                             context, test_tls_file(certificate, ".key"), SSL_FILETYPE_PEM),
                         1);
    }
    return context;
}

/* One raw connection; whether it got an association. */
static bool raw_try(const test_scp *scp, const char *certificate, int version,
                    const char *suites)
{
    int fd = -1, result = 0;
    SSL_CTX *context = raw_context(certificate, version);
    if (suites != NULL) {
        assert_int_equal(SSL_CTX_set_cipher_list(context, suites), 1);
    }
    SSL *ssl = raw_client(scp, context, &fd, &result);
    bool good = result == 1 && raw_associate(ssl);
    finish_raw(ssl, fd);
    SSL_CTX_free(context);
    return good;
}

static void test_versions_and_suites(void **state)
{
    test_scp scp;
    md_tls_options server = test_tls_options("server", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    assert_true(raw_try(&scp, "client", TLS1_3_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384"));
    assert_false(raw_try(&scp, "client", TLS1_1_VERSION, NULL));
    test_wait_for_event(&scp, "TLS: unsupported protocol");
    /* no forward secrecy, no authenticated encryption, finite-field groups: not RFC 9325's */
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "AES128-GCM-SHA256"));
    test_wait_for_event(&scp, "TLS: no shared cipher");
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256"));
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256"));
    test_scp_stop(&scp);
}

static void test_verify(void **state)
{
    test_scp scp;
    md_tls_options server = test_tls_options("server", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    assert_false(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
    test_wait_for_event(&scp, "TLS: peer did not return a certificate");
    assert_false(raw_try(&scp, NULL, TLS1_2_VERSION, NULL));
    test_scp_stop(&scp);
    server.verify = MD_TLS_VERIFY_OPTIONAL;
    test_tls_start(&scp, &server, 20);
    assert_true(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, NULL));
    assert_false(raw_try(&scp, "stranger", TLS1_3_VERSION, NULL));
    test_wait_for_event(&scp, "certificate is not accepted");
    test_scp_stop(&scp);
    server.verify = MD_TLS_VERIFY_NONE;
    server.ca = NULL;
    test_tls_start(&scp, &server, 20);
    assert_true(raw_try(&scp, NULL, TLS1_2_VERSION, NULL));
    assert_true(raw_try(&scp, "stranger", TLS1_3_VERSION, NULL));
    test_scp_stop(&scp);
}

/* No renegotiation and no resumption. */
static void test_no_second_handshake(void **state)
{
    test_scp scp;
    int fd = -1, result = 0;
    md_tls_options server = test_tls_options("server", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    SSL_CTX *context = raw_context("client", TLS1_2_VERSION);
    SSL *ssl = raw_client(&scp, context, &fd, &result);
    assert_int_equal(result, 1);
    assert_true(raw_associate(ssl));
    SSL_SESSION *session = SSL_get1_session(ssl);
    assert_int_equal(SSL_renegotiate(ssl), 1);
    assert_int_not_equal(SSL_do_handshake(ssl), 1);
    finish_raw(ssl, fd);
    ssl = SSL_new(context);
    assert_non_null(ssl);
    fd = test_connect(&scp);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_set_session(ssl, session), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_session_reused(ssl), 0);
    SSL_SESSION_free(session);
    finish_raw(ssl, fd);
    SSL_CTX_free(context);
    test_scp_stop(&scp);
}

/* Sends the bytes and reads until the end. */
static size_t say(const test_scp *scp, const char *bytes, size_t n, uint8_t answer[64])
{
    int fd = test_connect(scp);
    test_write(fd, bytes, n);
    size_t got = test_read(fd, answer, 64);
    close(fd);
    return got;
}

static void test_wrong_protocols(void **state)
{
    test_scp scp;
    uint8_t answer[64];
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_tls_start(&scp, &server, 20);
    assert_no_tls_echo(scp.port, NULL, MD_NETWORK, "the peer aborted");
    test_wait_for_event(&scp, "tls_failed: an association without TLS on the port with TLS");
    assert_int_equal(scp.n_events, 1);
    assert_int_equal(say(&scp, "GET / HTTP/1.1\r\n\r\n", 18, answer), 0);
    test_wait_for_event(&scp, "connection_refused: an HTTP request on the DICOM port");
    assert_int_equal(say(&scp, "\xff\xff\xff\xff\xff", 5, answer), 0);
    test_wait_for_event(&scp, "connection_refused: not DICOM");
    assert_int_equal(scp.n_events, 3);
    /* a hello that is none gets an alert */
    assert_true(say(&scp, "\x16\3\1\0\5\1\0\0\1\0\0\0\0\0\0", 15, answer) > 0);
    assert_int_equal(answer[0], 0x15);
    test_wait_for_event(&scp, "tls_failed: TLS: ");
    int fd = test_connect(&scp);
    test_write(fd, "\x16\3\1\2\0\1", 6);
    close(fd);
    test_wait_for_event(&scp, "connection_refused: closed within the TLS handshake");
    assert_tls_echo(scp.port, &client);
    test_scp_stop(&scp);

    test_tls_start(&scp, NULL, 20);
    assert_no_tls_echo(scp.port, &client, MD_NETWORK, "TLS: ");
    test_wait_for_event(&scp, "connection_refused: a TLS hello on the port without TLS");
    assert_int_equal(scp.n_events, 1);
    test_scp_stop(&scp);
}

/* A ClientHello, whole, as bytes. */
static size_t record_hello(uint8_t *ret_bytes, size_t room)
{
    SSL_CTX *context = raw_context(NULL, TLS1_3_VERSION);
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    assert_true(ssl != NULL && in != NULL && out != NULL);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    assert_int_not_equal(SSL_do_handshake(ssl), 1);
    int n = BIO_read(out, ret_bytes, (int)room);
    assert_true(n > 100);
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return (size_t)n;
}

static int64_t slowest_echo_us(const test_scp *scp, const md_tls_options *client)
{
    int64_t worst_us = 0;
    for (int i = 0; i < 20; i++) {
        int64_t begin_us = md_clock_monotonic_us();
        assert_tls_echo(scp->port, client);
        int64_t took_us = md_clock_monotonic_us() - begin_us;
        worst_us = took_us > worst_us ? took_us : worst_us;
    }
    return worst_us;
}

/* Silent ones, those that stop within their hello, and those that never answer ours. */
static void test_stalled_handshakes_do_not_matter(void **state)
{
    enum {
        N = 300
    };
    test_scp scp;
    static uint8_t hello[2048];
    int stalled[N];
    size_t n_hello = record_hello(hello, sizeof hello);
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_tls_start(&scp, &server, 60);
    int64_t alone_us = slowest_echo_us(&scp, &client);
    for (int i = 0; i < N; i++) {
        stalled[i] = test_connect(&scp);
        test_write(stalled[i], hello, i % 3 == 0 ? 0 : i % 3 == 1 ? n_hello / 2 : n_hello);
    }
    int64_t beside_us = slowest_echo_us(&scp, &client);
    print_message("# the slowest of 20 echoes: alone %.1f ms, beside %d stalled handshakes "
                  "%.1f ms\n",
                  (double)alone_us / 1e3, N, (double)beside_us / 1e3);
    assert_int_equal(scp.n_refused_connections, 0);
    for (int i = 0; i < N; i++) {
        close(stalled[i]);
    }
    test_scp_stop(&scp);

    test_tls_start(&scp, &server, 1);
    int fd = test_connect(&scp);
    test_write(fd, hello, n_hello / 2);
    for (size_t i = n_hello / 2; i < n_hello && scp.n_refused_connections == 0; i++) {
        test_write(fd, hello + i, 1); /* a byte now and then does not help */
        usleep(50000);
    }
    test_wait_for_event(&scp, "no TLS handshake within 1 s");
    close(fd);
    /* after the handshake there is an association to be asked for */
    int result = 0;
    SSL_CTX *context = raw_context("client", TLS1_3_VERSION);
    SSL *ssl = raw_client(&scp, context, &fd, &result);
    assert_int_equal(result, 1);
    test_wait_for_event(&scp, "no association request within 1 s");
    finish_raw(ssl, fd);
    SSL_CTX_free(context);
    test_scp_stop(&scp);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* More handshakes than there is room for: the oldest give way, the newest is served. */
static void test_handshakes_are_bounded(void **state)
{
    enum {
        N = MD_GATE_MAX_BUFFERED_BYTES / MD_GATE_TLS_BYTES + 10
    };
    test_scp scp;
    static uint8_t hello[2048];
    static int stalled[N];
    size_t n_hello = record_hello(hello, sizeof hello);
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_tls_start(&scp, &server, 60);
    long before_kib = resident_kib();
    for (int i = 0; i < N; i++) {
        stalled[i] = test_connect(&scp);
        test_write(stalled[i], hello, i % 2 == 0 ? n_hello / 2 : n_hello);
    }
    test_wait_for_event(&scp, "too many unfinished TLS handshakes");
    print_message("# %d unfinished handshakes hold %ld KiB\n", N - 10,
                  resident_kib() - before_kib);
    assert_tls_echo(scp.port, &client);
    for (int i = 0; i < N; i++) {
        close(stalled[i]);
    }
    test_scp_stop(&scp);
}

/* A server that accepts and says nothing costs one time-out. */
static void test_silent_server(void **state)
{
    md_error err = {0};
    md_tls_options client = test_tls_options("client", "ca");
    md_wire wire;
    md_tls *tls = NULL;
    (void)state;
    assert_int_equal(md_tls_create_client(&client, &tls, &err), MD_OK);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    memset(&wire, 0, sizeof wire);
    wire.fd = pair[0];
    wire.timeout_us = 300000;
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(md_wire_secure(&wire, tls, "127.0.0.1", &err), MD_TIMEOUT);
    assert_int_equal(wire.fd, -1);
    close(pair[1]);
    md_tls_destroy(tls);
}

static unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *all = opendir("/proc/self/fd");
    assert_non_null(all);
    while (readdir(all) != NULL) {
        n++;
    }
    closedir(all);
    return n;
}

/* Beyond the limit the rejection goes through TLS, and stopping ends an idle association. */
static void test_limit_and_stop(void **state)
{
    test_scp scp;
    int fd = -1, result = 0;
    uint8_t bytes[MD_PDU_SHORT_BYTES] = {0};
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 1,
        .association_timeout_s = 60,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .tls = &server,
    };
    (void)state;
    test_scp_start(&scp, &options);
    SSL_CTX *context = raw_context("client", TLS1_3_VERSION);
    SSL *ssl = raw_client(&scp, context, &fd, &result);
    assert_true(result == 1 && raw_associate(ssl));
    assert_no_tls_echo(scp.port, &client, MD_BUSY, "it has too many associations");
    md_scp_stop(scp.scp, 30000);
    assert_int_equal(SSL_read(ssl, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(bytes[0], MD_PDU_ABORT);
    assert_int_equal(SSL_read(ssl, bytes, sizeof bytes), 0); /* closed as TLS asks for */
    assert_int_equal(SSL_get_shutdown(ssl), SSL_RECEIVED_SHUTDOWN);
    finish_raw(ssl, fd);
    SSL_CTX_free(context);
    test_folder_remove(scp.spool);
}

typedef struct sender {
    const md_peer *peer;
    const char *path;
    pthread_barrier_t *barrier;
    unsigned n_good;
} sender;

static void *send_thread(void *argument)
{
    sender *now = argument;
    md_send_outcome outcome;
    pthread_barrier_wait(now->barrier);
    for (int i = 0; i < 3; i++) {
        now->n_good += md_scu_send(now->peer, NULL, &now->path, 1, &outcome, NULL) == MD_OK;
    }
    return NULL;
}

static void send_round(const md_peer *peer, const char *path)
{
    enum {
        N = 30
    };
    pthread_t threads[N];
    sender senders[N];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, N);
    for (int i = 0; i < N; i++) {
        senders[i] = (sender){peer, path, &barrier, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, send_thread, &senders[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(senders[i].n_good, 3);
    }
    pthread_barrier_destroy(&barrier);
}

static void test_parallel(void **state)
{
    test_scp scp;
    char objects[64], path[128];
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca");
    (void)state;
    test_tls_start(&scp, &server, 60);
    test_folder_make(objects);
    test_make_file(objects, 1, 100000, path);
    md_peer peer = test_tls_peer(scp.port, &client);
    peer.timeout_s = 60;
    for (int i = 0; i < 2; i++) {
        send_round(&peer, path);
    }
    unsigned n_done = scp.n_done;
    for (int i = 0; i < 6000 && (n_done = scp.n_done) < 180; i++) {
        usleep(10000);
    }
    assert_int_equal(n_done, 180);
    long before_kib = resident_kib();
    for (int i = 0; i < 3; i++) {
        send_round(&peer, path);
    }
    long after_kib = resident_kib();
    print_message("# resident after 180 TLS associations %ld KiB, after 450 %ld KiB\n",
                  before_kib, after_kib);
    assert_int_equal(scp.n_objects, 450);
#ifndef __SANITIZE_ADDRESS__ /* its quarantine keeps what was freed */
    assert_true(after_kib - before_kib < 16 * 1024);
#endif
    test_folder_remove(objects);
    test_scp_stop(&scp);
}

/* After everything has stopped no descriptor is left, good or bad endings. */
static void test_descriptors(void **state)
{
    md_tls_options server = test_tls_options("server", "ca"),
                   client = test_tls_options("client", "ca"),
                   stranger = test_tls_options("stranger", "ca");
    unsigned before = count_descriptors();
    (void)state;
    for (int i = 0; i < 3; i++) {
        test_scp scp;
        uint8_t answer[64];
        test_tls_start(&scp, &server, 20);
        for (int k = 0; k < 5; k++) {
            assert_tls_echo(scp.port, &client);
            assert_no_tls_echo(scp.port, &stranger, MD_NETWORK, "");
            assert_false(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
            (void)say(&scp, "\x16\3\1\0\5\1\0\0\1\0\0\0\0\0\0", 15, answer);
        }
        test_scp_stop(&scp);
    }
    assert_int_equal(count_descriptors(), before);
}

static void test_bad_files(void **state)
{
    const char *empty = test_tls_file("empty", ".pem"),
               *open_key = test_tls_file("open", ".key"),
               *locked = test_tls_file("locked", ".key"),
               *absent = test_tls_file("absent", ".pem");
    const char *server_key = test_tls_file("server", ".key");
    (void)state;
    test_write_text(empty,
                    "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n");
    assert_int_equal(chmod(empty, 0600), 0);
    test_write_text(open_key, "any");
    assert_int_equal(chmod(open_key, 0640), 0);
    const char *const lock[] = {"openssl",  "pkey",      "-in",  server_key, "-aes256",
                                "-passout", "pass:word", "-out", locked,     NULL};
    assert_int_equal(test_run(lock), 0);
    assert_int_equal(chmod(locked, 0600), 0);
    const struct {
        const char *certificate, *key, *ca, *file; /* the message names the last */
        md_status status;
        const char *says;
    } rows[] = {
        {"absent", NULL, NULL, absent, MD_NOT_FOUND, ""},
        {NULL, "absent", NULL, absent, MD_NOT_FOUND, "the private key"},
        {NULL, NULL, "absent", absent, MD_NOT_FOUND, ""},
        {"empty", NULL, NULL, empty, MD_FORMAT, "no certificate in PEM form"},
        {NULL, "empty", NULL, empty, MD_FORMAT, "no private key in PEM form"},
        {NULL, NULL, "empty", empty, MD_FORMAT, "no CA certificate in PEM form"},
        {NULL, "open", NULL, open_key, MD_INVALID_ARG, "open to others (mode 0640): chmod 600"},
        {NULL, "locked", NULL, locked, MD_FORMAT, "without password"},
        {NULL, "client", NULL, test_tls_file("client", ".key"), MD_INVALID_ARG,
         "does not belong"},
        {"expired", "expired", NULL, test_tls_file("expired", ".crt"), MD_INVALID_ARG,
         "has expired"},
        {"early", "client", NULL, test_tls_file("early", ".crt"), MD_INVALID_ARG,
         "not yet valid"},
        {"weak", "weak", NULL, test_tls_file("weak", ".crt"), MD_INVALID_ARG, "too small"},
        {NULL, NULL, "expired", test_tls_file("expired", ".crt"), MD_INVALID_ARG,
         "has expired"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char paths[3][128];
        const char *names[] = {rows[i].certificate, rows[i].key, rows[i].ca};
        static const char *const defaults[] = {"server", "server", "ca"};
        for (int k = 0; k < 3; k++) {
            const char *name = names[k] != NULL ? names[k] : defaults[k];
            bool is_pem = strcmp(name, "empty") == 0 || strcmp(name, "absent") == 0;
            snprintf(paths[k], sizeof paths[k], "%s/%s%s", test_tls_folder, name,
                     is_pem   ? ".pem"
                     : k == 1 ? ".key"
                              : ".crt");
        }
        md_tls_options options = {
            .certificate = paths[0], .private_key = paths[1], .ca = paths[2]};
        md_tls *tls = NULL;
        md_error err = {0};
        md_status status = md_tls_create_server(&options, &tls, &err);
        if (status != rows[i].status || strstr(err.msg, rows[i].says) == NULL ||
            strstr(err.msg, rows[i].file) == NULL) {
            fail_msg("row %zu: %s, \"%s\"", i, md_status_name(status), err.msg);
        }
        assert_null(tls);
        assert_int_equal(md_tls_create_client(&options, &tls, &err), rows[i].status);
    }
    md_tls_options good = test_tls_options("server", "ca");
    md_tls *tls = NULL;
    good.ca = NULL;
    assert_int_equal(md_tls_create_server(&good, &tls, NULL), MD_INVALID_ARG);
    good = test_tls_options("server", "ca");
    size_t nth = 1;
    for (;; nth++) {
        md_memory_fail_at(nth);
        md_status status = md_tls_create_server(&good, &tls, NULL);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    assert_true(nth > 3);
    md_tls_destroy(tls);
    md_tls_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_peers),
        cmocka_unit_test(test_dcmtk_client),
        cmocka_unit_test(test_dcmtk_server),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_versions_and_suites),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_no_second_handshake),
        cmocka_unit_test(test_wrong_protocols),
        cmocka_unit_test(test_stalled_handshakes_do_not_matter),
        cmocka_unit_test(test_handshakes_are_bounded),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_limit_and_stop),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_bad_files),
    };
    signal(SIGPIPE, SIG_DFL); /* a write to a dead peer would end the process */
    return cmocka_run_group_tests_name("dicom_network_tls", tests, test_tls_setup,
                                       test_tls_teardown);
}
