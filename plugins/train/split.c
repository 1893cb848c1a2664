#include "plugins/train/split.h"

#include "base/file.h"
#include "plugins/train/csv.h"
#include "plugins/train/dataset_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STREAM_SPLIT = 0x5b117 /* of random numbers */
};

/* What is dealt out at once: a patient. */
typedef struct patient {
    uint32_t n_films;
    unsigned stratum; /* the rarest class among his films; n_classes: none */
    md_part part;
} patient;

/* Films in which a class is present. */
static void count_classes(const md_training_set *set, size_t *ret_counts)
{
    for (unsigned k = 0; k <= set->n_classes; k++) {
        ret_counts[k] = 0;
    }
    for (size_t i = 0; i < set->n_films; i++) {
        for (unsigned k = 0; k < set->n_classes; k++) {
            ret_counts[k] += md_set_labels(set, i)[k] == 1.0F ? 1 : 0;
        }
    }
}

static void describe_patients(const md_training_set *set, patient *patients)
{
    size_t counts[MD_RECIPE_MAX_CLASSES + 1];
    count_classes(set, counts);
    for (size_t p = 0; p < set->n_patients; p++) {
        patients[p] = (patient){.stratum = set->n_classes};
    }
    for (size_t i = 0; i < set->n_films; i++) {
        const md_film *film = &set->films[i];
        patient *p = &patients[film->patient];
        p->n_films++;
        for (unsigned k = 0; k < set->n_classes; k++) {
            const bool rarer = p->stratum == set->n_classes || counts[k] < counts[p->stratum];
            if (md_set_labels(set, i)[k] == 1.0F && rarer) {
                p->stratum = k;
            }
        }
        p->part = film->part != MD_PART_NONE ? film->part : p->part;
    }
}

/* Deal the patients numbers[0..n) of one stratum, in their order. */
static void deal(patient *patients, const uint32_t *numbers, size_t n, const double *shares)
{
    double wanted[MD_N_PARTS] = {0};
    size_t n_films = 0, n_parts = 0, n_free = 0;
    for (size_t i = 0; i < n; i++) {
        n_films += patients[numbers[i]].n_films;
        n_free += patients[numbers[i]].part == MD_PART_NONE ? 1 : 0;
    }
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        wanted[p] = shares[p] * (double)n_films;
        n_parts += shares[p] > 0 ? 1 : 0;
    }
    for (size_t i = 0; i < n; i++) {
        wanted[patients[numbers[i]].part] -= patients[numbers[i]].n_films;
    }
    /* few patients: none of the parts shall go without */
    bool owed[MD_N_PARTS] = {false};
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        owed[p] =
            shares[p] > 0 && n_free >= n_parts && wanted[p] >= shares[p] * (double)n_films;
    }
    for (size_t i = 0; i < n; i++) {
        patient *one = &patients[numbers[i]];
        if (one->part != MD_PART_NONE) {
            continue;
        }
        unsigned best = MD_PART_TRAIN;
        for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
            const bool first = owed[p] && !owed[best];
            const bool same = owed[p] == owed[best];
            if (shares[p] > 0 && (first || (same && wanted[p] > wanted[best]))) {
                best = p;
            }
        }
        owed[best] = false;
        one->part = (md_part)best;
        wanted[best] -= one->n_films;
    }
}

md_status md_split_make(md_training_set *set, uint64_t seed, md_error *err)
{
    const md_recipe_data *data = &set->recipe->data;
    const double shares[MD_N_PARTS] = {0, data->split.train, data->split.validation,
                                       data->split.test};
    MD_AUTO(md_freep) patient *patients = md_calloc(set->n_patients + 1, sizeof *patients);
    MD_AUTO(md_freep) uint32_t *numbers = md_calloc(set->n_patients + 1, sizeof *numbers);
    if (patients == NULL || numbers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", set->n_patients);
    }
    describe_patients(set, patients);
    for (unsigned stratum = 0; stratum <= set->n_classes; stratum++) {
        const md_random_key key = {.seed = seed, .position = stratum};
        md_random random;
        size_t n = 0;
        for (size_t p = 0; p < set->n_patients; p++) {
            if (patients[p].stratum == stratum && patients[p].n_films > 0) {
                numbers[n++] = (uint32_t)p;
            }
        }
        md_random_init(&random, &key, STREAM_SPLIT);
        md_random_shuffle(&random, numbers, n);
        deal(patients, numbers, n, shares);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        if (set->films[i].part == MD_PART_NONE) {
            set->films[i].part = patients[set->films[i].patient].part;
        }
    }
    return MD_OK;
}

