#include "inference/tabular/forest.h"

#include "inference/statistics/ranking.h"
#include "inference/tabular/folds.h"

#include <dlfcn.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <xgboost/c_api.h>

static struct {
    int (*matrix)(const float *, bst_ulong, bst_ulong, float, DMatrixHandle *, int);
    int (*set)(DMatrixHandle, const char *, const float *, bst_ulong);
    int (*free_matrix)(DMatrixHandle);
    int (*create)(const DMatrixHandle[], bst_ulong, BoosterHandle *);
    int (*parameter)(BoosterHandle, const char *, const char *);
    int (*update)(BoosterHandle, int, DMatrixHandle);
    int (*dump)(BoosterHandle, const char *, int, const char *, bst_ulong *, const char ***);
    int (*predict)(BoosterHandle, DMatrixHandle, int, unsigned, int, bst_ulong *,
                   const float **);
    int (*free_booster)(BoosterHandle);
    const char *(*error)(void);
    bool loaded;
} xgboost;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Loaded when the first forest is grown: a serving process never pays for it. */
static void load(void)
{
    void *library = dlopen("libxgboost.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return;
    }
    const struct {
        void *function;
        const char *name;
    } wanted[] = {
        {&xgboost.matrix, "XGDMatrixCreateFromMat_omp"},
        {&xgboost.set, "XGDMatrixSetFloatInfo"},
        {&xgboost.free_matrix, "XGDMatrixFree"},
        {&xgboost.create, "XGBoosterCreate"},
        {&xgboost.parameter, "XGBoosterSetParam"},
        {&xgboost.update, "XGBoosterUpdateOneIter"},
        {&xgboost.dump, "XGBoosterDumpModelEx"},
        {&xgboost.predict, "XGBoosterPredict"},
        {&xgboost.free_booster, "XGBoosterFree"},
        {&xgboost.error, "XGBGetLastError"},
    };
    bool all = true;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        /* ISO C has no conversion from void * to a function; POSIX promises that this works. */
        void *symbol = dlsym(library, wanted[i].name);
        memcpy(wanted[i].function, &symbol, sizeof symbol);
        all = all && symbol != NULL;
    }
    xgboost.loaded = all;
}

md_forest_options md_forest_defaults(bool classify)
{
    return (md_forest_options){.classify = classify,
                               .n_trees = 200,
                               .max_depth = 12,
                               .min_leaf = 3,
                               .row_share = 0.632,
                               .n_folds = 5,
                               .seed = 1};
}

typedef struct table {
    const float *x, *y;
    size_t n_rows;
    unsigned n_columns;
} table;

static md_status check(const table *t, const char *const *names, const md_forest_options *o,
                       md_error *err)
{
    if (t->n_rows < 2 || t->n_rows > MD_FOREST_MAX_ROWS || t->n_columns == 0 ||
        t->n_columns > MD_FOREST_MAX_COLUMNS) {
        return md_fail(err, MD_LIMIT, "%zu rows of %u columns: not 2..%d of 1..%d", t->n_rows,
                       t->n_columns, MD_FOREST_MAX_ROWS, MD_FOREST_MAX_COLUMNS);
    }
    if (o->n_trees == 0 || o->n_trees > MD_FOREST_MAX_TREES || o->max_depth == 0 ||
        o->max_depth > MD_FOREST_MAX_DEPTH || o->min_leaf == 0 || !(o->row_share > 0.0) ||
        o->row_share > 1.0 || !(o->column_share >= 0.0 && o->column_share <= 1.0)) {
        return md_fail(err, MD_INVALID_ARG,
                       "trees, depth, leaf or shares of a forest are out of range");
    }
    bool seen[2] = {false, false};
    for (size_t i = 0; i < t->n_rows; i++) {
        if (!isfinite(t->y[i])) {
            return md_fail(err, MD_INVALID_ARG, "the target of row %zu is not a number", i);
        }
        bool one = t->y[i] >= 1.0F && t->y[i] <= 1.0F,
             zero = t->y[i] >= 0.0F && t->y[i] <= 0.0F;
        if (o->classify && !one && !zero) {
            return md_fail(err, MD_INVALID_ARG, "the target of row %zu is neither 0 nor 1", i);
        }
        seen[one] = true;
        for (unsigned j = 0; j < t->n_columns; j++) {
            if (isinf(t->x[i * t->n_columns + j])) {
                char text[32];
                (void)snprintf(text, sizeof text, "column %u", j);
                return md_fail(err, MD_INVALID_ARG, "%s of row %zu is infinite",
                               names != NULL ? names[j] : text, i);
            }
        }
    }
    if (o->classify && (!seen[0] || !seen[1])) {
        return md_fail(err, MD_INVALID_ARG, "all rows have the target %d", seen[1]);
    }
    return MD_OK;
}

