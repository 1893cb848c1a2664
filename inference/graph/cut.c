#include "inference/graph/cut.h"

#include "inference/graph/decode.h"

#include "onnx.pb-c.h"

#include <stdio.h>
#include <string.h>

/* A set of names: open addressing, never more than half full. */
typedef struct name_set {
    const char **slots;
    size_t n_slots; /* a power of two */
} name_set;

/* What is wanted of the whole. */
typedef struct cut {
    const Onnx__GraphProto *whole;
    bool *nodes;
    size_t n_nodes;
    name_set wanted;   /* the tensors that the wanted nodes read */
    const char *input; /* NULL: the network's own */
} cut;

/* The slot of a name, or the empty one where it would be. FNV-1a (Fowler, Noll and Vo). */
static const char **slot_of(const name_set *set, const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *p = name; *p != '\0'; p++) {
        hash = (hash ^ (uint64_t)(unsigned char)*p) * UINT64_C(1099511628211);
    }
    size_t at = (size_t)hash & (set->n_slots - 1);
    while (set->slots[at] != NULL && strcmp(set->slots[at], name) != 0) {
        at = (at + 1) & (set->n_slots - 1);
    }
    return &set->slots[at];
}

static bool has_name(const name_set *set, const char *name)
{
    return name != NULL && *slot_of(set, name) != NULL;
}

static md_status make_set(const Onnx__GraphProto *graph, name_set *ret_set, md_error *err)
{
    size_t n = 1;
    for (size_t i = 0; i < graph->n_node; i++) {
        n += graph->node[i]->n_input;
    }
    size_t n_slots = 2;
    while (n_slots < 2 * n) {
        n_slots *= 2;
    }
    ret_set->slots = md_calloc(n_slots, sizeof *ret_set->slots);
    ret_set->n_slots = n_slots;
    return ret_set->slots != NULL ? MD_OK
                                  : md_fail(err, MD_NOMEM, "no memory for %zu names", n);
}

/* The last node before `before` that makes this tensor. */
static bool find_producer(const Onnx__GraphProto *graph, const char *name, size_t before,
                          size_t *ret_index)
{
    for (size_t i = before; i-- > 0;) {
        for (size_t j = 0; j < graph->node[i]->n_output; j++) {
            if (strcmp(graph->node[i]->output[j], name) == 0) {
                *ret_index = i;
                return true;
            }
        }
    }
    return false;
}

/* Nodes stand in the order in which they can be computed, so one walk backwards is enough. */
static void mark(cut *c, const char *output, size_t last)
{
    *slot_of(&c->wanted, output) = output;
    for (size_t i = last + 1; i-- > 0;) {
        const Onnx__NodeProto *node = c->whole->node[i];
        for (size_t j = 0; j < node->n_output; j++) {
            c->nodes[i] = c->nodes[i] || has_name(&c->wanted, node->output[j]);
        }
        c->n_nodes += c->nodes[i] ? 1 : 0;
        for (size_t j = 0; j < node->n_input && c->nodes[i]; j++) {
            const char *name = node->input[j];
            if (name[0] != '\0' && (c->input == NULL || strcmp(name, c->input) != 0)) {
                *slot_of(&c->wanted, name) = name;
            }
        }
    }
}

/* A float32 tensor with these dims, or with none stated. */
typedef struct value_info {
    Onnx__ValueInfoProto info;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[MD_TENSOR_MAX_DIMS];
    Onnx__TensorShapeProto__Dimension *dim_list[MD_TENSOR_MAX_DIMS];
} value_info;

static void describe(value_info *v, char *name, unsigned n_dims, const int64_t *dims)
{
    onnx__value_info_proto__init(&v->info);
    onnx__type_proto__init(&v->type);
    onnx__type_proto__tensor__init(&v->tensor);
    onnx__tensor_shape_proto__init(&v->shape);
    v->info.name = name;
    v->info.type = &v->type;
    v->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->tensor.has_elem_type = true;
    v->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    for (unsigned i = 0; i < n_dims; i++) {
        onnx__tensor_shape_proto__dimension__init(&v->dims[i]);
        v->dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        v->dims[i].dim_value = dims[i];
        v->dim_list[i] = &v->dims[i];
    }
    v->shape.n_dim = n_dims;
    v->shape.dim = v->dim_list;
    v->tensor.shape = n_dims > 0 ? &v->shape : NULL;
}

