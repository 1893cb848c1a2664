#include "inference/text/vocabulary.h"

#include "base/utf8.h"
#include "inference/text/vocabulary_internal.h"

#include <string.h>

static const char header[] = "medaid_vocabulary 1";
static const char *const fixed[MD_VOCABULARY_N_FIXED] = {"<pad>", "<unknown>", "!"};

uint64_t md_token_hash(const char *text, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325U; /* FNV-1a */
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3U;
    }
    return hash ^ (hash >> 29);
}

void md_vocabulary_destroy(md_vocabulary *v)
{
    if (v == NULL) {
        return;
    }
    md_free(v->text);
    md_free(v->tokens);
    md_free(v->slots);
    md_free(v);
}

size_t md_vocabulary_size(const md_vocabulary *v)
{
    return v->n;
}

const char *md_vocabulary_token(const md_vocabulary *v, size_t number)
{
    return number < v->n ? v->text + v->tokens[number] : NULL;
}

/* The slot of the token, or the empty one where it would be. */
static size_t find_slot(const md_vocabulary *v, const char *token, size_t n)
{
    size_t slot = (size_t)md_token_hash(token, n) & (v->n_slots - 1);
    while (v->slots[slot] != 0) {
        const char *there = v->text + v->tokens[v->slots[slot] - 1];
        if (strncmp(there, token, n) == 0 && there[n] == '\0') {
            break;
        }
        slot = (slot + 1) & (v->n_slots - 1);
    }
    return slot;
}

static int64_t find(const md_vocabulary *v, const char *token, size_t n)
{
    return (int64_t)v->slots[find_slot(v, token, n)] - 1;
}

int64_t md_vocabulary_find(const md_vocabulary *v, const char *token)
{
    return find(v, token, strlen(token));
}

/* ---- the file */

static const char *token_fault(const char *token, size_t n)
{
    if (n == 0) {
        return "is empty";
    }
    if (n >= MD_VOCABULARY_TOKEN_BYTES) {
        return "is too long";
    }
    for (size_t at = 0; at < n;) {
        const size_t length = md_utf8_length((const unsigned char *)token + at);
        if (length == 0 || length > n - at) {
            return "is not UTF-8";
        }
        const unsigned char c = (unsigned char)token[at];
        if (c <= ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)token[at + 1] < 0xa0)) {
            return "has a blank or a control character";
        }
        at += length;
    }
    return NULL;
}

/* text: the lines, each ended by a zero in place of its line feed. */
static md_status index_tokens(md_vocabulary *v, size_t n_bytes, md_error *err)
{
    size_t line = 1;
    for (size_t at = sizeof header; at < n_bytes;) {
        const char *token = v->text + at;
        const size_t n = strlen(token);
        line++;
        const char *fault = token_fault(token, n);
        if (fault == NULL && v->n < MD_VOCABULARY_N_FIXED && strcmp(token, fixed[v->n]) != 0) {
            return md_fail(err, MD_FORMAT, "line %zu: expected the token %s", line,
                           fixed[v->n]);
        }
        size_t slot = 0;
        if (fault == NULL) {
            slot = find_slot(v, token, n);
            fault = v->slots[slot] != 0 ? "is there already" : NULL;
        }
        if (fault != NULL) {
            return md_fail(err, MD_FORMAT, "line %zu: the token %s", line, fault);
        }
        v->tokens[v->n++] = (uint32_t)at;
        v->slots[slot] = (uint32_t)v->n;
        v->longest = n > v->longest ? n : v->longest;
        at += n + 1;
    }
    return v->n >= MD_VOCABULARY_N_FIXED
               ? MD_OK
               : md_fail(err, MD_FORMAT, "the file ends before the token %s", fixed[v->n]);
}

static md_status allocate(md_vocabulary *v, size_t n_tokens, md_error *err)
{
    v->n_slots = 16;
    while (v->n_slots < 2 * n_tokens) {
        v->n_slots *= 2;
    }
    v->tokens = md_calloc(n_tokens + 1, sizeof *v->tokens);
    v->slots = md_calloc(v->n_slots, sizeof *v->slots);
    return v->tokens != NULL && v->slots != NULL
               ? MD_OK
               : md_fail(err, MD_NOMEM, "no memory for %zu tokens", n_tokens);
}

