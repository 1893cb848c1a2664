#ifndef MEDAID_INFERENCE_TRAIN_TEXTS_H
#define MEDAID_INFERENCE_TRAIN_TEXTS_H

/* A batch of texts without its padding: one row for each token.
 *
 * The rows lie text after text, or by steps: the texts are sorted by length and dealt out to
 * groups, one for each thread; within a group come the first tokens of all its texts, then the
 * second tokens of those that have one, and so on, the longer texts first. So a recurrent layer
 * finds what it multiplies at a step, and the states before, in neighbouring rows. */

#include "base/memory.h"
#include "inference/graph/pool.h"

typedef struct md_texts {
    int64_t most_texts, length, n_tokens; /* batch, T and V of the network; V 0: no texts */
    size_t n_rows;                        /* tokens of the batch */
    int32_t *ids;                         /* [n_rows] */
    int32_t *times;                       /* [n_rows]: the token's number in its text */
    uint32_t *origins;                    /* [n_rows]: where the row is in the order of texts */
    int32_t *lengths;                     /* [n] */
    size_t *begin;                        /* [n + 1]: of text i in `rows` */
    uint32_t *rows;                       /* begin[i] + time -> row */
    unsigned n_groups;
    uint32_t *order;  /* texts, group after group */
    uint32_t *first;  /* [n_groups + 1] in `order` */
    size_t *steps;    /* [n_groups][T + 2]: where the rows of a step begin */
    int32_t *n_steps; /* [n_groups]: of the longest text */
    uint32_t *scratch;
} md_texts;

/* Memory in the pool for n_groups >= 1. MD_LIMIT, MD_NOMEM. */
md_status md_texts_create(md_texts *texts, int64_t most_texts, int64_t length, int64_t n_tokens,
                          unsigned n_groups, md_pool *pool, size_t *ret_bytes, md_error *err)
    MD_NODISCARD;
/* tokens [n,length]. MD_INVALID_ARG as md_trainer_step_tokens says. */
md_status md_texts_check(const md_texts *texts, const int64_t *tokens, int64_t n,
                         int64_t length, md_error *err) MD_NODISCARD;
/* Tokens that were checked. */
void md_texts_load(md_texts *texts, const int64_t *tokens, int64_t n, int64_t length,
                   bool by_steps);

/* Of a group: where step t begins, 0 <= t <= its number of steps, and its rows. */
static inline size_t md_texts_step(const md_texts *texts, unsigned group, int64_t t)
{
    return texts->steps[group * (size_t)(texts->length + 2) + (size_t)t];
}

static inline size_t md_texts_step_rows(const md_texts *texts, unsigned group, int64_t t)
{
    return t < 0 || t >= texts->n_steps[group]
               ? 0
               : md_texts_step(texts, group, t + 1) - md_texts_step(texts, group, t);
}

#endif
