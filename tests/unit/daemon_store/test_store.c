#include "fixture.h"

#include <fcntl.h>
#include <sqlite3.h>

/* What can be done to a study, each as one row: tried from every state, it has the result that
 * the table says or is refused with nothing changed. */
typedef enum action {
    ACT_LATE_INSTANCE,
    ACT_COMPLETE,
    ACT_CLAIM,
    ACT_REPORT,
    ACT_FINISH,
    ACT_FAIL,
    ACT_RELEASE,
    ACT_RETRY,
    ACT_QUARANTINE,
    N_ACTIONS
} action;

enum {
    REFUSED = -1,
    R = MD_STUDY_RECEIVING,
    C = MD_STUDY_COMPLETE,
    A = MD_STUDY_ANALYSING,
    P = MD_STUDY_REPORTING,
    S = MD_STUDY_SENDING,
    D = MD_STUDY_DONE,
    F = MD_STUDY_FAILED,
    Q = MD_STUDY_QUARANTINED,
    NO = REFUSED
};

static const int expected[MD_STUDY_N_STATES][N_ACTIONS] = {
    /*                    late compl claim report finish fail release retry quarantine */
    [MD_STUDY_RECEIVING] = {R, C, NO, NO, NO, NO, NO, NO, Q},
    [MD_STUDY_COMPLETE] = {R, NO, A, NO, NO, NO, NO, NO, Q},
    [MD_STUDY_ANALYSING] = {R, NO, NO, P, D, C, C, NO, Q},
    [MD_STUDY_REPORTING] = {R, NO, NO, P, D, C, C, NO, Q},
    [MD_STUDY_SENDING] = {S, NO, NO, NO, NO, NO, NO, NO, Q},
    [MD_STUDY_DONE] = {R, NO, NO, NO, NO, NO, NO, NO, NO},
    [MD_STUDY_FAILED] = {R, NO, NO, NO, NO, NO, NO, C, NO},
    [MD_STUDY_QUARANTINED] = {Q, NO, NO, NO, NO, NO, NO, C, NO},
};

static md_status act(md_store *store, action what, int64_t id, unsigned number,
                     const md_claim *claim)
{
    md_study study = study_of(store, id);
    md_claim got;
    switch (what) {
    case ACT_LATE_INSTANCE: {
        md_instance_new item = instance_of(number, 2, 0, 9000);
        md_instance_outcome outcome;
        return md_store_add_instances(store, &item, 1, &outcome, NULL);
    }
    case ACT_COMPLETE:
        return md_store_complete(store, &study, 9000, NULL);
    case ACT_CLAIM:
        return md_store_claim(store, "other", 9000, 1000, &got, &study, NULL);
    case ACT_REPORT:
        return md_store_report(store, claim, 9000, NULL);
    case ACT_FINISH:
        return md_store_finish(store, claim, &(md_study_outcome){0}, 9000, NULL, NULL);
    case ACT_FAIL:
        return md_store_attempt_failed(store, claim, "test", 9000, NULL, NULL);
    case ACT_RELEASE:
        return md_store_release(store, claim, NULL);
    case ACT_RETRY:
        return md_store_retry(store, id, 9000, NULL, NULL);
    case ACT_QUARANTINE:
        return md_store_quarantine(store, id, "test", NULL);
    case N_ACTIONS:
        break;
    }
    return MD_INTERNAL;
}

static void test_every_action_in_every_state(void **state)
{
    fixture *f = *state;
    unsigned number = 0;
    for (int from = 0; from < MD_STUDY_N_STATES; from++) {
        for (int what = 0; what < N_ACTIONS; what++) {
            number++;
            /* a claim that never was, for the states that have none */
            md_claim claim = {.study = number, .token = 77};
            int64_t id = study_in_state(f->store, number, (md_study_state)from, &claim);
            md_study before = study_of(f->store, id);
            assert_int_equal(before.state, from);
            md_status status = act(f->store, (action)what, id, number, &claim);
            md_study after = study_of(f->store, id);
            int wanted = expected[from][what];
            if ((wanted == REFUSED) != (status != MD_OK)) {
                fail_msg("%s, action %d: %s", md_study_state_name(before.state), what,
                         md_status_name(status));
            }
            if (wanted == REFUSED) {
                assert_memory_equal(&before, &after, sizeof after);
                assert_true(status == MD_BUSY || status == MD_NOT_FOUND ||
                            status == MD_CANCELLED || status == MD_INVALID_ARG);
            } else if (after.state != (md_study_state)wanted) {
                fail_msg("%s, action %d leads to %s", md_study_state_name(before.state), what,
                         md_study_state_name(after.state));
            }
            /* out of the way of the next claim */
            if (md_study_may_become(after.state, MD_STUDY_QUARANTINED)) {
                assert_ok(md_store_quarantine(f->store, id, "over", err));
            }
        }
    }
}

