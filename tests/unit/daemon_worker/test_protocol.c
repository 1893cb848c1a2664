/* What main believes of a worker: nothing that breaks a rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine.h"
#include "evidence_fixture.h"

#include "daemon/worker/object_check.h"
#include "daemon/worker/wire.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint8_t block[1 << 20];

static const md_model_identity models[] = {{.id = "m", .version = "1", .name = "Model"},
                                           {.id = "t", .version = "2", .name = "Reader"},
                                           {.id = "r", .version = "3", .name = "Score"}};
static const md_embeds embeds[] = {
    {MD_EMBEDS_IMAGE, 4}, {MD_EMBEDS_NOTHING, 0}, {MD_EMBEDS_NOTHING, 0}};
static const md_worker_expectation expected = {.models = models,
                                               .embeds = embeds,
                                               .n_models = 3,
                                               .study_instance_uid = TEST_STUDY_UID,
                                               .n_files = 3};

static md_embedding embedding_of(const char *model_id, uint32_t n)
{
    static const float values[] = {0.5F, -0.5F, 0.5F, 0.5F, 0.0F};
    md_embedding one = {.n = n, .values = md_calloc(n, sizeof *one.values)};
    assert_non_null(one.values);
    memcpy(one.values, values, n * sizeof *values);
    snprintf(one.model_id, sizeof one.model_id, "%s", model_id);
    return one;
}

static md_analysis honest(void)
{
    md_analysis analysis = {0};
    assert_int_equal(test_analysis_make(&models[0], 0.75, 2, &analysis), MD_OK);
    test_evidence_add(&models[TEST_TEXT], &analysis);
    analysis.embeddings = md_calloc(2, sizeof *analysis.embeddings);
    assert_non_null(analysis.embeddings);
    analysis.embeddings[analysis.n_embeddings++] = embedding_of("m", 4);
    return analysis;
}

static void test_round_trip(void **state)
{
    (void)state;
    md_analysis sent = honest();
    size_t size_bytes = 0;
    sent.n_unreadable = 2;
    snprintf(sent.header.patient_name, sizeof sent.header.patient_name, "%s",
             "M\xc3\xbcller^A");
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', 0x0d, 0x0a, 0x1a, 0x0a, 7};
    sent.view.image = md_malloc(sizeof png);
    memcpy(sent.view.image, png, sizeof png);
    sent.view.image_bytes = sizeof png;
    snprintf(sent.header.modality, sizeof sent.header.modality, "%s", "D\x1bX");
    sent.results[0].times.infer_us = 1234;
    snprintf(sent.results[0].failure_text, MD_ERROR_MSG_BYTES, "%s", "caf\xc3\xa9");
    assert_int_equal(md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL),
                     MD_OK);
    md_analysis got = {0};
    md_error err = {0};
    assert_int_equal(md_worker_decode_analysis(block, size_bytes, &expected, &got, &err),
                     MD_OK);
    assert_int_equal(got.n_unreadable, 2);
    assert_string_equal(got.header.patient_name, sent.header.patient_name);
    assert_string_equal(got.header.modality, "D?X"); /* what is not clean does not pass */
    assert_string_equal(got.header.patient_id, "");
    assert_int_equal(got.view.image_bytes, sizeof png);
    assert_memory_equal(got.view.image, png, sizeof png);
    assert_null(got.view.overlay);
    assert_int_equal(got.n_results, 3);
    test_evidence_compare(got.results);
    const md_result *a = &sent.results[0], *b = &got.results[0];
    assert_string_equal(a->study_instance_uid, b->study_instance_uid);
    assert_string_equal(a->failure_text, b->failure_text);
    assert_memory_equal(&a->times, &b->times, sizeof a->times);
    assert_int_equal(b->n_instances, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(a->instances[i].sop_instance_uid, b->instances[i].sop_instance_uid);
        assert_int_equal(b->instances[i].steps.n, 1);
        assert_string_equal(a->instances[i].steps.text[0], b->instances[i].steps.text[0]);
        assert_true(b->instances[i].analysed);
    }
    assert_int_equal(b->n_findings, 1);
    assert_string_equal(b->findings[0].key, "deed");
    assert_string_equal(b->findings[0].concept.meaning, "Mass of lung");
    assert_int_equal(b->findings[0].presence, MD_PRESENCE_PRESENT);
    assert_true(b->findings[0].score == 0.75);
    assert_int_equal(got.n_embeddings, 1);
    assert_string_equal(got.embeddings[0].model_id, "m");
    assert_int_equal(got.embeddings[0].n, 4);
    assert_memory_equal(got.embeddings[0].values, sent.embeddings[0].values, 4 * sizeof(float));
    assert_int_equal(got.n_objects, 1);
    assert_int_equal(got.objects[0].size_bytes, sent.objects[0].size_bytes);
    assert_string_equal(got.objects[0].model_id, "m");
    assert_string_equal(got.objects[0].series_instance_uid,
                        sent.objects[0].series_instance_uid);
    assert_int_equal(strncmp(got.objects[0].series_instance_uid, "2.25.", 5), 0);
    assert_memory_equal(got.objects[0].bytes, sent.objects[0].bytes, got.objects[0].size_bytes);
    md_analysis_finish(&sent);
    md_analysis_finish(&got);
}

