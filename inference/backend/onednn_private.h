#ifndef MEDAID_INFERENCE_BACKEND_ONEDNN_PRIVATE_H
#define MEDAID_INFERENCE_BACKEND_ONEDNN_PRIVATE_H

/* What the files of the oneDNN back end share. */

#include "inference/backend/backend.h"
#include "inference/backend/onednn_load.h"

/* Where a value is and in which order: oneDNN chooses blocked layouts, and they stay until
 * somebody needs the row-major order. */
typedef struct md_dnnl_layout {
    int buffer;
    dnnl_memory_desc_t md;
    bool shared; /* others read the buffer too: nobody may write to it */
    float scale; /* of 8-bit integers: a value is scale times its integer; otherwise 1 */
} md_dnnl_layout;

/* Concatenations that share one buffer, see onednn_concat.c. */
typedef struct md_dnnl_chain {
    unsigned last;      /* the node that has all operands */
    int64_t n_channels; /* of its result */
    int64_t n_placed;   /* how many of them are in the buffer */
    bool begun;         /* there is a buffer */
    int buffer;
    dnnl_memory_desc_t md;
} md_dnnl_chain;

typedef struct md_dnnl {
    md_pool pool;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    unsigned n_threads;
    md_precision precision;
    dnnl_data_type_t wide;    /* of values that are no 8-bit integers: f32 or bf16 */
    const float *low, *high;  /* of each value, see md_backend_options */
    bool *narrow;             /* for each value: all that read it take 8-bit integers */
    md_dnnl_layout **layouts; /* for each value that this back end made; NULL: none */
    md_dnnl_chain **chains;   /* for each node: the one that it is part of; NULL: none */
    int *last_use;            /* for each value: the last node that reads it; INT_MAX: kept */
    const md_node **waiting;  /* for each value: the node that is part of its only reader */
    void **inverted;          /* for each value that a convolution will make: the step */
    int scratch;              /* see md_dnnl_scratch */
} md_dnnl;

typedef struct md_dnnl_arg {
    int arg; /* DNNL_ARG_... */
    int buffer;
    const dnnl_memory_desc_t *md;
} md_dnnl_arg;

enum {
    MD_DNNL_MAX_ARGS = 64
};

md_status md_dnnl_fail(md_error *err, dnnl_status_t status, const char *what);

/* The row-major layout of a tensor of 1..8 dimensions; false for a scalar, another type than
 * float32 or no elements: those are left to the reference. */
bool md_dnnl_plain(const md_tensor *tensor, dnnl_memory_desc_t *ret_md);
/* `like`'s order and blocks for other lengths; false when it is no plain blocked layout. */
bool md_dnnl_like(const dnnl_memory_desc_t *like, int n_dims, const int64_t *dims,
                  dnnl_memory_desc_t *ret_md);

/* Where the value is now. False as md_dnnl_plain. */
md_status md_dnnl_source(md_dnnl *d, md_plan *plan, const md_graph *graph, int value,
                         bool *ret_usable, md_dnnl_layout *ret_layout, md_error *err);
/* A new buffer for a result of that layout. */
md_status md_dnnl_buffer(md_plan *plan, const dnnl_memory_desc_t *md, int *ret_buffer,
                         md_error *err);
/* Working memory of a step of our own: one buffer for all of them, apart from the tensors, so
 * that each thread's part of it stays in the cache of its core. */
md_status md_dnnl_scratch(md_dnnl *d, md_plan *plan, size_t n_bytes, int *ret_buffer,
                          md_error *err);
/* The value is in that buffer from now on. */
md_status md_dnnl_result(md_dnnl *d, md_plan *plan, const md_graph *graph, int value,
                         const md_dnnl_layout *layout, md_error *err);
/* *layout in the order `md`: itself, or a reordered copy by a new step. */
md_status md_dnnl_reorder(md_dnnl *d, md_plan *plan, const md_node *node,
                          const dnnl_memory_desc_t *md, bool always_copy,
                          md_dnnl_layout *layout, md_error *err);
