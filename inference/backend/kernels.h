#ifndef MEDAID_INFERENCE_BACKEND_KERNELS_H
#define MEDAID_INFERENCE_BACKEND_KERNELS_H

/* The reference kernels: plain C for every operator of the graph, on tensors in row-major
 * order. They compute what constant folding needs, what oneDNN lacks, and are what oneDNN is
 * tested against. A kernel allocates nothing; shapes and types were checked when the node was
 * imported. Independent calls may run in parallel. */

#include "inference/backend/threads.h"
#include "inference/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* C [m,n] = alpha * op(A) [m,k] * op(B) [k,n] + beta * C, row-major, op(X) = X or X^T; the
 * arguments are those of cblas_sgemm. */
typedef void (*md_sgemm_fn)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                            float alpha, const float *a, int64_t lda, const float *b,
                            int64_t ldb, float beta, float *c, int64_t ldc);

typedef struct md_call {
    const md_op_params *p;
    unsigned n_in, n_out;
    const md_tensor *const *in; /* NULL for an absent one */
    md_tensor *const *out;
    void *workspace; /* of md_kernel_workspace bytes */
    md_sgemm_fn sgemm;
    md_error *err;
    md_threads *threads; /* to share the work with; NULL: none */
} md_call;

/* Fails only for what depends on the data: an index out of range, an integer division by 0.
 * Where the data decides the shape of an output (md_value.open_dims), it comes with the most
 * that it can be and the kernel sets dims and n_elements. */
typedef md_status (*md_kernel_fn)(const md_call *call);

md_kernel_fn md_kernel_for(md_op op) MD_NOEXCEPT;
/* Scratch bytes that the node's kernel needs on so many threads. MD_LIMIT when they overflow.
 */
md_status md_kernel_workspace(const md_graph *graph, const md_node *node, unsigned n_threads,
                              size_t *ret_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Scratch bytes of a convolution with that many channels (reference_conv.c). */
size_t md_conv_workspace(const md_conv_params *conv, int64_t c_in, int64_t c_out,
                         unsigned n_threads) MD_NOEXCEPT;
/* Whether it calls sgemm. */
bool md_kernel_needs_sgemm(md_op op) MD_NOEXCEPT;

md_status md_kernel_copy(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_conv(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_conv_transpose(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_pool(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_batch_norm(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_instance_norm(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_lrn(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_unary(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_binary(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_where(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_gemm(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_matmul(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_concat(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_transpose(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_softmax(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_pad(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_resize(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_slice(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_reduce(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_gather(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_cast(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_expand(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_tile(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_arg_max(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_layer_norm(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_classify(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_cum_sum(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_top_k(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_trilu(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_diagonal(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_gather_elements(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_gather_nd(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_scatter_elements(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_scatter_nd(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_one_hot(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_reverse_sequence(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_compress(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_non_zero(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_unique(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_nms(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_det(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_grid_sample(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_roi_align(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_max_unpool(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_quantize(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_dequantize(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_dynamic_quantize(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_conv_integer(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_matmul_integer(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_requantize(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_rnn(const md_call *call) MD_NOEXCEPT;
md_status md_kernel_nll_loss(const md_call *call) MD_NOEXCEPT;

/* Element i := value: cut to the range of an integer type, and towards zero; NaN is 0 there. */
void md_store_real(md_tensor *y, size_t i, double value) MD_NOEXCEPT;
/* Element i := value, wrapping around into a narrower type. */
void md_store_int(md_tensor *y, size_t i, int64_t value) MD_NOEXCEPT;

/* y[i] = activation(x[i]); x == y is fine. */
void md_activate(const md_activation *activation, const float *x, float *y, size_t n)
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
