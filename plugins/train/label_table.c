#include "plugins/train/csv.h"
#include "plugins/train/dataset_internal.h"
#include "plugins/train/pattern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Films or texts, labels and what is known of each from a table, data.table. */

void md_set_word(char *to, size_t room, const char *from)
{
    if (to[0] == '\0') {
        snprintf(to, room, "%s", from);
    }
}

static bool is_age_text(const char *text, double *ret_years)
{
    char *end = NULL;
    *ret_years = strtod(text, &end);
    return end != text && *end == '\0' && *ret_years >= 0 && *ret_years < 200;
}

static md_status fail_row(const md_csv *csv, size_t row, const char *name, const char *what,
                          const char *got, md_error *err)
{
    return md_fail(err, MD_FORMAT, "%s:%u: %s, got '%.60s'", name, csv->lines[row], what, got);
}

static md_status label_by_word(const md_training_set *set, const md_csv *csv, size_t row,
                               const char *word, const char *name, float *labels, md_error *err)
{
    const bool several = set->recipe->data.task == MD_TASK_MULTI_LABEL;
    char copy[MD_RECIPE_CLASS_BYTES];
    for (unsigned k = 0; k < set->n_classes; k++) {
        labels[k] = 0.0F;
    }
    for (const char *at = word; *at != '\0';) {
        const size_t length = several ? strcspn(at, "|") : strlen(at);
        int k = -1;
        if (length < sizeof copy) {
            memcpy(copy, at, length);
            copy[length] = '\0';
            k = md_set_class_index(set, copy);
        }
        if (k < 0) {
            return fail_row(csv, row, name, "column label: expected one of data.classes", at,
                            err);
        }
        labels[k] = 1.0F;
        at += length + (at[length] == '|' ? 1 : 0);
    }
    return MD_OK;
}

static md_status label_by_columns(const md_training_set *set, const md_csv *csv, size_t row,
                                  const int *columns, const char *name, float *labels,
                                  bool *ret_unlabelled, md_error *err)
{
    unsigned n_present = 0, n_known = 0;
    for (unsigned k = 0; k < set->n_classes; k++) {
        const char *text = md_csv_field(csv, row, columns[k]);
        const bool present = strcmp(text, "1") == 0 || strcmp(text, "1.0") == 0;
        const bool absent = strcmp(text, "0") == 0 || strcmp(text, "0.0") == 0;
        if (!present && !absent && text[0] != '\0') {
            char what[128];
            snprintf(what, sizeof what, "column %s: expected 1, 0 or nothing",
                     set->recipe->data.classes[k]);
            return fail_row(csv, row, name, what, text, err);
        }
        labels[k] = present ? 1.0F : absent ? 0.0F : NAN;
        n_present += present ? 1 : 0;
        n_known += present || absent ? 1 : 0;
    }
    *ret_unlabelled = n_known == 0;
    if (set->recipe->data.task == MD_TASK_MULTI_CLASS && n_known > 0) {
        if (n_present != 1) {
            return md_fail(
                err, MD_FORMAT,
                "%s:%u: %u classes are 1, expected exactly one with task multi-class", name,
                csv->lines[row], n_present);
        }
        for (unsigned k = 0; k < set->n_classes; k++) {
            labels[k] = labels[k] == 1.0F ? 1.0F : 0.0F;
        }
    }
    return MD_OK;
}

typedef struct table {
    md_csv csv;
    const char *name;
    int file, label, patient, part, sex, age, view, manufacturer;
    int classes[MD_RECIPE_MAX_CLASSES];
    /* of texts */
    int texts[MD_RECIPE_MAX_COLUMNS], labels[MD_RECIPE_MAX_PATTERNS];
    md_pattern patterns[MD_RECIPE_MAX_PATTERNS], unknown;
} table;

