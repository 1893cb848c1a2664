#include "daemon/rules/plan.h"
#include "daemon/rules/rules.h"
#include "daemon/rules/tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static md_status load(const char *text, md_conf *ret_conf, md_error *err)
{
    char path[] = "/tmp/medaid-rules-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    md_status status = md_conf_load(path, ret_conf, err);
    unlink(path);
    return status;
}

#define DESTINATIONS                                                                           \
    "destinations:\n  - {name: pacs, ae_title: P, host: h}\n"                                  \
    "  - {name: er, ae_title: E, host: h, results: sr}\n"

enum {
    PACS,
    ER
};

static md_tag_set film(const char *description)
{
    md_tag_set set = {.n_instances = 1, .source_ae = "ER_XRAY", .called_ae = "MEDAID"};
    snprintf(set.tags, sizeof set.tags,
             "00080060=DX\n00080008=ORIGINAL\\PRIMARY\n00280010=2048\n00081030=%s\n"
             "00400275/00400007=Thorax stat\n",
             description);
    return set;
}

static md_store_finding finding(const char *key, md_store_presence presence, double score)
{
    md_store_finding made = {.presence = presence, .score = score, .threshold = 0.5};
    snprintf(made.key, sizeof made.key, "%s", key);
    snprintf(made.model_id, sizeof made.model_id, "chest");
    snprintf(made.code, sizeof made.code, "233604007");
    snprintf(made.scheme, sizeof made.scheme, "SCT");
    return made;
}

/* Each condition and whether it holds for a film at noon of a Wednesday. */
static void test_conditions(void **state)
{
    static const struct {
        const char *when;
        bool holds;
    } rows[] = {
        {"{tag: Modality, eq: DX}", true},
        {"{tag: Modality, eq: D}", false},
        {"{tag: \"0008,0060\", in: [CR, DX]}", true},
        {"{tag: Modality, in: [CT, MR]}", false},
        {"{tag: ImageType, eq: PRIMARY}", true}, /* one of several values */
        {"{tag: Rows, range: [512, 2048]}", true},
        {"{tag: Rows, range: [2049, 4096]}", false},
        {"{tag: Modality, range: [0, 9]}", false}, /* no number */
        {"{tag: PatientAge, exists: true}", false},
        {"{tag: PatientAge, exists: false}", true},
        {"{tag: Modality, exists: true}", true},
        {"{tag: PatientAge, eq: DX}", false},
        {"{tag: StudyDescription, regex: '(?i)^thorax\\b'}", true},
        {"{tag: StudyDescription, regex: '^horax'}", false},
        {"{tag: RequestAttributesSequence/ScheduledProcedureStepDescription, regex: stat}",
         true},
        {"{source_ae: [CT, ER_XRAY]}", true},
        {"{source_ae: [ER]}", false},
        {"{called_ae: [MEDAID]}", true},
        {"{called_ae: [OTHER]}", true},
        {"{called_ae: [MED]}", false},
        {"{time: \"08:00-12:01\"}", true},
        {"{time: \"08:00-12:00\"}", false}, /* the end is not included */
        {"{time: \"22:00-12:30\"}", true},  /* over midnight */
        {"{time: \"22:00-06:00\"}", false},
        {"{weekday: [tue, wed]}", true},
        {"{weekday: [sat, sun]}", false},
        {"{finding: {key: pneumonia, presence: present}}", true},
        {"{finding: {key: pneumonia, presence: absent}}", false},
        {"{finding: {model: chest, score_at_least: 0.7, score_at_most: 0.9}}", true},
        {"{finding: {key: pneumonia, score_at_least: 0.81}}", false},
        {"{finding: {key: nodule, score_at_least: 0.7}}", false}, /* both of one finding */
        {"{finding: {code: \"233604007\", scheme: SCT}}", true},
        {"{finding: {model: other}}", false},
        {"{findings: {any_of: [{key: nodule, presence: present}, {key: pneumonia}]}}", true},
        {"{findings: {none_of: [{key: nodule, presence: present}]}}", true},
        {"{findings: {none_of: [{key: pneumonia, presence: present}]}}", false},
        {"{findings: {all_of: [{key: pneumonia}, {key: nodule}]}}", true},
        {"{all: [{tag: Modality, eq: DX}, {source_ae: [ER_XRAY]}]}", true},
        {"{all: [{tag: Modality, eq: DX}, {source_ae: [CT]}]}", false},
        {"{any: [{tag: Modality, eq: CT}, {source_ae: [ER_XRAY]}]}", true},
        {"{any: [{tag: Modality, eq: CT}, {source_ae: [CT]}]}", false},
        {"{not: {tag: Modality, eq: CT}}", true},
        {"{not: {all: [{tag: Modality, eq: DX}, {not: {weekday: [sun]}}]}}", false},
        {"{tag: Modality, eq: DX, source_ae: [CT]}", false}, /* all keys of one condition */
    };
    (void)state;
    const md_tag_set set = film("Thorax p.a.");
    const md_store_finding found[] = {finding("pneumonia", MD_STORE_PRESENT, 0.8),
                                      finding("nodule", MD_STORE_ABSENT, 0.1)};
    const md_rule_facts facts = {.sets = &set,
                                 .n_sets = 1,
                                 .called = "MEDAID\\OTHER",
                                 .findings = found,
                                 .n_findings = 2,
                                 .complete_ms = INT64_C(1767787200000)}; /* 2026-01-07 12:00 */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        md_conf conf;
        md_error err = {0};
        snprintf(text, sizeof text, "rules:\n  - name: r\n    when: %s\n", rows[i].when);
        if (load(text, &conf, &err) != MD_OK) {
            fail_msg("%s: %s", rows[i].when, err.msg);
        }
        if (md_rule_matches(&conf.rules[0], &facts) != rows[i].holds) {
            fail_msg("%s: expected %d", rows[i].when, rows[i].holds);
        }
        md_conf_finish(&conf);
    }
}

