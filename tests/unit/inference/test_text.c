/* Text networks: gradients of every layer against central differences on both back ends (as
 * test_train.c does it for images), padding, what is served, and what is refused. */

#include "inference/graph/writer.h"
#include "inference/train/text_architecture.h"
#include "inference/train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gradients.h"
#include "near.h"

enum {
    BATCH = 6,
    LENGTH = 7,
    VOCABULARY = 11,
    N_CLASSES = 3
};

/* Lengths of all kinds: full, equal, one, none. */
static const int64_t texts[BATCH * LENGTH] = {
    3, 1, 4, 1, 5, 9, 2, /**/ 6, 5, 3, 0, 0, 0, 0, /**/ 0, 0, 0, 0, 0, 0, 0, /**/
    8, 0, 0, 0, 0, 0, 0, /**/ 7, 9, 3, 0, 0, 0, 0, /**/ 2, 6, 4, 3, 8, 0, 0};

typedef struct network {
    uint8_t *bytes;
    size_t n_bytes;
} network;

static void release(network *n)
{
    md_free(n->bytes);
}

static network named(const md_text_architecture *like)
{
    network n;
    md_error err = {0};
    md_text_architecture a = *like;
    a.vocabulary = VOCABULARY;
    a.length = LENGTH;
    a.n_classes = N_CLASSES;
    a.seed = 5;
    if (md_text_architecture_write(&a, &n.bytes, &n.n_bytes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return n;
}

static uint32_t random_state;

static float uniform(void)
{
    random_state = random_state * 1664525U + 1013904223U;
    return (float)(random_state >> 8) * 0x1p-23F - 1.0F;
}

static void weights(md_writer *w, const char *name, unsigned n_dims, int64_t a, int64_t b,
                    int64_t c)
{
    const int64_t dims[3] = {a, b, c};
    float *values = md_writer_weights(w, name, n_dims, dims);
    for (int64_t i = 0; i < a * (n_dims > 1 ? b : 1) * (n_dims > 2 ? c : 1); i++) {
        values[i] = 0.6F * uniform();
    }
}

static void number(md_writer *w, const char *name, float value)
{
    *md_writer_weights(w, name, 0, NULL) = value;
}

/* tokens -> "embedded" [N,T,6], "mask" and "lengths"; refusals change a word of it. */
typedef struct change {
    const char *op; /* of the recurrent layer */
    /* inputs; NULL: as it should be */
    const char *greater, *rnn_inputs, *condition, *low, *softmax, *shares;
    int64_t reset, softmax_axis;
    const char *direction;
} change;

static void write_begin(md_writer *w, const change *c)
{
    md_writer_text(w);
    md_writer_integer_input(w, "tokens", 2, (const int64_t[]){-1, LENGTH});
    md_writer_integers(w, "zero", (const int64_t[]){0}, 1);
    md_writer_integers(w, "two", (const int64_t[]){2}, 1);
    md_writer_integers(w, "axis1", (const int64_t[]){1}, 1);
    number(w, "lowest", -1e30F);
    number(w, "low", -3.0F);
    weights(w, "table", 2, VOCABULARY, 6, 0);
    md_writer_node(w, "Greater", c->greater != NULL ? c->greater : "tokens zero", "mask");
    md_writer_node(w, "Cast", "mask", "counts");
    md_writer_attribute_int(w, "to", 6);
    md_writer_node(w, "Cast", "mask", "ones");
    md_writer_attribute_int(w, "to", 1);
    md_writer_node(w, "ReduceSum", "counts axis1", "lengths");
    md_writer_attribute_int(w, "keepdims", 0);
    md_writer_node(w, "Gather", "table tokens", "embedded");
}

/* "y" [N,T,width] -> pooling -> logits */
static void write_end(md_writer *w, const change *c, int64_t width)
{
    weights(w, "v", 2, width, 1, 0);
    weights(w, "head.w", 2, width, N_CLASSES, 0);
    weights(w, "head.b", 1, N_CLASSES, 0, 0);
    md_writer_integers(w, "flat", (const int64_t[]){0, -1}, 2);
    md_writer_node(w, "MatMul", "y v", "scores");
    md_writer_node(w, "Reshape", "scores flat", "flat_scores");
    char inputs[96];
    (void)snprintf(inputs, sizeof inputs, "%s flat_scores %s",
                   c->condition != NULL ? c->condition : "mask",
                   c->low != NULL ? c->low : "lowest");
    md_writer_node(w, "Where", inputs, "masked");
    md_writer_node(w, "Softmax", c->softmax != NULL ? c->softmax : "masked", "shares");
    md_writer_attribute_int(w, "axis", c->softmax_axis == 0 ? 1 : c->softmax_axis - 1);
    md_writer_node(w, "Mul", c->shares != NULL ? c->shares : "shares ones", "clean");
    md_writer_node(w, "Unsqueeze", "clean axis1", "row");
    md_writer_node(w, "MatMul", "row y", "pooled");
    md_writer_node(w, "Flatten", "pooled", "features");
    md_writer_node(w, "Gemm", "features head.w head.b", "logits");
    md_writer_output(w, "logits", 2, (const int64_t[]){-1, N_CLASSES});
}

/* One recurrent layer over [N,T,C] (layout 1). */
static network recurrent(const change *c)
{
    md_writer *w;
    md_error err = {0};
    network n;
    random_state = 7;
    const char *op = c->op != NULL ? c->op : "LSTM";
    const int64_t gates = strcmp(op, "LSTM") == 0 ? 4 : strcmp(op, "GRU") == 0 ? 3 : 1;
    assert_int_equal(md_writer_create("text", &w, &err), MD_OK);
    write_begin(w, c);
    weights(w, "W", 3, 1, gates * 5, 6);
    weights(w, "R", 3, 1, gates * 5, 5);
    weights(w, "B", 2, 1, gates * 10, 0);
    md_writer_integers(w, "joined", (const int64_t[]){0, 0, -1}, 3);
    md_writer_node(w, op, c->rnn_inputs != NULL ? c->rnn_inputs : "embedded W R B lengths",
                   "states");
    md_writer_attribute_int(w, "hidden_size", 5);
    md_writer_attribute_int(w, "layout", 1);
    md_writer_attribute_text(w, "direction", c->direction != NULL ? c->direction : "reverse");
    if (gates == 3) {
        md_writer_attribute_int(w, "linear_before_reset", 1 - c->reset);
    }
    md_writer_node(w, "Reshape", "states joined", "y");
    write_end(w, c, 5);
    if (md_writer_finish(w, &n.bytes, &n.n_bytes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    md_writer_destroy(w);
    return n;
}

/* What goes row by row: sums, products, scales, shifts, activations, one weight used twice. */
static network rows(void)
{
    static const change none;
    md_writer *w;
    md_error err = {0};
    network n;
    random_state = 9;
    assert_int_equal(md_writer_create("text", &w, &err), MD_OK);
    write_begin(w, &none);
    weights(w, "position", 2, LENGTH, 6, 0);
    weights(w, "w", 2, 6, 6, 0);
    weights(w, "b", 1, 6, 0, 0);
    weights(w, "s", 1, 6, 0, 0);
    weights(w, "norm.w", 1, 6, 0, 0);
    number(w, "part", 0.8F);
    md_writer_node(w, "Add", "position embedded", "placed");
    md_writer_node(w, "MatMul", "placed w", "p");
    md_writer_node(w, "Add", "b p", "q");
    md_writer_node(w, "Sigmoid", "q", "gate");
    md_writer_node(w, "MatMul", "placed w", "p2");
    md_writer_node(w, "LeakyRelu", "p2", "leaky");
    md_writer_attribute_float(w, "alpha", 0.9F); /* a weak kink: differences see it */
    md_writer_node(w, "Mul", "leaky gate", "gated");
    md_writer_node(w, "Mul", "gated s", "scaled");
    md_writer_node(w, "Sub", "scaled part", "less");
    md_writer_node(w, "Div", "less part", "more");
    md_writer_node(w, "LayerNormalization", "more norm.w", "normed");
    md_writer_node(w, "Add", "normed placed", "sum");
    md_writer_node(w, "Add", "sum b", "shifted");
    md_writer_node(w, "Tanh", "shifted", "y");
    write_end(w, &none, 6);
    if (md_writer_finish(w, &n.bytes, &n.n_bytes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    md_writer_destroy(w);
    return n;
}

static network network_of_case(size_t i, const char **ret_name)
{
    static const struct {
        const char *title;
        md_text_architecture a;
    } list[] = {
        {"RNN", {.name = "text-rnn", .embedding = 5, .hidden = 6, .attention = 4}},
        {"RNN, both directions, 2 layers",
         {.name = "text-rnn",
          .embedding = 5,
          .hidden = 4,
          .attention = 4,
          .layers = 2,
          .bidirectional = true}},
        {"GRU", {.name = "text-gru", .embedding = 4, .hidden = 17, .attention = 3}},
        {"GRU, both directions, 2 layers",
         {.name = "text-gru",
          .embedding = 4,
          .hidden = 5,
          .attention = 3,
          .layers = 2,
          .bidirectional = true}},
        {"LSTM", {.name = "text-lstm", .embedding = 6, .hidden = 5, .attention = 4}},
        {"LSTM, both directions, 2 layers, dropout",
         {.name = "text-lstm",
          .embedding = 6,
          .hidden = 5,
          .attention = 4,
          .layers = 2,
          .bidirectional = true,
          .dropout = 0.3}},
        {"transformer",
         {.name = "text-transformer",
          .embedding = 8,
          .hidden = 10,
          .heads = 2,
          .attention = 4,
          .layers = 2}},
        {"transformer, ReLU, dropout, 1 head",
         {.name = "text-transformer",
          .embedding = 6,
          .hidden = 9,
          .heads = 1,
          .attention = 4,
          .layers = 1,
          .relu = true,
          .dropout = 0.2}},
    };
    static const change backwards[] = {{.op = "RNN"}, {.op = "GRU"}, {.op = "LSTM"}};
    const size_t n_list = sizeof list / sizeof *list;
    if (i < n_list) {
        *ret_name = list[i].title;
        return named(&list[i].a);
    }
    if (i < n_list + 3) {
        *ret_name = "backwards";
        return recurrent(&backwards[i - n_list]);
    }
    *ret_name = i == n_list + 3 ? "rows" : NULL;
    return i == n_list + 3 ? rows() : (network){NULL, 0};
}

static const float *some_targets(void)
{
    static float targets[BATCH * N_CLASSES];
    for (int i = 0; i < BATCH * N_CLASSES; i++) {
        targets[i] = i % N_CLASSES == i / N_CLASSES % N_CLASSES ? 0.8F : 0.1F;
    }
    return targets;
}

static md_trainer *open_network(const network *n, md_backend backend, unsigned n_threads)
{
    md_error err = {0};
    md_trainer *trainer = NULL;
    const md_trainer_options options = {
        .backend = backend, .n_threads = n_threads, .batch = BATCH};
    if (md_trainer_create(n->bytes, n->n_bytes, &options, &trainer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return trainer;
}

static double loss_of(md_trainer *trainer, const int64_t *tokens, int64_t n, int64_t length)
{
    double loss = 0.0;
    const float *logits;
    md_error err = {0};
    if (md_trainer_step_tokens(trainer, tokens, n, length, some_targets(), NULL, 3, &loss,
                               &logits, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return loss;
}

static const md_parameter *parameter(md_trainer *trainer, const char *name)
{
    for (unsigned i = 0; i < md_trainer_n_parameters(trainer); i++) {
        if (strcmp(md_trainer_parameter(trainer, i)->name, name) == 0) {
            return md_trainer_parameter(trainer, i);
        }
    }
    fail_msg("no parameter %s", name);
    return NULL;
}

static double loss_of_texts(md_trainer *trainer, void *context)
{
    (void)context;
    return loss_of(trainer, texts, BATCH, LENGTH);
}

static void check_gradients(md_backend backend, unsigned n_threads)
{
    const char *title;
    for (size_t i = 0;; i++) {
        network n = network_of_case(i, &title);
        if (n.bytes == NULL) {
            break;
        }
        md_trainer *trainer = open_network(&n, backend, n_threads);
        const gradients_of loss = {.trainer = trainer,
                                   .value = loss_of_texts,
                                   .n_steps = 3,
                                   .n_probes = 8,
                                   .title = title};
        const double worst = gradients_check(&loss);
        printf("# %s, %u threads, %s: %.1e\n", md_trainer_backend_name(trainer), n_threads,
               title, worst);
        md_trainer_destroy(trainer);
        release(&n);
    }
}

static void test_openblas(void **state)
{
    (void)state;
    check_gradients(MD_BACKEND_OPENBLAS, 2);
}

#ifdef MEDAID_HAVE_ONEDNN
static void test_onednn(void **state)
{
    (void)state;
    check_gradients(MD_BACKEND_ONEDNN, 1);
}

/* Another back end and number of threads sums in another order, and nothing else. */
static void test_agree(void **state)
{
    (void)state;
    const char *title;
    for (size_t i = 0;; i++) {
        network n = network_of_case(i, &title);
        if (n.bytes == NULL) {
            break;
        }
        md_trainer *a = open_network(&n, MD_BACKEND_OPENBLAS, 3);
        md_trainer *b = open_network(&n, MD_BACKEND_ONEDNN, 1);
        assert_near(loss_of(a, texts, BATCH, LENGTH), loss_of(b, texts, BATCH, LENGTH), 1e-5);
        gradients_compare(a, b);
        md_trainer_destroy(a);
        md_trainer_destroy(b);
        release(&n);
    }
}
#endif

/* Padding is not there: the same texts in wider rows give the same bytes, and so does a second
 * run; the row of token 0 and of tokens that are not in the batch gets nothing, also when the
 * batch before had them. */
static void test_padding(void **state)
{
    (void)state;
    static const int64_t few[] = {6, 5, 3, 8, 0, 0, 7, 9, 3};
    static const int64_t wide[] = {6, 5, 3, 0, 0, 0, 0, 8, 0, 0, 0,
                                   0, 0, 0, 7, 9, 3, 0, 0, 0, 0};
    const char *title;
    for (size_t i = 0;; i++) {
        network n = network_of_case(i, &title);
        if (n.bytes == NULL) {
            break;
        }
        md_trainer *a = open_network(&n, MD_BACKEND_AUTO, 2);
        md_trainer *b = open_network(&n, MD_BACKEND_AUTO, 2);
        (void)loss_of(b, texts, BATCH, LENGTH);
        assert_true(loss_of(a, few, 3, 3) == loss_of(b, wide, 3, LENGTH));
        for (unsigned j = 0; j < md_trainer_n_parameters(a); j++) {
            const md_parameter *p = md_trainer_parameter(a, j), *q = md_trainer_parameter(b, j);
            assert_memory_equal(p->gradient, q->gradient, p->n * sizeof *p->gradient);
            const bool table =
                strcmp(p->name, "embedding.weight") == 0 || strcmp(p->name, "table") == 0;
            const size_t width = p->n / VOCABULARY;
            for (size_t k = 0; k < p->n && table; k++) {
                const bool there =
                    strchr("\3\5\6\7\10\11", (int)(k / width)) != NULL && k / width != 0;
                assert_true(there || p->gradient[k] == 0.0F);
            }
            assert_false(table && p->decays);
        }
        md_trainer_destroy(a);
        md_trainer_destroy(b);
        release(&n);
    }
}

static void check_served(const network *n, md_trainer *trainer, md_backend backend,
                         int64_t batch)
{
    md_network *served;
    md_error err = {0};
    float logits[BATCH * N_CLASSES];
    const md_network_options options = {.backend = backend, .n_threads = 1, .batch = batch};
    assert_int_equal(md_trainer_infer_tokens(trainer, texts, BATCH, LENGTH, NULL, logits, &err),
                     MD_OK);
    assert_int_equal(md_network_load(n->bytes, n->n_bytes, &options, &served, &err), MD_OK);
    const int attention = md_network_find_output(served, "attention");
    for (int64_t i = 0; i < BATCH; i += batch) {
        md_tensor x = {.dtype = MD_I64, .n_dims = 2, .dims = {batch, LENGTH}}, y[2];
        x.n_elements = (size_t)(batch * LENGTH);
        x.data = (void *)(uintptr_t)(texts + i * LENGTH);
        assert_int_equal(md_network_run(served, &x, 1, y, md_network_n_outputs(served), &err),
                         MD_OK);
        for (int64_t j = 0; j < batch * N_CLASSES; j++) {
            assert_near(((float *)y[0].data)[j], logits[i * N_CLASSES + j], 2e-6);
        }
        for (int64_t j = 0; j < batch && attention >= 0; j++) {
            const float *shares = (const float *)y[attention].data + j * LENGTH;
            const int64_t *text = texts + (i + j) * LENGTH;
            double sum = 0.0;
            for (int64_t t = 0; t < LENGTH; t++) {
                assert_true(text[t] != 0 ? shares[t] > 0.0F : shares[t] == 0.0F);
                sum += (double)shares[t];
            }
            assert_near(sum, text[0] == 0 ? 0.0 : 1.0, 1e-6);
        }
    }
    md_network_destroy(served);
}

static void test_served(void **state)
{
    (void)state;
    const char *title;
    for (size_t i = 0;; i++) {
        network n = network_of_case(i, &title);
        if (n.bytes == NULL) {
            break;
        }
        md_trainer *trainer = open_network(&n, MD_BACKEND_AUTO, 1);
        check_served(&n, trainer, MD_BACKEND_OPENBLAS, 1);
        check_served(&n, trainer, MD_BACKEND_AUTO, 3);
        md_trainer_destroy(trainer);
        release(&n);
    }
}

/* A file that training changed is read again, with what was given to begin with in it. */
static void test_export(void **state)
{
    (void)state;
    float vectors[VOCABULARY * 4];
    for (int i = 0; i < VOCABULARY * 4; i++) {
        vectors[i] = (float)i + 1.0F;
    }
    network n = named(&(md_text_architecture){
        .name = "text-lstm", .embedding = 4, .hidden = 3, .embeddings = vectors});
    md_trainer *trainer = open_network(&n, MD_BACKEND_AUTO, 1), *copy;
    const md_parameter *table = parameter(trainer, "embedding.weight");
    assert_true(table->value[0] == 0.0F && table->value[3] == 0.0F);
    assert_memory_equal(table->value + 4, vectors + 4, sizeof vectors - 4 * sizeof *vectors);
    /* of the forget gate, i o f g */
    const float *bias = parameter(trainer, "rnn1.B")->value;
    assert_true(bias[5] == 0.0F && bias[6] == 1.0F && bias[8] == 1.0F && bias[9] == 0.0F);
    assert_true(parameter(trainer, "rnn1.R")->decays);
    table->value[9] = 42.0F;
    network again;
    md_error err = {0};
    assert_int_equal(md_trainer_export(trainer, NULL, &again.bytes, &again.n_bytes, &err),
                     MD_OK);
    copy = open_network(&again, MD_BACKEND_AUTO, 1);
    assert_true(parameter(copy, "embedding.weight")->value[9] == 42.0F);
    assert_true(loss_of(copy, texts, BATCH, LENGTH) == loss_of(trainer, texts, BATCH, LENGTH));
    md_trainer_destroy(copy);
    md_trainer_destroy(trainer);
    release(&again);
    release(&n);
}

/* Frozen vectors stay, and what lies behind them learns. */
static void test_frozen(void **state)
{
    (void)state;
    network n = named(&(md_text_architecture){.name = "text-gru", .embedding = 4, .hidden = 3});
    const char *const frozen[] = {"embedding"};
    md_trainer *trainer;
    md_error err = {0};
    const md_trainer_options options = {
        .n_threads = 1, .batch = BATCH, .frozen = frozen, .n_frozen = 1};
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err), MD_OK);
    (void)loss_of(trainer, texts, BATCH, LENGTH);
    const md_parameter *table = parameter(trainer, "embedding.weight");
    assert_true(table->frozen && gradients_largest(table->gradient, table->n) == 0.0);
    assert_true(gradients_largest(parameter(trainer, "rnn1.W")->gradient, 9) > 0.0);
    md_trainer_destroy(trainer);
    release(&n);
}

static void refuse_tokens(md_trainer *trainer, const int64_t *tokens, int64_t n, int64_t length,
                          const char *words)
{
    double loss;
    const float *logits;
    float out[BATCH * N_CLASSES];
    md_error err = {0};
    assert_int_equal(md_trainer_step_tokens(trainer, tokens, n, length, some_targets(), NULL, 0,
                                            &loss, &logits, &err),
                     MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, words));
    assert_int_equal(md_trainer_infer_tokens(trainer, tokens, n, length, NULL, out, &err),
                     MD_INVALID_ARG);
}

static void test_bad_tokens(void **state)
{
    (void)state;
    network n =
        named(&(md_text_architecture){.name = "text-lstm", .embedding = 4, .hidden = 3});
    md_trainer *trainer = open_network(&n, MD_BACKEND_AUTO, 1);
    static const int64_t above[] = {1, VOCABULARY}, below[] = {-1, 0}, holes[] = {0, 1};
    static const int64_t huge[] = {INT64_MAX, 0}, fine[] = {1, 2};
    refuse_tokens(trainer, above, 1, 2, "token 1 of text 0 is 11, not in 0..10");
    refuse_tokens(trainer, below, 1, 2, "is -1");
    refuse_tokens(trainer, huge, 1, 2, "not in 0..10");
    refuse_tokens(trainer, holes, 1, 2, "behind padding");
    refuse_tokens(trainer, fine, 1, LENGTH + 1, "takes 1 to 7");
    refuse_tokens(trainer, fine, 1, 0, "takes 1 to 7");
    refuse_tokens(trainer, fine, 0, 2, "0 texts");
    double loss;
    const float *logits;
    float out[N_CLASSES], image[1] = {0};
    md_error err = {0};
    assert_int_equal(md_trainer_step_tokens(trainer, texts, BATCH + 1, 1, some_targets(), NULL,
                                            0, &loss, &logits, &err),
                     MD_INVALID_ARG);
    assert_int_equal(
        md_trainer_step(trainer, image, 1, some_targets(), NULL, 0, &loss, &logits, &err),
        MD_INVALID_ARG);
    assert_int_equal(md_trainer_infer(trainer, image, 1, NULL, out, &err), MD_INVALID_ARG);
    assert_int_equal(md_trainer_resize(trainer, 8, 8, &err), MD_UNSUPPORTED);
    assert_int_equal(md_trainer_input_gradient(trainer, image, 1, NULL, image, &logits, &err),
                     MD_UNSUPPORTED);
    assert_true(md_trainer_is_text(trainer));
    assert_int_equal(md_trainer_n_tokens(trainer), VOCABULARY);
    int64_t dims[4];
    md_trainer_input_dims(trainer, dims);
    assert_true(dims[0] == BATCH && dims[1] == 1 && dims[2] == 1 && dims[3] == LENGTH);
    /* nothing but empty texts: the biases alone learn */
    static const int64_t empty[BATCH];
    assert_true(isfinite(loss_of(trainer, empty, 1, BATCH)));
    assert_true(gradients_largest(parameter(trainer, "rnn1.W")->gradient, 12) == 0.0);
    assert_true(gradients_largest(parameter(trainer, "logits.bias")->gradient, N_CLASSES) >
                0.0);
    md_trainer_destroy(trainer);
    release(&n);
}

/* Graphs that would be served otherwise than they are trained. */
static void test_refused_graphs(void **state)
{
    (void)state;
    static const struct {
        change change;
        const char *words;
    } list[] = {
        {{.rnn_inputs = "embedded W R B"}, "sequence_lens"},
        {{.greater = "tokens two"}, "tokens > 0"},
        {{.op = "GRU", .reset = 1}, "linear_before_reset"},
        {{.low = "low"}, "below -1e9"},
        {{.softmax = "flat_scores"}, "masked scores"},
        {{.softmax_axis = 1}, "another axis"},
        {{.shares = "shares low"}, "cannot be trained"},
        {{.condition = "mask", .shares = "ones ones"}, "cannot be trained"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        network n = recurrent(&list[i].change);
        md_error err = {0};
        md_trainer *trainer;
        assert_int_equal(md_trainer_create(n.bytes, n.n_bytes,
                                           &(md_trainer_options){.batch = BATCH}, &trainer,
                                           &err),
                         MD_UNSUPPORTED);
        if (strstr(err.msg, list[i].words) == NULL) {
            fail_msg("'%s' is not in: %s", list[i].words, err.msg);
        }
        release(&n);
    }
    network n = named(&(md_text_architecture){.name = "text-rnn"});
    md_error err = {0};
    md_trainer *trainer;
    md_trainer_options options = {.batch = BATCH, .bf16 = true};
    const md_status status = md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err);
    assert_int_equal(status, MD_UNSUPPORTED);
    options = (md_trainer_options){.batch = BATCH, .max_bytes = 1000};
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err), MD_LIMIT);
    assert_non_null(strstr(err.msg, "texts of 7 tokens"));
    release(&n);
}

/* What a layer works with counts too, and is refused in the same words. */
static void test_no_room_for_scratch(void **state)
{
    (void)state;
    network n = named(&(md_text_architecture){
        .name = "text-transformer", .embedding = 8, .heads = 2, .layers = 1});
    md_trainer *trainer;
    md_error err = {0};
    md_trainer_options options = {.batch = BATCH, .n_threads = 1};
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err), MD_OK);
    const size_t before = md_trainer_bytes(trainer);
    assert_int_equal(md_trainer_prepare(trainer, &err), MD_OK);
    assert_true(md_trainer_bytes(trainer) > before);
    options.max_bytes = md_trainer_bytes(trainer);
    md_trainer_destroy(trainer);
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err), MD_OK);
    assert_int_equal(md_trainer_prepare(trainer, &err), MD_OK);
    md_trainer_destroy(trainer);
    options.max_bytes = before;
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err), MD_OK);
    assert_int_equal(md_trainer_prepare(trainer, &err), MD_LIMIT);
    assert_non_null(strstr(err.msg, "texts of 7 tokens"));
    assert_non_null(strstr(err.msg, "shorter texts"));
    md_trainer_destroy(trainer);
    release(&n);
}

