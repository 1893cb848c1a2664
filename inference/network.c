#include "inference/network.h"
#include "inference/network_private.h"

#include "base/cores.h"
#include "inference/backend/backend.h"
#include "inference/graph/decode.h"
#include "inference/graph/fuse.h"
#include "inference/graph/head.h"
#include "inference/graph/import.h"

#include <math.h>
#include <string.h>

typedef struct port {
    md_network_port port;
    int buffer;
    md_tensor tensor;       /* outputs: what a run hands out */
    const md_tensor *shape; /* set by each run when the data decides it, else NULL */
} port;

/* The classifier behind a feature map: one for each output that has one. */
typedef struct network_head {
    unsigned output;
    const char *const *features; /* the names of that value, NULL-terminated */
    md_tensor weights;
} network_head;

/* A tensor whose range is taken after each run. */
typedef struct observed {
    int buffer;
    size_t n;
} observed;

struct md_network {
    md_plan plan;
    md_pool pool;
    md_backend backend; /* as it was asked for */
    const md_backend_api *api;
    void *backend_state;
    port *inputs, *outputs;
    network_head *heads;
    unsigned n_inputs, n_outputs, n_heads;
    int head_input;
    bool observe;
    observed *observed; /* with `observe` */
    md_range *ranges;
    unsigned n_observed;
};

static md_status onednn_api(const md_backend_api **ret_api, md_error *err)
{
#ifdef MEDAID_HAVE_ONEDNN
    return md_onednn_api(ret_api, err);
#else
    *ret_api = NULL;
    return md_fail(err, MD_UNSUPPORTED, "the oneDNN back end is not built in");
#endif
}

static md_status find_backend(md_backend backend, const md_backend_api **ret_api, md_error *err)
{
    switch (backend) {
    case MD_BACKEND_AUTO:
        if (onednn_api(ret_api, NULL) == MD_OK) {
            return MD_OK;
        }
        return md_openblas_api(ret_api, err);
    case MD_BACKEND_ONEDNN:
        return onednn_api(ret_api, err);
    case MD_BACKEND_OPENBLAS:
        return md_openblas_api(ret_api, err);
    }
    return md_fail(err, MD_INVALID_ARG, "unknown back end %d", (int)backend);
}

static void fill_port(md_network_port *ret, const char *name, const md_tensor *tensor)
{
    ret->name = name;
    ret->dtype = tensor->dtype;
    ret->n_dims = tensor->n_dims;
    memcpy(ret->dims, tensor->dims, sizeof ret->dims);
}

static md_status make_ports(md_network *network, const md_graph *graph, const md_port *list,
                            unsigned n, port **ret_ports, md_error *err)
{
    port *ports = md_pool_alloc(&network->pool, (n + 1) * sizeof *ports);
    if (ports == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u inputs or outputs", n);
    }
    for (unsigned i = 0; i < n; i++) {
        size_t n_bytes = strlen(list[i].name) + 1;
        char *name = md_pool_alloc(&network->pool, n_bytes);
        if (name == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a name");
        }
        memcpy(name, list[i].name, n_bytes);
        ports[i].tensor = *md_graph_tensor(graph, list[i].value);
        ports[i].tensor.owned = false;
        fill_port(&ports[i].port, name, &ports[i].tensor);
        for (unsigned j = 0; j < ports[i].tensor.n_dims; j++) {
            if ((graph->values[list[i].value].open_dims >> j & 1U) != 0) {
                ports[i].port.dims[j] = -1;
            }
        }
    }
    *ret_ports = ports;
    return MD_OK;
}

/* What the last linear layer of an output reads, which may be an output already. */
static md_status add_head_input(md_network *network, md_graph *graph,
                                const md_network_options *options, md_error *err)
{
    network->head_input = -1;
    if (options->head_of == NULL) {
        return MD_OK;
    }
    int output = MD_GRAPH_NO_VALUE;
    for (unsigned i = 0; i < graph->n_outputs; i++) {
        if (strcmp(graph->outputs[i].name, options->head_of) == 0) {
            output = graph->outputs[i].value;
        }
    }
    if (output == MD_GRAPH_NO_VALUE) {
        return md_fail(err, MD_NOT_FOUND, "no output '%.64s' in the network", options->head_of);
    }
    const int value = md_head_input(graph, output);
    if (value == MD_GRAPH_NO_VALUE) {
        return MD_OK;
    }
    const char *const *names = NULL;
    MD_TRY(md_graph_names_of(graph, value, &network->pool, &names, err));
    if (names[0] == NULL) {
        return MD_OK;
    }
    network->head_input = (int)graph->n_outputs;
    graph->values[value].kept = true;
    graph->outputs[graph->n_outputs++] = (md_port){names[0], value};
    return MD_OK;
}