static void test_the_table_of_changes(void **state)
{
    (void)state;
    static const char *const rows[MD_STUDY_N_STATES] = {
        /* receiving complete analysing reporting sending done failed quarantined */
        "01000001", "10100001", "11011111", "11001111",
        "10000111", "10000010", "11001000", "01000000"};
    for (int from = 0; from < MD_STUDY_N_STATES; from++) {
        for (int to = 0; to < MD_STUDY_N_STATES; to++) {
            assert_int_equal(md_study_may_become((md_study_state)from, (md_study_state)to),
                             rows[from][to] == '1');
        }
    }
    assert_false(md_study_may_become(MD_STUDY_N_STATES, MD_STUDY_DONE));
    assert_string_equal(md_study_state_name(MD_STUDY_SENDING), "sending");
    assert_string_equal(md_study_state_name((md_study_state)99), "unknown");
}

static void test_the_clock_and_the_key(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_DONE, NULL);
    md_study study = study_of(f->store, id);
    assert_int_equal(study.clock.first_received_ms, 1000);
    assert_int_equal(study.clock.last_received_ms, 1000);
    assert_int_equal(study.clock.complete_ms, 2000);
    assert_int_equal(study.clock.analysis_start_ms, 3000);
    assert_int_equal(study.clock.analysis_end_ms, 4000);
    assert_int_equal(study.clock.stored_ms, 7000);
    assert_ok(md_store_set_notified(f->store, id, 7100, err));
    assert_int_equal(study_of(f->store, id).clock.notified_ms, 7100);
    md_study found;
    assert_ok(md_store_find_study(f->store, study.key, &found, err));
    assert_int_equal(found.id, id);
    assert_int_equal(strlen(study.key), 16);
    assert_int_equal(md_store_find_study(f->store, "0000000000000000", &found, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(
        md_store_find_study(f->store, "' OR 1=1 --------------------", &found, NULL),
        MD_NOT_FOUND);
    struct stat info;
    assert_int_equal(stat(f->database, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    char wal[PATH_LENGTH + 32];
    snprintf(wal, sizeof wal, "%s-wal", f->database);
    assert_int_equal(stat(wal, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void test_the_same_instance_again(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_DONE, NULL);
    md_instance_outcome outcome = add(f->store, 1, 1, 0, 9000);
    assert_int_equal(outcome.kind, MD_INSTANCE_SAME);
    assert_false(outcome.reopened);
    md_study study = study_of(f->store, id);
    assert_int_equal(study.state, MD_STUDY_DONE);
    assert_int_equal(study.n_instances, 1);
    assert_int_equal(study.clock.last_received_ms, 1000);
}

static void test_other_bytes_under_the_same_uid(void **state)
{
    fixture *f = *state;
    static const struct {
        md_conflict_policy policy;
        md_instance_kind kind;
        unsigned n_kept, n_conflicts, used;
        md_study_state state;
    } cases[] = {
        {MD_CONFLICT_USE_LAST, MD_INSTANCE_CONFLICT, 2, 1, 7, MD_STUDY_RECEIVING},
        {MD_CONFLICT_USE_FIRST, MD_INSTANCE_CONFLICT, 2, 1, 0, MD_STUDY_DONE},
        {MD_CONFLICT_REFUSE, MD_INSTANCE_REFUSED, 1, 0, 0, MD_STUDY_DONE},
    };
    for (unsigned i = 0; i < 3; i++) {
        f->options.conflict = cases[i].policy;
        fixture_reopen(f);
        int64_t id = study_in_state(f->store, i, MD_STUDY_DONE, NULL);
        md_instance_outcome outcome = add(f->store, i, 1, 7, 9000);
        assert_int_equal(outcome.kind, cases[i].kind);
        /* either copy again is known now, unless it was refused */
        if (cases[i].kind == MD_INSTANCE_CONFLICT) {
            assert_int_equal(add(f->store, i, 1, 7, 9100).kind, MD_INSTANCE_SAME);
        }
        assert_int_equal(add(f->store, i, 1, 0, 9100).kind, MD_INSTANCE_SAME);
        md_study study = study_of(f->store, id);
        assert_int_equal(study.state, cases[i].state);
        assert_int_equal(study.n_instances, 1);
        assert_int_equal(study.n_conflicts, cases[i].n_conflicts);
        md_instance *list = NULL;
        size_t n = 0;
        assert_ok(md_store_instances(f->store, id, false, &list, &n, err));
        assert_int_equal(n, cases[i].n_kept);
        md_free(list);
        assert_ok(md_store_instances(f->store, id, true, &list, &n, err));
        assert_int_equal(n, 1);
        md_instance_new wanted = instance_of(i, 1, cases[i].used, 0);
        assert_memory_equal(list[0].content_tag, wanted.content_tag, sizeof wanted.content_tag);
        assert_string_equal(list[0].sop_instance_uid, wanted.sop_instance_uid);
        assert_string_equal(list[0].source_ae, "SENDER");
        md_free(list);
    }
}

static void test_a_late_instance_supersedes(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_DONE, NULL);
    md_instance_outcome outcome = add(f->store, 1, 2, 0, 9000);
    assert_int_equal(outcome.kind, MD_INSTANCE_STORED);
    assert_true(outcome.reopened);
    md_study study = study_of(f->store, id);
    assert_int_equal(study.state, MD_STUDY_RECEIVING);
    assert_int_equal(study.generation, 2);
    assert_int_equal(study.n_instances, 2);
    assert_string_equal(predecessor_of(f->store, id, "model"), uid_of("4", 1));
    assert_int_equal(study.clock.first_received_ms, 9000);
    assert_int_equal(study.clock.stored_ms, 0);
}

static void test_a_late_instance_makes_the_claim_stale(void **state)
{
    fixture *f = *state;
    md_claim claim;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_REPORTING, &claim);
    assert_true(add(f->store, 1, 2, 0, 9000).reopened);
    assert_int_equal(md_store_renew(f->store, &claim, 9000, 1000, NULL), MD_CANCELLED);
    assert_int_equal(
        md_store_finish(f->store, &claim, &(md_study_outcome){0}, 9000, NULL, NULL),
        MD_CANCELLED);
    md_study study = study_of(f->store, id);
    assert_int_equal(study.state, MD_STUDY_RECEIVING);
    assert_int_equal(study.generation, 1); /* nothing had left the house */
    assert_string_equal(predecessor_of(f->store, id, "model"), "");
    assert_int_equal(study.n_failures, 0);
}

static void test_late_during_sending_waits(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_SENDING, NULL);
    assert_false(add(f->store, 1, 2, 0, 9000).reopened);
    assert_true(study_of(f->store, id).late);
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", 9000, 1000, 1, &row, &n, err));
    md_outbox_result result = {.id = row.id, .token = row.token, .state = MD_OUTBOX_SENT};
    md_study_state now;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 9100, &now, err));
    assert_int_equal(now, MD_STUDY_RECEIVING);
    md_study study = study_of(f->store, id);
    assert_int_equal(study.generation, 2);
    assert_false(study.late);
    assert_string_equal(predecessor_of(f->store, id, "model"), uid_of("4", 1));
}

