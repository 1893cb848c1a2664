#include "inference/graph/decode.h"

#include "inference/graph/wire.h"

#include "onnx.pb-c.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALIGNMENT = 64,
    MIN_LARGE_BYTES = 1 << 16 /* smaller blocks come from the heap */
};

/* protobuf-c takes its memory through this, so that tests can let it fail and we can tell
 * "no memory" from "no message". */
struct md_decode_memory {
    ProtobufCAllocator allocator;
    bool failed;
    uint8_t *large;
    size_t used_bytes, size_bytes;
};

static void *decode_alloc(void *data, size_t size_bytes)
{
    struct md_decode_memory *memory = data;
    if (size_bytes >= MIN_LARGE_BYTES &&
        size_bytes <= memory->size_bytes - memory->used_bytes) {
        void *block = memory->large + memory->used_bytes;
        const size_t rounded = (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        const size_t rest = memory->size_bytes - memory->used_bytes;
        memory->used_bytes += rounded < rest ? rounded : rest;
        return block;
    }
    void *block = md_malloc(size_bytes);
    if (block == NULL) {
        memory->failed = true;
    }
    return block;
}

static bool is_large(const struct md_decode_memory *memory, const void *block)
{
    const uintptr_t at = (uintptr_t)block, first = (uintptr_t)memory->large;
    return memory->large != NULL && at >= first && at < first + memory->size_bytes;
}

static void decode_free(void *data, void *block)
{
    if (!is_large(data, block)) {
        md_free(block);
    }
}

md_status md_decode(md_graph *graph, const uint8_t *bytes, size_t size_bytes, md_error *err)
{
    if (size_bytes == 0) {
        return md_fail(err, MD_FORMAT, "empty ONNX file");
    }
    md_status status = md_wire_check(&onnx__model_proto__descriptor, bytes, size_bytes, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "not a whole ONNX file");
    }
    struct md_decode_memory *memory = md_calloc(1, sizeof *memory);
    if (memory == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes);
    }
    graph->decode = memory;
    memory->allocator = (ProtobufCAllocator){decode_alloc, decode_free, memory};
    if (size_bytes >= MIN_LARGE_BYTES) {
        /* pages that are never written cost nothing */
        memory->large = md_malloc_aligned(size_bytes);
        if (memory->large == NULL) {
            return md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes);
        }
        memory->size_bytes = size_bytes;
    }
    graph->proto = onnx__model_proto__unpack(&memory->allocator, size_bytes, bytes);
    if (graph->proto == NULL) {
        return memory->failed
                   ? md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes)
                   : md_fail(err, MD_FORMAT, "not an ONNX file: protobuf-c cannot decode it");
    }
    return MD_OK;
}

void md_decode_finish(md_graph *graph)
{
    if (graph->decode == NULL) {
        return;
    }
    if (graph->proto != NULL) {
        onnx__model_proto__free_unpacked(graph->proto, &graph->decode->allocator);
    }
    md_free(graph->decode->large);
    md_free(graph->decode);
}

void md_graph_discard(md_graph *graph, int value)
{
    const md_tensor *tensor = md_graph_tensor(graph, value);
    if (graph->decode == NULL || !is_large(graph->decode, tensor->data)) {
        return;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t skip = (page - (uintptr_t)tensor->data % page) % page;
    const size_t n_bytes = tensor->n_elements * md_dtype_bytes(tensor->dtype);
    if (n_bytes > skip && n_bytes - skip >= page) {
        (void)madvise((uint8_t *)tensor->data + skip, (n_bytes - skip) / page * page,
                      MADV_DONTNEED);
    }
}
