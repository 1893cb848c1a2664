#include "plugins/train/dataset.h"

#include "inference/text/vocabulary.h"
#include "plugins/train/dataset_internal.h"
#include "plugins/train/split.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *md_part_name(md_part part)
{
    static const char *const names[MD_N_PARTS] = {"none", "train", "validation", "test"};
    return (unsigned)part < MD_N_PARTS ? names[part] : "none";
}

void md_set_film_finish(md_film *film)
{
    md_free(film->name);
    md_free(film->path);
    md_free(film->text);
    *film = (md_film){0};
}

int md_set_class_index(const md_training_set *set, const char *name)
{
    for (unsigned i = 0; i < set->n_classes; i++) {
        if (strcmp(set->recipe->data.classes[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

md_status md_set_add(md_training_set *set, md_film **ret_film, float **ret_labels,
                     md_error *err)
{
    const size_t n = set->n_films;
    if (n == MD_SET_MAX_FILMS) {
        return md_fail(err, MD_LIMIT, "more than %d films", MD_SET_MAX_FILMS);
    }
    if ((n & (n - 1)) == 0) { /* it grows at powers of two */
        const size_t n_room = n == 0 ? 1 : 2 * n;
        md_film *films = md_realloc(set->films, n_room * sizeof *films);
        set->films = films != NULL ? films : set->films;
        float *labels = md_realloc(set->labels, n_room * set->n_classes * sizeof *labels);
        set->labels = labels != NULL ? labels : set->labels;
        if (films == NULL || labels == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu films", n_room);
        }
    }
    set->films[n] = (md_film){.age_years = NAN};
    float *labels = md_set_labels(set, n);
    for (unsigned k = 0; k < set->n_classes; k++) {
        labels[k] = NAN;
    }
    set->n_films++;
    *ret_film = &set->films[n];
    *ret_labels = labels;
    return MD_OK;
}

static md_status find_split(md_training_set *set, md_error *err)
{
    const md_recipe *r = set->recipe;
    char path[MD_RECIPE_PATH_BYTES], run[MD_RECIPE_PATH_BYTES - 16];
    MD_TRY(md_recipe_path(r, r->data.split.file, path, err));
    if (r->data.split.file[0] == '\0') {
        char whole[MD_RECIPE_PATH_BYTES];
        MD_TRY(md_recipe_path(r, r->run_folder, whole, err));
        if (snprintf(run, sizeof run, "%s", whole) >= (int)sizeof run) {
            return md_fail(err, MD_LIMIT, "a run folder with a name of more than %zu bytes",
                           sizeof run - 1);
        }
        snprintf(path, sizeof path, "%s/split.csv", run);
    }
    bool from_table = false;
    for (size_t i = 0; i < set->n_films && !from_table; i++) {
        from_table = set->films[i].part != MD_PART_NONE;
    }
    if (!from_table && access(path, F_OK) == 0) {
        return md_split_read(set, path, err);
    }
    set->split_is_made = !from_table;
    return md_split_make(set, r->seed, err);
}

static md_status read_set(md_training_set *set, unsigned n_threads, md_set_progress progress,
                          void *context, md_error *err)
{
    MD_TRY(md_set_collect(set, err));
    if (set->n_films == 0 && set->recipe->text.there) {
        return md_fail(err, MD_INVALID_ARG, "no text: data.table has no line%s",
                       set->n_unlabelled > 0 ? " with a label" : "");
    }
    if (set->n_films == 0) {
        return md_fail(err, MD_INVALID_ARG,
                       "no film: the folders of data.folders hold no DICOM, PNG or JPEG%s",
                       set->n_unlabelled > 0 ? " with a label" : "");
    }
    MD_TRY(find_split(set, err));
    MD_TRY(md_split_check_patients(set, err));
    if (set->recipe->text.there) { /* many patients may come with the same few words */
        MD_TRY(md_text_set_fill(set, err));
        return md_split_check_classes(set, err);
    }
    MD_TRY(md_store_fill(set, n_threads, progress, context, err));
    MD_TRY(md_split_check_pictures(set, err));
    MD_TRY(md_split_check_classes(set, err));
    md_store_near_duplicates(set);
    return MD_OK;
}

/* Of the affinity mask. */
static unsigned n_cores(void)
{
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
}

md_status md_training_set_read(const md_recipe *recipe, unsigned n_threads,
                               md_set_progress progress, void *context,
                               md_training_set **ret_set, md_error *err)
{
    MD_AUTO(md_training_set_destroyp) md_training_set *set = md_calloc(1, sizeof *set);
    if (set == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a data set");
    }
    set->recipe = recipe;
    set->n_classes = recipe->data.n_classes;
    md_preprocess_spec_options(&recipe->preprocess, &set->options);
    MD_TRY(read_set(set, n_threads > 0 ? n_threads : n_cores(), progress, context, err));
    *ret_set = MD_STEAL(set);
    return MD_OK;
}

void md_training_set_destroy(md_training_set *set)
{
    if (set == NULL) {
        return;
    }
    for (size_t i = 0; i < set->n_films && set->n_patients == 0; i++) {
        md_free(set->films[i].patient_name); /* not numbered yet: each has its own */
    }
    md_store_destroy(set->store);
    for (size_t i = 0; i < set->n_films; i++) {
        md_set_film_finish(&set->films[i]);
    }
    for (size_t i = 0; i < set->n_patients; i++) {
        md_free(set->patients[i]);
    }
    for (size_t i = 0; set->unreadable != NULL && i < set->n_unreadable; i++) {
        md_free(set->unreadable[i].path);
    }
    md_free(set->films);
    md_free(set->labels);
    md_free(set->patients);
    md_free(set->unreadable);
    md_free(set->styles);
    md_free(set->tokens);
    md_vocabulary_destroy(set->vocabulary);
    md_free(set);
}

unsigned md_training_set_class(const md_training_set *set, size_t index)
{
    const float *labels = md_set_labels(set, index);
    for (unsigned k = 0; k < set->n_classes; k++) {
        if (labels[k] == 1.0F) {
            return k;
        }
    }
    return UINT_MAX;
}

size_t md_training_set_count(const md_training_set *set, md_part part, unsigned class_index,
                             size_t *ret_known)
{
    size_t n = 0, n_known = 0;
    for (size_t i = 0; i < set->n_films; i++) {
        const float label = md_set_labels(set, i)[class_index];
        if (set->films[i].part == part && !isnan(label)) {
            n_known++;
            n += label == 1.0F ? 1 : 0;
        }
    }
    *ret_known = n_known;
    return n;
}

void md_training_set_class_weights(const md_training_set *set, float *ret_weights)
{
    const md_recipe_training *t = &set->recipe->training;
    for (unsigned k = 0; k < set->n_classes; k++) {
        ret_weights[k] = t->class_weights == MD_CLASS_WEIGHTS_GIVEN ? t->weights[k] : 1.0F;
        if (t->class_weights == MD_CLASS_WEIGHTS_BALANCED) {
            size_t n_known = 0;
            const size_t n = md_training_set_count(set, MD_PART_TRAIN, k, &n_known);
            ret_weights[k] = (float)((double)n_known / ((double)set->n_classes * (double)n));
        }
    }
}