static void test_late_policy_keep(void **state)
{
    fixture *f = *state;
    f->options.late = MD_LATE_KEEP;
    fixture_reopen(f);
    int64_t id = study_in_state(f->store, 1, MD_STUDY_DONE, NULL);
    assert_int_equal(add(f->store, 1, 2, 0, 9000).kind, MD_INSTANCE_STORED);
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_DONE);
    assert_int_equal(study_of(f->store, id).n_instances, 2);
}

static void test_completing_sees_the_last_instance(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_RECEIVING, NULL);
    md_study seen = study_of(f->store, id);
    add(f->store, 1, 2, 0, 1500);
    assert_int_equal(md_store_complete(f->store, &seen, 2000, NULL), MD_BUSY);
    seen = study_of(f->store, id);
    assert_ok(md_store_complete(f->store, &seen, 2000, err));
}

static void test_priority_and_ageing(void **state)
{
    fixture *f = *state;
    f->options.ageing_ms = 1000;
    fixture_reopen(f);
    /* number, complete_ms, priority: 3 waited longest, 2 is worth ten seconds */
    int64_t ids[4];
    static const int priorities[] = {0, 0, 10, 0};
    static const int64_t completes[] = {50000, 40000, 45000, 20000};
    for (unsigned i = 0; i < 4; i++) {
        md_instance_new item = instance_of(i, 1, 0, 1000);
        item.priority = priorities[i];
        md_instance_outcome outcome;
        assert_ok(md_store_add_instances(f->store, &item, 1, &outcome, err));
        ids[i] = outcome.study;
        md_study study = study_of(f->store, ids[i]);
        assert_ok(md_store_complete(f->store, &study, completes[i], err));
    }
    assert_ok(md_store_set_priority(f->store, ids[0], 5, err)); /* 45000 */
    static const unsigned order[] = {3, 2, 1, 0};
    for (unsigned i = 0; i < 4; i++) {
        md_claim claim;
        md_study study;
        assert_ok(md_store_claim(f->store, "w", 60000, 1000, &claim, &study, err));
        assert_int_equal(claim.study, ids[order[i]]);
    }
    assert_int_equal(md_store_set_priority(f->store, ids[0], 101, NULL), MD_INVALID_ARG);
}

