#ifndef MEDAID_INFERENCE_TEXT_WORDS_H
#define MEDAID_INFERENCE_TEXT_WORDS_H

/* A text cut into words as a language model sees them, each with its place in the text.
 *
 * A word is a run of letters and digits, brought to one form: compatibility decomposition
 * (Unicode NFKD), case folding, combining marks and default-ignorable characters left out (UAX
 * #15 and #21, by utf8proc). A Chinese or Japanese ideograph is a word by itself. What medicine
 * writes with a stroke stays whole (r/o, s/p, c/o, h/o, w/o, f/u, y/o, n/v, ...), and so does a
 * chain of single letters with points (S.O.B. is sob). A question mark is a word, since orders
 * say "? fracture". All else separates.
 *
 * Negation: docs/text.md has the rules and what they are from (NegEx, Chapman et al. 2001). A
 * word inside the scope of a negation has `negated` set; the word that negates has not.
 *
 * The text is hostile. Pure functions; any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_WORD_MAX_BYTES = 64, /* of a form; a longer run of letters is one word without a form */
};
/* The longest text, in bytes. */
#define MD_TEXT_MAX_BYTES ((size_t)1 << 20)

typedef struct md_word {
    uint32_t begin, end; /* bytes of the text as it was given */
    uint32_t form;       /* where its form begins in md_words.forms, UTF-8, ended by a zero; ""
                            when the word is longer than MD_WORD_MAX_BYTES */
    uint16_t form_bytes; /* without the zero */
    bool negated;
    bool ends_clause; /* a mark that ends a scope stands between this word and the next */
} md_word;

typedef struct md_words {
    md_word *words; /* owned */
    size_t n_words;
    char *forms; /* owned */
    size_t forms_bytes;
    bool is_cut; /* there are more than max_words, which were not looked at */
} md_words;

/* Cut the n bytes of UTF-8 at `text` (no zero needed) into at most max_words words, and mark
 * what is negated. No word at all is no error. MD_LIMIT above MD_TEXT_MAX_BYTES; MD_FORMAT with
 * the byte's number when the text is not UTF-8 (RFC 3629) or holds a zero byte; MD_NOMEM.
 * Caller finishes. */
md_status md_words_split(const char *text, size_t n, size_t max_words, md_words *ret_words,
                         md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine. */
void md_words_finish(md_words *words) MD_NOEXCEPT;

static inline const char *md_word_form(const md_words *words, size_t index)
{
    return words->forms + words->words[index].form;
}

/* Mark what is negated; md_words_split has done it. */
void md_words_negate(md_words *words) MD_NOEXCEPT;

/* Forms that a vocabulary always has, since they are written often and say much (sob, copd,
 * r/o, ...); NULL beyond the last. */
const char *md_abbreviation(size_t index) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
