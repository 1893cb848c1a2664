#include "tests/unit/dicom_network/bench.h"

#include "daemon/assembly.h"
#include "daemon/outbox.h"
#include "daemon/steady.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_ok(expression)                                                                  \
    do {                                                                                       \
        md_error ok_err_ = {0};                                                                \
        md_error *err = &ok_err_;                                                              \
        if ((expression) != MD_OK) {                                                           \
            fail_msg("%s: %s", #expression, ok_err_.msg);                                      \
        }                                                                                      \
    } while (0)

typedef struct storage {
    char folder[64];
    md_store *store;
    md_spool *spool;
} storage;

static int open_storage(void **state)
{
    storage *s = calloc(1, sizeof *s);
    char path[96];
    test_folder_make(s->folder);
    snprintf(path, sizeof path, "%s/medaid.db", s->folder);
    md_store_options options = {.path = path, .ageing_ms = 360000}; /* overtake_s: 3600 */
    md_spool_scan scan;
    assert_ok(md_store_open(&options, &s->store, err));
    md_spool_options spool_options = {.folder = s->folder, .store = s->store};
    assert_ok(md_spool_open(&spool_options, &s->spool, &scan, err));
    *state = s;
    return 0;
}

static int close_storage(void **state)
{
    storage *s = *state;
    md_spool_close(s->spool);
    md_store_close(s->store);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", s->folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(pclose(pipe), 0);
    free(s);
    return 0;
}

static int64_t receive(storage *s, unsigned study, unsigned instance, int64_t at_ms)
{
    static uint64_t file;
    char study_uid[32], instance_uid[32];
    snprintf(study_uid, sizeof study_uid, "1.2.3.%u", study);
    snprintf(instance_uid, sizeof instance_uid, "1.2.4.%u.%u", study, instance);
    md_instance_new item = {.study_uid = study_uid,
                            .series_uid = "1.2.5",
                            .sop_instance_uid = instance_uid,
                            .sop_class_uid = TEST_CT_CLASS,
                            .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                            .source_ae = "SENDER",
                            .file = ++file + 1000000,
                            .size_bytes = 1,
                            .received_ms = at_ms};
    md_instance_outcome outcome;
    assert_ok(md_store_add_instances(s->store, &item, 1, &outcome, err));
    return outcome.study;
}

static md_study_state state_of(storage *s, int64_t id)
{
    md_study study;
    assert_ok(md_store_study(s->store, id, &study, err));
    return study.state;
}

/* Run the assembly; how many became complete. */
static unsigned run(storage *s, int64_t quiet_ms, int64_t deadline_ms, int64_t now_ms,
                    int64_t expected_wait_ms)
{
    md_conf conf;
    md_conf_defaults(&conf);
    conf.study.quiet_ms = (unsigned)quiet_ms;
    conf.study.deadline_s = (unsigned)(deadline_ms / 1000);
    const md_policy policy = {.conf = &conf};
    unsigned n = 99;
    int64_t wait_ms = -1;
    assert_ok(md_assembly_run(s->store, &policy, now_ms, &n, &wait_ms, err));
    assert_int_equal(wait_ms, expected_wait_ms);
    return n;
}

static void test_quiet_time(void **state)
{
    storage *s = *state;
    assert_int_equal(run(s, 1000, 0, 0, 1000), 0);
    int64_t id = receive(s, 1, 1, 10000);
    assert_int_equal(run(s, 1000, 0, 10000, 1000), 0);
    assert_int_equal(run(s, 1000, 0, 10999, 1), 0);
    receive(s, 1, 2, 10999);
    assert_int_equal(run(s, 1000, 0, 11000, 999), 0);
    assert_int_equal(state_of(s, id), MD_STUDY_RECEIVING);
    assert_int_equal(run(s, 1000, 0, 11999, 1000), 1);
    assert_int_equal(state_of(s, id), MD_STUDY_COMPLETE);
    assert_int_equal(run(s, 1000, 0, 20000, 1000), 0);
    receive(s, 1, 3, 20000); /* late: not analysed yet, so it is simply open again */
    assert_int_equal(state_of(s, id), MD_STUDY_RECEIVING);
    assert_int_equal(run(s, 1000, 0, 21000, 1000), 1);
}

static void test_deadline(void **state)
{
    storage *s = *state;
    int64_t id = receive(s, 1, 0, 10000);
    for (unsigned i = 1; i <= 9; i++) { /* a sender that never pauses */
        receive(s, 1, i, 10000 + i * 500);
        assert_int_equal(
            run(s, 1000, 5000, 10000 + i * 500, i < 8 ? 1000 : 5000 - (int64_t)i * 500), 0);
    }
    assert_int_equal(run(s, 1000, 5000, 15000, 1000), 1);
    assert_int_equal(state_of(s, id), MD_STUDY_COMPLETE);
    /* a deadline shorter than the quiet time */
    receive(s, 2, 0, 20000);
    assert_int_equal(run(s, 2000, 1000, 20000, 1000), 0);
    assert_int_equal(run(s, 2000, 1000, 21000, 1000), 1);
}

static void test_interleaved_studies(void **state)
{
    storage *s = *state;
    enum {
        N = 300 /* more than a page */
    };
    int64_t ids[N];
    for (unsigned i = 0; i < N; i++) {
        ids[i] = receive(s, i, 0, 10000);
    }
    for (unsigned i = 0; i < N; i += 2) {
        receive(s, i, 1, 10700);
    }
    assert_int_equal(run(s, 1000, 0, 11000, 700), N / 2);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(state_of(s, ids[i]),
                         i % 2 == 0 ? MD_STUDY_RECEIVING : MD_STUDY_COMPLETE);
    }
    assert_int_equal(run(s, 1000, 0, 11700, 1000), N / 2);
}

