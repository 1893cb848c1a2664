#include "inference/train/build.h"

#include <math.h>
#include <string.h>

/* Text networks: from nodes over [N,T,...] to layers over the tokens. docs/training.md lists
 * the forms; whatever is not one of them is MD_UNSUPPORTED with its node. */

static md_status unsupported(const md_node *node, const char *why, md_error *err)
{
    return md_node_fail(err, node, MD_UNSUPPORTED, "%s", why);
}

static md_view *view_of(const md_build *b, const md_node *node, unsigned i)
{
    static md_view none;
    const int value = i < node->n_inputs ? node->inputs[i] : MD_GRAPH_NO_VALUE;
    return value == MD_GRAPH_NO_VALUE ? &none : &b->views[value];
}

static bool is_view(const md_build *b, const md_node *node, unsigned i, md_view_kind kind,
                    const char *axes)
{
    const md_view *v = view_of(b, node, i);
    return v->kind == kind && (axes == NULL || strcmp(v->axes, axes) == 0);
}

static void set_view(md_build *b, int value, md_view_kind kind, const char *axes)
{
    b->views[value] = (md_view){.kind = kind};
    memcpy(b->views[value].axes, axes, strlen(axes) + 1);
}

static void keep_view(md_build *b, const md_node *node, unsigned i)
{
    b->views[node->outputs[0]] = *view_of(b, node, i);
}

/* A node that only looks at the same thing in another way. */
static void alias(md_build *b, const md_node *node, const char *axes)
{
    const int from = node->inputs[0], to = node->outputs[0];
    b->views[to] = b->views[from];
    memcpy(b->views[to].axes, axes, strlen(axes) + 1);
    b->features[to] = b->features[from];
    if (b->features[from] != MD_NO_FEATURE) {
        md_feature *f = &b->net->features[b->features[from]];
        f->shared = f->shared || b->readers[from] > 1;
    }
}

static int only_reader_of(const md_build *b, int value)
{
    for (unsigned i = 0; i < b->graph.n_nodes && b->readers[value] == 1; i++) {
        const md_node *node = &b->graph.nodes[i];
        for (unsigned j = 0; j < node->n_inputs && b->needed[i]; j++) {
            if (node->inputs[j] == value) {
                return (int)i;
            }
        }
    }
    return -1;
}

static const md_node *binary_node(const md_build *b, int number, md_binary function)
{
    const md_node *node = number < 0 ? NULL : &b->graph.nodes[number];
    return node != NULL && node->op == MD_OP_BINARY && node->p.binary.function == function
               ? node
               : NULL;
}

/* The number that is one of a node's two operands; the other operand. */
static bool with_number(const md_build *b, const md_node *node, float number, int *ret_other)
{
    for (unsigned i = 0; node != NULL && i < 2; i++) {
        float s;
        if (md_build_scalar(b, node->inputs[i], &s) &&
            fabsf(s - number) <= 1e-6F * fabsf(number)) {
            *ret_other = node->inputs[1 - i];
            return true;
        }
    }
    return false;
}

/* x / sqrt(2) -> Erf -> + 1 -> times x -> times 1/2, as exporters write a GELU. */
static void find_gelu(md_build *b, unsigned erf)
{
    const md_node *node = &b->graph.nodes[erf];
    int before = -1, x, other;
    for (unsigned i = 0; i < erf; i++) {
        before = b->graph.nodes[i].outputs[0] == node->inputs[0] ? (int)i : before;
    }
    const md_node *divide = binary_node(b, before, MD_BINARY_DIV);
    const int add = only_reader_of(b, node->outputs[0]);
    const int times = add < 0 ? -1 : only_reader_of(b, b->graph.nodes[add].outputs[0]);
    const int half = times < 0 ? -1 : only_reader_of(b, b->graph.nodes[times].outputs[0]);
    const md_node *multiply = binary_node(b, times, MD_BINARY_MUL);
    if (b->readers[node->inputs[0]] != 1 || !with_number(b, divide, 1.41421356F, &x) ||
        divide->inputs[0] != x ||
        !with_number(b, binary_node(b, add, MD_BINARY_ADD), 1.0F, &other) || multiply == NULL ||
        (multiply->inputs[0] != x && multiply->inputs[1] != x) ||
        multiply->inputs[0] == multiply->inputs[1] ||
        !with_number(b, binary_node(b, half, MD_BINARY_MUL), 0.5F, &other)) {
        return;
    }
    b->gelus[before] = b->gelus[erf] = b->gelus[add] = b->gelus[times] = MD_WITHIN_GELU;
    b->gelus[half] = x;
}

