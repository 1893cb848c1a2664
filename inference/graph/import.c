#include "inference/graph/import.h"

#include "inference/graph/node_import.h"

#include <string.h>

static md_status find_opset(const Onnx__ModelProto *model, int *ret_opset, md_error *err)
{
    int64_t opset = 0;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        if (set->domain == NULL || set->domain[0] == '\0' ||
            strcmp(set->domain, "ai.onnx") == 0) {
            if (opset != 0) {
                return md_fail(err, MD_FORMAT, "the ONNX operator set is named twice");
            }
            opset = set->has_version ? set->version : 0;
            if (opset < MD_GRAPH_OPSET_MIN || opset > MD_GRAPH_OPSET_MAX) {
                return md_fail(err, MD_UNSUPPORTED, "ONNX opset %lld, supported are %d..%d",
                               (long long)opset, MD_GRAPH_OPSET_MIN, MD_GRAPH_OPSET_MAX);
            }
        }
    }
    if (opset == 0) {
        return md_fail(err, MD_UNSUPPORTED, "the ONNX model names no opset of ai.onnx");
    }
    *ret_opset = (int)opset;
    return MD_OK;
}

static const md_binding *find_binding(const md_import_options *options, const char *name)
{
    for (unsigned i = 0; i < options->n_bindings; i++) {
        if (strcmp(options->bindings[i].name, name) == 0) {
            return &options->bindings[i];
        }
    }
    return NULL;
}

/* What the caller decides of an input's shape, whatever the file says; 0: nothing. */
static int64_t given_length(const md_import_options *options, size_t n_dims, unsigned i)
{
    if (!options->training) {
        return 0;
    }
    if (i == 0) {
        return options->batch;
    }
    if (n_dims == 4 && i >= 2) {
        return i == 2 ? options->height : options->width;
    }
    return 0;
}

static md_status input_shape(const Onnx__ValueInfoProto *info, const md_import_options *options,
                             md_dtype *ret_dtype, unsigned *ret_n_dims, int64_t *ret_dims,
                             md_error *err)
{
    const Onnx__TypeProto *type = info->type;
    if (type == NULL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
        type->tensor_type == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "not a tensor");
    }
    MD_TRY(md_import_dtype(type->tensor_type->elem_type, ret_dtype, err));
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (shape == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "no shape is declared");
    }
    if (shape->n_dim > MD_TENSOR_MAX_DIMS) {
        return md_fail(err, MD_LIMIT, "%zu dimensions, at most %d", shape->n_dim,
                       MD_TENSOR_MAX_DIMS);
    }
    for (unsigned i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        const int64_t given = given_length(options, shape->n_dim, i);
        if (given != 0) {
            ret_dims[i] = given;
        } else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            ret_dims[i] = dim->dim_value;
        } else if (i == 0) {
            ret_dims[i] = options->batch;
        } else {
            return md_fail(err, MD_UNSUPPORTED,
                           "dimension %u has no fixed length, only the first may be symbolic",
                           i);
        }
    }
    *ret_n_dims = (unsigned)shape->n_dim;
    return MD_OK;
}

static md_status bind_input(md_graph *graph, const md_binding *binding, md_dtype dtype,
                            unsigned n_dims, const int64_t *dims, md_error *err)
{
    const md_tensor *given = binding->tensor;
    if (given->dtype != dtype || given->n_dims != n_dims ||
        (n_dims > 0 && memcmp(given->dims, dims, n_dims * sizeof *dims) != 0)) {
        return md_fail(err, MD_INVALID_ARG, "the bound tensor has another type or shape");
    }
    int value;
    MD_TRY(md_graph_add_value(graph, binding->name, dtype, n_dims, dims, &value, err));
    MD_TRY(md_graph_make_constant(graph, value, err));
    md_tensor *tensor = md_graph_tensor(graph, value);
    if (tensor->n_elements > 0) {
        memcpy(tensor->data, given->data, tensor->n_elements * md_dtype_bytes(dtype));
    }
    return MD_OK;
}

