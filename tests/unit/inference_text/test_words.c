/* Texts to words: one form for many ways of writing, places in the text, what is negated, and
 * texts made to break it. */

#include "inference/text/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "form form -negated |": | where a clause ends. */
static void assert_words(const char *text, const char *expected)
{
    md_words words = {0};
    md_error err = {0};
    char said[1024] = "";
    const md_status status = md_words_split(text, strlen(text), 1000, &words, &err);
    if (status != MD_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    for (size_t i = 0; i < words.n_words; i++) {
        const size_t n = strlen(said);
        (void)snprintf(said + n, sizeof said - n, "%s%s%s%s", i == 0 ? "" : " ",
                       words.words[i].negated ? "-" : "", md_word_form(&words, i),
                       words.words[i].ends_clause ? " |" : "");
    }
    if (strcmp(said, expected) != 0) {
        fail_msg("%s\n  gives %s\n  not   %s", text, said, expected);
    }
    md_words_finish(&words);
}

static void forms(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {" .,-\n", ""},
        {"Chest PAIN", "chest pain"},
        {"\xc3\x84rztin na\xc3\xafve stra\xc3\x9f"
         "e",
         "arztin naive strasse"},
        /* the same letter composed and with a combining mark; ligature, full width */
        {"caf\xc3\xa9 cafe\xcc\x81 \xef\xac\x81lm \xef\xbc\xb3\xef\xbc\xaf\xef\xbc\xa2",
         "cafe cafe film sob"},
        {"ef\xc2\xad"
         "fu\xe2\x80\x8bsion",
         "effusion"}, /* soft hyphen, zero-width space */
        {"patient's don\xe2\x80\x99t 'quoted'", "patients dont -quoted"},
        {"r/o PNA, s/p CABG; c/o S.O.B., w/ fever", "r/o pna s/p cabg | c/o sob w fever"},
        {"pain/fever 1/2 e.g. T.B", "pain fever 1 2 eg | tb"},
        {"h/o a.fib.", "h/o a | fib |"},
        {"? fracture", "? fracture"},
        {"pneumonia? effusion", "pneumonia | ? effusion"},
        {"2.5 cm. Next", "2 5 cm | next"},
        {"\xc2\xbd tablet", "12 tablet"},
        {"\xe8\x82\xba\xe7\x82\x8e pneumonia", "\xe8\x82\xba \xe7\x82\x8e pneumonia"},
        {"\xd0\x9f\xd0\x9d\xd0\x95\xd0\x92\xd0\x9c",
         "\xd0\xbf\xd0\xbd\xd0\xb5\xd0\xb2\xd0\xbc"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_words(rows[i][0], rows[i][1]);
    }
}

static void negations(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"No effusion, pneumothorax or edema. Nodule.",
         "no -effusion -pneumothorax -or -edema | nodule |"},
        {"denies fever but has cough", "denies -fever but has cough"},
        {"w/o contrast", "w/o -contrast"},
        {"without fracture; fever", "without -fracture | fever"},
        {"negative for TB", "negative for -tb"},
        {"test negative", "test negative"},
        {"r/o pneumonia", "r/o pneumonia"},
        {"no change in nodule", "no change in nodule"},
        {"cannot exclude mass", "cannot exclude mass"},
        {"effusion is not seen", "-effusion -is not seen"},
        {"fever. pneumothorax unlikely, cough", "fever | -pneumothorax unlikely cough"},
        {"one two three four five six seven absent",
         "one two -three -four -five -six -seven absent"},
        {"no S.O.B. Fever", "no -sob | fever"},
        {"no s.o.b. or fever", "no -sob -or -fever"},
        {"no fever\ncough", "no -fever | cough"},
        {"no evidence of", "no evidence of"},
        {"no. evidence", "no | evidence"},
        {"fails to. reveal mass", "fails to | reveal mass"},
        {"no", "no"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_words(rows[i][0], rows[i][1]);
    }
}

/* What begin and end say is the word as it was written. */
static void places(void **state)
{
    (void)state;
    static const char text[] = "H/O caf\xc3\xa9, S.O.B.\xe2\x80\x94no cafe\xcc\x81!";
    static const char *const written[] = {"H/O", "caf\xc3\xa9", "S.O.B", "no", "cafe\xcc\x81"};
    md_words words = {0};
    assert_int_equal(md_words_split(text, sizeof text - 1, 100, &words, NULL), MD_OK);
    assert_int_equal(words.n_words, 5);
    for (size_t i = 0; i < 5; i++) {
        const md_word *w = &words.words[i];
        assert_int_equal(w->end - w->begin, strlen(written[i]));
        assert_memory_equal(text + w->begin, written[i], strlen(written[i]));
    }
    md_words_finish(&words);
}

