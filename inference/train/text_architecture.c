#include "inference/train/text_architecture.h"

#include "inference/graph/writer.h"
#include "inference/train/start.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_BYTES = 64
};

typedef enum kind {
    RNN,
    GRU,
    LSTM,
    TRANSFORMER
} kind;

static const struct {
    const char *name, *op;
    int64_t n_gates;
} table[] = {
    [RNN] = {"text-rnn", "RNN", 1},
    [GRU] = {"text-gru", "GRU", 3},
    [LSTM] = {"text-lstm", "LSTM", 4},
    [TRANSFORMER] = {"text-transformer", NULL, 0},
};

/* A network that is being written, with its description's defaults filled in. */
typedef struct net {
    md_writer *w;
    kind kind;
    md_text_architecture a;
    unsigned n_drawn; /* weights drawn so far: each has a random stream of its own */
} net;

const char *md_text_architecture_name(unsigned index)
{
    return index < sizeof table / sizeof *table ? table[index].name : NULL;
}

/* An operator with inputs "a", or "a b", ... and the names put together. */
static void node(net *n, const char *op, const char *output, const char *format, ...)
    MD_PRINTF(4, 5);

static void node(net *n, const char *op, const char *output, const char *format, ...)
{
    char inputs[6 * NAME_BYTES];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(inputs, sizeof inputs, format, list);
    va_end(list);
    md_writer_node(n->w, op, inputs, output);
}

static const char *join(char ret[NAME_BYTES], const char *a, const char *b)
{
    const int n_bytes = snprintf(ret, NAME_BYTES, "%s.%s", a, b);
    assert(n_bytes < NAME_BYTES); /* names are our own */
    return n_bytes < NAME_BYTES ? ret : "";
}

static void number(net *n, const char *name, float value)
{
    float *to = md_writer_weights(n->w, name, 0, NULL);
    if (to != NULL) {
        *to = value;
    }
}

static void integers(net *n, const char *name, const int64_t *values, unsigned n_values)
{
    md_writer_integers(n->w, name, values, n_values);
}

/* NAME.PART [dims], drawn. Each of n_parts equal parts has those fans. */
static void draw(net *n, const char *name, const char *part, unsigned n_dims,
                 const int64_t *dims, md_start start, int64_t fan_in, int64_t fan_out)
{
    char full[NAME_BYTES];
    size_t n_elements = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        n_elements *= (size_t)dims[i];
    }
    float *values = md_writer_weights(n->w, join(full, name, part), n_dims, dims);
    const unsigned stream = n->n_drawn++;
    if (values != NULL) {
        md_start_draw(n->a.seed, stream, start, (double)fan_in, (double)fan_out, values,
                      n_elements);
    }
}

static void constant(net *n, const char *name, const char *part, int64_t length, float value)
{
    char full[NAME_BYTES];
    float *values = md_writer_weights(n->w, join(full, name, part), 1, &length);
    for (int64_t i = 0; i < length && values != NULL; i++) {
        values[i] = value;
    }
}

/* OUTPUT = x W + b: NAME.weight [from,to], NAME.bias [to]. */
static void linear(net *n, const char *name, const char *x, int64_t from, int64_t to,
                   md_start start)
{
    char product[NAME_BYTES];
    const int64_t dims[2] = {from, to};
    draw(n, name, "weight", 2, dims, start, from, to);
    constant(n, name, "bias", to, 0.0F);
    node(n, "MatMul", join(product, name, "product"), "%s %s.weight", x, name);
    node(n, "Add", name, "%s %s.bias", product, name);
}

/* The name of the value after dropout. */
static const char *drop(net *n, char ret[NAME_BYTES], const char *x)
{
    (void)snprintf(ret, NAME_BYTES, "%s", x);
    if (n->a.dropout > 0.0) {
        node(n, "Dropout", join(ret, x, "dropped"), "%s dropout", x);
    }
    return ret;
}

/* mask [N,T] of numbers, mask.bool, and what else is constant. */
static void write_mask(net *n)
{
    static const int64_t zero[1] = {0}, one[1] = {1};
    integers(n, "zero", zero, 1);
    integers(n, "axis1", one, 1);
    number(n, "lowest", -1e30F);
    if (n->a.dropout > 0.0) {
        number(n, "dropout", (float)n->a.dropout);
    }
    node(n, "Greater", "mask.bool", "tokens zero");
    node(n, "Cast", "mask", "mask.bool");
    md_writer_attribute_int(n->w, "to", 1); /* float32 */
}

