/* The workitem of a study: its priority, its life over generations, and that it comes and goes
 * with the transaction of the result. */

#include "office.h"

#include "daemon/ups/maker.h"

#define STUDY "1.2.3.50"

/* A result with one finding; md_analysis_finish is not for it. */
typedef struct made_analysis {
    md_analysis analysis;
    md_result result;
    md_instance_ref images[4];
    md_finding finding;
} made_analysis;

static void make_analysis(made_analysis *a, md_presence presence, size_t n_images)
{
    memset(a, 0, sizeof *a);
    snprintf(a->analysis.header.patient_name, MD_PERSON_BYTES, "M\xc3\xbcller^J\xc3\xb6rg");
    snprintf(a->analysis.header.patient_id, MD_TEXT_BYTES, "P1");
    snprintf(a->analysis.header.accession_number, 65, "A1");
    snprintf(a->result.model.id, MD_KEY_BYTES, "chest");
    snprintf(a->result.model.version, 17, "1.0.0");
    for (size_t i = 0; i < n_images; i++) {
        snprintf(a->images[i].sop_class_uid, MD_UID_BYTES, "1.2.840.10008.5.1.4.1.1.1.1");
        snprintf(a->images[i].sop_instance_uid, MD_UID_BYTES, "1.2.3.60.%zu", i / 2);
        snprintf(a->images[i].series_instance_uid, MD_UID_BYTES, "1.2.3.61");
        a->images[i].frame = (uint32_t)(i % 2 + 1);
    }
    a->finding.presence = presence;
    a->finding.score = 0.9;
    snprintf(a->finding.concept.meaning, MD_CODE_MEANING_BYTES, "Pneumonia");
    a->result.instances = a->images;
    a->result.n_instances = n_images;
    a->result.findings = &a->finding;
    a->result.n_findings = 1;
    a->analysis.results = &a->result;
    a->analysis.n_results = 1;
}

static void test_priority(void **state)
{
    static const struct {
        md_presence presence;
        md_result_status status;
        const char *failed;
        md_ups_priority expected;
    } rows[] = {
        {MD_PRESENCE_PRESENT, MD_RESULT_COMPLETE, NULL, MD_UPS_HIGH},
        {MD_PRESENCE_PRESENT, MD_RESULT_PARTIAL, NULL, MD_UPS_HIGH},
        {MD_PRESENCE_ABSENT, MD_RESULT_COMPLETE, NULL, MD_UPS_LOW},
        {MD_PRESENCE_ABSENT, MD_RESULT_PARTIAL, NULL, MD_UPS_MEDIUM},
        {MD_PRESENCE_UNDETERMINED, MD_RESULT_COMPLETE, NULL, MD_UPS_MEDIUM},
        {MD_PRESENCE_ABSENT, MD_RESULT_FAILED, "no", MD_UPS_MEDIUM},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_analysis a;
        make_analysis(&a, rows[i].presence, 1);
        a.result.status = rows[i].status;
        a.result.n_findings = rows[i].status != MD_RESULT_FAILED;
        assert_int_equal(md_ups_priority_of(&a.analysis, rows[i].failed), rows[i].expected);
    }
}

/* A result of more images than a workitem can name is on the list without them. */
static void test_too_many_images(void **state)
{
    office *o = *state;
    enum {
        N = 20000
    };
    made_analysis a;
    make_analysis(&a, MD_PRESENCE_PRESENT, 1);
    md_instance_ref *images = md_calloc(N, sizeof *images);
    assert_non_null(images);
    for (size_t i = 0; i < N; i++) {
        images[i] = a.images[0];
        snprintf(images[i].sop_instance_uid, MD_UID_BYTES, "1.2.3.60.%zu", i);
    }
    a.result.instances = images;
    a.result.n_instances = N;
    const md_study study = {.key = "0123456789abcdef", .study_uid = STUDY};
    const md_ups_result result = {
        .study = &study, .analysis = &a.analysis, .priority = MD_UPS_HIGH, .now_ms = 5000};
    md_ups_draft *draft = NULL;
    assert_ok(md_ups_make(&o->conf, o->store, &result, &draft, err));
    assert_non_null(draft);
    assert_int_equal(draft->write.priority, MD_UPS_HIGH);
    assert_true(draft->write.n > 0 && draft->write.n < 100000);
    md_ups_made_destroy(draft);
    md_free(images);
}

