#ifndef MEDAID_INFERENCE_GRAPH_NODE_IMPORT_H
#define MEDAID_INFERENCE_GRAPH_NODE_IMPORT_H

/* What the operators' import functions (ops_*.c) share: the ONNX node at hand, its attributes
 * and its operands. Private to graph/. */

#include "inference/graph/graph.h"
#include "onnx.pb-c.h"

enum {
    MD_IMPORT_MAX_ATTRIBUTES = 64
};

typedef struct md_node_import {
    md_graph *graph;
    const Onnx__NodeProto *proto;
    md_node node;  /* the draft: names and opset for messages, parameters for md_import_emit */
    const int *in; /* values, MD_GRAPH_NO_VALUE for an absent one */
    unsigned n_in;
    int variant;              /* of the md_op_entry */
    uint64_t attributes_used; /* one bit for each */
    /* float16 or bfloat16 when the operands were that and are float32 now: float32 outputs of
     * the ONNX node are converted back. MD_F32 otherwise */
    md_dtype narrow;
    md_error *err;
} md_node_import;

#define md_import_fail(b, status, ...) md_node_fail((b)->err, &(b)->node, (status), __VA_ARGS__)

typedef md_status (*md_import_fn)(md_node_import *b);

typedef struct md_op_entry {
    const char *op_type;
    md_import_fn import;
    int variant; /* md_unary, md_binary, md_reduce...: what distinguishes operators that share
                    an import function; see there */
    unsigned min_inputs, max_inputs, max_outputs;
    int since; /* the least opset */
    int until; /* the last opset that has the operator, 0: it has no end */
    /* Element types of the first operand, 1 << md_dtype; the import function may allow less.
     * With float32 and without float16, 16-bit floats are computed in float32 and rounded. */
    unsigned types;
} md_op_entry;

/* The table's row for an operator of the default domain, NULL when unknown. */
const md_op_entry *md_op_find(const char *op_type);
/* Row i of the table, NULL after the last. */
const md_op_entry *md_op_row(size_t i);
/* "float32 float64 ...", as many as fit. */
void md_types_text(unsigned types, char *ret_text, size_t n_bytes);

/* Attributes. Each is marked as read; md_attributes_finish names one that nobody read. A wrong
 * type is MD_FORMAT. */
md_status md_attribute_int(md_node_import *b, const char *name, int64_t fallback, int64_t *ret);
md_status md_attribute_float(md_node_import *b, const char *name, float fallback, float *ret);
/* *ret_n is 0 and *ret_values NULL when absent. Borrowed from the message. */
md_status md_attribute_ints(md_node_import *b, const char *name, const int64_t **ret_values,
                            size_t *ret_n);
/* One of `choices` (NULL-terminated), its index. MD_UNSUPPORTED for another text. */
md_status md_attribute_choice(md_node_import *b, const char *name, const char *const *choices,
                              int fallback, int *ret_index);
/* NULL when absent. */
md_status md_attribute_find(md_node_import *b, const char *name,
                            Onnx__AttributeProto__AttributeType type,
                            const Onnx__AttributeProto **ret_attribute);
md_status md_attributes_finish(md_node_import *b);

/* The operand, NULL when absent. */
const md_tensor *md_import_in(const md_node_import *b, unsigned i);
/* MD_UNSUPPORTED unless the operand is of that type. */
md_status md_import_need(md_node_import *b, unsigned i, md_dtype dtype);
/* The integers of a constant operand of at most one dimension; absent: *ret_n = 0 and NULL.
 * MD_UNSUPPORTED when it is not constant. Valid as long as the graph. */
md_status md_import_ints(md_node_import *b, unsigned i, const int64_t **ret_values,
                         size_t *ret_n);
/* MD_UNSUPPORTED unless the operand is absent or constant. */
md_status md_import_need_constant(md_node_import *b, unsigned i);
/* The same for one number of any type; false in *ret_present when absent. */
md_status md_import_scalar(md_node_import *b, unsigned i, bool *ret_present, double *ret_value);
/* An axis -rank..rank-1 (or ..rank with one_more) made non-negative. */
md_status md_import_axis(md_node_import *b, int64_t axis, unsigned rank, unsigned *ret_axis);

enum {
    MD_IMPORT_INNER = -1 /* a value that is no output of the ONNX node */
};
/* Append a node with b->node.p and one output: the ONNX node's output number `output`, or one
 * made here. A node with constant operands is computed at once. */
md_status md_import_emit(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                         int output, md_dtype dtype, unsigned n_dims, const int64_t *dims,
                         int *ret_value);
/* The same with several outputs, numbers 0..n_outputs-1 of the ONNX node, where an unwanted one
 * is made as an inner value: `shapes` holds their types and dims. */
md_status md_import_emit_all(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                             const md_tensor *shapes, unsigned n_outputs, int *ret_values);
/* The same, and no output is one of the ONNX node. */
md_status md_import_emit_inner(md_node_import *b, md_op op, const int *inputs,
                               unsigned n_inputs, const md_tensor *shapes, unsigned n_outputs,
                               int *ret_values);
/* One output of the shape of value `like`. */
md_status md_import_emit_like(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                              int like, int output, md_dtype dtype, int *ret_value);
/* A constant as the ONNX node's output or inner value; the caller fills the data. */
md_status md_import_constant(md_node_import *b, int output, md_dtype dtype, unsigned n_dims,
                             const int64_t *dims, int *ret_value);
/* The ONNX node's output is that value itself. */
md_status md_import_alias(md_node_import *b, int output, int value);
/* The name of output i, NULL when it is not wanted. */
const char *md_import_output_name(const md_node_import *b, unsigned i);

