#ifndef MEDAID_INFERENCE_SALIENCY_H
#define MEDAID_INFERENCE_SALIENCY_H

/* Where a network looked, for any network whose operators have a backward pass
 * (inference/train/trainer.h), beside the closed forms of gradcam.h.
 *
 * All methods explain the same number, the log-odds t of a finding's classes (md_log_odds at
 * temperature 1). An explainer holds a copy of the weights and computes in float32. The same
 * calls give the same bits on the same machine, back end and number of threads. One thread at a
 * time. */

#include "inference/calibrate.h"
#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_saliency_method {
    MD_SALIENCY_GRAD_CAM,             /* Selvaraju et al. 2017 */
    MD_SALIENCY_GRAD_CAM_PLUS_PLUS,   /* Chattopadhay et al. 2018 */
    MD_SALIENCY_INTEGRATED_GRADIENTS, /* Sundararajan, Taly and Yan 2017 */
    MD_SALIENCY_SMOOTH_GRAD           /* Smilkov et al. 2017 */
} md_saliency_method;

/* The method weighs a feature map by gradients; the others look at the input's pixels. */
static inline bool md_saliency_uses_features(md_saliency_method method)
{
    return method == MD_SALIENCY_GRAD_CAM || method == MD_SALIENCY_GRAD_CAM_PLUS_PLUS;
}

/* As in model.yaml: "grad-cam", "grad-cam++", "integrated-gradients", "smooth-grad". */
const char *md_saliency_method_name(md_saliency_method method) MD_NOEXCEPT;

enum {
    MD_SALIENCY_MIN_STEPS = 8,
    MD_SALIENCY_MAX_STEPS = 512,
    MD_SALIENCY_MIN_SAMPLES = 4,
    MD_SALIENCY_MAX_SAMPLES = 256,
    MD_SALIENCY_MAX_CELL = 64
};

typedef struct md_saliency_options {
    md_saliency_method method;
    const char *output; /* the logits [1,K]; may be an inner tensor */
    /* Methods of features: the tensor and its dims [1,C,h,w] */
    const char *features;
    int64_t feature_dims[4];
    md_backend backend;
    unsigned n_threads; /* as in md_network_options */
    unsigned steps;     /* of integrated gradients, MD_SALIENCY_MIN_STEPS..MAX_STEPS */
    float baseline[3];  /* of integrated gradients: the network's input where nothing is, for
                           each channel */
    unsigned samples;   /* of SmoothGrad, MD_SALIENCY_MIN_SAMPLES..MAX_SAMPLES */
    double noise;  /* of SmoothGrad: standard deviation over the input's range, 0.01..0.5 */
    uint64_t seed; /* of SmoothGrad */
    unsigned cell; /* methods of pixels: the map has one value for cell x cell pixels,
                      1..MD_SALIENCY_MAX_CELL, a divisor of height and width */
} md_saliency_options;

typedef struct md_explainer md_explainer;

/* onnx: the network's file, not needed afterwards. MD_UNSUPPORTED names the node and operator
 * that has no backward pass, or says that the output depends on more than the features;
 * MD_INVALID_ARG for options out of range; MD_NOT_FOUND for a tensor; MD_FORMAT, MD_LIMIT,
 * MD_NOMEM. Caller destroys. */
md_status md_explainer_create(const uint8_t *onnx, size_t size_bytes,
                              const md_saliency_options *options, md_explainer **ret_explainer,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_explainer_destroy(md_explainer *explainer) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_explainer, md_explainer_destroy)

/* What the explainer's own forward pass gives for `from` (features for methods of features,
 * else the network's input), float32 of the shape that it was made for: borrowed until the next
 * call, *ret_n values. To compare with the network that serves. */
md_status md_explainer_logits(md_explainer *explainer, const md_tensor *from,
                              const float **ret_logits, size_t *ret_n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* dt/d from, the whole tensor: with Grad-CAM and Grad-CAM++ of the features, with integrated
 * gradients the attributions
 *   (x_i - b_i) 1/n sum_{k=0..n-1} dt/dx_i (b + (k + 1/2)/n (x - b))        (their eq. 1 and 3,
 *   the integral by the midpoint rule): their sum is t(x) - t(b), completeness,
 * with SmoothGrad the mean of dt/dx over `samples` inputs x + N(0, (noise (max x - min x))^2)
 * (their section 2.2). *ret_values [from->n_elements] is borrowed until the next call.
 * MD_INVALID_ARG for a shape that does not fit or as md_log_odds, MD_FORMAT when something is
 * not finite. */
md_status md_explainer_gradient(md_explainer *explainer, const md_tensor *from,
                                md_target target, const unsigned *classes, unsigned n_classes,
                                const float **ret_values, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The map of it, row by row, 0..1, its largest exactly 1, all 0 where nothing speaks for the
 * finding; caller frees *ret_values with md_free.
 *   Grad-CAM, Grad-CAM++: md_cam_map of the features.
 *   Integrated gradients: of each cell the sum of the attributions, below 0 counts as 0.
 *   SmoothGrad: of each cell the sum of the gradients' absolute values, over all channels.
 * The last two are cut at their 99th percentile (Smilkov et al. 2017, section 3.2), over which
 * single pixels would leave everything else dark. */
md_status md_explainer_map(md_explainer *explainer, const md_tensor *from, md_target target,
                           const unsigned *classes, unsigned n_classes, float **ret_values,
                           uint32_t *ret_rows, uint32_t *ret_columns, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
