#ifndef MEDAID_INFERENCE_GRAPH_GRAPH_H
#define MEDAID_INFERENCE_GRAPH_GRAPH_H

/* The network between ONNX and the plan: values (tensors with a known type and shape, some of
 * them constant) and nodes in an order in which they can run. Lives while a network is loaded.
 * One thread. */

#include "inference/graph/pool.h"
#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_GRAPH_MAX_NODES = 16384,
    MD_GRAPH_MAX_VALUES = 1 << 18,
    MD_GRAPH_MAX_IO = 1024,  /* inputs or outputs of one node */
    MD_GRAPH_OPSET_MIN = 1,  /* each operator has its own, see ops.c */
    MD_GRAPH_OPSET_MAX = 17, /* what onnx 1.12 defines */
    MD_GRAPH_MAX_SPATIAL = 3,
    MD_GRAPH_NO_VALUE = -1, /* an optional input that is absent */
};
/* Constants made while loading (folding, expanded shapes), all together. */
#define MD_GRAPH_MAX_CONSTANT_BYTES ((size_t)1 << 28)

/* What a node computes; ONNX operators that compute the same share one. */
typedef enum md_op {
    MD_OP_NONE, /* removed, or a result known at load time */
    MD_OP_COPY, /* the same elements under another shape */
    MD_OP_CONV,
    MD_OP_CONV_TRANSPOSE,
    MD_OP_POOL,
    MD_OP_BATCH_NORM,
    MD_OP_UNARY,
    MD_OP_BINARY,
    MD_OP_WHERE,
    MD_OP_GEMM,
    MD_OP_MATMUL,
    MD_OP_CONCAT,
    MD_OP_TRANSPOSE,
    MD_OP_SOFTMAX,
    MD_OP_PAD,
    MD_OP_RESIZE,
    MD_OP_SLICE,
    MD_OP_REDUCE,
    MD_OP_GATHER,
    MD_OP_CAST,
    MD_OP_EXPAND,
    MD_OP_TILE,
    MD_OP_ARG_MAX,
    MD_OP_LRN,
    MD_OP_INSTANCE_NORM,
    MD_OP_COUNT
} md_op;

typedef enum md_unary {
    MD_UNARY_IDENTITY,
    MD_UNARY_RELU,
    MD_UNARY_LEAKY_RELU, /* x < 0 ? alpha x : x */
    MD_UNARY_SIGMOID,
    MD_UNARY_TANH,
    MD_UNARY_CLIP,         /* min(max(x, alpha), beta) */
    MD_UNARY_HARD_SIGMOID, /* max(0, min(1, alpha x + beta)) */
    MD_UNARY_HARD_SWISH,   /* x max(0, min(1, x/6 + 1/2)) */
    MD_UNARY_SWISH,        /* x sigmoid(x) */
    MD_UNARY_HEAVISIDE,    /* x > 0 ? 1 : 0 */
    MD_UNARY_ELU,          /* x < 0 ? alpha (e^x - 1) : x */
    MD_UNARY_SELU,         /* beta (x < 0 ? alpha (e^x - 1) : x) */
    MD_UNARY_SOFTPLUS,
    MD_UNARY_SOFTSIGN,
    MD_UNARY_THRESHOLDED_RELU, /* x > alpha ? x : 0 */
    MD_UNARY_ABS,
    MD_UNARY_NEG,
    MD_UNARY_EXP,
    MD_UNARY_LOG,
    MD_UNARY_SQRT,
    MD_UNARY_RECIPROCAL,
    MD_UNARY_FLOOR,
    MD_UNARY_CEIL,
    MD_UNARY_ROUND, /* half to even */
    MD_UNARY_SIGN,
    MD_UNARY_ERF,
    MD_UNARY_SIN,
    MD_UNARY_COS,
    MD_UNARY_NOT, /* bool */
} md_unary;

