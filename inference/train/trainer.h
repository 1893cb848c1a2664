#ifndef MEDAID_INFERENCE_TRAIN_TRAINER_H
#define MEDAID_INFERENCE_TRAIN_TRAINER_H

/* Training of an ONNX network: forward in training mode, loss, backward.
 *
 * The network is any ONNX graph with one input [N,C,H,W] and logits [N,K] as its first output
 * (a Softmax or Sigmoid at the very end is left out: the losses work on logits). Every float
 * initialiser that a differentiable operator uses as its weight is a parameter; the running
 * mean and variance of BatchNormalization are buffers. What has a backward: Conv (groups,
 * depthwise), BatchNormalization, Relu, LeakyRelu, Clip, Sigmoid, Tanh, HardSigmoid, HardSwish,
 * Swish as x * Sigmoid(x), the step function x > 0 ? 1 : 0 (with the gradient of the straight-
 * through estimator of Bengio et al. 2013: 1 where |x| <= 1, else 0), Add and Mul (Mul
 * also by [N,C,1,1], as squeeze-and-excite needs it; both also with an initialiser of one
 * element for each channel, which is a parameter, or with one number, which stays), Sub and Div
 * by one number, Concat of channels, MaxPool, AveragePool, GlobalAveragePool, ReduceMean over H
 * and W, Flatten, Reshape, Gemm, MatMul, Dropout, Identity.
 * Everything else is MD_UNSUPPORTED, with the node and its operator.
 *
 * A text network has one int64 input [N,T] instead: tokens, 0 for the padding at the end of a
 * text. Training goes over the tokens that are there: padding costs nothing and changes
 * nothing. What has a backward (h [N,T,C] stands for a value of each token; docs/training.md
 * has the forms that are recognised): Gather from a table [V,C] by the tokens, addition of a
 * table [T,C] (positions), MatMul with a matrix and Add of a vector, Relu, LeakyRelu, Tanh,
 * Sigmoid, GELU written with Erf, Dropout, Add and Mul of two of them, LayerNormalization over
 * C; RNN, GRU (linear_before_reset) and LSTM in any direction, with sequence_lens counted from
 * the tokens and the default activations; scaled dot-product attention of several heads, masked
 * by the tokens; and pooling: softmax of one score of each token, masked, times h, to [N,C].
 * From there on it is like any other network.
 *
 * The result of each function is bitwise the same for the same calls on the same machine, back
 * end and number of threads. A trainer belongs to one thread at a time; it starts threads of
 * its own. */

#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_trainer md_trainer;

typedef enum md_loss {
    /* softmax cross-entropy, one class for each image (or shares that add up to 1) */
    MD_LOSS_CROSS_ENTROPY,
    /* logistic loss of each output by itself: several findings in one image */
    MD_LOSS_BINARY_CROSS_ENTROPY,
} md_loss;

enum {
    MD_TRAINER_MAX_BATCH = 4096,
    MD_TRAINER_MAX_CLASSES = 4096
};

typedef struct md_trainer_options {
    md_backend backend;
    unsigned n_threads; /* 0: all cores of the affinity mask */
    /* Activations and the weights' copies in bfloat16, everything that is summed up (weights,
     * their gradients, statistics) in float32. MD_UNSUPPORTED without avx512_bf16 and oneDNN */
    bool bf16;
    int64_t batch;         /* the most images or texts of a call, 1..MD_TRAINER_MAX_BATCH */
    int64_t height, width; /* pixels; 0: as the graph says, as for texts */
    md_loss loss;
    float label_smoothing; /* 0 <= e < 1: targets become (1 - e) t + e / K, of the binary loss
                              (1 - e) t + e / 2 */
    const float *class_weights; /* [K], > 0; NULL: all 1. Copied */
    unsigned n_class_weights;
    /* Of the cross-entropy: the group of each class, [K], 0..K-1, and the weight of the part
     * that tells the classes of a group apart. NULL: no groups. Copied */
    const unsigned *groups;
    unsigned n_groups;   /* K, or 0 */
    float within_weight; /* >= 0; 1 is the cross-entropy without groups */
    /* Prefixes of initialiser names: those parameters stay as they are, and their
     * BatchNormalization uses the running statistics and does not change them. Copied. A prefix
     * that no parameter has is MD_NOT_FOUND */
    const char *const *frozen;
    unsigned n_frozen;
    float
        bn_momentum;  /* share of the new batch in the running statistics, 0 < m <= 1; 0: 0.1 */
    size_t max_bytes; /* of memory for parameters and activations; 0: no limit. MD_LIMIT */
} md_trainer_options;

