/* Figures against values worked out by hand. */

#include "daemon/evaluation/evaluation.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_about(a, b) assert_true(fabs((a) - (b)) < 5e-5)

static void test_quantiles(void **state)
{
    (void)state;
    int64_t values[100];
    for (int i = 0; i < 100; i++) {
        values[i] = (i * 37 + 11) % 100 + 1; /* 1..100 in disorder */
    }
    md_quantiles q = md_quantiles_of(values, 100);
    assert_int_equal(q.p50_ms, 50);
    assert_int_equal(q.p95_ms, 95);
    assert_int_equal(q.p99_ms, 99);
    q = md_quantiles_of(values, 1);
    assert_int_equal(q.p50_ms, 1);
    assert_int_equal(q.p99_ms, 1);
    assert_int_equal(md_quantiles_of(values, 0).n, 0);
}

/* Five arrive; the urgent one comes last and is read first. */
static void test_reading_order(void **state)
{
    (void)state;
    const md_study_history rows[] = {
        {.arrived_ms = 1000, .stored_ms = 3000, .read_ms = 20000},
        {.arrived_ms = 2000, .stored_ms = 4000, .read_ms = 30000},
        {.arrived_ms = 3000, .stored_ms = 6000, .failed = true},
        {.arrived_ms = 4000, .stored_ms = 7000, .read_ms = 40000},
        {.arrived_ms = 5000,
         .stored_ms = 9000,
         .notified_ms = 5500,
         .read_ms = 10000,
         .urgent = true},
    };
    md_evaluation e;
    assert_int_equal(md_evaluation_make(rows, 5, &e, NULL), MD_OK);
    assert_int_equal(e.n_studies, 5);
    assert_int_equal(e.n_failed, 1);
    assert_int_equal(e.n_urgent, 1);
    assert_int_equal(e.to_stored.n, 5);
    assert_int_equal(e.to_stored.p50_ms, 3000);
    assert_int_equal(e.to_stored.p99_ms, 4000);
    assert_int_equal(e.to_notified.n, 1);
    assert_int_equal(e.to_notified.p50_ms, 500);
    assert_int_equal(e.order.n_read, 4);
    assert_true(e.order.urgent_by_arrival == 1.0);
    assert_true(e.order.urgent_by_reading == 0.0);
    assert_int_equal(e.order.urgent_waited.p50_ms, 5000);
    assert_int_equal(e.order.routine_waited.n, 3);
    assert_int_equal(e.order.routine_waited.p50_ms, 28000);
    assert_int_equal(md_evaluation_make(NULL, 0, &e, NULL), MD_OK);
    assert_int_equal(e.order.n_read, 0);
    md_memory_fail_at(2);
    assert_int_equal(md_evaluation_make(rows, 5, &e, NULL), MD_NOMEM);
    md_memory_fail_at(0);
}

static void test_finding_figures(void **state)
{
    (void)state;
    const md_finding_tally t = {.n_true_positive = 8,
                                .n_false_positive = 2,
                                .n_true_negative = 85,
                                .n_false_negative = 5};
    md_finding_figures f = md_finding_figures_of(&t);
    assert_about(f.sensitivity.value, 8.0 / 13);
    assert_about(f.specificity.value, 85.0 / 87);
    assert_about(f.ppv.value, 0.8);
    assert_about(f.npv.value, 85.0 / 90);
    assert_int_equal(f.ppv.n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_reading_order),
        cmocka_unit_test(test_finding_figures),
    };
    return cmocka_run_group_tests_name("evaluation", tests, NULL, NULL);
}
