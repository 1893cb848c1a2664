/* What the manager of workitems does beside the state machine: attributes, queries,
 * subscriptions, and hostile datasets. */

#include "office.h"

#include "daemon/steady.h"

/* Each attribute that N-CREATE must bring, PS3.4 table CC.2.5-3, and its type. */
static void test_create_attributes(void **state)
{
    static const struct {
        uint32_t tag;
        int type;
    } rows[] = {
        {MD_TAG(0x08, 0x1195), 2}, {MD_TAG(0x74, 0x1200), 1}, {MD_TAG(0x74, 0x1204), 1},
        {MD_TAG(0x74, 0x1202), 2}, {MD_TAG(0x74, 0x1210), 2}, {MD_TAG(0x40, 0x4025), 2},
        {MD_TAG(0x40, 0x4026), 2}, {MD_TAG(0x40, 0x4027), 2}, {MD_TAG(0x40, 0x4005), 1},
        {MD_TAG(0x40, 0x4018), 2}, {MD_TAG(0x40, 0x0400), 2}, {MD_TAG(0x40, 0x4041), 1},
        {MD_TAG(0x40, 0x4021), 2}, {MD_TAG(0x10, 0x0010), 2}, {MD_TAG(0x10, 0x1002), 2},
        {MD_TAG(0x10, 0x0030), 2}, {MD_TAG(0x10, 0x0040), 2}, {MD_TAG(0x38, 0x0010), 2},
        {MD_TAG(0x38, 0x0014), 2}, {MD_TAG(0x08, 0x1080), 2}, {MD_TAG(0x08, 0x1084), 2},
        {MD_TAG(0x40, 0xa370), 2}, {MD_TAG(0x74, 0x1000), 1}, {MD_TAG(0x74, 0x1002), 2},
        {MD_TAG(0x74, 0x1216), 2},
    };
    office *o = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_dataset *item = new_item("LOW", "P1", 1);
        assert_true(md_workitem_remove(item, rows[i].tag));
        uint16_t status = ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, "1.2.3.1", 0, item, NULL);
        if (status != 0x0120) {
            fail_msg("without %08lx: 0x%04x", (unsigned long)rows[i].tag, status);
        }
        put(item, rows[i].tag, "");
        status = ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, "1.2.3.1", 0, item, NULL);
        bool is_label = rows[i].tag == MD_UPS_TAG_WORKLIST;
        if (status != (rows[i].type == 1 ? 0x0121 : is_label ? 0xb300 : 0)) {
            fail_msg("with an empty %08lx: 0x%04x", (unsigned long)rows[i].tag, status);
        }
        if (rows[i].type == 2) {
            /* out of the way for the next one */
            assert_int_equal(
                ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, "1.2.3.1", 0, item, NULL), 0x0111);
            assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_PUSH, "1.2.3.1",
                                 MD_UPS_ACTION_REQUEST_CANCEL, NULL, NULL),
                             0);
            size_t n = 0;
            assert_ok(md_store_ups_retire(o->store, md_steady_ms() + 1000, 10, &n, err));
            assert_int_equal(n, 1);
        }
        md_dataset_destroy(item);
    }
}

