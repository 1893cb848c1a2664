#include "bench.h"

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/pdu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define STUDY "1.2.3.4.5"
#define SYNTAX MD_UID_EXPLICIT_LITTLE

/* Run a program with its output thrown away; returns its exit code. */
static int run(const char *const *arguments)
{
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    union {
        const char *const *in;
        char *const *out;
    } argv = {.in = arguments};
    assert_int_equal(posix_spawnp(&pid, arguments[0], &actions, NULL, argv.out, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Wait, for as long as it takes up to a minute, until *counter has reached n. */
static void wait_until(atomic_uint *counter, unsigned n)
{
    for (int i = 0; i < 6000 && *counter < n; i++) {
        usleep(10000);
    }
    assert_true(*counter >= n);
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

static md_scp_options common_options(void)
{
    return (md_scp_options){
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 16,
        .association_timeout_s = 20,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
    };
}

/* A valid dataset of this instance; the caller finishes it. */
static void make_object(test_dataset *dataset, const char *instance, size_t n_pixel_bytes)
{
    test_dataset_init(dataset, MD_ENCODING_EXPLICIT_LITTLE, n_pixel_bytes + 4096);
    test_dataset_fill(dataset, TEST_CT_CLASS, instance, STUDY, n_pixel_bytes);
}

/* An association of its own with C-ECHO works. */
static void assert_echo(test_scp *scp)
{
    int fd = test_connect(scp);
    assert_int_equal(test_associate(fd, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE), 0);
    assert_int_equal(test_echo(fd), 0);
    close(fd);
}

static void test_dcmtk_peers(void **state)
{
    static const struct {
        const char *uid, *flag;
        md_encoding encoding;
    } rows[] = {
        {MD_UID_IMPLICIT_LITTLE, "-xi", MD_ENCODING_IMPLICIT_LITTLE},
        {MD_UID_EXPLICIT_LITTLE, "-xe", MD_ENCODING_EXPLICIT_LITTLE},
        {"1.2.840.10008.1.2.2", "-xb", MD_ENCODING_EXPLICIT_BIG},
    };
    test_scp scp;
    (void)state;
    test_scp_start(&scp, NULL);
    scp.keep = true;
    const char *const echo[] = {"echoscu", "127.0.0.1", scp.port, NULL};
    assert_int_equal(run(echo), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[] = "/tmp/medaid-scp-XXXXXX", instance[MD_UID_BYTES];
        test_dataset dataset;
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        snprintf(instance, sizeof instance, "1.2.3.4.5.1.%zu", i);
        test_dataset_init(&dataset, rows[i].encoding, 1 << 20);
        test_dataset_fill(&dataset, TEST_CT_CLASS, instance, STUDY, 500000);
        test_dataset_save(&dataset, path, TEST_CT_CLASS, instance, rows[i].uid);
        test_dataset_finish(&dataset);
        /* the same file three times over one association */
        const char *const store[] = {"storescu", rows[i].flag, "127.0.0.1", scp.port,
                                     path,       path,         path,        NULL};
        assert_int_equal(run(store), 0);
        unlink(path);
    }
    assert_int_equal(scp.n_objects, 9);
    assert_int_equal(scp.n_refused_objects, 0);
    assert_string_equal(scp.last_study, STUDY);
    assert_int_equal(test_folder_count(scp.spool), 9);
    char command[256];
    snprintf(command, sizeof command, "for f in %s/*; do dcmdump $f || exit 1; done",
             scp.spool);
    const char *const dump[] = {"/bin/sh", "-c", command, NULL};
    assert_int_equal(run(dump), 0); /* what was written are files that DCMTK reads */
    test_scp_stop(&scp);
}

/* The dataset's bytes are in the file as they came, after the head. */
static void test_bytes_are_kept(void **state)
{
    test_scp scp;
    test_dataset dataset;
    (void)state;
    test_scp_start(&scp, NULL);
    scp.keep = true;
    make_object(&dataset, "1.2.3.1", 300000);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    assert_int_equal(test_store(fd, TEST_CT_CLASS, "1.2.3.1", dataset.bytes, dataset.used), 0);
    close(fd);
    char command[256], written[1 << 19];
    snprintf(command, sizeof command, "cat %s/*", scp.spool);
    FILE *file = popen(command, "r");
    assert_non_null(file);
    size_t n = fread(written, 1, sizeof written, file);
    pclose(file);
    assert_true(n > dataset.used && n < dataset.used + 1024);
    assert_memory_equal(written + n - dataset.used, dataset.bytes, dataset.used);
    test_dataset_finish(&dataset);
    test_scp_stop(&scp);
}

static void test_wrong_protocols(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "HTTP"},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, "TLS hello"},
        {"SSH-2.0-OpenSSH_9.2\r\n", 21, "not DICOM"},
        {"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\x06\x01\x03", 12, "not DICOM"},
        {"\x01\x00\x7f\xff\xff\xff\x00\x01", 8, "claims 2147483647 bytes"},
        {"\x01\x00\x00\x00\x00\x00", 6, "claims 0 bytes"},
    };
    test_scp scp;
    (void)state;
    test_scp_start(&scp, NULL);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t answer[64];
        int fd = test_connect(&scp);
        test_write(fd, rows[i].bytes, rows[i].n);
        wait_until(&scp.n_refused_connections, i + 1);
        wait_for_event(&scp, rows[i].says);
        assert_true(test_read(fd, answer, sizeof answer) <= MD_PDU_SHORT_BYTES);
        close(fd);
    }
    assert_echo(&scp);
    test_scp_stop(&scp);
}

