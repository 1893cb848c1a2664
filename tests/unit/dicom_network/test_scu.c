#include "bench.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/part10.h"
#include "dicom/network/pdu.h"
#include "dicom/network/scu.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define STUDY "1.2.3.4.5"
#define MR_CLASS "1.2.840.10008.5.1.4.1.1.4"

static md_peer peer_at(const char *port)
{
    md_peer peer = {.timeout_s = 20, .own_ae_title = "TESTER"};
    char text[64];
    snprintf(text, sizeof text, "MEDAID@127.0.0.1:%s", port);
    assert_int_equal(md_peer_parse(text, &peer, NULL), MD_OK);
    return peer;
}

/* A file of this class and syntax in the folder; the caller removes the folder. */
static void make_file(const char *folder, const char *class_uid, unsigned index,
                      const char *syntax, size_t n_pixel_bytes, char ret_path[128])
{
    test_dataset dataset;
    char instance[MD_UID_BYTES];
    snprintf(ret_path, 128, "%s/%u.dcm", folder, index);
    snprintf(instance, sizeof instance, "1.2.3.4.5.1.%u", index);
    test_dataset_init(&dataset, md_transfer_syntax_encoding(syntax), n_pixel_bytes + 4096);
    test_dataset_fill(&dataset, class_uid, instance, STUDY, n_pixel_bytes);
    test_dataset_save(&dataset, ret_path, class_uid, instance, syntax);
    test_dataset_finish(&dataset);
}

static void test_own_peer(void **state)
{
    static const char *const syntaxes[] = {MD_UID_IMPLICIT_LITTLE, MD_UID_EXPLICIT_LITTLE,
                                           "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.90"};
    enum {
        N = 4
    };
    test_scp scp;
    char folder[64], paths[N][128];
    const char *list[N];
    md_send_outcome outcomes[N];
    md_error err = {0};
    (void)state;
    test_scp_start(&scp, NULL);
    test_folder_make(folder);
    for (unsigned i = 0; i < N; i++) {
        make_file(folder, TEST_CT_CLASS, i, syntaxes[i], 1000000 * i, paths[i]);
        list[i] = paths[i];
    }
    md_peer peer = peer_at(scp.port);
    assert_int_equal(md_scu_echo(&peer, &err), MD_OK);
    assert_int_equal(md_scu_send(&peer, NULL, list, N, outcomes, &err), MD_OK);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(outcomes[i].status, MD_OK);
        assert_int_equal(outcomes[i].dimse_status, 0);
    }
    assert_int_equal(scp.n_objects, N);
    /* a warning is stored, a refusal is not; each object is told apart */
    scp.answer = 0xb006;
    assert_int_equal(md_scu_send(&peer, NULL, list, 1, outcomes, &err), MD_OK);
    assert_int_equal(outcomes[0].dimse_status, 0xb006);
    scp.answer = 0xa700;
    assert_int_equal(md_scu_send(&peer, NULL, list, 2, outcomes, &err), MD_BUSY);
    assert_int_equal(outcomes[1].dimse_status, 0xa700);
    assert_non_null(strstr(err.msg, "0xa700"));
    scp.answer = 0xc001;
    assert_int_equal(md_scu_send(&peer, NULL, list, 2, outcomes, &err), MD_NETWORK);
    assert_int_equal(outcomes[1].status, MD_NETWORK);
    assert_int_equal(scp.n_objects, N + 5);
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

