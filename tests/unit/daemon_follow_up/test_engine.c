/* Follow-up beside a store: the record is read in the background, decisions reach the next
 * model, nobody waits, and what is asked of nothing is answered. */

#include "conf/conf_shared.h"
#include "daemon/follow_up/follow_up.h"
#include "daemon/follow_up/follow_up_json.h"
#include "tests/unit/daemon_store/fixture.h"

#include <pthread.h>
#include <time.h>

static md_conf_action actions[] = {
    {.key = "ct", .code = "1", .scheme = "SCT", .meaning = "A CT"},
    {.key = "none", .code = "3", .scheme = "99X", .meaning = "Nothing"}};

static const md_conf *shared_conf(unsigned n_actions)
{
    static md_conf conf;
    const md_conf *shared = NULL;
    conf.follow_up.actions = actions;
    conf.follow_up.n_actions = n_actions;
    conf.follow_up.min_support = 2;
    conf.follow_up.n_neighbours = 40;
    conf.follow_up.shrinkage = 10;
    conf.follow_up.min_score = 0.5;
    conf.follow_up.n_show = 3;
    conf.follow_up.keep_days = 3650;
    conf.follow_up.refresh_s = 1;
    assert_ok(md_conf_share(&conf, &shared, err));
    return shared;
}

static md_follow_up_engine *start(fixture *f, unsigned n_actions)
{
    md_follow_up_engine *engine = NULL;
    const md_conf *conf = shared_conf(n_actions);
    assert_ok(md_follow_up_start(conf, f->store, &engine, err));
    md_conf_drop(conf);
    return engine;
}

static md_features opacity(void)
{
    md_features features = {0};
    assert_true(md_features_add(&features, "SCT:7", "Opacity", 0.9F));
    return features;
}

