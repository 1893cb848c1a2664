/* Asking for storage commitment with a destination of the test's own, and reports of every
 * kind. */

#include "tests/unit/dicom_network/bench.h"

#include "daemon/commitment.h"
#include "daemon/steady.h"
#include "dicom/network/dimse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_ok(expression)                                                                  \
    do {                                                                                       \
        md_error ok_err_ = {0};                                                                \
        md_error *err = &ok_err_;                                                              \
        if ((expression) != MD_OK) {                                                           \
            fail_msg("%s: %s", #expression, ok_err_.msg);                                      \
        }                                                                                      \
    } while (0)

#define SR_CLASS "1.2.840.10008.5.1.4.1.1.88.34"

enum {
    MAX_ROWS = 8
};

typedef struct site {
    char folder[64], path[96];
    md_store *store;
    md_conf conf;
    md_conf_destination *pacs;
    md_committer committer;
    md_commitment_sink sink;
    unsigned n_changes;
    /* what the destination does when it is asked, and what it heard */
    md_status status;
    uint16_t dimse_status;
    bool reports; /* over the same association */
    uint16_t reported;
    unsigned n_asked;
    char transaction_uid[MD_UID_BYTES];
    md_commit_reference references[MAX_ROWS];
    size_t n_references;
} site;

static site *now; /* of the running test: an asker has no context of its own */

static void on_change(void *context)
{
    ((site *)context)->n_changes++;
}

static int set_up(void **state)
{
    now = calloc(1, sizeof *now);
    test_folder_make(now->folder);
    snprintf(now->path, sizeof now->path, "%s/medaid.db", now->folder);
    md_store_options options = {.path = now->path};
    assert_ok(md_store_open(&options, &now->store, err));
    md_conf_defaults(&now->conf);
    now->conf.n_destinations = 1;
    now->pacs = &now->conf.destinations[0];
    snprintf(now->pacs->name, sizeof now->pacs->name, "pacs");
    now->pacs->commitment = MD_COMMITMENT_REQUIRED;
    now->pacs->commitment_timeout_s = 100;
    now->pacs->retry_first_s = 2;
    now->pacs->retry_max_s = 60;
    now->pacs->retry_for_h = 1;
    now->sink = (md_commitment_sink){now->store, on_change, now};
    *state = now;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    md_store_close(now->store);
    test_folder_remove(now->folder);
    free(now);
    return 0;
}

/* A study of one report that "pacs" has taken at `sent_ms`. */
static int64_t make_sent(unsigned number, int64_t sent_ms)
{
    static const char *const pacs[] = {"pacs"};
    char study_uid[32], report_uid[32];
    snprintf(study_uid, sizeof study_uid, "1.2.3.%u", number);
    snprintf(report_uid, sizeof report_uid, "1.2.4.%u", number);
    md_instance_new item = {.study_uid = study_uid,
                            .series_uid = "1.2.5",
                            .sop_instance_uid = study_uid,
                            .sop_class_uid = TEST_CT_CLASS,
                            .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                            .source_ae = "SENDER",
                            .file = 100 + number,
                            .size_bytes = 1,
                            .received_ms = sent_ms};
    md_instance_outcome received;
    md_study study;
    md_claim claim;
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_add_instances(now->store, &item, 1, &received, err));
    assert_ok(md_store_study(now->store, received.study, &study, err));
    assert_ok(md_store_complete(now->store, &study, sent_ms, err));
    assert_ok(md_store_claim(now->store, "w", sent_ms, 60000, &claim, &study, err));
    const md_object_new object = {.kind = "sr",
                                  .sop_instance_uid = report_uid,
                                  .sop_class_uid = SR_CLASS,
                                  .file = 200 + number,
                                  .size_bytes = 1,
                                  .destinations = pacs,
                                  .n_destinations = 1};
    assert_ok(md_store_finish(now->store, &claim,
                              &(md_study_outcome){.objects = &object, .n_objects = 1}, sent_ms,
                              NULL, err));
    assert_ok(md_store_outbox_claim(now->store, "pacs", sent_ms, 60000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    const md_outbox_result result = {
        .id = row.id, .token = row.token, .state = MD_OUTBOX_SENT, .wants_commitment = true};
    assert_ok(md_store_outbox_finish(now->store, &result, 1, sent_ms, NULL, err));
    return received.study;
}

static md_commitment_state commitment_of(int64_t study, md_outbox_state *ret_state)
{
    md_outbox_row rows[MAX_ROWS];
    size_t n = 0;
    assert_ok(
        md_store_outbox_rows(now->store, study, MD_OUTBOX_PENDING, 0, MAX_ROWS, rows, &n, err));
    assert_int_equal(n, 1);
    if (ret_state != NULL) {
        *ret_state = rows[0].state;
    }
    return rows[0].committed;
}

/* A report on the last request, with what it says changed by `change`. */
static md_dimse_request make_report(uint8_t **ret_bytes, bool failed)
{
    md_commit_reference references[MAX_ROWS];
    size_t n = 0;
    memcpy(references, now->references, sizeof references);
    assert_ok(md_commit_write_request(now->transaction_uid, references, now->n_references,
                                      MD_ENCODING_EXPLICIT_LITTLE, ret_bytes, &n, err));
    if (failed) {
        (*ret_bytes)[8 + ((*ret_bytes)[6] + 1) / 2 * 2 + 2] =
            0x98; /* the Failed SOP Sequence */
    }
    return (md_dimse_request){.field = MD_COMMAND_EVENT_REPORT_RQ,
                              .abstract_syntax = MD_UID_COMMITMENT_PUSH,
                              .sop_class_uid = MD_UID_COMMITMENT_PUSH,
                              .sop_instance_uid = MD_UID_COMMITMENT_PUSH_INSTANCE,
                              .has_number = true,
                              .number = failed ? MD_COMMIT_EVENT_FAILURES : MD_COMMIT_EVENT_ALL,
                              .has_dataset = true,
                              .dataset = *ret_bytes,
                              .dataset_bytes = n,
                              .encoding = MD_ENCODING_EXPLICIT_LITTLE,
                              .calling_ae = "PACS",
                              .called_ae = "MEDAID",
                              .peer_address = "192.0.2.1:104"};
}

static uint16_t report(bool failed)
{
    uint8_t *bytes = NULL;
    md_dimse_request request = make_report(&bytes, failed);
    uint16_t status = md_commitment_take(&now->sink, &request);
    md_free(bytes);
    return status;
}

static md_status fake_ask(const md_conf *conf, const md_conf_destination *destination,
                          const char *transaction_uid, const md_commit_reference *references,
                          size_t n,
                          uint16_t (*on_report)(void *context, const md_dimse_request *request),
                          void *context, uint16_t *ret_dimse_status, md_error *err)
{
    assert_ptr_equal(conf, &now->conf);
    assert_ptr_equal(destination, now->pacs);
    assert_true(n <= MAX_ROWS);
    /* it is on disk before anybody hears of it */
    md_store_counts counts;
    assert_int_equal(md_store_count(now->store, &counts, NULL), MD_OK);
    assert_true(counts.uncommitted > 0);
    now->n_asked++;
    snprintf(now->transaction_uid, sizeof now->transaction_uid, "%s", transaction_uid);
    memcpy(now->references, references, n * sizeof *references);
    now->n_references = n;
    if (now->status != MD_OK) {
        return md_fail(err, now->status, "nobody answers");
    }
    *ret_dimse_status = now->dimse_status;
    if (now->reports) {
        uint8_t *bytes = NULL;
        md_dimse_request request = make_report(&bytes, false);
        request.calling_ae = request.peer_address = "";
        now->reported = on_report(context, &request);
        md_free(bytes);
    }
    return MD_OK;
}

static md_commitment_round run(int64_t now_ms)
{
    return md_commitment_run(&now->committer, &now->conf, now->pacs, &now->sink, fake_ask,
                             now_ms);
}

static int64_t pause_ms(md_commitment_round round, int64_t now_ms)
{
    return md_commitment_pause_ms(&now->committer, round, now->pacs, now->store, now_ms, 30000);
}

static void test_asked_and_given(void **state)
{
    (void)state;
    int64_t at = md_steady_ms();
    assert_int_equal(run(at), MD_COMMITMENT_IDLE);
    assert_int_equal(pause_ms(MD_COMMITMENT_IDLE, at), 30000);
    int64_t one = make_sent(1, at), two = make_sent(2, at + 1);
    assert_int_equal(run(at + 2), MD_COMMITMENT_MADE);
    assert_int_equal(pause_ms(MD_COMMITMENT_MADE, at), 0);
    assert_int_equal(now->n_references, 1);
    assert_string_equal(now->references[0].sop_class_uid, SR_CLASS);
    assert_string_equal(now->references[0].sop_instance_uid, "1.2.4.1");
    char first[MD_UID_BYTES];
    memcpy(first, now->transaction_uid, sizeof first);
    assert_int_equal(commitment_of(one, NULL), MD_COMMITMENT_ASKED);
    assert_int_equal(report(false), MD_DIMSE_SUCCESS);
    assert_int_equal(commitment_of(one, NULL), MD_COMMITMENT_GIVEN);
    now->reports = true; /* the second over the same association */
    assert_int_equal(run(at + 3), MD_COMMITMENT_MADE);
    assert_int_equal(now->reported, MD_DIMSE_SUCCESS);
    assert_string_not_equal(now->transaction_uid, first);
    assert_int_equal(commitment_of(two, NULL), MD_COMMITMENT_GIVEN);
    assert_int_equal(run(at + 4), MD_COMMITMENT_IDLE);
    assert_int_equal(now->n_asked, 2);
    assert_int_equal(now->n_changes, 0);
}

static void test_not_kept(void **state)
{
    md_outbox_state row = MD_OUTBOX_SENT;
    (void)state;
    int64_t at = md_steady_ms();
    int64_t id = make_sent(1, at);
    assert_int_equal(run(at), MD_COMMITMENT_MADE);
    assert_int_equal(report(true), MD_DIMSE_SUCCESS); /* understood: that is what it answers */
    assert_int_equal(commitment_of(id, &row), MD_COMMITMENT_UNWANTED);
    assert_int_equal(row, MD_OUTBOX_PENDING);
    assert_int_equal(now->n_changes, 1);
    assert_int_equal(run(at), MD_COMMITMENT_IDLE); /* not before it is sent again */
}

/* Every status but success, and no response at all: asked again after a wait that grows. */
static void test_not_taken(void **state)
{
    static const uint16_t statuses[] = {0x0105, 0x0106, 0x0110, 0x0112, 0x0113, 0x0114,
                                        0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121,
                                        0x0122, 0x0123, 0x0124, 0x0131, 0x0210, 0x0211,
                                        0x0212, 0x0213, 0xa700, 0xc000, 0xffff};
    (void)state;
    int64_t at = md_steady_ms();
    int64_t id = make_sent(1, at);
    for (size_t i = 0; i <= sizeof statuses / sizeof *statuses; i++) {
        bool is_silent = i == sizeof statuses / sizeof *statuses;
        now->status = is_silent ? MD_TIMEOUT : MD_OK;
        now->dimse_status = is_silent ? 0 : statuses[i];
        assert_int_equal(run(at + 70000 * (int64_t)(i + 1)), MD_COMMITMENT_DOWN);
        assert_int_equal(now->n_asked, i + 1);
        assert_int_equal(commitment_of(id, NULL), MD_COMMITMENT_WANTED);
        int64_t wait = pause_ms(MD_COMMITMENT_DOWN, at);
        int64_t most = i < 5 ? 2000 << i : 60000;
        assert_true(wait >= most / 2 && wait <= most);
    }
    /* what it says later of an earlier request counts where it is good */
    assert_int_equal(report(false), MD_DIMSE_SUCCESS);
    assert_int_equal(commitment_of(id, NULL), MD_COMMITMENT_GIVEN);
}

/* No answer: asked again with another transaction; after the longest of retry_for_h and three
 * time-outs given up. */
static void test_no_answer(void **state)
{
    md_outbox_state row = MD_OUTBOX_SENT;
    char first[MD_UID_BYTES];
    (void)state;
    int64_t at = md_steady_ms() - 3600000 + 150000; /* 150 s before the hour is over */
    int64_t id = make_sent(1, at);
    assert_int_equal(run(at), MD_COMMITMENT_MADE);
    memcpy(first, now->transaction_uid, sizeof first);
    assert_int_equal(pause_ms(MD_COMMITMENT_IDLE, at + 99000), 1000);
    assert_int_equal(run(at + 99999), MD_COMMITMENT_IDLE);
    assert_int_equal(run(at + 100000), MD_COMMITMENT_MADE); /* expired, and made anew */
    assert_string_not_equal(now->transaction_uid, first);
    assert_int_equal(now->n_asked, 2);
    assert_int_equal(run(at + 3600001), MD_COMMITMENT_IDLE);
    assert_int_equal(commitment_of(id, &row), MD_COMMITMENT_WANTED);
    assert_int_equal(row, MD_OUTBOX_DEAD);
    md_study study;
    assert_ok(md_store_study(now->store, id, &study, err));
    assert_int_equal(study.state, MD_STUDY_FAILED);
    assert_int_equal(now->n_asked, 2);
}

static void test_not_required(void **state)
{
    (void)state;
    int64_t at = md_steady_ms();
    int64_t id = make_sent(1, at);
    now->pacs->commitment = MD_COMMITMENT_NONE;
    assert_int_equal(run(at), MD_COMMITMENT_IDLE);
    assert_int_equal(commitment_of(id, NULL), MD_COMMITMENT_UNWANTED);
    assert_int_equal(now->n_asked, 0);
    assert_int_equal(pause_ms(MD_COMMITMENT_IDLE, at), 30000);
}

/* Each thing that a report may lack, and the status that says so. */
static void test_odd_reports(void **state)
{
    (void)state;
    int64_t at = md_steady_ms();
    int64_t id = make_sent(1, at);
    assert_int_equal(run(at), MD_COMMITMENT_MADE);
    for (unsigned i = 0; i < 10; i++) {
        uint8_t *bytes = NULL;
        md_dimse_request request = make_report(&bytes, false);
        uint16_t expected = 0;
        switch (i) {
        case 0:
            request.field = MD_COMMAND_ACTION_RQ;
            expected = MD_DIMSE_NO_SUCH_ACTION;
            break;
        case 1:
            request.sop_class_uid = "1.2.840.10008.1.20.2";
            expected = MD_DIMSE_CLASS_NOT_SUPPORTED;
            break;
        case 2:
            request.sop_instance_uid = "1.2.3";
            expected = MD_DIMSE_NO_SUCH_INSTANCE;
            break;
        case 3:
            request.has_number = false;
            expected = MD_DIMSE_NO_SUCH_EVENT;
            break;
        case 4:
            request.number = 3;
            expected = MD_DIMSE_NO_SUCH_EVENT;
            break;
        case 5:
            request.has_dataset = false;
            expected = MD_DIMSE_MISTYPED;
            break;
        case 6:
            request.dataset_bytes = 0;
            expected = MD_DIMSE_INVALID_ARGUMENT;
            break;
        case 7:
            request.dataset_bytes--;
            expected = MD_DIMSE_INVALID_ARGUMENT;
            break;
        case 8:
            bytes[10] = '9'; /* another transaction */
            bytes[11] = '9';
            expected = MD_DIMSE_INVALID_ARGUMENT;
            break;
        default:
            md_memory_fail_at(1);
            expected = MD_DIMSE_RESOURCE_LIMITATION;
            break;
        }
        uint16_t status = md_commitment_take(&now->sink, &request);
        md_memory_fail_at(0);
        if (status != expected) {
            fail_msg("case %u: 0x%04x", i, (unsigned)status);
        }
        md_free(bytes);
        assert_int_equal(commitment_of(id, NULL), MD_COMMITMENT_ASKED);
    }
    assert_int_equal(report(false), MD_DIMSE_SUCCESS);
}

/* The real asker: against nobody, and against an SCP that has no storage commitment. */
static void test_ask_by_network(void **state)
{
    test_scp scp;
    (void)state;
    uint16_t status = 0;
    md_error err = {0};
    const md_commit_reference reference = {.sop_class_uid = SR_CLASS,
                                           .sop_instance_uid = "1.2.3"};
    test_scp_start(&scp, NULL);
    snprintf(now->pacs->host, sizeof now->pacs->host, "127.0.0.1");
    snprintf(now->pacs->ae_title, sizeof now->pacs->ae_title, "MEDAID");
    now->pacs->port = (uint16_t)atoi(scp.port);
    now->pacs->timeout_s = 20;
    assert_int_equal(md_commitment_ask(&now->conf, now->pacs, "1.2.3", &reference, 1,
                                       md_commitment_take, &now->sink, &status, &err),
                     MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "does not take storage commitment"));
    test_scp_stop(&scp);
    assert_int_equal(md_commitment_ask(&now->conf, now->pacs, "1.2.3", &reference, 1,
                                       md_commitment_take, &now->sink, &status, &err),
                     MD_NETWORK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_asked_and_given), TEST(test_not_kept),     TEST(test_not_taken),
        TEST(test_no_answer),       TEST(test_not_required), TEST(test_odd_reports),
        TEST(test_ask_by_network),
    };
    return cmocka_run_group_tests_name("daemon_commitment", tests, NULL, NULL);
}
