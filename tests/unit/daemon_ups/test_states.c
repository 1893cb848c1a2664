/* PS3.4 table CC.1.1-2, each cell over the network against a real store, and its statuses. */

#include "office.h"

enum {
    NOBODY = 4 /* the column "null" */
};

typedef enum lock {
    RIGHT,
    WRONG,
    MISSING,
    NO_UID, /* not a UID */
    N_LOCKS
} lock;

static const char *const transactions[N_LOCKS] = {TRANSACTION, "1.2.3.4.5.6.2", NULL, "hello"};
static const char *const columns[] = {"SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED",
                                      "null"};

/* Rows as they stand in the standard: columns SCHEDULED, IN PROGRESS, COMPLETED, CANCELED,
 * null; 0: the state changes. */
static const struct {
    const char *state; /* NULL: a request to cancel */
    bool right;
    uint16_t expected[5];
} rows[] = {
    {"IN PROGRESS", true, {0x0000, 0xc302, 0xc300, 0xc300, 0xc307}},
    {"IN PROGRESS", false, {0xc301, 0xc301, 0xc301, 0xc301, 0xc307}},
    {"SCHEDULED", true, {0xc303, 0xc303, 0xc303, 0xc303, 0xc307}},
    {"SCHEDULED", false, {0xc303, 0xc303, 0xc303, 0xc303, 0xc307}},
    {"COMPLETED", true, {0xc310, 0x0000, 0xb306, 0xc300, 0xc307}},
    {"COMPLETED", false, {0xc301, 0xc301, 0xc301, 0xc301, 0xc307}},
    {"CANCELED", true, {0xc310, 0x0000, 0xc300, 0xb304, 0xc307}},
    {"CANCELED", false, {0xc301, 0xc301, 0xc301, 0xc301, 0xc307}},
};

/* Every row with every lock that it stands for, in every state. */
static void test_change_state(void **state)
{
    office *o = *state;
    unsigned n = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (unsigned l = 0; l < N_LOCKS; l++) {
            for (unsigned c = 0; c <= NOBODY; c++) {
                char uid[MD_UID_BYTES], before[257] = "", after[257] = "";
                /* who has claimed nothing has no wrong UID: of a scheduled item each is right
                 */
                bool right = l == RIGHT || (l == WRONG && c == MD_UPS_SCHEDULED);
                if (right != rows[r].right) {
                    continue;
                }
                snprintf(uid, sizeof uid, "1.2.3.%u", ++n);
                if (c != NOBODY) {
                    create_in_state(o, uid, (md_ups_state)c);
                    if (c == MD_UPS_IN_PROGRESS) {
                        assert_int_equal(make_final(o, uid, TRANSACTION), 0);
                    }
                    text_of(o, uid, MD_UPS_TAG_STATE, before);
                    assert_string_equal(before, columns[c]);
                }
                uint16_t status = change_state(o, uid, rows[r].state, transactions[l]);
                if (status != rows[r].expected[c]) {
                    fail_msg("%s to %s with transaction %u: 0x%04x instead of 0x%04x",
                             columns[c], rows[r].state, l, status, rows[r].expected[c]);
                }
                if (c != NOBODY) {
                    text_of(o, uid, MD_UPS_TAG_STATE, after);
                    assert_string_equal(after, status == 0 ? rows[r].state : columns[c]);
                }
            }
        }
    }
    assert_true(n >= 80);
}

static void test_create(void **state)
{
    office *o = *state;
    for (unsigned c = 0; c < NOBODY; c++) {
        char uid[MD_UID_BYTES], text[257];
        snprintf(uid, sizeof uid, "1.2.3.%u", c + 1);
        create_in_state(o, uid, (md_ups_state)c);
        assert_int_equal(create_item(o, uid, "HIGH"), 0x0111);
        text_of(o, uid, MD_UPS_TAG_PRIORITY, text);
        assert_string_equal(text, "LOW");
    }
    static const char *const others[] = {"IN PROGRESS", "COMPLETED", "CANCELED", "WAITING"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        md_dataset *item = new_item("LOW", "P1", 1);
        put(item, MD_UPS_TAG_STATE, others[i]);
        assert_int_equal(ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, "1.2.3.99", 0, item, NULL),
                         0xc309);
        md_dataset_destroy(item);
    }
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.99", 0, NULL, NULL), 0xc307);
}

/* The row of the request to cancel. */
static void test_request_cancel(void **state)
{
    office *o = *state;
    static const uint16_t expected[] = {0x0000, 0xc312, 0xc311, 0xb304, 0xc307};
    static const char *const classes[] = {MD_UPS_PUSH, MD_UPS_WATCH};
    unsigned n = 0;
    for (size_t k = 0; k < 2; k++) {
        for (unsigned c = 0; c <= NOBODY; c++) {
            char uid[MD_UID_BYTES], after[257];
            snprintf(uid, sizeof uid, "1.2.3.%u", ++n);
            if (c != NOBODY) {
                create_in_state(o, uid, (md_ups_state)c);
            }
            assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, classes[k], uid,
                                 MD_UPS_ACTION_REQUEST_CANCEL, NULL, NULL),
                             expected[c]);
            if (c != NOBODY) {
                text_of(o, uid, MD_UPS_TAG_STATE, after);
                assert_string_equal(after, c == MD_UPS_SCHEDULED ? "CANCELED" : columns[c]);
            }
        }
    }
    /* it ended as the final state wants it, with the reasons of the request */
    md_dataset *information = dataset_with(MD_TAG(0x74, 0x1238), "wrong patient");
    md_dataset *answer = NULL;
    assert_int_equal(create_item(o, "1.2.3.100", "LOW"), 0);
    assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_PUSH, "1.2.3.100",
                         MD_UPS_ACTION_REQUEST_CANCEL, information, NULL),
                     0);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.100", 0, NULL, &answer), 0);
    char comment[MD_WORKITEM_COMMENT_BYTES];
    assert_true(md_workitem_is_final(answer, MD_UPS_CANCELED, comment));
    md_dataset *keys = dataset_with(MD_UPS_TAG_STATE, "CANCELED");
    assert_true(md_workitem_matches(answer, keys));
    md_dataset_destroy(keys);
    md_dataset_destroy(answer);
    md_dataset_destroy(information);
}