/* Ask until so many patients are on record. */
static md_follow_up wait_for(md_follow_up_engine *engine, uint32_t n_patients)
{
    md_features features = opacity();
    md_follow_up f = {0};
    for (int i = 0; i < 6000; i++) {
        md_follow_up_propose_for(engine, "1.2.3", "P-NEW", "", &features, &f);
        if (f.there && f.n_patients == n_patients && f.n_actions > 0 &&
            strstr(f.why_none, "being read") == NULL) {
            return f;
        }
        const struct timespec pause = {.tv_nsec = 10000000};
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("%u patients, not %u: %s", f.n_patients, n_patients, f.why_none);
    return f;
}

static void import(md_follow_up_engine *engine, const char *text, md_status wanted,
                   md_follow_up_import_outcome *outcome)
{
    char *bytes = md_malloc(strlen(text) + 1);
    md_error err = {0};
    memcpy(bytes, text, strlen(text) + 1);
    md_status status = md_follow_up_import(engine, bytes, strlen(text), "table", outcome, &err);
    if (status != wanted) {
        fail_msg("%s: %s", md_status_name(status), err.msg);
    }
}

/* Study n is analysed with an opacity, as the analyst does it. */
static md_study analysed(fixture *f, md_follow_up_engine *engine, unsigned n,
                         const char *patient_id)
{
    md_claim claim;
    int64_t id = study_in_state(f->store, n, MD_STUDY_ANALYSING, &claim);
    md_study study = study_of(f->store, id);
    md_finding finding = {.presence = MD_PRESENCE_PRESENT, .score = 0.9, .threshold = 0.5};
    snprintf(finding.concept.value, sizeof finding.concept.value, "7");
    snprintf(finding.concept.scheme, sizeof finding.concept.scheme, "SCT");
    snprintf(finding.concept.meaning, sizeof finding.concept.meaning, "Opacity");
    md_result result = {.findings = &finding, .n_findings = 1};
    md_analysis analysis = {.results = &result, .n_results = 1};
    snprintf(analysis.header.patient_id, sizeof analysis.header.patient_id, "%s", patient_id);
    md_follow_up follow_up;
    static md_follow_up_kept kept;
    md_follow_up_propose(engine, study.study_uid, &analysis, &follow_up);
    assert_ok(md_follow_up_keep(engine, study.study_uid, &analysis, &follow_up, &kept, err));
    assert_string_equal(kept.features, "0.9000 SCT:7\n");
    const md_study_outcome outcome = {.follow_up = &kept.row};
    assert_ok(md_store_finish(f->store, &claim, &outcome, 5000, NULL, err));
    md_follow_up_kept_finish(&kept);
    return study;
}

static void test_decisions(void **state)
{
    fixture *f = *state;
    md_follow_up_engine *engine = start(f, 2);
    md_follow_up got = wait_for(engine, 0);
    assert_non_null(strstr(got.why_none, "no decision is on record"));
    md_study one = analysed(f, engine, 1, "P1"), two = analysed(f, engine, 2, "P2");
    md_study nameless = analysed(f, engine, 3, ""), other = analysed(f, engine, 4, "");
    assert_ok(md_follow_up_decide(engine, &one, "ct", "a", MD_FOLLOW_UP_ACCEPT, err));
    assert_ok(md_follow_up_decide(engine, &two, "ct", "a", MD_FOLLOW_UP_ACCEPT, err));
    assert_ok(md_follow_up_decide(engine, &nameless, "ct", "a", MD_FOLLOW_UP_DECLINE, err));
    assert_ok(md_follow_up_decide(engine, &other, "ct", "a", MD_FOLLOW_UP_ACCEPT, err));
    got = wait_for(engine, 4); /* who has no Patient ID is not who else has none */
    assert_int_equal(got.n_proposals, 1);
    assert_int_equal(got.proposals[0].n_similar, 4);
    assert_int_equal(got.proposals[0].n_accepted, 3);
    assert_string_equal(got.proposals[0].reasons[0], "Opacity");
    assert_ok(md_follow_up_decide(engine, &other, "ct", "a", MD_FOLLOW_UP_WITHDRAW, err));
    wait_for(engine, 3);
    assert_int_equal(md_follow_up_decide(engine, &one, "mri", "a", MD_FOLLOW_UP_ACCEPT, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_follow_up_decide(engine, &one, NULL, "a", MD_FOLLOW_UP_ACCEPT, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_follow_up_decide(engine, &one, "ct", NULL, MD_FOLLOW_UP_ACCEPT, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_follow_up_decide(engine, &one, "ct", "b", MD_FOLLOW_UP_WITHDRAW, NULL),
                     MD_NOT_FOUND);
    size_t n = 0;
    assert_ok(md_follow_up_forget(engine, &one, &n, err));
    assert_int_equal(n, 1);
    wait_for(engine, 2);
    md_follow_up_stop(engine);
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM rating"), 2);
}

/* A table brings patients that the daemon knows by the same hash. */
static void test_import(void **state)
{
    fixture *f = *state;
    md_follow_up_engine *engine = start(f, 2);
    md_follow_up_import_outcome outcome;
    wait_for(engine, 0);
    import(engine, "patient,action,rating,SCT:7\nP1,ct,1,0.8\nP2,ct,1,0.8\nP1,none,0,\n", MD_OK,
           &outcome);
    assert_int_equal(outcome.n_decisions, 3);
    md_follow_up got = wait_for(engine, 2);
    assert_int_equal(got.n_proposals, 1);
    import(engine, "patient,action,rating\nP1,ct,1\nP2,ct,2\n", MD_FORMAT, &outcome);
    md_study one = analysed(f, engine, 1, "P1");
    assert_ok(md_follow_up_decide(engine, &one, "ct", "a", MD_FOLLOW_UP_DECLINE, err));
    assert_int_equal(text_number(f->database, "SELECT count(DISTINCT patient) FROM rating"), 2);
    /* what stands on the page is what JSON says */
    const md_conf *conf = shared_conf(2);
    json_t *json = json_object();
    assert_ok(md_follow_up_json_add(conf, f->store, one.key, json, err));
    const json_t *shown = json_object_get(json, "follow_up");
    assert_int_equal(json_array_size(json_object_get(shown, "decisions")), 3);
    assert_int_equal(json_array_size(json_object_get(shown, "choices")), 2);
    assert_int_equal(json_integer_value(json_object_get(shown, "generation")), 1);
    json_decref(json);
    json = json_object(); /* a study without any */
    assert_ok(md_follow_up_json_add(conf, f->store, "0000000000000000", json, err));
    assert_null(json_object_get(json, "follow_up"));
    json_decref(json);
    md_conf_drop(conf);
    import(engine, "patient,action,rating\nP1,,forget\n", MD_OK, &outcome);
    assert_int_equal(outcome.n_forgotten, 1);
    assert_int_equal(text_number(f->database, "SELECT count(*) FROM rating"), 1);
    /* more rows than go into one transaction */
    char *many = md_malloc(1 << 17);
    size_t used = (size_t)snprintf(many, 64, "patient,action,rating\n");
    for (int i = 0; i < 3000; i++) {
        used += (size_t)snprintf(many + used, 32, "Q%d,ct,%d\n", i, i % 2);
    }
    import(engine, many, MD_OK, &outcome);
    md_free(many);
    assert_int_equal(outcome.n_decisions, 3000);
    wait_for(engine, 3001);
    md_follow_up_stop(engine);
}

static void test_without_actions(void **state)
{
    fixture *f = *state;
    md_follow_up_engine *engine = start(f, 0);
    md_analysis analysis = {0};
    md_follow_up got = {.there = true};
    static md_follow_up_kept kept;
    md_follow_up_propose(engine, "1.2", &analysis, &got);
    assert_false(got.there);
    assert_int_equal(md_follow_up_keep(engine, "1.2", &analysis, &got, &kept, NULL),
                     MD_NOT_FOUND);
    md_follow_up_import_outcome outcome;
    import(engine, "patient,action,rating\n", MD_INVALID_ARG, &outcome);
    /* then there are some */
    const md_conf *conf = shared_conf(2);
    md_follow_up_reload(engine, conf);
    md_conf_drop(conf);
    wait_for(engine, 0);
    md_follow_up_stop(engine);
    /* no engine at all */
    md_study study = {0};
    size_t n = 0;
    got.there = true;
    md_follow_up_propose(NULL, "1.2", &analysis, &got);
    assert_false(got.there);
    assert_int_equal(md_follow_up_decide(NULL, &study, "ct", "a", MD_FOLLOW_UP_ACCEPT, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_follow_up_forget(NULL, &study, &n, NULL), MD_INVALID_ARG);
    import(NULL, "x\n", MD_INVALID_ARG, &outcome);
    md_follow_up_reload(NULL, NULL);
    md_follow_up_stop(NULL);
}

typedef struct asker {
    md_follow_up_engine *engine;
    unsigned n_answers;
} asker;

static void *ask_often(void *context)
{
    asker *a = context;
    md_features features = opacity();
    for (int i = 0; i < 300; i++) {
        md_follow_up f;
        md_follow_up_propose_for(a->engine, "1.2.3", "P-NEW", "", &features, &f);
        a->n_answers += f.there;
    }
    return NULL;
}

/* Questions, decisions and reading side by side. */
static void test_threads(void **state)
{
    fixture *f = *state;
    md_follow_up_engine *engine = start(f, 2);
    wait_for(engine, 0);
    md_study one = analysed(f, engine, 1, "P1");
    asker askers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        askers[i] = (asker){.engine = engine};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        char reader[16];
        snprintf(reader, sizeof reader, "reader-%d", i);
        assert_ok(md_follow_up_decide(engine, &one, i % 2 == 0 ? "ct" : "none", reader,
                                      MD_FOLLOW_UP_ACCEPT, err));
        const md_conf *conf = shared_conf(2);
        md_follow_up_reload(engine, conf); /* the record is read at once */
        md_conf_drop(conf);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(askers[i].n_answers, 300);
    }
    wait_for(engine, 1);
    md_follow_up_stop(engine);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {TEST(test_decisions), TEST(test_import),
                                       TEST(test_without_actions), TEST(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
