#include "bench.h"

#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/identity.h"
#include "dicom/network/part10.h"
#include "dicom/network/pdu.h"
#include "dicom/network/scu.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define INSTANCE "1.2.3.4.5.1"
#define STUDY "1.2.3.4.5"

/* A small generator of its own, so that a failing round can be run again. */
static uint32_t random_state;
static uint32_t random_next(void)
{
    random_state = random_state * 1664525U + 1013904223U;
    return random_state >> 8;
}

static void test_peer(void **state)
{
    static const struct {
        const char *text, *ae, *host;
        unsigned port;
    } rows[] = {
        {"PACS@localhost:104", "PACS", "localhost", 104},
        {"A B@10.0.0.1:11112", "A B", "10.0.0.1", 11112},
        {"AE@[::1]:65535", "AE", "::1", 65535},
        {"X@Y@host.example:1", "X@Y", "host.example", 1},
        {"ABCDEFGHIJKLMNOP@h:4242", "ABCDEFGHIJKLMNOP", "h", 4242},
        {"", NULL, NULL, 0},
        {"PACS", NULL, NULL, 0},
        {"PACS@host", NULL, NULL, 0},
        {"@host:1", NULL, NULL, 0},
        {"  @host:1", NULL, NULL, 0},
        {"ABCDEFGHIJKLMNOPQ@h:4242", NULL, NULL, 0},
        {"A\\B@h:1", NULL, NULL, 0},
        {"A@:1", NULL, NULL, 0},
        {"A@h:0", NULL, NULL, 0},
        {"A@h:65536", NULL, NULL, 0},
        {"A@h:99999999999", NULL, NULL, 0},
        {"A@h:-1", NULL, NULL, 0},
        {"A@h:1x", NULL, NULL, 0},
        {"A@h:", NULL, NULL, 0},
        {"A@::1:104", NULL, NULL, 0},
        {"A@[::1:104", NULL, NULL, 0},
        {"A@[::1]104", NULL, NULL, 0},
        {"A@[]:104", NULL, NULL, 0},
        {"A@h h:1", NULL, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        md_peer peer = {.timeout_s = 7, .own_ae_title = "ME"};
        md_error err = {0};
        md_status status = md_peer_parse(rows[i].text, &peer, &err);
        if (rows[i].ae == NULL) {
            if (status != MD_INVALID_ARG || err.msg[0] == '\0') {
                fail_msg("%s was accepted", rows[i].text);
            }
            continue;
        }
        assert_int_equal(status, MD_OK);
        assert_string_equal(peer.ae_title, rows[i].ae);
        assert_string_equal(peer.host, rows[i].host);
        assert_int_equal(peer.port, rows[i].port);
        assert_int_equal(peer.timeout_s, 7);
        assert_string_equal(peer.own_ae_title, "ME");
    }
    char longer[400] = "A@";
    md_peer peer = {0};
    memset(longer + 2, 'h', 256);
    memcpy(longer + 258, ":1", 3);
    assert_int_equal(md_peer_parse(longer, &peer, NULL), MD_INVALID_ARG);
}

static void test_uid_and_ae(void **state)
{
    char uid[MD_UID_BYTES], ae[MD_AE_BYTES];
    (void)state;
    assert_true(md_uid_copy((const uint8_t *)"1.2.3\0", 6, uid));
    assert_string_equal(uid, "1.2.3");
    assert_true(md_uid_copy((const uint8_t *)"1.2.3 ", 6, uid));
    assert_false(md_uid_copy((const uint8_t *)"\0\0", 2, uid));
    assert_false(md_uid_copy((const uint8_t *)"1.2/../3", 8, uid));
    assert_string_equal(uid, "");
    char many[70];
    memset(many, '1', sizeof many);
    assert_true(md_uid_copy((const uint8_t *)many, 64, uid));
    assert_int_equal(strlen(uid), 64);
    assert_false(md_uid_copy((const uint8_t *)many, 65, uid));
    md_ae_copy((const uint8_t *)"  PACS ONE\n\0    ", ae);
    assert_string_equal(ae, "PACS ONE?");
    md_ae_copy((const uint8_t *)"                ", ae);
    assert_string_equal(ae, "");
}

static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(md_sop_storage_name(TEST_CT_CLASS), "CT Image");
    assert_string_equal(md_sop_storage_name("1.2.840.10008.5.1.4.1.1.1.1"),
                        "Digital X-Ray Image - For Presentation");
    assert_null(md_sop_storage_name("1.2.840.10008.5.1.4.1.1.2.99"));
    assert_null(md_sop_storage_name("1.2.840.10008.5.1.4.1.1."));
    assert_null(md_sop_storage_name("1.2.840.10008.1.1"));
    static const char *const taken[] = {".1.2",      ".1.2.1",    ".1.2.2",    ".1.2.1.99",
                                        ".1.2.5",    ".1.2.4.50", ".1.2.4.51", ".1.2.4.57",
                                        ".1.2.4.70", ".1.2.4.80", ".1.2.4.81", ".1.2.4.90",
                                        ".1.2.4.91"};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        char uid[MD_UID_BYTES];
        snprintf(uid, sizeof uid, "1.2.840.10008%s", taken[i]);
        assert_non_null(md_transfer_syntax_name(uid));
        assert_int_equal(md_sop_judge(TEST_CT_CLASS, uid), MD_CONTEXT_ACCEPTED);
    }
    /* HTJ2K, JPEG 2000 part 2, MPEG-4, and no UID at all */
    assert_int_equal(md_sop_judge(TEST_CT_CLASS, "1.2.840.10008.1.2.4.201"),
                     MD_CONTEXT_TRANSFER_REFUSED);
    assert_int_equal(md_sop_judge(TEST_CT_CLASS, "1.2.840.10008.1.2.4.92"),
                     MD_CONTEXT_TRANSFER_REFUSED);
    assert_int_equal(md_sop_judge(TEST_CT_CLASS, "1.2.840.10008.1.2.4.102"),
                     MD_CONTEXT_TRANSFER_REFUSED);
    assert_int_equal(md_sop_judge("1.2.3", MD_UID_IMPLICIT_LITTLE),
                     MD_CONTEXT_ABSTRACT_REFUSED);
    assert_int_equal(md_sop_judge(MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE),
                     MD_CONTEXT_ACCEPTED);
}