/* The columns that a recipe for texts names. */
static md_status find_text_columns(const md_training_set *set, table *t, md_error *err)
{
    const md_recipe *r = set->recipe;
    for (unsigned i = 0; i < r->text.n_columns; i++) {
        t->texts[i] = md_csv_column(&t->csv, r->text.columns[i]);
        if (t->texts[i] < 0) {
            return md_fail(err, MD_FORMAT, "%s: no column '%s' (text.columns)", t->name,
                           r->text.columns[i]);
        }
    }
    if (r->data.patient_column[0] != '\0') {
        t->patient = md_csv_column(&t->csv, r->data.patient_column);
        if (t->patient < 0) {
            return md_fail(err, MD_FORMAT, "%s: no column '%s' (data.patient_column)", t->name,
                           r->data.patient_column);
        }
    }
    for (unsigned i = 0; i < r->data.n_label_patterns; i++) {
        const md_recipe_pattern *p = &r->data.label_patterns[i];
        t->labels[i] = md_csv_column(&t->csv, p->column);
        if (t->labels[i] < 0) {
            return md_fail(err, MD_FORMAT, "%s: no column '%s' (data.label_patterns)", t->name,
                           p->column);
        }
        MD_TRY(md_pattern_init(&t->patterns[i], p->matches, err));
    }
    return r->data.unknown_pattern[0] == '\0'
               ? MD_OK
               : md_pattern_init(&t->unknown, r->data.unknown_pattern, err);
}

static md_status find_columns(const md_training_set *set, table *t, md_error *err)
{
    const md_csv *csv = &t->csv;
    const struct {
        const char *name;
        int *column;
    } wanted[] = {{"file", &t->file},       {"label", &t->label},
                  {"patient", &t->patient}, {"part", &t->part},
                  {"sex", &t->sex},         {"age", &t->age},
                  {"view", &t->view},       {"manufacturer", &t->manufacturer}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].column = md_csv_column(csv, wanted[i].name);
    }
    if (set->recipe->text.there) {
        MD_TRY(find_text_columns(set, t, err));
    }
    if (set->recipe->text.there && set->recipe->data.n_label_patterns > 0) {
        return MD_OK;
    }
    unsigned n_classes = 0;
    const char *missing = "";
    for (unsigned k = 0; k < set->n_classes; k++) {
        t->classes[k] = md_csv_column(csv, set->recipe->data.classes[k]);
        n_classes += t->classes[k] >= 0 ? 1 : 0;
        missing = t->classes[k] < 0 ? set->recipe->data.classes[k] : missing;
    }
    if (t->file < 0 && !set->recipe->text.there) {
        return md_fail(err, MD_FORMAT, "%s: no column 'file'", t->name);
    }
    if (t->label < 0 && n_classes == 0) {
        return md_fail(err, MD_FORMAT,
                       "%s: no column 'label' and none with the name of a class", t->name);
    }
    if (t->label >= 0 && n_classes > 0) {
        return md_fail(err, MD_FORMAT,
                       "%s: a column 'label' and columns of classes, expected one kind",
                       t->name);
    }
    if (t->label < 0 && n_classes < set->n_classes) {
        return md_fail(err, MD_FORMAT, "%s: no column '%s'", t->name, missing);
    }
    return MD_OK;
}

/* Path of a row's file: below the first folder that has it. */
static md_status find_file(const md_training_set *set, const table *t, size_t row,
                           char path[MD_RECIPE_PATH_BYTES], md_error *err)
{
    const char *file = md_csv_field(&t->csv, row, t->file);
    const md_recipe_data *data = &set->recipe->data;
    struct stat about;
    for (unsigned i = 0; i < data->n_folders && file[0] != '\0'; i++) {
        char folder[MD_RECIPE_PATH_BYTES];
        MD_TRY(md_recipe_path(set->recipe, data->folders[i], folder, err));
        const int n = file[0] == '/'
                          ? snprintf(path, MD_RECIPE_PATH_BYTES, "%s", file)
                          : snprintf(path, MD_RECIPE_PATH_BYTES, "%s/%s", folder, file);
        if (n > 0 && n < MD_RECIPE_PATH_BYTES && stat(path, &about) == 0 &&
            S_ISREG(about.st_mode)) {
            return MD_OK;
        }
    }
    return md_fail(err, MD_NOT_FOUND, "%s:%u: there is no file '%.120s' below data.folders",
                   t->name, t->csv.lines[row], file);
}