/* One image comes, and the study is claimed. */
static md_claim claim_study(office *o, unsigned n_image, int64_t at_ms, md_study *ret_study)
{
    char uid[MD_UID_BYTES];
    md_instance_outcome outcome;
    md_claim claim;
    snprintf(uid, sizeof uid, "1.2.3.60.%u", n_image);
    const md_instance_new image = {.study_uid = STUDY,
                                   .series_uid = "1.2.3.61",
                                   .sop_instance_uid = uid,
                                   .sop_class_uid = "1.2.840.10008.5.1.4.1.1.1.1",
                                   .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                                   .source_ae = "CR",
                                   .content_tag = {(uint8_t)n_image},
                                   .file = 100 + n_image,
                                   .size_bytes = 10,
                                   .received_ms = at_ms};
    assert_ok(md_store_add_instances(o->store, &image, 1, &outcome, err));
    assert_ok(md_store_study(o->store, outcome.study, ret_study, err));
    assert_ok(md_store_complete(o->store, ret_study, at_ms, err));
    assert_ok(md_store_claim(o->store, "test", at_ms, 60000, &claim, ret_study, err));
    return claim;
}

/* Finish the claimed study with its workitem. */
static md_status finish(office *o, const md_claim *claim, const md_study *study,
                        md_presence presence, unsigned n_report, int64_t now_ms)
{
    made_analysis a;
    char uid[MD_UID_BYTES];
    md_study_state state;
    md_ups_draft *draft = NULL;
    make_analysis(&a, presence, 4);
    snprintf(uid, sizeof uid, "1.2.3.70.%u", n_report);
    const md_object_new report = {.kind = "sr",
                                  .sop_instance_uid = uid,
                                  .sop_class_uid = "1.2.840.10008.5.1.4.1.1.88.34",
                                  .model_id = "chest",
                                  .series_instance_uid = "1.2.3.71",
                                  .file = 200 + n_report,
                                  .size_bytes = 10};
    const md_ups_result result = {.study = study,
                                  .analysis = &a.analysis,
                                  .priority = md_ups_priority_of(&a.analysis, NULL),
                                  .objects = &report,
                                  .n_objects = 1,
                                  .now_ms = now_ms};
    assert_ok(md_ups_make(&o->conf, o->store, &result, &draft, err));
    assert_non_null(draft);
    md_study_outcome outcome = {
        .objects = &report, .n_objects = 1, .workitem = &draft->write, .view = {.header = ""}};
    md_status status = md_store_finish(o->store, claim, &outcome, now_ms, &state, NULL);
    md_ups_made_destroy(draft);
    return status;
}

static size_t list(office *o, char (*ret_uids)[MD_UID_BYTES], const char *item_state)
{
    uint16_t status = 0;
    md_dataset *keys = dataset_with(MD_UPS_TAG_STUDY, STUDY);
    put(keys, MD_UPS_TAG_STATE, item_state);
    size_t n = find(o, keys, ret_uids, 4, 0, &status);
    md_dataset_destroy(keys);
    return n;
}

static bool names(office *o, const char *uid, const char *instance)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    md_dataset *answer = NULL;
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, uid, 0, NULL, &answer), 0);
    assert_ok(md_workitem_encode(answer, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &n, err));
    bool found = memmem(bytes, n, instance, strlen(instance)) != NULL;
    md_free(bytes);
    md_dataset_destroy(answer);
    return found;
}

