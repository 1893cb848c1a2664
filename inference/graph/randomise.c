#include "inference/graph/randomise.h"

#include "inference/graph/decode.h"
#include "inference/graph/writer.h"
#include "inference/train/random.h"

#include "onnx.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool has_weights(const Onnx__NodeProto *node)
{
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops && node->op_type != NULL; i++) {
        if (strcmp(node->op_type, ops[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const Onnx__TensorProto *find_initializer(const Onnx__GraphProto *graph,
                                                 const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const Onnx__TensorProto *t = graph->initializer[i];
        if (t->name != NULL && strcmp(t->name, name) == 0 && t->n_dims >= 2 &&
            t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
            return t;
        }
    }
    return NULL;
}

/* The weights in the order of the nodes, each once. */
static size_t list_weights(const Onnx__GraphProto *graph, const Onnx__TensorProto **ret_list,
                           size_t n_max)
{
    size_t n = 0;
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        for (size_t j = 0; j < node->n_input && j < 2 && has_weights(node) && n < n_max; j++) {
            const Onnx__TensorProto *t = find_initializer(graph, node->input[j]);
            bool known = t == NULL;
            for (size_t k = 0; k < n && !known; k++) {
                known = ret_list[k] == t;
            }
            if (!known) {
                ret_list[n++] = t;
            }
        }
    }
    return n;
}

static md_status count_elements(const Onnx__TensorProto *t, size_t *ret_n, md_error *err)
{
    size_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 1 || !md_mul(n, (size_t)t->dims[i], &n)) {
            return md_fail(err, MD_LIMIT, "initializer '%.64s' is too large or empty", t->name);
        }
    }
    const bool raw = t->has_raw_data && t->raw_data.len / sizeof(float) == n &&
                     t->raw_data.len % sizeof(float) == 0;
    if (!raw && t->n_float_data != n) {
        return md_fail(err, MD_UNSUPPORTED, "initializer '%.64s' does not hold its %zu numbers",
                       t->name, n);
    }
    *ret_n = n;
    return MD_OK;
}

static float value_at(const Onnx__TensorProto *t, size_t index)
{
    float value;
    if (t->n_float_data > index) {
        return t->float_data[index];
    }
    memcpy(&value, t->raw_data.data + index * sizeof value, sizeof value);
    return value;
}

/* Draw one layer anew. */
static md_status draw(const Onnx__TensorProto *t, uint64_t seed, unsigned from_end,
                      md_onnx_weights *ret_weights, float **ret_values, md_error *err)
{
    size_t n = 0;
    MD_TRY(count_elements(t, &n, err));
    float *values = md_calloc(n, sizeof *values);
    if (values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu weights", n);
    }
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double value = (double)value_at(t, i);
        sum += value;
        squares += value * value;
    }
    const double mean = sum / (double)n;
    const double deviation = sqrt(fmax(0.0, squares / (double)n - mean * mean));
    const md_random_key key = {.seed = seed, .position = from_end};
    md_random random;
    md_random_init(&random, &key, 0);
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(deviation * (double)md_random_normal(&random));
    }
    *ret_weights = (md_onnx_weights){.name = t->name, .n = n, .values = values};
    *ret_values = values;
    return MD_OK;
}

static md_status replace(const uint8_t *onnx, size_t size_bytes, const Onnx__TensorProto **list,
                         size_t n_all, unsigned n_layers, uint64_t seed, uint8_t **ret_bytes,
                         size_t *ret_size, md_error *err)
{
    MD_AUTO(md_freep) md_onnx_weights *weights = md_calloc(n_layers, sizeof *weights);
    MD_AUTO(md_freep) float **values = md_calloc(n_layers, sizeof *values);
    if (weights == NULL || values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u layers", n_layers);
    }
    md_status status = MD_OK;
    for (unsigned i = 0; i < n_layers && status == MD_OK; i++) {
        status = draw(list[n_all - 1 - i], seed, i, &weights[i], &values[i], err);
    }
    if (status == MD_OK) {
        status = md_onnx_replace(onnx, size_bytes, weights, n_layers, ret_bytes, ret_size, err);
    }
    for (unsigned i = 0; i < n_layers; i++) {
        md_free(values[i]);
    }
    return status;
}

static md_status randomise(const Onnx__GraphProto *graph, const uint8_t *onnx,
                           size_t size_bytes, unsigned n_layers, uint64_t seed,
                           uint8_t **ret_bytes, size_t *ret_size, unsigned *ret_n_all,
                           char ret_last[MD_ONNX_NAME_BYTES], md_error *err)
{
    if (graph == NULL) {
        return md_fail(err, MD_FORMAT, "the ONNX model has no graph");
    }
    MD_AUTO(md_freep)
    const Onnx__TensorProto **list =
        md_calloc(graph->n_initializer + 1, sizeof(Onnx__TensorProto *));
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the list of layers");
    }
    const size_t n_all = list_weights(graph, list, graph->n_initializer);
    if (n_layers > n_all) {
        return md_fail(err, MD_INVALID_ARG, "%u layers of %zu", n_layers, n_all);
    }
    *ret_n_all = (unsigned)n_all;
    *ret_bytes = NULL;
    ret_last[0] = '\0';
    if (n_layers == 0) {
        return MD_OK;
    }
    /* cut at the limit: the name is for people */
    (void)snprintf(ret_last, MD_ONNX_NAME_BYTES, "%s", list[n_all - n_layers]->name);
    return replace(onnx, size_bytes, list, n_all, n_layers, seed, ret_bytes, ret_size, err);
}

md_status md_onnx_randomise(const uint8_t *onnx, size_t size_bytes, unsigned n_layers,
                            uint64_t seed, uint8_t **ret_bytes, size_t *ret_size,
                            unsigned *ret_n_all, char ret_last[MD_ONNX_NAME_BYTES],
                            md_error *err)
{
    md_graph graph = {0};
    md_status status = md_decode_whole(&graph, onnx, size_bytes, err);
    if (status == MD_OK) {
        const Onnx__ModelProto *model = graph.proto;
        status = randomise(model->graph, onnx, size_bytes, n_layers, seed, ret_bytes, ret_size,
                           ret_n_all, ret_last, err);
    }
    md_decode_finish(&graph);
    return status;
}
