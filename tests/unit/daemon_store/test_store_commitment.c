/* Originals in the outbox, and storage commitment, by a clock of the test's own. */

#include "daemon/store/store_sqlite.h"
#include "fixture.h"

#define SR_CLASS "1.2.840.10008.5.1.4.1.1.88.34"
#define DX_CLASS "1.2.840.10008.5.1.4.1.1.1.1"

enum {
    MAX_ITEMS = 16,
    LONG_MS = 1000000
};

static const char *const pacs[] = {"pacs"};
static const md_commitment_policy policy = {.max_uncommitted = 5, .retry_ms = 100};

/* Claim what is due at `now` and say that all of it was sent. Returns how much it was. */
static size_t send_all(fixture *f, int64_t now, md_study_state *ret_state)
{
    md_outbox_row rows[MAX_ITEMS];
    md_outbox_result results[MAX_ITEMS];
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", now, 1000, MAX_ITEMS, rows, &n, err));
    for (size_t i = 0; i < n; i++) {
        results[i] = (md_outbox_result){.id = rows[i].id,
                                        .token = rows[i].token,
                                        .state = MD_OUTBOX_SENT,
                                        .wants_commitment = true};
    }
    if (n > 0) {
        assert_ok(md_store_outbox_finish(f->store, results, n, now, ret_state, err));
    }
    return n;
}

/* A study whose report and one original are sent to "pacs", which has to commit itself. */
static int64_t make_sent(fixture *f, unsigned number)
{
    md_study_state state = MD_STUDY_SENDING;
    int64_t id = study_in_state(f->store, number, MD_STUDY_SENDING, NULL);
    assert_ok(md_store_add_originals(f->store, id, pacs, 1, 5500, err));
    assert_int_equal(send_all(f, 6000, &state), 2);
    assert_int_equal(state, MD_STUDY_DONE);
    return id;
}

static size_t begin(fixture *f, const char *uid, int64_t now, md_commitment_request *request,
                    md_commitment_item *items)
{
    assert_ok(md_store_commitment_begin(f->store, "pacs", uid, now, now + LONG_MS, MAX_ITEMS,
                                        request, items, err));
    return request->n_items;
}

static bool nothing_to_ask(fixture *f, int64_t now)
{
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    return md_store_commitment_begin(f->store, "pacs", "1.2.3.99", now, now + 1, MAX_ITEMS,
                                     &request, items, NULL) == MD_NOT_FOUND;
}

static size_t count(fixture *f, int64_t study, md_outbox_state state,
                    md_commitment_state commit)
{
    md_outbox_row rows[MAX_ITEMS];
    size_t n = 0, found = 0;
    assert_ok(
        md_store_outbox_rows(f->store, study, MD_OUTBOX_PENDING, 0, MAX_ITEMS, rows, &n, err));
    for (size_t i = 0; i < n; i++) {
        found += rows[i].state == state && rows[i].committed == commit;
    }
    return found;
}

static size_t retire(fixture *f, int64_t before)
{
    const md_retention retention = {.ended_before_ms = before};
    uint64_t *files = NULL;
    size_t n_files = 0, n_studies = 0;
    assert_ok(md_store_retire(f->store, &retention, 100, &files, &n_files, &n_studies, err));
    md_free(files);
    return n_studies;
}

