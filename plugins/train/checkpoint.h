#ifndef MEDAID_PLUGINS_TRAIN_CHECKPOINT_H
#define MEDAID_PLUGINS_TRAIN_CHECKPOINT_H

/* Where a training stands, on disk: RUN_FOLDER/checkpoint.bin, the one before it as
 * checkpoint.previous.bin. A checkpoint is written whole or not at all, is durable when the
 * call returns, and holds everything that the steps after it depend on, so that a run that was
 * killed goes on to the same bits. It carries a checksum; a damaged one is passed over for the
 * one before. One thread. */

#include "base/file.h"
#include "inference/train/optimizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What an epoch came to. NaN: not measured. */
typedef struct md_epoch_record {
    uint64_t epoch; /* 0-based */
    uint64_t width, height;
    double rate;                /* of the last step */
    double loss, gradient_norm; /* means over the steps */
    double validation_loss, accuracy, auc;
    double images_per_second, seconds;
} md_epoch_record;

/* Plain numbers of 8 bytes each: written as they are. */
typedef struct md_fit_state {
    uint64_t epoch;   /* being done; n_epochs when all are */
    uint64_t step;    /* next in it */
    uint64_t n_steps; /* done in all */
    uint64_t n_images;
    double loss_sum, norm_sum;     /* over the steps of this epoch so far */
    double epoch_seconds, seconds; /* spent on this epoch's steps, on the whole run */
    int64_t best_epoch;            /* -1: none */
    double best_auc, best_loss;
    uint64_t stopped_early; /* 1: no epoch follows */
    uint64_t log_bytes;     /* of log.jsonl that belong to it */
    uint64_t n_threads;
    uint64_t n_records;
} md_fit_state;

/* What a checkpoint belongs to: the resolved recipe, the films with their labels and parts, and
 * the network that was begun with. */
typedef struct md_fit_identity {
    uint8_t recipe[MD_SHA256_BYTES], films[MD_SHA256_BYTES], network[MD_SHA256_BYTES];
} md_fit_identity;

/* Everything borrowed; read fills what the pointers point to. */
typedef struct md_checkpoint {
    const char *folder;
    md_fit_identity identity;
    md_fit_state *state;
    md_epoch_record *records; /* room for max_records, state->n_records used */
    uint64_t max_records;
    const md_parameter *const *parameters;
    unsigned n_parameters;
    md_optimizer *optimizer;
} md_checkpoint;

/* MD_IO, MD_NOMEM: the checkpoint that was there stays. */
md_status md_checkpoint_write(const md_checkpoint *checkpoint, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* *ret_found false: there is none. MD_INVALID_ARG when it belongs to another recipe, other
 * films or another network; MD_FORMAT when both are damaged; MD_IO, MD_NOMEM. Nothing is
 * changed on failure. */
md_status md_checkpoint_read(const md_checkpoint *checkpoint, bool *ret_found, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Whether the folder holds one. */
bool md_checkpoint_is_there(const char *folder) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
