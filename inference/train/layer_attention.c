#include "inference/train/trainer_private.h"

#include <string.h>

/* Attention within each text: of several heads (Vaswani et al. 2017, eq. 1), and pooling with
 * one score for each token (Bahdanau et al. 2015, Yang et al. 2016, eq. 5 to 7). */

/* One head of one text: o = softmax(scale q k^T) v. The shares are computed again backward,
 * which costs less than keeping [T,T] of every head. */
typedef struct heads {
    md_trainer *t;
    size_t n_heads, size, width; /* of a head, of all */
    float scale;
    const float *q, *k, *v, *dy;
    float *y;
    float *dq, *dk, *dv; /* [rows][width] each of `size` columns; NULL: not wanted */
    md_write write_q, write_k, write_v;
    float *scratch;
    size_t scratch_floats; /* for each thread */
} heads;

static size_t square(const md_trainer *t)
{
    return (size_t)(t->texts.length * t->texts.length);
}

static heads start_heads(md_trainer *t, const md_train_layer *layer)
{
    const md_feature *y = md_train_layer_out(t, layer);
    heads c = {.t = t,
               .n_heads = (size_t)layer->n_heads,
               .width = (size_t)y->c,
               .scale = layer->scalar,
               .q = md_train_layer_in(t, layer, 0)->data,
               .k = md_train_layer_in(t, layer, 1)->data,
               .v = md_train_layer_in(t, layer, 2)->data,
               .y = y->data,
               .dy = y->gradient,
               .scratch = t->scratch,
               .scratch_floats = 2 * square(t)};
    c.size = c.width / c.n_heads;
    return c;
}

static md_status heads_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = md_team_size(t->team) * 2 * square(t) * sizeof(float);
    return MD_OK;
}

/* c [m,n] on this thread alone. */
static void multiply(const heads *c, bool transpose_a, bool transpose_b, size_t m, size_t n,
                     size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add,
                     float *to, size_t ldc)
{
    md_thread_gemm(c->t, transpose_a, transpose_b, (int64_t)m, (int64_t)n, (int64_t)k, 1.0F, a,
                   (int64_t)lda, b, (int64_t)ldb, add ? 1.0F : 0.0F, to, (int64_t)ldc);
}

static void shares_of(const heads *c, size_t at, size_t n, float *shares)
{
    multiply(c, false, true, n, n, c->size, c->q + at, c->width, c->k + at, c->width, false,
             shares, n);
    for (size_t i = 0; i < n; i++) {
        c->t->text_kernels->softmax(shares + i * n, c->scale, n);
    }
}

static void heads_forward_part(void *data, size_t begin, size_t end, unsigned part)
{
    const heads *c = data;
    const md_texts *texts = &c->t->texts;
    float *shares = c->scratch + part * c->scratch_floats;
    for (size_t u = begin; u < end; u++) {
        const size_t text = u / c->n_heads, n = (size_t)texts->lengths[text];
        const size_t at = texts->begin[text] * c->width + u % c->n_heads * c->size;
        if (n > 0) {
            shares_of(c, at, n, shares);
            multiply(c, false, false, n, c->size, n, shares, n, c->v + at, c->width, false,
                     c->y + at, c->width);
        }
    }
}

static md_status heads_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    heads c = start_heads(t, layer);
    md_over_rows(t, (size_t)t->n * c.n_heads, heads_forward_part, &c);
    return MD_OK;
}

/* dv = p^T dy; ds = back through softmax of dy v^T; dq = ds k, dk = ds^T q */
static void heads_backward_part(void *data, size_t begin, size_t end, unsigned part)
{
    const heads *c = data;
    const md_texts *texts = &c->t->texts;
    float *shares = c->scratch + part * c->scratch_floats;
    for (size_t u = begin; u < end; u++) {
        const size_t text = u / c->n_heads, n = (size_t)texts->lengths[text];
        const size_t at = texts->begin[text] * c->width + u % c->n_heads * c->size;
        float *d = shares + n * n;
        if (n == 0) {
            continue;
        }
        shares_of(c, at, n, shares);
        if (c->dv != NULL) {
            multiply(c, true, false, n, c->size, n, shares, n, c->dy + at, c->width,
                     c->write_v == MD_WRITE_ADD, c->dv + at, c->width);
        }
        multiply(c, false, true, n, n, c->size, c->dy + at, c->width, c->v + at, c->width,
                 false, d, n);
        for (size_t i = 0; i < n; i++) {
            c->t->text_kernels->softmax_back(shares + i * n, d + i * n, c->scale, n);
        }
        if (c->dq != NULL) {
            multiply(c, false, false, n, c->size, n, d, n, c->k + at, c->width,
                     c->write_q == MD_WRITE_ADD, c->dq + at, c->width);
        }
        if (c->dk != NULL) {
            multiply(c, true, false, n, c->size, n, d, n, c->q + at, c->width,
                     c->write_k == MD_WRITE_ADD, c->dk + at, c->width);
        }
    }
}