static void write_embedding(net *n)
{
    const int64_t dims[2] = {n->a.vocabulary, n->a.embedding};
    const size_t n_elements = (size_t)dims[0] * (size_t)dims[1];
    float *values = md_writer_weights(n->w, "embedding.weight", 2, dims);
    const unsigned stream = n->n_drawn++;
    if (values != NULL && n->a.embeddings != NULL) {
        memcpy(values, n->a.embeddings, n_elements * sizeof *values);
    } else if (values != NULL) { /* vectors of length 1 on average */
        md_start_draw(n->a.seed, stream, MD_START_HE, 2.0 * (double)dims[1], 0.0, values,
                      n_elements);
    }
    if (values != NULL) {
        memset(values, 0, (size_t)dims[1] * sizeof *values);
    }
    node(n, "Gather", "embedded", "embedding.weight tokens");
    md_writer_attribute_int(n->w, "axis", 0);
}

/* Biases of 0, but of an LSTM's forget gate 1 (Jozefowicz et al. 2015). Gates i, o, f, g. */
static void recurrent_bias(net *n, const char *name, int64_t n_directions)
{
    char full[NAME_BYTES];
    const int64_t h = n->a.hidden, n_gates = table[n->kind].n_gates;
    const int64_t dims[2] = {n_directions, 2 * n_gates * h};
    float *values = md_writer_weights(n->w, join(full, name, "B"), 2, dims);
    for (int64_t d = 0; d < n_directions && values != NULL && n->kind == LSTM; d++) {
        for (int64_t i = 2 * h; i < 3 * h; i++) {
            values[d * dims[1] + i] = 1.0F;
        }
    }
}

/* Layers over [T,N,C], as the operators want it, and back: `hidden` [N,T,D H]. */
static int64_t write_recurrent(net *n)
{
    static const int64_t to_steps[3] = {1, 0, 2}, to_rows[4] = {0, 2, 1, 3};
    static const int64_t joined[3] = {0, 0, -1};
    const int64_t n_directions = n->a.bidirectional ? 2 : 1;
    const int64_t h = n->a.hidden, rows = table[n->kind].n_gates * h;
    int64_t width = n->a.embedding;
    char x[NAME_BYTES], dropped[NAME_BYTES];
    integers(n, "joined", joined, 3);
    node(n, "Cast", "mask.int", "mask.bool");
    md_writer_attribute_int(n->w, "to", 6); /* int32 */
    node(n, "ReduceSum", "lengths", "mask.int axis1");
    md_writer_attribute_int(n->w, "keepdims", 0);
    node(n, "Transpose", "steps", "%s", drop(n, dropped, "embedded"));
    md_writer_attribute_ints(n->w, "perm", to_steps, 3);
    (void)snprintf(x, sizeof x, "steps");
    for (int64_t i = 1; i <= n->a.layers; i++) {
        char name[NAME_BYTES], y[NAME_BYTES], swapped[NAME_BYTES];
        (void)snprintf(name, sizeof name, "rnn%d", (int)i);
        const int64_t w[3] = {n_directions, rows, width}, r[3] = {n_directions, rows, h};
        draw(n, name, "W", 3, w, MD_START_GLOROT, width, h);
        draw(n, name, "R", 3, r, MD_START_GLOROT, h, h);
        recurrent_bias(n, name, n_directions);
        node(n, table[n->kind].op, join(y, name, "y"), "%s %s.W %s.R %s.B lengths", x, name,
             name, name);
        md_writer_attribute_int(n->w, "hidden_size", h);
        md_writer_attribute_text(n->w, "direction",
                                 n_directions == 2 ? "bidirectional" : "forward");
        if (n->kind == GRU) {
            md_writer_attribute_int(n->w, "linear_before_reset", 1);
        }
        node(n, "Transpose", join(swapped, name, "swapped"), "%s", y);
        md_writer_attribute_ints(n->w, "perm", to_rows, 4);
        node(n, "Reshape", name, "%s joined", swapped);
        (void)drop(n, x, name);
        width = n_directions * h;
    }
    node(n, "Transpose", "hidden", "%s", x);
    md_writer_attribute_ints(n->w, "perm", to_steps, 3);
    return width;
}

static void layer_norm(net *n, const char *name, const char *x)
{
    constant(n, name, "weight", n->a.embedding, 1.0F);
    constant(n, name, "bias", n->a.embedding, 0.0F);
    node(n, "LayerNormalization", name, "%s %s.weight %s.bias", x, name, name);
    md_writer_attribute_int(n->w, "axis", -1);
    md_writer_attribute_float(n->w, "epsilon", 1e-5F);
}

/* x W + b of all heads as [N,heads,T,size], or as perm says. */
static void head_input(net *n, const char *name, const char *x, const int64_t perm[4])
{
    char split[NAME_BYTES], turned[NAME_BYTES];
    linear(n, name, x, n->a.embedding, n->a.embedding, MD_START_GLOROT);
    node(n, "Reshape", join(split, name, "split"), "%s heads", name);
    node(n, "Transpose", join(turned, name, "heads"), "%s", split);
    md_writer_attribute_ints(n->w, "perm", perm, 4);
}

