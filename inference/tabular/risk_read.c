/* The file of a risk model, checked before anything is built from it. */

#include "inference/tabular/risk_internal.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const md_risk_kind_words[] = {"linear", "svm", "forest", NULL};
const char *const md_risk_link_words[] = {"identity", "logistic", "exp", NULL};

enum {
    /* the lists of a forest's nodes, and then some */
    MAX_VALUES = 8 * MD_RISK_MAX_NODES
};

static const double LARGEST = 1e100; /* of any number of the file */

typedef struct reader {
    const char *name;
    md_risk_model *model;
    md_error *err;
} reader;

/* Only keys of the list, which NULL ends. */
static md_status check_keys(reader *r, const json_t *object, const char *where,
                            const char *const *known)
{
    const char *key = NULL;
    json_t *value = NULL;
    if (!json_is_object(object)) {
        return md_fail(r->err, MD_FORMAT, "%s: %s is not an object", r->name, where);
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        unsigned i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return md_fail(r->err, MD_FORMAT, "%s: %s has an unknown key '%.40s'", r->name,
                           where, key);
        }
    }
    return MD_OK;
}

static md_status take_text(reader *r, const json_t *object, const char *key, bool needed,
                           char *ret_text, size_t n_bytes)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL && !needed) {
        ret_text[0] = '\0';
        return MD_OK;
    }
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    bool fine = text != NULL && n < n_bytes && (n > 0 || !needed) && strlen(text) == n;
    for (size_t i = 0; fine && i < n; i++) {
        fine = (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
    }
    if (!fine) {
        return md_fail(r->err, MD_FORMAT, "%s: '%s' is not one line of 1..%zu bytes of text",
                       r->name, key, n_bytes - 1);
    }
    memcpy(ret_text, text, n + 1);
    return MD_OK;
}

static bool is_number(const json_t *value)
{
    return json_is_number(value) && fabs(json_number_value(value)) <= LARGEST;
}

static md_status take_number(reader *r, const json_t *object, const char *where,
                             const char *key, double low, double high, double *ret)
{
    const json_t *value = json_object_get(object, key);
    if (!is_number(value) || json_number_value(value) < low ||
        json_number_value(value) > high) {
        return md_fail(r->err, MD_FORMAT, "%s: '%s' of %s is not a number in %g..%g", r->name,
                       key, where, low, high);
    }
    *ret = json_number_value(value);
    return MD_OK;
}

/* n numbers in low..high. Caller frees. */
static md_status take_numbers(reader *r, const json_t *object, const char *where,
                              const char *key, size_t n, double low, double high,
                              double **ret_numbers)
{
    const json_t *list = json_object_get(object, key);
    if (!json_is_array(list) || json_array_size(list) != n) {
        return md_fail(r->err, MD_FORMAT, "%s: '%s' of %s is not a list of %zu numbers",
                       r->name, key, where, n);
    }
    double *numbers = md_calloc(n, sizeof *numbers);
    if (numbers == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %zu numbers", n);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        numbers[i] = is_number(value) ? json_number_value(value) : (double)NAN;
        if (!(numbers[i] >= low && numbers[i] <= high)) {
            md_free(numbers);
            return md_fail(r->err, MD_FORMAT, "%s: number %zu in '%s' of %s is not in %g..%g",
                           r->name, i, key, where, low, high);
        }
    }
    *ret_numbers = numbers;
    return MD_OK;
}

static md_status take_word(reader *r, const json_t *object, const char *key,
                           const char *const *words, unsigned *ret_index)
{
    const char *text = json_string_value(json_object_get(object, key));
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (text != NULL && strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return MD_OK;
        }
    }
    return md_fail(r->err, MD_FORMAT, "%s: '%s' is none of '%s', '%s', '%s'", r->name, key,
                   words[0], words[1], words[2]);
}

static md_status check_name(reader *r, const char *name, const char *what)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("._-/", *c) == NULL) {
            return md_fail(r->err, MD_FORMAT,
                           "%s: the name of %s is not of letters, digits and . _ - /", r->name,
                           what);
        }
    }
    return MD_OK;
}

