#ifndef MEDAID_INFERENCE_TRAIN_TRAINER_PRIVATE_H
#define MEDAID_INFERENCE_TRAIN_TRAINER_PRIVATE_H

/* What the files of the trainer share.
 *
 * A network is a list of layers over features. A feature is what flows between layers: for each
 * image h x w positions of c channels, channels last ("NHWC"), so that every loop that is not a
 * convolution runs along memory, and no layout of oneDNN's has padding that could grow a
 * gradient. A layer is a row of a table {prepare, forward, backward, release} with its
 * parameters; the back ends differ in the layers that multiply matrices alone. */

#include "inference/backend/backend.h"
#include "inference/train/kernels.h"
#include "inference/train/kernels_text.h"
#include "inference/train/team.h"
#include "inference/train/texts.h"
#include "inference/train/trainer.h"

enum {
    MD_NO_PARAMETER = -1,
    MD_LAYER_MAX_PARAMETERS = 4
};

typedef struct md_feature {
    const char *name; /* in the ONNX file, for messages */
    int64_t c, h, w;
    size_t n_per_image;
    bool bf16;      /* elements are bfloat16, else float */
    bool tokens;    /* a row of c for each token of the batch, in the order of md_texts, and not
                       h x w positions of each image; w is T */
    bool shared;    /* read under another name too: no layer may draw its reader in */
    bool trainable; /* its gradient moves a parameter */
    int producer;   /* layer; -1: the network's input */
    int n_readers;
    void *data, *gradient; /* in the arena, n_per_image elements for each image */
    bool has_gradient;     /* while a backward runs: something was written */
} md_feature;

struct md_train_layer_kind;

typedef struct md_train_layer {
    const struct md_train_layer_kind *kind;
    md_node node; /* name, operator and opset for messages; p: the parameters of the graph */
    unsigned n_inputs;
    int *inputs; /* features */
    int output;
    int parameters[MD_LAYER_MAX_PARAMETERS]; /* of the trainer; MD_NO_PARAMETER: absent */
    md_clamp clamp;                          /* Relu or Clip that was drawn in */
    bool clamped;
    bool residual;   /* normalisation: the last input is added before the clamp */
    bool running;    /* normalisation: running statistics, they stay (frozen) */
    int64_t n_heads; /* self-attention */
    unsigned index;  /* in the list */
    float scalar;    /* of scale and shift layers without a parameter */
    /* from forward to backward */
    float *saved;      /* normalisation: mean [c], 1 / deviation [c] */
    size_t kept_bytes; /* for each image; memory in the arena */
    void *kept;
    size_t scratch_bytes; /* during a call, for the planned number of images */
    void *state;          /* of the back end */
} md_train_layer;

typedef struct md_net {
    md_pool pool;
    md_feature *features;
    md_train_layer *layers;
    int n_features;
    unsigned n_layers, capacity;
    int input, output; /* features */
    int64_t batch, height, width;
    uint8_t *arena;
    size_t arena_bytes;
    int64_t planned; /* images for which the layers are prepared; 0: none */
    bool by_steps;   /* text: a recurrent layer wants the tokens in the order of steps */
} md_net;

struct md_trainer {
    uint8_t *onnx; /* as it was given */
    size_t onnx_bytes;
    md_backend_options backend_options;
    const md_backend_api *api;
    void *backend_state;        /* sets the threads of its library */
    struct md_dnnl_train *dnnl; /* NULL: OpenBLAS */
    md_team *team;
    const md_train_kernels *kernels[2]; /* of float, of bfloat16 */
    const md_text_kernels *text_kernels;
    md_texts texts; /* of a text network */
    bool bf16;
    md_pool pool; /* names and arrays of the parameters */
    md_parameter *parameters;
    const float **values; /* what the forward reads: own or the caller's */
    unsigned n_parameters;
    bool *wrote; /* for each parameter: this backward wrote its gradient */
    md_net *net;
    int64_t batch, n_channels, n_classes;
    md_loss loss;
    float label_smoothing, bn_momentum;
    float *class_weights;
    unsigned *groups; /* of each class; NULL: no groups */
    float within_weight;
    double *group_sums; /* scratch of the loss, [4, K] */
    const char **frozen;
    unsigned n_frozen;
    size_t max_bytes, parameter_bytes;
    void *scratch;
    size_t scratch_bytes;
    float *logits, *d_logits; /* [batch, K] */
    float *input_gradient;    /* [batch, C, H, W], made when it is first asked for */
    size_t input_gradient_bytes;
    float *shared_gradient; /* for parameters that several layers use */
    /* of the call that runs */
    int64_t n;     /* images */
    bool training; /* batch statistics, dropout, gradients of parameters */
    uint64_t seed;
};

typedef struct md_train_layer_kind {
    const char *name;
    bool needs_inputs, needs_output; /* in backward */
    /* Make what depends on the number of images, t->n; NULL: nothing. Sets scratch_bytes. */
    md_status (*prepare)(md_trainer *t, md_train_layer *layer, md_error *err);
    md_status (*forward)(md_trainer *t, md_train_layer *layer, md_error *err);
    /* The output's gradient is there; writes those of inputs and of parameters. */
    md_status (*backward)(md_trainer *t, md_train_layer *layer, md_error *err);
    void (*release)(md_train_layer *layer); /* state; NULL: there is none */
} md_train_layer_kind;