static void test_life(void **state)
{
    office *o = *state;
    char uids[4][MD_UID_BYTES], again[4][MD_UID_BYTES], text[257];
    md_study study;
    md_claim claim = claim_study(o, 0, 1000, &study);
    /* a result that is void brings no item */
    const md_claim stale = {.study = claim.study, .token = claim.token + 1};
    assert_int_equal(finish(o, &stale, &study, MD_PRESENCE_ABSENT, 1, 2000), MD_CANCELLED);
    assert_int_equal(list(o, uids, ""), 0);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_ABSENT, 1, 2000), MD_OK);
    assert_int_equal(list(o, uids, "SCHEDULED"), 1);
    text_of(o, uids[0], MD_UPS_TAG_PRIORITY, text);
    assert_string_equal(text, "LOW");
    text_of(o, uids[0], MD_TAG(0x10, 0x10), text);
    assert_string_equal(text, "M\xc3\xbcller^J\xc3\xb6rg");
    text_of(o, uids[0], MD_UPS_TAG_START, text);
    assert_string_equal(text, "19700101000002.000000+0000");
    assert_true(names(o, uids[0], "1.2.3.60.0") && names(o, uids[0], "1.2.3.70.1"));
    /* the same item again with a late image, at its place in the list */
    claim = claim_study(o, 1, 3000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_PRESENT, 2, 4000), MD_OK);
    assert_int_equal(list(o, again, ""), 1);
    assert_string_equal(again[0], uids[0]);
    text_of(o, uids[0], MD_UPS_TAG_PRIORITY, text);
    assert_string_equal(text, "HIGH");
    text_of(o, uids[0], MD_UPS_TAG_START, text);
    assert_string_equal(text, "19700101000002.000000+0000");
    assert_true(names(o, uids[0], "1.2.3.70.2") && !names(o, uids[0], "1.2.3.70.1"));
    /* whoever has claimed it keeps its priority and what is set, and sees the new images */
    assert_int_equal(change_state(o, uids[0], "IN PROGRESS", TRANSACTION), 0);
    claim = claim_study(o, 2, 5000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_ABSENT, 3, 6000), MD_OK);
    assert_int_equal(list(o, again, "IN PROGRESS"), 1);
    text_of(o, uids[0], MD_UPS_TAG_PRIORITY, text);
    assert_string_equal(text, "HIGH");
    assert_true(names(o, uids[0], "1.2.3.70.3"));
    assert_int_equal(make_final(o, uids[0], TRANSACTION), 0);
    assert_int_equal(change_state(o, uids[0], "COMPLETED", TRANSACTION), 0);
    /* read, and then another image: somebody has to look again */
    claim = claim_study(o, 3, 7000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_PRESENT, 4, 8000), MD_OK);
    assert_int_equal(list(o, again, "SCHEDULED"), 1);
    assert_string_not_equal(again[0], uids[0]);
    assert_int_equal(list(o, again, ""), 2);
    /* the first is forgotten; what comes after the second has ended has a UID of its own */
    size_t n = 0;
    assert_ok(md_store_ups_retire(o->store, INT64_MAX, 10, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(list(o, uids, ""), 1);
    assert_int_equal(ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_PUSH, uids[0], 2, NULL, NULL), 0);
    claim = claim_study(o, 4, 9000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_PRESENT, 5, 10000), MD_OK);
    assert_int_equal(list(o, again, "SCHEDULED"), 1);
    assert_string_not_equal(again[0], uids[0]);
}

/* A reader changes the item between the draft and the end of the study: the draft is void, and
 * so is the end, until it is drafted again. */
