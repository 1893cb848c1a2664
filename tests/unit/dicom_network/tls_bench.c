#include "tls_bench.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define STUDY "1.2.3.4.5"

char test_tls_folder[64];

pid_t test_spawn(const char *const *arguments)
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

int test_run(const char *const *arguments)
{
    int status = 0;
    pid_t pid = test_spawn(arguments);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Path of a file of the folder; 64 at a time. */
const char *test_tls_file(const char *name, const char *ending)
{
    static char paths[64][128];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, 128, "%s/%s%s", test_tls_folder, name, ending);
    return path;
}

void test_write_text(const char *path, const char *text)
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
                                "-keyout", test_tls_file(name, ".key"),
                                "-out",    test_tls_file(name, ".crt"),
                                NULL};
    if (issuer == NULL) {
        assert_int_equal(test_run(root), 0);
        return;
    }
    const char *request_file = test_tls_file(name, ".csr"),
               *extension_file = test_tls_file(name, "");
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
                                   test_tls_file(name, ".key"),
                                   "-out",
                                   request_file,
                                   NULL};
    assert_int_equal(test_run(request), 0);
    snprintf(extension, sizeof extension, "basicConstraints=critical,CA:FALSE\n%s%s\n",
             alternative != NULL ? "subjectAltName=" : "",
             alternative != NULL ? alternative : "");
    test_write_text(extension_file, extension);
    const char *const sign[] = {"openssl",
                                "x509",
                                "-req",
                                "-in",
                                request_file,
                                "-CA",
                                test_tls_file(issuer, ".crt"),
                                "-CAkey",
                                test_tls_file(issuer, ".key"),
                                "-days",
                                days,
                                "-extfile",
                                extension_file,
                                "-out",
                                test_tls_file(name, ".crt"),
                                NULL};
    assert_int_equal(test_run(sign), 0);
}

/* The client's certificate again, but valid from tomorrow. */
static void make_early_certificate(void)
{
    FILE *in = fopen(test_tls_file("client", ".crt"), "r");
    assert_non_null(in);
    X509 *certificate = PEM_read_X509(in, NULL, NULL, NULL);
    fclose(in);
    in = fopen(test_tls_file("ca", ".key"), "r");
    assert_non_null(in);
    EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    fclose(in);
    assert_true(certificate != NULL && key != NULL);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 86400));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 2 * 86400));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    FILE *out = fopen(test_tls_file("early", ".crt"), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    assert_int_equal(fclose(out), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

int test_tls_setup(void **state)
{
    static const char p256[] = "ec_paramgen_curve:P-256";
    (void)state;
    test_folder_make(test_tls_folder);
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

int test_tls_teardown(void **state)
{
    (void)state;
    test_folder_remove(test_tls_folder);
    return 0;
}

md_tls_options test_tls_options(const char *name, const char *ca)
{
    static char paths[16][3][128];
    static unsigned next;
    unsigned at = next++ % 16;
    snprintf(paths[at][0], 128, "%s/%s.crt", test_tls_folder, name);
    snprintf(paths[at][1], 128, "%s/%s.key", test_tls_folder, name);
    snprintf(paths[at][2], 128, "%s/%s.crt", test_tls_folder, ca);
    return (md_tls_options){
        .certificate = paths[at][0], .private_key = paths[at][1], .ca = paths[at][2]};
}

void test_tls_start(test_scp *scp, const md_tls_options *tls, unsigned timeout_s)
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

md_peer test_tls_peer(const char *port, const md_tls_options *tls)
{
    md_peer peer = {.timeout_s = 20, .own_ae_title = "TESTER", .tls = tls};
    char text[64];
    snprintf(text, sizeof text, "MEDAID@127.0.0.1:%s", port);
    assert_int_equal(md_peer_parse(text, &peer, NULL), MD_OK);
    return peer;
}

void assert_tls_echo(const char *port, const md_tls_options *tls)
{
    md_peer peer = test_tls_peer(port, tls);
    md_error err = {0};
    if (md_scu_echo(&peer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

/* The echo fails, and its error says so. */
void assert_no_tls_echo(const char *port, const md_tls_options *tls, md_status status,
                        const char *says)
{
    md_peer peer = test_tls_peer(port, tls);
    md_error err = {0};
    assert_int_equal(md_scu_echo(&peer, &err), status);
    if (strstr(err.msg, says) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", says, err.msg);
    }
}

void test_wait_for_event(test_scp *scp, const char *text)
{
    char line[512];
    for (int i = 0; i < 6000 && !test_scp_said(scp, text, NULL); i++) {
        usleep(10000);
    }
    if (!test_scp_said(scp, text, line)) {
        fail_msg("expected \"%s\", the last event is \"%s\"", text, line);
    }
}

void test_make_file(const char *in, unsigned index, size_t n_pixel_bytes, char ret_path[128])
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
