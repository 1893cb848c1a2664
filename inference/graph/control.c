/* Import of If, Loop and Scan. The plan has no jumps: the branch that a constant condition
 * takes is imported in place of the If, and a body once for each turn. How often it turns has
 * to be known at load time. */

#include "inference/graph/node_import.h"

#include <string.h>

enum {
    MAX_TURNS = MD_GRAPH_MAX_IO, /* so that the results of all turns fit one Concat */
    MAX_DEPTH = 8                /* of graphs in graphs */
};

static md_status graph_attribute(md_node_import *b, const char *name,
                                 const Onnx__GraphProto **ret_graph)
{
    const Onnx__AttributeProto *a;
    MD_TRY(md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH, &a));
    if (a == NULL || a->g == NULL) {
        return md_import_fail(b, MD_FORMAT, "attribute '%s' is missing", name);
    }
    *ret_graph = a->g;
    return MD_OK;
}

/* The inner graph's nodes, with those values as its inputs. Its names live in a scope of their
 * own, from which those of the graphs around it are visible. */
static md_status import_body(md_node_import *b, const Onnx__GraphProto *proto,
                             const int *inputs, size_t n_inputs, int *ret_outputs,
                             size_t n_outputs)
{
    md_graph *graph = b->graph;
    md_scope scope = {.id = ++graph->n_scopes, .outer = graph->scope};
    unsigned depth = 1;
    for (const md_scope *s = scope.outer; s != NULL; s = s->outer) {
        depth++;
    }
    if (depth > MAX_DEPTH) {
        return md_import_fail(b, MD_LIMIT, "graphs nested deeper than %d", MAX_DEPTH);
    }
    if (proto->n_input != n_inputs || proto->n_output != n_outputs) {
        return md_import_fail(b, MD_FORMAT,
                              "its graph has %zu inputs and %zu outputs, not %zu and %zu",
                              proto->n_input, proto->n_output, n_inputs, n_outputs);
    }
    graph->scope = &scope;
    md_status status = MD_OK;
    for (size_t i = 0; i < n_inputs && status == MD_OK; i++) {
        const char *name = proto->input[i]->name;
        status = md_graph_add_name(graph, name == NULL ? "" : name, inputs[i], b->err);
    }
    if (status == MD_OK) {
        status = md_import_nodes(graph, proto, b->node.opset, b->err);
    }
    for (size_t i = 0; i < n_outputs && status == MD_OK; i++) {
        const char *name = proto->output[i]->name;
        ret_outputs[i] = md_graph_find(graph, name == NULL ? "" : name);
        if (ret_outputs[i] == MD_GRAPH_NO_VALUE) {
            status = md_import_fail(b, MD_FORMAT, "its graph does not make output '%.64s'",
                                    name == NULL ? "" : name);
        }
    }
    graph->scope = scope.outer;
    return status;
}

md_status md_import_if(md_node_import *b)
{
    const Onnx__GraphProto *then_graph = NULL, *else_graph = NULL;
    int values[MD_GRAPH_MAX_IO];
    bool present;
    double condition = 0.0;
    MD_TRY(graph_attribute(b, "then_branch", &then_graph));
    MD_TRY(graph_attribute(b, "else_branch", &else_graph));
    if (!b->graph->values[b->in[0]].constant) {
        return md_import_fail(b, MD_UNSUPPORTED, "the condition is not known at load time");
    }
    MD_TRY(md_import_scalar(b, 0, &present, &condition));
    MD_TRY(import_body(b, condition != 0.0 ? then_graph : else_graph, NULL, 0, values,
                       b->proto->n_output));
    for (size_t i = 0; i < b->proto->n_output; i++) {
        MD_TRY(md_import_alias(b, (int)i, values[i]));
    }
    return MD_OK;
}

static md_status constant_scalar(md_node_import *b, md_dtype dtype, int64_t number,
                                 int *ret_value)
{
    MD_TRY(md_import_constant(b, MD_IMPORT_INNER, dtype, 0, NULL, ret_value));
    md_tensor *tensor = md_graph_tensor(b->graph, *ret_value);
    if (dtype == MD_BOOL) {
        *(uint8_t *)tensor->data = number != 0;
    } else {
        *(int64_t *)tensor->data = number;
    }
    return MD_OK;
}

