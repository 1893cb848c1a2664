#ifndef MEDAID_TESTS_ONNX_BUILDER_H
#define MEDAID_TESTS_ONNX_BUILDER_H

/* Small ONNX models made field by field, right or wrong on purpose. Everything lives in the
 * builder; strings are borrowed. */

#include "onnx.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BUILDER_MAX = 24,
    BUILDER_DIMS = 10
};

typedef struct builder {
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset;
    Onnx__OperatorSetIdProto *opsets[1];
    Onnx__NodeProto nodes[BUILDER_MAX], *node_list[BUILDER_MAX];
    char *node_inputs[BUILDER_MAX][BUILDER_MAX], *node_outputs[BUILDER_MAX][BUILDER_MAX];
    Onnx__AttributeProto attributes[BUILDER_MAX], *attribute_list[BUILDER_MAX][BUILDER_MAX];
    size_t n_attributes;
    Onnx__TensorProto tensors[BUILDER_MAX], *tensor_list[BUILDER_MAX];
    int64_t tensor_dims[BUILDER_MAX][BUILDER_DIMS];
    size_t n_tensors;
    Onnx__ValueInfoProto infos[BUILDER_MAX], *input_list[BUILDER_MAX],
        *output_list[BUILDER_MAX];
    Onnx__TypeProto types[BUILDER_MAX];
    Onnx__TypeProto__Tensor tensor_types[BUILDER_MAX];
    Onnx__TensorShapeProto shapes[BUILDER_MAX];
    Onnx__TensorShapeProto__Dimension dims[BUILDER_MAX][BUILDER_DIMS],
        *dim_list[BUILDER_MAX][BUILDER_DIMS];
    size_t n_infos;
} builder;

void builder_init(builder *b, int opset);
/* A graph input or output; a dim of -1 is symbolic. type: ONNX's number, 1 float, 7 int64. */
void builder_port(builder *b, bool output, const char *name, int type, size_t n_dims,
                  const int64_t *dims);
/* inputs and outputs: names with blanks between, "-" for an absent one. */
Onnx__NodeProto *builder_node(builder *b, const char *name, const char *op, char *inputs,
                              char *outputs);
Onnx__AttributeProto *builder_attribute(builder *b, Onnx__NodeProto *node, const char *name,
                                        Onnx__AttributeProto__AttributeType type);
void builder_ints(builder *b, Onnx__NodeProto *node, const char *name, const int64_t *values,
                  size_t n);
void builder_int(builder *b, Onnx__NodeProto *node, const char *name, int64_t value);
/* An initializer with raw data. */
Onnx__TensorProto *builder_tensor(builder *b, const char *name, int type, size_t n_dims,
                                  const int64_t *dims, const void *data, size_t n_bytes);
/* Caller frees with free. */
uint8_t *builder_pack(builder *b, size_t *ret_bytes);

/* image [1,1,4,4] -> Conv 'conv1' with w [2,1,3,3] and b [2] -> c -> Relu -> y. */
void builder_conv(builder *b);

#endif
