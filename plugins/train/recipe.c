#include "plugins/train/recipe.h"

#include "base/file.h"
#include "plugins/train/recipe_internal.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static md_status check_pattern(const char *pattern, const char *name, unsigned line,
                               const char *key, md_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR message[120] = "not a regular expression";
        (void)pcre2_get_error_message(code, message, sizeof message);
        return md_fail(err, MD_FORMAT, "%s:%u: key '%s': at character %zu: %s", name, line, key,
                       (size_t)at, (const char *)message);
    }
    pcre2_code_free(compiled);
    return MD_OK;
}

static int class_index(const md_recipe_data *data, const char *class_name)
{
    for (unsigned i = 0; i < data->n_classes; i++) {
        if (strcmp(data->classes[i], class_name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static md_status check_classes(const md_recipe_data *data, const char *name, md_error *err)
{
    if (data->task == MD_TASK_MULTI_CLASS && data->n_classes < 2) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'data.classes': got 1, expected at least 2 with task "
                       "multi-class",
                       name, data->line);
    }
    for (unsigned i = 0; i < data->n_classes; i++) {
        if (class_index(data, data->classes[i]) != (int)i) {
            return md_fail(err, MD_FORMAT, "%s:%u: key 'data.classes': '%s' stands there twice",
                           name, data->line, data->classes[i]);
        }
    }
    return MD_OK;
}

static md_status check_data(const md_recipe_data *data, const char *name, md_error *err)
{
    MD_TRY(check_classes(data, name, err));
    for (unsigned i = 0; i < data->n_label_patterns; i++) {
        const md_recipe_pattern *p = &data->label_patterns[i];
        if (class_index(data, p->class_name) < 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'data.label_patterns[%u].class': got '%s', expected one "
                           "of data.classes",
                           name, p->line, i, p->class_name);
        }
        MD_TRY(check_pattern(p->file, name, p->line, "data.label_patterns.file", err));
        MD_TRY(check_pattern(p->matches, name, p->line, "data.label_patterns.matches", err));
    }
    if (data->patient_pattern[0] != '\0') {
        MD_TRY(check_pattern(data->patient_pattern, name, data->line, "data.patient_pattern",
                             err));
    }
    const double sum = data->split.train + data->split.validation + data->split.test;
    if (fabs(sum - 1.0) > 1e-6 || data->split.train <= 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'data.split': the shares add up to %g, expected 1 with "
                       "train above 0",
                       name, data->split.line > 0 ? data->split.line : data->line, sum);
    }
    return MD_OK;
}

/* What films alone have, and what texts alone have. */
static md_status check_films(const md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_data *data = &r->data;
    if (!r->has_preprocess) {
        return md_fail(err, MD_FORMAT,
                       "%s: key 'preprocess' is missing, expected it or, for texts, 'text'",
                       name);
    }
    if (data->n_folders == 0) {
        return md_fail(err, MD_FORMAT, "%s:%u: key 'data.folders' is missing", name,
                       data->line);
    }
    if (data->n_label_patterns > 0 && data->table[0] != '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'data': label_patterns beside a table, expected one of them",
                       name, data->line);
    }
    for (unsigned i = 0; i < data->n_label_patterns; i++) {
        const md_recipe_pattern *p = &data->label_patterns[i];
        if (p->file[0] == '\0' || p->column[0] != '\0' || p->matches[0] != '\0') {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'data.label_patterns[%u]': expected class and file",
                           name, p->line, i);
        }
    }
    if (data->patient_column[0] != '\0' || data->unknown_pattern[0] != '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'data.%s': it is for texts, expected none without 'text'",
                       name, data->line,
                       data->patient_column[0] != '\0' ? "patient_column" : "unknown_pattern");
    }
    return MD_OK;
}