static void test_originals_wait_for_results(void **state)
{
    fixture *f = *state;
    md_outbox_row rows[MAX_ITEMS];
    size_t n = 0;
    int64_t early = study_in_state(f->store, 1, MD_STUDY_RECEIVING, NULL);
    add(f->store, 1, 2, 0, 1500);
    add(f->store, 1, 2, 7, 1600); /* another copy of the second: the last counts */
    assert_ok(md_store_add_originals(f->store, early, pacs, 1, 2000, err));
    assert_ok(md_store_add_originals(f->store, early, pacs, 1, 2500, err)); /* nothing new */
    int64_t urgent = study_in_state(f->store, 2, MD_STUDY_SENDING, NULL);
    assert_ok(md_store_outbox_claim(f->store, "pacs", 9000, 1000, MAX_ITEMS, rows, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].study, urgent);
    assert_string_equal(rows[0].kind, "sr");
    assert_string_equal(rows[0].sop_class_uid, SR_CLASS);
    assert_ok(md_store_outbox_claim(f->store, "pacs", 9000, 1000, MAX_ITEMS, rows, &n, err));
    assert_int_equal(n, 2);
    md_instance *instances = NULL;
    size_t n_instances = 0;
    assert_ok(md_store_instances(f->store, early, true, &instances, &n_instances, err));
    assert_int_equal(n_instances, 2);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i].study, early);
        assert_int_equal(rows[i].object, 0);
        assert_string_equal(rows[i].kind, "original");
        assert_string_equal(rows[i].sop_class_uid, DX_CLASS);
        assert_string_equal(rows[i].sop_instance_uid, instances[i].sop_instance_uid);
        assert_int_equal(rows[i].file, instances[i].file);
        assert_int_equal(rows[i].since_ms, 2000);
    }
    md_free(instances);
    const char *nameless[] = {""};
    assert_int_equal(md_store_add_originals(f->store, early, nameless, 1, 1, NULL),
                     MD_INVALID_ARG);
}

/* The results are read while the originals are still on their way. */
static void test_stored_counts_results(void **state)
{
    fixture *f = *state;
    md_study_state after = MD_STUDY_DONE;
    md_outbox_row rows[MAX_ITEMS];
    size_t n = 0;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_SENDING, NULL);
    assert_ok(md_store_add_originals(f->store, id, pacs, 1, 5500, err));
    assert_ok(md_store_outbox_claim(f->store, "pacs", 6000, 1000, 1, rows, &n, err));
    assert_string_equal(rows[0].kind, "sr");
    md_outbox_result result = {
        .id = rows[0].id, .token = rows[0].token, .state = MD_OUTBOX_SENT};
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 6100, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    assert_int_equal(study_of(f->store, id).clock.stored_ms, 6100);
    assert_int_equal(send_all(f, 9000, &after), 1);
    assert_int_equal(after, MD_STUDY_DONE);
    assert_int_equal(study_of(f->store, id).clock.stored_ms, 6100);
}

static void test_commitment_before_delete(void **state)
{
    fixture *f = *state;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    md_store_counts counts;
    size_t n_held = 0;
    int64_t id = make_sent(f, 1);
    assert_int_equal(retire(f, 10000), 0); /* wanted */
    assert_int_equal(begin(f, "1.2.3.1", 7000, &request, items), 2);
    assert_int_equal(request.study, id);
    assert_int_equal(retire(f, 10000), 0); /* asked, not taken yet */
    assert_ok(md_store_commitment_asked(f->store, request.id, 7100, err));
    fixture_reopen(f); /* and after a crash */
    md_recovery recovery;
    assert_ok(md_store_recover(f->store, 7150, &recovery, err));
    assert_int_equal(retire(f, 10000), 0);
    assert_ok(md_store_held(f->store, 10000, &n_held, err));
    assert_int_equal(n_held, 1);
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.uncommitted, 2);
    assert_true(nothing_to_ask(f, 8000));
    /* a report that names one of the two as kept */
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 1, &policy, 8000, &outcome,
                                         err));
    assert_string_equal(outcome.destination, "pacs");
    assert_int_equal(outcome.n_committed, 1);
    assert_int_equal(outcome.n_again, 1); /* the other is asked for again */
    assert_int_equal(outcome.n_open, 1);
    assert_int_equal(retire(f, 10000), 0);
    assert_true(nothing_to_ask(f, 8050));
    assert_int_equal(begin(f, "1.2.3.2", 8100, &request, items), 1);
    assert_ok(md_store_commitment_report(f->store, "1.2.3.2", items, 1, &policy, 8200, &outcome,
                                         err));
    assert_int_equal(outcome.n_open, 0);
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_GIVEN), 2);
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.uncommitted, 0);
    assert_int_equal(retire(f, 10000), 1);
    /* its study and its requests are gone: nobody knows the transaction any more */
    assert_int_equal(md_store_commitment_report(f->store, "1.2.3.2", items, 1, &policy, 8300,
                                                &outcome, NULL),
                     MD_NOT_FOUND);
}

