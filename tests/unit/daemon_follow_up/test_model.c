/* From decisions on record to proposals: who is similar, why, and when it says nothing. */

#include "daemon/follow_up/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

enum {
    N_ACTIONS = 3
};
static md_conf_action actions[N_ACTIONS] = {
    {.key = "ct", .code = "1", .scheme = "SCT", .meaning = "A CT"},
    {.key = "film", .code = "2", .scheme = "99X", .meaning = "A film"},
    {.key = "none", .code = "3", .scheme = "99X", .meaning = "Nothing"}};

static md_conf conf_of(void)
{
    md_conf conf = {.follow_up = {.actions = actions,
                                  .n_actions = N_ACTIONS,
                                  .min_support = 3,
                                  .n_neighbours = 40,
                                  .shrinkage = 10,
                                  .min_score = 0.5,
                                  .n_show = 3}};
    return conf;
}

static void add(md_follow_up_model *m, int patient, const char *action, double value,
                const char *features)
{
    char key[MD_FOLLOW_UP_PATIENT_BYTES];
    snprintf(key, sizeof key, "%016d", patient);
    const md_follow_up_row row = {key, action, features, value};
    assert_int_equal(md_follow_up_model_add(m, &row, NULL), MD_OK);
}

/* Ten with an opacity got a CT and ten with nothing nothing; patient 0, 2, ... and 1, 3, ... */
static md_follow_up_model *some(const md_conf *conf)
{
    md_follow_up_model *m = NULL;
    assert_int_equal(md_follow_up_model_create(conf, &m, NULL), MD_OK);
    for (int i = 0; i < 20; i++) {
        bool ill = i % 2 == 0;
        const char *features = ill ? "0.9 SCT:7\n0.6 SCT:8\n" : "1.0 none\n";
        add(m, i, "ct", ill ? 1 : 0, features);
        add(m, i, "film", 0, features); /* changed his mind: */
        add(m, i, "film", ill && i < 4 ? 1 : 0, features);
        add(m, i, "gone", 1, features); /* no longer in the configuration */
        add(m, i, "none", ill ? 0 : 1, features);
    }
    assert_int_equal(md_follow_up_model_finish(m, NULL), MD_OK);
    return m;
}

static void test_proposals(void **state)
{
    (void)state;
    md_conf conf = conf_of();
    md_follow_up_model *m = some(&conf);
    md_follow_up_size size = md_follow_up_model_size(m);
    assert_int_equal(size.n_patients, 20);
    assert_int_equal(size.n_ratings, 60);
    assert_int_equal(size.n_features, 3);
    md_features features = {0};
    md_follow_up f;
    assert_true(md_features_add(&features, "SCT:7", "Opacity", 0.8F));
    assert_true(md_features_add(&features, "SCT:99", "Never seen", 1.0F));
    assert_int_equal(md_follow_up_model_ask(m, "ffffffffffffffff", &features, &f, NULL), MD_OK);
    assert_true(f.there);
    assert_int_equal(f.n_actions, N_ACTIONS);
    assert_int_equal(f.n_patients, 20);
    assert_int_equal(f.n_proposals, 1);
    assert_int_equal(f.n_below, 2);
    assert_int_equal(f.n_abstained, 0);
    assert_string_equal(f.why_none, "");
    const md_follow_up_proposal *p = &f.proposals[0];
    assert_string_equal(p->key, "ct");
    assert_string_equal(p->action.value, "1");
    assert_string_equal(p->action.meaning, "A CT");
    assert_int_equal(p->n_similar, 10);
    assert_int_equal(p->n_accepted, 10);
    assert_int_equal(p->basis, MD_FOLLOW_UP_FINDINGS);
    assert_int_equal(p->n_reasons, 1);
    assert_string_equal(p->reasons[0], "Opacity");
    assert_near(p->score, 1.0, 1e-6);
    /* one who is on record, with the same findings: he is no neighbour of himself */
    assert_int_equal(md_follow_up_model_ask(m, "0000000000000000", &features, &f, NULL), MD_OK);
    assert_string_equal(f.proposals[0].key, "ct");
    assert_int_equal(f.proposals[0].n_similar, 9);
    assert_int_equal(f.proposals[0].basis, MD_FOLLOW_UP_BOTH);
    md_follow_up_model_destroy(m);
}