static md_status take_missing(reader *r, const json_t *object, md_risk_feature *feature)
{
    const json_t *missing = json_object_get(object, "missing");
    const char *word = json_string_value(missing);
    if (is_number(missing) && json_number_value(missing) >= feature->low &&
        json_number_value(missing) <= feature->high) {
        feature->missing = MD_RISK_MISSING_FILL;
        feature->fill = json_number_value(missing);
    } else if (word != NULL && strcmp(word, "refuse") == 0) {
        feature->missing = MD_RISK_MISSING_REFUSE;
    } else if (word != NULL && strcmp(word, "learnt") == 0 &&
               r->model->card.kind == MD_RISK_FOREST) {
        feature->missing = MD_RISK_MISSING_LEARNT;
    } else {
        return md_fail(r->err, MD_FORMAT,
                       "%s: 'missing' of %s is not \"refuse\", %sor a number within its range",
                       r->name, feature->name,
                       r->model->card.kind == MD_RISK_FOREST ? "\"learnt\" " : "");
    }
    return MD_OK;
}

static md_status take_feature(reader *r, const json_t *object, unsigned index)
{
    static const char *const known[] = {"name", "unit",      "meaning", "low",
                                        "high", "reference", "missing", NULL};
    md_risk_card *card = &r->model->card;
    md_risk_feature *f = &card->features[index];
    char where[MD_RISK_NAME_BYTES + 16];
    (void)snprintf(where, sizeof where, "feature %u", index + 1);
    MD_TRY(check_keys(r, object, where, known));
    MD_TRY(take_text(r, object, "name", true, f->name, sizeof f->name));
    MD_TRY(check_name(r, f->name, where));
    (void)snprintf(where, sizeof where, "%s", f->name);
    MD_TRY(take_text(r, object, "unit", true, f->unit, sizeof f->unit));
    MD_TRY(take_text(r, object, "meaning", false, f->meaning, sizeof f->meaning));
    MD_TRY(take_number(r, object, where, "low", -1e15, 1e15, &f->low));
    MD_TRY(take_number(r, object, where, "high", f->low, 1e15, &f->high));
    MD_TRY(take_number(r, object, where, "reference", f->low, f->high, &f->reference));
    MD_TRY(take_missing(r, object, f));
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(card->features[i].name, f->name) == 0) {
            return md_fail(r->err, MD_FORMAT, "%s: feature %s stands there twice", r->name,
                           f->name);
        }
    }
    return MD_OK;
}

static md_status take_interval(reader *r, const json_t *root)
{
    static const char *const known[] = {"confidence", "low", "high", NULL};
    md_risk_card *card = &r->model->card;
    const json_t *interval = json_object_get(root, "interval");
    if (interval == NULL) {
        return MD_OK;
    }
    MD_TRY(check_keys(r, interval, "interval", known));
    MD_TRY(take_number(r, interval, "interval", "confidence", 0.01, 0.999, &card->confidence));
    bool quantiles = json_object_get(interval, "low") != NULL;
    if (card->is_score) {
        return md_fail(r->err, MD_FORMAT, "%s: an interval of a score is not known", r->name);
    }
    if (quantiles) {
        MD_TRY(take_number(r, interval, "interval", "low", -1e15, 1e15, &card->residual_low));
        MD_TRY(take_number(r, interval, "interval", "high", card->residual_low, 1e15,
                           &card->residual_high));
    }
    if (quantiles == (r->model->linear.covariance != NULL)) {
        return md_fail(
            r->err, MD_FORMAT,
            "%s: an interval wants a linear model's covariance, or else low and high", r->name);
    }
    return MD_OK;
}

