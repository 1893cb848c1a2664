#include "inference/graph/node_import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MANY = MD_GRAPH_MAX_IO
};

/* Sets of element types. */
#define BIT(dtype) (1U << (dtype))
#define F32 BIT(MD_F32)
#define REAL (BIT(MD_F32) | BIT(MD_F64))
#define HALF (BIT(MD_F16) | BIT(MD_BF16))
#define I16 BIT(MD_I16)
#define I32 BIT(MD_I32)
#define SIGNED (REAL | BIT(MD_I64) | BIT(MD_I32) | BIT(MD_I16) | BIT(MD_I8))
#define UNSIGNED (BIT(MD_U64) | BIT(MD_U32) | BIT(MD_U16) | BIT(MD_U8))
#define INTEGER (UNSIGNED | (SIGNED & ~REAL))
#define NUMBER (REAL | INTEGER)
#define BOOL BIT(MD_BOOL)
#define ANY (NUMBER | BOOL | HALF)
#define INDEX (BIT(MD_I64) | BIT(MD_I32))
#define BYTE (BIT(MD_I8) | BIT(MD_U8))
#define QUANTIZED (BYTE | BIT(MD_I16) | BIT(MD_U16) | BIT(MD_I32))

/* Sorted by name. The columns after the variant: least and most inputs, most outputs, the opset
 * from which on our reading holds (1 for operators that did not change since, 6 where older
 * opsets had other attributes) and the last that has the operator. Heaviside has no ONNX
 * operator and gets none of our own, so that every model opens in the tools that people have: a
 * model writes Greater(x, 0) and Cast to float, and rewriting makes the two one kernel
 * (fuse.c). */
