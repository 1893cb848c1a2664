/* The films of an evaluation, from a recipe or from a table. */

#include "dicom/dataset/dataset.h"
#include "plugins/host/accept.h"
#include "plugins/train/audit_internal.h"
#include "plugins/train/evaluate_internal.h"

#include <errno.h>
#include <fts.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static md_status films_init(md_evaluate_films *films, size_t n, unsigned n_labels,
                            md_error *err)
{
    size_t n_values = 0;
    if (n > MD_SET_MAX_FILMS || !md_mul(n, n_labels, &n_values)) {
        return md_fail(err, MD_LIMIT, "%zu films, at most %d", n, MD_SET_MAX_FILMS);
    }
    films->paths = md_calloc(n + 1, sizeof *films->paths);
    films->patients = md_calloc(n + 1, sizeof *films->patients);
    films->facts = md_calloc(n + 1, sizeof *films->facts);
    films->words = md_calloc(n + 1, sizeof *films->words);
    films->labels = md_calloc(n_values + 1, sizeof *films->labels);
    films->n_labels = n_labels;
    if (films->paths == NULL || films->patients == NULL || films->facts == NULL ||
        films->words == NULL || films->labels == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n);
    }
    return MD_OK;
}

void md_evaluate_films_finish(md_evaluate_films *films)
{
    for (size_t i = 0; films->paths != NULL && i < films->n; i++) {
        md_free(films->paths[i]);
    }
    md_free(films->paths);
    md_free(films->tokens);
    md_free(films->patients);
    md_free(films->patient_keys);
    md_free(films->facts);
    md_free(films->words);
    md_free(films->labels);
    md_recipe_destroy(films->recipe);
    *films = (md_evaluate_films){0};
}

static void set_words(md_evaluate_films *films, size_t i, const char *view,
                      const char *manufacturer)
{
    (void)snprintf(films->words[i][0], MD_GROUPS_WORD_BYTES, "%s", view);
    (void)snprintf(films->words[i][1], MD_GROUPS_WORD_BYTES, "%s", manufacturer);
    films->facts[i].view = films->words[i][0];
    films->facts[i].manufacturer = films->words[i][1];
}

static md_status count_parts(const md_training_set *set, md_evaluation_of_model *e,
                             md_error *err)
{
    e->n_parts = MD_N_PARTS - 1;
    e->n_classes = set->n_classes;
    MD_AUTO(md_freep) bool *seen = md_calloc(set->n_patients + 1, sizeof *seen);
    if (seen == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", set->n_patients);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        const md_film *film = &set->films[i];
        e->part_images[film->part]++;
        if (film->patient < set->n_patients && !seen[film->patient]) {
            seen[film->patient] = true; /* no patient is in two parts */
            e->part_patients[film->part]++;
        }
        for (unsigned k = 0; k < set->n_classes; k++) {
            e->part_counts[film->part][k] += set->labels[i * set->n_classes + k] >= 0.5F;
        }
    }
    return MD_OK;
}

static md_status take_set(const md_training_set *set, md_part part, md_evaluate_films *films,
                          md_error *err)
{
    for (size_t i = 0; i < set->n_films; i++) {
        const md_film *film = &set->films[i];
        if (film->part != part) {
            continue;
        }
        const size_t at = films->n;
        films->paths[at] = md_strdup(films->tokens != NULL ? film->name : film->path);
        for (unsigned k = 0; k < films->length; k++) {
            films->tokens[at * films->length + k] = set->tokens[i * films->length + k];
        }
        if (films->paths[at] == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu films", set->n_films);
        }
        films->n++;
        films->patients[at] = film->patient;
        films->facts[at].sex = film->sex;
        films->facts[at].age_years = (double)film->age_years;
        set_words(films, at, film->view, film->manufacturer);
        memcpy(films->labels + at * set->n_classes, set->labels + i * set->n_classes,
               set->n_classes * sizeof *films->labels);
    }
    return MD_OK;
}

