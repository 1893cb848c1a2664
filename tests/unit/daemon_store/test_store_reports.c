/* Which earlier report a new one replaces: one for each model. */

#include "daemon/store/store_sqlite.h"
#include "fixture.h"

#include <math.h>

#define SR_CLASS "1.2.840.10008.5.1.4.1.1.88.34"
#define TO_PACS "pacs"

typedef struct report {
    const char *kind, *model, *uid, *series;
    bool kept_here;         /* no destination */
    md_outbox_state became; /* of its transfer */
} report;

/* Receiving -> the end of the generation, with these reports. */
static md_study_state one_generation(md_store *store, int64_t id, const report *reports,
                                     size_t n)
{
    static uint64_t file = 5000;
    static const char *const to[] = {TO_PACS};
    md_object_new objects[8];
    md_claim claim;
    md_study_state state;
    md_study study = study_of(store, id);
    assert_ok(md_store_complete(store, &study, 2000, err));
    assert_ok(md_store_claim(store, "w", 3000, 60000, &claim, &study, err));
    assert_int_equal(claim.study, id);
    for (size_t i = 0; i < n; i++) {
        objects[i] = (md_object_new){.kind = reports[i].kind,
                                     .sop_instance_uid = reports[i].uid,
                                     .sop_class_uid = SR_CLASS,
                                     .model_id = reports[i].model,
                                     .series_instance_uid = reports[i].series,
                                     .file = ++file,
                                     .size_bytes = 10,
                                     .destinations = to,
                                     .n_destinations = reports[i].kept_here ? 0 : 1};
    }
    assert_ok(md_store_finish(store, &claim,
                              &(md_study_outcome){.objects = objects, .n_objects = n}, 4000,
                              &state, err));
    md_outbox_row rows[8];
    md_outbox_result results[8];
    size_t n_rows = 0;
    assert_ok(md_store_outbox_claim(store, TO_PACS, 5000, 1000, 8, rows, &n_rows, err));
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        if (!reports[i].kept_here) {
            assert_true(row < n_rows);
            results[row] = (md_outbox_result){
                .id = rows[row].id, .token = rows[row].token, .state = reports[i].became};
            row++;
        }
    }
    assert_int_equal(row, n_rows);
    assert_ok(md_store_outbox_finish(store, results, n_rows, 6000, &state, err));
    return state;
}

typedef struct expected {
    const char *model, *uid, *series;
} expected;

static void assert_predecessors(md_store *store, int64_t id, const expected *wanted,
                                size_t n_wanted)
{
    md_stored_report got[8];
    size_t n = 99;
    assert_ok(md_store_predecessors(store, id, 8, got, &n, err));
    assert_int_equal(n, n_wanted);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(got[i].model_id, wanted[i].model);
        assert_string_equal(got[i].sop_instance_uid, wanted[i].uid);
        assert_string_equal(got[i].series_instance_uid, wanted[i].series);
    }
}

