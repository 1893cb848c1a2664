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
    MD_GRAPH_MAX_IMPORTED = 1 << 17, /* with inner graphs as often as they are unrolled */
    MD_GRAPH_MAX_VALUES = 1 << 18,
    MD_GRAPH_MAX_IO = 1024, /* inputs or outputs of one node */
    MD_GRAPH_OPSET_MIN = 1, /* each operator has its own, see ops.c */
    MD_GRAPH_OPSET_MAX = 21,
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
    MD_OP_LAYER_NORM,
    MD_OP_CLASSIFY,
    MD_OP_CUM_SUM,
    MD_OP_TOP_K,
    MD_OP_TRILU,
    MD_OP_DIAGONAL,
    MD_OP_GATHER_ELEMENTS,
    MD_OP_GATHER_ND,
    MD_OP_SCATTER_ELEMENTS,
    MD_OP_SCATTER_ND,
    MD_OP_ONE_HOT,
    MD_OP_REVERSE_SEQUENCE,
    MD_OP_COMPRESS,
    MD_OP_NON_ZERO,
    MD_OP_UNIQUE,
    MD_OP_NMS,
    MD_OP_DET,
    MD_OP_GRID_SAMPLE,
    MD_OP_ROI_ALIGN,
    MD_OP_MAX_UNPOOL,
    MD_OP_QUANTIZE,
    MD_OP_DEQUANTIZE,
    MD_OP_DYNAMIC_QUANTIZE,
    MD_OP_CONV_INTEGER,
    MD_OP_MATMUL_INTEGER,
    MD_OP_REQUANTIZE,
    MD_OP_RNN,
    MD_OP_NLL_LOSS,
    MD_OP_DROPOUT, /* training alone, see md_import_options */
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
    MD_UNARY_BIT_NOT,
    MD_UNARY_CELU,      /* x < 0 ? alpha (e^(x / alpha) - 1) : x */
    MD_UNARY_MISH,      /* x tanh(softplus(x)) */
    MD_UNARY_GELU,      /* x/2 (1 + erf(x / sqrt(2))) */
    MD_UNARY_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    MD_UNARY_SHRINK,    /* x < -beta ? x + alpha : x > beta ? x - alpha : 0 */
    MD_UNARY_TAN,
    MD_UNARY_ASIN,
    MD_UNARY_ACOS,
    MD_UNARY_ATAN,
    MD_UNARY_SINH,
    MD_UNARY_COSH,
    MD_UNARY_ASINH,
    MD_UNARY_ACOSH,
    MD_UNARY_ATANH,
} md_unary;