static void test_values(void **state)
{
    static const struct {
        uint32_t tag;
        const char *value;
    } bad[] = {
        {MD_UPS_TAG_PRIORITY, "URGENT"},   {MD_UPS_TAG_READINESS, "MAYBE"},
        {MD_UPS_TAG_START, "tomorrow"},    {MD_UPS_TAG_START, "20261345"},
        {MD_UPS_TAG_TRANSACTION, "1.2.3"},
    };
    static const uint32_t fixed[] = {
        MD_UPS_TAG_SOP_INSTANCE, MD_TAG(0x10, 0x10),   MD_UPS_TAG_PATIENT_ID,
        MD_UPS_TAG_STATE,        MD_TAG(0x40, 0xa370),
    };
    office *o = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        md_dataset *item = new_item("LOW", "P1", 1);
        put(item, bad[i].tag, bad[i].value);
        assert_int_equal(ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, "1.2.3.1", 0, item, NULL),
                         0x0106);
        md_dataset_destroy(item);
    }
    assert_int_equal(create_item(o, "1.2.3.1", "LOW"), 0);
    for (size_t i = 0; i < 4; i++) {
        md_dataset *changes = dataset_with(bad[i].tag, bad[i].value);
        assert_int_equal(ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, "1.2.3.1", 0, changes, NULL),
                         0x0106);
        put(changes, bad[i].tag, "");
        assert_int_equal(ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, "1.2.3.1", 0, changes, NULL),
                         0x0121);
        md_dataset_destroy(changes);
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        md_dataset *changes = dataset_with(fixed[i], "");
        put(changes, MD_UPS_TAG_PRIORITY, "HIGH");
        assert_int_equal(ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, "1.2.3.1", 0, changes, NULL),
                         0x0106);
        md_dataset_destroy(changes);
    }
    char text[257];
    text_of(o, "1.2.3.1", MD_UPS_TAG_PRIORITY, text);
    assert_string_equal(text, "LOW"); /* a refused N-SET changes nothing at all */
}

/* Without a UID in the request the manager makes one. */
static void test_own_uid(void **state)
{
    office *o = *state;
    uint8_t *bytes = NULL;
    md_dataset *item = new_item("LOW", "P1", 1);
    md_dimse_call call = {.field = MD_COMMAND_CREATE_RQ, .abstract_syntax = MD_UPS_PUSH};
    md_dimse_reply first = {0}, second = {0};
    assert_ok(md_workitem_encode(item, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &call.dataset_bytes,
                                 err));
    call.dataset = bytes;
    assert_ok(md_dimse_client_call(o->client, &call, NULL, NULL, &first, err));
    assert_ok(md_dimse_client_call(o->client, &call, NULL, NULL, &second, err));
    assert_int_equal(first.status, 0);
    assert_int_equal(strncmp(first.sop_instance_uid, "2.25.", 5), 0);
    assert_string_not_equal(first.sop_instance_uid, second.sop_instance_uid);
    assert_int_equal(
        ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, first.sop_instance_uid, 0, NULL, NULL), 0);
    md_free(bytes);
    md_dataset_destroy(item);
}

/* The lock is never given out: not by N-GET, not by C-FIND, asked or not, and cannot be found
 * by trying. */
static void test_transaction_is_secret(void **state)
{
    static const uint32_t tags[] = {MD_UPS_TAG_TRANSACTION, MD_UPS_TAG_STATE};
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_IN_PROGRESS);
    md_dataset *answer = NULL;
    const md_dimse_call get = {.field = MD_COMMAND_GET_RQ,
                               .abstract_syntax = MD_UPS_PULL,
                               .sop_class_uid = MD_UPS_PUSH,
                               .sop_instance_uid = "1.2.3.1",
                               .attributes = tags,
                               .n_attributes = 2};
    md_dimse_reply reply = {0};
    assert_ok(md_dimse_client_call(o->client, &get, NULL, NULL, &reply, err));
    assert_int_equal(reply.status, 0x0001);
    assert_null(memmem(reply.dataset, reply.dataset_bytes, TRANSACTION, strlen(TRANSACTION)));
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.1", 0, NULL, &answer), 0);
    assert_false(md_dataset_has(answer, MD_UPS_TAG_TRANSACTION));
    md_dataset_destroy(answer);
    char uids[4][MD_UID_BYTES];
    uint16_t status = 0;
    md_dataset *keys = dataset_with(MD_UPS_TAG_TRANSACTION, "");
    put(keys, MD_UPS_TAG_STATE, "");
    assert_int_equal(find(o, keys, uids, 4, 0, &status), 1);
    put(keys, MD_UPS_TAG_TRANSACTION, "9.9.9");
    assert_int_equal(find(o, keys, uids, 4, 0, &status), 1);
    md_dataset_destroy(keys);
}

static void create_with(office *o, const char *uid, const char *priority, const char *patient,
                        int64_t scheduled_ms)
{
    md_dataset *item = new_item(priority, patient, scheduled_ms);
    assert_int_equal(ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, uid, 0, item, NULL), 0);
    md_dataset_destroy(item);
}

