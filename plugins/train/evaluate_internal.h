#ifndef MEDAID_PLUGINS_TRAIN_EVALUATE_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_EVALUATE_INTERNAL_H

/* Inside plugins/train only: the films that an evaluation looks at. */

#include "base/file.h"
#include "plugins/host/manifest.h"
#include "plugins/train/evaluate.h"
#include "plugins/train/groups.h"

/* Films of the chosen part, with what is known of them. Owned: all but `recipe`'s texts. */
typedef struct md_evaluate_films {
    size_t n;
    char **paths;    /* [n]; of a text its name in the table */
    int64_t *tokens; /* [n, length] of texts; NULL: films */
    unsigned length;
    uint32_t *patients; /* [n] */
    /* [n] of a table or a folder: the same for films of one patient, also of another reading;
     * all 0: nobody says whose it is. NULL of a recipe. */
    uint8_t (*patient_keys)[MD_SHA256_BYTES];
    md_group_facts *facts;                  /* [n]; their texts are in `words` */
    char (*words)[2][MD_GROUPS_WORD_BYTES]; /* [n] view, manufacturer */
    /* By finding, for a table; by class, for a recipe: [n][n_labels] 1, 0, NaN. */
    float *labels;
    unsigned n_labels;
    bool by_class;
    md_recipe *recipe; /* NULL: a table */
} md_evaluate_films;

/* The films of a recipe's part; counts go into the evaluation. */
md_status md_evaluate_recipe_films(const md_evaluate_options *options, md_evaluate_films *films,
                                   md_evaluation_of_model *evaluation, md_error *err)
    MD_NODISCARD;
/* The films of a table, with truths for the findings of a manifest. */
md_status md_evaluate_table_films(const md_evaluate_options *options,
                                  const md_manifest *manifest, md_evaluate_films *films,
                                  md_evaluation_of_model *evaluation, md_error *err)
    MD_NODISCARD;
/* The films of a folder: below its sub-folder `key` those with the finding, below the others
 * those without. Patients are those of DICOM files, else each file is one. */
md_status md_evaluate_folder_films(const char *folder, const char *key,
                                   md_evaluate_films *films, md_error *err) MD_NODISCARD;
/* Would the model look at this file? PNG and JPEG say nothing of themselves. */
bool md_evaluate_accepts(const md_analyzer *analyzer, const char *path,
                         md_accept_facts *ret_facts, md_error *reason);
void md_evaluate_films_finish(md_evaluate_films *films);

#endif
