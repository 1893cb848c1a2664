#include "inference/graph/node_import.h"

#include "inference/backend/element.h"

#include <string.h>

const md_tensor *md_import_in(const md_node_import *b, unsigned i)
{
    return i < b->n_in && b->in[i] != MD_GRAPH_NO_VALUE ? md_graph_tensor(b->graph, b->in[i])
                                                        : NULL;
}

md_status md_import_need(md_node_import *b, unsigned i, md_dtype dtype)
{
    const md_tensor *tensor = md_import_in(b, i);
    if (tensor != NULL && tensor->dtype != dtype) {
        return md_import_fail(b, MD_UNSUPPORTED, "input %u is %s, only %s is supported", i,
                              md_dtype_name(tensor->dtype), md_dtype_name(dtype));
    }
    return MD_OK;
}

md_status md_import_need_constant(md_node_import *b, unsigned i)
{
    if (md_import_in(b, i) == NULL) {
        return MD_OK;
    }
    const md_value *value = &b->graph->values[b->in[i]];
    if (!value->constant) {
        return md_import_fail(b, MD_UNSUPPORTED,
                              "input %u ('%.64s') is not constant: it decides the shape", i,
                              value->name);
    }
    return MD_OK;
}

md_status md_import_ints(md_node_import *b, unsigned i, const int64_t **ret_values,
                         size_t *ret_n)
{
    *ret_values = NULL;
    *ret_n = 0;
    const md_tensor *tensor = md_import_in(b, i);
    if (tensor == NULL) {
        return MD_OK;
    }
    MD_TRY(md_import_need_constant(b, i));
    if (tensor->n_dims > 1 || (tensor->dtype != MD_I64 && tensor->dtype != MD_I32)) {
        return md_import_fail(b, MD_FORMAT, "input %u is not a list of integers", i);
    }
    if (tensor->dtype == MD_I64) {
        *ret_values = tensor->data;
    } else {
        if (tensor->n_elements > MD_GRAPH_MAX_IO) {
            return md_import_fail(b, MD_LIMIT, "input %u has %zu elements", i,
                                  tensor->n_elements);
        }
        int64_t *wide = md_pool_alloc(&b->graph->pool, (tensor->n_elements + 1) * sizeof *wide);
        if (wide == NULL) {
            return md_fail(b->err, MD_NOMEM, "no memory for a list");
        }
        for (size_t j = 0; j < tensor->n_elements; j++) {
            wide[j] = ((const int32_t *)tensor->data)[j];
        }
        *ret_values = wide;
    }
    *ret_n = tensor->n_elements;
    return MD_OK;
}

md_status md_import_scalar(md_node_import *b, unsigned i, bool *ret_present, double *ret_value)
{
    const md_tensor *tensor = md_import_in(b, i);
    *ret_present = tensor != NULL;
    if (tensor == NULL) {
        return MD_OK;
    }
    MD_TRY(md_import_need_constant(b, i));
    if (tensor->n_elements != 1) {
        return md_import_fail(b, MD_FORMAT, "input %u is not a single number", i);
    }
    *ret_value = md_element_real(tensor, 0);
    return MD_OK;
}

md_status md_import_axis(md_node_import *b, int64_t axis, unsigned rank, unsigned *ret_axis)
{
    int64_t made = axis < 0 ? axis + (int64_t)rank : axis;
    if (made < 0 || made >= (int64_t)rank) {
        return md_import_fail(b, MD_FORMAT, "axis %lld of a tensor of %u dimensions",
                              (long long)axis, rank);
    }
    *ret_axis = (unsigned)made;
    return MD_OK;
}

const char *md_import_output_name(const md_node_import *b, unsigned i)
{
    return i < b->proto->n_output && b->proto->output[i][0] != '\0' ? b->proto->output[i]
                                                                    : NULL;
}

static md_status add_output(md_node_import *b, int output, md_dtype dtype, unsigned n_dims,
                            const int64_t *dims, int *ret_value)
{
    const char *name = output < 0 ? NULL : md_import_output_name(b, (unsigned)output);
    md_error inner = {0};
    md_status status =
        md_graph_add_value(b->graph, name, dtype, n_dims, dims, ret_value, &inner);
    return status == MD_OK ? MD_OK
                           : md_import_fail(b, status, "output %d: %s", output, inner.msg);
}

/* Fold the node when all its operands are constant. */
static md_status fold_if_constant(md_node_import *b, unsigned node_index)
{
    md_node *node = &b->graph->nodes[node_index];
    bool all_constant = node->n_inputs > 0, done;
    for (unsigned i = 0; i < node->n_inputs; i++) {
        const int value = node->inputs[i];
        all_constant =
            all_constant && (value == MD_GRAPH_NO_VALUE || b->graph->values[value].constant);
    }
    if (all_constant) {
        MD_TRY(md_graph_fold(b->graph, node, &done, b->err));
        if (done) {
            node->op = MD_OP_NONE;
        }
    }
    return MD_OK;
}

/* What depends on the data in its shape has no reader in the plan: shapes are fixed there. */
static md_status need_fixed(md_node_import *b, const int *inputs, unsigned n_inputs)
{
    for (unsigned i = 0; i < n_inputs; i++) {
        if (inputs[i] != MD_GRAPH_NO_VALUE && b->graph->values[inputs[i]].open_dims != 0) {
            return md_import_fail(b, MD_UNSUPPORTED,
                                  "the shape of its input '%.64s' depends on the data: such a "
                                  "tensor can only be an output of the network",
                                  b->graph->values[inputs[i]].name);
        }
    }
    return MD_OK;
}