/* An instance that came to one of our titles and shows a view. */
static int64_t receive_view(storage *s, unsigned study, unsigned instance, const char *called,
                            const char *view, int64_t at_ms)
{
    char study_uid[32], instance_uid[32], tags[128];
    snprintf(study_uid, sizeof study_uid, "1.2.3.%u", study);
    snprintf(instance_uid, sizeof instance_uid, "1.2.4.%u.%u", study, instance);
    snprintf(tags, sizeof tags, "00080060=DX\n00180015=CHEST\n00185101=%s\n", view);
    md_instance_new item = {.study_uid = study_uid,
                            .series_uid = "1.2.5",
                            .sop_instance_uid = instance_uid,
                            .sop_class_uid = TEST_CT_CLASS,
                            .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                            .source_ae = "SENDER",
                            .called_ae = called,
                            .tags = tags,
                            .file = 2000000 + study * 100 + instance,
                            .size_bytes = 1,
                            .received_ms = at_ms};
    md_instance_outcome outcome;
    assert_ok(md_store_add_instances(s->store, &item, 1, &outcome, err));
    return outcome.study;
}

static unsigned assemble(storage *s, const md_policy *policy, int64_t now_ms, int64_t *ret_wait)
{
    unsigned n = 99;
    assert_ok(md_assembly_run(s->store, policy, now_ms, &n, ret_wait, err));
    return n;
}

