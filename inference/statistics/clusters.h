#ifndef MEDAID_INFERENCE_STATISTICS_CLUSTERS_H
#define MEDAID_INFERENCE_STATISTICS_CLUSTERS_H

/* Rows that belong together: the films of one patient. Pure; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_clusters {
    size_t n;         /* patients */
    uint32_t *begins; /* owned; n + 1 places in `rows` */
    uint32_t *rows;   /* owned; the rows, patient by patient */
} md_clusters;

/* `patients` holds any numbers, equal ones being one patient; NULL: each row is its own. By
 * rising number, rows of one in their order. MD_INVALID_ARG for no rows, MD_LIMIT, MD_NOMEM. */
md_status md_clusters_init(const uint32_t *patients, size_t n_rows, md_clusters *ret_clusters,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine. */
void md_clusters_finish(md_clusters *clusters) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
