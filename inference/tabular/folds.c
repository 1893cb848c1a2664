#include "inference/tabular/folds.h"

#include "inference/statistics/clusters.h"

/* SplitMix64 (G. Steele et al., OOPSLA 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* `order` and `positive` have room for each group. */
static void deal(const md_clusters *clusters, const int8_t *kinds, unsigned n_folds,
                 uint64_t seed, uint32_t *order, uint8_t *positive, uint8_t *ret_folds,
                 size_t *ret_n_positive)
{
    *ret_n_positive = 0;
    for (size_t g = 0; g < clusters->n; g++) {
        order[g] = (uint32_t)g;
        for (uint32_t k = clusters->begins[g]; kinds != NULL && k < clusters->begins[g + 1];
             k++) {
            positive[g] |= kinds[clusters->rows[k]] == 1;
        }
        *ret_n_positive += positive[g];
    }
    for (size_t g = clusters->n; g > 1; g--) {
        size_t other = next_random(&seed) % g;
        uint32_t swapped = order[g - 1];
        order[g - 1] = order[other];
        order[other] = swapped;
    }
    unsigned fold = 0;
    for (uint8_t kind = 2; kind-- > 0;) {
        for (size_t k = 0; k < clusters->n; k++) {
            uint32_t g = order[k];
            if (positive[g] == kind) {
                for (uint32_t r = clusters->begins[g]; r < clusters->begins[g + 1]; r++) {
                    ret_folds[clusters->rows[r]] = (uint8_t)(fold % n_folds);
                }
                fold++;
            }
        }
    }
}

md_status md_folds_deal(const int8_t *kinds, const uint32_t *groups, size_t n_rows,
                        unsigned n_folds, uint64_t seed, uint8_t *ret_folds, md_error *err)
{
    if (n_folds < 2 || n_folds > MD_FOLDS_MAX) {
        return md_fail(err, MD_INVALID_ARG, "%u folds are not in 2..%d", n_folds, MD_FOLDS_MAX);
    }
    md_clusters clusters = {0};
    MD_TRY(md_clusters_init(groups, n_rows, &clusters, err));
    MD_AUTO(md_freep) uint32_t *order = md_calloc(clusters.n, sizeof *order);
    MD_AUTO(md_freep) uint8_t *positive = md_calloc(clusters.n, sizeof *positive);
    size_t n_groups = clusters.n, n_positive = 0;
    bool room = order != NULL && positive != NULL;
    if (room) {
        deal(&clusters, kinds, n_folds, seed, order, positive, ret_folds, &n_positive);
    }
    md_clusters_finish(&clusters);
    if (!room) {
        return md_fail(err, MD_NOMEM, "no memory for %zu groups", n_groups);
    }
    if (kinds == NULL && n_groups < n_folds) {
        return md_fail(err, MD_INVALID_ARG, "%zu groups of rows are too few for %u folds",
                       n_groups, n_folds);
    }
    if (kinds != NULL && (n_positive < n_folds || n_groups - n_positive < n_folds)) {
        return md_fail(err, MD_INVALID_ARG,
                       "%zu groups with and %zu without the finding: each kind needs at least "
                       "%u, one for each fold",
                       n_positive, n_groups - n_positive, n_folds);
    }
    return MD_OK;
}