static md_status import_inputs(md_graph *graph, const Onnx__GraphProto *proto,
                               const md_import_options *options, md_error *err)
{
    graph->inputs = md_pool_alloc(&graph->pool, proto->n_input * sizeof *graph->inputs);
    if (graph->inputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu inputs", proto->n_input);
    }
    for (size_t i = 0; i < proto->n_input; i++) {
        const Onnx__ValueInfoProto *info = proto->input[i];
        const char *name = info->name;
        if (name == NULL || name[0] == '\0') {
            return md_fail(err, MD_FORMAT, "graph input %zu has no name", i);
        }
        int found = md_graph_find(graph, name);
        if (found != MD_GRAPH_NO_VALUE && graph->values[found].constant) {
            continue; /* up to IR version 3 an initializer is listed as an input too */
        }
        md_dtype dtype = MD_F32;
        unsigned n_dims = 0;
        int64_t dims[MD_TENSOR_MAX_DIMS];
        int value;
        md_status status = input_shape(info, options, &dtype, &n_dims, dims, err);
        const md_binding *binding = find_binding(options, name);
        if (status == MD_OK && binding != NULL) {
            status = bind_input(graph, binding, dtype, n_dims, dims, err);
        } else if (status == MD_OK) {
            status = md_graph_add_value(graph, name, dtype, n_dims, dims, &value, err);
            if (status == MD_OK) {
                graph->values[value].input = true;
                graph->inputs[graph->n_inputs++] = (md_port){graph->values[value].name, value};
            }
        }
        if (status != MD_OK) {
            return md_error_prefix(err, status, "graph input '%.64s'", name);
        }
    }
    return MD_OK;
}

static md_status import_initializers(md_graph *graph, const Onnx__GraphProto *proto,
                                     md_error *err)
{
    if (proto->n_sparse_initializer > 0) {
        return md_fail(err, MD_UNSUPPORTED, "sparse initializers are not supported");
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        const Onnx__TensorProto *tensor = proto->initializer[i];
        int value;
        if (tensor->name == NULL || tensor->name[0] == '\0') {
            return md_fail(err, MD_FORMAT, "initializer %zu has no name", i);
        }
        md_status status = md_import_tensor(graph, tensor, tensor->name, &value, err);
        if (status != MD_OK) {
            return md_error_prefix(err, status, "initializer '%.64s'", tensor->name);
        }
    }
    return MD_OK;
}

static md_status resolve_inputs(md_node_import *b, int *ret_in)
{
    const Onnx__NodeProto *proto = b->proto;
    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = proto->input[i];
        ret_in[i] = MD_GRAPH_NO_VALUE;
        if (name[0] != '\0') {
            ret_in[i] = md_graph_find(b->graph, name);
            if (ret_in[i] == MD_GRAPH_NO_VALUE) {
                return md_import_fail(
                    b, MD_FORMAT,
                    "input '%.64s' is not made before it is used (missing, or a cycle)", name);
            }
        }
    }
    return MD_OK;
}

