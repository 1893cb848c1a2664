/* The list of tokens: files good, bad and damaged at random, words looked up whole and by
 * pieces, and a list learned from counts. */

#include "inference/text/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "medaid_vocabulary 1\n<pad>\n<unknown>\n!\n"

static md_vocabulary *parse(const char *text)
{
    md_vocabulary *v = NULL;
    md_error err = {0};
    if (md_vocabulary_parse((const uint8_t *)text, strlen(text), &v, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return v;
}

static void encode(const md_vocabulary *v, const char *text, char *ret_said, size_t n_bytes)
{
    md_words words = {0};
    md_token tokens[64];
    size_t n = 0;
    bool is_cut = false;
    assert_int_equal(md_words_split(text, strlen(text), 64, &words, NULL), MD_OK);
    md_vocabulary_encode(v, &words, 64, tokens, &n, &is_cut);
    assert_false(is_cut);
    ret_said[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        const size_t used = strlen(ret_said);
        (void)snprintf(ret_said + used, n_bytes - used, "%s%s@%u", i == 0 ? "" : " ",
                       md_vocabulary_token(v, tokens[i].number), (unsigned)tokens[i].word);
    }
    md_words_finish(&words);
}

static void words_and_pieces(void **state)
{
    (void)state;
    md_vocabulary *v = parse(HEAD "effusion\n!effusion\nno\npneumo\n##thorax\n##it\n##is\nsob\n"
                                  "p\n##\xc3\xb8\n##x");
    static const char *const rows[][2] = {
        {"Effusion", "effusion@0"},
        {"no effusion", "no@0 !effusion@1"},
        {"no pneumothorax", "no@0 !@1 pneumo@1 ##thorax@1"},
        {"pneumoitis", "pneumo@0 ##it@0 ##is@0"},
        {"pneumob", "<unknown>@0"},
        {"p\xc3\xb8x SOB", "p@0 ##\xc3\xb8@0 ##x@0 sob@1"},
        {"not zzz", "<unknown>@0 !@1 <unknown>@1"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char said[512];
        encode(v, rows[i][0], said, sizeof said);
        assert_string_equal(said, rows[i][1]);
    }
    assert_int_equal(md_vocabulary_find(v, "sob"), 10);
    assert_int_equal(md_vocabulary_find(v, "so"), -1);
    assert_null(md_vocabulary_token(v, md_vocabulary_size(v)));
    /* no room: the first tokens, and that there are more */
    md_words words = {0};
    md_token tokens[2];
    size_t n = 0;
    bool is_cut = false;
    assert_int_equal(md_words_split("pneumoitis sob", 14, 9, &words, NULL), MD_OK);
    md_vocabulary_encode(v, &words, 2, tokens, &n, &is_cut);
    assert_int_equal(n, 2);
    assert_true(is_cut);
    md_words_finish(&words);
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(md_vocabulary_write(v, &text, &size, NULL), MD_OK);
    md_vocabulary *again = parse(text);
    assert_int_equal(md_vocabulary_size(again), md_vocabulary_size(v));
    assert_int_equal(size, strlen(text));
    md_free(text);
    md_vocabulary_destroy(again);
    md_vocabulary_destroy(v);
}

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "line 1: expected \"medaid_vocabulary 1\""},
        {"medaid_vocabulary 2\n", "line 1: expected \"medaid_vocabulary 1\""},
        {"medaid_vocabulary 1", "line 1: expected \"medaid_vocabulary 1\""},
        {"medaid_vocabulary 1\n", "the file ends before the token <pad>"},
        {"medaid_vocabulary 1\n<unknown>\n", "line 2: expected the token <pad>"},
        {"medaid_vocabulary 1\n<pad>\n<unknown>\n", "the file ends before the token !"},
        {HEAD "a\n\nb\n", "line 6: the token is empty"},
        {HEAD "a\nb\na\n", "line 7: the token is there already"},
        {HEAD "a b\n", "line 5: the token has a blank or a control character"},
        {HEAD "a\r\n", "line 5: the token has a blank or a control character"},
        {HEAD "a\xc2\x85\n", "line 5: the token has a blank or a control character"},
        {HEAD "a\xff\n", "line 5: the token is not UTF-8"},
        {HEAD "a\xc3\n", "line 5: the token is not UTF-8"},
        {HEAD "0123456789012345678901234567890123456789012345678901234567890123456789\n",
         "line 5: the token is too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_vocabulary *v = NULL;
        md_error err = {0};
        assert_int_equal(
            md_vocabulary_parse((const uint8_t *)rows[i].text, strlen(rows[i].text), &v, &err),
            MD_FORMAT);
        assert_string_equal(err.msg, rows[i].message);
    }
    static const uint8_t zero[] = HEAD "a\0b\n";
    md_vocabulary *v = NULL;
    assert_int_equal(md_vocabulary_parse(zero, sizeof zero - 1, &v, NULL), MD_FORMAT);
    uint8_t *large = calloc(1, MD_VOCABULARY_MAX_BYTES + 1);
    assert_int_equal(md_vocabulary_parse(large, MD_VOCABULARY_MAX_BYTES + 1, &v, NULL),
                     MD_LIMIT);
    /* more tokens than are allowed */
    memset(large, '\n', MD_VOCABULARY_MAX_BYTES);
    memcpy(large, HEAD, sizeof HEAD - 1);
    assert_int_equal(md_vocabulary_parse(large, 200000, &v, NULL), MD_LIMIT);
    free(large);
}

static uint64_t seed = 11;
static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

/* A file damaged at random is refused or gives tokens that encode any text. */
static void damaged_files(void **state)
{
    (void)state;
    static const char good[] =
        HEAD "effusion\n!effusion\npneumo\n##thorax\n\xc3\xa9\n##\xc3\xa9\n";
    unsigned n_read = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[sizeof good];
        size_t n = sizeof good - 1;
        memcpy(bytes, good, n);
        for (unsigned k = draw(3) + 1; k > 0; k--) {
            bytes[draw((uint32_t)n)] = (uint8_t)draw(256);
        }
        n -= draw(4) == 0 ? draw((uint32_t)n) : 0;
        md_vocabulary *v = NULL;
        if (md_vocabulary_parse(bytes, n, &v, NULL) != MD_OK) {
            continue;
        }
        n_read++;
        char said[512];
        encode(v, "no effusion, pneumothorax. caf\xc3\xa9 x", said, sizeof said);
        md_vocabulary_destroy(v);
    }
    assert_in_range(n_read, 1000, 19000);
}

