#ifndef MEDAID_PLUGINS_TRAIN_DATASET_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_DATASET_INTERNAL_H

/* What the files of the data set share. */

#include "plugins/train/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fill films (name, path, kind, what is known of each), labels and patients from folders or the
 * table: everything but pictures and the split. Films are in the order of their names. */
md_status md_set_collect(md_training_set *set, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Room for one more film behind the others, its labels NaN; the caller fills name and path. */
md_status md_set_add(md_training_set *set, md_film **ret_film, float **ret_labels,
                     md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Labels of a film [n_classes]. */
static inline float *md_set_labels(const md_training_set *set, size_t index)
{
    return set->labels + index * set->n_classes;
}
void md_set_film_finish(md_film *film) MD_NOEXCEPT;

/* The films of the recipe's table, with what it says of them; patient_name NULL where it has no
 * patient. */
md_status md_set_collect_table(md_training_set *set, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Set a word that is not known yet. */
void md_set_word(char *to, size_t room, const char *from) MD_NOEXCEPT;
/* Index of a class, -1 when there is none. */
int md_set_class_index(const md_training_set *set, const char *name) MD_NOEXCEPT;

/* Turn texts into tokens, by the recipe's vocabulary or one learned from the training part.
 * Those without a word, or that are no UTF-8, are listed as unreadable and taken out. */
md_status md_text_set_fill(md_training_set *set, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Read all pictures by threads: hash, kept picture, style, thumbnail. Unreadable films are
 * listed in the set and taken out of it. */
md_status md_store_fill(md_training_set *set, unsigned n_threads, md_set_progress progress,
                        void *context, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_store_destroy(struct md_film_store *store) MD_NOEXCEPT;
/* Count pairs of nearly equal films in two parts. */
void md_store_near_duplicates(md_training_set *set) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
