#include "inference/train/trainer_private.h"

#include <string.h>

/* RNN, GRU and LSTM over the tokens of a batch, in the formulas of ONNX's operators (Elman
 * 1990; Cho et al. 2014 with the reset gate behind the recurrent product; Hochreiter and
 * Schmidhuber 1997 with the forget gate of Gers et al. 2000).
 *
 * What does not depend on the state before is one product for all steps: the input's part of
 * the gates, and backward the gradients of input and weights from the gates' gradients. Only
 * the state's part goes step by step; there the rows of a step are neighbours (texts.h), the
 * weights are packed once for all steps, and each thread has its own texts and direction, so
 * that no step waits for another thread. */

enum {
    WEIGHT,    /* [D, gates H, I] */
    RECURRENT, /* [D, gates H, H] */
    BIAS       /* [D, 2 gates H]: of the input's part and of the state's */
};

typedef struct recurrent {
    md_trainer *t;
    const md_train_layer *layer;
    md_rnn kind;
    size_t n_directions, h, n_in;
    size_t n_gates;  /* rows of a weight in units of h */
    size_t n_blocks; /* what is kept of a token in units of h: a GRU keeps both its parts of the
                        candidate, [z, r, of the state, of the input] */
    size_t n_rows;
    const float *x, *y, *dy;
    float *gates;  /* [rows][D][blocks H]: before the activations, after them, and backward
                      their gradients */
    float *cells;  /* [rows][D][H] of an LSTM */
    float *packed; /* for each direction */
    size_t packed_floats;
    float *carry;    /* [texts][D][2][H]: gradients of the states */
    float *previous; /* [rows][D][H]: the states before */
    float *bias;     /* [D][blocks H] */
    void *rest;      /* of the scratch memory */
} recurrent;

static size_t width_of(const recurrent *c) /* of y */
{
    return c->n_directions * c->h;
}

static size_t gates_width(const recurrent *c)
{
    return c->n_directions * c->n_blocks * c->h;
}

static recurrent start(md_trainer *t, const md_train_layer *layer)
{
    const md_rnn_params *p = &layer->node.p.rnn;
    const md_feature *x = md_train_layer_in(t, layer, 0), *y = md_train_layer_out(t, layer);
    recurrent c = {.t = t,
                   .layer = layer,
                   .kind = p->kind,
                   .n_directions = p->n_directions,
                   .h = (size_t)p->n_hidden,
                   .n_in = (size_t)x->c,
                   .n_rows = t->texts.n_rows,
                   .x = x->data,
                   .y = y->data,
                   .dy = y->gradient,
                   .gates = layer->kept};
    c.n_gates = p->kind == MD_RNN_LSTM ? 4 : p->kind == MD_RNN_GRU ? 3 : 1;
    c.n_blocks = p->kind == MD_RNN_PLAIN ? 1 : 4;
    c.cells = c.gates + (size_t)(t->net->batch * t->texts.length) * gates_width(&c);
    const size_t state = md_text_packed_floats(c.h, c.n_gates * c.h);
    const size_t back = md_text_packed_floats(c.n_gates * c.h, c.h);
    c.packed_floats = state > back ? state : back;
    c.packed = t->scratch;
    c.bias = c.packed + c.n_directions * c.packed_floats;
    c.carry = c.bias + gates_width(&c);
    c.previous = c.carry + (size_t)t->n * 2 * width_of(&c);
    const size_t used =
        (size_t)(c.previous - c.packed) + (size_t)(t->n * t->texts.length) * width_of(&c);
    c.rest = c.packed + (used + 1) / 2 * 2; /* doubles follow */
    return c;
}

size_t md_recurrent_kept_bytes(const md_rnn_params *p, int64_t length)
{
    const size_t h = (size_t)p->n_hidden * p->n_directions;
    const size_t n = p->kind == MD_RNN_LSTM ? 5 : p->kind == MD_RNN_GRU ? 4 : 1;
    return (size_t)length * n * h * sizeof(float);
}

static md_status prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const recurrent c = start(t, layer);
    const size_t floats = c.n_directions * c.packed_floats + gates_width(&c) +
                          (size_t)t->n * 2 * width_of(&c) +
                          (size_t)(t->n * t->texts.length) * width_of(&c) + 2;
    layer->scratch_bytes = floats * sizeof(float) + md_team_size(t->team) * gates_width(&c) *
                                                        (sizeof(double) + sizeof(float));
    return MD_OK;
}

