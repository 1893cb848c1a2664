#ifndef MEDAID_DAEMON_SIMILAR_CASES_H
#define MEDAID_DAEMON_SIMILAR_CASES_H

/* Which earlier cases resemble a study: every analysed study leaves a vector, and those with
 * the largest cosine are the nearest (inference/similar, docs/similar.md).
 *
 * A vector is made of what the network saw of the images, what the text analyzer saw of the
 * order text, age and sex (layout.h). Only vectors of one space are compared: an image model
 * and a text model, each with id, version, hash and number of values, and the layout's version.
 * Another version of a model begins another space, with an index of its own.
 *
 * What lasts is the store's table of vectors. The indices are files beside it that a thread of
 * this module brings into agreement with it: at the start, after each analysis, and after
 * vectors were removed; what is lost or damaged is made again. Nobody waits for that thread,
 * and what fails in it is a line in the log: a study's result does not depend on it.
 *
 * All functions but open and close may be called by any thread at any time. */

#include "conf/conf.h"
#include "daemon/store/store_vector.h"
#include "plugins/host/host.h"

typedef struct md_cases md_cases;

typedef struct md_model_embeds {
    md_model_identity model;
    md_embeds embeds;
} md_model_embeds;

typedef struct md_cases_options {
    const md_conf *conf;           /* similar, storage.path; borrowed for the call */
    md_store *store;               /* borrowed until the close */
    const md_model_embeds *models; /* borrowed for the call */
    size_t n_models;
} md_cases_options;

/* Start. *ret_cases stays NULL when the configuration says so, or no model leaves an embedding;
 * the other functions then find nothing, and the indices of before are removed. MD_NOMEM,
 * MD_IO. Caller closes. */
md_status md_cases_open(const md_cases_options *options, md_cases **ret_cases, md_error *err)
    MD_NODISCARD;
/* Write what a next start would have to make again, and end. NULL is fine. */
void md_cases_close(md_cases *cases);
MD_DEFINE_DESTROYP(md_cases, md_cases_close)

/* A study was analysed: its vector is to be found from now on. NULL is fine. */
void md_cases_wake(md_cases *cases);
/* Vectors were removed or replaced too. NULL is fine. */
void md_cases_forget(md_cases *cases);

/* The vectors of an analysis, one for each image model that left an embedding, for
 * md_study_outcome.vectors. Caller frees *ret_vectors with md_free; NULL when there are none.
 * `cases` NULL: none. MD_NOMEM. */
md_status md_cases_vectors(const md_cases *cases, const md_analysis *analysis,
                           md_store_vector **ret_vectors, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* A case that is near. */
typedef struct md_near_case {
    char study_key[MD_STORE_KEY_BYTES]; /* of a study that may be retired since */
    int64_t found_ms;                   /* when its vector was made */
    double cosine;                      /* -1..1 */
    double distance;                    /* 1 - cosine */
} md_near_case;

enum {
    MD_CASES_MAX_NEAR = 100
};

/* The k (1..MD_CASES_MAX_NEAR) nearest other studies that are known now, the nearest first, at
 * most as many as there are. Of a study that several models embedded, those of the first model.
 * MD_NOT_FOUND: the study has no vector that can be compared (it was not analysed, it failed,
 * its vector's time is over or is of another version of the model, or `cases` is NULL).
 * MD_BUSY: the index is being made. MD_INVALID_ARG: k. */
md_status md_cases_near_study(md_cases *cases, const char *study_key, uint32_t k,
                              md_near_case *ret_near, size_t *ret_n, md_error *err)
    MD_NODISCARD;
/* The same for an analysis that is not in the store yet; `study_key` itself, an earlier
 * analysis of the same study, is left out. For the cold start of follow-up proposals. */
md_status md_cases_near_analysis(md_cases *cases, const char *study_key,
                                 const md_analysis *analysis, uint32_t k,
                                 md_near_case *ret_near, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* For status and tests: cases that are found now, over all spaces; and whether the indices
 * agreed with the store when they were last compared. NULL: 0, true. */
size_t md_cases_n(md_cases *cases);
bool md_cases_are_settled(md_cases *cases);

#endif