/* A request with two contexts as body bytes. */
static size_t make_request(md_associate *request, uint8_t *bytes, size_t capacity)
{
    memset(request, 0, sizeof *request);
    snprintf(request->called_ae, MD_AE_BYTES, "MEDAID");
    snprintf(request->calling_ae, MD_AE_BYTES, "CT 1");
    request->max_pdu_bytes = 16384;
    request->n_contexts = 2;
    request->contexts[0].id = 1;
    request->contexts[1].id = 3;
    snprintf(request->contexts[0].abstract_syntax, MD_UID_BYTES, TEST_CT_CLASS);
    snprintf(request->contexts[0].transfer_syntax, MD_UID_BYTES, "1.2.840.10008.1.2.4.102");
    snprintf(request->contexts[1].abstract_syntax, MD_UID_BYTES, "1.2.3");
    snprintf(request->contexts[1].transfer_syntax, MD_UID_BYTES, MD_UID_IMPLICIT_LITTLE);
    return md_pdu_write_request(request, bytes, capacity);
}

static void test_request_round_trip(void **state)
{
    static md_associate request, parsed;
    uint8_t bytes[2048];
    md_reject reject = MD_REJECT_CALLED_AE;
    (void)state;
    size_t n = make_request(&request, bytes, sizeof bytes);
    assert_true(n > 6);
    assert_int_equal(bytes[0], MD_PDU_ASSOCIATE_RQ);
    assert_int_equal(md_get_be32(bytes + 2), n - 6);
    assert_int_equal(
        md_pdu_parse_request(bytes + 6, n - 6, test_judge, NULL, &parsed, &reject, NULL),
        MD_OK);
    assert_int_equal(reject, MD_REJECT_NONE);
    assert_string_equal(parsed.called_ae, "MEDAID");
    assert_string_equal(parsed.calling_ae, "CT 1");
    assert_int_equal(parsed.max_pdu_bytes, 16384);
    assert_string_equal(parsed.implementation_class_uid, MD_IMPLEMENTATION_CLASS_UID);
    assert_int_equal(parsed.n_contexts, 2);
    assert_int_equal(parsed.contexts[0].result, MD_CONTEXT_TRANSFER_REFUSED);
    assert_int_equal(parsed.contexts[1].result, MD_CONTEXT_ABSTRACT_REFUSED);
    /* too small a buffer, of any length, is said and nothing is written beyond it */
    for (size_t capacity = 0; capacity < n; capacity++) {
        uint8_t *exact = malloc(capacity + 1);
        assert_int_equal(md_pdu_write_request(&request, exact, capacity), 0);
        free(exact);
    }
    /* every cut is an error, never a crash, unless it falls between two items */
    for (size_t cut = 0; cut < n - 6; cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, bytes + 6, cut);
        md_status status =
            md_pdu_parse_request(exact, cut, test_judge, NULL, &parsed, &reject, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT);
        assert_true(status == MD_FORMAT || cut > 100);
        free(exact);
    }
}

