/* Word vectors of a corpus whose structure is known, their file, and what is asked of them. */

#include "inference/text/vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* left/right x upper/lower, each pair a word of its own: "lu" = left upper and so on; what
 * stands around a word says which it is. */
enum {
    LU = MD_VOCABULARY_N_FIXED,
    LL,
    RU,
    RL,
    LEFT_1,
    LEFT_2,
    RIGHT_1,
    RIGHT_2,
    UP_1,
    UP_2,
    DOWN_1,
    DOWN_2,
    N_WORDS,
    LENGTH = 6,
    N_TEXTS = 2000
};
static const char list[] = "medaid_vocabulary 1\n<pad>\n<unknown>\n!\n"
                           "lu\nll\nru\nrl\nleft1\nleft2\nright1\nright2\nup1\nup2\ndown1\n"
                           "down2\n";

static uint64_t seed = 1;
static int draw(int n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (int)((seed >> 33) % (uint64_t)n);
}

static int32_t *corpus(void)
{
    int32_t *tokens = calloc(N_TEXTS * LENGTH, sizeof *tokens);
    assert_non_null(tokens);
    seed = 1;
    for (int i = 0; i < N_TEXTS; i++) {
        const int right = draw(2), down = draw(2);
        int32_t *t = tokens + (ptrdiff_t)i * LENGTH;
        t[2] = LU + 2 * right + down;
        t[0] = (right ? RIGHT_1 : LEFT_1) + draw(2);
        t[1] = (down ? DOWN_1 : UP_1) + draw(2);
        t[3] = (right ? RIGHT_1 : LEFT_1) + draw(2);
        t[4] = draw(2) ? (down ? DOWN_1 : UP_1) + draw(2) : MD_VOCABULARY_PAD;
    }
    return tokens;
}

static const md_vectors_options options = {
    .width = 16, .window = 2, .negatives = 5, .epochs = 15, .rate = 0.05, .seed = 9};

static void losses(void *context, unsigned epoch, double loss)
{
    double *all = context;
    all[epoch] = loss;
}

static void structure(void **state)
{
    (void)state;
    int32_t *tokens = corpus();
    float *values = NULL, *again = NULL;
    double all[15] = {0};
    md_error err = {0};
    md_vectors_options o = options;
    o.progress = losses;
    o.context = all;
    assert_int_equal(md_vectors_train(tokens, N_TEXTS, LENGTH, N_WORDS, &o, &values, &err),
                     MD_OK);
    /* six terms of log 2 before anything is learned */
    assert_true(all[0] < 4.159 && all[14] < all[0] - 0.05);
    /* the same again is the same, another seed another */
    assert_int_equal(md_vectors_train(tokens, N_TEXTS, LENGTH, N_WORDS, &options, &again, &err),
                     MD_OK);
    assert_memory_equal(values, again, N_WORDS * 16 * sizeof *values);
    md_free(again);
    o = options;
    o.seed = 10;
    assert_int_equal(md_vectors_train(tokens, N_TEXTS, LENGTH, N_WORDS, &o, &again, &err),
                     MD_OK);
    assert_memory_not_equal(values, again, N_WORDS * 16 * sizeof *values);
    md_free(again);
    for (int k = 0; k < 16; k++) {
        assert_true(values[k] == 0.0F); /* the padding */
    }
    md_vectors v = {.width = 16, .values = values};
    assert_int_equal(
        md_vocabulary_parse((const uint8_t *)list, strlen(list), &v.vocabulary, &err), MD_OK);
    /* words of one meaning are nearest each other */
    static const uint32_t pairs[][2] = {
        {LEFT_1, LEFT_2}, {RIGHT_2, RIGHT_1}, {UP_1, UP_2}, {DOWN_2, DOWN_1}};
    md_near near[3];
    size_t n = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            md_vectors_near(&v, values + pairs[i][0] * 16, &pairs[i][0], 1, 3, near, &n, &err),
            MD_OK);
        assert_int_equal(n, 3);
        assert_int_equal(near[0].number, pairs[i][1]);
        assert_true(near[0].similarity > near[1].similarity);
    }
    /* lu is to ll as ru is to rl, and three more ways round */
    static const uint32_t analogies[][4] = {
        {LU, LL, RU, RL}, {RU, RL, LU, LL}, {LU, RU, LL, RL}, {LL, RL, LU, RU}};
    for (size_t i = 0; i < 4; i++) {
        float direction[16];
        md_vectors_analogy(&v, analogies[i][0], analogies[i][1], analogies[i][2], direction);
        assert_int_equal(md_vectors_near(&v, direction, analogies[i], 3, 1, near, &n, &err),
                         MD_OK);
        assert_int_equal(near[0].number, analogies[i][3]);
    }
    md_vectors_finish(&v);
    free(tokens);
}