static md_status pack(const Onnx__ModelProto *model, uint8_t **ret_bytes, size_t *ret_size,
                      md_error *err)
{
    const size_t size_bytes = onnx__model_proto__get_packed_size(model);
    uint8_t *bytes = md_malloc(size_bytes);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a part of %zu bytes", size_bytes);
    }
    *ret_size = onnx__model_proto__pack(model, bytes);
    *ret_bytes = bytes;
    return MD_OK;
}

/* The lists of the part point into the message of the whole. */
static md_status write_part(const cut *c, const Onnx__ModelProto *whole, const char *output,
                            unsigned n_dims, const int64_t *dims, uint8_t **ret_bytes,
                            size_t *ret_size, md_error *err)
{
    MD_AUTO(md_freep)
    Onnx__NodeProto **nodes = md_calloc(c->n_nodes + 1, sizeof(Onnx__NodeProto *));
    MD_AUTO(md_freep)
    Onnx__TensorProto **initializers =
        md_calloc(c->whole->n_initializer + 1, sizeof(Onnx__TensorProto *));
    MD_AUTO(md_freep) char *output_name = md_strdup(output);
    MD_AUTO(md_freep) char *input_name = md_strdup(c->input != NULL ? c->input : "");
    if (nodes == NULL || initializers == NULL || output_name == NULL || input_name == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a part of the network");
    }
    value_info in, out;
    Onnx__ValueInfoProto *ins[1] = {&in.info}, *outs[1] = {&out.info};
    describe(&in, input_name, c->input != NULL ? n_dims : 0, dims);
    describe(&out, output_name, 0, NULL);
    Onnx__GraphProto graph = *c->whole;
    Onnx__ModelProto model = *whole;
    graph.n_node = graph.n_initializer = 0;
    for (size_t i = 0; i < c->whole->n_node; i++) {
        if (c->nodes[i]) {
            nodes[graph.n_node++] = c->whole->node[i];
        }
    }
    for (size_t i = 0; i < c->whole->n_initializer; i++) {
        if (has_name(&c->wanted, c->whole->initializer[i]->name)) {
            initializers[graph.n_initializer++] = c->whole->initializer[i];
        }
    }
    graph.node = nodes;
    graph.initializer = initializers;
    if (c->input != NULL) {
        graph.n_input = 1;
        graph.input = ins;
    }
    graph.n_output = 1;
    graph.output = outs;
    graph.n_value_info = 0;
    graph.value_info = NULL;
    model.graph = &graph;
    return pack(&model, ret_bytes, ret_size, err);
}

/* The input past which `output` needs another one; an initializer may be listed as an input
 * too, up to IR version 3. */
static const char *input_past(const cut *c)
{
    for (size_t i = 0; i < c->whole->n_input && c->input != NULL; i++) {
        const char *name = c->whole->input[i]->name;
        bool constant = false;
        for (size_t k = 0; k < c->whole->n_initializer && !constant; k++) {
            const char *known = c->whole->initializer[k]->name;
            constant = known != NULL && name != NULL && strcmp(known, name) == 0;
        }
        if (!constant && has_name(&c->wanted, name)) {
            return name;
        }
    }
    return NULL;
}

static md_status cut_graph(cut *c, const Onnx__ModelProto *model, unsigned n_dims,
                           const int64_t *dims, const char *output, uint8_t **ret_bytes,
                           size_t *ret_size, md_error *err)
{
    const Onnx__GraphProto *whole = c->whole;
    size_t last = 0, at = 0;
    if (!find_producer(whole, output, whole->n_node, &last)) {
        return md_fail(err, MD_NOT_FOUND, "no node makes the tensor '%.64s'", output);
    }
    if (c->input != NULL && !find_producer(whole, c->input, last, &at)) {
        return md_fail(err, MD_NOT_FOUND, "no node before '%.64s' makes the tensor '%.64s'",
                       output, c->input);
    }
    MD_TRY(make_set(whole, &c->wanted, err));
    c->nodes = md_calloc(whole->n_node + 1, sizeof *c->nodes);
    if (c->nodes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a part of the network");
    }
    mark(c, output, last);
    const char *past = input_past(c);
    if (past != NULL) {
        return md_fail(err, MD_UNSUPPORTED,
                       "'%.64s' depends on the network's input '%.64s' past the tensor '%.64s'",
                       output, past, c->input);
    }
    return write_part(c, model, output, n_dims, dims, ret_bytes, ret_size, err);
}

