#include "inference/text/vectors.h"

#include "inference/train/random.h"

#include <math.h>
#include <string.h>

enum {
    STREAM_START = 0x77300, /* of random numbers */
    STREAM_PAIRS,
    STREAM_ORDER,
};

/* A walk over the corpus. */
typedef struct walk {
    const int32_t *tokens;
    size_t n_texts, length, n_words, n_tokens;
    const md_vectors_options *o;
    float *v, *u;       /* [n_words, width] */
    double *cumulative; /* [n_words] of count^(3/4), rising to 1 */
    float *keep;        /* [n_words] probability */
    float *change;      /* [width] */
    int32_t *sentence;  /* [length] */
    uint32_t *order;    /* [n_texts] */
    double loss;
    size_t n_pairs, n_done;
} walk;

static void walk_finish(walk *w)
{
    md_free(w->v);
    md_free(w->u);
    md_free(w->cumulative);
    md_free(w->keep);
    md_free(w->change);
    md_free(w->sentence);
    md_free(w->order);
}

static md_status check_options(const md_vectors_options *o, md_error *err)
{
    const bool fine = o->width >= 1 && o->width <= MD_VECTORS_MAX_WIDTH && o->window >= 1 &&
                      o->window <= 100 && o->negatives >= 1 && o->negatives <= 100 &&
                      o->epochs >= 1 && o->epochs <= 10000 && o->rate > 0 && o->rate <= 1 &&
                      o->sample >= 0 && o->sample <= 1;
    return fine ? MD_OK
                : md_fail(err, MD_INVALID_ARG,
                          "width %u, window %u, negatives %u, epochs %u, rate %g, sample %g: "
                          "one of them is out of range",
                          o->width, o->window, o->negatives, o->epochs, o->rate, o->sample);
}

static md_status allocate(walk *w, md_error *err)
{
    size_t n_values = 0, n_corpus = 0;
    if (w->n_words < 1 || w->n_words > MD_VOCABULARY_MAX_TOKENS || w->n_texts > UINT32_MAX ||
        w->length < 1 || !md_mul(w->n_words, w->o->width, &n_values) ||
        !md_mul(w->n_texts, w->length, &n_corpus)) {
        return md_fail(err, MD_LIMIT, "%zu words, %zu texts of %zu tokens", w->n_words,
                       w->n_texts, w->length);
    }
    w->v = md_calloc(n_values, sizeof *w->v);
    w->u = md_calloc(n_values, sizeof *w->u);
    w->cumulative = md_calloc(w->n_words, sizeof *w->cumulative);
    w->keep = md_calloc(w->n_words, sizeof *w->keep);
    w->change = md_calloc(w->o->width, sizeof *w->change);
    w->sentence = md_calloc(w->length, sizeof *w->sentence);
    w->order = md_calloc(w->n_texts + 1, sizeof *w->order);
    return w->v != NULL && w->u != NULL && w->cumulative != NULL && w->keep != NULL &&
                   w->change != NULL && w->sentence != NULL && w->order != NULL
               ? MD_OK
               : md_fail(err, MD_NOMEM, "no memory for %zu vectors of %u", w->n_words,
                         w->o->width);
}

/* Counts, and what follows from them. */
static md_status count(walk *w, md_error *err)
{
    for (size_t i = 0; i < w->n_texts * w->length; i++) {
        const int32_t token = w->tokens[i];
        if (token < 0 || (size_t)token >= w->n_words) {
            return md_fail(err, MD_INVALID_ARG, "token %ld, expected 0..%zu", (long)token,
                           w->n_words - 1);
        }
        if (token != MD_VOCABULARY_PAD) {
            w->cumulative[token] += 1.0;
            w->n_tokens++;
        }
    }
    if (w->n_tokens < 2) {
        return md_fail(err, MD_INVALID_ARG, "%zu tokens, expected at least 2", w->n_tokens);
    }
    double sum = 0.0;
    for (size_t i = 0; i < w->n_words; i++) {
        const double n = w->cumulative[i], share = n / (double)w->n_tokens;
        const double odds = share > 0 ? w->o->sample / share : 1.0;
        w->keep[i] = w->o->sample > 0 ? (float)(sqrt(odds) + odds) : 1.0F;
        sum += pow(n, 0.75);
        w->cumulative[i] = sum;
    }
    for (size_t i = 0; i < w->n_words; i++) {
        w->cumulative[i] /= sum;
    }
    return MD_OK;
}

