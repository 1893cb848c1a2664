/* Expected times of reading on a simulated house: 10,000 studies arrive by the hour of the day
 * and the day of the week, readers on duty take the urgent, the high and the longest waiting
 * ones first. All goes through the real store; what is said of later studies is compared with
 * when they were read. And what is said when there is little history, or a damaged model. */

#include "daemon/eta/eta.h"
#include "daemon/store/store_sqlite.h"
#include "tests/unit/daemon_store/fixture.h"

#include <math.h>
#include <time.h>

enum {
    N_STUDIES = 10000,
    N_READERS = 3,
    N_LEARNT = 7000, /* before the first of the studies that are judged */
    MINUTE_MS = 60000,
    HOUR_MS = 60 * MINUTE_MS,
    DAY_MS = 24 * HOUR_MS,
    REFIT_MS = 2 * DAY_MS
};

static const int64_t start_ms = 1700438400000; /* Monday 2023-11-20, 00:00 UTC */

static uint32_t seed = 7;

static double chance(void)
{
    seed = seed * 1664525U + 1013904223U;
    return ((double)(seed >> 8) + 0.5) / 16777216.0;
}

static double normal(void)
{
    return sqrt(-2.0 * log(chance())) * cos(2.0 * M_PI * chance());
}

typedef struct sim_study {
    md_store_reading row; /* key, priority, urgent, modality */
    int64_t arrived_ms;
    md_eta_estimate first, later; /* when it came; at some time of its waiting */
    bool has_first, has_later, is_read;
} sim_study;

typedef struct house {
    fixture *f;
    md_eta *eta;
    sim_study *studies;
    size_t n_arrived, n_open;
    uint32_t open[N_STUDIES];
    int64_t now_ms, next_arrival_ms, next_tick_ms, next_fit_ms;
    int64_t busy_until_ms[N_READERS]; /* 0: idle */
    uint32_t reads[N_READERS];
    unsigned n_fits;
    /* of the studies that were read after the first fit */
    size_t n_first, n_first_in, n_later, n_later_in;
    double error_sum;
} house;

static int hour_of(int64_t ms)
{
    return (int)((ms - start_ms) / HOUR_MS % 24);
}

static bool is_weekend(int64_t ms)
{
    return (ms - start_ms) / DAY_MS % 7 >= 5;
}

static double arrivals_per_hour(int64_t ms)
{
    int hour = hour_of(ms);
    bool day = hour >= 8 && hour < 18;
    return is_weekend(ms) ? (day ? 9.0 : 4.0) : day ? 38.0 : hour >= 18 ? 9.0 : 4.0;
}

static unsigned readers_on_duty(int64_t ms)
{
    int hour = hour_of(ms);
    return !is_weekend(ms) && hour >= 8 && hour < 18 ? N_READERS : 1;
}

static bool comes_before(const sim_study *a, const sim_study *b)
{
    return a->row.urgent != b->row.urgent       ? a->row.urgent
           : a->row.priority != b->row.priority ? a->row.priority > b->row.priority
                                                : a->arrived_ms < b->arrived_ms;
}

