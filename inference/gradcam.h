#ifndef MEDAID_INFERENCE_GRADCAM_H
#define MEDAID_INFERENCE_GRADCAM_H

/* Grad-CAM in closed form, for a network that ends in features -> GlobalAveragePool -> Flatten
 * -> Gemm -> logits: what md_network_linear_head finds. Pure function; any thread. */

#include "inference/calibrate.h"
#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Selvaraju et al. 2017, "Grad-CAM", eq. 1 and 2, for the target t that the score is made of,
 * the log-odds of the finding's classes S (md_log_odds at temperature 1; a temperature scales
 * the map, which its normalisation undoes, but for softmax it also shifts the weights of the
 * classes within S and outside it: the map explains the uncalibrated log-odds):
 *
 *   alpha_c = mean over y, x of dt/dA_c(y, x) = 1/(h w) sum_k dt/dz_k W[k,c]
 *   map(y, x) = max(0, sum_c alpha_c A_c(y, x)), over its largest value
 *   softmax: dt/dz_k = e^z_k / sum_S e^z for k in S, -e^z_k / sum_notS e^z otherwise
 *   sigmoid: dt/dz_k = 1 for the class, 0 otherwise
 *
 * features [1,C,h,w], weights [K,C], logits the K outputs of the same run. The map has h x w
 * values in 0..1, row by row, its largest exactly 1; where no feature speaks for the finding it
 * is all 0. Caller frees *ret_values with md_free. MD_INVALID_ARG as md_log_odds (score is no
 * target here) and for shapes that do not fit; MD_FORMAT when a feature, weight or logit is NaN
 * or infinite. */
md_status md_gradcam(const md_tensor *features, const md_tensor *weights, const float *logits,
                     md_target target, const unsigned *classes, unsigned n_classes,
                     float **ret_values, uint32_t *ret_rows, uint32_t *ret_columns,
                     md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