static inline md_feature *md_train_layer_in(const md_trainer *t, const md_train_layer *layer,
                                            unsigned i)
{
    return &t->net->features[layer->inputs[i]];
}

static inline md_feature *md_train_layer_out(const md_trainer *t, const md_train_layer *layer)
{
    return &t->net->features[layer->output];
}

static inline const md_train_kernels *md_kernels_of(const md_trainer *t, const md_feature *f)
{
    return t->kernels[f->bf16 ? 1 : 0];
}

static inline size_t md_feature_element_bytes(const md_feature *f)
{
    return f->bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* Positions of all images of the call, or its tokens. */
static inline size_t md_feature_rows(const md_trainer *t, const md_feature *f)
{
    return f->tokens ? t->texts.n_rows : (size_t)(t->n * f->h * f->w);
}

/* Whether a gradient of the feature is wanted, and whether writing it adds; marks it written.
 * Call once for each write. */
bool md_wants_gradient(const md_trainer *t, const md_feature *f);
md_write md_gradient_write(md_feature *f);

/* The parameter's value in this call; NULL when absent. */
const float *md_train_layer_value(const md_trainer *t, const md_train_layer *layer, unsigned i);
/* Whether the backward shall make its gradient. */
bool md_wants_parameter(const md_trainer *t, const md_train_layer *layer, unsigned i);
/* Where it writes the gradient; md_parameter_done afterwards. */
float *md_parameter_gradient(md_trainer *t, const md_train_layer *layer, unsigned i);
void md_parameter_done(md_trainer *t, const md_train_layer *layer, unsigned i);

/* work(data, begin, end, part) over rows 0..n, cut at the same places each time. */
typedef void (*md_rows_fn)(void *data, size_t begin, size_t end, unsigned part);
void md_over_rows(md_trainer *t, size_t n, md_rows_fn work, void *data);

/* The output's gradient, 0 where the layer's clamp let nothing through. */
void md_mask_gradient(md_trainer *t, md_train_layer *layer);
/* ret_sum[c] = sum of x, or of x times weights (same shape as the feature), over all images and
 * positions. Uses the scratch memory: threads * c * (8 + 4) bytes. */
void md_sum_over_rows(md_trainer *t, const md_feature *f, const void *x, const void *weights,
                      float *ret_sum);

/* The same of rows [rows,width] of float that are no feature. Scratch: from `scratch` on. */
void md_sum_floats(md_trainer *t, const float *x, size_t rows, size_t width, void *scratch,
                   float *ret_sum);
/* c [m,n] = alpha op(a) op(b) + beta c as cblas_sgemm, on all threads; m, n or k may be 0. Not
 * inside md_over_rows. (gemm.c) */
void md_train_gemm(md_trainer *t, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                   int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float beta, float *c, int64_t ldc);

/* The same on the calling thread, inside md_over_rows; m, n, k >= 1. */
void md_thread_gemm(md_trainer *t, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                    int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc);
/* What a recurrent layer keeps of each text of `length` tokens. (layer_recurrent.c) */
size_t md_recurrent_kept_bytes(const md_rnn_params *p, int64_t length);

/* Build the layers of the ONNX file for pictures of that size (0: the file's); the first call
 * makes the parameters too. Caller destroys. (build.c) */
md_status md_net_create(md_trainer *t, int64_t height, int64_t width, md_net **ret_net,
                        md_error *err);
void md_net_destroy(md_net *net);
MD_DEFINE_DESTROYP(md_net, md_net_destroy)
/* Give features and layers their memory, which net_create does not (arena.c). MD_LIMIT beyond
 * max_bytes. */
md_status md_net_place(md_trainer *t, md_net *net, md_error *err);
/* MD_LIMIT, in pictures or texts, when `needed` is beyond max_bytes. (arena.c) */
md_status md_net_check_bytes(const md_trainer *t, const md_net *net, size_t needed,
                             md_error *err);

/* The rows of the table. */
extern const md_train_layer_kind md_train_layer_norm, md_train_layer_unary, md_train_layer_add,
    md_train_layer_multiply, md_train_layer_gate, md_train_layer_scale, md_train_layer_concat,
    md_train_layer_max_pool, md_train_layer_mean_pool, md_train_layer_global_mean,
    md_train_layer_flatten, md_train_layer_convert, md_train_layer_dropout,
    md_train_layer_linear, md_train_layer_conv_blas;
/* Of text networks: layer_embedding.c, layer_rows.c, layer_recurrent.c, layer_attention.c. */
extern const md_train_layer_kind md_train_layer_embedding, md_train_layer_position,
    md_train_layer_layer_norm, md_train_layer_curve, md_train_layer_recurrent,
    md_train_layer_attention, md_train_layer_token_pool;
#ifdef MEDAID_HAVE_ONEDNN
extern const md_train_layer_kind md_train_layer_conv_dnnl;
md_status md_dnnl_train_create(struct md_dnnl_train **ret, md_error *err);
void md_dnnl_train_destroy(struct md_dnnl_train *d);
#endif

/* Loss over what is known and, d_logits not NULL, its gradient (loss.c). */
md_status md_loss_compute(const md_trainer *t, const float *logits, int64_t n,
                          const float *targets, const float *sample_weights, double *ret_loss,
                          float *d_logits, md_error *err);

#endif