md_status md_build_text_start(md_build *b, md_error *err)
{
    const md_graph *graph = &b->graph;
    const int tokens = graph->inputs[0].value;
    const md_tensor *x = md_graph_tensor(graph, tokens);
    if (x->n_dims != 2 || x->dims[1] < 1) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the network's tokens have %u dimensions, not [N,T]", x->n_dims);
    }
    if (b->trainer->bf16) {
        return md_fail(err, MD_UNSUPPORTED, "bf16: text networks are trained in float32 alone");
    }
    b->net->height = 1;
    b->net->width = x->dims[1];
    b->net->input = MD_NO_FEATURE;
    b->views = md_pool_alloc(&b->pool, ((size_t)graph->n_values + 1) * sizeof *b->views);
    b->gelus = md_pool_alloc(&b->pool, (graph->n_nodes + 1) * sizeof *b->gelus);
    if (b->views == NULL || b->gelus == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u nodes", graph->n_nodes);
    }
    set_view(b, tokens, MD_VIEW_TOKENS, "NT");
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        b->gelus[i] = MD_NO_GELU;
    }
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        if (b->needed[i] && graph->nodes[i].op == MD_OP_UNARY &&
            graph->nodes[i].p.unary.function == MD_UNARY_ERF) {
            find_gelu(b, i);
        }
    }
    return MD_OK;
}

/* A layer of token rows whose output looks as operand i does. */
static md_status token_layer(md_build *b, const md_train_layer_kind *kind, const md_node *node,
                             const int *inputs, unsigned n_inputs, const char *axes, int64_t c,
                             md_train_layer **ret_layer, md_error *err)
{
    MD_TRY(md_build_token_layer(b, kind, node, inputs, n_inputs, node->outputs[0], c, ret_layer,
                                err));
    set_view(b, node->outputs[0], MD_VIEW_FEATURE, axes);
    return MD_OK;
}

static md_status build_gather(md_build *b, const md_node *node, md_error *err)
{
    const md_tensor *table = md_node_operand(&b->graph, node, 0);
    md_trainer *t = b->trainer;
    md_train_layer *layer;
    if (!is_view(b, node, 1, MD_VIEW_TOKENS, "NT") || node->p.axis.axis != 0 ||
        table->n_dims != 2 || table->dtype != MD_F32) {
        return unsupported(node, "only rows of a table [V,C] by the tokens can be trained",
                           err);
    }
    if (t->texts.n_tokens != 0 && t->texts.n_tokens != table->dims[0]) {
        return unsupported(node, "tables of tokens with different numbers of rows", err);
    }
    t->texts.n_tokens = table->dims[0];
    MD_TRY(token_layer(b, &md_train_layer_embedding, node, NULL, 0, "NTC", table->dims[1],
                       &layer, err));
    return md_build_parameter(b, layer, node, 0, 0, MD_ROLE_OFFSET, err);
}

static bool is_default_function(const md_rnn_params *p)
{
    static const md_unary functions[][3] = {
        [MD_RNN_PLAIN] = {MD_UNARY_TANH},
        [MD_RNN_GRU] = {MD_UNARY_SIGMOID, MD_UNARY_TANH},
        [MD_RNN_LSTM] = {MD_UNARY_SIGMOID, MD_UNARY_TANH, MD_UNARY_TANH}};
    const unsigned n = p->kind == MD_RNN_LSTM ? 3 : p->kind == MD_RNN_GRU ? 2 : 1;
    for (unsigned i = 0; i < n * p->n_directions; i++) {
        if (p->functions[i].function != functions[p->kind][i % n]) {
            return false;
        }
    }
    return true;
}

