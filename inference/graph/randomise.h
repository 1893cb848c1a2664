#ifndef MEDAID_INFERENCE_GRAPH_RANDOMISE_H
#define MEDAID_INFERENCE_GRAPH_RANDOMISE_H

/* A network that has forgotten what it learned, from its end on: for Adebayo et al., "Sanity
 * checks for saliency maps", NeurIPS 2018, section 3 (cascading randomisation). */

#include "inference/graph/cut.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Layers with weights: initializers (float32, at least two axes) of Conv, ConvTranspose, Gemm
 * and MatMul, each once, in the order of the nodes. The last n_layers of them, counted from the
 * output, are drawn anew: independent normal numbers of mean 0 and the deviation that the
 * layer's weights had, so that the sums keep their size; what is drawn depends on the seed and
 * the layer's place from the end alone. Biases and normalisations stay. *ret_n_all is how many
 * layers there are, ret_last the weight of the last one that was changed ("" for none).
 * n_layers 0 asks for the number: no bytes are made (*ret_bytes NULL). MD_INVALID_ARG for more
 * layers than there are, MD_UNSUPPORTED for weights in other files, MD_FORMAT, MD_LIMIT,
 * MD_NOMEM. Caller frees *ret_bytes with md_free. */
md_status md_onnx_randomise(const uint8_t *onnx, size_t size_bytes, unsigned n_layers,
                            uint64_t seed, uint8_t **ret_bytes, size_t *ret_size,
                            unsigned *ret_n_all, char ret_last[MD_ONNX_NAME_BYTES],
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