typedef void (*spoil)(md_analysis *analysis);

static void score_two(md_analysis *a)
{
    a->results[0].findings[0].score = 2.0;
}
static void score_nan(md_analysis *a)
{
    a->results[0].findings[0].score = (double)NAN;
}
static void threshold_infinite(md_analysis *a)
{
    a->results[0].findings[0].threshold = (double)INFINITY;
}
static void presence_unknown(md_analysis *a)
{
    a->results[0].findings[0].presence = (md_presence)77;
}
static void urgent_but_absent(md_analysis *a)
{
    a->results[0].findings[0].urgent = true;
    a->results[0].findings[0].presence = MD_PRESENCE_ABSENT;
}
static void index_outside(md_analysis *a)
{
    a->results[0].findings[0].instance_index = 2;
}
static void no_key(md_analysis *a)
{
    a->results[0].findings[0].key[0] = '\0';
}
static void half_a_code(md_analysis *a)
{
    a->results[0].findings[0].site = (md_code){"1", "", ""};
}
static void another_study(md_analysis *a)
{
    snprintf(a->results[0].study_instance_uid, MD_UID_BYTES, "1.2.3.4.5");
}
static void bad_uid(md_analysis *a)
{
    snprintf(a->results[0].instances[1].sop_instance_uid, MD_UID_BYTES, "1.2.x");
}
static void another_model(md_analysis *a)
{
    snprintf(a->results[0].model.version, sizeof a->results[0].model.version, "2");
}
static void failed_with_findings(md_analysis *a)
{
    a->results[0].status = MD_RESULT_FAILED;
    a->results[0].failure = (md_code){"110501", "DCM", "Equipment failure"};
}
static void failed_without_reason(md_analysis *a)
{
    a->results[0].status = MD_RESULT_PARTIAL;
}
static void complete_with_reason(md_analysis *a)
{
    a->results[0].failure = (md_code){"110501", "DCM", "Equipment failure"};
}
static void unknown_status(md_analysis *a)
{
    a->results[0].status = (md_result_status)3;
}
static void too_many_steps(md_analysis *a)
{
    a->results[0].instances[0].steps.n = MD_STEPS_MAX + 1;
}
static void negative_time(md_analysis *a)
{
    a->results[0].times.decode_us = -1;
}
static void foreign_class(md_analysis *a)
{
    snprintf(a->objects[0].sop_class_uid, MD_UID_BYTES, "1.2.840.10008.5.1.4.1.1.1.1");
}
static void foreign_uid(md_analysis *a)
{
    snprintf(a->objects[0].sop_instance_uid, MD_UID_BYTES, "1.2.3.4.5.1");
}
static void series_is_none(md_analysis *a)
{
    a->objects[0].series_instance_uid[0] = '\0';
}
static void series_is_text(md_analysis *a)
{
    snprintf(a->objects[0].series_instance_uid, MD_UID_BYTES, "2.25.x");
}
static void object_of_no_result(md_analysis *a)
{
    snprintf(a->objects[0].model_id, MD_KEY_BYTES, "n");
}
static void object_of_no_model(md_analysis *a)
{
    a->objects[0].model_id[0] = '\0';
}
static void not_part10(md_analysis *a)
{
    a->objects[0].bytes[128] = 'X';
}
static void tiny_object(md_analysis *a)
{
    a->objects[0].size_bytes = 100;
}
static void more_unreadable_than_files(md_analysis *a)
{
    a->n_unreadable = 4;
}
static void picture_is_none(md_analysis *a)
{
    a->view.image = md_calloc(1, 64);
    a->view.image_bytes = 64;
}
static void embedding_nan(md_analysis *a)
{
    a->embeddings[0].values[2] = NAN;
}
static void embedding_infinite(md_analysis *a)
{
    a->embeddings[0].values[0] = -INFINITY;
}
static void embedding_zero(md_analysis *a)
{
    memset(a->embeddings[0].values, 0, 4 * sizeof(float));
}
static void embedding_long(md_analysis *a)
{
    md_free(a->embeddings[0].values);
    a->embeddings[0] = embedding_of("m", 5);
}
static void embedding_none(md_analysis *a)
{
    a->embeddings[0].n = 0;
}
static void embedding_of_another(md_analysis *a)
{
    snprintf(a->embeddings[0].model_id, sizeof a->embeddings[0].model_id, "n");
}
static void embedding_twice(md_analysis *a)
{
    a->embeddings[a->n_embeddings++] = embedding_of("m", 4);
}
static void no_instances(md_analysis *a)
{
    a->results[0].n_instances = 0;
    a->results[0].n_findings = 0;
}