/* Through the store as the daemon does it. */
static void arrive(house *h)
{
    static const char *const modalities[] = {"CR", "CT", "MR", "DX"};
    size_t i = h->n_arrived++;
    sim_study *s = &h->studies[i];
    double which = chance();
    char tags[64];
    s->arrived_ms = h->now_ms;
    s->row.urgent = chance() < 0.08;
    s->row.priority = chance() < 0.1 ? 50 : 0;
    const char *modality = modalities[which < 0.6    ? 0
                                      : which < 0.85 ? 1
                                      : which < 0.95 ? 2
                                                     : 3];
    snprintf(s->row.modality, sizeof s->row.modality, "%s", modality);
    snprintf(tags, sizeof tags, "00080060=%s\n", modality);
    md_instance_new item = instance_of((unsigned)i, 1, 0, h->now_ms);
    md_instance_outcome outcome;
    item.priority = s->row.priority;
    item.tags = tags;
    assert_ok(md_store_add_instances(h->f->store, &item, 1, &outcome, err));
    md_study study = study_of(h->f->store, outcome.study);
    assert_ok(md_store_complete(h->f->store, &study, h->now_ms, err));
    md_claim claim;
    assert_ok(md_store_claim(h->f->store, "worker", h->now_ms, 60000, &claim, &study, err));
    const md_store_finding finding = {.model_id = "m",
                                      .model_version = "1",
                                      .key = "k",
                                      .code = "c",
                                      .scheme = "s",
                                      .meaning = "m",
                                      .sop_instance_uid = "1.2",
                                      .presence = MD_STORE_PRESENT,
                                      .score = 0.9,
                                      .threshold = 0.5,
                                      .urgent = s->row.urgent};
    const md_study_outcome result = {.findings = &finding, .n_findings = 1};
    assert_ok(md_store_finish(h->f->store, &claim, &result, h->now_ms, NULL, err));
    memcpy(s->row.study_key, study.key, sizeof study.key);
    h->open[h->n_open++] = (uint32_t)i;
    if (h->n_fits > 0) {
        assert_ok(md_eta_of(h->eta, study.key, h->now_ms, &s->first, err));
        assert_true(s->first.low_ms <= s->first.at_ms && s->first.at_ms <= s->first.high_ms);
        assert_true(s->first.low_ms >= h->now_ms);
        s->has_first = true;
    }
    h->next_arrival_ms =
        h->now_ms + 1000 +
        (int64_t)(-log(chance()) / arrivals_per_hour(h->now_ms) * (double)HOUR_MS);
}

/* Reading takes minutes, longer for some kinds. */
static int64_t reading_ms(const sim_study *s)
{
    double minutes = strcmp(s->row.modality, "CT") == 0   ? 6.5
                     : strcmp(s->row.modality, "MR") == 0 ? 8.0
                                                          : 3.0;
    return (int64_t)(minutes * exp(0.5 * normal()) * (double)MINUTE_MS);
}

static void start_reading(house *h)
{
    for (unsigned r = 0; r < readers_on_duty(h->now_ms) && h->n_open > 0; r++) {
        if (h->busy_until_ms[r] > 0) {
            continue;
        }
        size_t best = 0;
        for (size_t i = 1; i < h->n_open; i++) {
            if (comes_before(&h->studies[h->open[i]], &h->studies[h->open[best]])) {
                best = i;
            }
        }
        h->reads[r] = h->open[best];
        h->open[best] = h->open[--h->n_open];
        h->busy_until_ms[r] = h->now_ms + reading_ms(&h->studies[h->reads[r]]);
    }
}

static void end_reading(house *h, unsigned reader)
{
    sim_study *s = &h->studies[h->reads[reader]];
    h->busy_until_ms[reader] = 0;
    s->is_read = true;
    assert_ok(md_store_set_read(h->f->store, s->row.study_key, h->now_ms, err));
    if (s->has_first) {
        h->n_first++;
        h->n_first_in += h->now_ms >= s->first.low_ms && h->now_ms <= s->first.high_ms;
        h->error_sum += fabs(log((double)(h->now_ms - s->arrived_ms)) -
                             log((double)(s->first.at_ms - s->arrived_ms)));
    }
    if (s->has_later) {
        h->n_later++;
        h->n_later_in += h->now_ms >= s->later.low_ms && h->now_ms <= s->later.high_ms;
    }
}