/* By priority, then scheduled start, then creation. */
static void test_order(void **state)
{
    static const char *const expected[] = {"1.2.3.4", "1.2.3.6", "1.2.3.2", "1.2.3.5",
                                           "1.2.3.3", "1.2.3.1", "1.2.3.7"};
    office *o = *state;
    char uids[8][MD_UID_BYTES];
    uint16_t status = 0;
    create_with(o, "1.2.3.1", "LOW", "P1", 5000);
    create_with(o, "1.2.3.2", "HIGH", "P2", 9000);
    create_with(o, "1.2.3.3", "LOW", "P3", 1000);
    create_with(o, "1.2.3.4", "HIGH", "P4", 3000);
    create_with(o, "1.2.3.5", "MEDIUM", "P5", 1);
    create_with(o, "1.2.3.6", "HIGH", "P6", 3000);
    create_with(o, "1.2.3.7", "LOW", "P7", 5000);
    md_dataset *keys = dataset_with(MD_UPS_TAG_STATE, "SCHEDULED");
    assert_int_equal(find(o, keys, uids, 8, 0, &status), 7);
    assert_int_equal(status, 0);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(uids[i], expected[i]);
    }
    put(keys, MD_UPS_TAG_PRIORITY, "HIGH");
    assert_int_equal(find(o, keys, uids, 8, 0, &status), 3);
    /* a changed priority moves it */
    md_dataset *changes = dataset_with(MD_UPS_TAG_PRIORITY, "HIGH");
    assert_int_equal(ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, "1.2.3.5", 0, changes, NULL), 0);
    md_dataset_destroy(changes);
    assert_int_equal(find(o, keys, uids, 8, 0, &status), 4);
    assert_string_equal(uids[0], "1.2.3.5");
    md_dataset_destroy(keys);
}

/* PS3.4 C.2.2.2. */
static void test_matching(void **state)
{
    static const struct {
        uint32_t tag;
        const char *key;
        size_t n;
    } rows[] = {
        {MD_UPS_TAG_PATIENT_ID, "P1", 1},
        {MD_UPS_TAG_PATIENT_ID, "P*", 3},
        {MD_UPS_TAG_PATIENT_ID, "P?", 2},
        {MD_UPS_TAG_PATIENT_ID, "p1", 0},
        {MD_UPS_TAG_PATIENT_ID, "*", 3},
        {MD_UPS_TAG_PATIENT_ID, "", 3},
        {MD_UPS_TAG_PATIENT_ID, "P1\\P22", 2},
        {MD_TAG(0x10, 0x10), "m\xc3\xbcller*", 3}, /* names without regard to case */
        {MD_TAG(0x10, 0x10), "M?ller^J*rg", 3},
        {MD_TAG(0x10, 0x10), "Muller*", 0},
        {MD_UPS_TAG_STATE, "SCHEDULED\\IN PROGRESS", 3},
        {MD_UPS_TAG_STATE, "S*", 3},
        {MD_UPS_TAG_STATE, "COMPLETED", 0},
        {MD_UPS_TAG_STATE, "NONSENSE", 0},
        {MD_UPS_TAG_PRIORITY, "LOW\\HIGH", 2},
        {MD_UPS_TAG_WORKLIST, "READING", 3},
        {MD_UPS_TAG_WORKLIST, "READ*", 3},
        {MD_UPS_TAG_WORKLIST, "OTHER", 0},
        {MD_UPS_TAG_STUDY, "1.2.3.9", 3},
        {MD_UPS_TAG_STUDY, "1.2.3.8\\1.2.3.9", 3},
        {MD_UPS_TAG_STUDY, "1.2.3.8", 0},
        {MD_UPS_TAG_SOP_INSTANCE, "1.2.3.1", 1},
        {MD_UPS_TAG_SOP_INSTANCE, "1.2.3.1\\1.2.3.3\\1.2.3.77", 2},
        {MD_TAG(0x10, 0x30), "19700101", 3},
        {MD_TAG(0x10, 0x30), "19691231-19700101", 3},
        {MD_TAG(0x10, 0x30), "19700102-", 0},
        {MD_TAG(0x10, 0x30), "-1969", 0},
        {MD_UPS_TAG_START, "20261124101500+0000", 1},
        {MD_UPS_TAG_START, "20261124101500+0000-20261124101600+0000", 2},
        {MD_UPS_TAG_START, "20261124111500+0100-20261124111500+0100", 1},
        {MD_UPS_TAG_START, "20261124101600+0000-", 2},
        {MD_UPS_TAG_START, "-20261124101559+0000", 1},
        {MD_UPS_TAG_START, "2026", 2},
        {MD_UPS_TAG_START, "202612-", 1},
        {MD_UPS_TAG_START, "nonsense", 0},
        {MD_TAG(0x10, 0x40), "M", 3},
        {MD_TAG(0x10, 0x40), "F", 0},
        {MD_TAG(0x38, 0x10), "A", 0},  /* empty in the items */
        {MD_TAG(0x38, 0x300), "A", 0}, /* not in them */
    };
    office *o = *state;
    char uids[8][MD_UID_BYTES];
    uint16_t status = 0;
    int64_t at_ms = 0;
    assert_true(md_workitem_parse_datetime("20261124101500+0000", &at_ms));
    create_with(o, "1.2.3.1", "LOW", "P1", at_ms);
    create_with(o, "1.2.3.2", "HIGH", "P2", at_ms + 60000);
    create_with(o, "1.2.3.3", "MEDIUM", "P22", at_ms + 40LL * 86400000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_dataset *keys = dataset_with(rows[i].tag, rows[i].key);
        size_t n = find(o, keys, uids, 8, 0, &status);
        md_dataset_destroy(keys);
        if (n != rows[i].n || status != 0) {
            fail_msg("%08lx \"%s\": %zu matches instead of %zu, status 0x%04x",
                     (unsigned long)rows[i].tag, rows[i].key, n, rows[i].n, status);
        }
    }
}

