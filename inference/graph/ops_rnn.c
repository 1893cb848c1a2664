/* Import of recurrent layers. */

#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

enum {
    FORWARD,
    REVERSE,
    BIDIRECTIONAL
};

/* Gates of one step, activation functions of one direction, inputs that are an optional state.
 */
typedef struct kind {
    unsigned n_gates, n_functions;
    const char *defaults[3];
} kind;

static const kind kinds[] = {
    [MD_RNN_PLAIN] = {1, 1, {"Tanh"}},
    [MD_RNN_GRU] = {3, 2, {"Sigmoid", "Tanh"}},
    [MD_RNN_LSTM] = {4, 3, {"Sigmoid", "Tanh", "Tanh"}},
};

/* Functions without parameters of their own, or with ONNX's defaults. */
static md_status function_named(md_node_import *b, const char *name, size_t n_bytes,
                                md_activation *ret)
{
    static const struct {
        const char *name;
        md_activation activation;
    } list[] = {
        {"Relu", {MD_UNARY_RELU, 0.0F, 0.0F}},
        {"Tanh", {MD_UNARY_TANH, 0.0F, 0.0F}},
        {"Sigmoid", {MD_UNARY_SIGMOID, 0.0F, 0.0F}},
        {"LeakyRelu", {MD_UNARY_LEAKY_RELU, 0.01F, 0.0F}},
        {"ThresholdedRelu", {MD_UNARY_THRESHOLDED_RELU, 1.0F, 0.0F}},
        {"HardSigmoid", {MD_UNARY_HARD_SIGMOID, 0.2F, 0.5F}},
        {"Elu", {MD_UNARY_ELU, 1.0F, 0.0F}},
        {"Softsign", {MD_UNARY_SOFTSIGN, 0.0F, 0.0F}},
        {"Softplus", {MD_UNARY_SOFTPLUS, 0.0F, 0.0F}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strlen(list[i].name) == n_bytes && memcmp(list[i].name, name, n_bytes) == 0) {
            *ret = list[i].activation;
            return MD_OK;
        }
    }
    return md_import_fail(b, MD_UNSUPPORTED, "activation '%.*s' is not supported",
                          n_bytes < 32 ? (int)n_bytes : 32, name);
}

/* activation_alpha and activation_beta are not read, so md_attributes_finish refuses them. */
static md_status read_functions(md_node_import *b, md_rnn_params *rnn)
{
    const kind *k = &kinds[rnn->kind];
    const Onnx__AttributeProto *a;
    const unsigned n = k->n_functions * rnn->n_directions;
    MD_TRY(md_attribute_find(b, "activations", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS,
                             &a));
    if (a != NULL && a->n_strings != n) {
        return md_import_fail(b, MD_FORMAT, "%zu activations, %u are needed", a->n_strings, n);
    }
    for (unsigned i = 0; i < n; i++) {
        const char *name = k->defaults[i % k->n_functions];
        size_t n_bytes = strlen(name);
        if (a != NULL) {
            name = a->strings[i].data == NULL ? "" : (const char *)a->strings[i].data;
            n_bytes = a->strings[i].len;
        }
        MD_TRY(function_named(b, name, n_bytes, &rnn->functions[i]));
    }
    return MD_OK;
}

