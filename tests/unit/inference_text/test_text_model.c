/* A network that can be computed by hand reads texts, with its attention on the right words;
 * and networks and texts that are wrong. */

#include "inference/text/text_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/onnx_builder.h"

enum {
    T = 6,
    V = 9
};

static const char vocabulary[] = "medaid_vocabulary 1\n<pad>\n<unknown>\n!\n"
                                 "fever\n!fever\nno\npneumo\n##nia\nand\n";

/* How much each token asks for attention, and what it says of the two labels. */
static const float asks[V] = {-1e9F, 0, 0, 1, 1, 0, 2, 2, -1};
static const float says[V][2] = {{9, 9},  {0, 0}, {0, 1}, {4, 0}, {-4, 0},
                                 {-1, 0}, {0, 2}, {0, 4}, {0, 0}};

typedef struct make {
    int64_t rows, t; /* of the tables; of the input */
    int input_type;  /* 7: int64 */
    bool no_attention, nan, long_attention, negative;
} make;

/* The builder cuts names in place. */
#define name(text) ((char[]){text})

static uint8_t *network(const make *m, size_t *ret_n)
{
    static builder b; /* large */
    memset(&b, 0, sizeof b);
    builder_init(&b, 13);
    builder_port(&b, false, "tokens", m->input_type, 2, (int64_t[]){1, m->t});
    builder_port(&b, true, "logits", 1, 2, (int64_t[]){1, 2});
    if (!m->no_attention) {
        builder_port(&b, true, "attention", 1, 2,
                     (int64_t[]){1, m->long_attention ? 2 * m->t : m->t});
    }
    float says_now[V][2];
    memcpy(says_now, says, sizeof says);
    if (m->nan) {
        says_now[3][0] = NAN;
    }
    builder_tensor(&b, "asks", 1, 2, (int64_t[]){m->rows, 1}, asks,
                   (size_t)m->rows * sizeof *asks);
    builder_tensor(&b, "says", 1, 2, (int64_t[]){m->rows, 2}, says_now,
                   (size_t)m->rows * sizeof *says);
    builder_tensor(&b, "flat", 7, 1, (int64_t[]){2}, (int64_t[]){1, -1}, 16);
    builder_tensor(&b, "row", 7, 1, (int64_t[]){3}, (int64_t[]){1, 1, -1}, 24);
    const float minus = -1.0F;
    builder_tensor(&b, "minus", 1, 0, NULL, &minus, sizeof minus);
    /* what is named inside a block lives as long as the builder */
    char cast_from[] = "tokens", cast_to[] = "ids", attention[] = "attention";
    char twice[] = "shares shares", once[] = "shares", negative[] = "shares minus";
    char *const ids = m->input_type == 7 ? name("tokens") : name("ids");
    if (m->input_type != 7) {
        builder_int(&b, builder_node(&b, "c", "Cast", cast_from, cast_to), "to", 7);
    }
    static char from_asks[32], from_says[32];
    (void)snprintf(from_asks, sizeof from_asks, "asks %s", ids);
    (void)snprintf(from_says, sizeof from_says, "says %s", ids);
    builder_node(&b, "g1", "Gather", from_asks, name("asked"));
    builder_node(&b, "g2", "Gather", from_says, name("said"));
    builder_node(&b, "r1", "Reshape", name("asked flat"), name("scores"));
    builder_int(&b, builder_node(&b, "s", "Softmax", name("scores"), name("shares")), "axis",
                -1);
    builder_node(&b, "r2", "Reshape", name("shares row"), name("weights"));
    builder_node(&b, "m", "MatMul", name("weights said"), name("pooled"));
    builder_node(&b, "r3", "Reshape", name("pooled flat"), name("logits"));
    if (m->long_attention) {
        builder_int(&b, builder_node(&b, "a", "Concat", twice, attention), "axis", 1);
    } else if (m->negative) {
        builder_node(&b, "a", "Mul", negative, attention);
    } else if (!m->no_attention) {
        builder_node(&b, "a", "Identity", once, attention);
    }
    return builder_pack(&b, ret_n);
}