/* Implicit little endian, written by hand: a sequence key with one item. */
static md_dataset *sequence_key(const char *code)
{
    uint8_t bytes[64] = {0x40, 0, 0x18, 0x40};
    size_t n = strlen(code);
    md_dataset *keys = NULL;
    bytes[4] = (uint8_t)(16 + n);
    memcpy(bytes + 8, "\xfe\xff\x00\xe0", 4);
    bytes[12] = (uint8_t)(8 + n);
    memcpy(bytes + 16, "\x08\x00\x00\x01", 4);
    bytes[20] = (uint8_t)n;
    memcpy(bytes + 24, code, n);
    assert_ok(md_workitem_parse(bytes, 24 + n, MD_ENCODING_IMPLICIT_LITTLE, &keys, err));
    return keys;
}

static void test_sequence_matching(void **state)
{
    office *o = *state;
    char uids[4][MD_UID_BYTES];
    uint16_t status = 0;
    create_with(o, "1.2.3.1", "LOW", "P1", 1);
    static const struct {
        const char *code;
        size_t n;
    } rows[] = {{"110005", 1}, {"110004", 0}, {"1100* ", 1}, {"", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_dataset *keys = sequence_key(rows[i].code);
        assert_int_equal(find(o, keys, uids, 4, 0, &status), rows[i].n);
        md_dataset_destroy(keys);
    }
}

/* More items than a page, C-CANCEL in between, and the limit. */
static void test_many(void **state)
{
    office *o = *state;
    char uids[256][MD_UID_BYTES];
    uint16_t status = 0;
    for (unsigned i = 0; i < 230; i++) {
        char uid[MD_UID_BYTES];
        snprintf(uid, sizeof uid, "1.2.3.%u", i + 1);
        create_with(o, uid, i % 20 == 7 ? "HIGH" : "LOW", "P1", 1000000 - i);
    }
    md_dataset *keys = dataset_with(MD_UPS_TAG_STATE, "SCHEDULED");
    assert_int_equal(find(o, keys, uids, 256, 0, &status), 230);
    assert_int_equal(status, 0);
    for (unsigned i = 0; i < 230; i++) {
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(uids[i], uids[k]);
        }
    }
    size_t n = find(o, keys, uids, 256, 60, &status);
    assert_int_equal(status, 0xfe00);
    assert_true(n >= 60 && n < 230);
    o->conf.ups.max_responses = 100;
    assert_int_equal(find(o, keys, uids, 256, 0, &status), 100);
    assert_int_equal(status, 0xa700);
    md_dataset_destroy(keys);
}