/* NAME = x + the heads' values of the normalised x. */
static void self_attention(net *n, const char *name, const char *x)
{
    static const int64_t rows[4] = {0, 2, 1, 3}, columns[4] = {0, 2, 3, 1};
    char norm[NAME_BYTES], q[NAME_BYTES], k[NAME_BYTES], v[NAME_BYTES], out[NAME_BYTES];
    char part[NAME_BYTES], next[NAME_BYTES];
    layer_norm(n, join(norm, name, "norm"), x);
    head_input(n, join(q, name, "query"), norm, rows);
    head_input(n, join(k, name, "key"), norm, columns);
    head_input(n, join(v, name, "value"), norm, rows);
    node(n, "MatMul", join(part, name, "products"), "%s.heads %s.heads", q, k);
    node(n, "Mul", join(next, name, "scores"), "%s scale", part);
    node(n, "Where", join(part, name, "masked"), "mask.keys %s lowest", next);
    node(n, "Softmax", join(next, name, "shares"), "%s", part);
    md_writer_attribute_int(n->w, "axis", -1);
    node(n, "MatMul", join(part, name, "mixed"), "%s %s.heads", next, v);
    node(n, "Transpose", join(next, name, "turned"), "%s", part);
    md_writer_attribute_ints(n->w, "perm", rows, 4);
    node(n, "Reshape", join(part, name, "joined"), "%s joined", next);
    linear(n, join(out, name, "output"), part, n->a.embedding, n->a.embedding, MD_START_GLOROT);
    node(n, "Add", name, "%s %s", drop(n, next, out), x);
}

/* NAME = x + W2 f(W1 of the normalised x). */
static void feed_forward(net *n, const char *name, const char *x)
{
    char norm[NAME_BYTES], first[NAME_BYTES], active[NAME_BYTES], second[NAME_BYTES];
    char part[NAME_BYTES], next[NAME_BYTES];
    layer_norm(n, join(norm, name, "norm"), x);
    linear(n, join(first, name, "first"), norm, n->a.embedding, n->a.hidden, MD_START_HE);
    join(active, name, "active");
    if (n->a.relu) {
        node(n, "Relu", active, "%s", first);
    } else { /* x/2 (1 + erf(x / sqrt(2))): opset 17 has no operator for it */
        node(n, "Div", join(part, name, "divided"), "%s root2", first);
        node(n, "Erf", join(next, name, "erf"), "%s", part);
        node(n, "Add", join(part, name, "raised"), "%s one", next);
        node(n, "Mul", join(next, name, "doubled"), "%s %s", first, part);
        node(n, "Mul", active, "%s half", next);
    }
    linear(n, join(second, name, "second"), active, n->a.hidden, n->a.embedding,
           MD_START_GLOROT);
    node(n, "Add", name, "%s %s", drop(n, next, second), x);
}

/* `hidden` [N,T,E] */
static int64_t write_transformer(net *n)
{
    static const int64_t key_axes[2] = {1, 2}, joined[3] = {0, 0, -1};
    const int64_t e = n->a.embedding, position[2] = {n->a.length, e};
    const int64_t heads[4] = {0, 0, n->a.heads, e / n->a.heads};
    char x[NAME_BYTES];
    integers(n, "heads", heads, 4);
    integers(n, "joined", joined, 3);
    integers(n, "axes12", key_axes, 2);
    number(n, "scale", (float)(1.0 / sqrt((double)(e / n->a.heads))));
    if (!n->a.relu) {
        number(n, "root2", 1.41421356F);
        number(n, "one", 1.0F);
        number(n, "half", 0.5F);
    }
    node(n, "Unsqueeze", "mask.keys", "mask.bool axes12");
    draw(n, "position", "weight", 2, position, MD_START_HE, 2 * e, 0);
    node(n, "Add", "placed", "embedded position.weight");
    (void)drop(n, x, "placed");
    for (int64_t i = 1; i <= n->a.layers; i++) {
        char name[NAME_BYTES], y[NAME_BYTES];
        (void)snprintf(name, sizeof name, "block%d", (int)i);
        self_attention(n, join(y, name, "attended"), x);
        feed_forward(n, name, y);
        (void)snprintf(x, sizeof x, "%s", name);
    }
    layer_norm(n, "hidden", x);
    return e;
}