static void test_required_views(void **state)
{
    storage *s = *state;
    md_conf conf;
    md_conf_title late = {
        .title = "LATE", .analyse = true, .has_quiet = true, .quiet_ms = 5000};
    md_required chest = {.views = {"PA", "LL/RL"}, .n_views = 2};
    md_conf_defaults(&conf);
    conf.study.quiet_ms = 1000;
    conf.study.deadline_s = 60;
    conf.study.required = &chest;
    conf.study.n_required = 1;
    conf.ae.titles = &late;
    conf.ae.n_titles = 1;
    const md_policy policy = {.conf = &conf};
    int64_t wait_ms = 0;
    /* the second view comes long after the quiet time, and the study is complete a quiet time
     * after it */
    int64_t id = receive_view(s, 1, 1, "MEDAID", "PA", 100000);
    assert_int_equal(assemble(s, &policy, 101000, &wait_ms), 0);
    assert_int_equal(wait_ms, 1000); /* it may come at any moment */
    assert_int_equal(assemble(s, &policy, 140000, &wait_ms), 0);
    receive_view(s, 1, 2, "MEDAID", "RL", 140000);
    assert_int_equal(assemble(s, &policy, 140999, &wait_ms), 0);
    assert_int_equal(wait_ms, 1);
    assert_int_equal(assemble(s, &policy, 141000, &wait_ms), 1);
    assert_int_equal(state_of(s, id), MD_STUDY_COMPLETE);
    /* it never comes: the deadline ends the wait, however many others come */
    id = receive_view(s, 2, 1, "MEDAID", "PA", 200000);
    receive_view(s, 2, 2, "MEDAID", "PA", 259500);
    assert_int_equal(assemble(s, &policy, 259999, &wait_ms), 0);
    assert_int_equal(wait_ms, 1);
    assert_int_equal(assemble(s, &policy, 260000, &wait_ms), 1);
    assert_int_equal(state_of(s, id), MD_STUDY_COMPLETE);
    /* a late view re-opens it; then all views are there */
    receive_view(s, 2, 3, "MEDAID", "LL", 261000);
    assert_int_equal(state_of(s, id), MD_STUDY_RECEIVING);
    assert_int_equal(assemble(s, &policy, 262000, &wait_ms), 1);
    /* a title with a patience of its own; the study at both titles waits for the more patient
     */
    receive_view(s, 3, 1, "LATE", "PA", 300000);
    receive_view(s, 3, 2, "LATE", "LL", 300000);
    receive_view(s, 4, 1, "MEDAID", "PA", 300000);
    receive_view(s, 4, 2, "MEDAID", "LL", 300000);
    receive_view(s, 5, 1, "MEDAID", "PA", 300000);
    receive_view(s, 5, 2, "LATE", "LL", 300000);
    assert_int_equal(assemble(s, &policy, 301000, &wait_ms), 1);
    assert_int_equal(assemble(s, &policy, 304999, &wait_ms), 0);
    assert_int_equal(assemble(s, &policy, 305000, &wait_ms), 2);
    /* without any deadline only a model can require: half an hour */
    const md_model_required model = {.model_id = "chest", .required = chest};
    const md_policy by_model = {.conf = &conf, .models = &model, .n_models = 1};
    conf.study.n_required = 0;
    conf.study.deadline_s = 0;
    id = receive_view(s, 6, 1, "MEDAID", "PA", 400000);
    assert_int_equal(assemble(s, &by_model, 400000 + 1799999, &wait_ms), 0);
    assert_int_equal(assemble(s, &by_model, 400000 + 1800000, &wait_ms), 1);
}

/* The priority of a title is there before the study can be claimed. */
static void test_title_priority(void **state)
{
    storage *s = *state;
    md_conf conf;
    md_conf_title titles[] = {
        {.title = "ER", .analyse = true, .priority = MD_CONF_PRIORITY_HIGH},
        {.title = "NIGHT", .analyse = true, .priority = MD_CONF_PRIORITY_LOW}};
    md_conf_defaults(&conf);
    conf.ae.titles = titles;
    conf.ae.n_titles = 2;
    const md_policy policy = {.conf = &conf};
    int64_t wait_ms = 0;
    int64_t night = receive_view(s, 11, 1, "NIGHT", "PA", 1000);
    int64_t day = receive_view(s, 12, 1, "MEDAID", "PA", 1001);
    int64_t er = receive_view(s, 13, 1, "ER", "PA", 1002);
    assert_int_equal(assemble(s, &policy, 100000, &wait_ms), 3);
    const int64_t expected[] = {er, day, night};
    for (size_t i = 0; i < 3; i++) {
        md_claim claim;
        md_study study;
        assert_ok(md_store_claim(s->store, "test", 200000, 60000, &claim, &study, err));
        assert_int_equal(claim.study, expected[i]);
    }
}

/* A STAT order overtakes a batch of 500 routine studies, and a LOW study waits for no study of
 * a higher priority that is complete later than overtake_s after it, twice that for HIGH. */
