#include "inference/text/text_model.h"

#include "base/file.h"
#include "inference/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct md_text_model {
    md_vocabulary *vocabulary;
    md_network *network;
    md_text_activation activation;
    unsigned max_tokens, n_labels;
    int logits, attention; /* outputs; attention -1: none */
    int64_t *input;        /* [max_tokens] */
    md_token *tokens;      /* [max_tokens] */
    md_text_word *words;   /* [max_tokens] */
    float *scores;         /* [n_labels] */
    md_tensor *outputs;
    unsigned n_outputs;
};

void md_text_model_destroy(md_text_model *m)
{
    if (m == NULL) {
        return;
    }
    md_network_destroy(m->network);
    md_vocabulary_destroy(m->vocabulary);
    md_free(m->input);
    md_free(m->tokens);
    md_free(m->words);
    md_free(m->scores);
    md_free(m->outputs);
    md_free(m);
}

unsigned md_text_model_n_labels(const md_text_model *m)
{
    return m->n_labels;
}

unsigned md_text_model_max_tokens(const md_text_model *m)
{
    return m->max_tokens;
}

const md_vocabulary *md_text_model_vocabulary(const md_text_model *m)
{
    return m->vocabulary;
}

const char *md_text_model_backend_name(const md_text_model *m)
{
    return md_network_backend_name(m->network);
}

/* ---- opening */

static md_status check_port(const md_network_port *port, md_dtype dtype, int64_t most,
                            const char *dimension, unsigned *ret_n, md_error *err)
{
    if (port->dtype != dtype || port->n_dims != 2 || port->dims[0] != 1 || port->dims[1] < 1) {
        return md_fail(err, MD_FORMAT, "%.64s is %s of %u dimensions, expected %s [1,%s]",
                       port->name, md_dtype_name(port->dtype), port->n_dims,
                       md_dtype_name(dtype), dimension);
    }
    if (port->dims[1] > most) {
        return md_fail(err, MD_LIMIT, "%.64s is [1,%lld], %s is at most %lld", port->name,
                       (long long)port->dims[1], dimension, (long long)most);
    }
    *ret_n = (unsigned)port->dims[1];
    return MD_OK;
}

static md_status check_input(md_text_model *m, const char *name, md_error *err)
{
    if (md_network_n_inputs(m->network) != 1 ||
        strcmp(md_network_input(m->network, 0)->name, name) != 0) {
        return md_fail(err, MD_FORMAT, "%u inputs, the first %.64s: expected %.64s alone",
                       md_network_n_inputs(m->network),
                       md_network_n_inputs(m->network) > 0
                           ? md_network_input(m->network, 0)->name
                           : "missing",
                       name);
    }
    return check_port(md_network_input(m->network, 0), MD_I64, MD_TEXT_MODEL_MAX_TOKENS, "T",
                      &m->max_tokens, err);
}

static md_status check_outputs(md_text_model *m, const md_text_model_options *o, md_error *err)
{
    const char *logits = o->output != NULL ? o->output : "logits";
    const char *attention = o->attention != NULL ? o->attention : "attention";
    m->n_outputs = md_network_n_outputs(m->network);
    m->logits = md_network_find_output(m->network, logits);
    m->attention = md_network_find_output(m->network, attention);
    if (m->logits < 0) {
        return md_fail(err, MD_FORMAT, "no output %.64s", logits);
    }
    MD_TRY(check_port(md_network_output(m->network, (unsigned)m->logits), MD_F32,
                      MD_TEXT_MODEL_MAX_LABELS, "K", &m->n_labels, err));
    if (m->attention < 0) {
        return o->needs_no_attention ? MD_OK
                                     : md_fail(err, MD_FORMAT, "no output %.64s", attention);
    }
    unsigned n = 0;
    MD_TRY(check_port(md_network_output(m->network, (unsigned)m->attention), MD_F32,
                      MD_TEXT_MODEL_MAX_TOKENS, "T", &n, err));
    return n == m->max_tokens
               ? MD_OK
               : md_fail(err, MD_FORMAT, "%.64s has %u values, the input %u tokens", attention,
                         n, m->max_tokens);
}

