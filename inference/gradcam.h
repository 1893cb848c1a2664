#ifndef MEDAID_INFERENCE_GRADCAM_H
#define MEDAID_INFERENCE_GRADCAM_H

/* Grad-CAM and Grad-CAM++: a feature map weighed by the gradients of a finding's log-odds t
 * (md_log_odds at temperature 1; a temperature scales the map, which its normalisation undoes,
 * but for softmax it also shifts the weights of the classes within a finding and outside it:
 * the map explains the uncalibrated log-odds). Pure functions; any thread.
 *
 *   map(y, x) = max(0, sum_c w_c A_c(y, x)), over its largest value, with g = dt/dA
 *   Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): w_c = mean over y, x of g_c(y, x)
 *   Grad-CAM++ (Chattopadhay et al. 2018, eq. 10 and 19, for the score e^t, whose own factor
 *   e^t the normalisation takes out):
 *     w_c = sum_yx a_c(y, x) max(0, g_c(y, x)),
 *     a = g^2 / (2 g^2 + g^3 sum_yx A_c) = 1 / (2 + g sum_yx A_c), 0 where g or that is 0
 *
 * A map has h x w values in 0..1, row by row, its largest exactly 1; where no feature speaks
 * for the finding it is all 0. Caller frees *ret_values with md_free. MD_INVALID_ARG for shapes
 * that do not fit, MD_FORMAT when something is NaN or infinite, MD_NOMEM. */

#include "inference/calibrate.h"
#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_cam_rule {
    MD_CAM_GRAD,          /* Grad-CAM */
    MD_CAM_GRAD_PLUS_PLUS /* Grad-CAM++ */
} md_cam_rule;

/* features [1,C,h,w], gradient dt/dA of the same shape. */
md_status md_cam_map(md_cam_rule rule, const md_tensor *features, const float *gradient,
                     float **ret_values, uint32_t *ret_rows, uint32_t *ret_columns,
                     md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The same in closed form, for a network that ends in features -> GlobalAveragePool -> Flatten
 * -> Gemm -> logits (what md_network_linear_head finds): g_c(y, x) = 1/(h w) sum_k dt/dz_k
 * W[k,c]. weights [K,C], logits the K outputs of the same run. Also MD_INVALID_ARG as
 * md_log_odds (a score is no target here). */
md_status md_gradcam(md_cam_rule rule, const md_tensor *features, const md_tensor *weights,
                     const float *logits, md_target target, const unsigned *classes,
                     unsigned n_classes, float **ret_values, uint32_t *ret_rows,
                     uint32_t *ret_columns, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
