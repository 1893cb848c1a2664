#ifndef MEDAID_INFERENCE_TABULAR_FOLDS_H
#define MEDAID_INFERENCE_TABULAR_FOLDS_H

/* Who is left out when: folds for cross-validation. Pure; any thread. */

#include "base/memory.h"

enum {
    MD_FOLDS_MAX = 20
};

/* Deal the rows out to n_folds (2..MD_FOLDS_MAX) folds, shuffled by the seed. Rows of one group
 * (equal numbers; NULL: each row alone) stay together. With kinds (0 or 1; NULL: none) every
 * fold has its share of the groups with a row of kind 1 and of those without. MD_INVALID_ARG
 * when there are fewer groups, of one of the two with kinds, than folds. MD_LIMIT, MD_NOMEM. */
md_status md_folds_deal(const int8_t *kinds, const uint32_t *groups, size_t n_rows,
                        unsigned n_folds, uint64_t seed, uint8_t *ret_folds, md_error *err)
    MD_NODISCARD;

#endif