/* A request of the right length and wrong inside is answered by an abort. */
static void test_malformed_request(void **state)
{
    test_scp scp;
    uint8_t bytes[200] = {1, 0, 0, 0, 0, 194, 0, 1}, answer[MD_PDU_SHORT_BYTES];
    (void)state;
    test_scp_start(&scp, NULL);
    int fd = test_connect(&scp);
    test_write(fd, bytes, sizeof bytes);
    assert_int_equal(test_read(fd, answer, sizeof answer), sizeof answer);
    assert_int_equal(answer[0], MD_PDU_ABORT);
    close(fd);
    wait_for_event(&scp, "association_aborted");
    assert_echo(&scp);
    test_scp_stop(&scp);
}

static void test_silent_clients_do_not_matter(void **state)
{
    enum {
        N_SILENT = 300
    };
    test_scp scp;
    int silent[N_SILENT];
    md_scp_options options = common_options();
    options.association_timeout_s = 4;
    options.max_associations = 4;
    (void)state;
    test_scp_start(&scp, &options);
    for (int i = 0; i < N_SILENT; i++) {
        silent[i] = test_connect(&scp);
        /* some send a part: of the header, or of the body */
        test_write(silent[i], "\x01\x00\x00\x00\x00\xff\x00\x01\x00", (size_t)(i % 10));
    }
    for (int i = 0; i < 20; i++) {
        assert_echo(&scp);
    }
    /* and then their time is over, one line each */
    wait_until(&scp.n_refused_connections, N_SILENT);
    wait_for_event(&scp, "no association request within 4 s");
    for (int i = 0; i < N_SILENT; i++) {
        uint8_t byte;
        assert_int_equal(test_read(silent[i], &byte, 1), 0);
        close(silent[i]);
    }
    assert_echo(&scp);
    test_scp_stop(&scp);
}

/* Within an association, one byte now and then is not enough to stay. */
static void test_slow_message_is_cut(void **state)
{
    test_scp scp;
    md_scp_options options = common_options();
    options.association_timeout_s = 1;
    (void)state;
    test_scp_start(&scp, &options);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    static const uint8_t head[] = {4, 0, 0, 0, 1, 0, 0, 0, 0, 252, 1, 3};
    test_write(fd, head, sizeof head);
    for (int i = 0; i < 600 && !test_scp_said(&scp, "in time", NULL); i++) {
        test_write(fd, "\0", 1);
        usleep(100000);
    }
    wait_for_event(&scp, "did not answer in time");
    close(fd);
    /* nor may one that has been accepted stay silent for ever */
    fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    uint8_t answer[MD_PDU_SHORT_BYTES];
    assert_int_equal(test_read(fd, answer, sizeof answer), sizeof answer);
    assert_int_equal(answer[0], MD_PDU_ABORT);
    close(fd);
    test_scp_stop(&scp);
}