/* Append the caller's extra outputs to the graph's. */
static md_status add_extra_outputs(md_network *network, md_graph *graph,
                                   const md_network_options *options, md_error *err)
{
    const unsigned n = options->n_extra_outputs;
    if (n > MD_NETWORK_MAX_EXTRA_OUTPUTS) {
        return md_fail(err, MD_INVALID_ARG, "%u extra outputs, at most %d", n,
                       MD_NETWORK_MAX_EXTRA_OUTPUTS);
    }
    md_port *ports = md_pool_alloc(&network->pool, (graph->n_outputs + n + 1) * sizeof *ports);
    if (ports == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the outputs");
    }
    memcpy(ports, graph->outputs, graph->n_outputs * sizeof *ports);
    graph->outputs = ports;
    for (unsigned i = 0; i < n; i++) {
        const char *name = options->extra_outputs[i];
        const int value = name == NULL ? MD_GRAPH_NO_VALUE : md_graph_find(graph, name);
        if (value == MD_GRAPH_NO_VALUE) {
            return md_fail(err, MD_NOT_FOUND, "no tensor '%.64s' in the network",
                           name == NULL ? "" : name);
        }
        graph->values[value].kept = true;
        graph->outputs[graph->n_outputs++] = (md_port){name, value};
    }
    return add_head_input(network, graph, options, err);
}

static md_status find_heads(md_network *network, const md_graph *graph, md_error *err)
{
    network->heads =
        md_pool_alloc(&network->pool, (graph->n_outputs + 1) * sizeof *network->heads);
    if (network->heads == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the heads");
    }
    for (unsigned i = 0; i < graph->n_outputs; i++) {
        md_head head;
        MD_TRY(md_head_find(graph, graph->outputs[i].value, &network->pool, &head, err));
        if (head.features != MD_GRAPH_NO_VALUE) {
            network_head *made = &network->heads[network->n_heads++];
            made->output = i;
            made->weights = head.weights;
            MD_TRY(
                md_graph_names_of(graph, head.features, &network->pool, &made->features, err));
        }
    }
    return MD_OK;
}

static md_status make_plain(md_network *network, const md_graph *graph, const md_node *node,
                            int value, md_error *err)
{
    if (network->api->make_plain == NULL || value == MD_GRAPH_NO_VALUE ||
        graph->values[value].constant) {
        return MD_OK;
    }
    return network->api->make_plain(network->backend_state, &network->plan, graph, node, value,
                                    err);
}

/* Of the nodes that take the time. */
static double count_operations(const md_graph *graph, const md_node *node)
{
    const double n_out = (double)md_node_out(graph, node, 0)->n_elements;
    const md_tensor *weights = node->n_inputs > 1 ? md_node_in(graph, node, 1) : NULL;
    if (weights == NULL || weights->n_dims < 2) {
        return 0.0;
    }
    switch ((int)node->op) {
    case MD_OP_CONV:
        return 2.0 * n_out * (double)weights->n_elements / (double)weights->dims[0];
    case MD_OP_GEMM:
        return 2.0 * n_out * (double)weights->dims[node->p.gemm.transpose_b ? 1 : 0];
    case MD_OP_MATMUL:
        return 2.0 * n_out * (double)weights->dims[weights->n_dims - 2];
    default:
        return 0.0;
    }
}

static md_status emit_node(md_network *network, const md_graph *graph, const md_node *node,
                           md_error *err)
{
    md_plan *plan = &network->plan;
    bool done = false;
    if (network->api->emit != NULL) {
        MD_TRY(network->api->emit(network->backend_state, plan, graph, node, &done, err));
    }
    if (done) {
        return MD_OK;
    }
    for (unsigned i = 0; i < node->n_inputs; i++) {
        MD_TRY(make_plain(network, graph, node, node->inputs[i], err));
    }
    if (node->op == MD_OP_COPY) { /* the same bytes under another shape */
        return md_plan_plain(plan, graph, node->inputs[0], &plan->plain[node->outputs[0]], err);
    }
    return md_plan_add_reference(plan, graph, node, err);
}

