#include "bench.h"

#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/dimse_client.h"
#include "dicom/network/pdu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COMMITMENT "1.2.840.10008.1.20.1"
#define UPS_PUSH "1.2.840.10008.5.1.4.34.6.1"
#define UPS_EVENT "1.2.840.10008.5.1.4.34.6.4"

/* What the service under test saw last, and how often it was asked. */
typedef struct seen {
    atomic_uint n, n_gone;
    uint16_t field, number;
    bool has_number, peer_is_scp, has_dataset;
    md_encoding encoding;
    char class_uid[MD_UID_BYTES], instance_uid[MD_UID_BYTES];
    size_t n_attributes, dataset_bytes;
    uint32_t sum;
    unsigned n_sent; /* pending responses */
} seen;

static uint32_t sum_of(const uint8_t *bytes, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum = sum * 31 + bytes[i];
    }
    return sum;
}

enum {
    N_PENDING = 400,
    STATUS_SILENT = 7, /* action type after which the service says nothing */
};

/* C-FIND: 400 times the request's own dataset. N-*: the status is the action type, and the
 * dataset goes back. */
static void on_request(void *context, const md_dimse_request *request,
                       md_dimse_responder *responder)
{
    seen *to = context;
    to->field = request->field;
    to->has_number = request->has_number;
    to->number = request->number;
    to->peer_is_scp = request->peer_is_scp;
    to->has_dataset = request->has_dataset;
    to->encoding = request->encoding;
    to->n_attributes = request->n_attributes;
    to->dataset_bytes = request->dataset_bytes;
    to->sum = sum_of(request->dataset, request->dataset_bytes);
    snprintf(to->class_uid, sizeof to->class_uid, "%s", request->sop_class_uid);
    snprintf(to->instance_uid, sizeof to->instance_uid, "%s", request->sop_instance_uid);
    to->n++;
    md_dimse_answer answer = {.status = MD_DIMSE_PENDING,
                              .dataset = request->dataset,
                              .dataset_bytes = request->dataset_bytes};
    if (request->field == MD_COMMAND_FIND_RQ) {
        to->n_sent = 0;
        while (to->n_sent < N_PENDING && !md_dimse_is_cancelled(responder)) {
            if (md_dimse_respond(responder, &answer, NULL) != MD_OK) {
                return;
            }
            to->n_sent++;
            usleep(500);
        }
        answer = (md_dimse_answer){
            .status = md_dimse_is_cancelled(responder) ? MD_DIMSE_CANCELLED : MD_DIMSE_SUCCESS};
    } else {
        answer.status = request->number;
        answer.comment = request->number == 0xc301 ? "in the wrong state" : NULL;
        answer.sop_instance_uid = request->field == MD_COMMAND_CREATE_RQ ? "1.2.3.77" : NULL;
    }
    if (request->has_number && request->number == STATUS_SILENT) {
        return;
    }
    if (md_dimse_respond(responder, &answer, NULL) == MD_OK) {
        assert_int_equal(md_dimse_respond(responder, &answer, NULL), MD_INVALID_ARG);
    } else {
        to->n_gone++; /* no second try helps */
        assert_int_not_equal(md_dimse_respond(responder, &answer, NULL), MD_OK);
    }
}

static const md_service_class classes[] = {
    {UPS_PUSH, false}, {UPS_EVENT, true}, {COMMITMENT, true}};

/* The SCP with the service, and a client to it. */
typedef struct desk {
    seen seen;
    md_scp_service service;
    test_scp scp;
    md_peer peer;
    md_dimse_client *client;
} desk;

static void desk_open(desk *at, const md_client_class *wanted, size_t n)
{
    memset(at, 0, sizeof *at);
    at->service = (md_scp_service){classes, 3, on_request, &at->seen};
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 4,
        .association_timeout_s = 20,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .services = &at->service,
        .n_services = 1,
    };
    test_scp_start(&at->scp, &options);
    at->peer = (md_peer){.ae_title = "MEDAID",
                         .host = "127.0.0.1",
                         .port = (uint16_t)strtoul(at->scp.port, NULL, 10),
                         .own_ae_title = "TESTER",
                         .timeout_s = 20};
    md_error err = {0};
    if (n > 0 && md_dimse_client_open(&at->peer, wanted, n, &at->client, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

static void desk_close(desk *at)
{
    md_dimse_client_close(at->client);
    test_scp_stop(&at->scp);
}

static uint8_t *make_bytes(size_t n)
{
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i * 2654435761U >> 24);
    }
    return bytes;
}