static md_status build_recurrent(md_build *b, const md_node *node, md_error *err)
{
    const md_rnn_params *p = &node->p.rnn;
    md_train_layer *layer;
    int x;
    if (!is_view(b, node, 0, MD_VIEW_FEATURE, p->batch_first ? "NTC" : "TNC") ||
        !is_view(b, node, 4, MD_VIEW_LENGTHS, "N")) {
        return unsupported(
            node, "it needs values of tokens and sequence_lens counted from the tokens", err);
    }
    if (!is_default_function(p) || isfinite(p->clip) || p->input_forget ||
        (p->kind == MD_RNN_GRU && !p->linear_before_reset) || md_node_in(&b->graph, node, 5) ||
        md_node_in(&b->graph, node, 6) || md_node_in(&b->graph, node, 7)) {
        return unsupported(node,
                           "only with the default activations, without clip, initial states, "
                           "peepholes and input_forget, a GRU with linear_before_reset",
                           err);
    }
    for (unsigned i = 1; i < node->n_outputs; i++) {
        if (node->outputs[i] != MD_GRAPH_NO_VALUE && b->readers[node->outputs[i]] > 0) {
            return unsupported(node, "only the first output can be trained", err);
        }
    }
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    MD_TRY(token_layer(b, &md_train_layer_recurrent, node, &x, 1,
                       p->batch_first ? "NTGD" : "TGND", p->n_hidden * p->n_directions, &layer,
                       err));
    layer->kept_bytes = md_recurrent_kept_bytes(p, b->net->width);
    b->has_recurrent = true;
    b->one_direction = b->one_direction || p->n_directions == 1;
    MD_TRY(md_build_parameter(b, layer, node, 1, 0, MD_ROLE_WEIGHT, err));
    MD_TRY(md_build_parameter(b, layer, node, 2, 1, MD_ROLE_WEIGHT, err));
    return md_build_parameter(b, layer, node, 3, 2, MD_ROLE_OFFSET, err);
}

/* Where the mask and the scores meet, tokens of the mask have to be the tokens that the softmax
 * goes over. */
static bool masks(const md_view *mask, const md_view *scores, char keys)
{
    const size_t n = strlen(scores->axes), m = strlen(mask->axes);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        const char s = scores->axes[n - 1 - i], a = i < m ? mask->axes[m - 1 - i] : '1';
        if (a == 'T' && s == keys) {
            found = true;
        } else if (a != '1' && !(a == 'N' && s == 'N')) {
            return false;
        }
    }
    return found && m <= n;
}

static md_status build_where(md_build *b, const md_node *node, md_error *err)
{
    const md_view *mask = view_of(b, node, 0);
    md_view scores = *view_of(b, node, 1);
    float low;
    if (scores.kind == MD_VIEW_FEATURE) { /* of pooling */
        scores.kind = MD_VIEW_SCORES;
        scores.query = b->features[node->inputs[1]];
        scores.key = MD_NO_FEATURE;
        scores.scale = 1.0F;
        const md_feature *f = &b->net->features[scores.query];
        scores.kind = f->tokens && f->c == 1 ? MD_VIEW_SCORES : MD_VIEW_NONE;
    }
    if (mask->kind != MD_VIEW_MASK || scores.kind != MD_VIEW_SCORES ||
        !md_build_scalar(b, node->inputs[2], &low) || !(low <= -1e9F) ||
        !masks(mask, &scores, scores.key == MD_NO_FEATURE ? 'T' : 'S')) {
        return unsupported(node,
                           "only Where(mask of the tokens, scores, a number below -1e9) "
                           "can be trained",
                           err);
    }
    scores.masked = true;
    b->views[node->outputs[0]] = scores;
    return MD_OK;
}

static md_status build_softmax(md_build *b, const md_node *node, md_error *err)
{
    md_view v = *view_of(b, node, 0);
    const char keys = v.key == MD_NO_FEATURE ? 'T' : 'S';
    const md_tensor *x = md_node_operand(&b->graph, node, 0);
    const char *at = strchr(v.axes, keys);
    int64_t n_inner = 1;
    if (v.kind != MD_VIEW_SCORES || !v.masked || at == NULL) {
        return unsupported(node, "only of masked scores of tokens can it be trained", err);
    }
    for (size_t i = (size_t)(at - v.axes) + 1; i < x->n_dims; i++) {
        n_inner *= x->dims[i];
    }
    if (node->p.softmax.kind != MD_SOFTMAX || node->p.softmax.n != b->net->width ||
        node->p.softmax.n_inner != n_inner) {
        return unsupported(node, "it goes over another axis than the masked tokens", err);
    }
    v.kind = MD_VIEW_SHARES;
    v.masked = false;
    b->views[node->outputs[0]] = v;
    return MD_OK;
}

/* [N,G,T,D] times [N,G,D,T] */
static md_status build_scores(md_build *b, const md_node *node, md_error *err)
{
    md_view v = {.kind = MD_VIEW_SCORES, .axes = "NGTS", .scale = 1.0F};
    MD_TRY(md_build_feature(b, node, 0, &v.query, err));
    MD_TRY(md_build_feature(b, node, 1, &v.key, err));
    if (b->net->features[v.query].c != b->net->features[v.key].c) {
        return unsupported(node, "queries and keys have different widths", err);
    }
    b->views[node->outputs[0]] = v;
    return MD_OK;
}