/* ---- split.csv */

typedef struct line {
    const char *name;
    size_t row;
    bool used;
} line;

static int by_name(const void *a, const void *b)
{
    const line *left = a, *right = b;
    const int order = strcmp(left->name, right->name);
    return order != 0 ? order : (left->row > right->row) - (left->row < right->row);
}

static md_status part_of(const md_csv *csv, size_t row, int column, const char *name,
                         md_part *ret_part, md_error *err)
{
    const char *text = md_csv_field(csv, row, column);
    for (unsigned p = MD_PART_NONE; p < MD_N_PARTS; p++) {
        if (strcmp(text, md_part_name((md_part)p)) == 0) {
            *ret_part = (md_part)p;
            return MD_OK;
        }
    }
    return md_fail(err, MD_FORMAT,
                   "%s:%u: column part: expected train, validation, test or none, got '%.40s'",
                   name, csv->lines[row], text);
}

/* The name of a text is its line in the table: whose it is shows whether lines were moved since
 * the split was made. Names of films are their files'. */
static md_status check_patient(const md_training_set *set, const md_film *film,
                               const md_csv *csv, size_t row, const char *name, md_error *err)
{
    const char *whose = md_csv_field(csv, row, md_csv_column(csv, "patient"));
    if (!set->recipe->text.there || whose[0] == '\0' ||
        strcmp(whose, film->patient_name) == 0) {
        return MD_OK;
    }
    return md_fail(err, MD_INVALID_ARG,
                   "%s:%u: %.120s of the table is of another patient than here: lines were "
                   "moved or added since the split was made, and parts would mix; restore the "
                   "table, or remove the split file and train anew",
                   name, csv->lines[row], film->name);
}

static md_status apply(md_training_set *set, const md_csv *csv, line *lines, const char *name,
                       md_error *err)
{
    const int file = md_csv_column(csv, "file"), part = md_csv_column(csv, "part");
    if (file < 0 || part < 0) {
        return md_fail(err, MD_FORMAT, "%s: expected the columns file and part", name);
    }
    for (size_t i = 0; i < csv->n_rows; i++) {
        lines[i] = (line){.name = md_csv_field(csv, i, file), .row = i};
    }
    qsort(lines, csv->n_rows, sizeof *lines, by_name);
    for (size_t i = 1; i < csv->n_rows; i++) {
        if (strcmp(lines[i].name, lines[i - 1].name) == 0) {
            return md_fail(err, MD_FORMAT, "%s:%u: %.120s stands there twice", name,
                           csv->lines[lines[i].row], lines[i].name);
        }
    }
    for (size_t i = 0; i < set->n_films; i++) {
        const line wanted = {.name = set->films[i].name};
        size_t low = 0, high = csv->n_rows;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (strcmp(lines[middle].name, wanted.name) < 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == csv->n_rows || strcmp(lines[low].name, wanted.name) != 0) {
            return md_fail(
                err, MD_NOT_FOUND,
                "%s does not say to which part %.120s belongs; add it, or remove the "
                "split file to make a new split",
                name, wanted.name);
        }
        lines[low].used = true;
        MD_TRY(check_patient(set, &set->films[i], csv, lines[low].row, name, err));
        MD_TRY(part_of(csv, lines[low].row, part, name, &set->films[i].part, err));
    }
    for (size_t i = 0; i < csv->n_rows; i++) {
        if (!lines[i].used) {
            return md_fail(err, MD_NOT_FOUND, "%s:%u: there is no film %.120s", name,
                           csv->lines[lines[i].row], lines[i].name);
        }
    }
    return MD_OK;
}

md_status md_split_read(md_training_set *set, const char *path, md_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    md_csv csv = {0};
    MD_TRY(md_csv_read(path, &csv, err));
    line *lines = md_calloc(csv.n_rows + 1, sizeof *lines);
    md_status status = lines != NULL ? apply(set, &csv, lines, name, err)
                                     : md_fail(err, MD_NOMEM, "%s: no memory for it", name);
    md_free(lines);
    md_csv_finish(&csv);
    return status;
}