static void test_request_refusals(void **state)
{
    static md_associate request, parsed;
    uint8_t bytes[2048];
    md_reject reject = MD_REJECT_NONE;
    (void)state;
    size_t n = make_request(&request, bytes, sizeof bytes);
    uint8_t *body = bytes + 6;
    body[1] = 2; /* protocol version 2 only */
    assert_int_equal(
        md_pdu_parse_request(body, n - 6, test_judge, NULL, &parsed, &reject, NULL), MD_OK);
    assert_int_equal(reject, MD_REJECT_PROTOCOL_VERSION);
    body[1] = 1;
    body[68 + 4] = '9'; /* application context name */
    assert_int_equal(
        md_pdu_parse_request(body, n - 6, test_judge, NULL, &parsed, &reject, NULL), MD_OK);
    assert_int_equal(reject, MD_REJECT_APPLICATION_CONTEXT);
    request.contexts[1].id = 1; /* the same id twice */
    n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_int_equal(
        md_pdu_parse_request(body, n - 6, test_judge, NULL, &parsed, &reject, NULL), MD_FORMAT);
    request.contexts[1].id = 2; /* even */
    n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_int_equal(
        md_pdu_parse_request(body, n - 6, test_judge, NULL, &parsed, &reject, NULL), MD_FORMAT);
    request.n_contexts = 0;
    n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_int_equal(
        md_pdu_parse_request(body, n - 6, test_judge, NULL, &parsed, &reject, NULL), MD_FORMAT);
    uint8_t rejection[MD_PDU_SHORT_BYTES];
    md_pdu_write_reject(MD_REJECT_LOCAL_LIMIT, rejection);
    static const uint8_t expected[] = {3, 0, 0, 0, 0, 4, 0, 2, 3, 2};
    assert_memory_equal(rejection, expected, sizeof expected);
    md_pdu_write_reject(MD_REJECT_CALLED_AE, rejection);
    static const uint8_t called[] = {3, 0, 0, 0, 0, 4, 0, 1, 1, 7};
    assert_memory_equal(rejection, called, sizeof called);
}

static void test_request_fuzz(void **state)
{
    enum {
        ROUNDS = 60000
    };
    static md_associate request, parsed;
    uint8_t bytes[2048];
    md_reject reject;
    (void)state;
    size_t n = make_request(&request, bytes, sizeof bytes) - 6;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_state = round;
        size_t size = random_next() % 4 == 0 ? random_next() % 400 : n;
        uint8_t *mutated = malloc(size + 1); /* exact, so that ASan sees one byte too far */
        for (size_t i = 0; i < size; i++) {
            mutated[i] = i < n ? bytes[6 + i] : (uint8_t)random_next();
        }
        for (unsigned k = random_next() % 8; k > 0 && size > 0; k--) {
            mutated[random_next() % size] = (uint8_t)random_next();
        }
        md_status status =
            md_pdu_parse_request(mutated, size, test_judge, NULL, &parsed, &reject, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT);
        assert_true(parsed.n_contexts <= MD_PDU_MAX_CONTEXTS || status != MD_OK);
        status = md_pdu_parse_accept(mutated, size, &parsed, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT);
        free(mutated);
    }
}

