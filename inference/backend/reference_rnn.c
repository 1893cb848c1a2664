/* Recurrent layers: plain, gated (Cho et al. 2014) and long short-term memory (Gers,
 * Schraudolph and Schmidhuber 2002), in the forms that ONNX gives them. */

#include "inference/backend/kernels.h"

#include <math.h>
#include <string.h>

/* One direction of a layer, for n_batch sequences from `first` on. */
typedef struct layer {
    const md_rnn_params *p;
    md_sgemm_fn sgemm;
    const float *x, *w, *r, *bias,
        *peephole; /* of this direction; bias and peephole may be NULL */
    int64_t n_in, n_hidden, n_gates, first, n_batch;
    int64_t x_step, x_batch; /* from one step, one sequence to the next, in floats */
    const md_activation *functions;
    float *gates, *recurrent, *h, *c, *reset; /* workspace, of n_batch rows */
} layer;

static const float *optional(const md_call *call, unsigned i)
{
    return i < call->n_in && call->in[i] != NULL ? call->in[i]->data : NULL;
}

static void activate(const layer *l, unsigned function, float *x)
{
    const float clip = l->p->clip;
    for (int64_t i = 0; i < l->n_hidden; i++) {
        x[i] = x[i] > clip ? clip : x[i] < -clip ? -clip : x[i];
    }
    md_activate(&l->functions[function], x, x, (size_t)l->n_hidden);
}

/* y [n_batch, n] += or = x [n_batch, k] w [n, k]^T */
static void product(const layer *l, const float *x, int64_t lda, const float *w, int64_t n,
                    int64_t k, bool add, float *y, int64_t ldy)
{
    l->sgemm(false, true, l->n_batch, n, k, 1.0F, x, lda, w, k, add ? 1.0F : 0.0F, y, ldy);
}

/* h = f(x W + h R + b) */
static void plain_step(const layer *l)
{
    const int64_t n = l->n_hidden;
    product(l, l->h, n, l->r, n, n, true, l->gates, n);
    for (int64_t b = 0; b < l->n_batch; b++) {
        float *g = l->gates + b * n;
        for (int64_t i = 0; i < n && l->bias != NULL; i++) {
            g[i] += l->bias[i] + l->bias[n + i];
        }
        activate(l, 0, g);
        memcpy(l->h + b * n, g, (size_t)n * sizeof *g);
    }
}

/* z = f(..), r = f(..), t = g(x W + (r h) R + b), h = (1 - z) t + z h; linear_before_reset:
 * t = g(x W + r (h R + b')) + b). Gates in the order z, r, h. */
static void gru_step(const layer *l)
{
    const int64_t n = l->n_hidden;
    const bool linear = l->p->linear_before_reset;
    product(l, l->h, n, l->r, (linear ? 3 : 2) * n, n, false, l->recurrent, 3 * n);
    for (int64_t b = 0; b < l->n_batch; b++) {
        float *g = l->gates + b * 3 * n, *u = l->recurrent + b * 3 * n;
        for (int64_t i = 0; i < 3 * n && l->bias != NULL; i++) {
            g[i] += l->bias[i] + (linear && i >= 2 * n ? 0.0F : l->bias[3 * n + i]);
        }
        for (int64_t i = 0; i < 2 * n; i++) {
            g[i] += u[i];
        }
        activate(l, 0, g);
        activate(l, 0, g + n);
        for (int64_t i = 0; i < n; i++) {
            const float hidden = linear ? u[2 * n + i] : l->h[b * n + i];
            const float shift = linear && l->bias != NULL ? l->bias[5 * n + i] : 0.0F;
            l->reset[b * n + i] = g[n + i] * (hidden + shift);
        }
    }
    if (!linear) {
        product(l, l->reset, n, l->r + 2 * n * n, n, n, true, l->gates + 2 * n, 3 * n);
    }
    for (int64_t b = 0; b < l->n_batch; b++) {
        float *g = l->gates + b * 3 * n, *t = g + 2 * n, *h = l->h + b * n;
        for (int64_t i = 0; i < n && linear; i++) {
            t[i] += l->reset[b * n + i];
        }
        activate(l, 1, t);
        for (int64_t i = 0; i < n; i++) {
            h[i] = (1.0F - g[i]) * t[i] + g[i] * h[i];
        }
    }
}

/* i = f(.. + Pi c), f = f(.. + Pf c), c' = f c + i g(..), o = f(.. + Po c'), h = o h(c').
 * Gates in the order i, o, f, c; peepholes i, o, f. */
static void lstm_step(const layer *l)
{
    const int64_t n = l->n_hidden;
    product(l, l->h, n, l->r, 4 * n, n, true, l->gates, 4 * n);
    for (int64_t b = 0; b < l->n_batch; b++) {
        float *g = l->gates + b * 4 * n, *h = l->h + b * n, *c = l->c + b * n;
        float *in = g, *out = g + n, *forget = g + 2 * n, *cell = g + 3 * n;
        for (int64_t i = 0; i < 4 * n && l->bias != NULL; i++) {
            g[i] += l->bias[i] + l->bias[4 * n + i];
        }
        for (int64_t i = 0; i < n && l->peephole != NULL; i++) {
            in[i] += l->peephole[i] * c[i];
            forget[i] += l->peephole[2 * n + i] * c[i];
        }
        activate(l, 0, in);
        activate(l, 0, forget);
        activate(l, 1, cell);
        for (int64_t i = 0; i < n; i++) {
            forget[i] = l->p->input_forget ? 1.0F - in[i] : forget[i];
            c[i] = forget[i] * c[i] + in[i] * cell[i];
            out[i] += l->peephole == NULL ? 0.0F : l->peephole[n + i] * c[i];
        }
        activate(l, 0, out);
        md_activate(&l->functions[2], c, h, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            h[i] *= out[i];
        }
    }
}