/* One request covers what came before the analysis and after it. */
static void test_asked_when_all_is_there(void **state)
{
    fixture *f = *state;
    md_study_state after = MD_STUDY_DONE;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    int64_t id = study_in_state(f->store, 1, MD_STUDY_COMPLETE, NULL);
    assert_ok(md_store_add_originals(f->store, id, pacs, 1, 2500, err));
    assert_int_equal(send_all(f, 2600, &after), 1);
    assert_true(nothing_to_ask(f, 2700)); /* not analysed yet */
    md_claim claim;
    md_study study;
    const md_object_new object = {.kind = "sr",
                                  .sop_instance_uid = "1.2.3.4",
                                  .sop_class_uid = SR_CLASS,
                                  .file = 900000,
                                  .size_bytes = 10,
                                  .destinations = pacs,
                                  .n_destinations = 1};
    assert_ok(md_store_claim(f->store, "w", 3000, 1000, &claim, &study, err));
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.objects = &object, .n_objects = 1}, 3500,
                              &after, err));
    assert_true(nothing_to_ask(f, 3600)); /* the report is not sent yet */
    assert_int_equal(send_all(f, 3700, &after), 1);
    assert_int_equal(begin(f, "1.2.3.1", 3800, &request, items), 2);
    assert_string_equal(items[0].sop_class_uid, DX_CLASS);
    assert_string_equal(items[1].sop_instance_uid, "1.2.3.4");
    assert_true(nothing_to_ask(f, LONG_MS));
}

