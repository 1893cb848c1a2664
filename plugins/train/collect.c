#include "base/file.h"
#include "dicom/dataset/dataset.h"
#include "plugins/host/accept.h"
#include "plugins/train/dataset_internal.h"
#include "plugins/train/pattern.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Which films there are and what is known of each, from folders and file names. */

enum {
    MAX_DEPTH = 32 /* of folders */
};

typedef struct collector {
    md_training_set *set;
    md_pattern labels[MD_RECIPE_MAX_PATTERNS];
    unsigned n_labels;
    char path[MD_RECIPE_PATH_BYTES]; /* of the folder that is walked, or of a file in it */
    size_t root_length;              /* of the path up to the folder of the recipe */
    unsigned root;                   /* its number */
} collector;

static void collector_finish(collector *c)
{
    for (unsigned i = 0; i < c->n_labels; i++) {
        md_pattern_finish(&c->labels[i]);
    }
    md_free(c);
}

/* The class of a file by its path below the folder; -1: none. */
static md_status label_of(collector *c, const char *below, int *ret_class, md_error *err)
{
    const md_recipe_data *data = &c->set->recipe->data;
    *ret_class = -1;
    for (unsigned i = 0; i < c->n_labels; i++) {
        const md_status status = md_pattern_match(&c->labels[i], below, err);
        if (status == MD_OK) {
            *ret_class = md_set_class_index(c->set, data->label_patterns[i].class_name);
            return MD_OK;
        }
        if (status != MD_NOT_FOUND) {
            return status;
        }
    }
    if (c->n_labels == 0) {
        char folder[MD_RECIPE_CLASS_BYTES] = "";
        const char *slash = strchr(below, '/');
        if (slash != NULL && (size_t)(slash - below) < sizeof folder) {
            memcpy(folder, below, (size_t)(slash - below));
            *ret_class = md_set_class_index(c->set, folder);
        }
    }
    return MD_OK;
}

static md_status fail_unlabelled(const collector *c, const char *below, md_error *err)
{
    const bool patterns = c->n_labels > 0;
    return md_fail(err, MD_FORMAT,
                   "%.120s has no label: %s (data.unlabelled: skip leaves such files out)",
                   below,
                   patterns ? "none of data.label_patterns matches it"
                            : "the folder it is in is none of data.classes");
}

static md_status add_file(collector *c, md_error *err)
{
    md_training_set *set = c->set;
    const char *below = c->path + c->root_length + 1;
    const md_picture_kind kind = md_picture_sniff(c->path);
    const char *dot = strrchr(below, '.');
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".dcm", ".dicom"};
    bool named = false;
    for (size_t i = 0; dot != NULL && i < sizeof endings / sizeof *endings; i++) {
        named = named || strcasecmp(dot, endings[i]) == 0;
    }
    if (kind == MD_PICTURE_NONE && !named) {
        set->n_other++;
        return MD_OK;
    }
    int class_index = -1;
    MD_TRY(label_of(c, below, &class_index, err));
    if (class_index < 0) {
        set->n_unlabelled++;
        return set->recipe->data.unlabelled == 1 ? MD_OK : fail_unlabelled(c, below, err);
    }
    md_film *film = NULL;
    float *labels = NULL;
    char name[MD_RECIPE_PATH_BYTES + 8];
    MD_TRY(md_set_add(set, &film, &labels, err));
    if (set->recipe->data.n_folders > 1) {
        snprintf(name, sizeof name, "%u/%s", c->root + 1, below);
    } else {
        snprintf(name, sizeof name, "%s", below);
    }
    film->kind = kind;
    film->name = md_strdup(name);
    film->path = md_strdup(c->path);
    if (film->name == NULL || film->path == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", set->n_films);
    }
    for (unsigned k = 0; k < set->n_classes; k++) {
        labels[k] = k == (unsigned)class_index ? 1.0F : 0.0F;
    }
    return MD_OK;
}

static md_status walk(collector *c, unsigned depth, md_error *err);

