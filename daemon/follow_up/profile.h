#ifndef MEDAID_DAEMON_FOLLOW_UP_PROFILE_H
#define MEDAID_DAEMON_FOLLOW_UP_PROFILE_H

/* What is known of a patient, for comparing him with others: the findings that all analyzers of
 * a study call present, each by its code (so that a finding of the images and one of a text are
 * the same one), from 0.5 at its threshold to 1 at a score of 1; or that nothing was found. An
 * absent or undetermined finding is no feature, or all patients would be alike in what they
 * lack. Pure functions; any thread. */

#include "plugins/host/host.h"

enum {
    MD_FEATURES_MAX = 64, /* of a patient; the weakest give way */
    MD_FEATURE_NAME_BYTES = MD_CODE_SCHEME_BYTES + MD_CODE_VALUE_BYTES,
    MD_FEATURES_TEXT_BYTES = MD_FEATURES_MAX * (MD_FEATURE_NAME_BYTES + 16),
};

/* The name of "nothing was found". */
#define MD_FEATURE_NOTHING "none"

typedef struct md_feature {
    char name[MD_FEATURE_NAME_BYTES];    /* "SCT:233604007" */
    char meaning[MD_CODE_MEANING_BYTES]; /* for people; "" when read back from text */
    float weight;                        /* above 0, at most 1 */
} md_feature;

typedef struct md_features {
    md_feature items[MD_FEATURES_MAX];
    uint32_t n;
} md_features;

/* Those of an analysis. None when no model came to a result. */
void md_features_of(const md_analysis *analysis, md_features *ret_features);

/* Add one, or raise it when it is there. False: the name is none (empty, too long, with blanks
 * or control characters) or the weight is not in 0..1; a weight of 0 adds nothing. */
bool md_features_add(md_features *features, const char *name, const char *meaning,
                     float weight);

/* As lines "weight name\n", for the store; without meanings. */
void md_features_write(const md_features *features, char ret_text[MD_FEATURES_TEXT_BYTES]);
/* Read back, calling `each` for every line; a line that is none is passed over, for the text
 * may be of another version. */
void md_features_read(const char *text,
                      void (*each)(void *context, const char *name, size_t length,
                                   float weight),
                      void *context);

#endif