/* Each is a PDU within an association that must end it, and nothing else. */
static void test_lying_pdus(void **state)
{
    static const struct {
        uint8_t bytes[16];
        size_t n;
        const char *says;
    } rows[] = {
        {{4, 0, 0x80, 0, 0, 0}, 6, "claims 2147483648 bytes"},
        {{4, 0, 0, 0, 0, 3, 1, 2, 3}, 9, "data PDU of 3 bytes"},
        {{4, 0, 0, 0, 0, 8, 0, 0, 0, 200, 1, 3, 0, 0}, 14, "claims 200 bytes"},
        {{4, 0, 0, 0, 0, 8, 0, 0, 0, 1, 1, 3, 0, 0}, 14, "claims 1 bytes"},
        {{4, 0, 0, 0, 0, 8, 0, 0, 0, 3, 1, 1, 0, 0}, 14, "1 bytes at the end"},
        {{4, 0, 0, 0, 0, 6, 0, 0, 0, 2, 5, 3}, 12, "presentation context 5"},
        {{4, 0, 0, 0, 0, 8, 0, 0, 0, 4, 1, 2, 0, 0}, 14, "without a command"},
        {{4, 0, 0, 0, 0, 6, 0, 0, 0, 2, 1, 3}, 12, "without command field"},
        {{1, 0, 0, 0, 0, 1, 0}, 7, "PDU type 1 within"},
        {{9, 0, 0, 0, 0, 1, 0}, 7, "PDU type 0x09 is unknown"},
        {{5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0}, 11, "release or abort PDU of 5 bytes"},
        {{7, 0, 0, 0, 0, 4, 0, 0, 2, 6}, 10, "peer aborted (source 2, reason 6)"},
    };
    test_scp scp;
    (void)state;
    test_scp_start(&scp, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = test_connect(&scp);
        uint8_t answer[MD_PDU_SHORT_BYTES];
        assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
        test_write(fd, rows[i].bytes, rows[i].n);
        wait_for_event(&scp, rows[i].says);
        if (rows[i].bytes[0] != MD_PDU_ABORT) {
            assert_int_equal(test_read(fd, answer, sizeof answer), sizeof answer);
            assert_int_equal(answer[0], MD_PDU_ABORT);
        }
        close(fd);
    }
    assert_echo(&scp);
    assert_int_equal(test_folder_count(scp.spool), 0);
    test_scp_stop(&scp);
}

static void test_sender_dies(void **state)
{
    test_scp scp;
    test_dataset dataset;
    (void)state;
    test_scp_start(&scp, NULL);
    make_object(&dataset, "1.2.3.1", 200000);
    for (unsigned how = 0; how < 3; how++) {
        int fd = test_connect(&scp);
        md_command request = {.field = MD_COMMAND_STORE_RQ, .message_id = 7};
        uint8_t command[MD_COMMAND_WRITE_BYTES], abort_pdu[MD_PDU_SHORT_BYTES];
        snprintf(request.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
        snprintf(request.sop_instance_uid, MD_UID_BYTES, "1.2.3.1");
        assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
        test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                       md_command_write(&request, command));
        test_write_pdv(fd, 1, 0, dataset.bytes, 100000);
        while (test_folder_count(scp.spool) == 0) {
            usleep(1000);
        }
        if (how == 1) {
            struct linger hard = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); /* a TCP reset */
        }
        if (how == 2) {
            md_pdu_write_release(MD_PDU_RELEASE_RQ, abort_pdu);
            test_write(fd, abort_pdu, sizeof abort_pdu);
        }
        close(fd);
        wait_until(&scp.n_done, how + 1);
        assert_int_equal(test_folder_count(scp.spool), 0);
    }
    assert_int_equal(scp.n_objects, 0);
    test_dataset_finish(&dataset);
    test_scp_stop(&scp);
}