static md_status allocate(md_text_model *m, md_error *err)
{
    m->input = md_calloc(m->max_tokens, sizeof *m->input);
    m->tokens = md_calloc(m->max_tokens, sizeof *m->tokens);
    m->words = md_calloc(m->max_tokens, sizeof *m->words);
    m->scores = md_calloc(m->n_labels, sizeof *m->scores);
    m->outputs = md_calloc(m->n_outputs, sizeof *m->outputs);
    return m->input != NULL && m->tokens != NULL && m->words != NULL && m->scores != NULL &&
                   m->outputs != NULL
               ? MD_OK
               : md_fail(err, MD_NOMEM, "no memory for %u tokens", m->max_tokens);
}

static md_status load_network(md_text_model *m, const uint8_t *onnx, size_t onnx_bytes,
                              const md_text_model_options *o, md_error *err)
{
    const md_network_options options = {
        .backend = o->backend, .n_threads = o->n_threads == 0 ? 1 : o->n_threads, .batch = 1};
    MD_TRY(md_network_load(onnx, onnx_bytes, &options, &m->network, err));
    MD_TRY(check_input(m, o->input != NULL ? o->input : "tokens", err));
    MD_TRY(check_outputs(m, o, err));
    MD_TRY(allocate(m, err));
    /* Any number of the vocabulary must find its row: the last one is tried now, so that a text
     * does not have to. */
    const float *logits = NULL, *attention = NULL;
    for (unsigned i = 0; i < m->max_tokens; i++) {
        m->input[i] = (int64_t)md_vocabulary_size(m->vocabulary) - 1;
    }
    MD_TRY(md_text_model_run_tokens(m, m->input, &logits, &attention, err));
    return MD_OK;
}

md_status md_text_model_create(const uint8_t *vocabulary, size_t vocabulary_bytes,
                               const uint8_t *onnx, size_t onnx_bytes,
                               const md_text_model_options *options, md_text_model **ret_model,
                               md_error *err)
{
    static const md_text_model_options defaults = {0};
    const md_text_model_options *o = options != NULL ? options : &defaults;
    MD_AUTO(md_text_model_destroyp) md_text_model *m = md_calloc(1, sizeof *m);
    if (m == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a text model");
    }
    m->activation = o->activation;
    md_status status = md_vocabulary_parse(vocabulary, vocabulary_bytes, &m->vocabulary, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "vocabulary");
    }
    status = load_network(m, onnx, onnx_bytes, o, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "network");
    }
    *ret_model = MD_STEAL(m);
    return MD_OK;
}

static md_status read_file(const char *folder, const char *name, size_t max_bytes,
                           uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        return md_fail(err, MD_LIMIT, "the path of the model's folder is too long");
    }
    return md_file_read(path, max_bytes, ret_bytes, ret_size, err);
}

md_status md_text_model_open(const char *folder, const md_text_model_options *options,
                             md_text_model **ret_model, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *vocabulary = NULL;
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t vocabulary_bytes = 0, onnx_bytes = 0;
    MD_TRY(read_file(folder, "vocabulary.txt", MD_VOCABULARY_MAX_BYTES, &vocabulary,
                     &vocabulary_bytes, err));
    MD_TRY(read_file(folder, "model.onnx", MD_NETWORK_MAX_ONNX_BYTES, &onnx, &onnx_bytes, err));
    return md_text_model_create(vocabulary, vocabulary_bytes, onnx, onnx_bytes, options,
                                ret_model, err);
}

/* ---- running */

md_status md_text_model_run_tokens(md_text_model *m, const int64_t *tokens,
                                   const float **ret_logits, const float **ret_attention,
                                   md_error *err)
{
    const int64_t n = (int64_t)md_vocabulary_size(m->vocabulary);
    for (unsigned i = 0; i < m->max_tokens; i++) {
        if (tokens[i] < 0 || tokens[i] >= n) {
            return md_fail(err, MD_INVALID_ARG, "token %u is %lld, the vocabulary has %lld",
                           i + 1, (long long)tokens[i], (long long)n);
        }
    }
    md_tensor input = {.dtype = MD_I64, .n_dims = 2, .dims = {1, m->max_tokens}};
    input.n_elements = m->max_tokens;
    if (tokens != m->input) {
        memcpy(m->input, tokens, m->max_tokens * sizeof *tokens);
    }
    input.data = m->input;
    MD_TRY(md_network_run(m->network, &input, 1, m->outputs, m->n_outputs, err));
    *ret_logits = m->outputs[m->logits].data;
    *ret_attention = m->attention < 0 ? NULL : m->outputs[m->attention].data;
    return MD_OK;
}