/* `attention` [N,T] and `logits` [N,K] from `hidden` [N,T,width]. */
static void write_head(net *n, int64_t width)
{
    const int64_t a = n->a.attention, vector[2] = {a, 1}, dims[2] = {n->a.n_classes, width};
    char dropped[NAME_BYTES];
    static const int64_t flat[2] = {0, -1};
    integers(n, "flat", flat, 2);
    linear(n, "attention.key", "hidden", width, a, MD_START_GLOROT);
    node(n, "Tanh", "attention.tanh", "attention.key");
    draw(n, "attention.score", "weight", 2, vector, MD_START_GLOROT, a, 1);
    node(n, "MatMul", "attention.score", "attention.tanh attention.score.weight");
    node(n, "Reshape", "attention.flat", "attention.score flat");
    node(n, "Where", "attention.masked", "mask.bool attention.flat lowest");
    node(n, "Softmax", "attention.share", "attention.masked");
    md_writer_attribute_int(n->w, "axis", 1);
    node(n, "Mul", "attention", "attention.share mask");
    node(n, "Unsqueeze", "attention.row", "attention axis1");
    node(n, "MatMul", "pooled.row", "attention.row hidden");
    node(n, "Flatten", "pooled", "pooled.row");
    md_writer_attribute_int(n->w, "axis", 1);
    (void)drop(n, dropped, "pooled");
    draw(n, "logits", "weight", 2, dims, MD_START_GLOROT, width, n->a.n_classes);
    constant(n, "logits", "bias", n->a.n_classes, 0.0F);
    node(n, "Gemm", "logits", "%s logits.weight logits.bias", dropped);
    md_writer_attribute_int(n->w, "transB", 1);
}

static md_status check(const char *what, int64_t value, int64_t least, int64_t most,
                       md_error *err)
{
    return value >= least && value <= most
               ? MD_OK
               : md_fail(err, MD_INVALID_ARG, "%s %lld is not in %lld..%lld", what,
                         (long long)value, (long long)least, (long long)most);
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static md_status check_net(net *n, md_error *err)
{
    md_text_architecture *a = &n->a;
    const bool transformer = n->kind == TRANSFORMER;
    a->embedding = or_default(a->embedding, 128);
    MD_TRY(check("vocabulary", a->vocabulary, 2, MD_TEXT_MAX_TOKENS, err));
    MD_TRY(check("length", a->length, 2, MD_TEXT_MAX_LENGTH, err));
    MD_TRY(check("embedding", a->embedding, 1, MD_TEXT_MAX_WIDTH, err));
    MD_TRY(check("number of classes", a->n_classes, 1, 4096, err));
    a->hidden = or_default(a->hidden, transformer ? 4 * a->embedding : 128);
    a->layers = or_default(a->layers, transformer ? 2 : 1);
    a->heads = or_default(a->heads, 4);
    a->attention = or_default(a->attention, 64);
    MD_TRY(check("hidden", a->hidden, 1, 4 * MD_TEXT_MAX_WIDTH, err));
    MD_TRY(check("layers", a->layers, 1, MD_TEXT_MAX_LAYERS, err));
    MD_TRY(check("heads", a->heads, 1, MD_TEXT_MAX_WIDTH, err));
    MD_TRY(check("attention", a->attention, 1, MD_TEXT_MAX_WIDTH, err));
    if (!(a->dropout >= 0.0 && a->dropout < 1.0)) {
        return md_fail(err, MD_INVALID_ARG, "dropout %g is not in 0..1, 1 left out",
                       a->dropout);
    }
    if (transformer && a->embedding % a->heads != 0) {
        return md_fail(err, MD_INVALID_ARG, "embedding %lld cannot be divided into %lld heads",
                       (long long)a->embedding, (long long)a->heads);
    }
    return MD_OK;
}

md_status md_text_architecture_write(const md_text_architecture *architecture,
                                     uint8_t **ret_onnx, size_t *ret_size, md_error *err)
{
    MD_AUTO(md_writer_destroyp) md_writer *writer = NULL;
    net n = {.a = *architecture};
    while (n.kind <= TRANSFORMER && strcmp(table[n.kind].name, n.a.name) != 0) {
        n.kind++;
    }
    if (n.kind > TRANSFORMER) {
        return md_fail(err, MD_NOT_FOUND, "no text network is called '%.64s'", n.a.name);
    }
    MD_TRY(check_net(&n, err));
    MD_TRY(md_writer_create(n.a.name, &writer, err));
    n.w = writer;
    md_writer_text(writer);
    md_writer_integer_input(writer, "tokens", 2, (const int64_t[]){-1, n.a.length});
    write_mask(&n);
    write_embedding(&n);
    write_head(&n, n.kind == TRANSFORMER ? write_transformer(&n) : write_recurrent(&n));
    md_writer_output(writer, "logits", 2, (const int64_t[]){-1, n.a.n_classes});
    md_writer_output(writer, "attention", 2, (const int64_t[]){-1, n.a.length});
    return md_writer_finish(writer, ret_onnx, ret_size, err);
}