/* Each bad object gets its status, and a good one over the same association is stored. */
static void test_bad_objects(void **state)
{
    static const char *const other_class = "1.2.840.10008.5.1.4.1.1.4";
    test_scp scp;
    test_dataset good, other;
    uint8_t garbage[5000];
    md_scp_options options = common_options();
    options.max_object_bytes = 1 << 20;
    (void)state;
    test_scp_start(&scp, &options);
    make_object(&good, "1.2.3.1", 3000);
    make_object(&other, "1.2.3.2", 1 << 20);
    for (size_t i = 0; i < sizeof garbage; i++) {
        garbage[i] = (uint8_t)(i * 2654435761U >> 16);
    }
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    const struct {
        const char *class_uid, *instance_uid;
        const uint8_t *bytes;
        size_t n;
        int status;
        const char *says;
    } rows[] = {
        {TEST_CT_CLASS, "1.2.3.1", garbage, sizeof garbage, 0xc000, "object_refused"},
        {TEST_CT_CLASS, "1.2.3.1", garbage, 0, 0xc000, "no SOP Class"},
        {TEST_CT_CLASS, "1.2.3.1", good.bytes, good.used - 1, 0xc000, "cut short"},
        {TEST_CT_CLASS, "1.2.3.1", good.bytes, 40, 0xc000, "status 0xc000"},
        {TEST_CT_CLASS, "1.2.3.9", good.bytes, good.used, 0xa900, "Instance UID is not"},
        {other_class, "1.2.3.1", good.bytes, good.used, 0x0122, "presentation context"},
        {TEST_CT_CLASS, "../../etc", good.bytes, good.used, 0x0117, "is no UID"},
        {TEST_CT_CLASS, "", good.bytes, good.used, 0x0120, "has no SOP"},
        {TEST_CT_CLASS, "1.2.3.2", other.bytes, other.used, 0xa700, "larger than"},
    };
    unsigned n_rows = sizeof rows / sizeof rows[0];
    for (unsigned i = 0; i < n_rows; i++) {
        int status =
            test_store(fd, rows[i].class_uid, rows[i].instance_uid, rows[i].bytes, rows[i].n);
        char line[512];
        if (status != rows[i].status || !test_scp_said(&scp, rows[i].says, line)) {
            (void)test_scp_said(&scp, "", line);
            fail_msg("row %u: status 0x%04x, %s", i, (unsigned)status, line);
        }
        assert_int_equal(scp.n_refused_objects, i + 1);
        assert_int_equal(test_folder_count(scp.spool), 0);
        assert_int_equal(test_store(fd, TEST_CT_CLASS, "1.2.3.1", good.bytes, good.used), 0);
        assert_int_equal(scp.n_objects, i + 1);
    }
    /* what the callback says is what the sender gets */
    scp.answer = 0xb007;
    assert_int_equal(test_store(fd, TEST_CT_CLASS, "1.2.3.1", good.bytes, good.used), 0xb007);
    close(fd);
    test_dataset_finish(&good);
    test_dataset_finish(&other);
    test_scp_stop(&scp);
}

/* A dataset of another class than its command, in a context of the command's class. */
static void test_class_mismatch(void **state)
{
    test_scp scp;
    test_dataset dataset;
    (void)state;
    test_scp_start(&scp, NULL);
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 4096);
    test_dataset_fill(&dataset, "1.2.840.10008.5.1.4.1.1.4", "1.2.3.1", STUDY, 100);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    assert_int_equal(test_store(fd, TEST_CT_CLASS, "1.2.3.1", dataset.bytes, dataset.used),
                     0xa900);
    close(fd);
    test_dataset_finish(&dataset);
    test_scp_stop(&scp);
}

/* No room on the disk: here, no file may grow beyond 8 KiB. */
static void test_disk_full(void **state)
{
    test_scp scp;
    test_dataset dataset;
    struct rlimit before, small;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    test_scp_start(&scp, NULL);
    make_object(&dataset, "1.2.3.1", 100000);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = test_store(fd, TEST_CT_CLASS, "1.2.3.1", dataset.bytes, dataset.used);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, 0xa700);
    assert_int_equal(test_folder_count(scp.spool), 0);
    /* and it recovers, over the same association */
    assert_int_equal(test_store(fd, TEST_CT_CLASS, "1.2.3.1", dataset.bytes, dataset.used), 0);
    close(fd);
    test_dataset_finish(&dataset);
    test_scp_stop(&scp);
}

