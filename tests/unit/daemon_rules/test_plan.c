#include "daemon/rules/plan.h"
#include "daemon/rules/tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A configuration from text. */
static void load(const char *text, md_conf *ret_conf)
{
    char path[] = "/tmp/medaid-rules-XXXXXX";
    md_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    md_status status = md_conf_load(path, ret_conf, &err);
    unlink(path);
    if (status != MD_OK) {
        fail_msg("%s", err.msg);
    }
}

static md_tag_set image(const char *modality, const char *body_part, const char *view,
                        unsigned n)
{
    md_tag_set set = {.n_instances = n, .source_ae = "MOD", .called_ae = "MEDAID"};
    snprintf(set.tags, sizeof set.tags, "00080060=%s\n00180015=%s\n00185101=%s\n", modality,
             body_part, view);
    return set;
}

static void put(md_wanted_value *value, const char *vr, const void *bytes, size_t n)
{
    value->is_there = true;
    snprintf(value->vr, sizeof value->vr, "%s", vr);
    memcpy(value->bytes, bytes, n);
    value->n_bytes = (uint16_t)n;
}

static void test_tags(void **state)
{
    (void)state;
    static const uint8_t rows[] = {0x01, 0x02, 0xff, 0xff};
    md_wanted wanted = {.tags = {{0, 0x00080060},
                                 {0, 0x00081030},
                                 {0x00540220, 0x00080100},
                                 {0, 0x00280010},
                                 {0, 0x00080008},
                                 {0, 0x00100010}},
                        .n = 6};
    md_identity identity = {0};
    char tags[MD_STORE_TAGS_BYTES];
    char value[MD_TAG_VALUE_BYTES];
    put(&identity.charset, "CS", "ISO_IR 100", 10);
    put(&identity.values[0], "CS", "DX", 2);
    put(&identity.values[1], "LO",
        "Thorax \xfc"
        "ber\n00080060=CT",
        23);
    put(&identity.values[2], "", "399348003 ", 10);
    put(&identity.values[3], "US", rows, 4);
    put(&identity.values[4], "CS", "DERIVED\\PRIMARY ", 16);
    md_tags_write(&wanted, &identity, tags);
    assert_string_equal(tags, "00080060=DX\n00081030=Thorax \xc3\xbc"
                              "ber 00080060=CT\n"
                              "00540220/00080100=399348003\n00280010=513\\65535\n"
                              "00080008=DERIVED\\PRIMARY\n");
    assert_true(md_tags_find(tags, 0, 0x00080060, value));
    assert_string_equal(value, "DX"); /* and not what a line break in a text tells */
    assert_true(md_tags_find(tags, 0x00540220, 0x00080100, value));
    assert_string_equal(value, "399348003");
    assert_false(md_tags_find(tags, 0, 0x00080100, value));
    assert_false(md_tags_find(tags, 0, 0x00100010, value));
    assert_string_equal(value, "");
    put(&identity.values[3], "SS", rows + 2, 2);
    identity.values[3].is_big_endian = true;
    md_tags_write(&wanted, &identity, tags);
    assert_true(md_tags_find(tags, 0, 0x00280010, value));
    assert_string_equal(value, "-1");
    /* what has no room is left out whole */
    memset(identity.values[1].bytes, '\xfc', MD_IDENTITY_VALUE_BYTES);
    identity.values[1].n_bytes = MD_IDENTITY_VALUE_BYTES;
    for (unsigned i = 1; i < MD_IDENTITY_MAX_WANTED; i++) {
        identity.values[i] = identity.values[1];
        wanted.tags[i] = (md_wanted_tag){0, 0x00090000 + i};
    }
    wanted.n = MD_IDENTITY_MAX_WANTED;
    md_tags_write(&wanted, &identity, tags);
    assert_int_equal(tags[strlen(tags) - 1], '\n');
}