static md_status check_node(md_node_import *b, const md_op_entry **ret_entry)
{
    const Onnx__NodeProto *proto = b->proto;
    if (proto->domain != NULL && proto->domain[0] != '\0' &&
        strcmp(proto->domain, "ai.onnx") != 0) {
        return md_import_fail(b, MD_UNSUPPORTED,
                              "operators of domain '%.64s' are not supported", proto->domain);
    }
    if (proto->n_attribute > MD_IMPORT_MAX_ATTRIBUTES || proto->n_input > MD_GRAPH_MAX_IO ||
        proto->n_output > MD_GRAPH_MAX_IO) {
        return md_import_fail(b, MD_LIMIT, "%zu inputs, %zu outputs and %zu attributes",
                              proto->n_input, proto->n_output, proto->n_attribute);
    }
    const md_op_entry *entry = md_op_find(b->node.op_type);
    if (entry == NULL) {
        return md_import_fail(b, MD_UNSUPPORTED, "the operator is not supported");
    }
    if (b->node.opset < entry->since) {
        return md_import_fail(b, MD_UNSUPPORTED, "supported from opset %d on", entry->since);
    }
    if (entry->until != 0 && b->node.opset > entry->until) {
        return md_import_fail(b, MD_UNSUPPORTED, "ONNX has it up to opset %d only",
                              entry->until);
    }
    if (proto->n_input < entry->min_inputs) {
        return md_import_fail(b, MD_FORMAT, "%zu inputs, at least %u are needed",
                              proto->n_input, entry->min_inputs);
    }
    if (proto->n_input > entry->max_inputs) {
        return md_import_fail(b, MD_UNSUPPORTED, "%zu inputs, at most %u are supported",
                              proto->n_input, entry->max_inputs);
    }
    for (size_t i = 0; i < proto->n_output; i++) {
        if (i >= entry->max_outputs && proto->output[i][0] != '\0') {
            return md_import_fail(b, MD_UNSUPPORTED, "output %zu is not supported", i);
        }
    }
    if (proto->n_output == 0) {
        return md_import_fail(b, MD_FORMAT, "no output");
    }
    *ret_entry = entry;
    return MD_OK;
}

/* The first operand has a type that the operator takes; 16-bit floats become float32 where it
 * takes that alone, and b->narrow says what its results are converted to. */
static md_status check_types(md_node_import *b, const md_op_entry *entry, int *in)
{
    b->narrow = MD_F32;
    for (unsigned i = 0; i < b->n_in; i++) {
        const md_tensor *x = md_import_in(b, i);
        if (x == NULL || (x->dtype != MD_F16 && x->dtype != MD_BF16) ||
            (entry->types >> x->dtype & 1U) != 0) {
            continue;
        }
        if (b->narrow != MD_F32 && b->narrow != x->dtype) {
            return md_import_fail(b, MD_FORMAT, "operands of both float16 and bfloat16");
        }
        const md_dtype narrow = x->dtype;
        b->narrow = MD_F32;
        MD_TRY(md_import_emit_like(b, MD_OP_CAST, &in[i], 1, in[i], MD_IMPORT_INNER, MD_F32,
                                   &in[i]));
        b->narrow = narrow;
    }
    const md_tensor *x = md_import_in(b, 0);
    if (x != NULL && (entry->types >> x->dtype & 1U) == 0) {
        char list[160];
        md_types_text(entry->types, list, sizeof list);
        return md_import_fail(b, MD_UNSUPPORTED, "input 0 is %s, supported: %s",
                              md_dtype_name(x->dtype), list);
    }
    return MD_OK;
}

static md_status import_node(md_graph *graph, const Onnx__NodeProto *proto, int opset,
                             md_error *err)
{
    int in[MD_GRAPH_MAX_IO];
    md_node_import b = {.graph = graph, .proto = proto, .in = in, .err = err};
    const char *name = proto->name;
    if ((name == NULL || name[0] == '\0') && proto->n_output > 0) {
        name = proto->output[0]; /* unique, where the node's own name is optional */
    }
    b.node.name = md_graph_text(graph, name == NULL ? "" : name);
    b.node.op_type = md_graph_text(graph, proto->op_type == NULL ? "" : proto->op_type);
    b.node.opset = opset;
    if (b.node.name == NULL || b.node.op_type == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a node's name");
    }
    if (++graph->n_imported > MD_GRAPH_MAX_IMPORTED) {
        return md_import_fail(&b, MD_LIMIT, "more than %d nodes", MD_GRAPH_MAX_IMPORTED);
    }
    const md_op_entry *entry = NULL;
    MD_TRY(check_node(&b, &entry));
    MD_TRY(resolve_inputs(&b, in));
    b.n_in = (unsigned)proto->n_input;
    /* Of any number of operands none may be left out, but for the first two of Loop. */
    const bool has_any_number = entry->max_inputs == MD_GRAPH_MAX_IO;
    const unsigned n_required = has_any_number ? b.n_in : entry->min_inputs;
    for (unsigned i = entry->import == md_import_loop ? 2 : 0; i < n_required; i++) {
        if (in[i] == MD_GRAPH_NO_VALUE) {
            return md_import_fail(&b, MD_FORMAT, "input %u is missing", i);
        }
    }
    b.variant = entry->variant;
    MD_TRY(check_types(&b, entry, in));
    MD_TRY(entry->import(&b));
    return md_attributes_finish(&b);
}