static void test_accept_of_many_contexts(void **state)
{
    static md_associate request, parsed, accepted;
    static uint8_t bytes[64 * 1024], answer[16 * 1024];
    md_reject reject;
    (void)state;
    make_request(&request, bytes, sizeof bytes);
    request.n_contexts = MD_PDU_MAX_CONTEXTS;
    for (unsigned i = 0; i < MD_PDU_MAX_CONTEXTS; i++) {
        request.contexts[i] = (md_context){.id = (uint8_t)(2 * i + 1)};
        snprintf(request.contexts[i].abstract_syntax, MD_UID_BYTES, TEST_CT_CLASS);
        snprintf(request.contexts[i].transfer_syntax, MD_UID_BYTES, "1.2.840.10008.1.2.%s",
                 i % 2 == 0 ? "1.99" : "4.999");
    }
    size_t n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_int_equal(
        md_pdu_parse_request(bytes + 6, n - 6, test_judge, NULL, &parsed, &reject, NULL),
        MD_OK);
    size_t n_answer = md_pdu_write_accept(&parsed, 65536, bytes + 6, answer, sizeof answer);
    assert_true(n_answer > 0);
    assert_int_equal(md_pdu_parse_accept(answer + 6, n_answer - 6, &accepted, NULL), MD_OK);
    assert_int_equal(accepted.n_contexts, MD_PDU_MAX_CONTEXTS);
    assert_int_equal(accepted.max_pdu_bytes, 65536);
    for (unsigned i = 0; i < MD_PDU_MAX_CONTEXTS; i++) {
        assert_int_equal(accepted.contexts[i].result,
                         i % 2 == 0 ? MD_CONTEXT_ACCEPTED : MD_CONTEXT_TRANSFER_REFUSED);
        assert_string_equal(accepted.contexts[i].transfer_syntax,
                            i % 2 == 0 ? "1.2.840.10008.1.2.1.99" : "");
    }
}