static bool is_backwards(const recurrent *c, size_t direction)
{
    return c->layer->node.p.rnn.reverse || direction == 1;
}

typedef struct fill_call {
    const float *row;
    float *to;
    size_t width;
} fill_call;

static void fill_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const fill_call *c = data;
    for (size_t r = begin; r < end; r++) {
        memcpy(c->to + r * c->width, c->row, c->width * sizeof *c->to);
    }
}

/* Biases in the order of the blocks. */
static void order_bias(const recurrent *c)
{
    const float *bias = md_train_layer_value(c->t, c->layer, BIAS);
    const size_t h = c->h, n = c->n_gates * h;
    memset(c->bias, 0, gates_width(c) * sizeof *c->bias);
    for (size_t d = 0; d < c->n_directions && bias != NULL; d++) {
        const float *input = bias + d * 2 * n, *state = input + n;
        float *to = c->bias + d * c->n_blocks * h;
        if (c->kind == MD_RNN_GRU) {
            memcpy(to + 2 * h, state + 2 * h, h * sizeof *to);
            memcpy(to + 3 * h, input + 2 * h, h * sizeof *to);
        }
        for (size_t i = 0; i < (c->kind == MD_RNN_GRU ? 2 * h : n); i++) {
            to[i] = input[i] + state[i];
        }
    }
}

/* A run of gates that lies together in the weights and in the blocks. */
typedef struct stretch {
    size_t weight_row, block, n; /* first row of the weight, first column, how many */
} stretch;

/* Of all directions: one, but of a GRU two for each direction. */
static unsigned stretches(const recurrent *c, stretch ret[4])
{
    const size_t h = c->h;
    unsigned n = 0;
    if (c->kind != MD_RNN_GRU) {
        ret[n++] = (stretch){0, 0, gates_width(c)};
        return n;
    }
    for (size_t d = 0; d < c->n_directions; d++) {
        ret[n++] = (stretch){d * 3 * h, d * 4 * h, 2 * h};
        ret[n++] = (stretch){d * 3 * h + 2 * h, d * 4 * h + 3 * h, h};
    }
    return n;
}

static void input_part(const recurrent *c)
{
    const float *w = md_train_layer_value(c->t, c->layer, WEIGHT);
    const int64_t rows = (int64_t)c->n_rows, n_in = (int64_t)c->n_in;
    stretch list[4];
    fill_call fill = {c->bias, c->gates, gates_width(c)};
    order_bias(c);
    md_over_rows(c->t, c->n_rows, fill_rows, &fill);
    for (unsigned i = stretches(c, list); i-- > 0;) {
        md_train_gemm(c->t, false, true, rows, (int64_t)list[i].n, n_in, 1.0F, c->x, n_in,
                      w + list[i].weight_row * c->n_in, n_in, 1.0F, c->gates + list[i].block,
                      (int64_t)gates_width(c));
    }
}

typedef struct step_rows {
    size_t row, n;         /* of the step */
    size_t other, n_other; /* of the step before (backward: after) it in the layer's direction:
                              the first n_other rows have one */
} step_rows;

static step_rows rows_of(const recurrent *c, unsigned group, int64_t t, int64_t other)
{
    const md_texts *texts = &c->t->texts;
    step_rows s = {md_texts_step(texts, group, t), md_texts_step_rows(texts, group, t), 0,
                   md_texts_step_rows(texts, group, other)};
    s.n_other = s.n_other < s.n ? s.n_other : s.n;
    s.other = s.n_other == 0 ? 0 : md_texts_step(texts, group, other);
    return s;
}

static void step_forward(const recurrent *c, size_t d, const step_rows *s)
{
    const md_text_kernels *k = c->t->text_kernels;
    const size_t h = c->h, wide = gates_width(c), width = width_of(c);
    float *gates = c->gates + s->row * wide + d * c->n_blocks * h;
    float *y = (float *)(uintptr_t)c->y + s->row * width + d * h;
    float *cells = c->cells + s->row * width + d * h;
    const float *before = c->y + s->other * width + d * h;
    const float *cells_before = c->cells + s->other * width + d * h;
    if (s->n_other > 0) {
        k->product(before, width, c->packed + d * c->packed_floats, s->n_other, h,
                   c->n_gates * h, gates, wide);
    }
    for (size_t j = 0; j < s->n; j++) {
        const bool first = j >= s->n_other;
        switch (c->kind) {
        case MD_RNN_PLAIN:
            k->rnn(gates + j * wide, y + j * width, h);
            break;
        case MD_RNN_GRU:
            k->gru(gates + j * wide, first ? NULL : before + j * width, y + j * width, h);
            break;
        case MD_RNN_LSTM:
            k->lstm(gates + j * wide, first ? NULL : cells_before + j * width,
                    cells + j * width, y + j * width, h);
            break;
        }
    }
}

