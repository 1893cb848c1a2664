#include "inference/text/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void md_vectors_finish(md_vectors *vectors)
{
    md_vocabulary_destroy(vectors->vocabulary);
    md_free(vectors->values);
    *vectors = (md_vectors){0};
}

md_status md_vectors_write(const md_vocabulary *vocabulary, const float *values, unsigned width,
                           FILE *out, md_error *err)
{
    const size_t n = md_vocabulary_size(vocabulary);
    fprintf(out, "%zu %u\n", n, width);
    for (size_t i = 0; i < n; i++) {
        fputs(md_vocabulary_token(vocabulary, i), out);
        for (unsigned k = 0; k < width; k++) {
            fprintf(out, " %.9g", (double)values[i * width + k]);
        }
        fputc('\n', out);
    }
    return ferror(out) == 0 ? MD_OK : md_fail(err, MD_IO, "the vectors cannot be written");
}

/* A number of a line; *at is moved behind it. Written by hand so that neither the locale nor a
 * missing end of the file matters: the caller ended the text with a zero. */
static bool read_number(char **at, double *ret)
{
    if (**at != ' ') {
        return false;
    }
    (*at)++;
    const char first = **at;
    if (!(first == '-' || (first >= '0' && first <= '9'))) {
        return false;
    }
    char *end = NULL;
    *ret = strtod(*at, &end);
    const bool fine = end != *at && isfinite(*ret) && fabs(*ret) <= 1e6;
    *at = end;
    return fine;
}

static bool read_count(char **at, unsigned long most, unsigned long *ret)
{
    const char first = **at;
    char *end = NULL;
    *ret = first >= '0' && first <= '9' ? strtoul(*at, &end, 10) : 0;
    if (end == NULL || *ret < 1 || *ret > most) {
        return false;
    }
    *at = end;
    return true;
}

typedef struct reading {
    char *text, *at; /* owned */
    char *list;      /* owned: the vocabulary's file */
    size_t n_list;
    float *values; /* owned */
    unsigned long n, width;
} reading;

static void reading_finish(reading *r)
{
    md_free(r->text);
    md_free(r->list);
    md_free(r->values);
}

static md_status read_head(reading *r, size_t size_bytes, md_error *err)
{
    char *at = r->text;
    if (!read_count(&at, MD_VOCABULARY_MAX_TOKENS, &r->n) || *at++ != ' ' ||
        !read_count(&at, MD_VECTORS_MAX_WIDTH, &r->width) || *at++ != '\n') {
        return md_fail(err, MD_FORMAT,
                       "line 1: expected the number of tokens, at most %d, and "
                       "the width, at most %d",
                       MD_VOCABULARY_MAX_TOKENS, MD_VECTORS_MAX_WIDTH);
    }
    /* a number takes two bytes at least, a token one and its line feed */
    size_t least = 0;
    if (!md_mul(r->n, 2 * r->width + 2, &least) || least > size_bytes) {
        return md_fail(err, MD_FORMAT,
                       "line 1: %lu tokens of width %lu do not fit into the file", r->n,
                       r->width);
    }
    r->at = at;
    r->list = md_malloc(size_bytes + 64);
    r->values = md_calloc(r->n * r->width, sizeof *r->values);
    if (r->list == NULL || r->values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %lu vectors", r->n);
    }
    r->n_list = (size_t)(stpcpy(r->list, "medaid_vocabulary 1\n") - r->list);
    return MD_OK;
}

static md_status read_line(reading *r, unsigned long i, md_error *err)
{
    const size_t n_token = strcspn(r->at, " \n");
    memcpy(r->list + r->n_list, r->at, n_token);
    r->n_list += n_token;
    r->list[r->n_list++] = '\n';
    r->at += n_token;
    for (unsigned long k = 0; k < r->width; k++) {
        double value = 0.0;
        if (!read_number(&r->at, &value)) {
            return md_fail(err, MD_FORMAT, "line %lu: expected a token and %lu numbers", i + 2,
                           r->width);
        }
        r->values[i * r->width + k] = (float)value;
    }
    r->at += *r->at == ' ' ? 1 : 0; /* word2vec itself ends its lines with a blank */
    if (*r->at++ != '\n') {
        return md_fail(err, MD_FORMAT, "line %lu: more than %lu numbers, or the file is cut",
                       i + 2, r->width);
    }
    return MD_OK;
}

