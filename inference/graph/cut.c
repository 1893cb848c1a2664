#include "inference/graph/cut.h"

#include "inference/graph/decode.h"

#include "onnx.pb-c.h"

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
