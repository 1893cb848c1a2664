#include "plugins/train/sampler.h"

#include <math.h>
#include <string.h>

enum {
    STREAM_ORDER = 300, /* of random numbers */
};

/* Class by which a film counts; n_classes: none. */
static unsigned stratum_of(const md_training_set *set, const size_t *counts, uint32_t film)
{
    const float *labels = set->labels + (size_t)film * set->n_classes;
    unsigned best = set->n_classes;
    for (unsigned k = 0; k < set->n_classes; k++) {
        if (labels[k] == 1.0F && (best == set->n_classes || counts[k] < counts[best])) {
            best = k;
        }
    }
    return best;
}

/* Weights of the films; `places` are put in the order of the classes, so that each class gets
 * its share of every epoch and not only in the mean. */
static md_status make_weights(const md_training_set *set, const uint32_t *films, size_t n_films,
                              double *weights, uint32_t *places, md_error *err)
{
    const md_recipe_training *t = &set->recipe->training;
    size_t counts[MD_RECIPE_MAX_CLASSES] = {0}, n_known = 0;
    double sums[MD_RECIPE_MAX_CLASSES + 1] = {0};
    MD_AUTO(md_freep) uint32_t *of_patient = md_calloc(set->n_patients + 1, sizeof *of_patient);
    MD_AUTO(md_freep) uint32_t *shuffled = md_calloc(n_films + 1, sizeof *shuffled);
    if (of_patient == NULL || shuffled == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", set->n_patients);
    }
    for (unsigned k = 0; k < set->n_classes; k++) {
        counts[k] = md_training_set_count(set, MD_PART_TRAIN, k, &n_known);
    }
    for (size_t i = 0; i < n_films; i++) {
        of_patient[set->films[films[i]].patient]++;
    }
    for (size_t i = 0; i < n_films; i++) {
        const double n = of_patient[set->films[films[i]].patient];
        weights[i] = t->patient_root ? 1.0 / sqrt(n) : 1.0;
        sums[stratum_of(set, counts, films[i])] += weights[i];
    }
    unsigned n_strata = 0;
    double total = 0.0;
    for (unsigned k = 0; k <= set->n_classes; k++) {
        n_strata += sums[k] > 0.0 ? 1 : 0;
        total += sums[k];
    }
    for (size_t i = 0; i < n_films; i++) {
        const unsigned k = stratum_of(set, counts, films[i]);
        const double share = t->sampler == MD_SAMPLER_BALANCED ? 1.0 / n_strata
                             : t->sampler == MD_SAMPLER_SHARES
                                 ? (k < set->n_classes ? (double)t->shares[k] : 0.0)
                                 : sums[k] / total;
        weights[i] *= share / sums[k];
    }
    memcpy(shuffled, places, n_films * sizeof *shuffled);
    size_t n = 0;
    for (unsigned k = 0; k <= set->n_classes; k++) {
        for (size_t i = 0; i < n_films; i++) {
            if (stratum_of(set, counts, films[shuffled[i]]) == k) {
                places[n++] = shuffled[i];
            }
        }
    }
    return MD_OK;
}

/* Cut the line of weights, laid end to end in the order of `films`, at n equal distances. */
static void draw(const uint32_t *films, const double *weights, const uint32_t *places,
                 size_t n_films, double offset, size_t n, uint32_t *ret_order)
{
    double sum = 0.0, end = 0.0;
    for (size_t i = 0; i < n_films; i++) {
        sum += weights[i];
    }
    size_t film = 0;
    end = weights[places[0]];
    for (size_t i = 0; i < n; i++) {
        const double at = ((double)i + offset) / (double)n * sum;
        while (at >= end && film + 1 < n_films) {
            end += weights[places[++film]];
        }
        ret_order[i] = films[places[film]];
    }
}

md_status md_sampler_order(const md_training_set *set, const uint32_t *films, size_t n_films,
                           unsigned epoch, size_t n, uint32_t *ret_order, md_error *err)
{
    const md_recipe_training *t = &set->recipe->training;
    const md_random_key key = {.seed = set->recipe->seed, .epoch = epoch};
    md_random random;
    md_random_init(&random, &key, STREAM_ORDER);
    MD_AUTO(md_freep) uint32_t *places = md_calloc(n_films + 1, sizeof *places);
    MD_AUTO(md_freep) double *weights = md_calloc(n_films + 1, sizeof *weights);
    if (places == NULL || weights == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n_films);
    }
    for (size_t i = 0; i < n_films; i++) {
        places[i] = (uint32_t)i;
    }
    md_random_shuffle(&random, places, n_films);
    if (t->sampler == MD_SAMPLER_SHUFFLE && !t->patient_root) {
        for (size_t i = 0; i < n; i++) {
            ret_order[i] = films[places[i]];
        }
        return MD_OK;
    }
    MD_TRY(make_weights(set, films, n_films, weights, places, err));
    draw(films, weights, places, n_films, (double)md_random_uniform(&random), n, ret_order);
    md_random_shuffle(&random, ret_order, n);
    return MD_OK;
}
