#include "daemon/evaluation/evaluation.h"

#include <math.h>
#include <stdlib.h>

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest value that at least q of all do not exceed. */
static int64_t rank(const int64_t *sorted, size_t n, double q)
{
    size_t at = (size_t)ceil(q * (double)n);
    return sorted[at > 0 ? at - 1 : 0];
}

md_quantiles md_quantiles_of(int64_t *values_ms, size_t n)
{
    if (n == 0) {
        return (md_quantiles){0};
    }
    qsort(values_ms, n, sizeof *values_ms, compare_times);
    return (md_quantiles){.n = n,
                          .p50_ms = rank(values_ms, n, 0.50),
                          .p95_ms = rank(values_ms, n, 0.95),
                          .p99_ms = rank(values_ms, n, 0.99)};
}

/* Quantiles of (when - arrival), for those that have a `when` and are wanted. */
static md_quantiles waits(const md_study_history *rows, size_t n, size_t member, int urgent,
                          int64_t *scratch)
{
    size_t n_values = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t when = *(const int64_t *)((const char *)&rows[i] + member);
        bool wanted = urgent < 0 || rows[i].urgent == (urgent != 0);
        if (wanted && when > 0) {
            scratch[n_values++] = when - rows[i].arrived_ms;
        }
    }
    return md_quantiles_of(scratch, n_values);
}

static int compare_reading(const void *a, const void *b)
{
    const md_study_history *x = a, *y = b;
    return (x->read_ms > y->read_ms) - (x->read_ms < y->read_ms);
}

static double mean_urgent_position(const md_study_history *rows, size_t n, size_t n_urgent)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += rows[i].urgent ? (double)i : 0;
    }
    return n_urgent == 0 || n < 2 ? 0 : sum / (double)n_urgent / (double)(n - 1);
}

/* `rows` are in the order of arrival. */
static md_status find_order(const md_study_history *rows, size_t n, md_reading_order *order,
                            md_error *err)
{
    MD_AUTO(md_freep) md_study_history *read = md_calloc(n + 1, sizeof *read);
    if (read == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu studies", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i].read_ms > 0) {
            read[order->n_read++] = rows[i];
            order->n_urgent_read += rows[i].urgent;
        }
    }
    order->urgent_by_arrival = mean_urgent_position(read, order->n_read, order->n_urgent_read);
    qsort(read, order->n_read, sizeof *read, compare_reading);
    order->urgent_by_reading = mean_urgent_position(read, order->n_read, order->n_urgent_read);
    return MD_OK;
}

md_status md_evaluation_make(const md_study_history *rows, size_t n,
                             md_evaluation *ret_evaluation, md_error *err)
{
    md_evaluation e = {.n_studies = n};
    MD_AUTO(md_freep) int64_t *scratch = md_calloc(n + 1, sizeof *scratch);
    if (scratch == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu studies", n);
    }
    for (size_t i = 0; i < n; i++) {
        e.n_failed += rows[i].failed;
        e.n_urgent += rows[i].urgent;
    }
    e.to_stored = waits(rows, n, offsetof(md_study_history, stored_ms), -1, scratch);
    e.to_notified = waits(rows, n, offsetof(md_study_history, notified_ms), -1, scratch);
    e.order.urgent_waited = waits(rows, n, offsetof(md_study_history, read_ms), 1, scratch);
    e.order.routine_waited = waits(rows, n, offsetof(md_study_history, read_ms), 0, scratch);
    MD_TRY(find_order(rows, n, &e.order, err));
    *ret_evaluation = e;
    return MD_OK;
}

md_finding_figures md_finding_figures_of(const md_finding_tally *t)
{
    return (md_finding_figures){
        .sensitivity =
            md_proportion_of(t->n_true_positive, t->n_true_positive + t->n_false_negative),
        .specificity =
            md_proportion_of(t->n_true_negative, t->n_true_negative + t->n_false_positive),
        .ppv = md_proportion_of(t->n_true_positive, t->n_true_positive + t->n_false_positive),
        .npv = md_proportion_of(t->n_true_negative, t->n_true_negative + t->n_false_negative),
    };
}