static md_status open_with(const make *m, const char *words, const md_text_model_options *o,
                           md_text_model **ret_model, md_error *err)
{
    size_t n = 0;
    uint8_t *onnx = network(m, &n);
    const md_status status =
        md_text_model_create((const uint8_t *)words, strlen(words), onnx, n, o, ret_model, err);
    free(onnx);
    return status;
}

static const make good = {.rows = V, .t = T, .input_type = 7};

static void close_to(float value, double expected)
{
    if (!(fabs((double)value - expected) < 1e-5)) {
        fail_msg("%g is not %g", (double)value, expected);
    }
}

static void reads(void **state)
{
    (void)state;
    md_text_model *m = NULL;
    md_error err = {0};
    const md_text_model_options options = {.backend = MD_BACKEND_OPENBLAS};
    if (open_with(&good, vocabulary, &options, &m, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_text_model_n_labels(m), 2);
    assert_int_equal(md_text_model_max_tokens(m), T);
    assert_int_equal(md_vocabulary_size(md_text_model_vocabulary(m)), V);
    assert_string_equal(md_text_model_backend_name(m), "openblas");
    static const char text[] = "  No FEVER, but Pneumonia";
    md_text_result r = {0};
    /* no(5) !fever(4) but(unknown, and no more negation) pneumo(6) ##nia(7) */
    const int tokens[] = {5, 4, 1, 6, 7};
    double sum = 0, z[2] = {0, 0};
    for (int i = 0; i < 5; i++) {
        sum += exp((double)asks[tokens[i]]);
    }
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 2; k++) {
            z[k] += exp((double)asks[tokens[i]]) / sum * (double)says[tokens[i]][k];
        }
    }
    assert_int_equal(md_text_model_run(m, text, sizeof text - 1, &r, &err), MD_OK);
    assert_int_equal(r.n_labels, 2);
    assert_false(r.is_cut);
    for (int k = 0; k < 2; k++) {
        close_to(r.logits[k], z[k]);
        close_to(r.scores[k], 1 / (1 + exp(-z[k])));
    }
    assert_int_equal(r.n_words, 4);
    static const struct {
        const char *written;
        bool negated, known;
    } words[] = {{"No", false, true},
                 {"FEVER", true, true},
                 {"but", false, false},
                 {"Pneumonia", false, false}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r.words[i].end - r.words[i].begin, strlen(words[i].written));
        assert_memory_equal(text + r.words[i].begin, words[i].written,
                            strlen(words[i].written));
        assert_int_equal(r.words[i].negated, words[i].negated);
        assert_int_equal(r.words[i].is_known, words[i].known);
    }
    close_to(r.words[0].attention, 1 / sum);
    close_to(r.words[1].attention, exp(1) / sum);
    close_to(r.words[3].attention, 2 * exp(2) / sum); /* both pieces */
    /* longer than the network reads */
    static const char longer[] = "fever fever fever fever fever fever pneumonia";
    assert_int_equal(md_text_model_run(m, longer, sizeof longer - 1, &r, &err), MD_OK);
    assert_true(r.is_cut);
    assert_int_equal(r.n_words, T);
    close_to(r.logits[0], 4);
    md_text_model_destroy(m);
}

static void activations(void **state)
{
    (void)state;
    md_text_model *m = NULL;
    md_text_result r = {0};
    md_error err = {0};
    md_text_model_options o = {.activation = MD_TEXT_SOFTMAX};
    assert_int_equal(open_with(&good, vocabulary, &o, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_OK);
    close_to(r.scores[0], 1 / (1 + exp(-4)));
    close_to(r.scores[1], 1 / (1 + exp(4)));
    md_text_model_destroy(m);
    o.activation = MD_TEXT_NONE;
    assert_int_equal(open_with(&good, vocabulary, &o, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "and", 3, &r, &err), MD_OK);
    close_to(r.scores[0], 0);
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_UNSUPPORTED); /* 4 */
    md_text_model_destroy(m);
}