/* Append a step that copies a value from one place and order to another. */
md_status md_dnnl_copy(md_dnnl *d, md_plan *plan, const md_node *node,
                       const md_dnnl_layout *from, const md_dnnl_layout *to, md_error *err);
/* *layout in the order and with the scale of `to` (its buffer is not looked at). */
md_status md_dnnl_convert(md_dnnl *d, md_plan *plan, const md_node *node,
                          const md_dnnl_layout *to, bool always_copy, md_dnnl_layout *layout,
                          md_error *err);
/* *layout without gaps (a view of a longer row has some) and not in 8-bit integers, by a new
 * step when it has to change. */
md_status md_dnnl_dense(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                        int value, md_dnnl_layout *layout, md_error *err);
/* A constant buffer that holds `data` (of order `from`) in the order `to`. */
md_status md_dnnl_constant(md_dnnl *d, md_plan *plan, const void *data,
                           const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                           int *ret_buffer, md_error *err);

/* The same, each element divided by its scale: one for each index of the axes in `mask`, NULL:
 * all 1. */
md_status md_dnnl_constant_scaled(md_dnnl *d, md_plan *plan, const void *data,
                                  const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                  const float *scales, int64_t n_scales, int mask,
                                  int *ret_buffer, md_error *err);

/* Float32 from row-major order into blocks of 16 or more of the first axis. False: another
 * order, or no AVX-512; the padding of the packed weights is 0 already. */
bool md_dnnl_can_pack(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to);
void md_dnnl_pack(const float *from, const dnnl_memory_desc_t *to, float *packed);

/* Whether the value may be held in 8-bit integers, in which type and with what scale. */
bool md_dnnl_is_narrow_type(dnnl_data_type_t type);
bool md_dnnl_quantization(const md_dnnl *d, int value, dnnl_data_type_t *ret_type,
                          float *ret_scale);

/* New attributes with scratch memory from the arena. Caller destroys. */
md_status md_dnnl_attributes(dnnl_primitive_attr_t *ret, md_error *err);
/* A primitive descriptor. *ret NULL: oneDNN cannot do it, the reference shall. */
md_status md_dnnl_describe(md_dnnl *d, const_dnnl_op_desc_t desc,
                           const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *ret,
                           md_error *err);
/* Append a step that runs the described primitive. */
md_status md_dnnl_add(md_dnnl *d, md_plan *plan, const md_node *node,
                      const_dnnl_primitive_desc_t pd, const md_dnnl_arg *args, unsigned n_args,
                      md_error *err);

/* The activation as oneDNN knows it; false when it does not. Two operations for some. */
typedef struct md_dnnl_eltwise {
    unsigned n;
    dnnl_alg_kind_t alg[2];
    float alpha[2], beta[2];
} md_dnnl_eltwise;
bool md_dnnl_eltwise_of(const md_activation *activation, md_dnnl_eltwise *ret);
/* Append it to post-operations. */
dnnl_status_t md_dnnl_append(dnnl_post_ops_t ops, const md_dnnl_eltwise *eltwise);

/* One node each; *ret_done false: left to the reference. */
md_status md_dnnl_emit_conv(md_dnnl *d, md_plan *plan, const md_graph *graph,
                            const md_node *node, bool *ret_done, md_error *err);
md_status md_dnnl_emit_pool(md_dnnl *d, md_plan *plan, const md_graph *graph,
                            const md_node *node, bool *ret_done, md_error *err);
md_status md_dnnl_emit_unary(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, bool *ret_done, md_error *err);
md_status md_dnnl_emit_binary(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, bool *ret_done, md_error *err);
md_status md_dnnl_emit_batch_norm(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                  const md_node *node, bool *ret_done, md_error *err);
md_status md_dnnl_emit_concat(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, bool *ret_done, md_error *err);

/* Rows of channels, side by side, with one distance between all positions; *ret_stride: that
 * distance in elements. The first position is at md->offset0. */
bool md_dnnl_rows(const dnnl_memory_desc_t *md, size_t *ret_stride);
/* Kernels of our own for AVX-512 may be used: the processor has it, and DNNL_MAX_CPU_ISA does
 * not forbid it. */
