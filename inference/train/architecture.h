#ifndef MEDAID_INFERENCE_TRAIN_ARCHITECTURE_H
#define MEDAID_INFERENCE_TRAIN_ARCHITECTURE_H

/* Networks to train, by name or layer by layer, as ONNX bytes with seeded initial weights.
 *
 * Input `image` [N,C,H,W], output `logits` [N,K]. A network that ends in feature maps, global
 * average pooling and one fully connected layer calls the maps `features`, so that Grad-CAM has
 * its closed form (md_network_linear_head). Batch normalisation and dropout stand in the graph
 * as such. The same description gives the same bytes on every machine. Any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_ARCHITECTURE_MAX_LAYERS = 4096, /* those inside residual blocks too */
    MD_ARCHITECTURE_MAX_DEPTH = 8,     /* of residual blocks in residual blocks */
    MD_ARCHITECTURE_MAX_SIZE = 4096,   /* of an image side, a number of channels, a kernel */
    MD_ARCHITECTURE_MAX_CHANNELS = 65536,
};

typedef enum md_layer_kind {
    MD_LAYER_CONV,
    MD_LAYER_BATCH_NORM,
    MD_LAYER_ACTIVATION,
    MD_LAYER_MAX_POOL,
    MD_LAYER_AVERAGE_POOL,
    MD_LAYER_GLOBAL_AVERAGE_POOL, /* and flatten */
    MD_LAYER_FLATTEN,
    MD_LAYER_FULLY_CONNECTED, /* flattens first where needed */
    MD_LAYER_DROPOUT,
    MD_LAYER_RESIDUAL,       /* x + children(x), with a projection of x where shapes differ */
    MD_LAYER_DENSE,          /* channels of x, then those of children(x) */
    MD_LAYER_SQUEEZE_EXCITE, /* x times a gate for each channel (Hu, Shen and Sun 2018) */
} md_layer_kind;

typedef enum md_layer_function {
    MD_LAYER_FUNCTION_DEFAULT, /* ReLU; of lenet tanh */
    MD_LAYER_RELU,
    MD_LAYER_RELU6,
    MD_LAYER_SIGMOID,
    MD_LAYER_TANH,
    MD_LAYER_HARD_SIGMOID, /* max(0, min(1, x/6 + 1/2)) */
    MD_LAYER_HARD_SWISH,
    MD_LAYER_STEP, /* x > 0 ? 1 : 0, trained with a straight-through estimator */
} md_layer_function;

enum {
    MD_LAYER_PADDING_SAME = -1, /* of an odd window: the size stays at stride 1 */
    MD_LAYER_DEPTHWISE = -1,    /* as many groups as channels come in */
};

/* One layer. Numbers that the kind does not use are ignored. */
typedef struct md_layer {
    md_layer_kind kind;
    int64_t n;        /* conv: channels; fully connected: units; pools: the window's side;
                         squeeze-excite: what the channels are divided by (0: 4) */
    int64_t kernel;   /* conv: the window's side (0: 3) */
    int64_t stride;   /* conv (0: 1); pools (0: n) */
    int64_t padding;  /* conv, pools: on each side, or MD_LAYER_PADDING_SAME */
    int64_t dilation; /* conv (0: 1) */
    int64_t groups;   /* conv (0: 1), or MD_LAYER_DEPTHWISE */
    bool bias;        /* conv; a fully connected layer always has one */
    md_layer_function function;      /* activation */
    double rate;                     /* dropout, 0 <= rate < 1 */
    const struct md_layer *children; /* residual, dense */
    unsigned n_children;
    unsigned line; /* of the recipe, for messages; 0: not known */
} md_layer;

typedef struct md_architecture {
    const char *name;       /* of md_architecture_name, or NULL: the layers */
    const md_layer *layers; /* borrowed for the call */
    unsigned n_layers;
    double width; /* numbers of channels and hidden units are multiplied with it, and then
                     rounded to multiples of 8 (Sandler et al. 2018); 0: 1 */
    int64_t n_channels, image_height, image_width;
    int64_t n_classes;
    double dropout; /* of a named network, before its last layer; negative: the network's own */
    md_layer_function function; /* of classic-cnn and lenet */
    uint64_t seed;
} md_architecture;

/* The names, NULL beyond the last: classic-cnn, lenet, vgg, resnet18, ... */
const char *md_architecture_name(unsigned index) MD_NOEXCEPT;

/* Write the network. The last layer of a list is fully connected with n_classes units (or n 0).
 * Weights start as He et al. 2015 say (normal, variance 2 / fan-in), before sigmoid, tanh and
 * step, and in the last layer, as Glorot and Bengio 2010 do (uniform). MD_INVALID_ARG names the
 * layer and what is wrong ("line 12, layer 3 (max_pool): ..."); MD_NOT_FOUND for a name that is
 * none; MD_LIMIT. Caller frees *ret_onnx with md_free. */
md_status md_architecture_write(const md_architecture *architecture, uint8_t **ret_onnx,
                                size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
