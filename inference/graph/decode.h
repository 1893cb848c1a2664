#ifndef MEDAID_INFERENCE_GRAPH_DECODE_H
#define MEDAID_INFERENCE_GRAPH_DECODE_H

/* The bytes of an ONNX file become a message of protobuf-c. Its weights lie in one large block,
 * of which pages can be given back one by one. */

#include "inference/graph/graph.h"

/* Sets graph->proto. MD_FORMAT, MD_LIMIT. The bytes are not needed afterwards. */
md_status md_decode(md_graph *graph, const uint8_t *bytes, size_t size_bytes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_decode_finish(md_graph *graph) MD_NOEXCEPT;

#endif
