/* The recipe of medaid-train risk: its table of keys, and what one key alone cannot show. */

#include "base/file.h"
#include "conf/schema.h"
#include "plugins/train/risk_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member_) MD_SCHEMA_AT(md_risk_recipe, member_)
#define F_AT(member_) MD_SCHEMA_AT(md_risk_recipe_feature, member_)
#define COUNT(member_) .n_offset = offsetof(md_risk_recipe, member_)
#define LINE(member_) .line_offset = offsetof(md_risk_recipe, member_)

static const md_schema_choice kinds[] = {
    {"linear", MD_RISK_LINEAR}, {"svm", MD_RISK_SVM}, {"forest", MD_RISK_FOREST}, {NULL, 0}};
static const md_schema_choice kernels[] = {
    {"linear", MD_SVM_LINEAR}, {"rbf", MD_SVM_RBF}, {NULL, 0}};
static const md_schema_choice missings[] = {{"auto", MD_RISK_RECIPE_AUTO},
                                            {"refuse", MD_RISK_RECIPE_REFUSE},
                                            {"mean", MD_RISK_RECIPE_MEAN},
                                            {NULL, 0}};

static const char *check_name(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-/";
    return strspn(text, allowed) == strlen(text) ? NULL
                                                 : "letters, digits, '.', '_', '-' and '/'";
}

/* clang-format off */
static const md_schema_field feature_fields[] = {
    {.key = "column", .type = MD_SCHEMA_TEXT, F_AT(column), .required = true, .least = 1,
     .example = "age",
     .help = "Of the table."},
    {.key = "name", .type = MD_SCHEMA_TEXT, F_AT(name), .check = check_name,
     .example = "patient.age_years",
     .help = "What the model calls it, docs/risk-model.md; without this key as the column."},
    {.key = "unit", .type = MD_SCHEMA_TEXT, F_AT(unit), .least = 1, .fallback = "1",
     .help = "UCUM, 1 for shares and scores."},
    {.key = "meaning", .type = MD_SCHEMA_TEXT, F_AT(meaning), .example = "age in years",
     .help = "For people."},
    {.key = "yes", .type = MD_SCHEMA_TEXT, F_AT(yes), .example = "F", .is_off = true,
     .help = "The column holds words: this one is 1, any other 0."},
    {.key = "low", .type = MD_SCHEMA_REAL, F_AT(low), .least = -1e15, .most = 1e15,
     .has_offset = offsetof(md_risk_recipe_feature, has_low), .example = "0", .is_off = true,
     .help = "The least value that may be; without this key the least of the table."},
    {.key = "high", .type = MD_SCHEMA_REAL, F_AT(high), .least = -1e15, .most = 1e15,
     .has_offset = offsetof(md_risk_recipe_feature, has_high), .example = "120",
     .is_off = true, .help = "Likewise the largest."},
    {.key = "missing", .type = MD_SCHEMA_ENUM, F_AT(missing), .choices = missings,
     .fallback = "auto",
     .help = "What a row without it means: refuse (no answer, and an error in the table), mean, "
             "or auto: a forest learns what it means, others take the mean."},
    {.key = NULL},
};
static const md_schema_field feature_item = {
    .key = "feature", .type = MD_SCHEMA_MAP, .fields = feature_fields,
    .line_offset = offsetof(md_risk_recipe_feature, line)};

static const md_schema_field target_fields[] = {
    {.key = "column", .type = MD_SCHEMA_TEXT, AT(target.column), .required = true, .least = 1,
     .example = "outcome", .help = "Of the table."},
    {.key = "yes", .type = MD_SCHEMA_TEXT, AT(target.yes), .example = "1", .is_off = true,
     .help = "Of a yes-or-no target: the word that is yes. Without this key it is a value."},
    {.key = "unit", .type = MD_SCHEMA_TEXT, AT(target.unit), .least = 1, .fallback = "1",
     .help = "Of a value."},
    {.key = "log", .type = MD_SCHEMA_BOOL, AT(target.log), .fallback = "false",
     .help = "Of a value above 0: the model is of its logarithm."},
    {.key = "skip_missing", .type = MD_SCHEMA_BOOL, AT(target.skip_missing),
     .fallback = "false", .help = "Leave rows without a target out; else they are an error."},
    {.key = NULL},
};

#define REAL_ITEM(name_, low_, high_)                                                          \
    static const md_schema_field name_##_item = {.key = #name_,                                \
                                                 .type = MD_SCHEMA_REAL,                       \
                                                 .size_bytes = sizeof(double),                 \
                                                 .least = (low_),                              \
                                                 .most = (high_)}