/* A bias of one number is a parameter as a longer one is; the numbers in GELU and beside the
 * products of the heads are none. */
static void test_one_channel(void **state)
{
    (void)state;
    static const char *const list[] = {"text-rnn", "text-transformer"};
    for (size_t i = 0; i < 2; i++) {
        network n = named(&(md_text_architecture){
            .name = list[i], .embedding = 4, .hidden = 3, .heads = 2, .attention = 1});
        md_trainer *trainer = open_network(&n, MD_BACKEND_AUTO, 1);
        const md_parameter *bias = parameter(trainer, "attention.key.bias");
        assert_true(bias->n == 1 && bias->gradient != NULL && !bias->decays);
        bias->value[0] = 0.4F; /* where tanh is no straight line, the gradient is not 0 */
        const gradients_of loss = {.trainer = trainer,
                                   .value = loss_of_texts,
                                   .n_steps = 3,
                                   .n_probes = 8,
                                   .title = list[i]};
        (void)gradients_check(&loss);
        assert_true(fabs((double)bias->gradient[0]) > 1e-6);
        for (unsigned j = 0; j < md_trainer_n_parameters(trainer); j++) {
            const char *name = md_trainer_parameter(trainer, j)->name;
            assert_true(strchr(name, '.') != NULL); /* "root2", "one", "half", "scale" */
        }
        md_trainer_destroy(trainer);
        release(&n);
    }
}

