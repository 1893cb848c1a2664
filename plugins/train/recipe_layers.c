#include "plugins/train/recipe_internal.h"

/* network.layers: each entry is one layer, named by the key that says its kind. */

#define AT(member_) MD_SCHEMA_AT(md_recipe_layer, member_)
#define HAS(member_) .has_offset = offsetof(md_recipe_layer, has.member_)
#define NUMBER(key_, least_, most_)                                                            \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_INT, AT(key_), .least = (least_), .most = (most_),     \
        HAS(key_)                                                                              \
    }
#define SWITCH(key_)                                                                           \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_BOOL, AT(key_), HAS(key_)                              \
    }
#define CHILDREN(key_)                                                                         \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_LIST, .offset = offsetof(md_recipe_layer, key_),       \
        .owned_bytes = sizeof(md_recipe_layer), .item = &md_recipe_layer_item, .least = 1,     \
        .max_items = MD_RECIPE_MAX_LAYERS, .n_offset = offsetof(md_recipe_layer, n_##key_),    \
        HAS(key_), .example = "[]"                                                             \
    }

enum {
    MAX_SIZE = 4096
};

static const md_schema_choice functions[] = {
    {"relu", 0},         {"relu6", 1},      {"sigmoid", 2}, {"tanh", 3},
    {"hard-sigmoid", 4}, {"hard-swish", 5}, {"step", 6},    {NULL, 0}};

static const md_schema_field layer_fields[] = {
    NUMBER(conv, 1, MAX_SIZE),
    SWITCH(batch_norm),
    {.key = "activation",
     .type = MD_SCHEMA_ENUM,
     AT(activation),
     .choices = functions,
     HAS(activation)},
    NUMBER(max_pool, 1, MAX_SIZE),
    NUMBER(average_pool, 1, MAX_SIZE),
    SWITCH(global_average_pool),
    SWITCH(flatten),
    NUMBER(fully_connected, 1, 65536),
    {.key = "dropout",
     .type = MD_SCHEMA_REAL,
     AT(dropout),
     .least = 0,
     .most = 0.99,
     HAS(dropout)},
    CHILDREN(residual),
    CHILDREN(dense),
    NUMBER(squeeze_excite, 1, MAX_SIZE),
    NUMBER(kernel, 1, MAX_SIZE),
    NUMBER(stride, 1, MAX_SIZE),
    NUMBER(padding, 0, MAX_SIZE),
    NUMBER(dilation, 1, MAX_SIZE),
    NUMBER(groups, 1, MAX_SIZE),
    SWITCH(depthwise),
    SWITCH(bias),
    {.key = NULL},
};
const md_schema_field md_recipe_layer_item = {.key = "layer",
                                              .type = MD_SCHEMA_MAP,
                                              .fields = layer_fields,
                                              .line_offset = offsetof(md_recipe_layer, line)};

md_status md_recipe_make_layers(md_recipe_network *network, const char *name, md_error *err)
{
    (void)name, (void)err;
    network->layers = NULL;
    return MD_OK;
}

void md_recipe_free_layers(md_recipe_network *network)
{
    network->layers = NULL;
}
