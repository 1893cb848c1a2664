#include "inference/graph/decode.h"

#include "inference/graph/wire.h"

#include "onnx.pb-c.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MIN_CUT_BYTES = 1 << 16, /* smaller weights are decoded with the rest */
    ALIGNMENT = 8,           /* of any element */
    MARK = 2                 /* of a data_location: the payload was cut out */
};
/* Pages are given back in groups of this size, as huge pages are: breaking one up costs more
 * than its memory is worth. */
#define GROUP_BYTES ((size_t)2 << 20)

typedef struct payload {
    uint8_t *data;
    size_t n_bytes;
} payload;

/* protobuf-c takes its memory through this, so that tests can let it fail and we can tell
 * "no memory" from "no message". */
struct md_decode_memory {
    ProtobufCAllocator allocator;
    bool failed;
    uint8_t *block; /* the file, or a copy of its payloads */
    size_t block_bytes;
    payload *payloads; /* ascending */
    size_t n_payloads;
    atomic_size_t
        *live; /* bytes of payloads in each group of the block that are still needed */
};

static void *decode_alloc(void *data, size_t size_bytes)
{
    struct md_decode_memory *memory = data;
    void *block = md_malloc(size_bytes);
    if (block == NULL) {
        memory->failed = true;
    }
    return block;
}

static void decode_free(void *data, void *block)
{
    (void)data;
    md_free(block);
}

static size_t group_of(const struct md_decode_memory *memory, const uint8_t *at)
{
    return (uintptr_t)at / GROUP_BYTES - (uintptr_t)memory->block / GROUP_BYTES;
}

/* Add to, or take from, the groups under the payload. */
static void count_live(struct md_decode_memory *memory, const payload *p, bool released)
{
    for (size_t done = 0; done < p->n_bytes;) {
        const size_t to_end = GROUP_BYTES - (uintptr_t)(p->data + done) % GROUP_BYTES;
        const size_t n = p->n_bytes - done < to_end ? p->n_bytes - done : to_end;
        const size_t group = group_of(memory, p->data + done);
        if (!released) {
            memory->live[group] += n;
        } else if (atomic_fetch_sub(&memory->live[group], n) == n) {
            const size_t page = (size_t)sysconf(_SC_PAGESIZE);
            uint8_t *first = p->data + done - (GROUP_BYTES - to_end);
            uint8_t *last = first + GROUP_BYTES;
            uint8_t *end = memory->block + memory->block_bytes;
            first = first < memory->block
                        ? memory->block + (page - (uintptr_t)memory->block % page) % page
                        : first;
            last = last > end ? end - (uintptr_t)end % page : last;
            if (first < last) {
                (void)madvise(first, (size_t)(last - first), MADV_DONTNEED);
            }
        }
        done += n;
    }
}

/* Where the payloads of the file will be; without a file of our own they need a block. */
static md_status make_block(struct md_decode_memory *memory, const md_wire_cut *cuts,
                            size_t size_bytes, uint8_t **taken, md_error *err)
{
    size_t n_bytes = 1;
    for (size_t i = 0; i < memory->n_payloads; i++) {
        n_bytes += cuts[i].n_bytes + ALIGNMENT;
    }
    memory->block_bytes = taken == NULL ? n_bytes : size_bytes;
    memory->block = taken == NULL ? md_malloc_aligned(n_bytes) : *taken;
    memory->payloads = md_calloc(memory->n_payloads, sizeof *memory->payloads);
    if (taken != NULL) {
        *taken = NULL;
    }
    if (memory->block == NULL || memory->payloads == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes);
    }
    memory->live = md_calloc(group_of(memory, memory->block + memory->block_bytes) + 1,
                             sizeof *memory->live);
    return memory->live == NULL
               ? md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes)
               : MD_OK;
}

/* Each payload to a place for its elements: in the file a few bytes down, over what the small
 * message has too. */