static md_status visit(collector *c, const struct dirent *entry, unsigned depth, md_error *err)
{
    if (entry->d_name[0] == '.') {
        return MD_OK; /* hidden, itself, its parent */
    }
    const size_t length = strlen(c->path);
    const int n = snprintf(c->path + length, sizeof c->path - length, "/%s", entry->d_name);
    if (n < 0 || (size_t)n >= sizeof c->path - length) {
        return md_fail(err, MD_LIMIT, "a path of more than %zu bytes below a folder",
                       sizeof c->path - 1);
    }
    struct stat about;
    md_status status = MD_OK;
    /* a link to a folder is not followed: it may lead round in circles */
    if (lstat(c->path, &about) == 0 && S_ISDIR(about.st_mode)) {
        status = walk(c, depth + 1, err);
    } else if (stat(c->path, &about) == 0 && S_ISREG(about.st_mode)) {
        status = add_file(c, err);
    }
    c->path[length] = '\0';
    return status;
}

static md_status walk(collector *c, unsigned depth, md_error *err)
{
    if (depth > MAX_DEPTH) {
        return md_fail(err, MD_LIMIT, "folders in folders, more than %d deep", MAX_DEPTH);
    }
    DIR *folder = opendir(c->path);
    if (folder == NULL) {
        const int os_errno = errno;
        md_status status = md_fail_os(err, os_errno, "data.folders: %.150s", c->path);
        return os_errno == ENOENT || os_errno == ENOTDIR
                   ? md_fail(err, MD_NOT_FOUND, "data.folders: %.200s is no folder", c->path)
                   : status;
    }
    md_status status = MD_OK;
    for (;;) {
        const struct dirent *entry = readdir(folder);
        if (entry == NULL || status != MD_OK) {
            break;
        }
        status = visit(c, entry, depth, err);
    }
    closedir(folder);
    return status;
}

static md_status collect_folders(md_training_set *set, md_error *err)
{
    const md_recipe_data *data = &set->recipe->data;
    collector *c = md_calloc(1, sizeof *c);
    if (c == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a list of films");
    }
    c->set = set;
    md_status status = MD_OK;
    for (unsigned i = 0; i < data->n_label_patterns && status == MD_OK; i++) {
        c->n_labels++;
        status = md_pattern_init(&c->labels[i], data->label_patterns[i].file, err);
    }
    for (unsigned i = 0; i < data->n_folders && status == MD_OK; i++) {
        status = md_recipe_path(set->recipe, data->folders[i], c->path, err);
        c->root = i;
        c->root_length = strlen(c->path);
        while (c->root_length > 1 && c->path[c->root_length - 1] == '/') {
            c->path[--c->root_length] = '\0';
        }
        if (status == MD_OK) {
            status = walk(c, 0, err);
        }
    }
    collector_finish(c);
    return status;
}

/* ---- order, patients, attributes */

typedef struct ordered {
    md_film film;
    size_t before;
} ordered;

static int by_name(const void *a, const void *b)
{
    const ordered *left = a, *right = b;
    return strcmp(left->film.name, right->film.name);
}

static md_status sort_films(md_training_set *set, md_error *err)
{
    const size_t n = set->n_films, k = set->n_classes;
    MD_AUTO(md_freep) ordered *films = md_calloc(n + 1, sizeof *films);
    MD_AUTO(md_freep) float *labels = md_calloc(n * k + 1, sizeof *labels);
    if (films == NULL || labels == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n);
    }
    for (size_t i = 0; i < n; i++) {
        films[i] = (ordered){set->films[i], i};
    }
    qsort(films, n, sizeof *films, by_name);
    for (size_t i = 0; i < n; i++) {
        set->films[i] = films[i].film;
        memcpy(labels + i * k, md_set_labels(set, films[i].before), k * sizeof *labels);
    }
    if (n > 0) {
        memcpy(set->labels, labels, n * k * sizeof *labels);
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(set->films[i - 1].name, set->films[i].name) == 0) {
            return md_fail(err, MD_FORMAT, "%.150s stands there twice", set->films[i].name);
        }
    }
    return MD_OK;
}

/* A pseudonym of the patient: the Patient ID itself stays out of every file that is written. */
static bool hash_patient(const md_training_set *set, const md_dataset *dataset, char text[40])
{
    char id[MD_TEXT_BYTES], issuer[MD_TEXT_BYTES] = "", joined[3 * MD_TEXT_BYTES];
    uint8_t digest[MD_SHA256_BYTES];
    if (!md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0020), 0, id, sizeof id)) {
        return false;
    }
    (void)md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0021), 0, issuer, sizeof issuer);
    const int n = snprintf(joined, sizeof joined, "%s\n%s\n%s", set->recipe->data.patient_key,
                           issuer, id);
    md_sha256(joined, (size_t)n, digest);
    text[0] = 'p';
    md_hex(digest, 12, text + 1);
    return true;
}

