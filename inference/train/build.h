#ifndef MEDAID_INFERENCE_TRAIN_BUILD_H
#define MEDAID_INFERENCE_TRAIN_BUILD_H

/* From the graph to layers: what build.c (parameters, features) and build_node.c (one operator
 * after another) share. */

#include "inference/train/trainer_private.h"

enum {
    MD_NO_FEATURE = -1
};

typedef enum md_role {
    MD_ROLE_WEIGHT, /* weight decay is for these */
    MD_ROLE_OFFSET, /* biases and scales */
    MD_ROLE_BUFFER  /* running statistics */
} md_role;

typedef struct md_use {
    bool initializer;
    unsigned n; /* layers that use it */
    md_role role;
    int number; /* of the parameter */
} md_use;

typedef struct md_build {
    md_trainer *trainer;
    md_net *net;
    md_graph graph;
    md_pool pool;
    int *features; /* for each value of the graph; MD_NO_FEATURE: none */
    int *steps;    /* for each value that is `feature > threshold`: that feature */
    float *thresholds;
    unsigned *readers;
    md_use *uses;
    bool *needed; /* for each node */
    int logits;   /* value */
} md_build;

/* Append the layer of one node. MD_UNSUPPORTED names it. */
md_status md_build_node(md_build *b, const md_node *node, md_error *err);

/* The feature that the node's operand is. MD_UNSUPPORTED when it is none. */
md_status md_build_feature(const md_build *b, const md_node *node, unsigned i, int *ret_feature,
                           md_error *err);
/* A new layer with `value` as its output, which becomes a feature. */
md_status md_build_layer(md_build *b, const md_train_layer_kind *kind, const md_node *node,
                         const int *inputs, unsigned n_inputs, int value,
                         md_train_layer **ret_layer, md_error *err);
/* *feature as float or as bfloat16: itself, or by a new layer. */
md_status md_build_as(md_build *b, const md_node *node, bool bf16, int *feature, md_error *err);
/* The node's operand i, when it has one, is parameter `slot` of the layer. MD_UNSUPPORTED when
 * it is no initializer. */
md_status md_build_parameter(md_build *b, md_train_layer *layer, const md_node *node,
                             unsigned i, unsigned slot, md_role role, md_error *err);

#endif