md_status md_onnx_cut(const uint8_t *onnx, size_t size_bytes, const char *input,
                      unsigned n_dims, const int64_t *dims, const char *output,
                      uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    md_graph graph = {0};
    md_status status = md_decode_whole(&graph, onnx, size_bytes, err);
    const Onnx__ModelProto *model = graph.proto;
    if (status == MD_OK && model->graph == NULL) {
        status = md_fail(err, MD_FORMAT, "the ONNX model has no graph");
    }
    if (status == MD_OK) {
        cut c = {.whole = model->graph, .input = input};
        status = cut_graph(&c, model, n_dims, dims, output, ret_bytes, ret_size, err);
        md_free(c.wanted.slots);
        md_free(c.nodes);
    }
    md_decode_finish(&graph);
    return status;
}

static md_status logits_of(const Onnx__GraphProto *graph, char ret_name[MD_ONNX_NAME_BYTES],
                           md_error *err)
{
    if (graph == NULL || graph->n_output == 0 || graph->output[0]->name == NULL) {
        return md_fail(err, MD_FORMAT, "the ONNX model has no output");
    }
    const char *name = graph->output[0]->name;
    size_t at = 0;
    if (find_producer(graph, name, graph->n_node, &at)) {
        const Onnx__NodeProto *node = graph->node[at];
        const char *op = node->op_type != NULL ? node->op_type : "";
        if ((strcmp(op, "Softmax") == 0 || strcmp(op, "Sigmoid") == 0) && node->n_input == 1) {
            name = node->input[0];
        }
    }
    if (strlen(name) >= MD_ONNX_NAME_BYTES) {
        return md_fail(err, MD_LIMIT, "an output with a name of more than %d bytes",
                       MD_ONNX_NAME_BYTES - 1);
    }
    memcpy(ret_name, name, strlen(name) + 1);
    return MD_OK;
}

md_status md_onnx_logits(const uint8_t *onnx, size_t size_bytes,
                         char ret_name[MD_ONNX_NAME_BYTES], md_error *err)
{
    md_graph graph = {0};
    md_status status = md_decode_whole(&graph, onnx, size_bytes, err);
    if (status == MD_OK) {
        const Onnx__ModelProto *model = graph.proto;
        status = logits_of(model->graph, ret_name, err);
    }
    md_decode_finish(&graph);
    return status;
}

/* ---- a layer behind it ---- */

/* A name that no node, initializer or input of the graph has. */
static bool free_name(const Onnx__GraphProto *graph, const char *stem,
                      char ret_name[MD_ONNX_NAME_BYTES])
{
    for (unsigned k = 0; k < 100; k++) {
        bool taken = false;
        (void)snprintf(ret_name, MD_ONNX_NAME_BYTES, k == 0 ? "%s" : "%s_%u", stem, k);
        for (size_t i = 0; i < graph->n_initializer && !taken; i++) {
            const char *name = graph->initializer[i]->name;
            taken = name != NULL && strcmp(name, ret_name) == 0;
        }
        for (size_t i = 0; i < graph->n_node && !taken; i++) {
            const Onnx__NodeProto *node = graph->node[i];
            taken = node->name != NULL && strcmp(node->name, ret_name) == 0;
            for (size_t j = 0; j < node->n_output && !taken; j++) {
                taken = strcmp(node->output[j], ret_name) == 0;
            }
            for (size_t j = 0; j < node->n_input && !taken; j++) {
                taken = strcmp(node->input[j], ret_name) == 0;
            }
        }
        if (!taken) {
            return true;
        }
    }
    return false;
}

/* A float32 initializer over the caller's numbers. */
static void describe_weights(Onnx__TensorProto *tensor, char *name, int64_t *dims,
                             size_t n_dims, const float *values, size_t n)
{
    onnx__tensor_proto__init(tensor);
    tensor->name = name;
    tensor->n_dims = n_dims;
    tensor->dims = dims;
    tensor->has_data_type = true;
    tensor->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->has_raw_data = true;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)values;
    tensor->raw_data.len = n * sizeof *values;
}

static int64_t opset_of(const Onnx__ModelProto *model)
{
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *opset = model->opset_import[i];
        if (opset->domain == NULL || opset->domain[0] == '\0' ||
            strcmp(opset->domain, "ai.onnx") == 0) {
            return opset->version;
        }
    }
    return 0;
}

