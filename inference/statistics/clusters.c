#include "inference/statistics/clusters.h"

#include "inference/statistics/ranking.h"

#include <stdlib.h>

static int compare_keys(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

md_status md_clusters_init(const uint32_t *patients, size_t n_rows, md_clusters *ret_clusters,
                           md_error *err)
{
    if (n_rows == 0) {
        return md_fail(err, MD_INVALID_ARG, "no rows to measure on");
    }
    if (n_rows > MD_STATISTICS_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%zu rows, at most %zu", n_rows, MD_STATISTICS_MAX_ROWS);
    }
    MD_AUTO(md_freep) uint64_t *keys = md_calloc(n_rows, sizeof *keys);
    MD_AUTO(md_clusters_finish)
    md_clusters c = {.begins = md_calloc(n_rows + 1, sizeof *c.begins),
                     .rows = md_calloc(n_rows, sizeof *c.rows)};
    if (keys == NULL || c.begins == NULL || c.rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n_rows);
    }
    for (size_t i = 0; i < n_rows; i++) {
        keys[i] = (uint64_t)(patients != NULL ? patients[i] : (uint32_t)i) << 32 | i;
    }
    qsort(keys, n_rows, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n_rows; i++) {
        if (i == 0 || keys[i] >> 32 != keys[i - 1] >> 32) {
            c.begins[c.n++] = (uint32_t)i;
        }
        c.rows[i] = (uint32_t)keys[i];
    }
    c.begins[c.n] = (uint32_t)n_rows;
    *ret_clusters = c;
    c = (md_clusters){0};
    return MD_OK;
}

void md_clusters_finish(md_clusters *clusters)
{
    md_free(clusters->begins);
    md_free(clusters->rows);
    *clusters = (md_clusters){0};
}
