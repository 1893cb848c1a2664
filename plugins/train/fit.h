#ifndef MEDAID_PLUGINS_TRAIN_FIT_H
#define MEDAID_PLUGINS_TRAIN_FIT_H

/* Train the network of a recipe, from its films to its run folder:
 *
 *   recipe.yaml           the recipe with every default written out
 *   split.csv             which film is in which part
 *   log.jsonl             one JSON object a line: start, each epoch, the end
 *   checkpoint.bin        where the training stands (checkpoint.h)
 *   best.onnx, last.onnx  the network (its running average where the recipe asks for one) after
 *                         the epoch with the highest validation AUC, and after the last
 *   model.onnx            best.onnx when the recipe stops early, else last.onnx
 *   curves, confusion, roc, ... as .svg and .png, report.html
 *
 * The same recipe, films, machine and number of threads give the same model.onnx, bit for bit,
 * however often the run was killed and resumed. One fit at a time in a run folder. */

#include "plugins/train/recipe.h"

#include <signal.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_fit_options {
    bool resume;        /* from the checkpoint, from the start if there is none */
    unsigned n_threads; /* 0: as the recipe says */
    double max_minutes; /* then a checkpoint, and MD_TIMEOUT; 0: no limit */
    FILE *progress;     /* lines for people; NULL: none */
    const volatile sig_atomic_t
        *stop; /* becomes 1: a checkpoint, and MD_CANCELLED. NULL: never */
} md_fit_options;

/* MD_INVALID_ARG: the recipe and the films or the run folder do not go together; MD_BUSY: the
 * run folder holds another run; MD_CANCELLED, MD_TIMEOUT: stopped, --resume goes on;
 * MD_PLUGIN: a loss or a weight is not finite (the step is named, the last good checkpoint
 * stays); MD_IO: a file of the run folder cannot be written; and what reading recipe and films
 * says. md_dicom_init must have been called. */
md_status md_fit_run(const char *recipe_path, const md_fit_options *options, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