static void count(md_vocabulary_counts *counts, const char *text)
{
    md_words words = {0};
    assert_int_equal(md_words_split(text, strlen(text), 10000, &words, NULL), MD_OK);
    assert_int_equal(md_vocabulary_count(counts, &words, NULL), MD_OK);
    md_words_finish(&words);
}

static void learned(void **state)
{
    (void)state;
    md_vocabulary_counts *counts = NULL;
    assert_int_equal(md_vocabulary_counts_create(&counts, NULL), MD_OK);
    for (int i = 0; i < 3; i++) {
        count(counts, "bronchitis arthritis. no effusion. chest chest");
    }
    count(counts, "gastritis caf\xc3\xa9 no chest");
    const md_vocabulary_options options = {.min_count = 3, .max_pieces = 40};
    md_vocabulary *v = NULL, *again = NULL;
    assert_int_equal(md_vocabulary_learn(counts, &options, &v, NULL), MD_OK);
    assert_true(md_vocabulary_find(v, "sob") >= MD_VOCABULARY_N_FIXED); /* never seen */
    assert_true(md_vocabulary_find(v, "r/o") >= MD_VOCABULARY_N_FIXED);
    /* frequent ones whole, in the order of their counts; a negated one counts by itself */
    const int64_t chest = md_vocabulary_find(v, "chest"), no = md_vocabulary_find(v, "no");
    assert_true(chest > 0 && no > chest && md_vocabulary_find(v, "!effusion") > no);
    assert_int_equal(md_vocabulary_find(v, "!chest"), -1);
    assert_int_equal(md_vocabulary_find(v, "gastritis"), -1);
    /* what the rare word shares with others is a piece of it */
    assert_true(md_vocabulary_find(v, "##itis") >= 0 || md_vocabulary_find(v, "##ritis") >= 0);
    char said[256];
    encode(v, "gastritis", said, sizeof said);
    assert_null(strstr(said, "<unknown>"));
    encode(v, "xylophone 42", said, sizeof said); /* by letters at least */
    assert_null(strstr(said, "<unknown>"));
    encode(v, "\xe8\x82\xba", said, sizeof said);
    assert_string_equal(said, "<unknown>@0");
    /* the same again gives the same bytes */
    assert_int_equal(md_vocabulary_learn(counts, &options, &again, NULL), MD_OK);
    char *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    assert_int_equal(md_vocabulary_write(v, &a, &n_a, NULL), MD_OK);
    assert_int_equal(md_vocabulary_write(again, &b, &n_b, NULL), MD_OK);
    assert_string_equal(a, b);
    md_free(a);
    md_free(b);
    md_vocabulary_destroy(v);
    md_vocabulary_destroy(again);
    /* nothing at all is still a vocabulary; too many pieces are refused */
    md_vocabulary_counts *none = NULL;
    assert_int_equal(md_vocabulary_counts_create(&none, NULL), MD_OK);
    assert_int_equal(md_vocabulary_learn(none, &options, &v, NULL), MD_OK);
    md_vocabulary_destroy(v);
    const md_vocabulary_options many = {.max_pieces = 1u << 20};
    assert_int_equal(md_vocabulary_learn(none, &many, &v, NULL), MD_LIMIT);
    md_vocabulary_counts_destroy(none);
    md_vocabulary_counts_destroy(counts);
}

static void out_of_memory(void **state)
{
    (void)state;
    static const char good[] = HEAD "a\nb\n";
    md_status status = MD_NOMEM;
    for (size_t nth = 1; status != MD_OK && nth < 20; nth++) {
        md_vocabulary *v = NULL;
        md_memory_fail_at(nth);
        status = md_vocabulary_parse((const uint8_t *)good, sizeof good - 1, &v, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_vocabulary_destroy(v);
    }
    assert_int_equal(status, MD_OK);
    md_vocabulary_counts *counts = NULL;
    assert_int_equal(md_vocabulary_counts_create(&counts, NULL), MD_OK);
    count(counts, "one two three");
    status = MD_NOMEM;
    for (size_t nth = 1; status != MD_OK && nth < 1000; nth++) {
        md_vocabulary *v = NULL;
        const md_vocabulary_options options = {.min_count = 1, .max_pieces = 3};
        md_memory_fail_at(nth);
        status = md_vocabulary_learn(counts, &options, &v, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_vocabulary_destroy(v);
    }
    assert_int_equal(status, MD_OK);
    md_vocabulary_counts_destroy(counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_pieces), cmocka_unit_test(bad_files),
        cmocka_unit_test(damaged_files),    cmocka_unit_test(learned),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