static md_status take_linear(reader *r, const json_t *object)
{
    static const char *const known[] = {
        "intercept", "coefficients", "errors", "intercept_error", "covariance", "degrees",
        "variance",  "rows",         "ridge",  "r_squared",       NULL};
    md_linear *linear = &r->model->linear;
    unsigned p = r->model->card.n_features;
    double n_rows = 0.0;
    linear->n_columns = p;
    MD_TRY(check_keys(r, object, "linear", known));
    MD_TRY(take_number(r, object, "linear", "intercept", -1e15, 1e15, &linear->intercept));
    MD_TRY(take_numbers(r, object, "linear", "coefficients", p, -1e15, 1e15,
                        &linear->coefficients));
    if (json_object_get(object, "covariance") == NULL) {
        return MD_OK;
    }
    MD_TRY(take_numbers(r, object, "linear", "errors", p, 0.0, LARGEST, &linear->errors));
    MD_TRY(take_numbers(r, object, "linear", "covariance", (size_t)p * p, -LARGEST, LARGEST,
                        &linear->covariance));
    MD_TRY(take_number(r, object, "linear", "degrees", 1e-9, 1e15, &linear->degrees));
    MD_TRY(take_number(r, object, "linear", "variance", 0.0, 1e30, &linear->variance));
    MD_TRY(take_number(r, object, "linear", "intercept_error", 0.0, LARGEST,
                       &linear->intercept_error));
    MD_TRY(take_number(r, object, "linear", "rows", 2.0, MD_LINEAR_MAX_ROWS, &n_rows));
    MD_TRY(take_number(r, object, "linear", "ridge", 0.0, 1e30, &linear->ridge));
    MD_TRY(take_number(r, object, "linear", "r_squared", -1e15, 1.0, &linear->r_squared));
    linear->n_rows = (size_t)n_rows;
    linear->means = md_calloc(p, sizeof *linear->means);
    if (linear->means == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %u means", p);
    }
    for (unsigned j = 0; j < p; j++) {
        linear->means[j] = r->model->card.features[j].reference;
        if (linear->covariance[j * p + j] < 0.0) {
            return md_fail(r->err, MD_FORMAT,
                           "%s: the covariance of %s with itself is negative", r->name,
                           r->model->card.features[j].name);
        }
    }
    return MD_OK;
}

static md_status take_svm(reader *r, const json_t *object)
{
    static const char *const known[] = {"kernel", "gamma",   "rho",     "means",
                                        "scales", "vectors", "weights", NULL};
    static const char *const kernels[] = {"linear", "rbf", NULL, NULL};
    md_svm *svm = &r->model->svm;
    unsigned p = r->model->card.n_features, kernel = 0;
    MD_TRY(check_keys(r, object, "svm", known));
    const char *word = json_string_value(json_object_get(object, "kernel"));
    while (kernels[kernel] != NULL && (word == NULL || strcmp(kernels[kernel], word) != 0)) {
        kernel++;
    }
    if (kernels[kernel] == NULL) {
        return md_fail(r->err, MD_FORMAT, "%s: 'kernel' is neither 'linear' nor 'rbf'",
                       r->name);
    }
    svm->kernel = kernel == 0 ? MD_SVM_LINEAR : MD_SVM_RBF;
    svm->n_columns = p;
    size_t n = json_array_size(json_object_get(object, "weights"));
    if (n == 0 || n > MD_SVM_MAX_ROWS || (svm->kernel == MD_SVM_LINEAR && n != 1)) {
        return md_fail(r->err, MD_FORMAT, "%s: %zu support vectors: not 1..%d, linear not 1",
                       r->name, n, MD_SVM_MAX_ROWS);
    }
    svm->n_vectors = (unsigned)n;
    MD_TRY(take_number(r, object, "svm", "gamma", 0.0, 1e12, &svm->gamma));
    MD_TRY(take_number(r, object, "svm", "rho", -1e15, 1e15, &svm->rho));
    MD_TRY(take_numbers(r, object, "svm", "means", p, -1e15, 1e15, &svm->means));
    MD_TRY(take_numbers(r, object, "svm", "scales", p, 0.0, 1e15, &svm->scales));
    MD_TRY(take_numbers(r, object, "svm", "vectors", n * p, -1e15, 1e15, &svm->vectors));
    return take_numbers(r, object, "svm", "weights", n, -1e15, 1e15, &svm->weights);
}