/* Every way to say nothing has its reason. */
static void test_abstains(void **state)
{
    (void)state;
    md_conf conf = conf_of();
    md_features nobody = {0}, stranger = {0}, well = {0};
    md_follow_up f;
    assert_true(md_features_add(&stranger, "SCT:99", "Never seen", 1.0F));
    assert_true(md_features_add(&well, MD_FEATURE_NOTHING, "no finding", 1.0F));
    md_follow_up_model *m = NULL;
    assert_int_equal(md_follow_up_model_create(&conf, &m, NULL), MD_OK);
    assert_int_equal(md_follow_up_model_finish(m, NULL), MD_OK);
    assert_int_equal(md_follow_up_model_ask(m, "a", &well, &f, NULL), MD_OK);
    assert_int_equal(f.n_proposals, 0);
    assert_int_equal(f.n_abstained, N_ACTIONS);
    assert_non_null(strstr(f.why_none, "no decision is on record"));
    md_follow_up_model_destroy(m);

    m = some(&conf);
    assert_int_equal(md_follow_up_model_ask(m, "a", &nobody, &f, NULL), MD_OK);
    assert_non_null(strstr(f.why_none, "nothing is known"));
    assert_int_equal(md_follow_up_model_ask(m, "a", &stranger, &f, NULL), MD_OK);
    assert_non_null(strstr(f.why_none, "nothing is known"));
    md_follow_up_model_destroy(m);

    conf.follow_up.min_support = 11;
    m = some(&conf);
    assert_int_equal(md_follow_up_model_ask(m, "a", &well, &f, NULL), MD_OK);
    assert_int_equal(f.n_abstained, N_ACTIONS);
    assert_non_null(strstr(f.why_none, "fewer than 11 similar patients"));
    md_follow_up_model_destroy(m);

    conf = conf_of();
    conf.follow_up.min_score = 1.0;
    m = some(&conf);
    assert_true(md_features_add(&well, "SCT:7", "Opacity", 0.9F)); /* like both, so torn */
    assert_int_equal(md_follow_up_model_ask(m, "a", &well, &f, NULL), MD_OK);
    assert_int_equal(f.n_proposals, 0);
    assert_int_equal(f.n_below, N_ACTIONS);
    assert_non_null(strstr(f.why_none, "rather accepted"));
    md_follow_up_model_destroy(m);

    conf.follow_up.n_actions = 0;
    assert_int_equal(md_follow_up_model_create(&conf, &m, NULL), MD_OK);
    assert_int_equal(md_follow_up_model_finish(m, NULL), MD_OK);
    assert_int_equal(md_follow_up_model_ask(m, "a", &well, &f, NULL), MD_OK);
    assert_int_equal(f.n_proposals, 0);
    md_follow_up_model_destroy(m);
}

static void test_bounds(void **state)
{
    (void)state;
    md_conf conf = conf_of();
    md_follow_up_model *m = NULL;
    assert_int_equal(md_follow_up_model_create(&conf, &m, NULL), MD_OK);
    add(m, 5, "ct", 1, "");
    add(m, 5, "ct", 7, "");  /* no value */
    add(m, 5, "ct", -1, ""); /* likewise */
    const md_follow_up_row before = {"0000000000000004", "ct", "", 1};
    assert_int_equal(md_follow_up_model_add(m, &before, NULL), MD_INVALID_ARG);
    /* more names than there are columns: those that most have */
    char text[MD_FEATURES_TEXT_BYTES];
    for (int i = 6; i < 120; i++) {
        snprintf(text, sizeof text, "0.5 SCT:common\n0.5 SCT:%d\n", i);
        add(m, i, "ct", 1, text);
    }
    assert_int_equal(md_follow_up_model_finish(m, NULL), MD_OK);
    md_follow_up_size size = md_follow_up_model_size(m);
    assert_int_equal(size.n_features, MD_FOLLOW_UP_MAX_FEATURES);
    assert_int_equal(size.n_patients, 115);
    assert_int_equal(size.n_ratings, 115);
    md_features features = {0};
    md_follow_up f;
    assert_true(md_features_add(&features, "SCT:common", "", 0.5F));
    assert_int_equal(md_follow_up_model_ask(m, "a", &features, &f, NULL), MD_OK);
    assert_int_equal(f.n_proposals, 1);
    assert_string_equal(f.proposals[0].reasons[0], "SCT:common"); /* without a meaning */
    assert_int_equal(f.proposals[0].n_similar, 40);
    md_follow_up_model_destroy(m);
}

static md_status build(void)
{
    md_conf conf = conf_of();
    MD_AUTO(md_follow_up_model_destroyp) md_follow_up_model *m = NULL;
    md_features features = {0};
    md_follow_up f;
    MD_TRY(md_follow_up_model_create(&conf, &m, NULL));
    for (int i = 0; i < 8; i++) {
        char key[MD_FOLLOW_UP_PATIENT_BYTES];
        snprintf(key, sizeof key, "%016d", i);
        const md_follow_up_row row = {key, "ct", "0.5 SCT:7\n", 1};
        MD_TRY(md_follow_up_model_add(m, &row, NULL));
    }
    MD_TRY(md_follow_up_model_finish(m, NULL));
    assert_true(md_features_add(&features, "SCT:7", "", 0.5F));
    return md_follow_up_model_ask(m, "a", &features, &f, NULL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_status status = MD_NOMEM;
    size_t nth = 0;
    while (status != MD_OK) {
        md_memory_fail_at(++nth);
        status = build();
        assert_true(status == MD_OK || status == MD_NOMEM);
    }
    md_memory_fail_at(0);
    assert_true(nth > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proposals), cmocka_unit_test(test_abstains),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