static md_status check_text(md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_data *data = &r->data;
    const bool test_time = r->evaluation.test_time.flip || r->evaluation.test_time.shift > 0;
    const struct {
        bool wrong;
        const char *key, *expected;
    } checks[] = {
        {r->has_preprocess, "preprocess", "none beside 'text'"},
        {r->augment_line > 0, "augment", "none with 'text', which has drop_words"},
        {data->n_folders > 0, "data.folders", "none with 'text'"},
        {data->table[0] == '\0', "data.table", "the table that has the texts"},
        {data->patient_pattern[0] != '\0', "data.patient_pattern", "patient_column for texts"},
        {data->near_duplicates > 0, "data.near_duplicates", "0 for texts"},
        {r->training.n_sizes > 0, "training.sizes", "none for texts"},
        {r->training.precision != MD_PRECISION_F32, "training.precision", "f32 for texts"},
        {test_time, "evaluation.test_time", "none for texts"},
        {r->network.n_layers > 0, "network.layers", "name or file for texts"},
        {r->package.there && r->package.manifest.text.n_attributes == 0, "text.attributes",
         "which attributes of a study are read, beside export"},
        {r->package.there && strcmp(r->package.manifest.network.precision, "f32") != 0,
         "export.precision", "f32 for texts"},
        {r->network.file[0] != '\0' && r->text.vocabulary[0] == '\0', "text.vocabulary",
         "that of network.file"},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (checks[i].wrong) {
            return md_fail(err, MD_FORMAT, "%s:%u: key '%s': expected %s", name, r->text.line,
                           checks[i].key, checks[i].expected);
        }
    }
    for (unsigned i = 0; i < data->n_label_patterns; i++) {
        const md_recipe_pattern *p = &data->label_patterns[i];
        if (p->file[0] != '\0' || p->column[0] == '\0' || p->matches[0] == '\0') {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'data.label_patterns[%u]': expected class, column and "
                           "matches for texts",
                           name, p->line, i);
        }
    }
    MD_TRY(check_pattern(data->unknown_pattern, name, data->line, "data.unknown_pattern", err));
    r->preprocess.width = r->text.tokens;
    r->preprocess.height = 1;
    r->preprocess.n_channels = 1;
    return MD_OK;
}

static md_status check_augment(const md_recipe *r, const char *name, md_error *err)
{
    for (const md_recipe_range *range = md_recipe_ranges; range->key != NULL; range++) {
        const md_augment_range *a = (const void *)((const char *)&r->augment + range->offset);
        if (a->low > a->high) {
            return md_fail(err, MD_FORMAT, "%s:%u: key 'augment.%s': low %g is above high %g",
                           name, r->augment_line, range->key, (double)a->low, (double)a->high);
        }
    }
    if (r->augment_line > 0 && r->preprocess.values == MD_VALUES_PHYSICAL) {
        const md_augment_options *a = &r->augment;
        const struct {
            const char *key;
            float probability;
        } tones[] = {
            {"histogram_swap", a->histogram_swap.probability},
            {"gamma", a->gamma.probability},
            {"contrast", a->contrast.probability},
            {"brightness", a->brightness.probability},
            {"spectrum_swap", a->spectrum_swap.probability},
            {"jpeg", a->jpeg.probability},
            {"noise", a->noise.probability},
            {"border", a->border.probability},
            {"cutout", a->cutout.probability},
        };
        for (size_t i = 0; i < sizeof tones / sizeof *tones; i++) {
            if (tones[i].probability > 0) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'augment.%s': it is for display values in 0..1, "
                               "expected none with preprocess.values physical",
                               name, r->augment_line, tones[i].key);
            }
        }
    }
    return MD_OK;
}

static md_status check_network(const md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_network *n = &r->network;
    const unsigned n_ways = (n->name[0] != '\0' ? 1u : 0u) + (n->file[0] != '\0' ? 1u : 0u) +
                            (n->n_layers > 0 ? 1u : 0u);
    if (n_ways != 1) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'network': got %u of name, file and layers, expected exactly "
            "one",
            name, n->line, n_ways);
    }
    if (n->n_freeze > 0 && n->file[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'network.freeze': new weights cannot be frozen, expected "
                       "network.file",
                       name, n->line);
    }
    return MD_OK;
}