/* Every mistake is told with its line. */
static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"rules:\n  - name: a\n  - name: a\n", ":3: rule 'a': an earlier rule"},
        {"rules:\n  - name: a\n    when: {tag: Modaliti, eq: CT}\n", ":3: "},
        {"rules:\n  - name: a\n    when: {tag: \"7fe0,0010\", exists: true}\n", ":3: "},
        {"rules:\n  - name: a\n    when: {tag: Modality}\n", "without eq"},
        {"rules:\n  - name: a\n    when: {eq: CT}\n", "without `tag`"},
        {"rules:\n  - name: a\n    when: {}\n", "asks for nothing"},
        {"rules:\n  - name: a\n    when:\n      all:\n        - {tag: Rows, range: [2, 1]}\n",
         ":5: rule 'a': range"},
        {"rules:\n  - name: a\n    when:\n      all:\n"
         "        - {tag: Modality, regex: \"(\"}\n",
         ":5: rule 'a': regex: "},
        {"rules:\n  - name: a\n    when: {time: 8-12}\n", "a time of day"},
        {"rules:\n  - name: a\n    when: {weekday: [Sunday]}\n", "sun, mon"},
        {"rules:\n  - name: a\n    then: {destinations: [{name: pcas}]}\n",
         ":3: rule 'a': 'pcas' is not the name of a destination"},
        {"rules:\n  - name: a\n    then: {notify: [nobody]}\n",
         ":2: rule 'a': 'nobody' is not the name of a notifier"},
        {"rules:\n  - name: a\n    when: {finding: {key: k}}\n    then: {models: [m]}\n",
         "after they have run"},
        {DESTINATIONS "rules:\n  - name: a\n    when: {finding: {key: k}}\n"
                      "    then: {destinations: [{name: er, originals: before}]}\n",
         "known after the analysis"},
        {"rules:\n  - name: a\n    then: {ups_label: X}\n", "without ups"},
        {"rules:\n  - name: a\n    when: {finding: {score_at_least: 0.5, score_at_most: "
         "0.4}}\n",
         "is above"},
        {"rules_mode: some\n", "first or all"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_conf conf;
        md_error err = {0};
        md_status status = load(rows[i].text, &conf, &err);
        if (status != MD_FORMAT || strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu: %s, \"%s\"", i, md_status_name(status), err.msg);
        }
    }
}

/* A pattern that would take years on a text that was made for it ends, without a match. */
static void test_hostile_regex(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    char bait[200];
    memset(bait, 'a', 120);
    snprintf(bait + 120, sizeof bait - 120, "!");
    enum {
        N = 256
    };
    md_tag_set *sets = calloc(N, sizeof *sets);
    for (size_t i = 0; i < N; i++) {
        sets[i] = film(bait);
    }
    assert_int_equal(load("rules:\n  - name: r\n    when: {tag: StudyDescription,"
                          " regex: '^(a+)+$'}\n  - name: deep\n"
                          "    when: {tag: StudyDescription, regex: '^((a|b)*c)*$'}\n",
                          &conf, &err),
                     MD_OK);
    const md_rule_facts facts = {.sets = sets, .n_sets = N, .called = ""};
    assert_false(md_rule_matches(&conf.rules[0], &facts));
    assert_false(md_rule_matches(&conf.rules[1], &facts));
    md_conf_finish(&conf);
    free(sets);
}

static void count_steps(void *context, const md_rule_step *step)
{
    unsigned *n = context;
    n[step->holds]++;
    assert_true(step->wanted[0] != '\0' && step->found[0] != '\0');
}

