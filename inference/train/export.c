#include "inference/train/trainer_private.h"

#include "inference/graph/decode.h"
#include "onnx.pb-c.h"

#include <string.h>

/* What an initializer held before a value was lent to it. */
typedef struct lent {
    Onnx__TensorProto *tensor;
    Onnx__TensorProto before;
} lent;

static Onnx__TensorProto *find_initializer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            return graph->initializer[i];
        }
    }
    return NULL;
}

/* Values are written as raw_data: little-endian, as this machine holds them (the importer
 * relies on it too). */
static void lend(lent *l, Onnx__TensorProto *tensor, const float *value, size_t n)
{
    l->tensor = tensor;
    l->before = *tensor;
    tensor->has_raw_data = 1;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)value; /* only read */
    tensor->raw_data.len = n * sizeof *value;
    tensor->n_float_data = 0;
    tensor->float_data = NULL;
}

static md_status pack(const Onnx__ModelProto *model, uint8_t **ret_bytes, size_t *ret_size,
                      md_error *err)
{
    const size_t size = onnx__model_proto__get_packed_size(model);
    if (size > MD_NETWORK_MAX_ONNX_BYTES) {
        return md_fail(err, MD_LIMIT, "an ONNX file of %zu bytes, at most %zu", size,
                       MD_NETWORK_MAX_ONNX_BYTES);
    }
    uint8_t *bytes = md_malloc(size);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes of ONNX", size);
    }
    *ret_size = onnx__model_proto__pack(model, bytes);
    *ret_bytes = bytes;
    return MD_OK;
}

static md_status export_graph(const md_trainer *t, const md_graph *graph,
                              const float *const *values, uint8_t **ret_bytes, size_t *ret_size,
                              md_error *err)
{
    const Onnx__ModelProto *model = graph->proto;
    MD_AUTO(md_freep) lent *list = md_calloc(t->n_parameters + 1, sizeof *list);
    unsigned n = 0;
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u parameters", t->n_parameters);
    }
    md_status status = MD_OK;
    for (unsigned i = 0; i < t->n_parameters && status == MD_OK; i++) {
        const md_parameter *p = &t->parameters[i];
        Onnx__TensorProto *tensor = find_initializer(model->graph, p->name);
        if (tensor == NULL) {
            status = md_fail(err, MD_INTERNAL, "no initializer '%.64s'", p->name);
            break;
        }
        lend(&list[n++], tensor, values == NULL ? p->value : values[i], p->n);
    }
    if (status == MD_OK) {
        status = pack(model, ret_bytes, ret_size, err);
    }
    while (n-- > 0) { /* what was decoded is released as it was */
        *list[n].tensor = list[n].before;
    }
    return status;
}

md_status md_trainer_export(const md_trainer *trainer, const float *const *values,
                            uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    md_graph graph = {0};
    md_status status = md_decode(&graph, trainer->onnx, trainer->onnx_bytes, err);
    if (status == MD_OK) {
        status = export_graph(trainer, &graph, values, ret_bytes, ret_size, err);
    }
    md_graph_finish(&graph);
    return status;
}