/* The words that the network's numbers stand for are those of the file beside it; learnt anew
 * from texts that were changed since, they would be others. */
static md_status find_vocabulary(const char *model, md_recipe *recipe, md_error *err)
{
    char folder[MD_RECIPE_PATH_BYTES], path[MD_RECIPE_PATH_BYTES + sizeof MD_RECIPE_VOCABULARY];
    const char *slash = strrchr(model, '/');
    const int n =
        snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - model + 1),
                 slash == NULL ? "." : model);
    if (n < 0 || (size_t)n >= sizeof folder) {
        return md_fail(err, MD_LIMIT, "the model's name is too long");
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, MD_RECIPE_VOCABULARY);
    if (access(path, F_OK) == 0) {
        return md_recipe_take_vocabulary(recipe, folder, err);
    }
    return recipe->text.vocabulary[0] != '\0'
               ? MD_OK
               : md_fail(err, MD_INVALID_ARG,
                         "%s: there is no " MD_RECIPE_VOCABULARY
                         " beside it, and the recipe names none (text.vocabulary); "
                         "name the model.onnx of a run folder or of a package",
                         model);
}

md_status md_evaluate_recipe_films(const md_evaluate_options *options, md_evaluate_films *films,
                                   md_evaluation_of_model *e, md_error *err)
{
    MD_AUTO(md_training_set_destroyp) md_training_set *set = NULL;
    const md_part part = options->part == MD_PART_NONE ? MD_PART_VALIDATION : options->part;
    MD_TRY(md_recipe_read(options->data, &films->recipe, err));
    if (films->recipe->text.there) {
        MD_TRY(find_vocabulary(options->model, films->recipe, err));
    }
    MD_TRY(md_training_set_read(films->recipe, options->n_threads, options->on_progress,
                                options->context, &set, err));
    for (unsigned k = 0; k < set->n_classes && k < MD_ASSESS_MAX_CLASSES; k++) {
        (void)snprintf(e->classes[k], sizeof e->classes[k], "%s",
                       films->recipe->data.classes[k]);
    }
    MD_TRY(count_parts(set, e, err));
    MD_TRY(films_init(films, e->part_images[part], set->n_classes, err));
    films->by_class = true;
    if (set->tokens != NULL) {
        films->length = films->recipe->text.tokens;
        films->tokens = md_calloc(e->part_images[part] * films->length + 1, sizeof(int64_t));
        if (films->tokens == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu texts", e->part_images[part]);
        }
    }
    MD_TRY(take_set(set, part, films, err));
    (void)snprintf(e->part, sizeof e->part, "%s", md_part_name(part));
    e->n_unreadable = set->n_unreadable;
    for (size_t i = 0; i < set->n_unreadable; i++) {
        md_error reason = {.status = MD_FORMAT};
        (void)snprintf(reason.msg, sizeof reason.msg, "%s", set->unreadable[i].message);
        if (options->on_problem != NULL) {
            options->on_problem(options->context, set->unreadable[i].path, &reason);
        }
    }
    if (films->n == 0) {
        return md_fail(err, MD_NOT_FOUND, "%s: no film in the part '%s'", options->data,
                       e->part);
    }
    return MD_OK;
}

/* Columns of a table. */
typedef struct film_table {
    md_csv csv;
    const char *path;
    int file, label, patient, part, sex, age, view, manufacturer;
    int findings[MD_RESULT_MAX_FINDINGS];
} film_table;

static void film_table_finish(film_table *table)
{
    md_csv_finish(&table->csv);
}

