#include "inference/graph/decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names to values: open addressing, at most half full. */
typedef struct name_slot {
    const char *name;
    uint32_t hash;
    unsigned scope;
    int value;
} name_slot;

struct md_name_table {
    name_slot *slots;
    size_t n_slots, n_used;
};

/* FNV-1a, 32 bits (Fowler, Noll, Vo). */
static uint32_t hash_text(const char *text, unsigned scope)
{
    uint32_t hash = 2166136261U ^ scope * 2654435761U;
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 16777619U;
    }
    return hash;
}

static name_slot *find_slot(name_slot *slots, size_t n_slots, const char *name, unsigned scope,
                            uint32_t hash)
{
    size_t i = hash & (n_slots - 1);
    while (slots[i].name != NULL && (slots[i].hash != hash || slots[i].scope != scope ||
                                     strcmp(slots[i].name, name) != 0)) {
        i = (i + 1) & (n_slots - 1);
    }
    return &slots[i];
}

static md_status grow_names(md_graph *graph, md_error *err)
{
    struct md_name_table *table = graph->names;
    if (table == NULL) {
        table = md_pool_alloc(&graph->pool, sizeof *table);
        if (table == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the names");
        }
        graph->names = table;
    }
    if (table->n_used * 2 < table->n_slots) {
        return MD_OK;
    }
    size_t n_slots = table->n_slots == 0 ? 256 : table->n_slots * 2;
    name_slot *slots = md_calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu names", n_slots);
    }
    for (size_t i = 0; i < table->n_slots; i++) {
        if (table->slots[i].name != NULL) {
            *find_slot(slots, n_slots, table->slots[i].name, table->slots[i].scope,
                       table->slots[i].hash) = table->slots[i];
        }
    }
    md_free(table->slots);
    table->slots = slots;
    table->n_slots = n_slots;
    return MD_OK;
}

int md_graph_find(const md_graph *graph, const char *name)
{
    if (graph->names == NULL || graph->names->n_slots == 0) {
        return MD_GRAPH_NO_VALUE;
    }
    for (const md_scope *scope = graph->scope;; scope = scope->outer) {
        const unsigned id = scope == NULL ? 0 : scope->id;
        const name_slot *slot = find_slot(graph->names->slots, graph->names->n_slots, name, id,
                                          hash_text(name, id));
        if (slot->name != NULL) {
            return slot->value;
        }
        if (scope == NULL) {
            return MD_GRAPH_NO_VALUE;
        }
    }
}

const char *md_graph_text(md_graph *graph, const char *text)
{
    return md_pool_text(&graph->pool, text);
}

md_status md_graph_add_name(md_graph *graph, const char *name, int value, md_error *err)
{
    MD_TRY(grow_names(graph, err));
    const unsigned scope = graph->scope == NULL ? 0 : graph->scope->id;
    uint32_t hash = hash_text(name, scope);
    name_slot *slot = find_slot(graph->names->slots, graph->names->n_slots, name, scope, hash);
    if (slot->name != NULL) {
        return md_fail(err, MD_FORMAT, "tensor '%.64s' is defined twice", name);
    }
    const char *copy = md_graph_text(graph, name);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a name");
    }
    *slot = (name_slot){copy, hash, scope, value};
    graph->names->n_used++;
    if (graph->values[value].name[0] == '\0') {
        graph->values[value].name = copy;
    }
    return MD_OK;
}

static bool is_name_of(const name_slot *slot, int value)
{
    return slot->name != NULL && slot->scope == 0 && slot->value == value;
}

md_status md_graph_names_of(const md_graph *graph, int value, md_pool *pool,
                            const char *const **ret_names, md_error *err)
{
    const struct md_name_table *table = graph->names;
    size_t n = 0;
    for (size_t i = 0; i < table->n_slots; i++) {
        n += is_name_of(&table->slots[i], value) ? 1 : 0;
    }
    const char **names = md_pool_alloc(pool, (n + 1) * sizeof *names);
    if (names == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu names", n);
    }
    n = 0;
    for (size_t i = 0; i < table->n_slots; i++) {
        if (is_name_of(&table->slots[i], value)) {
            const size_t n_bytes = strlen(table->slots[i].name) + 1;
            char *copy = md_pool_alloc(pool, n_bytes);
            if (copy == NULL) {
                return md_fail(err, MD_NOMEM, "no memory for a name");
            }
            names[n++] = memcpy(copy, table->slots[i].name, n_bytes);
        }
    }
    *ret_names = names;
    return MD_OK;
}