static void test_command(void **state)
{
    md_command command = {.field = MD_COMMAND_STORE_RQ, .message_id = 513, .dataset_type = 0};
    md_command parsed;
    md_error err = {0};
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    (void)state;
    snprintf(command.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
    memset(command.sop_instance_uid, '1', 64);
    size_t n = md_command_write(&command, bytes);
    assert_int_equal(md_get_le32(bytes + 8), n - 12);
    assert_int_equal(md_command_parse(bytes, n, &parsed, NULL), MD_OK);
    assert_int_equal(parsed.field, MD_COMMAND_STORE_RQ);
    assert_int_equal(parsed.message_id, 513);
    assert_true(parsed.has_dataset);
    assert_string_equal(parsed.sop_class_uid, command.sop_class_uid);
    assert_string_equal(parsed.sop_instance_uid, command.sop_instance_uid);
    /* a response */
    parsed.field |= MD_COMMAND_RESPONSE;
    parsed.dataset_type = MD_COMMAND_NO_DATASET;
    parsed.status = 0xb007;
    n = md_command_write(&parsed, bytes);
    assert_int_equal(md_command_parse(bytes, n, &command, NULL), MD_OK);
    assert_int_equal(command.status, 0xb007);
    assert_int_equal(command.message_id, 513);
    assert_false(command.has_dataset);
    /* no cut of it is a command: the instance UID is the last element, so its loss is noticed
     * where it matters */
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        md_status status = md_command_parse(exact, cut, &parsed, &err);
        assert_true(status == MD_FORMAT || parsed.sop_instance_uid[0] == '\0');
        free(exact);
    }
    static const uint8_t wrong_group[] = {8, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(md_command_parse(wrong_group, 8, &parsed, &err), MD_FORMAT);
    static const uint8_t lying[] = {0, 0, 0, 1, 0xff, 0xff, 0xff, 0x7f, 1, 0};
    assert_int_equal(md_command_parse(lying, 10, &parsed, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "claims"));
    static const uint8_t short_us[] = {0, 0, 0, 1, 1, 0, 0, 0, 1};
    assert_int_equal(md_command_parse(short_us, 9, &parsed, &err), MD_FORMAT);
}

static void test_command_fuzz(void **state)
{
    enum {
        ROUNDS = 100000
    };
    md_command command = {.field = MD_COMMAND_STORE_RQ, .message_id = 5};
    md_command parsed;
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    (void)state;
    snprintf(command.sop_class_uid, MD_UID_BYTES, TEST_CT_CLASS);
    snprintf(command.sop_instance_uid, MD_UID_BYTES, INSTANCE);
    size_t n = md_command_write(&command, bytes);
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_state = round + 77;
        size_t size = random_next() % 3 == 0 ? random_next() % 200 : n;
        uint8_t *mutated = malloc(size + 1);
        for (size_t i = 0; i < size; i++) {
            mutated[i] = i < n ? bytes[i] : (uint8_t)random_next();
        }
        for (unsigned k = random_next() % 6; k > 0 && size > 0; k--) {
            mutated[random_next() % size] = (uint8_t)random_next();
        }
        md_status status = md_command_parse(mutated, size, &parsed, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT);
        assert_true(strlen(parsed.sop_class_uid) < MD_UID_BYTES);
        assert_true(strlen(parsed.sop_instance_uid) < MD_UID_BYTES);
        free(mutated);
    }
}

/* The dataset as an anonymous file. */
static int as_file(const uint8_t *bytes, size_t n)
{
    int fd = memfd_create("dataset", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    return fd;
}

static md_status read_identity(const test_dataset *dataset, size_t n, md_identity *identity,
                               md_error *err)
{
    int fd = as_file(dataset->bytes, n);
    md_status status = md_identity_read(fd, 0, dataset->encoding, 1 << 20, identity, err);
    close(fd);
    return status;
}

static void test_identity_of_each_encoding(void **state)
{
    static const md_encoding encodings[] = {MD_ENCODING_IMPLICIT_LITTLE,
                                            MD_ENCODING_EXPLICIT_LITTLE,
                                            MD_ENCODING_EXPLICIT_BIG, MD_ENCODING_DEFLATED};
    (void)state;
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
        test_dataset dataset;
        md_identity identity;
        md_error err = {0};
        test_dataset_init(&dataset, encodings[i], 64 * 1024);
        test_dataset_fill(&dataset, TEST_CT_CLASS, INSTANCE, STUDY, 20000);
        if (encodings[i] == MD_ENCODING_DEFLATED) {
            test_dataset_deflate(&dataset);
        }
        if (read_identity(&dataset, dataset.used, &identity, &err) != MD_OK) {
            fail_msg("encoding %zu: %s", i, err.msg);
        }
        assert_string_equal(identity.sop_class_uid, TEST_CT_CLASS);
        assert_string_equal(identity.sop_instance_uid, INSTANCE);
        assert_string_equal(identity.study_instance_uid, STUDY);
        assert_string_equal(identity.series_instance_uid, "1.2.3.4.5.2");
        /* every cut of it is noticed: there is nothing after the pixel data */
        for (size_t cut = 0; cut < dataset.used; cut += 1 + cut / 40) {
            md_status status = read_identity(&dataset, cut, &identity, &err);
            if (status != MD_FORMAT) {
                fail_msg("encoding %zu cut after %zu of %zu bytes", i, cut, dataset.used);
            }
        }
        assert_int_equal(read_identity(&dataset, dataset.used - 1, &identity, &err), MD_FORMAT);
        assert_non_null(strstr(err.msg, "cut short"));
        assert_null(strstr(err.msg, STUDY));
        test_dataset_finish(&dataset);
    }
}