static void test_association_limit(void **state)
{
    test_scp scp;
    md_scp_options options = common_options();
    int held[3];
    options.max_associations = 3;
    (void)state;
    test_scp_start(&scp, &options);
    for (int i = 0; i < 3; i++) {
        held[i] = test_connect(&scp);
        assert_int_equal(test_associate(held[i], TEST_CT_CLASS, SYNTAX), 0);
    }
    static md_associate request;
    uint8_t bytes[1024], answer[MD_PDU_SHORT_BYTES];
    static const uint8_t expected[] = {3, 0, 0, 0, 0, 4, 0, 2, 3, 2};
    snprintf(request.called_ae, MD_AE_BYTES, "MEDAID");
    request.n_contexts = 1;
    request.contexts[0].id = 1;
    snprintf(request.contexts[0].abstract_syntax, MD_UID_BYTES, MD_UID_VERIFICATION);
    snprintf(request.contexts[0].transfer_syntax, MD_UID_BYTES, MD_UID_IMPLICIT_LITTLE);
    size_t n = md_pdu_write_request(&request, bytes, sizeof bytes);
    int fd = test_connect(&scp);
    test_write(fd, bytes, n);
    assert_int_equal(test_read(fd, answer, sizeof answer), sizeof answer);
    assert_memory_equal(answer, expected, sizeof expected);
    close(fd);
    wait_until(&scp.n_rejected, 1);
    close(held[1]);
    wait_until(&scp.n_done, 1);
    /* the slot is given back some time after the event */
    int result = -1;
    for (int i = 0; i < 6000 && result != 0; i++) {
        fd = test_connect(&scp);
        result = test_associate(fd, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE);
        close(fd);
        usleep(10000);
    }
    assert_int_equal(result, 0);
    close(held[0]);
    close(held[2]);
    test_scp_stop(&scp);
}

static void test_called_ae(void **state)
{
    test_scp scp;
    md_scp_options options = common_options();
    options.ae_title = "OTHER";
    options.check_called_ae = true;
    (void)state;
    test_scp_start(&scp, &options);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE), -1);
    close(fd);
    wait_for_event(&scp, "called AE title not recognised");
    const char *const right[] = {"echoscu", "-aec", "OTHER", "127.0.0.1", scp.port, NULL};
    const char *const wrong[] = {"echoscu", "-aec", "WRONG", "127.0.0.1", scp.port, NULL};
    assert_int_equal(run(right), 0);
    assert_int_not_equal(run(wrong), 0);
    test_scp_stop(&scp);
}

static void test_contexts(void **state)
{
    test_scp scp;
    (void)state;
    test_scp_start(&scp, NULL);
    int fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, "1.2.3.4", SYNTAX), MD_CONTEXT_ABSTRACT_REFUSED);
    close(fd);
    fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, "1.2.840.10008.1.2.4.92"),
                     MD_CONTEXT_TRANSFER_REFUSED);
    close(fd);
    /* C-FIND, with and without its dataset, is answered; the association lives on */
    fd = test_connect(&scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    md_command request = {.field = 0x0020, .message_id = 9};
    uint8_t command[MD_COMMAND_WRITE_BYTES], answer[12], response[512];
    for (int with_dataset = 0; with_dataset < 2; with_dataset++) {
        request.dataset_type = with_dataset ? 0 : MD_COMMAND_NO_DATASET;
        test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                       md_command_write(&request, command));
        if (with_dataset) {
            test_write_pdv(fd, 1, MD_PDV_LAST, "\x08\0\x52\0\x06\0\0\0STUDY ", 14);
        }
        assert_int_equal(test_read(fd, answer, sizeof answer), sizeof answer);
        size_t n = md_get_be32(answer + 6) - 2;
        assert_true(n < sizeof response);
        assert_int_equal(test_read(fd, response, n), n);
        md_command parsed;
        assert_int_equal(md_command_parse(response, n, &parsed, NULL), MD_OK);
        assert_int_equal(parsed.status, 0x0211);
        assert_int_equal(parsed.field, 0x8020);
    }
    close(fd);
    test_scp_stop(&scp);
}