static md_status read_attributes(md_node_import *b, md_rnn_params *rnn)
{
    static const char *const directions[] = {"forward", "reverse", "bidirectional", NULL};
    const md_tensor *weights = md_import_in(b, 1);
    int direction;
    int64_t layout = 0, linear = 0, forget = 0, hidden;
    MD_TRY(md_attribute_choice(b, "direction", directions, FORWARD, &direction));
    rnn->reverse = direction == REVERSE;
    rnn->n_directions = direction == BIDIRECTIONAL ? 2 : 1;
    MD_TRY(md_attribute_float(b, "clip", INFINITY, &rnn->clip));
    if (b->node.opset >= 14) {
        MD_TRY(md_attribute_int(b, "layout", 0, &layout));
    }
    if (rnn->kind == MD_RNN_GRU) {
        MD_TRY(md_attribute_int(b, "linear_before_reset", 0, &linear));
    }
    if (rnn->kind == MD_RNN_LSTM) {
        MD_TRY(md_attribute_int(b, "input_forget", 0, &forget));
    }
    const int64_t n_gates = (int64_t)kinds[rnn->kind].n_gates;
    if (weights->n_dims != 3 || weights->dims[1] < n_gates || weights->dims[1] % n_gates != 0) {
        return md_import_fail(b, MD_FORMAT, "weights of %u dimensions", weights->n_dims);
    }
    rnn->n_hidden = weights->dims[1] / n_gates;
    MD_TRY(md_attribute_int(b, "hidden_size", rnn->n_hidden, &hidden));
    if (hidden != rnn->n_hidden || layout < 0 || layout > 1 || !(rnn->clip > 0.0F)) {
        return md_import_fail(b, MD_FORMAT, "hidden_size %lld for weights of %lld rows",
                              (long long)hidden, (long long)weights->dims[1]);
    }
    rnn->batch_first = layout != 0;
    rnn->linear_before_reset = linear != 0;
    rnn->input_forget = forget != 0;
    return read_functions(b, rnn);
}

static md_status need_shape(md_node_import *b, unsigned i, md_dtype dtype, unsigned n_dims,
                            const int64_t *dims)
{
    const md_tensor *x = md_import_in(b, i);
    if (x != NULL && (x->dtype != dtype || x->n_dims != n_dims ||
                      memcmp(x->dims, dims, n_dims * sizeof *dims) != 0)) {
        return md_import_fail(b, MD_FORMAT, "input %u has another shape or type", i);
    }
    return MD_OK;
}

/* Inputs X, W, R, B, sequence_lens, initial_h and, of an LSTM, initial_c and P; outputs Y, Y_h
 * and, of an LSTM, Y_c. */
md_status md_import_rnn(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    md_rnn_params *rnn = &b->node.p.rnn;
    int values[3];
    rnn->kind = (md_rnn)b->variant;
    MD_TRY(read_attributes(b, rnn));
    if (x.n_dims != 3 || x.n_elements == 0) {
        return md_import_fail(b, MD_FORMAT, "input of %u dimensions", x.n_dims);
    }
    const unsigned n_gates = kinds[rnn->kind].n_gates;
    const int64_t n_steps = x.dims[rnn->batch_first ? 1 : 0];
    const int64_t n_batch = x.dims[rnn->batch_first ? 0 : 1];
    const int64_t d = (int64_t)rnn->n_directions, h = rnn->n_hidden, rows = h * n_gates;
    const int64_t state[3] = {rnn->batch_first ? n_batch : d, rnn->batch_first ? d : n_batch,
                              h};
    const int64_t w[3] = {d, rows, x.dims[2]}, r[3] = {d, rows, h}, bias[2] = {d, 2 * rows};
    const int64_t peephole[2] = {d, 3 * h};
    MD_TRY(need_shape(b, 1, MD_F32, 3, w));
    MD_TRY(need_shape(b, 2, MD_F32, 3, r));
    MD_TRY(need_shape(b, 3, MD_F32, 2, bias));
    MD_TRY(need_shape(b, 4, MD_I32, 1, &n_batch));
    MD_TRY(need_shape(b, 5, MD_F32, 3, state));
    MD_TRY(need_shape(b, 6, MD_F32, 3, state));
    MD_TRY(need_shape(b, 7, MD_F32, 2, peephole));
    md_tensor shapes[3] = {
        {.dtype = MD_F32, .n_dims = 4, .dims = {n_steps, d, n_batch, h}},
        {.dtype = MD_F32, .n_dims = 3, .dims = {state[0], state[1], h}},
        {.dtype = MD_F32, .n_dims = 3, .dims = {state[0], state[1], h}},
    };
    if (rnn->batch_first) {
        const int64_t batches[4] = {n_batch, n_steps, d, h};
        memcpy(shapes[0].dims, batches, sizeof batches);
    }
    return md_import_emit_all(b, MD_OP_RNN, b->in, b->n_in, shapes,
                              rnn->kind == MD_RNN_LSTM ? 3 : 2, values);
}