/* What cannot be sent is told for that file; the others arrive. */
static void test_partial(void **state)
{
    enum {
        N = 6
    };
    test_scp scp;
    char folder[64], paths[N][128];
    const char *list[N];
    md_send_outcome outcomes[N];
    md_error err = {0};
    (void)state;
    test_scp_start(&scp, NULL);
    test_folder_make(folder);
    make_file(folder, TEST_CT_CLASS, 0, MD_UID_EXPLICIT_LITTLE, 1000, paths[0]);
    make_file(folder, TEST_CT_CLASS, 1, "1.2.840.10008.1.2.4.92", 1000, paths[1]);
    make_file(folder, "1.2.3.4", 2, MD_UID_EXPLICIT_LITTLE, 1000, paths[2]);
    snprintf(paths[3], sizeof paths[3], "%s/absent.dcm", folder);
    snprintf(paths[4], sizeof paths[4], "%s/text", folder);
    FILE *text = fopen(paths[4], "w");
    assert_non_null(text);
    fputs("no DICOM", text);
    fclose(text);
    make_file(folder, MR_CLASS, 5, MD_UID_IMPLICIT_LITTLE, 1000, paths[5]);
    for (unsigned i = 0; i < N; i++) {
        list[i] = paths[i];
    }
    md_peer peer = peer_at(scp.port);
    assert_int_equal(md_scu_send(&peer, NULL, list, N, outcomes, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "absent.dcm"));
    static const md_status expected[N] = {MD_OK,        MD_UNSUPPORTED, MD_UNSUPPORTED,
                                          MD_NOT_FOUND, MD_FORMAT,      MD_OK};
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(outcomes[i].status, expected[i]);
        assert_int_equal(outcomes[i].dimse_status, expected[i] == MD_OK ? 0 : 0xffff);
    }
    assert_int_equal(scp.n_objects, 2);
    assert_int_equal(md_scu_send(&peer, NULL, list + 1, 1, outcomes, &err), MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "CT Image in transfer syntax"));
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