static void test_what_is_not_kept_is_sent_again(void **state)
{
    fixture *f = *state;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    md_study_state after = MD_STUDY_DONE;
    int64_t id = make_sent(f, 1);
    int64_t now = 10000;
    for (unsigned i = 0; i < policy.max_uncommitted; i++) {
        char uid[MD_STORE_UID_BYTES];
        snprintf(uid, sizeof uid, "1.2.3.%u", i);
        size_t n = begin(f, uid, now, &request, items);
        assert_int_equal(n, i == 0 ? 2 : 1);
        assert_string_equal(items[n - 1].sop_class_uid, i == 0 ? DX_CLASS : SR_CLASS);
        items[0].failed = true; /* the report: sent before the original, so listed first */
        if (i == 0) {
            assert_string_equal(items[0].sop_class_uid, SR_CLASS);
        }
        assert_ok(md_store_commitment_report(f->store, uid, items, n, &policy, now + 10,
                                             &outcome, err));
        bool last = i + 1 == policy.max_uncommitted;
        assert_int_equal(outcome.n_committed, i == 0 ? 1 : 0);
        assert_int_equal(outcome.n_again, last ? 0 : 1);
        assert_int_equal(outcome.n_dead, last ? 1 : 0);
        if (!last) {
            assert_int_equal(study_of(f->store, id).state, MD_STUDY_DONE);
            assert_int_equal(send_all(f, now + 10 + policy.retry_ms - 1, &after), 0);
            assert_int_equal(send_all(f, now + 10 + policy.retry_ms, &after), 1);
        }
        now += 1000;
    }
    /* given up: the study has failed, stays, and an operator may try again */
    md_study study = study_of(f->store, id);
    assert_int_equal(study.state, MD_STUDY_FAILED);
    assert_string_equal(study.reason, "1 of 2 transfers were given up");
    assert_int_equal(retire(f, LONG_MS), 0);
    assert_true(nothing_to_ask(f, LONG_MS));
    assert_ok(md_store_retry(f->store, id, now, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    assert_int_equal(send_all(f, now, &after), 1);
    assert_int_equal(after, MD_STUDY_DONE);
    assert_int_equal(begin(f, "1.2.3.9", now + 1, &request, items), 1);
    assert_ok(md_store_commitment_report(f->store, "1.2.3.9", items, 1, &policy, now + 2,
                                         &outcome, err));
    assert_int_equal(outcome.n_open, 0);
    assert_int_equal(retire(f, LONG_MS), 1);
}

static void test_no_answer(void **state)
{
    fixture *f = *state;
    md_commitment_request first, second;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    int64_t expired = 0, next = 0;
    size_t n_dead = 9;
    int64_t id = make_sent(f, 1);
    (void)begin(f, "1.2.3.1", 7000, &first, items);
    assert_ok(md_store_commitment_asked(f->store, first.id, 7001, err));
    assert_ok(md_store_commitment_next_ms(f->store, "pacs", 7001, &next, err));
    assert_int_equal(next, 7000 + LONG_MS);
    assert_int_equal(
        md_store_commitment_expired(f->store, "pacs", 7000 + LONG_MS - 1, &expired, NULL),
        MD_NOT_FOUND);
    int64_t now = 7000 + LONG_MS;
    assert_ok(md_store_commitment_expired(f->store, "pacs", now, &expired, err));
    assert_int_equal(expired, first.id);
    assert_ok(md_store_commitment_close(f->store, first.id, now + 50, 0, now, &n_dead, err));
    assert_int_equal(n_dead, 0);
    assert_int_equal(md_store_commitment_expired(f->store, "pacs", now, &expired, NULL),
                     MD_NOT_FOUND);
    assert_true(nothing_to_ask(f, now + 49));
    assert_ok(md_store_commitment_next_ms(f->store, "pacs", now, &next, err));
    assert_int_equal(next, now + 50);
    assert_int_equal(begin(f, "1.2.3.2", now + 50, &second, items), 2);
    assert_true(second.id != first.id);
    /* the answer to the first comes after all: what it promises counts, its refusal does not */
    items[1].failed = true;
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 2, &policy, now + 60,
                                         &outcome, err));
    assert_int_equal(outcome.n_committed, 1);
    assert_int_equal(outcome.n_again + outcome.n_dead, 0);
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_GIVEN), 1);
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_ASKED), 1);
    /* no answer for too long: dead, and the study has failed */
    assert_ok(
        md_store_commitment_close(f->store, second.id, now + 70, 6001, now + 70, &n_dead, err));
    assert_int_equal(n_dead, 1);
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_FAILED);
    assert_int_equal(count(f, id, MD_OUTBOX_DEAD, MD_COMMITMENT_WANTED), 1);
    /* twice the same report changes nothing */
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 2, &policy, now + 80,
                                         &outcome, err));
    assert_int_equal(outcome.n_committed, 0);
    assert_int_equal(md_store_commitment_report(f->store, "1.2.3.77", items, 2, &policy, now,
                                                &outcome, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(
        md_store_commitment_report(f->store, "no uid", items, 2, &policy, now, &outcome, NULL),
        MD_INVALID_ARG);
}

static void test_ask_again(void **state)
{
    fixture *f = *state;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    int64_t id = make_sent(f, 1);
    (void)begin(f, "1.2.3.1", 7000, &request, items);
    for (size_t i = 0; i < 2; i++) { /* duplicate transaction UID: not the objects' fault */
        items[i].failed = true;
        items[i].ask_again = true;
    }
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 2, &policy, 7100, &outcome,
                                         err));
    assert_int_equal(outcome.n_again, 2);
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_WANTED), 2);
    /* a UID is used once */
    assert_int_equal(md_store_commitment_begin(f->store, "pacs", "1.2.3.1", 9000, 9999,
                                               MAX_ITEMS, &request, items, NULL),
                     MD_INTERNAL);
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_WANTED), 2);
}

/* A crash before the destination has taken the request; and a destination that need not. */
static void test_recover_and_waive(void **state)
{
    fixture *f = *state;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    md_recovery recovery;
    size_t n = 0;
    int64_t id = make_sent(f, 1);
    (void)begin(f, "1.2.3.1", 7000, &request, items);
    fixture_reopen(f);
    assert_ok(md_store_recover(f->store, 7100, &recovery, err));
    assert_int_equal(count(f, id, MD_OUTBOX_SENT, MD_COMMITMENT_WANTED), 2);
    /* it had been heard after all */
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 1, &policy, 7200, &outcome,
                                         err));
    assert_int_equal(outcome.n_committed, 1);
    assert_int_equal(begin(f, "1.2.3.2", 7300, &request, items), 1);
    assert_ok(md_store_commitment_waive(f->store, "pacs", &n, err));
    assert_int_equal(n, 1);
    assert_true(nothing_to_ask(f, LONG_MS));
    int64_t expired = 0;
    assert_int_equal(md_store_commitment_expired(f->store, "pacs", INT64_MAX, &expired, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(retire(f, 10000), 1);
}

/* A late image while a commitment is awaited: the study is analysed again at once. */
static void test_late_image_waits_for_no_commitment(void **state)
{
    fixture *f = *state;
    md_commitment_request request;
    md_commitment_item items[MAX_ITEMS];
    md_commitment_outcome outcome;
    int64_t id = make_sent(f, 1);
    (void)begin(f, "1.2.3.1", 7000, &request, items);
    assert_true(add(f->store, 1, 2, 0, 7500).reopened);
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_RECEIVING);
    items[0].failed = true;
    assert_ok(md_store_commitment_report(f->store, "1.2.3.1", items, 2, &policy, 7600, &outcome,
                                         err));
    assert_int_equal(outcome.n_committed, 1);
    assert_int_equal(outcome.n_again, 1);
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_RECEIVING);
    assert_true(nothing_to_ask(f, LONG_MS));
}