typedef struct row {
    const char *name;
    spoil spoil;
    const char *reason;
} row;

static void test_rules(void **state)
{
    (void)state;
    static const row rows[] = {
        {"score 2", score_two, "a real number out of its range"},
        {"score NaN", score_nan, "a real number out of its range"},
        {"threshold infinite", threshold_infinite, "a real number out of its range"},
        {"presence 77", presence_unknown, "a number out of its range"},
        {"urgent but absent", urgent_but_absent, "an urgent finding that is not present"},
        {"index outside", index_outside, "a number out of its range"},
        {"no key", no_key, "a finding without key"},
        {"half a code", half_a_code, "a coded concept that is not whole"},
        {"another study", another_study, "a result of another study"},
        {"bad UID", bad_uid, "a UID that is none"},
        {"another model", another_model, "a result of a model that was not announced"},
        {"failed with findings", failed_with_findings, "findings in a failed result"},
        {"partial, no reason", failed_without_reason,
         "a status that does not agree with its reason"},
        {"complete with reason", complete_with_reason,
         "a status that does not agree with its reason"},
        {"unknown status", unknown_status, "a number out of its range"},
        {"too many steps", too_many_steps, "a number out of its range"},
        {"negative time", negative_time, "a negative time"},
        {"foreign class", foreign_class, "an object of a class that medaid does not write"},
        {"foreign UID", foreign_uid, "an object whose UID medaid did not derive"},
        {"no series", series_is_none, "a UID that is none"},
        {"series is text", series_is_text, "a UID that is none"},
        {"object of no result", object_of_no_result, "an object of a model without result"},
        {"object of no model", object_of_no_model, "an object of a model without result"},
        {"not Part 10", not_part10, "an object that is no DICOM file"},
        {"tiny object", tiny_object, "an object that is no DICOM file"},
        {"counts", more_unreadable_than_files, "more files than the study has"},
        {"no instances", no_instances, "a result without instances"},
        {"no PNG", picture_is_none, "a small picture that is none"},
        {"embedding NaN", embedding_nan, "an embedding whose length is not 1"},
        {"embedding infinite", embedding_infinite, "an embedding whose length is not 1"},
        {"embedding zero", embedding_zero, "an embedding whose length is not 1"},
        {"embedding long", embedding_long, "an embedding that its model did not announce"},
        {"embedding empty", embedding_none, "an embedding that its model did not announce"},
        {"embedding foreign", embedding_of_another,
         "an embedding that its model did not announce"},
        {"two embeddings", embedding_twice, "two embeddings of one model"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_analysis sent = honest();
        size_t n_instances = sent.results[0].n_instances;
        size_t n_findings = sent.results[0].n_findings;
        rows[i].spoil(&sent);
        size_t size_bytes = 0;
        assert_int_equal(
            md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL), MD_OK);
        md_analysis got = {0};
        md_error err = {0};
        md_status status = md_worker_decode_analysis(block, size_bytes, &expected, &got, &err);
        if (status != MD_FORMAT || strstr(err.msg, rows[i].reason) == NULL) {
            fail_msg("%s: %s: '%s'", rows[i].name, md_status_name(status), err.msg);
        }
        assert_null(got.results);
        sent.results[0].n_instances = n_instances;
        sent.results[0].n_findings = n_findings;
        md_analysis_finish(&sent);
    }
}

