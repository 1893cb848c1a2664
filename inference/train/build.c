#include "inference/train/build.h"

#include "inference/graph/decode.h"
#include "inference/graph/import.h"
#include "onnx.pb-c.h"

#include <math.h>
#include <string.h>

static md_status new_feature(md_build *b, const char *name, const int64_t *dims, bool bf16,
                             int producer, int *ret_feature, md_error *err)
{
    md_net *net = b->net;
    md_feature *f = &net->features[net->n_features];
    size_t n, all;
    const char *copy = md_pool_text(&net->pool, name);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a name");
    }
    *f = (md_feature){
        .name = copy, .c = dims[0], .h = dims[1], .w = dims[2], .producer = producer};
    if (!md_mul((size_t)f->c, (size_t)f->h, &n) || !md_mul(n, (size_t)f->w, &n) ||
        !md_mul(n, (size_t)net->batch, &all) || all > MD_TENSOR_MAX_ELEMENTS) {
        return md_fail(err, MD_LIMIT, "tensor '%.64s' has too many elements", name);
    }
    f->n_per_image = n;
    f->bf16 = bf16;
    *ret_feature = net->n_features++;
    return MD_OK;
}

/* c, h, w of a value [N,C,H,W] or [N,K]. */
static md_status dims_of(const md_build *b, const md_node *node, int value, int64_t ret_dims[3],
                         md_error *err)
{
    const md_tensor *x = md_graph_tensor(&b->graph, value);
    if (x->dtype != MD_F32 || (x->n_dims != 2 && x->n_dims != 4) || x->n_elements == 0 ||
        x->dims[0] != b->net->batch) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "only tensors [N,C,H,W] and [N,K] of float32 can be trained");
    }
    ret_dims[0] = x->dims[1];
    ret_dims[1] = x->n_dims == 4 ? x->dims[2] : 1;
    ret_dims[2] = x->n_dims == 4 ? x->dims[3] : 1;
    return MD_OK;
}

md_status md_build_feature(const md_build *b, const md_node *node, unsigned i, int *ret_feature,
                           md_error *err)
{
    const int value = i < node->n_inputs ? node->inputs[i] : MD_GRAPH_NO_VALUE;
    const int feature = value == MD_GRAPH_NO_VALUE ? MD_NO_FEATURE : b->features[value];
    if (feature == MD_NO_FEATURE) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "input %u is nothing that training can go through", i);
    }
    *ret_feature = feature;
    return MD_OK;
}

/* A layer with a new feature of those dims (c, h, w) for `value`. */
static md_status new_layer(md_build *b, const md_train_layer_kind *kind, const md_node *node,
                           const int *inputs, unsigned n_inputs, int value, const int64_t *dims,
                           md_train_layer **ret_layer, md_error *err)
{
    md_net *net = b->net;
    if (net->n_layers == net->capacity || net->n_features > (int)net->capacity) {
        return md_node_fail(err, node, MD_LIMIT, "more than %u layers", net->capacity);
    }
    md_train_layer *layer = &net->layers[net->n_layers];
    *layer = (md_train_layer){.kind = kind, .node = *node, .index = net->n_layers};
    layer->clamp = (md_clamp){-INFINITY, INFINITY};
    for (unsigned i = 0; i < MD_LAYER_MAX_PARAMETERS; i++) {
        layer->parameters[i] = MD_NO_PARAMETER;
    }
    layer->node.name = md_pool_text(&net->pool, node->name);
    layer->node.op_type = md_pool_text(&net->pool, node->op_type);
    layer->inputs = md_pool_alloc(&net->pool, (n_inputs + 1) * sizeof *layer->inputs);
    if (layer->inputs == NULL || layer->node.name == NULL || layer->node.op_type == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a layer");
    }
    layer->node.inputs = layer->node.outputs = NULL;
    if (n_inputs > 0) {
        memcpy(layer->inputs, inputs, n_inputs * sizeof *inputs);
    }
    layer->n_inputs = n_inputs;
    const bool to_float = kind == &md_train_layer_global_mean ||
                          kind == &md_train_layer_flatten || kind == &md_train_layer_linear;
    const bool bf16 = n_inputs > 0 && !to_float && net->features[inputs[0]].bf16;
    MD_TRY(new_feature(b, b->graph.values[value].name, dims, bf16, (int)net->n_layers,
                       &layer->output, err));
    b->features[value] = layer->output;
    net->n_layers++;
    *ret_layer = layer;
    return MD_OK;
}