/* Random changes to a whole conversation: whatever comes, the listener serves the next. */
static void test_fuzzed_conversations(void **state)
{
    enum {
        ROUNDS = 400
    };
    test_scp scp;
    static md_associate request;
    static uint8_t good[16384], bytes[16384];
    test_dataset dataset;
    md_scp_options options = common_options();
    options.association_timeout_s = 1;
    options.max_associations = 64;
    (void)state;
    test_scp_start(&scp, &options);
    make_object(&dataset, "1.2.3.1", 2000);
    snprintf(request.called_ae, MD_AE_BYTES, "MEDAID");
    request.n_contexts = 1;
    request.contexts[0].id = 1;
    snprintf(request.contexts[0].abstract_syntax, MD_UID_BYTES, TEST_CT_CLASS);
    snprintf(request.contexts[0].transfer_syntax, MD_UID_BYTES, SYNTAX);
    size_t n_request = md_pdu_write_request(&request, good, sizeof good), n = n_request;
    for (int k = 0; k < 2; k++) {
        md_command store = {.field = MD_COMMAND_STORE_RQ, .message_id = 7};
        uint8_t command[MD_COMMAND_WRITE_BYTES];
        snprintf(store.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
        snprintf(store.sop_instance_uid, MD_UID_BYTES, "1.2.3.1");
        size_t n_command = md_command_write(&store, command);
        const struct {
            const uint8_t *bytes;
            size_t n;
            uint8_t flags;
        } parts[] = {{command, n_command, 3}, {dataset.bytes, dataset.used, 2}};
        for (int i = 0; i < 2; i++) {
            good[n] = MD_PDU_DATA;
            good[n + 1] = 0;
            md_put_be32(good + n + 2, (uint32_t)parts[i].n + 6);
            md_put_be32(good + n + 6, (uint32_t)parts[i].n + 2);
            good[n + 10] = 1;
            good[n + 11] = parts[i].flags;
            memcpy(good + n + 12, parts[i].bytes, parts[i].n);
            n += parts[i].n + 12;
        }
    }
    uint32_t seed = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        memcpy(bytes, good, n);
        /* mostly after the request, so that the association is there */
        size_t from = round % 4 == 0 ? 0 : n_request;
        for (unsigned k = 0; k < 1 + round % 6; k++) {
            seed = seed * 1664525U + 1013904223U;
            bytes[from + (seed >> 8) % (n - from)] = (uint8_t)(seed >> 3);
        }
        int fd = test_connect(&scp);
        test_write(fd, bytes, n);
        shutdown(fd, SHUT_WR);
        static uint8_t answers[4096];
        (void)test_read(fd, answers, sizeof answers);
        close(fd);
    }
    assert_echo(&scp);
    test_dataset_finish(&dataset);
    /* all threads are still there, and no file of a refused object is left */
    md_scp_stop(scp.scp, 5000);
    assert_int_equal(test_folder_count(scp.spool), 0);
    test_folder_remove(scp.spool);
}

typedef struct crowd {
    test_scp *scp;
    const test_dataset *dataset;
    pthread_barrier_t *barrier; /* NULL: no waiting for each other */
    unsigned n_rounds;
    atomic_uint *n_good;
} crowd;

static void *crowd_member(void *argument)
{
    crowd *member = argument;
    for (unsigned i = 0; i < member->n_rounds; i++) {
        int fd = test_connect(member->scp);
        bool good = test_associate(fd, TEST_CT_CLASS, SYNTAX) == 0;
        if (member->barrier != NULL) {
            pthread_barrier_wait(member->barrier); /* all associations stand at once */
        }
        good = good && test_store(fd, TEST_CT_CLASS, "1.2.3.1", member->dataset->bytes,
                                  member->dataset->used) == 0;
        uint8_t bytes[MD_PDU_SHORT_BYTES];
        md_pdu_write_release(MD_PDU_RELEASE_RQ, bytes);
        test_write(fd, bytes, sizeof bytes);
        good = good && test_read(fd, bytes, sizeof bytes) == sizeof bytes &&
               bytes[0] == MD_PDU_RELEASE_RP;
        close(fd);
        *member->n_good += good;
    }
    return NULL;
}

