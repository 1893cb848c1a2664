#ifndef MEDAID_INFERENCE_TEXT_VOCABULARY_H
#define MEDAID_INFERENCE_TEXT_VOCABULARY_H

/* From words to the numbers that a network takes. The vocabulary is a text file of UTF-8 that
 * anybody can read, one token a line:
 *
 *   medaid_vocabulary 1
 *   <pad>               number 0: no token
 *   <unknown>           1: a word, or a character, that nothing stands for
 *   !                   2: the next word is negated, and its negated form is not in the list
 *   effusion            a word
 *   !effusion           the same, negated
 *   ##itis              the continuation of a word
 *
 * A word is looked up whole. One that is not there is put together from the longest piece that
 * fits, from left to right (WordPiece as Wu et al. 2016 use it); when no piece fits somewhere,
 * the word is <unknown>. A negated word is its token with `!` before it, or else the token `!`
 * and then the word.
 *
 * The file is hostile. A vocabulary is read-only once made, and then any thread may use it. */

#include "inference/text/words.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_VOCABULARY_PAD = 0,
    MD_VOCABULARY_UNKNOWN = 1,
    MD_VOCABULARY_NOT = 2,
    MD_VOCABULARY_N_FIXED = 3,
    MD_VOCABULARY_MAX_TOKENS = 1 << 17,
    MD_VOCABULARY_TOKEN_BYTES = MD_WORD_MAX_BYTES + 4,
};
#define MD_VOCABULARY_MAX_BYTES ((size_t)1 << 23)

typedef struct md_vocabulary md_vocabulary;

/* The bytes may be released afterwards. MD_FORMAT with the line: no such header, a fixed token
 * missing, an empty token, one twice, one that is not UTF-8, has a control character or a
 * blank, or is longer than MD_VOCABULARY_TOKEN_BYTES - 1; MD_LIMIT; MD_NOMEM. Caller destroys.
 */
md_status md_vocabulary_parse(const uint8_t *bytes, size_t size_bytes,
                              md_vocabulary **ret_vocabulary, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_vocabulary_destroy(md_vocabulary *vocabulary) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_vocabulary, md_vocabulary_destroy)
/* The file again, the same bytes for the same tokens. Caller frees with md_free. */
md_status md_vocabulary_write(const md_vocabulary *vocabulary, char **ret_text,
                              size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Tokens with the fixed ones. */
size_t md_vocabulary_size(const md_vocabulary *vocabulary) MD_NOEXCEPT;
/* NULL when the number is too large. Valid until destroy. */
const char *md_vocabulary_token(const md_vocabulary *vocabulary, size_t number) MD_NOEXCEPT;
/* The number of a token as the file writes it, -1 when it is not there. */
int64_t md_vocabulary_find(const md_vocabulary *vocabulary, const char *token) MD_NOEXCEPT;

typedef struct md_token {
    uint32_t number; /* in the vocabulary, never MD_VOCABULARY_PAD */
    uint32_t word;   /* of md_words that it is a part of */
} md_token;

/* The first max_tokens tokens of the words. *ret_is_cut: there are more; a word of which only a
 * part had room is still there with that part. */
void md_vocabulary_encode(const md_vocabulary *vocabulary, const md_words *words,
                          size_t max_tokens, md_token *ret_tokens, size_t *ret_n,
                          bool *ret_is_cut) MD_NOEXCEPT;

/* ---- learning one */

typedef struct md_vocabulary_options {
    unsigned min_count; /* words (and negated words) seen less often are left to the pieces */
    unsigned max_words; /* the most frequent ones; 0: MD_VOCABULARY_MAX_TOKENS / 2 */
    unsigned
        max_pieces; /* merges of byte-pair encoding over all words (Sennrich et al. 2016) */
} md_vocabulary_options;

typedef struct md_vocabulary_counts md_vocabulary_counts;

/* Counts of words, to be learned from. MD_NOMEM. Caller destroys. */
md_status md_vocabulary_counts_create(md_vocabulary_counts **ret_counts, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_vocabulary_counts_destroy(md_vocabulary_counts *counts) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_vocabulary_counts, md_vocabulary_counts_destroy)
/* MD_LIMIT for more than 2^22 different words, MD_NOMEM. */
md_status md_vocabulary_count(md_vocabulary_counts *counts, const md_words *words,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The fixed tokens, the abbreviations, words and negated words by falling count, ASCII letters,
 * digits and other characters that were seen, pieces in the order of their merges. Ties go by
 * bytes: the same counts give the same vocabulary on every machine. MD_LIMIT, MD_NOMEM. Caller
 * destroys. */
md_status md_vocabulary_learn(const md_vocabulary_counts *counts,
                              const md_vocabulary_options *options,
                              md_vocabulary **ret_vocabulary, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
