#include "daemon/metrics/figures.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    N_THREADS = 8,
    N_ROUNDS = 50000
};

static const int64_t bounds_ms[] = {100, 1000, 2500};

static void test_text(void **state)
{
    (void)state;
    md_metrics_page page = {0};
    md_metrics_head(&page, "medaid_x_total", "counter", "A \\ and\na \"quote\".");
    md_metrics_value(&page, "medaid_x_total", NULL, 9007199254740991.0);
    const md_metrics_label labels[] = {{"a", "plain"},
                                       {"b", "q\"b\\s\nn\tt\x7f"},
                                       {"c", "\xc3\xa4\xff\xed\xa0\x80"},
                                       {NULL, NULL}};
    md_metrics_value(&page, "medaid_x_total", labels, 0.25);
    md_metrics_value(&page, "medaid_y", NULL, NAN);
    md_metrics_value(&page, "medaid_y", NULL, -INFINITY);
    assert_int_equal(page.status, MD_OK);
    assert_int_equal(page.n_bytes, strlen(page.text));
    assert_string_equal(
        page.text, "# HELP medaid_x_total A \\\\ and\\na \"quote\".\n"
                   "# TYPE medaid_x_total counter\n"
                   "medaid_x_total 9007199254740991\n"
                   "medaid_x_total{a=\"plain\",b=\"q\\\"b\\\\s\\nn?t?\",c=\"\xc3\xa4????\"} "
                   "0.25\n"
                   "medaid_y NaN\n"
                   "medaid_y -Inf\n");
    md_metrics_page_finish(&page);
    assert_null(page.text);
}

static void test_histogram(void **state)
{
    (void)state;
    md_histogram histogram = {.bounds_ms = bounds_ms, .n_bounds = 3};
    md_metrics_page page = {0};
    static const int64_t values_ms[] = {-5, 0, 100, 101, 1000, 2500, 2501, 86400000};
    for (size_t i = 0; i < sizeof values_ms / sizeof *values_ms; i++) {
        md_histogram_add(&histogram, values_ms[i]);
    }
    md_metrics_histogram(&page, "medaid_t_seconds", &histogram);
    assert_string_equal(page.text, "medaid_t_seconds_bucket{le=\"0.1\"} 3\n"
                                   "medaid_t_seconds_bucket{le=\"1\"} 5\n"
                                   "medaid_t_seconds_bucket{le=\"2.5\"} 6\n"
                                   "medaid_t_seconds_bucket{le=\"+Inf\"} 8\n"
                                   "medaid_t_seconds_sum 86406.202\n"
                                   "medaid_t_seconds_count 8\n");
    md_metrics_page_finish(&page);
}

typedef struct shared {
    md_counter counter;
    md_histogram histogram;
    atomic_bool over;
} shared;

static void *add_many(void *argument)
{
    shared *now = argument;
    for (int i = 0; i < N_ROUNDS; i++) {
        md_counter_add(&now->counter, 2);
        md_histogram_add(&now->histogram, i % 4000);
    }
    return NULL;
}

/* Pages that are written meanwhile: buckets rise, and the count is the last of them. */
static void *read_many(void *argument)
{
    shared *now = argument;
    size_t n_bad = 0;
    while (!atomic_load(&now->over)) {
        md_metrics_page page = {0};
        double counts[4], count, sum;
        md_metrics_histogram(&page, "t", &now->histogram);
        int n =
            sscanf(page.text,
                   "t_bucket{le=\"0.1\"} %lf t_bucket{le=\"1\"} %lf t_bucket{le=\"2.5\"} %lf"
                   " t_bucket{le=\"+Inf\"} %lf t_sum %lf t_count %lf",
                   &counts[0], &counts[1], &counts[2], &counts[3], &sum, &count);
        n_bad += n != 6 || counts[0] > counts[1] || counts[1] > counts[2] ||
                 counts[2] > counts[3] || counts[3] < count || counts[3] > count;
        md_metrics_page_finish(&page);
    }
    return n_bad == 0 ? NULL : now;
}