/* From the leaves up: children come behind their parent, so that one pass from the end does. */
static md_status join_nodes(reader *r, md_forest *forest, const double *covers)
{
    MD_AUTO(md_freep) uint8_t *depths = md_calloc(forest->n_nodes, sizeof *depths);
    if (depths == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %u nodes", forest->n_nodes);
    }
    /* What is known of a node once it was seen as a child: depth + 1. */
    for (unsigned i = 0; i < forest->n_trees; i++) {
        depths[forest->roots[i]] = 1;
    }
    for (uint32_t i = 0; i < forest->n_nodes; i++) {
        const md_forest_node *node = &forest->nodes[i];
        if (depths[i] == 0 || depths[i] > MD_FOREST_MAX_DEPTH + 1) {
            return md_fail(r->err, MD_FORMAT,
                           "%s: node %u of the forest is on no tree, or deep", r->name, i);
        }
        if (node->column < 0) {
            continue;
        }
        bool fine = node->left > i && node->right > i && node->left < forest->n_nodes &&
                    node->right < forest->n_nodes && node->left != node->right &&
                    depths[node->left] == 0 && depths[node->right] == 0;
        if (!fine) {
            return md_fail(r->err, MD_FORMAT, "%s: node %u of the forest has no two children",
                           r->name, i);
        }
        depths[node->left] = depths[node->right] = (uint8_t)(depths[i] + 1);
    }
    for (uint32_t i = forest->n_nodes; i-- > 0;) {
        md_forest_node *node = &forest->nodes[i];
        if (node->column < 0) {
            node->cover = (float)covers[i];
            continue;
        }
        const md_forest_node *left = &forest->nodes[node->left],
                             *right = &forest->nodes[node->right];
        node->cover = left->cover + right->cover;
        node->value =
            ((double)left->cover * left->value + (double)right->cover * right->value) /
            (double)node->cover;
    }
    return MD_OK;
}

static bool is_index(double value, double most)
{
    return value >= 0.0 && value <= most && value <= floor(value);
}

typedef struct lists {
    double *columns, *lefts, *rights, *ways, *thresholds, *values, *covers, *roots;
} lists;

static void free_lists(lists *l)
{
    md_free(l->columns);
    md_free(l->lefts);
    md_free(l->rights);
    md_free(l->ways);
    md_free(l->thresholds);
    md_free(l->values);
    md_free(l->covers);
    md_free(l->roots);
}

static md_status fill_nodes(reader *r, const lists *l, md_forest *forest)
{
    unsigned p = forest->n_columns;
    forest->nodes = md_calloc(forest->n_nodes, sizeof *forest->nodes);
    forest->roots = md_calloc(forest->n_trees, sizeof *forest->roots);
    if (forest->nodes == NULL || forest->roots == NULL) {
        return md_fail(r->err, MD_NOMEM, "no memory for %u nodes", forest->n_nodes);
    }
    for (uint32_t i = 0; i < forest->n_nodes; i++) {
        bool is_leaf = l->columns[i] < 0.0;
        if (!is_leaf && (!is_index(l->columns[i], p - 1.0) || !is_index(l->ways[i], 1.0) ||
                         !is_index(l->lefts[i], forest->n_nodes - 1.0) ||
                         !is_index(l->rights[i], forest->n_nodes - 1.0))) {
            return md_fail(r->err, MD_FORMAT, "%s: node %u of the forest is not whole", r->name,
                           i);
        }
        forest->nodes[i] = (md_forest_node){
            .column = is_leaf ? -1 : (int32_t)l->columns[i],
            .left = is_leaf ? 0 : (uint32_t)l->lefts[i],
            .right = is_leaf ? 0 : (uint32_t)l->rights[i],
            .missing_left = !is_leaf && l->ways[i] > 0.0,
            .threshold = (float)l->thresholds[i],
            .value = l->values[i],
        };
    }
    for (unsigned i = 0; i < forest->n_trees; i++) {
        if (!is_index(l->roots[i], forest->n_nodes - 1.0)) {
            return md_fail(r->err, MD_FORMAT, "%s: root %u of the forest is no node", r->name,
                           i);
        }
        forest->roots[i] = (uint32_t)l->roots[i];
    }
    return MD_OK;
}