static md_status complain(md_error *err)
{
    return md_fail(err, MD_INTERNAL, "XGBoost: %.200s", xgboost.error());
}

static md_status set_parameters(BoosterHandle booster, const md_forest_options *o,
                                unsigned n_columns, double base, md_error *err)
{
    double column_share = o->column_share;
    if (!(column_share > 0.0)) {
        column_share = o->classify ? sqrt(n_columns) / n_columns : 1.0 / 3.0;
    }
    /* at least one column, whatever the rounding */
    column_share = fmin(1.0, fmax(column_share, 1.000001 / n_columns));
    char trees[16], depth[16], leaf[16], rows[32], columns[32], seed[32], mean[32];
    (void)snprintf(trees, sizeof trees, "%u", o->n_trees);
    (void)snprintf(depth, sizeof depth, "%u", o->max_depth);
    (void)snprintf(leaf, sizeof leaf, "%u", o->min_leaf);
    (void)snprintf(rows, sizeof rows, "%.9g", o->row_share);
    (void)snprintf(columns, sizeof columns, "%.9g", column_share);
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)(o->seed & 0x7fffffffU));
    (void)snprintf(mean, sizeof mean, "%.9g", base);
    const char *const parameters[][2] = {
        {"booster", "gbtree"},   {"objective", "reg:squarederror"},
        {"tree_method", "hist"}, {"num_parallel_tree", trees},
        {"max_depth", depth},    {"min_child_weight", leaf},
        {"subsample", rows},     {"colsample_bynode", columns},
        {"seed", seed},          {"base_score", mean},
        {"learning_rate", "1"},  {"reg_lambda", "0"},
        {"nthread", "1"},        {"verbosity", "0"},
    };
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        if (xgboost.parameter(booster, parameters[i][0], parameters[i][1]) != 0) {
            return complain(err);
        }
    }
    return MD_OK;
}

/* Nodes of one tree of the dump, whose numbers are the tree's own; sets value from the leaves
 * up. */
typedef struct reader {
    md_forest *forest;
    uint32_t capacity;
    double *gains, n_trees;
    md_error *err;
} reader;

static md_status take_node(reader *r, const json_t *json, unsigned depth, uint32_t *ret_at,
                           double *ret_cover);

static md_status take_split(reader *r, const json_t *json, unsigned depth, uint32_t at,
                            double *ret_cover)
{
    const json_t *children = json_object_get(json, "children");
    const char *split = json_string_value(json_object_get(json, "split"));
    unsigned column = 0;
    if (split == NULL || sscanf(split, "f%u", &column) != 1 || column >= r->forest->n_columns ||
        json_array_size(children) != 2) {
        return md_fail(r->err, MD_INTERNAL, "XGBoost's dump has another form");
    }
    json_int_t yes = json_integer_value(json_object_get(json, "yes"));
    json_int_t missing = json_integer_value(json_object_get(json, "missing"));
    double value = 0.0, cover = 0.0;
    uint32_t child[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_array_get(children, i);
        bool is_yes = json_integer_value(json_object_get(one, "nodeid")) == yes;
        double its_cover = 0.0;
        MD_TRY(take_node(r, one, depth + 1, &child[is_yes ? 0 : 1], &its_cover));
        value += its_cover * r->forest->nodes[child[is_yes ? 0 : 1]].value;
        cover += its_cover;
    }
    r->gains[column] += json_number_value(json_object_get(json, "gain"));
    r->forest->nodes[at] = (md_forest_node){
        .column = (int32_t)column,
        .left = child[0],
        .right = child[1],
        .missing_left = missing == yes,
        .threshold = (float)json_number_value(json_object_get(json, "split_condition")),
        .cover = (float)cover,
        .value = cover > 0.0 ? value / cover : 0.0,
    };
    *ret_cover = cover;
    return MD_OK;
}

static md_status take_node(reader *r, const json_t *json, unsigned depth, uint32_t *ret_at,
                           double *ret_cover)
{
    md_forest *forest = r->forest;
    if (depth > MD_FOREST_MAX_DEPTH) {
        return md_fail(r->err, MD_INTERNAL, "XGBoost's dump has another form");
    }
    if (forest->n_nodes == r->capacity) {
        uint32_t capacity = r->capacity == 0 ? 1024 : r->capacity + r->capacity / 2;
        md_forest_node *nodes = md_realloc(forest->nodes, capacity * sizeof *nodes);
        if (nodes == NULL) {
            return md_fail(r->err, MD_NOMEM, "no memory for %u nodes", capacity);
        }
        forest->nodes = nodes;
        r->capacity = capacity;
    }
    uint32_t at = *ret_at = forest->n_nodes++;
    const json_t *leaf = json_object_get(json, "leaf");
    if (leaf == NULL) {
        return take_split(r, json, depth, at, ret_cover);
    }
    /* a leaf holds its share of the mean over the trees */
    *ret_cover = json_number_value(json_object_get(json, "cover"));
    forest->nodes[at] = (md_forest_node){.column = -1,
                                         .cover = (float)*ret_cover,
                                         .value = json_number_value(leaf) * r->n_trees};
    return MD_OK;
}