#define WHOLE_ITEM(name_, low_, high_)                                                         \
    static const md_schema_field name_##_item = {.key = #name_,                                \
                                                 .type = MD_SCHEMA_INT,                        \
                                                 .size_bytes = sizeof(unsigned),               \
                                                 .least = (low_),                              \
                                                 .most = (high_)}
REAL_ITEM(ridge, 0, 1e12);
REAL_ITEM(c, 1e-9, 1e9);
REAL_ITEM(gamma, 1e-9, 1e9);
WHOLE_ITEM(depth, 1, MD_FOREST_MAX_DEPTH);
WHOLE_ITEM(leaf, 1, 100000);

static const md_schema_field model_fields[] = {
    {.key = "kind", .type = MD_SCHEMA_ENUM, AT(model.kind), .choices = kinds, .required = true,
     .example = "linear",
     .help = "linear: docs/linear-regression.md, forest: docs/random-forest.md, svm: docs/svm.md "
             "(yes-or-no targets)."},
    {.key = "ridge", .type = MD_SCHEMA_LIST, AT(model.ridge), .item = &ridge_item,
     .max_items = MD_RISK_RECIPE_MAX_GRID, COUNT(model.n_ridge), .example = "[0]",
     .help = "Of linear ones, to be tried; without this key 0."},
    {.key = "kernel", .type = MD_SCHEMA_ENUM, AT(model.kernel), .choices = kernels,
     .fallback = "rbf", .help = "Of support vector machines."},
    {.key = "c", .type = MD_SCHEMA_LIST, AT(model.c), .item = &c_item,
     .max_items = MD_RISK_RECIPE_MAX_GRID, COUNT(model.n_c), .example = "[0.1, 1, 10]",
     .help = "Of support vector machines, to be tried; without this key 0.1, 1 and 10."},
    {.key = "gamma", .type = MD_SCHEMA_LIST, AT(model.gamma), .item = &gamma_item,
     .max_items = MD_RISK_RECIPE_MAX_GRID, COUNT(model.n_gamma), .example = "[0.01, 0.1]",
     .help = "Of the kernel rbf; without this key 1 over the number of features."},
    {.key = "trees", .type = MD_SCHEMA_INT, AT(model.trees), .least = 1, .most = 1000,
     .fallback = "100", .help = "Of a forest."},
    {.key = "depth", .type = MD_SCHEMA_LIST, AT(model.depth), .item = &depth_item,
     .max_items = MD_RISK_RECIPE_MAX_GRID, COUNT(model.n_depth), .example = "[4, 8]",
     .help = "Of its trees at most, to be tried; without this key 4 and 8."},
    {.key = "leaf", .type = MD_SCHEMA_LIST, AT(model.leaf), .item = &leaf_item,
     .max_items = MD_RISK_RECIPE_MAX_GRID, COUNT(model.n_leaf), .example = "[5]",
     .help = "Rows of its leaves at least, to be tried; without this key 5."},
    {.key = "folds", .type = MD_SCHEMA_INT, AT(model.folds), .least = 2,
     .most = MD_FOLDS_MAX, .fallback = "5",
     .help = "Of the cross-validation, by group: the outer one that measures, and within each "
             "of its training parts the inner one that chooses."},
    {.key = "confidence", .type = MD_SCHEMA_REAL, AT(model.confidence), .least = 0.5,
     .most = 0.99, .fallback = "0.8", .help = "Of the interval of a value."},
    {.key = NULL},
};

static const md_schema_field recipe_fields[] = {
    {.key = "medaid_risk_recipe", .type = MD_SCHEMA_INT, AT(schema_version), .required = true,
     .least = 1, .most = 1, .example = "1", .help = "Version of this format."},
    {.key = "name", .type = MD_SCHEMA_TEXT, AT(name), .required = true, .least = 1,
     .check = md_schema_check_slug, .example = "triage", .help = "Of the model."},
    {.key = "meaning", .type = MD_SCHEMA_TEXT, AT(meaning), .required = true, .least = 1,
     .example = "chance that the study is urgent", .help = "Of its answer, for people."},
    {.key = "note", .type = MD_SCHEMA_TEXT, AT(note), .required = true, .least = 1,
     .example = "an example, not clinically derived",
     .help = "Where the data come from, what it is for and what it is not for."},
    {.key = "seed", .type = MD_SCHEMA_INT, AT(seed), .least = 0, .most = 4294967295.0,
     .fallback = "1", .help = "Of folds and forests."},
    {.key = "table", .type = MD_SCHEMA_TEXT, AT(table), .required = true, .least = 1,
     .example = "table.csv", .help = "CSV with a line of names; relative to the recipe."},
    {.key = "run_folder", .type = MD_SCHEMA_TEXT, AT(run_folder), .required = true, .least = 1,
     .example = "run", .help = "Where risk.json and the report go; relative to the recipe."},
    {.key = "group", .type = MD_SCHEMA_TEXT, AT(group), .example = "patient", .is_off = true,
     .help = "A column: rows with the same text are never divided between folds."},
    {.key = "target", .type = MD_SCHEMA_MAP, .fields = target_fields, LINE(target.line),
     .required = true, .help = "What is to be said."},
    {.key = "features", .type = MD_SCHEMA_LIST, AT(features), .item = &feature_item,
     .max_items = MD_RISK_MAX_FEATURES, COUNT(n_features), .required = true, .least = 1,
     .owned_bytes = sizeof(md_risk_recipe_feature), .help = "What it is said from."},
    {.key = "model", .type = MD_SCHEMA_MAP, .fields = model_fields, LINE(model.line),
     .required = true, .help = "How."},
    {.key = NULL},
};

