/* Einsum, as reductions, transpositions and one matrix product for each further operand. */

#include "inference/graph/node_import.h"

#include <string.h>

enum {
    N_LETTERS = 52,
    N_LABELS = N_LETTERS + MD_TENSOR_MAX_DIMS, /* those of the ellipsis come last */
    MAX_OPERANDS = 16
};

/* A tensor whose axes have labels. */
typedef struct term {
    int value;
    unsigned n;
    unsigned labels[MD_TENSOR_MAX_DIMS];
} term;

typedef struct equation {
    md_node_import *b;
    const char *at, *end;
    term operands[MAX_OPERANDS];
    unsigned n_operands;
    unsigned output[MD_TENSOR_MAX_DIMS], n_output;
    unsigned n_ellipsis; /* the longest */
} equation;

static bool has(const unsigned *labels, unsigned n, unsigned label)
{
    for (unsigned i = 0; i < n; i++) {
        if (labels[i] == label) {
            return true;
        }
    }
    return false;
}

static bool in_term(const term *t, unsigned label)
{
    return has(t->labels, t->n, label);
}

static int letter_of(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* Letters and at most one ellipsis, which stands for the `rank` that the letters leave. */
static md_status parse_labels(equation *e, unsigned rank, bool is_output, unsigned *ret_labels,
                              unsigned *ret_n)
{
    unsigned letters[MD_TENSOR_MAX_DIMS], n = 0, ellipsis_at = 0;
    bool has_ellipsis = false;
    for (; e->at < e->end && *e->at != ',' && *e->at != '-'; e->at++) {
        const int letter = letter_of(*e->at);
        if (*e->at == ' ') {
            continue;
        }
        if (letter >= 0 && n < MD_TENSOR_MAX_DIMS) {
            letters[n++] = (unsigned)letter;
        } else if (!has_ellipsis && e->end - e->at >= 3 && memcmp(e->at, "...", 3) == 0) {
            has_ellipsis = true;
            ellipsis_at = n;
            e->at += 2;
        } else {
            return md_import_fail(e->b, MD_FORMAT, "attribute 'equation' cannot be read");
        }
    }
    const unsigned n_hidden = !has_ellipsis ? 0 : is_output ? e->n_ellipsis : rank - n;
    if (n + n_hidden > MD_TENSOR_MAX_DIMS ||
        (!is_output && (n > rank || n + n_hidden != rank))) {
        return md_import_fail(e->b, MD_FORMAT, "%u labels for a tensor of %u dimensions", n,
                              rank);
    }
    *ret_n = 0;
    for (unsigned i = 0; i <= n; i++) {
        for (unsigned j = 0; j < n_hidden && i == ellipsis_at; j++) {
            ret_labels[(*ret_n)++] = (unsigned)N_LABELS - n_hidden + j;
        }
        if (i < n) {
            ret_labels[(*ret_n)++] = letters[i];
        }
    }
    if (!is_output && n_hidden > e->n_ellipsis) {
        e->n_ellipsis = n_hidden;
    }
    return MD_OK;
}

/* Without "->": the ellipsis, then the letters that occur once, in their order. */
static md_status implicit_output(equation *e)
{
    for (unsigned i = 0; i < N_LABELS; i++) {
        const unsigned label = i < MD_TENSOR_MAX_DIMS ? N_LETTERS + i : i - MD_TENSOR_MAX_DIMS;
        unsigned count = 0;
        for (unsigned j = 0; j < e->n_operands; j++) {
            for (unsigned k = 0; k < e->operands[j].n; k++) {
                count += e->operands[j].labels[k] == label ? 1 : 0;
            }
        }
        if (count == 1 || (count > 0 && label >= N_LETTERS)) {
            if (e->n_output == MD_TENSOR_MAX_DIMS) {
                return md_import_fail(e->b, MD_LIMIT, "more than %d labels in the output",
                                      MD_TENSOR_MAX_DIMS);
            }
            e->output[e->n_output++] = label;
        }
    }
    return MD_OK;
}

static md_status parse(equation *e)
{
    md_node_import *b = e->b;
    for (unsigned i = 0; i < b->n_in; i++) {
        term *t = &e->operands[i];
        const md_tensor *x = md_import_in(b, i);
        if (x == NULL || x->dtype != md_import_in(b, 0)->dtype) {
            return md_import_fail(b, MD_FORMAT, "input %u is missing or of another type", i);
        }
        t->value = b->in[i];
        MD_TRY(parse_labels(e, x->n_dims, false, t->labels, &t->n));
        const bool last = i + 1 == b->n_in;
        if (e->at < e->end ? (*e->at == ',') == last : !last) {
            return md_import_fail(b, MD_FORMAT, "attribute 'equation' is not for %u operands",
                                  b->n_in);
        }
        e->at += last ? 0 : 1;
    }
    if (e->at == e->end) {
        return implicit_output(e);
    }
    if (e->end - e->at < 2 || e->at[1] != '>') {
        return md_import_fail(b, MD_FORMAT, "attribute 'equation' cannot be read");
    }
    e->at += 2;
    MD_TRY(parse_labels(e, 0, true, e->output, &e->n_output));
    if (e->at != e->end) {
        return md_import_fail(b, MD_FORMAT, "attribute 'equation' has two outputs");
    }
    return MD_OK;
}

static md_status emit(equation *e, md_op op, const int *in, unsigned n_in, unsigned n_dims,
                      const int64_t *dims, int *ret_value)
{
    const md_dtype dtype = md_graph_tensor(e->b->graph, in[0])->dtype;
    MD_TRY(md_import_emit(e->b, op, in, n_in, MD_IMPORT_INNER, dtype, n_dims, dims, ret_value));
    memset(&e->b->node.p, 0, sizeof e->b->node.p);
    return MD_OK;
}

/* Of a label that a term has twice, the diagonal stays. */
static md_status take_diagonals(equation *e, term *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        for (unsigned j = i + 1; j < t->n; j++) {
            if (t->labels[i] != t->labels[j]) {
                continue;
            }
            md_tensor x = *md_graph_tensor(e->b->graph, t->value);
            if (x.dims[i] != x.dims[j]) {
                return md_import_fail(e->b, MD_FORMAT, "one label for lengths %lld and %lld",
                                      (long long)x.dims[i], (long long)x.dims[j]);
            }
            t->n--;
            for (unsigned k = j; k < t->n; k++) {
                x.dims[k] = x.dims[k + 1];
                t->labels[k] = t->labels[k + 1];
            }
            e->b->node.p.diagonal.first = i;
            e->b->node.p.diagonal.second = j;
            MD_TRY(emit(e, MD_OP_DIAGONAL, &t->value, 1, t->n, x.dims, &t->value));
            j--;
        }
    }
    return MD_OK;
}