/* n threads that each run n_rounds associations; returns how many were served. */
static unsigned run_crowd(test_scp *scp, const test_dataset *dataset, unsigned n,
                          unsigned n_rounds, bool together)
{
    pthread_barrier_t barrier;
    pthread_attr_t attributes;
    pthread_t *threads = calloc(n, sizeof *threads);
    atomic_uint n_good = 0;
    crowd member = {scp, dataset, together ? &barrier : NULL, n_rounds, &n_good};
    assert_non_null(threads);
    pthread_barrier_init(&barrier, NULL, n);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pthread_create(&threads[i], &attributes, crowd_member, &member), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_attr_destroy(&attributes);
    pthread_barrier_destroy(&barrier);
    free(threads);
    return n_good;
}

static unsigned count_open_files(void)
{
    return test_folder_count("/proc/self/fd");
}

static void test_many_associations(void **state)
{
    test_scp scp;
    test_dataset dataset;
    md_scp_options options = common_options();
    options.max_associations = 512;
    options.association_timeout_s = 60;
    (void)state;
    unsigned n_files = count_open_files() + 3; /* listening socket, eventfd, epoll */
    test_scp_start(&scp, &options);
    make_object(&dataset, "1.2.3.1", 20000);
    int64_t start_us = md_clock_monotonic_us();
    assert_int_equal(run_crowd(&scp, &dataset, 25, 200, false), 5000);
    int64_t short_us = md_clock_monotonic_us();
    assert_int_equal(run_crowd(&scp, &dataset, 200, 1, true), 200);
    int64_t together_us = md_clock_monotonic_us();
    assert_int_equal(run_crowd(&scp, &dataset, 500, 1, true), 500);
    print_message("# 5000 short associations over 25 threads: %.2f s; 200 at once: %.2f s; "
                  "500 at once: %.2f s\n",
                  (double)(short_us - start_us) / 1e6, (double)(together_us - short_us) / 1e6,
                  (double)(md_clock_monotonic_us() - together_us) / 1e6);
    assert_int_equal(scp.n_objects, 5700);
    assert_int_equal(test_folder_count(scp.spool), 0);
    /* the last sockets are closed some time after the peers' */
    for (int i = 0; i < 6000 && count_open_files() > n_files; i++) {
        usleep(10000);
    }
    assert_int_equal(count_open_files(), n_files);
    test_dataset_finish(&dataset);
    test_scp_stop(&scp);
}

static void *stop_thread(void *argument)
{
    test_scp *scp = argument;
    md_scp_stop(scp->scp, 60000);
    return NULL;
}

/* Stopping lets an object that is on its way arrive, and does not wait for idle ones. */
static void test_stop_finishes_what_runs(void **state)
{
    test_scp scp;
    test_dataset dataset;
    pthread_t stopper;
    (void)state;
    test_scp_start(&scp, NULL);
    make_object(&dataset, "1.2.3.1", 100000);
    int idle = test_connect(&scp), busy = test_connect(&scp);
    assert_int_equal(test_associate(idle, TEST_CT_CLASS, SYNTAX), 0);
    assert_int_equal(test_associate(busy, TEST_CT_CLASS, SYNTAX), 0);
    int silent = test_connect(&scp);
    md_command request = {.field = MD_COMMAND_STORE_RQ, .message_id = 7};
    uint8_t command[MD_COMMAND_WRITE_BYTES], answer[MD_PDU_SHORT_BYTES], byte, response[12];
    snprintf(request.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
    snprintf(request.sop_instance_uid, MD_UID_BYTES, "1.2.3.1");
    test_write_pdv(busy, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&request, command));
    test_write_pdv(busy, 1, 0, dataset.bytes, 50000);
    while (test_folder_count(scp.spool) == 0) {
        usleep(1000);
    }
    assert_int_equal(pthread_create(&stopper, NULL, stop_thread, &scp), 0);
    /* the silent connection is closed, the idle association aborted */
    assert_int_equal(test_read(silent, &byte, 1), 0);
    assert_int_equal(test_read(idle, answer, sizeof answer), sizeof answer);
    assert_int_equal(answer[0], MD_PDU_ABORT);
    close(idle);
    test_write_pdv(busy, 1, MD_PDV_LAST, dataset.bytes + 50000, dataset.used - 50000);
    assert_int_equal(test_read(busy, response, sizeof response), sizeof response);
    assert_int_equal(response[0], MD_PDU_DATA);
    close(busy);
    close(silent);
    pthread_join(stopper, NULL);
    assert_int_equal(scp.n_objects, 1);
    test_dataset_finish(&dataset);
    test_folder_remove(scp.spool);
}

