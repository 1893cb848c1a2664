#include "inference/graph/node_import.h"

#include <stdlib.h>
#include <string.h>

enum {
    ANY = MD_GRAPH_MAX_IO
};

/* Sorted by name; the last column is the opset from which on our reading holds: 1 for operators
 * that did not change since, 6 where older opsets had other attributes. Heaviside has no ONNX
 * operator and gets none of our own, so that every model opens in the tools that people have: a
 * model writes Greater(x, 0) and Cast to float, and rewriting makes the two one kernel
 * (fuse.c). */
static const md_op_entry table[] = {
    {"Abs", md_import_unary, MD_UNARY_ABS, 1, 1, 1, 6},
    {"Add", md_import_binary, MD_BINARY_ADD, 2, 2, 1, 6},
    {"And", md_import_binary, MD_BINARY_AND, 2, 2, 1, 6},
    {"ArgMax", md_import_arg_max, 0, 1, 1, 1, 1},
    {"ArgMin", md_import_arg_max, 1, 1, 1, 1, 1},
    {"AveragePool", md_import_pool, 1, 1, 1, 1, 1},
    {"BatchNormalization", md_import_batch_norm, 0, 5, 5, 1, 6},
    {"Cast", md_import_cast, 0, 1, 1, 1, 6},
    {"Ceil", md_import_unary, MD_UNARY_CEIL, 1, 1, 1, 6},
    {"Clip", md_import_clip, 0, 1, 3, 1, 6},
    {"Concat", md_import_concat, 0, 1, ANY, 1, 1},
    {"Constant", md_import_constant_node, 0, 0, 0, 1, 1},
    {"ConstantOfShape", md_import_constant_of_shape, 0, 1, 1, 1, 9},
    {"Conv", md_import_conv, 0, 2, 3, 1, 1},
    {"ConvTranspose", md_import_conv_transpose, 0, 2, 3, 1, 1},
    {"Cos", md_import_unary, MD_UNARY_COS, 1, 1, 1, 7},
    {"DepthToSpace", md_import_depth_to_space, 0, 1, 1, 1, 1},
    {"Div", md_import_binary, MD_BINARY_DIV, 2, 2, 1, 6},
    {"Dropout", md_import_dropout, 0, 1, 3, 2, 6},
    {"Elu", md_import_unary, MD_UNARY_ELU, 1, 1, 1, 6},
    {"Equal", md_import_binary, MD_BINARY_EQUAL, 2, 2, 1, 6},
    {"Erf", md_import_unary, MD_UNARY_ERF, 1, 1, 1, 9},
    {"Exp", md_import_unary, MD_UNARY_EXP, 1, 1, 1, 6},
    {"Expand", md_import_expand, 0, 2, 2, 1, 8},
    {"Flatten", md_import_flatten, 0, 1, 1, 1, 1},
    {"Floor", md_import_unary, MD_UNARY_FLOOR, 1, 1, 1, 6},
    {"Gather", md_import_gather, 0, 2, 2, 1, 1},
    {"Gemm", md_import_gemm, 0, 2, 3, 1, 6},
    {"GlobalAveragePool", md_import_global_pool, 1, 1, 1, 1, 1},
    {"GlobalMaxPool", md_import_global_pool, 0, 1, 1, 1, 1},
    {"Greater", md_import_binary, MD_BINARY_GREATER, 2, 2, 1, 6},
    {"GreaterOrEqual", md_import_binary, MD_BINARY_GREATER_EQUAL, 2, 2, 1, 12},
    {"HardSigmoid", md_import_unary, MD_UNARY_HARD_SIGMOID, 1, 1, 1, 6},
    {"HardSwish", md_import_unary, MD_UNARY_HARD_SWISH, 1, 1, 1, 14},
    {"Identity", md_import_identity, 0, 1, 1, 1, 1},
    {"InstanceNormalization", md_import_instance_norm, 0, 3, 3, 1, 6},
    {"LRN", md_import_lrn, 0, 1, 1, 1, 1},
    {"LeakyRelu", md_import_unary, MD_UNARY_LEAKY_RELU, 1, 1, 1, 6},
    {"Less", md_import_binary, MD_BINARY_LESS, 2, 2, 1, 6},
    {"LessOrEqual", md_import_binary, MD_BINARY_LESS_EQUAL, 2, 2, 1, 12},
    {"Log", md_import_unary, MD_UNARY_LOG, 1, 1, 1, 6},
    {"LogSoftmax", md_import_softmax, 1, 1, 1, 1, 1},
    {"MatMul", md_import_matmul, 0, 2, 2, 1, 6},
    {"Max", md_import_variadic, MD_BINARY_MAX, 1, ANY, 1, 6},
    {"MaxPool", md_import_pool, 0, 1, 1, 1, 1},
    {"Mean", md_import_variadic, -1, 1, ANY, 1, 6},
    {"Min", md_import_variadic, MD_BINARY_MIN, 1, ANY, 1, 6},
    {"Mul", md_import_binary, MD_BINARY_MUL, 2, 2, 1, 6},
    {"Neg", md_import_unary, MD_UNARY_NEG, 1, 1, 1, 6},
    {"Not", md_import_unary, MD_UNARY_NOT, 1, 1, 1, 1},
    {"Or", md_import_binary, MD_BINARY_OR, 2, 2, 1, 6},
    {"PRelu", md_import_binary, MD_BINARY_PRELU, 2, 2, 1, 6},
    {"Pad", md_import_pad, 0, 1, 3, 1, 6},
    {"Pow", md_import_binary, MD_BINARY_POW, 2, 2, 1, 6},
    {"Reciprocal", md_import_unary, MD_UNARY_RECIPROCAL, 1, 1, 1, 6},
    {"ReduceL1", md_import_reduce, MD_REDUCE_L1, 1, 1, 1, 1},
    {"ReduceL2", md_import_reduce, MD_REDUCE_L2, 1, 1, 1, 1},
    {"ReduceLogSum", md_import_reduce, MD_REDUCE_LOG_SUM, 1, 1, 1, 1},
    {"ReduceLogSumExp", md_import_reduce, MD_REDUCE_LOG_SUM_EXP, 1, 1, 1, 1},
    {"ReduceMax", md_import_reduce, MD_REDUCE_MAX, 1, 1, 1, 1},
    {"ReduceMean", md_import_reduce, MD_REDUCE_MEAN, 1, 1, 1, 1},
    {"ReduceMin", md_import_reduce, MD_REDUCE_MIN, 1, 1, 1, 1},
    {"ReduceProd", md_import_reduce, MD_REDUCE_PROD, 1, 1, 1, 1},
    {"ReduceSum", md_import_reduce, MD_REDUCE_SUM, 1, 2, 1, 1},
    {"ReduceSumSquare", md_import_reduce, MD_REDUCE_SUM_SQUARE, 1, 1, 1, 1},
    {"Relu", md_import_unary, MD_UNARY_RELU, 1, 1, 1, 6},
    {"Reshape", md_import_reshape, 0, 2, 2, 1, 6},
    {"Resize", md_import_resize, 0, 1, 4, 1, 10},
    {"Round", md_import_unary, MD_UNARY_ROUND, 1, 1, 1, 11},
    {"Selu", md_import_unary, MD_UNARY_SELU, 1, 1, 1, 6},
    {"Shape", md_import_shape, 0, 1, 1, 1, 1},
    {"Sigmoid", md_import_unary, MD_UNARY_SIGMOID, 1, 1, 1, 6},
    {"Sign", md_import_unary, MD_UNARY_SIGN, 1, 1, 1, 9},
    {"Sin", md_import_unary, MD_UNARY_SIN, 1, 1, 1, 7},
    {"Size", md_import_shape, 1, 1, 1, 1, 1},
    {"Slice", md_import_slice, 0, 1, 5, 1, 1},
    {"Softmax", md_import_softmax, 0, 1, 1, 1, 1},
    {"Softplus", md_import_unary, MD_UNARY_SOFTPLUS, 1, 1, 1, 1},
    {"Softsign", md_import_unary, MD_UNARY_SOFTSIGN, 1, 1, 1, 1},
    {"SpaceToDepth", md_import_depth_to_space, 1, 1, 1, 1, 1},
    {"Split", md_import_split, 0, 1, 2, ANY, 6},
    {"Sqrt", md_import_unary, MD_UNARY_SQRT, 1, 1, 1, 6},
    {"Squeeze", md_import_squeeze, 0, 1, 2, 1, 1},
    {"Sub", md_import_binary, MD_BINARY_SUB, 2, 2, 1, 6},
    {"Sum", md_import_variadic, MD_BINARY_ADD, 1, ANY, 1, 6},
    {"Tanh", md_import_unary, MD_UNARY_TANH, 1, 1, 1, 6},
    {"ThresholdedRelu", md_import_unary, MD_UNARY_THRESHOLDED_RELU, 1, 1, 1, 10},
    {"Tile", md_import_tile, 0, 2, 2, 1, 6},
    {"Transpose", md_import_transpose, 0, 1, 1, 1, 1},
    {"Unsqueeze", md_import_unsqueeze, 0, 1, 2, 1, 1},
    {"Upsample", md_import_upsample, 0, 1, 2, 1, 7},
    {"Where", md_import_where, 0, 3, 3, 1, 9},
    {"Xor", md_import_binary, MD_BINARY_XOR, 2, 2, 1, 6},
};

static int compare(const void *name, const void *entry)
{
    return strcmp(name, ((const md_op_entry *)entry)->op_type);
}

const md_op_entry *md_op_find(const char *op_type)
{
    return bsearch(op_type, table, sizeof table / sizeof *table, sizeof *table, compare);
}