/* Unit u is one direction of one group. */
static void units_forward(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const recurrent *c = data;
    for (size_t u = begin; u < end; u++) {
        const size_t d = u % c->n_directions;
        const unsigned group = (unsigned)(u / c->n_directions);
        const int64_t n = c->t->texts.n_steps[group];
        const bool backwards = is_backwards(c, d);
        for (int64_t i = 0; i < n; i++) {
            const int64_t t = backwards ? n - 1 - i : i;
            const step_rows s = rows_of(c, group, t, backwards ? t + 1 : t - 1);
            step_forward(c, d, &s);
        }
    }
}

static void pack_weights(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const recurrent *c = data;
    const float *r = md_train_layer_value(c->t, c->layer, RECURRENT);
    const size_t h = c->h, n = c->n_gates * h;
    const bool back = c->dy != NULL;
    for (size_t d = begin; d < end; d++) {
        c->t->text_kernels->pack(!back, r + d * n * h, h, back ? n : h, back ? h : n,
                                 c->packed + d * c->packed_floats);
    }
}

static md_status forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    recurrent c = start(t, layer);
    c.dy = NULL;
    input_part(&c);
    md_over_rows(t, c.n_directions, pack_weights, &c);
    md_over_rows(t, t->texts.n_groups * c.n_directions, units_forward, &c);
    return MD_OK;
}

static void step_backward(const recurrent *c, size_t d, const step_rows *s,
                          const step_rows *before, float *dh, float *dc)
{
    const md_text_kernels *k = c->t->text_kernels;
    const size_t h = c->h, wide = gates_width(c), width = width_of(c);
    float *gates = c->gates + s->row * wide + d * c->n_blocks * h;
    const float *dy = c->dy + s->row * width + d * h;
    for (size_t j = 0; j < s->n; j++) {
        if (c->kind == MD_RNN_GRU && j < s->n_other) { /* what came by way of z */
            k->axpy(1.0F, dy + j * width, dh + j * h, h);
        } else {
            memcpy(dh + j * h, dy + j * width, h * sizeof *dh);
        }
    }
    if (s->n_other > 0) {
        k->product(c->gates + s->other * wide + d * c->n_blocks * h, wide,
                   c->packed + d * c->packed_floats, s->n_other, c->n_gates * h, h, dh, h);
    }
    const size_t at = s->row * width + d * h, at_before = before->other * width + d * h;
    for (size_t j = 0; j < s->n; j++) {
        const bool first = j >= before->n_other;
        switch (c->kind) {
        case MD_RNN_PLAIN:
            k->rnn_back(gates + j * wide, c->y + at + j * width, dh + j * h, h);
            break;
        case MD_RNN_GRU:
            k->gru_back(gates + j * wide, first ? NULL : c->y + at_before + j * width,
                        dh + j * h, h);
            break;
        case MD_RNN_LSTM:
            k->lstm_back(gates + j * wide, first ? NULL : c->cells + at_before + j * width,
                         c->cells + at + j * width, dh + j * h, dc + j * h, h);
            break;
        }
    }
}

/* The states before each step, for the product with the gates' gradients. */
static void store_previous(const recurrent *c, size_t d, const step_rows *s)
{
    const size_t width = width_of(c);
    for (size_t j = 0; j < s->n; j++) {
        float *to = c->previous + (s->row + j) * width + d * c->h;
        if (j < s->n_other) {
            memcpy(to, c->y + (s->other + j) * width + d * c->h, c->h * sizeof *to);
        } else {
            memset(to, 0, c->h * sizeof *to);
        }
    }
}

