#ifndef MEDAID_PLUGINS_TRAIN_GROUPS_H
#define MEDAID_PLUGINS_TRAIN_GROUPS_H

/* Groups of patients for an assessment: by sex, age band, view and manufacturer, where the data
 * say. A table belongs to one thread at a time. */

#include "plugins/train/assess.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_GROUPS_MAX_WORDS = 12, /* different views or manufacturers; rarer ones are "other" */
    MD_GROUPS_WORD_BYTES = 65,
    MD_GROUPS_MAX_EDGES = 16,
    MD_GROUPS_N_COLUMNS = 4
};

/* What is known of a row. */
typedef struct md_group_facts {
    char sex;                        /* 'F', 'M', 'O' in either case; else not known */
    double age_years;                /* NaN: not known */
    const char *view, *manufacturer; /* NULL or "": not known; compared without case */
} md_group_facts;

typedef struct md_groups {
    md_assess_column columns[MD_GROUPS_N_COLUMNS];
    unsigned n_columns; /* columns in which nothing is known are left out */
    void *block;        /* owned: labels and numbers */
} md_groups;

/* facts[n]; `edges` are rising ages in years between the bands (0 of them: 1, 5, 18, 40, 65,
 * 80). MD_INVALID_ARG for edges that do not rise, MD_LIMIT, MD_NOMEM. Caller finishes. */
md_status md_groups_make(const md_group_facts *facts, size_t n, const float *edges,
                         unsigned n_edges, md_groups *ret_groups, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_groups_finish(md_groups *groups) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