static void test_three_failures_quarantine(void **state)
{
    fixture *f = *state;
    f->options.retry_wait_ms = 1000;
    fixture_reopen(f);
    int64_t id = study_in_state(f->store, 1, MD_STUDY_COMPLETE, NULL);
    int64_t now = 10000;
    for (int attempt = 1; attempt <= 3; attempt++) {
        md_claim claim;
        md_study study;
        assert_ok(md_store_claim(f->store, "w", now, 1000, &claim, &study, err));
        md_study_state after;
        assert_ok(md_store_attempt_failed(f->store, &claim, "worker died", now, &after, err));
        assert_int_equal(after, attempt < 3 ? MD_STUDY_COMPLETE : MD_STUDY_QUARANTINED);
        if (attempt < 3) {
            /* the wait doubles: 1 s, 2 s */
            int64_t wait = 1000 << (attempt - 1);
            assert_int_equal(
                md_store_claim(f->store, "w", now + wait - 2, 1000, &claim, &study, NULL),
                MD_NOT_FOUND);
            now += wait;
        }
    }
    md_study study = study_of(f->store, id);
    assert_string_equal(study.reason, "3 failed attempts, the last: worker died");
    /* its failure report goes out, the state stays, an operator sets it free */
    const char *to[] = {"pacs"};
    md_object_new object = {"sr", "1.2.4", "1.2.5", "model", "1.2.6", 77, 5, to, 1};
    assert_ok(md_store_add_objects(f->store, id, &object, 1, now, err));
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", now, 1000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    md_outbox_result result = {.id = row.id, .token = row.token, .state = MD_OUTBOX_SENT};
    md_study_state after;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, now, &after, err));
    assert_int_equal(after, MD_STUDY_QUARANTINED);
    assert_ok(md_store_retry(f->store, id, now, &after, err));
    study = study_of(f->store, id);
    assert_int_equal(study.n_failures, 0);
    assert_int_equal(study.generation, 2);
    assert_string_equal(predecessor_of(f->store, id, "model"), "1.2.4");
}

static void test_a_lease_ends(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_COMPLETE, NULL);
    md_claim first;
    md_claim second;
    md_study study;
    assert_ok(md_store_claim(f->store, "a", 1000, 500, &first, &study, err));
    assert_int_equal(md_store_claim(f->store, "b", 1499, 500, &second, &study, NULL),
                     MD_NOT_FOUND);
    assert_ok(md_store_renew(f->store, &first, 1400, 500, err));
    assert_int_equal(md_store_claim(f->store, "b", 1899, 500, &second, &study, NULL),
                     MD_NOT_FOUND);
    assert_ok(md_store_claim(f->store, "b", 1900, 500, &second, &study, err));
    assert_int_equal(study.n_failures, 1);
    assert_int_equal(md_store_report(f->store, &first, 1950, NULL), MD_CANCELLED);
    assert_ok(md_store_report(f->store, &second, 1950, err));
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_REPORTING);
}