static md_dimse_reply call_for(desk *at, const md_dimse_call *call)
{
    md_dimse_reply reply = {0};
    md_error err = {0};
    if (md_dimse_client_call(at->client, call, NULL, NULL, &reply, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return reply;
}

static void test_operations(void **state)
{
    static const md_client_class wanted[] = {{UPS_PUSH, false}, {"1.2.3.4", false}};
    static const uint16_t fields[] = {MD_COMMAND_SET_RQ, MD_COMMAND_ACTION_RQ,
                                      MD_COMMAND_CREATE_RQ, MD_COMMAND_EVENT_REPORT_RQ};
    static const size_t sizes[] = {2, 1000, 300000, MD_SERVICE_MAX_DATASET_BYTES};
    static const uint32_t tags[] = {MD_TAG(0x74, 0x1000), MD_TAG(0x40, 0x4041)};
    desk at;
    md_error err = {0};
    md_encoding encoding = MD_ENCODING_DEFLATED;
    (void)state;
    desk_open(&at, wanted, 2);
    assert_int_equal(md_dimse_client_encoding(at.client, UPS_PUSH, &encoding, &err), MD_OK);
    assert_int_equal(encoding, MD_ENCODING_EXPLICIT_LITTLE);
    assert_int_equal(md_dimse_client_encoding(at.client, "1.2.3.4", &encoding, &err),
                     MD_UNSUPPORTED);
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) {
            uint8_t *bytes = make_bytes(sizes[k]);
            const md_dimse_call call = {.field = fields[i],
                                        .abstract_syntax = UPS_PUSH,
                                        .sop_instance_uid = "1.2.3.5",
                                        .has_number = true,
                                        .number = 0xc301,
                                        .dataset = bytes,
                                        .dataset_bytes = sizes[k]};
            bool has_number =
                fields[i] == MD_COMMAND_ACTION_RQ || fields[i] == MD_COMMAND_EVENT_REPORT_RQ;
            md_dimse_reply reply = call_for(&at, &call);
            assert_int_equal(reply.status, 0xc301);
            assert_string_equal(reply.comment, "in the wrong state");
            assert_string_equal(reply.sop_instance_uid,
                                fields[i] == MD_COMMAND_CREATE_RQ ? "1.2.3.77" : "1.2.3.5");
            assert_int_equal(reply.dataset_bytes, sizes[k]);
            assert_memory_equal(reply.dataset, bytes, sizes[k]);
            assert_int_equal(at.seen.field, fields[i]);
            assert_true(at.seen.has_number || !has_number);
            assert_int_equal(at.seen.number, 0xc301);
            assert_int_equal(at.seen.sum, sum_of(bytes, sizes[k]));
            assert_string_equal(at.seen.class_uid, UPS_PUSH);
            assert_string_equal(at.seen.instance_uid, "1.2.3.5");
            assert_false(at.seen.peer_is_scp);
            free(bytes);
        }
    }
    /* N-GET: a list and no dataset */
    const md_dimse_call get = {.field = MD_COMMAND_GET_RQ,
                               .abstract_syntax = UPS_PUSH,
                               .sop_instance_uid = "1.2.3.6",
                               .attributes = tags,
                               .n_attributes = 2};
    assert_int_equal(call_for(&at, &get).status, 0);
    assert_int_equal(at.seen.n_attributes, 2);
    assert_false(at.seen.has_dataset);
    /* what no service answers, and what a service leaves without an answer */
    const md_dimse_call delete = {.field = MD_COMMAND_DELETE_RQ,
                                  .abstract_syntax = UPS_PUSH,
                                  .sop_instance_uid = "1.2.3.6"};
    unsigned n = at.seen.n;
    assert_int_equal(call_for(&at, &delete).status, 0x0211);
    assert_int_equal(at.seen.n, n);
    const md_dimse_call silent = {.field = MD_COMMAND_ACTION_RQ,
                                  .abstract_syntax = UPS_PUSH,
                                  .has_number = true,
                                  .number = STATUS_SILENT};
    assert_int_equal(call_for(&at, &silent).status, 0x0110);
    desk_close(&at);
}

