#ifndef MEDAID_PLUGINS_TRAIN_ASSESS_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_ASSESS_INTERNAL_H

/* Inside plugins/train only: what the parts of the assessment share. */

#include "inference/statistics/bootstrap.h"
#include "plugins/train/assess.h"

/* Rows of a question that have both a score and a truth. */
typedef struct md_assess_rows {
    size_t n;
    double *scores, *log_odds; /* owned, as all */
    int8_t *truths, *calls;
    uint32_t *patients, *rows; /* `rows`: numbers among the input's */
} md_assess_rows;

md_status md_assess_rows_init(md_assess_rows *rows, size_t n, md_error *err) MD_NODISCARD;
void md_assess_rows_finish(md_assess_rows *rows);

md_bootstrap_options md_assess_bootstrap_options(const md_assess_input *input);

/* Fill the measures of rows; counts alone when too_small. */
md_status md_assess_measure(const md_assess_input *input, const md_assess_rows *rows,
                            bool too_small, md_measures *ret_measures, md_error *err)
    MD_NODISCARD;

/* Temperature and Platt, on all rows and crosswise. */
md_status md_assess_fits(const md_assess_rows *rows, md_assess_fit *ret_temperature,
                         md_assess_fit *ret_platt, md_error *err) MD_NODISCARD;

md_estimate md_assess_estimate(const md_interval *interval);

#endif