/* For each value the last node that reads it. Caller frees; NULL: no memory. */
static unsigned *last_readers(const md_graph *graph)
{
    unsigned *last = md_calloc((size_t)graph->n_values + 1, sizeof *last);
    for (unsigned i = 0; i < graph->n_nodes && last != NULL; i++) {
        const md_node *node = &graph->nodes[i];
        for (unsigned j = 0; j < node->n_inputs && node->op != MD_OP_NONE; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE) {
                last[node->inputs[j]] = i;
            }
        }
    }
    return last;
}

typedef struct discard {
    md_graph *graph;
    int value;
} discard;

static md_status run_discard(void *data, md_error *err)
{
    (void)err;
    const discard *d = data;
    md_graph_discard(d->graph, d->value);
    return MD_OK;
}

/* The plan has its own copy of the weights when the work of this node is done. */
static md_status discard_constants(md_plan *plan, md_graph *graph, const unsigned *last_reader,
                                   unsigned at, md_error *err)
{
    const md_node *node = &graph->nodes[at];
    for (unsigned j = 0; j < node->n_inputs; j++) {
        const int value = node->inputs[j];
        if (value != MD_GRAPH_NO_VALUE && last_reader[value] == at &&
            graph->values[value].constant && !graph->values[value].kept) {
            discard *d = md_pool_alloc(&plan->pool, sizeof *d);
            if (d == NULL) {
                return md_fail(err, MD_NOMEM, "no memory to plan the network");
            }
            *d = (discard){graph, value};
            MD_TRY(md_work_add(plan->work, run_discard, d, err));
        }
    }
    return MD_OK;
}

/* All values that have a row-major buffer, which lives to the end of the run from now on. */
static md_status observe_all(md_network *network, const md_graph *graph, md_error *err)
{
    md_plan *plan = &network->plan;
    const size_t n = (size_t)graph->n_values;
    network->observed = md_pool_alloc(&network->pool, n * sizeof *network->observed);
    network->ranges = md_pool_alloc(&network->pool, n * sizeof *network->ranges);
    if (network->observed == NULL || network->ranges == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the ranges");
    }
    for (int i = 0; i < graph->n_values; i++) {
        const md_value *value = &graph->values[i];
        const int buffer = plan->plain[i];
        if (value->constant || buffer == MD_PLAN_NO_BUFFER || value->tensor.dtype != MD_F32 ||
            value->name[0] == '\0' || plan->buffers[buffer].constant) {
            continue;
        }
        const size_t n_name = strlen(value->name) + 1;
        char *name = md_pool_alloc(&network->pool, n_name);
        if (name == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a name");
        }
        network->ranges[network->n_observed] =
            (md_range){memcpy(name, value->name, n_name), INFINITY, -INFINITY};
        network->observed[network->n_observed++] = (observed){buffer, value->tensor.n_elements};
        md_plan_pin(plan, buffer, false, true);
    }
    return MD_OK;
}

static void take_ranges(md_network *network)
{
    for (unsigned i = 0; i < network->n_observed; i++) {
        const float *x = network->plan.buffers[network->observed[i].buffer].data;
        md_range *range = &network->ranges[i];
        for (size_t j = 0; j < network->observed[i].n; j++) {
            range->low = x[j] < range->low ? x[j] : range->low;
            range->high = x[j] > range->high ? x[j] : range->high;
        }
    }
}

md_status md_network_ranges(const md_network *network, const md_range **ret_ranges,
                            unsigned *ret_n, md_error *err)
{
    if (network->n_observed == 0 || !(network->ranges[0].low <= network->ranges[0].high)) {
        return md_fail(err, MD_INVALID_ARG, "the network was not run with `observe`");
    }
    *ret_ranges = network->ranges;
    *ret_n = network->n_observed;
    return MD_OK;
}