typedef enum md_binary {
    MD_BINARY_ADD,
    MD_BINARY_SUB,
    MD_BINARY_MUL,
    MD_BINARY_DIV,
    MD_BINARY_MIN,
    MD_BINARY_MAX,
    MD_BINARY_POW,
    MD_BINARY_PRELU,   /* a < 0 ? a b : a */
    MD_BINARY_GREATER, /* from here on the result is bool */
    MD_BINARY_GREATER_EQUAL,
    MD_BINARY_LESS,
    MD_BINARY_LESS_EQUAL,
    MD_BINARY_EQUAL,
    MD_BINARY_AND,
    MD_BINARY_OR,
    MD_BINARY_XOR,
} md_binary;

typedef enum md_reduce {
    MD_REDUCE_SUM,
    MD_REDUCE_MEAN,
    MD_REDUCE_MAX,
    MD_REDUCE_MIN,
    MD_REDUCE_PROD,
    MD_REDUCE_L1,
    MD_REDUCE_L2,
    MD_REDUCE_SUM_SQUARE,
    MD_REDUCE_LOG_SUM,
    MD_REDUCE_LOG_SUM_EXP,
} md_reduce;

typedef enum md_pad_mode {
    MD_PAD_CONSTANT,
    MD_PAD_REFLECT,
    MD_PAD_EDGE
} md_pad_mode;

typedef struct md_activation {
    md_unary function; /* MD_UNARY_IDENTITY: none */
    float alpha, beta;
} md_activation;

/* Convolution and pooling window. Always three axes, depth first; a 2-D one has 1 in front. */
typedef struct md_window {
    unsigned n_spatial; /* of the ONNX node, 1..3 */
    int64_t kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
    int64_t in[3], out[3];
} md_window;

typedef struct md_conv_params {
    md_window window;
    int64_t group;
    md_activation activation;
    bool has_residual; /* the last input is added before the activation */
} md_conv_params;

typedef struct md_pool_params {
    md_window window;
    bool average, count_include_pad;
} md_pool_params;

typedef enum md_resize_mode {
    MD_RESIZE_NEAREST,
    MD_RESIZE_LINEAR,
    MD_RESIZE_CUBIC
} md_resize_mode;

typedef enum md_coordinate {
    MD_COORD_HALF_PIXEL,
    MD_COORD_PYTORCH_HALF_PIXEL,
    MD_COORD_ALIGN_CORNERS,
    MD_COORD_ASYMMETRIC,
    MD_COORD_TF_HALF_PIXEL_FOR_NN,
    MD_COORD_TF_CROP_AND_RESIZE
} md_coordinate;

typedef enum md_nearest {
    MD_NEAREST_ROUND_PREFER_FLOOR,
    MD_NEAREST_ROUND_PREFER_CEIL,
    MD_NEAREST_FLOOR,
    MD_NEAREST_CEIL
} md_nearest;

typedef struct md_resize_params {
    md_resize_mode mode;
    md_coordinate coordinate;
    md_nearest nearest;
    bool exclude_outside;
    float cubic_a, extrapolation;
    double scale[MD_TENSOR_MAX_DIMS]; /* target length over source length, as ONNX means it */
    double roi_start[MD_TENSOR_MAX_DIMS], roi_end[MD_TENSOR_MAX_DIMS];
} md_resize_params;

typedef union md_op_params {
    md_conv_params conv;
    md_pool_params pool;
    md_activation unary;
    md_resize_params resize;
    struct {
        float epsilon;
        md_activation activation; /* batch norm: RELU or none */
    } norm;                       /* batch norm after import: inputs x, scale [C], shift [C] */
    struct {
        md_binary function;
        md_activation activation;
    } binary;
    struct {
        bool transpose_a, transpose_b;
        float alpha, beta;
        md_activation activation;
    } gemm;
    struct {
        unsigned axis;
    } axis; /* concat, gather */
    struct {
        unsigned perm[MD_TENSOR_MAX_DIMS];
    } transpose;
    struct {
        int64_t n_outer, n, n_inner;
        bool log;
    } softmax;
    struct {
        int64_t begin[MD_TENSOR_MAX_DIMS]; /* negative: the input is cut */
        md_pad_mode mode;
        double value;
    } pad;
    struct {
        int64_t start[MD_TENSOR_MAX_DIMS], step[MD_TENSOR_MAX_DIMS];
    } slice;
    struct {
        md_reduce function;
        bool axes[MD_TENSOR_MAX_DIMS]; /* of the input */
    } reduce;
    struct {
        unsigned axis;
        bool minimum, last;
    } arg_max;
    struct {
        float alpha, beta, bias;
        int64_t size;
    } lrn;
} md_op_params;