static md_status import_list(md_graph *graph, const Onnx__GraphProto *proto, int opset,
                             md_error *err)
{
    for (size_t i = 0; i < proto->n_node; i++) {
        MD_TRY(import_node(graph, proto->node[i], opset, err));
    }
    return MD_OK;
}

md_status md_import_nodes(md_graph *graph, const Onnx__GraphProto *proto, int opset,
                          md_error *err)
{
    MD_TRY(import_initializers(graph, proto, err));
    return import_list(graph, proto, opset, err);
}

static md_status import_outputs(md_graph *graph, const Onnx__GraphProto *proto, md_error *err)
{
    if (proto->n_output == 0) {
        return md_fail(err, MD_FORMAT, "the graph has no output");
    }
    graph->outputs = md_pool_alloc(&graph->pool, proto->n_output * sizeof *graph->outputs);
    if (graph->outputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu outputs", proto->n_output);
    }
    for (size_t i = 0; i < proto->n_output; i++) {
        const char *name = proto->output[i]->name;
        int value = name == NULL ? MD_GRAPH_NO_VALUE : md_graph_find(graph, name);
        if (value == MD_GRAPH_NO_VALUE) {
            return md_fail(err, MD_FORMAT, "graph output '%.64s' is not made by any node",
                           name == NULL ? "" : name);
        }
        for (unsigned j = 0; j < graph->n_outputs; j++) {
            if (strcmp(graph->outputs[j].name, name) == 0) {
                return md_fail(err, MD_FORMAT, "graph output '%.64s' is listed twice", name);
            }
        }
        const char *copy = md_graph_text(graph, name);
        if (copy == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a name");
        }
        graph->outputs[graph->n_outputs++] = (md_port){copy, value};
        graph->values[value].kept = true;
    }
    return MD_OK;
}

md_status md_graph_import(md_graph *graph, const md_import_options *options, md_error *err)
{
    const Onnx__ModelProto *model = graph->proto;
    const Onnx__GraphProto *proto = model->graph;
    int opset = 0;
    if (proto == NULL) {
        return md_fail(err, MD_FORMAT, "the ONNX model has no graph");
    }
    graph->training = options->training;
    MD_TRY(find_opset(model, &opset, err));
    if (proto->n_input > MD_GRAPH_MAX_IO || proto->n_output > MD_GRAPH_MAX_IO) {
        return md_fail(err, MD_LIMIT, "%zu graph inputs and %zu outputs, at most %d",
                       proto->n_input, proto->n_output, MD_GRAPH_MAX_IO);
    }
    MD_TRY(import_initializers(graph, proto, err));
    MD_TRY(import_inputs(graph, proto, options, err));
    for (unsigned i = 0; i < options->n_bindings; i++) {
        if (md_graph_find(graph, options->bindings[i].name) == MD_GRAPH_NO_VALUE) {
            return md_fail(err, MD_INVALID_ARG, "no graph input '%.64s' to bind",
                           options->bindings[i].name);
        }
    }
    MD_TRY(import_list(graph, proto, opset, err));
    return import_outputs(graph, proto, err);
}
