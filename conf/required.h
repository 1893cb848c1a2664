#ifndef MEDAID_CONF_REQUIRED_H
#define MEDAID_CONF_REQUIRED_H

/* What must have arrived before a study is analysed: images of certain views, or a number of
 * images. Stands in medaid.yaml and in a model's manifest; plain data. */

#include "conf/schema.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_REQUIRED_MAX_WORDS = 32,
    MD_REQUIRED_WORD_BYTES = 17, /* a Code String */
    MD_REQUIRED_MAX_VIEWS = 16,
    MD_REQUIRED_VIEW_BYTES = 51, /* "LL/RL/LATERAL": one of them is enough */
};

/* The images that count are those with one of the modalities and one of the body parts; empty
 * lists admit all. A study without any of them needs nothing. Otherwise it needs one of them
 * for each view, and `count` of them altogether. */
typedef struct md_required {
    char modality[MD_REQUIRED_MAX_WORDS][MD_REQUIRED_WORD_BYTES];
    unsigned n_modality;
    char body_part[MD_REQUIRED_MAX_WORDS][MD_REQUIRED_WORD_BYTES];
    unsigned n_body_part;
    bool accepts_no_body_part; /* an image without one counts too; for manifests */
    char views[MD_REQUIRED_MAX_VIEWS][MD_REQUIRED_VIEW_BYTES];
    unsigned n_views;
    unsigned count; /* 0: as many as the views need */
    unsigned line;  /* where it stands in the file */
} md_required;

/* An entry of a list `required` in medaid.yaml. */
extern const md_schema_field md_required_item;
/* The key `required` of a manifest: views and count alone, the rest is what the model accepts.
 */
extern const md_schema_field md_required_manifest_fields[];

#ifdef __cplusplus
}
#endif
#endif
