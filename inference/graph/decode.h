#ifndef MEDAID_INFERENCE_GRAPH_DECODE_H
#define MEDAID_INFERENCE_GRAPH_DECODE_H

/* The bytes of an ONNX file become a message of protobuf-c without its large weights. Those
 * stay where they are when the file may be kept, else they are copied into one block; their
 * pages are given back one by one. */

#include "inference/graph/graph.h"

/* Sets graph->proto. taken not NULL: *taken == bytes, of md_malloc, belongs to the graph from
 * now on, also after a failure, and *taken becomes NULL; NULL: the bytes are not needed
 * afterwards. MD_FORMAT, MD_LIMIT. */
md_status md_decode(md_graph *graph, const uint8_t *bytes, size_t size_bytes, uint8_t **taken,
                    md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same with all weights in the message, for who changes it and writes it again. */
md_status md_decode_whole(md_graph *graph, const uint8_t *bytes, size_t size_bytes,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_decode_finish(md_graph *graph) MD_NOEXCEPT;

/* The payload of the tensor's raw_data, wherever it is. MD_UNSUPPORTED for external data. */
md_status md_decode_raw(const md_graph *graph, const void *tensor_proto, void **ret_data,
                        size_t *ret_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#endif