static md_status build_plan(md_network *network, md_graph *graph, md_error *err)
{
    MD_AUTO(md_freep) unsigned *last_reader = last_readers(graph);
    if (last_reader == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to plan the network");
    }
    md_plan *plan = &network->plan;
    static const md_node no_node = {.name = "", .op_type = "output"};
    MD_TRY(md_plan_init(plan, graph, err));
    plan->sgemm = network->api->sgemm;
    plan->threads =
        network->api->threads == NULL ? NULL : network->api->threads(network->backend_state);
    for (unsigned i = 0; i < graph->n_inputs; i++) {
        int *buffer = &network->inputs[i].buffer;
        MD_TRY(md_plan_plain(plan, graph, graph->inputs[i].value, buffer, err));
        md_plan_pin(plan, *buffer, true, false);
    }
    unsigned n_steps = plan->n_steps;
    double n_operations = 0.0; /* of nodes that wait for the next one to be a step */
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        const md_node *node = &graph->nodes[i];
        if (node->op != MD_OP_NONE) {
            md_error inner = {0};
            md_status status = emit_node(network, graph, node, &inner);
            if (status != MD_OK) {
                return md_node_fail(err, node, status, "%s", inner.msg);
            }
            n_operations += count_operations(graph, node);
            if (plan->n_steps > n_steps) {
                plan->steps[plan->n_steps - 1].n_operations += n_operations;
                n_operations = 0.0;
                n_steps = plan->n_steps;
            }
            MD_TRY(discard_constants(plan, graph, last_reader, i, err));
            md_work_end_group(plan->work);
        }
    }
    for (unsigned i = 0; i < graph->n_outputs; i++) {
        int *buffer = &network->outputs[i].buffer;
        MD_TRY(make_plain(network, graph, &no_node, graph->outputs[i].value, err));
        MD_TRY(md_plan_plain(plan, graph, graph->outputs[i].value, buffer, err));
        network->outputs[i].shape = plan->shapes[graph->outputs[i].value];
        if (!plan->buffers[*buffer].constant) {
            md_plan_pin(plan, *buffer, false, true);
        }
    }
    if (network->observe) {
        MD_TRY(observe_all(network, graph, err));
    }
    MD_TRY(md_plan_finish_layout(plan, err));
    MD_TRY(md_work_finish(plan->work, err));
    for (unsigned i = 0; i < network->n_outputs; i++) {
        network->outputs[i].tensor.data = plan->buffers[network->outputs[i].buffer].data;
    }
    return MD_OK;
}

/* The file, and whether it is ours to release. */
typedef struct onnx_bytes {
    const uint8_t *bytes;
    size_t size_bytes;
    uint8_t **taken; /* NULL: it is not */
} onnx_bytes;

/* The least of each value, then the largest of each; least above largest: not known. NULL when
 * there are none. Caller frees. */
static md_status find_limits(const md_graph *graph, const md_network_options *options,
                             float **ret_limits, md_error *err)
{
    if (options->n_ranges == 0) {
        return MD_OK;
    }
    const size_t n = (size_t)graph->n_values;
    float *limits = md_malloc(2 * n * sizeof *limits);
    if (limits == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the ranges");
    }
    for (size_t i = 0; i < n; i++) {
        limits[i] = 1.0F;
        limits[n + i] = 0.0F;
    }
    for (unsigned i = 0; i < options->n_ranges; i++) {
        const int value = md_graph_find(graph, options->ranges[i].name);
        if (value != MD_GRAPH_NO_VALUE) {
            limits[value] = options->ranges[i].low;
            limits[n + (size_t)value] = options->ranges[i].high;
        }
    }
    *ret_limits = limits;
    return MD_OK;
}

/* Loading the library of the back end, while the graph is read; an error is told later. */
static md_status run_find_backend(void *data, md_error *err)
{
    const md_backend_api *unused;
    (void)err;
    (void)find_backend(*(md_backend *)data, &unused, NULL);
    return MD_OK;
}

static md_status load_graph(md_network *network, md_graph *graph, const onnx_bytes *onnx,
                            const md_network_options *options, md_error *err)
{
    const md_import_options import = {.batch = options->batch == 0 ? 1 : options->batch,
                                      .bindings = options->bindings,
                                      .n_bindings = options->n_bindings};
    if (import.batch < 0) {
        return md_fail(err, MD_INVALID_ARG, "batch %lld", (long long)import.batch);
    }
    network->backend = options->backend;
    MD_TRY(md_work_create(md_cores(), &network->plan.work, err));
    MD_TRY(md_work_add(network->plan.work, run_find_backend, &network->backend, err));
    md_work_end_group(network->plan.work);
    MD_TRY(md_decode(graph, onnx->bytes, onnx->size_bytes, onnx->taken, err));
    MD_TRY(md_graph_import(graph, &import, err));
    MD_TRY(add_extra_outputs(network, graph, options, err));
    MD_TRY(find_heads(network, graph, err));
    if (options->no_rewriting) {
        MD_TRY(md_graph_remove_dead(graph, err));
    } else {
        MD_TRY(md_graph_fuse(graph, err));
    }
    network->n_inputs = graph->n_inputs;
    network->n_outputs = graph->n_outputs;
    MD_TRY(make_ports(network, graph, graph->inputs, graph->n_inputs, &network->inputs, err));
    MD_TRY(
        make_ports(network, graph, graph->outputs, graph->n_outputs, &network->outputs, err));
    MD_TRY(find_backend(options->backend, &network->api, err));
    unsigned n_threads = options->n_threads == 0 ? md_cores() : options->n_threads;
    /* OpenMP ends the process when it cannot start as many threads as it was told to */
    n_threads = n_threads > MD_NETWORK_MAX_THREADS ? MD_NETWORK_MAX_THREADS : n_threads;
    MD_AUTO(md_freep) float *limits = NULL;
    MD_TRY(find_limits(graph, options, &limits, err));
    const md_backend_options backend = {n_threads, options->precision, limits,
                                        limits == NULL ? NULL : limits + graph->n_values};
    MD_TRY(network->api->create(&backend, graph, &network->backend_state, err));
    network->observe = options->observe;
    return build_plan(network, graph, err);
}