static char *find(md_object *object, const char *text)
{
    char *at = memmem(object->bytes, object->size_bytes, text, strlen(text));
    assert_non_null(at);
    return at;
}

/* The objects' own bytes must agree with what the worker says of them. */
static void test_objects(void **state)
{
    (void)state;
    static const struct {
        const char *text, *instead, *reason; /* the first one in the object's bytes */
    } rows[] = {
        {TEST_STUDY_UID, "1.2.3.5", "an object of another study"},
        {"1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33",
         "an object that is not what its worker says"},
        {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5",
         "an object in a syntax that medaid does not write"},
        {"DICM", "DICX", ""},
    };
    md_error err = {0};
    md_analysis good = honest();
    assert_int_equal(md_worker_check_objects(&good, &err), MD_OK);
    /* cut short, at every byte */
    md_object *object = &good.objects[0];
    size_t size_bytes = object->size_bytes;
    while (--object->size_bytes > 0) {
        assert_int_equal(md_worker_check_objects(&good, &err), MD_FORMAT);
    }
    object->size_bytes = size_bytes;
    good.n_results = 0;
    assert_int_equal(md_worker_check_objects(&good, &err), MD_FORMAT);
    good.n_results = 3;
    md_analysis_finish(&good);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_analysis bad = honest();
        memcpy(find(&bad.objects[0], rows[i].text), rows[i].instead, strlen(rows[i].instead));
        md_status status = md_worker_check_objects(&bad, &err);
        if (status != MD_FORMAT || strstr(err.msg, rows[i].reason) == NULL) {
            fail_msg("%s: '%s'", rows[i].text, err.msg);
        }
        md_analysis_finish(&bad);
    }
    /* another series than the worker says */
    md_analysis bad = honest();
    snprintf(bad.objects[0].series_instance_uid, MD_UID_BYTES, "2.25.1");
    assert_int_equal(md_worker_check_objects(&bad, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "an object that is not what its worker says"));
    md_analysis_finish(&bad);
    /* a series of somebody else, whose UID has the same length */
    bad = honest();
    char *last = (char *)bad.objects[0].bytes + bad.objects[0].size_bytes;
    char uid[MD_UID_BYTES + 1] = {0};
    size_t padded = strlen(bad.objects[0].sop_instance_uid);
    padded += padded % 2;
    memcpy(uid, last - padded, padded);
    assert_string_equal(uid, bad.objects[0].sop_instance_uid);
    memcpy(last - padded, "1.25", 4);
    memcpy(bad.objects[0].series_instance_uid, "1.25", 4);
    assert_int_equal(md_worker_check_objects(&bad, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "a series that medaid did not derive"));
    md_analysis_finish(&bad);
}

