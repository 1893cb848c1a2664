#ifndef MEDAID_PLUGINS_TRAIN_RISK_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_RISK_INTERNAL_H

/* Inside plugins/train only: what the files of medaid-train risk share. */

#include "inference/tabular/folds.h"
#include "inference/tabular/risk.h"
#include "plugins/train/drawing.h"
#include "plugins/train/risk.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_RISK_RECIPE_PATH_BYTES = 1025,
    MD_RISK_RECIPE_COLUMN_BYTES = 129,
    MD_RISK_RECIPE_MAX_GRID = 16,
    MD_RISK_RECIPE_MAX_POINTS = MD_RISK_RECIPE_MAX_GRID * MD_RISK_RECIPE_MAX_GRID,
    MD_RISK_RECIPE_MAX_ROWS = 1000000
};

typedef enum md_risk_recipe_missing {
    MD_RISK_RECIPE_AUTO, /* a forest learns it, else the mean */
    MD_RISK_RECIPE_REFUSE,
    MD_RISK_RECIPE_MEAN
} md_risk_recipe_missing;

typedef struct md_risk_recipe_feature {
    char column[MD_RISK_RECIPE_COLUMN_BYTES];
    char name[MD_RISK_NAME_BYTES]; /* "": that of the column */
    char unit[MD_RISK_UNIT_BYTES], meaning[MD_RISK_TEXT_BYTES];
    char yes[65]; /* "": numbers; else this text is 1 and any other 0 */
    double low, high;
    bool has_low, has_high;
    md_risk_recipe_missing missing;
    unsigned line;
} md_risk_recipe_feature;

typedef struct md_risk_recipe {
    int schema_version;
    char name[65], meaning[MD_RISK_TEXT_BYTES], note[MD_RISK_NOTE_BYTES];
    uint64_t seed;
    char table[MD_RISK_RECIPE_PATH_BYTES], run_folder[MD_RISK_RECIPE_PATH_BYTES];
    char group[MD_RISK_RECIPE_COLUMN_BYTES]; /* rows of one patient; "": each row alone */
    struct {
        unsigned line;
        char column[MD_RISK_RECIPE_COLUMN_BYTES];
        char yes[65]; /* of a yes-or-no target, "" of a value */
        char unit[MD_RISK_UNIT_BYTES];
        bool log;          /* the model is of its logarithm */
        bool skip_missing; /* rows without it are left out, else an error */
    } target;
    md_risk_recipe_feature *features; /* owned */
    unsigned n_features;
    struct {
        unsigned line;
        md_risk_kind kind;
        double ridge[MD_RISK_RECIPE_MAX_GRID];
        unsigned n_ridge;
        md_svm_kernel kernel;
        double c[MD_RISK_RECIPE_MAX_GRID], gamma[MD_RISK_RECIPE_MAX_GRID];
        unsigned n_c, n_gamma;
        unsigned trees;
        unsigned depth[MD_RISK_RECIPE_MAX_GRID], leaf[MD_RISK_RECIPE_MAX_GRID];
        unsigned n_depth, n_leaf;
        unsigned folds;
        double confidence;
    } model;
    char folder[MD_RISK_RECIPE_PATH_BYTES]; /* of the recipe */
    char file[129];                         /* its name, for messages */
} md_risk_recipe;

/* Caller destroys. */
md_status md_risk_recipe_read(const char *path, md_risk_recipe **ret_recipe, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_risk_recipe_destroy(md_risk_recipe *recipe) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_risk_recipe, md_risk_recipe_destroy)

/* The table as numbers. */
typedef struct md_risk_table {
    char name[129];
    size_t n_rows, n_groups, n_skipped;
    unsigned n_columns;
    double *x;          /* [n_rows][n_columns]; NaN: missing */
    double *y;          /* [n_rows]; 0 and 1 of a yes-or-no target; the logarithm with log */
    uint32_t *groups;   /* [n_rows] */
    uint32_t *lines;    /* [n_rows] of the file */
    const char **names; /* [n_columns], the recipe's */
} md_risk_table;

/* Checked: see md_risk_train. Borrows names from the recipe. Caller finishes. */
md_status md_risk_table_read(const md_risk_recipe *recipe, md_risk_table *ret_table,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_risk_table_finish(md_risk_table *table) MD_NOEXCEPT;

/* One point of the grid; what does not belong to the kind is 0. */
typedef struct md_risk_point {
    double ridge, c, gamma;
    unsigned depth, leaf;
    double score; /* AUC of a yes-or-no target, else minus the root of the mean squared error */
} md_risk_point;

typedef struct md_risk_fit {
    md_risk_model *model; /* of all rows; owned */
    md_linear linear;     /* that it was made of; zeroed for other kinds */
    md_risk_point points[MD_RISK_RECIPE_MAX_POINTS];
    unsigned n_points, best;
    /* Of each row by the models of the other folds: value, and for values with an interval. */
    double *said, *low, *high; /* owned, [n_rows] */
    double *parts;             /* owned, [n_columns]: mean size of the contributions */
} md_risk_fit;

/* Caller finishes. */
md_status md_risk_fit_table(const md_risk_recipe *recipe, const md_risk_table *table,
                            FILE *progress, md_risk_fit *ret_fit, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_risk_fit_finish(md_risk_fit *fit) MD_NOEXCEPT;

/* Measure, and write everything into the run folder. */
md_status md_risk_report(const md_risk_recipe *recipe, const md_risk_table *table,
                         const md_risk_fit *fit, md_risk_outcome *ret_outcome, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
