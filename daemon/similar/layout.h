#ifndef MEDAID_DAEMON_SIMILAR_LAYOUT_H
#define MEDAID_DAEMON_SIMILAR_LAYOUT_H

/* How the vector of a case is laid out, layout 1:
 *
 *   image   n_image numbers   length sqrt(8)
 *   text    n_text numbers    length sqrt(4); none where no model embeds texts
 *   age     2 numbers         sqrt(1) (cos t, sin t), t = pi/2 min(age, 100) / 100
 *   sex     3 numbers         sqrt(1) at F, M or O
 *
 * What a study lacks is 0. So the cosine of two cases that have everything is
 * (8 c_image + 4 c_text + c_age + c_sex) / 14, without a text model (8 c_image + c_age +
 * c_sex) / 10; c_age falls from 1 for equal ages to 0 for 0 and 100 years; what one of the two
 * lacks counts as unlike. Pure; any thread. */

#include "daemon/similar/cases.h"

enum {
    MD_LAYOUT_VERSION = 1,
    MD_LAYOUT_PATIENT = 5, /* numbers for age and sex */
    MD_LAYOUT_MAX_AGE = 120
};

/* A space: cases of it can be compared. */
typedef struct md_space {
    char id[MD_STORE_SPACE_BYTES]; /* the beginning of the SHA-256 of all that defines it */
    char image_model[MD_KEY_BYTES], text_model[MD_KEY_BYTES]; /* text_model "": none */
    uint32_t n_image, n_text, n;                              /* n: of the whole vector */
} md_space;

/* One space for each model of images; the first model of texts counts for all. At most n_max
 * (<= MD_STORE_MAX_VECTORS) into the caller's array. A text that makes a vector longer than
 * MD_STORE_MAX_VECTOR is left out. */
void md_spaces_of(const md_model_embeds *models, size_t n_models, size_t n_max,
                  md_space *ret_spaces, size_t *ret_n);

/* Years from birth to study, both YYYYMMDD; below 0: not known, or no age that people have. */
double md_layout_age(const char *birth_date, const char *study_date);

/* The vector of an analysis in the space. False: the model of images left nothing there. */
bool md_layout_fill(const md_space *space, const md_analysis *analysis,
                    md_store_vector *ret_vector);

#endif