static void test_dirty_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a\nb",     "\x1b[2J",  "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80",
        "\xc2\x85", "\xe2\x82", "\x7f"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint8_t bytes[32];
        char text[32];
        size_t length = strlen(texts[i]);
        assert_false(md_wire_text_is_clean(texts[i], length));
        /* as a hostile worker writes it */
        bytes[0] = (uint8_t)length;
        bytes[1] = 0;
        memcpy(bytes + 2, texts[i], length);
        md_wire_reader in = {.bytes = bytes, .size_bytes = length + 2};
        md_wire_get_text(&in, text, sizeof text);
        assert_non_null(in.bad);
        assert_string_equal(text, "");
        /* an honest one cleans it before */
        md_wire_writer out = {.bytes = bytes, .capacity_bytes = sizeof bytes};
        md_wire_put_text(&out, texts[i]);
        in = (md_wire_reader){.bytes = bytes, .size_bytes = out.used_bytes};
        md_wire_get_text(&in, text, sizeof text);
        assert_null(in.bad);
        assert_int_equal(strlen(text), length);
    }
    assert_true(md_wire_text_is_clean("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82", 14));
}

/* Every prefix of an honest analysis is refused, and nothing of it is read beyond its end (the
 * sanitizer watches an exact copy). */
static void test_truncated(void **state)
{
    (void)state;
    md_analysis sent = honest();
    size_t size_bytes = 0;
    sent.objects[0].size_bytes = 140;
    assert_int_equal(md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL),
                     MD_OK);
    for (size_t n = 0; n < size_bytes; n++) {
        uint8_t *copy = md_malloc(n);
        assert_non_null(copy);
        memcpy(copy, block, n);
        md_analysis got = {0};
        assert_int_equal(md_worker_decode_analysis(copy, n, &expected, &got, NULL), MD_FORMAT);
        md_free(copy);
    }
    /* and with something after it */
    block[size_bytes] = 0;
    md_analysis got = {0};
    md_error err = {0};
    assert_int_equal(md_worker_decode_analysis(block, size_bytes + 1, &expected, &got, &err),
                     MD_FORMAT);
    assert_non_null(strstr(err.msg, "bytes after the end"));
    md_analysis_finish(&sent);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Bytes changed at random: refused or harmless, never a crash, never a leak. */
static void test_mutated(void **state)
{
    (void)state;
    enum {
        ROUNDS = 20000
    };
    md_analysis sent = honest();
    size_t size_bytes = 0;
    sent.objects[0].size_bytes = 140;
    assert_int_equal(md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL),
                     MD_OK);
    md_analysis_finish(&sent);
    uint32_t seed = 20240229;
    unsigned n_refused = 0;
    uint8_t *copy = md_malloc(size_bytes);
    assert_non_null(copy);
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(copy, block, size_bytes);
        for (uint32_t n = 1 + next_random(&seed) % 4; n > 0; n--) {
            copy[next_random(&seed) % size_bytes] = (uint8_t)next_random(&seed);
        }
        md_analysis got = {0};
        if (md_worker_decode_analysis(copy, size_bytes, &expected, &got, NULL) == MD_OK) {
            assert_true(got.results[0].findings[0].score >= 0.0 &&
                        got.results[0].findings[0].score <= 1.0);
            md_analysis_finish(&got);
        } else {
            n_refused++;
        }
    }
    md_free(copy);
    print_message("# %u of %d refused\n", n_refused, ROUNDS);
    assert_true(n_refused > ROUNDS / 2);
}

static void test_counts_allocate_nothing(void **state)
{
    (void)state;
    /* 64 results, 8192 objects announced by a few bytes */
    md_wire_writer out = {.bytes = block, .capacity_bytes = sizeof block};
    md_wire_put_u64(&out, 0);
    md_wire_put_u64(&out, 0);
    md_wire_put_u32(&out, MD_WORKER_MAX_MODELS);
    md_memory_fail_at(SIZE_MAX);
    md_analysis got = {0};
    md_error err = {0};
    assert_int_equal(md_worker_decode_analysis(block, out.used_bytes, &expected, &got, &err),
                     MD_FORMAT);
    assert_int_equal(md_memory_count(), 0);
    md_memory_fail_at(0);
    assert_non_null(strstr(err.msg, "a count that the bytes cannot hold"));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_analysis sent = honest();
    size_t size_bytes = 0;
    assert_int_equal(md_worker_encode_analysis(&sent, block, sizeof block, &size_bytes, NULL),
                     MD_OK);
    md_analysis_finish(&sent);
    bool done = false;
    for (size_t nth = 1; !done; nth++) {
        md_analysis got = {0};
        md_memory_fail_at(nth);
        md_status status = md_worker_decode_analysis(block, size_bytes, &expected, &got, NULL);
        md_memory_fail_at(0);
        done = status == MD_OK;
        if (!done) {
            assert_int_equal(status, MD_NOMEM);
            assert_null(got.results);
        } else {
            md_analysis_finish(&got);
            assert_true(nth > 5);
        }
    }
}

