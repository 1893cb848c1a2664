#ifndef MEDAID_PLUGINS_TRAIN_SAMPLER_H
#define MEDAID_PLUGINS_TRAIN_SAMPLER_H

/* Which films an epoch of training takes, in which order. Pure; any thread. */

#include "plugins/train/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `n` of the `n_films` films, by training.sampler, training.patient_root, the recipe's seed and
 * the epoch. Shuffle takes each film once (n <= n_films). Otherwise a film has the weight
 * 1 / sqrt(films of its patient) with patient_root, else 1; weights are scaled so that each
 * class has its share; and films are drawn by systematic sampling (Madow 1949): one of weight w
 * comes floor(n w) or ceil(n w) times. Of several classes at once a film counts with the rarest
 * that it has, and films without any are a class of their own. MD_NOMEM. */
md_status md_sampler_order(const md_training_set *set, const uint32_t *films, size_t n_films,
                           unsigned epoch, size_t n, uint32_t *ret_order, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
