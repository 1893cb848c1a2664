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

/* Which payloads are cut out of a message: those of at least least_bytes (>= 8) of the bytes
 * field `field` of each `message`. In their place stand 8 bytes, little-endian: the index of
 * the cut; and the enumeration mark_field of that message is `mark` (1..127), which a message
 * may not hold before (it must be below). Both field numbers are at most 15. */
typedef struct md_wire_rule {
    const ProtobufCMessageDescriptor *message;
    unsigned field, mark_field;
    uint8_t mark;
    size_t least_bytes;
} md_wire_rule;

/* Where a payload is in the bytes. In ascending order and apart: at least 8 bytes lie between
 * the end of one and the begin of the next, and before the first. */
typedef struct md_wire_cut {
    size_t offset, n_bytes;
} md_wire_cut;

/* The message without its large payloads, so that decoding it copies none of them. The bytes
 * passed md_wire_check. Caller frees *ret_small and *ret_cuts. MD_FORMAT: the field is in one
 * message twice, or the mark is there. */
md_status md_wire_split(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                        size_t size_bytes, const md_wire_rule *rule, uint8_t **ret_small,
                        size_t *ret_small_bytes, md_wire_cut **ret_cuts, size_t *ret_n_cuts,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