static void test_overtaking(void **state)
{
    enum {
        BATCH = 500,
        STEP_MS = 3600 * 1000 /* study.overtake_s, a store without options has 10 times less */
    };
    storage *s = *state;
    md_conf conf;
    md_conf_title titles[] = {
        {.title = "ER", .analyse = true, .priority = MD_CONF_PRIORITY_HIGH},
        {.title = "NIGHT", .analyse = true, .priority = MD_CONF_PRIORITY_LOW}};
    md_conf_defaults(&conf);
    assert_int_equal(conf.study.overtake_s * 1000, STEP_MS);
    conf.ae.titles = titles;
    conf.ae.n_titles = 2;
    conf.study.quiet_ms = 100;
    const md_policy policy = {.conf = &conf};
    int64_t wait_ms = 0;
    int64_t night = receive_view(s, 1000, 1, "NIGHT", "PA", 0);
    assert_int_equal(assemble(s, &policy, 1000, &wait_ms), 1);
    for (unsigned i = 0; i < BATCH; i++) {
        receive_view(s, 2000 + i, 1, "MEDAID", "PA", 2000);
    }
    assert_int_equal(assemble(s, &policy, 3000, &wait_ms), BATCH);
    /* the batch has waited for most of an hour when the order comes */
    int64_t stat = receive_view(s, 3000, 1, "ER", "PA", STEP_MS - 2000);
    assert_int_equal(assemble(s, &policy, STEP_MS - 1000, &wait_ms), 1);
    md_claim claim;
    md_study study;
    assert_ok(md_store_claim(s->store, "test", STEP_MS, 9 * STEP_MS, &claim, &study, err));
    assert_int_equal(claim.study, stat);
    assert_ok(md_store_claim(s->store, "test", STEP_MS, 9 * STEP_MS, &claim, &study, err));
    assert_int_not_equal(claim.study, night); /* of the batch: complete two seconds after it */
    /* what is complete later does not overtake it: MEDIUM after one step, HIGH after two */
    int64_t day = receive_view(s, 4000, 1, "MEDAID", "PA", STEP_MS + 1000);
    int64_t er = receive_view(s, 4001, 1, "ER", "PA", 2 * STEP_MS + 1000);
    assert_int_equal(assemble(s, &policy, STEP_MS + 2000, &wait_ms), 1);
    assert_int_equal(assemble(s, &policy, 2 * STEP_MS + 2000, &wait_ms), 1);
    for (unsigned i = 1; i < BATCH; i++) {
        assert_ok(
            md_store_claim(s->store, "test", 3 * STEP_MS, 9 * STEP_MS, &claim, &study, err));
        assert_true(claim.study != night && claim.study != day && claim.study != er);
    }
    assert_ok(md_store_claim(s->store, "test", 3 * STEP_MS, 9 * STEP_MS, &claim, &study, err));
    assert_int_equal(claim.study, night);
}

/* ---- outbox ---- */

enum {
    LIVE,
    DEAD,
    PICKY
};

static atomic_uint n_sent[3], n_asked[3];
static atomic_uint n_refusals; /* left, of the picky one */

/* "dead" never answers; "picky" refuses as often as it is told. */
static md_status fake_send(const md_conf *conf, const md_conf_destination *destination,
                           const char *work_folder, const char *const *paths, size_t n_paths,
                           md_send_outcome *outcomes, md_error *err)
{
    unsigned who = destination->name[0] == 'l'   ? LIVE
                   : destination->name[0] == 'd' ? DEAD
                                                 : PICKY;
    assert_string_equal(conf->ae.title, "MEDAID");
    assert_int_equal(access(work_folder, W_OK), 0);
    n_asked[who]++;
    if (who == DEAD) {
        for (size_t i = 0; i < n_paths; i++) {
            outcomes[i] = (md_send_outcome){MD_NETWORK, 0xffff, false};
        }
        return md_fail(err, MD_NETWORK, "nobody answers");
    }
    bool refused = who == PICKY && n_refusals > 0;
    for (size_t i = 0; i < n_paths; i++) {
        assert_int_equal(access(paths[i], R_OK), 0);
        outcomes[i] = refused ? (md_send_outcome){MD_NETWORK, 0xa900, false}
                              : (md_send_outcome){MD_OK, i == 0 ? 0 : 0xb007, false};
        n_sent[who] += !refused;
    }
    if (refused) {
        n_refusals--;
        return md_fail(err, MD_NETWORK, "refused with 0xa900");
    }
    return MD_OK;
}