static md_status take_forest_lists(reader *r, const json_t *object, lists *l)
{
    md_forest *forest = &r->model->forest;
    size_t n = forest->n_nodes;
    const double node = MD_RISK_MAX_NODES, number = 1e15;
    MD_TRY(take_number(r, object, "forest", "base", -number, number, &forest->base));
    MD_TRY(take_numbers(r, object, "forest", "importance", forest->n_columns, 0.0, 1.0,
                        &forest->importance));
    MD_TRY(take_numbers(r, object, "forest", "roots", forest->n_trees, 0, node, &l->roots));
    MD_TRY(take_numbers(r, object, "forest", "column", n, -1.0, node, &l->columns));
    MD_TRY(take_numbers(r, object, "forest", "left", n, 0.0, node, &l->lefts));
    MD_TRY(take_numbers(r, object, "forest", "right", n, 0.0, node, &l->rights));
    MD_TRY(take_numbers(r, object, "forest", "missing_left", n, 0.0, 1.0, &l->ways));
    MD_TRY(take_numbers(r, object, "forest", "threshold", n, -1e30, 1e30, &l->thresholds));
    MD_TRY(take_numbers(r, object, "forest", "value", n, -number, number, &l->values));
    MD_TRY(take_numbers(r, object, "forest", "cover", n, 0.0, 1e9, &l->covers));
    for (size_t i = 0; i < n; i++) {
        if (l->columns[i] < 0.0 && !(l->covers[i] >= 1e-3)) {
            return md_fail(r->err, MD_FORMAT, "%s: leaf %zu of the forest covers no row",
                           r->name, i);
        }
    }
    MD_TRY(fill_nodes(r, l, forest));
    return join_nodes(r, forest, l->covers);
}

static md_status take_forest(reader *r, const json_t *object)
{
    static const char *const known[] = {"base",  "importance",   "roots",     "column", "left",
                                        "right", "missing_left", "threshold", "value",  "cover",
                                        NULL};
    md_forest *forest = &r->model->forest;
    lists l = {0};
    MD_TRY(check_keys(r, object, "forest", known));
    size_t n_trees = json_array_size(json_object_get(object, "roots"));
    size_t n_nodes = json_array_size(json_object_get(object, "column"));
    if (n_trees == 0 || n_trees > MD_FOREST_MAX_TREES || n_nodes < n_trees ||
        n_nodes > MD_RISK_MAX_NODES) {
        return md_fail(r->err, MD_LIMIT, "%s: %zu trees of %zu nodes: not 1..%d of 1..%d",
                       r->name, n_trees, n_nodes, MD_FOREST_MAX_TREES, MD_RISK_MAX_NODES);
    }
    forest->n_columns = r->model->card.n_features;
    forest->n_trees = (unsigned)n_trees;
    forest->n_nodes = (uint32_t)n_nodes;
    forest->cross_error = forest->cross_auc = (double)NAN;
    md_status status = take_forest_lists(r, object, &l);
    free_lists(&l);
    MD_TRY(status);
    forest->start = forest->base;
    for (unsigned i = 0; i < forest->n_trees; i++) {
        forest->start += forest->nodes[forest->roots[i]].value / forest->n_trees;
    }
    return MD_OK;
}

static md_status take_card(reader *r, const json_t *root)
{
    static const char *const answers[] = {"score", "probability", "value", NULL};
    md_risk_card *card = &r->model->card;
    unsigned kind = 0, link = 0, answer = 0;
    MD_TRY(take_text(r, root, "name", true, card->name, sizeof card->name));
    MD_TRY(check_name(r, card->name, "the model"));
    MD_TRY(take_text(r, root, "meaning", true, card->meaning, sizeof card->meaning));
    MD_TRY(take_text(r, root, "unit", true, card->unit, sizeof card->unit));
    MD_TRY(take_text(r, root, "note", true, card->note, sizeof card->note));
    MD_TRY(take_word(r, root, "kind", md_risk_kind_words, &kind));
    MD_TRY(take_word(r, root, "link", md_risk_link_words, &link));
    MD_TRY(take_word(r, root, "answer", answers, &answer));
    card->kind = (md_risk_kind)kind;
    card->link = (md_risk_link)link;
    card->is_score = answer < 2;
    card->is_probability = answer == 1;
    card->a = 1.0;
    if (card->link == MD_RISK_LOGISTIC) {
        MD_TRY(take_number(r, root, "the model", "a", -1e12, 1e12, &card->a));
        MD_TRY(take_number(r, root, "the model", "b", -1e12, 1e12, &card->b));
    } else if (json_object_get(root, "a") != NULL || json_object_get(root, "b") != NULL) {
        return md_fail(r->err, MD_FORMAT, "%s: 'a' and 'b' belong to link logistic", r->name);
    }
    if (card->is_score && card->link == MD_RISK_EXP) {
        return md_fail(r->err, MD_FORMAT, "%s: link exp does not make a score", r->name);
    }
    if (!card->is_score && card->link == MD_RISK_LOGISTIC) {
        return md_fail(r->err, MD_FORMAT, "%s: link logistic makes a score", r->name);
    }
    return MD_OK;
}