/* With a watcher that can be asked, the performer is told and decides. */
static void test_cancel_is_told(void **state)
{
    office *o = *state;
    char text[257];
    create_in_state(o, "1.2.3.1", MD_UPS_IN_PROGRESS);
    assert_int_equal(subscribe(o, MD_UPS_ACTION_SUBSCRIBE, "1.2.3.1", "WATCHER", "FALSE"), 0);
    assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_PUSH, "1.2.3.1",
                         MD_UPS_ACTION_REQUEST_CANCEL, NULL, NULL),
                     0);
    wait_told(o, 2);
    assert_int_equal(o->watcher.told[0].type, MD_UPS_EVENT_STATE);
    assert_string_equal(o->watcher.told[0].state, "IN PROGRESS");
    assert_int_equal(o->watcher.told[1].type, MD_UPS_EVENT_CANCEL_REQUESTED);
    assert_string_equal(o->watcher.told[1].requester, "READER");
    text_of(o, "1.2.3.1", MD_UPS_TAG_STATE, text);
    assert_string_equal(text, "IN PROGRESS");
}

/* COMPLETED and CANCELED only with what table CC.2.5-3 wants. */
static void test_final_state(void **state)
{
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_IN_PROGRESS);
    assert_int_equal(change_state(o, "1.2.3.1", "COMPLETED", TRANSACTION), 0xc304);
    assert_int_equal(change_state(o, "1.2.3.1", "CANCELED", TRANSACTION), 0xc304);
    /* of two sequences one is enough for one of the two, not for the other */
    md_dataset *full = NULL, *changes = NULL;
    create_in_state(o, "1.2.3.2", MD_UPS_COMPLETED);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.2", 0, NULL, &full), 0);
    static const uint32_t sequences[] = {MD_TAG(0x74, 0x1002), MD_TAG(0x74, 0x1216)};
    bool all = false;
    for (size_t i = 0; i < 2; i++) {
        char uid[MD_UID_BYTES];
        snprintf(uid, sizeof uid, "1.2.3.%zu", i + 3);
        create_in_state(o, uid, MD_UPS_IN_PROGRESS);
        assert_ok(md_workitem_select(full, &sequences[i], 1, &changes, &all, err));
        put(changes, MD_UPS_TAG_TRANSACTION, TRANSACTION);
        assert_int_equal(ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, uid, 0, changes, NULL), 0);
        md_dataset_destroy(changes);
        assert_int_equal(change_state(o, uid, i == 0 ? "COMPLETED" : "CANCELED", TRANSACTION),
                         0xc304);
        assert_int_equal(change_state(o, uid, i == 0 ? "CANCELED" : "COMPLETED", TRANSACTION),
                         0);
    }
    md_dataset_destroy(full);
}

/* N-SET, CC.2.6: by anybody and without Transaction UID while SCHEDULED, with it after. */
static void test_set(void **state)
{
    office *o = *state;
    static const uint16_t expected[N_LOCKS][5] = {
        [RIGHT] = {0xc310, 0x0000, 0xc300, 0xc300, 0xc307},
        [WRONG] = {0xc310, 0xc301, 0xc300, 0xc300, 0xc307},
        [MISSING] = {0x0000, 0xc301, 0xc300, 0xc300, 0xc307},
        [NO_UID] = {0x0000, 0xc301, 0xc300, 0xc300, 0xc307},
    };
    unsigned n = 0;
    for (unsigned l = 0; l < N_LOCKS; l++) {
        for (unsigned c = 0; c <= NOBODY; c++) {
            char uid[MD_UID_BYTES], text[257];
            snprintf(uid, sizeof uid, "1.2.3.%u", ++n);
            if (c != NOBODY) {
                create_in_state(o, uid, (md_ups_state)c);
            }
            md_dataset *changes = dataset_with(MD_UPS_TAG_PRIORITY, "HIGH");
            if (transactions[l] != NULL) {
                put(changes, MD_UPS_TAG_TRANSACTION, transactions[l]);
            }
            uint16_t status = ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, uid, 0, changes, NULL);
            md_dataset_destroy(changes);
            if (status != expected[l][c]) {
                fail_msg("N-SET, %s, transaction %u: 0x%04x instead of 0x%04x", columns[c], l,
                         status, expected[l][c]);
            }
            if (c != NOBODY) {
                text_of(o, uid, MD_UPS_TAG_PRIORITY, text);
                assert_string_equal(text, status == 0 ? "HIGH" : "LOW");
            }
        }
    }
}

/* A claim survives a restart, and so does its lock. */
static void test_restart(void **state)
{
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_IN_PROGRESS);
    office_restart(o);
    assert_int_equal(make_final(o, "1.2.3.1", "1.2.3.4.5.6.2"), 0xc301);
    assert_int_equal(make_final(o, "1.2.3.1", TRANSACTION), 0);
    office_restart(o);
    assert_int_equal(change_state(o, "1.2.3.1", "COMPLETED", TRANSACTION), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, office_setup, office_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_change_state),   CASE(test_create),      CASE(test_request_cancel),
        CASE(test_cancel_is_told), CASE(test_final_state), CASE(test_set),
        CASE(test_restart),
    };
    return cmocka_run_group_tests_name("daemon-ups-states", tests, NULL, NULL);
}
