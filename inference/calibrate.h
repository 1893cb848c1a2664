#ifndef MEDAID_INFERENCE_CALIBRATE_H
#define MEDAID_INFERENCE_CALIBRATE_H

/* From a classifier's output to a score, as docs/model-package.md, "Scores", defines it. All
 * work is done on log-odds in double precision, so that no score overflows, and none becomes
 * exactly 0 or 1 before its last rounding. Pure functions; any thread. */

#include "base/error.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CALIBRATE_MAX_CLASSES = 4096
};

typedef enum md_target {
    MD_TARGET_SOFTMAX, /* log-odds of a set of classes: log sum_S e^z - log sum_notS e^z */
    MD_TARGET_SIGMOID, /* one class: its logit is the log-odds */
    MD_TARGET_SCORE,   /* one class: the output is a probability in 0..1 already */
} md_target;

/* The log-odds of `classes` (indices into outputs, each once) at a temperature: outputs are
 * divided by it first (softmax, sigmoid). May be infinite for MD_TARGET_SCORE of exactly 0 or
 * 1, never NaN. MD_FORMAT when an output is NaN or infinite, or a score is not in 0..1;
 * MD_INVALID_ARG for classes out of range or twice, none or (softmax) all of them, several for
 * sigmoid or score, a temperature that is not above 0, or n above MD_CALIBRATE_MAX_CLASSES. */
md_status md_log_odds(md_target target, const float *outputs, size_t n, const unsigned *classes,
                      unsigned n_classes, double temperature, double *ret_log_odds,
                      md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Its derivative by each of the n outputs, at temperature 1:
 *   softmax: e^z_k / sum_S e^z for k in S, -e^z_k / sum_notS e^z otherwise
 *   sigmoid: 1 for the class, 0 otherwise
 * Errors as md_log_odds; MD_TARGET_SCORE is MD_INVALID_ARG. */
md_status md_log_odds_gradient(md_target target, const float *outputs, size_t n,
                               const unsigned *classes, unsigned n_classes,
                               double *ret_gradient, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* 1 / (1 + e^-x), without overflow. */
double md_sigmoid(double log_odds) MD_NOEXCEPT;

/* sigmoid(a x + b) (Platt 1999, eq. 1 with the sign of a turned round), for infinite x its
 * limit; with a = 0 it is sigmoid(b) for every x. MD_INVALID_ARG for x NaN, a or b not finite.
 */
md_status md_platt(double log_odds, double a, double b, double *ret_score, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
