/* medaid-train preview: a sheet of films as the network gets them, for people. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/preview.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct wishes {
    const char *recipe, *sheet;
    unsigned epoch, n_films;
} wishes;

static bool number_of(const char *text, double most, unsigned *ret)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= most) ||
        value != floor(value)) {
        return false;
    }
    *ret = (unsigned)value;
    return true;
}

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, wishes *w)
{
    for (int i = 1; i < argc; i++) {
        const bool is_epoch = strcmp(argv[i], "--epoch") == 0;
        if (is_epoch || strcmp(argv[i], "--films") == 0) {
            const char *key = argv[i];
            unsigned *to = is_epoch ? &w->epoch : &w->n_films;
            if (i + 1 >= argc ||
                !number_of(argv[++i], is_epoch ? 1e6 : MD_PREVIEW_MAX_FILMS, to)) {
                fprintf(stderr, "medaid-train preview: %s takes a whole number\n", key);
                return false;
            }
        } else if (argv[i][0] == '-' || w->sheet != NULL) {
            fprintf(stderr, "medaid-train preview: what is '%s'? see medaid-train --help\n",
                    argv[i]);
            return false;
        } else if (w->recipe == NULL) {
            w->recipe = argv[i];
        } else {
            w->sheet = argv[i];
        }
    }
    if (w->sheet == NULL) {
        fputs("medaid-train preview: name a recipe and a PNG file, see medaid-train --help\n",
              stderr);
    }
    return w->sheet != NULL;
}

static void print_set(const md_training_set *set)
{
    size_t n_of[MD_N_PARTS] = {0};
    for (size_t i = 0; i < set->n_films; i++) {
        n_of[set->films[i].part]++;
    }
    printf("%zu films of %zu patients: %zu train, %zu validation, %zu test\n", set->n_films,
           set->n_patients, n_of[MD_PART_TRAIN], n_of[MD_PART_VALIDATION], n_of[MD_PART_TEST]);
    for (unsigned k = 0; k < set->n_classes; k++) {
        size_t n_known = 0;
        printf("  %s:", set->recipe->data.classes[k]);
        for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
            printf(" %zu", md_training_set_count(set, (md_part)p, k, &n_known));
        }
        printf("\n");
    }
    for (size_t i = 0; i < set->n_unreadable; i++) {
        printf("left out: %s: %s\n", set->unreadable[i].path, set->unreadable[i].message);
    }
    if (set->n_unlabelled > 0) {
        printf("left out: %zu files without a label\n", set->n_unlabelled);
    }
    if (set->n_near_duplicates > 0) {
        printf("warning: %zu pairs of nearly equal films in two parts, the first: %s\n",
               set->n_near_duplicates, set->near_duplicate);
    }
}

static md_status preview(const wishes *w, md_error *err)
{
    MD_AUTO(md_recipe_destroyp) md_recipe *recipe = NULL;
    MD_AUTO(md_training_set_destroyp) md_training_set *set = NULL;
    MD_TRY(md_recipe_read(w->recipe, &recipe, err));
    MD_TRY(md_training_set_read(recipe, recipe->threads, NULL, NULL, &set, err));
    print_set(set);
    const unsigned n_columns = w->n_films < 4 ? w->n_films : 4;
    return md_preview_write(set, w->epoch, w->n_films, n_columns, w->sheet, err);
}

md_exit_code md_train_preview(int argc, char **argv)
{
    md_error err = {0};
    wishes w = {.n_films = 24};
    if (!parse(argc, argv, &w)) {
        return MD_EXIT_USAGE;
    }
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status = preview(&w, &err);
        md_dicom_finish();
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train preview: %s\n", err.msg);
    }
    return md_train_exit_code(status);
}