/* Shares [N,G,T,S] times [N,G,T,D] */
static md_status build_heads(md_build *b, const md_node *node, md_error *err)
{
    const md_view *v = view_of(b, node, 0);
    const md_tensor *y = md_node_out(&b->graph, node, 0);
    md_train_layer *layer;
    int in[3] = {v->query, v->key, MD_NO_FEATURE};
    MD_TRY(md_build_feature(b, node, 1, &in[2], err));
    const int64_t c = b->net->features[in[2]].c;
    if (b->net->features[in[0]].c != c) {
        return unsupported(node, "values and queries have different widths", err);
    }
    b->has_attention = true;
    const float scale = v->scale;
    MD_TRY(token_layer(b, &md_train_layer_attention, node, in, 3, "NGTD", c, &layer, err));
    layer->n_heads = y->dims[1];
    layer->scalar = scale;
    return MD_OK;
}

/* Shares [N,1,T] times [N,T,C] to [N,1,C]: from here on it is no matter of tokens. */
static md_status build_token_pool(md_build *b, const md_node *node, md_error *err)
{
    const md_view *v = view_of(b, node, 0);
    md_train_layer *layer;
    int in[2] = {v->query, MD_NO_FEATURE};
    if (!v->masked) {
        return unsupported(node,
                           "the shares have to be multiplied by the mask: those of an "
                           "empty text are of padding",
                           err);
    }
    MD_TRY(md_build_feature(b, node, 1, &in[1], err));
    const int64_t c = b->net->features[in[1]].c;
    MD_TRY(md_build_token_layer(b, &md_train_layer_token_pool, node, in, 2, node->outputs[0], c,
                                &layer, err));
    md_feature *y = &b->net->features[layer->output];
    y->tokens = false;
    y->w = 1;
    y->n_per_image = (size_t)c;
    layer->kept_bytes = (size_t)b->net->width * sizeof(float);
    return MD_OK;
}

static md_status build_matmul(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    md_node made = *node;
    int x;
    if (is_view(b, node, 0, MD_VIEW_FEATURE, "NGTD") &&
        is_view(b, node, 1, MD_VIEW_FEATURE, "NGDT")) {
        return build_scores(b, node, err);
    }
    if (is_view(b, node, 0, MD_VIEW_SHARES, "NGTS") &&
        is_view(b, node, 1, MD_VIEW_FEATURE, "NGTD")) {
        return build_heads(b, node, err);
    }
    if (is_view(b, node, 0, MD_VIEW_SHARES, "N1T") &&
        is_view(b, node, 1, MD_VIEW_FEATURE, "NTC") &&
        view_of(b, node, 0)->key == MD_NO_FEATURE) {
        return build_token_pool(b, node, err);
    }
    const md_tensor *weight = md_node_operand(&b->graph, node, 1);
    const char *axes = view_of(b, node, 0)->axes;
    if (view_of(b, node, 0)->kind != MD_VIEW_FEATURE || strchr(axes, 'C') == NULL ||
        axes[strlen(axes) - 1] != 'C' || weight->n_dims != 2) {
        return unsupported(node, "no product that training knows", err);
    }
    memset(&made.p, 0, sizeof made.p);
    made.p.gemm.alpha = made.p.gemm.beta = 1.0F;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    MD_TRY(token_layer(b, &md_train_layer_linear, &made, &x, 1, axes, weight->dims[1], &layer,
                       err));
    return md_build_parameter(b, layer, node, 1, 0, MD_ROLE_WEIGHT, err);
}

static md_status build_layer_norm(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    int x;
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    const char *axes = view_of(b, node, 0)->axes;
    const int64_t c = b->net->features[x].c;
    for (unsigned i = 1; i < node->n_outputs; i++) {
        if (node->outputs[i] != MD_GRAPH_NO_VALUE && b->readers[node->outputs[i]] > 0) {
            return unsupported(node, "only the first output can be trained", err);
        }
    }
    if (view_of(b, node, 0)->kind != MD_VIEW_FEATURE || axes[strlen(axes) - 1] != 'C' ||
        node->p.layer_norm.n != c) {
        return unsupported(node, "only over what a token has can it be trained", err);
    }
    MD_TRY(token_layer(b, &md_train_layer_layer_norm, node, &x, 1, axes, c, &layer, err));
    layer->kept_bytes = (size_t)b->net->width * 2 * sizeof(float);
    MD_TRY(md_build_parameter(b, layer, node, 1, 0, MD_ROLE_OFFSET, err));
    return md_build_parameter(b, layer, node, 2, 1, MD_ROLE_OFFSET, err);
}

