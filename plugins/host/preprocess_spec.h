#ifndef MEDAID_PLUGINS_HOST_PREPROCESS_SPEC_H
#define MEDAID_PLUGINS_HOST_PREPROCESS_SPEC_H

/* The section `preprocess` of a manifest and of a training recipe: one table and one check for
 * both, so that a network is served what it was trained on. Pure; any thread. */

#include "conf/schema.h"
#include "dicom/image/normalise.h"
#include "inference/preprocess.h"
#include "inference/test_time.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_preprocess_spec {
    unsigned line; /* where the section begins */
    md_normalise_values values;
    bool crop_borders, greyscale;
    md_fit fit;
    md_filter filter;
    unsigned width, height, n_channels;
    md_binarise binarise;
    float binarise_threshold;
    float mean[3], std[3];
    unsigned n_mean, n_std;
} md_preprocess_spec;

/* Offsets from the start of an md_preprocess_spec. */
extern const md_schema_field md_preprocess_spec_fields[];

/* What one key alone cannot show. `name` is the file, for the message. MD_FORMAT. */
md_status md_preprocess_spec_check(const md_preprocess_spec *spec, const char *name,
                                   md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The options of md_preprocess for a checked section. */
void md_preprocess_spec_options(const md_preprocess_spec *spec,
                                md_preprocess_options *ret_options) MD_NOEXCEPT;

/* `test_time` of a manifest and `evaluation.test_time` of a recipe. Offsets from the start of
 * an md_test_time. */
extern const md_schema_field md_test_time_fields[];
/* A shift that moves nothing is refused: it would cost runs and change nothing. MD_FORMAT. */
md_status md_test_time_check(const md_test_time *test_time, const md_preprocess_spec *spec,
                             const char *name, unsigned line, const char *key, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

enum {
    MD_TEST_TIME_TEXT_BYTES = 48
};
/* " test_time=flip+shift(0.02)" for the parameters of a model's identity; "" for one view. */
void md_test_time_describe(const md_test_time *test_time,
                           char ret_text[MD_TEST_TIME_TEXT_BYTES]) MD_NOEXCEPT;

/* How much of a stored image is decoded for it, when a model's gate wants at least so many
 * columns and rows. */
void md_preprocess_spec_least(const md_preprocess_spec *spec, uint32_t min_columns,
                              uint32_t min_rows, md_image_least *ret_least) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
