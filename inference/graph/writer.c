#include "inference/graph/writer.h"

#include "inference/graph/decode.h"
#include "inference/network.h"

#include "onnx.pb-c.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian");

/* The message is built of protobuf-c's structs, which only the encoder reads. */
struct md_writer {
    md_pool pool;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__NodeProto *node; /* the last one, which attributes belong to */
    md_error error;        /* the first one; MD_OK: none */
};

static void fail(md_writer *w, md_status status, const char *message)
{
    if (w->error.status == MD_OK) {
        (void)md_fail(&w->error, status, "%s", message);
    }
}

static void *take(md_writer *w, size_t size_bytes)
{
    void *block = w->error.status == MD_OK ? md_pool_alloc(&w->pool, size_bytes) : NULL;
    if (block == NULL) {
        fail(w, MD_NOMEM, "no memory to write an ONNX network");
    }
    return block;
}

static char *text(md_writer *w, const char *string)
{
    const size_t n_bytes = strlen(string) + 1;
    char *copy = take(w, n_bytes);
    return copy == NULL ? NULL : memcpy(copy, string, n_bytes);
}

/* Append to an array of pointers in the pool; it doubles at each power of two. */
static bool append(md_writer *w, void *ret_list, size_t *n, void *item)
{
    void **list;
    memcpy(&list, ret_list, sizeof list);
    if ((*n & (*n - 1)) == 0) {
        void **longer = take(w, (*n == 0 ? 1 : 2 * *n) * sizeof *longer);
        if (longer == NULL) {
            return false;
        }
        if (*n > 0) {
            memcpy(longer, list, *n * sizeof *longer);
        }
        list = longer;
        memcpy(ret_list, &list, sizeof list);
    }
    list[(*n)++] = item;
    return true;
}

md_status md_writer_create(const char *graph_name, md_writer **ret_writer, md_error *err)
{
    MD_AUTO(md_writer_destroyp) md_writer *w = md_calloc(1, sizeof *w);
    if (w == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write an ONNX network");
    }
    onnx__model_proto__init(&w->model);
    onnx__graph_proto__init(&w->graph);
    Onnx__OperatorSetIdProto *opset = take(w, sizeof *opset);
    if (opset != NULL) {
        onnx__operator_set_id_proto__init(opset);
        opset->domain = text(w, "");
        opset->has_version = 1;
        opset->version = MD_WRITER_OPSET;
    }
    w->model.has_ir_version = 1;
    w->model.ir_version = MD_WRITER_IR_VERSION;
    w->model.producer_name = text(w, "medaid");
    w->model.graph = &w->graph;
    w->graph.name = text(w, graph_name);
    if (opset == NULL || !append(w, &w->model.opset_import, &w->model.n_opset_import, opset)) {
        return md_writer_status(w, err);
    }
    MD_TRY(md_writer_status(w, err));
    *ret_writer = MD_STEAL(w);
    return MD_OK;
}

void md_writer_destroy(md_writer *writer)
{
    if (writer != NULL) {
        md_pool_finish(&writer->pool);
        md_free(writer);
    }
}

void md_writer_text(md_writer *writer)
{
    writer->model.ir_version = MD_WRITER_TEXT_IR_VERSION;
    writer->model.opset_import[0]->version = MD_WRITER_TEXT_OPSET;
}

static Onnx__ValueInfoProto *port(md_writer *w, const char *name, int32_t type_number,
                                  unsigned n_dims, const int64_t *dims)
{
    Onnx__ValueInfoProto *info = take(w, sizeof *info);
    Onnx__TypeProto *type = take(w, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = take(w, sizeof *tensor);
    Onnx__TensorShapeProto *shape = take(w, sizeof *shape);
    if (info == NULL || type == NULL || tensor == NULL || shape == NULL) {
        return NULL;
    }
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    info->name = text(w, name);
    info->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type_number;
    tensor->shape = shape;
    for (unsigned i = 0; i < n_dims; i++) {
        Onnx__TensorShapeProto__Dimension *dim = take(w, sizeof *dim);
        if (dim == NULL || !append(w, &shape->dim, &shape->n_dim, dim)) {
            return NULL;
        }
        onnx__tensor_shape_proto__dimension__init(dim);
        if (dims[i] == -1) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = text(w, "N");
        } else {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = dims[i];
        }
    }
    return info;
}

void md_writer_input(md_writer *writer, const char *name, unsigned n_dims, const int64_t *dims)
{
    Onnx__ValueInfoProto *info =
        port(writer, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, n_dims, dims);
    if (info != NULL) {
        (void)append(writer, &writer->graph.input, &writer->graph.n_input, info);
    }
}