static void test_race(void **state)
{
    office *o = *state;
    char uids[4][MD_UID_BYTES];
    made_analysis a;
    md_study study;
    md_study_state now;
    md_ups_draft *draft = NULL;
    md_claim claim = claim_study(o, 0, 1000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_ABSENT, 1, 2000), MD_OK);
    assert_int_equal(list(o, uids, ""), 1);
    claim = claim_study(o, 1, 3000, &study);
    make_analysis(&a, MD_PRESENCE_PRESENT, 2);
    const md_ups_result result = {
        .study = &study, .analysis = &a.analysis, .priority = MD_UPS_HIGH, .now_ms = 4000};
    assert_ok(md_ups_make(&o->conf, o->store, &result, &draft, err));
    assert_int_equal(change_state(o, uids[0], "IN PROGRESS", TRANSACTION), 0);
    md_study_outcome outcome = {.workitem = &draft->write, .view = {.header = ""}};
    assert_int_equal(md_store_finish(o->store, &claim, &outcome, 4000, &now, NULL), MD_BUSY);
    md_ups_made_destroy(draft);
    assert_ok(md_store_study(o->store, study.id, &study, err));
    assert_int_equal(study.state, MD_STUDY_ANALYSING);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_PRESENT, 2, 4000), MD_OK);
    assert_int_equal(list(o, uids, "IN PROGRESS"), 1);
}

/* Read on medaid's page: the item ends as if a workstation had read it, unless one has it. */
static void test_read_elsewhere(void **state)
{
    office *o = *state;
    char uids[4][MD_UID_BYTES], comment[MD_WORKITEM_COMMENT_BYTES];
    md_study study;
    md_dataset *answer = NULL;
    md_claim claim = claim_study(o, 0, 1000, &study);
    assert_ok(md_ups_complete_study(&o->conf, o->store, study.key, 1500, err));
    assert_int_equal(subscribe(o, 3, MD_UPS_GLOBAL, "WATCHER", "FALSE"), 0);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_ABSENT, 1, 2000), MD_OK);
    assert_ok(md_ups_complete_study(&o->conf, o->store, study.key, 3000, err));
    md_couriers_wake(o->couriers);
    assert_int_equal(list(o, uids, "COMPLETED"), 1);
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, uids[0], 0, NULL, &answer), 0);
    assert_true(md_workitem_is_final(answer, MD_UPS_COMPLETED, comment));
    md_dataset_destroy(answer);
    wait_told(o, 3);
    assert_string_equal(o->watcher.told[0].state, "SCHEDULED");
    assert_string_equal(o->watcher.told[1].state, "IN PROGRESS");
    assert_string_equal(o->watcher.told[2].state, "COMPLETED");
    /* again, and of one that somebody else has in hand: nothing happens */
    assert_ok(md_ups_complete_study(&o->conf, o->store, study.key, 4000, err));
    claim = claim_study(o, 1, 5000, &study);
    assert_int_equal(finish(o, &claim, &study, MD_PRESENCE_ABSENT, 2, 6000), MD_OK);
    assert_int_equal(list(o, uids, "SCHEDULED"), 1);
    assert_int_equal(change_state(o, uids[0], "IN PROGRESS", TRANSACTION), 0);
    assert_ok(md_ups_complete_study(&o->conf, o->store, study.key, 7000, err));
    assert_int_equal(list(o, uids, "IN PROGRESS"), 1);
}

/* Switched off, or nothing that a model looked at: no item. */
static void test_none(void **state)
{
    office *o = *state;
    made_analysis a;
    md_ups_draft *draft = NULL;
    const md_study study = {.key = "k", .study_uid = STUDY};
    make_analysis(&a, MD_PRESENCE_PRESENT, 1);
    const md_ups_result result = {.study = &study, .analysis = &a.analysis};
    o->conf.ups.enabled = false;
    assert_ok(md_ups_make(&o->conf, o->store, &result, &draft, err));
    assert_null(draft);
    o->conf.ups.enabled = true;
    a.analysis.n_results = 0;
    assert_ok(md_ups_make(&o->conf, o->store, &result, &draft, err));
    assert_null(draft);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, office_setup, office_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priority), CASE(test_life), CASE(test_race),
        CASE(test_read_elsewhere),       CASE(test_none), CASE(test_too_many_images),
    };
    return cmocka_run_group_tests_name("daemon-ups-maker", tests, NULL, NULL);
}
