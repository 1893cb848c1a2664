#ifndef MEDAID_PLUGINS_TRAIN_EXPLAIN_H
#define MEDAID_PLUGINS_TRAIN_EXPLAIN_H

/* Whether the maps of a model package can be believed (inference/saliency_check.h):
 *
 *   randomised weights  the last layer, then more and more of them, are drawn anew, and the
 * maps are compared with those of the trained network. Maps that stay the same show the film's
 * edges, not what the network learned. pointing            where the truth is known as
 * rectangles, does the map's largest value lie in one, and how much of the map does.
 *
 * The maps are those that the package serves, for one finding, present or not. Films are read
 * as in training; the package's rules of acceptance and its gate are not asked. One thread,
 * after md_dicom_init. */

#include "inference/network.h"
#include "inference/saliency_check.h"
#include "inference/statistics/proportion.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_EXPLAIN_MAX_STAGES = 8,
    MD_EXPLAIN_MAX_FILMS = 4096,
    MD_EXPLAIN_GRID = 64, /* maps are compared on so many places a side, over the whole film */
};

typedef struct md_explain_options {
    const char *model; /* folder of a package */
    /* A folder (its films, in the order of their names) or a table (.csv): file, below the
     * table's folder, and for pointing x, y, width, height in pixels of the stored film; a film
     * may have several rows. */
    const char *data;
    const char *out;       /* explain.json and pictures; made when missing. NULL: nothing */
    const char *finding;   /* key; NULL: the first */
    unsigned n_randomised; /* films of the test of weights: the first so many; 0: none */
    unsigned n_pictures;
    double tolerance; /* of pointing, pixels of the stored film */
    uint64_t seed;
    md_backend backend;
    unsigned n_threads;
    FILE *progress; /* NULL: none */
} md_explain_options;

/* Mean over the films whose two maps are not flat; n 0: none. */
typedef struct md_explain_mean {
    unsigned n;
    double mean, low, high; /* low, high: the extremes */
} md_explain_mean;

typedef struct md_explain_stage {
    unsigned n_layers; /* from the end */
    char last[129];    /* the weight that was drawn last */
    md_explain_mean rank_correlation, similarity;
    unsigned n_flat; /* maps that are the same everywhere */
} md_explain_stage;

typedef struct md_explanation {
    char id[65], version[17], sha256[65], finding[65], method[65];
    unsigned n_films, n_unreadable;
    unsigned n_layers; /* with weights, of the network */
    unsigned n_randomised;
    md_explain_stage stages[MD_EXPLAIN_MAX_STAGES];
    unsigned n_stages;
    md_proportion pointing; /* n 0: no film has a region */
    double energy, area;    /* means over those films */
    unsigned n_without_map; /* of them, with a map that is all 0: counted as missed */
} md_explanation;

/* MD_UNSUPPORTED: the package has no saliency; MD_NOT_FOUND: no film, no such finding;
 * MD_FORMAT: the table; and what reading the package says. A film that cannot be read is
 * counted and told to progress. */
md_status md_explain_run(const md_explain_options *options, md_explanation *ret_explanation,
                         md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