static void begin(test_dataset *dataset, md_encoding encoding)
{
    test_dataset_init(dataset, encoding, 256 * 1024);
    test_dataset_put_uid(dataset, MD_TAG(8, 0x16), TEST_CT_CLASS);
    test_dataset_put_uid(dataset, MD_TAG(8, 0x18), INSTANCE);
    test_dataset_put_uid(dataset, MD_TAG(0x20, 0xd), STUDY);
    test_dataset_put_uid(dataset, MD_TAG(0x20, 0xe), "1.2.3.4.5.2");
}

static md_status end(test_dataset *dataset, md_error *err)
{
    md_identity identity;
    md_status status = read_identity(dataset, dataset->used, &identity, err);
    test_dataset_finish(dataset);
    return status;
}

static void test_identity_of_structures(void **state)
{
    test_dataset dataset;
    md_error err = {0};
    uint8_t some[64] = {0};
    (void)state;
    /* encapsulated pixel data: offset table, two fragments, delimiter */
    begin(&dataset, MD_ENCODING_EXPLICIT_LITTLE);
    test_dataset_put(&dataset, MD_TAG(0x7fe0, 0x10), "OB", NULL, 0xffffffffU);
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe000), 0);
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe000), 64);
    memcpy(dataset.bytes + dataset.used, some, 64);
    dataset.used += 64;
    size_t open_ended = dataset.used;
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe0dd), 0);
    md_identity identity;
    assert_int_equal(read_identity(&dataset, open_ended, &identity, &err), MD_FORMAT);
    assert_int_equal(end(&dataset, &err), MD_OK);
    /* UN of undefined length in a big endian dataset holds implicit little endian */
    begin(&dataset, MD_ENCODING_EXPLICIT_BIG);
    test_dataset_put(&dataset, MD_TAG(0x29, 0x1010), "UN", NULL, 0xffffffffU);
    dataset.encoding = MD_ENCODING_IMPLICIT_LITTLE;
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe000), 0xffffffffU);
    test_dataset_put(&dataset, MD_TAG(0x29, 0x1011), "LO", "abcd", 4);
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe00d), 0);
    test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe0dd), 0);
    dataset.encoding = MD_ENCODING_EXPLICIT_BIG;
    test_dataset_put(&dataset, MD_TAG(0x29, 0x1020), "LO", "abcd", 4);
    assert_int_equal(end(&dataset, &err), MD_OK);
    /* sequences of defined length are stepped over whole */
    begin(&dataset, MD_ENCODING_EXPLICIT_LITTLE);
    test_dataset_put(&dataset, MD_TAG(0x40, 0x275), "SQ", some, sizeof some);
    assert_int_equal(end(&dataset, &err), MD_OK);
    /* nested up to the limit, and one deeper */
    for (unsigned depth = MD_IDENTITY_MAX_DEPTH; depth <= MD_IDENTITY_MAX_DEPTH + 1; depth++) {
        begin(&dataset, MD_ENCODING_EXPLICIT_LITTLE);
        for (unsigned i = 0; i < depth; i++) {
            test_dataset_put(&dataset, MD_TAG(0x40, 0x275), "SQ", NULL, 0xffffffffU);
            test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe000), 0xffffffffU);
        }
        for (unsigned i = 0; i < depth; i++) {
            test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe00d), 0);
            test_dataset_put_item(&dataset, MD_TAG(0xfffe, 0xe0dd), 0);
        }
        assert_int_equal(end(&dataset, &err), depth > MD_IDENTITY_MAX_DEPTH ? MD_LIMIT : MD_OK);
    }
}