/* One initialiser. Arrays are row-major in the shape of the ONNX file, live as long as the
 * trainer and may be changed by the caller between calls. */
typedef struct md_parameter {
    const char *name;
    size_t n;
    unsigned n_dims;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    float *value;
    float *gradient; /* of the last step; NULL: a buffer (running mean, running variance) */
    bool decays;     /* a weight of Conv, Gemm, MatMul or a recurrent layer: no bias, scale or
                        table of tokens or positions */
    bool frozen;     /* the optimizer leaves it alone; its gradient is all 0 */
} md_parameter;

/* The ONNX bytes may be released afterwards. MD_FORMAT, MD_UNSUPPORTED, MD_LIMIT,
 * MD_INVALID_ARG (an option), MD_NOT_FOUND, MD_NOMEM. Caller destroys. */
md_status md_trainer_create(const uint8_t *onnx, size_t size_bytes,
                            const md_trainer_options *options, md_trainer **ret_trainer,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* NULL is fine. */
void md_trainer_destroy(md_trainer *trainer) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_trainer, md_trainer_destroy)

/* "onednn" or "openblas". */
const char *md_trainer_backend_name(const md_trainer *trainer) MD_NOEXCEPT;
/* [batch, C, H, W] of the input, of a text network [batch, 1, 1, T]; and K. */
void md_trainer_input_dims(const md_trainer *trainer, int64_t ret_dims[4]) MD_NOEXCEPT;
int64_t md_trainer_n_classes(const md_trainer *trainer) MD_NOEXCEPT;
unsigned md_trainer_n_threads(const md_trainer *trainer) MD_NOEXCEPT;
/* What the first step would do before it computes, for a whole batch: from then on
 * md_trainer_bytes is what steps take. MD_LIMIT, MD_NOMEM, MD_UNSUPPORTED. */
