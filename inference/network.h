#ifndef MEDAID_INFERENCE_NETWORK_H
#define MEDAID_INFERENCE_NETWORK_H

/* An ONNX network, imported, checked, rewritten and planned, ready to run on the CPU.
 *
 * A network is immutable after loading except for its arena: one thread at a time may run it.
 * The ONNX bytes are hostile: every error names the node, operator and opset, and nothing is
 * allocated before its size was checked. */

#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_network md_network;

typedef enum md_backend {
    MD_BACKEND_AUTO,     /* oneDNN when it was built in and is installed, else OpenBLAS */
    MD_BACKEND_ONEDNN,   /* MD_UNSUPPORTED when not built in or not installed */
    MD_BACKEND_OPENBLAS, /* the portable reference */
} md_backend;

enum {
    MD_NETWORK_MAX_EXTRA_OUTPUTS = 8,
    MD_NETWORK_MAX_THREADS = 64
};
/* The largest ONNX file. */
#define MD_NETWORK_MAX_ONNX_BYTES ((size_t)1 << 30)

/* A graph input whose value is given once, at load time, and is constant from then on: what
 * decides shapes (Reshape's target, Slice's starts) may not change from run to run. */
typedef struct md_binding {
    const char *name;
    const md_tensor *tensor; /* borrowed for the call */
} md_binding;

/* In what numbers the convolutions compute. Everything else, and what they cannot do so, is
 * float32 (bfloat16 between layers where the processor has it). */
typedef enum md_precision {
    MD_PRECISION_F32,
    MD_PRECISION_BF16, /* only where the processor has avx512_bf16, MD_UNSUPPORTED elsewhere */
    MD_PRECISION_INT8, /* only where it has VNNI: without it sums of oneDNN saturate silently */
} md_precision;

/* The least and largest element that a tensor of the network had on sample inputs. */
typedef struct md_range {
    const char *name;
    float low, high;
} md_range;

typedef struct md_network_options {
    md_backend backend;
    md_precision precision; /* the OpenBLAS back end has float32 alone */
    const md_range *ranges; /* MD_PRECISION_INT8: of md_network_ranges; borrowed */
    unsigned n_ranges;
    bool observe; /* md_network_ranges will be asked: no memory is used twice */
    unsigned
        n_threads; /* 0: all cores of the thread's affinity mask; at most
                      MD_NETWORK_MAX_THREADS are used. One thread takes the least CPU time */
    /* Inner tensors that are to be readable after a run, besides the graph's outputs. */
    const char *extra_outputs[MD_NETWORK_MAX_EXTRA_OUTPUTS];
    unsigned n_extra_outputs;
    /* The name of an output: what its last linear layer reads is one more output, see
     * md_network_head_input. NULL: not wanted. */
    const char *head_of;
    int64_t batch;              /* replaces a symbolic first dimension; 0: 1 */
    const md_binding *bindings; /* those inputs are no inputs of the network any more */
    unsigned n_bindings;
    bool no_rewriting; /* for tests: the graph as it was imported, nothing fused */
} md_network_options;

/* Import from the bytes of an ONNX file, which may be released afterwards. options NULL:
 * defaults. MD_FORMAT, MD_UNSUPPORTED (operator, attribute, type or opset), MD_LIMIT,
 * MD_NOT_FOUND (an extra output), MD_INVALID_ARG (a binding). Caller destroys. */