/* The Patient ID is trimmed and cut, and only that of the dataset itself counts. */
static void test_identity_patient(void **state)
{
    static char long_id[70000];
    static const struct {
        const char *value;
        uint32_t n;
        const char *expected;
    } cases[] = {{"PID 7 ", 6, "PID 7"}, {"  PID\0", 6, "PID"}, {"      ", 6, ""}, {"", 0, ""}};
    test_dataset dataset;
    md_identity identity;
    md_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(&dataset, MD_ENCODING_EXPLICIT_LITTLE);
        test_dataset_put(&dataset, MD_TAG(0x0010, 0x0020), "LO", cases[i].value, cases[i].n);
        assert_int_equal(read_identity(&dataset, dataset.used, &identity, &err), MD_OK);
        assert_string_equal(identity.patient_id, cases[i].expected);
        assert_int_equal(end(&dataset, &err), MD_OK);
    }
    memset(long_id, 'x', sizeof long_id);
    begin(&dataset, MD_ENCODING_IMPLICIT_LITTLE);
    test_dataset_put(&dataset, MD_TAG(0x0010, 0x0020), "LO", long_id, 1000);
    assert_int_equal(read_identity(&dataset, dataset.used, &identity, &err), MD_OK);
    assert_int_equal(strlen(identity.patient_id), MD_IDENTITY_TEXT_BYTES - 1);
    assert_int_equal(read_identity(&dataset, dataset.used - 1, &identity, &err), MD_FORMAT);
    assert_int_equal(end(&dataset, &err), MD_OK);
}

static void test_identity_refuses(void **state)
{
    static const struct {
        uint32_t tag;
        const char *vr;
        uint32_t length;
        const char *says;
    } rows[] = {
        {MD_TAG(0x20, 0xd), "UI", 4, "twice"},
        {MD_TAG(0x40, 0x1), "LO", 0xffff, "claims 65535 bytes"},
        {MD_TAG(0x40, 0x1), "OB", 0xfffffffe, "claims 4294967294 bytes"},
        {MD_TAG(0x40, 0x1), "OB", 0xffffffff, "undefined length"},
        {MD_TAG(0x40, 0x1), "l1", 4, "no VR"},
        {MD_TAG(0xfffe, 0xe000), "UN", 4, "belongs to no sequence"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_dataset dataset;
        md_error err = {0};
        begin(&dataset, MD_ENCODING_EXPLICIT_LITTLE);
        size_t before = dataset.used;
        /* the header that claims, then four bytes */
        dataset.used = before;
        uint8_t *p = dataset.bytes + before;
        md_put_le16(p, (uint16_t)(rows[i].tag >> 16));
        md_put_le16(p + 2, (uint16_t)rows[i].tag);
        memcpy(p + 4, rows[i].vr, 2);
        bool is_long = rows[i].vr[0] == 'O' || rows[i].vr[0] == 'U';
        if (is_long && rows[i].vr[1] != 'I') {
            md_put_le16(p + 6, 0);
            md_put_le32(p + 8, rows[i].length);
            dataset.used += 12;
        } else {
            md_put_le16(p + 6, (uint16_t)rows[i].length);
            dataset.used += 8;
        }
        memcpy(dataset.bytes + dataset.used, "1.2", 4);
        dataset.used += 4;
        assert_int_equal(end(&dataset, &err), MD_FORMAT);
        if (strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu says: %s", i, err.msg);
        }
    }
    test_dataset dataset;
    md_error err = {0};
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 1024);
    assert_int_equal(end(&dataset, &err), MD_FORMAT); /* nothing at all */
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 1024);
    test_dataset_put_uid(&dataset, MD_TAG(8, 0x16), TEST_CT_CLASS);
    test_dataset_put_uid(&dataset, MD_TAG(8, 0x18), INSTANCE);
    assert_int_equal(end(&dataset, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "no Study"));
    /* a small deflated stream that inflates to more than is allowed */
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 4 << 20);
    test_dataset_fill(&dataset, TEST_CT_CLASS, INSTANCE, STUDY, 0);
    uint8_t *zeros = calloc(1, 3 << 20);
    test_dataset_put(&dataset, MD_TAG(0x7fe1, 0x10), "OB", zeros, 3 << 20);
    free(zeros);
    test_dataset_deflate(&dataset);
    dataset.encoding = MD_ENCODING_DEFLATED;
    assert_true(dataset.used < 10000);
    assert_int_equal(end(&dataset, &err), MD_LIMIT);
}