md_status md_vectors_parse(const uint8_t *bytes, size_t size_bytes, md_vectors *ret_vectors,
                           md_error *err)
{
    reading r __attribute__((cleanup(reading_finish))) = {0};
    if (size_bytes > MD_VECTORS_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "%zu bytes, at most %zu are read", size_bytes,
                       MD_VECTORS_MAX_BYTES);
    }
    r.text = md_malloc(size_bytes + 1);
    if (r.text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes", size_bytes);
    }
    memcpy(r.text, bytes, size_bytes);
    r.text[size_bytes] = '\0';
    MD_TRY(read_head(&r, size_bytes, err));
    for (unsigned long i = 0; i < r.n; i++) {
        MD_TRY(read_line(&r, i, err));
    }
    if (*r.at != '\0' || (size_t)(r.at - r.text) != size_bytes) {
        return md_fail(err, MD_FORMAT, "line %lu: more lines than line 1 says", r.n + 2);
    }
    md_vocabulary *vocabulary = NULL;
    MD_TRY(md_vocabulary_parse((const uint8_t *)r.list, r.n_list, &vocabulary, err));
    *ret_vectors = (md_vectors){
        .vocabulary = vocabulary, .width = (unsigned)r.width, .values = MD_STEAL(r.values)};
    return MD_OK;
}

/* ---- what is near */

static double length_of(const float *v, unsigned width)
{
    double sum = 0.0;
    for (unsigned k = 0; k < width; k++) {
        sum += (double)v[k] * (double)v[k];
    }
    return sqrt(sum);
}

static int by_similarity(const void *a, const void *b)
{
    const md_near *x = a, *y = b;
    if (x->similarity != y->similarity) {
        return x->similarity > y->similarity ? -1 : 1;
    }
    return x->number < y->number ? -1 : 1;
}

md_status md_vectors_near(const md_vectors *v, const float *direction, const uint32_t *without,
                          size_t n_without, size_t n, md_near *ret_near, size_t *ret_n,
                          md_error *err)
{
    const size_t n_words = md_vocabulary_size(v->vocabulary);
    const double own = length_of(direction, v->width);
    MD_AUTO(md_freep) md_near *all = md_calloc(n_words + 1, sizeof *all);
    size_t n_all = 0;
    if (all == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu words", n_words);
    }
    for (size_t i = MD_VOCABULARY_N_FIXED; i < n_words && own > 0; i++) {
        const float *other = v->values + i * v->width;
        const double length = length_of(other, v->width);
        bool left_out = length <= 0;
        for (size_t k = 0; k < n_without; k++) {
            left_out = left_out || without[k] == i;
        }
        if (left_out) {
            continue;
        }
        double dot = 0.0;
        for (unsigned k = 0; k < v->width; k++) {
            dot += (double)direction[k] * (double)other[k];
        }
        all[n_all++] = (md_near){(uint32_t)i, (float)(dot / own / length)};
    }
    qsort(all, n_all, sizeof *all, by_similarity);
    *ret_n = n_all < n ? n_all : n;
    memcpy(ret_near, all, *ret_n * sizeof *all);
    return MD_OK;
}

void md_vectors_analogy(const md_vectors *v, uint32_t a, uint32_t b, uint32_t c,
                        float *ret_direction)
{
    const uint32_t words[3] = {a, b, c};
    static const double signs[3] = {-1, 1, 1};
    memset(ret_direction, 0, v->width * sizeof *ret_direction);
    for (unsigned i = 0; i < 3; i++) {
        const float *from = v->values + (size_t)words[i] * v->width;
        const double length = length_of(from, v->width);
        for (unsigned k = 0; k < v->width && length > 0; k++) {
            ret_direction[k] += (float)(signs[i] * (double)from[k] / length);
        }
    }
}
