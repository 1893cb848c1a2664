#ifndef MEDAID_PLUGINS_HOST_SCORE_H
#define MEDAID_PLUGINS_HOST_SCORE_H

/* From a network's output to a finding's score, as the manifest says. Pure; any thread. */

#include "plugins/host/manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The score of finding f from the n values of the output, docs/model-package.md, "Scores":
 * softmax of logits / T summed over the classes; sigmoid of logit / T; platt: sigmoid(a *
 * logit(p0) + b) with p0 the uncalibrated score. MD_PLUGIN when an output is NaN or infinite,
 * or with activation `none` not in 0..1. */
md_status md_score(const md_manifest *manifest, const md_manifest_finding *f,
                   const float *outputs, size_t n, double *ret_score, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
