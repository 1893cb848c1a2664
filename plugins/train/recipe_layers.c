#include "inference/train/architecture.h"
#include "plugins/train/recipe_internal.h"

#include <stdio.h>

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

const md_schema_choice md_recipe_functions[] = {{"default", MD_LAYER_FUNCTION_DEFAULT},
                                                {"relu", MD_LAYER_RELU},
                                                {"relu6", MD_LAYER_RELU6},
                                                {"sigmoid", MD_LAYER_SIGMOID},
                                                {"tanh", MD_LAYER_TANH},
                                                {"hard-sigmoid", MD_LAYER_HARD_SIGMOID},
                                                {"hard-swish", MD_LAYER_HARD_SWISH},
                                                {"step", MD_LAYER_STEP},
                                                {NULL, 0}};

static const md_schema_field layer_fields[] = {
    NUMBER(conv, 1, MAX_SIZE),
    SWITCH(batch_norm),
    {.key = "activation",
     .type = MD_SCHEMA_ENUM,
     AT(activation),
     .choices = md_recipe_functions,
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

/* The kind of an entry; false when it has none or several. */
static bool kind_of(const md_recipe_layer *l, md_layer_kind *ret_kind, const char **ret_word)
{
    const struct {
        bool has;
        md_layer_kind kind;
        const char *word;
    } kinds[] = {
        {l->has.conv, MD_LAYER_CONV, "conv"},
        {l->has.batch_norm, MD_LAYER_BATCH_NORM, "batch_norm"},
        {l->has.activation, MD_LAYER_ACTIVATION, "activation"},
        {l->has.max_pool, MD_LAYER_MAX_POOL, "max_pool"},
        {l->has.average_pool, MD_LAYER_AVERAGE_POOL, "average_pool"},
        {l->has.global_average_pool, MD_LAYER_GLOBAL_AVERAGE_POOL, "global_average_pool"},
        {l->has.flatten, MD_LAYER_FLATTEN, "flatten"},
        {l->has.fully_connected, MD_LAYER_FULLY_CONNECTED, "fully_connected"},
        {l->has.dropout, MD_LAYER_DROPOUT, "dropout"},
        {l->has.residual, MD_LAYER_RESIDUAL, "residual"},
        {l->has.dense, MD_LAYER_DENSE, "dense"},
        {l->has.squeeze_excite, MD_LAYER_SQUEEZE_EXCITE, "squeeze_excite"},
    };
    unsigned n = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].has) {
            *ret_kind = kinds[i].kind;
            *ret_word = kinds[i].word;
            n++;
        }
    }
    return n == 1;
}

static md_status check_entry(const md_recipe_layer *l, const char *name,
                             md_layer_kind *ret_kind, md_error *err)
{
    const char *word = "";
    if (!kind_of(l, ret_kind, &word)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'network.layers': expected exactly one of conv, batch_norm, "
                       "activation, max_pool, average_pool, global_average_pool, flatten, "
                       "fully_connected, dropout, residual, dense, squeeze_excite",
                       name, l->line);
    }
    const bool conv = l->has.conv, pool = l->has.max_pool || l->has.average_pool;
    const char *stray = l->has.kernel && !conv             ? "kernel"
                        : l->has.dilation && !conv         ? "dilation"
                        : l->has.groups && !conv           ? "groups"
                        : l->has.depthwise && !conv        ? "depthwise"
                        : l->has.bias && !conv             ? "bias"
                        : l->has.stride && !conv && !pool  ? "stride"
                        : l->has.padding && !conv && !pool ? "padding"
                        : l->depthwise && l->has.groups    ? "groups beside depthwise"
                                                           : NULL;
    if (stray != NULL) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'network.layers': %s does not go with %s, take it away",
                       name, l->line, stray, word);
    }
    if ((l->has.batch_norm && !l->batch_norm) ||
        (l->has.global_average_pool && !l->global_average_pool) ||
        (l->has.flatten && !l->flatten)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'network.layers': %s: got false, expected true", name,
                       l->line, word);
    }
    return MD_OK;
}

static int64_t number_of(const md_recipe_layer *l)
{
    return l->has.conv              ? l->conv
           : l->has.max_pool        ? l->max_pool
           : l->has.average_pool    ? l->average_pool
           : l->has.fully_connected ? l->fully_connected
                                    : l->squeeze_excite;
}

static void free_layers(const md_layer *layers, unsigned n)
{
    for (unsigned i = 0; layers != NULL && i < n; i++) {
        free_layers(layers[i].children, layers[i].n_children);
    }
    md_free((void *)(uintptr_t)layers); /* const for its readers alone */
}

static md_status make(const md_recipe_layer *entries, unsigned n, const char *name,
                      md_layer **ret_layers, md_error *err)
{
    md_layer *layers = md_calloc(n, sizeof *layers);
    if (layers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u layers", n);
    }
    md_status status = MD_OK;
    for (unsigned i = 0; i < n && status == MD_OK; i++) {
        const md_recipe_layer *e = &entries[i];
        md_layer *l = &layers[i];
        status = check_entry(e, name, &l->kind, err);
        l->n = number_of(e);
        l->kernel = e->kernel;
        l->stride = e->stride;
        l->padding = e->has.padding ? e->padding : e->has.conv ? MD_LAYER_PADDING_SAME : 0;
        l->dilation = e->dilation;
        l->groups = e->depthwise ? MD_LAYER_DEPTHWISE : (int64_t)e->groups;
        l->bias = e->bias;
        l->function = (md_layer_function)e->activation;
        l->rate = e->dropout;
        l->line = e->line;
        const md_recipe_layer *inside = e->has.residual ? e->residual : e->dense;
        if (status == MD_OK && inside != NULL) {
            md_layer *children = NULL;
            const unsigned n_children = e->has.residual ? e->n_residual : e->n_dense;
            status = make(inside, n_children, name, &children, err);
            l->children = children;
            l->n_children = children != NULL ? n_children : 0;
        }
    }
    if (status != MD_OK) {
        free_layers(layers, n);
        return status;
    }
    *ret_layers = layers;
    return MD_OK;
}

md_status md_recipe_make_layers(md_recipe_network *network, const char *name, md_error *err)
{
    if (network->n_layers == 0) {
        return MD_OK;
    }
    return make(network->yaml_layers, network->n_layers, name, &network->layers, err);
}

void md_recipe_free_layers(md_recipe_network *network)
{
    free_layers(network->layers, network->n_layers);
    network->layers = NULL;
}