static void bad_texts(void **state)
{
    (void)state;
    md_text_model *m = NULL;
    md_text_result r = {0};
    md_error err = {0};
    assert_int_equal(open_with(&good, vocabulary, NULL, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "", 0, &r, &err), MD_NOT_FOUND);
    assert_int_equal(md_text_model_run(m, " -- ", 4, &r, &err), MD_NOT_FOUND);
    assert_string_equal(err.msg, "the text has no word");
    assert_int_equal(md_text_model_run(m, "fe\xffver", 6, &r, &err), MD_FORMAT);
    assert_int_equal(md_text_model_run(m, "fe\0ver", 6, &r, &err), MD_FORMAT);
    char *large = malloc(MD_TEXT_MAX_BYTES + 1);
    memset(large, 'q', MD_TEXT_MAX_BYTES + 1);
    assert_int_equal(md_text_model_run(m, large, MD_TEXT_MAX_BYTES + 1, &r, &err), MD_LIMIT);
    assert_int_equal(md_text_model_run(m, large, MD_TEXT_MAX_BYTES, &r, &err), MD_OK);
    assert_int_equal(r.n_words, 1);
    assert_false(r.words[0].is_known);
    free(large);
    /* after all that it still reads */
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_OK);
    close_to(r.logits[0], 4);
    const int64_t beyond[T] = {0, V}, below[T] = {-1};
    const float *logits = NULL, *attention = NULL;
    assert_int_equal(md_text_model_run_tokens(m, beyond, &logits, &attention, &err),
                     MD_INVALID_ARG);
    assert_int_equal(md_text_model_run_tokens(m, below, &logits, &attention, &err),
                     MD_INVALID_ARG);
    md_text_model_destroy(m);
}

static void bad_networks(void **state)
{
    (void)state;
    static const struct {
        make make;
        md_status status;
        const char *message;
    } rows[] = {
        {{.rows = V, .t = T, .input_type = 1}, MD_FORMAT, "tokens is float32"},
        {{.rows = V - 1, .t = T, .input_type = 7}, MD_FORMAT, "not in"},
        {{.rows = V, .t = T, .input_type = 7, .no_attention = true},
         MD_FORMAT,
         "no output attention"},
        {{.rows = V, .t = T, .input_type = 7, .long_attention = true},
         MD_FORMAT,
         "attention has 12 values"},
        {{.rows = V, .t = MD_TEXT_MODEL_MAX_TOKENS + 1, .input_type = 7},
         MD_LIMIT,
         "T is at most"},
    };
    md_text_model *m = NULL;
    md_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(open_with(&rows[i].make, vocabulary, NULL, &m, &err), rows[i].status);
        if (strstr(err.msg, rows[i].message) == NULL || strncmp(err.msg, "network: ", 9) != 0) {
            fail_msg("%s", err.msg);
        }
    }
    assert_int_equal(open_with(&good, "medaid", NULL, &m, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "vocabulary: line 1"));
    const md_text_model_options other = {.output = "scores?"};
    assert_int_equal(open_with(&good, vocabulary, &other, &m, &err), MD_FORMAT);
    const uint8_t none[] = {1, 2, 3};
    assert_int_not_equal(md_text_model_create((const uint8_t *)vocabulary, strlen(vocabulary),
                                              none, sizeof none, NULL, &m, &err),
                         MD_OK);
    /* without attention when that is allowed */
    const md_text_model_options bare = {.needs_no_attention = true};
    md_text_result r = {0};
    assert_int_equal(open_with(&rows[2].make, vocabulary, &bare, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_OK);
    assert_true(r.words[0].attention == 0.0F);
    md_text_model_destroy(m);
    /* outputs that are no numbers, or no shares */
    const make nan = {.rows = V, .t = T, .input_type = 7, .nan = true};
    assert_int_equal(open_with(&nan, vocabulary, NULL, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_UNSUPPORTED);
    md_text_model_destroy(m);
    const make negative = {.rows = V, .t = T, .input_type = 7, .negative = true};
    assert_int_equal(open_with(&negative, vocabulary, NULL, &m, &err), MD_OK);
    assert_int_equal(md_text_model_run(m, "fever", 5, &r, &err), MD_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "attention"));
    md_text_model_destroy(m);
    assert_int_equal(md_text_model_open("/nonexistent", NULL, &m, &err), MD_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(activations),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(bad_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