static void test_one_for_each_model(void **state)
{
    fixture *f = *state;
    int64_t id = add(f->store, 1, 1, 0, 1000).study;
    static const report first[] = {
        {"sr", "a", "2.25.11", "2.25.91", false, MD_OUTBOX_SENT},
        {"picture", "a", "2.25.12", "2.25.92", false, MD_OUTBOX_SENT},
        {"sr", "b", "2.25.13", "2.25.93", false, MD_OUTBOX_DEAD},
        {"sr", NULL, "2.25.14", NULL, false, MD_OUTBOX_SENT},
    };
    assert_int_equal(one_generation(f->store, id, first, 4), MD_STUDY_FAILED);
    assert_predecessors(f->store, id, NULL, 0); /* its own generation is not earlier */

    assert_true(add(f->store, 1, 2, 0, 7000).reopened);
    static const expected a_alone[] = {{"a", "2.25.11", "2.25.91"}}; /* b's never left */
    assert_predecessors(f->store, id, a_alone, 1);
    static const report second[] = {
        {"sr", "a", "2.25.21", "2.25.91", false, MD_OUTBOX_DEAD},
        {"sr", "b", "2.25.23", "2.25.93", true, MD_OUTBOX_PENDING},
    };
    assert_int_equal(one_generation(f->store, id, second, 2), MD_STUDY_FAILED);
    assert_predecessors(f->store, id, a_alone, 1);

    /* a's second never left, so its first counts; b's was kept with nowhere to go */
    assert_true(add(f->store, 1, 3, 0, 8000).reopened);
    static const expected both[] = {{"b", "2.25.23", "2.25.93"}, {"a", "2.25.11", "2.25.91"}};
    assert_predecessors(f->store, id, both, 2);
    md_stored_report one;
    size_t n = 0;
    assert_ok(md_store_predecessors(f->store, id, 1, &one, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(one.model_id, "b"); /* the newest */

    /* a's newest is in an unknown series: left out, not replaced by an older one */
    static const report third[] = {
        {"sr", "a", "2.25.31", NULL, false, MD_OUTBOX_SENT},
        {"sr", "b", "2.25.33", "2.25.94", false, MD_OUTBOX_SENT},
    };
    assert_int_equal(one_generation(f->store, id, third, 2), MD_STUDY_DONE);
    fixture_reopen(f);
    assert_true(add(f->store, 1, 4, 0, 9000).reopened);
    static const expected b_alone[] = {{"b", "2.25.33", "2.25.94"}};
    assert_predecessors(f->store, id, b_alone, 1);

    /* another study has none of it */
    int64_t other = add(f->store, 2, 1, 0, 1000).study;
    assert_predecessors(f->store, other, NULL, 0);
}

static void test_hostile_objects_are_refused(void **state)
{
    fixture *f = *state;
    md_claim claim;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    char long_name[MD_STORE_NAME_BYTES + 1];
    memset(long_name, 'm', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    md_object_new object = {.kind = "sr",
                            .sop_instance_uid = "2.25.1",
                            .sop_class_uid = SR_CLASS,
                            .model_id = long_name,
                            .series_instance_uid = "2.25.2",
                            .file = 7,
                            .size_bytes = 1};
    assert_int_equal(md_store_finish(f->store, &claim,
                                     &(md_study_outcome){.objects = &object, .n_objects = 1},
                                     4000, NULL, NULL),
                     MD_INVALID_ARG);
    object.model_id = "m";
    object.series_instance_uid = "2.25.2' OR 1";
    assert_int_equal(md_store_finish(f->store, &claim,
                                     &(md_study_outcome){.objects = &object, .n_objects = 1},
                                     4000, NULL, NULL),
                     MD_INVALID_ARG);
    object.series_instance_uid = "2.25.2";
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.objects = &object, .n_objects = 1}, 4000,
                              NULL, err));
    md_stored_object *objects = NULL;
    size_t n = 0;
    assert_ok(md_store_objects(f->store, id, &objects, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(objects[0].model_id, "m");
    assert_string_equal(objects[0].series_instance_uid, "2.25.2");
    md_free(objects);
    md_stored_report one;
    assert_int_equal(md_store_predecessors(f->store, id, MD_STORE_MAX_PAGE + 1, &one, &n, NULL),
                     MD_INVALID_ARG);
}

/* The latest analysis counts; what was found stays when the study goes. */
static void test_findings(void **state)
{
    fixture *f = *state;
    md_store_finding told[2] = {{.presence = MD_STORE_PRESENT,
                                 .model_id = "model",
                                 .model_version = "1.0.0",
                                 .key = "pneumonia",
                                 .code = "233604007",
                                 .scheme = "SCT",
                                 .meaning = "Pneumonia",
                                 .sop_instance_uid = "1.2.3.4",
                                 .frame = 3,
                                 .score = 0.875,
                                 .threshold = 0.5,
                                 .is_probability = true,
                                 .urgent = true},
                                {.model_id = "model", .key = "effusion", .score = 0.25}};
    md_claim claim;
    md_store_finding *got = NULL;
    size_t n = 9;
    int64_t id = study_in_state(f->store, 1, MD_STUDY_ANALYSING, &claim);
    md_study study = study_of(f->store, id);
    assert_ok(md_store_findings(f->store, study.key, &got, &n, err));
    assert_int_equal(n, 0);
    told[1].score = NAN;
    assert_int_equal(md_store_finish(f->store, &claim,
                                     &(md_study_outcome){.findings = told, .n_findings = 2},
                                     4000, NULL, NULL),
                     MD_INVALID_ARG);
    told[1].score = 0.25;
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.findings = told, .n_findings = 2}, 4000,
                              NULL, err));
    fixture_reopen(f);
    assert_ok(md_store_findings(f->store, study.key, &got, &n, err));
    assert_int_equal(n, 2);
    assert_string_equal(got[0].study_key, study.key);
    assert_string_equal(got[0].key, "pneumonia");
    assert_string_equal(got[0].meaning, "Pneumonia");
    assert_true(got[0].score == 0.875 && got[0].threshold == 0.5 && got[0].frame == 3);
    assert_true(got[0].is_probability && got[0].urgent);
    assert_int_equal(got[0].presence, MD_STORE_PRESENT);
    assert_int_equal(got[1].presence, MD_STORE_ABSENT);
    md_free(got);

    assert_true(add(f->store, 1, 2, 0, 7000).reopened);
    study = study_of(f->store, id);
    assert_ok(md_store_complete(f->store, &study, 8000, err));
    assert_ok(md_store_claim(f->store, "w", 9000, 60000, &claim, &study, err));
    assert_ok(md_store_finish(f->store, &claim,
                              &(md_study_outcome){.findings = &told[1], .n_findings = 1}, 10000,
                              NULL, err));
    assert_ok(md_store_findings(f->store, study.key, &got, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(got[0].key, "effusion");
    assert_int_equal(got[0].generation, 2);
    md_free(got);

    const md_retention all = {.ended_before_ms = INT64_MAX};
    uint64_t *files = NULL;
    size_t n_files = 0, n_studies = 0;
    assert_ok(md_store_retire(f->store, &all, 10, &files, &n_files, &n_studies, err));
    md_free(files);
    assert_int_equal(n_studies, 1);
    assert_ok(md_store_findings(f->store, study.key, &got, &n, err));
    assert_int_equal(n, 1);
    md_free(got);
}

/* A database of version 1 with a study that is done, its report sent. */
static void make_version_1(fixture *f)
{
    md_store_close(f->store);
    f->store = NULL;
    unlink(f->database);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
    assert_ok(md_sqlite_migrate(db, md_sqlite_schema, 1, err));
    char sql[1024];
    snprintf(sql, sizeof sql,
             "INSERT INTO study (id, key, uid, state, predecessor_uid, first_received,"
             " last_received, analysis_end) VALUES (1, '0123456789abcdef', '%s', 5, '1.2.3',"
             " 1000, 1001, 4711);"
             "INSERT INTO object VALUES (1, 1, 1, 'sr', '2.25.5', '" SR_CLASS "', 8, 9, 3000);"
             "INSERT INTO outbox (study, object, generation, destination, state,"
             " next_attempt) VALUES (1, 1, 1, '" TO_PACS "', 1, 0)",
             instance_of(1, 1, 0, 0).study_uid);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(text_number(f->database, "PRAGMA user_version"), 1);
}

static void test_version_1_is_brought_up(void **state)
{
    fixture *f = *state;
    make_version_1(f);
    fixture_open(f);
    assert_int_equal(text_number(f->database, "PRAGMA user_version"), md_sqlite_schema_version);
    md_study study = study_of(f->store, 1);
    assert_int_equal(study.state, MD_STUDY_DONE);
    assert_int_equal(study.clock.first_received_ms, 1000);
    assert_int_equal(study.clock.last_received_ms, 1001);
    assert_int_equal(study.clock.analysis_end_ms, 4711);
    md_stored_object *objects = NULL;
    size_t n = 0;
    assert_ok(md_store_objects(f->store, 1, &objects, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(objects[0].model_id, "");
    assert_string_equal(objects[0].series_instance_uid, "");
    assert_string_equal(objects[0].sop_instance_uid, "2.25.5");
    assert_int_equal(objects[0].created_ms, 3000);
    md_free(objects);

    /* the old report is of no known model */
    assert_true(add(f->store, 1, 1, 0, 7000).reopened);
    assert_predecessors(f->store, 1, NULL, 0);
    /* made once more it is the same object, of which more is known now */
    static const report again[] = {{"sr", "a", "2.25.5", "2.25.91", true, MD_OUTBOX_PENDING}};
    one_generation(f->store, 1, again, 1);
    assert_true(add(f->store, 1, 2, 0, 8000).reopened);
    static const expected known[] = {{"a", "2.25.5", "2.25.91"}};
    assert_predecessors(f->store, 1, known, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_for_each_model),
        TEST(test_hostile_objects_are_refused),
        TEST(test_findings),
        TEST(test_version_1_is_brought_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