/* What the attributes of a DICOM file say. A broken file is found out when its picture is read.
 */
static void describe_dicom(const md_training_set *set, md_film *film, char *patient,
                           bool want_patient)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    md_error ignored = {0};
    char text[MD_TEXT_BYTES];
    if (md_dataset_open(film->path, &dataset, &ignored) != MD_OK) {
        return;
    }
    md_accept_facts facts;
    md_accept_facts_read(dataset, &facts);
    if (isnan(film->age_years) && facts.age_years >= 0) {
        film->age_years = (float)facts.age_years;
    }
    md_set_word(film->view, sizeof film->view, facts.view);
    if (md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0070), 0, text, sizeof text)) {
        md_set_word(film->manufacturer, sizeof film->manufacturer, text);
    }
    if (film->sex == 0 &&
        md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0040), 0, text, sizeof text) &&
        (text[0] == 'F' || text[0] == 'M' || text[0] == 'O') && text[1] == '\0') {
        film->sex = text[0];
    }
    if (want_patient) {
        (void)hash_patient(set, dataset, patient);
    }
}

static int by_patient(const void *a, const void *b)
{
    const md_film *const *left = a, *const *right = b;
    const int order = strcmp((*left)->patient_name, (*right)->patient_name);
    return order != 0 ? order : (*left > *right) - (*left < *right);
}

/* Number the patients in the order of their names. */
static md_status number_patients(md_training_set *set, md_error *err)
{
    const size_t n = set->n_films;
    MD_AUTO(md_freep) md_film **films = md_calloc(n + 1, sizeof *films);
    set->patients = md_calloc(n + 1, sizeof *set->patients);
    if (films == NULL || set->patients == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", n);
    }
    for (size_t i = 0; i < n; i++) {
        films[i] = &set->films[i];
    }
    qsort(films, n, sizeof *films, by_patient);
    for (size_t i = 0; i < n; i++) {
        const size_t last = set->n_patients;
        char *name = films[i]->patient_name;
        if (last == 0 || strcmp(set->patients[last - 1], name) != 0) {
            set->patients[set->n_patients++] = name;
        } else {
            films[i]->patient_name = set->patients[last - 1];
            md_free(name);
        }
        films[i]->patient = (uint32_t)(set->n_patients - 1);
    }
    return MD_OK;
}

/* What the name and the attributes of a film say, where a table has not. */
static md_status describe(const md_training_set *set, md_pattern *patients, md_film *film,
                          md_error *err)
{
    char found[512] = "";
    if (film->patient_name == NULL && patients->code != NULL) {
        const bool numbered =
            set->recipe->data.n_folders > 1 && set->recipe->data.table[0] == 0;
        const char *below = numbered ? strchr(film->name, '/') + 1 : film->name;
        const md_status status = md_pattern_match(patients, below, err);
        if (status == MD_NOT_FOUND) {
            return md_fail(err, MD_FORMAT, "%.120s: data.patient_pattern does not match it",
                           film->name);
        }
        MD_TRY(status);
        md_pattern_groups(patients, below, found, sizeof found);
    }
    if (film->kind == MD_PICTURE_DICOM) {
        describe_dicom(set, film, found, film->patient_name == NULL && found[0] == '\0');
    }
    if (film->patient_name == NULL) {
        film->patient_name = md_strdup(found[0] != '\0' ? found : film->name);
    }
    return film->patient_name != NULL ? MD_OK
                                      : md_fail(err, MD_NOMEM, "no memory for a patient");
}

static md_status describe_all(md_training_set *set, md_error *err)
{
    md_pattern patients = {0};
    md_status status = MD_OK;
    if (set->recipe->data.patient_pattern[0] != '\0') {
        status = md_pattern_init(&patients, set->recipe->data.patient_pattern, err);
    }
    for (size_t i = 0; i < set->n_films && status == MD_OK; i++) {
        status = describe(set, &patients, &set->films[i], err);
    }
    md_pattern_finish(&patients);
    return status;
}

md_status md_set_collect(md_training_set *set, md_error *err)
{
    MD_TRY(set->recipe->data.table[0] != '\0' ? md_set_collect_table(set, err)
                                              : collect_folders(set, err));
    MD_TRY(sort_films(set, err));
    MD_TRY(describe_all(set, err));
    return number_patients(set, err);
}