/* clang-format on */

void md_risk_recipe_destroy(md_risk_recipe *recipe)
{
    if (recipe != NULL) {
        md_schema_release(recipe_fields, recipe);
        md_free(recipe);
    }
}

static void fill_grid(md_risk_recipe *r)
{
    static const double cs[] = {0.1, 1.0, 10.0};
    static const unsigned depths[] = {4, 8};
    if (r->model.n_ridge == 0) {
        r->model.ridge[r->model.n_ridge++] = 0.0;
    }
    if (r->model.n_c == 0) {
        memcpy(r->model.c, cs, sizeof cs);
        r->model.n_c = 3;
    }
    if (r->model.n_gamma == 0) {
        r->model.gamma[r->model.n_gamma++] = 0.0; /* 1 over the number of features */
    }
    if (r->model.n_depth == 0) {
        memcpy(r->model.depth, depths, sizeof depths);
        r->model.n_depth = 2;
    }
    if (r->model.n_leaf == 0) {
        r->model.leaf[r->model.n_leaf++] = 5;
    }
}

static md_status check_features(md_risk_recipe *r, md_error *err)
{
    for (unsigned i = 0; i < r->n_features; i++) {
        md_risk_recipe_feature *f = &r->features[i];
        if (f->name[0] == '\0') {
            (void)snprintf(f->name, sizeof f->name, "%s", f->column);
            if (check_name(f->name) != NULL) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'features[%u].name': expected one, the column's has "
                               "other characters than letters, digits, '.', '_', '-' and '/'",
                               r->file, f->line, i);
            }
        }
        if (f->has_low && f->has_high && !(f->low < f->high)) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'features[%u].low': %g is not below high %g", r->file,
                           f->line, i, f->low, f->high);
        }
        if (strcmp(f->column, r->target.column) == 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'features[%u].column': the target cannot explain itself",
                           r->file, f->line, i);
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(r->features[k].name, f->name) == 0) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'features[%u].name': %s stands there twice", r->file,
                               f->line, i, f->name);
            }
        }
    }
    return MD_OK;
}

static md_status check(md_risk_recipe *r, md_error *err)
{
    bool is_value = r->target.yes[0] == '\0';
    if (r->model.kind == MD_RISK_SVM && is_value) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'model.kind': a support vector machine is for yes-or-no "
                       "targets, expected target.yes, or another kind",
                       r->file, r->model.line);
    }
    if (r->target.log && !is_value) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'target.log': it is for values, expected none with yes",
                       r->file, r->target.line);
    }
    fill_grid(r);
    return check_features(r, err);
}

md_status md_risk_recipe_read(const char *path, md_risk_recipe **ret_recipe, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_SCHEMA_MAX_BYTES, &bytes, &size_bytes, err));
    MD_AUTO(md_risk_recipe_destroyp) md_risk_recipe *r = md_calloc(1, sizeof *r);
    char *whole = realpath(path, NULL);
    char *slash = whole != NULL ? strrchr(whole, '/') : NULL;
    if (r == NULL || slash == NULL || slash - whole >= MD_RISK_RECIPE_PATH_BYTES) {
        free(whole);
        return r == NULL ? md_fail(err, MD_NOMEM, "no memory for a recipe")
                         : md_fail(err, MD_IO, "the recipe's folder cannot be found");
    }
    (void)snprintf(r->file, sizeof r->file, "%.128s", slash + 1);
    slash[slash == whole ? 1 : 0] = '\0';
    (void)snprintf(r->folder, sizeof r->folder, "%s", whole);
    free(whole);
    md_schema_defaults(recipe_fields, r);
    MD_TRY(md_schema_parse(recipe_fields, bytes, size_bytes, r->file, r, err));
    MD_TRY(check(r, err));
    *ret_recipe = MD_STEAL(r);
    return MD_OK;
}