static md_status add_linear(const Onnx__ModelProto *whole, const char *features,
                            const float *weights, uint32_t n, float bias, char *ret_name,
                            uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    char weight_name[MD_ONNX_NAME_BYTES], bias_name[MD_ONNX_NAME_BYTES], trans[] = "transB";
    char op[] = "Gemm", features_name[MD_ONNX_NAME_BYTES];
    if (opset_of(whole) < 7) {
        return md_fail(err, MD_UNSUPPORTED, "opset %lld has no Gemm that adds a single number",
                       (long long)opset_of(whole));
    }
    if (!free_name(whole->graph, "logits", ret_name) ||
        !free_name(whole->graph, "head_weight", weight_name) ||
        !free_name(whole->graph, "head_bias", bias_name) ||
        strlen(features) >= sizeof features_name) {
        return md_fail(err, MD_LIMIT, "no name is free for the head");
    }
    memcpy(features_name, features, strlen(features) + 1);
    Onnx__GraphProto graph = *whole->graph;
    Onnx__ModelProto model = *whole;
    MD_AUTO(md_freep)
    Onnx__NodeProto **nodes = md_calloc(graph.n_node + 1, sizeof(Onnx__NodeProto *));
    MD_AUTO(md_freep)
    Onnx__TensorProto **initializers =
        md_calloc(graph.n_initializer + 2, sizeof(Onnx__TensorProto *));
    if (nodes == NULL || initializers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a head");
    }
    memcpy(nodes, graph.node, graph.n_node * sizeof(Onnx__NodeProto *));
    memcpy(initializers, graph.initializer, graph.n_initializer * sizeof(Onnx__TensorProto *));
    Onnx__AttributeProto transposed;
    Onnx__NodeProto gemm;
    Onnx__TensorProto weight, offset;
    char batch[] = "N";
    const int64_t out_dims[2] = {1, 1};
    int64_t weight_dims[2] = {1, n}, bias_dims[1] = {1};
    char *inputs[] = {features_name, weight_name, bias_name}, *outputs[] = {ret_name};
    Onnx__AttributeProto *attributes[] = {&transposed};
    value_info out;
    Onnx__ValueInfoProto *outs[1] = {&out.info};
    onnx__attribute_proto__init(&transposed);
    transposed.name = trans;
    transposed.has_type = transposed.has_i = true;
    transposed.type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    transposed.i = 1;
    onnx__node_proto__init(&gemm);
    gemm.name = ret_name;
    gemm.op_type = op;
    gemm.n_input = 3;
    gemm.input = inputs;
    gemm.n_output = 1;
    gemm.output = outputs;
    gemm.n_attribute = 1;
    gemm.attribute = attributes;
    describe_weights(&weight, weight_name, weight_dims, 2, weights, n);
    describe_weights(&offset, bias_name, bias_dims, 1, &bias, 1);
    describe(&out, ret_name, 2, out_dims);
    out.dims[0].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    out.dims[0].dim_param = batch;
    nodes[graph.n_node++] = &gemm;
    initializers[graph.n_initializer++] = &weight;
    initializers[graph.n_initializer++] = &offset;
    graph.node = nodes;
    graph.initializer = initializers;
    graph.n_output = 1;
    graph.output = outs;
    model.graph = &graph;
    return pack(&model, ret_bytes, ret_size, err);
}

md_status md_onnx_add_linear(const uint8_t *onnx, size_t size_bytes, const char *features,
                             const float *weights, uint32_t n, float bias,
                             char ret_name[MD_ONNX_NAME_BYTES], uint8_t **ret_bytes,
                             size_t *ret_size, md_error *err)
{
    md_graph graph = {0};
    md_status status = md_decode_whole(&graph, onnx, size_bytes, err);
    const Onnx__ModelProto *model = graph.proto;
    if (status == MD_OK && (model->graph == NULL || model->graph->n_output != 1 ||
                            model->graph->output[0]->name == NULL ||
                            strcmp(model->graph->output[0]->name, features) != 0)) {
        status = md_fail(err, MD_FORMAT, "'%.64s' is not the network's one output", features);
    }
    if (status == MD_OK) {
        status =
            add_linear(model, features, weights, n, bias, ret_name, ret_bytes, ret_size, err);
    }
    md_decode_finish(&graph);
    return status;
}