/* Sum over the axes whose label is not wanted. */
static md_status sum_out(equation *e, term *t, const bool *wanted)
{
    const md_tensor x = *md_graph_tensor(e->b->graph, t->value);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++) {
        e->b->node.p.reduce.axes[i] = !wanted[t->labels[i]];
        if (wanted[t->labels[i]]) {
            dims[n] = x.dims[i];
            t->labels[n++] = t->labels[i];
        }
    }
    if (n == t->n) {
        memset(&e->b->node.p, 0, sizeof e->b->node.p);
        return MD_OK;
    }
    t->n = n;
    e->b->node.p.reduce.function = MD_REDUCE_SUM;
    return emit(e, MD_OP_REDUCE, &t->value, 1, n, dims, &t->value);
}

/* The axes in the order of `labels`, which are the term's own in another order. */
static md_status arrange(equation *e, term *t, const unsigned *labels)
{
    const md_tensor x = *md_graph_tensor(e->b->graph, t->value);
    int64_t dims[MD_TENSOR_MAX_DIMS];
    bool same = true;
    for (unsigned i = 0; i < t->n; i++) {
        unsigned from = 0;
        while (t->labels[from] != labels[i]) {
            from++;
        }
        e->b->node.p.transpose.perm[i] = from;
        dims[i] = x.dims[from];
        same = same && from == i;
    }
    memcpy(t->labels, labels, t->n * sizeof *labels);
    if (same) {
        memset(&e->b->node.p, 0, sizeof e->b->node.p);
        return MD_OK;
    }
    return emit(e, MD_OP_TRANSPOSE, &t->value, 1, t->n, dims, &t->value);
}