static void test_packets(void **state)
{
    (void)state;
    static md_worker_buffer buffer;
    static md_conf conf;
    md_conf_defaults(&conf);
    const md_worker_packet packets[] = {
        {.kind = MD_WORKER_CONFIGURE, .n = MD_WORKER_PROTOCOL, .conf = &conf},
        {.kind = MD_WORKER_MODEL, .model = models[0]},
        {.kind = MD_WORKER_MODEL, .model = models[0], .embeds = {MD_EMBEDS_TEXT, 2048}},
        {.kind = MD_WORKER_READY, .n = 3},
        {.kind = MD_WORKER_START_FAILED, .status = MD_NOT_FOUND, .text = "no model"},
        {.kind = MD_WORKER_ANALYSE, .job = 1, .n = 2, .first_received_ms = 5},
        {.kind = MD_WORKER_FAIL, .job = UINT64_MAX, .n = 2, .text = "why"},
        {.kind = MD_WORKER_ANALYSE,
         .predecessors = {{"a", "2.25.1", "2.25.2"}, {"b", "1.2.03", "4"}},
         .n_predecessors = 2,
         .revision = UINT64_MAX - 1},
        {.kind = MD_WORKER_PROBLEM, .job = 9, .n = 1, .status = MD_FORMAT, .text = "bad"},
        {.kind = MD_WORKER_REFUSED, .n = 41},
        {.kind = MD_WORKER_RESULT, .job = 9, .bytes = MD_WORKER_SHARED_BYTES},
        {.kind = MD_WORKER_PING, .job = 7},
        {.kind = MD_WORKER_PONG, .job = 7},
        {.kind = MD_WORKER_BYE},
        {.kind = MD_WORKER_PROPOSE,
         .job = 3,
         .patient_id = "P 1",
         .issuer = "H",
         .features = {.items = {{"SCT:1", "Opacity", 0.5F}, {"none", "", 1.0F}}, .n = 2}},
        {.kind = MD_WORKER_PROPOSED,
         .job = 3,
         .follow_up = {.there = true,
                       .proposals = {{.key = "ct",
                                      .action = {"1", "SCT", "A CT"},
                                      .score = 0.75,
                                      .n_similar = 9,
                                      .n_accepted = 8,
                                      .basis = MD_FOLLOW_UP_BOTH,
                                      .reasons = {"Opacity", "Nodule"},
                                      .n_reasons = 2}},
                       .n_proposals = 1,
                       .n_actions = 5,
                       .n_abstained = 3,
                       .n_below = 1,
                       .n_patients = 7,
                       .min_support = 4,
                       .why_none = "why"}},
    };
    static const bool from_main[] = {true,  false, false, false, false, true, true,  true,
                                     false, false, false, true,  false, true, false, true};
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        size_t size_bytes = 0;
        md_worker_packet got;
        assert_int_equal(md_worker_encode(&packets[i], &buffer, &size_bytes, NULL), MD_OK);
        assert_int_equal(md_worker_decode(&buffer, size_bytes, from_main[i], &got, NULL),
                         MD_OK);
        assert_int_equal(got.kind, packets[i].kind);
        assert_true(got.job == packets[i].job && got.n == packets[i].n &&
                    got.bytes == packets[i].bytes && got.status == packets[i].status);
        assert_true(got.embeds.kind == packets[i].embeds.kind &&
                    got.embeds.n == packets[i].embeds.n);
        assert_string_equal(got.text, packets[i].text);
        assert_int_equal(got.first_received_ms, packets[i].first_received_ms);
        assert_int_equal(got.n_predecessors, packets[i].n_predecessors);
        assert_true(got.revision == packets[i].revision);
        assert_memory_equal(got.predecessors, packets[i].predecessors, sizeof got.predecessors);
        assert_string_equal(got.patient_id, packets[i].patient_id);
        assert_string_equal(got.issuer, packets[i].issuer);
        assert_memory_equal(&got.features, &packets[i].features, sizeof got.features);
        assert_memory_equal(&got.follow_up, &packets[i].follow_up, sizeof got.follow_up);
        if (got.kind == MD_WORKER_CONFIGURE) {
            assert_memory_equal(got.conf, &conf, sizeof conf);
        }
        /* the other side never says this; cut short or longer it is refused */
        md_error err = {0};
        assert_int_equal(md_worker_decode(&buffer, size_bytes, !from_main[i], &got, &err),
                         MD_FORMAT);
        for (size_t n = 0; n < size_bytes; n += n < 64 ? 1 : 997) {
            assert_int_equal(md_worker_decode(&buffer, n, from_main[i], &got, &err), MD_FORMAT);
        }
        assert_int_equal(md_worker_decode(&buffer, size_bytes + 1, from_main[i], &got, &err),
                         MD_FORMAT);
    }
}

