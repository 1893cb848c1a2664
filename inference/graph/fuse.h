#ifndef MEDAID_INFERENCE_GRAPH_FUSE_H
#define MEDAID_INFERENCE_GRAPH_FUSE_H

/* Rewriting: the same result in fewer, larger kernels. Values that the caller keeps (outputs,
 * extra outputs) are never rewritten away.
 *
 *   Conv, BatchNorm                  -> Conv with scaled weights
 *   Conv, Add of a constant [C,1,1]  -> Conv with bias
 *   MatMul, Add of a constant [n]    -> Gemm
 *   Mul(x, Sigmoid(x))               -> Swish; Mul(x, HardSigmoid(x; 1/6, 1/2)) -> HardSwish
 *   Cast to float(Greater(x, 0))     -> Heaviside
 *   Conv, Add                        -> Conv with residual
 *   Conv | BatchNorm | Gemm | Add, activation -> with activation (those that oneDNN takes too)
 *   nodes whose result nobody reads  -> nothing
 *
 * Identity, Dropout, shape arithmetic and constant subgraphs are gone since the import. */

#include "inference/graph/graph.h"

md_status md_graph_fuse(md_graph *graph, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Remove nodes whose results nobody reads; part of md_graph_fuse. */
md_status md_graph_remove_dead(md_graph *graph, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#endif