static md_status place_payloads(struct md_decode_memory *memory, const uint8_t *bytes,
                                size_t size_bytes, uint8_t **taken, const md_wire_cut *cuts,
                                md_error *err)
{
    MD_TRY(make_block(memory, cuts, size_bytes, taken, err));
    size_t at = 0;
    for (size_t i = 0; i < memory->n_payloads; i++) {
        if (taken != NULL) {
            at = cuts[i].offset - (uintptr_t)(bytes + cuts[i].offset) % ALIGNMENT;
        }
        payload *p = &memory->payloads[i];
        *p = (payload){memory->block + at, cuts[i].n_bytes};
        memmove(p->data, bytes + cuts[i].offset, p->n_bytes);
        count_live(memory, p, false);
        at += (p->n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return MD_OK;
}

static md_status decode(md_graph *graph, const uint8_t *bytes, size_t size_bytes,
                        size_t least_bytes, uint8_t **taken, md_error *err)
{
    const md_wire_rule rule = {&onnx__tensor_proto__descriptor, 9 /* raw_data */,
                               14 /* data_location */, MARK, least_bytes};
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
    MD_AUTO(md_freep) uint8_t *small = NULL;
    MD_AUTO(md_freep) md_wire_cut *cuts = NULL;
    size_t n_small;
    MD_TRY(md_wire_split(&onnx__model_proto__descriptor, bytes, size_bytes, &rule, &small,
                         &n_small, &cuts, &memory->n_payloads, err));
    MD_TRY(place_payloads(memory, bytes, size_bytes, taken, cuts, err));
    graph->proto = onnx__model_proto__unpack(&memory->allocator, n_small, small);
    if (graph->proto == NULL) {
        return memory->failed
                   ? md_fail(err, MD_NOMEM, "no memory to decode %zu bytes of ONNX", size_bytes)
                   : md_fail(err, MD_FORMAT, "not an ONNX file: protobuf-c cannot decode it");
    }
    return MD_OK;
}

md_status md_decode(md_graph *graph, const uint8_t *bytes, size_t size_bytes, uint8_t **taken,
                    md_error *err)
{
    return decode(graph, bytes, size_bytes, MIN_CUT_BYTES, taken, err);
}

md_status md_decode_whole(md_graph *graph, const uint8_t *bytes, size_t size_bytes,
                          md_error *err)
{
    return decode(graph, bytes, size_bytes, SIZE_MAX, NULL, err);
}

void md_decode_finish(md_graph *graph)
{
    if (graph->decode == NULL) {
        return;
    }
    if (graph->proto != NULL) {
        onnx__model_proto__free_unpacked(graph->proto, &graph->decode->allocator);
    }
    md_free(graph->decode->block);
    md_free(graph->decode->payloads);
    md_free(graph->decode->live);
    md_free(graph->decode);
}

md_status md_decode_raw(const md_graph *graph, const void *tensor_proto, void **ret_data,
                        size_t *ret_bytes, md_error *err)
{
    const Onnx__TensorProto *proto = tensor_proto;
    const int location = proto->has_data_location ? (int)proto->data_location : 0;
    *ret_data = proto->raw_data.data;
    *ret_bytes = proto->raw_data.len;
    if (location == MARK) {
        uint64_t index = UINT64_MAX;
        if (proto->raw_data.len == sizeof index) {
            memcpy(&index, proto->raw_data.data, sizeof index);
        }
        if (index >= graph->decode->n_payloads) {
            return md_fail(err, MD_FORMAT, "raw_data was decoded wrongly");
        }
        *ret_data = graph->decode->payloads[index].data;
        *ret_bytes = graph->decode->payloads[index].n_bytes;
        return MD_OK;
    }
    if (proto->n_external_data > 0 || location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT) {
        return md_fail(err, MD_UNSUPPORTED,
                       "external data is not supported: keep the weights in the ONNX file");
    }
    return MD_OK;
}

void md_graph_discard(md_graph *graph, int value)
{
    md_tensor *tensor = md_graph_tensor(graph, value);
    struct md_decode_memory *memory = graph->decode;
    size_t first = 0, last = memory == NULL ? 0 : memory->n_payloads;
    while (first < last) {
        const size_t middle = first + (last - first) / 2;
        if (memory->payloads[middle].data < (uint8_t *)tensor->data) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    if (memory != NULL && first < memory->n_payloads &&
        memory->payloads[first].data == tensor->data) {
        tensor->data = NULL; /* once only */
        count_live(memory, &memory->payloads[first], true);
    }
}
