#ifndef MEDAID_INFERENCE_TRAIN_TEXT_ARCHITECTURE_H
#define MEDAID_INFERENCE_TRAIN_TEXT_ARCHITECTURE_H

/* Networks that read texts, by name, as ONNX bytes (opset 17) with seeded initial weights.
 *
 * Input `tokens` int64 [N,T]: ids of the vocabulary, 0 for the padding behind the text. Outputs
 * `logits` [N,K] and `attention` [N,T]: the share of each token in what the logits are made of;
 * it adds up to 1 over a text's tokens, and is 0 in the padding and in an empty text, whose
 * logits are the biases. Padding changes neither. md_trainer trains these networks, and
 * md_network and other runtimes serve them.
 *
 *   text-rnn, text-gru, text-lstm   embedding, recurrent layers in one or two directions (Elman
 *                                   1990; Cho et al. 2014; Hochreiter and Schmidhuber 1997)
 *   text-transformer                embedding and learned positions, blocks of self-attention
 *                                   and feed-forward layers with normalisation before each
 *                                   (Vaswani et al. 2017; Xiong et al. 2020), normalisation
 *
 * and then for all: attention pooling a = softmax(v . tanh(A h + b)), sum a h (Yang et al.
 * 2016, eq. 5 to 7), dropout, one fully connected layer. The same description gives the same
 * bytes on every machine. Any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_TEXT_MAX_TOKENS = 1 << 20, /* of the vocabulary */
    MD_TEXT_MAX_LENGTH = 4096,
    MD_TEXT_MAX_WIDTH = 4096, /* of an embedding, a hidden layer, the pooling */
    MD_TEXT_MAX_LAYERS = 24,
};

typedef struct md_text_architecture {
    const char *name;   /* of md_text_architecture_name */
    int64_t vocabulary; /* V: ids are 0..V-1; 2..MD_TEXT_MAX_TOKENS */
    int64_t length;     /* T, 2..MD_TEXT_MAX_LENGTH */
    int64_t n_classes;  /* K >= 1 */
    int64_t embedding;  /* width of a token's vector; 0: 128. text-transformer: of everything */
    int64_t hidden;     /* units of a direction, 0: 128; text-transformer: of the feed-forward
                           layer, 0: four times the embedding */
    int64_t layers;     /* 0: 1, of text-transformer 2 */
    int64_t heads;      /* text-transformer, a divisor of embedding; 0: 4 */
    int64_t attention;  /* width of the pooling's tanh; 0: 64 */
    bool bidirectional; /* all but text-transformer */
    bool relu;          /* text-transformer: ReLU in place of GELU */
    double dropout;     /* 0 <= rate < 1: of embeddings, behind each layer, before the logits */
    /* [V,embedding]: vectors to begin with, for instance from skip-gram; borrowed for the call;
     * NULL: drawn. Row 0 is written as 0 whatever it holds. */
    const float *embeddings;
    uint64_t seed;
} md_text_architecture;

/* The names, NULL beyond the last. */
const char *md_text_architecture_name(unsigned index) MD_NOEXCEPT;

/* Write the network. Parameters are called embedding.weight, position.weight, rnnN.W, .R and
 * .B, blockN...., attention...., logits.weight and .bias. MD_INVALID_ARG names what is out of
 * range; MD_NOT_FOUND for a name that is none; MD_LIMIT. Caller frees *ret_onnx with md_free.
 */
md_status md_text_architecture_write(const md_text_architecture *architecture,
                                     uint8_t **ret_onnx, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