static void bad_options(void **state)
{
    (void)state;
    int32_t tokens[LENGTH] = {LU, LL};
    float *values = NULL;
    md_vectors_options o = options;
    tokens[1] = N_WORDS;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL),
                     MD_INVALID_ARG);
    tokens[1] = -1;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL),
                     MD_INVALID_ARG);
    tokens[1] = 0;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL),
                     MD_INVALID_ARG);
    tokens[1] = LL;
    o.width = 0;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL),
                     MD_INVALID_ARG);
    o = options;
    o.rate = (double)NAN;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, 0, &options, &values, NULL), MD_LIMIT);
    /* frequent words may all be left out */
    o = options;
    o.sample = 1e-9;
    assert_int_equal(md_vectors_train(tokens, 1, LENGTH, N_WORDS, &o, &values, NULL), MD_OK);
    md_free(values);
}

#define FILE_HEAD "4 2\n<pad> 0 0\n<unknown> 1 2\n! -1.5 2e-3\n"

static void files(void **state)
{
    (void)state;
    static const char good[] = FILE_HEAD "a 3 4\n";
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "line 1"},
        {"x", "line 1"},
        {"4 2", "line 1"},
        {"99999999 2\n", "line 1"},
        {"4 4096\n", "line 1"},
        {"100000 1000\n<pad> 0\n", "do not fit"},
        {FILE_HEAD "a 3\n      ", "line 5: expected a token and 2 numbers"},
        {FILE_HEAD "a 3 x\n    ", "line 5: expected a token and 2 numbers"},
        {FILE_HEAD "a 3 nan\n  ", "line 5: expected a token and 2 numbers"},
        {FILE_HEAD "a 3 1e99\n ", "line 5: expected a token and 2 numbers"},
        {FILE_HEAD "a 3 4 5\n  ", "line 5: more than 2 numbers"},
        {FILE_HEAD "a 3 4", "or the file is cut"},
        {FILE_HEAD "a 3 4\nb 1 2\n", "line 6: more lines"},
        {FILE_HEAD "! 3 4\n", "line 5: the token is there already"},
        {"4 2\na 0 0\nb 1 2\nc 3 4\nd 5 6\n", "expected the token <pad>"},
    };
    md_vectors v = {0};
    md_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(
            md_vectors_parse((const uint8_t *)rows[i].text, strlen(rows[i].text), &v, &err),
            MD_FORMAT);
        if (strstr(err.msg, rows[i].message) == NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
    }
    assert_int_equal(md_vectors_parse((const uint8_t *)good, sizeof good - 1, &v, &err), MD_OK);
    assert_int_equal(v.width, 2);
    assert_true(v.values[4] == -1.5F && v.values[5] == 2e-3F && v.values[7] == 4.0F);
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(md_vectors_write(v.vocabulary, v.values, v.width, out, &err), MD_OK);
    assert_int_equal(fclose(out), 0);
    md_vectors again = {0};
    assert_int_equal(md_vectors_parse((const uint8_t *)text, n, &again, &err), MD_OK);
    assert_memory_equal(v.values, again.values, 8 * sizeof *v.values);
    free(text);
    md_vectors_finish(&again);
    md_vectors_finish(&v);
    /* damaged at random: an error or vectors */
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[sizeof good];
        memcpy(bytes, good, sizeof good);
        for (int k = draw(3); k >= 0; k--) {
            bytes[draw((int)sizeof good - 1)] = (uint8_t)draw(256);
        }
        const size_t size = draw(4) == 0 ? (size_t)draw((int)sizeof good) : sizeof good - 1;
        if (md_vectors_parse(bytes, size, &v, NULL) == MD_OK) {
            md_vectors_finish(&v);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