/* A tensor of the message as a value. raw bytes are borrowed where they can be. */
md_status md_import_tensor(md_graph *graph, const Onnx__TensorProto *proto, const char *name,
                           int *ret_value, md_error *err);
/* ONNX type number to ours. MD_UNSUPPORTED. */
md_status md_import_dtype(int32_t onnx_type, md_dtype *ret_dtype, md_error *err);

/* The initializers and nodes of a graph, whose inputs are known (import.c). */
md_status md_import_nodes(md_graph *graph, const Onnx__GraphProto *proto, int opset,
                          md_error *err);

/* Compute a node whose operands are constant (fold.c). *ret_done false: not worth it. */
md_status md_graph_fold(md_graph *graph, const md_node *node, bool *ret_done, md_error *err);

/* Numpy-style broadcasting of two shapes. */
md_status md_import_broadcast(md_node_import *b, const md_tensor *x, const md_tensor *y,
                              unsigned *ret_n_dims, int64_t *ret_dims);

/* Group and window of a convolution of x with the weights, into b->node.p.conv, and the dims of
 * its result (ops_nn.c). */
md_status md_import_conv_shape(md_node_import *b, const md_tensor *x, const md_tensor *weights,
                               int64_t *ret_dims);

/* The import functions, grouped by file. */
/* ops_math.c */
md_status md_import_unary(md_node_import *b);
md_status md_import_binary(md_node_import *b);
md_status md_import_variadic(md_node_import *b);
md_status md_import_clip(md_node_import *b);
md_status md_import_where(md_node_import *b);
md_status md_import_mod(md_node_import *b);
md_status md_import_bit_shift(md_node_import *b);
md_status md_import_classify(md_node_import *b);
md_status md_import_cast(md_node_import *b);
/* ops_reduce.c */
md_status md_import_reduce(md_node_import *b);
md_status md_import_arg_max(md_node_import *b);
md_status md_import_softmax(md_node_import *b);
/* ops_nn.c */
md_status md_import_conv(md_node_import *b);
md_status md_import_conv_transpose(md_node_import *b);
md_status md_import_pool(md_node_import *b);
md_status md_import_global_pool(md_node_import *b);
md_status md_import_max_unpool(md_node_import *b);
md_status md_import_batch_norm(md_node_import *b);
md_status md_import_instance_norm(md_node_import *b);
md_status md_import_lrn(md_node_import *b);
md_status md_import_gemm(md_node_import *b);
md_status md_import_matmul(md_node_import *b);
md_status md_import_dropout(md_node_import *b);
/* ops_norm.c */
md_status md_import_layer_norm(md_node_import *b);
md_status md_import_group_norm(md_node_import *b);
md_status md_import_lp_norm(md_node_import *b);
md_status md_import_mvn(md_node_import *b);
md_status md_import_det(md_node_import *b);
md_status md_import_nll_loss(md_node_import *b);
/* ops_shape.c */
md_status md_import_identity(md_node_import *b);
md_status md_import_constant_node(md_node_import *b);
md_status md_import_constant_of_shape(md_node_import *b);
md_status md_import_shape(md_node_import *b);
md_status md_import_reshape(md_node_import *b);
md_status md_import_flatten(md_node_import *b);
md_status md_import_squeeze(md_node_import *b);
md_status md_import_unsqueeze(md_node_import *b);
md_status md_import_transpose(md_node_import *b);
md_status md_import_concat(md_node_import *b);
md_status md_import_split(md_node_import *b);
md_status md_import_gather(md_node_import *b);
md_status md_import_slice(md_node_import *b);
md_status md_import_expand(md_node_import *b);
md_status md_import_tile(md_node_import *b);
/* ops_index.c */
md_status md_import_gather_elements(md_node_import *b);
md_status md_import_gather_nd(md_node_import *b);
md_status md_import_scatter_elements(md_node_import *b);
md_status md_import_scatter_nd(md_node_import *b);
md_status md_import_one_hot(md_node_import *b);
md_status md_import_reverse_sequence(md_node_import *b);
md_status md_import_trilu(md_node_import *b);
md_status md_import_cum_sum(md_node_import *b);
md_status md_import_top_k(md_node_import *b);
md_status md_import_compress(md_node_import *b);
md_status md_import_non_zero(md_node_import *b);
md_status md_import_unique(md_node_import *b);
md_status md_import_nms(md_node_import *b);
/* ops_generate.c */
enum {
    MD_WINDOW_HANN,
    MD_WINDOW_HAMMING,
    MD_WINDOW_BLACKMAN
};
md_status md_import_range(md_node_import *b);
md_status md_import_eye_like(md_node_import *b);
md_status md_import_window(md_node_import *b);
/* ops_image.c */
md_status md_import_pad(md_node_import *b);
md_status md_import_resize(md_node_import *b);
md_status md_import_upsample(md_node_import *b);
md_status md_import_depth_to_space(md_node_import *b);
md_status md_import_grid_sample(md_node_import *b);
md_status md_import_roi_align(md_node_import *b);
/* ops_quant.c */
md_status md_import_quantize(md_node_import *b);
md_status md_import_dequantize(md_node_import *b);
md_status md_import_dynamic_quantize(md_node_import *b);
md_status md_import_conv_integer(md_node_import *b);
md_status md_import_matmul_integer(md_node_import *b);
md_status md_import_qlinear_conv(md_node_import *b);
md_status md_import_qlinear_matmul(md_node_import *b);
/* ops_rnn.c */
md_status md_import_rnn(md_node_import *b);
/* ops_einsum.c */
md_status md_import_einsum(md_node_import *b);
/* control.c */
md_status md_import_if(md_node_import *b);
md_status md_import_loop(md_node_import *b);
md_status md_import_scan(md_node_import *b);

#endif