static md_status build_curve(md_build *b, const md_node *node, int value, md_unary function,
                             md_error *err)
{
    md_node made = *node;
    md_train_layer *layer;
    const int x = b->features[value];
    made.p.unary = (md_activation){.function = function};
    const md_view v = b->views[value];
    const bool smooth =
        function == MD_UNARY_TANH || function == MD_UNARY_SIGMOID || function == MD_UNARY_GELU;
    made.p.unary = smooth ? made.p.unary : node->p.unary;
    return token_layer(b, smooth ? &md_train_layer_curve : &md_train_layer_unary, &made, &x, 1,
                       v.axes, b->net->features[x].c, &layer, err);
}

static md_status build_unary(md_build *b, const md_node *node, md_error *err)
{
    const md_activation *f = &node->p.unary;
    if (view_of(b, node, 0)->kind != MD_VIEW_FEATURE) {
        return unsupported(node, "its input is nothing that training can go through", err);
    }
    switch ((int)f->function) {
    case MD_UNARY_IDENTITY:
        alias(b, node, view_of(b, node, 0)->axes);
        return MD_OK;
    case MD_UNARY_RELU:
        if (md_build_draw_in(b, node, &(md_clamp){0.0F, INFINITY})) {
            keep_view(b, node, 0);
            return MD_OK;
        }
        break;
    case MD_UNARY_LEAKY_RELU:
    case MD_UNARY_SIGMOID:
    case MD_UNARY_TANH:
    case MD_UNARY_GELU:
        break;
    default:
        return unsupported(node, "the operator cannot be trained", err);
    }
    return build_curve(b, node, node->inputs[0], f->function, err);
}

/* Whether a constant has one element for each channel, [C], and nothing else. */
static bool is_row(const md_tensor *constant, int64_t c)
{
    return (int64_t)constant->n_elements == c && constant->n_dims >= 1 &&
           constant->dims[constant->n_dims - 1] == c;
}

/* The bias of a product belongs to its layer, when nobody sees it without. */
static bool draw_bias(md_build *b, const md_node *node, unsigned constant)
{
    const md_train_layer *layer = md_build_only_reader(b, node, 1 - constant);
    if (layer == NULL || layer->kind != &md_train_layer_linear || layer->clamped ||
        layer->parameters[1] != MD_NO_PARAMETER) {
        return false;
    }
    b->features[node->outputs[0]] = layer->output;
    keep_view(b, node, 1 - constant);
    return true;
}

static md_status build_with_parameter(md_build *b, const md_node *node, unsigned constant,
                                      md_error *err)
{
    const md_tensor *c = md_node_operand(&b->graph, node, constant);
    const md_view v = *view_of(b, node, 1 - constant);
    const md_binary f = node->p.binary.function;
    md_train_layer *layer;
    int x;
    MD_TRY(md_build_feature(b, node, 1 - constant, &x, err));
    const int64_t width = b->net->features[x].c;
    const bool table = (int64_t)c->n_elements == width * b->net->width && c->n_dims >= 2 &&
                       c->dims[c->n_dims - 1] == width &&
                       c->dims[c->n_dims - 2] == b->net->width;
    if (v.axes[strlen(v.axes) - 1] != 'C' || (f != MD_BINARY_ADD && f != MD_BINARY_MUL)) {
        return unsupported(node, "the constant does not stand for channels", err);
    }
    if (is_row(c, width)) {
        if (f == MD_BINARY_ADD && draw_bias(b, node, constant)) {
            return md_build_parameter(b, &b->net->layers[b->net->features[x].producer], node,
                                      constant, 1, MD_ROLE_OFFSET, err);
        }
        MD_TRY(token_layer(b, &md_train_layer_scale, node, &x, 1, v.axes, width, &layer, err));
        return md_build_parameter(b, layer, node, constant, f == MD_BINARY_MUL ? 0 : 1,
                                  MD_ROLE_OFFSET, err);
    }
    if (f != MD_BINARY_ADD || !table || strcmp(v.axes, "NTC") != 0) {
        return unsupported(node, "the constant has neither the shape [C] nor [T,C]", err);
    }
    MD_TRY(token_layer(b, &md_train_layer_position, node, &x, 1, v.axes, width, &layer, err));
    return md_build_parameter(b, layer, node, constant, 0, MD_ROLE_OFFSET, err);
}