static md_status check_count(unsigned n, bool wanted, const char *key, const char *why,
                             const md_recipe *r, const char *name, md_error *err)
{
    if (n != (wanted ? r->data.n_classes : 0)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.%s': got %u values, expected %u with %s", name,
                       r->training.line, key, n, wanted ? r->data.n_classes : 0, why);
    }
    return MD_OK;
}

/* Number of the class that is the first of its group. */
static unsigned first_of_group(const md_recipe_training *t, unsigned class_number)
{
    unsigned first = 0;
    while (strcmp(t->loss.groups[first], t->loss.groups[class_number]) != 0) {
        first++;
    }
    return first;
}

void md_recipe_groups(const md_recipe *recipe, unsigned ret_groups[MD_RECIPE_MAX_CLASSES])
{
    for (unsigned i = 0; i < recipe->training.loss.n_groups; i++) {
        ret_groups[i] = first_of_group(&recipe->training, i);
    }
}

static md_status check_loss(const md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_training *t = &r->training;
    const unsigned n = t->loss.n_groups;
    unsigned n_distinct = 0;
    if (t->loss.line == 0) {
        return MD_OK;
    }
    if (n != r->data.n_classes) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.loss.groups': got %u values, expected one for "
                       "each of the %u data.classes",
                       name, t->loss.line, n, r->data.n_classes);
    }
    if (r->data.task == MD_TASK_MULTI_LABEL) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.loss.groups': classes are apart with task "
                       "multi-label, expected none",
                       name, t->loss.line);
    }
    for (unsigned i = 0; i < n; i++) {
        n_distinct += first_of_group(t, i) == i ? 1 : 0;
    }
    if (n_distinct < 2 || n_distinct == n) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.loss.groups': got %u groups of %u classes, "
                       "expected at least 2, one of them with several classes",
                       name, t->loss.line, n_distinct, n);
    }
    return MD_OK;
}

static md_status check_training(const md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_training *t = &r->training;
    const bool given = t->class_weights == MD_CLASS_WEIGHTS_GIVEN;
    const bool shares = t->sampler == MD_SAMPLER_SHARES;
    MD_TRY(check_loss(r, name, err));
    MD_TRY(check_count(t->n_weights, given, "weights",
                       given ? "class_weights given" : "these class_weights", r, name, err));
    MD_TRY(check_count(t->n_shares, shares, "shares",
                       shares ? "sampler shares" : "this sampler", r, name, err));
    if (shares && r->data.task == MD_TASK_MULTI_LABEL) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'training.sampler': got shares, expected shuffle or balanced "
            "with task multi-label",
            name, t->line);
    }
    double sum = 0;
    for (unsigned i = 0; i < t->n_shares; i++) {
        sum += (double)t->shares[i];
    }
    if (shares && fabs(sum - 1.0) > 1e-3) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.shares': they add up to %g, expected 1", name,
                       t->line, sum);
    }
    if (t->nesterov && (t->momentum <= 0 || t->optimizer != MD_RECIPE_SGD)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'training.nesterov': expected optimizer sgd with momentum",
                       name, t->line);
    }
    if (t->warmup_epochs >= t->epochs) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'training.warmup_epochs': got %g, expected fewer than the %u "
            "epochs",
            name, t->line, t->warmup_epochs, t->epochs);
    }
    return MD_OK;
}

