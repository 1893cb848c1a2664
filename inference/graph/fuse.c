#include "inference/graph/fuse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct fusion {
    md_graph *graph;
    int *maker;        /* node that makes each value, -1 for none */
    unsigned *n_users; /* how many inputs read each value */
    md_error *err;
} fusion;

static md_status survey(fusion *f)
{
    md_graph *graph = f->graph;
    const size_t n = (size_t)graph->n_values;
    f->maker = md_malloc(n * sizeof *f->maker);
    f->n_users = md_calloc(n, sizeof *f->n_users);
    if (f->maker == NULL || f->n_users == NULL) {
        return md_fail(f->err, MD_NOMEM, "no memory to rewrite the graph");
    }
    memset(f->maker, -1, n * sizeof *f->maker);
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        const md_node *node = &graph->nodes[i];
        if (node->op == MD_OP_NONE) {
            continue;
        }
        for (unsigned j = 0; j < node->n_outputs; j++) {
            f->maker[node->outputs[j]] = (int)i;
        }
        for (unsigned j = 0; j < node->n_inputs; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE) {
                f->n_users[node->inputs[j]]++;
            }
        }
    }
    return MD_OK;
}

/* The node that makes the value for this one reader alone, so that it may be changed. */
static md_node *private_maker(const fusion *f, int value, md_op op)
{
    if (value == MD_GRAPH_NO_VALUE || f->maker[value] < 0 || f->n_users[value] != 1 ||
        f->graph->values[value].kept) {
        return NULL;
    }
    md_node *node = &f->graph->nodes[f->maker[value]];
    return node->op == op ? node : NULL;
}

/* "A B" and the late node's own; only shown, so a lack of memory shortens it. */
static const char *add_text(const fusion *f, const char *fused, const md_node *late)
{
    const char *parts[] = {fused, late->op_type, late->fused};
    size_t n_bytes = 1;
    for (unsigned i = 0; i < 3; i++) {
        n_bytes += parts[i] == NULL ? 0 : strlen(parts[i]) + 1;
    }
    char *text = md_pool_alloc(&f->graph->pool, n_bytes);
    for (unsigned i = 0, at = 0; i < 3 && text != NULL; i++) {
        if (parts[i] != NULL) {
            at += (unsigned)snprintf(text + at, n_bytes - at, "%s%s", at > 0 ? " " : "",
                                     parts[i]);
        }
    }
    return text != NULL ? text : fused;
}

/* `late` takes over the work of `early`: its place in the order, its output, early's inputs. */
static void absorb(fusion *f, md_node *late, md_node *early)
{
    const int output = late->outputs[0];
    const char *name = early->name, *op_type = early->op_type;
    const char *fused = add_text(f, early->fused, late);
    *late = (md_node){.op = early->op,
                      .name = name,
                      .op_type = op_type,
                      .fused = fused,
                      .opset = early->opset,
                      .n_inputs = early->n_inputs,
                      .n_outputs = 1,
                      .inputs = early->inputs,
                      .outputs = late->outputs,
                      .p = early->p};
    late->outputs[0] = output;
    early->op = MD_OP_NONE;
    f->maker[output] = (int)(late - f->graph->nodes);
}

static bool is_constant(const fusion *f, int value)
{
    return value != MD_GRAPH_NO_VALUE && f->graph->values[value].constant;
}

/* A new constant of float32. The values move. */
static md_status new_constant(fusion *f, const md_tensor *shape, int *ret_value)
{
    MD_TRY(md_graph_add_value(f->graph, NULL, MD_F32, shape->n_dims, shape->dims, ret_value,
                              f->err));
    MD_TRY(md_graph_make_constant(f->graph, *ret_value, f->err));
    int *maker = md_realloc(f->maker, (size_t)f->graph->n_values * sizeof *maker);
    if (maker == NULL) {
        return md_fail(f->err, MD_NOMEM, "no memory to rewrite the graph");
    }
    f->maker = maker;
    unsigned *n_users = md_realloc(f->n_users, (size_t)f->graph->n_values * sizeof *n_users);
    if (n_users == NULL) {
        return md_fail(f->err, MD_NOMEM, "no memory to rewrite the graph");
    }
    f->n_users = n_users;
    f->maker[*ret_value] = -1;
    f->n_users[*ret_value] = 1;
    return MD_OK;
}