/* Room for one more in a list that doubles. */
static md_status grow(void **list, unsigned *capacity, unsigned n, size_t element_bytes,
                      unsigned limit, const char *what, md_error *err)
{
    if (n < *capacity) {
        return MD_OK;
    }
    if (n >= limit) {
        return md_fail(err, MD_LIMIT, "more than %u %s", limit, what);
    }
    unsigned capacity_new = *capacity == 0 ? 128 : *capacity * 2;
    void *grown = md_realloc(*list, capacity_new * element_bytes);
    if (grown == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u %s", capacity_new, what);
    }
    *list = grown;
    *capacity = capacity_new;
    return MD_OK;
}

md_status md_graph_add_value(md_graph *graph, const char *name, md_dtype dtype, unsigned n_dims,
                             const int64_t *dims, int *ret_value, md_error *err)
{
    md_value value = {.name = ""};
    MD_TRY(md_tensor_shape(&value.tensor, dtype, n_dims, dims, err));
    void *list = graph->values;
    MD_TRY(grow(&list, &graph->capacity_values, (unsigned)graph->n_values, sizeof value,
                MD_GRAPH_MAX_VALUES, "tensors", err));
    graph->values = list;
    int index = graph->n_values;
    graph->values[index] = value;
    graph->n_values++;
    if (name != NULL) {
        MD_TRY(md_graph_add_name(graph, name, index, err));
    }
    *ret_value = index;
    return MD_OK;
}

md_status md_graph_make_constant(md_graph *graph, int value, md_error *err)
{
    md_tensor *tensor = md_graph_tensor(graph, value);
    size_t n_bytes = tensor->n_elements * md_dtype_bytes(tensor->dtype);
    if (n_bytes > MD_GRAPH_MAX_CONSTANT_BYTES - graph->constant_bytes) {
        return md_fail(err, MD_LIMIT, "more than %zu bytes of computed constants",
                       MD_GRAPH_MAX_CONSTANT_BYTES);
    }
    tensor->data = md_pool_data(&graph->pool, n_bytes);
    if (tensor->data == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a constant of %zu bytes", n_bytes);
    }
    graph->constant_bytes += n_bytes;
    graph->values[value].constant = true;
    return MD_OK;
}

md_status md_graph_add_node(md_graph *graph, const md_node *like, unsigned n_inputs,
                            unsigned n_outputs, md_node **ret_node, md_error *err)
{
    if (n_inputs > MD_GRAPH_MAX_IO || n_outputs > MD_GRAPH_MAX_IO) {
        return md_node_fail(err, like, MD_LIMIT, "%u inputs and %u outputs, at most %d",
                            n_inputs, n_outputs, MD_GRAPH_MAX_IO);
    }
    void *list = graph->nodes;
    MD_TRY(grow(&list, &graph->capacity_nodes, graph->n_nodes, sizeof *graph->nodes,
                MD_GRAPH_MAX_NODES, "nodes", err));
    graph->nodes = list;
    md_node node = *like;
    node.n_inputs = n_inputs;
    node.n_outputs = n_outputs;
    /* one more input than asked: a residual may be added by fusion */
    node.inputs = md_pool_alloc(&graph->pool, (n_inputs + 4) * sizeof *node.inputs);
    node.outputs = md_pool_alloc(&graph->pool, (n_outputs + 1) * sizeof *node.outputs);
    if (node.inputs == NULL || node.outputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a node");
    }
    for (unsigned i = 0; i < n_inputs + 4; i++) {
        node.inputs[i] = MD_GRAPH_NO_VALUE;
    }
    for (unsigned i = 0; i < n_outputs; i++) {
        node.outputs[i] = MD_GRAPH_NO_VALUE;
    }
    graph->nodes[graph->n_nodes] = node;
    *ret_node = &graph->nodes[graph->n_nodes++];
    return MD_OK;
}

void md_graph_finish(md_graph *graph)
{
    if (graph->names != NULL) {
        md_free(graph->names->slots);
    }
    md_free(graph->values);
    md_free(graph->nodes);
    md_decode_finish(graph);
    md_pool_finish(&graph->pool);
    memset(graph, 0, sizeof *graph);
}

md_status md_node_error_set(md_error *err, const md_node *node, md_status status,
                            const char *where, const char *format, ...)
{
    char text[MD_ERROR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return md_error_set(err, status, where, "node '%.64s' (%.32s, opset %d): %s", node->name,
                        node->op_type, node->opset, text);
}