static void test_bad_packets(void **state)
{
    (void)state;
    static md_worker_buffer buffer;
    md_worker_packet got;
    size_t size_bytes = 0;
    const md_worker_packet bad[] = {
        {.kind = MD_WORKER_READY, .n = MD_WORKER_MAX_MODELS + 1},
        {.kind = MD_WORKER_START_FAILED, .status = MD_OK},
        {.kind = MD_WORKER_PROBLEM, .status = (md_status)(MD_INTERNAL + 1)},
        {.kind = MD_WORKER_PROBLEM, .n = MD_WORKER_MAX_FILES},
        {.kind = MD_WORKER_RESULT, .bytes = (uint64_t)MD_WORKER_SHARED_BYTES + 1},
        {.kind = MD_WORKER_RESULT, .status = (md_status)4000},
        {.kind = MD_WORKER_MODEL, .model = {.id = "", .version = "1"}},
        {.kind = MD_WORKER_MODEL, .model = models[0], .embeds = {MD_EMBEDS_IMAGE, 0}},
        {.kind = MD_WORKER_MODEL, .model = models[0], .embeds = {MD_EMBEDS_NOTHING, 8}},
        {.kind = MD_WORKER_MODEL,
         .model = models[0],
         .embeds = {MD_EMBEDS_IMAGE, MD_EMBEDDING_MAX + 1}},
        {.kind = MD_WORKER_MODEL, .model = models[0], .embeds = {(md_embeds_kind)3, 8}},
        {.kind = MD_WORKER_PROPOSE, .features = {.n = MD_FEATURES_MAX + 1}},
        {.kind = MD_WORKER_PROPOSE, .features = {.items = {{"", "", 0.5F}}, .n = 1}},
        {.kind = MD_WORKER_PROPOSE, .features = {.items = {{"a b", "", 0.5F}}, .n = 1}},
        {.kind = MD_WORKER_PROPOSE, .features = {.items = {{"a", "", 1.5F}}, .n = 1}},
        {.kind = MD_WORKER_PROPOSE, .features = {.items = {{"a", "", NAN}}, .n = 1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(md_worker_encode(&bad[i], &buffer, &size_bytes, NULL), MD_OK);
        assert_int_equal(md_worker_decode(&buffer, size_bytes, false, &got, NULL), MD_FORMAT);
    }
    const md_worker_packet from_main[] = {
        {.kind = MD_WORKER_PROPOSED,
         .follow_up = {.n_proposals = MD_FOLLOW_UP_MAX_PROPOSALS + 1}},
        {.kind = MD_WORKER_PROPOSED,
         .follow_up = {.proposals = {{.score = 2.0}}, .n_proposals = 1}},
        {.kind = MD_WORKER_PROPOSED,
         .follow_up = {.proposals = {{.basis = MD_FOLLOW_UP_N_BASES}}, .n_proposals = 1}},
    };
    for (size_t i = 0; i < sizeof from_main / sizeof *from_main; i++) {
        assert_int_equal(md_worker_encode(&from_main[i], &buffer, &size_bytes, NULL), MD_OK);
        assert_int_equal(md_worker_decode(&buffer, size_bytes, true, &got, NULL), MD_FORMAT);
    }
    buffer.bytes[0] = MD_WORKER_N_KINDS;
    assert_int_equal(md_worker_decode(&buffer, 1, false, &got, NULL), MD_FORMAT);
    assert_int_equal(md_worker_decode(&buffer, 1, true, &got, NULL), MD_FORMAT);
    buffer.bytes[0] = '{';
    assert_int_equal(md_worker_decode(&buffer, 1, false, &got, NULL), MD_OK);
    assert_int_equal(got.kind, MD_WORKER_LOG);
    assert_int_equal(md_worker_decode(&buffer, 1, true, &got, NULL), MD_FORMAT);
}

/* Main is believed, but what it sends is bounded and whole. */
static void test_predecessors(void **state)
{
    (void)state;
    static md_worker_buffer buffer;
    static md_worker_packet packet, got;
    size_t size_bytes = 0;
    md_error err = {0};
    static const struct {
        md_predecessor first, second;
        const char *reason; /* NULL: fine */
    } rows[] = {
        {{"a", "2.25.1", "2.25.2"}, {"b", "2.25.1", "2.25.2"}, NULL},
        {{"a", "2.25.1", "2.25.2"}, {"a", "2.25.3", "2.25.4"}, "two predecessors of one model"},
        {{"a", "2.25.1", "2.25.2"}, {"", "2.25.3", "2.25.4"}, "a predecessor without a model"},
        {{"a", "2.25.1", ""}, {"b", "2.25.3", "2.25.4"}, "a UID that is none"},
        {{"a", "", "2.25.2"}, {"b", "2.25.3", "2.25.4"}, "a UID that is none"},
        {{"a", "2.25.1\\2", "2.25.2"}, {"b", "2.25.3", "2.25.4"}, "a UID that is none"},
        {{"a", "2.25.1", "one"}, {"b", "2.25.3", "2.25.4"}, "a UID that is none"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        packet = (md_worker_packet){.kind = MD_WORKER_ANALYSE, .n_predecessors = 2};
        packet.predecessors[0] = rows[i].first;
        packet.predecessors[1] = rows[i].second;
        assert_int_equal(md_worker_encode(&packet, &buffer, &size_bytes, NULL), MD_OK);
        md_status status = md_worker_decode(&buffer, size_bytes, true, &got, &err);
        assert_int_equal(status, rows[i].reason == NULL ? MD_OK : MD_FORMAT);
        if (rows[i].reason != NULL && strstr(err.msg, rows[i].reason) == NULL) {
            fail_msg("row %zu: '%s'", i, err.msg);
        }
    }
    /* as many as there may be, as long as they may be; one more is refused */
    packet =
        (md_worker_packet){.kind = MD_WORKER_FAIL, .n_predecessors = MD_HOST_MAX_PREDECESSORS};
    for (unsigned i = 0; i < MD_HOST_MAX_PREDECESSORS; i++) {
        md_predecessor *p = &packet.predecessors[i];
        memset(p->model_id, 'a', MD_KEY_BYTES - 1);
        memset(p->sop_instance_uid, '1', MD_UID_BYTES - 1);
        memset(p->series_instance_uid, '2', MD_UID_BYTES - 1);
        p->model_id[0] = (char)('0' + i / 8);
        p->model_id[1] = (char)('0' + i % 8);
    }
    memset(packet.text, 't', sizeof packet.text - 1);
    assert_int_equal(md_worker_encode(&packet, &buffer, &size_bytes, NULL), MD_OK);
    assert_int_equal(md_worker_decode(&buffer, size_bytes, true, &got, NULL), MD_OK);
    assert_memory_equal(got.predecessors, packet.predecessors, sizeof got.predecessors);
    packet.n_predecessors++;
    assert_int_equal(md_worker_encode(&packet, &buffer, &size_bytes, NULL), MD_OK);
    assert_int_equal(md_worker_decode(&buffer, size_bytes, true, &got, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "a number out of its range"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_dirty_text),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_counts_allocate_nothing),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_bad_packets),
        cmocka_unit_test(test_predecessors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