md_status md_trainer_prepare(md_trainer *trainer, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Memory that the trainer holds: parameters with gradients, activations, scratch. */
size_t md_trainer_bytes(const md_trainer *trainer) MD_NOEXCEPT;

/* In the order of the initialisers in the file. */
unsigned md_trainer_n_parameters(const md_trainer *trainer) MD_NOEXCEPT;
/* NULL when index is too large. Valid until destroy. */
const md_parameter *md_trainer_parameter(const md_trainer *trainer, unsigned index) MD_NOEXCEPT;

/* One batch forward and backward. images [n,C,H,W], 1 <= n <= batch; targets [n,K] 0..1 (of the
 * cross-entropy they add up to 1; NaN: not known, no loss there - of the cross-entropy for the
 * whole image); sample_weights [n] >= 0, NULL: all 1. seed decides what Dropout drops.
 *
 * With s sample weights, c class weights, t smoothed targets, z logits, the loss is
 *   cross-entropy: sum_i s_i sum_k c_k t_ik -log softmax(z_i)_k / sum_i s_i
 *   binary:        sum_ik s_i c_k (softplus(z_ik) - t_ik z_ik) / sum_ik s_i
 *   in groups:     sum_i s_i sum_k c_k t_ik (-log P_ig(k) - w log(softmax(z_i)_k / P_ig(k)))
 *                  / sum_i s_i
 *
 * over what is known (0 when nothing is).
 *
 * P_ig is the sum of the softmax over the classes of group g, w the within_weight: the
 * cross-entropy of the groups, and w times that of the classes within their groups.
 *
 * All gradients are set (not added to), and the running statistics move: r := (1 - m) r + m b
 * with the batch's mean and unbiased variance (Ioffe and Szegedy 2015). *ret_logits [n,K] is
 * borrowed until the next call.
 * MD_INVALID_ARG: n, or a target that is infinite or outside 0..1. A loss that is NaN or
 * infinite is no error here: the caller stops before it uses the gradients. */
md_status md_trainer_step(md_trainer *trainer, const float *images, int64_t n,
                          const float *targets, const float *sample_weights, uint64_t seed,
                          double *ret_loss, const float **ret_logits, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Logits [n,K] in evaluation mode: running statistics, no dropout, any n >= 1. values NULL: the
 * trainer's own; else one array for each parameter in their order (an average of weights). */
md_status md_trainer_infer(md_trainer *trainer, const float *images, int64_t n,
                           const float *const *values, float *ret_logits, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Whether the network reads tokens: then the two functions below take the place of
 * md_trainer_step and md_trainer_infer (the wrong ones are MD_INVALID_ARG), and
 * md_trainer_input_gradient and md_trainer_resize are MD_UNSUPPORTED. */
bool md_trainer_is_text(const md_trainer *trainer) MD_NOEXCEPT;
/* Of a text network V: tokens are 0..V-1; 0 of another. */
int64_t md_trainer_n_tokens(const md_trainer *trainer) MD_NOEXCEPT;
/* As md_trainer_step, for tokens [n,length], 1 <= length <= T, every text at the beginning of
 * its row and 0 behind it: rows shorter than T are as if they were padded. A text may be empty.
 * MD_INVALID_ARG also: a token outside 0..V-1, or one behind a 0. The gradient of a table of
 * tokens is 0 in the row of 0 and of every token that is not in the batch; who changes a
 * gradient sets it back before the next call. */
md_status md_trainer_step_tokens(md_trainer *trainer, const int64_t *tokens, int64_t n,
                                 int64_t length, const float *targets,
                                 const float *sample_weights, uint64_t seed, double *ret_loss,
                                 const float **ret_logits, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* As md_trainer_infer, for such tokens. */
md_status md_trainer_infer_tokens(md_trainer *trainer, const int64_t *tokens, int64_t n,
                                  int64_t length, const float *const *values, float *ret_logits,
                                  md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The loss of logits [n,K] as in md_trainer_step, without gradients: for validation. */
md_status md_trainer_loss(const md_trainer *trainer, const float *logits, int64_t n,
                          const float *targets, const float *sample_weights, double *ret_loss,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* sum_k d_logits[i,k] d z_ik / d image_i, [n,C,H,W], in evaluation mode; 1 <= n <= batch.
 * values as in md_trainer_infer. Parameters' gradients keep their content. *ret_gradient is
 * borrowed until the next call. */
md_status md_trainer_input_gradient(md_trainer *trainer, const float *images, int64_t n,
                                    const float *const *values, const float *d_logits,
                                    const float **ret_gradient, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Another picture size for the same parameters (progressive training). MD_INVALID_ARG when the
 * network does not take it (a fully connected layer of fixed width), MD_LIMIT; the trainer is
 * then as before. */
md_status md_trainer_resize(md_trainer *trainer, int64_t height, int64_t width, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The ONNX file that the trainer was made from, with these values: NULL for the trainer's own,
 * else as in md_trainer_infer. The graph stays as it was, BatchNormalization too. The same
 * values give the same bytes. Caller frees with md_free. */
md_status md_trainer_export(const md_trainer *trainer, const float *const *values,
                            uint8_t **ret_bytes, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
