#ifndef MEDAID_PLUGINS_TRAIN_RISK_H
#define MEDAID_PLUGINS_TRAIN_RISK_H

/* medaid-train risk: from a table to a risk model (inference/tabular/risk.h) and a report. */

#include "base/memory.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What was measured, on rows that the model of their fold had not seen; the choice of its
 * parameters neither. Of a yes-or-no target AUC and Brier score, of a value the rest; NaN where
 * it does not apply. */
typedef struct md_risk_outcome {
    size_t n_rows, n_groups, n_skipped;
    double auc, auc_low, auc_high, brier;
    double rmse, rmse_low, rmse_high, mean_error, r_squared;
    size_t n_covered; /* within their interval */
} md_risk_outcome;

/* Read the recipe (docs/risk-model.md), fit, and write risk.json, report.html, charts and
 * measured.json into its run folder. Words for people go to `progress` (NULL: none). Errors
 * name file, line and column, never a value of the table. MD_FORMAT, MD_INVALID_ARG (the table
 * cannot be learnt from), MD_LIMIT, MD_NOT_FOUND, MD_IO, MD_NOMEM, MD_UNSUPPORTED (a library is
 * not installed). */
md_status md_risk_train(const char *recipe_path, FILE *progress, md_risk_outcome *ret_outcome,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