static md_status take_model(reader *r, const json_t *root)
{
    static const char *const known[] = {
        "medaid_risk", "name", "meaning",  "unit",     "note",   "kind", "link",   "answer",
        "a",           "b",    "interval", "features", "linear", "svm",  "forest", NULL};
    md_risk_card *card = &r->model->card;
    MD_TRY(check_keys(r, root, "the file", known));
    if (json_integer_value(json_object_get(root, "medaid_risk")) != 1) {
        return md_fail(r->err, MD_UNSUPPORTED, "%s: 'medaid_risk' is not 1", r->name);
    }
    MD_TRY(take_card(r, root));
    const json_t *features = json_object_get(root, "features");
    size_t n = json_array_size(features);
    if (n == 0 || n > MD_RISK_MAX_FEATURES) {
        return md_fail(r->err, MD_LIMIT, "%s: %zu features, not 1..%d", r->name, n,
                       MD_RISK_MAX_FEATURES);
    }
    card->n_features = (unsigned)n;
    for (unsigned i = 0; i < n; i++) {
        MD_TRY(take_feature(r, json_array_get(features, i), i));
    }
    for (unsigned i = 0; md_risk_kind_words[i] != NULL; i++) {
        bool there = json_object_get(root, md_risk_kind_words[i]) != NULL;
        if (there != (i == (unsigned)card->kind)) {
            return md_fail(r->err, MD_FORMAT, "%s: a model of kind %s has '%s' and no other",
                           r->name, md_risk_kind_words[card->kind],
                           md_risk_kind_words[card->kind]);
        }
    }
    const json_t *inner = json_object_get(root, md_risk_kind_words[card->kind]);
    if (card->kind == MD_RISK_LINEAR) {
        MD_TRY(take_linear(r, inner));
    } else if (card->kind == MD_RISK_SVM) {
        MD_TRY(take_svm(r, inner));
    } else {
        MD_TRY(take_forest(r, inner));
    }
    return take_interval(r, root);
}

/* A parser makes a block of each brace: their number is bounded before it sees them. */
static md_status check_text(const char *text, size_t n, const char *name, md_error *err)
{
    size_t n_braces = 0, n_commas = 0;
    for (size_t i = 0; i < n; i++) {
        n_braces += text[i] == '{' || text[i] == '[';
        n_commas += text[i] == ',';
    }
    if (n_braces > MD_RISK_MAX_FEATURES + 64 || n_commas > MAX_VALUES) {
        return md_fail(err, MD_LIMIT, "%s: %zu braces and %zu values: at most %d and %d", name,
                       n_braces, n_commas, MD_RISK_MAX_FEATURES + 64, MAX_VALUES);
    }
    return MD_OK;
}

md_status md_risk_parse(const void *bytes, size_t size_bytes, const char *name,
                        md_risk_model **ret_model, md_error *err)
{
    if (size_bytes > MD_RISK_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "%s: %zu bytes, at most %zu are read", name, size_bytes,
                       MD_RISK_MAX_BYTES);
    }
    MD_TRY(check_text(bytes, size_bytes, name, err));
    json_error_t wrong = {0};
    json_t *root = json_loadb(bytes, size_bytes, JSON_REJECT_DUPLICATES, &wrong);
    if (root == NULL) {
        return md_fail(err, MD_FORMAT, "%s:%d: %.120s", name, wrong.line, wrong.text);
    }
    md_risk_model *model = md_calloc(1, sizeof *model);
    if (model == NULL) {
        json_decref(root);
        return md_fail(err, MD_NOMEM, "no memory for a risk model");
    }
    reader r = {name, model, err};
    md_status status = take_model(&r, root);
    json_decref(root);
    if (status != MD_OK) {
        md_risk_destroy(model);
        return status;
    }
    *ret_model = model;
    return MD_OK;
}