static md_status find_columns(const md_manifest *m, film_table *t, md_error *err)
{
    const struct {
        const char *name;
        int *column;
    } columns[] = {{"file", &t->file},       {"label", &t->label},
                   {"patient", &t->patient}, {"part", &t->part},
                   {"sex", &t->sex},         {"age", &t->age},
                   {"view", &t->view},       {"manufacturer", &t->manufacturer}};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        *columns[i].column = md_csv_column(&t->csv, columns[i].name);
    }
    if (t->file == MD_CSV_NO_COLUMN) {
        return md_fail(err, MD_FORMAT, "%s:1: no column 'file'", t->path);
    }
    for (unsigned f = 0; f < m->n_findings; f++) {
        const char *key = m->findings[f].spec.key;
        t->findings[f] = md_csv_column(&t->csv, key);
        if ((t->findings[f] == MD_CSV_NO_COLUMN) == (t->label == MD_CSV_NO_COLUMN)) {
            return md_fail(
                err, MD_FORMAT,
                "%s:1: finding '%s' needs a column of its name, or there is a column "
                "'label', not both",
                t->path, key);
        }
    }
    return MD_OK;
}

/* "pneumonia|effusion" or "normal": every finding that is not named is absent. */
static md_status read_label(const md_manifest *m, const film_table *t, size_t row,
                            float *labels, md_error *err)
{
    const char *text = md_csv_field(&t->csv, row, t->label);
    const bool unknown = text[0] == '\0' || strcmp(text, "?") == 0;
    for (unsigned f = 0; f < m->n_findings; f++) {
        labels[f] = unknown ? NAN : 0;
    }
    if (unknown || strcasecmp(text, "normal") == 0) {
        return MD_OK;
    }
    for (const char *at = text; *at != '\0';) {
        const size_t n = strcspn(at, "|");
        bool found = false;
        for (unsigned f = 0; f < m->n_findings; f++) {
            const char *key = m->findings[f].spec.key;
            if (strlen(key) == n && strncasecmp(key, at, n) == 0) {
                labels[f] = 1;
                found = true;
            }
        }
        if (!found) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: the label is neither 'normal' nor a finding of the model "
                           "('%s', ...)",
                           t->path, t->csv.lines[row], m->findings[0].spec.key);
        }
        at += n + (at[n] == '|');
    }
    return MD_OK;
}

static md_status read_labels(const md_manifest *m, const film_table *t, size_t row,
                             float *labels, md_error *err)
{
    if (t->label != MD_CSV_NO_COLUMN) {
        return read_label(m, t, row, labels, err);
    }
    for (unsigned f = 0; f < m->n_findings; f++) {
        const char *text = md_csv_field(&t->csv, row, t->findings[f]);
        const int8_t label = md_truth_label(text);
        if (label < 0 && text[0] != '\0' && strcmp(text, "?") != 0 &&
            strcasecmp(text, "unknown") != 0) {
            return md_fail(err, MD_FORMAT, "%s:%u: column '%s' is neither 1 nor 0 nor empty",
                           t->path, t->csv.lines[row], m->findings[f].spec.key);
        }
        labels[f] = label < 0 ? NAN : (float)label;
    }
    return MD_OK;
}

/* What the table leaves open stands in a DICOM file. */
static void ask_file(const char *path, md_group_facts *facts, char *view, size_t view_bytes,
                     char *manufacturer, size_t manufacturer_bytes, char *patient,
                     size_t patient_bytes)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    md_accept_facts known;
    char sex[17];
    if (md_picture_sniff(path) != MD_PICTURE_DICOM ||
        md_dataset_open(path, &dataset, NULL) != MD_OK) {
        return;
    }
    md_accept_facts_read(dataset, &known);
    if (facts->sex == '\0' &&
        md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0040), 0, sex, sizeof sex)) {
        facts->sex = sex[0];
    }
    if (isnan(facts->age_years) && known.age_years >= 0) {
        facts->age_years = known.age_years;
    }
    if (view[0] == '\0') {
        (void)snprintf(view, view_bytes, "%s", known.view);
    }
    if (manufacturer[0] == '\0') {
        (void)md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0070), 0, manufacturer,
                                  manufacturer_bytes);
    }
    if (patient[0] == '\0') {
        (void)md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0020), 0, patient, patient_bytes);
    }
}

typedef struct named_row {
    char patient[MD_TEXT_BYTES];
    size_t row;
} named_row;