static void units_backward(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const recurrent *c = data;
    const md_texts *texts = &c->t->texts;
    for (size_t u = begin; u < end; u++) {
        const size_t d = u % c->n_directions;
        const unsigned group = (unsigned)(u / c->n_directions);
        const size_t n_texts = texts->first[group + 1] - texts->first[group];
        const int64_t n = texts->n_steps[group];
        const bool backwards = is_backwards(c, d);
        float *dh = c->carry + (texts->first[group] * c->n_directions + d * n_texts) * 2 * c->h;
        float *dc = dh + n_texts * c->h;
        memset(dc, 0, n_texts * c->h * sizeof *dc);
        for (int64_t i = 0; i < n; i++) {
            const int64_t t = backwards ? i : n - 1 - i;
            const step_rows s = rows_of(c, group, t, backwards ? t - 1 : t + 1);
            const step_rows before = rows_of(c, group, t, backwards ? t + 1 : t - 1);
            step_backward(c, d, &s, &before, dh, dc);
            store_previous(c, d, &before);
        }
    }
}

static void weight_gradients(const recurrent *c, md_train_layer *layer)
{
    md_trainer *t = c->t;
    const int64_t rows = (int64_t)c->n_rows, n_in = (int64_t)c->n_in, h = (int64_t)c->h;
    const int64_t wide = (int64_t)gates_width(c), n = (int64_t)c->n_gates * h;
    if (md_wants_parameter(t, layer, WEIGHT)) {
        float *dw = md_parameter_gradient(t, layer, WEIGHT);
        stretch list[4];
        for (unsigned i = stretches(c, list); i-- > 0;) {
            md_train_gemm(t, true, false, (int64_t)list[i].n, n_in, rows, 1.0F,
                          c->gates + list[i].block, wide, c->x, n_in, 0.0F,
                          dw + list[i].weight_row * c->n_in, n_in);
        }
        md_parameter_done(t, layer, WEIGHT);
    }
    if (md_wants_parameter(t, layer, RECURRENT)) {
        float *dr = md_parameter_gradient(t, layer, RECURRENT);
        for (int64_t d = 0; d < (int64_t)c->n_directions; d++) {
            md_train_gemm(t, true, false, n, h, rows, 1.0F,
                          c->gates + d * (int64_t)c->n_blocks * h, wide, c->previous + d * h,
                          (int64_t)width_of(c), 0.0F, dr + d * n * h, h);
        }
        md_parameter_done(t, layer, RECURRENT);
    }
}

static void bias_gradient(const recurrent *c, md_train_layer *layer)
{
    md_trainer *t = c->t;
    const size_t h = c->h, n = c->n_gates * h;
    if (!md_wants_parameter(t, layer, BIAS)) {
        return;
    }
    md_sum_floats(t, c->gates, c->n_rows, gates_width(c), c->rest, c->bias);
    float *db = md_parameter_gradient(t, layer, BIAS);
    for (size_t d = 0; d < c->n_directions; d++) {
        const float *sums = c->bias + d * c->n_blocks * h;
        float *input = db + d * 2 * n, *state = input + n;
        memcpy(input, sums, n * sizeof *sums);
        memcpy(state, sums, n * sizeof *sums);
        if (c->kind == MD_RNN_GRU) {
            memcpy(input + 2 * h, sums + 3 * h, h * sizeof *sums);
        }
    }
    md_parameter_done(t, layer, BIAS);
}

static md_status backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    recurrent c = start(t, layer);
    md_over_rows(t, c.n_directions, pack_weights, &c);
    md_over_rows(t, t->texts.n_groups * c.n_directions, units_backward, &c);
    weight_gradients(&c, layer);
    bias_gradient(&c, layer);
    if (md_wants_gradient(t, x)) {
        const float *w = md_train_layer_value(t, layer, WEIGHT);
        float beta = md_gradient_write(x) == MD_WRITE_ADD ? 1.0F : 0.0F;
        stretch list[4];
        for (unsigned i = stretches(&c, list); i-- > 0;) {
            md_train_gemm(t, false, false, (int64_t)c.n_rows, (int64_t)c.n_in,
                          (int64_t)list[i].n, 1.0F, c.gates + list[i].block,
                          (int64_t)gates_width(&c), w + list[i].weight_row * c.n_in,
                          (int64_t)c.n_in, beta, x->gradient, (int64_t)c.n_in);
            beta = 1.0F;
        }
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_recurrent = {.name = "recurrent layer",
                                                      .needs_inputs = true,
                                                      .needs_output = true,
                                                      .prepare = prepare,
                                                      .forward = forward,
                                                      .backward = backward};
