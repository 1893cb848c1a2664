#ifndef MEDAID_INFERENCE_TRAIN_OPTIMIZER_H
#define MEDAID_INFERENCE_TRAIN_OPTIMIZER_H

/* Gradient descent: clipping, weight decay, the step and the running average of the weights, in
 * one pass over memory (a second one before it where gradients are clipped).
 *
 * Every element is computed by itself and the norm is summed in blocks of fixed size, so that
 * the result does not depend on the number of threads. The parameters are borrowed until
 * destroy; an optimizer belongs to one thread at a time and starts threads of its own within
 * md_optimizer_update. */

#include "inference/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_optimizer md_optimizer;

typedef enum md_optimizer_kind {
    MD_OPTIMIZER_SGD,
    MD_OPTIMIZER_ADAM, /* Kingma and Ba 2015; with decoupled decay AdamW */
} md_optimizer_kind;

typedef struct md_optimizer_options {
    md_optimizer_kind kind;
    double momentum;     /* SGD, 0 <= m < 1; 0: none */
    bool nesterov;       /* SGD, needs momentum */
    double beta1, beta2; /* Adam; 0: 0.9 and 0.999 */
    double epsilon;      /* Adam; 0: 1e-8 */
    double weight_decay; /* >= 0, of parameters that decay */
    bool decoupled;      /* Loshchilov and Hutter 2019 instead of L2 in the gradient */
    double clip_norm;    /* the most that the norm of all gradients may be; 0: no limit */
    double average;      /* 0 <= a < 1, of the running average of the weights; 0: none */
    bool average_warmup; /* after update t the share is min(a, (1 + t) / (20 + t)) */
    unsigned n_threads;  /* 0: all cores of the affinity mask */
} md_optimizer_options;

/* The average starts as the present values. MD_INVALID_ARG (an option, or no parameter),
 * MD_NOMEM. Caller destroys. */
md_status md_optimizer_create(const md_parameter *const *parameters, unsigned n_parameters,
                              const md_optimizer_options *options, md_optimizer **ret_optimizer,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_optimizer_destroy(md_optimizer *optimizer) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_optimizer, md_optimizer_destroy)

/* One update with the parameters' gradients g, which are not changed. With r = rate, d = decay
 * (0 where the parameter does not), w the value, N = sqrt(sum g^2) over all that is not frozen:
 *
 *   clip       g := g min(1, clip_norm / (N + 1e-6))             (Pascanu et al. 2013)
 *   decay      L2: g := g + d w       decoupled: w := w - r d w
 *   SGD        v := m v + g (v := g at the first update), w := w - r v;
 *              nesterov: w := w - r (g + m v)                    (Sutskever et al. 2013)
 *   Adam       m := m + (1 - b1)(g - m), v := b2 v + (1 - b2) g^2,
 *              w := w - r / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
 *   average    e := e + (1 - a)(w - e), of buffers too
 *
 * as torch.optim's SGD, Adam and AdamW compute it, in float32. Frozen parameters and buffers
 * are not touched but averaged. *ret_norm is N before clipping (NULL allowed). MD_FORMAT when N
 * is NaN or infinite: nothing was changed then. */
md_status md_optimizer_update(md_optimizer *optimizer, double rate, double *ret_norm,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Updates so far. */
uint64_t md_optimizer_n_updates(const md_optimizer *optimizer) MD_NOEXCEPT;

/* One array for each parameter, buffers too, in their order: the running averages, or the
 * parameters' own values without an average. Valid until destroy, current after each update. */
const float *const *md_optimizer_average(const md_optimizer *optimizer) MD_NOEXCEPT;

/* Everything that the next update depends on besides values and gradients: the count, momenta
 * and averages. load wants the bytes of an optimizer with the same kind of options and the same
 * parameters (MD_FORMAT); nothing is changed on failure. */
size_t md_optimizer_state_bytes(const md_optimizer *optimizer) MD_NOEXCEPT;
void md_optimizer_save(const md_optimizer *optimizer, uint8_t *ret_bytes) MD_NOEXCEPT;
md_status md_optimizer_load(md_optimizer *optimizer, const uint8_t *bytes, size_t size_bytes,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