static void step(const layer *l, int64_t t)
{
    product(l, l->x + t * l->x_step + l->first * l->x_batch, l->x_batch, l->w,
            l->n_gates * l->n_hidden, l->n_in, false, l->gates, l->n_gates * l->n_hidden);
    switch (l->p->kind) {
    case MD_RNN_PLAIN:
        plain_step(l);
        break;
    case MD_RNN_GRU:
        gru_step(l);
        break;
    case MD_RNN_LSTM:
        lstm_step(l);
        break;
    }
}

/* Where the state of a direction and sequence is, in a [D,B,H] or [B,D,H] tensor. */
static int64_t state_at(const layer *l, int64_t direction, int64_t b, int64_t n_all)
{
    return (l->p->batch_first ? b * l->p->n_directions + direction : direction * n_all + b) *
           l->n_hidden;
}

/* Run the layer's sequences over n_steps of n_all_steps and store what they give. */
static void run(const md_call *call, layer *l, int64_t direction, int64_t n_steps,
                int64_t n_all_steps, int64_t n_all)
{
    const int64_t n = l->n_hidden, d = l->p->n_directions;
    const size_t n_bytes = (size_t)n * sizeof(float);
    const bool backwards = l->p->reverse || direction == 1;
    const float *start[2] = {optional(call, 5), optional(call, 6)};
    float *states[2] = {l->h, l->c};
    const unsigned n_states = l->p->kind == MD_RNN_LSTM ? 2 : 1;
    for (unsigned i = 0; i < n_states; i++) {
        for (int64_t b = 0; b < l->n_batch; b++) {
            const int64_t at = state_at(l, direction, l->first + b, n_all);
            if (start[i] == NULL) {
                memset(states[i] + b * n, 0, n_bytes);
            } else {
                memcpy(states[i] + b * n, start[i] + at, n_bytes);
            }
        }
    }
    for (int64_t s = 0; s < n_steps; s++) {
        const int64_t t = backwards ? n_steps - 1 - s : s;
        step(l, t);
        for (int64_t b = 0; b < l->n_batch; b++) {
            const int64_t sequence = l->first + b;
            const int64_t at = l->p->batch_first
                                   ? ((sequence * n_all_steps + t) * d + direction) * n
                                   : ((t * d + direction) * n_all + sequence) * n;
            memcpy((float *)call->out[0]->data + at, l->h + b * n, n_bytes);
        }
    }
    for (unsigned i = 0; i < n_states; i++) {
        for (int64_t b = 0; b < l->n_batch; b++) {
            memcpy((float *)call->out[1 + i]->data +
                       state_at(l, direction, l->first + b, n_all),
                   states[i] + b * n, n_bytes);
        }
    }
}

/* Inputs X [T,B,I] (or [B,T,I]), W [D,G H,I], R [D,G H,H], B [D,2 G H], lengths [B], initial
 * states; outputs Y [T,D,B,H] (or [B,T,D,H]), 0 after the end of a sequence, and last states.
 */
md_status md_kernel_rnn(const md_call *call)
{
    const md_rnn_params *p = &call->p->rnn;
    const md_tensor *x = call->in[0];
    const int64_t n_steps = x->dims[p->batch_first ? 1 : 0];
    const int64_t n_all = x->dims[p->batch_first ? 0 : 1], n = p->n_hidden;
    const int64_t n_gates = p->kind == MD_RNN_LSTM ? 4 : p->kind == MD_RNN_GRU ? 3 : 1;
    const md_tensor *lengths = call->n_in > 4 ? call->in[4] : NULL;
    const float *bias = optional(call, 3), *peephole = optional(call, 7);
    memset(call->out[0]->data, 0, call->out[0]->n_elements * sizeof(float));
    for (int64_t direction = 0; direction < p->n_directions; direction++) {
        layer l = {.p = p,
                   .sgemm = call->sgemm,
                   .x = x->data,
                   .w = (const float *)call->in[1]->data + direction * n_gates * n * x->dims[2],
                   .r = (const float *)call->in[2]->data + direction * n_gates * n * n,
                   .bias = bias == NULL ? NULL : bias + direction * 2 * n_gates * n,
                   .peephole = peephole == NULL ? NULL : peephole + direction * 3 * n,
                   .n_in = x->dims[2],
                   .n_hidden = n,
                   .n_gates = n_gates,
                   .n_batch = lengths == NULL ? n_all : 1,
                   .x_step = (p->batch_first ? 1 : n_all) * x->dims[2],
                   .x_batch = (p->batch_first ? n_steps : 1) * x->dims[2],
                   .functions = p->functions + direction * (p->kind == MD_RNN_LSTM  ? 3
                                                            : p->kind == MD_RNN_GRU ? 2
                                                                                    : 1)};
        l.gates = call->workspace;
        l.h = l.gates + n_gates * n * n_all;
        l.c = l.h + n * n_all;     /* of an LSTM */
        l.reset = l.h + n * n_all; /* of a GRU */
        l.recurrent = l.reset + n * n_all;
        if (lengths == NULL) {
            run(call, &l, direction, n_steps, n_steps, n_all);
        }
        for (; lengths != NULL && l.first < n_all; l.first++) {
            const int32_t length = ((const int32_t *)lengths->data)[l.first];
            if (length < 0 || length > n_steps) {
                return md_fail(call->err, MD_FORMAT, "a sequence of %d steps in %lld", length,
                               (long long)n_steps);
            }
            run(call, &l, direction, length, n_steps, n_all);
        }
    }
    return MD_OK;
}