md_status md_build_layer(md_build *b, const md_train_layer_kind *kind, const md_node *node,
                         const int *inputs, unsigned n_inputs, int value,
                         md_train_layer **ret_layer, md_error *err)
{
    int64_t dims[3];
    MD_TRY(dims_of(b, node, value, dims, err));
    return new_layer(b, kind, node, inputs, n_inputs, value, dims, ret_layer, err);
}

md_status md_build_token_layer(md_build *b, const md_train_layer_kind *kind,
                               const md_node *node, const int *inputs, unsigned n_inputs,
                               int value, int64_t c, md_train_layer **ret_layer, md_error *err)
{
    const int64_t dims[3] = {c, 1, b->net->width};
    MD_TRY(new_layer(b, kind, node, inputs, n_inputs, value, dims, ret_layer, err));
    b->net->features[(*ret_layer)->output].tokens = true;
    return MD_OK;
}

md_status md_build_as(md_build *b, const md_node *node, bool bf16, int *feature, md_error *err)
{
    md_net *net = b->net;
    const md_feature from = net->features[*feature];
    if (from.bf16 == bf16) {
        return MD_OK;
    }
    if (net->n_layers == net->capacity) {
        return md_node_fail(err, node, MD_LIMIT, "more than %u layers", net->capacity);
    }
    const int64_t dims[3] = {from.c, from.h, from.w};
    md_train_layer *layer = &net->layers[net->n_layers];
    *layer = (md_train_layer){.kind = &md_train_layer_convert, .node = {.op = MD_OP_CAST}};
    layer->node.name = from.name;
    layer->node.op_type = "Cast";
    layer->index = net->n_layers;
    for (unsigned i = 0; i < MD_LAYER_MAX_PARAMETERS; i++) {
        layer->parameters[i] = MD_NO_PARAMETER;
    }
    layer->inputs = md_pool_alloc(&net->pool, sizeof *layer->inputs);
    if (layer->inputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a layer");
    }
    layer->inputs[0] = *feature;
    layer->n_inputs = 1;
    MD_TRY(new_feature(b, from.name, dims, bf16, (int)net->n_layers, &layer->output, err));
    net->n_layers++;
    *feature = layer->output;
    return MD_OK;
}

md_status md_build_parameter(md_build *b, md_train_layer *layer, const md_node *node,
                             unsigned i, unsigned slot, md_role role, md_error *err)
{
    const int value = i < node->n_inputs ? node->inputs[i] : MD_GRAPH_NO_VALUE;
    if (value == MD_GRAPH_NO_VALUE) {
        return MD_OK;
    }
    if (!b->uses[value].initializer) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "input %u is no initializer: what is computed cannot be trained",
                            i);
    }
    md_use *use = &b->uses[value];
    if (use->n > 0 && (role == MD_ROLE_BUFFER || use->role == MD_ROLE_BUFFER)) {
        return md_node_fail(err, node, MD_UNSUPPORTED,
                            "statistics '%.64s' are shared with another node",
                            b->graph.values[value].name);
    }
    use->role = use->n == 0 || role == MD_ROLE_WEIGHT ? role : use->role;
    use->n++;
    layer->parameters[slot] = value; /* until number_parameters */
    return MD_OK;
}

/* Nodes that the logits need, and how many of those read each value. */
static void find_readers(md_build *b)
{
    b->readers[b->logits]++;
    for (unsigned i = b->graph.n_nodes; i-- > 0;) {
        const md_node *node = &b->graph.nodes[i];
        for (unsigned j = 0; j < node->n_outputs && node->op != MD_OP_NONE; j++) {
            if (node->outputs[j] != MD_GRAPH_NO_VALUE && b->readers[node->outputs[j]] > 0) {
                b->needed[i] = true;
            }
        }
        for (unsigned j = 0; j < node->n_inputs && b->needed[i]; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE) {
                b->readers[node->inputs[j]]++;
            }
        }
    }
}