bool md_dnnl_has_avx512(void);
/* Where the buffer is, NULL for none; bytes to the first position of a layout in f32 or bf16.
 */
void *md_dnnl_address(const md_plan *plan, int buffer, size_t offset);
size_t md_dnnl_offset_bytes(const md_dnnl_layout *layout);
/* The activation as min(max(x, low), high); false when it is none. */
bool md_dnnl_limits(const md_activation *activation, float *ret_low, float *ret_high);
/* Where the node's [N,C,H,W] result shall be, channels side by side: in the buffer of a
 * concatenation, else in a new one. */
md_status md_dnnl_rows_result(md_dnnl *d, md_plan *plan, const md_graph *graph,
                              const md_node *node, md_dnnl_layout *ret_y, md_error *err);
/* A copy between such orders, multiplied by from->scale / to->scale, where that is quicker than
 * oneDNN's: *ret_done. */
md_status md_dnnl_emit_rows(md_dnnl *d, md_plan *plan, const md_node *node,
                            const md_dnnl_layout *from, const md_dnnl_layout *to,
                            bool *ret_done, md_error *err);
/* When the node's result is joined with others in a chain: *layout is its place there, which no
 * step writes but the node's own. Else *ret_found is false. */
md_status md_dnnl_place_in_chain(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, md_dnnl_layout *layout, bool *ret_found,
                                 md_error *err);
/* A 3 x 3 convolution of x, and what is added to it (looked at only when the node
 * has a residual), where that pays. */
md_status md_dnnl_emit_winograd(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, const md_dnnl_layout *x,
                                const md_dnnl_layout *residual, bool *ret_done, md_error *err);
/* A 1 x 1 convolution after the batch normalisation `norm` of x, which waited for it. */
md_status md_dnnl_emit_pointwise(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, const md_node *norm,
                                 const md_dnnl_layout *x, bool *ret_done, md_error *err);
/* Whether the batch normalisation of x can be part of the convolution that reads it; then it
 * waits for that in d->waiting. */
bool md_dnnl_defer_norm(md_dnnl *d, const md_graph *graph, const md_node *norm,
                        const md_dnnl_layout *x);
/* The only node that reads the value, which `after` makes; NULL: there are several, or it is an
 * output. */
const md_node *md_dnnl_only_reader(const md_graph *graph, int value, const md_node *after);
/* When the convolution of x and those behind it can be one step, they wait in d->waiting for
 * the last of them: *ret_done. The others join, and the last makes the step. */
md_status md_dnnl_begin_inverted(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                 const md_node *node, const md_dnnl_layout *x, bool *ret_done,
                                 md_error *err);
md_status md_dnnl_join_inverted(md_dnnl *d, md_plan *plan, const md_graph *graph,
                                const md_node *node, md_error *err);
/* BatchNorm of channels that lie side by side. */
md_status md_dnnl_emit_scale(md_dnnl *d, md_plan *plan, const md_graph *graph,
                             const md_node *node, const md_dnnl_layout *x, bool *ret_done,
                             md_error *err);
/* Which values may be 8-bit integers: sets d->narrow. */
md_status md_dnnl_find_narrow(md_dnnl *d, const md_graph *graph, md_error *err);
/* Whether the convolution computes with them. */
bool md_dnnl_is_narrow_conv(const md_dnnl *d, const md_graph *graph, const md_node *node);
/* Which concatenations share a buffer: sets d->chains. */
md_status md_dnnl_find_chains(md_dnnl *d, const md_graph *graph, md_error *err);

/* Call work(data, part, n_parts) for each part, each on one of the network's threads. */
typedef void (*md_dnnl_work_fn)(void *data, unsigned part, unsigned n_parts);
void md_dnnl_parallel(const md_dnnl *d, md_dnnl_work_fn work, void *data);

/* As sgemm; for products too small to be worth generating code for. */
void md_small_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                   float beta, float *c, int64_t ldc);

#endif