static md_status append(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                        const int *outputs, unsigned n_outputs)
{
    md_node *node;
    b->node.op = op;
    MD_TRY(need_fixed(b, inputs, n_inputs));
    MD_TRY(md_graph_add_node(b->graph, &b->node, n_inputs, n_outputs, &node, b->err));
    memcpy(node->inputs, inputs, n_inputs * sizeof *inputs);
    memcpy(node->outputs, outputs, n_outputs * sizeof *outputs);
    return fold_if_constant(b, b->graph->n_nodes - 1);
}

/* The ONNX node's output as a 16-bit float, from a float32 one. */
static md_status narrow(md_node_import *b, int wide, int output)
{
    md_node_import cast = *b;
    md_tensor shape = *md_graph_tensor(b->graph, wide);
    int value;
    memset(&cast.node.p, 0, sizeof cast.node.p);
    MD_TRY(add_output(b, output, b->narrow, shape.n_dims, shape.dims, &value));
    b->graph->values[value].open_dims = b->graph->values[wide].open_dims;
    return append(&cast, MD_OP_CAST, &wide, 1, &value, 1);
}

static bool is_narrowed(const md_node_import *b, int output, md_dtype dtype)
{
    return output >= 0 && dtype == MD_F32 && b->narrow != MD_F32;
}

md_status md_import_emit(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                         int output, md_dtype dtype, unsigned n_dims, const int64_t *dims,
                         int *ret_value)
{
    int value;
    const bool narrowed = is_narrowed(b, output, dtype);
    MD_TRY(add_output(b, narrowed ? MD_IMPORT_INNER : output, dtype, n_dims, dims, &value));
    MD_TRY(append(b, op, inputs, n_inputs, &value, 1));
    *ret_value = value;
    return narrowed ? narrow(b, value, output) : MD_OK;
}

md_status md_import_emit_all(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                             const md_tensor *shapes, unsigned n_outputs, int *ret_values)
{
    for (unsigned i = 0; i < n_outputs; i++) {
        const int output = is_narrowed(b, (int)i, shapes[i].dtype) ? MD_IMPORT_INNER : (int)i;
        MD_TRY(add_output(b, output, shapes[i].dtype, shapes[i].n_dims, shapes[i].dims,
                          &ret_values[i]));
    }
    MD_TRY(append(b, op, inputs, n_inputs, ret_values, n_outputs));
    for (unsigned i = 0; i < n_outputs; i++) {
        if (is_narrowed(b, (int)i, shapes[i].dtype) && md_import_output_name(b, i) != NULL) {
            MD_TRY(narrow(b, ret_values[i], (int)i));
        }
    }
    return MD_OK;
}

md_status md_import_emit_inner(md_node_import *b, md_op op, const int *inputs,
                               unsigned n_inputs, const md_tensor *shapes, unsigned n_outputs,
                               int *ret_values)
{
    for (unsigned i = 0; i < n_outputs; i++) {
        MD_TRY(add_output(b, MD_IMPORT_INNER, shapes[i].dtype, shapes[i].n_dims, shapes[i].dims,
                          &ret_values[i]));
    }
    return append(b, op, inputs, n_inputs, ret_values, n_outputs);
}

md_status md_import_emit_like(md_node_import *b, md_op op, const int *inputs, unsigned n_inputs,
                              int like, int output, md_dtype dtype, int *ret_value)
{
    const md_tensor shape = *md_graph_tensor(b->graph, like);
    return md_import_emit(b, op, inputs, n_inputs, output, dtype, shape.n_dims, shape.dims,
                          ret_value);
}

md_status md_import_constant(md_node_import *b, int output, md_dtype dtype, unsigned n_dims,
                             const int64_t *dims, int *ret_value)
{
    const bool narrowed = is_narrowed(b, output, dtype);
    if (narrowed) { /* the caller fills it in, so there is nothing to convert yet */
        return md_import_fail(b, MD_UNSUPPORTED, "operands of type %s are not supported",
                              md_dtype_name(b->narrow));
    }
    MD_TRY(add_output(b, output, dtype, n_dims, dims, ret_value));
    md_error inner = {0};
    md_status status = md_graph_make_constant(b->graph, *ret_value, &inner);
    return status == MD_OK ? MD_OK : md_import_fail(b, status, "%s", inner.msg);
}

md_status md_import_alias(md_node_import *b, int output, int value)
{
    const char *name = md_import_output_name(b, (unsigned)output);
    if (name == NULL) {
        return MD_OK;
    }
    if (is_narrowed(b, output, md_graph_tensor(b->graph, value)->dtype)) {
        return narrow(b, value, output);
    }
    md_error inner = {0};
    md_status status = md_graph_add_name(b->graph, name, value, &inner);
    return status == MD_OK ? MD_OK : md_import_fail(b, status, "%s", inner.msg);
}

md_status md_import_broadcast(md_node_import *b, const md_tensor *x, const md_tensor *y,
                              unsigned *ret_n_dims, int64_t *ret_dims)
{
    unsigned n_dims = x->n_dims > y->n_dims ? x->n_dims : y->n_dims;
    for (unsigned i = 0; i < n_dims; i++) { /* from the last axis */
        int64_t of_x = i < x->n_dims ? x->dims[x->n_dims - 1 - i] : 1;
        int64_t of_y = i < y->n_dims ? y->dims[y->n_dims - 1 - i] : 1;
        if (of_x != of_y && of_x != 1 && of_y != 1) {
            return md_import_fail(b, MD_FORMAT, "lengths %lld and %lld do not broadcast",
                                  (long long)of_x, (long long)of_y);
        }
        ret_dims[n_dims - 1 - i] = of_x == 1 ? of_y : of_x;
    }
    *ret_n_dims = n_dims;
    return MD_OK;
}
