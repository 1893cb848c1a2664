#ifndef MEDAID_DAEMON_EVALUATION_EVALUATION_H
#define MEDAID_DAEMON_EVALUATION_EVALUATION_H

/* What the triage did, in figures: from the database's history to what `medaidctl report`
 * shows. Pure; any thread. */

#include "daemon/store/store.h"
#include "inference/statistics/proportion.h"

/* Quantiles by the nearest rank, in milliseconds. */
typedef struct md_quantiles {
    size_t n;
    int64_t p50_ms, p95_ms, p99_ms;
} md_quantiles;

/* Sorts `values_ms` in place. */
md_quantiles md_quantiles_of(int64_t *values_ms, size_t n);

/* Where the urgent studies stand among those that were read: 0 first, 1 last; by arrival, which
 * is the order without triage, and by reading. And how long they waited. */
typedef struct md_reading_order {
    size_t n_read, n_urgent_read;
    double urgent_by_arrival, urgent_by_reading; /* mean position; 0 without any */
    md_quantiles urgent_waited, routine_waited;  /* from the last image to the reading */
} md_reading_order;

typedef struct md_evaluation {
    size_t n_studies, n_failed, n_urgent;
    md_quantiles to_stored;   /* last image received to results stored: time to notification */
    md_quantiles to_notified; /* last image received to the first notifier told */
    md_reading_order order;
} md_evaluation;

/* MD_NOMEM. */
md_status md_evaluation_make(const md_study_history *rows, size_t n,
                             md_evaluation *ret_evaluation, md_error *err) MD_NODISCARD;

/* Of one finding, by the readers' verdicts. Sensitivity and specificity hold for the studies
 * that readers judged, not for all. */
typedef struct md_finding_figures {
    md_proportion sensitivity, specificity, ppv, npv;
} md_finding_figures;

md_finding_figures md_finding_figures_of(const md_finding_tally *tally);

#endif
