#ifndef MEDAID_DAEMON_METRICS_METRICS_H
#define MEDAID_DAEMON_METRICS_METRICS_H

/* Numbers that many threads add to and one reads: counters and histograms, and the text in
 * which Prometheus reads them (its exposition format, version 0.0.4). Adding takes no lock. A
 * reader sees each number whole, but not all of them at one moment: a histogram's count is made
 * of its buckets when it is written, so that the two always agree. */

#include "base/memory.h"

#include <stdatomic.h>

enum {
    MD_HISTOGRAM_MAX_BOUNDS = 16,
    MD_METRICS_MAX_BYTES = 1 << 20, /* of a page */
};

typedef struct md_counter {
    _Atomic uint64_t value;
} md_counter;

static inline void md_counter_add(md_counter *counter, uint64_t n)
{
    atomic_fetch_add_explicit(&counter->value, n, memory_order_relaxed);
}

static inline uint64_t md_counter_get(const md_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

/* Of durations. Zeroed but for `bounds`, which are upper limits in milliseconds, ascending,
 * each inclusive, and outlive the histogram. */
typedef struct md_histogram {
    const int64_t *bounds_ms;
    unsigned n_bounds;                                    /* at most MD_HISTOGRAM_MAX_BOUNDS */
    _Atomic uint64_t counts[MD_HISTOGRAM_MAX_BOUNDS + 1]; /* not cumulative; the last: above */
    _Atomic uint64_t sum_ms;
} md_histogram;

/* A negative duration counts as 0. */
void md_histogram_add(md_histogram *histogram, int64_t duration_ms);

/* A page that is being written; begin with {0}, finish with md_metrics_page_finish. */
typedef struct md_metrics_page {
    char *text; /* zero at its end; NULL while empty */
    size_t n_bytes, n_room;
    md_status status; /* of the first write that failed: MD_NOMEM, MD_LIMIT */
} md_metrics_page;

/* A label and its value; NULL name ends a list. */
typedef struct md_metrics_label {
    const char *name, *value;
} md_metrics_label;

/* The two lines before a metric's values. `type` is counter, gauge or histogram. Line feeds and
 * backslashes of `help` are escaped. */
void md_metrics_head(md_metrics_page *page, const char *name, const char *type,
                     const char *help);
/* One value. `labels` may be NULL; their values are escaped (backslash, quote, line feed), and
 * bytes that are not UTF-8 text become '?'. */
void md_metrics_value(md_metrics_page *page, const char *name, const md_metrics_label *labels,
                      double value);
/* Buckets in seconds, sum and count. */
void md_metrics_histogram(md_metrics_page *page, const char *name,
                          const md_histogram *histogram);
void md_metrics_page_finish(md_metrics_page *page);

#endif
