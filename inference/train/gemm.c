#include "inference/train/trainer_private.h"

#include <string.h>

#ifdef MEDAID_HAVE_ONEDNN
#include "inference/backend/onednn_load.h"
#endif

typedef struct product {
    md_trainer *t;
    bool transpose_a, transpose_b;
    int64_t n, k, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
} product;

/* oneDNN's product, on all its threads, but of one thread inside a parallel region. The back
 * end's own is for inference: it takes a plain loop for small products. */
static bool multiply_onednn(const product *p, int64_t m)
{
#ifdef MEDAID_HAVE_ONEDNN
    return p->t->dnnl != NULL &&
           dnnl_sgemm(p->transpose_a ? 'T' : 'N', p->transpose_b ? 'T' : 'N', m, p->n, p->k,
                      p->alpha, p->a, p->lda, p->b, p->ldb, p->beta, p->c,
                      p->ldc) == dnnl_success;
#else
    (void)p;
    (void)m;
    return false;
#endif
}

static void multiply_rows(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const product *p = data;
    const int64_t first = (int64_t)begin, m = (int64_t)(end - begin);
    if (m > 0) {
        p->t->api->sgemm(p->transpose_a, p->transpose_b, m, p->n, p->k, p->alpha,
                         p->a + (p->transpose_a ? first : first * p->lda), p->lda, p->b, p->ldb,
                         p->beta, p->c + first * p->ldc, p->ldc);
    }
}

void md_thread_gemm(md_trainer *t, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                    int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc)
{
    const product p = {t, transpose_a, transpose_b, n, k, lda, ldb, ldc, alpha, beta, a, b, c};
    if (!multiply_onednn(&p, m)) {
        multiply_rows((void *)(uintptr_t)&p, 0, (size_t)m, 0);
    }
}

void md_train_gemm(md_trainer *t, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                   int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float beta, float *c, int64_t ldc)
{
    product p = {t, transpose_a, transpose_b, n, k, lda, ldb, ldc, alpha, beta, a, b, c};
    if (k == 0) { /* no tokens at all */
        for (int64_t i = 0; i < m && beta == 0.0F; i++) {
            memset(c + i * ldc, 0, (size_t)n * sizeof *c);
        }
    } else if (m > 0 && n > 0 && !multiply_onednn(&p, m)) {
        md_over_rows(t, (size_t)m, multiply_rows, &p);
    }
}