static void check_sane(const char *text, size_t n, size_t max_words)
{
    md_words words = {0};
    const md_status status = md_words_split(text, n, max_words, &words, NULL);
    if (status != MD_OK) {
        assert_int_equal(status, MD_FORMAT);
        return;
    }
    assert_true(words.n_words <= max_words);
    uint32_t at = 0;
    for (size_t i = 0; i < words.n_words; i++) {
        const md_word *w = &words.words[i];
        assert_true(w->begin >= at && w->end > w->begin && w->end <= n);
        assert_true(w->form_bytes <= MD_WORD_MAX_BYTES);
        assert_int_equal(strlen(md_word_form(&words, i)), w->form_bytes);
        at = w->end;
    }
    md_words_finish(&words);
}

static void hostile(void **state)
{
    (void)state;
    md_words words = {0};
    md_error err = {0};
    assert_int_equal(md_words_split("ab\xff"
                                    "cd",
                                    5, 9, &words, &err),
                     MD_FORMAT);
    assert_string_equal(err.msg, "byte 3 of the text is not UTF-8");
    assert_int_equal(md_words_split("a\0b", 3, 9, &words, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "byte 2"));
    assert_int_equal(md_words_split("\xed\xa0\x80", 3, 9, &words, NULL), MD_FORMAT);
    assert_int_equal(md_words_split("ab\xc3", 3, 9, &words, NULL), MD_FORMAT); /* cut */
    const size_t most = MD_TEXT_MAX_BYTES;
    char *text = malloc(most + 1);
    assert_non_null(text);
    memset(text, 'x', most + 1);
    assert_int_equal(md_words_split(text, most + 1, 9, &words, NULL), MD_LIMIT);
    /* one word of a megabyte has a place and no form */
    assert_int_equal(md_words_split(text, most, 9, &words, NULL), MD_OK);
    assert_int_equal(words.n_words, 1);
    assert_int_equal(words.words[0].end, most);
    assert_string_equal(md_word_form(&words, 0), "");
    md_words_finish(&words);
    /* half a million words, of which the first are read */
    for (size_t i = 1; i < most; i += 2) {
        text[i] = ' ';
    }
    assert_int_equal(md_words_split(text, most, 100, &words, NULL), MD_OK);
    assert_int_equal(words.n_words, 100);
    assert_true(words.is_cut);
    md_words_finish(&words);
    check_sane(text, most, most);
    /* marks upon marks, and the character that becomes eighteen */
    for (size_t i = 0; i + 2 <= most; i += 2) {
        memcpy(text + i, i == 0 ? "ab" : "\xcc\x81", 2);
    }
    assert_int_equal(md_words_split(text, most, 9, &words, NULL), MD_OK);
    assert_int_equal(words.n_words, 1);
    assert_string_equal(md_word_form(&words, 0), "ab");
    assert_int_equal(words.words[0].end, most);
    md_words_finish(&words);
    for (size_t i = 0; i + 3 <= most; i += 3) {
        memcpy(text + i, "\xef\xb7\xba", 3);
    }
    check_sane(text, most / 3 * 3, 1000);
    /* points and strokes without end */
    for (size_t i = 0; i + 2 <= most; i += 2) {
        memcpy(text + i, "a.", 2);
    }
    check_sane(text, most, most);
    for (size_t i = 0; i + 4 <= most; i += 4) {
        memcpy(text + i, "r/o/", 4);
    }
    check_sane(text, most, most);
    free(text);
}

static uint64_t seed = 3;
static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

/* Bytes at random, and pieces of texts at random, cut anywhere. */
static void random_texts(void **state)
{
    (void)state;
    static const char *const pieces[] = {"no ",
                                         "not seen",
                                         ". ",
                                         "r/o ",
                                         "S.O.B.",
                                         "\xc3\xa9",
                                         "\xcc\x81",
                                         "\xe8\x82\xba",
                                         "a.b.",
                                         "'s",
                                         "/",
                                         "but ",
                                         "\n",
                                         "? ",
                                         "\xef\xb7\xba",
                                         "\xc2\xbd",
                                         "w/o ",
                                         "1.5",
                                         "x",
                                         "\xf0\x9d\x90\x80",
                                         "\xe2\x80\x99",
                                         "\xc2\xad"};
    for (int round = 0; round < 20000; round++) {
        char text[128];
        size_t n = 0;
        while (n < sizeof text - 16 && draw(12) != 0) {
            if (draw(20) == 0) {
                text[n++] = (char)draw(256);
                continue;
            }
            const char *piece = pieces[draw(sizeof pieces / sizeof *pieces)];
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        check_sane(text, n, 1 + draw(40));
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    char text[4000];
    for (size_t i = 0; i < sizeof text; i += 4) {
        memcpy(text + i, "abc ", 4);
    }
    md_status status = MD_NOMEM;
    for (size_t nth = 1; status != MD_OK && nth < 100; nth++) {
        md_words words = {0};
        md_memory_fail_at(nth);
        status = md_words_split(text, sizeof text, 5000, &words, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_words_finish(&words);
    }
    assert_int_equal(status, MD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),        cmocka_unit_test(negations),
        cmocka_unit_test(places),       cmocka_unit_test(hostile),
        cmocka_unit_test(random_texts), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