static const md_op_entry table[] = {
    {"Abs", md_import_unary, MD_UNARY_ABS, 1, 1, 1, 6, 0, NUMBER},
    {"Acos", md_import_unary, MD_UNARY_ACOS, 1, 1, 1, 7, 0, REAL},
    {"Acosh", md_import_unary, MD_UNARY_ACOSH, 1, 1, 1, 9, 0, REAL},
    {"Add", md_import_binary, MD_BINARY_ADD, 2, 2, 1, 6, 0, NUMBER},
    {"And", md_import_binary, MD_BINARY_AND, 2, 2, 1, 6, 0, BOOL},
    {"ArgMax", md_import_arg_max, 0, 1, 1, 1, 1, 0, NUMBER},
    {"ArgMin", md_import_arg_max, 1, 1, 1, 1, 1, 0, NUMBER},
    {"Asin", md_import_unary, MD_UNARY_ASIN, 1, 1, 1, 7, 0, REAL},
    {"Asinh", md_import_unary, MD_UNARY_ASINH, 1, 1, 1, 9, 0, REAL},
    {"Atan", md_import_unary, MD_UNARY_ATAN, 1, 1, 1, 7, 0, REAL},
    {"Atanh", md_import_unary, MD_UNARY_ATANH, 1, 1, 1, 9, 0, REAL},
    {"AveragePool", md_import_pool, MD_POOL_AVERAGE, 1, 1, 1, 1, 0, F32},
    {"BatchNormalization", md_import_batch_norm, 0, 5, 5, 1, 6, 0, F32},
    {"BitShift", md_import_bit_shift, 0, 2, 2, 1, 11, 0, UNSIGNED},
    {"BitwiseAnd", md_import_binary, MD_BINARY_BIT_AND, 2, 2, 1, 18, 0, INTEGER},
    {"BitwiseNot", md_import_unary, MD_UNARY_BIT_NOT, 1, 1, 1, 18, 0, INTEGER},
    {"BitwiseOr", md_import_binary, MD_BINARY_BIT_OR, 2, 2, 1, 18, 0, INTEGER},
    {"BitwiseXor", md_import_binary, MD_BINARY_BIT_XOR, 2, 2, 1, 18, 0, INTEGER},
    {"BlackmanWindow", md_import_window, MD_WINDOW_BLACKMAN, 1, 1, 1, 17, 0, INDEX},
    {"Cast", md_import_cast, 0, 1, 1, 1, 6, 0, ANY},
    {"CastLike", md_import_cast, 1, 2, 2, 1, 15, 0, ANY},
    {"Ceil", md_import_unary, MD_UNARY_CEIL, 1, 1, 1, 6, 0, REAL},
    {"Celu", md_import_unary, MD_UNARY_CELU, 1, 1, 1, 12, 0, F32},
    {"Clip", md_import_clip, 0, 1, 3, 1, 6, 0, NUMBER},
    {"Compress", md_import_compress, 0, 2, 2, 1, 9, 0, ANY},
    {"Concat", md_import_concat, 0, 1, MANY, 1, 1, 0, ANY},
    {"Constant", md_import_constant_node, 0, 0, 0, 1, 1, 0, ANY},
    {"ConstantOfShape", md_import_constant_of_shape, 0, 1, 1, 1, 9, 0, INDEX},
    {"Conv", md_import_conv, 0, 2, 3, 1, 1, 0, F32},
    {"ConvInteger", md_import_conv_integer, 0, 2, 4, 1, 10, 0, BYTE},
    {"ConvTranspose", md_import_conv_transpose, 0, 2, 3, 1, 1, 0, F32},
    {"Cos", md_import_unary, MD_UNARY_COS, 1, 1, 1, 7, 0, REAL},
    {"Cosh", md_import_unary, MD_UNARY_COSH, 1, 1, 1, 9, 0, REAL},
    {"CumSum", md_import_cum_sum, 0, 2, 2, 1, 11, 0, NUMBER},
    {"DepthToSpace", md_import_depth_to_space, 0, 1, 1, 1, 1, 0, ANY},
    {"DequantizeLinear", md_import_dequantize, 0, 2, 3, 1, 10, 0, QUANTIZED},
    {"Det", md_import_det, 0, 1, 1, 1, 11, 0, REAL},
    {"Div", md_import_binary, MD_BINARY_DIV, 2, 2, 1, 6, 0, NUMBER},
    {"Dropout", md_import_dropout, 0, 1, 3, 2, 6, 0, ANY},
    {"DynamicQuantizeLinear", md_import_dynamic_quantize, 0, 1, 1, 3, 11, 0, F32},
    {"Einsum", md_import_einsum, 0, 1, MANY, 1, 12, 0, NUMBER},
    {"Elu", md_import_unary, MD_UNARY_ELU, 1, 1, 1, 6, 0, REAL},
    {"Equal", md_import_binary, MD_BINARY_EQUAL, 2, 2, 1, 6, 0, NUMBER | BOOL},
    {"Erf", md_import_unary, MD_UNARY_ERF, 1, 1, 1, 9, 0, REAL},
    {"Exp", md_import_unary, MD_UNARY_EXP, 1, 1, 1, 6, 0, REAL},
    {"Expand", md_import_expand, 0, 2, 2, 1, 8, 0, ANY},
    {"EyeLike", md_import_eye_like, 0, 1, 1, 1, 9, 0, ANY},
    {"Flatten", md_import_flatten, 0, 1, 1, 1, 1, 0, ANY},
    {"Floor", md_import_unary, MD_UNARY_FLOOR, 1, 1, 1, 6, 0, REAL},
    {"GRU", md_import_rnn, MD_RNN_GRU, 3, 6, 2, 7, 0, F32},
    {"Gather", md_import_gather, 0, 2, 2, 1, 1, 0, ANY},
    {"GatherElements", md_import_gather_elements, 0, 2, 2, 1, 11, 0, ANY},
    {"GatherND", md_import_gather_nd, 0, 2, 2, 1, 11, 0, ANY},
    {"Gelu", md_import_unary, MD_UNARY_GELU, 1, 1, 1, 20, 0, REAL},
    {"Gemm", md_import_gemm, 0, 2, 3, 1, 6, 0, F32},
    {"GlobalAveragePool", md_import_global_pool, MD_POOL_AVERAGE, 1, 1, 1, 1, 0, F32},
    {"GlobalLpPool", md_import_global_pool, MD_POOL_LP, 1, 1, 1, 2, 0, F32},
    {"GlobalMaxPool", md_import_global_pool, MD_POOL_MAX, 1, 1, 1, 1, 0, F32},
    {"Greater", md_import_binary, MD_BINARY_GREATER, 2, 2, 1, 6, 0, NUMBER},
    {"GreaterOrEqual", md_import_binary, MD_BINARY_GREATER_EQUAL, 2, 2, 1, 12, 0, NUMBER},
    {"GridSample", md_import_grid_sample, 0, 2, 2, 1, 16, 0, F32},
    {"GroupNormalization", md_import_group_norm, 0, 3, 3, 1, 18, 0, F32},
    {"HammingWindow", md_import_window, MD_WINDOW_HAMMING, 1, 1, 1, 17, 0, INDEX},
    {"HannWindow", md_import_window, MD_WINDOW_HANN, 1, 1, 1, 17, 0, INDEX},
    {"HardSigmoid", md_import_unary, MD_UNARY_HARD_SIGMOID, 1, 1, 1, 6, 0, REAL},
    {"HardSwish", md_import_unary, MD_UNARY_HARD_SWISH, 1, 1, 1, 14, 0, REAL},
    {"Hardmax", md_import_softmax, MD_SOFTMAX_HARD, 1, 1, 1, 1, 0, REAL},
    {"Identity", md_import_identity, 0, 1, 1, 1, 1, 0, ANY},
    {"If", md_import_if, 0, 1, 1, MANY, 1, 0, BOOL},
    {"InstanceNormalization", md_import_instance_norm, 0, 3, 3, 1, 6, 0, F32},
    {"IsInf", md_import_classify, 1, 1, 1, 1, 10, 0, REAL | HALF},
    {"IsNaN", md_import_classify, 0, 1, 1, 1, 9, 0, REAL | HALF},
    {"LRN", md_import_lrn, 0, 1, 1, 1, 1, 0, F32},
    {"LSTM", md_import_rnn, MD_RNN_LSTM, 3, 8, 3, 7, 0, F32},
    {"LayerNormalization", md_import_layer_norm, 0, 2, 3, 3, 17, 0, F32},
    {"LeakyRelu", md_import_unary, MD_UNARY_LEAKY_RELU, 1, 1, 1, 6, 0, REAL},
    {"Less", md_import_binary, MD_BINARY_LESS, 2, 2, 1, 6, 0, NUMBER},
    {"LessOrEqual", md_import_binary, MD_BINARY_LESS_EQUAL, 2, 2, 1, 12, 0, NUMBER},
    {"Log", md_import_unary, MD_UNARY_LOG, 1, 1, 1, 6, 0, REAL},
    {"LogSoftmax", md_import_softmax, MD_SOFTMAX_LOG, 1, 1, 1, 1, 0, REAL},
    {"Loop", md_import_loop, 0, 2, MANY, MANY, 1, 0, ANY},
    {"LpNormalization", md_import_lp_norm, 0, 1, 1, 1, 1, 0, REAL},
    {"LpPool", md_import_pool, MD_POOL_LP, 1, 1, 1, 2, 0, F32},
    {"MatMul", md_import_matmul, 0, 2, 2, 1, 6, 0, NUMBER},
    {"MatMulInteger", md_import_matmul_integer, 0, 2, 4, 1, 10, 0, BYTE},
    {"Max", md_import_variadic, MD_BINARY_MAX, 1, MANY, 1, 6, 0, NUMBER},
    {"MaxPool", md_import_pool, MD_POOL_MAX, 1, 1, 2, 1, 0, F32 | BYTE},
    {"MaxUnpool", md_import_max_unpool, 0, 2, 3, 1, 9, 0, F32},
    {"Mean", md_import_variadic, -1, 1, MANY, 1, 6, 0, REAL},
    {"MeanVarianceNormalization", md_import_mvn, 0, 1, 1, 1, 9, 0, F32},
    {"Min", md_import_variadic, MD_BINARY_MIN, 1, MANY, 1, 6, 0, NUMBER},
    {"Mish", md_import_unary, MD_UNARY_MISH, 1, 1, 1, 18, 0, REAL},
    {"Mod", md_import_mod, 0, 2, 2, 1, 10, 0, NUMBER},
    {"Mul", md_import_binary, MD_BINARY_MUL, 2, 2, 1, 6, 0, NUMBER},
    {"Neg", md_import_unary, MD_UNARY_NEG, 1, 1, 1, 6, 0, SIGNED},
    {"NegativeLogLikelihoodLoss", md_import_nll_loss, 0, 2, 3, 1, 12, 0, F32},
    {"NonMaxSuppression", md_import_nms, 0, 2, 5, 1, 10, 0, F32},
    {"NonZero", md_import_non_zero, 0, 1, 1, 1, 9, 0, ANY},
    {"Not", md_import_unary, MD_UNARY_NOT, 1, 1, 1, 1, 0, BOOL},
    {"OneHot", md_import_one_hot, 0, 3, 3, 1, 9, 0, NUMBER},
    {"Or", md_import_binary, MD_BINARY_OR, 2, 2, 1, 6, 0, BOOL},
    {"PRelu", md_import_binary, MD_BINARY_PRELU, 2, 2, 1, 6, 0, NUMBER},
    {"Pad", md_import_pad, 0, 1, 4, 1, 6, 0, ANY},
    {"Pow", md_import_binary, MD_BINARY_POW, 2, 2, 1, 6, 0, REAL | INDEX},
    {"QLinearConv", md_import_qlinear_conv, 0, 8, 9, 1, 10, 0, BYTE},
    {"QLinearMatMul", md_import_qlinear_matmul, 0, 8, 8, 1, 10, 0, BYTE},
    {"QuantizeLinear", md_import_quantize, 0, 2, 3, 1, 10, 0, F32 | I32},
    {"RNN", md_import_rnn, MD_RNN_PLAIN, 3, 6, 2, 7, 0, F32},
    {"Range", md_import_range, 0, 3, 3, 1, 11, 0, REAL | INDEX | I16},
    {"Reciprocal", md_import_unary, MD_UNARY_RECIPROCAL, 1, 1, 1, 6, 0, REAL},
    {"ReduceL1", md_import_reduce, MD_REDUCE_L1, 1, 2, 1, 1, 0, NUMBER},
    {"ReduceL2", md_import_reduce, MD_REDUCE_L2, 1, 2, 1, 1, 0, REAL},
    {"ReduceLogSum", md_import_reduce, MD_REDUCE_LOG_SUM, 1, 2, 1, 1, 0, REAL},
    {"ReduceLogSumExp", md_import_reduce, MD_REDUCE_LOG_SUM_EXP, 1, 2, 1, 1, 0, REAL},
    {"ReduceMax", md_import_reduce, MD_REDUCE_MAX, 1, 2, 1, 1, 0, NUMBER | BOOL},
    {"ReduceMean", md_import_reduce, MD_REDUCE_MEAN, 1, 2, 1, 1, 0, REAL},
    {"ReduceMin", md_import_reduce, MD_REDUCE_MIN, 1, 2, 1, 1, 0, NUMBER | BOOL},
    {"ReduceProd", md_import_reduce, MD_REDUCE_PROD, 1, 2, 1, 1, 0, NUMBER},
    {"ReduceSum", md_import_reduce, MD_REDUCE_SUM, 1, 2, 1, 1, 0, NUMBER},
    {"ReduceSumSquare", md_import_reduce, MD_REDUCE_SUM_SQUARE, 1, 2, 1, 1, 0, NUMBER},
    {"Relu", md_import_unary, MD_UNARY_RELU, 1, 1, 1, 6, 0, REAL | SIGNED},
    {"Reshape", md_import_reshape, 0, 2, 2, 1, 6, 0, ANY},
    {"Resize", md_import_resize, 0, 1, 4, 1, 10, 0, F32},
    {"ReverseSequence", md_import_reverse_sequence, 0, 2, 2, 1, 10, 0, ANY},
    {"RoiAlign", md_import_roi_align, 0, 3, 3, 1, 10, 0, F32},
    {"Round", md_import_unary, MD_UNARY_ROUND, 1, 1, 1, 11, 0, REAL},
    {"Scan", md_import_scan, 0, 1, MANY, MANY, 9, 0, ANY},
    {"Scatter", md_import_scatter_elements, 0, 3, 3, 1, 9, 10, ANY},
    {"ScatterElements", md_import_scatter_elements, 0, 3, 3, 1, 11, 0, ANY},
    {"ScatterND", md_import_scatter_nd, 0, 3, 3, 1, 11, 0, ANY},
    {"Selu", md_import_unary, MD_UNARY_SELU, 1, 1, 1, 6, 0, REAL},
    {"Shape", md_import_shape, 0, 1, 1, 1, 1, 0, ANY},
    {"Shrink", md_import_unary, MD_UNARY_SHRINK, 1, 1, 1, 9, 0, REAL},
    {"Sigmoid", md_import_unary, MD_UNARY_SIGMOID, 1, 1, 1, 6, 0, REAL},
    {"Sign", md_import_unary, MD_UNARY_SIGN, 1, 1, 1, 9, 0, NUMBER},
    {"Sin", md_import_unary, MD_UNARY_SIN, 1, 1, 1, 7, 0, REAL},
    {"Sinh", md_import_unary, MD_UNARY_SINH, 1, 1, 1, 9, 0, REAL},
    {"Size", md_import_shape, 1, 1, 1, 1, 1, 0, ANY},
    {"Slice", md_import_slice, 0, 1, 5, 1, 1, 0, ANY},
    {"Softmax", md_import_softmax, MD_SOFTMAX, 1, 1, 1, 1, 0, REAL},
    {"SoftmaxCrossEntropyLoss", md_import_nll_loss, 1, 2, 3, 2, 12, 0, F32},
    {"Softplus", md_import_unary, MD_UNARY_SOFTPLUS, 1, 1, 1, 1, 0, REAL},
    {"Softsign", md_import_unary, MD_UNARY_SOFTSIGN, 1, 1, 1, 1, 0, REAL},
    {"SpaceToDepth", md_import_depth_to_space, 1, 1, 1, 1, 1, 0, ANY},
    {"Split", md_import_split, 0, 1, 2, MANY, 6, 0, ANY},
    {"Sqrt", md_import_unary, MD_UNARY_SQRT, 1, 1, 1, 6, 0, REAL},
    {"Squeeze", md_import_squeeze, 0, 1, 2, 1, 1, 0, ANY},
    {"Sub", md_import_binary, MD_BINARY_SUB, 2, 2, 1, 6, 0, NUMBER},
    {"Sum", md_import_variadic, MD_BINARY_ADD, 1, MANY, 1, 6, 0, NUMBER},
    {"Tan", md_import_unary, MD_UNARY_TAN, 1, 1, 1, 7, 0, REAL},
    {"Tanh", md_import_unary, MD_UNARY_TANH, 1, 1, 1, 6, 0, REAL},
    {"ThresholdedRelu", md_import_unary, MD_UNARY_THRESHOLDED_RELU, 1, 1, 1, 10, 0, REAL},
    {"Tile", md_import_tile, 0, 2, 2, 1, 6, 0, ANY},
    {"TopK", md_import_top_k, 0, 1, 2, 2, 1, 0, NUMBER},
    {"Transpose", md_import_transpose, 0, 1, 1, 1, 1, 0, ANY},
    {"Trilu", md_import_trilu, 0, 1, 2, 1, 14, 0, ANY},
    {"Unique", md_import_unique, 0, 1, 1, 4, 11, 0, ANY},
    {"Unsqueeze", md_import_unsqueeze, 0, 1, 2, 1, 1, 0, ANY},
    {"Upsample", md_import_upsample, 0, 1, 2, 1, 7, 9, F32},
    {"Where", md_import_where, 0, 3, 3, 1, 9, 0, BOOL},
    {"Xor", md_import_binary, MD_BINARY_XOR, 2, 2, 1, 6, 0, BOOL},
};

static int compare(const void *name, const void *entry)
{
    return strcmp(name, ((const md_op_entry *)entry)->op_type);
}

const md_op_entry *md_op_find(const char *op_type)
{
    return bsearch(op_type, table, sizeof table / sizeof *table, sizeof *table, compare);
}

const md_op_entry *md_op_row(size_t i)
{
    return i < sizeof table / sizeof *table ? &table[i] : NULL;
}

void md_types_text(unsigned types, char *ret_text, size_t n_bytes)
{
    size_t n = 0;
    ret_text[0] = '\0';
    for (unsigned i = 0; i < MD_DTYPE_COUNT && n < n_bytes; i++) {
        if ((types & BIT(i)) != 0) {
            const int more = snprintf(ret_text + n, n_bytes - n, "%s%s", n == 0 ? "" : " ",
                                      md_dtype_name((md_dtype)i));
            n += more > 0 ? (size_t)more : 0;
        }
    }
}
