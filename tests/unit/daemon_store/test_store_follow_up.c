/* Decisions of readers: kept beyond the study, the last word of each, imported, forgotten. */

#include "daemon/store/store_follow_up.h"
#include "daemon/store/store_sqlite.h"
#include "fixture.h"

#include <math.h>

#define PATIENT "0123456789abcdef"
#define OTHER "fedcba9876543210"

/* Study n of this patient is analysed. */
static md_study analysed(md_store *store, unsigned n, const char *patient, const char *features)
{
    md_claim claim;
    int64_t id = study_in_state(store, n, MD_STUDY_ANALYSING, &claim);
    const md_store_follow_up_new follow_up = {patient, features, "{\"proposals\": []}"};
    const md_study_outcome outcome = {.follow_up = &follow_up};
    assert_ok(md_store_finish(store, &claim, &outcome, 5000, NULL, err));
    return study_of(store, id);
}

/* All rows as one text: "patient action value features study;". */
static md_status add_row(void *context, const md_store_rating_row *row, md_error *err)
{
    char *text = context;
    size_t used = strlen(text);
    (void)err;
    snprintf(text + used, 2048 - used, "%c %s %g %s%s;", row->patient[0], row->action,
             row->value, row->features, row->study_key[0] == '\0' ? "" : " own");
    return MD_OK;
}

static const char *record(md_store *store)
{
    static char text[2048];
    text[0] = '\0';
    assert_ok(md_store_each_rating(store, add_row, text, err));
    return text;
}

static void test_decisions(void **state)
{
    fixture *f = *state;
    md_study one = analysed(f->store, 1, PATIENT, "one");
    md_study two = analysed(f->store, 2, PATIENT, "two");
    md_study three = analysed(f->store, 3, OTHER, "three");
    assert_string_equal(record(f->store), "");
    assert_ok(md_store_rate(f->store, one.key, "ct", "jones", 1, 100, err));
    assert_ok(md_store_rate(f->store, three.key, "ct", "jones", 0, 110, err));
    assert_ok(md_store_rate(f->store, one.key, "none", "smith", 0, 120, err));
    fixture_reopen(f);
    assert_string_equal(record(f->store), "0 ct 1 one own;0 none 0 one own;f ct 0 three own;");
    /* on his second study: what that found is known of him from now on; the last word of one
     * reader counts, of two the later stands last */
    assert_ok(md_store_rate(f->store, two.key, "ct", "jones", 0.25, 200, err));
    assert_ok(md_store_rate(f->store, two.key, "ct", "adams", 1, 300, err));
    assert_string_equal(record(f->store), "0 ct 0.25 two own;0 ct 1 two own;0 none 0 two own;"
                                          "f ct 0 three own;");
    md_store_rating rows[8];
    size_t n = 0;
    assert_ok(md_store_ratings_of(f->store, one.key, 8, rows, &n, err));
    assert_int_equal(n, 3);
    assert_string_equal(rows[0].reader, "jones");
    assert_string_equal(rows[0].study_key, two.key);
    assert_string_equal(rows[0].patient, PATIENT);
    assert_int_equal(rows[0].given_ms, 200);
    assert_string_equal(rows[1].reader, "adams");
    assert_string_equal(rows[2].action, "none");
    assert_ok(md_store_ratings_of(f->store, one.key, 1, rows, &n, err));
    assert_int_equal(n, 1);
    md_store_follow_up shown;
    assert_ok(md_store_follow_up_of(f->store, one.key, &shown, err));
    assert_string_equal(shown.proposals, "{\"proposals\": []}");
    assert_string_equal(shown.patient, PATIENT);
    assert_int_equal(shown.generation, 1);
    md_store_follow_up_finish(&shown);
    /* taken back */
    assert_ok(md_store_unrate(f->store, two.key, "ct", "adams", err));
    assert_int_equal(md_store_unrate(f->store, two.key, "ct", "adams", NULL), MD_NOT_FOUND);
    assert_ok(md_store_unrate(f->store, three.key, "ct", "jones", err));
    assert_string_equal(record(f->store), "0 ct 0.25 two own;0 none 0 two own;");
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM profile"), 1);
}