/* A number beside a feature, or the scale of scores. */
static md_status build_with_number(md_build *b, const md_node *node, unsigned constant, float s,
                                   md_error *err)
{
    const md_binary f = node->p.binary.function;
    md_view v = *view_of(b, node, 1 - constant);
    const bool times = f == MD_BINARY_MUL || (f == MD_BINARY_DIV && constant == 1);
    const bool plus = f == MD_BINARY_ADD || (f == MD_BINARY_SUB && constant == 1);
    md_train_layer *layer;
    int x;
    if (v.kind == MD_VIEW_SCORES && times && !v.masked) {
        v.scale = f == MD_BINARY_DIV ? v.scale / s : v.scale * s;
        b->views[node->outputs[0]] = v;
        return MD_OK;
    }
    if (v.kind != MD_VIEW_FEATURE || (!times && !plus)) {
        return unsupported(node, "the operator cannot be trained", err);
    }
    MD_TRY(md_build_feature(b, node, 1 - constant, &x, err));
    MD_TRY(token_layer(b, &md_train_layer_scale, node, &x, 1, v.axes, b->net->features[x].c,
                       &layer, err));
    layer->scalar = f == MD_BINARY_SUB ? -s : f == MD_BINARY_DIV ? 1.0F / s : s;
    layer->node.p.binary.function = times ? MD_BINARY_MUL : MD_BINARY_ADD;
    return MD_OK;
}

static md_status build_pair(md_build *b, const md_node *node, md_error *err)
{
    const md_binary f = node->p.binary.function;
    const md_view *x = view_of(b, node, 0), *y = view_of(b, node, 1);
    md_train_layer *layer;
    int in[2];
    for (unsigned i = 0; i < 2 && f == MD_BINARY_MUL; i++) {
        const md_view *shares = view_of(b, node, i), *mask = view_of(b, node, 1 - i);
        if (shares->kind == MD_VIEW_SHARES && mask->kind == MD_VIEW_MASK &&
            shares->key == MD_NO_FEATURE && masks(mask, shares, 'T')) {
            keep_view(b, node, i); /* they are 0 there already, but in an empty text */
            b->views[node->outputs[0]].masked = true;
            return MD_OK;
        }
    }
    if (x->kind != MD_VIEW_FEATURE || y->kind != MD_VIEW_FEATURE ||
        strcmp(x->axes, y->axes) != 0 || (f != MD_BINARY_ADD && f != MD_BINARY_MUL)) {
        return unsupported(node, "the operator cannot be trained", err);
    }
    MD_TRY(md_build_feature(b, node, 0, &in[0], err));
    MD_TRY(md_build_feature(b, node, 1, &in[1], err));
    const int64_t c = b->net->features[in[0]].c;
    if (b->net->features[in[1]].c != c) {
        return unsupported(node, "operands of different widths", err);
    }
    return token_layer(b, f == MD_BINARY_ADD ? &md_train_layer_add : &md_train_layer_multiply,
                       node, in, 2, x->axes, c, &layer, err);
}

/* The one integer 0. */
static bool is_zero(const md_build *b, int value)
{
    static const uint8_t zero[sizeof(int64_t)];
    const md_value *v = &b->graph.values[value];
    return v->constant && v->tensor.dtype == MD_I64 && v->tensor.n_elements == 1 &&
           memcmp(v->tensor.data, zero, sizeof zero) == 0;
}

/* Whether a constant of one element is what a row of weights is with more channels: a number of
 * the file's that training moves, and not one that stays. */
static bool is_row_of_one(const md_build *b, const md_node *node, unsigned constant)
{
    const md_view *v = view_of(b, node, 1 - constant);
    return v->kind == MD_VIEW_FEATURE && v->axes[strlen(v->axes) - 1] == 'C' &&
           b->net->features[b->features[node->inputs[1 - constant]]].c == 1 &&
           b->uses[node->inputs[constant]].initializer &&
           is_row(md_node_operand(&b->graph, node, constant), 1);
}