/* Which operation goes with which class, PS3.4 table CC.3-1. */
static void test_classes(void **state)
{
    static const char *const classes[] = {MD_UPS_PUSH, MD_UPS_WATCH, MD_UPS_PULL, MD_UPS_QUERY};
    static const struct {
        uint16_t field;
        unsigned action;
        bool offered[4];
    } rows[] = {
        {MD_COMMAND_CREATE_RQ, 0, {true, false, false, false}},
        {MD_COMMAND_SET_RQ, 0, {false, false, true, false}},
        {MD_COMMAND_GET_RQ, 0, {true, true, true, true}},
        {MD_COMMAND_ACTION_RQ, 1, {false, false, true, false}},
        {MD_COMMAND_ACTION_RQ, 2, {true, true, false, false}},
        {MD_COMMAND_ACTION_RQ, 3, {false, true, false, false}},
        {MD_COMMAND_ACTION_RQ, 4, {false, true, false, false}},
        {MD_COMMAND_ACTION_RQ, 5, {false, true, false, false}},
        {MD_COMMAND_ACTION_RQ, 6, {false, false, false, false}},
        {MD_COMMAND_FIND_RQ, 0, {false, true, true, true}},
        {MD_COMMAND_DELETE_RQ, 0, {false, false, false, false}},
    };
    office *o = *state;
    md_dataset *dataset = dataset_with(MD_UPS_TAG_STATE, "COMPLETED");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < 4; k++) {
            bool has_dataset = rows[i].field != MD_COMMAND_GET_RQ;
            uint16_t status = ask(o, rows[i].field, classes[k], "1.2.3.404", rows[i].action,
                                  has_dataset ? dataset : NULL, NULL);
            bool refused = status == 0x0211 || status == 0x0123;
            if (refused == rows[i].offered[k]) {
                fail_msg("operation 0x%04x type %u, class %zu: 0x%04x", rows[i].field,
                         rows[i].action, k, status);
            }
        }
    }
    md_dataset_destroy(dataset);
}

static void test_subscriptions(void **state)
{
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_SCHEDULED);
    /* one item: how it stands, then each change */
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "FALSE"), 0);
    assert_int_equal(change_state(o, "1.2.3.1", "IN PROGRESS", TRANSACTION), 0);
    assert_int_equal(make_final(o, "1.2.3.1", TRANSACTION), 0);
    assert_int_equal(change_state(o, "1.2.3.1", "COMPLETED", TRANSACTION), 0);
    wait_told(o, 4);
    static const struct {
        unsigned type;
        const char *state;
    } expected[] = {{1, "SCHEDULED"}, {1, "IN PROGRESS"}, {3, ""}, {1, "COMPLETED"}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(o->watcher.told[i].type, expected[i].type);
        assert_string_equal(o->watcher.told[i].state, expected[i].state);
        assert_string_equal(o->watcher.told[i].uid, "1.2.3.1");
    }
    /* all: those that are there, and those that come */
    create_in_state(o, "1.2.3.2", MD_UPS_SCHEDULED);
    assert_int_equal(subscribe(o, 3, MD_UPS_GLOBAL, "WATCHER", "FALSE"), 0);
    create_in_state(o, "1.2.3.3", MD_UPS_SCHEDULED);
    wait_told(o, 6);
    assert_string_equal(o->watcher.told[4].uid, "1.2.3.2");
    assert_string_equal(o->watcher.told[5].uid, "1.2.3.3");
    /* but not this one */
    assert_int_equal(subscribe(o, 4, "1.2.3.2", "WATCHER", NULL), 0);
    assert_int_equal(change_state(o, "1.2.3.2", "IN PROGRESS", TRANSACTION), 0);
    /* no further ones; what was subscribed stays so */
    assert_int_equal(subscribe(o, 5, MD_UPS_GLOBAL, "WATCHER", NULL), 0);
    create_in_state(o, "1.2.3.4", MD_UPS_SCHEDULED);
    assert_int_equal(change_state(o, "1.2.3.3", "IN PROGRESS", TRANSACTION), 0);
    wait_told(o, 7);
    assert_string_equal(o->watcher.told[6].uid, "1.2.3.3");
    assert_string_equal(o->watcher.told[6].state, "IN PROGRESS");
    /* nothing at all any more */
    assert_int_equal(subscribe(o, 4, MD_UPS_GLOBAL, "WATCHER", NULL), 0);
    assert_int_equal(make_final(o, "1.2.3.3", TRANSACTION), 0);
    assert_int_equal(change_state(o, "1.2.3.3", "CANCELED", TRANSACTION), 0);
    assert_int_equal(subscribe(o, 3, "1.2.3.3", "WATCHER", "FALSE"), 0);
    wait_told(o, 8);
    assert_string_equal(o->watcher.told[7].state, "CANCELED");
    assert_int_equal(o->watcher.n, 8);
}