static md_status take_trees(BoosterHandle booster, md_forest *forest, md_error *err)
{
    bst_ulong n = 0;
    const char **texts = NULL;
    if (xgboost.dump(booster, "", 1, "json", &n, &texts) != 0) {
        return complain(err);
    }
    forest->n_trees = (unsigned)n;
    forest->roots = md_calloc(n, sizeof *forest->roots);
    forest->importance = md_calloc(forest->n_columns, sizeof *forest->importance);
    if (forest->roots == NULL || forest->importance == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %llu trees", (unsigned long long)n);
    }
    reader r = {forest, 0, forest->importance, (double)n, err};
    for (bst_ulong i = 0; i < n; i++) {
        json_t *json = json_loads(texts[i], 0, NULL);
        if (json == NULL) {
            return md_fail(err, MD_INTERNAL, "XGBoost's dump has another form");
        }
        double cover = 0.0;
        md_status status = take_node(&r, json, 0, &forest->roots[i], &cover);
        json_decref(json);
        MD_TRY(status);
    }
    forest->start = forest->base;
    for (unsigned i = 0; i < forest->n_trees; i++) {
        forest->start += forest->nodes[forest->roots[i]].value / forest->n_trees;
    }
    double sum = 0.0;
    for (unsigned j = 0; j < forest->n_columns; j++) {
        sum += forest->importance[j];
    }
    for (unsigned j = 0; j < forest->n_columns && sum > 0.0; j++) {
        forest->importance[j] /= sum;
    }
    return MD_OK;
}

/* The forest, read from a text, must say what XGBoost itself says. */
static md_status compare(BoosterHandle booster, DMatrixHandle matrix, const table *t,
                         const md_forest *forest, md_error *err)
{
    bst_ulong n = 0;
    const float *theirs = NULL;
    if (xgboost.predict(booster, matrix, 0, 0, 0, &n, &theirs) != 0) {
        return complain(err);
    }
    double largest = 1e-30;
    for (size_t i = 0; i < t->n_rows; i++) {
        largest = fmax(largest, fabs((double)t->y[i]));
    }
    for (size_t i = 0; i < t->n_rows && i < n; i++) {
        double ours = md_forest_predict(forest, t->x + i * t->n_columns);
        if (!(fabs(ours - (double)theirs[i]) <= 1e-4 * largest)) {
            return md_fail(err, MD_INTERNAL, "row %zu: %g, XGBoost says %g", i, ours,
                           (double)theirs[i]);
        }
    }
    return MD_OK;
}

static md_status grow_with(DMatrixHandle matrix, BoosterHandle booster, const table *t,
                           const md_forest_options *options, md_forest *forest, md_error *err)
{
    MD_TRY(set_parameters(booster, options, t->n_columns, forest->base, err));
    if (xgboost.update(booster, 0, matrix) != 0) {
        return complain(err);
    }
    MD_TRY(take_trees(booster, forest, err));
    return compare(booster, matrix, t, forest, err);
}

static md_status grow(const table *t, const md_forest_options *options, md_forest *forest,
                      md_error *err)
{
    DMatrixHandle matrix = NULL;
    BoosterHandle booster = NULL;
    forest->n_columns = t->n_columns;
    for (size_t i = 0; i < t->n_rows; i++) {
        forest->base += (double)t->y[i] / (double)t->n_rows;
    }
    forest->base = (double)(float)forest->base; /* as XGBoost keeps it */
    md_status status = MD_OK;
    if (xgboost.matrix(t->x, t->n_rows, t->n_columns, NAN, &matrix, 1) != 0 ||
        xgboost.set(matrix, "label", t->y, t->n_rows) != 0 ||
        xgboost.create((const DMatrixHandle[]){matrix}, 1, &booster) != 0) {
        status = complain(err);
    }
    if (status == MD_OK) {
        status = grow_with(matrix, booster, t, options, forest, err);
    }
    if (booster != NULL) {
        (void)xgboost.free_booster(booster);
    }
    if (matrix != NULL) {
        (void)xgboost.free_matrix(matrix);
    }
    return status;
}

