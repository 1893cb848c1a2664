#ifndef MEDAID_PLUGINS_TRAIN_FIT_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_FIT_INTERNAL_H

/* The parts of a fit, shared by the fit_*.c files. */

#include "inference/train/schedule.h"
#include "plugins/train/checkpoint.h"
#include "plugins/train/fit.h"
#include "plugins/train/loader.h"

enum {
    MD_FIT_PATH_BYTES = MD_RECIPE_PATH_BYTES + 64
};

/* The films of a part as a network sees them, [n_films, n_classes]. */
typedef struct md_fit_scores {
    size_t n, n_classes;
    float *logits, *targets;                  /* owned */
    uint32_t *films;                          /* owned; numbers in the set */
    double loss, accuracy, auc;               /* auc: the mean of those below */
    double class_aucs[MD_RECIPE_MAX_CLASSES]; /* each against the rest; NaN: not defined */
} md_fit_scores;

typedef struct md_fitting {
    const md_fit_options *options;
    md_recipe *recipe;
    char *recipe_text; /* resolved */
    char folder[MD_RECIPE_PATH_BYTES];
    int folder_fd, log_fd;
    md_training_set *set;
    md_loader *train, *validation; /* validation NULL: the recipe has none */
    uint8_t *onnx;                 /* what the training began with */
    size_t onnx_bytes;
    md_trainer *trainer;
    const md_parameter **parameters;
    unsigned n_parameters;
    unsigned width, height;             /* of the trainer at present */
    size_t trainer_bytes, memory_bytes; /* of the largest pictures; with the optimizer */
    md_optimizer *optimizer;
    md_schedule schedule;
    uint64_t steps_per_epoch;
    md_checkpoint checkpoint;
    md_fit_state state;
    md_epoch_record *records;
    md_fit_scores scores;
    /* of this process */
    unsigned n_threads, seen_epochs; /* validated so far: columns are explained once */
    int64_t start_us, checkpoint_us, shown_us;
    double session_work, session_seconds; /* pixels of all images so far, and their time */
} md_fitting;

/* fit_validate.c. Logits of every film of the loader at the full picture size; `values` as
 * md_trainer_infer takes them. Loss, accuracy and AUC are filled in; NaN where not defined. */
md_status md_fit_score(md_fitting *fit, md_trainer *trainer, md_loader *loader,
                       const float *const *values, md_fit_scores *ret_scores, md_error *err)
    MD_NODISCARD;
void md_fit_scores_finish(md_fit_scores *scores);
/* Probabilities of a row of logits: softmax, or the logistic function of each. */
void md_fit_probabilities(const md_fitting *fit, const float *logits, float *ret_probabilities);
/* Give the trainer pictures of that size. */
md_status md_fit_resize(md_fitting *fit, unsigned width, unsigned height, md_error *err)
    MD_NODISCARD;

/* fit_log.c. One line of log.jsonl, from a jansson object whose reference is taken. */
struct json_t;
md_status md_fit_log(md_fitting *fit, struct json_t *object, md_error *err) MD_NODISCARD;
md_status md_fit_log_start(md_fitting *fit, bool resumed, md_error *err) MD_NODISCARD;
/* With the AUC of each class when the scores are those of this epoch. */
md_status md_fit_log_epoch(md_fitting *fit, const md_epoch_record *record, md_error *err)
    MD_NODISCARD;
/* "done", "stopped", "time", "not_finite". */
md_status md_fit_log_end(md_fitting *fit, const char *how, md_error *err) MD_NODISCARD;
/* The line that is overwritten while steps go by, on a terminal; and one for each epoch. */
void md_fit_show_step(md_fitting *fit, double loss, double rate, unsigned n);
void md_fit_show_epoch(md_fitting *fit, const md_epoch_record *record);

/* fit_report.c. model.onnx, charts and the page, from the weights on disk. */
md_status md_fit_report(md_fitting *fit, md_error *err) MD_NODISCARD;

md_status md_fit_path(const md_fitting *fit, const char *name, char ret_path[MD_FIT_PATH_BYTES],
                      md_error *err) MD_NODISCARD;

#endif