static void test_pause_survives_a_restart(void **state)
{
    fixture *f = *state;
    study_in_state(f->store, 1, MD_STUDY_COMPLETE, NULL);
    assert_ok(md_store_set_flag(f->store, MD_STORE_PAUSED, true, err));
    fixture_reopen(f);
    assert_true(md_store_flag_is_set(f->store, MD_STORE_PAUSED));
    assert_false(md_store_flag_is_set(f->store, MD_STORE_DRAINING));
    md_claim claim;
    md_study study;
    assert_int_equal(md_store_claim(f->store, "w", 9000, 500, &claim, &study, NULL),
                     MD_NOT_FOUND);
    assert_ok(md_store_set_flag(f->store, MD_STORE_PAUSED, false, err));
    assert_ok(md_store_claim(f->store, "w", 9000, 500, &claim, &study, err));
}

static void test_recovery_takes_up_what_was_under_way(void **state)
{
    fixture *f = *state;
    f->options.max_interruptions = 2;
    fixture_reopen(f);
    md_claim claim;
    md_recovery recovery;
    int64_t ids[3] = {study_in_state(f->store, 1, MD_STUDY_REPORTING, NULL),
                      study_in_state(f->store, 2, MD_STUDY_ANALYSING, &claim),
                      study_in_state(f->store, 3, MD_STUDY_SENDING, NULL)};
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", 6000, 1000000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    fixture_reopen(f);
    assert_ok(md_store_recover(f->store, 10000, &recovery, err));
    assert_int_equal(recovery.n_requeued, 2);
    assert_int_equal(recovery.n_sending, 1);
    assert_int_equal(study_of(f->store, ids[0]).state, MD_STUDY_COMPLETE);
    assert_int_equal(study_of(f->store, ids[1]).state, MD_STUDY_COMPLETE);
    assert_int_equal(md_store_report(f->store, &claim, 10000, NULL), MD_CANCELLED);
    assert_ok(md_store_outbox_claim(f->store, "pacs", 10000, 1000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    /* once more under way, once more interrupted: the second is one too many */
    md_study study;
    assert_ok(md_store_claim(f->store, "w", 10000, 1000, &claim, &study, err));
    fixture_reopen(f);
    assert_ok(md_store_recover(f->store, 11000, &recovery, err));
    assert_int_equal(recovery.n_quarantined, 1);
    assert_int_equal(study_of(f->store, claim.study).state, MD_STUDY_QUARANTINED);
}

static void test_outbox_by_a_fake_clock(void **state)
{
    fixture *f = *state;
    static const md_backoff backoff = {1000, 60000, 4};
    int64_t id = study_in_state(f->store, 1, MD_STUDY_SENDING, NULL);
    int64_t now = 10000;
    for (unsigned attempt = 1; attempt <= backoff.max_attempts; attempt++) {
        md_outbox_row row;
        size_t n = 0;
        assert_ok(md_store_outbox_claim(f->store, "other", now, 500, 1, &row, &n, err));
        assert_int_equal(n, 0); /* another destination has nothing to do with it */
        assert_ok(md_store_outbox_claim(f->store, "pacs", now, 500, 1, &row, &n, err));
        assert_int_equal(n, 1);
        assert_int_equal(row.n_attempts, attempt - 1);
        size_t n_again = 9;
        md_outbox_row again;
        assert_ok(md_store_outbox_claim(f->store, "pacs", now, 500, 1, &again, &n_again, err));
        assert_int_equal(n_again, 0); /* leased */
        int64_t wait = md_backoff_ms(&backoff, attempt, UINT32_MAX);
        bool dead = attempt == backoff.max_attempts;
        md_outbox_result result = {.id = row.id,
                                   .token = row.token,
                                   .state = dead ? MD_OUTBOX_DEAD : MD_OUTBOX_PENDING,
                                   .next_attempt_ms = now + wait,
                                   .dimse_status = 0xa700};
        md_study_state after;
        assert_ok(md_store_outbox_finish(f->store, &result, 1, now, &after, err));
        assert_int_equal(after, dead ? MD_STUDY_FAILED : MD_STUDY_SENDING);
        int64_t next = 0;
        assert_ok(md_store_outbox_next_ms(f->store, "pacs", &next, err));
        assert_true(next == (dead ? INT64_MAX : now + wait));
        assert_ok(
            md_store_outbox_claim(f->store, "pacs", now + wait - 1, 500, 1, &row, &n, err));
        assert_int_equal(n, 0);
        now += wait;
    }
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_rows(f->store, 0, MD_OUTBOX_DEAD, 0, 1, &row, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(row.last_status, 0xa700);
    assert_int_equal(row.n_attempts, 4);
    assert_string_equal(study_of(f->store, id).reason, "1 of 1 transfers were given up");
    md_study_state after;
    assert_ok(md_store_retry(f->store, id, now, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    assert_ok(md_store_outbox_claim(f->store, "pacs", now, 500, 1, &row, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(row.n_attempts, 0);
}

static void test_backoff(void **state)
{
    (void)state;
    static const md_backoff b = {1000, 60000, 0};
    static const int64_t full[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (unsigned n = 1; n <= 8; n++) {
        assert_int_equal(md_backoff_ms(&b, n, 0), full[n - 1] / 2);
        int64_t most = md_backoff_ms(&b, n, UINT32_MAX);
        assert_true(most >= full[n - 1] - 1 && most <= full[n - 1]);
    }
    assert_int_equal(md_backoff_ms(&b, UINT32_MAX, 0), 30000);
}

static void test_a_lost_lease_of_the_outbox(void **state)
{
    fixture *f = *state;
    study_in_state(f->store, 1, MD_STUDY_SENDING, NULL);
    md_outbox_row first;
    md_outbox_row second;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", 10000, 500, 1, &first, &n, err));
    assert_ok(md_store_outbox_claim(f->store, "pacs", 10500, 500, 1, &second, &n, err));
    assert_int_equal(n, 1);
    /* the slow sender's failure is passed over, its success counts */
    md_outbox_result result = {
        .id = first.id, .token = first.token, .state = MD_OUTBOX_DEAD, .dimse_status = 0xffff};
    md_study_state after;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 10600, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    result.state = MD_OUTBOX_SENT;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 10700, &after, err));
    assert_int_equal(after, MD_STUDY_DONE);
    result.token = second.token;
    result.state = MD_OUTBOX_DEAD;
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 10800, &after, err));
    assert_int_equal(after, MD_STUDY_DONE);
}

/* One destination has given up, the other still waits: the operator need not wait with it. */
static void test_a_dead_row_is_retried_beside_a_pending_one(void **state)
{
    fixture *f = *state;
    md_claim claim;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    const char *to[] = {"pacs", "second"};
    md_object_new object = {"sr", uid_of("4", 1), "1.2.5", "model", "1.2.6", 77, 5, to, 2};
    md_study_state after;
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.objects = &object, .n_objects = 1}, 10100,
                              &after, err));
    assert_int_equal(md_store_retry(f->store, id, 10200, &after, NULL), MD_INVALID_ARG);
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "second", 20000, 500, 1, &row, &n, err));
    md_outbox_result result = {
        .id = row.id, .token = row.token, .state = MD_OUTBOX_DEAD, .dimse_status = 0xa900};
    assert_ok(md_store_outbox_finish(f->store, &result, 1, 20100, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    assert_ok(md_store_retry(f->store, id, 20200, &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    assert_int_equal(study_of(f->store, id).state, MD_STUDY_SENDING);
    assert_ok(md_store_outbox_claim(f->store, "second", 20200, 500, 1, &row, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(row.n_attempts, 0);
    assert_int_equal(md_store_retry(f->store, id, 20300, &after, NULL), MD_INVALID_ARG);
}

static void test_the_same_object_is_not_sent_twice(void **state)
{
    fixture *f = *state;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_FAILED, NULL);
    md_study_state after;
    assert_ok(md_store_retry(f->store, id, 10000, &after, err));
    md_claim claim;
    md_study study;
    assert_ok(md_store_claim(f->store, "w", 10000, 1000, &claim, &study, err));
    const char *to[] = {"pacs", "second"};
    md_object_new object = {"sr", uid_of("4", 1), "1.2.5", "model", "1.2.6", 77, 5, to, 2};
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.objects = &object, .n_objects = 1}, 10100,
                              &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    md_outbox_row rows[4];
    size_t n = 0;
    assert_ok(md_store_outbox_claim(f->store, "pacs", 20000, 500, 4, rows, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_outbox_claim(f->store, "second", 20000, 500, 4, rows, &n, err));
    assert_int_equal(n, 1);
    md_stored_object *objects = NULL;
    assert_ok(md_store_objects(f->store, id, &objects, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(objects[0].file, 900001); /* the file that was sent stays */
    md_free(objects);
}

static void test_pages_and_counts(void **state)
{
    fixture *f = *state;
    enum {
        N = 25
    };
    for (unsigned i = 0; i < N; i++) {
        study_in_state(f->store, i, i % 2 == 0 ? MD_STUDY_DONE : MD_STUDY_RECEIVING, NULL);
    }
    md_study list[10];
    md_study_page page = {0};
    size_t n = 0;
    unsigned seen = 0;
    int64_t last = INT64_MAX;
    do {
        assert_ok(md_store_studies(f->store, &page, 10, list, &n, err));
        for (size_t i = 0; i < n; i++, seen++) {
            assert_true(list[i].id < last);
            last = list[i].id;
        }
        page.before_id = last;
    } while (n > 0);
    assert_int_equal(seen, N);
    page = (md_study_page){.states = 1u << MD_STUDY_RECEIVING, .oldest_first = true};
    seen = 0;
    do {
        assert_ok(md_store_studies(f->store, &page, 5, list, &n, err));
        for (size_t i = 0; i < n; i++, seen++) {
            assert_true(list[i].id > page.after_id);
            assert_int_equal(list[i].state, MD_STUDY_RECEIVING);
            page.after_id = list[i].id;
        }
    } while (n > 0);
    assert_int_equal(seen, N / 2);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.studies[MD_STUDY_RECEIVING], N / 2);
    assert_int_equal(counts.studies[MD_STUDY_DONE], N - N / 2);
    assert_int_equal(counts.n_instances, N);
    assert_int_equal(counts.size_bytes, N * 1000);
    assert_int_equal(md_store_studies(f->store, &page, 1001, list, &n, NULL), MD_LIMIT);
}

static void test_retention(void **state)
{
    fixture *f = *state;
    int64_t kept = study_in_state(f->store, 1, MD_STUDY_SENDING, NULL);
    /* the outbox claim of the helper takes the oldest due row: send the first one's away */
    assert_ok(md_store_quarantine(f->store, kept, "test", err));
    for (unsigned i = 2; i < 6; i++) {
        study_in_state(f->store, i, MD_STUDY_DONE, NULL); /* ended 7000, 1010 bytes each */
    }
    uint64_t *files = NULL;
    size_t n_files = 0;
    size_t n_studies = 0;
    md_retention retention = {.ended_before_ms = 7000};
    assert_ok(md_store_retire(f->store, &retention, 10, &files, &n_files, &n_studies, err));
    assert_int_equal(n_studies, 0);
    assert_int_equal(n_files, 0);
    md_free(files);
    retention = (md_retention){.max_bytes = 4000}; /* 5050 are there: two have to go */
    assert_ok(md_store_retire(f->store, &retention, 10, &files, &n_files, &n_studies, err));
    assert_int_equal(n_studies, 2);
    assert_int_equal(n_files, 4);
    md_free(files);
    retention = (md_retention){.ended_before_ms = 7001};
    assert_ok(md_store_retire(f->store, &retention, 1, &files, &n_files, &n_studies, err));
    assert_int_equal(n_studies, 1);
    md_free(files);
    assert_ok(md_store_retire(f->store, &retention, 10, &files, &n_files, &n_studies, err));
    assert_int_equal(n_studies, 1);
    md_free(files);
    assert_int_equal(study_of(f->store, kept).state, MD_STUDY_QUARANTINED);
    md_store_file *rest = NULL;
    assert_ok(md_store_files(f->store, &rest, &n_files, err));
    assert_int_equal(n_files, 2);
    assert_true(rest[0].file < rest[1].file);
    md_free(rest);
}

static void test_hostile_input_is_refused(void **state)
{
    fixture *f = *state;
    md_instance_outcome outcome;
    md_instance_new good = instance_of(1, 1, 0, 0);
    char long_uid[80];
    memset(long_uid, '1', sizeof long_uid - 1);
    long_uid[sizeof long_uid - 1] = '\0';
    const char *bad[] = {"", "1.2'; DROP TABLE study;--", long_uid, "1.2\n3", NULL};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        md_instance_new item = good;
        item.study_uid = bad[i];
        md_error err = {0};
        assert_int_equal(md_store_add_instances(f->store, &item, 1, &outcome, &err),
                         MD_INVALID_ARG);
        assert_null(strstr(err.msg, "DROP")); /* no value in a message */
        item = good;
        item.sop_instance_uid = bad[i];
        assert_int_equal(md_store_add_instances(f->store, &item, 1, &outcome, NULL),
                         MD_INVALID_ARG);
    }
    md_instance_new item = good;
    item.source_ae = "SEVENTEEN CHARACT";
    assert_int_equal(md_store_add_instances(f->store, &item, 1, &outcome, NULL),
                     MD_INVALID_ARG);
    item = good;
    item.file = 0;
    assert_int_equal(md_store_add_instances(f->store, &item, 1, &outcome, NULL),
                     MD_INVALID_ARG);
    /* all or none */
    md_instance_new two[2] = {good, good};
    two[1].sop_instance_uid = "x";
    assert_int_equal(md_store_add_instances(f->store, two, 2, &outcome, NULL), MD_INVALID_ARG);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.n_instances, 0);
}

/* The database refuses the second item (its file number is taken): the first is gone too. */
static void test_a_batch_is_all_or_none(void **state)
{
    fixture *f = *state;
    md_instance_new two[2] = {instance_of(1, 1, 0, 0), instance_of(1, 2, 0, 0)};
    two[1].file = two[0].file;
    md_instance_outcome outcomes[2];
    assert_int_equal(md_store_add_instances(f->store, two, 2, outcomes, NULL), MD_INTERNAL);
    md_store_counts counts;
    assert_ok(md_store_count(f->store, &counts, err));
    assert_int_equal(counts.studies[MD_STUDY_RECEIVING], 0);
    two[1] = instance_of(1, 2, 0, 0);
    assert_ok(md_store_add_instances(f->store, two, 2, outcomes, err));
    assert_int_equal(study_of(f->store, outcomes[1].study).n_instances, 2);
}

/* Another AE title has its rules for the study that it was sent, also when the first copy of an
 * instance stays the one that is analysed; a refused copy was not sent to anybody. */
static void test_other_bytes_at_another_title(void **state)
{
    fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        bool refused = i == 1;
        f->options.conflict = refused ? MD_CONFLICT_REFUSE : MD_CONFLICT_USE_FIRST;
        fixture_reopen(f);
        int64_t study = study_in_state(f->store, i, MD_STUDY_DONE, NULL);
        md_instance_new item = instance_of(i, 1, 7, 9000);
        item.called_ae = "CHEST";
        md_instance_outcome outcome;
        assert_ok(md_store_add_instances(f->store, &item, 1, &outcome, err));
        assert_int_equal(outcome.kind, refused ? MD_INSTANCE_REFUSED : MD_INSTANCE_CONFLICT);
        assert_int_equal(outcome.reopened, !refused);
        assert_string_equal(study_of(f->store, study).called, refused ? "" : "CHEST");
        assert_int_equal(study_of(f->store, study).state,
                         refused ? MD_STUDY_DONE : MD_STUDY_RECEIVING);
    }
}

static void test_a_second_daemon_is_kept_out(void **state)
{
    fixture *f = *state;
    md_store *second = NULL;
    md_error err = {0};
    assert_int_equal(md_store_open(&f->options, &second, &err), MD_BUSY);
    assert_string_equal(err.msg, "the storage is in use by another medaid");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_action_in_every_state),
        cmocka_unit_test(test_the_table_of_changes),
        TEST(test_the_clock_and_the_key),
        TEST(test_the_same_instance_again),
        TEST(test_other_bytes_under_the_same_uid),
        TEST(test_a_late_instance_supersedes),
        TEST(test_a_late_instance_makes_the_claim_stale),
        TEST(test_late_during_sending_waits),
        TEST(test_late_policy_keep),
        TEST(test_completing_sees_the_last_instance),
        TEST(test_priority_and_ageing),
        TEST(test_three_failures_quarantine),
        TEST(test_a_lease_ends),
        TEST(test_pause_survives_a_restart),
        TEST(test_recovery_takes_up_what_was_under_way),
        TEST(test_outbox_by_a_fake_clock),
        cmocka_unit_test(test_backoff),
        TEST(test_a_lost_lease_of_the_outbox),
        TEST(test_a_dead_row_is_retried_beside_a_pending_one),
        TEST(test_the_same_object_is_not_sent_twice),
        TEST(test_pages_and_counts),
        TEST(test_retention),
        TEST(test_hostile_input_is_refused),
        TEST(test_a_batch_is_all_or_none),
        TEST(test_other_bytes_at_another_title),
        TEST(test_a_second_daemon_is_kept_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