/* The rows outside `fold`. */
static size_t copy_rows(const table *t, const uint8_t *folds, unsigned fold, float *x, float *y)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        if (folds[i] != fold) {
            memcpy(x + n * t->n_columns, t->x + i * t->n_columns, t->n_columns * sizeof *x);
            y[n++] = t->y[i];
        }
    }
    return n;
}

static md_status measure(const table *t, const uint32_t *groups,
                         const md_forest_options *options, md_forest *forest, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *folds = md_calloc(t->n_rows, sizeof *folds);
    MD_AUTO(md_freep) int8_t *kinds = md_calloc(t->n_rows, sizeof *kinds);
    MD_AUTO(md_freep) double *said = md_calloc(t->n_rows, sizeof *said);
    MD_AUTO(md_freep) float *x = md_calloc(t->n_rows * t->n_columns, sizeof *x);
    MD_AUTO(md_freep) float *y = md_calloc(t->n_rows, sizeof *y);
    if (folds == NULL || kinds == NULL || said == NULL || x == NULL || y == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to cross-validate %zu rows", t->n_rows);
    }
    for (size_t i = 0; i < t->n_rows; i++) {
        kinds[i] = t->y[i] > 0.5F;
    }
    MD_TRY(md_folds_deal(options->classify ? kinds : NULL, groups, t->n_rows, options->n_folds,
                         options->seed, folds, err));
    double squares = 0.0;
    for (unsigned fold = 0; fold < options->n_folds; fold++) {
        table others = {x, y, copy_rows(t, folds, fold, x, y), t->n_columns};
        md_forest one = {0};
        md_status status = grow(&others, options, &one, err);
        for (size_t i = 0; status == MD_OK && i < t->n_rows; i++) {
            if (folds[i] == fold) {
                said[i] = md_forest_predict(&one, t->x + i * t->n_columns);
                squares += (said[i] - (double)t->y[i]) * (said[i] - (double)t->y[i]);
            }
        }
        md_forest_finish(&one);
        MD_TRY(status);
    }
    forest->cross_error = sqrt(squares / (double)t->n_rows);
    if (options->classify) {
        md_ranking ranking = {0};
        MD_TRY(md_ranking_init(said, kinds, t->n_rows, &ranking, err));
        forest->cross_auc = md_ranking_auc(&ranking, NULL);
        md_ranking_finish(&ranking);
    }
    return MD_OK;
}

md_status md_forest_fit(const float *x, const float *y, const uint32_t *groups, size_t n_rows,
                        unsigned n_columns, const char *const *names,
                        const md_forest_options *options, md_forest *ret_forest, md_error *err)
{
    table t = {x, y, n_rows, n_columns};
    MD_TRY(check(&t, names, options, err));
    (void)pthread_once(&once, load);
    if (!xgboost.loaded) {
        return md_fail(err, MD_UNSUPPORTED,
                       "growing a forest needs XGBoost: install Debian's package libxgboost0");
    }
    md_forest forest = {.cross_error = NAN, .cross_auc = NAN};
    md_status status = grow(&t, options, &forest, err);
    if (status == MD_OK && options->n_folds > 0) {
        status = measure(&t, groups, options, &forest, err);
    }
    if (status != MD_OK) {
        md_forest_finish(&forest);
        return status;
    }
    *ret_forest = forest;
    return MD_OK;
}

void md_forest_finish(md_forest *forest)
{
    md_free(forest->roots);
    md_free(forest->nodes);
    md_free(forest->importance);
    *forest = (md_forest){0};
}

static uint32_t next_node(const md_forest_node *node, const float *x)
{
    float value = x[node->column];
    bool left = isnan(value) ? node->missing_left : value < node->threshold;
    return left ? node->left : node->right;
}

double md_forest_predict(const md_forest *forest, const float *x)
{
    double sum = 0.0;
    for (unsigned i = 0; i < forest->n_trees; i++) {
        uint32_t at = forest->roots[i];
        while (forest->nodes[at].column >= 0) {
            at = next_node(&forest->nodes[at], x);
        }
        sum += forest->nodes[at].value;
    }
    return forest->base + (forest->n_trees > 0 ? sum / forest->n_trees : 0.0);
}

void md_forest_contributions(const md_forest *forest, const float *x, double *ret_parts)
{
    memset(ret_parts, 0, forest->n_columns * sizeof *ret_parts);
    for (unsigned i = 0; i < forest->n_trees; i++) {
        uint32_t at = forest->roots[i];
        while (forest->nodes[at].column >= 0) {
            const md_forest_node *node = &forest->nodes[at];
            at = next_node(node, x);
            ret_parts[node->column] +=
                (forest->nodes[at].value - node->value) / forest->n_trees;
        }
    }
}
