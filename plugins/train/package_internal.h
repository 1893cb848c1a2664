#ifndef MEDAID_PLUGINS_TRAIN_PACKAGE_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_PACKAGE_INTERNAL_H

/* The parts of an export: measuring (package_measure.c), the model card (package_card.c), the
 * folder (package.c). One thread. */

#include "base/file.h"
#include "plugins/train/assess.h"
#include "plugins/train/dataset.h"
#include "plugins/train/package.h"

/* What the network said of one part of the films. */
typedef struct md_export_scores {
    size_t n, n_outputs;
    float *logits;      /* [n, n_outputs] */
    float *targets;     /* [n, n_classes] 0, 1, NaN: not known */
    uint32_t *patients; /* [n] */
} md_export_scores;

typedef struct md_exporting {
    const md_export_options *options;
    const md_recipe *recipe;    /* NULL: not made by a recipe; then `card` is the model card */
    const md_training_set *set; /* likewise */
    const char *card;
    size_t n_outputs;    /* of the logits */
    md_network *network; /* batch 1, the logits its last output */
    md_test_time_scratch views;
    md_manifest *manifest;
    md_export_scores validation, test; /* test.n 0: no such part */
    md_assessment figures;             /* a question for each finding */
    uint8_t *onnx;
    size_t onnx_bytes;
    char folder[MD_RECIPE_PATH_BYTES + 8]; /* where the package grows */
} md_exporting;

void md_export_scores_finish(md_export_scores *scores) MD_NOEXCEPT;

/* The logits [n] of one network input, over the manifest's views, by a network whose last
 * output they are. MD_FORMAT when it has another number of them, MD_PLUGIN when one is not
 * finite. */
md_status md_export_logits(md_exporting *x, md_network *network, const md_tensor *input,
                           float *ret_logits, size_t n, md_error *err) MD_NODISCARD;
/* Load x->onnx with `logits` as its last output. */
md_status md_export_load(const md_exporting *x, md_backend backend, const char *logits,
                         md_network **ret_network, md_error *err) MD_NODISCARD;
/* Write the folder options->out from all that x has: network, manifest, self-test, card. It
 * appears whole or not at all, and only when the host takes it. `inputs`: see
 * md_export_options; only for a lower precision. */
md_status md_export_folder(md_exporting *x, const char *inputs, md_error *err) MD_NODISCARD;
/* The figures of the first question, as the manifest states them. */
void md_export_state(md_manifest *manifest, const char *set, const md_assess_answer *first)
    MD_NOEXCEPT;

/* Run the network over a part; with `inputs` also write what went in. */
md_status md_export_score(md_exporting *x, md_part part, FILE *inputs,
                          md_export_scores *ret_scores, md_error *err) MD_NODISCARD;
/* Whether the network reads texts. */
static inline bool md_export_is_text(const md_exporting *x)
{
    return x->manifest->kind == MD_ANALYZER_TEXT;
}
/* Fill calibration, thresholds and performance of the manifest, and x->figures. */
md_status md_export_measure(md_exporting *x, md_error *err) MD_NODISCARD;
/* Of a text network: a text of nobody's as the self-test's input (static), the logits
 * [n_outputs] that OpenBLAS computes of it, and those of the back end that measures.
 * (package_text.c) */
md_status md_export_text_self_test(md_exporting *x, const char **ret_text, size_t *ret_bytes,
                                   float *ret_expected, float *ret_other, md_error *err)
    MD_NODISCARD;
/* A cell of a table in a model card, and its end: " 0.9 (0.8 to 0.95) |". (package_card.c) */
void md_export_write_estimate(const md_estimate *estimate, FILE *out) MD_NOEXCEPT;
/* README.md as text; caller frees. */
md_status md_export_card(const md_exporting *x, char **ret_text, size_t *ret_bytes,
                         md_error *err) MD_NODISCARD;

#endif
