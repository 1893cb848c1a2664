#ifndef MEDAID_INFERENCE_TEXT_VOCABULARY_INTERNAL_H
#define MEDAID_INFERENCE_TEXT_VOCABULARY_INTERNAL_H

/* What vocabulary.c and learn.c share. */

#include "inference/text/vocabulary.h"

struct md_vocabulary {
    char *text;       /* the file, each line ended by a zero */
    uint32_t *tokens; /* [n] where each begins in text */
    size_t n;
    size_t longest;  /* bytes of the longest token */
    uint32_t *slots; /* [n_slots], open addressing: number + 1, 0 is empty */
    size_t n_slots;  /* a power of two, at least 2 n */
};

/* Equal texts have equal hashes; the same on every machine. */
uint64_t md_token_hash(const char *text, size_t n);

#endif