static void make_conf(md_conf *conf)
{
    static const char *const names[] = {"live", "dead", "picky"};
    md_conf_defaults(conf);
    conf->n_destinations = 3;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(conf->destinations[i].name, sizeof conf->destinations[i].name, "%s", names[i]);
        conf->destinations[i].retry_first_s = 1;
        conf->destinations[i].retry_max_s = 300;
        conf->destinations[i].retry_for_h = 24;
        n_sent[i] = 0;
        n_asked[i] = 0;
    }
}

/* A study with a report and a picture for each of the destinations. */
static int64_t make_results_at(storage *s, unsigned number, int64_t now_ms)
{
    static const char *const names[] = {"live", "dead", "picky"};
    int64_t id = receive(s, number, 0, 1000);
    md_study study;
    md_claim claim;
    assert_ok(md_store_study(s->store, id, &study, err));
    assert_ok(md_store_complete(s->store, &study, 2000, err));
    assert_ok(md_store_claim(s->store, "w", now_ms, 60000, &claim, &study, err));
    md_object_new objects[2] = {0};
    char uids[2][32];
    for (unsigned i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/r", md_spool_incoming(s->spool));
        assert_ok(md_file_write(path, MD_FILE_NEW, "result", 6, err));
        snprintf(uids[i], sizeof uids[i], "1.2.9.%u.%u", number, i);
        objects[i] = (md_object_new){.kind = i == 0 ? "sr" : "picture",
                                     .sop_instance_uid = uids[i],
                                     .sop_class_uid = "1.2.3",
                                     .destinations = names,
                                     .n_destinations = 3};
        assert_ok(md_spool_keep(s->spool, path, &objects[i].file, &objects[i].size_bytes, err));
    }
    assert_ok(md_store_finish(s->store, &claim,
                              &(md_study_outcome){.objects = objects, .n_objects = 2}, now_ms,
                              NULL, err));
    return id;
}

static int64_t make_results(storage *s, unsigned number)
{
    return make_results_at(s, number, md_steady_ms());
}

static void wait_for(atomic_uint *counter, unsigned n)
{
    for (int i = 0; i < 6000 && *counter < n; i++) {
        usleep(10000);
    }
    assert_true(*counter >= n);
}

static size_t count_rows(storage *s, int64_t study, const char *destination,
                         md_outbox_state wanted)
{
    md_outbox_row rows[16];
    size_t n = 0;
    size_t found = 0;
    assert_ok(md_store_outbox_rows(s->store, study, MD_OUTBOX_PENDING, 0, 16, rows, &n, err));
    for (size_t i = 0; i < n; i++) {
        found += rows[i].state == wanted && strcmp(rows[i].destination, destination) == 0;
    }
    return found;
}

/* A destination that does not answer delays no other, is asked for one study at a time, and
 * what it lacks waits; the one that refuses gets it again after a wait. */
static void test_destinations_are_alone(void **state)
{
    storage *s = *state;
    md_conf conf;
    md_outbox *outbox = NULL;
    make_conf(&conf);
    n_refusals = 2;
    int64_t ids[5];
    for (unsigned i = 0; i < 4; i++) {
        ids[i] = make_results(s, i);
    }
    assert_ok(md_outbox_start(&conf, s->store, s->spool, fake_send, &outbox, err));
    wait_for(&n_sent[LIVE], 8);
    ids[4] = make_results(s, 4); /* and what comes later */
    md_outbox_wake(outbox);
    wait_for(&n_sent[LIVE], 10);
    wait_for(&n_sent[PICKY], 10);
    wait_for(&n_asked[DEAD], 2);
    md_outbox_stop(outbox);
    assert_int_equal(n_sent[LIVE], 10);
    assert_int_equal(n_sent[PICKY], 10);
    assert_int_equal(n_refusals, 0);
    assert_int_equal(n_sent[DEAD], 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(count_rows(s, ids[i], "live", MD_OUTBOX_SENT), 2);
        assert_int_equal(count_rows(s, ids[i], "picky", MD_OUTBOX_SENT), 2);
        assert_int_equal(count_rows(s, ids[i], "dead", MD_OUTBOX_PENDING), 2);
        assert_int_equal(state_of(s, ids[i]), MD_STUDY_SENDING);
    }
    /* the next start goes on with it */
    snprintf(conf.destinations[1].name, sizeof conf.destinations[1].name, "live");
    md_recovery recovery;
    assert_ok(md_store_recover(s->store, md_steady_ms(), &recovery, err));
    assert_int_equal(recovery.n_sending, 5);
}