md_status md_network_load(const uint8_t *onnx, size_t size_bytes,
                          const md_network_options *options, md_network **ret_network,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same, and *onnx (of md_malloc) is taken and set to NULL, also on failure. Its weights are
 * used where they lie, and its pages are released one by one as they are packed: the weights
 * are never there twice. */
md_status md_network_load_taking(uint8_t **onnx, size_t size_bytes,
                                 const md_network_options *options, md_network **ret_network,
                                 md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_network_destroy(md_network *network) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_network, md_network_destroy)

/* The back ends' libraries are loaded by the first network that uses them, so load before a
 * sandbox closes the file system. The first load of oneDNN sets GOMP_SPINCOUNT in the
 * environment unless it says how threads wait (they would burn CPU for milliseconds): no other
 * thread may read the environment during that call.
 *
 * All shapes are fixed at load time: only the first dimension of a graph input may be symbolic.
 * Only outputs of NonZero, Unique, Compress and NonMaxSuppression may have a shape that the
 * data decide, and only as outputs of the network. Opsets 6 to 21 of ai.onnx, and 1 to 5 for
 * operators that did not change since; docs/onnx.md lists them. */

/* "onednn" or "openblas". */
const char *md_network_backend_name(const md_network *network) MD_NOEXCEPT;

/* The graph's inputs and outputs, extra outputs after the graph's own. Names are valid until
 * destroy; dims is NULL-terminated by n_dims, -1 for a dimension that each run decides. NULL
 * when index is too large. */
typedef struct md_network_port {
    const char *name;
    md_dtype dtype;
    unsigned n_dims;
    int64_t dims[MD_TENSOR_MAX_DIMS];
} md_network_port;
unsigned md_network_n_inputs(const md_network *network) MD_NOEXCEPT;
unsigned md_network_n_outputs(const md_network *network) MD_NOEXCEPT;
const md_network_port *md_network_input(const md_network *network, unsigned index) MD_NOEXCEPT;
const md_network_port *md_network_output(const md_network *network, unsigned index) MD_NOEXCEPT;
/* Bytes of working memory of a run, weights not counted; and how many kernel calls it is. */
size_t md_network_arena_bytes(const md_network *network) MD_NOEXCEPT;
unsigned md_network_n_steps(const md_network *network) MD_NOEXCEPT;
/* One kernel call of the plan. Texts are valid until destroy. */
typedef struct md_network_step {
    const char *node, *op_type; /* of the ONNX graph */
    const char *fused;          /* the operators that it computes too, "" for none */
    const char *kernel;         /* the implementation, as its library names it */
    double n_operations;        /* multiplications and additions; 0: not counted */
    double us;                  /* mean time of a run */
} md_network_step;
/* Run n_runs times as md_network_run does and fill ret_steps (md_network_n_steps of them). */
md_status md_network_profile(md_network *network, const md_tensor *inputs, unsigned n_inputs,
                             unsigned n_runs, md_network_step *ret_steps, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Bytes of the weights as they are packed for the kernels. */
size_t md_network_weight_bytes(const md_network *network) MD_NOEXCEPT;
/* The ranges of all float32 tensors that the runs so far have made. Needs options.observe, the
 * OpenBLAS back end and at least one run (MD_INVALID_ARG). Valid until destroy. */
md_status md_network_ranges(const md_network *network, const md_range **ret_ranges,
                            unsigned *ret_n, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* MD_UNSUPPORTED with the reason when this processor cannot compute so. */
md_status md_precision_check(md_precision precision, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* "f32", "bf16", "int8". */
const char *md_precision_name(md_precision precision) MD_NOEXCEPT;
enum {
    MD_PRECISION_CPU_BYTES = 128
};
/* One line that names what this processor can compute, its model and what oneDNN uses of it:
 * two machines with the same line compute alike. */
void md_precision_cpu(char ret_text[MD_PRECISION_CPU_BYTES]) MD_NOEXCEPT;
/* Index of the output of that name, -1 when there is none. */
int md_network_find_output(const md_network *network, const char *name) MD_NOEXCEPT;

/* Run. inputs in the order of md_network_input, shapes equal to the declared ones
 * (MD_INVALID_ARG). outputs (n = md_network_n_outputs) are filled with borrowed tensors in
 * plain [N,C,H,W] order, valid until the next run or destroy; their dims are those of this run.
 * MD_FORMAT when an output holds NaN is NOT checked here. */
md_status md_network_run(md_network *network, const md_tensor *inputs, unsigned n_inputs,
                         md_tensor *outputs, unsigned n_outputs, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The index of the output [N,C] that options.head_of asked for: what the last linear layer
 * (Gemm or MatMul with constant weights) before that output reads, in other words what the
 * network makes of its input before it decides. -1: not asked for, or that output is made in
 * another way. */
int md_network_head_input(const md_network *network) MD_NOEXCEPT;

/* The classifier head behind `features` [N,C,h,w]: features -> GlobalAveragePool -> Flatten (or
 * an equal Reshape/Squeeze/ReduceMean) -> Gemm/MatMul+Add -> `output` [N,K]. Gives its weights
 * as [K,C], valid until destroy. MD_UNSUPPORTED when the graph between the two is anything
 * else, or `features` is no output (also an extra one). With it Grad-CAM has its closed form: d
 * output_k / d features_c(y,x) = weights[k,c] / (h*w) (Selvaraju et al. 2017, eq. 1). */
md_status md_network_linear_head(const md_network *network, const char *features,
                                 const char *output, md_tensor *ret_weights, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