/* Two heads of 3 share values of 6 by broadcasting: what they give is wider than what a layer
 * of heads gives. */
static void test_broadcast_heads(void **state)
{
    (void)state;
    static const change none;
    static const int64_t rows_first[] = {0, 2, 1, 3}, columns_first[] = {0, 2, 3, 1};
    md_writer *w;
    network n;
    md_error err = {0};
    random_state = 11;
    assert_int_equal(md_writer_create("text", &w, &err), MD_OK);
    write_begin(w, &none);
    md_writer_integers(w, "two_heads", (const int64_t[]){0, 0, 2, 3}, 4);
    md_writer_integers(w, "one_head", (const int64_t[]){0, 0, 1, 6}, 4);
    md_writer_integers(w, "joined", (const int64_t[]){0, 0, -1}, 3);
    md_writer_integers(w, "axes", (const int64_t[]){1, 2}, 2);
    md_writer_node(w, "Unsqueeze", "mask axes", "keys");
    md_writer_node(w, "Reshape", "embedded two_heads", "split");
    md_writer_node(w, "Reshape", "embedded one_head", "whole");
    md_writer_node(w, "Transpose", "split", "q");
    md_writer_attribute_ints(w, "perm", rows_first, 4);
    md_writer_node(w, "Transpose", "split", "k");
    md_writer_attribute_ints(w, "perm", columns_first, 4);
    md_writer_node(w, "Transpose", "whole", "values");
    md_writer_attribute_ints(w, "perm", rows_first, 4);
    md_writer_node(w, "MatMul", "q k", "products");
    md_writer_node(w, "Where", "keys products lowest", "hidden");
    md_writer_node(w, "Softmax", "hidden", "shares_of_heads");
    md_writer_attribute_int(w, "axis", -1);
    md_writer_node(w, "MatMul", "shares_of_heads values", "mixed");
    md_writer_node(w, "Transpose", "mixed", "turned");
    md_writer_attribute_ints(w, "perm", rows_first, 4);
    md_writer_node(w, "Reshape", "turned joined", "y");
    write_end(w, &none, 12);
    assert_int_equal(md_writer_finish(w, &n.bytes, &n.n_bytes, &err), MD_OK);
    md_writer_destroy(w);
    md_trainer *trainer;
    const md_trainer_options options = {.batch = BATCH};
    assert_int_equal(md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err),
                     MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "node 'mixed'"));
    release(&n);
}