static int compare_patients(const void *a, const void *b)
{
    const named_row *x = a, *y = b;
    const int by_name = strcmp(x->patient, y->patient);
    return by_name != 0 ? by_name : (x->row > y->row) - (x->row < y->row);
}

/* Equal names are one patient; no name is one of its own. */
static md_status number_patients(md_evaluate_films *films, named_row *names, md_error *err)
{
    films->patient_keys = md_calloc(films->n + 1, sizeof *films->patient_keys);
    if (films->patient_keys == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", films->n);
    }
    for (size_t i = 0; i < films->n; i++) {
        if (names[i].patient[0] != '\0') {
            md_sha256(names[i].patient, strlen(names[i].patient),
                      films->patient_keys[names[i].row]);
        }
    }
    qsort(names, films->n, sizeof *names, compare_patients);
    uint32_t number = 0;
    for (size_t i = 0; i < films->n; i++) {
        number += i > 0 && (names[i].patient[0] == '\0' ||
                            strcmp(names[i - 1].patient, names[i].patient) != 0);
        films->patients[names[i].row] = number;
    }
    return MD_OK;
}

static md_status add_row(const md_manifest *m, const film_table *t, const char *folder,
                         size_t row, md_evaluate_films *films, named_row *name, md_error *err)
{
    const size_t at = films->n;
    md_group_facts *facts = &films->facts[at];
    char path[MD_RECIPE_PATH_BYTES];
    const char *file = md_csv_field(&t->csv, row, t->file);
    const int n = file[0] == '/' ? snprintf(path, sizeof path, "%s", file)
                                 : snprintf(path, sizeof path, "%s%s", folder, file);
    if (file[0] == '\0' || n < 0 || (size_t)n >= sizeof path) {
        return md_fail(err, MD_FORMAT, "%s:%u: no file, or a path that is too long", t->path,
                       t->csv.lines[row]);
    }
    films->paths[at] = md_strdup(path);
    if (films->paths[at] == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", at);
    }
    films->n++;
    MD_TRY(read_labels(m, t, row, films->labels + at * films->n_labels, err));
    facts->sex = md_csv_field(&t->csv, row, t->sex)[0];
    if (!md_truth_age(md_csv_field(&t->csv, row, t->age), &facts->age_years)) {
        return md_fail(err, MD_FORMAT, "%s:%u: the age is not a number of years (0 to 150)",
                       t->path, t->csv.lines[row]);
    }
    set_words(films, at, md_csv_field(&t->csv, row, t->view),
              md_csv_field(&t->csv, row, t->manufacturer));
    (void)snprintf(name->patient, sizeof name->patient, "%s",
                   md_csv_field(&t->csv, row, t->patient));
    name->row = at;
    ask_file(path, facts, films->words[at][0], MD_GROUPS_WORD_BYTES, films->words[at][1],
             MD_GROUPS_WORD_BYTES, name->patient, sizeof name->patient);
    return MD_OK;
}

static bool in_part(const md_evaluate_options *options, const film_table *t, size_t row)
{
    if (t->part == MD_CSV_NO_COLUMN) {
        return true;
    }
    const md_part part = options->part == MD_PART_NONE ? MD_PART_VALIDATION : options->part;
    return strcmp(md_csv_field(&t->csv, row, t->part), md_part_name(part)) == 0;
}