static md_status check_package(md_recipe *r, const char *name, md_error *err)
{
    md_manifest *m = &r->package.manifest;
    MD_TRY(md_manifest_check_after(m, name, "export.", err));
    if (!r->text.there) {
        MD_TRY(md_manifest_check_saliency(m, &r->preprocess, name, "export.saliency", err));
    }
    for (unsigned i = 0; i < m->n_findings; i++) {
        const md_manifest_finding *f = &m->findings[i];
        for (unsigned k = 0; k < f->n_classes; k++) {
            if (f->classes[k] >= r->data.n_classes) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'export.findings[%u].classes': got %u, expected "
                               "0..%u as there are %u data.classes",
                               name, f->line, i, f->classes[k], r->data.n_classes - 1,
                               r->data.n_classes);
            }
        }
        if (r->data.task == MD_TASK_MULTI_LABEL && f->n_classes != 1) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'export.findings[%u].classes': got %u, expected exactly "
                           "1 with task multi-label",
                           name, f->line, i, f->n_classes);
        }
    }
    return MD_OK;
}

static md_status check_evaluation(const md_recipe *r, const char *name, md_error *err)
{
    const md_recipe_evaluation *e = &r->evaluation;
    MD_TRY(md_test_time_check(&e->test_time, &r->preprocess, name, e->test_time_line,
                              "evaluation.test_time", err));
    for (unsigned i = 1; i < e->n_age_bands; i++) {
        if (!(e->age_bands[i] > e->age_bands[i - 1])) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'evaluation.age_bands': expected rising ages", name,
                           e->line);
        }
    }
    return MD_OK;
}

static md_status check(md_recipe *r, const char *name, md_error *err)
{
    MD_TRY(check_data(&r->data, name, err));
    if (r->text.there) {
        MD_TRY(check_text(r, name, err));
    } else {
        MD_TRY(check_films(r, name, err));
        MD_TRY(md_preprocess_spec_check(&r->preprocess, name, err));
        MD_TRY(check_augment(r, name, err));
    }
    MD_TRY(check_network(r, name, err));
    MD_TRY(md_recipe_make_layers(&r->network, name, err));
    MD_TRY(check_training(r, name, err));
    MD_TRY(check_evaluation(r, name, err));
    return check_package(r, name, err);
}

md_status md_recipe_parse(const uint8_t *bytes, size_t size_bytes, const char *name,
                          const char *folder, md_recipe **ret_recipe, md_error *err)
{
    MD_AUTO(md_recipe_destroyp) md_recipe *r = md_calloc(1, sizeof *r);
    if (r == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory for its values", name);
    }
    if (strlen(folder) >= sizeof r->folder) {
        return md_fail(err, MD_LIMIT, "%s: its folder has a name of more than %zu bytes", name,
                       sizeof r->folder - 1);
    }
    MD_TRY(md_schema_parse(md_recipe_fields, bytes, size_bytes, name, r, err));
    memcpy(r->folder, folder, strlen(folder) + 1);
    md_recipe_drop_absent(r);
    MD_TRY(check(r, name, err));
    *ret_recipe = MD_STEAL(r);
    return MD_OK;
}

md_status md_recipe_read(const char *path, md_recipe **ret_recipe, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_SCHEMA_MAX_BYTES, &bytes, &size_bytes, err));
    /* the folder as it is now: the process may change to another one */
    char *whole = realpath(path, NULL);
    if (whole == NULL) {
        return md_fail(err, MD_IO, "%s: its folder cannot be found", path);
    }
    char *slash = strrchr(whole, '/');
    slash[slash == whole ? 1 : 0] = '\0';
    const char *base = strrchr(path, '/');
    md_status status = md_recipe_parse(bytes, size_bytes, base != NULL ? base + 1 : path, whole,
                                       ret_recipe, err);
    free(whole);
    return status;
}

void md_recipe_destroy(md_recipe *recipe)
{
    if (recipe == NULL) {
        return;
    }
    md_recipe_free_layers(&recipe->network);
    md_schema_release(md_recipe_fields, recipe);
    md_free(recipe);
}