static void test_views(void **state)
{
    (void)state;
    md_required chest = {.modality = {"CR", "DX"},
                         .n_modality = 2,
                         .body_part = {"CHEST"},
                         .n_body_part = 1,
                         .views = {"PA", "LL/RL"},
                         .n_views = 2};
    const md_tag_set pa = image("DX", "CHEST", "PA", 1);
    const md_tag_set rl = image("CR", "CHEST", "RL", 1);
    const md_tag_set hand = image("DX", "HAND", "RL", 1);
    const md_tag_set ct = image("CT", "CHEST", "", 400);
    char missing[MD_VIEWS_MISSING_BYTES];
    assert_true(md_views_there(&chest, NULL, 0, missing));
    assert_true(md_views_there(&chest, &ct, 1, missing)); /* another kind of study */
    assert_false(md_views_there(&chest, &pa, 1, missing));
    assert_string_equal(missing, "a view: LL/RL");
    assert_false(md_views_there(&chest, (md_tag_set[]){pa, hand, ct}, 3, missing));
    assert_false(md_views_there(&chest, &rl, 1, missing));
    assert_string_equal(missing, "a view: PA");
    assert_true(md_views_there(&chest, (md_tag_set[]){pa, hand, rl}, 3, missing));
    assert_string_equal(missing, "");
    chest.count = 3;
    assert_false(md_views_there(&chest, (md_tag_set[]){pa, hand, rl}, 3, missing));
    assert_string_equal(missing, "images: 2 of 3 came");
    /* a part of a view is not the view, nor no view at all */
    chest.count = 0;
    assert_false(
        md_views_there(&chest, (md_tag_set[]){pa, image("DX", "CHEST", "L", 1)}, 2, missing));
    assert_false(
        md_views_there(&chest, (md_tag_set[]){pa, image("DX", "CHEST", "", 1)}, 2, missing));
    /* codes stand for words */
    md_tag_set coded = {.n_instances = 1};
    snprintf(coded.tags, sizeof coded.tags,
             "00080060=DX\n00082218/00080100=51185008\n00082218/00080102=SCT\n"
             "00540220/00080100=272479007\n00540220/00080102=SCT\n");
    assert_true(md_views_there(&chest, (md_tag_set[]){coded, rl}, 2, missing));
    /* an image that does not say its body part */
    assert_true(md_views_there(&chest, (md_tag_set[]){image("DX", "", "AP", 1)}, 1, missing));
    chest.accepts_no_body_part = true;
    assert_false(md_views_there(&chest, (md_tag_set[]){image("DX", "", "AP", 1)}, 1, missing));
}

#define TITLES                                                                                 \
    "ae:\n  title: MAIN\n  titles:\n"                                                          \
    "    - {title: ER, priority: HIGH, models: [chest], destinations: [er], quiet_ms: 500,\n"  \
    "       deadline_s: 60}\n"                                                                 \
    "    - {title: ARCHIVE, analyse: false, priority: LOW, destinations: [archive]}\n"         \
    "    - {title: HAND, models: [hand], destinations: [er, archive], required_missing: "      \
    "fail,\n"                                                                                  \
    "       required: [{modality: [DX], count: 2}]}\n"                                         \
    "destinations:\n"                                                                          \
    "  - {name: er, ae_title: ER, host: h}\n"                                                  \
    "  - {name: archive, ae_title: AR, host: h}\n"                                             \
    "  - {name: pacs, ae_title: PA, host: h}\n"

static void plan_of(const md_policy *policy, const char *called, const md_tag_set *film,
                    md_plan *ret_plan)
{
    const md_rule_facts facts = {.sets = film, .n_sets = 1, .called = called};
    md_plan_make(policy, &facts, ret_plan);
}

enum {
    ER,
    ARCHIVE,
    PACS
};