/* The length of each label of both terms; where one has 1 it is stretched to the other's. */
static md_status match_lengths(equation *e, term *x, term *y, int64_t *ret_lengths)
{
    term *both[2] = {x, y};
    for (unsigned i = 0; i < N_LABELS; i++) {
        ret_lengths[i] = 1;
    }
    for (unsigned k = 0; k < 2; k++) {
        const md_tensor *tensor = md_graph_tensor(e->b->graph, both[k]->value);
        for (unsigned i = 0; i < both[k]->n; i++) {
            int64_t *length = &ret_lengths[both[k]->labels[i]];
            if (*length != 1 && tensor->dims[i] != 1 && *length != tensor->dims[i]) {
                return md_import_fail(e->b, MD_FORMAT, "one label for lengths %lld and %lld",
                                      (long long)*length, (long long)tensor->dims[i]);
            }
            *length = tensor->dims[i] == 1 ? *length : tensor->dims[i];
        }
    }
    for (unsigned k = 0; k < 2; k++) {
        md_tensor shape = *md_graph_tensor(e->b->graph, both[k]->value);
        bool same = true;
        for (unsigned i = 0; i < both[k]->n; i++) {
            same = same && shape.dims[i] == ret_lengths[both[k]->labels[i]];
            shape.dims[i] = ret_lengths[both[k]->labels[i]];
        }
        if (!same) {
            MD_TRY(emit(e, MD_OP_EXPAND, &both[k]->value, 1, both[k]->n, shape.dims,
                        &both[k]->value));
        }
    }
    return MD_OK;
}

/* Labels of t that are (or are not) in the other term and (or not) wanted, appended; their
 * lengths multiplied. */
static int64_t collect(const term *t, const term *other, bool shared, const bool *wanted,
                       bool want, const int64_t *lengths, unsigned *labels, unsigned *n)
{
    int64_t product = 1;
    for (unsigned i = 0; i < t->n; i++) {
        const unsigned label = t->labels[i];
        if (in_term(other, label) == shared && wanted[label] == want) {
            labels[(*n)++] = label;
            product *= lengths[label];
        }
    }
    return product;
}

/* [batch, m, k] times [batch, k, n]: batch are the labels that both have and the result keeps,
 * k those that both have and it does not. */