/* w'[k,...] = w[k,...] s[k], b' = b s + t */
static md_status fold_batch_norm(fusion *f, md_node *norm, bool *ret_changed)
{
    md_node *conv = private_maker(f, norm->inputs[0], MD_OP_CONV);
    if (conv == NULL || !is_constant(f, conv->inputs[1]) ||
        (conv->inputs[2] != MD_GRAPH_NO_VALUE && !is_constant(f, conv->inputs[2])) ||
        conv->p.conv.activation.function != MD_UNARY_IDENTITY || conv->p.conv.has_residual) {
        return MD_OK;
    }
    int weights = conv->inputs[1], bias;
    const float *scale = md_node_operand(f->graph, norm, 1)->data;
    const float *shift = md_node_operand(f->graph, norm, 2)->data;
    /* in place when nobody else reads them: at start-up a copy costs more than the product */
    if (f->n_users[weights] != 1 || f->graph->values[weights].kept) {
        MD_TRY(new_constant(f, md_node_operand(f->graph, conv, 1), &weights));
    }
    MD_TRY(new_constant(f, md_node_operand(f->graph, norm, 1), &bias));
    const md_tensor *old = md_node_operand(f->graph, conv, 1);
    const float *from = old->data;
    float *to = md_graph_tensor(f->graph, weights)->data;
    float *b = md_graph_tensor(f->graph, bias)->data;
    const size_t n_rows = (size_t)old->dims[0], n = old->n_elements / n_rows;
    const float *old_bias =
        conv->inputs[2] == MD_GRAPH_NO_VALUE ? NULL : md_node_operand(f->graph, conv, 2)->data;
    for (size_t k = 0; k < n_rows; k++) {
        for (size_t i = 0; i < n; i++) {
            to[k * n + i] = from[k * n + i] * scale[k];
        }
        b[k] = (old_bias == NULL ? 0.0F : old_bias[k] * scale[k]) + shift[k];
    }
    conv->inputs[1] = weights;
    conv->inputs[2] = bias;
    conv->n_inputs = 3;
    absorb(f, norm, conv);
    *ret_changed = true;
    return MD_OK;
}

/* Add of a constant that has one element for each of axis 1, or for all. */
static bool is_channel_constant(const fusion *f, int value, const md_tensor *out)
{
    if (!is_constant(f, value)) {
        return false;
    }
    const md_tensor *c = md_graph_tensor(f->graph, value);
    if (c->dtype != MD_F32 || c->n_elements != (size_t)out->dims[1] ||
        c->n_dims + 1 < out->n_dims) {
        return false;
    }
    return c->dims[c->n_dims - (out->n_dims - 1)] == out->dims[1];
}

static md_status fold_conv_bias(fusion *f, md_node *add, bool *ret_changed)
{
    const md_tensor *out = md_node_out(f->graph, add, 0);
    for (unsigned i = 0; i < 2; i++) {
        md_node *conv = private_maker(f, add->inputs[i], MD_OP_CONV);
        const int constant = add->inputs[1 - i];
        if (conv == NULL || !is_channel_constant(f, constant, out) ||
            md_node_out(f->graph, conv, 0)->n_dims != out->n_dims ||
            conv->inputs[2] != MD_GRAPH_NO_VALUE ||
            conv->p.conv.activation.function != MD_UNARY_IDENTITY ||
            conv->p.conv.has_residual) {
            continue;
        }
        const md_tensor shape = {.n_dims = 1, .dims = {out->dims[1]}};
        int bias;
        MD_TRY(new_constant(f, &shape, &bias));
        memcpy(md_graph_tensor(f->graph, bias)->data, md_graph_tensor(f->graph, constant)->data,
               (size_t)shape.dims[0] * sizeof(float));
        conv->inputs[2] = bias;
        conv->n_inputs = 3;
        absorb(f, add, conv);
        *ret_changed = true;
        return MD_OK;
    }
    return MD_OK;
}

/* MatMul of two matrices and Add of a row: one Gemm. */
static bool fold_matmul_bias(fusion *f, md_node *add)
{
    const md_tensor *out = md_node_out(f->graph, add, 0);
    for (unsigned i = 0; i < 2; i++) {
        md_node *matmul = private_maker(f, add->inputs[i], MD_OP_MATMUL);
        const int constant = add->inputs[1 - i];
        if (matmul == NULL || !is_constant(f, constant) || out->n_dims != 2 ||
            md_node_operand(f->graph, matmul, 0)->n_dims != 2 ||
            md_node_operand(f->graph, matmul, 1)->n_dims != 2) {
            continue;
        }
        const md_tensor *c = md_graph_tensor(f->graph, constant);
        const md_tensor *product = md_node_out(f->graph, matmul, 0);
        if (memcmp(product->dims, out->dims, 2 * sizeof *out->dims) != 0 || c->n_dims > 2) {
            continue; /* the product itself would be broadcast */
        }
        matmul->op = MD_OP_GEMM;
        memset(&matmul->p, 0, sizeof matmul->p);
        matmul->p.gemm.alpha = matmul->p.gemm.beta = 1.0F;
        matmul->inputs[2] = constant;
        matmul->n_inputs = 3;
        absorb(f, add, matmul);
        return true;
    }
    return false;
}