static md_status build_binary(md_build *b, const md_node *node, md_error *err)
{
    float s;
    if (node->p.binary.function == MD_BINARY_GREATER) {
        if (!is_view(b, node, 0, MD_VIEW_TOKENS, "NT") || !is_zero(b, node->inputs[1])) {
            return unsupported(node, "only tokens > 0 can be trained", err);
        }
        set_view(b, node->outputs[0], MD_VIEW_MASK, "NT");
        return MD_OK;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!b->graph.values[node->inputs[i]].constant) {
            continue;
        }
        if (!is_row_of_one(b, node, i) && md_build_scalar(b, node->inputs[i], &s) &&
            md_node_out(&b->graph, node, 0)->n_elements ==
                md_node_operand(&b->graph, node, 1 - i)->n_elements) {
            return build_with_number(b, node, i, s, err);
        }
        return build_with_parameter(b, node, i, err);
    }
    return build_pair(b, node, err);
}

/* The letters of another shape of the same elements; false: it mixes axes. */
static bool reshaped(const md_tensor *from, const char *axes, const md_tensor *to, char *ret)
{
    unsigned i = 0, n = 0;
    for (unsigned j = 0; j < to->n_dims; j++) {
        const int64_t length = to->dims[j];
        while (i < from->n_dims && axes[i] == '1') {
            i++;
        }
        const bool left = i < from->n_dims, pair = left && i + 1 < from->n_dims;
        if (pair && axes[i] == 'G' && axes[i + 1] == 'D' &&
            from->dims[i] * from->dims[i + 1] == length) {
            ret[n++] = 'C';
            i += 2;
        } else if (left && from->dims[i] == length) {
            ret[n++] = axes[i++];
        } else if (left && axes[i] == 'C' && j + 1 < to->n_dims &&
                   length * to->dims[j + 1] == from->dims[i]) {
            ret[n++] = 'G';
            ret[n++] = 'D';
            i++;
            j++;
        } else if (length == 1) {
            ret[n++] = '1';
        } else {
            return false;
        }
    }
    for (; i < from->n_dims; i++) {
        if (from->dims[i] != 1 || axes[i] == 'N' || axes[i] == 'T') {
            return false;
        }
    }
    ret[n] = '\0';
    return true;
}

static md_status build_copy(md_build *b, const md_node *node, md_error *err)
{
    const md_view *v = view_of(b, node, 0);
    char axes[MD_TENSOR_MAX_DIMS + 1];
    if (!reshaped(md_node_operand(&b->graph, node, 0), v->axes, md_node_out(&b->graph, node, 0),
                  axes)) {
        return unsupported(node, "it mixes texts or tokens with what they have", err);
    }
    alias(b, node, axes);
    return MD_OK;
}

static md_status build_transpose(md_build *b, const md_node *node, md_error *err)
{
    const md_view *v = view_of(b, node, 0);
    const size_t n = strlen(v->axes);
    char axes[MD_TENSOR_MAX_DIMS + 1] = "";
    if (v->kind == MD_VIEW_NONE || v->kind == MD_VIEW_TOKENS) {
        return unsupported(node, "the operator cannot be trained", err);
    }
    for (size_t i = 0; i < n; i++) {
        axes[i] = v->axes[node->p.transpose.perm[i]];
    }
    alias(b, node, axes);
    return MD_OK;
}

static md_status build_reduce(md_build *b, const md_node *node, md_error *err)
{
    if (!is_view(b, node, 0, MD_VIEW_MASK, "NT") || node->p.reduce.function != MD_REDUCE_SUM ||
        node->p.reduce.axes[0] || !node->p.reduce.axes[1] ||
        md_node_out(&b->graph, node, 0)->n_dims != 1) {
        return unsupported(node, "only tokens can be counted, to [N]", err);
    }
    set_view(b, node->outputs[0], MD_VIEW_LENGTHS, "N");
    return MD_OK;
}

static md_status build_cast(md_build *b, const md_node *node, md_error *err)
{
    const md_view *v = view_of(b, node, 0);
    const md_dtype to = md_node_out(&b->graph, node, 0)->dtype;
    if ((v->kind != MD_VIEW_MASK && v->kind != MD_VIEW_LENGTHS) ||
        (v->kind == MD_VIEW_LENGTHS && to != MD_I32 && to != MD_I64 && to != MD_F32)) {
        return unsupported(node, "only a mask or the lengths can be cast", err);
    }
    keep_view(b, node, 0);
    return MD_OK;
}

static md_status build_dropout(md_build *b, const md_node *node, md_error *err)
{
    md_train_layer *layer;
    int x;
    if (view_of(b, node, 0)->kind != MD_VIEW_FEATURE) {
        return unsupported(node, "shares of attention cannot be dropped", err);
    }
    MD_TRY(md_build_feature(b, node, 0, &x, err));
    if (node->p.dropout.ratio <= 0.0F) {
        alias(b, node, view_of(b, node, 0)->axes);
        return MD_OK;
    }
    return token_layer(b, &md_train_layer_dropout, node, &x, 1, view_of(b, node, 0)->axes,
                       b->net->features[x].c, &layer, err);
}