static void test_many_threads(void **state)
{
    (void)state;
    static shared now = {.histogram = {.bounds_ms = bounds_ms, .n_bounds = 3}};
    pthread_t threads[N_THREADS], reader;
    void *bad = NULL;
    assert_int_equal(pthread_create(&reader, NULL, read_many, &now), 0);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &now), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&now.over, true);
    pthread_join(reader, &bad);
    assert_null(bad);
    assert_int_equal(md_counter_get(&now.counter), 2 * N_THREADS * N_ROUNDS);
    uint64_t n = 0, sum_ms = 0;
    for (int i = 0; i < 4; i++) {
        n += atomic_load(&now.histogram.counts[i]);
    }
    for (uint64_t i = 0; i < N_ROUNDS; i++) {
        sum_ms += i % 4000;
    }
    assert_int_equal(n, N_THREADS * N_ROUNDS);
    assert_int_equal(atomic_load(&now.histogram.sum_ms), N_THREADS * sum_ms);
}

static void test_limits(void **state)
{
    (void)state;
    md_metrics_page page = {0};
    for (int i = 0; i < 200000; i++) {
        md_metrics_value(&page, "medaid_x", NULL, 1);
    }
    assert_int_equal(page.status, MD_LIMIT);
    assert_true(page.n_bytes < MD_METRICS_MAX_BYTES);
    assert_int_equal(strlen(page.text), page.n_bytes);
    md_metrics_page_finish(&page);
    for (size_t nth = 1; nth <= 2; nth++) { /* the first block, and its first growth */
        md_memory_fail_at(nth);
        for (int i = 0; i < 1000; i++) {
            md_metrics_value(&page, "medaid_x", NULL, 1);
        }
        md_memory_fail_at(0);
        assert_int_equal(page.status, MD_NOMEM);
        md_metrics_page_finish(&page);
    }
}

static void test_figures(void **state)
{
    (void)state;
    md_figures *figures = md_figures_now();
    assert_ptr_equal(figures, md_figures_now());
    const md_histogram *both[] = {&figures->analysis, &figures->notification};
    for (int i = 0; i < 2; i++) {
        assert_in_range(both[i]->n_bounds, 1, MD_HISTOGRAM_MAX_BOUNDS);
        for (unsigned k = 1; k < both[i]->n_bounds; k++) {
            assert_true(both[i]->bounds_ms[k] > both[i]->bounds_ms[k - 1]);
        }
    }
    for (int i = 0; i < MD_REJECT_N_REASONS; i++) {
        assert_string_not_equal(md_reject_reason_name((md_reject_reason)i), "unknown");
    }
    assert_string_equal(md_reject_reason_name(MD_REJECT_N_REASONS), "unknown");
}

static void test_positives(void **state)
{
    static md_figures_finding list[MD_FIGURES_MAX_FINDINGS];
    char name[16];
    (void)state;
    md_figures_positive("chest", "pneumonia");
    md_figures_positive("chest", "effusion");
    md_figures_positive("chest", "pneumonia");
    assert_int_equal(md_figures_positives(list), 2);
    assert_string_equal(list[0].finding, "pneumonia");
    assert_int_equal(list[0].n, 2);
    assert_int_equal(list[1].n, 1);
    for (int i = 0; i < 2 * MD_FIGURES_MAX_FINDINGS; i++) {
        snprintf(name, sizeof name, "finding-%d", i);
        md_figures_positive("many", name);
    }
    assert_int_equal(md_figures_positives(list), MD_FIGURES_MAX_FINDINGS);
    unsigned first = md_figures_destination("pacs");
    assert_int_equal(md_figures_destination("other"), first + 1);
    assert_int_equal(md_figures_destination("pacs"), first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),         cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_many_threads), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_figures),      cmocka_unit_test(test_positives),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