md_status md_evaluate_table_films(const md_evaluate_options *options, const md_manifest *m,
                                  md_evaluate_films *films, md_evaluation_of_model *e,
                                  md_error *err)
{
    MD_AUTO(film_table_finish) film_table t = {.path = options->data};
    MD_TRY(md_csv_read(options->data, &t.csv, err));
    MD_TRY(find_columns(m, &t, err));
    if (t.part == MD_CSV_NO_COLUMN && options->part != MD_PART_NONE) {
        return md_fail(err, MD_INVALID_ARG, "%s:1: no column 'part' to choose '%s' by",
                       options->data, md_part_name(options->part));
    }
    const char *slash = strrchr(options->data, '/');
    char folder[MD_RECIPE_PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%.*s",
                   slash != NULL ? (int)(slash - options->data + 1) : 0, options->data);
    MD_TRY(films_init(films, t.csv.n_rows, m->n_findings, err));
    MD_AUTO(md_freep) named_row *names = md_calloc(t.csv.n_rows + 1, sizeof *names);
    if (names == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", t.csv.n_rows);
    }
    for (size_t row = 0; row < t.csv.n_rows; row++) {
        if (in_part(options, &t, row)) {
            MD_TRY(add_row(m, &t, folder, row, films, &names[films->n], err));
        }
    }
    const md_part part = options->part == MD_PART_NONE ? MD_PART_VALIDATION : options->part;
    (void)snprintf(e->part, sizeof e->part, "%s",
                   t.part == MD_CSV_NO_COLUMN ? "all" : md_part_name(part));
    if (films->n == 0) {
        return md_fail(err, MD_NOT_FOUND, "%s: no film in the part '%s'", options->data,
                       e->part);
    }
    return number_patients(films, names, err);
}

/* ---- a folder ---- */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Whether the first folder below the root on this path is `key`. */
static bool is_below(const char *root, const char *path, const char *key)
{
    const char *rest = path + strlen(root);
    rest += strspn(rest, "/");
    const size_t n = strcspn(rest, "/");
    return rest[n] == '/' && strlen(key) == n && strncmp(rest, key, n) == 0;
}

/* A file of the folder; with names NULL it is only counted. */
static md_status add_file(const char *root, const char *path, const char *key,
                          md_evaluate_films *films, named_row *names, md_error *err)
{
    const size_t at = films->n++;
    if (names == NULL) {
        return MD_OK;
    }
    films->paths[at] = md_strdup(path);
    if (films->paths[at] == NULL) {
        films->n--;
        return md_fail(err, MD_NOMEM, "no memory for %zu films", at);
    }
    films->labels[at] = is_below(root, path, key) ? 1 : 0;
    films->facts[at].age_years = NAN;
    set_words(films, at, "", "");
    names[at].row = at;
    ask_file(path, &films->facts[at], films->words[at][0], MD_GROUPS_WORD_BYTES,
             films->words[at][1], MD_GROUPS_WORD_BYTES, names[at].patient,
             sizeof names[at].patient);
    return MD_OK;
}

static md_status walk(const char *folder, const char *key, md_evaluate_films *films,
                      named_row *names, size_t n_room, md_error *err)
{
    char *const roots[] = {(char *)(uintptr_t)folder, NULL};
    FTS *list = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    md_status status = list == NULL ? md_fail_os(err, errno, "%s", folder) : MD_OK;
    FTSENT *entry;
    while (status == MD_OK && (entry = fts_read(list)) != NULL) {
        if (entry->fts_info == FTS_F && entry->fts_level > 1 && films->n < n_room &&
            md_picture_sniff(entry->fts_accpath) != MD_PICTURE_NONE) {
            status = add_file(folder, entry->fts_path, key, films, names, err);
        } else if (entry->fts_level == 0 &&
                   (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR)) {
            status = md_fail_os(err, entry->fts_errno, "%s", folder);
        }
    }
    if (list != NULL) {
        (void)fts_close(list);
    }
    return status;
}

md_status md_evaluate_folder_films(const char *folder, const char *key,
                                   md_evaluate_films *films, md_error *err)
{
    md_evaluate_films counted = {0};
    MD_TRY(walk(folder, key, &counted, NULL, MD_SET_MAX_FILMS, err));
    if (counted.n == 0) {
        return md_fail(err, MD_NOT_FOUND,
                       "%s: no film in a sub-folder, expected one called '%.64s' with those "
                       "that have it, and another",
                       folder, key);
    }
    MD_TRY(films_init(films, counted.n, 1, err));
    MD_AUTO(md_freep) named_row *names = md_calloc(counted.n, sizeof *names);
    if (names == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", counted.n);
    }
    MD_TRY(walk(folder, key, films, names, counted.n, err));
    return number_patients(films, names, err);
}
