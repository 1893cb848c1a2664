/* Verdicts, readings and the history that outlives the studies. */

#include "fixture.h"

static md_store_finding finding_of(md_store_presence presence, bool urgent)
{
    md_store_finding f = {.presence = presence, .score = 0.5, .urgent = urgent};
    snprintf(f.model_id, sizeof f.model_id, "model");
    snprintf(f.key, sizeof f.key, "pneumonia");
    snprintf(f.meaning, sizeof f.meaning, "Pneumonia");
    return f;
}

/* Study n with two images' findings, done. */
static md_study done_study(md_store *store, unsigned n, md_store_presence a,
                           md_store_presence b, bool urgent)
{
    md_claim claim;
    int64_t id = study_in_state(store, n, MD_STUDY_ANALYSING, &claim);
    const md_store_finding findings[2] = {finding_of(a, urgent), finding_of(b, false)};
    const md_study_outcome outcome = {.findings = findings, .n_findings = 2};
    assert_ok(md_store_finish(store, &claim, &outcome, 5000, NULL, err));
    return study_of(store, id);
}

static md_finding_tally tally_of(md_store *store)
{
    md_finding_tally *rows = NULL, first = {0};
    size_t n = 0;
    assert_ok(md_store_finding_tally(store, 0, 10, &rows, &n, err));
    assert_int_equal(n, 1);
    first = rows[0];
    md_free(rows);
    return first;
}

static void verdict(md_store *store, const md_study *study, const char *reader, bool agrees,
                    int64_t now_ms)
{
    assert_ok(md_store_set_verdict(store, study->key, "model", "pneumonia", reader, agrees,
                                   now_ms, err));
}