/* Mul(x, g(x)) with g a sigmoid. */
static bool fold_swish(fusion *f, md_node *mul)
{
    for (unsigned i = 0; i < 2; i++) {
        const md_node *gate = private_maker(f, mul->inputs[i], MD_OP_UNARY);
        if (gate == NULL || gate->inputs[0] != mul->inputs[1 - i]) {
            continue;
        }
        const md_activation *g = &gate->p.unary;
        md_unary function;
        if (g->function == MD_UNARY_SIGMOID) {
            function = MD_UNARY_SWISH;
        } else if (g->function == MD_UNARY_HARD_SIGMOID &&
                   fabsf(g->alpha - 1.0F / 6.0F) < 1e-7F && g->beta == 0.5F) {
            function = MD_UNARY_HARD_SWISH;
        } else {
            continue;
        }
        md_node *early = &f->graph->nodes[f->maker[mul->inputs[i]]];
        f->n_users[gate->inputs[0]]--;
        absorb(f, mul, early);
        mul->p.unary = (md_activation){function, 0.0F, 0.0F};
        return true;
    }
    return false;
}

static bool is_zero(const fusion *f, int value)
{
    const md_tensor *tensor = md_graph_tensor(f->graph, value);
    return is_constant(f, value) && tensor->dtype == MD_F32 && tensor->n_elements == 1 &&
           *(const float *)tensor->data == 0.0F;
}

/* Cast to float32 of Greater(x, 0), or of Less(0, x). */
static bool fold_heaviside(fusion *f, md_node *cast)
{
    md_node *test = private_maker(f, cast->inputs[0], MD_OP_BINARY);
    if (test == NULL || md_node_out(f->graph, cast, 0)->dtype != MD_F32) {
        return false;
    }
    const unsigned of_x = test->p.binary.function == MD_BINARY_GREATER ? 0 : 1;
    if ((test->p.binary.function != MD_BINARY_GREATER &&
         test->p.binary.function != MD_BINARY_LESS) ||
        !is_zero(f, test->inputs[1 - of_x]) ||
        md_node_operand(f->graph, test, of_x)->n_dims !=
            md_node_out(f->graph, cast, 0)->n_dims) {
        return false;
    }
    const int x = test->inputs[of_x];
    absorb(f, cast, test);
    cast->op = MD_OP_UNARY;
    cast->inputs[0] = x;
    cast->n_inputs = 1;
    memset(&cast->p, 0, sizeof cast->p);
    cast->p.unary = (md_activation){MD_UNARY_HEAVISIDE, 0.0F, 0.0F};
    return true;
}

static bool same_shape(const md_tensor *a, const md_tensor *b)
{
    return a->dtype == b->dtype && a->n_dims == b->n_dims &&
           memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims) == 0;
}

/* Add(Conv, r): the convolution adds r. Of two convolutions the later takes the other's. */
static bool fold_residual(fusion *f, md_node *add)
{
    md_node *best = NULL;
    int residual = MD_GRAPH_NO_VALUE;
    const md_tensor *out = md_node_out(f->graph, add, 0);
    for (unsigned i = 0; i < 2; i++) {
        md_node *conv = private_maker(f, add->inputs[i], MD_OP_CONV);
        const int other = add->inputs[1 - i];
        if (conv == NULL || conv->p.conv.has_residual ||
            conv->p.conv.activation.function != MD_UNARY_IDENTITY || is_constant(f, other) ||
            !same_shape(md_graph_tensor(f->graph, other), out) ||
            !same_shape(md_node_out(f->graph, conv, 0), out) || (best != NULL && conv < best)) {
            continue;
        }
        best = conv;
        residual = other;
    }
    if (best == NULL) {
        return false;
    }
    best->inputs[3] = residual;
    best->n_inputs = 4;
    best->p.conv.has_residual = true;
    absorb(f, add, best);
    return true;
}

