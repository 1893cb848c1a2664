#ifndef MEDAID_PLUGINS_TRAIN_PREVIEW_H
#define MEDAID_PLUGINS_TRAIN_PREVIEW_H

/* A sheet of films for people: what a network is shown. One thread at a time. */

#include "plugins/train/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PREVIEW_MAX_FILMS = 1024
};

/* Write a PNG of the first `n_films` films of an epoch, in rows of `n_columns` pairs: on the
 * left the film as it is, on the right what the network gets of it. Values are brought back
 * from mean and std; display values run from 0 black to 1 white, physical ones over the range
 * of each film. MD_INVALID_ARG, MD_IO, MD_NOMEM and what the loader says. */
md_status md_preview_write(const md_training_set *set, unsigned epoch, unsigned n_films,
                           unsigned n_columns, const char *path, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