static void test_explain(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    unsigned n[2] = {0};
    const md_tag_set sets[] = {film("Hand"), film("Thorax")};
    const md_rule_facts facts = {.sets = sets, .n_sets = 2, .called = "MEDAID"};
    assert_int_equal(load("rules:\n  - name: r\n    when: {all: [{tag: Modality, eq: DX},"
                          " {tag: StudyDescription, eq: Thorax}, {source_ae: [ER_XRAY]}]}\n"
                          "  - name: s\n    when: {any: [{source_ae: [A]}, {weekday: [sun]}],"
                          " tag: Modality, eq: CT}\n",
                          &conf, &err),
                     MD_OK);
    assert_true(md_rule_explain(&conf.rules[0], &facts, count_steps, n)); /* the second film */
    assert_int_equal(n[true], 4);
    assert_int_equal(n[false], 0);
    n[true] = 0;
    assert_false(md_rule_explain(&conf.rules[1], &facts, count_steps, n));
    assert_true(n[false] >= 2);
    md_conf_finish(&conf);
}

#define RULES                                                                                  \
    DESTINATIONS                                                                               \
    "rules:\n"                                                                                 \
    "  - name: urgent\n"                                                                       \
    "    when: {finding: {key: pneumonia, presence: present}}\n"                               \
    "    then: {priority: HIGH, destinations: [{name: er, results: both}], ups: true,"         \
    " ups_label: NOW}\n"                                                                       \
    "  - name: night\n"                                                                        \
    "    when: {source_ae: [ER_XRAY]}\n"                                                       \
    "    then: {priority: LOW, models: [chest, none],"                                         \
    " destinations: [{name: pacs, results: sr, originals: before}]}\n"                         \
    "  - name: rest\n"                                                                         \
    "    then: {priority: MEDIUM}\n"

static void test_phases(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    md_plan plan;
    const md_tag_set set = film("Thorax");
    const md_store_finding sick = finding("pneumonia", MD_STORE_PRESENT, 0.8);
    const md_store_finding well = finding("pneumonia", MD_STORE_ABSENT, 0.1);
    md_rule_facts facts = {.sets = &set, .n_sets = 1, .called = "MEDAID"};
    assert_int_equal(load(RULES, &conf, &err), MD_OK);
    const md_policy policy = {.conf = &conf};
    /* complete: the rule that asks for a finding is passed over */
    md_plan_make(&policy, &facts, &plan);
    assert_int_equal(plan.n_rules, 1);
    assert_string_equal(plan.rules[0]->name, "night");
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_LOW);
    assert_true(plan.analyse && plan.some_models && plan.n_models == 2);
    assert_true(md_plan_wants_originals(&conf, &plan, MD_ORIGINALS_BEFORE, PACS));
    assert_false(md_plan_wants_originals(&conf, &plan, MD_ORIGINALS_BEFORE, ER));
    /* analysed: in order, with all */
    facts.findings = &sick;
    facts.n_findings = 1;
    md_plan_conclude(&policy, &facts, &plan);
    assert_string_equal(plan.rules[0]->name, "urgent");
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_HIGH);
    assert_true(plan.ups);
    assert_string_equal(plan.ups_label, "NOW");
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_PICTURE, ER));
    assert_false(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, PACS));
    facts.findings = &well;
    md_plan_conclude(&policy, &facts, &plan);
    assert_string_equal(plan.rules[0]->name, "night");
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, PACS));
    assert_false(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_PICTURE, PACS));
    assert_false(plan.ups);
    /* all: they add up, the highest priority counts */
    conf.rules_mode = MD_RULES_ALL;
    facts.findings = &sick;
    md_plan_conclude(&policy, &facts, &plan);
    assert_int_equal(plan.n_rules, 3);
    assert_int_equal(plan.priority, MD_CONF_PRIORITY_HIGH);
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, PACS));
    assert_true(md_plan_wants_result(&conf, &plan, "chest", MD_OBJECT_SR, ER));
    md_conf_finish(&conf);
}

/* The header walk reads what rules name, and no more. */
static void test_wanted(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    md_wanted wanted;
    assert_int_equal(
        load("rules:\n  - name: r\n    when: {any: [{tag: StudyDescription, eq: x},"
             " {not: {tag: \"0040,0275/0040,0007\", exists: true}},"
             " {tag: Modality, eq: DX}]}\n",
             &conf, &err),
        MD_OK);
    md_tags_wanted(&conf, &wanted);
    assert_int_equal(wanted.n, 9); /* seven for the views, of which one is named again */
    assert_int_equal(wanted.tags[7].tag, 0x00081030);
    assert_int_equal(wanted.tags[8].sequence, 0x00400275);
    assert_int_equal(wanted.tags[8].tag, 0x00400007);
    md_conf_finish(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),    cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_hostile_regex), cmocka_unit_test(test_explain),
        cmocka_unit_test(test_phases),        cmocka_unit_test(test_wanted),
    };
    setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
