#include "bench.h"

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
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define STUDY "1.2.3.4.5"

static char folder[64]; /* of certificates and keys that live as long as the test */

static pid_t start(const char *const *arguments)
{
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    union {
        const char *const *in;
        char *const *out;
    } argv = {.in = arguments};
    assert_int_equal(posix_spawnp(&pid, arguments[0], &actions, NULL, argv.out, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static int run(const char *const *arguments)
{
    int status = 0;
    pid_t pid = start(arguments);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Path of a file of the folder; 64 at a time. */
static const char *in_folder(const char *name, const char *ending)
{
    static char paths[64][128];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, 128, "%s/%s%s", folder, name, ending);
    return path;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* NAME.key and NAME.crt; issuer NULL: self-signed, a CA. */
static void make_certificate(const char *name, const char *issuer, const char *algorithm,
                             const char *option, const char *alternative, const char *days)
{
    char subject[64], extension[256];
    snprintf(subject, sizeof subject, "/CN=%s", name);
    const char *const root[] = {"openssl", "req",
                                "-x509",   "-newkey",
                                algorithm, "-pkeyopt",
                                option,    "-nodes",
                                "-subj",   subject,
                                "-days",   days,
                                "-keyout", in_folder(name, ".key"),
                                "-out",    in_folder(name, ".crt"),
                                NULL};
    if (issuer == NULL) {
        assert_int_equal(run(root), 0);
        return;
    }
    const char *request_file = in_folder(name, ".csr"), *extension_file = in_folder(name, "");
    const char *const request[] = {"openssl",
                                   "req",
                                   "-newkey",
                                   algorithm,
                                   "-pkeyopt",
                                   option,
                                   "-nodes",
                                   "-subj",
                                   subject,
                                   "-keyout",
                                   in_folder(name, ".key"),
                                   "-out",
                                   request_file,
                                   NULL};
    assert_int_equal(run(request), 0);
    snprintf(extension, sizeof extension, "basicConstraints=critical,CA:FALSE\n%s%s\n",
             alternative != NULL ? "subjectAltName=" : "",
             alternative != NULL ? alternative : "");
    write_text(extension_file, extension);
    const char *const sign[] = {"openssl",
                                "x509",
                                "-req",
                                "-in",
                                request_file,
                                "-CA",
                                in_folder(issuer, ".crt"),
                                "-CAkey",
                                in_folder(issuer, ".key"),
                                "-days",
                                days,
                                "-extfile",
                                extension_file,
                                "-out",
                                in_folder(name, ".crt"),
                                NULL};
    assert_int_equal(run(sign), 0);
}

/* The client's certificate again, but valid from tomorrow. */
static void make_early_certificate(void)
{
    FILE *in = fopen(in_folder("client", ".crt"), "r");
    assert_non_null(in);
    X509 *certificate = PEM_read_X509(in, NULL, NULL, NULL);
    fclose(in);
    in = fopen(in_folder("ca", ".key"), "r");
    assert_non_null(in);
    EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    fclose(in);
    assert_true(certificate != NULL && key != NULL);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 86400));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 2 * 86400));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    FILE *out = fopen(in_folder("early", ".crt"), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    assert_int_equal(fclose(out), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int make_all(void **state)
{
    static const char p256[] = "ec_paramgen_curve:P-256";
    (void)state;
    test_folder_make(folder);
    make_certificate("ca", NULL, "ec", p256, NULL, "2");
    make_certificate("other-ca", NULL, "ec", p256, NULL, "2");
    make_certificate("server", "ca", "rsa", "rsa_keygen_bits:2048",
                     "IP:127.0.0.1,DNS:localhost", "1");
    make_certificate("client", "ca", "ec", p256, NULL, "1");
    make_certificate("stranger", "other-ca", "ec", p256, "IP:127.0.0.1", "1");
    make_certificate("expired", "ca", "ec", p256, "IP:127.0.0.1", "-1");
    make_certificate("elsewhere", "ca", "ec", p256, "DNS:pacs.example", "1");
    make_certificate("weak", "ca", "rsa", "rsa_keygen_bits:1024", NULL, "1");
    make_early_certificate();
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    test_folder_remove(folder);
    return 0;
}

static md_tls_options files_of(const char *name, const char *ca)
{
    static char paths[16][3][128];
    static unsigned next;
    unsigned at = next++ % 16;
    snprintf(paths[at][0], 128, "%s/%s.crt", folder, name);
    snprintf(paths[at][1], 128, "%s/%s.key", folder, name);
    snprintf(paths[at][2], 128, "%s/%s.crt", folder, ca);
    return (md_tls_options){
        .certificate = paths[at][0], .private_key = paths[at][1], .ca = paths[at][2]};
}

static void start_scp(test_scp *scp, const md_tls_options *tls, unsigned timeout_s)
{
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 64,
        .association_timeout_s = timeout_s,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .tls = tls,
    };
    test_scp_start(scp, &options);
}

static md_peer peer_at(const char *port, const md_tls_options *tls)
{
    md_peer peer = {.timeout_s = 20, .own_ae_title = "TESTER", .tls = tls};
    char text[64];
    snprintf(text, sizeof text, "MEDAID@127.0.0.1:%s", port);
    assert_int_equal(md_peer_parse(text, &peer, NULL), MD_OK);
    return peer;
}

static void assert_echo(const char *port, const md_tls_options *tls)
{
    md_peer peer = peer_at(port, tls);
    md_error err = {0};
    if (md_scu_echo(&peer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

/* The echo fails, and its error says so. */
static void assert_no_echo(const char *port, const md_tls_options *tls, md_status status,
                           const char *says)
{
    md_peer peer = peer_at(port, tls);
    md_error err = {0};
    assert_int_equal(md_scu_echo(&peer, &err), status);
    if (strstr(err.msg, says) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", says, err.msg);
    }
}

static void wait_for_event(test_scp *scp, const char *text)
{
    char line[512];
    for (int i = 0; i < 6000 && !test_scp_said(scp, text, NULL); i++) {
        usleep(10000);
    }
    if (!test_scp_said(scp, text, line)) {
        fail_msg("expected \"%s\", the last event is \"%s\"", text, line);
    }
}

static void make_file(const char *in, unsigned index, size_t n_pixel_bytes, char ret_path[128])
{
    test_dataset dataset;
    char instance[MD_UID_BYTES];
    snprintf(ret_path, 128, "%s/%u.dcm", in, index);
    snprintf(instance, sizeof instance, "1.2.3.4.5.1.%u", index);
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, n_pixel_bytes + 4096);
    test_dataset_fill(&dataset, TEST_CT_CLASS, instance, STUDY, n_pixel_bytes);
    test_dataset_save(&dataset, ret_path, TEST_CT_CLASS, instance, MD_UID_EXPLICIT_LITTLE);
    test_dataset_finish(&dataset);
}

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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
    test_folder_make(objects);
    for (unsigned i = 0; i < N; i++) {
        make_file(objects, i, 2000000 * i, paths[i]);
        list[i] = paths[i];
    }
    md_peer peer = peer_at(scp.port, &client);
    assert_echo(scp.port, &client);
    if (md_scu_send(&peer, list, N, outcomes, &err) != MD_OK) {
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca"),
                   expired = files_of("expired", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
    test_folder_make(objects);
    make_file(objects, 1, 1000000, path);
    const char *const echo[] = {"echoscu",          "+tls",   client.private_key,
                                client.certificate, "+cf",    client.ca,
                                "127.0.0.1",        scp.port, NULL};
    assert_int_equal(run(echo), 0);
    const char *const store[] = {"storescu", "+tls",    client.private_key, client.certificate,
                                 "+cf",      client.ca, "127.0.0.1",        scp.port,
                                 path,       NULL};
    assert_int_equal(run(store), 0);
    assert_int_equal(scp.n_objects, 1);
    const char *const bad[] = {"echoscu",           "+tls",   expired.private_key,
                               expired.certificate, "+cf",    expired.ca,
                               "127.0.0.1",         scp.port, NULL};
    assert_int_not_equal(run(bad), 0);
    wait_for_event(&scp, "certificate has expired");
    test_folder_remove(objects);
    test_scp_stop(&scp);
}

static void test_dcmtk_server(void **state)
{
    char port[8], received[64], objects[64], path[128];
    md_send_outcome outcome;
    md_error err = {0};
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    test_free_port(port);
    test_folder_make(received);
    test_folder_make(objects);
    make_file(objects, 1, 1000000, path);
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
    pid_t pid = start(storescp);
    md_peer peer = peer_at(port, &client);
    for (int i = 0; i < 600 && md_scu_echo(&peer, &err) != MD_OK; i++) {
        usleep(50000);
    }
    const char *list[] = {path};
    md_status status = md_scu_send(&peer, list, 1, &outcome, &err);
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca"),
                   stranger = files_of("stranger", "ca"),
                   other = files_of("client", "other-ca");
    (void)state;
    start_scp(&scp, &server, 20);
    assert_no_echo(scp.port, &stranger, MD_NETWORK, "TLS: the peer refuses: ");
    wait_for_event(&scp, "the peer's certificate is not accepted: unable to get local issuer");
    assert_no_echo(scp.port, &other, MD_NETWORK,
                   "the peer's certificate is not accepted: unable to get local issuer");
    wait_for_event(&scp, "the peer refuses: tlsv1 alert unknown ca");
    assert_echo(scp.port, &client);
    test_scp_stop(&scp);

    md_tls_options elsewhere = files_of("elsewhere", "ca");
    start_scp(&scp, &elsewhere, 20);
    assert_no_echo(scp.port, &client, MD_NETWORK, "not accepted: IP address mismatch");
    md_peer peer = peer_at(scp.port, &client);
    md_error err = {0};
    snprintf(peer.host, sizeof peer.host, "localhost");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, "ostname mismatch"));
    test_scp_stop(&scp);
    /* what is wrong with our own files shows before anything is sent */
    md_tls_options expired = files_of("expired", "ca");
    assert_no_echo("1", &expired, MD_IO, "the certificate has expired");
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

/* Whether an association request over it is accepted. */
static bool raw_associate(SSL *ssl)
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
        assert_int_equal(SSL_CTX_use_certificate_file(context, in_folder(certificate, ".crt"),
                                                      SSL_FILETYPE_PEM),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(context, in_folder(certificate, ".key"),
                                                     SSL_FILETYPE_PEM),
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
    md_tls_options server = files_of("server", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
    assert_true(raw_try(&scp, "client", TLS1_3_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384"));
    assert_false(raw_try(&scp, "client", TLS1_1_VERSION, NULL));
    wait_for_event(&scp, "TLS: unsupported protocol");
    /* no forward secrecy, no authenticated encryption, finite-field groups: not RFC 9325's */
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "AES128-GCM-SHA256"));
    wait_for_event(&scp, "TLS: no shared cipher");
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256"));
    assert_false(raw_try(&scp, "client", TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256"));
    test_scp_stop(&scp);
}

static void test_verify(void **state)
{
    test_scp scp;
    md_tls_options server = files_of("server", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
    assert_false(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
    wait_for_event(&scp, "TLS: peer did not return a certificate");
    assert_false(raw_try(&scp, NULL, TLS1_2_VERSION, NULL));
    test_scp_stop(&scp);
    server.verify = MD_TLS_VERIFY_OPTIONAL;
    start_scp(&scp, &server, 20);
    assert_true(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
    assert_true(raw_try(&scp, "client", TLS1_2_VERSION, NULL));
    assert_false(raw_try(&scp, "stranger", TLS1_3_VERSION, NULL));
    wait_for_event(&scp, "certificate is not accepted");
    test_scp_stop(&scp);
    server.verify = MD_TLS_VERIFY_NONE;
    server.ca = NULL;
    start_scp(&scp, &server, 20);
    assert_true(raw_try(&scp, NULL, TLS1_2_VERSION, NULL));
    assert_true(raw_try(&scp, "stranger", TLS1_3_VERSION, NULL));
    test_scp_stop(&scp);
}

/* No renegotiation and no resumption. */
static void test_no_second_handshake(void **state)
{
    test_scp scp;
    int fd = -1, result = 0;
    md_tls_options server = files_of("server", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    start_scp(&scp, &server, 20);
    assert_no_echo(scp.port, NULL, MD_NETWORK, "the peer aborted");
    wait_for_event(&scp, "connection_refused: an association without TLS on the port with TLS");
    assert_int_equal(scp.n_events, 1);
    assert_int_equal(say(&scp, "GET / HTTP/1.1\r\n\r\n", 18, answer), 0);
    wait_for_event(&scp, "connection_refused: an HTTP request on the DICOM port");
    assert_int_equal(say(&scp, "\xff\xff\xff\xff\xff", 5, answer), 0);
    wait_for_event(&scp, "connection_refused: not DICOM");
    assert_int_equal(scp.n_events, 3);
    /* a hello that is none gets an alert */
    assert_true(say(&scp, "\x16\3\1\0\5\1\0\0\1\0\0\0\0\0\0", 15, answer) > 0);
    assert_int_equal(answer[0], 0x15);
    wait_for_event(&scp, "connection_refused: TLS: ");
    int fd = test_connect(&scp);
    test_write(fd, "\x16\3\1\2\0\1", 6);
    close(fd);
    wait_for_event(&scp, "connection_refused: closed within the TLS handshake");
    assert_echo(scp.port, &client);
    test_scp_stop(&scp);

    start_scp(&scp, NULL, 20);
    assert_no_echo(scp.port, &client, MD_NETWORK, "TLS: ");
    wait_for_event(&scp, "connection_refused: a TLS hello on the port without TLS");
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    start_scp(&scp, &server, 60);
    for (int i = 0; i < N; i++) {
        stalled[i] = test_connect(&scp);
        test_write(stalled[i], hello, i % 3 == 0 ? 0 : i % 3 == 1 ? n_hello / 2 : n_hello);
    }
    int64_t worst_us = 0;
    for (int i = 0; i < 20; i++) {
        int64_t begin_us = md_clock_monotonic_us();
        assert_echo(scp.port, &client);
        int64_t took_us = md_clock_monotonic_us() - begin_us;
        worst_us = took_us > worst_us ? took_us : worst_us;
    }
    print_message("# the slowest of 20 echoes beside %d stalled handshakes: %.1f ms\n", N,
                  (double)worst_us / 1e3);
    assert_int_equal(scp.n_refused_connections, 0);
    for (int i = 0; i < N; i++) {
        close(stalled[i]);
    }
    test_scp_stop(&scp);

    start_scp(&scp, &server, 1);
    int fd = test_connect(&scp);
    test_write(fd, hello, n_hello / 2);
    for (size_t i = n_hello / 2; i < n_hello && scp.n_refused_connections == 0; i++) {
        test_write(fd, hello + i, 1); /* a byte now and then does not help */
        usleep(50000);
    }
    wait_for_event(&scp, "no TLS handshake within 1 s");
    close(fd);
    /* after the handshake there is an association to be asked for */
    int result = 0;
    SSL_CTX *context = raw_context("client", TLS1_3_VERSION);
    SSL *ssl = raw_client(&scp, context, &fd, &result);
    assert_int_equal(result, 1);
    wait_for_event(&scp, "no association request within 1 s");
    finish_raw(ssl, fd);
    SSL_CTX_free(context);
    test_scp_stop(&scp);
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    start_scp(&scp, &server, 60);
    for (int i = 0; i < N; i++) {
        stalled[i] = test_connect(&scp);
        test_write(stalled[i], hello, n_hello / 2);
    }
    wait_for_event(&scp, "too many unfinished TLS handshakes");
    assert_echo(scp.port, &client);
    for (int i = 0; i < N; i++) {
        close(stalled[i]);
    }
    test_scp_stop(&scp);
}

/* A server that accepts and says nothing costs one time-out. */
static void test_silent_server(void **state)
{
    md_error err = {0};
    md_tls_options client = files_of("client", "ca");
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

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
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
        now->n_good += md_scu_send(now->peer, &now->path, 1, &outcome, NULL) == MD_OK;
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca");
    (void)state;
    start_scp(&scp, &server, 60);
    test_folder_make(objects);
    make_file(objects, 1, 100000, path);
    md_peer peer = peer_at(scp.port, &client);
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
    md_tls_options server = files_of("server", "ca"), client = files_of("client", "ca"),
                   stranger = files_of("stranger", "ca");
    unsigned before = count_descriptors();
    (void)state;
    for (int i = 0; i < 3; i++) {
        test_scp scp;
        uint8_t answer[64];
        start_scp(&scp, &server, 20);
        for (int k = 0; k < 5; k++) {
            assert_echo(scp.port, &client);
            assert_no_echo(scp.port, &stranger, MD_NETWORK, "");
            assert_false(raw_try(&scp, NULL, TLS1_3_VERSION, NULL));
            (void)say(&scp, "\x16\3\1\0\5\1\0\0\1\0\0\0\0\0\0", 15, answer);
        }
        test_scp_stop(&scp);
    }
    assert_int_equal(count_descriptors(), before);
}

static void test_bad_files(void **state)
{
    const char *empty = in_folder("empty", ".pem"), *open_key = in_folder("open", ".key"),
               *locked = in_folder("locked", ".key"), *absent = in_folder("absent", ".pem");
    const char *server_key = in_folder("server", ".key");
    (void)state;
    write_text(empty, "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n");
    assert_int_equal(chmod(empty, 0600), 0);
    write_text(open_key, "any");
    assert_int_equal(chmod(open_key, 0640), 0);
    const char *const lock[] = {"openssl",  "pkey",      "-in",  server_key, "-aes256",
                                "-passout", "pass:word", "-out", locked,     NULL};
    assert_int_equal(run(lock), 0);
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
        {NULL, "client", NULL, in_folder("client", ".key"), MD_INVALID_ARG, "does not belong"},
        {"expired", "expired", NULL, in_folder("expired", ".crt"), MD_INVALID_ARG,
         "has expired"},
        {"early", "client", NULL, in_folder("early", ".crt"), MD_INVALID_ARG, "not yet valid"},
        {"weak", "weak", NULL, in_folder("weak", ".crt"), MD_INVALID_ARG, "too small"},
        {NULL, NULL, "expired", in_folder("expired", ".crt"), MD_INVALID_ARG, "has expired"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char paths[3][128];
        const char *names[] = {rows[i].certificate, rows[i].key, rows[i].ca};
        static const char *const defaults[] = {"server", "server", "ca"};
        for (int k = 0; k < 3; k++) {
            const char *name = names[k] != NULL ? names[k] : defaults[k];
            bool is_pem = strcmp(name, "empty") == 0 || strcmp(name, "absent") == 0;
            snprintf(paths[k], sizeof paths[k], "%s/%s%s", folder, name,
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
    md_tls_options good = files_of("server", "ca");
    md_tls *tls = NULL;
    good.ca = NULL;
    assert_int_equal(md_tls_create_server(&good, &tls, NULL), MD_INVALID_ARG);
    good = files_of("server", "ca");
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

static void test_callers(void **state)
{
    static const md_caller callers[] = {
        {"CT01", "192.0.2.0/24"}, {"CT01", "10.1.2.3"}, {"MR", ""}, {"V6", "2001:db8::/33"}};
    static const struct {
        const char *ae_title, *peer;
        bool known, good;
    } rows[] = {
        {"CT01", "192.0.2.255:1", true, true},
        {"CT01", "192.0.3.0:1", true, false},
        {"CT01", "10.1.2.3:4711", true, true},
        {"CT01", "10.1.2.4:4711", true, false},
        {"MR", "203.0.113.9:1", true, true},
        {"mr", "203.0.113.9:1", false, false},
        {"V6", "2001:db8:7fff::1:104", true, true},
        {"V6", "2001:db8:8000::1:104", true, false},
        {"V6", "192.0.2.1:104", true, false},
        {"", "192.0.2.1:104", false, false},
        {"CT01", "?:0", true, false},
    };
    static const md_caller bad[] = {{"", ""},
                                    {"A", "192.0.2.1/24"},
                                    {"A", "1.2.3"},
                                    {"A", "::/129"},
                                    {"A", "0.0.0.0/33"},
                                    {"A", "::1/"},
                                    {"A", "1.2.3.4/-1"},
                                    {"A", "host"}};
    static const md_caller fine[] = {
        {"A", ""}, {"A", "::/0"}, {"A", "0.0.0.0/0"}, {"A", "::1"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *refusal = md_callers_refusal(callers, 4, rows[i].ae_title, rows[i].peer);
        assert_true((refusal == NULL) == rows[i].good);
        if (refusal != NULL) {
            assert_true((strstr(refusal, "not from this address") != NULL) == rows[i].known);
        }
    }
    assert_null(md_callers_refusal(NULL, 0, "ANY", "192.0.2.1:1"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(md_caller_check(&bad[i], NULL), MD_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        assert_int_equal(md_caller_check(&fine[i], NULL), MD_OK);
    }
    md_caller allowed[] = {{"TESTER", "127.0.0.0/8"}, {"REMOTE", "192.0.2.0/24"}};
    test_scp scp;
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 4,
        .association_timeout_s = 20,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .allowed_callers = allowed,
        .n_allowed_callers = 2,
    };
    test_scp_start(&scp, &options);
    memset(allowed, 0, sizeof allowed); /* it has its own copy */
    assert_echo(scp.port, NULL);
    md_peer peer = peer_at(scp.port, NULL);
    md_error err = {0};
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "NOBODY");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, "result 1, source 1, reason 3"));
    wait_for_event(&scp, "association_rejected: calling AE title not recognised");
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "REMOTE");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    wait_for_event(&scp, "association_rejected: the calling AE title is allowed, but not from");
    assert_int_equal(scp.n_rejected, 2);
    test_scp_stop(&scp);
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
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_callers),
    };
    signal(SIGPIPE, SIG_DFL); /* a write to a dead peer would end the process */
    return cmocka_run_group_tests_name("dicom_network_tls", tests, make_all, remove_all);
}
