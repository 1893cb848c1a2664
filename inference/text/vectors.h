#ifndef MEDAID_INFERENCE_TEXT_VECTORS_H
#define MEDAID_INFERENCE_TEXT_VECTORS_H

/* Word vectors by skip-gram with negative sampling (Mikolov, Sutskever, Chen, Corrado and Dean,
 * "Distributed representations of words and phrases and their compositionality", NIPS 2013).
 *
 * For a token c and a token o near it, with k tokens n that are drawn:
 *
 *   maximise log s(u_o . v_c) + sum log s(-u_n . v_c)            s(x) = 1 / (1 + e^-x)  (eq. 4)
 *
 * n is drawn by count^(3/4); a token of the share f of all is kept with the probability
 * sqrt(t/f) + t/f (their released program's form of eq. 5); how near is drawn for each c from 1
 * to the window; the rate falls in a line to a ten-thousandth. v is what is kept. On one
 * thread, from counted random numbers: the same input gives the same vectors on every machine
 * with the same libm. */

#include "inference/text/vocabulary.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_VECTORS_MAX_WIDTH = 1024
};
/* The largest file of vectors. */
#define MD_VECTORS_MAX_BYTES ((size_t)1 << 30)

typedef struct md_vectors_options {
    unsigned width;     /* of a vector, 1..MD_VECTORS_MAX_WIDTH */
    unsigned window;    /* tokens on each side, 1..100 */
    unsigned negatives; /* k, 1..100 */
    unsigned epochs;    /* 1..10000 */
    double rate;        /* 0 < rate <= 1; 0.025 is usual */
    double sample;      /* t, 0: every token is kept */
    uint64_t seed;
    /* Called after each epoch with its mean loss for a pair; NULL: never. */
    void (*progress)(void *context, unsigned epoch, double loss);
    void *context;
} md_vectors_options;

/* tokens [n_texts, length], MD_VOCABULARY_PAD behind the last token of each text: windows do
 * not reach from one into another. *ret_vectors [n_words, width], row MD_VOCABULARY_PAD is 0,
 * and a token that is not there keeps its small start. MD_INVALID_ARG: an option, a token not
 * in 0..n_words-1, fewer than two tokens; MD_LIMIT, MD_NOMEM. Caller frees with md_free. */
md_status md_vectors_train(const int32_t *tokens, size_t n_texts, size_t length, size_t n_words,
                           const md_vectors_options *options, float **ret_vectors,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Vectors with the tokens they stand for. */
typedef struct md_vectors {
    md_vocabulary *vocabulary; /* owned; MD_VOCABULARY_N_FIXED tokens first */
    unsigned width;
    float *values; /* owned, [size of the vocabulary, width] */
} md_vectors;

/* A text file as word2vec writes it: "N WIDTH", then N lines of a token and its numbers, in the
 * order of the vocabulary, its fixed tokens included. MD_IO when `out` takes no more. */
md_status md_vectors_write(const md_vocabulary *vocabulary, const float *values, unsigned width,
                           FILE *out, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Read such a file; the bytes are hostile. MD_FORMAT with the line, MD_LIMIT, MD_NOMEM. Caller
 * finishes. */
md_status md_vectors_parse(const uint8_t *bytes, size_t size_bytes, md_vectors *ret_vectors,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_vectors_finish(md_vectors *vectors) MD_NOEXCEPT;

typedef struct md_near {
    uint32_t number;  /* of the vocabulary */
    float similarity; /* cosine, -1..1 */
} md_near;

/* The n tokens that are most like `direction` [width] by cosine, the most like first, of equal
 * ones the lower number; none of `without`, no fixed token and none without a length. *ret_n
 * may be fewer. MD_NOMEM. */
md_status md_vectors_near(const md_vectors *vectors, const float *direction,
                          const uint32_t *without, size_t n_without, size_t n,
                          md_near *ret_near, size_t *ret_n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* a is to b as c is to what? Its direction: b - a + c, each of length 1 (Mikolov, Yih and Zweig
 * 2013). */
void md_vectors_analogy(const md_vectors *vectors, uint32_t a, uint32_t b, uint32_t c,
                        float *ret_direction) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