static md_status read_person(const table *t, size_t row, md_film *film, md_error *err)
{
    static const struct {
        const char *word;
        char sex;
    } sexes[] = {{"F", 'F'},    {"M", 'M'},     {"O", 'O'}, {"female", 'F'},
                 {"male", 'M'}, {"other", 'O'}, {"", 0}};
    const char *sex = md_csv_field(&t->csv, row, t->sex);
    const char *age = md_csv_field(&t->csv, row, t->age);
    size_t i = 0;
    while (i < sizeof sexes / sizeof *sexes && strcasecmp(sex, sexes[i].word) != 0) {
        i++;
    }
    if (i == sizeof sexes / sizeof *sexes) {
        return fail_row(&t->csv, row, t->name, "column sex: expected F, M, O or nothing", sex,
                        err);
    }
    film->sex = sexes[i].sex;
    double years = 0;
    if (age[0] != '\0') {
        if (!is_age_text(age, &years)) {
            return fail_row(&t->csv, row, t->name, "column age: expected years", age, err);
        }
        film->age_years = (float)years;
    }
    md_set_word(film->view, sizeof film->view, md_csv_field(&t->csv, row, t->view));
    md_set_word(film->manufacturer, sizeof film->manufacturer,
                md_csv_field(&t->csv, row, t->manufacturer));
    return MD_OK;
}

static md_status read_part(const table *t, size_t row, md_film *film, md_error *err)
{
    const char *part = md_csv_field(&t->csv, row, t->part);
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        if (strcmp(part, md_part_name((md_part)p)) == 0) {
            film->part = (md_part)p;
            return MD_OK;
        }
    }
    return part[0] == '\0'
               ? MD_OK
               : fail_row(&t->csv, row, t->name,
                          "column part: expected train, validation, test or nothing", part,
                          err);
}

/* Whether a label column says anything; a pattern that cannot be tried is named by its line. */
static md_status try_pattern(const table *t, size_t row, const md_pattern *pattern,
                             const char *text, bool *ret_matches, md_error *err)
{
    md_pattern *p = (md_pattern *)(uintptr_t)pattern; /* what it holds of the last match */
    md_error reason = {0};
    const md_status status =
        p->code == NULL ? MD_NOT_FOUND : md_pattern_match(p, text, &reason);
    *ret_matches = status == MD_OK;
    return status == MD_OK || status == MD_NOT_FOUND
               ? MD_OK
               : md_fail(err, status,
                         "%s:%u: a pattern cannot be tried on the label: it is not UTF-8, or "
                         "there is too much backtracking",
                         t->name, t->csv.lines[row]);
}

/* By data.label_patterns: with several labels each is there when one of its patterns matches,
 * with classes the first that matches is it. A column that is empty or that unknown_pattern
 * matches says nothing. */
static md_status label_by_patterns(const md_training_set *set, const table *t, size_t row,
                                   float *labels, bool *ret_unlabelled, md_error *err)
{
    const md_recipe_data *data = &set->recipe->data;
    const bool several = data->task == MD_TASK_MULTI_LABEL;
    bool any = false;
    for (unsigned k = 0; k < set->n_classes; k++) {
        labels[k] = several ? NAN : 0.0F;
    }
    for (unsigned i = 0; i < data->n_label_patterns && (several || !any); i++) {
        const int k = md_set_class_index(set, data->label_patterns[i].class_name);
        const char *text = md_csv_field(&t->csv, row, t->labels[i]);
        bool unknown = false, matches = false;
        MD_TRY(try_pattern(t, row, &t->unknown, text, &unknown, err));
        if (text[0] == '\0' || unknown) {
            continue;
        }
        MD_TRY(try_pattern(t, row, &t->patterns[i], text, &matches, err));
        labels[k] = matches ? 1.0F : isnan(labels[k]) && several ? 0.0F : labels[k];
        any = any || matches || several;
    }
    *ret_unlabelled = !any;
    return MD_OK;
}

