#ifndef MEDAID_INFERENCE_TABULAR_FOREST_H
#define MEDAID_INFERENCE_TABULAR_FOREST_H

/* A random forest (L. Breiman, Machine Learning 45 (2001) 5), grown by XGBoost in its
 * random-forest mode: one round of many trees, each on a share of the rows, each split looking
 * at a share of the columns. The target is a number, or 0 and 1; squared error makes a leaf the
 * mean of its rows, so that for 0 and 1 the forest's answer is a share of positives.
 *
 * A missing value (NaN) goes the way that fitted best at each split. What a fit gives depends
 * on its arguments alone. Not for extrapolating: no answer lies outside the targets it has
 * seen.
 *
 * A fitted forest is immutable: any thread may ask it. */

#include "base/memory.h"

enum {
    MD_FOREST_MAX_ROWS = 10000000,
    MD_FOREST_MAX_COLUMNS = 10000,
    MD_FOREST_MAX_TREES = 10000,
    MD_FOREST_MAX_DEPTH = 30
};

typedef struct md_forest_options {
    bool classify; /* targets are 0 and 1 */
    unsigned n_trees, max_depth;
    unsigned min_leaf;   /* rows of a leaf, at least */
    double row_share;    /* of a tree, drawn without replacement; > 0 and <= 1 */
    double column_share; /* of a split, > 0 and <= 1; 0: sqrt(p) / p for 0 and 1, else 1/3 */
    unsigned n_folds;    /* of the error on rows not seen; 0: do not measure it */
    uint64_t seed;
} md_forest_options;

/* 200 trees of depth 12, leaves of 3 rows, 0.632 of the rows, 5 folds. */
md_forest_options md_forest_defaults(bool classify);

/* A node; a leaf has column -1. The row goes left when its value is below the threshold. */
typedef struct md_forest_node {
    int32_t column;
    uint32_t left, right; /* nodes of the forest */
    bool missing_left;
    float threshold;
    float cover;  /* rows that came here in training */
    double value; /* mean over the node's rows, as a difference from the forest's base */
} md_forest_node;

typedef struct md_forest {
    unsigned n_columns, n_trees;
    uint32_t n_nodes;
    double base;     /* mean of all targets */
    double start;    /* mean of the roots, each of which has seen a share of the rows */
    uint32_t *roots; /* [n_trees] */
    md_forest_node *nodes;
    double *importance; /* [n_columns]: share of all splits' gain, sums up to 1 (or to 0) */
    /* On rows that were not in training: root of the mean squared error (for 0 and 1: of the
     * Brier score) and, for 0 and 1, the AUC. NaN when not measured. */
    double cross_error, cross_auc;
} md_forest;

/* x [n_rows][n_columns] row-major, NaN for missing, no infinity; y [n_rows] finite; groups keep
 * rows together in the folds (NULL: none). `names` for errors, or NULL. MD_INVALID_ARG, naming
 * row and column; also for a target other than 0 and 1 when they are asked for, one kind only,
 * and options out of range. MD_LIMIT, MD_NOMEM, MD_UNSUPPORTED (XGBoost is not installed). The
 * caller finishes. */
md_status md_forest_fit(const float *x, const float *y, const uint32_t *groups, size_t n_rows,
                        unsigned n_columns, const char *const *names,
                        const md_forest_options *options, md_forest *ret_forest, md_error *err)
    MD_NODISCARD;
void md_forest_finish(md_forest *forest);

/* x [n_columns], NaN for missing. */
double md_forest_predict(const md_forest *forest, const float *x);
/* What each column adds to the answer on the way from the roots to the leaves; start and parts
 * sum up to the prediction (A. Saabas 2014; A. Palczewska et al., 2013). ret_parts is
 * [n_columns]. */
void md_forest_contributions(const md_forest *forest, const float *x, double *ret_parts);
/* Shapley values of the columns, where a column that is not known follows both ways of a split
 * by the rows that went there in training (S. Lundberg et al., Nature Machine Intelligence 2
 * (2020) 56, algorithm 1; XGBoost's pred_contribs). start and parts sum up to the prediction.
 * Exact but for rounding: the Shapley value is the integral over t in 0..1 of what a column
 * adds when each other one is known with chance t (G. Owen, Management Science 18 (1972) P64),
 * a polynomial that Gauss and Legendre's points integrate exactly. Each edge of the forest is
 * visited once. ret_parts is [n_columns]. */
void md_forest_shapley(const md_forest *forest, const float *x, double *ret_parts);

#endif