/* Whether any operand is a matter of tokens. */
static bool is_of_tokens(const md_build *b, const md_node *node)
{
    for (unsigned i = 0; i < node->n_inputs; i++) {
        if (view_of(b, node, i)->kind != MD_VIEW_NONE) {
            return true;
        }
    }
    return false;
}

/* Whatever broadcasting made of the shape: what the layers think of a value and what it is have
 * to be one. */
static md_status check_shape(const md_build *b, const md_node *node, md_error *err)
{
    const int value = node->outputs[0], feature = b->features[value];
    const md_view *v = &b->views[value];
    const md_tensor *y = md_graph_tensor(&b->graph, value);
    const bool other_rank = v->kind != MD_VIEW_NONE && strlen(v->axes) != y->n_dims;
    const bool other_size =
        feature != MD_NO_FEATURE &&
        (y->dtype != MD_F32 ||
         y->n_elements != b->net->features[feature].n_per_image * (size_t)b->net->batch);
    return other_rank || other_size
               ? unsupported(node, "its operands are broadcast in a way that cannot be trained",
                             err)
               : MD_OK;
}

static md_status build_token_node(md_build *b, unsigned number, md_error *err);

md_status md_build_text_node(md_build *b, unsigned number, md_error *err)
{
    const md_node *node = &b->graph.nodes[number];
    if (!is_of_tokens(b, node)) {
        return md_build_node(b, node, err);
    }
    MD_TRY(build_token_node(b, number, err));
    return b->gelus[number] == MD_WITHIN_GELU ? MD_OK : check_shape(b, node, err);
}

static md_status build_token_node(md_build *b, unsigned number, md_error *err)
{
    const md_node *node = &b->graph.nodes[number];
    if (b->gelus[number] == MD_WITHIN_GELU) {
        set_view(b, node->outputs[0], MD_VIEW_TOKENS, ""); /* nobody but the GELU reads it */
        return MD_OK;
    }
    if (b->gelus[number] != MD_NO_GELU && b->views[b->gelus[number]].kind == MD_VIEW_FEATURE) {
        return build_curve(b, node, b->gelus[number], MD_UNARY_GELU, err);
    }
    switch ((int)node->op) {
    case MD_OP_GATHER:
        return build_gather(b, node, err);
    case MD_OP_RNN:
        return build_recurrent(b, node, err);
    case MD_OP_WHERE:
        return build_where(b, node, err);
    case MD_OP_SOFTMAX:
        return build_softmax(b, node, err);
    case MD_OP_MATMUL:
        return build_matmul(b, node, err);
    case MD_OP_LAYER_NORM:
        return build_layer_norm(b, node, err);
    case MD_OP_UNARY:
        return build_unary(b, node, err);
    case MD_OP_BINARY:
        return build_binary(b, node, err);
    case MD_OP_COPY:
        return build_copy(b, node, err);
    case MD_OP_TRANSPOSE:
        return build_transpose(b, node, err);
    case MD_OP_REDUCE:
        return build_reduce(b, node, err);
    case MD_OP_CAST:
        return build_cast(b, node, err);
    case MD_OP_DROPOUT:
        return build_dropout(b, node, err);
    default:
        return unsupported(node, "the operator cannot be trained on tokens", err);
    }
}

md_status md_build_text_finish(md_build *b, md_error *err)
{
    md_trainer *t = b->trainer;
    const unsigned n_threads = md_team_size(t->team);
    size_t n_bytes;
    if (t->texts.n_tokens == 0) {
        return md_fail(err, MD_UNSUPPORTED, "the network has no table of tokens");
    }
    if (b->has_recurrent && b->has_attention) {
        return md_fail(err, MD_UNSUPPORTED,
                       "self-attention and recurrent layers in one network cannot be trained");
    }
    b->net->by_steps = b->has_recurrent;
    /* two directions are work for two threads already */
    const unsigned n_groups =
        b->has_recurrent && !b->one_direction && n_threads % 2 == 0 ? n_threads / 2 : n_threads;
    MD_TRY(md_texts_create(&t->texts, t->batch, b->net->width, t->texts.n_tokens, n_groups,
                           &t->pool, &n_bytes, err));
    t->parameter_bytes += n_bytes;
    return MD_OK;
}