void md_writer_integer_input(md_writer *writer, const char *name, unsigned n_dims,
                             const int64_t *dims)
{
    Onnx__ValueInfoProto *info =
        port(writer, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, n_dims, dims);
    if (info != NULL) {
        (void)append(writer, &writer->graph.input, &writer->graph.n_input, info);
    }
}

void md_writer_output(md_writer *writer, const char *name, unsigned n_dims, const int64_t *dims)
{
    Onnx__ValueInfoProto *info =
        port(writer, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, n_dims, dims);
    if (info != NULL) {
        (void)append(writer, &writer->graph.output, &writer->graph.n_output, info);
    }
}

/* An initializer with room for its elements. */
static void *initializer(md_writer *w, const char *name, int32_t type, size_t element_bytes,
                         unsigned n_dims, const int64_t *dims)
{
    size_t n = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        if (dims[i] < 1) {
            fail(w, MD_INVALID_ARG, "a weight with a dimension below 1");
            return NULL;
        }
        if (!md_mul(n, (size_t)dims[i], &n) || n > MD_TENSOR_MAX_ELEMENTS) {
            fail(w, MD_LIMIT, "a weight with too many elements");
            return NULL;
        }
    }
    Onnx__TensorProto *tensor = take(w, sizeof *tensor);
    int64_t *copy = take(w, (n_dims == 0 ? 1 : n_dims) * sizeof *copy);
    void *data = take(w, n * element_bytes);
    if (tensor == NULL || copy == NULL || data == NULL) {
        return NULL;
    }
    onnx__tensor_proto__init(tensor);
    tensor->name = text(w, name);
    tensor->has_data_type = 1;
    tensor->data_type = type;
    for (unsigned i = 0; i < n_dims; i++) {
        copy[i] = dims[i];
    }
    tensor->n_dims = n_dims;
    tensor->dims = copy;
    tensor->has_raw_data = 1;
    tensor->raw_data.len = n * element_bytes;
    tensor->raw_data.data = data;
    return append(w, &w->graph.initializer, &w->graph.n_initializer, tensor) ? data : NULL;
}

float *md_writer_weights(md_writer *writer, const char *name, unsigned n_dims,
                         const int64_t *dims)
{
    return initializer(writer, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof(float),
                       n_dims, dims);
}

void md_writer_integers(md_writer *writer, const char *name, const int64_t *values, unsigned n)
{
    const int64_t dims[1] = {n};
    void *data = initializer(writer, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, sizeof *values,
                             1, dims);
    if (data != NULL) {
        memcpy(data, values, n * sizeof *values);
    }
}

void md_writer_node(md_writer *writer, const char *op_type, const char *inputs,
                    const char *output)
{
    md_writer *w = writer;
    Onnx__NodeProto *node = take(w, sizeof *node);
    char *list = text(w, inputs), *name = text(w, output), *op = text(w, op_type);
    if (node == NULL || list == NULL || name == NULL || op == NULL) {
        return;
    }
    onnx__node_proto__init(node);
    node->name = name;
    node->op_type = op;
    for (char *save, *input = strtok_r(list, " ", &save); input != NULL;
         input = strtok_r(NULL, " ", &save)) {
        (void)append(w, &node->input, &node->n_input, input);
    }
    (void)append(w, &node->output, &node->n_output, name);
    if (append(w, &w->graph.node, &w->graph.n_node, node)) {
        w->node = node;
    }
}

static Onnx__AttributeProto *attribute(md_writer *w, const char *name,
                                       Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = take(w, sizeof *a);
    if (a == NULL) {
        return NULL;
    }
    onnx__attribute_proto__init(a);
    a->name = text(w, name);
    a->has_type = 1;
    a->type = type;
    return append(w, &w->node->attribute, &w->node->n_attribute, a) ? a : NULL;
}