static float *wanted(md_trainer *t, const md_train_layer *layer, unsigned i, md_write *ret)
{
    md_feature *x = md_train_layer_in(t, layer, i);
    if (!md_wants_gradient(t, x)) {
        return NULL;
    }
    *ret = md_gradient_write(x);
    return x->gradient;
}

static md_status heads_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    heads c = start_heads(t, layer);
    /* in the order in which they are written: q, k and v may be one feature */
    c.dv = wanted(t, layer, 2, &c.write_v);
    c.dq = wanted(t, layer, 0, &c.write_q);
    c.dk = wanted(t, layer, 1, &c.write_k);
    md_over_rows(t, (size_t)t->n * c.n_heads, heads_backward_part, &c);
    return MD_OK;
}

const md_train_layer_kind md_train_layer_attention = {.name = "self-attention",
                                                      .needs_inputs = true,
                                                      .prepare = heads_prepare,
                                                      .forward = heads_forward,
                                                      .backward = heads_backward};

/* y = sum over tokens of a_t h_t, a = softmax of the scores; of an empty text 0. */
typedef struct pool {
    md_trainer *t;
    size_t width;
    const float *scores, *h, *dy;
    float *y, *shares; /* shares [text][T] */
    float *scratch;    /* [part][T] */
    float *d_scores, *dh;
    md_write write_scores, write_h;
} pool;

static pool start_pool(md_trainer *t, const md_train_layer *layer)
{
    const md_feature *y = md_train_layer_out(t, layer);
    return (pool){.t = t,
                  .width = (size_t)y->c,
                  .scores = md_train_layer_in(t, layer, 0)->data,
                  .h = md_train_layer_in(t, layer, 1)->data,
                  .dy = y->gradient,
                  .y = y->data,
                  .shares = layer->kept,
                  .scratch = t->scratch};
}

static md_status pool_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = md_team_size(t->team) * (size_t)t->texts.length * sizeof(float);
    return MD_OK;
}

static void pool_texts(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const pool *c = data;
    const md_texts *texts = &c->t->texts;
    for (size_t i = begin; i < end; i++) {
        const size_t n = (size_t)texts->lengths[i];
        const uint32_t *rows = texts->rows + texts->begin[i];
        float *shares = c->shares + i * (size_t)texts->length, *y = c->y + i * c->width;
        memset(y, 0, c->width * sizeof *y);
        for (size_t j = 0; j < n; j++) {
            shares[j] = c->scores[rows[j]];
        }
        if (n > 0) {
            c->t->text_kernels->softmax(shares, 1.0F, n);
        }
        for (size_t j = 0; j < n; j++) {
            c->t->text_kernels->axpy(shares[j], c->h + rows[j] * c->width, y, c->width);
        }
    }
}

static md_status pool_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    pool c = start_pool(t, layer);
    md_over_rows(t, (size_t)t->n, pool_texts, &c);
    return MD_OK;
}

/* dh_t = a_t dy; with g_t = dy . h_t the scores get a_t (g_t - sum a g). */
static void pool_texts_back(void *data, size_t begin, size_t end, unsigned part)
{
    const pool *c = data;
    const md_texts *texts = &c->t->texts;
    const md_text_kernels *k = c->t->text_kernels;
    float *d = c->scratch + part * (size_t)texts->length;
    for (size_t i = begin; i < end; i++) {
        const size_t n = (size_t)texts->lengths[i];
        const uint32_t *rows = texts->rows + texts->begin[i];
        const float *shares = c->shares + i * (size_t)texts->length;
        const float *dy = c->dy + i * c->width;
        if (c->d_scores != NULL) {
            for (size_t j = 0; j < n; j++) {
                d[j] = k->dot(dy, c->h + rows[j] * c->width, c->width);
            }
            k->softmax_back(shares, d, 1.0F, n);
            for (size_t j = 0; j < n; j++) {
                float *to = &c->d_scores[rows[j]];
                *to = c->write_scores == MD_WRITE_ADD ? *to + d[j] : d[j];
            }
        }
        for (size_t j = 0; j < n && c->dh != NULL; j++) {
            float *to = c->dh + rows[j] * c->width;
            if (c->write_h == MD_WRITE_SET) {
                memset(to, 0, c->width * sizeof *to);
            }
            k->axpy(shares[j], dy, to, c->width);
        }
    }
}

static md_status pool_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    pool c = start_pool(t, layer);
    c.d_scores = wanted(t, layer, 0, &c.write_scores);
    c.dh = wanted(t, layer, 1, &c.write_h);
    md_over_rows(t, (size_t)t->n, pool_texts_back, &c);
    return MD_OK;
}

const md_train_layer_kind md_train_layer_token_pool = {.name = "attention pooling",
                                                       .needs_inputs = true,
                                                       .prepare = pool_prepare,
                                                       .forward = pool_forward,
                                                       .backward = pool_backward};
