/* Texts as tokens: a vocabulary from the training part, and every text encoded with it. */

#include "base/file.h"
#include "inference/text/vectors.h"
#include "plugins/train/dataset_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_WORDS = 1 << 16 /* of a text, that are counted for the vocabulary */
};

static md_status count_words(md_training_set *set, md_vocabulary_counts *counts, md_error *err)
{
    for (size_t i = 0; i < set->n_films; i++) {
        md_words words = {0};
        const md_film *film = &set->films[i];
        if (film->part != MD_PART_TRAIN) {
            continue;
        }
        md_status status =
            md_words_split(film->text, strlen(film->text), MAX_WORDS, &words, err);
        if (status == MD_OK) {
            status = md_vocabulary_count(counts, &words, err);
        } else if (status == MD_FORMAT) {
            status = MD_OK; /* it is listed when it is encoded */
        }
        md_words_finish(&words);
        MD_TRY(status);
    }
    return MD_OK;
}

static md_status make_vocabulary(md_training_set *set, md_error *err)
{
    const md_recipe_text *t = &set->recipe->text;
    if (t->vocabulary[0] != '\0') {
        char path[MD_RECIPE_PATH_BYTES];
        MD_AUTO(md_freep) uint8_t *bytes = NULL;
        size_t n_bytes = 0;
        MD_TRY(md_recipe_path(set->recipe, t->vocabulary, path, err));
        MD_TRY(md_file_read(path, MD_VOCABULARY_MAX_BYTES, &bytes, &n_bytes, err));
        const md_status status = md_vocabulary_parse(bytes, n_bytes, &set->vocabulary, err);
        return status == MD_OK ? MD_OK : md_error_prefix(err, status, "%.100s", t->vocabulary);
    }
    const md_vocabulary_options options = {
        .min_count = t->min_count, .max_words = t->max_words, .max_pieces = t->pieces};
    MD_AUTO(md_vocabulary_counts_destroyp) md_vocabulary_counts *counts = NULL;
    MD_TRY(md_vocabulary_counts_create(&counts, err));
    MD_TRY(count_words(set, counts, err));
    return md_vocabulary_learn(counts, &options, &set->vocabulary, err);
}

/* Tokens of one text [text.tokens], 0 behind the last. MD_NOT_FOUND without a word. */
static md_status encode(const md_training_set *set, const char *text, md_token *scratch,
                        int32_t *ret_tokens, md_error *err)
{
    const unsigned length = set->recipe->text.tokens;
    md_words words = {0};
    size_t n = 0;
    bool is_cut = false;
    MD_TRY(md_words_split(text, strlen(text), length, &words, err));
    md_vocabulary_encode(set->vocabulary, &words, length, scratch, &n, &is_cut);
    md_words_finish(&words);
    for (size_t i = 0; i < length; i++) {
        ret_tokens[i] = i < n ? (int32_t)scratch[i].number : MD_VOCABULARY_PAD;
    }
    return n > 0 ? MD_OK : md_fail(err, MD_NOT_FOUND, "the text has no word");
}

static md_status note_unreadable(md_training_set *set, const md_film *film, size_t index,
                                 const md_error *reason, md_error *err)
{
    md_unreadable *u = &set->unreadable[set->n_unreadable++];
    u->film = index;
    u->path = md_strdup(film->name);
    memcpy(u->message, reason->msg, sizeof u->message);
    return u->path != NULL ? MD_OK
                           : md_fail(err, MD_NOMEM, "no memory for a list of unreadable texts");
}

/* Encode all and move them together. */
static md_status encode_all(md_training_set *set, md_token *scratch, md_error *err)
{
    const unsigned length = set->recipe->text.tokens;
    const size_t n_files = set->n_films;
    size_t to = 0;
    for (size_t i = 0; i < n_files; i++) {
        md_film *film = &set->films[i];
        int32_t *tokens = set->tokens + to * length;
        md_error reason = {0};
        const md_status status = encode(set, film->text, scratch, tokens, &reason);
        if (status == MD_NOMEM) {
            return md_fail(err, MD_NOMEM, "no memory for a text");
        }
        md_free(MD_STEAL(film->text));
        if (status != MD_OK) {
            MD_TRY(note_unreadable(set, film, i, &reason, err));
            md_set_film_finish(film);
            continue;
        }
        md_sha256(tokens, length * sizeof *tokens, film->hash);
        if (to != i) {
            set->films[to] = *film;
            *film = (md_film){0};
            memcpy(md_set_labels(set, to), md_set_labels(set, i),
                   set->n_classes * sizeof *set->labels);
        }
        to++;
    }
    set->n_films = to;
    return MD_OK;
}

md_status md_text_set_fill(md_training_set *set, md_error *err)
{
    const unsigned length = set->recipe->text.tokens;
    const size_t n_files = set->n_films;
    const size_t most = (size_t)(set->recipe->data.max_unreadable * (double)n_files);
    size_t n_tokens = 0;
    MD_TRY(make_vocabulary(set, err));
    MD_AUTO(md_freep) md_token *scratch = md_calloc(length, sizeof *scratch);
    set->unreadable = md_calloc(n_files, sizeof *set->unreadable);
    set->tokens =
        md_mul(n_files, length, &n_tokens) ? md_calloc(n_tokens, sizeof *set->tokens) : NULL;
    if (scratch == NULL || set->unreadable == NULL || set->tokens == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu texts of %u tokens", n_files, length);
    }
    set->n_files = n_files;
    MD_TRY(encode_all(set, scratch, err));
    if (set->n_unreadable > most) {
        return md_fail(err, MD_FORMAT,
                       "%zu of %zu texts cannot be read, at most %zu may "
                       "(data.max_unreadable); %s: %s",
                       set->n_unreadable, n_files, most, set->unreadable[0].path,
                       set->unreadable[0].message);
    }
    return MD_OK;
}

md_status md_text_set_vectors(const md_training_set *set, float **ret_values,
                              unsigned *ret_width, md_error *err)
{
    const char *name = set->recipe->text.vectors;
    char path[MD_RECIPE_PATH_BYTES];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n_bytes = 0, n_found = 0;
    MD_AUTO(md_vectors_finish) md_vectors vectors = {0};
    MD_TRY(md_recipe_path(set->recipe, name, path, err));
    MD_TRY(md_file_read(path, MD_VECTORS_MAX_BYTES, &bytes, &n_bytes, err));
    const md_status status = md_vectors_parse(bytes, n_bytes, &vectors, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%.100s", name);
    }
    const size_t n = md_vocabulary_size(set->vocabulary), width = vectors.width;
    float *values = md_calloc(n * width, sizeof *values);
    if (values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu word vectors", n);
    }
    for (size_t i = MD_VOCABULARY_UNKNOWN; i < n; i++) {
        const int64_t from =
            md_vocabulary_find(vectors.vocabulary, md_vocabulary_token(set->vocabulary, i));
        if (from >= 0) {
            memcpy(values + i * width, vectors.values + (size_t)from * width,
                   width * sizeof *values);
            n_found++;
        }
    }
    if (2 * n_found < n) {
        md_free(values);
        return md_fail(err, MD_INVALID_ARG,
                       "%.100s has vectors for %zu of the %zu tokens, expected half of them at "
                       "least: is it of another vocabulary?",
                       name, n_found, n);
    }
    *ret_values = values;
    *ret_width = (unsigned)width;
    return MD_OK;
}