/* The value before a Softmax or Sigmoid at the end. */
static int find_logits(const md_graph *graph)
{
    int value = graph->outputs[0].value;
    for (unsigned i = graph->n_nodes; i-- > 0;) {
        const md_node *node = &graph->nodes[i];
        if (node->op != MD_OP_NONE && node->outputs[0] == value &&
            ((node->op == MD_OP_SOFTMAX && node->p.softmax.kind != MD_SOFTMAX_HARD) ||
             (node->op == MD_OP_UNARY && node->p.unary.function == MD_UNARY_SIGMOID))) {
            return node->inputs[0];
        }
    }
    return value;
}

static md_status start(md_build *b, md_error *err)
{
    const md_graph *graph = &b->graph;
    const Onnx__ModelProto *model = graph->proto;
    const size_t n = (size_t)graph->n_values + 1;
    size_t n_layers = graph->n_nodes + 8;
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        n_layers += graph->nodes[i].n_inputs;
    }
    md_net *net = b->net;
    net->capacity = (unsigned)n_layers;
    net->layers = md_pool_alloc(&net->pool, n_layers * sizeof *net->layers);
    net->features = md_pool_alloc(&net->pool, (n_layers + 2) * sizeof *net->features);
    b->features = md_pool_alloc(&b->pool, n * sizeof *b->features);
    b->readers = md_pool_alloc(&b->pool, n * sizeof *b->readers);
    b->uses = md_pool_alloc(&b->pool, n * sizeof *b->uses);
    b->steps = md_pool_alloc(&b->pool, n * sizeof *b->steps);
    b->thresholds = md_pool_alloc(&b->pool, n * sizeof *b->thresholds);
    b->needed = md_pool_alloc(&b->pool, graph->n_nodes + 1);
    if (net->layers == NULL || net->features == NULL || b->features == NULL ||
        b->readers == NULL || b->uses == NULL || b->steps == NULL || b->thresholds == NULL ||
        b->needed == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u nodes", graph->n_nodes);
    }
    for (size_t i = 0; i < n; i++) {
        b->features[i] = MD_NO_FEATURE;
        b->steps[i] = MD_NO_FEATURE;
    }
    for (size_t i = 0; i < model->graph->n_initializer; i++) {
        b->uses[md_graph_find(graph, model->graph->initializer[i]->name)].initializer = true;
    }
    b->logits = find_logits(graph);
    find_readers(b);
    return MD_OK;
}

static md_status check_input(md_build *b, md_error *err)
{
    const md_graph *graph = &b->graph;
    if (graph->n_inputs != 1) {
        return md_fail(err, MD_UNSUPPORTED, "the network has %u inputs, training takes one",
                       graph->n_inputs);
    }
    const md_tensor *x = md_graph_tensor(graph, graph->inputs[0].value);
    if (x->dtype == MD_I64) {
        return md_build_text_start(b, err);
    }
    if (x->n_dims != 4 || x->dtype != MD_F32 || x->n_elements == 0) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the network's input is neither [N,C,H,W] of float32 nor [N,T] of "
                       "int64: %u dimensions of %s",
                       x->n_dims, md_dtype_name(x->dtype));
    }
    b->net->height = x->dims[2];
    b->net->width = x->dims[3];
    MD_TRY(new_feature(b, graph->inputs[0].name, x->dims + 1, b->trainer->bf16, -1,
                       &b->net->input, err));
    b->features[graph->inputs[0].value] = b->net->input;
    return MD_OK;
}