/* The values of all turns, each with a new axis of length 1 at `axis`, one after the other. */
static md_status stack(md_node_import *b, const int *turns, size_t n_turns, int64_t axis,
                       bool backwards, int output)
{
    int joined[MAX_TURNS], value;
    const md_tensor first = *md_graph_tensor(b->graph, turns[0]);
    int64_t dims[MD_TENSOR_MAX_DIMS + 1];
    unsigned made;
    MD_TRY(md_import_axis(b, axis, first.n_dims + 1, &made));
    for (unsigned i = 0, of_first = 0; i <= first.n_dims; i++) {
        dims[i] = i == made ? 1 : first.dims[of_first++];
    }
    for (size_t i = 0; i < n_turns; i++) {
        const md_tensor *x = md_graph_tensor(b->graph, turns[i]);
        if (x->dtype != first.dtype || x->n_dims != first.n_dims ||
            memcmp(x->dims, first.dims, first.n_dims * sizeof *first.dims) != 0) {
            return md_import_fail(b, MD_UNSUPPORTED, "its turns make different shapes");
        }
        memset(&b->node.p, 0, sizeof b->node.p);
        MD_TRY(md_import_emit(b, MD_OP_COPY, &turns[backwards ? n_turns - 1 - i : i], 1,
                              MD_IMPORT_INNER, first.dtype, first.n_dims + 1, dims,
                              &joined[i]));
    }
    dims[made] = (int64_t)n_turns;
    b->node.p.axis.axis = made;
    return md_import_emit(b, MD_OP_CONCAT, joined, (unsigned)n_turns, output, first.dtype,
                          first.n_dims + 1, dims, &value);
}

/* The turns of one result, from the pool: MAX_TURNS for each of n results. */
static md_status turn_list(md_node_import *b, size_t n, int **ret_list)
{
    size_t n_bytes;
    *ret_list = md_mul(n + 1, MAX_TURNS * sizeof(int), &n_bytes)
                    ? md_pool_alloc(&b->graph->pool, n_bytes)
                    : NULL;
    return *ret_list != NULL ? MD_OK : md_fail(b->err, MD_NOMEM, "no memory for a loop");
}

/* Whether the condition of the next turn holds; it has to be known. */
static md_status condition_of(md_node_import *b, int value, bool *ret)
{
    const md_tensor *tensor = md_graph_tensor(b->graph, value);
    if (!b->graph->values[value].constant) {
        return md_import_fail(b, MD_UNSUPPORTED, "the condition is not known at load time");
    }
    if (tensor->dtype != MD_BOOL || tensor->n_elements != 1) {
        return md_import_fail(b, MD_FORMAT, "the condition is not one bool");
    }
    *ret = *(const uint8_t *)tensor->data != 0;
    return MD_OK;
}

/* Inputs: trip count, condition (either may be missing), carried values; the body takes turn,
 * condition and carried values and gives condition, carried values and results, which are
 * stacked. */
md_status md_import_loop(md_node_import *b)
{
    const Onnx__GraphProto *body = NULL;
    int in[MD_GRAPH_MAX_IO + 1], out[MD_GRAPH_MAX_IO], *turns;
    double limit = (double)INT64_MAX;
    bool present, goes_on = true;
    MD_TRY(graph_attribute(b, "body", &body));
    MD_TRY(md_import_scalar(b, 0, &present, &limit));
    const size_t n_carried = b->n_in - 2, n_results = b->proto->n_output;
    if (n_results < n_carried || n_results + 1 > MD_GRAPH_MAX_IO) {
        return md_import_fail(b, MD_FORMAT, "%zu outputs for %zu carried values", n_results,
                              n_carried);
    }
    if (b->in[1] != MD_GRAPH_NO_VALUE) {
        MD_TRY(condition_of(b, b->in[1], &goes_on));
        in[1] = b->in[1];
    } else {
        MD_TRY(constant_scalar(b, MD_BOOL, 1, &in[1]));
    }
    memcpy(in + 2, b->in + 2, n_carried * sizeof *in);
    MD_TRY(turn_list(b, n_results - n_carried, &turns));
    size_t n_turns = 0;
    for (; goes_on && (double)n_turns < limit; n_turns++) {
        if (n_turns == MAX_TURNS) {
            return md_import_fail(b, MD_LIMIT, "more than %d turns", MAX_TURNS);
        }
        MD_TRY(constant_scalar(b, MD_I64, (int64_t)n_turns, &in[0]));
        MD_TRY(import_body(b, body, in, n_carried + 2, out, n_results + 1));
        MD_TRY(condition_of(b, out[0], &goes_on));
        memcpy(in + 1, out, (n_carried + 1) * sizeof *in);
        for (size_t i = n_carried; i < n_results; i++) {
            turns[(i - n_carried) * MAX_TURNS + n_turns] = out[i + 1];
        }
    }
    for (size_t i = 0; i < n_carried; i++) {
        MD_TRY(md_import_alias(b, (int)i, in[2 + i]));
    }
    if (n_turns == 0 && n_results > n_carried) {
        return md_import_fail(b, MD_UNSUPPORTED, "a loop without a turn has results");
    }
    for (size_t i = n_carried; i < n_results; i++) {
        if (md_import_output_name(b, (unsigned)i) != NULL) {
            MD_TRY(stack(b, turns + (i - n_carried) * MAX_TURNS, n_turns, 0, false, (int)i));
        }
    }
    return MD_OK;
}

typedef struct scan {
    const Onnx__GraphProto *body;
    size_t n_states, n_inputs, n_results, n_turns;
    const int64_t *in_axes, *out_axes, *in_directions, *out_directions;
} scan;

