#ifndef MEDAID_PLUGINS_TRAIN_SPLIT_H
#define MEDAID_PLUGINS_TRAIN_SPLIT_H

/* Which film is in which part. Patients are never divided; a table or a split file that does so
 * is refused, and so are equal pictures in two parts. Pure but for files; any thread. */

#include "plugins/train/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Deal patients out: those of each class combination in random order by seed, each to the part
 * that is furthest below its share of that class's films. A patient counts with the rarest of
 * his films' classes. Sets the parts of films that have none. */
md_status md_split_make(md_training_set *set, uint64_t seed, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Read file,patient,part (the patient of a film is for people: who belongs together is found
 * anew; that of a text must be the table's, where both name one, as a text is known by its line
 * alone: else MD_INVALID_ARG). Every film must be in the file and every file of the split must
 * be a film or unreadable, or the error names it. MD_FORMAT, MD_NOT_FOUND, MD_IO, MD_NOMEM. */
md_status md_split_read(md_training_set *set, const char *path, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Write the split of a set; unreadable films are in the part none. MD_IO, MD_NOMEM. */
md_status md_split_write(const md_training_set *set, const char *path, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Same patient in two parts: MD_INVALID_ARG naming both files. */
md_status md_split_check_patients(const md_training_set *set, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Same picture in two parts (hashes are known after reading): the same. */
md_status md_split_check_pictures(const md_training_set *set, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A class that has no film (of several at once: or no film without it) in a part with films, or
 * a share and no film: MD_INVALID_ARG. */
md_status md_split_check_classes(const md_training_set *set, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
