#ifndef MEDAID_INFERENCE_TEXT_TEXT_MODEL_H
#define MEDAID_INFERENCE_TEXT_TEXT_MODEL_H

/* A network that reads text: a vocabulary (vocabulary.h) and an ONNX file with
 *
 *   tokens    int64 [1,T] or [N,T], T fixed, 0: no token   the only input
 *   logits    float [1,K]                                   before sigmoid or softmax
 *   attention float [1,T]                                   how much each token counted
 *
 * and from UTF-8 the scores, and for each word of the text its place and its share of the
 * attention, so that it can be shown. Attention says where the network looked, not why it
 * decided so (Jain and Wallace 2019; docs/text.md).
 *
 * Both files are hostile until they are open; the text always is. A model belongs to one thread
 * at a time. */

#include "inference/network.h"
#include "inference/text/vocabulary.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_TEXT_MODEL_MAX_LABELS = 64,
    MD_TEXT_MODEL_MAX_TOKENS = 4096, /* T */
};

typedef enum md_text_activation {
    MD_TEXT_SIGMOID, /* labels by themselves */
    MD_TEXT_SOFTMAX, /* exactly one of them */
    MD_TEXT_NONE,    /* logits are scores already */
} md_text_activation;

typedef struct md_text_model_options {
    md_text_activation activation;
    md_backend backend;
    unsigned n_threads; /* 0: 1, which is fastest for networks of this size */
    const char *input;  /* names of the tensors; NULL: tokens, logits, attention */
    const char *output; /* */
    const char *attention;
    bool needs_no_attention; /* a network without that output opens too, and then all words have
                                the attention 0 */
} md_text_model_options;

typedef struct md_text_model md_text_model;

/* From the bytes of the two files, which may be released afterwards. options NULL: defaults.
 * What md_vocabulary_parse and md_network_load say, with "vocabulary:" or "network:" before it;
 * MD_FORMAT when the network's input or outputs are not those above (named, with what they
 * are); MD_LIMIT beyond the limits above. Caller destroys. */
md_status md_text_model_create(const uint8_t *vocabulary, size_t vocabulary_bytes,
                               const uint8_t *onnx, size_t onnx_bytes,
                               const md_text_model_options *options, md_text_model **ret_model,
                               md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same from the files vocabulary.txt and model.onnx of a folder. MD_NOT_FOUND, MD_IO. */
md_status md_text_model_open(const char *folder, const md_text_model_options *options,
                             md_text_model **ret_model, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_text_model_destroy(md_text_model *model) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_text_model, md_text_model_destroy)

unsigned md_text_model_n_labels(const md_text_model *model) MD_NOEXCEPT;
/* T: what is beyond so many tokens the network does not read. */
unsigned md_text_model_max_tokens(const md_text_model *model) MD_NOEXCEPT;
const md_vocabulary *md_text_model_vocabulary(const md_text_model *model) MD_NOEXCEPT;
/* "onednn" or "openblas". */
const char *md_text_model_backend_name(const md_text_model *model) MD_NOEXCEPT;

/* A word that the network read. */
typedef struct md_text_word {
    uint32_t begin, end; /* bytes of the text as it was given; rising, never overlapping */
    float attention;     /* sum over its tokens, >= 0; of all words of the text together 1 */
    bool negated;        /* in the scope of a negation: "no effusion" */
    bool is_known;       /* whole in the vocabulary, not put together from pieces */
} md_text_word;

/* Borrowed from the model until its next run or destroy. */
typedef struct md_text_result {
    unsigned n_labels;
    const float *logits; /* [n_labels], finite */
    const float *scores; /* [n_labels], 0..1 by the activation */
    const md_text_word *words;
    size_t n_words;
    bool is_cut; /* the text goes on behind the last of `words`, unread */
} md_text_result;

/* Run on n bytes of UTF-8 (no zero needed). MD_NOT_FOUND when the text has no word: there is
 * nothing to judge; MD_FORMAT (not UTF-8, a zero byte) and MD_LIMIT (longer than
 * MD_TEXT_MAX_BYTES) as md_words_split; MD_UNSUPPORTED when an output of the network is no
 * number, or a score of MD_TEXT_NONE is not in 0..1; MD_NOMEM. No message quotes the text. */
md_status md_text_model_run(md_text_model *model, const char *text, size_t n,
                            md_text_result *ret_result, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The network alone on tokens [T] as they enter it, for self-tests: logits [n_labels] and, when
 * the network has it, attention [T], borrowed as above. MD_INVALID_ARG for a token that is not
 * in the vocabulary. */
md_status md_text_model_run_tokens(md_text_model *model, const int64_t *tokens,
                                   const float **ret_logits, const float **ret_attention,
                                   md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