static void test_filtered(void **state)
{
    office *o = *state;
    create_with(o, "1.2.3.1", "HIGH", "P1", 1);
    create_with(o, "1.2.3.2", "LOW", "P2", 1);
    md_dataset *information = dataset_with(MD_UPS_TAG_RECEIVER, "WATCHER");
    put(information, MD_UPS_TAG_DELETION_LOCK, "FALSE");
    put(information, MD_UPS_TAG_PRIORITY, "HIGH");
    assert_int_equal(
        ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_WATCH, MD_UPS_FILTERED, 3, information, NULL), 0);
    md_dataset_destroy(information);
    office_restart(o); /* the filter is kept */
    create_with(o, "1.2.3.3", "LOW", "P3", 1);
    create_with(o, "1.2.3.4", "HIGH", "P4", 1);
    wait_told(o, 2);
    assert_string_equal(o->watcher.told[0].uid, "1.2.3.1");
    assert_string_equal(o->watcher.told[1].uid, "1.2.3.4");
    assert_int_equal(change_state(o, "1.2.3.3", "IN PROGRESS", TRANSACTION), 0);
    assert_int_equal(change_state(o, "1.2.3.4", "IN PROGRESS", TRANSACTION), 0);
    wait_told(o, 3);
    assert_string_equal(o->watcher.told[2].uid, "1.2.3.4");
}

static void test_subscription_statuses(void **state)
{
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_SCHEDULED);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "STRANGER", "FALSE"), 0xc308);
    assert_int_equal(subscribe(o, 3, MD_UPS_GLOBAL, "STRANGER", "FALSE"), 0xc308);
    assert_int_equal(subscribe(o, 3, "1.2.3.9", "WATCHER", "FALSE"), 0xc307);
    assert_int_equal(subscribe(o, 4, "1.2.3.9", "WATCHER", NULL), 0xc307);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "PERHAPS"), 0x0115);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "", "FALSE"), 0x0115);
    assert_int_equal(subscribe(o, 5, "1.2.3.1", "WATCHER", NULL), 0xc314);
    assert_int_equal(change_state(o, MD_UPS_GLOBAL, "IN PROGRESS", TRANSACTION), 0xc314);
    assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_WATCH, MD_UPS_FILTERED,
                         MD_UPS_ACTION_REQUEST_CANCEL, NULL, NULL),
                     0xc314);
    o->conf.ups.n_subscribers = 0;
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "FALSE"), 0xc315);
    o->conf.ups.n_subscribers = 1;
}

