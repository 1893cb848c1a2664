#ifndef MEDAID_DAEMON_ETA_ETA_MODEL_H
#define MEDAID_DAEMON_ETA_ETA_MODEL_H

/* How long a study will wait for its reader, from how long earlier ones did (docs/eta.md): a
 * regression of the logarithm of the delay on what is known when a study begins to wait, and
 * the spread of what it said wrong about later studies.
 *
 *   log(read - arrived in s) = m(x) + r
 *
 * m is a linear model or a forest, whichever was better on studies that arrived after those it
 * was fitted on; r has the distribution of its residuals there, of cases with an m like this
 * one. A study that has waited w
 * already has r above log w - m: its quantiles are those of what remains.
 *
 * Pure; an md_eta_model is immutable, any thread may ask it. */

#include "daemon/store/store_reading.h"

enum {
    MD_ETA_MOST_CASES = 20000, /* the newest */
    MD_ETA_N_QUANTILES = 201
};

#define MD_ETA_CONFIDENCE 0.8 /* of the interval */

typedef struct md_eta_model md_eta_model;

/* What a fit found. Errors are means of |log of the delay, said and true|, on later studies. */
typedef struct md_eta_summary {
    int64_t fitted_ms, from_ms, to_ms; /* arrivals of the cases */
    size_t n_cases;
    size_t n_unread; /* arrived long enough ago, and nobody has said that they were read */
    bool is_forest;
    double linear_error, forest_error; /* NaN: it was not tried */
    double median_error;               /* of saying the median to each */
    /* Of the last quarter, by a model and residuals of before: how many were read within their
     * interval. */
    size_t n_checked, n_covered;
} md_eta_summary;

/* rows: of md_store_readings, by arrival. MD_NOT_FOUND, saying how many there are: fewer than
 * `least` were read. MD_UNSUPPORTED (no LAPACKE), MD_NOMEM. Caller destroys. */
md_status md_eta_fit(const md_store_reading *rows, size_t n, size_t least, int64_t now_ms,
                     md_eta_model **ret_model, md_error *err) MD_NODISCARD;
void md_eta_model_destroy(md_eta_model *model);
MD_DEFINE_DESTROYP(md_eta_model, md_eta_model_destroy)

/* As text, for the database, and back; hostile like any file. MD_FORMAT, MD_LIMIT, MD_NOMEM.
 * Caller frees or destroys. */
md_status md_eta_write(const md_eta_model *model, char **ret_text, size_t *ret_n, md_error *err)
    MD_NODISCARD;
md_status md_eta_parse(const char *text, size_t n, md_eta_model **ret_model, md_error *err)
    MD_NODISCARD;

const md_eta_summary *md_eta_describe(const md_eta_model *model);

typedef struct md_eta_estimate {
    /* It waits longer than nearly all of its kind did: nothing is expected of it. */
    bool is_overdue;
    int64_t at_ms;           /* as likely earlier as later */
    int64_t low_ms, high_ms; /* between these with MD_ETA_CONFIDENCE */
} md_eta_estimate;

/* When an unread study will have been read, seen from now_ms. MD_INVALID_ARG: not from this
 * row. */
md_status md_eta_ask(const md_eta_model *model, const md_store_reading *row, int64_t now_ms,
                     md_eta_estimate *ret_estimate, md_error *err) MD_NODISCARD;

#endif