/* A C-STORE in a context of the service must not become a file. */
static void test_store_in_service_context(void **state)
{
    desk at;
    uint8_t bytes[64] = {8, 0, 0x16, 0};
    (void)state;
    desk_open(&at, NULL, 0);
    int fd = test_connect(&at.scp);
    assert_int_equal(test_associate(fd, UPS_PUSH, MD_UID_IMPLICIT_LITTLE), 0);
    assert_int_equal(test_store(fd, UPS_PUSH, "1.2.3", bytes, sizeof bytes), 0x0211);
    assert_int_equal(test_folder_count(at.scp.spool), 0);
    assert_int_equal(test_echo(fd), 0);
    assert_int_equal(at.seen.n, 0);
    close(fd);
    /* compressed syntaxes are for images */
    fd = test_connect(&at.scp);
    assert_int_equal(test_associate(fd, UPS_PUSH, "1.2.840.10008.1.2.4.50"),
                     MD_CONTEXT_TRANSFER_REFUSED);
    close(fd);
    desk_close(&at);
}

static void test_dataset_limit(void **state)
{
    static const md_client_class wanted[] = {{UPS_PUSH, false}};
    desk at;
    size_t n = MD_SERVICE_MAX_DATASET_BYTES + 2;
    uint8_t *bytes = make_bytes(n);
    (void)state;
    desk_open(&at, wanted, 1);
    md_dimse_call call = {.field = MD_COMMAND_CREATE_RQ,
                          .abstract_syntax = UPS_PUSH,
                          .dataset = bytes,
                          .dataset_bytes = n};
    assert_int_equal(call_for(&at, &call).status, 0x0213);
    assert_int_equal(at.seen.n, 0);
    call.dataset_bytes = 100;
    assert_int_equal(call_for(&at, &call).status, 0);
    free(bytes);
    desk_close(&at);
}

static bool count_until(void *context, const md_dimse_reply *reply)
{
    unsigned *left = context;
    assert_int_equal(reply->dataset_bytes, 1000);
    (*left)--;
    return *left != 0;
}

static void test_find_and_cancel(void **state)
{
    static const md_client_class wanted[] = {{UPS_PUSH, false}};
    desk at;
    uint8_t *bytes = make_bytes(1000);
    unsigned left = 100000;
    md_dimse_reply reply;
    (void)state;
    desk_open(&at, wanted, 1);
    const md_dimse_call find = {.field = MD_COMMAND_FIND_RQ,
                                .abstract_syntax = UPS_PUSH,
                                .dataset = bytes,
                                .dataset_bytes = 1000};
    assert_int_equal(md_dimse_client_call(at.client, &find, count_until, &left, &reply, NULL),
                     MD_OK);
    assert_int_equal(reply.status, 0);
    assert_int_equal(100000 - left, N_PENDING);
    left = 3;
    assert_int_equal(md_dimse_client_call(at.client, &find, count_until, &left, &reply, NULL),
                     MD_OK);
    assert_int_equal(reply.status, MD_DIMSE_CANCELLED);
    assert_true(at.seen.n_sent < N_PENDING);
    /* and it goes on */
    assert_int_equal(md_dimse_client_call(at.client, &find, NULL, NULL, &reply, NULL), MD_OK);
    assert_int_equal(reply.status, 0);
    free(bytes);
    desk_close(&at);
}

/* Raw bytes: a peer that does not wait for its answer, cancels at odd times, or vanishes. */
static void test_disorder(void **state)
{
    desk at;
    md_command find = {.field = MD_COMMAND_FIND_RQ, .message_id = 5, .sop_class_uid = UPS_PUSH};
    md_command cancel = {
        .field = MD_COMMAND_CANCEL_RQ, .message_id = 5, .dataset_type = MD_COMMAND_NO_DATASET};
    uint8_t command[MD_COMMAND_WRITE_BYTES], head[12];
    (void)state;
    desk_open(&at, NULL, 0);
    /* a cancel of nothing is no fault */
    int fd = test_connect(&at.scp);
    assert_int_equal(test_associate(fd, UPS_PUSH, MD_UID_IMPLICIT_LITTLE), 0);
    test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&cancel, command));
    assert_int_equal(test_echo(fd), 0);
    /* a second request within the first one ends the association */
    for (int i = 0; i < 2; i++) {
        test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                       md_command_write(&find, command));
        test_write_pdv(fd, 1, MD_PDV_LAST, "abcd", 4);
    }
    bool is_aborted = false;
    while (!is_aborted && test_read(fd, head, 6) == 6) {
        uint8_t body[4096];
        size_t n = md_get_be32(head + 2);
        assert_true(n <= sizeof body);
        is_aborted = head[0] == MD_PDU_ABORT;
        (void)test_read(fd, body, n);
    }
    assert_true(is_aborted);
    assert_int_equal(at.seen.n_gone, 1);
    close(fd);
    /* gone in the middle of it */
    unsigned n_before = at.scp.n_done;
    fd = test_connect(&at.scp);
    assert_int_equal(test_associate(fd, UPS_PUSH, MD_UID_IMPLICIT_LITTLE), 0);
    test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&find, command));
    test_write_pdv(fd, 1, MD_PDV_LAST, "abcd", 4);
    close(fd);
    for (int i = 0; i < 6000 && at.scp.n_done == n_before; i++) {
        usleep(10000);
    }
    assert_true(at.scp.n_done > n_before);
    desk_close(&at);
}