static md_status read_labels(const md_training_set *set, const table *t, size_t row,
                             float *labels, bool *ret_unlabelled, md_error *err)
{
    if (set->recipe->text.there && set->recipe->data.n_label_patterns > 0) {
        return label_by_patterns(set, t, row, labels, ret_unlabelled, err);
    }
    if (t->label < 0) {
        return label_by_columns(set, &t->csv, row, t->classes, t->name, labels, ret_unlabelled,
                                err);
    }
    const char *word = md_csv_field(&t->csv, row, t->label);
    *ret_unlabelled = word[0] == '\0' && set->recipe->data.task == MD_TASK_MULTI_CLASS;
    return label_by_word(set, &t->csv, row, word, t->name, labels, err);
}

/* The columns of a text with line breaks between; its name is its line, since what stands in
 * the table may be anybody's. */
static md_status read_text(const md_training_set *set, const table *t, size_t row,
                           md_film *film, md_error *err)
{
    char name[32];
    size_t n_bytes = 1;
    const unsigned n = set->recipe->text.n_columns;
    for (unsigned i = 0; i < n; i++) {
        n_bytes += strlen(md_csv_field(&t->csv, row, t->texts[i])) + 1;
    }
    (void)snprintf(name, sizeof name, "line %08u", t->csv.lines[row]);
    film->name = md_strdup(name);
    film->text = md_malloc(n_bytes);
    if (film->name == NULL || film->text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu texts", set->n_films);
    }
    char *at = film->text;
    for (unsigned i = 0; i < n; i++) {
        at = stpcpy(at, md_csv_field(&t->csv, row, t->texts[i]));
        *at++ = '\n';
    }
    *at = '\0';
    return MD_OK;
}

static md_status add_row(md_training_set *set, const table *t, size_t row, md_error *err)
{
    const bool is_text = set->recipe->text.there;
    char path[MD_RECIPE_PATH_BYTES] = "";
    float labels[MD_RECIPE_MAX_CLASSES];
    bool unlabelled = false;
    if (!is_text) {
        MD_TRY(find_file(set, t, row, path, err));
    }
    MD_TRY(read_labels(set, t, row, labels, &unlabelled, err));
    if (unlabelled) {
        set->n_unlabelled++;
        return set->recipe->data.unlabelled == 1
                   ? MD_OK
                   : md_fail(err, MD_FORMAT,
                             "%s:%u: no label (data.unlabelled: skip leaves such %s out)",
                             t->name, t->csv.lines[row], is_text ? "lines" : "files");
    }
    md_film *film = NULL;
    float *to = NULL;
    MD_TRY(md_set_add(set, &film, &to, err));
    memcpy(to, labels, set->n_classes * sizeof *labels);
    if (is_text) {
        MD_TRY(read_text(set, t, row, film, err));
    } else {
        film->name = md_strdup(md_csv_field(&t->csv, row, t->file));
        film->path = md_strdup(path);
        film->kind = md_picture_sniff(path);
        if (film->name == NULL || film->path == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu films", set->n_films);
        }
    }
    if (t->patient >= 0) {
        const char *patient = md_csv_field(&t->csv, row, t->patient);
        if (patient[0] == '\0') {
            return md_fail(err, MD_FORMAT, "%s:%u: column patient is empty", t->name,
                           t->csv.lines[row]);
        }
        film->patient_name = md_strdup(patient);
        if (film->patient_name == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a patient");
        }
    }
    MD_TRY(read_person(t, row, film, err));
    return read_part(t, row, film, err);
}

static void table_finish(table *t)
{
    for (unsigned i = 0; i < MD_RECIPE_MAX_PATTERNS; i++) {
        md_pattern_finish(&t->patterns[i]);
    }
    md_pattern_finish(&t->unknown);
    md_csv_finish(&t->csv);
}

md_status md_set_collect_table(md_training_set *set, md_error *err)
{
    const char *slash = strrchr(set->recipe->data.table, '/');
    table t = {.name = slash != NULL ? slash + 1 : set->recipe->data.table};
    char path[MD_RECIPE_PATH_BYTES];
    MD_TRY(md_recipe_path(set->recipe, set->recipe->data.table, path, err));
    MD_TRY(md_csv_read(path, &t.csv, err));
    md_status status = find_columns(set, &t, err);
    for (size_t row = 0; row < t.csv.n_rows && status == MD_OK; row++) {
        status = add_row(set, &t, row, err);
    }
    table_finish(&t);
    return status;
}