/* v uniform in +-1/(2 width), u 0, as their program begins. */
static void start(walk *w)
{
    const md_random_key key = {.seed = w->o->seed};
    md_random random;
    md_random_init(&random, &key, STREAM_START);
    const size_t width = w->o->width;
    for (size_t i = width; i < w->n_words * width; i++) {
        w->v[i] = (md_random_uniform(&random) - 0.5F) / (float)width;
    }
}

static size_t draw_word(const walk *w, md_random *random)
{
    const double at = ((double)md_random_bits(random) + 0.5) / 4294967296.0;
    size_t low = 0, high = w->n_words - 1;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (w->cumulative[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* One term of the sum: u and the change of v; its loss. */
static double one_term(walk *w, const float *v, size_t other, float label, float rate)
{
    const size_t width = w->o->width;
    float *u = w->u + other * width;
    float dot = 0.0F;
    for (size_t k = 0; k < width; k++) {
        dot += u[k] * v[k];
    }
    const float score = 1.0F / (1.0F + expf(-dot));
    const float step = rate * (label - score);
    for (size_t k = 0; k < width; k++) {
        w->change[k] += step * u[k];
        u[k] += step * v[k];
    }
    return -log(fmax((double)(label > 0.5F ? score : 1.0F - score), 1e-12));
}

static void one_pair(walk *w, size_t centre, size_t context, float rate, md_random *random)
{
    const size_t width = w->o->width;
    float *v = w->v + centre * width;
    memset(w->change, 0, width * sizeof *w->change);
    w->loss += one_term(w, v, context, 1.0F, rate);
    for (unsigned i = 0; i < w->o->negatives; i++) {
        const size_t other = draw_word(w, random);
        if (other != context) {
            w->loss += one_term(w, v, other, 0.0F, rate);
        }
    }
    for (size_t k = 0; k < width; k++) {
        v[k] += w->change[k];
    }
    w->n_pairs++;
}

static void one_text(walk *w, const int32_t *tokens, float rate, md_random *random)
{
    size_t n = 0;
    for (size_t i = 0; i < w->length; i++) {
        const int32_t token = tokens[i];
        if (token != MD_VOCABULARY_PAD) {
            w->n_done++;
            if (md_random_uniform(random) < w->keep[token]) {
                w->sentence[n++] = token;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        const size_t reach = 1 + md_random_below(random, w->o->window);
        const size_t from = i > reach ? i - reach : 0, to = i + reach < n ? i + reach : n - 1;
        for (size_t k = from; k <= to; k++) {
            if (k != i) {
                one_pair(w, (size_t)w->sentence[i], (size_t)w->sentence[k], rate, random);
            }
        }
    }
}

static void one_epoch(walk *w, unsigned epoch)
{
    const md_random_key key = {.seed = w->o->seed, .epoch = epoch};
    md_random order, pairs;
    md_random_init(&order, &key, STREAM_ORDER);
    md_random_init(&pairs, &key, STREAM_PAIRS);
    for (size_t i = 0; i < w->n_texts; i++) {
        w->order[i] = (uint32_t)i;
    }
    md_random_shuffle(&order, w->order, w->n_texts);
    const double all = (double)w->o->epochs * (double)w->n_tokens;
    w->loss = 0.0;
    w->n_pairs = 0;
    for (size_t i = 0; i < w->n_texts; i++) {
        const double left = fmax(1.0 - (double)w->n_done / all, 1e-4);
        one_text(w, w->tokens + w->order[i] * w->length, (float)(w->o->rate * left), &pairs);
    }
    if (w->o->progress != NULL) {
        w->o->progress(w->o->context, epoch,
                       w->n_pairs > 0 ? w->loss / (double)w->n_pairs : 0.0);
    }
}

md_status md_vectors_train(const int32_t *tokens, size_t n_texts, size_t length, size_t n_words,
                           const md_vectors_options *options, float **ret_vectors,
                           md_error *err)
{
    walk w __attribute__((cleanup(walk_finish))) = {.tokens = tokens,
                                                    .n_texts = n_texts,
                                                    .length = length,
                                                    .n_words = n_words,
                                                    .o = options};
    MD_TRY(check_options(options, err));
    MD_TRY(allocate(&w, err));
    MD_TRY(count(&w, err));
    start(&w);
    for (unsigned e = 0; e < options->epochs; e++) {
        one_epoch(&w, e);
    }
    *ret_vectors = MD_STEAL(w.v);
    return MD_OK;
}