md_status md_recipe_path(const md_recipe *recipe, const char *path,
                         char ret_path[MD_RECIPE_PATH_BYTES], md_error *err)
{
    const bool whole = path[0] == '/' || recipe->folder[0] == '\0';
    const bool root = strcmp(recipe->folder, "/") == 0;
    const int n = snprintf(ret_path, MD_RECIPE_PATH_BYTES, "%s%s%s",
                           whole ? "" : recipe->folder, whole || root ? "" : "/", path);
    if (n < 0 || n >= MD_RECIPE_PATH_BYTES) {
        return md_fail(err, MD_LIMIT, "a path of %d bytes, expected at most %d", n,
                       MD_RECIPE_PATH_BYTES - 1);
    }
    return MD_OK;
}

md_status md_recipe_take_vocabulary(md_recipe *recipe, const char *folder, md_error *err)
{
    char whole[PATH_MAX];
    if (realpath(folder, whole) == NULL) {
        return md_fail_os(err, errno, "%s", folder);
    }
    char *path = recipe->text.vocabulary;
    const int n = snprintf(path, MD_RECIPE_PATH_BYTES, "%s/%s", whole, MD_RECIPE_VOCABULARY);
    return n > 0 && n < MD_RECIPE_PATH_BYTES
               ? MD_OK
               : md_fail(err, MD_LIMIT, "a path of %d bytes, expected at most %d", n,
                         MD_RECIPE_PATH_BYTES - 1);
}

static md_status make_absolute(const md_recipe *recipe, char *path, md_error *err)
{
    char whole[MD_RECIPE_PATH_BYTES];
    if (path[0] == '\0') {
        return MD_OK;
    }
    MD_TRY(md_recipe_path(recipe, path, whole, err));
    memcpy(path, whole, sizeof whole);
    return MD_OK;
}

md_status md_recipe_write(const md_recipe *recipe, char **ret_text, md_error *err)
{
    /* a copy for the absolute paths; what it points to stays the recipe's */
    MD_AUTO(md_freep) md_recipe *copy = md_malloc(sizeof *copy);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write a recipe");
    }
    *copy = *recipe;
    copy->has_evaluation = copy->has_split = true;   /* also when all of them is default */
    copy->has_augment_section = !recipe->text.there; /* also when all of it is default */
    for (unsigned i = 0; i < copy->data.n_folders; i++) {
        MD_TRY(make_absolute(recipe, copy->data.folders[i], err));
    }
    MD_TRY(make_absolute(recipe, copy->data.table, err));
    MD_TRY(make_absolute(recipe, copy->data.split.file, err));
    MD_TRY(make_absolute(recipe, copy->run_folder, err));
    MD_TRY(make_absolute(recipe, copy->network.file, err));
    MD_TRY(make_absolute(recipe, copy->text.vocabulary, err));
    MD_TRY(make_absolute(recipe, copy->text.vectors, err));
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *out = open_memstream(&text, &size_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write a recipe");
    }
    md_status status = md_schema_write(md_recipe_fields, copy, out, err);
    if (fclose(out) != 0 && status == MD_OK) {
        status = md_fail(err, MD_NOMEM, "no memory to write a recipe");
    }
    char *own = status == MD_OK ? md_strdup(text) : NULL;
    free(text);
    MD_TRY(status);
    if (own == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write a recipe");
    }
    *ret_text = own;
    return MD_OK;
}

void md_recipe_size_of(const md_recipe *recipe, unsigned epoch, unsigned *ret_width,
                       unsigned *ret_height)
{
    const md_recipe_training *t = &recipe->training;
    const unsigned width = recipe->preprocess.width, height = recipe->preprocess.height;
    const unsigned shorter = width < height ? width : height;
    unsigned end = 0;
    *ret_width = width;
    *ret_height = height;
    for (unsigned i = 0; i < t->n_sizes; i++) {
        end += t->sizes[i].epochs;
        if (epoch < end) {
            const double factor = (double)t->sizes[i].size / shorter;
            *ret_width = (unsigned)lround(width * factor);
            *ret_height = (unsigned)lround(height * factor);
            return;
        }
    }
}