/* A late image of a study that is not analysed again follows the originals. */
static void test_late_image_follows_the_originals(void **state)
{
    fixture *f = *state;
    md_study_state after = MD_STUDY_SENDING;
    md_store_close(f->store);
    f->options.late = MD_LATE_KEEP;
    fixture_open(f);
    int64_t with = make_sent(f, 1);
    int64_t without = study_in_state(f->store, 2, MD_STUDY_DONE, NULL);
    assert_false(add(f->store, 1, 2, 0, 7500).reopened);
    assert_false(add(f->store, 2, 2, 0, 7500).reopened);
    assert_int_equal(send_all(f, 7600, &after), 1);
    assert_int_equal(after, MD_STUDY_DONE);
    assert_int_equal(study_of(f->store, with).state, MD_STUDY_DONE);
    assert_int_equal(count(f, with, MD_OUTBOX_SENT, MD_COMMITMENT_WANTED), 3);
    assert_int_equal(count(f, without, MD_OUTBOX_SENT, MD_COMMITMENT_UNWANTED), 1);
    assert_int_equal(send_all(f, 7700, &after), 0);
}

/* A database of before there were originals: what waits goes on waiting. */
static void test_older_outbox_is_brought_up(void **state)
{
    fixture *f = *state;
    sqlite3 *db = NULL;
    md_outbox_row rows[MAX_ITEMS];
    size_t n = 0;
    md_store_close(f->store);
    f->store = NULL;
    assert_int_equal(unlink(f->database), 0);
    assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
    assert_ok(md_sqlite_migrate(db, md_sqlite_schema, 2, err));
    assert_int_equal(
        sqlite3_exec(db,
                     "INSERT INTO study (id, key, uid, state, first_received, last_received)"
                     " VALUES (7, '0123456789abcdef', '1.2.3', 4, 1, 1);"
                     "INSERT INTO object (id, study, generation, kind, uid, class, file,"
                     " size_bytes, created) VALUES (8, 7, 1, 'sr', '1.2.4', '" SR_CLASS
                     "', 5, 6, 4000);"
                     "INSERT INTO outbox (id, study, object, generation, destination, state,"
                     " n_attempts, next_attempt, lease_until, token, last_status)"
                     " VALUES (9, 7, 8, 1, 'pacs', 0, 3, 4500, 99999, 2, 42752);",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    fixture_open(f);
    assert_ok(md_store_outbox_claim(f->store, "pacs", 100000, 10, MAX_ITEMS, rows, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].id, 9);
    assert_int_equal(rows[0].object, 8);
    assert_int_equal(rows[0].file, 5);
    assert_int_equal(rows[0].n_attempts, 3);
    assert_int_equal(rows[0].last_status, 42752);
    assert_int_equal(rows[0].since_ms, 4000);
    assert_int_equal(rows[0].token, 3);
    assert_int_equal(rows[0].committed, MD_COMMITMENT_UNWANTED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_originals_wait_for_results),
        TEST(test_stored_counts_results),
        TEST(test_commitment_before_delete),
        TEST(test_asked_when_all_is_there),
        TEST(test_what_is_not_kept_is_sent_again),
        TEST(test_no_answer),
        TEST(test_ask_again),
        TEST(test_recover_and_waive),
        TEST(test_late_image_waits_for_no_commitment),
        TEST(test_late_image_follows_the_originals),
        TEST(test_older_outbox_is_brought_up),
    };
    return cmocka_run_group_tests_name("daemon_store_commitment", tests, NULL, NULL);
}