static md_status load_network(const onnx_bytes *onnx, const md_network_options *options,
                              md_network **ret_network, md_error *err)
{
    static const md_network_options defaults = {0};
    if (onnx->size_bytes > MD_NETWORK_MAX_ONNX_BYTES) {
        return md_fail(err, MD_LIMIT, "ONNX file of %zu bytes, at most %zu", onnx->size_bytes,
                       MD_NETWORK_MAX_ONNX_BYTES);
    }
    MD_AUTO(md_network_destroyp) md_network *network = md_calloc(1, sizeof *network);
    if (network == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a network");
    }
    md_graph graph = {0};
    md_status status =
        load_graph(network, &graph, onnx, options == NULL ? &defaults : options, err);
    md_work_destroy(network->plan.work); /* its jobs read the graph */
    network->plan.work = NULL;
    md_graph_finish(&graph);
    if (status != MD_OK) {
        return status;
    }
    *ret_network = MD_STEAL(network);
    return MD_OK;
}

md_status md_network_load(const uint8_t *onnx, size_t size_bytes,
                          const md_network_options *options, md_network **ret_network,
                          md_error *err)
{
    const onnx_bytes bytes = {onnx, size_bytes, NULL};
    return load_network(&bytes, options, ret_network, err);
}

md_status md_network_load_taking(uint8_t **onnx, size_t size_bytes,
                                 const md_network_options *options, md_network **ret_network,
                                 md_error *err)
{
    const onnx_bytes bytes = {*onnx, size_bytes, onnx};
    md_status status = load_network(&bytes, options, ret_network, err);
    md_free(*onnx); /* when it was refused before it was decoded */
    *onnx = NULL;
    return status;
}

md_plan *md_network_plan(md_network *network)
{
    return &network->plan;
}

void md_network_destroy(md_network *network)
{
    if (network == NULL) {
        return;
    }
    md_plan_finish(&network->plan);
    if (network->api != NULL) {
        network->api->destroy(network->backend_state);
    }
    md_pool_finish(&network->pool);
    md_free(network);
}

const char *md_network_backend_name(const md_network *network)
{
    return network->api->name;
}

unsigned md_network_n_inputs(const md_network *network)
{
    return network->n_inputs;
}

unsigned md_network_n_outputs(const md_network *network)
{
    return network->n_outputs;
}

const md_network_port *md_network_input(const md_network *network, unsigned index)
{
    return index < network->n_inputs ? &network->inputs[index].port : NULL;
}

const md_network_port *md_network_output(const md_network *network, unsigned index)
{
    return index < network->n_outputs ? &network->outputs[index].port : NULL;
}

