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

/* What a value of a text network is. Its axes are letters: N texts, T tokens, C what a token
 * has; C may be G groups (heads, directions) of D; S is a second axis of tokens, 1 a length. So
 * transposing and reshaping is no work, only another view. */
typedef enum md_view_kind {
    MD_VIEW_NONE,
    MD_VIEW_TOKENS,
    MD_VIEW_MASK,    /* 1 where a token is */
    MD_VIEW_LENGTHS, /* of the texts */
    MD_VIEW_FEATURE, /* b->features has it */
    MD_VIEW_SCORES, /* q k^T [N,G,T,S], or of a masked feature of one channel, before softmax */
    MD_VIEW_SHARES  /* and after it */
} md_view_kind;

typedef struct md_view {
    md_view_kind kind;
    char axes[MD_TENSOR_MAX_DIMS + 1];
    /* of scores and shares */
    int query, key; /* features; of pooling the scores and MD_NO_FEATURE */
    float scale;
    bool masked; /* scores: of padding lowest; shares: times the mask, 0 in an empty text too */
} md_view;

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
    /* of a text network: for each value; and for each node that ends a GELU its input, for
     * those within one MD_WITHIN_GELU, else MD_NO_GELU */
    md_view *views;
    int *gelus;
    bool has_recurrent, has_attention, one_direction;
} md_build;

enum {
    MD_NO_GELU = -1,
    MD_WITHIN_GELU = -2
};

/* Views of a text network's input and whatever has to be found before the nodes are built. */
md_status md_build_text_start(md_build *b, md_error *err);
/* md_build_node of a text network. */
md_status md_build_text_node(md_build *b, unsigned number, md_error *err);
/* How rows are ordered, and memory for them. */
md_status md_build_text_finish(md_build *b, md_error *err);

/* Append the layer of one node. MD_UNSUPPORTED names it. */
md_status md_build_node(md_build *b, const md_node *node, md_error *err);

/* The feature that the node's operand is. MD_UNSUPPORTED when it is none. */
md_status md_build_feature(const md_build *b, const md_node *node, unsigned i, int *ret_feature,
                           md_error *err);
/* A new layer with `value` as its output, which becomes a feature. */
md_status md_build_layer(md_build *b, const md_train_layer_kind *kind, const md_node *node,
                         const int *inputs, unsigned n_inputs, int value,
                         md_train_layer **ret_layer, md_error *err);
/* The same of a value that has a row of c for each token. */
md_status md_build_token_layer(md_build *b, const md_train_layer_kind *kind,
                               const md_node *node, const int *inputs, unsigned n_inputs,
                               int value, int64_t c, md_train_layer **ret_layer, md_error *err);
/* The clamp of Relu or Clip becomes part of the layer that makes operand 0; false: it cannot.
 */
bool md_build_draw_in(md_build *b, const md_node *node, const md_clamp *clamp);
/* The layer that makes operand i, when nobody else reads it. */
md_train_layer *md_build_only_reader(const md_build *b, const md_node *node, unsigned i);
/* One number; false when the value is none that the file fixes. */
bool md_build_scalar(const md_build *b, int value, float *ret);
/* *feature as float or as bfloat16: itself, or by a new layer. */
md_status md_build_as(md_build *b, const md_node *node, bool bf16, int *feature, md_error *err);
/* The node's operand i, when it has one, is parameter `slot` of the layer. MD_UNSUPPORTED when
 * it is no initializer. */
md_status md_build_parameter(md_build *b, md_train_layer *layer, const md_node *node,
                             unsigned i, unsigned slot, md_role role, md_error *err);

#endif