/* A late image, and then no model comes to a result: what was known of the patient and what was
 * proposed stay, until an analysis is good again. */
static void test_failed_again(void **state)
{
    fixture *f = *state;
    md_claim claim;
    md_store_follow_up shown;
    md_study study = analysed(f->store, 1, PATIENT, "seen");
    assert_ok(md_store_rate(f->store, study.key, "ct", "jones", 1, 100, err));
    for (int round = 0; round < 2; round++) {
        const bool fails = round == 0;
        const md_store_follow_up_new follow_up = {PATIENT, fails ? "" : "new",
                                                  fails ? "{}" : "{\"new\": 1}"};
        const md_study_outcome outcome = {.follow_up = &follow_up,
                                          .failed = fails ? "every model failed" : NULL};
        add(f->store, 1, 9 + (unsigned)round, 9, 6000 + 1000 * round);
        study = study_of(f->store, study.id);
        assert_int_equal(study.generation, 2 + round);
        assert_ok(md_store_complete(f->store, &study, 7000, err));
        assert_ok(md_store_claim(f->store, "w", 8000, 60000, &claim, &study, err));
        assert_ok(md_store_finish(f->store, &claim, &outcome, 9000, NULL, err));
        assert_string_equal(record(f->store), fails ? "0 ct 1 seen own;" : "0 ct 1 new own;");
        assert_ok(md_store_follow_up_of(f->store, study.key, &shown, err));
        assert_string_equal(shown.proposals, fails ? "{\"proposals\": []}" : "{\"new\": 1}");
        assert_int_equal(shown.generation, fails ? 1 : 3);
        md_store_follow_up_finish(&shown);
    }
}

