#ifndef MEDAID_PLUGINS_TRAIN_DATASET_H
#define MEDAID_PLUGINS_TRAIN_DATASET_H

/* The films of a recipe: which files there are, what is known of each, and their pictures at
 * the size of `preprocess`, kept in memory as far as data.cache_mib allows.
 *
 * Labels come from the names of sub-folders, from patterns on paths or from a table; patients
 * from patterns, the table or the DICOM attribute; sex, age, view and manufacturer from the
 * table or the DICOM attributes. Files that cannot be read are listed and left out, up to
 * data.max_unreadable of all. Then the films are in the byte order of their names, which
 * nothing but the recipe and the files decides.
 *
 * A set is read-only after md_training_set_read and may then be used by any threads. */

#include "base/file.h"
#include "plugins/train/picture.h"
#include "plugins/train/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_SET_MAX_FILMS = 1 << 22,
    MD_SET_WORD_BYTES = 33,
};

typedef enum md_part {
    MD_PART_NONE, /* in no part: left out */
    MD_PART_TRAIN,
    MD_PART_VALIDATION,
    MD_PART_TEST,
} md_part;

enum {
    MD_N_PARTS = MD_PART_TEST + 1
};

/* "train", "validation", "test"; "none". */
const char *md_part_name(md_part part) MD_NOEXCEPT;

typedef struct md_film {
    char *name;         /* path below its folder; with several folders, "1/" and so on first */
    char *path;         /* as it is opened; NULL: a text */
    char *text;         /* of texts, UTF-8, until they are tokens; then NULL */
    uint32_t patient;   /* number; films of one patient have the same */
    char *patient_name; /* set->patients[patient] */
    md_part part;
    md_picture_kind kind;
    char sex;        /* 'F', 'M', 'O'; 0: not known */
    float age_years; /* NaN: not known */
    char view[MD_SET_WORD_BYTES], manufacturer[MD_SET_WORD_BYTES * 2]; /* "": not known */
    uint8_t hash[MD_SHA256_BYTES]; /* of size and pixel values, not of the file */
} md_film;

typedef struct md_unreadable {
    char *path;  /* the name of the film */
    size_t film; /* its number before unreadable ones were taken out */
    char message[MD_ERROR_MSG_BYTES];
} md_unreadable;

typedef struct md_training_set {
    const md_recipe *recipe; /* borrowed */
    md_preprocess_options options;
    md_film *films;
    size_t n_films;
    unsigned n_classes;
    float *labels;   /* [n_films, n_classes] 0, 1 or NaN: not known */
    char **patients; /* [n_patients], what stands in split.csv */
    size_t n_patients;
    md_unreadable *unreadable;    /* the first MD_SET_MAX_UNREADABLE */
    size_t n_unreadable, n_files; /* n_files: films and unreadable ones */
    size_t n_other;               /* files in the folders that are no pictures */
    size_t n_unlabelled;      /* pictures without a label, left out (data.unlabelled: skip) */
    bool split_is_made;       /* else it comes from the split file or the table */
    size_t n_near_duplicates; /* pairs in two parts, when looked for */
    char near_duplicate[2 * 128 + 32]; /* the first pair, for people; "" */
    struct md_film_store *store;       /* the pictures, see md_training_set_picture */
    /* Of texts (recipe.text.there), which are films in all else: [n_films, text.tokens], 0
     * behind the last token of each. NULL: films */
    int32_t *tokens;
    struct md_vocabulary *vocabulary; /* owned; learned from the training part alone */
    md_style *styles; /* [n_films] of training films; NULL: the recipe swaps nothing */
} md_training_set;

/* Called now and then while a set is read, from the calling thread. */
typedef void (*md_set_progress)(void *context, size_t n_done, size_t n_all);

/* List, label, split and read the films of a recipe. The split is that of the recipe's split
 * file when it exists, else it is made and ret_set->films say it (md_split_write). Errors, with
 * the files' names as the user knows them: MD_NOT_FOUND (a folder, a table, a file that a table
 * names), MD_FORMAT (table, split file, a file without a label, too many unreadable files),
 * MD_INVALID_ARG (no film, a class without a film in a part, leakage between parts), MD_LIMIT,
 * MD_NOMEM, MD_IO. n_threads 0: all cores of the affinity mask. Caller destroys; the recipe
 * must outlive it. */
md_status md_training_set_read(const md_recipe *recipe, unsigned n_threads,
                               md_set_progress progress, void *context,
                               md_training_set **ret_set, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_training_set_destroy(md_training_set *set) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_training_set, md_training_set_destroy)

/* The film [planes, height, width] before binarisation, mean and std, from memory or from its
 * file: one plane when it is grey or becomes so, else three; ret_planes has room for
 * set->options.n_channels. Films that do not pass through memory as multiples of 1/255 are
 * rounded to 16 bits over their range in the training part, whether they are in memory or not;
 * in the other parts they are exact. MD_NOMEM, and what md_picture_read says when the file has
 * changed. */
md_status md_training_set_picture(const md_training_set *set, size_t index, float *ret_planes,
                                  uint32_t *ret_n_planes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* text.vectors in the order of the set's vocabulary [size, *ret_width]; tokens that the file
 * has not get 0. MD_INVALID_ARG when it has fewer than half of them; and what md_vectors_parse
 * says. Caller frees with md_free. */
md_status md_text_set_vectors(const md_training_set *set, float **ret_values,
                              unsigned *ret_width, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Class of a film, 0..n_classes-1, for multi-class sets; UINT_MAX when not known. */
unsigned md_training_set_class(const md_training_set *set, size_t index) MD_NOEXCEPT;

/* Films of a part with class k present, over all films where k is known. */
size_t md_training_set_count(const md_training_set *set, md_part part, unsigned class_index,
                             size_t *ret_known) MD_NOEXCEPT;

/* training.class_weights for this set, [n_classes]: 1, or n / (K n_k) over the known films of
 * the training part, or those given. */
void md_training_set_class_weights(const md_training_set *set, float *ret_weights) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