static void test_titles(void **state)
{
    (void)state;
    md_conf conf;
    load(TITLES, &conf);
    const md_policy policy = {.conf = &conf};
    md_plan plan;
    md_timing timing;
    const md_tag_set film = image("DX", "CHEST", "PA", 1);

    plan_of(&policy, "MAIN", &film, &plan);
    assert_true(plan.analyse && !plan.some_models);
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_MEDIUM);
    for (unsigned i = 0; i < conf.n_destinations; i++) {
        assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, i));
        assert_true(md_plan_wants_originals(&conf, &plan, MD_ORIGINALS_NO, i));
        assert_false(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_MAP, i));
        conf.destinations[i].parametric_map = true;
        assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_MAP, i));
        conf.destinations[i].parametric_map = false;
    }
    assert_true(md_plan_is_kind(MD_RESULTS_SR, true, MD_OBJECT_MAP));
    assert_false(md_plan_is_kind(MD_RESULTS_NONE, true, MD_OBJECT_MAP));
    assert_false(md_plan_is_kind(MD_RESULTS_BOTH, false, MD_OBJECT_MAP));
    plan_of(&policy, "", &film, &plan); /* from before titles were known */
    assert_true(plan.analyse && !plan.some_models);

    plan_of(&policy, "ER", &film, &plan);
    assert_true(plan.analyse && plan.some_models && plan.n_models == 1);
    assert_string_equal(plan.models[0], "chest");
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_HIGH);
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, ER));
    assert_false(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, PACS));
    assert_false(md_plan_wants_result(&conf, &plan, "hand", MD_OBJECT_SR, ER));

    plan_of(&policy, "ARCHIVE", &film, &plan);
    assert_false(plan.analyse);
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_LOW);
    assert_true(md_plan_wants_originals(&conf, &plan, MD_ORIGINALS_NO, ARCHIVE));
    assert_false(md_plan_wants_originals(&conf, &plan, MD_ORIGINALS_NO, ER));
    assert_false(md_plan_wants_result(&conf, &plan, NULL, MD_OBJECT_SR, ARCHIVE));

    /* at several titles: each does what it would do alone */
    plan_of(&policy, "ARCHIVE\\ER\\HAND", &film, &plan);
    assert_true(plan.analyse && plan.some_models && plan.n_models == 2);
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_HIGH);
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, ER));
    assert_false(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, ARCHIVE));
    assert_true(md_plan_wants_result(&conf, &plan, "hand", MD_OBJECT_SR, ARCHIVE));
    assert_string_equal(plan.missing, "images: 1 of 2 came");
    assert_false(plan.fail_missing); /* ER would analyse it */
    plan_of(&policy, "ARCHIVE\\HAND", &film, &plan);
    assert_true(plan.fail_missing);

    md_plan_timing(&policy, "ER", &timing);
    assert_int_equal(timing.quiet_ms, 500);
    assert_int_equal(timing.deadline_ms, 60000);
    assert_false(timing.asks_for_views);
    md_plan_timing(&policy, "ER\\ARCHIVE", &timing);
    assert_int_equal(timing.quiet_ms, conf.study.quiet_ms);
    assert_int_equal(timing.deadline_ms, (int64_t)conf.study.deadline_s * 1000);
    md_plan_timing(&policy, "HAND", &timing);
    assert_true(timing.asks_for_views);
    assert_int_equal(md_plan_shortest_ms(&conf), 500);
    md_conf_finish(&conf);
}

/* What a model requires counts where this model may run. */
static void test_model_requires(void **state)
{
    (void)state;
    md_conf conf;
    load(TITLES, &conf);
    const md_model_required model = {
        .model_id = "chest",
        .required = {.modality = {"DX"}, .n_modality = 1, .views = {"LL"}, .n_views = 1}};
    const md_policy policy = {.conf = &conf, .models = &model, .n_models = 1};
    const md_tag_set film = image("DX", "CHEST", "PA", 1);
    md_plan plan;
    md_timing timing;
    plan_of(&policy, "ER", &film, &plan);
    assert_string_equal(plan.missing, "a view: LL");
    md_plan_timing(&policy, "ER", &timing);
    assert_true(timing.asks_for_views);
    plan_of(&policy, "ARCHIVE", &film, &plan);
    assert_string_equal(plan.missing, "");
    md_plan_timing(&policy, "ARCHIVE", &timing);
    assert_false(timing.asks_for_views);
    plan_of(&policy, "MAIN", &film, &plan);
    assert_string_equal(plan.missing, "a view: LL");
    md_conf_finish(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_model_requires),
    };
    return cmocka_run_group_tests_name("rules-plan", tests, NULL, NULL);
}