/* After ten refusals the row is dead, the study failed, and a retry sends it. */
static void test_refused_for_good(void **state)
{
    storage *s = *state;
    int64_t id = make_results(s, 1);
    md_outbox_row rows[16];
    md_study_state after = MD_STUDY_SENDING;
    size_t n = 0;
    for (unsigned i = 0; i < 2; i++) { /* the other two are sent */
        const char *name = i == 0 ? "live" : "dead";
        md_outbox_result results[2];
        assert_ok(
            md_store_outbox_claim(s->store, name, md_steady_ms(), 1000, 16, rows, &n, err));
        assert_int_equal(n, 2);
        for (unsigned k = 0; k < 2; k++) {
            results[k] = (md_outbox_result){
                .id = rows[k].id, .token = rows[k].token, .state = MD_OUTBOX_SENT};
        }
        assert_ok(md_store_outbox_finish(s->store, results, 2, md_steady_ms(), &after, err));
    }
    for (unsigned i = 0; i < 9; i++) { /* nine times refused, a minute ago */
        md_outbox_result results[2];
        assert_ok(
            md_store_outbox_claim(s->store, "picky", md_steady_ms(), 1000, 16, rows, &n, err));
        assert_int_equal(n, 2);
        for (unsigned k = 0; k < 2; k++) {
            results[k] = (md_outbox_result){.id = rows[k].id,
                                            .token = rows[k].token,
                                            .state = MD_OUTBOX_PENDING,
                                            .next_attempt_ms = md_steady_ms() - 60000,
                                            .dimse_status = 0xa900};
        }
        assert_ok(md_store_outbox_finish(s->store, results, 2, md_steady_ms(), &after, err));
    }
    assert_int_equal(after, MD_STUDY_SENDING);
    md_conf conf;
    md_outbox *outbox = NULL;
    make_conf(&conf);
    n_refusals = 1;
    assert_ok(md_outbox_start(&conf, s->store, s->spool, fake_send, &outbox, err));
    for (int i = 0; i < 6000 && state_of(s, id) != MD_STUDY_FAILED; i++) {
        usleep(10000);
    }
    assert_int_equal(state_of(s, id), MD_STUDY_FAILED);
    assert_int_equal(count_rows(s, id, "picky", MD_OUTBOX_DEAD), 2);
    assert_int_equal(n_asked[LIVE] + n_asked[DEAD], 0);
    assert_ok(md_store_retry(s->store, id, md_steady_ms(), &after, err));
    assert_int_equal(after, MD_STUDY_SENDING);
    md_outbox_wake(outbox);
    wait_for(&n_sent[PICKY], 2);
    md_outbox_stop(outbox);
    assert_int_equal(state_of(s, id), MD_STUDY_DONE);
}

/* Complaint 17: of two objects in one association one is refused: that one alone is sent again,
 * and the study is not done before. */
static md_status half_send(const md_conf *conf, const md_conf_destination *destination,
                           const char *work_folder, const char *const *paths, size_t n_paths,
                           md_send_outcome *outcomes, md_error *err)
{
    (void)conf;
    (void)work_folder;
    (void)paths;
    unsigned who = destination->name[0] == 'l' ? LIVE : PICKY;
    n_asked[who]++;
    for (size_t i = 0; i < n_paths; i++) {
        bool refused = who == PICKY && n_paths == 2 && i == 1;
        outcomes[i] = (md_send_outcome){.status = refused ? MD_NETWORK : MD_OK,
                                        .dimse_status = refused ? 0xa900 : 0};
        n_sent[who] += !refused;
    }
    return who == PICKY && n_paths == 2 ? md_fail(err, MD_NETWORK, "refused with 0xa900")
                                        : MD_OK;
}