void md_writer_attribute_int(md_writer *writer, const char *name, int64_t value)
{
    Onnx__AttributeProto *a =
        attribute(writer, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (a != NULL) {
        a->has_i = 1;
        a->i = value;
    }
}

void md_writer_attribute_text(md_writer *writer, const char *name, const char *value)
{
    Onnx__AttributeProto *a =
        attribute(writer, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    char *copy = text(writer, value);
    if (a != NULL && copy != NULL) {
        a->has_s = 1;
        a->s.len = strlen(copy);
        a->s.data = (uint8_t *)copy;
    }
}

void md_writer_attribute_float(md_writer *writer, const char *name, float value)
{
    Onnx__AttributeProto *a =
        attribute(writer, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (a != NULL) {
        a->has_f = 1;
        a->f = value;
    }
}

void md_writer_attribute_ints(md_writer *writer, const char *name, const int64_t *values,
                              unsigned n)
{
    Onnx__AttributeProto *a =
        attribute(writer, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = take(writer, n * sizeof *copy);
    if (a != NULL && copy != NULL) {
        memcpy(copy, values, n * sizeof *copy);
        a->n_ints = n;
        a->ints = copy;
    }
}

void md_writer_fail(md_writer *writer, md_status status, const char *message)
{
    fail(writer, status, message);
}

md_status md_writer_status(const md_writer *writer, md_error *err)
{
    if (writer->error.status != MD_OK && err != NULL) {
        *err = writer->error;
    }
    return writer->error.status;
}

static md_status pack(const Onnx__ModelProto *model, uint8_t **ret_bytes, size_t *ret_size,
                      md_error *err)
{
    const size_t n_bytes = onnx__model_proto__get_packed_size(model);
    if (n_bytes > MD_NETWORK_MAX_ONNX_BYTES) {
        return md_fail(err, MD_LIMIT, "an ONNX file of %zu bytes, at most %zu", n_bytes,
                       MD_NETWORK_MAX_ONNX_BYTES);
    }
    uint8_t *bytes = md_malloc(n_bytes);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an ONNX file of %zu bytes", n_bytes);
    }
    *ret_size = onnx__model_proto__pack(model, bytes);
    *ret_bytes = bytes;
    return MD_OK;
}

md_status md_writer_finish(md_writer *writer, uint8_t **ret_bytes, size_t *ret_size,
                           md_error *err)
{
    MD_TRY(md_writer_status(writer, err));
    return pack(&writer->model, ret_bytes, ret_size, err);
}

static Onnx__TensorProto *find(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        Onnx__TensorProto *tensor = graph->initializer[i];
        if (tensor->name != NULL && strcmp(tensor->name, name) == 0) {
            return tensor;
        }
    }
    return NULL;
}

/* What was in the message before: it belongs to the decoder and goes back. */
typedef struct kept {
    Onnx__TensorProto *tensor;
    ProtobufCBinaryData raw;
    protobuf_c_boolean has_raw;
    size_t n_float_data;
} kept;

static md_status replace(const Onnx__GraphProto *graph, const md_onnx_weights *weights,
                         kept *ret_kept, md_error *err)
{
    Onnx__TensorProto *tensor = find(graph, weights->name);
    if (tensor == NULL) {
        return md_fail(err, MD_NOT_FOUND, "no initializer '%.64s' in the ONNX file",
                       weights->name);
    }
    size_t n = 1;
    for (size_t i = 0; i < tensor->n_dims; i++) {
        if (tensor->dims[i] < 0 || !md_mul(n, (size_t)tensor->dims[i], &n)) {
            return md_fail(err, MD_FORMAT, "initializer '%.64s' has an impossible shape",
                           weights->name);
        }
    }
    if (tensor->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || n != weights->n) {
        return md_fail(err, MD_INVALID_ARG,
                       "initializer '%.64s' is not float32 with %zu elements", weights->name,
                       weights->n);
    }
    *ret_kept = (kept){tensor, tensor->raw_data, tensor->has_raw_data, tensor->n_float_data};
    tensor->n_float_data = 0;
    tensor->has_raw_data = 1;
    tensor->raw_data.len = n * sizeof(float);
    /* read only: the encoder copies it */
    tensor->raw_data.data = (uint8_t *)(uintptr_t)weights->values;
    return MD_OK;
}

static md_status replace_all(md_graph *graph, const md_onnx_weights *weights,
                             unsigned n_weights, kept *list, uint8_t **ret_bytes,
                             size_t *ret_size, md_error *err)
{
    const Onnx__ModelProto *model = graph->proto;
    if (model->graph == NULL) {
        return md_fail(err, MD_FORMAT, "the ONNX model has no graph");
    }
    unsigned n = 0;
    md_status status = MD_OK;
    while (status == MD_OK && n < n_weights) {
        status = replace(model->graph, &weights[n], &list[n], err);
        n += status == MD_OK;
    }
    if (status == MD_OK) {
        status = pack(model, ret_bytes, ret_size, err);
    }
    /* backwards, in case one was named twice */
    for (unsigned i = n; i-- > 0;) {
        list[i].tensor->raw_data = list[i].raw;
        list[i].tensor->has_raw_data = list[i].has_raw;
        list[i].tensor->n_float_data = list[i].n_float_data;
    }
    return status;
}

md_status md_onnx_replace(const uint8_t *onnx, size_t size_bytes,
                          const md_onnx_weights *weights, unsigned n_weights,
                          uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    MD_AUTO(md_freep) kept *kept_list = md_calloc(n_weights, sizeof *kept_list);
    if (kept_list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write an ONNX network");
    }
    md_graph graph = {0};
    md_status status = md_decode_whole(&graph, onnx, size_bytes, err);
    if (status == MD_OK) {
        status = replace_all(&graph, weights, n_weights, kept_list, ret_bytes, ret_size, err);
    }
    md_graph_finish(&graph);
    return status;
}