static void test_bad_architectures(void **state)
{
    (void)state;
    static const struct {
        md_text_architecture a;
        md_status status;
        const char *words;
    } list[] = {
        {{.name = "text-what"}, MD_NOT_FOUND, "text-what"},
        {{.name = "text-rnn", .vocabulary = 1}, MD_INVALID_ARG, "vocabulary 1"},
        {{.name = "text-rnn", .vocabulary = INT64_MAX}, MD_INVALID_ARG, "vocabulary"},
        {{.name = "text-rnn", .length = 1}, MD_INVALID_ARG, "length 1"},
        {{.name = "text-rnn", .hidden = -4}, MD_INVALID_ARG, "hidden -4"},
        {{.name = "text-rnn", .layers = 25}, MD_INVALID_ARG, "layers 25"},
        {{.name = "text-rnn", .dropout = 1.0}, MD_INVALID_ARG, "dropout 1"},
        {{.name = "text-rnn", .n_classes = -1}, MD_INVALID_ARG, "classes -1"},
        {{.name = "text-transformer", .embedding = 10}, MD_INVALID_ARG, "into 4 heads"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        md_text_architecture a = list[i].a;
        uint8_t *bytes;
        size_t n_bytes;
        md_error err = {0};
        a.vocabulary = a.vocabulary == 0 ? 9 : a.vocabulary;
        a.length = a.length == 0 ? 9 : a.length;
        a.n_classes = a.n_classes == 0 ? 2 : a.n_classes;
        assert_int_equal(md_text_architecture_write(&a, &bytes, &n_bytes, &err),
                         list[i].status);
        if (strstr(err.msg, list[i].words) == NULL) {
            fail_msg("'%s' is not in: %s", list[i].words, err.msg);
        }
    }
    assert_string_equal(md_text_architecture_name(2), "text-lstm");
    assert_null(md_text_architecture_name(4));
}

/* The nth allocation fails, for every n until none does. */
static void test_no_memory(void **state)
{
    (void)state;
    for (size_t i = 5; i < 7; i++) { /* an LSTM, a transformer */
        const char *title;
        network n = network_of_case(i, &title);
        bool done = false;
        for (size_t k = 1; !done; k++) {
            md_trainer *trainer = NULL;
            double loss;
            const float *logits;
            md_error err = {0};
            const md_trainer_options options = {
                .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .batch = BATCH};
            md_memory_fail_at(k);
            md_status status = md_trainer_create(n.bytes, n.n_bytes, &options, &trainer, &err);
            if (status == MD_OK) {
                status = md_trainer_step_tokens(trainer, texts, BATCH, LENGTH, some_targets(),
                                                NULL, 0, &loss, &logits, &err);
            }
            done = md_memory_count() < k;
            md_memory_fail_at(0);
            assert_int_equal(status, done ? MD_OK : MD_NOMEM);
            md_trainer_destroy(trainer);
            assert_true(k < 3000);
        }
        release(&n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openblas),
#ifdef MEDAID_HAVE_ONEDNN
        cmocka_unit_test(test_onednn),
        cmocka_unit_test(test_agree),
#endif
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_served),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_refused_graphs),
        cmocka_unit_test(test_no_room_for_scratch),
        cmocka_unit_test(test_one_channel),
        cmocka_unit_test(test_bad_architectures),
        cmocka_unit_test(test_broadcast_heads),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