static md_status make_scores(md_text_model *m, const float *logits, md_error *err)
{
    const md_target targets[] = {[MD_TEXT_SIGMOID] = MD_TARGET_SIGMOID,
                                 [MD_TEXT_SOFTMAX] = MD_TARGET_SOFTMAX,
                                 [MD_TEXT_NONE] = MD_TARGET_SCORE};
    for (unsigned k = 0; k < m->n_labels; k++) {
        double log_odds = 0.0;
        const bool all = m->activation == MD_TEXT_SOFTMAX && m->n_labels == 1;
        const md_status status = all ? MD_OK
                                     : md_log_odds(targets[m->activation], logits, m->n_labels,
                                                   &k, 1, 1.0, &log_odds, err);
        if (status != MD_OK) {
            return md_fail(err, MD_UNSUPPORTED, "the network's output %u of %u is no %s", k + 1,
                           m->n_labels,
                           m->activation == MD_TEXT_NONE ? "score in 0..1" : "number");
        }
        m->scores[k] = all ? 1.0F : (float)md_sigmoid(log_odds);
    }
    return MD_OK;
}

/* Tokens of one word follow each other. */
static md_status make_words(md_text_model *m, const md_words *words, size_t n_tokens,
                            const float *attention, size_t *ret_n, md_error *err)
{
    double sum = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        const uint32_t word = m->tokens[i].word;
        const bool follows = i > 0 && m->tokens[i - 1].word == word;
        const float share = attention != NULL ? attention[i] : 0.0F;
        if (!(share >= 0.0F) || isinf(share)) {
            return md_fail(err, MD_UNSUPPORTED, "the network's attention %zu is no share",
                           i + 1);
        }
        sum += (double)share;
        if (!follows) {
            const md_word *w = &words->words[word];
            m->words[n++] = (md_text_word){
                .begin = w->begin, .end = w->end, .negated = w->negated, .is_known = true};
        }
        m->words[n - 1].attention += share;
        const bool is_not = m->tokens[i].number == MD_VOCABULARY_NOT;
        const bool after_not = follows && m->tokens[i - 1].number == MD_VOCABULARY_NOT;
        m->words[n - 1].is_known = m->words[n - 1].is_known &&
                                   m->tokens[i].number != MD_VOCABULARY_UNKNOWN &&
                                   (!follows || is_not || after_not);
    }
    for (size_t i = 0; i < n && sum > 0.0; i++) {
        m->words[i].attention = (float)((double)m->words[i].attention / sum);
    }
    *ret_n = n;
    return MD_OK;
}

static md_status run(md_text_model *m, const md_words *words, md_text_result *ret_result,
                     md_error *err)
{
    size_t n_tokens = 0, n_words = 0;
    bool is_cut = false;
    if (words->n_words == 0) {
        return md_fail(err, MD_NOT_FOUND, "the text has no word");
    }
    md_vocabulary_encode(m->vocabulary, words, m->max_tokens, m->tokens, &n_tokens, &is_cut);
    for (unsigned i = 0; i < m->max_tokens; i++) {
        m->input[i] = i < n_tokens ? (int64_t)m->tokens[i].number : MD_VOCABULARY_PAD;
    }
    const float *logits = NULL, *attention = NULL;
    MD_TRY(md_text_model_run_tokens(m, m->input, &logits, &attention, err));
    MD_TRY(make_scores(m, logits, err));
    MD_TRY(make_words(m, words, n_tokens, attention, &n_words, err));
    *ret_result = (md_text_result){.n_labels = m->n_labels,
                                   .logits = logits,
                                   .scores = m->scores,
                                   .words = m->words,
                                   .n_words = n_words,
                                   .is_cut = is_cut};
    return MD_OK;
}

md_status md_text_model_run(md_text_model *m, const char *text, size_t n,
                            md_text_result *ret_result, md_error *err)
{
    md_words words = {0};
    /* each word is one token at least */
    MD_TRY(md_words_split(text, n, m->max_tokens, &words, err));
    const md_status status = run(m, &words, ret_result, err);
    md_words_finish(&words);
    return status;
}