/* Now and then one of those that wait is asked for again. */
static void tick(house *h)
{
    h->next_tick_ms += 15 * MINUTE_MS;
    for (size_t i = 0; i < h->n_open && h->n_fits > 0; i++) {
        sim_study *s = &h->studies[h->open[i]];
        if (s->has_first && !s->has_later && chance() < 0.3) {
            assert_ok(md_eta_of(h->eta, s->row.study_key, h->now_ms, &s->later, err));
            assert_true(s->later.low_ms >= h->now_ms || s->later.is_overdue);
            s->has_later = true;
        }
    }
    if (h->n_arrived >= N_LEARNT && h->now_ms >= h->next_fit_ms) {
        h->next_fit_ms = h->now_ms + REFIT_MS;
        assert_ok(md_eta_refit(h->eta, h->now_ms, err));
        h->n_fits++;
    }
}

static void run_house(house *h)
{
    h->now_ms = start_ms;
    h->next_arrival_ms = start_ms + MINUTE_MS;
    h->next_tick_ms = start_ms;
    while (h->n_arrived < N_STUDIES || h->n_open > 0) {
        int64_t next_ms = h->next_tick_ms;
        int what = -1;
        if (h->n_arrived < N_STUDIES && h->next_arrival_ms < next_ms) {
            next_ms = h->next_arrival_ms;
            what = N_READERS;
        }
        for (int r = 0; r < N_READERS; r++) {
            if (h->busy_until_ms[r] > 0 && h->busy_until_ms[r] < next_ms) {
                next_ms = h->busy_until_ms[r];
                what = r;
            }
        }
        h->now_ms = next_ms;
        if (what == -1) {
            tick(h);
        } else if (what == N_READERS) {
            arrive(h);
        } else {
            end_reading(h, (unsigned)what);
        }
        start_reading(h);
    }
}

static void test_simulated_house(void **state)
{
    fixture *f = *state;
    static house h;
    h = (house){.f = f, .studies = calloc(N_STUDIES, sizeof *h.studies)};
    const md_eta_options options = {.least_studies = 200, .history_days = 90};
    assert_ok(md_eta_start(&options, f->store, &h.eta, err));
    run_house(&h);
    md_eta_summary s = {0};
    char reason[MD_ETA_REASON_BYTES];
    assert_true(md_eta_tell(h.eta, &s, reason));
    double first = (double)h.n_first_in / (double)h.n_first;
    double later = (double)h.n_later_in / (double)h.n_later;
    print_message("# %s model; |log error| linear %.3f, forest %.3f, median %.3f; at arrival "
                  "%.3f; 80%% intervals of %zu later studies cover %.1f%%, of %zu asked while "
                  "they waited %.1f%%; the model's own check %zu of %zu\n",
                  s.is_forest ? "forest" : "linear", s.linear_error, s.forest_error,
                  s.median_error, h.error_sum / (double)h.n_first, h.n_first, 100.0 * first,
                  h.n_later, 100.0 * later, s.n_covered, s.n_checked);
    assert_true(h.n_first > 2500 && h.n_later > 500);
    assert_true(first >= 0.75 && first <= 0.85);
    assert_true(later >= 0.75 && later <= 0.85);
    assert_true(fmin(s.linear_error, s.forest_error) < 0.8 * s.median_error);
    assert_true(h.error_sum / (double)h.n_first < 0.8 * s.median_error);

    /* a restart begins with what was kept */
    md_eta_estimate before, after;
    md_store_reading row = {.arrived_ms = h.now_ms, .n_ahead = 3, .modality = "CR"};
    assert_ok(md_eta_refit(h.eta, h.now_ms, err));
    char *text = NULL;
    size_t n = 0;
    md_eta_model *one = NULL, *two = NULL;
    assert_ok(md_store_estimate(f->store, &text, &n, err));
    assert_ok(md_eta_parse(text, n, &one, err));
    md_free(text);
    assert_ok(md_eta_write(one, &text, &n, err));
    assert_ok(md_eta_parse(text, n, &two, err));
    assert_ok(md_eta_ask(one, &row, h.now_ms, &before, err));
    assert_ok(md_eta_ask(two, &row, h.now_ms, &after, err));
    assert_int_equal(before.at_ms, after.at_ms);
    assert_int_equal(before.low_ms, after.low_ms);
    assert_int_equal(before.high_ms, after.high_ms);
    /* longer than all that were seen */
    assert_ok(md_eta_ask(one, &row, h.now_ms + 300 * (int64_t)DAY_MS, &after, err));
    assert_true(after.is_overdue);
    md_eta_model_destroy(two);
    for (size_t cut = 0; cut < n; cut += n / 40 + 1) { /* damaged: an error, no model */
        char kept = text[cut];
        md_eta_model *none = NULL;
        text[cut] = '\x01';
        assert_int_not_equal(md_eta_parse(text, n, &none, NULL), MD_OK);
        assert_int_not_equal(md_eta_parse(text, cut, &none, NULL), MD_OK);
        assert_null(none);
        text[cut] = kept;
    }
    md_free(text);
    md_eta_model_destroy(one);
    md_eta_stop(h.eta);
    free(h.studies);
}