static void test_success_only_if_every_response_says_so(void **state)
{
    storage *s = *state;
    md_conf conf;
    md_outbox *outbox = NULL;
    make_conf(&conf);
    /* the second is called by another name, so that its rows wait for nobody */
    snprintf(conf.destinations[1].name, sizeof conf.destinations[1].name, "lonely");
    int64_t id = make_results(s, 1);
    assert_ok(md_outbox_start(&conf, s->store, s->spool, half_send, &outbox, err));
    wait_for(&n_sent[PICKY], 1);
    for (int i = 0; i < 6000 && count_rows(s, id, "picky", MD_OUTBOX_SENT) < 1; i++) {
        usleep(10000);
    }
    assert_int_equal(count_rows(s, id, "picky", MD_OUTBOX_SENT) +
                         count_rows(s, id, "picky", MD_OUTBOX_PENDING),
                     2);
    assert_int_equal(state_of(s, id), MD_STUDY_SENDING);
    wait_for(&n_sent[PICKY], 2);
    md_outbox_stop(outbox);
    assert_int_equal(count_rows(s, id, "picky", MD_OUTBOX_SENT), 2);
    assert_int_equal(n_asked[PICKY], 2);
    assert_int_equal(state_of(s, id), MD_STUDY_SENDING); /* "dead" has got nothing */
}

/* Complaint 8: a destination that never answers is tried for retry_for_h, with waits that grow,
 * then the rows are dead and the study has failed. */
static void test_bounded_retry_with_dead_letter(void **state)
{
    storage *s = *state;
    md_conf conf;
    md_outbox *outbox = NULL;
    md_outbox_row rows[16];
    size_t n = 0;
    make_conf(&conf);
    conf.n_destinations = 1;
    conf.destinations[0] = conf.destinations[1]; /* "dead" */
    conf.destinations[0].retry_first_s = 40;
    conf.destinations[0].retry_max_s = 60;
    conf.destinations[0].retry_for_h = 2;
    const int64_t hour_ms = 3600000;
    int64_t now_ms = md_steady_ms();
    int64_t older = make_results_at(s, 1, now_ms - 2 * hour_ms);
    int64_t newer = make_results_at(s, 2, now_ms - hour_ms);
    assert_ok(md_outbox_start(&conf, s->store, s->spool, fake_send, &outbox, err));
    for (int i = 0; i < 6000 && count_rows(s, older, "dead", MD_OUTBOX_DEAD) < 2; i++) {
        usleep(10000);
    }
    md_outbox_stop(outbox);
    assert_int_equal(count_rows(s, older, "dead", MD_OUTBOX_DEAD), 2);
    assert_int_equal(n_asked[DEAD], 1); /* it does not answer: one study at a time is tried */
    outbox = NULL;
    assert_ok(md_outbox_start(&conf, s->store, s->spool, fake_send, &outbox, err));
    wait_for(&n_asked[DEAD], 2);
    md_outbox_stop(outbox);
    assert_ok(md_store_outbox_rows(s->store, newer, MD_OUTBOX_PENDING, 0, 16, rows, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].destination, "dead") == 0) {
            assert_int_equal(rows[i].state, MD_OUTBOX_PENDING);
            assert_int_equal(rows[i].n_attempts, 1);
            assert_int_equal(rows[i].last_status, 0xffff);
            int64_t wait_ms = rows[i].next_attempt_ms - now_ms;
            assert_true(wait_ms >= 20000); /* half of the first wait, see md_backoff_ms */
            /* no later than that wait after the attempt, whenever that was */
            assert_true(rows[i].next_attempt_ms <= md_steady_ms() + 40000);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_storage, close_storage)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_quiet_time),
        TEST(test_deadline),
        TEST(test_interleaved_studies),
        TEST(test_required_views),
        TEST(test_title_priority),
        TEST(test_overtaking),
        TEST(test_destinations_are_alone),
        TEST(test_refused_for_good),
        TEST(test_success_only_if_every_response_says_so),
        TEST(test_bounded_retry_with_dead_letter),
    };
    return cmocka_run_group_tests_name("daemon_parts", tests, NULL, NULL);
}
