#ifndef MEDAID_INFERENCE_GRAPH_CUT_H
#define MEDAID_INFERENCE_GRAPH_CUT_H

/* A part of a network as a network of its own. */

#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The ONNX file of what lies between the tensor `input` and the tensor `output` of `onnx`: its
 * nodes and initializers, `input` as its one input (float32 of those dims), `output` as its one
 * output. input NULL: from the network's own inputs, dims are not looked at. Caller frees
 * *ret_bytes with md_free. MD_NOT_FOUND when there is no such tensor, MD_UNSUPPORTED when
 * `output` can also be reached from an input of the network past `input`, MD_FORMAT, MD_LIMIT,
 * MD_NOMEM. */
md_status md_onnx_cut(const uint8_t *onnx, size_t size_bytes, const char *input,
                      unsigned n_dims, const int64_t *dims, const char *output,
                      uint8_t **ret_bytes, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

enum {
    MD_ONNX_NAME_BYTES = 129 /* of a tensor's name, with its end */
};

/* The ONNX file `onnx`, whose one output `features` is [N,n], with a Gemm behind it:
 * output [N,1] = features . weights [n] + bias. The output's name is written to ret_name.
 * MD_FORMAT when `features` is not its one output, MD_UNSUPPORTED below opset 7, MD_LIMIT,
 * MD_NOMEM. Caller frees *ret_bytes with md_free. */
md_status md_onnx_add_linear(const uint8_t *onnx, size_t size_bytes, const char *features,
                             const float *weights, uint32_t n, float bias,
                             char ret_name[MD_ONNX_NAME_BYTES], uint8_t **ret_bytes,
                             size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The tensor that a training works on: the first output, or when a Softmax or Sigmoid makes
 * that one, what goes into it. MD_FORMAT, MD_LIMIT (a longer name), MD_NOMEM. */
md_status md_onnx_logits(const uint8_t *onnx, size_t size_bytes,
                         char ret_name[MD_ONNX_NAME_BYTES], md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