/* What has ended goes after its time, unless a subscriber has locked it. */
static void test_deletion_lock(void **state)
{
    office *o = *state;
    size_t n = 0;
    int64_t later_ms = md_steady_ms() + 1000;
    create_in_state(o, "1.2.3.1", MD_UPS_COMPLETED);
    create_in_state(o, "1.2.3.2", MD_UPS_CANCELED);
    create_in_state(o, "1.2.3.3", MD_UPS_SCHEDULED);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "TRUE"), 0);
    assert_ok(md_store_ups_retire(o->store, md_steady_ms() - 60000, 10, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_ups_retire(o->store, later_ms, 10, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.2", 0, NULL, NULL), 0xc307);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.1", 0, NULL, NULL), 0);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "FALSE"), 0);
    assert_ok(md_store_ups_retire(o->store, later_ms, 10, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.3", 0, NULL, NULL), 0);
}

/* Reports that nobody takes wait, over a restart, and come in order. */
static void test_reports_wait(void **state)
{
    office *o = *state;
    create_in_state(o, "1.2.3.1", MD_UPS_SCHEDULED);
    office_close_watcher(o);
    assert_int_equal(subscribe(o, 3, "1.2.3.1", "WATCHER", "FALSE"), 0);
    assert_int_equal(change_state(o, "1.2.3.1", "IN PROGRESS", TRANSACTION), 0);
    office_restart(o);
    assert_int_equal(make_final(o, "1.2.3.1", TRANSACTION), 0);
    assert_int_equal(change_state(o, "1.2.3.1", "COMPLETED", TRANSACTION), 0);
    office_open_watcher(o);
    wait_told(o, 4);
    assert_string_equal(o->watcher.told[0].state, "SCHEDULED");
    assert_string_equal(o->watcher.told[1].state, "IN PROGRESS");
    assert_string_equal(o->watcher.told[3].state, "COMPLETED");
}

/* ---- hostile datasets ---- */

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

/* Any bytes at all to each operation: it answers, with anything but a success that changed an
 * item in a way that cannot be read again, and lives. */
static void test_hostile(void **state)
{
    static const struct {
        uint16_t field;
        const char *class_uid;
        unsigned action;
    } operations[] = {
        {MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, 0},  {MD_COMMAND_SET_RQ, MD_UPS_PULL, 0},
        {MD_COMMAND_ACTION_RQ, MD_UPS_PULL, 1},  {MD_COMMAND_ACTION_RQ, MD_UPS_PUSH, 2},
        {MD_COMMAND_ACTION_RQ, MD_UPS_WATCH, 3}, {MD_COMMAND_ACTION_RQ, MD_UPS_WATCH, 4},
        {MD_COMMAND_FIND_RQ, MD_UPS_QUERY, 0},
    };
    office *o = *state;
    uint8_t *good = NULL;
    size_t n_good = 0;
    uint32_t seed = 20261124;
    md_dataset *item = new_item("LOW", "P1", 1);
    put(item, MD_UPS_TAG_RECEIVER, "WATCHER");
    put(item, MD_UPS_TAG_DELETION_LOCK, "TRUE");
    assert_ok(md_workitem_encode(item, MD_ENCODING_EXPLICIT_LITTLE, &good, &n_good, err));
    md_dataset_destroy(item);
    create_in_state(o, "1.2.3.1", MD_UPS_SCHEDULED);
    uint8_t *bytes = malloc(n_good);
    assert_non_null(bytes);
    for (int round = 0; round < 700; round++) {
        size_t k = (size_t)round % (sizeof operations / sizeof *operations);
        size_t n = round % 3 == 0 ? random_next(&seed) % n_good + 1 : n_good;
        memcpy(bytes, good, n_good);
        for (unsigned i = random_next(&seed) % 6; i > 0; i--) {
            bytes[random_next(&seed) % n] = (uint8_t)random_next(&seed);
        }
        char uid[MD_UID_BYTES];
        snprintf(uid, sizeof uid, "1.2.3.%d",
                 operations[k].field == MD_COMMAND_CREATE_RQ ? round + 1000 : 1);
        const md_dimse_call call = {.field = operations[k].field,
                                    .abstract_syntax = operations[k].class_uid,
                                    .sop_class_uid = MD_UPS_PUSH,
                                    .sop_instance_uid = uid,
                                    .has_number = operations[k].action != 0,
                                    .number = (uint16_t)operations[k].action,
                                    .dataset = bytes,
                                    .dataset_bytes = n - n % 2};
        md_dimse_reply reply = {0};
        if (call.dataset_bytes > 0) {
            assert_ok(md_dimse_client_call(o->client, &call, NULL, NULL, &reply, err));
            assert_int_not_equal(reply.status, 0x0110);
        }
    }
    free(bytes);
    md_free(good);
    /* everything that was taken can be given out */
    md_dataset *keys = dataset_with(MD_UPS_TAG_LABEL, "");
    char uids[1][MD_UID_BYTES];
    uint16_t status = 0;
    assert_true(find(o, keys, uids, 1, 0, &status) >= 1);
    assert_int_equal(status, 0);
    md_dataset_destroy(keys);
}

/* Nested deeper than anything means, and larger than is kept. */
static void test_deep_and_huge(void **state)
{
    office *o = *state;
    enum {
        DEPTH = 5000
    };
    uint8_t *bytes = malloc((size_t)DEPTH * 16 + MD_SERVICE_MAX_DATASET_BYTES);
    assert_non_null(bytes);
    size_t n = 0;
    static const unsigned depths[] = {20, 70, DEPTH};
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        n = 0;
        for (unsigned i = 0; i < depths[d]; i++) {
            /* (0040,4021) SQ and an item, both of undefined length, never closed or closed */
            memcpy(bytes + n, "\x40\x00\x21\x40SQ\x00\x00\xff\xff\xff\xff", 12);
            memcpy(bytes + n + 12, "\xfe\xff\x00\xe0\xff\xff\xff\xff", 8);
            n += 20;
        }
        for (unsigned i = 0; i < depths[d] && d != 2; i++) {
            memcpy(bytes + n, "\xfe\xff\x0d\xe0\x00\x00\x00\x00", 8);
            memcpy(bytes + n + 8, "\xfe\xff\xdd\xe0\x00\x00\x00\x00", 8);
            n += 16;
        }
        const md_dimse_call call = {.field = MD_COMMAND_FIND_RQ,
                                    .abstract_syntax = MD_UPS_PULL,
                                    .dataset = bytes,
                                    .dataset_bytes = n};
        md_dimse_reply reply = {0};
        assert_ok(md_dimse_client_call(o->client, &call, NULL, NULL, &reply, err));
        assert_true(reply.status == 0x0213 || reply.status == 0xc000);
    }
    /* an item grows by N-SET until it is too large, and stays as it was */
    assert_int_equal(create_item(o, "1.2.3.1", "LOW"), 0);
    memcpy(bytes, "\x40\x00\x00\x04UT\x00\x00\x00\x00\x0f\x00", 12); /* 983,040 bytes */
    memset(bytes + 12, 'x', 983040);
    const md_dimse_call grow = {.field = MD_COMMAND_SET_RQ,
                                .abstract_syntax = MD_UPS_PULL,
                                .sop_class_uid = MD_UPS_PUSH,
                                .sop_instance_uid = "1.2.3.1",
                                .dataset = bytes,
                                .dataset_bytes = 12 + 983040};
    md_dimse_reply reply = {0};
    assert_ok(md_dimse_client_call(o->client, &grow, NULL, NULL, &reply, err));
    assert_int_equal(reply.status, 0);
    memcpy(bytes, "\x40\x00\x01\x04UT\x00\x00\x00\x00\x0f\x00", 12); /* and another one */
    assert_ok(md_dimse_client_call(o->client, &grow, NULL, NULL, &reply, err));
    assert_int_equal(reply.status, 0x0213);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, "1.2.3.1", 0, NULL, NULL), 0);
    free(bytes);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, office_setup, office_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_create_attributes),
        CASE(test_values),
        CASE(test_own_uid),
        CASE(test_transaction_is_secret),
        CASE(test_order),
        CASE(test_matching),
        CASE(test_sequence_matching),
        CASE(test_many),
        CASE(test_classes),
        CASE(test_subscriptions),
        CASE(test_filtered),
        CASE(test_subscription_statuses),
        CASE(test_deletion_lock),
        CASE(test_reports_wait),
        CASE(test_hostile),
        CASE(test_deep_and_huge),
    };
    return cmocka_run_group_tests_name("daemon-ups-service", tests, NULL, NULL);
}
