#ifndef MEDAID_PLUGINS_TRAIN_LOADER_H
#define MEDAID_PLUGINS_TRAIN_LOADER_H

/* Batches for training and measuring, made ahead by threads. What stands in step s of epoch e
 * is a pure function of the set, the options, the seed, e and s: not of the number of threads,
 * of the room in memory or of which steps were taken before, so that a run resumes exactly.
 *
 * A loader belongs to one thread at a time; it has threads of its own. */

#include "plugins/train/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_loader md_loader;

enum {
    MD_LOADER_MAX_BATCH = 4096
};

typedef struct md_loader_options {
    md_part part;
    /* true: the recipe's sampler and augmentation, mixup too; the films that do not fill a last
     * batch are left out of the epoch (never when the part is smaller than a batch). false:
     * each film once in their order, as they are, and a last batch that may be smaller. */
    bool training;
    unsigned batch;
    unsigned n_threads; /* 0: 1 */
} md_loader_options;

/* Borrowed until the next call for the loader. */
typedef struct md_batch {
    uint64_t step; /* in the epoch */
    unsigned n;    /* films; 0: the epoch is over */
    unsigned n_channels, height, width, n_classes;
    const float *images;     /* [n, C, H, W] as they enter the network; NULL: texts */
    const int64_t *tokens;   /* [n, T] of texts, T being width; NULL: films */
    const float *targets;    /* [n, K] 0..1, NaN: not known */
    const uint32_t *indices; /* [n] of set->films; of a mixed one the first */
} md_batch;

/* MD_INVALID_ARG for a part without films, MD_NOMEM. The set must outlive it. Caller destroys.
 */
md_status md_loader_create(const md_training_set *set, const md_loader_options *options,
                           md_loader **ret_loader, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_loader_destroy(md_loader *loader) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_loader, md_loader_destroy)

/* Films and steps of one epoch. */
uint64_t md_loader_n_films(const md_loader *loader) MD_NOEXCEPT;
uint64_t md_loader_n_steps(const md_loader *loader) MD_NOEXCEPT;

/* Views of test-time augmentation (recipe, evaluation.test_time); 1 without. */
unsigned md_loader_n_views(const md_loader *loader) MD_NOEXCEPT;

/* Start an epoch at a step, with pictures of that size (0: as `preprocess` says). `view` is 0
 * for the films as they are, up to md_loader_n_views - 1, and 0 in training. What was made
 * ahead is dropped. MD_INVALID_ARG, MD_NOMEM. */
md_status md_loader_begin(md_loader *loader, unsigned epoch, uint64_t first_step,
                          unsigned width, unsigned height, unsigned view, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The next batch. An error of a film (its file changed, no memory) is that of the step. */
md_status md_loader_next(md_loader *loader, md_batch *ret_batch, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