static void test_identity_fuzz(void **state)
{
    enum {
        ROUNDS = 3000
    };
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        test_dataset dataset;
        md_identity identity;
        test_dataset_init(&dataset, (md_encoding)(round % 4), 16 * 1024);
        test_dataset_fill(&dataset, TEST_CT_CLASS, INSTANCE, STUDY, 300);
        if (round % 4 == MD_ENCODING_DEFLATED) {
            test_dataset_deflate(&dataset);
        }
        random_state = round;
        bool is_garbage = round % 5 == 0;
        unsigned n_changes = is_garbage ? (unsigned)dataset.used : 1 + random_next() % 5;
        for (unsigned k = 0; k < n_changes; k++) {
            size_t at = is_garbage ? k : random_next() % dataset.used;
            dataset.bytes[at] = (uint8_t)random_next();
        }
        md_status status = read_identity(&dataset, dataset.used, &identity, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT || status == MD_LIMIT);
        assert_true(!is_garbage || status != MD_OK);
        test_dataset_finish(&dataset);
    }
}

static void test_part10(void **state)
{
    md_part10 head = {0}, read_back;
    uint8_t bytes[MD_PART10_HEADER_BYTES];
    md_error err = {0};
    (void)state;
    memset(head.sop_class_uid, '1', 64);
    memset(head.sop_instance_uid, '2', 63);
    memset(head.transfer_syntax_uid, '3', 64);
    size_t n = md_part10_write(&head, "SIXTEEN LETTERS.", bytes);
    assert_true(n < sizeof bytes);
    assert_int_equal(md_get_le32(bytes + 140), n - 144); /* group length */
    int fd = as_file(bytes, n);
    assert_int_equal(md_part10_read(fd, &read_back, &err), MD_OK);
    close(fd);
    assert_int_equal(read_back.dataset_offset_bytes, n);
    assert_string_equal(read_back.sop_class_uid, head.sop_class_uid);
    assert_string_equal(read_back.sop_instance_uid, head.sop_instance_uid);
    assert_string_equal(read_back.transfer_syntax_uid, head.transfer_syntax_uid);
    for (size_t cut = 0; cut < n; cut += 3) {
        fd = as_file(bytes, cut);
        md_status status = md_part10_read(fd, &read_back, &err);
        assert_true(status == MD_FORMAT || cut > 350);
        close(fd);
    }
    memcpy(bytes + 132 + 12 + 8, "\xff\xff\xff\xff", 4); /* a version of 4 GiB */
    fd = as_file(bytes, n);
    assert_int_equal(md_part10_read(fd, &read_back, &err), MD_FORMAT);
    close(fd);
    for (unsigned round = 0; round < 3000; round++) {
        uint8_t mutated[MD_PART10_HEADER_BYTES];
        memcpy(mutated, bytes, n);
        random_state = round;
        for (unsigned k = 1 + random_next() % 5; k > 0; k--) {
            mutated[132 + random_next() % (n - 132)] = (uint8_t)random_next();
        }
        fd = as_file(mutated, n);
        md_status status = md_part10_read(fd, &read_back, NULL);
        assert_true(status == MD_OK || status == MD_FORMAT);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_uid_and_ae),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_request_round_trip),
        cmocka_unit_test(test_request_refusals),
        cmocka_unit_test(test_request_fuzz),
        cmocka_unit_test(test_accept_of_many_contexts),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_fuzz),
        cmocka_unit_test(test_identity_of_each_encoding),
        cmocka_unit_test(test_identity_of_structures),
        cmocka_unit_test(test_identity_patient),
        cmocka_unit_test(test_identity_refuses),
        cmocka_unit_test(test_identity_fuzz),
        cmocka_unit_test(test_part10),
    };
    return cmocka_run_group_tests_name("dicom_network_parsers", tests, NULL, NULL);
}