static md_status parse(md_vocabulary *v, const uint8_t *bytes, size_t size_bytes, md_error *err)
{
    const size_t n_header = sizeof header - 1;
    if (size_bytes > MD_VOCABULARY_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "%zu bytes, at most %zu are read", size_bytes,
                       MD_VOCABULARY_MAX_BYTES);
    }
    if (size_bytes <= n_header || memcmp(bytes, header, n_header) != 0 ||
        bytes[n_header] != '\n') {
        return md_fail(err, MD_FORMAT, "line 1: expected \"%s\"", header);
    }
    v->text = md_malloc(size_bytes + 2);
    if (v->text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes", size_bytes);
    }
    size_t n_tokens = 0, n = size_bytes;
    memcpy(v->text, bytes, size_bytes);
    if (v->text[n - 1] != '\n') {
        v->text[n++] = '\n';
    }
    for (size_t i = 0, line = 1; i < n; i++) {
        if (v->text[i] == '\0') {
            return md_fail(err, MD_FORMAT, "line %zu: a zero byte", line);
        }
        if (v->text[i] == '\n') {
            v->text[i] = '\0';
            line++;
            n_tokens++;
        }
    }
    v->text[n] = '\0';
    if (--n_tokens > MD_VOCABULARY_MAX_TOKENS) {
        return md_fail(err, MD_LIMIT, "%zu tokens, at most %d are read", n_tokens,
                       MD_VOCABULARY_MAX_TOKENS);
    }
    MD_TRY(allocate(v, n_tokens, err));
    return index_tokens(v, n, err);
}

md_status md_vocabulary_parse(const uint8_t *bytes, size_t size_bytes,
                              md_vocabulary **ret_vocabulary, md_error *err)
{
    MD_AUTO(md_vocabulary_destroyp) md_vocabulary *v = md_calloc(1, sizeof *v);
    if (v == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a vocabulary");
    }
    MD_TRY(parse(v, bytes, size_bytes, err));
    *ret_vocabulary = MD_STEAL(v);
    return MD_OK;
}

md_status md_vocabulary_write(const md_vocabulary *v, char **ret_text, size_t *ret_size,
                              md_error *err)
{
    size_t n = sizeof header;
    for (size_t i = 0; i < v->n; i++) {
        n += strlen(md_vocabulary_token(v, i)) + 1;
    }
    char *text = md_malloc(n + 1);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes", n);
    }
    char *at = stpcpy(text, header);
    *at++ = '\n';
    for (size_t i = 0; i < v->n; i++) {
        at = stpcpy(at, md_vocabulary_token(v, i));
        *at++ = '\n';
    }
    *at = '\0';
    *ret_text = text;
    *ret_size = n;
    return MD_OK;
}

/* ---- words to tokens */

typedef struct sink {
    md_token *tokens;
    size_t n, max;
    uint32_t word;
} sink;

/* false when there is no room. */
static bool put(sink *s, int64_t number)
{
    if (s->n == s->max) {
        return false;
    }
    s->tokens[s->n++] = (md_token){.number = (uint32_t)number, .word = s->word};
    return true;
}

/* Bytes of the longest piece that begins the `n` bytes at form, and its number; 0: none. */
static size_t longest_piece(const md_vocabulary *v, const char *form, size_t n, bool continues,
                            int64_t *ret_number)
{
    char piece[MD_VOCABULARY_TOKEN_BYTES] = "##";
    const size_t prefix = continues ? 2 : 0;
    size_t length = n < v->longest ? n : v->longest;
    memcpy(piece + prefix, form, length);
    for (; length > 0; length--) {
        if (((unsigned char)form[length] & 0xc0) == 0x80) {
            continue; /* inside a character */
        }
        *ret_number = find(v, piece, prefix + length);
        if (*ret_number >= MD_VOCABULARY_N_FIXED) {
            return length;
        }
    }
    return 0;
}

static bool put_pieces(const md_vocabulary *v, const char *form, size_t n, sink *s)
{
    md_token pieces[MD_WORD_MAX_BYTES];
    size_t n_pieces = 0;
    for (size_t at = 0; at < n;) {
        int64_t number = 0;
        const size_t length = longest_piece(v, form + at, n - at, at > 0, &number);
        if (length == 0) {
            return put(s, MD_VOCABULARY_UNKNOWN);
        }
        pieces[n_pieces++].number = (uint32_t)number;
        at += length;
    }
    for (size_t i = 0; i < n_pieces; i++) {
        if (!put(s, pieces[i].number)) {
            return false;
        }
    }
    return n_pieces > 0 || put(s, MD_VOCABULARY_UNKNOWN);
}

void md_vocabulary_encode(const md_vocabulary *v, const md_words *words, size_t max_tokens,
                          md_token *ret_tokens, size_t *ret_n, bool *ret_is_cut)
{
    sink s = {.tokens = ret_tokens, .max = max_tokens};
    bool fits = true;
    for (size_t i = 0; i < words->n_words && fits; i++) {
        const md_word *w = &words->words[i];
        const char *form = md_word_form(words, i);
        s.word = (uint32_t)i;
        if (w->negated) {
            char negated[MD_VOCABULARY_TOKEN_BYTES] = "!";
            memcpy(negated + 1, form, w->form_bytes);
            const int64_t number =
                w->form_bytes == 0 ? -1 : find(v, negated, w->form_bytes + 1u);
            if (number >= MD_VOCABULARY_N_FIXED) {
                fits = put(&s, number);
                continue;
            }
            fits = put(&s, MD_VOCABULARY_NOT);
        }
        fits = fits && put_pieces(v, form, w->form_bytes, &s);
    }
    *ret_n = s.n;
    *ret_is_cut = !fits || words->is_cut;
}
