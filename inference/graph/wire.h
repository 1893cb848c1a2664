#ifndef MEDAID_INFERENCE_GRAPH_WIRE_H
#define MEDAID_INFERENCE_GRAPH_WIRE_H

/* A look at protocol buffer bytes before protobuf-c decodes them.
 *
 * protobuf-c recurses once for each nested message and allocates a struct of some 100 bytes for
 * an empty message or an unpacked number of 2, so hostile bytes could exhaust the stack or the
 * memory. This walk, in constant memory, refuses both first. */

#include "base/memory.h"

#include <protobuf-c/protobuf-c.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_WIRE_MAX_DEPTH = 16,
    MD_WIRE_MAX_FIELDS = 1 << 20
};

/* Walk `bytes` as a message of that descriptor. MD_FORMAT for bytes that are no such message,
 * MD_LIMIT for nesting deeper than MD_WIRE_MAX_DEPTH or more than MD_WIRE_MAX_FIELDS fields. */
md_status md_wire_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                        size_t size_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
