#ifndef MEDAID_INFERENCE_GRAPH_HEAD_H
#define MEDAID_INFERENCE_GRAPH_HEAD_H

/* The linear classifier behind a feature map, found in the imported graph. */

#include "inference/graph/graph.h"

typedef struct md_head {
    int features;      /* the value, [N,C,h,w]; MD_GRAPH_NO_VALUE when there is no such head */
    md_tensor weights; /* [K,C], data in the pool given */
} md_head;

/* Walk back from `output` over Add of a constant, Gemm or MatMul with constant weights, a
 * change of shape and a mean over all positions of a value that is an output, too. Finding none
 * is no error. */
md_status md_head_find(const md_graph *graph, int output, md_pool *pool, md_head *ret_head,
                       md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The value [N,C] that the last linear layer before `output` reads: behind it stand a Gemm or
 * MatMul with constant weights, perhaps Add of a constant, and a Softmax or Sigmoid.
 * MD_GRAPH_NO_VALUE: it is made in another way. */
int md_head_input(const md_graph *graph, int output) MD_NOEXCEPT;

#endif