typedef struct md_value {
    const char *name; /* in the graph's pool; "" for one made here */
    md_tensor tensor; /* shape and type; data when constant, borrowed */
    bool constant;
    bool kept;  /* an output of the graph or one that the caller asked for */
    bool input; /* given for each run */
} md_value;

typedef struct md_node {
    md_op op;
    const char *name, *op_type; /* for messages */
    const char *fused;          /* the operators that it took over, NULL: none */
    int opset;
    unsigned n_inputs, n_outputs;
    int *inputs, *outputs; /* values, MD_GRAPH_NO_VALUE for an absent one */
    md_op_params p;
} md_node;

typedef struct md_port {
    const char *name;
    int value;
} md_port;

typedef struct md_graph {
    md_pool pool;
    md_value *values;
    md_node *nodes;
    int n_values;
    unsigned n_nodes, capacity_values, capacity_nodes;
    struct md_name_table *names;
    md_port *inputs, *outputs;
    unsigned n_inputs, n_outputs;
    size_t constant_bytes; /* made while loading */
    void *proto;           /* the decoded ONNX message, from which constants are borrowed */
    struct md_decode_memory *decode; /* where it is */
} md_graph;

/* Zeroed before; finish takes it back, half-built ones too. */
void md_graph_finish(md_graph *graph) MD_NOEXCEPT;

/* A copy of the text in the pool, NULL when out of memory. */
const char *md_graph_text(md_graph *graph, const char *text) MD_NOEXCEPT;

/* A new value of that shape. name NULL: one made here. MD_FORMAT when the name is taken. The
 * values may move. */
md_status md_graph_add_value(md_graph *graph, const char *name, md_dtype dtype, unsigned n_dims,
                             const int64_t *dims, int *ret_value, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The value of that name, MD_GRAPH_NO_VALUE when there is none. */
int md_graph_find(const md_graph *graph, const char *name) MD_NOEXCEPT;
/* Let `name` stand for that value too. MD_FORMAT when the name is taken. */
md_status md_graph_add_name(md_graph *graph, const char *name, int value, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* All names that stand for the value, NULL-terminated, copied into `pool`. */
md_status md_graph_names_of(const md_graph *graph, int value, md_pool *pool,
                            const char *const **ret_names, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Give the value (of a shape that was checked) memory for its constant data, not cleared. */
md_status md_graph_make_constant(md_graph *graph, int value, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Nobody will read the constant any more: give its memory back where that is possible. */
void md_graph_discard(md_graph *graph, int value) MD_NOEXCEPT;

/* Append a node with room for its inputs (all absent) and outputs. The nodes may move. */
md_status md_graph_add_node(md_graph *graph, const md_node *like, unsigned n_inputs,
                            unsigned n_outputs, md_node **ret_node, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

static inline md_tensor *md_graph_tensor(const md_graph *graph, int value)
{
    return &graph->values[value].tensor;
}

/* The node's input, NULL when absent or beyond the list. */
static inline md_tensor *md_node_in(const md_graph *graph, const md_node *node, unsigned i)
{
    return i < node->n_inputs && node->inputs[i] != MD_GRAPH_NO_VALUE
               ? &graph->values[node->inputs[i]].tensor
               : NULL;
}

/* The same for an operand that the operator always has. */
static inline md_tensor *md_node_operand(const md_graph *graph, const md_node *node, unsigned i)
{
    return &graph->values[node->inputs[i]].tensor;
}

static inline md_tensor *md_node_out(const md_graph *graph, const md_node *node, unsigned i)
{
    return &graph->values[node->outputs[i]].tensor;
}

/* Fail with "node 'conv1' (Conv, opset 11): " before the message. */
#define md_node_fail(err, node, status, ...)                                                   \
    md_node_error_set((err), (node), (status), __func__, __VA_ARGS__)
md_status md_node_error_set(md_error *err, const md_node *node, md_status status,
                            const char *where, const char *format, ...)
    MD_NOEXCEPT MD_PRINTF(5, 6);

#ifdef __cplusplus
}
#endif
#endif