md_status md_split_write(const md_training_set *set, const char *path, md_error *err)
{
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *out = open_memstream(&text, &size_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write the split");
    }
    fputs("file,patient,part\n", out);
    for (size_t i = 0; i < set->n_films; i++) {
        md_csv_print(set->films[i].name, out);
        fputc(',', out);
        md_csv_print(set->films[i].patient_name, out);
        fprintf(out, ",%s\n", md_part_name(set->films[i].part));
    }
    for (size_t i = 0; i < set->n_unreadable; i++) {
        md_csv_print(set->unreadable[i].path, out);
        fputs(",,none\n", out);
    }
    const bool broken = ferror(out) != 0;
    md_status status = fclose(out) != 0 || broken
                           ? md_fail(err, MD_NOMEM, "no memory to write the split")
                           : md_file_write(path, MD_FILE_REPLACE, text, size_bytes, err);
    free(text);
    return status;
}

/* ---- checks */

md_status md_split_check_patients(const md_training_set *set, md_error *err)
{
    MD_AUTO(md_freep) size_t *first = md_malloc((set->n_patients + 1) * sizeof *first);
    if (first == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", set->n_patients);
    }
    for (size_t p = 0; p < set->n_patients; p++) {
        first[p] = SIZE_MAX;
    }
    for (size_t i = 0; i < set->n_films; i++) {
        const md_film *film = &set->films[i];
        size_t *of_patient = &first[film->patient];
        if (film->part == MD_PART_NONE) {
            continue;
        }
        if (*of_patient == SIZE_MAX) {
            *of_patient = i;
        } else if (set->films[*of_patient].part != film->part) {
            const md_film *other = &set->films[*of_patient];
            return md_fail(err, MD_INVALID_ARG,
                           "leakage: %.80s (%s) and %.80s (%s) are of one patient", other->name,
                           md_part_name(other->part), film->name, md_part_name(film->part));
        }
    }
    return MD_OK;
}

static int by_hash(const void *a, const void *b)
{
    const md_film *const *left = a, *const *right = b;
    const int order = memcmp((*left)->hash, (*right)->hash, MD_SHA256_BYTES);
    return order != 0 ? order : (*left > *right) - (*left < *right);
}

md_status md_split_check_pictures(const md_training_set *set, md_error *err)
{
    MD_AUTO(md_freep) const md_film **films = md_calloc(set->n_films + 1, sizeof *films);
    size_t n = 0;
    if (films == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", set->n_films);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        if (set->films[i].part != MD_PART_NONE) {
            films[n++] = &set->films[i];
        }
    }
    qsort(films, n, sizeof *films, by_hash);
    for (size_t i = 1; i < n; i++) {
        const md_film *a = films[i - 1], *b = films[i];
        if (memcmp(a->hash, b->hash, MD_SHA256_BYTES) == 0 && a->part != b->part) {
            return md_fail(err, MD_INVALID_ARG,
                           "leakage: %.80s (%s) and %.80s (%s) are the same picture", a->name,
                           md_part_name(a->part), b->name, md_part_name(b->part));
        }
    }
    return MD_OK;
}

md_status md_split_check_classes(const md_training_set *set, md_error *err)
{
    const md_recipe_data *data = &set->recipe->data;
    const bool several = data->task == MD_TASK_MULTI_LABEL;
    const double shares[MD_N_PARTS] = {0, data->split.train, data->split.validation,
                                       data->split.test};
    size_t n_of[MD_N_PARTS] = {0};
    for (size_t i = 0; i < set->n_films; i++) {
        n_of[set->films[i].part]++;
    }
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        if (n_of[p] == 0 && !(set->split_is_made && shares[p] > 0)) {
            continue; /* there is no such part */
        }
        for (unsigned k = 0; k < set->n_classes; k++) {
            size_t n_known = 0;
            const size_t n = md_training_set_count(set, (md_part)p, k, &n_known);
            if (n == 0 || (several && n == n_known)) {
                return md_fail(err, MD_INVALID_ARG,
                               "class '%s' has no film %sin the part %s (%zu films): more "
                               "patients, or other shares in data.split",
                               data->classes[k], n == 0 ? "" : "without it ",
                               md_part_name((md_part)p), n_of[p]);
            }
        }
    }
    return MD_OK;
}
