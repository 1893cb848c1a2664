#ifndef MEDAID_INFERENCE_GRAPH_IMPORT_H
#define MEDAID_INFERENCE_GRAPH_IMPORT_H

/* A decoded ONNX message to a graph: check, infer every shape, fold what is constant.
 *
 * All shapes are known after the import: a symbolic first dimension becomes the batch that the
 * caller names, and an operand that decides a shape (Reshape's target, Slice's starts, ...) has
 * to be constant, computed from constants and shapes, or bound by the caller. */

#include "inference/graph/graph.h"
#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_import_options {
    int64_t batch; /* >= 1 */
    const md_binding *bindings;
    unsigned n_bindings;
    /* For training: BatchNormalization stays as it is written (x, scale, B, mean, var, with
     * p.norm.epsilon), Dropout becomes MD_OP_DROPOUT, and the first dimension of each input is
     * the batch also where the file fixes it. */
    bool training;
    int64_t height,
        width; /* with `training`: the last two dims of a 4-D input; 0: the file's */
} md_import_options;

/* graph holds a decoded message (md_decode) and nothing else; caller finishes it also after an
 * error. MD_FORMAT, MD_UNSUPPORTED, MD_LIMIT, MD_NOMEM. */
md_status md_graph_import(md_graph *graph, const md_import_options *options, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
