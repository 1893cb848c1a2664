#ifndef MEDAID_INFERENCE_SALIENCY_CHECK_H
#define MEDAID_INFERENCE_SALIENCY_CHECK_H

/* Whether maps can be believed: do they change when the network's weights do (Adebayo et al.,
 * "Sanity checks for saliency maps", NeurIPS 2018), and do they point where something is (Zhang
 * et al., "Top-down neural attention by excitation backprop", IJCV 2018). Pure; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_MAP_CHECK_MAX_SIDE = 4096
};

/* Spearman's rank correlation of n values, ties by mean ranks: -1..1. NaN when one of the two
 * is the same everywhere. MD_NOMEM; MD_FORMAT when a value is not finite. */
md_status md_map_rank_correlation(const float *a, const float *b, size_t n,
                                  double *ret_correlation, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Mean structural similarity (Wang et al., IEEE TIP 13 (2004) 600) of values in 0..1: Gaussian
 * window of 11 x 11 with sigma 1.5 at every place where it lies inside, K1 = 0.01, K2 = 0.03,
 * covariances as they are (not n / (n - 1)). Both sides 11..MD_MAP_CHECK_MAX_SIDE
 * (MD_INVALID_ARG); MD_FORMAT when a value is not finite. */
md_status md_map_similarity(const float *a, const float *b, uint32_t rows, uint32_t columns,
                            double *ret_similarity, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* A rectangle of the film, in its pixels. */
typedef struct md_map_region {
    double x, y, width, height;
} md_map_region;

/* What a map of the whole film says of regions, the map's values row by row over
 * film_width x film_height pixels. */
typedef struct md_pointing {
    bool hit; /* the centre of the largest value (of several the first) is in a region, or at
                 most `tolerance` pixels outside of one */
    double energy; /* share of the map's sum that lies in the regions (Wang et al., "Score-CAM",
                      CVPRW 2020, 4.2); NaN when the map is all 0 */
    double area;   /* share of the film that the regions cover: what chance gives */
} md_pointing;
/* Cells count by the place of their centres. MD_INVALID_ARG for no region or sizes that are not
 * above 0; MD_FORMAT when a value is not finite or below 0. */
md_status md_map_pointing(const float *values, uint32_t rows, uint32_t columns,
                          double film_width, double film_height, const md_map_region *regions,
                          size_t n_regions, double tolerance, md_pointing *ret_pointing,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