static void test_little_history(void **state)
{
    fixture *f = *state;
    md_eta *eta = NULL;
    md_error err_of = {0};
    md_eta_summary s = {0};
    md_eta_estimate estimate;
    char reason[MD_ETA_REASON_BYTES];
    const md_eta_options options = {.least_studies = 200, .history_days = 90};
    assert_ok(md_eta_start(&options, f->store, &eta, err));
    int64_t id = study_in_state(f->store, 1, MD_STUDY_DONE, NULL);
    md_study study = study_of(f->store, id);
    assert_int_equal(md_eta_refit(eta, 10 * (int64_t)DAY_MS, &err_of), MD_NOT_FOUND);
    assert_non_null(strstr(err_of.msg, "0 studies were read so far, 200 are needed"));
    assert_false(md_eta_tell(eta, &s, reason));
    assert_string_equal(reason, err_of.msg);
    assert_int_equal(md_eta_of(eta, study.key, 5000, &estimate, NULL), MD_NOT_FOUND);
    assert_int_equal(md_eta_of(eta, "0123456789abcdef", 5000, &estimate, NULL), MD_NOT_FOUND);
    md_eta_stop(eta);
}

/* Read in every way the same, arriving all at once: nothing to learn from, and no crash. */
static void test_nothing_differs(void **state)
{
    (void)state;
    enum {
        N = 300
    };
    md_store_reading *rows = calloc(N, sizeof *rows);
    md_eta_model *model = NULL;
    md_error err_of = {0};
    for (int i = 0; i < N; i++) {
        rows[i].arrived_ms = start_ms;
        rows[i].read_ms = start_ms + HOUR_MS;
    }
    assert_int_equal(md_eta_fit(rows, N, 200, start_ms + DAY_MS, &model, &err_of),
                     MD_NOT_FOUND);
    assert_non_null(strstr(err_of.msg, "do not differ"));
    /* clocks that went back: a delay below a second counts as one */
    for (int i = 0; i < N; i++) {
        rows[i].arrived_ms = start_ms + i * (int64_t)HOUR_MS;
        rows[i].read_ms = rows[i].arrived_ms - 5000;
        rows[i].n_ahead = (unsigned)i % 7;
    }
    assert_ok(md_eta_fit(rows, N, 200, start_ms + 100 * (int64_t)DAY_MS, &model, err));
    md_eta_estimate estimate;
    assert_ok(md_eta_ask(model, &rows[9], rows[9].arrived_ms, &estimate, err));
    assert_true(llabs(estimate.at_ms - rows[9].arrived_ms) < 5000);
    md_eta_model_destroy(model);
    free(rows);
}

static md_store_reading reading_of(fixture *f, const char *key)
{
    md_store_reading row;
    assert_ok(md_store_reading_of(f->store, key, &row, err));
    return row;
}

