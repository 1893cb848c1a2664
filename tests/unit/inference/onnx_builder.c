#include "onnx_builder.h"

#include <stdlib.h>
#include <string.h>

/* protobuf-c's strings are not const, but packing only reads them */
static char *text(const char *string)
{
    return (char *)(uintptr_t)string;
}

void builder_init(builder *b, int opset)
{
    memset(b, 0, sizeof *b);
    onnx__model_proto__init(&b->model);
    onnx__graph_proto__init(&b->graph);
    onnx__operator_set_id_proto__init(&b->opset);
    b->opset.domain = text("");
    b->opset.has_version = 1;
    b->opset.version = opset;
    b->opsets[0] = &b->opset;
    b->model.has_ir_version = 1;
    b->model.ir_version = 7;
    b->model.n_opset_import = 1;
    b->model.opset_import = b->opsets;
    b->model.graph = &b->graph;
    b->graph.name = text("g");
    b->graph.node = b->node_list;
    b->graph.initializer = b->tensor_list;
    b->graph.input = b->input_list;
    b->graph.output = b->output_list;
}

void builder_port(builder *b, bool output, const char *name, int type, size_t n_dims,
                  const int64_t *dims)
{
    const size_t k = b->n_infos++;
    onnx__value_info_proto__init(&b->infos[k]);
    onnx__type_proto__init(&b->types[k]);
    onnx__type_proto__tensor__init(&b->tensor_types[k]);
    onnx__tensor_shape_proto__init(&b->shapes[k]);
    for (size_t i = 0; i < n_dims; i++) {
        onnx__tensor_shape_proto__dimension__init(&b->dims[k][i]);
        if (dims[i] == -1) {
            b->dims[k][i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            b->dims[k][i].dim_param = text("N");
        } else {
            b->dims[k][i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            b->dims[k][i].dim_value = dims[i];
        }
        b->dim_list[k][i] = &b->dims[k][i];
    }
    b->shapes[k].n_dim = n_dims;
    b->shapes[k].dim = b->dim_list[k];
    b->tensor_types[k].has_elem_type = 1;
    b->tensor_types[k].elem_type = type;
    b->tensor_types[k].shape = &b->shapes[k];
    b->types[k].value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    b->types[k].tensor_type = &b->tensor_types[k];
    b->infos[k].name = text(name);
    b->infos[k].type = &b->types[k];
    if (output) {
        b->output_list[b->graph.n_output++] = &b->infos[k];
    } else {
        b->input_list[b->graph.n_input++] = &b->infos[k];
    }
}

/* Cuts the text at blanks, in place. */
static size_t split(char *names, char **list)
{
    size_t n = 0;
    for (char *save, *name = strtok_r(names, " ", &save); name != NULL;
         name = strtok_r(NULL, " ", &save)) {
        list[n++] = strcmp(name, "-") == 0 ? text("") : name;
    }
    return n;
}

Onnx__NodeProto *builder_node(builder *b, const char *name, const char *op, char *inputs,
                              char *outputs)
{
    const size_t k = b->graph.n_node++;
    Onnx__NodeProto *node = &b->nodes[k];
    onnx__node_proto__init(node);
    node->name = text(name);
    node->op_type = text(op);
    node->input = b->node_inputs[k];
    node->output = b->node_outputs[k];
    node->n_input = split(inputs, node->input);
    node->n_output = split(outputs, node->output);
    node->attribute = b->attribute_list[k];
    b->node_list[k] = node;
    return node;
}

Onnx__AttributeProto *builder_attribute(builder *b, Onnx__NodeProto *node, const char *name,
                                        Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *attribute = &b->attributes[b->n_attributes++];
    onnx__attribute_proto__init(attribute);
    attribute->name = text(name);
    attribute->has_type = 1;
    attribute->type = type;
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

void builder_ints(builder *b, Onnx__NodeProto *node, const char *name, const int64_t *values,
                  size_t n)
{
    Onnx__AttributeProto *attribute =
        builder_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    attribute->n_ints = n;
    attribute->ints = (int64_t *)(uintptr_t)values;
}

void builder_int(builder *b, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute =
        builder_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    attribute->has_i = 1;
    attribute->i = value;
}

Onnx__TensorProto *builder_tensor(builder *b, const char *name, int type, size_t n_dims,
                                  const int64_t *dims, const void *data, size_t n_bytes)
{
    const size_t k = b->n_tensors++;
    Onnx__TensorProto *tensor = &b->tensors[k];
    onnx__tensor_proto__init(tensor);
    if (n_dims > 0) {
        memcpy(b->tensor_dims[k], dims, n_dims * sizeof *dims);
    }
    tensor->name = text(name);
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->n_dims = n_dims;
    tensor->dims = b->tensor_dims[k];
    tensor->has_raw_data = 1;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)data;
    tensor->raw_data.len = n_bytes;
    b->tensor_list[b->graph.n_initializer++] = tensor;
    return tensor;
}

uint8_t *builder_pack(builder *b, size_t *ret_bytes)
{
    *ret_bytes = onnx__model_proto__get_packed_size(&b->model);
    uint8_t *bytes = malloc(*ret_bytes + 1);
    if (bytes == NULL) {
        abort();
    }
    onnx__model_proto__pack(&b->model, bytes);
    return bytes;
}

void builder_conv(builder *b)
{
    static const float w[18] = {1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -2, -3, -4, -5, -6, -7, -8, -9};
    static const float bias[2] = {0.5F, -0.5F};
    static const int64_t w_dims[] = {2, 1, 3, 3}, b_dims[] = {2}, x[] = {1, 1, 4, 4},
                         y[] = {1, 2, 2, 2};
    static char in[2][16], out[2][16];
    strcpy(in[0], "image w b");
    strcpy(out[0], "c");
    strcpy(in[1], "c");
    strcpy(out[1], "y");
    builder_init(b, 13);
    builder_port(b, false, "image", 1, 4, x);
    builder_port(b, true, "y", 1, 4, y);
    builder_tensor(b, "w", 1, 4, w_dims, w, sizeof w);
    builder_tensor(b, "b", 1, 1, b_dims, bias, sizeof bias);
    builder_node(b, "conv1", "Conv", in[0], out[0]);
    builder_node(b, "relu1", "Relu", in[1], out[1]);
}
