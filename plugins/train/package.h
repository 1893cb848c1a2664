#ifndef MEDAID_PLUGINS_TRAIN_PACKAGE_H
#define MEDAID_PLUGINS_TRAIN_PACKAGE_H

/* From a run folder to a model package that serves as it is (docs/model-package.md):
 *
 *   model.onnx            as the training wrote it
 *   model.yaml            every key; identity, accepts, findings, saliency, training and
 *                         intended use from the recipe's `export`, preprocessing from its
 *                         `preprocess`, the rest measured here
 *   selftest-input.f32, selftest-output.f32   a drawn picture, no patient's, and what the
 * network makes of it; the tolerance is what this machine's back ends differ by README.md the
 * model card precision.grant       when `export.precision` asks for less than float32 and this
 * processor may compute so (plugins/host/quantize.h)
 *
 * Calibration and thresholds are fitted on the validation part, by `evaluation.calibration` and
 * `evaluation.threshold`; the figures are those of the test part, where there is one, else of
 * the validation part (then the calibration error is that of a fit on the other half of the
 * patients). They are measured with the network as it serves, without test-time views. */

#include "inference/network.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_export_options {
    const char *run_folder; /* recipe.yaml, model.onnx, of texts vocabulary.txt, and split.csv
                               if the recipe names none */
    const char *out;        /* must not exist; appears whole or not at all */
    const char *inputs;     /* also write the validation part's network inputs there, for
                               medaid-train quantize; NULL: no. Patients' pixels */
    md_backend backend;     /* that measures */
    unsigned n_threads;     /* 0: all cores */
    FILE *progress;         /* lines for people; NULL: none */
} md_export_options;

/* MD_INVALID_ARG: the recipe has no `export`, `out` exists, no validation part; MD_NOT_FOUND:
 * a file of the run folder; MD_PLUGIN: the package would not serve (its own checks, or the back
 * ends differ); MD_UNSUPPORTED: network or saliency method; and what reading recipe and films
 * says. md_dicom_init must have been called. */
md_status md_export_run(const md_export_options *options, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