/* What the store remembers of waiting, and what counts as read. */
static void test_readings(void **state)
{
    fixture *f = *state;
    md_store_reading row;
    int64_t receiving = study_in_state(f->store, 1, MD_STUDY_RECEIVING, NULL);
    md_study study = study_of(f->store, receiving);
    assert_int_equal(md_store_reading_of(f->store, study.key, &row, NULL), MD_NOT_FOUND);
    md_study first = study_of(f->store, study_in_state(f->store, 2, MD_STUDY_DONE, NULL));
    md_study second = study_of(f->store, study_in_state(f->store, 3, MD_STUDY_DONE, NULL));
    assert_int_equal(reading_of(f, first.key).read_ms, 0);
    assert_int_equal(reading_of(f, first.key).arrived_ms, 1000);
    assert_int_equal(reading_of(f, first.key).n_instances, 1);
    assert_ok(md_store_set_read(f->store, first.key, 9000, err));
    assert_ok(md_store_set_read(f->store, first.key, 9999, err)); /* the first time counts */
    assert_int_equal(reading_of(f, first.key).read_ms, 9000);

    /* a late image: another wait begins, and the row of the one before is closed */
    add(f->store, 3, 2, 0, 20000);
    md_study again = study_of(f->store, second.id);
    assert_int_equal(again.generation, 2);
    assert_int_equal(reading_of(f, second.key).read_ms, -1);
    assert_ok(md_store_complete(f->store, &again, 21000, err));
    row = reading_of(f, second.key);
    assert_int_equal(row.generation, 2);
    assert_int_equal(row.arrived_ms, 20000);
    assert_int_equal(row.read_ms, 0);
    assert_int_equal(row.n_lately, 1);

    md_store_reading *rows = NULL;
    size_t n = 0, n_gone = 0;
    assert_ok(md_store_readings(f->store, 0, 100, &rows, &n, err));
    assert_int_equal(n, 3);
    assert_true(rows[0].arrived_ms <= rows[1].arrived_ms &&
                rows[1].arrived_ms <= rows[2].arrived_ms);
    md_free(rows);
    assert_ok(md_store_reading_retire(f->store, 20000, &n_gone, err));
    assert_int_equal(n_gone, 2);
    assert_ok(md_store_readings(f->store, 0, 100, &rows, &n, err));
    assert_int_equal(n, 1);
    md_free(rows);
    assert_int_equal(md_store_readings(f->store, 0, 0, &rows, &n, NULL), MD_LIMIT);
    char *text = NULL;
    assert_int_equal(md_store_estimate(f->store, &text, &n, NULL), MD_NOT_FOUND);
    assert_ok(md_store_put_estimate(f->store, "one", 3, err));
    assert_ok(md_store_put_estimate(f->store, "other", 5, err));
    fixture_reopen(f);
    assert_ok(md_store_estimate(f->store, &text, &n, err));
    assert_string_equal(text, "other");
    md_free(text);
}

/* The figures of a new row come from indices: every analysis waits for this in the writer's
 * transaction, and the table holds years. */
static void test_no_scan(void **state)
{
    fixture *f = *state;
    sqlite3 *db = NULL;
    sqlite3_stmt *plan = NULL;
    char sql[256];
    unsigned n = 0;
    snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", md_sqlite_reading_lately);
    assert_int_equal(sqlite3_open(f->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &plan, NULL), SQLITE_OK);
    for (; sqlite3_step(plan) == SQLITE_ROW; n++) {
        const char *step = (const char *)sqlite3_column_text(plan, 3);
        assert_non_null(strstr(step, "SEARCH reading USING COVERING INDEX reading_read"));
    }
    assert_int_equal(n, 1);
    sqlite3_finalize(plan);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

int main(void)
{
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 1); /* fifty thousand transactions */
    }
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readings, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_no_scan, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_little_history, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_nothing_differs),
        cmocka_unit_test_setup_teardown(test_simulated_house, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("daemon-eta", tests, NULL, NULL);
}