static md_status check_output(md_build *b, md_error *err)
{
    md_trainer *t = b->trainer;
    const md_tensor *y = md_graph_tensor(&b->graph, b->logits);
    const int feature = b->features[b->logits];
    static const md_node no_node = {.name = "", .op_type = "output"};
    if (feature == MD_NO_FEATURE || b->net->features[feature].producer < 0 ||
        b->net->features[feature].h * b->net->features[feature].w != 1 ||
        b->net->features[feature].tokens) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the network's first output is not [N,K]: it has %u dimensions",
                       y->n_dims);
    }
    b->net->output = feature;
    MD_TRY(md_build_as(b, &no_node, false, &b->net->output, err));
    const int64_t k = b->net->features[feature].c;
    if (k > MD_TRAINER_MAX_CLASSES) {
        return md_fail(err, MD_LIMIT, "%lld classes, at most %d", (long long)k,
                       MD_TRAINER_MAX_CLASSES);
    }
    t->n_classes = k;
    t->n_channels = b->views != NULL ? 1 : b->net->features[b->net->input].c;
    return MD_OK;
}

static bool is_frozen(const md_trainer *t, const char *name, bool *ret_used)
{
    bool frozen = false;
    for (unsigned i = 0; i < t->n_frozen; i++) {
        if (strncmp(name, t->frozen[i], strlen(t->frozen[i])) == 0) {
            frozen = ret_used[i] = true;
        }
    }
    return frozen;
}

static md_status make_parameter(md_trainer *t, md_parameter *p, const md_tensor *tensor,
                                const char *name, md_role role, md_error *err)
{
    const size_t n = tensor->n_elements;
    p->name = md_pool_text(&t->pool, name);
    p->n = n;
    p->n_dims = tensor->n_dims;
    memcpy(p->dims, tensor->dims, sizeof p->dims);
    p->decays = role == MD_ROLE_WEIGHT;
    p->value = md_pool_data(&t->pool, n * sizeof *p->value);
    p->gradient =
        role == MD_ROLE_BUFFER ? NULL : md_pool_data(&t->pool, n * sizeof *p->gradient);
    if (p->name == NULL || p->value == NULL ||
        (p->gradient == NULL && role != MD_ROLE_BUFFER)) {
        return md_fail(err, MD_NOMEM, "no memory for parameter '%.64s' of %zu elements", name,
                       n);
    }
    memcpy(p->value, tensor->data, n * sizeof *p->value);
    t->parameter_bytes += n * sizeof *p->value;
    if (p->gradient != NULL) {
        memset(p->gradient, 0, n * sizeof *p->gradient);
        t->parameter_bytes += n * sizeof *p->gradient;
    }
    return MD_OK;
}

static md_status make_parameters(md_build *b, md_error *err)
{
    md_trainer *t = b->trainer;
    const Onnx__ModelProto *model = b->graph.proto;
    const size_t n = model->graph->n_initializer;
    MD_AUTO(md_freep) bool *used = md_calloc(t->n_frozen + 1, sizeof *used);
    t->parameters = md_pool_alloc(&t->pool, (n + 1) * sizeof *t->parameters);
    t->values = md_pool_alloc(&t->pool, (n + 1) * sizeof *t->values);
    t->wrote = md_pool_alloc(&t->pool, n + 1);
    if (used == NULL || t->parameters == NULL || t->values == NULL || t->wrote == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu parameters", n);
    }
    size_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = model->graph->initializer[i]->name;
        const int value = md_graph_find(&b->graph, name);
        const md_use *use = &b->uses[value];
        if (use->n == 0) {
            continue;
        }
        md_parameter *p = &t->parameters[t->n_parameters++];
        MD_TRY(make_parameter(t, p, md_graph_tensor(&b->graph, value), name, use->role, err));
        p->frozen = is_frozen(t, name, used);
        largest = use->n > 1 && p->n > largest ? p->n : largest;
    }
    for (unsigned i = 0; i < t->n_frozen; i++) {
        if (!used[i]) {
            return md_fail(err, MD_NOT_FOUND, "no parameter's name begins with '%.64s'",
                           t->frozen[i]);
        }
    }
    if (largest > 0) {
        t->shared_gradient = md_pool_data(&t->pool, largest * sizeof *t->shared_gradient);
        if (t->shared_gradient == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a gradient");
        }
        t->parameter_bytes += largest * sizeof *t->shared_gradient;
    }
    return MD_OK;
}

