#include "inference/backend/onednn_private.h"

static float dot(const float *x, int64_t step, const float *y, int64_t n)
{
    float sums[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int64_t j = 0; j < 8; j++) {
            sums[j] += x[(i + j) * step] * y[i + j];
        }
    }
    for (; i < n; i++) {
        sums[0] += x[i * step] * y[i];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void md_small_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                   float beta, float *c, int64_t ldc)
{
    const int64_t step = transpose_a ? lda : 1;
    for (int64_t i = 0; i < m; i++) {
        const float *x = transpose_a ? a + i : a + i * lda;
        float *to = c + i * ldc;
        for (int64_t j = 0; j < n; j++) {
            to[j] = beta == 0.0F ? 0.0F : beta * to[j]; /* 0 also takes away a NaN */
            if (transpose_b) {
                to[j] += alpha * dot(x, step, b + j * ldb, k);
            }
        }
        for (int64_t l = 0; l < k && !transpose_b; l++) {
            const float weight = alpha * x[l * step];
            const float *row = b + l * ldb;
            for (int64_t j = 0; j < n; j++) {
                to[j] += weight * row[j];
            }
        }
    }
}