typedef enum md_binary {
    MD_BINARY_ADD,
    MD_BINARY_SUB,
    MD_BINARY_MUL,
    MD_BINARY_DIV,
    MD_BINARY_MIN,
    MD_BINARY_MAX,
    MD_BINARY_POW,
    MD_BINARY_PRELU,      /* a < 0 ? a b : a */
    MD_BINARY_MOD,        /* the sign of b; integers */
    MD_BINARY_FMOD,       /* the sign of a */
    MD_BINARY_SHIFT_LEFT, /* unsigned integers from here on, or all integers */
    MD_BINARY_SHIFT_RIGHT,
    MD_BINARY_BIT_AND,
    MD_BINARY_BIT_OR,
    MD_BINARY_BIT_XOR,
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

typedef enum md_softmax {
    MD_SOFTMAX,
    MD_SOFTMAX_LOG,
    MD_SOFTMAX_HARD /* 1 at the first maximum, 0 elsewhere */
} md_softmax;

typedef enum md_pad_mode {
    MD_PAD_CONSTANT,
    MD_PAD_REFLECT,
    MD_PAD_EDGE,
    MD_PAD_WRAP
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

typedef enum md_pooling {
    MD_POOL_MAX,
    MD_POOL_AVERAGE,
    MD_POOL_LP, /* (sum |x|^p)^(1/p) */
} md_pooling;

typedef struct md_pool_params {
    md_window window;
    bool average, count_include_pad;
    bool column_major; /* of the indices of a maximum */
    int64_t p;         /* above 0: of an Lp pool, which has neither maximum nor mean */
} md_pool_params;

typedef enum md_rnn {
    MD_RNN_PLAIN,
    MD_RNN_GRU,
    MD_RNN_LSTM
} md_rnn;

enum {
    MD_RNN_MAX_FUNCTIONS = 6 /* three for each direction */
};

typedef struct md_rnn_params {
    md_rnn kind;
    unsigned n_directions;
    bool reverse;     /* the only direction goes backwards; of two, the second does */
    bool batch_first; /* attribute layout = 1 */
    bool linear_before_reset, input_forget;
    int64_t n_hidden;
    float clip; /* of what the activations see; infinity: none */
    md_activation functions[MD_RNN_MAX_FUNCTIONS];
} md_rnn_params;

typedef enum md_scatter {
    MD_SCATTER_SET,
    MD_SCATTER_ADD,
    MD_SCATTER_MUL,
    MD_SCATTER_MAX,
    MD_SCATTER_MIN
} md_scatter;

typedef enum md_sample_padding {
    MD_SAMPLE_ZEROS,
    MD_SAMPLE_BORDER,
    MD_SAMPLE_REFLECTION
} md_sample_padding;

/* How values and integers correspond: x = scale (q - zero point), one scale for all, for each
 * index of an axis, or for each block along it. */
typedef struct md_quant_params {
    unsigned axis;
    int64_t block; /* along the axis, 0: none */
} md_quant_params;

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
    MD_COORD_TF_CROP_AND_RESIZE,
    MD_COORD_HALF_PIXEL_SYMMETRIC
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
    bool exclude_outside, antialias;
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
    } norm; /* batch norm after import: inputs x, scale [C], shift [C]; of a graph for training
               x, scale, B, mean, var as in ONNX */
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
        md_softmax kind;
    } softmax;
    struct {
        bool nan, positive, negative; /* NaN, or which infinities */
    } classify;
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
        unsigned axis;
        bool exclusive, reverse;
    } cum_sum;
    struct {
        unsigned axis;
        bool smallest;
    } top_k;
    struct {
        bool upper;
        int64_t k; /* of the diagonal that is kept */
    } trilu;
    struct {
        unsigned first, second; /* axes of one length; the first remains */
    } diagonal;
    struct {
        unsigned axis; /* or how many leading axes are batches (GatherND) */
        md_scatter reduction;
    } index;
    struct {
        unsigned batch_axis, time_axis;
    } reverse;
    struct {
        bool flat, sorted;
        unsigned axis;
    } select; /* compress, unique */
    struct {
        bool center; /* boxes are centre and size, else two corners */
        int64_t max_per_class;
        float iou_threshold, score_threshold;
        bool has_score_threshold;
    } nms;
    struct {
        md_resize_mode mode;
        md_sample_padding padding;
        bool align_corners;
    } grid;
    struct {
        bool half_pixel;
        int64_t sampling_ratio; /* 0: as many as the region has pixels */
        float scale;
    } roi;
    struct {
        int64_t dims[MD_TENSOR_MAX_DIMS]; /* the shape in which the indices count */
    } unpool;
    struct {
        int64_t n; /* elements that share one mean */
        float epsilon;
    } layer_norm;
    struct {
        bool log_softmax; /* of the scores first */
        int reduction;    /* 0 none, 1 mean, 2 sum */
        bool has_ignore;
        int64_t ignore;
    } loss;
    struct {
        float ratio; /* share of the elements that become 0 */
    } dropout;
    md_quant_params quant;
    md_rnn_params rnn;
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
    /* One bit for each dim that is only the most that the data can make of it: such a value is
     * read by nobody but the caller, who gets the dims with each run */
    unsigned open_dims;
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

/* Where names are made and looked up: one for each time that an inner graph is imported. */
typedef struct md_scope {
    unsigned id; /* the outermost has 0 and no struct */
    const struct md_scope *outer;
} md_scope;

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
    size_t n_folded;       /* elements that constant folding has seen */
    size_t n_imported; /* ONNX nodes, those of inner graphs as often as they were imported */
    const md_scope *scope; /* while an inner graph is imported */
    unsigned n_scopes;
    bool training; /* see md_import_options */
    void *proto;   /* the decoded ONNX message, from which constants are borrowed */
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
/* The value of that name in the innermost scope that has one, MD_GRAPH_NO_VALUE when there is
 * none. */
int md_graph_find(const md_graph *graph, const char *name) MD_NOEXCEPT;
/* Let `name` stand for that value too. MD_FORMAT when the name is taken. */
md_status md_graph_add_name(md_graph *graph, const char *name, int value, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* All names of the outermost scope that stand for the value, NULL-terminated, copied into
 * `pool`. */
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