/* The layers' parameters become numbers of the trainer's, in the order of the initializers. */
static md_status number_parameters(md_build *b, md_error *err)
{
    md_trainer *t = b->trainer;
    const Onnx__ModelProto *model = b->graph.proto;
    int number = 0;
    if (t->parameters == NULL) {
        MD_TRY(make_parameters(b, err));
    }
    for (size_t i = 0; i < model->graph->n_initializer; i++) {
        md_use *use = &b->uses[md_graph_find(&b->graph, model->graph->initializer[i]->name)];
        if (use->n > 0) {
            use->number = number++;
        }
    }
    if ((unsigned)number != t->n_parameters) {
        return md_fail(err, MD_INTERNAL, "%d parameters, there were %u", number,
                       t->n_parameters);
    }
    for (unsigned i = 0; i < b->net->n_layers; i++) {
        md_train_layer *layer = &b->net->layers[i];
        for (unsigned j = 0; j < MD_LAYER_MAX_PARAMETERS; j++) {
            if (layer->parameters[j] != MD_NO_PARAMETER) {
                layer->parameters[j] = b->uses[layer->parameters[j]].number;
            }
        }
    }
    return MD_OK;
}

/* What follows a parameter that moves has a gradient in a step; frozen normalisation keeps its
 * running statistics. */
static md_status find_trainable(md_build *b, md_error *err)
{
    md_trainer *t = b->trainer;
    md_net *net = b->net;
    for (unsigned i = 0; i < net->n_layers; i++) {
        md_train_layer *layer = &net->layers[i];
        bool trainable = false;
        for (unsigned j = 0; j < layer->n_inputs; j++) {
            md_feature *in = &net->features[layer->inputs[j]];
            in->n_readers++;
            trainable = trainable || in->trainable;
        }
        for (unsigned j = 0; j < MD_LAYER_MAX_PARAMETERS; j++) {
            if (layer->parameters[j] != MD_NO_PARAMETER) {
                const md_parameter *p = &t->parameters[layer->parameters[j]];
                trainable = trainable || (p->gradient != NULL && !p->frozen);
            }
        }
        if (layer->kind == &md_train_layer_norm) {
            layer->running = t->parameters[layer->parameters[0]].frozen;
        }
        net->features[layer->output].trainable = trainable;
    }
    if (!net->features[net->output].trainable) {
        return md_fail(err, MD_INVALID_ARG, "no parameter is left to train");
    }
    return MD_OK;
}

static md_status build(md_build *b, int64_t height, int64_t width, md_error *err)
{
    const md_trainer *t = b->trainer;
    const md_import_options import = {
        .batch = t->batch, .training = true, .height = height, .width = width};
    MD_TRY(md_decode(&b->graph, t->onnx, t->onnx_bytes, NULL, err));
    MD_TRY(md_graph_import(&b->graph, &import, err));
    MD_TRY(start(b, err));
    MD_TRY(check_input(b, err));
    for (unsigned i = 0; i < b->graph.n_nodes; i++) {
        if (b->needed[i]) {
            MD_TRY(b->views != NULL ? md_build_text_node(b, i, err)
                                    : md_build_node(b, &b->graph.nodes[i], err));
        }
    }
    MD_TRY(check_output(b, err));
    MD_TRY(b->views != NULL ? md_build_text_finish(b, err) : MD_OK);
    MD_TRY(number_parameters(b, err));
    return find_trainable(b, err);
}

md_status md_net_create(md_trainer *t, int64_t height, int64_t width, md_net **ret_net,
                        md_error *err)
{
    MD_AUTO(md_net_destroyp) md_net *net = md_calloc(1, sizeof *net);
    if (net == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a network");
    }
    net->batch = t->batch;
    md_build b = {.trainer = t, .net = net};
    const md_status status = build(&b, height, width, err);
    md_graph_finish(&b.graph);
    md_pool_finish(&b.pool);
    if (status == MD_OK) {
        *ret_net = MD_STEAL(net);
    }
    return status;
}

void md_net_destroy(md_net *net)
{
    if (net == NULL) {
        return;
    }
    for (unsigned i = 0; i < net->n_layers; i++) {
        md_train_layer *layer = &net->layers[i];
        if (layer->kind->release != NULL) {
            layer->kind->release(layer);
        }
    }
    md_free(net->arena);
    md_pool_finish(&net->pool);
    md_free(net);
}