static pid_t start(const char *const *arguments)
{
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    union {
        const char *const *in;
        char *const *out;
    } argv = {.in = arguments};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&pid, arguments[0], &actions, NULL, argv.out, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void wait_for_peer(const md_peer *peer)
{
    for (int i = 0; i < 600 && md_scu_echo(peer, NULL) != MD_OK; i++) {
        usleep(50000);
    }
    md_error err = {0};
    if (md_scu_echo(peer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

static void test_dcmtk_peer(void **state)
{
    enum {
        N = 20
    };
    char port[8], folder[64], received[64], paths[N][128];
    const char *list[N];
    md_send_outcome outcomes[N];
    md_error err = {0};
    (void)state;
    test_free_port(port);
    test_folder_make(folder);
    test_folder_make(received);
    /* a small PDU, so that objects come in many fragments of odd places */
    const char *const storescp[] = {"storescp", "-aet", "MEDAID", "+xa", "-pdu",
                                    "4096",     "-od",  received, port,  NULL};
    pid_t pid = start(storescp);
    md_peer peer = peer_at(port);
    wait_for_peer(&peer);
    for (unsigned i = 0; i < N; i++) {
        make_file(folder, i % 2 == 0 ? TEST_CT_CLASS : MR_CLASS, i,
                  i % 3 == 0 ? MD_UID_IMPLICIT_LITTLE : MD_UID_EXPLICIT_LITTLE, 9999 * i & ~1U,
                  paths[i]);
        list[i] = paths[i];
    }
    md_status status = md_scu_send(&peer, NULL, list, N, outcomes, &err);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    if (status != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(test_folder_count(received), N);
    test_folder_remove(folder);
    test_folder_remove(received);
}

/* A server of one conversation: reads n_read bytes, writes bytes, and so on; then it closes, or
 * stays silent until the client leaves. */
typedef struct script {
    int listen_fd;
    char port[8];
    bool stay;
    struct {
        size_t n_read;
        const void *bytes;
        size_t n;
    } steps[3];
    pthread_t thread;
} script;

static void *run_script(void *argument)
{
    script *now = argument;
    int fd = accept(now->listen_fd, NULL, NULL);
    static uint8_t ignored[1 << 16];
    for (int i = 0; i < 3; i++) {
        (void)test_read(fd, ignored, now->steps[i].n_read);
        test_write(fd, now->steps[i].bytes, now->steps[i].n);
    }
    if (now->stay) {
        while (test_read(fd, ignored, 1) == 1) {
        }
    }
    close(fd);
    return NULL;
}

static void start_script(script *now)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    now->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(now->listen_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(now->listen_fd, 4), 0);
    assert_int_equal(getsockname(now->listen_fd, (struct sockaddr *)&address, &size), 0);
    snprintf(now->port, sizeof now->port, "%u", (unsigned)ntohs(address.sin_port));
    assert_int_equal(pthread_create(&now->thread, NULL, run_script, now), 0);
}

static void end_script(script *now)
{
    pthread_join(now->thread, NULL);
    close(now->listen_fd);
}

/* The A-ASSOCIATE-AC that fits our C-ECHO. */
static size_t make_accept(uint8_t *bytes, size_t capacity, uint32_t max_pdu_bytes)
{
    static md_associate associate;
    uint8_t request[80] = {0};
    memset(&associate, 0, sizeof associate);
    associate.n_contexts = 1;
    associate.contexts[0].id = 1;
    snprintf(associate.contexts[0].transfer_syntax, MD_UID_BYTES, MD_UID_IMPLICIT_LITTLE);
    size_t n = md_pdu_write_accept(&associate, max_pdu_bytes, request, bytes, capacity);
    assert_true(n > 0);
    return n;
}

/* Length of the A-ASSOCIATE-RQ that md_scu_echo sends, with its header. */
static size_t echo_request_bytes(void)
{
    static md_associate own;
    static uint8_t bytes[4096];
    memset(&own, 0, sizeof own);
    own.n_contexts = 1;
    own.contexts[0].id = 1;
    snprintf(own.contexts[0].abstract_syntax, MD_UID_BYTES, MD_UID_VERIFICATION);
    snprintf(own.contexts[0].transfer_syntax, MD_UID_BYTES, MD_UID_IMPLICIT_LITTLE);
    return md_pdu_write_request(&own, bytes, sizeof bytes);
}

static void test_hostile_servers(void **state)
{
    uint8_t accept_pdu[1024], tiny[1024];
    size_t n_accept = make_accept(accept_pdu, sizeof accept_pdu, 16384);
    size_t n_tiny = make_accept(tiny, sizeof tiny, 7);
    size_t n_request = echo_request_bytes();
    const struct {
        const char *bytes; /* instead of the A-ASSOCIATE-AC; NULL: accept, then `then` */
        size_t n;
        const char *then;
        size_t n_then;
        bool stay;
        md_status status;
        const char *says;
    } rows[] = {
        {"", 0, NULL, 0, false, MD_NETWORK, "closed the connection"},
        {"", 0, NULL, 0, true, MD_TIMEOUT, "in time"},
        {"HTTP/1.1 400 Bad Request\r\n", 26, NULL, 0, false, MD_NETWORK, "PDU type 0x48"},
        {"\x02\0\x7f\xff\xff\xff", 6, NULL, 0, false, MD_NETWORK, "claims 2147483647"},
        {"\x02\0\0\0\0\x04\0\0\0\0", 10, NULL, 0, false, MD_FORMAT, "at least 68"},
        {"\x03\0\0\0\0\x04\0\x02\x03\x02", 10, NULL, 0, false, MD_BUSY, "too many"},
        {"\x03\0\0\0\0\x04\0\x01\x01\x07", 10, NULL, 0, false, MD_NETWORK, "that we call"},
        {"\x03\0\0\0\0\x04\0\x01\x01\x03", 10, NULL, 0, false, MD_NETWORK, "our AE title"},
        {"\x07\0\0\0\0\x04\0\0\x02\x01", 10, NULL, 0, false, MD_NETWORK, "aborted"},
        {NULL, 0, "", 0, true, MD_TIMEOUT, "in time"},
        {NULL, 0, "\x04\0\xff\xff\xff\xff", 6, false, MD_NETWORK, "claims 4294967295"},
        {NULL, 0, "\x04\0\0\0\0\x08\0\0\0\x99\x01\x03\0\0", 14, false, MD_NETWORK, "malformed"},
        {NULL, 0, "\x04\0\0\0\0\x08\0\0\0\x04\x01\x02\0\0", 14, false, MD_NETWORK, "malformed"},
        {NULL, 0, "\x04\0\0\0\0\x06\0\0\0\x02\x01\x03", 12, false, MD_FORMAT, "response"},
        {NULL, 0, "\x05\0\0\0\0\x04\0\0\0\0", 10, false, MD_NETWORK, "PDU type 0x05"},
        {(const char *)tiny, n_tiny, NULL, 0, false, MD_NETWORK, "PDUs of 7 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        script now = {.stay = rows[i].stay};
        md_error err = {0};
        now.steps[0].n_read = n_request;
        now.steps[0].bytes = rows[i].bytes != NULL ? (const void *)rows[i].bytes : accept_pdu;
        now.steps[0].n = rows[i].bytes != NULL ? rows[i].n : n_accept;
        if (rows[i].then != NULL) {
            now.steps[1].n_read = 12 + 68; /* the C-ECHO-RQ */
            now.steps[1].bytes = rows[i].then;
            now.steps[1].n = rows[i].n_then;
        }
        start_script(&now);
        md_peer peer = peer_at(now.port);
        peer.timeout_s = rows[i].status == MD_TIMEOUT ? 1 : 20;
        md_status status = md_scu_echo(&peer, &err);
        end_script(&now);
        if (status != rows[i].status || strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu: %s, %s", i, md_status_name(status), err.msg);
        }
    }
}

static void test_no_server(void **state)
{
    char port[8], folder[64], path[128];
    md_error err = {0};
    md_send_outcome outcome;
    (void)state;
    test_free_port(port);
    md_peer peer = peer_at(port);
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, port));
    snprintf(peer.host, sizeof peer.host, "no-such-host.invalid");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    peer.timeout_s = 0;
    assert_int_equal(md_scu_echo(&peer, &err), MD_INVALID_ARG);
    test_folder_make(folder);
    make_file(folder, TEST_CT_CLASS, 0, MD_UID_EXPLICIT_LITTLE, 1000, path);
    const char *list[] = {path};
    peer = peer_at(port);
    assert_int_equal(md_scu_send(&peer, NULL, list, 1, &outcome, &err), MD_NETWORK);
    assert_int_equal(outcome.status, MD_NETWORK);
    assert_int_equal(outcome.dimse_status, 0xffff);
    for (size_t nth = 1; nth <= 1; nth++) {
        md_memory_fail_at(nth);
        assert_int_equal(md_scu_send(&peer, NULL, list, 1, &outcome, &err), MD_NOMEM);
        md_memory_fail_at(0);
    }
    test_folder_remove(folder);
}

/* The peer goes away in the middle of the second of three objects. */
static void test_peer_dies(void **state)
{
    test_scp scp;
    char folder[64], paths[3][128];
    const char *list[3];
    md_send_outcome outcomes[3];
    md_error err = {0};
    md_scp_options options = {.ae_title = "MEDAID",
                              .bind_address = "127.0.0.1",
                              .max_associations = 2,
                              .association_timeout_s = 20,
                              .max_pdu_bytes = 16384,
                              .max_object_bytes = 1000000};
    (void)state;
    test_scp_start(&scp, &options);
    test_folder_make(folder);
    for (unsigned i = 0; i < 3; i++) {
        /* refused for its size, and twice as large: the association is aborted */
        make_file(folder, TEST_CT_CLASS, i, MD_UID_EXPLICIT_LITTLE, i == 1 ? 8000000 : 1000,
                  paths[i]);
        list[i] = paths[i];
    }
    md_peer peer = peer_at(scp.port);
    assert_int_not_equal(md_scu_send(&peer, NULL, list, 3, outcomes, &err), MD_OK);
    assert_int_equal(outcomes[0].status, MD_OK);
    assert_int_equal(outcomes[1].status, MD_NETWORK);
    assert_int_equal(outcomes[1].dimse_status, 0xffff);
    assert_int_equal(outcomes[2].status, MD_NETWORK);
    assert_int_equal(scp.n_objects, 1);
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

/* Complaint 17: sent is only what the peer says it has stored, whatever the status is called.
 */
static void test_every_response_status(void **state)
{
    static const struct {
        unsigned status;
        md_status expected;
    } rows[] = {
        {0x0000, MD_OK},      {0xb000, MD_OK},      {0xb006, MD_OK},      {0xb007, MD_OK},
        {0xbfff, MD_OK},      {0xa700, MD_BUSY},    {0xa7ff, MD_BUSY},    {0xa900, MD_NETWORK},
        {0xa9ff, MD_NETWORK}, {0xaaaa, MD_NETWORK}, {0xc000, MD_NETWORK}, {0xcfff, MD_NETWORK},
        {0x0001, MD_NETWORK}, {0x0106, MD_NETWORK}, {0x0107, MD_NETWORK}, {0x0110, MD_NETWORK},
        {0x0111, MD_NETWORK}, {0x0116, MD_NETWORK}, {0x0117, MD_NETWORK}, {0x0119, MD_NETWORK},
        {0x0122, MD_NETWORK}, {0x0124, MD_NETWORK}, {0x0210, MD_NETWORK}, {0x0211, MD_NETWORK},
        {0x0212, MD_NETWORK}, {0x0213, MD_NETWORK}, {0xfe00, MD_NETWORK}, {0xff00, MD_NETWORK},
        {0xff01, MD_NETWORK}, {0xffff, MD_NETWORK},
    };
    test_scp scp;
    char folder[64], path[128];
    (void)state;
    test_scp_start(&scp, NULL);
    test_folder_make(folder);
    make_file(folder, TEST_CT_CLASS, 0, MD_UID_EXPLICIT_LITTLE, 1000, path);
    const char *list[] = {path};
    md_peer peer = peer_at(scp.port);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_send_outcome outcome;
        scp.answer = rows[i].status;
        md_status status = md_scu_send(&peer, NULL, list, 1, &outcome, NULL);
        if (status != rows[i].expected || outcome.status != rows[i].expected ||
            outcome.dimse_status != rows[i].status) {
            fail_msg("status 0x%04x: %s", rows[i].status, md_status_name(status));
        }
    }
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

/* A converter that writes the same object as if it were in the other syntax. */
static atomic_uint n_converted;
static md_status fake_convert(void *context, const char *path, const char *syntax, int *ret_fd,
                              md_error *err)
{
    const char *folder = context;
    char copy[160];
    md_part10 head;
    int fd = open(path, O_RDONLY);
    n_converted++;
    if (md_part10_read(fd, &head, err) != MD_OK) {
        return MD_FORMAT;
    }
    close(fd);
    snprintf(copy, sizeof copy, "%s/converted.dcm", folder);
    test_dataset dataset;
    test_dataset_init(&dataset, md_transfer_syntax_encoding(syntax), 8192);
    test_dataset_fill(&dataset, head.sop_class_uid, head.sop_instance_uid, STUDY, 1000);
    test_dataset_save(&dataset, copy, head.sop_class_uid, head.sop_instance_uid, syntax);
    test_dataset_finish(&dataset);
    *ret_fd = open(copy, O_RDONLY);
    assert_true(*ret_fd >= 0);
    return unlink(copy) == 0 ? MD_OK : md_fail(err, MD_IO, "unlink");
}

static md_status refuse_to_convert(void *context, const char *path, const char *syntax,
                                   int *ret_fd, md_error *err)
{
    (void)context;
    (void)path;
    (void)syntax;
    (void)ret_fd;
    return md_fail(err, MD_FORMAT, "broken");
}

/* HTJ2K, which medaid's SCP does not take, is converted; what it takes goes as it is. */
static void test_negotiation(void **state)
{
    static const char own[] = "1.2.840.10008.1.2.4.201";
    static const char j2k[] = "1.2.840.10008.1.2.4.90";
    test_scp scp;
    char folder[64], odd[128], plain[128];
    md_send_outcome outcomes[2];
    md_error err = {0};
    (void)state;
    test_scp_start(&scp, NULL);
    test_folder_make(folder);
    make_file(folder, TEST_CT_CLASS, 0, own, 1000, odd);
    make_file(folder, TEST_CT_CLASS, 1, j2k, 1000, plain);
    const char *list[] = {odd, plain};
    md_peer peer = peer_at(scp.port);
    md_send_options options = {.convert = fake_convert, .context = folder};
    n_converted = 0;
    assert_int_equal(md_scu_send(&peer, &options, list, 2, outcomes, &err), MD_OK);
    assert_true(outcomes[0].converted);
    assert_false(outcomes[1].converted);
    assert_int_equal(n_converted, 1);
    assert_int_equal(scp.n_objects, 2);
    /* without "own", and with a UID that fits one of the two */
    const char *const some[] = {j2k, MD_UID_EXPLICIT_LITTLE};
    options.transfer_syntaxes = some;
    options.n_transfer_syntaxes = 2;
    assert_int_equal(md_scu_send(&peer, &options, list, 2, outcomes, &err), MD_OK);
    assert_int_equal(n_converted, 2);
    assert_false(outcomes[1].converted);
    const char *const none[] = {"1.2.840.10008.1.2.4.50"};
    options.transfer_syntaxes = none;
    options.n_transfer_syntaxes = 1;
    assert_int_equal(md_scu_send(&peer, &options, list, 2, outcomes, &err), MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "none of the transfer syntaxes"));
    /* an object that cannot be converted is that object's failure; the next is sent */
    options = (md_send_options){.convert = refuse_to_convert};
    assert_int_equal(md_scu_send(&peer, &options, list, 2, outcomes, &err), MD_FORMAT);
    assert_int_equal(outcomes[0].status, MD_FORMAT);
    assert_int_equal(outcomes[1].status, MD_OK);
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

/* 60 SOP classes in three syntaxes are 180 contexts: two associations, and each object arrives.
 */
static void test_more_contexts_than_one_association(void **state)
{
    enum {
        N = 60
    };
    test_scp scp;
    char folder[64];
    static char paths[N][128];
    const char *list[N];
    md_send_outcome outcomes[N];
    (void)state;
    test_scp_start(&scp, NULL);
    test_folder_make(folder);
    for (unsigned i = 0; i < N; i++) {
        char class_uid[MD_UID_BYTES];
        snprintf(class_uid, sizeof class_uid, "1.2.3.4.%u", i);
        make_file(folder, i % 20 == 0 ? TEST_CT_CLASS : class_uid, i, "1.2.840.10008.1.2.4.90",
                  1000, paths[i]);
        list[i] = paths[i];
    }
    md_peer peer = peer_at(scp.port);
    const md_send_options options = {.convert = fake_convert, .context = folder};
    assert_int_equal(md_scu_send(&peer, &options, list, N, outcomes, NULL), MD_UNSUPPORTED);
    for (unsigned i = 0; i < N; i++) { /* the SCP knows no class of 1.2.3.4 */
        assert_int_equal(outcomes[i].status, i % 20 == 0 ? MD_OK : MD_UNSUPPORTED);
    }
    for (int i = 0; i < 1000 && scp.n_done < 2; i++) {
        usleep(10000);
    }
    assert_int_equal(scp.n_done, 2);
    assert_int_equal(scp.n_objects, 3);
    test_folder_remove(folder);
    test_scp_stop(&scp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_response_status),
        cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_more_contexts_than_one_association),
        cmocka_unit_test(test_own_peer),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_dcmtk_peer),
        cmocka_unit_test(test_hostile_servers),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_peer_dies),
    };
    signal(SIGPIPE, SIG_DFL); /* a write to a dead peer would end the process */
    return cmocka_run_group_tests_name("dicom_network_scu", tests, NULL, NULL);
}