static md_status multiply(equation *e, term *x, term *y, const bool *wanted)
{
    int64_t lengths[N_LABELS], dims[MD_TENSOR_MAX_DIMS];
    unsigned left[MD_TENSOR_MAX_DIMS], right[MD_TENSOR_MAX_DIMS], out[2 * MD_TENSOR_MAX_DIMS];
    unsigned n_left = 0, n_right = 0, n_out = 0;
    bool wanted_x[N_LABELS], wanted_y[N_LABELS];
    for (unsigned i = 0; i < N_LABELS; i++) {
        wanted_x[i] = wanted[i] || in_term(y, i);
        wanted_y[i] = wanted[i] || in_term(x, i);
    }
    MD_TRY(sum_out(e, x, wanted_x));
    MD_TRY(sum_out(e, y, wanted_y));
    MD_TRY(match_lengths(e, x, y, lengths));
    const int64_t batch = collect(x, y, true, wanted, true, lengths, left, &n_left);
    const unsigned n_batch = n_left;
    memcpy(right, left, n_batch * sizeof *left);
    n_right = n_batch;
    const int64_t m = collect(x, y, false, wanted, true, lengths, left, &n_left);
    memcpy(out, left, n_left * sizeof *left);
    n_out = n_left;
    const unsigned n_kept = n_left;
    const int64_t k = collect(x, y, true, wanted, false, lengths, left, &n_left);
    memcpy(right + n_right, left + n_kept, (n_left - n_kept) * sizeof *left);
    n_right += n_left - n_kept;
    const int64_t n = collect(y, x, false, wanted, true, lengths, right, &n_right);
    for (unsigned i = 0; i < n_right; i++) {
        if (!in_term(x, right[i])) {
            out[n_out++] = right[i];
        }
    }
    if (n_out > MD_TENSOR_MAX_DIMS) {
        return md_import_fail(e->b, MD_LIMIT, "a product of %u dimensions, at most %d", n_out,
                              MD_TENSOR_MAX_DIMS);
    }
    MD_TRY(arrange(e, x, left));
    MD_TRY(arrange(e, y, right));
    const int64_t x_dims[3] = {batch, m, k}, y_dims[3] = {batch, k, n};
    const int64_t product[3] = {batch, m, n};
    int in[2];
    MD_TRY(emit(e, MD_OP_COPY, &x->value, 1, 3, x_dims, &in[0]));
    MD_TRY(emit(e, MD_OP_COPY, &y->value, 1, 3, y_dims, &in[1]));
    MD_TRY(emit(e, MD_OP_MATMUL, in, 2, 3, product, &x->value));
    for (unsigned i = 0; i < n_out; i++) {
        x->labels[i] = out[i];
        dims[i] = lengths[out[i]];
    }
    x->n = n_out;
    return emit(e, MD_OP_COPY, &x->value, 1, n_out, dims, &x->value);
}

static md_status check_output(const equation *e)
{
    for (unsigned i = 0; i < e->n_output; i++) {
        bool known = false;
        for (unsigned j = 0; j < e->n_operands; j++) {
            known = known || in_term(&e->operands[j], e->output[i]);
        }
        if (!known || has(e->output, i, e->output[i])) {
            return md_import_fail(e->b, MD_FORMAT,
                                  "attribute 'equation': an output label that no operand has, "
                                  "or twice");
        }
    }
    return MD_OK;
}

md_status md_import_einsum(md_node_import *b)
{
    const Onnx__AttributeProto *a;
    equation e = {.b = b, .n_operands = b->n_in};
    MD_TRY(md_attribute_find(b, "equation", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, &a));
    if (a == NULL || a->s.data == NULL || b->n_in > MAX_OPERANDS) {
        return md_import_fail(b, MD_FORMAT, "no equation, or %u operands, at most %d", b->n_in,
                              MAX_OPERANDS);
    }
    e.at = (const char *)a->s.data;
    e.end = e.at + a->s.len;
    MD_TRY(parse(&e));
    MD_TRY(check_output(&e));
    for (unsigned i = 0; i < e.n_operands; i++) {
        MD_TRY(take_diagonals(&e, &e.operands[i]));
    }
    term *result = &e.operands[0];
    for (unsigned i = 1; i <= e.n_operands; i++) {
        bool wanted[N_LABELS] = {false};
        for (unsigned j = 0; j < e.n_output; j++) {
            wanted[e.output[j]] = true;
        }
        for (unsigned j = i + 1; j < e.n_operands; j++) {
            for (unsigned k = 0; k < e.operands[j].n; k++) {
                wanted[e.operands[j].labels[k]] = true;
            }
        }
        MD_TRY(i < e.n_operands ? multiply(&e, result, &e.operands[i], wanted)
                                : sum_out(&e, result, wanted));
    }
    MD_TRY(arrange(&e, result, e.output));
    return md_import_alias(b, 0, result->value);
}