/* The peer opens the association as SCP and reports an event (PS3.4 J.3.3). */
static void test_roles(void **state)
{
    static const md_client_class wanted[] = {{COMMITMENT, true}, {UPS_PUSH, true}};
    desk at;
    uint8_t *bytes = make_bytes(500);
    (void)state;
    desk_open(&at, wanted, 2);
    md_dimse_call call = {.field = MD_COMMAND_EVENT_REPORT_RQ,
                          .abstract_syntax = COMMITMENT,
                          .sop_instance_uid = "1.2.840.10008.1.20.1.1",
                          .has_number = true,
                          .number = 1,
                          .dataset = bytes,
                          .dataset_bytes = 500};
    assert_int_equal(call_for(&at, &call).status, 1);
    assert_true(at.seen.peer_is_scp);
    assert_int_equal(at.seen.number, 1);
    call.abstract_syntax = UPS_PUSH; /* here the role is not given */
    assert_int_equal(call_for(&at, &call).status, 1);
    assert_false(at.seen.peer_is_scp);
    free(bytes);
    desk_close(&at);
}

static void test_role_bytes(void **state)
{
    static md_associate request, parsed;
    uint8_t bytes[4096];
    md_reject reject = MD_REJECT_NONE;
    (void)state;
    snprintf(request.called_ae, MD_AE_BYTES, "MEDAID");
    request.n_contexts = 1;
    request.contexts[0].id = 1;
    snprintf(request.contexts[0].abstract_syntax, MD_UID_BYTES, COMMITMENT);
    snprintf(request.contexts[0].transfer_syntax, MD_UID_BYTES, MD_UID_IMPLICIT_LITTLE);
    request.n_roles = MD_PDU_MAX_ROLES;
    for (unsigned i = 0; i < MD_PDU_MAX_ROLES; i++) {
        request.roles[i] = (md_role){.scu = i % 2 == 0, .scp = i % 3 == 0};
        snprintf(request.roles[i].sop_class_uid, MD_UID_BYTES, "1.2.3.%u", i);
    }
    size_t n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_true(n > 0);
    assert_int_equal(
        md_pdu_parse_request(bytes + 6, n - 6, test_judge, NULL, &parsed, &reject, NULL),
        MD_OK);
    assert_int_equal(parsed.n_roles, MD_PDU_MAX_ROLES);
    for (unsigned i = 0; i < MD_PDU_MAX_ROLES; i++) {
        assert_string_equal(parsed.roles[i].sop_class_uid, request.roles[i].sop_class_uid);
        assert_int_equal(parsed.roles[i].scu, request.roles[i].scu);
        assert_int_equal(parsed.roles[i].scp, request.roles[i].scp);
    }
    /* a role item whose UID claims more than there is counts as none; it is the first 0x54 */
    uint8_t *item = memmem(bytes, n, "\x54\x00\x00\x0b\x00\x07", 6);
    assert_non_null(item);
    item[5] = 200;
    assert_int_equal(
        md_pdu_parse_request(bytes + 6, n - 6, test_judge, NULL, &parsed, &reject, NULL),
        MD_OK);
    assert_int_equal(parsed.n_roles, MD_PDU_MAX_ROLES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),    cmocka_unit_test(test_store_in_service_context),
        cmocka_unit_test(test_dataset_limit), cmocka_unit_test(test_find_and_cancel),
        cmocka_unit_test(test_disorder),      cmocka_unit_test(test_roles),
        cmocka_unit_test(test_role_bytes),
    };
    return cmocka_run_group_tests_name("dicom-network-service", tests, NULL, NULL);
}
