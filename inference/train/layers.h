#ifndef MEDAID_INFERENCE_TRAIN_LAYERS_H
#define MEDAID_INFERENCE_TRAIN_LAYERS_H

/* What networks are put together from: each function writes one layer behind a map and gives
 * the map that it makes. Errors stay in the writer, so that a network reads as a list. */

#include "inference/graph/writer.h"
#include "inference/train/architecture.h"
#include "inference/train/start.h"

enum {
    MD_LAYERS_NAME_BYTES = 96
};

typedef struct md_layers {
    md_writer *writer;
    uint64_t seed;
    unsigned n_drawn; /* weights drawn so far: each has a random stream of its own */
    double width;
    bool has_zero; /* the constant of the step function is there */
} md_layers;

/* A value of the network, without its first axis: [c,h,w], or [c] when flat. */
typedef struct md_map {
    char name[MD_LAYERS_NAME_BYTES];
    int64_t c, h, w;
    bool flat;
} md_map;

/* n times the width, as a multiple of 8 where the width is not 1. */
int64_t md_layers_scaled(const md_layers *layers, int64_t n);
/* "a.b" */
const char *md_layers_join(char ret_name[MD_LAYERS_NAME_BYTES], const char *a, const char *b);

typedef struct md_conv_layer {
    int64_t n, kernel, stride, padding, dilation, groups;
    bool bias;
    md_start start;
} md_conv_layer;

/* [c,h,w] -> [n,h',w'], h' = (h + 2 padding - dilation (kernel - 1) - 1) / stride + 1; weights
 * NAME.weight [n,c/groups,kernel,kernel] and NAME.bias. */
md_map md_layers_conv(md_layers *layers, const md_map *x, const char *name,
                      const md_conv_layer *conv);
/* NAME.weight, .bias, .running_mean and .running_var [c]. scale: what the weight starts as. */
md_map md_layers_batch_norm(md_layers *layers, const md_map *x, const char *name, float scale);
md_map md_layers_activation(md_layers *layers, const md_map *x, const char *name,
                            md_layer_function function);
md_map md_layers_pool(md_layers *layers, const md_map *x, const char *name, bool average,
                      int64_t size, int64_t stride, int64_t padding);
md_map md_layers_global_average(md_layers *layers, const md_map *x, const char *name);
md_map md_layers_flatten(md_layers *layers, const md_map *x, const char *name);
/* [c] -> [n]; flattens first. */
md_map md_layers_fully_connected(md_layers *layers, const md_map *x, const char *name,
                                 int64_t n, md_start start);
md_map md_layers_dropout(md_layers *layers, const md_map *x, const char *name, double rate);
md_map md_layers_add(md_layers *layers, const md_map *a, const md_map *b, const char *name);
md_map md_layers_concat(md_layers *layers, const md_map *a, const md_map *b, const char *name);
md_map md_layers_squeeze_excite(md_layers *layers, const md_map *x, const char *name,
                                int64_t divisor);

/* A named network from the image to the logits (named.c). MD_NOT_FOUND. */
md_status md_named_write(md_layers *layers, const md_architecture *architecture,
                         const md_map *image, md_error *err) MD_NODISCARD;

#endif
