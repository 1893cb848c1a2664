#ifndef MEDAID_PLUGINS_TRAIN_HEAD_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_HEAD_INTERNAL_H

/* Inside plugins/train only: the parts of `medaid-train head`. */

#include "inference/tabular/svm.h"
#include "plugins/host/manifest.h"
#include "plugins/train/head.h"

/* Films as the network sees them. */
typedef struct md_head_rows {
    size_t n;
    unsigned n_columns;
    double *x;          /* owned, as all; [n][n_columns] */
    int8_t *kinds;      /* [n] 1: has the finding */
    uint32_t *patients; /* [n] */
    char **paths;       /* [n], owned each */
} md_head_rows;
void md_head_rows_finish(md_head_rows *rows);

/* The machine with the c that cross-validation likes best. n_columns and numbers from `rows`,
 * those that `chosen` [n_chosen] names; NULL: all. Caller finishes. */
md_status md_head_fit(const md_head_rows *rows, const uint32_t *chosen, size_t n_chosen,
                      uint64_t seed, md_svm *ret_svm, double *ret_c, md_error *err)
    MD_NODISCARD;

/* The points of the curve into the report, and the chart. */
md_status md_head_curve(const md_head_options *options, const md_head_rows *learn,
                        const md_head_rows *held, md_head_report *report, md_error *err)
    MD_NODISCARD;

/* The package, and whether it gives what the machine gives on some of the films. */
md_status md_head_export(const md_head_options *options, md_analyzer *analyzer,
                         const md_svm *svm, const md_head_rows *rows, double threshold,
                         const md_head_report *report, md_error *err) MD_NODISCARD;

#endif