/* After the grace, who is in the middle of an object is cut and leaves no file. */
static void test_stop_cuts_after_grace(void **state)
{
    test_scp scp;
    (void)state;
    test_scp_start(&scp, NULL);
    int fd = test_connect(&scp);
    md_command request = {.field = MD_COMMAND_STORE_RQ, .message_id = 7};
    uint8_t command[MD_COMMAND_WRITE_BYTES], bytes[1000] = {0};
    snprintf(request.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
    snprintf(request.sop_instance_uid, MD_UID_BYTES, "1.2.3.1");
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&request, command));
    test_write_pdv(fd, 1, 0, bytes, sizeof bytes);
    while (test_folder_count(scp.spool) == 0) {
        usleep(1000);
    }
    md_scp_stop(scp.scp, 50);
    assert_int_equal(test_folder_count(scp.spool), 0);
    close(fd);
    test_folder_remove(scp.spool);
    md_scp_stop(NULL, 0);
}

static void test_start_refuses(void **state)
{
    test_scp first;
    md_scp *scp = NULL;
    md_error err = {0};
    (void)state;
    test_scp_start(&first, NULL);
    md_scp_options good = common_options();
    good.spool_folder = "/tmp";
    good.on_object = (uint16_t(*)(void *, const md_scp_object *))abort; /* is never called */
    md_scp_options bad = good;
    bad.port = (uint16_t)strtoul(first.port, NULL, 10);
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, first.port));
    bad = good;
    bad.bind_address = "not an address";
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_INVALID_ARG);
    bad = good;
    bad.spool_folder = "/nonexistent";
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_INVALID_ARG);
    bad = good;
    bad.ae_title = "SEVENTEEN LETTERS";
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_INVALID_ARG);
    bad = good;
    bad.max_pdu_bytes = 100;
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_INVALID_ARG);
    bad = good;
    bad.max_associations = 0;
    assert_int_equal(md_scp_start(&bad, &scp, &err), MD_INVALID_ARG);
    for (size_t nth = 1; nth <= 4; nth++) {
        md_memory_fail_at(nth);
        assert_int_equal(md_scp_start(&good, &scp, &err), MD_NOMEM);
        md_memory_fail_at(0);
    }
    assert_null(scp);
    /* all addresses, IPv6 or not */
    good.bind_address = NULL;
    assert_int_equal(md_scp_start(&good, &scp, &err), MD_OK);
    md_scp_stop(scp, 0);
    test_scp_stop(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dcmtk_peers),
        cmocka_unit_test(test_bytes_are_kept),
        cmocka_unit_test(test_wrong_protocols),
        cmocka_unit_test(test_malformed_request),
        cmocka_unit_test(test_silent_clients_do_not_matter),
        cmocka_unit_test(test_slow_message_is_cut),
        cmocka_unit_test(test_lying_pdus),
        cmocka_unit_test(test_sender_dies),
        cmocka_unit_test(test_bad_objects),
        cmocka_unit_test(test_class_mismatch),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_association_limit),
        cmocka_unit_test(test_called_ae),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_fuzzed_conversations),
        cmocka_unit_test(test_many_associations),
        cmocka_unit_test(test_stop_finishes_what_runs),
        cmocka_unit_test(test_stop_cuts_after_grace),
        cmocka_unit_test(test_start_refuses),
    };
    signal(SIGPIPE, SIG_DFL); /* a write to a dead peer would end the process */
    return cmocka_run_group_tests_name("dicom_network_scp", tests, NULL, NULL);
}
