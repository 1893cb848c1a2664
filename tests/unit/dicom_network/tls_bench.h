#ifndef MEDAID_TESTS_DICOM_NETWORK_TLS_BENCH_H
#define MEDAID_TESTS_DICOM_NETWORK_TLS_BENCH_H

/* Certificates that live as long as a test, and peers that use them. */

#include "bench.h"

#include "dicom/network/scu.h"

#include <sys/types.h>

extern char test_tls_folder[64];

/* For cmocka's group: in test_tls_folder NAME.crt and NAME.key of ca, other-ca; server (RSA,
 * for 127.0.0.1 and localhost), client, expired, elsewhere (for pacs.example), weak (RSA 1024),
 * all by ca; stranger by other-ca; and early.crt, the client's from tomorrow on. */
int test_tls_setup(void **state);
int test_tls_teardown(void **state);
/* Path of a file of the folder, valid for 64 more calls. */
const char *test_tls_file(const char *name, const char *ending);
void test_write_text(const char *path, const char *text);
/* NAME's certificate and key, checked against this CA; valid for 16 more calls. */
md_tls_options test_tls_options(const char *name, const char *ca);

/* Run a program with its output thrown away; its exit code. */
int test_run(const char *const *arguments);
pid_t test_spawn(const char *const *arguments);

void test_tls_start(test_scp *scp, const md_tls_options *tls, unsigned timeout_s);
md_peer test_tls_peer(const char *port, const md_tls_options *tls);
void assert_tls_echo(const char *port, const md_tls_options *tls);
/* The echo fails, and its error says so. */
void assert_no_tls_echo(const char *port, const md_tls_options *tls, md_status status,
                        const char *says);
void test_wait_for_event(test_scp *scp, const char *text);
/* A CT slice as a file of this folder. */
void test_make_file(const char *in, unsigned index, size_t n_pixel_bytes, char ret_path[128]);

#endif