static void test_verdicts(void **state)
{
    fixture *f = *state;
    md_study present = done_study(f->store, 1, MD_STORE_ABSENT, MD_STORE_PRESENT, true);
    md_study also = done_study(f->store, 2, MD_STORE_PRESENT, MD_STORE_PRESENT, true);
    md_study absent = done_study(f->store, 3, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    md_study open = done_study(f->store, 4, MD_STORE_ABSENT, MD_STORE_UNDETERMINED, false);
    verdict(f->store, &present, "dr-a", true, 100);
    verdict(f->store, &also, "dr-a", true, 100);
    verdict(f->store, &also, "dr-b", false, 200); /* the later word counts */
    verdict(f->store, &absent, "dr-a", true, 100);
    verdict(f->store, &absent, "dr-a", false, 300); /* changed */
    assert_int_equal(
        md_store_set_verdict(f->store, open.key, "model", "pneumonia", "dr-a", true, 1, NULL),
        MD_INVALID_ARG);
    assert_int_equal(
        md_store_set_verdict(f->store, present.key, "model", "effusion", "dr-a", true, 1, NULL),
        MD_NOT_FOUND);
    assert_int_equal(
        md_store_set_verdict(f->store, present.key, "model", "pneumonia", "", true, 1, NULL),
        MD_INVALID_ARG);
    assert_int_equal(
        md_store_set_verdict(f->store, present.key, NULL, "pneumonia", "a", true, 1, NULL),
        MD_INVALID_ARG);
    fixture_reopen(f);
    md_finding_tally t = tally_of(f->store);
    assert_string_equal(t.meaning, "Pneumonia");
    assert_int_equal(t.n_present, 2);
    assert_int_equal(t.n_absent, 1);
    assert_int_equal(t.n_undetermined, 1);
    assert_int_equal(t.n_true_positive, 1);
    assert_int_equal(t.n_false_positive, 1);
    assert_int_equal(t.n_true_negative, 0);
    assert_int_equal(t.n_false_negative, 1);
    md_finding_tally *rows = NULL;
    size_t n = 9;
    assert_ok(md_store_finding_tally(f->store, 6000, 10, &rows, &n, err));
    assert_int_equal(n, 0); /* all were found earlier */
    md_free(rows);
}

static void test_history(void **state)
{
    fixture *f = *state;
    md_study first = done_study(f->store, 1, MD_STORE_PRESENT, MD_STORE_ABSENT, true);
    done_study(f->store, 2, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    study_in_state(f->store, 3, MD_STUDY_RECEIVING, NULL); /* not analysed: not in it */
    assert_ok(md_store_set_read(f->store, first.key, 7000, err));
    assert_ok(md_store_set_read(f->store, first.key, 8000, err)); /* the first time counts */
    assert_int_equal(md_store_set_read(f->store, "0000000000000000", 1, NULL), MD_NOT_FOUND);

    for (int retired = 0; retired < 2; retired++) {
        md_study_history *rows = NULL;
        size_t n = 0, n_urgent = 0, n_read = 0;
        assert_ok(md_store_history(f->store, 0, 100, &rows, &n, err));
        assert_int_equal(n, 2);
        for (size_t i = 0; i < n; i++) {
            n_urgent += rows[i].urgent;
            n_read += rows[i].read_ms == 7000 && rows[i].urgent;
            assert_true(rows[i].arrived_ms > 0);
        }
        assert_int_equal(n_urgent, 1);
        assert_int_equal(n_read, 1);
        md_free(rows);
        assert_ok(md_store_history(f->store, 0, 1, &rows, &n, err));
        assert_int_equal(n, 1);
        md_free(rows);
        const md_retention all = {.ended_before_ms = INT64_MAX};
        uint64_t *files = NULL;
        size_t n_files = 0, n_studies = 0;
        assert_ok(md_store_retire(f->store, &all, 10, &files, &n_files, &n_studies, err));
        md_free(files);
    }
    /* sent again after it was forgotten: once, and as it is now */
    done_study(f->store, 1, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    md_study_history *rows = NULL;
    size_t n = 0;
    assert_ok(md_store_history(f->store, 0, 100, &rows, &n, err));
    assert_int_equal(n, 2);
    assert_false(rows[0].urgent || rows[1].urgent);
    md_free(rows);
    assert_int_equal(md_store_history(f->store, 0, 0, &rows, &n, NULL), MD_INVALID_ARG);
}

/* Analysed again after a late image: the new answer counts, the reading is asked for anew. */
static void test_reopened(void **state)
{
    fixture *f = *state;
    md_study study = done_study(f->store, 1, MD_STORE_PRESENT, MD_STORE_ABSENT, true);
    assert_ok(md_store_set_read(f->store, study.key, 7000, err));
    assert_true(add(f->store, 1, 2, 0, 9000).reopened);
    study = study_of(f->store, study.id);
    assert_int_equal(study.clock.read_ms, 0);
    md_study_history *rows = NULL;
    size_t n = 0;
    assert_ok(md_store_history(f->store, 0, 100, &rows, &n, err));
    assert_int_equal(n, 1); /* the first analysis, while the second is under way */
    assert_int_equal(rows[0].read_ms, 7000);
    md_free(rows);
}

/* What is known of a study outlives its images: one that was forgotten and comes again must not
 * be shown with, or go untold because of, what an earlier analysis found. */
static void test_sent_again_after_it_was_forgotten(void **state)
{
    fixture *f = *state;
    md_study old = done_study(f->store, 1, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    const md_notice_new notice = {.notifier = "ris", .body = "text"};
    assert_ok(md_store_add_notices(f->store, old.id, &notice, 1, 6000, err));
    assert_ok(md_store_set_read(f->store, old.key, 7000, err));
    const md_retention all = {.ended_before_ms = INT64_MAX};
    uint64_t *files = NULL;
    size_t n = 0, n_studies = 0;
    assert_ok(md_store_retire(f->store, &all, 10, &files, &n, &n_studies, err));
    md_free(files);
    assert_int_equal(n_studies, 1);

    md_study again = done_study(f->store, 1, MD_STORE_PRESENT, MD_STORE_PRESENT, true);
    assert_string_equal(again.key, old.key);
    assert_int_equal(again.generation, old.generation + 1);
    md_store_finding *findings = NULL;
    assert_ok(md_store_findings(f->store, again.key, &findings, &n, err));
    assert_int_equal(n, 2);
    assert_int_equal(findings[0].presence, MD_STORE_PRESENT);
    assert_int_equal(findings[0].generation, again.generation);
    md_free(findings);
    md_notice_row rows[4];
    assert_ok(md_store_add_notices(f->store, again.id, &notice, 1, 8000, err));
    assert_ok(md_store_notices(f->store, again.key, 4, rows, &n, err));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].generation, again.generation);
    assert_int_equal(rows[0].state, MD_OUTBOX_PENDING);
}

/* A reason with letters beyond ASCII is cut between them: JSON would refuse half a one, and
 * with it the whole list. */
static void test_long_reason(void **state)
{
    fixture *f = *state;
    md_claim claim;
    md_study study;
    char reason[256] = "x";
    for (size_t i = 0; i < 100; i++) {
        memcpy(reason + 1 + 2 * i, "\xc3\xbc", 3);
    }
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    assert_ok(md_store_report(f->store, &claim, 4000, err));
    const md_study_outcome outcome = {.failed = reason};
    assert_ok(md_store_finish(f->store, &claim, &outcome, 5000, NULL, err));
    study = study_of(f->store, id);
    assert_int_equal(strlen(study.reason), 159);
    assert_memory_equal(study.reason, reason, 159);
}

/* Urgent first, then the highest priority, then the longest waiting; what was read is
 * elsewhere. */
static void test_worklist(void **state)
{
    fixture *f = *state;
    md_study routine = done_study(f->store, 1, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    md_study high = done_study(f->store, 2, MD_STORE_ABSENT, MD_STORE_ABSENT, false);
    md_study urgent = done_study(f->store, 3, MD_STORE_PRESENT, MD_STORE_ABSENT, true);
    md_study read = done_study(f->store, 4, MD_STORE_PRESENT, MD_STORE_ABSENT, true);
    study_in_state(f->store, 5, MD_STUDY_RECEIVING, NULL);
    assert_ok(md_store_set_priority(f->store, high.id, 50, err));
    uint64_t version = md_store_version(f->store);
    assert_ok(md_store_set_read(f->store, read.key, 9000, err));
    assert_true(md_store_version(f->store) != version);
    md_study list[8];
    size_t n = 0;
    assert_ok(md_store_worklist(f->store, false, 8, list, &n, err));
    assert_int_equal(n, 3);
    assert_int_equal(list[0].id, urgent.id);
    assert_int_equal(list[1].id, high.id);
    assert_int_equal(list[2].id, routine.id);
    /* a late image does not hide what is urgent while it waits for more of them */
    assert_true(add(f->store, 3, 2, 0, 9000).reopened);
    assert_ok(md_store_worklist(f->store, false, 8, list, &n, err));
    assert_int_equal(n, 3);
    assert_int_equal(list[0].id, urgent.id);
    assert_int_equal(list[0].state, MD_STUDY_RECEIVING);
    assert_ok(md_store_worklist(f->store, true, 8, list, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(list[0].id, read.id);
    assert_int_equal(md_store_worklist(f->store, true, 0, list, &n, NULL), MD_INVALID_ARG);
}

static void test_view(void **state)
{
    fixture *f = *state;
    md_claim claim;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    const md_study_outcome outcome = {.view = {.header = "{\"patient_id\":\"P\"}",
                                               .image = (const uint8_t *)"PNG",
                                               .image_bytes = 3}};
    uint8_t *bytes = NULL;
    size_t n = 0;
    assert_int_equal(md_store_view(f->store, id, MD_VIEW_IMAGE, &bytes, &n, NULL),
                     MD_NOT_FOUND);
    assert_ok(md_store_finish(f->store, &claim, &outcome, 5000, NULL, err));
    assert_ok(md_store_view(f->store, id, MD_VIEW_IMAGE, &bytes, &n, err));
    assert_int_equal(n, 3);
    assert_string_equal((char *)bytes, "PNG");
    md_free(bytes);
    assert_ok(md_store_view(f->store, id, MD_VIEW_HEADER, &bytes, &n, err));
    assert_string_equal((char *)bytes, "{\"patient_id\":\"P\"}");
    md_free(bytes);
    assert_int_equal(md_store_view(f->store, id, MD_VIEW_OVERLAY, &bytes, &n, NULL),
                     MD_NOT_FOUND);
    const md_retention all = {.ended_before_ms = INT64_MAX};
    uint64_t *files = NULL;
    size_t n_files = 0, n_studies = 0;
    assert_ok(md_store_retire(f->store, &all, 10, &files, &n_files, &n_studies, err));
    md_free(files);
    /* patient data go with the study */
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM view"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_verdicts),
        TEST(test_history),
        TEST(test_reopened),
        TEST(test_long_reason),
        TEST(test_verdicts),
        TEST(test_history),
        TEST(test_sent_again_after_it_was_forgotten),
        TEST(test_worklist),
        TEST(test_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