static void test_refused(void **state)
{
    fixture *f = *state;
    md_study one = analysed(f->store, 1, PATIENT, "");
    md_error why = {0};
    const double bad[] = {-0.01, 1.01, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(md_store_rate(f->store, one.key, "ct", "jones", bad[i], 1, &why),
                         MD_INVALID_ARG);
        assert_non_null(strstr(why.msg, "outside the scale 0..1"));
    }
    char longer[MD_STORE_NAME_BYTES + 1];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(md_store_rate(f->store, one.key, "", "jones", 1, 1, NULL), MD_INVALID_ARG);
    assert_int_equal(md_store_rate(f->store, one.key, "ct", longer, 1, 1, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_store_rate(f->store, one.key, NULL, "jones", 1, 1, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_store_unrate(f->store, one.key, longer, "a", NULL), MD_INVALID_ARG);
    assert_int_equal(md_store_rate(f->store, "0000000000000000", "ct", "jones", 1, 1, &why),
                     MD_NOT_FOUND);
    /* a study of before */
    md_study old = study_of(f->store, study_in_state(f->store, 2, MD_STUDY_DONE, NULL));
    assert_int_equal(md_store_rate(f->store, old.key, "ct", "jones", 1, 1, &why), MD_NOT_FOUND);
    assert_non_null(strstr(why.msg, "since there are actions"));
    size_t n = 9;
    md_store_rating rows[2];
    assert_ok(md_store_ratings_of(f->store, old.key, 2, rows, &n, err));
    assert_int_equal(n, 0);
    assert_int_equal(md_store_ratings_of(f->store, old.key, 0, rows, &n, NULL), MD_INVALID_ARG);
    assert_string_equal(record(f->store), "");

    md_claim claim;
    study_in_state(f->store, 3, MD_STUDY_ANALYSING, &claim);
    static char huge[MD_STORE_MAX_PROFILE_BYTES + 1];
    memset(huge, 'x', sizeof huge - 1);
    md_store_follow_up_new follow_up = {PATIENT, huge, "{}"};
    const md_study_outcome outcome = {.follow_up = &follow_up};
    assert_int_equal(md_store_finish(f->store, &claim, &outcome, 1, NULL, NULL), MD_LIMIT);
    follow_up = (md_store_follow_up_new){"P1", "", "{}"}; /* no hash: patient data */
    assert_int_equal(md_store_finish(f->store, &claim, &outcome, 1, NULL, NULL),
                     MD_INVALID_ARG);
}

static void test_import(void **state)
{
    fixture *f = *state;
    md_study one = analysed(f->store, 1, PATIENT, "own");
    assert_ok(md_store_rate(f->store, one.key, "ct", "import", 1, 500, err));
    const md_store_rating_new rows[] = {
        {.patient = PATIENT, .action = "ct", .reader = "import", .value = 0, .given_ms = 400},
        {.patient = OTHER, .action = "ct", .reader = "a", .features = "x", .given_ms = 7},
        {.patient = OTHER, .action = "ct", .reader = "a", .value = 0.5, .given_ms = 7},
        {.patient = OTHER, .action = "film", .reader = "a", .features = "y", .given_ms = 8},
        {.patient = PATIENT, .action = "film", .reader = "a", .features = "z", .value = 1},
    };
    assert_ok(md_store_rating_import(f->store, rows, 5, err));
    assert_string_equal(record(f->store), "0 ct 1 own own;0 film 1 own own;f ct 0.5 y;"
                                          "f film 0 y;");
    /* the same once more changes nothing */
    assert_ok(md_store_rating_import(f->store, rows, 5, err));
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM rating"), 4);
    const md_store_rating_new forget = {.patient = OTHER, .forget = true};
    assert_ok(md_store_rating_import(f->store, &forget, 1, err));
    assert_string_equal(record(f->store), "0 ct 1 own own;0 film 1 own own;");
    /* one that is wrong: none of them */
    md_store_rating_new bad[] = {rows[1], rows[2]};
    bad[1].value = 2;
    assert_int_equal(md_store_rating_import(f->store, bad, 2, NULL), MD_INVALID_ARG);
    bad[1] = rows[2];
    bad[1].patient = "someone";
    assert_int_equal(md_store_rating_import(f->store, bad, 2, NULL), MD_INVALID_ARG);
    assert_int_equal(md_store_rating_import(f->store, bad, MD_STORE_MAX_BATCH + 1, NULL),
                     MD_LIMIT);
    assert_ok(md_store_rating_import(f->store, NULL, 0, err));
    assert_string_equal(record(f->store), "0 ct 1 own own;0 film 1 own own;");
}

/* By age, by name; with the study goes what it found, not what was decided. */
static void test_forgotten(void **state)
{
    fixture *f = *state;
    md_study one = analysed(f->store, 1, PATIENT, "one");
    md_study two = analysed(f->store, 2, OTHER, "two");
    assert_ok(md_store_rate(f->store, one.key, "ct", "a", 1, 100, err));
    assert_ok(md_store_rate(f->store, one.key, "film", "a", 1, 200, err));
    assert_ok(md_store_rate(f->store, two.key, "ct", "a", 1, 150, err));
    size_t n = 9;
    assert_ok(md_store_ratings_retire(f->store, 100, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_ratings_retire(f->store, 160, &n, err));
    assert_int_equal(n, 2);
    assert_string_equal(record(f->store), "0 film 1 one own;");
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM profile"), 1);

    const md_retention all = {.ended_before_ms = INT64_MAX};
    uint64_t *files = NULL;
    size_t n_files = 0, n_studies = 0;
    assert_ok(md_store_ratings_forget(f->store, two.key, &n, err));
    assert_int_equal(n, 0);
    assert_ok(md_store_retire(f->store, &all, 10, &files, &n_files, &n_studies, err));
    md_free(files);
    assert_int_equal(n_studies, 2);
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM follow_up"), 0);
    assert_string_equal(record(f->store), "0 film 1 one own;");
    assert_int_equal(md_store_ratings_forget(f->store, one.key, &n, NULL), MD_NOT_FOUND);

    md_study three = analysed(f->store, 3, PATIENT, "three");
    assert_ok(md_store_ratings_forget(f->store, three.key, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(record(f->store), "");
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM profile"), 0);
}

/* A late image: what the decision was about is what is known now. */
static void test_analysed_again(void **state)
{
    fixture *f = *state;
    md_study study = analysed(f->store, 1, PATIENT, "before");
    assert_ok(md_store_rate(f->store, study.key, "ct", "a", 1, 100, err));
    add(f->store, 1, 9, 9, 6000);
    md_claim claim;
    md_study now = study_of(f->store, study.id);
    assert_ok(md_store_complete(f->store, &now, 7000, err));
    assert_ok(md_store_claim(f->store, "w", 8000, 60000, &claim, &now, err));
    const md_store_follow_up_new again = {PATIENT, "after", "{}"};
    const md_study_outcome outcome = {.follow_up = &again};
    assert_ok(md_store_finish(f->store, &claim, &outcome, 9000, NULL, err));
    assert_string_equal(record(f->store), "0 ct 1 after own;");
    md_store_follow_up shown;
    assert_ok(md_store_follow_up_of(f->store, study.key, &shown, err));
    assert_int_equal(shown.generation, 2);
    md_store_follow_up_finish(&shown);
}

/* A database of the version before, with a study: it is brought up and goes on. */
static void test_version_11_is_brought_up(void **state)
{
    fixture *f = *state;
    md_store_close(f->store);
    f->store = NULL;
    assert_int_equal(unlink(f->database), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
    for (int version = 1; version <= 11; version++) {
        assert_ok(md_sqlite_migrate(db, md_sqlite_schema, version, err));
    }
    assert_int_equal(sqlite3_exec(db,
                                  "INSERT INTO study (id, key, uid, state, first_received,"
                                  " last_received) VALUES (7, '00000000000000aa', '1.2', 5, 1,"
                                  " 2)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    fixture_open(f);
    assert_int_equal(text_number(f->database, "PRAGMA user_version"), md_sqlite_schema_version);
    assert_int_equal(study_of(f->store, 7).state, MD_STUDY_DONE);
    assert_int_equal(md_store_rate(f->store, "00000000000000aa", "ct", "a", 1, 1, NULL),
                     MD_NOT_FOUND);
    md_study one = analysed(f->store, 1, PATIENT, "one");
    assert_ok(md_store_rate(f->store, one.key, "ct", "a", 1, 100, err));
    assert_string_equal(record(f->store), "0 ct 1 one own;");
}

static md_status stop_at_once(void *context, const md_store_rating_row *row, md_error *err)
{
    (void)row;
    ++*(int *)context;
    return md_fail(err, MD_CANCELLED, "enough");
}

static void test_visit_ends(void **state)
{
    fixture *f = *state;
    int n = 0;
    md_study one = analysed(f->store, 1, PATIENT, "one");
    for (int i = 0; i < 5; i++) { /* more than there are readers: each is given back */
        assert_ok(md_store_rate(f->store, one.key, "ct", "a", 1, 100, err));
        assert_ok(md_store_rate(f->store, one.key, "film", "a", 1, 100, err));
        assert_int_equal(md_store_each_rating(f->store, stop_at_once, &n, NULL), MD_CANCELLED);
        assert_int_equal(n, i + 1);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_decisions),  TEST(test_refused),        TEST(test_import),
        TEST(test_forgotten),  TEST(test_analysed_again), TEST(test_version_11_is_brought_up),
        TEST(test_visit_ends), TEST(test_failed_again),
    };
    return cmocka_run_group_tests_name("daemon/store follow-up", tests, NULL, NULL);
}