static md_status list_of(md_node_import *b, const char *name, size_t n, const int64_t **ret)
{
    size_t n_given;
    MD_TRY(md_attribute_ints(b, name, ret, &n_given));
    return *ret == NULL || n_given == n
               ? MD_OK
               : md_import_fail(b, MD_FORMAT, "attribute '%s' has %zu values, not %zu", name,
                                n_given, n);
}

static md_status read_scan(md_node_import *b, scan *s)
{
    int64_t n_inputs;
    MD_TRY(graph_attribute(b, "body", &s->body));
    MD_TRY(md_attribute_int(b, "num_scan_inputs", 0, &n_inputs));
    if (n_inputs < 1 || n_inputs > (int64_t)b->n_in) {
        return md_import_fail(b, MD_FORMAT, "%lld scanned inputs of %u", (long long)n_inputs,
                              b->n_in);
    }
    s->n_inputs = (size_t)n_inputs;
    s->n_states = b->n_in - s->n_inputs;
    if (b->proto->n_output < s->n_states) {
        return md_import_fail(b, MD_FORMAT, "%zu outputs for %zu states", b->proto->n_output,
                              s->n_states);
    }
    s->n_results = b->proto->n_output - s->n_states;
    MD_TRY(list_of(b, "scan_input_axes", s->n_inputs, &s->in_axes));
    MD_TRY(list_of(b, "scan_output_axes", s->n_results, &s->out_axes));
    MD_TRY(list_of(b, "scan_input_directions", s->n_inputs, &s->in_directions));
    return list_of(b, "scan_output_directions", s->n_results, &s->out_directions);
}

/* Turn t of scanned input i: the slice at that place, without the axis. */
static md_status scanned(md_node_import *b, scan *s, size_t i, size_t t, int *ret_value)
{
    const int input = b->in[s->n_states + i];
    md_tensor x = *md_graph_tensor(b->graph, input);
    unsigned axis;
    MD_TRY(md_import_axis(b, s->in_axes == NULL ? 0 : s->in_axes[i], x.n_dims, &axis));
    if (i == 0 && t == 0) {
        s->n_turns = (size_t)x.dims[axis];
    }
    if ((size_t)x.dims[axis] != s->n_turns || s->n_turns < 1 || s->n_turns > MAX_TURNS) {
        return md_import_fail(b, MD_UNSUPPORTED, "%lld turns, supported are 1..%d",
                              (long long)x.dims[axis], MAX_TURNS);
    }
    const bool backwards = s->in_directions != NULL && s->in_directions[i] != 0;
    memset(&b->node.p, 0, sizeof b->node.p);
    for (unsigned j = 0; j < x.n_dims; j++) {
        b->node.p.slice.step[j] = 1;
    }
    b->node.p.slice.start[axis] = (int64_t)(backwards ? s->n_turns - 1 - t : t);
    x.dims[axis] = 1;
    MD_TRY(md_import_emit(b, MD_OP_SLICE, &input, 1, MD_IMPORT_INNER, x.dtype, x.n_dims, x.dims,
                          ret_value));
    memmove(x.dims + axis, x.dims + axis + 1, (x.n_dims - axis - 1) * sizeof *x.dims);
    memset(&b->node.p, 0, sizeof b->node.p);
    return md_import_emit(b, MD_OP_COPY, ret_value, 1, MD_IMPORT_INNER, x.dtype, x.n_dims - 1,
                          x.dims, ret_value);
}

md_status md_import_scan(md_node_import *b)
{
    scan s = {.n_turns = 1};
    int in[MD_GRAPH_MAX_IO], out[MD_GRAPH_MAX_IO], *turns;
    MD_TRY(read_scan(b, &s));
    MD_TRY(turn_list(b, s.n_results, &turns));
    memcpy(in, b->in, s.n_states * sizeof *in);
    for (size_t t = 0; t < s.n_turns; t++) {
        for (size_t i = 0; i < s.n_inputs; i++) {
            MD_TRY(scanned(b, &s, i, t, &in[s.n_states + i]));
        }
        MD_TRY(
            import_body(b, s.body, in, s.n_states + s.n_inputs, out, s.n_states + s.n_results));
        memcpy(in, out, s.n_states * sizeof *in);
        for (size_t i = 0; i < s.n_results; i++) {
            turns[i * MAX_TURNS + t] = out[s.n_states + i];
        }
    }
    for (size_t i = 0; i < s.n_states; i++) {
        MD_TRY(md_import_alias(b, (int)i, in[i]));
    }
    for (size_t i = 0; i < s.n_results; i++) {
        const size_t output = s.n_states + i;
        if (md_import_output_name(b, (unsigned)output) != NULL) {
            MD_TRY(stack(b, turns + i * MAX_TURNS, s.n_turns,
                         s.out_axes == NULL ? 0 : s.out_axes[i],
                         s.out_directions != NULL && s.out_directions[i] != 0, (int)output));
        }
    }
    return MD_OK;
}