/* Those that oneDNN takes as a post-operation. With another one in it, the whole convolution
 * would be left to the reference. */
static bool is_fusable(md_unary function)
{
    static const md_unary list[] = {
        MD_UNARY_RELU, MD_UNARY_LEAKY_RELU,   MD_UNARY_SIGMOID,    MD_UNARY_TANH,
        MD_UNARY_CLIP, MD_UNARY_HARD_SIGMOID, MD_UNARY_HARD_SWISH, MD_UNARY_SWISH,
        MD_UNARY_ELU,  MD_UNARY_ABS};
    for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
        if (list[i] == function) {
            return true;
        }
    }
    return false;
}

static bool fold_activation(fusion *f, md_node *unary)
{
    static const md_op ops[] = {MD_OP_CONV, MD_OP_BATCH_NORM, MD_OP_GEMM, MD_OP_BINARY};
    const md_activation activation = unary->p.unary;
    if (!is_fusable(activation.function)) {
        return false;
    }
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
        md_node *node = private_maker(f, unary->inputs[0], ops[i]);
        if (node == NULL || md_node_out(f->graph, unary, 0)->dtype != MD_F32 ||
            md_node_operand(f->graph, node, 0)->dtype != MD_F32) {
            continue;
        }
        md_activation *slot = ops[i] == MD_OP_CONV         ? &node->p.conv.activation
                              : ops[i] == MD_OP_BATCH_NORM ? &node->p.norm.activation
                              : ops[i] == MD_OP_GEMM       ? &node->p.gemm.activation
                                                           : &node->p.binary.activation;
        if (slot->function != MD_UNARY_IDENTITY) {
            continue;
        }
        *slot = activation;
        absorb(f, unary, node);
        return true;
    }
    return false;
}

static md_status fold_node(fusion *f, md_node *node, bool *ret_changed)
{
    switch ((int)node->op) {
    case MD_OP_BATCH_NORM:
        return fold_batch_norm(f, node, ret_changed);
    case MD_OP_CAST:
        *ret_changed = fold_heaviside(f, node);
        return MD_OK;
    case MD_OP_UNARY:
        *ret_changed = fold_activation(f, node);
        return MD_OK;
    case MD_OP_BINARY:
        if (node->p.binary.activation.function != MD_UNARY_IDENTITY) {
            return MD_OK;
        }
        if (node->p.binary.function == MD_BINARY_MUL) {
            *ret_changed = fold_swish(f, node);
        } else if (node->p.binary.function == MD_BINARY_ADD) {
            MD_TRY(fold_conv_bias(f, node, ret_changed));
            *ret_changed = *ret_changed || fold_matmul_bias(f, node) || fold_residual(f, node);
        }
        return MD_OK;
    default:
        return MD_OK;
    }
}

md_status md_graph_remove_dead(md_graph *graph, md_error *err)
{
    MD_AUTO(md_freep) bool *wanted = md_calloc((size_t)graph->n_values, sizeof *wanted);
    if (wanted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to rewrite the graph");
    }
    for (int i = 0; i < graph->n_values; i++) {
        wanted[i] = graph->values[i].kept;
    }
    for (unsigned i = graph->n_nodes; i-- > 0;) {
        md_node *node = &graph->nodes[i];
        bool alive = false;
        for (unsigned j = 0; j < node->n_outputs && node->op != MD_OP_NONE; j++) {
            alive = alive || wanted[node->outputs[j]];
        }
        if (!alive) {
            node->op = MD_OP_NONE;
        }
        for (unsigned j = 0; j < node->n_inputs && alive; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE) {
                wanted[node->inputs[j]] = true;
            }
        }
    }
    return MD_OK;
}

static md_status fuse_all(fusion *f)
{
    MD_TRY(survey(f));
    for (unsigned i = 0; i < f->graph->n_nodes; i++) {
        bool changed = true;
        while (changed) { /* each change removes a node, so this ends */
            changed = false;
            MD_TRY(fold_node(f, &f->graph->nodes[i], &changed));
        }
    }
    return MD_OK;
}

md_status md_graph_fuse(md_graph *graph, md_error *err)
{
    /* dead readers would keep a value from being private */
    MD_TRY(md_graph_remove_dead(graph, err));
    fusion f = {.graph = graph, .err = err};
    md_status status = fuse_all(&f);
    md_free(f.maker);
    md_free(f.n_users);
    return status;
}