int md_network_find_output(const md_network *network, const char *name)
{
    for (unsigned i = 0; i < network->n_outputs; i++) {
        if (strcmp(network->outputs[i].port.name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

size_t md_network_arena_bytes(const md_network *network)
{
    return network->plan.arena_bytes;
}

unsigned md_network_n_steps(const md_network *network)
{
    return network->plan.n_steps;
}

static md_status check_inputs(const md_network *network, const md_tensor *inputs,
                              unsigned n_inputs, unsigned n_outputs, md_error *err)
{
    if (n_inputs != network->n_inputs || n_outputs != network->n_outputs) {
        return md_fail(err, MD_INVALID_ARG, "%u inputs and %u outputs given, %u and %u needed",
                       n_inputs, n_outputs, network->n_inputs, network->n_outputs);
    }
    for (unsigned i = 0; i < n_inputs; i++) {
        const md_network_port *wanted = &network->inputs[i].port;
        bool same = inputs[i].dtype == wanted->dtype && inputs[i].n_dims == wanted->n_dims;
        for (unsigned j = 0; same && j < wanted->n_dims; j++) {
            same = inputs[i].dims[j] == wanted->dims[j];
        }
        if (!same || (inputs[i].n_elements > 0 && inputs[i].data == NULL) ||
            inputs[i].n_elements != network->inputs[i].tensor.n_elements) {
            return md_fail(err, MD_INVALID_ARG,
                           "input '%.64s' has another type or shape than the network declares",
                           wanted->name);
        }
    }
    return MD_OK;
}

static md_status begin_run(md_network *network, const md_tensor *inputs, unsigned n_inputs,
                           unsigned n_outputs, md_error *err)
{
    const md_plan *plan = &network->plan;
    MD_TRY(check_inputs(network, inputs, n_inputs, n_outputs, err));
    for (unsigned i = 0; i < n_inputs; i++) {
        void *to = plan->buffers[network->inputs[i].buffer].data;
        if (inputs[i].n_elements > 0 && to != NULL) {
            memcpy(to, inputs[i].data, inputs[i].n_elements * md_dtype_bytes(inputs[i].dtype));
        }
    }
    network->api->begin_run(network->backend_state);
    return MD_OK;
}

size_t md_network_weight_bytes(const md_network *network)
{
    size_t n_bytes = 0;
    for (unsigned i = 0; i < network->plan.n_buffers; i++) {
        const md_buffer *buffer = &network->plan.buffers[i];
        n_bytes += buffer->constant ? buffer->n_bytes : 0;
    }
    return n_bytes;
}

md_status md_network_profile(md_network *network, const md_tensor *inputs, unsigned n_inputs,
                             unsigned n_runs, md_network_step *ret_steps, md_error *err)
{
    const md_plan *plan = &network->plan;
    MD_AUTO(md_freep) double *us = md_calloc(plan->n_steps + 1, sizeof *us);
    if (us == NULL || n_runs == 0) {
        return us == NULL ? md_fail(err, MD_NOMEM, "no memory for the times")
                          : md_fail(err, MD_INVALID_ARG, "no run to time");
    }
    for (unsigned i = 0; i < n_runs; i++) {
        MD_TRY(begin_run(network, inputs, n_inputs, network->n_outputs, err));
        MD_TRY(md_plan_run_timed(plan, us, err));
    }
    for (unsigned i = 0; i < plan->n_steps; i++) {
        const md_plan_step *step = &plan->steps[i];
        ret_steps[i] =
            (md_network_step){step->name,   step->op_type,      step->fused,
                              step->kernel, step->n_operations, us[i] / (double)n_runs};
    }
    return MD_OK;
}

md_status md_network_run(md_network *network, const md_tensor *inputs, unsigned n_inputs,
                         md_tensor *outputs, unsigned n_outputs, md_error *err)
{
    MD_TRY(begin_run(network, inputs, n_inputs, n_outputs, err));
    MD_TRY(md_plan_run(&network->plan, err));
    take_ranges(network);
    for (unsigned i = 0; i < n_outputs; i++) {
        const md_tensor *shape = network->outputs[i].shape;
        outputs[i] = network->outputs[i].tensor;
        if (shape != NULL) {
            memcpy(outputs[i].dims, shape->dims, sizeof shape->dims);
            outputs[i].n_elements = shape->n_elements;
        }
    }
    return MD_OK;
}

int md_network_head_input(const md_network *network)
{
    return network->head_input;
}

md_status md_network_linear_head(const md_network *network, const char *features,
                                 const char *output, md_tensor *ret_weights, md_error *err)
{
    for (unsigned i = 0; i < network->n_heads; i++) {
        const network_head *head = &network->heads[i];
        if (strcmp(network->outputs[head->output].port.name, output) != 0) {
            continue;
        }
        for (const char *const *name = head->features; *name != NULL; name++) {
            if (strcmp(*name, features) == 0) {
                *ret_weights = head->weights;
                return MD_OK;
            }
        }
    }
    return md_fail(
        err, MD_UNSUPPORTED,
        "no linear head (global average pool, flatten, Gemm) from '%.64s' to '%.64s'", features,
        output);
}
