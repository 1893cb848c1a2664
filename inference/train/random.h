#ifndef MEDAID_INFERENCE_TRAIN_RANDOM_H
#define MEDAID_INFERENCE_TRAIN_RANDOM_H

/* Random numbers by counting: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011). The n-th number of a stream is a pure function of the
 * key, so that work can be shared out among threads in any way with the same result. Plain
 * data; a stream belongs to one thread at a time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is drawn for: the run, the epoch, and the picture (or step) in it. */
typedef struct md_random_key {
    uint64_t seed;
    uint32_t epoch;
    uint32_t position;
} md_random_key;

typedef struct md_random {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned n_left; /* of block */
} md_random;

/* The start of stream `stream` of a key: different streams are independent. */
void md_random_init(md_random *random, const md_random_key *key, uint32_t stream) MD_NOEXCEPT;

uint32_t md_random_bits(md_random *random) MD_NOEXCEPT;
/* 0 <= x < 1, a multiple of 2^-24. */
float md_random_uniform(md_random *random) MD_NOEXCEPT;
/* 0..n-1, each equally often, n >= 1 (Lemire 2019, with rejection). */
uint32_t md_random_below(md_random *random, uint32_t n) MD_NOEXCEPT;
/* Standard normal (Box and Muller 1958). */
float md_random_normal(md_random *random) MD_NOEXCEPT;
/* Gamma(alpha, 1) for alpha > 0 (Marsaglia and Tsang 2000), and Beta(a, b) from two of them. */
double md_random_gamma(md_random *random, double alpha) MD_NOEXCEPT;
double md_random_beta(md_random *random, double a, double b) MD_NOEXCEPT;
/* values[0..n) in random order (Fisher and Yates). */
void md_random_shuffle(md_random *random, uint32_t *values, size_t n) MD_NOEXCEPT;

/* n standard normal values at once from the next whole blocks, by polynomials that are within
 * 1e-6 of Box and Muller's functions. */
void md_random_fill_normal(md_random *random, float *values, size_t n) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
